//! SELECT over distributed tables.

use crate::island::island;
use crate::plan::{Gather, KeySource, Keys, Many, Merge, Plan, Refusal};
use crate::scan::Span;
use crate::stage::{stage, unstageable};
use crate::statement::{Context, refuse};
use crate::syntax::{Body, Query};

pub(crate) fn plan(context: &Context<'_, '_, '_>, query: &Query<'_>) -> Plan {
    if context.fits_on_shard() && is_one_key(&context.keys()) {
        let many = Many::Refuse(refuse("a single key has a single shard"));
        return context.sharded(many).unwrap_or_else(|| refuse("the statement names no distributed table").into());
    }
    let merge = merge(context, query);
    if context.fits_on_shard() {
        let many = merge.map_or_else(Many::Refuse, Many::Merge);
        if let Some(plan) = context.sharded(many) {
            return plan;
        }
        return crate::statement::refuse("the statement names no distributed table").into();
    }
    match merge {
        Ok(merge) => Plan::Gather(Gather { merge, access: context.access(), residue: context.residue() }),
        Err(refusal) => refusal.into(),
    }
}

/// A write to a table at home that reads distributed tables: it runs at home, over what the shards give.
pub(crate) fn plan_write_at_home(context: &Context<'_, '_, '_>, span: Span) -> Plan {
    let merge = match unstageable(context) {
        Some(refusal) => Err(refusal),
        None => stage(context, span),
    };
    match merge {
        Ok(merge) => {
            let merge = Merge { datafusion: false, ..merge };
            Plan::Gather(Gather { merge, access: context.access(), residue: context.residue() })
        }
        Err(refusal) => refusal.into(),
    }
}

/// One island, or a query over several fragments.
fn merge(context: &Context<'_, '_, '_>, query: &Query<'_>) -> Result<Merge, Refusal> {
    if let Some(refusal) = unstageable(context) {
        return Err(refusal);
    }
    let whole = context.analysis.queries.first().filter(|facts| std::ptr::eq(facts.query, query));
    if let Some(merge) = whole.and_then(|facts| island(context, facts, "f")) {
        return Ok(merge);
    }
    if let Body::Select(select) = &query.body
        && let Some(item) = select.items.iter().find(|item| Some(item.expr.span) == context.analysis.whole_row)
    {
        let refusal = refuse("whole rows of distributed tables cannot be selected from several shards");
        let hint = Some("Select the columns, or use to_jsonb().".to_owned());
        return Err(Refusal { hint, position: Some(item.span.start), ..refusal });
    }
    stage(context, query.span)
}

/// Whether one shard is left for certain.
pub(crate) fn is_one_key(keys: &Keys) -> bool {
    match keys {
        Keys::All => false,
        Keys::These(list) => {
            list.is_empty() || matches!(list.as_slice(), [KeySource::Literal(_) | KeySource::Parameter(_)])
        }
    }
}
