//! What a server answered, as text, and how two answers differ.

use anyhow::anyhow;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::status;
use crate::up;

/// Column names and rows; a NULL is none.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Option<String>>>,
}

impl Answer {
    /// # Errors
    /// What the server says.
    pub async fn ask(client: &Client, sql: &str) -> anyhow::Result<Self> {
        let mut answer = Self::default();
        for message in client.simple_query(sql).await.map_err(|error| anyhow!(up::explain(&error)))? {
            match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    answer.columns = columns.iter().map(|column| column.name().to_owned()).collect();
                }
                SimpleQueryMessage::Row(row) => {
                    answer.rows.push((0..row.len()).map(|index| row.get(index).map(str::to_owned)).collect());
                }
                _ => {}
            }
        }
        Ok(answer)
    }

    /// How this answer differs from the expected one; none when it does not. Without an order, rows are compared as
    /// multisets.
    pub fn difference(&self, expected: &Self, is_ordered: bool) -> Option<String> {
        if self.columns != expected.columns {
            return Some(format!("columns {:?}, PostgreSQL has {:?}", self.columns, expected.columns));
        }
        if self.rows.len() != expected.rows.len() {
            return Some(format!("{} rows, PostgreSQL has {}", self.rows.len(), expected.rows.len()));
        }
        let (mut has, mut wants): (Vec<_>, Vec<_>) = (self.rows.iter().collect(), expected.rows.iter().collect());
        if !is_ordered {
            has.sort();
            wants.sort();
        }
        let differs = has.iter().zip(&wants).position(|(has, wants)| has != wants)?;
        Some(format!("row {}: {:?}, PostgreSQL has {:?}", differs + 1, has[differs], wants[differs]))
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut table = status::table([], &[]);
        table.set_header(&self.columns);
        for row in &self.rows {
            table.add_row(row.iter().map(|field| field.as_deref().unwrap_or("")));
        }
        f.write_str(&status::trimmed(&table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rows: &[&str]) -> Answer {
        Answer { columns: vec!["a".to_owned()], rows: rows.iter().map(|row| vec![Some((*row).to_owned())]).collect() }
    }

    #[test]
    fn order_counts_only_when_asked_for() {
        assert_eq!(answer(&["1", "2"]).difference(&answer(&["2", "1"]), false), None);
        assert!(answer(&["1", "2"]).difference(&answer(&["2", "1"]), true).is_some());
    }

    #[test]
    fn repeated_rows_count() {
        assert!(answer(&["1", "1", "2"]).difference(&answer(&["1", "2", "2"]), false).is_some());
        assert!(answer(&["1"]).difference(&answer(&["1", "1"]), false).is_some());
    }

    #[test]
    fn names_and_text_are_compared_as_they_are() {
        let named = Answer { columns: vec!["b".to_owned()], ..answer(&["1"]) };
        assert!(named.difference(&answer(&["1"]), false).is_some());
        assert!(answer(&["1.0"]).difference(&answer(&["1.00"]), false).is_some());
        let null = Answer { rows: vec![vec![None]], ..answer(&[]) };
        assert!(null.difference(&answer(&[""]), false).is_some());
    }
}
