//! Loads TPC-H into both sides over COPY, showing how far it has come.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use futures_util::SinkExt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio_postgres::Client;

use crate::demo::explained;
use crate::demo::tpch::{self, Rows};
use crate::output::{say, show};
use crate::status::human_bytes;

/// In a pipe, a line is printed this often.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// # Errors
/// What the servers say.
pub async fn all(here: &Client, there: &Client, scale: f64) -> anyhow::Result<()> {
    say(format_args!("loading TPC-H, scale {scale}"));
    let (mut total, mut seconds, mut plain_seconds) = (0, 0.0, 0.0);
    for table in tpch::TABLES {
        let rows = tokio::task::spawn_blocking(move || tpch::rows(table, scale)).await?;
        total += rows.bytes;
        seconds += copy(here, table, &rows, "").await.with_context(|| format!("COPY {table} FROM STDIN"))?;
        plain_seconds += copy(there, table, &rows, " (plain)")
            .await
            .with_context(|| format!("COPY {table} FROM STDIN on the plain PostgreSQL"))?;
    }
    let rate = |seconds: f64| human_bytes((total as f64 / seconds) as u64);
    show(format_args!(
        "\nloaded {} in {seconds:.1} s, {}/s; plain PostgreSQL {plain_seconds:.1} s, {}/s",
        human_bytes(total),
        rate(seconds),
        rate(plain_seconds)
    ));
    Ok(())
}

/// Returns the seconds it took.
async fn copy(client: &Client, table: &str, rows: &Rows, side: &str) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut progress = Progress::new(format!("{table}{side}"), rows.bytes);
    let sink = client.copy_in::<_, Bytes>(&format!("COPY {table} FROM STDIN")).await.map_err(explained)?;
    let mut sink = std::pin::pin!(sink);
    for chunk in &rows.chunks {
        // The server's refusal arrives at the end; until then the sink only says that it is closed.
        if sink.send(chunk.clone()).await.is_err() {
            break;
        }
        progress.advance(chunk.len() as u64);
    }
    let copied = sink.finish().await.map_err(explained)?;
    progress.finish();
    anyhow::ensure!(copied == rows.count, "{copied} rows were copied, {} were sent", rows.count);
    Ok(start.elapsed().as_secs_f64())
}

/// A bar on a terminal, lines elsewhere.
struct Progress {
    name: String,
    bar: ProgressBar,
    is_terminal: bool,
    total: u64,
    done: u64,
    start: Instant,
    last_line: Instant,
}

impl Progress {
    fn new(name: String, total: u64) -> Self {
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

    fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        self.bar.set_position(self.done);
        if !self.is_terminal && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let rate = self.rate();
            let left = (self.total.saturating_sub(self.done)) as f64 / rate.max(1.0);
            say(format_args!(
                "{:18} {:>10} of {:10} {:>10}/s  {left:.0} s left",
                self.name,
                human_bytes(self.done),
                human_bytes(self.total),
                human_bytes(rate as u64)
            ));
        }
    }

    fn finish(&self) {
        if self.is_terminal {
            self.bar.finish();
        } else {
            let rate = human_bytes(self.rate() as u64);
            say(format_args!("{:18} {:>10} done, {rate}/s", self.name, human_bytes(self.done)));
        }
    }

    /// Bytes per second so far.
    fn rate(&self) -> f64 {
        self.done as f64 / self.start.elapsed().as_secs_f64().max(1e-6)
    }
}
