//! Keeps one process running.

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::Signal;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::journal::{Entry, Journal, Kind, journal_file};
use super::{AGENT_GRACE, DRAIN};
use crate::host::Owner;
use crate::layout;
use crate::process::{self, Identity, POLL};

/// Waits between restarts of a process that keeps dying.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A process that lived this long starts over with the shortest wait.
const STABLE: Duration = Duration::from_secs(30);

/// The journal, kept by all keepers.
pub struct Book {
    pub dir: PathBuf,
    pub owner: Owner,
    journal: RefCell<Journal>,
}

impl Book {
    pub fn new(dir: PathBuf, owner: Owner) -> Self {
        Self { dir, owner, journal: RefCell::default() }
    }

    fn add(&self, name: &str, kind: Kind) {
        let entry = Entry { name: name.to_owned(), kind, process: None, exits: 0, last_exit: String::new() };
        self.journal.borrow_mut().processes.push(entry);
        self.save();
    }

    fn update(&self, name: &str, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.journal.borrow_mut().processes.iter_mut().find(|entry| entry.name == name) {
            change(entry);
        }
        self.save();
    }

    fn remove(&self, name: &str) {
        self.journal.borrow_mut().processes.retain(|entry| entry.name != name);
        self.save();
    }

    fn save(&self) {
        let text = serde_json::to_string_pretty(&*self.journal.borrow()).unwrap_or_default();
        if let Err(error) = self.owner.write_file(&journal_file(&self.dir), &text, 0o644) {
            tracing::error!("the journal cannot be written: {error:#}");
        }
    }
}

/// A process that is kept running until it is told to stop.
pub struct Kept {
    pub name: String,
    book: Rc<Book>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Kept {
    /// Starts `program`, once `ready` is done, on the current local set.
    pub fn start(
        name: &str,
        kind: Kind,
        program: PathBuf,
        book: &Rc<Book>,
        ready: impl Future<Output = ()> + 'static,
    ) -> Self {
        book.add(name, kind);
        let (stop, mut told) = watch::channel(false);
        let keeper = Keeper { name: name.to_owned(), kind, program, book: Rc::clone(book), told: told.clone() };
        let task = tokio::task::spawn_local(async move {
            tokio::select! {
                () = ready => keeper.run().await,
                _ = told.wait_for(|told| *told) => {}
            }
        });
        Self { name: name.to_owned(), book: Rc::clone(book), stop, task }
    }

    /// Stops it for good.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!("the keeper of {} failed: {error}", self.name);
        }
        self.book.remove(&self.name);
    }
}

/// Stops several processes at once.
pub async fn stop_all(all: impl IntoIterator<Item = Kept>) {
    futures_util::future::join_all(all.into_iter().map(Kept::stop)).await;
}

struct Keeper {
    name: String,
    kind: Kind,
    program: PathBuf,
    book: Rc<Book>,
    told: watch::Receiver<bool>,
}

impl Keeper {
    async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        let label = format!("{} {}", self.kind.as_str(), self.name);
        loop {
            tokio::select! {
                () = self.released() => {}
                _ = told(&self.told) => return,
            }
            let started = Instant::now();
            let why = match self.spawn() {
                Err(error) => format!("{error:#}"),
                Ok(mut child) => {
                    let process = child.id().and_then(Identity::of);
                    tracing::info!("{label} started, pid {}", child.id().unwrap_or(0));
                    self.book.update(&self.name, |entry| entry.process = process);
                    let ended = tokio::select! {
                        ended = child.wait() => Some(ended),
                        _ = self.told.wait_for(|told| *told) => None,
                    };
                    match ended {
                        Some(status) => describe(status),
                        None => return self.stop(child, process).await,
                    }
                }
            };
            if started.elapsed() >= STABLE {
                backoff = BACKOFF_MIN;
            }
            tracing::warn!("{label} ended: {why}; starting it again in {} ms", backoff.as_millis());
            self.book.update(&self.name, |entry| {
                entry.process = None;
                entry.exits += 1;
                entry.last_exit = why;
            });
            if timeout(backoff, told(&self.told)).await.is_ok() {
                return;
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Waits while somebody wants the process to stay away.
    async fn released(&self) {
        let hold = layout::hold_file(&self.book.dir, &self.name);
        if hold.exists() {
            tracing::info!("{} {} is held back by {}", self.kind.as_str(), self.name, hold.display());
        }
        while hold.exists() {
            sleep(POLL).await;
        }
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let dir = &self.book.dir;
        let log = self.book.owner.open_log(&self.kind.log(dir, &self.name))?;
        Command::new(&self.program)
            .arg("--config")
            .arg(self.kind.config(dir, &self.name))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))
    }

    async fn stop(&self, mut child: Child, process: Option<Identity>) {
        if let Some(process) = process {
            process.signal(Signal::SIGTERM);
        }
        let label = format!("{} {}", self.kind.as_str(), self.name);
        let grace = match self.kind {
            Kind::Agent => AGENT_GRACE,
            Kind::Coordinator => DRAIN,
        };
        match timeout(grace, child.wait()).await {
            Ok(status) => tracing::info!("{label} ended: {}", describe(status)),
            Err(_) => {
                tracing::warn!("{label} did not end within {} s: killed", grace.as_secs());
                let _ = child.kill().await;
            }
        }
        if self.kind == Kind::Agent {
            process::stop_postmaster(&layout::data_dir(&self.book.dir, &self.name)).await;
        }
        self.book.update(&self.name, |entry| entry.process = None);
    }
}

/// Returns once the process is to stop for good.
async fn told(told: &watch::Receiver<bool>) {
    // An error means that nobody is left to say it.
    let _ = told.clone().wait_for(|told| *told).await;
}

fn describe(status: std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner {
            uid: nix::unistd::Uid::effective(),
            gid: nix::unistd::Gid::effective(),
            groups: Vec::new(),
            run_as: String::new(),
        }
    }

    async fn until(what: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !what() {
            assert!(Instant::now() < deadline, "it did not happen within 10 s");
            sleep(POLL / 5).await;
        }
    }

    #[tokio::test]
    async fn a_held_process_starts_when_it_is_released_and_again_when_it_dies() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().to_owned();
        std::fs::create_dir(dir.join("n")).unwrap();
        // Takes `--config FILE` and stays.
        let program = dir.join("program");
        std::fs::write(&program, "#!/bin/sh\nexec sleep 60\n").unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let hold = layout::hold_file(&dir, "n");
        std::fs::write(&hold, "").unwrap();

        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let book = Rc::new(Book::new(dir.clone(), owner()));
                let kept = Kept::start("n", Kind::Agent, program, &book, async {});
                let process = || Journal::load(&dir).entry("n").and_then(|entry| entry.process);
                sleep(POLL * 4).await;
                assert_eq!(process(), None);

                std::fs::remove_file(&hold).unwrap();
                until(|| process().is_some()).await;
                let first = process().unwrap();
                first.signal(Signal::SIGKILL);
                until(|| process().is_some_and(|process| process != first)).await;
                assert_eq!(Journal::load(&dir).entry("n").map(|entry| entry.exits), Some(1));

                let second = process().unwrap();
                kept.stop().await;
                assert!(!second.is_alive());
                assert!(Journal::load(&dir).processes.is_empty());
            })
            .await;
    }
}
