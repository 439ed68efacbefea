//! `atoll.v1.Group`: what other members and operators ask of this node. Questions about what is known are answered at once; what changes
//! something waits for the governor.

use std::sync::{Arc, Mutex, PoisonError};

use atoll_proto::v1::group_server::Group;
use atoll_proto::v1::{
    DescribeReply, DescribeRequest, ForceFailoverRequest, GroupDone, JoinReply, JoinRequest, PauseRequest,
    RebuildRequest, RecruitReply, RecruitRequest, RemoveRequest, SetPolicyRequest, SwitchoverRequest, VouchReply,
    VouchRequest,
};
use tokio::sync::{mpsc, oneshot, watch};
use tonic::{Request, Response, Status};

use super::clock::now_ms;
use super::events::Events;
use super::standing::Standing;

/// What the governor is asked to do.
pub enum Ask {
    Recruit { candidate: String, epoch: u64, answer: oneshot::Sender<RecruitReply> },
    Join { request: JoinRequest, answer: oneshot::Sender<Result<JoinReply, Status>> },
    Order { order: Order, answer: oneshot::Sender<Result<String, Status>> },
}

/// What an operator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// `None`: the best standby.
    Switchover {
        to: Option<String>,
    },
    Pause(bool),
    SetPolicy {
        synchronous: usize,
        strict: bool,
    },
    Remove(String),
    ForceFailover,
    Rebuild,
}

impl Order {
    /// What does the same in a group that Patroni runs.
    fn in_patroni(&self) -> &'static str {
        match self {
            Self::Switchover { .. } => "use patronictl switchover",
            Self::Pause(true) => "use patronictl pause",
            Self::Pause(false) => "use patronictl resume",
            Self::SetPolicy { .. } => "use patronictl edit-config (synchronous_mode)",
            Self::Remove(_) => "stop Patroni on that node",
            Self::ForceFailover => "use patronictl failover",
            Self::Rebuild => "use patronictl reinit",
        }
    }
}

/// What this node has promised to others, and whether it is bound not to promise more.
#[derive(Default)]
pub struct Promises(Mutex<Promised>);

#[derive(Default)]
struct Promised {
    abstains_until: u64,
    /// The newest epoch for which this node reported to a candidate, or sought the lease itself.
    campaign: u64,
}

impl Promises {
    fn promised(&self) -> std::sync::MutexGuard<'_, Promised> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Promises the leader of `epoch` not to seek the lease before `until`; false when a campaign for a later epoch has begun.
    fn vouch(&self, epoch: u64, until: u64) -> bool {
        let mut promised = self.promised();
        if promised.campaign > epoch {
            return false;
        }
        promised.abstains_until = promised.abstains_until.max(until);
        true
    }

    /// Begins, or takes part in, a campaign for `epoch`; false while this node has promised to abstain.
    pub fn campaign(&self, epoch: u64) -> bool {
        let mut promised = self.promised();
        if promised.abstains_until > now_ms() {
            return false;
        }
        promised.campaign = promised.campaign.max(epoch);
        true
    }

    pub fn abstains_until(&self) -> u64 {
        self.promised().abstains_until
    }

    /// Leaves the lease to others until then.
    pub fn abstain(&self, until: u64) {
        let mut promised = self.promised();
        promised.abstains_until = promised.abstains_until.max(until);
    }

    pub fn newest_campaign(&self) -> u64 {
        self.promised().campaign
    }
}

/// What serves the calls; one per agent, shared by its workers.
pub struct Desk {
    pub group: String,
    pub node: String,
    /// To the governor; none when Patroni runs the group.
    pub asks: Option<mpsc::Sender<Ask>>,
    pub standing: watch::Receiver<Standing>,
    pub promises: Arc<Promises>,
    pub events: Arc<Events>,
}

#[derive(Clone)]
pub struct Service(pub Arc<Desk>);

impl Service {
    fn check(&self, group: &str) -> Result<(), Status> {
        let ours = &self.0.group;
        if group == ours {
            return Ok(());
        }
        Err(Status::failed_precondition(format!("node {} belongs to group {ours}, not {group}", self.0.node)))
    }

    /// Somebody else runs the group; `instead` says what to do.
    fn foreign(&self, instead: &str) -> Status {
        Status::failed_precondition(format!("group {} is run by Patroni: {instead}", self.0.group))
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Status> {
        let Some(asks) = &self.0.asks else { return Err(self.foreign("see docs/patroni.md")) };
        let (answer, answered) = oneshot::channel();
        let gone = || Status::unavailable(format!("node {} is stopping", self.0.node));
        asks.send(ask(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }

    async fn order(&self, group: &str, order: Order) -> Result<Response<GroupDone>, Status> {
        self.check(group)?;
        if self.0.asks.is_none() {
            return Err(self.foreign(order.in_patroni()));
        }
        let message = self.ask(|answer| Ask::Order { order, answer }).await??;
        Ok(Response::new(GroupDone { message }))
    }
}

#[tonic::async_trait]
impl Group for Service {
    async fn recruit(&self, request: Request<RecruitRequest>) -> Result<Response<RecruitReply>, Status> {
        let RecruitRequest { group, candidate, epoch } = request.into_inner();
        self.check(&group)?;
        self.ask(|answer| Ask::Recruit { candidate, epoch, answer }).await.map(Response::new)
    }

    async fn vouch(&self, request: Request<VouchRequest>) -> Result<Response<VouchReply>, Status> {
        let request = request.into_inner();
        self.check(&request.group)?;
        if self.0.asks.is_none() {
            return Err(self.foreign("see docs/patroni.md"));
        }
        let until = now_ms() + u64::from(request.ttl_ms);
        // A node that knows of a later leader, or that the leader does not count as a member, keeps out of it.
        let record = self.0.standing.borrow().record.clone();
        let knows = record.epoch <= request.epoch && record.members.contains_key(&self.0.node);
        let promised = knows && self.0.promises.vouch(request.epoch, until);
        Ok(Response::new(VouchReply { promised }))
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        let request = request.into_inner();
        self.check(&request.group)?;
        self.ask(|answer| Ask::Join { request, answer }).await?.map(Response::new)
    }

    async fn switchover(&self, request: Request<SwitchoverRequest>) -> Result<Response<GroupDone>, Status> {
        let SwitchoverRequest { group, to } = request.into_inner();
        self.order(&group, Order::Switchover { to: Some(to).filter(|to| !to.is_empty()) }).await
    }

    async fn pause(&self, request: Request<PauseRequest>) -> Result<Response<GroupDone>, Status> {
        let PauseRequest { group, paused } = request.into_inner();
        self.order(&group, Order::Pause(paused)).await
    }

    async fn set_policy(&self, request: Request<SetPolicyRequest>) -> Result<Response<GroupDone>, Status> {
        let SetPolicyRequest { group, synchronous, strict } = request.into_inner();
        self.order(&group, Order::SetPolicy { synchronous: synchronous as usize, strict }).await
    }

    async fn remove(&self, request: Request<RemoveRequest>) -> Result<Response<GroupDone>, Status> {
        let RemoveRequest { group, name } = request.into_inner();
        self.order(&group, Order::Remove(name)).await
    }

    async fn force_failover(&self, request: Request<ForceFailoverRequest>) -> Result<Response<GroupDone>, Status> {
        self.order(&request.into_inner().group, Order::ForceFailover).await
    }

    async fn rebuild(&self, request: Request<RebuildRequest>) -> Result<Response<GroupDone>, Status> {
        self.order(&request.into_inner().group, Order::Rebuild).await
    }

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeReply>, Status> {
        let standing = self.0.standing.borrow().clone();
        let record = serde_json::to_string(&standing.record)
            .map_err(|error| Status::internal(format!("the group's record cannot be written: {error}")))?;
        let leader = standing.leader.unwrap_or_default();
        Ok(Response::new(DescribeReply {
            record,
            leader: leader.node,
            leader_epoch: leader.epoch,
            read_ms: standing.read_ms,
            events: self.0.events.all(),
        }))
    }
}
