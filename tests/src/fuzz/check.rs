//! Running a query on both servers, and what counts as the same answer.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::ast::{Query, Ty};
use super::print::{print, print_with_parameters};
use crate::Target;
use crate::client::{Client, Parameter};
use crate::compare::comparable_oid;
use crate::outcome::Outcome;

/// An answer that takes longer counts as none.
const HANG: Duration = Duration::from_secs(20);
/// Relative difference that two floats may have.
const TOLERANCE: f64 = 1e-9;
const ROWS_SHOWN_MAX: usize = 6;
/// More unequal rows than these are not compared one by one.
const UNEQUAL_MAX: usize = 5000;
const FLOAT8: u32 = 701;
const NUMERIC: u32 = 1700;

/// How a query travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Simple,
    /// With some literals as parameters.
    Extended,
    /// The same with binary results.
    Binary,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// With so many rows.
    Equal(usize),
    SameError(String),
    Refused(String),
    /// Plain PostgreSQL took too long: nothing to compare with.
    TooSlow,
    Different(Difference),
}

impl Verdict {
    /// One line about it.
    #[must_use]
    pub fn word(&self) -> String {
        match self {
            Verdict::Equal(rows) => format!("equal, {rows} rows"),
            Verdict::SameError(what) => format!("same error {what}"),
            Verdict::Refused(what) => format!("refused: {what}"),
            Verdict::TooSlow => "too slow".to_owned(),
            Verdict::Different(difference) => format!("different: {}", difference.kind),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The same for differences of one sort, however the query looks.
    pub kind: String,
    pub plain: String,
    pub subject: String,
}

/// A session on each server.
#[derive(Debug)]
pub struct Pair<'a> {
    plain: Client,
    subject: Client,
    subject_target: &'a Target,
    /// Settings of both sessions.
    settings: String,
    /// What the cluster alone is told.
    subject_settings: String,
    pub slowest: Duration,
}

impl<'a> Pair<'a> {
    /// Two sessions.
    ///
    /// # Errors
    /// When a server does not accept one.
    pub fn open(plain: &Target, subject: &'a Target) -> Result<Pair<'a>> {
        let mut client = Client::connect(plain, "app")?;
        client.simple("SET statement_timeout = '10s'")?;
        let settings = String::new();
        let subject_client = connect(subject, &settings)?;
        Ok(Pair {
            plain: client,
            subject: subject_client,
            subject_target: subject,
            settings,
            subject_settings: String::new(),
            slowest: Duration::ZERO,
        })
    }

    /// Runs settings on both, now and after every reconnection.
    ///
    /// # Errors
    /// When a server refuses them.
    pub fn set(&mut self, settings: String, subject_settings: String) -> Result<()> {
        self.both(&settings)?;
        self.cluster(&subject_settings)?;
        (self.settings, self.subject_settings) = (settings, subject_settings);
        Ok(())
    }

    /// Who answered the cluster's last statement.
    ///
    /// # Errors
    /// When the cluster does not say.
    pub fn last_tier(&mut self) -> Result<String> {
        self.subject.simple("SHOW atoll.last_tier")?.value()
    }

    fn reconnect(&mut self) -> Result<()> {
        self.subject = connect(self.subject_target, &self.settings)?;
        succeed(&mut self.subject, &self.subject_settings)
    }

    /// Runs a statement that must succeed on both.
    ///
    /// # Errors
    /// When it does not.
    pub fn both(&mut self, sql: &str) -> Result<()> {
        succeed(&mut self.plain, sql)?;
        self.cluster(sql)
    }

    /// Runs a statement that must succeed on the cluster.
    ///
    /// # Errors
    /// When it does not.
    pub fn cluster(&mut self, sql: &str) -> Result<()> {
        match succeed(&mut self.subject, sql) {
            Ok(()) => Ok(()),
            Err(error) => {
                self.reconnect()?;
                Err(error)
            }
        }
    }

    /// Compares the answers to a query.
    ///
    /// # Errors
    /// When plain PostgreSQL loses its connection, or the cluster accepts no new one.
    pub fn check(&mut self, query: &Query, way: Way) -> Result<Verdict> {
        let (sql, parameters) = text(query, way);
        let keys: Vec<usize> = query.order.iter().map(|key| key.column).collect();
        self.check_text(&sql, &parameters, &keys, way)
    }

    /// As [`Pair::check`], of a text; `keys` are the columns it is sorted by.
    ///
    /// # Errors
    /// As for [`Pair::check`].
    pub fn check_text(&mut self, sql: &str, parameters: &[Parameter], keys: &[usize], way: Way) -> Result<Verdict> {
        let run = |client: &mut Client| match way {
            Way::Simple => client.simple(sql),
            Way::Extended | Way::Binary => client.extended(sql, parameters, way == Way::Binary, None),
        };
        let plain = run(&mut self.plain)?;
        if plain.error.as_ref().is_some_and(|error| error.sqlstate() == "57014") {
            return Ok(Verdict::TooSlow);
        }
        let begun = Instant::now();
        let subject = run(&mut self.subject);
        self.slowest = self.slowest.max(begun.elapsed());
        match subject {
            Ok(subject) => Ok(judge(&plain, &subject, keys)),
            Err(error) => {
                let kind = if begun.elapsed() >= HANG { "hang" } else { "lost connection" };
                self.reconnect()?;
                let difference =
                    Difference { kind: kind.to_owned(), plain: shown(&plain), subject: format!("{error:#}") };
                Ok(Verdict::Different(difference))
            }
        }
    }
}

/// The text and the parameters that a query is sent with.
#[must_use]
pub fn text(query: &Query, way: Way) -> (String, Vec<Parameter>) {
    if way == Way::Simple {
        return (print(query), Vec::new());
    }
    let (sql, values) = print_with_parameters(query);
    let parameters = values
        .into_iter()
        .enumerate()
        .map(|(index, (ty, value))| Parameter {
            type_oid: declared(index, ty),
            binary: false,
            value: Some(value.into_bytes()),
        })
        .collect();
    (sql, parameters)
}

/// The OID that a parameter is declared with: many drivers leave some or all to the server.
#[must_use]
pub fn declared(index: usize, ty: Ty) -> u32 {
    if index % 3 == 1 { 0 } else { ty.described().1 }
}

fn connect(target: &Target, settings: &str) -> Result<Client> {
    let mut client = Client::connect(target, "app")?;
    client.wire().wait_max = HANG;
    if !settings.is_empty() {
        succeed(&mut client, settings)?;
    }
    Ok(client)
}

fn succeed(client: &mut Client, sql: &str) -> Result<()> {
    match client.simple(sql)?.error {
        None => Ok(()),
        Some(error) => bail!("{error}\n    in: {}", sql.chars().take(300).collect::<String>()),
    }
}

/// A message without its names and numbers.
#[must_use]
pub fn essence(message: &str) -> String {
    let mut out = String::new();
    let (mut quoted, mut number) = (false, false);
    for char in message.chars() {
        match char {
            '"' => {
                quoted = !quoted;
                if quoted {
                    out.push('…');
                }
            }
            _ if quoted => {}
            '0'..='9' => {
                if !number {
                    out.push('#');
                }
            }
            other => out.push(other),
        }
        number = char.is_ascii_digit();
    }
    out.chars().take(140).collect()
}

fn judge(plain: &Outcome, subject: &Outcome, keys: &[usize]) -> Verdict {
    let different =
        |kind: String| Verdict::Different(Difference { kind, plain: shown(plain), subject: shown(subject) });
    match (&plain.error, &subject.error) {
        (Some(one), Some(other)) if one.sqlstate() == other.sqlstate() => {
            Verdict::SameError(format!("{} {}", one.sqlstate(), essence(one.message())))
        }
        (None, Some(other)) if other.sqlstate() == "0A000" => Verdict::Refused(essence(other.message())),
        (Some(one), Some(other)) => different(format!(
            "error {} ({}) instead of {}",
            other.sqlstate(),
            essence(other.message()),
            one.sqlstate()
        )),
        (None, Some(other)) => different(format!("error {}: {}", other.sqlstate(), essence(other.message()))),
        (Some(one), None) => {
            different(format!("answer instead of error {}: {}", one.sqlstate(), essence(one.message())))
        }
        (None, None) => {
            let rows = plain.results.first().map_or(0, |result| result.rows.len());
            judge_rows(plain, subject, keys).map_or(Verdict::Equal(rows), |kind| different(kind.to_owned()))
        }
    }
}

/// What is wrong with the rows, if anything.
fn judge_rows(plain: &Outcome, subject: &Outcome, keys: &[usize]) -> Option<&'static str> {
    let described =
        |outcome: &Outcome| outcome.results.first().and_then(|result| result.columns.clone()).unwrap_or_default();
    // The modifier of something computed depends on how far the planner simplified it.
    let computed: Vec<bool> = described(plain).iter().map(|column| column.table_oid == 0).collect();
    let columns = |outcome: &Outcome| -> Vec<(String, u32, i32)> {
        described(outcome)
            .into_iter()
            .zip(computed.iter().chain(std::iter::repeat(&false)))
            .map(|(column, computed)| {
                (column.name, comparable_oid(column.type_oid), if *computed { 0 } else { column.type_modifier })
            })
            .collect()
    };
    let (expected, got) = (columns(plain), columns(subject));
    if expected != got {
        let types = |columns: &[(String, u32, i32)]| columns.iter().map(|column| column.1).collect::<Vec<_>>();
        let names = |columns: &[(String, u32, i32)]| columns.iter().map(|column| column.0.clone()).collect::<Vec<_>>();
        return Some(if types(&expected) != types(&got) {
            "column types"
        } else if names(&expected) != names(&got) {
            "column names"
        } else {
            "column type modifiers"
        });
    }
    let types: Vec<u32> = expected.iter().map(|column| column.1).collect();
    let (mut left, mut right) = (plain.text_rows(), subject.text_rows());
    if left.len() != right.len() {
        return Some("number of rows");
    }
    let in_order = left.iter().zip(&right).all(|(one, other)| {
        keys.iter().all(|key| {
            let ty = types.get(*key).copied().unwrap_or_default();
            same(ty, one.get(*key).unwrap_or(&None), other.get(*key).unwrap_or(&None), true)
        })
    });
    for loose in [false, true] {
        pair_off(&types, &mut left, &mut right, loose);
        if left.is_empty() {
            return match (loose, in_order) {
                (_, false) => Some("order"),
                (true, true) => Some("scale of numerics"),
                (false, true) => None,
            };
        }
    }
    Some("values")
}

type Row = Vec<Option<String>>;

/// Takes away the rows that are on both sides.
fn pair_off(types: &[u32], left: &mut Vec<Row>, right: &mut Vec<Row>, loose: bool) {
    left.sort();
    right.sort();
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    let (mut a, mut b) = (left.drain(..).peekable(), right.drain(..).peekable());
    loop {
        let order = match (a.peek(), b.peek()) {
            (Some(one), Some(other)) => one.cmp(other),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => break,
        };
        let (one, other) = (if order.is_le() { a.next() } else { None }, if order.is_ge() { b.next() } else { None });
        if order.is_ne() {
            mine.extend(one);
            theirs.extend(other);
        }
    }
    drop((a, b));
    // What is left may be equal but for the last digits of floats: close to it in the order, mostly.
    let far = mine.len() > UNEQUAL_MAX;
    for row in mine {
        let equal = |other: &Row| types.iter().zip(row.iter().zip(other)).all(|(ty, (a, b))| same(*ty, a, b, loose));
        let found = if far { None } else { theirs.iter().position(equal) };
        match found {
            Some(at) => {
                theirs.remove(at);
            }
            None => left.push(row),
        }
    }
    right.append(&mut theirs);
}

/// Whether two fields are equal; `loose` overlooks a numeric's trailing zeros.
fn same(ty: u32, one: &Option<String>, other: &Option<String>, loose: bool) -> bool {
    let (Some(a), Some(b)) = (one, other) else { return one == other };
    if a == b {
        return true;
    }
    match ty {
        // Binary ones are not text: they must be equal.
        FLOAT8 => match (a.parse::<f64>(), b.parse::<f64>()) {
            (Ok(a), Ok(b)) => (a.is_nan() && b.is_nan()) || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()),
            _ => false,
        },
        NUMERIC if loose => {
            let bare = |text: &str| {
                if text.contains('.') {
                    text.trim_end_matches('0').trim_end_matches('.').to_owned()
                } else {
                    text.to_owned()
                }
            };
            bare(a) == bare(b)
        }
        _ => false,
    }
}

fn shown(outcome: &Outcome) -> String {
    if let Some(error) = &outcome.error {
        return error.to_string();
    }
    let mut rows = outcome.text_rows();
    let count = rows.len();
    rows.truncate(ROWS_SHOWN_MAX);
    let columns = outcome.results.first().and_then(|result| result.columns.clone()).unwrap_or_default();
    let columns: Vec<String> = columns.iter().map(|column| format!("{} {}", column.name, column.type_oid)).collect();
    let rows: Vec<String> = rows
        .iter()
        .map(|row| {
            let fields: Vec<&str> = row.iter().map(|field| field.as_deref().unwrap_or("NULL")).collect();
            format!("({})", fields.join(", "))
        })
        .collect();
    format!("{count} rows of [{}]: {}", columns.join(", "), rows.join(" "))
}
