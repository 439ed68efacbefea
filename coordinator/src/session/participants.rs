//! The session's transaction as DDL and distribution see it: SQL at a place, all of it committed together.

use std::sync::Arc;

use async_trait::async_trait;
use atoll_wire::frames::peek;
use atoll_wire::frontend;
use bytes::BytesMut;

use super::Session;
use super::lost::check_replicated;
use crate::directory::bootstrap;
use crate::error::{Error, Result};
use crate::lane::{Lane, ResultSet};
use crate::place::{Autocommit, Kind, Participants, Place};
use crate::pool::Need;

impl Session {
    /// A participant's lane, ready for a statement under `path`.
    ///
    /// # Errors
    /// As [`Session::hold`].
    pub async fn participant(&mut self, place: Place, path: &Arc<str>, write: bool) -> Result<&mut Lane> {
        let super::Held::Joined(index) = self.hold_ready(place, path).await? else {
            return Err(Error::internal("work on several places outside a transaction"));
        };
        let transaction = self.transaction.as_mut().expect("joined above");
        let participant = &mut transaction.participants[index];
        participant.wrote |= write;
        Ok(&mut participant.lane)
    }

    /// Runs SQL at a place inside the transaction; an error fails it. Cancels reach it.
    ///
    /// # Errors
    /// PostgreSQL's own.
    pub async fn run_at(&mut self, place: Place, path: &Arc<str>, sql: &str, write: bool) -> Result<Vec<ResultSet>> {
        let cancel = self.cancel.clone();
        let result = async {
            let lane = self.participant(place, path, write).await?;
            lane.notices.clear();
            cancel.over(lane, async |lane| lane.query(sql).await).await
        }
        .await;
        if result.is_err() {
            self.note_failure();
        }
        result
    }

    /// The role whose rights count: SET ROLE's, else SET SESSION AUTHORIZATION's, else the one that logged in.
    fn current_role(&self) -> String {
        let set = ["role", "session_authorization"].into_iter().filter_map(|name| self.settings.get(name));
        set.into_iter()
            .find(|role| !matches!(*role, "none" | "default"))
            .map_or_else(|| self.role.to_string(), str::to_owned)
    }

    /// Lifts the DDL guard of a data database for this transaction.
    async fn allow_ddl(&mut self, place: Place) -> Result<()> {
        let allowed = self.transaction.as_ref().is_some_and(|transaction| transaction.ddl_allowed.contains(&place));
        if place.kind != Kind::Data || allowed {
            return Ok(());
        }
        let secret = self.worker.cluster.secret.clone();
        let path = self.plain_path();
        let lane = self.participant(place, &path, true).await?;
        lane.query_with("SELECT atoll.allow_ddl($1)", &[&secret]).await?;
        if let Some(transaction) = &mut self.transaction {
            transaction.ddl_allowed.push(place);
        }
        Ok(())
    }
}

#[async_trait]
impl Participants for Session {
    async fn run(&mut self, place: Place, search_path: Option<&str>, sql: &str) -> Result<Vec<ResultSet>> {
        self.allow_ddl(place).await.inspect_err(|_| self.note_failure())?;
        let path: Arc<str> = search_path.map_or_else(|| self.plain_path(), Into::into);
        let result = self.run_at(place, &path, sql, true).await;
        if let Some(index) = self.transaction.as_ref().and_then(|transaction| transaction.position(place)) {
            let transaction = self.transaction.as_mut().expect("found above");
            let lane = &mut transaction.participants[index].lane;
            let (aside, notices) = (std::mem::take(&mut lane.aside), std::mem::take(&mut lane.notices));
            if place == Place::CATALOG {
                // Said once for the whole cluster, in the client's own names.
                self.client.output.extend_from_slice(&notices);
                self.client.output.extend_from_slice(&aside);
            }
        }
        result
    }

    async fn run_privileged(&mut self, place: Place, sql: &str) -> Result<()> {
        let secret = self.worker.cluster.secret.clone();
        let result = async {
            self.allow_ddl(place).await?;
            let path = self.plain_path();
            let lane = self.participant(place, &path, true).await?;
            lane.query_with("SELECT atoll.run($1, $2)", &[&secret, sql]).await.map(drop)
        }
        .await;
        if result.is_err() {
            self.note_failure();
        }
        result
    }

    async fn copy_between(&mut self, from: (Place, &str), to: (Place, &str)) -> Result<u64> {
        let result = copy_between(self, from, to).await;
        if result.is_err() {
            self.note_failure();
        }
        result
    }
}

#[async_trait]
impl Autocommit for Session {
    async fn run_alone(
        &mut self,
        place: Place,
        as_superuser: bool,
        search_path: Option<&str>,
        sql: &str,
    ) -> Result<Vec<ResultSet>> {
        let path: Arc<str> = search_path.map_or_else(|| self.plain_path(), Into::into);
        let role = if as_superuser { self.worker.cluster.superuser.clone() } else { self.role_at(place) };
        let mut lane = self.pooled_as(role, place, &path, Need::Fresh).await?;
        // A lane of its own, which ends afterwards: what is set on it is for this statement only.
        if !as_superuser {
            self.settle(&mut lane).await?;
        }
        lane.query(&format!("SET search_path = {path}")).await?;
        if as_superuser {
            lane.query("SET session_replication_role = 'replica'").await?;
        }
        let cancel = self.cancel.clone();
        lane.notices.clear();
        self.note_written(place.group);
        let result = cancel.over(&mut lane, async |lane| lane.query(sql).await).await;
        let result = result.and_then(|sets| check_replicated(&mut lane).map(|()| sets));
        if place == Place::CATALOG {
            self.client.output.extend_from_slice(&lane.notices);
        }
        result
    }

    async fn create_database(&mut self, name: &str, options: &str) -> Result<()> {
        let cluster = self.worker.cluster.clone();
        let (keeper, role) = (cluster.keeper.clone(), self.current_role());
        let (name, options) = (name.to_owned(), options.to_owned());
        cluster.on_control(async move { bootstrap::create_database(&keeper, &role, &name, &options).await }).await
    }

    async fn drop_database(&mut self, name: &str, if_exists: bool, force: bool) -> Result<bool> {
        let cluster = self.worker.cluster.clone();
        if *self.database == *name {
            return Err(Error::sql("55006", "cannot drop the currently open database"));
        }
        let sessions = cluster.cancels.sessions_of(name);
        if !force && sessions > 0 {
            let (verb, plural) = if sessions == 1 { ("is", "") } else { ("are", "s") };
            return Err(Error::sql("55006", format!("database \"{name}\" is being accessed by other users"))
                .with_detail(format!("There {verb} {sessions} other session{plural} using the database.")));
        }
        let (keeper, role, name) = (cluster.keeper.clone(), self.current_role(), name.to_owned());
        cluster.on_control(async move { bootstrap::drop_database(&keeper, &role, &name, if_exists).await }).await
    }
}

async fn copy_between(session: &mut Session, from: (Place, &str), to: (Place, &str)) -> Result<u64> {
    if from.0 == to.0 {
        return Err(Error::internal("a copy within one backend"));
    }
    let path = session.plain_path();
    session.allow_ddl(to.0).await?;
    session.participant(to.0, &path, true).await?;
    session.participant(from.0, &path, false).await?;
    let transaction = session.transaction.as_mut().ok_or_else(|| Error::internal("a copy outside a transaction"))?;
    let position = |place| transaction.position(place).ok_or_else(|| Error::internal("a place that did not join"));
    let (source, target) = (position(from.0)?, position(to.0)?);
    let [source, target] = transaction
        .participants
        .get_disjoint_mut([source, target])
        .map_err(|_| Error::internal("a copy within one backend"))?;
    let start = |sql: &str| {
        let mut out = BytesMut::new();
        frontend::query(sql, &mut out);
        out.freeze()
    };
    target.lane.send(start(to.1)).await?;
    expect_copy(&mut target.lane, b'G').await?;
    source.lane.send(start(from.1)).await?;
    let mut data_done = false;
    let mut failure = None;
    while !data_done {
        let mut chunk = source.lane.receive_frames().await?;
        let mut data = BytesMut::new();
        while let Some((tag, length)) = peek(&chunk) {
            let frame = chunk.split_to(length.min(chunk.len()));
            match tag {
                b'd' => data.extend_from_slice(&frame),
                b'E' => failure = Some(atoll_wire::backend::decode::error_fields(&frame[5..])?),
                b'Z' => {
                    source.lane.ready(frame[5]);
                    data_done = true;
                }
                _ => {}
            }
        }
        if !data.is_empty() {
            target.lane.send(data.freeze()).await?;
        }
    }
    let mut end = BytesMut::new();
    match &failure {
        None => frontend::copy_done(&mut end),
        Some(_) => frontend::copy_fail("the source failed", &mut end),
    }
    target.lane.send(end.freeze()).await?;
    let copied = target.lane.collect(1).await;
    if let Some(fields) = failure {
        return Err(Error::Server(Box::new(fields)));
    }
    let rows = copied?.first().and_then(|set| atoll_wire::backend::decode::rows_of_tag(&set.tag));
    Ok(rows.unwrap_or(0))
}

/// Waits for the CopyIn or CopyOut response.
///
/// # Errors
/// What PostgreSQL says instead.
pub async fn expect_copy(lane: &mut Lane, response: u8) -> Result<()> {
    let frames = lane.receive_frames().await?;
    if frames.first() == Some(&response) {
        return Ok(());
    }
    lane.unread(frames);
    lane.collect(1).await?;
    Err(Error::internal("a COPY that did not start"))
}
