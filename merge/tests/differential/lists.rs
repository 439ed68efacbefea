//! Every entry of the verified list.

use anyhow::{Context as _, Result, ensure};
use atoll_merge::arrow::array::RecordBatch;
use atoll_merge::verified::{AGGREGATES, ARITHMETIC, CASTS, COMPARISONS, FUNCTIONS, ORDERED};
use atoll_merge::{InputStream, MergeError, PgType};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::lab::{Lab, Ours, TextRow};
use crate::values::{self, pairs, singles};

fn random(seed: u64) -> StdRng {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(seed);
    println!("SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// `expression` over each row of `f` on its own, errors included.
fn compare_each(lab: &mut Lab, arguments: &[(&str, &str)], expression: &str) -> Result<()> {
    let declared: Vec<String> = arguments.iter().map(|(name, ty)| format!("{name} {ty}")).collect();
    let names: Vec<&str> = arguments.iter().map(|(name, _)| *name).collect();
    lab.sql(&format!(
        "CREATE OR REPLACE FUNCTION pg_temp.attempt({}) RETURNS text LANGUAGE plpgsql AS $$
         DECLARE state text; said text; why text;
         BEGIN RETURN ({expression})::text;
         EXCEPTION WHEN OTHERS THEN
           GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, said = MESSAGE_TEXT, why = PG_EXCEPTION_DETAIL;
           RETURN state || ' ' || said || ' ' || why;
         END $$",
        declared.join(", ")
    ))?;
    let theirs = lab.sql(&format!("SELECT pg_temp.attempt({}) FROM f ORDER BY n", names.join(", ")))?;
    lab.sql(&format!("DROP FUNCTION pg_temp.attempt({})", declared.join(", ")))?;
    let sql = format!("SELECT {expression} AS x FROM f");
    let mut row = 0;
    for batch in lab.rows.clone() {
        for index in 0..batch.num_rows() {
            let one: Vec<Result<RecordBatch, _>> = vec![Ok(batch.slice(index, 1))];
            let stream: InputStream = Box::pin(tokio_stream::iter(one));
            let ours = match lab.ours_over(&sql, &[], &[], vec![stream]) {
                Ours::Answer(answer) => answer.rows.into_iter().flatten().next().context("no row")?,
                Ours::Failed(MergeError::Sql(error)) => {
                    Some(format!("{} {} {}", error.sqlstate, error.message, error.detail.unwrap_or_default()))
                }
                other => anyhow::bail!("{other:?} in {sql}"),
            };
            let theirs = &theirs[row][0];
            if ours != *theirs {
                let inputs = lab.sql(&format!("SELECT * FROM f WHERE n = {row}"))?;
                anyhow::bail!("{expression} of {inputs:?}:\n  ours   {ours:?}\n  theirs {theirs:?}");
            }
            row += 1;
        }
    }
    ensure!(row == theirs.len(), "{row} rows, theirs {}", theirs.len());
    Ok(())
}

fn type_name(ty: PgType) -> &'static str {
    match ty {
        PgType::Bpchar => "bpchar",
        other => other.name(),
    }
}

#[test]
fn arithmetic() -> Result<()> {
    let mut lab = Lab::start()?;
    let mut random = random(1);
    let mut loaded = None;
    for operator in ARITHMETIC {
        let ty = operator.operands;
        let name = type_name(ty);
        if loaded != Some(ty) {
            let mut rows = pairs(ty, &mut random);
            rows.dedup();
            lab.load(&[&format!("a {name}"), &format!("b {name}")], &rows)?;
            loaded = Some(ty);
        }
        compare_each(&mut lab, &[("a", name), ("b", name)], &format!("a {} b", operator.symbol))?;
    }
    Ok(())
}

#[test]
fn mixed_numbers() -> Result<()> {
    use PgType::{Float4, Float8, Int2, Int4, Int8, Numeric};
    let mut lab = Lab::start()?;
    let mut random = random(2);
    let numbers = [Int2, Int4, Int8, Numeric, Float4, Float8];
    for left in numbers {
        for right in numbers.into_iter().filter(|right| *right != left) {
            let rows: Vec<TextRow> =
                (0..40).map(|_| vec![values::any(left, &mut random), values::any(right, &mut random)]).collect();
            let (left, right) = (type_name(left), type_name(right));
            lab.load(&[&format!("a {left}"), &format!("b {right}")], &rows)?;
            let arguments = [("a", left), ("b", right)];
            compare_each(&mut lab, &arguments, "a + b")?;
            compare_each(&mut lab, &arguments, "a / b")?;
            lab.compare(
                "SELECT a < b AS l, a = b AS e, a >= b AS g, a IS DISTINCT FROM b AS d, n FROM f ORDER BY n",
                1,
                true,
            )?;
            lab.compare("SELECT nullif(a, b) AS x, nullif(b, a) AS y, a IN (1, 2) AS z, n FROM f ORDER BY n", 1, true)?;
            let choice = "SELECT coalesce(a, b) AS x, CASE WHEN n % 2 = 0 THEN a ELSE b END AS y, n FROM f ORDER BY n";
            lab.compare(choice, 1, true)?;
        }
    }
    Ok(())
}

#[test]
fn casts_and_functions() -> Result<()> {
    let mut lab = Lab::start()?;
    let mut random = random(3);
    for cast in CASTS {
        let (from, to) = (type_name(cast.from), type_name(cast.to));
        lab.load(&[&format!("a {from}")], &singles(cast.from, &mut random))?;
        compare_each(&mut lab, &[("a", from)], &format!("a::{to}"))?;
    }
    lab.load(&["a numeric"], &singles(PgType::Numeric, &mut random))?;
    for modifier in ["10,2", "5", "3,3", "40,20", "2,-2", "3,5"] {
        compare_each(&mut lab, &[("a", "numeric")], &format!("a::numeric({modifier})"))?;
    }
    for function in FUNCTIONS {
        let columns: Vec<(&str, &str)> =
            ["a", "b"].into_iter().zip(function.arguments.iter().map(|ty| type_name(*ty))).collect();
        let mut rows = singles(function.arguments[0], &mut random);
        if function.arguments.len() == 2 {
            let scales = ["0", "2", "-2", "20", "2100", "-5000", "1"];
            for (index, row) in rows.iter_mut().enumerate() {
                row.push(Some(scales[index % scales.len()].to_owned()));
            }
        }
        let declared: Vec<String> = columns.iter().map(|(name, ty)| format!("{name} {ty}")).collect();
        lab.load(&declared.iter().map(String::as_str).collect::<Vec<_>>(), &rows)?;
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        compare_each(&mut lab, &columns, &format!("{}({})", function.name, names.join(", ")))?;
    }
    Ok(())
}

#[test]
fn comparisons_and_order() -> Result<()> {
    let mut lab = Lab::start()?;
    let mut random = random(4);
    for ty in ORDERED.iter().copied() {
        let name = type_name(ty);
        lab.load(&[&format!("a {name}"), &format!("b {name}")], &pairs(ty, &mut random))?;
        let compared: Vec<String> =
            COMPARISONS.iter().enumerate().map(|(index, op)| format!("a {op} b AS c{index}")).collect();
        lab.compare(&format!("SELECT {}, n FROM f ORDER BY n", compared.join(", ")), 2, true)?;
        lab.compare("SELECT a IS DISTINCT FROM b AS x, a IS NOT DISTINCT FROM b AS y, a BETWEEN b AND a AS z, n FROM f ORDER BY n", 1, true)?;
        lab.compare("SELECT nullif(a, b) AS x, a IN (b, b) AS y, a IS NULL AS z, n FROM f ORDER BY n", 1, true)?;
        for order in ["", "DESC", "NULLS FIRST", "DESC NULLS LAST"] {
            for limit in ["", "LIMIT 7", "LIMIT 10 OFFSET 3", "OFFSET 5", "LIMIT 0"] {
                lab.compare(&format!("SELECT a, b, n FROM f ORDER BY a {order}, b {order}, n {limit}"), 3, true)?;
            }
        }
        // One partition: of equal values the first is shown, in both engines.
        lab.sql("SET enable_sort = off; SET enable_hashagg = on")?;
        lab.compare("SELECT a, count(*) AS rows, sum(n) AS total, min(n), max(n) FROM f GROUP BY a", 1, false)?;
        lab.compare("SELECT a, b, count(b) FROM f GROUP BY 1, 2", 1, false)?;
        lab.compare("SELECT DISTINCT a FROM f", 1, false)?;
        lab.compare("SELECT DISTINCT a, b IS NULL AS missing FROM f", 1, false)?;
        lab.sql("RESET enable_sort")?;
        // Several partitions: the number of groups and their counts, whatever is shown.
        lab.compare("SELECT count(*) AS rows, sum(n) AS total FROM f GROUP BY a, b ORDER BY total, rows", 3, true)?;
        lab.compare("SELECT count(DISTINCT a), count(DISTINCT a) + 1, count(b) FROM f", 3, true)?;
        lab.compare("SELECT n % 6, count(DISTINCT a), sum(n), min(n), count(*) FROM f GROUP BY 1 ORDER BY 1", 3, true)?;
    }
    Ok(())
}

#[test]
fn aggregates() -> Result<()> {
    let mut lab = Lab::start()?;
    let mut random = random(5);
    for aggregate in AGGREGATES {
        let (ty, name) = (aggregate.argument, aggregate.name);
        let column = format!("a {}", type_name(ty));
        let query = |group: &str| {
            format!("SELECT {group}{name}(a) AS x, {name}(a) FILTER (WHERE n % 3 = 0) AS y, count(a) AS z FROM f")
        };
        // Edges, which overflow; ordinary values, which do not; nothing but NULL; nothing.
        let nothing: Vec<TextRow> = Vec::new();
        let ordinary: Vec<TextRow> = (0..200).map(|_| vec![Some(values::ordinary(ty, &mut random))]).collect();
        // DISTINCT: of equal values that look different PostgreSQL keeps any, too.
        if !matches!(ty, PgType::Float4 | PgType::Float8 | PgType::Bpchar) {
            lab.load(&[&column], &ordinary.iter().chain(&ordinary).cloned().collect::<Vec<_>>())?;
            let distinct =
                format!("{name}(DISTINCT a) AS x, count(DISTINCT a) AS y, count(*) AS z, sum(n) AS s, max(n) AS m");
            lab.compare(&format!("SELECT {distinct} FROM f"), 3, true)?;
            lab.compare(&format!("SELECT n % 5 AS g, {distinct} FROM f GROUP BY g ORDER BY g"), 3, true)?;
        }
        for rows in [singles(ty, &mut random), ordinary, vec![vec![None]], nothing] {
            lab.load(&[&column], &rows)?;
            lab.compare(&query(""), 1, true)?;
            lab.compare(&format!("{} GROUP BY g ORDER BY g", query("n % 5 AS g, ")), 1, true)?;
            lab.compare(&format!("{} GROUP BY g HAVING count(*) > 1 ORDER BY g DESC", query("n % 7 AS g, ")), 1, true)?;
            let depends_on_order = matches!(ty, PgType::Float4 | PgType::Float8 | PgType::Numeric | PgType::Bpchar);
            if !depends_on_order {
                lab.compare(&query(""), 3, true)?;
                lab.compare(&format!("{} GROUP BY g ORDER BY g", query("n % 5 AS g, ")), 3, true)?;
            }
        }
    }
    Ok(())
}
