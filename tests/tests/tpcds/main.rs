//! The 99 statements of TPC-DS on plain PostgreSQL and on a cluster. Their answers must be equal, and not empty.
//!
//! The texts in `tpcds/queries` are the standard's but for two things: their parameters, and a few thresholds, are chosen so that there is
//! something to find in so little data; and where their ORDER BY leaves rows tied, the remaining columns decide.
//!
//! `cargo test --test tpcds -- q05` runs one. `ATOLL_TPCDS_ENGINE=postgres` chooses what merges; with `datafusion`, refusals are no failures.
//! `ATOLL_TPCDS_EARLY=always` sets `atoll.early_aggregation`.
//! `ATOLL_TPCDS_TIMES=1` prints how long both took; `ATOLL_TEST_PLAIN=1` runs plain against plain, to check the harness itself.

mod data;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use atoll_tests::Target;
use atoll_tests::client::Client;
use atoll_tests::cluster::ClusterOptions;
use atoll_tests::compare::{Rules, differences};
use atoll_tests::outcome::Outcome;
use atoll_tests::servers::{LazyPair, Pair};
use libtest_mimic::{Arguments, Failed, Trial};

const STATEMENT_MAX: Duration = Duration::from_secs(60);
/// Beyond `STATEMENT_MAX`, for the server to say so.
const ANSWER_MAX: Duration = Duration::from_secs(90);

type Ask = fn(&mut Client, &str) -> Result<Outcome>;

/// How every statement travels: once by each protocol.
const WAYS: [(&str, Ask); 2] = [
    ("simple", |client, sql| client.simple(sql)),
    ("extended, binary", |client, sql| client.extended(sql, &[], true, None)),
];

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tpcds");
    let suite = Arc::new(Suite {
        pair: LazyPair::new(ClusterOptions::new(2, 4)),
        loaded: OnceLock::new(),
        engine: std::env::var("ATOLL_TPCDS_ENGINE").ok(),
        early_aggregation: std::env::var("ATOLL_TPCDS_EARLY").ok(),
        prints_times: std::env::var_os("ATOLL_TPCDS_TIMES").is_some_and(|value| value != "0"),
        folder: folder.clone(),
    });
    let mut trials = Vec::new();
    for path in queries(&folder.join("queries"))? {
        let name = path.file_stem().context("a query without a name")?.to_string_lossy().into_owned();
        let suite = Arc::clone(&suite);
        trials.push(Trial::test(name.clone(), move || {
            suite.check(&name, &path).map_err(|error| Failed::from(format!("{error:#}")))
        }));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    suite.pair.stop();
    Ok(conclusion.exit_code())
}

fn queries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    paths.sort();
    Ok(paths)
}

#[derive(Debug)]
struct Suite {
    pair: LazyPair,
    /// Whether the tables are there; a failure is kept, as every query would only meet it again.
    loaded: OnceLock<Result<(), String>>,
    /// What merges on the cluster, when not left to it.
    engine: Option<String>,
    /// `atoll.early_aggregation`, when not as it is.
    early_aggregation: Option<String>,
    prints_times: bool,
    folder: PathBuf,
}

impl Suite {
    fn check(&self, name: &str, path: &Path) -> Result<()> {
        let text = fs::read_to_string(path)?;
        let pair = self.pair.get()?;
        let loaded = self.loaded.get_or_init(|| self.load(&pair).map_err(|error| format!("{error:#}")));
        loaded.as_ref().map_err(|message| anyhow!("loading: {message}"))?;

        let mut plain = session(pair.plain.target())?;
        let mut subject = session(pair.subject.target())?;
        if let (Some(engine), Some(_)) = (&self.engine, pair.subject.cluster()) {
            run(&mut subject, &format!("SET atoll.merge_engine = '{engine}'"), None)?;
        }
        if let (Some(early), Some(_)) = (&self.early_aggregation, pair.subject.cluster()) {
            run(&mut subject, &format!("SET atoll.early_aggregation = '{early}'"), None)?;
        }
        let rules = Rules {
            // A statement's own ORDER BY starts a line.
            ordered: text.contains("\nORDER BY"),
            may_refuse: self.engine.as_deref() == Some("datafusion"),
            ..Rules::default()
        };
        for (way, ask) in WAYS {
            let (expected, plain_time) = timed(|| ask(&mut plain, &text))?;
            let (got, subject_time) = timed(|| ask(&mut subject, &text))?;
            let rows = expected.results.first().map_or(0, |result| result.rows.len());
            if self.prints_times {
                let (plain, subject) = (plain_time.as_millis(), subject_time.as_millis());
                println!("{name} ({way}): {rows} rows, plain {plain} ms, subject {subject} ms");
            }
            let found = differences(&expected, &got, rules);
            if !found.is_empty() {
                bail!("{} ({way})\n{}", path.display(), found.join("\n"));
            }
            if rows == 0 {
                bail!("{} ({way}): equal, but empty: that tests little", path.display());
            }
        }
        Ok(())
    }

    /// Makes and fills the tables, on both sides at once.
    fn load(&self, pair: &Pair) -> Result<()> {
        let schema = fs::read_to_string(self.folder.join("schema.sql"))?;
        let distribute = fs::read_to_string(self.folder.join("distribute.sql"))?;
        let tables = data::tables(&schema)?;
        let load = |target: &Target, statements: &[&str]| -> Result<()> {
            let mut client = session(target)?;
            for text in statements {
                run(&mut client, text, None)?;
            }
            for (name, rows) in &tables {
                run(&mut client, &format!("COPY {name} FROM STDIN (DELIMITER '|', NULL '')"), Some(rows))?;
            }
            run(&mut client, "ANALYZE", None)
        };
        thread::scope(|scope| {
            let plain = scope.spawn(|| load(pair.plain.target(), &[&schema]));
            match pair.subject.cluster() {
                Some(cluster) => load(cluster.target(), &[&schema, &distribute])?,
                None => load(pair.subject.target(), &[&schema])?,
            }
            plain.join().map_err(|_| anyhow!("loading plain PostgreSQL panicked"))?
        })
    }
}

fn session(target: &Target) -> Result<Client> {
    let mut client = Client::connect(target, "app")?;
    client.wire().wait_max = ANSWER_MAX;
    run(&mut client, &format!("SET statement_timeout = '{}s'", STATEMENT_MAX.as_secs()), None)?;
    Ok(client)
}

/// Runs what must succeed.
fn run(client: &mut Client, sql: &str, data: Option<&[u8]>) -> Result<()> {
    match client.simple_with_copy(sql, data)?.error {
        Some(error) => Err(anyhow!("{error}")).with_context(|| sql.lines().next().unwrap_or_default().to_owned()),
        None => Ok(()),
    }
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let start = Instant::now();
    let result = work()?;
    Ok((result, start.elapsed()))
}
