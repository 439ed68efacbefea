//! Queries as text.

use super::ast::{Body, Content, Distinct, Expr, From, On, Order, Piece, Query, Select, Style, Ty, literal};

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
            match (&query.body, order.style) {
                (Body::Select(select), Style::Expression) if select.distinct == Distinct::No => {
                    match select.items.get(order.column) {
                        // A constant would be taken for a number.
                        Some((expr @ (Expr::Leaf { .. } | Expr::Node { .. }), _)) => self.expr(expr),
                        _ => self.text(&(order.column + 1).to_string()),
                    }
                }
                _ => self.text(&(order.column + 1).to_string()),
            }
            self.text(order.suffix);
        }
        if let Some(count) = query.offset {
            self.text(" OFFSET ");
            self.count(count);
        }
        if let Some(count) = query.limit {
            if query.ties && !query.order.is_empty() {
                self.text(&format!(" FETCH FIRST {count} ROWS WITH TIES"));
            } else {
                self.text(" LIMIT ");
                self.count(count);
            }
        }
    }

    fn count(&mut self, count: u32) {
        match self.parameters {
            Some(_) => self.literal(Ty::Int8, &count.to_string()),
            None => self.text(&count.to_string()),
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
