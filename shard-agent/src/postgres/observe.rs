//! How PostgreSQL is found to be doing.

use std::time::{Duration, Instant};

use super::lsn::Lsn;

/// What one look at PostgreSQL shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// No postmaster; how the last one ended (with the end of its log when it had not become ready), or empty when
    /// none ran under this agent.
    Down {
        last_exit: String,
    },
    /// It accepts no connections yet.
    Starting {
        since: Instant,
        reason: String,
    },
    /// It runs but does not answer; since when it has not.
    Unresponsive {
        since: Instant,
    },
    Replica(Replica),
    Primary(Primary),
}

/// A running replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Of what it has replayed.
    pub timeline: u32,
    /// On its disk up to here.
    pub received: Lsn,
    pub replayed: Lsn,
    /// host:port of the server it receives from now.
    pub streaming_from: Option<String>,
    /// Why it receives nothing, as far as its log says.
    pub trouble: Option<Trouble>,
    /// How long ago it was last known to have replayed all that its upstream had; `None` when it never was since its start.
    /// In an idle group it stays below half of `wal_receiver_timeout`.
    pub lag: Option<Duration>,
    /// Why it cannot go on without a restart (as a replica): its primary's limits have grown.
    pub needs_restart: Option<String>,
}

/// What keeps a replica from receiving; the text is PostgreSQL's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The upstream no longer has the log that is missing here: only a rebuild helps.
    LogRemoved(String),
    /// This node has replayed what the upstream's history does not contain: a rewind or a rebuild.
    Diverged(String),
    /// Anything else, most often that the upstream cannot be reached; it goes on trying.
    Other(String),
}

/// A running primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Primary {
    pub timeline: u32,
    /// On its disk up to here.
    pub flushed: Lsn,
    /// Where the next record goes.
    pub inserted: Lsn,
    pub standbys: Vec<Standby>,
}

/// A replica, as its primary sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standby {
    /// The node's name.
    pub name: String,
    /// As pg_stat_replication has it: "streaming" once it has caught up.
    pub state: String,
    pub flushed: Lsn,
    pub replayed: Lsn,
    /// Whether its confirmations count towards the quorum.
    pub sync: bool,
}
