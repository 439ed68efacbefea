//! The harness of Atoll's tests and benches: servers to compare (`plain`, `cluster`), a raw protocol client (`wire`, `client`),
//! what came back and how two answers are told apart (`outcome`, `compare`), and SQL files with directives (`script`).
//!
//! A differential test is the same text sent to one stock PostgreSQL and to a cluster, with both answers held against each other; see
//! `run` for how a file becomes a verdict.

pub mod client;
pub mod cluster;
pub mod compare;
pub mod fuzz;
pub mod guard;
pub mod message;
pub mod outcome;
pub mod plain;
pub mod run;
pub mod script;
pub mod servers;
pub mod transcript;
pub mod wire;

/// Where a server listens. Every server of the harness has the superuser `postgres` (no password) and the databases `app` and `postgres`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `plain` or `atoll`, for messages.
    pub label: &'static str,
    pub host: String,
    pub port: u16,
}

impl Target {
    /// A libpq connection string for the database `app`.
    #[must_use]
    pub fn conninfo(&self) -> String {
        self.conninfo_for("app")
    }

    /// A libpq connection string for a database.
    #[must_use]
    pub fn conninfo_for(&self, database: &str) -> String {
        format!("host={} port={} user=postgres dbname={database} sslmode=disable", self.host, self.port)
    }
}

/// A TCP port of the loopback interface that was free a moment ago.
///
/// # Errors
/// When no port can be bound.
pub fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
