//! CancelRequest: from a session's key to the backends that work for it right now.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::lane::{self, Lane, NodeChannel};

/// Every session that can be cancelled, by its BackendKeyData.
#[derive(Default)]
pub struct CancelRegistry {
    sessions: Mutex<HashMap<i32, Registered>>,
    next_pid: AtomicI32,
}

struct Registered {
    secret: i32,
    handle: Arc<CancelHandle>,
    database: String,
}

/// What one session has running.
#[derive(Default)]
pub struct CancelHandle {
    active: Mutex<Vec<(NodeChannel, u32)>>,
    /// Cancels under way: backends must not change hands before they have been delivered.
    delivering: AtomicUsize,
    delivered: Notify,
    /// Wakes work that no backend does: waiting for the client's COPY data.
    requested: Notify,
}

impl CancelRegistry {
    /// Registers a session; the key to send to its client comes back, and the handle.
    pub fn register(self: &Arc<Self>, database: &str) -> (i32, i32, Arc<CancelHandle>) {
        let pid = self.next_pid.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let secret = rand::random();
        let handle = Arc::new(CancelHandle::default());
        self.lock().insert(pid, Registered { secret, handle: handle.clone(), database: database.to_owned() });
        (pid, secret, handle)
    }

    pub fn forget(&self, pid: i32) {
        self.lock().remove(&pid);
    }

    /// How many sessions of this coordinator use a logical database.
    pub fn sessions_of(&self, database: &str) -> usize {
        self.lock().values().filter(|session| session.database == database).count()
    }

    /// Interrupts what the session does, if the key is right; says nothing either way, like PostgreSQL.
    pub async fn cancel(&self, pid: i32, secret: i32) {
        let handle =
            self.lock().get(&pid).filter(|session| session.secret == secret).map(|session| session.handle.clone());
        let Some(handle) = handle else { return };
        handle.delivering.fetch_add(1, Ordering::SeqCst);
        handle.requested.notify_waiters();
        let active = handle.active.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (channel, backend_pid) in active {
            if let Err(error) = lane::cancel(&channel, backend_pid).await {
                tracing::warn!(%error, "a cancel was not delivered");
            }
        }
        handle.delivering.fetch_sub(1, Ordering::SeqCst);
        handle.delivered.notify_waiters();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i32, Registered>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CancelHandle {
    /// A lane begins to work for the session: a cancel reaches it from now on.
    pub fn enter(&self, lane: &Lane) {
        let entry = (lane.channel().clone(), lane.backend_pid);
        self.active.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// The lane is done; true when a cancel is on its way to it and [`CancelHandle::settled`] must be awaited before anybody else
    /// may use its backend.
    pub fn leave(&self, lane: &Lane) -> bool {
        self.active.lock().unwrap_or_else(PoisonError::into_inner).retain(|(_, pid)| *pid != lane.backend_pid);
        self.delivering.load(Ordering::SeqCst) > 0
    }

    /// Resolves when a cancel comes while this is awaited.
    pub async fn requested(&self) {
        self.requested.notified().await;
    }

    /// Waits until no cancel is under way.
    pub async fn settled(&self) {
        loop {
            let notified = self.delivered.notified();
            if self.delivering.load(Ordering::SeqCst) == 0 {
                return;
            }
            notified.await;
        }
    }
}
