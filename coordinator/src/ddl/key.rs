//! Distribution keys: which types there are, and the SQL that says where a row belongs.

use atoll_planner::directory::{Colocation, KeyType, Method};
use atoll_planner::{quote_identifier, quote_literal};

/// The seed of PostgreSQL's own hash partitioning.
const SEED: &str = "8816678312871386365";

/// The key type of a column whose type prints so, without modifiers; `None` for types that cannot be keys.
pub(super) fn type_of(type_name: &str) -> Option<KeyType> {
    Some(match type_name {
        "smallint" => KeyType::Int2,
        "integer" => KeyType::Int4,
        "bigint" => KeyType::Int8,
        "text" | "character varying" => KeyType::Text,
        "character" | "bpchar" => KeyType::Bpchar,
        "uuid" => KeyType::Uuid,
        "date" => KeyType::Date,
        "timestamp without time zone" => KeyType::Timestamp,
        "timestamp with time zone" => KeyType::Timestamptz,
        "numeric" => KeyType::Numeric,
        "bytea" => KeyType::Bytea,
        _ => return None,
    })
}

/// The SQL expression for the hash of a key column, as PostgreSQL's own hash partitioning computes it.
fn hash(key_type: KeyType, column: &str) -> String {
    let column = quote_identifier(column);
    match key_type {
        KeyType::Int2 => format!("hashint2extended({column}, {SEED})"),
        KeyType::Int4 => format!("hashint4extended({column}, {SEED})"),
        KeyType::Int8 => format!("hashint8extended({column}, {SEED})"),
        KeyType::Text => format!("hashtextextended({column}, {SEED})"),
        KeyType::Bpchar => format!("hashbpcharextended({column}, {SEED})"),
        KeyType::Uuid => format!("uuid_hash_extended({column}, {SEED})"),
        KeyType::Timestamp => format!("timestamp_hash_extended({column}, {SEED})"),
        // The same eight bytes: microseconds since 2000-01-01 UTC.
        KeyType::Timestamptz => format!("timestamp_hash_extended({column} AT TIME ZONE 'UTC', {SEED})"),
        KeyType::Numeric => format!("hash_numeric_extended({column}, {SEED})"),
        // Their hash functions cannot be called by SQL. An array of one element hashes to 31 more than the element does, wrapping around.
        KeyType::Date | KeyType::Bytea => {
            let array = format!("hash_array_extended(ARRAY[{column}], {SEED})");
            format!(
                "CASE WHEN {array} < '-9223372036854775777'::bigint \
                 THEN ({array} + 9223372036854775807) + 9223372036854775778 \
                 ELSE {array} - 31 END"
            )
        }
    }
}

/// The condition that holds for exactly the rows that belong to the shard at this position.
pub(crate) fn condition(colocation: &Colocation, column: &str, position: usize) -> String {
    let key_type = colocation.key_type.unwrap_or(KeyType::Int8);
    match colocation.method {
        Method::Schema => "TRUE".to_owned(),
        Method::Range => {
            let ranges: Vec<String> = colocation
                .ranges
                .iter()
                .enumerate()
                .filter(|(_, entry)| entry.shard == position)
                .map(|(index, entry)| {
                    let edge =
                        |index: usize| colocation.ranges.get(index)?.from.as_ref().map(|edge| edge.text.as_str());
                    range_condition(
                        key_type,
                        column,
                        entry.from.as_ref().map(|edge| edge.text.as_str()),
                        edge(index + 1),
                    )
                })
                .collect();
            if ranges.is_empty() { "FALSE".to_owned() } else { format!("({})", ranges.join(" OR ")) }
        }
        Method::Hash | Method::Directory => {
            let hash = hash(key_type, column);
            let listed = |here: bool| {
                let mut hashes: Vec<String> = colocation
                    .assigned
                    .iter()
                    .filter(|(_, shard)| (**shard == position) == here)
                    .map(|(hash, _)| hash.to_string())
                    .collect();
                hashes.sort();
                (!hashes.is_empty()).then(|| format!("'{{{}}}'::bigint[]", hashes.join(",")))
            };
            let mut condition = match colocation.shards[position].hashes {
                // The least bigint has no literal of its own type.
                Some(hashes) => format!("{hash} BETWEEN '{}'::bigint AND '{}'::bigint", hashes.from, hashes.to),
                None => "FALSE".to_owned(),
            };
            if let Some(elsewhere) = listed(false) {
                condition = format!("({condition} AND {hash} <> ALL ({elsewhere}))");
            }
            match listed(true) {
                Some(here) => format!("({condition} OR {hash} = ANY ({here}))"),
                None => condition,
            }
        }
    }
}

/// How keys are compared by order: the type that their literals are read as, and the collation under which they are compared.
fn order_of(key_type: KeyType) -> (&'static str, &'static str) {
    const BYTEWISE: &str = " COLLATE \"C\"";
    match key_type {
        KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => ("bigint", ""),
        KeyType::Text => ("text", BYTEWISE),
        KeyType::Bpchar => ("bpchar", BYTEWISE),
        KeyType::Uuid => ("uuid", ""),
        KeyType::Date => ("date", ""),
        KeyType::Timestamp => ("timestamp", ""),
        KeyType::Timestamptz => ("timestamptz", ""),
        KeyType::Numeric => ("numeric", ""),
        KeyType::Bytea => ("bytea", ""),
    }
}

/// SQL that compares a key, an expression of its type, with the edge of a range.
fn compared(key_type: KeyType, key: &str, operator: &str, edge: &str) -> String {
    let (cast, collation) = order_of(key_type);
    format!("{key}{collation} {operator} {}::{cast}", quote_literal(edge))
}

/// The condition that holds for rows with keys from one edge, included, to another, excluded.
pub(super) fn range_condition(key_type: KeyType, column: &str, from: Option<&str>, to: Option<&str>) -> String {
    let column = quote_identifier(column);
    let side = |operator: &str, edge: Option<&str>| edge.map(|edge| compared(key_type, &column, operator, edge));
    let sides: Vec<String> = [side(">=", from), side("<", to)].into_iter().flatten().collect();
    if sides.is_empty() { "TRUE".to_owned() } else { format!("({})", sides.join(" AND ")) }
}

/// SQL for whether a key, in text, is at or above an edge.
pub(crate) fn not_below(key_type: KeyType, key: &str, edge: &str) -> String {
    let (cast, _) = order_of(key_type);
    compared(key_type, &format!("{}::{cast}", quote_literal(key)), ">=", edge)
}

/// The condition that holds for rows whose key has this hash.
pub(super) fn hash_condition(key_type: KeyType, column: &str, value: i64) -> String {
    format!("{} = '{value}'::bigint", hash(key_type, column))
}
