//! Logs to standard error, metrics over HTTP.

use std::net::SocketAddr;

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder};
use tracing_subscriber::EnvFilter;

/// Why metrics cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("metrics_listen: \"{listen}\" is not an address like 127.0.0.1:9100")]
    Address { listen: String },
    #[error("metrics_listen: {0}")]
    Listen(#[from] BuildError),
}

/// Logs to standard error from here on: level `info`, or what `ATOLL_LOG` says (`debug`, `atoll_agent=trace,info`).
pub fn init_logs() {
    let filter = EnvFilter::try_from_env("ATOLL_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A second call keeps the first one's settings: tests start several servers in one process.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).try_init();
}

/// Serves this process's metrics in Prometheus' text format at `listen` (host:port), on a thread of its own when called
/// outside a runtime. Nothing when `listen` is empty.
///
/// # Errors
/// When the address is malformed or cannot be listened on.
pub fn serve_metrics(listen: &str) -> Result<(), TelemetryError> {
    if listen.is_empty() {
        return Ok(());
    }
    let address: SocketAddr = listen.parse().map_err(|_| TelemetryError::Address { listen: listen.to_owned() })?;
    Ok(PrometheusBuilder::new().with_http_listener(address).install()?)
}
