//! Text, in and out.

use std::fmt;
use std::str::FromStr;

use num_bigint::BigInt;
use num_traits::{Num, Signed};

use super::{Finite, Numeric, NumericError, Value, pow10};

/// Exponents from here on are refused even for zero.
const EXPONENT_MAX: i64 = i32::MAX as i64 / 2;

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let finite = match &self.0 {
            Value::NaN => return f.write_str("NaN"),
            Value::Infinity => return f.write_str("Infinity"),
            Value::NegativeInfinity => return f.write_str("-Infinity"),
            Value::Finite(finite) => finite,
        };
        if finite.unscaled.is_negative() {
            f.write_str("-")?;
        }
        let digits = finite.unscaled.magnitude().to_string();
        let dscale = usize::try_from(finite.dscale).map_err(|_| fmt::Error)?;
        if dscale == 0 {
            return f.write_str(&digits);
        }
        match digits.len().checked_sub(dscale) {
            Some(whole) if whole > 0 => write!(f, "{}.{}", &digits[..whole], &digits[whole..]),
            _ => write!(f, "0.{digits:0>dscale$}"),
        }
    }
}

impl FromStr for Numeric {
    type Err = NumericError;

    /// Reads what `numeric_in` reads: digits with a point and an exponent, NaN, infinities, space around.
    ///
    /// # Errors
    /// 22P02 for anything else, 22003 for a number out of range.
    fn from_str(text: &str) -> Result<Self, NumericError> {
        let syntax = || NumericError::Syntax { text: text.to_owned() };
        // What C's isspace takes for space.
        let trimmed = text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
        let (negative, unsigned) = match trimmed.as_bytes().first() {
            Some(b'-') => (true, &trimmed[1..]),
            Some(b'+') => (false, &trimmed[1..]),
            _ => (false, trimmed),
        };
        if unsigned.eq_ignore_ascii_case("infinity") || unsigned.eq_ignore_ascii_case("inf") {
            return Ok(if negative { Self::NEGATIVE_INFINITY } else { Self::INFINITY });
        }
        if trimmed.eq_ignore_ascii_case("nan") {
            return Ok(Self::NAN);
        }
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent).ok_or_else(syntax)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
            return Err(syntax());
        }
        if exponent.abs() >= EXPONENT_MAX {
            return Err(NumericError::Overflow);
        }
        let digits = BigInt::from_str_radix(&format!("{whole}{fraction}"), 10).map_err(|_| syntax())?;
        let fraction_len = i64::try_from(fraction.len()).map_err(|_| NumericError::Overflow)?;
        // digits / 10^scale
        let scale = fraction_len - exponent;
        let zero = digits.magnitude().bits() == 0;
        // Zero has no magnitude to overflow; and a giant exponent must not be computed only to be refused.
        if !zero && -scale > 140_000 {
            return Err(NumericError::Overflow);
        }
        let unscaled = match u32::try_from(-scale) {
            Ok(power) if !zero => digits * pow10(power),
            _ => digits,
        };
        let dscale = u32::try_from(scale.max(0)).map_err(|_| NumericError::Overflow)?;
        Finite { unscaled: if negative { -unscaled } else { unscaled }, dscale }.checked()
    }
}

/// An optional sign and digits; a number too large for 64 bits counts as its limit.
fn parse_exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let magnitude = digits.parse().unwrap_or(i64::MAX);
    Some(if negative { -magnitude } else { magnitude })
}
