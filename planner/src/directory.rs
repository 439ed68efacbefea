//! The directory as one immutable snapshot: which table is distributed how, and which shard is where.
//!
//! The coordinator reads it from the directory's tables and swaps it whole; one statement uses one snapshot.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::{Deserialize, Serialize};

/// A shard's number, unique in the cluster. Its schemas are named after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId(pub u32);

impl ShardId {
    /// The schema that holds this shard's slices of the tables of `user_schema`: `s0007` for `public`, `s0007_sales` otherwise.
    pub fn schema(self, user_schema: &str) -> String {
        if user_schema == "public" { self.to_string() } else { format!("{self}_{user_schema}") }
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{:04}", self.0)
    }
}

/// Names that users cannot give to schemas, because shards' schemas and Atoll's own are named so.
pub fn is_reserved_schema(name: &str) -> bool {
    let slice = name.strip_prefix('s').is_some_and(|rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        digits >= 4 && (rest.len() == digits || rest.as_bytes()[digits] == b'_')
    });
    slice || name == "atoll"
}

/// A position in [`Directory::groups`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupIndex(pub usize);

/// A co-location group's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ColocationId(pub u32);

/// A relation's full name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    pub schema: String,
    pub name: String,
}

impl TableName {
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }
}

/// Everything the directory says, at one version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Directory {
    /// Grows with every change of the directory.
    pub version: u64,
    /// Home is the first.
    pub groups: Vec<Group>,
    pub databases: BTreeMap<String, Database>,
}

impl Directory {
    pub const HOME: GroupIndex = GroupIndex(0);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    pub name: String,
    pub epoch: u64,
    pub nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    pub name: String,
    pub zone: String,
    pub capacity: f64,
    /// host:port of the agent's gRPC.
    pub agent_address: String,
    /// The agent's Unix socket; empty when it has none to offer.
    pub agent_socket: String,
}

/// One logical database.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Database {
    pub tables: HashMap<TableName, Table>,
    pub colocations: BTreeMap<ColocationId, Colocation>,
}

/// How a table is spread. Tables that are not listed are unsharded: they live on home.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Table {
    /// A slice in every shard of a co-location group.
    Distributed { colocation: ColocationId, key: KeyColumn },
    /// Whole on every group.
    Reference,
}

/// The column that decides a row's shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyColumn {
    pub name: String,
    pub key_type: KeyType,
}

/// The types a key may have, each with PostgreSQL's own extended hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyType {
    /// `hashint2extended`, equal to `hashint8extended` of the same value.
    Int2,
    /// `hashint4extended`, equal to `hashint8extended` of the same value.
    Int4,
    Int8,
    /// text and varchar: `hashtextextended` under a deterministic collation.
    Text,
    /// char(n): `hashbpcharextended`, trailing blanks aside.
    Bpchar,
    Uuid,
    /// Hashed as its int4 of days since 2000-01-01.
    Date,
    /// timestamp and timestamptz: hashed as its int8 of microseconds since 2000-01-01.
    Timestamp,
    Timestamptz,
    /// `hash_numeric_extended`.
    Numeric,
    Bytea,
}

/// Shards that tables share: equal keys are in the same shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Colocation {
    /// `None` until a first table claims the group.
    pub key_type: Option<KeyType>,
    /// Sorted by `hash_from`; together they cover the whole 64-bit space without a gap.
    pub shards: Vec<Shard>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    pub id: ShardId,
    /// The hashes this shard holds, both ends included.
    pub hash_from: i64,
    pub hash_to: i64,
    pub group: GroupIndex,
    pub epoch: u64,
}

impl Colocation {
    /// The shard that holds a hash.
    pub fn shard_of(&self, hash: i64) -> &Shard {
        let position = self.shards.partition_point(|shard| shard.hash_to < hash);
        &self.shards[position]
    }

    /// The hash ranges of `count` shards that share the space evenly: both ends included, in order.
    pub fn even_ranges(count: u32) -> Vec<(i64, i64)> {
        let count = i128::from(count);
        let from = |index: i128| (i128::from(i64::MIN) + (index << 64) / count) as i64;
        (0..count).map(|index| (from(index), if index + 1 == count { i64::MAX } else { from(index + 1) - 1 })).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_the_space_without_gap() {
        for count in [1, 2, 3, 8, 32, 33] {
            let ranges = Colocation::even_ranges(count);
            assert_eq!((ranges[0].0, ranges[ranges.len() - 1].1), (i64::MIN, i64::MAX));
            assert!(ranges.windows(2).all(|pair| pair[0].1.checked_add(1) == Some(pair[1].0)));
        }
    }

    #[test]
    fn slices_are_reserved() {
        for name in ["s0001", "s0001_sales", "s12345", "atoll"] {
            assert!(is_reserved_schema(name), "{name}");
        }
        for name in ["sales", "s1", "s0001x", "s001_a", "public"] {
            assert!(!is_reserved_schema(name), "{name}");
        }
    }
}
