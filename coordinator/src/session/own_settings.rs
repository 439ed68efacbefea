//! Atoll's own settings (`atoll.*`), and the ways by which a statement may give one another value than by SET.

use atoll_planner::scan::{Token, TokenKind, tokens};

use super::Session;
use super::durability::{SETTING, check_value};
use super::reads::check_setting;
use crate::error::{Error, Result, sqlstate};

/// What another session has written, in text: it is taken over rather than kept.
pub(super) const SESSION_TOKEN: &str = "atoll.session_token";

/// Atoll's own settings take only values that have an effect.
///
/// # Errors
/// 22023 for another value, 42704 for a setting that does not exist.
pub(super) fn check_own_setting(name: &str, value: &str) -> Result<()> {
    let choices = |hint: &str| {
        let message = format!("invalid value for parameter \"{name}\": \"{value}\"");
        Err(Error::sql(sqlstate::INVALID_PARAMETER_VALUE, message).with_hint(hint))
    };
    match name {
        "atoll.merge_engine" if matches!(value, "auto" | "datafusion" | "postgres") => Ok(()),
        "atoll.merge_engine" => choices("Available values: auto, datafusion, postgres."),
        "atoll.early_aggregation" if matches!(value, "auto" | "always" | "off") => Ok(()),
        "atoll.early_aggregation" => choices("Available values: auto, always, off."),
        _ if check_setting(name, value)? => Ok(()),
        _ if name.starts_with("atoll.") => {
            Err(Error::sql("42704", format!("unrecognized configuration parameter \"{name}\"")))
        }
        _ => Ok(()),
    }
}

impl Session {
    /// 22023 or 42704 for a statement that would give a setting, by another way than SET (`set_config('synchronous_commit', ...)`, ALTER ROLE,
    /// ALTER DATABASE), a value that SET does not take: one that weakens commits, or says nothing to Atoll.
    ///
    /// # Errors
    /// As said.
    pub(super) fn check_assignments(&self, text: &str) -> Result<()> {
        if !mentions(text, SETTING) && !mentions(text, "atoll.") {
            return Ok(());
        }
        let all = tokens(text);
        for (name, value, is_whole) in configured(text, &all) {
            check_value(&self.worker.cluster, &name, &bare(text, value))?;
            // What is computed is looked at when it is known.
            if name != SESSION_TOKEN && is_whole {
                check_own_setting(&name, &bare(text, value))?;
            }
        }
        for (name, value) in altered(text, &all) {
            check_value(&self.worker.cluster, &name, &value)?;
            check_own_setting(&name, &value)?;
        }
        Ok(())
    }
}

/// Whether a text holds a word, in whatever case.
fn mentions(text: &str, word: &str) -> bool {
    text.len() >= word.len()
        && text.as_bytes().windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

/// A token's content, without quotes.
fn bare(text: &str, token: &Token) -> String {
    token.span.of(text).trim_matches(|c| matches!(c, '\'' | '"')).to_ascii_lowercase()
}

/// Names that calls of set_config give as literals, with the first tokens of their values, and whether these are literals and all of it.
fn configured<'t>(text: &str, all: &'t [Token]) -> Vec<(String, &'t Token, bool)> {
    let calls = all.windows(6).filter_map(|window| {
        let [function, open, name, comma, value, behind] = window else { return None };
        let matches = function.span.of(text).eq_ignore_ascii_case("set_config")
            && open.is_symbol(text, "(")
            && name.kind == TokenKind::String
            && comma.is_symbol(text, ",");
        matches.then(|| (bare(text, name), value, value.kind == TokenKind::String && behind.is_symbol(text, ",")))
    });
    calls.collect()
}

/// Names and values in ALTER ... SET name = value.
fn altered(text: &str, all: &[Token]) -> Vec<(String, String)> {
    if !all.first().is_some_and(|first| first.is_keyword(text, "alter")) {
        return Vec::new();
    }
    let assigned = all.iter().enumerate().filter(|(_, token)| token.is_keyword(text, "set")).filter_map(|(at, _)| {
        let rest = &all[at + 1..];
        let assigns = rest.iter().position(|token| token.is_symbol(text, "=") || token.is_keyword(text, "to"))?;
        let name: String = rest[..assigns].iter().map(|token| bare(text, token)).collect();
        Some((name, bare(text, rest.get(assigns + 1)?)))
    });
    assigned.filter(|(_, value)| value != "default").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_found_in_statements() {
        let found = |text: &str| {
            let all = tokens(text);
            let mut found: Vec<String> = configured(text, &all)
                .into_iter()
                .map(|(name, value, _)| format!("{name}={}", bare(text, value)))
                .chain(altered(text, &all).into_iter().map(|(name, value)| format!("{name}={value}")))
                .collect();
            found.pop().filter(|_| found.is_empty())
        };
        let off = Some("synchronous_commit=off".to_owned());
        assert_eq!(found("SELECT set_config('synchronous_commit', 'off', false)"), off);
        assert_eq!(found("select pg_catalog.set_config('Synchronous_Commit', 'off', true)"), off);
        assert_eq!(found("ALTER DATABASE app SET synchronous_commit = 'off'"), off);
        assert_eq!(found("ALTER ROLE joe IN DATABASE app SET synchronous_commit TO off"), off);
        assert_eq!(found("ALTER ROLE joe SET atoll.merge_engine TO x").as_deref(), Some("atoll.merge_engine=x"));
        assert_eq!(found("SELECT set_config('a.b', $1, false)").as_deref(), Some("a.b=$1"));
        assert_eq!(found("ALTER ROLE joe SET synchronous_commit TO DEFAULT"), None);
        assert_eq!(found("SELECT 'synchronous_commit'"), None);
    }

    #[test]
    fn own_settings_take_what_they_know() {
        assert!(check_own_setting("atoll.merge_engine", "postgres").is_ok());
        assert_eq!(check_own_setting("atoll.merge_engine", "x").unwrap_err().sqlstate(), "22023");
        assert_eq!(check_own_setting("atoll.merge_engin", "auto").unwrap_err().sqlstate(), "42704");
        assert!(check_own_setting("work_mem", "x").is_ok());
    }
}
