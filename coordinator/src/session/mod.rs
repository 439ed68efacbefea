//! One client's session: its messages in, the answers out, and the state PostgreSQL would keep for it.

mod batch;
pub mod cancel;
pub mod client;
mod cursors;
pub mod describe;
mod durability;
pub mod extended;
mod function_call;
mod hold;
mod lanes;
mod local;
mod login;
mod lost;
pub mod marks;
mod own;
mod own_settings;
pub mod participants;
mod portals;
mod positions;
mod reads;
mod relay;
pub mod settings;
pub mod simple;
pub mod slow;
mod temporary;
pub mod tls;
pub mod transaction;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use atoll_planner::directory::ShardId;
use atoll_wire::backend;
use atoll_wire::frames::{Frame, peek};
use atoll_wire::frontend::tag;
use bytes::BytesMut;
use futures_util::future::select_all;

pub use lanes::{Held, Prelude};
pub use login::serve;

use self::cancel::CancelHandle;
use self::client::Client;
use self::cursors::{Aside, Cursor};
use self::extended::Prepared;
use self::hold::Patience;
use self::portals::Portal;
use self::reads::{Reads, Route, Written};
use self::relay::Within;
use self::settings::Settings;
use self::transaction::{Commit, CommitContext, Ending, Transaction, Unfinished};
use crate::directory::recovery;
use crate::error::{Error, Result, sqlstate};
use crate::facts::DatabaseFacts;
use crate::place::Place;
use crate::pool::{Need, Pooled};
use crate::worker::Worker;

/// Which engine answered the last statement; `SHOW atoll.last_tier`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    Relay,
    DataFusion,
    Postgres,
    Coordinator,
}

impl Tier {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::DataFusion => "datafusion",
            Self::Postgres => "postgres",
            Self::Coordinator => "coordinator",
        }
    }
}

pub struct Session {
    /// Unique in this process.
    pub id: u64,
    /// There as long as the session: backends that keep something for it refer to it.
    pub presence: Arc<()>,
    pub client: Client,
    pub worker: Arc<Worker>,
    pub database: Arc<str>,
    pub data_database: Arc<str>,
    pub role: Arc<str>,
    /// What is in force, search_path aside.
    pub settings: Arc<Settings>,
    /// What they say of reads.
    reads: Reads,
    /// Where the reads of the statement that runs go, and whether a replica was asked.
    route: Route,
    used_replica: bool,
    /// The statement that runs is its own transaction.
    runs_alone: bool,
    /// The node that answered the last relayed statement.
    last_node: Option<String>,
    written: Written,
    /// What RESET goes back to: the startup packet's.
    startup_settings: Arc<Settings>,
    /// Text as after `SET search_path =`.
    search_path: Arc<str>,
    default_search_path: Arc<str>,
    shard_paths: HashMap<ShardId, Arc<str>>,
    /// The search_path as the planner takes it.
    names: Vec<String>,
    /// Values of reported parameters without any SET, and as last told to the client.
    reported_default: HashMap<String, String>,
    reported: HashMap<String, String>,
    /// The settings that `reported` agrees with.
    reported_for: Option<Arc<Settings>>,
    facts: Arc<DatabaseFacts>,
    /// What temporary tables of this session hide from its statements.
    temporary: temporary::Temporary,
    pub transaction: Option<Transaction>,
    /// Lanes that stay with the session because the client will come back for what is there.
    pub pinned: Vec<(Place, Pooled)>,
    /// Places whose lanes are to be kept when the transaction ends.
    pin_at_end: Vec<Place>,
    pub cancel: Arc<CancelHandle>,
    /// How much longer the message being answered may wait for primaries.
    patience: Patience,
    /// What an own backend that ended took with it: told with the next statement.
    state_lost: Option<Error>,
    /// The LISTEN statements in force.
    channels: BTreeSet<String>,
    statements: HashMap<String, Prepared>,
    portals: HashMap<String, Portal>,
    /// SQL cursors: where each lives.
    cursors: HashMap<String, Cursor>,
    /// A cursor's own backend, while a statement is sent to it.
    aside: Aside,
    /// Staged tables that open cursors read, so far.
    pub staged_kept: u64,
    /// How the statement that runs is answered.
    pub work: slow::Work,
    /// After an error in the extended protocol: messages are skipped up to the next Sync.
    skipping: bool,
    /// Whether the messages being answered end with a Sync (or are a simple Query).
    batch_synced: bool,
    /// Where the statement that runs stands in the client's message.
    within: Within,
    pub tier: Tier,
}

/// What belongs to a transaction while another runs beside it.
pub struct Outer {
    transaction: Option<Transaction>,
    cursors: HashMap<String, Cursor>,
    portals: HashMap<String, Portal>,
    pin_at_end: Vec<Place>,
}

/// As PostgreSQL reads a Boolean setting.
fn is_on(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    value == "1" || value == "on" || (!value.is_empty() && ("true".starts_with(&value) || "yes".starts_with(&value)))
}

static TRANSACTIONS: AtomicU64 = AtomicU64::new(1);

impl Session {
    /// Serves messages until the client leaves.
    ///
    /// # Errors
    /// What ends the session; FATAL errors have not been told to the client yet.
    async fn run(&mut self) -> Result<()> {
        let shutdown = self.worker.cluster.drain.begun.clone();
        let terminated = self.cancel.terminated.clone();
        loop {
            let idle = self.transaction.is_none();
            let frame = tokio::select! {
                biased;
                () = terminated.cancelled() => return Err(Self::terminated()),
                frame = self.client.next() => frame?,
                heard = hear(&mut self.pinned), if idle && !self.pinned.is_empty() => {
                    match heard {
                        Ok(frames) => self.client.output.extend_from_slice(&frames),
                        Err((index, reason)) => self.lose_pinned(index, &reason).await?,
                    }
                    self.client.flush().await?;
                    continue;
                }
                () = shutdown.cancelled(), if idle => return Err(Self::terminated()),
            };
            let Some(frame) = frame else { return Ok(()) };
            self.cancel.begin();
            self.patience.renew();
            self.facts_now().await?;
            match frame.tag {
                tag::QUERY => self.simple_message(&frame).await?,
                tag::PARSE | tag::BIND | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE | tag::FLUSH | tag::SYNC => {
                    self.extended_messages(frame).await?;
                }
                tag::TERMINATE => return Ok(()),
                tag::FUNCTION_CALL => self.function_call(&frame).await?,
                // Left over from a COPY that failed: PostgreSQL ignores them, too.
                tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => {}
                other => return Err(invalid_message(&Frame { tag: other, raw: frame.raw })),
            }
            self.cancel.end();
        }
    }

    /// A session's last word when it is told to end.
    pub(super) fn terminated() -> Error {
        Error::Fatal {
            sqlstate: sqlstate::ADMIN_SHUTDOWN,
            message: "terminating connection due to administrator command".to_owned(),
        }
    }

    /// The facts that statements are planned against now.
    pub fn facts(&self) -> Arc<DatabaseFacts> {
        self.transaction
            .as_ref()
            .and_then(|transaction| transaction.facts.clone())
            .unwrap_or_else(|| self.facts.clone())
    }

    /// Takes up newer facts, when there are, between statements.
    pub async fn facts_now(&mut self) -> Result<()> {
        match self.worker.cluster.keeper.cached(&self.database) {
            Some(facts) if Arc::ptr_eq(&facts, &self.facts) => {}
            Some(facts) => {
                self.facts = facts;
                self.refresh_path_names();
            }
            None => {
                let keeper = self.worker.cluster.keeper.clone();
                let name = self.database.clone();
                self.facts = self.worker.cluster.on_control(async move { keeper.facts(&name).await }).await?;
                self.refresh_path_names();
            }
        }
        Ok(())
    }

    pub fn refresh_path_names(&mut self) {
        self.names = self.path_names();
    }

    /// ReadyForQuery's status byte.
    fn status(&self) -> u8 {
        match &self.transaction {
            Some(transaction) if transaction.explicit => {
                if transaction.failed {
                    b'E'
                } else {
                    b'T'
                }
            }
            _ => b'I',
        }
    }

    fn ready(&mut self) {
        self.report_settings();
        let status = self.status();
        backend::ready_for_query(status, &mut self.client.output);
    }

    /// Opens a transaction of the session's own, unless one is open.
    pub fn open_implicit(&mut self) {
        if self.transaction.is_none() {
            self.transaction = Some(Transaction::new(false, "BEGIN".to_owned(), &self.settings));
        }
    }

    /// Ends the transaction; `commit` is only a wish: a failed one is rolled back.
    ///
    /// # Errors
    /// Why a commit became a rollback, or 08007.
    pub async fn end_transaction(&mut self, commit: bool) -> Result<Ending> {
        let Some(transaction) = self.transaction.take() else {
            return Ok(if commit { Ending::Committed } else { Ending::RolledBack });
        };
        let settings = (transaction.settings_on_commit.clone(), transaction.settings_on_rollback.clone());
        let catalog_changed = transaction.catalog_changed;
        let (ending, lanes) = if commit {
            let number = TRANSACTIONS.fetch_add(1, Ordering::Relaxed);
            let cluster = self.worker.cluster.clone();
            let gid = format!("atoll:{}:{}:{number}", cluster.config.name, cluster.incarnation);
            let decides = transaction.needs_decision() && !transaction.failed;
            let home = if decides && !transaction.has(Place::HOME) {
                Some(self.pooled(Place::HOME, &self.plain_path(), Need::Joining).await)
            } else {
                None
            };
            match home.transpose() {
                Err(error) => (Err(error), transaction.roll_back().await),
                Ok(home) => {
                    let wrote = transaction.participants.iter().filter(|participant| participant.wrote);
                    wrote.for_each(|participant| self.note_written(participant.place.group));
                    let _live = decides.then(|| cluster.live.begin(&gid));
                    let facts = self.facts.clone();
                    let context =
                        CommitContext { directory: &facts.directory, secret: &cluster.secret, gid: &gid, home };
                    let Commit { mut ending, lanes, unfinished } = transaction.commit(context).await;
                    if let Some(unfinished) = unfinished {
                        ending = self.finish_elsewhere(&gid, unfinished).await;
                    }
                    (ending, lanes)
                }
            }
        } else {
            (Ok(Ending::RolledBack), transaction.roll_back().await)
        };
        let committed = matches!(ending, Ok(Ending::Committed));
        self.adopt_settings(if committed { settings.0 } else { settings.1 });
        for (place, mut lane) in lanes {
            // What the commit set free: notifications, warnings.
            let aside = std::mem::take(&mut lane.aside);
            self.client.output.extend_from_slice(&aside);
            let healthy = !lane.busy && lane.transaction_status == b'I';
            if healthy && self.pin_at_end.contains(&place) {
                self.pinned.push((place, lane));
            } else {
                lane.release();
            }
        }
        self.pin_at_end.clear();
        self.refresh_temporary_names().await;
        self.portals.clear();
        self.close_own_cursors().await;
        let pinned = &self.pinned;
        self.cursors.retain(|_, cursor| pinned.iter().any(|(kept, _)| *kept == cursor.place));
        if catalog_changed {
            let keeper = self.worker.cluster.keeper.clone();
            let refreshed = self.worker.cluster.on_control(async move { keeper.refresh().await }).await;
            if let Err(error) = refreshed {
                tracing::warn!(%error, "the directory could not be read anew after a change; it will be shortly");
            }
            self.facts_now().await?;
        }
        ending
    }

    /// Brings a two-phase commit to its end that has lost backends on its way: the decision is looked up, or made, at home's primary, and the
    /// parts are finished on theirs, as soon as they serve.
    async fn finish_elsewhere(&mut self, gid: &str, unfinished: Unfinished) -> Result<Ending> {
        let facts = self.facts();
        let parts: Vec<recovery::Part> = unfinished
            .parts
            .into_iter()
            .filter_map(|(place, name)| {
                let group = facts.directory.groups.get(place.group.0)?.clone();
                Some(recovery::Part { group, database: place.database(&self.database), name })
            })
            .collect();
        let (keeper, database) = (self.worker.cluster.keeper.clone(), self.database.to_string());
        let (decided, within) = (unfinished.undecided.is_none(), self.patience.left());
        let id = gid.to_owned();
        let work = async move { recovery::conclude(&keeper, &database, &id, decided, parts, within).await };
        let concluded = self.worker.cluster.on_control(work).await;
        match (concluded, unfinished.undecided) {
            (Ok(true), _) | (Err(_), None) => Ok(Ending::Committed),
            (Ok(false), _) => Err(lost::cut_off_because("home went away before it was decided")),
            (Err(error), Some(Error::LaneLost { node, reason, .. })) => {
                tracing::warn!(%error, gid, "the outcome of a distributed transaction is not known yet");
                Err(lost::unknown_outcome(&node, &reason, Some(gid)))
            }
            (Err(_), Some(error)) => Err(error),
        }
    }

    /// An error inside a block fails the block.
    pub fn note_failure(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.failed = true;
        }
    }

    /// Whether the transaction, or the one that a statement would open, may not write.
    pub fn is_read_only(&self) -> bool {
        let said = self.transaction.as_ref().and_then(|transaction| transaction.last_mode("READ ONLY", "READ WRITE"));
        said.unwrap_or_else(|| self.settings.get("default_transaction_read_only").is_some_and(is_on))
    }

    /// Whether an open transaction's statements all see one snapshot.
    pub fn keeps_its_snapshot(&self) -> bool {
        let Some(transaction) = self.transaction.as_ref().filter(|transaction| transaction.explicit) else {
            return false;
        };
        let said = ["REPEATABLE READ", "SERIALIZABLE"]
            .into_iter()
            .find_map(|level| transaction.last_mode(level, "READ COMMITTED").filter(|kept| *kept));
        said.unwrap_or_else(|| {
            let default = self.settings.get("default_transaction_isolation").unwrap_or("read committed");
            transaction.last_mode("READ COMMITTED", "READ UNCOMMITTED").is_none()
                && !default.to_ascii_lowercase().starts_with("read")
        })
    }

    /// Opens another transaction beside the one that is open; [`Session::end_beside`] comes back to that.
    pub fn begin_beside(&mut self, beside: Transaction) -> Outer {
        Outer {
            transaction: self.transaction.replace(beside),
            cursors: std::mem::take(&mut self.cursors),
            portals: std::mem::take(&mut self.portals),
            pin_at_end: std::mem::take(&mut self.pin_at_end),
        }
    }

    /// Comes back to the transaction beside another, which stays open.
    pub fn leave_beside(&mut self, outer: Outer) -> Option<Transaction> {
        self.cursors = outer.cursors;
        self.portals = outer.portals;
        self.pin_at_end = outer.pin_at_end;
        std::mem::replace(&mut self.transaction, outer.transaction)
    }

    /// Ends the transaction beside another, which goes on.
    ///
    /// # Errors
    /// As [`Session::end_transaction`].
    pub async fn end_beside(&mut self, outer: Outer, commit: bool) -> Result<Ending> {
        let ended = self.end_transaction(commit).await;
        self.transaction = outer.transaction;
        self.cursors = outer.cursors;
        self.portals = outer.portals;
        self.pin_at_end = outer.pin_at_end;
        ended
    }

    /// The snapshots of the transaction at home and on every group, for another to see the same.
    ///
    /// # Errors
    /// As [`Session::hold`].
    pub async fn export_snapshots(&mut self) -> Result<Vec<(Place, String)>> {
        let groups = self.facts().directory.groups.len();
        let path = self.plain_path();
        let mut snapshots = Vec::with_capacity(groups);
        for group in 0..groups {
            let place = Place::data(atoll_planner::directory::GroupIndex(group));
            let sets = self.run_at(place, &path, "SELECT pg_catalog.pg_export_snapshot()", false).await?;
            let name =
                sets.first().ok_or_else(|| Error::internal("a group exported no snapshot"))?.scalar()?.to_owned();
            snapshots.push((place, name));
        }
        Ok(snapshots)
    }

    /// 25P02 for everything but the end of a failed block.
    pub fn check_not_failed(&self) -> Result<()> {
        match &self.transaction {
            Some(transaction) if transaction.failed => Err(Error::sql(
                sqlstate::IN_FAILED_TRANSACTION,
                "current transaction is aborted, commands ignored until end of transaction block",
            )),
            _ => Ok(()),
        }
    }
}

/// What the session's own backends say unasked: notifications of channels it listens to. Otherwise which of them ended, and why.
async fn hear(pinned: &mut [(Place, Pooled)]) -> Result<BytesMut, (usize, String)> {
    let (heard, index, _) = select_all(pinned.iter_mut().map(|(_, lane)| Box::pin(lane.receive_frames()))).await;
    let mut frames = heard.map_err(|error| (index, error.to_string()))?;
    let mut passed_on = BytesMut::new();
    while let Some((tag, length)) = peek(&frames) {
        let frame = frames.split_to(length.min(frames.len()));
        match tag {
            b'A' => {
                let named = pinned[index].1.notification(&frame).map_err(|error| (index, error.to_string()))?;
                passed_on.extend_from_slice(&named);
            }
            b'N' | b'E' => {
                let fields = backend::decode::error_fields(&frame[5..]).map_err(|error| (index, error.to_string()))?;
                if tag == b'E' || pinned[index].1.last_word(&fields).is_some() {
                    return Err((index, fields.message().to_owned()));
                }
                passed_on.extend_from_slice(&frame);
            }
            _ => {}
        }
    }
    Ok(passed_on)
}

fn invalid_message(frame: &Frame) -> Error {
    Error::Fatal {
        sqlstate: sqlstate::PROTOCOL_VIOLATION,
        message: format!("invalid frontend message type {}", frame.tag),
    }
}
