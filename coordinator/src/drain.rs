//! The coordinator's last moments: idle sessions end, the others get some time to finish.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Counts sessions, and waits for them in the end.
#[derive(Debug)]
pub struct Drain {
    /// Cancelled once no new session is wanted.
    pub begun: CancellationToken,
    sessions: AtomicUsize,
    at_most: Duration,
    deadline: OnceLock<Instant>,
}

impl Drain {
    /// Sessions will get `at_most` to finish, from when they are first asked to.
    pub fn new(at_most: Duration) -> Self {
        Self { begun: CancellationToken::new(), sessions: AtomicUsize::new(0), at_most, deadline: OnceLock::new() }
    }

    /// A session begins; returns how many there were.
    pub fn enter(&self) -> usize {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }

    pub fn leave(&self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    /// Sessions now connected.
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Asks the sessions to end and waits until they have, or their time is up; a second call adds no time. Returns how many are left.
    pub async fn run(&self) -> usize {
        let deadline = *self.deadline.get_or_init(|| Instant::now() + self.at_most);
        self.begun.cancel();
        while self.sessions() > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
        self.sessions()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sessions_have_their_time_once() {
        let drain = Drain::new(Duration::from_millis(200));
        assert_eq!(drain.enter(), 0);
        assert_eq!(drain.enter(), 1);
        drain.leave();
        let start = Instant::now();
        assert_eq!(drain.run().await, 1);
        assert!(drain.begun.is_cancelled());
        assert!(start.elapsed() >= Duration::from_millis(200));
        let again = Instant::now();
        assert_eq!(drain.run().await, 1);
        assert!(again.elapsed() < Duration::from_millis(200));
        drain.leave();
        assert_eq!(drain.run().await, 0);
    }
}
