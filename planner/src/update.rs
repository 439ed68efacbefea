//! UPDATE, DELETE and MERGE of distributed tables.

use crate::analysis::constant;
use crate::plan::{Many, ManyWrite, Plan, Refusal};
use crate::scan::Span;
use crate::statement::{Context, refuse};
use crate::syntax::{Delete, Expr, ExprKind, Update};

pub(crate) fn plan_update(context: &Context<'_, '_, '_>, update: &Update<'_>) -> Plan {
    write(context, update.span, update.current_of, update.returning.is_some(), "UPDATE")
}

pub(crate) fn plan_delete(context: &Context<'_, '_, '_>, delete: &Delete<'_>) -> Plan {
    write(context, delete.span, delete.current_of, delete.returning.is_some(), "DELETE")
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
    let refusal = Refusal {
        hint: Some("Give the distribution key's value in the ON condition, so that one shard can do it.".to_owned()),
        ..refuse("MERGE over several shards is not supported")
    };
    if !anchored || !context.fits_on_shard() || !context.keys().are_named() {
        return refusal.into();
    }
    pinned(context, Many::Refuse(refusal))
}

fn pinned(context: &Context<'_, '_, '_>, many: Many) -> Plan {
    context.sharded(many).unwrap_or_else(|| refuse("the statement names no distributed table").into())
}

fn write(context: &Context<'_, '_, '_>, span: Span, current_of: bool, returning: bool, verb: &'static str) -> Plan {
    if current_of {
        return refuse("WHERE CURRENT OF is not supported on distributed tables").into();
    }
    let analysis = context.analysis;
    let target = analysis
        .occurrences
        .iter()
        .position(|occurrence| occurrence.written && occurrence.table.name.span().start >= span.start);
    let other = analysis.occurrences.iter().find(|occurrence| {
        matches!(occurrence.target, crate::names::Target::Unsharded | crate::names::Target::Unknown)
    });
    if let Some(other) = other {
        return Refusal {
            hint: Some(
                "Distribute that table, make it a reference table, or read it in a statement of its own.".to_owned(),
            ),
            position: Some(other.table.name.span().start),
            ..refuse(format!(
                "{verb} of a distributed table cannot use \"{}\", which is not distributed",
                other.full.name
            ))
        }
        .into();
    }
    if context.needs_home() {
        return refuse(format!("{verb} of a distributed table cannot call functions that work on sequences, large objects or advisory locks")).into();
    }
    if !context.fits_on_shard() {
        return refuse(format!("{verb} over tables of several co-location groups is not supported")).into();
    }
    let many = match several(context, target, verb) {
        Some(refusal) => Many::Refuse(refusal),
        None => {
            let arm = context.slice_edits(true).apply(context.sql, span);
            Many::Write(ManyWrite { arm, returning, verb })
        }
    };
    pinned(context, many)
}

/// Why every shard cannot do its part alone.
fn several(context: &Context<'_, '_, '_>, target: Option<usize>, verb: &str) -> Option<Refusal> {
    if let Some(refusal) = crate::stage::unstageable(context).or_else(|| crate::stage::unlockable(context)) {
        return Some(refusal);
    }
    let analysis = context.analysis;
    let target = target.filter(|target| analysis.occurrences[*target].distributed().is_some())?;
    let together = analysis.together_with(target);
    let apart = analysis.distributed().any(|index| !together[index]);
    let breaks =
        analysis.blocks.get(analysis.occurrences[target].block).is_some_and(|block| block.preserves_undistributed);
    if apart || breaks || analysis.with {
        return Some(Refusal {
            hint: Some("Join on the distribution keys, or give the distribution key's value.".to_owned()),
            ..refuse(format!("{verb} over several shards must find all it reads on the same shard"))
        });
    }
    None
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
            return Some(Refusal {
                hint: Some("Delete the row and insert it with its new key.".to_owned()),
                position: Some(assignment.columns[position].name.span.start),
                ..refuse(format!("changing the distribution key \"{}\" is not supported", key.name))
            });
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
