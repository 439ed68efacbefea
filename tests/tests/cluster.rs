//! `atoll up`, `down` and `status` as users and scripts rely on them. Each test has a cluster of its own.

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use atoll_tests::client::Client;
use atoll_tests::cluster::{Cluster, ClusterOptions, run_within, shown, sibling};
use atoll_tests::servers::{Case, run_cases};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long a killed process may stay away.
const BACK_MAX: Duration = Duration::from_secs(60);

const TESTS: &[(&str, Case)] = &[
    ("status_has_the_promised_keys", status_has_the_promised_keys),
    ("second_up_keeps_data", second_up_keeps_data),
    ("up_while_running_changes_nothing", up_while_running_changes_nothing),
    ("killed_coordinator_comes_back", || killed_comes_back(coordinator_pid)),
    ("killed_agent_comes_back", || killed_comes_back(agent_pid)),
    ("killed_postgres_comes_back", || killed_comes_back(postgres_pid)),
    ("down_leaves_no_process", down_leaves_no_process),
    ("down_twice", down_twice),
    ("status_of_nothing_fails", status_of_nothing_fails),
    ("taken_port_is_named", taken_port_is_named),
    ("missing_postgres_is_named", missing_postgres_is_named),
    ("wrong_usage_exits_2", wrong_usage_exits_2),
    ("replicas_take_over", replicas_take_over),
    ("password_is_asked_for", password_is_asked_for),
    ("null_keys_have_no_shard", null_keys_have_no_shard),
    ("own_settings_take_what_works", own_settings_take_what_works),
    ("sessions_end_by_their_process_ids", sessions_end_by_their_process_ids),
];

fn main() -> ExitCode {
    run_cases(TESTS)
}

/// A distributed and a plain table with rows.
fn fill(cluster: &Cluster) -> Result<()> {
    cluster.execute("CREATE TABLE kept (id int8 PRIMARY KEY, v text)")?;
    cluster.execute("INSERT INTO kept SELECT i, 'v' || i FROM generate_series(1, 100) i")?;
    cluster.execute("SELECT create_distributed_table('kept', 'id')")?;
    cluster.execute("CREATE TABLE kept_plain AS SELECT 7 AS n")?;
    Ok(())
}

fn check_filled(cluster: &Cluster) -> Result<()> {
    for (sql, expected) in [
        ("SELECT count(*) FROM kept", "100"),
        ("SELECT v FROM kept WHERE id = 42", "v42"),
        ("SELECT n FROM kept_plain", "7"),
    ] {
        let got = cluster.execute(sql)?;
        ensure!(got == expected, "{sql}: {expected} expected, got {got}");
    }
    Ok(())
}

fn status_has_the_promised_keys() -> Result<()> {
    let cluster = Cluster::start(2, 6)?;
    let status = cluster.status()?;
    let list = |value: &Value, key: &str| -> Result<Vec<Value>> {
        Ok(value[key].as_array().with_context(|| format!("{key} is no list in {value}"))?.clone())
    };
    let has = |value: &Value, keys: &[&str]| -> Result<()> {
        for key in keys {
            ensure!(value.get(key).is_some(), "no {key} in {value}");
        }
        Ok(())
    };
    let coordinators = list(&status, "coordinators")?;
    ensure!(coordinators.len() == 1, "{coordinators:?}");
    has(&coordinators[0], &["name", "host", "port", "pid", "state"])?;
    ensure!(coordinators[0]["port"] == u64::from(cluster.target().port), "{coordinators:?}");
    let groups = list(&status, "groups")?;
    ensure!(groups.len() == 2, "{groups:?}");
    ensure!(groups.iter().filter(|group| group["home"] == true).count() == 1, "one home: {groups:?}");
    let mut names = Vec::new();
    for group in &groups {
        has(group, &["name", "home", "epoch", "nodes"])?;
        names.push(group["name"].as_str().context("group without a name")?);
        for node in list(group, "nodes")? {
            has(
                &node,
                &[
                    "name",
                    "role",
                    "state",
                    "zone",
                    "capacity",
                    "host",
                    "port",
                    "data_dir",
                    "pid",
                    "agent",
                    "lag_bytes",
                    "load",
                ],
            )?;
            has(&node["agent"], &["address", "pid"])?;
            ensure!(node["role"] == "primary", "{node}");
        }
    }
    let shards = list(&status, "shards")?;
    ensure!(shards.len() == 6, "6 shards before any table: {shards:?}");
    for shard in &shards {
        has(shard, &["id", "group", "epoch", "bytes", "state"])?;
        let group = shard["group"].as_str().context("shard without a group")?;
        ensure!(names.contains(&group), "{shard}");
    }
    for name in &names {
        let count = shards.iter().filter(|shard| shard["group"] == *name).count();
        ensure!(count == 3, "{count} shards on {name}");
    }
    let text = cluster.atoll(&["status".to_owned()], Duration::from_secs(30))?;
    ensure!(text.status.success() && !text.stdout.is_empty(), "{}", shown(&text));
    Ok(())
}

fn second_up_keeps_data() -> Result<()> {
    let cluster = Cluster::start(2, 4)?;
    fill(&cluster)?;
    cluster.down()?;
    ensure!(Client::connect(cluster.target(), "app").is_err(), "it still answers after down");
    cluster.up()?;
    check_filled(&cluster)?;
    cluster.execute("INSERT INTO kept VALUES (1000, 'after')")?;
    Ok(())
}

fn up_while_running_changes_nothing() -> Result<()> {
    let cluster = Cluster::start(1, 2)?;
    fill(&cluster)?;
    let before = coordinator_pid(&cluster.status()?)?;
    // It may say that the cluster runs already, or refuse; it must not harm it.
    let port = cluster.target().port.to_string();
    let arguments = ["up", "--detach", "--groups", "1", "--shards", "2", "--port", &port].map(str::to_owned);
    let output = cluster.atoll(&arguments, Duration::from_secs(60))?;
    ensure!(matches!(output.status.code(), Some(0 | 1)), "{}", shown(&output));
    ensure!(coordinator_pid(&cluster.status()?)? == before, "another coordinator");
    check_filled(&cluster)
}

fn pid(value: &Value) -> Result<i32> {
    Ok(i32::try_from(value.as_u64().with_context(|| format!("no pid: {value}"))?)?)
}

fn coordinator_pid(status: &Value) -> Result<i32> {
    pid(&status["coordinators"][0]["pid"])
}

fn last_node(status: &Value) -> Result<Value> {
    let groups = status["groups"].as_array().context("no groups")?;
    Ok(groups.last().context("no group")?["nodes"][0].clone())
}

fn agent_pid(status: &Value) -> Result<i32> {
    pid(&last_node(status)?["agent"]["pid"])
}

fn postgres_pid(status: &Value) -> Result<i32> {
    pid(&last_node(status)?["pid"])
}

fn killed_comes_back(which: fn(&Value) -> Result<i32>) -> Result<()> {
    let cluster = Cluster::start(2, 4)?;
    fill(&cluster)?;
    let victim = which(&cluster.status()?)?;
    kill(Pid::from_raw(victim), Signal::SIGKILL)?;
    let deadline = Instant::now() + BACK_MAX;
    loop {
        // While it is away, status may fail and statements may be refused.
        let back = cluster.status().and_then(|status| which(&status)).is_ok_and(|now| now != victim);
        if back && check_filled(&cluster).is_ok() {
            break;
        }
        if Instant::now() > deadline {
            let reason = check_filled(&cluster).err().map_or("filled".to_owned(), |error| format!("{error:#}"));
            bail!("process {victim} did not come back within {BACK_MAX:?}: {reason}\n{}", cluster.log_tails());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    cluster.execute("INSERT INTO kept VALUES (2000, 'after'), (2001, 'after'), (2002, 'after'), (2003, 'after')")?;
    Ok(())
}

/// Every process of a cluster by its pid in the status.
fn pids(status: &Value) -> Result<Vec<i32>> {
    let mut pids = vec![coordinator_pid(status)?];
    for group in status["groups"].as_array().context("no groups")? {
        for node in group["nodes"].as_array().context("no nodes")? {
            pids.push(pid(&node["pid"])?);
            pids.push(pid(&node["agent"]["pid"])?);
        }
    }
    Ok(pids)
}

fn down_leaves_no_process() -> Result<()> {
    let cluster = Cluster::start(2, 2)?;
    let mut pids = pids(&cluster.status()?)?;
    let supervisor = fs::read_to_string(cluster.directory().join("supervisor.pid"))?;
    pids.push(supervisor.trim().parse()?);
    // Sessions that are open, and one in the middle of a transaction, do not hold it up.
    let mut open = Client::connect(cluster.target(), "app")?;
    open.simple("BEGIN; SELECT 1")?;
    let begun = Instant::now();
    cluster.down()?;
    ensure!(begun.elapsed() < Duration::from_secs(30), "down took {:?}", begun.elapsed());
    let alive: Vec<&i32> = pids.iter().filter(|pid| kill(Pid::from_raw(**pid), None).is_ok()).collect();
    ensure!(alive.is_empty(), "still running after down: {alive:?}");
    Ok(())
}

fn down_twice() -> Result<()> {
    let cluster = Cluster::start(1, 1)?;
    cluster.down()?;
    let output = cluster.atoll(&["down".to_owned()], Duration::from_secs(30))?;
    ensure!(output.status.code() == Some(0), "{}", shown(&output));
    Ok(())
}

fn status_of_nothing_fails() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut command = std::process::Command::new(sibling("atoll")?);
    command.args(["status", "--json", "--dir"]).arg(folder.path().join("nothing"));
    let output = run_within(&mut command, Duration::from_secs(30))?;
    ensure!(output.status.code() == Some(1), "{}", shown(&output));
    ensure!(!output.stderr.is_empty(), "it fails without a word");
    Ok(())
}

fn taken_port_is_named() -> Result<()> {
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port().to_string();
    let mut options = ClusterOptions::new(1, 1);
    options.arguments = vec!["--port".to_owned(), port.clone()];
    start_fails(&options, &[&port])
}

fn missing_postgres_is_named() -> Result<()> {
    let mut options = ClusterOptions::new(1, 1);
    options.arguments = vec!["--pg-bindir".to_owned(), "/no/such/bindir".to_owned()];
    start_fails(&options, &["/no/such/bindir"])
}

/// `atoll up` fails with exit code 1 and says why, and leaves nothing running.
fn start_fails(options: &ClusterOptions, words: &[&str]) -> Result<()> {
    let root = tempfile::Builder::new().prefix("atoll-test-").tempdir_in("/tmp")?;
    fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let directory = root.path().join("c");
    let atoll = sibling("atoll")?;
    let mut command = std::process::Command::new(&atoll);
    command
        .args(["up", "--detach", "--groups", "1", "--shards", "1"])
        .args(&options.arguments)
        .arg("--dir")
        .arg(&directory);
    let output = run_within(&mut command, Duration::from_secs(120));
    let mut down = std::process::Command::new(&atoll);
    run_within(down.args(["down", "--dir"]).arg(&directory), Duration::from_secs(60))?;
    let output = output?;
    ensure!(output.status.code() == Some(1), "{}", shown(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    for word in words {
        ensure!(said.contains(word), "{word:?} is not in: {said}");
    }
    Ok(())
}

fn wrong_usage_exits_2() -> Result<()> {
    for arguments in [
        &["nope"][..],
        &["up", "--nope"],
        &["up", "--groups", "x"],
        &["up", "--groups", "0"],
        &["status", "extra"],
        &["group", "failover", "g1"],
        &["node", "add"],
    ] {
        let mut command = std::process::Command::new(sibling("atoll")?);
        command.args(arguments).args(["--dir", "/tmp/atoll-test-wrong-usage"]);
        let output = run_within(&mut command, Duration::from_secs(30))?;
        ensure!(output.status.code() == Some(2), "{arguments:?}: {}", shown(&output));
    }
    Ok(())
}

/// The names of a group's nodes in a role.
fn nodes_as(status: &Value, group: usize, role: &str) -> Result<Vec<String>> {
    let nodes = status["groups"][group]["nodes"].as_array().context("no nodes")?;
    let named = nodes.iter().filter(|node| node["role"] == role).filter_map(|node| node["name"].as_str());
    Ok(named.map(str::to_owned).collect())
}

fn replicas_take_over() -> Result<()> {
    let mut options = ClusterOptions::new(2, 4);
    options.arguments = vec!["--replicas".into(), "1".into()];
    let cluster = Cluster::start_with(&options)?;
    fill(&cluster)?;
    let status = cluster.status()?;
    for group in 0..2 {
        let roles = (nodes_as(&status, group, "primary")?.len(), nodes_as(&status, group, "replica")?.len());
        ensure!(roles == (1, 1), "{status}");
    }
    let successor = nodes_as(&status, 1, "replica")?;
    let arguments = ["group", "switchover", "g2"].map(str::to_owned);
    let switched = cluster.atoll(&arguments, Duration::from_secs(60))?;
    ensure!(switched.status.success(), "{}", shown(&switched));
    check_filled(&cluster)?;
    cluster.execute("INSERT INTO kept VALUES (2000, 'after'), (2001, 'after'), (2002, 'after'), (2003, 'after')")?;
    let deadline = Instant::now() + BACK_MAX;
    loop {
        let status = cluster.status()?;
        let (primary, replica) = (nodes_as(&status, 1, "primary")?, nodes_as(&status, 1, "replica")?);
        if primary == successor && replica.len() == 1 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "group g2 is not whole: {status}\n{}", cluster.log_tails());
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn password_is_asked_for() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("password");
    fs::write(&file, "a secret\n")?;
    let mut options = ClusterOptions::new(1, 1);
    let path = file.to_str().context("path")?.to_owned();
    options.arguments = vec!["--auth".into(), "scram".into(), "--password-file".into(), path];
    let cluster = Cluster::start_with(&options)?;
    let refused = Client::connect(cluster.target(), "app").err().context("let in without a password")?;
    ensure!(refused.to_string().contains("authentication method 10"), "{refused:#}");
    let psql = |password: &str| -> Result<std::process::Output> {
        let mut command = std::process::Command::new(atoll_tests::plain::bindir()?.join("psql"));
        command
            .args(["-X", "-At", "-w", "-c", "SELECT 'let in'", "-d", &cluster.target().conninfo()])
            .env("PGPASSWORD", password);
        run_within(&mut command, Duration::from_secs(30))
    };
    let right = psql("a secret")?;
    ensure!(right.stdout == b"let in\n", "{}", shown(&right));
    let wrong = psql("wrong")?;
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    ensure!(
        wrong.status.code() == Some(2) && said.contains("password authentication failed for user \"postgres\""),
        "{said}"
    );
    Ok(())
}

/// That a statement fails with this SQLSTATE.
fn fails(cluster: &Cluster, sql: &str, sqlstate: &str) -> Result<()> {
    match cluster.execute(sql) {
        Ok(got) => anyhow::bail!("{sql}: {sqlstate} expected, got {got}"),
        Err(error) => ensure!(format!("{error:#}").contains(sqlstate), "{sql}: {sqlstate} expected, got {error:#}"),
    }
    Ok(())
}

fn null_keys_have_no_shard() -> Result<()> {
    let cluster = Cluster::start(2, 4)?;
    cluster.execute("CREATE TABLE keyed (k int, v text)")?;
    cluster.execute("SELECT create_distributed_table('keyed', 'k')")?;
    cluster.execute("ALTER TABLE keyed ALTER COLUMN k DROP NOT NULL")?;
    for sql in [
        "INSERT INTO keyed VALUES (NULL, 'one')",
        "INSERT INTO keyed VALUES (1, 'a'), (NULL, 'b')",
        "INSERT INTO keyed (v) VALUES ('no key')",
        "INSERT INTO keyed SELECT NULL::int, 'selected'",
        "INSERT INTO keyed SELECT NULLIF(i, 2), 'computed' FROM generate_series(1, 3) i",
    ] {
        fails(&cluster, sql, "23502")?;
    }
    let got = cluster.execute("SELECT count(*) FROM keyed")?;
    ensure!(got == "0", "{got} rows after refused inserts");
    cluster.execute("SELECT undistribute_table('keyed')")?;
    cluster.execute("INSERT INTO keyed VALUES (NULL, 'as the table says')")?;
    Ok(())
}

fn own_settings_take_what_works() -> Result<()> {
    let cluster = Cluster::start(1, 1)?;
    for (sql, sqlstate) in [
        ("SET atoll.merge_engine = 'fast'", "22023"),
        ("SELECT set_config('atoll.merge_engine', 'fast', false)", "22023"),
        ("SELECT set_config('atoll.merge_engine', 'fa' || 'st', false)", "22023"),
        ("SELECT set_config('atoll.unknown', 'x', false)", "42704"),
        ("SELECT set_config('atoll.session_token', 'no token', false)", "22023"),
        ("ALTER ROLE postgres SET atoll.read_preference = 'secondary'", "22023"),
        ("ALTER DATABASE app SET atoll.unknown = 'x'", "42704"),
    ] {
        fails(&cluster, sql, sqlstate)?;
    }
    cluster.execute("ALTER ROLE postgres SET atoll.merge_engine = 'postgres'")?;
    let got = cluster.execute("SHOW atoll.merge_engine")?;
    ensure!(got == "postgres", "the role's merge engine is not {got}");
    let got = cluster.execute("SELECT set_config('atoll.merge_engine', 'data' || 'fusion', false)")?;
    ensure!(got == "datafusion", "{got}");
    Ok(())
}

fn sessions_end_by_their_process_ids() -> Result<()> {
    let cluster = Cluster::start(1, 1)?;
    let mut other = Client::connect(cluster.target(), "app")?;
    let pid = other.execute("SELECT pg_backend_pid()")?;
    let got = cluster.execute(&format!("SELECT pg_cancel_backend({pid})"))?;
    ensure!(got == "t", "cancelled: {got}");
    ensure!(other.execute("SELECT 1")? == "1", "a cancel ended an idle session");
    cluster.execute("CREATE ROLE nobody LOGIN")?;
    let mut powerless = Client::connect(cluster.target(), "app")?;
    powerless.execute("SET ROLE nobody")?;
    ensure!(
        powerless.execute(&format!("SELECT pg_terminate_backend({pid})")).is_err(),
        "anybody may end a superuser's session"
    );
    let got = cluster.execute(&format!("SELECT pg_terminate_backend({pid})"))?;
    ensure!(got == "t", "ended: {got}");
    let error = other.execute("SELECT 1").err().context("the session lives on")?;
    ensure!(format!("{error:#}").contains("57P01"), "{error:#}");
    // No session of that number any more; PostgreSQL has none either.
    let got = cluster.execute("SELECT pg_terminate_backend(2147483647)")?;
    ensure!(got == "f", "{got}");
    Ok(())
}
