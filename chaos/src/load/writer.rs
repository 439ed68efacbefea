//! One client: writes, and goes to another coordinator when its own is gone.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::ledger::{Entry, Log, Outcome, Place};
use super::{ACCOUNTS, Shared};
use crate::lab::node::first_value;
use crate::times::ticker;

/// A write without an answer: the client gives its connection up. Above what a coordinator holds a statement for.
const ANSWER_MAX: Duration = Duration::from_secs(40);
/// After an error, so that a refusing cluster is not asked as fast as it can refuse.
const AFTER_ERROR: Duration = Duration::from_millis(50);

pub struct Writer {
    shared: Arc<Shared>,
    log: Arc<Log>,
    random: StdRng,
    seq: i64,
    /// Its connection, and which coordinator that is to.
    client: Option<Client>,
    coordinator: usize,
}

impl Writer {
    pub fn new(shared: Arc<Shared>, log: Arc<Log>, seed: u64) -> Writer {
        let mut random = StdRng::seed_from_u64(seed);
        let coordinator = random.random_range(0..shared.coordinators.len());
        Writer { shared, log, random, seq: 0, client: None, coordinator }
    }

    /// Inserts one row after the other, each in a transaction of its own.
    pub async fn insert(mut self) {
        // Writers with even keys speak the simple protocol, the others the extended one.
        let simple = self.log.writer % 2 == 0;
        loop {
            self.shared.begin().await;
            if let Some(client) = self.connected().await {
                self.seq += 1;
                let (writer, seq) = (self.log.writer, self.seq);
                let sent = Instant::now();
                let answer = timeout(ANSWER_MAX, insert(&client, simple, writer, seq)).await;
                self.remember(client, sent, answer.ok(), [0; 3]).await;
            }
            self.rest().await;
        }
    }

    /// Moves money between two accounts, in transactions that also note what they moved.
    pub async fn transfer(mut self) {
        loop {
            self.shared.begin().await;
            if let Some(client) = self.connected().await {
                self.seq += 1;
                let (writer, seq) = (self.log.writer, self.seq);
                let debited = self.random.random_range(0..ACCOUNTS);
                let credited = (debited + self.random.random_range(1..ACCOUNTS)) % ACCOUNTS;
                let moved = [debited.into(), credited.into(), self.random.random_range(1..10)];
                let sent = Instant::now();
                let answer = timeout(ANSWER_MAX, transfer(&client, writer, seq, moved)).await;
                self.remember(client, sent, answer.ok(), moved).await;
            }
            self.rest().await;
        }
    }

    async fn rest(&self) {
        self.shared.rest();
        sleep(self.shared.pace).await;
    }

    /// Its connection; while it has none, one attempt at the next coordinator.
    async fn connected(&mut self) -> Option<Client> {
        if let Some(client) = self.client.take().filter(|client| !client.is_closed()) {
            return Some(client);
        }
        match ticker::connect(&self.shared.coordinators[self.coordinator]).await {
            Ok(client) => Some(client),
            Err(_) => {
                self.coordinator = (self.coordinator + 1) % self.shared.coordinators.len();
                sleep(AFTER_ERROR).await;
                None
            }
        }
    }

    /// `answer` is `None` when none came in time.
    async fn remember(
        &mut self,
        client: Client,
        sent: Instant,
        answer: Option<Result<String, Error>>,
        moved: [i64; 3],
    ) {
        let (outcome, keep) = match answer {
            Some(Ok(place)) => match Place::parse(&place) {
                Some(place) => (Outcome::Acknowledged(place), true),
                None => {
                    self.shared.errors.note(format!("acknowledged without a place: {place}"));
                    (Outcome::Unknown, true)
                }
            },
            Some(Err(error)) => {
                let (outcome, words) = judge(&error);
                self.shared.errors.note(words);
                sleep(AFTER_ERROR).await;
                (outcome, !client.is_closed())
            }
            None => {
                self.shared.errors.note(format!("no answer within {} s", ANSWER_MAX.as_secs()));
                (Outcome::Unknown, false)
            }
        };
        if keep {
            // A transaction that failed is still open.
            if !matches!(outcome, Outcome::Acknowledged(_)) {
                let rolled_back = timeout(ANSWER_MAX, client.simple_query("ROLLBACK")).await;
                if matches!(rolled_back, Ok(Ok(_))) {
                    self.client = Some(client);
                }
            } else {
                self.client = Some(client);
            }
        }
        self.log.push(Entry { seq: self.seq, sent, done: Instant::now(), outcome, moved });
    }
}

/// What an error says of a write, and the error in words.
fn judge(error: &Error) -> (Outcome, String) {
    let Some(db) = error.as_db_error() else {
        return (Outcome::Unknown, "the connection broke".to_owned());
    };
    let code = db.code().code();
    // 08007 says so itself; after the others of its class, and when the server ends, nobody can know.
    let unknown =
        code.starts_with("08") || *db.code() == SqlState::ADMIN_SHUTDOWN || *db.code() == SqlState::CRASH_SHUTDOWN;
    let outcome = if unknown { Outcome::Unknown } else { Outcome::Refused };
    (outcome, format!("{code} {}", general(db.message())))
}

/// A message without what differs from one time to the next: numbers.
fn general(message: &str) -> String {
    let mut out = String::new();
    for c in message.chars().take(160) {
        match c {
            '0'..='9' if out.ends_with('#') => {}
            '0'..='9' => out.push('#'),
            c => out.push(c),
        }
    }
    out
}

async fn insert(client: &Client, simple: bool, writer: i32, seq: i64) -> Result<String, Error> {
    if simple {
        let sql = format!("INSERT INTO inserts VALUES ({writer}, {seq}) RETURNING place()");
        return Ok(first_value(&client.simple_query(&sql).await?));
    }
    let row = client.query_one("INSERT INTO inserts VALUES ($1, $2) RETURNING place()", &[&writer, &seq]).await?;
    row.try_get(0)
}

async fn transfer(client: &Client, writer: i32, seq: i64, moved: [i64; 3]) -> Result<String, Error> {
    let [debited, credited, amount] = moved;
    let pay = |id: i64, amount: i64| format!("UPDATE accounts SET balance = balance + {amount} WHERE id = {id}");
    client.simple_query("BEGIN").await?;
    // In order of their ids, so that two transfers do not wait for each other.
    let mut payments = [(debited, -amount), (credited, amount)];
    payments.sort_unstable();
    for (id, amount) in payments {
        client.simple_query(&pay(id, amount)).await?;
    }
    let note =
        format!("INSERT INTO transfers VALUES ({writer}, {seq}, {debited}, {credited}, {amount}) RETURNING place()");
    let place = first_value(&client.simple_query(&note).await?);
    client.simple_query("COMMIT").await?;
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_one_kind_are_alike() {
        assert_eq!(general("lane 17 of g1-n2 ended"), "lane # of g#-n# ended");
    }
}
