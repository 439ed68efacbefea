//! A program that a machine runs: started again shortly after it ends, as a service manager would, unless it is held.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{Instant, sleep};

use super::machine::Machine;

/// How often a process is looked after.
const LOOK: Duration = Duration::from_millis(20);
/// Between an end and the next start; systemd's default.
const RESTART_AFTER: Duration = Duration::from_millis(100);
/// How long a process may take to end after SIGTERM.
const STOP_MAX: Duration = Duration::from_secs(40);

/// How a program is started.
#[derive(Clone, Debug)]
pub struct Spec {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// Takes standard output and error.
    pub log: PathBuf,
    /// User and group.
    pub owner: (u32, u32),
}

impl Spec {
    fn command(&self) -> Result<Command> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("log {}", self.log.display()))?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir("/");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LANG", "C.UTF-8");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.uid(self.owner.0).gid(self.owner.1).process_group(0);
        Ok(command)
    }
}

/// A service on a machine.
pub struct Service {
    pub name: String,
    pub machine: Arc<Machine>,
    held: AtomicBool,
    /// The running process as the suite sees it; 0 for none.
    pid: AtomicU32,
    starts: AtomicU32,
    last_exit: Mutex<String>,
}

impl Service {
    /// Starts the service and looks after it until it is dropped.
    pub fn start(name: &str, machine: Arc<Machine>, spec: Spec) -> Arc<Service> {
        let service = Arc::new(Service {
            name: name.to_owned(),
            machine,
            held: AtomicBool::new(false),
            pid: AtomicU32::new(0),
            starts: AtomicU32::new(0),
            last_exit: Mutex::default(),
        });
        let looked_after = Arc::downgrade(&service);
        tokio::spawn(async move {
            let mut child: Option<Child> = None;
            let mut not_before = Instant::now();
            while let Some(service) = looked_after.upgrade() {
                service.look(&spec, &mut child, &mut not_before).await;
                drop(service);
                sleep(LOOK).await;
            }
        });
        service
    }

    /// The running process as the suite sees it.
    pub fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }

    /// How often it was started.
    pub fn starts(&self) -> u32 {
        self.starts.load(Ordering::Relaxed)
    }

    /// How it ended the last time, or why it did not start.
    pub fn last_exit(&self) -> String {
        self.last_exit.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it is to stay down when it ends (`true`), or to be started again.
    pub fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }

    /// Asks it to end, waits for that, and keeps it down.
    pub async fn stop(&self) {
        self.hold(true);
        let deadline = Instant::now() + STOP_MAX;
        super::processes::signal(self.pid(), nix::sys::signal::Signal::SIGTERM);
        while self.pid().is_some() {
            if Instant::now() > deadline {
                super::processes::signal(self.pid(), nix::sys::signal::Signal::SIGKILL);
            }
            sleep(LOOK).await;
        }
    }

    async fn look(&self, spec: &Spec, child: &mut Option<Child>, not_before: &mut Instant) {
        if let Some(process) = child {
            match process.try_wait() {
                Ok(None) => return,
                Ok(Some(status)) => self.ended(status.to_string()),
                Err(error) => self.ended(error.to_string()),
            }
            *child = None;
            *not_before = Instant::now() + RESTART_AFTER;
        }
        let wanted = !self.held.load(Ordering::Relaxed) && self.machine.init_pid().is_some();
        if !wanted || Instant::now() < *not_before {
            return;
        }
        let started = match spec.command() {
            Ok(command) => self.machine.spawn(command).await,
            Err(error) => Err(error),
        };
        match started {
            Ok(process) => {
                self.pid.store(process.id(), Ordering::Relaxed);
                self.starts.fetch_add(1, Ordering::Relaxed);
                *child = Some(process);
            }
            Err(error) => {
                self.ended(format!("{error:#}"));
                *not_before = Instant::now() + Duration::from_secs(1);
            }
        }
    }

    fn ended(&self, how: String) {
        self.pid.store(0, Ordering::Relaxed);
        *self.last_exit.lock().unwrap_or_else(PoisonError::into_inner) = how;
    }
}
