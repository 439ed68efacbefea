//! What lies in PostgreSQL's data directory before it is started.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::{PostgresError, conf};
use crate::settings::Settings;

/// Makes the data directory with initdb when there is none yet, and writes the configuration of this start.
///
/// # Errors
/// When the directory holds something else, initdb fails, or a file cannot be written.
pub async fn prepare(settings: &Settings) -> Result<(), PostgresError> {
    if !holds_data(settings)? {
        initdb(settings).await?;
    }
    conf::write(settings, None)
}

/// False when the data directory is empty or missing.
///
/// # Errors
/// When it holds something else, or cannot be read.
pub(super) fn holds_data(settings: &Settings) -> Result<bool, PostgresError> {
    if is_empty(&settings.data_dir)? {
        Ok(false)
    } else if settings.data_dir.join("PG_VERSION").exists() {
        Ok(true)
    } else {
        Err(PostgresError::ForeignDataDir { path: settings.data_dir.clone() })
    }
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
pub(super) async fn initdb(settings: &Settings) -> Result<(), PostgresError> {
    let program = settings.postgres_bindir.join("initdb");
    let fresh = beside(settings, "initdb");
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

/// A path beside the data directory, for what is not data yet, or no longer.
pub(super) fn beside(settings: &Settings, suffix: &str) -> PathBuf {
    let mut path = settings.data_dir.clone().into_os_string();
    path.push(".");
    path.push(suffix);
    path.into()
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

/// Writes `text`, unless it is there already, so that a reader sees either the old file or the new one, whole.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), PostgresError> {
    replace_with_mode(path, text, 0o666)
}

/// As [`replace`], for a file that nobody but the agent's OS user may read.
pub(super) fn replace_private(path: &Path, text: &str) -> Result<(), PostgresError> {
    replace_with_mode(path, text, 0o600)
}

fn replace_with_mode(path: &Path, text: &str, mode: u32) -> Result<(), PostgresError> {
    if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let write = || {
        // The mode counts only for a new file.
        if Path::new(&fresh).exists() {
            fs::remove_file(&fresh)?;
        }
        let mut new = fs::File::options().write(true).create_new(true).mode(mode).open(&fresh)?;
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        fs::rename(&fresh, path)
    };
    write().map_err(|source| file("write", path, source))
}

pub(super) fn file(action: &'static str, path: &Path, source: io::Error) -> PostgresError {
    PostgresError::File { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_with_something_else_in_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "").unwrap();
        let settings = Settings { data_dir: folder.path().to_owned(), ..Settings::default() };
        assert!(matches!(prepare(&settings).await, Err(PostgresError::ForeignDataDir { .. })));
    }
}
