//! How a session gets hold of backends: those of its transaction, those pinned to it, or one from the pool for a statement.

use std::sync::Arc;

use atoll_planner::directory::{GroupIndex, ShardId};
use atoll_wire::frontend;
use bytes::BytesMut;

use super::cursors::Aside;
use super::settings::{Settings, join_search_path, split_search_path};
use super::{Session, hold};
use crate::error::{Error, Result};
use crate::lane::{Lane, ResultSet};
use crate::place::{Kind, Place};
use crate::pool::{Fit, LaneKey, Need, Pooled};

/// A lane the session works on, and where it goes back to.
pub enum Held {
    /// Taken for this statement only.
    Alone(Place, Pooled),
    /// The transaction's participant with this index.
    Joined(usize),
    /// The session's own, with this index in its pinned lanes.
    Pinned(usize),
}

/// Messages to send before a statement, and how many ReadyForQuery answer them.
#[derive(Default)]
pub struct Prelude {
    pub frames: BytesMut,
    pub ready: usize,
    /// The lane was taken just now, and nothing has been done on it for the client.
    pub is_fresh: bool,
}

impl Prelude {
    fn push(&mut self, sql: &str) {
        frontend::query(sql, &mut self.frames);
        self.ready += 1;
    }
}

impl Session {
    /// The lane for a place: the transaction's, joined now if need be; else a pinned one; else one from the pool, waited for while the group
    /// has no primary. The backend's settings are brought in line; its search_path and BEGIN are left to the returned prelude, which travels
    /// with the statement.
    ///
    /// # Errors
    /// 53300, 57P03; what PostgreSQL says of the settings; 57P01 for a pinned lane that has ended.
    pub async fn hold(&mut self, place: Place, path: &Arc<str>) -> Result<(Held, Prelude)> {
        self.cancel.check()?;
        let mut prelude = Prelude::default();
        if let Aside::Ready(mut lane) = std::mem::take(&mut self.aside) {
            settle(&mut lane, &self.settings_at(place), self.id).await?;
            self.aside = Aside::Out;
            return Ok((Held::Alone(place, lane), prelude));
        }
        let mut held = match self.transaction.as_ref().map(|transaction| transaction.position(place)) {
            Some(Some(index)) => Held::Joined(index),
            Some(None) => {
                // Only who holds something already may take the slots kept back: otherwise first lanes could use up all of them.
                let holds = self.transaction.as_ref().is_some_and(|transaction| !transaction.participants.is_empty());
                let spare = self.transaction.as_ref().is_some_and(|transaction| transaction.spare);
                let need = match holds {
                    _ if spare => Need::Spare,
                    true => Need::Joining,
                    false => Need::Fresh,
                };
                if need == Need::Fresh {
                    let leaders = self.worker.cluster.keeper.leaders();
                    tokio::select! {
                        () = self.patience.to_begin(leaders) => (),
                        cancelled = self.cancel.requested() => return Err(cancelled),
                    }
                }
                let mut lane = match self.replica_lane(place, path, need).await? {
                    Some(lane) => lane,
                    None => self.acquire(place, path, need).await?,
                };
                prelude.is_fresh = true;
                set_path(&mut lane, path, &mut prelude);
                let transaction = self.transaction.as_mut().expect("checked above");
                let reads_only = lane.reads_for.is_some();
                for sql in transaction.opening(place) {
                    // A transaction beside one that is READ ONLY may write, but not there.
                    let is_mode = !sql.starts_with("SAVEPOINT");
                    prelude.push(&if reads_only && is_mode { sql.replace("READ WRITE", "READ ONLY") } else { sql });
                }
                // What is in force when the block opens is what a rollback gives back.
                return Ok((Held::Joined(transaction.join(place, lane)), prelude));
            }
            None => match self.pinned.iter().position(|(pinned, _)| *pinned == place) {
                Some(index) => Held::Pinned(index),
                None => {
                    prelude.is_fresh = true;
                    let lane = match self.replica_lane(place, path, Need::Fresh).await? {
                        Some(lane) => lane,
                        None => self.acquire(place, path, Need::Fresh).await?,
                    };
                    Held::Alone(place, lane)
                }
            },
        };
        if !prelude.is_fresh {
            let settings = self.settings_at(place);
            let session = self.id;
            settle(self.lane(&mut held), &settings, session).await?;
        }
        set_path(self.lane(&mut held), path, &mut prelude);
        Ok((held, prelude))
    }

    /// [`Session::hold`], with the prelude done: for work that does not begin with frames.
    ///
    /// # Errors
    /// As [`Session::hold`].
    pub async fn hold_ready(&mut self, place: Place, path: &Arc<str>) -> Result<Held> {
        loop {
            let (mut held, prelude) = self.hold(place, path).await?;
            if prelude.ready == 0 {
                return Ok(held);
            }
            let lane = self.lane(&mut held);
            let done = async {
                lane.send(prelude.frames.freeze()).await?;
                lane.collect(prelude.ready).await
            };
            match done.await {
                Ok(_) => return Ok(held),
                Err(error) if prelude.is_fresh && error.loss().is_some() => {
                    self.give_up(held);
                    self.wait_for_another(&error).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The lane behind a [`Held`].
    pub fn lane<'a>(&'a mut self, held: &'a mut Held) -> &'a mut Lane {
        match held {
            Held::Alone(_, lane) => lane,
            Held::Pinned(index) => &mut self.pinned[*index].1,
            Held::Joined(index) => {
                &mut self.transaction.as_mut().expect("a joined lane has its transaction").participants[*index].lane
            }
        }
    }

    /// Notes that the session left something in a backend that it may ask for again: the backend is its own as long as the pool has others.
    pub fn leave_residue(&mut self, held: &mut Held) {
        let owner = Arc::downgrade(&self.presence);
        self.lane(held).state.residue = Some(owner);
    }

    /// [`Session::leave_residue`] at home, where sequences are, once the transaction's statement drew from one.
    pub fn note_sequences_drawn(&mut self) {
        let home = self.transaction.as_ref().and_then(|transaction| transaction.position(Place::HOME));
        if let Some(index) = home {
            self.leave_residue(&mut Held::Joined(index));
        }
    }

    /// Gives a lane taken for one statement back; keeps it when `pin`.
    pub fn let_go(&mut self, held: Held, pin: bool) {
        match held {
            Held::Alone(_, lane) if matches!(self.aside, Aside::Out) => self.aside = Aside::Ready(lane),
            Held::Alone(place, lane) if pin => self.pinned.push((place, lane)),
            Held::Alone(_, lane) => lane.release(),
            Held::Joined(index) if pin => {
                let place = self.transaction.as_ref().map(|transaction| transaction.participants[index].place);
                self.pin_at_end.extend(place);
            }
            Held::Joined(_) | Held::Pinned(_) => {}
        }
    }

    /// A lane from the session's own or from the pool, with its settings in line.
    async fn acquire(&mut self, place: Place, path: &Arc<str>, need: Need) -> Result<Pooled> {
        let (settings, session) = (self.settings_at(place), self.id);
        if let Some(index) = self.pinned.iter().position(|(pinned, _)| *pinned == place) {
            if self.pinned[index].1.has_ended() {
                return Err(self.forget_pinned(index, "The connection to it is gone"));
            }
            settle(&mut self.pinned[index].1, &settings, session).await?;
            self.pin_at_end.push(place);
            return Ok(self.pinned.swap_remove(index).1);
        }
        loop {
            let mut lane = self.pooled(place, path, need).await?;
            match settle(&mut lane, &settings, session).await {
                Err(error) if error.loss().is_some() => {
                    drop(lane);
                    self.wait_for_another(&error).await?;
                }
                settled => {
                    settled?;
                    return Ok(lane);
                }
            }
        }
    }

    /// A lane from the pool for the session's role (the directory: the superuser).
    ///
    /// # Errors
    /// 53300, 57P03.
    pub async fn pooled(&self, place: Place, path: &Arc<str>, need: Need) -> Result<Pooled> {
        self.pooled_as(self.role_at(place), place, path, need).await
    }

    /// Who works at a place for this session.
    pub fn role_at(&self, place: Place) -> Arc<str> {
        if place.kind == Kind::Directory { self.worker.cluster.superuser.clone() } else { self.role.clone() }
    }

    /// [`Session::pooled`] as another role.
    ///
    /// # Errors
    /// 53300, 57P03.
    pub async fn pooled_as(&self, role: Arc<str>, place: Place, path: &Arc<str>, need: Need) -> Result<Pooled> {
        let facts = self.facts();
        let group = facts.directory.groups.get(place.group.0);
        let group =
            group.ok_or_else(|| Error::internal(format!("the directory has no group number {}", place.group.0)))?;
        let key = self.lane_key(role, place);
        let fit = |lane: &Lane| self.fit(lane, path);
        let epoch = self.epoch_seen(&group.name);
        tokio::select! {
            biased;
            taken = hold::take(&self.worker, (&group.name, epoch), &key, need, fit, &self.patience) => taken,
            cancelled = self.cancel.requested() => Err(cancelled),
        }
    }

    /// Which lanes are good for a role at a place.
    pub(super) fn lane_key(&self, role: Arc<str>, place: Place) -> LaneKey {
        let database = match place.kind {
            Kind::Data => self.data_database.clone(),
            Kind::Catalog => self.database.clone(),
            Kind::Directory => self.worker.cluster.directory_database.clone(),
        };
        LaneKey { database, role }
    }

    /// How well an idle lane suits the session.
    pub(super) fn fit(&self, lane: &Lane, path: &Arc<str>) -> Fit {
        let state = &lane.state;
        if state.is_kept_from(self.id) {
            Fit::Kept
        } else if state.residue.is_some() && state.session.get() == self.id {
            Fit::Best
        } else if state.search_path.as_ref() == Some(path) && Arc::ptr_eq(&state.settings, &self.settings) {
            if Arc::weak_count(&self.presence) == 0 { Fit::Best } else { Fit::Ready }
        } else {
            Fit::Usable
        }
    }

    /// A lane of the catalog database beside the transaction, its settings and search_path in line: for questions, which change nothing there,
    /// and go on with [`Session::answered`].
    ///
    /// # Errors
    /// As [`Session::hold`].
    pub async fn catalog_lane(&mut self) -> Result<Pooled> {
        let path = self.plain_path();
        loop {
            let mut lane = self.pooled(Place::CATALOG, &path, Need::Joining).await?;
            let settled = async {
                settle(&mut lane, &self.settings, self.id).await?;
                if lane.state.search_path.as_ref() != Some(&path) {
                    lane.query(&format!("SET search_path = {path}")).await?;
                    lane.state.search_path = Some(path.clone());
                }
                Ok(())
            };
            match settled.await {
                Err(error) if Error::loss(&error).is_some() => {
                    drop(lane);
                    self.wait_for_another(&error).await?;
                }
                settled => {
                    settled?;
                    return Ok(lane);
                }
            }
        }
    }

    /// Takes the answer to a question on such a lane, which goes back to its pool; `None` when the lane was lost, and the question is to be
    /// asked again on another.
    ///
    /// # Errors
    /// The answer's; as [`Session::hold`].
    pub async fn answered<T>(&mut self, lane: Pooled, answer: Result<T>) -> Result<Option<T>> {
        match answer {
            Err(error) if error.loss().is_some() => {
                drop(lane);
                self.wait_for_another(&error).await?;
                Ok(None)
            }
            answer => {
                lane.release();
                answer.map(Some)
            }
        }
    }

    /// The results of a question in the catalog database, beside the transaction.
    ///
    /// # Errors
    /// What PostgreSQL says of it; as [`Session::hold`].
    pub async fn question(&mut self, sql: &str) -> Result<Vec<ResultSet>> {
        loop {
            let mut lane = self.catalog_lane().await?;
            let sets = lane.query(sql).await;
            if let Some(sets) = self.answered(lane, sets).await? {
                return Ok(sets);
            }
        }
    }

    /// Brings a backend that is not in a transaction in line with the session.
    ///
    /// # Errors
    /// What PostgreSQL says of the settings.
    pub async fn settle(&self, lane: &mut Lane) -> Result<()> {
        settle(lane, &self.settings, self.id).await
    }

    /// What is in force at a place: nothing of the client's in the directory, which only the superuser may write.
    pub(super) fn settings_at(&self, place: Place) -> Arc<Settings> {
        if place.kind == Kind::Directory { Arc::default() } else { self.settings.clone() }
    }

    /// The search_path for the catalog database and for statements without a shard, as SQL text.
    pub fn plain_path(&self) -> Arc<str> {
        self.search_path.clone()
    }

    /// The search_path for a shard: each schema preceded by its slice.
    pub fn shard_path(&mut self, shard: ShardId) -> Arc<str> {
        if let Some(path) = self.shard_paths.get(&shard) {
            return path.clone();
        }
        let mut names = Vec::new();
        for name in split_search_path(&self.search_path) {
            if name == "$user" {
                names.push(shard.schema(&self.role));
            } else {
                names.push(shard.schema(&name));
            }
            names.push(name);
        }
        let path: Arc<str> = join_search_path(names).into();
        self.shard_paths.insert(shard, path.clone());
        path
    }

    /// The search_path as names, for the planner.
    pub fn path_names(&self) -> Vec<String> {
        let facts = self.facts();
        split_search_path(&self.search_path)
            .into_iter()
            .filter_map(|name| match name.as_str() {
                "$user" => facts.catalog.schemas.contains(&*self.role).then(|| self.role.to_string()),
                _ => Some(name),
            })
            .collect()
    }

    /// Notes a new search_path.
    pub fn set_search_path(&mut self, path: &str) {
        self.search_path = path.into();
        self.shard_paths.clear();
        self.refresh_path_names();
    }

    /// What the client was last told of a reported parameter.
    pub fn reported_setting(&self, name: &str) -> Option<&str> {
        self.reported.get(name).map(String::as_str)
    }

    /// A group's name, for messages.
    pub fn group_name(&self, group: GroupIndex) -> String {
        self.facts().directory.groups.get(group.0).map_or_else(|| group.0.to_string(), |group| group.name.clone())
    }
}

fn set_path(lane: &mut Lane, path: &Arc<str>, prelude: &mut Prelude) {
    if lane.state.search_path.as_ref() != Some(path) {
        prelude.push(&format!("SET search_path = {path}"));
        lane.state.search_path = Some(path.clone());
    }
}

/// Brings a backend in line with a session's settings, cleaning up after another session's unknown code first.
///
/// # Errors
/// What PostgreSQL says of the settings.
pub async fn settle(lane: &mut Lane, settings: &Arc<Settings>, session: u64) -> Result<()> {
    if lane.state.session.get() != session {
        if lane.state.residue.is_some() {
            // Whatever the last session's unknown code left must not be met by another.
            lane.query("RESET ALL; RESET SESSION AUTHORIZATION; CLOSE ALL; UNLISTEN *; SELECT pg_catalog.pg_advisory_unlock_all()")
                .await?;
            lane.query("DISCARD TEMP; DISCARD SEQUENCES").await?;
            lane.state.settings = Arc::default();
            lane.state.search_path = None;
            lane.state.residue = None;
        }
        lane.state.session.set(session);
    }
    if !Arc::ptr_eq(&lane.state.settings, settings) {
        let difference = settings.difference(&lane.state.settings);
        if !difference.is_empty() {
            lane.query(&difference).await.map_err(|error| match error {
                Error::Server(mut fields) => {
                    fields.add_context("while bringing a backend's settings in line with the session's");
                    Error::Server(fields)
                }
                other => other,
            })?;
        }
        lane.state.settings = settings.clone();
    }
    Ok(())
}
