//! How a client reaches a gRPC server of the cluster: over TCP between hosts, over a Unix socket on one host.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint, Error};

/// Bytes one stream may have in flight before its reader must catch up.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// Bytes all streams of a connection may have in flight.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Arrow chunks and COPY data are larger than tonic's default limit of 4 MiB.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A lazily connected channel: to `socket` when that path exists on this host, else to `address` (host:port).
/// Calls on it fail with `unavailable` while the server cannot be reached, and it reconnects by itself.
///
/// # Errors
/// When `address` is not a valid authority.
pub fn connect_lazy(address: &str, socket: Option<&Path>) -> Result<Channel, Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(Duration::from_secs(2))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    match socket.filter(|path| path.exists()) {
        None => Ok(endpoint.connect_lazy()),
        Some(path) => {
            let path: PathBuf = path.to_owned();
            Ok(endpoint.connect_with_connector_lazy(tower::service_fn(move |_| {
                let path = path.clone();
                async move { Ok::<_, std::io::Error>(TokioIo::new(tokio::net::UnixStream::connect(path).await?)) }
            })))
        }
    }
}
