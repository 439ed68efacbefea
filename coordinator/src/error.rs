//! Every way a statement can fail, and its one mapping to PostgreSQL's error fields.

use atoll_planner::plan::Refusal;
use atoll_wire::backend::ErrorFields;
use atoll_wire::frames::FrameError;

/// SQLSTATEs that the coordinator itself gives.
pub mod sqlstate {
    pub const FEATURE_NOT_SUPPORTED: &str = "0A000";
    pub const PROTOCOL_VIOLATION: &str = "08P01";
    pub const UNKNOWN_OUTCOME: &str = "08007";
    pub const INVALID_PARAMETER_VALUE: &str = "22023";
    pub const IN_FAILED_TRANSACTION: &str = "25P02";
    pub const UNDEFINED_STATEMENT: &str = "26000";
    pub const UNDEFINED_CURSOR: &str = "34000";
    pub const SERIALIZATION_FAILURE: &str = "40001";
    pub const UNDEFINED_OBJECT: &str = "42704";
    pub const TOO_MANY_CONNECTIONS: &str = "53300";
    pub const LIMIT_EXCEEDED: &str = "54000";
    pub const QUERY_CANCELED: &str = "57014";
    pub const READ_ONLY: &str = "25006";
    pub const ADMIN_SHUTDOWN: &str = "57P01";
    pub const CANNOT_CONNECT_NOW: &str = "57P03";
    pub const INTERNAL: &str = "XX000";
}

/// Why a statement (or a session) failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A PostgreSQL server said so; all of its fields are kept.
    #[error("{}", .0.message())]
    Server(Box<ErrorFields>),
    /// The planner does not answer this statement.
    #[error("{}", .0.message)]
    Refused(Box<Refusal>),
    /// A prepared statement gives other columns than when it was prepared (0A000).
    #[error("cached plan must not change result type")]
    ResultTypeChanged,
    /// An error of the coordinator's own, ready for the client.
    #[error("{message}")]
    Sql { sqlstate: &'static str, message: String, detail: Option<String>, hint: Option<String> },
    /// The lane to a backend broke, or could not be had: agent, network or PostgreSQL went away.
    #[error("the connection to node \"{node}\" was lost: {reason}")]
    LaneLost { node: String, reason: String, loss: Loss },
    /// The client broke the protocol.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The client is gone; nobody is left to tell.
    #[error("the client's connection is gone: {0}")]
    Client(#[from] std::io::Error),
    /// The statement failed with this SQLSTATE, and the client has been sent the server's own ErrorResponse.
    #[error("the statement failed with SQLSTATE {sqlstate}")]
    Told { sqlstate: String },
    /// The session ends with this message (severity FATAL).
    #[error("{message}")]
    Fatal { sqlstate: &'static str, message: String },
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What is known of the work that a lost lane was to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its last message has not reached the backend whole: it had no effect.
    Unsent,
    /// It was under way and had no effect, but cannot be sent again (the client's data is gone).
    Undone,
    /// It may have been done.
    Cut,
    /// As [`Loss::Cut`]; the backend said that it was told to end, which may be meant for this one alone (`pg_terminate_backend`).
    Terminated,
}

impl Error {
    /// A lane that could not be had.
    pub fn unreachable(node: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::LaneLost { node: node.into(), reason: reason.into(), loss: Loss::Unsent }
    }

    /// How a lane was lost, when that is what the error says.
    pub fn loss(&self) -> Option<Loss> {
        match self {
            Self::LaneLost { loss, .. } => Some(*loss),
            _ => None,
        }
    }

    /// The error of work in a transaction that has been rolled back since.
    #[must_use]
    pub fn undone(self) -> Self {
        match self {
            Self::LaneLost { node, reason, .. } => Self::LaneLost { node, reason, loss: Loss::Undone },
            other => other,
        }
    }

    /// For an attempt to open a lane: whether the node does not serve now, so that another attempt may do better.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::LaneLost { .. })
            || matches!(self, Self::Server(fields) if matches!(fields.sqlstate(), "57P01" | "57P02" | "57P03"))
    }

    pub fn sql(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self::Sql { sqlstate, message: message.into(), detail: None, hint: None }
    }

    /// 0A000: what is refused, why (DETAIL), and what to do instead (HINT).
    pub fn unsupported(what: impl Into<String>, why: impl Into<String>, instead: impl Into<String>) -> Self {
        Self::sql(sqlstate::FEATURE_NOT_SUPPORTED, what).with_detail(why).with_hint(instead)
    }

    /// A state that the code says cannot be.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::sql(sqlstate::INTERNAL, message)
    }

    #[must_use]
    pub fn with_detail(mut self, text: impl Into<String>) -> Self {
        if let Self::Sql { detail, .. } = &mut self {
            *detail = Some(text.into());
        }
        self
    }

    #[must_use]
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Sql { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// Whether the client has its ErrorResponse already.
    pub fn already_told(&self) -> bool {
        matches!(self, Self::Told { .. })
    }

    /// Whether the session cannot go on after it.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Client(_) | Self::Fatal { .. })
    }

    /// The SQLSTATE the client sees.
    pub fn sqlstate(&self) -> &str {
        match self {
            Self::Server(fields) => fields.sqlstate(),
            Self::Refused(refusal) => refusal.sqlstate,
            Self::Sql { sqlstate, .. } | Self::Fatal { sqlstate, .. } => sqlstate,
            Self::Told { sqlstate } => sqlstate,
            Self::LaneLost { .. } => sqlstate::CANNOT_CONNECT_NOW,
            Self::ResultTypeChanged => sqlstate::FEATURE_NOT_SUPPORTED,
            Self::Frame(error) => error.sqlstate(),
            Self::Client(_) => "08006",
        }
    }

    /// What the client is sent.
    pub fn fields(&self) -> ErrorFields {
        let severity = if self.is_fatal() { "FATAL" } else { "ERROR" };
        match self {
            Self::Server(fields) => (**fields).clone(),
            Self::Refused(refusal) => {
                let mut fields = ErrorFields::new(severity, refusal.sqlstate, &refusal.message);
                set(&mut fields, b'D', refusal.detail.as_deref());
                set(&mut fields, b'H', refusal.hint.as_deref());
                fields
            }
            Self::Sql { sqlstate, message, detail, hint } => {
                let mut fields = ErrorFields::new(severity, sqlstate, message);
                set(&mut fields, b'D', detail.as_deref());
                set(&mut fields, b'H', hint.as_deref());
                fields
            }
            Self::ResultTypeChanged => {
                let mut fields = ErrorFields::new(severity, self.sqlstate(), self.to_string());
                // Drivers (pgjdbc, asyncpg) know by the routine that they may prepare the statement again.
                fields.set(b'R', "RevalidateCachedQuery");
                fields
            }
            Self::Told { .. } | Self::LaneLost { .. } | Self::Frame(_) | Self::Client(_) | Self::Fatal { .. } => {
                ErrorFields::new(severity, self.sqlstate(), self.to_string())
            }
        }
    }
}

fn set(fields: &mut ErrorFields, code: u8, value: Option<&str>) {
    if let Some(value) = value {
        fields.set(code, value);
    }
}
