//! Rows that a table's fragment need not give, because no row of the query can come of them: those without a partner in tables that
//! their shard can see (reference tables, and co-located ones joined by the key), and those without a partner in another fragment that
//! is there already.

use std::collections::BTreeSet;

use crate::analysis::{Occurrence, Resolved, ScopeId};
use crate::edits::append;
use crate::names::Target;
use crate::plan::{Piece, Template};
use crate::quote_identifier;
use crate::stage::{is_computable, without_slices};
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
    let ExprKind::Compare { comparison: Comparison::Equal, left, right } = &expr.bare().kind else { return None };
    let column = |expr: &Expr<'_>| match &expr.bare().kind {
        ExprKind::Column(name) => match context.analysis.resolve(name, scope) {
            (Resolved::Base { occurrence, column }, 0) => Some((occurrence, column)),
            _ => None,
        },
        _ => None,
    };
    let (left, right) = (column(left)?, column(right)?);
    (left.0 != right.0).then_some((left, right))
}

/// Whether a table's rows all have to meet their block's conditions, under the columns' own names.
fn is_plain(occurrence: &Occurrence<'_, '_, '_>) -> bool {
    let renamed = occurrence.table.alias.as_ref().is_some_and(|alias| !alias.columns.is_empty());
    !occurrence.nullable && !occurrence.written && !renamed && occurrence.table.sample.is_none()
}

/// The condition under which a row of this table has a partner in what its shard can see, if any of that has conditions of its own.
pub(crate) fn partner_condition(context: &Context<'_, '_, '_>, index: usize) -> Option<Template> {
    let analysis = context.analysis;
    let occurrence = &analysis.occurrences[index];
    let scope = analysis.blocks[occurrence.block].scope;
    if !is_plain(occurrence) || analysis.scopes[scope].merges {
        return None;
    }
    let conditions = conditions(context, occurrence.block);
    let equalities: Vec<(Side, Side)> = conditions.iter().filter_map(|expr| equated(context, expr, scope)).collect();
    let partners = partners(context, index, &conditions, &equalities);
    if partners.is_empty() {
        return None;
    }
    let visible: BTreeSet<usize> = partners.iter().copied().chain([index]).collect();
    let used = conditions.iter().filter(|expr| {
        let own = is_computable(context, expr, scope, &mut |occurrence| visible.contains(&occurrence));
        own && !is_computable(context, expr, scope, &mut |occurrence| occurrence == index)
    });
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
    for (position, expr) in used.enumerate() {
        append(&mut condition, Template::text(if position == 0 { " WHERE (" } else { " AND (" }));
        append(&mut condition, without_slices(context, &visible, expr, &edits));
        append(&mut condition, Template::text(")"));
    }
    append(&mut condition, Template::text(")"));
    Some(condition)
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
            conditions.iter().any(|expr| is_computable(context, expr, scope, &mut |occurrence| occurrence == *member));
        let mut next = Some(*member).filter(|_| restricted);
        while let Some(member) = next.filter(|member| *member != index && wanted.insert(*member)) {
            next = members.iter().find(|(known, _)| *known == member).and_then(|(_, from)| *from);
        }
    }
    wanted.into_iter().collect()
}

/// The equalities between a table's columns and those of other tables of its block: own column, other table, its column.
pub(crate) fn equal_columns(context: &Context<'_, '_, '_>, index: usize) -> Vec<(String, usize, String)> {
    let analysis = context.analysis;
    let occurrence = &analysis.occurrences[index];
    let scope = analysis.blocks[occurrence.block].scope;
    if !is_plain(occurrence) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for expr in conditions(context, occurrence.block) {
        let Some((left, right)) = equated(context, expr, scope) else { continue };
        for (own, other) in [(&left, &right), (&right, &left)] {
            if own.0 == index && is_plain(&analysis.occurrences[other.0]) {
                found.push((own.1.clone(), other.0, other.1.clone()));
            }
        }
    }
    found
}
