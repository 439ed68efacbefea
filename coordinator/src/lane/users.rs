//! Who used a backend last: a notification names the backend that sent it, and clients know each other by their sessions.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

/// The session that used a backend last; 0 for none.
#[derive(Debug, Default)]
pub struct LastUser(Arc<AtomicU64>);

type Users = HashMap<(Arc<str>, u32), Weak<AtomicU64>>;

/// Every backend of this process, by its node and process id.
static USERS: LazyLock<Mutex<Users>> = LazyLock::new(Mutex::default);

impl LastUser {
    /// Of a backend that has just been opened.
    pub(super) fn of(node: &Arc<str>, backend_pid: u32) -> Self {
        let user = Self::default();
        let mut users = USERS.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= 2 * users.values().filter(|user| user.strong_count() > 0).count().max(64) {
            users.retain(|_, user| user.strong_count() > 0);
        }
        users.insert((node.clone(), backend_pid), Arc::downgrade(&user.0));
        user
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn set(&self, session: u64) {
        self.0.store(session, Ordering::Relaxed);
    }
}

/// The session of this coordinator that used a backend last.
pub(super) fn user_of(node: &Arc<str>, backend_pid: u32) -> Option<u64> {
    let users = USERS.lock().unwrap_or_else(PoisonError::into_inner);
    let user = users.get(&(node.clone(), backend_pid)).and_then(Weak::upgrade)?;
    Some(user.load(Ordering::Relaxed)).filter(|session| *session != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_known_while_their_backend_lives() {
        let node: Arc<str> = "users-test".into();
        let user = LastUser::of(&node, 17);
        assert_eq!(user_of(&node, 17), None);
        user.set(5);
        assert_eq!((user_of(&node, 17), user_of(&node, 18)), (Some(5), None));
        drop(user);
        assert_eq!(user_of(&node, 17), None);
    }
}
