//! Decoders of the messages a server sends. Each takes a message's body: what follows type and length.

use bytes::Bytes;

use super::{Column, ErrorFields};
use crate::cursor::Cursor;
use crate::frames::FrameError;

/// # Errors
/// 08P01 for a malformed message, 22021 for a name that is not UTF-8.
pub fn row_description(body: &[u8]) -> Result<Vec<Column>, FrameError> {
    let mut cursor = Cursor::new(body, "RowDescription");
    let count = cursor.u16()?;
    let columns = (0..count)
        .map(|_| {
            Ok(Column {
                name: cursor.c_str()?.to_owned(),
                table_oid: cursor.u32()?,
                attribute: cursor.i16()?,
                type_oid: cursor.u32()?,
                type_len: cursor.i16()?,
                typmod: cursor.i32()?,
                format: cursor.i16()?,
            })
        })
        .collect::<Result<_, FrameError>>()?;
    cursor.end()?;
    Ok(columns)
}

/// The types of a statement's parameters.
///
/// # Errors
/// 08P01 for a malformed message.
pub fn parameter_description(body: &[u8]) -> Result<Vec<u32>, FrameError> {
    let mut cursor = Cursor::new(body, "ParameterDescription");
    let count = cursor.u16()?;
    let types = (0..count).map(|_| cursor.u32()).collect::<Result<_, _>>()?;
    cursor.end()?;
    Ok(types)
}

/// The command tag.
///
/// # Errors
/// 08P01 for a malformed message, 22021 for a tag that is not UTF-8.
pub fn command_complete(body: &[u8]) -> Result<&str, FrameError> {
    let mut cursor = Cursor::new(body, "CommandComplete");
    let tag = cursor.c_str()?;
    cursor.end()?;
    Ok(tag)
}

/// The number of rows a command tag ends with; None for commands that count nothing.
pub fn rows_of_tag(tag: &str) -> Option<u64> {
    tag.rsplit_once(' ').and_then(|(_, count)| count.parse().ok())
}

/// The fields of an ErrorResponse or a NoticeResponse. Text that is not UTF-8 (errors before the encoding is settled)
/// comes with replacement characters.
///
/// # Errors
/// 08P01 for a malformed message.
pub fn error_fields(body: &[u8]) -> Result<ErrorFields, FrameError> {
    let mut cursor = Cursor::new(body, "ErrorResponse");
    let mut fields = Vec::new();
    loop {
        match cursor.u8()? {
            0 => break,
            code => fields.push((code, String::from_utf8_lossy(cursor.c_bytes()?).into_owned())),
        }
    }
    cursor.end()?;
    Ok(ErrorFields::from_fields(fields))
}

/// The fields of one row, one after another.
#[derive(Debug, Clone)]
pub struct DataRow<'a> {
    cursor: Cursor<'a>,
    left: u16,
}

impl<'a> DataRow<'a> {
    /// The next field (None for NULL), or None after the last.
    ///
    /// # Errors
    /// 08P01 when the row ends too early, or goes on after its last field.
    pub fn next_field(&mut self) -> Result<Option<Option<&'a [u8]>>, FrameError> {
        if self.left == 0 {
            self.cursor.end()?;
            return Ok(None);
        }
        self.left -= 1;
        self.cursor.field().map(Some)
    }
}

impl<'a> Iterator for DataRow<'a> {
    type Item = Result<Option<&'a [u8]>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let field = self.cursor.field();
        if field.is_err() {
            self.left = 0;
        }
        Some(field)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left.into(), Some(self.left.into()))
    }
}

/// The fields of a row, borrowed from it. The same layout (count, then length-prefixed fields) is a tuple of binary COPY.
///
/// # Errors
/// 08P01 when not even the number of fields is there.
pub fn data_row(body: &[u8]) -> Result<DataRow<'_>, FrameError> {
    let mut cursor = Cursor::new(body, "DataRow");
    let left = cursor.u16()?;
    Ok(DataRow { cursor, left })
}

/// The fields of a row, sharing its memory; NULL is None.
///
/// # Errors
/// 08P01 for a malformed message.
pub fn data_row_owned(body: &Bytes) -> Result<Vec<Option<Bytes>>, FrameError> {
    data_row(body)?.map(|field| Ok(field?.map(|field| body.slice_ref(field)))).collect()
}

/// The transaction status: `b'I'`, `b'T'` or `b'E'`.
///
/// # Errors
/// 08P01 for a malformed message.
pub fn ready_for_query(body: &[u8]) -> Result<u8, FrameError> {
    match body {
        [status @ (b'I' | b'T' | b'E')] => Ok(*status),
        _ => Err(FrameError::Malformed { message: "ReadyForQuery" }),
    }
}

/// Name and value.
///
/// # Errors
/// 08P01 for a malformed message, 22021 for text that is not UTF-8.
pub fn parameter_status(body: &[u8]) -> Result<(&str, &str), FrameError> {
    let mut cursor = Cursor::new(body, "ParameterStatus");
    let pair = (cursor.c_str()?, cursor.c_str()?);
    cursor.end()?;
    Ok(pair)
}

/// Process id and secret.
///
/// # Errors
/// 08P01 for a malformed message.
pub fn backend_key_data(body: &[u8]) -> Result<(i32, i32), FrameError> {
    let mut cursor = Cursor::new(body, "BackendKeyData");
    let pair = (cursor.i32()?, cursor.i32()?);
    cursor.end()?;
    Ok(pair)
}

/// The kind of an Authentication message (0 is success) and what follows it.
///
/// # Errors
/// 08P01 for a malformed message.
pub fn authentication(body: &[u8]) -> Result<(i32, &[u8]), FrameError> {
    let mut cursor = Cursor::new(body, "Authentication");
    Ok((cursor.i32()?, cursor.rest()))
}

/// What a CopyInResponse or CopyOutResponse says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyFormats {
    /// 0 text, 1 binary.
    pub overall: u8,
    /// One per column.
    pub columns: Vec<i16>,
}

/// # Errors
/// 08P01 for a malformed message.
pub fn copy_response(body: &[u8]) -> Result<CopyFormats, FrameError> {
    let mut cursor = Cursor::new(body, "CopyResponse");
    let overall = cursor.u8()?;
    let count = cursor.u16()?;
    let columns = (0..count).map(|_| cursor.i16()).collect::<Result<_, _>>()?;
    cursor.end()?;
    Ok(CopyFormats { overall, columns })
}

/// A notification: sender's process id, channel, payload.
///
/// # Errors
/// 08P01 for a malformed message, 22021 for text that is not UTF-8.
pub fn notification_response(body: &[u8]) -> Result<(i32, &str, &str), FrameError> {
    let mut cursor = Cursor::new(body, "NotificationResponse");
    let triple = (cursor.i32()?, cursor.c_str()?, cursor.c_str()?);
    cursor.end()?;
    Ok(triple)
}
