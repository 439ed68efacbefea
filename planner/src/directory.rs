//! The directory as one immutable snapshot: which table is distributed how, and which shard is where.
//!
//! The coordinator reads it from the directory's tables and swaps it whole; one statement uses one snapshot.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::hash::{KeyValue, hash};

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

/// A position in [`Directory::groups`]; home's by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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
    /// Schemas whose tables are together on one shard, those yet to be created, too.
    pub schemas: BTreeMap<String, ColocationId>,
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
    /// Empty for a table of a distributed schema: see [`KeyColumn::none`].
    pub name: String,
    pub key_type: KeyType,
}

impl KeyColumn {
    /// In place of a key, for tables that are on one shard as a whole. No column has the empty name.
    pub fn none() -> Self {
        Self { name: String::new(), key_type: KeyType::Int8 }
    }

    pub fn is_none(&self) -> bool {
        self.name.is_empty()
    }
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

/// How keys are mapped to the shards of a co-location group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// By the key's hash.
    Hash,
    /// By the key's place among listed edges.
    Range,
    /// Listed keys to the shards they are listed with, all others to one shard.
    Directory,
    /// The tables of a schema, without keys, on one shard.
    Schema,
}

impl Method {
    /// The word for it in the directory and in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Method::Hash => "hash",
            Method::Range => "range",
            Method::Directory => "directory",
            Method::Schema => "schema",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        [Method::Hash, Method::Range, Method::Directory, Method::Schema]
            .into_iter()
            .find(|method| method.name() == name)
    }
}

/// Shards that tables share: equal keys are in the same shard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Colocation {
    pub method: Method,
    /// `None` until a first table claims the group.
    pub key_type: Option<KeyType>,
    /// Those with hashes first, sorted by them; these cover the whole 64-bit space without a gap, except under [`Method::Range`], where no
    /// shard has hashes.
    pub shards: Vec<Shard>,
    /// Keys with a shard of their own choice, by their hash: position in `shards`.
    pub assigned: HashMap<i64, usize>,
    /// Under [`Method::Range`]: from which key on which shard (its position in `shards`) holds the rows; sorted, without a gap: the first
    /// begins below all keys.
    pub ranges: Vec<RangeEntry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RangeEntry {
    /// `None`: below all keys.
    pub from: Option<Edge>,
    pub shard: usize,
}

/// A key where a range begins, itself included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// As every setting of PostgreSQL reads it.
    pub text: String,
    pub value: KeyValue,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    pub id: ShardId,
    /// The hashes this shard holds, as far as their keys are not assigned elsewhere; `None` for a shard that holds only assigned keys,
    /// or ranges.
    pub hashes: Option<Hashes>,
    pub group: GroupIndex,
    pub epoch: u64,
}

/// Both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hashes {
    pub from: i64,
    pub to: i64,
}

impl Colocation {
    /// The position of the shard that holds rows with this key.
    pub fn position_of(&self, key: &KeyValue) -> usize {
        if self.method == Method::Range { self.position_in_ranges(key) } else { self.position_of_hash(hash(key)) }
    }

    /// The position of the shard that holds a hash.
    pub fn position_of_hash(&self, hash: i64) -> usize {
        self.assigned
            .get(&hash)
            .copied()
            .unwrap_or_else(|| self.shards.partition_point(|shard| shard.hashes.is_some_and(|hashes| hashes.to < hash)))
    }

    fn position_in_ranges(&self, key: &KeyValue) -> usize {
        let after = self.ranges.partition_point(|entry| entry.from.as_ref().is_none_or(|edge| edge.value <= *key));
        self.ranges[after.saturating_sub(1)].shard
    }

    /// The positions of the shards that hold keys from `from` to `to`, both included; `None` leaves a side open. Only for ranges.
    pub fn positions_between(&self, from: Option<&KeyValue>, to: Option<&KeyValue>) -> Vec<usize> {
        let first = from.map_or(0, |key| {
            self.ranges
                .partition_point(|entry| entry.from.as_ref().is_none_or(|edge| edge.value <= *key))
                .saturating_sub(1)
        });
        let end = to.map_or(self.ranges.len(), |key| {
            self.ranges.partition_point(|entry| entry.from.as_ref().is_none_or(|edge| edge.value <= *key))
        });
        self.ranges.get(first..end).into_iter().flatten().map(|entry| entry.shard).collect()
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
