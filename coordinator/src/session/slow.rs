//! The log of slow statements: what EXPLAIN would have said, of statements that took longer than `slow_query_ms`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Session, Tier};
use crate::plans::Statement;

/// Longest text of a statement in the log, in characters.
const TEXT_MAX: usize = 2_000;

/// What is known of the statement that runs.
#[derive(Default)]
pub struct Work {
    /// Why PostgreSQL merges it rather than DataFusion.
    pub reason: Option<String>,
    pub fragments: Vec<FragmentWork>,
    /// When its transaction began, once its texts needed to know.
    pub time: Option<Arc<str>>,
    /// What the catalog database said of expressions, as constants.
    pub told: HashMap<String, String>,
}

/// A fragment that was fetched.
pub struct FragmentWork {
    pub name: String,
    pub groups: usize,
    /// Backends that worked on it.
    pub fragments: usize,
    pub rows: u64,
    /// Limited by the keys of others.
    pub limited: bool,
    pub took: Duration,
}

impl Work {
    /// `atoll_1 120 rows of 2 groups in 3 ms, atoll_2 ...`
    fn fragments(&self) -> String {
        let mut text = String::new();
        for fragment in &self.fragments {
            let separator = if text.is_empty() { "" } else { ", " };
            let limited = if fragment.limited { ", limited by keys" } else { "" };
            let _ = write!(
                text,
                "{separator}{} {} rows of {} groups in {} ms{limited}",
                fragment.name,
                fragment.rows,
                fragment.groups,
                fragment.took.as_millis()
            );
        }
        text
    }
}

impl Session {
    /// Logs a statement that began at `start`, if it was slow. Values of parameters are not shown.
    pub(super) fn note_time(&mut self, start: Instant, statement: &Statement) {
        let took = start.elapsed();
        let threshold = self.worker.cluster.config.slow_query_ms;
        if threshold == 0 || took < Duration::from_millis(threshold) {
            return;
        }
        let text: String = statement.text.chars().take(TEXT_MAX).collect();
        // Of a relayed statement, the work is another's.
        let own = if self.tier == Tier::Relay { Work::default() } else { std::mem::take(&mut self.work) };
        tracing::warn!(
            milliseconds = took.as_millis() as u64,
            database = %self.database,
            role = %self.role,
            tier = self.tier.as_str(),
            reason = own.reason.as_deref().unwrap_or(""),
            fragments = own.fragments(),
            statement = text,
            "a slow statement"
        );
    }
}
