//! What clients send: decoders for the messages that must be understood, and builders.
//!
//! Decoders borrow names and text from the frame; parameters are slices that share the frame's memory. Builders append
//! to a buffer. A string with a zero byte inside ends there: the protocol cannot carry one.

mod build;

pub use build::{
    bind, bind_renamed, cancel_request, close, copy_data, copy_done, copy_fail, describe, execute, flush, parse, query,
    sasl_initial_response, sasl_response, ssl_request, startup, sync, terminate,
};
use bytes::Bytes;

use crate::cursor::Cursor;
use crate::frames::{Frame, FrameError};

/// Message types of the client's side.
pub mod tag {
    pub const BIND: u8 = b'B';
    pub const CLOSE: u8 = b'C';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_FAIL: u8 = b'f';
    pub const DESCRIBE: u8 = b'D';
    pub const EXECUTE: u8 = b'E';
    pub const FLUSH: u8 = b'H';
    pub const FUNCTION_CALL: u8 = b'F';
    pub const PARSE: u8 = b'P';
    /// Passwords and SASL messages share one type; the state of the login says which it is.
    pub const PASSWORD: u8 = b'p';
    pub const QUERY: u8 = b'Q';
    pub const SYNC: u8 = b'S';
    pub const TERMINATE: u8 = b'X';
}

/// A cursor over the body of `frame`, which must be of type `tag`.
fn open<'a>(frame: &'a Frame, tag: u8, message: &'static str) -> Result<Cursor<'a>, FrameError> {
    if frame.tag == tag {
        Ok(Cursor::new(frame.body_slice(), message))
    } else {
        Err(FrameError::UnexpectedTag { message, tag: char::from(frame.tag) })
    }
}

/// Prepare a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parse<'a> {
    /// Empty for the unnamed statement.
    pub name: &'a str,
    pub sql: &'a str,
    /// Parameter types; 0 leaves one to the server. May be shorter than the parameters are many.
    pub types: Vec<u32>,
}

impl<'a> Parse<'a> {
    /// # Errors
    /// 08P01 for a malformed message, 22021 for text that is not UTF-8.
    pub fn decode(frame: &'a Frame) -> Result<Self, FrameError> {
        let mut cursor = open(frame, tag::PARSE, "Parse")?;
        let name = cursor.c_str()?;
        let sql = cursor.c_str()?;
        let count = cursor.u16()?;
        let types = (0..count).map(|_| cursor.u32()).collect::<Result<_, _>>()?;
        cursor.end()?;
        Ok(Self { name, sql, types })
    }
}

/// Give a statement its parameters, making a portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind<'a> {
    /// Empty for the unnamed portal.
    pub portal: &'a str,
    /// Empty for the unnamed statement.
    pub statement: &'a str,
    /// 0 text, 1 binary. None: all text; one: that for all; otherwise one per parameter.
    pub parameter_formats: Vec<i16>,
    /// NULL is None.
    pub parameters: Vec<Option<Bytes>>,
    /// As `parameter_formats`, for the columns of the result.
    pub result_formats: Vec<i16>,
}

impl<'a> Bind<'a> {
    /// # Errors
    /// 08P01 for a malformed message, 22021 for a name that is not UTF-8. That formats fit the parameters in number, and are 0 or 1, is not
    /// checked.
    pub fn decode(frame: &'a Frame) -> Result<Self, FrameError> {
        let mut cursor = open(frame, tag::BIND, "Bind")?;
        let portal = cursor.c_str()?;
        let statement = cursor.c_str()?;
        let parameter_formats = formats(&mut cursor)?;
        let count = cursor.u16()?;
        let parameters = (0..count)
            .map(|_| Ok(cursor.field()?.map(|field| frame.raw.slice_ref(field))))
            .collect::<Result<Vec<_>, FrameError>>()?;
        let result_formats = formats(&mut cursor)?;
        cursor.end()?;
        Ok(Self { portal, statement, parameter_formats, parameters, result_formats })
    }

    /// The format of parameter `index` (from 0): 0 text, 1 binary.
    pub fn parameter_format(&self, index: usize) -> i16 {
        format_of(&self.parameter_formats, index)
    }

    /// The format of result column `index` (from 0): 0 text, 1 binary.
    pub fn result_format(&self, index: usize) -> i16 {
        format_of(&self.result_formats, index)
    }
}

fn formats(cursor: &mut Cursor<'_>) -> Result<Vec<i16>, FrameError> {
    let count = cursor.u16()?;
    (0..count).map(|_| cursor.i16()).collect()
}

/// What a list of format codes says of item `index`: none means text, one is for all.
pub fn format_of(formats: &[i16], index: usize) -> i16 {
    match formats {
        [] => 0,
        [one] => *one,
        many => many.get(index).copied().unwrap_or(0),
    }
}

/// Run a portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execute<'a> {
    pub portal: &'a str,
    /// 0 (or less) for no limit.
    pub max_rows: i32,
}

impl<'a> Execute<'a> {
    /// # Errors
    /// 08P01 for a malformed message, 22021 for a name that is not UTF-8.
    pub fn decode(frame: &'a Frame) -> Result<Self, FrameError> {
        let mut cursor = open(frame, tag::EXECUTE, "Execute")?;
        let portal = cursor.c_str()?;
        let max_rows = cursor.i32()?;
        cursor.end()?;
        Ok(Self { portal, max_rows })
    }
}

/// Ask for the shape of a statement or portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Describe<'a> {
    /// `b'S'` statement, `b'P'` portal.
    pub kind: u8,
    pub name: &'a str,
}

impl<'a> Describe<'a> {
    /// # Errors
    /// 08P01 for a malformed message, 22021 for a name that is not UTF-8.
    pub fn decode(frame: &'a Frame) -> Result<Self, FrameError> {
        let (kind, name) = kind_and_name(open(frame, tag::DESCRIBE, "Describe")?)?;
        Ok(Self { kind, name })
    }
}

/// Forget a statement or portal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close<'a> {
    /// `b'S'` statement, `b'P'` portal.
    pub kind: u8,
    pub name: &'a str,
}

impl<'a> Close<'a> {
    /// # Errors
    /// 08P01 for a malformed message, 22021 for a name that is not UTF-8.
    pub fn decode(frame: &'a Frame) -> Result<Self, FrameError> {
        let (kind, name) = kind_and_name(open(frame, tag::CLOSE, "Close")?)?;
        Ok(Self { kind, name })
    }
}

fn kind_and_name(mut cursor: Cursor<'_>) -> Result<(u8, &str), FrameError> {
    let kind = cursor.u8()?;
    if !matches!(kind, b'S' | b'P') {
        return Err(cursor.malformed());
    }
    let name = cursor.c_str()?;
    cursor.end()?;
    Ok((kind, name))
}

/// A simple query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query<'a> {
    /// Any number of statements.
    pub sql: &'a str,
}

impl<'a> Query<'a> {
    /// # Errors
    /// 08P01 for a malformed message, 22021 for text that is not UTF-8.
    pub fn decode(frame: &'a Frame) -> Result<Self, FrameError> {
        Ok(Self { sql: only_str(open(frame, tag::QUERY, "Query")?)? })
    }
}

/// A cleartext password (or an MD5 hash, which is not supported).
#[derive(Clone, PartialEq, Eq)]
pub struct Password<'a> {
    pub password: &'a str,
}

impl<'a> Password<'a> {
    /// # Errors
    /// 08P01 for a malformed message, 22021 for text that is not UTF-8.
    pub fn decode(frame: &'a Frame) -> Result<Self, FrameError> {
        Ok(Self { password: only_str(open(frame, tag::PASSWORD, "Password")?)? })
    }
}

/// The client's choice of a SASL mechanism and its first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaslInitialResponse<'a> {
    pub mechanism: &'a str,
    pub data: Option<Bytes>,
}

impl<'a> SaslInitialResponse<'a> {
    /// # Errors
    /// 08P01 for a malformed message, 22021 for a mechanism that is not UTF-8.
    pub fn decode(frame: &'a Frame) -> Result<Self, FrameError> {
        let mut cursor = open(frame, tag::PASSWORD, "SASLInitialResponse")?;
        let mechanism = cursor.c_str()?;
        let data = cursor.field()?.map(|data| frame.raw.slice_ref(data));
        cursor.end()?;
        Ok(Self { mechanism, data })
    }
}

/// A later SASL message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaslResponse {
    pub data: Bytes,
}

impl SaslResponse {
    /// # Errors
    /// 08P01 for a frame of another type.
    pub fn decode(frame: &Frame) -> Result<Self, FrameError> {
        open(frame, tag::PASSWORD, "SASLResponse")?;
        Ok(Self { data: frame.body() })
    }
}

/// The client gives up its COPY.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyFail<'a> {
    pub reason: &'a str,
}

impl<'a> CopyFail<'a> {
    /// # Errors
    /// 08P01 for a malformed message, 22021 for text that is not UTF-8.
    pub fn decode(frame: &'a Frame) -> Result<Self, FrameError> {
        Ok(Self { reason: only_str(open(frame, tag::COPY_FAIL, "CopyFail")?)? })
    }
}

fn only_str(mut cursor: Cursor<'_>) -> Result<&str, FrameError> {
    let text = cursor.c_str()?;
    cursor.end()?;
    Ok(text)
}

#[cfg(test)]
mod tests;
