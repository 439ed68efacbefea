//! The loop that keeps PostgreSQL running until the agent is asked to stop.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::postmaster::{Postmaster, log_end};
use super::{Phase, PostgresError, Status, data_dir};
use crate::lanes::backend::Backend;
use crate::settings::Settings;

const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A PostgreSQL that ran this long is restarted at once when it dies.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// How often a replica is asked whether it still is one.
const ROLE_POLL: Duration = Duration::from_secs(1);

/// Owns PostgreSQL's process.
pub struct Keeper {
    settings: Settings,
    status: watch::Sender<Status>,
    restarts: metrics::Counter,
}

impl Keeper {
    /// A keeper, and what it will report.
    pub fn new(settings: Settings) -> (Self, watch::Receiver<Status>) {
        let (status, reports) = watch::channel(Status::starting());
        let restarts = metrics::counter!("atoll_agent_postgres_restarts_total");
        (Self { settings, status, restarts }, reports)
    }

    /// Starts PostgreSQL, or takes over one that is running on the data directory; returns once it accepts connections.
    ///
    /// # Errors
    /// When it does not start; with the end of its log.
    pub async fn start(&self) -> Result<Postmaster, PostgresError> {
        let mut postmaster = match Postmaster::adopt(&self.settings).await? {
            Some(postmaster) => postmaster,
            None => {
                data_dir::prepare(&self.settings).await?;
                Postmaster::start(&self.settings)?
            }
        };
        self.status.send_replace(Status { postmaster_pid: postmaster.pid(), ..Status::starting() });
        match self.until_running(&mut postmaster).await {
            Ok(()) => Ok(postmaster),
            Err(error) => {
                // What does not get ready is not left behind.
                let _ = postmaster.stop(Duration::from_secs(self.settings.stop_seconds_max)).await;
                Err(error)
            }
        }
    }

    async fn until_running(&self, postmaster: &mut Postmaster) -> Result<(), PostgresError> {
        let slow_after = Duration::from_secs(self.settings.start_seconds_slow);
        if let Ok(ready) = timeout(slow_after, postmaster.ready(&self.settings)).await {
            ready?;
        } else {
            // It may be replaying a long log after a crash: stopping it would only make it begin again.
            let (seconds, log) = (slow_after.as_secs(), log_end(&self.settings.postgres_log));
            let reason = format!("PostgreSQL has not accepted connections for {seconds} s; its log ends with:\n{log}");
            tracing::error!(pid = postmaster.pid(), "{reason}");
            self.status.send_modify(|status| status.reason = reason);
            postmaster.ready(&self.settings).await?;
        }
        let in_recovery = self.in_recovery().await?;
        let pid = postmaster.pid();
        self.status.send_replace(Status {
            phase: Phase::Running,
            reason: String::new(),
            postmaster_pid: pid,
            in_recovery,
        });
        tracing::info!(pid, in_recovery, "PostgreSQL is running");
        Ok(())
    }

    async fn in_recovery(&self) -> Result<bool, PostgresError> {
        let mut backend =
            Backend::login(&self.settings.postgres_socket(), "postgres", "postgres", &HashMap::new()).await?;
        Ok(backend.ask("SELECT pg_is_in_recovery()").await?.as_deref() == Some("t"))
    }

    /// Keeps PostgreSQL running, restarting it when it dies, until `stop`; then stops it.
    ///
    /// # Errors
    /// When it cannot be stopped.
    pub async fn keep(self, mut postmaster: Postmaster, stop: CancellationToken) -> Result<(), PostgresError> {
        let mut backoff = BACKOFF_MIN;
        loop {
            let since = Instant::now();
            let ended = tokio::select! {
                ended = postmaster.ended() => ended,
                () = stop.cancelled() => break,
                never = self.watch_role() => match never {},
            };
            tracing::error!(pid = postmaster.pid(), %ended, "PostgreSQL died");
            if since.elapsed() > HEALTHY_AFTER {
                backoff = BACKOFF_MIN;
            }
            self.failed(format!("PostgreSQL died ({ended})"));
            postmaster = loop {
                tokio::select! {
                    () = sleep(backoff) => (),
                    () = stop.cancelled() => return Ok(()),
                }
                backoff = (backoff * 2).min(BACKOFF_MAX);
                self.restarts.increment(1);
                let started = tokio::select! {
                    started = self.start() => started,
                    () = stop.cancelled() => return self.stop_what_runs().await,
                };
                match started {
                    Ok(postmaster) => break postmaster,
                    Err(error) => {
                        tracing::error!("PostgreSQL does not start again: {error}");
                        self.failed(error.to_string());
                    }
                }
            };
        }
        let pid = postmaster.pid();
        self.status.send_modify(|status| {
            status.phase = Phase::Stopping;
            status.reason = "the agent is stopping".into();
        });
        postmaster.stop(Duration::from_secs(self.settings.stop_seconds_max)).await?;
        self.status.send_modify(|status| status.postmaster_pid = 0);
        tracing::info!(pid, "PostgreSQL has stopped");
        Ok(())
    }

    /// Stops a postmaster that was left in the middle of its start.
    ///
    /// # Errors
    /// When it cannot be stopped.
    pub async fn stop_what_runs(&self) -> Result<(), PostgresError> {
        match Postmaster::adopt(&self.settings).await? {
            Some(mut postmaster) => postmaster.stop(Duration::from_secs(self.settings.stop_seconds_max)).await,
            None => Ok(()),
        }
    }

    fn failed(&self, reason: String) {
        self.status.send_replace(Status { phase: Phase::Failed, reason, postmaster_pid: 0, in_recovery: false });
    }

    /// Notices the end of recovery (a promotion by hand).
    async fn watch_role(&self) -> std::convert::Infallible {
        let mut ticks = interval(ROLE_POLL);
        loop {
            ticks.tick().await;
            if self.status.borrow().in_recovery && matches!(self.in_recovery().await, Ok(false)) {
                self.status.send_modify(|status| status.in_recovery = false);
            }
        }
    }
}
