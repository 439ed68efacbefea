//! What the user reads. A reader that went away (`atoll status | head -1`) is no reason to panic or to stop half-way.

use std::io::Write;

/// Writes a line of results to stdout.
pub fn show(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Writes a line about what is going on to stderr.
pub fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
