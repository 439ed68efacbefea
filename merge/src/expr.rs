//! Typed expressions, and their value for one row.
//!
//! Rows are taken one at a time: what a branch of CASE or the right side of AND would raise must not be raised for rows that do not
//! come there, as in PostgreSQL.

use atoll_wire::rows::ColumnFormat;

use crate::datum::{Datum, Reader};
use crate::error::SqlError;
use crate::kernels;
use crate::types::PgType;

type Result<T> = std::result::Result<T, SqlError>;

/// An expression whose every part is on the verified list.
#[derive(Clone, Debug)]
pub enum Expr {
    /// A column of the input, by position.
    Column(usize),
    Literal(Datum<'static>),
    /// Zero-based.
    Parameter(usize),
    Arithmetic {
        symbol: &'static str,
        ty: PgType,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    Compare {
        symbol: &'static str,
        ty: PgType,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// NULLs are values here.
    Distinct {
        ty: PgType,
        negated: bool,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    Cast {
        from: PgType,
        to: PgType,
        value: Box<Expr>,
    },
    /// `numeric(p, s)`.
    Rescale {
        typmod: i32,
        value: Box<Expr>,
    },
    Function {
        name: &'static str,
        ty: PgType,
        arguments: Vec<Expr>,
    },
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    IsNull(Box<Expr>),
    /// IS TRUE, IS FALSE; IS UNKNOWN is [`Expr::IsNull`].
    Is {
        value: bool,
        of: Box<Expr>,
    },
    Case {
        branches: Vec<(Expr, Expr)>,
        otherwise: Box<Expr>,
    },
    Coalesce(Vec<Expr>),
    NullIf {
        ty: PgType,
        value: Box<Expr>,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// The aggregate call of this number, before grouping is resolved.
    Aggregate(usize),
}

/// How text compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collation {
    /// No text, or a literal that takes the other side's.
    Neutral,
    /// By its bytes.
    Bytes,
    /// By its bytes, whatever the other side says: `COLLATE "C"`.
    Explicit,
    /// Some other way: never compared here.
    Other,
}

impl Collation {
    /// How two texts compare with each other.
    pub fn with(self, other: Self) -> Self {
        match (self, other) {
            (Self::Explicit, _) | (_, Self::Explicit) => Self::Explicit,
            (Self::Other, _) | (_, Self::Other) => Self::Other,
            (Self::Bytes, _) | (_, Self::Bytes) => Self::Bytes,
            (Self::Neutral, Self::Neutral) => Self::Neutral,
        }
    }
}

/// An expression and what is known of it.
#[derive(Clone, Debug)]
pub struct Typed {
    pub expr: Expr,
    pub ty: PgType,
    pub typmod: i32,
    pub format: ColumnFormat,
    /// Passed on, never looked into: raw columns, and types that are carried as they are.
    pub opaque: bool,
    pub collation: Collation,
}

impl Typed {
    pub fn new(expr: Expr, ty: PgType) -> Self {
        Self { expr, ty, typmod: -1, format: ColumnFormat::Typed, opaque: false, collation: Collation::Neutral }
    }
}

/// One row of a batch, and the parameters.
pub struct Row<'b, 'a> {
    /// By column; None for columns that are not read.
    pub columns: &'b [Option<Reader<'a>>],
    pub parameters: &'b [Datum<'static>],
    pub index: usize,
}

impl Expr {
    /// Its value for `row`.
    ///
    /// # Errors
    /// What PostgreSQL raises; XX000 for an expression that the compiler should have refused.
    pub fn evaluate<'a>(&'a self, row: &Row<'a, 'a>) -> Result<Datum<'a>> {
        Ok(match self {
            Self::Column(column) => match row.columns.get(*column) {
                Some(Some(reader)) => reader.get(row.index)?,
                _ => return Err(SqlError::new("XX000", "a column was not read")),
            },
            Self::Literal(value) => value.borrow(),
            Self::Parameter(number) => match row.parameters.get(*number) {
                Some(value) => value.borrow(),
                None => return Err(SqlError::new("XX000", "a parameter has no value")),
            },
            Self::Arithmetic { symbol, ty, left, right } => match (left.evaluate(row)?, right.evaluate(row)?) {
                (Datum::Null, _) | (_, Datum::Null) => Datum::Null,
                (left, right) => kernels::arithmetic(symbol, *ty, &left, &right)?,
            },
            Self::Compare { symbol, ty, left, right } => match (left.evaluate(row)?, right.evaluate(row)?) {
                (Datum::Null, _) | (_, Datum::Null) => Datum::Null,
                (left, right) => Datum::Bool(kernels::satisfies(symbol, kernels::compare(*ty, &left, &right)?)),
            },
            Self::Distinct { ty, negated, left, right } => {
                let distinct = match (left.evaluate(row)?, right.evaluate(row)?) {
                    (Datum::Null, Datum::Null) => false,
                    (Datum::Null, _) | (_, Datum::Null) => true,
                    (left, right) => kernels::compare(*ty, &left, &right)?.is_ne(),
                };
                Datum::Bool(distinct != *negated)
            }
            Self::Cast { from, to, value } => match value.evaluate(row)? {
                Datum::Null => Datum::Null,
                value => kernels::cast(*from, *to, value)?,
            },
            Self::Rescale { typmod, value } => match value.evaluate(row)? {
                Datum::Numeric(value) => Datum::Numeric(kernels::rescale(&value, *typmod)?),
                other => other,
            },
            Self::Function { name, ty, arguments } => {
                let values = arguments.iter().map(|argument| argument.evaluate(row)).collect::<Result<Vec<_>>>()?;
                if values.iter().any(Datum::is_null) { Datum::Null } else { kernels::function(name, *ty, &values)? }
            }
            Self::And(terms) => junction(terms, row, false)?,
            Self::Or(terms) => junction(terms, row, true)?,
            Self::Not(value) => match value.evaluate(row)? {
                Datum::Bool(value) => Datum::Bool(!value),
                other => other,
            },
            Self::IsNull(value) => Datum::Bool(value.evaluate(row)?.is_null()),
            Self::Is { value, of } => Datum::Bool(matches!(of.evaluate(row)?, Datum::Bool(found) if found == *value)),
            Self::Case { branches, otherwise } => {
                for (condition, result) in branches {
                    if matches!(condition.evaluate(row)?, Datum::Bool(true)) {
                        return result.evaluate(row);
                    }
                }
                otherwise.evaluate(row)?
            }
            Self::Coalesce(values) => {
                for value in values {
                    let value = value.evaluate(row)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                Datum::Null
            }
            Self::NullIf { ty, value, left, right } => {
                let equal = match (left.evaluate(row)?, right.evaluate(row)?) {
                    (Datum::Null, _) | (_, Datum::Null) => false,
                    (left, right) => kernels::compare(*ty, &left, &right)?.is_eq(),
                };
                if equal { Datum::Null } else { value.evaluate(row)? }
            }
            Self::Aggregate(_) => return Err(SqlError::new("XX000", "an aggregate was not computed")),
        })
    }

    /// Its parts.
    pub fn children(&self) -> Vec<&Expr> {
        match self {
            Self::Column(_) | Self::Literal(_) | Self::Parameter(_) | Self::Aggregate(_) => Vec::new(),
            Self::Arithmetic { left, right, .. }
            | Self::Compare { left, right, .. }
            | Self::Distinct { left, right, .. } => {
                vec![left, right]
            }
            Self::Cast { value, .. } | Self::Rescale { value, .. } | Self::Not(value) | Self::IsNull(value) => {
                vec![value]
            }
            Self::Is { of, .. } => vec![of],
            Self::Function { arguments, .. } => arguments.iter().collect(),
            Self::And(terms) | Self::Or(terms) | Self::Coalesce(terms) => terms.iter().collect(),
            Self::Case { branches, otherwise } => branches
                .iter()
                .flat_map(|(condition, result)| [condition, result])
                .chain(std::iter::once(otherwise.as_ref()))
                .collect(),
            Self::NullIf { value, left, right, .. } => vec![value, left, right],
        }
    }

    /// Its parts, to be changed.
    pub fn children_mut(&mut self) -> Vec<&mut Expr> {
        match self {
            Self::Column(_) | Self::Literal(_) | Self::Parameter(_) | Self::Aggregate(_) => Vec::new(),
            Self::Arithmetic { left, right, .. }
            | Self::Compare { left, right, .. }
            | Self::Distinct { left, right, .. } => {
                vec![left, right]
            }
            Self::Cast { value, .. } | Self::Rescale { value, .. } | Self::Not(value) | Self::IsNull(value) => {
                vec![value]
            }
            Self::Is { of, .. } => vec![of],
            Self::Function { arguments, .. } => arguments.iter_mut().collect(),
            Self::And(terms) | Self::Or(terms) | Self::Coalesce(terms) => terms.iter_mut().collect(),
            Self::Case { branches, otherwise } => branches
                .iter_mut()
                .flat_map(|(condition, result)| [condition, result])
                .chain(std::iter::once(otherwise.as_mut()))
                .collect(),
            Self::NullIf { value, left, right, .. } => vec![value, left, right],
        }
    }

    /// Replaces parts from the top down: where `replace` gives an expression it stands for the part and is not entered.
    pub fn rewrite<E>(
        &mut self,
        replace: &mut impl FnMut(&Expr) -> std::result::Result<Option<Expr>, E>,
    ) -> std::result::Result<(), E> {
        if let Some(replacement) = replace(self)? {
            *self = replacement;
            return Ok(());
        }
        for child in self.children_mut() {
            child.rewrite(replace)?;
        }
        Ok(())
    }

    /// Whether both are the same expression, written the same way.
    pub fn is_same(&self, other: &Self) -> bool {
        // Debug shows a numeric's scale, which its equality ignores.
        format!("{self:?}") == format!("{other:?}")
    }

    /// Marks the columns it reads.
    pub fn mark_columns(&self, read: &mut [bool]) {
        if let Self::Column(column) = self
            && let Some(mark) = read.get_mut(*column)
        {
            *mark = true;
        }
        for child in self.children() {
            child.mark_columns(read);
        }
    }
}

/// AND (`decisive` false) and OR (true): the decisive value ends it, otherwise NULL if there was one.
fn junction<'a>(terms: &'a [Expr], row: &Row<'a, 'a>, decisive: bool) -> Result<Datum<'a>> {
    let mut unknown = false;
    for term in terms {
        match term.evaluate(row)? {
            Datum::Bool(value) if value == decisive => return Ok(Datum::Bool(decisive)),
            Datum::Bool(_) => {}
            _ => unknown = true,
        }
    }
    Ok(if unknown { Datum::Null } else { Datum::Bool(!decisive) })
}
