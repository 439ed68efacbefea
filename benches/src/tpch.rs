//! TPC-H's 22 queries by one client: how long they take, how many rows leave the shards for it, and how much memory that costs.

use anyhow::{Result, ensure};
use atoll_demo::progress::Progress;
use atoll_demo::rows::TABLES;
use atoll_demo::script::{DISTRIBUTE, SCHEMA, Statement, statements, tpch};
use atoll_tests::compare::{Rules, differences};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::Value;

use crate::BenchArguments;
use crate::ask::Asker;
use crate::copy::Load;
use crate::processes::Processes;
use crate::report::{Line, Round, median, write};
use crate::servers::{Servers, execute};

const PLAIN_SECONDS_MAX: u64 = 120;
const ATOLL_SECONDS_MAX: u64 = 60;
/// EXPLAIN ANALYZE runs the query, and then its fragments one after the other.
const EXPLAIN_SECONDS_MAX: u64 = 300;

/// What a line of target/bench.json says of a query beyond the ratio.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Details {
    plain_seconds: f64,
    /// None when the cluster gave no answer.
    atoll_seconds: Option<f64>,
    #[serde(flatten)]
    cost: Cost,
}

/// What a query cost the cluster beyond time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct Cost {
    engine: String,
    moved: Option<Moved>,
    /// The most that was resident while the query ran.
    coordinator_peak_bytes: u64,
    /// The same of coordinator and agents, summed as if they had peaked at once.
    all_peak_bytes: u64,
}

/// What fragments gave; in a merge by PostgreSQL, home's own rows among it, although those do not travel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
struct Moved {
    rows: u64,
    /// By PostgreSQL's estimate of a row's width.
    bytes: u64,
}

/// Seconds of each round or, when one went without an answer, why.
type Times = Result<Vec<f64>, String>;

struct Measured {
    name: String,
    plain: Times,
    atoll: Times,
    cost: Cost,
    /// How the answers differ.
    differences: Vec<String>,
}

/// Loads both sides, asks both, prints a line per query and adds it to `lines`.
///
/// # Errors
/// When a server does not start or a load fails; at the end, when an answer was not PostgreSQL's.
pub fn run(arguments: &BenchArguments, lines: &mut Vec<Line>) -> Result<()> {
    println!(
        "TPC-H, scale {}: starting a plain PostgreSQL and a cluster of 2 groups and 8 shards",
        arguments.tpch_scale
    );
    let servers = Servers::start()?;
    load(&servers, arguments.tpch_scale)?;
    let processes = servers.processes()?;
    let [plain, atoll] = servers.both();
    let mut askers = [Asker::new(plain)?, Asker::new(atoll)?];
    let queries = tpch();
    let bar = ProgressBar::new(queries.len() as u64)
        .with_style(ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {elapsed}")?);
    println!(
        "{:<5} {:>9} {:>9} {:>6}   {:<11} {:>11} {:>9} {:>14} {:>9}",
        "query", "plain s", "atoll s", "ratio", "engine", "rows moved", "MB moved", "coordinator MB", "all MB"
    );
    let mut all = Vec::new();
    for (index, statement) in queries.iter().enumerate() {
        bar.set_message(statement.title);
        let name = format!("q{:02}", index + 1);
        let measured = measure(&mut askers, name, statement, arguments.rounds.unwrap_or(1), &processes)?;
        bar.suspend(|| measured.print());
        bar.inc(1);
        lines.extend(measured.line());
        write(lines)?;
        all.push(measured);
    }
    bar.finish_and_clear();
    lines.push(sum(&all));
    write(lines)?;
    let wrong = all.iter().filter(|measured| !measured.differences.is_empty()).count();
    ensure!(wrong == 0, "{wrong} queries were not answered as PostgreSQL answers them");
    Ok(())
}

fn load(servers: &Servers, scale: f64) -> Result<()> {
    for sql in statements(SCHEMA) {
        servers.both().into_iter().try_for_each(|target| execute(target, sql))?;
    }
    statements(DISTRIBUTE).try_for_each(|sql| servers.on_cluster(sql))?;
    for table in TABLES {
        let load = Load::generate(table, scale);
        for target in servers.both() {
            let mut progress = Progress::new(format!("{table} ({})", target.label), load.bytes_sent());
            load.copy(target, |bytes| progress.advance(bytes))?;
            progress.finish();
        }
    }
    println!("VACUUM ANALYZE");
    servers.both().into_iter().try_for_each(|target| execute(target, "VACUUM ANALYZE"))?;
    servers.checkpoint()
}

fn measure(
    [plain, atoll]: &mut [Asker<'_>; 2],
    name: String,
    statement: &Statement,
    rounds: u32,
    processes: &Processes,
) -> Result<Measured> {
    let mut measured = Measured::new(name);
    let rules = Rules { ordered: statement.is_ordered, ..Rules::default() };
    for _ in 0..rounds {
        let expected = plain.ask(statement.sql, PLAIN_SECONDS_MAX)?;
        processes.forget_peaks()?;
        let answer = atoll.ask(statement.sql, ATOLL_SECONDS_MAX)?;
        measured.cost.take_peaks(&processes.peak_bytes()?);
        if let (Ok(expected), Ok(answer)) = (&expected, &answer) {
            measured.differences.extend(differences(&expected.outcome, &answer.outcome, rules));
        }
        let add = |times: &mut Times, seconds: Result<f64, String>| match (times.as_mut(), seconds) {
            (Ok(all), Ok(seconds)) => all.push(seconds),
            (_, Err(reason)) => *times = Err(reason),
            (Err(_), Ok(_)) => {}
        };
        add(&mut measured.plain, expected.map(|answer| answer.seconds));
        add(&mut measured.atoll, answer.map(|answer| answer.seconds));
    }
    if let Ok(tier) = atoll.ask("SHOW atoll.last_tier", ATOLL_SECONDS_MAX)? {
        measured.cost.engine = tier.outcome.value()?;
    }
    if measured.atoll.is_ok() {
        measured.cost.moved = moved(atoll, statement.sql)?;
    }
    Ok(measured)
}

/// Runs the query once more to see what its fragments give; none when that takes too long.
fn moved(atoll: &mut Asker<'_>, sql: &str) -> Result<Option<Moved>> {
    let explain = format!("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}");
    let Ok(answer) = atoll.ask(&explain, EXPLAIN_SECONDS_MAX)? else { return Ok(None) };
    let explained: Value = serde_json::from_str(&answer.outcome.value()?)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut moved = Moved::default();
    for fragment in list(&explained[0]["Merge"]["Fragments"]) {
        let plans: Vec<Value> =
            list(&fragment["Groups"]).iter().map(|group| group["Plan"][0]["Plan"].clone()).collect();
        let sum = |name: &str| plans.iter().map(|plan| plan[name].as_u64().unwrap_or(0)).sum::<u64>();
        let width = plans.first().and_then(|plan| plan["Plan Width"].as_u64()).unwrap_or(0);
        // What the statement itself fetched, keys of other fragments considered; the plans do not know of them.
        let rows = fragment["Fetched Rows"].as_u64().unwrap_or_else(|| sum("Actual Rows"));
        moved.rows += rows;
        moved.bytes += rows * width;
    }
    Ok(Some(moved))
}

impl Cost {
    fn take_peaks(&mut self, peaks: &[u64]) {
        self.coordinator_peak_bytes = self.coordinator_peak_bytes.max(peaks.first().copied().unwrap_or(0));
        self.all_peak_bytes = self.all_peak_bytes.max(peaks.iter().sum());
    }
}

impl Measured {
    fn new(name: String) -> Measured {
        let (plain, atoll) = (Ok(Vec::new()), Ok(Vec::new()));
        Measured { name, plain, atoll, cost: Cost::default(), differences: Vec::new() }
    }

    /// The median of each side's seconds, when both always answered.
    fn seconds(&self) -> Option<(f64, f64)> {
        Some((middle(&self.plain)?, middle(&self.atoll)?))
    }

    fn print(&self) {
        let shown = |times: &Times| middle(times).map_or("-".to_owned(), |seconds| format!("{seconds:.3}"));
        let ratio = self.seconds().map_or("-".to_owned(), |(plain, atoll)| format!("{:.3}", plain / atoll));
        let (rows, bytes) = self.cost.moved.map_or(("-".to_owned(), "-".to_owned()), |moved| {
            (moved.rows.to_string(), format!("{:.2}", megabytes(moved.bytes)))
        });
        println!(
            "{:<5} {:>9} {:>9} {ratio:>6}   {:<11} {rows:>11} {bytes:>9} {:>14.0} {:>9.0}",
            self.name,
            shown(&self.plain),
            shown(&self.atoll),
            self.cost.engine,
            megabytes(self.cost.coordinator_peak_bytes),
            megabytes(self.cost.all_peak_bytes),
        );
        for (side, times) in [("plain PostgreSQL", &self.plain), ("the cluster", &self.atoll)] {
            if let Err(reason) = times {
                println!("      {side}: {reason}");
            }
        }
        for difference in &self.differences {
            println!("      WRONG ANSWER: {difference}");
        }
    }

    /// None when plain PostgreSQL gave no answer either: there is nothing to compare with then.
    fn line(&self) -> Option<Line> {
        let plain = self.plain.as_ref().ok()?;
        let rounds: Vec<Round> = match &self.atoll {
            Ok(atoll) => plain.iter().zip(atoll).map(|(plain, atoll)| Round::of_seconds(*plain, *atoll)).collect(),
            Err(_) => vec![Round { plain: 1.0, atoll: 0.0 }],
        };
        let details = Details {
            plain_seconds: middle(&self.plain)?,
            atoll_seconds: middle(&self.atoll),
            cost: self.cost.clone(),
        };
        Some(Line { details: Some(details), ..Line::new("tpch", &self.name, 1, &rounds) })
    }
}

/// Prints and returns the ratio of the summed times, over the queries that both sides answer.
fn sum(all: &[Measured]) -> Line {
    let answered: Vec<(f64, f64)> = all.iter().filter_map(Measured::seconds).collect();
    let (plain, atoll) = answered.iter().fold((0.0, 0.0), |sum, seconds| (sum.0 + seconds.0, sum.1 + seconds.1));
    let line = Line::new("tpch", "sum", 1, &[Round::of_seconds(plain, atoll)]);
    println!("{:<5} {plain:>9.3} {atoll:>9.3} {:>6.3}   over {} queries", "sum", line.ratio, answered.len());
    for (side, times) in
        [("plain PostgreSQL", (|m| &m.plain) as fn(&Measured) -> &Times), ("the cluster", |m| &m.atoll)]
    {
        let without: Vec<&str> = all.iter().filter(|m| times(m).is_err()).map(|m| m.name.as_str()).collect();
        if !without.is_empty() {
            println!("      no answer from {side}: {}", without.join(", "));
        }
    }
    let most = |bytes: fn(&Cost) -> u64| megabytes(all.iter().map(|measured| bytes(&measured.cost)).max().unwrap_or(0));
    println!(
        "      most memory: coordinator {:.0} MB, with the agents {:.0} MB",
        most(|cost| cost.coordinator_peak_bytes),
        most(|cost| cost.all_peak_bytes)
    );
    line
}

fn middle(times: &Times) -> Option<f64> {
    let mut sorted = times.as_ref().ok()?.clone();
    sorted.sort_by(f64::total_cmp);
    Some(median(&sorted))
}

#[expect(clippy::cast_precision_loss, reason = "a size in bytes is far below 2^52")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(plain: Times, atoll: Times) -> Measured {
        Measured { plain, atoll, ..Measured::new("q01".to_owned()) }
    }

    #[test]
    fn twice_the_time_is_half_the_ratio() {
        let line = measured(Ok(vec![1.0]), Ok(vec![2.0])).line().map(|line| (line.mode, line.ratio));
        assert_eq!(line, Some(("q01".to_owned(), 0.5)));
    }

    #[test]
    fn no_answer_is_told_from_nothing_to_compare_with() {
        let late = || Err("over 1 s".to_owned());
        assert_eq!(measured(Ok(vec![1.0]), late()).line().map(|line| line.ratio), Some(0.0));
        assert_eq!(measured(late(), Ok(vec![1.0])).line(), None);
        assert_eq!(measured(late(), Ok(vec![1.0])).seconds(), None);
    }
}
