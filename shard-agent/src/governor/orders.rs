//! What members and operators ask for, answered between two looks.

use std::time::Duration;

use atoll_control::decide::Data;
use atoll_control::record::{Electorate, Member, Policy};
use atoll_proto::v1::{JoinReply, JoinRequest, RecruitReply};
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;

use super::clock::now_ms;
use super::service::{Ask, Order};
use super::{Governor, Leaving};
use crate::postgres::lsn::Lsn;
use crate::postgres::observe::Observation;
use crate::postgres::replication::Stop;

const DRAIN_POLL: Duration = Duration::from_millis(10);
/// How long PostgreSQL may take to shut down in a switchover: a checkpoint was made before.
const HANDOVER_STOP: Duration = Duration::from_secs(10);
/// How long the checkpoint before a switchover may take; clients go on meanwhile.
const CHECKPOINT_WITHIN: Duration = Duration::from_secs(60);
/// How far behind a standby may be for a switchover to begin, in bytes.
const HANDOVER_LAG_MAX: u64 = 16 << 20;

fn refused(message: impl Into<String>) -> Status {
    Status::failed_precondition(message)
}

impl Governor {
    pub(super) async fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Recruit { candidate, epoch, answer } => {
                let reply = match self.report_to(&candidate, epoch).await {
                    Ok((timeline, lsn)) => RecruitReply { refusal: String::new(), timeline, lsn },
                    Err(refusal) => RecruitReply { refusal, ..RecruitReply::default() },
                };
                let _ = answer.send(reply);
            }
            Ask::Join { request, answer } => {
                let _ = answer.send(self.admit(request).await);
            }
            Ask::Order { order, answer } => {
                let done = match order {
                    Order::Switchover { to } => self.switch_over(to).await,
                    Order::Pause(paused) => self.pause(paused).await,
                    Order::SetPolicy { synchronous, strict } => self.set_policy(Policy { synchronous, strict }).await,
                    Order::Remove(name) => self.remove(&name).await,
                    Order::ForceFailover => self.force_failover().await,
                    Order::Rebuild => self.rebuild_here().await,
                };
                let _ = answer.send(done);
            }
        }
    }

    async fn report_to(&mut self, candidate: &str, epoch: u64) -> Result<(u32, u64), String> {
        if self.lease.tenure().is_some() {
            return Err("it leads the group itself".into());
        }
        self.refresh().await?;
        let view = self.view.as_ref().ok_or("it has not reached the lease store")?;
        if let Some(leader) = &view.leader {
            return Err(format!("{} holds the lease", leader.node));
        }
        if view.record.epoch + 1 != epoch {
            return Err(format!("the next epoch is {}, not {epoch}", view.record.epoch + 1));
        }
        if !matches!(self.observation, Observation::Replica(_)) || self.data().await != Data::Standby {
            return Err("its PostgreSQL is not a running replica".into());
        }
        if !self.promises.campaign(epoch) {
            return Err("it has vouched for the leader".into());
        }
        let position = self.report().await?;
        let lsn = Lsn(position.lsn);
        self.events.note("recruited", epoch, format!("told {candidate} that the log is here up to {lsn}"));
        Ok((position.timeline, position.lsn))
    }

    /// The leader's part of what follows: the lease in hand, and in charge.
    fn leads(&self) -> Result<(), Status> {
        let leads = self.lease.tenure().is_some_and(|tenure| tenure.leased) && self.serving;
        if leads {
            return Ok(());
        }
        let leader = self.view.as_ref().and_then(|view| view.leader.as_ref());
        let now = leader.map_or_else(|| "nobody leads it now".to_owned(), |leader| format!("{} leads it", leader.node));
        Err(refused(format!("node {} does not lead group {}: {now}", self.settings.name, self.settings.group)))
    }

    async fn admit(&mut self, request: JoinRequest) -> Result<JoinReply, Status> {
        self.leads()?;
        if self.memory.get().alone.is_some() {
            // From now on the lease counts: forgotten on disk before anybody can be elected.
            let Some(id) = self.lease.id() else { return Err(refused("the lease store has not been reached")) };
            let sent = now_ms();
            self.store.renew(&self.settings.group, id).await.map_err(|error| refused(error.to_string()))?;
            self.memory.change(|memory| memory.alone = None).map_err(|error| Status::internal(error.to_string()))?;
            self.lease.end_alone(sent + self.settings.lease_ttl_ms - self.settings.lease_margin_ms);
        }
        let port = u16::try_from(request.postgres_port).map_err(|_| Status::invalid_argument("postgres_port"))?;
        let member = Member {
            agent_address: request.agent_address,
            agent_socket: request.agent_socket,
            postgres_host: request.postgres_host,
            postgres_port: port,
            zone: request.zone,
            capacity: request.capacity,
        };
        let name = request.name.clone();
        self.update(|record| {
            record.removed.remove(&name);
            record.members.insert(name, member);
        })
        .await
        .map_err(Status::unavailable)?;
        let mut slots = self.slots.clone();
        slots.push(request.name.clone());
        slots.sort();
        slots.dedup();
        self.server.keep_slots(&slots).await.map_err(|error| Status::unavailable(error.to_string()))?;
        self.slots = slots;
        self.events.note("member_joined", self.epoch(), format!("{} is a member now", request.name));
        Ok(JoinReply { leader: self.settings.name.clone(), epoch: self.epoch() })
    }

    async fn pause(&mut self, paused: bool) -> Result<String, Status> {
        if self.leads().is_err() && !paused && self.view.as_ref().is_some_and(|view| view.leader.is_none()) {
            return self.resume_leaderless().await;
        }
        self.leads()?;
        self.update(|record| record.wish.paused = paused).await.map_err(Status::unavailable)?;
        let (kind, said) = if paused { ("paused", "is paused: nobody is promoted") } else { ("resumed", "is resumed") };
        let message = format!("group {} {said}", self.settings.group);
        self.events.note(kind, self.epoch(), message.clone());
        Ok(message)
    }

    /// Nobody leads a paused group, so nobody could end the pause: the lease is taken for as long as it takes to write that.
    async fn resume_leaderless(&mut self) -> Result<String, Status> {
        let unavailable = |error: atoll_control::store::StoreError| Status::unavailable(error.to_string());
        let view = self.store.read(&self.settings.group).await.map_err(unavailable)?;
        let mut record = view.record;
        record.wish.paused = false;
        record.epoch += 1;
        let leader = atoll_control::store::Leader { node: self.settings.name.clone(), epoch: record.epoch };
        let ttl = Duration::from_millis(self.settings.lease_ttl_ms);
        let group = &self.settings.group;
        let taken = self.store.acquire(group, view.revision, &record, &leader, ttl).await;
        let (id, _) = taken.map_err(unavailable)?;
        self.store.release(group, id).await.map_err(unavailable)?;
        Ok(format!("group {group} is resumed"))
    }

    async fn set_policy(&mut self, policy: Policy) -> Result<String, Status> {
        self.leads()?;
        let waits = match policy.synchronous {
            0 => "commits wait for no standby".to_owned(),
            count => format!(
                "commits wait for {count} standby(s), {}",
                if policy.strict { "always" } else { "as long as there are any" }
            ),
        };
        self.update(|record| record.policy = policy).await.map_err(Status::unavailable)?;
        let message = format!("group {}: {waits}", self.settings.group);
        self.events.note("policy", self.epoch(), message.clone());
        Ok(message)
    }

    async fn remove(&mut self, name: &str) -> Result<String, Status> {
        self.leads()?;
        if name == self.settings.name {
            return Err(refused(format!("{name} leads the group: switch over to another member first")));
        }
        if !self.record().members.contains_key(name) {
            return Err(Status::not_found(format!("{name} is not a member of group {}", self.settings.group)));
        }
        let removed = name.to_owned();
        self.update(|record| {
            record.members.remove(&removed);
            record.removed.insert(removed);
        })
        .await
        .map_err(Status::unavailable)?;
        let message = format!("{name} is no longer a member of group {}", self.settings.group);
        self.events.note("member_removed", self.epoch(), message.clone());
        Ok(message)
    }

    async fn rebuild_here(&mut self) -> Result<String, Status> {
        let leader = self.view.as_ref().and_then(|view| view.leader.clone());
        let Some(leader) = leader.filter(|_| self.lease.tenure().is_none()) else {
            return Err(refused(format!("node {} is not a replica of a living leader", self.settings.name)));
        };
        self.rebuild(&leader.node).await.map_err(Status::unavailable)?;
        Ok(format!("{} was copied anew from {}", self.settings.name, leader.node))
    }

    async fn force_failover(&mut self) -> Result<String, Status> {
        self.refresh().await.map_err(Status::unavailable)?;
        let Some(view) = self.view.clone() else { return Err(Status::unavailable("the lease store is silent")) };
        if let Some(leader) = &view.leader {
            return Err(refused(format!("{} holds the lease; switch over, or stop it first", leader.node)));
        }
        if !matches!(self.observation, Observation::Replica(_)) || self.data().await != Data::Standby {
            return Err(refused(format!("PostgreSQL of node {} is not a running replica", self.settings.name)));
        }
        self.report().await.map_err(Status::unavailable)?;
        let epoch = view.record.epoch + 1;
        self.acquire(epoch, "an operator forced it; commits may have been lost").await.map_err(Status::unavailable)?;
        if self.lease.tenure().is_none() {
            return Err(refused("another node was faster"));
        }
        Ok(format!("{} leads group {} now", self.settings.name, self.settings.group))
    }

    /// A planned handover: nothing new is let in, what runs ends, everything is sent, and the other one takes the lease.
    async fn switch_over(&mut self, to: Option<String>) -> Result<String, Status> {
        self.leads()?;
        let to = self.successor(to)?;
        let begun = Instant::now();
        self.events.note("switchover", self.epoch(), format!("handing over to {to}"));
        self.server
            .write_checkpoint(CHECKPOINT_WITHIN)
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let handed = self.hand_over(&to).await;
        self.leaving = Leaving::No;
        match handed {
            Ok(()) => {
                let took = begun.elapsed().as_millis();
                let message = format!("handed over to {to}; this node was done in {took} ms");
                self.events.note("handed_over", self.epoch(), message);
                Ok(format!("{to} takes group {} over", self.settings.group))
            }
            Err(reason) => {
                // The next look starts PostgreSQL again, as the leader that this node still is.
                self.events.note("switchover_failed", self.epoch(), reason.clone());
                Err(Status::aborted(format!("the switchover to {to} was given up: {reason}")))
            }
        }
    }

    fn successor(&self, to: Option<String>) -> Result<String, Status> {
        let Observation::Primary(primary) = &self.observation else {
            return Err(refused("PostgreSQL is not running"));
        };
        let record = self.record();
        let mut able: Vec<_> = primary
            .standbys
            .iter()
            .filter(|standby| record.members.contains_key(&standby.name) && standby.state == "streaming")
            .filter(|standby| primary.flushed.0.saturating_sub(standby.replayed.0) <= HANDOVER_LAG_MAX)
            .collect();
        able.sort_by_key(|standby| std::cmp::Reverse(standby.flushed));
        match to {
            None => able.first().map(|standby| standby.name.clone()).ok_or_else(|| refused("no standby keeps up")),
            Some(to) if to == self.settings.name => Err(refused(format!("{to} leads the group already"))),
            Some(to) if able.iter().any(|standby| standby.name == to) => Ok(to),
            Some(to) => Err(refused(format!("{to} is not a standby that keeps up"))),
        }
    }

    fn leave(&mut self, leaving: Leaving) {
        self.leaving = leaving;
        self.publish(true);
    }

    /// Waits until the transactions that have begun are over. Those that have begun in other groups may come here, too, at first: others here
    /// may be waiting for their locks.
    async fn drain(&mut self, to: &str) -> Result<(), String> {
        self.leave(Leaving::Draining(format!("the group is being handed over to {to}")));
        self.until_quiet().await?;
        self.leave(Leaving::Closed(format!("the group is handed over to {to}")));
        self.until_quiet().await
    }

    async fn until_quiet(&mut self) -> Result<(), String> {
        let mut quiet = 0;
        // A statement may still be on its way when the first look finds nothing.
        while quiet < 2 {
            let busy = self.server.busy_backends().await.map_err(|error| error.to_string())?;
            quiet = if busy == 0 { quiet + 1 } else { 0 };
            sleep(DRAIN_POLL).await;
        }
        Ok(())
    }

    async fn hand_over(&mut self, to: &str) -> Result<(), String> {
        let at_most = Duration::from_millis(self.settings.drain_ms_max);
        match timeout(at_most, self.drain(to)).await {
            Ok(drained) => drained?,
            Err(_) => {
                let message = format!("transactions that took longer than {} ms were cut off", at_most.as_millis());
                self.events.note("drain_ended", self.epoch(), message);
            }
        }
        self.leave(Leaving::Closed(format!("the group is handed over to {to}")));
        // Standbys that are connected are sent everything, the shutdown's checkpoint included.
        let clean = self.server.stop(Stop::Fast { at_most: HANDOVER_STOP }).await.map_err(|error| error.to_string())?;
        self.was_starting = false;
        if !clean {
            return Err("PostgreSQL did not shut down cleanly".into());
        }
        let end = match self.server.data().await.map_err(|error| error.to_string())? {
            crate::postgres::server::Data::Present(found) => found.checkpoint,
            _ => return Err("there are no data".into()),
        };
        self.wait_until_received(to, end).await?;
        let chosen = to.to_owned();
        self.update(|record| {
            record.electorate = Electorate { members: vec![chosen.clone()], reports: 1 };
            record.wish.switchover_to = Some(chosen);
        })
        .await?;
        self.promises.abstain(now_ms() + 4000);
        if let Some(id) = self.lease.give_up() {
            self.store.release(&self.settings.group, id).await.map_err(|error| error.to_string())?;
        }
        self.as_primary = false;
        self.refresh().await
    }

    /// The standby says itself how far it is: past the shutdown's checkpoint record.
    async fn wait_until_received(&self, to: &str, end: Lsn) -> Result<(), String> {
        let record = self.record();
        let member = record.members.get(to).ok_or("it is no longer a member")?;
        for _ in 0..100 {
            if self.peers.received(to, member).await.is_some_and(|lsn| lsn > end.0) {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Err(format!("{to} has not received the end of the log"))
    }
}
