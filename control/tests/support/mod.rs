//! Stores to test, and what every store must do.

pub mod arbiter;
pub mod certificates;
pub mod contest;
pub mod etcd;
pub mod scenarios;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use atoll_control::store::{Kind, LeaseStore, TlsFiles, open};
use atoll_proto::auth::Token;

pub const CALL_TIMEOUT: Duration = Duration::from_secs(2);

pub fn token() -> Token {
    Token::new("secret").unwrap()
}

/// A client with connections of its own.
pub fn client(kind: Kind, endpoints: &[String]) -> Arc<dyn LeaseStore> {
    open(kind, endpoints, &TlsFiles::default(), "/atoll-test/", &token(), CALL_TIMEOUT).unwrap()
}

/// Ports of loopback that nobody listened on just now, all different.
pub fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}
