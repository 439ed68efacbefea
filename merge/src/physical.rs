//! A prepared query as DataFusion operators.
//!
//! Built by hand, not planned: filter and project where the rows arrive (one partition per group), then
//!
//! - grouping and DISTINCT: one hash aggregation over the partitions' union, which spills;
//! - ORDER BY: one sort over the partitions' union, which spills; under a small LIMIT a top-k per partition, and their merge;
//! - joins: hash joins whose smaller sides are kept in memory ([`crate::physical_join`]);
//! - LIMIT and OFFSET last, so that the inputs are dropped as soon as there are enough rows.

use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::expressions::Column;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, PhysicalExpr};

use crate::aggregate::Fold;
use crate::compile::AggregateCall;
use crate::datum::Datum;
use crate::expr::{Expr, Row};
use crate::keys;
use crate::query::{Grouping, OrderKey, Query, Source};
use crate::row_expr::{KeyExpr, RowExpr};
use crate::types::PgType;

pub(crate) type Plan = Arc<dyn ExecutionPlan>;
pub(crate) type Physical = Arc<dyn PhysicalExpr>;

/// Rows that a top-k keeps in memory at most.
const TOP_ROWS_MAX: usize = 20_000;

/// Builds the operators of one execution.
pub struct Builder {
    /// The inputs' rows, each taken once.
    pub inputs: Vec<Option<Node>>,
    /// How many rows each of them has, where that is known.
    pub rows: Vec<Option<usize>>,
    pub parameters: Arc<[Datum<'static>]>,
}

/// Operators, and the types of their columns. Columns that are only carried are [`PgType::Other`].
pub struct Node {
    pub plan: Plan,
    pub types: Arc<[PgType]>,
}

/// The schema under which operators pass columns of these Arrow types: names do not matter to them.
pub fn numbered(types: impl Iterator<Item = DataType>) -> SchemaRef {
    let fields: Vec<Field> = types.enumerate().map(|(index, ty)| Field::new(format!("c{index}"), ty, true)).collect();
    Arc::new(Schema::new(fields))
}

impl Node {
    pub(crate) fn column(&self, index: usize) -> Physical {
        Arc::new(Column::new(self.plan.schema().field(index).name(), index))
    }

    pub(crate) fn project(self, columns: Vec<(Physical, PgType)>) -> Result<Self> {
        let types = columns.iter().map(|(_, ty)| *ty).collect();
        let named = columns.into_iter().enumerate().map(|(index, (expr, _))| (expr, format!("c{index}")));
        Ok(Self { plan: Arc::new(ProjectionExec::try_new(named.collect::<Vec<_>>(), self.plan)?), types })
    }

    pub(crate) fn partitions(&self) -> usize {
        self.plan.output_partitioning().partition_count()
    }

    /// All rows in one partition, in no order.
    pub fn coalesce(self) -> Self {
        if self.partitions() == 1 {
            return self;
        }
        Self { plan: Arc::new(CoalescePartitionsExec::new(self.plan)), types: self.types }
    }

    /// One row per combination of the first `keys` columns, followed by a fold of each further column.
    fn group(self, keys: usize, folds: Vec<Fold>) -> Result<Self> {
        let shown: Vec<PgType> = self.types[..keys].to_vec();
        let (derived, results): (Vec<usize>, Vec<PgType>) = (
            (0..keys).filter(|key| keys::is_derived(shown[*key])).collect(),
            folds.iter().map(|fold| fold.result).collect(),
        );
        // Keys, then the values of derived keys, then the folds' arguments.
        let mut columns: Vec<(Physical, PgType)> = Vec::new();
        for (key, ty) in shown.iter().enumerate() {
            columns.push((key_of(self.column(key), *ty), *ty));
        }
        for key in &derived {
            columns.push((self.column(*key), shown[*key]));
        }
        for argument in keys..self.types.len() {
            columns.push((self.column(argument), self.types[argument]));
        }
        let input = self.project(columns)?.coalesce();
        let all_folds = derived.iter().map(|key| Fold::first(shown[*key])).chain(folds);
        let schema = input.plan.schema();
        let mut aggregates = Vec::new();
        for (index, fold) in all_folds.enumerate() {
            let builder = AggregateExprBuilder::new(fold.udaf(), vec![input.column(keys + index)])
                .schema(Arc::clone(&schema))
                .alias(format!("a{index}"));
            aggregates.push(Arc::new(builder.build()?));
        }
        let group_by = (0..keys).map(|key| (input.column(key), format!("k{key}"))).collect();
        let filters = vec![None; aggregates.len()];
        let mode = AggregateMode::Single;
        let plan = AggregateExec::try_new(
            mode,
            PhysicalGroupBy::new_single(group_by),
            aggregates,
            filters,
            input.plan,
            schema,
        )?;
        let types: Arc<[PgType]> =
            shown.iter().chain(derived.iter().map(|key| &shown[*key])).chain(&results).copied().collect();
        let grouped = Self { plan: Arc::new(plan), types };
        // Each derived key gives way to its value.
        let mut columns = Vec::new();
        for (key, ty) in shown.iter().enumerate() {
            let column = derived.iter().position(|derived| *derived == key).map_or(key, |index| keys + index);
            columns.push((grouped.column(column), *ty));
        }
        for (index, ty) in results.iter().enumerate() {
            columns.push((grouped.column(keys + derived.len() + index), *ty));
        }
        grouped.project(columns)
    }

    /// Ordered by its columns from `visible` on, as `order` says; without these columns; rows from `skip`, `fetch` of them.
    fn sort(self, order: &[OrderKey], visible: usize, skip: usize, fetch: Option<usize>) -> Result<Self> {
        let sorts = order.iter().enumerate().map(|(index, key)| {
            let options = SortOptions { descending: key.descending, nulls_first: key.nulls_first };
            PhysicalSortExpr::new(self.column(visible + index), options)
        });
        let Some(ordering) = LexOrdering::new(sorts) else { return Ok(self.coalesce().limit(skip, fetch)) };
        // Top-k of none is no operator; the limit after it sees to zero. A long one is a sort, which can spill.
        let wanted = fetch.map(|fetch| fetch.saturating_add(skip).max(1));
        let top = wanted.filter(|rows| *rows <= TOP_ROWS_MAX);
        // One sort, not one per partition and a merge of them: while they merge their spilled runs they take what memory there is.
        let unsorted = if top.is_some() { self } else { self.coalesce() };
        let partitions = unsorted.partitions();
        let sort = SortExec::new(ordering.clone(), unsorted.plan).with_fetch(top);
        let sorted: Plan = Arc::new(sort.with_preserve_partitioning(partitions > 1));
        let plan = if partitions > 1 {
            Arc::new(SortPreservingMergeExec::new(ordering, sorted).with_fetch(top))
        } else {
            sorted
        };
        let merged = Self { plan, types: unsorted.types }.limit(skip, fetch);
        let columns = (0..visible).map(|column| (merged.column(column), merged.types[column])).collect();
        merged.project(columns)
    }

    /// Of one partition.
    fn limit(self, skip: usize, fetch: Option<usize>) -> Self {
        if skip == 0 && fetch.is_none() {
            return self;
        }
        Self { plan: Arc::new(GlobalLimitExec::new(self.plan, skip, fetch)), types: self.types }
    }
}

/// The key of a value, which is the value itself for most types.
pub(crate) fn key_of(value: Physical, ty: PgType) -> Physical {
    if keys::is_derived(ty) { Arc::new(KeyExpr { value, ty }) } else { value }
}

/// What LIMIT or OFFSET come to: an expression over parameters.
///
/// # Errors
/// What PostgreSQL raises while it computes it; `sqlstate` when it is negative.
pub fn row_count(
    expr: Option<&Expr>,
    parameters: &[Datum<'static>],
    clause: &str,
    sqlstate: &'static str,
) -> std::result::Result<Option<usize>, crate::error::SqlError> {
    let Some(expr) = expr else { return Ok(None) };
    let row = Row { columns: &[], parameters, index: 0 };
    match expr.evaluate(&row)? {
        Datum::Int(count) if count < 0 => {
            Err(crate::error::SqlError::new(sqlstate, format!("{clause} must not be negative")))
        }
        Datum::Int(count) => Ok(Some(usize::try_from(count).unwrap_or(usize::MAX))),
        _ => Ok(None),
    }
}

impl Builder {
    /// The operators of `query`. One partition when it has ORDER BY, LIMIT, DISTINCT or grouping.
    ///
    /// # Errors
    /// 2201W and 2201X for a negative LIMIT or OFFSET; DataFusion's own, which are bugs here.
    pub fn query(&mut self, query: &Query) -> Result<Node> {
        let mut node = self.source(&query.source)?;
        if let Some(filter) = &query.filter {
            node = self.filter(node, filter)?;
        }
        if let Some(grouping) = &query.grouping {
            node = self.group(node, grouping)?;
        }
        let limit = row_count(query.limit.as_ref(), &self.parameters, "LIMIT", "2201W")?;
        let skip = row_count(query.offset.as_ref(), &self.parameters, "OFFSET", "2201X")?.unwrap_or(0);
        let visible = query.outputs.len();
        let mut columns: Vec<(Physical, PgType)> = Vec::with_capacity(visible + query.order.len());
        for (_, output) in &query.outputs {
            let ty = if output.opaque { PgType::Other(output.ty.oid()) } else { output.ty };
            columns.push((self.physical(&output.expr, ty, &node), ty));
        }
        if query.distinct {
            let outputs = node.project(columns)?;
            node = outputs.group(visible, Vec::new())?;
            columns = (0..visible).map(|column| (node.column(column), node.types[column])).collect();
            for key in &query.order {
                let output = key.output.unwrap_or_default();
                columns.push((key_of(node.column(output), key.ty), key.ty));
            }
        } else {
            for key in &query.order {
                columns.push((key_of(self.physical(&key.expr, key.ty, &node), key.ty), key.ty));
            }
        }
        let node = node.project(columns)?;
        if query.order.is_empty() && skip == 0 && limit.is_none() {
            return Ok(node);
        }
        node.sort(&query.order, visible, skip, limit)
    }

    /// The operators that yield a source's rows.
    pub(crate) fn source(&mut self, source: &Source) -> Result<Node> {
        Ok(match source {
            Source::Input(index) => self
                .inputs
                .get_mut(*index)
                .and_then(Option::take)
                .ok_or_else(|| crate::error::SqlError::new("XX000", "an input of the merge is read twice"))?,
            Source::Query(inner) => self.query(inner)?,
            Source::Union(arms) => {
                let nodes = arms.iter().map(|arm| self.query(arm)).collect::<Result<Vec<_>>>()?;
                let types = Arc::clone(&nodes[0].types);
                Node { plan: UnionExec::try_new(nodes.into_iter().map(|node| node.plan).collect())?, types }
            }
            Source::Join(join) => self.join(join)?,
        })
    }

    pub(crate) fn physical(&self, expr: &Expr, ty: PgType, input: &Node) -> Physical {
        match expr {
            Expr::Column(index) => input.column(*index),
            other => Arc::new(RowExpr::new(other.clone(), ty, &input.types, &self.parameters)),
        }
    }

    pub(crate) fn filter(&self, node: Node, condition: &Expr) -> Result<Node> {
        let condition = self.physical(condition, PgType::Bool, &node);
        Ok(Node { plan: Arc::new(FilterExec::try_new(condition, node.plan)?), types: node.types })
    }

    fn group(&self, node: Node, grouping: &Grouping) -> Result<Node> {
        let keys = grouping.keys.len();
        let calls = &grouping.aggregates;
        let mut columns = Vec::with_capacity(keys + calls.len());
        for key in &grouping.keys {
            columns.push((self.physical(&key.expr, key.ty, &node), key.ty));
        }
        let folds = calls.iter().map(Fold::of).collect::<std::result::Result<Vec<_>, _>>()?;
        let argument = |call: &AggregateCall| (self.physical(&call.argument, call.ty, &node), call.ty);
        let grouped = match calls.iter().find(|call| call.distinct) {
            None => {
                columns.extend(calls.iter().map(argument));
                node.project(columns)?.group(keys, folds)?
            }
            Some(distinct) => {
                // First by the distinct argument, too: then each of its values is there once, and the other aggregates in parts.
                columns.push(argument(distinct));
                columns.extend(calls.iter().filter(|call| !call.distinct).map(argument));
                let parts = calls.iter().zip(&folds).filter(|(call, _)| !call.distinct).map(|(_, fold)| fold.clone());
                let inner = node.project(columns)?.group(keys + 1, parts.collect())?;
                let mut columns: Vec<_> = (0..keys).map(|key| (inner.column(key), inner.types[key])).collect();
                let mut outer = Vec::with_capacity(folds.len());
                let mut part = keys + 1;
                for (call, fold) in calls.iter().zip(folds) {
                    let column = if call.distinct { keys } else { part };
                    columns.push((inner.column(column), inner.types[column]));
                    if call.distinct {
                        outer.push(fold);
                    } else {
                        outer.push(fold.over_parts());
                        part += 1;
                    }
                }
                inner.project(columns)?.group(keys, outer)?
            }
        };
        match &grouping.having {
            Some(having) => self.filter(grouped, having),
            None => Ok(grouped),
        }
    }
}
