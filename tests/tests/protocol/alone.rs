//! What only a cluster can show: nothing stays behind on its nodes, and its own limits.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use atoll_tests::client::Client;
use atoll_tests::cluster::{Cluster, ClusterOptions};
use atoll_tests::message::Messages;
use atoll_tests::transcript::{Talk, VERSION_3_0};

type Test = fn(&Cluster) -> Result<()>;

const GONE_MAX: Duration = Duration::from_secs(20);
/// Backends that work for a client or hold a transaction open.
const BUSY: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
    AND (state LIKE 'idle in transaction%' OR state = 'active') AND query LIKE '%left_behind%'";

pub const TESTS: &[(&str, Test)] = &[
    ("hangup_in_a_statement", |cluster| hangup(cluster, &["SELECT pg_sleep(600) /* left_behind */"])),
    ("hangup_in_a_statement_by_key", |cluster| {
        hangup(cluster, &["SELECT pg_sleep(600) /* left_behind */ FROM pr WHERE id = 5"])
    }),
    ("hangup_in_a_transaction", |cluster| {
        hangup(
            cluster,
            &[
                "BEGIN",
                "UPDATE pr SET v = v WHERE id = 70 /* left_behind */",
                "UPDATE pr SET v = v WHERE id = 71 /* left_behind */",
            ],
        )
    }),
    ("hangup_in_a_copy", hangup_in_a_copy),
    ("hangup_in_a_result", |cluster| {
        hangup(cluster, &["SELECT repeat('x', 1000) /* left_behind */ FROM generate_series(1, 100000000)"])
    }),
    ("gss_encryption_is_declined", gss_encryption_is_declined),
    ("connection_limit", connection_limit),
    ("prepared_transactions_are_finished", prepared_transactions_are_finished),
];

fn busy(cluster: &Cluster) -> Result<u64> {
    let mut count = 0;
    for (name, target) in cluster.nodes()? {
        for database in ["app", "app_data", "postgres"] {
            // `app` is on home only; any one database shows all backends.
            if let Ok(mut client) = Client::connect(&target, database) {
                let busy: u64 = client.simple(BUSY)?.value().with_context(|| name.clone())?.parse()?;
                count += busy;
                break;
            }
        }
    }
    Ok(count)
}

fn hangup(cluster: &Cluster, texts: &[&str]) -> Result<()> {
    let mut talk = Talk::login(cluster.target())?;
    for (index, text) in texts.iter().enumerate() {
        talk.send(&Messages::new().query(text))?;
        if index + 1 < texts.len() {
            talk.until(b'Z')?;
        }
    }
    wait_for("the statement to run on a node", || Ok(busy(cluster)? > 0))?;
    drop(talk);
    wait_for("the abandoned backend to end", || Ok(busy(cluster)? == 0))
}

/// The rows that have come are with the nodes; the client breaks off before the end.
fn hangup_in_a_copy(cluster: &Cluster) -> Result<()> {
    let mut client = Client::connect(cluster.target(), "app")?;
    for sql in [
        "CREATE TABLE left_behind (id int8 PRIMARY KEY, v text)",
        "SELECT create_distributed_table('left_behind', 'id')",
    ] {
        if let Some(error) = client.simple(sql)?.error {
            bail!("{sql}: {error}");
        }
    }
    let mut talk = Talk::login(cluster.target())?;
    talk.send(&Messages::new().query("COPY left_behind FROM STDIN"))?;
    talk.until(b'G')?;
    // More than may be held back before it is worth sending on.
    for batch in 0..400 {
        let rows: String = (0..1000).map(|row| format!("{}\tsome text of row {row}\n", batch * 1000 + row)).collect();
        talk.send(&Messages::new().copy_data(rows.as_bytes()))?;
    }
    wait_for("the COPY to run on a node", || Ok(busy(cluster)? > 0))?;
    drop(talk);
    wait_for("the abandoned COPY to end", || Ok(busy(cluster)? == 0))?;
    let left = client.simple("SELECT count(*) FROM left_behind")?.value()?;
    if left != "0" {
        bail!("{left} rows of an abandoned COPY stayed");
    }
    match client.simple("DROP TABLE left_behind")?.error {
        Some(error) => bail!("DROP TABLE left_behind: {error}"),
        None => Ok(()),
    }
}

fn wait_for(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + GONE_MAX;
    while !condition()? {
        if Instant::now() > deadline {
            bail!("waited {GONE_MAX:?} for {what}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// PostgreSQL may be built to accept it; Atoll is not.
fn gss_encryption_is_declined(cluster: &Cluster) -> Result<()> {
    let mut talk = Talk::connect(cluster.target())?;
    talk.send(&Messages::new().request(80_877_104))?;
    talk.byte()?;
    talk.send(&Messages::new().request(80_877_103))?;
    talk.byte()?;
    talk.send(&Messages::new().startup(VERSION_3_0, &[("user", "postgres"), ("database", "app")]))?;
    talk.until(b'Z')?;
    let lines = talk.end();
    if lines[..3] != ["byte 'N'", "byte 'N'", "Authentication 0"] {
        bail!("{lines:?}");
    }
    Ok(())
}

fn connection_limit(_: &Cluster) -> Result<()> {
    const LIMIT: usize = 6;
    let mut options = ClusterOptions::new(1, 1);
    options.environment.push(("ATOLL_CONNECTIONS_MAX".to_owned(), LIMIT.to_string()));
    let cluster = Cluster::start_with(&options)?;
    let mut held = Vec::new();
    let refusal = loop {
        match Client::connect(cluster.target(), "app") {
            Ok(client) => held.push(client),
            Err(error) => break error,
        }
        if held.len() > LIMIT {
            bail!("{} connections although the limit is {LIMIT}", held.len());
        }
    };
    if !refusal.to_string().contains("53300") {
        bail!("refused with {refusal:#}, not 53300");
    }
    if held.len() < LIMIT - 1 {
        bail!("only {} connections although the limit is {LIMIT}", held.len());
    }
    for client in &mut held {
        client.simple("SELECT 1")?.value()?;
    }
    held.pop();
    wait_for("a place to come free", || Ok(Client::connect(cluster.target(), "app").is_ok()))
}

fn prepared_transactions_are_finished(cluster: &Cluster) -> Result<()> {
    wait_for("no prepared transaction on any node", || {
        let mut count = 0_u64;
        for (_, target) in cluster.nodes()? {
            let mut client = Client::connect(&target, "postgres")?;
            count += client.simple("SELECT count(*) FROM pg_prepared_xacts")?.value()?.parse::<u64>()?;
        }
        Ok(count == 0)
    })
}
