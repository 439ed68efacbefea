//! INSERT, UPDATE and DELETE inside WITH, over several shards: one after the other, each one's rows kept at home for what follows.
//!
//! In PostgreSQL all parts of such a statement see the same snapshot. Here later parts would see what earlier ones did, so that a part
//! must not read a table that another writes; what it is to know of it, it knows by RETURNING.

use crate::analysis::Occurrence;
use crate::names::Target;
use crate::plan::{Plan, Refusal, Step, Steps};
use crate::scan::{Span, tokens};
use crate::statement::Context;
use crate::syntax::{Cte, Name, Statement, With};

/// The plan, when the statement begins with WITH.
pub(crate) fn plan(context: &Context<'_, '_, '_>) -> Plan {
    let with = match context.statement {
        Statement::Query(query) => query.with.as_ref(),
        Statement::Insert(insert) => insert.with.as_ref(),
        Statement::Update(update) => update.with.as_ref(),
        Statement::Delete(delete) => delete.with.as_ref(),
        Statement::Merge(_) => None,
    };
    let Some(with) = with else {
        return Refusal::unsupported(
            "writes in WITH over several shards are not supported here",
            "They run one after the other, in front of a SELECT, INSERT, UPDATE or DELETE.",
            "Run each write in a statement of its own, in one transaction.",
        )
        .into();
    };
    match steps(context, with) {
        Ok(steps) => Plan::Steps(steps),
        Err(refusal) => Plan::Refuse(refusal),
    }
}

fn steps(context: &Context<'_, '_, '_>, with: &With<'_>) -> Result<Steps, Refusal> {
    let sql = context.sql;
    let texts: Vec<&str> = with
        .ctes
        .iter()
        .enumerate()
        .map(|(index, cte)| {
            let end = with.ctes.get(index + 1).map_or(with.span.end, |next| next.name.span.start);
            let text = Span { start: cte.name.span.start, end }.of(sql).trim_end();
            text.strip_suffix(',').unwrap_or(text)
        })
        .collect();
    let word = if with.recursive { "WITH RECURSIVE" } else { "WITH" };
    let mut steps = Vec::new();
    for (index, cte) in with.ctes.iter().enumerate() {
        let Some((span, returning)) = write_of(cte) else { continue };
        check(context, cte, span)?;
        let text = prefixed(word, &with.ctes[..index], &texts[..index], span.of(sql));
        let name = cte.name.name.to_string();
        let shape = returning
            .then(|| format!("{word} {} SELECT * FROM {}", texts[..=index].join(", "), crate::quote_identifier(&name)));
        steps.push(Step { name, text, shape });
    }
    let rest = sql.get(with.span.end..).unwrap_or_default();
    let verb = match context.statement {
        Statement::Query(_) => "SELECT",
        Statement::Insert(_) => "INSERT",
        Statement::Update(_) => "UPDATE",
        Statement::Delete(_) => "DELETE",
        Statement::Merge(_) => "MERGE",
    };
    Ok(Steps { steps, main: prefixed(word, &with.ctes, &texts, rest), verb })
}

/// The write that a CTE is, and whether it gives rows.
fn write_of(cte: &Cte<'_>) -> Option<(Span, bool)> {
    match &cte.statement {
        Statement::Query(_) => None,
        Statement::Insert(insert) => Some((insert.span, insert.returning.is_some())),
        Statement::Update(update) => Some((update.span, update.returning.is_some())),
        Statement::Delete(delete) => Some((delete.span, delete.returning.is_some())),
        Statement::Merge(merge) => Some((merge.span, false)),
    }
}

/// A part of the statement behind those queries of its WITH that it names.
fn prefixed(word: &str, ctes: &[Cte<'_>], texts: &[&str], part: &str) -> String {
    let mut needed = vec![false; ctes.len()];
    let mut text = part.to_owned();
    for (index, cte) in ctes.iter().enumerate().rev() {
        let all = tokens(&text);
        let named = all.iter().any(|token| token.identifier(&text).is_some_and(|name| name == cte.name.name));
        needed[index] = named && matches!(cte.statement, Statement::Query(_));
        if needed[index] {
            text.push(' ');
            text.push_str(texts[index]);
        }
    }
    let list: Vec<&str> = texts.iter().zip(&needed).filter(|(_, needed)| **needed).map(|(text, _)| *text).collect();
    if list.is_empty() { part.to_owned() } else { format!("{word} {} {part}", list.join(", ")) }
}

/// Whether one part's effects would show in another.
fn check(context: &Context<'_, '_, '_>, cte: &Cte<'_>, span: Span) -> Result<(), Refusal> {
    let name = Name { parts: vec![cte.name.clone()] };
    if context.facts.find_relation(&name).target != Target::Unknown {
        let refusal = Refusal::unsupported(
            format!("a write in WITH over several shards cannot be called \"{}\" like a table", cte.name.name),
            "What it returns is kept under its name, and would hide the table.",
            "Give it a name that no table has.",
        );
        return Err(refusal.at(cte.name.span.start));
    }
    let inside = |occurrence: &Occurrence<'_, '_, '_>| {
        let place = occurrence.table.name.span();
        span.start <= place.start && place.end <= span.end
    };
    let occurrences = &context.analysis.occurrences;
    for written in occurrences.iter().filter(|occurrence| occurrence.written && inside(occurrence)) {
        let inserts = |other: usize| {
            context.analysis.inserts.iter().any(|(target, insert)| *target == other && insert.on_conflict.is_none())
        };
        let seen = occurrences
            .iter()
            .enumerate()
            .find(|(index, other)| !inside(other) && other.full == written.full && !(other.written && inserts(*index)));
        if let Some((_, seen)) = seen {
            let refusal = Refusal::unsupported(
                format!(
                    "a statement over several shards cannot read or change \"{}\" and also change it in WITH",
                    seen.full.name
                ),
                "Its parts run one after the other: later ones would see what earlier ones did.",
                "Use what the write returns, or split the statement in a transaction.",
            );
            return Err(refusal.at(seen.table.name.span().start));
        }
    }
    Ok(())
}
