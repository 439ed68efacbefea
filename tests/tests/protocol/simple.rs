//! The simple protocol.

use anyhow::Result;
use atoll_tests::Target;
use atoll_tests::message::Messages;
use atoll_tests::transcript::Talk;

use crate::Scenario;

pub const SCENARIOS: &[(&str, Scenario)] = &[
    ("one_statement", |target| queries(target, &["SELECT 1 AS one, 'x' AS x, NULL AS nothing"])),
    ("by_key", |target| queries(target, &["SELECT * FROM pr WHERE id = 7", "SELECT * FROM pr_one WHERE id = 7"])),
    ("all_shards", |target| {
        queries(target, &["SELECT * FROM pr ORDER BY id LIMIT 3", "SELECT count(*), max(v) FROM pr"])
    }),
    ("nothing_to_do", |target| queries(target, &["", " ", ";", "-- comment", "/* comment */ ;;"])),
    ("several_statements", |target| {
        queries(target, &["SELECT 1; SELECT v FROM pr WHERE id = 2;; SELECT 3", "SELECT 1; BEGIN; SELECT 2", "COMMIT"])
    }),
    ("error_ends_the_message", |target| {
        queries(target, &["SELECT 1; SELECT 1/0; SELECT 2", "SELECT 1; SELEC 2; SELECT 3", "SELECT 5"])
    }),
    ("error_with_every_field", |target| {
        queries(
            target,
            &[
                "DO $$ BEGIN RAISE EXCEPTION 'm' USING DETAIL = 'd', HINT = 'h', ERRCODE = 'AB123', COLUMN = 'c', CONSTRAINT = 'n', DATATYPE = 't', TABLE = 'r', SCHEMA = 's'; END $$",
            ],
        )
    }),
    ("constraint_errors", |target| {
        queries(
            target,
            &[
                "INSERT INTO pr VALUES (1, 'x')",
                "INSERT INTO pr VALUES (NULL, 'x')",
                "INSERT INTO pr_one VALUES (1, 'x')",
            ],
        )
    }),
    ("notices", |target| {
        queries(target, &["DO $$ BEGIN RAISE NOTICE 'n'; RAISE WARNING 'w'; END $$", "DROP TABLE IF EXISTS not_there"])
    }),
    ("settings_are_reported", |target| {
        queries(
            target,
            &[
                "SET TimeZone = 'Asia/Tokyo'",
                "SET application_name = 'x'; SET DateStyle = 'German'",
                "BEGIN; SET TimeZone = 'UTC'",
                "ROLLBACK",
                "RESET ALL",
            ],
        )
    }),
    ("status_follows_the_transaction", |target| {
        queries(
            target,
            &[
                "BEGIN",
                "SELECT 1",
                "SELECT nope",
                "SELECT 1",
                "ROLLBACK",
                "BEGIN",
                "SELECT v FROM pr WHERE id = 1",
                "SELECT v FROM pr WHERE id = 2",
                "COMMIT",
            ],
        )
    }),
    ("notifications", |target| queries(target, &["LISTEN simple_channel", "NOTIFY simple_channel, 'x'", "UNLISTEN *"])),
    ("long_texts", long_texts),
    ("many_statements", many_statements),
    ("messages_in_pieces", messages_in_pieces),
    ("messages_at_once", messages_at_once),
    ("many_rows", many_rows),
    ("terminate", terminate),
];

fn queries(target: &Target, texts: &[&str]) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    for text in texts {
        talk.ask(&Messages::new().query(text))?;
    }
    Ok(talk.end())
}

fn long_texts(target: &Target) -> Result<Vec<String>> {
    let long = "x".repeat(3_000_000);
    queries(
        target,
        &[
            &format!("SELECT length('{long}')"),
            &format!("SELECT id, length('{long}') FROM pr WHERE id = 3"),
            &format!("/* {long} */ SELECT v FROM pr WHERE id = 3"),
            "SELECT length(repeat('x', 3000000)), md5(repeat('x', 3000000))",
        ],
    )
}

fn many_statements(target: &Target) -> Result<Vec<String>> {
    let text: Vec<String> = (1..=300).map(|id| format!("SELECT v FROM pr WHERE id = {}", id % 100 + 1)).collect();
    queries(target, &[&text.join("; ")])
}

/// One byte at a time: frames must not depend on how they arrive.
fn messages_in_pieces(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    for byte in Messages::new().query("SELECT v FROM pr WHERE id = 4").run("SELECT 2", &[]).sync().bytes() {
        talk.send(&Messages::new().raw(&[*byte]))?;
    }
    talk.until(b'Z')?;
    talk.until(b'Z')?;
    Ok(talk.end())
}

fn messages_at_once(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    let mut messages = Messages::new();
    for id in 1..=50 {
        messages = messages.query(&format!("SELECT v FROM pr WHERE id = {id}"));
    }
    talk.send(&messages.query("SELECT nope").query("SELECT 1"))?;
    for _ in 0..52 {
        talk.until(b'Z')?;
    }
    Ok(talk.end())
}

fn many_rows(target: &Target) -> Result<Vec<String>> {
    queries(
        target,
        &[
            "SELECT g, repeat('x', g % 100) FROM generate_series(1, 20000) g",
            "SELECT repeat('y', 100000) FROM generate_series(1, 50)",
        ],
    )
}

fn terminate(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.send(&Messages::new().terminate())?;
    talk.until_closed()?;
    Ok(talk.end())
}
