//! Distribution keys: which types there are, and the SQL that says where a row belongs.

use atoll_planner::directory::{KeyType, Shard};
use atoll_planner::quote_identifier;

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

/// The condition that holds for exactly the rows of a shard.
pub(super) fn condition(key_type: KeyType, column: &str, shard: &Shard) -> String {
    // The least bigint has no literal of its own type.
    format!("{} BETWEEN '{}'::bigint AND '{}'::bigint", hash(key_type, column), shard.hash_from, shard.hash_to)
}
