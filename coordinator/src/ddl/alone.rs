//! DDL outside transactions: each step commits on its own, and what was made is taken back when a later one fails.

use std::collections::HashSet;

use async_trait::async_trait;
use atoll_planner::directory::TableName;
use atoll_planner::plan::{Ddl, DdlName, DdlStep};

use super::rows::{qualified, regclass};
use super::{DdlOutcome, Scope, execute};
use crate::directory::rows::Rows;
use crate::error::{Error, Result};
use crate::facts::DatabaseFacts;
use crate::lane::ResultSet;
use crate::place::{Autocommit, Kind, Participants, Place};

/// Makes statements that commit one by one look like a transaction to the steps, which do not care.
pub(super) struct OneByOne<'a> {
    pub connection: &'a mut dyn Autocommit,
    /// In data databases, as the superuser: the catalog database has already checked the client's rights.
    pub as_superuser: bool,
}

#[async_trait]
impl Participants for OneByOne<'_> {
    async fn run(&mut self, place: Place, search_path: Option<&str>, sql: &str) -> Result<Vec<ResultSet>> {
        let as_superuser = match place.kind {
            Kind::Data => self.as_superuser,
            Kind::Catalog => false,
            Kind::Directory => true,
        };
        self.connection.run_alone(place, as_superuser, search_path, sql).await
    }

    async fn run_privileged(&mut self, place: Place, sql: &str) -> Result<()> {
        self.connection.run_alone(place, true, None, sql).await.map(drop)
    }

    async fn copy_between(&mut self, _from: (Place, &str), _to: (Place, &str)) -> Result<u64> {
        Err(Error::internal("rows are only copied inside transactions"))
    }
}

/// Runs a DDL plan of mode [`atoll_planner::plan::DdlMode::Autonomous`].
///
/// # Errors
/// As [`super::execute`]; what could be taken back has been.
pub async fn execute_alone(
    connection: &mut dyn Autocommit,
    facts: &DatabaseFacts,
    plan: &Ddl,
    search_path: &[String],
) -> Result<DdlOutcome> {
    match plan.steps.as_slice() {
        [DdlStep::CreateDatabase(new)] => {
            connection.create_database(&new.name, &new.options).await?;
            return Ok(DdlOutcome { tag: plan.command.to_owned() });
        }
        [DdlStep::DropDatabase { name, if_exists, force }] => {
            // A database that is not there is worth a notice in PostgreSQL; it goes unsaid here.
            connection.drop_database(name, *if_exists, *force).await?;
            return Ok(DdlOutcome { tag: plan.command.to_owned() });
        }
        _ => {}
    }
    let mut tx = OneByOne { connection, as_superuser: true };
    let table = plan.steps.iter().find_map(|step| match step {
        DdlStep::UndoIndexes(table) => Some(table),
        _ => None,
    });
    let Some(table) = table else { return execute::execute(&mut tx, facts, plan, search_path).await };
    let before = indexes_of(&mut Scope { tx: &mut tx, facts, search_path }, table).await?;
    let outcome = execute::execute(&mut tx, facts, plan, search_path).await;
    if let Err(error) = &outcome {
        let mut scope = Scope { tx: &mut tx, facts, search_path };
        if let Err(left) = undo(&mut scope, table, &before).await {
            tracing::warn!(%error, %left, table = %table.name.name, "an index that could not be made everywhere was left behind");
        }
    }
    outcome
}

async fn indexes_of(scope: &mut Scope<'_>, table: &DdlName) -> Result<HashSet<TableName>> {
    let sql = format!(
        "SELECT nspname, relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid \
         JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE indrelid = {}",
        regclass(&table.name)
    );
    let results = scope.catalog(&sql).await?;
    results.iter().flat_map(Rows::new).map(|row| Ok(TableName::new(row.text(0)?, row.text(1)?))).collect()
}

/// Drops the indexes that the statement made: in their places first, then in the catalog database, which knows their names.
async fn undo(scope: &mut Scope<'_>, table: &DdlName, before: &HashSet<TableName>) -> Result<()> {
    let made: Vec<TableName> = indexes_of(scope, table).await?.difference(before).cloned().collect();
    for index in made {
        let name = DdlName { before: "", name: index.clone(), whereabouts: table.whereabouts };
        for group in scope.groups() {
            for here in execute::in_group(scope, &name, group)? {
                scope.group(group, &format!("DROP INDEX CONCURRENTLY IF EXISTS {here}")).await?;
            }
        }
        scope.catalog(&format!("DROP INDEX CONCURRENTLY IF EXISTS {}", qualified(&index))).await?;
    }
    Ok(())
}
