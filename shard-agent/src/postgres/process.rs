//! Processes of this host, as /proc shows them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

/// How often processes that were killed are looked for.
const POLL: Duration = Duration::from_millis(10);
/// Programs that write into a data directory without a postmaster.
const TOOLS: [&str; 3] = ["initdb", "pg_basebackup", "pg_rewind"];

/// Start time of process `pid` in clock ticks since boot (proc(5), field 22 of stat); None when there is no such
/// process, or only its zombie.
pub fn start_time(pid: u32) -> Option<u64> {
    let (state, mut rest) = stat(pid)?;
    if matches!(state, 'Z' | 'X') {
        return None;
    }
    rest.nth(18)?.parse().ok()
}

/// Whether process `pid` is stopped (SIGSTOP, a debugger).
pub(super) fn is_stopped(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| matches!(state, 'T' | 't'))
}

/// A process's state, and the fields of its stat that follow.
fn stat(pid: u32) -> Option<(char, impl Iterator<Item = String>)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so fields are counted from its end.
    let fields: Vec<String> = stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect();
    let mut fields = fields.into_iter();
    let state = fields.next()?.chars().next()?;
    Some((state, fields))
}

/// Whether process `pid` is PostgreSQL's and stands in `data_dir`: a postmaster, one of its children, or what a dead
/// postmaster left.
pub fn is_server_in(pid: u32, data_dir: &Path) -> bool {
    let same = |a: &Path, b: &Path| a == b || fs::canonicalize(b).is_ok_and(|b| a == b);
    let cwd = fs::read_link(format!("/proc/{pid}/cwd"));
    name(pid).as_deref() == Some("postgres") && cwd.is_ok_and(|cwd| same(&cwd, data_dir))
}

/// Every process of PostgreSQL that stands in `data_dir`.
pub(super) fn servers_in(data_dir: &Path) -> Vec<u32> {
    all().filter(|pid| is_server_in(*pid, data_dir) && start_time(*pid).is_some()).collect()
}

/// Every process, of an agent that has died, that writes `data_dir` or a copy beside it.
pub(super) fn tools_on(data_dir: &Path) -> Vec<u32> {
    let data_dir = data_dir.as_os_str().as_encoded_bytes();
    let works_on_it = |pid: &u32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut arguments = arguments.split(|byte| *byte == 0);
        arguments.any(|argument| match argument.strip_prefix(data_dir) {
            Some(rest) => rest.is_empty() || rest.starts_with(b"."),
            None => false,
        })
    };
    let is_tool = |pid: &u32| name(*pid).is_some_and(|name| TOOLS.contains(&name.as_str()));
    all().filter(is_tool).filter(works_on_it).filter(|pid| start_time(*pid).is_some()).collect()
}

/// Kills whatever `find` finds until it finds nothing; false when that takes longer than `at_most`.
pub(super) async fn kill_all(find: impl Fn() -> Vec<u32>, at_most: Duration) -> bool {
    let deadline = Instant::now() + at_most;
    loop {
        let found = find();
        if found.is_empty() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        signal(&found, Signal::SIGKILL);
        sleep(POLL).await;
    }
}

/// Sends a signal to those of `pids` that are still there.
pub fn signal(pids: &[u32], signal: Signal) {
    for pid in pids.iter().filter_map(|pid| i32::try_from(*pid).ok()) {
        // It may have ended since it was found.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn name(pid: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_is_not_taken_for_a_server() {
        let pid = std::process::id();
        assert!(start_time(pid).is_some());
        assert!(!is_stopped(pid));
        assert!(!is_server_in(pid, Path::new("/")));
        assert_eq!(start_time(u32::MAX), None);
    }

    #[tokio::test]
    async fn a_stopped_process_is_seen_and_killed() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id();
        signal(&[pid], Signal::SIGSTOP);
        while !is_stopped(pid) {
            sleep(POLL).await;
        }
        let alive = || Vec::from_iter(start_time(pid).map(|_| pid));
        assert!(kill_all(alive, Duration::from_secs(10)).await);
        child.wait().unwrap();
    }
}
