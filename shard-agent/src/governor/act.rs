//! Doing what was decided. Every action may be cut short or fail at any point: the next look tells what is left to do.

use std::collections::BTreeMap;
use std::time::Duration;

use atoll_control::decide::{Action, Position};
use atoll_control::quorum::SyncSet;
use atoll_control::record::{Electorate, GroupRecord, HISTORY_MAX, Reign};
use atoll_control::store::{Leader, StoreError, View};
use atoll_proto::v1::JoinRequest;

use super::clock::{now_ms, unix_ms};
use super::memory::Led;
use super::{Governor, Report};
use crate::postgres::Rewound;
use crate::postgres::observe::Observation;
use crate::postgres::replication::{StartAs, Stop, SyncNames, Upstream};
use crate::postgres::server;

/// A member that has not reported is asked again after so long.
const ASK_AGAIN_MS: u64 = 1500;
/// How long a node that gave the lease up leaves it to others.
const ABSTAIN_MS: u64 = 4000;
/// How long a standby may take to replay what it has received, before it reports.
pub(super) const REPLAY_WITHIN: Duration = Duration::from_secs(5);
/// How long a replica may take to shut down before it is copied or rewound.
const FAST_STOP: Duration = Duration::from_secs(10);
/// A promotion is begun only when the lease holds for at least so long.
const PROMOTE_WITHIN_MS: u64 = 1000;

fn names(sync: &SyncSet) -> SyncNames {
    SyncNames { members: sync.members.clone(), quorum: sync.quorum }
}

fn shown(sync: &SyncSet) -> String {
    match sync.quorum {
        0 => "commits wait for no standby".to_owned(),
        quorum => format!("commits wait for {quorum} of {}", sync.members.join(", ")),
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Governor {
    /// `Ok(false)`: there was nothing to do.
    pub(super) async fn act(&mut self, action: Action) -> Result<bool, String> {
        if action != Action::Wait {
            self.known_data = None;
        }
        match action {
            Action::Wait => return self.keep_house().await,
            Action::Acquire { epoch } => self.acquire(epoch, "").await?,
            Action::Resume => self.resume().await?,
            Action::StepDown { reason } => self.step_down(reason).await?,
            Action::Record(electorate) => self.record_electorate(electorate).await?,
            Action::Establish(electorate) => self.establish(electorate).await?,
            Action::Recruit { epoch } => return self.recruit(epoch).await,
            Action::Join => self.join().await?,
            Action::Initdb => {
                self.events.note("initdb", self.epoch(), "making the group's data");
                self.server.initdb().await.map_err(text)?;
            }
            Action::StartPrimary(sync) => self.start_primary(&sync).await?,
            Action::StartReplica { upstream } => {
                let source = upstream.as_deref().map(|name| self.upstream_named(name)).transpose()?;
                self.server.start(&StartAs::Replica { upstream: source }).await.map_err(text)?;
                (self.upstream, self.as_primary, self.was_starting) = (upstream, false, true);
                self.replica_streamed = now_ms();
            }
            Action::Follow { upstream } => {
                let source = self.upstream_named(&upstream)?;
                self.server.follow(Some(&source)).await.map_err(text)?;
                self.events.note("following", self.epoch(), format!("following {upstream}"));
                (self.upstream, self.replica_streamed) = (Some(upstream), now_ms());
            }
            Action::Promote(sync) => self.promote(&sync).await?,
            Action::SetSync(sync) => {
                let since = self.server.set_sync(&names(&sync)).await.map_err(text)?;
                self.events.note("sync_set", self.epoch(), shown(&sync));
                (self.sync, self.sync_since) = (Some(sync), Some(since));
            }
            Action::Stop { reason } => {
                self.events.note("stopped", self.epoch(), format!("stopping PostgreSQL: {reason}"));
                self.publish(false);
                self.server.stop(Stop::Immediate).await.map_err(text)?;
                self.was_starting = false;
            }
            Action::Rewind { source } => self.rewind(&source).await?,
            Action::Rebuild { source } => self.rebuild(&source).await?,
        }
        Ok(true)
    }

    fn upstream_named(&self, name: &str) -> Result<Upstream, String> {
        let record = self.record();
        let member = record.members.get(name).ok_or_else(|| format!("{name} is not a member of the group"))?;
        Ok(Upstream { name: name.to_owned(), host: member.postgres_host.clone(), port: member.postgres_port })
    }

    /// Until when a lease holds that was taken or renewed by a call sent at `sent`.
    fn deadline(&self, sent: u64) -> u64 {
        sent + self.settings.lease_ttl_ms - self.settings.lease_margin_ms
    }

    /// What this node has written, or must read again.
    fn wrote(&mut self, record: GroupRecord, revision: u64) {
        if let Some(view) = &mut self.view {
            (view.record, view.revision) = (record, revision);
        }
    }

    /// Reads the group now.
    pub(super) async fn refresh(&mut self) -> Result<(), String> {
        let view = self.store.read(&self.settings.group).await.map_err(text)?;
        self.view = None;
        self.take_view(view);
        Ok(())
    }

    /// Takes the lease; `reason` overrides what the history will say.
    pub(super) async fn acquire(&mut self, epoch: u64, reason: &str) -> Result<(), String> {
        if !self.promises.campaign(epoch) {
            return Ok(());
        }
        let Some(View { mut record, revision, .. }) = self.view.clone() else { return Ok(()) };
        record.epoch = epoch;
        let me = self.settings.name.clone();
        let is_first = record.members.is_empty();
        if is_first {
            record.members.insert(me.clone(), self.member());
        }
        if record.wish.switchover_to.as_deref() == Some(me.as_str()) {
            record.wish.switchover_to = None;
        }
        let leader = Leader { node: me, epoch };
        let ttl = Duration::from_millis(self.settings.lease_ttl_ms);
        let sent = now_ms();
        let taken = self.store.acquire(&self.settings.group, revision, &record, &leader, ttl).await;
        let (id, revision) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                // Somebody else was faster, or it is not known who was.
                self.refresh().await?;
                return if error == StoreError::Conflict { Ok(()) } else { Err(text(error)) };
            }
        };
        self.lease.hold(id, epoch, self.deadline(sent));
        self.view = Some(View { record, revision, leader: Some(leader), lease: Some(id) });
        self.free_since = None;
        self.won_because = reason.to_owned();
        let message = format!("won the lease for epoch {epoch}{}{reason}", if reason.is_empty() { "" } else { ": " });
        self.events.note("lease_won", epoch, message);
        self.settle_alone()
    }

    /// The lease of before a restart.
    async fn resume(&mut self) -> Result<(), String> {
        let Some(View { leader: Some(leader), lease: Some(id), .. }) = self.view.clone() else { return Ok(()) };
        let sent = now_ms();
        match self.store.renew(&self.settings.group, id).await {
            Ok(()) => {
                self.lease.hold(id, leader.epoch, self.deadline(sent));
                self.events.note("lease_resumed", leader.epoch, "went on with the lease of before the restart");
                self.settle_alone()
            }
            Err(StoreError::Conflict) => self.refresh().await,
            Err(error) => Err(text(error)),
        }
    }

    /// A group of one needs no lease: remembered on disk, so that its node serves whatever becomes of the store.
    fn settle_alone(&mut self) -> Result<(), String> {
        let record = self.record();
        let Some(tenure) = self.lease.tenure() else { return Ok(()) };
        let is_alone = record.members.len() == 1 && record.members.contains_key(&self.settings.name);
        if !is_alone || !tenure.leased {
            return Ok(());
        }
        self.memory.change(|memory| memory.alone = Some(tenure.epoch)).map_err(text)?;
        self.lease.hold_alone(tenure.epoch);
        Ok(())
    }

    async fn step_down(&mut self, reason: &str) -> Result<(), String> {
        let epoch = self.epoch();
        self.events.note("demoted", epoch, format!("stepping down: {reason}"));
        self.publish(false);
        self.promises.abstain(now_ms() + ABSTAIN_MS);
        let stopped = self.server.stop(Stop::Immediate).await;
        (self.was_starting, self.failed_starts) = (false, 0);
        if let Some(id) = self.lease.give_up() {
            // What cannot be released expires.
            let _ = self.store.release(&self.settings.group, id).await;
        }
        self.view = None;
        stopped.map(drop).map_err(text)
    }

    /// Writes the record while holding the lease.
    pub(super) async fn update(&mut self, change: impl FnOnce(&mut GroupRecord)) -> Result<(), String> {
        let (Some(id), Some(view)) = (self.lease.id(), self.view.clone()) else {
            return Err("the lease store has not been reached".into());
        };
        let mut record = view.record;
        change(&mut record);
        match self.store.update(&self.settings.group, id, view.revision, &record).await {
            Ok(revision) => {
                self.wrote(record, revision);
                Ok(())
            }
            Err(error) => {
                self.refresh().await?;
                Err(text(error))
            }
        }
    }

    async fn record_electorate(&mut self, electorate: Electorate) -> Result<(), String> {
        let message = if electorate.reports > electorate.members.len() {
            "only this node can lead".to_owned()
        } else {
            format!("{} of {} can elect", electorate.reports, electorate.members.join(", "))
        };
        self.update(|record| record.electorate = electorate).await?;
        self.events.note("electorate", self.epoch(), message);
        Ok(())
    }

    async fn establish(&mut self, electorate: Electorate) -> Result<(), String> {
        let Observation::Primary(primary) = &self.observation else { return Ok(()) };
        let (timeline, epoch, me) = (primary.timeline, self.epoch(), self.settings.name.clone());
        let start = self.promoted;
        let won_because = self.won_because.clone();
        self.update(|record| {
            let known = record.history.iter().rev().find(|reign| reign.timeline == timeline);
            let start_lsn = match (known, start) {
                (Some(reign), _) => reign.start_lsn.clone(),
                (None, Some(lsn)) => lsn.to_string(),
                (None, None) => "0/0".to_owned(),
            };
            let reason = match (won_because.as_str(), record.leader.as_str()) {
                ("", "") => "the group began".to_owned(),
                ("", last) if last == me => "it took the lease again".to_owned(),
                ("", last) => format!("{last} had lost the lease"),
                (because, _) => because.to_owned(),
            };
            record.leader = me;
            record.electorate = electorate;
            record.history.push(Reign {
                epoch,
                leader: record.leader.clone(),
                timeline,
                start_lsn,
                since_ms: unix_ms(),
                reason,
            });
            let surplus = record.history.len().saturating_sub(HISTORY_MAX);
            record.history.drain(..surplus);
        })
        .await?;
        self.events.note("established", epoch, format!("leads the group on timeline {timeline}"));
        metrics::counter!("atoll_agent_leaderships_total").increment(1);
        self.settle_alone()
    }

    /// Reports first, then asks the others; their answers come in while the governor goes on.
    async fn recruit(&mut self, epoch: u64) -> Result<bool, String> {
        let now = now_ms();
        if self.reports_for == epoch && now.saturating_sub(self.reports_asked) < ASK_AGAIN_MS {
            return Ok(false);
        }
        // Those asked look for themselves; so does the one who asks.
        self.refresh().await?;
        if self.view.as_ref().is_none_or(|view| view.leader.is_some() || view.record.epoch + 1 != epoch) {
            return Ok(true);
        }
        if !self.promises.campaign(epoch) {
            return Ok(false);
        }
        self.reports.clear();
        (self.reports_for, self.reports_asked) = (epoch, now);
        let own = self.report().await?;
        self.reports.insert(self.settings.name.clone(), own);
        self.events.note("campaign", epoch, "the lease is free: asking the standbys how far they are");
        let record = self.record();
        for name in record.electorate.members.iter().filter(|name| **name != self.settings.name) {
            let Some(member) = record.members.get(name).cloned() else { continue };
            let (peers, reporters, name) = (self.peers.clone(), self.reporters.clone(), name.clone());
            tokio::spawn(async move {
                let position = peers.report(&name, &member, epoch).await;
                let _ = reporters.send(Report { epoch, member: name, position }).await;
            });
        }
        Ok(true)
    }

    /// Receives nothing more, replays everything, and says how far that is.
    pub(super) async fn report(&mut self) -> Result<Position, String> {
        self.server.follow(None).await.map_err(text)?;
        self.upstream = None;
        let position = self.server.replayed(REPLAY_WITHIN).await.map_err(text)?;
        Ok(Position { timeline: position.timeline, lsn: position.lsn.0 })
    }

    async fn join(&mut self) -> Result<(), String> {
        let record = self.record();
        let leader = self.view.as_ref().and_then(|view| view.leader.clone());
        let Some(leader) = leader else { return Ok(()) };
        let member = record.members.get(&leader.node).ok_or("the leader is not a member of its group")?;
        let me = self.member();
        let request = JoinRequest {
            group: self.settings.group.clone(),
            name: self.settings.name.clone(),
            agent_address: me.agent_address,
            agent_socket: me.agent_socket,
            postgres_host: me.postgres_host,
            postgres_port: me.postgres_port.into(),
            zone: me.zone,
            capacity: me.capacity,
        };
        let taken_in = self.peers.join(&leader.node, member, request).await;
        taken_in.map_err(|reason| format!("{} does not take this node in: {reason}", leader.node))?;
        self.events.note("joined", leader.epoch, format!("{} took this node into the group", leader.node));
        self.refresh().await
    }

    async fn start_primary(&mut self, sync: &SyncSet) -> Result<(), String> {
        let epoch = self.epoch();
        let timeline = match self.server.data().await.map_err(text)? {
            server::Data::Present(found) => found.timeline,
            server::Data::Empty | server::Data::Torn => return Err("there are no data to start with".into()),
        };
        self.memory.change(|memory| memory.led = Some(Led { epoch, timeline })).map_err(text)?;
        let now = now_ms();
        // Who was there is expected back before anything else is concluded.
        let expected = self.record().electorate.members;
        self.streamed = expected.into_iter().chain(sync.members.iter().cloned()).map(|name| (name, now)).collect();
        self.server.start(&StartAs::Primary { sync: names(sync) }).await.map_err(text)?;
        (self.as_primary, self.was_starting) = (true, true);
        (self.sync, self.sync_since, self.promoted) = (Some(sync.clone()), None, None);
        self.events.note("started", epoch, format!("PostgreSQL was started as the primary; {}", shown(sync)));
        Ok(())
    }

    async fn promote(&mut self, sync: &SyncSet) -> Result<(), String> {
        let Some(tenure) = self.lease.tenure() else { return Ok(()) };
        if tenure.deadline.saturating_sub(now_ms()) < PROMOTE_WITHIN_MS {
            return Err("the lease ends too soon for a promotion".into());
        }
        let Observation::Replica(replica) = &self.observation else { return Ok(()) };
        let next = (replica.timeline + 1).max(u32::try_from(tenure.epoch).unwrap_or(u32::MAX));
        let led = Led { epoch: tenure.epoch, timeline: next };
        self.memory.change(|memory| memory.led = Some(led)).map_err(text)?;
        let others: Vec<String> = self.others();
        self.server.keep_slots(&others).await.map_err(text)?;
        let position = self.server.promote(&names(sync), next).await.map_err(text)?;
        let led = Led { epoch: tenure.epoch, timeline: position.timeline };
        self.memory.change(|memory| memory.led = Some(led)).map_err(text)?;
        let now = now_ms();
        self.streamed = self.reports.keys().map(|name| (name.clone(), now)).collect::<BTreeMap<_, _>>();
        self.as_primary = true;
        (self.sync, self.sync_since, self.promoted) = (Some(sync.clone()), None, Some(position.lsn));
        let (lsn, timeline) = (position.lsn, position.timeline);
        self.events.note(
            "promoted",
            tenure.epoch,
            format!("promoted at {lsn} to timeline {timeline}; {}", shown(sync)),
        );
        Ok(())
    }

    fn others(&self) -> Vec<String> {
        self.record().members.into_keys().filter(|name| *name != self.settings.name).collect()
    }

    async fn stop_to_change(&mut self) -> Result<(), String> {
        if !matches!(self.observation, Observation::Down { .. }) {
            self.server.stop(Stop::Fast { at_most: FAST_STOP }).await.map_err(text)?;
        }
        self.was_starting = false;
        Ok(())
    }

    async fn rewind(&mut self, source: &str) -> Result<(), String> {
        let upstream = self.upstream_named(source)?;
        self.stop_to_change().await?;
        match self.server.rewind(&upstream).await {
            Ok(done) => {
                self.memory.change(|memory| memory.led = None).map_err(text)?;
                self.rewind_failed = false;
                let message = match done {
                    Rewound::NotNeeded => format!("nothing had to be taken back to follow {source}"),
                    Rewound::Done => format!("took back what {source} does not have"),
                };
                self.events.note("rewound", self.epoch(), message);
                Ok(())
            }
            Err(error) => {
                self.rewind_failed = true;
                Err(format!("rewinding to {source}: {error}; the data will be copied anew"))
            }
        }
    }

    pub(super) async fn rebuild(&mut self, source: &str) -> Result<(), String> {
        let upstream = self.upstream_named(source)?;
        self.stop_to_change().await?;
        self.events.note("rebuilding", self.epoch(), format!("copying the data of {source}"));
        let copied = metrics::gauge!("atoll_agent_rebuild_bytes");
        let total = metrics::gauge!("atoll_agent_rebuild_bytes_total");
        let standing = self.standing.clone();
        let progress = move |done: u64, all: u64| {
            copied.set(done as f64);
            total.set(all as f64);
            standing.send_modify(|standing| {
                standing.reason = "copying the leader's data".into();
                standing.copied = (done, all);
            });
        };
        self.server.rebuild(&upstream, progress).await.map_err(|error| format!("copying from {source}: {error}"))?;
        self.memory.change(|memory| memory.led = None).map_err(text)?;
        (self.rewind_failed, self.failed_starts) = (false, 0);
        self.events.note("rebuilt", self.epoch(), format!("the data were copied from {source}"));
        Ok(())
    }

    /// What has to be kept in order while nothing else is to be done.
    async fn keep_house(&mut self) -> Result<bool, String> {
        if let Observation::Replica(replica) = &self.observation
            && let Some(reason) = replica.needs_restart.clone()
        {
            self.events.note("restarting", self.epoch(), format!("restarting the replica: {reason}"));
            self.stop_to_change().await?;
            self.known_data = None;
            return Ok(true);
        }
        if !self.serving {
            return Ok(false);
        }
        let others = self.others();
        if self.slots != others {
            self.server.keep_slots(&others).await.map_err(text)?;
            self.slots = others;
            return Ok(true);
        }
        // What the group knows of this node follows its settings.
        let me = self.member();
        let is_known = self.record().members.get(&self.settings.name) == Some(&me);
        if !is_known && self.lease.tenure().is_some_and(|tenure| tenure.leased) {
            let name = self.settings.name.clone();
            self.update(|record| drop(record.members.insert(name, me))).await?;
            return Ok(true);
        }
        Ok(false)
    }
}
