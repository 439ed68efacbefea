//! Floating point as text: the shortest digits that read back as the same value, laid out as PostgreSQL does.
//!
//! Rust prints shortest digits, too, with two differences. A decimal that lies exactly halfway between two neighbouring floats reads
//! back (to the even one) and so Rust may print it, while PostgreSQL only takes what lies strictly nearer to the value. And where two
//! shortest decimals are equally near, Rust takes the upper one and PostgreSQL the one with the even last digit.

/// A `float8` as PostgreSQL prints it with `extra_float_digits` at 1.
pub fn float8_text(value: f64) -> String {
    if let Some(special) = special(value) {
        return special.to_owned();
    }
    let reads_back = |text: &str| text.parse() == Ok(value);
    shortest(&format!("{value:e}"), |digits| format!("{value:.*e}", digits - 1), reads_back, 54).print(15)
}

/// A `float4` as PostgreSQL prints it with `extra_float_digits` at 1.
pub fn float4_text(value: f32) -> String {
    if let Some(special) = special(value.into()) {
        return special.to_owned();
    }
    let reads_back = |text: &str| text.parse() == Ok(value);
    shortest(&format!("{value:e}"), |digits| format!("{value:.*e}", digits - 1), reads_back, 25).print(6)
}

/// PostgreSQL's choice of digits, from Rust's (`text`). `rounded` prints so many digits, half to even; a midpoint between two
/// floats takes `midpoint_bits` bits.
fn shortest(
    text: &str,
    rounded: impl Fn(usize) -> String,
    reads_back: impl Fn(&str) -> bool,
    midpoint_bits: u32,
) -> Decimal {
    let decimal = Decimal::parse(text);
    let acceptable = |digits: usize| {
        let text = rounded(digits);
        if !reads_back(&text) {
            return None;
        }
        Some(Decimal::parse(&text)).filter(|decimal| !decimal.is_midpoint(midpoint_bits))
    };
    let digits_all = if midpoint_bits > 32 { 17 } else { 9 };
    if decimal.is_midpoint(midpoint_bits) {
        return (1..=digits_all).find_map(acceptable).unwrap_or(decimal);
    }
    // Two decimals can only be equally near when they have almost all the digits a float can need.
    let odd = decimal.digits.bytes().last().is_some_and(|digit| digit % 2 == 1);
    if odd && decimal.digits.len() + 2 >= digits_all {
        return acceptable(decimal.digits.len()).unwrap_or(decimal);
    }
    decimal
}

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value == f64::INFINITY {
        Some("Infinity")
    } else if value == f64::NEG_INFINITY {
        Some("-Infinity")
    } else {
        None
    }
}

/// Digits d1 d2 d3 ... and the exponent of d1.d2d3...
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i32,
}

impl Decimal {
    /// Of Rust's exponent notation.
    fn parse(text: &str) -> Self {
        let (mantissa, exponent) = text.split_once('e').expect("exponent notation has an exponent");
        let mut digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
        while digits.len() > 1 && digits.ends_with('0') {
            digits.pop();
        }
        Self {
            negative: mantissa.starts_with('-'),
            digits,
            exponent: exponent.parse().expect("an exponent is an integer"),
        }
    }

    /// Whether this is exactly halfway between two neighbouring floats, that is, whether its odd part takes `bits` bits, one more
    /// than a float has.
    fn is_midpoint(&self, bits: u32) -> bool {
        let mut odd = self.digits.parse::<u128>().unwrap_or(0);
        if odd == 0 {
            return false;
        }
        // The value is odd * 10^power; powers of two do not matter, and a denominator of fives would not be a binary fraction.
        let power = self.exponent - i32::try_from(self.digits.len()).expect("17 digits at most") + 1;
        // Beyond these, the odd part has too many bits, or the digits cannot be divided by so many fives.
        if !(-25..=25).contains(&power) {
            return false;
        }
        let fives = 5u128.pow(power.unsigned_abs());
        if power >= 0 {
            odd *= fives;
        } else if odd % fives == 0 {
            odd /= fives;
        } else {
            return false;
        }
        128 - odd.leading_zeros() - odd.trailing_zeros() == bits
    }

    /// Plain for exponents from -4 and below `exponent_max`, otherwise in exponent notation of at least two digits.
    fn print(&self, exponent_max: i32) -> String {
        let sign = if self.negative { "-" } else { "" };
        if !(-4..exponent_max).contains(&self.exponent) {
            let (first, rest) = self.digits.split_at(1);
            let point = if rest.is_empty() { "" } else { "." };
            let exponent_sign = if self.exponent < 0 { '-' } else { '+' };
            return format!("{sign}{first}{point}{rest}e{exponent_sign}{:02}", self.exponent.unsigned_abs());
        }
        let Ok(before) = usize::try_from(self.exponent + 1) else {
            let zeros = "0".repeat(usize::try_from(-self.exponent - 1).unwrap_or(0));
            return format!("{sign}0.{zeros}{}", self.digits);
        };
        if before == 0 {
            format!("{sign}0.{}", self.digits)
        } else if self.digits.len() <= before {
            format!("{sign}{}{}", self.digits, "0".repeat(before - self.digits.len()))
        } else {
            let (whole, fraction) = self.digits.split_at(before);
            format!("{sign}{whole}.{fraction}")
        }
    }
}
