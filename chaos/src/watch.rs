//! Looks at every node the whole time, on the machine itself: who calls itself primary in which epoch, whose PostgreSQL takes writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Client;

use crate::lab::Lab;
use crate::lab::node::{Node, first_value};

const EVERY: Duration = Duration::from_millis(200);
const ANSWER_MAX: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Seen {
    /// Nodes that called themselves primary, by group and epoch.
    primaries: BTreeMap<(String, u64), BTreeSet<String>>,
    /// Nodes whose server was out of recovery, by group and timeline; when first and last asked, and answered.
    writable: BTreeMap<(String, String), BTreeMap<String, (Instant, Instant)>>,
    /// What nodes were last: role and epoch.
    last: BTreeMap<String, (String, u64)>,
    /// Changes of role, in words, with the time since the beginning in seconds.
    changes: Vec<(f64, String)>,
}

/// Watches until it is dropped.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Watch {
    pub fn start(lab: &Arc<Lab>, begun: Instant) -> Watch {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let tasks = (0..lab.nodes.len()).map(|at| {
            let (lab, seen) = (lab.clone(), seen.clone());
            tokio::spawn(async move {
                let mut server = None;
                loop {
                    look(&lab.nodes[at], &seen, &mut server, begun).await;
                    sleep(EVERY).await;
                }
            })
        });
        Watch { seen: seen.clone(), tasks: tasks.collect() }
    }

    /// What must never be: two primaries in one epoch, or two servers that take writes on one timeline.
    pub fn wrong(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wrong = Vec::new();
        for ((group, epoch), nodes) in seen.primaries.iter().filter(|(_, nodes)| nodes.len() > 1) {
            let names = nodes.iter().cloned().collect::<Vec<_>>().join(" and ");
            wrong.push(format!("{names} were both primary of {group} in epoch {epoch}"));
        }
        for ((group, timeline), nodes) in seen.writable.iter().filter(|(_, nodes)| nodes.len() > 1) {
            let names = nodes.keys().cloned().collect::<Vec<_>>().join(" and ");
            wrong.push(format!("the servers of {names} both left recovery on timeline {timeline} of {group}"));
        }
        let timelines: Vec<_> = seen.writable.iter().collect();
        for (earlier_at, ((group, old), olds)) in timelines.iter().enumerate() {
            for ((_, new), news) in timelines[earlier_at + 1..].iter().filter(|((other, _), _)| other == group) {
                for (node, (_, last)) in olds.iter() {
                    for (successor, (first, _)) in news.iter().filter(|(_, (first, _))| first < last) {
                        let overlap = last.saturating_duration_since(*first);
                        wrong.push(format!(
                            "{node} (timeline {old}) still took writes {overlap:?} after {successor} (timeline {new}) did"
                        ));
                    }
                }
            }
        }
        wrong
    }

    /// Changes of roles since `from` (seconds since the beginning).
    pub fn changes(&self, from: f64) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let later = seen.changes.iter().filter(|(at, _)| *at >= from);
        later.map(|(at, change)| format!("{at:.1} s {change}")).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn look(node: &Node, seen: &Mutex<Seen>, server: &mut Option<Client>, begun: Instant) {
    let state = node.state().await;
    let (role, epoch) = state.map_or_else(|| ("silent".to_owned(), 0), |state| (state.role, state.epoch));
    let asked = Instant::now();
    let timeline = writable(node, server).await;
    let answered = Instant::now();
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    if role == "primary" {
        seen.primaries.entry((node.group.clone(), epoch)).or_default().insert(node.name.clone());
    }
    if let Some(timeline) = timeline {
        let nodes = seen.writable.entry((node.group.clone(), timeline)).or_default();
        // First: when it surely was already; last: when it surely still was.
        nodes.entry(node.name.clone()).or_insert((answered, asked)).1 = asked;
    }
    let now = (role, epoch);
    if seen.last.get(&node.name) != Some(&now) {
        let words = format!("{} is {} in epoch {}", node.name, now.0, now.1);
        seen.changes.push((begun.elapsed().as_secs_f64(), words));
        seen.last.insert(node.name.clone(), now);
    }
}

/// The timeline on which the node's server takes writes; `None` when it does not, or does not answer.
async fn writable(node: &Node, server: &mut Option<Client>) -> Option<String> {
    const TIMELINE: &str =
        "SELECT CASE WHEN pg_is_in_recovery() THEN '' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END";
    if server.as_ref().is_none_or(Client::is_closed) {
        *server = node.connect("postgres").await.ok();
    }
    let answer = timeout(ANSWER_MAX, server.as_ref()?.simple_query(TIMELINE)).await;
    match answer {
        Ok(Ok(rows)) => Some(first_value(&rows)).filter(|timeline| !timeline.is_empty()),
        _ => {
            *server = None;
            None
        }
    }
}
