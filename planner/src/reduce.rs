//! Rows that a table's fragment need not give, because no row of the query can come of them: those without a partner in tables that
//! their shard can see (reference tables, and co-located ones joined by the key), and those without a partner in another fragment that
//! is there already.

use std::collections::{BTreeSet, HashMap};

use crate::analysis::{Occurrence, Resolved, ScopeId};
use crate::edits::append;
use crate::names::Target;
use crate::plan::{JoinedBy, Piece, Template};
use crate::quote_identifier;
use crate::stage::{alternatives, is_ambiguous, is_computable, without_slices};
use crate::statement::Context;
use crate::syntax::{Comparison, Expr, ExprKind};

/// A column of a FROM item: occurrence and name.
type Side = (usize, String);

/// The conditions that hold for every row of a block's FROM: those of WHERE, and of its inner joins.
fn conditions<'t, 'a>(context: &Context<'_, 't, 'a>, block: usize) -> Vec<&'t Expr<'a>> {
    let block = &context.analysis.blocks[block];
    let selection = block.selection.map(Expr::conjuncts).unwrap_or_default();
    selection.into_iter().chain(block.inner.iter().copied()).collect()
}

/// The columns on both sides of `a.x = b.y`, of the block's own FROM.
fn equated(context: &Context<'_, '_, '_>, expr: &Expr<'_>, scope: ScopeId) -> Option<(Side, Side)> {
    equated_within(context, expr, scope, 0)
}

/// As [`equated`], also with columns of queries so far around the block.
fn equated_within(
    context: &Context<'_, '_, '_>,
    expr: &Expr<'_>,
    scope: ScopeId,
    depth_max: usize,
) -> Option<(Side, Side)> {
    let ExprKind::Compare { comparison: Comparison::Equal, left, right } = &expr.bare().kind else { return None };
    let column = |expr: &Expr<'_>| match &expr.bare().kind {
        ExprKind::Column(name) => match context.analysis.resolve(name, scope) {
            (Resolved::Base { occurrence, column }, depth) if depth <= depth_max => Some((occurrence, column)),
            _ => None,
        },
        _ => None,
    };
    let (left, right) = (column(left)?, column(right)?);
    (left.0 != right.0).then_some((left, right))
}

/// All equalities that follow from those that are written: what equals the same is equal.
fn closed(written: Vec<(Side, Side)>) -> Vec<(Side, Side)> {
    let mut classes: Vec<BTreeSet<Side>> = Vec::new();
    for (left, right) in written {
        let (near, mut rest): (Vec<_>, Vec<_>) =
            classes.into_iter().partition(|class: &BTreeSet<Side>| class.contains(&left) || class.contains(&right));
        rest.push(near.into_iter().flatten().chain([left, right]).collect());
        classes = rest;
    }
    let mut all = Vec::new();
    for class in &classes {
        for (position, left) in class.iter().enumerate() {
            let others = class.iter().skip(position + 1).filter(|right| right.0 != left.0);
            all.extend(others.map(|right| (left.clone(), right.clone())));
        }
    }
    all
}

/// Whether a table's rows all have to meet their block's conditions, under the columns' own names.
fn is_plain(occurrence: &Occurrence<'_, '_, '_>) -> bool {
    let renamed = occurrence.table.alias.as_ref().is_some_and(|alias| !alias.columns.is_empty());
    !occurrence.nullable && !occurrence.written && !renamed && occurrence.table.sample.is_none()
}

/// The conditions under which a row of this table has partners in what its shard can see, as far as that has conditions of its own: one for
/// each set of tables that are joined with each other.
pub(crate) fn partner_conditions(context: &Context<'_, '_, '_>, index: usize) -> Vec<Template> {
    let analysis = context.analysis;
    let occurrence = &analysis.occurrences[index];
    let scope = analysis.blocks[occurrence.block].scope;
    if !is_plain(occurrence) || analysis.scopes[scope].merges || is_ambiguous(context, index) {
        return Vec::new();
    }
    let conditions = conditions(context, occurrence.block);
    let equalities = closed(conditions.iter().filter_map(|expr| equated(context, expr, scope)).collect());
    let partners = partners(context, index, &conditions, &equalities);
    let joined = |left: usize, right: usize| {
        equalities.iter().any(|(one, other)| (one.0, other.0) == (left, right) || (one.0, other.0) == (right, left))
    };
    let mut sets: Vec<BTreeSet<usize>> = Vec::new();
    for partner in partners {
        let (mut near, far): (Vec<_>, Vec<_>) =
            sets.into_iter().partition(|set: &BTreeSet<usize>| set.iter().any(|member| joined(*member, partner)));
        let mut set: BTreeSet<usize> = near.drain(..).flatten().collect();
        set.insert(partner);
        sets = far;
        sets.push(set);
    }
    sets.iter().map(|set| exists(context, index, set, (&conditions, &equalities), scope)).collect()
}

/// `EXISTS (...)` over these tables, under all that the conditions say of them and of the row itself.
fn exists(
    context: &Context<'_, '_, '_>,
    index: usize,
    partners: &BTreeSet<usize>,
    (conditions, equalities): (&[&Expr<'_>], &[(Side, Side)]),
    scope: ScopeId,
) -> Template {
    let analysis = context.analysis;
    let visible: BTreeSet<usize> = partners.iter().copied().chain([index]).collect();
    let used = conditions.iter().filter(|expr| {
        let own = is_computable(context, expr, scope, &mut |occurrence| visible.contains(&occurrence));
        // Equalities are said with those that follow from them.
        own && equated(context, expr, scope).is_none()
            && !is_computable(context, expr, scope, &mut |occurrence| occurrence == index)
    });
    let named = |(occurrence, column): &Side| {
        let table = analysis.occurrences[*occurrence].table.visible_name();
        format!("{}.{}", quote_identifier(table), quote_identifier(column))
    };
    let equal = equalities
        .iter()
        .filter(|(left, right)| visible.contains(&left.0) && visible.contains(&right.0))
        .map(|(left, right)| Template::text(format!("{} = {}", named(left), named(right))));
    let mut condition = Template::text("EXISTS (SELECT FROM ");
    for (position, partner) in partners.iter().enumerate() {
        let partner = &analysis.occurrences[*partner];
        append(&mut condition, Template::text(if position == 0 { "" } else { ", " }));
        append(&mut condition, Template::text(if partner.table.only { "ONLY " } else { "" }));
        match partner.target {
            Target::Distributed { .. } => condition.pieces.push(Piece::Slice(partner.full.schema.clone())),
            _ => append(&mut condition, Template::text(quote_identifier(&partner.full.schema))),
        }
        let (table, alias) = (quote_identifier(&partner.full.name), quote_identifier(partner.table.visible_name()));
        append(&mut condition, Template::text(format!(".{table} AS {alias}")));
    }
    let edits = context.slice_edits(true);
    let mut needed: Vec<Template> = used.map(|expr| without_slices(context, &visible, expr, &edits)).collect();
    needed.extend(equal);
    needed.extend(partners.iter().flat_map(|partner| alternatives(context, *partner, &edits)));
    for (position, expr) in needed.into_iter().enumerate() {
        append(&mut condition, Template::text(if position == 0 { " WHERE (" } else { " AND (" }));
        append(&mut condition, expr);
        append(&mut condition, Template::text(")"));
    }
    append(&mut condition, Template::text(")"));
    condition
}

/// The tables that a row's partners are looked for in: those with conditions of their own, and those on the way to them.
fn partners(
    context: &Context<'_, '_, '_>,
    index: usize,
    conditions: &[&Expr<'_>],
    equalities: &[(Side, Side)],
) -> Vec<usize> {
    let analysis = context.analysis;
    let block = analysis.occurrences[index].block;
    // Every member but the first with the member it was found from.
    let mut members: Vec<(usize, Option<usize>)> = vec![(index, None)];
    let key_of = |occurrence: usize| analysis.occurrences[occurrence].distributed();
    let joins = |(from, from_column): &Side, (to, to_column): &Side| match analysis.occurrences[*to].target {
        Target::Reference | Target::ReferenceView => true,
        Target::Distributed { colocation, key } => key_of(*from).is_some_and(|(other, other_key)| {
            other == colocation && other_key.name == *from_column && key.name == *to_column
        }),
        _ => false,
    };
    let mut at = 0;
    while let Some((from, _)) = members.get(at).copied() {
        at += 1;
        for (left, right) in equalities {
            for (near, far) in [(left, right), (right, left)] {
                let other = &analysis.occurrences[far.0];
                if near.0 == from
                    && other.block == block
                    && is_plain(other)
                    && !is_ambiguous(context, far.0)
                    && !members.iter().any(|(member, _)| *member == far.0)
                    && joins(near, far)
                {
                    members.push((far.0, Some(from)));
                }
            }
        }
    }
    let scope = analysis.blocks[block].scope;
    let mut wanted = BTreeSet::new();
    for (member, _) in &members[1..] {
        let restricted =
            conditions.iter().any(|expr| is_computable(context, expr, scope, &mut |occurrence| occurrence == *member))
                || !alternatives(context, *member, &context.slice_edits(true)).is_empty();
        let mut next = Some(*member).filter(|_| restricted);
        while let Some(member) = next.filter(|member| *member != index && wanted.insert(*member)) {
            next = members.iter().find(|(known, _)| *known == member).and_then(|(_, from)| *from);
        }
    }
    wanted.into_iter().collect()
}

/// Types whose values mean the same in a list as in the column, under every setting: smallint, integer, bigint, numeric, text, varchar,
/// char(n), uuid, date.
const LISTED_TYPES: [u32; 9] = [21, 23, 20, 1700, 25, 1043, 1042, 2950, 1082];

/// Where the keys are that a table's rows must have: in the tables it is joined with (`tables`: their fragments), and in the subqueries that
/// its columns must be in (`queries`: what stands for them, by their place in the text).
pub(crate) fn joined_by(
    context: &Context<'_, '_, '_>,
    index: usize,
    tables: &HashMap<usize, usize>,
    queries: &HashMap<usize, (String, Vec<usize>)>,
) -> Vec<JoinedBy> {
    let analysis = context.analysis;
    let occurrence = &analysis.occurrences[index];
    let scope = analysis.blocks[occurrence.block].scope;
    if !is_plain(occurrence) || analysis.scopes[scope].merges {
        return Vec::new();
    }
    let column_of = |(occurrence, column): &Side| {
        let relation = analysis.occurrences[*occurrence].relation?;
        relation
            .columns
            .iter()
            .find(|own| own.name == *column && LISTED_TYPES.contains(&own.type_oid) && own.collation.is_none())
    };
    let mut found = Vec::new();
    let conditions = conditions(context, occurrence.block);
    // A row that a subquery looks up for no row around it does not matter either.
    let written = conditions.iter().filter_map(|expr| equated_within(context, expr, scope, usize::MAX)).collect();
    for (left, right) in closed(written) {
        for (own, other) in [(&left, &right), (&right, &left)] {
            let (Some(column), Some(key), Some(fragment)) =
                (column_of(own), column_of(other), tables.get(&other.0).filter(|_| own.0 == index))
            else {
                continue;
            };
            let around = analysis.occurrences[other.0].block != occurrence.block;
            if column.type_oid == key.type_oid && (around || is_plain(&analysis.occurrences[other.0])) {
                found.push(JoinedBy {
                    column: own.1.clone(),
                    type_oid: column.type_oid,
                    keys: format!("SELECT {} FROM atoll_{}", quote_identifier(&other.1), fragment + 1),
                    needs: vec![*fragment],
                });
            }
        }
    }
    for expr in conditions {
        if let ExprKind::InQuery { negated: false, operand, query } = &expr.bare().kind
            && let ExprKind::Column(name) = &operand.bare().kind
            && let (Resolved::Base { occurrence, column }, 0) = analysis.resolve(name, scope)
            && occurrence == index
            && let Some(known) = column_of(&(occurrence, column.clone()))
            && let Some((keys, needs)) = queries.get(&query.span.start)
        {
            found.push(JoinedBy { column, type_oid: known.type_oid, keys: keys.clone(), needs: needs.clone() });
        }
    }
    found
}
