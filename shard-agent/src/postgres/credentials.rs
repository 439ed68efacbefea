//! How nodes prove to each other's PostgreSQL that they belong to the cluster.

use std::path::PathBuf;

use atoll_wire::scram::make_verifier;
use sha2::{Digest, Sha256};

use super::PostgresError;
use super::data_dir::replace_private;
use super::replication::REPLICATION_ROLE;
use crate::settings::Settings;

/// PostgreSQL's default.
const SCRAM_ITERATIONS: u32 = 4096;
const SCRAM_SALT_LEN: usize = 16;
/// What pg_rewind reads its source with.
const REWIND_FUNCTIONS: [&str; 4] = [
    "pg_catalog.pg_ls_dir(text, boolean, boolean)",
    "pg_catalog.pg_stat_file(text, boolean)",
    "pg_catalog.pg_read_binary_file(text)",
    "pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)",
];

/// Where libpq finds the replication role's password.
pub(super) fn passfile(settings: &Settings) -> PathBuf {
    settings.run_dir.join("replication.pass")
}

/// The replication role's password: every node of the cluster derives the same from the cluster's token.
pub(super) struct Credentials {
    password: String,
    /// As pg_authid has it. The salt is derived too, so that a glance tells whether the role is as it should be.
    verifier: String,
}

impl Credentials {
    pub fn of_token(secret: &str) -> Self {
        let derive = |purpose: &str| Sha256::new().chain_update(purpose).chain_update(secret.trim()).finalize();
        let password: String = derive("atoll replication\n").iter().map(|byte| format!("{byte:02x}")).collect();
        let salt = derive("atoll replication salt\n");
        let verifier = make_verifier(&password, &salt[..SCRAM_SALT_LEN], SCRAM_ITERATIONS);
        Self { password, verifier }
    }

    /// Writes the file that only the agent's OS user can read.
    pub fn write_passfile(&self, settings: &Settings) -> Result<(), PostgresError> {
        let path = passfile(settings);
        let text = format!("*:*:*:{REPLICATION_ROLE}:{}\n", self.password);
        replace_private(&path, &text)
    }

    /// A query for whether the role is there as it should be: one row with "t".
    pub fn role_is_right(&self) -> String {
        let may_execute =
            REWIND_FUNCTIONS.map(|function| format!("has_function_privilege(oid, '{function}', 'EXECUTE')"));
        format!(
            "SELECT rolcanlogin AND rolreplication AND rolpassword = '{}' AND pg_has_role(oid, 'pg_checkpoint', 'USAGE') \
             AND {} FROM pg_authid WHERE rolname = '{REPLICATION_ROLE}'",
            self.verifier,
            may_execute.join(" AND ")
        )
    }

    /// What makes it so. pg_checkpoint is for the checkpoint that pg_rewind needs on its source.
    pub fn make_role(&self) -> String {
        format!(
            "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{REPLICATION_ROLE}') THEN \
             CREATE ROLE {REPLICATION_ROLE}; END IF; END $$; \
             ALTER ROLE {REPLICATION_ROLE} LOGIN REPLICATION PASSWORD '{}'; GRANT pg_checkpoint TO {REPLICATION_ROLE}; \
             GRANT EXECUTE ON FUNCTION {} TO {REPLICATION_ROLE}",
            self.verifier,
            REWIND_FUNCTIONS.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_password_is_the_same_on_every_node_and_its_file_is_private() {
        let (one, same) = (Credentials::of_token("token\n"), Credentials::of_token("token"));
        assert_eq!((&one.password, &one.verifier), (&same.password, &same.verifier));
        assert_ne!(one.password, Credentials::of_token("other").password);
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { run_dir: folder.path().to_owned(), ..Settings::default() };
        one.write_passfile(&settings).unwrap();
        Credentials::of_token("other").write_passfile(&settings).unwrap();
        one.write_passfile(&settings).unwrap();
        let path = passfile(&settings);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(path).unwrap(), format!("*:*:*:atoll_replication:{}\n", one.password));
    }
}
