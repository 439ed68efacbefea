//! INSERT of rows that belong to several shards, or whose defaults are computed first.

use std::collections::BTreeMap;
use std::sync::Arc;

use atoll_planner::directory::{Shard, ShardId};
use atoll_planner::plan::{Insert, InsertPiece, InsertRow, KeySource, Keys, RowKey};
use atoll_planner::quote_literal;
use atoll_wire::backend::decode;
use atoll_wire::frontend;
use bytes::{Bytes, BytesMut};

use super::route::Route;
use super::write::{bind_like, read_rows};
use crate::error::{Error, Result};
use crate::place::Place;
use crate::plans::Statement;
use crate::session::Session;
use crate::session::simple::Ask;

/// A row's values as computed at home: its defaults, then its key's expression.
type Computed = Vec<Option<String>>;

impl Session {
    /// Splits the rows by their keys and inserts each shard's; yields the command tag.
    ///
    /// # Errors
    /// The statement's; 23502 for a key that is NULL.
    pub async fn insert(&mut self, insert: &Insert, statement: &Arc<Statement>, ask: Ask<'_>) -> Result<String> {
        let computed = self.compute_at_home(insert, statement, ask).await?;
        let mut shards: BTreeMap<ShardId, (Shard, Vec<usize>)> = BTreeMap::new();
        for (index, row) in insert.rows.iter().enumerate() {
            let shard = self.shard_of_row(insert, row, &computed[index], ask).await?;
            shards.entry(shard.id).or_insert_with(|| (shard, Vec::new())).1.push(index);
        }
        let mut count = 0;
        let mut returned: Vec<(usize, Bytes)> = Vec::new();
        // By group, home first: two such statements take their locks in one order.
        let mut order: Vec<_> = shards.into_values().collect();
        order.sort_by_key(|(shard, _)| (shard.group, shard.id));
        for (shard, indexes) in order {
            let mut sql = insert.head.render_marked(shard.id);
            for (position, index) in indexes.iter().enumerate() {
                sql.push_str(if position == 0 { "(" } else { ", (" });
                push_values(&insert.rows[*index], &computed[*index], &mut sql);
                sql.push(')');
            }
            sql.push_str(&insert.tail.render_marked(shard.id));
            let sql = self.text_everywhere(&sql).await?.into_owned();
            let path = self.shard_path(shard.id);
            let written = self.run_for_rows(Place::data(shard.group), &path, &sql, statement, ask, None).await?;
            count += written.count();
            // As many rows back as went in: they are in the order of the statement's.
            let in_order = written.rows.len() == indexes.len();
            let last = insert.rows.len();
            returned.extend(
                written
                    .rows
                    .into_iter()
                    .enumerate()
                    .map(|(position, row)| (if in_order { indexes[position] } else { last }, row)),
            );
        }
        returned.sort_by_key(|(index, _)| *index);
        self.describe_rows(insert.returning, statement, ask).await?;
        let rows: Vec<Bytes> = returned.into_iter().map(|(_, row)| row).collect();
        self.push_rows(&rows).await?;
        Ok(format!("INSERT 0 {count}"))
    }

    /// What has to be known before rows can be routed, evaluated at home in the order of the rows.
    async fn compute_at_home(
        &mut self,
        insert: &Insert,
        statement: &Arc<Statement>,
        ask: Ask<'_>,
    ) -> Result<Vec<Computed>> {
        let expression_of = |row: &InsertRow| match &row.key {
            RowKey::Expression(expression) => Some(format!("({expression})::text")),
            _ => None,
        };
        if insert.computed.is_empty() && insert.rows.iter().all(|row| expression_of(row).is_none()) {
            return Ok(vec![Vec::new(); insert.rows.len()]);
        }
        let rows: Vec<String> = insert
            .rows
            .iter()
            .map(|row| {
                let defaults = insert.computed.iter().map(|expression| format!("({expression})::text"));
                let key = expression_of(row).unwrap_or_else(|| "NULL::text".to_owned());
                format!("({})", defaults.chain([key]).collect::<Vec<_>>().join(", "))
            })
            .collect();
        let marked = format!("VALUES {}", rows.join(", "));
        let sql = self.text_everywhere(&marked).await?.into_owned();
        let path = self.plain_path();
        let mut out = BytesMut::new();
        let types = match ask {
            Ask::Simple => &statement.types,
            // All are known by now, also those that this part of the statement does not name.
            Ask::Bound(bound) => &bound.types,
        };
        frontend::parse("", &sql, types, &mut out);
        bind_like(ask, Some(&[]), &mut out);
        frontend::execute("", 0, &mut out);
        frontend::sync(&mut out);
        // Sequences advance whatever becomes of the transaction, but a first value that was never committed must not be lost.
        let result = async {
            let cancel = self.cancel.clone();
            let lane = self.participant(Place::HOME, &path, !insert.computed.is_empty()).await?;
            cancel
                .over(lane, async |lane| {
                    lane.send(out.freeze()).await?;
                    read_rows(lane).await
                })
                .await
        }
        .await;
        if !insert.computed.is_empty() {
            self.note_sequences_drawn();
        }
        let written = result.inspect_err(|_| self.note_failure())?;
        written
            .rows
            .iter()
            .map(|row| {
                decode::data_row(&row[5..])?
                    .map(|field| Ok(field?.map(|bytes| String::from_utf8_lossy(bytes).into_owned())))
                    .collect()
            })
            .collect()
    }

    async fn shard_of_row(
        &mut self,
        insert: &Insert,
        row: &InsertRow,
        computed: &Computed,
        ask: Ask<'_>,
    ) -> Result<Shard> {
        let null = || {
            let column = key_name(self, insert);
            Error::sql(
                "23502",
                format!(
                    "null value in column \"{column}\" of relation \"{}\" violates not-null constraint",
                    insert.table.name
                ),
            )
            .with_detail("The distribution column decides the row's shard, and cannot be null.")
        };
        let source = match &row.key {
            RowKey::Null => return Err(null()),
            RowKey::Value(source) => source.clone(),
            RowKey::Computed(index) => match computed.get(*index).cloned().flatten() {
                Some(text) => KeySource::Literal(text),
                None => return Err(null()),
            },
            RowKey::Expression(_) => match computed.last().cloned().flatten() {
                Some(text) => KeySource::Literal(text),
                None => return Err(null()),
            },
        };
        let bound = ask.bound();
        if let (&KeySource::Parameter(index), Some(bound)) = (&source, bound)
            && bound.parameters.get(index).is_some_and(Option::is_none)
        {
            return Err(null());
        }
        match self.route(insert.colocation, insert.key_type, &Keys::These(vec![source]), bound).await? {
            Route::One(shard) => Ok(shard),
            Route::Many(_) => Err(Error::internal("a row that belongs to several shards")),
        }
    }
}

fn key_name(session: &Session, insert: &Insert) -> String {
    match session.facts().database.tables.get(&insert.table) {
        Some(atoll_planner::directory::Table::Distributed { key, .. }) => key.name.clone(),
        _ => String::new(),
    }
}

fn push_values(row: &InsertRow, computed: &Computed, sql: &mut String) {
    let literal = |value: Option<&Option<String>>| match value.and_then(Option::as_deref) {
        Some(text) => quote_literal(text),
        None => "NULL".to_owned(),
    };
    for piece in &row.values {
        match piece {
            InsertPiece::Text(text) => sql.push_str(text),
            InsertPiece::Computed(index) => sql.push_str(&literal(computed.get(*index))),
            InsertPiece::Key => sql.push_str(&literal(computed.last())),
        }
    }
}
