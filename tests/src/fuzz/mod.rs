//! Random queries on a plain PostgreSQL and on a cluster with the same tables, answers compared. Everything follows from the seed.

pub mod aggregate;
pub mod ast;
pub mod check;
pub mod data;
pub mod edit;
pub mod expr;
pub mod from;
pub mod print;
pub mod query;
pub mod reduce;
pub mod schema;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand::rngs::StdRng;

use self::ast::Query;
use self::check::{Difference, Pair, Verdict, Way, text};
use self::query::Generator;
use self::reduce::{create, drop_schema, reduce};
use self::schema::Schema;
use crate::cluster::ClusterOptions;
use crate::servers::LazyPair;

const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// So many differences of one kind are reduced; the rest are only counted.
const REDUCED_MAX: u64 = 3;
/// Every so many queries one also runs by the extended protocol.
const EXTENDED_EVERY: u64 = 5;

/// A value of `atoll.merge_engine`.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Engine {
    Auto,
    Datafusion,
    Postgres,
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Datafusion => "datafusion",
            Self::Postgres => "postgres",
        }
    }
}

/// What to run and for how long.
#[derive(Debug, Clone)]
pub struct Options {
    /// The first seed; each further one is greater by one.
    pub seed: u64,
    pub length: Option<Duration>,
    /// Queries in all.
    pub count: Option<u64>,
    pub queries_per_seed: u64,
    /// What `atoll.merge_engine` is; None: `auto`, or now and then `postgres`.
    pub engine: Option<Engine>,
    /// `atoll.early_aggregation` is `always`; otherwise that, or `auto`.
    pub early_aggregation: bool,
    /// Where reduced differences are written.
    pub folder: PathBuf,
    /// Print every query with what came of it.
    pub verbose: bool,
}

/// What has been seen.
#[derive(Debug, Default)]
pub struct Summary {
    pub seeds: u64,
    pub queries: u64,
    pub equal: u64,
    /// Of the equal ones.
    pub with_rows: u64,
    pub tiers: BTreeMap<String, u64>,
    pub too_slow: u64,
    pub same_error: BTreeMap<String, u64>,
    pub refused: BTreeMap<String, u64>,
    pub different: BTreeMap<String, u64>,
    files: u64,
}

/// Runs until the time or the number of queries is up.
///
/// # Errors
/// When the servers do not start or plain PostgreSQL is gone.
pub fn run(options: &Options) -> Result<Summary> {
    let servers = LazyPair::new(ClusterOptions::new(2, 8));
    let held = servers.get()?;
    let mut pair = Pair::open(held.plain.target(), held.subject.target())?;
    let mut run = Run { options, summary: Summary::default(), begun: Instant::now(), reported: Instant::now() };
    let mut seed = options.seed;
    while !run.over() {
        run.seed(&mut pair, seed).with_context(|| format!("SEED={seed}"))?;
        run.summary.seeds += 1;
        seed += 1;
    }
    println!("{}", run.summary.shown());
    println!("slowest answer of the cluster: {:.1} s", pair.slowest.as_secs_f64());
    drop(held);
    servers.stop();
    Ok(run.summary)
}

struct Run<'a> {
    options: &'a Options,
    summary: Summary,
    begun: Instant,
    reported: Instant,
}

impl Run<'_> {
    fn over(&self) -> bool {
        self.options.length.is_some_and(|length| self.begun.elapsed() >= length)
            || self.options.count.is_some_and(|count| self.summary.queries >= count)
    }

    fn seed(&mut self, pair: &mut Pair<'_>, seed: u64) -> Result<()> {
        let name = format!("fz_{seed}");
        let mut schema = Schema::random(&mut StdRng::seed_from_u64(seed));
        if let Some(engine) = self.options.engine {
            schema.merge_engine = engine.name();
        }
        schema.early_aggregation |= self.options.early_aggregation;
        if let Err(error) = create(pair, &name, &schema) {
            println!("SEED={seed}: the tables cannot be made: {error:#}");
            *self.summary.different.entry("tables cannot be made".to_owned()).or_default() += 1;
            drop_schema(pair, &name);
            return Ok(());
        }
        for number in 0..self.options.queries_per_seed {
            if self.over() {
                break;
            }
            // Its own seed for every query: one can be run again without the others.
            let mut generator = Generator::new(seed.wrapping_mul(1_000_003).wrapping_add(number), &schema);
            let query = generator.statement();
            let mut ways = vec![Way::Simple];
            if number % EXTENDED_EVERY == 0 {
                ways.push(if number % 2 == 0 { Way::Extended } else { Way::Binary });
            }
            for way in ways {
                let verdict = pair.check(&query, way)?;
                self.summary.queries += 1;
                if self.options.verbose {
                    println!("{seed}/{number} {} -- {}", text(&query, way).0, verdict.word());
                }
                if matches!(verdict, Verdict::Equal(_)) {
                    *self.summary.tiers.entry(pair.last_tier()?).or_default() += 1;
                }
                if let Some(difference) = self.summary.count(verdict) {
                    self.report(pair, &name, &schema, (&query, way), &difference, (seed, number))?;
                    break;
                }
            }
            if self.reported.elapsed() >= PROGRESS_EVERY {
                self.reported = Instant::now();
                println!("{:>5} s  seed {seed}  {}", self.begun.elapsed().as_secs(), self.summary.line());
            }
        }
        drop_schema(pair, &name);
        Ok(())
    }

    /// Reduces a difference, prints it and writes it down.
    fn report(
        &mut self,
        pair: &mut Pair<'_>,
        name: &str,
        schema: &Schema,
        (query, way): (&Query, Way),
        difference: &Difference,
        (seed, number): (u64, u64),
    ) -> Result<()> {
        let known = self.summary.different.get(&difference.kind).copied().unwrap_or_default();
        // Wrong rows may have many causes; an error's words mostly tell one.
        let limit = if difference.kind.contains("error") { REDUCED_MAX } else { REDUCED_MAX * 5 };
        println!("DIFFERENT SEED={seed} query {number} ({way:?}): {}", difference.kind);
        if known > limit {
            println!("  {}", text(query, way).0);
            return Ok(());
        }
        let finding = reduce(pair, name, schema, query, way, difference)?;
        let script = finding.script(&format!("{name}_{number}"));
        println!("{script}  plain: {}\n  atoll: {}", finding.difference.plain, finding.difference.subject);
        std::fs::create_dir_all(&self.options.folder)?;
        std::fs::write(self.options.folder.join(format!("{seed}_{number}.sql")), script)?;
        self.summary.files += 1;
        Ok(())
    }
}

impl Summary {
    /// Counts a verdict; a difference comes back.
    fn count(&mut self, verdict: Verdict) -> Option<Difference> {
        match verdict {
            Verdict::Equal(rows) => {
                self.equal += 1;
                self.with_rows += u64::from(rows > 0);
            }
            Verdict::TooSlow => self.too_slow += 1,
            Verdict::SameError(what) => *self.same_error.entry(what).or_default() += 1,
            Verdict::Refused(what) => *self.refused.entry(what).or_default() += 1,
            Verdict::Different(difference) => {
                *self.different.entry(difference.kind.clone()).or_default() += 1;
                return Some(difference);
            }
        }
        None
    }

    /// Whether anything differed.
    #[must_use]
    pub fn failed(&self) -> bool {
        !self.different.is_empty()
    }

    fn line(&self) -> String {
        let sum = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
        format!(
            "queries {}  equal {} ({} with rows)  same error {}  refused {}  different {}  too slow {}",
            self.queries,
            self.equal,
            self.with_rows,
            sum(&self.same_error),
            sum(&self.refused),
            sum(&self.different),
            self.too_slow
        )
    }

    /// All counts, with the reasons of refusals and errors and the kinds of differences.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut out = format!("seeds {}  {}", self.seeds, self.line());
        let parts = [
            ("tier", &self.tiers),
            ("same error", &self.same_error),
            ("refused", &self.refused),
            ("different", &self.different),
        ];
        for (what, counts) in parts {
            let mut counts: Vec<(&String, &u64)> = counts.iter().collect();
            counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            for (reason, count) in counts {
                let share = 100.0 * *count as f64 / self.queries.max(1) as f64;
                out.push_str(&format!("\n{what:<10} {count:>6} {share:>6.2} %  {reason}"));
            }
        }
        out
    }
}
