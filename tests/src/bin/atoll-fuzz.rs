//! `atoll-fuzz`: random queries on a plain PostgreSQL and on a cluster, answers compared (`make fuzz`).

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use atoll_tests::fuzz::{Engine, Options, run};
use clap::Parser;

const MINUTES: f64 = 10.0;

#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// The first seed; a random one when not given
    #[arg(long)]
    seed: Option<u64>,
    /// How long; 10 when no count is given either
    #[arg(long)]
    minutes: Option<f64>,
    /// How many queries in all
    #[arg(long)]
    count: Option<u64>,
    /// How many queries for the tables of one seed
    #[arg(long, default_value_t = 1000)]
    queries_per_seed: u64,
    /// What `atoll.merge_engine` is; `auto`, or now and then `postgres`, when not given. Forced, DataFusion refuses what it does not compute
    #[arg(long)]
    engine: Option<Engine>,
    /// `atoll.early_aggregation` is `always`
    #[arg(long)]
    early_aggregation: bool,
    /// Where reduced differences are written
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/sql/fuzz"))]
    folder: PathBuf,
    /// Print every query with what came of it
    #[arg(long)]
    verbose: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let minutes = arguments.minutes.or(arguments.count.is_none().then_some(MINUTES));
    let options = Options {
        seed: arguments.seed.unwrap_or_else(|| u64::from(rand::random::<u32>())),
        length: minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0)),
        count: arguments.count,
        queries_per_seed: arguments.queries_per_seed,
        engine: arguments.engine,
        early_aggregation: arguments.early_aggregation,
        folder: arguments.folder,
        verbose: arguments.verbose,
    };
    println!("SEED={} minutes {minutes:?} count {:?}", options.seed, options.count);
    match run(&options) {
        Ok(summary) if summary.failed() => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("atoll-fuzz: {error:#}");
            ExitCode::FAILURE
        }
    }
}
