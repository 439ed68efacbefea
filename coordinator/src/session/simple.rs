//! The simple protocol: a message of statements, answered one after the other; several together are one transaction unless they say otherwise.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use atoll_planner::directory::TableName;
use atoll_planner::plan::{Access, Plan, Refusal, Residue, Site};
use atoll_planner::quote_literal;
use atoll_wire::backend;
use atoll_wire::frames::Frame;
use atoll_wire::frontend::{self, Query};
use bytes::{Bytes, BytesMut};

use super::reads::Route;
use super::relay::{CopyEnd, Expect, Relay, Relayed, Rewritten, TextThere, Within, localize_error};
use super::slow::Work;
use super::{Held, Session, Tier};
use crate::error::{Error, Loss, Result};
use crate::facts::DatabaseFacts;
use crate::place::Place;
use crate::plans::{Statement, split_script};

/// How a statement was asked for, which decides how it is answered.
#[derive(Clone, Copy)]
pub enum Ask<'a> {
    /// Simple protocol: descriptions are part of the answer, values are text.
    Simple,
    /// Extended protocol: parameters and formats; descriptions are asked for apart.
    Bound(&'a super::extended::Bound),
}

impl<'a> Ask<'a> {
    pub fn bound(self) -> Option<&'a super::extended::Bound> {
        match self {
            Self::Simple => None,
            Self::Bound(bound) => Some(bound),
        }
    }

    /// Whether the answer begins with a description of its rows.
    pub fn describes(&self) -> bool {
        match self {
            Self::Simple => true,
            Self::Bound(bound) => bound.describe,
        }
    }
}

impl Session {
    /// Answers one Query message.
    ///
    /// # Errors
    /// Only what ends the session; statements' errors are told to the client.
    pub async fn simple_message(&mut self, frame: &Frame) -> Result<()> {
        let query = match Query::decode(frame) {
            Ok(query) => query,
            Err(error) => return self.conclude(Err(error.into())).await,
        };
        if let Some(error) = self.state_lost.take() {
            return self.conclude(Err(error)).await;
        }
        // The unnamed statement and portal do not outlive a simple query.
        self.statements.remove("");
        self.portals.remove("");
        let statements = split_script(query.sql);
        self.batch_synced = true;
        let outcome = match statements.as_slice() {
            [] => {
                backend::empty_query_response(&mut self.client.output);
                Ok(())
            }
            [one] => {
                self.within = within(query.sql, one);
                self.execute_text(one).await
            }
            many => self.execute_script(query.sql, many).await,
        };
        self.within = Within::default();
        self.conclude(outcome).await
    }

    /// Tells a statement's error, and that the session is ready again.
    pub(super) async fn conclude(&mut self, outcome: Result<()>) -> Result<()> {
        if let Err(error) = outcome {
            if error.is_fatal() {
                return Err(error);
            }
            let error = self.judged(error);
            self.fail(&error).await;
        }
        self.ready();
        Ok(())
    }

    /// After a statement's error: tells the client, fails an explicit block, rolls an implicit one back.
    pub(super) async fn fail(&mut self, error: &Error) {
        self.tell(error);
        self.note_failure();
        if self.transaction.as_ref().is_some_and(|transaction| !transaction.explicit) {
            // The error was told; a rollback that fails as well leaves nothing behind but ended backends.
            let _ = self.end_transaction(false).await;
        }
    }

    /// Sends an ErrorResponse, unless the client has it already.
    pub(super) fn tell(&mut self, error: &Error) {
        if !error.already_told() {
            let mut fields = error.fields();
            localize_error(&mut fields, self.within);
            backend::error_response(&fields, &mut self.client.output);
        }
    }

    /// Several statements in one message: an implicit transaction, which BEGIN among them makes explicit and COMMIT ends.
    async fn execute_script(&mut self, message: &str, statements: &[&str]) -> Result<()> {
        self.check_script(message).await?;
        for text in statements {
            self.within = within(message, text);
            self.open_implicit();
            self.execute_text(text).await?;
        }
        if self.transaction.as_ref().is_some_and(|transaction| !transaction.explicit) {
            self.end_transaction(true).await?;
        }
        Ok(())
    }

    /// PostgreSQL reads a whole message before it runs any of it: a syntax error anywhere comes alone.
    async fn check_script(&mut self, message: &str) -> Result<()> {
        loop {
            let mut lane = self.catalog_lane().await?;
            let described = lane.describe(message, &[]).await;
            match self.answered(lane, described).await {
                Ok(None) => {}
                // Read to its end: only then does it complain that there are several.
                Err(Error::Server(fields)) if fields.get(b'P').is_none() || fields.sqlstate() != "42601" => {
                    return Ok(());
                }
                described => return described.map(drop),
            }
        }
    }

    async fn execute_text(&mut self, text: &str) -> Result<()> {
        let statement = self.plan(text, &[]).await?;
        self.execute(&statement, Ask::Simple).await
    }

    /// The plan for one statement's text.
    ///
    /// # Errors
    /// PostgreSQL's own, when it has to be asked for views' definitions.
    pub async fn plan(&mut self, text: &str, types: &[u32]) -> Result<Arc<Statement>> {
        loop {
            let facts = self.planning_facts();
            let statement = self.worker.plans.statement(&facts, &self.search_path, &self.names, text, types);
            let Plan::Views(names) = &statement.plan else { return Ok(statement) };
            self.read_views(&facts, names).await?;
        }
    }

    /// Asks the catalog database for views' definitions, with every name in them qualified.
    async fn read_views(&mut self, facts: &DatabaseFacts, names: &[TableName]) -> Result<()> {
        let sql = names
            .iter()
            .map(|name| {
                let (schema, name) = (quote_literal(&name.schema), quote_literal(&name.name));
                format!(
                    "SELECT CASE WHEN NOT coalesce(reloptions::text[] && \
                     '{{security_barrier=true,security_barrier=on,security_barrier=1,security_barrier=yes}}', false) \
                     THEN pg_get_viewdef(oid) END FROM pg_class WHERE relname = {name} AND relnamespace = \
                     (SELECT oid FROM pg_namespace WHERE nspname = {schema})"
                )
            })
            .collect::<Vec<_>>()
            .join(";");
        let path: Arc<str> = "pg_catalog".into();
        let joined = self.transaction.as_ref().is_some_and(|transaction| transaction.catalog_changed);
        let sets = if joined {
            self.run_at(Place::CATALOG, &path, &sql, false).await?
        } else {
            let cancel = self.cancel.clone();
            loop {
                let mut lane = self.catalog_lane().await?;
                let sets = async {
                    lane.query("SET search_path = pg_catalog").await?;
                    lane.state.search_path = Some(path.clone());
                    cancel.over(&mut lane, async |lane| lane.query(&sql).await).await
                };
                let sets = sets.await;
                if let Some(sets) = self.answered(lane, sets).await? {
                    break sets;
                }
            }
        };
        let mut views = facts.views.write().unwrap_or_else(PoisonError::into_inner);
        for (name, set) in names.iter().zip(sets) {
            let row = set.rows.into_iter().next();
            let row = row.ok_or_else(|| Error::sql("42P01", format!("relation \"{}\" does not exist", name.name)))?;
            views.insert(name.clone(), row.into_iter().next().flatten());
        }
        Ok(())
    }

    /// Runs one planned statement and answers it, up to and including its CommandComplete.
    ///
    /// # Errors
    /// The statement's; [`Error::Told`] when the client has it already.
    pub async fn execute(&mut self, statement: &Arc<Statement>, ask: Ask<'_>) -> Result<()> {
        self.work = Work::default();
        let start = Instant::now();
        let mut times = 0;
        self.route = self.route_of(statement);
        self.used_replica = false;
        self.runs_alone = self.transaction.is_none();
        self.leave_replicas(statement).await?;
        let outcome = loop {
            let mark = self.client.mark();
            let alone = self.transaction.is_none();
            match self.execute_plan(statement, ask).await {
                Err(error) if alone && self.runs_on_primary(&error, mark) => {
                    (self.route, self.used_replica) = (Route::Primary, false);
                }
                Err(error) if alone && self.reads_again(&error, statement, mark, &mut times).await => {}
                Err(error) if alone && self.transaction.is_none() => break Err(self.outcome_of(error, statement)),
                outcome => break outcome,
            }
        };
        self.route = Route::Primary;
        self.note_time(start, statement);
        outcome
    }

    async fn execute_plan(&mut self, statement: &Arc<Statement>, ask: Ask<'_>) -> Result<()> {
        if let Plan::Transaction(command) = &statement.plan {
            self.tier = Tier::Coordinator;
            return self.transaction_command(command, statement).await;
        }
        self.check_not_failed()?;
        self.check_assignments(&statement.text)?;
        match &statement.plan {
            Plan::Empty => backend::empty_query_response(&mut self.client.output),
            Plan::Transaction(_) => {}
            Plan::Views(_) => return Err(Error::internal("a statement whose views were not read")),
            Plan::Refuse(refusal) => return Err(self.refusal(refusal, statement).await),
            Plan::Relay(relay) => {
                let text = match &relay.text {
                    None => None,
                    Some(pieces) => Some(self.virtual_text(pieces).await?),
                };
                let sql = text.as_deref().or(relay.marked.as_deref()).unwrap_or(&statement.text);
                let place = self.place_of(relay.site);
                let path = self.plain_path();
                self.relay_statement(place, &path, sql, statement, ask, (relay.access, relay.residue)).await?;
            }
            Plan::Sharded(sharded) => self.sharded(sharded, statement, ask).await?,
            Plan::Gather(gather) => {
                self.merge(&gather.merge, statement, ask, (gather.access, gather.residue)).await?;
            }
            Plan::WriteCurrent(plan) => self.write_current(plan, statement, ask).await?,
            Plan::Own(own) => self.own_call(own, ask).await?,
            Plan::Explain(explain) => self.explain(explain, statement, ask).await?,
            Plan::Session(command) => self.session_command(command, statement, ask).await?,
            Plan::Insert(_)
            | Plan::InsertSelect(_)
            | Plan::WriteWith(_)
            | Plan::Steps(_)
            | Plan::CreateAs(_)
            | Plan::ReferenceWrite(_)
            | Plan::Ddl(_)
            | Plan::Distribute(_)
            | Plan::Copy(_)
            | Plan::Maintenance(_) => self.execute_widely(statement, ask).await?,
        }
        Ok(())
    }

    /// What a client hears of a statement that Atoll does not answer: PostgreSQL's own error first, if it does not either.
    pub async fn refusal(&mut self, refusal: &Refusal, statement: &Arc<Statement>) -> Error {
        match self.ask_postgres(&statement.text, &statement.types, Place::CATALOG).await {
            Err(error @ Error::Server(_)) => error,
            _ => Error::Refused(Box::new(refusal.clone())),
        }
    }

    /// Whether the messages being answered end with a Sync.
    pub fn has_synced(&self) -> bool {
        self.batch_synced
    }

    /// Where a statement without a key runs.
    pub fn place_of(&self, site: Site) -> Place {
        match site {
            Site::Catalog => Place::CATALOG,
            Site::Home => Place::HOME,
            Site::AnyGroup => {
                let joined = self.transaction.iter().flat_map(|transaction| &transaction.participants);
                let mut data =
                    joined.map(|participant| participant.place).filter(|place| *place == Place::data(place.group));
                data.next().unwrap_or(Place::HOME)
            }
        }
    }

    /// Tier 1 for one statement, by either protocol: sends it to one backend and relays the answer.
    pub(crate) async fn relay_statement(
        &mut self,
        place: Place,
        path: &Arc<str>,
        sql: &str,
        statement: &Arc<Statement>,
        ask: Ask<'_>,
        (access, residue): (Access, Residue),
    ) -> Result<()> {
        let sql = &*self.text_at(place, sql).await?;
        let copy_end = match ask {
            Ask::Simple => CopyEnd::Done,
            Ask::Bound(_) if self.batch_synced => CopyEnd::SyncAgain,
            Ask::Bound(_) => CopyEnd::FirstSync,
        };
        let rewritten = Rewritten { statement, there: TextThere::Known(sql) };
        let differs = (sql != statement.text).then_some(rewritten);
        let (held, mut relayed) = loop {
            let (mut held, prelude) = self.hold(place, path).await?;
            let mut due: VecDeque<Expect> = (0..prelude.ready).map(|_| Expect::Prelude).collect();
            let mut out = prelude.frames;
            match ask {
                Ask::Simple => {
                    frontend::query(sql, &mut out);
                    due.push_back(Expect::Query);
                }
                Ask::Bound(bound) => self.relay_bound((place, sql), statement, bound, &mut out, &mut due)?,
            }
            match self.exchange(&mut held, out.freeze(), due, copy_end, differs).await {
                Err(error) if prelude.is_fresh && error.loss() == Some(Loss::Unsent) => {
                    self.give_up(held);
                    self.wait_for_another(&error).await?;
                }
                relayed => break (held, relayed),
            }
        };
        self.tier = Tier::Relay;
        let kept = relayed.as_mut().ok().and_then(|relayed| relayed.kept.take());
        let outcome = self.after_relay(held, relayed, sql, access, residue).await;
        match kept {
            None => outcome,
            Some(fields) => Err(self.in_the_clients_text(*fields, rewritten).await),
        }
    }

    /// The messages of a bound statement, and what is due for them.
    fn relay_bound(
        &self,
        (place, sql): (Place, &str),
        statement: &Statement,
        bound: &super::extended::Bound,
        out: &mut BytesMut,
        due: &mut VecDeque<Expect>,
    ) -> Result<()> {
        frontend::parse("", sql, &self.types_at(place, statement, bound), out);
        due.push_back(Expect::ParseComplete { register: None, hidden: true });
        frontend::bind_renamed(&bound.frame, "", "", out)?;
        due.push_back(Expect::BindComplete { hidden: true });
        // What fails before it runs is not described.
        due.extend(bound.described.clone().map(Expect::Local));
        if bound.describe {
            frontend::describe(b'P', "", out);
            due.push_back(Expect::Description { hide_no_data: true });
        }
        frontend::execute("", 0, out);
        due.push_back(Expect::Execute);
        frontend::sync(out);
        due.push_back(Expect::Ready);
        Ok(())
    }

    /// The parameters' types as a place calls them: all of them, because a text there may not show what the client's does.
    fn types_at(&self, place: Place, statement: &Statement, bound: &super::extended::Bound) -> Vec<u32> {
        let known = if bound.types.is_empty() { &statement.types } else { &bound.types };
        let facts = self.facts();
        match facts.types_of(place.group) {
            Some(map) if place != Place::CATALOG => known.iter().map(|oid| map.from_catalog(*oid)).collect(),
            _ => known.clone(),
        }
    }

    /// An error with a position in a text that the client did not write, in PostgreSQL's words for the client's.
    pub(super) async fn in_the_clients_text(
        &mut self,
        mut fields: backend::ErrorFields,
        rewritten: Rewritten<'_>,
    ) -> Error {
        let statement = rewritten.statement;
        let joined = self.transaction.as_ref().is_some_and(|transaction| transaction.catalog_changed);
        if !joined && let Err(error @ Error::Server(_)) = self.describe_apart(&statement.text, &statement.types).await {
            return error;
        }
        let position = fields.get(b'P').and_then(|text| text.parse().ok());
        match position.and_then(|position| rewritten.in_client_text(position)) {
            Some(position) => fields.set(b'P', position.to_string()),
            None => fields.remove(b'P'),
        }
        Error::Server(Box::new(fields))
    }

    /// What follows from how an exchange went.
    pub(super) async fn after_relay(
        &mut self,
        mut held: Held,
        relayed: Result<Relayed>,
        sql: &str,
        access: Access,
        residue: Residue,
    ) -> Result<()> {
        if let Held::Joined(index) = held
            && let Some(transaction) = &mut self.transaction
        {
            transaction.participants[index].wrote |= access == Access::Write;
        } else if access == Access::Write {
            let place = self.place_held(&held);
            self.note_written(place.group);
        }
        let relayed = match relayed {
            Ok(relayed) => relayed,
            Err(error) => {
                self.note_failure();
                return Err(error);
            }
        };
        let unreplicated = relayed.unreplicated.then(|| super::lost::unreplicated(self.lane(&mut held).node()));
        if residue != Residue::Clean {
            self.leave_residue(&mut held);
        }
        if relayed.error.is_none() && residue == Residue::Pins && sql.contains("set_config") {
            self.adopt_set_config(&mut held, sql).await?;
        }
        if residue == Residue::Pins && self.place_held(&held) == Place::HOME {
            self.read_temporary_names(&mut held).await?;
        }
        // DROP may mean a temporary table; where there is none, nothing is left that would have to be kept.
        let keeps = !(self.place_held(&held) == Place::HOME && begins_with_drop(sql) && !self.has_temporary_names());
        self.let_go(held, relayed.error.is_none() && residue == Residue::Pins && keeps);
        match (relayed.error, unreplicated) {
            (None, None) => Ok(()),
            (None, Some(error)) => Err(error),
            (Some(sqlstate), _) => Err(Error::Told { sqlstate }),
        }
    }

    /// Sends frames on a held lane and relays the answers that are due; cancels of this session reach the backend meanwhile.
    pub(super) async fn exchange(
        &mut self,
        held: &mut Held,
        out: Bytes,
        due: VecDeque<Expect>,
        copy_end: CopyEnd,
        rewritten: Option<Rewritten<'_>>,
    ) -> Result<Relayed> {
        let facts = self.facts();
        let (place, lane) = match held {
            Held::Alone(place, lane) => (*place, &mut **lane),
            Held::Pinned(index) => {
                let (place, lane) = &mut self.pinned[*index];
                (*place, &mut **lane)
            }
            Held::Joined(index) => {
                let transaction = self.transaction.as_mut().expect("a joined lane has its transaction");
                let participant = &mut transaction.participants[*index];
                (participant.place, &mut *participant.lane)
            }
        };
        let types = if place == Place::CATALOG { None } else { facts.types.get(&place.group) };
        if self.last_node.as_deref() != Some(&**lane.node()) {
            self.last_node = Some(lane.node().to_string());
        }
        self.cancel.enter(lane);
        let sent = lane.send(out).await;
        let result = match sent {
            Ok(()) => {
                let client = &mut self.client;
                let relay = Relay {
                    client,
                    lane,
                    reported: &mut self.reported,
                    reported_for: &mut self.reported_for,
                    types,
                    copy_end,
                    keep_tables: place == Place::CATALOG,
                    within: self.within,
                    rewritten,
                };
                relay.run(due).await
            }
            Err(error) => Err(error),
        };
        self.cancel.leave(lane);
        self.cancel.settled().await;
        result
    }
}

fn begins_with_drop(sql: &str) -> bool {
    sql.trim_start().get(..4).is_some_and(|word| word.eq_ignore_ascii_case("drop"))
}

/// Where one of a message's statements stands in it, in characters, as PostgreSQL counts error positions.
fn within(message: &str, statement: &str) -> Within {
    let start = (statement.as_ptr() as usize).saturating_sub(message.as_ptr() as usize);
    let before = message.get(..start).map_or(0, |before| before.chars().count());
    let after = message.get(start + statement.len()..).unwrap_or_default();
    let blanks = after.chars().take_while(|c| c.is_whitespace()).count();
    let to_semicolon = after.trim_start().starts_with(';').then_some(blanks);
    Within { before, to_semicolon }
}
