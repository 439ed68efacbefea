//! A session's transaction: the places that joined it, and how they commit together or not at all.
//!
//! BEGIN is answered at once; a place is told only when it is first used. One writer commits by itself. Several: PREPARE TRANSACTION on all but
//! home's data database, then home's own COMMIT, which carries the decision row, then COMMIT PREPARED; whatever a
//! coordinator that dies in between leaves is finished by `directory::recovery`.

use std::sync::Arc;

use atoll_planner::directory::Directory;
use atoll_planner::{quote_identifier, quote_literal};
use atoll_wire::frontend;
use bytes::BytesMut;
use futures_util::future::join_all;

use super::batch::statement_name;
use super::lost::{check_replicated, cut_off, cut_off_because, unknown_outcome};
use super::marks::Clock;
use super::settings::Settings;
use crate::directory::outcome::TransactionId;
use crate::error::{Error, Loss, Result, sqlstate};
use crate::facts::DatabaseFacts;
use crate::lane::{Lane, ResultSet};
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
    /// The replicas on which that one is, by name.
    pub replicas: Vec<(Place, String)>,
    /// It does without a place rather than wait for a backend there.
    pub spare: bool,
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

/// What a commit came to.
pub struct Commit {
    pub ending: Result<Ending>,
    pub lanes: Vec<(Place, Pooled)>,
    /// What is still to be done, on other lanes than the transaction's.
    pub unfinished: Option<Unfinished>,
}

impl Commit {
    fn ended(ending: Result<Ending>, lanes: Vec<(Place, Pooled)>) -> Self {
        Self { ending, lanes, unfinished: None }
    }
}

/// A two-phase commit that lost backends on its way.
pub struct Unfinished {
    /// Why it is not known whether the decision stands; `None` when it does.
    pub undecided: Option<Error>,
    /// Prepared parts that wait for the decision, under their names.
    pub parts: Vec<(Place, String)>,
}

/// What the two-phase commit needs from the session.
pub struct CommitContext<'a> {
    pub directory: &'a Directory,
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
            replicas: Vec::new(),
            spare: false,
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

    /// Commits. A failed transaction is rolled back instead, as PostgreSQL does. The ending's errors: the one that made it roll back (a deferred
    /// constraint, a serialization failure, 40001 for a lost backend); 08007 when the outcome is not known.
    pub async fn commit(mut self, context: CommitContext<'_>) -> Commit {
        if self.failed {
            return Commit::ended(Ok(Ending::RolledBack), self.roll_back().await);
        }
        if self.needs_decision() {
            return self.commit_in_two_phases(context).await;
        }
        // The writer first: only its COMMIT can fail in a way that matters.
        self.participants.sort_by_key(|participant| !participant.wrote);
        for (index, participant) in self.participants.iter_mut().enumerate() {
            let outcome = if participant.wrote {
                let group = context.directory.groups.get(participant.place.group.0);
                commit_writer(&mut participant.lane, group.map_or("", |group| &group.name)).await
            } else {
                participant.lane.query("COMMIT").await.map(|sets| ending_of(&sets))
            };
            if index == 0 && !matches!(outcome, Ok(Ending::Committed)) {
                return Commit::ended(outcome, self.roll_back().await);
            }
        }
        Commit::ended(Ok(Ending::Committed), self.into_lanes(Ending::Committed))
    }

    async fn commit_in_two_phases(mut self, context: CommitContext<'_>) -> Commit {
        if let Some(lane) = context.home {
            let index = self.join(Place::HOME, lane);
            let lane = &mut self.participants[index].lane;
            if let Err(error) = lane.query("BEGIN").await {
                return Commit::ended(Err(certainly_undone(error)), self.roll_back().await);
            }
        }
        let gid_of = |index: usize| format!("{}:{index}", context.gid);
        let prepared = join_all(self.participants.iter_mut().enumerate().map(async |(index, participant)| {
            if participant.wrote && participant.place != Place::HOME {
                participant.lane.query(&format!("PREPARE TRANSACTION '{}'", gid_of(index))).await?;
                check_replicated(&mut participant.lane)?;
            }
            Ok(())
        }))
        .await;
        if let Some(error) = prepared.into_iter().find_map(Result::err) {
            // Without a decision every part is rolled back, also one that was prepared unheard: by recovery.
            return Commit::ended(Err(certainly_undone(error)), self.undo_prepared(&gid_of).await);
        }
        let parts: Vec<(usize, Place, String)> = self
            .participants
            .iter()
            .enumerate()
            .filter(|(_, participant)| participant.wrote && participant.place != Place::HOME)
            .map(|(index, participant)| (index, participant.place, gid_of(index)))
            .collect();
        let names: Vec<&str> = parts.iter().map(|(_, _, name)| name.as_str()).collect();
        let decision = [context.secret, context.gid, &format!("{{{}}}", names.join(","))];
        let home = self.participants.iter_mut().find(|participant| participant.place == Place::HOME);
        let decided = match home {
            Some(home) => decide(&mut home.lane, decision).await,
            None => Decided::No(Error::internal("a distributed transaction has no decider")),
        };
        match decided {
            Decided::Yes => {}
            Decided::Unknown(error) => {
                let parts = parts.into_iter().map(|(_, place, name)| (place, name)).collect();
                let unfinished = Unfinished { undecided: Some(error), parts };
                return Commit {
                    ending: Ok(Ending::Committed),
                    lanes: self.into_lanes(Ending::RolledBack),
                    unfinished: Some(unfinished),
                };
            }
            Decided::No(error) => {
                return Commit::ended(Err(certainly_undone(error)), self.undo_prepared(&gid_of).await);
            }
        }
        let finished = join_all(self.participants.iter_mut().enumerate().map(async |(index, participant)| {
            match (participant.place == Place::HOME, participant.wrote) {
                (true, _) => Ok(Vec::new()),
                (false, true) => participant.lane.query(&format!("COMMIT PREPARED '{}'", gid_of(index))).await,
                (false, false) => participant.lane.query("COMMIT").await,
            }
        }))
        .await;
        let mut left = Vec::new();
        for (index, place, name) in parts {
            match &finished[index] {
                Ok(_) => {}
                // A primary that has begun to serve meanwhile has finished it first.
                Err(error) if error.sqlstate() == sqlstate::UNDEFINED_OBJECT => {}
                Err(error) => {
                    tracing::warn!(%error, name, "a participant of a decided transaction could not be told yet");
                    left.push((place, name));
                }
            }
        }
        let unfinished = (!left.is_empty()).then_some(Unfinished { undecided: None, parts: left });
        Commit { ending: Ok(Ending::Committed), lanes: self.into_lanes(Ending::Committed), unfinished }
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

/// What became of the decision.
enum Decided {
    Yes,
    No(Error),
    /// Its COMMIT was not answered, or before a standby had it.
    Unknown(Error),
}

async fn decide(home: &mut Lane, decision: [&str; 3]) -> Decided {
    if let Err(error) = home.query_with("SELECT atoll.record_commit($1, $2, $3::text[])", &decision).await {
        return Decided::No(error);
    }
    match home.query("COMMIT").await {
        Ok(sets) if ending_of(&sets) == Ending::Committed => {
            check_replicated(home).map_or_else(Decided::Unknown, |()| Decided::Yes)
        }
        Ok(_) => Decided::No(Error::sql(sqlstate::SERIALIZATION_FAILURE, "home rolled the transaction back")),
        Err(error) if matches!(error.loss(), Some(Loss::Cut | Loss::Terminated)) => Decided::Unknown(error),
        Err(error) => Decided::No(error),
    }
}

/// The number under which backends keep the question for a transaction's identity prepared; no statement has it.
const IDENTITY: u64 = u64::MAX;
const IDENTITY_QUESTION: &str = "SELECT pg_catalog.pg_current_xact_id_if_assigned(), \
    pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), pg_catalog.pg_current_wal_insert_lsn(), \
    pg_catalog.date_part('epoch', pg_catalog.now())";

/// COMMIT of the only writer. It is asked in the same breath what it calls the transaction, so that its outcome can be looked up should the
/// answer get lost.
async fn commit_writer(lane: &mut Lane, group: &str) -> Result<Ending> {
    let mut out = BytesMut::new();
    let name = statement_name(IDENTITY);
    let is_known = lane.has_prepared(IDENTITY);
    if !is_known {
        frontend::parse(&name, IDENTITY_QUESTION, &[], &mut out);
    }
    frontend::bind("", &name, &[], std::iter::empty(), &[], &mut out);
    frontend::execute("", 0, &mut out);
    frontend::sync(&mut out);
    frontend::query("COMMIT", &mut out);
    lane.send(out.freeze()).await.map_err(certainly_undone)?;
    let mut id = None;
    let answered = async {
        match lane.collect(1).await {
            Ok(sets) => {
                lane.note_prepared(IDENTITY);
                id = sets.first().and_then(|set| TransactionId::read(group, set)).map(|id| id.to_string());
            }
            // Only a transaction that has failed there refuses the question; its COMMIT says so.
            Err(error @ Error::LaneLost { .. }) => return Err(error),
            Err(_) => {}
        }
        lane.collect(1).await
    }
    .await;
    match answered {
        Ok(sets) => {
            check_replicated(lane)?;
            Ok(ending_of(&sets))
        }
        Err(Error::LaneLost { node, reason, .. }) => Err(unknown_outcome(&node, &reason, id.as_deref())),
        Err(error) => Err(error),
    }
}

fn ending_of(sets: &[ResultSet]) -> Ending {
    match sets.first() {
        Some(set) if set.tag == "ROLLBACK" => Ending::RolledBack,
        _ => Ending::Committed,
    }
}

/// The error of a commit that has not come to its decision.
fn certainly_undone(error: Error) -> Error {
    match error {
        Error::LaneLost { node, reason, .. } => cut_off(&node, &reason),
        Error::Sql { sqlstate: sqlstate::UNKNOWN_OUTCOME, message, .. } => cut_off_because(&message),
        error => error,
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
