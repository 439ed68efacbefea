//! A real arbiter on loopback.

use std::path::Path;
use std::time::Duration;

use atoll_control::arbiter::Arbiter;
use atoll_proto::v1::leases_server::LeasesServer;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use super::token;

pub struct Running {
    pub endpoint: String,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

impl Running {
    /// On a free port, with its state in `file`; without one it hosts no arbiter.
    pub async fn start(file: Option<&Path>) -> Self {
        Self::start_on("127.0.0.1:0", file).await
    }

    pub async fn start_on(address: &str, file: Option<&Path>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let shutdown = CancellationToken::new();
        let arbiter = match file {
            Some(file) => Arbiter::start(file, shutdown.clone()).await.unwrap(),
            None => Arbiter::none(),
        };
        let service = LeasesServer::with_interceptor(arbiter, token().check());
        let stop = shutdown.clone().cancelled_owned();
        let server = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            Server::builder().add_service(service).serve_with_incoming_shutdown(incoming, stop).await.unwrap();
        });
        Self { endpoint, shutdown, server }
    }

    pub fn endpoints(&self) -> Vec<String> {
        vec![self.endpoint.clone()]
    }

    /// Ends it as a coordinator ends; gives its address for the next.
    pub async fn stop(self) -> String {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.server).await.unwrap().unwrap();
        self.endpoint
    }
}
