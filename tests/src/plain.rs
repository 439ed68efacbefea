//! One stock PostgreSQL, the reference of every comparison.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};

use crate::client::Client;
use crate::guard::Guard;
use crate::{Target, free_port};

const START_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(20);

/// How a plain server is set up.
#[derive(Debug, Clone, Default)]
pub struct PlainOptions {
    /// Keep fsync on: benches compare with durable servers, differential tests need not wait for the disk.
    pub durable: bool,
    /// Further settings, as `name`, `value`.
    pub settings: Vec<(String, String)>,
}

/// A PostgreSQL server on a loopback port with a data directory of its own under /tmp. Stopped, and its data removed, when dropped.
#[derive(Debug)]
pub struct PlainServer {
    target: Target,
    postmaster: Child,
    // Declared before the directory, so that it is dropped first and finds the directory still there.
    _guard: Guard,
    directory: tempfile::TempDir,
}

/// Folder with initdb, postgres, pgbench and the like: `PG_BINDIR`, or the newest under /usr/lib/postgresql.
///
/// # Errors
/// When no PostgreSQL is installed.
pub fn bindir() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("PG_BINDIR") {
        return Ok(PathBuf::from(given));
    }
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .context("no /usr/lib/postgresql: install postgresql-15 or set PG_BINDIR")?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, path)| path.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop().map(|(_, path)| path).context("no initdb under /usr/lib/postgresql: set PG_BINDIR")
}

/// A command of PostgreSQL's, to be run as the OS user `postgres` when this process is root (PostgreSQL refuses root).
fn as_postgres(program: &Path) -> Result<Command> {
    let mut command = Command::new(program);
    if geteuid().is_root() {
        let user = User::from_name("postgres")?.context("no OS user postgres")?;
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command.current_dir("/tmp").stdin(Stdio::null());
    Ok(command)
}

impl PlainServer {
    /// A server for differential tests: no fsync.
    ///
    /// # Errors
    /// When it cannot be initialised or does not accept connections within a minute; the message ends with its log.
    pub fn start() -> Result<PlainServer> {
        PlainServer::start_with(&PlainOptions::default())
    }

    /// A server with the given options.
    ///
    /// # Errors
    /// As for [`PlainServer::start`].
    pub fn start_with(options: &PlainOptions) -> Result<PlainServer> {
        let bindir = bindir()?;
        let directory = tempfile::Builder::new().prefix("atoll-plain-").tempdir_in("/tmp")?;
        if geteuid().is_root() {
            let user = User::from_name("postgres")?.context("no OS user postgres")?;
            std::os::unix::fs::chown(directory.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        let data = directory.path().join("data");
        let initdb = as_postgres(&bindir.join("initdb"))?
            .args(["--encoding=UTF8", "--locale=C.UTF-8", "--username=postgres", "--auth=trust", "--no-sync", "-D"])
            .arg(&data)
            .output()?;
        if !initdb.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&initdb.stderr));
        }
        let port = free_port()?;
        let log = directory.path().join("postgres.log");
        let log_file = fs::File::create(&log)?;
        let mut command = as_postgres(&bindir.join("postgres"))?;
        command.arg("-D").arg(&data).arg("-k").arg(directory.path());
        command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-c", "max_connections=300"]);
        if !options.durable {
            command.args(["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off"]);
        }
        for (name, value) in &options.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdout(log_file.try_clone()?).stderr(log_file).process_group(0);
        let postmaster = command.spawn()?;
        // By the pid file, not by pid: it is gone once the server has stopped, so that a reused pid is never hit.
        let guard = Guard::arm(
            "[ -f \"$1/postmaster.pid\" ] && kill -QUIT $(head -1 \"$1/postmaster.pid\")",
            &[path_str(&data)?],
        )?;
        let target = Target { label: "plain", host: "127.0.0.1".to_owned(), port };
        let mut server = PlainServer { target, postmaster, _guard: guard, directory };
        server.wait_until_ready(&log)?;
        let created = Client::connect(server.target(), "postgres")?.simple("CREATE DATABASE app")?;
        if let Some(error) = created.error {
            bail!("CREATE DATABASE app: {error}");
        }
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The postmaster's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.postmaster.id()
    }

    fn wait_until_ready(&mut self, log: &Path) -> Result<()> {
        let deadline = Instant::now() + START_MAX;
        loop {
            if Client::connect(&self.target, "postgres").is_ok() {
                return Ok(());
            }
            let ended = self.postmaster.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let mut text = String::new();
                fs::File::open(log)?.read_to_string(&mut text)?;
                bail!("plain PostgreSQL did not start (exit {ended:?}):\n{text}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for PlainServer {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.postmaster.id().cast_signed());
        // Immediate shutdown: the data is about to be removed.
        let _ = kill(pid, Signal::SIGQUIT);
        let deadline = Instant::now() + STOP_MAX;
        while matches!(self.postmaster.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                eprintln!("plain PostgreSQL in {} did not stop; killing it", self.directory.path().display());
                let _ = self.postmaster.kill();
                let _ = self.postmaster.wait();
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn path_str(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("path {} is not UTF-8", path.display()))
}
