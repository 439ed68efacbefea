//! PostgreSQL's `numeric`, exactly: the same digits, the same display scale, the same errors.
//!
//! Follows `src/backend/utils/adt/numeric.c` of PostgreSQL 15 in what it computes (result scales, rounding half away from zero,
//! special values), not in how: a finite value here is one big integer and a decimal scale.

mod arithmetic;
mod binary;
mod text;

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use num_bigint::{BigInt, BigUint, Sign};
use num_traits::{Signed, Zero};

pub use arithmetic::avg;

/// Most digits after the point that a value can have.
const DSCALE_MAX: u32 = 0x3FFF;
/// Most base-10000 digits before the point, less one.
const WEIGHT_MAX: i64 = 0x7FFF;

/// A `numeric` value. Equality and order are by value, as in SQL: 1.0 equals 1.00, NaN equals itself and is above everything.
#[derive(Debug, Clone)]
pub struct Numeric(Value);

#[derive(Debug, Clone)]
enum Value {
    NegativeInfinity,
    Finite(Finite),
    Infinity,
    NaN,
}

/// `unscaled` / 10^`dscale`.
#[derive(Debug, Clone)]
struct Finite {
    unscaled: BigInt,
    /// Digits shown after the point.
    dscale: u32,
}

/// Why there is no such number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumericError {
    #[error("division by zero")]
    DivisionByZero,
    #[error("value overflows numeric format")]
    Overflow,
    #[error("numeric field overflow")]
    FieldOverflow { precision: u32, scale: i32 },
    #[error("invalid input syntax for type numeric: \"{text}\"")]
    Syntax { text: String },
    #[error("invalid binary representation of a numeric")]
    Binary,
}

impl NumericError {
    /// The SQLSTATE that PostgreSQL gives.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::DivisionByZero => "22012",
            Self::Overflow | Self::FieldOverflow { .. } => "22003",
            Self::Syntax { .. } => "22P02",
            Self::Binary => "22P03",
        }
    }
}

impl Numeric {
    pub const NAN: Self = Self(Value::NaN);
    pub const INFINITY: Self = Self(Value::Infinity);
    pub const NEGATIVE_INFINITY: Self = Self(Value::NegativeInfinity);

    /// Zero without digits after the point.
    pub fn zero() -> Self {
        Self::from_i64(0)
    }

    pub fn from_i64(value: i64) -> Self {
        Self(Value::Finite(Finite { unscaled: value.into(), dscale: 0 }))
    }

    pub fn from_i128(value: i128) -> Self {
        Self(Value::Finite(Finite { unscaled: value.into(), dscale: 0 }))
    }

    pub fn is_nan(&self) -> bool {
        matches!(self.0, Value::NaN)
    }

    pub fn is_zero(&self) -> bool {
        matches!(&self.0, Value::Finite(finite) if finite.unscaled.is_zero())
    }

    /// Below zero, minus infinity included; NaN is not.
    pub fn is_negative(&self) -> bool {
        match &self.0 {
            Value::NegativeInfinity => true,
            Value::Finite(finite) => finite.unscaled.is_negative(),
            Value::Infinity | Value::NaN => false,
        }
    }

    /// Digits shown after the point; None for NaN and the infinities.
    pub fn dscale(&self) -> Option<u32> {
        match &self.0 {
            Value::Finite(finite) => Some(finite.dscale),
            _ => None,
        }
    }

    /// The value as a 64-bit integer, when it is one.
    pub fn to_i64(&self) -> Option<i64> {
        let Value::Finite(finite) = &self.0 else { return None };
        let power = pow10(finite.dscale);
        let (quotient, remainder) = (&finite.unscaled / &power, &finite.unscaled % &power);
        if remainder.is_zero() { i64::try_from(quotient).ok() } else { None }
    }

    /// Bytes that compare (unsigned, shorter first) as the values do; equal values have equal keys.
    pub fn sort_key(&self) -> Vec<u8> {
        let finite = match &self.0 {
            Value::NegativeInfinity => return vec![0],
            Value::Infinity => return vec![4],
            Value::NaN => return vec![5],
            Value::Finite(finite) => finite,
        };
        let digits = finite.digits();
        if digits.digits.is_empty() {
            return vec![2];
        }
        let mut key = Vec::with_capacity(5 + 2 * digits.digits.len());
        key.push(3);
        // The weight's range is that of 16 bits with a sign; the bias makes it unsigned.
        key.extend_from_slice(&u16::try_from(digits.weight + 0x8000).unwrap_or(u16::MAX).to_be_bytes());
        for digit in &digits.digits {
            // Above zero, so that the end of a shorter number is below any digit.
            key.extend_from_slice(&(digit + 1).to_be_bytes());
        }
        key.extend_from_slice(&[0, 0]);
        if finite.unscaled.is_negative() {
            key[0] = 1;
            for byte in &mut key[1..] {
                *byte = !*byte;
            }
        }
        key
    }
}

impl From<i64> for Numeric {
    fn from(value: i64) -> Self {
        Self::from_i64(value)
    }
}

impl PartialEq for Numeric {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Numeric {}

impl PartialOrd for Numeric {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Numeric {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |value: &Value| match value {
            Value::NegativeInfinity => 0,
            Value::Finite(_) => 1,
            Value::Infinity => 2,
            Value::NaN => 3,
        };
        match (&self.0, &other.0) {
            (Value::Finite(left), Value::Finite(right)) => {
                let scale = left.dscale.max(right.dscale);
                left.at_scale(scale).cmp(&right.at_scale(scale))
            }
            (left, right) => rank(left).cmp(&rank(right)),
        }
    }
}

impl Hash for Numeric {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.sort_key().hash(state);
    }
}

/// The base-10000 digits of a value without leading or trailing zeros, the first worth 10000^`weight`.
struct Digits {
    weight: i64,
    digits: Vec<u16>,
}

impl Finite {
    /// The value times 10^`scale`, which is at least its own scale.
    fn at_scale(&self, scale: u32) -> std::borrow::Cow<'_, BigInt> {
        match scale - self.dscale {
            0 => std::borrow::Cow::Borrowed(&self.unscaled),
            more => std::borrow::Cow::Owned(&self.unscaled * pow10(more)),
        }
    }

    fn digits(&self) -> Digits {
        // Digits group by four from the point outwards.
        let pad = (4 - self.dscale % 4) % 4;
        let fraction_digits = i64::from((self.dscale + pad) / 4);
        let magnitude = self.unscaled.magnitude() * 10u16.pow(pad);
        let mut digits = to_base_10000(magnitude);
        let weight = i64::try_from(digits.len()).unwrap_or(i64::MAX) - 1 - fraction_digits;
        while digits.last() == Some(&0) {
            digits.pop();
        }
        Digits { weight: if digits.is_empty() { 0 } else { weight }, digits }
    }

    /// The value, if the storage format can hold it.
    fn checked(self) -> Result<Numeric, NumericError> {
        // 4 decimal digits take at least 13 bits: cheaply clear for all but giants.
        let small = self.unscaled.bits() < 400_000;
        if self.dscale > DSCALE_MAX || (!small && self.digits().weight > WEIGHT_MAX) {
            return Err(NumericError::Overflow);
        }
        Ok(Numeric(Value::Finite(self)))
    }
}

/// Most significant first; none for zero.
fn to_base_10000(mut magnitude: BigUint) -> Vec<u16> {
    let digit = |value: u128| u16::try_from(value).expect("a remainder of 10000");
    if let Ok(mut small) = u128::try_from(&magnitude) {
        let mut digits = Vec::with_capacity(10);
        while small > 0 {
            digits.push(digit(small % 10_000));
            small /= 10_000;
        }
        digits.reverse();
        return digits;
    }
    // Base 100 is the largest power of ten that the library converts to.
    let mut hundreds = std::mem::take(&mut magnitude).to_radix_le(100);
    if hundreds.len() % 2 == 1 {
        hundreds.push(0);
    }
    hundreds.chunks_exact(2).rev().map(|pair| u16::from(pair[1]) * 100 + u16::from(pair[0])).collect()
}

/// The reverse; None when a digit is above 9999.
fn from_base_10000(digits: impl ExactSizeIterator<Item = u16>) -> Option<BigUint> {
    if digits.len() <= 9 {
        let mut value = 0u128;
        for digit in digits {
            if digit > 9999 {
                return None;
            }
            value = value * 10_000 + u128::from(digit);
        }
        return Some(value.into());
    }
    let mut hundreds = Vec::with_capacity(digits.len() * 2);
    for digit in digits {
        hundreds.push(u8::try_from(digit / 100).ok()?);
        hundreds.push(u8::try_from(digit % 100).ok()?);
    }
    BigUint::from_radix_be(&hundreds, 100)
}

fn pow10(exponent: u32) -> BigInt {
    match 10i128.checked_pow(exponent) {
        Some(power) => power.into(),
        None => BigInt::from(10).pow(exponent),
    }
}

/// `value` / 10^`power`, rounded half away from zero.
fn divide_rounded(value: &BigInt, power: u32) -> BigInt {
    round_quotient(value, &pow10(power))
}

/// `numerator` / `denominator`, rounded half away from zero.
fn round_quotient(numerator: &BigInt, denominator: &BigInt) -> BigInt {
    let (top, bottom) = (numerator.magnitude(), denominator.magnitude());
    let quotient = top / bottom;
    let remainder = top - &quotient * bottom;
    let magnitude = if remainder * 2u8 >= *bottom { quotient + 1u8 } else { quotient };
    let negative = numerator.is_negative() != denominator.is_negative();
    BigInt::from_biguint(if negative { Sign::Minus } else { Sign::Plus }, magnitude)
}

#[cfg(test)]
mod tests;
