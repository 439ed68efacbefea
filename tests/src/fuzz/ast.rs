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
}

/// All types, the common ones first.
pub const TYPES: [Ty; 13] = [
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
}

#[derive(Debug, Clone, PartialEq)]
pub enum From {
    /// A table, view, CTE or function with its alias.
    Named { sql: String, alias: String },
    Query { query: Box<Query>, alias: String, lateral: bool },
    Join { kind: &'static str, left: Box<From>, right: Box<From>, on: On },
}

#[derive(Debug, Clone, PartialEq)]
pub enum On {
    Nothing,
    Using(String),
    Conditions(Vec<Expr>),
}

/// SQL being written; literals become parameters when asked.
#[derive(Debug, Default)]
pub struct Printer {
    pub sql: String,
    /// The parameters taken so far; `None` writes every literal in place.
    pub parameters: Option<Vec<(Ty, String)>>,
    literals: usize,
}

/// The SQL of a query.
#[must_use]
pub fn print(query: &Query) -> String {
    let mut printer = Printer::default();
    printer.query(query);
    printer.sql
}

/// The SQL of a query with about half of its literals as parameters.
#[must_use]
pub fn print_with_parameters(query: &Query) -> (String, Vec<(Ty, String)>) {
    let mut printer = Printer { parameters: Some(Vec::new()), ..Printer::default() };
    printer.query(query);
    (printer.sql, printer.parameters.unwrap_or_default())
}

impl Printer {
    fn text(&mut self, text: &str) {
        self.sql.push_str(text);
    }

    fn literal(&mut self, ty: Ty, value: &str) {
        self.literals += 1;
        match &mut self.parameters {
            // Not all: a text with both is the harder one.
            Some(parameters) if self.literals % 2 == 1 => {
                parameters.push((ty, value.to_owned()));
                let number = parameters.len();
                self.text(&format!("${number}"));
            }
            _ => self.text(&literal(ty, value)),
        }
    }

    pub fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Leaf { sql, .. } => self.text(sql),
            Expr::Literal { ty, value } => self.literal(*ty, value),
            Expr::Node { pieces, .. } => {
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => self.text(text),
                        Piece::Expr(expr) | Piece::Fixed(expr) => self.expr(expr),
                        Piece::Query(query) => self.query(query),
                    }
                }
            }
        }
    }

    fn list(&mut self, exprs: &[Expr], separator: &str) {
        for (index, expr) in exprs.iter().enumerate() {
            if index > 0 {
                self.text(separator);
            }
            self.expr(expr);
        }
    }

    pub fn query(&mut self, query: &Query) {
        for (index, cte) in query.ctes.iter().enumerate() {
            let recursive = query.ctes.iter().any(|cte| matches!(cte.content, Content::Recursive(_)));
            self.text(match (index, recursive) {
                (0, true) => "WITH RECURSIVE ",
                (0, false) => "WITH ",
                _ => ", ",
            });
            let how = cte.materialized.map_or("", |yes| if yes { "MATERIALIZED " } else { "NOT MATERIALIZED " });
            self.text(&format!("{}({}) AS {how}(", cte.name, cte.columns.join(", ")));
            match &cte.content {
                Content::Query(query) => self.query(query),
                Content::Recursive(sql) => self.text(sql),
            }
            self.text(if index + 1 == query.ctes.len() { ") " } else { ")" });
        }
        match &query.body {
            Body::Select(select) => self.select(select, &query.order),
            Body::Set(left, operator, right) => {
                self.text("(");
                self.query(left);
                self.text(&format!(") {operator} ("));
                self.query(right);
                self.text(")");
            }
            Body::Values(rows) => {
                self.text("VALUES ");
                for (index, row) in rows.iter().enumerate() {
                    self.text(if index > 0 { ", (" } else { "(" });
                    self.list(row, ", ");
                    self.text(")");
                }
            }
        }
        for (index, order) in query.order.iter().enumerate() {
            self.text(if index > 0 { ", " } else { " ORDER BY " });
            self.text(&format!("{}{}", order.column + 1, order.suffix));
        }
        for (word, count) in [(" LIMIT ", query.limit), (" OFFSET ", query.offset)] {
            if let Some(count) = count {
                self.text(word);
                match self.parameters {
                    Some(_) => self.literal(Ty::Int8, &count.to_string()),
                    None => self.text(&count.to_string()),
                }
            }
        }
    }

    fn select(&mut self, select: &Select, order: &[Order]) {
        self.text("SELECT ");
        match select.distinct {
            Distinct::No => {}
            Distinct::Rows => self.text("DISTINCT "),
            Distinct::On(count) => {
                let keys: Vec<String> = order.iter().take(count).map(|key| (key.column + 1).to_string()).collect();
                self.text(&format!("DISTINCT ON ({}) ", keys.join(", ")));
            }
        }
        for (index, (expr, alias)) in select.items.iter().enumerate() {
            if index > 0 {
                self.text(", ");
            }
            self.expr(expr);
            if !alias.is_empty() {
                self.text(&format!(" AS {alias}"));
            }
        }
        for (index, from) in select.from.iter().enumerate() {
            self.text(if index > 0 { ", " } else { " FROM " });
            self.from(from);
        }
        if !select.filter.is_empty() {
            self.text(" WHERE ");
            self.list(&select.filter, " AND ");
        }
        if !select.group.is_empty() {
            self.text(&format!(" GROUP BY {}{}", select.sets, if select.sets.is_empty() { "" } else { "(" }));
            self.list(&select.group, ", ");
            // GROUPING SETS ends with the empty set, so that it differs from plain keys.
            self.text(match select.sets {
                "" => "",
                "GROUPING SETS " => ", ())",
                _ => ")",
            });
        }
        if !select.having.is_empty() {
            self.text(" HAVING ");
            self.list(&select.having, " AND ");
        }
    }

    fn from(&mut self, from: &From) {
        match from {
            From::Named { sql, alias } => self.text(&format!("{sql} {alias}")),
            From::Query { query, alias, lateral } => {
                self.text(if *lateral { "LATERAL (" } else { "(" });
                self.query(query);
                self.text(&format!(") {alias}"));
            }
            From::Join { kind, left, right, on } => {
                self.from(left);
                self.text(&format!(" {kind} "));
                let nested = matches!(**right, From::Join { .. });
                self.text(if nested { "(" } else { "" });
                self.from(right);
                self.text(if nested { ")" } else { "" });
                match on {
                    On::Nothing => {}
                    On::Using(column) => self.text(&format!(" USING ({column})")),
                    On::Conditions(conditions) if conditions.is_empty() => self.text(" ON true"),
                    On::Conditions(conditions) => {
                        self.text(" ON ");
                        self.list(conditions, " AND ");
                    }
                }
            }
        }
    }
}
