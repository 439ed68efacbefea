//! One node's PostgreSQL as its governor handles it: data directory and process. Nothing here decides.
//!
//! Every method is bounded in time, [`Server::ended`], [`Server::rewind`] and [`Server::rebuild`] apart, and each may be dropped half-way (a
//! timeout, a lost lease): what it began is taken up or cleared away by the next call.

use std::time::Duration;

use tokio::sync::watch;

use super::lsn::Lsn;
use super::observe::Observation;
use super::replication::{Position, StartAs, Stop, SyncNames, Upstream};
use super::{PostgresError, Status};
use crate::settings::Settings;

/// What lies in the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    Empty,
    /// A rewind did not finish: only a rebuild makes it usable.
    Torn,
    Present(Present),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    pub system_identifier: u64,
    /// The newest that the control file names; a replica may have replayed into a newer one since.
    pub timeline: u32,
    /// pg_controldata's "Database cluster state": "shut down", "in production", "in archive recovery", ...
    pub state: String,
    pub checkpoint: Lsn,
    /// It was a standby when it last ran (or is a copy of another node's): it can start as a replica only, and become primary by
    /// a promotion.
    pub standby: bool,
}

/// A postmaster that an earlier agent left running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    pub standby: bool,
}

/// What a rewind did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewound {
    /// This node had nothing that the source has not.
    NotNeeded,
    Done,
}

pub struct Server {
    settings: Settings,
    status: watch::Sender<Status>,
}

impl Server {
    /// A server, and what it will report: role and phase; whether the node serves is the governor's to say. `secret` is the
    /// cluster token, from which the replication role's password is derived.
    pub fn new(settings: Settings, secret: &str) -> (Self, watch::Receiver<Status>) {
        let (status, reports) = watch::channel(Status::starting());
        let _ = secret;
        (Self { settings, status }, reports)
    }

    /// # Errors
    /// When the directory holds something else, or cannot be read.
    pub async fn data(&self) -> Result<Data, PostgresError> {
        Err(self.not_running())
    }

    /// Makes the group's data. The replication role follows with the first observation as a primary.
    ///
    /// # Errors
    /// When there are data already, or initdb fails.
    pub async fn initdb(&mut self) -> Result<(), PostgresError> {
        Err(self.not_running())
    }

    /// Takes over a postmaster that an earlier agent left running on the data directory; `None` when there is none.
    ///
    /// # Errors
    /// When one is there on another port or socket and cannot be stopped, or its configuration cannot be written.
    pub async fn adopt(&mut self) -> Result<Option<Adopted>, PostgresError> {
        Ok(None)
    }

    /// Starts PostgreSQL and returns at once; [`Server::observe`] tells how it goes on. What a killed postmaster left running is
    /// ended first.
    ///
    /// # Errors
    /// When one runs already, the data are empty, torn or (as a primary) a standby's, or the program cannot be run.
    pub async fn start(&mut self, role: &StartAs) -> Result<(), PostgresError> {
        let _ = role;
        Err(self.not_running())
    }

    /// Makes a running replica receive from `upstream`; returns when that is in force. With `None`: when it receives nothing any
    /// more, from anybody.
    ///
    /// # Errors
    /// When it is not running, or does not do it within 10 s.
    pub async fn follow(&mut self, upstream: Option<&Upstream>) -> Result<(), PostgresError> {
        let _ = upstream;
        Err(self.not_running())
    }

    /// Waits until a running replica has replayed all that it has received. Queries on it that hold the replay up are ended.
    ///
    /// # Errors
    /// When it is not running, or it takes longer than `at_most`.
    pub async fn replayed(&mut self, at_most: Duration) -> Result<Position, PostgresError> {
        let _ = at_most;
        Err(self.not_running())
    }

    /// Makes a running replica a primary, synchronous from its first transaction on; returns when it takes writes. Its timeline
    /// is at least `timeline_min`, so that no two leaderships ever share one: a node that was promoted and died unheard
    /// must not be taken for one that can simply follow.
    ///
    /// # Errors
    /// When it is not a running replica, or is not promoted within 60 s.
    pub async fn promote(&mut self, sync: &SyncNames, timeline_min: u32) -> Result<Position, PostgresError> {
        let _ = (sync, timeline_min);
        Err(self.not_running())
    }

    /// Changes who must confirm commits; returns when the change is in force everywhere in PostgreSQL, with the WAL position
    /// after which it holds for every commit.
    ///
    /// # Errors
    /// When it is not a running primary, or the change is not in force within 10 s (then it may become so later).
    pub async fn set_sync(&mut self, sync: &SyncNames) -> Result<Lsn, PostgresError> {
        let _ = sync;
        Err(self.not_running())
    }

    /// Makes slots for these members when they are missing, and drops those of others. On a primary, and on a replica that is about
    /// to be promoted (its first checkpoint must not remove what the others still need).
    ///
    /// # Errors
    /// When it is not running, or has no slots left.
    pub async fn keep_slots(&mut self, members: &[String]) -> Result<(), PostgresError> {
        let _ = members;
        Err(self.not_running())
    }

    /// Stops PostgreSQL and everything it left; true when it shut down cleanly, by its own account.
    ///
    /// # Errors
    /// When even SIGKILL does not end it.
    pub async fn stop(&mut self, stop: Stop) -> Result<bool, PostgresError> {
        let _ = stop;
        Err(self.not_running())
    }

    /// Brings the stopped data back to where they are a prefix of `source`'s, a running primary; then they can start as a
    /// replica.
    ///
    /// # Errors
    /// When it cannot be done; [`Server::rebuild`] is the answer then. The data may be [`Data::Torn`].
    pub async fn rewind(&mut self, source: &Upstream) -> Result<Rewound, PostgresError> {
        let _ = source;
        Err(self.not_running())
    }

    /// Replaces the stopped data by a copy of `source`'s, a running primary that has a slot for this node. The old data stay until
    /// the copy is whole. `progress` hears bytes copied and bytes in all.
    ///
    /// # Errors
    /// When the copy fails; then all is as before.
    pub async fn rebuild(&mut self, source: &Upstream, progress: impl Fn(u64, u64)) -> Result<(), PostgresError> {
        progress(0, 0);
        let _ = source;
        Err(self.not_running())
    }

    /// How PostgreSQL is doing now; takes at most about 1 s.
    pub async fn observe(&mut self) -> Observation {
        self.status.send_modify(|_| ());
        Observation::Down { last_exit: String::new() }
    }

    /// Completes when the postmaster has died, saying how; never while there is none. Can be dropped and called again.
    pub async fn ended(&mut self) -> String {
        std::future::pending().await
    }

    fn not_running(&self) -> PostgresError {
        PostgresError::NotRunning { node: self.settings.name.clone() }
    }
}
