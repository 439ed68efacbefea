//! A local cluster, started and stopped by the `atoll` binary as a user would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::client::Client;
use crate::guard::Guard;
use crate::{Target, free_port};

/// `atoll up` has to initialise every group's PostgreSQL; debug builds on a busy machine take their time.
const UP_MAX: Duration = Duration::from_secs(180);
const COMMAND_MAX: Duration = Duration::from_secs(60);
const LOG_TAIL_LINES: usize = 15;

/// How a cluster is started.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    pub groups: u32,
    pub shards: u32,
    /// Further arguments of `atoll up`.
    pub arguments: Vec<String>,
    /// Further environment of `atoll up` (and so of its processes).
    pub environment: Vec<(String, String)>,
}

impl ClusterOptions {
    #[must_use]
    pub fn new(groups: u32, shards: u32) -> ClusterOptions {
        ClusterOptions { groups, shards, arguments: Vec::new(), environment: Vec::new() }
    }
}

/// A running cluster in a directory of its own under /tmp. Brought down, and the directory removed, when dropped.
#[derive(Debug)]
pub struct Cluster {
    target: Target,
    atoll: PathBuf,
    directory: PathBuf,
    options: ClusterOptions,
    // Held so that the files go last.
    _guard: Guard,
    _root: tempfile::TempDir,
}

/// The sibling binary of that name: beside this executable, or one folder up when this is a test (`target/debug/deps`).
///
/// # Errors
/// When it has not been built.
pub fn sibling(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().context("executable without a folder")?;
    let folder = if folder.ends_with("deps") { folder.parent().context("deps without a parent")? } else { folder };
    let path = folder.join(name);
    if !path.exists() {
        bail!("{} is not built: run `cargo build` for the workspace first", path.display());
    }
    Ok(path)
}

impl Cluster {
    /// A cluster of `groups` groups and `shards` shards in all.
    ///
    /// # Errors
    /// When `atoll up` fails; the message ends with the tails of the processes' logs.
    pub fn start(groups: u32, shards: u32) -> Result<Cluster> {
        Cluster::start_with(&ClusterOptions::new(groups, shards))
    }

    /// A cluster with the given options.
    ///
    /// # Errors
    /// As for [`Cluster::start`].
    pub fn start_with(options: &ClusterOptions) -> Result<Cluster> {
        /// What PostgreSQL says when another test's server took the port between its choice and its use.
        const TAKEN: &str = "could not bind IPv4 address";
        for _ in 0..2 {
            match Cluster::start_once(options) {
                Err(error) if format!("{error:#}").contains(TAKEN) => {}
                started => return started,
            }
        }
        Cluster::start_once(options)
    }

    fn start_once(options: &ClusterOptions) -> Result<Cluster> {
        let atoll = sibling("atoll")?;
        let root = tempfile::Builder::new().prefix("atoll-test-").tempdir_in("/tmp")?;
        // `postgres` must be able to enter it.
        fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let directory = root.path().join("c");
        let as_text = |path: &Path| path.to_str().map(str::to_owned).context("path is not UTF-8");
        let guard = Guard::arm(
            "[ -e \"$2\" ] && \"$1\" down --dir \"$2\" && rm -rf \"$3\"",
            &[&as_text(&atoll)?, &as_text(&directory)?, &as_text(root.path())?],
        )?;
        let target = Target { label: "atoll", host: "127.0.0.1".to_owned(), port: free_port()? };
        let cluster = Cluster { target, atoll, directory, options: options.clone(), _guard: guard, _root: root };
        cluster.up()?;
        Ok(cluster)
    }

    /// Where clients connect.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The cluster's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// [`Client::execute`] in the database `app`, on a connection of its own.
    ///
    /// # Errors
    /// As there, and when the cluster does not let the client in.
    pub fn execute(&self, sql: &str) -> Result<String> {
        Client::connect(&self.target, "app")?.execute(sql)
    }

    /// Runs `atoll up` on the directory (again).
    ///
    /// # Errors
    /// When it fails; with the tails of the logs.
    pub fn up(&self) -> Result<()> {
        let mut arguments: Vec<String> = vec!["up".into(), "--detach".into()];
        for (flag, value) in [
            ("--groups", u64::from(self.options.groups)),
            ("--shards", u64::from(self.options.shards)),
            ("--port", u64::from(self.target.port)),
        ] {
            arguments.extend([flag.to_owned(), value.to_string()]);
        }
        arguments.extend(self.options.arguments.iter().cloned());
        let output = self.atoll(&arguments, UP_MAX)?;
        if !output.status.success() {
            bail!("`atoll {}` failed: {}\n{}", arguments.join(" "), shown(&output), self.log_tails());
        }
        Ok(())
    }

    /// Runs `atoll down` on the directory.
    ///
    /// # Errors
    /// When it fails.
    pub fn down(&self) -> Result<()> {
        let output = self.atoll(&["down".to_owned()], COMMAND_MAX)?;
        if !output.status.success() {
            bail!("`atoll down` failed: {}\n{}", shown(&output), self.log_tails());
        }
        Ok(())
    }

    /// What `atoll status --json` prints.
    ///
    /// # Errors
    /// When it fails or does not print JSON.
    pub fn status(&self) -> Result<Value> {
        let output = self.atoll(&["status".to_owned(), "--json".to_owned()], COMMAND_MAX)?;
        if !output.status.success() {
            bail!("`atoll status` failed: {}", shown(&output));
        }
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("`atoll status --json` printed {}", shown(&output)))
    }

    /// The PostgreSQL servers of all nodes, home first: name and target (as their loopback TCP ports accept `postgres`).
    ///
    /// # Errors
    /// When the status cannot be read.
    pub fn nodes(&self) -> Result<Vec<(String, Target)>> {
        let status = self.status()?;
        let mut groups = status["groups"].as_array().context("status without groups")?.clone();
        groups.sort_by_key(|group| !group["home"].as_bool().unwrap_or(false));
        let mut nodes = Vec::new();
        for group in &groups {
            for node in group["nodes"].as_array().context("group without nodes")? {
                nodes.push((
                    node["name"].as_str().context("node without a name")?.to_owned(),
                    Target {
                        label: "node",
                        host: node["host"].as_str().context("node without a host")?.to_owned(),
                        port: u16::try_from(node["port"].as_u64().context("node without a port")?)?,
                    },
                ));
            }
        }
        Ok(nodes)
    }

    /// Runs `atoll ARGUMENTS --dir DIR` and waits for it.
    ///
    /// # Errors
    /// When it cannot be started or takes longer than `wait_max` (it is killed then).
    pub fn atoll(&self, arguments: &[String], wait_max: Duration) -> Result<Output> {
        let mut command = Command::new(&self.atoll);
        command.args(arguments).arg("--dir").arg(&self.directory);
        command.envs(self.options.environment.iter().map(|(name, value)| (name, value)));
        run_within(&mut command, wait_max)
    }

    /// The last lines of every log in the directory.
    #[must_use]
    pub fn log_tails(&self) -> String {
        let mut logs = Vec::new();
        let mut folders = vec![self.directory.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() && !path.ends_with("data") {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "log") {
                    logs.push(path);
                }
            }
        }
        logs.sort();
        let mut out = String::new();
        for log in logs {
            let text = fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            out.push_str(&format!("--- {}\n", log.display()));
            for line in &lines[lines.len().saturating_sub(LOG_TAIL_LINES)..] {
                out.push_str(line);
                out.push('\n');
            }
        }
        out
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tails());
        }
        if let Err(error) = self.down() {
            eprintln!("{error:#}");
        }
    }
}

/// Runs a command to its end and returns what it printed.
///
/// # Errors
/// When it cannot be started or does not end within `wait_max`; it is killed then.
pub fn run_within(command: &mut Command, wait_max: Duration) -> Result<Output> {
    let shown = format!("{command:?}");
    // Files, not pipes: a child that lives on must not hold us, and a full pipe must not hold the child.
    let mut stdout = tempfile::tempfile()?;
    let mut stderr = tempfile::tempfile()?;
    command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let mut child = command.spawn().with_context(|| format!("starting {shown}"))?;
    let deadline = Instant::now() + wait_max;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            let printed = (read_back(&mut stdout)?, read_back(&mut stderr)?);
            bail!(
                "{shown} did not end within {wait_max:?}; stdout: {} stderr: {}",
                String::from_utf8_lossy(&printed.0),
                String::from_utf8_lossy(&printed.1)
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    Ok(Output { status, stdout: read_back(&mut stdout)?, stderr: read_back(&mut stderr)? })
}

fn read_back(file: &mut fs::File) -> Result<Vec<u8>> {
    use std::io::{Read, Seek};
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// An output for an error message.
#[must_use]
pub fn shown(output: &Output) -> String {
    format!(
        "{}\nstdout: {}\nstderr: {}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
