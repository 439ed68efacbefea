//! The extended protocol: statements and portals, messages in batches up to Sync or Flush.
//!
//! Parse is answered from the plan cache, where PostgreSQL's own description of the statement is kept. Messages for one backend are
//! gathered and travel together; the backend knows statements by the coordinator's names, so that pooled backends keep them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use atoll_planner::directory::ShardId;
use atoll_planner::plan::{Access, Plan, Residue};
use atoll_wire::backend::{self, Column};
use atoll_wire::frames::Frame;
use atoll_wire::frontend::{self, Bind, Close, Describe, Execute, Parse, format_of, tag};
use bytes::{Bytes, BytesMut};

use super::reads::Route;
use super::relay::{CopyEnd, Expect, Rewritten, TextThere};
use super::simple::Ask;
use super::{Held, Session};
use crate::error::{Error, Loss, Result, sqlstate};
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

/// A portal, and where it lives.
pub struct Portal {
    statement: Arc<Statement>,
    bound: Arc<Bound>,
    state: PortalState,
}

#[derive(Clone, PartialEq)]
enum PortalState {
    /// Known here only: its statement is the coordinator's to run.
    Here,
    /// Bound on this place's backend under its own name.
    There(Place, Arc<str>),
    /// Its rows, all of them, with the first that has not been sent, and the command tag.
    Rows(Arc<Vec<Bytes>>, usize, String),
    Done,
}

/// Messages on their way to one backend, not yet sent: which form they take depends on the backend.
struct Batch {
    /// Where to, and under which search_path.
    site: Option<(Place, Arc<str>)>,
    items: Vec<Item>,
    access: Access,
    residue: Residue,
    /// The statements bound so far whose text there is a shard's.
    rewritten: Vec<(Arc<Statement>, ShardId)>,
    /// The last statement that was bound or sent to run.
    last: Option<Arc<Statement>>,
}

enum Item {
    /// Frames of the coordinator's own, in their place among the answers.
    Local(Bytes),
    Bind {
        statement: Arc<Statement>,
        id: u64,
        rendered_for: Option<ShardId>,
        bound: Arc<Bound>,
        portal: String,
    },
    Describe(String),
    Execute(String, i32),
    Close(String),
}

impl Batch {
    fn new() -> Self {
        Self {
            site: None,
            items: Vec::new(),
            access: Access::Read,
            residue: Residue::Clean,
            rewritten: Vec::new(),
            last: None,
        }
    }

    fn is_for(&self, place: Place) -> bool {
        self.site.as_ref().is_some_and(|(site, _)| *site == place)
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
                self.close_message(batch, close.kind, close.name);
            }
            tag::FLUSH => {}
            _ => {}
        }
        Ok(())
    }

    /// Whether something must not be begun before the answers that are due (it could fail, or run elsewhere).
    fn needs_order(&self, batch: &Batch) -> bool {
        !batch.items.is_empty() && self.transaction.is_some()
    }

    /// Frames of the coordinator's own, in their place among those of the backend.
    fn local(&mut self, batch: &mut Batch, build: impl FnOnce(&mut BytesMut)) {
        if batch.items.is_empty() {
            build(&mut self.client.output);
        } else {
            let mut frames = BytesMut::new();
            build(&mut frames);
            batch.items.push(Item::Local(frames.freeze()));
        }
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
            return Err(Error::unsupported("cached plan must not change result type"));
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

    /// The batch's messages for a backend, which is told statements first that it does not know; and what is due for them.
    fn encode(
        &mut self,
        batch: &Batch,
        held: &mut Held,
        place: Place,
        out: &mut BytesMut,
        due: &mut VecDeque<Expect>,
    ) -> Result<()> {
        let facts = self.facts.clone();
        let lane = self.lane(held);
        // Statements whose Parse is on its way in this very batch.
        let mut parsed = Vec::new();
        for item in &batch.items {
            match item {
                Item::Local(frames) => due.push_back(Expect::Local(frames.clone())),
                Item::Bind { statement, id, rendered_for, bound, portal } => {
                    let name = statement_name(*id);
                    if !parsed.contains(id) && !lane.has_prepared(*id) {
                        if let Some(old) = lane.evict_prepared() {
                            frontend::close(b'S', &statement_name(old), out);
                            due.push_back(Expect::CloseComplete { hidden: true });
                        }
                        let types: Vec<u32> = match facts.types.get(&place.group) {
                            Some(map) if place != Place::CATALOG => {
                                statement.types.iter().map(|oid| map.from_catalog(*oid)).collect()
                            }
                            _ => statement.types.clone(),
                        };
                        let rendered = rendered_for.map(|shard| statement.text_on(shard));
                        frontend::parse(&name, rendered.as_deref().unwrap_or(&statement.text), &types, out);
                        due.push_back(Expect::ParseComplete { register: Some(*id), hidden: true });
                        parsed.push(*id);
                    }
                    frontend::bind_renamed(&bound.frame, portal, &name, out)?;
                    due.push_back(Expect::BindComplete { hidden: false });
                }
                Item::Describe(portal) => {
                    frontend::describe(b'P', portal, out);
                    due.push_back(Expect::Description { hide_no_data: false });
                }
                Item::Execute(portal, max_rows) => {
                    frontend::execute(portal, *max_rows, out);
                    due.push_back(Expect::Execute);
                }
                Item::Close(portal) => {
                    frontend::close(b'P', portal, out);
                    due.push_back(Expect::CloseComplete { hidden: false });
                }
            }
        }
        frontend::sync(out);
        due.push_back(Expect::Ready);
        Ok(())
    }

    /// Makes the batch's messages go to `place`; those for another one are sent and answered first.
    async fn engage(&mut self, batch: &mut Batch, place: Place, path: &Arc<str>) -> Result<()> {
        if batch.site.as_ref().is_some_and(|(site, known)| *site == place && known == path) {
            return Ok(());
        }
        self.drain(batch).await?;
        batch.site = Some((place, path.clone()));
        Ok(())
    }

    /// Sends what was gathered with a Sync and answers what is due. Outside a transaction that ends the backend's own; and a batch that
    /// only reads, of which the client has seen nothing, is sent again when its backend is lost.
    async fn drain(&mut self, batch: &mut Batch) -> Result<()> {
        let Some((place, path)) = batch.site.take() else {
            for item in batch.items.drain(..) {
                if let Item::Local(frames) = item {
                    self.client.push(&frames);
                }
            }
            return Ok(());
        };
        let copy_end = if self.batch_synced { CopyEnd::SyncAgain } else { CopyEnd::FirstSync };
        let start = Instant::now();
        let (last, mark) = (batch.last.take(), self.client.mark());
        let mut times = 0;
        self.route = Route::Primary;
        if let Some(statement) = &last {
            self.route = self.route_of(statement);
            self.leave_replicas(statement).await?;
        }
        self.used_replica = false;
        self.runs_alone = self.transaction.is_none();
        let outcome = loop {
            let (mut held, prelude) = match self.hold(place, &path).await {
                Ok(held) => held,
                Err(error) => break Err(error),
            };
            let mut due: VecDeque<Expect> = (0..prelude.ready).map(|_| Expect::Prelude).collect();
            let mut out = prelude.frames;
            self.encode(batch, &mut held, place, &mut out, &mut due)?;
            // Of several statements it is not known whose an error is; one that depends on the text came when they were described.
            let one = match batch.rewritten.as_slice() {
                [(statement, shard)] => Some(Rewritten { statement, there: TextThere::On(*shard) }),
                _ => None,
            };
            let mut relayed = self.exchange(&mut held, out.freeze(), due, copy_end, one).await;
            self.tier = super::Tier::Relay;
            if let Err(error) = &relayed
                && prelude.is_fresh
                && error.loss() == Some(Loss::Unsent)
            {
                self.give_up(held);
                self.wait_for_another(error).await?;
                continue;
            }
            let kept = relayed.as_mut().ok().and_then(|relayed| relayed.kept.take());
            let sql = last.as_ref().map_or("", |statement| &statement.text);
            let outcome = self.after_relay(held, relayed, sql, batch.access, batch.residue).await;
            match (kept, one, outcome) {
                (kept, one, Err(error)) if self.runs_on_primary(&error, mark) => {
                    drop((kept, one));
                    (self.route, self.used_replica) = (Route::Primary, false);
                }
                (Some(fields), Some(one), _) => break Err(self.in_the_clients_text(*fields, one).await),
                (_, _, Err(error)) if self.transaction.is_none() && error.loss().is_some() => {
                    let Some(statement) = &last else { break Err(error) };
                    if self.reads_again(&error, statement, mark, &mut times).await {
                        continue;
                    }
                    break Err(self.outcome_of(error, statement));
                }
                (_, _, outcome) => break outcome,
            }
        };
        self.route = Route::Primary;
        if let Some(last) = &last {
            self.note_time(start, last);
        }
        (batch.access, batch.residue) = (Access::Read, Residue::Clean);
        batch.items.clear();
        batch.rewritten.clear();
        outcome
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
            && !self.types_differ(place)
        {
            batch.items.push(Item::Describe(portal_name.to_string()));
            return Ok(());
        }
        let description = self.describe(&statement).await?.clone();
        self.local(batch, |out| push_description(description.columns.as_deref(), &bound.result_formats, out));
        Ok(())
    }

    fn types_differ(&self, place: Place) -> bool {
        place != Place::CATALOG
    }

    /// Whether the client has portals that it may come back to.
    pub(super) fn has_named_portals(&self) -> bool {
        self.portals.keys().any(|name| !name.is_empty())
    }

    fn portal(&self, name: &str) -> Result<&Portal> {
        self.portals
            .get(name)
            .ok_or_else(|| Error::sql(sqlstate::UNDEFINED_CURSOR, format!("portal \"{name}\" does not exist")))
    }

    async fn execute_message(&mut self, batch: &mut Batch, name: &str, max_rows: i32) -> Result<()> {
        if let Some(place) = self.cursor_place(name) {
            self.check_not_failed()?;
            self.engage_again(batch, place).await?;
            batch.items.push(Item::Execute(name.to_owned(), max_rows));
            return Ok(());
        }
        let portal = self.portal(name)?;
        let (statement, bound, state) = (portal.statement.clone(), portal.bound.clone(), portal.state.clone());
        match state {
            PortalState::There(place, portal_name) => {
                self.engage_again(batch, place).await?;
                batch.items.push(Item::Execute(portal_name.to_string(), max_rows));
                batch.last = Some(statement);
                Ok(())
            }
            PortalState::Here => {
                self.drain(batch).await?;
                if let Some(code) = bound.result_formats.iter().find(|code| !matches!(code, 0 | 1)) {
                    return Err(unsupported_format(*code));
                }
                if max_rows > 0 && self.describe(&statement).await?.columns.is_some() {
                    return self.start_limited(name, &statement, &bound, max_rows).await;
                }
                self.execute(&statement, Ask::Bound(&bound)).await?;
                self.set_state(name, PortalState::Done);
                Ok(())
            }
            PortalState::Rows(rows, next, command_tag) => {
                self.drain(batch).await?;
                self.send_limited(name, rows, next, command_tag, max_rows).await
            }
            PortalState::Done => {
                self.drain(batch).await?;
                Err(Error::sql("55000", format!("portal \"{name}\" cannot be run")))
            }
        }
    }

    /// Where an SQL cursor of this name lives, which the protocol calls a portal, too.
    fn cursor_place(&self, name: &str) -> Option<Place> {
        if self.portals.contains_key(name) { None } else { self.cursors.get(name).map(|cursor| cursor.place) }
    }

    /// [`Session::engage`] for a portal of an earlier batch: its lane is the transaction's, and stays as it stands.
    async fn engage_again(&mut self, batch: &mut Batch, place: Place) -> Result<()> {
        if batch.is_for(place) {
            return Ok(());
        }
        let path = self.transaction.as_ref().and_then(|transaction| {
            let index = transaction.position(place)?;
            transaction.participants[index].lane.state.search_path.clone()
        });
        let path = path.unwrap_or_else(|| self.plain_path());
        self.engage(batch, place, &path).await
    }

    fn set_state(&mut self, name: &str, state: PortalState) {
        if let Some(portal) = self.portals.get_mut(name) {
            portal.state = state;
        }
    }

    /// A row limit on a statement the coordinator merges: its rows are kept, and sent as asked for.
    async fn start_limited(
        &mut self,
        name: &str,
        statement: &Arc<Statement>,
        bound: &Arc<Bound>,
        max_rows: i32,
    ) -> Result<()> {
        let mut rest = self.execute_into_buffer(statement, Ask::Bound(bound)).await?.freeze();
        let mut rows = Vec::new();
        let mut command_tag = String::new();
        while let Some((frame_tag, length)) = atoll_wire::frames::peek(&rest) {
            let frame = rest.split_to(length.min(rest.len()));
            match frame_tag {
                b'D' => rows.push(frame),
                b'C' => command_tag = backend::decode::command_complete(&frame[5..])?.to_owned(),
                _ => self.client.push(&frame),
            }
        }
        self.send_limited(name, Arc::new(rows), 0, command_tag, max_rows).await
    }

    /// Runs a statement whose answer is not for the client as it comes.
    ///
    /// # Errors
    /// The statement's.
    pub async fn execute_into_buffer(&mut self, statement: &Arc<Statement>, ask: Ask<'_>) -> Result<BytesMut> {
        let kept = self.client.output.split();
        self.client.hold_output = true;
        let outcome = Box::pin(self.execute(statement, ask)).await;
        self.client.hold_output = false;
        let mut produced = std::mem::replace(&mut self.client.output, kept);
        if outcome.as_ref().is_err_and(Error::already_told) {
            // The server's own error is among what was held back.
            let mut frames = produced.split().freeze();
            while let Some((frame_tag, length)) = atoll_wire::frames::peek(&frames) {
                let frame = frames.split_to(length.min(frames.len()));
                if matches!(frame_tag, b'E' | b'N') {
                    self.client.push(&frame);
                }
            }
        }
        outcome.map(|()| produced)
    }

    async fn send_limited(
        &mut self,
        name: &str,
        rows: Arc<Vec<Bytes>>,
        next: usize,
        command_tag: String,
        max_rows: i32,
    ) -> Result<()> {
        let limit = if max_rows > 0 { max_rows as usize } else { usize::MAX };
        let end = rows.len().min(next.saturating_add(limit));
        for row in &rows[next..end] {
            self.client.push(row);
            self.client.flush_if_large().await?;
        }
        // Like PostgreSQL: exactly as many rows as asked for means there may be more.
        if max_rows > 0 && end - next == limit {
            backend::portal_suspended(&mut self.client.output);
            self.set_state(name, PortalState::Rows(rows, end, command_tag));
        } else {
            let counted = tag_with_count(&command_tag, end - next);
            backend::command_complete(&counted, &mut self.client.output);
            self.set_state(name, PortalState::Rows(rows, end, command_tag));
        }
        Ok(())
    }

    fn close_message(&mut self, batch: &mut Batch, kind: u8, name: &str) {
        if kind == b'S' {
            self.statements.remove(name);
        } else if let Some(portal) = self.portals.remove(name)
            && let PortalState::There(place, portal_name) = portal.state
            && batch.is_for(place)
        {
            batch.items.push(Item::Close(portal_name.to_string()));
            return;
        }
        self.local(batch, backend::close_complete);
    }
}

fn unsupported_format(code: i16) -> Error {
    Error::sql(sqlstate::INVALID_PARAMETER_VALUE, format!("unsupported format code: {code}"))
}

/// A command tag with another number of rows, where it has one.
fn tag_with_count(command_tag: &str, rows: usize) -> String {
    match command_tag.rsplit_once(' ') {
        Some((verb, count)) if count.parse::<u64>().is_ok() => format!("{verb} {rows}"),
        _ => command_tag.to_owned(),
    }
}

/// What a backend calls a statement of the coordinator.
pub(super) fn statement_name(id: u64) -> String {
    format!("atoll_{id}")
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
