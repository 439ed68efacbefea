//! Who is primary of each group, from what the nodes' agents say.
//!
//! The highest epoch counts, and an epoch once heard of ends all before it: lanes of an older one are cut at once, whatever they are in the
//! middle of. A primary that is away (its PostgreSQL restarts, its agent is silent) stays known: it may come back in the same epoch.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use atoll_planner::directory::Node;
use atoll_proto::v1::NodeState;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::outcome::Beginning;
use crate::error::{Error, Result, sqlstate};

static TERMS: AtomicU64 = AtomicU64::new(1);

/// A primary, from when it began to serve until it stops.
#[derive(Debug)]
pub struct Leader {
    pub group: Arc<str>,
    pub node: Node,
    pub epoch: u64,
    /// Unique in this process: another one each time that a primary begins to serve, be it the same node in the same epoch.
    pub term: u64,
    /// Cancelled when the group has a newer epoch.
    pub fence: CancellationToken,
}

/// Who asks for a primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The control side: as soon as it serves.
    Control,
    /// Sessions: once the distributed transactions that were decided before are finished there, too, and until it is about to hand over.
    Clients,
    /// Transactions that have begun elsewhere: while it is about to hand over, too, because others may be waiting for their locks.
    Joiners,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Away,
    Serving,
    Admitted,
}

/// What is known of a group.
#[derive(Clone, Debug, Default)]
struct Standing {
    /// The highest heard of.
    epoch: u64,
    /// The last primary, which need not serve any more.
    leader: Option<Arc<Leader>>,
    stage: Stage,
    /// The primary is about to hand over, once the transactions that have begun are over.
    draining: bool,
    /// Why nobody serves.
    reason: String,
    /// When its primaries began to run, the latest last.
    beginnings: Vec<Beginning>,
    /// Its primary names further members.
    has_standbys: bool,
}

/// Beginnings that are remembered of each group.
const BEGINNINGS_MAX: usize = 64;

impl Standing {
    /// What a node's agent says; whether that changes anything.
    fn hear(&mut self, node: &Node, group: &str, state: &NodeState) -> bool {
        let is_primary = state.role == "primary";
        let newest = state.group_epoch.max(if is_primary { state.epoch } else { 0 });
        let mut changed = false;
        if newest > self.epoch {
            self.epoch = newest;
            changed = true;
        }
        if let Some(leader) =
            self.leader.as_ref().filter(|leader| leader.epoch < self.epoch && self.stage != Stage::Away)
        {
            self.reason =
                format!("epoch {} has begun, after {} in epoch {}", self.epoch, leader.node.name, leader.epoch);
            self.stage = Stage::Away;
        }
        if let Some(leader) = self.leader.as_ref().filter(|leader| leader.epoch < self.epoch) {
            leader.fence.cancel();
        }
        if is_primary && state.epoch == self.epoch && self.has_standbys != (state.members.len() > 1) {
            self.has_standbys = state.members.len() > 1;
            changed = true;
        }
        if is_primary && state.epoch == self.epoch && self.draining != state.draining {
            self.draining = state.draining;
            changed = true;
        }
        let is_leader = |leader: &Arc<Leader>| leader.node.name == node.name && leader.epoch == state.epoch;
        let led = self.leader.as_ref().is_some_and(is_leader);
        if is_primary && state.epoch == self.epoch {
            let moved = self.leader.as_ref().is_some_and(|leader| led && leader.node != *node);
            // Of two in one epoch the one that serves is kept: agents never let that happen.
            if self.stage == Stage::Away || moved {
                let fence = self.leader.as_ref().filter(|_| led).map(|leader| leader.fence.clone());
                if let Some(other) = self.leader.as_ref().filter(|_| !led) {
                    other.fence.cancel();
                }
                self.leader = Some(Arc::new(Leader {
                    group: group.into(),
                    node: node.clone(),
                    epoch: state.epoch,
                    term: TERMS.fetch_add(1, Ordering::Relaxed),
                    fence: fence.unwrap_or_default(),
                }));
                self.stage = Stage::Serving;
                changed = true;
            }
        } else if self.leader.as_ref().is_some_and(|leader| leader.node.name == node.name) && self.stage != Stage::Away
        {
            let why = if state.reason.is_empty() { String::new() } else { format!(" ({})", state.reason) };
            self.reason = format!("node \"{}\" is {} with role \"{}\"{why}", node.name, state.state, state.role);
            self.stage = Stage::Away;
            changed = true;
        }
        changed
    }

    /// Nothing can be heard of a node any more; whether that changes anything.
    fn lose(&mut self, node: &str, reason: &str) -> bool {
        let led = self.leader.as_ref().is_some_and(|leader| leader.node.name == node);
        if led && self.stage != Stage::Away {
            self.stage = Stage::Away;
            self.reason = format!("node \"{node}\": {reason}");
            return true;
        }
        false
    }

    fn leader_for(&self, asker: Asker) -> Option<&Arc<Leader>> {
        let open = match asker {
            Asker::Control => self.stage >= Stage::Serving,
            Asker::Joiners => self.stage >= Stage::Admitted,
            Asker::Clients => self.stage >= Stage::Admitted && !self.draining,
        };
        self.leader.as_ref().filter(|_| open)
    }
}

type Standings = HashMap<String, Standing>;

/// Every group's standing, for all threads.
pub struct Leaders {
    now: ArcSwap<Standings>,
    /// One change at a time.
    changing: Mutex<()>,
    changes: watch::Sender<u64>,
}

impl Default for Leaders {
    fn default() -> Self {
        Self { now: ArcSwap::default(), changing: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Leaders {
    fn change(&self, group: &str, change: impl FnOnce(&mut Standing) -> bool) {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut standing = self.now.load().get(group).cloned().unwrap_or_default();
        let (before, stage) = (standing.leader.clone(), standing.stage);
        if !change(&mut standing) {
            return;
        }
        let term = |leader: &Option<Arc<Leader>>| leader.as_ref().map(|leader| leader.term);
        if stage != standing.stage || term(&before) != term(&standing.leader) {
            note(group, before.as_deref(), &standing);
        }
        let mut all = Standings::clone(&self.now.load());
        all.insert(group.to_owned(), standing);
        self.now.store(Arc::new(all));
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// What the agent of a node says.
    pub fn hear(&self, node: &Node, group: &str, state: &NodeState) {
        self.change(group, |standing| standing.hear(node, group, state));
    }

    /// The agent of a node cannot be heard any more.
    pub fn lose(&self, node: &str, group: &str, reason: &str) {
        self.change(group, |standing| standing.lose(node, reason));
    }

    /// Lets clients' statements go to a primary, if it still serves; its PostgreSQL has been running since `beginning`.
    pub fn admit(&self, leader: &Leader, beginning: Beginning) {
        self.change(&leader.group, |standing| {
            let same = standing.leader.as_ref().is_some_and(|known| known.term == leader.term);
            let admits = same && standing.stage == Stage::Serving;
            if admits {
                standing.stage = Stage::Admitted;
                if standing.beginnings.last().is_none_or(|last| last.at.to_bits() != beginning.at.to_bits()) {
                    standing.beginnings.push(beginning);
                }
                let surplus = standing.beginnings.len().saturating_sub(BEGINNINGS_MAX);
                standing.beginnings.drain(..surplus);
            }
            admits
        });
    }

    /// When a group's primaries began to run, as far as they were admitted here.
    pub fn beginnings(&self, group: &str) -> Vec<Beginning> {
        self.now.load().get(group).map(|standing| standing.beginnings.clone()).unwrap_or_default()
    }

    /// The group's primary, if one serves now.
    pub fn get(&self, group: &str, asker: Asker) -> Option<Arc<Leader>> {
        self.now.load().get(group)?.leader_for(asker).cloned()
    }

    /// The last primary that was heard of, whether it serves or not.
    pub fn last(&self, group: &str) -> Option<Arc<Leader>> {
        self.now.load().get(group)?.leader.clone()
    }

    /// The highest epoch of the group that was heard of.
    pub fn epoch(&self, group: &str) -> u64 {
        self.now.load().get(group).map_or(0, |standing| standing.epoch)
    }

    /// Whether some group has standbys, as its primary said last.
    pub fn has_standbys(&self) -> bool {
        self.now.load().values().any(|standing| standing.has_standbys)
    }

    /// Primaries that serve and are not open to clients yet.
    pub fn waiting(&self) -> Vec<Arc<Leader>> {
        let now = self.now.load();
        let serving = now.values().filter(|standing| standing.stage == Stage::Serving);
        serving.filter_map(|standing| standing.leader.clone()).collect()
    }

    /// Counts the changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The group's primary, as soon as one serves.
    ///
    /// # Errors
    /// 57P03 when that does not happen `within` this time, with what is known of the group.
    pub async fn wait(&self, group: &str, asker: Asker, within: Duration) -> Result<Arc<Leader>> {
        let mut changes = self.changes();
        let found = async {
            loop {
                if let Some(leader) = self.get(group, asker) {
                    return Some(leader);
                }
                if changes.changed().await.is_err() {
                    return None;
                }
            }
        };
        match tokio::time::timeout(within, found).await {
            Ok(Some(leader)) => Ok(leader),
            _ => Err(self.nobody_serves(group, within)),
        }
    }

    /// Whether some primary waits for transactions to end.
    pub fn is_draining(&self) -> bool {
        self.now.load().values().any(|standing| standing.stage != Stage::Away && standing.draining)
    }

    /// Resolves when no primary waits for transactions to end.
    pub async fn drained(&self) {
        let mut changes = self.changes();
        while self.is_draining() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Resolves when this primary is not for the asker any more.
    pub async fn superseded(&self, leader: &Leader, asker: Asker) {
        let mut changes = self.changes();
        while self.get(&leader.group, asker).is_some_and(|serving| serving.term == leader.term) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// The primary that a node is, by its name, if it serves now.
    pub fn served_by(&self, node: &str) -> Option<Arc<Leader>> {
        let now = self.now.load();
        let serving = now.values().filter_map(|standing| standing.leader_for(Asker::Control));
        serving.into_iter().find(|leader| leader.node.name == node).cloned()
    }

    /// What a client hears when a group had no primary for this long.
    pub fn nobody_serves(&self, group: &str, waited: Duration) -> Error {
        let now = self.now.load();
        let detail = match now.get(group) {
            None => "No node of the group has been heard of yet.".to_owned(),
            Some(Standing { leader: Some(leader), stage: Stage::Away, reason, .. }) => {
                format!("The last primary was node \"{}\" in epoch {}; {reason}.", leader.node.name, leader.epoch)
            }
            Some(Standing { leader: None, epoch: 0, .. }) => "None of its nodes is primary.".to_owned(),
            Some(Standing { leader: None, epoch, .. }) => {
                format!("None of its nodes is primary; the newest epoch heard of is {epoch}.")
            }
            Some(Standing { leader: Some(leader), draining: true, .. }) => {
                format!("Node \"{}\", primary in epoch {}, is about to hand over.", leader.node.name, leader.epoch)
            }
            Some(Standing { leader: Some(leader), .. }) => {
                format!(
                    "Node \"{}\" is primary in epoch {}, but does not take statements yet.",
                    leader.node.name, leader.epoch
                )
            }
        };
        let message = format!("group \"{group}\" has had no primary for {:.1} s", waited.as_secs_f64());
        Error::sql(sqlstate::CANNOT_CONNECT_NOW, message)
            .with_detail(detail)
            .with_hint("Try again later; `atoll status` shows the group's nodes.")
    }
}

/// Tells the log, and counts failovers.
fn note(group: &str, before: Option<&Leader>, standing: &Standing) {
    let Some(leader) = standing.leader.as_deref() else { return };
    match (standing.stage, before) {
        (Stage::Away, _) => tracing::warn!(group, reason = standing.reason, "the group has no primary now"),
        (Stage::Serving, before) => {
            let (node, epoch) = (leader.node.name.as_str(), leader.epoch);
            tracing::info!(group, node, epoch, "the group has a primary");
            if before.is_some_and(|before| before.epoch != epoch || before.node.name != node) {
                metrics::counter!("atoll_coordinator_failovers_total", "group" => group.to_owned()).increment(1);
            }
        }
        (Stage::Admitted, _) => {}
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;

    fn node(name: &str) -> Node {
        Node {
            name: name.to_owned(),
            zone: "z".to_owned(),
            capacity: 1.0,
            agent_address: format!("{name}:1"),
            agent_socket: String::new(),
        }
    }

    const BEGINNING: Beginning = Beginning { at: 1.0, timeline: 1, log_end: None };

    fn state(role: &str, epoch: u64, group_epoch: u64) -> NodeState {
        NodeState { role: role.to_owned(), epoch, group_epoch, state: "running".to_owned(), ..NodeState::default() }
    }

    #[test]
    fn a_primary_of_a_newer_epoch_takes_over_and_fences_the_old_one() {
        let leaders = Leaders::default();
        leaders.hear(&node("a"), "g1", &state("primary", 1, 0));
        let first = leaders.get("g1", Asker::Control).unwrap();
        assert!(leaders.get("g1", Asker::Clients).is_none());
        leaders.admit(&first, BEGINNING);
        assert_eq!(leaders.get("g1", Asker::Clients).unwrap().term, first.term);
        // Somebody has heard of epoch 2: the first is over, although nobody serves yet.
        leaders.hear(&node("b"), "g1", &state("replica", 1, 2));
        assert!(first.fence.is_cancelled() && leaders.get("g1", Asker::Control).is_none());
        leaders.hear(&node("a"), "g1", &state("primary", 1, 1));
        assert!(leaders.get("g1", Asker::Control).is_none(), "an epoch that is over does not come back");
        leaders.hear(&node("b"), "g1", &state("primary", 2, 2));
        let second = leaders.get("g1", Asker::Control).unwrap();
        assert_eq!((second.node.name.as_str(), second.epoch, leaders.epoch("g1")), ("b", 2, 2));
        leaders.admit(&first, BEGINNING);
        assert!(leaders.get("g1", Asker::Clients).is_none(), "only who serves now is admitted");
    }

    #[tokio::test]
    async fn a_primary_that_drains_takes_only_those_who_have_begun() {
        let leaders = Leaders::default();
        leaders.hear(&node("a"), "g1", &state("primary", 1, 1));
        let leader = leaders.get("g1", Asker::Control).unwrap();
        leaders.admit(&leader, BEGINNING);
        let draining = NodeState { draining: true, ..state("primary", 1, 1) };
        leaders.hear(&node("a"), "g1", &draining);
        let open = |asker| leaders.get("g1", asker).is_some();
        assert!(!open(Asker::Clients) && open(Asker::Joiners) && open(Asker::Control) && leaders.is_draining());
        leaders.superseded(&leader, Asker::Clients).await;
        // It was given up: all goes on as before.
        leaders.hear(&node("a"), "g1", &state("primary", 1, 1));
        assert!(open(Asker::Clients) && !leaders.is_draining());
        leaders.hear(&node("a"), "g1", &draining);
        leaders.lose("a", "g1", "its agent went away");
        assert!(!open(Asker::Joiners) && !leaders.is_draining());
        leaders.drained().await;
    }

    #[test]
    fn the_same_primary_comes_back_in_the_same_epoch() {
        let leaders = Leaders::default();
        leaders.hear(&node("a"), "g1", &state("primary", 1, 0));
        let first = leaders.get("g1", Asker::Control).unwrap();
        leaders.admit(&first, BEGINNING);
        leaders.hear(&node("a"), "g1", &NodeState { reason: "it died".to_owned(), ..state("none", 1, 0) });
        assert!(leaders.get("g1", Asker::Control).is_none());
        let error = leaders.nobody_serves("g1", Duration::from_secs(2));
        assert!(error.fields().detail().is_some_and(|detail| detail.contains("\"a\"") && detail.contains("it died")));
        leaders.hear(&node("a"), "g1", &state("primary", 1, 0));
        let again = leaders.get("g1", Asker::Control).unwrap();
        assert!(again.term != first.term && !first.fence.is_cancelled());
        assert!(leaders.get("g1", Asker::Clients).is_none());
        leaders.lose("a", "g1", "its agent went away");
        assert!(leaders.get("g1", Asker::Control).is_none());
    }

    #[tokio::test]
    async fn waiters_hear_of_a_new_primary_at_once() {
        let leaders = Arc::new(Leaders::default());
        let waiting = tokio::spawn({
            let leaders = leaders.clone();
            async move { leaders.wait("g1", Asker::Control, Duration::from_secs(60)).await }
        });
        tokio::task::yield_now().await;
        leaders.hear(&node("a"), "g1", &state("primary", 7, 7));
        assert_eq!(waiting.await.unwrap().unwrap().epoch, 7);
        let error = leaders.wait("g2", Asker::Control, Duration::from_millis(1)).await.unwrap_err();
        assert_eq!(error.sqlstate(), "57P03");
        assert!(error.to_string().contains("g2"));
    }

    #[test]
    fn whatever_the_nodes_say_epochs_only_rise() {
        let seed = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let names = ["a", "b", "c"];
        for _ in 0..200 {
            let leaders = Leaders::default();
            let (mut epoch, mut all) = (0, Vec::<Arc<Leader>>::new());
            // In which epoch which node was first heard as primary: agents never let two be in one.
            let mut reigns = HashMap::new();
            for _ in 0..60 {
                let name = names[random.random_range(0..3)];
                let said = random.random_range(1..8);
                let role = ["primary", "replica", "none"][random.random_range(0..3)];
                let role =
                    if role == "primary" && *reigns.entry(said).or_insert(name) != name { "replica" } else { role };
                match random.random_range(0..8) {
                    0 => leaders.lose(name, "g1", "silent"),
                    1 => leaders.waiting().iter().for_each(|leader| leaders.admit(leader, BEGINNING)),
                    _ => leaders.hear(&node(name), "g1", &state(role, said, random.random_range(0..=said))),
                }
                assert!(leaders.epoch("g1") >= epoch);
                epoch = leaders.epoch("g1");
                let serving = leaders.get("g1", Asker::Control);
                if let Some(leader) = &serving {
                    assert_eq!(leader.epoch, epoch, "who serves is of the newest epoch");
                    assert!(!leader.fence.is_cancelled());
                    assert_eq!(reigns.get(&leader.epoch), Some(&leader.node.name.as_str()));
                }
                all.extend(serving);
                assert!(all.iter().all(|leader| leader.fence.is_cancelled() == (leader.epoch < epoch)));
            }
        }
    }
}
