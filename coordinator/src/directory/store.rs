//! The directory's tables (schema `atoll` of database `atoll` on home): reading them whole, and the SQL of every change.
//!
//! The functions that yield SQL do nothing themselves: the caller runs the text at [`crate::place::Place::DIRECTORY`] inside the
//! transaction that it belongs to. Each counts itself as a change, so that every coordinator notices its commit.

use std::collections::{BTreeMap, HashMap};

use atoll_planner::directory::{
    Colocation, ColocationId, Database, Directory, Edge, Group, GroupIndex, Hashes, KeyColumn, KeyType, Method, Node,
    RangeEntry, Shard, ShardId, Table, TableName,
};
use atoll_planner::hash;
use atoll_planner::quote_literal;

use super::rows::{Row, Rows};
use crate::error::{Error, Result};
use crate::lane::ResultSet;

/// Creates what is missing of the directory's tables; for a transaction of its own.
pub const TABLES: &str = include_str!("tables.sql");

/// Reads the versions: one row (NULL, version) for the directory, and (database, version) for each catalog that ever changed.
pub const VERSIONS: &str = "SELECT NULL AS database, version FROM atoll.version \
    UNION ALL SELECT database, version FROM atoll.catalog_version";

/// Reads everything; see [`load`]. The statements must share a snapshot.
pub const LOAD: &str = "\
    SELECT version FROM atoll.version; \
    SELECT id, name, epoch FROM atoll.groups ORDER BY id; \
    SELECT name, group_id, zone, capacity, agent_address, agent_socket FROM atoll.nodes ORDER BY name; \
    SELECT name FROM atoll.databases WHERE ready; \
    SELECT id, database, method, key_type FROM atoll.colocations WHERE database IN (SELECT name FROM atoll.databases WHERE ready); \
    SELECT shards.id, colocation_id, hash_from, hash_to, group_id, epoch \
        FROM atoll.shards JOIN atoll.placements ON shard_id = shards.id ORDER BY hash_from NULLS LAST, shards.id; \
    SELECT database, schema, name, key_column, key_type, colocation_id FROM atoll.tables; \
    SELECT colocation_id, key_from, shard_id FROM atoll.ranges; \
    SELECT colocation_id, hash, shard_id FROM atoll.assigned_keys; \
    SELECT database, schema, colocation_id FROM atoll.schemas";

/// How many results [`LOAD`] has.
pub const LOAD_RESULTS: usize = 10;

/// A key type's name in the directory.
pub fn key_type_name(key_type: KeyType) -> &'static str {
    match key_type {
        KeyType::Int2 => "int2",
        KeyType::Int4 => "int4",
        KeyType::Int8 => "int8",
        KeyType::Text => "text",
        KeyType::Bpchar => "bpchar",
        KeyType::Uuid => "uuid",
        KeyType::Date => "date",
        KeyType::Timestamp => "timestamp",
        KeyType::Timestamptz => "timestamptz",
        KeyType::Numeric => "numeric",
        KeyType::Bytea => "bytea",
    }
}

const KEY_TYPES: [KeyType; 11] = [
    KeyType::Int2,
    KeyType::Int4,
    KeyType::Int8,
    KeyType::Text,
    KeyType::Bpchar,
    KeyType::Uuid,
    KeyType::Date,
    KeyType::Timestamp,
    KeyType::Timestamptz,
    KeyType::Numeric,
    KeyType::Bytea,
];

fn key_type(name: &str) -> Result<KeyType> {
    KEY_TYPES
        .into_iter()
        .find(|&known| key_type_name(known) == name)
        .ok_or_else(|| Error::internal(format!("the directory names an unknown key type \"{name}\"")))
}

/// The directory, from the results of [`LOAD`].
///
/// # Errors
/// XX000 when the tables contradict each other.
pub fn load(results: &[ResultSet]) -> Result<Directory> {
    let [version, groups, nodes, databases, colocations, shards, tables, ranges, assigned, schemas] = results else {
        return Err(Error::internal(format!("the directory came in {} results", results.len())));
    };
    let mut directory = Directory { version: Rows::new(version).only()?.parse(0)?, ..Directory::default() };
    let mut indexes = HashMap::new();
    for row in Rows::new(groups) {
        indexes.insert(row.parse::<i32>(0)?, GroupIndex(directory.groups.len()));
        directory.groups.push(Group { name: row.text(1)?.to_owned(), epoch: row.parse(2)?, nodes: Vec::new() });
    }
    let group = |id: i32| {
        indexes.get(&id).copied().ok_or_else(|| Error::internal(format!("the directory has no group with id {id}")))
    };
    for row in Rows::new(nodes) {
        directory.groups[group(row.parse(1)?)?.0].nodes.push(Node {
            name: row.text(0)?.to_owned(),
            zone: row.text(2)?.to_owned(),
            capacity: row.parse(3)?,
            agent_address: row.text(4)?.to_owned(),
            agent_socket: row.text(5)?.to_owned(),
        });
    }
    for row in Rows::new(databases) {
        directory.databases.insert(row.text(0)?.to_owned(), Database::default());
    }
    let mut owners = BTreeMap::new();
    for row in Rows::new(colocations) {
        let id = ColocationId(row.parse(0)?);
        let method = Method::named(row.text(2)?)
            .ok_or_else(|| Error::internal("the directory names an unknown distribution method"))?;
        let key_type = row.maybe(3).map(key_type).transpose()?;
        owners.insert(id, row.text(1)?.to_owned());
        let empty = Colocation { method, key_type, shards: Vec::new(), assigned: HashMap::new(), ranges: Vec::new() };
        database(&mut directory, row.text(1)?)?.colocations.insert(id, empty);
    }
    // Those of databases that are not ready yet have no owner here.
    for row in Rows::new(shards) {
        let Some(colocation) = owned(&mut directory, &owners, row.parse(1)?) else { continue };
        colocation.shards.push(Shard {
            id: ShardId(row.parse(0)?),
            hashes: hashes(row, 2)?,
            group: group(row.parse(4)?)?,
            epoch: row.parse(5)?,
        });
    }
    for row in Rows::new(ranges) {
        let Some(colocation) = owned(&mut directory, &owners, row.parse(0)?) else { continue };
        let from = row.maybe(1).map(|text| edge(colocation, text)).transpose()?;
        let shard = position(colocation, ShardId(row.parse(2)?))?;
        colocation.ranges.push(RangeEntry { from, shard });
    }
    for row in Rows::new(assigned) {
        let Some(colocation) = owned(&mut directory, &owners, row.parse(0)?) else { continue };
        let shard = position(colocation, ShardId(row.parse(2)?))?;
        colocation.assigned.insert(row.parse(1)?, shard);
    }
    for row in Rows::new(tables) {
        let Some(database) = directory.databases.get_mut(row.text(0)?) else { continue };
        let table = match (row.maybe(5), row.maybe(3)) {
            (None, _) => Table::Reference,
            (Some(_), None) => Table::Distributed { colocation: ColocationId(row.parse(5)?), key: KeyColumn::none() },
            (Some(_), Some(name)) => Table::Distributed {
                colocation: ColocationId(row.parse(5)?),
                key: KeyColumn { name: name.to_owned(), key_type: key_type(row.text(4)?)? },
            },
        };
        database.tables.insert(TableName::new(row.text(1)?, row.text(2)?), table);
    }
    for row in Rows::new(schemas) {
        let Some(database) = directory.databases.get_mut(row.text(0)?) else { continue };
        database.schemas.insert(row.text(1)?.to_owned(), ColocationId(row.parse(2)?));
    }
    let colocations = directory.databases.values_mut().flat_map(|database| database.colocations.values_mut());
    for colocation in colocations {
        colocation.ranges.sort_by(|left, right| {
            let value = |entry: &RangeEntry| entry.from.as_ref().map(|edge| edge.value.clone());
            value(left).cmp(&value(right))
        });
    }
    check(&directory)?;
    Ok(directory)
}

fn owned<'a>(
    directory: &'a mut Directory,
    owners: &BTreeMap<ColocationId, String>,
    id: u32,
) -> Option<&'a mut Colocation> {
    let id = ColocationId(id);
    directory.databases.get_mut(owners.get(&id)?)?.colocations.get_mut(&id)
}

fn hashes(row: Row<'_>, first: usize) -> Result<Option<Hashes>> {
    Ok(match row.maybe(first) {
        None => None,
        Some(_) => Some(Hashes { from: row.parse(first)?, to: row.parse(first + 1)? }),
    })
}

fn position(colocation: &Colocation, id: ShardId) -> Result<usize> {
    let found = colocation.shards.iter().position(|shard| shard.id == id);
    found.ok_or_else(|| Error::internal(format!("the directory maps keys to shard {id}, which is not there")))
}

/// An edge of a range from the text that [`RangeEntry`] keeps.
///
/// # Errors
/// XX000 when no key of the group can have this text.
pub fn edge(colocation: &Colocation, text: &str) -> Result<Edge> {
    let value = colocation.key_type.and_then(|key_type| hash::parse_text(key_type, text).ok());
    let value = value.ok_or_else(|| Error::internal(format!("the directory has a range from \"{text}\"")))?;
    Ok(Edge { text: text.to_owned(), value })
}

fn database<'a>(directory: &'a mut Directory, name: &str) -> Result<&'a mut Database> {
    directory
        .databases
        .get_mut(name)
        .ok_or_else(|| Error::internal(format!("the directory has no database \"{name}\"")))
}

/// What routing relies on: every key belongs to exactly one shard of its co-location group.
fn check(directory: &Directory) -> Result<()> {
    for (name, database) in &directory.databases {
        for (id, colocation) in &database.colocations {
            let hashes: Vec<Hashes> = colocation.shards.iter().map_while(|shard| shard.hashes).collect();
            let covers = match colocation.method {
                Method::Range => colocation.ranges.first().is_some_and(|first| first.from.is_none()),
                _ => {
                    hashes.first().is_some_and(|first| first.from == i64::MIN)
                        && hashes.last().is_some_and(|last| last.to == i64::MAX)
                        && hashes.windows(2).all(|pair| pair[0].to.checked_add(1) == Some(pair[1].from))
                }
            };
            if !covers {
                return Err(Error::internal(format!(
                    "the shards of co-location group {} of database \"{name}\" leave a gap or overlap",
                    id.0
                )));
            }
        }
    }
    Ok(())
}

/// Counts a change of the directory.
pub fn bump_directory() -> String {
    "INSERT INTO atoll.changes (database) VALUES (NULL)".to_owned()
}

/// Counts a change of a logical database's catalog: part of every transaction with DDL.
pub fn bump_catalog(database: &str) -> String {
    format!("INSERT INTO atoll.changes (database) VALUES ({})", quote_literal(database))
}

fn counted(change: &str) -> String {
    format!("{}; {change}", bump_directory())
}

/// Enters a table: a reference table, or a distributed one of a co-location group with this method.
pub fn add_table(database: &str, table: &TableName, spread: &Table, method: Option<Method>) -> String {
    let null = || "NULL".to_owned();
    let (key_column, key_type, colocation) = match spread {
        Table::Reference => (null(), null(), null()),
        Table::Distributed { colocation, key } if key.is_none() => (null(), null(), colocation.0.to_string()),
        Table::Distributed { colocation, key } => {
            (quote_literal(&key.name), quote_literal(key_type_name(key.key_type)), colocation.0.to_string())
        }
    };
    let method = method.map_or("reference", Method::name);
    counted(&format!(
        "INSERT INTO atoll.tables (database, schema, name, method, key_column, key_type, colocation_id) \
         VALUES ({}, {}, {}, '{method}', {key_column}, {key_type}, {colocation})",
        quote_literal(database),
        quote_literal(&table.schema),
        quote_literal(&table.name),
    ))
}

fn where_table(database: &str, table: &TableName) -> String {
    format!(
        "WHERE database = {} AND schema = {} AND name = {}",
        quote_literal(database),
        quote_literal(&table.schema),
        quote_literal(&table.name)
    )
}

/// Forgets a table (dropped, or no longer distributed).
pub fn remove_table(database: &str, table: &TableName) -> String {
    counted(&format!("DELETE FROM atoll.tables {}", where_table(database, table)))
}

/// Gives a table another name, another schema, or both.
pub fn rename_table(database: &str, from: &TableName, to: &TableName) -> String {
    counted(&format!(
        "UPDATE atoll.tables SET schema = {}, name = {} {}",
        quote_literal(&to.schema),
        quote_literal(&to.name),
        where_table(database, from)
    ))
}

/// Gives a table's key column another name.
pub fn rename_key(database: &str, table: &TableName, column: &str) -> String {
    counted(&format!("UPDATE atoll.tables SET key_column = {} {}", quote_literal(column), where_table(database, table)))
}

/// Notes that a user schema with all its tables has another name.
pub fn rename_schema(database: &str, from: &str, to: &str) -> String {
    let (database, from, to) = (quote_literal(database), quote_literal(from), quote_literal(to));
    counted(&format!(
        "UPDATE atoll.tables SET schema = {to} WHERE database = {database} AND schema = {from}; \
         UPDATE atoll.schemas SET schema = {to} WHERE database = {database} AND schema = {from}"
    ))
}

/// Lets a co-location group without tables take tables whose keys are of `key_type`. The last result has one row, or none when
/// another transaction claimed the group for another type meanwhile (it waits for that transaction to end).
pub fn claim_colocation(colocation: ColocationId, key_type: KeyType) -> String {
    let name = key_type_name(key_type);
    counted(&format!(
        "UPDATE atoll.colocations SET key_type = '{name}' WHERE id = {} AND (key_type IS NULL OR key_type = '{name}') \
         RETURNING id",
        colocation.0
    ))
}

/// Adds a co-location group of `shard_count` shards by hash, placed over the groups in turn. The last result is for
/// [`added_colocation`].
pub fn add_hash_colocation(database: &str, key_type: Option<KeyType>, shard_count: u32) -> String {
    add_colocation(database, Method::Hash, key_type, &Colocation::even_ranges(shard_count), 0)
}

/// Adds a co-location group that begins with one shard for everything, on the group with this position. The last result is for
/// [`added_colocation`].
pub fn add_single_colocation(database: &str, method: Method, key_type: Option<KeyType>, group: GroupIndex) -> String {
    add_colocation(database, method, key_type, &[(i64::MIN, i64::MAX)], group.0)
}

fn add_colocation(
    database: &str,
    method: Method,
    key_type: Option<KeyType>,
    hashes: &[(i64, i64)],
    first_group: usize,
) -> String {
    let key_type = key_type.map_or("NULL".to_owned(), |key_type| quote_literal(key_type_name(key_type)));
    let ranges: Vec<String> = hashes
        .iter()
        .enumerate()
        .map(|(position, (from, to))| match method {
            Method::Range => format!("({position}, NULL::bigint, NULL::bigint)"),
            // The least bigint has no literal of its own type: its digits alone are too large.
            _ => format!("({position}, '{from}'::bigint, '{to}'::bigint)"),
        })
        .collect();
    let whole = match method {
        Method::Range => ", range AS (INSERT INTO atoll.ranges SELECT colocation_id, NULL, id FROM shard)",
        _ => "",
    };
    counted(&format!(
        "WITH colocation AS ( \
             INSERT INTO atoll.colocations (database, method, key_type, shard_count) \
             VALUES ({database}, '{method}', {key_type}, {shard_count}) RETURNING id \
         ), shard AS ( \
             INSERT INTO atoll.shards (colocation_id, hash_from, hash_to) \
             SELECT colocation.id, range.hash_from, range.hash_to \
             FROM colocation, (VALUES {ranges}) AS range (position, hash_from, hash_to) ORDER BY range.position \
             RETURNING id, colocation_id, hash_from, hash_to \
         ), home_first AS ( \
             SELECT id, row_number() OVER (ORDER BY id) - 1 AS position, count(*) OVER () AS count FROM atoll.groups \
         ), placement AS ( \
             INSERT INTO atoll.placements (shard_id, group_id) \
             SELECT shard.id, home_first.id \
             FROM (SELECT id, row_number() OVER (ORDER BY hash_from) - 1 AS position FROM shard) AS shard \
             JOIN home_first ON home_first.position = (shard.position + {first_group}) % home_first.count \
             RETURNING shard_id, group_id, epoch \
         ){whole} SELECT shard.colocation_id, shard.id, shard.hash_from, shard.hash_to, groups.name, placement.epoch \
         FROM shard JOIN placement ON placement.shard_id = shard.id JOIN atoll.groups ON groups.id = placement.group_id \
         ORDER BY shard.hash_from",
        database = quote_literal(database),
        method = method.name(),
        shard_count = hashes.len(),
        ranges = ranges.join(", "),
    ))
}

/// The co-location group that [`add_hash_colocation`] or [`add_single_colocation`] made.
///
/// # Errors
/// XX000 when `result` is not its result, or `directory` is so old that it misses a group.
pub fn added_colocation(
    result: &ResultSet,
    directory: &Directory,
    method: Method,
    key_type: Option<KeyType>,
) -> Result<(ColocationId, Colocation)> {
    let mut id = None;
    let mut shards = Vec::new();
    for row in Rows::new(result) {
        id = Some(ColocationId(row.parse(0)?));
        let name = row.text(4)?;
        let group = directory
            .groups
            .iter()
            .position(|group| group.name == name)
            .ok_or_else(|| Error::internal(format!("group \"{name}\" is not known here yet")))?;
        shards.push(Shard {
            id: ShardId(row.parse(1)?),
            hashes: hashes(row, 2)?,
            group: GroupIndex(group),
            epoch: row.parse(5)?,
        });
    }
    let id = id.ok_or_else(|| Error::internal("no shard was added"))?;
    let ranges = match method {
        Method::Range => vec![RangeEntry { from: None, shard: 0 }],
        _ => Vec::new(),
    };
    Ok((id, Colocation { method, key_type, shards, assigned: HashMap::new(), ranges }))
}

/// Adds a shard that holds no hashes to a co-location group. The last result has its number and its epoch.
pub fn add_shard(colocation: ColocationId, group: &str) -> String {
    counted(&format!(
        "WITH shard AS ( \
             INSERT INTO atoll.shards (colocation_id) VALUES ({}) RETURNING id \
         ), counted AS ( \
             UPDATE atoll.colocations SET shard_count = shard_count + 1 WHERE id = {} \
         ) INSERT INTO atoll.placements (shard_id, group_id) \
         SELECT shard.id, groups.id FROM shard, atoll.groups WHERE groups.name = {} RETURNING shard_id, epoch",
        colocation.0,
        colocation.0,
        quote_literal(group)
    ))
}

/// Gives a shard another number: statements planned before do not find its slices any more. The last result has the number.
pub fn renumber_shard(shard: ShardId) -> String {
    counted(&format!(
        "UPDATE atoll.placements SET epoch = epoch + 1 WHERE shard_id = {old}; \
         UPDATE atoll.shards SET id = DEFAULT WHERE id = {old} RETURNING id",
        old = shard.0
    ))
}

/// Replaces the ranges of a co-location group.
pub fn set_ranges(colocation: ColocationId, ranges: &[(Option<&str>, ShardId)]) -> String {
    let rows: Vec<String> = ranges
        .iter()
        .map(|(from, shard)| {
            format!("({}, {}, {})", colocation.0, from.map_or("NULL".to_owned(), quote_literal), shard.0)
        })
        .collect();
    counted(&format!(
        "DELETE FROM atoll.ranges WHERE colocation_id = {}; \
         INSERT INTO atoll.ranges (colocation_id, key_from, shard_id) VALUES {}",
        colocation.0,
        rows.join(", ")
    ))
}

/// Assigns a key, by its hash, to a shard.
pub fn assign_key(colocation: ColocationId, hash: i64, key: &str, shard: ShardId) -> String {
    counted(&format!(
        "INSERT INTO atoll.assigned_keys (colocation_id, hash, key, shard_id) VALUES ({}, '{hash}', {}, {}) \
         ON CONFLICT (colocation_id, hash) DO UPDATE SET key = excluded.key, shard_id = excluded.shard_id",
        colocation.0,
        quote_literal(key),
        shard.0
    ))
}

/// Notes that a schema's tables are together on the shard of a co-location group.
pub fn add_schema(database: &str, schema: &str, colocation: ColocationId) -> String {
    counted(&format!(
        "INSERT INTO atoll.schemas (database, schema, colocation_id) VALUES ({}, {}, {})",
        quote_literal(database),
        quote_literal(schema),
        colocation.0
    ))
}

/// Forgets that a schema is distributed, with its co-location group, which has no tables any more.
pub fn remove_schema(database: &str, schema: &str, colocation: ColocationId) -> String {
    counted(&format!(
        "DELETE FROM atoll.schemas WHERE database = {} AND schema = {}; DELETE FROM atoll.colocations WHERE id = {}",
        quote_literal(database),
        quote_literal(schema),
        colocation.0
    ))
}

/// Removes a co-location group; fails (23503) while a table belongs to it.
pub fn remove_colocation(colocation: ColocationId) -> String {
    counted(&format!("DELETE FROM atoll.colocations WHERE id = {}", colocation.0))
}

/// Enters a logical database that is about to be created; nothing when it is there.
pub fn add_database(name: &str) -> String {
    format!("INSERT INTO atoll.databases (name) VALUES ({}) ON CONFLICT DO NOTHING", quote_literal(name))
}

/// Opens a logical database to clients.
pub fn open_database(name: &str) -> String {
    counted(&format!("UPDATE atoll.databases SET ready = true WHERE name = {} AND NOT ready", quote_literal(name)))
}

/// Closes a logical database to clients, before it is dropped.
pub fn close_database(name: &str) -> String {
    counted(&format!("UPDATE atoll.databases SET ready = false WHERE name = {}", quote_literal(name)))
}

/// Forgets a logical database with its tables and shards. Its catalog's version stays, in case one of that name comes again.
pub fn remove_database(name: &str) -> String {
    let name = quote_literal(name);
    counted(&format!(
        "DELETE FROM atoll.tables WHERE database = {name}; DELETE FROM atoll.databases WHERE name = {name}"
    ))
}

/// Enters a group; nothing when it is there.
pub fn add_group(name: &str, epoch: u64) -> String {
    counted(&format!(
        "INSERT INTO atoll.groups (name, epoch) VALUES ({}, {epoch}) ON CONFLICT (name) DO NOTHING",
        quote_literal(name)
    ))
}

/// Enters a node, or brings what is known of it up to date.
pub fn add_node(node: &Node, group: &str) -> String {
    counted(&format!(
        "INSERT INTO atoll.nodes (name, group_id, zone, capacity, agent_address, agent_socket) \
         SELECT {name}, id, {zone}, {capacity}, {address}, {socket} FROM atoll.groups WHERE name = {group} \
         ON CONFLICT (name) DO UPDATE SET zone = excluded.zone, capacity = excluded.capacity, \
             agent_address = excluded.agent_address, agent_socket = excluded.agent_socket",
        name = quote_literal(&node.name),
        zone = quote_literal(&node.zone),
        capacity = node.capacity,
        address = quote_literal(&node.agent_address),
        socket = quote_literal(&node.agent_socket),
        group = quote_literal(group),
    ))
}

/// Forgets a node.
pub fn remove_node(name: &str) -> String {
    counted(&format!("DELETE FROM atoll.nodes WHERE name = {}", quote_literal(name)))
}

/// Merges the rows that count changes, keeping every version as it is.
pub fn compact_changes() -> String {
    "WITH old AS (DELETE FROM atoll.changes RETURNING database, weight) \
     INSERT INTO atoll.changes (database, weight) SELECT database, sum(weight) FROM old GROUP BY database"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(rows: &[&[&str]]) -> ResultSet {
        let value = |text: &&str| (*text != "NULL").then(|| (*text).to_owned());
        ResultSet { rows: rows.iter().map(|row| row.iter().map(value).collect()).collect(), ..ResultSet::default() }
    }

    fn results(shards: &[&[&str]]) -> Vec<ResultSet> {
        vec![
            set(&[&["7"]]),
            set(&[&["1", "g1", "1"], &["4", "g2", "3"]]),
            set(&[&["g1-n1", "1", "local", "2", "h:1", ""], &["g2-n1", "4", "local", "1.5", "h:2", "/s"]]),
            set(&[&["app"]]),
            set(&[&["1", "app", "hash", "int8"]]),
            set(shards),
            set(&[
                &["app", "public", "orders", "id", "int8", "1"],
                &["app", "public", "countries", "NULL", "NULL", "NULL"],
                &["half_made", "public", "t", "NULL", "NULL", "NULL"],
            ]),
            set(&[]),
            set(&[&["1", "77", "6"]]),
            set(&[]),
        ]
    }

    #[test]
    fn the_directory_is_read_whole() {
        let half = ["-9223372036854775808", "-1", "0", "9223372036854775807"];
        let results = results(&[&["5", "1", half[0], half[1], "1", "1"], &["6", "1", half[2], half[3], "4", "2"]]);
        let directory = load(&results).unwrap();
        assert_eq!((directory.version, directory.groups[1].epoch), (7, 3));
        assert_eq!(directory.groups[1].nodes[0].agent_socket, "/s");
        let app = &directory.databases["app"];
        let orders = &app.colocations[&ColocationId(1)];
        assert_eq!(orders.position_of_hash(-5), 0);
        assert_eq!(orders.shards[orders.position_of_hash(0)].group, GroupIndex(1));
        assert_eq!(orders.position_of_hash(77), 1);
        assert_eq!(app.tables[&TableName::new("public", "countries")], Table::Reference);
        assert_eq!(directory.databases.len(), 1);
    }

    #[test]
    fn a_gap_between_shards_is_never_used() {
        let results = results(&[&["5", "1", "-9223372036854775808", "-1", "1", "1"]]);
        assert_eq!(load(&results).unwrap_err().sqlstate(), "XX000");
    }

    #[test]
    fn key_types_survive_their_names() {
        for known in KEY_TYPES {
            assert_eq!(key_type(key_type_name(known)).ok(), Some(known));
        }
    }
}
