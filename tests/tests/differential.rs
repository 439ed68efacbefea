//! Every SQL file under `sql/`, on plain PostgreSQL and on clusters of several shapes, statement by statement. The answers must be equal.
//!
//! `cargo test --test differential -- 2x4/point` runs a part; `ATOLL_TEST_PLAIN=1` runs plain against plain, to check the harness itself;
//! `ATOLL_TEST_SHAPES=1x1,2x4` chooses shapes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use atoll_tests::cluster::ClusterOptions;
use atoll_tests::run::{Setting, run};
use atoll_tests::script;
use atoll_tests::servers::{LazyPair, checks_itself};
use libtest_mimic::{Arguments, Failed, Trial};

/// Groups and shards in all.
const SHAPES: [(u32, u32); 3] = [(1, 1), (2, 4), (4, 8)];

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let files = sql_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sql"))?;
    let mut failed = false;
    for (index, (groups, shards)) in shapes()?.into_iter().enumerate() {
        // One shape after the other: the machine need not hold all of their servers at once.
        let pair = LazyPair::new(ClusterOptions::new(groups, shards));
        let trials = files.iter().map(|(name, path)| {
            let (pair, path) = (pair.clone(), path.clone());
            Trial::test(format!("{groups}x{shards}/{name}"), move || {
                check(&pair, &path, index % 2 == 1).map_err(|error| Failed::from(format!("{error:#}")))
            })
        });
        let conclusion = libtest_mimic::run(&arguments, trials.collect());
        pair.stop();
        failed |= conclusion.has_failed();
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn shapes() -> Result<Vec<(u32, u32)>> {
    let Ok(chosen) = std::env::var("ATOLL_TEST_SHAPES") else {
        return Ok(if checks_itself() { SHAPES[..2].to_vec() } else { SHAPES.to_vec() });
    };
    chosen
        .split(',')
        .map(|shape| {
            let (groups, shards) = shape.split_once('x').context("ATOLL_TEST_SHAPES is a list like 1x1,2x4")?;
            Ok((groups.parse()?, shards.parse()?))
        })
        .collect()
}

/// Name (`family/file`) and path of every SQL file, sorted.
fn sql_files(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for family in fs::read_dir(root).with_context(|| root.display().to_string())? {
        for file in fs::read_dir(family?.path())? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "sql") {
                let name = path.strip_prefix(root)?.with_extension("");
                files.push((name.display().to_string(), path));
            }
        }
    }
    files.sort();
    Ok(files)
}

fn check(pair: &LazyPair, path: &Path, changes_by_extended: bool) -> Result<()> {
    let text = fs::read_to_string(path)?;
    let steps = script::parse(&text).with_context(|| path.display().to_string())?;
    let pair = pair.get()?;
    let setting = Setting {
        plain: pair.plain.target(),
        subject: pair.subject.target(),
        is_cluster: pair.subject.cluster().is_some(),
        changes_by_extended,
    };
    let found = run(&steps, &setting)?;
    if !found.is_empty() {
        bail!(
            "{}: {} differences in {} statements\n\n{}",
            path.display(),
            found.len(),
            steps.len(),
            found.join("\n\n")
        );
    }
    Ok(())
}
