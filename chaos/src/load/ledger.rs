//! What clients know of their writes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::times::ticker::gap;

/// Kinds of errors that are kept; further ones are only counted.
const KINDS_MAX: usize = 60;

/// What a client knows of one write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, by this server.
    Acknowledged(Place),
    /// May have been done: no answer came, or one that says so (08007).
    Unknown,
    /// An error says that it was not done.
    Refused,
}

/// Which server wrote a row, and on which timeline.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub group: String,
    pub node: Arc<str>,
    pub timeline: u32,
}

/// One write.
#[derive(Clone, Debug)]
pub struct Entry {
    pub seq: i64,
    pub sent: Instant,
    pub done: Instant,
    pub outcome: Outcome,
    /// Of a transfer: from, to, amount.
    pub moved: [i64; 3],
}

/// All writes of one writer, in order.
pub struct Log {
    pub writer: i32,
    /// Where its rows lie; empty when they lie in several groups.
    pub group: String,
    entries: Mutex<Vec<Entry>>,
}

/// One acknowledged write, as [`Ledger::double_writers`] looks at it.
struct Write {
    sent: Instant,
    done: Instant,
    timeline: u32,
    node: Arc<str>,
}

/// All writers' logs.
#[derive(Clone, Copy)]
pub struct Ledger<'a> {
    pub inserts: &'a [Arc<Log>],
    pub transfers: &'a [Arc<Log>],
    pub errors: &'a Errors,
}

/// How many writes ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub acknowledged: u64,
    pub unknown: u64,
    pub refused: u64,
}

impl Log {
    pub fn new(writer: i32, group: &str) -> Log {
        Log { writer, group: group.to_owned(), entries: Mutex::default() }
    }

    pub fn push(&self, entry: Entry) {
        self.entries().push(entry);
    }

    pub fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger<'_> {
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for log in self.inserts.iter().chain(self.transfers) {
            for entry in &*log.entries() {
                match entry.outcome {
                    Outcome::Acknowledged(_) => counts.acknowledged += 1,
                    Outcome::Unknown => counts.unknown += 1,
                    Outcome::Refused => counts.refused += 1,
                }
            }
        }
        counts
    }

    /// The longest time in the span during which no insert into the group was acknowledged.
    pub fn gap(&self, group: &str, from: Instant, to: Instant) -> Duration {
        let mut times = Vec::new();
        for log in self.inserts.iter().filter(|log| log.group == group) {
            let entries = log.entries();
            let acknowledged = entries.iter().filter(|entry| matches!(entry.outcome, Outcome::Acknowledged(_)));
            times.extend(acknowledged.map(|entry| entry.done));
        }
        times.sort();
        gap(&times, from, to)
    }

    /// The longest time in the span during which a single writer had nothing acknowledged.
    pub fn longest_stall(&self, from: Instant, to: Instant) -> Duration {
        let stall = |log: &Arc<Log>| {
            let entries = log.entries();
            let acknowledged = entries.iter().filter(|entry| matches!(entry.outcome, Outcome::Acknowledged(_)));
            gap(&acknowledged.map(|entry| entry.done).collect::<Vec<_>>(), from, to)
        };
        self.inserts.iter().chain(self.transfers).map(stall).max().unwrap_or_default()
    }

    /// Acknowledged by two servers on one timeline, or by a deposed server after its successor had acknowledged: one line each.
    pub fn double_writers(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut reigns: HashMap<(String, u32), Arc<str>> = HashMap::new();
        let mut acknowledged: BTreeMap<String, Vec<Write>> = BTreeMap::new();
        for log in self.inserts.iter().chain(self.transfers) {
            for entry in &*log.entries() {
                let Outcome::Acknowledged(place) = &entry.outcome else { continue };
                let holder = reigns.entry((place.group.clone(), place.timeline)).or_insert_with(|| place.node.clone());
                if *holder != place.node {
                    wrong.push(format!(
                        "{} and {} both acknowledged writes on timeline {} of {}",
                        holder, place.node, place.timeline, place.group
                    ));
                }
                let (timeline, node) = (place.timeline, place.node.clone());
                let write = Write { sent: entry.sent, done: entry.done, timeline, node };
                acknowledged.entry(place.group.clone()).or_default().push(write);
            }
        }
        for (group, mut writes) in acknowledged {
            writes.sort_by_key(|write| write.done);
            // Timelines, and when each had first acknowledged.
            let mut newest: Vec<(Instant, u32)> = Vec::new();
            for write in &writes {
                if newest.last().is_none_or(|(_, last)| write.timeline > *last) {
                    newest.push((write.done, write.timeline));
                }
            }
            for Write { sent, timeline, node, .. } in &writes {
                // The successors that had answered before this write was sent.
                if let Some((_, successor)) = newest.iter().rev().find(|(done, _)| done < sent)
                    && successor > timeline
                {
                    wrong.push(format!(
                        "{node} acknowledged a write on timeline {timeline} of {group} that was sent after timeline \
                         {successor} had acknowledged one"
                    ));
                }
            }
        }
        wrong.sort();
        wrong.dedup();
        wrong
    }
}

/// Group and node of `/.../g2-n1/disk/data` (and anything after a space).
pub fn node_of(data_directory: &str) -> Option<(String, String)> {
    let path = data_directory.split(' ').next()?;
    let node = path.strip_suffix("/disk/data")?.rsplit('/').next()?;
    let (group, _) = node.split_once('-')?;
    Some((group.to_owned(), node.to_owned()))
}

impl Place {
    /// From what `place()` says: "/lab/g2-n1/disk/data 000000020000000000000001".
    pub fn parse(text: &str) -> Option<Place> {
        let (directory, file) = text.split_once(' ')?;
        let (group, node) = node_of(directory)?;
        Some(Place { group, node: node.into(), timeline: u32::from_str_radix(file.get(..8)?, 16).ok()? })
    }
}

/// Errors that clients saw, by SQLSTATE and words.
#[derive(Default)]
pub struct Errors {
    kinds: Mutex<BTreeMap<String, u64>>,
}

impl Errors {
    pub fn note(&self, kind: String) {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = if kinds.len() < KINDS_MAX || kinds.contains_key(&kind) { kind } else { "others".to_owned() };
        *kinds.entry(kind).or_default() += 1;
    }

    /// The most frequent first.
    pub fn lines(&self) -> Vec<String> {
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kinds: Vec<_> = kinds.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        kinds.into_iter().map(|(kind, count)| format!("{count} x {kind}")).collect()
    }

    pub fn total(&self) -> u64 {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(start: Instant, sent: u64, done: u64, node: &str, timeline: u32) -> Entry {
        let at = |ms| start + Duration::from_millis(ms);
        let place = Place { group: "g1".to_owned(), node: node.into(), timeline };
        let outcome = Outcome::Acknowledged(place);
        Entry { seq: 0, sent: at(sent), done: at(done), outcome, moved: [0; 3] }
    }

    fn wrong(entries: Vec<Entry>) -> Vec<String> {
        let log = Log::new(1, "g1");
        entries.into_iter().for_each(|entry| log.push(entry));
        let errors = Errors::default();
        Ledger { inserts: &[Arc::new(log)], transfers: &[], errors: &errors }.double_writers()
    }

    #[test]
    fn a_succession_is_no_double_writer() {
        let start = Instant::now();
        assert!(wrong(vec![entry(start, 0, 1, "g1-n1", 1), entry(start, 2, 3, "g1-n2", 2)]).is_empty());
        // Sent before the successor answered.
        assert!(wrong(vec![entry(start, 0, 9, "g1-n1", 1), entry(start, 2, 3, "g1-n2", 2)]).is_empty());
    }

    #[test]
    fn two_writers_are_seen() {
        let start = Instant::now();
        let one_timeline = wrong(vec![entry(start, 0, 1, "g1-n1", 1), entry(start, 2, 3, "g1-n2", 1)]);
        assert_eq!(one_timeline, ["g1-n1 and g1-n2 both acknowledged writes on timeline 1 of g1"]);
        let deposed = wrong(vec![entry(start, 0, 1, "g1-n2", 2), entry(start, 2, 3, "g1-n1", 1)]);
        assert!(deposed[0].starts_with("g1-n1 acknowledged a write on timeline 1"), "{deposed:?}");
    }

    #[test]
    fn places_are_read() {
        let place = Place::parse("/tmp/x/g2-n3/disk/data 0000001A0000000000000001").unwrap();
        assert_eq!((place.group.as_str(), &*place.node, place.timeline), ("g2", "g2-n3", 26));
        assert_eq!(Place::parse("/tmp/x/data 0000001A0000000000000001"), None);
    }
}
