//! What lies in PostgreSQL's data directory before it is started.

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::PostgresError;
use crate::settings::Settings;

/// The agent's own settings file beside postgresql.conf, written anew at every start.
const CONF: &str = "atoll.conf";
const INCLUDE: &str = "include 'atoll.conf'";

/// Makes the data directory with initdb when there is none yet, and writes the configuration of this start.
///
/// # Errors
/// When the directory holds something else, initdb fails, or a file cannot be written.
pub async fn prepare(settings: &Settings) -> Result<(), PostgresError> {
    if is_empty(&settings.data_dir)? {
        initdb(settings).await?;
    } else if !settings.data_dir.join("PG_VERSION").exists() {
        return Err(PostgresError::ForeignDataDir { path: settings.data_dir.clone() });
    }
    let main = settings.data_dir.join("postgresql.conf");
    let mut text = fs::read_to_string(&main).map_err(|source| file("read", &main, source))?;
    if !text.lines().any(|line| line.trim() == INCLUDE) {
        text.push_str(&format!("\n# What the agent decides; written by it at every start.\n{INCLUDE}\n"));
        replace(&main, &text)?;
    }
    replace(&settings.data_dir.join(CONF), &conf(settings))?;
    replace(&settings.data_dir.join("pg_hba.conf"), &hba(settings))
}

fn is_empty(path: &Path) -> Result<bool, PostgresError> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(source) => Err(file("read", path, source)),
    }
}

/// Runs initdb beside the data directory and renames the result, so that a start that was interrupted leaves nothing that
/// looks like a data directory.
async fn initdb(settings: &Settings) -> Result<(), PostgresError> {
    let program = settings.postgres_bindir.join("initdb");
    let mut fresh = settings.data_dir.clone().into_os_string();
    fresh.push(".initdb");
    let fresh = PathBuf::from(fresh);
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(|source| file("remove", &fresh, source))?;
    }
    if let Some(parent) = settings.data_dir.parent() {
        fs::create_dir_all(parent).map_err(|source| file("create", parent, source))?;
    }
    tracing::info!(data_dir = %settings.data_dir.display(), "initdb");
    let output = command(&program)
        .arg("-D")
        .arg(&fresh)
        .args(["-U", "postgres", "--encoding=UTF8", "--auth=trust"])
        .arg(format!("--locale={}", settings.locale))
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|source| PostgresError::Spawn { program, source })?;
    if !output.status.success() {
        let output_text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(PostgresError::Initdb { status: output.status, output: output_text });
    }
    fs::rename(&fresh, &settings.data_dir).map_err(|source| file("create", &settings.data_dir, source))
}

/// `program` with nothing of the agent's environment that PostgreSQL would heed.
pub(super) fn command(program: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(program);
    command.env_clear().current_dir("/");
    for name in ["PATH", "TZ", "LANG", "HOME"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

fn conf(settings: &Settings) -> String {
    let connections = settings.connections_max();
    let mut lines = vec![
        ("listen_addresses".to_owned(), settings.postgres_host.clone()),
        ("port".into(), settings.postgres_port.to_string()),
        ("unix_socket_directories".into(), settings.run_dir.display().to_string()),
        ("unix_socket_permissions".into(), "0700".into()),
        ("max_connections".into(), connections.to_string()),
        // Every lane's transaction can be prepared at once.
        ("max_prepared_transactions".into(), connections.to_string()),
        ("password_encryption".into(), "scram-sha-256".into()),
        ("wal_level".into(), "logical".into()),
        ("max_wal_senders".into(), "10".into()),
        ("max_replication_slots".into(), "10".into()),
        ("hot_standby".into(), "on".into()),
        // For pg_rewind.
        ("wal_log_hints".into(), "on".into()),
        ("fsync".into(), "on".into()),
        ("logging_collector".into(), "off".into()),
        ("log_destination".into(), "stderr".into()),
        ("log_line_prefix".into(), "%m [%p] %q%u@%d ".into()),
    ];
    // The last one counts.
    lines.extend(settings.postgres_settings.iter().map(|(name, value)| (name.clone(), value.clone())));
    let mut text = String::from("# Written by atoll-agent at every start; edit agent.toml instead.\n");
    for (name, value) in lines {
        text.push_str(&format!("{name} = '{}'\n", quoted(&value)));
    }
    text
}

/// The inside of a quoted value in postgresql.conf.
fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\'', "''")
}

fn hba(settings: &Settings) -> String {
    let method = settings.postgres_auth.hba_method();
    let mut text = String::from(
        "# Written by atoll-agent at every start. Only the agent's OS user can enter the socket's folder.\n\
         local all all trust\n\
         local replication all trust\n",
    );
    for network in ["127.0.0.1/32", "::1/128"] {
        text.push_str(&format!("host all all {network} {method}\nhost replication all {network} {method}\n"));
    }
    // Elsewhere only with a password, whatever holds on loopback.
    if !settings.postgres_host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) {
        text.push_str("host all all all scram-sha-256\n");
    }
    text
}

/// Writes `text` so that a reader sees either the old file or the new one, whole.
fn replace(path: &Path, text: &str) -> Result<(), PostgresError> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let written = fs::File::create(&fresh).and_then(|mut new| {
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        fs::rename(&fresh, path)
    });
    written.map_err(|source| file("write", path, source))
}

pub(super) fn file(action: &'static str, path: &Path, source: io::Error) -> PostgresError {
    PostgresError::File { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::PostgresAuth;

    #[test]
    fn settings_are_quoted_and_come_last() {
        let mut settings = Settings { run_dir: "/tmp/it's".into(), lanes_max: 30, ..Settings::default() };
        settings.postgres_settings.insert("wal_level".into(), "replica".into());
        let text = conf(&settings);
        assert!(text.contains("unix_socket_directories = '/tmp/it''s'\n"), "{text}");
        assert!(text.contains("max_connections = '50'\n"), "{text}");
        assert!(text.ends_with("wal_level = 'replica'\n"), "{text}");
    }

    #[test]
    fn nothing_but_the_private_socket_is_trusted_under_scram() {
        let settings =
            Settings { postgres_auth: PostgresAuth::Scram, postgres_host: "0.0.0.0".into(), ..Settings::default() };
        for line in hba(&settings).lines().filter(|line| line.starts_with("host")) {
            assert!(line.ends_with("scram-sha-256"), "{line}");
        }
        let settings = Settings { postgres_auth: PostgresAuth::Trust, ..settings };
        assert!(hba(&settings).contains("host all all 127.0.0.1/32 trust\n"));
        assert!(hba(&settings).contains("host all all all scram-sha-256\n"));
    }

    #[tokio::test]
    async fn a_folder_with_something_else_in_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "").unwrap();
        let settings = Settings { data_dir: folder.path().to_owned(), ..Settings::default() };
        assert!(matches!(prepare(&settings).await, Err(PostgresError::ForeignDataDir { .. })));
    }
}
