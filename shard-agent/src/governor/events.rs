//! The story of a group as this node saw it, in words for whoever reads it at night.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use atoll_proto::v1::GroupEvent;

use super::clock::unix_ms;

const EVENTS_MAX: usize = 1000;

/// The last events of this agent.
pub struct Events {
    group: String,
    node: String,
    kept: Mutex<VecDeque<GroupEvent>>,
}

impl Events {
    pub fn new(group: &str, node: &str) -> Self {
        Self { group: group.to_owned(), node: node.to_owned(), kept: Mutex::default() }
    }

    /// Notes an event, in the log too. `kind` is one word.
    pub fn note(&self, kind: &str, epoch: u64, message: impl Into<String>) {
        let message = message.into();
        tracing::info!(kind, epoch, "{message}");
        metrics::counter!("atoll_agent_events_total", "kind" => kind.to_owned()).increment(1);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == EVENTS_MAX {
            kept.pop_front();
        }
        kept.push_back(GroupEvent {
            at_ms: unix_ms(),
            group: self.group.clone(),
            node: self.node.clone(),
            kind: kind.to_owned(),
            message,
            epoch,
        });
    }

    /// The oldest first.
    pub fn all(&self) -> Vec<GroupEvent> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
