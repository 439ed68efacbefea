//! How far a session has to find a group's data: past its own last commit there.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// A place in a group's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub epoch: u64,
    pub lsn: u64,
}

impl Position {
    /// What has both is there.
    pub fn and(self, other: Self) -> Self {
        // A later primary's log goes on where an earlier one's was left; what was seen is never beyond that.
        Self { epoch: self.epoch.max(other.epoch), lsn: self.lsn.max(other.lsn) }
    }
}

/// A session's positions by group, as `atoll.session_token()` prints them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions(BTreeMap<String, Position>);

impl Positions {
    pub fn of(&self, group: &str) -> Option<Position> {
        self.0.get(group).copied()
    }

    /// Notes that the session has seen this much of a group.
    pub fn advance(&mut self, group: &str, position: Position) {
        let known = self.0.entry(group.to_owned()).or_default();
        *known = known.and(position);
    }

    /// Takes over what another session has seen.
    pub fn merge(&mut self, other: &Self) {
        for (group, position) in &other.0 {
            self.advance(group, *position);
        }
    }

    /// From a token; `None` when it is none. The empty token says nothing.
    pub fn parse(token: &str) -> Option<Self> {
        let mut positions = Self::default();
        for part in token.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (rest, lsn) = part.rsplit_once(':')?;
            let (group, epoch) = rest.rsplit_once(':')?;
            let position = Position { epoch: epoch.parse().ok()?, lsn: u64::from_str_radix(lsn, 16).ok()? };
            positions.advance(group, position);
        }
        Some(positions)
    }
}

impl std::fmt::Display for Positions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (group, position)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{group}:{}:{:X}", position.epoch, position.lsn)?;
        }
        Ok(())
    }
}

/// Where the definitions that statements are planned by lie in each group's log, at the latest: what has not replayed them may be built
/// otherwise.
#[derive(Debug, Default)]
pub struct Floors(Mutex<Positions>);

impl Floors {
    pub fn of(&self, group: &str) -> Option<Position> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).of(group)
    }

    /// Notes a position as of any time after the definitions were read; the first one stays.
    pub fn note(&self, group: &str, position: Position) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.entry(group.to_owned()).or_insert(position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_carry_positions_and_never_go_back() {
        let mut own = Positions::parse("g1:2:16B374D848,g2:1:FF").unwrap();
        assert_eq!(own.to_string(), "g1:2:16B374D848,g2:1:FF");
        own.merge(&Positions::parse("g2:3:10, a:b:1:1").unwrap());
        assert_eq!(own.of("g2"), Some(Position { epoch: 3, lsn: 0xff }));
        assert_eq!(own.of("a:b"), Some(Position { epoch: 1, lsn: 1 }));
        assert_eq!(own.of("g3"), None);
        assert_eq!(Positions::parse(""), Some(Positions::default()));
        for wrong in ["g1", "g1:2", "g1:x:1", "g1:1:XYZ"] {
            assert_eq!(Positions::parse(wrong), None, "{wrong}");
        }
    }
}
