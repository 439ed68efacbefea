//! The nodes that could answer reads, with what is known of each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use atoll_planner::directory::Node;
use atoll_proto::v1::NodeState;
use tokio_util::sync::CancellationToken;

use super::choice::{Candidate, Preference, choose};
use super::health::{Change, Health};
use super::position::Position;
use crate::directory::leaders::{Asker, Leaders};

/// What an agent said longer ago says nothing of now.
const FRESH: Duration = Duration::from_secs(3);
/// How much an average of latencies takes from each new one.
const LATENCY_GAIN: f64 = 0.1;

static TERMS: AtomicU64 = AtomicU64::new(1);

/// A node in one epoch of its group, as a primary or a replica.
pub struct Target {
    pub group: String,
    pub node: Node,
    pub epoch: u64,
    pub is_primary: bool,
    /// Unique in this process.
    pub term: u64,
    /// Cancelled when the node is not this any more.
    pub fence: CancellationToken,
    /// Statements that this coordinator has there.
    pub in_use: Arc<AtomicUsize>,
    conduct: Arc<Conduct>,
    numbers: Mutex<Numbers>,
}

/// How a node has behaved, whatever it was meanwhile: who stutters may look like gone and back.
#[derive(Default)]
struct Conduct {
    health: Mutex<Health>,
    /// Cancelled, and made anew, at each ejection.
    ejection: Mutex<CancellationToken>,
    is_out: AtomicBool,
}

/// As the agent last said.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    heard: Instant,
    lag_bytes: u64,
    lag_ms: u64,
    load: f64,
    /// Seconds.
    latency: f64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Target {
    fn new(node: &Node, group: &str, state: &NodeState, in_use: Arc<AtomicUsize>, conduct: Arc<Conduct>) -> Self {
        let numbers = Numbers { heard: Instant::now(), lag_bytes: 0, lag_ms: 0, load: 0.0, latency: 0.0 };
        Self {
            group: group.to_owned(),
            node: node.clone(),
            epoch: state.epoch,
            is_primary: state.role == "primary",
            term: TERMS.fetch_add(1, Ordering::Relaxed),
            fence: CancellationToken::new(),
            in_use,
            conduct,
            numbers: Mutex::new(numbers),
        }
    }

    fn is(&self, node: &Node, state: &NodeState) -> bool {
        let same_way = (&self.node.agent_address, &self.node.agent_socket) == (&node.agent_address, &node.agent_socket);
        same_way && self.epoch == state.epoch && self.is_primary == (state.role == "primary")
    }

    fn hear(&self, state: &NodeState) {
        let mut numbers = lock(&self.numbers);
        let latency = numbers.latency;
        *numbers = Numbers {
            heard: Instant::now(),
            lag_bytes: state.lag_bytes,
            lag_ms: state.lag_ms,
            load: state.load,
            latency,
        };
    }

    /// Cancelled when it is ejected from now on.
    pub fn ejection(&self) -> CancellationToken {
        lock(&self.conduct.ejection).clone()
    }

    /// Notes how long a statement took to be answered.
    pub fn measure(&self, took: Duration) {
        lock(&self.conduct.health).measure(Instant::now(), took);
        let mut numbers = lock(&self.numbers);
        let seconds = took.as_secs_f64();
        numbers.latency =
            if numbers.latency == 0.0 { seconds } else { numbers.latency + LATENCY_GAIN * (seconds - numbers.latency) };
    }

    /// Questions to what it was before are not answered any more.
    pub(super) fn begin_asking(&self) {
        lock(&self.conduct.health).begin();
    }

    pub(super) fn asked(&self) {
        lock(&self.conduct.health).ask(Instant::now());
    }

    pub(super) fn answered(&self) {
        lock(&self.conduct.health).answer(Instant::now());
    }

    /// Whether it is left alone now.
    pub fn is_out(&self) -> bool {
        self.conduct.is_out.load(Ordering::Relaxed)
    }

    /// Looks at it beside the other nodes of its group.
    pub(super) fn look(&self, others: &[&Health]) {
        let Some(change) = lock(&self.conduct.health).look(others, Instant::now()) else { return };
        let (group, node) = (self.group.as_str(), self.node.name.as_str());
        match change {
            Change::Ejected => {
                self.conduct.is_out.store(true, Ordering::Relaxed);
                std::mem::take(&mut *lock(&self.conduct.ejection)).cancel();
                metrics::counter!("atoll_coordinator_ejections_total", "node" => node.to_owned()).increment(1);
                tracing::warn!(group, node, "the node answers far later than the others: it gets no reads for a while");
            }
            Change::Restored => {
                self.conduct.is_out.store(false, Ordering::Relaxed);
                tracing::info!(group, node, "the node answers in good time again: it gets reads, more and more");
            }
        }
    }

    pub(super) fn health(&self) -> Health {
        lock(&self.conduct.health).clone()
    }

    fn candidate(&self, now: Instant) -> Candidate {
        let numbers = *lock(&self.numbers);
        Candidate {
            weight: self.node.capacity.max(f64::MIN_POSITIVE) * lock(&self.conduct.health).share(now),
            in_flight: self.in_use.load(Ordering::Relaxed),
            load: numbers.load,
            latency: numbers.latency,
        }
    }

    /// Whether a session may read here, as far as is known without asking.
    fn suits(&self, wants: &Wants<'_>, epoch: u64, now: Instant) -> bool {
        let numbers = *lock(&self.numbers);
        let age = now.saturating_duration_since(numbers.heard);
        let lag = Duration::from_millis(numbers.lag_ms).saturating_add(age);
        !self.is_primary
            && self.epoch == epoch
            && wants.position.is_none_or(|position| position.epoch <= epoch)
            && age <= FRESH
            && numbers.lag_bytes <= wants.max_lag_bytes
            && lag <= wants.max_lag
            && !self.is_out()
    }
}

/// What a session wants of the node that answers its read.
#[derive(Clone, Copy, Debug)]
pub struct Wants<'a> {
    pub preference: Preference,
    pub max_lag_bytes: u64,
    pub max_lag: Duration,
    /// The coordinator's.
    pub zone: &'a str,
    /// What the session has seen of the group.
    pub position: Option<Position>,
}

/// Who answers a read.
pub enum Choice {
    Primary,
    Replica(Arc<Target>),
}

type Targets = HashMap<String, Vec<Arc<Target>>>;

/// Every group's nodes, for all threads.
pub struct Routing {
    leaders: Arc<Leaders>,
    now: ArcSwap<Targets>,
    /// One change at a time.
    changing: Mutex<()>,
    /// By node, like what follows: outlives the targets.
    in_use: Mutex<HashMap<String, Arc<AtomicUsize>>>,
    conduct: Mutex<HashMap<String, Arc<Conduct>>>,
    /// When a session last asked for a replica, as milliseconds since `start`, plus 1.
    wanted: AtomicU64,
    start: Instant,
}

impl Routing {
    pub fn new(leaders: Arc<Leaders>) -> Self {
        Self {
            leaders,
            now: ArcSwap::default(),
            changing: Mutex::default(),
            in_use: Mutex::default(),
            conduct: Mutex::default(),
            wanted: AtomicU64::new(0),
            start: Instant::now(),
        }
    }

    /// How many statements this coordinator has on a node, counted by its pools.
    pub fn in_use(&self, node: &str) -> Arc<AtomicUsize> {
        lock(&self.in_use).entry(node.to_owned()).or_default().clone()
    }

    /// What the agent of a node says.
    pub fn hear(&self, node: &Node, group: &str, state: &NodeState) {
        let _one = lock(&self.changing);
        let now = self.now.load();
        let known = now.get(group).and_then(|targets| targets.iter().find(|target| target.node.name == node.name));
        let serves = matches!(state.role.as_str(), "primary" | "replica");
        match known {
            Some(target) if serves && target.is(node, state) => target.hear(state),
            _ => {
                let target = serves.then(|| {
                    let conduct = lock(&self.conduct).entry(node.name.clone()).or_default().clone();
                    let target = Target::new(node, group, state, self.in_use(&node.name), conduct);
                    target.hear(state);
                    Arc::new(target)
                });
                self.replace(&node.name, group, target);
            }
        }
    }

    /// The agent of a node cannot be heard any more.
    pub fn lose(&self, node: &str, group: &str) {
        let _one = lock(&self.changing);
        self.replace(node, group, None);
    }

    fn replace(&self, node: &str, group: &str, target: Option<Arc<Target>>) {
        let mut all = Targets::clone(&self.now.load());
        let targets = all.entry(group.to_owned()).or_default();
        for gone in targets.extract_if(.., |known| known.node.name == node) {
            gone.fence.cancel();
        }
        targets.extend(target);
        self.now.store(Arc::new(all));
    }

    /// Every node that serves.
    pub fn targets(&self) -> Vec<Arc<Target>> {
        self.now.load().values().flatten().cloned().collect()
    }

    /// A node of a group by its name, if it serves reads.
    pub fn replica(&self, group: &str, node: &str) -> Option<Arc<Target>> {
        let now = self.now.load();
        now.get(group)?.iter().find(|target| target.node.name == node && !target.is_primary).cloned()
    }

    /// Whether a session has asked for replicas within this time.
    pub fn is_wanted(&self, within: Duration) -> bool {
        let wanted = self.wanted.load(Ordering::Relaxed);
        wanted > 0 && self.start.elapsed().saturating_sub(Duration::from_millis(wanted - 1)) <= within
    }

    /// The node for a read, of those that are not `excluded` (by name).
    pub fn choose(&self, group: &str, wants: &Wants<'_>, excluded: &[String]) -> Choice {
        self.wanted.store(self.start.elapsed().as_millis() as u64 + 1, Ordering::Relaxed);
        let now = Instant::now();
        let all = self.now.load();
        let Some(targets) = all.get(group) else { return Choice::Primary };
        let epoch = self.leaders.epoch(group);
        let mut suited: Vec<&Arc<Target>> = targets
            .iter()
            .filter(|target| target.suits(wants, epoch, now) && !excluded.contains(&target.node.name))
            .collect();
        if suited.is_empty() {
            return Choice::Primary;
        }
        if wants.preference != Preference::Replica && self.leaders.get(group, Asker::Clients).is_some() {
            suited.extend(targets.iter().filter(|target| target.is_primary && target.epoch == epoch));
        }
        if wants.preference == Preference::Nearest && suited.iter().any(|target| target.node.zone == wants.zone) {
            suited.retain(|target| target.node.zone == wants.zone);
        }
        let candidates: Vec<Candidate> = suited.iter().map(|target| target.candidate(now)).collect();
        match choose(&candidates, &mut rand::rng()).map(|index| suited[index]) {
            Some(target) if !target.is_primary => Choice::Replica(target.clone()),
            _ => Choice::Primary,
        }
    }

    /// Looks who is to be left alone, and who no more.
    pub(super) fn look(&self) {
        for targets in self.now.load().values() {
            let health: Vec<Health> = targets.iter().map(|target| target.health()).collect();
            for (index, target) in targets.iter().enumerate().filter(|(_, target)| !target.is_primary) {
                let others: Vec<&Health> =
                    health.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, health)| health).collect();
                target.look(&others);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, zone: &str, capacity: f64) -> Node {
        Node {
            name: name.to_owned(),
            zone: zone.to_owned(),
            capacity,
            agent_address: format!("{name}:1"),
            agent_socket: String::new(),
        }
    }

    fn state(role: &str, lag_bytes: u64, lag_ms: u64) -> NodeState {
        NodeState {
            role: role.to_owned(),
            epoch: 2,
            group_epoch: 2,
            lag_bytes,
            lag_ms,
            state: "running".to_owned(),
            ..NodeState::default()
        }
    }

    fn routing() -> Routing {
        let leaders: Arc<Leaders> = Arc::default();
        let routing = Routing::new(leaders.clone());
        for (own, state) in [
            (node("p", "a", 1.0), state("primary", 0, 0)),
            (node("r1", "a", 1.0), state("replica", 100, 50)),
            (node("r2", "b", 2.0), state("replica", 400, 5_000)),
        ] {
            leaders.hear(&own, "g1", &state);
            routing.hear(&own, "g1", &state);
        }
        let leader = leaders.get("g1", Asker::Control).unwrap();
        let beginning = crate::directory::outcome::Beginning { at: 1.0, timeline: 1, log_end: None };
        leaders.admit(&leader, beginning);
        routing
    }

    fn wants(preference: Preference) -> Wants<'static> {
        Wants { preference, max_lag_bytes: 1 << 20, max_lag: Duration::from_secs(10), zone: "b", position: None }
    }

    /// How often each node is chosen; the primary as "".
    fn chosen(routing: &Routing, wants: &Wants<'_>, excluded: &[String]) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for _ in 0..2_000 {
            let name = match routing.choose("g1", wants, excluded) {
                Choice::Primary => String::new(),
                Choice::Replica(target) => target.node.name.clone(),
            };
            *counts.entry(name).or_default() += 1;
        }
        counts
    }

    #[test]
    fn preferences_say_who_answers() {
        let routing = routing();
        assert!(!routing.is_wanted(Duration::from_secs(60)));
        let any = chosen(&routing, &wants(Preference::Any), &[]);
        assert!(routing.is_wanted(Duration::from_secs(60)));
        assert!(
            (400..600).contains(&any[""]) && (400..600).contains(&any["r1"]) && (850..1_150).contains(&any["r2"]),
            "{any:?}"
        );
        let replica = chosen(&routing, &wants(Preference::Replica), &[]);
        assert!(!replica.contains_key("") && replica.len() == 2, "{replica:?}");
        let nearest = chosen(&routing, &wants(Preference::Nearest), &[]);
        assert_eq!(nearest.keys().collect::<Vec<_>>(), ["r2"]);
        let elsewhere = chosen(&routing, &Wants { zone: "c", ..wants(Preference::Nearest) }, &[]);
        assert_eq!(elsewhere.len(), 3);
        let excluded = chosen(&routing, &wants(Preference::Replica), &["r2".to_owned()]);
        assert_eq!(excluded.keys().collect::<Vec<_>>(), ["r1"]);
        assert!(matches!(routing.choose("g2", &wants(Preference::Replica), &[]), Choice::Primary));
    }

    #[test]
    fn replicas_behind_the_bounds_or_of_another_epoch_do_not_answer() {
        let routing = routing();
        let only = |wants: Wants<'_>| chosen(&routing, &wants, &[]).into_keys().collect::<Vec<_>>();
        let replica = wants(Preference::Replica);
        assert_eq!(only(Wants { max_lag_bytes: 200, ..replica }), ["r1"]);
        assert_eq!(only(Wants { max_lag: Duration::from_secs(1), ..replica }), ["r1"]);
        assert_eq!(only(Wants { max_lag: Duration::ZERO, ..replica }), [""]);
        let seen_later = Some(Position { epoch: 3, lsn: 1 });
        assert_eq!(only(Wants { position: seen_later, ..replica }), [""]);
        // A newer epoch has begun: those that have not followed yet are out.
        routing.leaders.hear(&node("r1", "a", 1.0), "g1", &NodeState { group_epoch: 3, ..state("replica", 0, 0) });
        assert_eq!(only(replica), [""]);
        let target = routing.replica("g1", "r1").unwrap();
        routing.lose("r1", "g1");
        assert!(target.fence.is_cancelled() && routing.replica("g1", "r1").is_none());
    }
}
