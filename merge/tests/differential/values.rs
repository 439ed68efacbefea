//! Values to try: the edges of each type, and random ones.

use atoll_merge::PgType::{self, *};
use rand::Rng;
use rand::rngs::StdRng;

use crate::lab::TextRow;

/// The edges of a type, as PostgreSQL reads them.
pub fn edges(ty: PgType) -> &'static [&'static str] {
    match ty {
        Bool => &["t", "f"],
        Int2 => &["-32768", "32767", "0", "1", "-1", "2", "7", "-7", "100", "182"],
        Int4 => &["-2147483648", "2147483647", "0", "1", "-1", "2", "7", "-7", "32768", "46341", "-32769"],
        Int8 => &[
            "-9223372036854775808",
            "9223372036854775807",
            "0",
            "1",
            "-1",
            "2",
            "7",
            "-7",
            "2147483648",
            "-2147483649",
            "3037000500",
            "9007199254740993",
            "-32769",
        ],
        Oid => &["0", "1", "4294967295", "2147483648"],
        Float4 => &[
            "NaN",
            "Infinity",
            "-Infinity",
            "0",
            "-0",
            "1",
            "-1.5",
            "2.5",
            "3.4028235e38",
            "-3.4028235e38",
            "1e-45",
            "1e-38",
            "32767.5",
            "2147483647",
            "9.223372e18",
            "0.1",
            "1e10",
            "123456.7",
            "-0.5",
        ],
        Float8 => &[
            "NaN",
            "Infinity",
            "-Infinity",
            "0",
            "-0",
            "1",
            "-1.5",
            "2.5",
            "1.7976931348623157e308",
            "-1.7976931348623157e308",
            "5e-324",
            "1e-310",
            "1e200",
            "1e-200",
            "32767.5",
            "-32768.5",
            "2147483647.5",
            "9223372036854775807",
            "9223372036854774784",
            "0.1",
            "1e15",
            "123456789.123456789",
            "-0.5",
            "1e39",
            "1e-50",
        ],
        Numeric => &[
            "NaN",
            "Infinity",
            "-Infinity",
            "0",
            "0.00",
            "1",
            "1.0",
            "1.00",
            "-1.5",
            "0.5",
            "2.5",
            "-2.5",
            "3",
            "0.00000000000000000001",
            "123456789012345678901234567890.123",
            "9223372036854775807",
            "9223372036854775807.5",
            "-9223372036854775808.4",
            "-9223372036854775808.5",
            "32767.5",
            "2147483647.4999",
            "99999999999999999999",
            "-0.0001",
            "10000",
            "9999",
            "0.9999",
            "1e400",
            "-1e-400",
            "7.0000000",
        ],
        Text | Varchar => &[
            "", "a", "A", "ab", "a ", " a", "a\t", "é", "ä", "z", "😀", "~", "aa", "b", "\u{7f}", "\u{ffff}", "Z", "0",
        ],
        Bpchar => &["", "a", "a  ", "a ", "A", "ab", "ab  ", "a b", "é", "é ", "a\t", "b", " ", "   "],
        Name => &["", "a", "A", "ab", "é", "pg_class", "_x"],
        Bytea => &["\\x", "\\x00", "\\x0000", "\\xff", "\\xff00", "\\x61", "\\x7f", "\\x80"],
        Date => &[
            "infinity",
            "-infinity",
            "1970-01-01",
            "2000-01-01",
            "1999-12-31",
            "0001-01-01 BC",
            "5874897-12-31",
            "4713-01-01 BC",
            "2024-02-29",
        ],
        Time => &["00:00:00", "24:00:00", "23:59:59.999999", "12:34:56.7", "00:00:00.000001"],
        Timestamp => &[
            "infinity",
            "-infinity",
            "1970-01-01 00:00:00",
            "2000-01-01 00:00:00.000001",
            "1999-12-31 23:59:59.5",
            "294246-01-01 00:00:00",
            "4713-01-01 00:00:00 BC",
            "2024-02-29 12:00:00",
        ],
        Timestamptz => &[
            "infinity",
            "-infinity",
            "1970-01-01 00:00:00+00",
            "2000-01-01 00:00:00.000001+00",
            "1999-12-31 23:59:59.5+00",
            "294246-01-01 00:00:00+00",
            "0001-01-01 00:00:00+00",
            "2024-02-29 12:00:00+00",
        ],
        Uuid => &[
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "80000000-0000-0000-0000-000000000000",
            "7fffffff-ffff-ffff-ffff-ffffffffffff",
            "123e4567-e89b-12d3-a456-426614174000",
        ],
        Unknown | Other(_) => &[],
    }
}

/// A random value of a type; NULL now and then, an edge often.
pub fn any(ty: PgType, random: &mut StdRng) -> Option<String> {
    let edges = edges(ty);
    match random.random_range(0..10) {
        0 => None,
        1..=4 => Some(edges[random.random_range(0..edges.len())].to_owned()),
        _ => Some(ordinary(ty, random)),
    }
}

/// A random value away from the edges: sums and products mostly fit.
pub fn ordinary(ty: PgType, random: &mut StdRng) -> String {
    match ty {
        Int2 => random.random_range(-200i16..200).to_string(),
        Int4 => random.random_range(-50_000i32..50_000).to_string(),
        Int8 => random.random_range(-4_000_000_000i64..4_000_000_000).to_string(),
        Float4 => random.random_range(-1000.0f32..1000.0).to_string(),
        Float8 => random.random_range(-1e9f64..1e9).to_string(),
        Numeric => {
            let digits = random.random_range(-1_000_000_000_000i64..1_000_000_000_000);
            let scale = random.random_range(0..12u32);
            let sign = if digits < 0 { "-" } else { "" };
            let divisor = 10u64.pow(scale);
            let magnitude = digits.unsigned_abs();
            if scale == 0 {
                digits.to_string()
            } else {
                format!("{sign}{}.{:0width$}", magnitude / divisor, magnitude % divisor, width = scale as usize)
            }
        }
        Date => format!(
            "{:04}-{:02}-{:02}",
            random.random_range(1900..2100),
            random.random_range(1..13),
            random.random_range(1..29)
        ),
        Text | Varchar | Name => {
            (0..random.random_range(1..5)).map(|_| char::from(random.random_range(b'A'..=b'z'))).collect()
        }
        _ => {
            let edges = edges(ty);
            edges[random.random_range(0..edges.len())].to_owned()
        }
    }
}

/// Every pair of edges (NULL is one), and random pairs.
pub fn pairs(ty: PgType, random: &mut StdRng) -> Vec<TextRow> {
    let mut all: Vec<Option<String>> = edges(ty).iter().map(|text| Some((*text).to_owned())).collect();
    all.push(None);
    let mut pairs: Vec<TextRow> =
        all.iter().flat_map(|left| all.iter().map(|right| vec![left.clone(), right.clone()])).collect();
    pairs.extend((0..60).map(|_| vec![any(ty, random), any(ty, random)]));
    pairs
}

/// Every edge, NULL, and random values.
pub fn singles(ty: PgType, random: &mut StdRng) -> Vec<TextRow> {
    let mut all: Vec<TextRow> = edges(ty).iter().map(|text| vec![Some((*text).to_owned())]).collect();
    all.push(vec![None]);
    all.extend((0..60).map(|_| vec![any(ty, random)]));
    all
}
