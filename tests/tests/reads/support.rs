//! What the tests of reads share: sessions, who answered, nodes held up or killed.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use atoll_tests::Target;
use atoll_tests::client::Client;
use atoll_tests::cluster::Cluster;
use atoll_tests::outcome::Outcome;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long replicas, and what is known of them, may take to come to where they should be.
pub const SETTLES_WITHIN: Duration = Duration::from_secs(60);
pub const PRIMARY: &str = "g1-n1";
pub const REPLICAS: [&str; 2] = ["g1-n2", "g1-n3"];

pub fn primary(cluster: &Cluster) -> Result<Client> {
    Client::connect(cluster.target(), "app")
}

pub fn preferring(target: &Target, preference: &str) -> Result<Client> {
    let options = format!("-c atoll.read_preference={preference}");
    Client::connect_as(target, &[("user", "postgres"), ("database", "app"), ("options", &options)])
}

pub fn reader(cluster: &Cluster) -> Result<Client> {
    preferring(cluster.target(), "replica")
}

/// The rows as text: fields apart by `|`, rows by a blank.
pub fn rows(outcome: &Outcome) -> String {
    let row = |row: Vec<Option<String>>| row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|");
    outcome.text_rows().into_iter().map(row).collect::<Vec<_>>().join(" ")
}

pub fn ask(client: &mut Client, sql: &str) -> Result<String> {
    let outcome = client.simple(sql)?;
    match &outcome.error {
        Some(error) => bail!("{sql}: {error}"),
        None => Ok(rows(&outcome)),
    }
}

/// The SQLSTATE of a statement that must fail.
pub fn refused(client: &mut Client, sql: &str) -> Result<String> {
    let outcome = client.simple(sql)?;
    let error = outcome.error.with_context(|| format!("{sql}: an error expected, got {:?}", outcome.results))?;
    Ok(error.sqlstate().to_owned())
}

pub fn node(client: &mut Client) -> Result<String> {
    ask(client, "SHOW atoll.last_node")
}

pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + SETTLES_WITHIN;
    loop {
        if let Some(found) = attempt()? {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "{what}: not within {SETTLES_WITHIN:?}");
        sleep(Duration::from_millis(20));
    }
}

/// The answer of a replica: those that may not answer yet, because they are behind, shortly may.
pub fn on_replica(client: &mut Client, sql: &str) -> Result<String> {
    eventually(&format!("a replica answers {sql}"), || {
        let answer = ask(client, sql)?;
        Ok((node(client)? != PRIMARY).then_some(answer))
    })
}

pub fn expect(what: &str, got: &str, expected: &str) -> Result<()> {
    ensure!(got == expected, "{what}: {expected} expected, got {got}");
    Ok(())
}

/// Waits until all replicas serve reads again that require every write so far.
pub fn settle(cluster: &Cluster) -> Result<()> {
    let mut client = reader(cluster)?;
    let mut seen = BTreeSet::new();
    eventually("all replicas answer", || {
        ask(&mut client, "SELECT v FROM plain WHERE k = 1")?;
        seen.insert(node(&mut client)?);
        Ok(REPLICAS.iter().all(|replica| seen.contains(*replica)).then_some(()))
    })
}

/// Runs SQL on the replicas' PostgreSQL itself.
pub fn on_each(cluster: &Cluster, sql: &str) -> Result<()> {
    for (name, target) in cluster.nodes()? {
        if REPLICAS.contains(&name.as_str()) {
            ask(&mut Client::connect(&target, "postgres")?, sql).with_context(|| name)?;
        }
    }
    Ok(())
}

/// Holds replay on all replicas while `test` runs.
pub fn with_replay_paused(cluster: &Cluster, test: impl FnOnce() -> Result<()>) -> Result<()> {
    settle(cluster)?;
    on_each(cluster, "SELECT pg_wal_replay_pause()")?;
    let tested = wait_until_paused(cluster).and_then(|()| test());
    on_each(cluster, "SELECT pg_wal_replay_resume()")?;
    tested.and_then(|()| settle(cluster))
}

pub fn wait_until_paused(cluster: &Cluster) -> Result<()> {
    for (name, target) in cluster.nodes()?.iter().filter(|(name, _)| name != PRIMARY) {
        let mut client = Client::connect(target, "postgres")?;
        eventually(&format!("{name} pauses"), || {
            Ok((ask(&mut client, "SELECT pg_get_wal_replay_pause_state()")? == "paused").then_some(()))
        })?;
    }
    Ok(())
}

/// What `atoll status` says of a node.
pub fn status_of(cluster: &Cluster, name: &str) -> Result<Value> {
    let status = cluster.status()?;
    let nodes = status["groups"][0]["nodes"].as_array().context("no nodes")?;
    nodes.iter().find(|node| node["name"] == name).cloned().with_context(|| format!("no node {name}"))
}

pub fn pid(value: &Value) -> Result<Pid> {
    Ok(Pid::from_raw(i32::try_from(value.as_u64().with_context(|| format!("no pid: {value}"))?)?))
}

/// Keeps a node away for as long as it lives.
pub struct Hold(PathBuf);

impl Drop for Hold {
    fn drop(&mut self) {
        // The cluster may be gone already.
        let _ = fs::remove_file(&self.0);
    }
}

/// Kills a node's agent and PostgreSQL.
pub fn kill_machine(cluster: &Cluster, name: &str) -> Result<Hold> {
    let hold = Hold(cluster.directory().join(name).join("hold"));
    fs::write(&hold.0, "")?;
    let node = status_of(cluster, name)?;
    kill(pid(&node["agent"]["pid"])?, Signal::SIGKILL)?;
    kill(pid(&node["pid"])?, Signal::SIGKILL)?;
    Ok(hold)
}
