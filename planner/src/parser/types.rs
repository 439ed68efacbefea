//! Type names.

use std::borrow::Cow;

use super::{Parse, Parser, keywords};
use crate::scan::{Token, TokenKind};
use crate::syntax::TypeName;

impl<'a> Parser<'a, '_> {
    pub(super) fn type_name(&mut self) -> Parse<TypeName<'a>> {
        let start = self.start();
        self.word("setof");
        let (name, schema, modified) = self.simple_type()?;
        let mut array = false;
        if self.word("array") {
            array = true;
            if self.symbol("[") {
                self.array_bound()?;
            }
        } else {
            while self.symbol("[") {
                array = true;
                self.array_bound()?;
            }
        }
        Ok(TypeName { span: self.since(start), name, schema, modified, array })
    }

    fn array_bound(&mut self) -> Parse<()> {
        if self.peek().is_some_and(|token| token.kind == TokenKind::Integer) {
            self.at += 1;
        }
        self.expect_symbol("]")
    }

    fn simple_type(&mut self) -> Parse<(Cow<'a, str>, Option<Cow<'a, str>>, bool)> {
        let Some(token) = self.peek().copied() else { return self.fail() };
        if token.kind == TokenKind::Word
            && !self.symbol_at(1, ".")
            && let Some((name, modified)) = self.built_in_type(&token)?
        {
            return Ok((Cow::Borrowed(name), None, modified));
        }
        if token.kind == TokenKind::Word && !keywords::may_name_function(self.text(&token)) {
            return self.fail();
        }
        let mut name = self.any_identifier()?.name;
        let mut schema = None;
        while self.symbol(".") {
            schema = Some(name);
            name = self.any_identifier()?.name;
        }
        let modified = self.is_symbol("(");
        if modified {
            self.skip_parentheses()?;
        }
        Ok((name, schema, modified))
    }

    /// The types that the grammar itself knows: their internal name, and whether a modifier follows.
    fn built_in_type(&mut self, token: &Token) -> Parse<Option<(&'static str, bool)>> {
        let mut word = [0_u8; 12];
        let text = self.text(token);
        let Some(lower) = word.get_mut(..text.len()) else { return Ok(None) };
        lower.copy_from_slice(text.as_bytes());
        lower.make_ascii_lowercase();
        let name = match &*lower {
            b"int" | b"integer" => "int4",
            b"smallint" => "int2",
            b"bigint" => "int8",
            b"real" => "float4",
            b"boolean" => "bool",
            b"float" => {
                self.at += 1;
                let digits = if self.symbol_at(0, "(") { self.peek_at(1) } else { None };
                // Up to 24 binary digits are real's.
                let short =
                    digits.and_then(|digits| self.text(digits).parse().ok()).is_some_and(|digits: u32| digits <= 24);
                self.modifier()?;
                return Ok(Some((if short { "float4" } else { "float8" }, false)));
            }
            b"double" if self.word_at(1, "precision") => {
                self.at += 2;
                return Ok(Some(("float8", false)));
            }
            b"decimal" | b"dec" | b"numeric" => "numeric",
            b"varchar" => "varchar",
            b"national" | b"character" | b"char" | b"nchar" => {
                self.at += 1;
                if text.eq_ignore_ascii_case("national") && !self.word("character") {
                    self.expect_word("char")?;
                }
                let varying = self.word("varying");
                let modified = self.modifier()?;
                // char without a length is char(1).
                return Ok(Some(if varying { ("varchar", modified) } else { ("bpchar", true) }));
            }
            b"bit" => {
                self.at += 1;
                let varying = self.word("varying");
                self.modifier()?;
                return Ok(Some((if varying { "varbit" } else { "bit" }, true)));
            }
            b"timestamp" | b"time" => {
                let timestamp = text.eq_ignore_ascii_case("timestamp");
                self.at += 1;
                let modified = self.modifier()?;
                let zone = self.words(&["with", "time", "zone"]);
                if !zone {
                    self.words(&["without", "time", "zone"]);
                }
                let name = match (timestamp, zone) {
                    (true, true) => "timestamptz",
                    (true, false) => "timestamp",
                    (false, true) => "timetz",
                    (false, false) => "time",
                };
                return Ok(Some((name, modified)));
            }
            b"interval" => {
                self.at += 1;
                let modified = self.modifier()? | self.interval_fields()?;
                return Ok(Some(("interval", modified)));
            }
            _ => return Ok(None),
        };
        self.at += 1;
        let modified = self.modifier()?;
        Ok(Some((name, modified)))
    }

    fn modifier(&mut self) -> Parse<bool> {
        let modified = self.is_symbol("(");
        if modified {
            self.skip_parentheses()?;
        }
        Ok(modified)
    }

    /// `YEAR TO MONTH`, `DAY`, `SECOND(3)` behind INTERVAL.
    pub(super) fn interval_fields(&mut self) -> Parse<bool> {
        const FIELDS: [&str; 6] = ["year", "month", "day", "hour", "minute", "second"];
        if !self.any_word(&FIELDS) {
            return Ok(false);
        }
        self.at += 1;
        self.modifier()?;
        if self.word("to") {
            if !self.any_word(&FIELDS) {
                return self.fail();
            }
            self.at += 1;
            self.modifier()?;
        }
        Ok(true)
    }
}
