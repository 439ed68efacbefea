//! GRANT and REVOKE, and roles.

use super::names::{List, data_databases, list, names_only};
use super::words::Words;
use super::{at_home, catalog, ddl, everywhere, on_function, on_large_object, relay, splice_schemas};
use crate::Facts;
use crate::plan::{DdlNames, DdlStep, Plan, Residue};

pub(super) fn plan(mut words: Words<'_>, facts: &Facts<'_>, command: &'static str) -> Plan {
    let sql = words.sql;
    let end = if command == "GRANT" { "to" } else { "from" };
    let object = words.find(&["on", end]);
    let Some(position) = object.filter(|&position| words.tokens()[position].is_keyword(sql, "on")) else {
        // Membership in roles.
        return ddl(command, [catalog(sql), DdlStep::OtherGroups(sql.to_owned())]);
    };
    words.seek(position + 1);
    if words.accept("schema") {
        let names = names_only(&mut words);
        return in_schemas(sql, command, &names);
    }
    if words.accept("all tables in schema") {
        let names = names_only(&mut words);
        return in_schemas(sql, command, &names);
    }
    if words.accept("all sequences in schema") || words.accept("sequence") {
        return at_home(sql, command);
    }
    if words.accept("database") {
        let names = names_only(&mut words);
        return ddl(command, [catalog(sql), DdlStep::EveryGroup(data_databases(sql, &names))]);
    }
    if words.accept("parameter") || words.accept("tablespace") {
        return ddl(command, [catalog(sql), DdlStep::OtherGroups(sql.to_owned())]);
    }
    if words.accept("large object") {
        return on_large_object(sql, command);
    }
    if words.accept_any(&["foreign data wrapper", "foreign server"]).is_some() {
        return at_home(sql, command);
    }
    if words.accept_any(&["function", "procedure", "routine"]).is_some() {
        return on_function(words, facts, command);
    }
    if words.accept_any(&["all functions", "all procedures", "all routines", "domain", "type", "language"]).is_some() {
        return everywhere(sql, command);
    }
    words.accept("table");
    let head = sql[..words.offset()].to_owned();
    let List { names, unknown } = list(&mut words, facts);
    if unknown {
        return relay(Residue::Pins);
    }
    let tail = format!(" {}", words.rest_text());
    ddl(command, [catalog(sql), DdlStep::Names(DdlNames { head, names, tail })])
}

/// Privileges on schemas, or on all tables in them: the slices of each schema follow it.
fn in_schemas(sql: &str, command: &'static str, names: &[super::Name]) -> Plan {
    let mut steps = vec![catalog(sql), DdlStep::EveryGroup(sql.to_owned())];
    for name in names {
        // One statement per schema, so that slices of one need not exist where those of another do.
        let (first, last) = (&names[0], &names[names.len() - 1]);
        let alone = format!("{}{}{}", &sql[..first.span.start], name.span.of(sql), &sql[last.span.end..]);
        let mut moved = name.clone();
        moved.span.start = first.span.start;
        moved.span.end = first.span.start + (name.span.end - name.span.start);
        let statement = splice_schemas(&alone, &[moved]);
        steps.push(DdlStep::SchemaSlices { schema: name.name.clone(), statement });
    }
    ddl(command, steps)
}

/// CREATE ROLE, USER, GROUP.
pub(super) fn create_role(sql: &str) -> Plan {
    ddl("CREATE ROLE", [catalog(sql), DdlStep::OtherGroups(sql.to_owned())])
}

/// ALTER ROLE; settings for one database are also those of its data database.
pub(super) fn alter_role(mut words: Words<'_>) -> Plan {
    let sql = words.sql;
    let mut steps = vec![catalog(sql)];
    if let Some(position) = words.find(&["in"]) {
        words.seek(position);
        if words.accept("in database")
            && let Some(name) = words.name()
        {
            steps.push(DdlStep::EveryGroup(super::data_database(sql, &name)));
            return ddl("ALTER ROLE", steps);
        }
    }
    steps.push(DdlStep::OtherGroups(sql.to_owned()));
    ddl("ALTER ROLE", steps)
}
