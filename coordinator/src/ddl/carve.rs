//! Shards for some keys alone: `atoll.add_range_shard` and `atoll.assign_key`. The rows change places inside the transaction. The shard
//! that they leave gets another number: a statement that was planned before finds its tables gone, rather than there without the rows.

use std::collections::{BTreeMap, BTreeSet};

use atoll_planner::directory::{
    Colocation, ColocationId, GroupIndex, KeyColumn, KeyType, Method, Shard, ShardId, Table, TableName,
};
use atoll_planner::hash::{self, KeyValue};
use atoll_planner::plan::{Distribute, Whereabouts};
use atoll_planner::quote_identifier;

use super::deparse::{Definition, Target};
use super::distribute::{complete_slices, copy, in_slice, slice_of};
use super::distribution_call::by_name;
use super::rows::qualified;
use super::{Scope, key, slices, spread, views};
use crate::directory::rows::Rows;
use crate::directory::store;
use crate::error::{Error, Result, sqlstate};
use crate::place::Place;

/// A distributed table of the method that a call is for.
struct Called {
    key: KeyColumn,
    id: ColocationId,
    colocation: Colocation,
}

/// Where keys go to.
enum Destination {
    New(GroupIndex),
    Existing(Shard),
}

/// Makes a shard for the keys from one value, included, to another, excluded (NULL: no bound), in this table and those co-located with it;
/// its number.
///
/// # Errors
/// 42P16 for a table that is not distributed by range, 22023 for a range that is none or overlaps one that was made before.
pub(super) async fn add_range_shard(mut scope: Scope<'_>, call: &Distribute) -> Result<ShardId> {
    let scope = &mut scope;
    let [table, from, to, group] = by_name(call, ["table_name", "key_from", "key_to", "group"], 3)?;
    let called = called(scope, table.unwrap_or("NULL"), &[Method::Range]).await?;
    let key_type = called.key.key_type;
    let from = edge(scope, key_type, from.unwrap_or("NULL")).await?;
    let to = edge(scope, key_type, to.unwrap_or("NULL")).await?;
    let group = named_group(scope, group).await?.unwrap_or_else(|| fewest(scope, &called.colocation));
    let invalid = |message: String| Error::sql(sqlstate::INVALID_PARAMETER_VALUE, message);
    let value = |edge: &Option<(String, KeyValue)>| edge.as_ref().map(|(_, value)| value.clone());
    if let (Some(low), Some(high)) = (value(&from), value(&to))
        && low >= high
    {
        return Err(invalid("the range is empty: key_from must be less than key_to".to_owned()));
    }
    let ranges = &called.colocation.ranges;
    let starts = |index: usize| ranges.get(index).and_then(|entry| entry.from.as_ref().map(|edge| edge.value.clone()));
    // The range that the new one is a part of.
    let index = match value(&from) {
        None => 0,
        Some(low) => {
            ranges.iter().take_while(|entry| entry.from.as_ref().is_none_or(|edge| edge.value <= low)).count() - 1
        }
    };
    let end = starts(index + 1);
    let within = match (&end, value(&to)) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(end), Some(high)) => high <= *end,
    };
    if !within {
        return Err(invalid("the range overlaps more than one of those that are there".to_owned())
            .with_hint("SELECT shard_id, ranges FROM atoll.shards shows them; a new range must lie within one."));
    }
    if starts(index) == value(&from) && end == value(&to) {
        return Err(invalid(format!(
            "shard {} holds exactly this range already",
            called.colocation.shards[ranges[index].shard].id
        )));
    }
    let source = called.colocation.shards[ranges[index].shard].clone();
    let text = |edge: &Option<(String, KeyValue)>| edge.as_ref().map(|(text, _)| text.clone());
    let (from_text, to_text) = (text(&from), text(&to));
    let condition =
        |key: &KeyColumn| key::range_condition(key.key_type, &key.name, from_text.as_deref(), to_text.as_deref());
    let shard = carve(scope, &called, &source, Destination::New(group), condition).await?;

    let mut entries: Vec<(Option<&str>, ShardId)> = Vec::new();
    for (position, entry) in ranges.iter().enumerate() {
        let begins = entry.from.as_ref().map(|edge| edge.text.as_str());
        if position != index || starts(index) != value(&from) {
            entries.push((begins, called.colocation.shards[entry.shard].id));
        }
        if position == index {
            entries.push((from_text.as_deref(), shard));
            if end != value(&to) {
                entries.push((to_text.as_deref(), source.id));
            }
        }
    }
    scope.directory(&store::set_ranges(called.id, &entries)).await?;
    renumber(scope, &source).await?;
    Ok(shard)
}

/// Gives one key of a table, and of those co-located with it, a shard of its choice: a new one, in `group` if that is given, or an existing
/// one; its number.
///
/// # Errors
/// 42P16 for a table that is distributed by range, 22023 for a key that is NULL or a shard that the table does not have.
pub(super) async fn assign_key(mut scope: Scope<'_>, call: &Distribute) -> Result<ShardId> {
    let scope = &mut scope;
    let [table, key, group, shard] = by_name(call, ["table_name", "key", "group", "shard_id"], 2)?;
    let called = called(scope, table.unwrap_or("NULL"), &[Method::Hash, Method::Directory]).await?;
    let key_type = called.key.key_type;
    let Some((text, value)) = edge(scope, key_type, key.unwrap_or("NULL")).await? else {
        return Err(Error::sql(sqlstate::INVALID_PARAMETER_VALUE, "the key must not be null"));
    };
    let hash = hash::hash(&value);
    let source = called.colocation.shards[called.colocation.position_of_hash(hash)].clone();
    let destination = match (shard, named_group(scope, group).await?) {
        (Some(_), Some(_)) => {
            return Err(Error::sql(sqlstate::INVALID_PARAMETER_VALUE, "give a group or a shard_id, not both")
                .with_hint("A shard is in its group already."));
        }
        (Some(expression), None) => {
            let number = scalar(scope, &format!("({expression})::int4")).await?;
            let shards = &called.colocation.shards;
            let found = shards.iter().find(|shard| Some(shard.id.0.to_string()) == number).cloned();
            Destination::Existing(found.ok_or_else(|| {
                Error::sql(
                    sqlstate::INVALID_PARAMETER_VALUE,
                    format!("the table has no shard {}", number.as_deref().unwrap_or("NULL")),
                )
                .with_hint("SELECT shard_id FROM citus_shards lists a table's shards.")
            })?)
        }
        (None, group) => Destination::New(group.unwrap_or_else(|| fewest(scope, &called.colocation))),
    };
    if let Destination::Existing(shard) = &destination
        && shard.id == source.id
    {
        scope.directory(&store::assign_key(called.id, hash, &text, shard.id)).await?;
        return Ok(shard.id);
    }
    let condition = |key: &KeyColumn| key::hash_condition(key.key_type, &key.name, hash);
    let shard = carve(scope, &called, &source, destination, condition).await?;
    scope.directory(&store::assign_key(called.id, hash, &text, shard)).await?;
    renumber(scope, &source).await?;
    Ok(shard)
}

/// Moves the rows that meet a condition from one shard to another.
async fn carve(
    scope: &mut Scope<'_>,
    called: &Called,
    source: &Shard,
    destination: Destination,
    condition: impl Fn(&KeyColumn) -> String,
) -> Result<ShardId> {
    let mut tables: Vec<(TableName, KeyColumn)> = Vec::new();
    for (name, table) in &scope.facts.database.tables {
        if let Table::Distributed { colocation, key } = table
            && *colocation == called.id
        {
            tables.push((name.clone(), key.clone()));
        }
    }
    tables.sort_by(|left, right| left.0.cmp(&right.0));
    let mut definitions = Vec::with_capacity(tables.len());
    let mut forced = Vec::new();
    for (table, key) in &tables {
        let state = spread::lock_catalog(scope, table).await?;
        if state.forced_row_security {
            forced.push(definitions.len());
        }
        definitions.push(Definition::read(scope, table).await?.keyed(key));
    }
    let slices: Vec<String> = definitions.iter().map(|definition| slice_of(definition, source)).collect();
    let lock = format!("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE", slices.join(", ONLY "));
    scope.privileged(source.group, &lock).await?;

    let (target, is_new) = match destination {
        Destination::Existing(shard) => (shard, false),
        Destination::New(group) => (new_shard(scope, called.id, group, &definitions).await?, true),
    };
    // The owner's own policies would hide rows from the copy, which would then be lost.
    for position in &forced {
        let slice = slice_of(&definitions[*position], source);
        scope.group(source.group, &format!("ALTER TABLE {slice} NO FORCE ROW LEVEL SECURITY")).await?;
        if !is_new {
            let slice = slice_of(&definitions[*position], &target);
            scope.group(target.group, &format!("ALTER TABLE {slice} NO FORCE ROW LEVEL SECURITY")).await?;
        }
    }
    for (definition, (_, key)) in definitions.iter().zip(&tables) {
        let rows = format!(
            "SELECT {} FROM ONLY {} WHERE {}",
            definition.copied_columns(),
            slice_of(definition, source),
            condition(key)
        );
        // Rows that move are neither inserted nor deleted, as far as triggers and foreign keys are concerned.
        without_triggers(scope, target.group, true).await?;
        copy(
            scope,
            definition,
            (Place::data(source.group), &rows),
            (Place::data(target.group), &slice_of(definition, &target)),
        )
        .await?;
        without_triggers(scope, target.group, false).await?;
    }
    without_triggers(scope, source.group, true).await?;
    for (definition, (_, key)) in definitions.iter().zip(&tables) {
        let delete = format!("DELETE FROM ONLY {} WHERE {}", slice_of(definition, source), condition(key));
        scope.privileged(source.group, &delete).await?;
    }
    without_triggers(scope, source.group, false).await?;
    for position in forced {
        let slice = slice_of(&definitions[position], source);
        scope.group(source.group, &format!("ALTER TABLE {slice} FORCE ROW LEVEL SECURITY")).await?;
        if !is_new {
            let slice = slice_of(&definitions[position], &target);
            scope.group(target.group, &format!("ALTER TABLE {slice} FORCE ROW LEVEL SECURITY")).await?;
        }
    }
    if is_new {
        complete_slices(scope, &definitions, std::slice::from_ref(&target)).await?;
        copy_views(scope, called.id, &tables, &target).await?;
    }
    Ok(target.id)
}

async fn without_triggers(scope: &mut Scope<'_>, group: GroupIndex, off: bool) -> Result<()> {
    let role = if off { "replica" } else { "origin" };
    scope.privileged(group, &format!("SET LOCAL session_replication_role = {role}")).await
}

/// A new shard with empty tables, which lack indexes and constraints yet.
async fn new_shard(
    scope: &mut Scope<'_>,
    colocation: ColocationId,
    group: GroupIndex,
    definitions: &[Definition],
) -> Result<Shard> {
    let results = scope.directory(&store::add_shard(colocation, &scope.group_name(group))).await?;
    let row = results.last().map(Rows::new).ok_or_else(|| Error::internal("the directory answered oddly"))?.only()?;
    let shard = Shard { id: ShardId(row.parse(0)?), hashes: None, group, epoch: row.parse(1)? };
    let schemas: BTreeSet<&str> = definitions.iter().map(|definition| definition.name.schema.as_str()).collect();
    for schema in schemas {
        slices::ensure_in(scope, schema, BTreeMap::from([(group, vec![shard.clone()])])).await?;
    }
    for definition in definitions {
        in_slice(scope, &shard, &definition.name, &definition.create(Target::Elsewhere).join("; ")).await?;
    }
    Ok(shard)
}

/// Creates in a new shard the views that the others have.
async fn copy_views(
    scope: &mut Scope<'_>,
    colocation: ColocationId,
    tables: &[(TableName, KeyColumn)],
    shard: &Shard,
) -> Result<()> {
    let mut made: BTreeSet<TableName> = BTreeSet::new();
    for (table, _) in tables {
        for view in views::dependents(scope, table, scope.facts).await? {
            if view.after == Whereabouts::Shards(colocation) && made.insert(view.name.clone()) {
                let place = BTreeMap::from([(shard.group, vec![shard.clone()])]);
                slices::ensure_in(scope, &view.name.schema, place).await?;
                views::put_into(scope, &view, shard).await?;
            }
        }
    }
    Ok(())
}

/// Gives a shard another number, and its schemas the names that belong to it.
async fn renumber(scope: &mut Scope<'_>, shard: &Shard) -> Result<()> {
    let results = scope.directory(&store::renumber_shard(shard.id)).await?;
    let row = results.last().map(Rows::new).ok_or_else(|| Error::internal("the directory answered oddly"))?.only()?;
    let now = ShardId(row.parse(0)?);
    let listed = scope
        .group(
            shard.group,
            &format!(
                "SELECT nspname FROM pg_namespace WHERE nspname = '{0}' OR starts_with(nspname, '{0}_') ORDER BY nspname",
                shard.id
            ),
        )
        .await?;
    let mut renames = Vec::new();
    for row in listed.iter().flat_map(Rows::new) {
        let old = row.text(0)?;
        let new = format!("{now}{}", &old[shard.id.to_string().len()..]);
        renames.push(format!("ALTER SCHEMA {} RENAME TO {}", quote_identifier(old), quote_identifier(&new)));
    }
    scope.privileged(shard.group, &renames.join("; ")).await
}

/// The distributed table that an expression names, if it is distributed by one of these methods.
async fn called(scope: &mut Scope<'_>, table: &str, methods: &[Method]) -> Result<Called> {
    let sql = format!(
        "SELECT nspname, relname FROM (SELECT ({table})::regclass AS oid) AS named \
         JOIN pg_class ON pg_class.oid = named.oid JOIN pg_namespace ON pg_namespace.oid = relnamespace"
    );
    let results = scope.catalog(&sql).await?;
    let name = match results.first().and_then(|set| Rows::new(set).next()) {
        Some(row) => TableName::new(row.text(0)?, row.text(1)?),
        None => return Err(Error::sql("42P01", "the table does not exist")),
    };
    let wanted: Vec<&str> = methods.iter().map(|method| method.name()).collect();
    let other = |how: &str| {
        Error::sql("42P16", format!("table {} is {how}, not distributed by {}", qualified(&name), wanted.join(" or ")))
            .with_hint(format!(
                "Distribute it with create_distributed_table(..., distribution_type => '{}').",
                wanted[wanted.len() - 1]
            ))
    };
    let Some(Table::Distributed { colocation: id, key }) = scope.facts.database.tables.get(&name) else {
        return Err(other("not distributed"));
    };
    let colocation = &scope.facts.database.colocations[id];
    if !methods.contains(&colocation.method) {
        return Err(other(&format!("distributed by {}", colocation.method.name())));
    }
    Ok(Called { key: key.clone(), id: *id, colocation: colocation.clone() })
}

/// A key's value in a form that every setting reads alike, and as the coordinator compares it; `None` for NULL.
async fn edge(scope: &mut Scope<'_>, key_type: KeyType, expression: &str) -> Result<Option<(String, KeyValue)>> {
    let cast = |name: &str| format!("({expression})::{name}");
    let question = match key_type {
        KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => format!("{}::text", cast("bigint")),
        KeyType::Text => cast("text"),
        KeyType::Bpchar => format!("{}::text", cast("bpchar")),
        KeyType::Uuid => format!("{}::text", cast("uuid")),
        KeyType::Numeric => format!("{}::text", cast("numeric")),
        KeyType::Bytea => format!("'\\x' || encode({}, 'hex')", cast("bytea")),
        KeyType::Date => format!("to_char({}, 'YYYY-MM-DD')", cast("date")),
        KeyType::Timestamp => format!("to_char({}, 'YYYY-MM-DD HH24:MI:SS.US')", cast("timestamp")),
        KeyType::Timestamptz => {
            format!("to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US\"+00\"')", cast("timestamptz"))
        }
    };
    let Some(text) = scalar(scope, &question).await? else { return Ok(None) };
    match hash::parse_text(key_type, &text) {
        Ok(value) => Ok(Some((text, value))),
        Err(_) => Err(Error::sql(sqlstate::INVALID_PARAMETER_VALUE, format!("\"{text}\" cannot be used here"))
            .with_detail("Infinite values and dates before year 1 cannot stand for a place among the shards.")),
    }
}

async fn scalar(scope: &mut Scope<'_>, expression: &str) -> Result<Option<String>> {
    let results = scope.catalog(&format!("SELECT {expression}")).await?;
    let row = results.first().and_then(|set| set.rows.first()).and_then(|row| row.first());
    row.cloned().ok_or_else(|| Error::internal("the catalog answered oddly"))
}

/// The group that an argument names; `None` when it is left out or NULL.
///
/// # Errors
/// 22023 for a group that does not exist.
pub(super) async fn named_group(scope: &mut Scope<'_>, expression: Option<&str>) -> Result<Option<GroupIndex>> {
    let Some(expression) = expression else { return Ok(None) };
    let Some(name) = scalar(scope, &format!("({expression})::text")).await? else { return Ok(None) };
    let found = scope.groups().find(|group| scope.group_name(*group) == name);
    found.map(Some).ok_or_else(|| {
        Error::sql(sqlstate::INVALID_PARAMETER_VALUE, format!("group \"{name}\" does not exist"))
            .with_hint("SELECT DISTINCT \"group\" FROM atoll.nodes lists the groups.")
    })
}

/// The group with the fewest of a co-location group's shards, the first of several.
fn fewest(scope: &Scope<'_>, colocation: &Colocation) -> GroupIndex {
    let count = |group: &GroupIndex| colocation.shards.iter().filter(|shard| shard.group == *group).count();
    scope.groups().min_by_key(count).unwrap_or_default()
}
