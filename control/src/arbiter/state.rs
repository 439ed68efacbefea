//! Who holds what until when: decided here, given the time; without files and without a network.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What must survive a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Durable {
    /// The newest lease that was granted; ids are never used again.
    pub lease_last: i64,
    pub groups: BTreeMap<String, Group>,
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// JSON.
    pub record: String,
    /// Counts the record's changes.
    pub revision: u64,
    /// Of the newest lease that was not released; it may have expired.
    pub holder: Option<Holder>,
}

/// Who has been granted a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    pub lease: i64,
    pub node: String,
    pub epoch: u64,
    pub ttl_ms: u32,
}

impl Holder {
    fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms.into())
    }
}

/// The record has another revision, or the lease is taken or not the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict;

/// A permitted change, which counts once it has been written and is then [applied](State::apply). No other may be permitted in between.
#[derive(Clone, Debug)]
pub struct Change {
    pub name: String,
    pub group: Group,
    /// A lease that begins with it.
    pub granted: Option<i64>,
}

/// All groups, with the ends of their leases. Times are since boot.
#[derive(Debug)]
pub struct State {
    durable: Durable,
    /// By group; of no meaning to those without a holder.
    ends: HashMap<String, Duration>,
}

impl State {
    /// After a restart: how much was left of a lease is not known, so each has its whole time to live again.
    pub fn restored(durable: Durable, now: Duration) -> Self {
        let end = |(name, group): (&String, &Group)| Some((name.clone(), now + group.holder.as_ref()?.ttl()));
        let ends = durable.groups.iter().filter_map(end).collect();
        Self { durable, ends }
    }

    /// The group's record with its revision.
    pub fn record(&self, name: &str) -> (&str, u64) {
        self.durable.groups.get(name).map_or(("", 0), |group| (&group.record, group.revision))
    }

    /// Who holds the group now, and until when unless it renews.
    pub fn holder(&self, name: &str, now: Duration) -> Option<(&Holder, Duration)> {
        let end = *self.ends.get(name)?;
        let holder = self.durable.groups.get(name)?.holder.as_ref()?;
        (now < end).then_some((holder, end))
    }

    fn is_held_by(&self, name: &str, lease: i64, now: Duration) -> bool {
        self.holder(name, now).is_some_and(|(holder, _)| holder.lease == lease)
    }

    /// The lease of a group that has none now, with its record.
    ///
    /// # Errors
    /// [`Conflict`].
    pub fn acquire(
        &self,
        name: &str,
        revision: u64,
        record: String,
        (node, epoch): (String, u64),
        ttl_ms: u32,
        now: Duration,
    ) -> Result<Change, Conflict> {
        if self.holder(name, now).is_some() || self.record(name).1 != revision {
            return Err(Conflict);
        }
        let lease = self.durable.lease_last + 1;
        let holder = Some(Holder { lease, node, epoch, ttl_ms });
        let group = Group { record, revision: revision + 1, holder };
        Ok(Change { name: name.to_owned(), group, granted: Some(lease) })
    }

    /// The record, by its holder.
    ///
    /// # Errors
    /// [`Conflict`].
    pub fn update(
        &self,
        name: &str,
        lease: i64,
        revision: u64,
        record: String,
        now: Duration,
    ) -> Result<Change, Conflict> {
        match self.holder(name, now) {
            Some((holder, _)) if holder.lease == lease && self.record(name).1 == revision => {
                let group = Group { record, revision: revision + 1, holder: Some(holder.clone()) };
                Ok(Change { name: name.to_owned(), group, granted: None })
            }
            _ => Err(Conflict),
        }
    }

    /// The end of a lease by its holder's wish; `None` when it has ended already.
    pub fn release(&self, name: &str, lease: i64, now: Duration) -> Option<Change> {
        if !self.is_held_by(name, lease, now) {
            return None;
        }
        let (record, revision) = self.record(name);
        let group = Group { record: record.to_owned(), revision, holder: None };
        Some(Change { name: name.to_owned(), group, granted: None })
    }

    /// Lets a lease last for its time to live from now on. Nothing of this is written: a restart does the same.
    ///
    /// # Errors
    /// [`Conflict`].
    pub fn renew(&mut self, name: &str, lease: i64, now: Duration) -> Result<(), Conflict> {
        match self.holder(name, now) {
            Some((holder, _)) if holder.lease == lease => {
                let end = now + holder.ttl();
                self.ends.insert(name.to_owned(), end);
                Ok(())
            }
            _ => Err(Conflict),
        }
    }

    /// What is to be written for `change`.
    pub fn after(&self, change: &Change) -> Durable {
        let mut durable = self.durable.clone();
        durable.groups.insert(change.name.clone(), change.group.clone());
        durable.lease_last = change.granted.unwrap_or(durable.lease_last);
        durable
    }

    /// A lease that the change grants begins `now`.
    pub fn apply(&mut self, change: Change, now: Duration) {
        if let (Some(lease), Some(holder)) = (change.granted, &change.group.holder) {
            self.durable.lease_last = lease;
            self.ends.insert(change.name.clone(), now + holder.ttl());
        }
        self.durable.groups.insert(change.name, change.group);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const TTL_MS: u32 = 6000;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// Acquires for node "a" and gives lease and revision.
    fn acquire(state: &mut State, revision: u64, now: f64) -> Result<(i64, u64), Conflict> {
        let change = state.acquire("g", revision, "{}".into(), ("a".into(), revision + 1), TTL_MS, seconds(now))?;
        let granted = (change.granted.unwrap(), change.group.revision);
        state.apply(change, seconds(now));
        Ok(granted)
    }

    #[test]
    fn a_lease_lasts_from_its_last_renewal_for_its_time_to_live() {
        let mut state = State::restored(Durable::default(), seconds(100.0));
        let (lease, revision) = acquire(&mut state, 0, 100.0).unwrap();
        assert_eq!(acquire(&mut state, revision, 105.9), Err(Conflict));
        state.renew("g", lease, seconds(105.9)).unwrap();
        assert_eq!(state.holder("g", seconds(111.8)).unwrap().1, seconds(111.9));
        assert_eq!(acquire(&mut state, revision, 111.8), Err(Conflict));
        assert_eq!(state.holder("g", seconds(111.9)), None);
        assert_eq!(state.renew("g", lease, seconds(111.9)), Err(Conflict), "it is over");
        assert!(state.update("g", lease, revision, "{}".into(), seconds(111.9)).is_err());
        assert!(state.release("g", lease, seconds(111.9)).is_none());
        let (newer, _) = acquire(&mut state, revision, 111.9).unwrap();
        assert_ne!(newer, lease);
        assert_eq!(state.renew("g", lease, seconds(112.0)), Err(Conflict));
    }

    #[test]
    fn a_lease_is_fresh_after_a_restart() {
        let mut state = State::restored(Durable::default(), seconds(0.0));
        let (lease, revision) = acquire(&mut state, 0, 0.0).unwrap();
        let nothing = state.release("g", lease + 1, seconds(1.0));
        assert!(nothing.is_none());
        let release = state.release("g", lease, seconds(1.0)).unwrap();
        let (held, released) = (state.durable.clone(), state.after(&release));
        let mut state = State::restored(held, seconds(20.0));
        assert_eq!(acquire(&mut state, revision, 25.9), Err(Conflict));
        assert!(state.update("g", lease, revision, "{}".into(), seconds(25.9)).is_ok());
        assert!(acquire(&mut state, revision, 26.0).is_ok());
        let mut state = State::restored(released, seconds(20.0));
        let (newer, _) = acquire(&mut state, revision, 20.0).unwrap();
        assert!(newer > lease);
    }

    /// One step of several nodes: how much time passes first, who, what.
    #[derive(Clone, Debug)]
    enum Step {
        Acquire {
            revision_is_right: bool,
        },
        Renew,
        Update {
            revision_is_right: bool,
        },
        Release,
        Restart,
        /// A change that could not be written.
        Lost,
    }

    fn steps() -> impl Strategy<Value = Vec<(u16, usize, Step)>> {
        let step = prop_oneof![
            4 => Just(Step::Acquire { revision_is_right: true }),
            1 => Just(Step::Acquire { revision_is_right: false }),
            4 => Just(Step::Renew),
            3 => Just(Step::Update { revision_is_right: true }),
            1 => Just(Step::Update { revision_is_right: false }),
            1 => Just(Step::Release),
            1 => Just(Step::Restart),
            1 => Just(Step::Lost),
        ];
        vec((0..4000_u16, 0..3_usize, step), 1..120)
    }

    proptest! {
        /// Each node counts on its lease as agents do; never two at once, whatever happens, and the record is always the last one
        /// acknowledged.
        #[test]
        fn never_two_holders(steps in steps()) {
            let mut now = Duration::ZERO;
            let mut state = State::restored(Durable::default(), now);
            // Of each node: the lease, and until when it counts on it.
            let mut nodes: [Option<(i64, Duration)>; 3] = [None; 3];
            let (mut record, mut revision) = (String::new(), 0);
            for (number, (pause, node, step)) in steps.into_iter().enumerate() {
                now += Duration::from_millis(pause.into());
                let counts = |lease: &Option<(i64, Duration)>| lease.is_some_and(|(_, until)| now < until);
                let other_counts = (0..3).any(|other| other != node && counts(&nodes[other]));
                let text = number.to_string();
                let lease = nodes[node].map_or(0, |(lease, _)| lease);
                match step {
                    Step::Acquire { revision_is_right } => {
                        let given = if revision_is_right { revision } else { revision + 1 };
                        let leader = (node.to_string(), 0);
                        if let Ok(change) = state.acquire("g", given, text.clone(), leader, TTL_MS, now) {
                            prop_assert!(revision_is_right && !other_counts && !counts(&nodes[node]));
                            nodes[node] = Some((change.granted.unwrap(), now + Duration::from_millis(TTL_MS.into())));
                            (record, revision) = (text, change.group.revision);
                            state.apply(change, now);
                        }
                    }
                    Step::Renew => match state.renew("g", lease, now) {
                        Ok(()) => {
                            prop_assert!(!other_counts);
                            nodes[node] = Some((lease, now + Duration::from_millis(TTL_MS.into())));
                        }
                        Err(Conflict) => prop_assert!(!counts(&nodes[node]), "a lease ended too early"),
                    },
                    Step::Update { revision_is_right } => {
                        let given = if revision_is_right { revision } else { revision.wrapping_sub(1) };
                        match state.update("g", lease, given, text.clone(), now) {
                            Ok(change) => {
                                prop_assert!(revision_is_right && !other_counts);
                                (record, revision) = (text, change.group.revision);
                                state.apply(change, now);
                            }
                            Err(Conflict) => prop_assert!(!revision_is_right || !counts(&nodes[node])),
                        }
                    }
                    Step::Release => {
                        if let Some(change) = state.release("g", lease, now) {
                            state.apply(change, now);
                            prop_assert!(state.holder("g", now).is_none());
                            nodes[node] = None;
                        }
                    }
                    Step::Restart => {
                        let written = serde_json::to_string(&state.durable).unwrap();
                        state = State::restored(serde_json::from_str(&written).unwrap(), now);
                    }
                    Step::Lost => {
                        let _ = state.acquire("g", revision, "lost".into(), (String::new(), 0), TTL_MS, now);
                        let _ = state.update("g", lease, revision, "lost".into(), now);
                    }
                }
                prop_assert_eq!(state.record("g"), (record.as_str(), revision));
            }
        }
    }
}
