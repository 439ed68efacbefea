//! Why a merge is not run here, and how a running one fails.

use std::error::Error;
use std::fmt;

use atoll_wire::numeric::NumericError;
use datafusion::error::DataFusionError;

/// An error of the engine's inputs, kept as it came.
pub type InputError = Box<dyn Error + Send + Sync>;

/// The merge holds something that is not on the verified list: PostgreSQL has to run it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unsupported {
    /// What it is, for EXPLAIN and logs.
    pub reason: String,
}

impl Unsupported {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// `Err` with a formatted [`Unsupported`].
macro_rules! refuse {
    ($($text:tt)*) => { return Err($crate::error::Unsupported::new(format!($($text)*)).into()) };
}
pub(crate) use refuse;

/// An error that PostgreSQL would have raised, with its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlError {
    /// Five characters.
    pub sqlstate: &'static str,
    pub message: String,
    pub detail: Option<String>,
}

impl SqlError {
    pub(crate) fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { sqlstate, message: message.into(), detail: None }
    }

    pub(crate) fn out_of_range(type_name: &str) -> Self {
        Self::new("22003", format!("{type_name} out of range"))
    }

    pub(crate) fn division_by_zero() -> Self {
        Self::new("22012", "division by zero")
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for SqlError {}

impl From<NumericError> for SqlError {
    fn from(error: NumericError) -> Self {
        let detail = match &error {
            NumericError::FieldOverflow { precision, scale } => {
                let whole = i64::from(*precision) - i64::from(*scale);
                let bound = if whole == 0 { "1".to_owned() } else { format!("10^{whole}") };
                Some(format!(
                    "A field with precision {precision}, scale {scale} must round to an absolute value less than {bound}."
                ))
            }
            _ => None,
        };
        Self { sqlstate: error.sqlstate(), message: error.to_string(), detail }
    }
}

impl From<SqlError> for DataFusionError {
    fn from(error: SqlError) -> Self {
        Self::External(Box::new(error))
    }
}

/// How a merge fails.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A parameter's value cannot be read exactly here; nothing has run.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// An error of the statement itself, as PostgreSQL gives it.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// What an input stream yielded instead of a batch, unchanged.
    #[error("{0}")]
    Input(InputError),
    /// The merge needs more memory than it may have, in a place that cannot spill.
    #[error("out of memory")]
    Memory { detail: String },
    /// A bug, or a failure of the machine (no room to spill).
    #[error("merge failed: {detail}")]
    Internal { detail: String },
}

impl MergeError {
    /// The SQLSTATE to report; for [`MergeError::Input`] the error's own has precedence.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Unsupported(_) => "0A000",
            Self::Sql(error) => error.sqlstate,
            Self::Memory { .. } => "53200",
            Self::Input(_) | Self::Internal { .. } => "XX000",
        }
    }

    /// What DataFusion made of it; input errors are kept aside by the sources and not looked for here.
    pub(crate) fn from_datafusion(error: &DataFusionError) -> Self {
        if let Some(sql) = find_sql_error(error) {
            return Self::Sql(sql.clone());
        }
        match error.find_root() {
            DataFusionError::ResourcesExhausted(detail) => Self::Memory { detail: detail.clone() },
            other => Self::Internal { detail: other.to_string() },
        }
    }
}

/// The [`SqlError`] in a chain of wrappers, if there is one.
fn find_sql_error(error: &DataFusionError) -> Option<&SqlError> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(sql) = error.downcast_ref::<SqlError>() {
            return Some(sql);
        }
        next = match error.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::External(inner)) => Some(inner.as_ref()),
            Some(DataFusionError::Shared(inner)) => Some(&**inner),
            Some(DataFusionError::Context(_, inner)) => Some(&**inner),
            _ => error.source(),
        };
    }
    None
}
