//! What every lease store must do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use atoll_control::record::{GroupRecord, Member};
use atoll_control::store::{Leader, LeaseId, LeaseStore, Revision, StoreError, View};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::CALL_TIMEOUT;

type Store = Arc<dyn LeaseStore>;

/// How soon a waiter hears of a change.
const WAKE_MAX: Duration = Duration::from_millis(200);
/// How late after its end a lease may be found out.
const EXPIRY_LATE_MAX: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(60);

/// The record of a leadership; `note` tells it from others of the same epoch.
pub fn record(leader: &str, epoch: u64, note: &str) -> GroupRecord {
    let member = Member { agent_address: note.into(), capacity: 1.1, ..Member::default() };
    GroupRecord {
        epoch,
        leader: leader.into(),
        members: BTreeMap::from([(leader.to_owned(), member)]),
        ..GroupRecord::default()
    }
}

/// Takes the lease for the record's leader.
pub async fn acquire(
    store: &Store,
    group: &str,
    revision: Revision,
    record: &GroupRecord,
    ttl: Duration,
) -> Result<(LeaseId, Revision), StoreError> {
    let leader = Leader { node: record.leader.clone(), epoch: record.epoch };
    store.acquire(group, revision, record, &leader, ttl).await
}

/// All of them, each on a group of its own. `ttl` is the shortest that the store grants; every client has connections of its own.
pub async fn all(client: &dyn Fn() -> Store, ttl: Duration) {
    tokio::join!(
        one_of_many_acquirers_wins(client),
        only_the_holder_changes_what_it_has_read(client()),
        an_expired_lease_is_free(client(), client(), ttl),
        a_renewed_lease_stays(client(), ttl),
        a_released_lease_is_free_at_once(client()),
        the_lease_of_an_earlier_life_can_be_taken_up(client(), client()),
        a_change_wakes_those_who_wait(client(), client(), ttl),
        nothing_wakes_nobody(client()),
    );
}

async fn one_of_many_acquirers_wins(client: &dyn Fn() -> Store) {
    let contenders: Vec<(String, Store)> = (0..8).map(|i| (format!("n{i}"), client())).collect();
    let mut revision = 0;
    for epoch in 1..=3 {
        let attempts = contenders.iter().map(|(node, store)| async move {
            acquire(store, "race", revision, &record(node, epoch, ""), LONG).await.map(|won| (node, won))
        });
        let (won, lost): (Vec<_>, Vec<_>) = join_all(attempts).await.into_iter().partition(Result::is_ok);
        assert!(lost.iter().all(|outcome| outcome == &Err(StoreError::Conflict)), "{lost:?}");
        assert_eq!(won.len(), 1, "{won:?}");
        let (node, (lease, new_revision)) = won[0].as_ref().unwrap();
        assert_ne!(*new_revision, revision);
        revision = *new_revision;
        let leader = Leader { node: (*node).clone(), epoch };
        for (_, store) in &contenders {
            let seen = store.read("race").await.unwrap();
            let expected =
                View { record: record(node, epoch, ""), revision, leader: Some(leader.clone()), lease: Some(*lease) };
            assert_eq!(seen, expected);
        }
        contenders[0].1.release("race", *lease).await.unwrap();
    }
}

async fn only_the_holder_changes_what_it_has_read(store: Store) {
    let conflict = Err(StoreError::Conflict);
    assert_eq!(store.read("update").await, Ok(View::default()));
    let lost = acquire(&store, "update", 7, &record("a", 1, ""), LONG).await;
    assert_eq!(lost, Err(StoreError::Conflict), "there is no revision 7");
    let (lease, first) = acquire(&store, "update", 0, &record("a", 1, "first"), LONG).await.unwrap();
    let second = store.update("update", lease, first, &record("a", 1, "second")).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(store.update("update", lease, first, &record("a", 1, "stale")).await, conflict);
    let (other, _) = acquire(&store, "update-other", 0, &record("b", 1, ""), LONG).await.unwrap();
    assert_eq!(store.update("update", other, second, &record("b", 2, "loser")).await, conflict);
    assert_eq!(store.renew("update", other).await, Err(StoreError::Conflict));
    // Not what the loser holds: nothing is freed.
    let taken = acquire(&store, "update", second, &record("b", 2, "taken"), LONG).await;
    assert_eq!(taken, Err(StoreError::Conflict));
    let seen = store.read("update").await.unwrap();
    assert_eq!((seen.record, seen.revision), (record("a", 1, "second"), second));
    assert_eq!(seen.lease, Some(lease));
    store.release("update", lease).await.unwrap();
    assert_eq!(store.update("update", lease, second, &record("a", 1, "late")).await, conflict);
}

async fn an_expired_lease_is_free(holder: Store, other: Store, ttl: Duration) {
    let sent = Instant::now();
    let (lease, revision) = acquire(&holder, "expiry", 0, &record("a", 1, ""), ttl).await.unwrap();
    // As long as the holder may count on it, nobody else gets it.
    while sent.elapsed() < ttl - Duration::from_millis(50) {
        let asked = Instant::now();
        let seen = other.read("expiry").await.unwrap();
        assert!(seen.leader.is_some() || asked.duration_since(sent) >= ttl, "after {:?}", sent.elapsed());
        sleep(Duration::from_millis(100)).await;
    }
    while other.read("expiry").await.unwrap().leader.is_some() {
        assert!(sent.elapsed() < ttl + EXPIRY_LATE_MAX, "the lease does not end");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(holder.renew("expiry", lease).await, Err(StoreError::Conflict));
    assert_eq!(holder.update("expiry", lease, revision, &record("a", 1, "late")).await, Err(StoreError::Conflict));
    holder.release("expiry", lease).await.unwrap();
    let seen = other.read("expiry").await.unwrap();
    assert_eq!((&seen.record, seen.revision, seen.lease), (&record("a", 1, ""), revision, None), "the record survives");
    let (newer, _) = acquire(&other, "expiry", revision, &record("b", 2, ""), LONG).await.unwrap();
    // What the old holder still does changes nothing.
    assert_eq!(holder.renew("expiry", lease).await, Err(StoreError::Conflict));
    holder.release("expiry", lease).await.unwrap();
    assert_eq!(holder.read("expiry").await.unwrap().lease, Some(newer));
}

async fn a_renewed_lease_stays(store: Store, ttl: Duration) {
    let (lease, revision) = acquire(&store, "renew", 0, &record("a", 1, ""), ttl).await.unwrap();
    let end = Instant::now() + ttl * 3;
    while Instant::now() < end {
        sleep(ttl / 4).await;
        store.renew("renew", lease).await.unwrap();
    }
    store.update("renew", lease, revision, &record("a", 1, "still there")).await.unwrap();
    store.release("renew", lease).await.unwrap();
}

async fn a_released_lease_is_free_at_once(store: Store) {
    let (lease, revision) = acquire(&store, "release", 0, &record("a", 1, ""), LONG).await.unwrap();
    store.release("release", lease).await.unwrap();
    let seen = store.read("release").await.unwrap();
    assert_eq!((seen.leader, seen.lease, seen.revision), (None, None, revision));
    assert_eq!(store.renew("release", lease).await, Err(StoreError::Conflict));
    store.release("release", lease).await.unwrap();
    acquire(&store, "release", revision, &record("b", 2, ""), LONG).await.unwrap();
}

async fn the_lease_of_an_earlier_life_can_be_taken_up(before: Store, after: Store) {
    // The record may still name the leader before.
    let leader = Leader { node: "a".into(), epoch: 2 };
    before.acquire("earlier", 0, &record("z", 1, ""), &leader, LONG).await.unwrap();
    let seen = after.read("earlier").await.unwrap();
    assert_eq!((seen.leader, seen.record), (Some(leader), record("z", 1, "")));
    let lease = seen.lease.unwrap();
    after.renew("earlier", lease).await.unwrap();
    let revision = after.update("earlier", lease, seen.revision, &record("a", 1, "again")).await.unwrap();
    after.release("earlier", lease).await.unwrap();
    let seen = after.read("earlier").await.unwrap();
    assert_eq!((seen.leader, seen.revision), (None, revision));
}

async fn a_change_wakes_those_who_wait(holder: Store, waiter: Store, ttl: Duration) {
    // Waits for what `change` does, and for nothing else.
    let woken = async |change: &dyn Fn() -> futures_util::future::LocalBoxFuture<'static, ()>| {
        let view = waiter.read("changed").await.unwrap();
        let done = async {
            sleep(Duration::from_millis(700)).await;
            change().await;
            Instant::now()
        };
        let heard = async {
            waiter.changed("changed", &view, Duration::from_secs(20)).await.unwrap();
            Instant::now()
        };
        let (done, heard) = tokio::join!(done, heard);
        assert!(heard <= done + WAKE_MAX, "heard {:?} after the change", heard - done);
        assert!(waiter.read("changed").await.unwrap().has_changed_since(&view), "woken for nothing");
        // Whoever asks with what is no longer so hears it at once.
        let asked = Instant::now();
        waiter.changed("changed", &view, Duration::from_secs(20)).await.unwrap();
        assert!(asked.elapsed() <= WAKE_MAX, "{:?}", asked.elapsed());
    };
    for epoch in [1, 2] {
        let store = holder.clone();
        woken(&move || {
            let store = store.clone();
            Box::pin(async move {
                let revision = store.read("changed").await.unwrap().revision;
                acquire(&store, "changed", revision, &record("a", epoch, ""), LONG).await.unwrap();
            })
        })
        .await;
        let store = holder.clone();
        woken(&move || {
            let store = store.clone();
            Box::pin(async move {
                let seen = store.read("changed").await.unwrap();
                store.update("changed", seen.lease.unwrap(), seen.revision, &record("a", epoch, "new")).await.unwrap();
            })
        })
        .await;
        let store = holder.clone();
        woken(&move || {
            let store = store.clone();
            Box::pin(async move {
                let lease = store.read("changed").await.unwrap().lease.unwrap();
                store.release("changed", lease).await.unwrap();
            })
        })
        .await;
    }
    // A lease that ends by itself.
    let revision = waiter.read("changed").await.unwrap().revision;
    acquire(&holder, "changed", revision, &record("a", 3, ""), ttl).await.unwrap();
    let view = waiter.read("changed").await.unwrap();
    timeout(ttl + EXPIRY_LATE_MAX, waiter.changed("changed", &view, LONG)).await.unwrap().unwrap();
    assert_eq!(waiter.read("changed").await.unwrap().leader, None);
}

async fn nothing_wakes_nobody(store: Store) {
    let (lease, _) = acquire(&store, "nothing", 0, &record("a", 1, ""), LONG).await.unwrap();
    let view = store.read("nothing").await.unwrap();
    let asked = Instant::now();
    let wait = Duration::from_millis(1500);
    let renewals = async {
        for _ in 0..4 {
            sleep_until(asked + wait / 6).await;
            store.renew("nothing", lease).await.unwrap();
        }
    };
    let (waited, ()) = tokio::join!(store.changed("nothing", &view, wait), renewals);
    waited.unwrap();
    assert!(asked.elapsed() >= wait && asked.elapsed() < wait + CALL_TIMEOUT, "{:?}", asked.elapsed());
}
