//! Tells the fencer until when PostgreSQL may run: with every renewal, whatever long work the governor is in the middle of.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::fence::{self, Fencer, Order};
use super::lease::Lease;
use crate::postgres::process;

/// How long a renewal may go unnoticed.
const LOOK: Duration = Duration::from_millis(300);

/// The agent's side of the fencer.
pub struct Guard {
    lease: Arc<Lease>,
    run_dir: PathBuf,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    fencer: Option<Fencer>,
    /// The primary's postmaster and its start time; 0 for none.
    pid: u32,
    start_time: u64,
}

impl Guard {
    /// `run_dir`: where the fencer's pid is noted, for the next agent.
    pub fn new(lease: Arc<Lease>, run_dir: PathBuf) -> Self {
        Self { lease, run_dir, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The postmaster that must not outlive the lease; 0 for none.
    pub fn watch(&self, pid: u32) {
        let mut kept = self.kept();
        if kept.pid != pid {
            (kept.pid, kept.start_time) = (pid, process::start_time(pid).unwrap_or_default());
        }
        self.tell(&mut kept);
    }

    /// Passes renewals on for as long as the agent lives.
    pub async fn keep(&self) {
        loop {
            let _ = timeout(LOOK, self.lease.changed()).await;
            self.tell(&mut self.kept());
        }
    }

    /// Ends the fencer: PostgreSQL has stopped.
    pub fn end(&self) {
        let mut kept = self.kept();
        kept.pid = 0;
        if let Some(fencer) = kept.fencer.take() {
            fencer.end();
        }
    }

    fn tell(&self, kept: &mut Kept) {
        let order = match self.lease.tenure() {
            Some(tenure) if kept.pid != 0 && tenure.deadline != u64::MAX => {
                Order { deadline: tenure.deadline, pid: kept.pid, start_time: kept.start_time }
            }
            _ => Order { deadline: u64::MAX, pid: 0, start_time: 0 },
        };
        if kept.fencer.is_none() {
            if order.pid == 0 {
                return;
            }
            match Fencer::start() {
                Ok(fencer) => kept.fencer = Some(fencer),
                Err(error) => return tracing::error!(%error, "the fencer cannot be started"),
            }
        }
        let Some(fencer) = &mut kept.fencer else { return };
        if let Err(error) = fencer.tell(order) {
            tracing::error!(%error, "the fencer is gone; starting another");
            kept.fencer = None;
            return;
        }
        // The fencer of an earlier agent would stop PostgreSQL at a deadline that has moved.
        fence::replace_earlier(&self.run_dir, fencer.pid());
    }
}
