//! `atoll up`: lays out a local cluster, starts it, and waits until it takes SQL.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use atoll_proto::auth::Token;
use atoll_proto::v1::{AddNodeRequest, BootstrapRequest};
use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};
use tokio_postgres::error::SqlState;

use crate::host::{self, Owner};
use crate::layout::{self, Auth, Cluster, Node, Wanted};
use crate::options::Settings;
use crate::output;
use crate::process::POLL;
use crate::supervise::{self, Journal};
use crate::{down, rpc};

/// An agent may have to run initdb first.
const AGENT_DEADLINE: Duration = Duration::from_secs(60);
const COORDINATOR_DEADLINE: Duration = Duration::from_secs(60);
const SQL_DEADLINE: Duration = Duration::from_secs(30);
/// Lines of a log shown when a start fails.
const LOG_LINES: usize = 15;
/// The first logical databases.
const DATABASES: [&str; 2] = ["app", "postgres"];

#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// Groups of nodes; the first one is home [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub groups: Option<u32>,
    /// Replicas of every group's primary [default: 0]
    #[arg(long, value_name = "N")]
    pub replicas: Option<u32>,
    /// Shards of the default co-location group, in all [default: 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub shards: Option<u32>,
    /// Coordinators; the first one listens on --port, the others on free ports [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    pub coordinators: Option<u32>,
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
    down::stop(&settings.dir, &started.cluster).await?;
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
    if options.replicas.is_some_and(|replicas| replicas > 0) {
        bail!("--replicas above 0 is refused until replication exists");
    }
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
        log_lengths: log_lengths(dir, &cluster),
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

/// Keeps a second `up` out until this one is done.
fn lock(dir: &Path, owner: &Owner) -> anyhow::Result<File> {
    let file = owner.open_log(&dir.join(".up.lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => bail!("another `atoll up` is starting the cluster in {}", dir.display()),
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
        owner.make_dir(&dir.join(&node.name), 0o750)?;
        owner.write_file(&layout::agent_config(dir, &node.name), &cluster.agent_toml(dir, node), 0o640)?;
    }
    // Half of them: PostgreSQL works on the same processors, and fewer threads switch less.
    let workers = (host::processors() / 2).max(1);
    for coordinator in &cluster.coordinators {
        owner.make_dir(&dir.join(&coordinator.name), 0o750)?;
        let text = cluster.coordinator_toml(dir, coordinator, workers);
        owner.write_file(&layout::coordinator_config(dir, &coordinator.name), &text, 0o640)?;
    }
    owner.write_file(&layout::cluster_file(dir), &cluster.to_json(), 0o644)
}

fn read_password(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("password file {}", path.display()))?;
    let password = text.lines().next().unwrap_or_default();
    if password.is_empty() {
        bail!("the first line of the password file {} is empty", path.display());
    }
    Ok(password.to_owned())
}

fn logs(dir: &Path, cluster: &Cluster) -> Vec<PathBuf> {
    let agents = cluster.nodes.iter().map(|node| layout::agent_log(dir, &node.name));
    let coordinators = cluster.coordinators.iter().map(|c| layout::coordinator_log(dir, &c.name));
    agents.chain(coordinators).chain([supervise::log_file(dir)]).collect()
}

fn log_lengths(dir: &Path, cluster: &Cluster) -> HashMap<PathBuf, u64> {
    logs(dir, cluster).into_iter().map(|path| (path.clone(), path.metadata().map_or(0, |file| file.len()))).collect()
}

/// A start under way.
struct Start<'a> {
    dir: &'a Path,
    token: Token,
    /// Where each log stood before, so that only this start's lines are shown.
    log_lengths: HashMap<PathBuf, u64>,
    supervisor: std::process::Child,
    quiet: bool,
}

impl Start<'_> {
    async fn bring_up(&mut self, cluster: &mut Cluster, password: Option<&str>, owner: &Owner) -> anyhow::Result<()> {
        for node in &cluster.nodes {
            self.say(&format!("starting {} ({}, PostgreSQL on port {})", node.name, node.group, node.postgres_port));
        }
        for node in &cluster.nodes {
            self.wait_for_agent(node).await?;
        }
        self.say(&format!("starting {} on port {}", cluster.coordinators[0].name, cluster.port()));
        self.wait_for_coordinator(cluster, 0).await?;
        self.say(if cluster.bootstrapped { "joining the nodes" } else { "creating databases and shards" });
        self.bootstrap(cluster, password).await?;
        if !cluster.bootstrapped {
            cluster.bootstrapped = true;
            owner.write_file(&layout::cluster_file(self.dir), &cluster.to_json(), 0o644)?;
        }
        for number in 1..cluster.coordinators.len() {
            let coordinator = &cluster.coordinators[number];
            self.say(&format!("starting {} on port {}", coordinator.name, coordinator.port));
            self.wait_for_coordinator(cluster, number).await?;
        }
        for coordinator in &cluster.coordinators {
            self.wait_for_sql(&coordinator.name, coordinator.port, cluster.auth, password).await?;
        }
        Ok(())
    }

    async fn wait_for_agent(&mut self, node: &Node) -> anyhow::Result<()> {
        let address = layout::loopback(node.agent_port);
        let deadline = Instant::now() + AGENT_DEADLINE;
        loop {
            self.check_processes()?;
            let seen = match rpc::node_state(&address, &self.token).await {
                Ok(state) if state.role == "primary" && state.state == "running" => return Ok(()),
                Ok(state) => format!("its state is {} {}", state.state, state.reason).trim_end().to_owned(),
                Err(error) => format!("it does not answer: {error:#}"),
            };
            if Instant::now() >= deadline {
                let seconds = AGENT_DEADLINE.as_secs();
                bail!("agent {} is not primary after {seconds} s; {seen}{}", node.name, self.lines_of(&node.name));
            }
            sleep(POLL).await;
        }
    }

    async fn wait_for_coordinator(&mut self, cluster: &Cluster, number: usize) -> anyhow::Result<()> {
        let coordinator = &cluster.coordinators[number];
        let address = layout::loopback(coordinator.port);
        let deadline = Instant::now() + COORDINATOR_DEADLINE;
        loop {
            self.check_processes()?;
            let Err(error) = tokio::net::TcpStream::connect(&address).await else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                let lines = self.lines_of(&coordinator.name);
                bail!("{} does not listen on {address}: {error}{lines}", coordinator.name);
            }
            sleep(POLL).await;
        }
    }

    async fn bootstrap(&mut self, cluster: &Cluster, password: Option<&str>) -> anyhow::Result<()> {
        let coordinator = &cluster.coordinators[0];
        let mut admin = rpc::admin(&layout::loopback(coordinator.port), &self.token)?;
        for node in &cluster.nodes {
            let request = AddNodeRequest {
                name: node.name.clone(),
                group: node.group.clone(),
                zone: node.zone.clone(),
                capacity: node.capacity,
                agent_address: layout::loopback(node.agent_port),
                agent_socket: layout::agent_socket(self.dir, &node.name).to_string_lossy().into_owned(),
            };
            let what = format!("registering {}", node.name);
            let reply = admin.add_node(request);
            self.call(&coordinator.name, &what, reply).await?;
        }
        let request = BootstrapRequest {
            databases: DATABASES.map(str::to_owned).to_vec(),
            shards: cluster.shards,
            superuser_password: password.unwrap_or_default().to_owned(),
        };
        self.call(&coordinator.name, "creating databases and shards", admin.bootstrap(request)).await
    }

    /// Waits for an admin call, and explains its failure.
    async fn call<T>(
        &mut self,
        coordinator: &str,
        what: &str,
        reply: impl Future<Output = Result<T, tonic::Status>>,
    ) -> anyhow::Result<()> {
        match tokio::time::timeout(COORDINATOR_DEADLINE, reply).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => {
                self.check_processes()?;
                let lines = self.lines_of(coordinator);
                bail!("{coordinator} failed at {what}: {:#}{lines}", rpc::plain(status))
            }
            Err(_) => {
                let (seconds, lines) = (COORDINATOR_DEADLINE.as_secs(), self.lines_of(coordinator));
                bail!("{coordinator} was not done with {what} after {seconds} s{lines}")
            }
        }
    }

    async fn wait_for_sql(
        &mut self,
        coordinator: &str,
        port: u16,
        auth: Auth,
        password: Option<&str>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + SQL_DEADLINE;
        loop {
            self.check_processes()?;
            let Err(error) = select_1(port, password).await else {
                return Ok(());
            };
            // Nobody told us the password: that it is asked for shows that the server is there.
            let asked = error.code() == Some(&SqlState::INVALID_PASSWORD);
            if asked && auth == Auth::Scram && password.is_none() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let (seconds, lines) = (SQL_DEADLINE.as_secs(), self.lines_of(coordinator));
                bail!("{coordinator} takes no SQL after {seconds} s: {}{lines}", explain(&error));
            }
            sleep(POLL * 2).await;
        }
    }

    /// # Errors
    /// When the supervisor or one of its processes has ended.
    fn check_processes(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.supervisor.try_wait()? {
            bail!("the supervisor ended: {status}{}", self.lines(&supervise::log_file(self.dir)));
        }
        for entry in Journal::load(self.dir).processes {
            if entry.exits > 0 {
                let lines = self.lines(&entry.log(self.dir));
                bail!("{} {} ended: {}{lines}", entry.kind.as_str(), entry.name, entry.last_exit);
            }
        }
        Ok(())
    }

    fn lines_of(&self, name: &str) -> String {
        Journal::load(self.dir).entry(name).map_or_else(String::new, |entry| self.lines(&entry.log(self.dir)))
    }

    /// The last lines of a log, as the end of an error message.
    fn lines(&self, log: &Path) -> String {
        let from = self.log_lengths.get(log).copied().unwrap_or(0);
        let lines = host::tail(log, from, LOG_LINES);
        if lines.is_empty() {
            return format!("\n(nothing in {})", log.display());
        }
        format!("\nlast lines of {}:\n    {}", log.display(), lines.join("\n    "))
    }

    async fn stop_supervisor(&mut self) {
        let process = crate::process::Identity::of(self.supervisor.id());
        if let Some(process) = process.filter(|_| supervise::running(self.dir).is_none()) {
            process.signal(nix::sys::signal::Signal::SIGTERM);
        }
        // Its remains would count as running.
        let reap = async {
            while self.supervisor.try_wait().is_ok_and(|status| status.is_none())
                && supervise::running(self.dir).is_none()
            {
                sleep(POLL).await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(5), reap).await;
    }

    fn say(&self, text: &str) {
        if !self.quiet {
            output::say(text);
        }
    }
}

async fn select_1(port: u16, password: Option<&str>) -> Result<(), tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user("postgres").dbname("app").application_name("atoll up");
    config.connect_timeout(Duration::from_secs(5));
    config.password(password.unwrap_or("unknown"));
    let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    let outcome = client.simple_query("SELECT 1").await.map(drop);
    connection.abort();
    outcome
}

/// tokio-postgres keeps the server's message in the source.
pub fn explain(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => {
            std::error::Error::source(error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
        }
    }
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
