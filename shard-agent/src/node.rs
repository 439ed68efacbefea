//! The control path: what this node is and how it is doing.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use atoll_proto::v1::node_server::Node;
use atoll_proto::v1::{MemberAddress, NodeState, StateRequest};
use nix::sys::statvfs::statvfs;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response};

use crate::governor::clock::now_ms;
use crate::governor::lease::Lease;
use crate::governor::service::Desk;
use crate::governor::standing::{Role, Standing};
use crate::lanes::handover::Handovers;
use crate::lanes::slots::Slots;
use crate::meters::Meters;
use crate::postgres::{Phase, Status};
use crate::settings::Settings;

/// How often a watcher hears from the node when nothing changes.
const TICK: Duration = Duration::from_secs(1);

/// How the node stands in its group.
pub struct Membership {
    pub desk: Arc<Desk>,
    pub lease: Arc<Lease>,
}

impl Membership {
    /// As the governor last left it, except that a lease may have run out since: the whole agent may have stood still.
    fn standing(&self) -> Standing {
        let mut standing = self.desk.standing.borrow().clone();
        let holds = self.lease.tenure().is_some_and(|tenure| tenure.deadline > now_ms());
        if standing.role == Role::Primary && !holds {
            standing.role = Role::None;
            standing.reason = "its lease has run out".into();
        }
        standing
    }
}

/// What all workers of an agent share.
pub struct Shared {
    pub settings: Settings,
    /// How PostgreSQL is doing, as its keeper reports.
    pub status: watch::Receiver<Status>,
    pub slots: Arc<Slots>,
    pub meters: Meters,
    /// Of a node whose leadership is decided by leases.
    pub group: Option<Membership>,
    pub handovers: Arc<Handovers>,
    /// Cancelled when the agent stops serving.
    pub closing: CancellationToken,
}

impl Shared {
    /// The epoch under which the node may be used now as a primary, or, `as_replica`, at least for reads; otherwise why it may not.
    ///
    /// # Errors
    /// What to tell the caller.
    pub fn epoch(&self, as_replica: bool) -> Result<u64, String> {
        let Some(group) = &self.group else { return Ok(self.settings.epoch) };
        let standing = group.standing();
        match standing.role {
            Role::Primary => Ok(standing.epoch),
            Role::Replica if as_replica => Ok(standing.epoch),
            Role::Replica => Err(format!("node {} is a replica", self.settings.name)),
            Role::None => Err(format!("node {} does not serve: {}", self.settings.name, standing.reason)),
        }
    }

    /// The node's state at this moment.
    pub fn state(&self) -> NodeState {
        let state = self.own_state();
        let Some(group) = &self.group else { return state };
        let standing = group.standing();
        let members = standing.record.members.into_iter().map(|(name, member)| MemberAddress {
            name,
            agent_address: member.agent_address,
            agent_socket: member.agent_socket,
            zone: member.zone,
            capacity: member.capacity,
        });
        let left = group.lease.tenure().map_or(0, |tenure| tenure.deadline.saturating_sub(now_ms()));
        // While it starts, what it waits for says more.
        let says_more = state.reason.is_empty() || state.state == Phase::Starting.name() && !standing.reason.is_empty();
        let reason = if says_more { standing.reason } else { state.reason.clone() };
        NodeState {
            role: standing.role.name().into(),
            epoch: standing.epoch,
            reason,
            lag_bytes: standing.lag_bytes,
            lsn: standing.lsn,
            timeline: standing.timeline,
            lag_ms: standing.lag_ms,
            members: members.collect(),
            group_epoch: standing.record.epoch,
            leader: standing.leader.map(|leader| leader.node).unwrap_or_default(),
            lease_ms: left,
            copied_bytes: standing.copied.0,
            copy_bytes: standing.copied.1,
            draining: standing.draining,
            ..state
        }
    }

    fn own_state(&self) -> NodeState {
        let Settings { name, group, zone, capacity, epoch, .. } = self.settings.clone();
        let status = self.status.borrow().clone();
        NodeState {
            name,
            group,
            zone,
            capacity,
            epoch,
            role: status.role().into(),
            state: status.phase.name().into(),
            reason: status.reason,
            postgres_host: self.settings.postgres_host.clone(),
            postgres_port: self.settings.postgres_port.into(),
            socket_dir: self.settings.run_dir.display().to_string(),
            data_dir: self.settings.data_dir.display().to_string(),
            postmaster_pid: status.postmaster_pid,
            agent_pid: std::process::id(),
            lag_bytes: 0,
            lanes: self.slots.used(),
            lanes_max: self.slots.max(),
            load: load().unwrap_or(0.0),
            disk_free_bytes: disk_free_bytes(&self.settings.data_dir).unwrap_or(0),
            ..NodeState::default()
        }
    }
}

/// One-minute load average divided by cores.
fn load() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    let average: f64 = text.split_whitespace().next()?.parse().ok()?;
    let cores = u32::try_from(std::thread::available_parallelism().ok()?.get()).ok()?;
    Some(average / f64::from(cores))
}

/// Bytes that an ordinary user can still write to the file system of `path`.
fn disk_free_bytes(path: &Path) -> Option<u64> {
    let disk = statvfs(path).ok()?;
    Some(disk.blocks_available() * disk.fragment_size())
}

/// `atoll.v1.Node`.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
}

impl Service {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

/// Completes when the node's place in its group has changed; never for one without a group.
async fn standing_changed(standing: &mut Option<watch::Receiver<Standing>>) {
    if let Some(standing) = standing
        && standing.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// A node's states, one after another.
type States = Pin<Box<dyn Stream<Item = Result<NodeState, tonic::Status>> + Send>>;

#[tonic::async_trait]
impl Node for Service {
    async fn state(&self, _: Request<StateRequest>) -> Result<Response<NodeState>, tonic::Status> {
        Ok(Response::new(self.shared.state()))
    }

    type WatchStream = States;

    async fn watch(&self, _: Request<StateRequest>) -> Result<Response<States>, tonic::Status> {
        let shared = Arc::clone(&self.shared);
        let states = async_stream::stream! {
            let mut status = shared.status.clone();
            let mut standing = shared.group.as_ref().map(|group| group.desk.standing.clone());
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                // The first tick is at once.
                tokio::select! {
                    _ = ticks.tick() => (),
                    changed = status.changed() => if changed.is_err() { return },
                    () = standing_changed(&mut standing) => (),
                    () = shared.closing.cancelled() => return,
                }
                yield Ok(shared.state());
            }
        };
        Ok(Response::new(Box::pin(states)))
    }
}
