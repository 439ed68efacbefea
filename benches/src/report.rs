//! Results: medians of rounds, as a table and as target/bench.json.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::tpch::Details;

/// One line of target/bench.json; its keys are a contract.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    pub bench: String,
    /// `simple`, `prepared` or `text`; of TPC-H the query.
    pub mode: String,
    pub clients: u32,
    /// Median over the rounds of the cluster's throughput divided by plain PostgreSQL's of the same round; above 1 is faster.
    pub ratio: f64,
    pub min: f64,
    pub max: f64,
    /// Of TPC-H's queries only.
    #[serde(flatten)]
    pub details: Option<Details>,
}

/// Throughputs of one round, in the same unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Round {
    pub plain: f64,
    pub atoll: f64,
}

impl Round {
    /// Of a single query: how often a second it could be asked.
    #[must_use]
    pub fn of_seconds(plain: f64, atoll: f64) -> Round {
        Round { plain: plain.recip(), atoll: atoll.recip() }
    }
}

impl Line {
    /// Sums up rounds.
    ///
    /// # Panics
    /// When there are none.
    #[must_use]
    pub fn new(bench: &str, mode: &str, clients: u32, rounds: &[Round]) -> Line {
        let mut ratios: Vec<f64> = rounds.iter().map(|round| round.atoll / round.plain).collect();
        ratios.sort_by(f64::total_cmp);
        let three_digits = |value: f64| (value * 1000.0).round() / 1000.0;
        Line {
            bench: bench.to_owned(),
            mode: mode.to_owned(),
            clients,
            ratio: three_digits(median(&ratios)),
            min: three_digits(ratios[0]),
            max: three_digits(ratios[ratios.len() - 1]),
            details: None,
        }
    }
}

/// Median of sorted values; of two in the middle their mean.
#[must_use]
pub fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// Median of one side's throughputs.
#[must_use]
pub fn median_of(rounds: &[Round], side: impl Fn(&Round) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(side).collect();
    values.sort_by(f64::total_cmp);
    median(&values)
}

/// Writes `target/bench.json` under the current folder.
///
/// # Errors
/// When it cannot be written.
pub fn write(lines: &[Line]) -> Result<()> {
    let path = Path::new("target/bench.json");
    fs::create_dir_all("target")?;
    let mut text = serde_json::to_string_pretty(lines)?;
    text.push('\n');
    fs::write(path, text).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratio_is_the_median_of_the_rounds() {
        let rounds = [(100.0, 50.0), (100.0, 70.0), (200.0, 80.0)].map(|(plain, atoll)| Round { plain, atoll });
        let line = Line::new("point", "simple", 1, &rounds);
        assert_eq!((line.ratio, line.min, line.max), (0.5, 0.4, 0.7));
    }

    #[test]
    fn median_of_an_even_number_is_between() {
        assert_eq!(median(&[1.0, 2.0, 4.0, 8.0]).to_bits(), 3.0_f64.to_bits());
    }
}
