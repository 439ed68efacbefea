//! Statements that Atoll does not answer.

use serde::Serialize;

use super::Plan;

/// A statement that Atoll does not answer: always says what, why, and what to do instead.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refusal {
    /// Five characters; 0A000 for what is not supported.
    pub sqlstate: &'static str,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// Byte offset in the statement's text.
    pub position: Option<usize>,
}

impl Refusal {
    /// What is not supported (0A000), why, and what to do instead.
    pub(crate) fn unsupported(what: impl Into<String>, why: impl Into<String>, instead: impl Into<String>) -> Self {
        let error = Self::error("0A000", what);
        Self { detail: Some(why.into()), hint: Some(instead.into()), ..error }
    }

    /// A name that Atoll keeps for itself (42939, PostgreSQL's own words).
    pub(crate) fn reserved(kind: &str, name: &str, why: &str) -> Self {
        let error = Self::error("42939", format!("unacceptable {kind} name \"{name}\""));
        Self { detail: Some(why.to_owned()), hint: Some("Choose another name.".to_owned()), ..error }
    }

    /// A distributed table of which the catalog that the statement is planned with knows nothing.
    pub(crate) fn unknown_table(name: &str) -> Self {
        Self::unsupported(
            format!("the catalog does not know table \"{name}\""),
            "The table is among the distributed ones, but its columns are not known yet.",
            "Run the statement again.",
        )
    }

    /// What the planner itself has ruled out: said all the same, so that no statement runs in a wrong place.
    pub(crate) fn unexpected(what: impl Into<String>) -> Self {
        Self::unsupported(
            what,
            "The planner contradicts itself about this statement.",
            "Please report the statement; written in another way, it may work.",
        )
    }

    /// An error in PostgreSQL's own words, where the planner finds it before PostgreSQL does.
    pub(crate) fn error(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { sqlstate, message: message.into(), detail: None, hint: None, position: None }
    }

    /// With the place in the statement's text that it is about.
    pub(crate) fn at(self, position: usize) -> Self {
        Self { position: Some(position), ..self }
    }
}

impl From<Refusal> for Plan {
    fn from(refusal: Refusal) -> Self {
        Plan::Refuse(refusal)
    }
}
