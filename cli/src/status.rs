//! `atoll status`: coordinators, groups, nodes and shards, as a coordinator knows them or, when none answers, as far
//! as the folder of a local cluster and its agents tell.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, bail};
use atoll_proto::auth::Token;
use atoll_proto::v1::{NodeState, StatusReply};
use comfy_table::{CellAlignment, Table, presets};
use futures_util::future::join_all;
use serde::Serialize;

use crate::layout::{self, Cluster};
use crate::options::Settings;
use crate::output;
use crate::process;
use crate::reach::Target;
use crate::rpc;
use crate::supervise::{self, Journal};

/// The state of a node whose agent does not answer.
const UNREACHABLE: &str = "unreachable";

/// What `--json` prints; a contract.
#[derive(Debug, Default, PartialEq, Serialize)]
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

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Node {
    pub name: String,
    pub role: String,
    pub state: String,
    /// Only for people, as are the other fields that are skipped: why the state is not `running`.
    #[serde(skip)]
    pub reason: String,
    /// The newest epoch of its group that the node knows; 0 when it says nothing.
    #[serde(skip)]
    pub epoch: u64,
    /// Milliseconds until its lease runs out, when it holds one.
    #[serde(skip)]
    pub lease_ms: u64,
    #[serde(skip)]
    pub lag_ms: u64,
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

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agent {
    pub address: String,
    pub pid: Option<u32>,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct Shard {
    pub id: u32,
    pub group: String,
    pub epoch: u64,
    /// Unknown while its group cannot be read.
    pub bytes: Option<u64>,
    pub state: String,
}

/// # Errors
/// When there is no cluster in the folder, or the coordinator that was named does not answer.
pub async fn run(settings: &Settings) -> anyhow::Result<()> {
    let status = of(settings).await?;
    if settings.json {
        output::show(serde_json::to_string_pretty(&status)?);
    } else {
        output::show(status);
    }
    Ok(())
}

/// The state of the cluster that the settings lead to.
///
/// # Errors
/// When there is none in the folder, or the coordinator that was named does not answer.
pub async fn of(settings: &Settings) -> anyhow::Result<Status> {
    let target = Target::of(settings)?;
    Ok(match &target {
        Target::Coordinator(address) => {
            let reply = rpc::cluster_status(address, &target.token(settings)?).await;
            Status::of_reply(reply.with_context(|| format!("coordinator {address}"))?)
        }
        Target::Folder(cluster) => of_folder(&settings.dir, cluster, target.token(settings).ok().as_ref()).await?,
    })
}

async fn of_folder(dir: &Path, cluster: &Cluster, token: Option<&Token>) -> anyhow::Result<Status> {
    let journal = Journal::load(dir);
    let mut status = Status::of_layout(dir, cluster);
    let pid = |name: &str| journal.entry(name).and_then(|entry| entry.alive(dir)).map(|process| process.pid);
    let supervised = supervise::running(dir).is_some();
    if !supervised && !journal.processes.iter().any(|entry| entry.alive(dir).is_some()) {
        return Ok(status);
    }
    let Some(token) = token else {
        bail!("the token {} cannot be read", layout::token_file(dir).display());
    };
    let not_running = |name: &str| {
        let restarts = supervised && !layout::hold_file(dir, name).exists();
        if restarts { "restarting" } else { "stopped" }.to_owned()
    };

    let ask = async |coordinator: &mut Coordinator| {
        coordinator.pid = pid(&coordinator.name);
        coordinator.state = not_running(&coordinator.name);
        coordinator.pid?;
        let answer = rpc::cluster_status(&layout::loopback(coordinator.port), token).await;
        coordinator.state = if answer.is_ok() { "running" } else { "unreachable" }.to_owned();
        answer.ok().map(Status::of_reply)
    };
    let told = join_all(status.coordinators.iter_mut().map(ask)).await.into_iter().flatten();
    let told = told.reduce(|one, other| if one.groups.is_empty() { other } else { one }).unwrap_or_default();
    status.shards = told.shards;
    let mut told_nodes = HashMap::new();
    for mut group in told.groups {
        told_nodes.extend(group.nodes.drain(..).map(|node| (node.name.clone(), node)));
        if let Some(known) = status.groups.iter_mut().find(|known| known.name == group.name) {
            known.epoch = group.epoch;
        }
    }

    // Without a coordinator that knows the directory, the agents are asked; so are those it has not heard of yet.
    let see = async |node: &mut Node, told: Option<Node>| {
        let planned = node.clone();
        *node = match told {
            Some(told) => told,
            None => match rpc::node_state(&planned.agent.address, token).await {
                Ok(state) => Node::of_state(state, planned.agent.address.clone()),
                Err(error) => Node { state: UNREACHABLE.to_owned(), reason: format!("{error:#}"), ..planned.clone() },
            },
        };
        let agent = pid(&node.name);
        if node.state != UNREACHABLE {
            node.agent.pid = agent.or(node.agent.pid);
            return;
        }
        // An agent that does not answer says nothing of its processes; the folder does.
        *node = Node { state: node.state.clone(), reason: node.reason.clone(), ..planned };
        node.agent.pid = agent;
        node.pid = process::postmaster(&layout::data_dir(dir, &node.name)).map(|process| process.pid);
        if agent.is_none() {
            node.state = not_running(&node.name);
        }
    };
    let nodes = status.groups.iter_mut().flat_map(|group| &mut group.nodes);
    join_all(nodes.map(|node| {
        let told = told_nodes.remove(&node.name);
        see(node, told)
    }))
    .await;
    for group in &mut status.groups {
        group.epoch = group.nodes.iter().map(|node| node.epoch).fold(group.epoch, u64::max);
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
                    home: node.group == cluster.home(),
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
            epoch: 0,
            lease_ms: 0,
            lag_ms: 0,
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
        let has_role = matches!(state.role.as_str(), "primary" | "replica") && state.state != UNREACHABLE;
        let role = if has_role { state.role } else { "none".to_owned() };
        Self {
            name: state.name,
            role,
            state: state.state,
            reason: state.reason,
            epoch: state.epoch.max(state.group_epoch),
            lease_ms: state.lease_ms,
            lag_ms: state.lag_ms,
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

impl Node {
    /// `4.9 s`, how long it may lead without hearing from the lease store.
    fn lease(&self) -> String {
        if self.lease_ms == 0 { "-".to_owned() } else { format!("{:.1} s", self.lease_ms as f64 / 1e3) }
    }

    /// `1.5 MiB, 0.2 s`, what a replica has yet to replay, and since when.
    fn lag(&self) -> String {
        match (self.role.as_str(), self.lag_ms) {
            // The agent's word for not known.
            ("replica", u64::MAX) => human_bytes(self.lag_bytes),
            ("replica", ms) => format!("{}, {:.1} s", human_bytes(self.lag_bytes), ms as f64 / 1e3),
            _ => "-".to_owned(),
        }
    }
}

fn nonzero(pid: u32) -> Option<u32> {
    (pid != 0).then_some(pid)
}

fn port(port: u32) -> u16 {
    u16::try_from(port).unwrap_or(0)
}

impl Status {
    /// All groups' nodes, for people.
    pub fn nodes_table(&self) -> String {
        let header = [
            "GROUP",
            "NODE",
            "ROLE",
            "STATE",
            "EPOCH",
            "LEASE",
            "LAG",
            "ZONE",
            "CAPACITY",
            "LOAD",
            "POSTGRESQL",
            "PID",
            "AGENT",
            "AGENT PID",
        ];
        let mut nodes = table(header, &[4, 5, 6, 8, 9, 11, 13]);
        for group in &self.groups {
            for node in &group.nodes {
                nodes.add_row([
                    format!("{}{}", group.name, if group.home { " (home)" } else { "" }),
                    node.name.clone(),
                    node.role.clone(),
                    node.state.clone(),
                    if node.epoch == 0 { group.epoch } else { node.epoch }.to_string(),
                    node.lease(),
                    node.lag(),
                    node.zone.clone(),
                    node.capacity.to_string(),
                    format!("{:.2}", node.load),
                    format!("{}:{}", node.host, node.port),
                    shown_pid(node.pid),
                    node.agent.address.clone(),
                    shown_pid(node.agent.pid),
                ]);
            }
        }
        // Too long for the table.
        let reasons = self.groups.iter().flat_map(|group| &group.nodes).filter(|node| !node.reason.is_empty());
        let reasons: String = reasons.map(|node| format!("\n{}: {}", node.name, node.reason)).collect();
        trimmed(&nodes) + &reasons
    }
}

fn shown_pid(pid: Option<u32>) -> String {
    pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string())
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut coordinators = table(["COORDINATOR", "ADDRESS", "PID", "STATE"], &[2]);
        for c in &self.coordinators {
            coordinators.add_row([c.name.clone(), format!("{}:{}", c.host, c.port), shown_pid(c.pid), c.state.clone()]);
        }
        write!(f, "{}\n\n{}", trimmed(&coordinators), self.nodes_table())?;
        if !self.shards.is_empty() {
            let mut shards = table(["SHARD", "GROUP", "EPOCH", "SIZE", "STATE"], &[0, 2, 3]);
            for s in &self.shards {
                let size = s.bytes.map_or_else(|| "-".to_owned(), human_bytes);
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
        let shard = Shard { id: 7, group: "g1".to_owned(), epoch: 1, bytes: Some(0), state: "active".to_owned() };
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
