//! A machine dies under a client that writes: what the client sees, what happened meanwhile, and whether anything was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use atoll_proto::auth::Token;
use futures_util::future::join_all;
use nix::sys::signal::Signal;
use serde::Serialize;
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::answer::Answer;
use super::{connect, execute, explained};
use crate::host::Owner;
use crate::layout::{self, Cluster, Node};
use crate::options::Settings;
use crate::output::show;
use crate::process::{self, Identity, POLL};
use crate::supervise::Journal;
use crate::{rpc, status};

const TABLE: &str = "failover_demo";
/// The group whose primary dies.
const GROUP: &str = "g2";
/// How long the client writes before, and after somebody else has taken over.
const CALM: Duration = Duration::from_secs(2);
/// A lease has to run out first.
const PROMOTION_MAX: Duration = Duration::from_secs(60);
/// A node that cannot be rewound copies everything.
const RETURN_MAX: Duration = Duration::from_secs(180);
/// Between two inserts.
const PAUSE: Duration = Duration::from_millis(2);
/// The client was told that the outcome is not known.
const UNKNOWN: &str = "08007";

/// What `failover.json` holds.
#[derive(Debug, Serialize)]
pub struct Facts {
    group: String,
    killed: String,
    promoted: String,
    /// Inserts that the client was told are committed.
    acknowledged: usize,
    /// Those that are not there any more.
    lost: usize,
    /// Inserts of which the client was told that the outcome is not known.
    unknown: usize,
    /// Inserts that were refused and are there all the same.
    refused_yet_there: usize,
    /// Errors that the client got, by SQLSTATE.
    errors: BTreeMap<String, u32>,
    /// The longest time between two acknowledgements.
    longest_gap_seconds: f64,
    /// From the kill until the killed node was a replica again, less the time it was held back.
    return_seconds: f64,
}

impl Facts {
    /// Whether the promises were kept.
    pub fn are_good(&self) -> bool {
        self.lost == 0 && self.refused_yet_there == 0
    }
}

/// # Errors
/// When nobody takes over, the killed node does not come back, or a server says something unexpected.
pub async fn run(settings: &Settings, cluster: &Cluster, owner: &Owner, client: &Client) -> anyhow::Result<Facts> {
    let dir = settings.dir.as_path();
    let token = rpc::read_token(&layout::token_file(dir))?;
    show("\nNow a machine dies under a client that writes.\n");
    execute(client, &format!("CREATE TABLE {TABLE} (id bigint PRIMARY KEY, at timestamptz DEFAULT clock_timestamp())"))
        .await?;
    execute(client, &format!("SELECT create_distributed_table('{TABLE}', 'id')")).await?;
    let victim = primary(cluster, &token, None).await.with_context(|| format!("{GROUP} has no primary"))?;
    let since = Answer::ask(client, "SELECT clock_timestamp()").await?.rows[0][0].clone().unwrap_or_default();

    let writer = Writer::start(cluster.port());
    sleep(CALM).await;
    show(format_args!("the client inserts one row after another: {} so far", writer.acknowledged()));
    let hold = layout::hold_file(dir, &victim.name);
    owner.write_file(&hold, "held back by `atoll demo`\n", 0o644)?;
    let killed = kill(dir, victim);
    let death = Instant::now();
    show(format_args!(
        "kill -9: the agent of {}, its PostgreSQL, all {killed} processes of this \"machine\"",
        victim.name
    ));

    let promoted = loop {
        if let Some(node) = primary(cluster, &token, Some(victim)).await {
            break node;
        }
        if death.elapsed() >= PROMOTION_MAX {
            bail!("nobody has taken over from {} after {} s", victim.name, PROMOTION_MAX.as_secs());
        }
        sleep(POLL).await;
    };
    show(format_args!("{:.1} s later {} is the primary of {GROUP}", death.elapsed().as_secs_f64(), promoted.name));
    let before = writer.acknowledged();
    sleep(CALM).await;
    let after = writer.acknowledged();
    if after == before {
        bail!("{} leads {GROUP}, but the client's inserts are not answered", promoted.name);
    }
    show(format_args!("the client goes on: {after} rows"));

    std::fs::remove_file(&hold).with_context(|| format!("removing {}", hold.display()))?;
    show(format_args!("the machine of {} is switched on again", victim.name));
    let back = Instant::now();
    while !is_replica(victim, &token).await {
        if back.elapsed() >= RETURN_MAX {
            bail!("{} is not a replica again after {} s", victim.name, RETURN_MAX.as_secs());
        }
        sleep(POLL).await;
    }
    let return_seconds = back.elapsed().as_secs_f64();
    show(format_args!("{return_seconds:.1} s later it is a replica"));
    let tally = writer.finish().await?;

    let sql = format!("SELECT * FROM atoll.events WHERE at >= '{since}' ORDER BY at");
    show(format_args!("\n{sql};\n\n{}", Answer::ask(client, &sql).await.context("the story")?));
    show(format_args!("\n{}", status::of(settings).await?.nodes_table()));
    let there = ids(client).await?;
    let facts = tally.facts(&there, victim, promoted, return_seconds);
    show(format_args!(
        "\n{} rows acknowledged, {} of them lost; longest time without an answer {:.2} s",
        facts.acknowledged, facts.lost, facts.longest_gap_seconds
    ));
    if facts.unknown > 0 {
        show(format_args!("{} inserts were cut off with the outcome unknown, as the client was told", facts.unknown));
    }
    if facts.refused_yet_there > 0 {
        show(format_args!("{} inserts were refused and are there all the same", facts.refused_yet_there));
    }
    Ok(facts)
}

/// The node that leads the group, other than the one given.
async fn primary<'a>(cluster: &'a Cluster, token: &Token, other_than: Option<&Node>) -> Option<&'a Node> {
    let ask = async |node: &'a Node| {
        let state = rpc::node_state(&layout::loopback(node.agent_port), token).await.ok()?;
        (state.role == "primary" && state.state == "running").then_some(node)
    };
    let nodes = cluster.nodes_of(GROUP).filter(|node| other_than.is_none_or(|other| other.name != node.name));
    join_all(nodes.map(ask)).await.into_iter().flatten().next()
}

async fn is_replica(node: &Node, token: &Token) -> bool {
    rpc::node_state(&layout::loopback(node.agent_port), token).await.is_ok_and(|state| state.role == "replica")
}

/// Kills everything that the machine of a node would take with it. Returns how many processes.
fn kill(dir: &Path, node: &Node) -> usize {
    let agent = Journal::load(dir).entry(&node.name).and_then(|entry| entry.alive(dir));
    let postmaster = process::postmaster(&layout::data_dir(dir, &node.name));
    let roots: Vec<_> = [agent, postmaster].into_iter().flatten().collect();
    let all: BTreeSet<Identity> = roots.iter().flat_map(Identity::with_descendants).collect();
    for process in &all {
        process.signal(Signal::SIGKILL);
    }
    all.len()
}

async fn ids(client: &Client) -> anyhow::Result<BTreeSet<i64>> {
    let messages = client.simple_query(&format!("SELECT id FROM {TABLE}")).await.map_err(explained)?;
    let id = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => row.get(0).and_then(|id| id.parse().ok()),
        _ => None,
    };
    Ok(messages.iter().filter_map(id).collect())
}

/// What a client was told.
#[derive(Debug)]
struct Tally {
    acknowledged: BTreeSet<i64>,
    unknown: BTreeSet<i64>,
    refused: BTreeSet<i64>,
    /// By SQLSTATE.
    errors: BTreeMap<String, u32>,
    last: Instant,
    longest_gap: Duration,
}

impl Tally {
    fn new() -> Self {
        Self {
            acknowledged: BTreeSet::new(),
            unknown: BTreeSet::new(),
            refused: BTreeSet::new(),
            errors: BTreeMap::new(),
            last: Instant::now(),
            longest_gap: Duration::ZERO,
        }
    }

    /// Takes the answer to an insert; `Err` holds the SQLSTATE, or none when the connection broke.
    fn take(&mut self, id: i64, answer: Result<(), Option<String>>) {
        let error = match answer {
            Ok(()) => {
                self.longest_gap = self.longest_gap.max(self.last.elapsed());
                self.last = Instant::now();
                self.acknowledged.insert(id);
                return;
            }
            Err(error) => error,
        };
        let is_unknown = error.as_deref().is_none_or(|state| state == UNKNOWN);
        let kind = if is_unknown { &mut self.unknown } else { &mut self.refused };
        kind.insert(id);
        *self.errors.entry(error.unwrap_or_else(|| "connection lost".to_owned())).or_default() += 1;
    }

    fn facts(self, there: &BTreeSet<i64>, killed: &Node, promoted: &Node, return_seconds: f64) -> Facts {
        Facts {
            group: GROUP.to_owned(),
            killed: killed.name.clone(),
            promoted: promoted.name.clone(),
            acknowledged: self.acknowledged.len(),
            lost: self.acknowledged.difference(there).count(),
            unknown: self.unknown.len(),
            refused_yet_there: self.refused.intersection(there).count(),
            errors: self.errors,
            longest_gap_seconds: self.longest_gap.as_secs_f64(),
            return_seconds,
        }
    }
}

/// A client that inserts one row after another and remembers what it was told.
struct Writer {
    tally: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Writer {
    fn start(port: u16) -> Self {
        let (tally, stop) = (Arc::new(Mutex::new(Tally::new())), Arc::new(AtomicBool::new(false)));
        let task = tokio::spawn(write(port, tally.clone(), stop.clone()));
        Self { tally, stop, task }
    }

    fn acknowledged(&self) -> usize {
        locked(&self.tally).acknowledged.len()
    }

    /// Lets it finish its last insert.
    async fn finish(self) -> anyhow::Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.context("the client")?;
        Ok(std::mem::replace(&mut *locked(&self.tally), Tally::new()))
    }
}

/// A poisoned lock is as good: what it guards is a list of facts.
fn locked(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn write(port: u16, tally: Arc<Mutex<Tally>>, stop: Arc<AtomicBool>) {
    let mut client = None;
    let mut id = 0;
    while !stop.load(Ordering::Relaxed) {
        let connected = match client.take() {
            Some(client) => client,
            None => match connect(port, "app").await {
                Ok(client) => client,
                Err(_) => {
                    sleep(POLL).await;
                    continue;
                }
            },
        };
        id += 1;
        let answer = connected.simple_query(&format!("INSERT INTO {TABLE} VALUES ({id})")).await;
        let answer = answer.map(drop).map_err(|error| error.code().map(|code| code.code().to_owned()));
        locked(&tally).take(id, answer);
        client = (!connected.is_closed()).then_some(connected);
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Node {
        Node {
            name: name.to_owned(),
            group: GROUP.to_owned(),
            zone: "local".to_owned(),
            capacity: 1.0,
            bootstrap: false,
            agent_port: 1,
            postgres_port: 2,
            metrics_port: 3,
        }
    }

    #[test]
    fn what_was_acknowledged_and_is_gone_is_lost() {
        let facts = |there: &[i64]| {
            let mut tally = Tally::new();
            tally.take(1, Ok(()));
            tally.take(2, Err(Some(UNKNOWN.to_owned())));
            tally.take(3, Err(None));
            tally.take(4, Err(Some("40001".to_owned())));
            tally.take(5, Ok(()));
            tally.facts(&there.iter().copied().collect(), &node("a"), &node("b"), 1.0)
        };
        let good = facts(&[1, 3, 5]);
        assert_eq!((good.acknowledged, good.lost, good.unknown, good.refused_yet_there), (2, 0, 2, 0));
        assert_eq!(good.errors.get("connection lost"), Some(&1));
        assert!(good.are_good());
        assert_eq!(facts(&[1]).lost, 1);
        assert!(!facts(&[1]).are_good());
        assert!(!facts(&[1, 4, 5]).are_good());
    }
}
