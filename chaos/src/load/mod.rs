//! Clients that write through all coordinators and remember what became of every write.

pub mod ledger;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, Config, SimpleQueryMessage};

use crate::lab::Lab;
use crate::lab::files::COORDINATOR_PORT;
use crate::times::ticker;
use ledger::{Errors, Ledger, Log};
use writer::Writer;

/// Rows whose balances are moved about, and what each begins with.
pub const ACCOUNTS: i32 = 60;
pub const BALANCE: i64 = 1000;
/// Keys that are tried until every group has enough.
const KEYS_MAX: i32 = 500;
/// How long writers may take to come to rest: longer than one waits for an answer.
const REST_MAX: Duration = Duration::from_secs(60);

/// `place()` says which server it runs on, and on which timeline that writes.
const TABLES: [&str; 9] = [
    "CREATE TABLE inserts (writer int4 NOT NULL, seq int8 NOT NULL)",
    "CREATE TABLE transfers (writer int4 NOT NULL, seq int8 NOT NULL, debited int4, credited int4, amount int8)",
    "CREATE TABLE accounts (id int4 PRIMARY KEY, balance int8 NOT NULL)",
    "CREATE FUNCTION place() RETURNS text LANGUAGE plpgsql AS $$ BEGIN
        RETURN current_setting('data_directory') || ' ' || pg_walfile_name(pg_current_wal_insert_lsn()); END $$",
    "SELECT create_distributed_table('inserts', 'writer')",
    "SELECT create_distributed_table('transfers', 'writer')",
    "SELECT create_distributed_table('accounts', 'id')",
    "CREATE INDEX ON inserts (writer)",
    "CREATE INDEX ON transfers (writer)",
];

/// How much is written.
#[derive(Clone, Debug)]
pub struct Amount {
    /// Clients that insert into each group.
    pub inserters: usize,
    /// Clients that move money between groups.
    pub movers: usize,
    /// Between an answer and the next write.
    pub pace: Duration,
}

/// What writers share.
pub struct Shared {
    /// One for each coordinator.
    pub coordinators: Vec<Config>,
    pub pace: Duration,
    paused: AtomicBool,
    /// Writers that wait for an answer.
    busy: AtomicU32,
    pub errors: Errors,
}

/// Writers at work.
pub struct Load {
    shared: Arc<Shared>,
    inserts: Vec<Arc<Log>>,
    transfers: Vec<Arc<Log>>,
    tasks: Vec<JoinHandle<()>>,
}

/// Keys whose rows lie in each group: `count` for every group, found by inserting rows that are rolled back. The table's first column
/// is the key, its second one an integer.
///
/// # Errors
/// When a group has fewer among the first few hundred keys.
pub async fn keys_of_groups(client: &Client, table: &str, count: usize) -> Result<BTreeMap<String, Vec<i32>>> {
    let mut keys: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    let groups =
        client.simple_query("SELECT count(DISTINCT \"group\") FROM atoll.shards WHERE database = 'app'").await?;
    let groups: usize = crate::lab::node::first_value(&groups).parse().context("how many groups have shards")?;
    for key in 0..KEYS_MAX {
        client.simple_query("BEGIN").await?;
        let insert = format!("INSERT INTO {table} VALUES ({key}, 0) RETURNING current_setting('data_directory')");
        let rows = client.simple_query(&insert).await?;
        client.simple_query("ROLLBACK").await?;
        let (group, _) = ledger::node_of(&crate::lab::node::first_value(&rows)).context("a row without a place")?;
        let found = keys.entry(group).or_default();
        if found.len() < count {
            found.push(key);
        }
        if keys.len() == groups && keys.values().all(|keys| keys.len() == count) {
            return Ok(keys);
        }
    }
    bail!("not every group has {count} of the first {KEYS_MAX} keys")
}

impl Load {
    /// Makes the tables and starts the writers.
    ///
    /// # Errors
    /// When a table cannot be made.
    pub async fn start(lab: &Lab, amount: &Amount, seed: u64) -> Result<Load> {
        let host = |c: &crate::lab::Coordinator| (c.service.machine.address.to_string(), COORDINATOR_PORT);
        let coordinators: Vec<Config> = lab.coordinators.iter().map(|c| ticker::config(&[host(c)], "app")).collect();
        let client = ticker::connect(coordinators.first().context("a cluster without coordinators")?).await?;
        for sql in TABLES {
            client.batch_execute(sql).await.with_context(|| sql.to_owned())?;
        }
        let accounts = format!("INSERT INTO accounts SELECT i, {BALANCE} FROM generate_series(0, {}) i", ACCOUNTS - 1);
        client.batch_execute(&accounts).await.context(accounts)?;
        let keys = keys_of_groups(&client, "inserts", amount.inserters.max(1)).await?;
        let shared = Arc::new(Shared {
            coordinators,
            pace: amount.pace,
            paused: AtomicBool::new(false),
            busy: AtomicU32::new(0),
            errors: Errors::default(),
        });
        let mut load = Load { shared, inserts: Vec::new(), transfers: Vec::new(), tasks: Vec::new() };
        let mut random = StdRng::seed_from_u64(seed);
        for (group, keys) in keys {
            for key in keys.into_iter().take(amount.inserters) {
                let log = Arc::new(Log::new(key, &group));
                load.inserts.push(log.clone());
                let writer = Writer::new(load.shared.clone(), log, random.random());
                load.tasks.push(tokio::spawn(writer.insert()));
            }
        }
        for number in 0..amount.movers {
            let log = Arc::new(Log::new(i32::try_from(number)?, ""));
            load.transfers.push(log.clone());
            let writer = Writer::new(load.shared.clone(), log, random.random());
            load.tasks.push(tokio::spawn(writer.transfer()));
        }
        Ok(load)
    }

    /// Lets every writer finish what it has begun, and returns when all rest.
    ///
    /// # Errors
    /// When one does not come to rest within a minute.
    pub async fn pause(&self) -> Result<()> {
        self.shared.paused.store(true, Ordering::SeqCst);
        let deadline = Instant::now() + REST_MAX;
        while self.shared.busy.load(Ordering::SeqCst) > 0 {
            if Instant::now() > deadline {
                bail!("writers still wait for an answer after {REST_MAX:?}");
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    pub fn resume(&self) {
        self.shared.paused.store(false, Ordering::SeqCst);
    }

    /// What became of the writes so far.
    pub fn ledger(&self) -> Ledger<'_> {
        Ledger { inserts: &self.inserts, transfers: &self.transfers, errors: &self.shared.errors }
    }

    /// A connection of the suite's own, to whichever coordinator answers.
    ///
    /// # Errors
    /// When none does.
    pub async fn client(&self) -> Result<Client> {
        let mut last = None;
        for config in &self.shared.coordinators {
            match ticker::connect(config).await {
                Ok(client) => return Ok(client),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("a cluster without coordinators")?)
    }

    /// Ends the writers, also those that wait for an answer; the ledger stays.
    pub fn stop_at_once(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
    }
}

impl Shared {
    /// Waits while writers are paused; [`Shared::rest`] must follow.
    pub async fn begin(&self) {
        loop {
            // Counted before looking, so that a pause cannot miss it.
            self.busy.fetch_add(1, Ordering::SeqCst);
            if !self.paused.load(Ordering::SeqCst) {
                return;
            }
            self.rest();
            sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn rest(&self) {
        self.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Text rows of a simple query's answer; NULL is empty.
pub fn rows(messages: &[SimpleQueryMessage]) -> Vec<Vec<String>> {
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|at| row.get(at).unwrap_or_default().to_owned()).collect())
        }
        _ => None,
    };
    messages.iter().filter_map(row).collect()
}
