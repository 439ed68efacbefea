//! A parser for PostgreSQL's queries and data-modifying statements: recursive descent over [`crate::scan`]'s tokens, expressions by
//! precedence as PostgreSQL's `gram.y` orders them.
//!
//! It is not a validator: it accepts some statements that PostgreSQL rejects. What it does not know (XMLTABLE, SEARCH and CYCLE,
//! SQL/JSON) it reports as [`Unparsed`], and the caller decides on the tokens alone.

mod call;
mod expression;
mod keywords;
mod query;
mod types;
mod write;

pub(crate) use keywords::needs_quotes;

use crate::scan::{Span, Token, TokenKind};
use crate::syntax::{Ident, Name, Statement};

/// The parser has no grammar for the text from this byte offset on, or PostgreSQL would reject it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unparsed {
    pub position: usize,
}

type Parse<T> = Result<T, Unparsed>;

/// Deeper nesting than this is left to PostgreSQL, which has its own limit.
const DEPTH_MAX: usize = 160;
/// Longer chains of infix operators or set operations are left alone: they nest to the left.
const CHAIN_MAX: usize = 200;
/// How often a parenthesis may be read a second way.
const RETRIES_MAX: usize = 200;

/// Reads one SELECT, VALUES, TABLE, WITH, INSERT, UPDATE, DELETE or MERGE, which must be all of the tokens (semicolons aside).
///
/// # Errors
/// [`Unparsed`] when it is none of these or has something unknown in it.
pub fn parse_statement<'a>(sql: &'a str, tokens: &[Token]) -> Result<Statement<'a>, Unparsed> {
    let mut parser = Parser { sql, tokens, at: 0, depth: 0, retries: 0 };
    let statement = parser.statement()?;
    while parser.symbol(";") {}
    if parser.at < tokens.len() { parser.fail() } else { Ok(statement) }
}

struct Parser<'a, 't> {
    sql: &'a str,
    tokens: &'t [Token],
    at: usize,
    depth: usize,
    retries: usize,
}

impl<'a> Parser<'a, '_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn peek_at(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead)
    }

    fn text(&self, token: &Token) -> &'a str {
        token.span.of(self.sql)
    }

    fn fail<T>(&self) -> Parse<T> {
        Err(Unparsed { position: self.start() })
    }

    /// Where the next token starts.
    fn start(&self) -> usize {
        self.peek().map_or(self.sql.len(), |token| token.span.start)
    }

    /// Where the last token ended.
    fn end(&self) -> usize {
        self.at.checked_sub(1).and_then(|last| self.tokens.get(last)).map_or(0, |token| token.span.end)
    }

    fn since(&self, start: usize) -> Span {
        Span { start, end: self.end().max(start) }
    }

    fn is_word(&self, word: &str) -> bool {
        self.word_at(0, word)
    }

    fn word_at(&self, ahead: usize, word: &str) -> bool {
        self.peek_at(ahead).is_some_and(|token| token.is_keyword(self.sql, word))
    }

    fn any_word(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is_word(word))
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        self.symbol_at(0, symbol)
    }

    fn symbol_at(&self, ahead: usize, symbol: &str) -> bool {
        self.peek_at(ahead).is_some_and(|token| token.is_symbol(self.sql, symbol))
    }

    /// Takes a keyword, if it is next.
    fn word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    /// Takes several keywords, if all are next.
    fn words(&mut self, words: &[&str]) -> bool {
        let found = words.iter().enumerate().all(|(ahead, word)| self.word_at(ahead, word));
        if found {
            self.at += words.len();
        }
        found
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        let found = self.is_symbol(symbol);
        self.at += usize::from(found);
        found
    }

    fn expect_word(&mut self, word: &str) -> Parse<()> {
        if self.word(word) { Ok(()) } else { self.fail() }
    }

    fn expect_symbol(&mut self, symbol: &str) -> Parse<()> {
        if self.symbol(symbol) { Ok(()) } else { self.fail() }
    }

    /// One level deeper; refuses to nest without end.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parse<T>) -> Parse<T> {
        if self.depth >= DEPTH_MAX {
            return self.fail();
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    /// Tries a reading; on failure stands where it stood.
    fn attempt<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parse<T>) -> Parse<T> {
        if self.retries >= RETRIES_MAX {
            return self.fail();
        }
        self.retries += 1;
        let (at, depth) = (self.at, self.depth);
        let result = parse(self);
        if result.is_err() {
            (self.at, self.depth) = (at, depth);
        }
        result
    }

    fn comma_separated<T>(&mut self, mut parse: impl FnMut(&mut Self) -> Parse<T>) -> Parse<Vec<T>> {
        let mut list = vec![parse(self)?];
        while self.symbol(",") {
            list.push(parse(self)?);
        }
        Ok(list)
    }

    fn parenthesised<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parse<T>) -> Parse<T> {
        self.expect_symbol("(")?;
        let inner = self.nested(parse)?;
        self.expect_symbol(")")?;
        Ok(inner)
    }

    /// The next token as an identifier, whatever keyword it may be.
    fn any_identifier(&mut self) -> Parse<Ident<'a>> {
        let Some(token) = self.peek() else { return self.fail() };
        let Some(name) = token.identifier(self.sql) else { return self.fail() };
        let span = token.span;
        self.at += 1;
        Ok(Ident { name, span })
    }

    /// The next token when it may name a column or a relation.
    fn identifier(&mut self) -> Parse<Ident<'a>> {
        if self.peek().is_some_and(|token| self.is_column_name(token)) { self.any_identifier() } else { self.fail() }
    }

    /// `a.b.c`, the first part restricted, later ones anything.
    fn name(&mut self) -> Parse<Name<'a>> {
        let mut parts = vec![self.identifier()?];
        while self.is_symbol(".") {
            self.at += 1;
            parts.push(self.any_identifier()?);
        }
        Ok(Name { parts })
    }

    fn is_column_name(&self, token: &Token) -> bool {
        match token.kind {
            TokenKind::Word => keywords::may_name_column(self.text(token)),
            TokenKind::QuotedIdentifier | TokenKind::UnicodeIdentifier => true,
            _ => false,
        }
    }

    /// Skips a parenthesised stretch, whatever it holds.
    fn skip_parentheses(&mut self) -> Parse<()> {
        self.expect_symbol("(")?;
        let mut depth = 1;
        while depth > 0 {
            let Some(token) = self.peek() else { return self.fail() };
            match self.text(token) {
                "(" if token.kind == TokenKind::Symbol => depth += 1,
                ")" if token.kind == TokenKind::Symbol => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::parse_statement;
    use crate::scan::tokens;

    fn parses(sql: &str) -> bool {
        parse_statement(sql, &tokens(sql)).is_ok()
    }

    #[test]
    fn accepts_what_postgresql_accepts() {
        for sql in [
            "SELECT 1",
            "select *, t.*, count(*) filter (where a > 1) over (partition by b order by c rows between 1 preceding and current row) from t",
            "SELECT a b, c AS \"D\", e::numeric(10,2)[], -f ^ 2 FROM s.t * AS x (a, b) TABLESAMPLE bernoulli(1) REPEATABLE (2)",
            "SELECT DISTINCT ON (a) a FROM t ORDER BY a DESC NULLS LAST, b USING < LIMIT 5 OFFSET 2 FOR UPDATE OF t SKIP LOCKED",
            "SELECT 1 UNION ALL (SELECT 2 ORDER BY 1) INTERSECT SELECT 3 ORDER BY 1 FETCH FIRST 3 ROWS WITH TIES",
            "WITH RECURSIVE a(x) AS MATERIALIZED (SELECT 1 UNION ALL SELECT x + 1 FROM a) SELECT * FROM a",
            "SELECT * FROM a JOIN b JOIN c ON b.x = c.x ON a.x = b.x LEFT JOIN d USING (x) NATURAL FULL JOIN e CROSS JOIN f",
            "SELECT * FROM (a CROSS JOIN b) AS j, LATERAL (SELECT 1) s, generate_series(1, 2) WITH ORDINALITY AS g(i, o)",
            "SELECT * FROM json_to_recordset('[]') AS x(a int, b text), ROWS FROM (f(1), g(2)) AS r",
            "SELECT CASE WHEN a THEN 1 ELSE 2 END, CASE a WHEN 1 THEN 2 END, COALESCE(a, b), NULLIF(a, 1), GREATEST(1, 2)",
            "SELECT extract(year FROM d), position('a' IN b), substring(a FROM 1 FOR 2), trim(both 'x' from y), overlay(a placing b from 1)",
            "SELECT date '2020-01-01', interval '1 day' day to second, timestamp(3) with time zone 'x', double precision '1.5', int4 '3'",
            "SELECT a BETWEEN 1 AND 2 AND b NOT LIKE 'x' ESCAPE '!' OR c IS NOT DISTINCT FROM d, x NOT IN (1, 2), y IN (SELECT 1)",
            "SELECT a = ANY ($1), a <> ALL (ARRAY[1, 2]), a = SOME (SELECT 1), a LIKE ANY ('{a}'), (a, b) = (1, 2), ROW(1, 2).f1",
            "SELECT ARRAY[[1, 2], [3]], ARRAY(SELECT 1), a[1][2:3], (a).b.c, (f(x)).*, a COLLATE \"C\", t AT TIME ZONE 'UTC'",
            "SELECT a OPERATOR(pg_catalog.+) b, @ -5, NOT a, a ISNULL, current_date, current_timestamp(3), user",
            "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY x), string_agg(DISTINCT a, ',' ORDER BY a), f(a => 1, b := 2), g(VARIADIC x)",
            "SELECT sum(x) FROM t GROUP BY GROUPING SETS ((a), ROLLUP (a, b), ()), c HAVING count(*) > 1 WINDOW w AS (PARTITION BY a)",
            "VALUES (1, 2), (3, DEFAULT)",
            "TABLE a.b",
            "((SELECT 1))",
            "SELECT ((SELECT 1) + 2), ((SELECT 1) UNION SELECT 2)",
            "INSERT INTO t AS x (a, b[1], c.d) OVERRIDING SYSTEM VALUE VALUES (1, DEFAULT), ('a', $1) \
             ON CONFLICT (a, lower(b) COLLATE \"C\" text_ops) WHERE a > 1 DO UPDATE SET (a, b) = (1, 2), c = EXCLUDED.c WHERE x.a = 1 RETURNING *",
            "INSERT INTO t DEFAULT VALUES",
            "INSERT INTO t (SELECT 1)",
            "INSERT INTO t WITH a AS (SELECT 1) SELECT * FROM a ON CONFLICT ON CONSTRAINT c DO NOTHING",
            "UPDATE ONLY t AS x SET a = 1, (b, c) = (SELECT 1, 2), d[1] = DEFAULT FROM u WHERE x.a = u.a RETURNING x.a AS y",
            "UPDATE t SET a = 1 WHERE CURRENT OF c",
            "DELETE FROM t USING u, v WHERE t.a = u.a RETURNING *",
            "WITH d AS (DELETE FROM t RETURNING *) INSERT INTO u SELECT * FROM d",
            "MERGE INTO t USING u ON t.a = u.a WHEN MATCHED AND u.b THEN UPDATE SET c = 1 WHEN NOT MATCHED THEN INSERT (a) VALUES (1) \
             WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN DO NOTHING",
            "SELECT FROM t",
            "SELECT year, name, value, type, text 'x', key FROM t",
        ] {
            let result = parse_statement(sql, &tokens(sql));
            assert!(result.is_ok(), "{sql}: at {:?}", result.map_err(|error| &sql[error.position..]).err());
        }
    }

    #[test]
    fn leaves_the_rest() {
        for sql in [
            "",
            "SELECT 1 2",
            "SELECT FROM FROM t",
            "CREATE TABLE t ()",
            "SELECT (1",
            "SELECT 1 ORDER 2",
            "INSERT INTO",
        ] {
            assert!(!parses(sql), "{sql}");
        }
        assert!(!parses(&format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000))));
        assert!(!parses(&format!("SELECT {}", "((SELECT ".repeat(1000))));
        assert!(!parses(&format!("SELECT 1{}", " || 1".repeat(100_000))));
        assert!(parses(&format!("SELECT true{}", " AND true".repeat(10_000))));
    }
}
