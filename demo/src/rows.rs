//! TPC-H's tables as input for COPY in text format.

use std::fmt::{Display, Write};

use bytes::Bytes;
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};

/// Rows are handed over in pieces of about this size.
const CHUNK_BYTES: usize = 256 << 10;

/// The tables, small ones first.
pub const TABLES: [&str; 8] = ["region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"];

/// A table's rows, in pieces that end with whole rows.
#[derive(Debug, Default)]
pub struct Rows {
    pub chunks: Vec<Bytes>,
    pub count: u64,
    pub bytes: u64,
}

/// Makes the rows of one of [`TABLES`]; none for another name.
#[must_use]
pub fn rows(table: &str, scale: f64) -> Rows {
    match table {
        "region" => copy_text(RegionGenerator::new(scale, 1, 1).iter()),
        "nation" => copy_text(NationGenerator::new(scale, 1, 1).iter()),
        "supplier" => copy_text(SupplierGenerator::new(scale, 1, 1).iter()),
        "customer" => copy_text(CustomerGenerator::new(scale, 1, 1).iter()),
        "part" => copy_text(PartGenerator::new(scale, 1, 1).iter()),
        "partsupp" => copy_text(PartSuppGenerator::new(scale, 1, 1).iter()),
        "orders" => copy_text(OrderGenerator::new(scale, 1, 1).iter()),
        "lineitem" => copy_text(LineItemGenerator::new(scale, 1, 1).iter()),
        _ => Rows::default(),
    }
}

/// Turns lines `a|b|` into `a<TAB>b<NEWLINE>`. TPC-H's words hold neither bars nor what COPY would want escaped.
fn copy_text<R: Display>(source: impl Iterator<Item = R>) -> Rows {
    let mut rows = Rows::default();
    let mut chunk = String::with_capacity(CHUNK_BYTES + 1024);
    let mut line = String::new();
    for row in source {
        line.clear();
        // Writing to a string cannot fail.
        let _ = write!(line, "{row}");
        for (index, field) in line.trim_end_matches('|').split('|').enumerate() {
            if index > 0 {
                chunk.push('\t');
            }
            chunk.push_str(field);
        }
        chunk.push('\n');
        rows.count += 1;
        if chunk.len() >= CHUNK_BYTES {
            rows.push(&mut chunk);
        }
    }
    rows.push(&mut chunk);
    rows
}

impl Rows {
    fn push(&mut self, chunk: &mut String) {
        if !chunk.is_empty() {
            self.bytes += chunk.len() as u64;
            self.chunks.push(Bytes::copy_from_slice(chunk.as_bytes()));
            chunk.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_copy_text() {
        let region = rows("region", 0.001);
        assert_eq!(region.count, 5);
        let text = String::from_utf8(region.chunks.concat()).unwrap();
        assert!(text.starts_with("0\tAFRICA\t"), "{text}");
        assert!(text.lines().all(|line| line.split('\t').count() == 3));
        assert_eq!(region.bytes, text.len() as u64);
    }

    #[test]
    fn nothing_needs_escaping() {
        for table in TABLES {
            for chunk in rows(table, 0.001).chunks {
                assert!(!chunk.contains(&b'\\'), "{table}");
                assert!(chunk.ends_with(b"\n"), "{table}");
            }
        }
    }
}
