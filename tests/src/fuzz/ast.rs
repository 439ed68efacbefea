//! Queries as trees that print as SQL and can be edited by the reducer.

/// A column type that generated tables and expressions have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ty {
    Int2,
    Int4,
    Int8,
    Numeric,
    Float8,
    Text,
    Bool,
    Date,
    Timestamp,
    TimestampTz,
    Uuid,
    Jsonb,
    IntArray,
    Interval,
    Bytea,
    /// The enum type `mood` of the schema.
    Mood,
}

/// All types, the common ones first.
pub const TYPES: [Ty; 16] = [
    Ty::Int4,
    Ty::Int8,
    Ty::Text,
    Ty::Numeric,
    Ty::Bool,
    Ty::Float8,
    Ty::Date,
    Ty::Int2,
    Ty::Timestamp,
    Ty::TimestampTz,
    Ty::Uuid,
    Ty::Jsonb,
    Ty::IntArray,
    Ty::Mood,
    Ty::Interval,
    Ty::Bytea,
];

impl Ty {
    /// Its name in SQL and its OID.
    #[must_use]
    pub fn described(self) -> (&'static str, u32) {
        match self {
            Ty::Int2 => ("int2", 21),
            Ty::Int4 => ("int4", 23),
            Ty::Int8 => ("int8", 20),
            Ty::Numeric => ("numeric", 1700),
            Ty::Float8 => ("float8", 701),
            Ty::Text => ("text", 25),
            Ty::Bool => ("bool", 16),
            Ty::Date => ("date", 1082),
            Ty::Timestamp => ("timestamp", 1114),
            Ty::TimestampTz => ("timestamptz", 1184),
            Ty::Uuid => ("uuid", 2950),
            Ty::Jsonb => ("jsonb", 3802),
            Ty::IntArray => ("int4[]", 1007),
            Ty::Interval => ("interval", 1186),
            Ty::Bytea => ("bytea", 17),
            // Each server has given it its own.
            Ty::Mood => ("mood", 0),
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        self.described().0
    }

    #[must_use]
    pub fn is_integer(self) -> bool {
        matches!(self, Ty::Int2 | Ty::Int4 | Ty::Int8)
    }

    /// The value that the reducer puts for an expression.
    #[must_use]
    pub fn plain_value(self) -> &'static str {
        match self {
            Ty::Int2 | Ty::Int4 | Ty::Int8 | Ty::Numeric | Ty::Float8 => "1",
            Ty::Text => "a",
            Ty::Bool => "true",
            Ty::Date => "2024-01-01",
            Ty::Timestamp => "2024-01-01 00:00:00",
            Ty::TimestampTz => "2024-01-01 00:00:00+00",
            Ty::Uuid => "00000000-0000-0000-0000-000000000001",
            Ty::Jsonb => "{}",
            Ty::IntArray => "{1}",
            Ty::Interval => "1 day",
            Ty::Bytea => "\\x00",
            Ty::Mood => "ok",
        }
    }
}

/// A value as SQL: quoted where it must be, with its type.
#[must_use]
pub fn literal(ty: Ty, value: &str) -> String {
    match ty {
        // In parentheses: `-4::text` is another thing.
        Ty::Int4 if value.starts_with('-') => format!("({value})"),
        Ty::Int4 | Ty::Bool => value.to_owned(),
        Ty::Text => format!("'{}'", value.replace('\'', "''")),
        _ => format!("'{}'::{}", value.replace('\'', "''"), ty.name()),
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    Text(String),
    Expr(Expr),
    /// An expression that the answer's being determined rests on: the reducer leaves it alone.
    Fixed(Expr),
    Query(Box<Query>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// A column, or anything else without parts.
    Leaf { ty: Ty, sql: String },
    /// A value that can travel as a parameter.
    Literal { ty: Ty, value: String },
    /// Text with holes.
    Node { ty: Ty, pieces: Vec<Piece> },
}

impl Expr {
    #[must_use]
    pub fn ty(&self) -> Ty {
        match self {
            Expr::Leaf { ty, .. } | Expr::Literal { ty, .. } | Expr::Node { ty, .. } => *ty,
        }
    }

    #[must_use]
    pub fn leaf(ty: Ty, sql: impl Into<String>) -> Expr {
        Expr::Leaf { ty, sql: sql.into() }
    }

    /// `template` with each `{}` filled by the next of `parts`.
    #[must_use]
    pub fn of(ty: Ty, template: &str, parts: Vec<Expr>) -> Expr {
        Expr::with(ty, template, parts.into_iter().map(Piece::Expr).collect())
    }

    /// As [`Expr::of`], with pieces of any kind.
    #[must_use]
    pub fn with(ty: Ty, template: &str, parts: Vec<Piece>) -> Expr {
        let mut parts = parts.into_iter();
        let mut pieces = Vec::new();
        for (index, text) in template.split("{}").enumerate() {
            if index > 0 {
                pieces.extend(parts.next());
            }
            if !text.is_empty() {
                pieces.push(Piece::Text(text.to_owned()));
            }
        }
        Expr::Node { ty, pieces }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub ctes: Vec<Cte>,
    pub body: Body,
    pub order: Vec<Order>,
    pub limit: Option<u32>,
    pub offset: Option<u32>,
    /// Whether the limit takes in rows that sort like the last one.
    pub ties: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Cte {
    pub name: String,
    pub columns: Vec<String>,
    pub materialized: Option<bool>,
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    Query(Query),
    /// A recursive query: kept as it is, since without its bound it would not end.
    Recursive(String),
}

/// A sort key: the output column's index, and what follows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    pub column: usize,
    pub suffix: &'static str,
    pub style: Style,
}

/// How a sort key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As the output column's number.
    Number,
    /// As the output column's expression again.
    Expression,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    Select(Box<Select>),
    /// Both sides and `UNION ALL` or the like.
    Set(Box<Query>, &'static str, Box<Query>),
    Values(Vec<Vec<Expr>>),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Distinct {
    No,
    Rows,
    /// By the first so many sort keys.
    On(usize),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Select {
    pub distinct: Distinct,
    pub items: Vec<(Expr, String)>,
    pub from: Vec<From>,
    pub filter: Vec<Expr>,
    pub group: Vec<Expr>,
    /// How the keys are grouped: empty for plain keys, else `ROLLUP` or the like.
    pub sets: &'static str,
    pub having: Vec<Expr>,
    /// Whether the items stand above a GROUP BY, be it without keys.
    pub aggregated: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub enum From {
    /// A table, view, CTE or function with its alias.
    Named {
        sql: String,
        alias: String,
    },
    Query {
        query: Box<Query>,
        alias: String,
        lateral: bool,
    },
    Join {
        kind: &'static str,
        left: Box<From>,
        right: Box<From>,
        on: On,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum On {
    Nothing,
    Using(String),
    Conditions(Vec<Expr>),
}
