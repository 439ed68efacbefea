//! A SELECT that every shard can compute its part of: all its distributed tables have equal keys wherever they meet, so that rows that
//! belong together are together. The shards filter, project, group as far as groups are theirs, and cut to the first rows; what is left
//! is the merge query over one fragment.
//!
//! Its columns: `c0`, `c1`, ... are output columns that the merge passes on; `k0`, ... are ORDER BY's keys, copied so that outputs
//! need not be understood; `g0`, ... are grouping expressions and `p0`, ... partial aggregates.

mod aggregates;
mod early;
mod outputs;
mod types;

use crate::analysis::{Analysis, QueryFacts, Resolved, ScopeId};
use crate::catalog::Volatility;
use crate::directory::ColocationId;
use crate::edits::{Edits, append, push_text};
use crate::names::{Effect, Routine, Target};
use crate::plan::{Fragment, FragmentColumn, Merge, Template};
use crate::scan::{Span, Token, tokens};
use crate::statement::Context;
use crate::syntax::{Body, Distinct, Expr, ExprKind, Limit, LimitCount, OrderItem, Query, Select};
pub(crate) use early::{Staged, grouped_early};
use outputs::{Output, outputs};
pub(crate) use outputs::{column_name, naming_call};

/// The fragment, under this name, and the merge query over it; `None` when the shards cannot do it alone. The query may be any part of the
/// statement that stands for itself.
pub(crate) fn island(context: &Context<'_, '_, '_>, facts: &QueryFacts<'_, '_>, name: &str) -> Option<Merge> {
    let query = facts.query;
    let Body::Select(select) = &query.body else { return None };
    let analysis = context.analysis;
    if query.with.is_some() || facts.correlated || facts.outer_cte || analysis.whole_row.is_some() {
        return None;
    }
    if !fits_on_shard(context, facts) || has_collation(context, query.span) {
        return None;
    }
    if makes_rows(query, select) {
        return None;
    }
    let (block, scope) = facts.select?;
    let together = together(analysis, facts, block)?;
    let outputs = outputs(context, select, scope)?;
    let edits = context.slice_edits(true);
    let part = "p".to_owned();
    let builder = Builder { context, facts, query, select, scope, together, edits, outputs, name, part };
    builder.plan()
}

/// As [`island`], for a part of a statement whose columns the rest may do anything with: they keep their types and collations.
pub(crate) fn nested_island(context: &Context<'_, '_, '_>, facts: &QueryFacts<'_, '_>, name: &str) -> Option<Merge> {
    let Body::Select(select) = &facts.query.body else { return None };
    let (_, scope) = facts.select?;
    outputs::keep_their_types(context, select, scope).then(|| island(context, facts, name)).flatten()
}

/// The tables that are together, when all of the query's are: they hang on a table whose rows are the query's own rows.
fn together(analysis: &Analysis<'_, '_, '_>, facts: &QueryFacts<'_, '_>, own: usize) -> Option<Vec<bool>> {
    let distributed = || facts.occurrences.clone().filter(|index| analysis.occurrences[*index].distributed().is_some());
    distributed().find_map(|root| {
        let mut block = analysis.occurrences[root].block;
        loop {
            let facts = &analysis.blocks[block];
            if facts.preserves_undistributed {
                return None;
            }
            match facts.parent {
                _ if block == own => break,
                Some(parent) if facts.plain && parent < analysis.blocks.len() => block = parent,
                _ => return None,
            }
        }
        let together = analysis.together_with(root);
        distributed().all(|index| together[index]).then_some(together)
    })
}

/// Whether all else that the query uses is on every shard's group, and gives the same there. Volatile functions are called once, by the
/// merge.
fn fits_on_shard(context: &Context<'_, '_, '_>, facts: &QueryFacts<'_, '_>) -> bool {
    let analysis = context.analysis;
    let span = facts.query.span;
    let inside = |place: Span| place.start >= span.start && place.end <= span.end;
    let own = &analysis.occurrences[facts.occurrences.clone()];
    let mut colocations =
        own.iter().filter_map(|occurrence| occurrence.distributed()).map(|(colocation, _)| colocation);
    let first = colocations.next();
    let relations = own.iter().all(|occurrence| {
        matches!(occurrence.target, Target::Distributed { .. } | Target::Reference | Target::ReferenceView)
    });
    let functions =
        analysis.functions.iter().filter(|function| inside(function.call.name.span())).all(|function| match &function
            .routine
        {
            Routine::BuiltIn(built_in) => {
                built_in.volatility != Volatility::Volatile && matches!(built_in.effect, Effect::None)
            }
            Routine::User { overloads, .. } => {
                overloads.iter().all(|function| function.volatility != Volatility::Volatile)
            }
        });
    relations && functions && colocations.all(|colocation| Some(colocation) == first)
}

/// Whether rows are made of values, outside of conditions: a fragment has no column that could hold a row.
fn makes_rows(query: &Query<'_>, select: &Select<'_>) -> bool {
    let items = select.items.iter().map(|item| &item.expr);
    let order = query.order_by.iter().map(|item| &item.expr);
    let groups = select.group_by.iter().flat_map(|group| &group.exprs);
    let mut exprs = items.chain(order).chain(groups);
    exprs.any(|expr| expr.any(&mut |expr| matches!(expr.kind, ExprKind::Row(_))))
}

/// A collation of the text's own would have to be said again in the merge.
fn has_collation(context: &Context<'_, '_, '_>, span: Span) -> bool {
    let text = span.of(context.sql);
    text.as_bytes().windows(7).any(|window| window.eq_ignore_ascii_case(b"collate"))
}

pub(crate) struct Builder<'c, 'f, 't, 'a> {
    context: &'c Context<'f, 't, 'a>,
    facts: &'c QueryFacts<'t, 'a>,
    query: &'c Query<'a>,
    select: &'c Select<'a>,
    scope: ScopeId,
    together: Vec<bool>,
    edits: Edits,
    outputs: Vec<Output<'c, 'a>>,
    /// The fragment's.
    name: &'c str,
    /// What the merge calls partial aggregates, up to their numbers.
    part: String,
}

/// What an ORDER BY item orders by.
enum OrderTarget<'c, 'a> {
    Output(usize),
    Expr(&'c Expr<'a>),
}

/// A column of the fragment.
struct Column {
    name: String,
    text: Template,
    passed_on: bool,
    bytewise: bool,
}

impl<'c, 'a> Builder<'c, '_, '_, 'a> {
    fn sql(&self) -> &'a str {
        self.context.sql
    }

    fn plan(&self) -> Option<Merge> {
        let windows = self.windows_are_whole()?;
        let order = self.order_targets()?;
        let aggregates = self.is_aggregate_query(&order);
        match &self.select.group_by {
            _ if matches!(self.select.distinct, Some(Distinct::On(_))) => None,
            Some(_) if self.groups_are_whole() => self.rows(&order),
            Some(group) if !group.sets && !windows => self.partial(&order),
            None if aggregates && !windows => self.partial(&order),
            None if !aggregates && self.select.having.is_none() => self.rows(&order),
            _ => None,
        }
    }

    fn is_aggregate(&self, expr: &Expr<'a>) -> bool {
        match &expr.kind {
            ExprKind::Call(call) if call.over.is_none() => match self.context.facts.find_function(&call.name) {
                Routine::BuiltIn(built_in) => built_in.aggregate,
                Routine::User { overloads, .. } => {
                    overloads.iter().any(|function| function.kind == crate::catalog::FunctionKind::Aggregate)
                }
            },
            _ => false,
        }
    }

    fn is_aggregate_query(&self, order: &[(OrderTarget<'c, 'a>, Span)]) -> bool {
        let mut aggregate = |expr: &Expr<'a>| self.is_aggregate(expr);
        self.select.having.is_some()
            || self.select.items.iter().any(|item| item.expr.any(&mut aggregate))
            || order.iter().any(|(target, _)| matches!(target, OrderTarget::Expr(expr) if expr.any(&mut aggregate)))
    }

    /// Whether there are window functions; `None` when one looks at rows of several shards.
    fn windows_are_whole(&self) -> Option<bool> {
        let mut found = false;
        let mut whole = true;
        let exprs =
            self.select.items.iter().map(|item| &item.expr).chain(self.query.order_by.iter().map(|item| &item.expr));
        for expr in exprs {
            expr.any(&mut |expr| {
                if let ExprKind::Call(call) = &expr.kind
                    && let Some(window) = &call.over
                {
                    found = true;
                    let mut partition = window.partition_by.iter().any(|expr| self.is_key(expr));
                    if let Some(base) = &window.base {
                        partition |= self.select.windows.iter().any(|(name, window)| {
                            name.name == base.name && window.partition_by.iter().any(|expr| self.is_key(expr))
                        });
                    }
                    whole &= partition;
                }
                false
            });
        }
        whole.then_some(found)
    }

    /// Whether an expression is a distribution key that all of the island shares, and never NULL from an outer join.
    fn is_key(&self, expr: &Expr<'a>) -> bool {
        let analysis = self.context.analysis;
        matches!(analysis.key_term_at(expr, self.scope), Some((term, 0))
            if term.single().is_some_and(|occurrence| self.together[occurrence] && !analysis.occurrences[occurrence].nullable))
    }

    /// Whether GROUP BY holds the key: no group has rows on two shards.
    fn groups_are_whole(&self) -> bool {
        match &self.select.group_by {
            Some(group) if !group.sets => {
                group.exprs.iter().any(|expr| self.group_expr(expr).is_some_and(|expr| self.is_key(expr)))
            }
            _ => false,
        }
    }

    /// What a GROUP BY item groups by: a position, an input column, an output's name, or itself.
    fn group_expr(&self, expr: &'c Expr<'a>) -> Option<&'c Expr<'a>> {
        match &expr.bare().kind {
            ExprKind::Integer => {
                let position: usize = expr.bare().span.of(self.sql()).parse().ok()?;
                self.outputs.get(position.checked_sub(1)?)?.expr
            }
            ExprKind::Column(name) if name.parts.len() == 1 => match self.context.analysis.resolve(name, self.scope) {
                (Resolved::Unknown, _) => {
                    let mut named = self.outputs.iter().filter(|output| output.name == name.parts[0].name);
                    match (named.next(), named.next()) {
                        (Some(output), None) => output.expr,
                        _ => None,
                    }
                }
                _ => Some(expr),
            },
            _ => Some(expr),
        }
    }

    /// What ORDER BY orders by: a position, an output's name, or an expression over the input.
    fn order_targets(&self) -> Option<Vec<(OrderTarget<'c, 'a>, Span)>> {
        self.query.order_by.iter().map(|item| Some((self.order_target(item)?, item.direction))).collect()
    }

    fn order_target(&self, item: &'c OrderItem<'a>) -> Option<OrderTarget<'c, 'a>> {
        match &item.expr.bare().kind {
            ExprKind::Integer => {
                let position: usize = item.expr.bare().span.of(self.sql()).parse().ok()?;
                let index = position.checked_sub(1).filter(|index| *index < self.outputs.len())?;
                return Some(OrderTarget::Output(index));
            }
            ExprKind::Column(name) if name.parts.len() == 1 => {
                let mut named = self.outputs.iter().enumerate().filter(|(_, output)| output.name == name.parts[0].name);
                match (named.next(), named.next()) {
                    (Some((index, _)), None) => return Some(OrderTarget::Output(index)),
                    (Some(_), Some(_)) => return None,
                    _ => {}
                }
            }
            ExprKind::String(_) | ExprKind::Null | ExprKind::Numeric => return None,
            _ => {}
        }
        let same =
            self.outputs.iter().position(|output| output.expr.is_some_and(|expr| self.is_same(expr, &item.expr)));
        Some(same.map_or(OrderTarget::Expr(&item.expr), OrderTarget::Output))
    }

    /// Whether two expressions are written alike, or are the same column.
    fn is_same(&self, left: &Expr<'a>, right: &Expr<'a>) -> bool {
        let (left, right) = (left.bare(), right.bare());
        if let (ExprKind::Column(left), ExprKind::Column(right)) = (&left.kind, &right.kind) {
            let analysis = self.context.analysis;
            let (first, second) = (analysis.resolve(left, self.scope), analysis.resolve(right, self.scope));
            if matches!(first.0, Resolved::Base { .. }) || matches!(second.0, Resolved::Base { .. }) {
                return first == second;
            }
        }
        is_same_text(self.sql(), left.span, right.span)
    }

    fn text(&self, span: Span) -> Template {
        self.edits.apply(self.sql(), span)
    }

    /// Every row of the result (or of the groups) comes from one shard: the merge orders, cuts and passes on.
    fn rows(&self, order: &[(OrderTarget<'c, 'a>, Span)]) -> Option<Merge> {
        let distinct = self.select.distinct.is_some();
        let key_selected = self.outputs.iter().any(|output| output.expr.is_some_and(|expr| self.is_key(expr)));
        let merge_distinct = distinct && !key_selected;
        let mut columns: Vec<Column> = Vec::with_capacity(self.outputs.len() + order.len());
        for (index, output) in self.outputs.iter().enumerate() {
            columns.push(Column {
                name: format!("c{index}"),
                text: output.text(self),
                passed_on: !merge_distinct,
                bytewise: output.bytewise,
            });
        }
        let mut keys = Vec::with_capacity(order.len());
        if (merge_distinct || !order.is_empty()) && !self.outputs.iter().all(|output| output.is_comparable(self)) {
            return None;
        }
        for (target, direction) in order {
            let direction = Direction::read(self.sql(), *direction);
            if matches!(target, OrderTarget::Expr(expr) if !self.is_comparable(expr)) {
                return None;
            }
            let name = match target {
                OrderTarget::Output(index) if distinct => {
                    columns[*index].passed_on = false;
                    format!("c{index}")
                }
                OrderTarget::Expr(_) if distinct => return None,
                OrderTarget::Output(index) => {
                    self.order_column(&mut columns, self.outputs[*index].text(self), self.outputs[*index].bytewise)
                }
                OrderTarget::Expr(expr) => {
                    let bytewise = self.is_bytewise(expr);
                    self.order_column(&mut columns, self.text(expr.span), bytewise)
                }
            };
            keys.push((name, direction));
        }
        let arm = self.rows_arm(&columns, &keys, distinct)?;
        let list: Vec<String> = self
            .outputs
            .iter()
            .enumerate()
            .map(|(index, output)| format!("c{index} AS {}", crate::quote_identifier(&output.name)))
            .collect();
        let order: Vec<String> =
            keys.iter().map(|(name, direction)| format!("{}{}", self.order_key(name), direction.text())).collect();
        let distinct = if merge_distinct { "DISTINCT " } else { "" };
        let head = format!("SELECT {distinct}{} FROM {}", list.join(", "), self.name);
        // Under DISTINCT, PostgreSQL orders by outputs only: `c0` is one.
        Some(self.merge(head, &order, arm, columns))
    }

    /// A column of the fragment to order by: bare names mean outputs first, which may have any name.
    fn order_key(&self, column: &str) -> String {
        let taken = self.outputs.iter().any(|output| output.name == column);
        if taken { format!("{}.{column}", self.name) } else { column.to_owned() }
    }

    fn order_column(&self, columns: &mut Vec<Column>, text: Template, bytewise: bool) -> String {
        let name = format!("k{}", columns.len() - self.outputs.len());
        columns.push(Column { name: name.clone(), text, passed_on: false, bytewise });
        name
    }

    fn rows_arm(&self, columns: &[Column], keys: &[(String, Direction)], distinct: bool) -> Option<Template> {
        let cut = self.pushed_limit();
        let mut arm = Template::text("SELECT ");
        if distinct {
            push_text(&mut arm, "DISTINCT ");
        }
        self.select_list(&mut arm, columns);
        self.rows_read(&mut arm);
        if let Some(group) = &self.select.group_by {
            push_text(&mut arm, " GROUP BY ");
            for (position, expr) in group.exprs.iter().enumerate() {
                let expr = self.group_expr(expr)?;
                if matches!(expr.bare().kind, ExprKind::Integer) {
                    return None;
                }
                if position > 0 {
                    push_text(&mut arm, ", ");
                }
                append(&mut arm, self.text(expr.span));
            }
        }
        if let Some(having) = &self.select.having {
            push_text(&mut arm, " HAVING ");
            append(&mut arm, self.text(having.span));
        }
        if let Some(windows) = self.select.windows_span {
            push_text(&mut arm, " ");
            append(&mut arm, self.text(windows));
        }
        if cut.is_none() && self.query.locks.is_empty() {
            return Some(arm);
        }
        if cut.is_some() && !keys.is_empty() {
            let order: Vec<String> =
                keys.iter().map(|(name, direction)| format!("{name}{}", direction.text())).collect();
            push_text(&mut arm, &format!(" ORDER BY {}", order.join(", ")));
        }
        push_text(&mut arm, &cut.unwrap_or_default());
        for lock in &self.query.locks {
            push_text(&mut arm, &format!(" {}", lock.of(self.sql())));
        }
        // In parentheses, so that arms can stand in a UNION ALL, which has no LIMIT and takes no locks.
        let mut wrapped = Template::text("SELECT * FROM (");
        append(&mut wrapped, arm);
        push_text(&mut wrapped, ") AS arm");
        Some(wrapped)
    }

    fn select_list(&self, arm: &mut Template, columns: &[Column]) {
        for (position, column) in columns.iter().enumerate() {
            if position > 0 {
                push_text(arm, ", ");
            }
            append(arm, column.text.clone());
            push_text(arm, &format!(" AS {}", column.name));
        }
    }

    fn rows_read(&self, arm: &mut Template) {
        if let Some(from) = self.select.from_span {
            push_text(arm, " FROM ");
            append(arm, self.text(from));
        }
        if let Some(selection) = &self.select.selection {
            push_text(arm, " WHERE ");
            append(arm, self.text(selection.span));
        }
    }

    /// The number of rows that any shard can contribute, as a clause; `None` when there is no limit.
    fn pushed_limit(&self) -> Option<String> {
        let Limit { count, with_ties } = self.query.limit.as_ref()?;
        let count = match count {
            LimitCount::All => return None,
            LimitCount::One => Some(Amount::Number(1)),
            LimitCount::Expr(expr) => Amount::read(self.sql(), expr),
        }?;
        let offset = match &self.query.offset {
            None => Amount::Number(0),
            Some(expr) => Amount::read(self.sql(), expr)?,
        };
        let sum = match (count, offset) {
            (Amount::Number(count), Amount::Number(offset)) => {
                count.checked_add(offset).filter(|sum| *sum <= i64::MAX as u64)?.to_string()
            }
            (Amount::Parameter(index), Amount::Number(0)) => format!("${}", index + 1),
            (count, offset) => {
                format!("(least({} + {}, {})::bigint)", count.text(), offset.text(), i64::MAX)
            }
        };
        Some(if *with_ties { format!(" FETCH FIRST {sum} ROWS WITH TIES") } else { format!(" LIMIT {sum}") })
    }

    fn merge(&self, mut sql: String, order: &[String], arm: Template, columns: Vec<Column>) -> Merge {
        if !order.is_empty() {
            sql.push_str(" ORDER BY ");
            sql.push_str(&order.join(", "));
        }
        if let Some(Limit { count, with_ties }) = &self.query.limit {
            let count = match count {
                LimitCount::All => None,
                LimitCount::One => Some("1".to_owned()),
                LimitCount::Expr(expr) => Some(expr.span.of(self.sql()).to_owned()),
            };
            match count {
                Some(count) if *with_ties => {
                    self.push_offset(&mut sql);
                    sql.push_str(&format!(" FETCH FIRST ({count}) ROWS WITH TIES"));
                }
                Some(count) => {
                    sql.push_str(&format!(" LIMIT {count}"));
                    self.push_offset(&mut sql);
                }
                None => self.push_offset(&mut sql),
            }
        } else {
            self.push_offset(&mut sql);
        }
        let analysis = self.context.analysis;
        let own = self.facts.occurrences.clone().find_map(|index| analysis.occurrences[index].distributed());
        let colocation = own.map_or(ColocationId(0), |(colocation, _)| colocation);
        let columns = columns
            .into_iter()
            .map(|column| FragmentColumn {
                name: column.name,
                passed_on: column.passed_on,
                bytewise_collation: column.bytewise,
                definition: None,
            })
            .collect();
        let fragment = Fragment {
            name: self.name.to_owned(),
            colocation,
            keys: self.context.keys_of(self.facts.occurrences.clone()),
            arm,
            columns,
            looked_up_by: Vec::new(),
            primary_key: None,
            joined_by: Vec::new(),
        };
        Merge { fragments: vec![fragment], sql, datafusion: true, catalog: Vec::new(), joined: None, grouped: None }
    }

    fn push_offset(&self, sql: &mut String) {
        if let Some(offset) = &self.query.offset {
            sql.push_str(&format!(" OFFSET {}", offset.span.of(self.sql())));
        }
    }

    /// Whether the merge can order and compare an expression's values as the shards do.
    fn is_comparable(&self, expr: &Expr<'a>) -> bool {
        !expr.any(&mut |expr| match &expr.kind {
            ExprKind::Column(name) => {
                self.context.column(name, self.scope).is_some_and(|column| self.context.is_oddly_collated(column))
            }
            _ => false,
        })
    }

    /// Whether text in an expression's value is compared by its bytes.
    fn is_bytewise(&self, expr: &Expr<'a>) -> bool {
        outputs::is_bytewise(self.context, self.scope, expr)
    }
}

/// LIMIT's or OFFSET's amount.
enum Amount {
    Number(u64),
    Parameter(usize),
}

impl Amount {
    fn read(sql: &str, expr: &Expr<'_>) -> Option<Self> {
        match &expr.bare().kind {
            ExprKind::Integer => {
                expr.bare().span.of(sql).parse().ok().filter(|number| *number <= i64::MAX as u64).map(Amount::Number)
            }
            ExprKind::Parameter(index) => Some(Amount::Parameter(*index)),
            _ => None,
        }
    }

    fn text(&self) -> String {
        match self {
            Amount::Number(number) => number.to_string(),
            Amount::Parameter(index) => format!("${}::bigint::numeric", index + 1),
        }
    }
}

/// How ORDER BY's item is ordered, with NULLs' place said.
enum Direction {
    Plain {
        descending: bool,
        nulls_first: bool,
    },
    /// `USING operator`
    Other(String),
}

impl Direction {
    fn read(sql: &str, span: Span) -> Self {
        let text = span.of(sql);
        let all = tokens(text);
        let has = |word: &str| all.iter().any(|token| token.is_keyword(text, word));
        if has("using") {
            return Direction::Other(text.trim().to_owned());
        }
        let descending = has("desc");
        Direction::Plain { descending, nulls_first: has("first") || (descending && !has("last")) }
    }

    fn text(&self) -> String {
        match self {
            Direction::Plain { descending: false, nulls_first: false } => String::new(),
            Direction::Plain { descending: true, nulls_first: true } => " DESC".to_owned(),
            Direction::Plain { descending: false, nulls_first: true } => " NULLS FIRST".to_owned(),
            Direction::Plain { descending: true, nulls_first: false } => " DESC NULLS LAST".to_owned(),
            Direction::Other(text) => format!(" {text}"),
        }
    }
}

/// Whether two stretches of text have the same tokens.
pub(crate) fn is_same_text(sql: &str, left: Span, right: Span) -> bool {
    let (left_text, right_text) = (left.of(sql), right.of(sql));
    if left_text == right_text {
        return true;
    }
    let (left, right) = (tokens(left_text), tokens(right_text));
    let same = |(left, right): (&Token, &Token)| {
        left.kind == right.kind
            && match (left.identifier(left_text), right.identifier(right_text)) {
                (Some(left), Some(right)) => left == right,
                _ => left.span.of(left_text) == right.span.of(right_text),
            }
    };
    left.len() == right.len() && left.iter().zip(&right).all(same)
}
