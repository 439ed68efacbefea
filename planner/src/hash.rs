//! PostgreSQL's extended hash functions under its partitioning seed: anybody can check in SQL where a row belongs, with [`sql_hash`].
//!
//! The functions are those of `src/common/hashfn.c` (Bob Jenkins' lookup3) and of each type's hash operator class. Values are read only
//! in forms that mean the same under every setting; everything else is left to PostgreSQL ([`KeyError::AskPostgres`]).

use serde::{Deserialize, Serialize};

use crate::directory::KeyType;

/// `HASH_PARTITION_SEED`
pub const SEED: u64 = 0x7A5B_2236_7996_DCFD;

/// A distribution key's value. Values of one type are in the order that PostgreSQL has for them (text: under "C"), numeric aside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum KeyValue {
    /// smallint, integer and bigint alike: equal values have equal hashes.
    Int(i64),
    Text(String),
    /// Without trailing blanks.
    Bpchar(String),
    Uuid([u8; 16]),
    /// Days since 2000-01-01.
    Date(i32),
    /// Microseconds since 2000-01-01 (in UTC, for timestamptz).
    Timestamp(i64),
    Numeric(NumericKey),
    Bytea(Vec<u8>),
}

/// What counts of a numeric for its hash: neither sign nor scale.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NumericKey {
    /// NaN and the infinities.
    Special,
    Zero,
    /// Digits to base 10000 without zeros at either end, and the first one's weight.
    Digits {
        digits: Vec<i16>,
        weight: i32,
    },
}

/// Why a key's value was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// PostgreSQL's input function has to read it; it may also reject it.
    #[error("the value has a form that only PostgreSQL reads")]
    AskPostgres,
    /// A parameter's type is one that PostgreSQL compares with the key as something else than the key's type: the value says nothing
    /// about the shard.
    #[error("the parameter's type does not tell the shard")]
    NotComparable,
    /// Not the binary form of the parameter's type (22P03).
    #[error("the value is not in the binary form of its type")]
    Malformed,
}

fn mix(a: &mut u32, b: &mut u32, c: &mut u32) {
    *a = a.wrapping_sub(*c) ^ c.rotate_left(4);
    *c = c.wrapping_add(*b);
    *b = b.wrapping_sub(*a) ^ a.rotate_left(6);
    *a = a.wrapping_add(*c);
    *c = c.wrapping_sub(*b) ^ b.rotate_left(8);
    *b = b.wrapping_add(*a);
    *a = a.wrapping_sub(*c) ^ c.rotate_left(16);
    *c = c.wrapping_add(*b);
    *b = b.wrapping_sub(*a) ^ a.rotate_left(19);
    *a = a.wrapping_add(*c);
    *c = c.wrapping_sub(*b) ^ b.rotate_left(4);
    *b = b.wrapping_add(*a);
}

fn finish(mut a: u32, mut b: u32, mut c: u32) -> u64 {
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    c = (c ^ b).wrapping_sub(b.rotate_left(24));
    (u64::from(b) << 32) | u64::from(c)
}

fn start(length: u32, seed: u64) -> (u32, u32, u32) {
    let initial = 0x9e37_79b9_u32.wrapping_add(length).wrapping_add(3_923_095);
    let (mut a, mut b, mut c) = (initial, initial, initial);
    if seed != 0 {
        a = a.wrapping_add((seed >> 32) as u32);
        b = b.wrapping_add(seed as u32);
        mix(&mut a, &mut b, &mut c);
    }
    (a, b, c)
}

/// `hash_bytes_uint32_extended`
fn hash_uint32(value: u32) -> u64 {
    let (a, b, c) = start(4, SEED);
    finish(a.wrapping_add(value), b, c)
}

/// `hash_bytes_extended`, as it is on little-endian machines.
fn hash_bytes(bytes: &[u8]) -> u64 {
    // Lengths beyond 4 GB do not exist in PostgreSQL.
    let (mut a, mut b, mut c) = start(bytes.len() as u32, SEED);
    let mut chunks = bytes.chunks_exact(12);
    for chunk in &mut chunks {
        a = a.wrapping_add(word(chunk, 0));
        b = b.wrapping_add(word(chunk, 4));
        c = c.wrapping_add(word(chunk, 8));
        mix(&mut a, &mut b, &mut c);
    }
    let mut rest = [0_u8; 12];
    let tail = chunks.remainder();
    rest[..tail.len()].copy_from_slice(tail);
    a = a.wrapping_add(word(&rest, 0));
    b = b.wrapping_add(word(&rest, 4));
    // The lowest byte of c is the length's.
    c = c.wrapping_add(word(&rest, 8) << 8);
    finish(a, b, c)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// `hashint8extended`
fn hash_int8(value: i64) -> u64 {
    let high = (value >> 32) as u32;
    let folded = value as u32 ^ if value >= 0 { high } else { !high };
    hash_uint32(folded)
}

/// The value's place in the hash space.
pub fn hash(value: &KeyValue) -> i64 {
    let hash = match value {
        KeyValue::Int(value) | KeyValue::Timestamp(value) => hash_int8(*value),
        KeyValue::Date(days) => hash_uint32(*days as u32),
        KeyValue::Text(text) | KeyValue::Bpchar(text) => hash_bytes(text.as_bytes()),
        KeyValue::Uuid(bytes) => hash_bytes(bytes),
        KeyValue::Bytea(bytes) => hash_bytes(bytes),
        KeyValue::Numeric(NumericKey::Special) => SEED,
        KeyValue::Numeric(NumericKey::Zero) => SEED.wrapping_sub(1),
        KeyValue::Numeric(NumericKey::Digits { digits, weight }) => {
            let bytes: Vec<u8> = digits.iter().flat_map(|digit| digit.to_le_bytes()).collect();
            hash_bytes(&bytes) ^ i64::from(*weight) as u64
        }
    };
    hash as i64
}

/// SQL that gives the same hash as [`hash`]; `literal` is an SQL expression, cast to the key's type.
pub fn sql_hash(key_type: KeyType, literal: &str) -> String {
    let seed = SEED as i64;
    match key_type {
        KeyType::Int2 => format!("pg_catalog.hashint8extended(({literal})::smallint, {seed})"),
        KeyType::Int4 => format!("pg_catalog.hashint8extended(({literal})::integer, {seed})"),
        KeyType::Int8 => format!("pg_catalog.hashint8extended(({literal})::bigint, {seed})"),
        KeyType::Text => format!("pg_catalog.hashtextextended(({literal})::text, {seed})"),
        KeyType::Bpchar => format!("pg_catalog.hashbpcharextended(({literal})::bpchar, {seed})"),
        KeyType::Uuid => format!("pg_catalog.uuid_hash_extended(({literal})::uuid, {seed})"),
        KeyType::Date => format!(
            "(SELECT pg_catalog.hashint4extended(CASE WHEN pg_catalog.isfinite(d) THEN d - date '2000-01-01' \
             WHEN d < date '2000-01-01' THEN -2147483648 ELSE 2147483647 END, {seed}) FROM (SELECT ({literal})::date) AS v (d))"
        ),
        KeyType::Timestamp => format!("pg_catalog.timestamp_hash_extended(({literal})::timestamp, {seed})"),
        KeyType::Timestamptz => {
            format!("pg_catalog.timestamp_hash_extended(({literal})::timestamptz AT TIME ZONE 'UTC', {seed})")
        }
        KeyType::Numeric => format!("pg_catalog.hash_numeric_extended(({literal})::numeric, {seed})"),
        // hashvarlenaextended cannot be called from SQL. Every valid value is read by `parse_text`: this only reports invalid ones.
        KeyType::Bytea => format!("pg_catalog.octet_length(({literal})::bytea)::bigint"),
    }
}

/// Reads a value in text form.
///
/// # Errors
/// [`KeyError::AskPostgres`] when it is not in a form that means the same under every setting.
pub fn parse_text(key_type: KeyType, text: &str) -> Result<KeyValue, KeyError> {
    let value = match key_type {
        KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => integer(text).map(KeyValue::Int),
        KeyType::Text => Some(KeyValue::Text(text.to_owned())),
        KeyType::Bpchar => Some(KeyValue::Bpchar(text.trim_end_matches(' ').to_owned())),
        KeyType::Uuid => uuid(text).map(KeyValue::Uuid),
        KeyType::Date => date(text).map(KeyValue::Date),
        KeyType::Timestamp => timestamp(text).map(KeyValue::Timestamp),
        KeyType::Timestamptz => timestamptz(text).map(KeyValue::Timestamp),
        KeyType::Numeric => numeric(text).map(KeyValue::Numeric),
        KeyType::Bytea => bytea(text).map(KeyValue::Bytea),
    };
    value.ok_or(KeyError::AskPostgres)
}

/// Reads a parameter in binary form; `parameter_type` is its type's OID (0: the key's own).
///
/// # Errors
/// [`KeyError::NotComparable`] when PostgreSQL would compare a parameter of this type with the key in another way than key with key;
/// [`KeyError::Malformed`] when the bytes are not of that type.
pub fn parse_binary(key_type: KeyType, parameter_type: u32, bytes: &[u8]) -> Result<KeyValue, KeyError> {
    match (key_type, parameter_type) {
        (KeyType::Int2 | KeyType::Int4 | KeyType::Int8, 0 | 20 | 21 | 23) => binary_integer(bytes).map(KeyValue::Int),
        (KeyType::Text, 0 | 25 | 705 | 1043) => utf8(bytes).map(|text| KeyValue::Text(text.to_owned())),
        (KeyType::Bpchar, 0 | 705 | 1042) => {
            utf8(bytes).map(|text| KeyValue::Bpchar(text.trim_end_matches(' ').to_owned()))
        }
        (KeyType::Uuid, 0 | 2950) => <[u8; 16]>::try_from(bytes).map(KeyValue::Uuid).map_err(|_| KeyError::Malformed),
        (KeyType::Date, 0 | 1082) => <[u8; 4]>::try_from(bytes)
            .map(|bytes| KeyValue::Date(i32::from_be_bytes(bytes)))
            .map_err(|_| KeyError::Malformed),
        (KeyType::Timestamp, 0 | 1114) | (KeyType::Timestamptz, 0 | 1184) => <[u8; 8]>::try_from(bytes)
            .map(|bytes| KeyValue::Timestamp(i64::from_be_bytes(bytes)))
            .map_err(|_| KeyError::Malformed),
        (KeyType::Numeric, 0 | 1700) => binary_numeric(bytes).map(KeyValue::Numeric),
        (KeyType::Numeric, 20 | 21 | 23) => {
            let text = binary_integer(bytes)?.to_string();
            numeric(&text).map(KeyValue::Numeric).ok_or(KeyError::Malformed)
        }
        (KeyType::Bytea, 0 | 17) => Ok(KeyValue::Bytea(bytes.to_vec())),
        _ => Err(KeyError::NotComparable),
    }
}

/// Whether a parameter of this type (its OID; 0: the key's own), given in text form, can be read with [`parse_text`]: only then does
/// PostgreSQL compare it with the key as a value of the key's type.
pub fn is_comparable(key_type: KeyType, parameter_type: u32) -> bool {
    match key_type {
        KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => matches!(parameter_type, 0 | 20 | 21 | 23),
        KeyType::Text => matches!(parameter_type, 0 | 25 | 705 | 1043),
        KeyType::Bpchar => matches!(parameter_type, 0 | 705 | 1042),
        KeyType::Uuid => matches!(parameter_type, 0 | 2950),
        KeyType::Date => matches!(parameter_type, 0 | 1082),
        KeyType::Timestamp => matches!(parameter_type, 0 | 1114),
        KeyType::Timestamptz => matches!(parameter_type, 0 | 1184),
        KeyType::Numeric => matches!(parameter_type, 0 | 20 | 21 | 23 | 1700),
        KeyType::Bytea => matches!(parameter_type, 0 | 17),
    }
}

fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let canonical = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if canonical { text.parse().ok() } else { None }
}

fn binary_integer(bytes: &[u8]) -> Result<i64, KeyError> {
    match bytes.len() {
        2 => Ok(i64::from(i16::from_be_bytes([bytes[0], bytes[1]]))),
        4 => Ok(i64::from(i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))),
        8 => <[u8; 8]>::try_from(bytes).map(i64::from_be_bytes).map_err(|_| KeyError::Malformed),
        _ => Err(KeyError::Malformed),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, KeyError> {
    std::str::from_utf8(bytes).map_err(|_| KeyError::Malformed)
}

fn uuid(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 || [8, 13, 18, 23].iter().any(|index| bytes[*index] != b'-') {
        return None;
    }
    let mut digits = bytes.iter().filter(|byte| **byte != b'-');
    let mut out = [0; 16];
    for slot in &mut out {
        let high = (*digits.next()? as char).to_digit(16)?;
        let low = (*digits.next()? as char).to_digit(16)?;
        *slot = (high * 16 + low) as u8;
    }
    if digits.next().is_some() { None } else { Some(out) }
}

/// Exactly `count` digits at the front, and the rest.
fn number(text: &str, count: usize) -> Option<(i64, &str)> {
    let (digits, rest) = text.split_at_checked(count)?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { Some((digits.parse().ok()?, rest)) } else { None }
}

/// `2020-01-31` at the front, as days since 2000-01-01, and the rest.
fn leading_date(text: &str) -> Option<(i64, &str)> {
    let (year, rest) = number(text, 4)?;
    let (month, rest) = number(rest.strip_prefix('-')?, 2)?;
    let (day, rest) = number(rest.strip_prefix('-')?, 2)?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    if year == 0 || day == 0 || day > length {
        return None;
    }
    // Days from 1 March of year 0, counting years from March.
    let (march_year, march_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = march_year * 365 + march_year.div_euclid(4) - march_year.div_euclid(100)
        + march_year.div_euclid(400)
        + (march_month * 153 + 2) / 5
        + day
        - 1;
    // 2000-01-01 is day 730425 of that count.
    Some((days - 730_425, rest))
}

fn date(text: &str) -> Option<i32> {
    let (days, rest) = leading_date(text)?;
    if rest.is_empty() { i32::try_from(days).ok() } else { None }
}

const DAY: i64 = 86_400_000_000;

/// `2020-01-31`, perhaps with ` 12:34:56` and up to six decimals: microseconds, and the rest.
fn leading_timestamp(text: &str) -> Option<(i64, &str)> {
    let (days, rest) = leading_date(text)?;
    let Some(time) = rest.strip_prefix(' ').or_else(|| rest.strip_prefix('T')) else { return Some((days * DAY, rest)) };
    let (hour, rest) = number(time, 2)?;
    let (minute, rest) = number(rest.strip_prefix(':')?, 2)?;
    let (second, mut rest) = number(rest.strip_prefix(':')?, 2)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut micros = 0;
    if let Some(decimals) = rest.strip_prefix('.') {
        let count = decimals.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 || count > 6 {
            return None;
        }
        let (value, behind) = number(decimals, count)?;
        micros = value * 10_i64.pow(6 - count as u32);
        rest = behind;
    }
    Some((days * DAY + ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros, rest))
}

fn timestamp(text: &str) -> Option<i64> {
    let (micros, rest) = leading_timestamp(text)?;
    rest.is_empty().then_some(micros)
}

/// Only with its offset: otherwise it depends on the session's time zone.
fn timestamptz(text: &str) -> Option<i64> {
    let (micros, rest) = leading_timestamp(text)?;
    if rest == "Z" {
        return Some(micros);
    }
    let sign = match rest.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, rest) = number(&rest[1..], 2)?;
    let (minutes, rest) = match rest.strip_prefix(':') {
        Some(minutes) => number(minutes, 2)?,
        None => (0, rest),
    };
    if hours > 14 || minutes > 59 || !rest.is_empty() {
        return None;
    }
    Some(micros - sign * (hours * 60 + minutes) * 60_000_000)
}

/// Plain decimal notation.
fn numeric(text: &str) -> Option<NumericKey> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) || text.len() > 1000 {
        return None;
    }
    // Whole groups of four on both sides of the point.
    let lead = (4 - whole.len() % 4) % 4;
    let trail = (4 - fraction.len() % 4) % 4;
    let all = format!("{}{whole}{fraction}{}", "0".repeat(lead), "0".repeat(trail));
    let groups: Vec<i16> = all
        .as_bytes()
        .chunks(4)
        .map(|group| group.iter().fold(0, |sum, digit| sum * 10 + i16::from(digit - b'0')))
        .collect();
    let weight = i32::try_from((whole.len() + lead) / 4).ok()? - 1;
    Some(numeric_key(&groups, weight))
}

fn numeric_key(groups: &[i16], weight: i32) -> NumericKey {
    let Some(first) = groups.iter().position(|group| *group != 0) else { return NumericKey::Zero };
    let last = groups.iter().rposition(|group| *group != 0).unwrap_or(first);
    NumericKey::Digits { digits: groups[first..=last].to_vec(), weight: weight - first as i32 }
}

/// The binary form: count, weight, sign, scale, digits.
fn binary_numeric(bytes: &[u8]) -> Result<NumericKey, KeyError> {
    let field = |index: usize| {
        bytes
            .get(index * 2..index * 2 + 2)
            .map(|pair| i16::from_be_bytes([pair[0], pair[1]]))
            .ok_or(KeyError::Malformed)
    };
    let count = usize::try_from(field(0)?).map_err(|_| KeyError::Malformed)?;
    let weight = i32::from(field(1)?);
    match field(2)? as u16 {
        0xC000 | 0xD000 | 0xF000 => return Ok(NumericKey::Special),
        0x0000 | 0x4000 => {}
        _ => return Err(KeyError::Malformed),
    }
    let groups: Vec<i16> = (0..count).map(|index| field(4 + index)).collect::<Result<_, _>>()?;
    if groups.iter().any(|group| !(0..10_000).contains(group)) {
        return Err(KeyError::Malformed);
    }
    Ok(numeric_key(&groups, weight))
}

/// Both input formats: `\x...` and escapes.
fn bytea(text: &str) -> Option<Vec<u8>> {
    if let Some(hex) = text.strip_prefix("\\x") {
        let mut out = Vec::with_capacity(hex.len() / 2);
        // Blanks may stand between pairs of digits.
        let mut digits = hex.bytes().peekable();
        while let Some(byte) = digits.next() {
            if matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                continue;
            }
            let high = (byte as char).to_digit(16)?;
            let low = (digits.next()? as char).to_digit(16)?;
            out.push((high * 16 + low) as u8);
        }
        return Some(out);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        if *byte != b'\\' {
            out.push(*byte);
            rest = after;
            continue;
        }
        if let Some(after) = after.strip_prefix(b"\\") {
            out.push(b'\\');
            rest = after;
            continue;
        }
        let (octal, after) = after.split_at_checked(3)?;
        let value = octal.iter().try_fold(0_u32, |sum, digit| Some(sum * 8 + (*digit as char).to_digit(8)?))?;
        out.push(u8::try_from(value).ok()?);
        rest = after;
    }
    Some(out)
}

#[cfg(test)]
mod tests;
