//! `atoll demo`: TPC-H in a cluster and in a plain PostgreSQL, the same statements on both, the answers compared. In the end a primary dies.

mod answer;
mod engines;
mod failover;
mod load;
mod plain;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use atoll_demo::script::{self, Statement};
use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio_postgres::Client;

use crate::demo::answer::Answer;
use crate::demo::plain::Plain;
use crate::host::{self, Owner};
use crate::layout::{Auth, Cluster, DEFAULT_PORT};
use crate::options::{self, Settings};
use crate::output::{say, show};
use crate::{down, process, status, up};

/// Marks a folder as ours to wipe.
const MARKER: &str = ".atoll-demo";
/// Each statement runs this often on both sides, in turns; the median time is shown.
const ROUNDS: usize = 3;

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// TPC-H scale factor; 1 is about 1 GB
    #[arg(long, value_name = "FACTOR", default_value_t = 0.1, value_parser = scale)]
    pub scale: f64,
    /// Where the results go, as JSON
    #[arg(long, value_name = "FILE", default_value = "target/demo.json")]
    pub output: PathBuf,
}

fn scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if factor > 0.0 && factor <= 100.0 => Ok(factor),
        _ => Err("a number above 0 and up to 100".to_owned()),
    }
}

/// # Errors
/// When something could not be started or loaded, or an answer differs. The cluster is stopped on the former.
pub async fn run(settings: &Settings, options: &Options) -> anyhow::Result<()> {
    let dir = demo_dir(settings)?;
    let owner = Owner::of_cluster()?;
    make_room(&dir, &owner).await?;
    let mut settings = settings.clone();
    settings.dir = dir.clone();
    settings.port = Some(pick_port(settings.port)?);
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let outcome = tokio::select! {
        outcome = on_both(&settings, options, &owner) => outcome,
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("interrupted")),
    };
    process::stop_postmaster(&plain::data_dir(&dir)).await;
    let _ = std::fs::remove_dir_all(plain::dir(&dir));

    let stop = std::env::var_os("DEMO_STOP").is_some_and(|value| value == "1");
    if (outcome.is_err() || stop)
        && let Ok(cluster) = Cluster::load(&dir)
    {
        down::stop(&dir, &cluster).await?;
    }
    let unequal = outcome?;
    let port = settings.port.unwrap_or(DEFAULT_PORT);
    if stop {
        show(format_args!("\nThe cluster is stopped; its data is in {}.", dir.display()));
    } else {
        show(format_args!("\nThe cluster is running. Connect:\n    psql -h 127.0.0.1 -p {port} -U postgres app"));
        let program = std::env::current_exe().unwrap_or_else(|_| "atoll".into());
        show(format_args!("Stop it:\n    {} down --dir {}", program.display(), dir.display()));
    }
    if unequal > 0 {
        bail!("{unequal} statements were not answered as PostgreSQL answers them");
    }
    Ok(())
}

fn demo_dir(settings: &Settings) -> anyhow::Result<PathBuf> {
    match std::env::var_os("ATOLL_DEMO_DIR") {
        _ if settings.dir_given => Ok(settings.dir.clone()),
        Some(dir) => options::real(Path::new(&dir)),
        None => options::real(Path::new("/tmp/atoll-demo")),
    }
}

/// Leaves an empty, marked folder; an earlier demonstration's cluster in it is stopped and removed.
async fn make_room(dir: &Path, owner: &Owner) -> anyhow::Result<()> {
    let marker = dir.join(MARKER);
    if marker.exists() {
        if let Ok(cluster) = Cluster::load(dir)
            && down::stop(dir, &cluster).await?
        {
            say("the cluster of the last demonstration is stopped");
        }
        process::stop_postmaster(&plain::data_dir(dir)).await;
        std::fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))?;
    } else if dir.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        bail!("{} is not empty and not an earlier demonstration's; name another folder with --dir", dir.display());
    }
    host::make_parents(dir)?;
    owner.make_dir(dir, 0o755)?;
    owner.write_file(&marker, "`atoll demo` removes this folder when it starts.\n", 0o644)
}

/// The wanted port, or the next free one.
fn pick_port(wanted: Option<u16>) -> anyhow::Result<u16> {
    let first = wanted.unwrap_or(DEFAULT_PORT);
    let port = (first..=first.saturating_add(1000)).find(|&port| host::is_free(port));
    let port = port.with_context(|| format!("no free port from {first} on"))?;
    if port != first {
        say(format_args!("port {first} is taken; using {port}"));
    }
    Ok(port)
}

/// Starts both sides, loads them, compares them. Returns how many answers differed.
async fn on_both(settings: &Settings, options: &Options, owner: &Owner) -> anyhow::Result<usize> {
    let up_options = up::Options {
        groups: Some(2),
        replicas: Some(1),
        shards: Some(8),
        auth: Some(Auth::Trust),
        detach: true,
        ..Default::default()
    };
    let started = up::start(settings, &up_options).await?;
    say("starting a plain PostgreSQL to compare with");
    let plain = Plain::start(&settings.dir, &started.cluster.pg_bindir, owner).await?;
    let here = connect(started.cluster.port(), "app").await.context("connecting to the coordinator")?;
    let there = connect(plain.port, "postgres").await.context("connecting to the plain PostgreSQL")?;

    for sql in script::statements(script::SCHEMA) {
        execute(&there, sql).await.context("the plain PostgreSQL")?;
        execute(&here, sql).await?;
    }
    for sql in script::statements(script::DISTRIBUTE) {
        execute(&here, sql).await?;
    }
    load::all(&here, &there, options.scale).await?;
    for (client, name) in [(&here, "the cluster"), (&there, "the plain PostgreSQL")] {
        say(format_args!("ANALYZE in {name}"));
        execute(client, "ANALYZE").await?;
    }
    show_directory(&here).await?;
    let results = compare(&here, &there).await?;
    let unequal = engines::compare(&here, &there, &script::tpch()).await?;
    write_json(&options.output, &results)?;
    show(format_args!("\nwritten to {}", options.output.display()));
    let facts = failover::run(settings, &started.cluster, owner, &here).await.context("the failover")?;
    write_json(&options.output.with_file_name("failover.json"), &facts)?;
    anyhow::ensure!(facts.are_good(), "the failover broke a promise");
    Ok(results.iter().filter(|result| !result.equal).count() + unequal)
}

async fn connect(port: u16, database: &str) -> anyhow::Result<Client> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user("postgres").dbname(database).application_name("atoll demo");
    config.connect_timeout(Duration::from_secs(10));
    let (client, connection) = config.connect(tokio_postgres::NoTls).await.map_err(explained)?;
    // Ends with the client; what breaks it also fails the client's calls.
    tokio::spawn(connection);
    Ok(client)
}

async fn execute(client: &Client, sql: &str) -> anyhow::Result<()> {
    client.simple_query(sql).await.map(drop).map_err(explained).with_context(|| first_line(sql).to_owned())
}

fn first_line(sql: &str) -> &str {
    sql.lines().find(|line| !line.starts_with("--")).unwrap_or(sql)
}

fn explained(error: tokio_postgres::Error) -> anyhow::Error {
    anyhow::anyhow!(up::explain(&error))
}

async fn show_directory(client: &Client) -> anyhow::Result<()> {
    const SQL: &str = "SELECT * FROM atoll.shards";
    const ROWS_MAX: usize = 16;
    let mut answer = Answer::ask(client, SQL).await.context(SQL)?;
    let more = answer.rows.len().saturating_sub(ROWS_MAX);
    answer.rows.truncate(ROWS_MAX);
    show(format_args!("\n{SQL};\n\n{answer}"));
    if more > 0 {
        show(format_args!("(and {more} rows more)"));
    }
    Ok(())
}

/// One element of the JSON output; a contract.
#[derive(Debug, Serialize)]
struct Outcome {
    query: String,
    tier: String,
    rows: usize,
    seconds: f64,
    plain_seconds: f64,
    equal: bool,
}

async fn compare(here: &Client, there: &Client) -> anyhow::Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    let mut remarks = Vec::new();
    let header = ["STATEMENT", "TIER", "ROWS", "SECONDS", "PLAIN", "EQUAL"];
    let mut table = status::table(header, &[2, 3, 4]);
    for statement in script::all() {
        say(format_args!("running: {}", statement.title));
        let (outcome, remark) = compare_one(here, there, &statement).await?;
        table.add_row([
            outcome.query.clone(),
            outcome.tier.clone(),
            outcome.rows.to_string(),
            format!("{:.4}", outcome.seconds),
            format!("{:.4}", outcome.plain_seconds),
            if outcome.equal { "yes" } else { "NO" }.to_owned(),
        ]);
        if let Some(remark) = remark {
            remarks.push(format!("{}: {remark}", outcome.query));
        }
        outcomes.push(outcome);
    }
    show(format_args!("\n{}", status::trimmed(&table)));
    for remark in remarks {
        show(format_args!("{remark}"));
    }
    Ok(outcomes)
}

/// The outcome and, when the answers differ, how.
async fn compare_one(
    here: &Client,
    there: &Client,
    statement: &Statement,
) -> anyhow::Result<(Outcome, Option<String>)> {
    let (mut seconds, mut plain_seconds) = (Vec::new(), Vec::new());
    let mut remark = None;
    let mut rows = 0;
    let mut tier = String::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let answer = Answer::ask(here, statement.sql).await;
        seconds.push(start.elapsed().as_secs_f64());
        tier = last_tier(here).await;
        let start = Instant::now();
        let expected = Answer::ask(there, statement.sql)
            .await
            .with_context(|| format!("`{}` on the plain PostgreSQL", statement.title))?;
        plain_seconds.push(start.elapsed().as_secs_f64());
        match answer {
            Err(error) => remark = Some(format!("{error:#}")),
            Ok(answer) => {
                rows = answer.rows.len();
                remark = remark.or(answer.difference(&expected, statement.is_ordered));
            }
        }
    }
    let outcome = Outcome {
        query: statement.title.to_owned(),
        tier,
        rows,
        seconds: median(seconds),
        plain_seconds: median(plain_seconds),
        equal: remark.is_none(),
    };
    Ok((outcome, remark))
}

/// How the coordinator answered the statement before this one.
async fn last_tier(client: &Client) -> String {
    let answer = Answer::ask(client, "SHOW atoll.last_tier").await;
    let tier = answer.ok().and_then(|answer| answer.rows.into_iter().next()?.into_iter().next()?);
    tier.unwrap_or_else(|| "unknown".to_owned())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn write_json(path: &Path, facts: &(impl Serialize + ?Sized)) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    let text = serde_json::to_string_pretty(facts)? + "\n";
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_exactly_the_promised_keys() {
        let outcome = Outcome {
            query: "q".to_owned(),
            tier: "relay".to_owned(),
            rows: 1,
            seconds: 0.5,
            plain_seconds: 0.25,
            equal: true,
        };
        assert_eq!(
            serde_json::to_string(&outcome).unwrap(),
            r#"{"query":"q","tier":"relay","rows":1,"seconds":0.5,"plain_seconds":0.25,"equal":true}"#
        );
    }

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    }

    #[tokio::test]
    async fn only_an_earlier_demonstration_is_wiped() {
        let dir = tempfile::tempdir().unwrap();
        let owner = Owner {
            uid: nix::unistd::Uid::effective(),
            gid: nix::unistd::Gid::effective(),
            groups: Vec::new(),
            run_as: String::new(),
        };
        let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
        make_room(&ours, &owner).await.unwrap();
        std::fs::write(ours.join("leftover"), "").unwrap();
        make_room(&ours, &owner).await.unwrap();
        assert!(!ours.join("leftover").exists());
        std::fs::create_dir(&theirs).unwrap();
        std::fs::write(theirs.join("thesis.tex"), "").unwrap();
        assert!(make_room(&theirs, &owner).await.is_err());
        assert!(theirs.join("thesis.tex").exists());
    }
}
