//! A staged query as an engine beside PostgreSQL runs it: it has no tables of its own, so that those at home are inputs, too; and what the
//! inputs' queries have tested already it need not understand.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::edits::{Edits, append};
use crate::names::Target;
use crate::plan::{FragmentColumn, HomeRows, Joined, Piece, Template};
use crate::scan::Span;
use crate::stage::{filters, is_ambiguous, without_slices};
use crate::statement::Context;

/// The query over `edits`' fragments, whose tables are `tables` (occurrences); those that `done` holds for are inside fragments. `None` when it
/// reads what is neither a fragment nor a table at home.
pub(crate) fn joined(
    context: &Context<'_, '_, '_>,
    whole: Span,
    mut edits: Edits,
    tables: &HashMap<usize, usize>,
    done: &[bool],
    names: &HashSet<String>,
) -> Option<Joined> {
    let analysis = context.analysis;
    let mut home = Vec::new();
    let mut tested: Vec<usize> = tables.keys().copied().collect();
    for (index, occurrence) in analysis.occurrences.iter().enumerate() {
        let inside = occurrence.table.name.span().start >= whole.start && occurrence.table.name.span().end <= whole.end;
        if done[index] || tables.contains_key(&index) || !inside {
            continue;
        }
        if !matches!(occurrence.target, Target::Reference | Target::Unsharded) || occurrence.written {
            return None;
        }
        let name = format!("atoll_home_{}", home.len() + 1);
        home.push(home_rows(context, index, name.clone(), names)?);
        edits.replace_text(occurrence.table.name.span(), name);
        if let (None, Some(place)) = (&occurrence.table.alias, occurrence.table.alias_place) {
            edits.insert_text(place, format!(" AS {}", crate::quote_identifier(occurrence.table.name.last())));
        }
        tested.push(index);
    }
    for qualifier in &analysis.qualifiers {
        let occurrence = &analysis.occurrences[qualifier.occurrence];
        if tested.contains(&qualifier.occurrence) && occurrence.table.name.span().start != qualifier.span.start {
            edits.override_text(qualifier.span, "");
        }
    }
    for index in tested {
        let occurrence = &analysis.occurrences[index];
        let renamed = occurrence.table.alias.as_ref().is_some_and(|alias| !alias.columns.is_empty());
        // The rows of NULLs that an outer join makes were not tested.
        if !renamed && !occurrence.outer_joined {
            for condition in filters(context, index) {
                edits.replace_text(condition.span, "TRUE");
            }
        }
    }
    Some(Joined { sql: edits.apply_text(context.sql, whole), home })
}

/// A table at home, in the columns and rows that the statement can need.
fn home_rows(context: &Context<'_, '_, '_>, index: usize, name: String, names: &HashSet<String>) -> Option<HomeRows> {
    let analysis = context.analysis;
    let occurrence = &analysis.occurrences[index];
    let relation = occurrence.relation?;
    let renamed = occurrence.table.alias.as_ref().is_some_and(|alias| !alias.columns.is_empty());
    let odd = relation.columns.iter().any(|column| context.is_oddly_collated(column));
    if odd || occurrence.table.sample.is_some() || is_ambiguous(context, index) {
        return None;
    }
    let all = occurrence.starred || analysis.stars || analysis.natural || analysis.whole_row.is_some() || renamed;
    let mut columns: Vec<_> = relation.columns.iter().filter(|column| all || names.contains(&column.name)).collect();
    if columns.is_empty() {
        columns.extend(relation.columns.first());
    }
    let visible =
        crate::quote_identifier(if renamed { occurrence.table.name.last() } else { occurrence.table.visible_name() });
    let list: Vec<String> =
        columns.iter().map(|column| format!("{visible}.{}", crate::quote_identifier(&column.name))).collect();
    let only = if occurrence.table.only { "ONLY " } else { "" };
    let (schema, table) =
        (crate::quote_identifier(&occurrence.full.schema), crate::quote_identifier(&occurrence.full.name));
    let mut query = Template::text(format!("SELECT {} FROM {only}{schema}.{table} AS {visible}", list.join(", ")));
    let edits = context.slice_edits(true);
    let own = BTreeSet::from([index]);
    let conditions = if renamed { Vec::new() } else { filters(context, index) };
    for (position, condition) in conditions.into_iter().enumerate() {
        append(&mut query, Template::text(if position == 0 { " WHERE (" } else { " AND (" }));
        append(&mut query, without_slices(context, &own, condition, &edits));
        append(&mut query, Template::text(")"));
    }
    let pieces = query.pieces.into_iter().map(|piece| match piece {
        Piece::Text(text) => Some(text),
        Piece::Slice(_) => None,
    });
    let sql = pieces.collect::<Option<String>>()?;
    let columns = columns
        .into_iter()
        .map(|column| FragmentColumn {
            name: column.name.clone(),
            passed_on: false,
            bytewise_collation: column.bytewise_collation,
            definition: None,
        })
        .collect();
    Some(HomeRows { name, sql, columns })
}
