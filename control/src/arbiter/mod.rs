//! The embedded lease store: one process grants the leases of all groups, and keeps who has them in a file.
//!
//! For clusters on one machine; it is no more available than the process that hosts it. [`state`] decides, [`file`] keeps, and the gRPC
//! service `Leases` is here. [`crate::store`] is the client.

mod file;
mod state;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atoll_proto::v1::leases_server::Leases;
use atoll_proto::v1::{
    LeaseAcquireReply, LeaseAcquireRequest, LeaseChangedRequest, LeaseDone, LeaseReadRequest, LeaseRequest,
    LeaseUpdateReply, LeaseUpdateRequest, LeaseView,
};
use serde::de::IgnoredAny;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use self::file::StateFile;
use self::state::{Change, Conflict, State};
use crate::clock::since_boot;

/// How long a start waits for a process that still has the file.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_RETRY: Duration = Duration::from_millis(50);
/// Longest lease, and longest wait for a change.
const TTL_MS_MAX: u32 = 600_000;
const WAIT_MAX: Duration = Duration::from_secs(60);
/// A group's record, as JSON.
const RECORD_BYTES_MAX: usize = 1 << 20;

/// Why an arbiter cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the arbiter's file {path} is in use by another process: one coordinator only can host the arbiter", path = .0.display())]
    InUse(PathBuf),
    #[error("the arbiter's file {path} cannot be used: {error}", path = .path.display())]
    File { path: PathBuf, error: std::io::Error },
}

/// The service `Leases`.
#[derive(Clone)]
pub struct Arbiter {
    /// `None`: this process hosts no arbiter.
    hosted: Option<Arc<Hosted>>,
}

struct Hosted {
    path: PathBuf,
    /// `None`: stopped. In the hands of whoever makes a change, from its permission until it is written and applied.
    file: tokio::sync::Mutex<Option<StateFile>>,
    /// `None`: stopped; another process may have the file.
    state: Mutex<Option<State>>,
    /// Tells those who wait that something has changed.
    changes: watch::Sender<()>,
}

impl Arbiter {
    /// Refuses every call, so that clients ask another coordinator.
    pub fn none() -> Self {
        Self { hosted: None }
    }

    /// An arbiter with its state in `path`. It stops, and frees the file, at `shutdown`.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(path: &Path, shutdown: CancellationToken) -> Result<Self, StartError> {
        let failed = |error| StartError::File { path: path.to_owned(), error };
        let deadline = Instant::now() + LOCK_WAIT;
        let file = loop {
            match StateFile::lock(path).map_err(failed)? {
                Some(file) => break file,
                None if Instant::now() >= deadline => return Err(StartError::InUse(path.to_owned())),
                None => tokio::time::sleep(LOCK_RETRY).await,
            }
        };
        let state = State::restored(file.read().map_err(failed)?, since_boot());
        let hosted = Arc::new(Hosted {
            path: path.to_owned(),
            file: tokio::sync::Mutex::new(Some(file)),
            state: Mutex::new(Some(state)),
            changes: watch::channel(()).0,
        });
        tokio::spawn({
            let hosted = hosted.clone();
            async move {
                shutdown.cancelled().await;
                let mut file = hosted.file.lock().await;
                // First the last word, then the file: who has it next grants leases.
                *hosted.state() = None;
                *file = None;
                hosted.changes.send_replace(());
            }
        });
        Ok(Self { hosted: Some(hosted) })
    }

    fn hosted(&self) -> Result<&Arc<Hosted>, Status> {
        let refusal = "this coordinator hosts no arbiter (its arbiter_file is empty): name the coordinator that does";
        self.hosted.as_ref().ok_or_else(|| Status::unimplemented(refusal))
    }
}

impl Hosted {
    fn state(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the state as of now.
    fn with<T>(&self, work: impl FnOnce(&mut State, Duration) -> T) -> Result<T, Status> {
        match &mut *self.state() {
            // The time is taken under the lock: otherwise an earlier one could come after a later.
            Some(state) => Ok(work(state, since_boot())),
            None => Err(Status::unavailable("the arbiter is stopping")),
        }
    }

    /// Makes the change that `decide` permits, also when the caller goes away. `None`: there was nothing to change.
    async fn change(
        self: &Arc<Self>,
        decide: impl FnOnce(&State, Duration) -> Result<Option<Change>, Conflict> + Send + 'static,
    ) -> Result<Option<Change>, Status> {
        let hosted = self.clone();
        let work = tokio::spawn(async move { hosted.change_to_the_end(decide).await });
        work.await.unwrap_or_else(|error| Err(Status::internal(error.to_string())))
    }

    async fn change_to_the_end(
        &self,
        decide: impl FnOnce(&State, Duration) -> Result<Option<Change>, Conflict>,
    ) -> Result<Option<Change>, Status> {
        let mut slot = self.file.lock().await;
        let decided =
            self.with(|state, now| decide(state, now).map(|change| change.map(|it| (state.after(&it), it))))?;
        let Some((durable, change)) = decided.map_err(refused)? else { return Ok(None) };
        let Some(file) = slot.take() else { return Err(Status::unavailable("the arbiter is stopping")) };
        let written = tokio::task::spawn_blocking(move || (file.write(&durable), file));
        let (written, file) = written.await.map_err(|error| Status::internal(error.to_string()))?;
        *slot = Some(file);
        if let Err(error) = written {
            let message = format!("the arbiter cannot write {}: {error}", self.path.display());
            tracing::error!("{message}");
            return Err(Status::unavailable(message));
        }
        self.with(|state, now| state.apply(change.clone(), now))?;
        self.changes.send_replace(());
        Ok(Some(change))
    }

    fn view(&self, group: &str) -> Result<(LeaseView, Option<Duration>), Status> {
        self.with(|state, now| {
            let (record, revision) = state.record(group);
            let mut view = LeaseView { record: record.to_owned(), revision, ..LeaseView::default() };
            let holder = state.holder(group, now);
            if let Some((holder, _)) = holder {
                view.leader.clone_from(&holder.node);
                (view.leader_epoch, view.lease) = (holder.epoch, holder.lease);
            }
            (view, holder.map(|(_, end)| end.saturating_sub(now)))
        })
    }
}

fn refused(_: Conflict) -> Status {
    Status::failed_precondition("the group's record or lease has changed")
}

/// # Errors
/// `INVALID_ARGUMENT` when a call cannot be meant.
fn check(group: &str, record: Option<&str>) -> Result<(), Status> {
    if group.is_empty() {
        return Err(Status::invalid_argument("group must be given"));
    }
    let Some(record) = record else { return Ok(()) };
    if record.len() > RECORD_BYTES_MAX {
        return Err(Status::invalid_argument(format!("a record has at most {RECORD_BYTES_MAX} bytes")));
    }
    match serde_json::from_str::<IgnoredAny>(record) {
        Ok(_) => Ok(()),
        Err(error) => Err(Status::invalid_argument(format!("the record is not JSON: {error}"))),
    }
}

#[tonic::async_trait]
impl Leases for Arbiter {
    async fn read(&self, request: Request<LeaseReadRequest>) -> Result<Response<LeaseView>, Status> {
        let request = request.into_inner();
        check(&request.group, None)?;
        Ok(Response::new(self.hosted()?.view(&request.group)?.0))
    }

    async fn acquire(&self, request: Request<LeaseAcquireRequest>) -> Result<Response<LeaseAcquireReply>, Status> {
        let request = request.into_inner();
        check(&request.group, Some(&request.record))?;
        if request.leader.is_empty() || !(1..=TTL_MS_MAX).contains(&request.ttl_ms) {
            return Err(Status::invalid_argument(format!(
                "leader must be given, and ttl_ms within 1 and {TTL_MS_MAX}"
            )));
        }
        let made = self.hosted()?.change(move |state, now| {
            let LeaseAcquireRequest { group, revision, record, leader, leader_epoch, ttl_ms } = request;
            state.acquire(&group, revision, record, (leader, leader_epoch), ttl_ms, now).map(Some)
        });
        match made.await? {
            Some(Change { group, granted: Some(lease), .. }) => {
                Ok(Response::new(LeaseAcquireReply { lease, revision: group.revision }))
            }
            _ => Err(Status::internal("a lease was acquired and not granted")),
        }
    }

    async fn renew(&self, request: Request<LeaseRequest>) -> Result<Response<LeaseDone>, Status> {
        let LeaseRequest { group, lease } = request.into_inner();
        self.hosted()?.with(|state, now| state.renew(&group, lease, now))?.map_err(refused)?;
        Ok(Response::new(LeaseDone {}))
    }

    async fn update(&self, request: Request<LeaseUpdateRequest>) -> Result<Response<LeaseUpdateReply>, Status> {
        let LeaseUpdateRequest { group, lease, revision, record } = request.into_inner();
        check(&group, Some(&record))?;
        let made =
            self.hosted()?.change(move |state, now| state.update(&group, lease, revision, record, now).map(Some));
        let revision = made.await?.map_or(revision, |change| change.group.revision);
        Ok(Response::new(LeaseUpdateReply { revision }))
    }

    async fn release(&self, request: Request<LeaseRequest>) -> Result<Response<LeaseDone>, Status> {
        let LeaseRequest { group, lease } = request.into_inner();
        self.hosted()?.change(move |state, now| Ok(state.release(&group, lease, now))).await?;
        Ok(Response::new(LeaseDone {}))
    }

    async fn changed(&self, request: Request<LeaseChangedRequest>) -> Result<Response<LeaseDone>, Status> {
        let request = request.into_inner();
        check(&request.group, None)?;
        let hosted = self.hosted()?;
        let until = Instant::now() + Duration::from_millis(request.at_most_ms.into()).min(WAIT_MAX);
        let mut changes = hosted.changes.subscribe();
        loop {
            let (view, left) = hosted.view(&request.group)?;
            let before = (request.revision, &request.leader, request.leader_epoch);
            if (view.revision, &view.leader, view.leader_epoch) != before || Instant::now() >= until {
                return Ok(Response::new(LeaseDone {}));
            }
            // Without a renewal the holder is gone at its lease's end.
            let next = left.map_or(until, |left| until.min(Instant::now() + left));
            // Something changed, or it is time: looked at in any case.
            let _ = timeout_at(next, changes.changed()).await;
        }
    }
}
