//! The SQL of this folder.

pub const SCHEMA: &str = include_str!("../schema.sql");
pub const DISTRIBUTE: &str = include_str!("../distribute.sql");

/// A statement to compare.
#[derive(Debug)]
pub struct Statement {
    pub title: &'static str,
    pub sql: &'static str,
    /// Whether the order of its rows is part of the answer.
    pub is_ordered: bool,
}

/// The statements in the order they are shown.
#[must_use]
pub fn all() -> Vec<Statement> {
    [
        include_str!("../01-order-by-key.sql"),
        include_str!("../02-order-with-lines.sql"),
        include_str!("../03-customer-by-key.sql"),
        include_str!("../04-reference-tables.sql"),
        include_str!("../05-count.sql"),
        include_str!("../06-rows-of-a-day.sql"),
        include_str!("../07-largest-orders.sql"),
        include_str!("../08-segments.sql"),
        include_str!("../09-revenue-per-nation.sql"),
        include_str!("../10-stock-per-brand.sql"),
        include_str!("../11-big-orders.sql"),
        include_str!("../tpch/q01.sql"),
        include_str!("../tpch/q02.sql"),
        include_str!("../tpch/q03.sql"),
        include_str!("../tpch/q04.sql"),
        include_str!("../tpch/q05.sql"),
        include_str!("../tpch/q06.sql"),
        include_str!("../tpch/q07.sql"),
        include_str!("../tpch/q08.sql"),
        include_str!("../tpch/q09.sql"),
        include_str!("../tpch/q10.sql"),
        include_str!("../tpch/q11.sql"),
        include_str!("../tpch/q12.sql"),
        include_str!("../tpch/q13.sql"),
        include_str!("../tpch/q14.sql"),
        include_str!("../tpch/q15.sql"),
        include_str!("../tpch/q16.sql"),
        include_str!("../tpch/q17.sql"),
        include_str!("../tpch/q18.sql"),
        include_str!("../tpch/q19.sql"),
        include_str!("../tpch/q20.sql"),
        include_str!("../tpch/q21.sql"),
        include_str!("../tpch/q22.sql"),
    ]
    .into_iter()
    .map(parse)
    .collect()
}

/// TPC-H's 22 queries, in the order of their numbers.
#[must_use]
pub fn tpch() -> Vec<Statement> {
    all().into_iter().filter(|statement| statement.title.starts_with("TPC-H")).collect()
}

/// The first line is the title, as a comment; a line that starts with ORDER BY belongs to the outermost query.
fn parse(text: &'static str) -> Statement {
    let (title, sql) = text.split_once('\n').unwrap_or((text, ""));
    let is_ordered = sql.lines().any(|line| line.starts_with("ORDER BY"));
    Statement { title: title.trim_start_matches("--").trim(), sql: sql.trim(), is_ordered }
}

/// The statements of a script; each ends with a semicolon at the end of a line.
pub fn statements(script: &str) -> impl Iterator<Item = &str> {
    script.split_inclusive(";\n").map(str::trim).filter(|statement| !statement.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_has_a_title_of_its_own() {
        let all = all();
        let mut titles: Vec<_> = all.iter().map(|statement| statement.title).collect();
        titles.sort_unstable();
        titles.dedup();
        assert_eq!(titles.len(), all.len());
        assert!(all.iter().all(|statement| statement.sql.ends_with(';')));
    }

    #[test]
    fn every_query_of_tpch_is_there() {
        let numbers: Vec<_> = tpch().iter().map(|s| s.title[6..s.title.find(':').unwrap()].to_owned()).collect();
        assert_eq!(numbers, (1..=22).map(|number| number.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn order_is_seen() {
        let ordered = |title: &str| all().iter().find(|s| s.title == title).unwrap().is_ordered;
        assert!(ordered("the ten largest orders"));
        assert!(!ordered("all lines shipped on one day"));
    }

    #[test]
    fn scripts_are_split() {
        assert_eq!(statements(SCHEMA).count(), 10);
        assert_eq!(statements(DISTRIBUTE).count(), 8);
    }
}
