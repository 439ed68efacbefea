//! CancelRequest: from a session's key to the backends that work for it right now.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result, sqlstate};
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
    role: String,
}

/// What one session has running.
///
/// A cancel is meant for the message (or pipeline) being answered when it comes: it is delivered again and again until that is over, because
/// a backend may not have begun its part yet, and the next part may be another backend's.
#[derive(Default)]
pub struct CancelHandle {
    /// What its client knows it by, and sees as the sender of its notifications.
    pid: i32,
    /// Cancelled by `pg_terminate_backend`.
    pub terminated: CancellationToken,
    active: Mutex<Vec<(Arc<NodeChannel>, u32)>>,
    /// Odd while a message is being answered.
    message: AtomicU64,
    /// The message that was cancelled last.
    cancelled: AtomicU64,
    /// Cancels under way: backends must not change hands before they have been delivered.
    delivering: AtomicUsize,
    delivered: Notify,
    /// Wakes work that no backend does: waiting for the client's COPY data, or for a backend.
    requested: Notify,
}

/// Sessions are numbered above what Linux gives processes (PID_MAX_LIMIT), so that `pg_terminate_backend` cannot take one for a backend.
const FIRST_PID: i32 = (1 << 22) + 1;

/// How long a cancel waits for its effect before it is delivered again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

impl CancelRegistry {
    /// Registers a session; the key to send to its client comes back, and the handle.
    pub fn register(self: &Arc<Self>, database: &str, role: &str) -> (i32, i32, Arc<CancelHandle>) {
        let number = self.next_pid.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let pid = FIRST_PID + number % (i32::MAX - FIRST_PID);
        let secret = rand::random();
        let handle = Arc::new(CancelHandle { pid, ..CancelHandle::default() });
        let (database, role) = (database.to_owned(), role.to_owned());
        self.lock().insert(pid, Registered { secret, handle: handle.clone(), database, role });
        (pid, secret, handle)
    }

    /// The session has ended, maybe in the middle of a message: a cancel that is still being delivered has nothing left to do.
    pub fn forget(&self, pid: i32) {
        if let Some(session) = self.lock().remove(&pid) {
            session.handle.end();
        }
    }

    /// How many sessions of this coordinator use a logical database.
    pub fn sessions_of(&self, database: &str) -> usize {
        self.lock().values().filter(|session| session.database == database).count()
    }

    /// How many sessions of this coordinator a role has.
    pub fn sessions_of_role(&self, role: &str) -> usize {
        self.lock().values().filter(|session| session.role == role).count()
    }

    /// Interrupts what the session does, if the key is right; says nothing either way, like PostgreSQL.
    pub async fn cancel(&self, pid: i32, secret: i32) {
        let handle =
            self.lock().get(&pid).filter(|session| session.secret == secret).map(|session| session.handle.clone());
        if let Some(handle) = handle {
            handle.interrupt().await;
        }
    }

    /// The session with this process id, and its role.
    pub fn find(&self, pid: i32) -> Option<(Arc<CancelHandle>, String)> {
        self.lock().get(&pid).map(|session| (session.handle.clone(), session.role.clone()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i32, Registered>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CancelHandle {
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Interrupts the message being answered, if there is one.
    pub async fn interrupt(self: &Arc<Self>) {
        let Some(message) = self.request() else { return };
        self.deliver().await;
        let handle = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(AGAIN_AFTER).await;
            while handle.message.load(Ordering::SeqCst) == message {
                handle.deliver().await;
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        });
    }

    /// The session begins to answer a message.
    pub fn begin(&self) {
        self.message.fetch_or(1, Ordering::SeqCst);
    }

    /// The message is answered: a cancel that comes now finds nothing to do.
    pub fn end(&self) {
        let message = self.message.load(Ordering::SeqCst);
        self.message.store(message + (message & 1), Ordering::SeqCst);
        self.active.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Notes a cancel; the message it is meant for, unless none is being answered, or that one is being cancelled already.
    fn request(&self) -> Option<u64> {
        let message = self.message.load(Ordering::SeqCst);
        if message & 1 == 0 || self.cancelled.swap(message, Ordering::SeqCst) == message {
            return None;
        }
        self.requested.notify_waiters();
        Some(message)
    }

    async fn deliver(&self) {
        self.delivering.fetch_add(1, Ordering::SeqCst);
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (channel, backend_pid) in active {
            if let Err(error) = lane::cancel(&channel, backend_pid).await {
                tracing::warn!(%error, "a cancel was not delivered");
            }
        }
        self.delivering.fetch_sub(1, Ordering::SeqCst);
        self.delivered.notify_waiters();
    }

    /// Between the steps of a statement.
    ///
    /// # Errors
    /// 57014 when a cancel has come for the message being answered.
    pub fn check(&self) -> Result<()> {
        let message = self.message.load(Ordering::SeqCst);
        if message & 1 == 1 && self.cancelled.load(Ordering::SeqCst) == message {
            return Err(Error::sql(sqlstate::QUERY_CANCELED, "canceling statement due to user request"));
        }
        Ok(())
    }

    /// Resolves, with 57014, when a cancel comes for the message being answered, or has come.
    pub async fn requested(&self) -> Error {
        loop {
            let requested = self.requested.notified();
            if let Err(error) = self.check() {
                return error;
            }
            requested.await;
        }
    }

    /// Works on a lane, reached by cancels meanwhile.
    ///
    /// # Errors
    /// The work's.
    pub async fn over<T>(&self, lane: &mut Lane, work: impl AsyncFnOnce(&mut Lane) -> Result<T>) -> Result<T> {
        self.enter(lane);
        let result = work(lane).await;
        self.leave(lane);
        self.settled().await;
        result
    }

    /// A lane begins to work for the session: a cancel reaches it from now on.
    pub fn enter(&self, lane: &Lane) {
        let entry = (lane.channel().clone(), lane.backend_pid);
        self.active.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// The lane is done; [`CancelHandle::settled`] must be awaited before anybody else may use its backend. An interrupt that meets an idle
    /// backend does nothing.
    pub fn leave(&self, lane: &Lane) {
        self.active
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(channel, pid)| *pid != lane.backend_pid || channel.node != *lane.node());
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
