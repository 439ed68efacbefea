//! Edits that make a query smaller, numbered in the order of a walk through its tree.

use super::ast::{Body, Content, Distinct, Expr, From, On, Piece, Query, Select, Style};

/// Walks through a query and makes the edit of a given number.
#[derive(Debug)]
struct Editor {
    left: usize,
    done: bool,
}

/// Makes edit `number`; `None` when there are fewer.
#[must_use]
pub fn edited(query: &Query, number: usize) -> Option<Query> {
    let mut editor = Editor { left: number, done: false };
    let mut copy = query.clone();
    // A query inside may already show it.
    let mut inner = Vec::new();
    nested(query, &mut inner);
    for candidate in inner {
        if editor.here() {
            return Some(candidate);
        }
    }
    editor.query(&mut copy);
    editor.done.then_some(copy)
}

/// Subqueries of FROM, of CTEs and of set operations.
fn nested(query: &Query, out: &mut Vec<Query>) {
    for cte in &query.ctes {
        if let Content::Query(inner) = &cte.content {
            out.push(inner.clone());
        }
    }
    match &query.body {
        Body::Select(select) => select.from.iter().for_each(|from| nested_from(from, out)),
        Body::Set(left, _, right) => {
            for side in [left, right] {
                let mut with_ctes = (**side).clone();
                with_ctes.ctes.splice(0..0, query.ctes.iter().cloned());
                out.push(with_ctes);
            }
        }
        Body::Values(_) => {}
    }
}

fn nested_from(from: &From, out: &mut Vec<Query>) {
    match from {
        From::Named { .. } => {}
        From::Query { query, .. } => out.push((**query).clone()),
        From::Join { left, right, .. } => {
            nested_from(left, out);
            nested_from(right, out);
        }
    }
}

impl Editor {
    /// Whether the edit at this place is the one.
    fn here(&mut self) -> bool {
        if self.done {
            return false;
        }
        if self.left == 0 {
            self.done = true;
            return true;
        }
        self.left -= 1;
        false
    }

    fn drop_each<T>(&mut self, list: &mut Vec<T>, keep: usize) {
        for at in 0..list.len() {
            if list.len() > keep && self.here() {
                list.remove(at);
                return;
            }
        }
    }

    fn query(&mut self, query: &mut Query) {
        self.drop_each(&mut query.ctes, 0);
        for cte in &mut query.ctes {
            if cte.materialized.is_some() && self.here() {
                cte.materialized = None;
            }
            if let Content::Query(inner) = &mut cte.content {
                self.query(inner);
            }
        }
        let ordered = query.limit.is_some() || query.offset.is_some();
        if ordered && self.here() {
            (query.limit, query.offset, query.ties) = (None, None, false);
        }
        if ordered && query.offset.is_some() && self.here() {
            query.offset = None;
        }
        let by_order = matches!(&query.body, Body::Select(select) if matches!(select.distinct, Distinct::On(_)));
        // What is cut off, or which row stands for others, rests on the whole order.
        if !ordered && !by_order {
            if !query.order.is_empty() && self.here() {
                query.order.clear();
            }
            self.drop_each(&mut query.order, 0);
        }
        for key in &mut query.order {
            if (!key.suffix.is_empty() || key.style != Style::Number) && self.here() {
                (key.suffix, key.style) = ("", Style::Number);
            }
        }
        let width = width(query);
        for column in 0..width {
            if width > 1 && self.here() {
                remove_column(query, column);
                return;
            }
        }
        match &mut query.body {
            Body::Select(select) => self.select(select, query.limit.is_some()),
            Body::Set(left, _, right) => {
                for side in [left.clone(), right.clone()] {
                    if query.order.is_empty() && side.order.is_empty() && side.ctes.is_empty() && self.here() {
                        query.body = side.body;
                        return;
                    }
                }
                self.query(left);
                self.query(right);
            }
            Body::Values(rows) => self.drop_each(rows, 1),
        }
    }

    fn select(&mut self, select: &mut Select, limited: bool) {
        match select.distinct {
            Distinct::No => {}
            Distinct::Rows | Distinct::On(_) => {
                if self.here() {
                    select.distinct = Distinct::No;
                }
            }
        }
        self.drop_each(&mut select.filter, 0);
        self.drop_each(&mut select.having, 0);
        if !select.sets.is_empty() && self.here() {
            select.sets = "";
        }
        self.drop_each(&mut select.group, 0);
        for from in &mut select.from {
            self.from(from);
        }
        for list in [&mut select.filter, &mut select.having] {
            list.iter_mut().for_each(|expr| self.expr(expr));
        }
        for (expr, _) in &mut select.items {
            self.expr(expr);
            // A constant under a LIMIT is as good as the column: all rows look alike.
            if !limited && matches!(expr, Expr::Leaf { .. }) && self.here() {
                *expr = Expr::Literal { ty: expr.ty(), value: expr.ty().plain_value().to_owned() };
            }
        }
    }

    fn from(&mut self, from: &mut From) {
        match from {
            From::Named { .. } => {}
            From::Query { query, .. } => self.query(query),
            From::Join { kind, left, right, on } => {
                for side in [left.clone(), right.clone()] {
                    if self.here() {
                        *from = *side;
                        return;
                    }
                }
                if matches!(*kind, "LEFT JOIN" | "RIGHT JOIN" | "FULL JOIN") && self.here() {
                    *kind = "JOIN";
                }
                if *kind == "FULL JOIN" && self.here() {
                    *kind = "LEFT JOIN";
                }
                if let On::Conditions(conditions) = on {
                    // One stays: a product of everything takes too long.
                    self.drop_each(conditions, 1);
                    conditions.iter_mut().for_each(|expr| self.expr(expr));
                }
                self.from(left);
                self.from(right);
            }
        }
    }

    fn expr(&mut self, expr: &mut Expr) {
        let ty = expr.ty();
        let Expr::Node { pieces, .. } = expr else { return };
        if self.here() {
            *expr = Expr::Literal { ty, value: ty.plain_value().to_owned() };
            return;
        }
        let parts: Vec<Expr> = pieces
            .iter()
            .filter_map(|piece| match piece {
                Piece::Expr(inner) if inner.ty() == ty => Some(inner.clone()),
                _ => None,
            })
            .collect();
        for part in parts {
            if self.here() {
                *expr = part;
                return;
            }
        }
        for piece in pieces {
            match piece {
                Piece::Expr(inner) => self.expr(inner),
                Piece::Query(query) => self.query(query),
                Piece::Fixed(_) | Piece::Text(_) => {}
            }
        }
    }
}

fn width(query: &Query) -> usize {
    match &query.body {
        Body::Select(select) => select.items.len(),
        Body::Set(left, _, _) => width(left),
        Body::Values(rows) => rows.first().map_or(0, Vec::len),
    }
}

/// Takes an output column away, from every branch.
fn remove_column(query: &mut Query, column: usize) {
    match &mut query.body {
        Body::Select(select) => {
            if let Distinct::On(count) = &mut select.distinct {
                *count -= query.order.iter().take(*count).filter(|key| key.column == column).count();
                if *count == 0 {
                    select.distinct = Distinct::No;
                }
            }
            if column < select.items.len() {
                select.items.remove(column);
            }
        }
        Body::Set(left, _, right) => {
            remove_column(left, column);
            remove_column(right, column);
        }
        Body::Values(rows) => rows.iter_mut().filter(|row| column < row.len()).for_each(|row| {
            row.remove(column);
        }),
    }
    query.order.retain(|key| key.column != column);
    for key in &mut query.order {
        if key.column > column {
            key.column -= 1;
        }
    }
}
