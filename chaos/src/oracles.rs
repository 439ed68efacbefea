//! What must be true whatever was broken. Every oracle returns what is wrong, one line each; nothing: all is well.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Client;

use crate::lab::Lab;
use crate::lab::node::Node;
use crate::load::ledger::{Entry, Ledger, Log, Outcome};
use crate::load::{ACCOUNTS, BALANCE, Load, rows};

/// Lines of one kind that are shown.
const SHOWN: usize = 10;
/// A read of one writer's rows.
const READ_MAX: Duration = Duration::from_secs(60);
/// How long replicas may take to replay what their primary has.
const REPLAY_MAX: Duration = Duration::from_secs(30);
/// How long what dead coordinators left of distributed transactions may take to be finished.
const FINISH_MAX: Duration = Duration::from_secs(60);

/// What the oracles found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Acknowledged and not there.
    pub lost: u64,
    /// Refused and there.
    pub denied: u64,
    /// There more than once, or never made.
    pub doubled: u64,
    pub wrong: Vec<String>,
}

/// Every acknowledged write is there once, every refused one is not, and the accounts hold what the transfers that are there say. The
/// writers must rest.
///
/// # Errors
/// When the cluster cannot be read.
pub async fn rows_are_right(load: &Load, begun: Instant) -> Result<Findings> {
    let client = load.client().await?;
    let ledger = load.ledger();
    let mut findings = Findings::default();
    for log in ledger.inserts {
        let found = read(&client, &format!("SELECT seq FROM inserts WHERE writer = {}", log.writer)).await?;
        compare("insert", log, &found, begun, &mut findings);
    }
    let mut balances = vec![BALANCE; usize::try_from(ACCOUNTS)?];
    for log in ledger.transfers {
        let sql = format!("SELECT seq, debited, credited, amount FROM transfers WHERE writer = {}", log.writer);
        let found = read(&client, &sql).await?;
        for row in &found {
            balances[usize::try_from(row[1])?] -= row[3];
            balances[usize::try_from(row[2])?] += row[3];
        }
        compare("transfer", log, &found, begun, &mut findings);
    }
    for row in read(&client, "SELECT id, balance FROM accounts ORDER BY id").await? {
        let expected = balances[usize::try_from(row[0])?];
        if row[1] != expected {
            findings.wrong.push(format!("account {} holds {}, its transfers say {expected}", row[0], row[1]));
        }
    }
    let sum = read(&client, "SELECT sum(balance)::int8 FROM accounts").await?;
    if sum != [[i64::from(ACCOUNTS) * BALANCE]] {
        findings.wrong.push(format!("the accounts' sum is {sum:?}, not {}", i64::from(ACCOUNTS) * BALANCE));
    }
    Ok(findings)
}

/// Rows of integers.
async fn read(client: &Client, sql: &str) -> Result<Vec<Vec<i64>>> {
    let answer = timeout(READ_MAX, client.simple_query(sql)).await;
    let answer = answer.with_context(|| format!("no answer within {READ_MAX:?}: {sql}"))?.context(sql.to_owned())?;
    let number = |text: &String| text.parse::<i64>().with_context(|| format!("{sql}: {text}"));
    rows(&answer).iter().map(|row| row.iter().map(number).collect()).collect()
}

/// Compares what a writer knows with the rows that are there, whose first column is `seq`.
fn compare(what: &str, log: &Log, found: &[Vec<i64>], begun: Instant, findings: &mut Findings) {
    let mut times: HashMap<i64, u64> = HashMap::new();
    let mut moved: HashMap<i64, &[i64]> = HashMap::new();
    for row in found {
        *times.entry(row[0]).or_default() += 1;
        moved.insert(row[0], &row[1..]);
    }
    let mut shown = 0;
    for entry in &*log.entries() {
        let count = times.remove(&entry.seq).unwrap_or(0);
        let verdict = match (&entry.outcome, count) {
            (Outcome::Acknowledged(place), 0) => {
                findings.lost += 1;
                format!("acknowledged by {} on timeline {} and lost", place.node, place.timeline)
            }
            (Outcome::Refused, 1..) => {
                findings.denied += 1;
                "refused, but there".to_owned()
            }
            (_, 2..) => {
                findings.doubled += count - 1;
                format!("there {count} times")
            }
            (_, 1) if moved.get(&entry.seq).is_some_and(|is| !is.is_empty() && *is != entry.moved) => {
                format!("there as {:?}, but it was {:?}", moved.get(&entry.seq), entry.moved)
            }
            _ => continue,
        };
        shown += 1;
        if shown <= SHOWN {
            findings.wrong.push(format!(
                "{what} {} {} of writer {}: {verdict}",
                entry.seq,
                when(entry, begun),
                log.writer
            ));
        }
    }
    if shown > SHOWN {
        findings.wrong.push(format!("and {} more of writer {}", shown - SHOWN, log.writer));
    }
    for seq in times.keys() {
        findings.doubled += 1;
        findings.wrong.push(format!("{what} {seq} of writer {} is there and was never made", log.writer));
    }
}

fn when(entry: &Entry, begun: Instant) -> String {
    let seconds = |at: Instant| at.saturating_duration_since(begun).as_secs_f64();
    format!("(sent at {:.3} s, answered at {:.3} s)", seconds(entry.sent), seconds(entry.done))
}

/// No two servers acknowledged writes in one reign.
pub fn one_writer_at_a_time(ledger: &Ledger<'_>) -> Vec<String> {
    ledger.double_writers()
}

/// Errors that no fault excuses: the suite's own statements are right, and nothing may break inside.
pub fn errors_are_excused(ledger: &Ledger<'_>) -> Vec<String> {
    let inexcusable =
        |line: &&String| line.contains(" x XX") || line.contains(" x 42") || line.contains("without a place");
    ledger.errors.lines().iter().filter(inexcusable).map(|line| format!("clients saw: {line}")).collect()
}

/// Nothing is left that a person would have to clean up: no prepared transaction, and all nodes of a group hold the same rows.
///
/// # Errors
/// When a node cannot be read.
pub async fn nodes_agree(lab: &Lab) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for node in &lab.nodes {
        let deadline = Instant::now() + FINISH_MAX;
        loop {
            let left = node
                .ask("SELECT coalesce(string_agg(gid || ' since ' || prepared, ', '), '') FROM pg_prepared_xacts")
                .await?;
            if left.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                wrong.push(format!("prepared transactions on {} after {FINISH_MAX:?}: {left}", node.name));
                break;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }
    for group in lab.groups() {
        let primary = lab.primary(&group).await.with_context(|| format!("{group} has no primary"))?;
        let target = primary.ask("SELECT pg_current_wal_lsn()").await?;
        let expected = contents(primary).await?;
        for node in lab.group(&group).filter(|node| node.name != primary.name) {
            if !replays(node, &target).await? {
                wrong.push(format!("{} has not replayed {target} after {REPLAY_MAX:?}", node.name));
                continue;
            }
            let has = contents(node).await?;
            for (table, content) in &expected {
                if has.get(table) != Some(content) {
                    wrong.push(format!(
                        "{table}: {} has {:?}, {} has {content}",
                        node.name,
                        has.get(table),
                        primary.name
                    ));
                }
            }
            if has.len() != expected.len() {
                wrong.push(format!("{} has {} tables, {} has {}", node.name, has.len(), primary.name, expected.len()));
            }
        }
    }
    Ok(wrong)
}

async fn replays(node: &Node, target: &str) -> Result<bool> {
    let deadline = Instant::now() + REPLAY_MAX;
    let sql = format!("SELECT pg_is_in_recovery() AND pg_last_wal_replay_lsn() >= '{target}'");
    while Instant::now() < deadline {
        if node.ask(&sql).await? == "t" {
            return Ok(true);
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(false)
}

/// Rows and a checksum of every table of the data database.
async fn contents(node: &Node) -> Result<HashMap<String, String>> {
    const TABLES: &str = "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables \
        WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1";
    let client = node.connect("app_data").await?;
    let mut contents = HashMap::new();
    for table in rows(&client.simple_query(TABLES).await?) {
        let table = &table[0];
        let sql =
            format!("SELECT count(*) || ' rows, ' || coalesce(sum(hashtextextended(t::text, 0)), 0) FROM {table} t");
        let answer = client.simple_query(&sql).await?;
        contents.insert(table.clone(), crate::lab::node::first_value(&answer));
    }
    Ok(contents)
}

/// Every coordinator calls every node running, and every group has one primary.
pub async fn coordinators_see_health(lab: &Lab) -> Vec<String> {
    let mut wrong = Vec::new();
    for coordinator in &lab.coordinators {
        let status = match lab.status(coordinator).await {
            Ok(status) => status,
            Err(error) => {
                wrong.push(format!("{}: {error:#}", coordinator.name));
                continue;
            }
        };
        for group in &status.groups {
            let states: Vec<_> = group.nodes.iter().filter_map(|node| node.state.as_ref()).collect();
            let primaries = states.iter().filter(|state| state.role == "primary").count();
            if primaries != 1 || states.len() != usize::from(lab.topology.nodes) {
                let (name, count) = (&group.name, states.len());
                wrong.push(format!("{} sees {primaries} primaries among {count} nodes of {name}", coordinator.name));
            }
            for state in states.iter().filter(|state| state.state != "running" || state.role == "none") {
                wrong.push(format!(
                    "{} sees {} as {} {} {}",
                    coordinator.name, state.name, state.role, state.state, state.reason
                ));
            }
        }
    }
    wrong
}
