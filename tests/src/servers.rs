//! The pair of servers that a comparison needs, started when first asked for and shared by a test binary's cases; and how cases run that have
//! servers of their own.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::{Result, anyhow};
use libtest_mimic::{Arguments, Failed, Trial};

use crate::Target;
use crate::cluster::{Cluster, ClusterOptions};
use crate::plain::PlainServer;

/// What is held against plain PostgreSQL.
#[derive(Debug)]
pub enum Subject {
    Cluster(Cluster),
    /// A second plain server: the harness checks itself (`ATOLL_TEST_PLAIN=1`).
    Plain(PlainServer),
}

impl Subject {
    #[must_use]
    pub fn target(&self) -> &Target {
        match self {
            Subject::Cluster(cluster) => cluster.target(),
            Subject::Plain(plain) => plain.target(),
        }
    }

    /// The cluster; `None` when the harness checks itself.
    #[must_use]
    pub fn cluster(&self) -> Option<&Cluster> {
        match self {
            Subject::Cluster(cluster) => Some(cluster),
            Subject::Plain(_) => None,
        }
    }
}

/// A plain server and the subject beside it.
#[derive(Debug)]
pub struct Pair {
    pub plain: PlainServer,
    pub subject: Subject,
}

/// Whether the harness runs plain against plain, to check itself.
#[must_use]
pub fn checks_itself() -> bool {
    std::env::var_os("ATOLL_TEST_PLAIN").is_some_and(|value| value != "0")
}

/// A test that has servers of its own.
pub type Case = fn() -> Result<()>;

/// Runs a test binary's cases as its arguments say; none of them when the harness checks itself.
#[must_use]
pub fn run_cases(cases: &'static [(&str, Case)]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Each case starts a cluster; more at once would only be slower.
    arguments.test_threads.get_or_insert(2);
    let cases = if checks_itself() { &[][..] } else { cases };
    let trials = cases
        .iter()
        .map(|(name, case)| Trial::test(*name, move || case().map_err(|error| Failed::from(format!("{error:#}")))));
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// The pair until it is stopped.
type Held = Mutex<Option<Arc<Pair>>>;

/// Starts a [`Pair`] once and gives the same one to everybody; the servers stop when the holder is dropped.
#[derive(Debug, Clone)]
pub struct LazyPair {
    options: ClusterOptions,
    // A failed start is kept, too: a second attempt would only cost as much again.
    pair: Arc<OnceLock<Result<Held, String>>>,
}

impl LazyPair {
    #[must_use]
    pub fn new(options: ClusterOptions) -> LazyPair {
        LazyPair { options, pair: Arc::new(OnceLock::new()) }
    }

    /// The pair, started now when this is the first call.
    ///
    /// # Errors
    /// When a server did not start, now or at the first call, or the pair was stopped.
    pub fn get(&self) -> Result<Arc<Pair>> {
        let started = self.pair.get_or_init(|| start(&self.options).map_err(|error| format!("{error:#}")));
        let held = started.as_ref().map_err(|message| anyhow!("{message}"))?;
        let held = held.lock().map_err(|_| anyhow!("a thread panicked while it held the servers"))?;
        held.clone().ok_or_else(|| anyhow!("the servers were stopped"))
    }

    /// Stops the servers (once nobody holds the pair any more).
    pub fn stop(&self) {
        if let Some(Ok(held)) = self.pair.get()
            && let Ok(mut held) = held.lock()
        {
            held.take();
        }
    }
}

fn start(options: &ClusterOptions) -> Result<Held> {
    let plain = PlainServer::start()?;
    let subject = if checks_itself() {
        Subject::Plain(PlainServer::start()?)
    } else {
        Subject::Cluster(Cluster::start_with(options)?)
    };
    Ok(Mutex::new(Some(Arc::new(Pair { plain, subject }))))
}
