//! What the cluster's processes and nodes hold.

use anyhow::Result;
use atoll_tests::Target;
use atoll_tests::client::Client;
use atoll_tests::cluster::Cluster;

use crate::processes::Processes;

/// Coordinators, agents and nodes as they were at the beginning.
#[derive(Debug)]
pub struct Census {
    processes: Processes,
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
        Ok(Census { processes: Processes::of(cluster)?, nodes: cluster.nodes()? })
    }

    #[must_use]
    pub fn processes(&self) -> &Processes {
        &self.processes
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
}
