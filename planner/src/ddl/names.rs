//! Commands over lists of names: DROP, TRUNCATE, LOCK. Each group gets one statement over what of the list it has.

use super::words::{Name, Words};
use super::{
    at_home, catalog, catalog_only, data_database, ddl, everywhere, on_function, on_relation, relay, unsupported,
};
use crate::Facts;
use crate::plan::{Ddl, DdlMode, DdlName, DdlNames, DdlStep, DdlTables, Plan, Residue, Whereabouts};

/// Names separated by commas, each maybe with ONLY or `*`; what the catalog does not know is left out.
pub(crate) struct List {
    pub names: Vec<DdlName>,
    /// The catalog knows none of them: they are temporary, or do not exist.
    pub unknown: bool,
}

pub(crate) fn list(words: &mut Words<'_>, facts: &Facts<'_>) -> List {
    let mut names = Vec::new();
    loop {
        let only = words.accept("only");
        let parenthesised = words.accept_symbol("(");
        let Some(name) = words.name() else { break };
        if parenthesised {
            words.accept_symbol(")");
        }
        words.accept_symbol("*");
        if let Some(located) = facts.locate(&name) {
            let before = if only { "ONLY " } else { "" };
            names.push(DdlName { before, name: located.name, whereabouts: located.whereabouts });
        }
        if !words.accept_symbol(",") {
            break;
        }
    }
    let unknown = names.is_empty();
    List { names, unknown }
}

pub(super) fn names_only(words: &mut Words<'_>) -> Vec<Name> {
    let mut names = Vec::new();
    while let Some(name) = words.name() {
        names.push(name);
        if !words.accept_symbol(",") {
            break;
        }
    }
    names
}

pub(super) fn drop(mut words: Words<'_>, facts: &Facts<'_>) -> Plan {
    let sql = words.sql;
    for (object, command) in [
        ("table", "DROP TABLE"),
        ("view", "DROP VIEW"),
        ("materialized view", "DROP MATERIALIZED VIEW"),
        ("sequence", "DROP SEQUENCE"),
        ("foreign table", "DROP FOREIGN TABLE"),
        ("index concurrently", "DROP INDEX CONCURRENTLY"),
        ("index", "DROP INDEX"),
    ] {
        if words.accept(object) {
            return drop_relations(words, facts, command);
        }
    }
    if words.accept("schema") {
        return drop_schema(words);
    }
    for (object, command) in [("trigger", "DROP TRIGGER"), ("policy", "DROP POLICY"), ("rule", "DROP RULE")] {
        if words.accept(object) {
            return on_relation(words, facts, command);
        }
    }
    if words.accept("statistics") {
        return drop_statistics(words, facts);
    }
    if words.accept_any(&["function", "procedure", "routine", "aggregate"]).is_some() {
        words.accept("if exists");
        return on_function(words, facts, "DROP FUNCTION");
    }
    if words.accept("user mapping") {
        return at_home(sql, "DROP USER MAPPING");
    }
    if words.accept_any(&["server", "foreign data wrapper"]).is_some() {
        return at_home(sql, "DROP SERVER");
    }
    if words.accept_any(&["role", "user", "group"]).is_some() {
        return ddl("DROP ROLE", [catalog(sql), DdlStep::OtherGroups(sql.to_owned())]);
    }
    if words.accept("owned") {
        return ddl(
            "DROP OWNED",
            [DdlStep::Reconcile(DdlTables::All), catalog(sql), DdlStep::EveryGroup(sql.to_owned())],
        );
    }
    if words.accept("database") {
        return drop_database(words);
    }
    if let Some(object) = words.accept_any(&["tablespace", "publication", "subscription", "event trigger"]) {
        return unsupported("DROP", object);
    }
    match everywhere(sql, "DROP") {
        // With CASCADE (of a type, a domain, an extension) columns and whole tables may go.
        Plan::Ddl(mut plan) if words.mentions("cascade") => {
            plan.steps.insert(0, DdlStep::Reconcile(DdlTables::All));
            plan.steps.push(DdlStep::Check(DdlTables::All));
            Plan::Ddl(plan)
        }
        plan => plan,
    }
}

fn drop_relations(mut words: Words<'_>, facts: &Facts<'_>, command: &'static str) -> Plan {
    let sql = words.sql;
    words.accept("if exists");
    let List { names, unknown } = list(&mut words, facts);
    if unknown {
        return relay(Residue::Pins);
    }
    let tail = format!(" {}", words.rest_text()).trim_end().to_owned();
    let tables = DdlTables::These(names.iter().map(|name| name.name.clone()).collect());
    // What a table takes along (its sequence, a view by CASCADE) may be gone already when its own turn comes.
    let data = DdlStep::Names(DdlNames { head: format!("{command} IF EXISTS "), names, tail });
    let mode = if command.ends_with("CONCURRENTLY") { DdlMode::Autonomous } else { DdlMode::Transaction };
    let steps = match mode {
        DdlMode::Autonomous => vec![catalog(sql), data],
        _ => vec![DdlStep::Reconcile(tables), catalog(sql), data],
    };
    Plan::Ddl(Ddl { command, steps, mode })
}

fn drop_schema(mut words: Words<'_>) -> Plan {
    let sql = words.sql;
    words.accept("if exists");
    let schemas: Vec<String> = names_only(&mut words).into_iter().map(|name| name.name).collect();
    // Slices go first: they may need what is in the schema itself.
    let tables = DdlTables::InSchemas(schemas.clone());
    let slices = DdlStep::DropSlices { schemas };
    ddl("DROP SCHEMA", [DdlStep::Reconcile(tables), catalog(sql), slices, DdlStep::EveryGroup(sql.to_owned())])
}

fn drop_statistics(mut words: Words<'_>, facts: &Facts<'_>) -> Plan {
    let sql = words.sql;
    words.accept("if exists");
    let mut names = Vec::new();
    for name in names_only(&mut words) {
        if let Some(located) = facts.locate_statistics(&name) {
            names.push(DdlName { before: "", name: located.name, whereabouts: located.whereabouts });
        }
    }
    let data = DdlStep::Names(DdlNames { head: "DROP STATISTICS IF EXISTS ".to_owned(), names, tail: String::new() });
    ddl("DROP STATISTICS", [catalog(sql), data])
}

fn drop_database(mut words: Words<'_>) -> Plan {
    let sql = words.sql;
    let if_exists = words.accept("if exists");
    let Some(name) = words.name() else { return catalog_only(sql, "DROP DATABASE") };
    let force = words.mentions("force");
    let step = DdlStep::DropDatabase { name: name.name, if_exists, force };
    Plan::Ddl(Ddl { command: "DROP DATABASE", steps: vec![step], mode: DdlMode::Autonomous })
}

pub(super) fn truncate(mut words: Words<'_>, facts: &Facts<'_>) -> Plan {
    let sql = words.sql;
    words.accept("table");
    let List { names, unknown } = list(&mut words, facts);
    if unknown {
        return relay(Residue::Pins);
    }
    let tail = format!(" {}", words.rest_text()).trim_end().to_owned();
    let mut steps = vec![catalog(sql)];
    if words.accept("restart identity") {
        let sliced = names.iter().filter(|name| matches!(name.whereabouts, Whereabouts::Shards(_)));
        steps.push(DdlStep::RestartSequences(sliced.map(|name| name.name.clone()).collect()));
    }
    steps.push(DdlStep::Names(DdlNames { head: "TRUNCATE ".to_owned(), names, tail }));
    ddl("TRUNCATE TABLE", steps)
}

pub(super) fn lock(mut words: Words<'_>, facts: &Facts<'_>) -> Plan {
    words.accept("table");
    let List { names, unknown } = list(&mut words, facts);
    if unknown {
        return relay(Residue::Clean);
    }
    let tail = format!(" {}", words.rest_text()).trim_end().to_owned();
    let names = DdlStep::Names(DdlNames { head: "LOCK TABLE ".to_owned(), names, tail });
    Plan::Ddl(Ddl { command: "LOCK TABLE", steps: vec![names], mode: DdlMode::BlockOnly })
}

/// Exposed for privileges on databases.
pub(super) fn data_databases(sql: &str, names: &[Name]) -> String {
    names.iter().rev().fold(sql.to_owned(), |text, name| data_database(&text, name))
}
