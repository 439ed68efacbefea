//! Without the lease: follow whoever holds it; when nobody does, seek it if this node may have it.

use super::{Action, Data, Position, Postgres, Seen};
use crate::store::Leader;

pub fn decide(seen: &Seen) -> Action {
    let Some(lease) = seen.lease else { return without_store(seen) };
    if let Some(leader) = lease
        && leader.node == seen.me
    {
        return Action::Resume;
    }
    if is_primary(seen.postgres) {
        return Action::Stop { reason: "this node does not hold the lease" };
    }
    if seen.record.removed.contains(seen.me) && seen.data != Data::Empty {
        return match seen.postgres {
            Postgres::Down { .. } => Action::Wait,
            _ => Action::Stop { reason: "this node was removed from its group" },
        };
    }
    if let Postgres::Unresponsive { since, .. } = seen.postgres {
        return if seen.now.saturating_sub(*since) > seen.patience.unresponsive_ms {
            Action::Stop { reason: "PostgreSQL does not answer" }
        } else {
            Action::Wait
        };
    }
    match lease {
        Some(leader) => follow(seen, leader),
        None => seek(seen),
    }
}

fn is_primary(postgres: &Postgres) -> bool {
    match postgres {
        Postgres::Primary { .. } => true,
        Postgres::Starting { as_primary } | Postgres::Unresponsive { as_primary, .. } => *as_primary,
        Postgres::Down { .. } | Postgres::Replica { .. } => false,
    }
}

/// A replica goes on as it is: it only takes what its leader sends.
fn without_store(seen: &Seen) -> Action {
    if is_primary(seen.postgres) {
        return Action::Stop { reason: "this node does not hold the lease" };
    }
    Action::Wait
}

fn follow(seen: &Seen, leader: &Leader) -> Action {
    // This reading is older than the report that this node gave to a candidate.
    if leader.epoch < seen.recruited {
        return Action::Wait;
    }
    if !seen.record.members.contains_key(seen.me) {
        return Action::Join;
    }
    let settled = seen.record.is_established(leader.epoch);
    let source = || leader.node.clone();
    let once_settled = |action: Action| if settled { action } else { Action::Wait };
    match seen.postgres {
        Postgres::Down { failed_starts } => match seen.data {
            Data::Empty => once_settled(Action::Rebuild { source: source() }),
            Data::Led { timeline, .. } if seen.rewind_failed || seen.has_strayed(timeline) => {
                once_settled(Action::Rebuild { source: source() })
            }
            Data::Led { .. } => once_settled(Action::Rewind { source: source() }),
            Data::Standby if seen.record.wish.paused => Action::Wait,
            Data::Standby if *failed_starts >= seen.patience.failed_starts => {
                once_settled(Action::Rebuild { source: source() })
            }
            Data::Standby => Action::StartReplica { upstream: Some(source()) },
        },
        Postgres::Replica { upstream, position, streamed } => {
            if upstream.as_ref() != Some(&leader.node) {
                return Action::Follow { upstream: source() };
            }
            if *streamed == seen.now || !settled {
                return Action::Wait;
            }
            let stalled = seen.now.saturating_sub(*streamed) > seen.patience.stalled_ms;
            if stalled || (is_ahead(seen, *position) && seen.rewind_failed) {
                Action::Rebuild { source: source() }
            } else if is_ahead(seen, *position) {
                Action::Rewind { source: source() }
            } else {
                Action::Wait
            }
        }
        Postgres::Starting { .. } | Postgres::Unresponsive { .. } | Postgres::Primary { .. } => Action::Wait,
    }
}

/// Whether the replica has received more of its timeline than the leaders that came after it kept.
fn is_ahead(seen: &Seen, position: Position) -> bool {
    let next = seen.record.history.iter().find(|reign| reign.timeline > position.timeline);
    next.is_some_and(|next| parse_lsn(&next.start_lsn).is_some_and(|switch| position.lsn > switch))
}

/// The lease is free.
fn seek(seen: &Seen) -> Action {
    let record = seen.record;
    if record.wish.paused || seen.abstains_until > seen.now {
        return rest(seen);
    }
    let next = record.epoch + 1;
    if record.leader.is_empty() {
        let is_first = seen.founder && seen.others().next().is_none();
        return if is_first { Action::Acquire { epoch: next } } else { rest(seen) };
    }
    if let Some(chosen) = &record.wish.switchover_to
        && chosen != seen.me
        && seen.now.saturating_sub(seen.free_since) <= seen.patience.handover_ms
    {
        return rest(seen);
    }
    if record.leader == seen.me && matches!(seen.data, Data::Led { .. }) {
        return Action::Acquire { epoch: next };
    }
    if !record.electorate.members.iter().any(|member| member == seen.me) || seen.data != Data::Standby {
        return rest(seen);
    }
    match seen.postgres {
        Postgres::Replica { .. } => campaign(seen, next),
        _ => rest(seen),
    }
}

/// A standby that cannot lead runs all the same: it answers reads, and reports to those who can.
fn rest(seen: &Seen) -> Action {
    match (seen.postgres, seen.data) {
        (Postgres::Down { .. }, Data::Standby) if !seen.record.wish.paused => Action::StartReplica { upstream: None },
        _ => Action::Wait,
    }
}

fn campaign(seen: &Seen, epoch: u64) -> Action {
    let electorate = &seen.record.electorate;
    let mut heard: Vec<(Position, &String)> = electorate
        .members
        .iter()
        .filter_map(|member| seen.reports.get(member).map(|position| (*position, member)))
        // A timeline that no established leader began is nobody's.
        .filter(|(position, _)| position.timeline <= seen.record.timeline())
        .collect();
    if heard.len() < electorate.reports || !heard.iter().any(|(_, member)| *member == seen.me) {
        return Action::Recruit { epoch };
    }
    heard.sort_by(|(left, left_name), (right, right_name)| right.cmp(left).then(left_name.cmp(right_name)));
    let chosen = seen.record.wish.switchover_to.as_ref();
    let best = heard[0].0;
    let preferred = heard.iter().find(|(position, member)| *position == best && chosen == Some(member));
    let winner = preferred.unwrap_or(&heard[0]).1;
    if winner == seen.me { Action::Acquire { epoch } } else { Action::Wait }
}

/// "16/B374D848" as PostgreSQL prints it.
pub fn parse_lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    Some(u64::from_str_radix(high, 16).ok()? << 32 | u64::from_str_radix(low, 16).ok()?)
}
