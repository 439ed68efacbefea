//! Joins as DataFusion's hash joins: the smaller side is kept in memory, the larger one flows by. Both are matched by keys in which
//! Arrow's equality is PostgreSQL's ([`crate::keys`]); NULL equals nothing.

use std::sync::Arc;

use datafusion::common::{JoinSide, JoinType, NullEquality, Result};
use datafusion::physical_plan::joins::utils::{ColumnIndex, JoinFilter};
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};

use crate::error::SqlError;
use crate::expr::Expr;
use crate::join::{Equality, Join, JoinKind, Relation};
use crate::physical::{Builder, Node, Physical, key_of, numbered};
use crate::query::Source;
use crate::row_expr::RowExpr;
use crate::types::PgType;

/// Operators, and where they have the columns of the join they are part of.
struct Part {
    node: Node,
    /// The number in the join of each of the node's columns.
    columns: Vec<usize>,
}

/// A pair of expressions, over the join's columns, that have to be equal: the one side's, the other's.
type Pair<'e> = (&'e Expr, &'e Expr, PgType);

impl Part {
    /// Where the node has a column of the join.
    fn place(&self, column: usize) -> Result<usize, SqlError> {
        let place = self.columns.iter().position(|own| *own == column);
        place.ok_or_else(|| SqlError::new("XX000", "a column that is not there yet"))
    }

    /// An expression over the join's columns as one over the node's.
    fn local(&self, expr: &Expr) -> Result<Expr> {
        let mut local = expr.clone();
        local.rewrite(&mut |expr| match expr {
            Expr::Column(column) => self.place(*column).map(|own| Some(Expr::Column(own))),
            _ => Ok(None),
        })?;
        Ok(local)
    }

    fn has(&self, expr: &Expr, width: usize) -> bool {
        let mut read = vec![false; width];
        expr.mark_columns(&mut read);
        read.iter().enumerate().all(|(column, read)| !read || self.columns.contains(&column))
    }
}

/// What joins a relation with those that are joined already.
fn pairs_with<'j>(join: &'j Join, next: usize, joined: &[bool]) -> Vec<Pair<'j>> {
    let pair = |equality: &'j Equality| {
        let [one, other] = &equality.sides;
        match (one.relation == next, other.relation == next) {
            (true, false) if joined[other.relation] => Some((&one.expr, &other.expr, equality.ty)),
            (false, true) if joined[one.relation] => Some((&other.expr, &one.expr, equality.ty)),
            _ => None,
        }
    };
    join.equalities.iter().filter_map(pair).collect()
}

impl Builder {
    /// The operators of a join; its columns in their order.
    ///
    /// # Errors
    /// DataFusion's own, which are bugs here.
    pub(crate) fn join(&mut self, join: &Join) -> Result<Node> {
        let offsets = join.offsets();
        let width: usize = join.relations.iter().map(|relation| relation.width).sum();
        let mut parts = Vec::with_capacity(join.relations.len());
        let mut sizes = Vec::with_capacity(join.relations.len());
        for (relation, offset) in join.relations.iter().zip(&offsets) {
            sizes.push(self.rows_of(&relation.source));
            let mut node = self.source(&relation.source)?;
            if let Some(filter) = &relation.filter {
                node = self.filter(node, filter)?;
            }
            parts.push(Some(Part { node, columns: (*offset..offset + relation.width).collect() }));
        }
        let joined = match join.kind {
            JoinKind::Inner => self.inner(join, parts, &sizes, width)?,
            kind => self.two_sided(join, kind, parts, &sizes)?,
        };
        let shown = if matches!(join.kind, JoinKind::Semi | JoinKind::Anti) { join.relations[0].width } else { width };
        let mut columns = Vec::with_capacity(shown);
        for column in 0..shown {
            let own = joined.place(column)?;
            columns.push((joined.node.column(own), joined.node.types[own]));
        }
        joined.node.project(columns)
    }

    /// The most rows that one of a source's inputs has; those that are not there yet are taken for the most of all.
    fn rows_of(&self, source: &Source) -> usize {
        let largest = |sources: &mut dyn Iterator<Item = &Source>| sources.map(|own| self.rows_of(own)).max();
        match source {
            Source::Input(index) => self.rows.get(*index).copied().flatten().unwrap_or(usize::MAX),
            Source::Query(query) => self.rows_of(&query.source),
            Source::Union(arms) => largest(&mut arms.iter().map(|arm| &arm.source)).unwrap_or(0),
            Source::Join(join) => largest(&mut join.relations.iter().map(|own: &Relation| &own.source)).unwrap_or(0),
        }
    }

    /// The largest relation flows by all others, the smallest first.
    fn inner(&self, join: &Join, mut parts: Vec<Option<Part>>, sizes: &[usize], width: usize) -> Result<Part> {
        let lost = || SqlError::new("XX000", "a relation that nothing joins");
        let mut conditions: Vec<&Expr> = join.conditions.iter().collect();
        let first = (0..parts.len()).max_by_key(|index| sizes[*index]).ok_or_else(lost)?;
        let mut joined = vec![false; parts.len()];
        joined[first] = true;
        let mut all = parts[first].take().ok_or_else(lost)?;
        all = self.filtered(all, &mut conditions, width)?;
        while joined.contains(&false) {
            let next = (0..joined.len())
                .filter(|index| !joined[*index] && !pairs_with(join, *index, &joined).is_empty())
                .min_by_key(|index| sizes[*index])
                .ok_or_else(lost)?;
            let pairs = pairs_with(join, next, &joined);
            let mut build = parts[next].take().ok_or_else(lost)?;
            build = self.filtered(build, &mut conditions, width)?;
            all = self.hash_join(build, all, &pairs, &[], JoinType::Inner)?;
            joined[next] = true;
            all = self.filtered(all, &mut conditions, width)?;
        }
        Ok(all)
    }

    /// Applies the conditions that can be, and takes them from the list.
    fn filtered(&self, part: Part, conditions: &mut Vec<&Expr>, width: usize) -> Result<Part> {
        let (now, later): (Vec<&Expr>, Vec<&Expr>) =
            conditions.drain(..).partition(|condition| part.has(condition, width));
        *conditions = later;
        let terms = now.into_iter().map(|condition| part.local(condition)).collect::<Result<Vec<_>>>()?;
        if terms.is_empty() {
            return Ok(part);
        }
        let Part { node, columns } = part;
        Ok(Part { node: self.filter(node, &Expr::And(terms))?, columns })
    }

    /// An outer join, or one that only looks whether there are partners.
    fn two_sided(&self, join: &Join, kind: JoinKind, parts: Vec<Option<Part>>, sizes: &[usize]) -> Result<Part> {
        let lost = || SqlError::new("XX000", "a join of other than two relations");
        let Ok([Some(left), Some(right)]) = <[Option<Part>; 2]>::try_from(parts) else { return Err(lost().into()) };
        let kept_is_left = sizes[0] <= sizes[1];
        let pairs: Vec<Pair<'_>> = join
            .equalities
            .iter()
            .map(|Equality { ty, sides: [one, other] }| {
                let (first, second) =
                    if one.relation == 0 { (&one.expr, &other.expr) } else { (&other.expr, &one.expr) };
                if kept_is_left { (first, second, *ty) } else { (second, first, *ty) }
            })
            .collect();
        let join_type = match (kind, kept_is_left) {
            (JoinKind::Inner, _) => JoinType::Inner,
            (JoinKind::Full, _) => JoinType::Full,
            (JoinKind::Left, true) | (JoinKind::Right, false) => JoinType::Left,
            (JoinKind::Left, false) | (JoinKind::Right, true) => JoinType::Right,
            (JoinKind::Semi, true) => JoinType::LeftSemi,
            (JoinKind::Semi, false) => JoinType::RightSemi,
            (JoinKind::Anti, true) => JoinType::LeftAnti,
            (JoinKind::Anti, false) => JoinType::RightAnti,
        };
        let (build, probe) = if kept_is_left { (left, right) } else { (right, left) };
        let probe = Part { node: probe.node.coalesce(), columns: probe.columns };
        let conditions: Vec<&Expr> = join.conditions.iter().collect();
        self.hash_join(build, probe, &pairs, &conditions, join_type)
    }

    /// `build` is kept in memory. The columns are those of both, or those of the side that the join's kind keeps.
    fn hash_join(
        &self,
        build: Part,
        probe: Part,
        pairs: &[Pair<'_>],
        conditions: &[&Expr],
        join_type: JoinType,
    ) -> Result<Part> {
        let (build_keys, probe_keys): (Vec<_>, Vec<_>) =
            pairs.iter().map(|(build, probe, ty)| ((*build, *ty), (*probe, *ty))).unzip();
        let filter = self.join_filter(&build, &probe, conditions)?;
        let (build_width, probe_width) = (build.columns.len(), probe.columns.len());
        let (build_node, build_on) = self.with_keys(&build, &build_keys)?;
        let (probe_node, probe_on) = self.with_keys(&probe, &probe_keys)?;
        let behind = build_node.types.len();
        let build_columns = (0..build_width).zip(build.columns);
        let probe_columns = (0..probe_width).zip(probe.columns);
        // The keys that were added go.
        let (projection, columns): (Vec<usize>, Vec<usize>) = match join_type {
            JoinType::LeftSemi | JoinType::LeftAnti => build_columns.unzip(),
            JoinType::RightSemi | JoinType::RightAnti => probe_columns.unzip(),
            _ => build_columns.chain(probe_columns.map(|(own, column)| (behind + own, column))).unzip(),
        };
        let both: Vec<PgType> = match join_type {
            JoinType::RightSemi | JoinType::RightAnti => probe_node.types.to_vec(),
            _ => build_node.types.iter().chain(probe_node.types.iter()).copied().collect(),
        };
        let types = projection.iter().map(|column| both[*column]).collect();
        let plan = HashJoinExec::try_new(
            build_node.coalesce().plan,
            probe_node.plan,
            build_on.into_iter().zip(probe_on).collect(),
            filter,
            &join_type,
            Some(projection),
            PartitionMode::CollectLeft,
            NullEquality::NullEqualsNothing,
            false,
        )?;
        // Operators above go by their own names.
        let node = Node { plan: Arc::new(plan), types };
        let renamed = (0..node.types.len()).map(|column| (node.column(column), node.types[column])).collect();
        Ok(Part { node: node.project(renamed)?, columns })
    }

    /// The part's columns and the keys it is joined by; those.
    fn with_keys(&self, part: &Part, keys: &[(&Expr, PgType)]) -> Result<(Node, Vec<Physical>)> {
        let node = &part.node;
        let mut columns: Vec<(Physical, PgType)> =
            (0..node.types.len()).map(|column| (node.column(column), node.types[column])).collect();
        let mut places = Vec::with_capacity(keys.len());
        for (key, ty) in keys {
            let local = part.local(key)?;
            match local {
                Expr::Column(column) if !crate::keys::is_derived(*ty) => places.push(column),
                local => {
                    places.push(columns.len());
                    columns.push((key_of(self.physical(&local, *ty, node), *ty), *ty));
                }
            }
        }
        let node = Node { plan: Arc::clone(&node.plan), types: Arc::clone(&node.types) };
        let node = node.project(columns)?;
        let on = places.into_iter().map(|column| node.column(column)).collect();
        Ok((node, on))
    }

    fn join_filter(&self, build: &Part, probe: &Part, conditions: &[&Expr]) -> Result<Option<JoinFilter>> {
        if conditions.is_empty() {
            return Ok(None);
        }
        let side = |part: &Part, side: JoinSide| -> Vec<(usize, ColumnIndex, PgType)> {
            let columns = part.columns.iter().enumerate();
            columns.map(|(index, column)| (*column, ColumnIndex { index, side }, part.node.types[index])).collect()
        };
        let all: Vec<_> = [side(build, JoinSide::Left), side(probe, JoinSide::Right)].concat();
        // Only what the conditions read is put together for them.
        let mut read = vec![false; all.iter().map(|(column, ..)| column + 1).max().unwrap_or(0)];
        conditions.iter().for_each(|condition| condition.mark_columns(&mut read));
        let used: Vec<_> = all.into_iter().filter(|(column, ..)| read[*column]).collect();
        let types: Arc<[PgType]> = used.iter().map(|(.., ty)| *ty).collect();
        let schema = numbered(types.iter().map(|ty| ty.arrow()));
        let mut terms = Vec::with_capacity(conditions.len());
        for condition in conditions {
            let mut term = (*condition).clone();
            term.rewrite(&mut |expr| match expr {
                Expr::Column(column) => {
                    let place = used.iter().position(|(own, ..)| own == column);
                    Ok::<_, SqlError>(place.map(Expr::Column))
                }
                _ => Ok(None),
            })?;
            terms.push(term);
        }
        let condition = RowExpr::new(Expr::And(terms), PgType::Bool, &types, &self.parameters);
        let columns = used.into_iter().map(|(_, index, _)| index).collect();
        Ok(Some(JoinFilter::new(Arc::new(condition), columns, schema)))
    }
}
