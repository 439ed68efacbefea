//! Several fragments at a time on one group's node: the same answers, one snapshot, nothing left behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use atoll_tests::client::Client;
use atoll_tests::cluster::{Cluster, ClusterOptions};
use atoll_tests::servers::checks_itself;

const ROWS: u32 = 3_000;

fn fails(client: &mut Client, sql: &str, sqlstate: &str) -> Result<()> {
    let error = client.simple(sql)?.error.with_context(|| format!("{sql} succeeded"))?;
    ensure!(error.sqlstate() == sqlstate, "{sql}: {error}");
    Ok(())
}

#[test]
fn several_fragments_of_a_group() -> Result<()> {
    if checks_itself() {
        return Ok(());
    }
    let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let options = ClusterOptions {
        // All work counts as long.
        environment: vec![setting("ATOLL_LONG_FRAGMENT_COST", "0"), setting("ATOLL_GROUP_FRAGMENTS_MAX", "3")],
        ..ClusterOptions::new(1, 8)
    };
    let cluster = Cluster::start_with(&options)?;
    let mut client = Client::connect(cluster.target(), "app")?;
    client.execute("CREATE TABLE t (id int PRIMARY KEY, v int)")?;
    client.execute("SELECT create_distributed_table('t', 'id')")?;
    client.execute(&format!("INSERT INTO t SELECT i, i % 100 FROM generate_series(1, {ROWS}) i"))?;

    let plan = client.execute("EXPLAIN ANALYZE SELECT v, count(*) FROM t GROUP BY v")?;
    ensure!(plan.contains("by 3 fragments of 1 groups"), "{plan}");
    let groups = client.execute("SELECT v, count(*) FROM t WHERE v < 2 GROUP BY v ORDER BY v")?;
    ensure!(groups == "0\n30\n1\n30", "{groups}");
    let first = client.execute("SELECT id FROM t ORDER BY id DESC LIMIT 2")?;
    ensure!(first == "3000\n2999", "{first}");

    // What a transaction has written itself, only its own backends see.
    client.execute("BEGIN")?;
    client.execute("INSERT INTO t VALUES (0, 0)")?;
    ensure!(client.execute("SELECT count(*) FROM t")? == "3001", "the transaction's own row is missing");
    client.execute("ROLLBACK")?;
    let locked = client.execute("SELECT id FROM t WHERE v = 7 ORDER BY id LIMIT 1 FOR UPDATE")?;
    ensure!(locked == "7", "{locked}");

    // Errors and cancels leave nothing open: no lock stands in the way afterwards.
    fails(&mut client, "SELECT sum(1 / (v - 5)) FROM t", "22012")?;
    client.execute("SET statement_timeout = '300ms'")?;
    let long = "SELECT count(*) FROM t WHERE (SELECT sum(s) FROM generate_series(1, 1000000 + t.v) s) > 0";
    fails(&mut client, long, "57014")?;
    client.execute("RESET statement_timeout")?;
    moved_rows_are_seen_once(&cluster, &mut client)?;
    client.execute("SET lock_timeout = '5s'")?;
    client.execute("ALTER TABLE t ADD COLUMN w int")?;
    Ok(())
}

/// Amounts move between shards while they are added up: each sum is of one point in time.
fn moved_rows_are_seen_once(cluster: &Cluster, client: &mut Client) -> Result<()> {
    let total = client.execute("SELECT sum(v) FROM t")?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| -> Result<()> {
            let mut writer = Client::connect(cluster.target(), "app")?;
            let mut next = 0;
            while !done.load(Ordering::SeqCst) {
                let (one, other) = (1 + next % ROWS, 1 + (next * 7 + 3) % ROWS);
                next += 1;
                writer.execute(&format!(
                    "BEGIN; UPDATE t SET v = v + 1 WHERE id = {one}; UPDATE t SET v = v - 1 WHERE id = {other}; COMMIT"
                ))?;
            }
            Ok(())
        });
        let mut outcome = Ok(());
        for _ in 0..50 {
            match client.execute("SELECT sum(v) FROM t") {
                Ok(sum) if sum == total => {}
                Ok(sum) => outcome = Err(anyhow::anyhow!("{sum} instead of {total}")),
                Err(error) => outcome = Err(error),
            }
        }
        done.store(true, Ordering::SeqCst);
        writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        outcome
    })
}
