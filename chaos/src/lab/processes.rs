//! The processes of a machine, as the suite sees them in its own /proc.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::machine::Machine;

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// As the suite sees it.
    pub pid: u32,
    /// As the machine sees it.
    pub inner_pid: u32,
    pub parent: u32,
    /// Its command line, or what it has written over it.
    pub title: String,
}

/// Sends a signal to a process of the lab; one that is gone already is no error.
pub fn signal(pid: Option<u32>, signal: Signal) {
    if let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 1) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// All processes of a machine but its first; none while it is off.
pub fn of(machine: &Machine) -> Vec<Process> {
    let Some(init) = machine.init_pid() else { return Vec::new() };
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(own) = namespace(init) else { return Vec::new() };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != init && namespace(*pid).as_ref() == Some(&own)).filter_map(read).collect()
}

fn read(pid: u32) -> Option<Process> {
    let (inner_pid, parent) = parse_status(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)?;
    let title = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let title = String::from_utf8_lossy(&title).replace('\0', " ").trim().to_owned();
    Some(Process { pid, inner_pid, parent, title })
}

/// The innermost pid and the parent's pid in the text of /proc/PID/status.
fn parse_status(status: &str) -> Option<(u32, u32)> {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let inner = field("NSpid:")?.split_whitespace().last()?.parse().ok()?;
    let parent = field("PPid:")?.trim().parse().ok()?;
    Some((inner, parent))
}

/// The postmaster of a data directory (a path on the machine), when it runs.
pub fn postmaster(machine: &Machine, data_dir: &Path) -> Option<u32> {
    let file = machine.path(&data_dir.join("postmaster.pid"))?;
    let inner: u32 = fs::read_to_string(file).ok()?.lines().next()?.trim().parse().ok()?;
    let found = of(machine).into_iter().find(|process| process.inner_pid == inner)?;
    found.title.contains("postgres").then_some(found.pid)
}

/// The backends of clients under a postmaster.
pub fn client_backends(machine: &Machine, postmaster: u32) -> Vec<u32> {
    /// Children of the postmaster that serve no client.
    const OTHERS: [&str; 11] = [
        "checkpointer",
        "background writer",
        "walwriter",
        "walreceiver",
        "walsender",
        "autovacuum",
        "logical replication",
        "startup",
        "archiver",
        "logger",
        "stats",
    ];
    let children = of(machine).into_iter().filter(|process| process.parent == postmaster);
    let clients = children.filter(|process| {
        process.title.starts_with("postgres: ") && !OTHERS.iter().any(|other| process.title.contains(other))
    });
    clients.map(|process| process.pid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_pid_is_the_last_one() {
        let status = "Name:\tpostgres\nPid:\t4711\nPPid:\t4700\nNSpid:\t4711\t12\n";
        assert_eq!(parse_status(status), Some((12, 4700)));
        assert_eq!(parse_status("Name:\tpostgres\n"), None);
    }
}
