//! Plans of statements that change what exists, and of maintenance.

use serde::Serialize;

use super::Template;
use crate::directory::{ColocationId, TableName};

/// DDL as steps, in the order in which they run. All belong to one transaction unless `mode` says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ddl {
    /// The command's words, for errors (`CREATE TABLE`); the client's tag is the catalog database's.
    pub command: &'static str,
    pub steps: Vec<DdlStep>,
    pub mode: DdlMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum DdlMode {
    /// Inside the client's transaction, or one of its own.
    Transaction,
    /// Like it, but PostgreSQL refuses it outside a transaction block (LOCK TABLE).
    BlockOnly,
    /// Each step commits on its own; refused inside a transaction block (CREATE INDEX CONCURRENTLY, CREATE DATABASE).
    Autonomous,
}

/// One step of a DDL statement: what runs where.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum DdlStep {
    /// The catalog database's part is all there is.
    Nothing,
    /// In the catalog database: the client's own text, where it can be.
    Catalog(String),
    /// In home's data database: unsharded tables, sequences.
    Home(String),
    /// In every group's data database: functions, types, schemas, extensions, reference tables.
    EveryGroup(String),
    /// In every group's data database but home's: roles (the catalog database is on home's instance), reference tables' parts.
    OtherGroups(String),
    /// Once per shard of a co-location group, under the shard's search_path.
    Shards {
        colocation: ColocationId,
        statement: Template,
    },
    /// Once per existing slice of a user schema, in every co-location group.
    SchemaSlices {
        schema: String,
        statement: Template,
    },
    /// One statement per group that names what of the list is there.
    Names(DdlNames),
    /// A view's own definition, after the catalog database took it: where it runs follows from what it reads.
    View(NewView),
    /// Creates at home the table that the catalog database has just created, from its definition there (the text names relations that are
    /// not at home: LIKE a distributed table). The name as the client wrote it.
    TableFromCatalog {
        name: String,
    },
    /// Creates the slices of a user schema in a co-location group's shards, where they do not exist yet.
    EnsureSlices {
        schema: String,
        colocation: ColocationId,
    },
    /// Drops every slice of these user schemas.
    DropSlices {
        schemas: Vec<String>,
    },
    /// Renames every slice of a user schema.
    RenameSlices {
        from: String,
        to: String,
    },
    /// Restarts at home the sequences that distributed tables' columns own.
    RestartSequences(Vec<TableName>),
    /// Tables, key columns or owned sequences may be gone or named anew: what the directory, home and the shards know of them is
    /// brought in line with the catalog database. Stands before the catalog's step, so that it sees both states.
    Reconcile(DdlTables),
    /// Indexes that the statement makes on this table are dropped everywhere when a later step fails. Stands first.
    UndoIndexes(DdlName),
    /// Constraints or key columns may be new: what distributed and reference tables cannot have is refused.
    Check(DdlTables),
    /// Expressions are evaluated once, at home; their values, as literals, stand in the inner steps' texts where
    /// [`DdlStep::value_mark`] is.
    Evaluated {
        expressions: Vec<String>,
        steps: Vec<DdlStep>,
    },
    /// The catalog database has chosen the name of an index that the statement does not name; it stands in the inner step's text where
    /// [`DdlStep::value_mark`] of 0 is, so that the index has one name everywhere.
    NamedIndex {
        table: TableName,
        step: Box<DdlStep>,
    },
    CreateDatabase(NewDatabase),
    DropDatabase {
        name: String,
        if_exists: bool,
        force: bool,
    },
}

/// A table is created as the catalog database does it, without rows; then it is filled.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CreateAs {
    pub table: Ddl,
    /// The INSERT that fills it, planned once it is there; `None`: WITH NO DATA.
    pub fill: Option<String>,
}

/// Which tables a step is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum DdlTables {
    All,
    These(Vec<TableName>),
    InSchemas(Vec<String>),
}

impl DdlStep {
    /// Stands for the value of the expression with this index; no statement can hold it, because PostgreSQL has no zero bytes in text.
    pub fn value_mark(index: usize) -> String {
        format!("\0{index}\0")
    }
}

/// `{head}{names, separated by commas}{tail}`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DdlNames {
    pub head: String,
    pub names: Vec<DdlName>,
    pub tail: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DdlName {
    /// `ONLY ` or nothing.
    pub before: &'static str,
    pub name: TableName,
    pub whereabouts: Whereabouts,
}

/// Where a relation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Whereabouts {
    /// Home's data database.
    Home,
    /// Every group's data database.
    EveryGroup,
    /// A slice in every shard of this co-location group.
    Shards(ColocationId),
    /// Only in the catalog database: a view that nowhere else could be, and that statements put in its place by its text.
    Catalog,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NewView {
    /// Its name as the client wrote it.
    pub name: String,
    /// The statement for a shard: qualified names of distributed relations are spliced.
    pub statement: Template,
    pub materialized: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NewDatabase {
    pub name: String,
    /// What follows the name, options as the client wrote them; TEMPLATE other than template0 and template1 is refused before.
    pub options: String,
}

/// Calls that change how a table is spread; arguments are SQL expressions, evaluated at home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Distribute {
    pub function: DistributeFunction,
    /// Name (when given as `name => ...`) and expression.
    pub arguments: Vec<(Option<String>, String)>,
    /// The output column's name.
    pub column: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum DistributeFunction {
    CreateDistributedTable,
    CreateReferenceTable,
    UndistributeTable,
    /// `atoll.add_range_shard(table, from, to [, group])`: a shard of its own for the keys of a range.
    AddRangeShard,
    /// `atoll.assign_key(table, key [, shard | group])`: the shard of one key.
    AssignKey,
    /// `atoll.distribute_schema(schema [, group])`
    DistributeSchema,
    /// `atoll.undistribute_schema(schema)`
    UndistributeSchema,
}

impl DistributeFunction {
    pub const ALL: [Self; 7] = [
        Self::CreateDistributedTable,
        Self::CreateReferenceTable,
        Self::UndistributeTable,
        Self::AddRangeShard,
        Self::AssignKey,
        Self::DistributeSchema,
        Self::UndistributeSchema,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::CreateDistributedTable => "create_distributed_table",
            Self::CreateReferenceTable => "create_reference_table",
            Self::UndistributeTable => "undistribute_table",
            Self::AddRangeShard => "add_range_shard",
            Self::AssignKey => "assign_key",
            Self::DistributeSchema => "distribute_schema",
            Self::UndistributeSchema => "undistribute_schema",
        }
    }

    /// The function that a call with this name means.
    pub fn named(schema: Option<&str>, name: &str) -> Option<Self> {
        let function = Self::ALL.into_iter().find(|function| function.name() == name)?;
        let everywhere =
            matches!(function, Self::CreateDistributedTable | Self::CreateReferenceTable | Self::UndistributeTable);
        match schema {
            Some("atoll") => Some(function),
            None | Some("public" | "pg_catalog") => everywhere.then_some(function),
            Some(_) => None,
        }
    }

    /// It answers with the number of a shard rather than with nothing.
    pub fn gives_shard(self) -> bool {
        matches!(self, Self::AddRangeShard | Self::AssignKey)
    }
}

/// VACUUM, ANALYZE, REINDEX, CLUSTER, CHECKPOINT: the same steps as DDL, without effect on what exists.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Maintenance {
    /// The command's words, which are also its tag.
    pub command: &'static str,
    pub steps: Vec<DdlStep>,
    /// [`DdlMode::Autonomous`] for what PostgreSQL refuses in a transaction block.
    pub mode: DdlMode,
}
