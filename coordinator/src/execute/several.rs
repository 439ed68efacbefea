//! Several fragments at a time on one group's node, for long work: each takes a part of the group's shards, on a backend of its own, under the
//! same exported snapshot.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use atoll_planner::directory::{ColocationId, GroupIndex};
use atoll_planner::plan::{Access, Fragment, Merge, Plan};
use atoll_proto::v1;

use super::datafusion::{Attempt, Ready, run};
use super::join::leave;
use super::limit::Expected;
use super::scatter::{GroupFragment, request};
use crate::error::{Error, Result, sqlstate};
use crate::lane::Lane;
use crate::place::Place;
use crate::plans::Statement;
use crate::session::extended::Bound;
use crate::session::simple::Ask;
use crate::session::slow::FragmentWork;
use crate::session::transaction::Transaction;
use crate::session::{Session, Tier};

/// Only where work on tables took so long is PostgreSQL asked what more of it will cost: short statements do not pay for the question.
const LONG_MIN: Duration = Duration::from_millis(200);

/// Backends that begin at the same snapshot read the same rows.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A database and tables of it that are co-located.
pub type LongKey = (Arc<str>, ColocationId);

/// Tables on which work has taken long.
#[derive(Default)]
pub struct Long(Mutex<HashSet<LongKey>>);

impl Long {
    fn note(&self, key: LongKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key);
    }

    fn is_noted(&self, key: &LongKey) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }
}

impl Session {
    /// How many fragments a group is to run at a time for this one: 1 where its work is short, where PostgreSQL has workers of its own for
    /// it, for what locks rows or may write, and inside a transaction, whose rows other backends do not see.
    ///
    /// # Errors
    /// What PostgreSQL says of the fragment.
    pub(super) async fn hands(
        &mut self,
        fragment: &Fragment,
        statement: &Arc<Statement>,
        bound: Option<&Bound>,
    ) -> Result<usize> {
        let config = &self.worker.cluster.config;
        let (max, long) = (config.group_fragments_max, config.long_fragment_cost as f64);
        let reads = match &statement.plan {
            Plan::Sharded(sharded) => sharded.access == Access::Read,
            Plan::Gather(gather) => gather.access == Access::Read,
            _ => false,
        };
        let serializable = self.settings.get("default_transaction_isolation").is_some();
        if max == 1 || !reads || self.transaction.is_some() || serializable || !self.pinned.is_empty() {
            return Ok(1);
        }
        let is_short = |expected: &Expected| expected.cost < long || expected.parallel;
        if statement.expected.get().is_some_and(is_short)
            || (long > 0.0 && !self.worker.long.is_noted(&self.key_of(fragment)))
        {
            return Ok(1);
        }
        let shards = self.group_shards(fragment, bound).await?;
        let groups: Vec<String> = shards.keys().map(|group| self.group_name(*group)).collect();
        let most = shards.values().map(Vec::len).max().unwrap_or(1);
        let max = match max {
            0 => {
                // The node with the least room sets the pace.
                let nodes = self.worker.cluster.keeper.nodes();
                let own = nodes.iter().filter(|report| groups.contains(&report.group));
                own.map(|report| report.node.capacity).fold(f64::INFINITY, f64::min).min(most as f64) as usize
            }
            max => max,
        };
        let hands = max.min(most);
        if hands < 2 {
            return Ok(1);
        }
        let expected = match statement.expected.get() {
            Some(expected) => *expected,
            None => {
                let parts = self.group_fragments(fragment, bound).await?;
                let expected = self.expected_of(parts, bound, &[]).await?;
                *statement.expected.get_or_init(|| expected)
            }
        };
        Ok(if is_short(&expected) { 1 } else { hands })
    }

    /// Notes that work on a fragment's tables took so long.
    pub(super) fn note_long(&self, fragment: &Fragment, took: Duration) {
        if took >= LONG_MIN {
            self.worker.long.note(self.key_of(fragment));
        }
    }

    fn key_of(&self, fragment: &Fragment) -> LongKey {
        (self.data_database.clone(), fragment.colocation)
    }

    /// [`Session::merge_in_datafusion`] over one fragment, of which each group runs so many parts at a time.
    ///
    /// # Errors
    /// The statement's.
    pub(super) async fn merge_by_several(
        &mut self,
        merge: &Merge,
        ready: &Ready,
        ask: Ask<'_>,
        hands: usize,
    ) -> Result<Attempt> {
        self.transaction = Some(Transaction::new(false, BEGIN.to_owned(), &self.settings));
        let outcome = self.side_by_side(&merge.fragments[0], ready, ask, hands).await;
        if outcome.is_err() {
            self.note_failure();
        }
        let answered = matches!(outcome, Ok(Attempt::Answered));
        let ended = self.end_transaction(answered).await;
        let outcome = outcome.map_err(Error::undone)?;
        if answered {
            ended?;
        }
        Ok(outcome)
    }

    async fn side_by_side(
        &mut self,
        fragment: &Fragment,
        ready: &Ready,
        ask: Ask<'_>,
        hands: usize,
    ) -> Result<Attempt> {
        let bound = ask.bound();
        let start = Instant::now();
        let shards = self.group_shards(fragment, bound).await?;
        let mut lanes = self.scatter_lanes(shards.keys().copied()).await?;
        let (mut snapshots, mut replicas) = (Vec::new(), Vec::new());
        for group in shards.keys() {
            let (place, path) = (Place::data(*group), self.plain_path());
            let sets = self.run_at(place, &path, "SELECT pg_catalog.pg_export_snapshot()", false).await?;
            let name = sets.first().ok_or_else(|| Error::internal("a group exported no snapshot"))?.scalar()?;
            snapshots.push((place, name.to_owned()));
        }
        for participant in self.transaction.iter().flat_map(|transaction| &transaction.participants) {
            if participant.lane.reads_for.is_some() {
                replicas.push((participant.place, participant.lane.node().to_string()));
            }
        }
        let mut others = Vec::new();
        let mut outcome = Ok(());
        for hand in 1..hands {
            let groups = shards.iter().filter(|(_, shards)| shards.len() > hand).map(|(group, _)| *group);
            let mut beside = Transaction::new(false, BEGIN.to_owned(), &self.settings);
            (beside.snapshots, beside.replicas, beside.spare) = (snapshots.clone(), replicas.clone(), true);
            let outer = self.begin_beside(beside);
            let opened = self.scatter_lanes(groups).await;
            others.extend(self.leave_beside(outer));
            match opened {
                Ok(lanes) => self.let_go_all(lanes),
                // Nobody is kept waiting for more hands.
                Err(error) if error.sqlstate() == sqlstate::TOO_MANY_CONNECTIONS => {
                    break;
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        let outcome = match outcome {
            Ok(()) => self.run_parts(fragment, ready, (ask, bound), &mut lanes, &mut others).await,
            Err(error) => Err(error),
        };
        self.let_go_all(lanes);
        let mut fragments = 0;
        let went_well = matches!(&outcome, Ok((_, Attempt::Answered)));
        for other in others {
            fragments += other.participants.len();
            let outer = self.begin_beside(other);
            let ended = self.end_beside(outer, went_well).await;
            if let (true, Err(error)) = (went_well, ended) {
                // It has read only: what it read was answered.
                tracing::debug!(%error, "a fragment's backend did not end its transaction");
            }
        }
        let (rows, attempt) = outcome?;
        self.work.fragments.push(FragmentWork {
            name: fragment.name.clone(),
            groups: shards.len(),
            fragments: shards.len() + fragments,
            rows,
            limited: false,
            took: start.elapsed(),
        });
        Ok(attempt)
    }

    /// Every backend's part of the fragment, merged; the rows that came of them.
    async fn run_parts(
        &mut self,
        fragment: &Fragment,
        ready: &Ready,
        (ask, bound): (Ask<'_>, Option<&Bound>),
        lanes: &mut super::scatter::Lanes,
        others: &mut [Transaction],
    ) -> Result<(u64, Attempt)> {
        let version = self.facts().id;
        let shards = self.group_shards(fragment, bound).await?;
        let mut parts: Vec<(usize, GroupFragment)> = Vec::new();
        for (group, shards) in &shards {
            // Who did not get a backend in this group leaves its shards to the others.
            let there = |other: &&Transaction| other.has(Place::data(*group));
            let hands = 1 + others.iter().take_while(there).count();
            for (hand, part) in deal(shards, hands).into_iter().enumerate() {
                let marked = super::scatter::union_all(&fragment.arm, &part);
                let sql = self.text_everywhere(&marked).await?.into_owned();
                parts.push((hand, GroupFragment { group: *group, sql }));
            }
        }
        let requests: Vec<(usize, GroupIndex, v1::Fragment)> = parts
            .into_iter()
            .map(|(hand, part)| {
                let parameters = self.fragment_parameters(bound, part.group);
                (hand, part.group, request(part.sql, parameters, &ready.formats[0], version))
            })
            .collect();
        let engine = self.worker.cluster.merge.clone();
        let described = ready.described(ask);
        self.tier = Tier::DataFusion;
        let cancel = self.cancel.clone();
        let mut own = Self::lanes_of(self.transaction.as_mut(), &mut self.pinned, lanes);
        let mut beside: Vec<Vec<(Place, &mut Lane)>> = others
            .iter_mut()
            .map(|other| {
                let participants = other.participants.iter_mut();
                participants.map(|participant| (participant.place, &mut *participant.lane)).collect()
            })
            .collect();
        let mut borrowed = Vec::with_capacity(requests.len());
        for (hand, group, fragment) in requests {
            let lane = match hand.checked_sub(1) {
                None => own.remove(&group),
                Some(other) => {
                    let lanes = &mut beside[other];
                    let at = lanes.iter().position(|(place, _)| *place == Place::data(group));
                    at.map(|at| lanes.swap_remove(at).1)
                }
            };
            borrowed.push((lane.ok_or_else(|| Error::internal("a part without its lane"))?, fragment));
        }
        let output = (&ready.encoder, &mut self.client, described);
        let name = fragment.name.as_str();
        let done = run(&engine, &ready.merge, (name, borrowed), Vec::new(), &cancel, output).await;
        let own = Self::lanes_of(self.transaction.as_mut(), &mut self.pinned, lanes).into_values();
        let beside = others.iter_mut().flat_map(|other| &mut other.participants);
        for lane in own.chain(beside.map(|participant| &mut *participant.lane)) {
            if done.outcome.is_err() && lane.busy {
                leave(lane, true).await;
            }
            cancel.leave(lane);
        }
        cancel.settled().await;
        Ok((done.fetched, self.after_run(done, true)?))
    }
}

/// Dealt out to so many, as evenly as can be.
fn deal<T: Clone>(items: &[T], hands: usize) -> Vec<Vec<T>> {
    let mut dealt = vec![Vec::new(); hands.clamp(1, items.len().max(1))];
    let count = dealt.len();
    for (index, item) in items.iter().enumerate() {
        dealt[index % count].push(item.clone());
    }
    dealt
}

#[cfg(test)]
mod tests {
    use super::deal;

    #[test]
    fn everything_is_dealt_once() {
        assert_eq!(deal(&[1, 2, 3, 4, 5], 2), [vec![1, 3, 5], vec![2, 4]]);
        assert_eq!(deal(&[1, 2], 4), [[1], [2]]);
        assert_eq!(deal(&[1, 2, 3], 1), [[1, 2, 3]]);
    }
}
