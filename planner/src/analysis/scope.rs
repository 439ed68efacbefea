//! What column names can refer to.

use std::borrow::Cow;

use crate::syntax::{Ident, Name};

/// A position in `Analysis::scopes`.
pub(crate) type ScopeId = usize;

#[derive(Debug, Default)]
pub(crate) struct Scope<'t, 'a> {
    pub parent: Option<ScopeId>,
    pub items: Vec<Item<'t, 'a>>,
    /// USING or NATURAL: a column without qualifier may stand for several, equal ones.
    pub merges: bool,
    /// FULL JOIN: such a column may be either side's.
    pub merges_full: bool,
}

#[derive(Debug)]
pub(crate) struct Item<'t, 'a> {
    /// The name its columns are qualified with.
    pub name: Cow<'t, str>,
    pub columns: Columns<'t, 'a>,
}

#[derive(Debug)]
pub(crate) enum Columns<'t, 'a> {
    /// A relation of the catalog, perhaps with its columns renamed.
    Base { occurrence: usize, aliased: bool, renamed: &'t [Ident<'a>] },
    /// A derived table or a CTE: its output columns' names, where known, and what keys they are.
    Derived(Vec<Output<'a>>),
    /// Anything: names are not known.
    Opaque,
}

/// An output column of a derived table or CTE.
#[derive(Clone, Debug)]
pub(crate) struct Output<'a> {
    pub name: Option<Cow<'a, str>>,
    pub key: Option<KeyTerm>,
}

/// Distribution keys that a column is equal to, one per branch of UNION ALL.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeyTerm {
    pub occurrences: Vec<usize>,
    /// CTEs it came through: what is demanded of it there holds only when the CTE is used once.
    pub ctes: Vec<usize>,
    /// The column is never anything but this key: not so when another branch of a UNION computes it.
    pub whole: bool,
}

impl KeyTerm {
    pub fn of(occurrence: usize) -> Self {
        Self { occurrences: vec![occurrence], ctes: Vec::new(), whole: true }
    }

    /// The one key that the column is.
    pub fn single(&self) -> Option<usize> {
        match self.occurrences.as_slice() {
            [occurrence] if self.whole => Some(*occurrence),
            _ => None,
        }
    }
}

/// What a column reference refers to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Resolved {
    Base {
        occurrence: usize,
        column: String,
    },
    Derived {
        key: Option<KeyTerm>,
        name: Option<String>,
    },
    /// The name of a FROM item where a column is expected.
    WholeRow {
        occurrence: Option<usize>,
    },
    Unknown,
}

pub(crate) const SYSTEM_COLUMNS: [&str; 6] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];

/// The qualifier and the column of a reference: `s.t.a` -> (`s.t`, `a`).
pub(crate) struct Reference<'n> {
    pub schema: Option<&'n str>,
    pub table: Option<&'n str>,
    pub column: &'n str,
}

/// The ways in which a dotted name can be read as a column: `a.b` is column b of a, or field b of column a.
pub(crate) fn readings<'n>(name: &'n Name<'_>) -> Vec<Reference<'n>> {
    let part = |index: usize| name.parts[index].name.as_ref();
    match name.parts.len() {
        1 => vec![Reference { schema: None, table: None, column: part(0) }],
        2 => vec![Reference { schema: None, table: Some(part(0)), column: part(1) }],
        3 => vec![
            Reference { schema: Some(part(0)), table: Some(part(1)), column: part(2) },
            Reference { schema: None, table: Some(part(0)), column: part(1) },
        ],
        4 => vec![
            Reference { schema: Some(part(1)), table: Some(part(2)), column: part(3) },
            Reference { schema: Some(part(0)), table: Some(part(1)), column: part(2) },
        ],
        _ => Vec::new(),
    }
}
