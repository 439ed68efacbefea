//! The words of replication: whom a node follows, who must confirm, and how far a node is.

use super::lsn::Lsn;

/// Whom a replica follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The node's name.
    pub name: String,
    pub host: String,
    pub port: u16,
}

/// Whose confirmation a commit waits for: any `quorum` of `members`. A quorum of 0 is asynchronous.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncNames {
    /// Names of standbys.
    pub members: Vec<String>,
    pub quorum: usize,
}

/// How PostgreSQL is to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartAs {
    /// With the synchronous set in force from its first transaction on.
    Primary { sync: SyncNames },
    /// Without an upstream it replays what it has and waits.
    Replica { upstream: Option<Upstream> },
}

/// How PostgreSQL is to be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Sessions end, a checkpoint is written, standbys get the rest of the log; after `at_most` as [`Stop::Immediate`].
    Fast { at_most: std::time::Duration },
    /// At once, without a checkpoint: within a second, whatever state it is in.
    Immediate,
}

/// How far a node's log goes: every record up to `lsn` is on its disk and replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub timeline: u32,
    pub lsn: Lsn,
}
