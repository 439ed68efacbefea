//! Prepared fragments of one lane.

use std::collections::HashMap;
use std::sync::Arc;

use atoll_wire::backend::Column;

/// Most prepared fragments a lane keeps.
const PREPARED_MAX: usize = 64;

/// What tells one prepared fragment from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub sql: String,
    /// Parameter types as the caller gave them.
    pub types: Vec<u32>,
    /// Of the definitions it reads, as the caller counts them.
    pub version: u64,
}

/// A fragment that the backend knows under a name.
#[derive(Debug, Clone)]
pub struct Prepared {
    pub name: Arc<str>,
    /// What it returns; empty for a statement that returns nothing.
    pub columns: Arc<[Column]>,
}

/// The prepared fragments, the least recently used ones making room.
#[derive(Debug, Default)]
pub struct Statements {
    entries: HashMap<Key, (Prepared, u64)>,
    clock: u64,
    named: u64,
    /// Names that the backend may know and nobody needs.
    stale: Vec<Arc<str>>,
}

impl Statements {
    pub fn get(&mut self, key: &Key) -> Option<Prepared> {
        self.clock += 1;
        let (prepared, used) = self.entries.get_mut(key)?;
        *used = self.clock;
        Some(prepared.clone())
    }

    /// A name that was never used on this backend.
    pub fn new_name(&mut self) -> Arc<str> {
        self.named += 1;
        format!("atoll_f{}", self.named).into()
    }

    pub fn insert(&mut self, key: Key, prepared: Prepared) {
        if self.entries.len() >= PREPARED_MAX {
            let oldest = self.entries.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                self.remove(&oldest);
            }
        }
        self.clock += 1;
        self.entries.insert(key, (prepared, self.clock));
    }

    /// Forgets a fragment; its name is to be closed.
    pub fn remove(&mut self, key: &Key) {
        if let Some((prepared, _)) = self.entries.remove(key) {
            self.stale.push(prepared.name);
        }
    }

    /// Notes a name that may have been prepared and is not kept.
    pub fn discard(&mut self, name: Arc<str>) {
        self.stale.push(name);
    }

    /// The names to close before the next fragment.
    pub fn take_stale(&mut self) -> Vec<Arc<str>> {
        std::mem::take(&mut self.stale)
    }

    /// The backend has forgotten all names.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.stale.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        Key { sql: format!("select {number}"), types: vec![], version: 1 }
    }

    #[test]
    fn the_least_recently_used_makes_room() {
        let mut statements = Statements::default();
        for number in 0..=PREPARED_MAX {
            assert!(number == 0 || statements.get(&key(0)).is_some());
            let name = statements.new_name();
            statements.insert(key(number), Prepared { name, columns: Arc::new([]) });
        }
        assert!(statements.get(&key(0)).is_some());
        assert!(statements.get(&key(1)).is_none());
        assert_eq!(statements.take_stale(), [Arc::from("atoll_f2")]);
        statements.clear();
        assert!(statements.get(&key(0)).is_none());
        assert_eq!(&*statements.new_name(), format!("atoll_f{}", PREPARED_MAX + 2));
    }
}
