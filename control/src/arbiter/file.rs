//! The arbiter's state on disk: one JSON file, replaced as a whole, used by one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::state::Durable;

/// The file, locked; the lock ends when this is dropped.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    _lock: Flock<File>,
}

impl StateFile {
    /// Locks the file at `path` through one beside it (`.lock`), since the file itself is replaced with each change; makes its folder when
    /// that is missing. `None`: another process has it.
    ///
    /// # Errors
    /// When files cannot be made there.
    pub fn lock(path: &Path) -> io::Result<Option<Self>> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder(path))?;
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(beside(path, "lock"))?;
        match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self { path: path.to_owned(), _lock: lock })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(error.into()),
        }
    }

    /// The state as last written; empty when there is no file yet.
    ///
    /// # Errors
    /// When it cannot be read, or is not what [`StateFile::write`] wrote.
    pub fn read(&self) -> io::Result<Durable> {
        match fs::read(&self.path) {
            Ok(text) => Ok(serde_json::from_slice(&text)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Durable::default()),
            Err(error) => Err(error),
        }
    }

    /// Replaces the file. When this returns, the new state survives also a loss of power.
    ///
    /// # Errors
    /// When it cannot be written; the file then holds the old or the new state.
    pub fn write(&self, state: &Durable) -> io::Result<()> {
        let new = beside(&self.path, "new");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec_pretty(state)?)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        File::open(folder(&self.path))?.sync_all()
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arbiter::state::{Group, Holder};

    #[test]
    fn what_was_written_is_read_and_one_process_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/leases.json");
        let file = StateFile::lock(&path).unwrap().unwrap();
        assert_eq!(file.read().unwrap(), Durable::default());
        let holder = Some(Holder { lease: 3, node: "n".into(), epoch: 2, ttl_ms: 6000 });
        let group = Group { record: "{\"a\": \"\\u0000\\\"\"}".into(), revision: 9, holder };
        let state = Durable { lease_last: 3, groups: [("g".to_owned(), group)].into() };
        file.write(&state).unwrap();
        file.write(&state).unwrap();
        assert!(StateFile::lock(&path).unwrap().is_none());
        drop(file);
        let file = StateFile::lock(&path).unwrap().unwrap();
        assert_eq!(file.read().unwrap(), state);
        fs::write(&path, "{\"lease_last\": 3").unwrap();
        assert!(file.read().is_err());
        fs::remove_dir_all(folder.path().join("made")).unwrap();
        assert!(file.write(&state).is_err());
    }
}
