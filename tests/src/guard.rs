//! Cleaning up after a harness that was killed before it could.

use std::process::{Child, Command, Stdio};

use std::os::unix::process::CommandExt;

/// A shell that waits for this process to let go of its standard input and then runs a clean-up script. The pipe closes when the guard
/// is dropped and also when this process is killed, so that no server outlives its test.
#[derive(Debug)]
pub struct Guard {
    shell: Child,
}

impl Guard {
    /// Arms a guard: `script` is run by `sh` with `arguments` as `$1`, `$2`, ... once this process ends or drops the guard.
    ///
    /// # Errors
    /// When the shell cannot be started.
    pub fn arm(script: &str, arguments: &[&str]) -> std::io::Result<Guard> {
        let shell = Command::new("sh")
            .arg("-c")
            .arg(format!("cat >/dev/null; {script}"))
            .arg("guard")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Its own process group: an interrupt from the terminal must not end the guard before its work.
            .process_group(0)
            .spawn()?;
        Ok(Guard { shell })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        if let Err(error) = self.shell.wait() {
            eprintln!("waiting for a clean-up shell: {error}");
        }
    }
}
