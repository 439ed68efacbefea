//! A cursor over a statement's tokens: DDL is recognised by its words, because no parser at hand knows all of it.

use crate::scan::{Span, Token, TokenKind, tokens};

/// A possibly qualified name as a statement has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// What stands before the schema, when there are three parts.
    pub outer: Option<String>,
    pub schema: Option<String>,
    pub name: String,
    /// The whole of it.
    pub span: Span,
    /// The schema's part, without the dot.
    pub schema_span: Option<Span>,
}

#[derive(Clone)]
pub(crate) struct Words<'a> {
    pub sql: &'a str,
    tokens: Vec<Token>,
    at: usize,
}

impl<'a> Words<'a> {
    pub fn new(sql: &'a str) -> Self {
        let mut tokens = tokens(sql);
        while tokens.last().is_some_and(|token| token.is_symbol(sql, ";")) {
            tokens.pop();
        }
        Self { sql, tokens, at: 0 }
    }

    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// How many tokens were passed.
    pub fn position(&self) -> usize {
        self.at
    }

    pub fn seek(&mut self, position: usize) {
        self.at = position;
    }

    pub fn rest(&self) -> &[Token] {
        &self.tokens[self.at.min(self.tokens.len())..]
    }

    pub fn peek(&self) -> Option<Token> {
        self.tokens.get(self.at).copied()
    }

    pub fn next(&mut self) -> Option<Token> {
        let token = self.peek()?;
        self.at += 1;
        Some(token)
    }

    /// Where the next token starts; the end of the last one when none is left.
    pub fn offset(&self) -> usize {
        match (self.peek(), self.tokens.last()) {
            (Some(token), _) => token.span.start,
            (None, Some(last)) => last.span.end,
            (None, None) => 0,
        }
    }

    /// From the next token to the end of the last.
    pub fn rest_text(&self) -> &'a str {
        let end = self.tokens.last().map_or(0, |token| token.span.end);
        self.sql.get(self.offset()..end).unwrap_or("")
    }

    pub fn is_keyword(&self, keyword: &str) -> bool {
        self.peek().is_some_and(|token| token.is_keyword(self.sql, keyword))
    }

    pub fn is_symbol(&self, symbol: &str) -> bool {
        self.peek().is_some_and(|token| token.is_symbol(self.sql, symbol))
    }

    /// Passes these keywords when they come next, all of them.
    pub fn accept(&mut self, keywords: &str) -> bool {
        let start = self.at;
        for keyword in keywords.split(' ') {
            if !self.is_keyword(keyword) {
                self.at = start;
                return false;
            }
            self.at += 1;
        }
        true
    }

    /// Passes the first of these phrases that comes next.
    pub fn accept_any<'k>(&mut self, phrases: &[&'k str]) -> Option<&'k str> {
        phrases.iter().copied().find(|phrase| self.accept(phrase))
    }

    pub fn accept_symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        self.at += usize::from(found);
        found
    }

    /// Passes `name`, `schema.name` or `database.schema.name`.
    pub fn name(&mut self) -> Option<Name> {
        let start = self.at;
        let mut parts = Vec::new();
        loop {
            let token = self.peek();
            let Some((token, part)) = token.and_then(|token| Some((token, token.identifier(self.sql)?.into_owned())))
            else {
                self.at = start;
                return None;
            };
            parts.push((token.span, part));
            self.at += 1;
            if !self.accept_symbol(".") {
                break;
            }
        }
        let span = parts[0].0.to(parts[parts.len() - 1].0);
        let (_, name) = parts.pop()?;
        let schema = parts.pop();
        let outer = parts.pop().map(|(_, name)| name);
        let schema_span = schema.as_ref().map(|(span, _)| *span);
        Some(Name { outer, schema: schema.map(|(_, name)| name), name, span, schema_span })
    }

    /// The position of the first of these keywords outside parentheses, from here on.
    pub fn find(&self, keywords: &[&str]) -> Option<usize> {
        let mut depth = 0_usize;
        for (index, token) in self.tokens.iter().enumerate().skip(self.at) {
            if token.is_symbol(self.sql, "(") || token.is_symbol(self.sql, "[") {
                depth += 1;
            } else if token.is_symbol(self.sql, ")") || token.is_symbol(self.sql, "]") {
                depth = depth.saturating_sub(1);
            } else if depth == 0 && keywords.iter().any(|keyword| token.is_keyword(self.sql, keyword)) {
                return Some(index);
            }
        }
        None
    }

    /// Whether a keyword comes anywhere from here on, within parentheses too.
    pub fn mentions(&self, keyword: &str) -> bool {
        self.rest().iter().any(|token| token.is_keyword(self.sql, keyword))
    }

    /// Passes a parenthesised group when one comes next.
    pub fn skip_parentheses(&mut self) -> bool {
        if !self.is_symbol("(") {
            return false;
        }
        let mut depth = 0_usize;
        while let Some(token) = self.next() {
            if token.is_symbol(self.sql, "(") {
                depth += 1;
            } else if token.is_symbol(self.sql, ")") {
                depth -= 1;
                if depth == 0 {
                    return true;
                }
            }
        }
        true
    }

    /// Passes everything up to the next comma outside parentheses, or to the end; what was passed.
    pub fn skip_item(&mut self) -> &[Token] {
        let start = self.at;
        while let Some(token) = self.peek() {
            if token.is_symbol(self.sql, ",") {
                break;
            }
            if !self.skip_parentheses() {
                self.at += 1;
            }
        }
        &self.tokens[start..self.at]
    }
}

/// Whether a token can be an identifier.
pub(crate) fn is_identifier(token: &Token) -> bool {
    matches!(token.kind, TokenKind::Word | TokenKind::QuotedIdentifier | TokenKind::UnicodeIdentifier)
}
