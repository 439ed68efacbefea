//! INSERT into distributed tables: rows go to the shards of their keys.

use crate::analysis::assigned_constant;
use crate::catalog::{Column, Relation};
use crate::directory::{ColocationId, KeyColumn, KeyType};
use crate::edits::{Edits, append};
use crate::insert_select;
use crate::names::{Effect, Routine, Target};
use crate::parser::parse_statement;
use crate::plan::{
    Insert as InsertPlan, InsertPiece, InsertRow, KeySource, Many, ManyWrite, Piece, Plan, Refusal, RowKey, Template,
};
use crate::scan::{Span, tokens};
use crate::statement::Context;
use crate::syntax::{Body, Expr, ExprKind, Insert, InsertSource, Overriding, Statement};
use crate::update::reads_shards;
use crate::{quote_identifier, quote_literal};

pub(crate) fn plan(context: &Context<'_, '_, '_>, insert: &Insert<'_>) -> Plan {
    let analysis = context.analysis;
    let target = analysis.inserts.iter().find(|(_, own)| std::ptr::eq(*own, insert)).map(|(target, _)| *target);
    let Some(occurrence) = target.map(|target| &analysis.occurrences[target]) else {
        return Refusal::unexpected("INSERT without a table").into();
    };
    let Some((colocation, key)) = occurrence.distributed() else {
        return reads_shards().at(occurrence.table.name.span().start).into();
    };
    let Some(relation) = occurrence.relation else {
        return Refusal::unknown_table(&occurrence.full.name).into();
    };
    if let InsertSource::Query(_) = insert.source {
        return from_query(context, insert, target.unwrap_or_default());
    }
    let other =
        analysis.occurrences.iter().find(|occurrence| matches!(occurrence.target, Target::Unsharded | Target::Unknown));
    if let Some(other) = other {
        return Refusal::unsupported(
            format!("INSERT ... VALUES into a distributed table cannot read \"{}\"", other.full.name),
            "The rows are written on their shards, and that table is at home.",
            "Use INSERT ... SELECT, or make that table a reference table.",
        )
        .at(other.table.name.span().start)
        .into();
    }
    let rows = Rows { context, insert, relation, colocation, key };
    match rows.plan() {
        Ok(plan) => plan,
        Err(refusal) => Plan::Refuse(*refusal),
    }
}

/// INSERT ... SELECT: on one shard, or by every shard alone.
fn from_query(context: &Context<'_, '_, '_>, insert: &Insert<'_>, target: usize) -> Plan {
    let occurrence = &context.analysis.occurrences[target];
    let gathered = || match occurrence.distributed() {
        Some((colocation, key)) => insert_select::gather(context, insert, &occurrence.full, colocation, key),
        None => Refusal::unexpected("INSERT without a table").into(),
    };
    let homeless = |occurrence: &crate::analysis::Occurrence<'_, '_, '_>| {
        matches!(occurrence.target, Target::Unsharded | Target::Unknown)
    };
    let computes = missing(insert, occurrence.relation).is_some();
    if computes || context.analysis.occurrences.iter().any(homeless) || context.needs_home() || !context.fits_on_shard()
    {
        return gathered();
    }
    if every_shard_alone(context, insert, target) {
        let arm = context.slice_edits(true).apply(context.sql, insert.span);
        let write = ManyWrite { arm, returning: insert.returning.is_some(), verb: "INSERT" };
        return context.sharded(Many::Write(write)).unwrap_or_else(gathered);
    }
    if !context.keys().are_named() {
        return gathered();
    }
    let refusal = Refusal::unsupported(
        "INSERT ... SELECT whose rows may belong to several shards is not supported with these keys",
        "The statement runs on one shard, and the keys that it names are on several.",
        "Write the distribution key of every part as one and the same value, or read the rows first and insert them in a \
         second statement.",
    );
    context.sharded(Many::Refuse(refusal)).unwrap_or_else(gathered)
}

/// Whether each shard's rows give rows of the same shard.
fn every_shard_alone(context: &Context<'_, '_, '_>, insert: &Insert<'_>, target: usize) -> bool {
    let analysis = context.analysis;
    let InsertSource::Query(query) = &insert.source else { return false };
    let plain = matches!(query.body, Body::Select(_)) && query.limit.is_none() && query.offset.is_none();
    if !plain || analysis.with || crate::stage::unstageable(context).is_some() || analysis.lock.is_some() {
        return false;
    }
    let block = analysis.occurrences[target].block;
    analysis.distributed().any(|root| {
        let own = analysis.occurrences[root].block;
        if root == target || analysis.blocks[own].parent != Some(block) || analysis.blocks[own].preserves_undistributed
        {
            return false;
        }
        let together = analysis.together_with(root);
        let direct = analysis.flows.iter().any(|flow| flow.from == root && flow.to == target);
        direct && analysis.distributed().all(|index| together[index])
    })
}

/// A refusal when an INSERT that runs as it stands leaves out a column whose default only the coordinator computes.
pub(crate) fn missing_defaults(context: &Context<'_, '_, '_>) -> Option<Refusal> {
    let own = match context.statement {
        Statement::Insert(insert) => Some(&**insert),
        _ => None,
    };
    context.analysis.inserts.iter().find_map(|(target, insert)| {
        let occurrence = &context.analysis.occurrences[*target];
        let nested = !own.is_some_and(|own| std::ptr::eq(own, *insert)) && occurrence.distributed().is_some();
        if nested { missing(insert, occurrence.relation) } else { None }
    })
}

/// Whether a volatile default, or a sequence, gives a value that the statement does not.
pub(crate) fn computes_defaults(insert: &Insert<'_>, relation: Option<&Relation>) -> bool {
    insert.overriding == Some(Overriding::User) || missing(insert, relation).is_some()
}

fn missing(insert: &Insert<'_>, relation: Option<&Relation>) -> Option<Refusal> {
    let relation = relation?;
    let given = |column: &Column, index: usize| match (&insert.columns, &insert.source) {
        (Some(columns), _) => columns.iter().any(|given| given.name.name == column.name),
        (None, InsertSource::Values(rows)) => rows.iter().all(|row| index < row.values.len()),
        (None, InsertSource::DefaultValues) => false,
        (None, InsertSource::Query(query)) => match &query.body {
            Body::Select(select) => {
                index < select.items.len()
                    || select.items.iter().any(|item| matches!(item.expr.kind, ExprKind::Star(_)))
            }
            _ => true,
        },
    };
    let defaults = matches!(&insert.source, InsertSource::Values(rows)
        if rows.iter().flat_map(|row| &row.values).any(|value| matches!(value.kind, ExprKind::Default)));
    let column = relation
        .columns
        .iter()
        .enumerate()
        .find(|(index, column)| is_computed(column) && (defaults || !given(column, *index)))
        .map(|(_, column)| column)?;
    Some(Refusal::unsupported(
        format!("this INSERT cannot compute the default of column \"{}\"", column.name),
        "Sequences and volatile defaults are computed before rows go to their shards, and an INSERT in WITH runs there.",
        format!("Give column \"{}\" a value, or run the INSERT in a statement of its own.", column.name),
    ))
}

/// Its default is computed once, before routing.
fn is_computed(column: &Column) -> bool {
    column.identity.is_some() || (column.default_is_volatile && column.default.is_some())
}

fn computed_expression(column: &Column) -> String {
    match &column.identity {
        Some(identity) => format!("nextval({})", quote_literal(&identity.sequence).trim_start()),
        None => column.default.clone().unwrap_or_else(|| "NULL".to_owned()),
    }
}

/// `INSERT ... VALUES` and `INSERT ... DEFAULT VALUES`.
struct Rows<'c, 'f, 't, 'a> {
    context: &'c Context<'f, 't, 'a>,
    insert: &'c Insert<'a>,
    relation: &'f Relation,
    colocation: ColocationId,
    key: &'f KeyColumn,
}

type Planned<T> = Result<T, Box<Refusal>>;

/// Where a column's values come from.
enum Source<'f> {
    /// Position among a row's values.
    Given(usize, &'f Column),
    /// Left out by the client.
    Added(&'f Column),
}

impl<'f> Rows<'_, 'f, '_, '_> {
    fn plan(&self) -> Planned<Plan> {
        let empty = Vec::new();
        let rows: Vec<(&[Expr<'_>], Span)> = match &self.insert.source {
            InsertSource::Values(rows) => rows.iter().map(|row| (row.values.as_slice(), row.span)).collect(),
            _ => vec![(empty.as_slice(), Span::default())],
        };
        let columns = self.columns(&rows)?;
        self.check_identity(&columns, &rows)?;
        if let Some(plan) = self.verbatim(&columns, &rows) {
            return Ok(plan);
        }
        if self.insert.with.is_some() {
            return Err(Box::new(Refusal::unsupported(
                "INSERT ... VALUES with WITH over several shards is not supported",
                "Each row goes to its own shard, and none has what WITH gives.",
                "Use INSERT ... SELECT.",
            )));
        }
        if self.insert.columns.iter().flatten().any(|column| column.indirect) {
            return Err(Box::new(Refusal::unsupported(
                "INSERT of array elements or fields over several shards is not supported",
                "Each row goes to its own shard with the values of whole columns.",
                "Insert the whole array or composite value.",
            )));
        }
        self.split(&columns, &rows)
    }

    /// The columns that the rows' values are for, as PostgreSQL finds them.
    fn columns(&self, rows: &[(&[Expr<'_>], Span)]) -> Planned<Vec<&'f Column>> {
        let length = rows[0].0.len();
        let error = |sqlstate, message: String, position| Box::new(Refusal::error(sqlstate, message).at(position));
        if let Some((values, _)) = rows.iter().find(|(values, _)| values.len() != length) {
            let position = values.first().map_or(0, |value| value.span.start);
            return Err(error("42601", "VALUES lists must all be the same length".to_owned(), position));
        }
        let columns: Vec<&Column> = match &self.insert.columns {
            None => self.relation.columns.iter().take(length).collect(),
            Some(list) => {
                let mut columns = Vec::with_capacity(list.len());
                for given in list {
                    let found = self.relation.columns.iter().find(|column| column.name == given.name.name);
                    let Some(column) = found else {
                        let table = self.insert.target.name.last();
                        let message = format!("column \"{}\" of relation \"{table}\" does not exist", given.name.name);
                        return Err(error("42703", message, given.name.span.start));
                    };
                    columns.push(column);
                }
                columns
            }
        };
        if length > columns.len() {
            let position = rows[0].0[columns.len()].span.start;
            return Err(error("42601", "INSERT has more expressions than target columns".to_owned(), position));
        }
        if length < columns.len() && !matches!(self.insert.source, InsertSource::DefaultValues) {
            let position = self.insert.columns.as_ref().map_or(0, |list| list[length].name.span.start);
            return Err(error("42601", "INSERT has more target columns than expressions".to_owned(), position));
        }
        Ok(columns)
    }

    fn check_identity(&self, columns: &[&Column], rows: &[(&[Expr<'_>], Span)]) -> Planned<()> {
        if self.insert.overriding.is_some() {
            return Ok(());
        }
        for (index, column) in columns.iter().enumerate() {
            let always = column.identity.as_ref().is_some_and(|identity| identity.always);
            let given = rows
                .iter()
                .any(|(values, _)| values.get(index).is_some_and(|value| !matches!(value.kind, ExprKind::Default)));
            if always && given {
                let message = format!("cannot insert a non-DEFAULT value into column \"{}\"", column.name);
                return Err(Box::new(Refusal {
                    detail: Some(format!(
                        "Column \"{}\" is an identity column defined as GENERATED ALWAYS.",
                        column.name
                    )),
                    hint: Some("Use OVERRIDING SYSTEM VALUE to override.".to_owned()),
                    ..Refusal::error("428C9", message)
                }));
            }
        }
        Ok(())
    }

    /// The statement as it stands, when all of it belongs to shards known from its text and nothing has to be computed first.
    fn verbatim(&self, columns: &[&Column], rows: &[(&[Expr<'_>], Span)]) -> Option<Plan> {
        let complete = self.relation.columns.iter().filter(|column| is_computed(column)).all(|column| {
            let position = columns.iter().position(|given| given.name == column.name);
            position.is_some_and(|position| {
                !rows.iter().any(|(values, _)| matches!(values[position].kind, ExprKind::Default))
            })
        });
        let user_value = self.insert.overriding == Some(Overriding::User)
            && self.relation.columns.iter().any(|column| column.identity.is_some());
        let several_tables = self.context.analysis.distributed().count() > 1;
        if !complete
            || user_value
            || self.context.needs_home()
            || !self.context.fits_on_shard()
            || (rows.len() > 1 && !several_tables)
        {
            return None;
        }
        if !self.context.keys().are_named() {
            return None;
        }
        let refusal = Refusal::unsupported(
            "this INSERT would need rows of several shards",
            "The statement runs on one shard, and the keys that it names are on several.",
            "Insert each shard's rows in a statement of their own, with values in place of subqueries on other shards.",
        );
        self.context.sharded(Many::Refuse(refusal))
    }

    /// One row after the other, with computed defaults put in.
    fn split(&self, columns: &[&'f Column], rows: &[(&[Expr<'_>], Span)]) -> Planned<Plan> {
        let ignores_identity = self.insert.overriding == Some(Overriding::User);
        let mut computed: Vec<Computed> = Vec::new();
        let mut sources: Vec<Source<'f>> = columns
            .iter()
            .take(rows[0].0.len())
            .enumerate()
            .map(|(index, column)| Source::Given(index, column))
            .collect();
        for column in &self.relation.columns {
            let given = columns.iter().take(rows[0].0.len()).any(|given| given.name == column.name);
            let tells_time = column.default.as_deref().is_some_and(|default| marked_default(default).is_some());
            if !given && (is_computed(column) || tells_time || column.name == self.key.name) {
                sources.push(Source::Added(column));
            }
        }
        let key_type = self.key.key_type;
        let mut planned = Vec::with_capacity(rows.len());
        for (values, _) in rows {
            let key = if self.key.is_none() { RowKey::Value(KeySource::Whole) } else { RowKey::Null };
            let mut row = InsertRow { key, values: Vec::new() };
            for (position, source) in sources.iter().enumerate() {
                if position > 0 {
                    push(&mut row.values, ", ");
                }
                let (column, value) = match source {
                    Source::Given(index, column) => (*column, Some(&values[*index])),
                    Source::Added(column) => (*column, None),
                };
                let is_key = column.name == self.key.name;
                let default = value.is_none_or(|value| matches!(value.kind, ExprKind::Default))
                    || (ignores_identity && column.identity.is_some());
                if default {
                    self.default_value(column, is_key, &mut computed, &mut row);
                } else if let Some(value) = value {
                    self.given_value(column, value, is_key, key_type, rows.len() == 1, &mut computed, &mut row)?;
                }
            }
            planned.push(row);
        }
        let identity = sources.iter().any(|source| match source {
            Source::Given(_, column) | Source::Added(column) => column.identity.is_some(),
        });
        let names: Vec<String> = sources
            .iter()
            .map(|source| match source {
                Source::Given(_, column) | Source::Added(column) => quote_identifier(&column.name),
            })
            .collect();
        let mut head = Template::text("INSERT INTO ");
        let full = &self.occurrence().full;
        head.pieces.push(Piece::Slice(full.schema.clone()));
        let alias = self.insert.target.alias.as_ref().and_then(|alias| alias.name.as_ref());
        let alias = alias.map(|alias| format!(" AS {}", quote_identifier(&alias.name))).unwrap_or_default();
        let overriding = if identity { "OVERRIDING SYSTEM VALUE " } else { "" };
        let text = format!(".{}{alias} ({}) {overriding}VALUES ", quote_identifier(&full.name), names.join(", "));
        append(&mut head, Template::text(text));
        let tail = Span { start: self.insert.tail, end: self.insert.span.end };
        Ok(Plan::Insert(InsertPlan {
            table: full.clone(),
            colocation: self.colocation,
            key_type,
            head,
            rows: planned,
            tail: self.context.slice_edits(true).apply(self.context.sql, tail),
            computed: computed.into_iter().map(|computed| computed.expression).collect(),
            returning: self.insert.returning.is_some(),
            residue: self.context.residue(),
        }))
    }

    fn occurrence(&self) -> &crate::analysis::Occurrence<'f, '_, '_> {
        let analysis = self.context.analysis;
        let target =
            analysis.inserts.iter().find(|(_, own)| std::ptr::eq(*own, self.insert)).map_or(0, |(target, _)| *target);
        &analysis.occurrences[target]
    }

    fn default_value(&self, column: &Column, is_key: bool, computed: &mut Vec<Computed>, row: &mut InsertRow) {
        if is_computed(column) {
            let index = computed_index(computed, column.name.as_str(), computed_expression(column));
            row.values.push(InsertPiece::Computed(index));
            if is_key {
                row.key = RowKey::Computed(index);
            }
            return;
        }
        let marked = column.default.as_deref().and_then(marked_default);
        match (&column.default, is_key) {
            (Some(default), true) => {
                let default = marked.as_ref().unwrap_or(default);
                row.key = RowKey::Expression(format!("({default})::{}", key_type_name(column, self.key.key_type)));
                row.values.push(InsertPiece::Key);
            }
            _ => match marked {
                Some(marked) => push(&mut row.values, &format!("({marked})::{}", column.type_name)),
                None => push(&mut row.values, "DEFAULT"),
            },
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one step of a loop, with the loop's state")]
    fn given_value(
        &self,
        column: &Column,
        value: &Expr<'_>,
        is_key: bool,
        key_type: KeyType,
        only_row: bool,
        computed: &mut Vec<Computed>,
        row: &mut InsertRow,
    ) -> Planned<()> {
        let text = self.text(value)?;
        let at_home = self.calls_home(value);
        if !is_key {
            if !at_home {
                push(&mut row.values, &text);
                return Ok(());
            }
            if !only_row || has_parameter(value) || value.has_subquery() {
                let refusal = Refusal::unsupported(
                    "functions that work on sequences, large objects or advisory locks are not supported in rows of several shards",
                    "Those are at home, and each row is written on its own shard.",
                    "Insert one row at a time, without parameters and subqueries in this value, or make it the column's default.",
                );
                return Err(Box::new(refusal.at(value.span.start)));
            }
            let index = computed_index(computed, column.name.as_str(), text);
            row.values.push(InsertPiece::Computed(index));
            return Ok(());
        }
        match assigned_constant(self.context.sql, value, key_type, column.typmod) {
            Some(mut keys) => {
                row.key = keys.pop().map_or(RowKey::Null, RowKey::Value);
                push(&mut row.values, &text);
            }
            None => {
                let constant = matches!(value.bare().kind, ExprKind::String(_) | ExprKind::Parameter(_));
                row.key = RowKey::Expression(format!("({text})::{}", key_type_name(column, key_type)));
                if constant {
                    // The shard's own assignment decides whether it fits.
                    push(&mut row.values, &text);
                } else {
                    row.values.push(InsertPiece::Key);
                }
            }
        }
        Ok(())
    }

    /// A value's text for any shard.
    fn text(&self, value: &Expr<'_>) -> Planned<String> {
        if !value.has_subquery() {
            let mut marks = Edits::default();
            self.context.mark(&mut marks);
            return Ok(marks.apply_text(self.context.sql, value.span));
        }
        let template = self.context.slice_edits(true).apply(self.context.sql, value.span);
        if !template.is_one_for_all() || self.context.analysis.distributed().count() > 1 {
            let refusal = Refusal::unsupported(
                "subqueries on distributed tables in rows of several shards are not supported",
                "Each row is written on its own shard, which does not have the others' rows.",
                "Use INSERT ... SELECT, or run the subquery first and insert its value.",
            );
            return Err(Box::new(refusal.at(value.span.start)));
        }
        Ok(template
            .pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) | Piece::Slice(text) => text.as_str(),
            })
            .collect())
    }

    fn calls_home(&self, value: &Expr<'_>) -> bool {
        value.any(&mut |expr| match &expr.kind {
            ExprKind::Call(call) => match self.context.facts.find_function(&call.name) {
                Routine::BuiltIn(built_in) => {
                    matches!(built_in.effect, Effect::Sequence { .. } | Effect::Home | Effect::HomeSession)
                }
                Routine::User { .. } => false,
            },
            _ => false,
        })
    }
}

fn has_parameter(value: &Expr<'_>) -> bool {
    value.any(&mut |expr| matches!(expr.kind, ExprKind::Parameter(_)))
}

/// An expression that every row computes anew for a column.
struct Computed {
    column: String,
    expression: String,
}

fn computed_index(computed: &mut Vec<Computed>, column: &str, expression: String) -> usize {
    match computed.iter().position(|own| own.column == column && own.expression == expression) {
        Some(index) => index,
        None => {
            computed.push(Computed { column: column.to_owned(), expression });
            computed.len() - 1
        }
    }
}

fn push(pieces: &mut Vec<InsertPiece>, text: &str) {
    match pieces.last_mut() {
        Some(InsertPiece::Text(last)) => last.push_str(text),
        _ => pieces.push(InsertPiece::Text(text.to_owned())),
    }
}

/// A default with marks, so that it is the same in every row of a statement; `None` when it does not tell the time.
fn marked_default(default: &str) -> Option<String> {
    let sql = format!("SELECT {default}");
    let statement = parse_statement(&sql, &tokens(&sql)).ok()?;
    let Statement::Query(query) = &statement else { return None };
    let Body::Select(select) = &query.body else { return None };
    let expr = &select.items.first()?.expr;
    let mut marks = Edits::default();
    expr.any(&mut |expr| {
        if let ExprKind::Call(call) = &expr.kind
            && let Some(mark) = crate::marks::clock(&sql, call, false)
        {
            marks.replace_text(crate::marks::span_of(call), mark);
        }
        false
    });
    (!marks.is_empty()).then(|| marks.apply_text(&sql, expr.span))
}

/// The type in which a key's value is computed.
fn key_type_name(column: &Column, key_type: KeyType) -> String {
    match key_type {
        KeyType::Int2 => "smallint".to_owned(),
        KeyType::Int4 => "integer".to_owned(),
        KeyType::Int8 => "bigint".to_owned(),
        KeyType::Uuid => "uuid".to_owned(),
        KeyType::Date => "date".to_owned(),
        KeyType::Bytea => "bytea".to_owned(),
        KeyType::Bpchar => "bpchar".to_owned(),
        // These have lengths and precisions that change values.
        KeyType::Text | KeyType::Timestamp | KeyType::Timestamptz | KeyType::Numeric => column.type_name.clone(),
    }
}
