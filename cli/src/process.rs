//! Processes named in files: whether they are still the ones that were recorded, and how to stop them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

/// How often a wait looks again.
pub const POLL: Duration = Duration::from_millis(50);

/// A process as it was seen. A pid alone may have been given to somebody else since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
}

impl Identity {
    /// The process that has this pid now; none when there is none, or only its remains.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in parentheses and may hold anything.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let started = fields.nth(18)?.parse().ok()?;
        (state != "Z" && state != "X").then_some(Self { pid, started })
    }

    /// This process, its children, their children, and so on.
    pub fn with_descendants(&self) -> Vec<Self> {
        let children = |pid: u32| -> Vec<u32> {
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
            lists
                .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
                .collect()
        };
        let mut all = vec![*self];
        let mut next = 0;
        while let Some(parent) = all.get(next) {
            let found: Vec<_> = children(parent.pid).into_iter().filter_map(Self::of).collect();
            all.extend(found);
            next += 1;
        }
        all
    }

    pub fn is_alive(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    /// Whether it is alive and has this path among its arguments.
    pub fn runs_with(&self, argument: &Path) -> bool {
        let arguments = std::fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        self.is_alive()
            && arguments.split(|&byte| byte == 0).any(|word| word == argument.as_os_str().as_encoded_bytes())
    }

    /// Sends a signal unless the process is gone.
    pub fn signal(&self, signal: Signal) {
        if self.is_alive()
            && let Ok(pid) = i32::try_from(self.pid)
        {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

/// Sends `signal` to all, waits up to `grace` for all of them to be gone, and kills the rest.
pub async fn stop(processes: &[Identity], signal: Signal, grace: Duration) {
    for process in processes {
        process.signal(signal);
    }
    if !all_gone(processes, grace).await {
        for process in processes {
            process.signal(Signal::SIGKILL);
        }
        all_gone(processes, Duration::from_secs(5)).await;
    }
}

/// Waits until none is alive; false when `grace` passed first.
pub async fn all_gone(processes: &[Identity], grace: Duration) -> bool {
    let deadline = Instant::now() + grace;
    while processes.iter().any(Identity::is_alive) {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(POLL).await;
    }
    true
}

/// Waits a moment until the system has forgotten the pids of processes that are gone, so that nobody who looks at
/// them by number takes their remains for them.
pub async fn forgotten(processes: &[Identity]) {
    let deadline = Instant::now() + Duration::from_secs(3);
    while Instant::now() < deadline && processes.iter().any(|p| Path::new(&format!("/proc/{}", p.pid)).exists()) {
        sleep(POLL / 5).await;
    }
}

/// The postmaster that serves this data directory, if one does.
pub fn postmaster(data_dir: &Path) -> Option<Identity> {
    let text = std::fs::read_to_string(data_dir.join("postmaster.pid")).ok()?;
    let process = Identity::of(text.lines().next()?.trim().parse().ok()?)?;
    // A stale file may name anybody's process; a postmaster's working directory is its data directory.
    let works_in = std::fs::read_link(format!("/proc/{}/cwd", process.pid)).ok()?;
    (works_in == real(data_dir)).then_some(process)
}

/// Stops the postmaster of a data directory whose agent is gone: fast, then (after 10 s) immediate shutdown.
pub async fn stop_postmaster(data_dir: &Path) {
    if let Some(process) = postmaster(data_dir) {
        process.signal(Signal::SIGINT);
        if !all_gone(&[process], Duration::from_secs(10)).await {
            stop(&[process], Signal::SIGQUIT, Duration::from_secs(10)).await;
        }
    }
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_alive_and_an_earlier_holder_of_our_pid_is_not() {
        let me = Identity::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        assert!(!Identity { started: me.started - 1, ..me }.is_alive());
        assert!(!me.runs_with(Path::new("/nowhere/agent.toml")));
    }

    #[tokio::test]
    async fn a_stubborn_process_is_killed() {
        let mut child =
            std::process::Command::new("sh").args(["-c", "trap '' TERM; sleep 60 & wait; wait"]).spawn().unwrap();
        let process = Identity::of(child.id()).unwrap();
        stop(&[process], Signal::SIGTERM, Duration::from_millis(200)).await;
        assert!(!process.is_alive());
        child.wait().unwrap();
    }

    #[test]
    fn descendants_are_found() {
        let mut child = std::process::Command::new("sh").args(["-c", "sleep 60 & wait"]).spawn().unwrap();
        let process = Identity::of(child.id()).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while process.with_descendants().len() < 2 {
            assert!(std::time::Instant::now() < deadline, "the shell has no child");
            std::thread::sleep(POLL);
        }
        for process in process.with_descendants() {
            process.signal(Signal::SIGKILL);
        }
        child.wait().unwrap();
    }

    #[test]
    fn a_stale_pid_file_names_no_postmaster() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("postmaster.pid"), format!("{}\n", std::process::id())).unwrap();
        assert_eq!(postmaster(dir.path()), None);
    }
}
