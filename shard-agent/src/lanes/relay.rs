//! A lane at work: frames to the backend, frames back, as they come.
//!
//! PostgreSQL's socket is read and written inside the poll of the reply stream: between a reply's arrival and its way
//! into HTTP/2 there is no other task and no queue. Nothing is read while the stream is not polled, so that a slow
//! reader slows the backend down and nothing piles up here.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use atoll_proto::v1::lane_request::Kind;
use atoll_proto::v1::{Fragment, LaneRequest};
use atoll_wire::backend::{self, ErrorFields, tag};
use atoll_wire::frames::{FrameError, peek};
use atoll_wire::frontend;
use bytes::{Buf, Bytes, BytesMut};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::timeout;
use tokio_stream::Stream;
use tonic::Status;

use super::backend::{Backend, FRAME_BYTES_MAX, cancel};
use super::slots::Slot;
use super::statements::Statements;
use crate::meters::Meters;

/// How long a backend may take to leave before it is terminated, and then before it is given up.
const LEAVE_MAX: Duration = Duration::from_secs(1);
const TERMINATE_MAX: Duration = Duration::from_secs(10);

/// One backend in the service of one stream. Dropping it ends the backend.
pub struct Lane {
    /// None only while being dropped.
    backend: Option<Backend>,
    slot: Option<Slot>,
    socket: PathBuf,
    /// What is still to be written.
    outbox: Bytes,
    /// Messages written that PostgreSQL answers with a ReadyForQuery, less those it has answered. May stay too high: a
    /// Sync in the middle of a COPY is not answered.
    due: usize,
    /// The last frame that came was a ReadyForQuery, and nothing was written since.
    settled: bool,
    /// As of the last ReadyForQuery: `I`, `T` or `E`.
    pub(super) status: u8,
    /// The connection has ended, or cannot be used any more.
    lost: bool,
    pub(super) statements: Statements,
    pub(super) meters: Meters,
}

/// What a lane's stream does next.
pub enum Event {
    /// Whole frames for the client.
    Replies(Bytes),
    /// A fragment to run.
    Fragment(Fragment),
    /// The client wants no more.
    Ended,
    /// The backend is gone, or the client broke the contract.
    Failed(Status),
}

impl Lane {
    pub fn new(backend: Backend, slot: Slot, socket: PathBuf, meters: Meters) -> Self {
        Self {
            backend: Some(backend),
            slot: Some(slot),
            socket,
            outbox: Bytes::new(),
            due: 0,
            settled: true,
            status: b'I',
            lost: false,
            statements: Statements::default(),
            meters,
        }
    }

    pub(super) fn backend(&mut self) -> &mut Backend {
        self.backend.as_mut().expect("only drop takes it")
    }

    /// Moves bytes both ways until there is something for the stream to do.
    pub fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
        requests: &mut (impl Stream<Item = Result<LaneRequest, Status>> + Unpin),
    ) -> Poll<Event> {
        loop {
            // Replies first, so that PostgreSQL can always go on, also while it is not reading.
            if !self.backend().is_parked()
                && let Poll::Ready(event) = self.poll_replies(cx)
            {
                return Poll::Ready(event);
            }
            if !self.outbox.is_empty() {
                let backend = self.backend.as_mut().expect("only drop takes it");
                match backend.poll_write(cx, &self.outbox) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(written)) => self.outbox.advance(written),
                    // Its last words may still be there to be read.
                    Poll::Ready(Err(_)) => self.outbox.clear(),
                }
                continue;
            }
            let request = match Pin::new(&mut *requests).poll_next(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Event::Ended),
                Poll::Ready(Some(Err(status))) => {
                    tracing::debug!(%status, "a lane's client left");
                    return Poll::Ready(Event::Ended);
                }
                Poll::Ready(Some(Ok(request))) => request,
            };
            match request.kind {
                Some(Kind::Frames(frames)) => match count_due(&frames) {
                    Ok(due) => {
                        // The caller has not fetched the socket, or could not.
                        if let Err(error) = self.backend().unpark() {
                            return Poll::Ready(Event::Failed(broken(&error)));
                        }
                        self.due += due;
                        self.settled = false;
                        self.meters.bytes_in.increment(frames.len() as u64);
                        self.outbox = frames;
                    }
                    Err(error) => return Poll::Ready(Event::Failed(Status::invalid_argument(error.to_string()))),
                },
                Some(Kind::Fragment(fragment)) => {
                    return Poll::Ready(if self.settled || self.backend().is_parked() {
                        self.due = 0;
                        Event::Fragment(fragment)
                    } else {
                        Event::Failed(Status::failed_precondition("a fragment while replies are due"))
                    });
                }
                Some(Kind::Open(_)) => {
                    return Poll::Ready(Event::Failed(Status::failed_precondition("the lane is open already")));
                }
                None => return Poll::Ready(Event::Failed(Status::invalid_argument("a request without a kind"))),
            }
        }
    }

    fn poll_replies(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            if self.lost {
                return Poll::Ready(Event::Failed(Status::unavailable("the backend is gone")));
            }
            match self.backend().poll_fill(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(1..)) => {
                    let replies = self.take_whole();
                    if !replies.is_empty() {
                        self.meters.bytes_out.increment(replies.len() as u64);
                        return Poll::Ready(Event::Replies(replies));
                    }
                }
                Poll::Ready(Ok(0)) => self.lost = true,
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "a backend's connection broke");
                    self.lost = true;
                }
            }
        }
    }

    /// The whole frames of the inbox. When one is too long to travel, what comes before it and a FATAL in its place:
    /// the lane is lost then.
    fn take_whole(&mut self) -> Bytes {
        let mut whole = 0;
        let backend = self.backend.as_mut().expect("only drop takes it");
        let partial = loop {
            let rest = &backend.inbox[whole..];
            let Some((tag, len)) = peek(rest) else { break None };
            if rest.len() < len || len < 5 {
                break Some((tag, len));
            }
            match tag {
                tag::READY_FOR_QUERY => {
                    self.due = self.due.saturating_sub(1);
                    self.settled = self.outbox.is_empty();
                    self.status = rest[5..len].first().copied().unwrap_or(b'I');
                }
                // These come at any time.
                tag::NOTICE_RESPONSE | tag::NOTIFICATION_RESPONSE | tag::PARAMETER_STATUS => (),
                // The names that fragments were prepared under are gone with all others.
                tag::COMMAND_COMPLETE if matches!(&rest[5..len], b"DISCARD ALL\0" | b"DEALLOCATE ALL\0") => {
                    self.statements.clear();
                    self.settled = false;
                }
                _ => self.settled = false,
            }
            whole += len;
        };
        let replies = backend.inbox.split_to(whole);
        let Some((tag, len)) = partial else { return replies.freeze() };
        match backend.expect(tag, len) {
            Ok(()) => replies.freeze(),
            Err(error) => {
                tracing::warn!(pid = backend.pid, %error, "a lane ends: PostgreSQL sent what cannot be carried");
                self.lost = true;
                let mut replies = replies;
                backend::error_response(&too_long(len), &mut replies);
                replies.freeze()
            }
        }
    }

    /// Writes `packet` whole; for exchanges in which PostgreSQL reads before it answers.
    pub(super) async fn send(&mut self, packet: &[u8], due: usize) -> io::Result<()> {
        self.due += due;
        self.backend().write_all(packet).await
    }

    /// Lets the backend's connection be fetched by the caller: a duplicate of it.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn hand_over(&mut self) -> io::Result<OwnedFd> {
        self.backend().park()?;
        self.backend().duplicate()
    }

    /// Notes a ReadyForQuery that was read elsewhere.
    pub(super) fn ready(&mut self, status: u8) {
        self.due = self.due.saturating_sub(1);
        self.status = status;
    }

    /// Notes that the connection cannot be used any more.
    pub(super) fn lose(&mut self) {
        self.lost = true;
    }
}

/// The lane's end when its connection cannot change hands.
pub(super) fn broken(error: &io::Error) -> Status {
    Status::unavailable(format!("the backend's connection is lost: {error}"))
}

/// What a client sees instead of a frame of `len` bytes.
pub(super) fn too_long(len: usize) -> ErrorFields {
    let message =
        format!("a message of {len} bytes is longer than the {FRAME_BYTES_MAX} that can be carried between nodes");
    ErrorFields::new("FATAL", "54000", message)
}

/// How many ReadyForQuery the frames ask for.
///
/// # Errors
/// When they are not whole frames.
fn count_due(mut frames: &[u8]) -> Result<usize, FrameError> {
    use frontend::tag;
    let mut due = 0;
    while !frames.is_empty() {
        let (tag, len) = peek(frames).unwrap_or((0, usize::MAX));
        if len < 5 || frames.len() < len {
            return Err(FrameError::Malformed { message: "relayed" });
        }
        due += usize::from(matches!(tag, tag::QUERY | tag::SYNC | tag::FUNCTION_CALL));
        frames = &frames[len..];
    }
    Ok(due)
}

impl Drop for Lane {
    fn drop(&mut self) {
        let (Some(backend), Some(mut slot)) = (self.backend.take(), self.slot.take()) else { return };
        slot.unregister();
        // What somebody else does with it is not known here.
        let busy = self.due > 0 || backend.is_parked();
        let socket = std::mem::take(&mut self.socket);
        // Outside a runtime the process is ending; PostgreSQL notices the closed connection.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(close(backend, busy, socket, slot));
        }
    }
}

/// Ends a backend: politely when it is idle, by interrupting it when it is `busy`. The slot is free once it has left.
async fn close(mut backend: Backend, busy: bool, socket: PathBuf, slot: Slot) {
    if busy && let Err(error) = cancel(&socket, backend.key()).await {
        tracing::debug!(%error, pid = backend.pid, "cannot cancel");
    }
    if let Err(error) = backend.unpark() {
        tracing::debug!(%error, pid = backend.pid, "cannot take a connection back");
    }
    let mut packet = BytesMut::new();
    if busy {
        // It may be waiting for the data of a COPY; at any other time this is ignored.
        frontend::copy_fail("the client left", &mut packet);
    }
    frontend::terminate(&mut packet);
    let farewell = async {
        let _ = backend.write_all(&packet).await;
        backend.shutdown().await;
    };
    let _ = timeout(LEAVE_MAX, farewell).await;
    if timeout(LEAVE_MAX, backend.drain()).await.is_err() {
        // Its connection is still open, so the pid is still its own.
        let _ = kill(Pid::from_raw(backend.pid.cast_signed()), Signal::SIGTERM);
        if timeout(TERMINATE_MAX, backend.drain()).await.is_err() {
            tracing::error!(pid = backend.pid, "a backend does not end after SIGTERM");
        }
    }
    drop(slot);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_frames_are_relayed() {
        let mut packet = BytesMut::new();
        frontend::query("select 1", &mut packet);
        frontend::parse("", "select 2", &[], &mut packet);
        frontend::sync(&mut packet);
        assert_eq!(count_due(&packet).unwrap(), 2);
        assert!(count_due(&packet[..packet.len() - 1]).is_err());
        assert!(count_due(b"Q\0\0\0\x03").is_err());
        assert_eq!(count_due(b"").unwrap(), 0);
    }
}
