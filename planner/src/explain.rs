//! EXPLAIN: of what one backend answers, that backend's own.

use crate::Facts;
use crate::plan::{Access, Explain, Many, Plan, Refusal, Relay, Residue, Site};
use crate::scan::{Token, TokenKind};
use crate::select::is_one_key;
use crate::statement::plan_tokens;

pub(crate) fn plan(sql: &str, tokens: &[Token], facts: &Facts<'_>) -> Plan {
    let Options { skip, analyze, format } = options(sql, tokens);
    let start = tokens.get(skip).map_or(sql.len(), |token| token.span.start);
    let inner = tokens.get(skip).map(|token| token.span.of(sql).to_ascii_lowercase()).unwrap_or_default();
    let several = || {
        Refusal::unsupported(
            "EXPLAIN of a write over several shards is not supported",
            "The shards' plans are put together for queries only.",
            "Give the distribution key's value, so that one shard does the write, or explain a SELECT of the same rows.",
        )
    };
    let explain = || match format.as_deref() {
        None | Some("text") => Explain { start, analyze, json: false }.into(),
        Some("json") => Explain { start, analyze, json: true }.into(),
        Some(_) => Plan::from(Refusal::unsupported(
            "EXPLAIN over several shards does not have this format",
            "The shards' plans are put together as text or as JSON.",
            "Use the format text or json.",
        )),
    };
    match plan_tokens(sql, &tokens[skip.min(tokens.len())..], facts) {
        // What EXPLAIN does not take (and EXPLAIN alone): PostgreSQL says so.
        Plan::Empty | Plan::Transaction(_) | Plan::Copy(_) => relay(Site::Catalog),
        Plan::Session(_) if inner == "execute" => Refusal::unsupported(
            "EXPLAIN EXECUTE is not supported",
            "The coordinator keeps prepared statements; no server knows them.",
            "EXPLAIN the prepared statement itself, with values in place of its parameters.",
        )
        .into(),
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
            if matches!(sharded.many, Many::Merge(_)) && !is_one_key(&sharded.keys) {
                return explain();
            }
            if !matches!(sharded.many, Many::Refuse(_)) {
                sharded.many = Many::Refuse(several());
            }
            Plan::Sharded(sharded)
        }
        Plan::ReferenceWrite(_) if !analyze => relay(Site::AnyGroup),
        Plan::ReferenceWrite(_) => Refusal::unsupported(
            "EXPLAIN ANALYZE of a write to a reference table is not supported",
            "It would run on every group, each with a plan of its own.",
            "Use EXPLAIN without ANALYZE.",
        )
        .into(),
        plan @ (Plan::Refuse(_) | Plan::Views(_) | Plan::Explain(_)) => plan,
        Plan::Gather(gather) if gather.access == Access::Read => explain(),
        Plan::Insert(_)
        | Plan::InsertSelect(_)
        | Plan::WriteWith(_)
        | Plan::Steps(_)
        | Plan::CreateAs(_)
        | Plan::Gather(_) => several().into(),
        Plan::WriteCurrent(_) => Refusal::unsupported(
            "EXPLAIN of a write to a cursor's row is not supported",
            "Its shard is the cursor's, which is known only when the statement runs.",
            "Explain the statement with the row's key in place of WHERE CURRENT OF.",
        )
        .into(),
        Plan::Ddl(_) | Plan::Maintenance(_) | Plan::Distribute(_) | Plan::Own(_) => Refusal::unsupported(
            format!("EXPLAIN {} is not supported", inner.to_ascii_uppercase()),
            "The coordinator takes the statement apart into steps on several servers.",
            "Explain the query in it.",
        )
        .into(),
    }
}

fn relay(site: Site) -> Plan {
    Plan::Relay(Relay { site, text: None, marked: None, access: Access::Read, residue: Residue::Clean })
}

impl From<Explain> for Plan {
    fn from(explain: Explain) -> Self {
        Self::Explain(explain)
    }
}

struct Options {
    /// Tokens before the statement.
    skip: usize,
    analyze: bool,
    /// In lower case.
    format: Option<String>,
}

fn options(sql: &str, tokens: &[Token]) -> Options {
    let mut at = 1;
    let mut options = Options { skip: 0, analyze: false, format: None };
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
            let value = tokens.get(at).map(|value| value.span.of(sql).to_ascii_lowercase());
            if token.is_keyword(sql, "analyze") || token.is_keyword(sql, "analyse") {
                options.analyze = !value.is_some_and(|value| ["off", "false", "0"].contains(&value.as_str()));
            } else if token.is_keyword(sql, "format") {
                options.format = value.map(|value| value.trim_matches('\'').to_owned());
            }
        }
        options.skip = at;
        return options;
    }
    while let Some(token) = tokens.get(at).filter(|token| token.kind == TokenKind::Word) {
        if token.is_keyword(sql, "analyze") || token.is_keyword(sql, "analyse") {
            options.analyze = true;
        } else if !token.is_keyword(sql, "verbose") {
            break;
        }
        at += 1;
    }
    options.skip = at;
    options
}
