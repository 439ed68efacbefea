//! Views over distributed tables: their definitions take their places in the text, as PostgreSQL's rewriter does in its tree.
//!
//! What the text cannot say is refused: a view's owner's rights are not lent (whoever queries it needs rights of their own on the tables, or
//! PostgreSQL says 42501), and a security barrier must not be lost.

use crate::edits::Edits;
use crate::names::Target;
use crate::plan::{Plan, Refusal};
use crate::quote_identifier;
use crate::scan::Span;
use crate::statement::Context;

/// The statement's text with definitions in place of views over distributed tables; `None` when it names none.
///
/// # Errors
/// For a view that is written to, or whose definition cannot stand in its place; [`Plan::Views`] for definitions that are not known yet.
pub(crate) fn expanded(context: &Context<'_, '_, '_>) -> Option<Result<String, Plan>> {
    let analysis = context.analysis;
    let mut edits = Edits::default();
    let mut found = false;
    let mut unknown = Vec::new();
    for occurrence in analysis.occurrences.iter().filter(|occurrence| occurrence.target == Target::DistributedView) {
        found = true;
        let name = occurrence.table.name.span();
        let refused = |what: &str, why: &str, instead: &str| {
            let what = format!("view \"{}\" reads distributed tables: {what}", occurrence.full.name);
            Some(Err(Refusal::unsupported(what, why, instead).at(name.start).into()))
        };
        if occurrence.written {
            return refused(
                "writing to it is not supported",
                "Its query takes its place in the statement, and a query cannot be written to.",
                "Write to the tables that the view reads.",
            );
        }
        let definition = match context.facts.views.get(&occurrence.full) {
            Some(Some(definition)) => definition,
            Some(None) => {
                return refused(
                    "one with a security barrier cannot be queried",
                    "Its query takes its place in the statement, which would take the barrier away.",
                    "Query the tables that it reads.",
                );
            }
            None => {
                unknown.push(occurrence.full.clone());
                continue;
            }
        };
        let body = definition.trim().trim_end_matches(';');
        match occurrence.table.alias_place {
            _ if occurrence.table.alias.is_some() => edits.replace_text(name, format!("({body})")),
            Some(place) => {
                edits.replace_text(name, format!("({body})"));
                edits.insert_text(place, format!(" AS {}", quote_identifier(&occurrence.full.name)));
            }
            // TABLE v
            None => {
                let before = context.sql[..name.start].trim_end();
                let start = before.len().saturating_sub("table".len());
                let table = Span { start, end: name.end };
                edits.replace_text(
                    table,
                    format!("SELECT * FROM ({body}) AS {}", quote_identifier(&occurrence.full.name)),
                );
            }
        }
    }
    if !found {
        return None;
    }
    if !unknown.is_empty() {
        return Some(Err(Plan::Views(unknown)));
    }
    for qualifier in &analysis.qualifiers {
        let occurrence = &analysis.occurrences[qualifier.occurrence];
        if occurrence.target == Target::DistributedView && occurrence.table.name.span().start != qualifier.span.start {
            // `public.v.a`: a subquery's alias has no schema.
            edits.replace_text(qualifier.span, "");
        }
    }
    Some(Ok(edits.apply_text(context.sql, Span { start: 0, end: context.sql.len() })))
}
