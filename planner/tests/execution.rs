//! Plans carried out on a real PostgreSQL, shard by shard, against the same statement on whole tables: rows, column names and types.
//!
//! Needs a scratch server: `ATOLL_PSQL="-h /tmp -p 5432 -U postgres" cargo test --test execution -- --ignored`. It makes the
//! databases `planner_whole` and `planner_cut` there.

mod fixture;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use atoll_planner::directory::{Database, Table};
use atoll_planner::hash;
use atoll_planner::plan::{Fragment, KeySource, Keys, Many, Merge, Plan};
use atoll_planner::{Facts, plan};
use fixture::Fixture;

fn psql(database: &str, script: &str) -> Result<String, String> {
    let arguments = std::env::var("ATOLL_PSQL").expect("ATOLL_PSQL");
    let mut child = Command::new("psql")
        .args(arguments.split_whitespace())
        .args(["-X", "-q", "-A", "-P", "null=<null>", "-v", "ON_ERROR_STOP=1", "-d", database])
        // Sums of floats depend on the order of addition in their last digits.
        .env("PGOPTIONS", "-c extra_float_digits=-3")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

const TABLES: &str = "
    CREATE TABLE {s}orders (id bigint PRIMARY KEY, customer bigint, total numeric(15,2), status text, placed date, qty int, ratio float8);
    CREATE TABLE {s}items (order_id bigint NOT NULL, line int, price numeric, qty int, note text);
    CREATE TABLE {s}tenants (name text PRIMARY KEY, plan text, created timestamptz DEFAULT now());
    CREATE TABLE {s}codes (code varchar(10) PRIMARY KEY, label text);";
const DEALS: &str = "CREATE TABLE {s}deals (id bigint PRIMARY KEY, amount numeric);";
const OTHERS: &str = "
    CREATE TABLE nations (id int PRIMARY KEY, name text);
    CREATE TABLE rates (id serial, rate numeric, at timestamptz DEFAULT now());
    CREATE TABLE plain (id bigint PRIMARY KEY, x int, name text);
    CREATE FUNCTION pure(x int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT x * 2';
    CREATE SEQUENCE s;
    INSERT INTO nations SELECT i, 'nation ' || i FROM generate_series(1, 8) i;
    INSERT INTO plain SELECT i, i % 5, CASE WHEN i % 3 = 0 THEN 'x' ELSE 'y' END FROM generate_series(1, 30) i;";
const ROWS: &str = "
    INSERT INTO {w}orders SELECT i, nullif(i % 17, 3), (i * 37 % 1000) / 10.0, (ARRAY['x', 'y', 'Z', NULL])[i % 4 + 1],
        date '2020-01-01' + i % 100, nullif(i % 11, 7), i / 7.0 FROM generate_series(1, 120) i;
    INSERT INTO {w}items SELECT i % 130 + 1, i / 130, (i * 13 % 700) / 100.0, i % 9, 'note ' || i FROM generate_series(1, 300) i;
    INSERT INTO {w}tenants SELECT 'tenant ' || i, (ARRAY['x', 'y', NULL])[i % 3 + 1], '2020-01-01 00:00:00+00' FROM generate_series(1, 20) i;
    INSERT INTO {w}codes SELECT 'tenant ' || i, 'label ' || i FROM generate_series(5, 12) i;
    INSERT INTO {d}deals SELECT i, i * 3 FROM generate_series(1, 60) i;";

fn set_up(directory: &Database) {
    for name in ["planner_whole", "planner_cut"] {
        psql("postgres", &format!("DROP DATABASE IF EXISTS {name};")).unwrap();
        psql("postgres", &format!("CREATE DATABASE {name};")).unwrap();
    }
    let whole = format!(
        "CREATE SCHEMA sales; {} {} {OTHERS} {}",
        TABLES.replace("{s}", ""),
        DEALS.replace("{s}", "sales."),
        ROWS.replace("{w}", "").replace("{d}", "sales.")
    );
    psql("planner_whole", &whole).unwrap();
    let mut cut = format!(
        "CREATE SCHEMA w; CREATE SCHEMA wd; {} {} {OTHERS} {}",
        TABLES.replace("{s}", "w."),
        DEALS.replace("{s}", "wd."),
        ROWS.replace("{w}", "w.").replace("{d}", "wd.")
    );
    for (id, colocation) in &directory.colocations {
        for shard in &colocation.shards {
            let (slice, sales) = (shard.id.schema("public"), shard.id.schema("sales"));
            cut += &format!("CREATE SCHEMA {slice}; CREATE SCHEMA {sales};");
            cut += &TABLES.replace("{s}", &format!("{slice}."));
            cut += &DEALS.replace("{s}", &format!("{sales}."));
            for (name, table) in &directory.tables {
                let Table::Distributed { colocation: own, key } = table else { continue };
                let stored = matches!(name.name.as_str(), "orders" | "items" | "tenants" | "codes" | "deals");
                if own != id || !stored {
                    continue;
                }
                let (from, to) = if name.schema == "sales" { ("wd", &sales) } else { ("w", &slice) };
                let table = &name.name;
                cut += &format!(
                    "INSERT INTO {to}.{table} SELECT * FROM {from}.{table} WHERE {} BETWEEN ({}) AND ({});",
                    hash::sql_hash(key.key_type, &key.name),
                    shard.hash_from,
                    shard.hash_to
                );
            }
        }
    }
    cut += "DROP SCHEMA w CASCADE; DROP SCHEMA wd CASCADE;";
    psql("planner_cut", &cut).unwrap();
}

/// The positions of the shards with these keys.
fn route(directory: &Database, colocation: atoll_planner::directory::ColocationId, keys: &Keys, key_type: atoll_planner::directory::KeyType) -> Vec<usize> {
    let shards = &directory.colocations[&colocation].shards;
    match keys {
        Keys::All => (0..shards.len()).collect(),
        Keys::These(list) => {
            let found: BTreeSet<usize> = list
                .iter()
                .map(|source| {
                    let KeySource::Literal(text) = source else { panic!("a parameter") };
                    let hash = hash::hash(&hash::parse_text(key_type, text).unwrap());
                    shards.iter().position(|shard| (shard.hash_from..=shard.hash_to).contains(&hash)).unwrap()
                })
                .collect();
            if found.is_empty() { vec![0] } else { found.into_iter().collect() }
        }
    }
}

fn key_type(directory: &Database, fragment: &Fragment) -> atoll_planner::directory::KeyType {
    directory.colocations[&fragment.colocation].key_type.unwrap()
}

fn merge_script(directory: &Database, merge: &Merge) -> (String, String) {
    let mut script = String::new();
    for fragment in &merge.fragments {
        let shards = &directory.colocations[&fragment.colocation].shards;
        let arms: Vec<String> = route(directory, fragment.colocation, &fragment.keys, key_type(directory, fragment))
            .into_iter()
            .map(|index| fragment.arm.render(shards[index].id))
            .collect();
        let columns: Vec<String> = fragment.columns.iter().map(|column| atoll_planner::quote_identifier(&column.name)).collect();
        script += &format!(
            "CREATE TEMP TABLE {} ({}) AS {};\n",
            fragment.name,
            columns.join(", "),
            arms.join(" UNION ALL ")
        );
    }
    (script, merge.sql.clone())
}

/// Rows, and the columns' names and types.
fn answer(database: &str, prelude: &str, sql: &str) -> Result<(Vec<String>, String), String> {
    let rows = psql(database, &format!("{prelude}{sql};"))?;
    let described = psql(database, &format!("{prelude}{sql} \\gdesc"))?;
    let mut rows: Vec<String> = rows.lines().map(str::to_owned).collect();
    rows.retain(|row| !row.ends_with(" rows)") && row != "(1 row)");
    Ok((rows, described))
}

fn statements() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut list = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(path).unwrap();
        list.extend(text.lines().filter_map(|line| line.strip_prefix("> ")).map(str::to_owned));
    }
    list.retain(|sql| {
        let query = ["SELECT", "WITH", "TABLE", "VALUES"].iter().any(|word| sql.starts_with(word));
        query && !sql.contains('$') && !["random()", "pg_", "atoll.", "now(), ", "nextval", "app.", "DELETE", "UPDATE"].iter().any(|word| sql.contains(word))
    });
    list
}

#[test]
#[ignore = "needs a scratch PostgreSQL in ATOLL_PSQL"]
fn plans_give_what_one_postgresql_gives() {
    let fixture = Fixture::new();
    let facts = Facts { directory: &fixture.directory, catalog: &fixture.catalog, search_path: &fixture.search_path };
    set_up(&fixture.directory);
    let mut failures = Vec::new();
    let mut compared = 0;
    for sql in statements() {
        let planned = plan(&sql, &facts);
        let mut runs = Vec::new();
        match &planned {
            Plan::Sharded(sharded) => {
                let shards = &fixture.directory.colocations[&sharded.colocation].shards;
                let left = route(&fixture.directory, sharded.colocation, &sharded.keys, sharded.key_type);
                if let [only] = left.as_slice() {
                    let id = shards[*only].id;
                    runs.push((format!("SET search_path = {}, public;", id.schema("public")), sharded.single.render(id)));
                }
                if let Many::Merge(merge) = &sharded.many {
                    runs.push(merge_script(&fixture.directory, merge));
                }
            }
            Plan::Gather(gather) => runs.push(merge_script(&fixture.directory, &gather.merge)),
            _ => continue,
        }
        let expected = answer("planner_whole", "", &sql);
        for (prelude, text) in runs {
            compared += 1;
            let mut given = answer("planner_cut", &prelude, &text);
            let mut wanted = expected.clone();
            if !sql.contains("ORDER BY") || sql.contains("OVER") {
                for (rows, _) in [&mut given, &mut wanted].into_iter().flatten() {
                    rows.sort();
                }
            }
            match (&wanted, &given) {
                (Ok(wanted), Ok(given)) if wanted == given => {}
                (Err(_), Err(_)) => {}
                _ => failures.push(format!("{sql}\n  {prelude}\n  {text}\n  wanted {wanted:?}\n  given  {given:?}")),
            }
        }
    }
    assert!(failures.is_empty(), "{} of {compared}:\n{}", failures.len(), failures.join("\n"));
    println!("{compared} runs agreed");
}
