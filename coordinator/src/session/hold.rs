//! Waiting for a primary. What has not begun on any backend waits unseen while its group has none, for a bounded time, and then runs.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::directory::leaders::{Asker, Leader, Leaders};
use crate::error::{Error, Result, sqlstate};
use crate::lane::Lane;
use crate::pool::{Fit, LaneKey, Need, Pooled};
use crate::worker::Worker;

/// How long it is waited after a failed attempt at a primary that seems to serve, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// How much longer a message may wait for primaries.
pub struct Patience {
    max: Duration,
    /// Since when the message being answered has been waiting, and how often it has.
    waiting: Mutex<Option<(Instant, u32)>>,
}

/// Counts a statement that waits.
struct Held;

impl Held {
    fn new() -> Self {
        metrics::gauge!("atoll_coordinator_held_statements").increment(1);
        Self
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        metrics::gauge!("atoll_coordinator_held_statements").decrement(1);
    }
}

impl Patience {
    pub fn new(max_ms: u64) -> Self {
        Self { max: Duration::from_millis(max_ms), waiting: Mutex::default() }
    }

    fn waiting(&self) -> MutexGuard<'_, Option<(Instant, u32)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another message begins.
    pub fn renew(&self) {
        *self.waiting() = None;
    }

    /// Since when the message has waited, now included, and how often it had before.
    fn begin(&self) -> (Instant, u32) {
        let mut waiting = self.waiting();
        let (since, times) = waiting.get_or_insert_with(|| {
            metrics::counter!("atoll_coordinator_holds_total").increment(1);
            (Instant::now(), 0)
        });
        *times += 1;
        (*since, *times - 1)
    }

    /// How much time is left; all of it when nothing was waited for yet.
    pub fn left(&self) -> Duration {
        self.max.saturating_sub(self.waiting().map_or(Duration::ZERO, |(since, _)| since.elapsed()))
    }

    /// Waits until the group has a primary for clients' statements.
    ///
    /// # Errors
    /// 57P03 with what is known of the group, when the time is up.
    async fn for_primary(&self, leaders: &Leaders, group: &str, asker: Asker) -> Result<std::sync::Arc<Leader>> {
        let (since, _) = self.begin();
        let _held = Held::new();
        let found = leaders.wait(group, asker, self.left()).await;
        found.map_err(|_| leaders.nobody_serves(group, since.elapsed()))
    }

    /// Lets a transaction begin only while no primary waits for those that have begun: it might take locks that they wait for, and then
    /// wait for the next primary itself.
    pub async fn to_begin(&self, leaders: &Leaders) {
        if leaders.is_draining() {
            self.begin();
            let _held = Held::new();
            // The primary does not wait for long; if it does, there is no harm in going on.
            let _ = tokio::time::timeout(self.left(), leaders.drained()).await;
        }
    }

    /// Waits for a moment, as part of the time that is allowed.
    pub async fn pause(&self) {
        let (_, times) = self.begin();
        let _held = Held::new();
        tokio::time::sleep((PAUSE_MIN * 2_u32.saturating_pow(times.min(8))).min(PAUSE_MAX).min(self.left())).await;
    }

    /// After a failed attempt: waits until another is worth while.
    ///
    /// # Errors
    /// 57P03 with the reason of the failure, when the time is up.
    pub async fn after(&self, leaders: &Leaders, leader: &Leader, asker: Asker, error: &Error) -> Result<()> {
        let (since, times) = self.begin();
        let left = self.left();
        if left.is_zero() {
            let waited = since.elapsed().as_secs_f64();
            let message = format!("group \"{}\" has had no backend to offer for {waited:.1} s", leader.group);
            return Err(Error::sql(sqlstate::CANNOT_CONNECT_NOW, message)
                .with_detail(format!("Node \"{}\": {error}.", leader.node.name))
                .with_hint("Try again later; `atoll status` shows the group's nodes."));
        }
        let _held = Held::new();
        let pause = (PAUSE_MIN * 2_u32.saturating_pow(times.min(8))).min(PAUSE_MAX).min(left);
        // Whichever is first.
        let _ = tokio::time::timeout(pause, leaders.superseded(leader, asker)).await;
        Ok(())
    }
}

/// A lane for `key` from the pool of a group's primary, waited for if need be; of an epoch not before the given one.
///
/// # Errors
/// 53300 when no backend came free; what PostgreSQL says at login; 57P03 when the group has no primary for too long.
pub async fn take(
    worker: &Worker,
    (group, epoch): (&str, u64),
    key: &LaneKey,
    need: Need,
    fit: impl Fn(&Lane) -> Fit,
    patience: &Patience,
) -> Result<Pooled> {
    let leaders = worker.cluster.keeper.leaders();
    let asker = match need {
        Need::Fresh => Asker::Clients,
        Need::Joining | Need::Spare => Asker::Joiners,
    };
    loop {
        let leader = match leaders.get(group, asker) {
            Some(leader) => leader,
            None => patience.for_primary(leaders, group, asker).await?,
        };
        if leader.epoch < epoch {
            // Another coordinator has heard of a newer one; this one will, too.
            let error = Error::unreachable(leader.node.name.as_str(), format!("epoch {epoch} of the group has begun"));
            patience.after(leaders, &leader, asker, &error).await?;
            continue;
        }
        let pool = worker.pool(&leader)?;
        let taken = tokio::select! {
            biased;
            taken = pool.take(key, need, &fit) => taken,
            () = leaders.superseded(&leader, asker) => continue,
        };
        match taken {
            Err(error) if error.is_away() => patience.after(leaders, &leader, asker, &error).await?,
            taken => return taken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_waits_no_longer_than_it_may_in_all() {
        let leaders = Leaders::default();
        let patience = Patience::new(30);
        assert_eq!(patience.left(), Duration::from_millis(30));
        let error = patience.for_primary(&leaders, "g1", Asker::Clients).await.err().unwrap();
        assert_eq!(error.sqlstate(), sqlstate::CANNOT_CONNECT_NOW);
        assert!(error.to_string().starts_with("group \"g1\" has had no primary for 0.0"), "{error}");
        assert!(patience.left().is_zero());
        patience.renew();
        assert_eq!(patience.left(), Duration::from_millis(30));
    }
}
