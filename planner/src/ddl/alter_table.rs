//! ALTER TABLE, and ALTER of other relations by name.
//!
//! What slices and reference copies cannot do as the text says is refused or replaced here; whether the table may be so at all (keys of
//! constraints, the distribution column) is checked against the catalog database after it ran the statement.

use super::words::{Name, Words};
use super::{catalog, catalog_only, ddl, follow, refuse, relay, reserved, unsupported};
use crate::Facts;
use crate::plan::{DdlStep, Piece, Plan, Residue, Template, Whereabouts};
use crate::scan::Span;

pub(super) fn plan(mut words: Words<'_>, facts: &Facts<'_>) -> Plan {
    let sql = words.sql;
    if words.accept("all in tablespace") {
        return unsupported("ALTER TABLE ALL IN TABLESPACE");
    }
    words.accept("if exists");
    words.accept("only");
    let Some(name) = words.name() else { return catalog_only(sql, "ALTER TABLE") };
    words.accept_symbol("*");
    relation(words, facts, &name, "ALTER TABLE")
}

/// `words` stand after the relation's name.
pub(super) fn relation(mut words: Words<'_>, facts: &Facts<'_>, name: &Name, command: &'static str) -> Plan {
    let sql = words.sql;
    let Some(located) = facts.locate(name) else { return relay(Residue::Pins) };
    if words.accept("set schema") {
        return set_schema(words, facts, located.whereabouts, command);
    }
    let mut steps = vec![DdlStep::Reconcile, catalog(sql), DdlStep::Check];
    if located.whereabouts == Whereabouts::Home {
        steps.push(DdlStep::Home(sql.to_owned()));
        return ddl(command, steps);
    }
    let mut replaced = Vec::new();
    loop {
        let start = words.offset();
        match action(&mut words, facts, located.whereabouts) {
            Ok(None) => {}
            Ok(Some(text)) => {
                let end = words.tokens()[words.position() - 1].span.end;
                replaced.push((Span { start, end }, text));
            }
            Err(refused) => return refused,
        }
        if !words.accept_symbol(",") {
            break;
        }
    }
    let mut text = sql.to_owned();
    for (span, action) in replaced.iter().rev() {
        text.replace_range(span.start..span.end, action);
    }
    match located.whereabouts {
        // Home keeps a reference table's own sequences.
        Whereabouts::EveryGroup if !replaced.is_empty() => {
            steps.push(DdlStep::Home(sql.to_owned()));
            steps.push(DdlStep::OtherGroups(text));
        }
        whereabouts => steps.push(follow(&text, facts, whereabouts)),
    }
    ddl(command, steps)
}

fn set_schema(mut words: Words<'_>, facts: &Facts<'_>, whereabouts: Whereabouts, command: &'static str) -> Plan {
    let sql = words.sql;
    let Some(schema) = words.name() else { return catalog_only(sql, command) };
    if let Some(refused) = reserved(&schema.name) {
        return refused;
    }
    let mut steps = vec![DdlStep::Reconcile, catalog(sql)];
    if let Whereabouts::Shards(colocation) = whereabouts {
        steps.push(DdlStep::EnsureSlices { schema: schema.name.clone(), colocation });
        let mut pieces = facts.splice(&sql[..schema.span.start]).pieces;
        pieces.push(Piece::Slice(schema.name));
        pieces.push(Piece::Text(sql[schema.span.end..].to_owned()));
        steps.push(DdlStep::Shards { colocation, statement: Template { pieces } });
    } else {
        steps.push(follow(sql, facts, whereabouts));
    }
    ddl(command, steps)
}

/// One action on a distributed or reference table: what slices run instead, when it is not the same text; `words` stand after it.
fn action(words: &mut Words<'_>, facts: &Facts<'_>, whereabouts: Whereabouts) -> Result<Option<String>, Plan> {
    let kind = if whereabouts == Whereabouts::EveryGroup { "reference" } else { "distributed" };
    if let Some(refused) = words.accept_any(&[
        "attach partition",
        "detach partition",
        "inherit",
        "no inherit",
        "of",
        "not of",
        "set tablespace",
    ]) {
        return Err(unsupported(&format!("ALTER TABLE ... {} on a {kind} table", refused.to_ascii_uppercase())));
    }
    let added = words.accept("add");
    if added
        && ["constraint", "primary", "unique", "foreign", "check", "exclude"].iter().any(|word| words.is_keyword(word))
    {
        words.skip_item();
        return Ok(None);
    }
    if added {
        words.accept("column");
        words.accept("if not exists");
        return add_column(words, facts, kind).map(|()| None);
    }
    if !words.accept("alter") || words.is_keyword("constraint") {
        words.skip_item();
        return Ok(None);
    }
    words.accept("column");
    let column = words.name();
    if words.accept("set default") {
        let default = words.clone();
        let item = words.skip_item();
        let reads_sequence = item.iter().any(|token| token.is_keyword(default.sql, "nextval"));
        // Sequences are at home, and so are the defaults that read them: the coordinator computes such values before it routes a row.
        return Ok(column
            .filter(|_| reads_sequence)
            .map(|column| format!("ALTER COLUMN {} DROP DEFAULT", column.span.of(default.sql))));
    }
    let identity =
        ["add generated", "set generated", "drop identity", "restart", "set increment", "set start", "set cache"];
    if words.accept_any(&identity).is_some() {
        return Err(refuse(
            format!("changing the identity of a column of a {kind} table is not supported"),
            Some("Use undistribute_table, change the column, then distribute the table again."),
        ));
    }
    words.skip_item();
    Ok(None)
}

/// A new column's values must come out the same wherever they are computed.
fn add_column(words: &mut Words<'_>, facts: &Facts<'_>, kind: &str) -> Result<(), Plan> {
    let sql = words.sql;
    let column = words.name();
    let item = words.skip_item();
    let mut varies = None;
    for (index, token) in item.iter().enumerate() {
        let Some(word) = token.identifier(sql) else { continue };
        let called = item.get(index + 1).is_some_and(|next| next.is_symbol(sql, "("));
        let serial = index == 0
            && ["serial", "bigserial", "smallserial", "serial2", "serial4", "serial8"]
                .contains(&&*word.to_ascii_lowercase());
        if serial || token.is_keyword(sql, "identity") || (called && word == "nextval") {
            return Err(refuse(
                format!("adding a column that reads a sequence to a {kind} table is not supported"),
                Some(
                    "Add the column without a default, fill it with UPDATE, then ALTER COLUMN ... SET DEFAULT nextval(...); or use \
                     undistribute_table first.",
                ),
            ));
        }
        let clock = ["current_timestamp", "current_date", "current_time", "localtime", "localtimestamp"];
        let changes = called && (is_changing(facts, &word));
        if changes
            || (!called || word.starts_with("current_") || word.starts_with("local"))
                && clock.iter().any(|name| token.is_keyword(sql, name))
        {
            varies = Some(word.into_owned());
        }
    }
    // gen_random_uuid() and the like give each row its own value anyway, unless the rows have copies.
    match varies {
        Some(function) if kind == "reference" || !is_volatile(facts, &function) => Err(refuse(
            format!("adding a column whose default calls \"{function}\" to a {kind} table is not supported"),
            Some(&format!(
                "Each place would compute it anew. Add the column without a default, fill it with UPDATE, then ALTER COLUMN {} SET DEFAULT.",
                column.map_or("...", |column| column.span.of(sql))
            )),
        )),
        _ => Ok(()),
    }
}

fn is_changing(facts: &Facts<'_>, function: &str) -> bool {
    is_volatile(facts, function) || facts.catalog.stable_functions.contains(function)
}

fn is_volatile(facts: &Facts<'_>, function: &str) -> bool {
    facts.catalog.volatile_functions.contains(function)
        || facts.catalog.functions.iter().any(|(name, overloads)| {
            name.name == function
                && overloads.iter().any(|overload| overload.volatility != crate::catalog::Volatility::Immutable)
        })
}
