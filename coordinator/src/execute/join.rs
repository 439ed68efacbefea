//! Tier 2 over several inputs: fragments, and tables at home. All but the last are fetched before the merge begins, the one of which the
//! fewest rows are expected first, so that its keys limit those that follow (`limit.rs`); the last, and largest, flows through the merge.

use std::collections::BTreeMap;
use std::time::Instant;

use arrow_array::RecordBatch;
use atoll_merge::{InputSchema, Reservation};
use atoll_planner::directory::{Directory, GroupIndex};
use atoll_planner::plan::Merge;
use atoll_proto::v1;
use atoll_wire::backend;
use atoll_wire::oid;
use atoll_wire::rows::{self, IpcReader};
use futures_util::future::join_all;

use super::datafusion::{Attempt, BEYOND_ARROW, OUT_OF_MEMORY, Ready, Run, merge_error, run, with_lanes};
use super::limit::{Candidate, Known, apply};
use super::scatter::{GroupFragment, discard_rest, next_batch, request};
use crate::error::{Error, Result};
use crate::lane::Lane;
use crate::session::extended::Bound;
use crate::session::simple::Ask;
use crate::session::slow::FragmentWork;
use crate::session::transaction::Transaction;
use crate::session::{Session, Tier};

/// Rows of tables at home, as estimated, from which on PostgreSQL merges beside them: there they need not travel, and have indexes.
const HOME_ROWS_MAX: f64 = 50_000.0;

/// PostgreSQL's word for a column or table that the role may not read. The inputs may ask for more columns than the query does.
const DENIED: &str = "42501";

/// An input that is there.
pub struct Collected {
    pub schema: InputSchema,
    pub batches: Vec<RecordBatch>,
}

impl Session {
    /// Runs a merge over several inputs in DataFusion; where it is not `forced`, only if PostgreSQL is not expected to be faster.
    ///
    /// # Errors
    /// The statement's.
    pub(super) async fn join_in_datafusion(
        &mut self,
        merge: &Merge,
        ready: Ready,
        ask: Ask<'_>,
        forced: bool,
    ) -> Result<Attempt> {
        let bound = ask.bound();
        if let Some(reason) = self.unjoinable(merge, &ready) {
            return Ok(Attempt::Unsupported(reason));
        }
        let alone = self.transaction.is_none();
        if alone {
            // One snapshot for all that a group is asked.
            let begin = match self.settings.get("default_transaction_isolation") {
                None => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                Some(_) => "BEGIN READ ONLY",
            };
            self.transaction = Some(Transaction::new(false, begin.to_owned(), &self.settings));
        }
        let outcome = self.join_fragments(merge, ready, ask, bound, (forced, alone)).await;
        if outcome.is_err() {
            self.note_failure();
        }
        if alone {
            let ended = self.end_transaction(matches!(outcome, Ok(Attempt::Answered))).await;
            let outcome = outcome.map_err(Error::undone)?;
            if matches!(outcome, Attempt::Answered) {
                ended?;
            }
            return Ok(outcome);
        }
        outcome
    }

    /// Why PostgreSQL merges what DataFusion could.
    ///
    /// # Errors
    /// What PostgreSQL says of an input.
    pub(super) async fn not_joined_because(
        &mut self,
        merge: &Merge,
        ready: &Ready,
        bound: Option<&Bound>,
        forced: bool,
    ) -> Result<Option<String>> {
        if ready.inputs.len() < 2 {
            return Ok(None);
        }
        match self.unjoinable(merge, ready) {
            None => Ok(self.join_candidates(merge, bound, forced).await?.err()),
            reason => Ok(reason),
        }
    }

    /// Why a merge over several inputs is PostgreSQL's, whatever the number of rows.
    fn unjoinable(&self, merge: &Merge, ready: &Ready) -> Option<String> {
        let in_block = self.transaction.is_some();
        let has_home = merge.joined.as_ref().is_some_and(|joined| !joined.home.is_empty());
        if in_block && has_home {
            // A privilege that is missing there would fail the block.
            return Some("tables at home inside a transaction block".to_owned());
        }
        let fields = ready.inputs.iter().flat_map(|input| input.schema.fields());
        let timed = |type_oid: Option<u32>| matches!(type_oid, Some(oid::TIMESTAMP | oid::TIMESTAMPTZ));
        if (in_block || !ready.merge.holds_rows_back()) && fields.into_iter().any(|field| timed(rows::field_oid(field)))
        {
            // One beyond Arrow's range would be noticed too late.
            return Some("times whose range is not known before rows are sent".to_owned());
        }
        None
    }

    /// The inputs in the order of their numbers, with the rows expected of them; or why PostgreSQL is to merge.
    ///
    /// # Errors
    /// What PostgreSQL says of an input.
    pub(super) async fn join_candidates(
        &mut self,
        merge: &Merge,
        bound: Option<&Bound>,
        forced: bool,
    ) -> Result<std::result::Result<Vec<Candidate>, String>> {
        let mut candidates = Vec::new();
        let bytes_max = self.worker.cluster.merge.reserve().bytes_max() as f64;
        let (mut bytes, mut largest, mut at_home) = (0.0, 0.0, 0.0);
        let home = merge.joined.as_ref().map_or(0, |joined| joined.home.len());
        for index in 0..merge.fragments.len() + home {
            let expected = self.expected(merge, index, bound).await?;
            let size = expected.rows * (expected.width + 16.0);
            bytes += size;
            largest = f64::max(largest, size);
            if index >= merge.fragments.len() {
                at_home += expected.rows;
            }
            candidates.push(Candidate::of(index, expected.rows));
        }
        // The others are there twice for a while: as they came, and as what rows are looked up in.
        if !forced && bytes - largest > bytes_max / 2.0 {
            return Ok(Err(format!("about {:.0} MiB to hold in memory", (bytes - largest) / f64::from(1 << 20))));
        }
        if !forced && at_home > HOME_ROWS_MAX {
            return Ok(Err(format!("about {at_home:.0} rows of tables at home")));
        }
        Ok(Ok(candidates))
    }

    async fn join_fragments(
        &mut self,
        merge: &Merge,
        ready: Ready,
        ask: Ask<'_>,
        bound: Option<&Bound>,
        (forced, alone): (bool, bool),
    ) -> Result<Attempt> {
        let mut candidates = match self.join_candidates(merge, bound, forced).await? {
            Ok(candidates) => candidates,
            Err(reason) => return Ok(Attempt::Unsupported(reason)),
        };
        let room = self.worker.cluster.merge.reserve();
        let mut collected: Vec<Option<Collected>> = ready.inputs.iter().map(|_| None).collect();
        let mut counts = vec![None; ready.inputs.len()];
        while let Some(next) =
            (0..candidates.len()).min_by(|left, right| candidates[*left].left.total_cmp(&candidates[*right].left))
        {
            let Candidate { index, limits, .. } = candidates.remove(next);
            let mut parts = self.input_parts(merge, index, bound).await?;
            let mut requests = Vec::with_capacity(parts.len());
            let version = self.facts().id;
            for part in &mut parts {
                let mut parameters = self.fragment_parameters(bound, part.group);
                apply(&limits, part, &mut parameters);
                let once = !limits.is_empty();
                let sql = std::mem::take(&mut part.sql);
                requests.push((
                    part.group,
                    v1::Fragment { once, ..request(sql, parameters, &ready.formats[index], version) },
                ));
            }
            let start = Instant::now();
            let mut work = FragmentWork {
                name: ready.inputs[index].name.clone(),
                groups: parts.len(),
                fragments: parts.len(),
                rows: 0,
                limited: !limits.is_empty(),
                took: start.elapsed(),
            };
            if candidates.is_empty() {
                let others = ready
                    .inputs
                    .iter()
                    .zip(collected)
                    .filter_map(|(input, there)| there.map(|there| (input.name.clone(), there.batches)));
                let others: Vec<_> = others.collect();
                let (rows, outcome) = self.merge_last(&ready, (&work.name, requests), others, ask, alone).await?;
                (work.rows, work.took) = (rows, start.elapsed());
                self.work.fragments.push(work);
                return Ok(outcome);
            }
            match self.collect(requests, &room, alone).await {
                Ok(batches) => {
                    work.rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
                    work.took = start.elapsed();
                    counts[index] = Some(work.rows);
                    collected[index] = Some(Collected { schema: ready.inputs[index].clone(), batches });
                    self.work.fragments.push(work);
                }
                Err(error) => return self.unless_postgres_can(error, 0, alone),
            }
            let known = Known::Here(&collected);
            self.limit_candidates(&mut candidates, merge, bound, (&counts, known), index).await?;
        }
        Err(Error::internal("a merge without inputs"))
    }

    /// After a run whose lanes are free again: the end of its answer, or whether PostgreSQL may still merge.
    pub(super) fn after_run(&mut self, Run { sent, outcome, .. }: Run, alone: bool) -> Result<Attempt> {
        if let Err(error) = outcome {
            return self.unless_postgres_can(error, sent, alone);
        }
        backend::command_complete(&format!("SELECT {sent}"), &mut self.client.output);
        Ok(Attempt::Answered)
    }

    /// After `error`, and so many rows sent: whether PostgreSQL may still merge.
    fn unless_postgres_can(&mut self, error: Error, sent: u64, alone: bool) -> Result<Attempt> {
        self.work.fragments.clear();
        let reason = match error.sqlstate() {
            // The engine's own: a backend's has failed the transaction.
            OUT_OF_MEMORY if sent == 0 && matches!(error, Error::Sql { .. }) => "more rows than it may hold in memory",
            BEYOND_ARROW | DENIED if sent == 0 && alone => "what PostgreSQL says of an input",
            _ => return Err(error),
        };
        Ok(Attempt::Unsupported(reason.to_owned()))
    }

    /// What each group runs for an input: a fragment, or behind those a table at home.
    async fn input_parts(&mut self, merge: &Merge, index: usize, bound: Option<&Bound>) -> Result<Vec<GroupFragment>> {
        if let Some(fragment) = merge.fragments.get(index) {
            return self.group_fragments(fragment, bound).await;
        }
        let home = merge.joined.iter().flat_map(|joined| &joined.home).nth(index - merge.fragments.len());
        let rows = home.ok_or_else(|| Error::internal("an input that the plan does not know"))?;
        let sql = self.text_everywhere(&rows.sql).await?.into_owned();
        Ok(vec![GroupFragment { group: Directory::HOME, sql }])
    }

    /// What PostgreSQL expects of an input: one group is asked, and stands for the others.
    async fn expected(&mut self, merge: &Merge, index: usize, bound: Option<&Bound>) -> Result<super::limit::Expected> {
        let parts = self.input_parts(merge, index, bound).await?;
        self.expected_of(parts, bound, &[]).await
    }

    /// All rows of an input.
    async fn collect(
        &mut self,
        requests: Vec<(GroupIndex, v1::Fragment)>,
        room: &Reservation,
        alone: bool,
    ) -> Result<Vec<RecordBatch>> {
        let mut lanes = self.scatter_lanes(requests.iter().map(|(group, _)| *group)).await?;
        let cancel = self.cancel.clone();
        let mut borrowed = Self::lanes_of(self.transaction.as_mut(), &mut self.pinned, &mut lanes);
        let mut work = Vec::with_capacity(requests.len());
        let mut outcome = Ok(());
        for (group, fragment) in requests {
            let Some(lane) = borrowed.remove(&group) else {
                outcome = Err(Error::internal("a group without its lane"));
                break;
            };
            cancel.enter(lane);
            work.push(async move {
                let fetched: Result<Vec<RecordBatch>> = async {
                    lane.send_fragment(fragment).await?;
                    let (mut reader, mut batches) = (IpcReader::new(), Vec::new());
                    while let Some(batch) = next_batch(lane, &mut reader).await? {
                        room.grow(batch.get_array_memory_size()).map_err(merge_error)?;
                        batches.push(batch);
                    }
                    Ok(batches)
                }
                .await;
                if fetched.is_err() && lane.busy {
                    leave(lane, alone).await;
                }
                fetched
            });
        }
        let mut batches = Vec::new();
        for fetched in join_all(work).await {
            match (fetched, &outcome) {
                (Ok(fetched), Ok(())) => batches.extend(fetched),
                (Err(error), Ok(())) => outcome = Err(error),
                _ => {}
            }
        }
        let all: BTreeMap<GroupIndex, &mut Lane> =
            Self::lanes_of(self.transaction.as_mut(), &mut self.pinned, &mut lanes);
        all.into_values().for_each(|lane| cancel.leave(lane));
        cancel.settled().await;
        self.let_go_all(lanes);
        outcome.map(|()| batches)
    }

    /// The merge over what is there and one more input, which flows through it; yields the rows of that input.
    async fn merge_last(
        &mut self,
        ready: &Ready,
        (name, requests): (&str, Vec<(GroupIndex, v1::Fragment)>),
        others: Vec<(String, Vec<RecordBatch>)>,
        ask: Ask<'_>,
        alone: bool,
    ) -> Result<(u64, Attempt)> {
        let engine = self.worker.cluster.merge.clone();
        let mut lanes = self.scatter_lanes(requests.iter().map(|(group, _)| *group)).await?;
        let described = ready.described(ask);
        self.tier = Tier::DataFusion;
        let cancel = self.cancel.clone();
        let done = {
            let borrowed = Self::lanes_of(self.transaction.as_mut(), &mut self.pinned, &mut lanes);
            let output = (&ready.encoder, &mut self.client, described);
            run(&engine, &ready.merge, (name, with_lanes(requests, borrowed)?), others, &cancel, output).await
        };
        for lane in Self::lanes_of(self.transaction.as_mut(), &mut self.pinned, &mut lanes).into_values() {
            if done.outcome.is_err() && lane.busy {
                leave(lane, alone).await;
            }
            cancel.leave(lane);
        }
        cancel.settled().await;
        self.let_go_all(lanes);
        Ok((done.fetched, self.after_run(done, alone)?))
    }
}

/// Nobody wants the rest of a fragment. In the client's own block it is read to its end: an interrupt would fail that.
pub(super) async fn leave(lane: &mut Lane, alone: bool) {
    if alone || lane.transaction_status == b'I' {
        discard_rest(lane).await;
    } else {
        while lane.busy && lane.receive().await.is_ok() {}
    }
}
