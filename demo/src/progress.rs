//! How far a load has come.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// In a pipe, a line is printed this often.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// A bar on a terminal, lines elsewhere.
#[derive(Debug)]
pub struct Progress {
    name: String,
    bar: ProgressBar,
    is_terminal: bool,
    total: u64,
    done: u64,
    start: Instant,
    last_line: Instant,
}

impl Progress {
    /// Of `total` bytes.
    #[must_use]
    pub fn new(name: String, total: u64) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let template = "{prefix:18} {wide_bar} {bytes:>10} of {total_bytes:10} {bytes_per_sec:>12}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(name.clone());
        Self { name, bar, is_terminal, total, done: 0, start: Instant::now(), last_line: Instant::now() }
    }

    /// So many bytes more are sent.
    pub fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        self.bar.set_position(self.done);
        if !self.is_terminal && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let rate = self.rate();
            let left = self.total.saturating_sub(self.done) as f64 / rate.max(1.0);
            let [done, total, rate] = [self.done, self.total, rate as u64].map(|bytes| HumanBytes(bytes).to_string());
            self.say(format_args!("{done:>10} of {total:10} {rate:>10}/s  {left:.0} s left"));
        }
    }

    /// All are sent and taken.
    pub fn finish(&self) {
        if self.is_terminal {
            self.bar.finish();
        } else {
            let [done, rate] = [self.done, self.rate() as u64].map(|bytes| HumanBytes(bytes).to_string());
            self.say(format_args!("{done:>10} done, {rate}/s"));
        }
    }

    /// A reader that went away is no reason to stop.
    fn say(&self, text: std::fmt::Arguments<'_>) {
        let _ = writeln!(std::io::stderr(), "{:18} {text}", self.name);
    }

    /// Bytes per second so far.
    fn rate(&self) -> f64 {
        self.done as f64 / self.start.elapsed().as_secs_f64().max(1e-6)
    }
}
