//! How many bytes tables take, shard by shard.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::AddAssign;
use std::time::Duration;

use atoll_planner::directory::{Directory, GroupIndex, Shard, ShardId, TableName};
use futures_util::future::join_all;

use super::keeper::Keeper;
use super::rows::Rows;
use crate::error::{Error, Result};
use crate::facts::sliced_schema;
use crate::lane::ResultSet;
use crate::place::Place;

/// How long one group may take where a size may be left out. [`SIZES`] waits for whoever holds a table exclusively.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);
/// How long one group may take where all are needed.
const ALL_WITHIN: Duration = Duration::from_secs(10);

/// How many bytes a table (or an index) takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// With indexes and TOAST.
    pub total: u64,
    /// The indexes alone.
    pub indexes: u64,
    /// The main data alone.
    pub main: u64,
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, other: Self) {
        self.total += other.total;
        self.indexes += other.indexes;
        self.main += other.main;
    }
}

/// The sizes of one logical database's tables and indexes.
#[derive(Debug, Default)]
pub struct Sizes {
    /// Slices of distributed tables, and their indexes.
    pub slices: HashMap<(ShardId, TableName), Bytes>,
    /// What is no slice, by group: reference tables, and on home the unsharded ones.
    pub whole: HashMap<(GroupIndex, TableName), Bytes>,
    /// Groups that did not say what they hold, and why: nothing above counts what is there.
    pub unread: BTreeMap<GroupIndex, Error>,
    /// Names in `slices` that are indexes, whose bytes count in their tables' already.
    indexes: HashSet<(ShardId, TableName)>,
}

impl Sizes {
    /// All tables of a shard together; `None` where its group was not read.
    pub fn of_shard(&self, shard: &Shard) -> Option<u64> {
        let tables = self.slices.iter().filter(|(key, _)| key.0 == shard.id && !self.indexes.contains(*key));
        self.known(shard.group, tables.map(|(_, bytes)| bytes.total).sum())
    }

    /// `bytes`, if the group was read.
    pub fn known(&self, group: GroupIndex, bytes: u64) -> Option<u64> {
        (!self.unread.contains_key(&group)).then_some(bytes)
    }

    /// Adds what a group answered to [`SIZES`].
    ///
    /// # Errors
    /// XX000 for an answer to something else.
    pub fn add(&mut self, group: GroupIndex, results: &[ResultSet]) -> Result<()> {
        let [relations] = results else {
            return Err(Error::internal(format!("the sizes came in {} results", results.len())));
        };
        for row in Rows::new(relations) {
            let (schema, name) = (row.text(0)?, row.text(1)?);
            let bytes = Bytes { total: row.parse(3)?, indexes: row.parse(4)?, main: row.parse(5)? };
            if let (Some(user_schema), Some(shard)) = (sliced_schema(schema), shard_of(schema)) {
                let key = (shard, TableName::new(user_schema, name));
                if row.text(2)? == "i" {
                    self.indexes.insert(key.clone());
                }
                self.slices.insert(key, bytes);
            } else {
                self.whole.insert((group, TableName::new(schema, name)), bytes);
            }
        }
        Ok(())
    }

    /// Each table and index in all its places together.
    pub fn by_name(&self) -> HashMap<&TableName, Bytes> {
        let mut sums: HashMap<&TableName, Bytes> = HashMap::new();
        let slices = self.slices.iter().map(|((_, name), bytes)| (name, bytes));
        let whole = self.whole.iter().map(|((_, name), bytes)| (name, bytes));
        for (name, bytes) in slices.chain(whole) {
            *sums.entry(name).or_default() += *bytes;
        }
        sums
    }
}

/// The sizes of the tables and indexes of one data database. Tables dropped meanwhile have none.
pub const SIZES: &str = "SELECT * FROM (SELECT nspname, relname, relkind, pg_total_relation_size(class.oid) AS total, \
           pg_indexes_size(class.oid) AS indexes, pg_relation_size(class.oid) AS main \
    FROM pg_class AS class JOIN pg_namespace AS namespace ON namespace.oid = relnamespace \
    WHERE relkind IN ('r', 'm', 'i') AND class.oid >= 16384 AND nspname NOT IN ('atoll', 'information_schema') \
      AND nspname !~ '^pg_') AS sizes WHERE total IS NOT NULL AND indexes IS NOT NULL AND main IS NOT NULL";

/// The sizes of one logical database's tables, as far as the groups tell them soon.
pub async fn measure(keeper: &Keeper, directory: &Directory, database: &str) -> Sizes {
    let mut sizes = Sizes::default();
    for (group, answer) in ask(keeper, directory, (database, SIZES), &[], SHOWN_WITHIN).await {
        if let Err(error) = answer.and_then(|results| sizes.add(group, &results)) {
            sizes.unread.insert(group, error);
        }
    }
    sizes
}

/// The sizes of one logical database's tables on all groups; `own` is what somebody has read already, by group.
///
/// # Errors
/// What a group said instead; 08001 when one does not answer.
pub async fn measure_all(
    keeper: &Keeper,
    directory: &Directory,
    database: &str,
    own: Vec<(GroupIndex, Vec<ResultSet>)>,
) -> Result<Sizes> {
    let mut sizes = Sizes::default();
    let groups: Vec<GroupIndex> = own.iter().map(|(group, _)| *group).collect();
    let others = ask(keeper, directory, (database, SIZES), &groups, ALL_WITHIN).await;
    for (group, answer) in own.into_iter().map(|(group, results)| (group, Ok(results))).chain(others) {
        sizes.add(group, &answer?)?;
    }
    Ok(sizes)
}

/// The bytes of one logical database's data databases.
///
/// # Errors
/// As [`measure_all`].
pub async fn measure_database(keeper: &Keeper, directory: &Directory, database: &str) -> Result<u64> {
    let sql = "SELECT pg_database_size(current_database())";
    let mut bytes = 0;
    for (_, answer) in ask(keeper, directory, (database, sql), &[], ALL_WITHIN).await {
        bytes += Rows::new(&answer?[0]).only()?.parse::<u64>(0)?;
    }
    Ok(bytes)
}

/// Asks every group but those in `known`.
async fn ask(
    keeper: &Keeper,
    directory: &Directory,
    (database, sql): (&str, &str),
    known: &[GroupIndex],
    within: Duration,
) -> Vec<(GroupIndex, Result<Vec<ResultSet>>)> {
    let groups = directory.groups.iter().enumerate().map(|(index, group)| (GroupIndex(index), group));
    let asked = groups.filter(|(index, _)| !known.contains(index)).map(async |(index, group)| {
        let reading = async {
            let mut lane = keeper.control.open_group(group, &Place::HOME.database(database)).await?;
            lane.query(sql).await
        };
        let answer = tokio::time::timeout(within, reading).await.unwrap_or_else(|_| {
            Err(Error::unreachable(group.name.clone(), format!("no sizes of its tables within {} s", within.as_secs())))
        });
        (index, answer)
    });
    join_all(asked).await
}

/// The shard of which a schema is a slice.
fn shard_of(schema: &str) -> Option<ShardId> {
    let digits = schema.strip_prefix('s')?;
    let digits = digits.split_once('_').map_or(digits, |(digits, _)| digits);
    digits.parse().ok().map(ShardId)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_tell_their_shard() {
        assert_eq!(shard_of("s0007_sales"), Some(ShardId(7)));
        assert_eq!(shard_of(&ShardId(12345).schema("public")), Some(ShardId(12345)));
    }
}
