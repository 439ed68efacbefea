//! Statements about the session itself: transactions, settings, prepared statements, cursors.

use std::sync::Arc;

use atoll_planner::plan::{Access, DiscardKind, Plan, Residue, Session as SessionPlan, Transaction as TransactionPlan};
use atoll_planner::scan::{TokenKind, tokens};
use atoll_planner::{quote_identifier, quote_literal};
use atoll_wire::backend::{self, ErrorFields};
use atoll_wire::frames::Frame;
use atoll_wire::frontend;
use bytes::BytesMut;

use super::describe::column;
use super::durability::{SETTING, check_value};
use super::extended::{Bound, Prepared, push_description};
use super::own_settings::{SESSION_TOKEN, check_own_setting};
use super::reads::Reads;
use super::settings::{REPORTED, Settings};
use super::simple::Ask;
use super::transaction::{Ending, Transaction};
use super::{Held, Session};
use crate::error::{Error, Result, sqlstate};
use crate::place::Place;
use crate::plans::Statement;

impl Session {
    pub(super) fn complete(&mut self, command_tag: &str) {
        backend::command_complete(command_tag, &mut self.client.output);
    }

    fn warn(&mut self, sqlstate: &str, message: &str) {
        backend::notice_response(&ErrorFields::new("WARNING", sqlstate, message), &mut self.client.output);
    }

    /// BEGIN, COMMIT, SAVEPOINT and their kin.
    ///
    /// # Errors
    /// As PostgreSQL: 25P01 outside a block, 3B001, what made a commit fail.
    pub(super) async fn transaction_command(
        &mut self,
        command: &TransactionPlan,
        statement: &Arc<Statement>,
    ) -> Result<()> {
        let explicit = self.transaction.as_ref().is_some_and(|transaction| transaction.explicit);
        let failed = self.transaction.as_ref().is_some_and(|transaction| transaction.failed);
        match command {
            TransactionPlan::Begin => {
                if failed {
                    return self.check_not_failed();
                }
                self.check_syntax(statement).await?;
                if explicit {
                    self.warn("25001", "there is already a transaction in progress");
                } else if let Some(transaction) = &mut self.transaction {
                    transaction.explicit = true;
                    transaction.begin.clone_from(&statement.text);
                } else {
                    self.transaction = Some(Transaction::new(true, statement.text.clone(), &self.settings));
                }
                let start = statement.text.trim_start().get(..5).is_some_and(|word| word.eq_ignore_ascii_case("start"));
                self.complete(if start { "START TRANSACTION" } else { "BEGIN" });
            }
            TransactionPlan::Commit { chain } | TransactionPlan::Rollback { chain } => {
                let commit = matches!(command, TransactionPlan::Commit { .. });
                if !explicit {
                    if *chain {
                        let verb = if commit { "COMMIT AND CHAIN" } else { "ROLLBACK AND CHAIN" };
                        return Err(Error::sql("25P01", format!("{verb} can only be used in transaction blocks")));
                    }
                    self.warn("25P01", "there is no transaction in progress");
                }
                let begin = self.transaction.as_ref().map(|transaction| transaction.begin.clone());
                let ending = self.end_transaction(commit).await;
                if *chain {
                    let begin = begin.unwrap_or_else(|| "BEGIN".to_owned());
                    self.transaction = Some(Transaction::new(true, begin, &self.settings));
                }
                let ending = ending?;
                self.complete(if commit && ending == Ending::Committed { "COMMIT" } else { "ROLLBACK" });
            }
            TransactionPlan::Savepoint(name) => {
                self.check_not_failed()?;
                let settings = self.settings.clone();
                self.block("SAVEPOINT", explicit)?.savepoint(name, &settings).await?;
                self.complete("SAVEPOINT");
            }
            TransactionPlan::Release(name) => {
                self.check_not_failed()?;
                self.block("RELEASE SAVEPOINT", explicit)?.release(name).await?;
                self.complete("RELEASE");
            }
            TransactionPlan::RollbackTo(name) => {
                let settings = self.block("ROLLBACK TO SAVEPOINT", explicit)?.rollback_to(name).await?;
                if let Some(transaction) = &mut self.transaction {
                    transaction.settings_on_commit = settings.clone();
                }
                self.adopt_settings(settings);
                self.complete("ROLLBACK");
            }
            TransactionPlan::Modes => {
                self.check_not_failed()?;
                self.check_syntax(statement).await?;
                match &mut self.transaction {
                    Some(transaction) if explicit => transaction.set_modes(&statement.text).await?,
                    _ => self.warn("25P01", "SET TRANSACTION can only be used in transaction blocks"),
                }
                self.complete("SET");
            }
            TransactionPlan::TwoPhase(command) => {
                return Err(Error::unsupported(
                    format!("{command} is not supported"),
                    "Atoll itself commits over several groups in two phases.",
                    "Use COMMIT: it is atomic over all groups.",
                ));
            }
        }
        Ok(())
    }

    fn block(&mut self, command: &str, explicit: bool) -> Result<&mut Transaction> {
        match &mut self.transaction {
            Some(transaction) if explicit => Ok(transaction),
            _ => Err(Error::sql("25P01", format!("{command} can only be used in transaction blocks"))),
        }
    }

    /// Lets PostgreSQL read a transaction statement with modes, which is not sent before a backend joins.
    async fn check_syntax(&mut self, statement: &Arc<Statement>) -> Result<()> {
        if statement.text.split_ascii_whitespace().count() > 2 && statement.description.get().is_none() {
            let described = self.describe_apart(&statement.text, &[]).await?;
            let _ = statement.description.set(Arc::new(described));
        }
        Ok(())
    }

    /// SET, SHOW, PREPARE, DECLARE and their kin.
    ///
    /// # Errors
    /// PostgreSQL's own; 0A000 for what cannot be done across backends.
    pub(super) async fn session_command(
        &mut self,
        command: &SessionPlan,
        statement: &Arc<Statement>,
        ask: Ask<'_>,
    ) -> Result<()> {
        let text = statement.text.as_str();
        match command {
            SessionPlan::Set { name, .. } if name.eq_ignore_ascii_case("seed") => {
                // Not a value but an act: on the backend that will compute the random numbers.
                let path = self.plain_path();
                self.relay_statement(Place::HOME, &path, text, statement, ask, (Access::Read, Residue::Pins)).await?;
            }
            SessionPlan::Set { name, .. } if name.eq_ignore_ascii_case("session characteristics") => {
                for name in
                    ["default_transaction_isolation", "default_transaction_read_only", "default_transaction_deferrable"]
                {
                    let value = self.evaluate_setting(text, name).await?;
                    if self.settings.get(name).is_some() || Some(value.as_str()) != self.default_of(name) {
                        self.set(name, Some(value), false);
                    }
                }
                self.complete("SET");
            }
            SessionPlan::Set { name, .. } if name == SESSION_TOKEN => {
                let token = self.evaluate_setting(text, name).await?;
                self.take_token(&token)?;
                self.complete("SET");
            }
            SessionPlan::Set { name, local } => {
                let value = self.evaluate_setting(text, name).await?;
                check_own_setting(name, &value)?;
                check_value(&self.worker.cluster, name, &value)?;
                if is_identity(name) {
                    let superuser = self.evaluate_setting(text, "is_superuser").await?;
                    self.set("is_superuser", Some(superuser), *local);
                }
                if *local && self.transaction.is_none() {
                    self.warn("25P01", "SET LOCAL can only be used in transaction blocks");
                } else {
                    self.set(name, Some(value), *local);
                }
                self.complete("SET");
            }
            SessionPlan::Reset { name } => {
                self.evaluate_setting(text, name).await?;
                if is_identity(name) {
                    let superuser = self.evaluate_setting(text, "is_superuser").await?;
                    self.set("is_superuser", Some(superuser), false);
                }
                let value = self.startup_settings.get(name).map(str::to_owned);
                self.set(name, value, false);
                self.complete("RESET");
            }
            SessionPlan::ResetAll => {
                self.reset_all();
                self.complete("RESET");
            }
            SessionPlan::Show { name } if name.starts_with("atoll.") => self.show_own(name, ask)?,
            SessionPlan::Show { .. } | SessionPlan::ShowAll => {
                let path = self.plain_path();
                self.relay_statement(Place::CATALOG, &path, text, statement, ask, (Access::Read, Residue::Clean))
                    .await?;
            }
            SessionPlan::Discard(kind) => self.discard(*kind).await?,
            SessionPlan::Prepare { name, statement: inner, .. } => self.prepare_sql(name, text, inner).await?,
            SessionPlan::Execute { name, arguments } => self.execute_sql(name, arguments, ask).await?,
            SessionPlan::Deallocate { name: None } => {
                self.statements.clear();
                self.complete("DEALLOCATE ALL");
            }
            SessionPlan::Deallocate { name: Some(name) } => {
                if self.statements.remove(name).is_none() {
                    return Err(Error::sql(
                        sqlstate::UNDEFINED_STATEMENT,
                        format!("prepared statement \"{name}\" does not exist"),
                    ));
                }
                self.complete("DEALLOCATE");
            }
            SessionPlan::Declare { name, hold, query } => self.declare(name, *hold, query, statement, ask).await?,
            SessionPlan::Cursor { name } => self.cursor(name.as_deref(), statement, ask).await?,
            SessionPlan::Listen | SessionPlan::Unlisten => {
                let path = self.plain_path();
                self.relay_statement(Place::CATALOG, &path, text, statement, ask, (Access::Read, Residue::Pins))
                    .await?;
                self.note_channels(text, matches!(command, SessionPlan::Listen));
            }
            SessionPlan::Notify => {
                let path = self.plain_path();
                self.relay_statement(Place::CATALOG, &path, text, statement, ask, (Access::Read, Residue::Clean))
                    .await?;
            }
        }
        Ok(())
    }

    /// Runs a SET or RESET on a backend, in a block that is rolled back, and reads the value it gives.
    async fn evaluate_setting(&mut self, text: &str, name: &str) -> Result<String> {
        let show = match name {
            "session_authorization" | "role" => format!("SHOW {name}"),
            _ => format!("SELECT pg_catalog.current_setting({})", quote_literal(name)),
        };
        let mut out = BytesMut::new();
        for sql in ["BEGIN", text, &show, "ROLLBACK"] {
            frontend::query(sql, &mut out);
        }
        let messages = out.freeze();
        let sets = loop {
            let mut lane = self.catalog_lane().await?;
            let sets = lane.exchange(messages.clone(), 4).await;
            lane.state.search_path = None;
            if let Some(sets) = self.answered(lane, sets).await? {
                break sets;
            }
        };
        let value = sets.iter().rev().nth(1).map(|set| set.scalar()).transpose()?.unwrap_or_default();
        if name.eq_ignore_ascii_case("client_encoding") && !matches!(value, "UTF8" | "UNICODE" | "SQL_ASCII") {
            return Err(Error::unsupported(
                format!("client_encoding {value} is not supported"),
                "The coordinator reads statements and rows as UTF8.",
                "Use UTF8 and convert in the client.",
            ));
        }
        Ok(value.to_owned())
    }

    /// Puts a new value (or none) in force, for the transaction only when `local`.
    fn set(&mut self, name: &str, value: Option<String>, local: bool) {
        if name.eq_ignore_ascii_case("search_path") {
            let value = value.unwrap_or_else(|| self.default_search_path.to_string());
            let settings = self.settings.with(name, Some(&value));
            self.apply(settings, local);
            return;
        }
        let settings = self.settings.with(name, value.as_deref());
        self.apply(settings, local);
    }

    fn apply(&mut self, settings: Arc<Settings>, local: bool) {
        if let Some(transaction) = &mut self.transaction
            && !local
        {
            transaction.settings_on_commit = settings.clone();
        }
        self.adopt_settings(settings);
    }

    fn reset_all(&mut self) {
        let kept = ["role", "session_authorization"];
        let settings: Settings = self
            .startup_settings
            .iter()
            .chain(self.settings.iter().filter(|(name, _)| kept.contains(name)))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        self.apply(Arc::new(settings), false);
    }

    /// Settings come into force; the client is told of reported ones that changed.
    pub(super) fn adopt_settings(&mut self, settings: Arc<Settings>) {
        if Arc::ptr_eq(&settings, &self.settings) {
            return;
        }
        self.settings = settings;
        self.reads = Reads::of(&self.settings, &self.worker.cluster.config);
        let path = self.settings.get("search_path").map_or_else(|| self.default_search_path.to_string(), str::to_owned);
        let path = if path.is_empty() { "''".to_owned() } else { path };
        if *path != *self.search_path {
            self.set_search_path(&path);
        }
    }

    /// Tells the client of reported settings that changed, as PostgreSQL does right before ReadyForQuery.
    pub(super) fn report_settings(&mut self) {
        if self.reported_for.as_ref().is_some_and(|settings| Arc::ptr_eq(settings, &self.settings)) {
            return;
        }
        self.reported_for = Some(self.settings.clone());
        for name in REPORTED.iter().filter(|name| **name != "search_path") {
            let value = self.settings.get(name).or_else(|| self.reported_default.get(*name).map(String::as_str));
            let Some(value) = value.map(str::to_owned) else { continue };
            if self.reported.get(*name) != Some(&value) {
                backend::parameter_status(name, &value, &mut self.client.output);
                self.reported.insert((*name).to_owned(), value);
            }
        }
    }

    /// After a statement that called set_config: takes over what it set, so that every backend gets it.
    pub(super) async fn adopt_set_config(&mut self, held: &mut Held, sql: &str) -> Result<()> {
        let mut names = set_config_names(sql);
        // Names that are computed do not show; this one matters all the same.
        names.push(SETTING.to_owned());
        let list: Vec<String> =
            names.iter().map(|name| format!("pg_catalog.current_setting({}, true)", quote_literal(name))).collect();
        let lane = self.lane(held);
        let sets = lane.query(&format!("SELECT {}", list.join(", "))).await?;
        let values = sets.into_iter().next().and_then(|mut set| set.rows.pop()).unwrap_or_default();
        let last = values.last().cloned().flatten().unwrap_or_default();
        if let Err(error) = check_value(&self.worker.cluster, SETTING, &last) {
            self.lane(held).query(&format!("SET {SETTING} = on")).await?;
            return Err(error);
        }
        names.pop();
        // The backend itself has them already, search_path included.
        for (name, value) in names.iter().zip(values) {
            let Some(value) = value else { continue };
            if name == SESSION_TOKEN {
                self.take_token(&value)?;
                continue;
            }
            if let Err(error) = check_own_setting(name, &value) {
                let before = self.settings.get(name).unwrap_or_default().to_owned();
                let back = format!("SELECT set_config({}, {}, false)", quote_literal(name), quote_literal(&before));
                self.lane(held).query(&back).await?;
                return Err(error);
            }
            self.set(name, Some(value), false);
        }
        let (settings, path) = (self.settings.clone(), self.search_path.clone());
        let lane = self.lane(held);
        lane.state.settings = settings;
        lane.state.search_path = Some(path);
        Ok(())
    }

    /// PostgreSQL's own default of the transaction characteristics.
    fn default_of(&self, name: &str) -> Option<&'static str> {
        match name {
            "default_transaction_isolation" => Some("read committed"),
            "default_transaction_read_only" | "default_transaction_deferrable" => Some("off"),
            _ => None,
        }
    }

    fn show_own(&mut self, name: &str, ask: Ask<'_>) -> Result<()> {
        let value = match name {
            "atoll.last_tier" => self.tier.as_str().to_owned(),
            "atoll.version" => env!("CARGO_PKG_VERSION").to_owned(),
            "atoll.merge_engine" | "atoll.early_aggregation" => self.settings.get(name).unwrap_or("auto").to_owned(),
            "atoll.read_preference" => self.reads.preference().name().to_owned(),
            "atoll.max_lag_bytes" => self.reads.max_lag_bytes().to_string(),
            "atoll.max_lag_ms" => self.reads.max_lag_ms().to_string(),
            "atoll.last_node" => self.last_node.clone().unwrap_or_default(),
            _ => {
                return Err(Error::sql("42704", format!("unrecognized configuration parameter \"{name}\"")));
            }
        };
        if matches!(ask, Ask::Simple) {
            push_description(Some(&[column(name, atoll_wire::oid::TEXT, -1)]), &[], &mut self.client.output);
        }
        backend::data_row([Some(value.as_bytes())], &mut self.client.output);
        self.complete("SHOW");
        Ok(())
    }

    async fn discard(&mut self, kind: DiscardKind) -> Result<()> {
        match kind {
            DiscardKind::All => {
                if self.transaction.is_some() {
                    return Err(Error::sql("25001", "DISCARD ALL cannot run inside a transaction block"));
                }
                self.pinned.clear();
                self.channels.clear();
                self.cursors.clear();
                self.statements.clear();
                self.portals.clear();
                self.settings = self.settings.with("role", None).with("session_authorization", None);
                self.reset_all();
                self.complete("DISCARD ALL");
            }
            DiscardKind::Plans => self.complete("DISCARD PLANS"),
            DiscardKind::Sequences => {
                self.on_own_home("DISCARD SEQUENCES").await?;
                self.complete("DISCARD SEQUENCES");
            }
            DiscardKind::Temp => {
                self.on_own_home("DISCARD TEMP").await?;
                self.complete("DISCARD TEMP");
            }
        }
        Ok(())
    }

    /// Runs a statement on the session's own backend at home, if it has one.
    async fn on_own_home(&mut self, sql: &str) -> Result<()> {
        let joined = self.transaction.as_ref().is_some_and(|transaction| transaction.has(Place::HOME));
        if joined {
            let path = self.plain_path();
            self.run_at(Place::HOME, &path, sql, false).await?;
        } else if let Some((_, lane)) = self.pinned.iter_mut().find(|(place, _)| *place == Place::HOME) {
            lane.query(sql).await?;
        }
        Ok(())
    }

    /// SQL's PREPARE: PostgreSQL reads it in the catalog database and tells the parameters' types.
    async fn prepare_sql(&mut self, name: &str, text: &str, inner: &str) -> Result<()> {
        if self.statements.contains_key(name) {
            return Err(Error::sql("42P05", format!("prepared statement \"{name}\" already exists")));
        }
        let described = loop {
            let mut lane = self.catalog_lane().await?;
            let described = async {
                lane.query(text).await?;
                let described = lane.describe_prepared(name).await;
                lane.query(&format!("DEALLOCATE {}", quote_identifier(name))).await?;
                described
            };
            let described = described.await;
            if let Some(described) = self.answered(lane, described).await? {
                break described;
            }
        };
        let statement = self.plan(inner, &described.parameters).await?;
        if let Plan::Refuse(refusal) = &statement.plan {
            return Err(Error::Refused(Box::new(refusal.clone())));
        }
        let _ = statement.description.set(Arc::new(described));
        self.statements.insert(name.to_owned(), Prepared { statement, from_sql: true });
        self.complete("PREPARE");
        Ok(())
    }

    /// SQL's EXECUTE: the arguments are evaluated, then bound as text.
    async fn execute_sql(&mut self, name: &str, arguments: &[String], ask: Ask<'_>) -> Result<()> {
        let prepared = self.statements.get(name).cloned().ok_or_else(|| {
            Error::sql(sqlstate::UNDEFINED_STATEMENT, format!("prepared statement \"{name}\" does not exist"))
        })?;
        let statement = self.fresh(&prepared.statement).await?;
        let description = self.described_before(&prepared.statement, &statement).await?;
        if arguments.len() != description.parameters.len() {
            return Err(Error::sql("42601", format!("wrong number of parameters for prepared statement \"{name}\""))
                .with_detail(format!(
                    "Expected {} parameters but got {}.",
                    description.parameters.len(),
                    arguments.len()
                )));
        }
        let values = self.evaluate(arguments, &description.parameters).await?;
        let result_formats: Vec<i16> = match ask {
            Ask::Simple => Vec::new(),
            Ask::Bound(bound) => bound.result_formats.clone(),
        };
        let mut out = BytesMut::new();
        let parameters: Vec<Option<&[u8]>> = values.iter().map(|value| value.as_deref().map(str::as_bytes)).collect();
        frontend::bind("", "", &[], parameters, &result_formats, &mut out);
        let frame = Frame::from_raw(out.freeze())?;
        let mut bound = Bound::decode(frame, matches!(ask, Ask::Simple))?;
        bound.types.clone_from(&description.parameters);
        Box::pin(self.execute(&statement, Ask::Bound(&bound))).await
    }

    /// Values of SQL expressions, as text of the given types.
    async fn evaluate(&mut self, expressions: &[String], types: &[u32]) -> Result<Vec<Option<String>>> {
        if expressions.is_empty() {
            return Ok(Vec::new());
        }
        let path = self.plain_path();
        let casts: Vec<String> = types.iter().map(|oid| format!("pg_catalog.format_type({oid}, NULL)")).collect();
        let names = self.ask_home(&format!("SELECT {}", casts.join(", ")), &path).await?;
        let list: Vec<String> = expressions
            .iter()
            .zip(&names)
            .map(|(expression, name)| format!("CAST(({expression}) AS {})::text", name.as_deref().unwrap_or("text")))
            .collect();
        self.ask_home(&format!("SELECT {}", list.join(", ")), &path).await
    }

    /// The single row of a query in the catalog database, in the transaction when there is one.
    pub(crate) async fn ask_home(&mut self, sql: &str, path: &Arc<str>) -> Result<Vec<Option<String>>> {
        let sets = if self.transaction.is_some() {
            self.run_at(Place::CATALOG, path, sql, false).await?
        } else {
            self.question(sql).await?
        };
        Ok(sets.into_iter().next().and_then(|mut set| set.rows.pop()).unwrap_or_default())
    }
}

/// Settings that say who the session is.
fn is_identity(name: &str) -> bool {
    matches!(name, "role" | "session_authorization")
}

/// The names that a text's calls of set_config give as literals.
fn set_config_names(sql: &str) -> Vec<String> {
    let all = tokens(sql);
    let mut names = Vec::new();
    for window in all.windows(3) {
        let [function, open, argument] = window else { continue };
        if function.span.of(sql).eq_ignore_ascii_case("set_config")
            && open.span.of(sql) == "("
            && argument.kind == TokenKind::String
        {
            names.push(argument.span.of(sql).trim_matches('\'').to_ascii_lowercase());
        }
    }
    names
}
