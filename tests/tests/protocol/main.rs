//! The protocol as clients speak it, frame by frame. Every scenario runs on plain PostgreSQL and on a cluster; the transcripts must be
//! equal. What only a cluster can show (connection limit, nothing left behind) is in `alone`.

mod alone;
mod cancel;
mod copy;
mod extended;
mod hostile;
mod portals;
mod simple;
mod startup;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result, anyhow, bail};
use atoll_tests::Target;
use atoll_tests::client::Client;
use atoll_tests::cluster::ClusterOptions;
use atoll_tests::servers::{LazyPair, Pair, checks_itself};
use libtest_mimic::{Arguments, Failed, Trial};

/// A conversation with one server; its transcript.
type Scenario = fn(&Target) -> Result<Vec<String>>;

/// Tables that scenarios use: `pr` distributed and only read, `pw` distributed and written, `pr_one` not distributed. The scenarios of
/// `copy` count what they wrote and so run one after the other; others that write use keys of their own.
const SETUP: &str = "CREATE TABLE pr (id int8 PRIMARY KEY, v text);
    INSERT INTO pr SELECT i, 'v' || i FROM generate_series(1, 100) i;
    CREATE TABLE pw (id int8 PRIMARY KEY, v text);
    INSERT INTO pw SELECT i, 'v' || i FROM generate_series(1, 100) i;
    CREATE TABLE pr_one (id int8 PRIMARY KEY, v text);
    INSERT INTO pr_one SELECT i, 'v' || i FROM generate_series(1, 100) i;";

#[derive(Clone)]
struct Servers {
    lazy: LazyPair,
    prepared: Arc<OnceLock<Result<(), String>>>,
    copies: Arc<Mutex<()>>,
}

impl Servers {
    fn get(&self) -> Result<Arc<Pair>> {
        let pair = self.lazy.get()?;
        let prepared = self.prepared.get_or_init(|| set_up(&pair).map_err(|error| format!("{error:#}")));
        prepared.as_ref().map_err(|message| anyhow!("{message}"))?;
        Ok(pair)
    }
}

fn set_up(pair: &Pair) -> Result<()> {
    for target in [pair.plain.target(), pair.subject.target()] {
        succeed(&mut Client::connect(target, "app")?, SETUP)?;
    }
    if pair.subject.cluster().is_some() {
        let mut client = Client::connect(pair.subject.target(), "app")?;
        succeed(&mut client, "SELECT create_distributed_table('pr', 'id')")?;
        succeed(&mut client, "SELECT create_distributed_table('pw', 'id')")?;
    }
    Ok(())
}

/// Runs a statement that must succeed.
fn succeed(client: &mut Client, sql: &str) -> Result<()> {
    match client.simple(sql)?.error {
        Some(error) => bail!("{sql}: {error}"),
        None => Ok(()),
    }
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let servers =
        Servers { lazy: LazyPair::new(ClusterOptions::new(2, 4)), prepared: Arc::default(), copies: Arc::default() };
    let families: [(&str, &[(&str, Scenario)]); 7] = [
        ("startup", startup::SCENARIOS),
        ("simple", simple::SCENARIOS),
        ("extended", extended::SCENARIOS),
        ("portals", portals::SCENARIOS),
        ("copy", copy::SCENARIOS),
        ("cancel", cancel::SCENARIOS),
        ("hostile", hostile::SCENARIOS),
    ];
    let mut trials = Vec::new();
    for (family, scenarios) in families {
        for (name, scenario) in scenarios {
            let servers = servers.clone();
            let scenario = *scenario;
            trials.push(Trial::test(format!("{family}/{name}"), move || {
                let _alone = (family == "copy").then(|| servers.copies.lock().unwrap_or_else(PoisonError::into_inner));
                compare(&servers, scenario).map_err(|error| Failed::from(format!("{error:#}")))
            }));
        }
    }
    if !checks_itself() {
        for (name, test) in alone::TESTS {
            let servers = servers.clone();
            let test = *test;
            trials.push(Trial::test(format!("alone/{name}"), move || {
                let run = || {
                    let pair = servers.get()?;
                    test(pair.subject.cluster().context("no cluster")?)
                };
                run().map_err(|error| Failed::from(format!("{error:#}")))
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    servers.lazy.stop();
    Ok(conclusion.exit_code())
}

fn compare(servers: &Servers, scenario: Scenario) -> Result<()> {
    let pair = servers.get()?;
    let expected = scenario(pair.plain.target()).context("on plain PostgreSQL")?;
    let got = scenario(pair.subject.target())
        .with_context(|| format!("on the cluster; plain PostgreSQL said:\n  {}", expected.join("\n  ")))?;
    let (expected, got) = (reported_last(expected), reported_last(got));
    if expected == got {
        return Ok(());
    }
    let at = expected.iter().zip(&got).take_while(|(left, right)| left == right).count();
    let mut shown: Vec<String> = expected[..at].iter().map(|line| format!("    {line}")).collect();
    shown.extend(expected[at..].iter().map(|line| format!("  - {line}")));
    shown.extend(got[at..].iter().map(|line| format!("  + {line}")));
    bail!("transcripts differ (- PostgreSQL, + cluster):\n{}", shown.join("\n"));
}

/// PostgreSQL reports changed settings before ReadyForQuery; drivers take them wherever they come, so both are shown there.
fn reported_last(lines: Vec<String>) -> Vec<String> {
    let mut out = Vec::with_capacity(lines.len());
    let mut reported = Vec::new();
    for line in lines {
        if line.starts_with("ParameterStatus") {
            reported.push(line);
            continue;
        }
        if line.starts_with("ReadyForQuery") {
            out.append(&mut reported);
        }
        out.push(line);
    }
    out.append(&mut reported);
    out
}
