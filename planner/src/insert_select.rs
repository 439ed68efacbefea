//! INSERT ... SELECT whose rows change shards: the query's rows are gathered at home first, then go to the shards of their keys.

use crate::directory::ColocationId;
use crate::directory::{KeyColumn, TableName};
use crate::plan::{InsertSelect, Many, Plan, Refusal};
use crate::scan::Span;
use crate::statement::{Context, merge_of, plan};
use crate::syntax::{Expr, Insert, InsertSource, Overriding};

/// The plan for an INSERT with a query, when every part of it can be gathered.
pub(crate) fn gather(
    context: &Context<'_, '_, '_>,
    insert: &Insert<'_>,
    table: &TableName,
    colocation: ColocationId,
    key: &KeyColumn,
) -> Plan {
    let InsertSource::Query(query) = &insert.source else {
        return Refusal::unexpected("INSERT without a query").into();
    };
    let refused = |with: &str, why: &str, instead: &str| {
        let what = format!("INSERT ... SELECT that moves rows between shards is not supported with {with}");
        Plan::from(Refusal::unsupported(what, why, instead))
    };
    let behind = insert.on_conflict.iter().flat_map(|conflict| {
        conflict.exprs.iter().chain(conflict.assignments.iter().map(|assignment| &assignment.value))
    });
    let mut behind =
        behind.chain(insert.returning.iter().flat_map(|returning| &returning.items).map(|item| &item.expr));
    if behind.any(Expr::has_subquery) {
        return refused(
            "subqueries in ON CONFLICT or RETURNING",
            "They would run on each shard, for that shard's rows alone.",
            "Run the subqueries in statements of their own, and write their values in their places.",
        );
    }
    if insert.columns.iter().flatten().any(|column| column.indirect) {
        return refused(
            "parts of columns",
            "The query's rows go to their shards as whole values.",
            "Select the whole array or composite value.",
        );
    }
    let with = insert.with.as_ref().map_or("", |with| with.span.of(context.sql));
    let text = format!("{with} {}", context.sql.get(query.span.start..insert.tail).unwrap_or_default());
    let text = text.trim().to_owned();
    let tail = Span { start: insert.tail, end: insert.span.end };
    let tail = (insert.on_conflict.is_some() || insert.returning.is_some())
        .then(|| context.slice_edits(true).apply(context.sql, tail));
    let mut source = plan(&text, &context.facts);
    if let Plan::Sharded(sharded) = &mut source
        && matches!(sharded.many, Many::Refuse(_))
        && let Some(merge) = merge_of(&text, &context.facts)
    {
        // The query is for one shard, but its rows are for others.
        sharded.many = merge.map_or_else(Many::Refuse, Many::Merge);
    }
    if let Plan::Refuse(refusal) = source {
        // Its position is in the query alone.
        return Plan::Refuse(Refusal { position: None, ..refusal });
    }
    Plan::InsertSelect(InsertSelect {
        table: table.clone(),
        colocation,
        key: key.clone(),
        columns: insert
            .columns
            .as_ref()
            .map(|columns| columns.iter().map(|column| column.name.name.to_string()).collect()),
        overriding: insert.overriding.map(|overriding| match overriding {
            Overriding::System => "OVERRIDING SYSTEM VALUE",
            Overriding::User => "OVERRIDING USER VALUE",
        }),
        query: text,
        source: Box::new(source),
        tail,
        alias: insert.target.alias.as_ref().and_then(|alias| alias.name.as_ref()).map(|name| name.name.to_string()),
        returning: insert.returning.is_some(),
    })
}
