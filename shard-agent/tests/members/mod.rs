//! A group of agents as processes, and an arbiter that can be stopped.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use atoll_control::arbiter::Arbiter;
use atoll_control::record::GroupRecord;
use atoll_proto::auth::Token;
use atoll_proto::channel::connect_lazy;
use atoll_proto::v1::group_client::GroupClient;
use atoll_proto::v1::leases_server::LeasesServer;
use atoll_proto::v1::node_client::NodeClient;
use atoll_proto::v1::{DescribeRequest, NodeState, PauseRequest, RemoveRequest, StateRequest, SwitchoverRequest};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown, geteuid};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Server};

const SECRET: &str = "the-cluster-token";
pub const TTL: Duration = Duration::from_millis(3500);
/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

struct Member {
    name: String,
    dir: PathBuf,
    address: String,
    postgres_port: u16,
    child: Option<Child>,
}

struct Serving {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

pub struct Lab {
    dir: TempDir,
    arbiter_port: u16,
    arbiter: Option<Serving>,
    members: Vec<Member>,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

pub fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

type Client<T> = InterceptedService<Channel, T>;

impl Lab {
    /// A group of `count` nodes; the first makes the data.
    pub async fn start(count: usize) -> Self {
        let dir = TempDir::with_prefix("atoll-group-").unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(dir.path().join("token"), format!("{SECRET}\n")).unwrap();
        let mut lab = Self { dir, arbiter_port: free_port(), arbiter: None, members: Vec::new() };
        lab.start_arbiter().await;
        for _ in 0..count {
            lab.add().await;
        }
        lab
    }

    pub async fn start_arbiter(&mut self) {
        let stop = CancellationToken::new();
        let arbiter = Arbiter::start(&self.dir.path().join("arbiter.json"), stop.clone()).await.unwrap();
        let token = Token::new(SECRET).unwrap();
        let address = format!("127.0.0.1:{}", self.arbiter_port);
        let listener = tokio::net::TcpListener::bind(&address).await.unwrap();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let service = LeasesServer::with_interceptor(arbiter, token.check());
            let incoming = TcpListenerStream::new(listener);
            let serve = Server::builder().add_service(service).serve_with_incoming(incoming);
            tokio::select! {
                served = serve => served.unwrap(),
                () = stopped.cancelled() => (),
            }
        });
        self.arbiter = Some(Serving { stop, task });
    }

    pub async fn stop_arbiter(&mut self) {
        let serving = self.arbiter.take().unwrap();
        serving.stop.cancel();
        serving.task.await.unwrap();
    }

    /// One more node; its number.
    pub async fn add(&mut self) -> usize {
        let number = self.members.len();
        let name = format!("n{}", number + 1);
        let dir = self.dir.path().join(&name);
        fs::create_dir(&dir).unwrap();
        let run_as = if geteuid().is_root() { "postgres" } else { "" };
        if let Some(user) = (!run_as.is_empty()).then(|| User::from_name(run_as).unwrap().unwrap()) {
            chown(&dir, Some(user.uid), Some(user.gid)).unwrap();
        }
        let (listen, postgres_port) = (free_port(), free_port());
        let text = format!(
            "name = \"{name}\"\ngroup = \"g1\"\ntoken_file = \"{token}\"\nlisten = \"127.0.0.1:{listen}\"\n\
             run_dir = \"{dir}/run\"\ndata_dir = \"{dir}/data\"\npostgres_port = {postgres_port}\n\
             postgres_auth = \"trust\"\npostgres_log = \"{dir}/postgres.log\"\nrun_as = \"{run_as}\"\nlanes_max = 30\n\
             bootstrap = {bootstrap}\nlease_store = \"arbiter\"\nlease_endpoints = [\"127.0.0.1:{arbiter}\"]\n\
             lease_ttl_ms = {ttl}\nlease_renew_ms = 400\nlease_call_ms_max = 500\nlease_margin_ms = 300\n\
             [postgres_settings]\nshared_buffers = \"16MB\"\nfsync = \"off\"\n",
            token = self.dir.path().join("token").display(),
            dir = dir.display(),
            bootstrap = number == 0,
            arbiter = self.arbiter_port,
            ttl = TTL.as_millis(),
        );
        fs::write(dir.join("agent.toml"), text).unwrap();
        let address = format!("127.0.0.1:{listen}");
        self.members.push(Member { name, dir, address, postgres_port, child: None });
        self.restart_agent(number);
        number
    }

    pub fn restart_agent(&mut self, number: usize) {
        let member = &mut self.members[number];
        let log = File::options().create(true).append(true).open(member.dir.join("agent.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_atoll-agent"))
            .arg("--config")
            .arg(member.dir.join("agent.toml"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        member.child = Some(child);
    }

    pub fn kill_agent(&mut self, number: usize) {
        let mut child = self.members[number].child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub fn signal_agent(&self, number: usize, to_send: Signal) {
        signal(self.members[number].child.as_ref().unwrap().id(), to_send);
    }

    /// The living postmaster of a node.
    pub fn postmaster(&self, number: usize) -> Option<u32> {
        let text = fs::read_to_string(self.members[number].dir.join("data/postmaster.pid")).ok()?;
        text.lines().next()?.trim().parse().ok().filter(|pid| is_alive(*pid))
    }

    pub fn kill_postmaster(&self, number: usize) {
        signal(self.postmaster(number).unwrap(), Signal::SIGKILL);
    }

    fn channel(&self, number: usize) -> (Channel, Token) {
        let channel = connect_lazy(&self.members[number].address, None).unwrap();
        (channel, Token::new(SECRET).unwrap())
    }

    fn group(&self, number: usize) -> GroupClient<Client<Token>> {
        let (channel, token) = self.channel(number);
        GroupClient::with_interceptor(channel, token)
    }

    async fn state(&self, number: usize) -> Option<NodeState> {
        let (channel, token) = self.channel(number);
        let mut client = NodeClient::with_interceptor(channel, token);
        Some(timeout(Duration::from_secs(1), client.state(StateRequest {})).await.ok()?.ok()?.into_inner())
    }

    /// Nodes that call themselves primary; those whose agents stand still do not.
    pub async fn primaries(&self) -> Vec<usize> {
        let mut primaries = Vec::new();
        for number in 0..self.members.len() {
            if self.state(number).await.is_some_and(|state| state.role == "primary") {
                primaries.push(number);
            }
        }
        assert!(primaries.len() <= 1, "{primaries:?} are primary");
        primaries
    }

    pub async fn lease_ms(&self, number: usize) -> u64 {
        self.state(number).await.map_or(0, |state| state.lease_ms)
    }

    /// The primary's number and epoch.
    pub async fn leader(&self) -> (usize, u64) {
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            for number in self.primaries().await {
                if let Some(state) = self.state(number).await.filter(|state| state.role == "primary") {
                    return (number, state.epoch);
                }
            }
            sleep(POLL).await;
        }
        panic!("nobody leads")
    }

    /// Waits until another node than this one leads; its number.
    pub async fn another_leads(&self, last: usize) -> usize {
        self.until("another node leads", async |lab| {
            lab.primaries().await.first().is_some_and(|leader| *leader != last)
        })
        .await;
        self.leader().await.0
    }

    pub async fn record(&self) -> GroupRecord {
        for number in 0..self.members.len() {
            if let Ok(Ok(reply)) =
                timeout(Duration::from_secs(1), self.group(number).describe(DescribeRequest {})).await
            {
                return serde_json::from_str(&reply.into_inner().record).unwrap();
            }
        }
        panic!("nobody describes the group");
    }

    /// Waits until `leader` leads, and all other members whose agents run stream and could elect.
    pub async fn settled(&self, leader: usize) {
        self.until("the group is whole", async |lab| {
            if lab.primaries().await != [leader] {
                return false;
            }
            let record = lab.record().await;
            for number in 0..lab.members.len() {
                let name = &lab.members[number].name;
                let is_whole = record.members.contains_key(name)
                    && (number == leader
                        || (record.electorate.members.contains(name)
                            && lab.state(number).await.is_some_and(|state| state.role == "replica")));
                if !is_whole && !record.removed.contains(name) {
                    return false;
                }
            }
            true
        })
        .await;
    }

    pub async fn until(&self, what: &str, done: impl AsyncFn(&Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !done(self).await {
            if Instant::now() > deadline {
                for member in &self.members {
                    let log = fs::read_to_string(member.dir.join("agent.log")).unwrap_or_default();
                    let lines: Vec<&str> = log.lines().collect();
                    eprintln!("--- {}\n{}", member.name, lines[lines.len().saturating_sub(30)..].join("\n"));
                }
                panic!("waited {} s until {what}", DEADLINE.as_secs());
            }
            sleep(POLL).await;
        }
    }

    /// Runs SQL on the primary through psql; its output.
    async fn psql(&self, sql: &str) -> String {
        let (leader, _) = self.leader().await;
        let port = self.members[leader].postgres_port.to_string();
        let output = tokio::process::Command::new("psql")
            .args(["-XAtq", "-h", "127.0.0.1", "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-p", &port, "-c", sql])
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub async fn write(&self, sql: &str) {
        self.psql(sql).await;
    }

    pub async fn ids(&self, sql: &str) -> Vec<i32> {
        self.psql(sql).await.lines().map(|line| line.parse().unwrap()).collect()
    }

    pub async fn switch_over(&self, at: usize, to: &str) -> Result<String, String> {
        let request = SwitchoverRequest { group: "g1".into(), to: to.into() };
        done(self.group(at).switchover(request).await)
    }

    pub async fn pause(&self, at: usize, paused: bool) -> Result<String, String> {
        done(self.group(at).pause(PauseRequest { group: "g1".into(), paused }).await)
    }

    pub async fn remove(&self, at: usize, name: &str) -> Result<String, String> {
        done(self.group(at).remove(RemoveRequest { group: "g1".into(), name: name.into() }).await)
    }

    /// Stops all agents, and with them their PostgreSQL.
    pub async fn stop(mut self) {
        for member in &self.members {
            if let Some(child) = &member.child {
                signal(child.id(), Signal::SIGTERM);
            }
        }
        for member in &mut self.members {
            if let Some(mut child) = member.child.take() {
                let ended = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
                assert!(ended.success(), "{}: {ended}", member.name);
            }
        }
        self.stop_arbiter().await;
    }
}

fn done(reply: Result<tonic::Response<atoll_proto::v1::GroupDone>, Status>) -> Result<String, String> {
    reply.map(|done| done.into_inner().message).map_err(|status| status.message().to_owned())
}

impl Drop for Lab {
    fn drop(&mut self) {
        for number in 0..self.members.len() {
            if let Some(child) = &mut self.members[number].child {
                let _ = child.kill();
                let _ = child.wait();
            }
            if let Some(postmaster) = self.postmaster(number) {
                signal(postmaster, Signal::SIGQUIT);
            }
        }
    }
}
