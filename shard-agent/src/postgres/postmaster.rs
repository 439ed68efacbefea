//! One postmaster process: started by this agent, or found running from an earlier one.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use super::data_dir::{command, file};
use super::{PostgresError, process};
use crate::settings::Settings;

/// How often a file or a process that cannot be awaited is looked at.
const POLL: Duration = Duration::from_millis(20);
/// How often an adopted postmaster is checked for being alive.
const ADOPTED_POLL: Duration = Duration::from_millis(100);
/// How long an immediate shutdown may take before the process is killed.
const IMMEDIATE_STOP_MAX: Duration = Duration::from_secs(5);
/// How long it may take when it has to be out of the way now.
const QUIT_MAX: Duration = Duration::from_secs(1);
/// How long a postmaster may take from its start to its lock file.
const LOCKED_MAX: Duration = Duration::from_secs(10);
/// How much of PostgreSQL's log an error quotes.
const LOG_LINES: usize = 12;

/// A running postmaster.
#[derive(Debug)]
pub struct Postmaster {
    pid: u32,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    Child(Child),
    /// Told from another process that got the same pid later by its start time.
    Adopted {
        start_time: u64,
    },
}

impl Postmaster {
    /// The postmaster that already serves this data directory, when there is one.
    ///
    /// # Errors
    /// When one is there on another port or socket and cannot be stopped.
    pub async fn adopt(settings: &Settings) -> Result<Option<Self>, PostgresError> {
        let Some(lock) = LockFile::read(&settings.data_dir) else { return Ok(None) };
        let Some(start_time) = postmaster_start_time(lock.pid, &settings.data_dir) else { return Ok(None) };
        let mut postmaster = Self { pid: lock.pid, origin: Origin::Adopted { start_time } };
        // Early in its start the file has no port yet.
        let elsewhere = lock.port.is_some_and(|port| port != settings.postgres_port)
            || lock.socket_dir.is_some_and(|folder| Path::new(&folder) != settings.run_dir);
        if elsewhere {
            tracing::info!(pid = lock.pid, "stopping a postmaster that serves another port or socket");
            postmaster.stop(Duration::from_secs(settings.stop_seconds_max)).await?;
            return Ok(None);
        }
        tracing::info!(pid = lock.pid, "adopting the postmaster of an earlier agent");
        Ok(Some(postmaster))
    }

    /// Starts PostgreSQL; it may not accept connections yet.
    ///
    /// # Errors
    /// When its log cannot be opened or the program cannot be run.
    pub fn start(settings: &Settings) -> Result<Self, PostgresError> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&settings.postgres_log)
            .map_err(|source| file("open", &settings.postgres_log, source))?;
        let log_too = log.try_clone().map_err(|source| file("open", &settings.postgres_log, source))?;
        let program = settings.postgres_bindir.join("postgres");
        // A process group of its own: Ctrl-C in the agent's terminal is the agent's to handle.
        let child = command(&program)
            .arg("-D")
            .arg(&settings.data_dir)
            .stdin(Stdio::null())
            .stdout(log_too)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|source| PostgresError::Spawn { program, source })?;
        let pid = child.id().unwrap_or_default();
        Ok(Self { pid, origin: Origin::Child(child) })
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Completes when the process has ended, saying how. Can be dropped and called again.
    pub async fn ended(&mut self) -> String {
        match &mut self.origin {
            Origin::Child(child) => match child.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            },
            Origin::Adopted { start_time } => {
                while process::start_time(self.pid) == Some(*start_time) {
                    sleep(ADOPTED_POLL).await;
                }
                "adopted process ended".into()
            }
        }
    }

    /// Completes once it accepts connections, as far as its lock file says. Can be dropped and called again.
    ///
    /// # Errors
    /// When it ends instead; with the end of its log.
    pub async fn ready(&mut self, settings: &Settings) -> Result<(), PostgresError> {
        loop {
            if LockFile::read(&settings.data_dir).is_some_and(|lock| lock.pid == self.pid && lock.ready) {
                return Ok(());
            }
            if let Ok(status) = timeout(POLL, self.ended()).await {
                return Err(PostgresError::EndedAtStart { status, log: log_end(&settings.postgres_log) });
            }
        }
    }

    /// Fast shutdown; after `fast_max` immediate shutdown; after some more seconds SIGKILL.
    ///
    /// # Errors
    /// When even that does not end it.
    pub async fn stop(&mut self, fast_max: Duration) -> Result<(), PostgresError> {
        for (signal, wait_max) in
            [(Signal::SIGINT, fast_max), (Signal::SIGQUIT, IMMEDIATE_STOP_MAX), (Signal::SIGKILL, IMMEDIATE_STOP_MAX)]
        {
            if signal != Signal::SIGINT {
                tracing::warn!(pid = self.pid, %signal, "PostgreSQL does not stop");
            }
            self.signal(signal);
            if timeout(wait_max, self.ended()).await.is_ok() {
                return Ok(());
            }
        }
        Err(PostgresError::WontStop { pid: self.pid })
    }

    /// Immediate shutdown, also of a server that was stopped (SIGSTOP) with its children; after 1 s SIGKILL for all of them.
    ///
    /// # Errors
    /// When even that does not end them.
    pub async fn quit(&mut self, data_dir: &Path) -> Result<(), PostgresError> {
        self.signal(Signal::SIGQUIT);
        process::signal(&process::servers_in(data_dir), Signal::SIGCONT);
        if timeout(QUIT_MAX, self.ended()).await.is_err() {
            tracing::warn!(pid = self.pid, "PostgreSQL does not stop at once; killing it");
            self.signal(Signal::SIGKILL);
            process::signal(&process::servers_in(data_dir), Signal::SIGKILL);
            if timeout(IMMEDIATE_STOP_MAX, self.ended()).await.is_err() {
                return Err(PostgresError::WontStop { pid: self.pid });
            }
        }
        end_orphans(data_dir).await
    }

    /// Asks for a fast shutdown; true when it is down within `at_most`.
    pub async fn shut_down(&mut self, at_most: Duration) -> bool {
        self.signal(Signal::SIGINT);
        timeout(at_most, self.ended()).await.is_ok()
    }

    /// Makes it read its configuration again.
    ///
    /// # Errors
    /// When it ends instead, or does not get as far as to have a lock file.
    pub async fn reload(&mut self, settings: &Settings) -> Result<(), PostgresError> {
        // Earlier in its start the signal would end it.
        let deadline = Instant::now() + LOCKED_MAX;
        while LockFile::read(&settings.data_dir).is_none_or(|lock| lock.pid != self.pid) {
            if timeout(POLL, self.ended()).await.is_ok() {
                return Err(PostgresError::NotRunning);
            }
            if Instant::now() > deadline {
                return Err(PostgresError::Late { what: "postmaster.pid".into(), seconds: LOCKED_MAX.as_secs() });
            }
        }
        self.signal(Signal::SIGHUP);
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        let alive = match &self.origin {
            // Not reaped yet, so the pid is still its own.
            Origin::Child(child) => child.id().is_some(),
            Origin::Adopted { start_time } => process::start_time(self.pid) == Some(*start_time),
        };
        if let (true, Ok(pid)) = (alive, i32::try_from(self.pid)) {
            // It may end between the check and the call; then there is nothing to signal.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

/// Makes way for a start on `data_dir`, where no postmaster runs: ends what a dead one left (the shared memory it still holds
/// would refuse the start) and removes lock files whose process number now belongs to somebody else.
///
/// # Errors
/// When a process cannot be killed, or a file not be removed.
pub(super) async fn clear_the_way(settings: &Settings) -> Result<(), PostgresError> {
    let data_dir = &settings.data_dir;
    if let Some(lock) = LockFile::read(data_dir).filter(|lock| postmaster_start_time(lock.pid, data_dir).is_some()) {
        return Err(PostgresError::Running { pid: lock.pid });
    }
    end_orphans(data_dir).await?;
    let mut socket_lock = settings.postgres_socket().into_os_string();
    socket_lock.push(".lock");
    for path in [data_dir.join("postmaster.pid"), socket_lock.into()] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file("remove", &path, error)),
            _ => (),
        }
    }
    Ok(())
}

/// Ends backends of a dead postmaster on `data_dir`, and tools of a dead agent that write there.
pub(super) async fn end_orphans(data_dir: &Path) -> Result<(), PostgresError> {
    for find in [process::servers_in, process::tools_on] {
        if !process::kill_all(|| find(data_dir), IMMEDIATE_STOP_MAX).await {
            let pid = find(data_dir).first().copied().unwrap_or_default();
            return Err(PostgresError::WontStop { pid });
        }
    }
    Ok(())
}

/// What `postmaster.pid` says (PostgreSQL's miscadmin.h, LOCK_FILE_LINE_*).
#[derive(Debug, PartialEq, Eq)]
struct LockFile {
    pid: u32,
    port: Option<u16>,
    socket_dir: Option<String>,
    ready: bool,
}

impl LockFile {
    fn read(data_dir: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(data_dir.join("postmaster.pid")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let line = |number: usize| lines.get(number - 1).copied().filter(|line| !line.is_empty());
        Some(Self {
            pid: line(1)?.parse().ok().filter(|pid| *pid > 1)?,
            port: line(4).and_then(|port| port.parse().ok()),
            socket_dir: line(5).map(str::to_owned),
            ready: matches!(line(8), Some("ready" | "standby")),
        })
    }
}

/// The living postmaster of `data_dir`, whoever started it.
pub fn running_in(data_dir: &Path) -> Option<u32> {
    let pid = LockFile::read(data_dir)?.pid;
    postmaster_start_time(pid, data_dir).map(|_| pid)
}

/// When process `pid` started, provided it is one of PostgreSQL's on `data_dir`. Backends stand there too, but are not what the
/// lock file names.
fn postmaster_start_time(pid: u32, data_dir: &Path) -> Option<u64> {
    process::start_time(pid).filter(|_| process::is_server_in(pid, data_dir))
}

/// The last lines of a log file.
pub(super) fn log_end(path: &Path) -> String {
    const TAIL_BYTES: u64 = 16 << 10;
    let read = || -> io::Result<String> {
        let mut log = fs::File::open(path)?;
        let len = log.metadata()?.len();
        log.seek(SeekFrom::Start(len.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        log.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
        }
        Err(error) => format!("(cannot read {}: {error})", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_is_read_at_every_stage() {
        let early = LockFile::parse("123\n/data\n1700000000\n5432\n").unwrap();
        assert_eq!(early, LockFile { pid: 123, port: Some(5432), socket_dir: None, ready: false });
        let whole = LockFile::parse("123\n/data\n1700000000\n5432\n/run/x\n127.0.0.1\n  1 2\nready   \n").unwrap();
        assert_eq!(whole, LockFile { pid: 123, port: Some(5432), socket_dir: Some("/run/x".into()), ready: true });
        assert_eq!(LockFile::parse("-5\n"), None);
        assert_eq!(LockFile::parse(""), None);
    }
}
