//! A backend's own socket, handed over by the agent that opened it: frames make one hop less between processes on one host.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use atoll_wire::frames::peek;
use bytes::{Buf as _, Bytes, BytesMut};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::{AsyncWrite as _, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio_util::io::poll_read_buf;

/// Bytes that may wait for the backend to take them before the sender waits.
const OUTBOX_BYTES_MAX: usize = 2 << 20;
/// Free space in the inbox before a read, at first and at most.
const SPARE_BYTES_MIN: usize = 16 << 10;
const SPARE_BYTES_MAX: usize = 256 << 10;
/// A frame longer than this makes the inbox give its memory back afterwards.
const HUGE_BYTES: usize = 1 << 20;

/// A connected backend.
pub struct Direct {
    stream: UnixStream,
    /// What it sent and nobody has taken yet.
    inbox: BytesMut,
    spare: usize,
    huge: bool,
    outbox: VecDeque<Bytes>,
    outbox_bytes: usize,
}

impl Direct {
    /// Fetches the connection that the agent keeps for `ticket`.
    ///
    /// # Errors
    /// When the agent's socket is not on this host, or it does not know the ticket (any more).
    pub async fn fetch(socket: &Path, ticket: &[u8]) -> io::Result<Self> {
        let mut agent = UnixStream::connect(socket).await?;
        agent.write_all(ticket).await?;
        let stream = agent.async_io(Interest::READABLE, || receive_descriptor(&agent)).await?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: UnixStream::from_std(stream)?,
            inbox: BytesMut::new(),
            spare: SPARE_BYTES_MIN,
            huge: false,
            outbox: VecDeque::new(),
            outbox_bytes: 0,
        })
    }

    /// Sends whole frames; what the backend does not take at once goes while its replies are received.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn send(&mut self, frames: Bytes) -> io::Result<()> {
        self.outbox_bytes += frames.len();
        self.outbox.push_back(frames);
        poll_fn(|cx| match self.poll_flush(cx) {
            Poll::Pending if self.outbox_bytes <= OUTBOX_BYTES_MAX => Poll::Ready(Ok(())),
            other => other,
        })
        .await
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(front) = self.outbox.front_mut() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, front))?;
            front.advance(written);
            self.outbox_bytes -= written;
            if front.is_empty() {
                self.outbox.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The whole frames that come next. Cancel safe.
    ///
    /// # Errors
    /// When the connection breaks, or ends.
    pub async fn receive(&mut self) -> io::Result<Bytes> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// As [`Direct::receive`].
    pub fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        loop {
            let frames = self.take_whole();
            if !frames.is_empty() {
                return Poll::Ready(Ok(frames));
            }
            // An error here shows again in the read, after the backend's last words.
            let _ = self.poll_flush(cx);
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.inbox.is_empty() && self.huge {
            self.inbox = BytesMut::new();
            self.huge = false;
        }
        if self.inbox.capacity() - self.inbox.len() < self.spare.min(SPARE_BYTES_MIN) {
            self.inbox.reserve(self.spare);
        }
        let read = ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.inbox))?;
        if self.inbox.len() == self.inbox.capacity() {
            self.spare = (self.spare * 2).min(SPARE_BYTES_MAX);
        }
        Poll::Ready(Ok(read))
    }

    fn take_whole(&mut self) -> Bytes {
        let mut whole = 0;
        while let Some((_, length)) = peek(&self.inbox[whole..]) {
            if self.inbox.len() - whole < length {
                self.huge |= length > HUGE_BYTES;
                let missing = whole + length - self.inbox.len();
                self.inbox.reserve(missing);
                break;
            }
            whole += length;
        }
        self.inbox.split_to(whole).freeze()
    }

    /// Puts bytes that the agent has read in front of what is still to be read.
    pub fn prepend(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let mut inbox = BytesMut::with_capacity(bytes.len() + self.inbox.len());
            inbox.extend_from_slice(bytes);
            inbox.extend_from_slice(&self.inbox);
            self.inbox = inbox;
        }
    }
}

/// The one descriptor that comes with the agent's byte.
fn receive_descriptor(agent: &UnixStream) -> io::Result<StdUnixStream> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = recvmsg(agent, &mut [io::IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    match descriptor {
        Some(descriptor) => Ok(StdUnixStream::from(descriptor)),
        None if received.bytes == 0 => Err(io::ErrorKind::UnexpectedEof.into()),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}
