//! What one node does next, as a pure function of what it sees.
//!
//! A node that holds the lease leads ([`leading`]); any other follows, or seeks the lease when it is free ([`following`]). One step at a
//! time: whoever calls carries the action out, looks again, and asks again, so that an action may fail, or be done twice, at any point.

mod following;
mod leading;

use std::collections::{BTreeMap, BTreeSet};

use crate::quorum::SyncSet;
use crate::record::{Electorate, GroupRecord};
use crate::store::Leader;

/// How long things may take, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A standby that has not streamed for so long does not count as there.
    pub standby_ms: u64,
    /// A PostgreSQL that does not answer for so long is stopped.
    pub unresponsive_ms: u64,
    /// A replica that does not stream from the leader for so long is copied anew.
    pub stalled_ms: u64,
    /// How long the member that a switchover names is let go first.
    pub handover_ms: u64,
    /// Starts that fail in a row before a leader leaves it to another.
    pub failed_starts: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { standby_ms: 2500, unresponsive_ms: 4000, stalled_ms: 60_000, handover_ms: 3000, failed_starts: 3 }
    }
}

/// A place in the log: its timeline, then bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    pub timeline: u32,
    pub lsn: u64,
}

/// The node's own leadership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tenure {
    pub epoch: u64,
    /// Until when the node may be primary. Without end for the only member of a group.
    pub deadline: u64,
    /// The store holds the lease; otherwise the other members have vouched, or there are none.
    pub leased: bool,
}

/// What lies in the data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Data {
    Empty,
    /// A copy that has never been written to since it was made.
    Standby,
    /// It was primary, on `timeline`, the last time under `epoch`.
    Led {
        epoch: u64,
        timeline: u32,
    },
}

/// What PostgreSQL is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Postgres {
    Down {
        /// Since it last ran.
        failed_starts: u32,
    },
    Starting {
        as_primary: bool,
    },
    Unresponsive {
        since: u64,
        as_primary: bool,
    },
    Replica {
        /// The member it is told to follow.
        upstream: Option<String>,
        position: Position,
        /// When it last streamed; `now` while it does.
        streamed: u64,
    },
    Primary {
        /// As in force.
        sync: SyncSet,
        /// Who has on disk all that was written when `sync` came into force, or the server started.
        confirmed: BTreeSet<String>,
        /// When each standby last streamed. Whoever is expected back counts as streaming at the start.
        streamed: BTreeMap<String, u64>,
    },
}

/// All that a decision rests on. Times are milliseconds of the boot-time clock.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    pub me: &'a str,
    pub now: u64,
    pub patience: Patience,
    /// As last read or written.
    pub record: &'a GroupRecord,
    /// As of the last reading; `None` when the store has not answered lately.
    pub lease: Option<Option<&'a Leader>>,
    /// Since when the lease has been seen to be free.
    pub free_since: u64,
    pub tenure: Option<Tenure>,
    pub data: Data,
    pub postgres: &'a Postgres,
    /// Clients are let in.
    pub serving: bool,
    /// What members, this one included, reported for `record.epoch + 1`.
    pub reports: &'a BTreeMap<String, Position>,
    /// The epoch of the candidate that this node last reported to.
    pub recruited: u64,
    /// Until when this node must not seek the lease: it vouched for a leader, or has just given up.
    pub abstains_until: u64,
    /// This node may make the group's data.
    pub founder: bool,
    /// The last attempt to rewind failed.
    pub rewind_failed: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Wait,
    /// Take the free lease for `epoch`.
    Acquire {
        epoch: u64,
    },
    /// The lease is this node's own from before a restart: renew it and go on.
    Resume,
    /// Stop PostgreSQL, whatever it is doing, and give the lease up if it is held.
    StepDown {
        reason: &'static str,
    },
    /// Write the electorate, as the established leader.
    Record(Electorate),
    /// Record this node as the leader: from then on it may serve.
    Establish(Electorate),
    /// Ask the electorate for reports.
    Recruit {
        epoch: u64,
    },
    /// Ask the leader to be taken in.
    Join,
    Initdb,
    StartPrimary(SyncSet),
    StartReplica {
        upstream: Option<String>,
    },
    Follow {
        upstream: String,
    },
    Promote(SyncSet),
    SetSync(SyncSet),
    /// Stop PostgreSQL at once.
    Stop {
        reason: &'static str,
    },
    /// Stop PostgreSQL if it runs, and take back what the leader does not have.
    Rewind {
        source: String,
    },
    /// Stop PostgreSQL if it runs, and copy the leader's data.
    Rebuild {
        source: String,
    },
}

/// What to do, and whether clients may be let in meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub serve: bool,
    pub action: Action,
}

impl Decision {
    fn idle(action: Action) -> Self {
        Self { serve: false, action }
    }
}

/// What the node does next.
pub fn decide(seen: &Seen) -> Decision {
    match seen.tenure {
        Some(tenure) if tenure.deadline <= seen.now => {
            Decision::idle(Action::StepDown { reason: "the lease could not be renewed in time" })
        }
        Some(tenure) => leading::decide(seen, tenure),
        None => Decision::idle(following::decide(seen)),
    }
}

impl Seen<'_> {
    fn others(&self) -> impl Iterator<Item = &String> {
        self.record.members.keys().filter(|name| *name != self.me)
    }

    /// The data went on under a leadership of this node that nobody knows of: rewinding could take it for the group's.
    fn has_strayed(&self, timeline: u32) -> bool {
        !self.record.history.iter().any(|reign| reign.leader == self.me && reign.timeline == timeline)
    }

    /// This node led last, or would be the first to.
    fn is_last_leader(&self) -> bool {
        self.record.leader == self.me || self.record.leader.is_empty()
    }
}
