//! What the coordinator does itself: transactions, settings, prepared statements, cursors, and its own functions.

use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Transaction {
    /// The statement's own text is kept for its modes.
    Begin,
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    Savepoint(String),
    Release(String),
    RollbackTo(String),
    /// SET TRANSACTION ...
    Modes,
    /// PREPARE TRANSACTION, COMMIT PREPARED, ROLLBACK PREPARED: by name, refused by the coordinator.
    TwoPhase(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Session {
    /// SET [SESSION|LOCAL] name ...; `SET ROLE`, `SET SESSION AUTHORIZATION`, `SET TIME ZONE` under their settings' names.
    Set {
        name: String,
        local: bool,
    },
    Reset {
        name: String,
    },
    ResetAll,
    /// SHOW name; own settings start with `atoll.`.
    Show {
        name: String,
    },
    ShowAll,
    Discard(DiscardKind),
    Prepare {
        name: String,
        types: Vec<String>,
        statement: String,
    },
    /// `arguments` are SQL expressions.
    Execute {
        name: String,
        arguments: Vec<String>,
    },
    Deallocate {
        name: Option<String>,
    },
    /// DECLARE name CURSOR ... FOR query; the query is planned on its own.
    Declare {
        name: String,
        hold: bool,
        query: String,
    },
    /// FETCH, MOVE, CLOSE: goes where the cursor is.
    Cursor {
        name: Option<String>,
    },
    Listen,
    Unlisten,
    Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum DiscardKind {
    All,
    Plans,
    Sequences,
    Temp,
}

/// A call that tells something of the coordinator's own; arguments are SQL expressions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Own {
    pub function: OwnFunction,
    pub arguments: Vec<String>,
    /// The output column's name.
    pub column: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum OwnFunction {
    /// `atoll.transaction_status(id)`: what became of a transaction whose COMMIT was not answered.
    TransactionStatus,
    /// `atoll.session_token()`: what the session has committed, for another to read no less.
    SessionToken,
    /// `pg_backend_pid()`: what the client knows its session by.
    BackendPid,
    /// `pg_cancel_backend(pid)`.
    CancelBackend,
    /// `pg_terminate_backend(pid)`.
    TerminateBackend,
}

/// The type of an [`OwnFunction`]'s argument, or of what it yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnType {
    Text,
    Int4,
    Bool,
}

impl OwnFunction {
    pub fn named(schema: Option<&str>, name: &str) -> Option<Self> {
        match (schema, name) {
            (Some("atoll"), "transaction_status") => Some(Self::TransactionStatus),
            (Some("atoll"), "session_token") => Some(Self::SessionToken),
            (None | Some("pg_catalog"), "pg_backend_pid") => Some(Self::BackendPid),
            (None | Some("pg_catalog"), "pg_cancel_backend") => Some(Self::CancelBackend),
            (None | Some("pg_catalog"), "pg_terminate_backend") => Some(Self::TerminateBackend),
            _ => None,
        }
    }

    /// How many arguments it takes.
    pub fn arguments(self) -> usize {
        match self {
            Self::TransactionStatus | Self::CancelBackend | Self::TerminateBackend => 1,
            Self::SessionToken | Self::BackendPid => 0,
        }
    }

    pub fn argument(self) -> OwnType {
        match self {
            Self::CancelBackend | Self::TerminateBackend => OwnType::Int4,
            Self::TransactionStatus | Self::SessionToken | Self::BackendPid => OwnType::Text,
        }
    }

    pub fn result(self) -> OwnType {
        match self {
            Self::TransactionStatus | Self::SessionToken => OwnType::Text,
            Self::BackendPid => OwnType::Int4,
            Self::CancelBackend | Self::TerminateBackend => OwnType::Bool,
        }
    }
}
