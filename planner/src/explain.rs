//! EXPLAIN: of what one backend answers, that backend's own.

use crate::Facts;
use crate::plan::{Access, Many, Plan, Refusal, Relay, Residue, Site};
use crate::scan::{Token, TokenKind};
use crate::statement::{plan_tokens, refuse};

pub(crate) fn plan(sql: &str, tokens: &[Token], facts: &Facts<'_>) -> Plan {
    let (skip, analyze) = options(sql, tokens);
    let inner = tokens.get(skip).map(|token| token.span.of(sql).to_ascii_lowercase()).unwrap_or_default();
    let several = || Refusal {
        hint: Some("EXPLAIN works for statements that one shard answers.".to_owned()),
        ..refuse("EXPLAIN of a statement over several shards is not supported yet")
    };
    match plan_tokens(sql, &tokens[skip.min(tokens.len())..], facts) {
        // What EXPLAIN does not take (and EXPLAIN alone): PostgreSQL says so.
        Plan::Empty | Plan::Transaction(_) | Plan::Copy(_) => relay(Site::Catalog),
        Plan::Session(_) if inner == "execute" => refuse("EXPLAIN EXECUTE is not supported").into(),
        Plan::Session(_) => relay(Site::Home),
        Plan::Relay(mut relay) => {
            if !analyze {
                relay.access = Access::Read;
            }
            Plan::Relay(relay)
        }
        Plan::Sharded(mut sharded) => {
            if !analyze {
                sharded.access = Access::Read;
            }
            sharded.many = Many::Refuse(several());
            Plan::Sharded(sharded)
        }
        Plan::ReferenceWrite(_) if !analyze => relay(Site::AnyGroup),
        Plan::ReferenceWrite(_) => refuse("EXPLAIN ANALYZE of a write to a reference table is not supported").into(),
        plan @ (Plan::Refuse(_) | Plan::Views(_)) => plan,
        Plan::Insert(_) | Plan::InsertSelect(_) | Plan::Gather(_) => several().into(),
        Plan::Ddl(_) | Plan::Maintenance(_) | Plan::Distribute(_) => {
            refuse(format!("EXPLAIN {} is not supported", inner.to_ascii_uppercase())).into()
        }
    }
}

fn relay(site: Site) -> Plan {
    Plan::Relay(Relay { site, text: None, access: Access::Read, residue: Residue::Clean })
}

/// Where the statement starts, and whether it is run.
fn options(sql: &str, tokens: &[Token]) -> (usize, bool) {
    let mut at = 1;
    let mut analyze = false;
    let query = ["select", "with", "values", "table"];
    let parenthesised = tokens.get(at).is_some_and(|token| token.is_symbol(sql, "("))
        && !tokens
            .get(at + 1)
            .is_some_and(|token| token.is_symbol(sql, "(") || query.iter().any(|word| token.is_keyword(sql, word)));
    if parenthesised {
        while let Some(token) = tokens.get(at) {
            at += 1;
            if token.is_symbol(sql, ")") {
                break;
            }
            if token.is_keyword(sql, "analyze") || token.is_keyword(sql, "analyse") {
                let off = tokens.get(at).is_some_and(|value| {
                    ["off", "false", "0"].iter().any(|word| value.span.of(sql).eq_ignore_ascii_case(word))
                });
                analyze = !off;
            }
        }
        return (at, analyze);
    }
    while let Some(token) = tokens.get(at).filter(|token| token.kind == TokenKind::Word) {
        if token.is_keyword(sql, "analyze") || token.is_keyword(sql, "analyse") {
            analyze = true;
        } else if !token.is_keyword(sql, "verbose") {
            break;
        }
        at += 1;
    }
    (at, analyze)
}
