//! The extended protocol: statements, parameters, formats, pipelines.

use std::time::Duration;

use anyhow::Result;
use atoll_tests::Target;
use atoll_tests::message::Messages;
use atoll_tests::transcript::Talk;

use crate::Scenario;

const INT8: u32 = 20;
const INT4: u32 = 23;
const TEXT: u32 = 25;
const BY_KEY: &str = "SELECT * FROM pr WHERE id = $1";

pub const SCENARIOS: &[(&str, Scenario)] = &[
    ("unnamed", |target| one(target, &Messages::new().run("SELECT 1 AS one", &[]).sync())),
    ("by_key", |target| one(target, &Messages::new().run(BY_KEY, &[Some("7")]).sync())),
    ("all_shards", |target| {
        one(target, &Messages::new().run("SELECT count(*), max(v) FROM pr WHERE id > $1", &[Some("50")]).sync())
    }),
    ("describe_statement", describe_statement),
    ("describe_without_execute", |target| {
        one(target, &Messages::new().parse("", BY_KEY, &[]).describe_statement("").sync())
    }),
    ("null_parameters", |target| one(target, &Messages::new().run(BY_KEY, &[None]).sync())),
    ("nothing_to_do", |target| one(target, &Messages::new().run("", &[]).run("-- comment", &[]).sync())),
    ("several_commands", |target| one(target, &Messages::new().run("SELECT 1; SELECT 2", &[]).sync())),
    ("only_sync", |target| three(target, &Messages::new().sync().sync().sync())),
    ("named_statements", named_statements),
    ("named_by_many_keys", named_by_many_keys),
    ("named_survives_rollback", named_survives_rollback),
    ("same_name_twice", |target| {
        one(target, &Messages::new().parse("a", "SELECT 1", &[]).parse("a", "SELECT 2", &[]).sync())
    }),
    ("unnamed_may_be_replaced", |target| {
        one(
            target,
            &Messages::new()
                .parse("", "SELECT 1", &[])
                .parse("", "SELECT 2", &[])
                .bind("", "", &[])
                .execute("", 0)
                .sync(),
        )
    }),
    ("unknown_names", unknown_names),
    ("closed_statement", closed_statement),
    ("query_ends_the_unnamed", query_ends_the_unnamed),
    ("flush", flush),
    ("pipeline", pipeline),
    ("error_skips_to_sync", error_skips_to_sync),
    ("error_ends_only_its_sync", error_ends_only_its_sync),
    ("pipeline_is_one_transaction", pipeline_is_one_transaction),
    ("begin_in_a_pipeline", begin_in_a_pipeline),
    ("failed_transaction", failed_transaction),
    ("binary", binary),
    ("mixed_formats", mixed_formats),
    ("wrong_format_counts", wrong_format_counts),
    ("wrong_parameter_counts", wrong_parameter_counts),
    ("bad_parameters", bad_parameters),
    ("parse_errors", parse_errors),
    ("declared_types", declared_types),
    ("changed_table", changed_table),
    ("settings", |target| {
        one(target, &Messages::new().run("SET TimeZone = 'Asia/Tokyo'", &[]).run("SHOW TimeZone", &[]).sync())
    }),
    ("writes", writes),
    ("sql_and_protocol_prepare", sql_and_protocol_prepare),
    ("many_statements", many_statements),
];

fn one(target: &Target, messages: &Messages) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(messages)?;
    Ok(talk.end())
}

fn three(target: &Target, messages: &Messages) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.send(messages)?;
    for _ in 0..3 {
        talk.until(b'Z')?;
    }
    Ok(talk.end())
}

fn describe_statement(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    for sql in [
        BY_KEY,
        "SELECT v, id + 1 AS next FROM pr WHERE v = $1 AND id = $2",
        "SELECT count(*), sum(id), avg(id), min(v) FROM pr",
        "INSERT INTO pr VALUES ($1, $2)",
        "INSERT INTO pr VALUES ($1, $2) RETURNING *",
        "UPDATE pr SET v = $2 WHERE id = $1",
        "DELETE FROM pr WHERE id = ANY ($1)",
        "SELECT $1::int4 + $2, $3::text",
        "SET work_mem = '1MB'",
        "BEGIN",
        "SHOW TimeZone",
        "EXPLAIN SELECT 1",
        "VALUES (1, 'x')",
        "SELECT",
        "",
        "COPY pr TO STDOUT",
        "SELECT id FROM pr ORDER BY id LIMIT $1 OFFSET $2",
    ] {
        talk.note(sql);
        talk.ask(&Messages::new().parse("", sql, &[]).describe_statement("").sync())?;
    }
    Ok(talk.end())
}

fn named_statements(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(&Messages::new().parse("a", BY_KEY, &[]).parse("b", "SELECT 'b'", &[]).sync())?;
    talk.ask(&Messages::new().bind("", "a", &[Some("1")]).execute("", 0).sync())?;
    talk.ask(&Messages::new().query("SELECT 'between'"))?;
    talk.ask(&Messages::new().bind("", "b", &[]).describe_portal("").execute("", 0).sync())?;
    talk.ask(&Messages::new().bind("", "a", &[Some("2")]).describe_portal("").execute("", 0).sync())?;
    talk.ask(
        &Messages::new()
            .bind("p", "a", &[Some("3")])
            .bind("q", "a", &[Some("4")])
            .execute("q", 0)
            .execute("p", 0)
            .sync(),
    )?;
    talk.ask(&Messages::new().describe_statement("a").describe_statement("b").sync())?;
    Ok(talk.end())
}

fn named_by_many_keys(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(&Messages::new().parse("k", BY_KEY, &[INT8]).sync())?;
    for id in 1..=40 {
        talk.ask(&Messages::new().bind("", "k", &[Some(&id.to_string())]).execute("", 0).sync())?;
    }
    let mut messages = Messages::new();
    for id in 1..=40 {
        messages = messages.bind("", "k", &[Some(&id.to_string())]).execute("", 0);
    }
    talk.ask(&messages.sync())?;
    Ok(talk.end())
}

fn named_survives_rollback(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(&Messages::new().query("BEGIN"))?;
    talk.ask(&Messages::new().parse("a", BY_KEY, &[]).bind("", "a", &[Some("1")]).execute("", 0).sync())?;
    talk.ask(&Messages::new().query("ROLLBACK"))?;
    talk.ask(&Messages::new().bind("", "a", &[Some("2")]).execute("", 0).sync())?;
    talk.ask(&Messages::new().parse("broken", "SELECT nope", &[]).sync())?;
    talk.ask(&Messages::new().bind("", "broken", &[]).execute("", 0).sync())?;
    talk.ask(&Messages::new().query("DEALLOCATE ALL"))?;
    talk.ask(&Messages::new().bind("", "a", &[Some("2")]).execute("", 0).sync())?;
    talk.ask(&Messages::new().parse("a", "SELECT 'again'", &[]).bind("", "a", &[]).execute("", 0).sync())?;
    talk.ask(&Messages::new().query("DISCARD ALL"))?;
    talk.ask(&Messages::new().bind("", "a", &[]).execute("", 0).sync())?;
    Ok(talk.end())
}

fn unknown_names(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(&Messages::new().bind("", "nope", &[]).sync())?;
    talk.ask(&Messages::new().bind("", "", &[]).sync())?;
    talk.ask(&Messages::new().execute("nope", 0).sync())?;
    talk.ask(&Messages::new().execute("", 0).sync())?;
    talk.ask(&Messages::new().describe_statement("nope").sync())?;
    talk.ask(&Messages::new().describe_portal("nope").sync())?;
    talk.ask(
        &Messages::new().close_statement("nope").close_portal("nope").close_statement("").close_portal("").sync(),
    )?;
    Ok(talk.end())
}

fn closed_statement(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(
        &Messages::new()
            .parse("a", BY_KEY, &[])
            .bind("p", "a", &[Some("1")])
            .close_statement("a")
            .execute("p", 0)
            .sync(),
    )?;
    talk.ask(&Messages::new().bind("", "a", &[Some("1")]).execute("", 0).sync())?;
    talk.ask(&Messages::new().parse("a", "SELECT 'new'", &[]).bind("", "a", &[]).execute("", 0).sync())?;
    Ok(talk.end())
}

fn query_ends_the_unnamed(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(&Messages::new().parse("", "SELECT 1", &[]).sync())?;
    talk.ask(&Messages::new().bind("", "", &[]).execute("", 0).sync())?;
    talk.ask(&Messages::new().query("SELECT 2"))?;
    talk.ask(&Messages::new().bind("", "", &[]).execute("", 0).sync())?;
    Ok(talk.end())
}

fn flush(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.send(&Messages::new().parse("", BY_KEY, &[]).flush())?;
    talk.until(b'1')?;
    talk.send(&Messages::new().describe_statement("").flush())?;
    talk.until(b'T')?;
    talk.send(&Messages::new().bind("", "", &[Some("3")]).execute("", 0).flush())?;
    talk.until(b'C')?;
    talk.silence(Duration::from_millis(50))?;
    talk.send(&Messages::new().parse("", "SELECT nope", &[]).flush())?;
    talk.until(b'E')?;
    talk.send(&Messages::new().parse("", "SELECT 1", &[]).flush())?;
    talk.silence(Duration::from_millis(50))?;
    talk.ask(&Messages::new().sync())?;
    Ok(talk.end())
}

fn pipeline(target: &Target) -> Result<Vec<String>> {
    let mut messages = Messages::new();
    for id in 1..=20 {
        messages = messages.run(BY_KEY, &[Some(&id.to_string())]);
    }
    one(target, &messages.run("SELECT count(*) FROM pr", &[]).run("SELECT 'last'", &[]).sync())
}

fn error_skips_to_sync(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    let bad = Messages::new().run("SELECT 'before'", &[]).run("SELECT 1/0", &[]).run("SELECT 'skipped'", &[]);
    talk.ask(&bad.parse("skipped", "SELECT 1", &[]).close_statement("x").flush().sync())?;
    talk.ask(&Messages::new().bind("", "skipped", &[]).sync())?;
    talk.ask(&Messages::new().run("SELECT 'after'", &[]).sync())?;
    talk.ask(&Messages::new().run(BY_KEY, &[Some("x")]).run("SELECT 'skipped'", &[]).sync())?;
    talk.ask(&Messages::new().run("SELECT sum(1 / (id - 50)) FROM pr", &[]).run("SELECT 'skipped'", &[]).sync())?;
    Ok(talk.end())
}

fn error_ends_only_its_sync(target: &Target) -> Result<Vec<String>> {
    let first = Messages::new().run("SELECT nope", &[]).run("SELECT 'skipped'", &[]).sync();
    three(target, &first.run(BY_KEY, &[Some("5")]).sync().run("SELECT 'third'", &[]).sync())
}

fn pipeline_is_one_transaction(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    let inserts = Messages::new()
        .run("INSERT INTO pw VALUES (20001, 'x')", &[])
        .run("INSERT INTO pw VALUES (20002, 'y')", &[])
        .run("SELECT count(*) FROM pw WHERE id IN (20001, 20002)", &[]);
    talk.ask(&inserts.clone().run("SELECT 1/0", &[]).sync())?;
    talk.ask(&Messages::new().query("SELECT count(*) FROM pw WHERE id IN (20001, 20002)"))?;
    talk.ask(&inserts.sync())?;
    talk.ask(&Messages::new().query("DELETE FROM pw WHERE id IN (20001, 20002)"))?;
    Ok(talk.end())
}

fn begin_in_a_pipeline(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(
        &Messages::new().run("BEGIN", &[]).run("INSERT INTO pw VALUES (20010, 'x')", &[]).run("COMMIT", &[]).sync(),
    )?;
    talk.ask(&Messages::new().run("BEGIN", &[]).run("DELETE FROM pw WHERE id = 20010", &[]).sync())?;
    talk.ask(&Messages::new().run("ROLLBACK", &[]).run("SELECT * FROM pw WHERE id = $1", &[Some("20010")]).sync())?;
    talk.ask(&Messages::new().run("DELETE FROM pw WHERE id = $1", &[Some("20010")]).sync())?;
    Ok(talk.end())
}

fn failed_transaction(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(&Messages::new().parse("ok", BY_KEY, &[]).parse("end", "ROLLBACK", &[]).sync())?;
    talk.ask(&Messages::new().query("BEGIN"))?;
    talk.ask(&Messages::new().run("SELECT 1/0", &[]).sync())?;
    talk.ask(&Messages::new().run("SELECT 1", &[]).sync())?;
    talk.ask(&Messages::new().bind("", "ok", &[Some("1")]).sync())?;
    talk.ask(&Messages::new().describe_statement("ok").sync())?;
    talk.ask(&Messages::new().bind("", "end", &[]).execute("", 0).sync())?;
    talk.ask(&Messages::new().bind("", "ok", &[Some("1")]).execute("", 0).sync())?;
    Ok(talk.end())
}

fn binary(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    let id = 7_i64.to_be_bytes();
    for sql in [
        BY_KEY,
        "SELECT id, v, id::float8, id::numeric FROM pr_one WHERE id = $1",
        "SELECT count(*), sum(id), avg(id), max(v) FROM pr WHERE id < $1",
    ] {
        talk.ask(
            &Messages::new()
                .parse("", sql, &[INT8])
                .bind_formats("", "", &[1], &[Some(&id)], &[1])
                .describe_portal("")
                .execute("", 0)
                .sync(),
        )?;
    }
    // Without a declared type the server tells what it wants; int8 as it turns out.
    talk.ask(
        &Messages::new().parse("", BY_KEY, &[]).bind_formats("", "", &[1], &[Some(&id)], &[1]).execute("", 0).sync(),
    )?;
    let small = 7_i32.to_be_bytes();
    talk.ask(
        &Messages::new()
            .parse("", BY_KEY, &[INT4])
            .bind_formats("", "", &[1], &[Some(&small)], &[1])
            .execute("", 0)
            .sync(),
    )?;
    talk.ask(
        &Messages::new()
            .parse("", BY_KEY, &[21])
            .bind_formats("", "", &[1], &[Some(&[0, 7])], &[1])
            .execute("", 0)
            .sync(),
    )?;
    talk.ask(
        &Messages::new().parse("", BY_KEY, &[INT8]).bind_formats("", "", &[1], &[None], &[1]).execute("", 0).sync(),
    )?;
    Ok(talk.end())
}

fn mixed_formats(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    let id = 7_i64.to_be_bytes();
    let sql = "SELECT id, v, id AS id2, $2 AS given FROM pr WHERE id = $1";
    let parameters: [Option<&[u8]>; 2] = [Some(&id), Some(b"text")];
    let parse = Messages::new().parse("m", sql, &[INT8, TEXT]);
    talk.ask(
        &parse.bind_formats("", "m", &[1, 0], &parameters, &[0, 1, 1, 0]).describe_portal("").execute("", 0).sync(),
    )?;
    talk.ask(
        &Messages::new()
            .bind_formats("", "m", &[1, 1], &parameters, &[1, 0, 0, 1])
            .describe_portal("")
            .execute("", 0)
            .sync(),
    )?;
    talk.ask(
        &Messages::new().bind_formats("", "m", &[1, 1], &parameters, &[]).describe_portal("").execute("", 0).sync(),
    )?;
    let aggregate = "SELECT count(*), max(v), sum(id), min(id) FROM pr";
    talk.ask(
        &Messages::new()
            .parse("", aggregate, &[])
            .bind_formats("", "", &[], &[], &[1, 0, 0, 1])
            .describe_portal("")
            .execute("", 0)
            .sync(),
    )?;
    let rows = "SELECT id, v FROM pr ORDER BY id LIMIT 3";
    talk.ask(
        &Messages::new()
            .parse("", rows, &[])
            .bind_formats("", "", &[], &[], &[1, 0])
            .describe_portal("")
            .execute("", 0)
            .sync(),
    )?;
    Ok(talk.end())
}

fn wrong_format_counts(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    let value: [Option<&[u8]>; 1] = [Some(b"7")];
    talk.ask(&Messages::new().parse("f", BY_KEY, &[]).bind_formats("", "f", &[0, 0], &value, &[]).sync())?;
    talk.ask(
        &Messages::new().bind_formats("", "f", &[], &value, &[0, 0, 0]).describe_portal("").execute("", 0).sync(),
    )?;
    talk.ask(&Messages::new().bind_formats("", "f", &[2], &value, &[]).execute("", 0).sync())?;
    talk.ask(&Messages::new().bind_formats("", "f", &[0], &value, &[2]).execute("", 0).sync())?;
    Ok(talk.end())
}

fn wrong_parameter_counts(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(&Messages::new().parse("c", BY_KEY, &[]).bind("", "c", &[]).execute("", 0).sync())?;
    talk.ask(&Messages::new().bind("", "c", &[Some("1"), Some("2")]).execute("", 0).sync())?;
    talk.ask(&Messages::new().parse("", "SELECT 1", &[]).bind("", "", &[Some("1")]).execute("", 0).sync())?;
    talk.ask(&Messages::new().parse("", BY_KEY, &[INT8, TEXT]).describe_statement("").sync())?;
    talk.ask(&Messages::new().query("SELECT * FROM pr WHERE id = $1"))?;
    Ok(talk.end())
}

fn bad_parameters(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(&Messages::new().parse("b", BY_KEY, &[INT8]).bind("", "b", &[Some("x")]).execute("", 0).sync())?;
    talk.ask(&Messages::new().bind("", "b", &[Some("")]).execute("", 0).sync())?;
    talk.ask(&Messages::new().bind("", "b", &[Some("99999999999999999999")]).execute("", 0).sync())?;
    talk.ask(&Messages::new().bind("", "b", &[Some(" 7 ")]).execute("", 0).sync())?;
    talk.ask(&Messages::new().bind_formats("", "b", &[1], &[Some(&[0, 7])], &[]).execute("", 0).sync())?;
    talk.ask(&Messages::new().bind_formats("", "b", &[1], &[Some(&[0; 9])], &[]).execute("", 0).sync())?;
    talk.ask(&Messages::new().bind_formats("", "b", &[1], &[Some(&[])], &[]).execute("", 0).sync())?;
    let not_utf8: [Option<&[u8]>; 1] = [Some(b"\xff\xfe")];
    talk.ask(
        &Messages::new()
            .parse("", "SELECT * FROM pr WHERE v = $1", &[])
            .bind_formats("", "", &[], &not_utf8, &[])
            .execute("", 0)
            .sync(),
    )?;
    let with_zero: [Option<&[u8]>; 1] = [Some(b"a\0b")];
    talk.ask(
        &Messages::new()
            .parse("", "SELECT * FROM pr WHERE v = $1", &[TEXT])
            .bind_formats("", "", &[], &with_zero, &[])
            .execute("", 0)
            .sync(),
    )?;
    talk.ask(&Messages::new().bind("", "b", &[Some("7")]).execute("", 0).sync())?;
    Ok(talk.end())
}

fn parse_errors(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    for sql in [
        "SELEC 1",
        "SELECT nope",
        "SELECT * FROM nope WHERE id = $1",
        "SELECT $1",
        "SELECT $2::int",
        "SELECT $0",
        "SELECT 'x",
        "SELECT * FROM pr WHERE id = $1 AND v = $1",
    ] {
        talk.note(sql);
        talk.ask(&Messages::new().parse("", sql, &[]).describe_statement("").sync())?;
    }
    talk.ask(&Messages::new().parse("", BY_KEY, &[999_999]).sync())?;
    Ok(talk.end())
}

fn declared_types(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    for types in [&[][..], &[0], &[INT8], &[INT4], &[21], &[TEXT], &[1700], &[701], &[1043], &[16], &[705]] {
        talk.note(format!("{types:?}"));
        talk.ask(
            &Messages::new()
                .parse("", BY_KEY, types)
                .describe_statement("")
                .bind("", "", &[Some("1")])
                .execute("", 0)
                .sync(),
        )?;
    }
    Ok(talk.end())
}

fn changed_table(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(&Messages::new().query("CREATE TABLE pr_changed (id int8 PRIMARY KEY, v text)"))?;
    talk.ask(&Messages::new().query("INSERT INTO pr_changed VALUES (1, 'x')"))?;
    talk.ask(
        &Messages::new()
            .parse("all", "SELECT * FROM pr_changed WHERE id = $1", &[])
            .parse("v", "SELECT v FROM pr_changed WHERE id = $1", &[])
            .sync(),
    )?;
    let run = |name: &str| Messages::new().bind("", name, &[Some("1")]).execute("", 0).sync();
    talk.ask(&run("all"))?;
    talk.ask(&Messages::new().query("ALTER TABLE pr_changed ADD COLUMN n int"))?;
    talk.ask(&run("all"))?;
    talk.ask(&run("v"))?;
    talk.ask(&Messages::new().query("ALTER TABLE pr_changed DROP COLUMN n"))?;
    talk.ask(&run("all"))?;
    talk.ask(&Messages::new().query("DROP TABLE pr_changed"))?;
    talk.ask(&run("v"))?;
    Ok(talk.end())
}

fn writes(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    let insert = "INSERT INTO pw VALUES ($1, $2) RETURNING id";
    talk.ask(&Messages::new().parse("i", insert, &[]).sync())?;
    for id in 20_020..20_030 {
        talk.ask(
            &Messages::new()
                .bind("", "i", &[Some(&id.to_string()), Some("w")])
                .describe_portal("")
                .execute("", 0)
                .sync(),
        )?;
    }
    talk.ask(&Messages::new().bind("", "i", &[Some("20020"), Some("dup")]).execute("", 0).sync())?;
    talk.ask(&Messages::new().run("UPDATE pw SET v = $2 WHERE id = $1", &[Some("20021"), Some("u")]).sync())?;
    talk.ask(
        &Messages::new()
            .run("UPDATE pw SET v = $1 WHERE id BETWEEN $2 AND 20999", &[Some("all"), Some("20020")])
            .sync(),
    )?;
    talk.ask(
        &Messages::new().run("INSERT INTO pw VALUES ($1, 'a'), ($2, 'b')", &[Some("20040"), Some("20041")]).sync(),
    )?;
    talk.ask(&Messages::new().run("DELETE FROM pw WHERE id BETWEEN $1 AND 20999", &[Some("20020")]).sync())?;
    Ok(talk.end())
}

/// `PREPARE` and Parse share one name space.
fn sql_and_protocol_prepare(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(&Messages::new().query("PREPARE s (int8) AS SELECT v FROM pr WHERE id = $1"))?;
    talk.ask(&Messages::new().parse("s", "SELECT 1", &[]).sync())?;
    talk.ask(&Messages::new().describe_statement("s").bind("", "s", &[Some("3")]).execute("", 0).sync())?;
    talk.ask(&Messages::new().parse("t", "SELECT v FROM pr WHERE id = $1", &[INT8]).sync())?;
    talk.ask(&Messages::new().query("EXECUTE t (4)"))?;
    talk.ask(&Messages::new().query("DEALLOCATE t"))?;
    talk.ask(&Messages::new().bind("", "t", &[Some("3")]).sync())?;
    talk.ask(&Messages::new().close_statement("s").sync())?;
    talk.ask(&Messages::new().query("EXECUTE s (4)"))?;
    Ok(talk.end())
}

fn many_statements(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    let mut messages = Messages::new();
    for number in 0..600 {
        messages = messages.parse(&format!("s{number}"), &format!("SELECT v, {number} FROM pr WHERE id = $1"), &[]);
    }
    talk.ask(&messages.sync())?;
    let mut messages = Messages::new();
    for number in (0..600).rev().step_by(7) {
        messages = messages.bind("", &format!("s{number}"), &[Some("9")]).execute("", 0);
    }
    talk.ask(&messages.sync())?;
    Ok(talk.end())
}
