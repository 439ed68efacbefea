//! With the lease in hand: become primary, stay primary, keep the synchronous set in line with who is there.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Data, Decision, Postgres, Seen, Tenure};
use crate::quorum::{Step, SyncSet, is_covered, next_step};

pub fn decide(seen: &Seen, tenure: Tenure) -> Decision {
    if let Some(lease) = seen.lease {
        match lease {
            Some(leader) if leader.node != seen.me || leader.epoch != tenure.epoch => {
                return Decision::idle(Action::StepDown { reason: "another node holds the lease" });
            }
            None if !tenure.leased && seen.record.epoch == tenure.epoch => {
                let serve = seen.serving && matches!(seen.postgres, Postgres::Primary { .. });
                return Decision { serve, action: Action::Acquire { epoch: tenure.epoch } };
            }
            None if !tenure.leased => {
                return Decision::idle(Action::StepDown { reason: "another node has led since" });
            }
            Some(_) | None => {}
        }
    }
    match seen.postgres {
        Postgres::Down { failed_starts } => Decision::idle(start(seen, tenure, *failed_starts)),
        Postgres::Starting { .. } => Decision::idle(Action::Wait),
        Postgres::Unresponsive { since, .. } => {
            let stop = seen.now.saturating_sub(*since) > seen.patience.unresponsive_ms;
            let action = if stop { Action::Stop { reason: "PostgreSQL does not answer" } } else { Action::Wait };
            // What is there may go on; nothing else can be told from here.
            Decision { serve: seen.serving && !stop, action }
        }
        Postgres::Replica { .. } => Decision::idle(Action::Promote(first_sync(seen))),
        Postgres::Primary { sync, confirmed, streamed } => reign(seen, tenure, sync, confirmed, streamed),
    }
}

/// PostgreSQL does not run.
fn start(seen: &Seen, tenure: Tenure, failed_starts: u32) -> Action {
    if seen.record.wish.paused {
        return Action::Wait;
    }
    if failed_starts >= seen.patience.failed_starts && seen.others().next().is_some() {
        return Action::StepDown { reason: "PostgreSQL does not start" };
    }
    match seen.data {
        Data::Empty if seen.record.leader.is_empty() => Action::Initdb,
        Data::Empty => Action::StepDown { reason: "the data directory is empty" },
        Data::Led { epoch, .. } if epoch == tenure.epoch || seen.is_last_leader() => {
            Action::StartPrimary(recorded_sync(seen))
        }
        Data::Led { .. } => Action::StepDown { reason: "another node has led since" },
        Data::Standby => Action::StartReplica { upstream: None },
    }
}

fn reign(
    seen: &Seen,
    tenure: Tenure,
    sync: &SyncSet,
    confirmed: &BTreeSet<String>,
    streamed: &BTreeMap<String, u64>,
) -> Decision {
    let goal = goal(seen, sync, streamed);
    let record = seen.record;
    if !record.is_established(tenure.epoch) {
        // Nobody has been served, so nothing was acknowledged: any set will do.
        let action = if *sync != goal {
            Action::SetSync(goal)
        } else if is_covered(&goal.electorate(), confirmed) {
            Action::Establish(goal.electorate())
        } else {
            Action::Wait
        };
        return Decision::idle(action);
    }
    // After a restart, what was on this node's disk alone becomes visible: not before others have it, too.
    let serve = seen.serving || sync.members.iter().filter(|member| confirmed.contains(*member)).count() >= sync.quorum;
    let action = match next_step(&goal, sync, &record.electorate, confirmed) {
        Step::Done | Step::Wait => Action::Wait,
        Step::SetSync(next) => Action::SetSync(next),
        Step::Record(electorate) => Action::Record(electorate),
    };
    Decision { serve, action }
}

/// The synchronous set to work towards: who streams, as many as the policy asks for; fewer only when it allows that.
fn goal(seen: &Seen, sync: &SyncSet, streamed: &BTreeMap<String, u64>) -> SyncSet {
    let policy = &seen.record.policy;
    let is_there = |name: &String| {
        streamed.get(name).is_some_and(|last| seen.now.saturating_sub(*last) <= seen.patience.standby_ms)
    };
    let mut members: Vec<String> = seen.others().filter(|name| is_there(name)).cloned().collect();
    let quorum = if policy.strict && seen.others().next().is_some() {
        if members.len() < policy.synchronous {
            let waited_for = seen.others().filter(|name| sync.members.contains(name) || is_there(name));
            members = waited_for.cloned().collect();
            if members.is_empty() {
                members = seen.others().cloned().collect();
            }
        }
        policy.synchronous
    } else {
        policy.synchronous.min(members.len())
    };
    if quorum == 0 { SyncSet::default() } else { SyncSet { members, quorum } }
}

/// At a promotion: whoever reported is about to follow.
fn first_sync(seen: &Seen) -> SyncSet {
    let streamed = seen.others().filter(|name| seen.reports.contains_key(*name)).map(|name| (name.clone(), seen.now));
    goal(seen, &SyncSet::default(), &streamed.collect())
}

/// The set under which the recorded electorate holds.
fn recorded_sync(seen: &Seen) -> SyncSet {
    let electorate = &seen.record.electorate;
    if electorate.reports <= electorate.members.len() {
        return SyncSet {
            members: electorate.members.clone(),
            quorum: electorate.members.len() + 1 - electorate.reports,
        };
    }
    goal(seen, &SyncSet::default(), &BTreeMap::new())
}
