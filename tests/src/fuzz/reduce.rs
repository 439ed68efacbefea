//! The smallest query, tables and rows that still show a difference, as far as a minute allows.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::ast::{Query, Ty};
use super::check::{Difference, Pair, Verdict, Way, declared, text};
use super::edit::edited;
use super::print::print_with_parameters;
use super::schema::{Kind, Schema, TYPE_DEFINITION, Table};

/// How long one difference may take.
const TIME_MAX: Duration = Duration::from_secs(60);

/// A difference with all that it takes.
#[derive(Debug)]
pub struct Finding {
    pub query: Query,
    pub schema: Schema,
    pub way: Way,
    pub difference: Difference,
    /// Whether a fresh schema with the tables of `schema` shows it, too.
    pub again: bool,
}

/// Reduces a difference that was found in the schema named `name`.
///
/// # Errors
/// When a server is gone.
pub fn reduce(
    pair: &mut Pair<'_>,
    name: &str,
    schema: &Schema,
    query: &Query,
    way: Way,
    found: &Difference,
) -> Result<Finding> {
    let deadline = Instant::now() + TIME_MAX;
    let mut finding =
        Finding { query: query.clone(), schema: schema.clone(), way, difference: found.clone(), again: false };
    if way != Way::Simple && holds(pair, query, Way::Simple, &found.kind)?.is_some() {
        finding.way = Way::Simple;
    }
    // A hang is not asked for again and again.
    if found.kind == "hang" {
        return Ok(finding);
    }
    reduce_query(pair, &mut finding, deadline)?;
    let scratch = format!("{name}_less");
    let small = used(&finding);
    if create(pair, &scratch, &small).is_ok()
        && let Some(difference) = holds(pair, &finding.query, finding.way, &found.kind)?
    {
        finding.schema = small;
        finding.difference = difference;
        finding.again = true;
        reduce_rows(pair, &mut finding, deadline)?;
        reduce_query(pair, &mut finding, deadline)?;
        let columns = used_columns(&finding);
        drop_schema(pair, &scratch);
        if create(pair, &scratch, &columns).is_ok()
            && let Some(difference) = holds(pair, &finding.query, finding.way, &found.kind)?
        {
            finding.schema = columns;
            finding.difference = difference;
        }
    }
    drop_schema(pair, &scratch);
    pair.set(settings(name, schema), schema.cluster_setting())?;
    Ok(finding)
}

/// The settings of sessions that work in a schema.
#[must_use]
pub fn settings(name: &str, schema: &Schema) -> String {
    let reset = "RESET DateStyle; RESET IntervalStyle; RESET bytea_output; RESET extra_float_digits";
    format!("SET search_path = {name}, public; SET TimeZone = '{}'; {reset}; {}", schema.time_zone, schema.format)
}

/// Creates a schema with its tables and rows on both servers, and makes it the current one.
///
/// # Errors
/// When a server refuses.
pub fn create(pair: &mut Pair<'_>, name: &str, schema: &Schema) -> Result<()> {
    pair.both(&format!("CREATE SCHEMA {name}"))?;
    pair.set(settings(name, schema), schema.cluster_setting())?;
    pair.both(TYPE_DEFINITION)?;
    for table in &schema.tables {
        pair.both(&table.create())?;
        let (first, then) = if table.filled_first { (true, false) } else { (false, true) };
        let insert = table.insert(&table.rows);
        if let (true, Some(insert)) = (first, &insert) {
            pair.both(insert)?;
        }
        if let Some(distribute) = table.distribute() {
            pair.cluster(&distribute)?;
        }
        if let (true, Some(insert)) = (then, &insert) {
            pair.both(insert)?;
        }
    }
    for view in &schema.views {
        pair.both(&format!("CREATE VIEW {} AS {}", view.name, view.definition))?;
    }
    Ok(())
}

/// Drops a schema; one that cannot be dropped stays.
pub fn drop_schema(pair: &mut Pair<'_>, name: &str) {
    if let Err(error) = pair.both(&format!("DROP SCHEMA IF EXISTS {name} CASCADE")) {
        println!("schema {name} stays: {error:#}");
    }
}

fn holds(pair: &mut Pair<'_>, query: &Query, way: Way, kind: &str) -> Result<Option<Difference>> {
    Ok(match pair.check(query, way)? {
        Verdict::Different(difference) if difference.kind == kind => Some(difference),
        _ => None,
    })
}

fn reduce_query(pair: &mut Pair<'_>, finding: &mut Finding, deadline: Instant) -> Result<()> {
    loop {
        let (mut number, mut smaller) = (0, false);
        while let Some(candidate) = edited(&finding.query, number) {
            if Instant::now() > deadline {
                return Ok(());
            }
            match holds(pair, &candidate, finding.way, &finding.difference.kind)? {
                Some(difference) => {
                    finding.query = candidate;
                    finding.difference = difference;
                    smaller = true;
                }
                None => number += 1,
            }
        }
        if !smaller {
            return Ok(());
        }
    }
}

fn reduce_rows(pair: &mut Pair<'_>, finding: &mut Finding, deadline: Instant) -> Result<()> {
    for at in 0..finding.schema.tables.len() {
        let mut size = finding.schema.tables[at].rows.len();
        while size > 0 {
            let mut from = 0;
            while from < finding.schema.tables[at].rows.len() {
                if Instant::now() > deadline {
                    return Ok(());
                }
                let table = &finding.schema.tables[at];
                let to = (from + size).min(table.rows.len());
                let ids: Vec<&str> = table.rows[from..to].iter().map(|row| row[0].as_str()).collect();
                pair.both(&format!("DELETE FROM {} WHERE id IN ({})", table.name, ids.join(", ")))?;
                match holds(pair, &finding.query, finding.way, &finding.difference.kind)? {
                    Some(difference) => {
                        finding.difference = difference;
                        finding.schema.tables[at].rows.drain(from..to);
                    }
                    None => {
                        if let Some(insert) = table.insert(&table.rows[from..to]) {
                            pair.both(&insert)?;
                        }
                        from = to;
                    }
                }
            }
            size /= 2;
        }
    }
    Ok(())
}

fn words(finding: &Finding) -> Vec<String> {
    let (sql, _) = text(&finding.query, Way::Simple);
    let definitions =
        finding.schema.views.iter().filter(|view| has_word(&sql, &view.name)).map(|view| &view.definition);
    std::iter::once(&sql)
        .chain(definitions)
        .flat_map(|sql| sql.split(|c: char| !c.is_alphanumeric() && c != '_'))
        .map(str::to_owned)
        .collect()
}

fn has_word(sql: &str, word: &str) -> bool {
    sql.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

/// The schema without tables and views that the query does not name.
fn used(finding: &Finding) -> Schema {
    let words = words(finding);
    let mut schema = finding.schema.clone();
    schema.tables.retain(|table| words.contains(&table.name));
    schema.views.retain(|view| words.contains(&view.name));
    schema
}

/// The schema without columns that the query does not name.
fn used_columns(finding: &Finding) -> Schema {
    let words = words(finding);
    let mut schema = used(finding);
    for table in &mut schema.tables {
        let kept: Vec<bool> = table
            .columns
            .iter()
            .map(|column| {
                words.iter().any(|word| word == column.name.trim_matches('"'))
                    || table.kind == Kind::Distributed(column.name.clone())
                    || table.primary_key().contains(&column.name.as_str())
            })
            .collect();
        // A table has to have one.
        if !kept.contains(&true) {
            continue;
        }
        let keep = |index: usize| kept.get(index).copied().unwrap_or(false);
        let mut index = 0;
        table.columns.retain(|_| (keep(index), index += 1).0);
        for row in &mut table.rows {
            let mut index = 0;
            row.retain(|_| (keep(index), index += 1).0);
        }
    }
    schema
}

impl Finding {
    /// As a file of the differential suite.
    #[must_use]
    pub fn script(&self, name: &str) -> String {
        let mut out = format!("-- {} (found by atoll-fuzz)\n", self.difference.kind);
        if !self.again {
            out.push_str("-- Not seen again with these tables alone.\n");
        }
        let _ = write!(out, "CREATE SCHEMA {name};\nSET search_path = {name}, public;\n");
        if self.schema.time_zone != "UTC" {
            let _ = writeln!(out, "SET TimeZone = '{}';", self.schema.time_zone);
        }
        if self.schema.merge_engine != "auto" || self.schema.early_aggregation {
            let _ = writeln!(out, "-- distribute: {}", self.schema.cluster_setting());
        }
        if !self.schema.format.is_empty() {
            let _ = writeln!(out, "{};", self.schema.format);
        }
        let moody = words(self).iter().any(|word| word == "mood" || word == "m" || word == "mx");
        if moody {
            let _ = writeln!(out, "{TYPE_DEFINITION};");
        }
        for table in &self.schema.tables {
            table_script(table, &mut out);
        }
        for view in &self.schema.views {
            let _ = writeln!(out, "CREATE VIEW {} AS {};", view.name, view.definition);
        }
        let (sql, _) = text(&self.query, self.way);
        if self.way != Way::Simple {
            let (_, values) = print_with_parameters(&self.query);
            let values: Vec<String> = values.iter().enumerate().map(|(index, value)| parameter(index, value)).collect();
            let _ = writeln!(out, "-- params: {}", values.join(", "));
        }
        if !self.query.order.is_empty() {
            // Ties are free.
            out.push_str("-- unordered\n");
        }
        let _ = writeln!(out, "{sql};");
        for view in &self.schema.views {
            let _ = writeln!(out, "DROP VIEW {};", view.name);
        }
        for table in &self.schema.tables {
            let _ = writeln!(out, "DROP TABLE {};", table.name);
        }
        if moody {
            out.push_str("DROP TYPE mood;\n");
        }
        let _ = write!(out, "DROP SCHEMA {name};\nRESET ALL;\n");
        out
    }
}

/// A parameter as the suite writes it; without a type where the query was sent without one.
fn parameter(index: usize, (ty, value): &(Ty, String)) -> String {
    let value = format!("'{}'", value.replace('\'', "''"));
    match declared(index, *ty) {
        // The suite knows no OIDs of the others.
        0 | 1186 => value,
        _ => format!("{value}::{}", ty.name()),
    }
}

fn table_script(table: &Table, out: &mut String) {
    let distribute = table.distribute().map(|sql| format!("-- distribute: {sql}\n")).unwrap_or_default();
    let insert = table.insert(&table.rows).map(|sql| format!("{sql};\n")).unwrap_or_default();
    let (first, then) = if table.filled_first { (insert, distribute) } else { (distribute, insert) };
    let _ = write!(out, "{};\n{first}{then}", table.create());
}
