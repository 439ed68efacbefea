//! When two answers count as the same, and how a difference is shown.

use std::fmt::Write as _;

use bytes::Bytes;

use crate::outcome::{Column, Outcome, ResultSet, Row, ServerError};

/// OIDs from here on are given by each server to what users create; their values differ between servers.
const FIRST_USER_OID: u32 = 16384;
/// record, record[], and the types whose values are OIDs of objects: regproc, regprocedure, regclass, regtype, regrole, regnamespace.
const OID_HOLDERS: [u32; 8] = [2249, 2287, 24, 2202, 2205, 2206, 4096, 4089];
/// How much of a difference is shown.
const ROWS_SHOWN_MAX: usize = 8;

/// What a comparison may take for granted about one statement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rules {
    /// Row order counts.
    pub ordered: bool,
    /// Values may differ (random, times, pids); their number, types and NULLs may not.
    pub any_values: bool,
    /// A clear refusal (0A000) is as good as the answer.
    pub may_refuse: bool,
    /// Of an error only the SQLSTATE counts: its words tell of one server's row or line.
    pub words_differ: bool,
}

/// The differences between the answers of plain PostgreSQL and of the subject, one line each; empty when they are equal.
#[must_use]
pub fn differences(plain: &Outcome, subject: &Outcome, rules: Rules) -> Vec<String> {
    let mut found = Vec::new();
    if rules.may_refuse && subject.error.as_ref().is_some_and(|error| error.sqlstate() == "0A000") {
        return found;
    }
    let sqlstate = |outcome: &Outcome| outcome.error.as_ref().map(|error| error.sqlstate().to_owned());
    if rules.words_differ && plain.error.is_some() && sqlstate(plain) == sqlstate(subject) {
        return found;
    }
    compare_errors(plain.error.as_ref(), subject.error.as_ref(), &mut found);
    if plain.results.len() == subject.results.len() {
        for (plain, subject) in plain.results.iter().zip(&subject.results) {
            compare_results(plain, subject, rules, &mut found);
        }
    } else if found.is_empty() {
        found.push(format!("{} results expected, got {}", plain.results.len(), subject.results.len()));
    }
    let notices = |outcome: &Outcome| -> Vec<String> {
        let mut lines: Vec<String> = outcome.notices.iter().map(essence).collect();
        // Several objects' notices come in an order that PostgreSQL does not promise (DROP ... CASCADE).
        lines.sort();
        lines
    };
    check("notices", &notices(plain), &notices(subject), &mut found);
    check("settings reported", &plain.settings, &subject.settings, &mut found);
    check("notifications", &plain.notifications, &subject.notifications, &mut found);
    let types = |outcome: &Outcome| -> Option<Vec<u32>> {
        outcome.parameter_types.as_ref().map(|types| types.iter().copied().map(comparable_oid).collect())
    };
    check("parameter types", &types(plain), &types(subject), &mut found);
    check("transaction status", &char::from(plain.status), &char::from(subject.status), &mut found);
    found
}

fn check<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, got: &T, found: &mut Vec<String>) {
    if expected != got {
        found.push(format!("{what}: expected {expected:?}, got {got:?}"));
    }
}

/// All user-given OIDs look alike.
#[must_use]
pub fn comparable_oid(oid: u32) -> u32 {
    oid.min(FIRST_USER_OID)
}

/// The fields of an error that clients act on. CONTEXT may name the shard; file, line and routine are the server's own business.
#[must_use]
pub fn essence(error: &ServerError) -> String {
    let mut out = String::new();
    for letter in [b'V', b'C', b'M', b'D', b'H', b'P', b'p', b'q', b's', b't', b'c', b'd', b'n'] {
        if let Some(value) = error.field(letter) {
            let _ = write!(out, "{}={value:?} ", char::from(letter));
        }
    }
    out
}

fn compare_errors(plain: Option<&ServerError>, subject: Option<&ServerError>, found: &mut Vec<String>) {
    match (plain, subject) {
        (None, None) => {}
        (Some(plain), Some(subject)) if essence(plain) == essence(subject) => {}
        (plain, subject) => {
            let shown = |error: Option<&ServerError>| error.map_or("success".to_owned(), ToString::to_string);
            found.push(format!("expected {}\n           got {}", shown(plain), shown(subject)));
        }
    }
}

fn compare_results(plain: &ResultSet, subject: &ResultSet, rules: Rules, found: &mut Vec<String>) {
    let before = found.len();
    check("tag", &plain.tag, &subject.tag, found);
    check("suspended", &plain.suspended, &subject.suspended, found);
    let columns = |result: &ResultSet| result.columns.as_ref().map(|columns| columns.iter().map(column).collect());
    let (expected, got): (Option<Vec<String>>, Option<Vec<String>>) = (columns(plain), columns(subject));
    check("columns", &expected, &got, found);
    if found.len() > before {
        return;
    }
    let columns = plain.columns.as_deref().unwrap_or_default();
    // Which rows came before an error is an accident of the plan.
    if plain.tag.is_none() {
        return;
    }
    if rules.any_values {
        check("number of rows", &plain.rows.len(), &subject.rows.len(), found);
        return;
    }
    compare_rows(columns, &plain.rows, &subject.rows, rules.ordered, found);
    compare_copied(plain.copied.as_deref(), subject.copied.as_deref(), rules.ordered, found);
}

fn column(column: &Column) -> String {
    format!(
        "{} type {} size {} typmod {} format {} {}",
        column.name,
        comparable_oid(column.type_oid),
        column.type_size,
        column.type_modifier,
        column.format,
        if column.table_oid == 0 { "computed".to_owned() } else { format!("attribute {}", column.attribute) }
    )
}

fn compare_rows(columns: &[Column], plain: &[Row], subject: &[Row], ordered: bool, found: &mut Vec<String>) {
    let comparable = |rows: &[Row]| -> Vec<Row> {
        let mut rows: Vec<Row> = rows.iter().map(|row| masked(columns, row)).collect();
        if !ordered {
            rows.sort();
        }
        rows
    };
    let (expected, got) = (comparable(plain), comparable(subject));
    if expected == got {
        return;
    }
    let mut text = format!("rows: {} expected, {} got", expected.len(), got.len());
    if ordered {
        for (index, pair) in
            expected.iter().zip(&got).enumerate().filter(|(_, (left, right))| left != right).take(ROWS_SHOWN_MAX)
        {
            let _ = write!(text, "\n  row {index}: expected {}\n          got {}", shown(pair.0), shown(pair.1));
        }
    } else {
        for row in only_in(&expected, &got) {
            let _ = write!(text, "\n  missing {}", shown(row));
        }
        for row in only_in(&got, &expected) {
            let _ = write!(text, "\n  extra   {}", shown(row));
        }
    }
    found.push(text);
}

/// The rows of sorted `left` that sorted `right` lacks, with their multiplicity.
fn only_in<'a>(left: &'a [Row], right: &[Row]) -> Vec<&'a Row> {
    let mut out = Vec::new();
    let mut at = 0;
    for row in left {
        while at < right.len() && right[at] < *row {
            at += 1;
        }
        if at < right.len() && right[at] == *row {
            at += 1;
        } else {
            out.push(row);
        }
    }
    out.truncate(ROWS_SHOWN_MAX);
    out
}

/// A row whose binary values of types that contain OIDs (user-defined ones, records, regclass) count by their length only.
fn masked(columns: &[Column], row: &Row) -> Row {
    row.iter()
        .enumerate()
        .map(|(index, field)| {
            let column = columns.get(index)?;
            let holds_oids = column.type_oid >= FIRST_USER_OID || OID_HOLDERS.contains(&column.type_oid);
            match field {
                Some(value) if column.format == 1 && holds_oids => Some(Bytes::from(vec![0; value.len()])),
                other => other.clone(),
            }
        })
        .collect()
}

fn compare_copied(plain: Option<&[Bytes]>, subject: Option<&[Bytes]>, ordered: bool, found: &mut Vec<String>) {
    let comparable = |chunks: Option<&[Bytes]>| -> Option<Vec<Bytes>> {
        chunks.map(|chunks| {
            let mut chunks = chunks.to_vec();
            if !ordered {
                chunks.sort();
            }
            chunks
        })
    };
    let (expected, got) = (comparable(plain), comparable(subject));
    if expected != got {
        let show = |chunks: Option<Vec<Bytes>>| -> String {
            chunks.map_or("nothing".to_owned(), |chunks| {
                let shown: Vec<String> =
                    chunks.iter().take(ROWS_SHOWN_MAX).map(|chunk| chunk.escape_ascii().to_string()).collect();
                format!("{} messages: {}", chunks.len(), shown.join(" "))
            })
        };
        found.push(format!("copied: expected {}\n          got {}", show(expected), show(got)));
    }
}

fn shown(row: &Row) -> String {
    let fields: Vec<String> = row
        .iter()
        .map(|field| {
            field.as_ref().map_or("NULL".to_owned(), |value| String::from_utf8_lossy(value).escape_debug().to_string())
        })
        .collect();
    format!("({})", fields.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(rows: &[&str]) -> Outcome {
        let column = Column {
            name: "a".into(),
            table_oid: 0,
            attribute: 0,
            type_oid: 25,
            type_size: -1,
            type_modifier: -1,
            format: 0,
        };
        let rows = rows.iter().map(|value| vec![Some(Bytes::copy_from_slice(value.as_bytes()))]).collect();
        let result =
            ResultSet { columns: Some(vec![column]), rows, tag: Some("SELECT 2".into()), ..ResultSet::default() };
        Outcome { results: vec![result], status: b'I', ..Outcome::default() }
    }

    #[test]
    fn order_counts_only_when_asked() {
        let (plain, subject) = (outcome(&["1", "2"]), outcome(&["2", "1"]));
        assert!(differences(&plain, &subject, Rules::default()).is_empty());
        assert_eq!(differences(&plain, &subject, Rules { ordered: true, ..Rules::default() }).len(), 1);
    }

    #[test]
    fn multiplicity_counts() {
        let (plain, subject) = (outcome(&["1", "1", "2"]), outcome(&["1", "2", "2"]));
        let found = differences(&plain, &subject, Rules::default());
        assert!(found[0].contains("missing (1)") && found[0].contains("extra   (2)"), "{found:?}");
    }

    #[test]
    fn user_types_differ_only_in_oid() {
        let (plain, mut subject) = (outcome(&["1"]), outcome(&["1"]));
        if let Some(columns) = &mut subject.results[0].columns {
            columns[0].type_oid = 99_999;
        }
        assert_eq!(differences(&plain, &subject, Rules::default()).len(), 1);
        let mut other = plain.clone();
        if let Some(columns) = &mut other.results[0].columns {
            columns[0].type_oid = 20_000;
        }
        assert!(differences(&other, &subject, Rules::default()).is_empty());
    }
}
