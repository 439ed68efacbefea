//! A session's transaction: the places that joined it, and how they commit together or not at all.
//!
//! BEGIN is answered at once; a place is told only when it is first used. One writer commits by itself. Several: PREPARE TRANSACTION on all but
//! home's data database, then home's own COMMIT, which carries the decision row, then COMMIT PREPARED; whatever a
//! coordinator that dies in between leaves is finished by `directory::recovery`.

use std::sync::Arc;

use atoll_planner::{quote_identifier, quote_literal};
use futures_util::future::join_all;

use super::marks::Clock;
use super::settings::Settings;
use crate::error::{Error, Result, sqlstate};
use crate::facts::DatabaseFacts;
use crate::lane::Lane;
use crate::place::Place;
use crate::pool::Pooled;

/// One backend that takes part.
pub struct Participant {
    pub place: Place,
    pub lane: Pooled,
    pub wrote: bool,
    /// What a rollback gives the backend back.
    settings_before: Arc<Settings>,
    search_path_before: Option<Arc<str>>,
}

pub struct Transaction {
    /// The client said BEGIN; otherwise the block belongs to one message or one pipeline.
    pub explicit: bool,
    /// `BEGIN` with the modes the client gave.
    pub begin: String,
    pub participants: Vec<Participant>,
    /// SET TRANSACTION statements so far.
    modes: Vec<String>,
    /// Snapshots of another transaction that places are to see.
    pub snapshots: Vec<(Place, String)>,
    /// Open savepoints, oldest first, with the settings at their time.
    savepoints: Vec<(String, Arc<Settings>)>,
    pub failed: bool,
    /// What the session's settings become at ROLLBACK, and at COMMIT.
    pub settings_on_rollback: Arc<Settings>,
    pub settings_on_commit: Arc<Settings>,
    /// The catalog or the directory changed inside: what this transaction sees of them.
    pub facts: Option<Arc<DatabaseFacts>>,
    pub catalog_changed: bool,
    /// Whether DDL was allowed on the data databases that have joined (per participant, by place).
    pub ddl_allowed: Vec<Place>,
    /// Whose clock says when it began.
    pub clock: Clock,
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Committed,
    RolledBack,
}

/// What the two-phase commit needs from the session.
pub struct CommitContext<'a> {
    pub secret: &'a str,
    /// Unique in the cluster; participants add their number.
    pub gid: &'a str,
    /// A lane of home's data database, opened when home is not a participant and a decision has to be written.
    pub home: Option<Pooled>,
}

impl Transaction {
    pub fn new(explicit: bool, begin: String, settings: &Arc<Settings>) -> Self {
        Self {
            explicit,
            begin,
            participants: Vec::new(),
            modes: Vec::new(),
            snapshots: Vec::new(),
            savepoints: Vec::new(),
            failed: false,
            settings_on_rollback: settings.clone(),
            settings_on_commit: settings.clone(),
            facts: None,
            catalog_changed: false,
            ddl_allowed: Vec::new(),
            clock: Clock::Unread,
        }
    }

    pub fn position(&self, place: Place) -> Option<usize> {
        self.participants.iter().position(|participant| participant.place == place)
    }

    /// Adds a place; [`Transaction::opening`] must be sent on its lane before anything else.
    pub fn join(&mut self, place: Place, lane: Pooled) -> usize {
        let settings_before = lane.state.settings.clone();
        let search_path_before = lane.state.search_path.clone();
        self.participants.push(Participant { place, lane, wrote: false, settings_before, search_path_before });
        self.participants.len() - 1
    }

    /// The messages that open the block on a new participant: BEGIN, and the savepoints already set.
    pub fn opening(&self, place: Place) -> impl Iterator<Item = String> {
        let savepoints = self.savepoints.iter().map(|(name, _)| format!("SAVEPOINT {}", quote_identifier(name)));
        let snapshot = self.snapshots.iter().find(|(other, _)| *other == place);
        let snapshot = snapshot.map(|(_, name)| format!("SET TRANSACTION SNAPSHOT {}", quote_literal(name)));
        std::iter::once(self.begin.clone()).chain(snapshot).chain(self.modes.iter().cloned()).chain(savepoints)
    }

    /// BEGIN with its modes, and SET TRANSACTION after it: what they say of `one` against `other`, the last word counting.
    pub fn last_mode(&self, one: &str, other: &str) -> Option<bool> {
        let last = |text: &str| {
            let text = text.to_ascii_uppercase();
            let words: Vec<&str> =
                text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
            let text = words.join(" ");
            match (text.rfind(one), text.rfind(other)) {
                (None, None) => None,
                (one, other) => Some(one > other),
            }
        };
        self.modes.iter().rev().chain([&self.begin]).find_map(|text| last(text))
    }

    /// SET TRANSACTION: for those that joined, and for those that will.
    ///
    /// # Errors
    /// PostgreSQL's own (25001 when it comes too late); the transaction is failed then.
    pub async fn set_modes(&mut self, sql: &str) -> Result<()> {
        self.everywhere(sql).await?;
        self.modes.push(sql.to_owned());
        Ok(())
    }

    /// Whether committing takes two phases.
    pub fn needs_decision(&self) -> bool {
        self.participants.iter().filter(|participant| participant.wrote).count() > 1
    }

    pub fn has(&self, place: Place) -> bool {
        self.position(place).is_some()
    }

    /// SAVEPOINT everywhere.
    ///
    /// # Errors
    /// A participant's error; the transaction is failed then.
    pub async fn savepoint(&mut self, name: &str, settings: &Arc<Settings>) -> Result<()> {
        self.everywhere(&format!("SAVEPOINT {}", quote_identifier(name))).await?;
        self.savepoints.push((name.to_owned(), settings.clone()));
        Ok(())
    }

    /// RELEASE everywhere.
    ///
    /// # Errors
    /// 3B001 when there is no such savepoint.
    pub async fn release(&mut self, name: &str) -> Result<()> {
        let index = self.savepoint_index(name)?;
        self.everywhere(&format!("RELEASE SAVEPOINT {}", quote_identifier(name))).await?;
        self.savepoints.truncate(index);
        Ok(())
    }

    /// ROLLBACK TO everywhere; the settings of the savepoint's time come back.
    ///
    /// # Errors
    /// 3B001 when there is no such savepoint.
    pub async fn rollback_to(&mut self, name: &str) -> Result<Arc<Settings>> {
        let index = self.savepoint_index(name)?;
        self.failed = false;
        self.everywhere(&format!("ROLLBACK TO SAVEPOINT {}", quote_identifier(name))).await?;
        for participant in &mut self.participants {
            // Whatever was SET since is undone there; say it again when it matters.
            participant.lane.state.search_path = None;
            participant.lane.state.settings = participant.settings_before.clone();
        }
        self.ddl_allowed.clear();
        self.savepoints.truncate(index + 1);
        Ok(self.savepoints[index].1.clone())
    }

    fn savepoint_index(&mut self, name: &str) -> Result<usize> {
        self.savepoints.iter().rposition(|(known, _)| known == name).ok_or_else(|| {
            self.failed = true;
            Error::sql("3B001", format!("savepoint \"{name}\" does not exist"))
        })
    }

    async fn everywhere(&mut self, sql: &str) -> Result<()> {
        let results = join_all(self.participants.iter_mut().map(|participant| participant.lane.query(sql))).await;
        let failure = results.into_iter().find_map(Result::err);
        self.failed |= failure.is_some();
        failure.map_or(Ok(()), Err)
    }

    /// Rolls everything back. Backends that cannot be told lose their lane, which rolls them back as well.
    pub async fn roll_back(mut self) -> Vec<(Place, Pooled)> {
        join_all(self.participants.iter_mut().map(|participant| end_lane(participant, "ROLLBACK"))).await;
        self.into_lanes(Ending::RolledBack)
    }

    /// Commits. A failed transaction is rolled back instead, as PostgreSQL does.
    ///
    /// # Errors
    /// The error that made it roll back (a deferred constraint, a serialization failure); 08007 when the outcome is not known.
    pub async fn commit(mut self, context: CommitContext<'_>) -> (Result<Ending>, Vec<(Place, Pooled)>) {
        if self.failed {
            return (Ok(Ending::RolledBack), self.roll_back().await);
        }
        if self.needs_decision() {
            return self.commit_in_two_phases(context).await;
        }
        // The writer first: only its COMMIT can fail in a way that matters.
        self.participants.sort_by_key(|participant| !participant.wrote);
        for index in 0..self.participants.len() {
            let answer = self.participants[index].lane.query("COMMIT").await;
            let outcome = match answer {
                Ok(sets) if sets.first().is_some_and(|set| set.tag == "ROLLBACK") => Ok(Ending::RolledBack),
                Ok(_) => Ok(Ending::Committed),
                Err(Error::LaneLost { node, .. }) if self.participants[index].wrote => Err(unknown_outcome(&node)),
                Err(error) => Err(error),
            };
            if index == 0 && !matches!(outcome, Ok(Ending::Committed)) {
                let lanes = self.roll_back().await;
                return (outcome, lanes);
            }
        }
        (Ok(Ending::Committed), self.into_lanes(Ending::Committed))
    }

    async fn commit_in_two_phases(mut self, context: CommitContext<'_>) -> (Result<Ending>, Vec<(Place, Pooled)>) {
        if let Some(lane) = context.home {
            let index = self.join(Place::HOME, lane);
            let lane = &mut self.participants[index].lane;
            if let Err(error) = lane.query("BEGIN").await {
                return (Err(error), self.roll_back().await);
            }
        }
        let gid_of = |index: usize| format!("{}:{index}", context.gid);
        let prepared = join_all(self.participants.iter_mut().enumerate().map(async |(index, participant)| {
            if participant.wrote && participant.place != Place::HOME {
                participant.lane.query(&format!("PREPARE TRANSACTION '{}'", gid_of(index))).await.map(|_| ())
            } else {
                Ok(())
            }
        }))
        .await;
        if let Some(error) = prepared.into_iter().find_map(Result::err) {
            return (Err(error), self.undo_prepared(&gid_of).await);
        }
        let names: Vec<String> = self
            .participants
            .iter()
            .enumerate()
            .filter(|(_, participant)| participant.wrote && participant.place != Place::HOME)
            .map(|(index, _)| gid_of(index))
            .collect();
        let decision = [context.secret, context.gid, &format!("{{{}}}", names.join(","))];
        let home = self.participants.iter_mut().find(|participant| participant.place == Place::HOME);
        let decided = match home {
            Some(home) => decide(&mut home.lane, decision).await,
            None => Err(Error::internal("a distributed transaction has no decider")),
        };
        match decided {
            Ok(()) => {}
            // Whether the row is there is not known here: recovery finds out, and finishes either way.
            Err(Error::LaneLost { node, .. }) => return (Err(unknown_outcome(&node)), Vec::new()),
            Err(error) => return (Err(error), self.undo_prepared(&gid_of).await),
        }
        let finished = join_all(self.participants.iter_mut().enumerate().map(async |(index, participant)| {
            match (participant.place == Place::HOME, participant.wrote) {
                (true, _) => Ok(Vec::new()),
                (false, true) => participant.lane.query(&format!("COMMIT PREPARED '{}'", gid_of(index))).await,
                (false, false) => participant.lane.query("COMMIT").await,
            }
        }))
        .await;
        for error in finished.into_iter().filter_map(Result::err) {
            // The decision stands; recovery finishes what could not be told now.
            tracing::warn!(%error, gid = context.gid, "a participant of a decided transaction could not be told yet");
        }
        (Ok(Ending::Committed), self.into_lanes(Ending::Committed))
    }

    async fn undo_prepared(mut self, gid_of: &(impl Fn(usize) -> String + Sync)) -> Vec<(Place, Pooled)> {
        join_all(self.participants.iter_mut().enumerate().map(async |(index, participant)| {
            // After a successful PREPARE the backend is idle and its work lies in the prepared transaction.
            if participant.wrote && participant.lane.transaction_status == b'I' {
                let _ = participant.lane.query(&format!("ROLLBACK PREPARED '{}'", gid_of(index))).await;
            } else {
                end_lane(participant, "ROLLBACK").await;
            }
        }))
        .await;
        self.into_lanes(Ending::RolledBack)
    }

    /// The lanes, with what their backends now stand at noted.
    fn into_lanes(self, ending: Ending) -> Vec<(Place, Pooled)> {
        self.participants
            .into_iter()
            .map(|mut participant| {
                if ending == Ending::RolledBack {
                    participant.lane.state.settings = participant.settings_before;
                    participant.lane.state.search_path = participant.search_path_before;
                }
                (participant.place, participant.lane)
            })
            .collect()
    }
}

async fn decide(home: &mut Lane, decision: [&str; 3]) -> Result<()> {
    home.query_with("SELECT atoll.record_commit($1, $2, $3::text[])", &decision).await?;
    match home.query("COMMIT").await?.first() {
        Some(set) if set.tag == "COMMIT" => Ok(()),
        _ => Err(Error::sql(sqlstate::SERIALIZATION_FAILURE, "home rolled the transaction back")),
    }
}

async fn end_lane(participant: &mut Participant, sql: &str) {
    // A lane with answers still due ends instead: what it runs must not be waited for.
    if !participant.lane.busy
        && participant.lane.transaction_status != b'I'
        && let Err(error) = participant.lane.query(sql).await
    {
        tracing::debug!(%error, "a participant could not be told to roll back; its lane ends");
    }
}

fn unknown_outcome(node: &str) -> Error {
    Error::sql(
        sqlstate::UNKNOWN_OUTCOME,
        format!("node \"{node}\" went away during COMMIT: whether the transaction took effect is not known"),
    )
    .with_hint("Check whether its changes are there before trying again.")
}
