//! Arrow batches as DataRows, in text exactly as PostgreSQL prints it.
//!
//! Text follows PostgreSQL's defaults: DateStyle ISO, `bytea_output` hex, `extra_float_digits` 1. A session that changed one
//! of these must have its columns carried raw.

mod float;
mod time;
mod values;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema};
use bytes::{BufMut, BytesMut};

use crate::backend::tag;
use crate::frames::put_count;
use crate::frontend::format_of;
use crate::oid;
use crate::rows::{ColumnFormat, field_format, field_oid, typed};

pub use float::{float4_text, float8_text};
pub use time::{date_text, time_text, timestamp_text};
pub(crate) use values::Values;

/// Why a batch cannot be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("column \"{column}\" of type {type_oid} as {data_type} cannot be sent in format {format}")]
    Unencodable { column: String, type_oid: u32, data_type: DataType, format: i16 },
    #[error("{formats} result formats for {columns} columns")]
    Formats { formats: usize, columns: usize },
    #[error("a batch whose columns are not those of the schema")]
    Batch,
    #[error("a row passes 1 GiB")]
    TooLarge,
}

impl EncodeError {
    /// The SQLSTATE under which a client should see it.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Formats { .. } => "08P01",
            Self::TooLarge => "54000",
            Self::Unencodable { .. } | Self::Batch => "XX000",
        }
    }
}

/// PostgreSQL's own limit on what one message holds, in bytes.
const ROW_LEN_MAX: usize = 1 << 30;

/// Whether every column of `schema` can be sent in its format; `formats` as in a Bind (none: all text; one: for all).
pub fn encodable(schema: &Schema, formats: &[i16]) -> bool {
    (formats.len() < 2 || formats.len() == schema.fields().len())
        && schema.fields().iter().enumerate().all(|(index, field)| encodable_field(field, format_of(formats, index)))
}

/// Whether a column can be sent in `format` (0 text, 1 binary): raw columns only in their own, typed ones always in binary,
/// and in text when its digits depend on nothing but the value (not timestamptz, which needs the session's time zone, and no type
/// that is carried as its binary representation, except bytea and numeric).
pub fn encodable_field(field: &Field, format: i16) -> bool {
    let Some(type_oid) = field_oid(field) else { return false };
    match (field_format(field), format) {
        (Some(ColumnFormat::RawText), 0) | (Some(ColumnFormat::RawBinary), 1) => *field.data_type() == DataType::Binary,
        (Some(ColumnFormat::Typed), 1) => *field.data_type() == typed(type_oid),
        (Some(ColumnFormat::Typed), 0) => {
            let printable = match typed(type_oid) {
                DataType::Binary => matches!(type_oid, oid::BYTEA | oid::NUMERIC),
                _ => type_oid != oid::TIMESTAMPTZ,
            };
            printable && *field.data_type() == typed(type_oid)
        }
        _ => false,
    }
}

/// Writes batches of one schema as DataRows.
#[derive(Debug, Clone)]
pub struct RowEncoder {
    columns: Vec<(DataType, Print)>,
}

/// How a column's values become bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Print {
    /// As the type's text, or as its binary representation.
    Format(i16),
    /// The bytes there are.
    Raw,
    /// The bytes there are hold a numeric, wanted as text.
    NumericText,
}

impl RowEncoder {
    /// `result_formats` as in a Bind: none is all text, one is for all, otherwise one per column (0 text, 1 binary).
    ///
    /// # Errors
    /// XX000 for a column that is not [`encodable_field`], 08P01 when the formats do not fit the columns in number.
    pub fn new(schema: &Schema, result_formats: &[i16]) -> Result<Self, EncodeError> {
        let count = schema.fields().len();
        if result_formats.len() > 1 && result_formats.len() != count {
            return Err(EncodeError::Formats { formats: result_formats.len(), columns: count });
        }
        let columns = schema
            .fields()
            .iter()
            .enumerate()
            .map(|(index, field)| {
                let format = format_of(result_formats, index);
                let type_oid = field_oid(field).unwrap_or(0);
                if !encodable_field(field, format) {
                    return Err(EncodeError::Unencodable {
                        column: field.name().clone(),
                        type_oid,
                        data_type: field.data_type().clone(),
                        format,
                    });
                }
                let print = match field_format(field) {
                    Some(ColumnFormat::Typed) if format == 0 && type_oid == oid::NUMERIC => Print::NumericText,
                    Some(ColumnFormat::Typed) => Print::Format(format),
                    _ => Print::Raw,
                };
                Ok((field.data_type().clone(), print))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { columns })
    }

    /// Appends every row of `batch` as a DataRow.
    ///
    /// # Errors
    /// XX000 when the batch's columns are not those of the schema, 54000 for a row of more than 1 GiB. `out` then ends
    /// within a row and must be cut back to where it was.
    pub fn encode(&self, batch: &RecordBatch, out: &mut BytesMut) -> Result<(), EncodeError> {
        self.encode_range(batch, 0..batch.num_rows(), out)
    }

    /// As [`RowEncoder::encode`], for some of the rows (which must be within the batch).
    ///
    /// # Errors
    /// As [`RowEncoder::encode`].
    pub fn encode_range(
        &self,
        batch: &RecordBatch,
        rows: std::ops::Range<usize>,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        if batch.num_columns() != self.columns.len() {
            return Err(EncodeError::Batch);
        }
        let mut columns = Vec::with_capacity(self.columns.len());
        for ((data_type, print), array) in self.columns.iter().zip(batch.columns()) {
            if array.data_type() != data_type {
                return Err(EncodeError::Batch);
            }
            columns.push((Values::new(array).ok_or(EncodeError::Batch)?, *print));
        }
        for row in rows {
            out.put_u8(tag::DATA_ROW);
            let start = out.len();
            out.put_u32(0);
            put_count(out, columns.len());
            for (values, print) in &columns {
                match print {
                    Print::Format(format) => values.put_field(row, *format, out),
                    Print::Raw => values.put_field(row, 1, out),
                    Print::NumericText => values.put_numeric_text(row, out)?,
                }
                if out.len() - start > ROW_LEN_MAX {
                    return Err(EncodeError::TooLarge);
                }
            }
            let len = u32::try_from(out.len() - start).map_err(|_| EncodeError::TooLarge)?;
            out[start..start + 4].copy_from_slice(&len.to_be_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
