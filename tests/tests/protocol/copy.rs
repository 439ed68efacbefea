//! COPY as messages.

use anyhow::Result;
use atoll_tests::Target;
use atoll_tests::message::Messages;
use atoll_tests::transcript::Talk;

use crate::Scenario;

const IN: &str = "COPY pw FROM STDIN";
const CLEAN: &str = "DELETE FROM pw WHERE id >= 30000";

pub const SCENARIOS: &[(&str, Scenario)] = &[
    ("in", |target| copy_in(target, &Messages::new().copy_data(b"30000\ta\n30001\tb\n").copy_done())),
    ("in_without_rows", |target| copy_in(target, &Messages::new().copy_done())),
    ("in_by_bytes", by_bytes),
    ("in_with_end_marker", |target| copy_in(target, &Messages::new().copy_data(b"30002\ta\n\\.\n").copy_done())),
    ("in_without_last_newline", |target| {
        copy_in(target, &Messages::new().copy_data(b"30003\ta\n30004\tb").copy_done())
    }),
    ("in_with_crlf", |target| copy_in(target, &Messages::new().copy_data(b"30005\ta\r\n30006\tb\r\n").copy_done())),
    ("in_failed", |target| copy_in(target, &Messages::new().copy_data(b"30007\ta\n").copy_fail("because"))),
    ("in_bad_row", |target| copy_in(target, &Messages::new().copy_data(b"30008\ta\nx\tb\n30009\tc\n").copy_done())),
    ("in_duplicate", |target| copy_in(target, &Messages::new().copy_data(b"30010\ta\n1\tb\n").copy_done())),
    ("in_sync_and_flush_are_ignored", |target| {
        copy_in(target, &Messages::new().copy_data(b"30011\ta\n").flush().sync().copy_data(b"30012\tb\n").copy_done())
    }),
    ("in_with_a_query", in_with_a_query),
    ("in_into_one_table", in_into_one_table),
    ("in_extended", in_extended),
    ("in_extended_fails_early", in_extended_fails_early),
    ("in_several_per_message", in_several_per_message),
    ("in_a_transaction", in_a_transaction),
    ("in_many_rows", in_many_rows),
    ("out", |target| {
        asked(
            target,
            &[
                "COPY (SELECT * FROM pw WHERE id < 4 ORDER BY id) TO STDOUT",
                "COPY (SELECT v FROM pw WHERE id = 3) TO STDOUT CSV HEADER",
            ],
        )
    }),
    ("out_binary", |target| {
        asked(target, &["COPY (SELECT id FROM pr_one WHERE id < 4 ORDER BY id) TO STDOUT (FORMAT binary)"])
    }),
    ("out_fails", |target| {
        asked(
            target,
            &["COPY (SELECT 1 / (3 - g) FROM generate_series(1, 5) g) TO STDOUT", "COPY nope TO STDOUT", "SELECT 1"],
        )
    }),
    ("out_extended", out_extended),
    ("data_out_of_place", data_out_of_place),
];

fn copy_in(target: &Target, data: &Messages) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.send(&Messages::new().query(IN))?;
    talk.until(b'G')?;
    talk.ask(data)?;
    talk.ask(&Messages::new().query("SELECT id, v FROM pw WHERE id >= 30000 ORDER BY id"))?;
    talk.ask(&Messages::new().query(CLEAN))?;
    Ok(talk.end())
}

fn asked(target: &Target, queries: &[&str]) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    for query in queries {
        talk.ask(&Messages::new().query(query))?;
    }
    Ok(talk.end())
}

fn by_bytes(target: &Target) -> Result<Vec<String>> {
    let mut messages = Messages::new();
    for byte in b"30020\tone\n30021\ttwo\\nlines\n30022\t\xc3\xbc\n" {
        messages = messages.copy_data(&[*byte]).copy_data(b"");
    }
    copy_in(target, &messages.copy_done())
}

/// A query in the middle of COPY data is a protocol violation that ends the session.
fn in_with_a_query(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.send(&Messages::new().query(IN))?;
    talk.until(b'G')?;
    talk.send(&Messages::new().copy_data(b"30030\ta\n").query("SELECT 1"))?;
    talk.until_closed()?;
    // PostgreSQL sends an error before the FATAL that follows from it.
    let mut lines: Vec<String> = talk.end().into_iter().filter(|line| !line.starts_with("ErrorResponse")).collect();
    lines.extend(asked(target, &["SELECT count(*) FROM pw WHERE id = 30030"])?);
    Ok(lines)
}

fn in_into_one_table(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.send(&Messages::new().query("COPY pr_one (v, id) FROM STDIN CSV"))?;
    talk.until(b'G')?;
    talk.ask(&Messages::new().copy_data(b"a,30040\n\"b,c\",300").copy_data(b"41\n").copy_done())?;
    talk.ask(&Messages::new().query("DELETE FROM pr_one WHERE id >= 30000 RETURNING *"))?;
    Ok(talk.end())
}

fn in_extended(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    let parse = Messages::new().parse("c", IN, &[]).describe_statement("c").bind("", "c", &[]).describe_portal("");
    talk.send(&parse.execute("", 0).flush())?;
    talk.until(b'G')?;
    talk.ask(&Messages::new().copy_data(b"30050\ta\n30051\tb\n").copy_done().sync())?;
    talk.send(&Messages::new().bind("", "c", &[]).execute("", 0).flush())?;
    talk.until(b'G')?;
    talk.ask(&Messages::new().copy_data(b"30052\ta\n").copy_fail("no").run("SELECT 'skipped'", &[]).sync())?;
    talk.send(&Messages::new().bind("", "c", &[]).execute("", 0).flush())?;
    talk.until(b'G')?;
    talk.ask(&Messages::new().copy_data(b"30053\ta\n").copy_done().run("SELECT 'next'", &[]).sync())?;
    talk.ask(&Messages::new().query(CLEAN))?;
    Ok(talk.end())
}

fn in_extended_fails_early(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(&Messages::new().run("COPY nope FROM STDIN", &[]).sync())?;
    talk.ask(&Messages::new().run("COPY pw (nope) FROM STDIN", &[]).copy_data(b"x\n").copy_done().sync())?;
    talk.ask(&Messages::new().query("SELECT 1"))?;
    Ok(talk.end())
}

fn in_several_per_message(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.send(
        &Messages::new()
            .query("COPY pw FROM STDIN; SELECT count(*) FROM pw WHERE id >= 30000; COPY pw FROM STDIN; SELECT 'end'"),
    )?;
    talk.until(b'G')?;
    talk.send(&Messages::new().copy_data(b"30060\ta\n").copy_done())?;
    talk.until(b'G')?;
    talk.ask(&Messages::new().copy_data(b"30061\tb\n").copy_done())?;
    talk.ask(&Messages::new().query(CLEAN))?;
    Ok(talk.end())
}

fn in_a_transaction(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(&Messages::new().query("BEGIN"))?;
    talk.send(&Messages::new().query(IN))?;
    talk.until(b'G')?;
    talk.ask(&Messages::new().copy_data(b"30070\ta\n30071\tb\n30072\tc\n").copy_done())?;
    talk.ask(&Messages::new().query("SELECT count(*) FROM pw WHERE id >= 30000"))?;
    talk.send(&Messages::new().query(IN))?;
    talk.until(b'G')?;
    talk.ask(&Messages::new().copy_fail("no"))?;
    talk.ask(&Messages::new().query("SELECT 1"))?;
    talk.ask(&Messages::new().query("COMMIT"))?;
    talk.ask(&Messages::new().query("SELECT count(*) FROM pw WHERE id >= 30000"))?;
    Ok(talk.end())
}

fn in_many_rows(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.send(&Messages::new().query(IN))?;
    talk.until(b'G')?;
    let rows: String = (0..20_000).map(|row| format!("{}\tvalue of row {row}\n", 40_000 + row)).collect();
    for piece in rows.as_bytes().chunks(1000) {
        talk.send(&Messages::new().copy_data(piece))?;
    }
    talk.ask(&Messages::new().copy_done())?;
    talk.ask(&Messages::new().query("SELECT count(*), sum(id), max(v) FROM pw WHERE id >= 30000"))?;
    talk.ask(&Messages::new().query(CLEAN))?;
    Ok(talk.end())
}

fn out_extended(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    let sql = "COPY (SELECT * FROM pw WHERE id < 4 ORDER BY id) TO STDOUT";
    talk.ask(
        &Messages::new()
            .parse("", sql, &[])
            .describe_statement("")
            .bind("", "", &[])
            .describe_portal("")
            .execute("", 0)
            .run("SELECT 'next'", &[])
            .sync(),
    )?;
    talk.ask(&Messages::new().parse("", sql, &[]).bind("", "", &[]).execute("", 1).sync())?;
    Ok(talk.end())
}

fn data_out_of_place(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(&Messages::new().copy_data(b"x").copy_done().copy_fail("x").query("SELECT 1"))?;
    talk.ask(&Messages::new().run("SELECT 2", &[]).copy_data(b"x").copy_done().sync())?;
    Ok(talk.end())
}
