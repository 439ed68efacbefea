//! How many bytes tables take, shard by shard.

use std::collections::{HashMap, HashSet};
use std::ops::AddAssign;
use std::time::Duration;

use atoll_planner::directory::{Directory, GroupIndex, ShardId, TableName};
use futures_util::future::join_all;

use super::keeper::Keeper;
use super::rows::Rows;
use crate::error::{Error, Result};
use crate::facts::sliced_schema;
use crate::lane::ResultSet;
use crate::place::Place;

/// How long one group may take; what it does not say in time counts as 0.
const GROUP_WITHIN: Duration = Duration::from_secs(2);

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
#[derive(Clone, Debug, Default)]
pub struct Sizes {
    /// Slices of distributed tables, and their indexes.
    pub slices: HashMap<(ShardId, TableName), Bytes>,
    /// What is no slice, by group: reference tables, and on home the unsharded ones.
    pub whole: HashMap<(GroupIndex, TableName), Bytes>,
    /// The data databases as a whole.
    pub databases: u64,
    /// Names in `slices` that are indexes, whose bytes count in their tables' already.
    indexes: HashSet<(ShardId, TableName)>,
}

impl Sizes {
    /// All tables of a shard together.
    pub fn of_shard(&self, shard: ShardId) -> u64 {
        let tables = self.slices.iter().filter(|(key, _)| key.0 == shard && !self.indexes.contains(*key));
        tables.map(|(_, bytes)| bytes.total).sum()
    }

    fn add(&mut self, group: GroupIndex, results: &[ResultSet]) -> Result<()> {
        let [relations, database] = results else {
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
        self.databases += Rows::new(database).only()?.parse::<u64>(0)?;
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

const SIZES: &str = "SELECT nspname, relname, relkind, pg_total_relation_size(class.oid), pg_indexes_size(class.oid), \
           pg_relation_size(class.oid) \
    FROM pg_class AS class JOIN pg_namespace AS namespace ON namespace.oid = relnamespace \
    WHERE relkind IN ('r', 'm', 'i') AND class.oid >= 16384 AND nspname NOT IN ('atoll', 'information_schema') \
      AND nspname !~ '^pg_'; \
    SELECT pg_database_size(current_database())";

/// Measures one logical database on every group. Groups that do not answer within 2 s are left out.
pub async fn measure(keeper: &Keeper, directory: &Directory, database: &str) -> Sizes {
    let measured = directory.groups.iter().enumerate().map(async |(index, group)| {
        let reading = async {
            let mut lane = keeper.control.open_group(group, &Place::HOME.database(database)).await?;
            lane.query(SIZES).await
        };
        (GroupIndex(index), tokio::time::timeout(GROUP_WITHIN, reading).await)
    });
    let mut sizes = Sizes::default();
    for (group, answer) in join_all(measured).await {
        let outcome = match answer {
            Ok(Ok(results)) => sizes.add(group, &results),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::unreachable(
                directory.groups[group.0].name.clone(),
                format!("no sizes within {} s", GROUP_WITHIN.as_secs()),
            )),
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, group = directory.groups[group.0].name, database, "sizes not read");
        }
    }
    sizes
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
