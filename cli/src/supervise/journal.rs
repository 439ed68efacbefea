//! What the supervisor leaves in the folder for those who look from outside: its pid, and its processes.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::host::Owner;
use crate::layout;
use crate::process::{Identity, POLL};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Agent,
    Coordinator,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Agent => "agent",
            Kind::Coordinator => "coordinator",
        }
    }

    pub fn config(self, dir: &Path, name: &str) -> PathBuf {
        match self {
            Kind::Agent => layout::agent_config(dir, name),
            Kind::Coordinator => layout::coordinator_config(dir, name),
        }
    }

    pub fn log(self, dir: &Path, name: &str) -> PathBuf {
        match self {
            Kind::Agent => layout::agent_log(dir, name),
            Kind::Coordinator => layout::coordinator_log(dir, name),
        }
    }
}

/// One supervised process, as the journal shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub name: String,
    pub kind: Kind,
    pub process: Option<Identity>,
    /// How often it ended without being asked to, since the supervisor started.
    pub exits: u32,
    /// How it ended the last time, or why it could not be started.
    pub last_exit: String,
}

impl Entry {
    pub fn log(&self, dir: &Path) -> PathBuf {
        self.kind.log(dir, &self.name)
    }

    /// The process, when it is alive and really the recorded one.
    pub fn alive(&self, dir: &Path) -> Option<Identity> {
        self.process.filter(|process| process.runs_with(&self.kind.config(dir, &self.name)))
    }
}

/// `DIR/supervisor.json`: which processes there are, for those who look from outside.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Journal {
    pub processes: Vec<Entry>,
}

impl Journal {
    /// Empty when there is none yet.
    pub fn load(dir: &Path) -> Self {
        let text = std::fs::read_to_string(journal_file(dir)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.processes.iter().find(|entry| entry.name == name)
    }
}

pub fn journal_file(dir: &Path) -> PathBuf {
    dir.join("supervisor.json")
}

/// Removes the journal of a supervisor whose processes are gone.
pub fn forget(dir: &Path) {
    let _ = std::fs::remove_file(journal_file(dir));
}

pub fn pid_file(dir: &Path) -> PathBuf {
    dir.join("supervisor.pid")
}

pub fn log_file(dir: &Path) -> PathBuf {
    dir.join("supervisor.log")
}

/// The running supervisor of a folder. It holds a lock on its pid file for as long as it lives.
pub fn running(dir: &Path) -> Option<Identity> {
    let file = File::open(pid_file(dir)).ok()?;
    if !matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)) {
        return None;
    }
    let text = std::fs::read_to_string(pid_file(dir)).ok()?;
    Identity::of(text.trim().parse().ok()?)
}

/// Takes the pid file, which somebody who only looks may hold for a moment.
pub async fn lock(dir: &Path, owner: &Owner) -> anyhow::Result<File> {
    let path = pid_file(dir);
    let file = owner.open_log(&path)?;
    let deadline = Instant::now() + Duration::from_secs(2);
    while file.try_lock().is_err() {
        if Instant::now() >= deadline {
            bail!("another supervisor holds {}", path.display());
        }
        sleep(POLL).await;
    }
    file.set_len(0)
        .and_then(|()| writeln!(&file, "{}", std::process::id()))
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_supervisor_shows_by_its_lock() {
        let dir = tempfile::tempdir().unwrap();
        let owner = Owner {
            uid: nix::unistd::Uid::effective(),
            gid: nix::unistd::Gid::effective(),
            groups: Vec::new(),
            run_as: String::new(),
        };
        assert_eq!(running(dir.path()), None);
        let lock = lock(dir.path(), &owner).await.unwrap();
        assert_eq!(running(dir.path()), Identity::of(std::process::id()));
        drop(lock);
        assert_eq!(running(dir.path()), None);
    }

    #[test]
    fn a_missing_journal_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Journal::load(dir.path()).processes.is_empty());
    }
}
