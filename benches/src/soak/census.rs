//! What the cluster's processes and nodes hold.

use std::fs;

use anyhow::{Context, Result};
use atoll_tests::Target;
use atoll_tests::client::Client;
use atoll_tests::cluster::Cluster;
use serde_json::Value;

/// Coordinators, agents and nodes as they were at the beginning.
#[derive(Debug)]
pub struct Census {
    processes: Vec<(String, u32)>,
    nodes: Vec<(String, Target)>,
}

/// Backends that work for a client or hold its transaction open, whatever the tool that asks does itself.
const BUSY: &str =
    "SELECT count(*), coalesce(string_agg(DISTINCT state || ': ' || left(query, 60), '; '), '') FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND datname IN ('app', 'app_data')
    AND (state = 'active' OR state LIKE 'idle in transaction%')";
const PREPARED: &str = "SELECT count(*) FROM pg_prepared_xacts";
const ADVISORY: &str = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE locktype = 'advisory' AND datname IN ('app', 'app_data')";
const BACKENDS: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname IN ('app', 'app_data')";

impl Census {
    /// Takes down the processes and nodes of a cluster.
    ///
    /// # Errors
    /// When its status cannot be read.
    pub fn new(cluster: &Cluster) -> Result<Census> {
        Ok(Census { processes: processes(&cluster.status()?)?, nodes: cluster.nodes()? })
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.processes.iter().map(|(name, _)| name.as_str())
    }

    /// Resident memory of each process, in bytes, in the order of [`Census::names`].
    ///
    /// # Errors
    /// When one of them is gone.
    pub fn resident_bytes(&self) -> Result<Vec<u64>> {
        self.processes
            .iter()
            .map(|(name, pid)| {
                let status =
                    fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("{name} is gone"))?;
                let line = status
                    .lines()
                    .find_map(|line| line.strip_prefix("VmRSS:"))
                    .with_context(|| format!("{name} has no memory"))?;
                let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
                Ok(kilobytes * 1024)
            })
            .collect()
    }

    /// What is on the nodes although no client is connected; one line each.
    ///
    /// # Errors
    /// When a node cannot be asked.
    pub fn left_behind(&self) -> Result<Vec<String>> {
        let mut left = Vec::new();
        for (name, target) in &self.nodes {
            let mut client = Client::connect(target, "postgres")?;
            let busy = client.simple(BUSY)?.text_rows();
            let field = |at: usize| busy.first().and_then(|row| row.get(at).cloned().flatten()).unwrap_or_default();
            if field(0) != "0" {
                left.push(format!("{name}: {} backends are busy: {}", field(0), field(1)));
            }
            for (what, sql) in [("prepared transactions", PREPARED), ("advisory locks", ADVISORY)] {
                let count = client.simple(sql)?.value()?;
                if count != "0" {
                    left.push(format!("{name}: {count} {what}"));
                }
            }
        }
        Ok(left)
    }

    /// Idle backends that the pools keep, per node, for people.
    ///
    /// # Errors
    /// When a node cannot be asked.
    pub fn backends(&self) -> Result<String> {
        let mut parts = Vec::new();
        for (name, target) in &self.nodes {
            parts.push(format!("{name} {}", Client::connect(target, "postgres")?.simple(BACKENDS)?.value()?));
        }
        Ok(parts.join(", "))
    }

    /// Processes that are not the ones of the beginning any more.
    ///
    /// # Errors
    /// When the status cannot be read.
    pub fn restarted(&self, cluster: &Cluster) -> Result<Vec<String>> {
        let now = processes(&cluster.status()?)?;
        let gone = self.processes.iter().filter(|process| !now.contains(process));
        Ok(gone.map(|(name, pid)| format!("{name} (process {pid}) ended during the soak")).collect())
    }
}

fn processes(status: &Value) -> Result<Vec<(String, u32)>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let process = |name: &Value, pid: &Value, what: &str| -> Result<(String, u32)> {
        let name = name.as_str().context("a process without a name")?;
        let pid = pid.as_u64().with_context(|| format!("{what} {name} has no pid"))?;
        Ok((format!("{what} {name}"), u32::try_from(pid)?))
    };
    let mut processes = Vec::new();
    for coordinator in list(&status["coordinators"]) {
        processes.push(process(&coordinator["name"], &coordinator["pid"], "coordinator")?);
    }
    for group in list(&status["groups"]) {
        for node in list(&group["nodes"]) {
            processes.push(process(&node["name"], &node["agent"]["pid"], "agent")?);
        }
    }
    Ok(processes)
}
