//! Statements that one backend does not answer: over many shards, groups, or the catalog.

pub mod copy;
mod copy_in;
mod copy_rows;
mod datafusion;
mod insert;
mod merge;
pub mod route;
mod scatter;
mod stage;
mod virtual_text;
mod write;

use std::sync::Arc;

use atoll_planner::plan::{DdlMode, Many, Plan, Sharded};
use atoll_wire::backend;

use self::route::Route;
use crate::ddl;
use crate::error::{Error, Result};
use crate::place::Place;
use crate::plans::Statement;
use crate::session::describe::VOID;
use crate::session::simple::Ask;
use crate::session::{Session, Tier};

impl Session {
    /// A statement on distributed tables: relayed when its keys leave one shard.
    ///
    /// # Errors
    /// The statement's.
    pub async fn sharded(&mut self, sharded: &Sharded, statement: &Arc<Statement>, ask: Ask<'_>) -> Result<()> {
        let bound = match ask {
            Ask::Simple => None,
            Ask::Bound(bound) => Some(bound),
        };
        let route = self.route(sharded.colocation, sharded.key_type, &sharded.keys, bound).await?;
        let shards = match route {
            Route::One(shard) => {
                let path = self.shard_path(shard.id);
                let rendered = (!sharded.single.is_verbatim()).then(|| sharded.single.render(shard.id));
                let sql = rendered.as_deref().unwrap_or(&statement.text);
                let effects = (sharded.access, sharded.residue);
                return self.relay_statement(Place::data(shard.group), &path, sql, statement, ask, effects).await;
            }
            Route::Many(shards) => shards,
        };
        match &sharded.many {
            Many::Refuse(refusal) => Err(Error::Refused(Box::new(refusal.clone()))),
            Many::Merge(merge) => self.merge(merge, statement, ask, (sharded.access, sharded.residue)).await,
            Many::Write(write) => {
                self.in_transaction(async |session: &mut Self| session.write_many(write, &shards, statement, ask).await).await
            }
        }
    }

    /// Statements that take a transaction over several places, which is opened for them when there is none.
    ///
    /// # Errors
    /// The statement's.
    pub async fn execute_widely(&mut self, statement: &Arc<Statement>, ask: Ask<'_>) -> Result<()> {
        self.tier = Tier::Coordinator;
        let facts = self.facts();
        let names = self.path_names();
        match &statement.plan {
            Plan::Ddl(plan) if plan.mode == DdlMode::Autonomous => {
                self.refuse_block(plan.command)?;
                let outcome = ddl::execute_alone(self, &facts, plan, &names).await?;
                self.catalog_changed().await?;
                backend::command_complete(&outcome.tag, &mut self.client.output);
                Ok(())
            }
            Plan::Ddl(plan) => {
                let explicit = self.transaction.as_ref().is_some_and(|transaction| transaction.explicit);
                if plan.mode == DdlMode::BlockOnly && !explicit {
                    return Err(Error::sql("25P01", format!("{} can only be used in transaction blocks", plan.command)));
                }
                self.in_transaction(async |session: &mut Self| {
                    let outcome = ddl::execute(session, &facts, plan, &names).await?;
                    session.facts_changed().await?;
                    Ok(outcome.tag)
                })
                .await
            }
            Plan::Distribute(call) => {
                self.in_transaction(async |session: &mut Self| {
                    ddl::distribute(session, &facts, call, &names).await?;
                    session.facts_changed().await?;
                    if matches!(ask, Ask::Simple) {
                        let column = crate::session::describe::column(&call.column, VOID, 4);
                        backend::row_description(&[column], &mut session.client.output);
                    }
                    backend::data_row([Some(&b""[..])], &mut session.client.output);
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
            Plan::ReferenceWrite(write) => {
                self.in_transaction(async |session: &mut Self| session.write_reference(write, statement, ask).await).await
            }
            Plan::Copy(plan) => self.copy(plan, statement, ask).await,
            _ => Err(Error::internal("a plan that is executed elsewhere")),
        }
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
