//! The fencer: a process of its own that stops PostgreSQL when the lease's deadline passes and the agent has not said otherwise, because
//! the agent may be dead, stopped or stuck.
//!
//! The agent writes a line for each renewal: deadline (milliseconds of the boot-time clock), the postmaster's pid and its start time. The
//! fencer sleeps until the deadline that it was last told. The end of its input (the agent died) changes nothing about that deadline.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::clock::now_ms;
use crate::postgres::process::start_time as process_start_time;

/// The argument that makes the agent's program a fencer.
pub const ARGUMENT: &str = "fence";
/// How long an immediate shutdown may take before everything is killed.
const QUIT_WITHIN: Duration = Duration::from_millis(700);
const POLL: Duration = Duration::from_millis(10);
/// A poll waits no longer than this, in milliseconds: time is looked at again.
const LOOK_MS: u64 = 500;

/// Whom to stop, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// `u64::MAX`: never.
    pub deadline: u64,
    /// 0: there is no postmaster.
    pub pid: u32,
    pub start_time: u64,
}

impl Order {
    fn line(self) -> String {
        format!("{} {} {}\n", self.deadline, self.pid, self.start_time)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let deadline = words.next()?.parse().ok()?;
        Some(Self { deadline, pid: words.next()?.parse().ok()?, start_time: words.next()?.parse().ok()? })
    }
}

/// The agent's end.
pub struct Fencer {
    child: Child,
    orders: ChildStdin,
    last: Order,
}

impl Fencer {
    /// Starts the process.
    ///
    /// # Errors
    /// When the program cannot be run.
    pub fn start() -> io::Result<Self> {
        // The program itself, also where the path to it is closed to the user that the agent has become.
        let mut child = Command::new("/proc/self/exe")
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()?;
        let orders = child.stdin.take().ok_or_else(|| io::Error::other("the fencer has no input"))?;
        Ok(Self { child, orders, last: Order::default() })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Tells it what holds from now on.
    ///
    /// # Errors
    /// When the fencer is gone.
    pub fn tell(&mut self, order: Order) -> io::Result<()> {
        if order == self.last && matches!(self.child.try_wait(), Ok(None)) {
            return Ok(());
        }
        self.orders.write_all(order.line().as_bytes())?;
        self.orders.flush()?;
        self.last = order;
        Ok(())
    }

    /// Ends it: PostgreSQL has stopped, or another fencer watches.
    pub fn end(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends the fencer of an earlier agent on the same run directory: it would stop PostgreSQL at a deadline that has moved since.
pub fn replace_earlier(run_dir: &Path, pid: u32) {
    let path = run_dir.join("fencer.pid");
    let earlier = fs::read_to_string(&path).unwrap_or_default();
    let mut words = earlier.split_whitespace().map(str::parse::<u64>);
    if let (Some(Ok(earlier)), Some(Ok(start_time))) = (words.next(), words.next()) {
        if earlier == u64::from(pid) {
            return;
        }
        if let Ok(earlier) = u32::try_from(earlier)
            && process_start_time(earlier) == Some(start_time)
        {
            signal(earlier, Signal::SIGKILL);
        }
    }
    let start_time = process_start_time(pid).unwrap_or_default();
    if let Err(error) = fs::write(&path, format!("{pid} {start_time}\n")) {
        tracing::error!(%error, path = %path.display(), "the fencer cannot be noted");
    }
}

/// The body of the fencer's process.
pub fn run() -> ExitCode {
    let mut input = io::stdin().lock();
    let mut order = Order { deadline: u64::MAX, ..Order::default() };
    let mut unread = Vec::with_capacity(4096);
    let mut buffer = [0_u8; 1024];
    let mut is_open = true;
    loop {
        let left = order.deadline.saturating_sub(now_ms());
        if left == 0 && order.pid != 0 {
            fence(order);
            order.pid = 0;
        }
        if !is_open && (order.pid == 0 || order.deadline == u64::MAX || !is_alive(order)) {
            return ExitCode::SUCCESS;
        }
        let wait = Duration::from_millis(if order.pid == 0 { LOOK_MS } else { left.clamp(1, LOOK_MS) });
        if !is_open {
            sleep(wait);
            continue;
        }
        let stdin = io::stdin();
        let mut polled = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
        if !matches!(poll(&mut polled, timeout), Ok(ready) if ready > 0) {
            continue;
        }
        match input.read(&mut buffer) {
            Ok(0) | Err(_) => is_open = false,
            Ok(len) => {
                unread.extend_from_slice(&buffer[..len]);
                let whole = unread.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                let text = String::from_utf8_lossy(&unread[..whole]);
                if let Some(newest) = text.lines().filter_map(Order::parse).next_back() {
                    order = newest;
                }
                unread.drain(..whole);
            }
        }
    }
}

fn is_alive(order: Order) -> bool {
    process_start_time(order.pid) == Some(order.start_time)
}

fn signal(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Ends the postmaster and all its processes.
fn fence(order: Order) {
    if !is_alive(order) {
        return;
    }
    eprintln!("the lease has run out and the agent is silent: stopping PostgreSQL {}", order.pid);
    let children = children(order.pid);
    signal(order.pid, Signal::SIGQUIT);
    // It may have been stopped itself.
    signal(order.pid, Signal::SIGCONT);
    let mut waited = Duration::ZERO;
    while waited < QUIT_WITHIN && is_alive(order) {
        sleep(POLL);
        waited += POLL;
    }
    if is_alive(order) {
        signal(order.pid, Signal::SIGKILL);
    }
    for (pid, start_time) in children {
        if process_start_time(pid) == Some(start_time) {
            signal(pid, Signal::SIGKILL);
        }
    }
}

/// The processes that `parent` started, with their start times.
fn children(parent: u32) -> Vec<(u32, u64)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        fields.nth(1)?.parse::<u32>().ok()
    };
    pids.filter(|pid| is_child(pid) == Some(parent)).filter_map(|pid| Some((pid, process_start_time(pid)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_are_written() {
        let order = Order { deadline: u64::MAX, pid: 17, start_time: 4 };
        assert_eq!(Order::parse(&order.line()), Some(order));
        assert_eq!(Order::parse("12 3"), None);
    }

    #[test]
    fn a_process_ends_with_its_children() {
        let mut parent = Command::new("sh").args(["-c", "sleep 1000 & wait"]).spawn().unwrap();
        let order = loop {
            let start_time = process_start_time(parent.id()).unwrap();
            if !children(parent.id()).is_empty() {
                break Order { deadline: 0, pid: parent.id(), start_time };
            }
            sleep(POLL);
        };
        let child = children(order.pid)[0];
        fence(order);
        assert!(parent.wait().is_ok());
        for _ in 0..200 {
            if process_start_time(child.0) != Some(child.1) {
                return;
            }
            sleep(POLL);
        }
        panic!("the child lives");
    }
}
