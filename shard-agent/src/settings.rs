//! `agent.toml`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything that can be set for an agent; docs/configuration.md describes each key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Settings {
    /// The node's name, as the directory knows it.
    pub name: String,
    /// The group whose data this node holds.
    pub group: String,
    pub zone: String,
    /// Relative to other nodes; how much of a long query this one takes.
    pub capacity: f64,
    /// The group's epoch under which this node serves; lanes opened for another one are refused.
    pub epoch: u64,
    /// File that holds the cluster token. Read before root is given up.
    pub token_file: PathBuf,
    /// host:port for gRPC.
    pub listen: String,
    /// Folder for `agent.sock` and PostgreSQL's socket; made with mode 0700 when missing.
    pub run_dir: PathBuf,
    /// PostgreSQL's data; made by initdb when missing or empty.
    pub data_dir: PathBuf,
    /// Folder of `postgres` and `initdb`.
    pub postgres_bindir: PathBuf,
    /// Address on which PostgreSQL itself listens.
    pub postgres_host: String,
    pub postgres_port: u16,
    /// How PostgreSQL authenticates over loopback TCP.
    pub postgres_auth: PostgresAuth,
    /// File that takes PostgreSQL's log.
    pub postgres_log: PathBuf,
    /// Locale for initdb.
    pub locale: String,
    /// OS user to become when started as root; empty to stay.
    pub run_as: String,
    /// Cap on backends for lanes.
    pub lanes_max: u32,
    /// Threads that serve lanes; 0 for one per core.
    pub workers: u32,
    /// After how long a start is reported as slow, with the end of PostgreSQL's log, in seconds; it is not given up.
    pub start_seconds_slow: u64,
    /// How long PostgreSQL may take for a fast shutdown before it is stopped at once, in seconds.
    pub stop_seconds_max: u64,
    /// How long a switchover waits for the transactions that have begun before it cuts them off, in milliseconds.
    pub drain_ms_max: u64,
    /// host:port for Prometheus metrics; empty for none.
    pub metrics_listen: String,
    /// Where the group's leadership is decided.
    pub lease_store: LeaseStoreKind,
    /// Patroni's REST API on this host, like http://127.0.0.1:8008, when it runs the group.
    pub patroni_url: String,
    /// host:port of the coordinator that hosts the arbiter, or of etcd's members.
    pub lease_endpoints: Vec<String>,
    /// PEM files for endpoints of etcd that begin with https://: the authority of its certificates, and, where it asks for one, the agent's
    /// own certificate with its key.
    pub lease_ca_file: PathBuf,
    pub lease_cert_file: PathBuf,
    pub lease_key_file: PathBuf,
    /// In front of all keys in etcd, one per cluster.
    pub lease_prefix: String,
    /// How long a lease lasts without being renewed, how often it is renewed, how long one call may take, and how long before its
    /// end PostgreSQL is stopped, in milliseconds.
    pub lease_ttl_ms: u64,
    pub lease_renew_ms: u64,
    pub lease_call_ms_max: u64,
    pub lease_margin_ms: u64,
    /// Whether this node may make the group's data with initdb when there is no leader yet; others copy the leader's.
    pub bootstrap: bool,
    /// host:port at which other hosts reach this agent; empty for `listen`.
    pub advertise: String,
    /// Passed to PostgreSQL.
    pub postgres_settings: BTreeMap<String, String>,
}

/// `none`: the node is alone in its group and always its primary; `arbiter`: in a coordinator, for one machine; `etcd`; `patroni`: by
/// Patroni, which runs PostgreSQL instead of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseStoreKind {
    None,
    Arbiter,
    Etcd,
    Patroni,
}

/// `trust` or `scram`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PostgresAuth {
    Trust,
    Scram,
}

impl PostgresAuth {
    /// The method's name in pg_hba.conf.
    pub fn hba_method(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Scram => "scram-sha-256",
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: String::new(),
            group: String::new(),
            zone: "local".into(),
            capacity: 1.0,
            epoch: 1,
            token_file: PathBuf::new(),
            listen: "127.0.0.1:6440".into(),
            run_dir: PathBuf::new(),
            data_dir: PathBuf::new(),
            postgres_bindir: "/usr/lib/postgresql/15/bin".into(),
            postgres_host: "127.0.0.1".into(),
            postgres_port: 5432,
            postgres_auth: PostgresAuth::Scram,
            postgres_log: PathBuf::new(),
            locale: "C.UTF-8".into(),
            run_as: String::new(),
            lanes_max: 80,
            workers: 0,
            start_seconds_slow: 60,
            stop_seconds_max: 30,
            drain_ms_max: 1000,
            metrics_listen: String::new(),
            lease_store: LeaseStoreKind::None,
            patroni_url: String::new(),
            lease_endpoints: Vec::new(),
            lease_ca_file: PathBuf::new(),
            lease_cert_file: PathBuf::new(),
            lease_key_file: PathBuf::new(),
            lease_prefix: "/atoll/".into(),
            lease_ttl_ms: 6000,
            lease_renew_ms: 1000,
            lease_call_ms_max: 1000,
            lease_margin_ms: 500,
            bootstrap: true,
            advertise: String::new(),
            postgres_settings: BTreeMap::from([("shared_buffers".into(), "128MB".into())]),
        }
    }
}

/// What is wrong with settings that are well-formed.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSettings {
    #[error("{key} must be set")]
    Missing { key: &'static str },
    #[error("{key} must be an absolute path, not \"{path}\"", path = path.display())]
    Relative { key: &'static str, path: PathBuf },
    #[error("run_dir: the socket path \"{path}\" is longer than the {max} bytes a Unix socket allows", path = path.display())]
    SocketPath { path: PathBuf, max: usize },
    #[error("listen: \"{listen}\" is not an address like 127.0.0.1:6440")]
    Listen { listen: String },
    #[error("lease_endpoints must name the lease store")]
    LeaseEndpoints,
    #[error("patroni_url: \"{url}\" is not the address of a REST API without TLS, like http://127.0.0.1:8008")]
    PatroniUrl { url: String },
    #[error("lease_ttl_ms must be above lease_renew_ms + lease_call_ms_max + lease_margin_ms")]
    LeaseTimes,
    #[error("lanes_max must be between 1 and 10000")]
    LanesMax,
    #[error("capacity must be above 0")]
    Capacity,
    #[error("postgres_settings.{name} cannot be set: the agent sets it")]
    ReservedSetting { name: String },
    #[error("postgres_settings.{name} is not a setting's name, or its value spans lines")]
    MalformedSetting { name: String },
}

/// Longest path of a Unix socket on Linux, in bytes (`sun_path` less its terminator).
const SOCKET_PATH_LEN_MAX: usize = 107;

/// PostgreSQL settings that decide how the agent reaches it.
const RESERVED_SETTINGS: [&str; 7] = [
    "config_file",
    "data_directory",
    "hba_file",
    "listen_addresses",
    "port",
    "unix_socket_directories",
    "logging_collector",
];

impl Settings {
    /// # Errors
    /// The first thing that is wrong, naming its key.
    pub fn validate(&self) -> Result<(), InvalidSettings> {
        for (key, text) in [("name", &self.name), ("group", &self.group)] {
            if text.is_empty() {
                return Err(InvalidSettings::Missing { key });
            }
        }
        for (key, path) in [
            ("token_file", &self.token_file),
            ("run_dir", &self.run_dir),
            ("data_dir", &self.data_dir),
            ("postgres_bindir", &self.postgres_bindir),
            ("postgres_log", &self.postgres_log),
        ] {
            // Patroni's PostgreSQL logs where Patroni says.
            if key == "postgres_log" && self.lease_store == LeaseStoreKind::Patroni {
                continue;
            }
            if path.as_os_str().is_empty() {
                return Err(InvalidSettings::Missing { key });
            }
            if path.is_relative() {
                return Err(InvalidSettings::Relative { key, path: path.clone() });
            }
        }
        for path in [self.agent_socket(), self.postgres_socket()] {
            if path.as_os_str().len() > SOCKET_PATH_LEN_MAX {
                return Err(InvalidSettings::SocketPath { path, max: SOCKET_PATH_LEN_MAX });
            }
        }
        self.listen_address()?;
        if !(1..=10_000).contains(&self.lanes_max) {
            return Err(InvalidSettings::LanesMax);
        }
        if self.capacity.is_nan() || self.capacity <= 0.0 {
            return Err(InvalidSettings::Capacity);
        }
        if self.lease_store == LeaseStoreKind::Patroni {
            self.patroni_address()?;
        } else if self.lease_store != LeaseStoreKind::None {
            if self.lease_endpoints.is_empty() {
                return Err(InvalidSettings::LeaseEndpoints);
            }
            if self.lease_ttl_ms <= self.lease_renew_ms + self.lease_call_ms_max + self.lease_margin_ms {
                return Err(InvalidSettings::LeaseTimes);
            }
        }
        for (name, value) in &self.postgres_settings {
            if RESERVED_SETTINGS.contains(&name.to_lowercase().as_str()) {
                return Err(InvalidSettings::ReservedSetting { name: name.clone() });
            }
            let letters = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
            if name.is_empty() || !letters || value.contains(['\n', '\r', '\0']) {
                return Err(InvalidSettings::MalformedSetting { name: name.clone() });
            }
        }
        Ok(())
    }

    /// # Errors
    /// When `listen` is not host:port with a numeric host.
    pub fn listen_address(&self) -> Result<SocketAddr, InvalidSettings> {
        self.listen.parse().map_err(|_| InvalidSettings::Listen { listen: self.listen.clone() })
    }

    /// host:port of `patroni_url`.
    ///
    /// # Errors
    /// When it is not http://host:port.
    pub fn patroni_address(&self) -> Result<&str, InvalidSettings> {
        let url = &self.patroni_url;
        let address = url.strip_prefix("http://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
        let is_address = |address: &&str| {
            let parts = address.rsplit_once(':').filter(|(host, port)| !host.is_empty() && is_port(port));
            parts.is_some() && !address.contains(|c: char| matches!(c, '/' | '@') || c.is_whitespace())
        };
        address.filter(is_address).ok_or_else(|| InvalidSettings::PatroniUrl { url: url.clone() })
    }

    /// Where gRPC is served to this host.
    pub fn agent_socket(&self) -> PathBuf {
        self.run_dir.join("agent.sock")
    }

    /// Where coordinators on this host fetch backends' sockets.
    pub fn handover_socket(&self) -> PathBuf {
        self.run_dir.join("handover.sock")
    }

    /// PostgreSQL's private socket.
    pub fn postgres_socket(&self) -> PathBuf {
        self.run_dir.join(format!(".s.PGSQL.{}", self.postgres_port))
    }

    /// `max_connections`: lanes, and room for superusers, replicas and the agent itself.
    pub fn connections_max(&self) -> u32 {
        self.lanes_max + 20
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_sample_file_is_valid() {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/agent.toml");
        let settings = atoll_settings::load(&Settings::default(), Some(&sample), "ATOLL_", [], &[]).unwrap();
        settings.validate().unwrap();
        assert_eq!(settings.postgres_settings["shared_buffers"], "128MB");
    }

    #[test]
    fn every_key_is_in_the_sample_file() {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/agent.toml");
        let text = std::fs::read_to_string(sample).unwrap();
        let printed = atoll_settings::print(&Settings::default()).unwrap();
        for key in printed.lines().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key) {
            let there = text.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} =")));
            assert!(there, "{key} is not in deploy/agent.toml");
        }
    }

    #[test]
    fn what_the_agent_needs_cannot_be_overridden() {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/agent.toml");
        let valid = atoll_settings::load(&Settings::default(), Some(&sample), "ATOLL_", [], &[]).unwrap();
        let with = |name: &str, value: &str| {
            let mut settings = valid.clone();
            settings.postgres_settings.insert(name.into(), value.into());
            settings.validate()
        };
        assert!(with("work_mem", "8MB").is_ok());
        assert!(matches!(with("port", "1"), Err(InvalidSettings::ReservedSetting { .. })));
        assert!(matches!(with("work_mem", "1\nport = 2"), Err(InvalidSettings::MalformedSetting { .. })));
        let long = Settings { run_dir: format!("/{}", "x".repeat(100)).into(), ..valid.clone() };
        assert!(matches!(long.validate(), Err(InvalidSettings::SocketPath { .. })));
        let relative = Settings { data_dir: "data".into(), ..valid };
        assert!(matches!(relative.validate(), Err(InvalidSettings::Relative { .. })));
    }

    #[test]
    fn patroni_needs_its_address_and_no_lease_store() {
        let with = |url: &str| Settings {
            name: "n1".into(),
            group: "g1".into(),
            token_file: "/token".into(),
            run_dir: "/run/atoll".into(),
            data_dir: "/data".into(),
            lease_store: LeaseStoreKind::Patroni,
            patroni_url: url.into(),
            ..Settings::default()
        };
        for url in ["http://127.0.0.1:8008", "http://[::1]:8008/", "http://db1.example.net:80"] {
            with(url).validate().unwrap_or_else(|error| panic!("{url}: {error}"));
        }
        assert_eq!(with("http://[::1]:8008/").patroni_address().unwrap(), "[::1]:8008");
        for url in ["", "127.0.0.1:8008", "https://127.0.0.1:8008", "http://127.0.0.1", "http://h:0", "http://h:1/x"] {
            assert!(matches!(with(url).validate(), Err(InvalidSettings::PatroniUrl { .. })), "{url}");
        }
    }
}
