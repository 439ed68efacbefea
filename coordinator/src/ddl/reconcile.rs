//! What follows when tables, key columns or owned sequences are gone or named anew: the catalog database says by OID what each has become.

use std::collections::{BTreeMap, HashMap, HashSet};

use atoll_planner::directory::{Table, TableName};
use atoll_planner::plan::{DdlName, DdlTables, Whereabouts};

use super::rows::{qualified, values};
use super::{Scope, execute};
use crate::directory::rows::Rows;
use crate::directory::store;
use crate::error::{Error, Result};

/// Distributed and reference tables, and the sequences they own, before a statement.
pub(super) struct Known {
    tables: BTreeMap<u32, KnownTable>,
    /// Sequences that distributed tables own, by OID: home has them without an owner.
    sequences: BTreeMap<u32, TableName>,
}

struct KnownTable {
    name: TableName,
    spread: Table,
    /// Of the key column.
    attribute: Option<i32>,
}

impl Known {
    /// `None` when none of the tables is in the directory.
    pub(super) async fn read(scope: &mut Scope<'_>, which: &DdlTables) -> Result<Option<Self>> {
        let mut tables = scope.facts.database.tables.clone();
        let named = execute::named(&tables, which);
        tables.retain(|name, _| named.contains(name));
        if tables.is_empty() {
            return Ok(None);
        }
        let listed: Vec<String> = tables
            .iter()
            .map(|(name, spread)| {
                let key = match spread {
                    Table::Distributed { key, .. } => atoll_planner::quote_literal(&key.name),
                    Table::Reference => "NULL".to_owned(),
                };
                let literal = atoll_planner::quote_literal;
                format!("({}, {}, {key}::text)", literal(&name.schema), literal(&name.name))
            })
            .collect();
        let sql = format!(
            "WITH listed (schema, name, key) AS (VALUES {}), \
             found AS (SELECT class.oid, schema, name, key FROM listed \
                 JOIN pg_namespace ON nspname = schema JOIN pg_class AS class ON relnamespace = pg_namespace.oid AND relname = name) \
             SELECT found.oid, schema, name, attnum, NULL FROM found \
                 LEFT JOIN pg_attribute ON attrelid = found.oid AND attname = key AND NOT attisdropped \
             UNION ALL \
             SELECT sequence.oid, nspname, relname, NULL, found.oid FROM found \
                 JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = found.oid AND classid = 'pg_class'::regclass \
                     AND deptype IN ('a', 'i') \
                 JOIN pg_class AS sequence ON sequence.oid = objid AND relkind = 'S' \
                 JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE found.key IS NOT NULL",
            listed.join(", ")
        );
        let mut known = Self { tables: BTreeMap::new(), sequences: BTreeMap::new() };
        let results = scope.catalog(&sql).await?;
        for row in results.iter().flat_map(Rows::new) {
            let (oid, name) = (row.parse(0)?, TableName::new(row.text(1)?, row.text(2)?));
            if row.maybe(4).is_some() {
                known.sequences.insert(oid, name);
            } else if let Some(spread) = scope.facts.database.tables.get(&name).cloned() {
                let attribute = row.maybe(3).map(|_| row.parse(3)).transpose()?;
                // Without its key column: another session has just changed it, and the directory is about to tell.
                if attribute.is_some() || spread == Table::Reference {
                    known.tables.insert(oid, KnownTable { name, spread, attribute });
                }
            }
        }
        Ok(Some(known))
    }
}

/// What has become of [`Known`]: names and columns by OID; what is gone is missing.
struct Now {
    relations: HashMap<u32, TableName>,
    columns: HashMap<(u32, i32), String>,
}

impl Known {
    async fn now(&self, scope: &mut Scope<'_>) -> Result<Now> {
        let oids: Vec<String> = self.tables.keys().chain(self.sequences.keys()).map(u32::to_string).collect();
        if oids.is_empty() {
            return Ok(Now { relations: HashMap::new(), columns: HashMap::new() });
        }
        let sql = format!(
            "SELECT class.oid, nspname, relname FROM pg_class AS class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
             WHERE class.oid = ANY ('{{{oids}}}'::oid[]); \
             SELECT attrelid, attnum, attname FROM pg_attribute \
             WHERE attrelid = ANY ('{{{oids}}}'::oid[]) AND attnum > 0 AND NOT attisdropped",
            oids = oids.join(",")
        );
        let results = scope.catalog(&sql).await?;
        let [relations, columns] = results.as_slice() else {
            return Err(Error::internal("the catalog answered oddly"));
        };
        let mut now = Now { relations: HashMap::new(), columns: HashMap::new() };
        for row in Rows::new(relations) {
            now.relations.insert(row.parse(0)?, TableName::new(row.text(1)?, row.text(2)?));
        }
        for row in Rows::new(columns) {
            now.columns.insert((row.parse(0)?, row.parse(1)?), row.text(2)?.to_owned());
        }
        Ok(now)
    }

    /// What the tables were called.
    pub(super) fn names(&self) -> impl Iterator<Item = &TableName> {
        self.tables.values().map(|table| &table.name)
    }

    /// The directory's tables as they are named now; those that are gone are missing.
    ///
    /// # Errors
    /// 0A000 when a distribution column is gone.
    pub(super) async fn tables_now(&self, scope: &mut Scope<'_>) -> Result<HashMap<TableName, Table>> {
        let now = self.now(scope).await?;
        let mut tables = HashMap::new();
        for (oid, table) in &self.tables {
            let Some(name) = now.relations.get(oid) else { continue };
            let mut spread = table.spread.clone();
            if let Table::Distributed { key, .. } = &mut spread {
                key.name = table.key_now(*oid, &now)?;
            }
            tables.insert(name.clone(), spread);
        }
        Ok(tables)
    }
}

impl KnownTable {
    /// The key column's name as it is now.
    fn key_now(&self, oid: u32, now: &Now) -> Result<String> {
        let Table::Distributed { key, .. } = &self.spread else {
            return Err(Error::internal("a reference table has no key"));
        };
        let column = self.attribute.and_then(|attribute| now.columns.get(&(oid, attribute)));
        column.cloned().ok_or_else(|| {
            Error::unsupported(
                format!("cannot drop the distribution column \"{}\" of table \"{}\"", key.name, self.name.name),
                "It says on which shard a row is.",
                "Use undistribute_table first.",
            )
        })
    }
}

/// Brings the directory, home and the shards in line with what the catalog database has become. `dropped`: relations that the
/// statement itself has dropped in their places.
pub(super) async fn follow(scope: &mut Scope<'_>, known: Known, dropped: &[TableName]) -> Result<()> {
    let now = known.now(scope).await?;
    let dropped: HashSet<&TableName> = dropped.iter().collect();
    let database = scope.facts.name.clone();
    for (oid, table) in &known.tables {
        let Some(name) = now.relations.get(oid) else {
            scope.directory(&store::remove_table(&database, &table.name)).await?;
            if !dropped.contains(&table.name) {
                drop_everywhere(scope, table).await?;
            }
            continue;
        };
        if *name != table.name {
            scope.directory(&store::rename_table(&database, &table.name, name)).await?;
        }
        if let Table::Distributed { key, .. } = &table.spread {
            let column = table.key_now(*oid, &now)?;
            if column != key.name {
                scope.directory(&store::rename_key(&database, name, &column)).await?;
            }
        }
    }
    for (oid, sequence) in &known.sequences {
        match now.relations.get(oid) {
            // Dropped in the catalog along with its table or column.
            None => scope.home(&format!("DROP SEQUENCE IF EXISTS {}", qualified(sequence))).await.map(drop)?,
            Some(name) if name != sequence => follow_sequence(scope, sequence, name).await?,
            Some(_) => {}
        }
    }
    Ok(())
}

/// Drops what went along with something else, by CASCADE or with its owner.
async fn drop_everywhere(scope: &mut Scope<'_>, table: &KnownTable) -> Result<()> {
    let whereabouts = match table.spread {
        Table::Distributed { colocation, .. } => Whereabouts::Shards(colocation),
        Table::Reference => Whereabouts::EveryGroup,
    };
    let name = DdlName { before: "", name: table.name.clone(), whereabouts };
    for group in scope.groups() {
        let here = execute::in_group(scope, &name, group)?;
        if !here.is_empty() {
            scope.privileged(group, &format!("DROP TABLE IF EXISTS {} CASCADE", here.join(", "))).await?;
        }
    }
    Ok(())
}

/// A sequence moves to another schema, or is renamed, along with its table; the owner's own rename is a statement of its own.
async fn follow_sequence(scope: &mut Scope<'_>, from: &TableName, to: &TableName) -> Result<()> {
    let exists = scope
        .home(&format!("SELECT to_regclass({}) IS NOT NULL", atoll_planner::quote_literal(&qualified(from))))
        .await?;
    if exists.first().is_none_or(|set| set.scalar().ok() != Some("t")) {
        return Ok(());
    }
    if from.schema != to.schema {
        let schema = atoll_planner::quote_identifier(&to.schema);
        scope.home(&format!("ALTER SEQUENCE {} SET SCHEMA {schema}", qualified(from))).await?;
    }
    if from.name != to.name {
        let moved = TableName::new(&to.schema, &from.name);
        let name = atoll_planner::quote_identifier(&to.name);
        scope.home(&format!("ALTER SEQUENCE {} RENAME TO {name}", qualified(&moved))).await?;
    }
    Ok(())
}

/// Restarts at home the sequences that these tables' columns own.
pub(super) async fn restart_sequences(scope: &mut Scope<'_>, tables: &[TableName]) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "SELECT sequence_namespace.nspname, sequence.relname FROM {} \
         JOIN pg_namespace AS namespace ON namespace.nspname = schema \
         JOIN pg_class AS owner ON owner.relnamespace = namespace.oid AND owner.relname = name \
         JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = owner.oid AND classid = 'pg_class'::regclass \
             AND deptype IN ('a', 'i') \
         JOIN pg_class AS sequence ON sequence.oid = objid AND sequence.relkind = 'S' \
         JOIN pg_namespace AS sequence_namespace ON sequence_namespace.oid = sequence.relnamespace",
        values(tables)
    );
    let results = scope.catalog(&sql).await?;
    for row in results.iter().flat_map(Rows::new) {
        let sequence = TableName::new(row.text(0)?, row.text(1)?);
        scope.home(&format!("ALTER SEQUENCE {} RESTART", qualified(&sequence))).await?;
    }
    Ok(())
}
