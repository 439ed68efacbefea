//! A lane: one PostgreSQL backend, held by one gRPC stream to the agent beside it.

mod ask;
mod users;

use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use atoll_proto::auth::Token;
use atoll_proto::v1::lanes_client::LanesClient;
use atoll_proto::v1::{
    CancelRequest, Fragment, FragmentDone, LaneOpen, LaneOpened, LaneReply, LaneRequest, lane_reply, lane_request,
};
use atoll_wire::backend::{self, Column, ErrorFields, decode};
use atoll_wire::frames::peek;
use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Streaming;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use self::users::LastUser;
use crate::direct::Direct;
use crate::error::{Error, Loss, Result};
use crate::routing::Target;
use crate::session::client::Progress;
use crate::session::settings::Settings;

/// Requests a lane may have on their way to the agent before the sender waits.
const REQUESTS_QUEUED_MAX: usize = 8;

pub type LanesChannel = LanesClient<InterceptedService<Channel, Token>>;

/// The way to one node's agent.
#[derive(Clone)]
pub struct NodeChannel {
    pub node: Arc<str>,
    pub client: LanesChannel,
    /// The agent's Unix socket is on this host.
    pub same_host: bool,
}

/// What the backend of a lane has been told, so that it is told again only what differs.
pub struct BackendState {
    /// The settings in force, search_path aside.
    pub settings: Arc<Settings>,
    /// The search_path in force; `None` when it is not known (after a rollback).
    pub search_path: Option<Arc<str>>,
    /// Statements prepared there, by the coordinator's number: at which use of the lane each was last needed.
    pub prepared: HashMap<u64, u64>,
    uses: u64,
    /// The session that used it last.
    pub session: LastUser,
    /// The session left something behind that it may ask for again (sequences' last values) or that nobody else may meet (what unknown code
    /// did): its [`Session`](crate::session::Session)'s presence.
    pub residue: Option<Weak<()>>,
}

impl BackendState {
    /// A living session left something here.
    pub fn is_kept(&self) -> bool {
        self.residue.as_ref().is_some_and(|owner| owner.strong_count() > 0)
    }

    /// A living session other than `session` left something here.
    pub fn is_kept_from(&self, session: u64) -> bool {
        self.session.get() != session && self.is_kept()
    }
}

/// What comes back on a lane.
#[derive(Debug)]
pub enum Reply {
    /// Whole frames, as PostgreSQL sent them.
    Frames(Bytes),
    /// A chunk of an Arrow IPC stream.
    Arrow(Bytes),
    FragmentDone(FragmentDone),
}

/// A read that is given up when its replica is ejected.
struct Hedged {
    ejection: CancellationToken,
    ejected: Pin<Box<WaitForCancellationFutureOwned>>,
    progress: Arc<Progress>,
}

/// Where the next reply came from.
enum Next {
    Ejected,
    Direct(std::io::Result<Bytes>),
    Streamed(Result<Option<LaneReply>, tonic::Status>),
    Fenced,
}

/// One backend, for as long as this value lives; dropping it ends the backend and rolls back what it had open.
pub struct Lane {
    requests: mpsc::Sender<LaneRequest>,
    replies: Streaming<LaneReply>,
    /// The backend's own socket, where the agent is on this host: frames travel on it, fragments on the stream.
    direct: Option<Direct>,
    /// A fragment runs: what comes next comes on the stream.
    fragment: bool,
    /// Cancelled when the group has a newer primary than this one.
    fence: CancellationToken,
    fenced: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The replica whose backend it is.
    pub reads_for: Option<Arc<Target>>,
    /// How far that had replayed when this backend was last asked. Another backend's answer may be from before a crash, after which less is
    /// replayed for a moment.
    pub replayed: u64,
    /// What may be done elsewhere as well, for as long as nobody has seen anything of it.
    hedged: Option<Hedged>,
    /// When the last message was sent that has not been answered yet; of replicas' lanes.
    sent: Option<Instant>,
    channel: Arc<NodeChannel>,
    pub backend_pid: u32,
    /// ParameterStatus values the backend announced at login.
    pub parameters: HashMap<String, String>,
    pub state: BackendState,
    /// As of the last ReadyForQuery: b'I', b'T' or b'E'.
    pub transaction_status: u8,
    /// Set while replies are due: a lane given up in that state cannot be reused.
    pub busy: bool,
    /// NoticeResponse frames met by [`Lane::collect`] since somebody last took them.
    pub notices: BytesMut,
    /// A commit was answered before its standbys had it, since somebody last asked: see [`is_unreplicated`].
    pub unreplicated: bool,
    /// Frames taken too early, to be received again.
    unread: Option<Bytes>,
    /// Notifications met while results were collected: for the client.
    pub aside: BytesMut,
}

/// Why a lane ends that is fenced.
const FENCED: &str = "its group has a newer primary";

/// Statements a backend keeps prepared; the least recently used make room.
const PREPARED_MAX: usize = 256;

/// Rows of one statement in text form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResultSet {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Option<String>>>,
    pub tag: String,
}

impl ResultSet {
    /// The only value of the only row.
    ///
    /// # Errors
    /// XX000 when the result has another shape, or the value is NULL.
    pub fn scalar(&self) -> Result<&str> {
        match self.rows.as_slice() {
            [row] => row.first().and_then(Option::as_deref),
            _ => None,
        }
        .ok_or_else(|| Error::internal(format!("expected one value, got {} rows", self.rows.len())))
    }
}

/// Which backend a lane is to be.
pub struct LaneSpec<'a> {
    pub database: &'a str,
    pub role: &'a str,
    pub epoch: u64,
    /// For reads that a replica may answer.
    pub replica: bool,
    pub wait: Duration,
    /// Cuts the lane when it is cancelled, whatever it is in the middle of.
    pub fence: &'a CancellationToken,
}

impl Lane {
    /// Opens a backend: logs in as `role`, without a password (the agent is trusted by its PostgreSQL).
    ///
    /// # Errors
    /// What PostgreSQL said at login, 53300 when the node stays full for `wait`, 57P03 for another epoch; [`Error::LaneLost`] when
    /// the agent cannot be reached.
    pub async fn open(channel: &Arc<NodeChannel>, spec: LaneSpec<'_>) -> Result<Self> {
        let lost = |reason: String| Error::unreachable(&*channel.node, reason);
        let (requests, queue) = mpsc::channel(REQUESTS_QUEUED_MAX);
        let open = LaneOpen {
            database: spec.database.to_owned(),
            role: spec.role.to_owned(),
            epoch: spec.epoch,
            parameters: [("client_encoding".to_owned(), "UTF8".to_owned())].into(),
            wait_ms_max: u32::try_from(spec.wait.as_millis()).unwrap_or(u32::MAX),
            hand_over: channel.same_host,
            replica: spec.replica,
        };
        requests
            .try_send(LaneRequest { kind: Some(lane_request::Kind::Open(open)) })
            .map_err(|error| lost(error.to_string()))?;
        let mut replies = channel
            .client
            .clone()
            .open(ReceiverStream::new(queue))
            .await
            .map_err(|status| lost(status_reason(&status)))?
            .into_inner();
        match replies.message().await.map_err(|status| lost(status_reason(&status)))?.and_then(|reply| reply.kind) {
            Some(lane_reply::Kind::Opened(opened)) => Ok(Self {
                requests,
                replies,
                direct: fetch(&opened).await,
                fragment: false,
                fence: spec.fence.clone(),
                fenced: Box::pin(spec.fence.clone().cancelled_owned()),
                reads_for: None,
                replayed: 0,
                hedged: None,
                sent: None,
                channel: channel.clone(),
                backend_pid: opened.backend_pid,
                parameters: opened.parameters,
                state: BackendState {
                    settings: Arc::default(),
                    search_path: None,
                    prepared: HashMap::new(),
                    uses: 0,
                    session: LastUser::of(&channel.node, opened.backend_pid),
                    residue: None,
                },
                transaction_status: b'I',
                busy: false,
                notices: BytesMut::new(),
                unreplicated: false,
                unread: None,
                aside: BytesMut::new(),
            }),
            Some(lane_reply::Kind::Refused(refused)) => {
                Err(Error::Server(Box::new(backend::ErrorFields::new("ERROR", &refused.sqlstate, refused.message))))
            }
            _ => Err(lost("the agent closed the stream".to_owned())),
        }
    }

    pub fn node(&self) -> &Arc<str> {
        &self.channel.node
    }

    /// A NotificationResponse for clients, to whom the sender is a session of this coordinator, if it was one.
    ///
    /// # Errors
    /// 08P01 for what is no such frame.
    pub fn notification(&self, frame: &[u8]) -> Result<Bytes> {
        let mut frame = BytesMut::from(frame);
        let (backend_pid, ..) = decode::notification_response(&frame[5..])?;
        if let Some(session) = users::user_of(self.node(), backend_pid as u32) {
            frame[5..9].copy_from_slice(&(session as u32).to_be_bytes());
        }
        Ok(frame.freeze())
    }

    pub fn channel(&self) -> &Arc<NodeChannel> {
        &self.channel
    }

    /// From now on a read, of which `progress` tells what the client has seen, is given up when its replica is ejected; with `None` no more.
    pub fn hedge(&mut self, progress: Option<Arc<Progress>>) {
        let hedged = self.reads_for.as_ref().zip(progress);
        self.hedged = hedged.map(|(target, progress)| {
            let ejection = target.ejection();
            Hedged { ejected: Box::pin(ejection.clone().cancelled_owned()), ejection, progress }
        });
    }

    /// Whether it is cut off on this side: nothing more comes, and nobody is to be waited for.
    pub fn is_given_up(&self) -> bool {
        let ejected = |hedged: &Hedged| hedged.ejection.is_cancelled() && !hedged.progress.has_seen();
        self.is_fenced() || self.hedged.as_ref().is_some_and(ejected)
    }

    fn note_sent(&mut self) {
        if self.reads_for.is_some() {
            self.sent.get_or_insert_with(Instant::now);
        }
    }

    fn note_answered(&mut self) {
        if let (Some(target), Some(sent)) = (&self.reads_for, self.sent.take()) {
            target.measure(sent.elapsed());
        }
    }

    /// Whether its group has a newer primary.
    pub fn is_fenced(&self) -> bool {
        self.fence.is_cancelled()
    }

    fn lost(&self, reason: impl Into<String>) -> Error {
        Error::LaneLost { node: self.channel.node.to_string(), reason: reason.into(), loss: Loss::Cut }
    }

    fn unsent(&self, reason: impl Into<String>) -> Error {
        Error::unreachable(&*self.channel.node, reason)
    }

    /// What a backend's last word means for the lane; `None` when it is no last word, or says something of the statement itself.
    pub fn last_word(&self, fields: &ErrorFields) -> Option<Error> {
        let loss = match (fields.severity(), fields.sqlstate()) {
            ("FATAL" | "PANIC", "57P01") => Loss::Terminated,
            // A backend that another's crash, or an immediate shutdown, ends says so in a warning; 08006 is its agent's word.
            ("FATAL" | "PANIC", "57P02" | "57P03" | "08006") | ("WARNING", "57P01" | "57P02") => Loss::Cut,
            _ => return None,
        };
        Some(Error::LaneLost { node: self.channel.node.to_string(), reason: fields.message().to_owned(), loss })
    }

    async fn request(&mut self, kind: lane_request::Kind) -> Result<()> {
        let request = LaneRequest { kind: Some(kind) };
        self.requests.send(request).await.map_err(|_| self.unsent("the agent closed the stream"))
    }

    /// Sends whole frontend frames to the backend.
    ///
    /// # Errors
    /// [`Error::LaneLost`].
    pub async fn send(&mut self, frames: Bytes) -> Result<()> {
        self.busy = true;
        if self.is_fenced() {
            return Err(self.unsent(FENCED));
        }
        self.note_sent();
        match &mut self.direct {
            Some(direct) => direct.send(frames).await.map_err(|error| self.unsent(error.to_string())),
            None => self.request(lane_request::Kind::Frames(frames)).await,
        }
    }

    /// Starts a query whose rows come back as [`Reply::Arrow`], ended by [`Reply::FragmentDone`].
    ///
    /// # Errors
    /// [`Error::LaneLost`].
    pub async fn send_fragment(&mut self, mut fragment: Fragment) -> Result<()> {
        if let Some(said) = self.unread.take() {
            let mut said = BytesMut::from(said);
            self.hear(&mut said)?;
            if !said.is_empty() {
                return Err(self.unsent("the backend ended"));
            }
        }
        self.busy = true;
        self.fragment = true;
        if self.is_fenced() {
            return Err(self.unsent(FENCED));
        }
        self.note_sent();
        fragment.in_transaction = self.transaction_status != b'I';
        self.request(lane_request::Kind::Fragment(fragment)).await
    }

    /// What comes next. Cancel safe.
    ///
    /// # Errors
    /// [`Error::LaneLost`].
    pub async fn receive(&mut self) -> Result<Reply> {
        if let Some(frames) = self.unread.take() {
            return Ok(Reply::Frames(frames));
        }
        let direct = self.direct.as_mut().filter(|_| !self.fragment);
        let next = async {
            match direct {
                Some(direct) => Next::Direct(direct.receive().await),
                None => Next::Streamed(self.replies.message().await),
            }
        };
        let hedged = self.hedged.as_mut();
        let ejected = async {
            if let Some(Hedged { ejected, progress, .. }) = hedged {
                ejected.await;
                if !progress.has_seen() {
                    return;
                }
            }
            std::future::pending().await
        };
        let next = tokio::select! {
            biased;
            () = &mut self.fenced => Next::Fenced,
            next = next => next,
            () = ejected => Next::Ejected,
        };
        self.note_answered();
        match next {
            Next::Fenced => Err(self.lost(FENCED)),
            Next::Ejected => Err(self.lost("it answers far later than the group's other nodes")),
            Next::Direct(Ok(frames)) => Ok(Reply::Frames(frames)),
            Next::Direct(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(self.lost("the backend ended"))
            }
            Next::Direct(Err(error)) => Err(self.lost(error.to_string())),
            Next::Streamed(Ok(Some(reply))) => self.streamed(reply),
            Next::Streamed(Ok(None)) => Err(self.lost("the backend ended")),
            Next::Streamed(Err(status)) => Err(self.lost(status_reason(&status))),
        }
    }

    fn streamed(&mut self, reply: LaneReply) -> Result<Reply> {
        match reply.kind {
            Some(lane_reply::Kind::Frames(frames)) => Ok(Reply::Frames(frames)),
            Some(lane_reply::Kind::Arrow(chunk)) => Ok(Reply::Arrow(chunk)),
            Some(lane_reply::Kind::FragmentDone(done)) => {
                self.busy = false;
                self.fragment = false;
                self.transaction_status = done.transaction_status as u8;
                if let Some(direct) = &mut self.direct {
                    direct.prepend(&done.rest);
                }
                Ok(Reply::FragmentDone(done))
            }
            _ => Err(self.lost("the agent broke the protocol")),
        }
    }

    /// [`Lane::receive`] where only frames can come.
    ///
    /// # Errors
    /// [`Error::LaneLost`].
    pub async fn receive_frames(&mut self) -> Result<Bytes> {
        match self.receive().await? {
            Reply::Frames(frames) => Ok(frames),
            Reply::Arrow(_) | Reply::FragmentDone(_) => Err(self.lost("the agent broke the protocol")),
        }
    }

    /// Takes in what a backend says unasked, from the front of `frames`; its last words stay.
    ///
    /// # Errors
    /// 08P01 for what is no frame.
    fn hear(&mut self, frames: &mut BytesMut) -> Result<()> {
        while let Some((tag @ (b'A' | b'N' | b'S'), length)) =
            peek(frames).filter(|(_, length)| *length <= frames.len())
        {
            let body = &frames[5..length];
            match tag {
                b'A' => self.aside.extend_from_slice(&self.notification(&frames[..length])?),
                b'S' => {
                    let (name, value) = decode::parameter_status(body)?;
                    self.parameters.insert(name.to_owned(), value.to_owned());
                }
                _ if self.last_word(&decode::error_fields(body)?).is_some() => return Ok(()),
                _ => {}
            }
            let _ = frames.split_to(length);
        }
        Ok(())
    }

    /// Puts frames back, to be received next.
    pub fn unread(&mut self, frames: Bytes) {
        self.unread = Some(frames);
    }

    /// Whether the backend has this statement prepared; counts as a use of it.
    pub fn has_prepared(&mut self, id: u64) -> bool {
        let uses = self.state.uses + 1;
        self.state.uses = uses;
        self.state.prepared.get_mut(&id).map(|last| *last = uses).is_some()
    }

    /// Notes a statement that the backend has just prepared.
    pub fn note_prepared(&mut self, id: u64) {
        self.state.uses += 1;
        self.state.prepared.insert(id, self.state.uses);
    }

    /// The statement to close before another is prepared, when there are too many; it is forgotten here at once.
    pub fn evict_prepared(&mut self) -> Option<u64> {
        if self.state.prepared.len() < PREPARED_MAX {
            return None;
        }
        let oldest = self.state.prepared.iter().min_by_key(|(_, last)| **last).map(|(id, _)| *id)?;
        self.state.prepared.remove(&oldest);
        Some(oldest)
    }

    /// Notes a ReadyForQuery.
    pub fn ready(&mut self, status: u8) {
        self.transaction_status = status;
        self.busy = false;
    }

    /// Whether the backend ended, or spoke unasked, while the lane was idle.
    pub fn has_ended(&mut self) -> bool {
        use futures_util::FutureExt as _;
        // The agent says nothing unasked on the stream of a lane that was handed over, except that it ends.
        if self.direct.is_some() && self.replies.message().now_or_never().is_some() {
            return true;
        }
        let mut said = BytesMut::from(self.unread.take().unwrap_or_default());
        let ended = loop {
            match self.receive().now_or_never() {
                None => break false,
                // A notice or a changed parameter (configuration reload) is no reason to part; FATAL is.
                Some(Ok(Reply::Frames(frames))) if frames.first() != Some(&b'E') => said.extend_from_slice(&frames),
                Some(_) => break true,
            }
        };
        self.unread = Some(said.freeze()).filter(|said| !said.is_empty());
        ended
    }

    /// Forgets what the backend has said unasked, as far as [`Lane::has_ended`] has heard it.
    pub fn ignore_unasked(&mut self) {
        self.unread = None;
    }
}

/// The backend's socket, when the agent offers it. Without it the lane works as well, only slower.
async fn fetch(opened: &LaneOpened) -> Option<Direct> {
    if opened.ticket.is_empty() {
        return None;
    }
    match Direct::fetch(Path::new(&opened.handover_socket), &opened.ticket).await {
        Ok(direct) => Some(direct),
        Err(error) => {
            tracing::warn!(%error, socket = opened.handover_socket, "a backend's socket could not be fetched from its agent");
            None
        }
    }
}

/// PostgreSQL's warning that a commit is done here but may not have reached a standby: the wait for it was broken off. What it committed must
/// not be taken for durable.
pub fn is_unreplicated(fields: &ErrorFields) -> bool {
    fields.get(b'R') == Some("SyncRepWaitForLSN")
}

/// Interrupts what a backend is doing; returns once the interrupt was delivered.
///
/// # Errors
/// [`Error::LaneLost`] when the agent cannot be reached.
pub async fn cancel(channel: &NodeChannel, backend_pid: u32) -> Result<()> {
    let sent = channel.client.clone().cancel(CancelRequest { backend_pid }).await;
    sent.map(drop).map_err(|status| Error::unreachable(&*channel.node, status_reason(&status)))
}

fn status_reason(status: &tonic::Status) -> String {
    if status.message().is_empty() { status.code().to_string() } else { status.message().to_owned() }
}
