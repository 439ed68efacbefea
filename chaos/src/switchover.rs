//! Planned switchovers under load: no client may see an error, and none may wait for long.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep};

use crate::faults::switch_over;
use crate::lab::{Lab, Programs, Topology};
use crate::load::{Amount, Load};
use crate::oracles;
use crate::times::{pause, whole};

/// Writers: as many inserters in each of the two groups, and others that move money between them.
const INSERTERS: usize = 6;
const MOVERS: usize = 4;
const PACE: Duration = Duration::from_millis(10);
const STALL_MAX: Duration = Duration::from_secs(2);
/// After a switchover the writers go on for this long before they are judged.
const AFTER: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Args)]
pub struct SwitchoverArguments {
    #[arg(long, default_value_t = 20)]
    runs: usize,
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
}

/// Switches each group over in turn.
///
/// # Errors
/// When a client saw an error, waited for longer than 2 s, or lost a write.
pub async fn run(arguments: &SwitchoverArguments, dir: &Path, programs: &Programs) -> Result<()> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let mut random = StdRng::seed_from_u64(seed);
    let lab = Lab::start(dir, Topology::of(2, 3), programs).await?;
    let amount = Amount { inserters: INSERTERS, movers: MOVERS, pace: PACE };
    let mut load = Load::start(&lab, &amount, seed).await?;
    let begun = Instant::now();
    let (mut wrong, mut stalls) = (Vec::new(), Vec::new());
    for number in 1..=arguments.runs {
        let groups = lab.groups();
        let group = &groups[number % groups.len()];
        pause(&mut random).await;
        let errors = load.ledger().errors.total();
        let asked = Instant::now();
        switch_over(&lab, group).await?;
        let took = asked.elapsed();
        sleep(AFTER).await;
        let stall = load.ledger().longest_stall(asked, Instant::now());
        let errors = load.ledger().errors.total() - errors;
        println!(
            "switchover {number} of {group}: took {:.2} s, longest stall {:.2} s, {errors} errors",
            took.as_secs_f64(),
            stall.as_secs_f64()
        );
        if errors > 0 || stall > STALL_MAX {
            wrong.push(format!(
                "switchover {number} of {group}: {errors} errors, a stall of {:.2} s",
                stall.as_secs_f64()
            ));
        }
        stalls.push(stall.as_secs_f64());
        whole(&lab).await?;
    }
    load.pause().await?;
    wrong.extend(oracles::rows_are_right(&load, begun).await?.wrong);
    wrong.extend(oracles::one_writer_at_a_time(&load.ledger()));
    wrong.extend(load.ledger().errors.lines());
    load.stop_at_once();
    lab.stop().await;
    stalls.sort_by(f64::total_cmp);
    let longest = stalls.last().copied().unwrap_or_default();
    println!(
        "{} switchovers under {} writers; longest stall: median {:.2} s, most {longest:.2} s; SEED={seed}",
        stalls.len(),
        2 * INSERTERS + MOVERS,
        crate::times::median(&stalls)
    );
    if !wrong.is_empty() {
        bail!("logs are in {}; wrong:\n  {}", dir.display(), wrong.join("\n  "));
    }
    Ok(())
}
