//! What a local cluster consists of: names, folders, ports and configuration files. Decides; [`crate::up`] acts.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::host;

/// Longest path of a Unix socket that every part of the system takes, in bytes.
const SOCKET_PATH_BYTES_MAX: usize = 106;
/// Lanes a coordinator may hold on one node, and backends the node grants to lanes.
const POOL_LANES_MAX: u32 = 60;
const LANES_MAX: u32 = 80;
const CONNECTIONS_MAX: u32 = 400;

/// How clients prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    Trust,
    Scram,
}

impl Auth {
    pub fn as_str(self) -> &'static str {
        match self {
            Auth::Trust => "trust",
            Auth::Scram => "scram",
        }
    }
}

/// Where groups' leaderships are decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LeaseStore {
    /// In the first coordinator.
    #[default]
    Arbiter,
    Etcd,
}

impl LeaseStore {
    pub fn as_str(self) -> &'static str {
        match self {
            LeaseStore::Arbiter => "arbiter",
            LeaseStore::Etcd => "etcd",
        }
    }
}

/// One agent and its PostgreSQL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    pub name: String,
    pub group: String,
    pub zone: String,
    pub capacity: f64,
    /// Whether it makes its group's data; others copy it.
    #[serde(default = "yes")]
    pub bootstrap: bool,
    pub agent_port: u16,
    pub postgres_port: u16,
    pub metrics_port: u16,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coordinator {
    pub name: String,
    pub port: u16,
    pub metrics_port: u16,
}

/// `DIR/cluster.json`: the truth for a second `atoll up`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    pub groups: u32,
    pub replicas: u32,
    pub shards: u32,
    pub auth: Auth,
    pub pg_bindir: PathBuf,
    /// OS user that runs PostgreSQL; empty: the caller.
    pub run_as: String,
    /// Nodes of a group are put into these in turn.
    #[serde(default = "one_zone")]
    pub zones: Vec<String>,
    #[serde(default)]
    pub lease_store: LeaseStore,
    /// host:port of etcd's members, when that is the lease store.
    #[serde(default)]
    pub etcd: Vec<String>,
    /// In front of all keys in etcd, which clusters may share.
    #[serde(default = "lease_prefix")]
    pub lease_prefix: String,
    /// Whether databases and shards were created once.
    pub bootstrapped: bool,
    /// Those of a group stand together, those of home first.
    pub nodes: Vec<Node>,
    pub coordinators: Vec<Coordinator>,
}

fn one_zone() -> Vec<String> {
    vec!["local".to_owned()]
}

fn lease_prefix() -> String {
    format!("/atoll/{}/", &host::random_secret()[..8])
}

/// What the command line asks for; `None` was not said.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub groups: Option<u32>,
    pub replicas: Option<u32>,
    pub shards: Option<u32>,
    pub coordinators: Option<u32>,
    pub port: Option<u16>,
    pub auth: Option<Auth>,
    pub pg_bindir: Option<PathBuf>,
    pub zones: Option<Vec<String>>,
    pub lease_store: Option<LeaseStore>,
    pub etcd: Option<Vec<String>>,
}

pub const DEFAULT_PORT: u16 = 6432;

impl Cluster {
    /// Lays out a new cluster. `next_port` yields ports that are free and distinct.
    ///
    /// # Errors
    /// When `next_port` fails, or etcd is asked for without its address or the other way round.
    pub fn plan(
        wanted: &Wanted,
        pg_bindir: PathBuf,
        run_as: &str,
        capacity: f64,
        mut next_port: impl FnMut() -> anyhow::Result<u16>,
    ) -> anyhow::Result<Self> {
        let lease_store = wanted.lease_store.unwrap_or_default();
        let etcd = wanted.etcd.clone().unwrap_or_default();
        match lease_store {
            LeaseStore::Etcd if etcd.is_empty() => bail!("--lease-store etcd needs --etcd HOST:PORT,..."),
            LeaseStore::Arbiter if !etcd.is_empty() => bail!("--etcd needs --lease-store etcd"),
            LeaseStore::Arbiter | LeaseStore::Etcd => {}
        }
        let (groups, replicas) = (wanted.groups.unwrap_or(2), wanted.replicas.unwrap_or(0));
        let zones = wanted.zones.clone().filter(|zones| !zones.is_empty()).unwrap_or_else(one_zone);
        let mut nodes = Vec::new();
        for number in 1..=groups {
            for (place, zone) in (0..=replicas).zip(zones.iter().cycle()) {
                nodes.push(Node {
                    name: format!("g{number}-n{}", place + 1),
                    group: format!("g{number}"),
                    zone: zone.clone(),
                    capacity,
                    bootstrap: place == 0,
                    agent_port: next_port()?,
                    postgres_port: next_port()?,
                    metrics_port: next_port()?,
                });
            }
        }
        let mut coordinators = Vec::new();
        for number in 1..=wanted.coordinators.unwrap_or(1) {
            coordinators.push(Coordinator {
                name: format!("coordinator-{number}"),
                port: if number == 1 { wanted.port.unwrap_or(DEFAULT_PORT) } else { next_port()? },
                metrics_port: next_port()?,
            });
        }
        Ok(Self {
            groups,
            replicas,
            shards: wanted.shards.unwrap_or(8),
            auth: wanted.auth.unwrap_or(Auth::Trust),
            pg_bindir,
            run_as: run_as.to_owned(),
            zones,
            lease_store,
            etcd,
            lease_prefix: lease_prefix(),
            bootstrapped: false,
            nodes,
            coordinators,
        })
    }

    /// Takes over what may change between two starts (the port).
    ///
    /// # Errors
    /// Names the first option that contradicts what the cluster was created with.
    pub fn adopt(&mut self, wanted: &Wanted) -> anyhow::Result<()> {
        fn check<T: PartialEq>(
            option: &str,
            wanted: Option<T>,
            has: T,
            show: impl Fn(&T) -> String,
        ) -> anyhow::Result<()> {
            match wanted {
                Some(wanted) if wanted != has => bail!(
                    "--{option} {} conflicts with this cluster, which was created with --{option} {}",
                    show(&wanted),
                    show(&has)
                ),
                _ => Ok(()),
            }
        }
        let number = |n: &u32| n.to_string();
        check("groups", wanted.groups, self.groups, number)?;
        check("replicas", wanted.replicas, self.replicas, number)?;
        check("shards", wanted.shards, self.shards, number)?;
        check("coordinators", wanted.coordinators, self.coordinators.len() as u32, number)?;
        check("auth", wanted.auth, self.auth, |auth| auth.as_str().to_owned())?;
        let list = |items: &Vec<String>| items.join(",");
        check("zones", wanted.zones.clone(), self.zones.clone(), list)?;
        check("lease-store", wanted.lease_store, self.lease_store, |store| store.as_str().to_owned())?;
        check("etcd", wanted.etcd.clone(), self.etcd.clone(), list)?;
        check("pg-bindir", wanted.pg_bindir.as_ref(), &self.pg_bindir, |path| path.display().to_string())?;
        if let Some(port) = wanted.port {
            self.coordinators[0].port = port;
        }
        Ok(())
    }

    pub fn port(&self) -> u16 {
        self.coordinators[0].port
    }

    /// The group that holds the directory.
    pub fn home(&self) -> &str {
        &self.nodes[0].group
    }

    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// Names of the groups, home first.
    pub fn group_names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.nodes.iter().map(|node| node.group.as_str()).collect();
        names.dedup();
        names
    }

    pub fn nodes_of<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Node> {
        self.nodes.iter().filter(move |node| node.group == group)
    }

    /// Adds a node that copies its group's data. Without a zone it gets the next one in turn.
    ///
    /// # Errors
    /// When there is no such group, or `next_port` fails.
    pub fn add_node(
        &mut self,
        group: &str,
        zone: Option<&str>,
        capacity: f64,
        mut next_port: impl FnMut() -> anyhow::Result<u16>,
    ) -> anyhow::Result<&Node> {
        let Some(last) = self.nodes.iter().rposition(|node| node.group == group) else {
            bail!("there is no group {group}; there are {}", self.group_names().join(", "));
        };
        let size = self.nodes_of(group).count();
        let number = |node: &Node| node.name.rsplit_once("-n").and_then(|(_, number)| number.parse::<u32>().ok());
        let number = self.nodes_of(group).filter_map(number).max().unwrap_or(0) + 1;
        let node = Node {
            name: format!("{group}-n{number}"),
            group: group.to_owned(),
            zone: zone.map_or_else(|| self.zones[size % self.zones.len()].clone(), str::to_owned),
            capacity,
            bootstrap: false,
            agent_port: next_port()?,
            postgres_port: next_port()?,
            metrics_port: next_port()?,
        };
        self.nodes.insert(last + 1, node);
        Ok(&self.nodes[last + 1])
    }

    /// Every port that must be free before a start, with what it is for.
    pub fn ports(&self) -> Vec<(u16, String)> {
        let mut ports = Vec::new();
        for coordinator in &self.coordinators {
            ports.push((coordinator.port, format!("clients of {}", coordinator.name)));
            ports.push((coordinator.metrics_port, format!("metrics of {}", coordinator.name)));
        }
        for node in &self.nodes {
            ports.push((node.agent_port, format!("the agent of {}", node.name)));
            ports.push((node.postgres_port, format!("PostgreSQL of {}", node.name)));
            ports.push((node.metrics_port, format!("metrics of {}", node.name)));
        }
        ports
    }

    /// # Errors
    /// When there is no cluster in `dir`, or its description is damaged.
    pub fn load(dir: &Path) -> anyhow::Result<Self> {
        let path = cluster_file(dir);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("there is no cluster in {} (start one with `atoll up`)", dir.display())
            }
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        let cluster: Self = serde_json::from_str(&text).with_context(|| format!("damaged {}", path.display()))?;
        if cluster.nodes.is_empty() || cluster.coordinators.is_empty() || cluster.zones.is_empty() {
            bail!("damaged {}: it names no node, no coordinator or no zone", path.display());
        }
        Ok(cluster)
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// # Errors
    /// When a socket's path would be longer than the system takes.
    pub fn check_socket_paths(&self, dir: &Path) -> anyhow::Result<()> {
        for node in &self.nodes {
            for socket in [agent_socket(dir, &node.name), postgres_socket(dir, node)] {
                let bytes = socket.as_os_str().len();
                if bytes > SOCKET_PATH_BYTES_MAX {
                    bail!(
                        "the path of the socket {} would be {bytes} bytes long, and at most {SOCKET_PATH_BYTES_MAX} \
                         work; choose a --dir with a shorter path",
                        socket.display()
                    );
                }
            }
        }
        Ok(())
    }

    /// The text of `agent.toml` of one node.
    pub fn agent_toml(&self, dir: &Path, node: &Node) -> String {
        let node_dir = dir.join(&node.name);
        let mut table = toml::Table::new();
        let mut set = |key: &str, value: toml::Value| table.insert(key.to_owned(), value);
        set("name", node.name.as_str().into());
        set("group", node.group.as_str().into());
        set("zone", node.zone.as_str().into());
        set("capacity", node.capacity.into());
        set("epoch", 1.into());
        set("token_file", text(&token_file(dir)));
        set("listen", loopback(node.agent_port).into());
        set("run_dir", text(&node_dir.join("run")));
        set("data_dir", text(&node_dir.join("data")));
        set("postgres_bindir", text(&self.pg_bindir));
        set("postgres_host", "127.0.0.1".into());
        set("postgres_port", i64::from(node.postgres_port).into());
        set("postgres_auth", self.auth.as_str().into());
        set("postgres_log", text(&node_dir.join("postgres.log")));
        set("run_as", self.run_as.as_str().into());
        set("lanes_max", i64::from(LANES_MAX).into());
        set("metrics_listen", loopback(node.metrics_port).into());
        set("bootstrap", node.bootstrap.into());
        set("lease_store", self.lease_store.as_str().into());
        let endpoints = match self.lease_store {
            LeaseStore::Arbiter => vec![loopback(self.port())],
            LeaseStore::Etcd => self.etcd.clone(),
        };
        set("lease_endpoints", endpoints.into());
        set("lease_prefix", self.lease_prefix.as_str().into());
        let mut settings = toml::Table::new();
        settings.insert("shared_buffers".to_owned(), "128MB".into());
        set("postgres_settings", settings.into());
        format!("{WRITTEN_BY}{table}")
    }

    /// The text of `coordinator.toml` of one coordinator.
    pub fn coordinator_toml(&self, dir: &Path, coordinator: &Coordinator, workers: u32) -> String {
        let home = &self.nodes[0];
        let home_nodes: Vec<_> = self.nodes_of(&home.group).map(|node| loopback(node.agent_port)).collect();
        let mut table = toml::Table::new();
        let mut set = |key: &str, value: toml::Value| table.insert(key.to_owned(), value);
        set("name", coordinator.name.as_str().into());
        set("listen", loopback(coordinator.port).into());
        set("token_file", text(&token_file(dir)));
        set("home_address", loopback(home.agent_port).into());
        set("home_socket", text(&agent_socket(dir, &home.name)));
        set("home_group", home.group.as_str().into());
        set("home_nodes", home_nodes.into());
        if self.lease_store == LeaseStore::Arbiter && *coordinator == self.coordinators[0] {
            set("arbiter_file", text(&dir.join(&coordinator.name).join("arbiter.json")));
        }
        set("auth", self.auth.as_str().into());
        set("run_as", self.run_as.as_str().into());
        set("metrics_listen", loopback(coordinator.metrics_port).into());
        // Like the nodes of a group.
        let place = self.coordinators.iter().position(|one| one == coordinator).unwrap_or_default();
        set("zone", self.zones[place % self.zones.len()].as_str().into());
        set("workers", i64::from(workers).into());
        set("connections_max", i64::from(CONNECTIONS_MAX).into());
        set("pool_lanes_max", i64::from(POOL_LANES_MAX).into());
        format!("{WRITTEN_BY}{table}")
    }
}

const WRITTEN_BY: &str = "# Written by `atoll up` from cluster.json at every start.\n";

fn text(path: &Path) -> toml::Value {
    path.to_string_lossy().into_owned().into()
}

pub fn loopback(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

pub fn cluster_file(dir: &Path) -> PathBuf {
    dir.join("cluster.json")
}

pub fn token_file(dir: &Path) -> PathBuf {
    dir.join("token")
}

pub fn agent_config(dir: &Path, name: &str) -> PathBuf {
    dir.join(name).join("agent.toml")
}

pub fn agent_log(dir: &Path, name: &str) -> PathBuf {
    dir.join(name).join("agent.log")
}

/// While it exists, the supervisor does not start this process.
pub fn hold_file(dir: &Path, name: &str) -> PathBuf {
    dir.join(name).join("hold")
}

pub fn agent_socket(dir: &Path, name: &str) -> PathBuf {
    dir.join(name).join("run/agent.sock")
}

fn postgres_socket(dir: &Path, node: &Node) -> PathBuf {
    dir.join(&node.name).join(format!("run/.s.PGSQL.{}", node.postgres_port))
}

pub fn data_dir(dir: &Path, name: &str) -> PathBuf {
    dir.join(name).join("data")
}

pub fn coordinator_config(dir: &Path, name: &str) -> PathBuf {
    dir.join(name).join("coordinator.toml")
}

pub fn coordinator_log(dir: &Path, name: &str) -> PathBuf {
    dir.join(name).join("coordinator.log")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(wanted: &Wanted) -> Cluster {
        let mut port = 20_000;
        Cluster::plan(wanted, "/pg/bin".into(), "postgres", 2.0, || {
            port += 1;
            Ok(port)
        })
        .unwrap()
    }

    #[test]
    fn the_defaults_are_two_groups_and_one_coordinator() {
        let cluster = planned(&Wanted::default());
        let names: Vec<_> = cluster.nodes.iter().map(|node| (node.group.as_str(), node.name.as_str())).collect();
        assert_eq!(names, [("g1", "g1-n1"), ("g2", "g2-n1")]);
        assert_eq!(cluster.shards, 8);
        assert_eq!(cluster.port(), DEFAULT_PORT);
        let mut ports: Vec<_> = cluster.ports().into_iter().map(|(port, _)| port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 8);
    }

    #[test]
    fn only_the_first_coordinator_gets_the_wanted_port() {
        let cluster = planned(&Wanted { coordinators: Some(3), port: Some(7000), ..Wanted::default() });
        assert_eq!(cluster.coordinators[0].port, 7000);
        assert!(cluster.coordinators[1..].iter().all(|c| c.port > 20_000));
    }

    #[test]
    fn replicas_are_spread_over_the_zones() {
        let zones = ["a", "b"].map(str::to_owned).to_vec();
        let mut cluster = planned(&Wanted { replicas: Some(2), zones: Some(zones), ..Wanted::default() });
        let shown = |cluster: &Cluster| {
            let nodes = cluster.nodes.iter().map(|node| format!("{} {} {}", node.name, node.zone, node.bootstrap));
            nodes.collect::<Vec<_>>()
        };
        let first = ["g1-n1 a true", "g1-n2 b false", "g1-n3 a false"];
        assert_eq!(shown(&cluster)[..3], first);
        assert_eq!(cluster.group_names(), ["g1", "g2"]);

        cluster.add_node("g1", None, 1.0, || Ok(1)).unwrap();
        assert_eq!(shown(&cluster)[3..5], ["g1-n4 b false", "g2-n1 a true"]);
        cluster.nodes.retain(|node| node.name != "g1-n1" && node.name != "g2-n2");
        assert_eq!(cluster.home(), "g1");
        assert_eq!(cluster.add_node("g2", Some("z"), 1.0, || Ok(1)).unwrap().name, "g2-n4");
        let error = cluster.add_node("g7", None, 1.0, || Ok(1)).unwrap_err().to_string();
        assert_eq!(error, "there is no group g7; there are g1, g2");
    }

    #[test]
    fn the_lease_store_is_the_first_coordinator_or_etcd() {
        let dir = Path::new("/d");
        let wanted = Wanted { coordinators: Some(2), replicas: Some(1), ..Wanted::default() };
        let cluster = planned(&wanted);
        let agent: toml::Table = cluster.agent_toml(dir, &cluster.nodes[1]).parse().unwrap();
        assert_eq!(agent["lease_store"].as_str(), Some("arbiter"));
        assert_eq!(agent["lease_endpoints"], vec!["127.0.0.1:6432"].into());
        assert_eq!(agent["bootstrap"].as_bool(), Some(false));
        let coordinator =
            |n: usize| cluster.coordinator_toml(dir, &cluster.coordinators[n], 1).parse::<toml::Table>().unwrap();
        assert_eq!(coordinator(0)["arbiter_file"].as_str(), Some("/d/coordinator-1/arbiter.json"));
        assert!(!coordinator(1).contains_key("arbiter_file"));
        assert_eq!(coordinator(1)["home_nodes"], vec!["127.0.0.1:20001", "127.0.0.1:20004"].into());

        let etcd = Some(vec!["10.0.0.1:2379".to_owned(), "10.0.0.2:2379".to_owned()]);
        let cluster = planned(&Wanted { lease_store: Some(LeaseStore::Etcd), etcd: etcd.clone(), ..Wanted::default() });
        let agent: toml::Table = cluster.agent_toml(dir, &cluster.nodes[0]).parse().unwrap();
        assert_eq!(agent["lease_store"].as_str(), Some("etcd"));
        assert_eq!(agent["lease_endpoints"], etcd.clone().unwrap().into());
        assert!(agent["lease_prefix"].as_str().is_some_and(|prefix| prefix.len() == "/atoll/12345678/".len()));
        assert!(!cluster.coordinator_toml(dir, &cluster.coordinators[0], 1).contains("arbiter_file"));

        for wanted in
            [Wanted { lease_store: Some(LeaseStore::Etcd), ..Wanted::default() }, Wanted { etcd, ..Wanted::default() }]
        {
            assert!(Cluster::plan(&wanted, "/pg".into(), "", 1.0, || Ok(1)).is_err());
        }
    }

    #[test]
    fn a_second_start_may_change_the_port_and_nothing_else() {
        let mut cluster = planned(&Wanted::default());
        cluster.adopt(&Wanted { port: Some(7001), groups: Some(2), ..Wanted::default() }).unwrap();
        assert_eq!(cluster.port(), 7001);
        let error = cluster.adopt(&Wanted { shards: Some(16), ..Wanted::default() }).unwrap_err().to_string();
        assert_eq!(error, "--shards 16 conflicts with this cluster, which was created with --shards 8");
        let error = cluster.adopt(&Wanted { auth: Some(Auth::Scram), ..Wanted::default() }).unwrap_err().to_string();
        assert!(error.contains("--auth scram") && error.contains("--auth trust"), "{error}");
    }

    #[test]
    fn the_description_survives_a_round_trip() {
        let cluster = planned(&Wanted::default());
        assert_eq!(serde_json::from_str::<Cluster>(&cluster.to_json()).unwrap(), cluster);
    }

    #[test]
    fn long_socket_paths_are_refused() {
        let cluster = planned(&Wanted::default());
        cluster.check_socket_paths(Path::new("/var/lib/atoll")).unwrap();
        // "/g1-n1/run/.s.PGSQL.20002" is 25 bytes long.
        let dir = |bytes: usize| PathBuf::from(format!("/{}", "x".repeat(bytes - 1)));
        cluster.check_socket_paths(&dir(SOCKET_PATH_BYTES_MAX - 25)).unwrap();
        let error = cluster.check_socket_paths(&dir(SOCKET_PATH_BYTES_MAX - 24)).unwrap_err().to_string();
        assert!(error.contains("107 bytes long"), "{error}");
    }

    #[test]
    fn configuration_files_are_toml_with_the_contract_s_keys() {
        let cluster = planned(&Wanted::default());
        let dir = Path::new("/d");
        let agent: toml::Table = cluster.agent_toml(dir, &cluster.nodes[1]).parse().unwrap();
        assert_eq!(agent["listen"].as_str(), Some("127.0.0.1:20004"));
        assert_eq!(agent["data_dir"].as_str(), Some("/d/g2-n1/data"));
        assert_eq!(agent["postgres_settings"]["shared_buffers"].as_str(), Some("128MB"));
        let coordinator: toml::Table = cluster.coordinator_toml(dir, &cluster.coordinators[0], 2).parse().unwrap();
        assert_eq!(coordinator["home_address"].as_str(), Some("127.0.0.1:20001"));
        assert_eq!(coordinator["home_socket"].as_str(), Some("/d/g1-n1/run/agent.sock"));
        assert_eq!(coordinator["listen"].as_str(), Some("127.0.0.1:6432"));
    }
}
