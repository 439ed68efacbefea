//! A node whose PostgreSQL Patroni runs: the agent never starts, stops, promotes or configures it. It asks Patroni's REST API ([`rest`]) what the node
//! is, and lets coordinators in for as long as the answers allow.
//!
//! The epoch is PostgreSQL's timeline, which every promotion raises. A primary serves no longer than Patroni's lock may last: when Patroni falls
//! silent, its standbys' Patronis will promote one of them once the lock has run out, while PostgreSQL here goes on. At that time the lanes end, too.

mod rest;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use atoll_control::store::Leader;
use nix::sys::signal::Signal;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::governor::clock::{now_ms, unix_ms};
use crate::governor::events::Events;
use crate::governor::lease::Lease;
use crate::governor::past_deadline;
use crate::governor::service::{Desk, Promises};
use crate::governor::standing::{Role, Standing};
use crate::lanes::slots::Slots;
use crate::node::Membership;
use crate::postgres::{Phase, Probe, Status, postmaster, process};
use crate::settings::{InvalidSettings, Settings};
use rest::{Report, Rest, Times};

const POLL: Duration = Duration::from_millis(500);
/// How often the group's times are read.
const TIMES_EVERY_MS: u64 = 10_000;
/// How long a replica may take to say what it receives.
const PROBE_MAX: Duration = Duration::from_secs(1);
/// How long an answer counts by itself.
const ANSWER_LASTS_MS: u64 = 3000;

/// Why a primary does not serve on.
const UNCONFIRMED: &str = "Patroni has not confirmed its lock in time: another node may be promoted";

/// One answer of Patroni.
struct Answer {
    /// When it was asked for: milliseconds since the machine started, and since 1970.
    asked: u64,
    asked_unix: u64,
    /// None until they could be read once.
    times: Option<Times>,
    report: Result<Report, String>,
    /// Of a replica: whether it receives now, and how far behind it is at most.
    receives: bool,
    lag: Option<Duration>,
}

/// Reports what Patroni makes of this node; see the module.
pub struct Follower {
    settings: Settings,
    slots: Arc<Slots>,
    lease: Arc<Lease>,
    events: Arc<Events>,
    standing: watch::Sender<Standing>,
    status: watch::Sender<Status>,
    answers: mpsc::Receiver<Answer>,
    /// When Patroni was asked what it last answered.
    heard_at: u64,
    lock: Lock,
    /// When the replica was last seen to receive.
    received_at: u64,
    _poll: AbortOnDropHandle<()>,
}

/// A follower, and how others see it.
pub struct Followed {
    pub follower: Follower,
    pub group: Membership,
    pub status: watch::Receiver<Status>,
}

impl Follower {
    /// Begins to ask Patroni.
    ///
    /// # Errors
    /// When `patroni_url` is malformed.
    pub fn start(settings: Settings, slots: Arc<Slots>) -> Result<Followed, InvalidSettings> {
        let rest = Rest::new(settings.patroni_address()?);
        let (answering, answers) = mpsc::channel(1);
        let poll = tokio::spawn(poll(rest, settings.postgres_socket(), answering));
        let waiting = Standing { reason: "Patroni has not answered yet".into(), ..Standing::default() };
        let (standing, standings) = watch::channel(waiting);
        let (status, statuses) = watch::channel(Status::starting());
        let lease = Arc::new(Lease::default());
        let events = Arc::new(Events::new(&settings.group, &settings.name));
        let desk = Arc::new(Desk {
            group: settings.group.clone(),
            node: settings.name.clone(),
            asks: None,
            standing: standings,
            promises: Arc::new(Promises::default()),
            events: Arc::clone(&events),
        });
        let group = Membership { desk, lease: Arc::clone(&lease) };
        let follower = Self {
            settings,
            slots,
            lease,
            events,
            standing,
            status,
            answers,
            heard_at: 0,
            lock: Lock::default(),
            received_at: 0,
            _poll: AbortOnDropHandle::new(poll),
        };
        Ok(Followed { follower, group, status: statuses })
    }

    /// Follows until `stop`. PostgreSQL goes on.
    pub async fn follow(mut self, stop: CancellationToken) {
        loop {
            let lease = Arc::clone(&self.lease);
            tokio::select! {
                Some(answer) = self.answers.recv() => self.hear(answer),
                () = past_deadline(&lease), if lease.tenure().is_some() => {
                    self.nothing(UNCONFIRMED);
                }
                () = stop.cancelled() => break,
            }
        }
        self.nothing("the agent is stopping");
    }

    fn hear(&mut self, answer: Answer) {
        let postmaster = postmaster::running_in(&self.settings.data_dir);
        match &answer.report {
            Ok(report) => {
                let standing = self.standing_of(report, &answer, postmaster);
                self.publish_status(phase_of(report), report, postmaster);
                self.heard_at = answer.asked;
                self.publish(standing);
            }
            Err(error) => self.miss(error, answer.asked, postmaster),
        }
    }

    /// Patroni has not answered. What it said last holds for a while, of a primary for as long as its lock.
    fn miss(&self, error: &str, asked: u64, postmaster: Option<u32>) {
        let role = self.standing.borrow().role;
        let counts = match role {
            // Until the lock's deadline, which ends it.
            Role::Primary => true,
            Role::Replica => self.heard_at + ANSWER_LASTS_MS > asked,
            Role::None => false,
        };
        if postmaster.is_none() {
            let reason = format!("PostgreSQL is not running, and Patroni does not answer: {error}");
            self.nothing(&reason);
            self.set_status(Status { phase: Phase::Failed, reason, postmaster_pid: 0, in_recovery: false });
        } else if !counts {
            self.nothing(&format!("Patroni does not answer: {error}"));
        }
    }

    fn standing_of(&mut self, report: &Report, answer: &Answer, postmaster: Option<u32>) -> Standing {
        let timeline = report.timeline.unwrap_or_default();
        let positions = &report.xlog;
        let mut standing = Standing {
            epoch: timeline.into(),
            timeline,
            read_ms: answer.asked_unix,
            lsn: positions.location.or(positions.replayed_location).unwrap_or_default(),
            ..Standing::default()
        };
        standing.record.epoch = standing.epoch;
        if !report.is_running() {
            standing.reason = format!("Patroni says that PostgreSQL is \"{}\"", report.state);
        } else if postmaster.is_none() {
            let data_dir = self.settings.data_dir.display();
            standing.reason = format!("PostgreSQL does not run on data_dir {data_dir}: is it Patroni's data_dir?");
        } else if timeline == 0 {
            standing.reason = "Patroni does not know its timeline yet".into();
        } else if !report.is_primary() {
            let received = positions.received_location.or(positions.replayed_location).unwrap_or_default();
            standing.lag_bytes = received.saturating_sub(standing.lsn);
            standing.lag_ms = answer.lag.map_or(u64::MAX, |lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX));
            if answer.receives {
                self.received_at = answer.asked;
            }
            if self.received_at > 0 && self.received_at + ANSWER_LASTS_MS > answer.asked {
                standing.role = Role::Replica;
            } else {
                standing.reason = "receives nothing".into();
            }
        } else if !report.holds_lock {
            standing.reason = "Patroni does not hold the group's lock".into();
        } else {
            let deadline = self.lock.deadline(report, answer.times, answer.asked, answer.asked_unix);
            if deadline > now_ms() {
                standing.role = Role::Primary;
                standing.leader = Some(Leader { node: self.settings.name.clone(), epoch: standing.epoch });
                self.lease.hold_until(standing.epoch, deadline);
            } else {
                standing.reason = UNCONFIRMED.into();
            }
        }
        standing
    }

    /// This node cannot be used now.
    fn nothing(&self, reason: &str) {
        let before = self.standing.borrow().clone();
        self.publish(Standing { role: Role::None, reason: reason.to_owned(), leader: None, ..before });
    }

    fn publish(&self, standing: Standing) {
        let before = self.standing.borrow().clone();
        if standing.role != Role::Primary {
            self.lease.give_up();
        }
        let changed = (before.role, before.epoch) != (standing.role, standing.epoch);
        if changed {
            let why = if standing.reason.is_empty() { String::new() } else { format!(": {}", standing.reason) };
            let told = format!("role \"{}\" on timeline {}{why}", standing.role.name(), standing.timeline);
            self.events.note("role", standing.epoch, told);
        }
        self.standing.send_if_modified(|last| {
            let differs = *last != standing;
            *last = standing;
            differs
        });
        if changed && before.role == Role::Primary {
            self.end_lanes();
        }
    }

    /// Ends the backends of all lanes: what they do counts for nothing once another node may be primary. A lane that is being opened finds
    /// the standing changed.
    fn end_lanes(&self) {
        let data_dir = &self.settings.data_dir;
        let pids: Vec<u32> =
            self.slots.pids().into_iter().filter(|pid| process::is_server_in(*pid, data_dir)).collect();
        if !pids.is_empty() {
            tracing::warn!(backends = pids.len(), "ending all lanes: this node is no longer primary");
            process::signal(&pids, Signal::SIGTERM);
        }
    }

    fn publish_status(&self, phase: Phase, report: &Report, postmaster: Option<u32>) {
        let reason = match phase {
            Phase::Running => String::new(),
            _ => format!("Patroni says that PostgreSQL is \"{}\"", report.state),
        };
        let postmaster_pid = postmaster.unwrap_or_default();
        self.set_status(Status { phase, reason, postmaster_pid, in_recovery: !report.is_primary() });
    }

    fn set_status(&self, status: Status) {
        self.status.send_if_modified(|last| {
            let differs = *last != status;
            *last = status;
            differs
        });
    }
}

fn phase_of(report: &Report) -> Phase {
    match report.state.as_str() {
        _ if report.is_running() => Phase::Running,
        "stopping" => Phase::Stopping,
        // Patroni cannot ask PostgreSQL.
        "unknown" | "crashed" | "stopped" => Phase::Failed,
        state if state.ends_with("failed") => Phase::Failed,
        _ => Phase::Starting,
    }
}

/// Until when Patroni's lock holds.
#[derive(Default)]
struct Lock {
    /// The last `dcs_last_seen`, and the deadline that it gave.
    seen: Option<(u64, u64)>,
}

impl Lock {
    /// Milliseconds since the machine started, for a report that confirms the lock and was asked for at `asked` (on that clock; `unix` since
    /// 1970).
    ///
    /// Patroni renews the lock for `ttl` each time that it has read its store, or tries to for `retry_timeout` before it gives up.
    /// In maintenance and in failsafe mode nobody is promoted while its Patroni answers so, whatever became of the lock.
    fn deadline(&mut self, report: &Report, times: Option<Times>, asked: u64, unix: u64) -> u64 {
        let by_answer = asked + ANSWER_LASTS_MS;
        let (Some(seen), Some(times)) = (report.dcs_last_seen, times) else { return by_answer };
        let lasts = times.ttl.saturating_sub(times.retry_timeout) * 1000;
        let age = unix.saturating_sub(seen.saturating_mul(1000));
        let mut by_lock = (asked + lasts).saturating_sub(age);
        // The clock that Patroni tells by may have been set back since.
        if let Some((_, deadline)) = self.seen.filter(|(before, _)| *before == seen) {
            by_lock = by_lock.min(deadline);
        }
        self.seen = Some((seen, by_lock));
        if report.pause || report.failsafe_mode_is_active { by_lock.max(by_answer) } else { by_lock }
    }
}

/// Asks on and on.
async fn poll(rest: Rest, socket: PathBuf, answers: mpsc::Sender<Answer>) {
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut probe = Probe::new(socket.clone());
    let (mut times, mut times_at) = (None, 0);
    loop {
        ticks.tick().await;
        if times.is_none() || times_at + TIMES_EVERY_MS < now_ms() {
            match rest.times().await {
                Ok(read) => (times, times_at) = (Some(read), now_ms()),
                Err(error) => tracing::debug!(%error, "Patroni's configuration"),
            }
        }
        let (asked, asked_unix) = (now_ms(), unix_ms());
        let report = rest.report().await.map_err(|error| error.to_string());
        let (mut receives, mut lag) = (false, None);
        if report.as_ref().is_ok_and(|report| report.is_running() && !report.is_primary()) {
            match timeout(PROBE_MAX, probe.look()).await {
                Ok(Ok((receiving, behind))) => (receives, lag) = (receiving, behind),
                Ok(Err(error)) => tracing::debug!(%error, socket = %socket.display(), "PostgreSQL's private socket"),
                Err(_) => tracing::debug!("PostgreSQL does not say what it receives"),
            }
        }
        if answers.send(Answer { asked, asked_unix, times, report, receives, lag }).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Option<Times> = Some(Times { ttl: 30, retry_timeout: 10 });

    fn seen(dcs_last_seen: Option<u64>) -> Report {
        Report { holds_lock: true, dcs_last_seen, ..Report::default() }
    }

    #[test]
    fn the_lock_lasts_from_when_the_store_was_last_read() {
        let mut lock = Lock::default();
        assert_eq!(lock.deadline(&seen(Some(1000)), TIMES, 50_000, 1_000_000), 70_000);
        assert_eq!(lock.deadline(&seen(Some(1000)), TIMES, 65_000, 1_015_000), 70_000);
        // The clock was set back by 10 s, then the store was read.
        assert_eq!(lock.deadline(&seen(Some(1000)), TIMES, 66_000, 1_006_000), 70_000);
        assert_eq!(lock.deadline(&seen(Some(1008)), TIMES, 68_000, 1_008_000), 88_000);
        // Never read.
        assert!(lock.deadline(&seen(Some(0)), TIMES, 69_000, 1_700_000_000_000) < 69_000);
    }

    #[test]
    fn without_a_lock_to_go_by_an_answer_lasts_a_moment() {
        let mut lock = Lock::default();
        assert_eq!(lock.deadline(&seen(None), TIMES, 50_000, 1_000_000), 50_000 + ANSWER_LASTS_MS);
        assert_eq!(lock.deadline(&seen(Some(1000)), None, 50_000, 1_000_000), 50_000 + ANSWER_LASTS_MS);
        for report in
            [Report { pause: true, ..seen(Some(900)) }, Report { failsafe_mode_is_active: true, ..seen(Some(900)) }]
        {
            assert_eq!(lock.deadline(&report, TIMES, 50_000, 1_000_000), 50_000 + ANSWER_LASTS_MS);
        }
        assert_eq!(lock.deadline(&Report { pause: true, ..seen(Some(1000)) }, TIMES, 50_000, 1_000_000), 70_000);
    }

    #[test]
    fn states_of_postgresql_are_told_apart() {
        for (state, phase) in [
            ("running", Phase::Running),
            ("streaming", Phase::Running),
            ("starting", Phase::Starting),
            ("creating replica", Phase::Starting),
            ("stopping", Phase::Stopping),
            ("start failed", Phase::Failed),
            ("unknown", Phase::Failed),
        ] {
            assert_eq!(phase_of(&Report { state: state.into(), ..Report::default() }), phase, "{state}");
        }
    }
}
