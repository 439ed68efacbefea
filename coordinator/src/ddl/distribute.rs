//! `create_distributed_table`, `create_reference_table` and `undistribute_table`: a table changes places, rows and all, in one transaction.

use std::collections::BTreeSet;
use std::sync::Arc;

use atoll_planner::directory::{
    Colocation, ColocationId, Database, Directory, KeyColumn, Shard, ShardId, Table, TableName,
};
use atoll_planner::plan::{Distribute, DistributeFunction};
use atoll_planner::{quote_identifier, quote_literal};

use super::deparse::{Definition, OwnedSequence, Target};
use super::distribution_call::{self, Call};
use super::rows::qualified;
use super::spread::{self, TableState};
use super::views::{self, Dependent};
use super::{Scope, by_group, carve, key, rules, schemas, shard_path, slices};
use crate::directory::rows::Rows;
use crate::directory::store;
use crate::error::{Error, Result};
use crate::facts::DatabaseFacts;
use crate::place::{Participants, Place};

/// Answers a call inside a transaction: a shard's number, or nothing.
///
/// # Errors
/// 42P16 when the table is spread already (or not at all), 0A000 with DETAIL and HINT for what cannot be, 23502 for rows without a key;
/// PostgreSQL's own.
pub async fn distribute(
    tx: &mut dyn Participants,
    facts: &DatabaseFacts,
    call: &Distribute,
    search_path: &[String],
) -> Result<Option<ShardId>> {
    let mut scope = Scope { tx, facts, search_path };
    match call.function {
        DistributeFunction::AddRangeShard => return carve::add_range_shard(scope, call).await.map(Some),
        DistributeFunction::AssignKey => return carve::assign_key(scope, call).await.map(Some),
        DistributeFunction::DistributeSchema => return schemas::distribute(scope, call).await.map(|()| None),
        DistributeFunction::UndistributeSchema => return schemas::undistribute(scope, call).await.map(|()| None),
        DistributeFunction::CreateDistributedTable
        | DistributeFunction::CreateReferenceTable
        | DistributeFunction::UndistributeTable => {}
    }
    let wanted = distribution_call::read(&mut scope, call).await?;
    let spread = facts.database.tables.get(&wanted.table);
    match (call.function, spread) {
        (DistributeFunction::UndistributeTable, Some(Table::Distributed { key, .. })) if key.is_none() => {
            Err(Error::sql("42P16", format!("table \"{}\" belongs to a distributed schema", wanted.table.name))
                .with_hint("Use atoll.undistribute_schema, or move the table to another schema first."))
        }
        (DistributeFunction::UndistributeTable, Some(spread)) => undistribute(scope, &wanted.table, spread).await,
        (DistributeFunction::UndistributeTable, None) => Err(Error::sql(
            "42P16",
            format!("cannot undistribute table \"{}\": it is not distributed", wanted.table.name),
        )),
        (_, Some(Table::Distributed { .. })) => {
            Err(Error::sql("42P16", format!("table \"{}\" is already distributed", wanted.table.name)))
        }
        (_, Some(Table::Reference)) => {
            Err(Error::sql("42P16", format!("table \"{}\" is already a reference table", wanted.table.name))
                .with_hint("Use undistribute_table first."))
        }
        (DistributeFunction::CreateReferenceTable, None) => create_reference(scope, &wanted.table).await,
        (_, None) => create_distributed(scope, &wanted).await,
    }
    .map(|()| None)
}

/// The facts as they will be with another directory.
fn with_database(facts: &DatabaseFacts, database: Database) -> DatabaseFacts {
    DatabaseFacts {
        id: facts.id,
        name: facts.name.clone(),
        directory_version: facts.directory_version,
        directory: Arc::clone(&facts.directory),
        database,
        catalog: facts.catalog.clone(),
        user_types: Default::default(),
        types: Default::default(),
        views: Default::default(),
        floors: Default::default(),
    }
}

async fn create_distributed(mut scope: Scope<'_>, wanted: &Call) -> Result<()> {
    let table = &wanted.table;
    let state = spread::lock_catalog(&mut scope, table).await?;
    state.check(scope.facts, table, true)?;
    spread::lock_home(&mut scope, table).await?;
    let column = wanted.key.as_deref().unwrap_or_default();
    let key = spread::key_column(&mut scope, table, column).await?;
    let (id, colocation) = spread::choose(&mut scope, wanted, &key).await?;
    into_shards(&mut scope, &[(table.clone(), state)], (id, &colocation), &key).await
}

/// Moves tables at home, which the transaction has locked, into the shards of a co-location group, and enters them in the directory.
///
/// # Errors
/// 0A000 for what cannot be, 23502 for rows without a key; PostgreSQL's own.
pub(super) async fn into_shards(
    scope: &mut Scope<'_>,
    tables: &[(TableName, TableState)],
    (id, colocation): (ColocationId, &Colocation),
    key: &KeyColumn,
) -> Result<()> {
    let spread = Table::Distributed { colocation: id, key: key.clone() };
    let mut database = scope.facts.database.clone();
    database.tables.extend(tables.iter().map(|(table, _)| (table.clone(), spread.clone())));
    database.colocations.insert(id, colocation.clone());
    let names: Vec<TableName> = tables.iter().map(|(table, _)| table.clone()).collect();
    rules::check(scope, &database.tables, &names).await?;
    let after = with_database(scope.facts, database);
    let mut views: Vec<Dependent> = Vec::new();
    let mut definitions = Vec::with_capacity(tables.len());
    for table in &names {
        definitions.push(Definition::read(scope, table).await?.keyed(key));
        for view in views::dependents(scope, table, &after).await? {
            if !views.iter().any(|known| known.name == view.name) {
                views.push(view);
            }
        }
    }
    views::take_away(scope, &views).await?;

    let mut scope = Scope { tx: &mut *scope.tx, facts: &after, search_path: scope.search_path };
    let shards: Vec<Shard> = by_group(colocation).into_values().flatten().collect();
    let schemas: BTreeSet<&str> = names.iter().map(|table| table.schema.as_str()).collect();
    for schema in schemas {
        slices::ensure_in(&mut scope, schema, by_group(colocation)).await?;
    }
    for ((table, state), definition) in tables.iter().zip(&definitions) {
        let create = definition.create(Target::Elsewhere).join("; ");
        for shard in &shards {
            in_slice(&mut scope, shard, table, &create).await?;
        }
        move_to_shards(&mut scope, state, definition, key, colocation).await?;
    }
    complete_slices(&mut scope, &definitions, &shards).await?;
    leave_home(&mut scope, &definitions).await?;
    views::put_back(&mut scope, &views).await?;
    for table in &names {
        let sql = store::add_table(&after.name, table, &spread, Some(colocation.method));
        scope.directory(&sql).await?;
    }
    Ok(())
}

/// What tables have besides columns and rows: indexes of all of them first, which foreign keys between them need.
pub(super) async fn complete_slices(scope: &mut Scope<'_>, definitions: &[Definition], shards: &[Shard]) -> Result<()> {
    for definition in definitions {
        for shard in shards {
            let mut statements = definition.index_rows();
            statements.extend(definition.statistics_in(|schema| shard.id.schema(schema)));
            in_slice(scope, shard, &definition.name, &statements.join("; ")).await?;
        }
    }
    for definition in definitions {
        let finish = definition.finish().join("; ");
        for shard in shards {
            in_slice(scope, shard, &definition.name, &finish).await?;
        }
    }
    Ok(())
}

/// Runs statements about a table in its slice; qualified names of other distributed tables become slices.
pub(super) async fn in_slice(scope: &mut Scope<'_>, shard: &Shard, table: &TableName, sql: &str) -> Result<()> {
    if sql.is_empty() {
        return Ok(());
    }
    let statement = scope.planner_facts().splice(sql);
    let path = shard_path(shard.id, std::slice::from_ref(&table.schema));
    scope.shard_under(shard, &path, &statement).await.map(drop)
}

/// Copies every row at home into the shard it belongs to.
async fn move_to_shards(
    scope: &mut Scope<'_>,
    state: &TableState,
    definition: &Definition,
    key: &KeyColumn,
    colocation: &Colocation,
) -> Result<()> {
    let table = qualified(&definition.name);
    if state.forced_row_security {
        // The owner's own policies would hide rows from the copy; this table is about to go.
        scope.home(&format!("ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")).await?;
    }
    let no_key = if key.is_none() { "FALSE".to_owned() } else { format!("{} IS NULL", quote_identifier(&key.name)) };
    let sql = format!("SELECT EXISTS (SELECT FROM ONLY {table}), EXISTS (SELECT FROM ONLY {table} WHERE {no_key})");
    let results = scope.home(&sql).await?;
    let row = results.first().map(Rows::new).ok_or_else(|| Error::internal("home answered oddly"))?.only()?;
    if row.text(1)? == "t" {
        return Err(Error::sql(
            "23502",
            format!(
                "the distribution column \"{}\" of table \"{}\" contains null values",
                key.name, definition.name.name
            ),
        ));
    }
    if row.text(0)? != "t" {
        return Ok(());
    }
    let columns = definition.copied_columns();
    for (position, shard) in colocation.shards.iter().enumerate() {
        let belongs = key::condition(colocation, &key.name, position);
        let rows = format!("SELECT {columns} FROM ONLY {table} WHERE {belongs}");
        let slice = slice_of(definition, shard);
        copy(scope, definition, (Place::HOME, &rows), (Place::data(shard.group), &slice)).await?;
    }
    Ok(())
}

/// Copies rows, `SELECT columns ...` at one place, into a table at another, or at the same.
pub(super) async fn copy(
    scope: &mut Scope<'_>,
    definition: &Definition,
    from: (Place, &str),
    to: (Place, &str),
) -> Result<()> {
    let target = format!("{} ({})", to.1, definition.copied_columns());
    if from.0 == to.0 {
        return scope
            .tx
            .run(to.0, None, &format!("INSERT INTO {target} OVERRIDING SYSTEM VALUE {}", from.1))
            .await
            .map(drop);
    }
    let binary = definition.columns.iter().all(|column| column.generated || column.built_in);
    let format = if binary { " (FORMAT binary)" } else { "" };
    let (source, target) =
        (format!("COPY ({}) TO STDOUT{format}", from.1), format!("COPY {target} FROM STDIN{format}"));
    if binary {
        return scope.tx.copy_between((from.0, &source), (to.0, &target)).await.map(drop);
    }
    // Values of user-defined types carry OIDs in binary, which differ between databases. As text, under settings that lose nothing.
    let before = text_settings(scope, from.0).await?;
    for place in [from.0, to.0] {
        scope
            .tx
            .run(
                place,
                None,
                "SET LOCAL extra_float_digits = 1; SET LOCAL datestyle = ISO; SET LOCAL intervalstyle = postgres",
            )
            .await?;
    }
    scope.tx.copy_between((from.0, &source), (to.0, &target)).await?;
    for place in [from.0, to.0] {
        scope.tx.run(place, None, &before).await?;
    }
    Ok(())
}

/// SQL that gives a backend the settings back that shape values as text.
async fn text_settings(scope: &mut Scope<'_>, place: Place) -> Result<String> {
    let sql =
        "SELECT current_setting('extra_float_digits'), current_setting('datestyle'), current_setting('intervalstyle')";
    let results = scope.tx.run(place, None, sql).await?;
    let row = results.first().map(Rows::new).ok_or_else(|| Error::internal("a place answered oddly"))?.only()?;
    Ok(format!(
        "SET LOCAL extra_float_digits = {}; SET LOCAL datestyle = {}; SET LOCAL intervalstyle = {}",
        row.text(0)?,
        row.text(1)?,
        row.text(2)?
    ))
}

/// Drops home's copies of tables that are in shards now. The sequences of their columns stay, on their own.
async fn leave_home(scope: &mut Scope<'_>, definitions: &[Definition]) -> Result<()> {
    let mut states = Vec::new();
    for definition in definitions {
        for sequence in &definition.sequences {
            if sequence.identity {
                states.push((definition, sequence, sequence_state(scope, sequence).await?));
            } else {
                scope.home(&format!("ALTER SEQUENCE {} OWNED BY NONE", qualified(&sequence.name))).await?;
            }
        }
    }
    let tables: Vec<String> = definitions.iter().map(|definition| qualified(&definition.name)).collect();
    // Together: they may refer to each other.
    scope.home(&format!("DROP TABLE {}", tables.join(", "))).await?;
    for (definition, sequence, state) in states {
        let name = qualified(&sequence.name);
        scope
            .home(&format!(
                "CREATE SEQUENCE {name} {}; ALTER SEQUENCE {name} OWNER TO {}; {}",
                sequence.options,
                definition.owner,
                set_state(sequence, &state)
            ))
            .await?;
    }
    Ok(())
}

/// A sequence's last value, and whether it was given out.
async fn sequence_state(scope: &mut Scope<'_>, sequence: &OwnedSequence) -> Result<(String, String)> {
    let results = scope.home(&format!("SELECT last_value, is_called FROM {}", qualified(&sequence.name))).await?;
    let row = results.first().map(Rows::new).ok_or_else(|| Error::internal("home answered oddly"))?.only()?;
    Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned()))
}

fn set_state(sequence: &OwnedSequence, (value, called): &(String, String)) -> String {
    format!("SELECT setval({}, {value}, '{called}')", quote_literal(&qualified(&sequence.name)))
}

async fn create_reference(mut scope: Scope<'_>, table: &TableName) -> Result<()> {
    let state = spread::lock_catalog(&mut scope, table).await?;
    state.check(scope.facts, table, false)?;
    spread::lock_home(&mut scope, table).await?;
    let mut database = scope.facts.database.clone();
    database.tables.insert(table.clone(), Table::Reference);
    rules::check(&mut scope, &database.tables, std::slice::from_ref(table)).await?;
    let after = with_database(scope.facts, database);
    let definition = Definition::read(&mut scope, table).await?;
    let views = views::dependents(&mut scope, table, &after).await?;
    views::take_away(&mut scope, &views).await?;

    let mut scope = Scope { tx: scope.tx, facts: &after, search_path: scope.search_path };
    let path = quote_identifier(&table.schema);
    let name = qualified(table);
    let columns = definition.copied_columns();
    for group in scope.groups().filter(|group| *group != Directory::HOME) {
        let place = Place::data(group);
        scope.tx.run(place, Some(&path), &definition.create(Target::Elsewhere).join("; ")).await?;
        if state.forced_row_security {
            scope.home(&format!("ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY")).await?;
        }
        if !columns.is_empty() {
            let rows = format!("SELECT {columns} FROM ONLY {name}");
            copy(&mut scope, &definition, (Place::HOME, &rows), (place, &name)).await?;
        }
        if state.forced_row_security {
            scope.home(&format!("ALTER TABLE {name} FORCE ROW LEVEL SECURITY")).await?;
        }
        let mut statements = definition.index_rows();
        statements.extend(definition.statistics_in(str::to_owned));
        statements.extend(definition.finish());
        scope.tx.run(place, Some(&path), &statements.join("; ")).await?;
    }
    views::put_back(&mut scope, &views).await?;
    let sql = store::add_table(&after.name, table, &Table::Reference, None);
    scope.directory(&sql).await.map(drop)
}

async fn undistribute(mut scope: Scope<'_>, table: &TableName, spread: &Table) -> Result<()> {
    match spread {
        Table::Reference => remove_copies(scope, table).await,
        Table::Distributed { colocation, .. } => {
            return_home(&mut scope, std::slice::from_ref(table), *colocation).await
        }
    }
}

async fn remove_copies(mut scope: Scope<'_>, table: &TableName) -> Result<()> {
    spread::lock_catalog(&mut scope, table).await?;
    spread::lock_home(&mut scope, table).await?;
    let (after, views) = without(&mut scope, std::slice::from_ref(table)).await?;
    views::take_away(&mut scope, &views).await?;
    scope.others(&format!("DROP TABLE {}", qualified(table))).await?;
    let mut scope = Scope { tx: scope.tx, facts: &after, search_path: scope.search_path };
    views::put_back(&mut scope, &views).await?;
    scope.directory(&store::remove_table(&after.name, table)).await.map(drop)
}

/// The facts as they will be without these tables in the directory, and the views that depend on them.
async fn without(scope: &mut Scope<'_>, tables: &[TableName]) -> Result<(DatabaseFacts, Vec<Dependent>)> {
    let mut database = scope.facts.database.clone();
    database.tables.retain(|table, _| !tables.contains(table));
    rules::check(scope, &database.tables, tables).await?;
    let after = with_database(scope.facts, database);
    let mut views: Vec<Dependent> = Vec::new();
    for table in tables {
        for view in views::dependents(scope, table, &after).await? {
            if !views.iter().any(|known| known.name == view.name) {
                views.push(view);
            }
        }
    }
    Ok((after, views))
}

/// Makes tables of one co-location group at home again, with the rows of their slices, which go.
///
/// # Errors
/// As [`distribute`].
pub(super) async fn return_home(scope: &mut Scope<'_>, tables: &[TableName], colocation: ColocationId) -> Result<()> {
    let mut states = Vec::with_capacity(tables.len());
    for table in tables {
        states.push(spread::lock_catalog(scope, table).await?);
    }
    let shards: Vec<Shard> = scope.shards(colocation)?.into_values().flatten().collect();
    let (after, views) = without(scope, tables).await?;
    let mut definitions = Vec::with_capacity(tables.len());
    for table in tables {
        definitions.push(Definition::read(scope, table).await?);
    }
    views::take_away(scope, &views).await?;
    let mut sequences = Vec::new();
    for (definition, state) in definitions.iter().zip(&states) {
        for sequence in definition.sequences.iter().filter(|sequence| sequence.identity) {
            sequences.push((sequence, sequence_state(scope, sequence).await?));
            scope.home(&format!("DROP SEQUENCE {}", qualified(&sequence.name))).await?;
        }
        let path = quote_identifier(&definition.name.schema);
        scope.tx.run(Place::HOME, Some(&path), &definition.create(Target::Home).join("; ")).await?;
        let (table, columns) = (qualified(&definition.name), definition.copied_columns());
        for shard in &shards {
            let slice = slice_of(definition, shard);
            let place = Place::data(shard.group);
            if state.forced_row_security {
                scope.tx.run(place, None, &format!("ALTER TABLE {slice} NO FORCE ROW LEVEL SECURITY")).await?;
            }
            let rows = format!("SELECT {columns} FROM ONLY {slice}");
            copy(scope, definition, (place, &rows), (Place::HOME, &table)).await?;
        }
    }
    for shard in &shards {
        // Together: they may refer to each other.
        let slices: Vec<String> = definitions.iter().map(|definition| slice_of(definition, shard)).collect();
        scope.tx.run(Place::data(shard.group), None, &format!("DROP TABLE {}", slices.join(", "))).await?;
    }
    for definition in &definitions {
        let mut statements = definition.index_rows();
        statements.extend(definition.statistics_in(str::to_owned));
        at_home(scope, definition, statements).await?;
    }
    for definition in &definitions {
        let mut statements = definition.finish();
        for sequence in definition.sequences.iter().filter(|sequence| !sequence.identity) {
            let (name, column) = (qualified(&sequence.name), quote_identifier(&sequence.column));
            statements.push(format!("ALTER SEQUENCE {name} OWNED BY {}.{column}", qualified(&definition.name)));
        }
        at_home(scope, definition, statements).await?;
    }
    for (sequence, state) in &sequences {
        scope.home(&set_state(sequence, state)).await?;
    }
    let mut scope = Scope { tx: &mut *scope.tx, facts: &after, search_path: scope.search_path };
    views::put_back(&mut scope, &views).await?;
    for table in tables {
        scope.directory(&store::remove_table(&after.name, table)).await?;
    }
    Ok(())
}

async fn at_home(scope: &mut Scope<'_>, definition: &Definition, statements: Vec<String>) -> Result<()> {
    let path = quote_identifier(&definition.name.schema);
    if !statements.is_empty() {
        scope.tx.run(Place::HOME, Some(&path), &statements.join("; ")).await?;
    }
    Ok(())
}

/// The quoted name of a table's slice.
pub(super) fn slice_of(definition: &Definition, shard: &Shard) -> String {
    qualified(&TableName::new(shard.id.schema(&definition.name.schema), &definition.name.name))
}
