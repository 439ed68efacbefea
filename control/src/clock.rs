//! The clock of leases.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Time since the machine started, with the time it slept; nobody can set it.
pub fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("Linux has a clock of the time since boot");
    time.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_on_and_is_not_the_time_of_day() {
        let before = since_boot();
        std::thread::sleep(Duration::from_millis(20));
        let passed = since_boot() - before;
        assert!(passed >= Duration::from_millis(20) && passed < Duration::from_secs(20), "{passed:?}");
    }
}
