//! What every node's agent last said of its node: one Watch stream per node, opened again when it breaks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use atoll_planner::directory::{Directory, Node};
use atoll_proto::v1::{NodeState, StateRequest};
use tokio_util::task::AbortOnDropHandle;

use super::control::{Control, NodeRpc};

/// An agent that is silent for so long is taken to be unreachable (it speaks once a second).
pub const SILENCE_MAX: Duration = Duration::from_secs(3);
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// One node, and what is known of it.
#[derive(Clone, Debug)]
pub struct NodeReport {
    pub group: String,
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

/// The nodes being watched.
#[derive(Default)]
pub struct Nodes {
    watched: Mutex<HashMap<String, Watched>>,
}

struct Watched {
    report: Arc<Mutex<NodeReport>>,
    _task: AbortOnDropHandle<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Nodes {
    /// Watches exactly the nodes of `directory`. Must be called on the control runtime.
    pub(super) fn watch(&self, control: &Control, directory: &Directory) {
        let mut watched = lock(&self.watched);
        let listed = || directory.groups.iter().flat_map(|group| group.nodes.iter().map(move |node| (group, node)));
        watched.retain(|name, entry| {
            let report = lock(&entry.report);
            listed().any(|(group, node)| node.name == *name && *node == report.node && group.name == report.group)
        });
        for (group, node) in listed() {
            if watched.contains_key(&node.name) {
                continue;
            }
            let report = Arc::new(Mutex::new(NodeReport {
                group: group.name.clone(),
                node: node.clone(),
                state: None,
                heard: None,
                failure: None,
            }));
            match control.node_rpc(&node.agent_address, &node.agent_socket) {
                Ok(client) => {
                    let task = AbortOnDropHandle::new(tokio::spawn(follow(client, report.clone())));
                    watched.insert(node.name.clone(), Watched { report, _task: task });
                }
                Err(error) => tracing::error!(%error, node = node.name, "the directory holds an unusable address"),
            }
        }
    }

    /// In the order of their names.
    pub fn reports(&self) -> Vec<NodeReport> {
        let mut reports: Vec<_> = lock(&self.watched).values().map(|entry| lock(&entry.report).clone()).collect();
        reports.sort_by(|a, b| a.node.name.cmp(&b.node.name));
        reports
    }
}

/// Keeps a report current until aborted.
async fn follow(mut client: NodeRpc, report: Arc<Mutex<NodeReport>>) {
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
                            let mut report = lock(&report);
                            report.state = Some(state);
                            report.heard = Some(Instant::now());
                            report.failure = None;
                        }
                        Ok(Ok(None)) => break "its agent stopped".to_owned(),
                        Ok(Err(status)) => break format!("its agent went away: {}", status.message()),
                        Err(_) => break "its agent is silent".to_owned(),
                    }
                }
            }
        };
        lock(&report).failure = Some(failure);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}
