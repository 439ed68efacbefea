//! SELECT over distributed tables.

use crate::island::island;
use crate::plan::{Gather, KeySource, Keys, Many, Merge, Plan, Refusal};
use crate::scan::Span;
use crate::stage::{stage, unlockable, unstageable};
use crate::statement::Context;
use crate::syntax::{Query, Statement};

pub(crate) fn plan(context: &Context<'_, '_, '_>, query: &Query<'_>) -> Plan {
    if context.fits_on_shard() && is_one_key(&context.keys()) {
        let many = Many::Refuse(Refusal::unexpected("a single key has a single shard"));
        return context
            .sharded(many)
            .unwrap_or_else(|| Refusal::unexpected("the statement names no distributed table").into());
    }
    let merge = merge(context, query);
    if context.fits_on_shard() {
        let many = merge.map_or_else(Many::Refuse, Many::Merge);
        if let Some(plan) = context.sharded(many) {
            return plan;
        }
        return Refusal::unexpected("the statement names no distributed table").into();
    }
    match merge {
        Ok(merge) => Plan::Gather(Gather { merge, access: context.access(), residue: context.residue() }),
        Err(refusal) => refusal.into(),
    }
}

/// A write to a table at home that reads distributed tables: it runs at home, over what the shards give.
pub(crate) fn plan_write_at_home(context: &Context<'_, '_, '_>, span: Span) -> Plan {
    let merge = match unstageable(context).or_else(|| unlockable(context)) {
        Some(refusal) => Err(refusal),
        None => stage(context, span),
    };
    match merge {
        Ok(merge) => {
            let merge = Merge { datafusion: false, joined: None, grouped: None, ..merge };
            Plan::Gather(Gather { merge, access: context.access(), residue: context.residue() })
        }
        Err(refusal) => refusal.into(),
    }
}

/// A statement on tables at home (or with functions that read them) and system catalogs, which are in the catalog database: it runs at home,
/// over the catalogs' rows.
pub(crate) fn plan_beside_catalogs(context: &Context<'_, '_, '_>) -> Plan {
    match context.statement {
        Statement::Query(query) => plan_write_at_home(context, query.span),
        Statement::Insert(insert) => plan_write_at_home(context, insert.span),
        Statement::Update(update) => plan_write_at_home(context, update.span),
        Statement::Delete(delete) => plan_write_at_home(context, delete.span),
        Statement::Merge(merge) => plan_write_at_home(context, merge.span),
    }
}

/// One island, or a query over several fragments.
pub(crate) fn merge(context: &Context<'_, '_, '_>, query: &Query<'_>) -> Result<Merge, Refusal> {
    if let Some(refusal) = unstageable(context) {
        return Err(refusal);
    }
    let whole = context.analysis.queries.first().filter(|facts| std::ptr::eq(facts.query, query));
    let inner_locks =
        context.analysis.queries.iter().any(|facts| !std::ptr::eq(facts.query, query) && !facts.query.locks.is_empty());
    if let Some(merge) = whole.and_then(|facts| island(context, facts, "f"))
        && !inner_locks
    {
        return Ok(merge);
    }
    if let Some(refusal) = unlockable(context) {
        return Err(refusal);
    }
    stage(context, query.span)
}

/// Whether one shard is left for certain.
pub(crate) fn is_one_key(keys: &Keys) -> bool {
    match keys {
        Keys::All => false,
        Keys::These(list) => {
            list.is_empty()
                || matches!(list.as_slice(), [KeySource::Literal(_) | KeySource::Parameter(_) | KeySource::Whole])
        }
    }
}
