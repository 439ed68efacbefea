//! Leases and records in etcd.
//!
//! Two keys per group: `<prefix>groups/<group>/record` holds the [`GroupRecord`], `<prefix>groups/<group>/leader` the [`Leader`] and is
//! attached to its lease, so that it ends with it. A record's [`Revision`] is its key's `mod_revision`.
//!
//! A call may reach etcd more than once, through different members. So lease ids are drawn here, and a transaction that finds its
//! conditions unmet looks whether it was itself that changed them.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

use self::api::compare::{CompareTarget, TargetUnion};
use self::api::kv_client::KvClient;
use self::api::lease_client::LeaseClient;
use self::api::request_op::Request as Operation;
use self::api::response_op::Response as Outcome;
use self::api::watch_client::WatchClient;
use self::api::watch_request::RequestUnion;
use super::endpoints::Endpoints;
use super::{Leader, LeaseId, LeaseStore, OpenError, Revision, StoreError, TlsFiles, View};
use crate::record::GroupRecord;

mod api {
    tonic::include_proto!("etcdserverpb");
}

/// Between two readings by [`LeaseStore::changed`]: a watch is only as alive as the member that serves it.
const READ_BESIDE_WATCH: Duration = Duration::from_secs(1);
const READ_WITHOUT_WATCH: Duration = Duration::from_millis(100);

pub(super) struct Etcd {
    endpoints: Endpoints,
    prefix: String,
    call_timeout: Duration,
}

/// The keys of one group.
struct Keys {
    record: Vec<u8>,
    leader: Vec<u8>,
    /// From here up to `end` lie both.
    start: Vec<u8>,
    end: Vec<u8>,
}

/// One reading, with what etcd says about it.
struct Reading {
    view: View,
    raft_term: u64,
}

impl Etcd {
    pub fn new(endpoints: &[String], tls: &TlsFiles, prefix: &str, call_timeout: Duration) -> Result<Self, OpenError> {
        let endpoints = Endpoints::new(endpoints, Some(tls), call_timeout)?;
        Ok(Self { endpoints, prefix: prefix.to_owned(), call_timeout })
    }

    fn until(&self) -> Instant {
        Instant::now() + self.call_timeout
    }

    fn keys(&self, group: &str) -> Keys {
        let start = format!("{}groups/{group}/", self.prefix);
        Keys {
            record: format!("{start}record").into(),
            leader: format!("{start}leader").into(),
            // '0' follows '/'.
            end: format!("{}groups/{group}0", self.prefix).into(),
            start: start.into(),
        }
    }

    async fn reading(&self, keys: &Keys, until: Instant) -> Result<Reading, StoreError> {
        let request = api::RangeRequest { key: keys.start.clone(), range_end: keys.end.clone() };
        let reply = self
            .endpoints
            .call(until, |channel| {
                let request = request.clone();
                async move { Ok(KvClient::new(channel).range(request).await?.into_inner()) }
            })
            .await?;
        Ok(Reading { view: keys.view(&reply.kvs)?, raft_term: reply.header.map_or(0, |header| header.raft_term) })
    }

    /// Does `writes` when both conditions hold. Otherwise `Err` with what there is instead.
    async fn transact(
        &self,
        keys: &Keys,
        until: Instant,
        conditions: [api::Compare; 2],
        writes: Vec<api::PutRequest>,
    ) -> Result<Result<Revision, View>, StoreError> {
        let otherwise = api::RangeRequest { key: keys.start.clone(), range_end: keys.end.clone() };
        let operation = |request| api::RequestOp { request: Some(request) };
        let request = api::TxnRequest {
            compare: conditions.into(),
            success: writes.into_iter().map(Operation::RequestPut).map(operation).collect(),
            failure: vec![operation(Operation::RequestRange(otherwise))],
        };
        let reply = self
            .endpoints
            .call(until, |channel| {
                let request = request.clone();
                async move { Ok(KvClient::new(channel).txn(request).await?.into_inner()) }
            })
            .await?;
        if reply.succeeded {
            return Ok(Ok(reply.header.map_or(0, |header| header.revision.cast_unsigned())));
        }
        match reply.responses.first().and_then(|response| response.response.as_ref()) {
            Some(Outcome::ResponseRange(range)) => Ok(Err(keys.view(&range.kvs)?)),
            _ => Err(StoreError::Unreachable("etcd answered a transaction without saying what there is".into())),
        }
    }

    async fn grant(&self, lease: LeaseId, ttl: Duration, until: Instant) -> Result<(), StoreError> {
        // Whole seconds, rounded up: a lease may last longer than its holder thinks, not shorter.
        let seconds = i64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
        self.endpoints
            .call(until, |channel| async move {
                match LeaseClient::new(channel).lease_grant(api::LeaseGrantRequest { ttl: seconds, id: lease.0 }).await
                {
                    Ok(_) => Ok(()),
                    // By this call, through another member: nobody else draws the same id.
                    Err(status) if status.message().contains("lease already exists") => Ok(()),
                    Err(status) => Err(status),
                }
            })
            .await
    }

    async fn revoke(&self, lease: LeaseId, until: Instant) -> Result<(), StoreError> {
        self.endpoints
            .call(until, |channel| async move {
                match LeaseClient::new(channel).lease_revoke(api::LeaseRevokeRequest { id: lease.0 }).await {
                    Ok(_) => Ok(()),
                    Err(status) if status.code() == Code::NotFound => Ok(()),
                    Err(status) => Err(status),
                }
            })
            .await
    }

    /// Events under the group's keys from now on.
    async fn watch(&self, keys: &Keys) -> Result<Events, StoreError> {
        let create = api::WatchCreateRequest { key: keys.start.clone(), range_end: keys.end.clone() };
        self.endpoints.call(self.until(), |channel| Events::subscribe(channel, create.clone())).await
    }
}

impl Keys {
    fn view(&self, found: &[api::KeyValue]) -> Result<View, StoreError> {
        let mut view = View::default();
        for pair in found {
            let unreadable = |error: serde_json::Error| {
                let key = String::from_utf8_lossy(&pair.key);
                StoreError::Unreachable(format!("what stands in etcd under {key} cannot be read: {error}"))
            };
            if pair.key == self.record {
                view.record = serde_json::from_slice(&pair.value).map_err(unreadable)?;
                view.revision = pair.mod_revision.cast_unsigned();
            } else if pair.key == self.leader {
                view.leader = Some(serde_json::from_slice(&pair.value).map_err(unreadable)?);
                view.lease = Some(LeaseId(pair.lease));
            }
        }
        Ok(view)
    }

    fn record_is(&self, revision: Revision) -> api::Compare {
        let target = TargetUnion::ModRevision(revision.cast_signed());
        api::Compare { target: CompareTarget::Mod.into(), key: self.record.clone(), target_union: Some(target) }
    }

    fn no_leader(&self) -> api::Compare {
        let target = TargetUnion::CreateRevision(0);
        api::Compare { target: CompareTarget::Create.into(), key: self.leader.clone(), target_union: Some(target) }
    }

    fn led_by(&self, lease: LeaseId) -> api::Compare {
        let target = TargetUnion::Lease(lease.0);
        api::Compare { target: CompareTarget::Lease.into(), key: self.leader.clone(), target_union: Some(target) }
    }
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|error| StoreError::Unreachable(format!("it cannot be written as JSON: {error}")))
}

#[async_trait]
impl LeaseStore for Etcd {
    async fn read(&self, group: &str) -> Result<View, StoreError> {
        Ok(self.reading(&self.keys(group), self.until()).await?.view)
    }

    async fn acquire(
        &self,
        group: &str,
        revision: Revision,
        record: &GroupRecord,
        leader: &Leader,
        ttl: Duration,
    ) -> Result<(LeaseId, Revision), StoreError> {
        let (keys, until) = (self.keys(group), self.until());
        let lease = LeaseId(rand::random_range(1..=i64::MAX));
        let writes = vec![
            api::PutRequest { key: keys.record.clone(), value: json(record)?, lease: 0 },
            api::PutRequest { key: keys.leader.clone(), value: json(leader)?, lease: lease.0 },
        ];
        self.grant(lease, ttl, until).await?;
        match self.transact(&keys, until, [keys.no_leader(), keys.record_is(revision)], writes).await? {
            Ok(revision) => Ok((lease, revision)),
            Err(found) if found.lease == Some(lease) => Ok((lease, found.revision)),
            Err(_) => {
                // It holds nothing, and would end by itself.
                let _ = self.revoke(lease, until).await;
                Err(StoreError::Conflict)
            }
        }
    }

    async fn renew(&self, group: &str, lease: LeaseId) -> Result<(), StoreError> {
        let (keys, until) = (self.keys(group), self.until());
        let kept = self
            .endpoints
            .call(until, |channel| async move {
                let requests = tokio_stream::once(api::LeaseKeepAliveRequest { id: lease.0 });
                let mut replies = LeaseClient::new(channel).lease_keep_alive(requests).await?.into_inner();
                replies.message().await?.ok_or_else(|| Status::unavailable("etcd did not answer a renewal"))
            })
            .await?;
        // etcd renews without asking its quorum: a leader that was just replaced renews what nobody else knows of. A reading does ask;
        // in the same term as the renewal, it proves that the renewal was the real leader's.
        let now = self.reading(&keys, until).await?;
        if now.view.lease != Some(lease) {
            return Err(StoreError::Conflict);
        }
        if kept.ttl <= 0 || kept.header.is_none_or(|header| header.raft_term != now.raft_term) {
            return Err(StoreError::Unreachable("etcd changed its leader during the renewal".into()));
        }
        Ok(())
    }

    async fn update(
        &self,
        group: &str,
        lease: LeaseId,
        revision: Revision,
        record: &GroupRecord,
    ) -> Result<Revision, StoreError> {
        let keys = self.keys(group);
        let writes = vec![api::PutRequest { key: keys.record.clone(), value: json(record)?, lease: 0 }];
        match self.transact(&keys, self.until(), [keys.led_by(lease), keys.record_is(revision)], writes).await? {
            Ok(revision) => Ok(revision),
            // Only the holder of the lease writes: this is what was asked for.
            Err(found) if found.lease == Some(lease) && found.revision > revision && found.record == *record => {
                Ok(found.revision)
            }
            Err(_) => Err(StoreError::Conflict),
        }
    }

    async fn release(&self, _: &str, lease: LeaseId) -> Result<(), StoreError> {
        self.revoke(lease, self.until()).await
    }

    async fn changed(&self, group: &str, view: &View, at_most: Duration) -> Result<(), StoreError> {
        let until = Instant::now() + at_most;
        let keys = self.keys(group);
        let mut events = self.watch(&keys).await.ok();
        // What changed before the watch began is seen by the first reading.
        while !self.reading(&keys, self.until()).await?.view.has_changed_since(view) {
            let pause = if events.is_some() { READ_BESIDE_WATCH } else { READ_WITHOUT_WATCH };
            let next = until.min(Instant::now() + pause);
            match &mut events {
                None => {
                    sleep_until(next).await;
                    events = self.watch(&keys).await.ok();
                }
                Some(watch) => {
                    if let Ok(Err(_)) = timeout_at(next, watch.next()).await {
                        events = None;
                    }
                }
            }
            if Instant::now() >= until {
                break;
            }
        }
        Ok(())
    }
}

/// A watch; it ends when it is dropped.
struct Events {
    replies: Streaming<api::WatchResponse>,
    /// etcd ends a watch when its requests end.
    _requests: mpsc::Sender<api::WatchRequest>,
}

impl Events {
    async fn subscribe(channel: Channel, create: api::WatchCreateRequest) -> Result<Self, Status> {
        let (requests, queue) = mpsc::channel(1);
        let create = api::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let _ = requests.try_send(create);
        let mut request = Request::new(ReceiverStream::new(queue));
        // A member that loses its leader ends the watch, instead of keeping silent.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        let mut events =
            Self { replies: WatchClient::new(channel).watch(request).await?.into_inner(), _requests: requests };
        events.reply().await?;
        Ok(events)
    }

    async fn reply(&mut self) -> Result<api::WatchResponse, Status> {
        match self.replies.message().await? {
            Some(reply) if !reply.canceled => Ok(reply),
            _ => Err(Status::unavailable("etcd ended the watch")),
        }
    }

    /// Returns at the next event.
    async fn next(&mut self) -> Result<(), Status> {
        while self.reply().await?.events.is_empty() {}
        Ok(())
    }
}
