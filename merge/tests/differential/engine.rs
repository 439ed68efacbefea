//! What is not about values: refusals, parameters, raw columns, errors of inputs, memory, and ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use atoll_merge::arrow::array::RecordBatch;
use atoll_merge::{Engine, EngineOptions, InputError, InputRows, InputSchema, InputStream, MergeError, Parameter};
use atoll_wire::oid;
use atoll_wire::rows::ColumnFormat;
use futures_util::StreamExt as _;

use crate::lab::{Lab, Ours, print};

const END_MAX: Duration = Duration::from_secs(20);

fn lab_of(rows: usize) -> Result<Lab> {
    let mut lab = Lab::start()?;
    let rows: Vec<_> = (0..rows)
        .map(|row| {
            vec![Some((row * 7919 % 10_007).to_string()), Some(format!("word {}", row % 977)), Some("{}".to_owned())]
        })
        .collect();
    lab.load(&["a int8", "b text", "c jsonb"], &rows)?;
    Ok(lab)
}

#[test]
fn refusals_say_why() -> Result<()> {
    let mut lab = lab_of(3)?;
    for (sql, reason) in [
        ("SELECT lower(b) FROM f", "function lower(text)"),
        ("SELECT b || 'x' FROM f", "operator text || unknown"),
        ("SELECT c FROM f ORDER BY c", "ORDER BY"),
        ("SELECT DISTINCT c FROM f", "DISTINCT"),
        ("SELECT c IS NULL FROM f", "IS NULL of a column that is only passed on"),
        ("SELECT a FROM f, f AS g", "a join that is not by equality"),
        ("SELECT f.a FROM f JOIN f AS g ON f.a = g.a", "an input that is read twice"),
        ("SELECT a FROM g", "relation \"g\" is no input"),
        ("SELECT z FROM f", "column \"z\" does not exist"),
        ("SELECT sum(a) OVER () FROM f", "clauses in"),
        ("SELECT count(DISTINCT a), count(DISTINCT b) FROM f", "several DISTINCT"),
        ("SELECT sum(DISTINCT a::float8) FROM f", "sum(DISTINCT double precision)"),
        ("SELECT count(DISTINCT a), sum(a::float8) FROM f", "a sum of floats"),
        ("SELECT count(DISTINCT c) FROM f", "passed on"),
        ("SELECT DISTINCT ON (a) a FROM f", "DISTINCT ON"),
        ("SELECT a FROM f GROUP BY ROLLUP (a)", "expression"),
        ("SELECT a FROM f FOR UPDATE", "FOR UPDATE"),
        ("WITH RECURSIVE x AS (SELECT 1) SELECT a FROM f", "WITH RECURSIVE"),
        ("WITH x AS (SELECT a FROM f) SELECT a FROM x UNION ALL SELECT a FROM x", "an input that is read twice"),
        ("SELECT a FROM f LIMIT 2.5", "numeric as bigint"),
        ("SELECT b FROM f GROUP BY a", "neither grouped nor aggregated"),
        ("SELECT avg(a::float8) FROM f", "avg(double precision)"),
        ("SELECT avg(sum(a)) FROM f", "aggregate sum here"),
        ("SELECT a FROM f FETCH FIRST 2 ROWS WITH TIES", "WITH TIES"),
        ("SELECT a < 1 < true FROM f", "a chain of comparisons"),
        ("SELECT a::text FROM f", "a cast from bigint to text"),
        ("SELECT $1 FROM f", "parameter $1"),
        ("DELETE FROM f", "not one SELECT"),
        ("SELECT a FROM f; SELECT a FROM f", "not one SELECT"),
        ("SELECT a FROM f ORDER BY b COLLATE \"de_DE\"", "COLLATE"),
    ] {
        match lab.ours(sql, 1) {
            Ours::Refused(refused) => ensure!(refused.reason.contains(reason), "{sql}: {refused}"),
            other => bail!("{sql}: {other:?}"),
        }
    }
    // Without the planner's word, text is not compared.
    lab.input.columns[1].bytewise_collation = false;
    for sql in
        ["SELECT b FROM f ORDER BY b", "SELECT b FROM f GROUP BY b", "SELECT max(b) FROM f", "SELECT b = 'x' FROM f"]
    {
        ensure!(matches!(lab.ours(sql, 1), Ours::Refused(_)), "{sql}");
    }
    for sql in ["SELECT b FROM f ORDER BY n", "SELECT n FROM f ORDER BY b COLLATE \"C\", n", "SELECT count(b) FROM f"] {
        lab.compare(sql, 1, true)?;
    }
    Ok(())
}

#[test]
fn unions_of_several_inputs() -> Result<()> {
    let mut lab = lab_of(100)?;
    lab.sql("CREATE TEMP VIEW g AS SELECT * FROM f")?;
    let second = InputSchema { name: "g".to_owned(), ..lab.input.clone() };
    let inputs = [lab.input.clone(), second];
    for (ordered, sql) in [
        (true, "SELECT a, b FROM f WHERE n < 10 UNION ALL SELECT a, b FROM g WHERE n < 20 ORDER BY a, 2 LIMIT 25"),
        (true, "SELECT n % 10 AS x FROM f UNION SELECT n % 15 FROM g ORDER BY x DESC"),
        (false, "SELECT b FROM f UNION ALL SELECT 'more' FROM g"),
        (
            true,
            "SELECT s, count(*) FROM (SELECT n % 3 AS s FROM f UNION ALL SELECT n % 4 FROM g) q GROUP BY s ORDER BY s",
        ),
        (
            true,
            "WITH x AS (SELECT n % 5 AS k FROM f), y AS (SELECT k, count(*) AS c FROM x GROUP BY k) SELECT * FROM y ORDER BY k",
        ),
    ] {
        let prepared = lab.engine.check(sql, &inputs, &[])?;
        let rows = vec![streamed("f", lab.streams(2)), streamed("g", lab.streams(3))];
        let stream = lab.engine.execute(&prepared.bind(&[])?, rows)?;
        let ours = lab.collect(stream);
        lab.compare_with(sql, ours, ordered)?;
    }
    Ok(())
}

#[test]
fn raw_columns_are_passed_on() -> Result<()> {
    let mut lab = lab_of(100)?;
    let typed = ColumnFormat::Typed;
    // The rows are fetched in binary: what jsonb's receive function makes of it is not looked at.
    lab.fetch(&[typed, typed, ColumnFormat::RawBinary, typed])?;
    let Ours::Answer(answer) = lab.ours("SELECT c, a FROM f ORDER BY a DESC LIMIT 5", 2) else { bail!("no answer") };
    ensure!(answer.columns[0] == ("c".to_owned(), 3802, -1), "{:?}", answer.columns);
    // jsonb's version, then its text.
    ensure!(answer.rows.iter().all(|row| row[0].as_deref() == Some("\u{1}{}")), "{:?}", answer.rows);
    lab.compare("SELECT count(c), n % 2 FROM f GROUP BY 2 ORDER BY 2", 2, true)
}

#[test]
fn parameters() -> Result<()> {
    let lab = lab_of(50)?;
    let text = |value: &'static str| Parameter { binary: false, value: Some(value.as_bytes()) };
    let rows =
        |sql: &str, types: &[u32], values: &[Parameter<'_>]| match lab.ours_over(sql, types, values, lab.streams(2)) {
            Ours::Answer(answer) => Ok(answer.rows.into_iter().flatten().flatten().collect::<Vec<_>>().join(" ")),
            Ours::Failed(MergeError::Sql(error)) => Ok(format!("{} {}", error.sqlstate, error.message)),
            other => bail!("{other:?}"),
        };
    let limited = "SELECT n FROM f ORDER BY n LIMIT $1 OFFSET $2";
    let types = [oid::INT8, oid::INT4];
    ensure!(rows(limited, &types, &[text("3"), text("10")])? == "10 11 12");
    let binary = 2i64.to_be_bytes();
    let two = Parameter { binary: true, value: Some(&binary) };
    let null = Parameter { binary: false, value: None };
    ensure!(rows(limited, &types, &[two, null])? == "0 1");
    ensure!(rows(limited, &types, &[text("-1"), null])? == "2201W LIMIT must not be negative");
    ensure!(rows(limited, &types, &[null, text("-1")])? == "2201X OFFSET must not be negative");
    ensure!(rows("SELECT n FROM f WHERE b = $1 ORDER BY n", &[oid::TEXT], &[text("word 7")])? == "7");
    // Not the plain form of a number: PostgreSQL reads it, or says what is wrong with it.
    let odd = lab.ours_over(limited, &types, &[text(" 3"), null], lab.streams(1));
    ensure!(matches!(odd, Ours::Refused(_)), "{odd:?}");
    // Parameters that only the fragments read may be of any type.
    ensure!(rows("SELECT count(*) FROM f HAVING $1 > 0", &[oid::INT4, 3802], &[text("1"), text("{}")])? == "50");
    Ok(())
}

#[derive(Debug, PartialEq)]
struct Broken(u32);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "broken {}", self.0)
    }
}

impl std::error::Error for Broken {}

#[test]
fn errors_of_inputs_come_out_as_they_are() -> Result<()> {
    let lab = lab_of(300)?;
    for sql in [
        "SELECT a FROM f",
        "SELECT a FROM f ORDER BY a LIMIT 3",
        "SELECT sum(a) FROM f",
        "SELECT b, count(*) FROM f GROUP BY b",
    ] {
        let mut streams = lab.streams(2);
        let last: Vec<Result<RecordBatch, InputError>> = vec![Ok(lab.rows[0].clone()), Err(Box::new(Broken(7)))];
        streams.push(Box::pin(tokio_stream::iter(last)));
        match lab.ours_over(sql, &[], &[], streams) {
            Ours::Failed(MergeError::Input(error)) => ensure!(error.downcast_ref() == Some(&Broken(7)), "{error:?}"),
            other => bail!("{sql}: {other:?}"),
        }
    }
    Ok(())
}

/// An endless input that tells when it is dropped.
struct Endless {
    batch: RecordBatch,
    dropped: Arc<AtomicBool>,
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::SeqCst);
    }
}

impl futures_util::Stream for Endless {
    type Item = Result<RecordBatch, InputError>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(Some(Ok(self.batch.clone())))
    }
}

fn streamed(name: &str, streams: Vec<InputStream>) -> InputRows {
    InputRows { name: name.to_owned(), streams, count: None }
}

async fn until(flag: &AtomicBool, what: &str) -> Result<()> {
    let waited = tokio::time::timeout(END_MAX, async {
        while !flag.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
    });
    waited.await.map_err(|_| anyhow::anyhow!("{what} within {END_MAX:?}"))
}

#[test]
fn rows_stream_and_inputs_end_early() -> Result<()> {
    let lab = lab_of(64)?;
    let prepared = lab.engine.check("SELECT a, b FROM f WHERE n > 10", std::slice::from_ref(&lab.input), &[])?;
    let limited = lab.engine.check("SELECT a FROM f LIMIT 100", std::slice::from_ref(&lab.input), &[])?;
    let endless = || {
        let dropped = Arc::new(AtomicBool::new(false));
        let stream: InputStream = Box::pin(Endless { batch: lab.rows[0].clone(), dropped: Arc::clone(&dropped) });
        (vec![streamed("f", vec![stream])], dropped)
    };
    lab.runtime.block_on(async {
        // Rows come although the input never ends; dropping the output drops the input.
        let (inputs, dropped) = endless();
        let mut stream = lab.engine.execute(&prepared.bind(&[])?, inputs)?;
        let first = tokio::time::timeout(END_MAX, stream.next()).await?;
        ensure!(matches!(&first, Some(Ok(batch)) if !print(batch).is_empty()), "{first:?}");
        drop(stream);
        until(&dropped, "the input of a dropped merge is dropped").await?;
        // LIMIT ends the input by itself.
        let (inputs, dropped) = endless();
        let mut stream = lab.engine.execute(&limited.bind(&[])?, inputs)?;
        let mut rows = 0;
        while let Some(batch) = tokio::time::timeout(END_MAX, stream.next()).await? {
            rows += batch?.num_rows();
        }
        ensure!(rows == 100, "{rows} rows");
        until(&dropped, "the input of a finished merge is dropped").await
    })
}

#[test]
fn large_sorts_and_groupings_spill() -> Result<()> {
    let mut lab = lab_of(2000)?;
    let options = EngineOptions { memory_bytes: 64 << 20, query_memory_bytes: 8 << 20, ..EngineOptions::default() };
    lab.engine = Engine::new(options, lab.runtime.handle().clone());
    let copies = 200;
    let rows = 2000 * copies;
    let many = |lab: &Lab| -> Vec<InputStream> {
        (0..2)
            .map(|_| {
                let batches = lab.rows.clone();
                let repeated = (0..copies / 2).flat_map(move |_| batches.clone()).map(Ok::<_, InputError>);
                Box::pin(tokio_stream::iter(repeated)) as InputStream
            })
            .collect()
    };
    let answer = match lab.ours_over("SELECT a, b, n FROM f ORDER BY b DESC, a", &[], &[], many(&lab)) {
        Ours::Answer(answer) => answer,
        other => bail!("{other:?}"),
    };
    ensure!(answer.rows.len() == rows, "{} rows", answer.rows.len());
    ensure!(answer.rows.is_sorted_by(|left, right| left[1] >= right[1]), "not sorted");
    drop(answer);
    // As many groups as rows, almost: each input row is multiplied.
    let grouped = "SELECT x, count(*) AS rows, sum(n) AS total FROM (SELECT a * 2000 + n AS x, n, b FROM f) AS q GROUP BY x, b ORDER BY x LIMIT 3000";
    match lab.ours_over(grouped, &[], &[], many(&lab)) {
        Ours::Answer(answer) => {
            ensure!(answer.rows.len() == 2000, "{} groups", answer.rows.len());
            ensure!(answer.rows.iter().all(|row| row[1].as_deref() == Some(&*copies.to_string())), "counts");
        }
        other => bail!("{other:?}"),
    }
    Ok(())
}
