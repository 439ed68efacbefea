//! The supervisor: a detached process that starts a cluster's agents and coordinators, restarts those that die, and
//! stops them in order. PostgreSQL is its agent's; the supervisor touches it only when its agent had to be killed.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use atoll_proto::auth::Token;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep, timeout};

use crate::host::{self, Owner};
use crate::layout::{self, Cluster};
use crate::options::{Global, Settings};
use crate::process::{self, Identity, POLL};
use crate::rpc;

/// Waits between restarts of a process that keeps dying.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A process that lived this long starts over with the shortest wait.
const STABLE: Duration = Duration::from_secs(30);
/// Coordinators let their sessions finish for this long.
pub const DRAIN: Duration = Duration::from_secs(5);
/// Agents shut PostgreSQL down, which includes a checkpoint.
pub const AGENT_GRACE: Duration = Duration::from_secs(45);

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
    pub fn config(&self, dir: &Path) -> PathBuf {
        match self.kind {
            Kind::Agent => layout::agent_config(dir, &self.name),
            Kind::Coordinator => layout::coordinator_config(dir, &self.name),
        }
    }

    pub fn log(&self, dir: &Path) -> PathBuf {
        match self.kind {
            Kind::Agent => layout::agent_log(dir, &self.name),
            Kind::Coordinator => layout::coordinator_log(dir, &self.name),
        }
    }

    /// The process, when it is alive and really the recorded one.
    pub fn alive(&self, dir: &Path) -> Option<Identity> {
        self.process.filter(|process| process.runs_with(&self.config(dir)))
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

fn journal_file(dir: &Path) -> PathBuf {
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

/// Keys that tell one process from another, or belong to cluster.json. From the environment they would reach all.
const OWN_KEYS: [&str; 20] = [
    "AUTH",
    "DATA_DIR",
    "EPOCH",
    "GROUP",
    "HOME_ADDRESS",
    "HOME_GROUP",
    "HOME_SOCKET",
    "LISTEN",
    "METRICS_LISTEN",
    "NAME",
    "POSTGRES_AUTH",
    "POSTGRES_BINDIR",
    "POSTGRES_HOST",
    "POSTGRES_LOG",
    "POSTGRES_PORT",
    "RUN_AS",
    "RUN_DIR",
    "TOKEN_FILE",
    "CONFIG",
    "DIR",
];

/// Whether a variable of the caller's environment is passed on to agents and coordinators: `ATOLL_CONNECTIONS_MAX`
/// is, `ATOLL_LISTEN` and `PGPORT` are not.
fn reaches_processes(name: &str) -> bool {
    match name.strip_prefix("ATOLL_") {
        Some(key) => !OWN_KEYS.contains(&key),
        None => !name.starts_with("PG"),
    }
}

/// Starts a detached supervisor for the cluster in `dir`.
///
/// # Errors
/// When the system refuses.
pub fn spawn(dir: &Path, owner: &Owner) -> anyhow::Result<std::process::Child> {
    let log = owner.open_log(&log_file(dir))?;
    let mut command = std::process::Command::new(std::env::current_exe().context("finding our own program")?);
    for (name, _) in std::env::vars_os() {
        if !reaches_processes(&name.to_string_lossy()) {
            command.env_remove(&name);
        }
    }
    command
        .args(["supervise", "--dir"])
        .arg(dir)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("starting the supervisor")
}

/// The body of `atoll supervise`.
///
/// # Errors
/// When another supervisor runs in the folder, or the cluster's files cannot be used.
pub fn run(global: &Global) -> anyhow::Result<()> {
    close_inherited();
    // Fails only when we lead a session already.
    let _ = nix::unistd::setsid();
    tracing_subscriber::fmt().with_ansi(false).with_target(false).init();
    let settings = Settings::resolve(global)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, supervise(&settings.dir))
}

/// Closes what the caller left open, so that nobody waits for our end of their pipe.
fn close_inherited() {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for descriptor in open.into_iter().filter(|&descriptor| descriptor > 2) {
        // The descriptor of the listing itself is already closed.
        let _ = nix::unistd::close(descriptor);
    }
}

/// How far the cluster's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serve,
    StopCoordinators,
    StopAgents,
}

async fn supervise(dir: &Path) -> anyhow::Result<()> {
    let owner = Owner::of_cluster()?;
    let _lock = lock(dir, &owner).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let cluster = Cluster::load(dir)?;
    let token = rpc::read_token(&layout::token_file(dir))?;
    let agent = host::sibling("atoll-agent")?;
    let coordinator = host::sibling("atoll-coordinator")?;

    let entry =
        |name: &str, kind| Entry { name: name.to_owned(), kind, process: None, exits: 0, last_exit: String::new() };
    let agents = cluster.nodes.iter().map(|node| entry(&node.name, Kind::Agent));
    let coordinators = cluster.coordinators.iter().map(|c| entry(&c.name, Kind::Coordinator));
    let book =
        Rc::new(Book { dir: dir.to_owned(), owner, entries: RefCell::new(agents.chain(coordinators).collect()) });
    book.save();

    let (stage_sender, stage) = watch::channel(Stage::Serve);
    let mut agent_tasks = JoinSet::new();
    for index in 0..cluster.nodes.len() {
        let keeper = Keeper { index, program: agent.clone(), book: book.clone(), stage: stage.clone() };
        agent_tasks.spawn_local(keeper.run());
    }
    let mut coordinator_tasks = JoinSet::new();
    for number in 0..cluster.coordinators.len() {
        let index = cluster.nodes.len() + number;
        let keeper = Keeper { index, program: coordinator.clone(), book: book.clone(), stage: stage.clone() };
        let (cluster, token, dir) = (cluster.clone(), token.clone(), dir.to_owned());
        coordinator_tasks.spawn_local(async move {
            let mut stage = keeper.stage.clone();
            tokio::select! {
                () = before_coordinator(number, &cluster, &dir, &token) => keeper.run().await,
                _ = stage.wait_for(|stage| *stage > Stage::Serve) => {}
            }
        });
    }

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    stage_sender.send_replace(Stage::StopCoordinators);
    coordinator_tasks.join_all().await;
    stage_sender.send_replace(Stage::StopAgents);
    agent_tasks.join_all().await;
    tracing::info!("stopped");
    forget(dir);
    Ok(())
}

/// Takes the pid file, which somebody who only looks may hold for a moment.
async fn lock(dir: &Path, owner: &Owner) -> anyhow::Result<File> {
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

/// Holds a coordinator back until home serves; and all but the first one until the directory has been made, so that
/// two never make it at once.
async fn before_coordinator(number: usize, cluster: &Cluster, dir: &Path, token: &Token) {
    let home = layout::loopback(cluster.home().agent_port);
    while !rpc::node_state(&home, token).await.is_ok_and(|state| state.role == "primary" && state.state == "running") {
        sleep(POLL * 2).await;
    }
    while number > 0 && !Cluster::load(dir).is_ok_and(|cluster| cluster.bootstrapped) {
        sleep(POLL * 2).await;
    }
}

/// The journal, kept by all keepers.
struct Book {
    dir: PathBuf,
    owner: Owner,
    entries: RefCell<Vec<Entry>>,
}

impl Book {
    fn update(&self, index: usize, change: impl FnOnce(&mut Entry)) {
        change(&mut self.entries.borrow_mut()[index]);
        self.save();
    }

    fn save(&self) {
        let journal = Journal { processes: self.entries.borrow().clone() };
        let text = serde_json::to_string_pretty(&journal).unwrap_or_default();
        if let Err(error) = self.owner.write_file(&journal_file(&self.dir), &text, 0o644) {
            tracing::error!("the journal cannot be written: {error:#}");
        }
    }
}

/// Keeps one process running.
struct Keeper {
    index: usize,
    program: PathBuf,
    book: Rc<Book>,
    stage: watch::Receiver<Stage>,
}

impl Keeper {
    async fn run(mut self) {
        let entry = self.book.entries.borrow()[self.index].clone();
        let last_stage = match entry.kind {
            Kind::Agent => Stage::StopCoordinators,
            Kind::Coordinator => Stage::Serve,
        };
        let mut backoff = BACKOFF_MIN;
        while *self.stage.borrow() <= last_stage {
            let started = Instant::now();
            let why = match self.spawn(&entry) {
                Err(error) => format!("{error:#}"),
                Ok(mut child) => {
                    let process = child.id().and_then(Identity::of);
                    tracing::info!("{} {} started, pid {}", entry.kind.as_str(), entry.name, child.id().unwrap_or(0));
                    self.book.update(self.index, |entry| entry.process = process);
                    let ended = tokio::select! {
                        ended = child.wait() => Some(ended),
                        _ = self.stage.wait_for(|stage| *stage > last_stage) => None,
                    };
                    match ended {
                        Some(status) => describe(status),
                        None => return self.stop(&entry, child, process).await,
                    }
                }
            };
            if started.elapsed() >= STABLE {
                backoff = BACKOFF_MIN;
            }
            tracing::warn!(
                "{} {} ended: {why}; starting it again in {} ms",
                entry.kind.as_str(),
                entry.name,
                backoff.as_millis()
            );
            self.book.update(self.index, |entry| {
                entry.process = None;
                entry.exits += 1;
                entry.last_exit = why;
            });
            let _ = timeout(backoff, self.stage.wait_for(|stage| *stage > last_stage)).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    fn spawn(&self, entry: &Entry) -> anyhow::Result<Child> {
        let dir = &self.book.dir;
        let log = self.book.owner.open_log(&entry.log(dir))?;
        Command::new(&self.program)
            .arg("--config")
            .arg(entry.config(dir))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))
    }

    async fn stop(&self, entry: &Entry, mut child: Child, process: Option<Identity>) {
        if let Some(process) = process {
            process.signal(Signal::SIGTERM);
        }
        let grace = match entry.kind {
            Kind::Agent => AGENT_GRACE,
            Kind::Coordinator => DRAIN,
        };
        match timeout(grace, child.wait()).await {
            Ok(status) => tracing::info!("{} {} ended: {}", entry.kind.as_str(), entry.name, describe(status)),
            Err(_) => {
                let seconds = grace.as_secs();
                tracing::warn!("{} {} did not end within {seconds} s: killed", entry.kind.as_str(), entry.name);
                let _ = child.kill().await;
            }
        }
        if entry.kind == Kind::Agent {
            process::stop_postmaster(&layout::data_dir(&self.book.dir, &entry.name)).await;
        }
        self.book.update(self.index, |entry| entry.process = None);
    }
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
    fn what_all_processes_share_comes_from_the_environment() {
        for name in ["ATOLL_CONNECTIONS_MAX", "ATOLL_LANES_MAX", "RUST_LOG", "PATH"] {
            assert!(reaches_processes(name), "{name}");
        }
        for name in ["ATOLL_LISTEN", "ATOLL_DIR", "ATOLL_TOKEN_FILE", "PGDATA", "PGPORT"] {
            assert!(!reaches_processes(name), "{name}");
        }
    }

    #[test]
    fn a_missing_journal_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Journal::load(dir.path()).processes.is_empty());
    }
}
