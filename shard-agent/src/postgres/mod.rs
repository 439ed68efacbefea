//! PostgreSQL's life on this node: its data directory, its process, and the loop that keeps it running.

pub mod data_dir;
pub mod keeper;
pub mod lsn;
pub mod observe;
pub mod postmaster;
pub mod replication;
pub mod server;

use std::path::PathBuf;
use std::process::ExitStatus;

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
    #[error("node {node}: PostgreSQL is not running")]
    NotRunning { node: String },
}
