//! The client port: PostgreSQL clients go to the workers in turn; the admin gRPC is told apart by HTTP/2's preface.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use crate::admin::AdminServer;
use crate::session;
use crate::worker::Worker;

/// What an HTTP/2 client sends first. No startup packet begins like it: its length would be 1.3 GB.
const HTTP2_PREFACE: &[u8] = b"PRI ";

/// A data-path thread's runtime, and what its sessions share.
#[derive(Clone)]
pub struct WorkerHandle {
    pub runtime: Handle,
    pub worker: Arc<Worker>,
}

/// Accepts for as long as the process lives: while it is stopping, clients may still cancel, and admin calls are still answered.
pub async fn serve(listener: TcpListener, workers: Vec<WorkerHandle>, admin: Arc<AdminServer>) {
    let mut next = 0;
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                let worker = workers[next % workers.len()].clone();
                next += 1;
                tokio::spawn(sort_out(socket, worker, admin.clone()));
            }
            Err(error) => {
                // Out of descriptors, most likely: those that are connected must go on.
                tracing::error!(%error, "cannot accept connections");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn sort_out(socket: TcpStream, worker: WorkerHandle, admin: Arc<AdminServer>) {
    let mut first = [0; HTTP2_PREFACE.len()];
    let peeked = async {
        loop {
            match socket.peek(&mut first).await {
                Ok(0) | Err(_) => return None,
                Ok(count) if count == first.len() || !HTTP2_PREFACE.starts_with(&first[..count]) => {
                    return Some(first.starts_with(HTTP2_PREFACE));
                }
                // Part of what may be the preface: the rest is on its way.
                Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let within = Duration::from_secs(worker.worker.cluster.config.login_seconds_max);
    match tokio::time::timeout(within, peeked).await {
        Ok(Some(true)) => admin.accept(socket),
        Ok(Some(false)) => {
            let Ok(socket) = socket.into_std() else { return };
            worker.runtime.spawn({
                let shared = worker.worker.clone();
                async move {
                    // Registered anew: its readiness belongs to the worker's runtime from here on.
                    match TcpStream::from_std(socket) {
                        Ok(socket) => session::serve(shared, socket).await,
                        Err(error) => tracing::error!(%error, "a socket could not change threads"),
                    }
                }
            });
        }
        Ok(None) | Err(_) => {}
    }
}
