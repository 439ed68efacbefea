//! What a replica receives, and how fresh it is.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::lsn::Lsn;
use super::monitor::Monitor;
use crate::lanes::backend::LoginError;

/// What a replica receives now.
pub(super) struct Reception {
    pub replayed: Lsn,
    /// host:port of the server it receives from.
    pub streaming_from: Option<String>,
    pub is_paused: bool,
    /// How long ago it was last known to have replayed all that its upstream had; `None` when it never was.
    pub lag: Option<Duration>,
}

/// Remembered from one look to the next.
#[derive(Default)]
pub(super) struct Freshness {
    /// When the replica was last known to have replayed everything, and the pid of its receiver at the last look.
    caught_up: Option<Instant>,
    receiver: String,
}

impl Freshness {
    /// Asks a replica over `monitor`.
    pub async fn look(&mut self, monitor: &mut Monitor) -> Result<Reception, LoginError> {
        const SQL: &str = "SELECT pg_last_wal_replay_lsn(), r.status = 'streaming', r.pid, r.sender_host, r.sender_port, \
            pg_last_wal_replay_lsn() >= r.latest_end_lsn, \
            greatest(0, extract(epoch FROM clock_timestamp() - r.last_msg_receipt_time) * 1000)::bigint, \
            pg_get_wal_replay_pause_state() = 'paused' \
            FROM (VALUES (1)) AS one(row) LEFT JOIN pg_stat_wal_receiver r ON true";
        let row = monitor.row(SQL).await?;
        let streaming = row.is_true(1);
        // What a receiver that has just begun calls the end is what the last one was told.
        if streaming && row.is_true(5) && row.text(2) == self.receiver {
            let age = Duration::from_millis(row.value(6).unwrap_or_default());
            self.caught_up = Instant::now().checked_sub(age);
        }
        self.receiver = row.text(2).to_owned();
        Ok(Reception {
            replayed: row.value(0).unwrap_or_default(),
            streaming_from: streaming.then(|| format!("{}:{}", row.text(3), row.text(4))),
            is_paused: row.is_true(7),
            lag: self.caught_up.map(|at| at.elapsed()),
        })
    }
}

/// Looks at a replica that somebody else runs.
pub struct Probe {
    monitor: Monitor,
    freshness: Freshness,
}

impl Probe {
    pub fn new(socket: PathBuf) -> Self {
        Self { monitor: Monitor::new(socket), freshness: Freshness::default() }
    }

    /// Whether it receives its upstream's log now, and how long ago it was last known to have replayed all of it.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked.
    pub async fn look(&mut self) -> Result<(bool, Option<Duration>), LoginError> {
        self.monitor.renew().await?;
        let reception = self.freshness.look(&mut self.monitor).await?;
        Ok((reception.streaming_from.is_some(), reception.lag))
    }
}
