//! What a group promises of an acknowledged commit, no session may weaken: `synchronous_commit` stays where standbys are waited for, unless the
//! operator allows otherwise (`allow_weak_commit`).

use atoll_planner::scan::{Token, TokenKind, tokens};

use super::Session;
use crate::cluster::Cluster;
use crate::error::{Error, Result, sqlstate};

/// The setting that says what COMMIT waits for.
pub const SETTING: &str = "synchronous_commit";

/// Whether COMMIT would be answered before a standby has the transaction on its disk.
fn is_weak(value: &str) -> bool {
    !["on", "true", "yes", "1", "remote_apply"].contains(&value.to_ascii_lowercase().as_str())
}

fn refused(value: &str) -> Error {
    let message = format!("invalid value for parameter \"{SETTING}\": \"{value}\"");
    Error::sql(sqlstate::INVALID_PARAMETER_VALUE, message)
        .with_detail("Commits that no standby has confirmed could be lost in a failover after they were acknowledged.")
        .with_hint("Use on or remote_apply; an operator can set allow_weak_commit for the coordinator.")
}

/// 22023 for a value that the cluster does not allow.
///
/// # Errors
/// As said.
pub fn check_value(cluster: &Cluster, name: &str, value: &str) -> Result<()> {
    if name.eq_ignore_ascii_case(SETTING) && is_weak(value) && is_promised(cluster) {
        return Err(refused(value));
    }
    Ok(())
}

/// Whether acknowledged commits are to survive the loss of a node.
pub fn is_promised(cluster: &Cluster) -> bool {
    !cluster.config.allow_weak_commit && cluster.keeper.has_standbys()
}

impl Session {
    /// 22023 for a statement that would weaken commits by another way than SET: `set_config('synchronous_commit', ...)`, ALTER ROLE and ALTER
    /// DATABASE.
    ///
    /// # Errors
    /// As said.
    pub(super) fn check_durability(&self, text: &str) -> Result<()> {
        if !mentions(text, SETTING) || !is_promised(&self.worker.cluster) {
            return Ok(());
        }
        let all = tokens(text);
        match set_config_value(text, &all).or_else(|| altered_value(text, &all)) {
            Some(value) if is_weak(&value) => Err(refused(&value)),
            _ => Ok(()),
        }
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

/// The second argument of a set_config for the setting.
fn set_config_value(text: &str, all: &[Token]) -> Option<String> {
    all.windows(5).find_map(|window| {
        let [function, open, name, comma, value] = window else { return None };
        let matches = function.span.of(text).eq_ignore_ascii_case("set_config")
            && open.is_symbol(text, "(")
            && name.kind == TokenKind::String
            && bare(text, name) == SETTING
            && comma.is_symbol(text, ",");
        matches.then(|| bare(text, value))
    })
}

/// The value in ALTER ... SET synchronous_commit.
fn altered_value(text: &str, all: &[Token]) -> Option<String> {
    if !all.first()?.is_keyword(text, "alter") {
        return None;
    }
    all.windows(4).find_map(|window| {
        let [set, name, assigns, value] = window else { return None };
        let matches = set.is_keyword(text, "set")
            && bare(text, name) == SETTING
            && (assigns.is_symbol(text, "=") || assigns.is_keyword(text, "to"));
        matches.then(|| bare(text, value)).filter(|value| value != "default")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_commits_are_found_in_statements() {
        let found = |text: &str| {
            let all = tokens(text);
            set_config_value(text, &all).or_else(|| altered_value(text, &all)).map(|value| is_weak(&value))
        };
        assert_eq!(found("SELECT set_config('synchronous_commit', 'off', false)"), Some(true));
        assert_eq!(found("select pg_catalog.set_config('Synchronous_Commit', 'on', true)"), Some(false));
        assert_eq!(found("SELECT set_config('synchronous_commit', $1, false)"), Some(true));
        assert_eq!(found("ALTER ROLE joe SET synchronous_commit TO local"), Some(true));
        assert_eq!(found("ALTER DATABASE app SET synchronous_commit = 'remote_apply'"), Some(false));
        assert_eq!(found("ALTER ROLE joe SET synchronous_commit TO DEFAULT"), None);
        assert_eq!(found("SELECT 'synchronous_commit'"), None);
        assert!(["off", "local", "remote_write", "0"].into_iter().all(is_weak));
    }
}
