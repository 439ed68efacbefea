//! `atoll down`: stops a local cluster, also one whose supervisor is dead.

use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use nix::sys::signal::Signal;

use crate::layout::{self, Cluster};
use crate::options::Settings;
use crate::output;
use crate::process::{self, Identity};
use crate::supervise::{self, AGENT_GRACE, DRAIN, Journal, Kind};

/// # Errors
/// When there is no cluster in the folder, or it could not be stopped.
pub async fn run(settings: &Settings) -> anyhow::Result<()> {
    let cluster = Cluster::load(&settings.dir)?;
    let was_running = stop(&settings.dir, &cluster).await?;
    if settings.json {
        let dir = &settings.dir;
        output::show(serde_json::json!({ "dir": dir, "was_running": was_running, "state": "stopped" }));
    } else if was_running {
        output::show("stopped");
    } else {
        output::show(format_args!("{} is not running", settings.dir.display()));
    }
    Ok(())
}

/// Stops everything of the cluster in `dir`, coordinators first. True when something was running.
///
/// # Errors
/// When the processes belong to somebody else.
pub async fn stop(dir: &Path, cluster: &Cluster) -> anyhow::Result<bool> {
    let mut was_running = false;
    if let Some(supervisor) = supervise::running(dir) {
        was_running = true;
        supervisor.signal(Signal::SIGTERM);
        // Its own limits add up to less.
        if !process::all_gone(&[supervisor], DRAIN + AGENT_GRACE + Duration::from_secs(30)).await {
            process::stop(&[supervisor], Signal::SIGKILL, Duration::from_secs(5)).await;
        }
        if supervisor.is_alive() {
            bail!("the supervisor (pid {}) cannot be stopped; it belongs to another user", supervisor.pid);
        }
        process::forgotten(&[supervisor]).await;
    }
    Ok(stop_orphans(dir, cluster).await? || was_running)
}

/// Stops what a dead supervisor left. True when there was something.
///
/// # Errors
/// When the processes belong to somebody else.
pub async fn stop_orphans(dir: &Path, cluster: &Cluster) -> anyhow::Result<bool> {
    let journal = Journal::load(dir);
    let alive = |kind: Kind| -> Vec<Identity> {
        journal.processes.iter().filter(|entry| entry.kind == kind).filter_map(|entry| entry.alive(dir)).collect()
    };
    let (coordinators, agents) = (alive(Kind::Coordinator), alive(Kind::Agent));
    // Without the arbiter no agent takes over from another, so clients may have their time first.
    process::stop(&coordinators, Signal::SIGTERM, DRAIN).await;
    process::stop(&agents, Signal::SIGTERM, AGENT_GRACE).await;
    let mut found = !coordinators.is_empty() || !agents.is_empty();
    for node in &cluster.nodes {
        let data_dir = layout::data_dir(dir, &node.name);
        found |= process::postmaster(&data_dir).is_some();
        process::stop_postmaster(&data_dir).await;
    }
    if let Some(process) = coordinators.iter().chain(&agents).find(|process| process.is_alive()) {
        bail!("process {} cannot be stopped; it belongs to another user", process.pid);
    }
    supervise::forget(dir);
    Ok(found)
}
