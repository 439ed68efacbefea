//! The text that stands for Atoll's own relations in a catalog query: their rows of this moment as VALUES, with every column's type given,
//! so that no rows at all work, too.

use std::sync::atomic::Ordering;

use atoll_planner::directory::{Colocation, Directory, Group, GroupIndex, Table, TableName};
use atoll_planner::plan::{SizeFunction, VirtualRelation};
use atoll_planner::{quote_identifier, quote_literal};
use atoll_proto::v1::GroupEvent;

use super::group_calls;
use super::keeper::Keeper;
use super::nodes::NodeReport;
use super::sizes::{Sizes, measure, measure_all, measure_database};
use crate::error::Result;
use crate::facts::DatabaseFacts;
use crate::lane::ResultSet;
use crate::routing::Routing;

/// A relation to be: columns with their types, and rows of SQL expressions.
struct Relation {
    columns: &'static [(&'static str, &'static str)],
    rows: Vec<Vec<String>>,
}

impl Relation {
    fn sql(&self) -> String {
        let names: Vec<String> = self.columns.iter().map(|(name, _)| quote_identifier(name)).collect();
        let casts: Vec<String> =
            self.columns.iter().zip(&names).map(|((_, data_type), name)| format!("{name}::{data_type}")).collect();
        // The first row is never shown: it makes the text right when it is the only one.
        let nothing = vec!["NULL"; self.columns.len()].join(", ");
        let mut rows = vec![format!("({nothing}, false)")];
        rows.extend(self.rows.iter().map(|row| format!("({}, true)", row.join(", "))));
        format!(
            "(SELECT {} FROM (VALUES {}) AS listed ({}, is_row) WHERE is_row)",
            casts.join(", "),
            rows.join(", "),
            names.join(", ")
        )
    }
}

/// The text that stands for `relation`, as a client of the database `facts` sees it. In Atoll's own relations, sizes are NULL for what is on
/// groups that cannot be read. `own` is what the session's transaction sees of [`SIZES`](super::sizes::SIZES), which the size functions show.
///
/// # Errors
/// For the size functions: why a group could not be read.
pub async fn sql(
    relation: VirtualRelation,
    keeper: &Keeper,
    facts: &DatabaseFacts,
    own: Vec<(GroupIndex, Vec<ResultSet>)>,
) -> Result<String> {
    let directory = &facts.directory;
    Ok(match relation {
        VirtualRelation::AtollShards => {
            let mut rows = Vec::new();
            for name in directory.databases.keys() {
                rows.extend(shard_rows(directory, name, &measure(keeper, directory, name).await));
            }
            let columns = &[
                ("shard_id", "int"),
                ("database", "text"),
                ("schema", "text"),
                ("group", "text"),
                ("hash_from", "bigint"),
                ("hash_to", "bigint"),
                ("epoch", "bigint"),
                ("state", "text"),
                ("bytes", "bigint"),
                ("ranges", "text"),
            ];
            Relation { columns, rows }.sql()
        }
        VirtualRelation::AtollNodes => {
            let columns = &[
                ("node", "text"),
                ("group", "text"),
                ("role", "text"),
                ("state", "text"),
                ("zone", "text"),
                ("capacity", "float8"),
                ("host", "text"),
                ("port", "int"),
                ("lag_bytes", "bigint"),
                ("lanes", "int"),
                ("lanes_max", "int"),
                ("load", "float8"),
                ("agent", "text"),
                ("epoch", "bigint"),
                ("lag_ms", "bigint"),
                ("lease_ms", "bigint"),
                ("lsn", "pg_catalog.pg_lsn"),
                ("timeline", "int"),
                ("disk_free_bytes", "bigint"),
                ("reason", "text"),
                ("ejected", "boolean"),
                ("in_use", "int"),
            ];
            let rows = keeper.nodes().iter().map(|report| node_row(report, keeper.routing())).collect();
            Relation { columns, rows }.sql()
        }
        VirtualRelation::AtollEvents => {
            let columns = &[
                ("at", "timestamptz"),
                ("group", "text"),
                ("node", "text"),
                ("kind", "text"),
                ("epoch", "bigint"),
                ("message", "text"),
            ];
            Relation { columns, rows: group_calls::events(keeper).await.iter().map(event_row).collect() }.sql()
        }
        VirtualRelation::AtollTables => {
            let columns = &[
                ("table_name", "regclass"),
                ("database", "text"),
                ("schema", "text"),
                ("name", "text"),
                ("method", "text"),
                ("key_column", "text"),
                ("colocation_id", "int"),
                ("shard_count", "int"),
            ];
            Relation { columns, rows: table_rows(facts) }.sql()
        }
        VirtualRelation::CitusTables => {
            let sizes = measure(keeper, directory, &facts.name).await;
            let columns = &[
                ("table_name", "regclass"),
                ("citus_table_type", "text"),
                ("distribution_column", "text"),
                ("colocation_id", "int"),
                ("table_size", "text"),
                ("shard_count", "bigint"),
                ("table_owner", "name"),
                ("access_method", "name"),
            ];
            Relation { columns, rows: citus_table_rows(facts, &sizes) }.sql()
        }
        VirtualRelation::CitusShards => {
            let sizes = measure(keeper, directory, &facts.name).await;
            let columns = &[
                ("table_name", "regclass"),
                ("shardid", "bigint"),
                ("shard_name", "text"),
                ("citus_table_type", "text"),
                ("colocation_id", "int"),
                ("nodename", "text"),
                ("nodeport", "int"),
                ("shard_size", "bigint"),
            ];
            Relation { columns, rows: citus_shard_rows(facts, &keeper.nodes(), &sizes) }.sql()
        }
        VirtualRelation::PgDatabase => {
            let shown: Vec<String> = directory
                .databases
                .keys()
                .map(String::as_str)
                .chain(["template0", "template1"])
                .map(quote_literal)
                .collect();
            format!("(SELECT * FROM pg_catalog.pg_database WHERE datname IN ({}))", shown.join(", "))
        }
        VirtualRelation::Size(SizeFunction::Database) => {
            let mut sizes = Vec::new();
            for name in directory.databases.keys() {
                sizes.push((name, measure_database(keeper, directory, name).await?));
            }
            database_size(&sizes)
        }
        VirtualRelation::Size(function) => {
            relation_size(function, &measure_all(keeper, directory, &facts.name, own).await?)
        }
    })
}

/// The beginning of a subquery that answers a size function: from the cluster's sizes, and what is not there as PostgreSQL does. The asked
/// argument follows in parentheses.
fn relation_size(function: SizeFunction, sizes: &Sizes) -> String {
    let name = function.name();
    let by_name = sizes.by_name();
    let rows = by_name.into_iter().map(|(relation, bytes)| {
        let bytes = match function {
            SizeFunction::Table => bytes.total - bytes.indexes,
            SizeFunction::Total | SizeFunction::Database => bytes.total,
            SizeFunction::Main => bytes.main,
            SizeFunction::Indexes => bytes.indexes,
        };
        format!("({}, {}, {bytes}::bigint)", text(&relation.schema), text(&relation.name))
    });
    let rows: Vec<String> = std::iter::once("(NULL::text, NULL::text, NULL::bigint)".to_owned()).chain(rows).collect();
    format!(
        "(SELECT coalesce((SELECT known.bytes FROM pg_catalog.pg_class AS class \
         JOIN pg_catalog.pg_namespace AS namespace ON namespace.oid = class.relnamespace \
         JOIN (VALUES {}) AS known (schema, name, bytes) ON known.schema = namespace.nspname AND known.name = class.relname \
         WHERE class.oid = calls.asked::pg_catalog.regclass), pg_catalog.{name}(calls.asked::pg_catalog.regclass)) AS {name} \
         FROM (SELECT ",
        rows.join(", ")
    )
}

/// As [`relation_size`], for databases asked for by name or OID.
fn database_size(sizes: &[(&String, u64)]) -> String {
    let rows = sizes.iter().map(|(name, bytes)| format!("({}, {bytes}::bigint)", text(name)));
    let rows: Vec<String> = std::iter::once("(NULL::text, NULL::bigint)".to_owned()).chain(rows).collect();
    format!(
        "(SELECT coalesce((SELECT known.bytes + pg_catalog.pg_database_size(listed.oid) FROM pg_catalog.pg_database AS listed \
         JOIN (VALUES {}) AS known (name, bytes) ON known.name = listed.datname \
         WHERE calls.asked::text IN (listed.datname::text, listed.oid::text)), pg_catalog.pg_database_size(calls.asked)) \
         AS pg_database_size FROM (SELECT ",
        rows.join(", ")
    )
}

fn text(value: &str) -> String {
    quote_literal(value)
}

fn bytes_or_null(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "NULL".to_owned(), |bytes| bytes.to_string())
}

fn regclass(name: &TableName) -> String {
    let qualified = format!("{}.{}", quote_identifier(&name.schema), quote_identifier(&name.name));
    // NULL rather than an error for a table that another transaction has just dropped.
    format!("pg_catalog.to_regclass({})", quote_literal(&qualified))
}

fn group_name(directory: &Directory, index: usize) -> &str {
    directory.groups.get(index).map_or("", |group| group.name.as_str())
}

/// The tables of a database in the order of their names.
fn tables(facts: &DatabaseFacts) -> Vec<(&TableName, &Table)> {
    let mut tables: Vec<_> = facts.database.tables.iter().collect();
    tables.sort_by_key(|(name, _)| *name);
    tables
}

fn shard_rows(directory: &Directory, database: &str, sizes: &Sizes) -> Vec<Vec<String>> {
    let colocations = directory.databases.get(database).into_iter().flat_map(|database| database.colocations.values());
    let mut shards: Vec<_> = colocations
        .flat_map(|colocation| {
            colocation.shards.iter().enumerate().map(move |(position, shard)| (colocation, position, shard))
        })
        .collect();
    shards.sort_by_key(|(.., shard)| shard.id);
    let edge = |hash: Option<i64>| hash.map_or_else(|| "NULL".to_owned(), |hash| format!("'{hash}'::bigint"));
    let row = |(colocation, position, shard): &(&Colocation, usize, &atoll_planner::directory::Shard)| {
        vec![
            shard.id.0.to_string(),
            text(database),
            text(&shard.id.schema("public")),
            text(group_name(directory, shard.group.0)),
            edge(shard.hashes.map(|hashes| hashes.from)),
            edge(shard.hashes.map(|hashes| hashes.to)),
            shard.epoch.to_string(),
            text("active"),
            bytes_or_null(sizes.of_shard(shard)),
            ranges_of(colocation, *position).map_or_else(|| "NULL".to_owned(), |ranges| text(&ranges)),
        ]
    };
    shards.iter().map(row).collect()
}

/// The ranges of keys that a shard holds, as PostgreSQL writes ranges.
fn ranges_of(colocation: &Colocation, position: usize) -> Option<String> {
    let text = |index: usize| colocation.ranges.get(index)?.from.as_ref().map(|edge| edge.text.as_str());
    let ranges: Vec<String> = (0..colocation.ranges.len())
        .filter(|index| colocation.ranges[*index].shard == position)
        .map(|index| format!("[{}, {})", text(index).unwrap_or(""), text(index + 1).unwrap_or("")))
        .collect();
    (!ranges.is_empty()).then(|| ranges.join(", "))
}

fn node_row(report: &NodeReport, routing: &Routing) -> Vec<String> {
    let state = report.shown();
    let ejected = routing.replica(&report.group, &report.node.name).is_some_and(|target| target.is_out());
    let in_use = routing.in_use(&report.node.name).load(Ordering::Relaxed);
    vec![
        text(&report.node.name),
        text(&report.group),
        text(&state.role),
        text(&state.state),
        text(&report.node.zone),
        format!("{}::float8", report.node.capacity),
        text(&state.postgres_host),
        state.postgres_port.to_string(),
        state.lag_bytes.to_string(),
        state.lanes.to_string(),
        state.lanes_max.to_string(),
        format!("{}::float8", state.load),
        text(&report.node.agent_address),
        state.epoch.to_string(),
        state.lag_ms.to_string(),
        state.lease_ms.to_string(),
        if state.lsn == 0 { "NULL".to_owned() } else { text(&format!("{:X}/{:X}", state.lsn >> 32, state.lsn as u32)) },
        state.timeline.to_string(),
        state.disk_free_bytes.to_string(),
        text(&state.reason),
        ejected.to_string(),
        in_use.to_string(),
    ]
}

fn event_row(event: &GroupEvent) -> Vec<String> {
    vec![
        format!("pg_catalog.to_timestamp({} / 1000.0)", event.at_ms),
        text(&event.group),
        text(&event.node),
        text(&event.kind),
        event.epoch.to_string(),
        text(&event.message),
    ]
}

fn table_rows(facts: &DatabaseFacts) -> Vec<Vec<String>> {
    let row = |(name, table): (&TableName, &Table)| {
        let (method, key, colocation, shards) = match table {
            Table::Reference => ("reference", "NULL".to_owned(), "NULL".to_owned(), 1),
            Table::Distributed { colocation, key } => {
                let found = facts.database.colocations.get(colocation);
                let method = found.map_or("", |found| found.method.name());
                let key = if key.is_none() { "NULL".to_owned() } else { text(&key.name) };
                (method, key, colocation.0.to_string(), found.map_or(0, |found| found.shards.len()))
            }
        };
        vec![
            regclass(name),
            text(&facts.name),
            text(&name.schema),
            text(&name.name),
            text(method),
            key,
            colocation,
            shards.to_string(),
        ]
    };
    tables(facts).into_iter().map(row).collect()
}

/// Citus's names for how a table is spread, its key, and the number of the co-location group (0 for reference tables).
fn citus_spread(table: &Table) -> (&'static str, &str, u32) {
    match table {
        Table::Reference => ("reference", "<none>", 0),
        Table::Distributed { colocation, key } if key.is_none() => ("schema", "<none>", colocation.0),
        Table::Distributed { colocation, key } => ("distributed", &key.name, colocation.0),
    }
}

fn citus_table_rows(facts: &DatabaseFacts, sizes: &Sizes) -> Vec<Vec<String>> {
    let by_name = sizes.by_name();
    let row = |(name, table): (&TableName, &Table)| {
        let (citus_type, key, colocation) = citus_spread(table);
        let shards = match table {
            Table::Reference => 1,
            Table::Distributed { colocation, .. } => {
                facts.database.colocations.get(colocation).map_or(0, |colocation| colocation.shards.len())
            }
        };
        let of_class = |column: &str| {
            format!(
                "(SELECT {column} FROM pg_catalog.pg_class LEFT JOIN pg_catalog.pg_am ON pg_am.oid = relam WHERE pg_class.oid = {})",
                regclass(name)
            )
        };
        let bytes = by_name.get(name).map_or(0, |bytes| bytes.total);
        vec![
            regclass(name),
            text(citus_type),
            text(key),
            colocation.to_string(),
            format!("pg_catalog.pg_size_pretty({}::bigint)", bytes_or_null(sizes.unread.is_empty().then_some(bytes))),
            shards.to_string(),
            of_class("pg_catalog.pg_get_userbyid(relowner)"),
            of_class("amname"),
        ]
    };
    tables(facts).into_iter().map(row).collect()
}

fn citus_shard_rows(facts: &DatabaseFacts, nodes: &[NodeReport], sizes: &Sizes) -> Vec<Vec<String>> {
    let address = |group: &Group| {
        let state = nodes.iter().find(|report| report.group == group.name).map(NodeReport::shown).unwrap_or_default();
        (text(&state.postgres_host), state.postgres_port.to_string())
    };
    let addresses: Vec<_> = facts.directory.groups.iter().map(address).collect();
    let mut rows = Vec::new();
    for (name, table) in tables(facts) {
        let (citus_type, _, colocation) = citus_spread(table);
        let mut add = |shard: String, shard_name: String, group: GroupIndex, bytes: u64| {
            let (host, port) = addresses.get(group.0).cloned().unwrap_or_else(|| ("NULL".into(), "NULL".into()));
            let table = regclass(name);
            rows.push(vec![
                table,
                shard,
                shard_name,
                text(citus_type),
                colocation.to_string(),
                host,
                port,
                bytes_or_null(sizes.known(group, bytes)),
            ]);
        };
        match table {
            Table::Reference => {
                for group in (0..facts.directory.groups.len()).map(GroupIndex) {
                    let key = (group, name.clone());
                    let bytes = sizes.whole.get(&key).map_or(0, |bytes| bytes.total);
                    add("0".to_owned(), text(&format!("{}.{}", name.schema, name.name)), group, bytes);
                }
            }
            Table::Distributed { colocation, .. } => {
                let shards = facts.database.colocations.get(colocation).map(|colocation| colocation.shards.as_slice());
                for shard in shards.unwrap_or_default() {
                    let bytes = sizes.slices.get(&(shard.id, name.clone())).map_or(0, |bytes| bytes.total);
                    let shard_name = format!("{}.{}", shard.id.schema(&name.schema), name.name);
                    add(shard.id.0.to_string(), text(&shard_name), shard.group, bytes);
                }
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relation_without_rows_is_right_too() {
        let relation = Relation { columns: &[("a", "int"), ("group", "text")], rows: Vec::new() };
        assert_eq!(
            relation.sql(),
            "(SELECT a::int, \"group\"::text FROM (VALUES (NULL, NULL, false)) AS listed (a, \"group\", is_row) WHERE is_row)"
        );
    }
}
