//! What the members of a group agree on: one value in the lease store, changed only as a whole.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// A group, as its last leader recorded it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupRecord {
    /// Counts the leases that were won; 0 before the first. A leader that was never established has used one up.
    pub epoch: u64,
    /// The last established leader: one whose promotion was complete and who served. Its data holds every acknowledged commit.
    pub leader: String,
    pub electorate: Electorate,
    /// By name.
    pub members: BTreeMap<String, Member>,
    /// Members that an operator removed; they come back only with an empty data directory.
    pub removed: BTreeSet<String>,
    pub policy: Policy,
    /// What the operator asked for and the members have yet to do.
    pub wish: Wish,
    /// Who led when; the newest last, at most [`HISTORY_MAX`].
    pub history: Vec<Reign>,
}

impl GroupRecord {
    /// Whether the leader of `epoch` got as far as serving.
    pub fn is_established(&self, epoch: u64) -> bool {
        self.history.last().is_some_and(|reign| reign.epoch == epoch)
    }

    /// The last established timeline.
    pub fn timeline(&self) -> u32 {
        self.history.last().map_or(0, |reign| reign.timeline)
    }
}

/// Entries of [`GroupRecord::history`].
pub const HISTORY_MAX: usize = 100;

/// Who may elect a leader: `reports` of `members` have to be heard, or the last leader itself. More reports than members: only the last
/// leader can lead.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Electorate {
    /// Standbys, sorted.
    pub members: Vec<String>,
    pub reports: usize,
}

impl Default for Electorate {
    fn default() -> Self {
        Self::nobody()
    }
}

/// One node of a group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    /// host:port of its agent's gRPC.
    pub agent_address: String,
    /// Path of its agent's Unix socket, for callers on the same host; may be empty.
    pub agent_socket: String,
    /// Where its PostgreSQL listens for replicas.
    pub postgres_host: String,
    pub postgres_port: u16,
    pub zone: String,
    pub capacity: f64,
}

impl Eq for Member {}

/// What a group promises.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Standbys that must have a commit before it is acknowledged (W); 0 is asynchronous.
    pub synchronous: usize,
    /// Without enough standbys writes wait; otherwise fewer standbys are asked for, down to none.
    pub strict: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { synchronous: 1, strict: false }
    }
}

/// What an operator asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wish {
    /// Maintenance: nobody is promoted and no PostgreSQL is restarted.
    pub paused: bool,
    /// A planned switchover to this member.
    pub switchover_to: Option<String>,
}

/// One leadership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reign {
    pub epoch: u64,
    pub leader: String,
    pub timeline: u32,
    /// Where its timeline leaves the one before, as PostgreSQL prints it ("0/3000060").
    pub start_lsn: String,
    /// Unix time in milliseconds.
    pub since_ms: u64,
    /// Why the leadership changed, in an operator's words.
    pub reason: String,
}
