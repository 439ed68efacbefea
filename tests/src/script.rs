//! SQL files of the differential suite: statements, and directives in the comments before them.
//!
//! A statement ends with `;` at the end of a line (outside quotes). `\;` sends several statements in one simple-protocol message, as
//! in psql. After `COPY ... FROM STDIN;` the data follows, up to a line `\.`. Directives, each on a comment line of its own before the
//! statement that it is about:
//!
//! | directive | meaning |
//! | --- | --- |
//! | `-- ordered`, `-- unordered` | whether row order counts; otherwise it does when there is an ORDER BY at the top level |
//! | `-- params: 1, 'x'::text, NULL` | run by the extended protocol with these parameters; several lines, several runs |
//! | `-- distribute: SQL` | run SQL on clusters only; it must succeed (stands alone) |
//! | `-- distribute-fails CODE: SQL` | run SQL on clusters only; it must fail with that SQLSTATE (stands alone) |
//! | `-- simple-only` | never by the extended protocol |
//! | `-- cluster-refuses CODE` | run on clusters only, which must answer with that SQLSTATE |
//! | `-- exact-or-refused` | clusters may answer with 0A000; a wrong answer is still wrong |
//! | `-- session: NAME` | run on another connection, opened when first named |
//! | `-- words-differ` | of an error only the SQLSTATE counts |
//! | `-- any-values` | values may differ, the number of rows and their shape may not |
//! | `-- copy-data-from: SQL` | the data of this COPY FROM is what SQL (a COPY TO) gives on plain PostgreSQL |
//!
//! Every other comment is for the reader.

use anyhow::{Context, Result, bail};

use crate::client::Parameter;

/// How often and by which protocol a statement runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// A query: by the simple protocol, then by the extended one with text and with binary results.
    EveryWay,
    /// It changes something: once, by the protocol that the shape calls for.
    Once,
    /// Once, by the simple protocol.
    SimpleOnly,
}

/// One step of a script.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Line of the statement's beginning, from 1.
    pub line: usize,
    pub session: String,
    pub sql: String,
    pub action: Action,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Run on both and compare.
    Compare {
        repeat: Repeat,
        ordered: bool,
        any_values: bool,
        words_differ: bool,
        may_refuse: bool,
        /// One entry per run, each with its parameters; empty without `params`.
        parameters: Vec<Vec<TypedParameter>>,
        copy: CopyData,
    },
    /// Run on the cluster only; it must succeed, or fail with the SQLSTATE.
    ClusterOnly { fails_with: Option<String> },
}

/// Where the data of a COPY FROM STDIN comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyData {
    None,
    Inline(Vec<u8>),
    /// The output of this COPY TO on plain PostgreSQL.
    FromPlain(String),
}

/// A parameter as written: its text, and its type when one was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypedParameter {
    pub value: Option<String>,
    pub type_oid: u32,
}

impl TypedParameter {
    /// The parameter as it goes over the wire; in binary when asked and when there is a simple encoding for its type.
    ///
    /// # Errors
    /// When the text is not a value of its type.
    pub fn encode(&self, binary: bool) -> Result<Parameter> {
        let Some(text) = &self.value else {
            return Ok(Parameter { type_oid: self.type_oid, binary, value: None });
        };
        let encoded: Option<Vec<u8>> = match (binary, self.type_oid) {
            (false, _) => None,
            (_, 16) => Some(vec![u8::from(text == "true" || text == "t")]),
            (_, 20) => Some(text.parse::<i64>()?.to_be_bytes().into()),
            (_, 21) => Some(text.parse::<i16>()?.to_be_bytes().into()),
            (_, 23) => Some(text.parse::<i32>()?.to_be_bytes().into()),
            (_, 25 | 1043) => Some(text.clone().into_bytes()),
            (_, 701) => Some(text.parse::<f64>()?.to_be_bytes().into()),
            (_, 2950) => {
                let digits: String = text.chars().filter(|c| *c != '-').collect();
                Some(u128::from_str_radix(&digits, 16)?.to_be_bytes().into())
            }
            _ => None,
        };
        let is_binary = encoded.is_some();
        let value = encoded.unwrap_or_else(|| text.clone().into_bytes());
        Ok(Parameter { type_oid: self.type_oid, binary: is_binary, value: Some(value) })
    }
}

/// Reads a script.
///
/// # Errors
/// When a statement does not end, or a directive is malformed; with the line.
pub fn parse(text: &str) -> Result<Vec<Step>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut steps = Vec::new();
    let mut directives = Directives::default();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim();
        if line.is_empty() {
            at += 1;
        } else if let Some(comment) = line.strip_prefix("--") {
            let alone = directives.take(comment.trim()).with_context(|| format!("line {}", at + 1))?;
            if let Some((sql, fails_with)) = alone {
                let session = std::mem::take(&mut directives.session).unwrap_or_default();
                steps.push(Step { line: at + 1, session, sql, action: Action::ClusterOnly { fails_with } });
            }
            at += 1;
        } else {
            let begin = at;
            let mut scanner = Scanner::default();
            loop {
                let line =
                    lines.get(at).with_context(|| format!("the statement of line {} does not end", begin + 1))?;
                at += 1;
                if scanner.line(line) {
                    break;
                }
            }
            let mut data = None;
            if scanner.reads_stdin() && directives.copy_data_from.is_none() && directives.cluster_refuses.is_none() {
                let end = lines[at..].iter().position(|line| *line == "\\.");
                let end = at + end.with_context(|| format!("the data of line {} has no end", begin + 1))?;
                data = Some(lines[at..end].iter().flat_map(|line| [line.as_bytes(), b"\n"].concat()).collect());
                at = end + 1;
            }
            let taken = std::mem::take(&mut directives);
            steps.push(taken.step(begin + 1, scanner, data).with_context(|| format!("line {}", begin + 1))?);
        }
    }
    Ok(steps)
}

#[derive(Debug, Default)]
struct Directives {
    ordered: Option<bool>,
    simple_only: bool,
    any_values: bool,
    words_differ: bool,
    may_refuse: bool,
    cluster_refuses: Option<String>,
    session: Option<String>,
    copy_data_from: Option<String>,
    parameters: Vec<Vec<TypedParameter>>,
}

impl Directives {
    /// Takes note of one comment; gives back the statement of a directive that stands alone.
    fn take(&mut self, comment: &str) -> Result<Option<(String, Option<String>)>> {
        let (name, argument) = match comment.split_once(':') {
            Some((name, argument)) => (name.trim(), argument.trim()),
            None => (comment, ""),
        };
        let mut words = name.split_whitespace();
        match (words.next().unwrap_or_default(), words.next()) {
            ("ordered", None) => self.ordered = Some(true),
            ("unordered", None) => self.ordered = Some(false),
            ("simple-only", None) => self.simple_only = true,
            ("any-values", None) => self.any_values = true,
            ("words-differ", None) => self.words_differ = true,
            ("exact-or-refused", None) => self.may_refuse = true,
            ("cluster-refuses", Some(code)) => self.cluster_refuses = Some(code.to_owned()),
            ("session", None) => self.session = Some(argument.to_owned()),
            ("copy-data-from", None) => self.copy_data_from = Some(argument.to_owned()),
            ("params", None) => self.parameters.push(parameters(argument)?),
            ("distribute", None) => return Ok(Some((argument.to_owned(), None))),
            ("distribute-fails", Some(code)) => return Ok(Some((argument.to_owned(), Some(code.to_owned())))),
            _ => {}
        }
        Ok(None)
    }

    fn step(self, line: usize, scanner: Scanner, data: Option<Vec<u8>>) -> Result<Step> {
        let action = match self.cluster_refuses {
            Some(code) => Action::ClusterOnly { fails_with: Some(code) },
            None => Action::Compare {
                repeat: if self.simple_only || scanner.statements > 1 {
                    Repeat::SimpleOnly
                } else if scanner.is_query() {
                    Repeat::EveryWay
                } else {
                    Repeat::Once
                },
                ordered: self.ordered.unwrap_or_else(|| scanner.has_order_by()),
                any_values: self.any_values,
                words_differ: self.words_differ,
                may_refuse: self.may_refuse,
                parameters: self.parameters,
                copy: match (data, self.copy_data_from) {
                    (Some(data), None) => CopyData::Inline(data),
                    (None, Some(sql)) => CopyData::FromPlain(sql),
                    (None, None) => CopyData::None,
                    (Some(_), Some(_)) => bail!("data twice"),
                },
            },
        };
        Ok(Step { line, session: self.session.unwrap_or_default(), sql: scanner.sql, action })
    }
}

/// Finds a statement's end and its words, by PostgreSQL's rules for quotes and comments.
#[derive(Debug, Default)]
struct Scanner {
    sql: String,
    quoting: Option<Quote>,
    depth: i32,
    statements: usize,
    /// Words of the last statement outside quotes, in capitals, each with its depth in parentheses.
    words: Vec<(String, i32)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Quote {
    Single { escapes: bool },
    Identifier,
    Dollar(String),
    Comment,
}

impl Scanner {
    /// Takes one line; true when the statement ends with it.
    fn line(&mut self, line: &str) -> bool {
        if !self.sql.is_empty() {
            self.sql.push('\n');
        }
        let mut rest = line;
        let mut word = String::new();
        while let Some(next) = rest.chars().next() {
            let mut taken = next.len_utf8();
            if let Some(quote) = self.quoting.clone() {
                taken = self.inside(&quote, rest, taken);
                self.sql.push_str(&rest[..taken]);
                rest = &rest[taken..];
                continue;
            }
            if next.is_alphanumeric() || next == '_' {
                word.extend(next.to_uppercase());
                self.sql.push(next);
                rest = &rest[taken..];
                continue;
            }
            let (escapes, glued) = (word == "E", !word.is_empty());
            self.end_word(&mut word);
            if next == '\'' {
                self.quoting = Some(Quote::Single { escapes });
            } else if next == '"' {
                self.quoting = Some(Quote::Identifier);
            } else if let Some(tag) = dollar_tag(rest).filter(|_| !glued) {
                taken = tag.len();
                self.quoting = Some(Quote::Dollar(tag.to_owned()));
            } else if rest.starts_with("--") {
                taken = rest.len();
            } else if rest.starts_with("/*") {
                taken = 2;
                self.quoting = Some(Quote::Comment);
            } else if rest.starts_with("\\;") {
                self.statements += 1;
                self.sql.push(';');
                rest = &rest[2..];
                continue;
            } else if next == '(' {
                self.depth += 1;
            } else if next == ')' {
                self.depth -= 1;
            } else if next == ';' && rest[1..].trim().is_empty() && !self.in_atomic_body() {
                self.statements += 1;
                return true;
            }
            self.sql.push_str(&rest[..taken]);
            rest = &rest[taken..];
        }
        self.end_word(&mut word);
        false
    }

    /// Bytes to take while inside a quote.
    fn inside(&mut self, quote: &Quote, rest: &str, one: usize) -> usize {
        match quote {
            Quote::Single { escapes: true } if rest.starts_with('\\') && rest.len() > 1 => {
                1 + rest[1..].chars().next().map_or(0, char::len_utf8)
            }
            Quote::Single { .. } if rest.starts_with('\'') => self.close(1),
            Quote::Identifier if rest.starts_with('"') => self.close(1),
            Quote::Dollar(tag) if rest.starts_with(tag.as_str()) => self.close(tag.len()),
            Quote::Comment if rest.starts_with("*/") => self.close(2),
            _ => one,
        }
    }

    fn close(&mut self, taken: usize) -> usize {
        self.quoting = None;
        taken
    }

    fn end_word(&mut self, word: &mut String) {
        if !word.is_empty() {
            self.words.push((std::mem::take(word), self.depth));
        }
    }

    /// Within `BEGIN ATOMIC ... END` a `;` ends a statement of the function only.
    fn in_atomic_body(&self) -> bool {
        let begun = self.words.windows(2).filter(|pair| pair[0].0 == "BEGIN" && pair[1].0 == "ATOMIC").count();
        let ended = self.words.iter().filter(|word| word.0 == "END").count();
        begun > ended
    }

    fn has(&self, wanted: &str) -> bool {
        self.words.iter().any(|(word, _)| word == wanted)
    }

    fn first(&self) -> &str {
        self.words.first().map_or("", |(word, _)| word.as_str())
    }

    fn is_query(&self) -> bool {
        matches!(self.first(), "SELECT" | "WITH" | "VALUES" | "TABLE" | "SHOW")
            && !["INSERT", "DELETE", "INTO"].iter().any(|word| self.has(word))
            && !(self.first() == "WITH" && self.has("UPDATE"))
    }

    fn has_order_by(&self) -> bool {
        self.words.windows(2).any(|pair| pair[0] == ("ORDER".to_owned(), 0) && pair[1].0 == "BY")
    }

    fn reads_stdin(&self) -> bool {
        self.first() == "COPY" && self.words.windows(2).any(|pair| pair[0].0 == "FROM" && pair[1].0 == "STDIN")
    }
}

/// `$tag$` at the beginning of the text.
fn dollar_tag(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('$')?;
    let end = inner.find('$')?;
    let tag = &inner[..end];
    let valid = tag.chars().all(|c| c.is_alphanumeric() || c == '_') && !tag.starts_with(|c: char| c.is_ascii_digit());
    valid.then(|| &text[..end + 2])
}

/// Literals separated by commas, each with an optional `::type`.
fn parameters(text: &str) -> Result<Vec<TypedParameter>> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (value, after) = if let Some(quoted) = rest.strip_prefix('\'') {
            let mut value = String::new();
            let mut inner = quoted;
            loop {
                let end = inner.find('\'').with_context(|| format!("parameter without an end: {rest}"))?;
                value.push_str(&inner[..end]);
                inner = &inner[end + 1..];
                match inner.strip_prefix('\'') {
                    Some(more) => {
                        value.push('\'');
                        inner = more;
                    }
                    None => break,
                }
            }
            (Some(value), inner)
        } else {
            let end = rest.find([',', ':']).unwrap_or(rest.len());
            let word = rest[..end].trim();
            ((!word.eq_ignore_ascii_case("null")).then(|| word.to_owned()), &rest[end..])
        };
        let end = after.find(',').unwrap_or(after.len());
        let type_oid = match after[..end].trim().strip_prefix("::") {
            Some(name) => type_oid(name.trim())?,
            None => 0,
        };
        out.push(TypedParameter { value, type_oid });
        rest = after[end..].strip_prefix(',').unwrap_or_default().trim();
    }
    Ok(out)
}

fn type_oid(name: &str) -> Result<u32> {
    Ok(match name {
        "bool" => 16,
        "bytea" => 17,
        "int8" => 20,
        "int2" => 21,
        "int4" => 23,
        "text" => 25,
        "json" => 114,
        "float4" => 700,
        "float8" => 701,
        "unknown" => 705,
        "int4[]" => 1007,
        "text[]" => 1009,
        "int8[]" => 1016,
        "bpchar" => 1042,
        "varchar" => 1043,
        "date" => 1082,
        "timestamp" => 1114,
        "timestamptz" => 1184,
        "numeric" => 1700,
        "uuid" => 2950,
        "jsonb" => 3802,
        other => bail!("no OID known for parameter type {other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(step: &Step) -> (Repeat, bool) {
        match &step.action {
            Action::Compare { repeat, ordered, .. } => (*repeat, *ordered),
            Action::ClusterOnly { .. } => panic!("not compared: {step:?}"),
        }
    }

    #[test]
    fn statements_end_outside_quotes() -> Result<()> {
        let text = "SELECT ';\n;';\nCREATE FUNCTION f() RETURNS int LANGUAGE sql AS $x$\n SELECT 1;\n$x$;\nSELECT \"a;\nb\" -- no;\n;\n";
        let steps = parse(text)?;
        assert_eq!(steps.len(), 3, "{steps:?}");
        assert_eq!((steps[0].line, steps[1].line, steps[2].line), (1, 3, 6));
        assert_eq!(compare(&steps[0]), (Repeat::EveryWay, false));
        assert_eq!(compare(&steps[1]), (Repeat::Once, false));
        Ok(())
    }

    #[test]
    fn order_is_taken_from_the_top_level() -> Result<()> {
        let steps = parse("SELECT 1 ORDER BY 1;\nSELECT array(SELECT 1 ORDER BY 1);\n-- ordered\nTABLE t;\n")?;
        let orders: Vec<bool> = steps.iter().map(|step| compare(step).1).collect();
        assert_eq!(orders, [true, false, true]);
        Ok(())
    }

    #[test]
    fn atomic_bodies_hold_semicolons() -> Result<()> {
        let steps = parse("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC\n  SELECT 1;\n  SELECT 2;\nEND;\nSELECT 3;\n")?;
        assert_eq!(steps.len(), 2, "{steps:?}");
        Ok(())
    }

    #[test]
    fn one_message_may_hold_many_statements() -> Result<()> {
        let steps = parse("BEGIN\\; SELECT 1\\; COMMIT;\n")?;
        assert_eq!(steps[0].sql, "BEGIN; SELECT 1; COMMIT");
        assert_eq!(compare(&steps[0]).0, Repeat::SimpleOnly);
        Ok(())
    }

    #[test]
    fn copy_data_follows_the_statement() -> Result<()> {
        let steps = parse("COPY t FROM STDIN;\n1\ta;\n\\.\nSELECT 1;\n")?;
        assert_eq!(steps.len(), 2);
        match &steps[0].action {
            Action::Compare { copy: CopyData::Inline(data), .. } => assert_eq!(data, b"1\ta;\n"),
            other => panic!("{other:?}"),
        }
        Ok(())
    }

    #[test]
    fn parameters_have_types() -> Result<()> {
        let parsed = parameters("-1::int8, 'it''s, x'::text, NULL, 2.5")?;
        let expected = [(Some("-1"), 20), (Some("it's, x"), 25), (None, 0), (Some("2.5"), 0)];
        let got: Vec<(Option<&str>, u32)> = parsed.iter().map(|one| (one.value.as_deref(), one.type_oid)).collect();
        assert_eq!(got, expected);
        Ok(())
    }
}
