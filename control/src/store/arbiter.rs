//! Leases and records in the arbiter that one coordinator hosts ([`crate::arbiter`]).

use std::time::Duration;

use async_trait::async_trait;
use atoll_proto::auth::Token;
use atoll_proto::v1::leases_client::LeasesClient;
use atoll_proto::v1::{
    LeaseAcquireRequest, LeaseChangedRequest, LeaseReadRequest, LeaseRequest, LeaseUpdateRequest, LeaseView,
};
use tokio::time::Instant;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use super::endpoints::Endpoints;
use super::{Leader, LeaseId, LeaseStore, OpenError, Revision, StoreError, View};
use crate::record::GroupRecord;

type Client = LeasesClient<InterceptedService<Channel, Token>>;

pub(super) struct Arbiter {
    endpoints: Endpoints,
    token: Token,
    call_timeout: Duration,
}

impl Arbiter {
    pub fn new(endpoints: &[String], token: Token, call_timeout: Duration) -> Result<Self, OpenError> {
        Ok(Self { endpoints: Endpoints::new(endpoints, None, call_timeout)?, token, call_timeout })
    }

    /// Asks until one coordinator answers; those that host no arbiter refuse.
    async fn call<T, Answer>(&self, longer: Duration, call: impl Fn(Client) -> Answer) -> Result<T, StoreError>
    where
        Answer: Future<Output = Result<Response<T>, Status>>,
    {
        let until = Instant::now() + self.call_timeout + longer;
        self.endpoints
            .call(until, |channel| {
                let answer = call(LeasesClient::with_interceptor(channel, self.token.clone()));
                async move {
                    match answer.await {
                        Ok(answer) => Ok(Ok(answer.into_inner())),
                        Err(status) if status.code() == Code::FailedPrecondition => Ok(Err(StoreError::Conflict)),
                        Err(status) => Err(status),
                    }
                }
            })
            .await?
    }
}

fn json(record: &GroupRecord) -> Result<String, StoreError> {
    serde_json::to_string(record)
        .map_err(|error| StoreError::Unreachable(format!("the record cannot be written as JSON: {error}")))
}

fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn view(group: &str, reply: LeaseView) -> Result<View, StoreError> {
    let record = if reply.record.is_empty() {
        GroupRecord::default()
    } else {
        serde_json::from_str(&reply.record).map_err(|error| {
            StoreError::Unreachable(format!("the arbiter's record of group \"{group}\" cannot be read: {error}"))
        })?
    };
    let is_led = !reply.leader.is_empty();
    Ok(View {
        record,
        revision: reply.revision,
        lease: is_led.then_some(LeaseId(reply.lease)),
        leader: is_led.then_some(Leader { node: reply.leader, epoch: reply.leader_epoch }),
    })
}

#[async_trait]
impl LeaseStore for Arbiter {
    async fn read(&self, group: &str) -> Result<View, StoreError> {
        let request = LeaseReadRequest { group: group.to_owned() };
        let reply = self
            .call(Duration::ZERO, |mut client| {
                let request = request.clone();
                async move { client.read(request).await }
            })
            .await?;
        view(group, reply)
    }

    async fn acquire(
        &self,
        group: &str,
        revision: Revision,
        record: &GroupRecord,
        leader: &Leader,
        ttl: Duration,
    ) -> Result<(LeaseId, Revision), StoreError> {
        let request = LeaseAcquireRequest {
            group: group.to_owned(),
            revision,
            record: json(record)?,
            leader: leader.node.clone(),
            leader_epoch: leader.epoch,
            ttl_ms: milliseconds(ttl),
        };
        let reply = self
            .call(Duration::ZERO, |mut client| {
                let request = request.clone();
                async move { client.acquire(request).await }
            })
            .await?;
        Ok((LeaseId(reply.lease), reply.revision))
    }

    async fn renew(&self, group: &str, lease: LeaseId) -> Result<(), StoreError> {
        let request = LeaseRequest { group: group.to_owned(), lease: lease.0 };
        self.call(Duration::ZERO, |mut client| {
            let request = request.clone();
            async move { client.renew(request).await }
        })
        .await?;
        Ok(())
    }

    async fn update(
        &self,
        group: &str,
        lease: LeaseId,
        revision: Revision,
        record: &GroupRecord,
    ) -> Result<Revision, StoreError> {
        let request = LeaseUpdateRequest { group: group.to_owned(), lease: lease.0, revision, record: json(record)? };
        let reply = self
            .call(Duration::ZERO, |mut client| {
                let request = request.clone();
                async move { client.update(request).await }
            })
            .await?;
        Ok(reply.revision)
    }

    async fn release(&self, group: &str, lease: LeaseId) -> Result<(), StoreError> {
        let request = LeaseRequest { group: group.to_owned(), lease: lease.0 };
        self.call(Duration::ZERO, |mut client| {
            let request = request.clone();
            async move { client.release(request).await }
        })
        .await?;
        Ok(())
    }

    async fn changed(&self, group: &str, view: &View, at_most: Duration) -> Result<(), StoreError> {
        let leader = view.leader.as_ref();
        let request = LeaseChangedRequest {
            group: group.to_owned(),
            revision: view.revision,
            leader: leader.map_or_else(String::new, |leader| leader.node.clone()),
            leader_epoch: leader.map_or(0, |leader| leader.epoch),
            at_most_ms: milliseconds(at_most),
        };
        self.call(at_most, |mut client| {
            let request = request.clone();
            async move { client.changed(request).await }
        })
        .await?;
        Ok(())
    }
}
