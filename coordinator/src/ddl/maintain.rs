//! VACUUM, ANALYZE, REINDEX, CLUSTER, CHECKPOINT in every place they reach.

use atoll_planner::plan::{DdlStep, Maintenance};

use super::alone::OneByOne;
use super::{DdlOutcome, Scope, execute, slices};
use crate::error::Result;
use crate::facts::DatabaseFacts;
use crate::place::{Autocommit, Participants, Place};

/// Runs a maintenance command inside a transaction block.
///
/// # Errors
/// PostgreSQL's own, with the shard or group in CONTEXT (25001 for what it refuses in a block).
pub async fn maintain(
    tx: &mut dyn Participants,
    facts: &DatabaseFacts,
    plan: &Maintenance,
    search_path: &[String],
) -> Result<DdlOutcome> {
    let mut scope = Scope { tx, facts, search_path };
    for step in &plan.steps {
        match step {
            DdlStep::Names(names) => {
                // One by one: a list of columns belongs to one name, and some commands take only one.
                for name in &names.names {
                    for group in scope.groups() {
                        for here in execute::in_group(&scope, name, group)? {
                            scope.group(group, &format!("{}{here}{}", names.head, names.tail)).await?;
                        }
                    }
                }
            }
            DdlStep::Home(sql) => scope.tx.run(Place::HOME, None, sql).await.map(drop)?,
            DdlStep::SchemaSlices { schema, statement } => {
                for colocation in slices::of_schema(&scope, schema) {
                    scope.every_shard(colocation, statement).await?;
                }
            }
            DdlStep::EveryGroup(sql) => scope.every_group(sql).await?,
            _ => {}
        }
    }
    Ok(DdlOutcome { tag: plan.command.to_owned() })
}

/// Runs a maintenance command outside transaction blocks: every statement commits on its own.
///
/// # Errors
/// As [`maintain`].
pub async fn maintain_alone(
    connection: &mut dyn Autocommit,
    facts: &DatabaseFacts,
    plan: &Maintenance,
    search_path: &[String],
) -> Result<DdlOutcome> {
    maintain(&mut OneByOne { connection, as_superuser: false }, facts, plan, search_path).await
}
