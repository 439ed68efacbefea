//! One plain PostgreSQL, to compare with.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::time::sleep;

use crate::demo::connect;
use crate::host::{self, Owner};
use crate::process::{Identity, POLL};

const START_DEADLINE: Duration = Duration::from_secs(60);

/// Its folder within the demonstration's.
pub fn dir(demo: &Path) -> PathBuf {
    demo.join("plain")
}

pub fn data_dir(demo: &Path) -> PathBuf {
    dir(demo).join("data")
}

/// A running server; whoever started it stops it with [`crate::process::stop_postmaster`].
pub struct Plain {
    pub port: u16,
}

impl Plain {
    /// Makes and starts a server as the agents do: the same locale, the same OS user, trust on loopback.
    ///
    /// # Errors
    /// When initdb fails or the server does not take connections within 60 s.
    pub async fn start(demo: &Path, bindir: &Path, owner: &Owner) -> anyhow::Result<Self> {
        let (dir, data) = (dir(demo), data_dir(demo));
        owner.make_dir(&dir, 0o700)?;
        let mut initdb = as_owner(bindir, "initdb", &dir, owner);
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--pgdata"]);
        let output = tokio::process::Command::from({
            initdb.arg(&data);
            initdb
        })
        .kill_on_drop(true)
        .output()
        .await
        .context("running initdb")?;
        if !output.status.success() {
            bail!("initdb of the plain PostgreSQL failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }

        let port = host::free_ports()()?;
        let log = dir.join("postgres.log");
        let file = owner.open_log(&log)?;
        let mut server = as_owner(bindir, "postgres", &dir, owner);
        server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        // Its own process group, so that a Ctrl-C on the terminal leaves it for us to stop.
        server.args(["-c", "unix_socket_directories="]).process_group(0).stdout(file.try_clone()?).stderr(file);
        let mut child = server.spawn().context("starting the plain PostgreSQL")?;
        let process = Identity::of(child.id());
        // Reaped by a thread, since its remains would count as running.
        std::thread::spawn(move || child.wait());

        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let Err(error) = connect(port, "postgres").await else {
                return Ok(Self { port });
            };
            if Instant::now() >= deadline || !process.is_some_and(|process| process.is_alive()) {
                let lines = host::tail(&log, 0, 15).join("\n    ");
                bail!("the plain PostgreSQL does not start: {error:#}\n    {lines}");
            }
            sleep(POLL).await;
        }
    }
}

fn as_owner(bindir: &Path, program: &str, cwd: &Path, owner: &Owner) -> Command {
    let mut command = Command::new(bindir.join(program));
    command.current_dir(cwd).stdin(Stdio::null()).env_remove("PGDATA").env_remove("PGPORT");
    if !owner.run_as.is_empty() {
        command.uid(owner.uid.as_raw()).gid(owner.gid.as_raw());
    }
    command
}
