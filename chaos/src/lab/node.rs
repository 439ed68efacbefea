//! One node: a machine with an agent and its PostgreSQL.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use atoll_proto::auth::Token;
use atoll_proto::channel;
use atoll_proto::v1::node_client::NodeClient;
use atoll_proto::v1::{NodeState, StateRequest};
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use super::files::{self, AGENT_PORT, AgentFile, POSTGRES_PORT};
use super::machine::Machine;
use super::service::{Service, Spec};
use super::{Programs, SHM_BYTES, Topology, make_dir, network, processes};

/// How long an agent or a server may take to answer the suite.
const ANSWER_MAX: Duration = Duration::from_secs(2);
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

type NodeService = NodeClient<InterceptedService<Channel, Token>>;

pub struct Node {
    pub name: String,
    pub group: String,
    pub capacity: f64,
    pub machine: Arc<Machine>,
    pub agent: Arc<Service>,
    /// Folder of the machine's files.
    pub home: PathBuf,
    /// File that says how far its clock is off; `None`: it has the true time.
    clock: Option<PathBuf>,
    token: Token,
    /// The channel to its agent, and under which boot of the machine it was made.
    channel: Mutex<Option<(u32, NodeService)>>,
}

impl Node {
    /// Starts node `place` (group, number) on a machine of its own.
    ///
    /// # Errors
    /// When the machine cannot be made.
    pub async fn start(
        dir: &Path,
        place: (u8, u8),
        topology: &Topology,
        store: &[String],
        programs: &Programs,
    ) -> Result<Node> {
        let (group, number) = place;
        let owner = super::owner()?;
        let name = format!("g{group}-n{number}");
        let home = dir.join(&name);
        make_dir(&home, owner)?;
        make_dir(&home.join("disk"), owner)?;
        let machine = Arc::new(Machine::start(&name, Ipv4Addr::new(10, 77, group, number)).await?);
        network::connect(&machine).await?;
        machine.mount_memory(Path::new("/dev/shm"), SHM_BYTES, 0o1777, (0, 0)).await?;
        machine.mount_memory(&files::run_dir(&home), 1 << 20, 0o700, owner).await?;
        if let Some(bytes) = topology.data_bytes {
            machine.mount_memory(&home.join("disk"), bytes, 0o700, owner).await?;
        }
        let capacity = topology.capacities.get(usize::from(number) - 1).copied().unwrap_or(1.0);
        let clock = (topology.clocks && number == topology.nodes).then(|| home.join("clock"));
        let mut environment = vec![("RUST_LOG".to_owned(), "info".to_owned())];
        let mut bindir = programs.postgres.clone();
        if let Some(clock) = &clock {
            fs::write(clock, "+0s\n")?;
            environment.extend(clock_environment(clock));
            bindir = home.join("bin");
            write_programs(&bindir, &programs.postgres, &clock_environment(clock))?;
        }
        let config = home.join("agent.toml");
        let settings: Vec<(String, String)> = [
            ("shared_buffers", "32MB"),
            ("max_wal_size", "192MB"),
            ("min_wal_size", "64MB"),
            ("log_line_prefix", "%m [%p] "),
            ("log_checkpoints", "off"),
            ("max_prepared_transactions", "100"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        let token_file = dir.join("token");
        let file = AgentFile {
            name: &name,
            group: &format!("g{group}"),
            address: machine.address.to_string(),
            capacity,
            home: &home,
            token: &token_file,
            bindir: &bindir,
            store,
            bootstrap: number == 1,
            settings: &settings,
        };
        fs::write(&config, file.text())?;
        let spec = Spec {
            program: programs.own.join("atoll-agent"),
            arguments: vec!["--config".to_owned(), config.to_string_lossy().into_owned()],
            environment,
            log: home.join("agent.log"),
            owner,
        };
        let agent = Service::start(&name, machine.clone(), spec);
        let token = Token::new(&fs::read_to_string(&token_file)?)?;
        let group = format!("g{group}");
        Ok(Node { name, group, capacity, machine, agent, home, clock, token, channel: Mutex::default() })
    }

    pub fn agent_address(&self) -> String {
        format!("{}:{AGENT_PORT}", self.machine.address)
    }

    /// What its agent says, asked on the machine itself, so that a cut network does not matter; `None` when it does not answer.
    pub async fn state(&self) -> Option<NodeState> {
        let mut agent = self.channel()?;
        let reply = timeout(ANSWER_MAX, agent.state(StateRequest {})).await.ok()?;
        Some(reply.ok()?.into_inner())
    }

    /// A connection to its PostgreSQL, made on the machine itself as superuser.
    ///
    /// # Errors
    /// When it does not answer within 2 s.
    pub async fn connect(&self, database: &str) -> Result<Client> {
        let dir = self.machine.path(&files::run_dir(&self.home)).with_context(|| format!("{} is off", self.name))?;
        let mut config = tokio_postgres::Config::new();
        config.host_path(dir).port(POSTGRES_PORT).user("postgres").dbname(database).application_name("chaos");
        let connected = timeout(ANSWER_MAX, config.connect(NoTls)).await;
        let (client, connection) = connected.with_context(|| format!("{} does not answer", self.name))??;
        tokio::spawn(connection);
        Ok(client)
    }

    /// The first column of the first row of a query's answer; empty when there is none.
    ///
    /// # Errors
    /// When the server cannot be asked, or refuses.
    pub async fn ask(&self, sql: &str) -> Result<String> {
        let client = self.connect("postgres").await?;
        let answer = timeout(ANSWER_MAX, client.simple_query(sql)).await;
        Ok(first_value(&answer.with_context(|| format!("{} does not answer", self.name))??))
    }

    /// The postmaster, as the suite sees it.
    pub fn postmaster(&self) -> Option<u32> {
        processes::postmaster(&self.machine, &files::data_dir(&self.home))
    }

    /// Sets the machine's clock off by that many seconds, for agent and PostgreSQL; `false` when it has none to set.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_clock(&self, seconds: i64) -> Result<bool> {
        let Some(clock) = &self.clock else { return Ok(false) };
        // In place of the old file at once: a reader must not find half of it.
        let next = clock.with_extension("next");
        fs::write(&next, format!("{seconds:+}s\n"))?;
        fs::rename(&next, clock)?;
        Ok(true)
    }

    pub fn has_clock(&self) -> bool {
        self.clock.is_some()
    }

    fn channel(&self) -> Option<NodeService> {
        let boot = self.machine.init_pid()?;
        let mut kept = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, client)) = &*kept
            && *made == boot
        {
            return Some(client.clone());
        }
        let socket = self.machine.path(&files::run_dir(&self.home).join("agent.sock"))?;
        // Before it exists there is only the network, which is not what is asked for.
        if !socket.exists() {
            return None;
        }
        // Sockets are for callers on the same host, as which the suite passes.
        let channel = channel::connect_lazy(&format!("127.0.0.1:{AGENT_PORT}"), Some(&socket)).ok()?;
        let client = NodeClient::with_interceptor(channel, self.token.clone());
        *kept = Some((boot, client.clone()));
        Some(client)
    }
}

/// What makes a process read the clock file.
fn clock_environment(clock: &Path) -> Vec<(String, String)> {
    [
        ("LD_PRELOAD", FAKETIME),
        ("FAKETIME_TIMESTAMP_FILE", &*clock.to_string_lossy()),
        ("FAKETIME_CACHE_DURATION", "1"),
        // Leases are kept by the clock that nobody sets.
        ("DONT_FAKE_MONOTONIC", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

/// A folder with PostgreSQL's programs in which the server gets that environment, which agents do not pass on.
fn write_programs(folder: &Path, of: &Path, environment: &[(String, String)]) -> Result<()> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(of).with_context(|| of.display().to_string())? {
        let entry = entry?;
        if entry.file_name() != "postgres" {
            symlink(entry.path(), folder.join(entry.file_name()))?;
        }
    }
    let environment: Vec<String> = environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let script = format!("#!/bin/sh\nexec env {} {}/postgres \"$@\"\n", environment.join(" "), of.display());
    fs::write(folder.join("postgres"), script)?;
    fs::set_permissions(folder.join("postgres"), fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// The first column of the first row; empty when there is none.
pub fn first_value(messages: &[SimpleQueryMessage]) -> String {
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    row.and_then(|row| row.get(0)).unwrap_or_default().to_owned()
}
