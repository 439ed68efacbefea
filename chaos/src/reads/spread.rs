//! How reads spread over nodes, and what happens when one of them becomes slow.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_postgres::Config;

use super::{KEYS, read, reader};
use crate::lab::node::Node;
use crate::lab::{Lab, processes};
use crate::load::rows;
use crate::times::ticker;

const WARM_UP: Duration = Duration::from_secs(5);
const MEASURE: Duration = Duration::from_secs(20);
/// Share of a node, as a ratio to its share of the capacities.
const SPREAD_MAX: f64 = 0.1;
/// A slow replica stands still for the first, and goes on for the second.
const BURST: (Duration, Duration) = (Duration::from_millis(300), Duration::from_millis(100));
const EJECTED_WITHIN: Duration = Duration::from_secs(2);
/// An ejected node is tried now and then: the share of reads that may still go there.
const TRIED_MAX: f64 = 0.01;
const P99_MAX: f64 = 2.0;
/// A replica that is quick again may be left alone for so long, as often as it was ejected.
const BACK_WITHIN: Duration = Duration::from_secs(90);
/// Then its share grows. For the first time it gets less than half of it, and all of it after the second.
const RETURN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(12));
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One read: when it was answered, how long it took, and by whom it was answered (empty: an error).
struct Answer {
    done: Instant,
    took: Duration,
    node: String,
}

/// Clients that read as fast as they are answered, until they are dropped.
struct Readers {
    answers: Arc<Mutex<Vec<Answer>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Readers {
    fn start(coordinators: &[Config], clients: usize) -> Readers {
        let answers = Arc::new(Mutex::new(Vec::new()));
        let tasks = (0..clients).map(|number| {
            let (config, answers) = (coordinators[number % coordinators.len()].clone(), answers.clone());
            tokio::spawn(async move {
                let mut key = i32::try_from(number).unwrap_or(0);
                loop {
                    let Ok(client) = reader(&config, "any").await else {
                        sleep(Duration::from_millis(100)).await;
                        continue;
                    };
                    while !client.is_closed() {
                        key = (key + 7) % KEYS;
                        let asked = Instant::now();
                        let node = read(&client, key).await.map_or_else(|_| String::new(), |(node, _)| node);
                        let answer = Answer { done: Instant::now(), took: asked.elapsed(), node };
                        answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
                    }
                }
            })
        });
        Readers { tasks: tasks.collect(), answers: answers.clone() }
    }

    /// Answers in a span: how many by each node, and the 99th percentile of their times in milliseconds.
    fn between(&self, from: Instant, to: Instant) -> (BTreeMap<String, u64>, f64) {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut times = Vec::new();
        for answer in answers.iter().filter(|answer| answer.done >= from && answer.done < to) {
            *counts.entry(answer.node.clone()).or_default() += 1;
            times.push(answer.took.as_secs_f64() * 1000.0);
        }
        times.sort_by(f64::total_cmp);
        (counts, percentile(&times, 0.99))
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Of sorted values; 0 when there are none.
fn percentile(sorted: &[f64], part: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a list"
    )]
    let at = (sorted.len() as f64 * part) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// # Errors
/// When the cluster cannot be read.
pub async fn check(lab: &Lab, coordinators: &[Config], clients: usize) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let readers = Readers::start(coordinators, clients);
    sleep(WARM_UP).await;
    let from = Instant::now();
    sleep(MEASURE).await;
    let (counts, p99_before) = readers.between(from, Instant::now());
    let all: u64 = counts.values().sum();
    let capacity: f64 = lab.nodes.iter().map(|node| node.capacity).sum();
    println!("{all} reads in {MEASURE:?}, p99 {p99_before:.2} ms");
    for node in &lab.nodes {
        let share = ratio(counts.get(&node.name).copied().unwrap_or_default(), all);
        let expected = node.capacity / capacity;
        println!("  {}: {:.1} % of the reads, {:.1} % of the capacity", node.name, share * 100.0, expected * 100.0);
        if (share / expected - 1.0).abs() > SPREAD_MAX {
            wrong.push(format!("{} answered {:.1} % of the reads", node.name, share * 100.0));
        }
    }
    if let Some(errors) = counts.get("") {
        wrong.push(format!("{errors} reads failed"));
    }
    wrong.extend(slow_replica(lab, coordinators, &readers, p99_before).await?);
    Ok(wrong)
}

/// Makes the replica with the highest capacity slow, and looks where the reads go.
async fn slow_replica(lab: &Lab, coordinators: &[Config], readers: &Readers, p99_before: f64) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let primary = lab.primary("g1").await.context("g1 has no primary")?.name.clone();
    let replicas = lab.nodes.iter().filter(|node| node.name != primary);
    let slow = replicas.max_by(|a, b| a.capacity.total_cmp(&b.capacity)).context("g1 has no replicas")?;
    let ejected = coordinators.iter().map(|config| tokio::spawn(becomes(config.clone(), slow.name.clone(), true)));
    let ejected: Vec<_> = ejected.collect();
    let begun = Instant::now();
    while begun.elapsed() < EJECTED_WITHIN + MEASURE {
        stop_for(slow, BURST.0).await;
        sleep(BURST.1).await;
    }
    let (counts, p99) = readers.between(begun + EJECTED_WITHIN, Instant::now());
    let all: u64 = counts.values().sum();
    let share = ratio(counts.get(&slow.name).copied().unwrap_or_default(), all);
    println!(
        "{} slow: from {EJECTED_WITHIN:?} on it answered {:.2} % of {all} reads; p99 {p99:.2} ms",
        slow.name,
        share * 100.0
    );
    if share > TRIED_MAX {
        wrong.push(format!("the slow {} still answered {:.2} % of the reads", slow.name, share * 100.0));
    }
    if p99 > p99_before * P99_MAX {
        wrong.push(format!("p99 was {p99_before:.2} ms before and {p99:.2} ms beside a slow replica"));
    }
    if let Some(errors) = counts.get("") {
        wrong.push(format!("{errors} reads failed beside a slow replica"));
    }
    for (task, coordinator) in ejected.into_iter().zip(&lab.coordinators) {
        let after = task.await??.duration_since(begun);
        println!("  {} ejected it after {after:.2?}", coordinator.name);
        if after > EJECTED_WITHIN {
            wrong.push(format!("{} ejected the slow {} after {after:.2?}", coordinator.name, slow.name));
        }
    }
    wrong.extend(slow_return(lab, coordinators, readers, slow).await?);
    Ok(wrong)
}

/// A replica that is quick again gets its share back, slowly.
async fn slow_return(lab: &Lab, coordinators: &[Config], readers: &Readers, slow: &Node) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let quick_since = Instant::now();
    let back = coordinators.iter().map(|config| tokio::spawn(becomes(config.clone(), slow.name.clone(), false)));
    let (mut first, mut last) = (None, quick_since);
    for task in back.collect::<Vec<_>>() {
        let at = task.await??;
        first = Some(first.map_or(at, |first: Instant| first.min(at)));
        last = last.max(at);
    }
    let first = first.context("no coordinators")?;
    sleep(RETURN.1).await;
    let begun = Instant::now();
    sleep(MEASURE).await;
    let expected = slow.capacity / lab.nodes.iter().map(|node| node.capacity).sum::<f64>();
    let share = |from: Instant, to: Instant| {
        let (counts, _) = readers.between(from, to);
        ratio(counts.get(&slow.name).copied().unwrap_or_default(), counts.values().sum()) / expected
    };
    let (early, late) = (share(first, first + RETURN.0), share(begun, Instant::now()));
    println!(
        "{} quick again: back after {:.1?}, at first with {:.0} % of its share, in the end with {:.0} %",
        slow.name,
        last.duration_since(quick_since),
        early * 100.0,
        late * 100.0
    );
    if early > 0.5 {
        wrong.push(format!("{} came back at once, with {:.0} % of its share", slow.name, early * 100.0));
    }
    if (late - 1.0).abs() > SPREAD_MAX {
        wrong.push(format!("{} has {:.0} % of its share after its return", slow.name, late * 100.0));
    }
    Ok(wrong)
}

/// When a coordinator says that it leaves a node alone, or does so no more.
async fn becomes(config: Config, node: String, ejected: bool) -> Result<Instant> {
    let client = ticker::connect(&config).await?;
    let sql = format!("SELECT ejected FROM atoll.nodes WHERE node = '{node}'");
    let deadline = Instant::now() + BACK_WITHIN;
    while Instant::now() < deadline {
        let found = rows(&client.simple_query(&sql).await?);
        let wanted = if ejected { "t" } else { "f" };
        if found.first().and_then(|row| row.first()).is_some_and(|value| value == wanted) {
            return Ok(Instant::now());
        }
        sleep(LOOK_EVERY).await;
    }
    bail!("{node} did not become {} within {BACK_WITHIN:?}", if ejected { "ejected" } else { "eligible again" })
}

async fn stop_for(node: &Node, time: Duration) {
    let postgres: Vec<u32> = processes::of(&node.machine)
        .into_iter()
        .filter(|process| process.title.contains("postgres"))
        .map(|process| process.pid)
        .collect();
    postgres.iter().for_each(|pid| processes::signal(Some(*pid), Signal::SIGSTOP));
    sleep(time).await;
    postgres.iter().for_each(|pid| processes::signal(Some(*pid), Signal::SIGCONT));
}

#[expect(clippy::cast_precision_loss, reason = "counts of reads are far below 2^52")]
fn ratio(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert!((percentile(&values, 0.99) - 100.0).abs() < 1e-9);
        assert!((percentile(&values, 0.5) - 51.0).abs() < 1e-9);
        assert!(percentile(&[], 0.5).abs() < 1e-9);
    }
}
