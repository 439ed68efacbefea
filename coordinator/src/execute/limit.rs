//! The order in which fragments are staged: always the one of which the fewest rows are expected, given the keys of those that are there
//! already. Rows that join with nothing need not travel.

use std::collections::BTreeSet;

use arrow_array::cast::AsArray as _;
use atoll_planner::plan::{Fragment, JoinedBy, Merge};
use atoll_planner::quote_identifier;
use atoll_proto::v1::{self, Parameter};
use atoll_wire::rows::{ColumnFormat, IpcReader};

use super::scatter::{GroupFragment, next_batch, request};
use crate::error::{Error, Result};
use crate::place::Place;
use crate::session::Session;
use crate::session::extended::Bound;

/// Keys that are sent to the shards, at most.
const KEYS_MAX: usize = 200_000;
/// A second column is limited, too, when that alone would leave no more than this part of the rows.
const FURTHER_PART_MAX: f64 = 0.05;
/// A fragment of fewer rows, as estimated, is fetched as it is.
const ROWS_WORTH_LIMITING: f64 = 5_000.0;

/// What a fragment's rows must have in one column.
pub struct Limit {
    pub column: String,
    /// An array of the column's type, as PostgreSQL writes it.
    keys: String,
    array_oid: u32,
}

impl Limit {
    /// The array as a parameter of a fragment.
    pub fn parameter(&self) -> Parameter {
        Parameter { type_oid: self.array_oid, binary: false, null: false, value: self.keys.clone().into() }
    }
}

/// A fragment that is to be staged.
pub struct Candidate {
    /// Its position in the merge.
    pub index: usize,
    /// Rows expected of it as it is, and with its limits.
    expected: f64,
    pub left: f64,
    pub limits: Vec<Limit>,
}

/// The type of arrays of a type that keys are listed by.
fn array_of(type_oid: u32) -> Option<u32> {
    Some(match type_oid {
        21 => 1005,
        23 => 1007,
        20 => 1016,
        1700 => 1231,
        25 => 1009,
        1043 => 1015,
        1042 => 1014,
        2950 => 2951,
        1082 => 1182,
        _ => return None,
    })
}

impl Session {
    /// What is to be staged of a merge, with the rows expected of each fragment; 0 for all when none can limit another.
    ///
    /// # Errors
    /// What PostgreSQL says of a fragment.
    pub(super) async fn to_stage(&mut self, merge: &Merge, bound: Option<&Bound>) -> Result<Vec<Candidate>> {
        let limitable = merge.fragments.iter().any(|fragment| !fragment.joined_by.is_empty());
        let mut candidates = Vec::with_capacity(merge.fragments.len());
        for (index, fragment) in merge.fragments.iter().enumerate() {
            let expected = if limitable { self.expected_rows(fragment, bound, &[]).await? } else { 0.0 };
            candidates.push(Candidate { index, expected, left: expected, limits: Vec::new() });
        }
        Ok(candidates)
    }

    /// Limits those candidates that `last`, which has just been staged, says something about.
    ///
    /// # Errors
    /// PostgreSQL's own.
    pub(super) async fn limit_candidates(
        &mut self,
        candidates: &mut [Candidate],
        merge: &Merge,
        bound: Option<&Bound>,
        staged: &[Option<u64>],
        last: usize,
    ) -> Result<()> {
        for candidate in candidates {
            let fragment = &merge.fragments[candidate.index];
            if fragment.joined_by.iter().any(|joined| joined.needs.contains(&last)) {
                (candidate.limits, candidate.left) = self.limits(fragment, bound, staged, candidate.expected).await?;
            }
        }
        Ok(())
    }

    /// How many rows PostgreSQL expects of a fragment: one group is asked, and stands for the others.
    async fn expected_rows(&mut self, fragment: &Fragment, bound: Option<&Bound>, limits: &[Limit]) -> Result<f64> {
        let parts = self.group_fragments(fragment, bound).await?;
        let groups = parts.len() as f64;
        let Some(mut part) = parts.into_iter().next() else { return Ok(0.0) };
        let mut parameters = self.fragment_parameters(bound, part.group);
        apply(limits, &mut part, &mut parameters);
        let version = self.facts().id;
        let sql = format!("EXPLAIN {}", part.sql);
        let wanted = v1::Fragment { once: true, ..request(sql, parameters, &[ColumnFormat::RawText], version) };
        let (cancel, path) = (self.cancel.clone(), self.plain_path());
        let mut held = self.hold_ready(Place::data(part.group), &path).await?;
        let lane = self.lane(&mut held);
        let asked = cancel
            .over(lane, async |lane| {
                lane.send_fragment(wanted).await?;
                let mut reader = IpcReader::new();
                let mut first = None;
                while let Some(batch) = next_batch(lane, &mut reader).await? {
                    let lines = batch.column(0).as_binary::<i32>();
                    first = first.or_else(|| lines.iter().flatten().next().map(<[u8]>::to_vec));
                }
                Ok(first.unwrap_or_default())
            })
            .await;
        self.let_go(held, false);
        let line = asked.inspect_err(|_| self.note_failure())?;
        Ok(rows_of_plan(&String::from_utf8_lossy(&line)) * groups)
    }

    /// The limits that staged fragments (`staged`: their rows) set to one of which `expected` rows are expected, and the rows expected then.
    async fn limits(
        &mut self,
        fragment: &Fragment,
        bound: Option<&Bound>,
        staged: &[Option<u64>],
        expected: f64,
    ) -> Result<(Vec<Limit>, f64)> {
        if expected < ROWS_WORTH_LIMITING {
            return Ok((Vec::new(), expected));
        }
        let mut limits = Vec::new();
        for joined in &fragment.joined_by {
            let rows: Option<Vec<u64>> = joined.needs.iter().map(|need| staged.get(*need).copied().flatten()).collect();
            let Some(rows) = rows else { continue };
            // There can be fewer keys than rows, but looking for them costs as much as the rows do.
            if rows.iter().sum::<u64>() as f64 <= (expected / 2.0).min(5.0 * KEYS_MAX as f64) {
                limits.extend(self.limit(joined, expected).await?);
            }
        }
        // What each would leave, by PostgreSQL's statistics.
        let mut measured = Vec::with_capacity(limits.len());
        for limit in limits {
            let left = self.expected_rows(fragment, bound, std::slice::from_ref(&limit)).await?;
            measured.push((left, limit));
        }
        measured.sort_by(|left, right| left.0.total_cmp(&right.0));
        let mut columns = BTreeSet::new();
        measured.retain(|(left, limit)| {
            let enough = if columns.is_empty() { *left < expected } else { *left <= expected * FURTHER_PART_MAX };
            enough && columns.insert(limit.column.clone())
        });
        let left = measured.first().map_or(expected, |(left, _)| *left);
        Ok((measured.into_iter().map(|(_, limit)| limit).collect(), left))
    }

    /// The distinct keys, when they are few enough.
    async fn limit(&mut self, joined: &JoinedBy, expected: f64) -> Result<Option<Limit>> {
        let Some(array_oid) = array_of(joined.type_oid) else { return Ok(None) };
        let sql = format!(
            "SELECT pg_catalog.count(*), pg_catalog.array_agg(key)::text, \
                 pg_catalog.min(pg_catalog.pg_typeof(key)::pg_catalog.oid::bigint) \
             FROM (SELECT DISTINCT key FROM ({}) AS keys (key) WHERE key IS NOT NULL LIMIT {}) AS listed",
            joined.keys,
            KEYS_MAX + 1
        );
        let path = self.plain_path();
        let sets = self.run_at(Place::HOME, &path, &sql, false).await?;
        let row = sets.into_iter().next().and_then(|mut set| set.rows.pop()).unwrap_or_default();
        let [count, keys, type_oid] =
            <[Option<String>; 3]>::try_from(row).map_err(|_| Error::internal("home answered oddly"))?;
        let count: usize = count.and_then(|count| count.parse().ok()).unwrap_or(usize::MAX);
        let same_type = type_oid.is_none_or(|oid| oid == joined.type_oid.to_string());
        if count > KEYS_MAX || count as f64 > expected / 2.0 || !same_type {
            return Ok(None);
        }
        Ok(Some(Limit { column: joined.column.clone(), keys: keys.unwrap_or_else(|| "{}".to_owned()), array_oid }))
    }
}

/// Has a group's part give only rows within limits; their keys are further parameters.
pub fn apply(limits: &[Limit], part: &mut GroupFragment, parameters: &mut Vec<Parameter>) {
    if limits.is_empty() {
        return;
    }
    let mut conditions = Vec::with_capacity(limits.len());
    for limit in limits {
        parameters.push(limit.parameter());
        conditions.push(format!("limited.{} = ANY (${})", quote_identifier(&limit.column), parameters.len()));
    }
    part.sql = format!("SELECT * FROM ({}) AS limited WHERE {}", part.sql, conditions.join(" AND "));
}

/// `... (cost=0.00..1.01 rows=10 width=4)`
fn rows_of_plan(line: &str) -> f64 {
    let rows = line.split(" rows=").nth(1).and_then(|rest| rest.split(' ').next());
    rows.and_then(|rows| rows.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_s_first_line_has_its_rows() {
        assert_eq!(rows_of_plan("Seq Scan on t  (cost=0.00..35.50 rows=2550 width=4)").to_bits(), 2550_f64.to_bits());
        assert_eq!(rows_of_plan("").to_bits(), 0_f64.to_bits());
    }
}
