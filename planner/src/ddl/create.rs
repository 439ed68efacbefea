//! CREATE, and SELECT INTO.

use super::names::names_only;
use super::words::{Name, Words, is_identifier};
use super::{at_home, catalog, ddl, everywhere, follow, on_function, privileges, relay, reserved, unsupported};
use crate::Facts;
use crate::plan::{
    Access, CreateAs, Ddl, DdlMode, DdlName, DdlStep, DdlTables, Gather, Many, Merge, NewDatabase, NewView, Plan,
    Refusal, Residue, Template, Whereabouts,
};
use crate::scan::Token;

pub(super) fn plan(mut words: Words<'_>, facts: &Facts<'_>) -> Plan {
    let sql = words.sql;
    words.accept("or replace");
    let scope = words.accept_any(&["global", "local"]).is_some();
    let temporary = words.accept_any(&["temporary", "temp"]).is_some();
    if !scope && !temporary {
        words.accept("unlogged");
    }
    if words.accept("table") {
        return table(words, facts, temporary);
    }
    words.accept("recursive");
    if words.accept("view") {
        return view(words, facts, temporary, false);
    }
    if words.accept("materialized view") {
        return view(words, facts, false, true);
    }
    if words.accept("sequence") {
        words.accept("if not exists");
        let name = words.name();
        let temporary = temporary || name.as_ref().is_some_and(is_temporary_schema);
        return if temporary { relay(Residue::Pins) } else { sequence(words, facts) };
    }
    if words.accept("index") || words.accept("unique index") {
        return index(words, facts);
    }
    if words.accept("schema") {
        return schema(words);
    }
    if words.accept("constraint trigger") || words.accept("trigger") {
        return trigger(words, facts);
    }
    if words.accept("policy") {
        return on_table(words, facts, "on", "CREATE POLICY");
    }
    if words.accept("rule") {
        return on_table(words, facts, "to", "CREATE RULE");
    }
    if words.accept("statistics") {
        return statistics(words, facts);
    }
    if words.accept_any(&["function", "procedure"]).is_some() {
        return function(words, facts);
    }
    if words.accept("user mapping") {
        return at_home(sql, "CREATE USER MAPPING");
    }
    if words.accept_any(&["server", "foreign data wrapper", "foreign table"]).is_some() {
        return at_home(sql, "CREATE FOREIGN TABLE");
    }
    if words.accept_any(&["role", "user", "group"]).is_some() {
        return privileges::create_role(sql);
    }
    if words.accept("database") {
        return database(words);
    }
    if let Some(object) = words.accept_any(&["tablespace", "publication", "subscription", "event trigger"]) {
        return unsupported("CREATE", object);
    }
    everywhere(sql, "CREATE")
}

fn is_temporary_schema(name: &Name) -> bool {
    name.schema.as_deref() == Some("pg_temp")
}

/// CREATE TABLE: a new table is unsharded, whatever it is made from; AS is not run in the catalog database, which has no rows.
fn table(mut words: Words<'_>, facts: &Facts<'_>, temporary: bool) -> Plan {
    let sql = words.sql;
    let unless_exists = words.accept("if not exists");
    let Some(name) = words.name() else { return at_home(sql, "CREATE TABLE") };
    let temporary = temporary || is_temporary_schema(&name);
    if unless_exists && !temporary && facts.new_name_is_taken(&name) {
        // What is there may not be at home, where a second table must not come into being.
        return super::catalog_only(sql, "CREATE TABLE");
    }
    let after_name = words.position();
    if let Some(position) = words.find(&["as"]) {
        words.seek(position + 1);
        return table_as(words, facts, &name, temporary);
    }
    words.seek(after_name);
    let mut like = false;
    while let Some(token) = words.next() {
        let reference = ["references", "like", "inherits", "of"].into_iter().find(|word| token.is_keyword(sql, word));
        let Some(reference) = reference else { continue };
        let mentioned = match reference {
            "inherits" if words.accept_symbol("(") => names_only(&mut words),
            "inherits" => Vec::new(),
            _ => words.name().into_iter().collect(),
        };
        for located in mentioned.iter().filter_map(|name| facts.locate(name)) {
            let Some(kind) = spread(located.whereabouts) else { continue };
            match reference {
                "references" if located.whereabouts == Whereabouts::EveryGroup => {}
                "references" => {
                    return Refusal::unsupported(
                        format!(
                            "a foreign key to {kind} \"{}\" needs a table that is distributed like it",
                            located.name.name
                        ),
                        "A new table is at home, where the rows are not that the foreign key refers to.",
                        "Create the table without the foreign key, distribute it with create_distributed_table, then add \
                         the foreign key with ALTER TABLE.",
                    )
                    .into();
                }
                "like" => like |= located.whereabouts != Whereabouts::EveryGroup,
                _ => {
                    return Refusal::unsupported(
                        format!("the {kind} \"{}\" cannot have child tables", located.name.name),
                        "A child table is on one server with its parent, and this one's rows are on several.",
                        format!("Create a table LIKE \"{}\" instead, and distribute it, too.", located.name.name),
                    )
                    .into();
                }
            }
        }
    }
    match (temporary, like) {
        (true, true) => Refusal::unsupported(
            "a temporary table cannot be created LIKE a distributed table",
            "A temporary table is at home, where the distributed table is not.",
            "Use CREATE TEMPORARY TABLE ... AS SELECT ... WITH NO DATA.",
        )
        .into(),
        (true, false) => relay(Residue::Pins),
        (false, true) => {
            let table = DdlStep::TableFromCatalog { name: name.span.of(sql).to_owned() };
            ddl("CREATE TABLE", [catalog(sql), table])
        }
        (false, false) => at_home(sql, "CREATE TABLE"),
    }
}

/// What to call a table that is not unsharded.
fn spread(whereabouts: Whereabouts) -> Option<&'static str> {
    match whereabouts {
        Whereabouts::Home => None,
        Whereabouts::EveryGroup => Some("reference table"),
        Whereabouts::Shards(_) => Some("distributed table"),
        Whereabouts::Catalog => Some("view of distributed tables"),
    }
}

/// CREATE TABLE ... AS: `words` stand after AS.
fn table_as(words: Words<'_>, facts: &Facts<'_>, name: &Name, temporary: bool) -> Plan {
    const COMMAND: &str = "CREATE TABLE AS";
    let sql = words.sql;
    if words.is_keyword("execute") {
        return Refusal::unsupported(
            "CREATE TABLE ... AS EXECUTE is not supported",
            "The coordinator keeps prepared statements; no server knows them.",
            "Write the statement's query in place of EXECUTE.",
        )
        .into();
    }
    let (end, with_data) = end_of_query(&words);
    let start = words.offset();
    let query = sql.get(start..end).unwrap_or_default();
    let source = match over_shards(query, facts) {
        Some(Ok(merge)) => merge,
        Some(Err(Plan::Refuse(refusal))) => {
            return Plan::Refuse(Refusal { position: refusal.position.map(|position| position + start), ..refusal });
        }
        Some(Err(plan)) => return plan,
        None if temporary => return relay(Residue::Pins),
        None => {
            let empty = format!("{} WITH NO DATA", &sql[..end]);
            return ddl(COMMAND, [DdlStep::Catalog(empty), DdlStep::Home(sql.to_owned())]);
        }
    };
    if temporary {
        let options = if with_data { "" } else { " WITH NO DATA" };
        return temporary_as(&sql[..start], source, options);
    }
    let fill = with_data.then(|| format!("INSERT INTO {} {query}", name.span.of(sql)));
    filled(COMMAND, format!("{} WITH NO DATA", &sql[..end]), name.span.of(sql), fill)
}

/// Where the query ends, and whether its rows are wanted: `... [ WITH [ NO ] DATA ]`.
fn end_of_query(words: &Words<'_>) -> (usize, bool) {
    let sql = words.sql;
    let rest = words.rest();
    let ends_with = |phrase: &[&str]| {
        rest.len() > phrase.len()
            && rest[rest.len() - phrase.len()..].iter().zip(phrase).all(|(token, word)| token.is_keyword(sql, word))
    };
    let (behind, with_data) = match (ends_with(&["with", "no", "data"]), ends_with(&["with", "data"])) {
        (true, _) => (3, false),
        (_, true) => (2, true),
        _ => (0, true),
    };
    let last = rest.len().checked_sub(behind + 1).and_then(|index| rest.get(index));
    (last.map_or(sql.len(), |token| token.span.end), with_data)
}

/// The merge of a query that reads shards, or why there is none; `None` for any other query.
fn over_shards(query: &str, facts: &Facts<'_>) -> Option<Result<Merge, Plan>> {
    match crate::statement::plan(query, facts) {
        Plan::Gather(gather) => Some(Ok(gather.merge)),
        Plan::Sharded(sharded) => Some(match (sharded.many, crate::statement::merge_of(query, facts)) {
            (Many::Merge(merge), _) | (Many::Refuse(_), Some(Ok(merge))) => Ok(merge),
            (Many::Refuse(refusal), _) => Err(refusal.into()),
            (Many::Write(_), _) => return None,
        }),
        plan @ (Plan::Views(_) | Plan::Refuse(_)) => Some(Err(plan)),
        _ => None,
    }
}

/// A temporary table is at home only, where the merge runs.
fn temporary_as(head: &str, source: Merge, options: &str) -> Plan {
    let sql = format!("{head}{}{options}", source.sql);
    let merge = Merge { sql, datafusion: false, joined: None, grouped: None, ..source };
    Plan::Gather(Gather { merge, access: Access::Write, residue: Residue::Pins })
}

fn filled(command: &'static str, empty: String, name: &str, fill: Option<String>) -> Plan {
    let steps = vec![DdlStep::Catalog(empty), DdlStep::TableFromCatalog { name: name.to_owned() }];
    Plan::CreateAs(CreateAs { table: Ddl { command, steps, mode: DdlMode::Transaction }, fill })
}

/// The refusal of a view at home that reads distributed tables.
fn reads_distributed(words: &Words<'_>, facts: &Facts<'_>, view: &str, instead: &str) -> Option<Plan> {
    let table = relations_read(words, facts).into_iter().find(|located| matches!(located.1, Whereabouts::Shards(_)))?;
    let what = format!("{view} over the distributed table \"{}\" is not supported", table.0);
    Some(Refusal::unsupported(what, "Such a view is at home, where the table's rows are not.", instead).into())
}

/// The known relations that stand from here on where a relation can stand.
fn relations_read(words: &Words<'_>, facts: &Facts<'_>) -> Vec<(String, Whereabouts)> {
    let sql = words.sql;
    let mut words = words.clone();
    let mut found = Vec::new();
    let mut previous: Option<Token> = None;
    while let Some(token) = words.peek() {
        let possible = previous.is_some_and(|before| {
            [",", "("].iter().any(|symbol| before.is_symbol(sql, symbol))
                || ["from", "join", "only", "table", "using", "into", "update"]
                    .iter()
                    .any(|word| before.is_keyword(sql, word))
        });
        if possible
            && is_identifier(&token)
            && let Some(name) = words.name()
        {
            if !words.is_symbol("(")
                && let Some(located) = facts.locate(&name)
            {
                found.push((located.name.name, located.whereabouts));
            }
            previous = Some(token);
        } else {
            previous = words.next();
        }
    }
    found
}

/// `SELECT ... INTO table ...`; `None` for every other SELECT.
pub(super) fn select_into(mut words: Words<'_>, facts: &Facts<'_>) -> Option<Plan> {
    let sql = words.sql;
    let position = words.find(&["into"])?;
    let before = words.tokens().get(position.checked_sub(1)?)?;
    if ["insert", "merge", "as"].iter().any(|word| before.is_keyword(sql, word)) || before.is_symbol(sql, ".") {
        return None;
    }
    if !words.tokens()[..position].iter().any(|token| token.is_keyword(sql, "select")) {
        return None;
    }
    let start = words.tokens()[position].span.start;
    words.seek(position + 1);
    let temporary =
        words.accept_any(&["temporary", "temp", "local temporary", "local temp", "global temporary"]).is_some();
    let unlogged = if words.accept("unlogged") { "UNLOGGED " } else { "" };
    words.accept("table");
    let name = words.name()?;
    words.seek(0);
    let end = words.tokens().last()?.span.end;
    let query = format!("{}{}", &sql[..start], &sql[name.span.end..end]);
    let named = name.span.of(sql);
    let temporary = temporary || is_temporary_schema(&name);
    let empty = format!("CREATE {unlogged}TABLE {named} AS {query} WITH NO DATA");
    Some(match over_shards(&query, facts) {
        Some(Ok(merge)) if temporary => temporary_as(&format!("CREATE TEMPORARY TABLE {named} AS "), merge, ""),
        Some(Ok(_)) => filled("SELECT INTO", empty, named, Some(format!("INSERT INTO {named} {query}"))),
        // Positions behind INTO are others than the client's.
        Some(Err(Plan::Refuse(refusal))) => Plan::Refuse(Refusal { position: None, ..refusal }),
        Some(Err(plan)) => plan,
        None if temporary => relay(Residue::Pins),
        None => ddl("SELECT INTO", [DdlStep::Catalog(empty), DdlStep::Home(sql.to_owned())]),
    })
}

fn view(mut words: Words<'_>, facts: &Facts<'_>, temporary: bool, materialized: bool) -> Plan {
    let sql = words.sql;
    words.accept("if not exists");
    let command = if materialized { "CREATE MATERIALIZED VIEW" } else { "CREATE VIEW" };
    let Some(name) = words.name() else { return at_home(sql, command) };
    let instead = "Use CREATE TABLE ... AS, and fill the table anew when its rows are to change.";
    if materialized && let Some(refused) = reads_distributed(&words, facts, command, instead) {
        return refused;
    }
    let temporary = temporary || is_temporary_schema(&name);
    if temporary {
        let refused = reads_distributed(&words, facts, "a temporary view", "Create a view that is not temporary.");
        return refused.unwrap_or_else(|| relay(Residue::Pins));
    }
    let mut statement = facts.splice(sql);
    if let (Some(schema), Some(span)) = (&name.schema, name.schema_span) {
        // A new view is not known to the facts yet (one that is replaced is, and is spliced already).
        let text = facts.splice(&sql[span.end..]);
        let head = crate::plan::Piece::Text(sql[..span.start].to_owned());
        let mut pieces = vec![head, crate::plan::Piece::Slice(schema.clone())];
        pieces.extend(text.pieces);
        statement = Template { pieces };
    }
    let name = name.span.of(sql).to_owned();
    ddl(command, [catalog(sql), DdlStep::View(NewView { name, statement, materialized })])
}

fn sequence(mut words: Words<'_>, facts: &Facts<'_>) -> Plan {
    let sql = words.sql;
    let Some(position) = words.find(&["owned"]) else { return at_home(sql, "CREATE SEQUENCE") };
    words.seek(position);
    let mut text = sql.to_owned();
    if words.accept("owned by")
        && let Some(owner) = words.name()
        && super::column_of(&owner)
            .and_then(|table| facts.locate(&table))
            .is_some_and(|table| table.whereabouts != Whereabouts::Home)
    {
        text.replace_range(owner.span.start..owner.span.end, "NONE");
    }
    ddl("CREATE SEQUENCE", [catalog(sql), DdlStep::Home(text)])
}

fn index(mut words: Words<'_>, facts: &Facts<'_>) -> Plan {
    let sql = words.sql;
    let concurrently = words.accept("concurrently");
    let unnamed = words.is_keyword("on");
    let Some(position) = words.find(&["on"]) else { return at_home(sql, "CREATE INDEX") };
    words.seek(position);
    let name_end = words.offset();
    words.seek(position + 1);
    words.accept("only");
    let Some(located) = words.name().and_then(|name| facts.locate(&name)) else { return relay(Residue::Pins) };
    let mut steps = vec![catalog(sql)];
    if concurrently {
        let table = DdlName { before: "", name: located.name.clone(), whereabouts: located.whereabouts };
        steps.insert(0, DdlStep::UndoIndexes(table));
    }
    if located.whereabouts != Whereabouts::Home {
        steps.push(DdlStep::Check(DdlTables::These(vec![located.name.clone()])));
    }
    if unnamed && located.whereabouts != Whereabouts::Home {
        let text = format!("{}{} {}", &sql[..name_end], DdlStep::value_mark(0), &sql[name_end..]);
        let step = Box::new(follow(&text, facts, located.whereabouts));
        steps.push(DdlStep::NamedIndex { table: located.name, step });
    } else {
        steps.push(follow(sql, facts, located.whereabouts));
    }
    let mode = if concurrently { DdlMode::Autonomous } else { DdlMode::Transaction };
    Plan::Ddl(Ddl { command: if concurrently { "CREATE INDEX CONCURRENTLY" } else { "CREATE INDEX" }, steps, mode })
}

fn schema(mut words: Words<'_>) -> Plan {
    let sql = words.sql;
    words.accept("if not exists");
    let name = if words.is_keyword("authorization") { None } else { words.name() };
    if words.accept("authorization") {
        let role = words.name();
        if let Some(refused) = name.as_ref().or(role.as_ref()).and_then(|name| reserved(&name.name)) {
            return refused;
        }
    } else if let Some(refused) = name.and_then(|name| reserved(&name.name)) {
        return refused;
    }
    if words.peek().is_some() {
        return Refusal::unsupported(
            "CREATE SCHEMA with schema elements is not supported",
            "The schema is on every group, and what is in it need not be.",
            "Create the schema first, then what is in it.",
        )
        .into();
    }
    everywhere(sql, "CREATE SCHEMA")
}

fn trigger(mut words: Words<'_>, facts: &Facts<'_>) -> Plan {
    let sql = words.sql;
    let Some(position) = words.find(&["on"]) else { return at_home(sql, "CREATE TRIGGER") };
    words.seek(position + 1);
    let Some(located) = words.name().and_then(|name| facts.locate(&name)) else { return relay(Residue::Pins) };
    if matches!(located.whereabouts, Whereabouts::Shards(_)) {
        let end = words.find(&["execute"]).unwrap_or(words.tokens().len());
        let options = &words.tokens()[words.position()..end];
        let row = options.iter().any(|token| token.is_keyword(sql, "row"));
        if !row || options.iter().any(|token| token.is_keyword(sql, "referencing")) {
            return Refusal::unsupported(
                format!(
                    "triggers FOR EACH STATEMENT, and those with transition tables, are not supported on the distributed table \"{}\"",
                    located.name.name
                ),
                "Each shard would run the trigger for its own part of a statement.",
                "Use FOR EACH ROW, without REFERENCING.",
            )
            .into();
        }
    }
    ddl("CREATE TRIGGER", [catalog(sql), follow(sql, facts, located.whereabouts)])
}

/// `CREATE POLICY|RULE ... {ON|TO} table ...`
fn on_table(mut words: Words<'_>, facts: &Facts<'_>, before: &str, command: &'static str) -> Plan {
    let sql = words.sql;
    let Some(position) = words.find(&[before]) else { return at_home(sql, command) };
    words.seek(position + 1);
    let Some(located) = words.name().and_then(|name| facts.locate(&name)) else { return relay(Residue::Pins) };
    if command == "CREATE RULE" && located.whereabouts != Whereabouts::Home && !is_view(facts, &located) {
        let kind = spread(located.whereabouts).unwrap_or("table");
        return Refusal::unsupported(
            format!("rules on the {kind} \"{}\" are not supported", located.name.name),
            "A rule rewrites a statement on one server, after Atoll has chosen which servers it goes to.",
            "Use a trigger FOR EACH ROW.",
        )
        .into();
    }
    ddl(command, [catalog(sql), follow(sql, facts, located.whereabouts)])
}

fn is_view(facts: &Facts<'_>, located: &super::locate::Located) -> bool {
    facts
        .catalog
        .relations
        .get(&located.name)
        .is_some_and(|relation| relation.kind == crate::catalog::RelationKind::View)
}

fn statistics(mut words: Words<'_>, facts: &Facts<'_>) -> Plan {
    let sql = words.sql;
    words.accept("if not exists");
    let name = if words.is_keyword("on") || words.is_symbol("(") { None } else { words.name() };
    let Some(position) = words.find(&["from"]) else { return at_home(sql, "CREATE STATISTICS") };
    words.seek(position + 1);
    let Some(located) = words.name().and_then(|name| facts.locate(&name)) else { return relay(Residue::Pins) };
    let mut step = follow(sql, facts, located.whereabouts);
    if let (DdlStep::Shards { statement, .. }, Some(Name { schema: Some(schema), schema_span: Some(span), .. })) =
        (&mut step, name)
    {
        let rest = facts.splice(&sql[span.end..]);
        let head = [crate::plan::Piece::Text(sql[..span.start].to_owned()), crate::plan::Piece::Slice(schema)];
        *statement = Template { pieces: head.into_iter().chain(rest.pieces).collect() };
    }
    ddl("CREATE STATISTICS", [catalog(sql), step])
}

/// CREATE FUNCTION: bodies are checked by the catalog database only, where every table is.
fn function(words: Words<'_>, facts: &Facts<'_>) -> Plan {
    let sql = words.sql;
    let mut home_only = false;
    for (name, whereabouts) in signature_types(&words, facts) {
        match whereabouts {
            Whereabouts::Shards(_) | Whereabouts::Catalog => {
                return Refusal::unsupported(
                    format!("a function cannot depend on the distributed table \"{name}\""),
                    "PostgreSQL ties a signature with a table's row type, and a body in SQL-standard form, to the table itself, which \
                     exists in shards only.",
                    "Use RETURNS TABLE (...) or a composite type, and a body in quotes.",
                )
                .into();
            }
            Whereabouts::Home => home_only = true,
            Whereabouts::EveryGroup => {}
        }
    }
    let replaced = match on_function(words, facts, "CREATE FUNCTION") {
        Plan::Ddl(plan) => matches!(plan.steps.last(), Some(DdlStep::Home(_))),
        _ => false,
    };
    let unchecked = format!("SET LOCAL check_function_bodies = off; {sql}\n; SET LOCAL check_function_bodies = on");
    let data = if home_only || replaced { DdlStep::Home(unchecked) } else { DdlStep::EveryGroup(unchecked) };
    ddl("CREATE FUNCTION", [catalog(sql), data])
}

/// Known relations whose row types the signature uses, or which a body outside quotes reads.
fn signature_types(words: &Words<'_>, facts: &Facts<'_>) -> Vec<(String, Whereabouts)> {
    let sql = words.sql;
    let mut words = words.clone();
    words.name();
    let mut found = Vec::new();
    let mut previous: Option<Token> = None;
    while let Some(token) = words.peek() {
        if words.accept("begin atomic") {
            found.extend(relations_read(&words, facts));
            break;
        }
        if is_identifier(&token)
            && let Some(name) = words.name()
        {
            let returned =
                previous.is_some_and(|before| before.is_keyword(sql, "returns") || before.is_keyword(sql, "setof"));
            let ends_type =
                [",", ")", "[", "%", "="].iter().any(|symbol| words.is_symbol(symbol)) || words.is_keyword("default");
            if (returned || ends_type)
                && let Some(located) = facts.locate(&name)
            {
                found.push((located.name.name, located.whereabouts));
            }
        } else {
            words.next();
        }
        previous = Some(token);
    }
    found
}

/// CREATE DATABASE: a catalog database and data databases, made from template0 or template1 alone.
fn database(mut words: Words<'_>) -> Plan {
    let sql = words.sql;
    let Some(name) = words.name() else { return super::catalog_only(sql, "CREATE DATABASE") };
    if name.name == "atoll" || name.name.ends_with("_data") {
        let why = "The name \"atoll\" and names that end with \"_data\" are reserved.";
        return Refusal::reserved("database", &name.name, why).at(name.span.start).into();
    }
    let options = words.rest_text().to_owned();
    if words.mentions("tablespace") {
        return unsupported("CREATE DATABASE ...", "tablespace");
    }
    if let Some(position) = words.find(&["template"]) {
        words.seek(position + 1);
        words.accept_symbol("=");
        let template = words.next().and_then(|token| {
            token.string_value(sql).or_else(|| token.identifier(sql)).map(std::borrow::Cow::into_owned)
        });
        if !template.is_some_and(|name| matches!(name.as_str(), "template0" | "template1" | "default")) {
            return Refusal::unsupported(
                "a database can only be made from template0 or template1",
                "Another template's tables may be spread over several servers, and a database is copied on one.",
                "Leave the template out, and fill the new database with COPY.",
            )
            .into();
        }
    }
    let step = DdlStep::CreateDatabase(NewDatabase { name: name.name, options });
    Plan::Ddl(Ddl { command: "CREATE DATABASE", steps: vec![step], mode: DdlMode::Autonomous })
}
