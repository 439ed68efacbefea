//! INSERT, UPDATE and DELETE of distributed and reference tables.

use serde::Serialize;

use super::{CatalogRows, Fragment, KeySource, Keys, Plan, Residue, Template};
use crate::directory::{ColocationId, KeyColumn, KeyType, TableName};

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ManyWrite {
    /// One shard's UPDATE or DELETE, every distributed table qualified, ending with RETURNING when `returning`.
    pub arm: Template,
    pub returning: bool,
    /// "UPDATE" or "DELETE": the command tag's first word.
    pub verb: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Insert {
    pub table: TableName,
    pub colocation: ColocationId,
    pub key_type: KeyType,
    /// Text up to the rows: `INSERT INTO t (a, b) OVERRIDING ... VALUES `, with columns of computed defaults added.
    pub head: Template,
    pub rows: Vec<InsertRow>,
    /// Text after the rows (ON CONFLICT, RETURNING).
    pub tail: Template,
    /// Default expressions to compute once per row at home, before routing: SQL texts; each row's `(...)` holds placeholders.
    pub computed: Vec<String>,
    pub returning: bool,
    pub residue: Residue,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InsertSelect {
    pub table: TableName,
    pub colocation: ColocationId,
    pub key: KeyColumn,
    /// As the client listed them; `None`: the table's, as many as the query has.
    pub columns: Option<Vec<String>>,
    pub overriding: Option<&'static str>,
    /// The query's own text, and how it is answered.
    pub query: String,
    pub source: Box<Plan>,
    /// ON CONFLICT and RETURNING, for one shard.
    pub tail: Option<Template>,
    /// What the tail calls the table, when not by its name.
    pub alias: Option<String>,
    pub returning: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WriteWith {
    pub colocation: ColocationId,
    pub key_type: KeyType,
    /// Which of the written table's rows can matter.
    pub keys: Keys,
    /// The arms name the sources as relations without a schema.
    pub write: ManyWrite,
    pub sources: Vec<Source>,
    pub residue: Residue,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WriteCurrent {
    /// For the cursor's shard.
    pub text: Template,
    pub cursor: String,
    pub residue: Residue,
}

/// Statements of their own, planned when their turn comes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Steps {
    pub steps: Vec<Step>,
    /// The rest of the statement; the steps' rows are tables at home, under their names.
    pub main: String,
    /// What the rest of the statement does.
    pub verb: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    pub name: String,
    pub text: String,
    /// A query with the same columns, for the catalog database to describe; `None` when it returns no rows.
    pub shape: Option<String>,
}

/// Rows that every shard gets to see, all of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Source {
    Fragment(Fragment),
    /// A query that home's data database answers, without parameters.
    Home {
        name: String,
        query: String,
    },
    Catalog(CatalogRows),
}

impl Source {
    /// Its name in the arms.
    pub fn name(&self) -> &str {
        match self {
            Source::Fragment(fragment) => &fragment.name,
            Source::Home { name, .. } => name,
            Source::Catalog(rows) => &rows.name,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InsertRow {
    pub key: RowKey,
    /// The row's values, without parentheses; [`InsertPiece::Computed`] stands for a value computed at home.
    pub values: Vec<InsertPiece>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum RowKey {
    Value(KeySource),
    /// Not a literal or a parameter: this SQL expression is evaluated at home first and its value then stands in the row.
    Expression(String),
    /// The computed default with this index.
    Computed(usize),
    /// NULL, which no shard holds (23502).
    Null,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum InsertPiece {
    Text(String),
    /// The value of `Insert::computed[i]` for this row.
    Computed(usize),
    /// The value of the row's `RowKey::Expression`.
    Key,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReferenceWrite {
    pub table: TableName,
    /// Whether the same text gives the same effect on every group (no volatile function, default, trigger, ...).
    /// Otherwise the resulting rows have to travel.
    pub deterministic: bool,
    /// The client's text with marks, where it has any.
    pub marked: Option<String>,
    pub residue: Residue,
}
