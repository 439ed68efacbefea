//! The first process of a machine's process namespace: reaps orphans, and ends with the suite, taking all others with it.

use std::io::Read;
use std::process::ExitCode;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::wait::waitpid;

/// How long a machine without processes waits before it looks for orphans again.
const IDLE: Duration = Duration::from_millis(50);

/// Runs until standard input, a pipe from the suite, is closed.
pub fn run() -> ExitCode {
    // What processes read about each other must be about this machine.
    if let Err(error) = mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>) {
        eprintln!("mounting /proc: {error}");
        return ExitCode::FAILURE;
    }
    std::thread::spawn(|| {
        loop {
            if matches!(waitpid(None, None), Err(Errno::ECHILD)) {
                std::thread::sleep(IDLE);
            }
        }
    });
    let mut rest = Vec::new();
    match std::io::stdin().read_to_end(&mut rest) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
