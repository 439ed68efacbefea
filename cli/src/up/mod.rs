//! `atoll up`: lays out a local cluster, starts it, and waits until it takes SQL.

mod start;

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use crate::host::{self, Owner};
use crate::layout::{self, Auth, Cluster, LeaseStore, Node, Wanted};
use crate::options::Settings;
use crate::output;
use crate::process::POLL;
use crate::supervise::{self, Journal};
use crate::{down, rpc};

use self::start::Start;
pub use self::start::{Logs, explain, registration};

#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// Groups of nodes; the first one is home [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub groups: Option<u32>,
    /// Replicas of every group's primary [default: 0]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=15))]
    pub replicas: Option<u32>,
    /// Shards of the default co-location group, in all [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub shards: Option<u32>,
    /// Coordinators; the first one listens on --port, the others on free ports [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    pub coordinators: Option<u32>,
    /// Zones that every group's nodes are put into in turn [default: local]
    #[arg(long, value_name = "ZONE,...", value_delimiter = ',', value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub zones: Option<Vec<String>>,
    /// Where it is decided which node leads its group [default: arbiter, in the first coordinator]
    #[arg(long, value_enum)]
    pub lease_store: Option<LeaseStore>,
    /// Members of an etcd cluster, for --lease-store etcd
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
    pub etcd: Option<Vec<String>>,
    /// Return once SQL is accepted, leaving the cluster running
    #[arg(long)]
    pub detach: bool,
    /// How clients prove who they are [default: trust]
    #[arg(long, value_enum)]
    pub auth: Option<Auth>,
    /// File with the password of the superuser `postgres`
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Folder of PostgreSQL's server programs
    #[arg(long, value_name = "DIR")]
    pub pg_bindir: Option<PathBuf>,
}

/// # Errors
/// When the cluster cannot be started; what was started is stopped again.
pub async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let (sigint, sigterm, sighup) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let mut signals = Signals { sigint, sigterm, sighup };
    let started = tokio::select! {
        started = start(settings, options) => started?,
        () = signals.next() => {
            output::say("interrupted; stopping");
            if let Ok(cluster) = Cluster::load(&settings.dir) {
                down::stop(&settings.dir, &cluster).await?;
            }
            bail!("interrupted before the cluster was ready");
        }
    };
    report(settings, &started);
    if options.detach || started.was_running {
        return Ok(());
    }
    tokio::select! {
        () = signals.next() => output::say("stopping"),
        () = supervisor_gone(&settings.dir) => {}
    }
    let stopped_elsewhere =
        supervise::running(&settings.dir).is_none() && Journal::load(&settings.dir).processes.is_empty();
    // Nodes may have come and gone.
    down::stop(&settings.dir, &Cluster::load(&settings.dir)?).await?;
    if stopped_elsewhere {
        output::say("the cluster was stopped");
    }
    Ok(())
}

struct Signals {
    sigint: Signal,
    sigterm: Signal,
    sighup: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.sigint.recv() => {}
            _ = self.sigterm.recv() => {}
            _ = self.sighup.recv() => {}
        }
    }
}

async fn supervisor_gone(dir: &Path) {
    while supervise::running(dir).is_some() {
        sleep(POLL * 10).await;
    }
}

/// A cluster that takes SQL.
pub struct Started {
    pub cluster: Cluster,
    /// It was running before; nothing was done.
    pub was_running: bool,
    /// Made by us, to be shown once.
    pub generated_password: Option<String>,
}

fn report(settings: &Settings, started: &Started) {
    let port = started.cluster.port();
    if settings.json {
        let json = serde_json::json!({
            "dir": settings.dir,
            "host": "127.0.0.1",
            "port": port,
            "state": if started.was_running { "already running" } else { "ready" },
            "generated_password": started.generated_password,
        });
        output::show(json);
        return;
    }
    if started.was_running {
        output::show(format_args!("{} is already running", settings.dir.display()));
    } else {
        output::show("ready");
    }
    if let Some(password) = &started.generated_password {
        output::show(format_args!("password of postgres (shown this once): {password}"));
    }
    output::show(format_args!("    psql -h 127.0.0.1 -p {port} -U postgres app"));
}

/// Starts the cluster in the settings' folder, creating it first if need be.
///
/// # Errors
/// Says which process failed and why; what was started is stopped again.
pub async fn start(settings: &Settings, options: &Options) -> anyhow::Result<Started> {
    if settings.host.as_deref().is_some_and(|host| host != "127.0.0.1" && host != "localhost") {
        bail!("`up` starts clusters on this machine only; leave --host out");
    }
    let dir = settings.dir.as_path();
    let owner = Owner::of_cluster()?;
    owner.check_can_reach(dir)?;
    let known = layout::cluster_file(dir).exists();
    if !known {
        check_unused(dir)?;
    }
    let wanted = Wanted {
        groups: options.groups,
        replicas: options.replicas,
        shards: options.shards,
        coordinators: options.coordinators,
        port: settings.port,
        auth: options.auth,
        pg_bindir: options.pg_bindir.as_deref().map(std::path::absolute).transpose()?,
        zones: options.zones.clone(),
        lease_store: options.lease_store,
        etcd: options.etcd.clone(),
    };
    let mut cluster = if known {
        Cluster::load(dir)?
    } else {
        let bindir = host::find_postgres(wanted.pg_bindir.as_deref())?;
        let capacity = f64::from(host::processors());
        Cluster::plan(&wanted, bindir, &owner.run_as, capacity, host::free_ports())?
    };
    if cluster.run_as != owner.run_as {
        bail!("{} was created by another user; start it as that user", dir.display());
    }
    cluster.check_socket_paths(dir)?;
    let password = options.password_file.as_deref().map(read_password).transpose()?;

    host::make_parents(dir)?;
    owner.make_dir(dir, 0o755)?;
    let _lock = lock(dir, &owner)?;
    if supervise::running(dir).is_some() {
        let port = cluster.port();
        cluster.adopt(&wanted)?;
        if cluster.port() != port {
            bail!("the cluster is running on port {port}; stop it with `atoll down` to change the port");
        }
        return Ok(Started { cluster, was_running: true, generated_password: None });
    }
    if known {
        cluster.adopt(&wanted)?;
        down::stop_orphans(dir, &cluster).await?;
    }
    supervise::forget(dir);
    check_ports(&cluster)?;
    write_files(dir, &cluster, &owner)?;

    let first_password = match &password {
        Some(password) => Some(password.clone()),
        None if cluster.auth == Auth::Scram && !cluster.bootstrapped => Some(host::random_secret()[..32].to_owned()),
        None => None,
    };
    let mut start = Start {
        dir,
        token: rpc::read_token(&layout::token_file(dir))?,
        logs: Logs::now(dir, &cluster),
        supervisor: supervise::spawn(dir, &owner)?,
        quiet: settings.json,
    };
    match start.bring_up(&mut cluster, first_password.as_deref(), &owner).await {
        Ok(()) => Ok(Started {
            cluster,
            was_running: false,
            generated_password: if password.is_none() { first_password } else { None },
        }),
        Err(error) => {
            // Waits for the lock: the supervisor may not have come as far as taking it.
            start.stop_supervisor().await;
            down::stop(dir, &cluster).await.context("stopping what was started")?;
            Err(error)
        }
    }
}

/// Refuses a folder that holds something else.
fn check_unused(dir: &Path) -> anyhow::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("folder {}", dir.display())),
    };
    for entry in entries {
        let name = entry?.file_name();
        // What a start that failed early leaves, and markers of those who drive us.
        if !name.as_encoded_bytes().starts_with(b".") && name != "lost+found" && name != "token" {
            bail!("{} is not empty and holds no cluster (found `{}`)", dir.display(), name.display());
        }
    }
    Ok(())
}

/// Keeps others out who would start processes or change `cluster.json`, for as long as the file is open.
///
/// # Errors
/// When somebody else is at it.
pub fn lock(dir: &Path, owner: &Owner) -> anyhow::Result<File> {
    let file = owner.open_log(&dir.join(".up.lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => bail!("another `atoll` is starting or changing the cluster in {}", dir.display()),
    }
}

fn check_ports(cluster: &Cluster) -> anyhow::Result<()> {
    for (port, purpose) in cluster.ports() {
        if !host::is_free(port) {
            if port == cluster.port() {
                bail!("port {port} is in use by another program; choose another one with --port");
            }
            bail!("port {port} (for {purpose}, recorded in cluster.json) is in use by another program");
        }
    }
    Ok(())
}

fn write_files(dir: &Path, cluster: &Cluster, owner: &Owner) -> anyhow::Result<()> {
    let token = layout::token_file(dir);
    if !token.exists() {
        owner.write_file(&token, &(host::random_secret() + "\n"), 0o600)?;
    }
    for node in &cluster.nodes {
        write_agent(dir, cluster, node, owner)?;
    }
    // Half of them: PostgreSQL works on the same processors, and fewer threads switch less.
    let workers = (host::processors() / 2).max(1);
    for coordinator in &cluster.coordinators {
        owner.make_dir(&dir.join(&coordinator.name), 0o750)?;
        release(dir, &coordinator.name);
        let text = cluster.coordinator_toml(dir, coordinator, workers);
        owner.write_file(&layout::coordinator_config(dir, &coordinator.name), &text, 0o640)?;
    }
    owner.write_file(&layout::cluster_file(dir), &cluster.to_json(), 0o644)
}

/// Writes what the agent of a node needs, so that it can be started.
///
/// # Errors
/// When the system refuses.
pub fn write_agent(dir: &Path, cluster: &Cluster, node: &Node, owner: &Owner) -> anyhow::Result<()> {
    owner.make_dir(&dir.join(&node.name), 0o750)?;
    release(dir, &node.name);
    owner.write_file(&layout::agent_config(dir, &node.name), &cluster.agent_toml(dir, node), 0o640)
}

/// A start is a start, also of what was held back before.
fn release(dir: &Path, name: &str) {
    let _ = std::fs::remove_file(layout::hold_file(dir, name));
}

fn read_password(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("password file {}", path.display()))?;
    let password = text.lines().next().unwrap_or_default();
    if password.is_empty() {
        bail!("the first line of the password file {} is empty", path.display());
    }
    Ok(password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_something_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        check_unused(&dir.path().join("new")).unwrap();
        std::fs::write(dir.path().join(".marker"), "").unwrap();
        check_unused(dir.path()).unwrap();
        std::fs::write(dir.path().join("thesis.tex"), "").unwrap();
        assert!(check_unused(dir.path()).unwrap_err().to_string().contains("thesis.tex"));
    }

    #[test]
    fn a_password_is_the_file_s_first_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "s3cret\n").unwrap();
        assert_eq!(read_password(&file).unwrap(), "s3cret");
        std::fs::write(&file, "\n").unwrap();
        assert!(read_password(&file).is_err());
    }
}
