//! How many bytes tables take, shard by shard.

use std::collections::HashMap;
use std::time::Duration;

use atoll_planner::directory::{Directory, GroupIndex, ShardId, TableName};
use futures_util::future::join_all;

use super::keeper::Keeper;
use super::rows::Rows;
use crate::error::Result;
use crate::facts::sliced_schema;
use crate::place::Place;

/// How long one group may take; what it does not say in time counts as 0.
const GROUP_WITHIN: Duration = Duration::from_secs(2);

/// Bytes with indexes and TOAST.
#[derive(Clone, Debug, Default)]
pub struct Sizes {
    /// Slices of distributed tables.
    pub slices: HashMap<(ShardId, TableName), u64>,
    /// Tables that are no slices, by group: reference tables, and on home the unsharded ones.
    pub whole: HashMap<(GroupIndex, TableName), u64>,
}

impl Sizes {
    /// All tables of a shard together.
    pub fn of_shard(&self, shard: ShardId) -> u64 {
        self.slices.iter().filter(|((id, _), _)| *id == shard).map(|(_, bytes)| bytes).sum()
    }

    /// A table in all its places together.
    pub fn of_table(&self, table: &TableName) -> u64 {
        let slices = self.slices.iter().filter(|((_, name), _)| name == table).map(|(_, bytes)| bytes);
        let whole = self.whole.iter().filter(|((_, name), _)| name == table).map(|(_, bytes)| bytes);
        slices.chain(whole).sum()
    }
}

const SIZES: &str = "SELECT nspname, relname, pg_total_relation_size(class.oid) \
    FROM pg_class AS class JOIN pg_namespace AS namespace ON namespace.oid = relnamespace \
    WHERE relkind IN ('r', 'm') AND class.oid >= 16384 AND nspname NOT IN ('atoll', 'information_schema') AND nspname !~ '^pg_'";

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
            Ok(Ok(results)) => results.iter().flat_map(Rows::new).try_for_each(|row| -> Result<()> {
                let (schema, name, bytes) = (row.text(0)?, row.text(1)?, row.parse(2)?);
                match (sliced_schema(schema), shard_of(schema)) {
                    (Some(user_schema), Some(shard)) => {
                        sizes.slices.insert((shard, TableName::new(user_schema, name)), bytes);
                    }
                    _ => drop(sizes.whole.insert((group, TableName::new(schema, name)), bytes)),
                }
                Ok(())
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                tracing::debug!(group = directory.groups[group.0].name, database, "sizes not read in time");
                Ok(())
            }
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
