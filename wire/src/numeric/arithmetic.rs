//! Operators, with PostgreSQL's rules for the scale of the result.

use num_traits::Zero;

use super::{DSCALE_MAX, Finite, Numeric, NumericError, Value, divide_rounded, pow10, round_quotient};

/// Significant digits that a quotient has at least (`NUMERIC_MIN_SIG_DIGITS`).
const SIGNIFICANT_DIGITS_MIN: i64 = 16;
/// Digits after the point that the division rule asks for at most (`NUMERIC_MAX_DISPLAY_SCALE`).
const DISPLAY_SCALE_MAX: i64 = 1000;
/// `round` to fewer digits than this is as to this: no value reaches so far before the point.
const ROUND_SCALE_MIN: i32 = -131_073;
/// `round` to more digits than this is as to this, the type's own limit.
const ROUND_SCALE_MAX: i32 = DSCALE_MAX as i32;

/// What `avg` gives for `count` values that add up to `sum`.
///
/// # Errors
/// 22012 for no values: SQL's answer is NULL, which the caller gives.
pub fn avg(sum: &Numeric, count: i64) -> Result<Numeric, NumericError> {
    sum.div(&Numeric::from_i64(count))
}

/// What an infinity and another value make, by sign; the finite value counts by its own.
fn infinity(negative: bool) -> Numeric {
    if negative { Numeric::NEGATIVE_INFINITY } else { Numeric::INFINITY }
}

impl Numeric {
    /// # Errors
    /// 22003 when the sum is too large for the type.
    pub fn add(&self, other: &Self) -> Result<Self, NumericError> {
        match (&self.0, &other.0) {
            (Value::Finite(left), Value::Finite(right)) => {
                let dscale = left.dscale.max(right.dscale);
                let unscaled = left.at_scale(dscale).as_ref() + right.at_scale(dscale).as_ref();
                Finite { unscaled, dscale }.checked()
            }
            (Value::NaN, _)
            | (_, Value::NaN)
            | (Value::Infinity, Value::NegativeInfinity)
            | (Value::NegativeInfinity, Value::Infinity) => Ok(Self::NAN),
            (Value::Infinity, _) | (_, Value::Infinity) => Ok(Self::INFINITY),
            (Value::NegativeInfinity, _) | (_, Value::NegativeInfinity) => Ok(Self::NEGATIVE_INFINITY),
        }
    }

    /// # Errors
    /// 22003 when the difference is too large for the type.
    pub fn sub(&self, other: &Self) -> Result<Self, NumericError> {
        self.add(&other.neg())
    }

    /// # Errors
    /// 22003 when the product is too large for the type.
    pub fn mul(&self, other: &Self) -> Result<Self, NumericError> {
        match (&self.0, &other.0) {
            (Value::Finite(left), Value::Finite(right)) => {
                let product = Finite { unscaled: &left.unscaled * &right.unscaled, dscale: left.dscale + right.dscale };
                if product.dscale > DSCALE_MAX { product.at_dscale(DSCALE_MAX).checked() } else { product.checked() }
            }
            (Value::NaN, _) | (_, Value::NaN) => Ok(Self::NAN),
            // One of them is infinite: times zero it is nothing known.
            _ if self.is_zero() || other.is_zero() => Ok(Self::NAN),
            _ => Ok(infinity(self.is_negative() != other.is_negative())),
        }
    }

    /// The quotient, with at least 16 significant digits and no less than either operand's scale.
    ///
    /// # Errors
    /// 22012 for a divisor of zero, 22003 when the quotient is too large for the type.
    pub fn div(&self, other: &Self) -> Result<Self, NumericError> {
        match (&self.0, &other.0) {
            (Value::NaN, _) | (_, Value::NaN) => Ok(Self::NAN),
            (_, Value::Finite(divisor)) if divisor.unscaled.is_zero() => Err(NumericError::DivisionByZero),
            (Value::Finite(dividend), Value::Finite(divisor)) => {
                let dscale = quotient_dscale(dividend, divisor);
                // dividend / 10^a / (divisor / 10^b) * 10^dscale, in integers.
                let power = i64::from(dscale) + i64::from(divisor.dscale) - i64::from(dividend.dscale);
                let shift = pow10(u32::try_from(power.unsigned_abs()).map_err(|_| NumericError::Overflow)?);
                let unscaled = if power >= 0 {
                    round_quotient(&(&dividend.unscaled * shift), &divisor.unscaled)
                } else {
                    round_quotient(&dividend.unscaled, &(&divisor.unscaled * shift))
                };
                Finite { unscaled, dscale }.checked()
            }
            (Value::Finite(_), _) => Ok(Self::zero()),
            (_, Value::Finite(_)) => Ok(infinity(self.is_negative() != other.is_negative())),
            _ => Ok(Self::NAN),
        }
    }

    /// The value with the other sign.
    #[must_use]
    pub fn neg(&self) -> Self {
        match &self.0 {
            Value::NegativeInfinity => Self::INFINITY,
            Value::Infinity => Self::NEGATIVE_INFINITY,
            Value::NaN => Self::NAN,
            Value::Finite(finite) => Self(Value::Finite(Finite { unscaled: -&finite.unscaled, dscale: finite.dscale })),
        }
    }

    /// As SQL's `round(value, scale)`: half away from zero; a negative `scale` rounds before the point. The result shows
    /// exactly `scale` digits after the point (none when negative). NaN and the infinities stay.
    ///
    /// # Errors
    /// 22003 when rounding up passes the type's range.
    pub fn round(&self, scale: i32) -> Result<Self, NumericError> {
        match &self.0 {
            Value::Finite(finite) => finite.rounded(scale.clamp(ROUND_SCALE_MIN, ROUND_SCALE_MAX)).checked(),
            _ => Ok(self.clone()),
        }
    }

    /// The value as a column of type `numeric` with this type modifier stores it; -1 changes nothing.
    ///
    /// # Errors
    /// 22003 when it has too many digits before the point, or is infinite.
    pub fn rescale(&self, typmod: i32) -> Result<Self, NumericError> {
        const HEADER: i32 = 4;
        if typmod < HEADER {
            return Ok(self.clone());
        }
        let precision = ((typmod - HEADER) as u32) >> 16;
        // Eleven bits with a sign.
        let scale = (((typmod - HEADER) & 0x7FF) ^ 1024) - 1024;
        let overflow = NumericError::FieldOverflow { precision, scale };
        match &self.0 {
            Value::NaN => Ok(self.clone()),
            Value::Infinity | Value::NegativeInfinity => Err(overflow),
            Value::Finite(finite) => {
                let rounded = finite.rounded(scale);
                // Digits before the point may be precision - scale: the value is below 10 to that power.
                let before = i64::from(precision) - i64::from(scale);
                let power = before + i64::from(rounded.dscale);
                let fits = match u32::try_from(power) {
                    Ok(power) => rounded.unscaled.magnitude() < pow10(power).magnitude(),
                    Err(_) => rounded.unscaled.is_zero(),
                };
                if fits { rounded.checked() } else { Err(overflow) }
            }
        }
    }
}

impl Finite {
    /// Rounded to, or filled up with zeros to, this many digits after the point.
    fn at_dscale(&self, dscale: u32) -> Self {
        let unscaled = if dscale >= self.dscale {
            self.at_scale(dscale).into_owned()
        } else {
            divide_rounded(&self.unscaled, self.dscale - dscale)
        };
        Self { unscaled, dscale }
    }

    fn rounded(&self, scale: i32) -> Self {
        match u32::try_from(scale) {
            Ok(scale) => self.at_dscale(scale),
            Err(_) => {
                let power = scale.unsigned_abs();
                let kept = divide_rounded(&self.unscaled, self.dscale + power);
                Self { unscaled: kept * pow10(power), dscale: 0 }
            }
        }
    }

    /// The first base-10000 digit and its weight; zero for zero.
    fn first_digit(&self) -> (i64, u16) {
        if self.unscaled.is_zero() {
            return (0, 0);
        }
        let digits = self.digits();
        (digits.weight, digits.digits[0])
    }
}

/// `select_div_scale`: the scale for 16 significant digits, estimated from the operands' first base-10000 digits.
fn quotient_dscale(dividend: &Finite, divisor: &Finite) -> u32 {
    let (weight_above, digit_above) = dividend.first_digit();
    let (weight_below, digit_below) = divisor.first_digit();
    let mut weight = weight_above - weight_below;
    if digit_above <= digit_below {
        weight -= 1;
    }
    let dscale = (SIGNIFICANT_DIGITS_MIN - weight * 4)
        .max(i64::from(dividend.dscale))
        .max(i64::from(divisor.dscale))
        .clamp(0, DISPLAY_SCALE_MAX);
    u32::try_from(dscale).expect("between 0 and 1000")
}
