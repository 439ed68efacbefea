//! The extended protocol: its messages, in batches up to Sync or Flush.
//!
//! Parse is answered from the plan cache, where PostgreSQL's own description of the statement is kept.

use std::sync::Arc;

use atoll_planner::plan::{Access, Plan, Residue};
use atoll_wire::backend::{self, Column};
use atoll_wire::frames::Frame;
use atoll_wire::frontend::{Bind, Close, Describe, Execute, Parse, format_of, tag};
use bytes::{Bytes, BytesMut};

use super::Session;
use super::batch::{Batch, Item};
use super::portals::{Portal, PortalState};
use crate::error::{Error, Result, sqlstate};
use crate::place::Place;
use crate::plans::{Description, Statement};

/// A batch is gathered up to this many bytes before it is begun.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// A named or unnamed prepared statement.
#[derive(Clone)]
pub struct Prepared {
    pub statement: Arc<Statement>,
    /// Made by SQL's PREPARE.
    pub from_sql: bool,
}

/// What a Bind gave.
#[derive(Clone)]
pub struct Bound {
    pub frame: Frame,
    pub parameters: Vec<Option<Bytes>>,
    pub parameter_formats: Vec<i16>,
    pub result_formats: Vec<i16>,
    /// The parameters' types, as the statement's description has them.
    pub types: Vec<u32>,
    /// The answer describes its rows itself (SQL's EXECUTE in the simple protocol).
    pub describe: bool,
    /// A description of the answer's rows that is not the backend's, to come before them.
    pub described: Option<Bytes>,
}

impl Bound {
    pub fn decode(frame: Frame, describe: bool) -> Result<Self> {
        let bind = Bind::decode(&frame)?;
        let (parameters, parameter_formats, result_formats) =
            (bind.parameters, bind.parameter_formats, bind.result_formats);
        Ok(Self { parameters, parameter_formats, result_formats, frame, types: Vec::new(), describe, described: None })
    }

    /// Whether a value sent as text cannot be text.
    fn has_bad_text(&self) -> bool {
        self.parameters.iter().enumerate().any(|(index, value)| {
            format_of(&self.parameter_formats, index) == 0
                && value.as_ref().is_some_and(|value| value.contains(&0) || std::str::from_utf8(value).is_err())
        })
    }

    /// The type of parameter `index` (from 0); 0 when it is not known.
    pub fn type_of(&self, index: usize) -> u32 {
        self.types.get(index).copied().unwrap_or(0)
    }
}

impl Session {
    /// Takes messages up to Sync or Flush, beginning with `first`, and answers them.
    ///
    /// # Errors
    /// Only what ends the session.
    pub async fn extended_messages(&mut self, first: Frame) -> Result<()> {
        let mut frames = vec![first];
        let mut bytes = 0;
        loop {
            let last = frames.last().expect("never empty");
            bytes += last.raw.len();
            if matches!(last.tag, tag::SYNC | tag::FLUSH) || bytes > BATCH_BYTES_MAX {
                break;
            }
            match self.client.next().await? {
                Some(frame) if frame.tag == tag::TERMINATE => {
                    return Err(Error::Client(std::io::ErrorKind::UnexpectedEof.into()));
                }
                Some(frame) if frame.tag == tag::QUERY => {
                    // A simple query without a Sync before it: PostgreSQL runs what came so far first.
                    self.run_batch(frames).await?;
                    return self.simple_message(&frame).await;
                }
                Some(frame) => frames.push(frame),
                None => return Err(Error::Client(std::io::ErrorKind::UnexpectedEof.into())),
            }
        }
        self.run_batch(frames).await
    }

    async fn run_batch(&mut self, frames: Vec<Frame>) -> Result<()> {
        let synced = frames.last().is_some_and(|frame| frame.tag == tag::SYNC);
        self.batch_synced = synced;
        if let Some(error) = self.state_lost.take() {
            self.batch_failed(error)?;
        }
        let executes = frames.iter().filter(|frame| frame.tag == tag::EXECUTE).count();
        let binds = frames.iter().any(|frame| frame.tag == tag::BIND);
        // Until its Sync a pipeline is one transaction; with a single statement the backend's own will do.
        if executes > 1 || (!synced && (executes > 0 || binds)) {
            self.open_implicit();
        }
        let mut batch = Batch::new();
        for frame in frames {
            if frame.tag == tag::SYNC {
                return self.sync(batch).await;
            }
            if self.skipping {
                continue;
            }
            if let Err(error) = self.batch_message(&mut batch, frame).await {
                let error = match self.drain(&mut batch).await {
                    // What was due before comes first; an error there comes instead.
                    Ok(()) => error,
                    Err(earlier) => earlier,
                };
                self.batch_failed(error)?;
            }
        }
        if let Err(error) = self.drain(&mut batch).await {
            self.batch_failed(error)?;
        }
        self.client.flush().await
    }

    fn batch_failed(&mut self, error: Error) -> Result<()> {
        if error.is_fatal() {
            return Err(error);
        }
        let error = self.judged(error);
        self.tell(&error);
        self.note_failure();
        self.skipping = true;
        Ok(())
    }

    /// Sync: what is due is answered, an implicit transaction ends, errors are over.
    async fn sync(&mut self, mut batch: Batch) -> Result<()> {
        if let Err(error) = self.drain(&mut batch).await {
            self.batch_failed(error)?;
        }
        let failed = std::mem::take(&mut self.skipping);
        if self.transaction.as_ref().is_some_and(|transaction| !transaction.explicit)
            && let Err(error) = self.end_transaction(!failed).await
            && !failed
        {
            self.batch_failed(error)?;
            self.skipping = false;
        }
        if self.transaction.is_none() {
            self.portals.clear();
        }
        self.ready();
        Ok(())
    }

    async fn batch_message(&mut self, batch: &mut Batch, frame: Frame) -> Result<()> {
        match frame.tag {
            tag::PARSE => {
                let parse = Parse::decode(&frame)?;
                if self.needs_order(batch) {
                    self.drain(batch).await?;
                }
                self.parse(&parse).await?;
                self.local(batch, backend::parse_complete);
            }
            tag::BIND => self.bind(batch, frame).await?,
            tag::DESCRIBE => {
                let describe = Describe::decode(&frame)?;
                self.describe_message(batch, describe.kind, describe.name).await?;
            }
            tag::EXECUTE => {
                let execute = Execute::decode(&frame)?;
                self.execute_message(batch, execute.portal, execute.max_rows).await?;
            }
            tag::CLOSE => {
                let close = Close::decode(&frame)?;
                self.close_message(batch, close.kind, close.name).await?;
            }
            tag::FLUSH => {}
            _ => {}
        }
        Ok(())
    }

    /// Parse: the statement is planned, and described by PostgreSQL the first time it is seen.
    async fn parse(&mut self, parse: &Parse<'_>) -> Result<()> {
        if !parse.name.is_empty() && self.statements.contains_key(parse.name) {
            return Err(Error::sql("42P05", format!("prepared statement \"{}\" already exists", parse.name)));
        }
        let mut texts = crate::plans::split_script(parse.sql);
        if texts.len() > 1 {
            return Err(Error::sql("42601", "cannot insert multiple commands into a prepared statement"));
        }
        let statement = self.plan(texts.pop().unwrap_or_default(), &parse.types).await?;
        if !matches!(statement.plan, Plan::Transaction(_)) {
            self.check_not_failed()?;
        }
        self.describe(&statement).await?;
        self.statements.insert(parse.name.to_owned(), Prepared { statement, from_sql: false });
        Ok(())
    }

    fn prepared(&self, name: &str) -> Result<&Prepared> {
        self.statements.get(name).ok_or_else(|| {
            let message = if name.is_empty() {
                "unnamed prepared statement does not exist".to_owned()
            } else {
                format!("prepared statement \"{name}\" does not exist")
            };
            Error::sql(sqlstate::UNDEFINED_STATEMENT, message)
        })
    }

    async fn bind(&mut self, batch: &mut Batch, frame: Frame) -> Result<()> {
        let bind = Bind::decode(&frame)?;
        let known = self.prepared(bind.statement)?.statement.clone();
        let (formats, given) = (bind.parameter_formats.len(), bind.parameters.len());
        if formats > 1 && formats != given {
            return Err(Error::sql(
                sqlstate::PROTOCOL_VIOLATION,
                format!("bind message has {formats} parameter formats but {given} parameters"),
            ));
        }
        if let Some(code) = bind.parameter_formats.iter().find(|code| !matches!(code, 0 | 1)) {
            return Err(unsupported_format(*code));
        }
        let statement = self.fresh(&known).await?;
        let portal = bind.portal.to_owned();
        let description = self.described_before(&known, &statement).await?;
        let expected = description.parameters.len();
        if given != expected {
            return Err(Error::sql(
                sqlstate::PROTOCOL_VIOLATION,
                format!(
                    "bind message supplies {given} parameters, but prepared statement \"{}\" requires {expected}",
                    bind.statement
                ),
            ));
        }
        if !matches!(statement.plan, Plan::Transaction(_)) {
            self.check_not_failed()?;
        }
        self.check_assignments(&statement.text)?;
        if !portal.is_empty() && self.portals.contains_key(&portal) {
            return Err(Error::sql("42P03", format!("cursor \"{portal}\" already exists")));
        }
        let (formats, columns) = (bind.result_formats.len(), description.columns.as_ref().map_or(0, Vec::len));
        let mut bound = Bound::decode(frame, false)?;
        bound.types.clone_from(&description.parameters);
        let bound = Arc::new(bound);
        if bound.has_bad_text() {
            let error = Error::sql("22021", "invalid byte sequence for encoding \"UTF8\"");
            return Err(self.judge_bind(&statement, &bound, &portal, error).await);
        }
        let target = match self.single_target(&statement, &bound).await {
            Ok(target) => target,
            Err(error) if error.is_fatal() => return Err(error),
            Err(error) => return Err(self.judge_bind(&statement, &bound, &portal, error).await),
        };
        if formats > 1 && formats != columns {
            return Err(Error::sql(
                sqlstate::PROTOCOL_VIOLATION,
                format!("bind message has {formats} result formats but query has {columns} columns"),
            ));
        }
        let state = match target {
            None => {
                self.local(batch, backend::bind_complete);
                PortalState::Here
            }
            Some(target) => {
                self.engage(batch, target.place, &target.path).await?;
                batch.access = if target.access == Access::Write { Access::Write } else { batch.access };
                if target.residue != Residue::Clean {
                    batch.residue = target.residue;
                }
                if let Some(shard) = target.rendered_for {
                    batch.rewritten.push((statement.clone(), shard));
                }
                let name: Arc<str> = portal.as_str().into();
                batch.last = Some(statement.clone());
                batch.items.push(Item::Bind {
                    statement: statement.clone(),
                    id: target.statement_id,
                    rendered_for: target.rendered_for,
                    bound: bound.clone(),
                    portal: portal.clone(),
                });
                PortalState::There(target.place, name)
            }
        };
        self.portals.insert(portal, Portal { statement, bound, state });
        Ok(())
    }

    /// The description of a prepared statement as planned anew, which must return what it returned before.
    ///
    /// # Errors
    /// 0A000 when it does not; what PostgreSQL says of a statement that it does not accept any more.
    pub(super) async fn described_before(
        &mut self,
        known: &Arc<Statement>,
        now: &Arc<Statement>,
    ) -> Result<Arc<Description>> {
        let description = self.describe(now).await?;
        let shape = |columns: &Option<Vec<Column>>| {
            columns.as_ref().map(|columns| {
                let shape = columns.iter().map(|column| (column.name.clone(), column.type_oid, column.typmod));
                shape.collect::<Vec<_>>()
            })
        };
        if !Arc::ptr_eq(known, now)
            && let Some(before) = known.description.get()
            && shape(&before.columns) != shape(&description.columns)
        {
            return Err(Error::ResultTypeChanged);
        }
        Ok(description)
    }

    /// The statement as planned under the facts of now, if DDL came in between.
    pub(super) async fn fresh(&mut self, statement: &Arc<Statement>) -> Result<Arc<Statement>> {
        if statement.is_planned_under(&self.planning_facts(), &self.plain_path()) {
            return Ok(statement.clone());
        }
        self.plan(&statement.text, &statement.types).await
    }

    async fn describe_message(&mut self, batch: &mut Batch, kind: u8, name: &str) -> Result<()> {
        if kind == b'S' {
            let statement = self.prepared(name)?.statement.clone();
            if !matches!(statement.plan, Plan::Transaction(_)) {
                self.check_not_failed()?;
            }
            let description = self.describe(&statement).await?.clone();
            self.local(batch, |out| {
                backend::parameter_description(&description.parameters, out);
                push_description(description.columns.as_deref(), &[], out);
            });
            return Ok(());
        }
        if let Some(place) = self.cursor_place(name) {
            self.engage_again(batch, place).await?;
            batch.items.push(Item::Describe(name.to_owned()));
            return Ok(());
        }
        let portal = self.portal(name)?;
        let (statement, bound, state) = (portal.statement.clone(), portal.bound.clone(), portal.state.clone());
        if let PortalState::There(place, portal_name) = state
            && batch.is_for(place)
            && place == Place::CATALOG
        {
            batch.items.push(Item::Describe(portal_name.to_string()));
            return Ok(());
        }
        let description = self.describe(&statement).await?.clone();
        self.local(batch, |out| push_description(description.columns.as_deref(), &bound.result_formats, out));
        Ok(())
    }

    /// A portal on a backend holds its tables until it is closed there, too.
    async fn close_message(&mut self, batch: &mut Batch, kind: u8, name: &str) -> Result<()> {
        if kind == b'S' {
            self.statements.remove(name);
        } else if let Some(portal) = self.portals.remove(name)
            && let PortalState::There(place, portal_name) = portal.state
            && (batch.is_for(place) || self.transaction.as_ref().is_some_and(|open| open.position(place).is_some()))
        {
            self.engage_again(batch, place).await?;
            batch.items.push(Item::Close(portal_name.to_string()));
            return Ok(());
        }
        self.local(batch, backend::close_complete);
        Ok(())
    }
}

pub(super) fn unsupported_format(code: i16) -> Error {
    Error::sql(sqlstate::INVALID_PARAMETER_VALUE, format!("unsupported format code: {code}"))
}

/// RowDescription with the formats of a Bind, or NoData.
pub fn push_description(columns: Option<&[Column]>, formats: &[i16], out: &mut BytesMut) {
    match columns {
        None => backend::no_data(out),
        Some(columns) => {
            let formatted: Vec<Column> = columns
                .iter()
                .enumerate()
                .map(|(index, column)| Column { format: format_of(formats, index), ..column.clone() })
                .collect();
            backend::row_description(&formatted, out);
        }
    }
}
