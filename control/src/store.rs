//! Where groups' records and leases are kept.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::record::GroupRecord;

/// Changes with every change of a record; a change is made only on the revision that was read. 0: there is no record yet.
pub type Revision = u64;

/// A granted lease of the store, in the store's own numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseId(pub i64);

/// Who holds a group's lease now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The leader's lease, so that a node that was restarted can go on with its own.
    pub lease: Option<LeaseId>,
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
    /// [`StoreError::Conflict`] when it has expired; [`StoreError::Unreachable`].
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

    /// Gives the lease up. Done also when it has expired.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`].
    async fn release(&self, group: &str, lease: LeaseId) -> Result<(), StoreError>;

    /// Returns when the group's record or leader has changed since `view`, or after `at_most`, whichever is first.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`].
    async fn changed(&self, group: &str, view: &View, at_most: Duration) -> Result<(), StoreError>;
}
