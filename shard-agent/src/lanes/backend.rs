//! One connection to PostgreSQL over its private socket.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use atoll_wire::backend::{decode, tag};
use atoll_wire::frames::{FrameError, peek};
use atoll_wire::frontend;
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_util::io::poll_read_buf;

/// How long PostgreSQL may take to log a backend in.
const LOGIN_MAX: Duration = Duration::from_secs(15);
/// How long the postmaster may take to deliver a cancel request.
const CANCEL_MAX: Duration = Duration::from_secs(5);
/// Free space in the inbox before a read, at first and at most.
const SPARE_BYTES_MIN: usize = 16 << 10;
const SPARE_BYTES_MAX: usize = 256 << 10;
/// A frame longer than this makes the inbox give its memory back afterwards.
const HUGE_BYTES: usize = 1 << 20;
/// Longest frame that a gRPC message can carry, with room for its envelope.
pub const FRAME_BYTES_MAX: usize = atoll_proto::channel::MESSAGE_BYTES_MAX - (1 << 20);

/// Why a backend could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    #[error("{message}")]
    Refused { sqlstate: String, message: String },
    #[error("cannot reach PostgreSQL: {0}")]
    Io(#[from] io::Error),
    #[error("PostgreSQL did not log the backend in within {} s", LOGIN_MAX.as_secs())]
    Timeout,
    #[error("PostgreSQL asks for a password on its private socket")]
    Password,
    #[error(transparent)]
    Frame(#[from] FrameError),
}

impl LoginError {
    /// PostgreSQL's own when it refused, otherwise 57P03 (cannot reach it), 28000 (it wants a password) or 08P01.
    pub fn sqlstate(&self) -> &str {
        match self {
            Self::Refused { sqlstate, .. } => sqlstate,
            Self::Io(_) | Self::Timeout => "57P03",
            Self::Password => "28000",
            Self::Frame(error) => error.sqlstate(),
        }
    }
}

/// A logged-in backend.
#[derive(Debug)]
pub struct Backend {
    stream: Stream,
    /// What it sent and nobody has taken yet.
    pub(super) inbox: BytesMut,
    spare: usize,
    huge: bool,
    pub pid: u32,
    secret: i32,
    /// As announced at login.
    pub parameters: HashMap<String, String>,
}

/// The connection: read and written here, or by whom it was handed over to.
#[derive(Debug)]
enum Stream {
    Live(UnixStream),
    /// Out of the reactor, so that replies meant for the other process do not wake this one.
    Parked(StdUnixStream),
    /// Could not be moved between the two.
    Broken,
}

impl Backend {
    /// Leaves the connection to whoever gets the duplicate that comes back.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn park(&mut self) -> io::Result<()> {
        self.stream = match std::mem::replace(&mut self.stream, Stream::Broken) {
            Stream::Live(stream) => Stream::Parked(stream.into_std()?),
            other => other,
        };
        Ok(())
    }

    /// Takes the connection up again.
    ///
    /// # Errors
    /// When the reactor does not take it.
    pub fn unpark(&mut self) -> io::Result<()> {
        self.stream = match std::mem::replace(&mut self.stream, Stream::Broken) {
            Stream::Parked(stream) => Stream::Live(UnixStream::from_std(stream)?),
            other => other,
        };
        Ok(())
    }

    pub fn is_parked(&self) -> bool {
        matches!(self.stream, Stream::Parked(_))
    }

    /// Another descriptor of a parked connection.
    ///
    /// # Errors
    /// When there is none to be had, or the connection is not parked.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        match &self.stream {
            Stream::Parked(stream) => Ok(stream.try_clone()?.into()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn live(&mut self) -> io::Result<&mut UnixStream> {
        match &mut self.stream {
            Stream::Live(stream) => Ok(stream),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Writes all of `packet`.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn write_all(&mut self, packet: &[u8]) -> io::Result<()> {
        self.live()?.write_all(packet).await
    }

    /// Writes some of `packet`.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, packet: &[u8]) -> Poll<io::Result<usize>> {
        match self.live() {
            Ok(stream) => Pin::new(stream).poll_write(cx, packet),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Ends the sending half.
    pub async fn shutdown(&mut self) {
        if let Ok(stream) = self.live() {
            // It may be closed already.
            let _ = stream.shutdown().await;
        }
    }

    /// Connects to `socket` and logs in; complete when the backend is ready for its first query.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached, refuses the login, or takes too long.
    pub async fn login(
        socket: &Path,
        database: &str,
        role: &str,
        parameters: &HashMap<String, String>,
    ) -> Result<Self, LoginError> {
        let mut packet = BytesMut::new();
        let parameters = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let others = parameters.filter(|(name, _)| !matches!(*name, "user" | "database"));
        frontend::startup([("user", role), ("database", database)].into_iter().chain(others), &mut packet);
        timeout(LOGIN_MAX, Self::handshake(socket, &packet)).await.map_err(|_| LoginError::Timeout)?
    }

    async fn handshake(socket: &Path, packet: &[u8]) -> Result<Self, LoginError> {
        let mut backend = Self {
            stream: Stream::Live(UnixStream::connect(socket).await?),
            inbox: BytesMut::new(),
            spare: SPARE_BYTES_MIN,
            huge: false,
            pid: 0,
            secret: 0,
            parameters: HashMap::new(),
        };
        backend.write_all(packet).await?;
        loop {
            let (tag, len) = backend.frame().await?;
            let body = &backend.inbox[5..len];
            match tag {
                tag::AUTHENTICATION if decode::authentication(body)?.0 != 0 => return Err(LoginError::Password),
                tag::PARAMETER_STATUS => {
                    let (name, value) = decode::parameter_status(body)?;
                    let pair = (name.to_owned(), value.to_owned());
                    backend.parameters.extend([pair]);
                }
                tag::BACKEND_KEY_DATA => {
                    let (pid, secret) = decode::backend_key_data(body)?;
                    backend.pid = pid.unsigned_abs();
                    backend.secret = secret;
                }
                tag::ERROR_RESPONSE => return Err(refused(body)),
                tag::READY_FOR_QUERY => {
                    backend.inbox.advance(len);
                    return Ok(backend);
                }
                _ => (),
            }
            backend.inbox.advance(len);
        }
    }

    /// The first field of the first row that `sql` returns, as text.
    ///
    /// # Errors
    /// When the statement fails, the connection breaks, or it takes longer than 15 s.
    pub async fn ask(&mut self, sql: &str) -> Result<Option<String>, LoginError> {
        let rows = timeout(LOGIN_MAX, self.rows(sql)).await.map_err(|_| LoginError::Timeout)??;
        Ok(rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten())
    }

    /// The rows that `sql` returns (of all its statements), as text. After a refusal the connection is still good.
    ///
    /// # Errors
    /// When a statement fails or the connection breaks.
    pub async fn rows(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, LoginError> {
        let mut packet = BytesMut::new();
        frontend::query(sql, &mut packet);
        self.write_all(&packet).await?;
        let (mut rows, mut refusal) = (Vec::new(), None);
        loop {
            let (tag, len) = match self.frame().await {
                Ok(frame) => frame,
                // The last words of a backend that ends.
                Err(error) => return Err(refusal.unwrap_or(error)),
            };
            let body = &self.inbox[5..len];
            match tag {
                tag::DATA_ROW => {
                    let (mut fields, mut row) = (decode::data_row(body)?, Vec::new());
                    while let Some(field) = fields.next_field()? {
                        row.push(field.map(|field| String::from_utf8_lossy(field).into_owned()));
                    }
                    rows.push(row);
                }
                tag::ERROR_RESPONSE => refusal = Some(refused(body)),
                tag::READY_FOR_QUERY => {
                    self.inbox.advance(len);
                    return refusal.map_or(Ok(rows), Err);
                }
                _ => (),
            }
            self.inbox.advance(len);
        }
    }

    /// Waits until the inbox begins with a whole frame; its type, and its length with type and length word.
    async fn frame(&mut self) -> Result<(u8, usize), LoginError> {
        loop {
            if let Some(frame) = self.whole_frame()? {
                return Ok(frame);
            }
            if self.fill().await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    /// The type and length of the frame that the inbox begins with, when it is there to its end. Makes room for the rest
    /// of one that is not.
    ///
    /// # Errors
    /// For a length that no frame has, or that no gRPC message can carry.
    pub fn whole_frame(&mut self) -> Result<Option<(u8, usize)>, FrameError> {
        let Some((tag, len)) = peek(&self.inbox) else { return Ok(None) };
        if self.inbox.len() >= len && len >= 5 {
            return Ok(Some((tag, len)));
        }
        self.expect(tag, len)?;
        Ok(None)
    }

    /// Prepares the inbox, which must begin with it, for an incomplete frame of `len` bytes.
    pub(super) fn expect(&mut self, tag: u8, len: usize) -> Result<(), FrameError> {
        if !(5..=FRAME_BYTES_MAX).contains(&len) {
            let len = u32::try_from(len - 1).unwrap_or(u32::MAX);
            return Err(FrameError::Length { tag: char::from(tag), len });
        }
        self.huge |= len > HUGE_BYTES;
        self.inbox.reserve(len.saturating_sub(self.inbox.len()));
        Ok(())
    }

    /// Reads what there is; the number of bytes, 0 at the end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// As [`Backend::fill`].
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.inbox.is_empty() && self.huge {
            self.inbox = BytesMut::new();
            self.huge = false;
        }
        if self.inbox.capacity() - self.inbox.len() < self.spare.min(SPARE_BYTES_MIN) {
            self.inbox.reserve(self.spare);
        }
        let Stream::Live(stream) = &mut self.stream else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let read = ready!(poll_read_buf(Pin::new(stream), cx, &mut self.inbox))?;
        if self.inbox.len() == self.inbox.capacity() {
            self.spare = (self.spare * 2).min(SPARE_BYTES_MAX);
        }
        Poll::Ready(Ok(read))
    }

    /// What interrupts this backend; see [`cancel`].
    pub fn key(&self) -> CancelKey {
        CancelKey { pid: self.pid, secret: self.secret }
    }

    /// Reads and forgets until PostgreSQL closes the connection.
    pub async fn drain(&mut self) {
        loop {
            self.inbox.clear();
            if !matches!(self.fill().await, Ok(1..)) {
                return;
            }
        }
    }
}

fn refused(body: &[u8]) -> LoginError {
    match decode::error_fields(body) {
        Ok(fields) => {
            LoginError::Refused { sqlstate: fields.sqlstate().to_owned(), message: fields.message().to_owned() }
        }
        Err(error) => LoginError::Frame(error),
    }
}

/// What PostgreSQL wants to see before it interrupts a backend.
#[derive(Debug, Clone, Copy)]
pub struct CancelKey {
    pub pid: u32,
    secret: i32,
}

/// Interrupts what the backend of `key` is doing; returns once PostgreSQL has delivered the signal.
///
/// # Errors
/// When the postmaster cannot be reached or takes longer than 5 s.
pub async fn cancel(socket: &Path, key: CancelKey) -> io::Result<()> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        let mut packet = BytesMut::new();
        frontend::cancel_request(key.pid.cast_signed(), key.secret, &mut packet);
        stream.write_all(&packet).await?;
        // It answers nothing, and closes the connection when it has sent the signal.
        let mut nothing = [0; 1];
        match stream.read(&mut nothing).await {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
            _ => Ok(()),
        }
    };
    timeout(CANCEL_MAX, exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
