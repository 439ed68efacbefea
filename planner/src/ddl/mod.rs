//! DDL: which places a statement reaches, and as what text.
//!
//! PostgreSQL's commands are told apart by their first words; the names of relations in them are looked up in [`Facts`], and decide:
//! the catalog database always runs the client's own text, first, so that errors are PostgreSQL's; then home, every group or every
//! shard follow. What only the catalog can say (what a view reads, whether a constraint holds the key) is left to steps that the
//! coordinator runs after it.

mod alter_table;
mod create;
mod locate;

pub use locate::fold;
mod names;
mod privileges;
mod words;

use crate::Facts;
use crate::plan::{
    Access, Ddl, DdlMode, DdlStep, DdlTables, Plan, Refusal, Relay, Residue, Site, Template, Whereabouts,
};
pub(crate) use names::{List, list};
pub(crate) use words::{Name, Words};

/// The plan of a DDL statement (and of DO, CALL and LOCK); `None` for every other statement.
pub fn plan_ddl(sql: &str, facts: &Facts<'_>) -> Option<Plan> {
    let mut words = Words::new(sql);
    let command = words.peek()?.identifier(sql)?;
    match &*command {
        "create" => words.accept("create").then(|| create::plan(words, facts)),
        "alter" => words.accept("alter").then(|| alter(words, facts)),
        "drop" => words.accept("drop").then(|| names::drop(words, facts)),
        "truncate" => words.accept("truncate").then(|| names::truncate(words, facts)),
        "lock" => words.accept("lock").then(|| names::lock(words, facts)),
        "comment" => words.accept("comment on").then(|| comment(words, facts)),
        "grant" | "revoke" => {
            words.next();
            Some(privileges::plan(words, facts, if command == "grant" { "GRANT" } else { "REVOKE" }))
        }
        "reassign" => Some(everywhere(sql, "REASSIGN OWNED")),
        "security" => words.accept("security label").then(|| unsupported("SECURITY", "label")),
        "refresh" => words.accept("refresh materialized view").then(|| refresh(words)),
        "import" => words.accept("import foreign schema").then(|| at_home(sql, "IMPORT FOREIGN SCHEMA")),
        "do" | "call" => Some(relay(Residue::Unknown)),
        "select" | "with" => create::select_into(words, facts),
        _ => None,
    }
}

/// REFRESH MATERIALIZED VIEW; CONCURRENTLY works through a temporary table, which the catalog database, being prepared, cannot have.
fn refresh(mut words: Words<'_>) -> Plan {
    let sql = words.sql;
    let mut text = sql.to_owned();
    if let Some(token) = words.peek()
        && words.accept("concurrently")
    {
        text.replace_range(token.span.start..token.span.end, "");
    }
    ddl("REFRESH MATERIALIZED VIEW", [DdlStep::Catalog(text), DdlStep::Home(sql.to_owned())])
}

fn alter(mut words: Words<'_>, facts: &Facts<'_>) -> Plan {
    let sql = words.sql;
    if words.accept("table") {
        return alter_table::plan(words, facts);
    }
    if let Some((command, _)) =
        [("ALTER INDEX", "index"), ("ALTER VIEW", "view"), ("ALTER MATERIALIZED VIEW", "materialized view")]
            .into_iter()
            .find(|(_, object)| words.accept(object))
    {
        if words.accept("all in tablespace") {
            return unsupported("ALTER ... ALL IN", "tablespace");
        }
        words.accept("if exists");
        return words
            .name()
            .map_or_else(|| catalog_only(sql, command), |name| alter_table::relation(words, facts, &name, command));
    }
    if words.accept("sequence") {
        return alter_sequence(words, facts);
    }
    if words.accept("foreign table") {
        return at_home(sql, "ALTER FOREIGN TABLE");
    }
    if words.accept("schema") {
        return alter_schema(words);
    }
    if let Some(object) = words.accept_any(&["trigger", "policy", "rule"]) {
        let command = match object {
            "trigger" => "ALTER TRIGGER",
            "policy" => "ALTER POLICY",
            _ => "ALTER RULE",
        };
        return on_relation(words, facts, command);
    }
    if words.accept("statistics") {
        let Some(located) = words.name().and_then(|name| facts.locate_statistics(&name)) else {
            return catalog_only(sql, "ALTER STATISTICS");
        };
        return ddl("ALTER STATISTICS", [catalog(sql), follow(sql, facts, located.whereabouts)]);
    }
    if words.accept("default privileges") {
        return everywhere(sql, "ALTER DEFAULT PRIVILEGES");
    }
    if words.accept("user mapping") {
        return at_home(sql, "ALTER USER MAPPING");
    }
    if words.accept_any(&["server", "foreign data wrapper"]).is_some() {
        return at_home(sql, "ALTER SERVER");
    }
    if words.accept_any(&["role", "user", "group"]).is_some() {
        return privileges::alter_role(words);
    }
    if words.accept("database") {
        return alter_database(words);
    }
    if words.accept("large object") {
        return on_large_object(sql, "ALTER LARGE OBJECT");
    }
    if words.accept_any(&["function", "procedure", "routine", "aggregate"]).is_some() {
        return on_function(words, facts, "ALTER FUNCTION");
    }
    if let Some(object) = words.accept_any(&["system", "tablespace", "publication", "subscription", "event trigger"]) {
        return unsupported("ALTER", object);
    }
    everywhere(sql, "ALTER")
}

/// ALTER SEQUENCE; `OWNED BY` a distributed table's column is left out at home, where that table is not.
fn alter_sequence(mut words: Words<'_>, facts: &Facts<'_>) -> Plan {
    let sql = words.sql;
    words.accept("if exists");
    let Some(name) = words.name() else { return catalog_only(sql, "ALTER SEQUENCE") };
    if facts.locate(&name).is_none() {
        return relay(Residue::Pins);
    }
    let mut text = sql.to_owned();
    if let Some(position) = words.find(&["owned"]) {
        words.seek(position);
        if words.accept("owned by")
            && let Some(owner) = words.name()
            && column_of(&owner)
                .and_then(|table| facts.locate(&table))
                .is_some_and(|table| table.whereabouts != Whereabouts::Home)
        {
            text.replace_range(owner.span.start..owner.span.end, "NONE");
        }
    }
    ddl("ALTER SEQUENCE", [catalog(sql), DdlStep::Home(text)])
}

/// The table of a column's name.
fn column_of(column: &Name) -> Option<Name> {
    Some(Name { outer: None, schema: column.outer.clone(), name: column.schema.clone()?, ..column.clone() })
}

fn alter_schema(mut words: Words<'_>) -> Plan {
    let sql = words.sql;
    let Some(name) = words.name() else { return catalog_only(sql, "ALTER SCHEMA") };
    if words.accept("rename to") {
        let Some(to) = words.name() else { return catalog_only(sql, "ALTER SCHEMA") };
        if let Some(refusal) = reserved(&to.name) {
            return refusal;
        }
        let tables = DdlTables::InSchemas(vec![name.name.clone()]);
        let rename = DdlStep::RenameSlices { from: name.name, to: to.name };
        let steps = [DdlStep::Reconcile(tables), catalog(sql), DdlStep::EveryGroup(sql.to_owned()), rename];
        return ddl("ALTER SCHEMA", steps);
    }
    let slices = slices_text(sql, &name);
    ddl("ALTER SCHEMA", [catalog(sql), DdlStep::EveryGroup(sql.to_owned()), slices])
}

/// The statement for each slice of the schema that it names.
fn slices_text(sql: &str, name: &Name) -> DdlStep {
    let schema = name.name.clone();
    DdlStep::SchemaSlices { statement: splice_schemas(sql, std::slice::from_ref(name)), schema }
}

/// The text with these names, which are schemas, made slices.
fn splice_schemas(sql: &str, names: &[Name]) -> Template {
    let mut pieces = Vec::new();
    let mut copied = 0;
    for name in names {
        pieces.push(crate::plan::Piece::Text(sql[copied..name.span.start].to_owned()));
        pieces.push(crate::plan::Piece::Slice(name.name.clone()));
        copied = name.span.end;
    }
    pieces.push(crate::plan::Piece::Text(sql[copied..].to_owned()));
    Template { pieces }
}

/// ALTER DATABASE: settings and owners are also those of the data databases, which are named after it.
fn alter_database(mut words: Words<'_>) -> Plan {
    let sql = words.sql;
    let Some(name) = words.name() else { return catalog_only(sql, "ALTER DATABASE") };
    if words.accept("rename") {
        return Refusal::unsupported(
            "renaming a database is not supported",
            "Every group has a database that is named after it.",
            "Create a database of the new name and copy into it.",
        )
        .into();
    }
    if words.accept("set tablespace") {
        return unsupported("ALTER DATABASE ... SET", "tablespace");
    }
    if words.accept_any(&["set", "reset", "owner", "refresh"]).is_none() {
        return catalog_only(sql, "ALTER DATABASE");
    }
    ddl("ALTER DATABASE", [catalog(sql), DdlStep::EveryGroup(data_database(sql, &name))])
}

/// The text with a logical database's name made its data database's.
fn data_database(sql: &str, name: &Name) -> String {
    let data = crate::quote_identifier(&format!("{}_data", name.name));
    format!("{}{data}{}", &sql[..name.span.start], &sql[name.span.end..])
}

/// COMMENT: comments are read from the catalog database only, so they are nowhere else.
fn comment(mut words: Words<'_>, facts: &Facts<'_>) -> Plan {
    let sql = words.sql;
    let relation =
        words.accept_any(&["table", "view", "materialized view", "index", "sequence", "foreign table"]).is_some();
    if relation && words.name().is_some_and(|name| facts.locate(&name).is_none()) {
        return relay(Residue::Pins);
    }
    if words.accept("large object") {
        return on_large_object(sql, "COMMENT");
    }
    catalog_only(sql, "COMMENT")
}

/// `ALTER|DROP TRIGGER|POLICY|RULE name ON table ...`
fn on_relation(mut words: Words<'_>, facts: &Facts<'_>, command: &'static str) -> Plan {
    let sql = words.sql;
    let Some(position) = words.find(&["on"]) else { return catalog_only(sql, command) };
    words.seek(position + 1);
    words.accept("only");
    let Some(name) = words.name() else { return catalog_only(sql, command) };
    match facts.locate(&name) {
        Some(located) => ddl(command, [catalog(sql), follow(sql, facts, located.whereabouts)]),
        None => relay(Residue::Pins),
    }
}

/// A statement about functions: at home only when any of that name needs tables that are only there.
fn on_function(mut words: Words<'_>, facts: &Facts<'_>, command: &'static str) -> Plan {
    let sql = words.sql;
    let home_only = words.name().is_some_and(|name| facts.is_home_function(&name));
    let data = if home_only { DdlStep::Home(sql.to_owned()) } else { DdlStep::EveryGroup(sql.to_owned()) };
    ddl(command, [catalog(sql), data])
}

impl Facts<'_> {
    /// Whether a function of that name depends on tables that are only at home, and so is only there itself.
    fn is_home_function(&self, name: &Name) -> bool {
        let schemas = name.schema.as_ref().map_or(self.search_path, std::slice::from_ref);
        schemas
            .iter()
            .filter_map(|schema| self.catalog.functions.get(&crate::directory::TableName::new(schema, &name.name)))
            .flatten()
            .flat_map(|function| &function.depends_on)
            .any(|table| self.whereabouts(table) == Whereabouts::Home)
    }
}

/// The data side of a statement about one existing relation.
fn follow(sql: &str, facts: &Facts<'_>, whereabouts: Whereabouts) -> DdlStep {
    match whereabouts {
        Whereabouts::Home => DdlStep::Home(sql.to_owned()),
        Whereabouts::EveryGroup => DdlStep::EveryGroup(sql.to_owned()),
        Whereabouts::Shards(colocation) => DdlStep::Shards { colocation, statement: facts.splice(sql) },
        Whereabouts::Catalog => DdlStep::Nothing,
    }
}

fn catalog(sql: &str) -> DdlStep {
    DdlStep::Catalog(sql.to_owned())
}

fn ddl(command: &'static str, steps: impl Into<Vec<DdlStep>>) -> Plan {
    Plan::Ddl(Ddl { command, steps: steps.into(), mode: DdlMode::Transaction })
}

fn catalog_only(sql: &str, command: &'static str) -> Plan {
    ddl(command, [catalog(sql)])
}

fn at_home(sql: &str, command: &'static str) -> Plan {
    ddl(command, [catalog(sql), DdlStep::Home(sql.to_owned())])
}

fn everywhere(sql: &str, command: &'static str) -> Plan {
    ddl(command, [catalog(sql), DdlStep::EveryGroup(sql.to_owned())])
}

/// Large objects are in home's data database alone.
fn on_large_object(sql: &str, command: &'static str) -> Plan {
    ddl(command, [DdlStep::Home(sql.to_owned())])
}

/// Home's data database does it alone: temporary objects, code blocks.
fn relay(residue: Residue) -> Plan {
    Plan::Relay(Relay { site: Site::Home, text: None, marked: None, access: Access::Write, residue })
}

/// The refusal of a command on what belongs to a single server.
fn unsupported(command: &str, object: &str) -> Plan {
    let (why, instead) = match object {
        "system" => (
            "It changes the configuration of one server, and the cluster has several.",
            "Use ALTER DATABASE ... SET or ALTER ROLE ... SET, or configure each server.",
        ),
        "tablespace" => (
            "A tablespace is a directory of one server, and the cluster has several.",
            "Use the default tablespace, on whatever storage each server's data directory is.",
        ),
        "event trigger" => (
            "Atoll itself runs DDL on several servers, and each would fire the trigger for its own part.",
            "Limit by privileges who may run DDL.",
        ),
        "label" => (
            "Labels belong to modules of one server, and the cluster has several.",
            "Use GRANT, and policies for row level security.",
        ),
        _ => (
            "PostgreSQL replicates tables of one server, and a table's rows may be on several.",
            "Move rows with COPY or INSERT ... SELECT.",
        ),
    };
    Refusal::unsupported(format!("{command} {} is not supported", object.to_ascii_uppercase()), why, instead).into()
}

/// The refusal of a schema's name that is Atoll's own.
fn reserved(schema: &str) -> Option<Plan> {
    let why = "The name \"atoll\" and names like \"s0001\" or \"s0001_sales\" are reserved for shards.";
    crate::directory::is_reserved_schema(schema).then(|| Refusal::reserved("schema", schema, why).into())
}
