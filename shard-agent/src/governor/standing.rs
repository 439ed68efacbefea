//! What this node is in its group, for all who ask: lanes, coordinators, other members.

use atoll_control::record::GroupRecord;
use atoll_control::store::Leader;

/// What a node may be used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Nothing: it is starting, stopping, or waits to be let in.
    #[default]
    None,
    /// Reads.
    Replica,
    Primary,
}

impl Role {
    /// As `NodeState.role` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Replica => "replica",
            Self::Primary => "primary",
        }
    }
}

/// As the governor last left it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    pub role: Role,
    /// Under which it serves; of a replica, its leader's.
    pub epoch: u64,
    /// Of a primary: it hands over as soon as the transactions that have begun are over; coordinators begin none meanwhile.
    pub draining: bool,
    /// Why the role is [`Role::None`], or a primary draining; otherwise empty.
    pub reason: String,
    pub record: GroupRecord,
    pub leader: Option<Leader>,
    /// Unix milliseconds of the store's last answer; 0 before the first.
    pub read_ms: u64,
    pub timeline: u32,
    pub lsn: u64,
    /// Of a replica, behind what it has received.
    pub lag_bytes: u64,
    pub lag_ms: u64,
    /// While the leader's data are copied: bytes so far, and in all.
    pub copied: (u64, u64),
}
