//! What the user reads. A reader that went away (`atoll status | head -1`) is no reason to panic or to stop half-way.

use std::io::{BufRead, Write};

use anyhow::bail;

/// Writes a line of results to stdout.
pub fn show(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Writes a line about what is going on to stderr.
pub fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Asks before something that cannot be taken back. `yes` answers for the user.
///
/// # Errors
/// When the answer is no, or nobody is there to give one.
pub fn confirm(question: &str, yes: bool) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    let _ = write!(std::io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    if std::io::stdin().lock().read_line(&mut answer).unwrap_or(0) == 0 {
        bail!("nothing was done: nobody answers (--yes does)");
    }
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => bail!("nothing was done"),
    }
}
