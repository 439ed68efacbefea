//! Loads TPC-H into both sides over COPY, showing how far it has come.

use std::time::Instant;

use anyhow::Context;
use atoll_demo::progress::Progress;
use atoll_demo::rows::{self, Rows, TABLES};
use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::Client;

use crate::demo::explained;
use crate::output::{say, show};
use crate::status::human_bytes;

/// # Errors
/// What the servers say.
pub async fn all(here: &Client, there: &Client, scale: f64) -> anyhow::Result<()> {
    say(format_args!("loading TPC-H, scale {scale}"));
    let (mut total, mut seconds, mut plain_seconds) = (0, 0.0, 0.0);
    for table in TABLES {
        let rows = tokio::task::spawn_blocking(move || rows::rows(table, scale)).await?;
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
