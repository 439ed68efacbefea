//! One node's PostgreSQL as its governor handles it: data directory and process. Nothing here decides.
//!
//! Every method is bounded in time, [`Server::ended`], [`Server::rewind`] and [`Server::rebuild`] apart, and each may be dropped
//! half-way (a timeout, a lost lease): what it began is taken up or cleared away by the next call.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::conf::{self, Part};
use super::control_file::ControlFile;
use super::credentials::Credentials;
use super::data_dir::{self, file};
use super::lsn::Lsn;
use super::monitor::{Monitor, Row};
use super::observe::Memory;
use super::postmaster::{self, Postmaster, log_end};
use super::replication::{SLOT_PREFIX, StartAs, Stop};
use super::{Phase, PostgresError, Status, copy};
use crate::lanes::backend::LoginError;
use crate::settings::Settings;

/// How long a look at sessions may take.
const BUSY_WITHIN: Duration = Duration::from_secs(1);

/// What lies in the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    Empty,
    /// A rewind did not finish: only a rebuild makes it usable.
    Torn,
    Present(Present),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    pub system_identifier: u64,
    /// The newest that the control file names; a replica may have replayed into a newer one since.
    pub timeline: u32,
    /// pg_controldata's "Database cluster state": "shut down", "in production", "in archive recovery", ...
    pub state: String,
    pub checkpoint: Lsn,
    /// It was a standby when it last ran (or is a copy of another node's): it can start as a replica only, and become primary by
    /// a promotion.
    pub standby: bool,
}

/// A postmaster that an earlier agent left running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    pub standby: bool,
}

/// PostgreSQL on this node.
pub struct Server {
    pub(super) settings: Settings,
    pub(super) credentials: Credentials,
    pub(super) status: watch::Sender<Status>,
    pub(super) monitor: Monitor,
    pub(super) part: Part,
    postmaster: Option<Postmaster>,
    last_exit: String,
    /// The last postmaster was not stopped by the agent.
    has_died: bool,
    restarts: metrics::Counter,
    pub(super) memory: Memory,
    /// A removal of large folders under way.
    pub(super) sweeping: Option<JoinHandle<Result<(), PostgresError>>>,
}

impl Server {
    /// A server, and what it will report: role and phase; whether the node serves is the governor's to say. `secret` is the
    /// cluster token, from which the replication role's password is derived.
    pub fn new(mut settings: Settings, secret: &str) -> (Self, watch::Receiver<Status>) {
        let (status, reports) = watch::channel(Status::starting());
        // Copies lie beside the data themselves, not beside a link to them.
        if let Ok(data_dir) = fs::canonicalize(&settings.data_dir) {
            settings.data_dir = data_dir;
        }
        let server = Self {
            credentials: Credentials::of_token(secret),
            status,
            monitor: Monitor::new(settings.postgres_socket()),
            part: Part::default(),
            postmaster: None,
            last_exit: String::new(),
            has_died: false,
            restarts: metrics::counter!("atoll_agent_postgres_restarts_total"),
            memory: Memory::new(),
            sweeping: None,
            settings,
        };
        (server, reports)
    }

    /// # Errors
    /// When the directory holds something else, or cannot be read.
    pub async fn data(&self) -> Result<Data, PostgresError> {
        copy::settle(&self.settings)?;
        if copy::is_torn(&self.settings) {
            return Ok(Data::Torn);
        }
        if !data_dir::holds_data(&self.settings)? {
            return Ok(Data::Empty);
        }
        let control = ControlFile::read(&self.settings, &self.settings.data_dir).await?;
        Ok(Data::Present(Present {
            standby: control.is_standby() || self.has("standby.signal") || self.has("backup_label"),
            system_identifier: control.system_identifier,
            timeline: control.timeline,
            state: control.state,
            checkpoint: control.checkpoint,
        }))
    }

    /// Makes the group's data. The replication role follows with the first observation of a primary.
    ///
    /// # Errors
    /// When there are data already, or initdb fails.
    pub async fn initdb(&mut self) -> Result<(), PostgresError> {
        match self.data().await? {
            Data::Empty => {
                postmaster::end_orphans(&self.settings.data_dir).await?;
                data_dir::initdb(&self.settings).await
            }
            Data::Torn | Data::Present(_) => Err(PostgresError::HasData { path: self.settings.data_dir.clone() }),
        }
    }

    /// Takes over a postmaster that an earlier agent left running on the data directory; `None` when there is none.
    ///
    /// # Errors
    /// When one is there on another port or socket and cannot be stopped, or its configuration cannot be written.
    pub async fn adopt(&mut self) -> Result<Option<Adopted>, PostgresError> {
        let Some(postmaster) = Postmaster::adopt(&self.settings).await? else { return Ok(None) };
        self.part = Part::read(&self.settings.data_dir);
        self.took(postmaster, false);
        self.configure().await?;
        Ok(Some(Adopted { standby: self.has("standby.signal") }))
    }

    /// Starts PostgreSQL and returns at once; [`Server::observe`] tells how it goes on. What a killed postmaster left running is
    /// ended first.
    ///
    /// # Errors
    /// When one runs already, the data are missing, torn or (as a primary) a standby's, or the program cannot be run.
    pub async fn start(&mut self, role: &StartAs) -> Result<(), PostgresError> {
        if let Some(postmaster) = &self.postmaster {
            return Err(PostgresError::Running { pid: postmaster.pid() });
        }
        postmaster::clear_the_way(&self.settings).await?;
        let path = || self.settings.data_dir.clone();
        let present = match self.data().await? {
            Data::Empty => return Err(PostgresError::NoData { path: path() }),
            Data::Torn => return Err(PostgresError::Torn { path: path() }),
            Data::Present(present) => present,
        };
        let mut part = Part::of(&self.settings, role);
        match role {
            // Started without the signal it would end its recovery on the timeline of another primary.
            StartAs::Primary { .. } if present.standby => return Err(PostgresError::Standby { path: path() }),
            StartAs::Primary { .. } => (),
            StartAs::Replica { .. } => {
                copy::mark_standby(&self.settings.data_dir)?;
                self.drop_stopped_slots()?;
                part.at_least(ControlFile::read(&self.settings, &self.settings.data_dir).await?.limits);
            }
        }
        super::timelines::release(&self.settings.data_dir)?;
        self.part = part;
        conf::write(&self.settings, Some(&self.part))?;
        self.credentials.write_passfile(&self.settings)?;
        let postmaster = Postmaster::start(&self.settings)?;
        if std::mem::take(&mut self.has_died) {
            self.restarts.increment(1);
        }
        self.took(postmaster, true);
        self.sweep();
        Ok(())
    }

    /// `settled`: everything in it has read the configuration as it is now.
    fn took(&mut self, postmaster: Postmaster, settled: bool) {
        self.status.send_replace(Status { postmaster_pid: postmaster.pid(), ..Status::starting() });
        self.monitor.close();
        self.memory = Memory::of_start(&self.settings, settled);
        self.last_exit.clear();
        self.postmaster = Some(postmaster);
    }

    /// Stops PostgreSQL, also one that an earlier agent left, and whatever it left itself; true when it shut down cleanly, by its own account.
    ///
    /// # Errors
    /// When even SIGKILL does not end it.
    pub async fn stop(&mut self, stop: Stop) -> Result<bool, PostgresError> {
        self.monitor.close();
        let data_dir = self.settings.data_dir.clone();
        if self.postmaster.is_none() {
            self.postmaster = Postmaster::adopt(&self.settings).await?;
        }
        let Some(postmaster) = &mut self.postmaster else {
            postmaster::end_orphans(&data_dir).await?;
            return Ok(self.is_shut_down().await);
        };
        self.status.send_modify(|status| {
            status.phase = Phase::Stopping;
            status.reason = "PostgreSQL is being stopped".into();
        });
        let done = match stop {
            Stop::Fast { at_most } => postmaster.shut_down(at_most).await,
            Stop::Immediate => false,
        };
        if !done {
            postmaster.quit(&data_dir).await?;
        }
        postmaster::end_orphans(&data_dir).await?;
        self.postmaster = None;
        self.last_exit = "stopped".into();
        self.status.send_modify(|status| status.postmaster_pid = 0);
        Ok(self.is_shut_down().await)
    }

    async fn is_shut_down(&self) -> bool {
        let control = ControlFile::read(&self.settings, &self.settings.data_dir).await;
        control.is_ok_and(|control| control.is_shut_down())
    }

    /// Completes when the postmaster has died, saying how; never while there is none. Can be dropped and called again.
    pub async fn ended(&mut self) -> String {
        let Some(postmaster) = &mut self.postmaster else { return std::future::pending().await };
        let how = postmaster.ended().await;
        self.died(&how);
        how
    }

    /// Whether the postmaster is there; takes note when it has died.
    pub(super) async fn postmaster_pid(&mut self) -> Option<u32> {
        let postmaster = self.postmaster.as_mut()?;
        match timeout(Duration::ZERO, postmaster.ended()).await {
            Ok(how) => {
                self.died(&how);
                None
            }
            Err(_) => Some(postmaster.pid()),
        }
    }

    fn died(&mut self, how: &str) {
        self.postmaster = None;
        self.has_died = true;
        self.monitor.close();
        self.last_exit = if self.memory.was_ready {
            format!("PostgreSQL died ({how})")
        } else {
            let log = log_end(&self.settings.postgres_log);
            PostgresError::EndedAtStart { status: how.to_owned(), log }.to_string()
        };
        tracing::error!("{}", self.last_exit);
        self.status.send_replace(Status {
            phase: Phase::Failed,
            reason: self.last_exit.clone(),
            postmaster_pid: 0,
            in_recovery: false,
        });
    }

    /// The postmaster's; 0 while there is none.
    pub fn pid(&self) -> u32 {
        self.postmaster.as_ref().map_or(0, Postmaster::pid)
    }

    /// Writes a checkpoint, as fast as the disk allows.
    ///
    /// # Errors
    /// When it is not running, or it takes longer than `at_most`.
    pub async fn write_checkpoint(&mut self, at_most: Duration) -> Result<(), PostgresError> {
        self.rows("CHECKPOINT", at_most).await.map(drop)
    }

    /// How many clients' backends are in a statement or a transaction.
    ///
    /// # Errors
    /// When it is not running, or does not answer.
    pub async fn busy_backends(&mut self) -> Result<u64, PostgresError> {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND state <> 'idle' \
             AND pid <> pg_backend_pid()";
        self.row(sql, BUSY_WITHIN).await?.required(0)
    }

    pub(super) fn last_exit(&self) -> String {
        self.last_exit.clone()
    }

    /// Writes the configuration and makes PostgreSQL read it again.
    pub(super) async fn configure(&mut self) -> Result<(), PostgresError> {
        conf::write(&self.settings, Some(&self.part))?;
        self.credentials.write_passfile(&self.settings)?;
        self.postmaster.as_mut().ok_or(PostgresError::NotRunning)?.reload(&self.settings).await
    }

    /// The only row that `sql` returns, within `at_most`.
    pub(super) async fn row(&mut self, sql: &str, at_most: Duration) -> Result<Row, PostgresError> {
        if self.postmaster.is_none() {
            return Err(PostgresError::NotRunning);
        }
        answered(self.monitor.row(sql), at_most).await
    }

    /// The rows that `sql` returns, within `at_most`.
    pub(super) async fn rows(&mut self, sql: &str, at_most: Duration) -> Result<Vec<Row>, PostgresError> {
        if self.postmaster.is_none() {
            return Err(PostgresError::NotRunning);
        }
        answered(self.monitor.rows(sql), at_most).await
    }

    pub(super) fn is_running(&self) -> bool {
        self.postmaster.is_some()
    }

    fn has(&self, name: &str) -> bool {
        self.settings.data_dir.join(name).exists()
    }

    /// Removes the slots that stopped data hold for members from a time as the primary: nobody would read on.
    fn drop_stopped_slots(&self) -> Result<(), PostgresError> {
        let folder = self.settings.data_dir.join("pg_replslot");
        let slots = fs::read_dir(&folder).map_err(|source| file("read", &folder, source))?;
        let is_ours = |path: &PathBuf| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(SLOT_PREFIX))
        };
        for slot in slots.flatten().map(|entry| entry.path()).filter(is_ours) {
            remove_dir_all(&slot)?;
        }
        Ok(())
    }
}

async fn answered<T>(
    answer: impl Future<Output = Result<T, LoginError>>,
    at_most: Duration,
) -> Result<T, PostgresError> {
    match timeout(at_most, answer).await {
        Ok(answer) => answer.map_err(PostgresError::Statement),
        Err(_) => Err(PostgresError::Late { what: "an answer of PostgreSQL".into(), seconds: at_most.as_secs() }),
    }
}

/// Removes a folder that may not be there.
pub(super) fn remove_dir_all(path: &Path) -> Result<(), PostgresError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file("remove", path, error)),
        _ => Ok(()),
    }
}
