//! `atoll-bench`: throughput beside plain PostgreSQL's (`bench`, the default), and clients that come and go for a long time (`soak`).

mod ask;
mod bench;
mod copy;
mod pgbench;
mod processes;
mod report;
mod servers;
mod soak;
mod tpch;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    bench: BenchArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Throughput of a cluster (2 groups, 8 shards) as a ratio to plain PostgreSQL's; writes target/bench.json
    Bench(BenchArguments),
    /// 200 clients that read, write, break off and cancel; ends with what they left behind
    Soak(SoakArguments),
}

/// What to measure and how long.
#[derive(Debug, Clone, Args)]
pub struct BenchArguments {
    /// Only this one: point, transaction, range, copy or tpch
    #[arg(long)]
    bench: Option<bench::Bench>,
    /// Rounds, each of plain PostgreSQL and then the cluster: 5 when not given, and 1 of TPC-H
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Scale of pgbench's tables (100 000 accounts each)
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    scale: u32,
    /// TPC-H scale of the table that COPY loads
    #[arg(long, default_value_t = 0.1)]
    copy_scale: f64,
    /// TPC-H scale of the tables that its queries read; 1 is about 1 GB
    #[arg(long, default_value_t = 1.0)]
    tpch_scale: f64,
}

/// How long and how wild.
#[derive(Debug, Clone, Args)]
pub struct SoakArguments {
    #[arg(long, default_value_t = 10.0, env = "MINUTES")]
    minutes: f64,
    #[arg(long, default_value_t = 200)]
    clients: u32,
    /// Of all random choices; a random one when not given
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        None => bench::run(&arguments.bench),
        Some(Command::Bench(bench)) => bench::run(&bench),
        Some(Command::Soak(soak)) => soak::run(&soak),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("atoll-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
