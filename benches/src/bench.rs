//! The benches, in interleaved rounds: plain, cluster, plain, cluster ..., so that a noisy neighbour hits both.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use crate::copy::{self, Load};
use crate::pgbench::{Run, initialize, transactions_per_second};
use crate::report::{Line, Round, median_of, write};
use crate::servers::Servers;
use crate::{BenchArguments, tpch};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Bench {
    /// SELECT of one account by its key
    Point,
    /// BEGIN, UPDATE and SELECT of one account, END
    Transaction,
    /// count and sum over 1000 consecutive keys, which lie on all shards
    Range,
    /// COPY of TPC-H's lineitem as text
    Copy,
    /// TPC-H's 22 queries
    Tpch,
}

impl Bench {
    fn name(self) -> &'static str {
        match self {
            Bench::Point => "point",
            Bench::Transaction => "transaction",
            Bench::Range => "range",
            Bench::Copy => "copy",
            Bench::Tpch => "tpch",
        }
    }

    /// The script that pgbench runs.
    fn script(self) -> Option<&'static str> {
        match self {
            Bench::Point => Some(
                "\\set aid random(1, 100000 * :scale)\n\
                 SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n",
            ),
            Bench::Transaction => Some(
                "\\set aid random(1, 100000 * :scale)\n\
                 \\set delta random(-5000, 5000)\n\
                 BEGIN;\n\
                 UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;\n\
                 SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n\
                 END;\n",
            ),
            Bench::Range => Some(
                "\\set low random(1, 100000 * :scale - 999)\n\
                 \\set high :low + 999\n\
                 SELECT count(*), sum(abalance) FROM pgbench_accounts WHERE aid BETWEEN :low AND :high;\n",
            ),
            Bench::Copy | Bench::Tpch => None,
        }
    }

    fn modes(self) -> &'static [(&'static str, u32)] {
        match self {
            Bench::Point | Bench::Transaction => &[("simple", 1), ("prepared", 1), ("simple", 16), ("prepared", 16)],
            Bench::Range => &[("prepared", 1), ("prepared", 16)],
            Bench::Copy => &[("text", 1)],
            // Its queries take their place.
            Bench::Tpch => &[],
        }
    }
}

/// Runs the chosen benches, prints each line as it is known and writes target/bench.json.
///
/// # Errors
/// When a server does not start or a statement fails.
pub fn run(arguments: &BenchArguments) -> Result<()> {
    let chosen: Vec<Bench> = arguments.bench.map_or_else(|| Bench::value_variants().to_vec(), |bench| vec![bench]);
    let (queries, throughputs): (Vec<Bench>, Vec<Bench>) = chosen.into_iter().partition(|bench| *bench == Bench::Tpch);
    let mut lines = Vec::new();
    if !throughputs.is_empty() {
        throughput(&throughputs, arguments, &mut lines)?;
    }
    if !queries.is_empty() {
        tpch::run(arguments, &mut lines)?;
    }
    Ok(())
}

fn throughput(chosen: &[Bench], arguments: &BenchArguments, lines: &mut Vec<Line>) -> Result<()> {
    println!("starting a plain PostgreSQL and a cluster of 2 groups and 8 shards");
    let servers = Servers::start()?;
    if chosen.iter().any(|bench| bench.script().is_some()) {
        println!("loading pgbench's tables at scale {}", arguments.scale);
        servers.both().into_iter().try_for_each(|target| initialize(target, arguments.scale))?;
        servers.on_cluster("SELECT create_distributed_table('pgbench_accounts', 'aid')")?;
        for target in servers.both() {
            crate::servers::execute(target, "VACUUM ANALYZE pgbench_accounts")?;
        }
        servers.checkpoint()?;
    }
    let scripts = tempfile::tempdir()?;
    println!(
        "{:<12} {:<9} {:>7}   {:>6} {:>6} {:>6}   {:>12} {:>12}",
        "bench", "mode", "clients", "ratio", "min", "max", "plain", "atoll"
    );
    for bench in chosen {
        let script = match bench.script() {
            Some(text) => {
                let path = scripts.path().join(bench.name());
                fs::write(&path, text)?;
                Some(path)
            }
            None => None,
        };
        for (mode, clients) in bench.modes() {
            let rounds = measure(&servers, script.as_ref(), mode, *clients, arguments)?;
            let line = Line::new(bench.name(), mode, *clients, &rounds);
            let unit = if script.is_some() { "tps" } else { "MB/s" };
            println!(
                "{:<12} {:<9} {:>7}   {:>6.2} {:>6.2} {:>6.2}   {:>7.0} {unit:<4} {:>7.0} {unit:<4}",
                line.bench,
                line.mode,
                line.clients,
                line.ratio,
                line.min,
                line.max,
                median_of(&rounds, |round| round.plain),
                median_of(&rounds, |round| round.atoll),
            );
            lines.push(line);
            // After each line, so that a bench that is broken off leaves what it knows.
            write(lines)?;
        }
    }
    Ok(())
}

fn measure(
    servers: &Servers,
    script: Option<&PathBuf>,
    mode: &str,
    clients: u32,
    arguments: &BenchArguments,
) -> Result<Vec<Round>> {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}")?;
    let count = arguments.rounds.unwrap_or(5);
    let bar =
        ProgressBar::new(u64::from(count) * 2).with_style(style).with_message(format!("{mode}, {clients} clients"));
    let mut rounds = Vec::new();
    let lineitem = script.is_none().then(|| Load::generate("lineitem", arguments.copy_scale));
    if lineitem.is_some() {
        copy::create(servers)?;
    }
    for _ in 0..count {
        let mut round = [0.0; 2];
        for (at, target) in servers.both().into_iter().enumerate() {
            round[at] = match (script, &lineitem) {
                (Some(script), _) => {
                    let run = Run { script, mode, clients, seconds: arguments.seconds, scale: arguments.scale };
                    transactions_per_second(target, run)?
                }
                (None, Some(lineitem)) => {
                    servers.checkpoint()?;
                    lineitem.throughput(target)?
                }
                (None, None) => unreachable!("a bench is a script or a load"),
            };
            bar.inc(1);
        }
        rounds.push(Round { plain: round[0], atoll: round[1] });
    }
    bar.finish_and_clear();
    Ok(rounds)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use atoll_tests::plain::PlainServer;

    use super::*;

    #[test]
    fn every_script_runs_on_plain_postgres() -> Result<()> {
        let plain = PlainServer::start()?;
        initialize(plain.target(), 1)?;
        let folder = tempfile::tempdir()?;
        for bench in Bench::value_variants() {
            let Some(script) = bench.script() else { continue };
            let path = folder.path().join(bench.name());
            fs::write(&path, script)?;
            for (mode, clients) in bench.modes() {
                let run = Run { script: &path, mode, clients: *clients, seconds: 1, scale: 1 };
                let tps = transactions_per_second(plain.target(), run).context(bench.name())?;
                assert!(tps > 1.0, "{} {mode}: {tps}", bench.name());
            }
        }
        Ok(())
    }
}
