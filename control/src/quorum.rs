//! Which standbys a commit waits for, which standbys can elect a leader, and how both change without an acknowledged commit ever being
//! out of reach of an election.
//!
//! A commit is acknowledged by any `quorum` of the sync set's members; a leader is elected by any `reports` of the electorate's members,
//! and is the one among them that has received the most. As replicas receive one log in order, the most holds everything that any of them
//! has. So it suffices that every acknowledging set meets every electing set, now, and that every electing set holds somebody who has
//! what earlier sync sets acknowledged.

use std::collections::BTreeSet;

use crate::record::Electorate;

/// What PostgreSQL's synchronous_standby_names says: ANY `quorum` (`members`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SyncSet {
    /// Sorted.
    pub members: Vec<String>,
    /// 0: commits wait for nobody.
    pub quorum: usize,
}

impl SyncSet {
    /// Whoever can elect once everybody has confirmed: as few as meet every acknowledging set.
    pub fn electorate(&self) -> Electorate {
        if self.quorum == 0 {
            return Electorate::nobody();
        }
        Electorate {
            members: self.members.clone(),
            reports: self.members.len() + 1 - self.quorum.min(self.members.len()),
        }
    }
}

impl Electorate {
    /// Only the last leader can lead.
    pub fn nobody() -> Self {
        Self { members: Vec::new(), reports: 1 }
    }
}

/// Whether every set that acknowledges meets every set that elects.
pub fn is_safe(sync: &SyncSet, electorate: &Electorate) -> bool {
    if electorate.reports > electorate.members.len() {
        return true;
    }
    let both = sync.members.iter().filter(|member| electorate.members.contains(member)).count();
    // The fewest members in common that an acknowledging, and an electing, set can do with.
    let acknowledging = sync.quorum.saturating_sub(sync.members.len() - both);
    let electing = electorate.reports.saturating_sub(electorate.members.len() - both);
    acknowledging + electing > both
}

/// Whether every electing set holds one of `confirmed`.
pub fn is_covered(electorate: &Electorate, confirmed: &BTreeSet<String>) -> bool {
    electorate.members.iter().filter(|member| !confirmed.contains(*member)).count() < electorate.reports
}

/// What to do next on the way to a sync set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Done,
    /// In PostgreSQL.
    SetSync(SyncSet),
    /// In the lease store.
    Record(Electorate),
    /// For confirmations.
    Wait,
}

/// The next step towards `goal` and its electorate. `confirmed`: members that have on disk all that was written when `sync` came into force.
pub fn next_step(goal: &SyncSet, sync: &SyncSet, electorate: &Electorate, confirmed: &BTreeSet<String>) -> Step {
    let record = |electorate: Electorate| {
        if is_covered(&electorate, confirmed) { Step::Record(electorate) } else { Step::Wait }
    };
    if sync != goal {
        if is_safe(goal, electorate) {
            return Step::SetSync(goal.clone());
        }
        return record(between(sync, goal, electorate));
    }
    let target = goal.electorate();
    if *electorate == target { Step::Done } else { record(target) }
}

/// An electorate that is safe with both sync sets.
fn between(sync: &SyncSet, goal: &SyncSet, electorate: &Electorate) -> Electorate {
    let members: BTreeSet<String> = electorate.members.iter().chain(&goal.members).cloned().collect();
    let members: Vec<String> = members.into_iter().collect();
    let with = |reports| Electorate { members: members.clone(), reports };
    let smallest = (1..=members.len()).map(with).find(|between| is_safe(sync, between) && is_safe(goal, between));
    smallest.unwrap_or_else(Electorate::nobody)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["a", "b", "c", "d"];

    fn subset(bits: usize) -> Vec<String> {
        NAMES
            .iter()
            .enumerate()
            .filter(|(index, _)| bits & (1 << index) != 0)
            .map(|(_, name)| (*name).to_owned())
            .collect()
    }

    fn sets(bits: usize, size: usize) -> Vec<BTreeSet<String>> {
        (0..1 << NAMES.len())
            .filter(|chosen: &usize| chosen & bits == *chosen && chosen.count_ones() as usize == size)
            .map(|chosen| subset(chosen).into_iter().collect())
            .collect()
    }

    /// By trying every pair of sets.
    fn meet(sync_bits: usize, quorum: usize, elect_bits: usize, reports: usize) -> bool {
        let electing = sets(elect_bits, reports);
        sets(sync_bits, quorum).iter().all(|left| electing.iter().all(|right| !left.is_disjoint(right)))
    }

    #[test]
    fn safe_means_that_all_sets_meet() {
        for sync_bits in 0..16_usize {
            for quorum in 0..=sync_bits.count_ones() as usize {
                for elect_bits in 0..16_usize {
                    for reports in 1..=elect_bits.count_ones() as usize + 1 {
                        let sync = SyncSet { members: subset(sync_bits), quorum };
                        let electorate = Electorate { members: subset(elect_bits), reports };
                        let expected = meet(sync_bits, quorum, elect_bits, reports);
                        assert_eq!(is_safe(&sync, &electorate), expected, "{sync:?} {electorate:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_change_gets_there_and_is_safe_all_the_way() {
        let all: Vec<SyncSet> = (0..16_usize)
            .flat_map(|bits| {
                let least = usize::from(bits != 0);
                (least..=bits.count_ones() as usize).map(move |quorum| SyncSet { members: subset(bits), quorum })
            })
            .collect();
        let everybody: BTreeSet<String> = subset(15).into_iter().collect();
        for from in &all {
            for goal in &all {
                let (mut sync, mut electorate) = (from.clone(), from.electorate());
                let mut steps = 0;
                loop {
                    assert!(is_safe(&sync, &electorate), "{from:?} -> {goal:?}: {sync:?} {electorate:?}");
                    match next_step(goal, &sync, &electorate, &everybody) {
                        Step::Done => break,
                        Step::SetSync(next) => sync = next,
                        Step::Record(next) => electorate = next,
                        Step::Wait => panic!("everybody has confirmed"),
                    }
                    steps += 1;
                    assert!(steps <= 4, "{from:?} -> {goal:?}");
                }
                assert_eq!((&sync, electorate), (goal, goal.electorate()));
            }
        }
    }

    #[test]
    fn who_has_not_confirmed_cannot_elect_alone() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let goal = SyncSet { members: names(&["b"]), quorum: 1 };
        let electorate = Electorate { members: names(&["a", "b"]), reports: 2 };
        assert_eq!(next_step(&goal, &goal, &electorate, &BTreeSet::new()), Step::Wait);
        let confirmed = BTreeSet::from(["b".to_owned()]);
        assert_eq!(next_step(&goal, &goal, &electorate, &confirmed), Step::Record(goal.electorate()));
    }
}
