//! Writes to reference tables.

use crate::catalog::Volatility;
use crate::edits::Edits;
use crate::names::{Routine, Target};
use crate::plan::{Plan, ReferenceWrite, Refusal};
use crate::scan::Span;
use crate::statement::Context;
use crate::syntax::{InsertSource, Statement};

pub(crate) fn plan(context: &Context<'_, '_, '_>) -> Plan {
    let analysis = context.analysis;
    let written: Vec<_> = analysis.occurrences.iter().filter(|occurrence| occurrence.written).collect();
    let Some(table) = written.iter().find(|occurrence| occurrence.target == Target::Reference) else {
        return Refusal::unexpected("no reference table is written").into();
    };
    if written.iter().any(|occurrence| occurrence.full != table.full) {
        return Refusal::unsupported(
            "one statement cannot write a reference table and another table",
            "A write to a reference table runs on every group; what it writes beside it would be there several times.",
            "Write each table in a statement of its own.",
        )
        .into();
    }
    if analysis.distributed().next().is_some() {
        return Refusal::unsupported(
            "a write to a reference table cannot read distributed tables",
            "It runs on every group, and none has all rows of a distributed table.",
            "Read the distributed tables first, and write the rows in a second statement.",
        )
        .into();
    }
    let mut clock = Edits::default();
    context.mark_clock(&mut clock);
    let whole = Span { start: 0, end: context.sql.len() };
    Plan::ReferenceWrite(ReferenceWrite {
        table: table.full.clone(),
        deterministic: is_deterministic(context),
        marked: (!clock.is_empty()).then(|| clock.apply_text(context.sql, whole)),
        residue: context.residue(),
    })
}

/// Whether the text does the same on every group.
fn is_deterministic(context: &Context<'_, '_, '_>) -> bool {
    let analysis = context.analysis;
    let functions = analysis.functions.iter().all(|function| match &function.routine {
        Routine::BuiltIn(built_in) => {
            built_in.volatility == Volatility::Immutable || context.clock_mark(function.call).is_some()
        }
        Routine::User { .. } => false,
    });
    let relations = analysis.occurrences.iter().all(|occurrence| {
        occurrence.target == Target::Reference && occurrence.relation.is_some_and(|relation| !relation.has_triggers)
    });
    functions && relations && defaults_are_constant(context) && !limits_rows(context)
}

fn limits_rows(context: &Context<'_, '_, '_>) -> bool {
    crate::scan::tokens(context.sql)
        .iter()
        .any(|token| ["limit", "fetch", "offset", "over"].iter().any(|word| token.is_keyword(context.sql, word)))
}

/// The defaults of the columns that INSERT leaves out are constants.
fn defaults_are_constant(context: &Context<'_, '_, '_>) -> bool {
    let Statement::Insert(insert) = context.statement else { return true };
    let target = context.analysis.occurrences.iter().find(|occurrence| occurrence.written);
    let Some(relation) = target.and_then(|target| target.relation) else { return false };
    let values_default = match &insert.source {
        InsertSource::Values(rows) => {
            rows.iter().flat_map(|row| &row.values).any(|value| matches!(value.kind, crate::syntax::ExprKind::Default))
        }
        InsertSource::DefaultValues => true,
        InsertSource::Query(_) => false,
    };
    relation.columns.iter().all(|column| {
        let given =
            insert.columns.as_ref().is_some_and(|columns| columns.iter().any(|given| given.name.name == column.name));
        let constant = column.identity.is_none()
            && !column.default_is_volatile
            && column.default.as_ref().is_none_or(|default| {
                !default.contains('(') && !default.starts_with("CURRENT_") && !default.starts_with("LOCAL")
            });
        (given && !values_default) || constant
    })
}
