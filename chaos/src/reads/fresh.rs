//! Nobody reads what is older than what he wrote, however far replicas are behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep};
use tokio_postgres::Config;

use super::{KEYS, read, reader};
use crate::lab::Lab;
use crate::load::rows;

const SESSIONS: usize = 8;
/// Replay stands still for up to this long, and then goes on for up to this long.
const PAUSE_MAX_MS: u64 = 1500;

#[derive(Default)]
struct Counts {
    reads: AtomicU64,
    /// Of them, by a node other than the primary.
    replicas: AtomicU64,
    stale: AtomicU64,
    /// Reads of the same keys by somebody who wrote nothing, and may find them old.
    witnessed: AtomicU64,
    witnessed_stale: AtomicU64,
    errors: AtomicU64,
    stop: AtomicBool,
}

/// Sessions that write and then read what they wrote, on their own connection and, with a token, on another one, while replay is held up.
///
/// # Errors
/// When the cluster cannot be used.
pub async fn check(lab: &Lab, coordinators: &[Config], minutes: f64, random: &mut StdRng) -> Result<Vec<String>> {
    let primary = lab.primary("g1").await.context("g1 has no primary")?.name.clone();
    let counts = Arc::new(Counts::default());
    let mut sessions = Vec::new();
    for number in 0..SESSIONS {
        let own = coordinators[number % coordinators.len()].clone();
        let other = coordinators[(number + 1) % coordinators.len()].clone();
        let session = Session {
            key: i32::try_from(number)? * (KEYS / 16),
            own,
            other,
            primary: primary.clone(),
            counts: counts.clone(),
        };
        sessions.push(tokio::spawn(session.run(random.random())));
    }
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    while Instant::now() < end {
        for node in lab.nodes.iter().filter(|node| node.name != primary) {
            let sql =
                if random.random_bool(0.5) { "SELECT pg_wal_replay_pause()" } else { "SELECT pg_wal_replay_resume()" };
            node.ask(sql).await.with_context(|| format!("{sql} on {}", node.name))?;
        }
        sleep(Duration::from_millis(random.random_range(50..PAUSE_MAX_MS))).await;
    }
    for node in lab.nodes.iter().filter(|node| node.name != primary) {
        node.ask("SELECT pg_wal_replay_resume()").await?;
    }
    counts.stop.store(true, Ordering::Relaxed);
    for session in sessions {
        session.await?.context("a session of the freshness check")?;
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (reads, replicas) = (count(&counts.reads), count(&counts.replicas));
    println!("{reads} reads after writes, {replicas} of them on replicas, {} stale", count(&counts.stale));
    let (witnessed, behind) = (count(&counts.witnessed), count(&counts.witnessed_stale));
    println!("{witnessed} reads of the same by sessions that did not write it, {behind} of them older");
    let mut wrong = Vec::new();
    if behind == 0 {
        wrong.push("replicas were never behind: the check has shown nothing".to_owned());
    }
    if count(&counts.stale) > 0 {
        wrong.push(format!("{} reads were older than the session's own writes", count(&counts.stale)));
    }
    if count(&counts.errors) > 0 {
        wrong.push(format!("{} reads or writes failed while replay stood still", count(&counts.errors)));
    }
    if replicas == 0 {
        wrong.push("no read went to a replica: the check has shown nothing".to_owned());
    }
    Ok(wrong)
}

struct Session {
    key: i32,
    own: Config,
    /// Where its token is carried to.
    other: Config,
    primary: String,
    counts: Arc<Counts>,
}

impl Session {
    async fn run(self, seed: u64) -> Result<()> {
        let mut random = StdRng::seed_from_u64(seed);
        let own = reader(&self.own, "replica").await?;
        let other = reader(&self.other, "replica").await?;
        let witness = reader(&self.other, "replica").await?;
        let mut written: i64 = 0;
        while !self.counts.stop.load(Ordering::Relaxed) {
            let write = format!("UPDATE reads SET n = {} WHERE k = {}", written + 1, self.key);
            if own.simple_query(&write).await.is_err() {
                self.counts.errors.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            written += 1;
            // Sometimes at once, sometimes when a replica may have caught up.
            sleep(Duration::from_millis(random.random_range(0..40))).await;
            self.note(read(&own, self.key).await, written);
            if random.random_bool(0.3) {
                let token = rows(&own.simple_query("SELECT atoll.session_token()").await?);
                let token = token.first().and_then(|row| row.first()).context("a session without a token")?;
                other.batch_execute(&format!("SET atoll.session_token = '{token}'")).await?;
                self.note(read(&other, self.key).await, written);
            } else if let Ok((_, found)) = read(&witness, self.key).await {
                self.counts.witnessed.fetch_add(1, Ordering::Relaxed);
                self.counts.witnessed_stale.fetch_add(u64::from(found < written), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn note(&self, answer: Result<(String, i64)>, written: i64) {
        let Ok((node, found)) = answer else {
            self.counts.errors.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.counts.reads.fetch_add(1, Ordering::Relaxed);
        if node != self.primary {
            self.counts.replicas.fetch_add(1, Ordering::Relaxed);
        }
        if found < written {
            self.counts.stale.fetch_add(1, Ordering::Relaxed);
            println!("key {} is {found} on {node}, but its session wrote {written}", self.key);
        }
    }
}
