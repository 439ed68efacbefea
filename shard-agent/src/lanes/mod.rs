//! The data path: lanes.
//!
//! [`Service::open`] takes a slot under the node's cap ([`slots`]), logs a backend in ([`backend`]), and from then on the
//! reply stream *is* the lane ([`relay`]), with fragments in between ([`fragment`]).

pub mod backend;
mod fragment;
pub mod handover;
mod relay;
pub mod slots;
mod statements;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use atoll_proto::v1::lane_reply::Kind;
use atoll_proto::v1::lane_request;
use atoll_proto::v1::lanes_server::Lanes;
use atoll_proto::v1::{CancelReply, CancelRequest, LaneOpen, LaneOpened, LaneRefused, LaneReply, LaneRequest};
use tokio::time::{Instant, timeout_at};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use crate::node::Shared;
use crate::postgres::Phase;
use backend::{Backend, cancel};
use fragment::Run;
use relay::{Event, Lane};
use slots::Slot;

/// Longest wait for a slot, whatever the caller asks for.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// `atoll.v1.Lanes` as one worker serves it.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
    /// Lanes of this worker.
    lanes: Arc<AtomicUsize>,
}

impl Service {
    pub fn new(shared: Arc<Shared>, lanes: Arc<AtomicUsize>) -> Self {
        Self { shared, lanes }
    }

    /// A logged-in lane, or why there is none.
    async fn lane(&self, open: &LaneOpen) -> Result<(Lane, LaneOpened), LaneRefused> {
        let shared = &self.shared;
        let deadline = Instant::now() + Duration::from_millis(open.wait_ms_max.into()).min(WAIT_MAX);
        let ours = shared.epoch(open.replica).map_err(|reason| refused("57P03", reason))?;
        if open.epoch != ours {
            let theirs = open.epoch;
            let message = format!("group {} is in epoch {ours}, not {theirs}", shared.settings.group);
            return Err(refused("57P03", message));
        }
        let mut slot = self.slot(deadline).await?;
        self.running(deadline).await?;
        let socket = shared.settings.postgres_socket();
        let mut backend = Backend::login(&socket, &open.database, &open.role, &open.parameters)
            .await
            .map_err(|error| refused(error.sqlstate(), error.to_string()))?;
        slot.register(backend.key());
        // Whoever ends the lanes of a reign sees this one from now on; its reign may have ended before.
        let still = shared.epoch(open.replica).map_err(|reason| refused("57P03", reason))?;
        if still != ours {
            return Err(refused("57P03", format!("group {} is in epoch {still}, not {ours}", shared.settings.group)));
        }
        let mut opened = LaneOpened {
            backend_pid: backend.pid,
            parameters: std::mem::take(&mut backend.parameters),
            ..LaneOpened::default()
        };
        shared.meters.lane_opens.increment(1);
        let mut lane = Lane::new(backend, slot, socket, shared.meters.clone());
        if open.hand_over {
            let connection = lane.hand_over().map_err(|error| refused("53000", error.to_string()))?;
            opened.ticket = shared.handovers.offer(connection).into();
            opened.handover_socket = shared.settings.handover_socket().display().to_string();
        }
        Ok((lane, opened))
    }

    async fn slot(&self, deadline: Instant) -> Result<Slot, LaneRefused> {
        let slots = &self.shared.slots;
        let wait = deadline.saturating_duration_since(Instant::now());
        slots.take(wait).await.ok_or_else(|| {
            let (name, max) = (&self.shared.settings.name, slots.max());
            let waited = wait.as_millis();
            refused("53300", format!("all {max} backends of node {name} were in use for {waited} ms"))
        })
    }

    /// Waits until PostgreSQL is running, at most until `deadline`.
    async fn running(&self, deadline: Instant) -> Result<(), LaneRefused> {
        let mut status = self.shared.status.clone();
        let running = status.wait_for(|status| matches!(status.phase, Phase::Running | Phase::Stopping));
        let reason = match timeout_at(deadline, running).await {
            Ok(Ok(status)) if status.phase == Phase::Running => return Ok(()),
            Ok(Ok(status)) => status.reason.clone(),
            Ok(Err(_)) => "the agent is stopping".into(),
            Err(_) => self.shared.status.borrow().reason.clone(),
        };
        Err(refused("57P03", format!("node {}: {reason}", self.shared.settings.name)))
    }
}

fn refused(sqlstate: &str, message: String) -> LaneRefused {
    LaneRefused { sqlstate: sqlstate.to_owned(), message }
}

fn reply(kind: Kind) -> Result<LaneReply, Status> {
    Ok(LaneReply { kind: Some(kind) })
}

/// Counts a lane for as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(lanes: &Arc<AtomicUsize>) -> Self {
        lanes.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(lanes))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A lane's replies.
type Replies = Pin<Box<dyn Stream<Item = Result<LaneReply, Status>> + Send>>;

#[tonic::async_trait]
impl Lanes for Service {
    type OpenStream = Replies;

    async fn open(&self, request: Request<Streaming<LaneRequest>>) -> Result<Response<Replies>, Status> {
        let service = self.clone();
        let mut requests = request.into_inner();
        let replies = async_stream::stream! {
            let _counted = Counted::new(&service.lanes);
            let open = match requests.message().await {
                Ok(Some(LaneRequest { kind: Some(lane_request::Kind::Open(open)) })) => open,
                Ok(_) => {
                    yield Err(Status::failed_precondition("the first request must open the lane"));
                    return;
                }
                Err(_) => return,
            };
            let mut lane = match service.lane(&open).await {
                Ok((lane, opened)) => {
                    yield reply(Kind::Opened(opened));
                    lane
                }
                Err(refusal) => {
                    tracing::debug!(sqlstate = refusal.sqlstate, message = refusal.message, "lane refused");
                    service.shared.meters.refused(&refusal.sqlstate);
                    yield reply(Kind::Refused(refusal));
                    return;
                }
            };
            drop(open);
            loop {
                match poll_fn(|cx| lane.poll_event(cx, &mut requests)).await {
                    Event::Replies(frames) => yield reply(Kind::Frames(frames)),
                    Event::Fragment(fragment) => match Run::start(&mut lane, fragment).await {
                        Ok(mut run) => {
                            while let Some(kind) = run.next(&mut lane).await {
                                yield reply(kind);
                            }
                        }
                        Err(status) => {
                            yield Err(status);
                            return;
                        }
                    },
                    Event::Ended => return,
                    Event::Failed(status) => {
                        yield Err(status);
                        return;
                    }
                }
            }
        };
        Ok(Response::new(Box::pin(replies)))
    }

    async fn cancel(&self, request: Request<CancelRequest>) -> Result<Response<CancelReply>, Status> {
        let pid = request.into_inner().backend_pid;
        let key = self.shared.slots.cancel_key(pid);
        let key = key.ok_or_else(|| Status::not_found(format!("no lane has backend {pid}")))?;
        cancel(&self.shared.settings.postgres_socket(), key)
            .await
            .map_err(|error| Status::unavailable(format!("PostgreSQL did not take the cancel request: {error}")))?;
        Ok(Response::new(CancelReply {}))
    }
}
