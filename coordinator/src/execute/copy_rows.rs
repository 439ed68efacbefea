//! COPY data cut into rows, with each row's key: text, CSV and binary, across message boundaries.

use std::borrow::Cow;
use std::ops::Range;

use atoll_planner::plan::{CopyFormat, CopyOptions};

use crate::error::{Error, Result};

/// One row of the buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its bytes, line end included.
    pub bytes: Range<usize>,
    /// Where the row's last field ends: there, further fields can be added.
    pub fields_end: usize,
    /// The key's value; `None` when it is NULL or the row is too short.
    pub key: Option<Vec<u8>>,
}

/// What came of a piece of data.
#[derive(Debug, Default, PartialEq)]
pub struct Rows {
    pub rows: Vec<Row>,
    /// Bytes up to here have been taken.
    pub taken: usize,
    /// The end marker was met: what follows is ignored.
    pub ended: bool,
}

/// Cuts rows for one COPY.
pub struct Splitter<'a> {
    pub options: &'a CopyOptions,
    /// Which field is the key; `None` when the data does not hold it.
    pub key_index: Option<usize>,
}

impl Splitter<'_> {
    /// The whole rows of `data`; with `last`, also one without its line end.
    ///
    /// # Errors
    /// 22P04 for binary data that is none.
    pub fn split(&self, data: &[u8], last: bool) -> Result<Rows> {
        match self.options.format {
            CopyFormat::Text => Ok(self.text(data, last)),
            CopyFormat::Csv => Ok(self.csv(data, last)),
            CopyFormat::Binary => self.binary(data),
        }
    }

    fn text(&self, data: &[u8], last: bool) -> Rows {
        let mut rows = Rows::default();
        while rows.taken < data.len() {
            let start = rows.taken;
            let rest = &data[start..];
            let Some(line) = line_end(rest, last) else { break };
            let content = &rest[..line.content];
            rows.taken = start + line.whole;
            if content == b"\\." {
                rows.ended = true;
                break;
            }
            let key = self.key_index.and_then(|index| {
                let field = split_text(content, self.options.delimiter).nth(index)?;
                (field != self.options.null.as_bytes()).then(|| unescape(field).into_owned())
            });
            rows.rows.push(Row { bytes: start..rows.taken, fields_end: start + line.content, key });
        }
        rows
    }

    fn csv(&self, data: &[u8], last: bool) -> Rows {
        let mut rows = Rows::default();
        while rows.taken < data.len() {
            let start = rows.taken;
            let Some((line, key)) = self.csv_row(&data[start..], last) else { break };
            rows.taken = start + line.whole;
            if &data[start..start + line.content] == b"\\." {
                rows.ended = true;
                break;
            }
            rows.rows.push(Row { bytes: start..rows.taken, fields_end: start + line.content, key });
        }
        rows
    }

    /// One CSV row: line ends inside quotes belong to the value.
    fn csv_row(&self, data: &[u8], last: bool) -> Option<(Line, Option<Vec<u8>>)> {
        let CopyOptions { delimiter, quote, escape, .. } = *self.options;
        let mut key = None;
        let mut field = 0;
        let mut value = Vec::new();
        let mut was_quoted = false;
        let mut quoted = false;
        let wanted = self.key_index.unwrap_or(usize::MAX);
        let mut finish = |field: usize, value: &mut Vec<u8>, was_quoted: bool| {
            if field == wanted && (was_quoted || value != self.options.null.as_bytes()) {
                key = Some(value.clone());
            }
            value.clear();
        };
        let mut at = 0;
        while at < data.len() {
            let byte = data[at];
            if quoted {
                if byte == escape && data.get(at + 1).is_some_and(|next| *next == quote || *next == escape) {
                    value.push(data[at + 1]);
                    at += 2;
                    continue;
                }
                if byte == escape && escape == quote && at + 1 == data.len() && !last {
                    // Whether it ends the quotes shows only with the next byte.
                    return None;
                }
                if byte == quote {
                    quoted = false;
                } else if field == wanted {
                    value.push(byte);
                }
            } else if byte == quote {
                quoted = true;
                was_quoted = true;
            } else if byte == delimiter {
                finish(field, &mut value, was_quoted);
                field += 1;
                was_quoted = false;
            } else if byte == b'\n' || byte == b'\r' {
                if byte == b'\r' && at + 1 == data.len() && !last {
                    return None;
                }
                finish(field, &mut value, was_quoted);
                let whole = at + if byte == b'\r' && data.get(at + 1) == Some(&b'\n') { 2 } else { 1 };
                return Some((Line { content: at, whole }, key));
            } else if field == wanted {
                value.push(byte);
            }
            at += 1;
        }
        if !last {
            return None;
        }
        finish(field, &mut value, was_quoted);
        Some((Line { content: at, whole: at }, key))
    }

    fn binary(&self, data: &[u8]) -> Result<Rows> {
        let mut rows = Rows::default();
        while let Some(count) = data.get(rows.taken..rows.taken + 2) {
            let start = rows.taken;
            let count = i16::from_be_bytes([count[0], count[1]]);
            if count == -1 {
                rows.taken += 2;
                rows.ended = true;
                break;
            }
            let mut at = start + 2;
            let mut key = None;
            for field in 0..count {
                let Some(length) = data.get(at..at + 4) else { return Ok(rows) };
                let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
                at += 4;
                if length < -1 {
                    return Err(Error::sql("22P04", "invalid field size in binary COPY data"));
                }
                if length >= 0 {
                    let Some(value) = data.get(at..at + length as usize) else { return Ok(rows) };
                    if self.key_index == Some(field as usize) {
                        key = Some(value.to_vec());
                    }
                    at += length as usize;
                }
            }
            rows.taken = at;
            rows.rows.push(Row { bytes: start..at, fields_end: at, key });
        }
        Ok(rows)
    }
}

/// Where a line's content and the line itself end.
struct Line {
    content: usize,
    whole: usize,
}

/// In text format a line end is never part of a value: those are escaped. A carriage return counts as an end of line like a newline, as in
/// PostgreSQL, unless a backslash stands before it.
fn line_end(data: &[u8], last: bool) -> Option<Line> {
    let mut from = 0;
    while let Some(found) = data[from..].iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
        let at = from + found;
        let escaped = data[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
        if escaped {
            from = at + 1;
            continue;
        }
        if data[at] == b'\n' {
            return Some(Line { content: at, whole: at + 1 });
        }
        return match data.get(at + 1) {
            Some(b'\n') => Some(Line { content: at, whole: at + 2 }),
            Some(_) => Some(Line { content: at, whole: at + 1 }),
            None if last => Some(Line { content: at, whole: at + 1 }),
            None => None,
        };
    }
    last.then_some(Line { content: data.len(), whole: data.len() })
}

fn split_text(line: &[u8], delimiter: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let current = rest?;
        let mut at = 0;
        while at < current.len() && current[at] != delimiter {
            at += if current[at] == b'\\' { 2 } else { 1 };
        }
        let at = at.min(current.len());
        rest = current.get(at + 1..);
        Some(&current[..at])
    })
}

/// A text-format value with its backslash sequences resolved.
fn unescape(field: &[u8]) -> Cow<'_, [u8]> {
    if !field.contains(&b'\\') {
        return Cow::Borrowed(field);
    }
    let mut out = Vec::with_capacity(field.len());
    let mut at = 0;
    while at < field.len() {
        if field[at] != b'\\' || at + 1 == field.len() {
            out.push(field[at]);
            at += 1;
            continue;
        }
        let escape = field[at + 1];
        at += 2;
        match escape {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'0'..=b'7' => at = digits(field, at - 1, 8, 3, &mut out),
            b'x' if field.get(at).is_some_and(u8::is_ascii_hexdigit) => at = digits(field, at, 16, 2, &mut out),
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

/// Reads up to `most` digits as one byte; yields where they end.
fn digits(field: &[u8], from: usize, radix: u32, most: usize, out: &mut Vec<u8>) -> usize {
    let mut value = 0;
    let mut at = from;
    while at < field.len() && at < from + most {
        let Some(digit) = char::from(field[at]).to_digit(radix) else { break };
        value = value * radix + digit;
        at += 1;
    }
    out.push(value as u8);
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_planner::plan::CopyHeader;

    fn options(format: CopyFormat) -> CopyOptions {
        let csv = format == CopyFormat::Csv;
        CopyOptions {
            format,
            delimiter: if csv { b',' } else { b'\t' },
            null: if csv { String::new() } else { "\\N".to_owned() },
            quote: b'"',
            escape: b'"',
            header: CopyHeader::No,
            freeze: false,
            text: String::new(),
        }
    }

    fn keys(format: CopyFormat, data: &[u8], last: bool) -> (Vec<Option<String>>, usize, bool) {
        let options = options(format);
        let rows = Splitter { options: &options, key_index: Some(1) }.split(data, last).unwrap();
        let keys = rows.rows.into_iter().map(|row| row.key.map(|key| String::from_utf8(key).unwrap())).collect();
        (keys, rows.taken, rows.ended)
    }

    #[test]
    fn text_rows() {
        let some = |text: &str| Some(text.to_owned());
        let (found, taken, ended) = keys(CopyFormat::Text, b"a\t1\nb\t\\N\nc\tx\\ty\nd\thal", false);
        assert_eq!((found, taken, ended), (vec![some("1"), None, some("x\ty")], 16, false));
        assert_eq!(keys(CopyFormat::Text, b"d\thal", true).0, vec![some("hal")]);
        assert!(keys(CopyFormat::Text, b"a\t1\n\\.\nrest", false).2);
        assert_eq!(keys(CopyFormat::Text, b"a\\\nb\t1\r\nc\t2\r", false).0, vec![some("1")]);
    }

    #[test]
    fn csv_rows() {
        let some = |text: &str| Some(text.to_owned());
        let data = b"\"a\nb\",\"x\"\"y\"\n1,\n2,\"\"\n3,z";
        let (found, taken, _) = keys(CopyFormat::Csv, data, false);
        assert_eq!((found, taken), (vec![some("x\"y"), None, some("")], data.len() - 3));
        assert_eq!(keys(CopyFormat::Csv, b"1,\"q\"", false).0, vec![]);
    }

    #[test]
    fn binary_rows() {
        let mut data = vec![0, 2, 0, 0, 0, 1, b'a', 0xff, 0xff, 0xff, 0xff];
        data.extend([0, 2, 0, 0, 0, 0, 0, 0, 0, 2, b'h', b'i', 0xff, 0xff]);
        let (found, taken, ended) = keys(CopyFormat::Binary, &data, false);
        assert_eq!((found, taken, ended), (vec![None, Some("hi".to_owned())], data.len(), true));
        assert_eq!(keys(CopyFormat::Binary, &data[..14], false).1, 11);
    }
}
