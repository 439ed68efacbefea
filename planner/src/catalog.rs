//! What the planner must know of a logical database's catalog: one immutable snapshot, read by the coordinator from the catalog
//! database and replaced whole after DDL.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::directory::TableName;

/// The user-visible objects of one logical database.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalog {
    /// Grows with every DDL.
    pub version: u64,
    /// User relations only: system catalogs are recognised by schema.
    pub relations: HashMap<TableName, Relation>,
    /// Functions, procedures and aggregates that users created, by schema and name; overloads together.
    pub functions: HashMap<TableName, Vec<Function>>,
    /// The table of each index that users made, constraints' indexes included.
    #[serde(default)]
    pub indexes: HashMap<TableName, TableName>,
    /// The table of each extended statistics object.
    #[serde(default)]
    pub statistics: HashMap<TableName, TableName>,
    /// Every schema that users can see, system schemas aside.
    pub schemas: HashSet<String>,
    /// The names of pg_catalog's relations, so that unqualified `pg_class` is recognised.
    pub system_relations: HashSet<String>,
    /// Names of pg_catalog's functions that are volatile, and of those that are stable; all others are immutable.
    pub volatile_functions: HashSet<String>,
    pub stable_functions: HashSet<String>,
    /// Names of pg_catalog's aggregates, and of its window functions.
    pub aggregates: HashSet<String>,
    /// Whether the database's default collation orders text by its bytes (C, POSIX, C.UTF-8).
    pub bytewise_collation: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relation {
    pub oid: u32,
    pub kind: RelationKind,
    pub columns: Vec<Column>,
    /// Column names of each unique or primary key index that is not partial and has no expressions.
    pub unique_keys: Vec<Vec<String>>,
    pub primary_key: Option<Vec<String>>,
    /// Relations that a view or rule reads, by name; empty for tables.
    pub reads: Vec<TableName>,
    /// Row-level triggers or rules or row security that users made: something runs on the shard that text alone does not show.
    pub has_triggers: bool,
    /// A view or a policy that calls volatile functions (or uses sequences): to read it may be to write.
    pub acts: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RelationKind {
    Table,
    PartitionedTable,
    View,
    MaterializedView,
    Sequence,
    ForeignTable,
    CompositeType,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    pub type_oid: u32,
    pub typmod: i32,
    /// As `format_type` prints it, schema-qualified unless it is of pg_catalog.
    pub type_name: String,
    pub not_null: bool,
    /// The text of DEFAULT, when there is one.
    pub default: Option<String>,
    /// The default must be computed once, by the coordinator: it is volatile or reads a sequence.
    pub default_is_volatile: bool,
    pub generated: bool,
    pub identity: Option<Identity>,
    /// Whether the column's collation orders text by its bytes; true for types without a collation.
    pub bytewise_collation: bool,
    /// The column's collation, qualified, when it is another than its type's.
    #[serde(default)]
    pub collation: Option<String>,
}

impl Column {
    /// A row without a value of its own for it takes the next one of a sequence.
    pub fn draws_from_sequence(&self) -> bool {
        self.identity.is_some() || self.default.as_ref().is_some_and(|default| default.contains("nextval("))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// GENERATED ALWAYS rather than BY DEFAULT.
    pub always: bool,
    /// The sequence behind it, quoted and qualified for use in `nextval('...')`.
    pub sequence: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Function {
    pub volatility: Volatility,
    pub kind: FunctionKind,
    /// Whether its body names distributed tables, or builds SQL: such a function must never see a slice only.
    pub reads_tables: bool,
    /// Whether its body may read tables at all: it is in a language that can, and not IMMUTABLE.
    #[serde(default)]
    pub may_read: bool,
    /// Whether its body leaves something on its backend that the session comes back for (an advisory lock, a setting).
    #[serde(default)]
    pub pins: bool,
    /// User relations in its signature (as row types) or its parsed body: PostgreSQL refuses to create it where they are not.
    #[serde(default)]
    pub depends_on: Vec<TableName>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Volatility {
    Immutable,
    Stable,
    Volatile,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FunctionKind {
    Function,
    Procedure,
    Aggregate,
    Window,
}
