//! A real agent with its own PostgreSQL in a temporary folder, and a client that holds lanes.
#![expect(dead_code, reason = "each test file uses some of it")]

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use atoll_proto::auth::Token;
use atoll_proto::channel::{MESSAGE_BYTES_MAX, connect_lazy};
use atoll_proto::v1::lane_reply::Kind;
use atoll_proto::v1::lane_request;
use atoll_proto::v1::lanes_client::LanesClient;
use atoll_proto::v1::node_client::NodeClient;
use atoll_proto::v1::{Fragment, FragmentDone, LaneOpen, LaneOpened, LaneRefused, LaneReply, LaneRequest};
use atoll_proto::v1::{NodeState, StateRequest};
use atoll_wire::backend::{decode, tag};
use atoll_wire::frames::{Frame, next_frame};
use atoll_wire::frontend;
use atoll_wire::rows::IpcReader;
use bytes::{Bytes, BytesMut};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, chown, geteuid};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// How long anything may take.
pub const DEADLINE: Duration = Duration::from_secs(60);
pub const SECRET: &str = "the-cluster-token";

pub type Client = LanesClient<InterceptedService<Channel, Token>>;

pub struct Agent {
    pub dir: TempDir,
    pub address: String,
    pub metrics: String,
    pub postgres_port: u16,
    child: Child,
}

/// Ports nobody listens on at the moment, all different.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

impl Agent {
    /// An agent with `lanes_max`, once its PostgreSQL is running.
    pub async fn start(lanes_max: u32) -> Self {
        let dir = TempDir::with_prefix("atoll-agent-").unwrap();
        let run_as = if geteuid().is_root() { "postgres" } else { "" };
        if let Some(user) = (!run_as.is_empty()).then(|| User::from_name(run_as).unwrap().unwrap()) {
            chown(dir.path(), Some(user.uid), Some(user.gid)).unwrap();
        }
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(dir.path().join("token"), format!("{SECRET}\n")).unwrap();
        let [listen, metrics, postgres_port] = free_ports();
        let path = dir.path().display();
        let text = format!(
            "name = \"n1\"\ngroup = \"g1\"\nzone = \"here\"\ncapacity = 2.0\nepoch = 7\n\
             token_file = \"{path}/token\"\nlisten = \"127.0.0.1:{listen}\"\nrun_dir = \"{path}/run\"\n\
             data_dir = \"{path}/data\"\npostgres_port = {postgres_port}\npostgres_auth = \"trust\"\n\
             postgres_log = \"{path}/postgres.log\"\nrun_as = \"{run_as}\"\nlanes_max = {lanes_max}\nworkers = 2\n\
             metrics_listen = \"127.0.0.1:{metrics}\"\n\
             [postgres_settings]\nshared_buffers = \"16MB\"\nfsync = \"off\"\n"
        );
        fs::write(dir.path().join("agent.toml"), text).unwrap();
        let child = Self::spawn(dir.path());
        let (address, metrics) = (format!("127.0.0.1:{listen}"), format!("127.0.0.1:{metrics}"));
        let mut agent = Self { dir, address, metrics, postgres_port, child };
        agent.running().await;
        agent
    }

    fn spawn(dir: &Path) -> Child {
        let log = File::options().create(true).append(true).open(dir.join("agent.log")).unwrap();
        Command::new(env!("CARGO_BIN_EXE_atoll-agent"))
            .arg("--config")
            .arg(dir.join("agent.toml"))
            .env("ATOLL_LOG", "debug,h2=info,hyper=info,tower=info")
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// Starts the agent's process again.
    pub fn respawn(&mut self) {
        self.child = Self::spawn(self.dir.path());
    }

    pub fn log(&self) -> String {
        let text = |name| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        format!("agent.log:\n{}\npostgres.log:\n{}", text("agent.log"), text("postgres.log"))
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("run/agent.sock")
    }

    /// A channel over the Unix socket.
    pub fn channel(&self) -> Channel {
        connect_lazy(&self.address, Some(&self.socket())).unwrap()
    }

    pub fn client(&self) -> Client {
        self.client_on(self.channel(), SECRET)
    }

    pub fn client_on(&self, channel: Channel, secret: &str) -> Client {
        LanesClient::with_interceptor(channel, Token::new(secret).unwrap())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub fn node(&self) -> NodeClient<InterceptedService<Channel, Token>> {
        NodeClient::with_interceptor(connect_lazy(&self.address, None).unwrap(), Token::new(SECRET).unwrap())
    }

    pub async fn state(&self) -> Result<NodeState, Status> {
        timeout(DEADLINE, self.node().state(StateRequest {})).await.expect("State").map(|reply| reply.into_inner())
    }

    /// Waits until PostgreSQL is running; its state then.
    pub async fn running(&mut self) -> NodeState {
        self.until("state running", |state| state.is_ok_and(|state| state.state == "running")).await.unwrap()
    }

    /// Waits until `what` holds of the node's state.
    pub async fn until(
        &mut self,
        what: &str,
        holds: impl Fn(Result<&NodeState, &Status>) -> bool,
    ) -> Result<NodeState, Status> {
        let deadline = Instant::now() + DEADLINE;
        let mut poll = tokio::time::interval(Duration::from_millis(20));
        loop {
            poll.tick().await;
            let state = self.state().await;
            if holds(state.as_ref()) {
                return state;
            }
            assert!(Instant::now() < deadline, "waited for {what}, got {state:?}\n{}", self.log());
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the agent ended with {status} while waiting for {what}\n{}", self.log());
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for the agent's process to end.
    pub async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        let mut poll = tokio::time::interval(Duration::from_millis(20));
        loop {
            poll.tick().await;
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the agent does not end\n{}", self.log());
        }
    }

    /// The postmaster that the data directory names, if it is alive.
    pub fn postmaster(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.dir.path().join("data/postmaster.pid")).ok()?;
        let pid = Pid::from_raw(text.lines().next()?.parse().ok()?);
        kill(pid, None).ok().map(|()| pid)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(pid) = self.postmaster() {
            let _ = kill(pid, Signal::SIGQUIT);
            while self.postmaster().is_some() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// An open lane, as a coordinator would hold it.
pub struct Lane {
    pub opened: LaneOpened,
    requests: mpsc::Sender<LaneRequest>,
    replies: Streaming<LaneReply>,
    inbox: BytesMut,
}

pub fn open_request() -> LaneOpen {
    LaneOpen {
        database: "postgres".into(),
        role: "postgres".into(),
        epoch: 7,
        parameters: HashMap::from([("application_name".into(), "test".into())]),
        wait_ms_max: 10_000,
        hand_over: false,
        replica: false,
    }
}

#[derive(Debug)]
pub enum NoLane {
    Refused(LaneRefused),
    Failed(Status),
}

impl Lane {
    pub async fn open(client: &mut Client, open: LaneOpen) -> Result<Self, NoLane> {
        let (requests, outgoing) = mpsc::channel(16);
        requests.send(LaneRequest { kind: Some(lane_request::Kind::Open(open)) }).await.unwrap();
        let replies = timeout(DEADLINE, client.open(ReceiverStream::new(outgoing))).await.expect("Open");
        let mut replies = replies.map_err(NoLane::Failed)?.into_inner();
        let first = timeout(DEADLINE, replies.message()).await.expect("the first reply");
        match first.map_err(NoLane::Failed)?.and_then(|reply| reply.kind) {
            Some(Kind::Opened(opened)) => Ok(Self { opened, requests, replies, inbox: BytesMut::new() }),
            Some(Kind::Refused(refused)) => Err(NoLane::Refused(refused)),
            other => panic!("neither opened nor refused: {other:?}"),
        }
    }

    pub async fn new(agent: &Agent) -> Self {
        Self::open(&mut agent.client(), open_request()).await.unwrap()
    }

    pub async fn request(&self, kind: lane_request::Kind) {
        let sent = self.requests.send(LaneRequest { kind: Some(kind) });
        timeout(DEADLINE, sent).await.expect("the request to be taken").expect("the stream to be open");
    }

    pub async fn send(&self, frames: BytesMut) {
        self.request(lane_request::Kind::Frames(frames.freeze())).await;
    }

    /// Ends the request stream; what is left of the replies.
    pub fn finish(self) -> Streaming<LaneReply> {
        self.replies
    }

    /// Another end of the request stream, to send while replies are read.
    pub fn sender(&self) -> mpsc::Sender<LaneRequest> {
        self.requests.clone()
    }

    pub async fn reply(&mut self) -> Result<Option<Kind>, Status> {
        let reply = timeout(DEADLINE, self.replies.message()).await.expect("a reply");
        reply.map(|reply| reply.map(|reply| reply.kind.expect("a kind")))
    }

    /// The next frame from the backend.
    pub async fn frame(&mut self) -> Result<Frame, Status> {
        loop {
            if let Some(frame) = next_frame(&mut self.inbox, MESSAGE_BYTES_MAX).unwrap() {
                return Ok(frame);
            }
            match self.reply().await? {
                Some(Kind::Frames(frames)) => self.inbox.extend_from_slice(&frames),
                Some(other) => panic!("expected frames, got {other:?}"),
                None => return Err(Status::cancelled("the stream ended")),
            }
        }
    }

    /// The frames up to ReadyForQuery.
    pub async fn exchange(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            let frame = self.frame().await.unwrap();
            let last = frame.tag == tag::READY_FOR_QUERY;
            frames.push(frame);
            if last {
                return frames;
            }
        }
    }

    /// Sends a simple query; the frames of its answer.
    pub async fn query(&mut self, sql: &str) -> Vec<Frame> {
        let mut packet = BytesMut::new();
        frontend::query(sql, &mut packet);
        self.send(packet).await;
        self.exchange().await
    }

    /// The first field of the first row of a simple query.
    pub async fn ask(&mut self, sql: &str) -> String {
        let frames = self.query(sql).await;
        let row = frames.iter().find(|frame| frame.tag == tag::DATA_ROW).unwrap_or_else(|| panic!("{frames:?}"));
        let field = decode::data_row(row.body_slice()).unwrap().next_field().unwrap().flatten().unwrap();
        String::from_utf8(field.to_vec()).unwrap()
    }

    /// Runs a fragment: its Arrow bytes, read, and how it ended.
    pub async fn fragment(&mut self, fragment: Fragment) -> (IpcReader, FragmentDone) {
        self.request(lane_request::Kind::Fragment(fragment)).await;
        let mut reader = IpcReader::new();
        loop {
            match self.reply().await.unwrap() {
                Some(Kind::Arrow(chunk)) => reader.push(chunk),
                Some(Kind::FragmentDone(done)) => return (reader, done),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// SQLSTATE and message of an ErrorResponse frame.
pub fn error_of(frame: &Bytes) -> (String, String) {
    assert_eq!(frame[0], tag::ERROR_RESPONSE);
    let fields = decode::error_fields(&frame[5..]).unwrap();
    (fields.sqlstate().to_owned(), fields.message().to_owned())
}

pub fn tags(frames: &[Frame]) -> String {
    frames.iter().map(|frame| char::from(frame.tag)).collect()
}
