//! The client's side of a session: frames in, a buffer of frames out.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use atoll_wire::backend;
use atoll_wire::frames::{Frame, next_frame, peek};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::error::{Error, Result};

/// Output above this is written before more is produced.
const OUTPUT_BYTES_MAX: usize = 128 << 10;
/// Input read ahead while a statement runs; a pipelining client waits above it.
const INPUT_BYTES_MAX: usize = 1 << 20;
/// PostgreSQL's own limit of a message.
const FRAME_BYTES_MAX: usize = (1 << 30) - 1;

/// The client's socket, encrypted or not.
pub enum ClientStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A place in the output: see [`Client::mark`].
#[derive(Clone, Copy, Debug)]
pub struct Mark(u64);

/// How much of the output has been written, and where the last mark is, in bytes since the session began.
#[derive(Debug, Default)]
pub struct Progress {
    written: AtomicU64,
    mark: AtomicU64,
}

impl Progress {
    /// Whether the client has seen something of the answer that began at the last mark.
    pub fn has_seen(&self) -> bool {
        self.written.load(Ordering::Relaxed) > self.mark.load(Ordering::Relaxed)
    }
}

/// A client's connection after its startup packet.
pub struct Client {
    stream: ClientStream,
    input: BytesMut,
    /// Frames to send; [`Client::flush`] writes them.
    pub output: BytesMut,
    /// Output is being gathered for later: nothing is written meanwhile.
    pub hold_output: bool,
    progress: Arc<Progress>,
    /// A frame taken too early, to be read again.
    put_back: Option<Frame>,
}

impl Client {
    /// `input` is what was read beyond the startup packet.
    pub fn new(stream: ClientStream, input: BytesMut) -> Self {
        Self {
            stream,
            input,
            output: BytesMut::with_capacity(8 << 10),
            hold_output: false,
            progress: Arc::default(),
            put_back: None,
        }
    }

    /// Puts a frame back, to be the next one read.
    pub fn put_back(&mut self, frame: Frame) {
        self.put_back = Some(frame);
    }

    /// The next whole frame; `None` when the client closed its side between frames. Writes the output first whenever it has to wait.
    ///
    /// # Errors
    /// 08P01 for bytes that are no frame; I/O errors, and the end of the stream inside a frame.
    pub async fn next(&mut self) -> Result<Option<Frame>> {
        if let Some(frame) = self.put_back.take() {
            return Ok(Some(frame));
        }
        loop {
            if let Some(frame) = self.next_buffered()? {
                return Ok(Some(frame));
            }
            self.flush().await?;
            if self.fill().await? == 0 {
                return if self.input.is_empty() {
                    Ok(None)
                } else {
                    Err(Error::Client(io::ErrorKind::UnexpectedEof.into()))
                };
            }
        }
    }

    /// A whole frame that has already arrived.
    ///
    /// # Errors
    /// 08P01.
    pub fn next_buffered(&mut self) -> Result<Option<Frame>> {
        // A message that is malformed inside is an error of its own; without a length there is no next message.
        next_frame(&mut self.input, FRAME_BYTES_MAX)
            .map_err(|error| Error::Fatal { sqlstate: error.sqlstate(), message: error.to_string() })
    }

    /// The type of the next frame, when all of it has arrived.
    pub fn peek_tag(&self) -> Option<u8> {
        peek(&self.input).filter(|(_, length)| *length <= self.input.len()).map(|(tag, _)| tag)
    }

    /// The types of the frames that have arrived whole.
    pub fn buffered_tags(&self) -> impl Iterator<Item = u8> {
        let mut rest: &[u8] = &self.input;
        std::iter::from_fn(move || {
            let (tag, length) = peek(rest).filter(|(_, length)| *length <= rest.len())?;
            rest = &rest[length..];
            Some(tag)
        })
    }

    /// Reads more input; 0 at the end of the stream. Cancel safe. Never resolves while enough is read ahead.
    ///
    /// # Errors
    /// I/O errors.
    pub async fn fill_ahead(&mut self) -> io::Result<usize> {
        if self.input.len() >= INPUT_BYTES_MAX {
            return std::future::pending().await;
        }
        self.fill().await
    }

    async fn fill(&mut self) -> io::Result<usize> {
        if self.input.capacity() - self.input.len() < 4 << 10 {
            self.input.reserve(16 << 10);
        }
        self.stream.read_buf(&mut self.input).await
    }

    /// Writes all of the output. Cancel safe.
    ///
    /// # Errors
    /// I/O errors: the client is gone.
    pub async fn flush(&mut self) -> Result<()> {
        if self.has_to_flush() {
            while !self.output.is_empty() {
                let written = self.stream.write_buf(&mut self.output).await?;
                if written == 0 {
                    return Err(Error::Client(io::ErrorKind::WriteZero.into()));
                }
                self.progress.written.fetch_add(written as u64, Ordering::Relaxed);
            }
            if self.output.capacity() > 4 * OUTPUT_BYTES_MAX {
                self.output = BytesMut::with_capacity(8 << 10);
            }
            self.stream.flush().await?;
        }
        Ok(())
    }

    /// Whether [`Client::flush`] would write anything.
    pub fn has_to_flush(&self) -> bool {
        !self.output.is_empty() && !self.hold_output
    }

    /// Writes the output when it has grown large.
    ///
    /// # Errors
    /// As [`Client::flush`].
    pub async fn flush_if_large(&mut self) -> Result<()> {
        if self.output.len() >= OUTPUT_BYTES_MAX { self.flush().await } else { Ok(()) }
    }

    /// Where the output stands now: here a statement's answer begins.
    pub fn mark(&self) -> Mark {
        let mark = self.progress.written.load(Ordering::Relaxed) + self.output.len() as u64;
        self.progress.mark.store(mark, Ordering::Relaxed);
        Mark(mark)
    }

    /// Whether nothing that was queued since `mark` has been written.
    pub fn is_unseen(&self, mark: Mark) -> bool {
        self.progress.written.load(Ordering::Relaxed) <= mark.0
    }

    /// Takes back what was queued since `mark`, none of which has been written.
    pub fn rewind(&mut self, mark: Mark) {
        let kept = mark.0.saturating_sub(self.progress.written.load(Ordering::Relaxed));
        self.output.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
    }

    /// How much the client has seen, for others to look at.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Queues frames as they are.
    pub fn push(&mut self, frames: &Bytes) {
        self.output.extend_from_slice(frames);
    }

    /// Queues an ErrorResponse.
    pub fn push_error(&mut self, error: &Error) {
        backend::error_response(&error.fields(), &mut self.output);
    }

    /// Says a last word and closes.
    pub async fn close(mut self) {
        // The client may be gone already; there is nobody to tell.
        let _ = self.flush().await;
        let _ = self.stream.shutdown().await;
    }
}
