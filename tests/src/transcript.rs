//! Conversations with a server as lines of text, so that two servers' can be compared.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Buf;

use crate::Target;
use crate::compare::{comparable_oid, essence};
use crate::message::Messages;
use crate::outcome::{ServerError, columns, row, string};
use crate::wire::{Frame, Wire};

/// Protocol version 3.0.
pub const VERSION_3_0: u32 = 0x0003_0000;

/// A conversation: what is sent is not written down, every frame that comes back is.
#[derive(Debug)]
pub struct Talk {
    wire: Wire,
    lines: Vec<String>,
    /// Process id and secret for CancelRequest.
    pub cancel_key: (i32, i32),
}

impl Talk {
    /// A connection on which nothing has been sent.
    ///
    /// # Errors
    /// When the server does not accept it.
    pub fn connect(target: &Target) -> Result<Talk> {
        Ok(Talk { wire: Wire::connect(target)?, lines: Vec::new(), cancel_key: (0, 0) })
    }

    /// A session of `postgres` in `app`. The login itself is not written down.
    ///
    /// # Errors
    /// When the login is refused.
    pub fn login(target: &Target) -> Result<Talk> {
        let mut talk = Talk::connect(target)?;
        talk.send(&Messages::new().startup(VERSION_3_0, &[("user", "postgres"), ("database", "app")]))?;
        for frame in talk.wire.frames_until(b'Z')? {
            let mut body = frame.body.clone();
            match frame.tag {
                b'K' => talk.cancel_key = (body.try_get_i32()?, body.try_get_i32()?),
                b'E' => bail!("login refused by {}: {}", target.label, ServerError::parse(body)?),
                _ => {}
            }
        }
        Ok(talk)
    }

    /// Sends messages.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send(&mut self, messages: &Messages) -> Result<()> {
        self.wire.send(messages.bytes())
    }

    /// Sends, then writes down all frames up to ReadyForQuery or the end of the connection.
    ///
    /// # Errors
    /// When neither comes in time.
    pub fn ask(&mut self, messages: &Messages) -> Result<()> {
        self.send(messages)?;
        self.until(b'Z')
    }

    /// Writes down all frames up to the first with `tag`, or up to the end of the connection.
    ///
    /// # Errors
    /// When neither comes in time.
    pub fn until(&mut self, tag: u8) -> Result<()> {
        let frames = self.wire.frames_until(tag).with_context(|| format!("so far:\n  {}", self.lines.join("\n  ")))?;
        let ended = frames.last().is_none_or(|frame| frame.tag != tag);
        for frame in &frames {
            self.take(frame)?;
        }
        if ended {
            self.lines.push("closed".to_owned());
        }
        Ok(())
    }

    /// Writes down the single byte that answers an SSLRequest or GSSENCRequest.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn byte(&mut self) -> Result<()> {
        let line = self.wire.byte()?.map_or("closed".to_owned(), |byte| format!("byte {:?}", char::from(byte)));
        self.lines.push(line);
        Ok(())
    }

    /// Writes down the bytes that come before the server closes the connection, whatever they are.
    ///
    /// # Errors
    /// When it does not close in time.
    pub fn bytes_until_closed(&mut self) -> Result<()> {
        let mut bytes = Vec::new();
        while let Some(byte) = self.wire.byte()? {
            bytes.push(byte);
        }
        self.lines.push(format!("bytes {}", bytes.escape_ascii()));
        Ok(())
    }

    /// Writes down frames until the server closes the connection.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn until_closed(&mut self) -> Result<()> {
        self.until(0)
    }

    /// Whether a frame comes within `wait`; it is left for the next call that writes down.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn comes_within(&mut self, wait: Duration) -> Result<bool> {
        self.wire.frame_comes_within(wait)
    }

    /// Whether a frame with `tag` comes within `wait`.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn tag_comes_within(&mut self, tag: u8, wait: Duration) -> Result<bool> {
        self.wire.tag_comes_within(tag, wait)
    }

    /// Writes down whether anything comes within `wait`.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn silence(&mut self, wait: Duration) -> Result<()> {
        let comes = self.wire.frame_comes_within(wait)?;
        self.lines.push(if comes { "something came".to_owned() } else { "silence".to_owned() });
        Ok(())
    }

    /// Adds a remark of the test's own.
    pub fn note(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// Drops the lines so far.
    pub fn forget(&mut self) {
        self.lines.clear();
    }

    /// Ends the sending half.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn finish_sending(&self) -> Result<()> {
        self.wire.finish_sending()
    }

    /// A copy of the lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.clone()
    }

    /// The lines so far.
    #[must_use]
    pub fn end(self) -> Vec<String> {
        self.lines
    }

    fn take(&mut self, frame: &Frame) -> Result<()> {
        if frame.tag == b'K' {
            let mut body = frame.body.clone();
            self.cancel_key = (body.try_get_i32()?, body.try_get_i32()?);
        }
        self.lines.push(describe(frame)?);
        Ok(())
    }
}

/// One frame as a line, without what differs between any two servers (process ids, secrets, OIDs that servers give themselves).
///
/// # Errors
/// When the frame is malformed.
pub fn describe(frame: &Frame) -> Result<String> {
    let mut body = frame.body.clone();
    Ok(match frame.tag {
        b'R' => format!("Authentication {}", body.try_get_i32()?),
        b'S' => format!("ParameterStatus {}={}", string(&mut body)?, string(&mut body)?),
        b'K' => format!("BackendKeyData of {} bytes", body.len()),
        b'Z' => format!("ReadyForQuery {}", char::from(body.try_get_u8()?)),
        b'1' => "ParseComplete".to_owned(),
        b'2' => "BindComplete".to_owned(),
        b'3' => "CloseComplete".to_owned(),
        b'n' => "NoData".to_owned(),
        b's' => "PortalSuspended".to_owned(),
        b'I' => "EmptyQueryResponse".to_owned(),
        b'c' => "CopyDone".to_owned(),
        b'C' => format!("CommandComplete {}", string(&mut body)?),
        b'd' => format!("CopyData {}", body.escape_ascii()),
        b't' => {
            let count = body.try_get_u16()?;
            let types: Result<Vec<u32>, _> = (0..count).map(|_| body.try_get_u32().map(comparable_oid)).collect();
            format!("ParameterDescription {:?}", types?)
        }
        b'T' => {
            let columns: Vec<String> = columns(body)?
                .iter()
                .map(|column| {
                    format!(
                        "{} type {} size {} typmod {} format {} from {}.{}",
                        column.name,
                        comparable_oid(column.type_oid),
                        column.type_size,
                        column.type_modifier,
                        column.format,
                        comparable_oid(column.table_oid),
                        column.attribute
                    )
                })
                .collect();
            format!("RowDescription {}", columns.join(", "))
        }
        b'D' => {
            let fields: Vec<String> = row(body)?
                .iter()
                .map(|field| field.as_ref().map_or("NULL".to_owned(), |value| value.escape_ascii().to_string()))
                .collect();
            format!("DataRow {}", fields.join(", "))
        }
        b'E' => format!("ErrorResponse {}", essence(&ServerError::parse(body)?)),
        b'N' => format!("NoticeResponse {}", essence(&ServerError::parse(body)?)),
        b'G' | b'H' | b'W' => {
            let format = body.try_get_u8()?;
            let count = body.try_get_u16()?;
            let formats: Result<Vec<i16>, _> = (0..count).map(|_| body.try_get_i16()).collect();
            format!("Copy{}Response format {format} columns {:?}", char::from(frame.tag), formats?)
        }
        b'A' => {
            body.try_get_i32()?;
            format!("NotificationResponse {} {}", string(&mut body)?, string(&mut body)?)
        }
        b'v' => {
            let newest = body.try_get_u32()?;
            let count = body.try_get_u32()?;
            let names: Result<Vec<String>> = (0..count).map(|_| string(&mut body)).collect();
            format!("NegotiateProtocolVersion {}.{} {:?}", newest >> 16, newest & 0xffff, names?)
        }
        other => format!("{:?} {}", char::from(other), body.escape_ascii()),
    })
}
