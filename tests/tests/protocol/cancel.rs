//! CancelRequest.

use std::time::Duration;

use anyhow::Result;
use atoll_tests::Target;
use atoll_tests::message::Messages;
use atoll_tests::transcript::Talk;

use crate::Scenario;

pub const SCENARIOS: &[(&str, Scenario)] = &[
    ("sleep", |target| cancelled(target, "SELECT pg_sleep(60)")),
    ("sleep_by_key", |target| cancelled(target, "SELECT pg_sleep(60) FROM pr WHERE id = 5")),
    ("sleep_on_all_shards", |target| {
        cancelled(target, "SELECT count(*) FROM pr WHERE id > 0 AND length(v || pg_sleep(1)::text) > 0")
    }),
    ("long_result", |target| cancelled(target, "SELECT count(*) FROM generate_series(1, 1000000000000)")),
    ("in_a_transaction", in_a_transaction),
    ("extended", extended),
    ("idle", idle),
    ("twice", twice),
    ("wrong_secret", wrong_secret),
    ("copy_in", copy_in),
    ("lock_wait", lock_wait),
];

/// Sends a CancelRequest and waits until the server has closed that connection, as libpq does.
fn cancel(target: &Target, key: (i32, i32)) -> Result<()> {
    let mut talk = Talk::connect(target)?;
    talk.send(&Messages::new().cancel(key.0, key.1))?;
    talk.until_closed()
}

/// Cancels again and again until the statement has ended: it may not have begun when the first request arrives.
fn cancel_until_answered(target: &Target, talk: &mut Talk) -> Result<()> {
    for _ in 0..100 {
        cancel(target, talk.cancel_key)?;
        if talk.tag_comes_within(b'Z', Duration::from_millis(100))? {
            break;
        }
    }
    talk.until(b'Z')
}

/// Frames of rows that may or may not have come before the interrupt are dropped.
fn without_rows(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().filter(|line| !line.starts_with("DataRow") && !line.starts_with("RowDescription")).collect()
}

fn cancelled(target: &Target, sql: &str) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.send(&Messages::new().query(sql))?;
    cancel_until_answered(target, &mut talk)?;
    let mut lines = without_rows(talk.lines());
    talk.forget();
    settle(&mut talk)?;
    talk.ask(&Messages::new().query("SELECT v FROM pr WHERE id = 5"))?;
    lines.extend(talk.end());
    Ok(lines)
}

/// A late interrupt may hit the next statement, in PostgreSQL, too: take it with statements that do not count.
fn settle(talk: &mut Talk) -> Result<()> {
    for _ in 0..3 {
        talk.ask(&Messages::new().query("SELECT 'settling' FROM pg_sleep(0.02)"))?;
    }
    talk.forget();
    Ok(())
}

fn in_a_transaction(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(&Messages::new().query("BEGIN"))?;
    talk.ask(&Messages::new().query("UPDATE pr SET v = 'cancelled' WHERE id = 60"))?;
    talk.send(&Messages::new().query("SELECT pg_sleep(60)"))?;
    cancel_until_answered(target, &mut talk)?;
    talk.ask(&Messages::new().query("SELECT 1"))?;
    talk.ask(&Messages::new().query("ROLLBACK"))?;
    talk.ask(&Messages::new().query("SELECT v FROM pr WHERE id = 60"))?;
    Ok(without_rows(talk.end()))
}

fn extended(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.send(&Messages::new().run("SELECT pg_sleep(60)", &[]).run("SELECT 'skipped'", &[]).sync())?;
    cancel_until_answered(target, &mut talk)?;
    let mut lines: Vec<String> =
        talk.lines().into_iter().filter(|line| line.starts_with("Error") || line.starts_with("Ready")).collect();
    talk.forget();
    settle(&mut talk)?;
    talk.ask(&Messages::new().run("SELECT 2", &[]).sync())?;
    lines.extend(talk.end());
    Ok(lines)
}

fn idle(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(&Messages::new().query("SELECT 1"))?;
    cancel(target, talk.cancel_key)?;
    talk.silence(Duration::from_millis(50))?;
    talk.ask(&Messages::new().query("SELECT 2"))?;
    Ok(talk.end())
}

fn twice(target: &Target) -> Result<Vec<String>> {
    let mut lines = cancelled(target, "SELECT pg_sleep(50)")?;
    lines.extend(cancelled(target, "SELECT pg_sleep(50) FROM pr WHERE id = 5")?);
    Ok(lines)
}

fn wrong_secret(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.send(&Messages::new().query("SELECT pg_sleep(0.3)"))?;
    for key in
        [(talk.cancel_key.0, talk.cancel_key.1 ^ 1), (talk.cancel_key.0 ^ 0x4000, talk.cancel_key.1), (0, 0), (-1, -1)]
    {
        cancel(target, key)?;
    }
    talk.until(b'Z')?;
    Ok(talk.end())
}

/// PostgreSQL notices while it waits for data.
fn copy_in(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.send(&Messages::new().query("COPY pr FROM STDIN"))?;
    talk.until(b'G')?;
    talk.send(&Messages::new().copy_data(b"50000\tx\n"))?;
    cancel(target, talk.cancel_key)?;
    // Whether the interrupt is met before or after the next data is a race in PostgreSQL, too; that it is met is not.
    talk.send(&Messages::new().copy_data(b"50001\tx\n"))?;
    for _ in 0..50 {
        if talk.comes_within(Duration::from_millis(100))? {
            break;
        }
        cancel(target, talk.cancel_key)?;
        talk.send(&Messages::new().copy_data(b"50001\tx\n"))?;
    }
    talk.until(b'Z')?;
    let lines: Vec<String> =
        talk.lines().into_iter().map(|line| line.split(" W=").next().unwrap_or_default().to_owned()).collect();
    talk.forget();
    settle(&mut talk)?;
    talk.ask(&Messages::new().query("SELECT count(*) FROM pr WHERE id >= 50000"))?;
    Ok([lines, talk.end()].concat())
}

fn lock_wait(target: &Target) -> Result<Vec<String>> {
    let mut holder = Talk::login(target)?;
    holder.ask(&Messages::new().query("BEGIN"))?;
    holder.ask(&Messages::new().query("UPDATE pr SET v = v WHERE id = 61"))?;
    let mut waiter = Talk::login(target)?;
    waiter.send(&Messages::new().query("UPDATE pr SET v = 'waited' WHERE id = 61"))?;
    cancel_until_answered(target, &mut waiter)?;
    holder.ask(&Messages::new().query("COMMIT"))?;
    settle(&mut Talk::login(target)?)?;
    holder.ask(&Messages::new().query("SELECT v FROM pr WHERE id = 61"))?;
    Ok([holder.end(), waiter.end()].concat())
}
