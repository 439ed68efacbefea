//! From the first byte to the first ReadyForQuery.

use std::time::Duration;

use anyhow::Result;
use atoll_tests::Target;
use atoll_tests::message::Messages;
use atoll_tests::transcript::{Talk, VERSION_3_0};

use crate::Scenario;

const SSL_REQUEST: u32 = 80_877_103;
const APP: &[(&str, &str)] = &[("user", "postgres"), ("database", "app")];

pub const SCENARIOS: &[(&str, Scenario)] = &[
    ("parameters_are_announced", parameters_are_announced),
    ("settings_may_be_given", settings_may_be_given),
    ("options_may_be_given", options_may_be_given),
    ("database_defaults_to_the_user", database_defaults_to_the_user),
    ("unknown_parameter", |target| {
        refused(target, VERSION_3_0, &[("user", "postgres"), ("database", "app"), ("nope", "1")])
    }),
    ("bad_value", |target| {
        refused(target, VERSION_3_0, &[("user", "postgres"), ("database", "app"), ("TimeZone", "Nowhere")])
    }),
    ("bad_encoding", |target| {
        refused(target, VERSION_3_0, &[("user", "postgres"), ("database", "app"), ("client_encoding", "nope")])
    }),
    ("bad_options", |target| {
        refused(target, VERSION_3_0, &[("user", "postgres"), ("database", "app"), ("options", "-c nope")])
    }),
    ("no_user", |target| refused(target, VERSION_3_0, &[("database", "app")])),
    ("empty_user", |target| refused(target, VERSION_3_0, &[("user", ""), ("database", "app")])),
    ("unknown_role", |target| refused(target, VERSION_3_0, &[("user", "nobody_here"), ("database", "app")])),
    ("unknown_database", |target| refused(target, VERSION_3_0, &[("user", "postgres"), ("database", "nope")])),
    ("no_parameters", |target| refused(target, VERSION_3_0, &[])),
    ("version_2_0", |target| refused_as_of_old(target, 0x0002_0000)),
    ("version_4_0", |target| refused(target, 0x0004_0000, APP)),
    ("version_1_0", |target| refused_as_of_old(target, 0x0001_0000)),
    ("version_3_2_is_negotiated", |target| negotiated(target, 0x0003_0002, APP)),
    ("protocol_options_are_negotiated", |target| {
        negotiated(target, VERSION_3_0, &[("user", "postgres"), ("database", "app"), ("_pq_.x", "1")])
    }),
    ("encryption_is_declined", encryption_is_declined),
    ("no_terminator", no_terminator),
    ("lengths_that_cannot_be", lengths_that_cannot_be),
    ("not_postgres_at_all", not_postgres_at_all),
    ("statement_with_the_startup", statement_with_the_startup),
    ("application_name_is_cleaned", application_name_is_cleaned),
];

fn refused(target: &Target, version: u32, parameters: &[(&str, &str)]) -> Result<Vec<String>> {
    let mut talk = Talk::connect(target)?;
    talk.send(&Messages::new().startup(version, parameters))?;
    talk.until_closed()?;
    // PostgreSQL looks for the role after authentication; who refuses before it has told the client no less.
    Ok(talk.end().into_iter().filter(|line| !line.starts_with("Authentication")).collect())
}

/// Clients older than protocol 3 may be told in their own way: `E`, the text, a zero byte.
fn refused_as_of_old(target: &Target, version: u32) -> Result<Vec<String>> {
    let mut talk = Talk::connect(target)?;
    talk.send(&Messages::new().startup(version, APP))?;
    talk.bytes_until_closed()?;
    let said = talk.end().concat();
    let (major, minor) = (version >> 16, version & 0xffff);
    let told = said.starts_with("bytes E") && said.contains(&format!("unsupported frontend protocol {major}.{minor}"));
    Ok(vec![if told { "told".to_owned() } else { said }])
}

/// PostgreSQL closes the connection of what does not speak its protocol, with or without a word.
fn closed(mut talk: Talk) -> Result<Vec<String>> {
    talk.until_closed()?;
    Ok(talk.end().into_iter().filter(|line| !line.contains("V=\"FATAL\" C=\"08P01\"")).collect())
}

/// The frames of a login, those that have no order of their own sorted.
fn logged_in(mut talk: Talk) -> Result<Vec<String>> {
    talk.until(b'Z')?;
    let mut lines = talk.end();
    lines.sort();
    Ok(lines)
}

fn parameters_are_announced(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::connect(target)?;
    talk.send(&Messages::new().startup(VERSION_3_0, APP))?;
    logged_in(talk)
}

fn settings_may_be_given(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::connect(target)?;
    let settings = [
        ("user", "postgres"),
        ("database", "app"),
        ("application_name", "protocol tests"),
        ("client_encoding", "'utf-8'"),
        ("DateStyle", "German"),
        ("TimeZone", "Asia/Tokyo"),
        ("extra_float_digits", "2"),
        ("search_path", "pg_catalog, public"),
    ];
    talk.send(&Messages::new().startup(VERSION_3_0, &settings))?;
    logged_in(talk)
}

fn options_may_be_given(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::connect(target)?;
    let options = "-c work_mem=3MB --search_path=pg_catalog -c my.own=a\\ b";
    talk.send(
        &Messages::new().startup(VERSION_3_0, &[("user", "postgres"), ("database", "app"), ("options", options)]),
    )?;
    let mut talk = after_login(talk)?;
    for setting in ["work_mem", "search_path", "my.own"] {
        talk.ask(&Messages::new().query(&format!("SHOW {setting}")))?;
    }
    talk.ask(&Messages::new().query("RESET ALL; SHOW work_mem"))?;
    Ok(talk.end())
}

/// The same conversation with the login's frames forgotten (they are compared elsewhere, without their order).
fn after_login(mut talk: Talk) -> Result<Talk> {
    talk.until(b'Z')?;
    talk.forget();
    Ok(talk)
}

fn database_defaults_to_the_user(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::connect(target)?;
    talk.send(&Messages::new().startup(VERSION_3_0, &[("user", "postgres")]))?;
    let mut talk = after_login(talk)?;
    talk.ask(&Messages::new().query("SELECT current_database(), current_user"))?;
    Ok(talk.end())
}

fn negotiated(target: &Target, version: u32, parameters: &[(&str, &str)]) -> Result<Vec<String>> {
    let mut talk = Talk::connect(target)?;
    talk.send(&Messages::new().startup(version, parameters))?;
    logged_in(talk)
}

fn encryption_is_declined(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::connect(target)?;
    talk.send(&Messages::new().request(SSL_REQUEST))?;
    talk.byte()?;
    talk.send(&Messages::new().startup(VERSION_3_0, APP))?;
    logged_in(talk)
}

fn no_terminator(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::connect(target)?;
    let body = b"\x00\x03\x00\x00user\x00postgres\x00database\x00app";
    let length = u32::try_from(body.len() + 4)?;
    talk.send(&Messages::new().raw(&length.to_be_bytes()).raw(body))?;
    talk.until_closed()?;
    Ok(talk.end())
}

fn lengths_that_cannot_be(target: &Target) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for length in [0_u32, 3, 4, 7, 10_001, 0x7fff_ffff, 0xffff_ffff] {
        let mut talk = Talk::connect(target)?;
        talk.send(&Messages::new().raw(&length.to_be_bytes()).raw(&VERSION_3_0.to_be_bytes()))?;
        talk.finish_sending()?;
        lines.push(format!("length {length}"));
        lines.extend(closed(talk)?);
    }
    Ok(lines)
}

fn not_postgres_at_all(target: &Target) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0\0\0\0\0\0\0\0",
        b"x",
        b"",
    ] {
        let mut talk = Talk::connect(target)?;
        talk.send(&Messages::new().raw(bytes))?;
        talk.finish_sending()?;
        lines.extend(closed(talk)?);
    }
    // And the server still serves.
    let mut talk = Talk::login(target)?;
    talk.ask(&Messages::new().query("SELECT 1"))?;
    lines.extend(talk.end());
    Ok(lines)
}

fn statement_with_the_startup(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::connect(target)?;
    talk.send(&Messages::new().startup(VERSION_3_0, APP).query("SELECT 'early'").query("SELECT 'also early'"))?;
    let mut talk = after_login(talk)?;
    talk.until(b'Z')?;
    talk.until(b'Z')?;
    talk.silence(Duration::from_millis(50))?;
    Ok(talk.end())
}

fn application_name_is_cleaned(target: &Target) -> Result<Vec<String>> {
    let mut talk = Talk::connect(target)?;
    talk.send(
        &Messages::new()
            .startup(VERSION_3_0, &[("user", "postgres"), ("database", "app"), ("application_name", "a\tbé")]),
    )?;
    let mut talk = after_login(talk)?;
    talk.ask(&Messages::new().query("SHOW application_name"))?;
    Ok(talk.end())
}
