//! Clients that are broken or mean it: a clean end for them, no harm to others.

use anyhow::Result;
use atoll_tests::Target;
use atoll_tests::message::Messages;
use atoll_tests::transcript::Talk;

use crate::Scenario;

pub const SCENARIOS: &[(&str, Scenario)] = &[
    ("unknown_tag", |target| ended(target, &Messages::new().message(b'y', |_| ()))),
    ("password_out_of_place", |target| {
        ended(target, &Messages::new().message(b'p', |out| out.extend_from_slice(b"x\0")))
    }),
    ("zero_bytes", |target| ended(target, &Messages::new().raw(&[0; 64]))),
    ("length_too_small", |target| ended(target, &Messages::new().raw(b"Q\0\0\0\x03"))),
    ("length_negative", |target| ended(target, &Messages::new().raw(b"Q\xff\xff\xff\xff"))),
    ("length_too_big", |target| ended(target, &Messages::new().raw(b"Q\x7f\xff\xff\xff"))),
    ("sync_too_long", |target| ended(target, &Messages::new().raw(b"S\x00\x00\xff\xff"))),
    ("terminate_with_body", |target| {
        ended(target, &Messages::new().message(b'X', |out| out.extend_from_slice(b"abc")))
    }),
    ("half_a_message", |target| ended(target, &Messages::new().raw(b"Q\0\0\0\x20SELECT"))),
    ("half_a_length", |target| ended(target, &Messages::new().raw(b"Q\0\0"))),
    ("query_without_end", |target| {
        recovers(target, &Messages::new().message(b'Q', |out| out.extend_from_slice(b"SELECT 1")))
    }),
    ("query_with_rest", |target| {
        recovers(target, &Messages::new().message(b'Q', |out| out.extend_from_slice(b"SELECT 1\0x")))
    }),
    ("parse_cut_short", |target| {
        recovers(target, &Messages::new().message(b'P', |out| out.extend_from_slice(b"\0SELECT 1\0")).sync())
    }),
    ("parse_with_rest", |target| {
        recovers(target, &Messages::new().message(b'P', |out| out.extend_from_slice(b"\0SELECT 1\0\0\0xyz")).sync())
    }),
    ("parse_negative_count", |target| {
        recovers(target, &Messages::new().message(b'P', |out| out.extend_from_slice(b"\0SELECT 1\0\xff\xff")).sync())
    }),
    ("bind_cut_short", |target| recovers(target, &bound(b"\0\0\0"))),
    ("bind_negative_length", |target| recovers(target, &bound(b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0"))),
    ("bind_long_value", |target| recovers(target, &bound(b"\0\0\0\0\0\x01\x7f\xff\xff\xffx\0\0"))),
    ("bind_many_formats", |target| recovers(target, &bound(b"\0\0\xff\xff"))),
    ("describe_unknown_kind", |target| {
        recovers(target, &Messages::new().message(b'D', |out| out.extend_from_slice(b"Xa\0")).sync())
    }),
    ("close_unknown_kind", |target| {
        recovers(target, &Messages::new().message(b'C', |out| out.extend_from_slice(b"Xa\0")).sync())
    }),
    ("describe_empty", |target| recovers(target, &Messages::new().message(b'D', |_| ()).sync())),
    ("execute_cut_short", |target| {
        recovers(target, &Messages::new().message(b'E', |out| out.extend_from_slice(b"\0\0")).sync())
    }),
    ("text_not_utf8", |target| {
        recovers(target, &Messages::new().message(b'Q', |out| out.extend_from_slice(b"SELECT '\xff\xfe'\0")))
    }),
    ("name_not_utf8", |target| {
        recovers(
            target,
            &Messages::new().message(b'P', |out| out.extend_from_slice(b"\xff\xfe\0SELECT 1\0\0\0")).sync(),
        )
    }),
    ("startup_twice", startup_twice),
];

/// The server ends the session, with or without a word; another one is served.
fn ended(target: &Target, messages: &Messages) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.send(messages)?;
    talk.finish_sending()?;
    talk.until_closed()?;
    let lines = talk.end().into_iter().filter(|line| !line.contains("V=\"FATAL\" C=\"08P01\"")).collect();
    Ok([lines, served(target)?].concat())
}

/// The server reports the violation, as an error of a session that goes on or as the end of the session; another one is served.
fn recovers(target: &Target, messages: &Messages) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(messages)?;
    let told = talk.end().into_iter().find_map(|line| {
        let code = ["08P01", "22021"].into_iter().find(|code| line.contains(&format!("C=\"{code}\"")))?;
        line.starts_with("ErrorResponse").then(|| format!("told {code}"))
    });
    Ok([vec![told.unwrap_or_else(|| "not told".to_owned())], served(target)?].concat())
}

fn served(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::login(target)?;
    talk.ask(&Messages::new().query("SELECT v FROM pr WHERE id = 1"))?;
    Ok(talk.end())
}

/// A good Parse of a statement with one parameter, and a Bind with that body.
fn bound(body: &[u8]) -> Messages {
    Messages::new()
        .parse("", "SELECT * FROM pr WHERE id = $1", &[])
        .message(b'B', |out| out.extend_from_slice(body))
        .sync()
}

fn startup_twice(target: &Target) -> Result<Vec<String>> {
    ended(target, &Messages::new().startup(0x0003_0000, &[("user", "postgres"), ("database", "app")]))
}
