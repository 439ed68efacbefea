//! One worker's lanes to one node: the last used first, so that few backends stay warm; bounded, with slots kept for transactions that
//! are already open, so that two of them can never wait for each other's slots forever.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atoll_planner::directory::Node;
use tokio::sync::oneshot;

use crate::directory::leaders::Leader;
use crate::error::{Error, Result, sqlstate};
use crate::lane::{Lane, LaneSpec, NodeChannel};

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

pub struct Pool {
    channel: Arc<NodeChannel>,
    leader: Arc<Leader>,
    limits: PoolLimits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Most recently used last.
    idle: Vec<(LaneKey, Lane)>,
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
            // Of those that somebody may come back for, the one that has been left the longest.
            if best.is_none_or(|(_, best)| fit > best || (fit == Fit::Kept && best == Fit::Kept)) {
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
    lane: Option<Lane>,
    key: LaneKey,
    pool: Arc<Pool>,
    /// The slot went back with the lane.
    returned: bool,
}

impl Pool {
    pub fn new(channel: Arc<NodeChannel>, leader: Arc<Leader>, limits: PoolLimits) -> Self {
        Self { channel, leader, limits, state: Mutex::default() }
    }

    /// The primary's.
    pub fn term(&self) -> u64 {
        self.leader.term
    }

    pub fn node(&self) -> &Node {
        &self.leader.node
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
                    return Ok(Pooled { lane: Some(*lane), key: key.clone(), pool: self.clone(), returned: false });
                }
                Claim::Slot => return self.open(key).await,
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
        let kept = loop {
            let Some((index, fit)) = state.best_idle(key, fit) else { break None };
            if state.idle[index].1.has_ended() {
                state.idle.remove(index);
                state.open -= 1;
            } else if fit == Fit::Kept {
                break Some(index);
            } else {
                return Claim::Idle(Box::new(state.idle.remove(index).1));
            }
        };
        // Half: as many transactions that began elsewhere can join as may begin here, so that of two groups neither waits for the other.
        let kept_back = if need == Need::Fresh { self.limits.lanes_max / 2 } else { 0 };
        let open_max = (self.limits.lanes_max - kept_back).max(1);
        // Idle lanes that sessions may come back for stand in nobody's way: they are given up before anybody has to wait.
        let is_full = |state: &State| {
            let kept = state.idle.iter().filter(|(_, lane)| lane.state.is_kept()).count();
            state.open >= self.limits.lanes_max || state.open - kept >= open_max
        };
        if let Some(index) = kept.filter(|_| is_full(state)) {
            return Claim::Idle(Box::new(state.idle.remove(index).1));
        }
        while is_full(state) && !state.idle.is_empty() {
            // Another role's or database's lane that nobody uses makes room.
            let unused = state.idle.iter().position(|(_, lane)| !lane.state.is_kept());
            state.idle.remove(unused.unwrap_or(0));
            state.open -= 1;
        }
        if !is_full(state) {
            state.open += 1;
            return Claim::Slot;
        }
        let (sender, turn) = oneshot::channel();
        match need {
            Need::Fresh => state.waiting_fresh.push_back(sender),
            Need::Joining => state.waiting_joining.push_back(sender),
        }
        Claim::Wait(turn)
    }

    async fn open(self: &Arc<Self>, key: &LaneKey) -> Result<Pooled> {
        // The slot is given back when opening fails or is abandoned.
        let mut pooled = Pooled { lane: None, key: key.clone(), pool: self.clone(), returned: false };
        let spec = LaneSpec {
            database: &key.database,
            role: &key.role,
            epoch: self.leader.epoch,
            replica: false,
            wait: self.limits.wait_max,
            fence: &self.leader.fence,
        };
        pooled.lane = Some(Lane::open(&self.channel, spec).await?);
        Ok(pooled)
    }

    fn put_back(&self, lane: Option<(LaneKey, Lane)>) {
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
}

impl Pooled {
    /// Gives the lane back for others; one that is in the middle of something is ended instead.
    pub fn release(mut self) {
        if let Some(lane) = self.lane.take() {
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
