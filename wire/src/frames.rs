//! Frames of PostgreSQL's frontend/backend protocol 3.0 (PostgreSQL manual, "Message Formats").

use bytes::{BufMut, Bytes, BytesMut};

use crate::cursor::Cursor;

/// PostgreSQL's own limit on a startup packet (`MAX_STARTUP_PACKET_LENGTH`), in bytes.
pub const STARTUP_LEN_MAX: usize = 10_000;

const PROTOCOL_CANCEL: u32 = 80_877_102;
const PROTOCOL_SSL: u32 = 80_877_103;
const PROTOCOL_GSSENC: u32 = 80_877_104;

/// What is wrong with the bytes of a peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("invalid message length {len} of message type {tag:?}")]
    Length { tag: char, len: u32 },
    #[error("invalid length of startup packet")]
    StartupLength,
    #[error("invalid startup packet layout: expected terminator as last byte")]
    StartupLayout,
    #[error("invalid {message} message")]
    Malformed { message: &'static str },
    #[error("expected a {message} message, got message type {tag:?}")]
    UnexpectedTag { message: &'static str, tag: char },
    #[error("invalid byte sequence for encoding \"UTF8\" in {message} message")]
    NotUtf8 { message: &'static str },
}

impl FrameError {
    /// 22021 for text that is not UTF-8, 08P01 for everything else.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::NotUtf8 { .. } => "22021",
            _ => "08P01",
        }
    }
}

/// One whole message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The message's type.
    pub tag: u8,
    /// The message as it travelled: type, length and body.
    pub raw: Bytes,
}

impl Frame {
    /// What follows type and length; shares the frame's memory.
    pub fn body(&self) -> Bytes {
        self.raw.slice(5..)
    }

    /// As [`Frame::body`], borrowed.
    pub fn body_slice(&self) -> &[u8] {
        &self.raw[5..]
    }

    /// The only frame in `raw`, which must be exactly one message (as the builders of this crate write it).
    ///
    /// # Errors
    /// 08P01 when it is shorter or longer than its length says.
    pub fn from_raw(raw: Bytes) -> Result<Self, FrameError> {
        match peek(&raw) {
            Some((tag, len)) if len == raw.len() && len >= 5 => Ok(Self { tag, raw }),
            _ => Err(FrameError::Malformed { message: "framed" }),
        }
    }
}

/// Type and whole length (type and length word included) of the message that `buf` starts with; None while fewer than
/// five bytes are there. The length is what the peer claims, unchecked.
pub fn peek(buf: &[u8]) -> Option<(u8, usize)> {
    let (head, _) = buf.split_first_chunk::<5>()?;
    let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    Some((head[0], 1 + len as usize))
}

/// Splits the next whole message off `buf`, without copying; None while it is incomplete.
///
/// # Errors
/// 08P01 when the length word is below 4 or above `len_max` bytes. The stream cannot be continued after that.
pub fn next_frame(buf: &mut BytesMut, len_max: usize) -> Result<Option<Frame>, FrameError> {
    let Some((tag, total)) = peek(buf) else {
        return Ok(None);
    };
    let len = total - 1;
    if len < 4 || len > len_max {
        return Err(FrameError::Length {
            tag: char::from(tag),
            // The length came from 32 bits.
            len: u32::try_from(len).unwrap_or(u32::MAX),
        });
    }
    if buf.len() < total {
        return Ok(None);
    }
    let raw = buf.split_to(total).freeze();
    Ok(Some(Frame { tag, raw }))
}

/// What a connection may begin with, before there are message types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Startup {
    /// A request for TLS, answered by one byte.
    Ssl,
    /// A request for GSSAPI encryption, answered by one byte.
    Gssenc,
    Cancel {
        pid: i32,
        secret: i32,
    },
    Start {
        /// The client's protocol is 3.`minor`.
        minor: u16,
        /// In the client's order.
        parameters: Vec<(String, String)>,
    },
    /// A protocol other than 3.
    Unsupported {
        major: u16,
        minor: u16,
    },
}

/// Takes the next startup packet off `buf`; None while it is incomplete.
///
/// # Errors
/// 08P01 for a length outside 8..=[`STARTUP_LEN_MAX`] or a malformed body, 22021 for a parameter that is not UTF-8.
pub fn next_startup(buf: &mut BytesMut) -> Result<Option<Startup>, FrameError> {
    let Some((head, _)) = buf.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let len = u32::from_be_bytes(*head) as usize;
    if !(8..=STARTUP_LEN_MAX).contains(&len) {
        return Err(FrameError::StartupLength);
    }
    if buf.len() < len {
        return Ok(None);
    }
    let packet = buf.split_to(len);
    let mut cursor = Cursor::new(&packet[4..], "startup");
    match cursor.u32()? {
        PROTOCOL_CANCEL => {
            let (pid, secret) = (cursor.i32()?, cursor.i32()?);
            cursor.end()?;
            Ok(Some(Startup::Cancel { pid, secret }))
        }
        PROTOCOL_SSL => Ok(Some(Startup::Ssl)),
        PROTOCOL_GSSENC => Ok(Some(Startup::Gssenc)),
        version => {
            let [major_high, major_low, minor_high, minor_low] = version.to_be_bytes();
            let major = u16::from_be_bytes([major_high, major_low]);
            let minor = u16::from_be_bytes([minor_high, minor_low]);
            if major != 3 {
                return Ok(Some(Startup::Unsupported { major, minor }));
            }
            let parameters = startup_parameters(&mut cursor)?;
            Ok(Some(Startup::Start { minor, parameters }))
        }
    }
}

fn startup_parameters(cursor: &mut Cursor<'_>) -> Result<Vec<(String, String)>, FrameError> {
    let mut parameters = Vec::new();
    loop {
        let name = cursor.c_str().map_err(startup_layout)?;
        if name.is_empty() {
            break;
        }
        let value = cursor.c_str().map_err(startup_layout)?;
        parameters.push((name.to_owned(), value.to_owned()));
    }
    if cursor.remaining() == 0 { Ok(parameters) } else { Err(FrameError::StartupLayout) }
}

fn startup_layout(error: FrameError) -> FrameError {
    match error {
        FrameError::Malformed { .. } => FrameError::StartupLayout,
        other => other,
    }
}

/// Appends one message: type, the length of what `body` appends, and that.
pub(crate) fn message(tag: u8, out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    untagged(out, body);
}

/// As [`message`], for the packets that have no type.
pub(crate) fn untagged(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    body(out);
    let len = i32::try_from(out.len() - start).expect("a protocol message stays below 2 GiB");
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

/// Appends a zero-terminated string. The protocol has no way to say a zero byte: the text ends there.
pub(crate) fn put_c_str(out: &mut BytesMut, text: &str) {
    let bytes = text.as_bytes();
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    out.put_slice(&bytes[..end]);
    out.put_u8(0);
}

/// Appends a length-prefixed field; None is NULL.
pub(crate) fn put_field(out: &mut BytesMut, field: Option<&[u8]>) {
    match field {
        None => out.put_i32(-1),
        Some(bytes) => {
            out.put_i32(i32::try_from(bytes.len()).expect("a field stays below 2 GiB"));
            out.put_slice(bytes);
        }
    }
}

/// Appends the 16-bit count that precedes a list.
pub(crate) fn put_count(out: &mut BytesMut, count: usize) {
    // Bind allows up to 65535 parameters: the count is unsigned there, and identical below 32768 everywhere else.
    out.put_u16(u16::try_from(count).expect("a message lists at most 65535 items"));
}

#[cfg(test)]
mod tests;
