//! Data of another node: a rewind onto its log, or a copy.
//!
//! Beside the data directory `D` lie, while they are needed: `D.rebuild`, a copy that grows; `D.old`, what a copy has replaced;
//! `D.rewinding`, which says that a rewind has begun to overwrite `D`.

use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::data_dir::{beside, file, holds_data};
use super::replication::{Upstream, slot_name};
use super::server::{Server, remove_dir_all};
use super::tool::{Output, Tool, failed};
use super::{PostgresError, postmaster};
use crate::settings::Settings;

/// How long a source may take for a checkpoint.
const CHECKPOINT_MAX: Duration = Duration::from_secs(120);
/// A copy that has grown by nothing for this long is given up, while there is something left to copy.
const STALL_MAX: Duration = Duration::from_secs(120);
/// How often a copy is looked at for that.
const STALL_POLL: Duration = Duration::from_secs(1);
/// What pg_rewind says before it changes anything.
const REWIND_BEGINS: &str = "rewinding from last common checkpoint";
const NO_REWIND: &str = "no rewind required";

/// What a rewind did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewound {
    /// This node had nothing that the source has not.
    NotNeeded,
    Done,
}

impl Server {
    /// Brings the stopped data back to where they are a prefix of `source`'s, a running primary; then they can start as a
    /// replica.
    ///
    /// # Errors
    /// When it cannot be done; [`Server::rebuild`] is the answer then, and the only one when the data are
    /// [`super::server::Data::Torn`] now.
    pub async fn rewind(&mut self, source: &Upstream) -> Result<Rewound, PostgresError> {
        self.must_be_stopped().await?;
        let data_dir = self.settings.data_dir.clone();
        if !holds_data(&self.settings)? {
            return Err(PostgresError::NoData { path: data_dir });
        }
        if is_torn(&self.settings) {
            return Err(PostgresError::Torn { path: data_dir });
        }
        self.credentials.write_passfile(&self.settings)?;
        super::timelines::release(&data_dir)?;
        // A source promoted a moment ago still has its old timeline in its control file, and pg_rewind would see nothing to do.
        self.checkpoint(source).await?;
        let rewinding = Rewinding::begin(&self.settings)?;
        let mut tool = Tool::new(&self.settings, "pg_rewind");
        tool.arg("-D").arg(&data_dir).arg("--source-server").arg(source.conninfo(&self.settings, "pg_rewind"));
        let mut needed = true;
        let run = tool.run(|line| {
            tracing::info!("{line}");
            needed &= !line.contains(NO_REWIND);
            rewinding.overwrites.set(rewinding.overwrites.get() | line.contains(REWIND_BEGINS));
        });
        let output = run.await?;
        if !output.succeeded() {
            return Err(failed("pg_rewind", &output));
        }
        rewinding.end()?;
        Ok(if needed { Rewound::Done } else { Rewound::NotNeeded })
    }

    /// Replaces the stopped data by a copy of `source`'s, a running primary that has a slot for this node. The old data stay until
    /// the copy is whole. `progress` hears bytes copied and bytes in all.
    ///
    /// # Errors
    /// When the copy fails or stalls; then all is as before.
    pub async fn rebuild(&mut self, source: &Upstream, progress: impl Fn(u64, u64)) -> Result<(), PostgresError> {
        self.must_be_stopped().await?;
        settle(&self.settings)?;
        // Nothing else may lie there.
        holds_data(&self.settings)?;
        self.credentials.write_passfile(&self.settings)?;
        let fresh = beside(&self.settings, "rebuild");
        self.remove(vec![fresh.clone(), beside(&self.settings, "old")]).await?;
        if let Some(parent) = fresh.parent() {
            fs::create_dir_all(parent).map_err(|source| file("create", parent, source))?;
        }
        let copied = self.copy(source, &fresh, progress).await;
        if let Err(error) = copied.and_then(|()| mark_standby(&fresh)) {
            self.remove(vec![fresh]).await?;
            return Err(error);
        }
        let old = swap(&self.settings, &fresh)?;
        remove_file(&beside(&self.settings, "rewinding"))?;
        sync_parent(&self.settings.data_dir)?;
        self.remove(vec![old]).await
    }

    async fn copy(&self, source: &Upstream, to: &Path, progress: impl Fn(u64, u64)) -> Result<(), PostgresError> {
        let mut tool = Tool::new(&self.settings, "pg_basebackup");
        tool.arg("-D").arg(to).arg("-d").arg(source.conninfo(&self.settings, "pg_basebackup"));
        tool.args(&["--checkpoint=fast", "--wal-method=stream", "--no-manifest", "--progress", "--no-password"]);
        tool.arg("--slot").arg(slot_name(&self.settings.name));
        let at = Cell::new((0, u64::MAX, Instant::now()));
        let run = tool.run(|line| match progress_of(line) {
            Some((copied, total)) => {
                let (before, _, since) = at.get();
                at.set((copied, total, if copied == before { since } else { Instant::now() }));
                progress(copied, total);
            }
            None => tracing::info!("pg_basebackup: {line}"),
        });
        let stalled = async {
            loop {
                sleep(STALL_POLL).await;
                let (copied, total, since) = at.get();
                if copied < total && since.elapsed() > STALL_MAX {
                    break;
                }
            }
        };
        tokio::select! {
            output = run => match output? {
                output if output.succeeded() => Ok(()),
                output => Err(failed("pg_basebackup", &output)),
            },
            () = stalled => {
                Err(PostgresError::Late { what: "anything more of the copy".into(), seconds: STALL_MAX.as_secs() })
            }
        }
    }

    async fn checkpoint(&self, source: &Upstream) -> Result<(), PostgresError> {
        let mut tool = Tool::new(&self.settings, "psql");
        tool.args(&["--no-psqlrc", "--quiet", "--no-password", "--command=CHECKPOINT", "--dbname"]);
        tool.arg(source.conninfo(&self.settings, "pg_rewind"));
        let output: Output = tool.output(CHECKPOINT_MAX).await?;
        if output.succeeded() { Ok(()) } else { Err(failed("psql", &output)) }
    }

    async fn must_be_stopped(&self) -> Result<(), PostgresError> {
        match self.is_running() {
            true => Err(PostgresError::Role { is: "running", wanted: "stopped" }),
            false => postmaster::clear_the_way(&self.settings).await,
        }
    }

    /// Removes folders, however large, while the agent goes on.
    async fn remove(&mut self, paths: Vec<PathBuf>) -> Result<(), PostgresError> {
        self.swept().await?;
        self.sweeping = Some(spawn_blocking(move || paths.iter().try_for_each(|path| remove_dir_all(path))));
        self.swept().await
    }

    /// Waits for a removal that was begun.
    async fn swept(&mut self) -> Result<(), PostgresError> {
        let Some(sweeping) = &mut self.sweeping else { return Ok(()) };
        let removed = sweeping.await;
        self.sweeping = None;
        removed.unwrap_or_else(|panic| Err(file("remove", &self.settings.data_dir, io::Error::other(panic))))
    }

    /// Begins to remove what a rebuild that was cut short has left beside the data.
    pub(super) fn sweep(&mut self) {
        let left = ["rebuild", "old"].map(|suffix| beside(&self.settings, suffix));
        if self.sweeping.is_none() && left.iter().any(|path| path.exists()) {
            self.sweeping = Some(spawn_blocking(move || left.iter().try_for_each(|path| remove_dir_all(path))));
        }
    }
}

/// A rewind under way. When it goes before pg_rewind has changed anything, all is as before.
struct Rewinding<'a> {
    settings: &'a Settings,
    overwrites: Cell<bool>,
}

impl<'a> Rewinding<'a> {
    fn begin(settings: &'a Settings) -> Result<Self, PostgresError> {
        let mark = beside(settings, "rewinding");
        File::create(&mark).and_then(|mark| mark.sync_all()).map_err(|source| file("create", &mark, source))?;
        sync_parent(&mark)?;
        let this = Self { settings, overwrites: Cell::new(false) };
        // pg_rewind runs the crash recovery, which must not begin as a standby.
        remove_file(&settings.data_dir.join("standby.signal"))?;
        Ok(this)
    }

    /// The data are whole, and a standby's.
    fn end(&self) -> Result<(), PostgresError> {
        mark_standby(&self.settings.data_dir)?;
        self.overwrites.set(true);
        remove_file(&beside(self.settings, "rewinding"))
    }
}

impl Drop for Rewinding<'_> {
    fn drop(&mut self) {
        if self.overwrites.get() {
            return;
        }
        if let Err(error) = self.end() {
            tracing::error!("a rewind did not begin, but its mark stays: {error}");
        }
    }
}

/// Bytes copied and in all, of a line like "  2048/23048 kB (8%), 0/1 tablespace".
fn progress_of(line: &str) -> Option<(u64, u64)> {
    let (numbers, _) = line.trim_start().split_once(" kB (")?;
    let (copied, total) = numbers.split_once('/')?;
    Some((copied.parse::<u64>().ok()? << 10, total.parse::<u64>().ok()? << 10))
}

/// Puts the copy in the data directory's place; where the old data are now.
fn swap(settings: &Settings, fresh: &Path) -> Result<PathBuf, PostgresError> {
    let data_dir = &settings.data_dir;
    let moved = |source| file("replace", data_dir, source);
    if !data_dir.exists() {
        fs::rename(fresh, data_dir).map_err(moved)?;
        return Ok(fresh.to_owned());
    }
    match renameat_with(CWD, fresh, CWD, data_dir, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(fresh.to_owned()),
        // Not every file system exchanges; `settle` helps when only the first step gets done.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            let old = beside(settings, "old");
            fs::rename(data_dir, &old).map_err(moved)?;
            fs::rename(fresh, data_dir).map_err(moved)?;
            Ok(old)
        }
        Err(error) => Err(moved(error.into())),
    }
}

/// Puts the old data back when a swap stopped in its middle.
pub(super) fn settle(settings: &Settings) -> Result<(), PostgresError> {
    let old = beside(settings, "old");
    if settings.data_dir.exists() || !old.exists() {
        return Ok(());
    }
    fs::rename(&old, &settings.data_dir).map_err(|source| file("put back", &settings.data_dir, source))
}

/// Whether a rewind has begun to overwrite the data and has not come to its end.
pub(super) fn is_torn(settings: &Settings) -> bool {
    beside(settings, "rewinding").exists()
}

/// Makes the data start as a standby's.
pub(super) fn mark_standby(data_dir: &Path) -> Result<(), PostgresError> {
    let path = data_dir.join("standby.signal");
    if path.exists() {
        return Ok(());
    }
    let make = || {
        File::create(&path)?.sync_all()?;
        File::open(data_dir)?.sync_all()
    };
    make().map_err(|source| file("create", &path, source))
}

fn remove_file(path: &Path) -> Result<(), PostgresError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file("remove", path, error)),
        _ => Ok(()),
    }
}

fn sync_parent(path: &Path) -> Result<(), PostgresError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(|source| file("sync", parent, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read() {
        assert_eq!(progress_of("  2048/23048 kB (8%), 0/1 tablespace"), Some((2048 << 10, 23048 << 10)));
        assert_eq!(
            progress_of("    0/23048 kB (0%), 0/1 tablespace (x/data.rebuild/backup_label)"),
            Some((0, 23048 << 10))
        );
        assert_eq!(progress_of("waiting for checkpoint"), None);
    }

    #[test]
    fn a_swap_leaves_one_of_the_two_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { data_dir: folder.path().join("data"), ..Settings::default() };
        let fresh = beside(&settings, "rebuild");
        let version = || fs::read_to_string(settings.data_dir.join("PG_VERSION")).unwrap();
        for round in ["1", "2"] {
            fs::create_dir(&fresh).unwrap();
            fs::write(fresh.join("PG_VERSION"), round).unwrap();
            let old = swap(&settings, &fresh).unwrap();
            assert_eq!(version(), round);
            remove_dir_all(&old).unwrap();
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        // As a swap in two steps leaves it when it is cut short.
        fs::rename(&settings.data_dir, beside(&settings, "old")).unwrap();
        settle(&settings).unwrap();
        assert_eq!(version(), "2");
    }
}
