//! What every node's agent last said of its node: one Watch stream per node, opened again when it breaks.
//!
//! Which nodes there are is in the directory, and in what their agents say of their groups' members; home's agents are named in the settings,
//! because the directory itself is there.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use atoll_planner::directory::{Directory, Node};
use atoll_proto::v1::{MemberAddress, NodeState, StateRequest};
use tokio_util::task::AbortOnDropHandle;

use super::control::{Control, NodeRpc};
use super::leaders::Leaders;
use crate::routing::Routing;

/// An agent that is silent for so long is asked anew (it speaks once a second), and taken to be unreachable when it does not answer.
pub const SILENCE_MAX: Duration = Duration::from_secs(3);
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_millis(500);

/// One node, and what is known of it.
#[derive(Clone, Debug)]
pub struct NodeReport {
    pub group: String,
    /// Without a name as long as only its address is known.
    pub node: Node,
    /// As the agent last said.
    pub state: Option<NodeState>,
    /// When that was.
    pub heard: Option<Instant>,
    /// Why nothing has been heard since.
    pub failure: Option<String>,
}

impl NodeReport {
    /// Whether the agent speaks: it did within the last 3 s.
    pub fn is_reachable(&self) -> bool {
        self.heard.is_some_and(|heard| heard.elapsed() <= SILENCE_MAX)
    }

    /// The state to show: the last one, as `unreachable` with the reason when the agent is silent.
    pub fn shown(&self) -> NodeState {
        let known = self.state.clone().unwrap_or_else(|| NodeState {
            name: self.node.name.clone(),
            group: self.group.clone(),
            zone: self.node.zone.clone(),
            capacity: self.node.capacity,
            role: "none".to_owned(),
            ..NodeState::default()
        });
        if self.is_reachable() {
            return known;
        }
        let reason = self.failure.clone().unwrap_or_else(|| "its agent is silent".to_owned());
        NodeState { state: "unreachable".to_owned(), role: "none".to_owned(), reason, ..known }
    }
}

/// A node to watch.
#[derive(Clone, Debug, PartialEq)]
struct Target {
    group: String,
    node: Node,
}

/// A node of which no more is known than where its agent is.
fn at(group: &str, address: &str, socket: &str) -> Target {
    let node = Node {
        name: String::new(),
        zone: String::new(),
        capacity: 1.0,
        agent_address: address.to_owned(),
        agent_socket: socket.to_owned(),
    };
    Target { group: group.to_owned(), node }
}

fn member_node(member: &MemberAddress) -> Node {
    Node {
        name: member.name.clone(),
        zone: member.zone.clone(),
        capacity: if member.capacity > 0.0 { member.capacity } else { 1.0 },
        agent_address: member.agent_address.clone(),
        agent_socket: member.agent_socket.clone(),
    }
}

/// The members of each group, as the one of its nodes says that knows the newest epoch.
fn members(states: &[NodeState]) -> BTreeMap<&str, &NodeState> {
    let rank = |state: &NodeState| (state.epoch.max(state.group_epoch), state.role == "primary");
    let mut newest: BTreeMap<&str, &NodeState> = BTreeMap::new();
    for state in states.iter().filter(|state| !state.members.is_empty()) {
        let known = newest.entry(&state.group).or_insert(state);
        if rank(state) > rank(known) {
            *known = state;
        }
    }
    newest
}

/// Which nodes to watch. What a group's agents say of a member counts more than the directory, which may be older. `learned` are the names of
/// the nodes behind addresses.
fn targets(
    listed: &[Target],
    states: &[NodeState],
    seeds: &[Target],
    learned: &HashMap<String, String>,
) -> Vec<Target> {
    let mut by_name: BTreeMap<String, Target> = BTreeMap::new();
    for target in listed {
        by_name.insert(target.node.name.clone(), target.clone());
    }
    for (group, state) in members(states) {
        for member in state.members.iter().filter(|member| !member.agent_address.is_empty()) {
            let target = Target { group: group.to_owned(), node: member_node(member) };
            by_name.insert(member.name.clone(), target);
        }
    }
    // Heard in two ways, a node would be lost in one while it is there in the other.
    let is_known = |seed: &&Target| {
        let address = &seed.node.agent_address;
        let by_its_name = learned.get(address).is_some_and(|name| by_name.contains_key(name));
        by_its_name || by_name.values().any(|target| target.node.agent_address == *address)
    };
    let more: Vec<Target> = seeds.iter().filter(|seed| !is_known(seed)).cloned().collect();
    by_name.into_values().chain(more).collect()
}

/// The nodes being watched.
pub struct Nodes {
    control: Arc<Control>,
    leaders: Arc<Leaders>,
    routing: Arc<Routing>,
    inner: Mutex<Inner>,
    own: Weak<Self>,
}

#[derive(Default)]
struct Inner {
    /// The directory's.
    listed: Vec<Target>,
    /// Those that are watched whatever the directory says.
    seeds: Vec<Target>,
    /// By address.
    watched: HashMap<String, Watched>,
    /// The names of the nodes behind addresses.
    learned: HashMap<String, String>,
}

struct Watched {
    report: Arc<Mutex<NodeReport>>,
    _task: AbortOnDropHandle<()>,
}

impl Watched {
    /// Whether this is the way to that node.
    fn leads_to(&self, target: &Target) -> bool {
        let report = lock(&self.report);
        let (known, wanted) = (&report.node, &target.node);
        report.group == target.group
            && (&known.agent_address, &known.agent_socket) == (&wanted.agent_address, &wanted.agent_socket)
            && (wanted.name.is_empty() || known.name.is_empty() || known.name == wanted.name)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Nodes {
    pub(super) fn new(control: Arc<Control>, leaders: Arc<Leaders>, routing: Arc<Routing>) -> Arc<Self> {
        Arc::new_cyclic(|own| Self { control, leaders, routing, inner: Mutex::default(), own: own.clone() })
    }

    /// Watches the agent at an address from now on. Must be called on the control runtime, like all that follow.
    pub(super) fn watch_address(&self, group: &str, address: &str, socket: &str) {
        lock(&self.inner).seeds.push(at(group, address, socket));
        self.rewatch();
    }

    /// Undoes [`Nodes::watch_address`]; a node that the directory or the group's members name stays watched.
    pub(super) fn forget_address(&self, group: &str, address: &str) {
        let mut inner = lock(&self.inner);
        let seeds = &mut inner.seeds;
        let last = seeds.iter().rposition(|seed| seed.group == group && seed.node.agent_address == address);
        if let Some(last) = last {
            seeds.remove(last);
        }
        drop(inner);
        self.rewatch();
    }

    /// Watches the nodes of `directory`, and what else they name.
    pub(super) fn watch(&self, directory: &Directory) {
        let of_group = |group: &atoll_planner::directory::Group| {
            let target = |node: &Node| Target { group: group.name.clone(), node: node.clone() };
            group.nodes.iter().map(target).collect::<Vec<_>>()
        };
        lock(&self.inner).listed = directory.groups.iter().flat_map(of_group).collect();
        self.rewatch();
    }

    fn rewatch(&self) {
        let inner = &mut *lock(&self.inner);
        let reports = inner.watched.values().map(|entry| lock(&entry.report).clone());
        let mut states = Vec::new();
        for report in reports {
            if let Some(state) = report.state {
                inner.learned.insert(report.node.agent_address, state.name.clone());
                states.push(state);
            }
        }
        let wanted = targets(&inner.listed, &states, &inner.seeds, &inner.learned);
        inner.watched.retain(|_, entry| wanted.iter().any(|target| entry.leads_to(target)));
        for target in wanted {
            if let Some(entry) = inner.watched.get(&target.node.agent_address) {
                let name = &mut lock(&entry.report).node.name;
                if name.is_empty() {
                    name.clone_from(&target.node.name);
                }
                continue;
            }
            let report = Arc::new(Mutex::new(NodeReport {
                group: target.group.clone(),
                node: target.node.clone(),
                state: None,
                heard: None,
                failure: None,
            }));
            let address = target.node.agent_address.clone();
            match self.control.node_rpc(&address, &target.node.agent_socket) {
                Ok(client) => {
                    let following = follow(self.own.clone(), client, report.clone());
                    let task = AbortOnDropHandle::new(tokio::spawn(following));
                    inner.watched.insert(address, Watched { report, _task: task });
                }
                Err(error) => tracing::error!(%error, node = target.node.name, "a node has an unusable address"),
            }
        }
    }

    /// Every node whose name is known, in the order of their names.
    pub fn reports(&self) -> Vec<NodeReport> {
        let mut reports: Vec<_> = lock(&self.inner).watched.values().map(|entry| lock(&entry.report).clone()).collect();
        reports.retain(|report| !report.node.name.is_empty());
        // A node that is reached in two ways: once is enough.
        reports.sort_by(|a, b| (&a.node.name, b.heard).cmp(&(&b.node.name, a.heard)));
        reports.dedup_by(|later, first| later.node.name == first.node.name);
        reports
    }

    /// Members, with their groups, that the directory lacks or knows otherwise, as the primaries of their groups say.
    pub(super) fn unlisted(&self) -> Vec<(String, Node)> {
        let reports = self.reports();
        let said: Vec<NodeState> = reports.into_iter().filter_map(|report| report.state).collect();
        let leads = |state: &&NodeState| state.role == "primary" && state.epoch >= self.leaders.epoch(&state.group);
        let inner = lock(&self.inner);
        let is_listed =
            |group: &str, node: &Node| inner.listed.iter().any(|target| target.group == group && target.node == *node);
        members(&said)
            .into_values()
            .filter(leads)
            .flat_map(|state| state.members.iter().map(|member| (state.group.clone(), member_node(member))))
            .filter(|(group, node)| !node.agent_address.is_empty() && !is_listed(group, node))
            .collect()
    }

    /// Takes in what an agent said.
    fn hear(&self, report: &Mutex<NodeReport>, state: NodeState) {
        let mut held = lock(report);
        let expected = &held.node.name;
        if (!expected.is_empty() && *expected != state.name) || held.group != state.group {
            held.failure = Some(format!(
                "the agent at {} serves node \"{}\" of group \"{}\"",
                held.node.agent_address, state.name, state.group
            ));
            return;
        }
        let news = expected.is_empty() || held.state.as_ref().is_none_or(|known| known.members != state.members);
        if expected.is_empty() {
            held.node.name.clone_from(&state.name);
        }
        held.node.zone.clone_from(&state.zone);
        if state.capacity > 0.0 {
            held.node.capacity = state.capacity;
        }
        held.state = Some(state.clone());
        held.heard = Some(Instant::now());
        held.failure = None;
        let node = held.node.clone();
        drop(held);
        self.leaders.hear(&node, &state.group, &state);
        self.routing.hear(&node, &state.group, &state);
        if news {
            self.rewatch();
        }
    }

    /// Notes that an agent cannot be heard.
    fn lose(&self, report: &Mutex<NodeReport>, reason: &str) {
        let mut held = lock(report);
        held.failure = Some(reason.to_owned());
        let (name, group) = (held.node.name.clone(), held.group.clone());
        drop(held);
        self.leaders.lose(&name, &group, reason);
        self.routing.lose(&name, &group);
    }
}

/// Keeps a report current until aborted.
async fn follow(nodes: Weak<Nodes>, mut client: NodeRpc, report: Arc<Mutex<NodeReport>>) {
    let mut pause = RETRY_MIN;
    loop {
        let failure = match tokio::time::timeout(SILENCE_MAX, client.watch(StateRequest {})).await {
            Err(_) => "its agent does not answer".to_owned(),
            Ok(Err(status)) => format!("its agent cannot be reached: {}", status.message()),
            Ok(Ok(stream)) => {
                let mut states = stream.into_inner();
                loop {
                    match tokio::time::timeout(SILENCE_MAX, states.message()).await {
                        Ok(Ok(Some(state))) => {
                            pause = RETRY_MIN;
                            let Some(nodes) = nodes.upgrade() else { return };
                            nodes.hear(&report, state);
                        }
                        Ok(Ok(None)) => break "its agent stopped".to_owned(),
                        Ok(Err(status)) => break format!("its agent went away: {}", status.message()),
                        // A stream can die unnoticed: the agent is asked anew before it is given up.
                        Err(_) => break String::new(),
                    }
                }
            }
        };
        if failure.is_empty() {
            continue;
        }
        let Some(nodes) = nodes.upgrade() else { return };
        nodes.lose(&report, &failure);
        drop(nodes);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, address: &str) -> MemberAddress {
        MemberAddress { name: name.to_owned(), agent_address: address.to_owned(), ..MemberAddress::default() }
    }

    fn said(group: &str, epoch: u64, members: Vec<MemberAddress>) -> NodeState {
        NodeState { group: group.to_owned(), group_epoch: epoch, members, ..NodeState::default() }
    }

    #[test]
    fn members_that_agents_name_are_watched_with_the_directory_s_nodes() {
        let mut listed = at("g1", "a:1", "");
        listed.node.name = "n1".to_owned();
        let seeds = [at("g1", "a:1", "/s"), at("g1", "c:1", ""), at("g1", "d:1", "")];
        let learned = HashMap::from([("d:1".to_owned(), "n1".to_owned())]);
        let addresses = |states: &[NodeState]| {
            let all = targets(std::slice::from_ref(&listed), states, &seeds, &learned);
            all.into_iter().map(|target| (target.node.name, target.node.agent_address)).collect::<Vec<_>>()
        };
        let pair = |name: &str, address: &str| (name.to_owned(), address.to_owned());
        assert_eq!(addresses(&[]), [pair("n1", "a:1"), pair("", "c:1")]);
        // The newer epoch's word counts, also for the address of a node that the directory knows.
        let old = said("g1", 1, vec![member("n1", "a:1"), member("gone", "x:1")]);
        let new = said("g1", 2, vec![member("n1", "b:1"), member("n2", "c:1")]);
        assert_eq!(addresses(&[old, new]), [pair("n1", "b:1"), pair("n2", "c:1"), pair("", "a:1")]);
    }
}
