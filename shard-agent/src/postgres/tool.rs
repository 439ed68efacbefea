//! Runs of PostgreSQL's own programs.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::PostgresError;
use super::data_dir::command;
use crate::settings::Settings;

/// How much of a program's words an error quotes.
const QUOTED_LINES: usize = 12;

/// A program to be run.
pub(super) struct Tool {
    program: PathBuf,
    command: Command,
}

/// How a program ended, and what it said.
pub(super) struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub fn succeeded(&self) -> bool {
        self.status.success()
    }
}

impl Tool {
    pub fn new(settings: &Settings, name: &str) -> Self {
        let program = settings.postgres_bindir.join(name);
        let mut command = command(&program);
        // Its words are read.
        command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Processes that it starts end with it.
        command.process_group(0).kill_on_drop(true);
        Self { program, command }
    }

    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.command.arg(argument);
        self
    }

    pub fn args(&mut self, arguments: &[&str]) -> &mut Self {
        self.command.args(arguments);
        self
    }

    /// Runs it to its end.
    pub async fn output(self, at_most: Duration) -> Result<Output, PostgresError> {
        let what = self.program.display().to_string();
        let run = self.run(|_| ());
        timeout(at_most, run).await.map_err(|_| PostgresError::Late { what, seconds: at_most.as_secs() })?
    }

    /// Runs it to its end; `heard` gets what it says on the way on stderr, by line. Killed when dropped.
    pub async fn run(mut self, mut heard: impl FnMut(&str)) -> Result<Output, PostgresError> {
        let spawn_failed = |source| PostgresError::Spawn { program: self.program.clone(), source };
        let mut running = Running(self.command.spawn().map_err(spawn_failed)?);
        let child = &mut running.0;
        let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
        let read_stdout = async {
            let mut bytes = Vec::new();
            if let Some(out) = &mut out {
                out.read_to_end(&mut bytes).await?;
            }
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
        };
        let read_stderr = async {
            let (mut said, mut line, mut chunk) = (String::new(), Vec::new(), [0; 4096]);
            while let Some(err) = &mut err {
                let read = err.read(&mut chunk).await?;
                for byte in &chunk[..read] {
                    match byte {
                        // Progress comes with either.
                        b'\n' | b'\r' => {
                            let text = String::from_utf8_lossy(&line).into_owned();
                            heard(&text);
                            said.push_str(&text);
                            said.push('\n');
                            line.clear();
                        }
                        other => line.push(*other),
                    }
                }
                if read == 0 {
                    said.push_str(&String::from_utf8_lossy(&line));
                    break;
                }
            }
            Ok::<_, std::io::Error>(said)
        };
        let (stdout, stderr) = tokio::try_join!(read_stdout, read_stderr).map_err(spawn_failed)?;
        let status = running.0.wait().await.map_err(spawn_failed)?;
        Ok(Output { status, stdout, stderr })
    }
}

/// A program under way.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // None once it has been waited for.
        if let Some(pid) = self.0.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// The error of a program that did not succeed, in its own last words.
pub(super) fn failed(program: &'static str, output: &Output) -> PostgresError {
    let said = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let said = lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n");
    PostgresError::Tool { program, status: output.status, said }
}
