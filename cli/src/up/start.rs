//! A start under way: waits for each process in turn, and says which one failed and why.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use atoll_proto::auth::Token;
use atoll_proto::v1::{AddNodeRequest, BootstrapRequest, NodeState};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::error::SqlState;

use crate::host::{self, Owner};
use crate::layout::{self, Auth, Cluster, Node};
use crate::output;
use crate::process::POLL;
use crate::rpc;
use crate::supervise::{self, Journal};
use crate::survival;

/// An agent may have to run initdb first, or to wait for a lease to run out.
const PRIMARY_DEADLINE: Duration = Duration::from_secs(60);
/// Replicas copy their group's data first.
const REPLICA_DEADLINE: Duration = Duration::from_secs(120);
const COORDINATOR_DEADLINE: Duration = Duration::from_secs(60);
const SQL_DEADLINE: Duration = Duration::from_secs(30);
/// How often a long wait says what it waits for.
const SAY_EVERY: Duration = Duration::from_secs(5);
/// Lines of a log shown when a start fails.
const LOG_LINES: usize = 15;
/// The first logical databases.
const DATABASES: [&str; 2] = ["app", "postgres"];

/// Where each log stood before, so that only the lines written since are shown.
pub struct Logs(HashMap<PathBuf, u64>);

impl Logs {
    /// As they are now.
    pub fn now(dir: &Path, cluster: &Cluster) -> Self {
        let agents = cluster.nodes.iter().map(|node| layout::agent_log(dir, &node.name));
        let coordinators = cluster.coordinators.iter().map(|c| layout::coordinator_log(dir, &c.name));
        let all = agents.chain(coordinators).chain([supervise::log_file(dir)]);
        let length = |path: &Path| path.metadata().map_or(0, |file| file.len());
        Self(all.map(|path| (path.clone(), length(&path))).collect())
    }

    /// The last lines of a log, as the end of an error message.
    pub fn lines(&self, log: &Path) -> String {
        let from = self.0.get(log).copied().unwrap_or(0);
        let lines = host::tail(log, from, LOG_LINES);
        if lines.is_empty() {
            return format!("\n(nothing in {})", log.display());
        }
        format!("\nlast lines of {}:\n    {}", log.display(), lines.join("\n    "))
    }
}

pub struct Start<'a> {
    pub dir: &'a Path,
    pub token: Token,
    pub logs: Logs,
    pub supervisor: std::process::Child,
    pub quiet: bool,
}

impl Start<'_> {
    /// Waits for all processes of the cluster, and makes its databases when they are not there yet.
    ///
    /// # Errors
    /// Which process failed, why, and the last lines of its log.
    pub async fn bring_up(
        &mut self,
        cluster: &mut Cluster,
        password: Option<&str>,
        owner: &Owner,
    ) -> anyhow::Result<()> {
        for node in &cluster.nodes {
            self.say(&format!("starting {} ({}, PostgreSQL on port {})", node.name, node.group, node.postgres_port));
        }
        self.say(&format!("starting {} on port {}", cluster.coordinators[0].name, cluster.port()));
        for group in cluster.group_names() {
            self.wait_for_primary(cluster, group).await?;
        }
        self.wait_for_coordinator(cluster, 0).await?;
        self.say(if cluster.bootstrapped { "joining the nodes" } else { "creating databases and shards" });
        let founders: Vec<_> = cluster.nodes.iter().filter(|node| node.bootstrap && !cluster.bootstrapped).collect();
        self.register(cluster, &founders).await?;
        self.bootstrap(cluster, password).await?;
        let is_new = !cluster.bootstrapped;
        if is_new {
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
        let (ready, late) = self.wait_for_members(cluster).await?;
        self.register(cluster, &ready.iter().map(|(node, _)| *node).collect::<Vec<_>>()).await?;
        self.wait_for_survival(cluster, &ready).await;
        if late.is_empty() {
            return Ok(());
        }
        let seconds = REPLICA_DEADLINE.as_secs();
        let told: Vec<_> = late.iter().map(|(node, why)| format!("{} ({why})", node.name)).collect();
        let (told, lines) = (told.join(", "), self.lines_of(&late[0].0.name));
        if is_new {
            bail!("not streaming after {seconds} s: {told}{lines}");
        }
        // An old cluster serves without them, and may need hours to copy its data.
        output::say(format_args!(
            "warning: not streaming after {seconds} s: {told}; `atoll status` shows when they do{lines}"
        ));
        Ok(())
    }

    /// What the nodes' agents say, or why they say nothing.
    async fn states(&self, nodes: &[&Node]) -> Vec<Result<NodeState, String>> {
        let ask = async |node: &&Node| {
            let state = rpc::node_state(&layout::loopback(node.agent_port), &self.token).await;
            state.map_err(|error| format!("its agent does not answer: {error:#}"))
        };
        join_all(nodes.iter().map(ask)).await
    }

    async fn wait_for_primary(&mut self, cluster: &Cluster, group: &str) -> anyhow::Result<()> {
        let nodes: Vec<_> = cluster.nodes_of(group).collect();
        let start = Instant::now();
        let mut said = start;
        loop {
            self.check_processes()?;
            let states = self.states(&nodes).await;
            let serves = |state: &NodeState| state.role == "primary" && state.state == "running";
            if states.iter().flatten().any(serves) {
                return Ok(());
            }
            let told: Vec<_> =
                nodes.iter().zip(&states).map(|(node, seen)| format!("{}: {}", node.name, shown(seen))).collect();
            if start.elapsed() >= PRIMARY_DEADLINE {
                let (seconds, lines) = (PRIMARY_DEADLINE.as_secs(), self.lines_of(&nodes[0].name));
                bail!("group {group} has no primary after {seconds} s; {}{lines}", told.join("; "));
            }
            if said.elapsed() >= SAY_EVERY {
                said = Instant::now();
                self.say(&format!("waiting for a primary of {group}; {}", told.join("; ")));
            }
            sleep(POLL).await;
        }
    }

    /// Waits until every node is primary or streams. Returns those that do, with their roles, and those that did not in time, with why.
    async fn wait_for_members<'c>(
        &mut self,
        cluster: &'c Cluster,
    ) -> anyhow::Result<(Vec<(&'c Node, String)>, Vec<(&'c Node, String)>)> {
        let mut ready = Vec::new();
        let mut waiting: Vec<&Node> = cluster.nodes.iter().collect();
        let start = Instant::now();
        let mut said = start;
        loop {
            self.check_processes()?;
            let states = self.states(&waiting).await;
            let mut late = Vec::new();
            for (node, seen) in waiting.iter().copied().zip(states) {
                match seen {
                    Ok(state) if state.role == "primary" => ready.push((node, state.role)),
                    Ok(state) if state.role == "replica" => {
                        self.say(&format!("{} streams", node.name));
                        ready.push((node, state.role));
                    }
                    seen => late.push((node, shown(&seen))),
                }
            }
            if late.is_empty() || start.elapsed() >= REPLICA_DEADLINE {
                return Ok((ready, late));
            }
            if said.elapsed() >= SAY_EVERY {
                said = Instant::now();
                for (node, why) in &late {
                    self.say(&format!("waiting for {}: {why}", node.name));
                }
            }
            waiting = late.into_iter().map(|(node, _)| node).collect();
            sleep(POLL * 2).await;
        }
    }

    /// Waits until the groups count on their replicas.
    async fn wait_for_survival(&self, cluster: &Cluster, ready: &[(&Node, String)]) {
        for group in cluster.group_names() {
            let replicas = ready.iter().filter(|(node, role)| node.group == group && role == "replica");
            let replicas: Vec<_> = replicas.map(|(node, _)| node.name.as_str()).collect();
            let agents: Vec<_> = cluster.nodes_of(group).map(|node| layout::loopback(node.agent_port)).collect();
            if !replicas.is_empty() && !survival::wait(&agents, &replicas, &self.token).await {
                output::say(format_args!(
                    "warning: {group} does not count on {} yet; see `atoll group history {group}`",
                    replicas.join(", ")
                ));
            }
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

    /// Enters nodes into the directory, from where coordinators know whom to ask first.
    async fn register(&mut self, cluster: &Cluster, nodes: &[&Node]) -> anyhow::Result<()> {
        let coordinator = &cluster.coordinators[0];
        let mut admin = rpc::admin(&layout::loopback(coordinator.port), &self.token)?;
        for node in nodes {
            let what = format!("registering {}", node.name);
            let request = registration(self.dir, node);
            self.call(&coordinator.name, &what, async || admin.add_node(request.clone()).await).await?;
        }
        Ok(())
    }

    async fn bootstrap(&mut self, cluster: &Cluster, password: Option<&str>) -> anyhow::Result<()> {
        let coordinator = &cluster.coordinators[0];
        let mut admin = rpc::admin(&layout::loopback(coordinator.port), &self.token)?;
        let request = BootstrapRequest {
            databases: DATABASES.map(str::to_owned).to_vec(),
            shards: cluster.shards,
            superuser_password: password.unwrap_or_default().to_owned(),
        };
        let what = "creating databases and shards";
        self.call(&coordinator.name, what, async || admin.bootstrap(request.clone()).await).await
    }

    /// Makes an admin call, again and again while the coordinator does not reach whom it needs, and explains its failure.
    async fn call<T>(
        &mut self,
        coordinator: &str,
        what: &str,
        mut call: impl AsyncFnMut() -> Result<T, tonic::Status>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + COORDINATOR_DEADLINE;
        loop {
            match timeout_at(deadline, call()).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(status)) => {
                    self.check_processes()?;
                    if status.code() == tonic::Code::Unavailable && Instant::now() < deadline {
                        sleep(POLL * 4).await;
                        continue;
                    }
                    let lines = self.lines_of(coordinator);
                    bail!("{coordinator} failed at {what}: {:#}{lines}", rpc::plain(status))
                }
                Err(_) => {
                    let (seconds, lines) = (COORDINATOR_DEADLINE.as_secs(), self.lines_of(coordinator));
                    bail!("{coordinator} was not done with {what} after {seconds} s{lines}")
                }
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
            bail!("the supervisor ended: {status}{}", self.logs.lines(&supervise::log_file(self.dir)));
        }
        for entry in Journal::load(self.dir).processes {
            if entry.exits > 0 {
                let lines = self.logs.lines(&entry.log(self.dir));
                bail!("{} {} ended: {}{lines}", entry.kind.as_str(), entry.name, entry.last_exit);
            }
        }
        Ok(())
    }

    fn lines_of(&self, name: &str) -> String {
        Journal::load(self.dir).entry(name).map_or_else(String::new, |entry| self.logs.lines(&entry.log(self.dir)))
    }

    /// Ends a supervisor that may not have come as far as taking its lock.
    pub async fn stop_supervisor(&mut self) {
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

/// What a node is entered into the directory with.
pub fn registration(dir: &Path, node: &Node) -> AddNodeRequest {
    AddNodeRequest {
        name: node.name.clone(),
        group: node.group.clone(),
        zone: node.zone.clone(),
        capacity: node.capacity,
        agent_address: layout::loopback(node.agent_port),
        agent_socket: layout::agent_socket(dir, &node.name).to_string_lossy().into_owned(),
    }
}

/// A node's state as a person wants to read it.
fn shown(seen: &Result<NodeState, String>) -> String {
    match seen {
        Ok(state) if state.reason.is_empty() => state.state.clone(),
        Ok(state) => format!("{}: {}", state.state, state.reason),
        Err(why) => why.clone(),
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
