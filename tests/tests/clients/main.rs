//! Real clients: psql, pgbench, pg_dump and tokio-postgres, against plain PostgreSQL and a cluster, whose answers must be equal.

use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use atoll_tests::Target;
use atoll_tests::client::Client;
use atoll_tests::cluster::{ClusterOptions, run_within, shown};
use atoll_tests::plain::{PlainServer, bindir};
use atoll_tests::servers::{LazyPair, Pair};
use libtest_mimic::{Arguments, Failed, Trial};

mod driver;

const COMMAND_MAX: Duration = Duration::from_secs(120);
const MODES: [&str; 3] = ["simple", "extended", "prepared"];

/// Objects of every kind, for introspection and dumps.
const SCHEMA: &str = "
CREATE SCHEMA shop;
CREATE TYPE shop.state AS ENUM ('open', 'paid', 'sent');
CREATE DOMAIN shop.email AS text CHECK (VALUE ~ '@');
CREATE TABLE shop.customers (id int8 PRIMARY KEY, name text NOT NULL, email shop.email, since date DEFAULT '2020-01-01');
CREATE TABLE shop.orders (id int8, customer_id int8 NOT NULL, state shop.state DEFAULT 'open',
    total numeric(10,2) CHECK (total >= 0), note text, PRIMARY KEY (customer_id, id));
CREATE INDEX orders_state ON shop.orders (state) WHERE state <> 'sent';
CREATE TABLE shop.countries (code char(2) PRIMARY KEY, name text UNIQUE);
CREATE TABLE shop.settings (id serial PRIMARY KEY, name text, value jsonb);
CREATE VIEW shop.unpaid AS SELECT id, customer_id, total FROM shop.orders WHERE state = 'open';
CREATE FUNCTION shop.twice(x int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT x * 2';
CREATE PROCEDURE shop.nothing() LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
CREATE SEQUENCE shop.numbers START 100;
COMMENT ON TABLE shop.orders IS 'what customers ordered';
COMMENT ON COLUMN shop.orders.note IS 'free text';
INSERT INTO shop.countries VALUES ('DE', 'Germany'), ('JP', 'Japan');
INSERT INTO shop.customers SELECT i, 'name ' || i, i || '@x' FROM generate_series(1, 50) i;
INSERT INTO shop.orders SELECT i, i % 50 + 1, (ARRAY['open', 'paid', 'sent'])[i % 3 + 1]::shop.state, i FROM generate_series(1, 200) i;
";
const DISTRIBUTE: [&str; 3] = [
    "SELECT create_reference_table('shop.countries')",
    "SELECT create_distributed_table('shop.customers', 'id')",
    "SELECT create_distributed_table('shop.orders', 'customer_id')",
];

/// Added once both of its tables are distributed by its columns.
const FOREIGN_KEY: &str =
    "ALTER TABLE shop.orders ADD FOREIGN KEY (customer_id) REFERENCES shop.customers ON DELETE CASCADE";

/// What psql is asked; its output must be the same, byte by byte.
const PSQL: &[(&str, &str)] = &[
    ("d", r"\d shop.*"),
    ("d_table", r"\d shop.orders"),
    ("d_plus", r"\d+ shop.orders"),
    ("d_view", r"\d+ shop.unpaid"),
    ("d_type", r"\dT+ shop.*"),
    ("dn", r"\dn"),
    ("dn_plus", r"\dn+"),
    ("df", r"\df shop.*"),
    ("df_plus", r"\df+ shop.*"),
    ("di", r"\di shop.*"),
    ("ds", r"\ds shop.*"),
    ("dv", r"\dv shop.*"),
    ("dt", r"\dt shop.*"),
    ("dp", r"\dp shop.*"),
    ("dD", r"\dD shop.*"),
    ("du", r"\du"),
    ("dx", r"\dx"),
    ("sf", r"\sf shop.twice"),
    ("sv", r"\sv shop.unpaid"),
    ("l", r"\l"),
    ("gdesc", "SELECT id, total, state FROM shop.orders WHERE customer_id = 5 \\gdesc"),
    ("gdesc_aggregate", "SELECT count(*), sum(total) AS s FROM shop.orders \\gdesc"),
    ("gset", "SELECT 42 AS answer \\gset\nSELECT :answer;"),
    ("gexec", "SELECT 'SELECT ' || i FROM generate_series(1, 3) i \\gexec"),
    ("crosstabview", "SELECT state, id % 2, count(*) FROM shop.orders GROUP BY 1, 2 ORDER BY 1, 2 \\crosstabview"),
    ("expanded", "\\x\nSELECT * FROM shop.orders WHERE customer_id = 7 ORDER BY id;"),
    ("copy_out", "\\copy (SELECT * FROM shop.customers ORDER BY id LIMIT 5) TO STDOUT CSV HEADER"),
    (
        "copy_in",
        "\\copy shop.customers (id, name) FROM STDIN\n1001\tx\n1002\ty\n\\.\nDELETE FROM shop.customers WHERE id > 1000 RETURNING id, name;",
    ),
    ("errors", "SELECT nope;\n\\errverbose"),
    (
        "transaction",
        "BEGIN;\nUPDATE shop.orders SET note = 'x' WHERE customer_id = 3;\nSELECT count(*) FROM shop.orders WHERE note = 'x';\nROLLBACK;\nSELECT count(*) FROM shop.orders WHERE note = 'x';",
    ),
    ("on_error_rollback", "\\set ON_ERROR_ROLLBACK on\nBEGIN;\nSELECT 1/0;\nSELECT 'still here';\nCOMMIT;"),
    ("autocommit_off", "\\set AUTOCOMMIT off\nSELECT count(*) FROM shop.orders;\nROLLBACK;"),
    (
        "fetch_count",
        "\\set FETCH_COUNT 7\nSELECT id FROM shop.orders WHERE customer_id = 3 ORDER BY id;\nSELECT * FROM shop.countries ORDER BY code;",
    ),
    ("watch", "SELECT 'watched' \\watch i"),
    (
        "large_objects",
        "\\set QUIET on\n\\lo_import /etc/passwd 'some file'\nSELECT length(lo_get(:LASTOID)) > 0;\n\\lo_export :LASTOID /dev/null\n\
         BEGIN;\n\\lo_unlink :LASTOID\nROLLBACK;\nSELECT length(lo_get(:LASTOID)) > 0;\n\\lo_unlink :LASTOID",
    ),
    ("conninfo_encoding", "\\encoding\nSHOW server_version;"),
];

type Test = fn(&Pair) -> Result<()>;

const TESTS: &[(&str, Test)] = &[
    ("psql/dt_plus", psql_dt_plus),
    ("pg_dump/schema", pg_dump_schema),
    ("pg_dump/restored", pg_dump_restored),
    ("driver/typed", |pair| driver::compare(pair, driver::typed)),
    ("driver/transactions", |pair| driver::compare(pair, driver::transactions)),
    ("driver/copy", |pair| driver::compare(pair, driver::copy)),
    ("driver/prepared", |pair| driver::compare(pair, driver::prepared)),
    ("driver/pipelined", |pair| driver::compare(pair, driver::pipelined)),
    ("driver/streamed", |pair| driver::compare(pair, driver::streamed)),
    ("driver/errors", |pair| driver::compare(pair, driver::errors)),
    ("driver/sequences", |pair| alone(|| driver::compare(pair, driver::sequences))),
    ("driver/many_clients", |pair| alone(|| driver::compare(pair, driver::many_clients))),
];

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let lazy = LazyPair::new(ClusterOptions::new(2, 4));
    let prepared: Arc<Mutex<Option<bool>>> = Arc::default();
    let get = {
        let lazy = lazy.clone();
        move || -> Result<Arc<Pair>> {
            let pair = lazy.get()?;
            let mut prepared = prepared.lock().unwrap_or_else(PoisonError::into_inner);
            if prepared.is_none() {
                *prepared = Some(false);
                set_up(&pair)?;
                *prepared = Some(true);
            }
            ensure!(*prepared == Some(true), "the set-up failed in another test");
            Ok(pair)
        }
    };
    let mut trials = Vec::new();
    for (name, input) in PSQL {
        let get = get.clone();
        trials.push(Trial::test(format!("psql/{name}"), move || verdict(|| psql_equal(&*get()?, input))));
    }
    for (name, test) in TESTS {
        let get = get.clone();
        let test = *test;
        trials.push(Trial::test((*name).to_owned(), move || verdict(|| test(&*get()?))));
    }
    let get_pgbench = get.clone();
    trials.push(Trial::test("pgbench", move || verdict(|| alone(|| pgbench(&*get_pgbench()?)))));
    let conclusion = libtest_mimic::run(&arguments, trials);
    lazy.stop();
    Ok(conclusion.exit_code())
}

/// Runs a test that needs many backends, or needs that others leave it some: `currval()` is known only as long as a pool has backends to spare.
fn alone(test: impl FnOnce() -> Result<()>) -> Result<()> {
    static CROWD: Mutex<()> = Mutex::new(());
    let _one = CROWD.lock().unwrap_or_else(PoisonError::into_inner);
    test()
}

fn verdict(run: impl FnOnce() -> Result<()>) -> Result<(), Failed> {
    run().map_err(|error| Failed::from(format!("{error:#}")))
}

fn set_up(pair: &Pair) -> Result<()> {
    for target in [pair.plain.target(), pair.subject.target()] {
        execute(target, SCHEMA)?;
    }
    if pair.subject.cluster().is_some() {
        DISTRIBUTE.iter().try_for_each(|sql| execute(pair.subject.target(), sql))?;
    }
    [pair.plain.target(), pair.subject.target()].into_iter().try_for_each(|target| execute(target, FOREIGN_KEY))
}

/// Runs statements of which none may fail.
fn execute(target: &Target, sql: &str) -> Result<()> {
    match Client::connect(target, "app")?.simple(sql)?.error {
        Some(error) => bail!("{}: {sql}: {error}", target.label),
        None => Ok(()),
    }
}

/// What psql prints (both streams) for an input on its standard input.
fn psql(target: &Target, input: &str) -> Result<String> {
    let mut file = tempfile::tempfile()?;
    file.write_all(input.replace("\\watch i", "\\watch 0.1").as_bytes())?;
    std::io::Seek::rewind(&mut file)?;
    let mut command = Command::new(bindir()?.join("psql"));
    command.args(["-X", "-a", "-v", "VERBOSITY=default", "-d", &target.conninfo()]).stdin(Stdio::from(file));
    command.env("PGTZ", "UTC").env_remove("PGOPTIONS");
    let output = if input.contains("\\watch") { watch(command)? } else { command.output()? };
    let text = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)].concat();
    Ok(text.replace(&target.port.to_string(), "PORT"))
}

/// `\watch` goes on until it is interrupted; what matters is that it shows the answer more than once.
fn watch(mut command: Command) -> Result<std::process::Output> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdout = child.stdout.take().context("no stdout")?;
    let mut seen = Vec::new();
    let mut chunk = [0_u8; 512];
    while seen.windows(7).filter(|window| window == b"(1 row)").count() < 3 {
        let count = std::io::Read::read(&mut stdout, &mut chunk)?;
        ensure!(count > 0, "psql ended early: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&chunk[..count]);
    }
    child.kill()?;
    let status = child.wait()?;
    Ok(std::process::Output { status, stdout: b"watched three times".to_vec(), stderr: Vec::new() })
}

fn psql_equal(pair: &Pair, input: &str) -> Result<()> {
    equal(&psql(pair.plain.target(), input)?, &psql(pair.subject.target(), input)?)
}

fn equal(plain: &str, subject: &str) -> Result<()> {
    if plain == subject {
        return Ok(());
    }
    let (left, right): (Vec<&str>, Vec<&str>) = (plain.lines().collect(), subject.lines().collect());
    let missing = left.iter().filter(|line| !right.contains(line)).map(|line| format!("  - {line}"));
    let extra = right.iter().filter(|line| !left.contains(line)).map(|line| format!("  + {line}"));
    let lines: Vec<String> = missing.chain(extra).collect();
    bail!("outputs differ (- PostgreSQL, + cluster):\n{}\nPostgreSQL:\n{plain}\ncluster:\n{subject}", lines.join("\n"))
}

/// Sizes differ; every other column must not.
fn psql_dt_plus(pair: &Pair) -> Result<()> {
    let lines = |target: &Target| -> Result<String> {
        let text = psql(target, "\\pset format unaligned\n\\dt+ shop.*")?;
        let without_size = |line: &str| {
            let fields: Vec<&str> = line.split('|').collect();
            fields.iter().enumerate().filter(|(at, _)| *at != 6).map(|(_, field)| *field).collect::<Vec<_>>().join("|")
        };
        Ok(text.lines().map(without_size).collect::<Vec<_>>().join("\n"))
    };
    equal(&lines(pair.plain.target())?, &lines(pair.subject.target())?)?;
    let sizes = psql(pair.subject.target(), "\\pset format unaligned\n\\dt+ shop.orders")?;
    ensure!(!sizes.contains("|0 bytes|"), "a table with rows has no size: {sizes}");
    Ok(())
}

fn pg_dump(target: &Target) -> Result<String> {
    let mut command = Command::new(bindir()?.join("pg_dump"));
    command.args(["-s", "-n", "shop", "-d", &target.conninfo()]);
    let output = run_within(&mut command, COMMAND_MAX)?;
    ensure!(output.status.success(), "pg_dump of {}: {}", target.label, shown(&output));
    let text = String::from_utf8(output.stdout)?;
    // The versions, and a random word that newer pg_dumps guard against injected psql commands with.
    let differs = |line: &str| ["-- Dumped", "\\restrict", "\\unrestrict"].iter().any(|start| line.starts_with(start));
    Ok(text.lines().filter(|line| !differs(line)).collect::<Vec<_>>().join("\n"))
}

fn pg_dump_schema(pair: &Pair) -> Result<()> {
    equal(&pg_dump(pair.plain.target())?, &pg_dump(pair.subject.target())?)
}

fn pg_dump_restored(pair: &Pair) -> Result<()> {
    let dump = pg_dump(pair.subject.target())?;
    let empty = PlainServer::start()?;
    let mut client = Client::connect(empty.target(), "app")?;
    if let Some(error) = client.simple(&dump)?.error {
        bail!("restoring: {error}");
    }
    equal(&dump, &pg_dump(empty.target())?)
}

/// `pgbench -i` and its scripts, before and after `pgbench_accounts` is distributed.
fn pgbench(pair: &Pair) -> Result<()> {
    let target = pair.subject.target();
    let scripts = [("select-only", vec!["-S"]), ("simple-update", vec!["-N"]), ("tpcb-like", vec![])];
    for distributed in [false, true] {
        run_pgbench(target, &["-i", "-s", "1", "-q"])?;
        if distributed && pair.subject.cluster().is_some() {
            execute(target, "SELECT create_distributed_table('pgbench_accounts', 'aid')")?;
        }
        for (name, script) in &scripts {
            if *name == "tpcb-like" && distributed {
                // Its table of branches has one row at this scale: clients would only wait for each other.
                continue;
            }
            for mode in MODES {
                let mut arguments = vec!["-n", "-c", "4", "-j", "2", "-T", "3", "-M", mode, "--max-tries=1"];
                arguments.extend(script);
                let text = run_pgbench(target, &arguments)
                    .with_context(|| format!("{name} {mode} distributed {distributed}"))?;
                ensure!(text.contains("number of failed transactions: 0 (0.000%)"), "{name} {mode}: {text}");
            }
        }
    }
    // Initialising again what is distributed: pgbench drops the tables first.
    run_pgbench(target, &["-i", "-s", "1", "-q"])?;
    run_pgbench(target, &["-i", "-I", "d"])?;
    Ok(())
}

fn run_pgbench(target: &Target, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(bindir()?.join("pgbench"));
    command.args(["-h", &target.host, "-p", &target.port.to_string(), "-U", "postgres"]).args(arguments).arg("app");
    command.current_dir(Path::new("/tmp"));
    let output = run_within(&mut command, COMMAND_MAX)?;
    ensure!(output.status.success(), "pgbench {}: {}", arguments.join(" "), shown(&output));
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(!errors.contains("error:"), "pgbench {}: {errors}", arguments.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
