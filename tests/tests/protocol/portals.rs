//! Portals: row limits, suspension, several at once, their end.

use anyhow::Result;
use atoll_tests::Target;
use atoll_tests::message::Messages;
use atoll_tests::transcript::Talk;

use crate::Scenario;

const ALL: &str = "SELECT id, v FROM pr ORDER BY id";
const ONE: &str = "SELECT id, v FROM pr_one ORDER BY id";

pub const SCENARIOS: &[(&str, Scenario)] = &[
    ("limit_on_one_table", |target| limited(target, ONE)),
    ("limit_on_all_shards", |target| limited(target, ALL)),
    ("limit_by_key", |target| {
        limited(target, "SELECT id, g FROM pr, generate_series(1, 10) g WHERE id = 5 ORDER BY g")
    }),
    ("limit_without_table", |target| limited(target, "SELECT g FROM generate_series(1, 10) g")),
    ("limit_met_exactly", limit_met_exactly),
    ("several_at_once", several_at_once),
    ("end_with_the_transaction", end_with_the_transaction),
    ("same_name_twice", |target| {
        one(target, &Messages::new().parse("s", "SELECT 1", &[]).bind("p", "s", &[]).bind("p", "s", &[]).sync())
    }),
    ("closed", |target| {
        one(
            target,
            &Messages::new()
                .parse("s", ONE, &[])
                .bind("p", "s", &[])
                .execute("p", 2)
                .close_portal("p")
                .execute("p", 2)
                .sync(),
        )
    }),
    ("closed_in_a_later_batch", closed_in_a_later_batch),
    ("executed_again", |target| {
        one(
            target,
            &Messages::new().parse("s", "SELECT 1", &[]).bind("p", "s", &[]).execute("p", 0).execute("p", 0).sync(),
        )
    }),
    ("write_executed_again", |target| {
        one(
            target,
            &Messages::new()
                .parse("s", "UPDATE pr SET v = v WHERE id = 1", &[])
                .bind("p", "s", &[])
                .execute("p", 0)
                .execute("p", 0)
                .sync(),
        )
    }),
    ("returning_with_limit", returning_with_limit),
    ("utility_with_limit", |target| limited(target, "SHOW TimeZone")),
    ("negative_limit", |target| {
        one(target, &Messages::new().parse("", ONE, &[]).bind("", "", &[]).execute("", -1).sync())
    }),
    ("described_late", described_late),
    ("cursor_and_portal", cursor_and_portal),
    ("error_in_mid_portal", error_in_mid_portal),
    ("abandoned", abandoned),
];

fn one(target: &Target, messages: &Messages) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(messages)?;
    Ok(talk.end())
}

/// Three rows, two more, then the rest; within one Sync, and in a transaction over several.
fn limited(target: &Target, sql: &str) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    let open = Messages::new().parse("", sql, &[]).bind("", "", &[]).describe_portal("");
    talk.ask(&open.clone().execute("", 3).execute("", 2).execute("", 0).execute("", 0).sync())?;
    talk.ask(&open.clone().execute("", 3).sync())?;
    talk.ask(&Messages::new().execute("", 3).sync())?;
    talk.ask(&Messages::new().query("BEGIN"))?;
    talk.ask(&Messages::new().parse("", sql, &[]).bind("p", "", &[]).execute("p", 3).sync())?;
    talk.ask(&Messages::new().execute("p", 2).sync())?;
    talk.ask(&Messages::new().query("SELECT 'between'"))?;
    talk.ask(&Messages::new().execute("p", 0).sync())?;
    talk.ask(&Messages::new().query("COMMIT"))?;
    Ok(talk.end())
}

fn limit_met_exactly(target: &Target) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for sql in [
        "SELECT id FROM pr WHERE id <= 4 ORDER BY id",
        "SELECT id FROM pr_one WHERE id <= 4 ORDER BY id",
        "SELECT id FROM pr WHERE id = 4",
    ] {
        let open = Messages::new().parse("", sql, &[]).bind("", "", &[]);
        lines.extend(one(target, &open.execute("", 4).execute("", 4).sync())?);
    }
    Ok(lines)
}

fn several_at_once(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(&Messages::new().query("BEGIN"))?;
    let keyed = "SELECT id, g FROM pr, generate_series(1, 5) g WHERE id = $1 ORDER BY g";
    talk.ask(&Messages::new().parse("k", keyed, &[]).parse("o", ONE, &[]).sync())?;
    talk.ask(&Messages::new().bind("a", "k", &[Some("1")]).bind("b", "k", &[Some("2")]).bind("c", "o", &[]).sync())?;
    for portal in ["a", "b", "c", "b", "a", "c", "a", "b"] {
        talk.ask(&Messages::new().execute(portal, 2).sync())?;
    }
    talk.ask(&Messages::new().query("ROLLBACK"))?;
    Ok(talk.end())
}

fn end_with_the_transaction(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    for sql in [ONE, "SELECT v FROM pr WHERE id = 5"] {
        talk.ask(&Messages::new().query("BEGIN"))?;
        talk.ask(&Messages::new().parse("", sql, &[]).bind("p", "", &[]).execute("p", 1).sync())?;
        talk.ask(&Messages::new().query("COMMIT"))?;
        talk.ask(&Messages::new().execute("p", 1).sync())?;
    }
    Ok(talk.end())
}

fn returning_with_limit(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    let insert = "INSERT INTO pr_one SELECT i, 'r' FROM generate_series(20100, 20105) i RETURNING id";
    talk.ask(&Messages::new().parse("", insert, &[]).bind("", "", &[]).execute("", 2).execute("", 0).sync())?;
    talk.ask(&Messages::new().query("DELETE FROM pr_one WHERE id BETWEEN 20100 AND 20105"))?;
    Ok(talk.end())
}

fn described_late(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    let open = Messages::new().parse("s", "SELECT id, v FROM pr WHERE id = $1", &[]).bind_formats(
        "p",
        "s",
        &[],
        &[Some(b"3")],
        &[1, 0],
    );
    talk.ask(&open.execute("p", 0).describe_portal("p").describe_statement("s").sync())?;
    Ok(talk.end())
}

fn cursor_and_portal(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(&Messages::new().query("BEGIN; DECLARE c CURSOR FOR SELECT id, v FROM pr_one ORDER BY id"))?;
    talk.ask(&Messages::new().describe_portal("c").execute("c", 2).sync())?;
    talk.ask(&Messages::new().query("FETCH 2 FROM c"))?;
    talk.ask(&Messages::new().run("FETCH 3 FROM c", &[]).sync())?;
    talk.ask(&Messages::new().query("CLOSE c; COMMIT"))?;
    Ok(talk.end())
}

fn error_in_mid_portal(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    let sql = "SELECT 1 / (5 - g) FROM generate_series(1, 10) g";
    talk.ask(
        &Messages::new().parse("", sql, &[]).bind("", "", &[]).execute("", 2).execute("", 9).execute("", 9).sync(),
    )?;
    talk.ask(&Messages::new().parse("", sql, &[]).bind("", "", &[]).execute("", 0).sync())?;
    Ok(talk.end())
}

/// A suspended portal is dropped by what comes next.
fn abandoned(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    for sql in [ALL, ONE] {
        talk.ask(&Messages::new().parse("", sql, &[]).bind("", "", &[]).execute("", 2).sync())?;
        talk.ask(&Messages::new().query("SELECT 'next'"))?;
        talk.ask(
            &Messages::new()
                .parse("", sql, &[])
                .bind("", "", &[])
                .execute("", 2)
                .bind("", "", &[])
                .execute("", 1)
                .sync(),
        )?;
    }
    Ok(talk.end())
}

/// A portal holds its table until it is closed.
fn closed_in_a_later_batch(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(&Messages::new().query("BEGIN"))?;
    talk.ask(&Messages::new().query("CREATE TABLE pr_held (id int)"))?;
    talk.ask(&Messages::new().parse("s", "SELECT * FROM pr_held", &[]).bind("p", "s", &[]).execute("p", 0).sync())?;
    talk.ask(&Messages::new().close_portal("p").sync())?;
    talk.ask(&Messages::new().query("DROP TABLE pr_held"))?;
    talk.ask(&Messages::new().query("ROLLBACK"))?;
    Ok(talk.end())
}
