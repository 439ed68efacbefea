//! Batches as PostgreSQL's binary COPY (PostgreSQL manual, COPY, "Binary Format").

use arrow_array::RecordBatch;
use bytes::{BufMut, BytesMut};

use super::{ColumnFormat, RowError, field_format};
use crate::encode::Values;
use crate::frames::put_count;

/// What a binary COPY starts with.
pub fn copy_binary_header(out: &mut BytesMut) {
    out.put_slice(b"PGCOPY\n\xff\r\n\0");
    // No flags, no extension.
    out.put_u32(0);
    out.put_u32(0);
}

/// What a binary COPY ends with.
pub fn copy_binary_trailer(out: &mut BytesMut) {
    out.put_i16(-1);
}

/// Appends the batch's rows as tuples, neither header nor trailer. Columns are typed or raw binary.
///
/// # Errors
/// XX000 for a column carried as text, or of an Arrow type that is not [`super::typed`]'s.
pub fn encode_copy_binary(batch: &RecordBatch, out: &mut BytesMut) -> Result<(), RowError> {
    let schema = batch.schema_ref();
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (field, array) in schema.fields().iter().zip(batch.columns()) {
        if field_format(field) == Some(ColumnFormat::RawText) {
            return Err(RowError::TextInCopy { column: field.name().clone() });
        }
        columns.push(
            Values::new(array)
                .ok_or_else(|| RowError::Type { column: field.name().clone(), data_type: field.data_type().clone() })?,
        );
    }
    for row in 0..batch.num_rows() {
        put_count(out, columns.len());
        for column in &columns {
            column.put_field(row, 1, out);
        }
    }
    Ok(())
}
