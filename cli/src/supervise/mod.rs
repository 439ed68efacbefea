//! The supervisor: a detached process that starts a cluster's agents and coordinators, restarts those that die, and
//! stops them in order. PostgreSQL is its agent's; the supervisor touches it only when its agent had to be killed.
//!
//! SIGHUP makes it read `cluster.json` again: nodes that are new are started, those that are gone are stopped. A process whose folder
//! holds a file `hold` is not started while the file is there.

mod journal;
mod keeper;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use tokio::time::sleep;

use self::keeper::{Book, Kept, stop_all};
use crate::host::{self, Owner};
use crate::layout::{self, Cluster};
use crate::options::{Global, Settings};
use crate::process::POLL;
use crate::rpc;

pub use self::journal::{Journal, Kind, forget, log_file, running};

/// Coordinators let their sessions finish for this long.
pub const DRAIN: Duration = Duration::from_secs(5);
/// Agents shut PostgreSQL down, which includes a checkpoint.
pub const AGENT_GRACE: Duration = Duration::from_secs(45);

/// Keys that tell one process from another, or belong to cluster.json. From the environment they would reach all.
const OWN_KEYS: [&str; 29] = [
    "ADVERTISE",
    "ARBITER_FILE",
    "AUTH",
    "BOOTSTRAP",
    "CAPACITY",
    "DATA_DIR",
    "EPOCH",
    "GROUP",
    "HOME_ADDRESS",
    "HOME_GROUP",
    "HOME_NODES",
    "HOME_SOCKET",
    "LEASE_ENDPOINTS",
    "LEASE_PREFIX",
    "LEASE_STORE",
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
    "ZONE",
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

async fn supervise(dir: &Path) -> anyhow::Result<()> {
    // Before the lock: whoever sees it may send a signal.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let owner = Owner::of_cluster()?;
    let _lock = journal::lock(dir, &owner).await?;
    let mut crew = Crew::start(dir, owner)?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => match Cluster::load(dir) {
                Ok(cluster) => crew.follow(&cluster).await,
                Err(error) => tracing::error!("{error:#}"),
            }
        }
    }
    tracing::info!("stopping");
    crew.stop().await;
    tracing::info!("stopped");
    forget(dir);
    Ok(())
}

/// All processes of the cluster.
struct Crew {
    book: Rc<Book>,
    agent: PathBuf,
    agents: Vec<Kept>,
    /// The first one hosts the arbiter: it is there as long as any agent.
    first: Kept,
    first_address: String,
    others: Vec<Kept>,
}

impl Crew {
    fn start(dir: &Path, owner: Owner) -> anyhow::Result<Self> {
        let cluster = Cluster::load(dir)?;
        let agent = host::sibling("atoll-agent")?;
        let coordinator = host::sibling("atoll-coordinator")?;
        let book = Rc::new(Book::new(dir.to_owned(), owner));
        let start_agent = |node: &layout::Node| Kept::start(&node.name, Kind::Agent, agent.clone(), &book, async {});
        let agents = cluster.nodes.iter().map(start_agent).collect();
        let name = &cluster.coordinators[0].name;
        let first = Kept::start(name, Kind::Coordinator, coordinator.clone(), &book, async {});
        let start_other = |other: &layout::Coordinator| {
            let ready = bootstrapped(dir.to_owned());
            Kept::start(&other.name, Kind::Coordinator, coordinator.clone(), &book, ready)
        };
        let others = cluster.coordinators[1..].iter().map(start_other).collect();
        let first_address = layout::loopback(cluster.port());
        Ok(Self { book, agent, agents, first, first_address, others })
    }

    /// Starts agents that are new in the cluster's description, and stops those that are no longer in it.
    async fn follow(&mut self, cluster: &Cluster) {
        let (stay, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.agents).into_iter().partition(|kept| cluster.node(&kept.name).is_some());
        self.agents = stay;
        for node in &cluster.nodes {
            if !self.agents.iter().any(|kept| kept.name == node.name) {
                self.agents.push(Kept::start(&node.name, Kind::Agent, self.agent.clone(), &self.book, async {}));
            }
        }
        stop_all(gone).await;
    }

    /// Clients first; then the agents, all at once, so that none takes over from another; the arbiter, with which they leave their
    /// leases, last.
    async fn stop(self) {
        let drain = async {
            let Ok(token) = rpc::read_token(&layout::token_file(&self.book.dir)) else { return };
            match rpc::drain(&self.first_address, &token, DRAIN).await {
                Ok(0) => {}
                Ok(sessions) => tracing::warn!("{} cuts off {sessions} sessions", self.first.name),
                Err(error) => tracing::warn!("{} does not drain: {error:#}", self.first.name),
            }
        };
        tokio::join!(drain, stop_all(self.others));
        stop_all(self.agents).await;
        self.first.stop().await;
    }
}

/// Returns once the directory has been made: two coordinators would otherwise make it at once.
async fn bootstrapped(dir: PathBuf) {
    while !Cluster::load(&dir).is_ok_and(|cluster| cluster.bootstrapped) {
        sleep(POLL * 2).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_processes_share_comes_from_the_environment() {
        for name in ["ATOLL_CONNECTIONS_MAX", "ATOLL_LEASE_TTL_MS", "RUST_LOG", "PATH"] {
            assert!(reaches_processes(name), "{name}");
        }
        for name in ["ATOLL_LISTEN", "ATOLL_DIR", "ATOLL_TOKEN_FILE", "ATOLL_LEASE_STORE", "PGDATA", "PGPORT"] {
            assert!(!reaches_processes(name), "{name}");
        }
    }
}
