//! Runs of PostgreSQL's own pgbench.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use atoll_tests::Target;
use atoll_tests::cluster::{run_within, shown};
use atoll_tests::plain::bindir;

/// Loading may take this long.
const LOAD_MAX: Duration = Duration::from_secs(900);

/// One run of a script.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    pub script: &'a Path,
    /// `simple`, `extended` or `prepared`.
    pub mode: &'a str,
    pub clients: u32,
    pub seconds: u32,
    pub scale: u32,
}

/// Creates and fills pgbench's tables.
///
/// # Errors
/// When pgbench fails.
pub fn initialize(target: &Target, scale: u32) -> Result<()> {
    pgbench(target, &["-i".to_owned(), "-q".to_owned(), "-s".to_owned(), scale.to_string()], LOAD_MAX)?;
    Ok(())
}

/// Transactions per second of one run.
///
/// # Errors
/// When pgbench fails, or a transaction does.
pub fn transactions_per_second(target: &Target, run: Run<'_>) -> Result<f64> {
    let script = run.script.to_str().context("path is not UTF-8")?;
    let threads = run.clients.min(2);
    let arguments = [
        "-n".to_owned(),
        "-f".to_owned(),
        script.to_owned(),
        format!("-M{}", run.mode),
        format!("-c{}", run.clients),
        format!("-j{threads}"),
        format!("-T{}", run.seconds),
        format!("-Dscale={}", run.scale),
    ];
    let text = pgbench(target, &arguments, Duration::from_secs(u64::from(run.seconds) + 60))?;
    ensure!(text.contains("number of failed transactions: 0 (0.000%)"), "pgbench on {}: {text}", target.label);
    let line = text.lines().find(|line| line.starts_with("tps = ")).with_context(|| format!("no tps in {text}"))?;
    let number = line["tps = ".len()..].split_whitespace().next().context("no number after tps")?;
    number.parse().with_context(|| format!("tps {number}"))
}

fn pgbench(target: &Target, arguments: &[String], wait_max: Duration) -> Result<String> {
    let mut command = Command::new(bindir()?.join("pgbench"));
    command.args(["-h", &target.host, "-p", &target.port.to_string(), "-U", "postgres"]).args(arguments).arg("app");
    let output = run_within(&mut command, wait_max)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && !errors.contains("error:"),
        "pgbench {} on {}: {}",
        arguments.join(" "),
        target.label,
        shown(&output)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
