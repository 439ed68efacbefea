//! One column of a batch, ready to be written field by field.

use std::io::Write as _;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType, UInt32Type,
};
use arrow_array::{Array, ArrayRef, BinaryArray, BooleanArray, FixedSizeBinaryArray, PrimitiveArray, StringArray};
use arrow_schema::{DataType, TimeUnit};
use bytes::{BufMut, BytesMut};

use super::{EncodeError, float, time};
use crate::numeric::Numeric;
use crate::rows::{EPOCH_DAYS, EPOCH_US};

/// An array seen as one of the types of [`crate::rows`].
pub(crate) enum Values<'a> {
    Bool(&'a BooleanArray),
    Int2(&'a PrimitiveArray<Int16Type>),
    Int4(&'a PrimitiveArray<Int32Type>),
    Int8(&'a PrimitiveArray<Int64Type>),
    Oid(&'a PrimitiveArray<UInt32Type>),
    Float4(&'a PrimitiveArray<Float32Type>),
    Float8(&'a PrimitiveArray<Float64Type>),
    Text(&'a StringArray),
    Date(&'a PrimitiveArray<Date32Type>),
    Timestamp(&'a PrimitiveArray<TimestampMicrosecondType>),
    Time(&'a PrimitiveArray<Time64MicrosecondType>),
    Uuid(&'a FixedSizeBinaryArray),
    Bytes(&'a BinaryArray),
}

impl<'a> Values<'a> {
    /// None for a type that is not of [`crate::rows`].
    pub(crate) fn new(array: &'a ArrayRef) -> Option<Self> {
        Some(match array.data_type() {
            DataType::Boolean => Self::Bool(array.as_boolean_opt()?),
            DataType::Int16 => Self::Int2(array.as_primitive_opt()?),
            DataType::Int32 => Self::Int4(array.as_primitive_opt()?),
            DataType::Int64 => Self::Int8(array.as_primitive_opt()?),
            DataType::UInt32 => Self::Oid(array.as_primitive_opt()?),
            DataType::Float32 => Self::Float4(array.as_primitive_opt()?),
            DataType::Float64 => Self::Float8(array.as_primitive_opt()?),
            DataType::Utf8 => Self::Text(array.as_string_opt()?),
            DataType::Date32 => Self::Date(array.as_primitive_opt()?),
            DataType::Timestamp(TimeUnit::Microsecond, None) => Self::Timestamp(array.as_primitive_opt()?),
            DataType::Time64(TimeUnit::Microsecond) => Self::Time(array.as_primitive_opt()?),
            DataType::FixedSizeBinary(16) => Self::Uuid(array.as_fixed_size_binary_opt()?),
            DataType::Binary => Self::Bytes(array.as_binary_opt()?),
            _ => return None,
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bool(array) => array.is_null(row),
            Self::Int2(array) => array.is_null(row),
            Self::Int4(array) => array.is_null(row),
            Self::Int8(array) => array.is_null(row),
            Self::Oid(array) => array.is_null(row),
            Self::Float4(array) => array.is_null(row),
            Self::Float8(array) => array.is_null(row),
            Self::Text(array) => array.is_null(row),
            Self::Date(array) => array.is_null(row),
            Self::Timestamp(array) => array.is_null(row),
            Self::Time(array) => array.is_null(row),
            Self::Uuid(array) => array.is_null(row),
            Self::Bytes(array) => array.is_null(row),
        }
    }

    /// Appends length and value (length -1 for NULL); `format` is 0 text, 1 binary.
    pub(crate) fn put_field(&self, row: usize, format: i16, out: &mut BytesMut) {
        if self.is_null(row) {
            out.put_i32(-1);
            return;
        }
        sized(out, |out| if format == 0 { self.put_text(row, out) } else { self.put_binary(row, out) });
    }

    /// As [`Values::put_field`] in text, of bytes that hold a numeric's binary representation.
    pub(crate) fn put_numeric_text(&self, row: usize, out: &mut BytesMut) -> Result<(), EncodeError> {
        let Self::Bytes(array) = self else { return Err(EncodeError::Batch) };
        if array.is_null(row) {
            out.put_i32(-1);
            return Ok(());
        }
        let value = Numeric::from_binary(array.value(row)).map_err(|_| EncodeError::Batch)?;
        sized(out, |out| print(out, format_args!("{value}")));
        Ok(())
    }

    fn put_text(&self, row: usize, out: &mut BytesMut) {
        match self {
            Self::Bool(array) => out.put_u8(if array.value(row) { b't' } else { b'f' }),
            Self::Int2(array) => print(out, format_args!("{}", array.value(row))),
            Self::Int4(array) => print(out, format_args!("{}", array.value(row))),
            Self::Int8(array) => print(out, format_args!("{}", array.value(row))),
            Self::Oid(array) => print(out, format_args!("{}", array.value(row))),
            Self::Float4(array) => out.put_slice(float::float4_text(array.value(row)).as_bytes()),
            Self::Float8(array) => out.put_slice(float::float8_text(array.value(row)).as_bytes()),
            Self::Text(array) => out.put_slice(array.value(row).as_bytes()),
            Self::Date(array) => out.put_slice(time::date_text(array.value(row)).as_bytes()),
            Self::Timestamp(array) => out.put_slice(time::timestamp_text(array.value(row)).as_bytes()),
            Self::Time(array) => out.put_slice(time::time_text(array.value(row)).as_bytes()),
            Self::Uuid(array) => put_uuid(out, array.value(row)),
            Self::Bytes(array) => {
                out.put_slice(b"\\x");
                put_hex(out, array.value(row));
            }
        }
    }

    fn put_binary(&self, row: usize, out: &mut BytesMut) {
        match self {
            Self::Bool(array) => out.put_u8(u8::from(array.value(row))),
            Self::Int2(array) => out.put_i16(array.value(row)),
            Self::Int4(array) => out.put_i32(array.value(row)),
            Self::Int8(array) => out.put_i64(array.value(row)),
            Self::Oid(array) => out.put_u32(array.value(row)),
            Self::Float4(array) => out.put_f32(array.value(row)),
            Self::Float8(array) => out.put_f64(array.value(row)),
            Self::Text(array) => out.put_slice(array.value(row).as_bytes()),
            Self::Date(array) => out.put_i32(match array.value(row) {
                infinite @ (i32::MAX | i32::MIN) => infinite,
                days => days.saturating_sub(EPOCH_DAYS),
            }),
            Self::Timestamp(array) => out.put_i64(match array.value(row) {
                infinite @ (i64::MAX | i64::MIN) => infinite,
                us => us.saturating_sub(EPOCH_US),
            }),
            Self::Time(array) => out.put_i64(array.value(row)),
            Self::Uuid(array) => out.put_slice(array.value(row)),
            Self::Bytes(array) => out.put_slice(array.value(row)),
        }
    }
}

/// Appends what `value` appends, with its length in front.
fn sized(out: &mut BytesMut, value: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_i32(0);
    value(out);
    let len = i32::try_from(out.len() - start - 4).expect("a field stays below 2 GiB");
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

fn print(out: &mut BytesMut, text: std::fmt::Arguments<'_>) {
    out.writer().write_fmt(text).expect("writing to memory does not fail");
}

fn put_hex(out: &mut BytesMut, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        out.put_u8(DIGITS[usize::from(byte >> 4)]);
        out.put_u8(DIGITS[usize::from(byte & 15)]);
    }
}

/// 8-4-4-4-12 digits.
fn put_uuid(out: &mut BytesMut, bytes: &[u8]) {
    let mut from = 0;
    for to in [4, 6, 8, 10, 16] {
        if from > 0 {
            out.put_u8(b'-');
        }
        put_hex(out, &bytes[from..to]);
        from = to;
    }
}
