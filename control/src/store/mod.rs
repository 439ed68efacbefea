//! Where groups' records and leases are kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use atoll_proto::auth::Token;
use serde::{Deserialize, Serialize};

use crate::record::GroupRecord;

mod arbiter;
mod endpoints;
mod etcd;

/// Which lease store it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// gRPC service `Leases` of the one coordinator that hosts it.
    Arbiter,
    /// An etcd cluster (v3 API); of its ways to know users the one by the client certificate's common name.
    Etcd,
}

/// What [`open`] cannot use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("the lease store has no endpoints: name at least one as host:port")]
    NoEndpoint,
    #[error(
        "\"{endpoint}\" is no endpoint of a lease store: write it as host:port, or https://host:port of etcd with TLS"
    )]
    Endpoint { endpoint: String },
    #[error("\"{endpoint}\" needs the certificate of the authority that signed the server's (ca_file)")]
    NoAuthority { endpoint: String },
    #[error("a client certificate (cert_file) and its key (key_file) must be given together")]
    HalfIdentity,
    #[error("{path}: {reason}")]
    Tls { path: String, reason: String },
}

/// PEM files for endpoints that begin with `https://`; empty: none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authority that signed the servers' certificates.
    pub ca_file: PathBuf,
    /// The client's own certificate and key, for servers that ask for one.
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

/// A client of the lease store. Connects when it is first used, and again by itself; the current tokio runtime drives it.
///
/// `endpoints` are host:port, those of etcd with TLS https://host:port, for which `tls` is; `prefix` stands before all keys in etcd, `token`
/// goes with all calls to the arbiter. Calls that no endpoint answers within `call_timeout` end as [`StoreError::Unreachable`].
///
/// # Errors
/// [`OpenError`]; an endpoint that cannot be reached is none.
pub fn open(
    kind: Kind,
    endpoints: &[String],
    tls: &TlsFiles,
    prefix: &str,
    token: &Token,
    call_timeout: Duration,
) -> Result<Arc<dyn LeaseStore>, OpenError> {
    Ok(match kind {
        Kind::Arbiter => Arc::new(arbiter::Arbiter::new(endpoints, token.clone(), call_timeout)?),
        Kind::Etcd => Arc::new(etcd::Etcd::new(endpoints, tls, prefix, call_timeout)?),
    })
}

/// Changes with every change of a record; a change is made only on the revision that was read. 0: there is no record yet.
pub type Revision = u64;

/// A granted lease of the store, in the store's own numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseId(pub i64);

/// Who holds a group's lease now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    pub node: String,
    pub epoch: u64,
}

/// One reading of a group; record and leader are of the same moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub record: GroupRecord,
    pub revision: Revision,
    /// `None`: the lease is free.
    pub leader: Option<Leader>,
    /// The leader's lease. Who finds itself leader without knowing its lease (after its own restart, or an acquire that was not
    /// answered) may renew or release this one.
    pub lease: Option<LeaseId>,
}

impl View {
    /// Whether record or leader are no longer as in `before`.
    pub fn has_changed_since(&self, before: &Self) -> bool {
        self.revision != before.revision || self.leader != before.leader
    }
}

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing is known of the outcome.
    #[error("the lease store cannot be reached: {0}")]
    Unreachable(String),
    /// Somebody else was first: the record has another revision, the lease is taken, or is not the caller's (any more).
    #[error("the group's record or lease has changed")]
    Conflict,
}

/// The lease store. Every call is bounded by the implementation's RPC timeout (1 s unless told otherwise); linearizable.
///
/// Whoever holds a lease counts on it until the *send* time of its last successful [`acquire`](Self::acquire) or
/// [`renew`](Self::renew), plus its time to live, minus a margin for clocks that run differently; never from the answer's time. The
/// store never ends a lease sooner. A lease found in a [`View`] is good for nothing until a `renew` of it has succeeded.
///
/// After [`StoreError::Unreachable`] a change may have been made, or may still be made: read again. An `acquire` that was made shows in
/// [`View::leader`] and [`View::lease`].
#[async_trait]
pub trait LeaseStore: Send + Sync {
    /// # Errors
    /// [`StoreError::Unreachable`].
    async fn read(&self, group: &str) -> Result<View, StoreError>;

    /// Takes the free lease for `leader` and writes the record, in one transaction: only when the lease is free and the record
    /// still has `revision`. Returns the lease and the record's new revision.
    ///
    /// # Errors
    /// [`StoreError::Conflict`], [`StoreError::Unreachable`].
    async fn acquire(
        &self,
        group: &str,
        revision: Revision,
        record: &GroupRecord,
        leader: &Leader,
        ttl: Duration,
    ) -> Result<(LeaseId, Revision), StoreError>;

    /// Makes the lease last for its whole time to live from now on.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when it has expired or no longer holds the group; [`StoreError::Unreachable`].
    async fn renew(&self, group: &str, lease: LeaseId) -> Result<(), StoreError>;

    /// Writes the record: only while it has `revision` and `lease` still holds the group. Returns the new revision.
    ///
    /// # Errors
    /// [`StoreError::Conflict`], [`StoreError::Unreachable`].
    async fn update(
        &self,
        group: &str,
        lease: LeaseId,
        revision: Revision,
        record: &GroupRecord,
    ) -> Result<Revision, StoreError>;

    /// Gives the lease up: it is free at once. Done also when it has expired.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`].
    async fn release(&self, group: &str, lease: LeaseId) -> Result<(), StoreError>;

    /// Returns when the group's record or leader has changed since `view`, or after `at_most`, whichever is first. May return early.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`].
    async fn changed(&self, group: &str, view: &View, at_most: Duration) -> Result<(), StoreError>;
}
