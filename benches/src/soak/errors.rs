//! Errors that should not have been.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Kinds of errors kept; further ones are only counted.
const KINDS_MAX: usize = 100;

/// How often each error came, by operation and message.
#[derive(Debug, Default)]
pub struct Errors {
    kinds: Mutex<BTreeMap<String, u64>>,
}

impl Errors {
    /// Notes an error; the first of each kind is printed at once.
    pub fn note(&self, operation: &str, message: &str) {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = format!("{operation}: {message}");
        if kinds.len() >= KINDS_MAX && !kinds.contains_key(&key) {
            "others".clone_into(&mut key);
        }
        let count = kinds.entry(key.clone()).or_default();
        *count += 1;
        if *count == 1 {
            eprintln!("unexpected: {key}");
        }
    }

    pub fn count(&self) -> u64 {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// One line for each kind.
    pub fn lines(&self) -> Vec<String> {
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.iter().map(|(kind, count)| format!("{count} x {kind}")).collect()
    }
}
