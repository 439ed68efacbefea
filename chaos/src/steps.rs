//! A failure at each step of a commit over two groups. A step is held by stopping the standbys that it waits for.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Client;

use crate::faults::Harm;
use crate::lab::files::COORDINATOR_PORT;
use crate::lab::node::Node;
use crate::lab::{Lab, Programs, Topology, processes};
use crate::load::{keys_of_groups, rows};
use crate::oracles;
use crate::times::{ticker, whole};

const HOME: &str = "g1";
const OTHER: &str = "g2";
const TABLE: &str = "pairs";
/// How long a step may take to come.
const STEP_MAX: Duration = Duration::from_secs(4);
/// How long the client may wait for its answer, a failover included.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How long what is killed stays dead: longer than a lease.
const DEAD: Duration = Duration::from_secs(9);
const MOMENT: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Args)]
pub struct StepsArguments {
    /// How often every step is broken in every way
    #[arg(long, default_value_t = 1)]
    rounds: usize,
}

/// Where a commit over two groups stands when something dies.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The other group's part is not prepared durably yet.
    Preparing,
    /// It is, and home's commit, which decides, is not durable yet.
    Deciding,
    /// It is decided, and the other group's part is not committed durably yet.
    Committing,
}

const STEPS: [Step; 3] = [Step::Preparing, Step::Deciding, Step::Committing];

/// Who dies then.
#[derive(Clone, Copy, Debug)]
struct Victims {
    home: bool,
    other: bool,
    coordinator: bool,
}

const VICTIMS: [Victims; 5] = [
    Victims { home: false, other: false, coordinator: true },
    Victims { home: false, other: true, coordinator: false },
    Victims { home: true, other: false, coordinator: false },
    Victims { home: false, other: true, coordinator: true },
    Victims { home: true, other: true, coordinator: true },
];

impl Victims {
    fn names(self) -> String {
        let named =
            [(self.home, "home's primary"), (self.other, "the other primary"), (self.coordinator, "the coordinator")];
        named.iter().filter(|(dies, _)| *dies).map(|(_, name)| *name).collect::<Vec<_>>().join(" and ")
    }
}

/// What a client was told of its commit.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Committed,
    Aborted(String),
    Nothing(String),
}

/// Breaks every step in every way.
///
/// # Errors
/// When a transaction took effect in one of its groups only, or not as its client was told; when something was left to be cleaned up.
pub async fn run(arguments: &StepsArguments, dir: &Path, programs: &Programs) -> Result<()> {
    let lab = Lab::start(dir, Topology::of(2, 3), programs).await?;
    let judge = ticker::connect(&config(&lab, 1)?).await?;
    judge
        .batch_execute(&format!(
            "CREATE TABLE {TABLE} (k int4 PRIMARY KEY, n int8 NOT NULL); SELECT create_distributed_table('{TABLE}', 'k')"
        ))
        .await?;
    let keys = keys_of_groups(&judge, TABLE, 1).await?;
    let key = |group: &str| keys.get(group).and_then(|keys| keys.first()).copied().context("a group without keys");
    let keys = [key(HOME)?, key(OTHER)?];
    judge.batch_execute(&format!("INSERT INTO {TABLE} SELECT unnest(ARRAY{keys:?}), 0")).await?;
    drop(judge);
    let (mut number, mut wrong) = (0, Vec::new());
    for _ in 0..arguments.rounds {
        for step in STEPS {
            for victims in VICTIMS {
                number += 1;
                let begun = Instant::now();
                let (told, found) = break_at(&lab, step, victims, keys, number).await?;
                let took = begun.elapsed().as_secs_f64();
                println!("{step:?}, {} dead: {told:?}, found {found:?}; {took:.1} s", victims.names());
                if let Some(reason) = judged(&told, &found, number) {
                    wrong.push(format!("{step:?}, {} dead: {reason}: {told:?}, {found:?}", victims.names()));
                }
                wrong.extend(oracles::nodes_agree(&lab).await?);
            }
        }
    }
    lab.stop().await;
    if !wrong.is_empty() {
        bail!("logs are in {}; wrong:\n  {}", dir.display(), wrong.join("\n  "));
    }
    println!("{number} commits were broken: each took effect in both groups or in none, as its client was told");
    Ok(())
}

/// Why the two rows are not what the client was told.
fn judged(told: &Told, found: &[i64], number: i64) -> Option<&'static str> {
    let there = found.iter().filter(|n| **n == number).count();
    match (told, there) {
        (_, 1) => Some("half of it took effect"),
        (Told::Committed, 0) => Some("committed and lost"),
        (Told::Aborted(_), 2) => Some("aborted and there"),
        _ => None,
    }
}

fn config(lab: &Lab, coordinator: usize) -> Result<tokio_postgres::Config> {
    let coordinator = lab.coordinators.get(coordinator).context("too few coordinators")?;
    Ok(ticker::config(&[(coordinator.service.machine.address.to_string(), COORDINATOR_PORT)], "app"))
}

/// Writes `number` to both rows in one transaction, kills the victims when its commit has come to the step; what the client was told, and
/// the rows as the other coordinator sees them when all is whole again.
async fn break_at(lab: &Lab, step: Step, victims: Victims, keys: [i32; 2], number: i64) -> Result<(Told, Vec<i64>)> {
    whole(lab).await?;
    let (home, other) = (primary(lab, HOME).await?, primary(lab, OTHER).await?);
    let client = ticker::connect(&config(lab, 0)?).await?;
    client
        .batch_execute(&format!(
            "BEGIN; UPDATE {TABLE} SET n = {number} WHERE k = {}; UPDATE {TABLE} SET n = {number} WHERE k = {}",
            keys[0], keys[1]
        ))
        .await?;
    let standbys = |group: &str| receivers(lab, group);
    let mut frozen = match step {
        Step::Preparing => standbys(OTHER),
        Step::Deciding | Step::Committing => standbys(HOME),
    };
    signal(&frozen, Signal::SIGSTOP);
    let commit = tokio::spawn(async move { told(&client).await });
    match step {
        Step::Preparing => waits(other, "%PREPARE TRANSACTION%").await?,
        Step::Deciding => waits(home, "%COMMIT%").await?,
        Step::Committing => {
            waits(home, "%COMMIT%").await?;
            let others = standbys(OTHER);
            signal(&others, Signal::SIGSTOP);
            signal(&frozen, Signal::SIGCONT);
            frozen = others;
            waits(other, "%COMMIT PREPARED%").await?;
        }
    }
    let mut harm = Harm::new(String::new(), None, DEAD);
    for (dies, node) in [(victims.home, home), (victims.other, other)] {
        if dies {
            let postmaster = node.postmaster();
            harm.kill_and_hold(&node.agent);
            harm.kill(postmaster);
        }
    }
    if victims.coordinator {
        harm.kill(lab.coordinators[0].service.pid());
    }
    signal(&frozen, Signal::SIGCONT);
    sleep(DEAD).await;
    harm.undo(lab).await?;
    let told = timeout(ANSWER_MAX, commit).await.context("COMMIT was not answered")??;
    whole(lab).await?;
    let judge = ticker::connect(&config(lab, 1)?).await?;
    // Locks of a transaction that is not finished yet make this wait.
    let sql = format!("SELECT n FROM {TABLE} WHERE k = ANY (ARRAY{keys:?}) ORDER BY k FOR UPDATE");
    let found = timeout(ANSWER_MAX, judge.simple_query(&sql)).await.context("the rows stay locked")??;
    let found = rows(&found).iter().map(|row| Ok(row[0].parse()?)).collect::<Result<_>>()?;
    Ok((told, found))
}

async fn told(client: &Client) -> Told {
    match client.batch_execute("COMMIT").await {
        Ok(()) => Told::Committed,
        Err(error) => match error.as_db_error() {
            Some(said) if said.code().code() != "08007" => Told::Aborted(said.to_string()),
            Some(said) => Told::Nothing(said.message().to_owned()),
            None => Told::Nothing(error.to_string()),
        },
    }
}

async fn primary<'a>(lab: &'a Lab, group: &str) -> Result<&'a Node> {
    lab.primary(group).await.with_context(|| format!("{group} has no primary"))
}

/// The processes with which a group's replicas receive.
fn receivers(lab: &Lab, group: &str) -> Vec<u32> {
    let all = lab.group(group).flat_map(|node| processes::of(&node.machine));
    all.filter(|process| process.title.contains("walreceiver")).map(|process| process.pid).collect()
}

fn signal(pids: &[u32], signal: Signal) {
    pids.iter().for_each(|pid| processes::signal(Some(*pid), signal));
}

/// Waits until a statement like this waits for standbys on a node.
async fn waits(node: &Node, statement: &str) -> Result<()> {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '{statement}' \
         AND backend_type = 'client backend'"
    );
    let deadline = Instant::now() + STEP_MAX;
    while node.ask(&sql).await? == "0" {
        if Instant::now() > deadline {
            bail!("no {statement} waits on {} within {STEP_MAX:?}", node.name);
        }
        sleep(MOMENT).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_what_the_client_was_told() {
        let (committed, aborted, nothing) =
            (Told::Committed, Told::Aborted(String::new()), Told::Nothing(String::new()));
        assert!(judged(&committed, &[7, 7], 7).is_none() && judged(&aborted, &[6, 6], 7).is_none());
        assert!(judged(&nothing, &[7, 7], 7).is_none() && judged(&nothing, &[6, 6], 7).is_none());
        for told in [&committed, &aborted, &nothing] {
            assert!(judged(told, &[7, 6], 7).is_some());
        }
        assert!(judged(&committed, &[6, 6], 7).is_some() && judged(&aborted, &[7, 7], 7).is_some());
    }
}
