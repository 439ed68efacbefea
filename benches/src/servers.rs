//! A cluster and, beside it, one plain PostgreSQL with the same settings.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use atoll_tests::Target;
use atoll_tests::client::Client;
use atoll_tests::cluster::Cluster;
use atoll_tests::plain::{PlainOptions, PlainServer};

use crate::processes::Processes;

const GROUPS: u32 = 2;
const SHARDS: u32 = 8;
/// Loading, distributing and checkpoints may take this long.
const LONG_MAX: Duration = Duration::from_secs(600);

/// Settings that decide how fast a PostgreSQL is; the plain one takes them from the cluster's home node.
const SETTINGS: &[&str] = &[
    "autovacuum",
    "checkpoint_completion_target",
    "checkpoint_timeout",
    "commit_delay",
    "effective_cache_size",
    "effective_io_concurrency",
    "fsync",
    "full_page_writes",
    "huge_pages",
    "jit",
    "maintenance_work_mem",
    "max_parallel_workers",
    "max_parallel_workers_per_gather",
    "max_wal_size",
    "min_wal_size",
    "random_page_cost",
    "shared_buffers",
    "synchronous_commit",
    "track_activities",
    "track_io_timing",
    "wal_buffers",
    "wal_compression",
    "wal_level",
    "work_mem",
];

/// Both servers; they stop when this is dropped.
#[derive(Debug)]
pub struct Servers {
    plain: PlainServer,
    cluster: Cluster,
    nodes: Vec<Target>,
}

impl Servers {
    /// Starts both.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start() -> Result<Servers> {
        let cluster = Cluster::start(GROUPS, SHARDS)?;
        let nodes: Vec<Target> = cluster.nodes()?.into_iter().map(|(_, target)| target).collect();
        let home = nodes.first().context("a cluster without nodes")?;
        let mut client = Client::connect(home, "postgres")?;
        let settings = SETTINGS
            .iter()
            .map(|name| Ok(((*name).to_owned(), client.simple(&format!("SHOW {name}"))?.value()?)))
            .collect::<Result<Vec<(String, String)>>>()?;
        let plain = PlainServer::start_with(&PlainOptions { durable: true, settings })?;
        Ok(Servers { plain, cluster, nodes })
    }

    /// Plain PostgreSQL, then the cluster.
    #[must_use]
    pub fn both(&self) -> [&Target; 2] {
        [self.plain.target(), self.cluster.target()]
    }

    /// The cluster's own processes.
    ///
    /// # Errors
    /// When its status cannot be read.
    pub fn processes(&self) -> Result<Processes> {
        Processes::of(&self.cluster)
    }

    /// Writes every server's dirty pages, so that a measurement does not pay for what came before it.
    ///
    /// # Errors
    /// When a server cannot be reached.
    pub fn checkpoint(&self) -> Result<()> {
        for target in self.nodes.iter().chain([self.plain.target()]) {
            let mut client = Client::connect(target, "postgres")?;
            client.wire().wait_max = LONG_MAX;
            if let Some(error) = client.simple("CHECKPOINT")?.error {
                bail!("CHECKPOINT on {}: {error}", target.label);
            }
        }
        Ok(())
    }

    /// Runs statements on the cluster only.
    ///
    /// # Errors
    /// When one fails.
    pub fn on_cluster(&self, sql: &str) -> Result<()> {
        execute(self.cluster.target(), sql)
    }
}

/// Runs statements of which none may fail.
///
/// # Errors
/// The first one's that does.
pub fn execute(target: &Target, sql: &str) -> Result<()> {
    let mut client = Client::connect(target, "app")?;
    client.wire().wait_max = LONG_MAX;
    match client.simple(sql)?.error {
        Some(error) => bail!("{}: {sql}: {error}", target.label),
        None => Ok(()),
    }
}
