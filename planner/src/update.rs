//! UPDATE, DELETE and MERGE of distributed tables.

use std::collections::HashSet;

use crate::analysis::constant;
use crate::names::Target;
use crate::plan::{Many, ManyWrite, Plan, Refusal, Source, WriteCurrent, WriteWith};
use crate::scan::Span;
use crate::stage::{catalog_rows, fragment, identifiers};
use crate::statement::Context;
use crate::syntax::{Delete, Expr, ExprKind, Ident, Update};

pub(crate) fn plan_update(context: &Context<'_, '_, '_>, update: &Update<'_>) -> Plan {
    write(context, update.span, update.current_of.as_ref(), update.returning.is_some(), "UPDATE")
}

pub(crate) fn plan_delete(context: &Context<'_, '_, '_>, delete: &Delete<'_>) -> Plan {
    write(context, delete.span, delete.current_of.as_ref(), delete.returning.is_some(), "DELETE")
}

pub(crate) fn plan_merge(context: &Context<'_, '_, '_>) -> Plan {
    let analysis = context.analysis;
    // Inserted rows must belong to the shard that the keys choose.
    let anchored = !analysis.merge_unanchored
        && analysis.merge_sources.iter().all(|source| analysis.occurrences[*source].pins.is_some())
        && analysis.merge_keys.iter().all(|(target, keys)| match &analysis.occurrences[*target].pins {
            Some(pins) => keys.iter().all(|key| pins.contains(key)),
            None => false,
        });
    let refusal = Refusal::unsupported(
        "MERGE over several shards is not supported",
        "Whether a row has a match, and which shard a new row is for, cannot be told on each shard alone.",
        "Give the distribution key's value in the ON condition, so that one shard can do it; or use INSERT ... ON CONFLICT, \
         UPDATE ... FROM and DELETE ... USING.",
    );
    if !anchored || !context.fits_on_shard() || !context.keys().are_named() {
        return refusal.into();
    }
    pinned(context, Many::Refuse(refusal))
}

fn pinned(context: &Context<'_, '_, '_>, many: Many) -> Plan {
    context.sharded(many).unwrap_or_else(|| Refusal::unexpected("the statement names no distributed table").into())
}

fn write(
    context: &Context<'_, '_, '_>,
    span: Span,
    current_of: Option<&Ident<'_>>,
    returning: bool,
    verb: &'static str,
) -> Plan {
    if let Some(cursor) = current_of {
        if !context.fits_on_shard() {
            return Refusal::unsupported(
                format!(
                    "{verb} ... WHERE CURRENT OF cannot use tables or functions that are not on the cursor's shard"
                ),
                "The statement runs where the cursor's row is.",
                "Read what it needs in a statement of its own, and write by values.",
            )
            .into();
        }
        let text = context.slice_edits(true).apply(context.sql, Span { start: 0, end: context.sql.len() });
        return Plan::WriteCurrent(WriteCurrent { text, cursor: cursor.name.to_string(), residue: context.residue() });
    }
    let analysis = context.analysis;
    let target = analysis
        .occurrences
        .iter()
        .position(|occurrence| occurrence.written && occurrence.table.name.span().start >= span.start);
    if context.needs_home() {
        return Refusal::unsupported(
            format!(
                "{verb} of a distributed table cannot call functions that work on sequences, large objects or advisory locks"
            ),
            "Those are at home, and the statement runs on the shards.",
            "Call the function in a SELECT first, and write what it gives.",
        )
        .into();
    }
    if let Some(refusal) = crate::stage::unstageable(context).or_else(|| crate::stage::unlockable(context)) {
        return if context.fits_on_shard() { pinned(context, Many::Refuse(refusal)) } else { refusal.into() };
    }
    if !context.fits_on_shard() {
        return write_with(context, span, target, returning, verb).unwrap_or_else(Plan::Refuse);
    }
    if find_together(context, target) {
        let arm = context.slice_edits(true).apply(context.sql, span);
        return pinned(context, Many::Write(ManyWrite { arm, returning, verb }));
    }
    if crate::select::is_one_key(&context.keys()) {
        return pinned(context, Many::Refuse(Refusal::unexpected("a single key has a single shard")));
    }
    write_with(context, span, target, returning, verb).unwrap_or_else(Plan::Refuse)
}

/// Whether every shard can do its part alone.
fn find_together(context: &Context<'_, '_, '_>, target: Option<usize>) -> bool {
    let analysis = context.analysis;
    let Some(target) = target.filter(|target| analysis.occurrences[*target].distributed().is_some()) else {
        return true;
    };
    let together = analysis.together_with(target);
    let apart = analysis.distributed().any(|index| !together[index]);
    !apart && !breaks(context, target) && !analysis.with
}

/// Whether an outer join keeps rows of what is not spread over the shards.
fn breaks(context: &Context<'_, '_, '_>, target: usize) -> bool {
    let block = context.analysis.occurrences[target].block;
    context.analysis.blocks.get(block).is_some_and(|block| block.preserves_undistributed)
}

/// Each shard does its part, and sees all rows of what it does not have.
fn write_with(
    context: &Context<'_, '_, '_>,
    span: Span,
    target: Option<usize>,
    returning: bool,
    verb: &'static str,
) -> Result<Plan, Refusal> {
    let analysis = context.analysis;
    let Some((target, (colocation, key))) =
        target.and_then(|target| Some((target, analysis.occurrences[target].distributed()?)))
    else {
        return Err(reads_shards());
    };
    let together = if analysis.with || breaks(context, target) {
        vec![false; analysis.occurrences.len()]
    } else {
        analysis.together_with(target)
    };
    let names = identifiers(context.sql, span);
    let mut edits = context.slice_edits(true);
    let mut sources = Vec::new();
    for (index, occurrence) in analysis.occurrences.iter().enumerate() {
        let stays = index == target || matches!(occurrence.target, Target::Reference | Target::ReferenceView);
        if stays || (occurrence.distributed().is_some() && together[index]) {
            continue;
        }
        if occurrence.table.only && occurrence.distributed().is_none() {
            return Err(Refusal::unsupported(
                format!("{verb} of a distributed table cannot read ONLY another table"),
                "The other table's rows are sent to the shards, without its child tables' being told apart.",
                "Leave out ONLY, or put the rows into a table of their own first.",
            ));
        }
        let name = format!("atoll_{}", sources.len() + 1);
        edits.override_text(occurrence.table.name.span(), name.clone());
        if let (None, Some(place)) = (&occurrence.table.alias, occurrence.table.alias_place) {
            edits.insert_text(place, format!(" AS {}", crate::quote_identifier(occurrence.table.name.last())));
        }
        if let Some(sample) = occurrence.table.sample {
            edits.replace_text(sample, "");
        }
        for qualifier in analysis.qualifiers.iter().filter(|qualifier| qualifier.occurrence == index) {
            if qualifier.span.start != occurrence.table.name.span().start {
                edits.override_text(qualifier.span, "");
            }
        }
        sources.push(match occurrence.distributed() {
            Some(_) => Source::Fragment(fragment(context, index, name, &names)?),
            None if occurrence.target == Target::System => Source::Catalog(catalog_rows(context, index, name, &names)),
            None => Source::Home { name, query: home_query(context, index, &names) },
        });
    }
    let write = ManyWrite { arm: edits.apply(context.sql, span), returning, verb };
    let keys = context.keys_of(target..target + 1);
    let residue = context.residue();
    Ok(Plan::WriteWith(WriteWith { colocation, key_type: key.key_type, keys, write, sources, residue }))
}

/// The refusal of a write to a system catalog, or to a view that is not the shards', with rows of the shards.
pub(crate) fn reads_shards() -> Refusal {
    Refusal::unsupported(
        "a write to a system catalog, or to a view of reference tables, cannot read distributed tables",
        "It runs where that relation is, and no place has all rows of a distributed table.",
        "Read the distributed tables first, and write the rows in a second statement.",
    )
}

/// The rows of a table at home, in the columns that the statement can need.
fn home_query(context: &Context<'_, '_, '_>, index: usize, names: &HashSet<String>) -> String {
    let analysis = context.analysis;
    let occurrence = &analysis.occurrences[index];
    let renamed = occurrence.table.alias.as_ref().is_some_and(|alias| !alias.columns.is_empty());
    let all = occurrence.starred || analysis.stars || analysis.natural || analysis.whole_row.is_some() || renamed;
    let list = match occurrence.relation.filter(|_| !all) {
        None => "*".to_owned(),
        Some(relation) => {
            let mut columns: Vec<String> = relation
                .columns
                .iter()
                .filter(|column| names.contains(&column.name))
                .map(|column| crate::quote_identifier(&column.name))
                .collect();
            if columns.is_empty() {
                // Only rows count.
                columns.extend(relation.columns.first().map(|column| crate::quote_identifier(&column.name)));
            }
            columns.join(", ")
        }
    };
    let sample = occurrence.table.sample.map_or_else(String::new, |span| format!(" {}", span.of(context.sql)));
    let database = analysis.database_names.iter().find(|span| span.start == occurrence.table.name.span().start);
    let mut name = occurrence.table.name.span();
    name.start = database.map_or(name.start, |database| database.end);
    format!("SELECT {list} FROM {}{sample}", name.of(context.sql))
}

/// The refusal when a distribution key is set to anything but itself or the value it is pinned to, in any part of the statement.
pub(crate) fn key_change(context: &Context<'_, '_, '_>) -> Option<Refusal> {
    for (target, assignment) in &context.analysis.assignments {
        let target = &context.analysis.occurrences[*target];
        let Some((_, key)) = target.distributed() else { continue };
        let Some(position) = assignment.columns.iter().position(|column| column.name.name == key.name) else {
            continue;
        };
        let value: Option<&Expr<'_>> = match (&assignment.value.bare().kind, assignment.columns.len()) {
            (_, 1) => Some(&assignment.value),
            (ExprKind::Row(values), _) => values.get(position),
            _ => None,
        };
        let same = value.is_some_and(|value| match constant(context.sql, value, key.key_type) {
            Some(keys) => keys.len() == 1 && target.pins.as_ref() == Some(&keys),
            None => is_own_column(value, target.table.visible_name(), &key.name),
        });
        if !same {
            let refusal = Refusal::unsupported(
                format!("changing the distribution key \"{}\" is not supported", key.name),
                "The key decides a row's shard: the row would have to move.",
                "Delete the row and insert it with its new key.",
            );
            return Some(refusal.at(assignment.columns[position].name.span.start));
        }
    }
    None
}

fn is_own_column(value: &Expr<'_>, table: &str, key: &str) -> bool {
    match &value.bare().kind {
        ExprKind::Column(name) => match name.parts.as_slice() {
            [column] => column.name == key,
            // Rows conflict in a unique constraint, and every one holds the key.
            [own, column] => (own.name == table || own.name == "excluded") && column.name == key,
            _ => false,
        },
        _ => false,
    }
}
