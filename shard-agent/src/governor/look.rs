//! What the governor sees: PostgreSQL, the store, and what it remembers, as [`atoll_control::decide`] wants it.

use std::collections::BTreeMap;

use atoll_control::decide::{Data, Patience, Position, Postgres, Seen, Tenure};
use atoll_control::record::{GroupRecord, Member, Reign};
use atoll_control::store::{Leader, View};

use super::clock::now_ms;
use super::standing::{Role, Standing};
use super::{Governor, Leaving, Report, SILENT_MS};
use crate::postgres::observe::{Observation, Trouble};
use crate::postgres::server;

/// A [`Seen`] that owns what it shows.
pub(super) struct Look {
    now: u64,
    record: GroupRecord,
    lease: Option<Option<Leader>>,
    free_since: u64,
    tenure: Option<Tenure>,
    data: Data,
    postgres: Postgres,
    serving: bool,
    reports: BTreeMap<String, Position>,
    recruited: u64,
    abstains_until: u64,
    founder: bool,
    rewind_failed: bool,
}

impl Look {
    pub(super) fn as_seen<'a>(&'a self, me: &'a str) -> Seen<'a> {
        Seen {
            me,
            now: self.now,
            patience: Patience::default(),
            record: &self.record,
            lease: self.lease.as_ref().map(Option::as_ref),
            free_since: self.free_since,
            tenure: self.tenure,
            data: self.data,
            postgres: &self.postgres,
            serving: self.serving,
            reports: &self.reports,
            recruited: self.recruited,
            abstains_until: self.abstains_until,
            founder: self.founder,
            rewind_failed: self.rewind_failed,
        }
    }
}

impl Governor {
    /// Looks at the store's last answer and at PostgreSQL.
    pub(super) async fn look(&mut self) {
        let read = self.views.borrow_and_update().clone();
        if let Some(view) = read {
            self.take_view(view);
        }
        while let Ok(report) = self.reported.try_recv() {
            self.take_report(report);
        }
        self.observation = self.server.observe().await;
        self.note_observation();
    }

    /// Takes a reading over, unless this node has written since.
    pub(super) fn take_view(&mut self, view: View) {
        self.read_at = now_ms();
        if self.view.as_ref().is_some_and(|known| known.revision > view.revision) {
            return;
        }
        let led = self.view.as_ref().and_then(|view| view.leader.as_ref());
        if led != view.leader.as_ref() {
            match (&view.leader, led) {
                (Some(leader), _) if leader.node != self.settings.name => {
                    self.events.note("leader", leader.epoch, format!("{} leads the group", leader.node));
                }
                (None, Some(last)) => {
                    self.events.note("lease_free", last.epoch, format!("the lease of {} has ended", last.node));
                }
                _ => {}
            }
        }
        if view.leader.is_some() {
            self.free_since = None;
        } else {
            self.free_since.get_or_insert_with(now_ms);
        }
        self.view = Some(view);
    }

    fn note_observation(&mut self) {
        let now = now_ms();
        match &self.observation {
            Observation::Down { last_exit } => {
                if self.was_starting {
                    self.failed_starts += 1;
                    self.was_starting = false;
                    let message = format!("PostgreSQL did not start: {last_exit}");
                    self.events.note("start_failed", self.epoch(), message);
                }
                (self.sync, self.sync_since) = (None, None);
            }
            Observation::Starting { .. } => self.was_starting = true,
            Observation::Unresponsive { .. } => {
                self.unresponsive_since.get_or_insert(now);
                return;
            }
            Observation::Replica(replica) => {
                (self.was_starting, self.failed_starts, self.as_primary) = (false, 0, false);
                if replica.streaming_from.is_some() {
                    self.replica_streamed = now;
                }
            }
            Observation::Primary(primary) => {
                (self.was_starting, self.failed_starts, self.as_primary) = (false, 0, true);
                self.sync_since.get_or_insert(primary.flushed);
                for standby in primary.standbys.iter().filter(|standby| standby.state == "streaming") {
                    self.streamed.insert(standby.name.clone(), now);
                }
            }
        }
        self.unresponsive_since = None;
    }

    pub(super) fn take_report(&mut self, report: Report) {
        if report.epoch != self.reports_for {
            return;
        }
        match report.position {
            Ok(position) => {
                let lsn = crate::postgres::lsn::Lsn(position.lsn);
                let message = format!("{} has the log up to {lsn} of timeline {}", report.member, position.timeline);
                self.events.note("report", report.epoch, message);
                self.reports.insert(report.member, position);
            }
            Err(reason) => {
                let message = format!("{} does not report: {reason}", report.member);
                self.events.note("report", report.epoch, message);
            }
        }
    }

    /// The record as last read; of a node that is alone and has not read it, what it must be.
    pub(super) fn record(&self) -> GroupRecord {
        if let Some(view) = &self.view {
            return view.record.clone();
        }
        let me = &self.settings.name;
        let Some(epoch) = self.memory.get().alone else { return GroupRecord::default() };
        let reign = Reign {
            epoch,
            leader: me.clone(),
            timeline: 0,
            start_lsn: String::new(),
            since_ms: 0,
            reason: String::new(),
        };
        GroupRecord {
            epoch,
            leader: me.clone(),
            members: BTreeMap::from([(me.clone(), self.member())]),
            history: vec![reign],
            ..GroupRecord::default()
        }
    }

    /// This node, as others are to reach it.
    pub(super) fn member(&self) -> Member {
        let settings = &self.settings;
        let advertised = if settings.advertise.is_empty() { &settings.listen } else { &settings.advertise };
        Member {
            agent_address: advertised.clone(),
            agent_socket: settings.agent_socket().display().to_string(),
            postgres_host: settings.postgres_host.clone(),
            postgres_port: settings.postgres_port,
            zone: settings.zone.clone(),
            capacity: settings.capacity,
        }
    }

    pub(super) async fn data(&mut self) -> Data {
        if let Some(data) = self.known_data.filter(|_| !matches!(self.observation, Observation::Down { .. })) {
            return data;
        }
        let data = self.read_data().await;
        self.known_data = Some(data);
        data
    }

    async fn read_data(&self) -> Data {
        let found = match self.server.data().await {
            Ok(server::Data::Present(found)) => found,
            // What is torn is of no use but to be replaced.
            Ok(server::Data::Empty | server::Data::Torn) => return Data::Empty,
            Err(error) => {
                tracing::error!("the data directory cannot be read: {error}");
                return Data::Empty;
            }
        };
        match self.memory.get().led {
            Some(led) => Data::Led { epoch: led.epoch, timeline: led.timeline },
            None if found.standby => Data::Standby,
            None => Data::Led { epoch: 0, timeline: found.timeline },
        }
    }

    pub(super) async fn seen(&mut self) -> Look {
        let now = now_ms();
        let record = self.record();
        // Who reported to the campaign that was won is expected to follow.
        if self.reports_for != record.epoch + 1 && self.lease.tenure().is_none() {
            self.reports.clear();
        }
        let answers = now.saturating_sub(self.read_at) <= SILENT_MS;
        let lease = self.view.as_ref().filter(|_| answers).map(|view| view.leader.clone());
        let postgres = self.postgres(now);
        Look {
            now,
            lease,
            free_since: self.free_since.unwrap_or(now),
            tenure: self.lease.tenure(),
            data: self.data().await,
            postgres,
            serving: self.serving,
            reports: self.reports.clone(),
            recruited: self.promises.newest_campaign(),
            abstains_until: self.promises.abstains_until(),
            founder: self.settings.bootstrap,
            rewind_failed: self.rewind_failed,
            record,
        }
    }

    fn postgres(&self, now: u64) -> Postgres {
        match &self.observation {
            Observation::Down { .. } => Postgres::Down { failed_starts: self.failed_starts },
            Observation::Starting { .. } => Postgres::Starting { as_primary: self.as_primary },
            Observation::Unresponsive { .. } => {
                Postgres::Unresponsive { since: self.unresponsive_since.unwrap_or(now), as_primary: self.as_primary }
            }
            Observation::Replica(replica) => Postgres::Replica {
                upstream: self.upstream.clone(),
                position: Position { timeline: replica.timeline, lsn: replica.received.0 },
                streamed: if replica.streaming_from.is_some() {
                    now
                } else if matches!(replica.trouble, Some(Trouble::LogRemoved(_))) {
                    0
                } else {
                    self.replica_streamed
                },
            },
            Observation::Primary(primary) => {
                let since = self.sync_since.unwrap_or(primary.flushed);
                let confirmed = primary.standbys.iter().filter(|standby| standby.flushed >= since);
                Postgres::Primary {
                    // Not known: as if nobody had been asked for, so that it is set first.
                    sync: self.sync.clone().unwrap_or_default(),
                    confirmed: confirmed.map(|standby| standby.name.clone()).collect(),
                    streamed: self.streamed.clone(),
                }
            }
        }
    }

    pub(super) fn standing_now(&self) -> Standing {
        let mut standing = Standing {
            record: self.record(),
            leader: self.view.as_ref().and_then(|view| view.leader.clone()),
            read_ms: self.read_ms(),
            ..Standing::default()
        };
        match &self.observation {
            Observation::Primary(primary) => {
                standing.epoch = self.epoch();
                (standing.timeline, standing.lsn) = (primary.timeline, primary.flushed.0);
                if self.serving {
                    standing.role = Role::Primary;
                } else {
                    standing.reason = "waits to be let in".into();
                }
                match &self.leaving {
                    Leaving::No => {}
                    Leaving::Draining(reason) => {
                        (standing.role, standing.draining, standing.reason) = (Role::Primary, true, reason.clone());
                    }
                    Leaving::Closed(reason) => standing.reason = reason.clone(),
                }
            }
            Observation::Replica(replica) => {
                standing.epoch = epoch_of(&standing.record, replica.timeline);
                (standing.timeline, standing.lsn) = (replica.timeline, replica.replayed.0);
                standing.lag_bytes = replica.received.0.saturating_sub(replica.replayed.0);
                let lag = replica.lag.map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX));
                standing.lag_ms = lag.unwrap_or(u64::MAX);
                if self.replica_streamed + 2500 > now_ms() {
                    standing.role = Role::Replica;
                } else {
                    standing.reason = match &replica.trouble {
                        Some(Trouble::LogRemoved(text) | Trouble::Diverged(text) | Trouble::Other(text)) => {
                            text.clone()
                        }
                        None => "receives nothing".into(),
                    };
                }
            }
            Observation::Starting { reason, .. } => standing.reason = reason.clone(),
            Observation::Unresponsive { .. } => standing.reason = "PostgreSQL does not answer".into(),
            Observation::Down { last_exit } => {
                let why = match &self.view {
                    None => "the lease store has not answered; ",
                    Some(view) if view.leader.is_none() => "nobody leads the group; ",
                    Some(_) => "",
                };
                standing.reason = format!("{why}PostgreSQL is down {last_exit}").trim().into()
            }
        }
        standing
    }
}

/// The epoch whose log a replica on this timeline has replayed: an earlier one than the group's until it has come to what the new leader
/// wrote. Before that it may have what no later primary has.
fn epoch_of(record: &GroupRecord, timeline: u32) -> u64 {
    record.history.iter().rev().find(|reign| reign.timeline == timeline).map_or(0, |reign| reign.epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_of_the_epoch_whose_log_it_replays() {
        let reign = |epoch, timeline| Reign {
            epoch,
            leader: String::new(),
            timeline,
            start_lsn: String::new(),
            since_ms: 0,
            reason: String::new(),
        };
        // The leader of epoch 2 went on as it was; epoch 5 has been won and not established.
        let record =
            GroupRecord { epoch: 5, history: vec![reign(1, 1), reign(2, 1), reign(4, 4)], ..GroupRecord::default() };
        assert_eq!([1, 2, 4].map(|timeline| epoch_of(&record, timeline)), [2, 0, 4]);
    }
}
