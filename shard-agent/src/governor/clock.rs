//! The clock that leases are measured by: it goes on while the machine sleeps, and nobody sets it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Milliseconds since the machine booted.
pub fn now_ms() -> u64 {
    // Linux has had this clock since 2.6.39; without it nothing may be believed to be in the future.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(u64::MAX, |time| millis(Duration::from(time)))
}

/// Milliseconds since 1970, for people to read.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
