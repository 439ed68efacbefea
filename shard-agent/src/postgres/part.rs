//! What a running server is told: whom to follow, whose confirmation to wait for, to become the primary.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use super::conf::{CONNINFO, SYNC};
use super::lsn::Lsn;
use super::replication::{Position, SLOT_PREFIX, SyncNames, Upstream, slot_name};
use super::server::Server;
use super::{PostgresError, process, timelines};

/// How long one statement of these may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long a change of the configuration may take to be in force.
const CHANGE_MAX: Duration = Duration::from_secs(10);
/// How long a promotion may take.
const PROMOTION_MAX: Duration = Duration::from_secs(60);
/// How often PostgreSQL is asked whether it has got there.
const POLL: Duration = Duration::from_millis(10);
/// A signal that was sent to every process has reached the last of them after this.
const GRACE: Duration = Duration::from_millis(50);
/// Without a receiver whose position tells the end of the log, the replay has come to it when it has not moved for this long:
/// more than two rounds of `wal_retrieve_retry_interval`.
const AT_REST: Duration = Duration::from_millis(500);

/// Whether the server is in recovery.
pub(super) const IN_RECOVERY: &str = "SELECT pg_is_in_recovery()";
/// As a walsender is answered: system identifier, timeline, and how far the log is on disk.
pub(super) const IDENTIFY: &str = "IDENTIFY_SYSTEM";

impl Server {
    /// Makes a replica receive from `upstream`; returns when that is in force, or at once when it answers nobody yet. With `None`:
    /// when it receives nothing any more, from anybody.
    ///
    /// # Errors
    /// When it is not a running replica, or does not do it within 10 s.
    pub async fn follow(&mut self, upstream: Option<&Upstream>) -> Result<(), PostgresError> {
        let answers = match self.must_be("a replica").await {
            // It may need its new upstream in order to get there.
            Err(PostgresError::Statement(error)) if upstream.is_some() && self.is_starting(&error) => false,
            is => is.map(|()| true)?,
        };
        self.part.follow(&self.settings, upstream);
        self.configure().await?;
        self.memory.forget_log(&self.settings);
        if !answers {
            return Ok(());
        }
        let deadline = Instant::now() + CHANGE_MAX;
        self.in_force(CONNINFO, deadline).await?;
        if upstream.is_some() {
            return Ok(());
        }
        sleep(GRACE).await;
        let mut gone_since = None;
        loop {
            let sql = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walreceiver'";
            let receivers: Vec<u32> = self.rows(sql, ANSWER_MAX).await?.iter().filter_map(|row| row.value(0)).collect();
            if receivers.is_empty() {
                let gone_since = *gone_since.get_or_insert_with(Instant::now);
                if gone_since.elapsed() >= GRACE * 2 {
                    return Ok(());
                }
            } else {
                // A replay that is behind asks it to end only when it has caught up.
                gone_since = None;
                process::signal(&receivers, Signal::SIGTERM);
            }
            late_after(deadline, "the end of the WAL receiver", CHANGE_MAX)?;
            sleep(POLL).await;
        }
    }

    /// Waits until a running replica has replayed all that it has received. Queries on it that hold the replay up are ended.
    ///
    /// # Errors
    /// When it is not a running replica, or it takes longer than `at_most`.
    pub async fn replayed(&mut self, at_most: Duration) -> Result<Position, PostgresError> {
        const SQL: &str = "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn(), pg_last_wal_receive_lsn(), \
            s.wait_event_type, s.wait_event FROM (VALUES (1)) AS one(row) \
            LEFT JOIN pg_stat_activity s ON s.backend_type = 'startup'";
        let deadline = Instant::now() + at_most;
        let mut at_rest: Option<(Lsn, Instant)> = None;
        loop {
            let row = self.row(SQL, ANSWER_MAX.min(at_most)).await?;
            if !row.is_true(0) {
                return Err(PostgresError::Role { is: "a primary", wanted: "a replica" });
            }
            let (replayed, received) = (row.value::<Lsn>(1), row.value::<Lsn>(2));
            if let Some(replayed) = replayed {
                let since = match at_rest {
                    Some((lsn, since)) if lsn == replayed => since,
                    _ => Instant::now(),
                };
                at_rest = Some((replayed, since));
                let waits = matches!(row.text(4), "RecoveryWalStream" | "RecoveryRetrieveRetryInterval");
                // The last record may have come only in part, and then is not replayed.
                if received.is_some_and(|received| replayed >= received) || waits && since.elapsed() > AT_REST {
                    let identified = self.row(IDENTIFY, ANSWER_MAX.min(at_most)).await?;
                    return Ok(Position { timeline: identified.required(1)?, lsn: replayed });
                }
            }
            if matches!(row.text(3), "BufferPin" | "Lock") || row.text(4).starts_with("RecoveryConflict") {
                self.end_readers().await?;
            }
            late_after(deadline, "the replay of what was received", at_most)?;
            sleep(POLL).await;
        }
    }

    /// Ends sessions whose transaction may hold the replay up.
    async fn end_readers(&mut self) -> Result<(), PostgresError> {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
            WHERE backend_type = 'client backend' AND xact_start IS NOT NULL";
        let ended = self.row(sql, ANSWER_MAX).await?;
        tracing::info!(sessions = ended.text(0), "ended readers that held the replay up");
        Ok(())
    }

    /// Makes a running replica a primary, synchronous from its first transaction on; returns when it takes writes. Its timeline
    /// is at least `timeline_min`, so that no two leaderships ever share one: a node that was promoted and died unheard
    /// must not be taken for one that can simply follow.
    ///
    /// # Errors
    /// When it is not a running replica, or is not promoted within 60 s.
    pub async fn promote(&mut self, sync: &SyncNames, timeline_min: u32) -> Result<Position, PostgresError> {
        self.must_be("a replica").await?;
        self.part.follow(&self.settings, None);
        self.require(sync, Instant::now() + CHANGE_MAX).await?;
        let current: u32 = self.row(IDENTIFY, ANSWER_MAX).await?.required(1)?;
        timelines::occupy(&self.settings.data_dir, current, timeline_min)?;
        let deadline = Instant::now() + PROMOTION_MAX;
        self.row("SELECT pg_promote(false)", ANSWER_MAX).await?;
        while self.row(IN_RECOVERY, ANSWER_MAX).await?.is_true(0) {
            late_after(deadline, "the promotion", PROMOTION_MAX)?;
            sleep(POLL).await;
        }
        let identified = self.row(IDENTIFY, ANSWER_MAX).await?;
        let position = Position { timeline: identified.required(1)?, lsn: identified.required(2)? };
        if position.timeline < timeline_min {
            return Err(PostgresError::Timeline { timeline: position.timeline, timeline_min });
        }
        self.status.send_modify(|status| status.in_recovery = false);
        tracing::info!(timeline = position.timeline, lsn = %position.lsn, "promoted");
        Ok(position)
    }

    /// Changes who must confirm commits; returns when the change is in force everywhere in PostgreSQL, with the WAL position
    /// after which it holds for every commit.
    ///
    /// # Errors
    /// When it is not a running primary, or the change is not in force within 10 s (then it may become so later).
    pub async fn set_sync(&mut self, sync: &SyncNames) -> Result<Lsn, PostgresError> {
        self.must_be("a primary").await?;
        let deadline = Instant::now() + CHANGE_MAX;
        self.require(sync, deadline).await?;
        // Each walsender counts confirmations by the set it has read, and shows whether its own standby is in it.
        let names: Vec<String> = match sync.quorum {
            0 => Vec::new(),
            _ => sync.members.iter().map(|name| literal(&name.to_lowercase())).collect(),
        };
        let unread = format!(
            "SELECT count(*) FROM pg_stat_replication WHERE flush_lsn IS NOT NULL \
             AND (sync_priority > 0) <> (lower(application_name) = ANY (ARRAY[{}]::text[]))",
            names.join(", ")
        );
        while self.row(&unread, ANSWER_MAX).await?.text(0) != "0" {
            late_after(deadline, "the change of the synchronous set", CHANGE_MAX)?;
            sleep(POLL).await;
        }
        // One whose standby stays in the set does not show which quorum it has read.
        sleep(GRACE).await;
        // What was acknowledged before is on disk here; what is not may stay in memory for as long as nobody commits.
        self.row("SELECT pg_current_wal_flush_lsn()", ANSWER_MAX).await?.required(0)
    }

    /// Writes the synchronous set and waits until sessions go by it. Whether they wait for confirmations at all is for the checkpointer
    /// to say, and in some stretches of a checkpoint it does not hear; nobody has to wait for it when nobody is to be waited for.
    async fn require(&mut self, sync: &SyncNames, deadline: Instant) -> Result<(), PostgresError> {
        const SQL: &str = "SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
        let was_any = !self.part.value(SYNC).is_empty();
        self.part.require(sync);
        let is_any = !self.part.value(SYNC).is_empty();
        self.memory.sync_settled &= was_any == is_any;
        self.configure().await?;
        self.in_force(SYNC, deadline).await?;
        while is_any && !self.memory.sync_settled {
            sleep(GRACE).await;
            let row = self.row(SQL, ANSWER_MAX).await?;
            self.memory.sync_settled = matches!(row.text(0), "CheckpointerMain" | "CheckpointWriteDelay");
            late_after(deadline, "the change of the synchronous set", CHANGE_MAX)?;
        }
        Ok(())
    }

    /// Waits until the agent's own session has read the configuration that was written.
    async fn in_force(&mut self, setting: &'static str, deadline: Instant) -> Result<(), PostgresError> {
        let sql = format!("SELECT current_setting('{setting}')");
        let wanted = self.part.value(setting).to_owned();
        loop {
            let found = self.row(&sql, ANSWER_MAX).await?.text(0).to_owned();
            if found == wanted {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(PostgresError::Overridden { setting, found, wanted });
            }
            sleep(POLL).await;
        }
    }

    /// Makes slots for these members when they are missing, and drops those of others. On a primary, and on a replica that is about
    /// to be promoted (its first checkpoint must not remove what the others still need).
    ///
    /// # Errors
    /// When it is not running, or has no slots left.
    pub async fn keep_slots(&mut self, members: &[String]) -> Result<(), PostgresError> {
        let wanted: Vec<String> =
            members.iter().filter(|name| **name != self.settings.name).map(|name| slot_name(name)).collect();
        let sql =
            "SELECT slot_name, active, wal_status = 'lost' FROM pg_replication_slots WHERE slot_type = 'physical'";
        let mut there = Vec::new();
        for row in self.rows(sql, ANSWER_MAX).await?.iter().filter(|row| row.text(0).starts_with(SLOT_PREFIX)) {
            let (name, active, lost) = (row.text(0).to_owned(), row.is_true(1), row.is_true(2));
            // One that has lost its log says so for ever; a new one keeps what there is.
            if active || wanted.contains(&name) && !lost {
                there.push(name);
            } else {
                self.row(&format!("SELECT pg_drop_replication_slot('{name}')"), ANSWER_MAX).await?;
            }
        }
        for name in wanted.iter().filter(|name| !there.contains(name)) {
            self.row(&format!("SELECT pg_create_physical_replication_slot('{name}', true)"), ANSWER_MAX).await?;
        }
        Ok(())
    }

    async fn must_be(&mut self, wanted: &'static str) -> Result<(), PostgresError> {
        let is = if self.row(IN_RECOVERY, ANSWER_MAX).await?.is_true(0) { "a replica" } else { "a primary" };
        if is == wanted { Ok(()) } else { Err(PostgresError::Role { is, wanted }) }
    }
}

fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''").replace('\\', "\\\\");
    format!("E'{quoted}'")
}

fn late_after(deadline: Instant, what: &str, at_most: Duration) -> Result<(), PostgresError> {
    match Instant::now() > deadline {
        true => Err(PostgresError::Late { what: what.to_owned(), seconds: at_most.as_secs() }),
        false => Ok(()),
    }
}
