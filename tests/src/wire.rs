//! PostgreSQL's protocol as frames on a socket, with a deadline on every wait.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::{Buf, Bytes, BytesMut};

use crate::Target;

/// How long one wait for a server may take unless told otherwise.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// One message from a server: its tag and its body, without the length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub tag: u8,
    pub body: Bytes,
}

/// A socket to a server; nothing has been sent yet.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    buffer: BytesMut,
    /// Bound on each wait for a frame.
    pub wait_max: Duration,
}

impl Wire {
    /// A fresh connection.
    ///
    /// # Errors
    /// When the server does not accept it.
    pub fn connect(target: &Target) -> Result<Wire> {
        let address = format!("{}:{}", target.host, target.port).parse()?;
        let stream = TcpStream::connect_timeout(&address, WAIT_MAX)
            .with_context(|| format!("connecting to {} at {address}", target.label))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WAIT_MAX))?;
        Ok(Wire { stream, buffer: BytesMut::with_capacity(8192), wait_max: WAIT_MAX })
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// When the server has closed the connection, or takes nothing for [`WAIT_MAX`].
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("writing to the server")
    }

    /// Ends the sending half; the server may still answer.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn finish_sending(&self) -> Result<()> {
        self.stream.shutdown(Shutdown::Write).context("closing the sending half")
    }

    /// The next frame, or `None` when the server has closed the connection (also by reset) between frames.
    ///
    /// # Errors
    /// When nothing comes within `wait_max`, or the connection ends inside a frame.
    pub fn frame(&mut self) -> Result<Option<Frame>> {
        let deadline = Instant::now() + self.wait_max;
        loop {
            if let Some(frame) = self.buffered_frame()? {
                return Ok(Some(frame));
            }
            if !self.fill(deadline)? {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                bail!("the server closed the connection inside a frame: {:?}", &self.buffer[..]);
            }
        }
    }

    /// The single byte that answers SSLRequest and GSSENCRequest, or `None` when the server closed the connection.
    ///
    /// # Errors
    /// When nothing comes within `wait_max`.
    pub fn byte(&mut self) -> Result<Option<u8>> {
        let deadline = Instant::now() + self.wait_max;
        while self.buffer.is_empty() {
            if !self.fill(deadline)? {
                return Ok(None);
            }
        }
        Ok(Some(self.buffer.get_u8()))
    }

    /// Whether a whole frame comes within `wait`. The frame stays for [`Wire::frame`].
    ///
    /// # Errors
    /// When the connection fails.
    pub fn frame_comes_within(&mut self, wait: Duration) -> Result<bool> {
        let deadline = Instant::now() + wait;
        loop {
            if self.frame_size()?.is_some_and(|size| self.buffer.len() >= size) {
                return Ok(true);
            }
            match self.fill(deadline) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(_) if Instant::now() >= deadline => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether a frame with `tag` comes within `wait`. All frames stay for [`Wire::frame`].
    ///
    /// # Errors
    /// When the connection fails.
    pub fn tag_comes_within(&mut self, tag: u8, wait: Duration) -> Result<bool> {
        let deadline = Instant::now() + wait;
        loop {
            let mut rest = &self.buffer[..];
            while let [found, a, b, c, d, ..] = *rest {
                let size = usize::try_from(u32::from_be_bytes([a, b, c, d]))? + 1;
                if rest.len() < size {
                    break;
                }
                if found == tag {
                    return Ok(true);
                }
                rest = &rest[size..];
            }
            match self.fill(deadline) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(_) if Instant::now() >= deadline => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Every frame up to and including the first with `tag`, or up to the end of the connection.
    ///
    /// # Errors
    /// As for [`Wire::frame`].
    pub fn frames_until(&mut self, tag: u8) -> Result<Vec<Frame>> {
        let mut frames = Vec::new();
        while let Some(frame) = self.frame()? {
            let last = frame.tag == tag;
            frames.push(frame);
            if last {
                break;
            }
        }
        Ok(frames)
    }

    fn frame_size(&self) -> Result<Option<usize>> {
        if self.buffer.len() < 5 {
            return Ok(None);
        }
        let length = i32::from_be_bytes([self.buffer[1], self.buffer[2], self.buffer[3], self.buffer[4]]);
        if length < 4 {
            bail!("frame {:?} with length {length}", char::from(self.buffer[0]));
        }
        Ok(Some(usize::try_from(length)? + 1))
    }

    fn buffered_frame(&mut self) -> Result<Option<Frame>> {
        let Some(size) = self.frame_size()? else { return Ok(None) };
        if self.buffer.len() < size {
            return Ok(None);
        }
        let mut whole = self.buffer.split_to(size).freeze();
        let tag = whole.get_u8();
        whole.advance(4);
        Ok(Some(Frame { tag, body: whole }))
    }

    /// Reads what is there; false at the end of the stream.
    fn fill(&mut self, deadline: Instant) -> Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            bail!("no answer from the server in time; {} bytes of an unfinished frame", self.buffer.len());
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut chunk = [0_u8; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(false),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                bail!("no answer from the server in time; {} bytes of an unfinished frame", self.buffer.len())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error).context("reading from the server"),
        }
    }
}
