//! What a server answered to one message, taken apart.

use std::fmt;

use anyhow::{Context, Result, bail};
use bytes::{Buf, Bytes};

use crate::wire::Frame;

/// One column of a RowDescription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// OID of the table it comes from; 0 when computed.
    pub table_oid: u32,
    pub attribute: i16,
    pub type_oid: u32,
    pub type_size: i16,
    pub type_modifier: i32,
    /// 0 text, 1 binary.
    pub format: i16,
}

/// One row: each field's bytes in its column's format, `None` for NULL.
pub type Row = Vec<Option<Bytes>>;

/// What one statement gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResultSet {
    /// `None` when the statement returns no rows at all.
    pub columns: Option<Vec<Column>>,
    pub rows: Vec<Row>,
    /// The command tag; `None` when an error came first, `Some("")` for an empty query.
    pub tag: Option<String>,
    /// The CopyData bodies of a COPY ... TO STDOUT.
    pub copied: Option<Vec<Bytes>>,
    /// Whether the rows ended with PortalSuspended.
    pub suspended: bool,
}

/// An ErrorResponse or NoticeResponse with all its fields, by their letters in the protocol.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ServerError {
    fields: Vec<(u8, String)>,
}

impl ServerError {
    /// A field by its letter in the protocol, as `C` for the SQLSTATE.
    #[must_use]
    pub fn field(&self, letter: u8) -> Option<&str> {
        self.fields.iter().find(|(tag, _)| *tag == letter).map(|(_, value)| value.as_str())
    }

    #[must_use]
    pub fn severity(&self) -> &str {
        self.field(b'V').unwrap_or_default()
    }

    #[must_use]
    pub fn sqlstate(&self) -> &str {
        self.field(b'C').unwrap_or_default()
    }

    #[must_use]
    pub fn message(&self) -> &str {
        self.field(b'M').unwrap_or_default()
    }

    /// Reads the fields of a frame's body.
    ///
    /// # Errors
    /// When the body is not a list of fields.
    pub fn parse(mut body: Bytes) -> Result<ServerError> {
        let mut fields = Vec::new();
        loop {
            match body.try_get_u8().context("error fields without an end")? {
                0 => return Ok(ServerError { fields }),
                letter => fields.push((letter, string(&mut body)?)),
            }
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}: {}", self.severity(), self.sqlstate(), self.message())?;
        for (letter, name) in [(b'D', "DETAIL"), (b'H', "HINT"), (b'P', "POSITION"), (b'W', "CONTEXT")] {
            if let Some(value) = self.field(letter) {
                write!(out, " | {name}: {value}")?;
            }
        }
        for (letter, name) in
            [(b's', "schema"), (b't', "table"), (b'c', "column"), (b'd', "type"), (b'n', "constraint")]
        {
            if let Some(value) = self.field(letter) {
                write!(out, " | {name} {value}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for ServerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// Everything between a message and its ReadyForQuery.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// One per statement of the message, in order; the last one without a tag when an error ended it.
    pub results: Vec<ResultSet>,
    pub error: Option<ServerError>,
    pub notices: Vec<ServerError>,
    /// ParameterStatus messages: settings that the statement changed.
    pub settings: Vec<(String, String)>,
    /// Channel and payload of each NotificationResponse.
    pub notifications: Vec<(String, String)>,
    /// Parameter types of a ParameterDescription.
    pub parameter_types: Option<Vec<u32>>,
    /// `I`, `T` or `E`.
    pub status: u8,
}

impl Outcome {
    /// The rows of the first result, as text; NULL as `None`.
    #[must_use]
    pub fn text_rows(&self) -> Vec<Vec<Option<String>>> {
        let rows = self.results.first().map(|result| result.rows.as_slice()).unwrap_or_default();
        rows.iter()
            .map(|row| {
                row.iter().map(|field| field.as_ref().map(|b| String::from_utf8_lossy(b).into_owned())).collect()
            })
            .collect()
    }

    /// The single value of the first result, as text.
    ///
    /// # Errors
    /// When the statement failed or gave anything but one non-NULL value.
    pub fn value(&self) -> Result<String> {
        if let Some(error) = &self.error {
            bail!("{error}");
        }
        match self.text_rows().as_slice() {
            [row] => match row.as_slice() {
                [Some(value)] => Ok(value.clone()),
                other => bail!("one value expected, got {other:?}"),
            },
            other => bail!("one row expected, got {} rows", other.len()),
        }
    }

    /// Takes in one frame. Frames that say nothing about the answer (ParseComplete and the like) are skipped.
    ///
    /// # Errors
    /// When the frame is malformed.
    pub fn absorb(&mut self, frame: Frame) -> Result<()> {
        let mut body = frame.body;
        match frame.tag {
            b'T' => self.open_result().columns = Some(columns(body)?),
            b'D' => {
                let row = row(body)?;
                self.open_result().rows.push(row);
            }
            b'C' => {
                let tag = string(&mut body)?;
                self.open_result().tag = Some(tag);
            }
            b'I' => self.open_result().tag = Some(String::new()),
            b's' => {
                let result = self.open_result();
                result.suspended = true;
                result.tag = Some("PortalSuspended".to_owned());
            }
            b'H' => self.open_result().copied = Some(Vec::new()),
            b'd' => self.open_result().copied.get_or_insert_default().push(body),
            b'E' => self.error = Some(ServerError::parse(body)?),
            b'N' => self.notices.push(ServerError::parse(body)?),
            b'S' => self.settings.push((string(&mut body)?, string(&mut body)?)),
            b'A' => {
                body.try_get_i32()?;
                self.notifications.push((string(&mut body)?, string(&mut body)?));
            }
            b't' => {
                let count = body.try_get_u16()?;
                let types: Result<Vec<u32>, _> = (0..count).map(|_| body.try_get_u32()).collect();
                self.parameter_types = Some(types?);
            }
            b'Z' => self.status = body.try_get_u8()?,
            _ => {}
        }
        Ok(())
    }

    /// The result being received: the last one, unless its tag has come.
    fn open_result(&mut self) -> &mut ResultSet {
        if self.results.last().is_none_or(|result| result.tag.is_some()) {
            self.results.push(ResultSet::default());
        }
        let last = self.results.len() - 1;
        &mut self.results[last]
    }
}

/// A zero-terminated string.
pub(crate) fn string(body: &mut Bytes) -> Result<String> {
    let end = body.iter().position(|byte| *byte == 0).context("string without an end")?;
    let text = body.split_to(end);
    body.advance(1);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The columns of a RowDescription's body.
pub(crate) fn columns(mut body: Bytes) -> Result<Vec<Column>> {
    let count = body.try_get_u16()?;
    (0..count)
        .map(|_| {
            Ok(Column {
                name: string(&mut body)?,
                table_oid: body.try_get_u32()?,
                attribute: body.try_get_i16()?,
                type_oid: body.try_get_u32()?,
                type_size: body.try_get_i16()?,
                type_modifier: body.try_get_i32()?,
                format: body.try_get_i16()?,
            })
        })
        .collect()
}

/// The fields of a DataRow's body.
pub(crate) fn row(mut body: Bytes) -> Result<Row> {
    let count = body.try_get_u16()?;
    (0..count)
        .map(|_| {
            let length = body.try_get_i32()?;
            if length < 0 {
                return Ok(None);
            }
            let length = usize::try_from(length)?;
            if body.len() < length {
                bail!("DataRow shorter than its fields");
            }
            Ok(Some(body.split_to(length)))
        })
        .collect()
}
