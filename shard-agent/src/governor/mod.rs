//! Runs this node's PostgreSQL as its group wants it: looks ([`look`]), has [`atoll_control::decide`] say what to do next, does it
//! ([`act`]), and looks again. Operators' orders come in between ([`orders`]).

mod act;
pub mod clock;
pub mod events;
pub mod fence;
mod guard;
pub mod lease;
mod look;
mod memory;
mod orders;
mod peers;
pub mod service;
pub mod standing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use atoll_control::decide::{Action, Data, Position, decide};
use atoll_control::quorum::SyncSet;
use atoll_control::store::{self, LeaseStore, View};
use atoll_proto::auth::Token;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::agent::AgentError;
use crate::postgres::Status;
use crate::postgres::lsn::Lsn;
use crate::postgres::observe::Observation;
use crate::postgres::replication::Stop;
use crate::postgres::server::Server;
use crate::settings::Settings;
use clock::{now_ms, unix_ms};
use events::Events;
use guard::Guard;
use lease::Lease;
use memory::Memory;
use peers::Peers;
use service::{Ask, Desk, Promises};
use standing::Standing;

/// How often a node looks when nothing happens, and while something is on the way.
const CALM: Duration = Duration::from_millis(500);
const BUSY: Duration = Duration::from_millis(100);
/// Pause after an action that failed.
const AFTER_FAILURE: Duration = Duration::from_millis(300);
/// A store that has not answered for so long is silent.
const SILENT_MS: u64 = 2500;
/// How long a changed record is waited for in one call.
const WATCH: Duration = Duration::from_secs(1);
/// At the start: how long the store may take to say who leads, before what runs here is judged without it.
const FIRST_VIEW: Duration = Duration::from_secs(3);

/// One member's answer to a candidate.
struct Report {
    epoch: u64,
    member: String,
    position: Result<Position, String>,
}

/// Whether a primary that could serve is about to be none, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    /// Transactions that have begun go on to their ends.
    Draining(String),
    /// Nobody is let in.
    Closed(String),
}

/// Owns PostgreSQL; see the module.
pub struct Governor {
    settings: Settings,
    server: Server,
    store: Arc<dyn LeaseStore>,
    lease: Arc<Lease>,
    peers: Arc<Peers>,
    promises: Arc<Promises>,
    events: Arc<Events>,
    memory: Memory,
    guard: Arc<Guard>,
    standing: watch::Sender<Standing>,
    asks: mpsc::Receiver<Ask>,
    views: watch::Receiver<Option<View>>,
    /// The newest reading, or what this node has written since.
    view: Option<View>,
    /// When the store last answered.
    read_at: u64,
    free_since: Option<u64>,
    observation: Observation,
    /// What the data directory holds; it is asked again after every action, and while PostgreSQL is down.
    known_data: Option<Data>,
    /// When PostgreSQL stopped answering.
    unresponsive_since: Option<u64>,
    as_primary: bool,
    serving: bool,
    leaving: Leaving,
    sync: Option<SyncSet>,
    sync_since: Option<Lsn>,
    streamed: BTreeMap<String, u64>,
    replica_streamed: u64,
    upstream: Option<String>,
    slots: Vec<String>,
    promoted: Option<Lsn>,
    failed_starts: u32,
    was_starting: bool,
    rewind_failed: bool,
    reports: BTreeMap<String, Position>,
    reports_for: u64,
    reports_asked: u64,
    reported: mpsc::Receiver<Report>,
    reporters: mpsc::Sender<Report>,
    /// What the history will say of the leadership; empty for the usual.
    won_because: String,
    last_failure: String,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

/// A governor, and how others see it.
pub struct Governed {
    pub governor: Governor,
    pub desk: Arc<Desk>,
    pub lease: Arc<Lease>,
    pub status: watch::Receiver<Status>,
}

impl Governor {
    /// Prepares everything; nothing of PostgreSQL is touched before [`Governor::run`].
    ///
    /// # Errors
    /// When the lease store's endpoints are malformed, or what the node remembers cannot be read.
    pub fn prepare(settings: Settings, kind: store::Kind, token: &Token, secret: &str) -> Result<Governed, AgentError> {
        let call_max = Duration::from_millis(settings.lease_call_ms_max);
        let store = {
            let Settings { lease_endpoints, lease_prefix, .. } = &settings;
            let tls = store::TlsFiles {
                ca_file: settings.lease_ca_file.clone(),
                cert_file: settings.lease_cert_file.clone(),
                key_file: settings.lease_key_file.clone(),
            };
            store::open(kind, lease_endpoints, &tls, lease_prefix, token, call_max)?
        };
        let memory = Memory::load(&settings.data_dir)
            .map_err(|source| AgentError::Memory { path: settings.data_dir.clone(), source })?;
        let (server, status) = Server::new(settings.clone(), secret);
        let lease = Arc::new(Lease::default());
        let peers = Arc::new(Peers::new(&settings.group, &settings.name, token.clone()));
        let promises = Arc::new(Promises::default());
        let events = Arc::new(Events::new(&settings.group, &settings.name));
        let (standing, standings) = watch::channel(Standing::default());
        let (asking, asks) = mpsc::channel(64);
        let (reporters, reported) = mpsc::channel(64);
        let (view_sender, views) = watch::channel(None);
        let desk = Arc::new(Desk {
            group: settings.group.clone(),
            node: settings.name.clone(),
            asks: Some(asking),
            standing: standings.clone(),
            promises: Arc::clone(&promises),
            events: Arc::clone(&events),
        });
        let renew = {
            let (lease, peers, settings) = (Arc::clone(&lease), Arc::clone(&peers), settings.clone());
            let store = Arc::clone(&store);
            tokio::spawn(async move { lease.keep(&settings, store, &peers, standings).await })
        };
        let guard = Arc::new(Guard::new(Arc::clone(&lease), settings.run_dir.clone()));
        let fence = {
            let guard = Arc::clone(&guard);
            tokio::spawn(async move { guard.keep().await })
        };
        let read = tokio::spawn(read_on(Arc::clone(&store), settings.group.clone(), view_sender));
        let governor = Self {
            settings,
            server,
            store,
            lease: Arc::clone(&lease),
            peers,
            promises,
            events,
            memory,
            guard,
            standing,
            asks,
            views,
            view: None,
            read_at: 0,
            free_since: None,
            observation: Observation::Down { last_exit: String::new() },
            known_data: None,
            unresponsive_since: None,
            as_primary: false,
            serving: false,
            leaving: Leaving::No,
            sync: None,
            sync_since: None,
            streamed: BTreeMap::new(),
            replica_streamed: 0,
            upstream: None,
            slots: Vec::new(),
            promoted: None,
            failed_starts: 0,
            was_starting: false,
            rewind_failed: false,
            reports: BTreeMap::new(),
            reports_for: 0,
            reports_asked: 0,
            reported,
            reporters,
            won_because: String::new(),
            last_failure: String::new(),
            _tasks: vec![AbortOnDropHandle::new(renew), AbortOnDropHandle::new(fence), AbortOnDropHandle::new(read)],
        };
        Ok(Governed { governor, desk, lease, status })
    }

    /// Governs until `stop`; then PostgreSQL is stopped and the lease given up.
    ///
    /// # Errors
    /// When PostgreSQL cannot be stopped at the end.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), AgentError> {
        self.take_up().await;
        while !stop.is_cancelled() {
            self.look().await;
            let seen = self.seen().await;
            let decision = decide(&seen.as_seen(self.settings.name.as_str()));
            self.publish(decision.serve);
            self.guard.watch(if self.as_primary { self.server.pid() } else { 0 });
            let starts = matches!(
                decision.action,
                Action::StartPrimary(_) | Action::StartReplica { .. } | Action::Promote(_) | Action::Initdb
            );
            let acted = tokio::select! {
                acted = self.carry_out(decision.action) => acted,
                () = stop.cancelled() => break,
            };
            match acted {
                Ok(true) => self.last_failure.clear(),
                Ok(false) => self.rest(&stop).await,
                Err(failure) => {
                    self.failed_starts += u32::from(starts);
                    // The same thing over and over is said once.
                    if failure != self.last_failure {
                        self.events.note("failed", self.epoch(), failure.clone());
                        self.last_failure = failure;
                    }
                    tokio::select! {
                        () = sleep(AFTER_FAILURE) => (),
                        () = stop.cancelled() => break,
                    }
                }
            }
        }
        self.shut_down().await
    }

    /// What an earlier agent left, and what the store says, before anything is decided.
    async fn take_up(&mut self) {
        match self.server.adopt().await {
            Ok(Some(adopted)) => self.as_primary = !adopted.standby,
            Ok(None) => {}
            Err(error) => tracing::error!("PostgreSQL of an earlier agent: {error}"),
        }
        if let Some(epoch) = self.memory.get().alone {
            self.lease.hold_alone(epoch);
            return;
        }
        let mut views = self.views.clone();
        let _ = timeout(FIRST_VIEW, views.wait_for(Option::is_some)).await;
    }

    /// Waits for something to happen.
    async fn rest(&mut self, stop: &CancellationToken) {
        let tick = if self.is_calm() { CALM } else { BUSY };
        tokio::select! {
            Some(ask) = self.asks.recv() => self.answer(ask).await,
            Some(report) = self.reported.recv() => self.take_report(report),
            Ok(()) = self.views.changed() => (),
            () = self.lease.changed(), if self.lease.tenure().is_none_or(|tenure| !tenure.leased) => (),
            exit = self.server.ended() => tracing::warn!(exit, "PostgreSQL ended"),
            () = sleep(tick) => (),
            () = stop.cancelled() => (),
        }
    }

    fn is_calm(&self) -> bool {
        match &self.observation {
            Observation::Primary(_) => self.serving && self.lease.tenure().is_some_and(|tenure| tenure.leased),
            Observation::Replica(_) => self.replica_streamed + 1000 > now_ms(),
            _ => false,
        }
    }

    fn epoch(&self) -> u64 {
        self.lease
            .tenure()
            .map_or_else(|| self.view.as_ref().map_or(0, |view| view.record.epoch), |tenure| tenure.epoch)
    }

    /// Runs an action that must not outlast the lease. `Ok(false)`: there was nothing to do.
    async fn carry_out(&mut self, action: Action) -> Result<bool, String> {
        let deadline = self.lease.tenure().map(|tenure| tenure.deadline).filter(|deadline| *deadline != u64::MAX);
        let steps_down = matches!(action, Action::StepDown { .. } | Action::Stop { .. });
        let lease = Arc::clone(&self.lease);
        match deadline {
            Some(_) if !steps_down => {
                tokio::select! {
                    acted = self.act(action) => acted,
                    () = past_deadline(&lease) => Err("the lease ran out meanwhile".into()),
                }
            }
            _ => self.act(action).await,
        }
    }

    async fn shut_down(mut self) -> Result<(), AgentError> {
        self.leaving = Leaving::Closed("the agent is stopping".into());
        self.publish(false);
        let at_most = Duration::from_secs(self.settings.stop_seconds_max);
        let stopped = self.server.stop(Stop::Fast { at_most }).await;
        if let Some(id) = self.lease.give_up() {
            let _ = self.store.release(&self.settings.group, id).await;
        }
        self.guard.end();
        stopped.map(drop).map_err(AgentError::Postgres)
    }
}

/// Completes when the tenure's deadline has passed, as renewals move it.
pub(crate) async fn past_deadline(lease: &Lease) {
    loop {
        let Some(tenure) = lease.tenure() else { return };
        let left = tenure.deadline.saturating_sub(now_ms());
        if left == 0 {
            return;
        }
        sleep(Duration::from_millis(left.min(1000))).await;
    }
}

/// Reads the group on and on: at once when it changes, else once a second. `None` when the store does not answer.
async fn read_on(store: Arc<dyn LeaseStore>, group: String, views: watch::Sender<Option<View>>) {
    loop {
        match store.read(&group).await {
            Ok(view) => {
                views.send_replace(Some(view.clone()));
                if store.changed(&group, &view, WATCH).await.is_err() {
                    sleep(BUSY).await;
                }
            }
            Err(_) => {
                views.send_replace(None);
                sleep(BUSY * 2).await;
            }
        }
    }
}

impl Governor {
    /// Says what this node is, to all who ask.
    fn publish(&mut self, serve: bool) {
        let serve = serve && self.leaving == Leaving::No;
        if serve && !self.serving {
            self.events.note("serving", self.epoch(), "clients are let in");
        }
        self.serving = serve;
        let standing = self.standing_now();
        metrics::gauge!("atoll_agent_replication_lag_bytes").set(standing.lag_bytes as f64);
        self.standing.send_if_modified(|last| {
            let changed = *last != standing;
            *last = standing;
            changed
        });
    }

    fn read_ms(&self) -> u64 {
        if self.read_at == 0 { 0 } else { unix_ms().saturating_sub(now_ms().saturating_sub(self.read_at)) }
    }
}
