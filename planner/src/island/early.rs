//! Aggregation below a join: where all aggregates of a query over several fragments look at one table only, that table's fragment arrives
//! already grouped by the columns that the rest of the query needs, with partial aggregates in place of rows. What a join or a condition
//! does to a row, it does to all rows of its group alike, so that the merge only finishes the parts.

use std::collections::{HashMap, HashSet};

use super::aggregates::Parts;
use super::types::Number;
use super::{Builder, column_name};
use crate::analysis::{QueryFacts, Resolved};
use crate::catalog::{Column, Volatility};
use crate::edits::Edits;
use crate::joined::joined;
use crate::names::{Effect, Routine};
use crate::plan::{Grouped, Merge, Template};
use crate::scan::{Span, tokens};
use crate::stage::{filters, grouped_fragment, is_ambiguous};
use crate::statement::Context;
use crate::syntax::{Body, Call, Distinct, Expr, ExprKind, FromItem, JoinKind, OtherName, Select};

/// Partial aggregates are columns of this name and a number.
const PART: &str = "atoll_p";

/// Types of which equal values are the same value: boolean, smallint, integer, bigint, text, varchar, bytea, date, timestamp with and without
/// time zone, uuid.
const GROUPED_TYPES: [u32; 11] = [16, 21, 23, 20, 25, 1043, 17, 1082, 1114, 1184, 2950];
/// Types that aggregates may look at, and compare, besides: numeric, char(n).
const COMPARED_TYPES: [u32; 2] = [1700, 1042];
const NUMERIC: u32 = 1700;

/// What [`crate::stage`] has made of the statement.
pub(crate) struct Staged<'s> {
    /// The stretch of the text that is planned.
    pub whole: Span,
    pub merge: &'s Merge,
    pub edits: &'s Edits,
    /// Fragments of the tables that are fetched as they are, by occurrence.
    pub tables: &'s HashMap<usize, usize>,
    /// Which occurrences are inside islands.
    pub done: &'s [bool],
    pub names: &'s HashSet<String>,
}

/// The merge with one fragment grouped; `None` where that is not certain to give the same.
pub(crate) fn grouped_early(context: &Context<'_, '_, '_>, staged: &Staged<'_>) -> Option<Grouped> {
    let analysis = context.analysis;
    let unclear = analysis.whole_row.is_some()
        || analysis.stars
        || analysis.natural
        || analysis.modifying_cte
        || analysis.lock.is_some()
        || has_volatile(context);
    if unclear || !staged.merge.catalog.is_empty() {
        return None;
    }
    let mut levels = analysis
        .queries
        .iter()
        .filter(|facts| facts.query.span.start >= staged.whole.start && facts.query.span.end <= staged.whole.end);
    levels.find_map(|facts| Level::of(context, facts, staged)?.grouped())
}

fn has_volatile(context: &Context<'_, '_, '_>) -> bool {
    context.analysis.functions.iter().any(|function| match &function.routine {
        Routine::BuiltIn(built_in) => {
            built_in.volatility == Volatility::Volatile || !matches!(built_in.effect, Effect::None)
        }
        Routine::User { overloads, .. } => overloads.iter().any(|function| function.volatility == Volatility::Volatile),
    })
}

/// A query whose rows are aggregated.
struct Level<'c, 'f, 't, 'a> {
    context: &'c Context<'f, 't, 'a>,
    staged: &'c Staged<'c>,
    facts: &'c QueryFacts<'t, 'a>,
    select: &'c Select<'a>,
    block: usize,
    scope: usize,
    aggregates: Vec<(&'c Expr<'a>, &'c Call<'a>)>,
}

impl<'c, 'f, 't, 'a> Level<'c, 'f, 't, 'a> {
    fn of(context: &'c Context<'f, 't, 'a>, facts: &'c QueryFacts<'t, 'a>, staged: &'c Staged<'c>) -> Option<Self> {
        let query = facts.query;
        let Body::Select(select) = &query.body else { return None };
        let (block, scope) = facts.select?;
        let sets = select.group_by.as_ref().is_some_and(|group| group.sets);
        let on = matches!(select.distinct, Some(Distinct::On(_)));
        if sets || on || !select.windows.is_empty() || !select.from.iter().all(is_inner) {
            return None;
        }
        let mut level = Self { context, staged, facts, select, block, scope, aggregates: Vec::new() };
        let builder = level.builder(String::new(), Edits::default());
        let groups = select.group_by.iter().flat_map(|group| &group.exprs);
        let exprs: Vec<&Expr<'a>> = select
            .items
            .iter()
            .map(|item| &item.expr)
            .chain(&select.having)
            .chain(query.order_by.iter().map(|item| &item.expr))
            .chain(groups)
            .collect();
        // An aggregate in a subquery that refers outwards may be one of this query.
        let correlated = context.analysis.queries.iter().any(|inner| {
            let inside =
                |expr: &&Expr<'a>| expr.span.start <= inner.query.span.start && inner.query.span.end <= expr.span.end;
            inner.correlated && exprs.iter().any(inside)
        });
        let mut aggregates = Vec::new();
        let windowless = exprs.iter().all(|expr| collect(&builder, expr, &mut aggregates));
        if correlated || !windowless || (aggregates.is_empty() && select.group_by.is_none()) {
            return None;
        }
        level.aggregates = aggregates;
        Some(level)
    }

    /// What splits aggregates.
    fn builder(&self, part: String, edits: Edits) -> Builder<'c, 'f, 't, 'a> {
        Builder {
            context: self.context,
            facts: self.facts,
            query: self.facts.query,
            select: self.select,
            scope: self.scope,
            together: Vec::new(),
            edits,
            outputs: Vec::new(),
            name: "",
            part,
        }
    }

    fn grouped(&self) -> Option<Grouped> {
        let occurrences = &self.context.analysis.occurrences;
        self.facts.occurrences.clone().filter(|index| occurrences[*index].block == self.block).find_map(|index| {
            let fragment = *self.staged.tables.get(&index)?;
            let merge = self.over(index, fragment)?;
            Some(Grouped { fragment, merge: Box::new(merge) })
        })
    }

    /// With the fragment of this table grouped.
    fn over(&self, index: usize, position: usize) -> Option<Merge> {
        let (context, staged) = (self.context, self.staged);
        let analysis = context.analysis;
        let occurrence = &analysis.occurrences[index];
        let relation = occurrence.relation?;
        let renamed = occurrence.table.alias.as_ref().is_some_and(|alias| !alias.columns.is_empty());
        if occurrence.nullable
            || occurrence.written
            || occurrence.starred
            || occurrence.unread
            || renamed
            || occurrence.table.sample.is_some()
            || is_ambiguous(context, index)
            || relation.columns.iter().any(|column| column.name.starts_with(PART))
        {
            return None;
        }
        let mut slices = context.slice_edits(true);
        for qualifier in analysis.qualifiers.iter().filter(|qualifier| qualifier.occurrence == index) {
            slices.override_text(qualifier.span, "");
        }
        let visible = crate::quote_identifier(occurrence.table.visible_name());
        let builder = self.builder(format!("{visible}.{PART}"), slices);
        let mut parts = Parts::default();
        let mut edits = staged.edits.clone();
        // What the rest of the query does not say any more.
        let mut gone = Vec::new();
        for (expr, call) in &self.aggregates {
            if !self.is_safe(&builder, call, index) {
                return None;
            }
            edits.replace_text(expr.span, builder.aggregate(expr, call, &mut parts)?);
            gone.push(expr.span);
        }
        for filter in filters(context, index) {
            edits.replace_text(filter.span, "TRUE");
            gone.push(filter.span);
        }
        for item in &self.select.items {
            // The name that the aggregate gave its column.
            if item.alias.is_none() && item.expr.any(&mut |expr| gone.contains(&expr.span)) {
                let name = column_name(&item.expr).0.unwrap_or_else(|| "?column?".to_owned());
                edits.insert_text(item.expr.span.end, format!(" AS {}", crate::quote_identifier(&name)));
            }
        }
        let needed = self.names_beside(&gone);
        let columns: Vec<&Column> = relation.columns.iter().filter(|column| needed.contains(&column.name)).collect();
        let groupable = |column: &&Column| GROUPED_TYPES.contains(&column.type_oid) && column.collation.is_none();
        let has = |name: &String| columns.iter().any(|column| column.name == *name);
        let one_row_each = relation.primary_key.as_ref().is_some_and(|key| key.iter().all(has));
        // Without a column to group by, no rows would be one.
        if columns.is_empty() || !columns.iter().all(groupable) || one_row_each {
            return None;
        }
        let partials: Vec<(String, Template)> =
            parts.partials.into_iter().enumerate().map(|(index, text)| (format!("{PART}{index}"), text)).collect();
        let mut fragments = staged.merge.fragments.clone();
        let raw = fragments.get_mut(position)?;
        let fragment = grouped_fragment(context, index, raw.name.clone(), &needed, &partials).ok()?;
        *raw = crate::plan::Fragment { joined_by: std::mem::take(&mut raw.joined_by), ..fragment };
        let joined = match staged.merge.datafusion {
            true => joined(context, staged.whole, edits.clone(), staged.tables, staged.done, staged.names),
            false => None,
        };
        let sql = edits.apply_text(context.sql, staged.whole);
        Some(Merge { fragments, sql, joined, grouped: None, ..staged.merge.clone() })
    }

    /// Every identifier outside of these stretches: a superset of the columns that the rest of the query names.
    fn names_beside(&self, gone: &[Span]) -> HashSet<String> {
        let whole = self.staged.whole;
        let text = whole.of(self.context.sql);
        let is_gone = |place: Span| {
            let (start, end) = (place.start + whole.start, place.end + whole.start);
            gone.iter().any(|span| span.start <= start && end <= span.end)
        };
        let all = tokens(text);
        let left = all.iter().filter(|token| !is_gone(token.span));
        left.filter_map(|token| token.identifier(text)).map(|name| name.into_owned()).collect()
    }

    /// Whether an aggregate looks at this table only, gives the same in parts whatever the number of its rows' partners, and cannot fail for
    /// rows that have none.
    fn is_safe(&self, builder: &Builder<'c, 'f, 't, 'a>, call: &Call<'a>, index: usize) -> bool {
        let inexact = |expr: &Expr<'a>| {
            !matches!(
                builder.number_of(expr, self.select, self.scope),
                Some(Number::Int2 | Number::Int4 | Number::Int8 | Number::Numeric)
            )
        };
        !call.distinct
            && call.arguments.iter().chain(&call.filter).all(|expr| self.cannot_fail(builder, expr, index, false))
            && !(matches!(call.name.last(), "sum" | "avg") && call.arguments.iter().any(inexact))
    }

    /// Whether an expression over this table's columns has a value for every row; `bounded`: it is part of a computation, whose numbers must
    /// have limits.
    fn cannot_fail(&self, builder: &Builder<'c, 'f, 't, 'a>, expr: &Expr<'a>, index: usize, bounded: bool) -> bool {
        let analysis = self.context.analysis;
        let is_numeric = |expr: &Expr<'a>| builder.number_of(expr, self.select, self.scope) == Some(Number::Numeric);
        let safe = |expr: &Expr<'a>, bounded: bool| self.cannot_fail(builder, expr, index, bounded);
        match &expr.kind {
            ExprKind::Nested(inner) => safe(inner, bounded),
            ExprKind::Integer | ExprKind::Numeric | ExprKind::String(Some(_)) | ExprKind::Null | ExprKind::Boolean => {
                true
            }
            ExprKind::Column(name) => {
                let (Resolved::Base { occurrence, column }, 0) = analysis.resolve(name, self.scope) else {
                    return false;
                };
                let relation = analysis.occurrences[occurrence].relation;
                let found = relation.and_then(|relation| relation.columns.iter().find(|own| own.name == column));
                occurrence == index
                    && found.is_some_and(|column| {
                        let known =
                            GROUPED_TYPES.contains(&column.type_oid) || COMPARED_TYPES.contains(&column.type_oid);
                        known
                            && column.collation.is_none()
                            && !(bounded && column.type_oid == NUMERIC && column.typmod < 0)
                    })
            }
            ExprKind::Binary { operator, left, right } => {
                matches!(operator.of(self.context.sql), "+" | "-" | "*")
                    && is_numeric(expr)
                    && safe(left, true)
                    && safe(right, true)
            }
            ExprKind::Unary { operator, operand } => {
                operator.of(self.context.sql) == "-" && is_numeric(operand) && safe(operand, bounded)
            }
            ExprKind::Compare { left, right, .. } => safe(left, false) && safe(right, false),
            ExprKind::And(list) | ExprKind::Or(list) => list.iter().all(|expr| safe(expr, false)),
            ExprKind::Not(operand) => safe(operand, false),
            ExprKind::In { operand, list, .. } => safe(operand, false) && list.iter().all(|expr| safe(expr, false)),
            ExprKind::Other { name: OtherName::Case { .. } | OtherName::Fixed("coalesce"), operands } => {
                operands.iter().all(|expr| safe(expr, bounded))
            }
            _ => false,
        }
    }
}

/// Whether it is a table, a query that refers to no other item, or an inner join of such.
fn is_inner(item: &FromItem<'_>) -> bool {
    match item {
        FromItem::Table(_) => true,
        FromItem::Query { lateral, .. } => !lateral,
        FromItem::Function { .. } => false,
        FromItem::Join { kind, left, right, alias, .. } => {
            matches!(kind, JoinKind::Inner | JoinKind::Cross) && alias.is_none() && is_inner(left) && is_inner(right)
        }
    }
}

/// The aggregates of an expression, those of subqueries aside; false when there is a window function.
fn collect<'c, 'a>(
    builder: &Builder<'_, '_, '_, 'a>,
    expr: &'c Expr<'a>,
    found: &mut Vec<(&'c Expr<'a>, &'c Call<'a>)>,
) -> bool {
    if let ExprKind::Call(call) = &expr.kind {
        if call.over.is_some() {
            return false;
        }
        if builder.is_aggregate(expr) {
            found.push((expr, call));
            return true;
        }
    }
    let mut whole = true;
    expr.children(&mut |child| {
        if let crate::syntax::Child::Expr(child) = child {
            whole &= collect(builder, child, found);
        }
    });
    whole
}
