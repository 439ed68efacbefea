//! Reads that go where there is room: how they spread, how a slow replica is left alone, and that nobody reads what is older than what he
//! wrote.

mod fresh;
mod spread;

use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Args;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio_postgres::{Client, Config};

use crate::lab::files::COORDINATOR_PORT;
use crate::lab::{Lab, Programs, Topology};
use crate::times::ticker;

/// Of the primary and its two replicas, in the order of the nodes.
const CAPACITIES: [f64; 3] = [1.0, 1.0, 2.0];
/// Rows of the table that is read; each session of the freshness check has its own.
const KEYS: i32 = 1000;

#[derive(Debug, Clone, Args)]
pub struct ReadsArguments {
    /// Of the check that nobody reads what is older than what he wrote
    #[arg(long, default_value_t = 10.0, env = "MINUTES")]
    minutes: f64,
    #[arg(long, env = "SEED")]
    seed: Option<u64>,
    /// Clients that read
    #[arg(long, default_value_t = 16)]
    clients: usize,
}

/// # Errors
/// When reads spread otherwise than the capacities, a slow replica goes on being asked, or somebody reads what is too old.
pub async fn run(arguments: &ReadsArguments, dir: &Path, programs: &Programs) -> Result<()> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let topology = Topology { capacities: CAPACITIES.to_vec(), ..Topology::of(1, 3) };
    let lab = Lab::start(dir, topology, programs).await?;
    let coordinators: Vec<Config> = lab
        .coordinators
        .iter()
        .map(|c| ticker::config(&[(c.service.machine.address.to_string(), COORDINATOR_PORT)], "app"))
        .collect();
    let client = ticker::connect(&coordinators[0]).await?;
    client.batch_execute("CREATE TABLE reads (k int4 PRIMARY KEY, n int8 NOT NULL)").await?;
    client.batch_execute("SELECT create_distributed_table('reads', 'k')").await?;
    client.batch_execute(&format!("INSERT INTO reads SELECT i, 0 FROM generate_series(0, {}) i", KEYS - 1)).await?;
    let mut wrong = spread::check(&lab, &coordinators, arguments.clients).await?;
    wrong.extend(fresh::check(&lab, &coordinators, arguments.minutes, &mut random).await?);
    lab.stop().await;
    if !wrong.is_empty() {
        bail!("SEED={seed}; logs are in {}; wrong:\n  {}", dir.display(), wrong.join("\n  "));
    }
    Ok(())
}

/// A session whose reads may go anywhere.
async fn reader(config: &Config, preference: &str) -> Result<Client> {
    let client = ticker::connect(config).await?;
    let sql = format!("SET atoll.read_preference = '{preference}'");
    client.batch_execute(&sql).await.context(sql)?;
    Ok(client)
}

/// The node that answered, and what it has for the key.
async fn read(client: &Client, key: i32) -> Result<(String, i64)> {
    let sql = format!("SELECT current_setting('data_directory'), n FROM reads WHERE k = {key}");
    let rows = crate::load::rows(&client.simple_query(&sql).await?);
    let row = rows.first().with_context(|| format!("key {key} is gone"))?;
    let (_, node) = crate::load::ledger::node_of(&row[0]).context("a row without a place")?;
    Ok((node, row[1].parse()?))
}
