//! Statements that one backend does not answer: over many shards, groups, or the catalog.

pub mod copy;
mod copy_in;
mod copy_rows;
mod datafusion;
mod explain;
mod insert;
mod insert_select;
mod join;
mod limit;
mod merge;
pub mod route;
mod scatter;
mod several;
mod sources;
mod stage;
mod steps;
mod virtual_text;
mod write;

use std::sync::Arc;

use atoll_planner::directory::ShardId;
use atoll_planner::plan::{Ddl, DdlMode, DdlStep, Many, Plan, Sharded};
use atoll_planner::quote_literal;
use atoll_wire::backend::{self, ErrorFields, decode};
use atoll_wire::frames::peek;
use atoll_wire::frontend::format_of;

pub use self::limit::Expected;
use self::route::Route;
pub use self::several::Long;
use crate::ddl;
use crate::directory::bootstrap;
use crate::error::{Error, Result};
use crate::facts::DatabaseFacts;
use crate::place::Place;
use crate::plans::Statement;
use crate::session::describe;
use crate::session::simple::Ask;
use crate::session::{Session, Tier};

impl Session {
    /// A statement on distributed tables: relayed when its keys leave one shard.
    ///
    /// # Errors
    /// The statement's.
    pub async fn sharded(&mut self, sharded: &Sharded, statement: &Arc<Statement>, ask: Ask<'_>) -> Result<()> {
        let bound = ask.bound();
        let route = match self.route(sharded.colocation, sharded.key_type, &sharded.keys, bound).await {
            Ok(route) => route,
            Err(error) if bound.is_none() && error.sqlstate() == "42P02" => {
                // A parameter without a value: it fails there, too, and PostgreSQL says where.
                let judged = self.question(&statement.text).await;
                return Err(judged.err().unwrap_or(error));
            }
            Err(error) if bound.is_none() => {
                // PostgreSQL's own words for a literal that is no key, with its place in the text.
                self.describe(statement).await?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        let shards = match route {
            Route::One(shard) => {
                let (path, rendered) = self.on_shard(sharded, shard.id);
                let sql = rendered.as_deref().unwrap_or(&statement.text);
                let effects = (sharded.access, sharded.residue);
                if sharded.views && ask.describes() {
                    let description = self.describe(statement).await?;
                    let there = (Place::data(shard.group), &path);
                    return self.relay_described((&description, &[]), there, sql, statement, ask, effects).await;
                }
                return self.relay_statement(Place::data(shard.group), &path, sql, statement, ask, effects).await;
            }
            Route::Many(shards) => shards,
        };
        match &sharded.many {
            Many::Refuse(refusal) => Err(self.refusal(refusal, statement).await),
            Many::Merge(merge) => self.merge(merge, statement, ask, (sharded.access, sharded.residue)).await,
            Many::Write(write) => {
                // PostgreSQL judges the client's own text first.
                self.describe(statement).await?;
                self.in_transaction(async |session: &mut Self| session.write_many(write, &shards, statement, ask).await)
                    .await
            }
        }
    }

    /// The search_path for a statement on one shard, and its text there, with its marks, when it is not the client's own.
    pub fn on_shard(&mut self, sharded: &Sharded, shard: ShardId) -> (Arc<str>, Option<String>) {
        let rendered = (!sharded.single.is_verbatim()).then(|| sharded.single.render_marked(shard));
        (self.path_on_shard(sharded, shard), rendered)
    }

    /// The search_path for a statement on one shard.
    pub fn path_on_shard(&mut self, sharded: &Sharded, shard: ShardId) -> Arc<str> {
        if sharded.qualified { self.plain_path() } else { self.shard_path(shard) }
    }

    /// Statements that take a transaction over several places, which is opened for them when there is none.
    ///
    /// # Errors
    /// The statement's.
    pub async fn execute_widely(&mut self, statement: &Arc<Statement>, ask: Ask<'_>) -> Result<()> {
        self.tier = Tier::Coordinator;
        let facts = self.facts();
        let names = self.path_names();
        if matches!(statement.plan, Plan::Insert(_) | Plan::InsertSelect(_)) {
            self.describe(statement).await?;
        }
        match &statement.plan {
            Plan::Ddl(plan) if plan.mode == DdlMode::Autonomous => {
                self.refuse_block(plan.command)?;
                if let [step @ (DdlStep::CreateDatabase(_) | DdlStep::DropDatabase { .. })] = plan.steps.as_slice() {
                    return self.change_database(step, plan.command).await;
                }
                let outcome = ddl::execute_alone(self, &facts, plan, &names).await?;
                self.catalog_changed().await?;
                backend::command_complete(&outcome.tag, &mut self.client.output);
                Ok(())
            }
            Plan::Ddl(plan) => {
                let explicit = self.transaction.as_ref().is_some_and(|transaction| transaction.explicit);
                if plan.mode == DdlMode::BlockOnly && !explicit {
                    return Err(Error::sql(
                        "25P01",
                        format!("{} can only be used in transaction blocks", plan.command),
                    ));
                }
                if plan.mode == DdlMode::BlockOnly {
                    return self.lock_tables(plan, &facts, &names).await;
                }
                self.in_transaction(async |session: &mut Self| {
                    session.lock_definitions().await?;
                    let outcome = ddl::execute(session, &facts, plan, &names).await?;
                    session.facts_changed().await?;
                    Ok(outcome.tag)
                })
                .await
            }
            Plan::CreateAs(plan) => {
                self.in_transaction(async |session: &mut Self| {
                    session.lock_definitions().await?;
                    let created = ddl::execute(session, &facts, &plan.table, &names).await?;
                    session.facts_changed().await?;
                    match &plan.fill {
                        Some(insert) => session.fill(insert).await,
                        None => Ok(created.tag),
                    }
                })
                .await
            }
            Plan::Distribute(call) => {
                self.in_transaction(async |session: &mut Self| {
                    session.lock_definitions().await?;
                    let shard = ddl::distribute(session, &facts, call, &names).await?;
                    session.facts_changed().await?;
                    if matches!(ask, Ask::Simple) {
                        backend::row_description(&[describe::of_distribute(call)], &mut session.client.output);
                    }
                    let binary = matches!(ask, Ask::Bound(bound) if format_of(&bound.result_formats, 0) == 1);
                    let value = match shard {
                        None => Vec::new(),
                        Some(shard) if binary => shard.0.to_be_bytes().to_vec(),
                        Some(shard) => shard.0.to_string().into_bytes(),
                    };
                    backend::data_row([Some(&value[..])], &mut session.client.output);
                    Ok("SELECT 1".to_owned())
                })
                .await
            }
            Plan::Maintenance(plan) if plan.mode == DdlMode::Autonomous => {
                self.refuse_block(plan.command)?;
                let outcome = ddl::maintain_alone(self, &facts, plan, &names).await?;
                backend::command_complete(&outcome.tag, &mut self.client.output);
                Ok(())
            }
            Plan::Maintenance(plan) => {
                self.in_transaction(async |session: &mut Self| {
                    Ok(ddl::maintain(session, &facts, plan, &names).await?.tag)
                })
                .await
            }
            Plan::Insert(insert) => {
                self.in_transaction(async |session: &mut Self| session.insert(insert, statement, ask).await).await
            }
            Plan::InsertSelect(insert) => {
                self.in_transaction(async |session: &mut Self| session.insert_select(insert, statement, ask).await)
                    .await
            }
            Plan::WriteWith(write) => {
                self.in_transaction(async |session: &mut Self| session.write_with(write, statement, ask).await).await
            }
            Plan::Steps(plan) => {
                self.in_transaction(async |session: &mut Self| session.run_steps(plan, statement, ask).await).await
            }
            Plan::ReferenceWrite(write) => {
                self.in_transaction(async |session: &mut Self| session.write_reference(write, statement, ask).await)
                    .await
            }
            Plan::Copy(plan) => self.copy(plan, statement, ask).await,
            _ => Err(Error::internal("a plan that is executed elsewhere")),
        }
    }

    /// Fills the table that CREATE TABLE AS has made; yields its command tag.
    async fn fill(&mut self, insert: &str) -> Result<String> {
        let statement = self.plan(insert, &[]).await?;
        let mut produced = self.execute_into_buffer(&statement, Ask::Simple).await?.freeze();
        let mut rows = 0;
        while let Some((tag, length)) = peek(&produced) {
            let frame = produced.split_to(length.min(produced.len()));
            if tag == b'C' {
                rows = decode::rows_of_tag(decode::command_complete(&frame[5..])?).unwrap_or(0);
            }
        }
        self.tier = Tier::Coordinator;
        Ok(format!("SELECT {rows}"))
    }

    /// Runs work in the session's transaction, or in one of its own that is committed before the command tag goes out.
    ///
    /// # Errors
    /// The work's, and the commit's.
    pub async fn in_transaction(&mut self, work: impl AsyncFnOnce(&mut Self) -> Result<String>) -> Result<()> {
        let alone = self.transaction.is_none();
        self.open_implicit();
        let outcome = work(self).await;
        let command_tag = match outcome {
            Ok(command_tag) => command_tag,
            Err(error) => {
                self.note_failure();
                if alone {
                    let _ = self.end_transaction(false).await;
                    return Err(error.undone());
                }
                return Err(error);
            }
        };
        if alone {
            self.end_transaction(true).await?;
        }
        backend::command_complete(&command_tag, &mut self.client.output);
        Ok(())
    }

    /// LOCK TABLE: reaches the tables' places, and makes no writer of any of them.
    async fn lock_tables(&mut self, plan: &Ddl, facts: &DatabaseFacts, names: &[String]) -> Result<()> {
        let wrote: Vec<Place> = self
            .transaction
            .iter()
            .flat_map(|transaction| &transaction.participants)
            .filter(|participant| participant.wrote)
            .map(|participant| participant.place)
            .collect();
        let outcome = ddl::execute(self, facts, plan, names).await?;
        if let Some(transaction) = &mut self.transaction {
            for participant in &mut transaction.participants {
                participant.wrote = wrote.contains(&participant.place);
            }
        }
        backend::command_complete(&outcome.tag, &mut self.client.output);
        Ok(())
    }

    /// CREATE and DROP DATABASE: the logical database, and its data databases on every group.
    async fn change_database(&mut self, step: &DdlStep, command: &str) -> Result<()> {
        let keeper = self.worker.cluster.keeper.clone();
        let role = self.role.clone();
        match step.clone() {
            DdlStep::CreateDatabase(database) => {
                let work =
                    async move { bootstrap::create_database(&keeper, &role, &database.name, &database.options).await };
                self.worker.cluster.on_control(work).await?;
            }
            DdlStep::DropDatabase { name, if_exists, .. } => {
                if *name == *self.database {
                    return Err(Error::sql("55006", "cannot drop the currently open database"));
                }
                let dropped = name.clone();
                let work = async move { bootstrap::drop_database(&keeper, &role, &dropped, if_exists).await };
                if !self.worker.cluster.on_control(work).await? {
                    let message = format!("database \"{name}\" does not exist, skipping");
                    backend::notice_response(&ErrorFields::new("NOTICE", "00000", message), &mut self.client.output);
                }
            }
            _ => return Err(Error::internal("not a database's statement")),
        }
        backend::command_complete(command, &mut self.client.output);
        Ok(())
    }

    /// Statements that change what exists in a database wait for each other here, before they hold locks in several places.
    async fn lock_definitions(&mut self) -> Result<()> {
        let path = self.plain_path();
        let sql = format!(
            "SELECT pg_catalog.pg_advisory_xact_lock(7223, pg_catalog.hashtext({}))",
            quote_literal(&self.database)
        );
        self.run_at(Place::DIRECTORY, &path, &sql, false).await.map(drop)
    }

    /// 25001 inside a transaction block.
    ///
    /// # Errors
    /// As said.
    pub fn refuse_block(&self, command: &str) -> Result<()> {
        if self.transaction.is_some() {
            return Err(Error::sql("25001", format!("{command} cannot run inside a transaction block")));
        }
        Ok(())
    }

    /// The catalog or the directory changed in this transaction: what follows is planned against what it sees.
    ///
    /// # Errors
    /// PostgreSQL's own.
    pub async fn facts_changed(&mut self) -> Result<()> {
        let keeper = self.worker.cluster.keeper.clone();
        let database = self.database.clone();
        let facts = keeper.facts_within(self, &database).await?;
        if let Some(transaction) = &mut self.transaction {
            transaction.facts = Some(facts);
            transaction.catalog_changed = true;
        }
        self.refresh_path_names();
        Ok(())
    }

    /// The catalog or the directory changed outside a transaction.
    async fn catalog_changed(&mut self) -> Result<()> {
        let keeper = self.worker.cluster.keeper.clone();
        self.worker.cluster.on_control(async move { keeper.refresh().await }).await?;
        self.facts_now().await
    }
}
