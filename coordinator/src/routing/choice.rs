//! One of several nodes, in the long run in proportion to what they can carry, and not one that is behind with its work.

use rand::Rng;

/// Whom a session wants its reads answered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    #[default]
    Primary,
    /// A replica; the primary when there is none.
    Replica,
    /// A node in the coordinator's zone; any when there is none.
    Nearest,
    /// Whoever has room, the primary included.
    Any,
}

impl Preference {
    /// By its name in `atoll.read_preference`.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "primary" => Self::Primary,
            "replica" => Self::Replica,
            "nearest" => Self::Nearest,
            "any" => Self::Any,
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::Nearest => "nearest",
            Self::Any => "any",
        }
    }
}

/// What is known of a node that could be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Its capacity; less while it comes back after an ejection.
    pub weight: f64,
    /// Statements that this coordinator has there.
    pub in_flight: usize,
    /// Load average per core.
    pub load: f64,
    /// How long it takes to answer, on an average that forgets, in seconds; 0 when not known.
    pub latency: f64,
}

/// By so much more work per capacity, and so many times more, the node drawn first may be behind the one drawn second. Between nodes that
/// are about equally busy the draw decides: it alone is in proportion to the capacities.
const SLACK: f64 = 2.0;
const FACTOR: f64 = 1.5;
/// A node that takes this many times as long as the other counts as so much busier.
const LATENCY_FACTOR: f64 = 3.0;

/// The position of the chosen one; `None` when there are no candidates.
pub fn choose(candidates: &[Candidate], random: &mut impl Rng) -> Option<usize> {
    let first = draw(candidates, random)?;
    let second = draw(candidates, random)?;
    let (a, b) = (&candidates[first], &candidates[second]);
    let slow = |own: &Candidate, other: &Candidate| {
        if other.latency > 0.0 && own.latency > LATENCY_FACTOR * other.latency {
            own.latency / other.latency
        } else {
            1.0
        }
    };
    let busy =
        |candidate: &Candidate| candidate.in_flight as f64 / candidate.weight.max(f64::MIN_POSITIVE) + candidate.load;
    let behind = busy(a) * slow(a, b) > busy(b) * slow(b, a) * FACTOR + SLACK;
    Some(if behind { second } else { first })
}

fn draw(candidates: &[Candidate], random: &mut impl Rng) -> Option<usize> {
    let sum: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
    if sum <= 0.0 {
        return (!candidates.is_empty()).then_some(0);
    }
    let mut at = random.random_range(0.0..sum);
    for (index, candidate) in candidates.iter().enumerate() {
        if at < candidate.weight {
            return Some(index);
        }
        at -= candidate.weight;
    }
    Some(candidates.len() - 1)
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    /// Clients that each have one request under way at a time; how many requests each node got. `speed` divides a request's time.
    fn spread(weights: &[f64], speed: &[f64], clients: usize, random: &mut StdRng) -> Vec<f64> {
        const REQUESTS: usize = 40_000;
        let mut nodes: Vec<Candidate> =
            weights.iter().map(|&weight| Candidate { weight, in_flight: 0, load: 0.4, latency: 0.0 }).collect();
        let mut counts = vec![0_usize; nodes.len()];
        // When a request ends (in nanoseconds), and where.
        let mut ends: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
        let (mut now, mut idle) = (0, clients);
        for _ in 0..REQUESTS {
            if idle == 0 {
                let Reverse((end, node)) = ends.pop().unwrap();
                (now, idle) = (end, 1);
                nodes[node].in_flight -= 1;
            }
            let node = choose(&nodes, random).unwrap();
            let took = -(random.random_range(f64::EPSILON..1.0_f64)).ln() * 1e6 / speed[node];
            nodes[node].in_flight += 1;
            nodes[node].latency = 0.9 * nodes[node].latency + 0.1 * took / 1e9;
            counts[node] += 1;
            ends.push(Reverse((now + took as u64, node)));
            idle -= 1;
        }
        counts.into_iter().map(|count| count as f64 / REQUESTS as f64).collect()
    }

    #[test]
    fn requests_spread_like_the_capacities() {
        let seed = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        for clients in [1, 2, 3, 4, 8, 16, 64, 200] {
            let shares = spread(&[1.0, 1.0, 2.0], &[1.0; 3], clients, &mut random);
            for (share, expected) in shares.iter().zip([0.25, 0.25, 0.5]) {
                assert!((share / expected - 1.0).abs() < 0.08, "{clients} clients: {shares:?}");
            }
        }
    }

    #[test]
    fn a_slow_node_gets_less() {
        let mut random = StdRng::seed_from_u64(7);
        let shares = spread(&[1.0, 1.0, 1.0], &[1.0, 1.0, 0.05], 16, &mut random);
        assert!(shares[2] < 0.12, "{shares:?}");
    }

    #[test]
    fn without_candidates_there_is_no_choice() {
        let mut random = StdRng::seed_from_u64(7);
        assert_eq!(choose(&[], &mut random), None);
        let only = Candidate { weight: 0.0, in_flight: 9, load: 0.0, latency: 0.0 };
        assert_eq!(choose(&[only], &mut random), Some(0));
    }

    #[test]
    fn preferences_have_names() {
        for preference in [Preference::Primary, Preference::Replica, Preference::Nearest, Preference::Any] {
            assert_eq!(Preference::named(preference.name()), Some(preference));
        }
        assert_eq!(Preference::named("ANY"), Some(Preference::Any));
        assert_eq!(Preference::named("secondary"), None);
    }
}
