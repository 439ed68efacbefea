//! What a local cluster consists of: names, folders, ports and configuration files. Decides; [`crate::up`] acts.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

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

/// One agent and its PostgreSQL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    pub name: String,
    pub group: String,
    pub zone: String,
    pub capacity: f64,
    pub agent_port: u16,
    pub postgres_port: u16,
    pub metrics_port: u16,
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
    /// Whether databases and shards were created once.
    pub bootstrapped: bool,
    /// The first one belongs to home.
    pub nodes: Vec<Node>,
    pub coordinators: Vec<Coordinator>,
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
}

pub const DEFAULT_PORT: u16 = 6432;

impl Cluster {
    /// Lays out a new cluster. `next_port` yields ports that are free and distinct.
    ///
    /// # Errors
    /// When `next_port` fails.
    pub fn plan(
        wanted: &Wanted,
        pg_bindir: PathBuf,
        run_as: &str,
        capacity: f64,
        mut next_port: impl FnMut() -> anyhow::Result<u16>,
    ) -> anyhow::Result<Self> {
        let groups = wanted.groups.unwrap_or(2);
        let mut nodes = Vec::new();
        for number in 1..=groups {
            nodes.push(Node {
                name: format!("g{number}-n1"),
                group: format!("g{number}"),
                zone: "local".to_owned(),
                capacity,
                agent_port: next_port()?,
                postgres_port: next_port()?,
                metrics_port: next_port()?,
            });
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
            replicas: 0,
            shards: wanted.shards.unwrap_or(8),
            auth: wanted.auth.unwrap_or(Auth::Trust),
            pg_bindir,
            run_as: run_as.to_owned(),
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
        check("pg-bindir", wanted.pg_bindir.as_ref(), &self.pg_bindir, |path| path.display().to_string())?;
        if let Some(port) = wanted.port {
            self.coordinators[0].port = port;
        }
        Ok(())
    }

    pub fn port(&self) -> u16 {
        self.coordinators[0].port
    }

    pub fn home(&self) -> &Node {
        &self.nodes[0]
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
        if cluster.nodes.is_empty() || cluster.coordinators.is_empty() {
            bail!("damaged {}: it names no node or no coordinator", path.display());
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
        let mut settings = toml::Table::new();
        settings.insert("shared_buffers".to_owned(), "128MB".into());
        set("postgres_settings", settings.into());
        format!("{WRITTEN_BY}{table}")
    }

    /// The text of `coordinator.toml` of one coordinator.
    pub fn coordinator_toml(&self, dir: &Path, coordinator: &Coordinator, workers: u32) -> String {
        let home = self.home();
        let mut table = toml::Table::new();
        let mut set = |key: &str, value: toml::Value| table.insert(key.to_owned(), value);
        set("name", coordinator.name.as_str().into());
        set("listen", loopback(coordinator.port).into());
        set("token_file", text(&token_file(dir)));
        set("home_address", loopback(home.agent_port).into());
        set("home_socket", text(&agent_socket(dir, &home.name)));
        set("home_group", home.group.as_str().into());
        set("auth", self.auth.as_str().into());
        set("run_as", self.run_as.as_str().into());
        set("metrics_listen", loopback(coordinator.metrics_port).into());
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
