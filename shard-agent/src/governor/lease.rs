//! Holding the lease: renewing it, knowing until when it holds, and having the other members vouch when the store is silent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atoll_control::decide::Tenure;
use atoll_control::store::{LeaseId, LeaseStore, StoreError};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::clock::now_ms;
use super::peers::Peers;
use super::standing::Standing;
use crate::settings::Settings;

/// Pause after a renewal that failed.
const RETRY: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug)]
struct Held {
    tenure: Tenure,
    id: Option<LeaseId>,
}

/// What this node holds, shared between the governor and the task that renews.
#[derive(Default)]
pub struct Lease {
    held: Mutex<Option<Held>>,
    changed: Notify,
}

impl Lease {
    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn tenure(&self) -> Option<Tenure> {
        self.held().map(|held| held.tenure)
    }

    /// The store's lease, while it is held.
    pub fn id(&self) -> Option<LeaseId> {
        self.held().and_then(|held| held.id)
    }

    /// Holds a lease that was granted or renewed by a call sent so long before `deadline`.
    pub fn hold(&self, id: LeaseId, epoch: u64, deadline: u64) {
        *self.held() = Some(Held { tenure: Tenure { epoch, deadline, leased: true }, id: Some(id) });
        self.changed.notify_waiters();
    }

    /// Holds what another keeper of leases has confirmed until `deadline`; nothing of it is to be released.
    pub fn hold_until(&self, epoch: u64, deadline: u64) {
        *self.held() = Some(Held { tenure: Tenure { epoch, deadline, leased: true }, id: None });
        self.changed.notify_waiters();
    }

    /// The only member of a group needs no lease.
    pub fn hold_alone(&self, epoch: u64) {
        let mut held = self.held();
        let leased = held.filter(|held| held.tenure.epoch == epoch);
        *held = Some(Held {
            tenure: Tenure { epoch, deadline: u64::MAX, leased: leased.is_some_and(|held| held.tenure.leased) },
            id: leased.and_then(|held| held.id),
        });
    }

    /// From now on it does: the lease holds no longer than a renewal that is sent now.
    pub fn end_alone(&self, deadline: u64) {
        if let Some(held) = self.held().as_mut() {
            held.tenure.deadline = deadline;
        }
    }

    /// Forgets it; returns what would have to be released.
    pub fn give_up(&self) -> Option<LeaseId> {
        self.changed.notify_waiters();
        self.held().take().and_then(|held| held.id)
    }

    /// Completes when it was renewed, lost, taken or given up.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn extend(&self, id: Option<LeaseId>, deadline: u64) {
        if let Some(held) = self.held().as_mut()
            && held.id == id
        {
            held.tenure.deadline = held.tenure.deadline.max(deadline);
        }
        self.changed.notify_waiters();
    }

    fn lose(&self, id: LeaseId) {
        if let Some(held) = self.held().as_mut()
            && held.id == Some(id)
        {
            held.tenure.leased = false;
            held.id = None;
        }
        self.changed.notify_waiters();
    }

    /// Renews for as long as the agent lives.
    pub async fn keep(
        &self,
        settings: &Settings,
        store: Arc<dyn LeaseStore>,
        peers: &Peers,
        standing: watch::Receiver<Standing>,
    ) {
        let lasts = settings.lease_ttl_ms - settings.lease_margin_ms;
        let group = &settings.group;
        loop {
            let Some(held) = *self.held() else {
                self.changed().await;
                continue;
            };
            let sent = now_ms();
            let renewed = match held.id {
                Some(id) => store.renew(group, id).await,
                None => Err(StoreError::Conflict),
            };
            let mut pause = Duration::from_millis(settings.lease_renew_ms);
            match renewed {
                Ok(()) => {
                    let alone = held.tenure.deadline == u64::MAX;
                    self.extend(held.id, if alone { u64::MAX } else { sent + lasts });
                    metrics::gauge!("atoll_agent_lease_age_seconds").set(0.0);
                }
                Err(error) => {
                    if let (StoreError::Conflict, Some(id)) = (&error, held.id) {
                        self.lose(id);
                    }
                    pause = RETRY;
                    let left = held.tenure.deadline.saturating_sub(now_ms());
                    metrics::gauge!("atoll_agent_lease_age_seconds")
                        .set(lasts.saturating_sub(left.min(lasts)) as f64 / 1000.0);
                    if left < lasts / 2 && held.tenure.deadline != u64::MAX {
                        self.be_vouched_for(held, settings, peers, &standing).await;
                    }
                }
            }
            sleep(pause).await;
        }
    }

    /// Every other member promises not to seek the lease for its whole time.
    async fn be_vouched_for(
        &self,
        held: Held,
        settings: &Settings,
        peers: &Peers,
        standing: &watch::Receiver<Standing>,
    ) {
        let members = standing.borrow().record.members.clone();
        let sent = now_ms();
        if peers.all_vouch(&members, held.tenure.epoch, settings.lease_ttl_ms).await {
            tracing::warn!("the lease store is silent; all members vouch for this leader");
            let id = self.id();
            self.extend(id, sent + settings.lease_ttl_ms - settings.lease_margin_ms);
        }
    }
}
