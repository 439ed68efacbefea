//! Reading results of Atoll's own queries.

use std::str::FromStr;

use crate::error::{Error, Result};
use crate::lane::ResultSet;

/// The rows of a result, to be read by position.
pub struct Rows<'a> {
    rows: std::slice::Iter<'a, Vec<Option<String>>>,
}

impl<'a> Rows<'a> {
    pub fn new(set: &'a ResultSet) -> Self {
        Self { rows: set.rows.iter() }
    }

    /// The first row.
    ///
    /// # Errors
    /// XX000 when there is none.
    pub fn only(mut self) -> Result<Row<'a>> {
        self.next().ok_or_else(|| Error::internal("a query that must yield a row yielded none"))
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Row<'a>;

    fn next(&mut self) -> Option<Row<'a>> {
        self.rows.next().map(|row| Row(row))
    }
}

#[derive(Clone, Copy)]
pub struct Row<'a>(&'a [Option<String>]);

impl<'a> Row<'a> {
    /// The value, or `None` for NULL.
    pub fn maybe(self, column: usize) -> Option<&'a str> {
        self.0.get(column).and_then(Option::as_deref)
    }

    /// # Errors
    /// XX000 for NULL.
    pub fn text(self, column: usize) -> Result<&'a str> {
        self.maybe(column).ok_or_else(|| Error::internal(format!("column {column} of Atoll's own query is NULL")))
    }

    /// # Errors
    /// XX000 for NULL and for what is not a `T`.
    pub fn parse<T: FromStr>(self, column: usize) -> Result<T> {
        let text = self.text(column)?;
        text.parse().map_err(|_| Error::internal(format!("column {column} of Atoll's own query holds \"{text}\"")))
    }

    /// A boolean as PostgreSQL prints it; NULL is false.
    pub fn is_true(self, column: usize) -> bool {
        self.maybe(column) == Some("t")
    }

    /// An array of texts, written by the query as JSON; NULL is empty.
    ///
    /// # Errors
    /// XX000 when it is something else.
    pub fn names(self, column: usize) -> Result<Vec<String>> {
        let Some(text) = self.maybe(column) else { return Ok(Vec::new()) };
        serde_json::from_str(text).map_err(|error| Error::internal(format!("a list of names is not JSON: {error}")))
    }
}
