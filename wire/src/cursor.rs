//! Reading a frame's body field by field; every short read is a [`FrameError`], never a panic.

use crate::frames::FrameError;

/// A position in the body of one message.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    message: &'static str,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(body: &'a [u8], message: &'static str) -> Self {
        Self { rest: body, message }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn malformed(&self) -> FrameError {
        FrameError::Malformed { message: self.message }
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], FrameError> {
        if self.rest.len() < len {
            return Err(self.malformed());
        }
        let (head, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.rest = rest;
                Ok(*head)
            }
            None => Err(self.malformed()),
        }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FrameError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FrameError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn i16(&mut self) -> Result<i16, FrameError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32, FrameError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FrameError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Bytes up to a zero byte, which is consumed and not returned.
    pub(crate) fn c_bytes(&mut self) -> Result<&'a [u8], FrameError> {
        let end = self.rest.iter().position(|&byte| byte == 0).ok_or(self.malformed())?;
        let head = self.bytes(end)?;
        self.rest = &self.rest[1..];
        Ok(head)
    }

    pub(crate) fn c_str(&mut self) -> Result<&'a str, FrameError> {
        let bytes = self.c_bytes()?;
        std::str::from_utf8(bytes).map_err(|_| FrameError::NotUtf8 { message: self.message })
    }

    /// A field with a 32-bit length in front; length -1 is NULL.
    pub(crate) fn field(&mut self) -> Result<Option<&'a [u8]>, FrameError> {
        match self.i32()? {
            -1 => Ok(None),
            len => {
                let len = usize::try_from(len).map_err(|_| self.malformed())?;
                self.bytes(len).map(Some)
            }
        }
    }

    /// That nothing is left over.
    pub(crate) fn end(&self) -> Result<(), FrameError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed()) }
    }
}
