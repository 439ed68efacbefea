//! `atoll status`: coordinators, groups, nodes and shards, as a coordinator knows them or, when none answers, as far
//! as the folder of a local cluster and its agents tell.

use std::path::Path;

use anyhow::{Context, bail};
use atoll_proto::auth::Token;
use atoll_proto::v1::{NodeState, StatusReply};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::layout::{self, Cluster, DEFAULT_PORT};
use crate::options::Settings;
use crate::output;
use crate::process;
use crate::rpc;
use crate::supervise::{self, Journal};

/// What `--json` prints; a contract.
#[derive(Debug, PartialEq, Serialize)]
pub struct Status {
    pub coordinators: Vec<Coordinator>,
    pub groups: Vec<Group>,
    pub shards: Vec<Shard>,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct Coordinator {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub pid: Option<u32>,
    pub state: String,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct Group {
    pub name: String,
    pub home: bool,
    pub epoch: u64,
    pub nodes: Vec<Node>,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct Node {
    pub name: String,
    pub role: String,
    pub state: String,
    /// Why the state is not `running`; only for people.
    #[serde(skip)]
    pub reason: String,
    pub zone: String,
    pub capacity: f64,
    pub host: String,
    pub port: u16,
    pub data_dir: String,
    pub pid: Option<u32>,
    pub agent: Agent,
    pub lag_bytes: u64,
    pub load: f64,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct Agent {
    pub address: String,
    pub pid: Option<u32>,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct Shard {
    pub id: u32,
    pub group: String,
    pub epoch: u64,
    pub bytes: u64,
    pub state: String,
}

/// # Errors
/// When there is no cluster in the folder, or the coordinator that was named does not answer.
pub async fn run(settings: &Settings) -> anyhow::Result<()> {
    let status = if settings.names_a_coordinator() && !is_local(settings) {
        let (host, port) = (settings.host.as_deref().unwrap_or("127.0.0.1"), settings.port.unwrap_or(DEFAULT_PORT));
        let address = format!("{host}:{port}");
        let token = token(settings)?;
        let reply = rpc::cluster_status(&address, &token).await.with_context(|| format!("coordinator {address}"))?;
        Status::of_reply(reply)
    } else {
        of_folder(&settings.dir, token(settings).ok().as_ref()).await?
    };
    if settings.json {
        output::show(serde_json::to_string_pretty(&status)?);
    } else {
        output::show(status);
    }
    Ok(())
}

/// Whether the coordinator named by --port is one of the folder's own, so that the folder can add what it knows.
fn is_local(settings: &Settings) -> bool {
    let loopback = settings.host.as_deref().is_none_or(|host| host == "127.0.0.1" || host == "localhost");
    loopback
        && Cluster::load(&settings.dir)
            .is_ok_and(|cluster| cluster.coordinators.iter().any(|c| Some(c.port) == settings.port))
}

fn token(settings: &Settings) -> anyhow::Result<Token> {
    let path = settings.token_file.clone().unwrap_or_else(|| layout::token_file(&settings.dir));
    rpc::read_token(&path)
}

async fn of_folder(dir: &Path, token: Option<&Token>) -> anyhow::Result<Status> {
    let cluster = Cluster::load(dir)?;
    let journal = Journal::load(dir);
    let mut status = Status::of_layout(dir, &cluster);
    let pid = |name: &str| journal.entry(name).and_then(|entry| entry.alive(dir)).map(|process| process.pid);
    let supervised = supervise::running(dir).is_some();
    if !supervised && !journal.processes.iter().any(|entry| entry.alive(dir).is_some()) {
        return Ok(status);
    }
    let Some(token) = token else {
        bail!("the token {} cannot be read", layout::token_file(dir).display());
    };
    let not_running = if supervised { "restarting" } else { "stopped" };

    let mut reply = None;
    for coordinator in &mut status.coordinators {
        coordinator.pid = pid(&coordinator.name);
        coordinator.state = not_running.to_owned();
        if coordinator.pid.is_some() {
            match rpc::cluster_status(&layout::loopback(coordinator.port), token).await {
                Ok(answer) => {
                    coordinator.state = "running".to_owned();
                    reply = reply.or(Some(answer));
                }
                Err(_) => coordinator.state = "unreachable".to_owned(),
            }
        }
    }
    match reply.filter(|reply| !reply.groups.is_empty()) {
        Some(reply) => {
            let told = Status::of_reply(reply);
            status.groups = told.groups;
            status.shards = told.shards;
        }
        None => {
            for node in status.groups.iter_mut().flat_map(|group| &mut group.nodes) {
                match rpc::node_state(&node.agent.address, token).await {
                    Ok(state) => *node = Node::of_state(state, node.agent.address.clone()),
                    Err(error) => {
                        node.state = "unreachable".to_owned();
                        node.reason = format!("{error:#}");
                    }
                }
            }
        }
    }
    // An agent that does not answer says nothing of its processes; the folder does.
    for node in status.groups.iter_mut().flat_map(|group| &mut group.nodes) {
        let Some(known) = cluster.nodes.iter().find(|known| known.name == node.name) else { continue };
        node.agent.pid = pid(&node.name).or(node.agent.pid.filter(|_| node.state != "unreachable"));
        if node.state == "unreachable" {
            let planned = Node::of_layout(dir, known);
            node.host = planned.host;
            node.port = planned.port;
            node.zone = planned.zone;
            node.capacity = planned.capacity;
            node.data_dir = planned.data_dir;
            node.pid = process::postmaster(&layout::data_dir(dir, &node.name)).map(|process| process.pid);
            if node.agent.pid.is_none() {
                node.state = not_running.to_owned();
            }
        }
    }
    Ok(status)
}

impl Status {
    /// A cluster that is not running.
    fn of_layout(dir: &Path, cluster: &Cluster) -> Self {
        let coordinators = cluster.coordinators.iter().map(|coordinator| Coordinator {
            name: coordinator.name.clone(),
            host: "127.0.0.1".to_owned(),
            port: coordinator.port,
            pid: None,
            state: "stopped".to_owned(),
        });
        let mut groups: Vec<Group> = Vec::new();
        for node in &cluster.nodes {
            let shown = Node::of_layout(dir, node);
            match groups.iter_mut().find(|group| group.name == node.group) {
                Some(group) => group.nodes.push(shown),
                None => groups.push(Group {
                    name: node.group.clone(),
                    home: node.group == cluster.home().group,
                    epoch: 1,
                    nodes: vec![shown],
                }),
            }
        }
        Self { coordinators: coordinators.collect(), groups, shards: Vec::new() }
    }

    fn of_reply(reply: StatusReply) -> Self {
        let coordinators = reply.coordinators.into_iter().map(|coordinator| Coordinator {
            name: coordinator.name,
            host: coordinator.host,
            port: port(coordinator.port),
            pid: nonzero(coordinator.pid),
            state: coordinator.state,
        });
        let groups = reply.groups.into_iter().map(|group| Group {
            name: group.name,
            home: group.home,
            epoch: group.epoch,
            nodes: group
                .nodes
                .into_iter()
                .map(|node| Node::of_state(node.state.unwrap_or_default(), node.agent_address))
                .collect(),
        });
        let shards = reply.shards.into_iter().map(|shard| Shard {
            id: shard.id,
            group: shard.group,
            epoch: shard.epoch,
            bytes: shard.bytes,
            state: shard.state,
        });
        Self { coordinators: coordinators.collect(), groups: groups.collect(), shards: shards.collect() }
    }
}

impl Node {
    fn of_layout(dir: &Path, node: &layout::Node) -> Self {
        Self {
            name: node.name.clone(),
            role: "none".to_owned(),
            state: "stopped".to_owned(),
            reason: String::new(),
            zone: node.zone.clone(),
            capacity: node.capacity,
            host: "127.0.0.1".to_owned(),
            port: node.postgres_port,
            data_dir: layout::data_dir(dir, &node.name).to_string_lossy().into_owned(),
            pid: None,
            agent: Agent { address: layout::loopback(node.agent_port), pid: None },
            lag_bytes: 0,
            load: 0.0,
        }
    }

    fn of_state(state: NodeState, address: String) -> Self {
        let role = if matches!(state.role.as_str(), "primary" | "replica") { state.role } else { "none".to_owned() };
        Self {
            name: state.name,
            role,
            state: state.state,
            reason: state.reason,
            zone: state.zone,
            capacity: state.capacity,
            host: state.postgres_host,
            port: port(state.postgres_port),
            data_dir: state.data_dir,
            pid: nonzero(state.postmaster_pid),
            agent: Agent { address, pid: nonzero(state.agent_pid) },
            lag_bytes: state.lag_bytes,
            load: state.load,
        }
    }
}

fn nonzero(pid: u32) -> Option<u32> {
    (pid != 0).then_some(pid)
}

fn port(port: u32) -> u16 {
    u16::try_from(port).unwrap_or(0)
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pid = |pid: Option<u32>| pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let mut coordinators = table(["COORDINATOR", "ADDRESS", "PID", "STATE"], &[2]);
        for c in &self.coordinators {
            coordinators.add_row([c.name.clone(), format!("{}:{}", c.host, c.port), pid(c.pid), c.state.clone()]);
        }
        let header =
            ["GROUP", "NODE", "ROLE", "STATE", "EPOCH", "POSTGRESQL", "PID", "AGENT", "AGENT PID", "LAG", "LOAD"];
        let mut nodes = table(header, &[4, 6, 8, 9, 10]);
        for group in &self.groups {
            for node in &group.nodes {
                let reason = if node.reason.is_empty() { String::new() } else { format!(" ({})", node.reason) };
                nodes.add_row([
                    format!("{}{}", group.name, if group.home { " (home)" } else { "" }),
                    node.name.clone(),
                    node.role.clone(),
                    format!("{}{reason}", node.state),
                    group.epoch.to_string(),
                    format!("{}:{}", node.host, node.port),
                    pid(node.pid),
                    node.agent.address.clone(),
                    pid(node.agent.pid),
                    human_bytes(node.lag_bytes),
                    format!("{:.2}", node.load),
                ]);
            }
        }
        write!(f, "{}\n\n{}", trimmed(&coordinators), trimmed(&nodes))?;
        if !self.shards.is_empty() {
            let mut shards = table(["SHARD", "GROUP", "EPOCH", "SIZE", "STATE"], &[0, 2, 3]);
            for s in &self.shards {
                let size = human_bytes(s.bytes);
                shards.add_row([s.id.to_string(), s.group.clone(), s.epoch.to_string(), size, s.state.clone()]);
            }
            write!(f, "\n\n{}", trimmed(&shards))?;
        }
        Ok(())
    }
}

/// A table without lines; the columns named by index are aligned to the right.
pub fn table<const N: usize>(header: [&str; N], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if right.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The text of a table without blanks at line ends.
pub fn trimmed(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// `0 B`, `1.5 MiB`.
pub fn human_bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = "KiB";
    for larger in ["MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Wanted;

    fn stopped() -> Status {
        let mut port = 20_000;
        let cluster = Cluster::plan(&Wanted::default(), "/pg".into(), "", 2.0, || {
            port += 1;
            Ok(port)
        })
        .unwrap();
        Status::of_layout(Path::new("/d"), &cluster)
    }

    #[test]
    fn json_has_exactly_the_promised_keys() {
        let json = serde_json::to_value(stopped()).unwrap();
        let keys = |value: &serde_json::Value| {
            let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
            keys.sort();
            keys.join(" ")
        };
        assert_eq!(keys(&json), "coordinators groups shards");
        assert_eq!(keys(&json["coordinators"][0]), "host name pid port state");
        assert_eq!(keys(&json["groups"][0]), "epoch home name nodes");
        let node = &json["groups"][1]["nodes"][0];
        assert_eq!(keys(node), "agent capacity data_dir host lag_bytes load name pid port role state zone");
        assert_eq!(keys(&node["agent"]), "address pid");
        assert_eq!(node["state"], "stopped");
        assert_eq!(json["groups"][0]["home"], true);
        assert_eq!(json["groups"][1]["home"], false);
    }

    #[test]
    fn shards_have_exactly_the_promised_keys() {
        let shard = Shard { id: 7, group: "g1".to_owned(), epoch: 1, bytes: 0, state: "active".to_owned() };
        let text = serde_json::to_string(&shard).unwrap();
        assert_eq!(text, r#"{"id":7,"group":"g1","epoch":1,"bytes":0,"state":"active"}"#);
    }

    #[test]
    fn the_human_form_is_aligned() {
        let text = stopped().to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "COORDINATOR    ADDRESS         PID  STATE");
        assert_eq!(lines[1], "coordinator-1  127.0.0.1:6432    -  stopped");
        assert!(lines[4].starts_with("g1 (home)  g1-n1  none"), "{text}");
    }

    #[test]
    fn bytes_are_readable() {
        assert_eq!(human_bytes(0), "0 B");
        assert_eq!(human_bytes(1023), "1023 B");
        assert_eq!(human_bytes(1536), "1.5 KiB");
        assert_eq!(human_bytes(3 << 20), "3.0 MiB");
        assert_eq!(human_bytes(5 << 30), "5.0 GiB");
        assert_eq!(human_bytes(7 << 40), "7.0 TiB");
    }
}
