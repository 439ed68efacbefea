//! Everything that is done to a cluster, drawn from a seed.

mod harm;
mod inject;

pub use harm::Harm;
pub use inject::{inject, switch_over};

use clap::ValueEnum;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::Serialize;

/// The kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// kill -9 of a primary's postmaster.
    KillPostmaster,
    /// kill -9 of a replica's postmaster.
    KillReplica,
    /// kill -9 of a client's backend, upon which PostgreSQL restarts itself.
    KillBackend,
    /// kill -9 of a primary's agent.
    KillAgent,
    /// kill -9 of a primary's postmaster and agent, which stay dead for a while.
    KillNode,
    /// A primary's machine loses power, and boots later.
    PowerOff,
    KillCoordinator,
    /// kill -9 of a primary's postmaster and a coordinator at once, half of the time of its agent, too.
    KillBoth,
    /// kill -9 of one member of etcd that does not lead.
    KillStoreMember,
    KillStoreLeader,
    /// SIGSTOP of a primary's postmaster only; its backends go on.
    StopPostmaster,
    /// SIGSTOP of a primary's agent only: PostgreSQL must not outlive the lease.
    StopAgent,
    /// SIGSTOP of all processes of a primary's machine until it has been replaced; then it wakes up.
    StopMachine,
    /// SIGSTOP of a replica's PostgreSQL, in which commits may wait for it.
    StopReplica,
    StopCoordinator,
    StopStoreLeader,
    /// The network of a primary's machine cut.
    Cut,
    /// Nothing arrives at a primary's machine.
    CutIncoming,
    /// Nothing leaves a primary's machine.
    CutOutgoing,
    CutReplica,
    /// A primary's machine cut from the lease store only.
    CutFromStore,
    /// A primary's machine cut from the other nodes of its group only.
    CutFromGroup,
    CutCoordinator,
    /// All of etcd gone for less than the leases' time to live.
    StoreGoneShort,
    /// All of etcd gone for more than that.
    StoreGoneLong,
    /// No room left on a primary's disk.
    DiskFull,
    /// No room left on a replica's disk.
    DiskFullReplica,
    /// A node's clock steps, forward or back, by up to a day.
    ClockStep,
    /// A primary's link loses packets and is slow.
    BadLink,
    /// Replay stands still on all replicas of a group, and then the primary dies.
    LaggingReplicas,
    /// A primary dies, and the node that is about to replace it as well.
    SecondWinner,
    /// A primary dies, and a coordinator during the promotion.
    SecondCoordinator,
    /// A primary dies, and the leader of etcd during the promotion.
    SecondStore,
    /// A planned switchover.
    Switchover,
}

/// Faults without end: every kind once, in an order drawn from the seed, then every kind again in another order.
pub struct Plan {
    kinds: Vec<Kind>,
    left: Vec<Kind>,
}

impl Plan {
    pub fn new(kinds: Vec<Kind>) -> Plan {
        Plan { kinds, left: Vec::new() }
    }

    pub fn next(&mut self, random: &mut StdRng) -> Option<Kind> {
        if self.left.is_empty() {
            self.left.clone_from(&self.kinds);
            self.left.shuffle(random);
        }
        self.left.pop()
    }
}

/// One of them.
pub fn draw<'a, T>(random: &mut StdRng, of: &'a [T]) -> Option<&'a T> {
    (!of.is_empty()).then(|| &of[random.random_range(0..of.len())])
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_kind_comes_before_one_comes_again() {
        let all = Kind::value_variants().to_vec();
        let (mut plan, mut random) = (Plan::new(all.clone()), StdRng::seed_from_u64(7));
        for _ in 0..3 {
            let mut drawn: Vec<Kind> = (0..all.len()).filter_map(|_| plan.next(&mut random)).collect();
            drawn.sort_unstable();
            assert_eq!(drawn, all);
        }
    }

    #[test]
    fn a_seed_draws_the_same_faults() {
        let drawn = |seed| {
            let (mut plan, mut random) = (Plan::new(Kind::value_variants().to_vec()), StdRng::seed_from_u64(seed));
            (0..50).filter_map(|_| plan.next(&mut random)).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }
}
