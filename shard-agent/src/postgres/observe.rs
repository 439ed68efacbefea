//! How PostgreSQL is found to be doing.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::control_file::ControlFile;
use super::lsn::Lsn;
use super::monitor::Row;
use super::part::{IDENTIFY, IN_RECOVERY};
use super::postmaster::log_end;
use super::reception::Freshness;
use super::server::Server;
use super::{Phase, PostgresError, Status, process};
use crate::lanes::backend::LoginError;
use crate::settings::Settings;

/// How long one look may take.
const LOOK_MAX: Duration = Duration::from_millis(900);
/// How long the replication role may take to be seen to, once after each start.
const ROLE_MAX: Duration = Duration::from_secs(2);
/// How much of the log is read for what keeps a replica from receiving.
const LOG_BYTES_MAX: u64 = 64 << 10;

/// What one look at PostgreSQL shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// No postmaster; how the last one ended (with the end of its log when it had not become ready), or empty when
    /// none ran under this agent.
    Down {
        last_exit: String,
    },
    /// It accepts no connections yet.
    Starting {
        since: Instant,
        reason: String,
    },
    /// It runs but does not answer; since when it has not.
    Unresponsive {
        since: Instant,
    },
    Replica(Replica),
    Primary(Primary),
}

/// A running replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Of what it has replayed.
    pub timeline: u32,
    /// On its disk up to here.
    pub received: Lsn,
    pub replayed: Lsn,
    /// host:port of the server it receives from now.
    pub streaming_from: Option<String>,
    /// Why it receives nothing, as far as its log says.
    pub trouble: Option<Trouble>,
    /// How long ago it was last known to have replayed all that its upstream had; `None` when it never was since its start.
    /// In an idle group it stays below half of `wal_receiver_timeout`.
    pub lag: Option<Duration>,
    /// Why it cannot go on without a restart (as a replica): its primary's limits have grown.
    pub needs_restart: Option<String>,
}

/// What keeps a replica from receiving; the text is PostgreSQL's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The upstream no longer has the log that is missing here: only a rebuild helps.
    LogRemoved(String),
    /// This node has replayed what the upstream's history does not contain: a rewind or a rebuild.
    Diverged(String),
    /// Anything else, most often that the upstream cannot be reached; it goes on trying.
    Other(String),
}

/// A running primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Primary {
    pub timeline: u32,
    /// On its disk up to here.
    pub flushed: Lsn,
    /// Where the next record goes.
    pub inserted: Lsn,
    pub standbys: Vec<Standby>,
}

/// A replica, as its primary sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standby {
    /// The node's name.
    pub name: String,
    /// As pg_stat_replication has it: "streaming" once it has caught up.
    pub state: String,
    pub flushed: Lsn,
    pub replayed: Lsn,
    /// Whether its confirmations count towards the quorum.
    pub sync: bool,
}

/// What is remembered from one look to the next, since the postmaster started.
pub(super) struct Memory {
    started: Instant,
    /// It has answered.
    pub was_ready: bool,
    unresponsive_since: Option<Instant>,
    freshness: Freshness,
    /// Up to here the log tells of troubles past.
    log_from: u64,
    role_is_right: bool,
    /// The checkpointer knows whether anybody is to confirm commits.
    pub sync_settled: bool,
}

impl Memory {
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            was_ready: false,
            unresponsive_since: None,
            freshness: Freshness::default(),
            log_from: 0,
            role_is_right: false,
            sync_settled: false,
        }
    }

    /// Of a postmaster that was started or taken over now.
    pub fn of_start(settings: &Settings, sync_settled: bool) -> Self {
        Self { log_from: log_len(settings), sync_settled, ..Self::new() }
    }

    /// What the log says from now on counts.
    pub fn forget_log(&mut self, settings: &Settings) {
        self.log_from = log_len(settings);
    }
}

impl Server {
    /// How PostgreSQL is doing now; takes at most about 1 s.
    pub async fn observe(&mut self) -> Observation {
        let Some(pid) = self.postmaster_pid().await else { return Observation::Down { last_exit: self.last_exit() } };
        if process::is_stopped(pid) {
            return self.unresponsive("its postmaster is stopped");
        }
        let look = timeout(LOOK_MAX, self.look()).await;
        let observation = match look {
            Ok(Ok(observation)) => observation,
            Ok(Err(PostgresError::Login(error))) => match not_yet(&error, self.memory.was_ready) {
                Some(reason) => return self.starting(reason),
                None => return self.unresponsive(&error.to_string()),
            },
            Ok(Err(error)) => return self.unresponsive(&error.to_string()),
            Err(_) => return self.unresponsive("it gives no answer"),
        };
        let in_recovery = matches!(observation, Observation::Replica(_));
        self.memory.was_ready = true;
        self.memory.unresponsive_since = None;
        let status = Status { phase: Phase::Running, reason: String::new(), postmaster_pid: pid, in_recovery };
        self.status.send_if_modified(|old| {
            let changed = *old != status;
            *old = status;
            changed
        });
        if !in_recovery && !self.memory.role_is_right {
            self.see_to_role().await;
        }
        observation
    }

    pub(super) fn is_starting(&self, error: &LoginError) -> bool {
        not_yet(error, self.memory.was_ready).is_some()
    }

    fn starting(&mut self, mut reason: String) -> Observation {
        let since = self.memory.started;
        if since.elapsed() > Duration::from_secs(self.settings.start_seconds_slow) {
            let (seconds, log) = (since.elapsed().as_secs(), log_end(&self.settings.postgres_log));
            reason = format!("{reason}, for {seconds} s now; its log ends with:\n{log}");
        }
        self.status.send_if_modified(|status| {
            let changed = status.phase != Phase::Starting || status.reason != reason;
            (status.phase, status.reason) = (Phase::Starting, reason.clone());
            changed
        });
        Observation::Starting { since, reason }
    }

    fn unresponsive(&mut self, why: &str) -> Observation {
        let since = *self.memory.unresponsive_since.get_or_insert_with(|| {
            tracing::warn!("PostgreSQL does not answer: {why}");
            Instant::now()
        });
        Observation::Unresponsive { since }
    }

    async fn look(&mut self) -> Result<Observation, PostgresError> {
        self.monitor.renew().await?;
        if self.monitor.row(IN_RECOVERY).await.map_err(PostgresError::Statement)?.is_true(0) {
            self.look_at_replica().await.map(Observation::Replica)
        } else {
            self.look_at_primary().await.map(Observation::Primary)
        }
    }

    async fn look_at_primary(&mut self) -> Result<Primary, PostgresError> {
        // One session's row and the next one's of a standby that has just come again: it has what either says.
        const STANDBYS: &str = "SELECT application_name, \
            CASE WHEN bool_or(state = 'streaming') THEN 'streaming' ELSE max(state) END, \
            max(flush_lsn), max(replay_lsn), bool_or(sync_state IN ('sync', 'quorum')) \
            FROM pg_stat_replication WHERE flush_lsn IS NOT NULL GROUP BY application_name ORDER BY application_name";
        let identified = self.monitor.row(IDENTIFY).await.map_err(PostgresError::Statement)?;
        let inserted =
            self.monitor.row("SELECT pg_current_wal_insert_lsn()").await.map_err(PostgresError::Statement)?;
        let standbys = self.monitor.rows(STANDBYS).await.map_err(PostgresError::Statement)?;
        let standby = |row: &Row| {
            Ok(Standby {
                name: row.text(0).to_owned(),
                state: row.text(1).to_owned(),
                flushed: row.required(2)?,
                replayed: row.value(3).unwrap_or_default(),
                sync: row.is_true(4),
            })
        };
        Ok(Primary {
            timeline: identified.required(1)?,
            flushed: identified.required(2)?,
            inserted: inserted.required(0)?,
            standbys: standbys.iter().map(standby).collect::<Result<_, PostgresError>>()?,
        })
    }

    async fn look_at_replica(&mut self) -> Result<Replica, PostgresError> {
        let identified = self.monitor.row(IDENTIFY).await.map_err(PostgresError::Statement)?;
        let reception = self.memory.freshness.look(&mut self.monitor).await.map_err(PostgresError::Statement)?;
        let trouble = if reception.streaming_from.is_some() {
            self.memory.forget_log(&self.settings);
            None
        } else {
            trouble_in(&self.settings.postgres_log, self.memory.log_from)
        };
        let needs_restart = if reception.is_paused { self.limits_too_low().await? } else { None };
        let replayed = reception.replayed;
        Ok(Replica {
            timeline: identified.required(1)?,
            received: identified.required::<Lsn>(2)?.max(replayed),
            replayed,
            streaming_from: reception.streaming_from,
            trouble,
            lag: reception.lag,
            needs_restart,
        })
    }

    /// Whether a paused replay waits for higher limits; it may also have been paused by hand.
    async fn limits_too_low(&mut self) -> Result<Option<String>, PostgresError> {
        let required = ControlFile::read(&self.settings, &self.settings.data_dir).await?.limits;
        let rows = self.monitor.rows("SELECT name, setting FROM pg_settings WHERE vartype = 'integer'").await;
        for row in rows.map_err(PostgresError::Statement)? {
            if let (Some(required), Some(has)) = (required.get(row.text(0)), row.value::<u32>(1))
                && has < *required
            {
                return Ok(Some(format!("{} is {has} here and {required} on the primary", row.text(0))));
            }
        }
        Ok(None)
    }

    /// Makes the replication role what it should be. Tried again with the next look.
    async fn see_to_role(&mut self) {
        let seen_to = async {
            let (check, make) = (self.credentials.role_is_right(), self.credentials.make_role());
            if !self.monitor.row(&check).await?.is_true(0) {
                self.monitor.rows(&make).await?;
                tracing::info!("the replication role is set up");
            }
            Ok::<_, LoginError>(())
        };
        match timeout(ROLE_MAX, seen_to).await {
            Ok(Ok(())) => self.memory.role_is_right = true,
            Ok(Err(error)) => tracing::warn!("cannot set up the replication role: {error}"),
            Err(_) => tracing::warn!("cannot set up the replication role within {} s", ROLE_MAX.as_secs()),
        }
    }
}

/// Why a server that refuses or misses a login is still starting; None when it is not.
fn not_yet(error: &LoginError, was_ready: bool) -> Option<String> {
    match error {
        // Also when it begins anew because a backend crashed.
        LoginError::Refused { sqlstate, message } if sqlstate == "57P03" => Some(message.clone()),
        // It does not listen yet.
        LoginError::Io(_) if !was_ready => Some("PostgreSQL is starting".into()),
        _ => None,
    }
}

fn log_len(settings: &Settings) -> u64 {
    fs::metadata(&settings.postgres_log).map_or(0, |metadata| metadata.len())
}

/// What keeps a replica from receiving, by what its log has said since `from`.
fn trouble_in(log: &Path, from: u64) -> Option<Trouble> {
    let read = || {
        let mut log = File::open(log)?;
        let len = log.metadata()?.len();
        // It may have been truncated since.
        let from = if from > len { 0 } else { from };
        log.seek(SeekFrom::Start(from.max(len.saturating_sub(LOG_BYTES_MAX))))?;
        let mut bytes = Vec::new();
        log.read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    trouble_of(&String::from_utf8_lossy(&read().ok()?))
}

/// The newest cause that will not pass, otherwise the newest of all.
fn trouble_of(log: &str) -> Option<Trouble> {
    const REMOVED: [&str; 1] = ["has already been removed"];
    const DIVERGED: [&str; 4] = [
        "is not in this server's history",
        "forked off current database system timeline",
        "is behind recovery timeline",
        "database system identifier differs",
    ];
    let mut other = None;
    for line in log.lines().rev() {
        // Only of PostgreSQL's own processes: behind a session's "[pid]" comes user@database.
        let Some((_, said)) = line.split_once("] ") else { continue };
        let Some((severity, message)) = said.split_once(":  ") else { continue };
        let has = |words: &[&str]| words.iter().any(|words| message.contains(words));
        if !matches!(severity, "FATAL" | "ERROR" | "LOG") {
            continue;
        }
        if has(&REMOVED) {
            return Some(Trouble::LogRemoved(message.to_owned()));
        }
        if has(&DIVERGED) {
            return Some(Trouble::Diverged(message.to_owned()));
        }
        if severity != "LOG" && other.is_none() {
            other = Some(Trouble::Other(message.to_owned()));
        }
    }
    other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_a_replica_from_receiving_is_found_in_its_log() {
        let line = |said: &str| format!("2026-01-02 03:04:05.678 UTC [123] {said}\n");
        let unreachable = line("FATAL:  could not connect to the primary server: connection to server failed");
        let removed = line(
            "FATAL:  could not receive data from WAL stream: ERROR:  requested WAL segment 1 has already been removed",
        );
        let forked = line(
            "LOG:  new timeline 3 forked off current database system timeline 2 before current recovery point 0/5",
        );
        let session = line("a@b FATAL:  the requested thing has already been removed");
        let quiet = line("LOG:  started streaming WAL from primary at 0/3000000 on timeline 1");
        assert_eq!(trouble_of(&(session.clone() + &quiet)), None);
        assert!(
            matches!(trouble_of(&(quiet + &unreachable)), Some(Trouble::Other(text)) if text.starts_with("could not connect"))
        );
        assert!(matches!(trouble_of(&(removed + &unreachable + &session)), Some(Trouble::LogRemoved(_))));
        assert!(matches!(trouble_of(&(forked + &unreachable)), Some(Trouble::Diverged(_))));
    }

    #[test]
    fn a_refused_login_tells_a_start_from_a_server_that_is_stuck() {
        let refused = |sqlstate: &str| LoginError::Refused { sqlstate: sqlstate.into(), message: "no".into() };
        assert_eq!(not_yet(&refused("57P03"), true), Some("no".into()));
        assert_eq!(not_yet(&refused("53300"), false), None);
        let gone = || LoginError::Io(std::io::ErrorKind::ConnectionRefused.into());
        assert!(not_yet(&gone(), false).is_some());
        assert_eq!(not_yet(&gone(), true), None);
    }
}
