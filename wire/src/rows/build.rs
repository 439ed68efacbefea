//! DataRows into Arrow batches.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, BooleanBuilder, FixedSizeBinaryBuilder, PrimitiveBuilder, StringBuilder};
use arrow_array::types::{
    Date32Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimestampMicrosecondType, UInt32Type,
};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{DataType, Field, SchemaRef, TimeUnit};

use super::{EPOCH_DAYS, EPOCH_US, RowError};
use crate::backend::decode::data_row;

/// Offsets of Arrow's Binary and Utf8 are 32-bit: one batch must stay below.
const BATCH_LEN_MAX: usize = i32::MAX as usize;

/// Collects rows into Arrow batches of one schema.
#[derive(Debug)]
pub struct BatchBuilder {
    schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
    rows: usize,
    bytes: usize,
}

#[derive(Debug)]
enum ColumnBuilder {
    Bool(BooleanBuilder),
    Int2(PrimitiveBuilder<Int16Type>),
    Int4(PrimitiveBuilder<Int32Type>),
    Int8(PrimitiveBuilder<Int64Type>),
    Oid(PrimitiveBuilder<UInt32Type>),
    Float4(PrimitiveBuilder<Float32Type>),
    Float8(PrimitiveBuilder<Float64Type>),
    Text(StringBuilder),
    Date(PrimitiveBuilder<Date32Type>),
    Timestamp(PrimitiveBuilder<TimestampMicrosecondType>),
    Time(PrimitiveBuilder<Time64MicrosecondType>),
    Uuid(FixedSizeBinaryBuilder),
    Bytes(BinaryBuilder),
}

impl BatchBuilder {
    /// A builder for `schema`, which must be one that [`super::schema`] makes.
    ///
    /// # Errors
    /// XX000 for an Arrow type that PostgreSQL rows never become.
    pub fn new(schema: SchemaRef) -> Result<Self, RowError> {
        let columns = schema.fields().iter().map(|field| ColumnBuilder::new(field)).collect::<Result<_, _>>()?;
        Ok(Self { schema, columns, rows: 0, bytes: 0 })
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Appends the row of a DataRow's body: typed and raw binary columns in binary, raw text columns in text.
    ///
    /// # Errors
    /// 08P01 for a malformed row, 22021 for text that is not UTF-8, 22008 for a timestamp in PostgreSQL's last thirty
    /// years (from 294247), 54000 when the batch passes 2 GiB. The builder must be dropped after an error.
    pub fn push_row(&mut self, data_row_body: &[u8]) -> Result<(), RowError> {
        if self.bytes + data_row_body.len() > BATCH_LEN_MAX {
            return Err(RowError::TooLarge);
        }
        let mut row = data_row(data_row_body)?;
        let got = row.size_hint().0;
        if got != self.columns.len() {
            return Err(RowError::Columns { expected: self.columns.len(), got });
        }
        for (index, column) in self.columns.iter_mut().enumerate() {
            let Some(value) = row.next_field()? else { break };
            match value {
                None => column.push_null(),
                Some(value) => column.push(value).map_err(|fault| fault.at(self.schema.field(index), value))?,
            }
        }
        // Anything after the last field is an error.
        row.next_field()?;
        self.rows += 1;
        self.bytes += data_row_body.len();
        Ok(())
    }

    /// The bytes of the rows since the last [`BatchBuilder::finish`], as they came.
    pub fn len_bytes(&self) -> usize {
        self.bytes
    }

    /// The rows since the last [`BatchBuilder::finish`].
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The rows so far as one batch; the builder starts again with none.
    pub fn finish(&mut self) -> RecordBatch {
        let arrays: Vec<ArrayRef> = self.columns.iter_mut().map(ColumnBuilder::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        self.bytes = 0;
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
            .expect("the builders were made from the schema and got the same number of values")
    }
}

/// What is wrong with a value, before its column is known.
enum Fault {
    Width,
    NotUtf8,
    TimestampRange,
}

impl Fault {
    fn at(self, field: &Field, value: &[u8]) -> RowError {
        let column = field.name().clone();
        match self {
            Self::Width => RowError::Width { column, len: value.len() },
            Self::NotUtf8 => RowError::NotUtf8 { column },
            Self::TimestampRange => RowError::TimestampRange { column },
        }
    }
}

fn fixed<const N: usize>(value: &[u8]) -> Result<[u8; N], Fault> {
    value.try_into().map_err(|_| Fault::Width)
}

impl ColumnBuilder {
    fn new(field: &Field) -> Result<Self, RowError> {
        Ok(match field.data_type() {
            DataType::Boolean => Self::Bool(BooleanBuilder::new()),
            DataType::Int16 => Self::Int2(PrimitiveBuilder::new()),
            DataType::Int32 => Self::Int4(PrimitiveBuilder::new()),
            DataType::Int64 => Self::Int8(PrimitiveBuilder::new()),
            DataType::UInt32 => Self::Oid(PrimitiveBuilder::new()),
            DataType::Float32 => Self::Float4(PrimitiveBuilder::new()),
            DataType::Float64 => Self::Float8(PrimitiveBuilder::new()),
            DataType::Utf8 => Self::Text(StringBuilder::new()),
            DataType::Date32 => Self::Date(PrimitiveBuilder::new()),
            DataType::Timestamp(TimeUnit::Microsecond, None) => Self::Timestamp(PrimitiveBuilder::new()),
            DataType::Time64(TimeUnit::Microsecond) => Self::Time(PrimitiveBuilder::new()),
            DataType::FixedSizeBinary(16) => Self::Uuid(FixedSizeBinaryBuilder::new(16)),
            DataType::Binary => Self::Bytes(BinaryBuilder::new()),
            other => return Err(RowError::Type { column: field.name().clone(), data_type: other.clone() }),
        })
    }

    fn push(&mut self, value: &[u8]) -> Result<(), Fault> {
        match self {
            Self::Bool(builder) => builder.append_value(fixed::<1>(value)?[0] != 0),
            Self::Int2(builder) => builder.append_value(i16::from_be_bytes(fixed(value)?)),
            Self::Int4(builder) => builder.append_value(i32::from_be_bytes(fixed(value)?)),
            Self::Int8(builder) => builder.append_value(i64::from_be_bytes(fixed(value)?)),
            Self::Oid(builder) => builder.append_value(u32::from_be_bytes(fixed(value)?)),
            Self::Float4(builder) => builder.append_value(f32::from_be_bytes(fixed(value)?)),
            Self::Float8(builder) => builder.append_value(f64::from_be_bytes(fixed(value)?)),
            Self::Text(builder) => builder.append_value(std::str::from_utf8(value).map_err(|_| Fault::NotUtf8)?),
            Self::Date(builder) => builder.append_value(unix_days(i32::from_be_bytes(fixed(value)?))),
            Self::Timestamp(builder) => {
                let us = unix_us(i64::from_be_bytes(fixed(value)?)).ok_or(Fault::TimestampRange)?;
                builder.append_value(us);
            }
            Self::Time(builder) => builder.append_value(i64::from_be_bytes(fixed(value)?)),
            Self::Uuid(builder) => builder.append_value(fixed::<16>(value)?).map_err(|_| Fault::Width)?,
            Self::Bytes(builder) => builder.append_value(value),
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
            Self::Text(builder) => builder.append_null(),
            Self::Date(builder) => builder.append_null(),
            Self::Timestamp(builder) => builder.append_null(),
            Self::Time(builder) => builder.append_null(),
            Self::Uuid(builder) => builder.append_null(),
            Self::Bytes(builder) => builder.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Int2(builder) => Arc::new(builder.finish()),
            Self::Int4(builder) => Arc::new(builder.finish()),
            Self::Int8(builder) => Arc::new(builder.finish()),
            Self::Oid(builder) => Arc::new(builder.finish()),
            Self::Float4(builder) => Arc::new(builder.finish()),
            Self::Float8(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
            Self::Uuid(builder) => Arc::new(builder.finish()),
            Self::Bytes(builder) => Arc::new(builder.finish()),
        }
    }
}

/// Days since 1970 of PostgreSQL's days since 2000; its infinities stay what they are.
fn unix_days(days: i32) -> i32 {
    match days {
        i32::MAX | i32::MIN => days,
        // PostgreSQL's last date is year 5874897, far enough from the end.
        finite => finite.saturating_add(EPOCH_DAYS),
    }
}

/// Microseconds since 1970 of PostgreSQL's since 2000; its infinities stay what they are. None when it does not fit.
fn unix_us(us: i64) -> Option<i64> {
    match us {
        i64::MAX | i64::MIN => Some(us),
        // The end itself means infinity and must not be reached by a finite value.
        finite => finite.checked_add(EPOCH_US).filter(|us| *us != i64::MAX),
    }
}
