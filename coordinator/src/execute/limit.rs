//! The order in which fragments are staged: always the one of which the fewest rows are expected, given the keys of those that are there
//! already. Rows that join with nothing need not travel.

use std::collections::BTreeSet;

use arrow_array::cast::AsArray as _;
use atoll_merge::{InputRows, InputSchema};
use atoll_planner::plan::{Fragment, Grouped, JoinedBy, Merge};
use atoll_planner::{marks, quote_identifier};
use atoll_proto::v1::{self, Parameter};
use atoll_wire::backend::decode;
use atoll_wire::encode::{RowEncoder, encodable};
use atoll_wire::frames::next_frame;
use atoll_wire::rows::{self, ColumnFormat, IpcReader};
use bytes::BytesMut;
use futures_util::StreamExt as _;

use super::datafusion::merge_error;
use super::join::Collected;
use super::scatter::{GroupFragment, next_batch, request};
use crate::error::{Error, Result};
use crate::place::Place;
use crate::session::Session;
use crate::session::extended::Bound;
use crate::session::simple::Ask;

/// Keys that are sent to the shards, at most.
const KEYS_MAX: usize = 200_000;
/// A second column is limited, too, when that alone would leave no more than this part of the rows.
const FURTHER_PART_MAX: f64 = 0.05;
/// A fragment of fewer rows, as estimated, is fetched as it is.
const ROWS_WORTH_LIMITING: f64 = 5_000.0;
/// As estimated, a fragment of fewer rows is not grouped, ...
const ROWS_WORTH_GROUPING: f64 = 5_000.0;
/// ... nor one with more groups than this part of its rows.
const GROUPS_PART_MAX: f64 = 0.25;

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

impl Candidate {
    /// The input of this position, of which so many rows are expected.
    pub fn of(index: usize, expected: f64) -> Self {
        Self { index, expected, left: expected, limits: Vec::new() }
    }
}

/// What PostgreSQL expects of a query.
#[derive(Clone, Copy, Default)]
pub struct Expected {
    pub rows: f64,
    /// Bytes of a row.
    pub width: f64,
    /// Of the first group's part, in PostgreSQL's units.
    pub cost: f64,
    /// PostgreSQL has workers of its own for it.
    pub parallel: bool,
}

/// Where inputs are that are there already.
#[derive(Clone, Copy)]
pub enum Known<'c> {
    /// In temporary tables at home.
    Staged,
    /// Here, by their positions.
    Here(&'c [Option<Collected>]),
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
    pub(super) async fn staging_candidates(&mut self, merge: &Merge, bound: Option<&Bound>) -> Result<Vec<Candidate>> {
        let limitable = merge.fragments.iter().any(|fragment| !fragment.joined_by.is_empty());
        let mut candidates = Vec::with_capacity(merge.fragments.len());
        for (index, fragment) in merge.fragments.iter().enumerate() {
            let expected = if limitable { self.expected_rows(fragment, bound, &[]).await? } else { 0.0 };
            candidates.push(Candidate::of(index, expected));
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
        (staged, known): (&[Option<u64>], Known<'_>),
        last: usize,
    ) -> Result<()> {
        for candidate in candidates {
            let Some(fragment) = merge.fragments.get(candidate.index) else { continue };
            if fragment.joined_by.iter().any(|joined| joined.needs.contains(&last)) {
                (candidate.limits, candidate.left) =
                    self.limits(fragment, bound, (staged, known), candidate.expected).await?;
            }
        }
        Ok(())
    }

    /// The merge in which a fragment is grouped, where there is one and it is expected to save rows; `atoll.early_aggregation` decides, too.
    ///
    /// # Errors
    /// What PostgreSQL says of the fragment.
    pub(super) async fn worth_grouping<'m>(&mut self, merge: &'m Merge, ask: Ask<'_>) -> Result<Option<&'m Merge>> {
        let Some(Grouped { fragment, merge: grouped }) = &merge.grouped else { return Ok(None) };
        match self.settings.get("atoll.early_aggregation") {
            Some("off") => return Ok(None),
            Some("always") => return Ok(Some(grouped)),
            _ => {}
        }
        let bound = ask.bound();
        let rows = self.expected_rows(&merge.fragments[*fragment], bound, &[]).await?;
        if rows < ROWS_WORTH_GROUPING {
            return Ok(None);
        }
        let groups = self.expected_rows(&grouped.fragments[*fragment], bound, &[]).await?;
        Ok((groups <= rows * GROUPS_PART_MAX).then_some(grouped))
    }

    /// How many rows PostgreSQL expects of a fragment: one group is asked, and stands for the others.
    async fn expected_rows(&mut self, fragment: &Fragment, bound: Option<&Bound>, limits: &[Limit]) -> Result<f64> {
        let parts = self.group_fragments(fragment, bound).await?;
        Ok(self.expected_of(parts, bound, limits).await?.rows)
    }

    /// What PostgreSQL expects of all parts: the first group is asked, and stands for the others.
    pub(super) async fn expected_of(
        &mut self,
        parts: Vec<GroupFragment>,
        bound: Option<&Bound>,
        limits: &[Limit],
    ) -> Result<Expected> {
        let groups = parts.len() as f64;
        let Some(mut part) = parts.into_iter().next() else { return Ok(Expected::default()) };
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
                let mut plan = String::new();
                while let Some(batch) = next_batch(lane, &mut reader).await? {
                    for line in batch.column(0).as_binary::<i32>().iter().flatten() {
                        plan.push_str(&String::from_utf8_lossy(line));
                        plan.push('\n');
                    }
                }
                Ok(plan)
            })
            .await;
        self.let_go(held, false);
        let plan = asked.inspect_err(|_| self.note_failure())?;
        let line = plan.lines().next().unwrap_or_default();
        let cost = line.rsplit_once("..").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        Ok(Expected {
            rows: figure(line, "rows") * groups,
            width: figure(line, "width"),
            cost: cost.unwrap_or(0.0),
            parallel: plan.contains("Workers Planned"),
        })
    }

    /// The limits that staged fragments (`staged`: their rows) set to one of which `expected` rows are expected, and the rows expected then.
    async fn limits(
        &mut self,
        fragment: &Fragment,
        bound: Option<&Bound>,
        (staged, known): (&[Option<u64>], Known<'_>),
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
                limits.extend(match known {
                    Known::Staged => self.limit(joined, expected).await?,
                    Known::Here(inputs) => self.limit_here(joined, expected, inputs).await?,
                });
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

    /// As [`Session::limit`], of inputs that are here; none where the engine cannot tell.
    async fn limit_here(
        &mut self,
        joined: &JoinedBy,
        expected: f64,
        inputs: &[Option<Collected>],
    ) -> Result<Option<Limit>> {
        let Some(array_oid) = array_of(joined.type_oid) else { return Ok(None) };
        let needed: Vec<&Collected> = joined.needs.iter().filter_map(|need| inputs[*need].as_ref()).collect();
        let schemas: Vec<InputSchema> = needed.iter().map(|input| input.schema.clone()).collect();
        let sql = format!(
            "SELECT DISTINCT key FROM ({}) AS keys (key) WHERE key IS NOT NULL LIMIT {}",
            marks::plain(&joined.keys),
            KEYS_MAX + 1
        );
        let engine = self.worker.cluster.merge.clone();
        let Ok(merge) = engine.check(&sql, &schemas, &[]).and_then(|prepared| prepared.bind(&[])) else {
            return Ok(None);
        };
        if rows::field_oid(merge.schema().field(0)) != Some(joined.type_oid) || !encodable(merge.schema(), &[0]) {
            return Ok(None);
        }
        let encoder = RowEncoder::new(merge.schema(), &[0]).map_err(|error| Error::internal(error.to_string()))?;
        let there = needed.iter().map(|input| InputRows::of(input.schema.name.clone(), input.batches.clone()));
        let mut found = match engine.execute(&merge, there.collect()) {
            Ok(found) => found,
            Err(error) => return Err(merge_error(error)),
        };
        let (mut values, mut out) = (Vec::new(), BytesMut::new());
        while let Some(batch) = found.next().await {
            let batch = match batch {
                Ok(batch) => batch,
                // The merge itself will say so, or does without.
                Err(_) => return Ok(None),
            };
            encoder.encode(&batch, &mut out).map_err(|error| Error::sql(error.sqlstate(), error.to_string()))?;
            while let Some(frame) = next_frame(&mut out, usize::MAX)? {
                let value = decode::data_row(frame.body_slice())?.next_field()?.flatten().map(<[u8]>::to_vec);
                values.extend(value);
            }
        }
        if values.len() > KEYS_MAX || values.len() as f64 > expected / 2.0 {
            return Ok(None);
        }
        Ok(Some(Limit { column: joined.column.clone(), keys: array_text(values.iter()), array_oid }))
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
fn figure(line: &str, name: &str) -> f64 {
    let rest = line.rsplit_once(&format!(" {name}=")).map_or("", |(_, rest)| rest);
    rest.split([' ', ')']).next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// An array of these values as PostgreSQL reads it.
fn array_text<'v>(values: impl Iterator<Item = &'v Vec<u8>>) -> String {
    let mut text = String::from("{");
    for (position, value) in values.enumerate() {
        text.push_str(if position == 0 { "\"" } else { ",\"" });
        for letter in String::from_utf8_lossy(value).chars() {
            if matches!(letter, '"' | '\\') {
                text.push('\\');
            }
            text.push(letter);
        }
        text.push('"');
    }
    text + "}"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_s_first_line_has_its_rows() {
        let line = "Seq Scan on t  (cost=0.00..35.50 rows=2550 width=4)";
        assert_eq!(figure(line, "rows").to_bits(), 2550_f64.to_bits());
        assert_eq!(figure(line, "width").to_bits(), 4_f64.to_bits());
        assert_eq!(figure("", "rows").to_bits(), 0_f64.to_bits());
    }

    #[test]
    fn values_are_quoted_in_arrays() {
        let values = [b"a".to_vec(), br#"q"\"#.to_vec(), b"NULL".to_vec(), Vec::new()];
        assert_eq!(array_text(values.iter()), r#"{"a","q\"\\","NULL",""}"#);
    }
}
