//! One client of the soak: a connection that lives for a while, and what it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, pin_mut};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, NoTls, Statement};

use crate::soak::errors::Errors;
use crate::soak::{ACCOUNTS, BALANCE, Counters};

/// An operation that takes longer hangs.
const OPERATION_MAX: Duration = Duration::from_secs(60);
/// Pause between operations, at most, so that sessions are idle, too.
const THINK_MS_MAX: u64 = 60;

/// What a worker needs to know.
#[derive(Debug, Clone)]
pub struct Context {
    pub conninfo: String,
    /// Which worker it is; keys that only it inserts carry it.
    pub number: i64,
    pub end: Instant,
    pub counters: Arc<Counters>,
    pub errors: Arc<Errors>,
}

/// What a worker can do, with how often of 100 it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    ReadPrepared,
    ReadSimple,
    Write,
    Transfer,
    Log,
    Clean,
    Sum,
    Groups,
    Join,
    Top,
    Copy,
    Fail,
    Settings,
    WriteMany,
    Note,
    Cancel,
    Disconnect,
    Reconnect,
}

const WEIGHTS: &[(Operation, u32)] = &[
    (Operation::ReadPrepared, 28),
    (Operation::ReadSimple, 12),
    (Operation::Write, 12),
    (Operation::Transfer, 8),
    (Operation::Log, 6),
    (Operation::Clean, 3),
    (Operation::Sum, 3),
    (Operation::Groups, 3),
    (Operation::Join, 3),
    (Operation::Top, 3),
    (Operation::Copy, 2),
    (Operation::Fail, 4),
    (Operation::Settings, 2),
    (Operation::WriteMany, 1),
    (Operation::Note, 2),
    (Operation::Cancel, 3),
    (Operation::Disconnect, 3),
    (Operation::Reconnect, 2),
];

/// A connection and its prepared statements.
struct Session {
    client: Client,
    connection: JoinHandle<Result<(), Error>>,
    read: Statement,
    write: Statement,
}

/// Works until the end; errors that should not be are noted, never returned.
pub async fn run(context: Context, seed: u64) {
    let mut worker = Worker { rng: StdRng::seed_from_u64(seed), session: None, sequence: 0, context };
    // Not all at once.
    let first = worker.rng.random_range(0..2000);
    tokio::time::sleep(Duration::from_millis(first)).await;
    while Instant::now() < worker.context.end {
        let operation = worker.choose();
        match tokio::time::timeout(OPERATION_MAX, worker.run(operation)).await {
            Ok(Ok(())) => {
                worker.context.counters.operations.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Err(error)) => worker.note(operation, &error),
            Err(_) => {
                worker.context.errors.note(&format!("{operation:?}"), &format!("no answer within {OPERATION_MAX:?}"));
                worker.drop_session();
            }
        }
        let think = worker.rng.random_range(0..THINK_MS_MAX);
        tokio::time::sleep(Duration::from_millis(think)).await;
    }
}

struct Worker {
    context: Context,
    rng: StdRng,
    session: Option<Session>,
    sequence: i64,
}

impl Worker {
    fn choose(&mut self) -> Operation {
        let total: u32 = WEIGHTS.iter().map(|(_, weight)| weight).sum();
        let mut at = self.rng.random_range(0..total);
        for (operation, weight) in WEIGHTS {
            if at < *weight {
                return *operation;
            }
            at -= weight;
        }
        Operation::ReadPrepared
    }

    /// Deadlocks happen on one PostgreSQL, too; everything else that comes here should not have.
    fn note(&mut self, operation: Operation, error: &Error) {
        if error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED) {
            count(&self.context.counters.lost);
        } else {
            let message = error
                .as_db_error()
                .map_or_else(|| error.to_string(), |db| format!("{} {}", db.code().code(), db.message()));
            self.context.errors.note(&format!("{operation:?}"), &message);
        }
        // It may be in a failed transaction, or gone.
        self.drop_session();
    }

    /// Breaks the connection off, without a Terminate.
    fn drop_session(&mut self) {
        if let Some(session) = self.session.take() {
            session.connection.abort();
        }
    }

    async fn session(&mut self) -> Result<&mut Session, Error> {
        if self.session.as_ref().is_none_or(|session| session.client.is_closed()) {
            self.session = Some(connect(&self.context.conninfo).await?);
        }
        // Just put there.
        match &mut self.session {
            Some(session) => Ok(session),
            None => unreachable!("a session was opened"),
        }
    }

    fn account(&mut self) -> i64 {
        self.rng.random_range(0..ACCOUNTS)
    }

    async fn run(&mut self, operation: Operation) -> Result<(), Error> {
        match operation {
            Operation::ReadPrepared => {
                let id = self.account();
                let session = self.session().await?;
                session.client.query_one(&session.read, &[&id]).await.map(drop)
            }
            Operation::ReadSimple => {
                let id = self.account();
                let sql = format!("SELECT balance, touched FROM soak_accounts WHERE id = {id}");
                self.session().await?.client.simple_query(&sql).await.map(drop)
            }
            Operation::Write => {
                let id = self.account();
                let session = self.session().await?;
                session.client.execute(&session.write, &[&id]).await.map(drop)
            }
            Operation::Transfer => self.transfer().await,
            Operation::Log => {
                let (id, seq) = (self.account(), self.next_sequence());
                let sql = "INSERT INTO soak_log VALUES ($1, $2, 'logged') RETURNING seq";
                self.session().await?.client.query_one(sql, &[&id, &seq]).await.map(drop)
            }
            Operation::Clean => {
                let id = self.account();
                self.session()
                    .await?
                    .client
                    .execute("DELETE FROM soak_log WHERE account_id = $1", &[&id])
                    .await
                    .map(drop)
            }
            Operation::Sum => self.sum().await,
            Operation::Groups => {
                let sql = "SELECT kind, count(*), max(touched) FROM soak_accounts GROUP BY kind ORDER BY kind";
                self.session().await?.client.query(sql, &[]).await.map(drop)
            }
            Operation::Join => {
                let sql = "SELECT k.name, count(*) FROM soak_accounts a JOIN soak_kinds k ON k.id = a.kind WHERE a.id < $1 GROUP BY k.name";
                let id = self.account();
                self.session().await?.client.query(sql, &[&id]).await.map(drop)
            }
            Operation::Top => {
                let sql = "SELECT id, touched FROM soak_accounts ORDER BY touched DESC, id LIMIT 10";
                self.session().await?.client.query(sql, &[]).await.map(drop)
            }
            Operation::Copy => self.copy().await,
            Operation::Fail => self.fail().await,
            Operation::Settings => {
                let sql = "SET TimeZone = 'Asia/Tokyo'; SET work_mem = '5MB'; SELECT now() FROM soak_accounts WHERE id = 5; RESET ALL";
                self.session().await?.client.simple_query(sql).await.map(drop)
            }
            Operation::WriteMany => {
                let kind = self.rng.random_range(0..10);
                let sql = "UPDATE soak_log SET note = 'seen' WHERE account_id < 100 AND seq % 10 = $1";
                self.session().await?.client.execute(sql, &[&i64::from(kind)]).await.map(drop)
            }
            Operation::Note => {
                let id = self.next_sequence();
                let sql = "INSERT INTO soak_notes VALUES ($1, 'not sharded')";
                self.session().await?.client.execute(sql, &[&id]).await.map(drop)
            }
            Operation::Cancel => self.cancel().await,
            Operation::Disconnect => self.disconnect().await,
            Operation::Reconnect => {
                // Dropping the client ends the session in good order.
                self.session = None;
                self.session().await.map(drop)
            }
        }
    }

    fn next_sequence(&mut self) -> i64 {
        self.sequence += 1;
        self.context.number * 1_000_000_000 + self.sequence
    }

    /// Moves money between two accounts, often of two groups; in the order of their ids, so that transfers do not deadlock.
    async fn transfer(&mut self) -> Result<(), Error> {
        let (one, other) = (self.account(), self.account());
        let (low, high) = (one.min(other), one.max(other));
        let amount = self.rng.random_range(1..100_i64);
        let undo = self.rng.random_range(0..10) == 0;
        let transaction = self.session().await?.client.transaction().await?;
        let sql = "UPDATE soak_accounts SET balance = balance + $2 WHERE id = $1";
        transaction.execute(sql, &[&low, &amount]).await?;
        transaction.execute(sql, &[&high, &-amount]).await?;
        if undo { transaction.rollback().await } else { transaction.commit().await }
    }

    /// The sum over all shards shows every transfer whole or not at all.
    async fn sum(&mut self) -> Result<(), Error> {
        let client = &self.session().await?.client;
        let row = client.query_one("SELECT count(*), sum(balance)::int8 FROM soak_accounts", &[]).await?;
        if row.get::<_, i64>(0) != ACCOUNTS || row.get::<_, i64>(1) != ACCOUNTS * BALANCE {
            count(&self.context.counters.torn);
        }
        Ok(())
    }

    async fn copy(&mut self) -> Result<(), Error> {
        let rows: String = (0..50)
            .map(|_| {
                let (id, seq) = (self.account(), self.next_sequence());
                format!("{id}\t{seq}\tcopied\n")
            })
            .collect();
        let client = &self.session().await?.client;
        let sink = client.copy_in("COPY soak_log FROM STDIN").await?;
        pin_mut!(sink);
        sink.send(bytes::Bytes::from(rows)).await?;
        sink.finish().await.map(drop)
    }

    /// Errors that are meant, in and outside of transactions; the session goes on.
    async fn fail(&mut self) -> Result<(), Error> {
        let id = self.account();
        let errors = self.context.errors.clone();
        // Passes over the expected error; any other is the operation's own.
        let expect = |failed: Result<u64, Error>, expected: &SqlState| match failed {
            Err(error) if error.code() != Some(expected) => Err(error),
            Err(_) => Ok(()),
            Ok(_) => {
                errors.note("Fail", &format!("success instead of {}", expected.code()));
                Ok(())
            }
        };
        let client = &mut self.session().await?.client;
        let division = client.execute("SELECT 1 / (balance - balance) FROM soak_accounts WHERE id = $1", &[&id]).await;
        expect(division, &SqlState::DIVISION_BY_ZERO)?;
        let transaction = client.transaction().await?;
        transaction.execute("UPDATE soak_accounts SET touched = 0 WHERE id = $1", &[&id]).await?;
        let duplicate = transaction.execute("INSERT INTO soak_accounts VALUES ($1, 0, 0, 0)", &[&id]).await;
        expect(duplicate, &SqlState::UNIQUE_VIOLATION)?;
        let ignored = transaction.execute("SELECT balance FROM soak_accounts WHERE id = $1", &[&id]).await;
        expect(ignored, &SqlState::IN_FAILED_SQL_TRANSACTION)?;
        transaction.rollback().await?;
        client.query_one("SELECT balance FROM soak_accounts WHERE id = $1", &[&id]).await.map(drop)
    }

    /// Cancels a statement of its own at a random moment.
    async fn cancel(&mut self) -> Result<(), Error> {
        let delay = Duration::from_micros(self.rng.random_range(0..30_000));
        let sql = match self.rng.random_range(0..3) {
            0 => "SELECT pg_sleep(0.5)",
            1 => "SELECT kind, sum(balance), count(DISTINCT id) FROM soak_accounts GROUP BY kind",
            _ => "SELECT a.id, pg_sleep(0.5) FROM soak_accounts a WHERE a.id = 7",
        };
        let client = &self.session().await?.client;
        let token = client.cancel_token();
        let cancelling = async {
            tokio::time::sleep(delay).await;
            token.cancel_query(NoTls).await
        };
        let (answer, cancelled) = futures_util::join!(client.query(sql, &[]), cancelling);
        cancelled?;
        match answer {
            Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => count(&self.context.counters.cancelled),
            other => drop(other?),
        }
        // A late interrupt may meet what comes next, on one PostgreSQL, too.
        let client = &self.session().await?.client;
        for _ in 0..2 {
            match client.simple_query("SELECT 'settled'").await {
                Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) => {}
                other => drop(other?),
            }
        }
        Ok(())
    }

    /// Breaks the connection at a random moment of a statement, a transaction or a COPY.
    async fn disconnect(&mut self) -> Result<(), Error> {
        let wait = Duration::from_micros(self.rng.random_range(0..20_000));
        let (one, other, kind) = (self.account(), self.account(), self.rng.random_range(0..5));
        let session = self.session().await?;
        let client = &session.client;
        let work = async {
            let update = "UPDATE soak_accounts SET balance = balance + $2 WHERE id = $1";
            match kind {
                0 => client.simple_query("SELECT pg_sleep(30)").await.map(drop),
                1 => client.query("SELECT * FROM soak_accounts ORDER BY balance, id", &[]).await.map(drop),
                2 => {
                    let _sink = client.copy_in::<_, bytes::Bytes>("COPY soak_log FROM STDIN").await?;
                    std::future::pending().await
                }
                _ => {
                    client.batch_execute("BEGIN").await?;
                    client.execute(update, &[&one.min(other), &1_i64]).await?;
                    client.execute(update, &[&one.max(other), &-1_i64]).await?;
                    if kind == 3 { client.batch_execute("COMMIT").await } else { std::future::pending().await }
                }
            }
        };
        // Whether it got through does not matter: the connection ends here.
        let ended = tokio::time::timeout(wait, work).await;
        self.drop_session();
        count(&self.context.counters.disconnected);
        match ended {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }
}

async fn connect(conninfo: &str) -> Result<Session, Error> {
    let (client, connection) = tokio_postgres::connect(conninfo, NoTls).await?;
    let connection = tokio::spawn(connection);
    let read = client.prepare("SELECT balance, touched FROM soak_accounts WHERE id = $1").await?;
    let write = client.prepare("UPDATE soak_accounts SET touched = touched + 1 WHERE id = $1").await?;
    Ok(Session { client, connection, read, write })
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
