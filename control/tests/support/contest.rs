//! Nodes that fight for one group's lease, as agents do, while the store suffers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atoll_control::store::{LeaseStore, StoreError};
use tokio::time::{Instant, sleep, sleep_until};

use super::scenarios::{acquire, record};

/// One leadership: from the answer that gave it until its holder could no longer count on it.
#[derive(Debug)]
pub struct Span {
    pub node: String,
    pub epoch: u64,
    pub from: Instant,
    pub until: Instant,
    /// Updates that were acknowledged.
    pub updates: u64,
}

/// What a holder does after a while.
#[derive(Clone, Copy)]
enum End {
    Release,
    /// No more renewals, as of a machine that died.
    Vanish,
}

/// Until `end`, `node` takes the lease whenever it is free, keeps it a while, and loses it in one of several ways.
pub async fn contend(
    store: Arc<dyn LeaseStore>,
    node: String,
    ttl: Duration,
    end: Instant,
    spans: Arc<Mutex<Vec<Span>>>,
) {
    while Instant::now() < end {
        let Ok(view) = store.read("contest").await else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        if view.leader.is_some() {
            // Whether the answer is in time or an error: the lease is looked at again.
            let _ = store.changed("contest", &view, Duration::from_millis(500)).await;
            continue;
        }
        let epoch = view.record.epoch + 1;
        let sent = Instant::now();
        let Ok((lease, mut revision)) = acquire(&store, "contest", view.revision, &record(&node, epoch, ""), ttl).await
        else {
            continue;
        };
        let mut span = Span { node: node.clone(), epoch, from: Instant::now(), until: sent + ttl, updates: 0 };
        let way = if rand::random() { End::Release } else { End::Vanish };
        let last = Instant::now() + ttl.mul_f64(rand::random_range(0.2..2.0));
        while Instant::now() < last {
            let sent = Instant::now();
            match store.renew("contest", lease).await {
                Ok(()) => span.until = sent + ttl,
                Err(StoreError::Conflict) => break,
                Err(StoreError::Unreachable(_)) => {}
            }
            let note = format!("{}", span.updates + 1);
            match store.update("contest", lease, revision, &record(&node, epoch, &note)).await {
                Ok(new) => {
                    assert!(new > revision);
                    revision = new;
                    span.updates += 1;
                }
                // After an update whose outcome is unknown the revision may be another.
                Err(_) => break,
            }
            sleep_until(sent + ttl / 10).await;
        }
        if matches!(way, End::Release) {
            span.until = span.until.min(Instant::now());
            let _ = store.release("contest", lease).await;
        }
        spans.lock().unwrap().push(span);
    }
}

/// No two leaderships at a time, and no epoch twice.
pub fn check(spans: &mut [Span]) {
    spans.sort_by_key(|span| span.epoch);
    for pair in spans.windows(2) {
        let [before, after] = pair else { unreachable!() };
        let (one, other) = (&before.node, &after.node);
        assert!(before.epoch < after.epoch, "{one} and {other} had one epoch: {pair:?}");
        let both = before.until.saturating_duration_since(after.from);
        assert!(both.is_zero(), "{one} and {other} led at once, for {both:?}: {pair:?}");
    }
}
