//! Which nodes are to be left alone: those that do not answer, or far later than the others.
//!
//! Pure: time comes in. What counts is the others of the group, so that a host on which everything is slow puts nobody out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What was measured longer ago counts no more.
const WINDOW: Duration = Duration::from_secs(2);
/// The same for statements, of which there may be thousands a second: many in time would hide those that are late since a moment ago.
const STATEMENTS_WINDOW: Duration = Duration::from_secs(1);
/// A probe without an answer for so long is lost, when another node has answered meanwhile.
const STUCK_AFTER: Duration = Duration::from_millis(800);
/// An answer later than this, and than so many times what is usual with the others, is late.
const LATE_MIN: Duration = Duration::from_millis(100);
const LATE_FACTOR: u32 = 8;
/// Late answers to probes within the window that put a node out.
const LATE_PROBES: usize = 2;
/// Late answers to statements that do, when they are this part of all, and so many times the part that is late with the others: what is
/// long everywhere is no node's fault.
const LATE_STATEMENTS: usize = 3;
const LATE_PART: f64 = 0.02;
const LATE_PART_FACTOR: f64 = 4.0;
/// With fewer statements on the others nothing is said about a node's.
const STATEMENTS_MIN: u32 = 20;
/// How long a node is out at first, and at most; each time twice as long.
const OUT_MIN: Duration = Duration::from_secs(5);
const OUT_MAX: Duration = Duration::from_secs(60);
/// Good answers to probes in a row before a node comes back.
const GOOD_ANSWERS: u32 = 4;
/// How long a node takes to get its whole share again, and with what part of it it begins.
const RETURN: Duration = Duration::from_secs(10);
const RETURN_FROM: f64 = 0.1;
/// After so long without an ejection earlier ones are forgotten.
const FORGIVEN_AFTER: Duration = Duration::from_secs(120);
/// Statements are counted by slots of this length; of those in time, one per pace is kept as a sample.
const SLOT: Duration = Duration::from_millis(200);
const SAMPLE_PACE: Duration = Duration::from_millis(10);
/// Samples that are kept, at most.
const SAMPLES_MAX: usize = 256;

/// Measurements within the window.
#[derive(Clone, Debug, Default)]
struct Samples(VecDeque<(Instant, Duration)>);

impl Samples {
    fn add(&mut self, now: Instant, took: Duration) {
        if self.0.len() == SAMPLES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, took));
    }

    fn recent(&self, now: Instant, window: Duration) -> impl Iterator<Item = Duration> {
        self.0.iter().filter(move |(at, _)| now.saturating_duration_since(*at) <= window).map(|(_, took)| *took)
    }
}

/// A node's answers of late, and whether it is out.
#[derive(Clone, Debug, Default)]
pub struct Health {
    probes: Samples,
    /// Of the statements' answers those that took long, and some of the others.
    long: Samples,
    short: Samples,
    /// How many statements there were, by the slot's beginning.
    counts: VecDeque<(Instant, u32)>,
    /// Since when a probe has been without an answer.
    asked: Option<Instant>,
    /// When a probe was last answered.
    answered: Option<Instant>,
    good_in_a_row: u32,
    /// Until when it is out, at least.
    out_until: Option<Instant>,
    /// When it came back.
    back_since: Option<Instant>,
    ejections: u32,
}

/// What a look at a node changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Ejected,
    Restored,
}

impl Health {
    /// The node is asked anew, on another connection.
    pub fn begin(&mut self) {
        self.asked = None;
    }

    /// A probe was sent.
    pub fn ask(&mut self, now: Instant) {
        self.asked.get_or_insert(now);
    }

    /// The probe was answered.
    pub fn answer(&mut self, now: Instant) {
        if let Some(asked) = self.asked.take() {
            let took = now.saturating_duration_since(asked);
            self.good_in_a_row = if took < LATE_MIN { self.good_in_a_row + 1 } else { 0 };
            self.probes.add(now, took);
        }
        self.answered = Some(now);
    }

    /// A statement was answered.
    pub fn measure(&mut self, now: Instant, took: Duration) {
        match self.counts.back_mut() {
            Some((slot, count)) if now.saturating_duration_since(*slot) < SLOT => *count += 1,
            _ => {
                self.counts.retain(|(slot, _)| now.saturating_duration_since(*slot) <= STATEMENTS_WINDOW);
                self.counts.push_back((now, 1));
            }
        }
        let last = self.short.0.back().map(|(at, _)| *at);
        if took >= LATE_MIN {
            self.long.add(now, took);
        } else if last.is_none_or(|last| now.saturating_duration_since(last) >= SAMPLE_PACE) {
            self.short.add(now, took);
        }
    }

    fn statements(&self, now: Instant) -> u32 {
        let recent = self.counts.iter().filter(|(slot, _)| now.saturating_duration_since(*slot) <= STATEMENTS_WINDOW);
        recent.map(|(_, count)| count).sum()
    }

    pub fn is_out(&self) -> bool {
        self.out_until.is_some()
    }

    /// Which part of its share it is to have.
    pub fn share(&self, now: Instant) -> f64 {
        match self.back_since {
            Some(since) => {
                let part = now.saturating_duration_since(since).as_secs_f64() / RETURN.as_secs_f64();
                (RETURN_FROM + part * (1.0 - RETURN_FROM)).min(1.0)
            }
            None => 1.0,
        }
    }

    /// Whether it answers, and in good time.
    fn is_quick(&self, now: Instant) -> bool {
        let recently = self.answered.is_some_and(|at| now.saturating_duration_since(at) <= WINDOW);
        let waits = self.asked.is_some_and(|asked| now.saturating_duration_since(asked) > STUCK_AFTER / 2);
        !self.is_out() && recently && !waits
    }

    /// Looks at a node beside the others of its group.
    pub fn look(&mut self, others: &[&Self], now: Instant) -> Option<Change> {
        if self.ejections > 0
            && self.back_since.is_some_and(|since| now.saturating_duration_since(since) > FORGIVEN_AFTER)
        {
            (self.ejections, self.back_since) = (0, None);
        }
        if let Some(until) = self.out_until {
            if now < until
                || self.good_in_a_row < GOOD_ANSWERS
                || self.asked.is_some_and(|asked| now - asked > LATE_MIN)
            {
                return None;
            }
            (self.out_until, self.back_since) = (None, Some(now));
            (self.probes, self.long) = Default::default();
            return Some(Change::Restored);
        }
        if !self.is_stuck(others, now) && !self.is_late(others, now) {
            return None;
        }
        self.out_until = Some(now + (OUT_MIN * 2_u32.saturating_pow(self.ejections.min(8))).min(OUT_MAX));
        self.back_since = None;
        self.ejections += 1;
        self.good_in_a_row = 0;
        Some(Change::Ejected)
    }

    fn is_stuck(&self, others: &[&Self], now: Instant) -> bool {
        self.asked.is_some_and(|asked| now.saturating_duration_since(asked) > STUCK_AFTER)
            && others.iter().any(|other| other.is_quick(now))
    }

    fn is_late(&self, others: &[&Self], now: Instant) -> bool {
        let others: Vec<&Self> = others.iter().copied().filter(|other| other.is_quick(now)).collect();
        let limit = |usual: Vec<Duration>| Some(LATE_MIN.max(nine_in_ten(usual)? * LATE_FACTOR));
        let late = |samples: &Samples, limit: Duration, window: Duration| {
            samples.recent(now, window).filter(|took| *took > limit).count()
        };
        let Some(most) = limit(others.iter().flat_map(|other| other.probes.recent(now, WINDOW)).collect()) else {
            return false;
        };
        if late(&self.probes, most, WINDOW) >= LATE_PROBES {
            return true;
        }
        let all: u32 = others.iter().map(|other| other.statements(now)).sum();
        let short = others.iter().flat_map(|other| other.short.recent(now, STATEMENTS_WINDOW));
        let Some(most) = limit(short.collect()) else { return false };
        let count = late(&self.long, most, STATEMENTS_WINDOW);
        if count < LATE_STATEMENTS || all < STATEMENTS_MIN {
            return false;
        }
        let part = count as f64 / f64::from(self.statements(now).max(1));
        let usual: usize = others.iter().map(|other| late(&other.long, most, STATEMENTS_WINDOW)).sum();
        part > LATE_PART.max(LATE_PART_FACTOR * usual as f64 / f64::from(all))
    }
}

/// What nine in ten of them keep within.
fn nine_in_ten(mut took: Vec<Duration>) -> Option<Duration> {
    took.sort_unstable();
    took.get((took.len() * 9 / 10).min(took.len().checked_sub(1)?)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(10);
    const PROBE_EVERY: u32 = 15;

    /// Nodes that are probed every 150 ms and looked at every 10 ms. `delay` is how long a node takes to answer at
    /// a time; `None`: it does not.
    struct Lab {
        start: Instant,
        now: Instant,
        nodes: Vec<Health>,
        due: Vec<Option<Instant>>,
        tick: u32,
    }

    impl Lab {
        fn new(nodes: usize) -> Self {
            let start = Instant::now();
            Self { start, now: start, nodes: vec![Health::default(); nodes], due: vec![None; nodes], tick: 0 }
        }

        /// Runs for a while; what changed, with the time.
        fn run(
            &mut self,
            time: Duration,
            delay: impl Fn(usize, Duration) -> Option<Duration>,
        ) -> Vec<(Duration, usize, Change)> {
            let mut changes = Vec::new();
            let end = self.now + time;
            while self.now < end {
                let since = self.now - self.start;
                for index in 0..self.nodes.len() {
                    if self.due[index].is_some_and(|due| due <= self.now) {
                        self.nodes[index].answer(self.now);
                        self.due[index] = None;
                    }
                    let asks = self.tick.is_multiple_of(PROBE_EVERY) && self.nodes[index].asked.is_none();
                    if asks {
                        self.nodes[index].ask(self.now);
                        self.due[index] = delay(index, since).map(|delay| self.now + delay);
                    } else if self.due[index].is_none() && self.nodes[index].asked.is_some() {
                        // It may be able to answer by now.
                        self.due[index] = delay(index, since).map(|delay| self.now + delay);
                    }
                    let mut node = std::mem::take(&mut self.nodes[index]);
                    let others: Vec<&Health> = self
                        .nodes
                        .iter()
                        .enumerate()
                        .filter(|(other, _)| *other != index)
                        .map(|(_, node)| node)
                        .collect();
                    if let Some(change) = node.look(&others, self.now) {
                        changes.push((since, index, change));
                    }
                    self.nodes[index] = node;
                }
                self.now += TICK;
                self.tick += 1;
            }
            changes
        }
    }

    const QUICK: Option<Duration> = Some(Duration::from_millis(2));

    #[test]
    fn a_node_that_stands_still_is_out_within_two_seconds_and_comes_back_slowly() {
        let mut lab = Lab::new(3);
        assert_eq!(lab.run(Duration::from_secs(5), |_, _| QUICK), []);
        let changes = lab.run(Duration::from_secs(4), |node, _| if node == 1 { None } else { QUICK });
        let [(at, 1, Change::Ejected)] = changes[..] else { panic!("{changes:?}") };
        assert!(at - Duration::from_secs(5) < Duration::from_millis(1_500), "{at:?}");
        let changes = lab.run(Duration::from_secs(20), |_, _| QUICK);
        let [(_, 1, Change::Restored)] = changes[..] else { panic!("{changes:?}") };
        let node = &lab.nodes[1];
        let back = node.back_since.unwrap();
        assert!(node.share(back) <= 0.1 && node.share(back + RETURN / 2) < 0.6);
        assert!((node.share(back + RETURN) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_node_that_stutters_is_out_within_two_seconds_and_stays_out() {
        let mut lab = Lab::new(3);
        lab.run(Duration::from_secs(5), |_, _| QUICK);
        // It stands for 300 ms of every 500.
        let stutter = |node: usize, since: Duration| {
            let at = since.as_millis() as u64 % 500;
            if node == 2 && at < 300 { Some(Duration::from_millis(300 - at)) } else { QUICK }
        };
        let changes = lab.run(Duration::from_secs(30), stutter);
        let (at, node, change) = changes[0];
        assert_eq!((node, change), (2, Change::Ejected));
        assert!(at - Duration::from_secs(5) < Duration::from_secs(2), "{at:?}");
        let back: Vec<_> = changes.iter().filter(|(.., change)| *change == Change::Restored).collect();
        assert!(back.len() <= 1, "{changes:?}");
        assert!(changes.iter().all(|(_, node, _)| *node == 2), "{changes:?}");
    }

    #[test]
    fn where_everything_is_slow_nobody_is_out() {
        let mut lab = Lab::new(3);
        let slow = |_: usize, since: Duration| Some(Duration::from_millis(50 + since.as_millis() as u64 % 700));
        assert_eq!(lab.run(Duration::from_secs(20), slow), []);
        assert_eq!(lab.run(Duration::from_secs(20), |_, _| None), []);
    }

    #[test]
    fn slow_statements_count_like_slow_probes() {
        let mut lab = Lab::new(2);
        lab.run(Duration::from_secs(3), |_, _| QUICK);
        for _ in 0..40 {
            lab.nodes[1].measure(lab.now, Duration::from_millis(3));
        }
        for _ in 0..4 {
            lab.nodes[0].measure(lab.now, Duration::from_millis(900));
        }
        let changes = lab.run(Duration::from_millis(200), |_, _| QUICK);
        assert!(matches!(changes[..], [(_, 0, Change::Ejected)]), "{changes:?}");
    }

    #[test]
    fn statements_that_are_long_everywhere_are_no_node_s_fault() {
        let mut lab = Lab::new(2);
        lab.run(Duration::from_secs(3), |_, _| QUICK);
        for step in 0..200 {
            let took = Duration::from_millis(if step % 10 == 0 { 2_000 } else { 3 });
            lab.nodes[0].measure(lab.now, took);
            lab.nodes[1].measure(lab.now, took);
        }
        assert_eq!(lab.run(Duration::from_millis(300), |_, _| QUICK), []);
    }
}
