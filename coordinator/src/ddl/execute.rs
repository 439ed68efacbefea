//! The steps of a DDL plan, one after another.

use std::collections::HashMap;

use atoll_planner::plan::{Ddl, DdlMode, DdlName, DdlNames, DdlStep, DdlTables, Piece, Template, Whereabouts};
use atoll_planner::{quote_identifier, quote_literal};

use super::reconcile::{self, Known};
use super::rows::regclass;
use super::{Scope, deparse, rules, schemas, slices, views};
use crate::directory::store;
use crate::error::{Error, Result};
use crate::facts::DatabaseFacts;
use crate::lane::ResultSet;
use crate::place::Participants;
use atoll_planner::directory::{GroupIndex, Table, TableName};

/// What the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DdlOutcome {
    pub tag: String,
}

/// Runs a DDL plan inside a transaction; notices of the catalog database are the client's.
///
/// # Errors
/// PostgreSQL's own, with the shard or group in CONTEXT when it is not the catalog database's; 0A000 for what a distributed table
/// cannot be; XX000 for plans that do not run in transactions (see [`super::execute_alone`]).
pub async fn execute(
    tx: &mut dyn Participants,
    facts: &DatabaseFacts,
    plan: &Ddl,
    search_path: &[String],
) -> Result<DdlOutcome> {
    let mut scope = Scope { tx, facts, search_path };
    let mut tag = None;
    let mut known: Option<Known> = None;
    for step in &plan.steps {
        match step {
            DdlStep::Reconcile(tables) => known = Known::read(&mut scope, tables).await?,
            DdlStep::Check(focus) => {
                let mut tables = facts.database.tables.clone();
                let mut focus = named(&tables, focus);
                if let Some(known) = &known {
                    let now = known.tables_now(&mut scope).await?;
                    tables.retain(|name, _| !known.names().any(|before| before == name));
                    focus.extend(now.keys().cloned());
                    tables.extend(now);
                }
                rules::check(&mut scope, &tables, &focus).await?;
            }
            step => run_step(&mut scope, step, &mut tag).await?,
        }
    }
    if let Some(known) = known {
        reconcile::follow(&mut scope, known, &dropped_by_name(&plan.steps)).await?;
    }
    if matches!(plan.command, "CREATE TABLE" | "CREATE TABLE AS" | "SELECT INTO" | "CREATE SCHEMA" | "ALTER TABLE") {
        schemas::adopt(&mut scope).await?;
    }
    // LOCK TABLE changes nothing, and may stand in a transaction that is READ ONLY.
    if plan.mode != DdlMode::BlockOnly {
        scope.directory(&store::bump_catalog(&facts.name)).await?;
    }
    Ok(DdlOutcome { tag: tag.unwrap_or_else(|| plan.command.to_owned()) })
}

async fn run_step(scope: &mut Scope<'_>, step: &DdlStep, tag: &mut Option<String>) -> Result<()> {
    match step {
        DdlStep::Catalog(sql) => *tag = last_tag(&scope.catalog(sql).await?),
        DdlStep::Home(sql) => {
            let answered = last_tag(&scope.home(sql).await?);
            // CREATE TABLE AS and its kin: rows are counted where they are.
            if let Some(counted) = answered.filter(|answered| answered.starts_with("SELECT ")) {
                *tag = Some(counted);
            }
        }
        DdlStep::EveryGroup(sql) => scope.every_group(sql).await?,
        DdlStep::OtherGroups(sql) => scope.others(sql).await?,
        DdlStep::Shards { colocation, statement } => scope.every_shard(*colocation, statement).await?,
        DdlStep::SchemaSlices { schema, statement } => {
            for colocation in slices::of_schema(scope, schema) {
                scope.every_shard(colocation, statement).await?;
            }
        }
        DdlStep::Names(names) => {
            for group in scope.groups() {
                for sql in for_group(scope, names, group)? {
                    scope.group(group, &sql).await?;
                }
            }
        }
        DdlStep::View(view) => {
            if let Some(counted) = views::create(scope, view).await? {
                *tag = Some(counted);
            }
        }
        DdlStep::TableFromCatalog { name } => deparse::create_at_home(scope, name).await?,
        DdlStep::EnsureSlices { schema, colocation } => slices::ensure(scope, schema, *colocation).await?,
        DdlStep::DropSlices { schemas } => slices::drop(scope, schemas).await?,
        DdlStep::RenameSlices { from, to } => slices::rename(scope, from, to).await?,
        DdlStep::RestartSequences(tables) => reconcile::restart_sequences(scope, tables).await?,
        DdlStep::Evaluated { expressions, steps } => {
            let values = evaluate(scope, expressions).await?;
            for step in steps {
                Box::pin(run_step(scope, &with_values(step, &values)?, tag)).await?;
            }
        }
        DdlStep::NamedIndex { table, step } => {
            let name = newest_index(scope, table).await?;
            Box::pin(run_step(scope, &with_values(step, &[quote_identifier(&name)])?, tag)).await?;
        }
        DdlStep::Nothing | DdlStep::Check(_) | DdlStep::Reconcile(_) | DdlStep::UndoIndexes(_) => {}
        DdlStep::CreateDatabase(_) | DdlStep::DropDatabase { .. } => {
            return Err(Error::internal("a database cannot be created or dropped inside a transaction"));
        }
    }
    Ok(())
}

/// The tables a step is about; those that are named need not be in the directory.
pub(super) fn named(tables: &HashMap<TableName, Table>, which: &DdlTables) -> Vec<TableName> {
    match which {
        DdlTables::All => tables.keys().cloned().collect(),
        DdlTables::These(names) => names.clone(),
        DdlTables::InSchemas(schemas) => tables.keys().filter(|name| schemas.contains(&name.schema)).cloned().collect(),
    }
}

/// The name of the index that this statement has just made on a table in the catalog database.
async fn newest_index(scope: &mut Scope<'_>, table: &TableName) -> Result<String> {
    let sql = format!(
        "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE indrelid = {} \
         ORDER BY indexrelid DESC LIMIT 1",
        regclass(table)
    );
    let results = scope.catalog(&sql).await?;
    results.first().ok_or_else(|| Error::internal("the catalog answered oddly"))?.scalar().map(str::to_owned)
}

/// The values of expressions as literals, computed once.
async fn evaluate(scope: &mut Scope<'_>, expressions: &[String]) -> Result<Vec<String>> {
    let list: Vec<String> = expressions.iter().map(|expression| format!("({expression})::text")).collect();
    let results = scope.home(&format!("SELECT {}", list.join(", "))).await?;
    let row = results.first().and_then(|set| set.rows.first()).ok_or_else(|| Error::internal("home answered oddly"))?;
    Ok(row.iter().map(|value| value.as_deref().map_or_else(|| "NULL".to_owned(), quote_literal)).collect())
}

/// A step with values where their marks are.
fn with_values(step: &DdlStep, values: &[String]) -> Result<DdlStep> {
    let fill = |text: &str| {
        values
            .iter()
            .enumerate()
            .fold(text.to_owned(), |text, (index, value)| text.replace(&DdlStep::value_mark(index), value))
    };
    Ok(match step {
        DdlStep::Home(sql) => DdlStep::Home(fill(sql)),
        DdlStep::EveryGroup(sql) => DdlStep::EveryGroup(fill(sql)),
        DdlStep::OtherGroups(sql) => DdlStep::OtherGroups(fill(sql)),
        DdlStep::Shards { colocation, statement } => {
            let fill_piece = |piece: &Piece| match piece {
                Piece::Text(text) => Piece::Text(fill(text)),
                Piece::Slice(schema) => Piece::Slice(schema.clone()),
            };
            let pieces = statement.pieces.iter().map(fill_piece).collect();
            DdlStep::Shards { colocation: *colocation, statement: Template { pieces } }
        }
        _ => return Err(Error::internal("a step that takes no values")),
    })
}

pub(super) fn last_tag(results: &[ResultSet]) -> Option<String> {
    results.last().map(|set| set.tag.clone())
}

/// The statement for one group, over what of the list is there; none when nothing is. Of those that take a single name, one for each.
fn for_group(scope: &Scope<'_>, names: &DdlNames, group: GroupIndex) -> Result<Vec<String>> {
    let mut here = Vec::new();
    for name in &names.names {
        here.extend(in_group(scope, name, group)?);
    }
    let statement = |list: &str| format!("{}{list}{}", names.head, names.tail);
    Ok(if names.head.contains("CONCURRENTLY") {
        here.iter().map(|name| statement(name)).collect()
    } else if here.is_empty() {
        Vec::new()
    } else {
        vec![statement(&here.join(", "))]
    })
}

/// The names under which a relation is in a group: one per shard when it is distributed.
pub(super) fn in_group(scope: &Scope<'_>, name: &DdlName, group: GroupIndex) -> Result<Vec<String>> {
    let qualified =
        |schema: &str| format!("{}{}.{}", name.before, quote_identifier(schema), quote_identifier(&name.name.name));
    Ok(match name.whereabouts {
        Whereabouts::Catalog => Vec::new(),
        Whereabouts::Home if group != atoll_planner::directory::Directory::HOME => Vec::new(),
        Whereabouts::Home | Whereabouts::EveryGroup => vec![qualified(&name.name.schema)],
        Whereabouts::Shards(colocation) => {
            let shards = scope.shards(colocation)?.remove(&group).unwrap_or_default();
            shards.iter().map(|shard| qualified(&shard.id.schema(&name.name.schema))).collect()
        }
    })
}

/// Tables that the plan itself drops in their shards.
fn dropped_by_name(steps: &[DdlStep]) -> Vec<TableName> {
    steps
        .iter()
        .filter_map(|step| match step {
            DdlStep::Names(names) if names.head.starts_with("DROP ") => Some(&names.names),
            _ => None,
        })
        .flatten()
        .map(|name| name.name.clone())
        .collect()
}
