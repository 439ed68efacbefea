//! What a group promises of an acknowledged commit, no session may weaken: `synchronous_commit` stays where standbys are waited for, unless the
//! operator allows otherwise (`allow_weak_commit`).

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_commits_are_known() {
        assert!(["off", "local", "remote_write", "0", "$1"].into_iter().all(is_weak));
        assert!(!["on", "Remote_Apply"].into_iter().any(is_weak));
    }
}
