//! One worker's lanes to one server: the last used first, so that few backends stay warm; bounded, with slots kept for transactions that
//! are already open, so that two of them can never wait for each other's slots forever.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atoll_planner::directory::Node;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::directory::leaders::Leader;
use crate::error::{Error, Result, sqlstate};
use crate::lane::{Lane, LaneSpec, NodeChannel};
use crate::routing::Target;

/// What a pool may do.
#[derive(Clone, Copy, Debug)]
pub struct PoolLimits {
    /// Lanes open at once.
    pub lanes_max: usize,
    /// How long a session waits for one.
    pub wait_max: Duration,
}

/// Which lanes can stand in for each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LaneKey {
    pub database: Arc<str>,
    pub role: Arc<str>,
}

/// How urgently a lane is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// For work that holds nothing yet.
    Fresh,
    /// For a transaction that holds other lanes: may take the slots kept back.
    Joining,
    /// For what can be done without it: 53300 at once where none is free.
    Spare,
}

/// How well an idle lane suits a session, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// Another session may come back for what it left there: taken only when no other can be had.
    Kept,
    Usable,
    /// It need not be told anything.
    Ready,
    /// What this session left is there; or it left nothing anywhere and need not tell this one anything.
    Best,
}

/// The server behind a pool.
pub struct Origin {
    pub node: Node,
    pub epoch: u64,
    /// Unique in this process: another one each time that the node becomes a primary or a replica.
    pub term: u64,
    /// Cancelled when it is not that any more.
    pub fence: CancellationToken,
    /// How many of its lanes are taken, by all workers together.
    pub in_use: Arc<AtomicUsize>,
    /// For reads only.
    pub replica: Option<Arc<Target>>,
}

impl Origin {
    pub fn primary(leader: &Leader, in_use: Arc<AtomicUsize>) -> Self {
        let Leader { node, epoch, term, fence, .. } = leader;
        Self { node: node.clone(), epoch: *epoch, term: *term, fence: fence.clone(), in_use, replica: None }
    }

    pub fn replica(target: &Arc<Target>) -> Self {
        Self {
            node: target.node.clone(),
            epoch: target.epoch,
            term: target.term,
            fence: target.fence.clone(),
            in_use: target.in_use.clone(),
            replica: Some(target.clone()),
        }
    }
}

pub struct Pool {
    channel: Arc<NodeChannel>,
    origin: Origin,
    limits: PoolLimits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Most recently used last.
    idle: Vec<(LaneKey, Box<Lane>)>,
    /// Idle ones included.
    open: usize,
    /// Another pool has taken its place: nothing is kept any more.
    retired: bool,
    waiting_joining: VecDeque<oneshot::Sender<()>>,
    waiting_fresh: VecDeque<oneshot::Sender<()>>,
}

impl State {
    fn best_idle(&self, key: &LaneKey, fit: &impl Fn(&Lane) -> Fit) -> Option<(usize, Fit)> {
        let mut best = None;
        for (index, (idle_key, lane)) in self.idle.iter().enumerate().rev() {
            if idle_key != key {
                continue;
            }
            let fit = fit(lane);
            if best.is_none_or(|(_, best)| fit > best) {
                best = Some((index, fit));
            }
            if fit == Fit::Best {
                break;
            }
        }
        best
    }
}

/// A lane taken from a pool; goes back with [`Pooled::release`], or ends its backend when dropped.
pub struct Pooled {
    lane: Option<Box<Lane>>,
    key: LaneKey,
    pool: Arc<Pool>,
    /// The slot went back with the lane.
    returned: bool,
    _taken: Taken,
}

/// Counts a lane that is taken.
struct Taken(Arc<AtomicUsize>);

impl Taken {
    fn new(in_use: &Arc<AtomicUsize>) -> Self {
        in_use.fetch_add(1, Ordering::Relaxed);
        Self(in_use.clone())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    pub fn new(channel: Arc<NodeChannel>, origin: Origin, limits: PoolLimits) -> Self {
        Self { channel, origin, limits, state: Mutex::default() }
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    pub fn channel(&self) -> &Arc<NodeChannel> {
        &self.channel
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A lane for `key`: of the idle ones the one that fits best, of several the last used.
    ///
    /// # Errors
    /// 53300 when none came free in time; what PostgreSQL says at login; [`Error::LaneLost`].
    pub async fn take(self: &Arc<Self>, key: &LaneKey, need: Need, fit: impl Fn(&Lane) -> Fit) -> Result<Pooled> {
        let deadline = tokio::time::Instant::now() + self.limits.wait_max;
        loop {
            match self.claim(key, need, &fit) {
                Claim::Idle(mut lane) => {
                    lane.ignore_unasked();
                    let mut pooled = self.slot(key);
                    pooled.lane = Some(lane);
                    return Ok(pooled);
                }
                Claim::Slot => return self.open(key, need).await,
                Claim::None => {
                    let message = format!("no backend of node \"{}\" is free", self.channel.node);
                    return Err(Error::sql(sqlstate::TOO_MANY_CONNECTIONS, message));
                }
                Claim::Wait(turn) => {
                    if tokio::time::timeout_at(deadline, turn).await.is_err() {
                        return Err(Error::sql(
                            sqlstate::TOO_MANY_CONNECTIONS,
                            format!(
                                "no backend of node \"{}\" came free in {:?}",
                                self.channel.node, self.limits.wait_max
                            ),
                        )
                        .with_hint(
                            "Raise pool_lanes_max and the node's lanes_max, or open fewer transactions at once.",
                        ));
                    }
                }
            }
        }
    }

    fn claim(&self, key: &LaneKey, need: Need, fit: &impl Fn(&Lane) -> Fit) -> Claim {
        let state = &mut *self.state();
        let only_kept = loop {
            let Some((index, fit)) = state.best_idle(key, fit) else { break false };
            if state.idle[index].1.has_ended() {
                state.idle.remove(index);
                state.open -= 1;
            } else if fit == Fit::Kept {
                break true;
            } else {
                return Claim::Idle(state.idle.remove(index).1);
            }
        };
        // Half: as many transactions that began elsewhere can join as may begin here, so that of two groups neither waits for the other.
        let kept_back = if need != Need::Joining { self.limits.lanes_max / 2 } else { 0 };
        let open_max = (self.limits.lanes_max - kept_back).max(1);
        // Idle lanes that sessions may come back for stand in nobody's way: they are given up before anybody has to wait.
        let is_full = |state: &State| {
            let kept = state.idle.iter().filter(|(_, lane)| lane.state.is_kept()).count();
            state.open >= self.limits.lanes_max || state.open - kept >= open_max
        };
        // Another role's or database's lane that nobody uses makes room first.
        while is_full(state)
            && let Some(unused) = state.idle.iter().position(|(_, lane)| !lane.state.is_kept())
        {
            state.idle.remove(unused);
            state.open -= 1;
        }
        if is_full(state)
            && only_kept
            && let Some(oldest) = state.idle.iter().position(|(idle_key, _)| idle_key == key)
        {
            return Claim::Idle(state.idle.remove(oldest).1);
        }
        while is_full(state) && !state.idle.is_empty() {
            state.idle.remove(0);
            state.open -= 1;
        }
        if !is_full(state) {
            state.open += 1;
            return Claim::Slot;
        }
        let (sender, turn) = oneshot::channel();
        match need {
            Need::Spare => return Claim::None,
            Need::Fresh => state.waiting_fresh.push_back(sender),
            Need::Joining => state.waiting_joining.push_back(sender),
        }
        Claim::Wait(turn)
    }

    fn slot(self: &Arc<Self>, key: &LaneKey) -> Pooled {
        let taken = Taken::new(&self.origin.in_use);
        Pooled { lane: None, key: key.clone(), pool: self.clone(), returned: false, _taken: taken }
    }

    async fn open(self: &Arc<Self>, key: &LaneKey, need: Need) -> Result<Pooled> {
        // The slot is given back when opening fails or is abandoned.
        let mut pooled = self.slot(key);
        let spec = LaneSpec {
            database: &key.database,
            role: &key.role,
            epoch: self.origin.epoch,
            replica: self.origin.replica.is_some(),
            // The node may be full of other coordinators' lanes.
            wait: if need == Need::Spare { Duration::ZERO } else { self.limits.wait_max },
            fence: &self.origin.fence,
        };
        let mut lane = Lane::open(&self.channel, spec).await?;
        lane.reads_for = self.origin.replica.clone();
        pooled.lane = Some(Box::new(lane));
        Ok(pooled)
    }

    fn put_back(&self, lane: Option<(LaneKey, Box<Lane>)>) {
        let mut state = self.state();
        match lane {
            Some(entry) if !state.retired => state.idle.push(entry),
            _ => state.open -= 1,
        }
        while let Some(next) = state.waiting_joining.pop_front().or_else(|| state.waiting_fresh.pop_front()) {
            if next.send(()).is_ok() {
                break;
            }
        }
    }

    /// Closes every idle lane now, and the others as they come back: the node is not the primary any more, or began anew.
    pub fn retire(&self) {
        let mut state = self.state();
        state.retired = true;
        state.open -= state.idle.len();
        state.idle.clear();
    }
}

enum Claim {
    Idle(Box<Lane>),
    Slot,
    Wait(oneshot::Receiver<()>),
    /// All are in use, and it is not waited for.
    None,
}

impl Pooled {
    /// Where the lane leads to.
    pub fn origin(&self) -> &Origin {
        &self.pool.origin
    }

    /// Gives the lane back for others; one that is in the middle of something is ended instead.
    pub fn release(mut self) {
        if let Some(mut lane) = self.lane.take() {
            lane.hedge(None);
            let reusable = !lane.busy && lane.transaction_status == b'I';
            let entry = reusable.then(|| (self.key.clone(), lane));
            self.returned = true;
            self.pool.put_back(entry);
        }
    }
}

impl std::ops::Deref for Pooled {
    type Target = Lane;

    fn deref(&self) -> &Lane {
        self.lane.as_ref().expect("a pooled lane is there until it is released")
    }
}

impl std::ops::DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut Lane {
        self.lane.as_mut().expect("a pooled lane is there until it is released")
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        if !self.returned {
            self.pool.put_back(None);
        }
    }
}
