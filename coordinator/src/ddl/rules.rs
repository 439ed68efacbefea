//! What distributed and reference tables cannot have, checked in the catalog database after a statement ran there.

use std::collections::HashMap;

use atoll_planner::directory::{Table, TableName};

use super::Scope;
use super::rows::values;
use crate::directory::rows::{Row, Rows};
use crate::error::{Error, Result};

/// Checks the tables in `focus`, and foreign keys from and to them; `tables` says how every table is spread.
///
/// # Errors
/// 0A000 for a unique constraint without the distribution column, a foreign key that crosses shards, or a changed key type.
pub(super) async fn check(
    scope: &mut Scope<'_>,
    tables: &HashMap<TableName, Table>,
    focus: &[TableName],
) -> Result<()> {
    if tables.is_empty() || focus.is_empty() {
        return Ok(());
    }
    let listed = format!(
        "SELECT class.oid, schema, name FROM {} JOIN pg_namespace ON nspname = schema \
         JOIN pg_class AS class ON relnamespace = pg_namespace.oid AND relname = name",
        values(focus)
    );
    let sql = format!(
        "SELECT schema, name, index_class.relname, indisexclusion, conname, \
             (SELECT string_agg(attname, E'\\n' ORDER BY position) \
              FROM unnest(indkey::smallint[]) WITH ORDINALITY AS key (number, position) \
              JOIN pg_attribute ON attrelid = indrelid AND attnum = number \
              LEFT JOIN pg_operator ON pg_operator.oid = conexclop[position] \
              WHERE position <= indnkeyatts AND (conexclop IS NULL OR oprname = '=')) \
         FROM ({listed}) AS listed JOIN pg_index ON indrelid = listed.oid AND (indisunique OR indisexclusion) \
         JOIN pg_class AS index_class ON index_class.oid = indexrelid \
         LEFT JOIN pg_constraint ON conindid = indexrelid AND conrelid = indrelid AND contype IN ('p', 'u', 'x'); \
         SELECT child_namespace.nspname, child.relname, parent_namespace.nspname, parent.relname, conname, \
             (SELECT string_agg(attname, E'\\n' ORDER BY position) FROM unnest(conkey) WITH ORDINALITY AS key (number, position) \
              JOIN pg_attribute ON attrelid = conrelid AND attnum = number), \
             (SELECT string_agg(attname, E'\\n' ORDER BY position) FROM unnest(confkey) WITH ORDINALITY AS key (number, position) \
              JOIN pg_attribute ON attrelid = confrelid AND attnum = number), \
             confupdtype, confdeltype \
         FROM pg_constraint \
         JOIN pg_class AS child ON child.oid = conrelid JOIN pg_namespace AS child_namespace ON child_namespace.oid = child.relnamespace \
         JOIN pg_class AS parent ON parent.oid = confrelid \
         JOIN pg_namespace AS parent_namespace ON parent_namespace.oid = parent.relnamespace \
         WHERE contype = 'f' AND (conrelid IN (SELECT oid FROM ({listed}) AS listed) OR confrelid IN (SELECT oid FROM ({listed}) AS listed)); \
         SELECT schema, name, attname, format_type(atttypid, NULL) \
         FROM ({listed}) AS listed JOIN pg_attribute ON attrelid = listed.oid AND attnum > 0 AND NOT attisdropped",
    );
    let results = scope.catalog(&sql).await?;
    let [indexes, foreign_keys, columns] = results.as_slice() else {
        return Err(Error::internal("the catalog answered oddly"));
    };
    for row in Rows::new(indexes) {
        check_index(tables, row)?;
    }
    for row in Rows::new(foreign_keys) {
        check_foreign_key(tables, row)?;
    }
    for row in Rows::new(columns) {
        check_key_type(tables, row)?;
    }
    Ok(())
}

fn table_at(row: Row<'_>, column: usize) -> Result<TableName> {
    Ok(TableName::new(row.text(column)?, row.text(column + 1)?))
}

fn lines(row: Row<'_>, column: usize) -> Vec<&str> {
    row.maybe(column).map(|text| text.split('\n').collect()).unwrap_or_default()
}

fn check_index(tables: &HashMap<TableName, Table>, row: Row<'_>) -> Result<()> {
    let table = table_at(row, 0)?;
    let Some(Table::Distributed { key, .. }) = tables.get(&table) else { return Ok(()) };
    if key.is_none() || lines(row, 5).contains(&key.name.as_str()) {
        return Ok(());
    }
    let index = row.text(2)?;
    let (kind, name) = match (row.text(3)?, row.maybe(4)) {
        ("t", name) => ("exclusion constraint", name.unwrap_or(index)),
        (_, Some(name)) => ("unique constraint", name),
        (_, None) => ("unique index", index),
    };
    let with = if kind == "exclusion constraint" { " with an equality operator" } else { "" };
    Err(Error::unsupported(
        format!("{kind} on distributed table \"{}\" must include the distribution column", table.name),
        format!(
            "\"{name}\" lacks column \"{}\"{with}, so that rows in different shards could not be checked against each other.",
            key.name
        ),
        format!("Add \"{}\" to its columns, or use a reference table.", key.name),
    ))
}

fn check_foreign_key(tables: &HashMap<TableName, Table>, row: Row<'_>) -> Result<()> {
    let (child, parent, name) = (table_at(row, 0)?, table_at(row, 2)?, row.text(4)?);
    let refuse = |detail: String, hint: &str| {
        Err(Error::unsupported(
            format!(
                "foreign key \"{name}\" from table \"{}\" to table \"{}\" is not supported",
                child.name, parent.name
            ),
            detail,
            hint,
        ))
    };
    let (Some(from), to) = (tables.get(&child), tables.get(&parent)) else {
        return match tables.get(&parent) {
            Some(Table::Distributed { .. }) => refuse(
                format!("\"{}\" is not distributed, but \"{}\" is.", child.name, parent.name),
                "Distribute the referencing table by the referencing column, too.",
            ),
            _ => Ok(()),
        };
    };
    match (from, to) {
        (_, Some(Table::Reference)) if !matches!(from, Table::Distributed { .. }) => Ok(()),
        (Table::Distributed { key, .. }, Some(Table::Reference)) => {
            let changes_key = lines(row, 5).contains(&key.name.as_str())
                && (matches!(row.text(7)?, "c" | "n" | "d") || matches!(row.text(8)?, "n" | "d"));
            if changes_key {
                return refuse(
                    format!("Its actions would change the distribution column \"{}\".", key.name),
                    "Use ON UPDATE NO ACTION, and ON DELETE NO ACTION or CASCADE.",
                );
            }
            Ok(())
        }
        (
            Table::Distributed { colocation, key },
            Some(Table::Distributed { colocation: parent_colocation, key: parent_key }),
        ) => {
            if colocation == parent_colocation && key.is_none() {
                return Ok(());
            }
            let (columns, referenced) = (lines(row, 5), lines(row, 6));
            let together =
                columns.iter().zip(&referenced).any(|(from, to)| *from == key.name && *to == parent_key.name);
            if colocation != parent_colocation {
                return refuse(
                    "The tables are not co-located.".to_owned(),
                    "Distribute both with colocate_with, or make the referenced table a reference table.",
                );
            }
            if !together {
                return refuse(
                    format!("It does not tie \"{}\" to \"{}\", the distribution columns.", key.name, parent_key.name),
                    "Include both tables' distribution columns in the foreign key.",
                );
            }
            if matches!(row.text(8)?, "n" | "d") || matches!(row.text(7)?, "c" | "n" | "d") {
                return refuse(
                    format!("Its actions would change the distribution column \"{}\".", key.name),
                    "Use ON UPDATE NO ACTION, and ON DELETE NO ACTION or CASCADE.",
                );
            }
            Ok(())
        }
        (Table::Reference, Some(Table::Distributed { .. })) => refuse(
            format!("\"{}\" is a reference table, but \"{}\" is distributed.", child.name, parent.name),
            "A reference table can only refer to reference tables.",
        ),
        (_, None) => refuse(
            format!(
                "\"{}\" is on every shard, but \"{}\" is neither distributed nor a reference table.",
                child.name, parent.name
            ),
            "Make the referenced table a reference table first, with create_reference_table.",
        ),
        (Table::Reference, Some(Table::Reference)) => Ok(()),
    }
}

fn check_key_type(tables: &HashMap<TableName, Table>, row: Row<'_>) -> Result<()> {
    let table = table_at(row, 0)?;
    let Some(Table::Distributed { key, .. }) = tables.get(&table) else { return Ok(()) };
    if row.text(2)? != key.name || super::key::type_of(row.text(3)?) == Some(key.key_type) {
        return Ok(());
    }
    Err(Error::unsupported(
        format!("cannot change the type of the distribution column \"{}\" of table \"{}\"", key.name, table.name),
        "Keys of another type can have other hashes, and so belong to other shards.",
        "Use undistribute_table first, then distribute the table again.",
    ))
}
