//! The general case: the query itself, its own text, runs over what the shards give. Parts of it that are islands (derived tables, CTEs,
//! branches of UNION, subqueries that stand for themselves) are computed as far as [`crate::island`] takes them; of all other distributed
//! tables, the columns and rows that the query can need are fetched.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::analysis::{Resolved, ScopeId};
use crate::catalog::{Column, Volatility};
use crate::dependent::needed_primary_key;
use crate::edits::append;
use crate::island::{Staged, grouped_early, nested_island};
use crate::joined::joined;
use crate::names::{Effect, Routine, Target};
use crate::plan::{CatalogRows, Fragment, FragmentColumn, Keys, Merge, Piece, Refusal, Template};
use crate::reduce::{joined_by, partner_conditions};
use crate::scan::{Span, tokens};
use crate::statement::Context;
use crate::syntax::{Body, Comparison, Expr, ExprKind, Query};

/// Fragments, and the statement (this stretch of the text) over them.
///
/// # Errors
/// When the catalog does not know a table.
pub(crate) fn stage(context: &Context<'_, '_, '_>, whole: Span) -> Result<Merge, Refusal> {
    let analysis = context.analysis;
    let names = identifiers(context.sql, whole);
    let mut edits = crate::edits::Edits::default();
    context.mark(&mut edits);
    let mut fragments = Vec::new();
    let mut done = vec![false; analysis.occurrences.len()];
    let mut renamed = HashMap::new();
    let mut tables = HashMap::new();
    let mut queries = HashMap::new();
    for facts in analysis.queries.iter().filter(|facts| facts.query.span != whole) {
        let mut own =
            facts.occurrences.clone().filter(|index| analysis.occurrences[*index].distributed().is_some()).peekable();
        if own.peek().is_none() || own.any(|index| done[index]) {
            continue;
        }
        let name = format!("atoll_{}", fragments.len() + 1);
        if let Some(merge) = nested_island(context, facts, &name) {
            let own = (fragments.len()..fragments.len() + merge.fragments.len()).collect();
            // One with parameters cannot be run on its own.
            if !merge.sql.contains('$') {
                queries.insert(facts.query.span.start, (merge.sql.clone(), own));
            }
            edits.replace_text(facts.query.span, merge.sql);
            let unread = analysis.occurrences[facts.occurrences.clone()].iter().any(|occurrence| occurrence.unread);
            // The query around it may do anything with its columns.
            fragments.extend(merge.fragments.into_iter().map(|mut fragment| {
                fragment.columns.iter_mut().for_each(|column| column.passed_on = false);
                if unread { without_rows(fragment) } else { fragment }
            }));
            done[facts.occurrences.clone()].fill(true);
        }
    }
    for index in analysis.distributed().filter(|index| !done[*index]) {
        let occurrence = &analysis.occurrences[index];
        let name = format!("atoll_{}", fragments.len() + 1);
        edits.replace_text(occurrence.table.name.span(), name.clone());
        if occurrence.table.alias.is_none()
            && let Some(place) = occurrence.table.alias_place
        {
            // Of two tables with one name in different schemas, only the schema tells them apart.
            let alias = if is_ambiguous(context, index) { &name } else { occurrence.table.name.last() };
            edits.insert_text(place, format!(" AS {}", crate::quote_identifier(alias)));
            renamed.insert(index, name.clone());
        }
        if let Some(sample) = occurrence.table.sample {
            edits.replace_text(sample, "");
        }
        let fragment = fragment(context, index, name, &names)?;
        tables.insert(index, fragments.len());
        fragments.push(if occurrence.unread { without_rows(fragment) } else { fragment });
    }
    let mut catalog = Vec::new();
    for (index, occurrence) in analysis.occurrences.iter().enumerate() {
        if occurrence.target != Target::System {
            continue;
        }
        let name = format!("atoll_catalog_{}", catalog.len() + 1);
        edits.replace_text(occurrence.table.name.span(), name.clone());
        if let (None, Some(place)) = (&occurrence.table.alias, occurrence.table.alias_place) {
            let alias = if is_ambiguous(context, index) { &name } else { occurrence.table.name.last() };
            edits.insert_text(place, format!(" AS {}", crate::quote_identifier(alias)));
            renamed.insert(index, name.clone());
        }
        catalog.push(catalog_rows(context, index, name, &names));
    }
    for qualifier in &analysis.qualifiers {
        let occurrence = &analysis.occurrences[qualifier.occurrence];
        let fetched = occurrence.distributed().is_some() || occurrence.target == Target::System;
        if fetched && occurrence.table.name.span().start != qualifier.span.start {
            match renamed.get(&qualifier.occurrence).filter(|_| is_ambiguous(context, qualifier.occurrence)) {
                Some(name) => {
                    edits.replace_text(Span { start: qualifier.span.start, end: qualifier.table.end }, name.clone())
                }
                None => edits.replace_text(qualifier.span, ""),
            }
        }
    }
    for span in &analysis.database_names {
        edits.replace_text(*span, "");
    }
    for (occurrence, position) in &tables {
        fragments[*position].joined_by = joined_by(context, *occurrence, &tables, &queries);
    }
    let collated = analysis
        .distributed()
        .filter_map(|index| analysis.occurrences[index].relation)
        .any(|relation| relation.columns.iter().any(|column| context.is_oddly_collated(column)));
    let datafusion = !collated && catalog.is_empty();
    let joined = if datafusion { joined(context, whole, edits.clone(), &tables, &done, &names) } else { None };
    let sql = edits.apply_text(context.sql, whole);
    let merge = Merge { fragments, sql, datafusion, catalog, joined, grouped: None };
    let staged = Staged { whole, merge: &merge, edits: &edits, tables: &tables, done: &done, names: &names };
    let grouped = grouped_early(context, &staged);
    Ok(Merge { grouped, ..merge })
}

/// A relation of the catalog database, in the columns that the statement can need.
pub(crate) fn catalog_rows(
    context: &Context<'_, '_, '_>,
    index: usize,
    name: String,
    names: &HashSet<String>,
) -> CatalogRows {
    let analysis = context.analysis;
    let occurrence = &analysis.occurrences[index];
    let renamed = occurrence.table.alias.as_ref().is_some_and(|alias| !alias.columns.is_empty());
    let all = occurrence.starred || analysis.stars || analysis.natural || analysis.whole_row.is_some() || renamed;
    let mut columns: Vec<String> = names.iter().cloned().collect();
    columns.sort_unstable();
    CatalogRows { name, relation: occurrence.full.clone(), columns: (!all).then_some(columns) }
}

/// Whether another table of the same FROM goes by the same name, in another schema.
pub(crate) fn is_ambiguous(context: &Context<'_, '_, '_>, index: usize) -> bool {
    let occurrences = &context.analysis.occurrences;
    let own = &occurrences[index];
    occurrences.iter().enumerate().any(|(other, occurrence)| {
        other != index && occurrence.block == own.block && occurrence.table.visible_name() == own.table.visible_name()
    })
}

/// The fragment of something that is not run.
fn without_rows(mut fragment: Fragment) -> Fragment {
    let mut arm = Template::text("SELECT * FROM (");
    append(&mut arm, std::mem::replace(&mut fragment.arm, Template::text("")));
    append(&mut arm, Template::text(") AS unread LIMIT 0"));
    Fragment { arm, keys: Keys::These(Vec::new()), ..fragment }
}

/// Why a query that locks rows cannot run over fetched ones.
pub(crate) fn unlockable(context: &Context<'_, '_, '_>) -> Option<Refusal> {
    let span = context.analysis.lock?;
    let refusal = Refusal::unsupported(
        "FOR UPDATE and FOR SHARE in this query over several shards are not supported",
        "The query runs over rows that were fetched from the shards: locking those locks nothing.",
        "Lock the rows of one table, or of tables joined by their distribution keys, in a query of its own.",
    );
    Some(refusal.at(span.start))
}

/// Why a query cannot run over fetched rows.
pub(crate) fn unstageable(context: &Context<'_, '_, '_>) -> Option<Refusal> {
    let analysis = context.analysis;
    let instead = "Give the distribution key's value, so that one shard can answer.";
    if let Some(span) = analysis.system_column {
        let what = format!("system column \"{}\" means nothing across shards", span.of(context.sql));
        let why = "Each shard has values of its own: rows of different shards may have the same.";
        return Some(Refusal::unsupported(what, why, instead).at(span.start));
    }
    if analysis.whole_row.is_some() {
        let combined = analysis.queries.iter().filter(|facts| matches!(facts.query.body, Body::SetOperation { .. }));
        if let Some(span) = combined.into_iter().find_map(|facts| row_selected(context, facts.query)) {
            let refusal = Refusal::unsupported(
                "UNION, INTERSECT and EXCEPT of whole rows of tables over several shards are not supported",
                "Rows that were fetched are of other types than the table's.",
                format!("Name the columns, or combine to_jsonb({}).", span.of(context.sql)),
            );
            return Some(refusal.at(span.start));
        }
    }
    let writes_shards = analysis
        .occurrences
        .iter()
        .any(|occurrence| occurrence.written && !matches!(occurrence.target, Target::Unsharded | Target::Unknown));
    if analysis.modifying_cte && writes_shards {
        return Some(Refusal::unsupported(
            "writes in WITH over several shards are not supported",
            "Each shard would run the whole statement for its own rows alone.",
            instead,
        ));
    }
    None
}

/// A table's whole row that a query, or a branch of it, selects as it is.
fn row_selected(context: &Context<'_, '_, '_>, query: &Query<'_>) -> Option<Span> {
    let analysis = context.analysis;
    match &query.body {
        Body::SetOperation { left, right, .. } => row_selected(context, left).or_else(|| row_selected(context, right)),
        Body::Select(select) => {
            let facts = analysis.queries.iter().find(|facts| std::ptr::eq(facts.query, query))?;
            let (_, scope) = facts.select?;
            select.items.iter().find_map(|item| match &item.expr.bare().kind {
                ExprKind::Column(name) => {
                    let (resolved, _) = analysis.resolve(name, scope);
                    matches!(resolved, Resolved::WholeRow { .. }).then(|| name.span())
                }
                _ => None,
            })
        }
        _ => None,
    }
}

/// Every identifier in a stretch of text: a superset of the columns it names.
pub(crate) fn identifiers(sql: &str, span: Span) -> HashSet<String> {
    let text = span.of(sql);
    tokens(text).iter().filter_map(|token| token.identifier(text)).map(|name| name.into_owned()).collect()
}

/// A table's rows, in the columns that have one of these names.
///
/// # Errors
/// When the catalog does not know the table.
pub(crate) fn fragment(
    context: &Context<'_, '_, '_>,
    index: usize,
    name: String,
    names: &HashSet<String>,
) -> Result<Fragment, Refusal> {
    fragment_of(context, index, name, names, None)
}

/// As [`fragment`], grouped by those columns, with aggregates (name and text) behind them.
///
/// # Errors
/// When the catalog does not know the table.
pub(crate) fn grouped_fragment(
    context: &Context<'_, '_, '_>,
    index: usize,
    name: String,
    names: &HashSet<String>,
    aggregates: &[(String, Template)],
) -> Result<Fragment, Refusal> {
    fragment_of(context, index, name, names, Some(aggregates))
}

fn fragment_of(
    context: &Context<'_, '_, '_>,
    index: usize,
    name: String,
    names: &HashSet<String>,
    aggregates: Option<&[(String, Template)]>,
) -> Result<Fragment, Refusal> {
    let analysis = context.analysis;
    let occurrence = &analysis.occurrences[index];
    let (Some((colocation, key)), Some(relation)) = (occurrence.distributed(), occurrence.relation) else {
        return Err(Refusal::unknown_table(&occurrence.full.name));
    };
    let renamed = occurrence.table.alias.as_ref().is_some_and(|alias| !alias.columns.is_empty());
    let all = occurrence.starred || analysis.stars || analysis.natural || analysis.whole_row.is_some() || renamed;
    let mut columns: Vec<_> = relation.columns.iter().filter(|column| all || names.contains(&column.name)).collect();
    if columns.is_empty() {
        // Only rows count: the key is as good as any.
        columns.extend(relation.columns.iter().find(|column| column.name == key.name).or(relation.columns.first()));
    }
    let filters = if renamed { Vec::new() } else { filters(context, index) };
    let visible =
        crate::quote_identifier(if renamed { occurrence.table.name.last() } else { occurrence.table.visible_name() });
    let list: Vec<String> =
        columns.iter().map(|column| format!("{visible}.{}", crate::quote_identifier(&column.name))).collect();
    let table = crate::quote_identifier(&occurrence.full.name);
    let only = if occurrence.table.only { "ONLY " } else { "" };
    let mut arm = Template::text(format!("SELECT {}", list.join(", ")));
    for (name, text) in aggregates.unwrap_or_default() {
        append(&mut arm, Template::text(", "));
        append(&mut arm, text.clone());
        append(&mut arm, Template::text(format!(" AS {name}")));
    }
    append(&mut arm, Template::text(format!(" FROM {only}")));
    arm.pieces.push(Piece::Slice(occurrence.full.schema.clone()));
    // Each shard gives its sample: together they are one of the whole.
    let sample = occurrence.table.sample.map_or_else(String::new, |span| format!(" {}", span.of(context.sql)));
    append(&mut arm, Template::text(format!(".{table} AS {visible}{sample}")));
    let definitions = |column: &Column| {
        let collation = column.collation.as_ref().map_or(String::new(), |collation| format!(" COLLATE {collation}"));
        format!("{}{collation}", column.type_name)
    };
    let edits = context.slice_edits(true);
    let own = BTreeSet::from([index]);
    let mut conditions: Vec<Template> =
        filters.into_iter().map(|filter| without_slices(context, &own, filter, &edits)).collect();
    if !renamed {
        conditions.extend(alternatives(context, index, &edits));
    }
    conditions.extend(partner_conditions(context, index));
    for (position, condition) in conditions.into_iter().enumerate() {
        append(&mut arm, Template::text(if position == 0 { " WHERE (" } else { " AND (" }));
        append(&mut arm, condition);
        append(&mut arm, Template::text(")"));
    }
    if aggregates.is_some() {
        let positions: Vec<String> = (1..=list.len()).map(|position| position.to_string()).collect();
        append(&mut arm, Template::text(format!(" GROUP BY {}", positions.join(", "))));
    }
    let columns = columns.into_iter().map(|column| FragmentColumn {
        name: column.name.clone(),
        passed_on: false,
        bytewise_collation: column.bytewise_collation,
        definition: Some(definitions(column)),
    });
    let aggregated = aggregates.unwrap_or_default().iter().map(|(name, _)| FragmentColumn {
        name: name.clone(),
        passed_on: false,
        bytewise_collation: context.facts.catalog.bytewise_collation,
        definition: None,
    });
    let columns = columns.chain(aggregated).collect();
    let keys = occurrence.pins.clone().map_or(Keys::All, Keys::These);
    let looked_up_by = if renamed { Vec::new() } else { looked_up_by(context, index) };
    let primary_key = needed_primary_key(context, index);
    Ok(Fragment { name, colocation, keys, arm, columns, looked_up_by, primary_key, joined_by: Vec::new() })
}

/// The table's columns that its own block's WHERE equates with columns of a query around it.
fn looked_up_by(context: &Context<'_, '_, '_>, index: usize) -> Vec<String> {
    let analysis = context.analysis;
    let block = &analysis.blocks[analysis.occurrences[index].block];
    let mut columns = Vec::new();
    for conjunct in block.selection.map(Expr::conjuncts).unwrap_or_default() {
        let ExprKind::Compare { comparison: Comparison::Equal, left, right } = &conjunct.bare().kind else { continue };
        let column_of = |expr: &Expr<'_>| match &expr.bare().kind {
            ExprKind::Column(name) => match analysis.resolve(name, block.scope) {
                (Resolved::Base { occurrence, column }, 0) if occurrence == index => Some(column.to_string()),
                _ => None,
            },
            _ => None,
        };
        let is_outer = |expr: &Expr<'_>| match &expr.bare().kind {
            ExprKind::Column(name) => matches!(analysis.resolve(name, block.scope), (Resolved::Base { .. }, 1..)),
            _ => false,
        };
        for (own, other) in [(left, right), (right, left)] {
            if is_outer(other) {
                columns.extend(column_of(own));
            }
        }
    }
    columns.sort_unstable();
    columns.dedup();
    columns
}

/// A condition's text for an arm, where these tables always have an alias: `public.t.a` becomes `t.a`.
pub(crate) fn without_slices(
    context: &Context<'_, '_, '_>,
    tables: &BTreeSet<usize>,
    filter: &Expr<'_>,
    edits: &crate::edits::Edits,
) -> Template {
    let mut edits = edits.clone();
    for qualifier in context.analysis.qualifiers.iter().filter(|qualifier| tables.contains(&qualifier.occurrence)) {
        edits.override_text(qualifier.span, "");
    }
    edits.apply(context.sql, filter.span)
}

/// The conjuncts of WHERE that a table's own rows decide: they may be applied early.
pub(crate) fn filters<'t, 'a>(context: &Context<'_, 't, 'a>, index: usize) -> Vec<&'t Expr<'a>> {
    let analysis = context.analysis;
    let occurrence = &analysis.occurrences[index];
    if occurrence.nullable {
        return Vec::new();
    }
    let block = &analysis.blocks[occurrence.block];
    let Some(selection) = block.selection else { return Vec::new() };
    let mut own = |occurrence| occurrence == index;
    selection.conjuncts().into_iter().filter(|expr| is_computable(context, expr, block.scope, &mut own)).collect()
}

/// What ORs in WHERE say of a table's own rows: in each, every branch limits them, if only some way.
pub(crate) fn alternatives(context: &Context<'_, '_, '_>, index: usize, edits: &crate::edits::Edits) -> Vec<Template> {
    let analysis = context.analysis;
    let occurrence = &analysis.occurrences[index];
    let block = &analysis.blocks[occurrence.block];
    if occurrence.nullable {
        return Vec::new();
    }
    let own = BTreeSet::from([index]);
    let mut sees = |occurrence| occurrence == index;
    let mut found = Vec::new();
    for conjunct in block.selection.map(Expr::conjuncts).unwrap_or_default() {
        let ExprKind::Or(branches) = &conjunct.bare().kind else { continue };
        if is_computable(context, conjunct, block.scope, &mut sees) {
            continue;
        }
        let mut any = Template::text("");
        let limited = branches.iter().enumerate().all(|(position, branch)| {
            let mut limits = branch.conjuncts();
            limits.retain(|limit| is_computable(context, limit, block.scope, &mut sees));
            for (term, limit) in limits.iter().enumerate() {
                let between = match (position, term) {
                    (0, 0) => "(",
                    (_, 0) => " OR (",
                    _ => " AND (",
                };
                append(&mut any, Template::text(between));
                append(&mut any, without_slices(context, &own, limit, edits));
                append(&mut any, Template::text(")"));
            }
            !limits.is_empty()
        });
        if limited {
            found.push(any);
        }
    }
    found
}

/// Whether an expression depends only on rows of tables that `sees` holds for, and gives the same wherever it is computed.
pub(crate) fn is_computable(
    context: &Context<'_, '_, '_>,
    expr: &Expr<'_>,
    scope: ScopeId,
    sees: &mut impl FnMut(usize) -> bool,
) -> bool {
    let foreign = expr.has_subquery() || expr.any(&mut |expr| match &expr.kind {
        ExprKind::Column(name) => {
            !matches!(context.analysis.resolve(name, scope), (Resolved::Base { occurrence, .. }, 0) if sees(occurrence))
        }
        ExprKind::Star(_) | ExprKind::Default => true,
        ExprKind::Call(call) => match context.facts.find_function(&call.name) {
            Routine::BuiltIn(built_in) => {
                built_in.volatility == Volatility::Volatile || built_in.effect != Effect::None
            }
            Routine::User { .. } => true,
        },
        _ => false,
    });
    !foreign
}
