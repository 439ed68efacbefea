//! The fault suite: faults one after the other while clients write, and the oracles.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep};

use crate::faults::{Harm, Kind, Plan, inject};
use crate::lab::{Lab, Programs, Topology};
use crate::load::{Amount, Load};
use crate::oracles::{self, Findings};
use crate::times::median;
use crate::watch::Watch;

/// After a fault is undone, everything must be whole again within this time, without a hand.
const WHOLE_MAX: Duration = Duration::from_secs(90);
/// Between a whole cluster and the next fault, on average.
const CALM: Duration = Duration::from_secs(2);
/// Rows are checked after so many faults, and at the end.
const CHECK_EVERY: usize = 10;
/// Writes must be acknowledged in every group within this time once everything is whole.
const WRITES_MAX: Duration = Duration::from_secs(20);
const DATA_BYTES: u64 = 1 << 30;

#[derive(Debug, Clone, Args)]
pub struct RunArguments {
    #[arg(long, default_value_t = 10.0, env = "MINUTES")]
    minutes: f64,
    /// Of all random choices; a random one when not given
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
    /// Stop after so many faults
    #[arg(long)]
    faults: Option<usize>,
    /// Only these kinds
    #[arg(long, value_enum, value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// Without these kinds
    #[arg(long, value_enum, value_delimiter = ',')]
    without: Vec<Kind>,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    groups: u8,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    nodes: u8,
    /// Clients that insert into each group
    #[arg(long, default_value_t = 4)]
    writers: usize,
    /// Clients that move money between groups
    #[arg(long, default_value_t = 4)]
    movers: usize,
    /// Milliseconds that a client waits between two writes
    #[arg(long, default_value_t = 20)]
    pace: u64,
}

#[derive(Debug, Clone, Args)]
pub struct KillBothArguments {
    #[arg(long, default_value_t = 30)]
    runs: usize,
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
}

impl KillBothArguments {
    /// The same as a run with one kind of fault.
    pub fn as_run(&self) -> RunArguments {
        RunArguments {
            minutes: f64::MAX,
            seed: self.seed,
            faults: Some(self.runs),
            kinds: vec![Kind::KillBoth],
            without: Vec::new(),
            groups: 2,
            nodes: 3,
            writers: 6,
            movers: 4,
            pace: 10,
        }
    }
}

/// One fault, as it went.
struct Told {
    kind: Kind,
    gap: Duration,
}

/// A run under way.
struct Run {
    lab: Arc<Lab>,
    load: Load,
    watch: Watch,
    begun: Instant,
    told: Vec<Told>,
    findings: Findings,
}

/// # Errors
/// When an oracle fails or the cluster does not start; the folder with the logs is kept then.
pub async fn run(arguments: &RunArguments, dir: &Path, programs: &Programs) -> Result<()> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("SEED={seed} MINUTES={} in {}", arguments.minutes, dir.display());
    let topology = Topology {
        groups: arguments.groups,
        nodes: arguments.nodes,
        stores: if arguments.nodes > 1 { 3 } else { 0 },
        coordinators: 2,
        data_bytes: Some(DATA_BYTES),
        clocks: true,
        capacities: Vec::new(),
    };
    let lab = Arc::new(Lab::start(dir, topology, programs).await?);
    let pace = Duration::from_millis(arguments.pace);
    let amount = Amount { inserters: arguments.writers, movers: arguments.movers, pace };
    let load = Load::start(&lab, &amount, seed).await?;
    let begun = Instant::now();
    let watch = Watch::start(&lab, begun);
    let mut run = Run { lab, load, watch, begun, told: Vec::new(), findings: Findings::default() };
    println!("{} nodes, {} groups; writers at work", run.lab.nodes.len(), arguments.groups);
    let ended = run.break_things(arguments, seed).await;
    if let Err(error) = ended {
        run.findings.wrong.push(format!("{error:#}"));
        run.tell_state().await;
    } else if let Err(error) = run.judge().await {
        run.findings.wrong.push(format!("{error:#}"));
    }
    run.load.stop_at_once();
    run.summary(seed);
    run.lab.stop().await;
    if !run.findings.wrong.is_empty() {
        let wrong = std::mem::take(&mut run.findings.wrong);
        bail!("SEED={seed}; logs are in {}; wrong:\n  {}", dir.display(), wrong.join("\n  "));
    }
    println!("all is well");
    Ok(())
}

fn kinds(arguments: &RunArguments) -> Vec<Kind> {
    let all = if arguments.kinds.is_empty() { Kind::value_variants() } else { &arguments.kinds };
    all.iter().copied().filter(|kind| !arguments.without.contains(kind)).collect()
}

impl Run {
    async fn break_things(&mut self, arguments: &RunArguments, seed: u64) -> Result<()> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut plan = Plan::new(kinds(arguments));
        let length = Duration::try_from_secs_f64(arguments.minutes * 60.0).unwrap_or(Duration::MAX);
        while self.begun.elapsed() < length && arguments.faults.is_none_or(|faults| self.told.len() < faults) {
            let kind = plan.next(&mut random).context("no kinds of faults are left")?;
            sleep(CALM.mul_f64(random.random_range(0.5..1.5))).await;
            let injected = Instant::now();
            let mut harm = inject(kind, &self.lab, &mut random).await.with_context(|| format!("{kind:?}"))?;
            println!("{:>7.1} s  {:>3}  {}", self.at(injected), self.told.len() + 1, harm.what);
            sleep(harm.lasts).await;
            harm.undo(&self.lab).await.with_context(|| format!("undoing: {}", harm.what))?;
            let undone = Instant::now();
            self.whole(&harm).await?;
            let whole = undone.elapsed();
            self.tell(kind, &harm, injected, whole);
            if self.told.len().is_multiple_of(CHECK_EVERY) {
                self.check_rows().await?;
            }
        }
        Ok(())
    }

    /// Waits until every node has its place and writes are acknowledged in every group.
    async fn whole(&self, harm: &Harm) -> Result<()> {
        let begun = Instant::now();
        loop {
            let mut waiting = self.lab.waiting_for_replicas().await;
            if waiting.is_empty() {
                waiting = oracles::coordinators_see_health(&self.lab).await;
            }
            if waiting.is_empty() {
                break;
            }
            if begun.elapsed() > WHOLE_MAX {
                bail!("{} after \"{}\" was undone: {}", shown(WHOLE_MAX), harm.what, waiting.join("; "));
            }
            sleep(Duration::from_millis(200)).await;
        }
        let whole = Instant::now();
        for group in self.lab.groups() {
            while self.load.ledger().gap(&group, whole, Instant::now()) >= whole.elapsed() {
                if whole.elapsed() > WRITES_MAX {
                    bail!(
                        "{} after all was whole no write to {group} is acknowledged ({})",
                        shown(WRITES_MAX),
                        harm.what
                    );
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    fn tell(&mut self, kind: Kind, harm: &Harm, injected: Instant, whole: Duration) {
        let now = Instant::now();
        let groups = harm.group.clone().map_or_else(|| self.lab.groups(), |group| vec![group]);
        let gap = groups.iter().map(|group| self.load.ledger().gap(group, injected, now)).max().unwrap_or_default();
        println!("{:>18} without writes for {}, whole {} after it was over", "", shown(gap), shown(whole));
        for change in self.watch.changes(self.at(injected)) {
            println!("{:>18} {change}", "");
        }
        self.told.push(Told { kind, gap });
    }

    async fn check_rows(&mut self) -> Result<()> {
        self.load.pause().await?;
        let findings = oracles::rows_are_right(&self.load, self.begun).await?;
        // Every check looks at all that was ever written.
        self.findings.lost = findings.lost;
        self.findings.denied = findings.denied;
        self.findings.doubled = findings.doubled;
        let ledger = self.load.ledger();
        let wrong = [findings.wrong, oracles::one_writer_at_a_time(&ledger), self.watch.wrong()].concat();
        for line in wrong {
            if !self.findings.wrong.contains(&line) {
                println!("{:>7.1} s  WRONG: {line}", self.at(Instant::now()));
                self.findings.wrong.push(line);
            }
        }
        self.load.resume();
        let counts = ledger.counts();
        println!("{:>7.1} s  checked: {counts:?}", self.at(Instant::now()));
        Ok(())
    }

    async fn judge(&mut self) -> Result<()> {
        self.check_rows().await?;
        self.load.pause().await?;
        let wrong = oracles::nodes_agree(&self.lab).await?;
        self.findings.wrong.extend(wrong);
        self.findings.wrong.extend(oracles::coordinators_see_health(&self.lab).await);
        self.findings.wrong.extend(oracles::errors_are_excused(&self.load.ledger()));
        Ok(())
    }

    /// What every node says of itself, for whoever looks into a failure.
    async fn tell_state(&self) {
        for node in &self.lab.nodes {
            let said = node.state().await.map_or_else(
                || "its agent does not answer".to_owned(),
                |state| format!("{} {} {} in epoch {}", state.role, state.state, state.reason, state.epoch),
            );
            let starts = node.agent.starts();
            let postgres = node.ask("SELECT 'in recovery: ' || pg_is_in_recovery()").await;
            let postgres = postgres.unwrap_or_else(|error| format!("{error:#}"));
            println!(
                "{}: {said}; PostgreSQL: {postgres}; agent started {starts} times {}",
                node.name,
                node.agent.last_exit()
            );
        }
    }

    fn summary(&self, seed: u64) {
        let mut kinds: BTreeMap<Kind, Vec<f64>> = BTreeMap::new();
        for told in &self.told {
            kinds.entry(told.kind).or_default().push(told.gap.as_secs_f64());
        }
        println!("\nfault                 times   time without writes, seconds: median, longest");
        for (kind, mut gaps) in kinds {
            gaps.sort_by(f64::total_cmp);
            let name = kind.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
            let longest = gaps.last().copied().unwrap_or_default();
            println!("{name:<22} {:>4} {:>10.2} {longest:>10.2}", gaps.len(), median(&gaps));
        }
        let mut gaps: Vec<f64> = self.told.iter().map(|told| told.gap.as_secs_f64()).collect();
        gaps.sort_by(f64::total_cmp);
        let ledger = self.load.ledger();
        let counts = ledger.counts();
        println!(
            "\n{} faults; {} writes acknowledged, {} unknown, {} refused; {} lost, {} doubled, {} refused but done",
            self.told.len(),
            counts.acknowledged,
            counts.unknown,
            counts.refused,
            self.findings.lost,
            self.findings.doubled,
            self.findings.denied
        );
        println!("time without writes: median {:.2} s, longest {:.2} s", median(&gaps), gaps.last().unwrap_or(&0.0));
        println!("errors that clients saw: {}", ledger.errors.total());
        ledger.errors.lines().iter().take(20).for_each(|line| println!("  {line}"));
        println!("SEED={seed}");
    }

    fn at(&self, time: Instant) -> f64 {
        time.saturating_duration_since(self.begun).as_secs_f64()
    }
}

fn shown(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
