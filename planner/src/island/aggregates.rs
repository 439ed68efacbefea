//! Groups with rows on several shards: each shard aggregates its part, the merge aggregates the parts.

use super::types::Number;
use super::{Builder, Column, Direction, OrderTarget};
use crate::analysis::Resolved;
use crate::edits::{Edits, append, push_text};
use crate::names::Routine;
use crate::plan::{Merge, Template};
use crate::scan::Span;
use crate::syntax::{Call, Child, Expr, ExprKind, OtherName};

/// The fragment's columns while the merge query is written.
#[derive(Default)]
pub(super) struct Parts<'c, 'a> {
    groups: Vec<&'c Expr<'a>>,
    /// What DISTINCT aggregates look at: the shards group by it, too; the merge does not.
    distinct: Vec<&'c Expr<'a>>,
    /// Text of the partial aggregate, as one shard computes it.
    pub(super) partials: Vec<Template>,
}

impl<'c, 'a> Builder<'c, '_, '_, 'a> {
    /// Partial aggregates; `None` when an aggregate has no parts, or something outside them is not a grouping expression.
    pub(super) fn partial(&self, order: &[(OrderTarget<'c, 'a>, Span)]) -> Option<Merge> {
        // Of groups no rows can be locked: PostgreSQL says so.
        if !self.query.locks.is_empty() {
            return None;
        }
        let mut parts = Parts::default();
        for expr in self.select.group_by.iter().flat_map(|group| &group.exprs) {
            let expr = self.group_expr(expr)?;
            let constant = !expr.any(&mut |expr| matches!(expr.kind, ExprKind::Column(_)));
            if constant
                || !self.is_comparable(expr)
                || expr.has_subquery()
                || expr.any(&mut |expr| self.is_aggregate(expr))
            {
                return None;
            }
            if !parts.groups.iter().any(|own| self.is_same(own, expr)) {
                parts.groups.push(expr);
            }
        }
        let mut list = Vec::with_capacity(self.outputs.len());
        for output in &self.outputs {
            let text = self.merged(output.expr?, &mut parts)?;
            list.push(format!("{text} AS {}", crate::quote_identifier(&output.name)));
        }
        let having = match &self.select.having {
            Some(having) => Some(self.merged(having, &mut parts)?),
            None => None,
        };
        let distinct = self.select.distinct.is_some();
        let mut keys = Vec::with_capacity(order.len());
        for (target, direction) in order {
            let direction = Direction::read(self.sql(), *direction);
            let key = match target {
                OrderTarget::Output(index) => (index + 1).to_string(),
                OrderTarget::Expr(_) if distinct => return None,
                OrderTarget::Expr(expr) => {
                    let key = self.merged(expr, &mut parts)?;
                    self.order_key(&key)
                }
            };
            keys.push(format!("{key}{}", direction.text()));
        }
        if parts.partials.is_empty() && parts.groups.is_empty() && parts.distinct.is_empty() {
            return None;
        }
        let columns = self.columns(&parts);
        let mut arm = Template::text("SELECT ");
        self.select_list(&mut arm, &columns);
        self.rows_read(&mut arm);
        let positions: Vec<String> =
            (1..=parts.groups.len() + parts.distinct.len()).map(|position| position.to_string()).collect();
        if !positions.is_empty() {
            push_text(&mut arm, &format!(" GROUP BY {}", positions.join(", ")));
        }
        let mut sql =
            format!("SELECT {}{} FROM {}", if distinct { "DISTINCT " } else { "" }, list.join(", "), self.name);
        if !parts.groups.is_empty() {
            let names: Vec<String> = (0..parts.groups.len()).map(|index| format!("g{index}")).collect();
            sql.push_str(&format!(" GROUP BY {}", names.join(", ")));
        }
        if let Some(having) = having {
            sql.push_str(&format!(" HAVING {having}"));
        }
        Some(self.merge(sql, &keys, arm, columns))
    }

    fn columns(&self, parts: &Parts<'c, 'a>) -> Vec<Column> {
        let groups = parts.groups.iter().enumerate().map(|(index, expr)| Column {
            name: format!("g{index}"),
            text: self.text(expr.span),
            passed_on: false,
            bytewise: self.is_bytewise(expr),
        });
        let distinct = parts.distinct.iter().enumerate().map(|(index, expr)| Column {
            name: format!("d{index}"),
            text: self.text(expr.span),
            passed_on: false,
            bytewise: self.is_bytewise(expr),
        });
        let partials = parts.partials.iter().enumerate().map(|(index, text)| Column {
            name: format!("p{index}"),
            text: text.clone(),
            passed_on: false,
            bytewise: self.context.facts.catalog.bytewise_collation,
        });
        groups.chain(distinct).chain(partials).collect()
    }

    /// An expression over the fragment: groups and aggregates replaced, the rest as it stands.
    fn merged(&self, expr: &'c Expr<'a>, parts: &mut Parts<'c, 'a>) -> Option<String> {
        if let Some(index) = parts.groups.iter().position(|group| self.is_same(group, expr)) {
            return Some(format!("g{index}"));
        }
        match &expr.kind {
            ExprKind::Call(call) if self.is_aggregate(expr) => return self.aggregate(expr, call, parts),
            ExprKind::Call(call) if let Some(mark) = self.context.clock_mark(call) => return Some(mark),
            _ if self.context.analysis.catalog_values.contains(&expr.span) => {
                return Some(crate::marks::catalog(self.sql(), expr.span, None));
            }
            ExprKind::Column(name) => {
                // A primary key among the groups determines the rest of its row.
                if !self.is_determined(name, parts) {
                    return None;
                }
                parts.groups.push(expr);
                return Some(format!("g{}", parts.groups.len() - 1));
            }
            ExprKind::Star(_) => return None,
            // A column without a label gives its name, which it has in the fragment no more.
            ExprKind::Other { name: OtherName::Fixed("xmlforest" | "xmlattributes"), operands }
                if operands.iter().any(|operand| matches!(operand.kind, ExprKind::Column(_))) =>
            {
                return None;
            }
            _ => {}
        }
        let mut edits = Edits::default();
        let mut exprs = Vec::new();
        let mut queries = false;
        expr.children(&mut |child| match child {
            Child::Expr(child) => exprs.push(child),
            Child::Query(_) => queries = true,
        });
        if queries {
            return None;
        }
        for child in exprs {
            let text = self.merged(child, parts)?;
            edits.replace_text(child.span, text);
        }
        Some(edits.apply_text(self.sql(), expr.span))
    }

    fn is_determined(&self, name: &crate::syntax::Name<'a>, parts: &Parts<'c, 'a>) -> bool {
        let analysis = self.context.analysis;
        let (Resolved::Base { occurrence, .. }, 0) = analysis.resolve(name, self.scope) else { return false };
        let Some(key) = analysis.occurrences[occurrence].relation.and_then(|relation| relation.primary_key.as_ref())
        else {
            return false;
        };
        key.iter().all(|part| {
            parts.groups.iter().any(|group| match &group.bare().kind {
                ExprKind::Column(name) => {
                    analysis.resolve(name, self.scope).0 == Resolved::Base { occurrence, column: part.clone() }
                }
                _ => false,
            })
        })
    }

    /// One aggregate over its parts.
    pub(super) fn aggregate(
        &self,
        expr: &'c Expr<'a>,
        call: &'c Call<'a>,
        parts: &mut Parts<'c, 'a>,
    ) -> Option<String> {
        if call.distinct && !call.star && call.within_group.is_empty() {
            return self.distinct_aggregate(expr, call, parts);
        }
        let plain = !call.distinct && !call.variadic && call.order_by.is_empty() && call.within_group.is_empty();
        let nested = call.arguments.iter().chain(&call.filter).any(|argument| argument.has_subquery());
        if !plain || nested || !matches!(self.context.facts.find_function(&call.name), Routine::BuiltIn(_)) {
            return None;
        }
        let name = call.name.last();
        let argument = match (call.arguments.as_slice(), call.star) {
            ([], true) if name == "count" => None,
            ([argument], false) => Some(argument),
            _ => return None,
        };
        let whole = |builder: &Self| builder.text(expr.span);
        let text = match (name, argument) {
            ("count", _) => {
                let part = self.part(parts, whole(self));
                format!("coalesce(sum({part})::bigint, 0)")
            }
            ("sum", Some(argument)) => {
                let number = self.number_of(argument, self.select, self.scope)?;
                let part = self.part(parts, whole(self));
                match number {
                    // Partial sums of these are bigint, whose own sum is numeric.
                    Number::Int2 | Number::Int4 => format!("sum({part})::bigint"),
                    _ => format!("sum({part})"),
                }
            }
            ("avg", Some(argument)) => {
                let number = self.number_of(argument, self.select, self.scope)?;
                let arguments = self.text(Span { start: call.parentheses.start, end: expr.span.end });
                let mut sum = Template::text("sum");
                if number == Number::Float4 {
                    // avg of real adds in double precision.
                    push_text(&mut sum, "((");
                    append(&mut sum, self.text(argument.span));
                    push_text(&mut sum, ")::float8)");
                    append(&mut sum, self.text(Span { start: call.parentheses.end, end: expr.span.end }));
                } else {
                    append(&mut sum, arguments.clone());
                }
                let mut count = Template::text("count");
                append(&mut count, arguments);
                let (sum, count) = (self.part(parts, sum), self.part(parts, count));
                match number {
                    // From 0 on, as PostgreSQL adds for avg: of nothing but -0 the average is 0.
                    Number::Float4 | Number::Float8 => {
                        format!("((0::float8 + sum({sum})) / nullif(sum({count}), 0)::float8)")
                    }
                    Number::Interval => format!("(sum({sum}) / nullif(sum({count}), 0)::float8)"),
                    // numeric over numeric, as PostgreSQL's own avg divides.
                    _ => format!("(sum({sum}) / nullif(sum({count}), 0))"),
                }
            }
            ("min" | "max" | "bool_and" | "bool_or" | "every" | "bit_and" | "bit_or" | "bit_xor", Some(argument)) => {
                if !self.is_comparable(argument) {
                    return None;
                }
                let part = self.part(parts, whole(self));
                format!("{name}({part})")
            }
            _ => return None,
        };
        Some(text)
    }

    /// An aggregate of distinct values, over all that the shards found: its operands become columns.
    fn distinct_aggregate(&self, expr: &'c Expr<'a>, call: &'c Call<'a>, parts: &mut Parts<'c, 'a>) -> Option<String> {
        let is_constant =
            |expr: &Expr<'a>| !expr.any(&mut |expr| matches!(expr.kind, ExprKind::Column(_) | ExprKind::Star(_)));
        if call.arguments.first().is_none_or(is_constant) {
            // A shard without rows must not contribute it, but its other parts are a row.
            return None;
        }
        let mut edits = Edits::default();
        let operands = call.arguments.iter().chain(call.order_by.iter().map(|item| &item.expr)).chain(&call.filter);
        for operand in operands {
            if operand.has_subquery()
                || !self.is_comparable(operand)
                || operand.any(&mut |expr| self.is_aggregate(expr))
            {
                return None;
            }
            // Constants (string_agg's separator) need no column.
            if is_constant(operand) {
                continue;
            }
            let index = match parts.distinct.iter().position(|own| self.is_same(own, operand)) {
                Some(index) => index,
                None => {
                    parts.distinct.push(operand);
                    parts.distinct.len() - 1
                }
            };
            edits.replace_text(operand.span, format!("d{index}"));
        }
        if let Routine::User { full, .. } = self.context.facts.find_function(&call.name)
            && call.name.parts.len() == 1
        {
            edits.insert_text(call.name.span().start, format!("{}.", crate::quote_identifier(&full.schema)));
        }
        Some(edits.apply_text(self.sql(), expr.span))
    }

    /// The column of a partial aggregate.
    fn part(&self, parts: &mut Parts<'c, 'a>, text: Template) -> String {
        let index = match parts.partials.iter().position(|own| *own == text) {
            Some(index) => index,
            None => {
                parts.partials.push(text);
                parts.partials.len() - 1
            }
        };
        format!("{}{index}", self.part)
    }
}
