//! Lists of names in the text of Atoll's own queries, and in their results.

use atoll_planner::directory::TableName;
use atoll_planner::{quote_identifier, quote_literal};

/// `schema.name`, quoted.
pub(super) fn qualified(name: &TableName) -> String {
    format!("{}.{}", quote_identifier(&name.schema), quote_identifier(&name.name))
}

/// `'schema.name'::regclass`
pub(super) fn regclass(name: &TableName) -> String {
    format!("{}::regclass", quote_literal(&qualified(name)))
}

/// `(VALUES ('schema', 'name'), ...) AS listed (schema, name)`, of at least one name.
pub(super) fn values<'a>(names: impl IntoIterator<Item = &'a TableName>) -> String {
    let rows: Vec<String> = names
        .into_iter()
        .map(|name| format!("({}, {})", quote_literal(&name.schema), quote_literal(&name.name)))
        .collect();
    format!("(VALUES {}) AS listed (schema, name)", rows.join(", "))
}
