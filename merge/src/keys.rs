//! Keys: arrays in which Arrow's own equality and order are PostgreSQL's.

use std::sync::Arc;

use atoll_wire::numeric::Numeric;
use datafusion::arrow::array::builder::{BinaryBuilder, Int64Builder, StringBuilder};
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};

use crate::error::SqlError;
use crate::types::PgType;

/// Whether a key of this type is something else than the value: equal values may look different.
pub fn is_derived(ty: PgType) -> bool {
    matches!(ty, PgType::Float4 | PgType::Float8 | PgType::Numeric | PgType::Bpchar)
}

/// The Arrow type of keys of `ty`.
pub fn key_type(ty: PgType) -> DataType {
    match ty {
        PgType::Float4 | PgType::Float8 => DataType::Int64,
        // Of numerics too: the sort key is bytes, as the value is.
        other => other.arrow(),
    }
}

/// The keys of an array of `ty`.
///
/// # Errors
/// XX000 when the array is of another type, 22P03 for bytes that are no numeric.
pub fn keys(ty: PgType, array: &ArrayRef) -> Result<ArrayRef, SqlError> {
    let mismatch = || SqlError::new("XX000", format!("no {} in an array of {}", ty.name(), array.data_type()));
    Ok(match ty {
        PgType::Float4 => {
            let values = array.as_primitive_opt::<Float32Type>().ok_or_else(mismatch)?;
            float_keys(values.iter().map(|value| value.map(f64::from)), values.len())
        }
        PgType::Float8 => {
            let values = array.as_primitive_opt::<Float64Type>().ok_or_else(mismatch)?;
            float_keys(values.iter(), values.len())
        }
        PgType::Numeric => {
            let values = array.as_binary_opt::<i32>().ok_or_else(mismatch)?;
            let mut keys = BinaryBuilder::with_capacity(values.len(), values.values().len());
            for value in values {
                keys.append_option(
                    value.map(|value| Numeric::from_binary(value).map(|value| value.sort_key())).transpose()?,
                );
            }
            Arc::new(keys.finish())
        }
        PgType::Bpchar => {
            let values = array.as_string_opt::<i32>().ok_or_else(mismatch)?;
            let mut keys = StringBuilder::with_capacity(values.len(), values.values().len());
            for value in values {
                keys.append_option(value.map(|value| value.trim_end_matches(' ')));
            }
            Arc::new(keys.finish())
        }
        _ => Arc::clone(array),
    })
}

/// Integers in the order of the floats: NaN greatest, both zeros the same.
fn float_keys(values: impl Iterator<Item = Option<f64>>, len: usize) -> ArrayRef {
    let mut keys = Int64Builder::with_capacity(len);
    for value in values {
        keys.append_option(value.map(|value| {
            let canonical = if value.is_nan() {
                f64::NAN.abs()
            } else if value == 0.0 {
                0.0
            } else {
                value
            };
            let bits = canonical.to_bits().cast_signed();
            // Below zero, larger magnitudes come first: every bit but the sign flips.
            bits ^ (((bits >> 63).cast_unsigned()) >> 1).cast_signed()
        }));
    }
    Arc::new(keys.finish())
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Float64Array, StringArray};
    use datafusion::arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn floats_order_as_in_postgresql() {
        let ascending = [
            f64::NEG_INFINITY,
            f64::MIN,
            -1.5,
            -f64::MIN_POSITIVE,
            0.0,
            f64::MIN_POSITIVE,
            2.0,
            f64::INFINITY,
            f64::NAN,
        ];
        let array: ArrayRef = Arc::new(Float64Array::from(ascending.to_vec()));
        let keys = keys(PgType::Float8, &array).unwrap();
        assert!(keys.as_primitive::<Int64Type>().values().is_sorted_by(|left, right| left < right));
    }

    #[test]
    fn zeros_and_nans_are_one() {
        let negative_nan = f64::from_bits(f64::NAN.to_bits() | (1 << 63));
        let array: ArrayRef = Arc::new(Float64Array::from(vec![-0.0, 0.0, f64::NAN, negative_nan]));
        let keys = keys(PgType::Float8, &array).unwrap();
        let keys = keys.as_primitive::<Int64Type>().values();
        assert_eq!(keys[0], keys[1]);
        assert_eq!(keys[2], keys[3]);
    }

    #[test]
    fn padding_does_not_count() {
        let array: ArrayRef = Arc::new(StringArray::from(vec![Some("a  "), Some("a"), None, Some("a\t")]));
        let keys = keys(PgType::Bpchar, &array).unwrap();
        let keys = keys.as_string::<i32>();
        assert_eq!((keys.value(0), keys.value(1), keys.is_null(2), keys.value(3)), ("a", "a", true, "a\t"));
    }
}
