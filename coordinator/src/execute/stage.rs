//! Tier 3: fragments staged as temporary tables in home's data database, where PostgreSQL runs the merge query itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use arrow_array::RecordBatch;
use atoll_planner::directory::{Directory, GroupIndex};
use atoll_planner::plan::{Access, Fragment, Merge, Residue};
use atoll_planner::quote_identifier;
use atoll_proto::v1::{self, Parameter};
use atoll_wire::backend::{Column, decode};
use atoll_wire::frontend;
use atoll_wire::rows::{ColumnFormat, IpcReader, copy_binary_header, copy_binary_trailer, encode_copy_binary};
use bytes::{Bytes, BytesMut};
use futures_util::future::{Either, join_all, select};

use super::limit::{Candidate, Known, Limit, apply};
use super::scatter::{discard_rest, next_batch, request};
use crate::error::{Error, Result};
use crate::lane::{Lane, ResultSet};
use crate::place::Place;
use crate::plans::{Description, Statement};
use crate::session::extended::Bound;
use crate::session::participants::expect_copy;
use crate::session::simple::Ask;
use crate::session::slow::FragmentWork;
use crate::session::transaction::Transaction;
use crate::session::{Outer, Session, Tier};

/// Rows of other groups that are kept while home is busy, at most.
const AHEAD_BYTES_MAX: usize = 64 << 20;
/// COPY data is sent in pieces of about this size.
const PIECE_BYTES: usize = 256 << 10;

impl Session {
    /// Runs the merge query at home over staged fragments, and relays its answer.
    ///
    /// # Errors
    /// The statement's.
    pub async fn merge_in_postgres(
        &mut self,
        merge: &Merge,
        columns: &[Vec<Column>],
        statement: &Arc<Statement>,
        ask: Ask<'_>,
        effects: (Access, Residue),
    ) -> Result<()> {
        if self.is_read_only() {
            return self.merge_beside(merge, columns, statement, ask, effects).await;
        }
        let alone = self.transaction.is_none();
        self.open_implicit();
        let result = async {
            self.stage_all(merge, columns, ask).await?;
            let path = self.plain_path();
            self.relay_statement(Place::HOME, &path, &merge.sql, statement, ask, effects).await
        }
        .await;
        self.tier = Tier::Postgres;
        if result.is_err() {
            self.note_failure();
        }
        if alone {
            let ended = self.end_transaction(result.is_ok()).await;
            result.map_err(Error::undone)?;
            ended?;
            return Ok(());
        }
        result
    }

    /// As [`Session::merge_in_postgres`], for a transaction that is READ ONLY, where nothing can be staged: in another transaction, which sees
    /// the same. The first has written nothing that it would miss.
    async fn merge_beside(
        &mut self,
        merge: &Merge,
        columns: &[Vec<Column>],
        statement: &Arc<Statement>,
        ask: Ask<'_>,
        effects: (Access, Residue),
    ) -> Result<()> {
        let outer = self.open_beside(merge).await?;
        let result = async {
            self.stage_all(merge, columns, ask).await?;
            let path = self.plain_path();
            // What the query itself must not do stays refused.
            self.run_at(Place::HOME, &path, "SET TRANSACTION READ ONLY", false).await?;
            self.relay_statement(Place::HOME, &path, &merge.sql, statement, ask, effects).await
        }
        .await;
        self.tier = Tier::Postgres;
        let ended = self.end_beside(outer, result.is_ok()).await;
        if result.is_err() {
            self.note_failure();
        }
        result?;
        ended.map(drop)
    }

    /// Opens a transaction that may stage a merge's fragments beside one that may not, and sees the same.
    ///
    /// # Errors
    /// PostgreSQL's own.
    pub async fn open_beside(&mut self, merge: &Merge) -> Result<Outer> {
        if merge.tells_time() {
            self.time_everywhere().await?;
        }
        let snapshots = match self.keeps_its_snapshot() {
            true => self.export_snapshots().await?,
            false => Vec::new(),
        };
        let begin =
            if snapshots.is_empty() { "BEGIN READ WRITE" } else { "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE" };
        let mut beside = Transaction::new(false, begin.to_owned(), &self.settings);
        if !snapshots.is_empty() {
            let joined = self.transaction.iter().flat_map(|transaction| &transaction.participants);
            let on_replicas = joined.filter(|participant| participant.lane.reads_for.is_some());
            beside.replicas =
                on_replicas.map(|participant| (participant.place, participant.lane.node().to_string())).collect();
        }
        beside.snapshots = snapshots;
        Ok(self.begin_beside(beside))
    }

    /// What a merge gives, asked where its fragments would be, which stay empty.
    ///
    /// # Errors
    /// What PostgreSQL says of the merge.
    pub async fn describe_merge(&mut self, merge: &Merge, statement: &Arc<Statement>) -> Result<Description> {
        let columns = self.fragment_columns(merge, statement, Ask::Simple).await?;
        let alone = self.transaction.is_none();
        self.open_implicit();
        let described = async {
            let path = self.plain_path();
            for (fragment, columns) in merge.fragments.iter().zip(&columns) {
                let create = self.create_staged(fragment, columns).await?;
                self.run_at(Place::HOME, &path, &create, false).await?;
            }
            for rows in &merge.catalog {
                self.stage_catalog(rows, "FALSE").await?;
            }
            let sql = self.text_to_describe(&merge.sql).await?.into_owned();
            let lane = self.participant(Place::HOME, &path, false).await?;
            lane.describe(&sql, &statement.types).await
        }
        .await;
        if described.is_err() {
            self.note_failure();
        }
        if alone {
            self.end_transaction(false).await?;
        }
        described
    }

    /// Stages every fragment of a merge in the transaction.
    ///
    /// # Errors
    /// The shards'.
    pub async fn stage_fragments(&mut self, merge: &Merge, statement: &Arc<Statement>, ask: Ask<'_>) -> Result<()> {
        let columns = self.fragment_columns(merge, statement, ask).await?;
        self.stage_all(merge, &columns, ask).await
    }

    async fn stage_all(&mut self, merge: &Merge, columns: &[Vec<Column>], ask: Ask<'_>) -> Result<()> {
        let bound = match ask {
            Ask::Simple => None,
            Ask::Bound(bound) => Some(bound),
        };
        for rows in &merge.catalog {
            self.stage_catalog(rows, "TRUE").await?;
        }
        let mut staged = vec![None; merge.fragments.len()];
        let mut candidates = self.staging_candidates(merge, bound).await?;
        while let Some(next) = (0..candidates.len()).min_by(|left, right| {
            let left_over = |position: &usize| candidates[*position].left;
            left_over(left).total_cmp(&left_over(right))
        }) {
            let Candidate { index, limits, .. } = candidates.remove(next);
            let fragment = &merge.fragments[index];
            let start = Instant::now();
            let (groups, rows) = self.stage(fragment, &columns[index], bound, &limits).await?;
            staged[index] = Some(rows);
            let (name, limited, took) = (fragment.name.clone(), !limits.is_empty(), start.elapsed());
            self.work.fragments.push(FragmentWork { name, groups, fragments: groups, rows, limited, took });
            self.limit_candidates(&mut candidates, merge, bound, (&staged, Known::Staged), index).await?;
        }
        Ok(())
    }

    /// Stages one fragment; yields how many groups gave how many rows.
    async fn stage(
        &mut self,
        fragment: &Fragment,
        columns: &[Column],
        bound: Option<&Bound>,
        limits: &[Limit],
    ) -> Result<(usize, u64)> {
        let mut groups = self.group_fragments(fragment, bound).await?;
        let asked = groups.len();
        let path = self.plain_path();
        let table = format!("pg_temp.{}", quote_identifier(&fragment.name));
        let at_home = groups.iter().any(|part| part.group == Directory::HOME);
        let create = match at_home {
            true => format!("DROP TABLE IF EXISTS {table}"),
            false => self.create_staged(fragment, columns).await?,
        };
        self.run_at(Place::HOME, &path, &create, false).await?;

        let formats = vec![ColumnFormat::RawBinary; columns.len()];
        let version = self.facts().id;
        let mut lanes = self.scatter_lanes(groups.iter().map(|part| part.group)).await?;
        let mut parameters: Vec<_> = groups.iter().map(|part| self.fragment_parameters(bound, part.group)).collect();
        for (part, parameters) in groups.iter_mut().zip(&mut parameters) {
            apply(limits, part, parameters);
        }
        let mut others = BTreeMap::new();
        let mut own = None;
        for (part, parameters) in groups.into_iter().zip(parameters) {
            if part.group == Directory::HOME {
                own = Some((part, parameters));
                continue;
            }
            let lane = Self::lanes_of(self.transaction.as_mut(), &mut self.pinned, &mut lanes)
                .remove(&part.group)
                .ok_or_else(|| Error::internal("a group without its lane"))?;
            self.cancel.enter(lane);
            let once = !limits.is_empty();
            lane.send_fragment(v1::Fragment { once, ..request(part.sql, parameters, &formats, version) }).await?;
            others.insert(part.group, Ahead::default());
        }
        let result: Result<u64> = async {
            let mut rows = 0;
            if let Some((part, parameters)) = own {
                // Home's own rows do not travel: one statement makes the table of them, in the merge's own transaction.
                let names: Vec<String> = fragment.columns.iter().map(|column| quote_identifier(&column.name)).collect();
                let names = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
                let name = quote_identifier(&fragment.name);
                let sql = format!("CREATE TEMPORARY TABLE {name}{names} ON COMMIT DROP AS {}", part.sql);
                rows += self.run_beside(bound_statement(&sql, &parameters), &mut others, &mut lanes).await?;
            }
            for (group, ahead) in &mut others {
                rows += self.copy_fragment(*group, &table, ahead, &mut lanes).await?;
            }
            Ok(rows)
        }
        .await;
        for (group, lane) in Self::lanes_of(self.transaction.as_mut(), &mut self.pinned, &mut lanes) {
            if others.contains_key(&group) {
                discard_rest(lane).await;
                self.cancel.leave(lane);
            }
        }
        self.cancel.settled().await;
        self.let_go_all(lanes);
        let rows = result?;
        let mut last = format!("ANALYZE {table}");
        if !fragment.looked_up_by.is_empty() {
            let columns: Vec<String> = fragment.looked_up_by.iter().map(|column| quote_identifier(column)).collect();
            // A type without an order has no such index; the merge works without.
            let index = format!("CREATE INDEX ON {table} ({})", columns.join(", "));
            last = format!("DO $do$ BEGIN {index}; EXCEPTION WHEN undefined_object THEN NULL; END $do$; {last}");
        }
        if let Some(key) = &fragment.primary_key {
            let columns: Vec<String> = key.iter().map(|column| quote_identifier(column)).collect();
            last = format!("ALTER TABLE {table} ADD PRIMARY KEY ({}); {last}", columns.join(", "));
        }
        self.run_at(Place::HOME, &path, &last, false).await?;
        Ok((asked, rows))
    }

    /// The statements that make room for a fragment's rows.
    async fn create_staged(&mut self, fragment: &Fragment, columns: &[Column]) -> Result<String> {
        let definitions = self.column_definitions(fragment, columns).await?;
        let name = quote_identifier(&fragment.name);
        Ok(format!("DROP TABLE IF EXISTS pg_temp.{name}; CREATE TEMPORARY TABLE {name} ({definitions}) ON COMMIT DROP"))
    }

    /// The columns as home calls their types.
    async fn column_definitions(&mut self, fragment: &Fragment, columns: &[Column]) -> Result<String> {
        let path = self.plain_path();
        let facts = self.facts();
        let first = facts
            .database
            .colocations
            .get(&fragment.colocation)
            .and_then(|group| group.shards.first())
            .map_or(Directory::HOME, |shard| shard.group);
        let (from, home) = (facts.types_of(first), facts.types_of(Directory::HOME));
        let names: Vec<String> = columns
            .iter()
            .map(|column| {
                let known = from.map_or(column.type_oid, |types| types.to_catalog(column.type_oid));
                let oid = home.map_or(known, |types| types.from_catalog(known));
                // An unknown literal's column is text by the time it is stored.
                let oid = if oid == 705 { 25 } else { oid };
                format!("pg_catalog.format_type({oid}, {})", column.typmod)
            })
            .collect();
        if names.is_empty() {
            return Ok(String::new());
        }
        let sets = self.run_at(Place::HOME, &path, &format!("SELECT {}", names.join(", ")), false).await?;
        let row = sets.into_iter().next().and_then(|mut set| set.rows.pop()).unwrap_or_default();
        let definitions: Vec<String> = fragment
            .columns
            .iter()
            .zip(row)
            .map(|(column, described)| {
                let definition = column.definition.clone().or(described).unwrap_or_default();
                format!("{} {definition}", quote_identifier(&column.name))
            })
            .collect();
        Ok(definitions.join(", "))
    }

    /// A statement at home, while other groups' rows are fetched as far ahead as there is room for them; yields the rows of its tag.
    async fn run_beside(
        &mut self,
        statement: Bytes,
        others: &mut BTreeMap<GroupIndex, Ahead>,
        lanes: &mut super::scatter::Lanes,
    ) -> Result<u64> {
        let cancel = self.cancel.clone();
        let mut all = Self::lanes_of(self.transaction.as_mut(), &mut self.pinned, lanes);
        let home = all.remove(&Directory::HOME).ok_or_else(|| Error::internal("home did not join"))?;
        cancel.enter(home);
        let room = AHEAD_BYTES_MAX / others.len().max(1);
        // Both are in the order of the groups.
        let fetched = all.into_iter().filter(|(group, _)| others.contains_key(group)).map(|(_, lane)| lane);
        let fetched: Vec<_> = fetched.collect();
        let ahead = join_all(fetched.into_iter().zip(others.values_mut()).map(|(lane, ahead)| ahead.fetch(lane, room)));
        let answered = {
            let work = async {
                home.send(statement).await?;
                home.collect(1).await
            };
            match select(std::pin::pin!(work), std::pin::pin!(ahead)).await {
                Either::Left((answered, _)) => answered,
                Either::Right((_, work)) => work.await,
            }
        };
        cancel.leave(home);
        cancel.settled().await;
        answered.map(|sets| rows_of(&sets)).map_err(|error| match error {
            Error::Server(mut fields) => {
                fields.remove(b'P');
                Error::Server(fields)
            }
            other => other,
        })
    }

    /// Streams one group's rows into the staging table; yields their number.
    async fn copy_fragment(
        &mut self,
        group: GroupIndex,
        table: &str,
        ahead: &mut Ahead,
        lanes: &mut super::scatter::Lanes,
    ) -> Result<u64> {
        let transaction = self.transaction.as_mut().ok_or_else(|| Error::internal("staging outside a transaction"))?;
        let home = transaction.position(Place::HOME).ok_or_else(|| Error::internal("home did not join"))?;
        let source = match lanes.get(&group) {
            Some(crate::session::Held::Joined(index)) => *index,
            _ => return Err(Error::internal("a group that did not join")),
        };
        let [home, source] = transaction
            .participants
            .get_disjoint_mut([home, source])
            .map_err(|_| Error::internal("a group copied into itself"))?;
        let mut out = BytesMut::new();
        frontend::query(&format!("COPY {table} FROM STDIN (FORMAT binary)"), &mut out);
        home.lane.send(out.split().freeze()).await?;
        expect_copy(&mut home.lane, b'G').await?;
        let mut data = BytesMut::new();
        copy_binary_header(&mut data);
        let copied: Result<()> = async {
            while let Some(batch) = ahead.next(&mut source.lane).await? {
                let rows = batch.num_rows();
                let step = (rows * PIECE_BYTES / batch.get_array_memory_size().max(1)).clamp(1, rows.max(1));
                for start in (0..rows).step_by(step) {
                    let piece = batch.slice(start, step.min(rows - start));
                    encode_copy_binary(&piece, &mut data).map_err(|error| Error::sql("22P03", error.to_string()))?;
                    frontend::copy_data(&data.split(), &mut out);
                    home.lane.send(out.split().freeze()).await?;
                }
            }
            Ok(())
        }
        .await;
        match &copied {
            Ok(()) => {
                copy_binary_trailer(&mut data);
                frontend::copy_data(&data, &mut out);
                frontend::copy_done(&mut out);
            }
            Err(_) => frontend::copy_fail("the fragment failed", &mut out),
        }
        home.lane.send(out.freeze()).await?;
        let answered = home.lane.collect(1).await;
        copied?;
        answered.map(|sets| rows_of(&sets))
    }
}

/// What was fetched of a group's rows before there was a place for them.
#[derive(Default)]
struct Ahead {
    reader: IpcReader,
    batches: VecDeque<RecordBatch>,
    /// Nothing follows `batches`.
    ended: bool,
    failure: Option<Error>,
}

impl Ahead {
    /// Fetches up to about `room` bytes. Cancel safe.
    async fn fetch(&mut self, lane: &mut Lane, room: usize) {
        let mut bytes = 0;
        while bytes < room && !self.ended {
            match next_batch(lane, &mut self.reader).await {
                Ok(Some(batch)) => {
                    bytes += batch.get_array_memory_size();
                    self.batches.push_back(batch);
                }
                Ok(None) => self.ended = true,
                Err(error) => (self.ended, self.failure) = (true, Some(error)),
            }
        }
    }

    async fn next(&mut self, lane: &mut Lane) -> Result<Option<RecordBatch>> {
        match (self.batches.pop_front(), self.failure.take()) {
            (Some(batch), failure) => {
                self.failure = failure;
                Ok(Some(batch))
            }
            (None, Some(error)) => Err(error),
            (None, None) if self.ended => Ok(None),
            (None, None) => next_batch(lane, &mut self.reader).await,
        }
    }
}

/// The messages of a statement with parameters, up to a Sync.
fn bound_statement(sql: &str, parameters: &[Parameter]) -> Bytes {
    let mut out = BytesMut::new();
    let types: Vec<u32> = parameters.iter().map(|parameter| parameter.type_oid).collect();
    let formats: Vec<i16> = parameters.iter().map(|parameter| i16::from(parameter.binary)).collect();
    frontend::parse("", sql, &types, &mut out);
    let values: Vec<Option<&[u8]>> =
        parameters.iter().map(|parameter| (!parameter.null).then_some(&parameter.value[..])).collect();
    frontend::bind("", "", &formats, values, &[], &mut out);
    frontend::execute("", 0, &mut out);
    frontend::sync(&mut out);
    out.freeze()
}

fn rows_of(sets: &[ResultSet]) -> u64 {
    sets.first().and_then(|set| decode::rows_of_tag(&set.tag)).unwrap_or(0)
}
