//! How long writes stand still when a primary dies: this cluster beside Debian's Patroni.

mod patroni;
pub mod ticker;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::lab::files::COORDINATOR_PORT;
use crate::lab::network::{self, Cut};
use crate::lab::{Lab, Programs, Topology, processes};
use patroni::Patroni;
use ticker::Ticker;

const TABLE: &str = "ticks";
/// Writes must have gone on for this long before a death, and again after it.
const STEADY: Duration = Duration::from_secs(2);
/// A run in which writes do not go on again within this long has failed.
const RUN_MAX: Duration = Duration::from_secs(120);
/// As long as Patroni's loop.
const PAUSE_MAX_MS: u64 = 10_000;
const REPORT: &str = "target/failover-times.json";

#[derive(Debug, Clone, Args)]
pub struct TimesArguments {
    #[arg(long, default_value_t = 20)]
    runs: usize,
    /// Only these ways to die
    #[arg(long, value_enum, value_delimiter = ',', default_value = "postmaster,machine,network")]
    deaths: Vec<Death>,
    /// Only one of the two: atoll or patroni
    #[arg(long, value_enum)]
    only: Option<System>,
}

/// How a primary dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Death {
    /// kill -9 of its postmaster.
    Postmaster,
    /// kill -9 of postmaster and agent (or Patroni) together, which stay dead.
    Machine,
    /// Its network cut.
    Network,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum System {
    Atoll,
    Patroni,
}

/// Times without writes, in seconds.
#[derive(Debug, Serialize)]
struct Row {
    system: System,
    death: Death,
    runs: usize,
    median: f64,
    min: f64,
    max: f64,
    /// Patroni's median divided by this one.
    ratio: Option<f64>,
}

/// Measures, prints a table and writes `target/failover-times.json`.
///
/// # Errors
/// When a cluster does not start, or writes do not go on after a death.
pub async fn run(arguments: &TimesArguments, dir: &Path, programs: &Programs) -> Result<()> {
    let mut rows = Vec::new();
    let mut random = StdRng::seed_from_u64(rand::random());
    if arguments.only != Some(System::Atoll) {
        patroni(arguments, &dir.join("patroni"), programs, &mut random, &mut rows).await?;
    }
    if arguments.only != Some(System::Patroni) {
        atoll(arguments, &dir.join("atoll"), programs, &mut random, &mut rows).await?;
    }
    let medians: Vec<(Death, f64)> =
        rows.iter().filter(|row| row.system == System::Patroni).map(|row| (row.death, row.median)).collect();
    for row in rows.iter_mut().filter(|row| row.system == System::Atoll) {
        row.ratio = medians.iter().find(|(death, _)| *death == row.death).map(|(_, median)| median / row.median);
    }
    println!("\ntime without writes, seconds          runs  median     min     max   Patroni's median is");
    for row in &rows {
        let ratio = row.ratio.map_or_else(String::new, |ratio| format!("{ratio:.1} times as long"));
        let name = format!("{:?}: {:?}", row.system, row.death).to_lowercase();
        println!("{name:<36} {:>5} {:>7.2} {:>7.2} {:>7.2}   {ratio}", row.runs, row.median, row.min, row.max);
    }
    std::fs::create_dir_all("target")?;
    std::fs::write(REPORT, serde_json::to_string_pretty(&rows)? + "\n").with_context(|| format!("writing {REPORT}"))?;
    println!("written to {REPORT}");
    Ok(())
}

async fn patroni(
    arguments: &TimesArguments,
    dir: &Path,
    programs: &Programs,
    random: &mut StdRng,
    rows: &mut Vec<Row>,
) -> Result<()> {
    println!("starting Patroni");
    let group = Patroni::start(dir, &programs.postgres).await?;
    let config = ticker::config(&group.hosts(), "postgres");
    let client = ticker::connect(&config).await?;
    client.batch_execute(&format!("CREATE TABLE {TABLE} (k int4, n int8)")).await?;
    let ticker = Ticker::start(config, TABLE, 0);
    for &death in arguments.deaths.iter().filter(|death| **death != Death::Network) {
        let mut gaps = Vec::new();
        for number in 1..=arguments.runs {
            pause(random).await;
            ticker.steady(Instant::now(), STEADY, RUN_MAX).await?;
            let killed = Instant::now();
            group.kill_primary(death == Death::Machine).await?;
            // The kill itself is a moment's work; the writes before it must not count as those after it.
            sleep(Duration::from_millis(500)).await;
            ticker.steady(Instant::now(), STEADY, RUN_MAX).await?;
            gaps.push(report(System::Patroni, death, number, ticker.gap_in(killed, Instant::now())));
            group.release();
            group.whole().await?;
        }
        rows.push(summary(System::Patroni, death, gaps)?);
    }
    group.stop().await;
    Ok(())
}

async fn atoll(
    arguments: &TimesArguments,
    dir: &Path,
    programs: &Programs,
    random: &mut StdRng,
    rows: &mut Vec<Row>,
) -> Result<()> {
    println!("starting Atoll");
    // One group beside home, so that both kinds of groups are there; the writes go to the one that is not home.
    let lab = Lab::start(dir, Topology::of(2, 3), programs).await?;
    let hosts: Vec<(String, u16)> =
        lab.coordinators.iter().map(|c| (c.service.machine.address.to_string(), COORDINATOR_PORT)).collect();
    let config = ticker::config(&hosts, "app");
    let client = ticker::connect(&config).await?;
    client.batch_execute(&format!("CREATE TABLE {TABLE} (k int4, n int8)")).await?;
    client.batch_execute(&format!("SELECT create_distributed_table('{TABLE}', 'k')")).await?;
    let key = crate::load::keys_of_groups(&client, TABLE, 1).await?.remove("g2").context("no key lies in g2")?[0];
    let ticker = Ticker::start(config, TABLE, key);
    for &death in &arguments.deaths {
        let mut gaps = Vec::new();
        for number in 1..=arguments.runs {
            pause(random).await;
            ticker.steady(Instant::now(), STEADY, RUN_MAX).await?;
            let primary = lab.primary("g2").await.context("g2 has no primary")?;
            let postmaster = primary.postmaster();
            let killed = Instant::now();
            match death {
                Death::Postmaster => processes::signal(postmaster, Signal::SIGKILL),
                Death::Machine => {
                    primary.agent.hold(true);
                    processes::signal(primary.agent.pid(), Signal::SIGKILL);
                    processes::signal(postmaster, Signal::SIGKILL);
                }
                Death::Network => network::cut(&primary.machine, &Cut::Both).await?,
            }
            sleep(Duration::from_millis(500)).await;
            ticker
                .steady(Instant::now(), STEADY, RUN_MAX)
                .await
                .with_context(|| format!("{death:?} of {}; logs are in {}", primary.name, dir.display()))?;
            gaps.push(report(System::Atoll, death, number, ticker.gap_in(killed, Instant::now())));
            network::heal(&primary.machine).await?;
            primary.agent.hold(false);
            whole(&lab).await?;
        }
        rows.push(summary(System::Atoll, death, gaps)?);
    }
    lab.stop().await;
    Ok(())
}

/// Waits for a moment that has nothing to do with anybody's loops.
pub async fn pause(random: &mut StdRng) {
    sleep(Duration::from_millis(random.random_range(0..PAUSE_MAX_MS))).await;
}

/// Waits until every node has its place again.
///
/// # Errors
/// When that takes longer than two minutes.
pub async fn whole(lab: &Lab) -> Result<()> {
    let begun = Instant::now();
    loop {
        let waiting = lab.waiting_for_replicas().await;
        if waiting.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > RUN_MAX {
            bail!("after {RUN_MAX:?}: {}; logs are in {}", waiting.join("; "), lab.dir.display());
        }
        sleep(Duration::from_millis(200)).await;
    }
}

fn report(system: System, death: Death, number: usize, gap: Duration) -> f64 {
    let seconds = gap.as_secs_f64();
    println!("{} {number}: {seconds:.2} s", format!("{system:?} {death:?}").to_lowercase());
    seconds
}

fn summary(system: System, death: Death, mut gaps: Vec<f64>) -> Result<Row> {
    gaps.sort_by(f64::total_cmp);
    let (min, max) = (*gaps.first().context("no runs")?, *gaps.last().context("no runs")?);
    Ok(Row { system, death, runs: gaps.len(), median: median(&gaps), min, max, ratio: None })
}

/// Of sorted values; 0 when there are none.
pub fn median(sorted: &[f64]) -> f64 {
    match sorted.len() {
        0 => 0.0,
        len if len % 2 == 1 => sorted[len / 2],
        len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        assert!((median(&[1.0, 2.0, 4.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[1.0, 2.0, 4.0, 5.0]) - 3.0).abs() < 1e-9);
    }
}
