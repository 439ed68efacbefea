//! The agent's own connection to PostgreSQL, kept open: logging in is what a server in trouble does worst.

use std::collections::HashMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use tokio::time::Instant;

use super::PostgresError;
use crate::lanes::backend::{Backend, LoginError};

/// How long a connection is relied on: a postmaster that is stuck shows only in a login.
const RENEWED_EVERY: Duration = Duration::from_secs(5);

/// Settings of the agent's session. As a walsender it is served when max_connections is used up, and is told the
/// timeline; nothing it does waits for a standby or for long.
const PARAMETERS: [(&str, &str); 9] = [
    ("application_name", "atoll-agent"),
    ("replication", "database"),
    ("search_path", "pg_catalog"),
    ("synchronous_commit", "local"),
    ("default_transaction_read_only", "off"),
    ("lock_timeout", "500ms"),
    ("statement_timeout", "10s"),
    ("log_statement", "none"),
    ("log_min_duration_statement", "-1"),
];

/// A kept connection, made when it is needed. Dropping a call half-way costs the connection.
pub(super) struct Monitor {
    socket: PathBuf,
    kept: Option<Backend>,
    logged_in: Instant,
}

impl Monitor {
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, kept: None, logged_in: Instant::now() }
    }

    /// Closes the connection.
    pub fn close(&mut self) {
        self.kept = None;
    }

    /// Logs in again when that is due.
    pub async fn renew(&mut self) -> Result<(), LoginError> {
        if self.kept.is_none() || self.logged_in.elapsed() > RENEWED_EVERY {
            self.kept = None;
            self.kept = Some(self.login().await?);
        }
        Ok(())
    }

    async fn login(&mut self) -> Result<Backend, LoginError> {
        let parameters: HashMap<String, String> =
            PARAMETERS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let backend = Backend::login(&self.socket, "postgres", "postgres", &parameters).await?;
        self.logged_in = Instant::now();
        Ok(backend)
    }

    /// The rows that `sql` returns.
    pub async fn rows(&mut self, sql: &str) -> Result<Vec<Row>, LoginError> {
        if let Some(mut kept) = self.kept.take() {
            match kept.rows(sql).await {
                // It was ended since it was last used.
                Err(LoginError::Io(_)) => (),
                rows => return self.keep(kept, rows),
            }
        }
        let mut fresh = self.login().await?;
        let rows = fresh.rows(sql).await;
        self.keep(fresh, rows)
    }

    fn keep(&mut self, backend: Backend, rows: Result<Vec<Fields>, LoginError>) -> Result<Vec<Row>, LoginError> {
        if matches!(rows, Ok(_) | Err(LoginError::Refused { .. })) {
            self.kept = Some(backend);
        }
        Ok(rows?.into_iter().map(Row).collect())
    }

    /// The only row that `sql` returns.
    pub async fn row(&mut self, sql: &str) -> Result<Row, LoginError> {
        Ok(self.rows(sql).await?.into_iter().next().unwrap_or(Row(Vec::new())))
    }
}

/// A row's fields; None for NULL.
type Fields = Vec<Option<String>>;

/// One row of an answer.
#[derive(Debug)]
pub(super) struct Row(Fields);

impl Row {
    /// Empty for NULL.
    pub fn text(&self, index: usize) -> &str {
        self.0.get(index).and_then(Option::as_deref).unwrap_or_default()
    }

    pub fn is_true(&self, index: usize) -> bool {
        self.text(index) == "t"
    }

    /// None for NULL, and for what cannot be read.
    pub fn value<T: FromStr>(&self, index: usize) -> Option<T> {
        self.text(index).parse().ok()
    }

    pub fn required<T: FromStr>(&self, index: usize) -> Result<T, PostgresError> {
        self.value(index).ok_or_else(|| PostgresError::Answer(format!("{:?}, field {index}", self.0)))
    }
}
