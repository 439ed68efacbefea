//! COPY, in all spellings of its options.

use crate::Facts;
use crate::catalog::Column;
use crate::directory::{ColocationId, KeyColumn};
use crate::names::{Found, Target};
use crate::plan::{Copy, CopyDirection, CopyFormat, CopyHeader, CopyOptions, CopyTarget, Plan, Refusal, Relay, Site};
use crate::scan::{Span, Token, TokenKind};
use crate::statement::plan as plan_statement;
use crate::syntax::{Ident, Name};

/// The plan; `None` when PostgreSQL would reject the statement's grammar.
pub(crate) fn plan(sql: &str, tokens: &[Token], facts: &Facts<'_>) -> Option<Plan> {
    let mut reader = Reader { sql, tokens, at: 1 };
    if reader.is_symbol("(") {
        return query(&mut reader, facts);
    }
    let binary = reader.word("binary");
    let name = reader.name()?;
    let columns = if reader.is_symbol("(") { Some(reader.names()?) } else { None };
    let direction = if reader.word("from") {
        CopyDirection::In
    } else if reader.word("to") {
        CopyDirection::Out
    } else {
        return None;
    };
    let file = reader.endpoint()?;
    let (options, filter) = reader.options(binary)?;
    let found = facts.find_relation(&name);
    Some(match found.target {
        Target::Distributed { .. } | Target::Reference if file => files().into(),
        Target::Distributed { colocation, key } => {
            distributed(&found, (colocation, key), direction, columns, options, filter)
        }
        Target::Reference if direction == CopyDirection::In => {
            Plan::Copy(Copy { direction, target: CopyTarget::Reference { table: found.full } })
        }
        Target::Reference => site(direction, Site::AnyGroup),
        Target::DistributedView => {
            let instead = match direction {
                CopyDirection::In => "Copy the rows into the tables that it reads.",
                CopyDirection::Out => "Use COPY (SELECT ...) TO.",
            };
            Refusal::unsupported(
                format!("view \"{}\" reads distributed tables: COPY of it is not supported", found.full.name),
                "COPY works on a table's own rows, and a view has none.",
                instead,
            )
            .into()
        }
        Target::System => site(direction, Site::Catalog),
        _ => site(direction, Site::Home),
    })
}

fn site(direction: CopyDirection, site: Site) -> Plan {
    Plan::Copy(Copy { direction, target: CopyTarget::Site(site) })
}

fn files() -> Refusal {
    Refusal::unsupported(
        "COPY of distributed and reference tables cannot use files or programs on the server",
        "The rows are on several servers, each with files of its own.",
        "Use COPY ... FROM STDIN or TO STDOUT; psql's \\copy reads and writes the client's files.",
    )
}

/// `COPY (query) TO ...`
fn query(reader: &mut Reader<'_, '_>, facts: &Facts<'_>) -> Option<Plan> {
    let open = reader.at;
    reader.skip_parentheses()?;
    let span = Span { start: reader.tokens[open].span.end, end: reader.tokens[reader.at - 1].span.start };
    if !reader.word("to") {
        return None;
    }
    let file = reader.endpoint()?;
    let (options, _) = reader.options(false)?;
    let direction = CopyDirection::Out;
    Some(match plan_statement(span.of(reader.sql), facts) {
        Plan::Relay(Relay { site: at, text: None, .. }) => site(direction, at),
        _ if file => files().into(),
        views @ Plan::Views(_) => views,
        Plan::Refuse(mut refusal) => {
            refusal.position = refusal.position.map(|position| position + span.start);
            Plan::Refuse(refusal)
        }
        inner @ (Plan::Relay(_) | Plan::Sharded(_) | Plan::Gather(_) | Plan::Insert(_)) => {
            Plan::Copy(Copy { direction, target: CopyTarget::Query(Box::new(inner), options) })
        }
        Plan::ReferenceWrite(_) => Refusal::unsupported(
            "COPY of a write to a reference table is not supported",
            "The write runs on every group.",
            "Run the write with RETURNING, without COPY.",
        )
        .into(),
        // Not a query: PostgreSQL says so.
        _ => return None,
    })
}

fn distributed(
    found: &Found<'_>,
    (colocation, key): (ColocationId, &KeyColumn),
    direction: CopyDirection,
    columns: Option<Vec<String>>,
    options: CopyOptions,
    filter: Option<String>,
) -> Plan {
    let Some(relation) = found.relation else {
        return Refusal::unknown_table(&found.full.name).into();
    };
    let columns = match columns {
        Some(columns) => columns,
        None => relation.columns.iter().filter(|column| !column.generated).map(|column| column.name.clone()).collect(),
    };
    for name in &columns {
        if !relation.columns.iter().any(|column| column.name == *name) {
            let message = format!("column \"{name}\" of relation \"{}\" does not exist", found.full.name);
            return Refusal::error("42703", message).into();
        }
    }
    let encoding =
        options.text.contains("ENCODING") && !options.text.to_ascii_lowercase().replace('-', "").contains("'utf8'");
    if encoding {
        return Refusal::unsupported(
            "COPY of a distributed table in an encoding other than UTF8 is not supported",
            "The coordinator reads the rows to find their shards, as UTF8.",
            "Convert the data in the client.",
        )
        .into();
    }
    let left_out = |column: &&Column| direction == CopyDirection::In && !columns.contains(&column.name);
    let computed = relation.columns.iter().filter(left_out).filter_map(computed_default).collect();
    Plan::Copy(Copy {
        direction,
        target: CopyTarget::Distributed {
            table: found.full.clone(),
            colocation,
            key_type: key.key_type,
            key_index: columns.iter().position(|column| *column == key.name),
            columns,
            computed,
            options,
            filter,
        },
    })
}

fn computed_default(column: &Column) -> Option<(String, String)> {
    let expression = match (&column.identity, &column.default) {
        (Some(identity), _) => format!("nextval({})", crate::quote_literal(&identity.sequence).trim_start()),
        (None, Some(default)) if column.default_is_volatile => default.clone(),
        _ => return None,
    };
    Some((column.name.clone(), expression))
}

struct Reader<'a, 't> {
    sql: &'a str,
    tokens: &'t [Token],
    at: usize,
}

impl<'a> Reader<'a, '_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        self.peek().is_some_and(|token| token.is_symbol(self.sql, symbol))
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is_keyword(self.sql, word));
        self.at += usize::from(found);
        found
    }

    fn identifier(&mut self) -> Option<Ident<'a>> {
        let token = *self.peek()?;
        let name = token.identifier(self.sql)?;
        self.at += 1;
        Some(Ident { name, span: token.span })
    }

    fn name(&mut self) -> Option<Name<'a>> {
        let mut parts = vec![self.identifier()?];
        while self.symbol(".") {
            parts.push(self.identifier()?);
        }
        Some(Name { parts })
    }

    fn names(&mut self) -> Option<Vec<String>> {
        if !self.symbol("(") {
            return None;
        }
        let mut names = Vec::new();
        loop {
            names.push(self.identifier()?.name.into_owned());
            if self.symbol(")") {
                return Some(names);
            }
            if !self.symbol(",") {
                return None;
            }
        }
    }

    fn skip_parentheses(&mut self) -> Option<()> {
        let mut depth = 0;
        loop {
            let token = self.peek()?;
            match token.span.of(self.sql) {
                "(" if token.kind == TokenKind::Symbol => depth += 1,
                ")" if token.kind == TokenKind::Symbol => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// Whether the other end is a file or a program of the server.
    fn endpoint(&mut self) -> Option<bool> {
        if self.word("stdin") || self.word("stdout") {
            return Some(false);
        }
        self.word("program");
        self.string().map(|_| true)
    }

    fn string(&mut self) -> Option<String> {
        let value = self.peek()?.string_value(self.sql)?.into_owned();
        self.at += 1;
        Some(value)
    }

    /// The options and the filter, to the end of the statement.
    fn options(&mut self, binary: bool) -> Option<(CopyOptions, Option<String>)> {
        let mut parsed = Options::default();
        if binary {
            parsed.format = Some(CopyFormat::Binary);
        }
        if self.word("using") && !self.peek()?.is_keyword(self.sql, "delimiters") {
            return None;
        }
        if self.word("delimiters") {
            parsed.delimiter = Some(self.string()?);
        }
        self.word("with");
        if self.symbol("(") {
            self.new_options(&mut parsed)?;
        } else {
            self.old_options(&mut parsed)?;
        }
        let mut filter = None;
        if self.word("where") {
            let span = self.peek()?.span.to(self.tokens.last()?.span);
            filter = Some(span.of(self.sql).to_owned());
            self.at = self.tokens.len();
        }
        if self.at < self.tokens.len() {
            return None;
        }
        Some((parsed.finish()?, filter))
    }

    fn new_options(&mut self, parsed: &mut Options) -> Option<()> {
        loop {
            let name = self.identifier()?.name.into_owned();
            let start = self.at;
            while !self.is_symbol(",") && !self.is_symbol(")") {
                if self.is_symbol("(") {
                    self.skip_parentheses()?
                } else {
                    self.at += 1
                }
                self.peek()?;
            }
            let value = &self.tokens[start..self.at];
            self.option(parsed, &name, value)?;
            if self.symbol(")") {
                return Some(());
            }
            self.at += 1;
        }
    }

    fn option(&self, parsed: &mut Options, name: &str, value: &[Token]) -> Option<()> {
        let raw = match (value.first(), value.last()) {
            (Some(first), Some(last)) => first.span.to(last.span).of(self.sql),
            _ => "",
        };
        let text = || match value {
            [token] => {
                token.string_value(self.sql).or_else(|| token.identifier(self.sql)).map(|value| value.into_owned())
            }
            _ => None,
        };
        let boolean = || match text().unwrap_or_else(|| raw.to_owned()).to_ascii_lowercase().as_str() {
            "" | "true" | "on" | "1" => Some(true),
            "false" | "off" | "0" => Some(false),
            _ => None,
        };
        match name {
            "format" => parsed.format = Some(format(&text()?)?),
            "freeze" => parsed.freeze = boolean()?,
            "delimiter" => parsed.delimiter = Some(text()?),
            "null" => parsed.null = Some(text()?),
            "header" if text().is_some_and(|value| value.eq_ignore_ascii_case("match")) => {
                parsed.header = CopyHeader::Match
            }
            "header" => parsed.header = if boolean()? { CopyHeader::Yes } else { CopyHeader::No },
            "quote" => parsed.quote = Some(text()?),
            "escape" => parsed.escape = Some(text()?),
            "encoding" => parsed.encoding = Some(text()?),
            "force_quote" | "force_not_null" | "force_null" | "default" => {
                parsed.others.push(format!("{} {raw}", name.to_ascii_uppercase()));
            }
            _ => return None,
        }
        Some(())
    }

    fn old_options(&mut self, parsed: &mut Options) -> Option<()> {
        loop {
            if self.word("binary") {
                parsed.format = Some(CopyFormat::Binary);
            } else if self.word("csv") {
                parsed.format = Some(CopyFormat::Csv);
            } else if self.word("freeze") {
                parsed.freeze = true;
            } else if self.word("header") {
                parsed.header = CopyHeader::Yes;
            } else if self.word("delimiter") {
                parsed.delimiter = Some(self.old_value()?);
            } else if self.word("null") {
                parsed.null = Some(self.old_value()?);
            } else if self.word("quote") {
                parsed.quote = Some(self.old_value()?);
            } else if self.word("escape") {
                parsed.escape = Some(self.old_value()?);
            } else if self.word("encoding") {
                parsed.encoding = Some(self.string()?);
            } else if self.word("force") {
                let name = if self.word("quote") {
                    "FORCE_QUOTE"
                } else if self.word("not") {
                    if !self.word("null") {
                        return None;
                    }
                    "FORCE_NOT_NULL"
                } else if self.word("null") {
                    "FORCE_NULL"
                } else {
                    return None;
                };
                let columns = if self.symbol("*") {
                    "*".to_owned()
                } else {
                    let mut names = vec![crate::quote_identifier(&self.identifier()?.name)];
                    while self.symbol(",") {
                        names.push(crate::quote_identifier(&self.identifier()?.name));
                    }
                    format!("({})", names.join(", "))
                };
                parsed.others.push(format!("{name} {columns}"));
            } else {
                return Some(());
            }
        }
    }

    fn old_value(&mut self) -> Option<String> {
        self.word("as");
        self.string()
    }
}

fn format(name: &str) -> Option<CopyFormat> {
    match name {
        "text" => Some(CopyFormat::Text),
        "csv" => Some(CopyFormat::Csv),
        "binary" => Some(CopyFormat::Binary),
        _ => None,
    }
}

struct Options {
    format: Option<CopyFormat>,
    freeze: bool,
    delimiter: Option<String>,
    null: Option<String>,
    header: CopyHeader,
    quote: Option<String>,
    escape: Option<String>,
    encoding: Option<String>,
    others: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            format: None,
            freeze: false,
            delimiter: None,
            null: None,
            header: CopyHeader::No,
            quote: None,
            escape: None,
            encoding: None,
            others: Vec::new(),
        }
    }
}

impl Options {
    /// `None` for what PostgreSQL rejects: characters that are not single bytes.
    fn finish(self) -> Option<CopyOptions> {
        let format = self.format.unwrap_or(CopyFormat::Text);
        let csv = format == CopyFormat::Csv;
        let mut texts = match format {
            CopyFormat::Text => Vec::new(),
            CopyFormat::Csv => vec!["FORMAT csv".to_owned()],
            CopyFormat::Binary => vec!["FORMAT binary".to_owned()],
        };
        if self.freeze {
            texts.push("FREEZE".to_owned());
        }
        let given = [
            ("DELIMITER", &self.delimiter),
            ("NULL", &self.null),
            ("QUOTE", &self.quote),
            ("ESCAPE", &self.escape),
            ("ENCODING", &self.encoding),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                texts.push(format!("{name} {}", crate::quote_literal(value).trim_start()));
            }
        }
        texts.extend(self.others);
        let quote = self.quote.as_deref().map_or(Some(b'"'), byte)?;
        Some(CopyOptions {
            format,
            delimiter: self.delimiter.as_deref().map_or(Some(if csv { b',' } else { b'\t' }), byte)?,
            null: self.null.unwrap_or_else(|| if csv { String::new() } else { "\\N".to_owned() }),
            quote,
            escape: self.escape.as_deref().map_or(Some(quote), byte)?,
            header: self.header,
            freeze: self.freeze,
            text: texts.join(", "),
        })
    }
}

fn byte(text: &str) -> Option<u8> {
    match text.as_bytes() {
        [byte] => Some(*byte),
        _ => None,
    }
}
