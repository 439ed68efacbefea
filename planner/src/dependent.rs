//! Columns that GROUP BY does not name, but whose table's primary key it does: PostgreSQL takes them, since the key determines them. It looks
//! the key up in the catalog, so the table of fetched rows needs it, too.

use crate::analysis::{Resolved, ScopeId};
use crate::names::Routine;
use crate::statement::Context;
use crate::syntax::{Body, Expr, ExprKind, Select};

/// The primary key of a table, when its SELECT groups by it and may use other columns of the table.
pub(crate) fn needed_primary_key(context: &Context<'_, '_, '_>, index: usize) -> Option<Vec<String>> {
    let occurrence = &context.analysis.occurrences[index];
    let key = occurrence.relation?.primary_key.as_ref()?;
    let mut queries = context.analysis.queries.iter();
    let (query, scope) = queries.find_map(|facts| match facts.select {
        Some((block, scope)) if block == occurrence.block => Some((facts.query, scope)),
        _ => None,
    })?;
    let Body::Select(select) = &query.body else { return None };
    let grouped = grouped(context, select);
    let is_grouped = |part: &String| {
        grouped.iter().any(|expr| match &expr.bare().kind {
            ExprKind::Column(name) => match context.analysis.resolve(name, scope).0 {
                Resolved::Base { occurrence, column } => occurrence == index && column == *part,
                // Of JOIN USING.
                Resolved::Derived { .. } => name.last() == part,
                _ => false,
            },
            _ => false,
        })
    };
    if !key.iter().all(is_grouped) {
        return None;
    }
    let mut outputs = select.items.iter().map(|item| &item.expr).chain(&select.having);
    let mut order = query.order_by.iter().map(|item| &item.expr);
    let is_more = |expr: &Expr<'_>| uses_more(context, expr, (index, scope), &is_grouped);
    (outputs.any(is_more) || order.any(is_more)).then(|| key.clone())
}

/// What GROUP BY names; of a position or an output's name, what stands there.
fn grouped<'t, 'a>(context: &Context<'_, '_, '_>, select: &'t Select<'a>) -> Vec<&'t Expr<'a>> {
    let mut found = Vec::new();
    for expr in select.group_by.iter().flat_map(|group| &group.exprs) {
        found.push(expr);
        match &expr.bare().kind {
            ExprKind::Integer => {
                let position = expr.bare().span.of(context.sql).parse().ok().and_then(|at: usize| at.checked_sub(1));
                found.extend(position.and_then(|at| select.items.get(at)).map(|item| &item.expr));
            }
            ExprKind::Column(name) if name.parts.len() == 1 => {
                let named = |alias: &Option<crate::syntax::Ident<'_>>| {
                    alias.as_ref().is_some_and(|alias| alias.name == name.parts[0].name)
                };
                found.extend(select.items.iter().filter(|item| named(&item.alias)).map(|item| &item.expr));
            }
            _ => {}
        }
    }
    found
}

/// Whether an expression may name, outside aggregates, a column of the table that is not part of the key.
fn uses_more(
    context: &Context<'_, '_, '_>,
    expr: &Expr<'_>,
    (index, scope): (usize, ScopeId),
    is_grouped: &impl Fn(&String) -> bool,
) -> bool {
    match &expr.kind {
        ExprKind::Call(call) if call.over.is_none() => match context.facts.find_function(&call.name) {
            Routine::BuiltIn(built_in) if built_in.aggregate => return false,
            _ => {}
        },
        ExprKind::Column(name) => {
            return match context.analysis.resolve(name, scope).0 {
                Resolved::Base { occurrence, column } => occurrence == index && !is_grouped(&column),
                _ => true,
            };
        }
        ExprKind::Star(_) => return true,
        _ => {}
    }
    let mut found = expr.has_subquery();
    expr.children(&mut |child| {
        if let crate::syntax::Child::Expr(child) = child {
            found = found || uses_more(context, child, (index, scope), is_grouped);
        }
    });
    found
}
