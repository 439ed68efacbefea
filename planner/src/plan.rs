//! What planning yields: plain data that the coordinator executes.

mod ddl;
mod refusal;

pub use ddl::*;
pub use refusal::*;
use serde::Serialize;

use crate::directory::{ColocationId, KeyColumn, KeyType, ShardId, TableName};
use crate::marks;

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

/// SQL text that differs per shard only in the schema of some names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Template {
    pub pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Piece {
    Text(String),
    /// The quoted name of the shard's slice of this user schema.
    Slice(String),
}

impl Template {
    pub fn text(text: impl Into<String>) -> Self {
        Self { pieces: vec![Piece::Text(text.into())] }
    }

    /// Whether it is the same for every shard.
    pub fn is_one_for_all(&self) -> bool {
        self.pieces.iter().all(|piece| matches!(piece, Piece::Text(_)))
    }

    /// Whether a relayed statement goes out byte for byte as it came.
    pub fn is_verbatim(&self) -> bool {
        self.is_one_for_all() && !self.has_marks()
    }

    /// Whether values are to be put in ([`crate::marks`]).
    pub fn has_marks(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Text(text) if crate::marks::has_marks(text)))
    }

    /// The text for a shard, as the client wrote what is marked.
    pub fn render(&self, shard: ShardId) -> String {
        let marked = self.render_marked(shard);
        if crate::marks::has_marks(&marked) { crate::marks::plain(&marked).into_owned() } else { marked }
    }

    /// The text for a shard, with its marks.
    pub fn render_marked(&self, shard: ShardId) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Slice(schema) => out.push_str(&crate::quote_identifier(&shard.schema(schema))),
            }
        }
        out
    }
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

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gather {
    pub merge: Merge,
    pub access: Access,
    pub residue: Residue,
}

/// Fragments and the query over them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Merge {
    pub fragments: Vec<Fragment>,
    /// PostgreSQL SQL over the fragments' names, the same for both merge engines. Parameters keep their numbers.
    pub sql: String,
    /// Whether the DataFusion engine may be tried: the merge holds nothing the planner knows to be outside it.
    pub datafusion: bool,
    /// Relations of the merge query that the catalog database has.
    pub catalog: Vec<CatalogRows>,
    /// The query for DataFusion, where it is another than `sql`.
    pub joined: Option<Joined>,
    /// The same answer from fewer rows, where one fragment's rows often have equal columns.
    pub grouped: Option<Grouped>,
}

/// A merge in which one fragment arrives grouped, with partial aggregates.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Grouped {
    /// The position of the fragment that is another one.
    pub fragment: usize,
    pub merge: Box<Merge>,
}

/// A merge query that reads nothing but inputs, and leaves out what their queries test.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Joined {
    pub sql: String,
    /// Tables at home that it reads beside the fragments.
    pub home: Vec<HomeRows>,
}

/// A table at home as an input.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HomeRows {
    /// The relation's name in the merge query.
    pub name: String,
    /// Every relation in it is qualified. May hold marks.
    pub sql: String,
    pub columns: Vec<FragmentColumn>,
}

/// A system catalog, or a view over nothing but them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CatalogRows {
    /// The relation's name in the merge query.
    pub name: String,
    pub relation: TableName,
    /// Names among which the needed columns are; `None`: all are needed.
    pub columns: Option<Vec<String>>,
}

impl Merge {
    /// Whether any of its texts is marked for when the transaction began.
    pub fn tells_time(&self) -> bool {
        let clock = |sql: &str| marks::marks(sql).any(|mark| mark.asked == marks::Asked::Clock);
        clock(&self.sql)
            || self.fragments.iter().flat_map(|fragment| &fragment.arm.pieces).any(|piece| match piece {
                Piece::Text(text) => clock(text),
                Piece::Slice(_) => false,
            })
    }
}

/// One relation of the merge query, computed by the shards: one arm per shard, UNION ALL.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fragment {
    /// The relation's name in the merge query.
    pub name: String,
    pub colocation: ColocationId,
    pub keys: Keys,
    /// `SELECT ...` for one shard; every relation in it is qualified, so that it runs under any search_path.
    pub arm: Template,
    /// Names of its columns, in order.
    pub columns: Vec<FragmentColumn>,
    /// Columns by which a correlated subquery looks its rows up, again and again: worth an index where the rows are staged.
    pub looked_up_by: Vec<String>,
    /// Where keys are that its rows must have to matter, once other fragments are there.
    pub joined_by: Vec<JoinedBy>,
}

/// Only rows whose column has one of these values can matter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JoinedBy {
    /// The fragment's own column.
    pub column: String,
    pub type_oid: u32,
    /// A query of one column over other fragments.
    pub keys: String,
    /// Positions of those fragments.
    pub needs: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FragmentColumn {
    pub name: String,
    /// The merge only passes it on to the client: it may travel as PostgreSQL printed it.
    pub passed_on: bool,
    /// Text in it is ordered and compared by its bytes.
    pub bytewise_collation: bool,
    /// Type and collation, as a table's column would be declared; `None` when only its description tells.
    pub definition: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ManyWrite {
    /// One shard's UPDATE or DELETE, every distributed table qualified, ending with RETURNING when `returning`.
    pub arm: Template,
    pub returning: bool,
    /// "UPDATE" or "DELETE": the command tag's first word.
    pub verb: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Insert {
    pub table: TableName,
    pub colocation: ColocationId,
    pub key_type: KeyType,
    /// Text up to the rows: `INSERT INTO t (a, b) OVERRIDING ... VALUES `, with columns of computed defaults added.
    pub head: Template,
    pub rows: Vec<InsertRow>,
    /// Text after the rows (ON CONFLICT, RETURNING).
    pub tail: Template,
    /// Default expressions to compute once per row at home, before routing: SQL texts; each row's `(...)` holds placeholders.
    pub computed: Vec<String>,
    pub returning: bool,
    pub residue: Residue,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InsertSelect {
    pub table: TableName,
    pub colocation: ColocationId,
    pub key: KeyColumn,
    /// As the client listed them; `None`: the table's, as many as the query has.
    pub columns: Option<Vec<String>>,
    pub overriding: Option<&'static str>,
    /// The query's own text, and how it is answered.
    pub query: String,
    pub source: Box<Plan>,
    /// ON CONFLICT and RETURNING, for one shard.
    pub tail: Option<Template>,
    /// What the tail calls the table, when not by its name.
    pub alias: Option<String>,
    pub returning: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WriteWith {
    pub colocation: ColocationId,
    pub key_type: KeyType,
    /// Which of the written table's rows can matter.
    pub keys: Keys,
    /// The arms name the sources as relations without a schema.
    pub write: ManyWrite,
    pub sources: Vec<Source>,
    pub residue: Residue,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WriteCurrent {
    /// For the cursor's shard.
    pub text: Template,
    pub cursor: String,
    pub residue: Residue,
}

/// Statements of their own, planned when their turn comes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Steps {
    pub steps: Vec<Step>,
    /// The rest of the statement; the steps' rows are tables at home, under their names.
    pub main: String,
    /// What the rest of the statement does.
    pub verb: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    pub name: String,
    pub text: String,
    /// A query with the same columns, for the catalog database to describe; `None` when it returns no rows.
    pub shape: Option<String>,
}

/// Rows that every shard gets to see, all of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Source {
    Fragment(Fragment),
    /// A query that home's data database answers, without parameters.
    Home {
        name: String,
        query: String,
    },
    Catalog(CatalogRows),
}

impl Source {
    /// Its name in the arms.
    pub fn name(&self) -> &str {
        match self {
            Source::Fragment(fragment) => &fragment.name,
            Source::Home { name, .. } => name,
            Source::Catalog(rows) => &rows.name,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InsertRow {
    pub key: RowKey,
    /// The row's values, without parentheses; [`InsertPiece::Computed`] stands for a value computed at home.
    pub values: Vec<InsertPiece>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum RowKey {
    Value(KeySource),
    /// Not a literal or a parameter: this SQL expression is evaluated at home first and its value then stands in the row.
    Expression(String),
    /// The computed default with this index.
    Computed(usize),
    /// NULL, which no shard holds (23502).
    Null,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum InsertPiece {
    Text(String),
    /// The value of `Insert::computed[i]` for this row.
    Computed(usize),
    /// The value of the row's `RowKey::Expression`.
    Key,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReferenceWrite {
    pub table: TableName,
    /// Whether the same text gives the same effect on every group (no volatile function, default, trigger, ...).
    /// Otherwise the resulting rows have to travel.
    pub deterministic: bool,
    /// The client's text with marks, where it has any.
    pub marked: Option<String>,
    pub residue: Residue,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Copy {
    pub direction: CopyDirection,
    pub target: CopyTarget,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum CopyDirection {
    In,
    Out,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum CopyTarget {
    /// One backend does it all: relay.
    Site(Site),
    /// A distributed table.
    Distributed {
        table: TableName,
        colocation: ColocationId,
        key_type: KeyType,
        /// The columns in the order of the data.
        columns: Vec<String>,
        /// Where the key stands among them; `None` when it is left out (23502 unless it has a default).
        key_index: Option<usize>,
        /// Defaults the coordinator has to compute for columns that are left out (sequences): column and expression.
        computed: Vec<(String, String)>,
        options: CopyOptions,
        /// WHERE of COPY FROM, as text.
        filter: Option<String>,
    },
    /// A reference table: COPY FROM goes to every group.
    Reference { table: TableName },
    /// COPY (query) TO where the query is itself planned.
    Query(Box<Plan>, CopyOptions),
}

/// The options of COPY that shape the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CopyOptions {
    pub format: CopyFormat,
    pub delimiter: u8,
    pub null: String,
    pub quote: u8,
    pub escape: u8,
    pub header: CopyHeader,
    pub freeze: bool,
    /// The options to repeat in a shard's own COPY, as text inside `WITH (...)`, header left out.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum CopyFormat {
    Text,
    Csv,
    Binary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum CopyHeader {
    No,
    Yes,
    Match,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Transaction {
    /// The statement's own text is kept for its modes.
    Begin,
    Commit {
        chain: bool,
    },
    Rollback {
        chain: bool,
    },
    Savepoint(String),
    Release(String),
    RollbackTo(String),
    /// SET TRANSACTION ...
    Modes,
    /// PREPARE TRANSACTION, COMMIT PREPARED, ROLLBACK PREPARED: by name, refused by the coordinator.
    TwoPhase(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Session {
    /// SET [SESSION|LOCAL] name ...; `SET ROLE`, `SET SESSION AUTHORIZATION`, `SET TIME ZONE` under their settings' names.
    Set {
        name: String,
        local: bool,
    },
    Reset {
        name: String,
    },
    ResetAll,
    /// SHOW name; own settings start with `atoll.`.
    Show {
        name: String,
    },
    ShowAll,
    Discard(DiscardKind),
    Prepare {
        name: String,
        types: Vec<String>,
        statement: String,
    },
    /// `arguments` are SQL expressions.
    Execute {
        name: String,
        arguments: Vec<String>,
    },
    Deallocate {
        name: Option<String>,
    },
    /// DECLARE name CURSOR ... FOR query; the query is planned on its own.
    Declare {
        name: String,
        hold: bool,
        query: String,
    },
    /// FETCH, MOVE, CLOSE: goes where the cursor is.
    Cursor {
        name: Option<String>,
    },
    Listen,
    Unlisten,
    Notify,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum DiscardKind {
    All,
    Plans,
    Sequences,
    Temp,
}
/// A call that tells something of the coordinator's own; arguments are SQL expressions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Own {
    pub function: OwnFunction,
    pub arguments: Vec<String>,
    /// The output column's name.
    pub column: String,
}

/// Each takes texts and yields a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum OwnFunction {
    /// `atoll.transaction_status(id)`: what became of a transaction whose COMMIT was not answered.
    TransactionStatus,
    /// `atoll.session_token()`: what the session has committed, for another to read no less.
    SessionToken,
}

impl OwnFunction {
    pub fn named(schema: Option<&str>, name: &str) -> Option<Self> {
        match (schema, name) {
            (Some("atoll"), "transaction_status") => Some(Self::TransactionStatus),
            (Some("atoll"), "session_token") => Some(Self::SessionToken),
            _ => None,
        }
    }

    /// How many arguments it takes.
    pub fn arguments(self) -> usize {
        match self {
            Self::TransactionStatus => 1,
            Self::SessionToken => 0,
        }
    }
}
