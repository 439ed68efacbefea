//! One client that writes a row every few milliseconds, and for how long its writes stood still.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{Client, Config, NoTls};

/// Between an answer and the next write.
const PACE: Duration = Duration::from_millis(5);
/// Between attempts to connect.
const RETRY: Duration = Duration::from_millis(20);
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// A write without an answer: the client gives its connection up.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A client that writes until it is dropped.
pub struct Ticker {
    acknowledged: Arc<Mutex<Vec<Instant>>>,
    task: JoinHandle<()>,
}

/// How every client of the suite connects: to the first of `hosts` (address, port) that takes writes.
pub fn config(hosts: &[(String, u16)], database: &str) -> Config {
    let mut config = Config::new();
    for (host, port) in hosts {
        config.host(host).port(*port);
    }
    config.user("postgres").dbname(database).application_name("chaos").connect_timeout(CONNECT_MAX);
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    config
}

/// Connects; gives up after a second for each host.
///
/// # Errors
/// When no host takes writes.
pub async fn connect(config: &Config) -> Result<Client> {
    let hosts = u32::try_from(config.get_hosts().len()).unwrap_or(1);
    let connected = timeout(CONNECT_MAX * hosts + CONNECT_MAX, config.connect(NoTls)).await;
    let (client, connection) = connected.context("no answer")??;
    tokio::spawn(connection);
    Ok(client)
}

impl Ticker {
    /// Starts to insert numbers into the table, which has one column `n` of type int8 and one `k` of type int4 that is `key`.
    pub fn start(config: Config, table: &str, key: i32) -> Ticker {
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let (acks, table) = (acknowledged.clone(), table.to_owned());
        let task = tokio::spawn(async move {
            let mut number: i64 = 0;
            loop {
                let Ok(client) = connect(&config).await else {
                    sleep(RETRY).await;
                    continue;
                };
                loop {
                    number += 1;
                    let sql = format!("INSERT INTO {table} (k, n) VALUES ({key}, {number})");
                    match timeout(ANSWER_MAX, client.simple_query(&sql)).await {
                        Ok(Ok(_)) => acks.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now()),
                        _ => break,
                    }
                    sleep(PACE).await;
                }
                sleep(RETRY).await;
            }
        });
        Ticker { acknowledged, task }
    }

    /// Waits until writes that were acknowledged after `since` have gone on for `steady`.
    ///
    /// # Errors
    /// When that takes longer than `wait_max`.
    pub async fn steady(&self, since: Instant, steady: Duration, wait_max: Duration) -> Result<()> {
        let begun = Instant::now();
        loop {
            let now = Instant::now();
            if self.gap_in(now.checked_sub(steady).unwrap_or(since).max(since), now) < steady / 2
                && now > since + steady
            {
                return Ok(());
            }
            if begun.elapsed() > wait_max {
                anyhow::bail!("writes did not go on within {wait_max:?}");
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// The longest time without an acknowledgement between `from` and `to`, counted from the last one before.
    pub fn gap_in(&self, from: Instant, to: Instant) -> Duration {
        let acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        gap(&acknowledged, from, to)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The longest stretch without one of `times` (ascending) that touches the span from `from` to `to`, whose end counts as one.
pub fn gap(times: &[Instant], from: Instant, to: Instant) -> Duration {
    let first = times.partition_point(|time| *time < from);
    let mut last = if first > 0 { times[first - 1] } else { from };
    let mut longest = Duration::ZERO;
    for time in times[first..].iter().take_while(|time| **time <= to).chain([&to]) {
        longest = longest.max(time.saturating_duration_since(last));
        last = *time;
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_begins_before_the_span_and_ends_with_it() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let times = [at(0), at(10), at(20), at(500), at(510)];
        assert_eq!(gap(&times, at(25), at(520)), Duration::from_millis(480));
        assert_eq!(gap(&times, at(505), at(520)), Duration::from_millis(10));
        assert_eq!(gap(&times, at(505), at(1510)), Duration::from_millis(1000));
        assert_eq!(gap(&[], at(0), at(70)), Duration::from_millis(70));
    }
}
