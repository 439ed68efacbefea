//! How a client reaches a gRPC server of the cluster: over TCP between hosts, over a Unix socket on one host.

use std::net::{IpAddr, UdpSocket};
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

/// A peer is asked for a sign of life this often, and is gone when it gives none for that long: a cut network is noticed within their sum.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Whether a server at `address` (host:port) is on this very host, as far as this process's network goes: only then is a Unix socket's path
/// the server's. Names other than `localhost` and the host's own count as elsewhere.
pub fn is_on_this_host(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(ip) => UdpSocket::bind((ip, 0)).is_ok(),
        Err(_) => {
            let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            host == "localhost" || host == own.trim()
        }
    }
}

/// A lazily connected channel: to `socket` when that path exists and `address` (host:port) is on this host, else to `address`.
/// Calls on it fail with `unavailable` while the server cannot be reached, and it reconnects by itself.
///
/// # Errors
/// When `address` is not a valid authority.
pub fn connect_lazy(address: &str, socket: Option<&Path>) -> Result<Channel, Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(Duration::from_secs(2))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    match socket.filter(|path| path.exists() && is_on_this_host(address)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_addresses_are_on_this_host() {
        assert!(is_on_this_host("127.0.0.1:6440") && is_on_this_host("localhost:1") && is_on_this_host("[::1]:1"));
        // An address that documentation uses and nobody has.
        assert!(!is_on_this_host("192.0.2.7:6440") && !is_on_this_host("db1.example:6440"));
    }
}
