//! Clients that come and go: reads and writes by key and over all shards, transfers in transactions, COPY, errors, cancels and connections
//! that break. At the end nothing may be left behind: no error that PostgreSQL would not have given, no lost money, no busy backend, no
//! prepared transaction, no grown process.

mod census;
mod errors;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use atoll_tests::Target;
use atoll_tests::client::Client;
use atoll_tests::cluster::Cluster;

use crate::SoakArguments;
use crate::servers::execute;
use crate::soak::census::Census;
use crate::soak::errors::Errors;

/// Rows of `soak_accounts`, with ids from 0.
pub const ACCOUNTS: i64 = 20_000;
/// What every account begins with; transfers never change the sum.
pub const BALANCE: i64 = 1000;
/// How much a process may have grown since minute 2.
const GROWTH_MAX: f64 = 1.1;
/// How long backends of clients that are gone may need to end.
const QUIET_MAX: Duration = Duration::from_secs(30);

const TABLES: &str = "
CREATE TABLE soak_accounts (id int8 PRIMARY KEY, balance int8 NOT NULL, touched int8 NOT NULL DEFAULT 0, kind int4 NOT NULL);
CREATE TABLE soak_log (account_id int8, seq int8, note text, PRIMARY KEY (account_id, seq));
CREATE TABLE soak_kinds (id int4 PRIMARY KEY, name text);
CREATE TABLE soak_notes (id int8 PRIMARY KEY, note text);
INSERT INTO soak_kinds SELECT i, 'kind ' || i FROM generate_series(0, 9) i;
";
const DISTRIBUTE: [&str; 3] = [
    "SELECT create_reference_table('soak_kinds')",
    "SELECT create_distributed_table('soak_accounts', 'id')",
    "SELECT create_distributed_table('soak_log', 'account_id')",
];

/// What all workers count together.
#[derive(Debug, Default)]
pub struct Counters {
    pub operations: AtomicU64,
    pub cancelled: AtomicU64,
    pub disconnected: AtomicU64,
    /// Sums over all accounts that showed a transfer in part.
    pub torn: AtomicU64,
    /// Deadlocks and other losses that PostgreSQL gives, too.
    pub lost: AtomicU64,
}

/// Runs the soak.
///
/// # Errors
/// When the cluster does not start, or what it must leave behind clean is not.
pub fn run(arguments: &SoakArguments) -> Result<()> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("SEED={seed} MINUTES={} clients {}", arguments.minutes, arguments.clients);
    let cluster = Cluster::start(2, 8)?;
    fill(cluster.target())?;
    let census = Census::new(&cluster)?;
    let length = Duration::from_secs_f64(arguments.minutes * 60.0);
    let baseline_at = Duration::from_secs(120).min(length / 5);
    let (counters, errors) = (Arc::new(Counters::default()), Arc::new(Errors::default()));
    let mut baseline = None;
    let mut next_report = Duration::from_secs(60);
    let watch = |elapsed: Duration| -> Result<()> {
        if baseline.is_none() && elapsed >= baseline_at {
            baseline = Some(census.processes().resident_bytes()?);
        }
        if elapsed >= next_report {
            println!("{:>4} s  {}", elapsed.as_secs(), progress(&census, &counters, &errors)?);
            next_report += Duration::from_secs(60);
        }
        Ok(())
    };
    work(&cluster.target().conninfo(), arguments.clients, seed, length, &counters, &errors, watch)
        .with_context(|| format!("SEED={seed}\n{}", cluster.log_tails()))?;
    let baseline = baseline.context("the soak was too short to measure memory")?;
    judge(&cluster, &census, &baseline, &counters, &errors).with_context(|| format!("SEED={seed}"))
}

/// The tables and their rows.
fn fill(target: &Target) -> Result<()> {
    execute(target, TABLES)?;
    let last = ACCOUNTS - 1;
    execute(
        target,
        &format!("INSERT INTO soak_accounts SELECT i, {BALANCE}, 0, i % 10 FROM generate_series(0, {last}) i"),
    )?;
    if target.label == "atoll" {
        DISTRIBUTE.iter().try_for_each(|sql| execute(target, sql))?;
    }
    Ok(())
}

/// Lets the workers work for that long, and calls `watch` with the time that has passed twice a second.
fn work(
    conninfo: &str,
    clients: u32,
    seed: u64,
    length: Duration,
    counters: &Arc<Counters>,
    errors: &Arc<Errors>,
    mut watch: impl FnMut(Duration) -> Result<()>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let begun = Instant::now();
    runtime.block_on(async {
        let workers: Vec<_> = (0..clients)
            .map(|number| {
                let context = worker::Context {
                    conninfo: conninfo.to_owned(),
                    number: i64::from(number),
                    end: begun + length,
                    counters: counters.clone(),
                    errors: errors.clone(),
                };
                tokio::spawn(worker::run(context, seed.wrapping_add(u64::from(number))))
            })
            .collect();
        while begun.elapsed() < length {
            tokio::time::sleep(Duration::from_millis(500)).await;
            watch(begun.elapsed())?;
        }
        for worker in workers {
            worker.await.context("a worker panicked")?;
        }
        Ok(())
    })
}

fn progress(census: &Census, counters: &Counters, errors: &Errors) -> Result<String> {
    let memory: Vec<String> =
        census.processes().resident_bytes()?.iter().map(|bytes| format!("{} MB", bytes / 1_000_000)).collect();
    Ok(format!(
        "{} operations, {} cancelled, {} disconnected, {} lost to others, {} unexpected errors, memory {}",
        counters.operations.load(Ordering::Relaxed),
        counters.cancelled.load(Ordering::Relaxed),
        counters.disconnected.load(Ordering::Relaxed),
        counters.lost.load(Ordering::Relaxed),
        errors.count(),
        memory.join(" ")
    ))
}

fn judge(cluster: &Cluster, census: &Census, baseline: &[u64], counters: &Counters, errors: &Errors) -> Result<()> {
    let mut wrong = Vec::new();
    let deadline = Instant::now() + QUIET_MAX;
    let left = loop {
        let left = census.left_behind()?;
        if left.is_empty() || Instant::now() > deadline {
            break left;
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    wrong.extend(left);
    println!("{}", progress(census, counters, errors)?);
    println!("backends of clients on the nodes' pools: {}", census.backends()?);
    let processes = census.processes();
    for ((name, before), after) in processes.names().zip(baseline).zip(processes.resident_bytes()?) {
        #[expect(clippy::cast_precision_loss, reason = "sizes of processes are far below 2^52")]
        let growth = after as f64 / *before as f64;
        println!("memory of {name}: {before} bytes at minute 2, {after} at the end, {growth:.2} times");
        if growth > GROWTH_MAX {
            wrong.push(format!("{name} grew {growth:.2} times"));
        }
    }
    wrong.extend(processes.restarted(cluster)?);
    let mut client = Client::connect(cluster.target(), "app")?;
    let sum = client.simple("SELECT sum(balance) FROM soak_accounts")?.value()?;
    if sum != (ACCOUNTS * BALANCE).to_string() {
        wrong.push(format!("the accounts' sum is {sum}, not {}", ACCOUNTS * BALANCE));
    }
    // Reported, not judged: snapshots of several groups are not yet taken together.
    println!("reads over all shards that saw a transfer in part: {}", counters.torn.load(Ordering::Relaxed));
    wrong.extend(errors.lines());
    ensure!(counters.operations.load(Ordering::Relaxed) > 0, "nothing was done");
    if !wrong.is_empty() {
        bail!("the soak found:\n  {}", wrong.join("\n  "));
    }
    println!("nothing left behind");
    Ok(())
}

#[cfg(test)]
mod tests {
    use atoll_tests::plain::PlainServer;

    use super::*;

    #[test]
    fn plain_postgres_gives_no_unexpected_error() -> Result<()> {
        let plain = PlainServer::start()?;
        fill(plain.target())?;
        let (counters, errors) = (Arc::new(Counters::default()), Arc::new(Errors::default()));
        work(&plain.target().conninfo(), 40, 7, Duration::from_secs(6), &counters, &errors, |_| Ok(()))?;
        assert_eq!(errors.lines(), Vec::<String>::new());
        assert_eq!(counters.torn.load(Ordering::Relaxed), 0);
        for counter in [&counters.operations, &counters.cancelled, &counters.disconnected] {
            assert!(counter.load(Ordering::Relaxed) > 0, "{counters:?}");
        }
        Ok(())
    }
}
