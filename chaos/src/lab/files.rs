//! What the lab writes for its programs: settings of agents and coordinators, arguments of etcd.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// Ports are the same on every machine.
pub const AGENT_PORT: u16 = 6440;
pub const POSTGRES_PORT: u16 = 5432;
pub const COORDINATOR_PORT: u16 = 6432;
pub const ETCD_PORT: u16 = 2379;
const ETCD_PEER_PORT: u16 = 2380;

/// An agent's settings.
#[derive(Clone, Debug)]
pub struct AgentFile<'a> {
    pub name: &'a str,
    pub group: &'a str,
    pub address: String,
    pub capacity: f64,
    /// Folder of the machine's files.
    pub home: &'a Path,
    pub token: &'a Path,
    pub bindir: &'a Path,
    /// Addresses of etcd's members (host:port); none for a group that has one node and no leases.
    pub store: &'a [String],
    pub bootstrap: bool,
    pub settings: &'a [(String, String)],
}

impl AgentFile<'_> {
    /// The text of agent.toml.
    pub fn text(&self) -> String {
        let mut table = Table::new();
        let mut set = |key: &str, value: Value| table.insert(key.to_owned(), value);
        set("name", self.name.into());
        set("group", self.group.into());
        set("zone", "lab".into());
        set("capacity", self.capacity.into());
        set("token_file", path(self.token));
        set("listen", format!("{}:{AGENT_PORT}", self.address).into());
        set("run_dir", path(&run_dir(self.home)));
        set("data_dir", path(&data_dir(self.home)));
        set("postgres_bindir", path(self.bindir));
        set("postgres_host", self.address.as_str().into());
        set("postgres_port", i64::from(POSTGRES_PORT).into());
        set("postgres_auth", "trust".into());
        set("postgres_log", path(&self.home.join("postgres.log")));
        set("run_as", "".into());
        set("lanes_max", 60.into());
        set("metrics_listen", "".into());
        if !self.store.is_empty() {
            set("lease_store", "etcd".into());
            set("lease_endpoints", self.store.to_vec().into());
            set("bootstrap", self.bootstrap.into());
        }
        let settings = self.settings.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        set("postgres_settings", Value::Table(settings.collect()));
        table.to_string()
    }
}

/// A coordinator's settings: `home` are the agents of the home group, host:port.
pub fn coordinator(name: &str, address: &str, token: &Path, home: &[String]) -> String {
    let mut table = Table::new();
    let mut set = |key: &str, value: Value| table.insert(key.to_owned(), value);
    set("name", name.into());
    set("listen", format!("{address}:{COORDINATOR_PORT}").into());
    set("token_file", path(token));
    set("home_address", home.first().cloned().unwrap_or_default().into());
    if home.len() > 1 {
        set("home_nodes", home.to_vec().into());
    }
    set("home_socket", "".into());
    set("home_group", "g1".into());
    set("auth", "trust".into());
    set("run_as", "".into());
    set("metrics_listen", "".into());
    set("workers", 1.into());
    set("pool_lanes_max", 50.into());
    table.to_string()
}

/// The arguments of one etcd member; `members` are all, name and address.
pub fn etcd_arguments(name: &str, address: &str, data_dir: &Path, members: &[(String, String)]) -> Vec<String> {
    let peer = |address: &str| format!("http://{address}:{ETCD_PEER_PORT}");
    let cluster = members.iter().map(|(name, address)| format!("{name}={}", peer(address)));
    let client = format!("http://{address}:{ETCD_PORT}");
    [
        ("--name", name.to_owned()),
        ("--data-dir", data_dir.to_string_lossy().into_owned()),
        ("--listen-peer-urls", peer(address)),
        ("--initial-advertise-peer-urls", peer(address)),
        ("--listen-client-urls", client.clone()),
        ("--advertise-client-urls", client),
        ("--initial-cluster", cluster.collect::<Vec<_>>().join(",")),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect()
}

/// Where an agent's sockets are, on its machine; mounted privately, so that only the machine's own processes find them.
pub fn run_dir(home: &Path) -> PathBuf {
    home.join("run")
}

pub fn data_dir(home: &Path) -> PathBuf {
    // PostgreSQL wants a folder of its own below the mount point.
    home.join("disk/data")
}

fn path(path: &Path) -> Value {
    path.to_string_lossy().into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nodes_with_a_store_take_leases() {
        let mut file = AgentFile {
            name: "g2-n1",
            group: "g2",
            address: "10.77.2.1".to_owned(),
            capacity: 1.0,
            home: Path::new("/lab/g2-n1"),
            token: Path::new("/lab/token"),
            bindir: Path::new("/bin"),
            store: &[],
            bootstrap: true,
            settings: &[("fsync".to_owned(), "on".to_owned())],
        };
        let table: Table = file.text().parse().unwrap();
        assert!(!table.contains_key("lease_store"));
        assert_eq!(table["postgres_settings"]["fsync"].as_str(), Some("on"));
        let store = ["10.77.100.1:2379".to_owned()];
        file.store = &store;
        let table: Table = file.text().parse().unwrap();
        assert_eq!(table["lease_store"].as_str(), Some("etcd"));
        assert_eq!(table["data_dir"].as_str(), Some("/lab/g2-n1/disk/data"));
    }
}
