//! Times in milliseconds: of leases, and for people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use atoll_control::clock::since_boot;

/// Milliseconds since the machine started: what leases are measured by.
pub fn now_ms() -> u64 {
    millis(since_boot())
}

/// Milliseconds since 1970, for people to read.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
