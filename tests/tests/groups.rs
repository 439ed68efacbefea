//! Groups with replicas, as `atoll` shows and commands them. Each test has a cluster of its own.

use std::fs;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use atoll_tests::cluster::{Cluster, ClusterOptions, shown};
use atoll_tests::servers::{Case, run_cases};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A lease of 6 s has to run out, and a lost node to be rewound or copied.
const CHANGE_MAX: Duration = Duration::from_secs(90);
const COMMAND_MAX: Duration = Duration::from_secs(120);
const ROWS: &str = "500";

const TESTS: &[(&str, Case)] = &[
    ("replicas_stream_and_the_next_start_keeps_the_primaries", replicas_stream_and_the_next_start_keeps_the_primaries),
    ("a_dead_machine_is_replaced_and_returns", a_dead_machine_is_replaced_and_returns),
    ("a_primary_without_its_data_becomes_a_replica", a_primary_without_its_data_becomes_a_replica),
    ("nodes_come_and_go", nodes_come_and_go),
    ("a_switchover_loses_nothing", a_switchover_loses_nothing),
    ("a_forced_failover_says_what_may_be_lost", a_forced_failover_says_what_may_be_lost),
    ("a_stopped_coordinator_is_passed_over", a_stopped_coordinator_is_passed_over),
    ("replicas_of_a_cluster_with_passwords", replicas_of_a_cluster_with_passwords),
];

fn main() -> ExitCode {
    run_cases(TESTS)
}

/// A cluster of two groups with a replica each, and a distributed table with rows.
fn start(arguments: &[&str]) -> Result<Cluster> {
    let mut options = ClusterOptions::new(2, 4);
    options.arguments = ["--replicas", "1"].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
    let cluster = Cluster::start_with(&options)?;
    cluster.execute("CREATE TABLE kept (id int8 PRIMARY KEY)")?;
    cluster.execute("SELECT create_distributed_table('kept', 'id')")?;
    cluster.execute(&format!("INSERT INTO kept SELECT generate_series(1, {ROWS})"))?;
    Ok(cluster)
}

fn check_rows(cluster: &Cluster) -> Result<()> {
    let count = cluster.execute("SELECT count(*) FROM kept")?;
    ensure!(count == ROWS, "{count} rows of {ROWS}");
    Ok(())
}

/// Runs `atoll` and returns what it printed; it must succeed.
fn atoll(cluster: &Cluster, words: &[&str]) -> Result<String> {
    let arguments: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
    let output = cluster.atoll(&arguments, COMMAND_MAX)?;
    ensure!(output.status.success(), "atoll {}: {}", words.join(" "), shown(&output));
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs `atoll`, which must fail with 1, and returns what it said.
fn refused(cluster: &Cluster, words: &[&str]) -> Result<String> {
    let arguments: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
    let output = cluster.atoll(&arguments, COMMAND_MAX)?;
    ensure!(output.status.code() == Some(1), "atoll {}: {}", words.join(" "), shown(&output));
    Ok(String::from_utf8(output.stderr)?)
}

/// A group's nodes as `status` shows them.
fn nodes(cluster: &Cluster, group: &str) -> Result<Vec<Value>> {
    let status = cluster.status()?;
    let groups = status["groups"].as_array().context("no groups")?;
    let found =
        groups.iter().find(|shown| shown["name"] == group).with_context(|| format!("no {group} in {status}"))?;
    Ok(found["nodes"].as_array().context("no nodes")?.clone())
}

/// `g1-n1 primary, g1-n2 replica`.
fn roles(cluster: &Cluster, group: &str) -> Result<String> {
    let role =
        |node: &Value| format!("{} {}", node["name"].as_str().unwrap_or("?"), node["role"].as_str().unwrap_or("?"));
    Ok(nodes(cluster, group)?.iter().map(role).collect::<Vec<_>>().join(", "))
}

fn wait_for_roles(cluster: &Cluster, group: &str, expected: &str) -> Result<()> {
    let deadline = Instant::now() + CHANGE_MAX;
    loop {
        let now = roles(cluster, group)?;
        if now == expected {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{expected} expected within {CHANGE_MAX:?}, got {now}\n{}", cluster.log_tails());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn pid(value: &Value) -> Result<Pid> {
    Ok(Pid::from_raw(i32::try_from(value.as_u64().with_context(|| format!("no pid: {value}"))?)?))
}

/// Kills a node's agent and PostgreSQL; they stay away until the returned file is removed.
fn kill_machine(cluster: &Cluster, group: &str, name: &str) -> Result<std::path::PathBuf> {
    let hold = cluster.directory().join(name).join("hold");
    fs::write(&hold, "")?;
    let nodes = nodes(cluster, group)?;
    let node = nodes.iter().find(|node| node["name"] == name).with_context(|| format!("no node {name}"))?;
    kill(pid(&node["agent"]["pid"])?, Signal::SIGKILL)?;
    kill(pid(&node["pid"])?, Signal::SIGKILL)?;
    Ok(hold)
}

fn replicas_stream_and_the_next_start_keeps_the_primaries() -> Result<()> {
    let cluster = start(&["--coordinators", "2", "--zones", "east,west"])?;
    for round in 0..3 {
        for group in ["g1", "g2"] {
            let (now, expected) = (roles(&cluster, group)?, format!("{group}-n1 primary, {group}-n2 replica"));
            ensure!(now == expected, "start {round}: {expected} expected, got {now}");
        }
        check_rows(&cluster)?;
        cluster.down()?;
        cluster.up()?;
    }
    let zones: Vec<_> = nodes(&cluster, "g2")?.iter().map(|node| node["zone"].clone()).collect();
    ensure!(zones == ["east", "west"], "{zones:?}");
    // A stop is no reason for another timeline.
    let history: Value = serde_json::from_str(&atoll(&cluster, &["group", "history", "g2", "--json"])?)?;
    let timelines: Vec<_> = history["history"].as_array().context("history")?.iter().map(|r| &r["timeline"]).collect();
    ensure!(timelines.iter().all(|timeline| **timeline == 1), "{history}");
    Ok(())
}

fn a_dead_machine_is_replaced_and_returns() -> Result<()> {
    let cluster = start(&[])?;
    for group in ["g2", "g1"] {
        let hold = kill_machine(&cluster, group, &format!("{group}-n1"))?;
        wait_for_roles(&cluster, group, &format!("{group}-n1 none, {group}-n2 primary"))?;
        check_rows(&cluster)?;
        cluster.execute("BEGIN; DELETE FROM kept WHERE id < 100; ROLLBACK")?;
        fs::remove_file(hold)?;
        wait_for_roles(&cluster, group, &format!("{group}-n1 replica, {group}-n2 primary"))?;
    }
    let story = cluster.execute("SELECT string_agg(kind, ' ' ORDER BY at) FROM atoll.events WHERE node = 'g2-n2'")?;
    ensure!(story.contains("lease_won promoted established serving"), "{story}");
    // Any node may be the primary at the next start.
    cluster.down()?;
    cluster.up()?;
    wait_for_roles(&cluster, "g1", "g1-n1 replica, g1-n2 primary")?;
    check_rows(&cluster)
}

fn a_primary_without_its_data_becomes_a_replica() -> Result<()> {
    let cluster = start(&[])?;
    cluster.down()?;
    fs::remove_dir_all(cluster.directory().join("g1-n1/data"))?;
    cluster.up()?;
    wait_for_roles(&cluster, "g1", "g1-n1 replica, g1-n2 primary")?;
    check_rows(&cluster)
}

fn nodes_come_and_go() -> Result<()> {
    let cluster = start(&[])?;
    atoll(&cluster, &["node", "add", "--group", "g2", "--zone", "far", "--capacity", "3"])?;
    ensure!(roles(&cluster, "g2")? == "g2-n1 primary, g2-n2 replica, g2-n3 replica", "{}", roles(&cluster, "g2")?);
    let added = nodes(&cluster, "g2")?.pop().context("no node")?;
    ensure!(added["zone"] == "far" && added["capacity"] == 3.0, "{added}");
    ensure!(cluster.execute("SELECT role FROM atoll.nodes WHERE node = 'g2-n3'")? == "replica", "not in atoll.nodes");

    let said = refused(&cluster, &["node", "add", "--group", "g9"])?;
    ensure!(said.contains("g9") && said.contains("g1, g2"), "{said}");
    let said = refused(&cluster, &["node", "remove", "g2-n1"])?;
    ensure!(said.contains("atoll group switchover g2"), "{said}");
    let said = refused(&cluster, &["node", "rebuild", "g2-n1"])?;
    ensure!(said.contains("primary"), "{said}");

    atoll(&cluster, &["node", "rebuild", "g2-n2"])?;
    wait_for_roles(&cluster, "g2", "g2-n1 primary, g2-n2 replica, g2-n3 replica")?;
    let gone = nodes(&cluster, "g2")?[1].clone();
    atoll(&cluster, &["node", "remove", "g2-n2"])?;
    ensure!(roles(&cluster, "g2")? == "g2-n1 primary, g2-n3 replica", "{}", roles(&cluster, "g2")?);
    ensure!(!cluster.directory().join("g2-n2").exists(), "the removed node's folder is still there");
    for gone in [pid(&gone["pid"])?, pid(&gone["agent"]["pid"])?] {
        ensure!(kill(gone, None).is_err(), "process {gone} of the removed node is alive");
    }
    ensure!(cluster.execute("SELECT count(*) FROM atoll.nodes WHERE node = 'g2-n2'")? == "0", "still in atoll.nodes");
    check_rows(&cluster)?;

    cluster.down()?;
    atoll(&cluster, &["node", "add", "--group", "g1"])?;
    cluster.up()?;
    wait_for_roles(&cluster, "g1", "g1-n1 primary, g1-n2 replica, g1-n3 replica")?;
    check_rows(&cluster)
}

fn a_switchover_loses_nothing() -> Result<()> {
    let cluster = start(&[])?;
    for (group, to) in [("g1", &[][..]), ("g2", &["--to", "g2-n2"])] {
        atoll(&cluster, &[&["group", "switchover", group], to].concat())?;
        // The command returns when the new primary serves.
        let now = roles(&cluster, group)?;
        ensure!(now.ends_with("-n2 primary"), "{now}");
        wait_for_roles(&cluster, group, &format!("{group}-n1 replica, {group}-n2 primary"))?;
    }
    check_rows(&cluster)?;
    cluster.execute("INSERT INTO kept SELECT generate_series(-50, -1)")?;
    cluster.execute("DELETE FROM kept WHERE id < 0")?;
    let said = refused(&cluster, &["group", "switchover", "g2", "--to", "g2-n9"])?;
    ensure!(said.contains("g2-n9"), "{said}");

    let history =
        || -> Result<Value> { Ok(serde_json::from_str(&atoll(&cluster, &["group", "history", "g2", "--json"])?)?) };
    let told = history()?;
    ensure!(told["leader"] == "g2-n2" && told["epoch"] == 2 && told["history"][1]["timeline"] == 2, "{told}");
    let text = atoll(&cluster, &["group", "history", "g2"])?;
    ensure!(text.contains("g2-n1, g2-n2; synchronous to 1") && text.contains("promoted"), "{text}");

    atoll(&cluster, &["group", "policy", "g2", "--synchronous", "1", "--strict"])?;
    atoll(&cluster, &["group", "pause", "g2"])?;
    let told = history()?;
    ensure!(told["policy"]["strict"] == true && told["paused"] == true, "{told}");
    atoll(&cluster, &["group", "resume", "g2"])?;
    ensure!(history()?["paused"] == false, "{}", history()?);
    check_rows(&cluster)
}

fn a_forced_failover_says_what_may_be_lost() -> Result<()> {
    let cluster = start(&[])?;
    let said = refused(&cluster, &["group", "failover", "g2", "--force", "--yes"])?;
    ensure!(said.contains("g2 has a primary, g2-n1"), "{said}");
    // Nobody has to have a commit any more, so nobody may be elected.
    atoll(&cluster, &["group", "policy", "g2", "--synchronous", "0"])?;
    std::thread::sleep(Duration::from_secs(2));
    let hold = kill_machine(&cluster, "g2", "g2-n1")?;
    wait_for_roles(&cluster, "g2", "g2-n1 none, g2-n2 none")?;
    std::thread::sleep(Duration::from_secs(8));
    ensure!(roles(&cluster, "g2")? == "g2-n1 none, g2-n2 none", "{}", roles(&cluster, "g2")?);

    let said = refused(&cluster, &["group", "failover", "g2", "--force"])?;
    ensure!(said.contains("g2-n1 acknowledged") && said.contains("LOST") && said.contains("--yes"), "{said}");
    atoll(&cluster, &["group", "failover", "g2", "--force", "--yes"])?;
    wait_for_roles(&cluster, "g2", "g2-n1 none, g2-n2 primary")?;
    check_rows(&cluster)?;
    fs::remove_file(hold)?;
    wait_for_roles(&cluster, "g2", "g2-n1 replica, g2-n2 primary")
}

fn a_stopped_coordinator_is_passed_over() -> Result<()> {
    let cluster = start(&["--coordinators", "2"])?;
    let first = pid(&cluster.status()?["coordinators"][0]["pid"])?;
    kill(first, Signal::SIGSTOP)?;
    let checked = (|| {
        let status = cluster.status()?;
        let states: Vec<_> =
            status["coordinators"].as_array().context("coordinators")?.iter().map(|c| &c["state"]).collect();
        ensure!(states == ["unreachable", "running"], "{states:?}");
        let text = atoll(&cluster, &["group", "history", "g1"])?;
        ensure!(text.starts_with("g1: g1-n1, g1-n2"), "{text}");
        // libpq goes on to the next host, and knows a coordinator as one that takes writes.
        for (wanted, answer) in [("any", "1"), ("read-write", "1"), ("primary", "1"), ("standby", "")] {
            let said = psql_at_any(&status, wanted)?;
            ensure!(said == answer, "{wanted}: {said:?}");
        }
        Ok(())
    })();
    kill(first, Signal::SIGCONT)?;
    checked
}

/// What psql prints for `SELECT 1`, sent to the first coordinator that answers and is as wanted.
fn psql_at_any(status: &Value, target_session_attrs: &str) -> Result<String> {
    let coordinators = status["coordinators"].as_array().context("coordinators")?;
    let ports: Vec<String> = coordinators.iter().map(|coordinator| coordinator["port"].to_string()).collect();
    let connection = format!(
        "host={} port={} user=postgres dbname=app connect_timeout=4 target_session_attrs={target_session_attrs}",
        vec!["127.0.0.1"; ports.len()].join(","),
        ports.join(",")
    );
    let output = Command::new("psql").args(["-XAtqc", "SELECT 1", &connection]).output()?;
    let refused = target_session_attrs == "standby";
    ensure!(output.status.success() != refused, "{target_session_attrs}: {}", shown(&output));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn replicas_of_a_cluster_with_passwords() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("password");
    fs::write(&file, "a secret\n")?;
    let path = file.to_str().context("path")?.to_owned();
    let mut options = ClusterOptions::new(1, 2);
    options.arguments = ["--replicas", "1", "--auth", "scram", "--password-file", &path].map(str::to_owned).to_vec();
    let cluster = Cluster::start_with(&options)?;
    ensure!(roles(&cluster, "g1")? == "g1-n1 primary, g1-n2 replica", "{}", roles(&cluster, "g1")?);
    let hold = kill_machine(&cluster, "g1", "g1-n1")?;
    wait_for_roles(&cluster, "g1", "g1-n1 none, g1-n2 primary")?;
    fs::remove_file(hold)?;
    wait_for_roles(&cluster, "g1", "g1-n1 replica, g1-n2 primary")
}
