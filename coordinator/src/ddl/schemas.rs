//! Distributed schemas: their tables, those created later too, are together on one shard, and need no key.

use atoll_planner::directory::{ColocationId, KeyColumn, Method, Table, TableName};
use atoll_planner::plan::Distribute;
use atoll_planner::quote_literal;

use super::carve::named_group;
use super::distribute::{into_shards, return_home};
use super::distribution_call::by_name;
use super::rows::values;
use super::{Scope, spread};
use crate::directory::rows::Rows;
use crate::directory::store;
use crate::error::{Error, Result};

/// Moves the tables of a schema to a shard of their own, on a group that is named, or on the one with the fewest shards.
///
/// # Errors
/// 3F000 when there is no such schema, 42501 when it is another's, 42P16 when it is distributed, or one of its tables is.
pub(super) async fn distribute(mut scope: Scope<'_>, call: &Distribute) -> Result<()> {
    let scope = &mut scope;
    let [schema, group] = by_name(call, ["schema_name", "group"], 1)?;
    let schema = owned_schema(scope, schema.unwrap_or("NULL")).await?;
    if schema == "public" || schema.starts_with("pg_") || schema == "information_schema" {
        return Err(Error::unsupported(
            format!("schema \"{schema}\" cannot be distributed"),
            "It belongs to PostgreSQL, or is the one that all new tables are in.",
            "Put the tables into a schema of their own first.",
        ));
    }
    if scope.facts.database.schemas.contains_key(&schema) {
        return Err(Error::sql("42P16", format!("schema \"{schema}\" is already distributed")));
    }
    let spread = scope.facts.database.tables.iter().find(|(name, _)| name.schema == schema);
    if let Some((name, _)) = spread {
        return Err(Error::sql(
            "42P16",
            format!("table \"{}\" of schema \"{schema}\" is already distributed", name.name),
        )
        .with_hint("Use undistribute_table first."));
    }
    let group = named_group(scope, group).await?.unwrap_or_else(|| scope.least_loaded_group());
    let key_type = KeyColumn::none().key_type;
    let sql = store::add_single_colocation(&scope.facts.name, Method::Schema, Some(key_type), group);
    let added = scope.directory(&sql).await?;
    let last = added.last().ok_or_else(|| Error::internal("the directory answered oddly"))?;
    let (id, colocation) = store::added_colocation(last, &scope.facts.directory, Method::Schema, Some(key_type))?;
    scope.directory(&store::add_schema(&scope.facts.name, &schema, id)).await?;
    let tables = tables_at_home(scope, std::slice::from_ref(&schema)).await?;
    spread_tables(scope, tables, id, &colocation).await
}

/// Makes the tables of a distributed schema unsharded again.
///
/// # Errors
/// 3F000, 42501 as for distributing; 42P16 when the schema is not distributed.
pub(super) async fn undistribute(mut scope: Scope<'_>, call: &Distribute) -> Result<()> {
    let scope = &mut scope;
    let [schema] = by_name(call, ["schema_name"], 1)?;
    let schema = owned_schema(scope, schema.unwrap_or("NULL")).await?;
    let Some(id) = scope.facts.database.schemas.get(&schema).copied() else {
        return Err(Error::sql("42P16", format!("schema \"{schema}\" is not distributed")));
    };
    let mut tables = Vec::new();
    for (name, table) in &scope.facts.database.tables {
        if matches!(table, Table::Distributed { colocation, .. } if *colocation == id) {
            tables.push(name.clone());
        }
    }
    tables.sort();
    if !tables.is_empty() {
        return_home(scope, &tables, id).await?;
    }
    scope.directory(&store::remove_schema(&scope.facts.name, &schema, id)).await.map(drop)
}

/// Moves tables that a statement has just made in distributed schemas where they belong.
///
/// # Errors
/// As for `create_distributed_table`.
pub(super) async fn adopt(scope: &mut Scope<'_>) -> Result<()> {
    let schemas: Vec<String> = scope.facts.database.schemas.keys().cloned().collect();
    if schemas.is_empty() {
        return Ok(());
    }
    let mut found = tables_at_home(scope, &schemas).await?;
    found.retain(|name| !scope.facts.database.tables.contains_key(name));
    if found.is_empty() {
        return Ok(());
    }
    // Those of another session are in the catalog as soon as it commits, but never at home.
    // Their schemas may be closed to this session's role.
    let sql = format!(
        "SELECT EXISTS (SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
             WHERE nspname = schema AND relname = name) FROM {}",
        values(&found)
    );
    let results = scope.home(&sql).await?;
    let here: Vec<bool> = results.iter().flat_map(Rows::new).map(|row| row.is_true(0)).collect();
    let mut here = here.into_iter();
    found.retain(|_| here.next().unwrap_or(false));
    for schema in schemas {
        let tables: Vec<TableName> = found.iter().filter(|name| name.schema == schema).cloned().collect();
        let Some(id) = scope.facts.database.schemas.get(&schema).copied().filter(|_| !tables.is_empty()) else {
            continue;
        };
        let colocation = scope.facts.database.colocations[&id].clone();
        spread_tables(scope, tables, id, &colocation).await?;
    }
    Ok(())
}

async fn spread_tables(
    scope: &mut Scope<'_>,
    tables: Vec<TableName>,
    id: ColocationId,
    colocation: &atoll_planner::directory::Colocation,
) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    let mut locked = Vec::with_capacity(tables.len());
    for table in tables {
        let state = spread::lock_catalog(scope, &table).await?;
        state.check_keyless(scope.facts, &table)?;
        spread::lock_home(scope, &table).await?;
        locked.push((table, state));
    }
    into_shards(scope, &locked, (id, colocation), &KeyColumn::none()).await
}

/// Ordinary tables of schemas, partitions and the like aside, which stay at home.
async fn tables_at_home(scope: &mut Scope<'_>, schemas: &[String]) -> Result<Vec<TableName>> {
    let listed: Vec<String> = schemas.iter().map(|schema| quote_literal(schema)).collect();
    let sql = format!(
        "SELECT nspname, relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
         WHERE nspname IN ({}) AND relkind = 'r' AND relpersistence <> 't' AND NOT relispartition AND reloftype = 0 \
             AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = pg_class.oid OR inhparent = pg_class.oid) \
         ORDER BY pg_class.oid",
        listed.join(", ")
    );
    let results = scope.catalog(&sql).await?;
    results.iter().flat_map(Rows::new).map(|row| Ok(TableName::new(row.text(0)?, row.text(1)?))).collect()
}

/// The schema that an expression names, which must be the session's own.
async fn owned_schema(scope: &mut Scope<'_>, expression: &str) -> Result<String> {
    let sql = format!(
        "SELECT nspname, pg_has_role(nspowner, 'USAGE') FROM pg_namespace WHERE oid = (({expression})::text)::regnamespace"
    );
    let results = scope.catalog(&sql).await?;
    let Some(row) = results.first().and_then(|set| Rows::new(set).next()) else {
        return Err(Error::sql("3F000", "the schema does not exist"));
    };
    if row.text(1)? != "t" {
        return Err(Error::sql("42501", format!("must be owner of schema {}", row.text(0)?)));
    }
    Ok(row.text(0)?.to_owned())
}
