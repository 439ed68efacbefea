//! Single values, and their way out of and into Arrow arrays.

use std::borrow::Cow;
use std::sync::Arc;

use atoll_wire::numeric::Numeric;
use datafusion::arrow::array::builder::{
    BinaryBuilder, BooleanBuilder, Decimal128Builder, FixedSizeBinaryBuilder, PrimitiveBuilder, StringBuilder,
};
use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BooleanArray, FixedSizeBinaryArray, PrimitiveArray,
    StringArray,
};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimestampMicrosecondType, UInt32Type,
};

use crate::error::SqlError;
use crate::types::PgType;

/// One value. Integers, dates and times of every width are `Int`, in the units of their Arrow type.
#[derive(Clone, Debug)]
pub enum Datum<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// The running sum of bigints.
    Wide(i128),
    Float4(f32),
    Float8(f64),
    Numeric(Numeric),
    Text(Cow<'a, str>),
    /// bytea, uuid, and whatever is only carried.
    Bytes(Cow<'a, [u8]>),
}

impl Datum<'_> {
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The same value, borrowing nothing.
    pub fn into_owned(self) -> Datum<'static> {
        match self {
            Datum::Null => Datum::Null,
            Datum::Bool(value) => Datum::Bool(value),
            Datum::Int(value) => Datum::Int(value),
            Datum::Wide(value) => Datum::Wide(value),
            Datum::Float4(value) => Datum::Float4(value),
            Datum::Float8(value) => Datum::Float8(value),
            Datum::Numeric(value) => Datum::Numeric(value),
            Datum::Text(value) => Datum::Text(Cow::Owned(value.into_owned())),
            Datum::Bytes(value) => Datum::Bytes(Cow::Owned(value.into_owned())),
        }
    }

    /// The same value, borrowed from this one.
    pub fn borrow(&self) -> Datum<'_> {
        match self {
            Datum::Text(value) => Datum::Text(Cow::Borrowed(value)),
            Datum::Bytes(value) => Datum::Bytes(Cow::Borrowed(value)),
            Datum::Numeric(value) => Datum::Numeric(value.clone()),
            Datum::Null => Datum::Null,
            Datum::Bool(value) => Datum::Bool(*value),
            Datum::Int(value) => Datum::Int(*value),
            Datum::Wide(value) => Datum::Wide(*value),
            Datum::Float4(value) => Datum::Float4(*value),
            Datum::Float8(value) => Datum::Float8(*value),
        }
    }

    /// Bytes it holds outside itself, about.
    pub fn heap_size(&self) -> usize {
        match self {
            Self::Text(Cow::Owned(value)) => value.capacity(),
            Self::Bytes(Cow::Owned(value)) => value.capacity(),
            // Digits live in a vector of their own; most sums have a few words.
            Self::Numeric(_) => 32,
            _ => 0,
        }
    }
}

/// A column of a batch, read value by value.
pub enum Reader<'a> {
    Bool(&'a BooleanArray),
    Int2(&'a PrimitiveArray<Int16Type>),
    Int4(&'a PrimitiveArray<Int32Type>),
    Int8(&'a PrimitiveArray<Int64Type>),
    Oid(&'a PrimitiveArray<UInt32Type>),
    Float4(&'a PrimitiveArray<Float32Type>),
    Float8(&'a PrimitiveArray<Float64Type>),
    Date(&'a PrimitiveArray<Date32Type>),
    Time(&'a PrimitiveArray<Time64MicrosecondType>),
    Timestamp(&'a PrimitiveArray<TimestampMicrosecondType>),
    Wide(&'a PrimitiveArray<Decimal128Type>),
    Text(&'a StringArray),
    Numeric(&'a BinaryArray),
    Bytes(&'a BinaryArray),
    Uuid(&'a FixedSizeBinaryArray),
}

impl<'a> Reader<'a> {
    /// `array` read as values of `ty`.
    ///
    /// # Errors
    /// XX000 when the array is not of the type's Arrow type.
    pub fn new(array: &'a ArrayRef, ty: PgType) -> Result<Self, SqlError> {
        let reader = match array.data_type() {
            DataType::Boolean => array.as_boolean_opt().map(Self::Bool),
            DataType::Int16 => array.as_primitive_opt().map(Self::Int2),
            DataType::Int32 => array.as_primitive_opt().map(Self::Int4),
            DataType::Int64 => array.as_primitive_opt().map(Self::Int8),
            DataType::UInt32 => array.as_primitive_opt().map(Self::Oid),
            DataType::Float32 => array.as_primitive_opt().map(Self::Float4),
            DataType::Float64 => array.as_primitive_opt().map(Self::Float8),
            DataType::Date32 => array.as_primitive_opt().map(Self::Date),
            DataType::Time64(_) => array.as_primitive_opt().map(Self::Time),
            DataType::Timestamp(_, _) => array.as_primitive_opt().map(Self::Timestamp),
            DataType::Decimal128(_, _) => array.as_primitive_opt().map(Self::Wide),
            DataType::Utf8 => array.as_string_opt().map(Self::Text),
            DataType::Binary if ty == PgType::Numeric => array.as_binary_opt().map(Self::Numeric),
            DataType::Binary => array.as_binary_opt().map(Self::Bytes),
            DataType::FixedSizeBinary(_) => array.as_fixed_size_binary_opt().map(Self::Uuid),
            _ => None,
        };
        reader.ok_or_else(|| SqlError::new("XX000", format!("no {} in an array of {}", ty.name(), array.data_type())))
    }

    /// The value in `row`.
    ///
    /// # Errors
    /// 22P03 for bytes that are no numeric.
    pub fn get(&self, row: usize) -> Result<Datum<'a>, SqlError> {
        fn some<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
            (!array.is_null(row)).then(|| array.value(row))
        }
        let datum = match self {
            Self::Bool(array) => (!array.is_null(row)).then(|| Datum::Bool(array.value(row))),
            Self::Int2(array) => some(array, row).map(|value| Datum::Int(value.into())),
            Self::Int4(array) => some(array, row).map(|value| Datum::Int(value.into())),
            Self::Int8(array) => some(array, row).map(Datum::Int),
            Self::Oid(array) => some(array, row).map(|value| Datum::Int(value.into())),
            Self::Float4(array) => some(array, row).map(Datum::Float4),
            Self::Float8(array) => some(array, row).map(Datum::Float8),
            Self::Date(array) => some(array, row).map(|value| Datum::Int(value.into())),
            Self::Time(array) => some(array, row).map(Datum::Int),
            Self::Timestamp(array) => some(array, row).map(Datum::Int),
            Self::Wide(array) => some(array, row).map(Datum::Wide),
            Self::Text(array) => (!array.is_null(row)).then(|| Datum::Text(Cow::Borrowed(array.value(row)))),
            Self::Bytes(array) => (!array.is_null(row)).then(|| Datum::Bytes(Cow::Borrowed(array.value(row)))),
            Self::Uuid(array) => (!array.is_null(row)).then(|| Datum::Bytes(Cow::Borrowed(array.value(row)))),
            Self::Numeric(array) if array.is_null(row) => None,
            Self::Numeric(array) => Some(Datum::Numeric(Numeric::from_binary(array.value(row))?)),
        };
        Ok(datum.unwrap_or(Datum::Null))
    }
}

/// Collects values into an array.
pub enum Writer {
    Bool(BooleanBuilder),
    Int2(PrimitiveBuilder<Int16Type>),
    Int4(PrimitiveBuilder<Int32Type>),
    Int8(PrimitiveBuilder<Int64Type>),
    Oid(PrimitiveBuilder<UInt32Type>),
    Float4(PrimitiveBuilder<Float32Type>),
    Float8(PrimitiveBuilder<Float64Type>),
    Date(PrimitiveBuilder<Date32Type>),
    Time(PrimitiveBuilder<Time64MicrosecondType>),
    Timestamp(PrimitiveBuilder<TimestampMicrosecondType>),
    Wide(Decimal128Builder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Uuid(FixedSizeBinaryBuilder),
}

/// The Arrow type of running sums of bigints: only between an aggregate's two halves.
pub const WIDE: DataType = DataType::Decimal128(38, 0);

impl Writer {
    /// For arrays of this Arrow type.
    ///
    /// # Errors
    /// XX000 for a type that no PostgreSQL type becomes.
    pub fn new(data_type: &DataType) -> Result<Self, SqlError> {
        Ok(match data_type {
            DataType::Boolean => Self::Bool(BooleanBuilder::new()),
            DataType::Int16 => Self::Int2(PrimitiveBuilder::new()),
            DataType::Int32 => Self::Int4(PrimitiveBuilder::new()),
            DataType::Int64 => Self::Int8(PrimitiveBuilder::new()),
            DataType::UInt32 => Self::Oid(PrimitiveBuilder::new()),
            DataType::Float32 => Self::Float4(PrimitiveBuilder::new()),
            DataType::Float64 => Self::Float8(PrimitiveBuilder::new()),
            DataType::Date32 => Self::Date(PrimitiveBuilder::new()),
            DataType::Time64(_) => Self::Time(PrimitiveBuilder::new()),
            DataType::Timestamp(_, _) => Self::Timestamp(PrimitiveBuilder::new()),
            DataType::Decimal128(_, _) => Self::Wide(Decimal128Builder::new().with_data_type(WIDE)),
            DataType::Utf8 => Self::Text(StringBuilder::new()),
            DataType::Binary => Self::Bytes(BinaryBuilder::new()),
            DataType::FixedSizeBinary(width) => Self::Uuid(FixedSizeBinaryBuilder::new(*width)),
            other => return Err(SqlError::new("XX000", format!("no values become {other}"))),
        })
    }

    /// Appends a value.
    ///
    /// # Errors
    /// XX000 when it is not of the array's type.
    pub fn push(&mut self, value: &Datum<'_>) -> Result<(), SqlError> {
        let mismatch = |value: &Datum<'_>| SqlError::new("XX000", format!("{value:?} does not fit its column"));
        if value.is_null() {
            self.push_null();
            return Ok(());
        }
        match (&mut *self, value) {
            (Self::Bool(builder), Datum::Bool(value)) => builder.append_value(*value),
            (Self::Int2(builder), Datum::Int(int)) => {
                builder.append_value(i16::try_from(*int).map_err(|_| mismatch(value))?);
            }
            (Self::Int4(builder), Datum::Int(int)) => {
                builder.append_value(i32::try_from(*int).map_err(|_| mismatch(value))?);
            }
            (Self::Oid(builder), Datum::Int(int)) => {
                builder.append_value(u32::try_from(*int).map_err(|_| mismatch(value))?);
            }
            (Self::Date(builder), Datum::Int(int)) => {
                builder.append_value(i32::try_from(*int).map_err(|_| mismatch(value))?);
            }
            (Self::Int8(builder), Datum::Int(int)) => builder.append_value(*int),
            (Self::Time(builder), Datum::Int(int)) => builder.append_value(*int),
            (Self::Timestamp(builder), Datum::Int(int)) => builder.append_value(*int),
            (Self::Wide(builder), Datum::Wide(wide)) => builder.append_value(*wide),
            (Self::Float4(builder), Datum::Float4(float)) => builder.append_value(*float),
            (Self::Float8(builder), Datum::Float8(float)) => builder.append_value(*float),
            (Self::Text(builder), Datum::Text(text)) => builder.append_value(text),
            (Self::Bytes(builder), Datum::Bytes(bytes)) => builder.append_value(bytes),
            (Self::Bytes(builder), Datum::Numeric(numeric)) => builder.append_value(numeric.to_binary()),
            (Self::Uuid(builder), Datum::Bytes(bytes)) => {
                builder.append_value(bytes).map_err(|_| mismatch(value))?;
            }
            (_, value) => return Err(mismatch(value)),
        }
        Ok(())
    }

    fn push_null(&mut self) {
        match self {
            Self::Bool(builder) => builder.append_null(),
            Self::Int2(builder) => builder.append_null(),
            Self::Int4(builder) => builder.append_null(),
            Self::Int8(builder) => builder.append_null(),
            Self::Oid(builder) => builder.append_null(),
            Self::Float4(builder) => builder.append_null(),
            Self::Float8(builder) => builder.append_null(),
            Self::Date(builder) => builder.append_null(),
            Self::Time(builder) => builder.append_null(),
            Self::Timestamp(builder) => builder.append_null(),
            Self::Wide(builder) => builder.append_null(),
            Self::Text(builder) => builder.append_null(),
            Self::Bytes(builder) => builder.append_null(),
            Self::Uuid(builder) => builder.append_null(),
        }
    }

    /// The array.
    pub fn finish(mut self) -> ArrayRef {
        match &mut self {
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Int2(builder) => Arc::new(builder.finish()),
            Self::Int4(builder) => Arc::new(builder.finish()),
            Self::Int8(builder) => Arc::new(builder.finish()),
            Self::Oid(builder) => Arc::new(builder.finish()),
            Self::Float4(builder) => Arc::new(builder.finish()),
            Self::Float8(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
            Self::Wide(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Bytes(builder) => Arc::new(builder.finish()),
            Self::Uuid(builder) => Arc::new(builder.finish()),
        }
    }
}
