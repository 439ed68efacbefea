//! The cap on backends, and the register of those that are in use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::backend::CancelKey;

/// Room for a node's lanes, given out first come, first served.
#[derive(Debug)]
pub struct Slots {
    free: Arc<Semaphore>,
    max: u32,
    running: Mutex<HashMap<u32, CancelKey>>,
    gauge: GaugeOfLanes,
}

/// `metrics::Gauge` has no Debug of use.
struct GaugeOfLanes(metrics::Gauge);

impl std::fmt::Debug for GaugeOfLanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gauge")
    }
}

impl Slots {
    /// Room for `max` backends.
    pub fn new(max: u32) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(max as usize));
        let gauge = GaugeOfLanes(metrics::gauge!("atoll_agent_lanes"));
        Arc::new(Self { free, max, running: Mutex::default(), gauge })
    }

    pub fn max(&self) -> u32 {
        self.max
    }

    /// Slots taken, backends that are just logging in or ending included.
    pub fn used(&self) -> u32 {
        self.max - u32::try_from(self.free.available_permits()).unwrap_or(0)
    }

    /// A slot, after at most `wait_max`; None when none became free.
    pub async fn take(self: &Arc<Self>, wait_max: Duration) -> Option<Slot> {
        let permit = timeout(wait_max, Arc::clone(&self.free).acquire_owned()).await.ok()?.ok()?;
        self.gauge.0.increment(1);
        Some(Slot { slots: Arc::clone(self), _permit: permit, pid: None })
    }

    /// How to interrupt the lane whose backend is `pid`; None when there is no such lane.
    pub fn cancel_key(&self, pid: u32) -> Option<CancelKey> {
        self.running().get(&pid).copied()
    }

    /// The backends of all lanes.
    pub fn pids(&self) -> Vec<u32> {
        self.running().keys().copied().collect()
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<u32, CancelKey>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One backend's room; free again when dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    _permit: OwnedSemaphorePermit,
    pid: Option<u32>,
}

impl Slot {
    /// Makes the backend in this slot known to [`Slots::cancel_key`].
    pub fn register(&mut self, key: CancelKey) {
        self.slots.running().insert(key.pid, key);
        self.pid = Some(key.pid);
    }

    /// Makes the backend unknown again: its lane has ended, although it still holds its slot.
    pub fn unregister(&mut self) {
        if let Some(pid) = self.pid.take() {
            self.slots.running().remove(&pid);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.unregister();
        self.slots.gauge.0.decrement(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn slots_come_back_and_waiters_are_served() {
        let slots = Slots::new(1);
        let first = slots.take(Duration::ZERO).await.unwrap();
        assert_eq!(slots.used(), 1);
        assert!(slots.take(Duration::from_millis(1)).await.is_none());
        let waiting = tokio::spawn({
            let slots = Arc::clone(&slots);
            async move { slots.take(Duration::from_secs(10)).await.is_some() }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(waiting.await.unwrap());
        assert_eq!(slots.used(), 0);
    }
}
