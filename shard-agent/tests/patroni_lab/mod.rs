//! Two nodes that Patroni runs, each with its agent, and one etcd; all on loopback.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use atoll_proto::auth::Token;
use atoll_proto::channel::{MESSAGE_BYTES_MAX, connect_lazy};
use atoll_proto::v1::group_client::GroupClient;
use atoll_proto::v1::lanes_client::LanesClient;
use atoll_proto::v1::node_client::NodeClient;
use atoll_proto::v1::{NodeState, StateRequest};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown, geteuid};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use super::common::{Client, SECRET};

pub const TTL: Duration = Duration::from_secs(20);
pub const RETRY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long anything may take; Patroni takes its time.
const DEADLINE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(100);

struct Node {
    name: String,
    dir: PathBuf,
    agent_port: u16,
    rest_port: u16,
    agent: Option<Child>,
    patroni: Option<Child>,
}

pub struct Lab {
    nodes: Vec<Node>,
    etcd: Option<Child>,
    etcd_port: u16,
    /// Whom Patroni and PostgreSQL run as, when that is not the test's own user.
    owner: Option<User>,
    dir: TempDir,
}

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// Ends a child: politely, then not.
fn end(child: Option<Child>) {
    let Some(mut child) = child else { return };
    let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
    let deadline = Instant::now() + Duration::from_secs(20);
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
        std::thread::sleep(POLL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

impl Lab {
    /// Two nodes of which nothing runs yet.
    pub fn new() -> Self {
        let dir = TempDir::with_prefix("atoll-patroni-").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.path().join("token"), format!("{SECRET}\n")).unwrap();
        let owner = geteuid().is_root().then(|| User::from_name("postgres").unwrap().unwrap());
        let [etcd_port] = free_ports();
        let mut lab = Self { nodes: Vec::new(), etcd: None, etcd_port, owner, dir };
        for name in ["p1", "p2"] {
            lab.add(name);
        }
        lab
    }

    fn add(&mut self, name: &str) {
        let dir = self.dir.path().join(name);
        for path in [dir.clone(), dir.join("run")] {
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            if let Some(user) = &self.owner {
                chown(&path, Some(user.uid), Some(user.gid)).unwrap();
            }
        }
        let [agent_port, rest_port, postgres_port] = free_ports();
        let (home, run_as) = (dir.display(), if self.owner.is_some() { "postgres" } else { "" });
        let agent = format!(
            "name = \"{name}\"\ngroup = \"g1\"\ntoken_file = \"{token}\"\nlisten = \"127.0.0.1:{agent_port}\"\n\
             run_dir = \"{home}/run\"\ndata_dir = \"{home}/data\"\npostgres_port = {postgres_port}\nrun_as = \"{run_as}\"\n\
             lanes_max = 20\nworkers = 1\nmetrics_listen = \"\"\nlease_store = \"patroni\"\n\
             patroni_url = \"http://127.0.0.1:{rest_port}\"\n",
            token = self.dir.path().join("token").display(),
        );
        fs::write(dir.join("agent.toml"), agent).unwrap();
        let patroni = format!(
            "scope: followed
name: {name}
restapi:
  listen: 127.0.0.1:{rest_port}
  connect_address: 127.0.0.1:{rest_port}
etcd3:
  hosts: 127.0.0.1:{etcd}
bootstrap:
  dcs:
    ttl: {ttl}
    loop_wait: 2
    retry_timeout: {retry}
    postgresql:
      use_pg_rewind: true
  initdb:
    - encoding: UTF8
    - locale: C.UTF-8
    - data-checksums
  pg_hba:
    - local all all trust
    - host all all 127.0.0.1/32 trust
    - host replication all 127.0.0.1/32 trust
postgresql:
  listen: 127.0.0.1:{postgres_port}
  connect_address: 127.0.0.1:{postgres_port}
  data_dir: {home}/data
  bin_dir: /usr/lib/postgresql/15/bin
  pgpass: {home}/pgpass
  authentication:
    superuser:
      username: postgres
    replication:
      username: replicator
  parameters:
    unix_socket_directories: {home}/run
    unix_socket_permissions: '0700'
    shared_buffers: 16MB
    fsync: 'off'
",
            etcd = self.etcd_port,
            ttl = TTL.as_secs(),
            retry = RETRY_TIMEOUT.as_secs(),
        );
        fs::write(dir.join("patroni.yml"), patroni).unwrap();
        self.nodes.push(Node { name: name.into(), dir, agent_port, rest_port, agent: None, patroni: None });
    }

    fn log_of(dir: &Path, name: &str) -> File {
        File::options().create(true).append(true).open(dir.join(name)).unwrap()
    }

    pub async fn start_etcd(&mut self) {
        let [peer] = free_ports();
        let (client, peer) = (format!("http://127.0.0.1:{}", self.etcd_port), format!("http://127.0.0.1:{peer}"));
        let log = Self::log_of(self.dir.path(), "etcd.log");
        let etcd = Command::new("etcd")
            .arg("--data-dir")
            .arg(self.dir.path().join("etcd"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.etcd = Some(etcd);
        let deadline = Instant::now() + DEADLINE;
        while TcpStream::connect(("127.0.0.1", self.etcd_port)).is_err() {
            assert!(Instant::now() < deadline, "etcd does not listen");
            sleep(POLL).await;
        }
    }

    pub fn start_patroni(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let log = Self::log_of(&node.dir, "patroni.log");
        let mut command = Command::new("/usr/bin/patroni");
        command.arg(node.dir.join("patroni.yml")).current_dir(&node.dir).env("HOME", &node.dir);
        if let Some(user) = &self.owner {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        node.patroni = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }

    pub fn kill_patroni(&mut self, number: usize) {
        let mut patroni = self.nodes[number].patroni.take().unwrap();
        patroni.kill().unwrap();
        patroni.wait().unwrap();
    }

    pub fn start_agent(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let log = Self::log_of(&node.dir, "agent.log");
        let agent = Command::new(env!("CARGO_BIN_EXE_atoll-agent"))
            .arg("--config")
            .arg(node.dir.join("agent.toml"))
            .env("ATOLL_LOG", "debug,h2=info,hyper=info,tower=info")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        node.agent = Some(agent);
    }

    pub fn stop_agent(&mut self, number: usize) {
        end(self.nodes[number].agent.take());
    }

    /// The living postmaster of a node.
    pub fn postmaster(&self, number: usize) -> Option<u32> {
        let text = fs::read_to_string(self.nodes[number].dir.join("data/postmaster.pid")).ok()?;
        let pid: i32 = text.lines().next()?.trim().parse().ok()?;
        kill(Pid::from_raw(pid), None).ok().map(|()| pid.cast_unsigned())
    }

    /// Asks Patroni of node `from` to make `to` the primary.
    pub fn switch_over(&self, from: usize, to: usize) {
        let body = format!(r#"{{"leader": "{}", "candidate": "{}"}}"#, self.nodes[from].name, self.nodes[to].name);
        let mut stream = TcpStream::connect(("127.0.0.1", self.nodes[from].rest_port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        write!(stream, "POST /switchover HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.lines().next().is_some_and(|status| status.contains(" 200 ")), "{answer}\n{}", self.logs());
    }

    fn channel(&self, number: usize) -> (Channel, Token) {
        let address = format!("127.0.0.1:{}", self.nodes[number].agent_port);
        (connect_lazy(&address, None).unwrap(), Token::new(SECRET).unwrap())
    }

    pub fn lanes(&self, number: usize) -> Client {
        let (channel, token) = self.channel(number);
        LanesClient::with_interceptor(channel, token)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub fn group(&self, number: usize) -> GroupClient<InterceptedService<Channel, Token>> {
        let (channel, token) = self.channel(number);
        GroupClient::with_interceptor(channel, token)
    }

    pub async fn state(&self, number: usize) -> Option<NodeState> {
        let (channel, token) = self.channel(number);
        let mut client = NodeClient::with_interceptor(channel, token);
        Some(timeout(Duration::from_secs(5), client.state(StateRequest {})).await.ok()?.ok()?.into_inner())
    }

    /// Waits until `holds` of a node's state.
    pub async fn until(&self, number: usize, what: &str, holds: impl Fn(&NodeState) -> bool) -> NodeState {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let state = self.state(number).await;
            if let Some(state) = state.as_ref().filter(|state| holds(state)) {
                return state.clone();
            }
            let name = &self.nodes[number].name;
            assert!(Instant::now() < deadline, "{name}: waited until {what}, got {state:?}\n{}", self.logs());
            sleep(POLL).await;
        }
    }

    fn logs(&self) -> String {
        let ends = self.nodes.iter().flat_map(|node| {
            ["agent.log", "patroni.log"].map(|name| {
                let text = fs::read_to_string(node.dir.join(name)).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                format!("{} {name}:\n{}\n", node.name, lines[lines.len().saturating_sub(40)..].join("\n"))
            })
        });
        ends.collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            end(node.agent.take());
            // It stops its PostgreSQL.
            end(node.patroni.take());
        }
        for number in 0..self.nodes.len() {
            let deadline = Instant::now() + Duration::from_secs(10);
            while let Some(pid) = self.postmaster(number)
                && Instant::now() < deadline
            {
                let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGQUIT);
                std::thread::sleep(POLL);
            }
        }
        end(self.etcd.take());
    }
}
