//! The types of expressions, as far as partial sums need them: those of numbers and intervals.

use super::Builder;
use crate::analysis::{Resolved, ScopeId};
use crate::syntax::{Body, Expr, ExprKind, FromItem, Name, OtherName, Query, Select};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Number {
    Int2,
    Int4,
    Int8,
    Numeric,
    Float4,
    Float8,
    Interval,
}

impl Number {
    fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "int2" => Number::Int2,
            "int4" => Number::Int4,
            "int8" => Number::Int8,
            "numeric" => Number::Numeric,
            "float4" => Number::Float4,
            "float8" => Number::Float8,
            "interval" => Number::Interval,
            _ => return None,
        })
    }

    fn of_oid(oid: u32) -> Option<Self> {
        Some(match oid {
            21 => Number::Int2,
            23 => Number::Int4,
            20 => Number::Int8,
            1700 => Number::Numeric,
            700 => Number::Float4,
            701 => Number::Float8,
            1186 => Number::Interval,
            _ => return None,
        })
    }

    /// The type of an operation on two numbers: PostgreSQL brings both to the greater one first, real and anything else to double
    /// precision.
    fn with(self, other: Self) -> Option<Self> {
        if self == other {
            return Some(self);
        }
        match (self.min(other), self.max(other)) {
            (_, Number::Interval) => None,
            (_, Number::Float4 | Number::Float8) => Some(Number::Float8),
            (_, greater) => Some(greater),
        }
    }

    /// The common type of CASE's and COALESCE's branches.
    fn united(self, other: Self) -> Option<Self> {
        match (self.min(other), self.max(other)) {
            (own, same) if own == same => Some(own),
            (_, Number::Interval) => None,
            (_, greater) => Some(greater),
        }
    }
}

impl<'a> Builder<'_, '_, '_, 'a> {
    /// The type of an expression, when it is certain to be one of these.
    pub(super) fn number_of(&self, expr: &Expr<'a>, select: &Select<'a>, scope: ScopeId) -> Option<Number> {
        let number = |expr: &Expr<'a>| self.number_of(expr, select, scope);
        let expr = expr.bare();
        match &expr.kind {
            ExprKind::Column(name) => match self.context.analysis.resolve(name, scope) {
                (Resolved::Derived { name: Some(column), .. }, 0) => self.derived(name, &column, select),
                (Resolved::Base { occurrence, column }, _) => {
                    let relation = self.context.analysis.occurrences[occurrence].relation?;
                    Number::of_oid(relation.columns.iter().find(|own| own.name == column)?.type_oid)
                }
                _ => None,
            },
            ExprKind::Integer => {
                let digits = expr.span.of(self.sql());
                if digits.parse::<i32>().is_ok() {
                    Some(Number::Int4)
                } else if digits.parse::<i64>().is_ok() {
                    Some(Number::Int8)
                } else {
                    Some(Number::Numeric)
                }
            }
            ExprKind::Numeric => Some(Number::Numeric),
            ExprKind::Cast { target, .. }
                if !target.array && matches!(target.schema.as_deref(), None | Some("pg_catalog")) =>
            {
                Number::of_name(&target.name)
            }
            ExprKind::Unary { operator, operand } if matches!(operator.of(self.sql()), "-" | "+") => number(operand),
            ExprKind::Binary { operator, left, right } => {
                let (left, right) = (number(left)?, number(right)?);
                match operator.of(self.sql()) {
                    "+" | "-" => left.with(right),
                    "*" | "/" if left != Number::Interval => left.with(right),
                    "%" if left <= Number::Numeric => left.with(right),
                    _ => None,
                }
            }
            ExprKind::Other { name: OtherName::Case { has_else }, operands } => case_type(*has_else, operands, &number),
            ExprKind::Other { name: OtherName::Fixed("coalesce" | "greatest" | "least"), operands } => {
                branches(operands.iter(), &number)
            }
            ExprKind::Call(call) if call.over.is_none() && call.name.parts.len() == 1 => {
                match (call.name.last(), call.arguments.len()) {
                    ("abs", 1) => number(&call.arguments[0]),
                    ("length" | "char_length" | "octet_length", 1) => Some(Number::Int4),
                    ("extract", 1) => Some(Number::Numeric),
                    ("round", 2) => Some(Number::Numeric),
                    ("round" | "trunc" | "floor" | "ceil" | "ceiling", 1) => match number(&call.arguments[0])? {
                        Number::Numeric => Some(Number::Numeric),
                        Number::Interval => None,
                        _ => Some(Number::Float8),
                    },
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The type of a derived table's column.
    fn derived(&self, name: &Name<'a>, column: &str, select: &Select<'a>) -> Option<Number> {
        let table = name.parts.len().checked_sub(2).map(|index| name.parts[index].name.as_ref());
        let mut queries = Vec::new();
        select.from.iter().for_each(|item| collect(item, table, &mut queries));
        let mut found = queries.into_iter().filter_map(|query| {
            let Body::Select(inner) = &query.body else { return None };
            let item = inner.items.iter().find(|item| match (&item.alias, &item.expr.kind) {
                (Some(alias), _) => alias.name == column,
                (None, ExprKind::Column(name)) => name.last() == column,
                _ => false,
            })?;
            let facts = self.context.analysis.queries.iter().find(|facts| std::ptr::eq(facts.query, query))?;
            Some(self.number_of(&item.expr, inner, facts.select?.1))
        });
        let first = found.next()?;
        if found.next().is_some() { None } else { first }
    }
}

/// The derived tables of a FROM item that a qualifier may mean; those with a list of column aliases are left out.
fn collect<'q, 'a>(item: &'q FromItem<'a>, table: Option<&str>, queries: &mut Vec<&'q Query<'a>>) {
    match item {
        FromItem::Query { query, alias, .. } => {
            let own = alias.as_ref().and_then(|alias| alias.name.as_ref()).map(|name| name.name.as_ref());
            let renamed = alias.as_ref().is_some_and(|alias| !alias.columns.is_empty());
            if !renamed && (table.is_none() || table == own) {
                queries.push(query);
            }
        }
        FromItem::Join { left, right, .. } => {
            collect(left, table, queries);
            collect(right, table, queries);
        }
        FromItem::Table(_) | FromItem::Function { .. } => {}
    }
}

/// CASE's operands are an optional value, pairs of condition and result, and an optional ELSE.
fn case_type<'a>(
    has_else: bool,
    operands: &[Expr<'a>],
    number: &dyn Fn(&Expr<'a>) -> Option<Number>,
) -> Option<Number> {
    let paired = operands.len().checked_sub(usize::from(has_else))?;
    let results = operands[..paired].iter().skip(paired % 2 + 1).step_by(2);
    branches(results.chain(operands[paired..].iter()), number)
}

fn branches<'e, 'a: 'e>(
    branches: impl Iterator<Item = &'e Expr<'a>>,
    number: &dyn Fn(&Expr<'a>) -> Option<Number>,
) -> Option<Number> {
    let mut common = None;
    for branch in branches.filter(|branch| !matches!(branch.bare().kind, ExprKind::Null)) {
        let own = number(branch)?;
        common = Some(match common {
            None => own,
            Some(other) => own.united(other)?,
        });
    }
    common
}
