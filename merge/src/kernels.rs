//! What PostgreSQL's operators, casts and functions do to single values.
//!
//! Follows PostgreSQL 15's `int.c`, `int8.c`, `float.c`, `numeric.c` and `varchar.c` in results and errors. Every kernel is strict: its callers
//! deal with NULL.

use std::cmp::Ordering;

use atoll_wire::numeric::Numeric;

use crate::datum::Datum;
use crate::error::SqlError;
use crate::types::PgType;

type Result<T> = std::result::Result<T, SqlError>;

/// A value of a type that the compiler should not have let come here.
fn unexpected(what: &str, ty: PgType) -> SqlError {
    SqlError::new("XX000", format!("no {what} for type {}", ty.name()))
}

/// Order of two values of one type, as the type's btree operator class has it (text by its bytes).
///
/// # Errors
/// XX000 when the values are not of one comparable type.
pub fn compare(ty: PgType, left: &Datum<'_>, right: &Datum<'_>) -> Result<Ordering> {
    Ok(match (left, right) {
        (Datum::Bool(left), Datum::Bool(right)) => left.cmp(right),
        (Datum::Int(left), Datum::Int(right)) => left.cmp(right),
        (Datum::Float4(left), Datum::Float4(right)) => float_order(f64::from(*left), f64::from(*right)),
        (Datum::Float8(left), Datum::Float8(right)) => float_order(*left, *right),
        (Datum::Numeric(left), Datum::Numeric(right)) => left.cmp(right),
        (Datum::Text(left), Datum::Text(right)) if ty == PgType::Bpchar => {
            left.trim_end_matches(' ').as_bytes().cmp(right.trim_end_matches(' ').as_bytes())
        }
        (Datum::Text(left), Datum::Text(right)) => left.as_bytes().cmp(right.as_bytes()),
        (Datum::Bytes(left), Datum::Bytes(right)) => left.cmp(right),
        _ => return Err(unexpected("comparison", ty)),
    })
}

/// NaN equals itself and is above everything; the zeros are equal.
pub fn float_order(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right).unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()))
}

/// Whether an order satisfies a comparison operator.
pub fn satisfies(symbol: &str, order: Ordering) -> bool {
    match symbol {
        "=" => order.is_eq(),
        "<>" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }
}

/// `left symbol right` for one of [`crate::verified::ARITHMETIC`].
///
/// # Errors
/// 22003 out of range, 22012 division by zero.
pub fn arithmetic(symbol: &str, ty: PgType, left: &Datum<'_>, right: &Datum<'_>) -> Result<Datum<'static>> {
    Ok(match (left, right) {
        (Datum::Int(left), Datum::Int(right)) => Datum::Int(integer_arithmetic(symbol, ty, *left, *right)?),
        (Datum::Float4(left), Datum::Float4(right)) => {
            let result = match symbol {
                "+" => left + right,
                "-" => left - right,
                "*" => left * right,
                _ => left / right,
            };
            check_float(symbol, f64::from(*left), f64::from(*right), f64::from(result))?;
            Datum::Float4(result)
        }
        (Datum::Float8(left), Datum::Float8(right)) => {
            let result = match symbol {
                "+" => left + right,
                "-" => left - right,
                "*" => left * right,
                _ => left / right,
            };
            check_float(symbol, *left, *right, result)?;
            Datum::Float8(result)
        }
        (Datum::Numeric(left), Datum::Numeric(right)) => Datum::Numeric(match symbol {
            "+" => left.add(right)?,
            "-" => left.sub(right)?,
            "*" => left.mul(right)?,
            _ => left.div(right)?,
        }),
        _ => return Err(unexpected("arithmetic", ty)),
    })
}

fn integer_arithmetic(symbol: &str, ty: PgType, left: i64, right: i64) -> Result<i64> {
    let result = match symbol {
        "+" => left.checked_add(right),
        "-" => left.checked_sub(right),
        "*" => left.checked_mul(right),
        _ if right == 0 => return Err(SqlError::division_by_zero()),
        "/" => left.checked_div(right),
        // The smallest integer over -1 overflows in division only.
        _ => Some(left.wrapping_rem(right)),
    };
    result.ok_or_else(|| SqlError::out_of_range(ty.name())).and_then(|value| fit(ty, value))
}

/// `value` if it is in the range of the integer type `ty`.
fn fit(ty: PgType, value: i64) -> Result<i64> {
    let fits = match ty {
        PgType::Int2 => i16::try_from(value).is_ok(),
        PgType::Int4 => i32::try_from(value).is_ok(),
        _ => true,
    };
    if fits { Ok(value) } else { Err(SqlError::out_of_range(ty.name())) }
}

fn overflow() -> SqlError {
    SqlError::new("22003", "value out of range: overflow")
}

fn underflow() -> SqlError {
    SqlError::new("22003", "value out of range: underflow")
}

/// The errors of float arithmetic, by operands and result.
pub fn check_float(symbol: &str, left: f64, right: f64, result: f64) -> Result<()> {
    match symbol {
        "/" => {
            if right == 0.0 && !left.is_nan() {
                return Err(SqlError::division_by_zero());
            }
            if result.is_infinite() && !left.is_infinite() {
                return Err(overflow());
            }
            if result == 0.0 && left != 0.0 && !right.is_infinite() {
                return Err(underflow());
            }
        }
        _ => {
            if result.is_infinite() && !left.is_infinite() && !right.is_infinite() {
                return Err(overflow());
            }
            if symbol == "*" && result == 0.0 && left != 0.0 && right != 0.0 {
                return Err(underflow());
            }
        }
    }
    Ok(())
}

/// `value::to` for one of [`crate::verified::CASTS`].
///
/// # Errors
/// 22003 out of range, 0A000 for NaN or an infinity as an integer.
pub fn cast<'a>(from: PgType, to: PgType, value: Datum<'a>) -> Result<Datum<'a>> {
    use PgType::{Float4, Float8, Int2, Int4, Int8, Name, Text, Varchar};
    Ok(match (value, to) {
        (Datum::Int(value), Int2 | Int4 | Int8) => Datum::Int(fit(to, value)?),
        (Datum::Int(value), PgType::Numeric) => Datum::Numeric(Numeric::from_i64(value)),
        (Datum::Int(value), Float4) => Datum::Float4(value as f32),
        (Datum::Int(value), Float8) => Datum::Float8(value as f64),
        (Datum::Numeric(value), Int2 | Int4 | Int8) => Datum::Int(numeric_to_integer(&value, to)?),
        (Datum::Numeric(value), Float8) => Datum::Float8(parse_float(&value.to_string(), f64::is_infinite, Float8)?),
        (Datum::Numeric(value), Float4) => Datum::Float4(parse_float(&value.to_string(), f32::is_infinite, Float4)?),
        (Datum::Float4(value), Float8) => Datum::Float8(f64::from(value)),
        (Datum::Float8(value), Float4) => {
            let narrow = value as f32;
            if narrow.is_infinite() && !value.is_infinite() {
                return Err(overflow());
            }
            if narrow == 0.0 && value != 0.0 {
                return Err(underflow());
            }
            Datum::Float4(narrow)
        }
        (Datum::Float4(value), Int2 | Int4 | Int8) => Datum::Int(float_to_integer(f64::from(value), to)?),
        (Datum::Float8(value), Int2 | Int4 | Int8) => Datum::Int(float_to_integer(value, to)?),
        (Datum::Float4(value), PgType::Numeric) => Datum::Numeric(float_to_numeric(f64::from(value), 6)?),
        (Datum::Float8(value), PgType::Numeric) => Datum::Numeric(float_to_numeric(value, 15)?),
        (value @ Datum::Text(_), Text | Varchar) if matches!(from, Text | Varchar | Name) => value,
        _ => return Err(unexpected(&format!("cast to {}", to.name()), from)),
    })
}

fn numeric_to_integer(value: &Numeric, to: PgType) -> Result<i64> {
    let special = if value.is_nan() { Some("NaN") } else { value.dscale().is_none().then_some("infinity") };
    if let Some(special) = special {
        return Err(SqlError::new("0A000", format!("cannot convert {special} to {}", to.name())));
    }
    let rounded = value.round(0)?;
    rounded.to_i64().ok_or_else(|| SqlError::out_of_range(to.name())).and_then(|value| fit(to, value))
}

fn float_to_integer(value: f64, to: PgType) -> Result<i64> {
    let rounded = value.round_ties_even();
    // Both bounds are powers of two, exact as floats; the upper one is just out of range.
    let bound = match to {
        PgType::Int2 => 2f64.powi(15),
        PgType::Int4 => 2f64.powi(31),
        _ => 2f64.powi(63),
    };
    if rounded >= -bound && rounded < bound { Ok(rounded as i64) } else { Err(SqlError::out_of_range(to.name())) }
}

/// `value::numeric(p, s)`.
///
/// # Errors
/// 22003 when it has too many digits before the point, or is infinite.
pub fn rescale(value: &Numeric, typmod: i32) -> Result<Numeric> {
    value.rescale(typmod).map_err(|error| {
        let infinite = value.dscale().is_none();
        let mut error = SqlError::from(error);
        if infinite && let Some((field, _)) = error.detail.as_deref().and_then(|detail| detail.split_once(" must ")) {
            error.detail = Some(format!("{field} cannot hold an infinite value."));
        }
        error
    })
}

/// As `%.*g` prints it with this many digits, read as a numeric.
fn float_to_numeric(value: f64, digits: usize) -> Result<Numeric> {
    if value.is_nan() {
        return Ok(Numeric::NAN);
    }
    if value.is_infinite() {
        return Ok(if value > 0.0 { Numeric::INFINITY } else { Numeric::NEGATIVE_INFINITY });
    }
    let scientific = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    Ok(format!("{mantissa}e{exponent}").parse()?)
}

/// Reads digits as the C library does; beyond the type's range is 22003 for a result of zero or infinity.
fn parse_float<F: std::str::FromStr + Default + PartialEq + Copy>(
    text: &str,
    is_infinite: impl Fn(F) -> bool,
    ty: PgType,
) -> Result<F> {
    let out_of_range = || SqlError::new("22003", format!("\"{text}\" is out of range for type {}", ty.name()));
    let value: F = text
        .parse()
        .map_err(|_| SqlError::new("22P02", format!("invalid input syntax for type {}: \"{text}\"", ty.name())))?;
    let named = text.bytes().any(|byte| byte.is_ascii_alphabetic() && !byte.eq_ignore_ascii_case(&b'e'));
    let zero_digits =
        !text.bytes().take_while(|byte| !byte.eq_ignore_ascii_case(&b'e')).any(|byte| (b'1'..=b'9').contains(&byte));
    if !named && (is_infinite(value) || (value == F::default() && !zero_digits)) {
        return Err(out_of_range());
    }
    Ok(value)
}

/// The value of one of [`crate::verified::FUNCTIONS`].
///
/// # Errors
/// 22003 out of range.
pub fn function(name: &str, ty: PgType, arguments: &[Datum<'_>]) -> Result<Datum<'static>> {
    Ok(match (name, arguments) {
        ("-", [Datum::Int(value)]) => Datum::Int(fit(ty, negate(*value, ty)?)?),
        ("-", [Datum::Numeric(value)]) => Datum::Numeric(value.neg()),
        ("-", [Datum::Float4(value)]) => Datum::Float4(-value),
        ("-", [Datum::Float8(value)]) => Datum::Float8(-value),
        ("abs", [Datum::Int(value)]) if *value < 0 => Datum::Int(fit(ty, negate(*value, ty)?)?),
        ("abs", [Datum::Int(value)]) => Datum::Int(*value),
        ("abs", [Datum::Numeric(value)]) => {
            Datum::Numeric(if value.is_negative() { value.neg() } else { value.clone() })
        }
        ("abs", [Datum::Float4(value)]) => Datum::Float4(value.abs()),
        ("abs", [Datum::Float8(value)]) => Datum::Float8(value.abs()),
        ("round", [Datum::Numeric(value)]) => Datum::Numeric(value.round(0)?),
        ("round", [Datum::Numeric(value), Datum::Int(scale)]) => {
            Datum::Numeric(value.round(i32::try_from(*scale).map_err(|_| overflow())?)?)
        }
        _ => return Err(unexpected(name, ty)),
    })
}

fn negate(value: i64, ty: PgType) -> Result<i64> {
    value.checked_neg().ok_or_else(|| SqlError::out_of_range(ty.name()))
}

/// A literal's text as a value of `ty`; None when it is not written in the plain form that needs no session setting to
/// read, so that PostgreSQL has to.
pub fn parse(ty: PgType, text: &str) -> Option<Datum<'static>> {
    use PgType::{Bool, Bpchar, Date, Float4, Float8, Int2, Int4, Int8, Name, Text, Unknown, Uuid, Varchar};
    Some(match ty {
        Int2 | Int4 | Int8 => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            Datum::Int(fit(ty, text.parse().ok()?).ok()?)
        }
        PgType::Numeric => Datum::Numeric(text.parse().ok()?),
        Float4 => Datum::Float4(parse_float(plain_float(text)?, f32::is_infinite, ty).ok()?),
        Float8 => Datum::Float8(parse_float(plain_float(text)?, f64::is_infinite, ty).ok()?),
        Text | Varchar | Bpchar | Unknown => Datum::Text(text.to_owned().into()),
        // NAMEDATALEN - 1: longer ones are cut.
        Name if text.len() < 64 => Datum::Text(text.to_owned().into()),
        Bool => match text {
            "t" | "true" => Datum::Bool(true),
            "f" | "false" => Datum::Bool(false),
            _ => return None,
        },
        Date => Datum::Int(parse_date(text)?),
        Uuid => Datum::Bytes(parse_uuid(text)?.into()),
        _ => return None,
    })
}

/// Digits, point, exponent, or one of the special names.
fn plain_float(text: &str) -> Option<&str> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E'));
    (plain || matches!(text, "NaN" | "Infinity" | "-Infinity")).then_some(text)
}

/// Days since 1970-01-01 of `YYYY-MM-DD`, which every DateStyle reads alike.
fn parse_date(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let part = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let (year, month, day) = (part(0..4)?, part(5..7)?, part(8..10)?);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let days_in_month = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        1..=12 => 31,
        _ => return None,
    };
    if year == 0 || day == 0 || day > days_in_month {
        return None;
    }
    // Days from civil: years start in March, so that the leap day is a year's last.
    let shifted = if month > 2 { year } else { year - 1 };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// The 16 bytes of 8-4-4-4-12 hexadecimal digits.
fn parse_uuid(text: &str) -> Option<Vec<u8>> {
    let groups: Vec<&str> = text.split('-').collect();
    if groups.iter().map(|group| group.len()).ne([8, 4, 4, 4, 12]) {
        return None;
    }
    let digits: String = groups.concat();
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..32).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(parse_date("1970-01-01"), Some(0));
        assert_eq!(parse_date("2000-02-29"), Some(11_016));
        assert_eq!(parse_date("2000-03-01"), Some(11_017));
        assert_eq!(parse_date("0001-01-01"), Some(-719_162));
        assert_eq!(parse_date("1900-02-29"), None);
        assert_eq!(parse_date("2000-13-01"), None);
        assert_eq!(parse_date("2000-1-01x"), None);
    }

    #[test]
    fn integer_edges() {
        let divide = |symbol, ty, left, right| integer_arithmetic(symbol, ty, left, right);
        assert_eq!(divide("/", PgType::Int4, i64::from(i32::MIN), -1).unwrap_err().message, "integer out of range");
        assert_eq!(divide("%", PgType::Int8, i64::MIN, -1), Ok(0));
        assert_eq!(divide("/", PgType::Int8, -7, 2), Ok(-3));
        assert_eq!(divide("%", PgType::Int8, -7, 2), Ok(-1));
        assert_eq!(divide("%", PgType::Int8, 1, 0).unwrap_err().sqlstate, "22012");
    }

    #[test]
    fn floats_as_numeric_keep_six_or_fifteen_digits() {
        let text = |value, digits| float_to_numeric(value, digits).unwrap().to_string();
        assert_eq!(text(0.1 + 0.2, 15), "0.3");
        assert_eq!(text(1e20, 15), "100000000000000000000");
        assert_eq!(text(f64::from(1.1f32), 6), "1.1");
        assert_eq!(text(-0.0, 15), "0");
    }
}
