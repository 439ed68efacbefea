//! Reads from replicas, as a session sees them. All tests share one cluster, a group of a primary and two replicas with two coordinators in
//! different zones, and leave it whole.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::thread::{sleep, spawn};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use atoll_tests::Target;
use atoll_tests::client::{Client, Parameter};
use atoll_tests::cluster::{Cluster, ClusterOptions, shown};
use atoll_tests::outcome::Outcome;
use atoll_tests::servers::checks_itself;
use atoll_tests::wire::Wire;
use bytes::BytesMut;
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postgres_protocol::message::frontend;

use support::*;

/// Enough for every node to be drawn at least once, but for once in 10^26.
const DRAWS: usize = 150;

type Test = fn(&Cluster) -> Result<()>;

/// In this order: the last ones take nodes away.
const TESTS: &[(&str, Test)] = &[
    ("preferences_can_be_set_everywhere", preferences_can_be_set_everywhere),
    ("preferences_say_who_answers", preferences_say_who_answers),
    ("what_does_more_than_read_goes_to_the_primary", what_does_more_than_read_goes_to_the_primary),
    ("sessions_are_the_same_on_replicas", sessions_are_the_same_on_replicas),
    ("both_protocols_read_from_replicas", both_protocols_read_from_replicas),
    ("read_only_transactions_stay_on_their_replica", read_only_transactions_stay_on_their_replica),
    ("a_session_reads_what_it_wrote", a_session_reads_what_it_wrote),
    ("every_way_to_write_counts", every_way_to_write_counts),
    ("definitions_are_never_older_than_plans", definitions_are_never_older_than_plans),
    ("lag_is_bounded", lag_is_bounded),
    ("conflicts_with_replay_are_not_seen", conflicts_with_replay_are_not_seen),
    ("timeouts_and_cancels_reach_replicas", timeouts_and_cancels_reach_replicas),
    ("a_replica_that_stands_still_is_left_alone", a_replica_that_stands_still_is_left_alone),
    ("reads_survive_their_replicas", reads_survive_their_replicas),
    ("a_switchover_changes_who_reads", a_switchover_changes_who_reads),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let shared: Arc<OnceLock<Result<Cluster, String>>> = Arc::default();
    let tests = if checks_itself() { &[][..] } else { TESTS };
    let trials = tests.iter().map(|(name, test)| {
        let (test, shared) = (*test, shared.clone());
        Trial::test(*name, move || {
            let cluster = shared.get_or_init(|| start().map_err(|error| format!("{error:#}")));
            let tested = cluster.as_ref().map_err(|error| anyhow!("{error}")).and_then(test);
            tested.map_err(|error| Failed::from(format!("{error:#}")))
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn start() -> Result<Cluster> {
    let mut options = ClusterOptions::new(1, 4);
    let arguments = ["--replicas", "2", "--coordinators", "2", "--zones", "east,west,west"];
    options.arguments = arguments.map(str::to_owned).to_vec();
    let cluster = Cluster::start_with(&options)?;
    let mut client = primary(&cluster)?;
    for sql in [
        "CREATE TABLE spread (k int4 PRIMARY KEY, n int8 NOT NULL)",
        "SELECT create_distributed_table('spread', 'k')",
        "INSERT INTO spread SELECT i, 10 * i FROM generate_series(1, 100) i",
        "CREATE TABLE plain (k int4 PRIMARY KEY, v text)",
        "INSERT INTO plain VALUES (1, 'one'), (2, 'two'), (3, 'three')",
    ] {
        ask(&mut client, sql)?;
    }
    Ok(cluster)
}

fn preferences_can_be_set_everywhere(cluster: &Cluster) -> Result<()> {
    const SHOW: &str = "SHOW atoll.read_preference";
    const READ: &str = "SELECT v FROM plain WHERE k = 1";
    let mut client = primary(cluster)?;
    expect("by default", &ask(&mut client, SHOW)?, "primary")?;
    expect("by default", &(ask(&mut client, READ)? + &node(&mut client)?), "oneg1-n1")?;
    ask(&mut client, "SET atoll.read_preference = 'Replica'")?;
    expect("in a session", &ask(&mut client, SHOW)?, "replica")?;
    expect("in a session", &on_replica(&mut client, READ)?, "one")?;
    ask(&mut client, "RESET ALL")?;
    expect("RESET ALL", &ask(&mut client, SHOW)?, "primary")?;

    ask(&mut client, "BEGIN READ ONLY")?;
    ask(&mut client, "SET LOCAL atoll.read_preference = replica")?;
    ask(&mut client, READ)?;
    ensure!(node(&mut client)? != PRIMARY, "a READ ONLY transaction read from the primary");
    ask(&mut client, "COMMIT")?;
    expect("after SET LOCAL", &ask(&mut client, SHOW)?, "primary")?;

    ask(&mut client, "SELECT set_config('atoll.read_preference', 'any', false)")?;
    expect("set_config", &ask(&mut client, SHOW)?, "any")?;
    expect("startup options", &ask(&mut reader(cluster)?, SHOW)?, "replica")?;

    ask(&mut client, "CREATE ROLE reporting LOGIN")?;
    let login = || Client::connect_as(cluster.target(), &[("user", "reporting"), ("database", "app")]);
    for (set, expected, reset) in [
        ("ALTER ROLE reporting SET atoll.read_preference = 'replica'", "replica", "ALTER ROLE reporting RESET ALL"),
        ("ALTER DATABASE app SET atoll.read_preference = 'nearest'", "nearest", "ALTER DATABASE app RESET ALL"),
    ] {
        ask(&mut client, set)?;
        expect(set, &ask(&mut login()?, SHOW)?, expected)?;
        ask(&mut client, reset)?;
        expect(reset, &ask(&mut login()?, SHOW)?, "primary")?;
    }
    ask(&mut client, "DROP ROLE reporting")?;

    for wrong in ["atoll.read_preference = secondary", "atoll.max_lag_bytes = '5 apples'", "atoll.max_lag_ms = -1"] {
        expect(wrong, &refused(&mut client, &format!("SET {wrong}"))?, "22023")?;
    }
    expect("a wrong token", &refused(&mut client, "SET atoll.session_token = 'g1'")?, "22023")
}

fn answering(client: &mut Client, sql: &str) -> Result<BTreeSet<String>> {
    (0..DRAWS).map(|_| ask(client, sql).and_then(|_| node(client))).collect()
}

fn preferences_say_who_answers(cluster: &Cluster) -> Result<()> {
    settle(cluster)?;
    let coordinators = cluster.status()?["coordinators"].clone();
    let port = coordinators[1]["port"].as_u64().context("no second coordinator")?;
    let west = Target { port: u16::try_from(port)?, ..cluster.target().clone() };
    let read = "SELECT n FROM spread WHERE k = 7";
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    for (target, preference, expected) in [
        (cluster.target(), "primary", set(&[PRIMARY])),
        (cluster.target(), "replica", set(&REPLICAS)),
        (cluster.target(), "any", set(&["g1-n1", "g1-n2", "g1-n3"])),
        (cluster.target(), "nearest", set(&[PRIMARY])),
        (&west, "nearest", set(&REPLICAS)),
    ] {
        let mut client = preferring(target, preference)?;
        // The second coordinator hears of new tables a little later, and asks at first how far the primary is.
        eventually("the table is known", || Ok(ask(&mut client, read).ok()))?;
        let got = answering(&mut client, read)?;
        ensure!(got == expected, "{preference}: {expected:?} expected, got {got:?}");
    }
    Ok(())
}

fn what_does_more_than_read_goes_to_the_primary(cluster: &Cluster) -> Result<()> {
    let mut client = reader(cluster)?;
    ask(
        &mut client,
        "CREATE FUNCTION note_it(int) RETURNS int LANGUAGE sql AS \
         $$ INSERT INTO plain VALUES ($1, 'noted') RETURNING k $$",
    )?;
    expect("a writing function", &ask(&mut client, "SELECT note_it(50)")?, "50")?;
    expect("what it wrote", &ask(&mut client, "SELECT v FROM plain WHERE k = 50")?, "noted")?;
    ask(&mut client, "DELETE FROM plain WHERE k = 50")?;
    expect("what was deleted", &ask(&mut client, "SELECT v FROM plain WHERE k = 50")?, "")?;
    ask(&mut client, "CREATE SEQUENCE numbers")?;
    for sql in [
        "SELECT nextval('numbers')",
        "SELECT v FROM plain WHERE k = 1 FOR UPDATE",
        "SELECT pg_advisory_lock(5)",
        "SELECT pg_advisory_unlock(5)",
        "SELECT txid_current()",
        "WITH gone AS (DELETE FROM plain WHERE k = 0 RETURNING k) SELECT count(*) FROM gone",
        "BEGIN; SELECT v FROM plain WHERE k = 1; COMMIT",
        "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY; SELECT v FROM plain WHERE k = 1; COMMIT",
    ] {
        ask(&mut client, sql)?;
        expect(sql, &node(&mut client)?, PRIMARY)?;
    }
    ask(&mut client, "DROP SEQUENCE numbers")?;
    ask(&mut client, "DROP FUNCTION note_it(int)")?;

    let mut client = reader(cluster)?;
    ask(&mut client, "CREATE TEMP TABLE plain AS SELECT 1 AS k, 'temporary' AS v")?;
    expect("a temporary table", &ask(&mut client, "SELECT v FROM plain")?, "temporary")?;
    ask(&mut client, "DROP TABLE plain")?;
    ask(&mut client, "CREATE UNLOGGED TABLE unlogged AS SELECT 1 AS k")?;
    expect("an unlogged table", &ask(&mut client, "SELECT k FROM unlogged")?, "1")?;
    ask(&mut client, "DROP TABLE unlogged")?;

    ask(&mut client, "SET default_transaction_read_only = on")?;
    expect("in READ ONLY", &refused(&mut client, "INSERT INTO plain VALUES (51, '')")?, "25006")
}

fn sessions_are_the_same_on_replicas(cluster: &Cluster) -> Result<()> {
    let mut client = reader(cluster)?;
    ask(&mut client, "SET TimeZone = 'Asia/Tokyo'; SET my.own = 'thing'")?;
    let settings = "SELECT current_setting('TimeZone'), current_setting('my.own', true)";
    expect("settings", &on_replica(&mut client, settings)?, "Asia/Tokyo|thing")?;
    ask(&mut client, "RESET TimeZone; RESET my.own")?;
    ensure!(!on_replica(&mut client, settings)?.contains("Tokyo"), "a setting outlived its RESET on a replica");

    ask(&mut client, "CREATE SCHEMA other; CREATE TABLE other.plain (k int4, v text)")?;
    ask(&mut client, "INSERT INTO other.plain VALUES (1, 'the other')")?;
    ask(&mut client, "SET search_path = other, public")?;
    expect("search_path", &on_replica(&mut client, "SELECT v FROM plain WHERE k = 1")?, "the other")?;
    ask(&mut client, "RESET search_path")?;
    expect("search_path", &on_replica(&mut client, "SELECT v FROM plain WHERE k = 1")?, "one")?;
    ask(&mut client, "DROP SCHEMA other CASCADE")?;

    ask(&mut client, "CREATE ROLE limited LOGIN")?;
    ask(&mut client, "GRANT SELECT ON plain TO limited")?;
    ask(&mut client, "SET ROLE limited")?;
    expect("SET ROLE", &on_replica(&mut client, "SELECT current_user, v FROM plain WHERE k = 1")?, "limited|one")?;
    expect("rights", &refused(&mut client, "SELECT n FROM spread WHERE k = 1")?, "42501")?;
    ask(&mut client, "RESET ROLE")?;
    let parameters = [("user", "limited"), ("database", "app"), ("options", "-c atoll.read_preference=replica")];
    let mut limited = Client::connect_as(cluster.target(), &parameters)?;
    expect("a role", &on_replica(&mut limited, "SELECT current_user, v FROM plain WHERE k = 1")?, "limited|one")?;
    expect("rights", &refused(&mut limited, "SELECT n FROM spread WHERE k = 1")?, "42501")?;
    drop(limited);
    ask(&mut client, "REVOKE ALL ON plain FROM limited")?;
    ask(&mut client, "DROP ROLE limited").map(drop)
}

fn both_protocols_read_from_replicas(cluster: &Cluster) -> Result<()> {
    let mut client = reader(cluster)?;
    settle(cluster)?;
    let key = Parameter { type_oid: 0, binary: false, value: Some(b"7".to_vec()) };
    let mut extended = |sql: &str| {
        eventually(sql, || {
            let outcome = client.extended(sql, std::slice::from_ref(&key), false, None)?;
            ensure!(outcome.error.is_none(), "{sql}: {:?}", outcome.error);
            Ok((node(&mut client)? != PRIMARY).then(|| rows(&outcome)))
        })
    };
    expect("one shard", &extended("SELECT n FROM spread WHERE k = $1")?, "70")?;
    expect("no shard", &extended("SELECT v FROM plain WHERE k + 4 = $1")?, "three")?;

    let mut client = reader(cluster)?;
    ask(&mut client, "PREPARE by_key(int) AS SELECT n FROM spread WHERE k = $1")?;
    expect("EXECUTE", &on_replica(&mut client, "EXECUTE by_key(8)")?, "80")?;
    expect("EXECUTE", &on_replica(&mut client, "EXECUTE by_key(9)")?, "90")?;

    // A statement that is prepared once and bound again and again, wherever it goes.
    let mut seen = BTreeSet::new();
    let mut out = BytesMut::new();
    frontend::parse("named", "SELECT n FROM spread WHERE k = $1", [], &mut out)?;
    frontend::sync(&mut out);
    client.wire().send(&out)?;
    client.wire().frames_until(b'Z')?;
    for k in 1..=40 {
        let mut out = BytesMut::new();
        let value = |k: i32, out: &mut BytesMut| {
            out.extend_from_slice(k.to_string().as_bytes());
            Ok(postgres_protocol::IsNull::No)
        };
        frontend::bind("", "named", [0], [k], value, [0], &mut out).map_err(|_| anyhow!("cannot bind {k}"))?;
        frontend::execute("", 0, &mut out)?;
        frontend::sync(&mut out);
        client.wire().send(&out)?;
        let mut outcome = Outcome::default();
        for frame in client.wire().frames_until(b'Z')? {
            outcome.absorb(frame)?;
        }
        expect("a named statement", &outcome.value()?, &(10 * k).to_string())?;
        seen.insert(node(&mut client)?);
    }
    ensure!(!seen.contains(PRIMARY) && seen.len() == REPLICAS.len(), "a named statement was answered by {seen:?}");
    Ok(())
}

fn read_only_transactions_stay_on_their_replica(cluster: &Cluster) -> Result<()> {
    settle(cluster)?;
    let mut client = reader(cluster)?;
    ask(&mut client, "BEGIN READ ONLY")?;
    ask(&mut client, "SELECT v FROM plain WHERE k = 1")?;
    let first = node(&mut client)?;
    ensure!(first != PRIMARY, "a READ ONLY transaction read from the primary");
    for _ in 0..20 {
        ask(&mut client, "SELECT n FROM spread WHERE k = 3")?;
        expect("the transaction's node", &node(&mut client)?, &first)?;
    }
    ask(&mut client, "DECLARE walk CURSOR FOR SELECT v FROM plain ORDER BY k")?;
    expect("a cursor", &ask(&mut client, "FETCH 2 FROM walk")?, "one two")?;
    ask(&mut client, "SAVEPOINT before")?;
    expect("an error", &refused(&mut client, "SELECT 1 / 0")?, "22012")?;
    ask(&mut client, "ROLLBACK TO before")?;
    expect("a cursor", &ask(&mut client, "FETCH 2 FROM walk")?, "three")?;
    expect("its node", &node(&mut client)?, &first)?;
    expect("a lock beside a cursor", &refused(&mut client, "SELECT pg_advisory_xact_lock(6)")?, "0A000")?;
    ask(&mut client, "ROLLBACK")?;

    // An advisory lock is one for all only on the primary.
    ask(&mut client, "BEGIN READ ONLY")?;
    ask(&mut client, "SELECT v FROM plain WHERE k = 1")?;
    ask(&mut client, "SAVEPOINT before")?;
    ask(&mut client, "SELECT pg_advisory_xact_lock(6)")?;
    expect("the lock's node", &node(&mut client)?, PRIMARY)?;
    expect("the lock", &ask(&mut primary(cluster)?, "SELECT pg_try_advisory_lock(6)")?, "f")?;
    ask(&mut client, "ROLLBACK TO before")?;
    expect("a read behind it", &ask(&mut client, "SELECT v FROM plain WHERE k = 2")?, "two")?;
    ask(&mut client, "COMMIT")?;

    for engine in ["auto", "postgres"] {
        ask(&mut client, &format!("SET atoll.merge_engine = {engine}"))?;
        ask(&mut client, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
        expect("one snapshot", &ask(&mut client, "SELECT sum(n) FROM spread")?, "50500")?;
        ask(&mut primary(cluster)?, "UPDATE spread SET n = n + 1")?;
        expect("one snapshot", &ask(&mut client, "SELECT sum(n) FROM spread")?, "50500")?;
        ask(&mut client, "DECLARE walk CURSOR FOR SELECT n FROM spread ORDER BY k")?;
        expect("one snapshot", &ask(&mut client, "FETCH 2 FROM walk")?, "10 20")?;
        ask(&mut client, "COMMIT")?;
        ask(&mut client, "UPDATE spread SET n = n - 1")?;
        expect("merged", &ask(&mut client, "SELECT sum(n) FROM spread")?, "50500")?;
    }
    Ok(())
}

fn a_session_reads_what_it_wrote(cluster: &Cluster) -> Result<()> {
    let (mut own, mut other, mut carried) = (reader(cluster)?, reader(cluster)?, reader(cluster)?);
    with_replay_paused(cluster, || {
        ask(&mut own, "INSERT INTO plain VALUES (60, 'new')")?;
        ask(&mut own, "UPDATE spread SET n = 71 WHERE k = 7")?;
        expect("another session", &ask(&mut other, "SELECT count(*) FROM plain WHERE k = 60")?, "0")?;
        ensure!(node(&mut other)? != PRIMARY, "nothing stands against asking a replica");
        expect("another session's merge", &ask(&mut other, "SELECT sum(n) FROM spread")?, "50500")?;
        expect("one's own", &ask(&mut own, "SELECT v FROM plain WHERE k = 60")?, "new")?;
        expect("one's own", &ask(&mut own, "SELECT n FROM spread WHERE k = 7")?, "71")?;
        expect("one's own merge", &ask(&mut own, "SELECT sum(n) FROM spread")?, "50501")?;
        let token = ask(&mut own, "SELECT atoll.session_token()")?;
        ask(&mut carried, &format!("SET atoll.session_token = '{token}'"))?;
        expect("with a token", &ask(&mut carried, "SELECT v FROM plain WHERE k = 60")?, "new")?;
        expect("the node of that", &node(&mut carried)?, PRIMARY)?;
        ask(&mut own, "BEGIN READ ONLY")?;
        expect("READ ONLY", &ask(&mut own, "SELECT v FROM plain WHERE k = 60")?, "new")?;
        ask(&mut own, "COMMIT")?;
        ask(&mut own, "BEGIN; DELETE FROM plain WHERE k = 60; UPDATE spread SET n = 70 WHERE k = 7; COMMIT")?;
        expect("after a transaction", &ask(&mut own, "SELECT v FROM plain WHERE k = 60")?, "")?;
        expect("after a transaction", &ask(&mut own, "SELECT sum(n) FROM spread")?, "50500")
    })?;
    on_replica(&mut own, "SELECT v FROM plain WHERE k = 1").map(drop)
}

fn every_way_to_write_counts(cluster: &Cluster) -> Result<()> {
    let mut owner = primary(cluster)?;
    for sql in [
        "CREATE TABLE noted (k int4)",
        "CREATE TABLE triggering (k int4)",
        "CREATE FUNCTION note(int4) RETURNS int4 LANGUAGE sql AS 'INSERT INTO noted VALUES ($1) RETURNING k'",
        "CREATE VIEW noting AS SELECT note(5) AS k",
        "CREATE PROCEDURE note_all(int4) LANGUAGE sql AS 'INSERT INTO noted VALUES ($1)'",
        "CREATE FUNCTION note_new() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN INSERT INTO noted VALUES (NEW.k); RETURN NEW; END'",
        "CREATE TRIGGER noting AFTER INSERT ON triggering FOR EACH ROW EXECUTE FUNCTION note_new()",
    ] {
        ask(&mut owner, sql)?;
    }
    let on_plain = [
        "INSERT INTO noted VALUES (1)",
        "SELECT note(2)",
        "SELECT 1; SELECT note(3)",
        "CALL note_all(4)",
        "SELECT k FROM noting",
        "DO 'BEGIN INSERT INTO noted VALUES (6); END'",
        "EXPLAIN ANALYZE INSERT INTO noted VALUES (7)",
        "WITH new AS (INSERT INTO noted VALUES (8) RETURNING k) SELECT k FROM new",
        "PREPARE noting AS INSERT INTO noted VALUES ($1); EXECUTE noting(9)",
        "INSERT INTO triggering VALUES (10)",
        "BEGIN; SELECT note(11); COMMIT AND CHAIN; ROLLBACK",
        "BEGIN; SAVEPOINT one; INSERT INTO noted VALUES (12); RELEASE one; COMMIT",
        "MERGE INTO noted USING (VALUES (13)) AS new (k) ON noted.k = new.k WHEN NOT MATCHED THEN INSERT VALUES (new.k)",
    ];
    let on_shards = [
        ("UPDATE spread SET n = 1 WHERE k = 1", 1),
        ("UPDATE spread SET n = 2", 3),
        ("INSERT INTO spread SELECT k + 1000, 3 FROM spread", 1003),
        ("INSERT INTO spread VALUES (2001, 4), (2002, 4), (2003, 4)", 2003),
        ("BEGIN; UPDATE spread SET n = 5 WHERE k = 1; UPDATE spread SET n = 5 WHERE k = 2; COMMIT", 2),
        ("WITH changed AS (UPDATE spread SET n = 6 WHERE k = 5 RETURNING k) SELECT k FROM changed", 5),
        ("EXPLAIN ANALYZE UPDATE spread SET n = 7 WHERE k = 6", 6),
    ];
    with_replay_paused(cluster, || {
        for (sql, number) in on_plain.into_iter().zip(1..) {
            let mut client = reader(cluster)?;
            let count = format!("SELECT count(*) FROM noted WHERE k = {number}");
            expect("before", &ask(&mut client, &count)?, "0")?;
            ensure!(node(&mut client)? != PRIMARY, "nothing stands against asking a replica before {sql}");
            ask(&mut client, sql)?;
            expect(sql, &ask(&mut client, &count)?, "1")?;
        }
        for ((sql, key), value) in on_shards.into_iter().zip(1..) {
            let mut client = reader(cluster)?;
            ask(&mut client, sql)?;
            let read = ask(&mut client, &format!("SELECT n FROM spread WHERE k = {key}"))?;
            expect(sql, &read, &value.to_string())?;
        }
        let mut client = reader(cluster)?;
        client.simple_with_copy("COPY noted FROM STDIN", Some(b"14\n"))?;
        expect("COPY", &ask(&mut client, "SELECT count(*) FROM noted WHERE k = 14")?, "1")
    })?;
    ask(&mut owner, "DROP TABLE triggering; DROP FUNCTION note_new(); DROP PROCEDURE note_all(int4)")?;
    ask(&mut owner, "DROP VIEW noting; DROP FUNCTION note(int4); DROP TABLE noted")?;
    ask(&mut owner, "DELETE FROM spread WHERE k > 100; UPDATE spread SET n = 10 * k").map(drop)
}

fn definitions_are_never_older_than_plans(cluster: &Cluster) -> Result<()> {
    let (mut other, mut owner) = (reader(cluster)?, primary(cluster)?);
    ask(&mut other, "SELECT * FROM plain WHERE k = 1")?;
    with_replay_paused(cluster, || {
        ask(&mut owner, "ALTER TABLE plain ADD COLUMN more int4 DEFAULT 5")?;
        let outcome = other.extended("SELECT * FROM plain WHERE k = 1", &[], false, None)?;
        expect("a new column", &rows(&outcome), "1|one|5")?;
        ask(&mut owner, "CREATE TABLE made AS SELECT 1 AS k")?;
        expect("a new table", &ask(&mut other, "SELECT k FROM made")?, "1")?;
        ask(&mut owner, "DROP TABLE made; ALTER TABLE plain DROP COLUMN more")?;
        expect("an old table", &ask(&mut other, "SELECT * FROM plain WHERE k = 1")?, "1|one")
    })
}

fn lag_is_bounded(cluster: &Cluster) -> Result<()> {
    const READ: &str = "SELECT v FROM plain WHERE k = 1";
    let mut client = reader(cluster)?;
    expect("the default", &ask(&mut client, "SHOW atoll.max_lag_bytes")?, "16777216")?;
    with_replay_paused(cluster, || {
        ask(&mut primary(cluster)?, "UPDATE spread SET n = n")?;
        ask(&mut client, "SET atoll.max_lag_bytes = 0")?;
        eventually("replicas are behind by more than nothing", || {
            ask(&mut client, READ)?;
            Ok((node(&mut client)? == PRIMARY).then_some(()))
        })?;
        ask(&mut client, "SET atoll.max_lag_bytes = '1 GB'")?;
        expect("the bound", &ask(&mut client, "SHOW atoll.max_lag_bytes")?, "1073741824")?;
        ask(&mut client, READ)?;
        ensure!(node(&mut client)? != PRIMARY, "replicas within the bound are not asked");
        ask(&mut client, "SET atoll.max_lag_ms = '1s'")?;
        eventually("replicas are behind for more than a second", || {
            ask(&mut client, READ)?;
            Ok((node(&mut client)? == PRIMARY).then_some(()))
        })
    })
}

fn conflicts_with_replay_are_not_seen(cluster: &Cluster) -> Result<()> {
    // Slow enough for a VACUUM in the middle.
    const SLOW: &str = "SELECT count(*) FROM (SELECT k, pg_sleep(0.005) FROM conflicting) slow";
    let mut owner = primary(cluster)?;
    ask(&mut owner, "CREATE TABLE conflicting AS SELECT k FROM generate_series(1, 500) k")?;
    on_each(cluster, "ALTER SYSTEM SET max_standby_streaming_delay = 0")?;
    on_each(cluster, "SELECT pg_reload_conf()")?;
    settle(cluster)?;
    let (mut alone, mut block) = (reader(cluster)?, reader(cluster)?);
    on_replica(&mut alone, "SELECT count(*) FROM conflicting")?;
    let alone = spawn(move || ask(&mut alone, SLOW).and_then(|answer| Ok((answer, node(&mut alone)?))));
    let block = spawn(move || {
        ask(&mut block, "BEGIN READ ONLY")?;
        let state = refused(&mut block, SLOW)?;
        ask(&mut block, "ROLLBACK")?;
        Ok::<_, anyhow::Error>((state, ask(&mut block, "SELECT v FROM plain WHERE k = 1")?))
    });
    let count = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%conflicting) slow'";
    eventually("both read", || {
        let mut running = 0;
        for (_, target) in cluster.nodes()? {
            running += ask(&mut Client::connect(&target, "postgres")?, count)?.parse::<u32>()?;
        }
        Ok((running >= 2).then_some(()))
    })?;
    ask(&mut owner, "DELETE FROM conflicting WHERE k <= 100")?;
    ask(&mut owner, "VACUUM conflicting")?;
    let (answer, answered_by) = alone.join().map_err(|_| anyhow!("a reader panicked"))??;
    let (state, after) = block.join().map_err(|_| anyhow!("a reader panicked"))??;
    on_each(cluster, "ALTER SYSTEM RESET max_standby_streaming_delay")?;
    on_each(cluster, "SELECT pg_reload_conf()")?;
    expect("outside a transaction", &format!("{answer} {answered_by}"), &format!("400 {PRIMARY}"))?;
    expect("in a transaction", &format!("{state} {after}"), "40001 one")?;
    ask(&mut owner, "DROP TABLE conflicting").map(drop)
}

fn timeouts_and_cancels_reach_replicas(cluster: &Cluster) -> Result<()> {
    settle(cluster)?;
    let mut client = reader(cluster)?;
    ask(&mut client, "SET statement_timeout = '200ms'")?;
    expect("statement_timeout", &refused(&mut client, "SELECT pg_sleep(20)")?, "57014")?;
    ensure!(node(&mut client)? != PRIMARY, "a read that ran out of time was begun again on the primary");
    ask(&mut client, "RESET statement_timeout")?;
    let (process, secret) = client.cancel_key.context("no key for cancels")?;
    let target = cluster.target().clone();
    let canceller = spawn(move || {
        // A cancel that comes before the statement does nothing.
        for _ in 0..50 {
            sleep(Duration::from_millis(100));
            let mut out = BytesMut::new();
            frontend::cancel_request(process, secret, &mut out);
            Wire::connect(&target)?.send(&out)?;
        }
        Ok::<_, anyhow::Error>(())
    });
    expect("a cancel", &refused(&mut client, "SELECT pg_sleep(20)")?, "57014")?;
    ensure!(node(&mut client)? != PRIMARY, "a cancelled read was begun again on the primary");
    canceller.join().map_err(|_| anyhow!("the canceller panicked"))??;
    expect("afterwards", &ask(&mut client, "SELECT v FROM plain WHERE k = 1")?, "one")
}

fn a_replica_that_stands_still_is_left_alone(cluster: &Cluster) -> Result<()> {
    const READ: &str = "SELECT n FROM spread WHERE k = 7";
    settle(cluster)?;
    let slow = REPLICAS[0];
    let postmaster = pid(&status_of(cluster, slow)?["pid"])?;
    let mut client = reader(cluster)?;
    let mut watcher = primary(cluster)?;
    // Where everything is slow its agent may be the first to notice.
    let sql = format!("SELECT ejected OR role <> 'replica' FROM atoll.nodes WHERE node = '{slow}'");
    let mut is_out = move || ask(&mut watcher, &sql);
    expect("at first", &is_out()?, "f")?;
    // Every process of the server: the postmaster and its children.
    let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"))?;
    let mut all = vec![postmaster];
    for child in children.split_whitespace() {
        all.push(Pid::from_raw(child.parse()?));
    }
    let mut signal = |signal: Signal| {
        // Children come and go.
        all.retain(|pid| kill(*pid, signal).is_ok());
    };
    signal(Signal::SIGSTOP);
    let tested = (|| {
        eventually("the node is left alone", || {
            expect("a read meanwhile", &ask(&mut client, READ)?, "70")?;
            Ok((is_out()? == "t").then_some(()))
        })?;
        let answered = answering(&mut client, READ)?;
        ensure!(answered == BTreeSet::from([REPLICAS[1].to_owned()]), "{slow} is out; {answered:?} answered");
        Ok(())
    })();
    signal(Signal::SIGCONT);
    tested?;
    eventually("the node is back", || {
        ask(&mut client, READ)?;
        Ok((is_out()? == "f").then_some(()))
    })?;
    settle(cluster)
}

fn reads_survive_their_replicas(cluster: &Cluster) -> Result<()> {
    const SLOW: &str = "SELECT v FROM plain, pg_sleep(1) WHERE k = 1";
    settle(cluster)?;
    // As many as it takes for both replicas to have one under way.
    let readers: Vec<_> = (0..8).map(|_| reader(cluster)).collect::<Result<_>>()?;
    let reading = readers.into_iter().map(|mut client| spawn(move || ask(&mut client, SLOW))).collect::<Vec<_>>();
    sleep(Duration::from_millis(300));
    let one = kill_machine(cluster, REPLICAS[0])?;
    for reader in reading {
        expect("a read", &reader.join().map_err(|_| anyhow!("a reader panicked"))??, "one")?;
    }
    let mut client = reader(cluster)?;
    answered_by(&mut client, REPLICAS[1])?;
    let other = kill_machine(cluster, REPLICAS[1])?;
    answered_by(&mut client, PRIMARY)?;
    ask(&mut client, "BEGIN READ ONLY; SELECT v FROM plain WHERE k = 1; COMMIT")?;
    expect("nobody is left", &node(&mut client)?, PRIMARY)?;
    expect("a merge", &ask(&mut client, "SELECT count(*) FROM spread")?, "100")?;
    drop((one, other));
    settle(cluster)
}

/// Reads, without an error, until it is this node that answers: backends may outlive their postmaster by a moment.
fn answered_by(client: &mut Client, expected: &str) -> Result<()> {
    eventually(&format!("{expected} answers"), || {
        expect("a read", &ask(client, "SELECT v FROM plain WHERE k = 1")?, "one")?;
        Ok((node(client)? == expected).then_some(()))
    })
}

fn a_switchover_changes_who_reads(cluster: &Cluster) -> Result<()> {
    let mut client = reader(cluster)?;
    ask(&mut client, "UPDATE plain SET v = 'written' WHERE k = 3")?;
    let output =
        cluster.atoll(&["group", "switchover", "g1", "--to", REPLICAS[1]].map(str::to_owned), SETTLES_WITHIN)?;
    ensure!(output.status.success(), "{}", shown(&output));
    let mut seen = BTreeSet::new();
    eventually("the old primary answers reads", || {
        expect("one's own write", &ask(&mut client, "SELECT v FROM plain WHERE k = 3")?, "written")?;
        seen.insert(node(&mut client)?);
        Ok(seen.contains(PRIMARY).then_some(()))
    })?;
    ask(&mut client, "UPDATE plain SET v = 'three' WHERE k = 3")?;
    expect("the new primary", &node(&mut client)?, REPLICAS[1])?;
    expect("one's own write", &ask(&mut client, "SELECT v FROM plain WHERE k = 3")?, "three")
}
