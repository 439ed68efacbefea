//! What planning yields: plain data that the coordinator executes.

mod copy;
mod ddl;
mod merge;
mod refusal;
mod session;
mod template;
mod write;

pub use copy::*;
pub use ddl::*;
pub use merge::*;
pub use refusal::*;
use serde::Serialize;
pub use session::*;
pub use template::*;
pub use write::*;

use crate::directory::{ColocationId, KeyType, TableName};

/// One statement's plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Plan {
    /// Nothing but blanks and comments.
    Empty,
    /// One backend answers; its frames are relayed.
    Relay(Relay),
    /// The distribution key's values decide: one shard left -> `single` on that shard, else `many`.
    Sharded(Sharded),
    /// A query that no shard answers alone, whatever its keys: it joins distributed tables with unsharded ones, or calls what works only
    /// at home. Always fragments and a merge.
    Gather(Gather),
    /// Rows of an INSERT, split by their keys (or computed defaults have to be added first).
    Insert(Insert),
    /// INSERT ... SELECT whose rows change shards.
    InsertSelect(InsertSelect),
    /// UPDATE or DELETE of a distributed table that reads what its shards do not have.
    WriteWith(WriteWith),
    /// UPDATE or DELETE of the row that a cursor stands at.
    WriteCurrent(WriteCurrent),
    /// Writes in WITH over several shards, one after the other.
    Steps(Steps),
    /// A write to a reference table: runs on home, then its effect goes to every other group.
    ReferenceWrite(ReferenceWrite),
    Copy(Copy),
    /// BEGIN, COMMIT, ROLLBACK, SAVEPOINT, ...
    Transaction(Transaction),
    /// SET, RESET, SHOW, DISCARD, PREPARE, EXECUTE, DEALLOCATE, cursors, LISTEN, ...
    Session(Session),
    /// Changes what exists: runs in the catalog database and on every group that must follow.
    Ddl(Ddl),
    /// CREATE TABLE AS and SELECT INTO over distributed tables.
    CreateAs(CreateAs),
    /// Nothing yet: the statement reads these views over distributed tables, whose definitions ([`crate::Facts::views`]) are needed first.
    Views(Vec<TableName>),
    /// EXPLAIN of a SELECT that may take several shards.
    Explain(Explain),
    /// `SELECT create_distributed_table(...)` and its kin.
    Distribute(Distribute),
    /// `SELECT atoll.session_token()` and its kin: the coordinator answers.
    Own(Own),
    /// VACUUM, ANALYZE, REINDEX, CLUSTER, CHECKPOINT and others that cannot run in fragments but reach every slice.
    Maintenance(Maintenance),
    Refuse(Refusal),
}

/// Where a statement runs that does not depend on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Site {
    /// The catalog database on home: catalogs, introspection, and statements that touch no relation and no user function.
    Catalog,
    /// Home's data database: unsharded tables, sequences, user functions, temporary tables.
    Home,
    /// Only reference tables are read: any group's data database will do (a group already in the transaction, else home).
    AnyGroup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Access {
    /// Cannot write: SELECT without locking clauses, volatile functions or data-modifying CTEs.
    Read,
    Write,
}

/// Side effects on the backend's session that outlive the statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Residue {
    /// None: the backend may serve another session right after the transaction.
    Clean,
    /// Unknown code ran (user functions, triggers): the backend is cleaned before another session gets it.
    Unknown,
    /// Something the client will come back for (temporary table, session advisory lock, set_config, WITH HOLD cursor, LISTEN): the
    /// backend stays with the session.
    Pins,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Relay {
    pub site: Site,
    /// `None`: the client's own text, byte for byte. `Some`: with virtual relations or hidden databases spliced in.
    pub text: Option<Vec<VirtualPiece>>,
    /// The client's text with marks where it asks for the time at which the transaction began.
    pub marked: Option<String>,
    pub access: Access,
    pub residue: Residue,
}

/// Text of a catalog query in which some relations are Atoll's own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum VirtualPiece {
    Text(String),
    /// Replaced at each execution: a relation by a subquery in parentheses (its alias follows in the text), [`VirtualRelation::Size`]
    /// by the beginning of one, which ends behind its arguments.
    Relation(VirtualRelation),
}

/// Relations that the coordinator makes up: `atoll.shards`, `atoll.nodes`, `atoll.tables`, `atoll.events`, `citus_tables`, `citus_shards`, and
/// filtered `pg_database`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum VirtualRelation {
    AtollShards,
    AtollNodes,
    AtollTables,
    AtollEvents,
    CitusTables,
    CitusShards,
    /// pg_database without Atoll's internal databases.
    PgDatabase,
    /// What stands for a size function's name: the text up to its parenthesised argument, which ` AS asked) AS calls)` follows.
    Size(SizeFunction),
}

/// Functions of pg_catalog that tell how many bytes something takes, here on the whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum SizeFunction {
    /// `pg_table_size`: without indexes.
    Table,
    /// `pg_total_relation_size`: with indexes.
    Total,
    /// `pg_relation_size`: the main data only.
    Main,
    /// `pg_indexes_size`
    Indexes,
    /// `pg_database_size`
    Database,
}

impl SizeFunction {
    /// By its name, without schema.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "pg_table_size" => Self::Table,
            "pg_total_relation_size" => Self::Total,
            "pg_relation_size" => Self::Main,
            "pg_indexes_size" => Self::Indexes,
            "pg_database_size" => Self::Database,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Table => "pg_table_size",
            Self::Total => "pg_total_relation_size",
            Self::Main => "pg_relation_size",
            Self::Indexes => "pg_indexes_size",
            Self::Database => "pg_database_size",
        }
    }
}

/// What is known about the distribution key's values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Keys {
    /// Nothing: every shard.
    All,
    /// Only these values can match (an empty list: none, and any one shard answers correctly).
    These(Vec<KeySource>),
}

impl Keys {
    /// Whether values of the key (or the one shard itself) are named, rather than nothing or a range known of it.
    pub fn are_named(&self) -> bool {
        match self {
            Keys::All => false,
            Keys::These(sources) => !sources.iter().any(|source| matches!(source, KeySource::Between { .. })),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum KeySource {
    /// The constant's text, to be read by the input function of the key's type: see [`crate::hash::parse_text`]. Only constants that
    /// PostgreSQL compares with the key as a value of the key's own type become keys.
    Literal(String),
    /// Zero-based parameter.
    Parameter(usize),
    /// All elements of an array parameter (`= ANY($1)`).
    ArrayParameter(usize),
    /// Values from the one to the other, both included; for tables distributed by range. `None` leaves a side open.
    Between { from: Option<Box<KeySource>>, to: Option<Box<KeySource>> },
    /// The table has no key: it is on one shard as a whole.
    Whole,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sharded {
    pub colocation: ColocationId,
    pub key_type: KeyType,
    pub keys: Keys,
    pub access: Access,
    pub residue: Residue,
    /// The statement for one shard.
    pub single: Template,
    /// All names in `single` are qualified: it means the same under the session's own search_path. Otherwise it needs the shard's, which
    /// code that it calls (triggers) may look names up in, too.
    pub qualified: bool,
    /// Views were replaced by their queries: what `single` returns comes from other tables' columns than the client's text says.
    pub views: bool,
    /// What to do when more than one shard is left.
    pub many: Many,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Many {
    Merge(Merge),
    /// UPDATE or DELETE that every shard can do alone.
    Write(ManyWrite),
    Refuse(Refusal),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explain {
    /// Where the explained statement starts in the text; `EXPLAIN` and its options stand before.
    pub start: usize,
    /// The statement is run.
    pub analyze: bool,
    pub json: bool,
}
