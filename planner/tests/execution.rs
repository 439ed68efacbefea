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
                    shard.hashes.unwrap().from,
                    shard.hashes.unwrap().to
                );
            }
        }
    }
    cut += "DROP SCHEMA w CASCADE; DROP SCHEMA wd CASCADE;";
    psql("planner_cut", &cut).unwrap();
}

/// The positions of the shards with these keys.
fn route(
    directory: &Database,
    colocation: atoll_planner::directory::ColocationId,
    keys: &Keys,
    key_type: atoll_planner::directory::KeyType,
) -> Vec<usize> {
    let group = &directory.colocations[&colocation];
    let shards = &group.shards;
    match keys {
        Keys::All => (0..shards.len()).collect(),
        Keys::These(list) => {
            let found: BTreeSet<usize> = list
                .iter()
                .map(|source| {
                    let KeySource::Literal(text) = source else { panic!("a parameter") };
                    group.position_of(&hash::parse_text(key_type, text).unwrap())
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
        let columns: Vec<String> =
            fragment.columns.iter().map(|column| atoll_planner::quote_identifier(&column.name)).collect();
        script +=
            &format!("CREATE TEMP TABLE {} ({}) AS {};\n", fragment.name, columns.join(", "), arms.join(" UNION ALL "));
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
        query
            && !sql.contains('$')
            && !["random()", "pg_", "atoll.", "now(), ", "nextval", "app.", "DELETE", "UPDATE"]
                .iter()
                .any(|word| sql.contains(word))
    });
    list
}

/// A table's name, its key, its other integer columns.
type Shape = (&'static str, &'static str, &'static [&'static str]);

/// Random queries over the shop's tables.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // Knuth's multiplier: any sequence will do, as long as the seed gives it again.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    fn pick<'l>(&mut self, list: &[&'l str]) -> &'l str {
        list[self.roll(list.len())]
    }

    /// A table: its name, its key and its other integer columns.
    fn table(&mut self) -> Shape {
        match self.roll(8) {
            0..=2 => ("orders", "id", &["customer", "qty"]),
            3..=4 => ("items", "order_id", &["line", "qty"]),
            5 => ("sales.deals", "id", &["id"]),
            6 => ("nations", "id", &["id"]),
            _ => ("plain", "id", &["x"]),
        }
    }

    fn column(&mut self, alias: &str, table: &(&str, &str, &[&str])) -> String {
        if self.roll(3) < 2 { format!("{alias}.{}", table.1) } else { format!("{alias}.{}", self.pick(table.2)) }
    }

    fn predicate(&mut self, scope: &[(String, Shape)], depth: usize) -> String {
        let (alias, table) = scope[self.roll(scope.len())].clone();
        let column = self.column(&alias, &table);
        match self.roll(if depth > 1 { 8 } else { 13 }) {
            0 | 1 => format!("{column} = {}", self.roll(12)),
            2 => format!("{column} IN ({}, {})", self.roll(12), self.roll(12)),
            3 => format!("{column} = ANY (ARRAY[{}, {}])", self.roll(12), self.roll(12)),
            4 | 5 => {
                let (other, its) = scope[self.roll(scope.len())].clone();
                format!("{column} = {}", self.column(&other, &its))
            }
            6 => format!("{column} < {}", self.roll(60)),
            7 => format!("{column} IS NOT NULL"),
            8 => format!("({} OR {})", self.predicate(scope, depth + 1), self.predicate(scope, depth + 1)),
            9 => format!("NOT ({})", self.predicate(scope, depth + 1)),
            kind => {
                let inner = self.table();
                let name = format!("s{depth}");
                let mut inside: Vec<_> = vec![(name.clone(), inner)];
                let key = format!("{name}.{}", inner.1);
                inside.extend(scope.iter().cloned());
                let mut condition = self.predicate(&inside, depth + 1);
                if self.roll(2) == 0 {
                    condition = format!("{condition} AND {key} = {column}");
                }
                match kind {
                    10 => format!("EXISTS (SELECT 1 FROM {} {name} WHERE {condition})", inner.0),
                    11 => format!("{column} IN (SELECT {key} FROM {} {name} WHERE {condition})", inner.0),
                    _ => format!("{column} >= (SELECT min({key}) FROM {} {name} WHERE {condition})", inner.0),
                }
            }
        }
    }

    fn query(&mut self) -> String {
        let count = 1 + self.roll(3);
        let mut scope = Vec::new();
        let mut from = String::new();
        for index in 0..count {
            let table = self.table();
            let alias = format!("t{index}");
            let mut relation = format!("{} {alias}", table.0);
            if self.roll(6) == 0 {
                let others = table.2.join(", ");
                let list =
                    if table.2.contains(&table.1) { table.1.to_owned() } else { format!("{}, {others}", table.1) };
                let condition = self.predicate(&[("v".to_owned(), table)], 2);
                relation = match self.roll(3) {
                    0 => format!("(SELECT {list} FROM {} v WHERE {condition}) {alias}", table.0),
                    1 => format!("(SELECT {list} FROM {} v GROUP BY {list}) {alias}", table.0),
                    _ => format!("(SELECT {list} FROM {} v ORDER BY {list} LIMIT 9) {alias}", table.0),
                };
            }
            scope.push((alias, table));
            if index == 0 {
                from = relation;
                continue;
            }
            let join = self.pick(&["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
            let other = scope[self.roll(index)].clone();
            let own = &scope[index];
            let mut condition = format!("{}.{} = {}.{}", own.0, own.1.1, other.0, other.1.1);
            match self.roll(5) {
                // FULL JOIN needs conditions that PostgreSQL can merge or hash.
                0 if join != "FULL JOIN" => condition = self.predicate(&scope, 2),
                1 if join != "FULL JOIN" => condition = format!("{condition} AND {}", self.predicate(&scope, 2)),
                _ => {}
            }
            from = format!("{from} {join} {relation} ON {condition}");
        }
        let mut conditions: Vec<String> = (0..self.roll(4)).map(|_| self.predicate(&scope, 0)).collect();
        if self.roll(2) == 0 {
            let (alias, table) = scope[self.roll(scope.len())].clone();
            conditions.push(format!("{alias}.{} = {}", table.1, self.roll(12)));
        }
        let filter = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        let columns: Vec<String> = scope.clone().iter().map(|(alias, table)| self.column(alias, table)).collect();
        let list = columns.join(", ");
        match self.roll(7) {
            0 => format!("SELECT count(*), sum({0}), avg({0}), min({0}) FROM {from}{filter}", columns[0]),
            1 => format!(
                "SELECT {0} AS g, count(*), count(DISTINCT {1}) FROM {from}{filter} GROUP BY {0}",
                columns[0],
                columns[count - 1]
            ),
            2 => format!("SELECT DISTINCT {list} FROM {from}{filter}"),
            3 => {
                let order: Vec<String> = (1..=columns.len()).map(|position| position.to_string()).collect();
                format!("SELECT {list} FROM {from}{filter} ORDER BY {} LIMIT 7", order.join(" DESC NULLS LAST, "))
            }
            4 => format!(
                "WITH c AS (SELECT {} AS k, {} AS v FROM {from}{filter}) SELECT * FROM c WHERE k = {} OR k IS NULL",
                columns[0],
                columns[count - 1],
                self.roll(12)
            ),
            5 => format!(
                "WITH c AS (SELECT {} AS k FROM {from}{filter}) SELECT c.k, o.qty FROM c JOIN orders o ON o.id = c.k WHERE c.k = {}",
                columns[0],
                self.roll(12)
            ),
            _ => format!("SELECT {list} FROM {from}{filter}"),
        }
    }
}

#[test]
#[ignore = "needs a scratch PostgreSQL in ATOLL_PSQL"]
fn random_plans_give_what_one_postgresql_gives() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let rounds: usize = std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(300);
    let fixture = Fixture::new();
    let mut dice = Dice(seed);
    set_up(&fixture.directory);
    let statements: Vec<String> = (0..rounds).map(|_| dice.query()).collect();
    compare(&fixture, &statements, true);
}

#[test]
#[ignore = "needs a scratch PostgreSQL in ATOLL_PSQL"]
fn plans_give_what_one_postgresql_gives() {
    let fixture = Fixture::new();
    set_up(&fixture.directory);
    compare(&fixture, &statements(), false);
}

/// With `sorted`, the order of rows does not count, whatever the statement says.
fn compare(fixture: &Fixture, statements: &[String], sorted: bool) {
    let facts = Facts {
        directory: &fixture.directory,
        catalog: &fixture.catalog,
        search_path: &fixture.search_path,
        views: &fixture.views,
    };
    let mut failures = Vec::new();
    let mut compared = 0;
    let (mut single, mut islands, mut errors, mut filled) = (0, 0, 0, 0);
    for sql in statements {
        let planned = plan(sql, &facts);
        let mut runs = Vec::new();
        match &planned {
            Plan::Sharded(sharded) => {
                let shards = &fixture.directory.colocations[&sharded.colocation].shards;
                let left = route(&fixture.directory, sharded.colocation, &sharded.keys, sharded.key_type);
                if let [only] = left.as_slice() {
                    let id = shards[*only].id;
                    single += 1;
                    runs.push((
                        format!("SET search_path = {}, public;", id.schema("public")),
                        sharded.single.render(id),
                    ));
                }
                if let Many::Merge(merge) = &sharded.many {
                    islands += usize::from(merge.fragments[0].name == "f");
                    runs.push(merge_script(&fixture.directory, merge));
                }
            }
            Plan::Gather(gather) => runs.push(merge_script(&fixture.directory, &gather.merge)),
            _ => continue,
        }
        let expected = answer("planner_whole", "", sql);
        for (prelude, text) in runs {
            compared += 1;
            let mut given = answer("planner_cut", &prelude, &text);
            let mut wanted = expected.clone();
            if sorted || !sql.contains("ORDER BY") || sql.contains("OVER") {
                for (rows, _) in [&mut given, &mut wanted].into_iter().flatten() {
                    rows.sort();
                }
            }
            match (&wanted, &given) {
                (Ok(wanted), Ok(given)) if wanted == given => filled += usize::from(wanted.0.len() > 1),
                (Err(_), Err(_)) => errors += 1,
                _ => failures.push(format!("{sql}\n  {prelude}\n  {text}\n  wanted {wanted:?}\n  given  {given:?}")),
            }
        }
    }
    assert!(failures.is_empty(), "{} of {compared}:\n{}", failures.len(), failures.join("\n"));
    println!(
        "{compared} runs agreed: {single} on one shard, {islands} of one island; {filled} with rows, {errors} with errors"
    );
}
