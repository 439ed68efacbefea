//! SELECT over distributed tables.

use crate::island::island;
use crate::plan::{Gather, KeySource, Keys, Many, Plan};
use crate::stage::stage;
use crate::statement::{Context, refuse};
use crate::syntax::Query;

pub(crate) fn plan(context: &Context<'_, '_, '_>, query: &Query<'_>) -> Plan {
    if context.fits_on_shard() && is_one_key(&context.keys()) {
        let many = Many::Refuse(refuse("a single key has a single shard"));
        return context.sharded(many).unwrap_or_else(|| refuse("the statement names no distributed table").into());
    }
    let merge = island(context, query).map_or_else(|| stage(context, query), Ok);
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

/// Whether one shard is left for certain.
pub(crate) fn is_one_key(keys: &Keys) -> bool {
    match keys {
        Keys::All => false,
        Keys::These(list) => {
            list.is_empty() || matches!(list.as_slice(), [KeySource::Literal(_) | KeySource::Parameter(_)])
        }
    }
}
