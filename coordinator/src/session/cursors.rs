//! SQL cursors: each lives where its query runs.

use std::sync::Arc;

use atoll_planner::directory::{Shard, ShardId};
use atoll_planner::plan::{Access, Many, Merge, Plan, Relay, Residue, Sharded, WriteCurrent};
use atoll_planner::quote_identifier;
use atoll_planner::scan::tokens;

use super::simple::Ask;
use super::{Session, Tier};
use crate::error::{Error, Result};
use crate::execute::route::Route;
use crate::place::Place;
use crate::plans::{Description, Statement};
use crate::pool::Pooled;

/// An SQL cursor.
pub(super) struct Cursor {
    pub place: Place,
    /// The shard whose rows it gives, when it is one's.
    pub shard: Option<ShardId>,
    /// Its rows as the catalog database describes them, when the backend's own description is of staged rows.
    pub description: Option<Arc<Description>>,
    /// FETCH gives binary values, whatever the protocol.
    pub binary: bool,
    /// The backend that has it, when that is none of the transaction's.
    pub own: Option<Pooled>,
}

impl Cursor {
    fn at(place: Place) -> Self {
        Self { place, shard: None, description: None, binary: false, own: None }
    }
}

/// A backend that stands in for those of the transaction.
#[derive(Default)]
pub(super) enum Aside {
    #[default]
    None,
    Ready(Pooled),
    /// Held for a statement.
    Out,
}

impl Session {
    /// DECLARE: the cursor lives where its query runs.
    pub(super) async fn declare(
        &mut self,
        name: &str,
        hold: bool,
        query: &str,
        statement: &Arc<Statement>,
        ask: Ask<'_>,
    ) -> Result<()> {
        if !hold && self.transaction.as_ref().is_none_or(|transaction| !transaction.explicit) {
            return Err(Error::sql("25P01", "DECLARE CURSOR can only be used in transaction blocks"));
        }
        let residue = if hold { Residue::Pins } else { Residue::Clean };
        let first = tokens(query).first().map(|token| token.span.of(query).to_ascii_lowercase()).unwrap_or_default();
        if !matches!(first.as_str(), "select" | "with" | "values" | "table" | "(") {
            // PostgreSQL says that it is no query.
            let path = self.plain_path();
            let effects = (Access::Read, Residue::Clean);
            return self.relay_statement(Place::CATALOG, &path, &statement.text, statement, ask, effects).await;
        }
        let inner = self.plan(query, &statement.types).await?;
        let (place, path) = match &inner.plan {
            Plan::Relay(Relay { site, text: None, marked: Some(marked), .. }) => {
                let (place, path) = (self.place_of(*site), self.plain_path());
                let sql = format!("{}{marked}", cursor_head(&statement.text, query)?);
                self.relay_statement(place, &path, &sql, statement, ask, (Access::Read, residue)).await?;
                self.cursors.insert(name.to_owned(), Cursor::at(place));
                return Ok(());
            }
            Plan::Relay(Relay { site, text: None, .. }) => (self.place_of(*site), self.plain_path()),
            Plan::Relay(Relay { text: Some(_), .. }) => (Place::CATALOG, self.plain_path()),
            Plan::Sharded(sharded) => match self.shard_of_cursor(sharded, ask).await? {
                Some((shard, path, query_there)) => {
                    let there = match query_there {
                        Some(there) => Some(format!("{}{there}", cursor_head(&statement.text, query)?)),
                        None => None,
                    };
                    let sql = there.as_deref().unwrap_or(&statement.text);
                    let place = Place::data(shard.group);
                    self.relay_statement(place, &path, sql, statement, ask, (Access::Read, residue)).await?;
                    self.cursors.insert(name.to_owned(), Cursor { shard: Some(shard.id), ..Cursor::at(place) });
                    return Ok(());
                }
                None => match &sharded.many {
                    Many::Merge(merge) => {
                        return self.declare_merged((name, query), &merge.clone(), statement, ask, residue).await;
                    }
                    Many::Refuse(refusal) => return Err(self.refusal(refusal, &inner).await),
                    Many::Write(_) => {
                        return Err(Error::unsupported(
                            "this cursor over several shards is not supported",
                            "Its statement writes, and each shard would give rows of its own.",
                            "Run the query without a cursor, or give it the distribution key.",
                        ));
                    }
                },
            },
            Plan::Gather(gather) => {
                return self.declare_merged((name, query), &gather.merge.clone(), statement, ask, residue).await;
            }
            Plan::Refuse(refusal) => return Err(self.refusal(refusal, &inner).await),
            _ => (Place::CATALOG, self.plain_path()),
        };
        self.relay_statement(place, &path, &statement.text, statement, ask, (Access::Read, residue)).await?;
        self.cursors.insert(name.to_owned(), Cursor::at(place));
        Ok(())
    }

    /// A cursor over staged fragments: it lives at home, as long as the transaction; WITH HOLD (and `residue` says so) beyond, because
    /// PostgreSQL keeps its rows at the commit, before the staged ones go.
    async fn declare_merged(
        &mut self,
        cursor: (&str, &str),
        merge: &Merge,
        statement: &Arc<Statement>,
        ask: Ask<'_>,
        residue: Residue,
    ) -> Result<()> {
        let alone = self.transaction.is_none();
        self.open_implicit();
        let declared = self.declare_staged(cursor, merge, statement, ask, residue).await;
        if alone {
            let ended = self.end_transaction(declared.is_ok()).await;
            declared.map_err(Error::undone)?;
            ended?;
            return Ok(());
        }
        declared
    }

    async fn declare_staged(
        &mut self,
        (name, query): (&str, &str),
        merge: &Merge,
        statement: &Arc<Statement>,
        ask: Ask<'_>,
        residue: Residue,
    ) -> Result<()> {
        let head = cursor_head(&statement.text, query)?;
        let inner = self.plan(query, &statement.types).await?;
        let described = self.describe(&inner).await.map_err(|error| moved(error, head.chars().count() as u32))?;
        let binary = tokens(head).iter().any(|token| token.is_keyword(head, "binary"));
        if self.is_read_only() {
            if residue == Residue::Pins || self.pinned.iter().any(|(place, _)| *place == Place::HOME) {
                return Err(Error::unsupported(
                    "a cursor WITH HOLD over several shards, or beside temporary tables, in a READ ONLY transaction is not \
                     supported",
                    "Its rows would have to be stored where nothing may be written.",
                    "Declare it in a transaction that may write, or run the query without a cursor.",
                ));
            }
            let own = self.declare_beside(head, merge, &inner, statement, ask).await?;
            let cursor = Cursor { description: Some(described), binary, own: Some(own), ..Cursor::at(Place::HOME) };
            self.cursors.insert(name.to_owned(), cursor);
            self.complete("DECLARE CURSOR");
            return Ok(());
        }
        self.stage_fragments(merge, &inner, ask).await.inspect_err(|_| self.note_failure())?;
        let path = self.plain_path();
        let sql = format!("{head}{}", merge.sql);
        self.relay_statement(Place::HOME, &path, &sql, statement, ask, (Access::Read, residue)).await?;
        // Later statements stage under the same names, which the open cursor would keep them from.
        let fragments = merge.fragments.iter().map(|fragment| &fragment.name);
        let kept: Vec<String> = fragments
            .chain(merge.catalog.iter().map(|rows| &rows.name))
            .map(|name| {
                self.staged_kept += 1;
                let kept = format!("{name}_kept_{}", self.staged_kept);
                format!("ALTER TABLE pg_temp.{} RENAME TO {}", quote_identifier(name), quote_identifier(&kept))
            })
            .collect();
        self.run_at(Place::HOME, &path, &kept.join("; "), false).await?;
        self.cursors
            .insert(name.to_owned(), Cursor { description: Some(described), binary, ..Cursor::at(Place::HOME) });
        Ok(())
    }

    /// Declares a cursor for a transaction that is READ ONLY, where nothing can be staged: in another one, which sees the same, and whose end
    /// leaves the rows on a backend of the cursor's own.
    async fn declare_beside(
        &mut self,
        head: &str,
        merge: &Merge,
        inner: &Arc<Statement>,
        statement: &Arc<Statement>,
        ask: Ask<'_>,
    ) -> Result<Pooled> {
        let all = tokens(head);
        let word = all.iter().find(|token| token.is_keyword(head, "cursor"));
        let end = word.ok_or_else(|| Error::internal("a cursor without its word"))?.span.end;
        let outer = self.open_beside(merge).await?;
        let declared = async {
            self.stage_fragments(merge, inner, ask).await?;
            let path = self.plain_path();
            self.run_at(Place::HOME, &path, "SET TRANSACTION READ ONLY", false).await?;
            let marked = format!("{} WITH HOLD FOR {}", &head[..end], merge.sql);
            let sql = self.text_everywhere(&marked).await?.into_owned();
            self.run_for_rows(Place::HOME, &path, &sql, statement, ask, None).await
        }
        .await;
        self.pin_at_end.push(Place::HOME);
        let ended = self.end_beside(outer, declared.is_ok()).await;
        let own = self.pinned.iter().position(|(place, _)| *place == Place::HOME);
        let own = own.map(|index| self.pinned.swap_remove(index).1);
        if declared.is_err() || ended.is_err() {
            self.note_failure();
        }
        declared?;
        ended?;
        own.ok_or_else(|| Error::internal("a cursor lost its backend"))
    }

    /// UPDATE and DELETE of a cursor's row: where the cursor is.
    ///
    /// # Errors
    /// 34000 when there is no such cursor, 0A000 when its rows were fetched from several shards.
    pub(super) async fn write_current(
        &mut self,
        plan: &WriteCurrent,
        statement: &Arc<Statement>,
        ask: Ask<'_>,
    ) -> Result<()> {
        let Some(cursor) = self.cursors.get(&plan.cursor) else {
            return Err(Error::sql("34000", format!("cursor \"{}\" does not exist", plan.cursor)));
        };
        let Some(shard) = cursor.shard else {
            return Err(Error::unsupported(
                format!(
                    "WHERE CURRENT OF is not supported for cursor \"{}\", which is not on a single shard",
                    plan.cursor
                ),
                "Its rows were fetched from the shards, and do not tell where they came from.",
                "Declare the cursor for one value of the distribution key, or write by key.",
            ));
        };
        let (place, path) = (cursor.place, self.shard_path(shard));
        let sql = plan.text.render_marked(shard);
        self.relay_statement(place, &path, &sql, statement, ask, (Access::Write, plan.residue)).await
    }

    /// Where a cursor's query runs when one shard answers it, and its text there when it is not the client's own.
    async fn shard_of_cursor(
        &mut self,
        sharded: &Sharded,
        ask: Ask<'_>,
    ) -> Result<Option<(Shard, Arc<str>, Option<String>)>> {
        let bound = ask.bound();
        match self.route(sharded.colocation, sharded.key_type, &sharded.keys, bound).await? {
            Route::One(shard) => {
                let (path, sql) = self.on_shard(sharded, shard.id);
                Ok(Some((shard, path, sql)))
            }
            Route::Many(_) => Ok(None),
        }
    }

    /// FETCH, MOVE, CLOSE: where the cursor is.
    pub(super) async fn cursor(&mut self, name: Option<&str>, statement: &Arc<Statement>, ask: Ask<'_>) -> Result<()> {
        let known = name.and_then(|name| self.cursors.get_mut(name));
        if let Some(own) = known.and_then(|cursor| cursor.own.take()) {
            self.aside = Aside::Ready(own);
        }
        let done = self.at_cursor(name, statement, ask).await;
        let closes = statement.text.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("close"));
        if let Aside::Ready(own) = std::mem::take(&mut self.aside) {
            match name.and_then(|name| self.cursors.get_mut(name)) {
                Some(cursor) if !closes => cursor.own = Some(own),
                _ => own.release(),
            }
        }
        if let Some(name) = name.filter(|_| closes && done.is_ok()) {
            self.cursors.remove(name);
        }
        done
    }

    async fn at_cursor(&mut self, name: Option<&str>, statement: &Arc<Statement>, ask: Ask<'_>) -> Result<()> {
        let place = match name {
            Some(name) => {
                let known = self.cursors.get(name);
                let described = known.and_then(|cursor| cursor.description.clone());
                let place = known.map_or(Place::CATALOG, |cursor| cursor.place);
                let formats: &[i16] = if known.is_some_and(|cursor| cursor.binary) { &[1] } else { &[] };
                let fetches = statement.text.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("fetch"));
                if let Some(description) = described.filter(|_| fetches && ask.describes()) {
                    let (path, effects) = (self.plain_path(), (Access::Read, Residue::Clean));
                    return self
                        .relay_described(
                            (&description, formats),
                            (place, &path),
                            &statement.text,
                            statement,
                            ask,
                            effects,
                        )
                        .await;
                }
                place
            }
            // CLOSE ALL: everywhere; the answer is one and the same.
            None => {
                self.cursors.clear();
                let places: Vec<Place> = self
                    .transaction
                    .iter()
                    .flat_map(|transaction| &transaction.participants)
                    .map(|participant| participant.place)
                    .collect();
                let path = self.plain_path();
                for place in places {
                    self.run_at(place, &path, &statement.text, false).await?;
                }
                self.complete("CLOSE CURSOR ALL");
                return Ok(());
            }
        };
        let path = self.plain_path();
        self.relay_statement(place, &path, &statement.text, statement, ask, (Access::Read, Residue::Clean)).await?;
        self.tier = Tier::Relay;
        Ok(())
    }

    /// Gives back what cursors of a transaction that has ended still hold.
    pub(super) async fn close_own_cursors(&mut self) {
        let own: Vec<String> =
            self.cursors.iter().filter(|(_, cursor)| cursor.own.is_some()).map(|(name, _)| name.clone()).collect();
        for name in own {
            let Some(mut lane) = self.cursors.remove(&name).and_then(|cursor| cursor.own) else { continue };
            // A lane that cannot be told is not used again.
            if lane.query("CLOSE ALL").await.is_ok() {
                lane.release();
            }
        }
    }
}

/// The text of a DECLARE before its query.
fn cursor_head<'a>(text: &'a str, query: &str) -> Result<&'a str> {
    text.trim_end().strip_suffix(query.trim_end()).ok_or_else(|| Error::internal("a cursor without its query"))
}

/// An error whose position is in a part of the statement, with this many characters before it.
fn moved(mut error: Error, before: u32) -> Error {
    if let Error::Server(fields) = &mut error
        && let Some(position) = fields.get(b'P').and_then(|text| text.parse::<u32>().ok())
    {
        fields.set_position(Some(position + before));
    }
    error
}
