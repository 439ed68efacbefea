//! gRPC: one place that accepts, workers that serve.
//!
//! Each worker is a thread with a current-thread runtime; a connection and the lanes on it never leave their worker. A new
//! connection goes to the worker with the fewest lanes, then the fewest connections.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use atoll_proto::auth::Token;
use atoll_proto::channel::MESSAGE_BYTES_MAX;
use atoll_proto::v1::group_server::GroupServer;
use atoll_proto::v1::lanes_server::LanesServer;
use atoll_proto::v1::node_server::NodeServer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{interval, sleep, timeout};
use tokio_stream::{Stream, StreamExt, wrappers::ReceiverStream};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use crate::node::Shared;
use crate::{governor, lanes, node};

/// Flow control as in `atoll_proto::channel`: bytes that may be in flight per stream and per connection.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Largest HTTP/2 frame: COPY data comes in few.
const HTTP_FRAME_BYTES_MAX: u32 = 256 << 10;
/// Lanes and calls on one connection at a time, well above any `lanes_max`.
const STREAMS_MAX: u32 = 20_000;
/// Connections that a worker has not taken yet.
const BACKLOG: usize = 128;
/// A peer that does not answer a ping for this long is gone.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// How often ending threads are looked at.
const JOIN_POLL: Duration = Duration::from_millis(10);
/// Pause after a failed accept: out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection on its way to a worker.
enum Accepted {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

/// One serving thread.
struct Worker {
    accepted: mpsc::Sender<(Accepted, Guard)>,
    lanes: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

/// The serving threads.
pub struct Workers(Vec<Worker>);

/// Counts a connection for as long as it lives.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Workers {
    /// Starts `count` of them; they serve until `shared.closing`.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub fn start(count: usize, shared: &Arc<Shared>, token: &Token) -> io::Result<Self> {
        let mut workers = Vec::new();
        for number in 1..=count.max(1) {
            let (accepted, arrivals) = mpsc::channel(BACKLOG);
            let lanes = Arc::new(AtomicUsize::new(0));
            let service = lanes::Service::new(Arc::clone(shared), Arc::clone(&lanes));
            let (shared, token) = (Arc::clone(shared), token.clone());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let serve = move || {
                if let Err(error) = runtime.block_on(serve(arrivals, service, shared, token)) {
                    tracing::error!(%error, "a worker stopped serving");
                }
            };
            let thread = thread::Builder::new().name(format!("worker-{number}")).spawn(serve)?;
            workers.push(Worker { accepted, lanes, connections: Arc::default(), thread });
        }
        Ok(Self(workers))
    }

    /// Gives the connection to the least busy worker. When that one is overwhelmed, the connection is closed.
    fn give(&self, connection: Accepted) {
        let load =
            |worker: &&Worker| (worker.lanes.load(Ordering::Relaxed), worker.connections.load(Ordering::Relaxed));
        let Some(worker) = self.0.iter().min_by_key(load) else { return };
        worker.connections.fetch_add(1, Ordering::Relaxed);
        let guard = Guard(Arc::clone(&worker.connections));
        if worker.accepted.try_send((connection, guard)).is_err() {
            tracing::warn!("a connection was closed: its worker does not keep up");
        }
    }

    /// Waits for the threads, at most `wait_max` in all; then they are left to the end of the process.
    pub async fn join(self, wait_max: Duration) {
        let finished = async {
            let mut poll = interval(JOIN_POLL);
            while !self.0.iter().all(|worker| worker.thread.is_finished()) {
                poll.tick().await;
            }
        };
        let _ = timeout(wait_max, finished).await;
    }
}

/// Accepts on TCP and on the Unix socket, forever.
pub async fn accept(tcp: TcpListener, unix: UnixListener, workers: &Workers) {
    loop {
        let accepted = tokio::select! {
            accepted = tcp.accept() => accepted.and_then(|(stream, _)| {
                stream.set_nodelay(true)?;
                Ok(Accepted::Tcp(stream.into_std()?))
            }),
            accepted = unix.accept() => accepted.and_then(|(stream, _)| Ok(Accepted::Unix(stream.into_std()?))),
        };
        match accepted {
            Ok(connection) => workers.give(connection),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Listens at `path`, which only this OS user can connect to. What an earlier process left there is removed; that no
/// other process is alive behind it must be known.
///
/// # Errors
/// When the old socket cannot be removed or the new one not made.
pub fn listen_unix(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// One worker's life.
async fn serve(
    arrivals: mpsc::Receiver<(Accepted, Guard)>,
    service: lanes::Service,
    shared: Arc<Shared>,
    token: Token,
) -> Result<(), tonic::transport::Error> {
    let incoming = ReceiverStream::new(arrivals).map(|(accepted, guard)| Connection::new(accepted, guard));
    let lanes = LanesServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let node = NodeServer::new(node::Service::new(Arc::clone(&shared)));
    let desk = shared.group.as_ref().map(|group| Arc::clone(&group.desk));
    let group = desk.map(|desk| GroupServer::new(governor::service::Service(desk)));
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(HTTP_FRAME_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(InterceptedService::new(lanes, token.check()))
        .add_service(InterceptedService::new(node, token.check()))
        .add_optional_service(group.map(|group| InterceptedService::new(group, token.check())))
        .serve_with_incoming_shutdown(OkStream(incoming), shared.closing.cancelled())
        .await
}

/// A stream of results that leaves out errors: a connection that died before it was served.
struct OkStream<S>(S);

impl<S: Stream<Item = io::Result<Connection>> + Unpin> Stream for OkStream<S> {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match Pin::new(&mut self.0).poll_next(cx) {
                Poll::Ready(Some(Err(error))) => tracing::debug!(%error, "a connection died early"),
                other => return other,
            }
        }
    }
}

/// A connection being served.
struct Connection {
    stream: Socket,
    _guard: Guard,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connection {
    fn new(accepted: Accepted, guard: Guard) -> io::Result<Self> {
        let stream = match accepted {
            Accepted::Tcp(stream) => Socket::Tcp(TcpStream::from_std(stream)?),
            Accepted::Unix(stream) => Socket::Unix(UnixStream::from_std(stream)?),
        };
        Ok(Self { stream, _guard: guard })
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Socket::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Socket::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Socket::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Socket::Tcp(stream) => stream.is_write_vectored(),
            Socket::Unix(stream) => stream.is_write_vectored(),
        }
    }
}
