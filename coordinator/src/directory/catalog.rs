//! From a catalog database's own system catalogs to [`Catalog`].

use std::collections::{HashMap, HashSet};

use atoll_planner::catalog::{Catalog, Column, Function, FunctionKind, Identity, Relation, RelationKind, Volatility};
use atoll_planner::directory::{Database, Table, TableName};

use super::rows::{Row, Rows};
use super::words::{called_functions, words};
use crate::error::{Error, Result};
use crate::facts::UserTypes;
use crate::lane::ResultSet;

/// Reads what [`catalog`] needs, in the search_path `pg_catalog`.
pub const CATALOG: &str = include_str!("catalog.sql");
/// Reads what [`SystemFacts::read`] needs.
pub const SYSTEM: &str = include_str!("system.sql");
/// Reads a data database's user types for [`user_types`].
pub const TYPES: &str = "SELECT type.oid, nspname, typname, typrelid \
    FROM pg_catalog.pg_type AS type JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = typnamespace \
    WHERE type.oid >= 16384 AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'atoll') \
      AND nspname !~ '^(pg_temp_|pg_toast_temp_)'";

/// What is the same in every database of a server.
#[derive(Debug, Default)]
pub struct SystemFacts {
    relations: HashSet<String>,
    volatile_functions: HashSet<String>,
    stable_functions: HashSet<String>,
    aggregates: HashSet<String>,
}

impl SystemFacts {
    /// From the results of [`SYSTEM`].
    ///
    /// # Errors
    /// XX000 when the results have another shape.
    pub fn read(results: &[ResultSet]) -> Result<Self> {
        let [relations, functions] = results else { return Err(shape(results)) };
        let mut facts = Self::default();
        for row in Rows::new(relations) {
            facts.relations.insert(row.text(0)?.to_owned());
        }
        for row in Rows::new(functions) {
            let name = row.text(0)?;
            if row.is_true(1) {
                facts.volatile_functions.insert(name.to_owned());
            } else if row.is_true(2) {
                facts.stable_functions.insert(name.to_owned());
            }
            if row.is_true(3) {
                facts.aggregates.insert(name.to_owned());
            }
        }
        Ok(facts)
    }
}

/// Whether a word in a function's body speaks of state that belongs to one backend and outlives the statement.
fn stays_on_backend(word: &str) -> bool {
    matches!(word, "set_config" | "setseed" | "temp" | "temporary" | "listen")
        || word.starts_with("pg_advisory_lock")
        || word.starts_with("pg_try_advisory_lock")
}

fn shape(results: &[ResultSet]) -> Error {
    Error::internal(format!("a reading of the catalogs came in {} results", results.len()))
}

/// The catalog, from the results of [`CATALOG`], and the user types seen there. `database` says which tables are distributed.
///
/// # Errors
/// XX000 when the results have another shape.
pub fn catalog(
    results: &[ResultSet],
    version: u64,
    system: &SystemFacts,
    database: &Database,
) -> Result<(Catalog, UserTypes)> {
    let [collation, schemas, relations, columns, indexes, statistics, reads, functions, types] = results else {
        return Err(shape(results));
    };
    let collation = Rows::new(collation).only()?;
    let bytewise_collation = is_bytewise(collation.text(0)?, collation.text(1)?);
    let mut catalog = Catalog {
        version,
        system_relations: system.relations.clone(),
        volatile_functions: system.volatile_functions.clone(),
        stable_functions: system.stable_functions.clone(),
        aggregates: system.aggregates.clone(),
        bytewise_collation,
        ..Catalog::default()
    };
    for row in Rows::new(schemas) {
        catalog.schemas.insert(row.text(0)?.to_owned());
    }
    let mut names: HashMap<u32, TableName> = HashMap::new();
    for row in Rows::new(relations) {
        let oid = row.parse(0)?;
        let name = TableName::new(row.text(1)?, row.text(2)?);
        let relation = Relation {
            oid,
            kind: relation_kind(row.text(3)?)?,
            columns: Vec::new(),
            unique_keys: Vec::new(),
            primary_key: None,
            reads: Vec::new(),
            has_triggers: row.is_true(4),
            acts: row.is_true(5),
        };
        names.insert(oid, name.clone());
        catalog.relations.insert(name, relation);
    }
    for row in Rows::new(columns) {
        let column = read_column(row, bytewise_collation, system)?;
        if let Some(relation) = names.get(&row.parse(0)?).and_then(|name| catalog.relations.get_mut(name)) {
            relation.columns.push(column);
        }
    }
    for row in Rows::new(indexes) {
        let Some(table) = names.get(&row.parse(2)?) else { continue };
        catalog.indexes.insert(TableName::new(row.text(0)?, row.text(1)?), table.clone());
        let key = row.names(4)?;
        if let (false, Some(relation)) = (key.is_empty(), catalog.relations.get_mut(table)) {
            if row.is_true(3) {
                relation.primary_key = Some(key.clone());
            }
            relation.unique_keys.push(key);
        }
    }
    for row in Rows::new(statistics) {
        if let Some(table) = names.get(&row.parse(2)?) {
            catalog.statistics.insert(TableName::new(row.text(0)?, row.text(1)?), table.clone());
        }
    }
    read_views(&mut catalog, &names, reads)?;
    read_functions(&mut catalog, &names, functions, database)?;
    Ok((catalog, user_types(types)?))
}

fn relation_kind(code: &str) -> Result<RelationKind> {
    Ok(match code {
        "r" => RelationKind::Table,
        "p" => RelationKind::PartitionedTable,
        "v" => RelationKind::View,
        "m" => RelationKind::MaterializedView,
        "S" => RelationKind::Sequence,
        "f" => RelationKind::ForeignTable,
        "c" => RelationKind::CompositeType,
        other => return Err(Error::internal(format!("a relation of kind \"{other}\""))),
    })
}

/// Whether a collation orders text by its bytes. C.UTF-8 orders by code point, which in UTF-8 is the same.
fn is_bytewise(collate: &str, provider: &str) -> bool {
    provider == "c" && ["c", "posix", "c.utf-8", "c.utf8"].contains(&collate.to_ascii_lowercase().as_str())
}

fn read_column(row: Row<'_>, database_is_bytewise: bool, system: &SystemFacts) -> Result<Column> {
    let default = row.maybe(6).map(str::to_owned);
    let generated = row.is_true(7);
    let identity = match row.text(8)? {
        "" => None,
        kind => Some(Identity { always: kind == "a", sequence: row.text(9)?.to_owned() }),
    };
    // A dependency shows users' own volatile functions; PostgreSQL's own are found by their names.
    let calls_volatile = row.is_true(13)
        || default
            .as_deref()
            .is_some_and(|text| called_functions(text).any(|name| system.volatile_functions.contains(name.as_str())));
    Ok(Column {
        name: row.text(1)?.to_owned(),
        type_oid: row.parse(2)?,
        typmod: row.parse(3)?,
        type_name: row.text(4)?.to_owned(),
        not_null: row.is_true(5),
        default: default.filter(|_| !generated),
        default_is_volatile: !generated && calls_volatile,
        generated,
        identity,
        bytewise_collation: match (row.text(10)?, row.maybe(12)) {
            ("0", _) => true,
            (_, Some("d")) => database_is_bytewise,
            (_, Some(provider)) => row.maybe(11).is_some_and(|collate| is_bytewise(collate, provider)),
            (_, None) => false,
        },
        collation: row.maybe(14).map(str::to_owned),
    })
}

/// Fills [`Relation::reads`]: what views and rules read, also through other views; and says of views that such a one calls what may write.
fn read_views(catalog: &mut Catalog, names: &HashMap<u32, TableName>, reads: &ResultSet) -> Result<()> {
    let mut direct: HashMap<u32, Vec<u32>> = HashMap::new();
    for row in Rows::new(reads) {
        direct.entry(row.parse(0)?).or_default().push(row.parse(1)?);
    }
    for &view in direct.keys() {
        let mut seen = HashSet::from([view]);
        let mut pending = vec![view];
        while let Some(relation) = pending.pop() {
            for &read in direct.get(&relation).into_iter().flatten() {
                if seen.insert(read) {
                    pending.push(read);
                }
            }
        }
        seen.remove(&view);
        let mut found: Vec<TableName> = seen.iter().filter_map(|oid| names.get(oid)).cloned().collect();
        found.sort();
        if let Some(relation) = names.get(&view).and_then(|name| catalog.relations.get_mut(name)) {
            relation.reads = found;
        }
    }
    let acts = |relation: &Relation| relation.acts || relation.kind == RelationKind::Sequence;
    let acting: HashSet<TableName> =
        catalog.relations.iter().filter(|(_, relation)| acts(relation)).map(|(name, _)| name.clone()).collect();
    for view in catalog.relations.values_mut().filter(|relation| relation.kind == RelationKind::View) {
        view.acts |= view.reads.iter().any(|name| acting.contains(name));
    }
    Ok(())
}

struct Body {
    name: TableName,
    function: Function,
    words: HashSet<String>,
}

/// Fills [`Catalog::functions`]. A body is not parsed: a word in it that is the name of something that reads distributed tables is
/// taken for a use of it, so that a function may be suspected wrongly but never missed.
fn read_functions(
    catalog: &mut Catalog,
    names: &HashMap<u32, TableName>,
    functions: &ResultSet,
    database: &Database,
) -> Result<()> {
    let is_distributed = |name: &TableName| matches!(database.tables.get(name), Some(Table::Distributed { .. }));
    let reads_distributed = |name: &TableName| {
        is_distributed(name)
            || catalog.relations.get(name).is_some_and(|relation| {
                // A materialized view holds its rows itself.
                relation.kind == RelationKind::View && relation.reads.iter().any(is_distributed)
            })
    };
    let mut suspects: HashSet<String> =
        catalog.relations.keys().filter(|name| reads_distributed(name)).map(|name| name.name.clone()).collect();
    let mut bodies = Vec::new();
    for row in Rows::new(functions) {
        let language = row.text(4)?;
        let words: HashSet<String> = row.maybe(5).map(|body| words(body).collect()).unwrap_or_default();
        let mut depends_on = Vec::new();
        for oid in row.names(6)? {
            let oid: u32 = oid.parse().map_err(|_| Error::internal("a function depends on what has no OID"))?;
            depends_on.extend(names.get(&oid).cloned());
        }
        depends_on.sort();
        let builds_sql = match language {
            "c" | "internal" | "sql" => false,
            "plpgsql" => words.contains("execute"),
            _ => true,
        };
        let pins = words.iter().any(|word| stays_on_backend(word));
        let function = Function {
            pins,
            volatility: match row.text(2)? {
                "i" => Volatility::Immutable,
                "s" => Volatility::Stable,
                _ => Volatility::Volatile,
            },
            kind: match row.text(3)? {
                "p" => FunctionKind::Procedure,
                "a" => FunctionKind::Aggregate,
                "w" => FunctionKind::Window,
                _ => FunctionKind::Function,
            },
            may_read: !matches!(language, "c" | "internal") && row.text(2)? != "i",
            reads_tables: builds_sql || depends_on.iter().any(reads_distributed),
            depends_on,
        };
        bodies.push(Body { name: TableName::new(row.text(0)?, row.text(1)?), function, words });
    }
    loop {
        for body in bodies.iter().filter(|body| body.function.reads_tables) {
            suspects.insert(body.name.name.clone());
        }
        let mut found = false;
        for body in bodies.iter_mut().filter(|body| !body.function.reads_tables) {
            if !suspects.is_disjoint(&body.words) {
                body.function.reads_tables = true;
                found = true;
            }
        }
        if !found {
            break;
        }
    }
    for body in bodies {
        catalog.functions.entry(body.name).or_default().push(body.function);
    }
    Ok(())
}

/// The types of a database, from the result of [`TYPES`].
///
/// # Errors
/// XX000 when the result has another shape.
pub fn user_types(types: &ResultSet) -> Result<UserTypes> {
    let mut seen = UserTypes::default();
    for row in Rows::new(types) {
        let relation: u32 = row.parse(3)?;
        seen.add(row.text(1)?, row.text(2)?, row.parse(0)?, (relation != 0).then_some(relation));
    }
    Ok(seen)
}
