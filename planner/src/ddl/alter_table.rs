//! ALTER TABLE, and ALTER of other relations by name.
//!
//! What slices and reference copies cannot do as the text says is refused or replaced here; whether the table may be so at all (keys of
//! constraints, the distribution column) is checked against the catalog database after it ran the statement.

use super::locate::Located;
use super::words::{Name, Words};
use super::{catalog, catalog_only, ddl, follow, relay, reserved, unsupported};
use crate::Facts;
use crate::directory::Table;
use crate::plan::{DdlStep, DdlTables, Piece, Plan, Refusal, Residue, Template, Whereabouts};
use crate::scan::{Span, Token, TokenKind};

pub(super) fn plan(mut words: Words<'_>, facts: &Facts<'_>) -> Plan {
    let sql = words.sql;
    if words.accept("all in tablespace") {
        return unsupported("ALTER TABLE ALL IN", "tablespace");
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
        return set_schema(words, facts, &located, command);
    }
    let mut steps = steps_of_catalog(sql, facts, &located);
    if command == "ALTER TABLE" {
        steps.push(DdlStep::Check(DdlTables::These(vec![located.name.clone()])));
    }
    if located.whereabouts == Whereabouts::Home {
        steps.push(DdlStep::Home(sql.to_owned()));
        return ddl(command, steps);
    }
    let mut texts = Texts::new(sql, name.span.of(sql));
    loop {
        let start = words.offset();
        match action(&mut words, facts, &located) {
            Ok(Action::Same) => {}
            Ok(Action::Instead(text)) => {
                let end = words.tokens()[words.position() - 1].span.end;
                texts.instead.push((Span { start, end }, text));
            }
            Ok(Action::Once { span, column }) => texts.once.push((span, column)),
            Err(refused) => return Plan::Refuse(refused),
        }
        if !words.accept_symbol(",") {
            break;
        }
    }
    let text = texts.elsewhere();
    let data = match located.whereabouts {
        // Home keeps a reference table's own sequences.
        Whereabouts::EveryGroup if !texts.instead.is_empty() => {
            vec![DdlStep::Home(texts.at_home()), DdlStep::OtherGroups(text)]
        }
        whereabouts => vec![follow(&text, facts, whereabouts)],
    };
    if texts.once.is_empty() {
        steps.extend(data);
    } else {
        let expressions = texts.once.iter().map(|(span, _)| span.of(sql).to_owned()).collect();
        steps.push(DdlStep::Evaluated { expressions, steps: data });
    }
    ddl(command, steps)
}

/// What one action of ALTER TABLE is on slices and copies.
enum Action {
    /// The same.
    Same,
    /// Another action where sequences are not.
    Instead(String),
    /// A new column's default that must come out the same everywhere: where it stands, and the column.
    Once { span: Span, column: String },
}

/// The statement's text for home and for elsewhere.
struct Texts<'a> {
    sql: &'a str,
    table: &'a str,
    instead: Vec<(Span, String)>,
    once: Vec<(Span, String)>,
}

impl<'a> Texts<'a> {
    fn new(sql: &'a str, table: &'a str) -> Self {
        Self { sql, table, instead: Vec::new(), once: Vec::new() }
    }

    fn at_home(&self) -> String {
        self.with(&[])
    }

    fn elsewhere(&self) -> String {
        self.with(&self.instead)
    }

    /// With these actions replaced and with places for the values of `once`, whose expressions become the defaults afterwards.
    fn with(&self, instead: &[(Span, String)]) -> String {
        let values = self.once.iter().enumerate().map(|(index, (span, _))| (*span, DdlStep::value_mark(index)));
        let mut edits: Vec<(Span, String)> = instead.iter().cloned().chain(values).collect();
        edits.sort_by_key(|(span, _)| span.start);
        let mut text = self.sql.to_owned();
        for (span, replacement) in edits.iter().rev() {
            text.replace_range(span.start..span.end, replacement);
        }
        for (span, column) in &self.once {
            let expression = span.of(self.sql);
            text.push_str(&format!("\n; ALTER TABLE {} ALTER COLUMN {column} SET DEFAULT {expression}", self.table));
        }
        text
    }
}

/// The statement in the catalog database, and what follows from it for a table of the directory.
fn steps_of_catalog(sql: &str, facts: &Facts<'_>, located: &Located) -> Vec<DdlStep> {
    let followed = facts.directory.tables.contains_key(&located.name);
    let reconcile = followed.then(|| DdlStep::Reconcile(DdlTables::These(vec![located.name.clone()])));
    reconcile.into_iter().chain([catalog(sql)]).collect()
}

fn set_schema(mut words: Words<'_>, facts: &Facts<'_>, located: &Located, command: &'static str) -> Plan {
    let sql = words.sql;
    let Some(schema) = words.name() else { return catalog_only(sql, command) };
    if let Some(refused) = reserved(&schema.name) {
        return refused;
    }
    let mut steps = steps_of_catalog(sql, facts, located);
    if let Whereabouts::Shards(colocation) = located.whereabouts {
        steps.push(DdlStep::EnsureSlices { schema: schema.name.clone(), colocation });
        let mut pieces = facts.splice(&sql[..schema.span.start]).pieces;
        pieces.push(Piece::Slice(schema.name));
        pieces.push(Piece::Text(sql[schema.span.end..].to_owned()));
        steps.push(DdlStep::Shards { colocation, statement: Template { pieces } });
    } else {
        steps.push(follow(sql, facts, located.whereabouts));
    }
    ddl(command, steps)
}

/// One action on a distributed or reference table: what slices run instead, when it is not the same text; `words` stand after it.
fn action(words: &mut Words<'_>, facts: &Facts<'_>, located: &Located) -> Result<Action, Refusal> {
    let kind = if located.whereabouts == Whereabouts::EveryGroup { "reference" } else { "distributed" };
    let ties = ["attach partition", "detach partition", "inherit", "no inherit", "of", "not of", "set tablespace"];
    if let Some(refused) = words.accept_any(&ties) {
        return Err(Refusal::unsupported(
            format!("ALTER TABLE ... {} on a {kind} table is not supported", refused.to_ascii_uppercase()),
            "It ties the table to what one server has, and the table's rows are on several.",
            "Leave it out, or use undistribute_table first.",
        ));
    }
    let added = words.accept("add");
    if added
        && ["constraint", "primary", "unique", "foreign", "check", "exclude"].iter().any(|word| words.is_keyword(word))
    {
        words.skip_item();
        return Ok(Action::Same);
    }
    if added {
        words.accept("column");
        if words.accept("if not exists")
            && words.clone().name().is_some_and(|column| has_column(facts, located, &column.name))
        {
            words.skip_item();
            return Ok(Action::Same);
        }
        return add_column(words, facts, kind);
    }
    if !words.accept("alter") || words.is_keyword("constraint") {
        words.skip_item();
        return Ok(Action::Same);
    }
    words.accept("column");
    let column = words.name();
    if let Some(column) = column.as_ref().filter(|column| is_key(facts, located, &column.name))
        && words.accept("drop not null")
    {
        // NULL has no shard, whatever the table itself allows.
        return Ok(Action::Instead(format!("ALTER COLUMN {} SET NOT NULL", column.span.of(words.sql))));
    }
    if words.accept("set default") {
        let default = words.clone();
        let item = words.skip_item();
        let reads_sequence = item.iter().any(|token| token.is_keyword(default.sql, "nextval"));
        // Sequences are at home, and so are the defaults that read them: the coordinator computes such values before it routes a row.
        return Ok(match column.filter(|_| reads_sequence) {
            Some(column) => Action::Instead(format!("ALTER COLUMN {} DROP DEFAULT", column.span.of(default.sql))),
            None => Action::Same,
        });
    }
    let identity =
        ["add generated", "set generated", "drop identity", "restart", "set increment", "set start", "set cache"];
    if words.accept_any(&identity).is_some() {
        return Err(Refusal::unsupported(
            format!("changing the identity of a column of a {kind} table is not supported"),
            "The column's sequence is at home, and the table's rows are on the shards or copied to every group.",
            "Use undistribute_table, change the column, then distribute the table again.",
        ));
    }
    words.skip_item();
    Ok(Action::Same)
}

fn is_key(facts: &Facts<'_>, located: &Located, column: &str) -> bool {
    match facts.directory.tables.get(&located.name) {
        Some(Table::Distributed { key, .. }) => key.name == column,
        _ => false,
    }
}

fn has_column(facts: &Facts<'_>, located: &Located, column: &str) -> bool {
    let relation = facts.catalog.relations.get(&located.name);
    relation.is_some_and(|relation| relation.columns.iter().any(|known| known.name == column))
}

/// A new column's values must come out the same wherever they are computed.
fn add_column(words: &mut Words<'_>, facts: &Facts<'_>, kind: &str) -> Result<Action, Refusal> {
    let sql = words.sql;
    let column = words.name();
    let item = words.skip_item();
    let is_serial = |token: &Token| {
        let types = ["serial", "bigserial", "smallserial", "serial2", "serial4", "serial8"];
        token.kind == TokenKind::Word && types.iter().any(|name| token.is_keyword(sql, name))
    };
    let reads_sequence = item.first().is_some_and(is_serial)
        || item.iter().any(|token| token.is_keyword(sql, "identity") || token.is_keyword(sql, "nextval"));
    if reads_sequence {
        return Err(Refusal::unsupported(
            format!("adding a column that reads a sequence to a {kind} table is not supported"),
            "The sequence is at home, and the rows that would get values of it are on other servers.",
            "Add the column without a default, fill it with UPDATE, then ALTER COLUMN ... SET DEFAULT nextval(...); or use \
             undistribute_table first.",
        ));
    }
    let (Some(column), Some(expression)) = (column, default_of(sql, item)) else { return Ok(Action::Same) };
    let called = |test: &dyn Fn(&str) -> bool| {
        let names = expression.windows(2).filter(|pair| pair[1].is_symbol(sql, "("));
        names.filter_map(|pair| pair[0].identifier(sql)).find(|name| test(name)).map(|name| name.into_owned())
    };
    if let Some(function) = called(&|name| is_volatile(facts, name)) {
        // gen_random_uuid() and the like give each row its own value anyway, unless the rows have copies.
        if kind != "reference" {
            return Ok(Action::Same);
        }
        return Err(Refusal::unsupported(
            format!("adding a column whose default calls \"{function}\" to a reference table is not supported"),
            "Each copy would compute it anew.",
            "Add the column without a default, fill it with UPDATE, then set the default.",
        ));
    }
    let clock = [
        "current_timestamp",
        "current_date",
        "current_time",
        "localtime",
        "localtimestamp",
        "current_user",
        "session_user",
    ];
    let stable = called(&|name| facts.catalog.stable_functions.contains(name)).is_some()
        || expression.iter().any(|token| clock.iter().any(|name| token.is_keyword(sql, name)));
    if !stable {
        return Ok(Action::Same);
    }
    let span = expression[0].span.to(expression[expression.len() - 1].span);
    Ok(Action::Once { span, column: column.span.of(sql).to_owned() })
}

/// The tokens of a column's DEFAULT expression.
fn default_of<'t>(sql: &str, item: &'t [Token]) -> Option<&'t [Token]> {
    const NEXT: [&str; 11] = [
        "not",
        "null",
        "unique",
        "primary",
        "check",
        "references",
        "constraint",
        "collate",
        "generated",
        "deferrable",
        "initially",
    ];
    let start = item.iter().position(|token| token.is_keyword(sql, "default"))? + 1;
    let mut depth = 0_usize;
    let mut end = start;
    for token in item.get(start..)? {
        let ends = depth == 0 && end > start && NEXT.iter().any(|word| token.is_keyword(sql, word));
        if ends {
            break;
        }
        if token.is_symbol(sql, "(") || token.is_symbol(sql, "[") {
            depth += 1;
        } else if token.is_symbol(sql, ")") || token.is_symbol(sql, "]") {
            depth = depth.saturating_sub(1);
        }
        end += 1;
    }
    item.get(start..end).filter(|expression| !expression.is_empty())
}

fn is_volatile(facts: &Facts<'_>, function: &str) -> bool {
    facts.catalog.volatile_functions.contains(function)
        || facts.catalog.functions.iter().any(|(name, overloads)| {
            name.name == function
                && overloads.iter().any(|overload| overload.volatility != crate::catalog::Volatility::Immutable)
        })
}
