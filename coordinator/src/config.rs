//! `coordinator.toml`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Everything that can be set for a coordinator; docs/configuration.md describes each key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The coordinator's name, unique in the cluster: its distributed transactions are named after it.
    pub name: String,
    /// host:port for clients, and for the admin service.
    pub listen: String,
    /// File that holds the cluster token. Read before root is given up.
    pub token_file: PathBuf,
    /// host:port of the agent of one of home's nodes: the directory is read from home's primary.
    pub home_address: String,
    /// That agent's Unix socket, when it may be on this host; empty otherwise.
    pub home_socket: String,
    /// host:port of the agents of home's nodes, so that the primary is found when the one above is away.
    pub home_nodes: Vec<String>,
    pub home_group: String,
    /// File in which this coordinator, as the only one, keeps the leases of all groups; empty: it hosts no arbiter.
    pub arbiter_file: PathBuf,
    /// `trust`, or `scram`: SCRAM-SHA-256 against the roles' own verifiers.
    pub auth: String,
    /// OS user to become when started as root; empty to stay.
    pub run_as: String,
    /// host:port for Prometheus metrics; empty for none.
    pub metrics_listen: String,
    /// Threads that serve clients; 0 for one per core.
    pub workers: usize,
    /// Clients at once; more are refused with 53300.
    pub connections_max: usize,
    /// Backends in use on one node, all workers together.
    pub pool_lanes_max: usize,
    /// How long a statement waits for a backend, in milliseconds.
    pub pool_wait_ms_max: u64,
    /// How long statements that have not begun wait for a group that has no primary, in milliseconds.
    pub hold_ms_max: u64,
    /// Where this coordinator is: nodes in the same zone are the nearest.
    pub zone: String,
    /// How far behind a replica may be that answers reads, unless a session says otherwise: bytes of log, and milliseconds.
    pub max_lag_bytes: u64,
    pub max_lag_ms: u64,
    /// Sessions may set `synchronous_commit` below `on` where groups have standbys.
    pub allow_weak_commit: bool,
    /// Memory for plans, per worker, in bytes.
    pub plan_cache_bytes: u64,
    /// Memory for merging the results of shards, all statements together, in bytes.
    pub merge_memory_bytes: u64,
    /// Fragments that one group runs at a time for long work; 0: as many as the node's capacity.
    pub group_fragments_max: usize,
    /// What PostgreSQL must expect a group's part to cost, in its own units, to be long work.
    pub long_fragment_cost: u64,
    /// Statements that take longer are logged, in milliseconds; 0 for none.
    pub slow_query_ms: u64,
    /// How long a client may take to log in, in seconds.
    pub login_seconds_max: u64,
    /// How long sessions may go on after the coordinator was asked to stop, in seconds.
    pub drain_seconds_max: u64,
    /// PEM files for TLS; both empty: SSLRequest is declined.
    pub tls_certificate_file: PathBuf,
    pub tls_key_file: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "coordinator-1".into(),
            listen: "127.0.0.1:6432".into(),
            token_file: PathBuf::new(),
            home_address: "127.0.0.1:6440".into(),
            home_socket: String::new(),
            home_nodes: Vec::new(),
            home_group: "g1".into(),
            arbiter_file: PathBuf::new(),
            auth: "scram".into(),
            run_as: String::new(),
            metrics_listen: String::new(),
            workers: 0,
            connections_max: 400,
            pool_lanes_max: 60,
            pool_wait_ms_max: 30_000,
            hold_ms_max: 30_000,
            zone: String::new(),
            max_lag_bytes: 16 << 20,
            max_lag_ms: 10_000,
            allow_weak_commit: false,
            plan_cache_bytes: 16 << 20,
            merge_memory_bytes: 512 << 20,
            group_fragments_max: 0,
            long_fragment_cost: 100_000,
            slow_query_ms: 5_000,
            login_seconds_max: 60,
            drain_seconds_max: 5,
            tls_certificate_file: PathBuf::new(),
            tls_key_file: PathBuf::new(),
        }
    }
}

/// What is wrong with settings that are well-formed.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum InvalidConfig {
    #[error("{key} must be set")]
    Missing { key: &'static str },
    #[error("name: \"{name}\" may hold letters, digits, \"-\", \"_\" and \".\" only, at most 63")]
    Name { name: String },
    #[error("listen: \"{listen}\" is not an address like 127.0.0.1:6432")]
    Listen { listen: String },
    #[error("auth must be \"trust\" or \"scram\", not \"{auth}\"")]
    Auth { auth: String },
    #[error("{key} must be at least {min}")]
    TooSmall { key: &'static str, min: u64 },
    #[error("tls_certificate_file and tls_key_file must be given together")]
    HalfTls,
    #[error("arbiter_file must be an absolute path, not \"{path}\"", path = .path.display())]
    ArbiterFile { path: PathBuf },
}

impl Config {
    /// The agents of home's nodes that are known beforehand: address and Unix socket, which may be empty.
    pub fn home_agents(&self) -> Vec<(String, String)> {
        let mut agents = vec![(self.home_address.clone(), self.home_socket.clone())];
        let others = self.home_nodes.iter().filter(|address| **address != self.home_address);
        agents.extend(others.map(|address| (address.clone(), String::new())));
        agents
    }

    /// Checks what a single value does not show, and decides what was left open (`workers`).
    ///
    /// # Errors
    /// Names the first key that cannot be as it is.
    pub fn validated(mut self) -> Result<Self, InvalidConfig> {
        for (key, value) in [
            ("token_file", self.token_file.as_os_str().is_empty()),
            ("home_address", self.home_address.is_empty()),
            ("home_group", self.home_group.is_empty()),
        ] {
            if value {
                return Err(InvalidConfig::Missing { key });
            }
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if self.name.is_empty() || self.name.len() > 63 || !self.name.bytes().all(is_plain) {
            return Err(InvalidConfig::Name { name: self.name });
        }
        if self.listen.parse::<SocketAddr>().is_err() {
            return Err(InvalidConfig::Listen { listen: self.listen });
        }
        if !matches!(self.auth.as_str(), "trust" | "scram") {
            return Err(InvalidConfig::Auth { auth: self.auth });
        }
        for (key, value, min) in [
            ("connections_max", self.connections_max as u64, 1),
            ("pool_lanes_max", self.pool_lanes_max as u64, 2),
            ("pool_wait_ms_max", self.pool_wait_ms_max, 1),
            ("login_seconds_max", self.login_seconds_max, 1),
            ("merge_memory_bytes", self.merge_memory_bytes, 16 << 20),
        ] {
            if value < min {
                return Err(InvalidConfig::TooSmall { key, min });
            }
        }
        let has = |path: &Path| !path.as_os_str().is_empty();
        if has(&self.tls_certificate_file) != has(&self.tls_key_file) {
            return Err(InvalidConfig::HalfTls);
        }
        if has(&self.arbiter_file) && self.arbiter_file.is_relative() {
            return Err(InvalidConfig::ArbiterFile { path: self.arbiter_file });
        }
        if self.workers == 0 {
            self.workers = std::thread::available_parallelism().map_or(1, usize::from);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_file_names_every_key() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/coordinator.toml");
        let loaded = atoll_settings::load(&Config::default(), Some(&path), "ATOLL_", [], &[]).unwrap();
        assert_eq!(loaded.clone().validated().map(|config| config.name), Ok(loaded.name));
        let named: toml::Table = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        let serde_json::Value::Object(keys) = serde_json::to_value(Config::default()).unwrap() else {
            panic!("a struct")
        };
        for key in keys.keys() {
            assert!(named.contains_key(key), "{key}");
        }
    }

    #[test]
    fn what_cannot_be_is_named() {
        let valid = || Config { token_file: "/t".into(), ..Config::default() };
        assert!(valid().validated().is_ok_and(|config| config.workers > 0));
        assert_eq!(Config::default().validated(), Err(InvalidConfig::Missing { key: "token_file" }));
        let wrong = Config { name: "a:b".into(), ..valid() };
        assert_eq!(wrong.validated(), Err(InvalidConfig::Name { name: "a:b".into() }));
        let wrong = Config { tls_key_file: "/k".into(), ..valid() };
        assert_eq!(wrong.validated(), Err(InvalidConfig::HalfTls));
        let wrong = Config { arbiter_file: "leases.json".into(), ..valid() };
        assert_eq!(wrong.validated(), Err(InvalidConfig::ArbiterFile { path: "leases.json".into() }));
        assert!(Config { arbiter_file: "/leases.json".into(), ..valid() }.validated().is_ok());
        assert!(Config { auth: "md5".into(), ..valid() }.validated().is_err());
        assert!(Config { listen: "6432".into(), ..valid() }.validated().is_err());
    }
}
