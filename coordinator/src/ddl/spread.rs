//! What a table must be like to be distributed, and which co-location group takes it.

use atoll_planner::directory::{Colocation, ColocationId, KeyColumn, KeyType, Method, Shard, Table, TableName};

use super::distribution_call::{Call, ColocateWith};
use super::rows::regclass;
use super::{Scope, key};
use crate::directory::rows::Rows;
use crate::directory::store;
use crate::error::{Error, Result, sqlstate};
use crate::facts::DatabaseFacts;

/// Shards of a co-location group when nothing says otherwise and there is no other group to take the number from.
const SHARDS_DEFAULT: u32 = 32;

/// What the catalog database says of a table that is to be spread.
pub(super) struct TableState {
    pub forced_row_security: bool,
    statement_triggers: Option<String>,
    incoming_foreign_key: Option<(TableName, String)>,
    rules: bool,
}

impl TableState {
    /// Checks what holds for every way of spreading it.
    ///
    /// # Errors
    /// 42501 for a table of another role, 42809 for what is no ordinary table, 0A000 for what cannot be spread.
    async fn read(scope: &mut Scope<'_>, table: &TableName) -> Result<Self> {
        let sql = format!(
            "SELECT pg_class.relkind, pg_class.relpersistence, pg_class.relispartition, \
                 EXISTS (SELECT FROM pg_inherits WHERE inhrelid = pg_class.oid OR inhparent = pg_class.oid), pg_class.reloftype <> 0, \
                 pg_has_role(pg_class.relowner, 'USAGE'), pg_class.relforcerowsecurity, \
                 (SELECT min(tgname) FROM pg_trigger WHERE tgrelid = pg_class.oid AND NOT tgisinternal \
                      AND (tgtype::int & 1 = 0 OR tgoldtable IS NOT NULL OR tgnewtable IS NOT NULL)), \
                 EXISTS (SELECT FROM pg_rewrite WHERE ev_class = pg_class.oid), pg_class.oid < 16384, \
                 (SELECT conname FROM pg_constraint WHERE confrelid = pg_class.oid AND conrelid <> pg_class.oid AND contype = 'f' \
                  ORDER BY conrelid LIMIT 1), child_namespace.nspname, child.relname \
             FROM pg_class LEFT JOIN pg_class AS child ON child.oid = ( \
                 SELECT conrelid FROM pg_constraint WHERE confrelid = pg_class.oid AND conrelid <> pg_class.oid AND contype = 'f' \
                 ORDER BY conrelid LIMIT 1) \
             LEFT JOIN pg_namespace AS child_namespace ON child_namespace.oid = child.relnamespace WHERE pg_class.oid = {}",
            regclass(table)
        );
        let results = scope.catalog(&sql).await?;
        let row =
            results.first().map(Rows::new).ok_or_else(|| Error::internal("the catalog answered oddly"))?.only()?;
        let name = &table.name;
        let kind = match row.text(0)? {
            "r" => None,
            "p" => Some("a partitioned table"),
            "v" => Some("a view"),
            "m" => Some("a materialized view"),
            "f" => Some("a foreign table"),
            _ => Some("not a table"),
        };
        if let Some(kind) = kind {
            return Err(Error::sql("42809", format!("cannot distribute \"{name}\": it is {kind}"))
                .with_hint("Only ordinary tables can be distributed."));
        }
        if row.text(9)? == "t" {
            return Err(Error::sql("42501", format!("permission denied: \"{name}\" is a system catalog")));
        }
        if row.text(5)? != "t" {
            return Err(Error::sql("42501", format!("must be owner of table {name}")));
        }
        if row.text(2)? == "t" || row.text(3)? == "t" || row.text(4)? == "t" {
            return Err(Error::unsupported(
                format!("cannot distribute \"{name}\""),
                "It is a partition, typed, or inherits: that ties it to another object on one server.",
                "Create a table LIKE it, and distribute that.",
            ));
        }
        if row.text(1)? == "t" {
            return Err(Error::unsupported(
                format!("cannot distribute the temporary table \"{name}\""),
                "A temporary table belongs to one session's backend at home.",
                "Create a table that is not temporary.",
            ));
        }
        Ok(Self {
            forced_row_security: row.text(6)? == "t",
            statement_triggers: row.maybe(7).map(str::to_owned),
            rules: row.text(8)? == "t",
            incoming_foreign_key: match (row.maybe(10), row.maybe(11), row.maybe(12)) {
                (Some(name), Some(schema), Some(table)) => Some((TableName::new(schema, table), name.to_owned())),
                _ => None,
            },
        })
    }

    /// As [`TableState::check`], for tables of a distributed schema, which move together, and whole.
    ///
    /// # Errors
    /// 0A000.
    pub(super) fn check_keyless(&self, facts: &DatabaseFacts, table: &TableName) -> Result<()> {
        let whole = Self { statement_triggers: None, incoming_foreign_key: None, ..*self };
        whole.check(facts, table, true)
    }

    /// What slices and copies cannot have.
    ///
    /// # Errors
    /// 0A000.
    pub(super) fn check(&self, facts: &DatabaseFacts, table: &TableName, distributed: bool) -> Result<()> {
        if self.rules {
            return Err(Error::unsupported(
                format!("cannot distribute \"{}\": it has rules", table.name),
                "Rules rewrite a statement on one server, after its servers were chosen.",
                "Use triggers instead of rules.",
            ));
        }
        if distributed && let Some(trigger) = &self.statement_triggers {
            return Err(Error::unsupported(
                format!(
                    "cannot distribute \"{}\": trigger \"{trigger}\" is not FOR EACH ROW, or has transition tables",
                    table.name
                ),
                "Each shard would run it for its own part of a statement.",
                "Make it FOR EACH ROW, without transition tables, or drop it.",
            ));
        }
        let function = facts
            .catalog
            .functions
            .iter()
            .find(|(_, overloads)| overloads.iter().any(|function| function.depends_on.contains(table)));
        if let Some((function, _)) = function.filter(|_| distributed) {
            return Err(Error::unsupported(
                format!("cannot distribute \"{}\": function \"{}\" depends on it", table.name, function.name),
                "PostgreSQL ties a signature with a table's row type, and a body in SQL-standard form, to the table itself.",
                "Drop the function; use RETURNS TABLE (...) or a composite type, and a body in quotes.",
            ));
        }
        if distributed && let Some((child, name)) = &self.incoming_foreign_key {
            return Err(Error::unsupported(
                format!(
                    "cannot distribute \"{}\": foreign key \"{name}\" of table \"{}\" refers to it",
                    table.name, child.name
                ),
                "That table's rows are on another server than the ones they would refer to.",
                "Drop the foreign key, distribute both tables by its column, then add it again.",
            ));
        }
        Ok(())
    }
}

/// Takes the lock under which nobody plans with the table or changes it, and reads its state.
///
/// # Errors
/// As [`TableState::read`].
pub(super) async fn lock_catalog(scope: &mut Scope<'_>, table: &TableName) -> Result<TableState> {
    let state = TableState::read(scope, table).await?;
    scope.catalog(&lock_sql(table)).await?;
    Ok(state)
}

/// Takes the lock under which nobody reads or writes the table at home.
///
/// # Errors
/// PostgreSQL's own.
pub(super) async fn lock_home(scope: &mut Scope<'_>, table: &TableName) -> Result<()> {
    scope.home(&lock_sql(table)).await.map(drop)
}

fn lock_sql(table: &TableName) -> String {
    format!("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE", super::rows::qualified(table))
}

/// The key column's type.
///
/// # Errors
/// 42703 when there is no such column, 0A000 for a type or collation that keys cannot have.
pub(super) async fn key_column(scope: &mut Scope<'_>, table: &TableName, column: &str) -> Result<KeyColumn> {
    let sql = format!(
        "SELECT format_type(atttypid, NULL), coalesce(collisdeterministic, true), attgenerated <> '' \
         FROM pg_attribute LEFT JOIN pg_collation ON pg_collation.oid = attcollation \
         WHERE attrelid = {} AND attname = {} AND attnum > 0 AND NOT attisdropped",
        regclass(table),
        atoll_planner::quote_literal(column)
    );
    let results = scope.catalog(&sql).await?;
    let Some(row) = results.first().and_then(|set| Rows::new(set).next()) else {
        return Err(Error::sql("42703", format!("column \"{column}\" of relation \"{}\" does not exist", table.name)));
    };
    let type_name = row.text(0)?;
    let Some(key_type) = key::type_of(type_name) else {
        return Err(Error::unsupported(
            format!("type {type_name} cannot be that of a distribution column"),
            "Atoll does not compute PostgreSQL's hash of its values.",
            "Use an integer, numeric, text, varchar, char, uuid, date, timestamp or bytea column.",
        ));
    };
    if row.text(1)? != "t" {
        return Err(Error::unsupported(
            format!("the distribution column \"{column}\" has a nondeterministic collation"),
            "Values that are equal under it could be in different shards.",
            "Give the column a deterministic collation, or distribute by another column.",
        ));
    }
    if row.text(2)? == "t" {
        return Err(Error::unsupported(
            format!("the generated column \"{column}\" cannot be the distribution column"),
            "Its value is known only on the shard that computes it.",
            "Distribute by a column that statements give, or drop its expression (ALTER COLUMN ... DROP EXPRESSION).",
        ));
    }
    Ok(KeyColumn { name: column.to_owned(), key_type })
}

/// How many shards a group began with: not those that `atoll.assign_key` made for single keys of hash tables.
fn of_hashes(colocation: &Colocation) -> usize {
    let whole = |shard: &&Shard| colocation.method != Method::Hash || shard.hashes.is_some();
    colocation.shards.iter().filter(whole).count()
}

/// The co-location group for a table: the one of the table it is to be with, the first of its key's type (and shard count), the one that
/// no table has claimed yet, or a new one.
///
/// # Errors
/// 22023 when what is asked for contradicts itself.
pub(super) async fn choose(scope: &mut Scope<'_>, call: &Call, key: &KeyColumn) -> Result<(ColocationId, Colocation)> {
    let key_type = key.key_type;
    let database = &scope.facts.database;
    let fits = |colocation: &Colocation| {
        colocation.method == call.method && call.shard_count.is_none_or(|count| of_hashes(colocation) == count as usize)
    };
    match &call.colocate_with {
        ColocateWith::Table(other) => {
            let Some(Table::Distributed { colocation, .. }) = database.tables.get(other) else {
                return Err(Error::sql("42P16", format!("relation {} is not distributed", other.name)));
            };
            let found = &database.colocations[colocation];
            if found.key_type != Some(key_type) {
                return Err(Error::sql(
                    "42P16",
                    format!("cannot colocate tables {} and {}", other.name, call.table.name),
                )
                .with_detail("Distribution column types don't match."));
            }
            if !fits(found) {
                return Err(Error::sql(
                    sqlstate::INVALID_PARAMETER_VALUE,
                    format!(
                        "table {} has {} shards and is distributed by {}",
                        other.name,
                        of_hashes(found),
                        found.method.name()
                    ),
                )
                .with_hint(
                    "Leave out shard_count and give the same distribution_type when colocate_with names a table.",
                ));
            }
            return Ok((*colocation, found.clone()));
        }
        // Which keys are where is told for each such table, with those that name it in colocate_with.
        ColocateWith::Default if call.method != Method::Hash => {}
        ColocateWith::Default => {
            let known = database.colocations.iter().filter(|(_, colocation)| fits(colocation));
            let (mut claimed, mut free) = (None, None);
            for (id, colocation) in known {
                match colocation.key_type {
                    Some(known) if known == key_type => claimed = claimed.or(Some((*id, colocation.clone()))),
                    None => free = free.or(Some((*id, colocation.clone()))),
                    Some(_) => {}
                }
            }
            if let Some(found) = claimed {
                return Ok(found);
            }
            if let Some((id, mut colocation)) = free {
                let answered = scope.directory(&store::claim_colocation(id, key_type)).await?;
                if answered.last().is_some_and(|set| !set.rows.is_empty()) {
                    colocation.key_type = Some(key_type);
                    return Ok((id, colocation));
                }
                // Another transaction was faster, with keys of another type: these get a group of their own.
            }
        }
        ColocateWith::None => {}
    }
    let name = scope.facts.name.clone();
    let sql = if call.method == Method::Hash {
        let hashed = |colocation: &&Colocation| colocation.method == Method::Hash;
        let like_others = database.colocations.values().find(hashed).map(|colocation| of_hashes(colocation) as u32);
        let count = call.shard_count.or(like_others).unwrap_or(SHARDS_DEFAULT);
        store::add_hash_colocation(&name, Some(key_type), count)
    } else {
        if call.shard_count.is_some_and(|count| count != 1) {
            return Err(Error::sql(
                sqlstate::INVALID_PARAMETER_VALUE,
                format!("a table distributed by {} begins with one shard", call.method.name()),
            )
            .with_hint("Add shards with atoll.add_range_shard or atoll.assign_key."));
        }
        if call.method == Method::Range {
            check_order(scope, &call.table, key).await?;
        }
        store::add_single_colocation(&name, call.method, Some(key_type), scope.least_loaded_group())
    };
    let added = scope.directory(&sql).await?;
    let last = added.last().ok_or_else(|| Error::internal("the directory answered oddly"))?;
    store::added_colocation(last, &scope.facts.directory, call.method, Some(key_type))
}

/// Ranges are told apart by the coordinator, which knows the order of bytes only.
async fn check_order(scope: &mut Scope<'_>, table: &TableName, key: &KeyColumn) -> Result<()> {
    if key.key_type == KeyType::Numeric {
        return Err(Error::unsupported(
            "a numeric column cannot be distributed by range",
            "The coordinator tells ranges apart, and does not compare numeric values.",
            "Use an integer, text, uuid, date or timestamp column, or distribute by hash.",
        ));
    }
    if !matches!(key.key_type, KeyType::Text | KeyType::Bpchar) {
        return Ok(());
    }
    let sql = format!(
        "SELECT CASE collname WHEN 'default' THEN (SELECT datcollate FROM pg_database WHERE datname = current_database()) \
             ELSE collcollate END IN ('C', 'POSIX', 'C.UTF-8', 'C.utf8') \
         FROM pg_attribute JOIN pg_collation ON pg_collation.oid = attcollation WHERE attrelid = {} AND attname = {}",
        regclass(table),
        atoll_planner::quote_literal(&key.name)
    );
    let results = scope.catalog(&sql).await?;
    if results.first().map(|set| set.scalar()).transpose()? == Some("t") {
        return Ok(());
    }
    Err(Error::unsupported(
        format!("column \"{}\" cannot be distributed by range", key.name),
        "Its collation orders text otherwise than by bytes.",
        "Give the column COLLATE \"C\", or distribute by hash.",
    ))
}
