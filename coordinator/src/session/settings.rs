//! A session's settings: what the client SET, as PostgreSQL's configuration parameters, and how a backend is brought in line.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use atoll_planner::{quote_identifier, quote_literal};

/// Configuration parameters by their lower-case name, with their canonical values; search_path is kept apart from them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<String, String>);

/// Parameters whose changes PostgreSQL reports to the client, under the names it reports them.
pub const REPORTED: [&str; 14] = [
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "server_encoding",
    "server_version",
    "session_authorization",
    "standard_conforming_strings",
    "TimeZone",
    "search_path",
];

impl Settings {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(&name.to_ascii_lowercase()).map(String::as_str)
    }

    /// A copy in which `name` has this value, or its default again when `None`.
    pub fn with(&self, name: &str, value: Option<&str>) -> Arc<Self> {
        let mut map = self.0.clone();
        match value {
            Some(value) => map.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => map.remove(&name.to_ascii_lowercase()),
        };
        Arc::new(Self(map))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// SQL that brings a backend with settings `from` to these; empty when they are the same. A role is changed last, because what it may
    /// set depends on it, and given up first.
    pub fn difference(&self, from: &Self) -> String {
        let mut sql = String::new();
        // is_superuser follows from who the session is; it is kept only to be reported.
        let gone = |name: &str| !self.0.contains_key(name) && name != "is_superuser";
        for name in from.0.keys().filter(|name| gone(name)) {
            let _ = write!(sql, "RESET {};", parameter_name(name));
        }
        let changed = self.0.iter().filter(|(name, value)| from.0.get(*name) != Some(value) && *name != "is_superuser");
        let (roles, others): (Vec<_>, Vec<_>) =
            changed.partition(|(name, _)| matches!(name.as_str(), "role" | "session_authorization"));
        for (name, value) in others.into_iter().chain(roles) {
            let _ = write!(sql, "{};", assignment(name, value));
        }
        sql
    }
}

impl FromIterator<(String, String)> for Settings {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(iter: I) -> Self {
        Self(iter.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect())
    }
}

fn parameter_name(name: &str) -> String {
    name.split('.').map(quote_identifier).collect::<Vec<_>>().join(".")
}

/// `SET` with a value as `SHOW` prints it: list-valued parameters are given as the list they are.
fn assignment(name: &str, value: &str) -> String {
    match name {
        "role" => format!("SET ROLE {}", quote_literal(value)),
        "session_authorization" => format!("SET SESSION AUTHORIZATION {}", quote_literal(value)),
        _ if is_list(name) => {
            format!("SELECT pg_catalog.set_config({}, {}, false)", quote_literal(name), quote_literal(value))
        }
        _ => format!("SET {} = {}", parameter_name(name), quote_literal(value)),
    }
}

/// Parameters whose value is a list of names: a quoted string would be one element.
fn is_list(name: &str) -> bool {
    matches!(
        name,
        "datestyle" | "temp_tablespaces" | "local_preload_libraries" | "session_preload_libraries" | "search_path"
    )
}

/// Splits a search_path as `SHOW search_path` prints it into names; `"$user"` stays as `$user`.
pub fn split_search_path(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_name(quoted),
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].trim().to_ascii_lowercase(), &rest[end..])
            }
        };
        // `''` is how an empty path is written.
        if !name.is_empty() && name != "''" {
            names.push(name);
        }
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    names
}

fn quoted_name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((index, c)) = chars.next() {
        if c != '"' {
            name.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == '"') {
            name.push('"');
            chars.next();
        } else {
            return (name, &text[index + 1..]);
        }
    }
    (name, "")
}

/// Quotes names back into the text of a search_path.
pub fn join_search_path(names: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let quoted: Vec<String> = names
        .into_iter()
        .map(|name| match name.as_ref() {
            "$user" => "\"$user\"".to_owned(),
            name => quote_identifier(name),
        })
        .collect();
    if quoted.is_empty() { "''".to_owned() } else { quoted.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_paths_survive_the_round_trip() {
        for (text, names) in [
            ("\"$user\", public", vec!["$user", "public"]),
            ("\"\"", vec![]),
            ("a, \"B c\", \"q\"\"q\"", vec!["a", "B c", "q\"q"]),
        ] {
            assert_eq!(split_search_path(text), names, "{text}");
            assert_eq!(split_search_path(&join_search_path(&names)), names);
        }
    }

    #[test]
    fn only_what_differs_is_said() {
        let base = Settings::default().with("TimeZone", Some("UTC"));
        let next = base.with("work_mem", Some("8MB")).with("role", Some("a'b"));
        assert_eq!(next.difference(&base), "SET work_mem = '8MB';SET ROLE 'a''b';");
        assert_eq!(base.difference(&next), "RESET role;RESET work_mem;");
        assert_eq!(base.difference(&base), "");
    }
}
