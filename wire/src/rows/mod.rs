//! PostgreSQL rows as Arrow.
//!
//! [`schema`] says which Arrow type each column gets, [`BatchBuilder`] decodes DataRows (or tuples of binary COPY, which
//! have the same layout) into batches, [`IpcWriter`] and [`IpcReader`] carry batches as an Arrow IPC stream, and
//! [`encode_copy_binary`] turns a batch back into binary COPY.
//!
//! | PostgreSQL, typed | Arrow |
//! | --- | --- |
//! | bool, int2, int4, int8, oid | Boolean, Int16, Int32, Int64, UInt32 |
//! | float4, float8 | Float32, Float64 |
//! | text, varchar, bpchar, name | Utf8 |
//! | bytea | Binary |
//! | date | Date32; infinities are `i32::MAX` and `i32::MIN` |
//! | timestamp, timestamptz | Timestamp(us) without zone, Unix epoch; infinities are `i64::MAX` and `i64::MIN` |
//! | time | Time64(us); 24:00:00 is 86,400,000,000 |
//! | uuid | FixedSizeBinary(16) |
//! | numeric | Binary: PostgreSQL's binary representation, see [`crate::numeric`] |
//! | anything else | Binary: the type's binary representation |
//!
//! Raw columns are Binary whatever the type, and hold the field as the server sent it.

mod build;
mod copy;
mod ipc;

use std::collections::HashMap;

use arrow_schema::{DataType, Field, Schema, TimeUnit};

pub use build::BatchBuilder;
pub use copy::{copy_binary_header, copy_binary_trailer, encode_copy_binary};
pub use ipc::{IpcReader, IpcWriter};

use crate::backend::Column;
use crate::frames::FrameError;
use crate::oid;

/// Metadata key of a field: the type's OID, decimal.
pub const PG_OID: &str = "pg.oid";
/// Metadata key of a field: the type modifier, decimal, -1 for none.
pub const PG_TYPMOD: &str = "pg.typmod";
/// Metadata key of a field: `typed`, `text` or `binary`.
pub const PG_FORMAT: &str = "pg.format";

/// Days from 1970-01-01 to 2000-01-01, PostgreSQL's epoch.
pub(crate) const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
pub(crate) const EPOCH_US: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

/// How a column of a result travels as Arrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnFormat {
    /// Decoded from its binary representation into the Arrow type of its type.
    Typed,
    /// Binary holding the text representation.
    RawText,
    /// Binary holding the binary representation.
    RawBinary,
}

impl ColumnFormat {
    /// The format code to ask PostgreSQL for: 0 text, 1 binary.
    pub fn wire_format(self) -> i16 {
        match self {
            Self::RawText => 0,
            Self::Typed | Self::RawBinary => 1,
        }
    }

    /// Its value under [`PG_FORMAT`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Typed => "typed",
            Self::RawText => "text",
            Self::RawBinary => "binary",
        }
    }
}

/// Why a row cannot become Arrow, or a batch cannot become COPY.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("a row of {got} columns where {expected} were described")]
    Columns { expected: usize, got: usize },
    #[error("column \"{column}\" has {len} bytes, which its type never has")]
    Width { column: String, len: usize },
    #[error("column \"{column}\" holds text that is not UTF-8")]
    NotUtf8 { column: String },
    #[error("column \"{column}\" holds a timestamp beyond the year 294246, which cannot be merged")]
    TimestampRange { column: String },
    #[error("a batch of rows passes 2 GiB")]
    TooLarge,
    #[error("column \"{column}\" of Arrow type {data_type} has no counterpart in PostgreSQL rows")]
    Type { column: String, data_type: DataType },
    #[error("column \"{column}\" is carried as text, which binary COPY cannot take")]
    TextInCopy { column: String },
    #[error(transparent)]
    Arrow(#[from] arrow_schema::ArrowError),
}

impl RowError {
    /// The SQLSTATE under which a client should see it.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Frame(error) => error.sqlstate(),
            Self::NotUtf8 { .. } => "22021",
            Self::TimestampRange { .. } => "22008",
            Self::TooLarge => "54000",
            Self::Columns { .. } | Self::Width { .. } => "08P01",
            Self::Type { .. } | Self::TextInCopy { .. } | Self::Arrow(_) => "XX000",
        }
    }
}

/// The Arrow schema of a result: one nullable field per column, with [`PG_OID`], [`PG_TYPMOD`] and [`PG_FORMAT`] as metadata.
/// `formats` holds one per column; columns past its end are typed.
pub fn schema(columns: &[Column], formats: &[ColumnFormat]) -> Schema {
    let fields: Vec<Field> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let format = formats.get(index).copied().unwrap_or(ColumnFormat::Typed);
            field(&column.name, column.type_oid, column.typmod, format)
        })
        .collect();
    Schema::new(fields)
}

/// One field of such a schema.
pub fn field(name: &str, type_oid: u32, typmod: i32, format: ColumnFormat) -> Field {
    let data_type = match format {
        ColumnFormat::Typed => typed(type_oid),
        ColumnFormat::RawText | ColumnFormat::RawBinary => DataType::Binary,
    };
    let metadata = HashMap::from([
        (PG_OID.to_owned(), type_oid.to_string()),
        (PG_TYPMOD.to_owned(), typmod.to_string()),
        (PG_FORMAT.to_owned(), format.as_str().to_owned()),
    ]);
    Field::new(name, data_type, true).with_metadata(metadata)
}

/// The Arrow type of a typed column.
pub fn typed(type_oid: u32) -> DataType {
    match type_oid {
        oid::BOOL => DataType::Boolean,
        oid::INT2 => DataType::Int16,
        oid::INT4 => DataType::Int32,
        oid::INT8 => DataType::Int64,
        oid::OID => DataType::UInt32,
        oid::FLOAT4 => DataType::Float32,
        oid::FLOAT8 => DataType::Float64,
        oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME => DataType::Utf8,
        oid::DATE => DataType::Date32,
        oid::TIMESTAMP | oid::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, None),
        oid::TIME => DataType::Time64(TimeUnit::Microsecond),
        oid::UUID => DataType::FixedSizeBinary(16),
        _ => DataType::Binary,
    }
}

/// The type OID that a field's metadata names.
pub fn field_oid(field: &Field) -> Option<u32> {
    field.metadata().get(PG_OID)?.parse().ok()
}

/// The type modifier that a field's metadata names; -1 for none.
pub fn field_typmod(field: &Field) -> i32 {
    field.metadata().get(PG_TYPMOD).and_then(|text| text.parse().ok()).unwrap_or(-1)
}

/// How a field travels, by its metadata; None when it does not say.
pub fn field_format(field: &Field) -> Option<ColumnFormat> {
    match field.metadata().get(PG_FORMAT)?.as_str() {
        "typed" => Some(ColumnFormat::Typed),
        "text" => Some(ColumnFormat::RawText),
        "binary" => Some(ColumnFormat::RawBinary),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
