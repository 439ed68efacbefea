//! PostgreSQL's lexical rules: text to tokens with their places, and messages to statements.
//!
//! The rules are those of PostgreSQL's manual, chapter "Lexical Structure", with `standard_conforming_strings` on. The scanner never
//! fails: what PostgreSQL would reject (an unterminated string, a stray byte) becomes a token of kind [`TokenKind::Bad`].

mod values;

use std::borrow::Cow;
use std::ops::Range;

use values::{quoted_segments, truncate_identifier, unescape, unescape_unicode};

/// A stretch of the statement's text, in bytes; always on character boundaries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub fn of<'a>(&self, sql: &'a str) -> &'a str {
        sql.get(self.start..self.end).unwrap_or("")
    }

    /// From the start of this one to the end of another.
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start, end: other.end }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// An identifier or keyword without quotes.
    Word,
    /// `"..."`
    QuotedIdentifier,
    /// `U&"..."`, with its UESCAPE.
    UnicodeIdentifier,
    /// `'...'`, with continuations on later lines.
    String,
    /// `E'...'`
    EscapeString,
    /// `U&'...'`, with its UESCAPE.
    UnicodeString,
    /// `N'...'`
    NationalString,
    /// `B'...'` or `X'...'`
    BitString,
    /// `$tag$...$tag$`
    DollarString,
    Integer,
    /// A number with a fraction or an exponent.
    Numeric,
    /// `$1`
    Parameter,
    /// Any operator, and the single characters `( ) [ ] , ; . :` as well as `::`, `:=` and `..`.
    Symbol,
    /// What PostgreSQL's lexer rejects.
    Bad,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    pub span: Span,
}

impl Token {
    /// Whether it is this keyword, given in lower case.
    pub fn is_keyword(&self, sql: &str, keyword: &str) -> bool {
        self.kind == TokenKind::Word && self.span.of(sql).eq_ignore_ascii_case(keyword)
    }

    pub fn is_symbol(&self, sql: &str, symbol: &str) -> bool {
        self.kind == TokenKind::Symbol && self.span.of(sql) == symbol
    }

    pub fn is_string(&self) -> bool {
        matches!(
            self.kind,
            TokenKind::String
                | TokenKind::EscapeString
                | TokenKind::UnicodeString
                | TokenKind::NationalString
                | TokenKind::DollarString
        )
    }

    /// The name that an identifier denotes: folded to lower case unless quoted, cut to 63 bytes.
    pub fn identifier<'a>(&self, sql: &'a str) -> Option<Cow<'a, str>> {
        let text = self.span.of(sql);
        let name = match self.kind {
            TokenKind::Word if text.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                Cow::Owned(text.to_ascii_lowercase())
            }
            TokenKind::Word => Cow::Borrowed(text),
            TokenKind::QuotedIdentifier => {
                let inner = text.get(1..text.len().checked_sub(1)?)?;
                if inner.contains('"') { Cow::Owned(inner.replace("\"\"", "\"")) } else { Cow::Borrowed(inner) }
            }
            TokenKind::UnicodeIdentifier => {
                let (text, escape) = split_uescape(text);
                let inner = text.get(3..text.len().checked_sub(1)?)?.replace("\"\"", "\"");
                Cow::Owned(unescape_unicode(&inner, escape)?)
            }
            _ => return None,
        };
        Some(truncate_identifier(name))
    }

    /// The value of a string literal; `None` for other tokens and for escapes that PostgreSQL would reject.
    pub fn string_value<'a>(&self, sql: &'a str) -> Option<Cow<'a, str>> {
        let text = self.span.of(sql);
        match self.kind {
            TokenKind::String => {
                let inner = text.get(1..text.len().checked_sub(1)?)?;
                if inner.contains('\'') { quoted_segments(text).map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
            }
            TokenKind::NationalString => quoted_segments(text.get(1..)?).map(Cow::Owned),
            TokenKind::EscapeString => unescape(text.get(1..)?).map(Cow::Owned),
            TokenKind::UnicodeString => {
                let (text, escape) = split_uescape(text);
                unescape_unicode(&quoted_segments(text.get(2..)?)?, escape).map(Cow::Owned)
            }
            TokenKind::DollarString => {
                let tag = text.get(1..)?.find('$')? + 2;
                Some(Cow::Borrowed(text.get(tag..text.len().checked_sub(tag)?)?))
            }
            _ => None,
        }
    }
}

/// A `U&` token without its UESCAPE, and its escape character.
fn split_uescape(text: &str) -> (&str, char) {
    let mut scanner = Scanner { sql: text, bytes: text.as_bytes(), at: 0 };
    scanner.scan();
    match text.split_at_checked(scanner.at) {
        Some((own, uescape)) if !uescape.is_empty() => (own, uescape.chars().nth_back(1).unwrap_or('\\')),
        _ => (text, '\\'),
    }
}

/// All tokens of a text, comments and blanks left out.
pub fn tokens(sql: &str) -> Vec<Token> {
    let mut scanner = Scanner { sql, bytes: sql.as_bytes(), at: 0 };
    let mut tokens = Vec::with_capacity(sql.len() / 5 + 4);
    while let Some(token) = scanner.next_token() {
        tokens.push(token);
    }
    tokens
}

/// The statements of a simple-protocol message, as PostgreSQL's grammar divides it: by semicolons outside parentheses and outside
/// BEGIN ATOMIC bodies. Each range starts where the last semicolon ended, blanks and comments included, and ends before its own
/// semicolon; stretches without a token are left out.
pub fn split(sql: &str) -> Vec<Range<usize>> {
    split_tokens(sql, &tokens(sql))
}

fn split_tokens(sql: &str, tokens: &[Token]) -> Vec<Range<usize>> {
    let mut statements = Vec::new();
    let (mut start, mut first, mut depth, mut atomic) = (0, 0, 0_usize, 0_usize);
    for (index, token) in tokens.iter().enumerate() {
        match token.kind {
            TokenKind::Symbol => match token.span.of(sql) {
                "(" => depth += 1,
                ")" => depth = depth.saturating_sub(1),
                ";" if depth == 0 && atomic == 0 => {
                    if index > first {
                        statements.push(start..token.span.start);
                    }
                    (start, first) = (token.span.end, index + 1);
                }
                _ => {}
            },
            TokenKind::Word if atomic > 0 => {
                if token.is_keyword(sql, "case") {
                    atomic += 1;
                } else if token.is_keyword(sql, "end") {
                    atomic -= 1;
                }
            }
            TokenKind::Word
                if depth == 0
                    && token.is_keyword(sql, "atomic")
                    && index > first
                    && tokens[index - 1].is_keyword(sql, "begin")
                    && creates_routine(sql, &tokens[first..index]) =>
            {
                atomic = 1;
            }
            _ => {}
        }
    }
    if tokens.len() > first {
        statements.push(start..sql.len());
    }
    statements
}

fn creates_routine(sql: &str, tokens: &[Token]) -> bool {
    let mut words = tokens.iter().take(4).map(|token| token.span.of(sql));
    words.next().is_some_and(|word| word.eq_ignore_ascii_case("create"))
        && words.any(|word| word.eq_ignore_ascii_case("function") || word.eq_ignore_ascii_case("procedure"))
}

struct Scanner<'a> {
    sql: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn next_token(&mut self) -> Option<Token> {
        let closed = self.skip_blanks();
        let start = self.at;
        if !closed {
            // An unterminated comment.
            self.at = self.bytes.len();
            return Some(Token { kind: TokenKind::Bad, span: Span { start, end: self.at } });
        }
        if start >= self.bytes.len() {
            return None;
        }
        let kind = self.scan();
        if matches!(kind, TokenKind::UnicodeString | TokenKind::UnicodeIdentifier) {
            self.skip_uescape();
        }
        if self.at == start {
            self.at += 1;
        }
        while !self.sql.is_char_boundary(self.at) {
            self.at += 1;
        }
        Some(Token { kind, span: Span { start, end: self.at } })
    }

    /// False when a comment does not end.
    fn skip_blanks(&mut self) -> bool {
        loop {
            match (self.peek(0), self.peek(1)) {
                (b' ' | b'\t' | b'\n' | b'\r' | 0x0c, _) => self.at += 1,
                (b'-', b'-') => self.skip_line(),
                (b'/', b'*') => {
                    let start = self.at;
                    if !self.skip_block() {
                        self.at = start;
                        return false;
                    }
                }
                _ => return true,
            }
        }
    }

    fn skip_line(&mut self) {
        while self.at < self.bytes.len() && !matches!(self.bytes[self.at], b'\n' | b'\r') {
            self.at += 1;
        }
    }

    fn skip_block(&mut self) -> bool {
        let mut depth = 0;
        while self.at < self.bytes.len() {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return true;
                    }
                }
                _ => self.at += 1,
            }
        }
        false
    }

    fn scan(&mut self) -> TokenKind {
        let byte = self.peek(0);
        match byte {
            b'\'' => self.quoted(0, false, TokenKind::String),
            b'e' | b'E' if self.peek(1) == b'\'' => self.quoted(1, true, TokenKind::EscapeString),
            b'n' | b'N' if self.peek(1) == b'\'' => self.quoted(1, false, TokenKind::NationalString),
            b'b' | b'B' | b'x' | b'X' if self.peek(1) == b'\'' => self.quoted(1, false, TokenKind::BitString),
            b'u' | b'U' if self.peek(1) == b'&' && self.peek(2) == b'\'' => {
                self.quoted(2, false, TokenKind::UnicodeString)
            }
            b'u' | b'U' if self.peek(1) == b'&' && self.peek(2) == b'"' => {
                self.identifier(2, TokenKind::UnicodeIdentifier)
            }
            b'"' => self.identifier(0, TokenKind::QuotedIdentifier),
            b'$' => self.dollar(),
            b'0'..=b'9' => self.number(),
            b'.' if self.peek(1).is_ascii_digit() => self.number(),
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => {
                while is_identifier_byte(self.peek(0)) {
                    self.at += 1;
                }
                TokenKind::Word
            }
            b'(' | b')' | b'[' | b']' | b',' | b';' => {
                self.at += 1;
                TokenKind::Symbol
            }
            b':' => {
                self.at += if matches!(self.peek(1), b':' | b'=') { 2 } else { 1 };
                TokenKind::Symbol
            }
            b'.' => {
                self.at += if self.peek(1) == b'.' { 2 } else { 1 };
                TokenKind::Symbol
            }
            byte if is_operator_byte(byte) => {
                self.operator();
                TokenKind::Symbol
            }
            _ => {
                self.at += 1;
                TokenKind::Bad
            }
        }
    }

    /// `UESCAPE 'c'` belongs to the token before it.
    fn skip_uescape(&mut self) {
        let mut ahead = Scanner { sql: self.sql, bytes: self.bytes, at: self.at };
        ahead.skip_blanks();
        let word = ahead.at;
        while is_identifier_byte(ahead.peek(0)) {
            ahead.at += 1;
        }
        if !self.bytes[word..ahead.at].eq_ignore_ascii_case(b"uescape") {
            return;
        }
        ahead.skip_blanks();
        if let [b'\'', escape, b'\'', ..] = &self.bytes[ahead.at..]
            && escape.is_ascii()
            && !escape.is_ascii_hexdigit()
            && !b"+'\" \t\n\r\x0c".contains(escape)
        {
            self.at = ahead.at + 3;
        }
    }

    fn quoted(&mut self, prefix: usize, escapes: bool, kind: TokenKind) -> TokenKind {
        self.at += prefix + 1;
        loop {
            match self.peek(0) {
                b'\'' if self.peek(1) == b'\'' => self.at += 2,
                b'\'' => {
                    self.at += 1;
                    if !self.continues() {
                        return kind;
                    }
                }
                b'\\' if escapes => self.at += 2,
                0 if self.at >= self.bytes.len() => {
                    self.at = self.bytes.len();
                    return TokenKind::Bad;
                }
                _ => self.at += 1,
            }
        }
    }

    /// Whether the string goes on after blanks with a line break in them; then stands behind the next opening quote.
    fn continues(&mut self) -> bool {
        let mut at = self.at;
        let mut line_break = false;
        loop {
            match self.bytes.get(at) {
                Some(b'\n' | b'\r') => line_break = true,
                Some(b' ' | b'\t' | 0x0c) => {}
                Some(b'-') if line_break && self.bytes.get(at + 1) == Some(&b'-') => {
                    while at < self.bytes.len() && !matches!(self.bytes[at], b'\n' | b'\r') {
                        at += 1;
                    }
                    continue;
                }
                Some(b'\'') if line_break => {
                    self.at = at + 1;
                    return true;
                }
                _ => return false,
            }
            at += 1;
        }
    }

    fn identifier(&mut self, prefix: usize, kind: TokenKind) -> TokenKind {
        self.at += prefix + 1;
        let start = self.at;
        loop {
            match self.peek(0) {
                b'"' if self.peek(1) == b'"' => self.at += 2,
                b'"' => {
                    let empty = self.at == start;
                    self.at += 1;
                    return if empty { TokenKind::Bad } else { kind };
                }
                0 if self.at >= self.bytes.len() => return TokenKind::Bad,
                _ => self.at += 1,
            }
        }
    }

    fn dollar(&mut self) -> TokenKind {
        let start = self.at;
        if self.peek(1).is_ascii_digit() {
            self.at += 1;
            while self.peek(0).is_ascii_digit() {
                self.at += 1;
            }
            return TokenKind::Parameter;
        }
        let mut end = start + 1;
        while self.bytes.get(end).is_some_and(|byte| is_identifier_byte(*byte) && *byte != b'$') {
            end += 1;
        }
        if self.bytes.get(end) != Some(&b'$') {
            self.at += 1;
            return TokenKind::Bad;
        }
        let tag = &self.sql[start..=end];
        match self.sql[end + 1..].find(tag) {
            Some(length) => {
                self.at = end + 1 + length + tag.len();
                TokenKind::DollarString
            }
            None => {
                self.at = self.bytes.len();
                TokenKind::Bad
            }
        }
    }

    fn number(&mut self) -> TokenKind {
        let mut kind = TokenKind::Integer;
        while self.peek(0).is_ascii_digit() {
            self.at += 1;
        }
        if self.peek(0) == b'.' && self.peek(1) != b'.' {
            kind = TokenKind::Numeric;
            self.at += 1;
            while self.peek(0).is_ascii_digit() {
                self.at += 1;
            }
        }
        if matches!(self.peek(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
            if self.peek(1 + sign).is_ascii_digit() {
                kind = TokenKind::Numeric;
                self.at += 1 + sign;
                while self.peek(0).is_ascii_digit() {
                    self.at += 1;
                }
            }
        }
        if is_identifier_byte(self.peek(0)) && self.peek(0) != b'$' {
            // Hexadecimal, octal, underscores (PostgreSQL 16) or junk: never read as a number here.
            while is_identifier_byte(self.peek(0)) {
                self.at += 1;
            }
            kind = TokenKind::Numeric;
        }
        kind
    }

    fn operator(&mut self) {
        let start = self.at;
        let mut end = start;
        while let Some(byte) = self.bytes.get(end) {
            let comment = matches!((byte, self.bytes.get(end + 1)), (b'-', Some(b'-')) | (b'/', Some(b'*')));
            if !is_operator_byte(*byte) || (comment && end > start) {
                break;
            }
            end += 1;
        }
        // An operator of several characters ends in + or - only when it also has one of these.
        let text = &self.bytes[start..end];
        if !text.iter().any(|byte| b"~!@#^&|`?%".contains(byte)) {
            while end > start + 1 && matches!(self.bytes[end - 1], b'+' | b'-') {
                end -= 1;
            }
        }
        self.at = end.max(start + 1);
    }
}

fn is_identifier_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn is_operator_byte(byte: u8) -> bool {
    b"~!@#^&|`?+-*/%<>=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<&str> {
        tokens(sql).iter().map(|token| token.span.of(sql)).collect()
    }

    fn parts(sql: &str) -> Vec<&str> {
        split(sql).into_iter().map(|range| sql[range].trim()).collect()
    }

    #[test]
    fn lexes_as_postgresql_does() {
        assert_eq!(texts("a<-1"), ["a", "<", "-", "1"]);
        assert_eq!(texts("a @-1"), ["a", "@-", "1"]);
        assert_eq!(texts("1..2 .5 1.e3 $1::int[]"), ["1", "..", "2", ".5", "1.e3", "$1", "::", "int", "[", "]"]);
        assert_eq!(texts("a--b\nc/*d/*e*/f*/g"), ["a", "c", "g"]);
        assert_eq!(texts("a->>'b'"), ["a", "->>", "'b'"]);
        assert_eq!(texts("$$a;'b$$ $x$ $$ $x$ E'a\\'b' 'it''s'"), ["$$a;'b$$", "$x$ $$ $x$", "E'a\\'b'", "'it''s'"]);
        assert_eq!(texts("\"a\"\"b\".c"), ["\"a\"\"b\"", ".", "c"]);
        assert_eq!(texts("'a'\n  'b' 'c'"), ["'a'\n  'b'", "'c'"]);
        assert_eq!(texts("U&'!0061' UESCAPE '!' b"), ["U&'!0061' UESCAPE '!'", "b"]);
        assert_eq!(texts("U&\"d\"/**/uescape\n'*'"), ["U&\"d\"/**/uescape\n'*'"]);
        assert_eq!(texts("U&'a' uescape 'f'"), ["U&'a'", "uescape", "'f'"]);
    }

    #[test]
    fn values() {
        let value = |sql: &str| tokens(sql)[0].string_value(sql).map(Cow::into_owned);
        assert_eq!(value("'it''s'").as_deref(), Some("it's"));
        assert_eq!(value("'a'\n'b'").as_deref(), Some("ab"));
        assert_eq!(value("E'a\\n\\x41\\u00e9'").as_deref(), Some("a\nA\u{e9}"));
        assert_eq!(value("U&'d\\0061t\\+000061'").as_deref(), Some("data"));
        assert_eq!(value("U&'d!0061t!!\\' UESCAPE '!'").as_deref(), Some("dat!\\"));
        let name = |sql: &str| tokens(sql)[0].identifier(sql).map(Cow::into_owned);
        assert_eq!(name("U&\"d!0061t\"\"\" UESCAPE '!'").as_deref(), Some("dat\""));
        assert_eq!(value("$q$it's$q$").as_deref(), Some("it's"));
        assert_eq!(value("E'\\xff'"), None);
    }

    #[test]
    fn splits_statements() {
        assert_eq!(parts("select 1; ; select ';' ;"), ["select 1", "select ';'"]);
        assert_eq!(parts("-- only a comment"), Vec::<&str>::new());
        assert_eq!(
            parts("create rule r as on insert to t do also (a; b); c"),
            ["create rule r as on insert to t do also (a; b)", "c"]
        );
        let function =
            "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END";
        assert_eq!(parts(&format!("{function}; SELECT 3")), [function, "SELECT 3"]);
        assert_eq!(parts("begin; select 1; end"), ["begin", "select 1", "end"]);
    }

    proptest::proptest! {
        #[test]
        fn spans_are_on_character_boundaries(sql in "\\PC*") {
            for token in tokens(&sql) {
                proptest::prop_assert!(sql.get(token.span.start..token.span.end).is_some_and(|text| !text.is_empty()));
                let _ = (token.identifier(&sql), token.string_value(&sql));
            }
            for range in split(&sql) {
                proptest::prop_assert!(sql.get(range).is_some());
            }
        }
    }
}
