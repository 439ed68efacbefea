//! PostgreSQL's life on this node: its data directory and its process. Of a node that is alone in its group, [`keeper`] keeps it
//! running; of a member of a group that takes part in elections, [`server`] does what the governor says; with one that Patroni runs only
//! [`Probe`] has to do.

mod certificate;
mod conf;
mod control_file;
mod copy;
mod credentials;
pub mod data_dir;
pub mod keeper;
pub mod lsn;
mod monitor;
pub mod observe;
mod part;
pub mod postmaster;
pub mod process;
mod reception;
pub mod replication;
pub mod server;
mod timelines;
mod tool;

use std::path::PathBuf;
use std::process::ExitStatus;

pub use copy::Rewound;
pub use lsn::Lsn;
pub use observe::{Observation, Primary, Replica, Standby, Trouble};
pub use reception::Probe;
pub use replication::{Position, StartAs, Stop, SyncNames, Upstream, slot_name};
pub use server::{Adopted, Data, Present, Server};

/// How PostgreSQL is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Starting,
    Running,
    Stopping,
    /// It died or would not start; another attempt follows.
    Failed,
}

impl Phase {
    /// As `NodeState.state` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
        }
    }
}

/// What the keeper knows of PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub phase: Phase,
    /// Why the phase is not [`Phase::Running`]; otherwise empty.
    pub reason: String,
    /// 0 while there is no postmaster.
    pub postmaster_pid: u32,
    /// Whether it replays another node's log instead of taking writes.
    pub in_recovery: bool,
}

impl Status {
    pub fn starting() -> Self {
        Self { phase: Phase::Starting, reason: "PostgreSQL is starting".into(), postmaster_pid: 0, in_recovery: false }
    }

    /// As `NodeState.role` spells it.
    pub fn role(&self) -> &'static str {
        match (self.phase, self.in_recovery) {
            (Phase::Running, false) => "primary",
            (Phase::Running, true) => "replica",
            _ => "none",
        }
    }
}

/// Why PostgreSQL is not running.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error("{action} {path}: {source}", path = path.display())]
    File { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("data_dir {path} is not empty and is not a PostgreSQL data directory", path = path.display())]
    ForeignDataDir { path: PathBuf },
    #[error("cannot run {program}: {source}", program = program.display())]
    Spawn { program: PathBuf, source: std::io::Error },
    #[error("initdb failed ({status}): {output}")]
    Initdb { status: ExitStatus, output: String },
    #[error("PostgreSQL ended while starting ({status}); its log ends with:\n{log}")]
    EndedAtStart { status: String, log: String },
    #[error("PostgreSQL accepts no login of the agent: {0}")]
    Login(#[from] crate::lanes::backend::LoginError),
    #[error("postmaster {pid} does not stop")]
    WontStop { pid: u32 },
    #[error("PostgreSQL is not running")]
    NotRunning,
    #[error("PostgreSQL runs already, as process {pid}")]
    Running { pid: u32 },
    #[error("{path} holds no data yet", path = path.display())]
    NoData { path: PathBuf },
    #[error("{path} holds data already", path = path.display())]
    HasData { path: PathBuf },
    #[error("{path} was left by a rewind that did not finish; it has to be rebuilt", path = path.display())]
    Torn { path: PathBuf },
    #[error("{path} was a standby's: it can become a primary only by a promotion", path = path.display())]
    Standby { path: PathBuf },
    #[error("PostgreSQL is {is}, not {wanted}")]
    Role { is: &'static str, wanted: &'static str },
    #[error("{what} has not been done within {seconds} s")]
    Late { what: String, seconds: u64 },
    #[error("the agent's statement failed: {0}")]
    Statement(crate::lanes::backend::LoginError),
    #[error("PostgreSQL's answer is not understood: {0}")]
    Answer(String),
    #[error("{setting} is \"{found}\" instead of \"{wanted}\": is it set by ALTER SYSTEM or ALTER ROLE?")]
    Overridden { setting: &'static str, found: String, wanted: String },
    #[error("promoted to timeline {timeline}, but the group needs {timeline_min} or above")]
    Timeline { timeline: u32, timeline_min: u32 },
    #[error("{program} failed ({status}): {said}")]
    Tool { program: &'static str, status: ExitStatus, said: String },
}
