//! Random values: small domains, so that joins find partners and groups have members.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::ast::{Ty, literal};
use super::schema::Table;

const WORDS: [&str; 14] = ["", "a", "b", "ab", "abc", "B", "x y", "é", "o'clock", "10", "9", " pad ", "%", "zebra"];
const DOCUMENTS: [&str; 7] = [
    "{}",
    "{\"a\": 1}",
    "{\"a\": 2, \"b\": \"x\"}",
    "{\"b\": [1, 2]}",
    "[1, 2, 3]",
    "null",
    "{\"a\": null, \"c\": {\"d\": 1.5}}",
];
const ARRAYS: [&str; 6] = ["{}", "{1}", "{1,2,3}", "{3,NULL}", "{-1,7}", "{2,2}"];

/// A value of that type, as its text.
#[must_use]
pub fn value(rng: &mut StdRng, ty: Ty) -> String {
    let pick = |rng: &mut StdRng, from: &[&str]| from.choose(rng).copied().unwrap_or_default().to_owned();
    match ty {
        Ty::Int2 | Ty::Int4 | Ty::Int8 => rng.random_range(-4..16).to_string(),
        // Of fixed scale: equal numbers then have one text.
        Ty::Numeric => format!("{}.{}", rng.random_range(0..8), ["00", "50", "25"][rng.random_range(0..3)]),
        // Multiples of a quarter: their sums are exact in any order.
        Ty::Float8 => (f64::from(rng.random_range(-20..40)) / 4.0).to_string(),
        Ty::Text => pick(rng, &WORDS),
        Ty::Bool => rng.random_bool(0.5).to_string(),
        Ty::Date => format!("2024-0{}-{:02}", rng.random_range(1..4), [1, 15, 29][rng.random_range(0..3)]),
        Ty::Timestamp => {
            format!("{} {}", value(rng, Ty::Date), pick(rng, &["00:00:00", "12:30:00", "23:59:59.123456"]))
        }
        Ty::TimestampTz => format!("{}{}", value(rng, Ty::Timestamp), pick(rng, &["+00", "-05", "+05:30"])),
        Ty::Uuid => format!("00000000-0000-4000-8000-{:012x}", rng.random_range(0..14_u64) * 0x11_1111),
        Ty::Jsonb => pick(rng, &DOCUMENTS),
        Ty::IntArray => pick(rng, &ARRAYS),
        Ty::Interval => pick(rng, &["1 day", "02:00:00", "-1 mons", "00:30:00.5", "1 year 3 days"]),
        Ty::Bytea => pick(rng, &["\\x", "\\x00", "\\xdeadbeef", "\\x6100"]),
        Ty::Mood => pick(rng, &["sad", "ok", "happy", "Not so"]),
    }
}

/// A value at the edge of the type's range.
#[must_use]
pub fn extreme_value(rng: &mut StdRng, ty: Ty) -> String {
    let choices: &[&str] = match ty {
        Ty::Int2 => &["-32768", "32767"],
        Ty::Int4 => &["-2147483648", "2147483647"],
        Ty::Int8 => &["-9223372036854775808", "9223372036854775807", "4294967296"],
        Ty::Numeric => &["NaN", "123456789012345678901234567890.5", "-0.000001", "1e10"],
        Ty::Float8 => &["NaN", "Infinity", "-Infinity", "-0", "1e300", "-1e-300"],
        Ty::Text => &["日本", "🐚", "a\tb", "very long text that goes on for a while, longer than a short one does"],
        Ty::Date => &["infinity", "-infinity", "0001-01-01", "9999-12-31", "0044-03-15 BC"],
        Ty::Timestamp => &["infinity", "-infinity", "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"],
        Ty::TimestampTz => &["infinity", "-infinity", "1900-01-01 00:00:00+00", "9999-12-31 00:00:00+00"],
        _ => return value(rng, ty),
    };
    choices.choose(rng).copied().unwrap_or_default().to_owned()
}

/// Fills a table with up to 200 rows.
pub fn fill(rng: &mut StdRng, table: &mut Table) {
    let count = match rng.random_range(0..20) {
        0 => 0,
        1 => 1,
        2..=10 => rng.random_range(2..20),
        11..=17 => rng.random_range(20..60),
        _ => rng.random_range(60..=200),
    };
    for number in 0..count {
        let row = table.columns.iter().enumerate().map(|(index, column)| {
            if index == 0 {
                return (number - 3).to_string();
            }
            if !column.not_null && rng.random_bool(0.15) && !is_key(table, &column.name) {
                return "NULL".to_owned();
            }
            let extreme = column.extreme && rng.random_bool(0.3);
            let value = if extreme { extreme_value(rng, column.ty) } else { value(rng, column.ty) };
            literal(column.ty, &value)
        });
        let row = row.collect();
        table.rows.push(row);
    }
}

fn is_key(table: &Table, column: &str) -> bool {
    matches!(&table.kind, super::schema::Kind::Distributed(key) if key == column)
}
