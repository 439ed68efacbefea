//! The binary representation that `numeric_send` writes and `numeric_recv` reads.
//!
//! Four 16-bit words (number of base-10000 digits, weight of the first, sign, display scale), then the digits.

use num_bigint::{BigInt, Sign};
use num_traits::{Signed, Zero};

use super::{DSCALE_MAX, Finite, Numeric, NumericError, Value, from_base_10000, pow10};

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

impl Numeric {
    /// # Errors
    /// 22P03 for bytes that are not a numeric's.
    pub fn from_binary(bytes: &[u8]) -> Result<Self, NumericError> {
        let (head, rest) = bytes.split_first_chunk::<8>().ok_or(NumericError::Binary)?;
        let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let (count, sign, dscale) = (usize::from(word(0)), word(4), u32::from(word(6)));
        let weight = i64::from(i16::from_be_bytes([head[2], head[3]]));
        if rest.len() != count * 2 {
            return Err(NumericError::Binary);
        }
        let negative = match sign {
            POSITIVE => false,
            NEGATIVE => true,
            NAN => return Ok(Self::NAN),
            INFINITY => return Ok(Self::INFINITY),
            NEGATIVE_INFINITY => return Ok(Self::NEGATIVE_INFINITY),
            _ => return Err(NumericError::Binary),
        };
        if dscale > DSCALE_MAX {
            return Err(NumericError::Binary);
        }
        let digits = rest.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        let magnitude = from_base_10000(digits).ok_or(NumericError::Binary)?;
        let sign = if negative { Sign::Minus } else { Sign::Plus };
        let unscaled = BigInt::from_biguint(sign, magnitude);
        // The integer of the digits is the value times 10000^(count - 1 - weight); wanted is the value times 10^dscale.
        let digits_scale = (i64::try_from(count).map_err(|_| NumericError::Binary)? - 1 - weight) * 4;
        let power = i64::from(dscale) - digits_scale;
        let shift = pow10(u32::try_from(power.unsigned_abs()).map_err(|_| NumericError::Binary)?);
        // Digits past the display scale are cut, as numeric_recv does.
        let unscaled = if unscaled.is_zero() {
            unscaled
        } else if power >= 0 {
            unscaled * shift
        } else {
            unscaled / shift
        };
        Ok(Self(Value::Finite(Finite { unscaled, dscale })))
    }

    /// The bytes that PostgreSQL sends for this value.
    pub fn to_binary(&self) -> Vec<u8> {
        // An infinity's sign overlaps the bits of its display scale, which PostgreSQL sends as it finds them.
        const INFINITY_DSCALE: u16 = 0x20;
        let special = |sign: u16, dscale: u16| words(&[0, 0, sign, dscale]);
        let finite = match &self.0 {
            Value::NaN => return special(NAN, 0),
            Value::Infinity => return special(INFINITY, INFINITY_DSCALE),
            Value::NegativeInfinity => return special(NEGATIVE_INFINITY, INFINITY_DSCALE),
            Value::Finite(finite) => finite,
        };
        let digits = finite.digits();
        let count = u16::try_from(digits.digits.len()).expect("a checked numeric has under 65536 digits");
        let weight = i16::try_from(digits.weight).expect("a checked numeric's weight takes 16 bits");
        let sign = if finite.unscaled.is_negative() { NEGATIVE } else { POSITIVE };
        let dscale = u16::try_from(finite.dscale).expect("a checked numeric's scale takes 14 bits");
        let mut bytes = words(&[count, weight.cast_unsigned(), sign, dscale]);
        bytes.extend(digits.digits.iter().flat_map(|digit| digit.to_be_bytes()));
        bytes
    }
}

fn words(words: &[u16; 4]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}
