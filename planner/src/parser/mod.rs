//! A parser for PostgreSQL's queries and data-modifying statements: recursive descent over [`crate::scan`]'s tokens, expressions by
//! precedence as PostgreSQL's `gram.y` orders them.
//!
//! It is not a validator: it accepts some statements that PostgreSQL rejects. What it does not know (SQL/JSON) it reports
//! as [`Unparsed`], and the caller decides on the tokens alone.

mod call;
mod expression;
mod keywords;
mod query;
mod types;
mod write;
mod xml;

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
/// How often a parenthesis may be read a second way: nested ones could take turns without end.
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

    fn words_follow(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(ahead, word)| self.word_at(ahead, word))
    }

    /// Takes several keywords, if all are next.
    fn words(&mut self, words: &[&str]) -> bool {
        let found = self.words_follow(words);
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
        let (at, depth) = (self.at, self.depth);
        let result = parse(self);
        if result.is_err() {
            self.retries += 1;
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
    use crate::syntax::{Body, Child, Expr, ExprKind, FromItem, JoinCondition, Query, Statement};

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

    /// The texts of all columns below an expression, each of whose spans lies in its parent's.
    fn columns_of<'s>(expr: &Expr<'_>, sql: &'s str, found: &mut Vec<&'s str>) {
        if let ExprKind::Column(_) = expr.kind {
            found.push(expr.span.of(sql));
        }
        expr.children(&mut |child| match child {
            Child::Expr(inner) => {
                assert!(expr.span.start <= inner.span.start && inner.span.end <= expr.span.end, "{sql}: {inner:?}");
                columns_of(inner, sql, found);
            }
            Child::Query(query) => columns_in(query, sql, found),
        });
    }

    fn columns_in<'s>(query: &Query<'_>, sql: &'s str, found: &mut Vec<&'s str>) {
        for cte in query.with.iter().flat_map(|with| &with.ctes) {
            if let Statement::Query(inner) = &cte.statement {
                columns_in(inner, sql, found);
            }
        }
        match &query.body {
            Body::Select(select) => {
                let groups = select.group_by.iter().flat_map(|group| &group.exprs);
                let items = select.items.iter().map(|item| &item.expr);
                items.chain(&select.selection).chain(groups).for_each(|expr| columns_of(expr, sql, found));
                select.from.iter().for_each(|item| columns_from(item, sql, found));
            }
            Body::SetOperation { left, right, .. } => {
                columns_in(left, sql, found);
                columns_in(right, sql, found);
            }
            _ => {}
        }
        query.order_by.iter().for_each(|item| columns_of(&item.expr, sql, found));
    }

    fn columns_from<'s>(item: &FromItem<'_>, sql: &'s str, found: &mut Vec<&'s str>) {
        match item {
            FromItem::Table(table) => table.sample_exprs.iter().for_each(|expr| columns_of(expr, sql, found)),
            FromItem::Query { query, .. } => columns_in(query, sql, found),
            FromItem::Function { exprs, .. } => exprs.iter().for_each(|expr| columns_of(expr, sql, found)),
            FromItem::Join { left, right, condition, .. } => {
                columns_from(left, sql, found);
                columns_from(right, sql, found);
                if let JoinCondition::On(expr) = condition {
                    columns_of(expr, sql, found);
                }
            }
        }
    }

    /// The columns of these statements, and nothing else in them, are called `c` and a digit.
    #[test]
    fn finds_columns() {
        for sql in [
            "WITH RECURSIVE t(a) AS (SELECT c1 FROM x UNION ALL SELECT c2 FROM t) SEARCH DEPTH FIRST BY a SET s SELECT * FROM t ORDER BY c3",
            "WITH RECURSIVE t AS (SELECT c1 FROM x UNION SELECT c2 FROM t) SEARCH BREADTH FIRST BY a, b SET s CYCLE a, b SET m USING p, u AS (SELECT c3) SELECT c4 FROM t",
            "WITH RECURSIVE t AS (SELECT c1) CYCLE a SET m TO interval '1' day DEFAULT point '(0,0)' USING p SELECT c2 FROM t",
            "WITH RECURSIVE search AS (SELECT c1), cycle AS (SELECT c2) SELECT c3 FROM search, cycle",
            "SELECT U&'d!0061ta' UESCAPE '!', c1 LIKE U&'\\0061' ESCAPE 'x', date U&'a' UESCAPE '*' AS U&\"d!0061\" UESCAPE '!' FROM t",
            "SELECT substring(c1 SIMILAR c2 ESCAPE c3), substring(c4 SIMILAR TO c5), substring(c6 FROM c7 FOR c8), substring(c9 FOR '1')",
            "SELECT substring(string => c1, start => c2), overlay(c3 PLACING c4 FROM c5 FOR c6), position(c7 || 'a' IN c8)",
            "SELECT trim(LEADING c1 FROM c2), trim(TRAILING FROM c3), trim(BOTH c4), extract(minute FROM c5), extract('year' FROM c6)",
            "SELECT normalize(c1), normalize(c2, NFC), COLLATION FOR (c3 || 'a'), treat(c4 AS int), treat(c5 AS s.t)",
            "SELECT c1 IS NORMALIZED, c2 IS NOT NFKD NORMALIZED AND c3, c4 AT TIME ZONE c5, (c6, c7) OVERLAPS (c8, c9)",
            "SELECT ROW(c1, c2) IS NOT DISTINCT FROM ROW(c3), c4 ISNULL, c5 NOTNULL, c6 IS NOT UNKNOWN, c7 IS DOCUMENT",
            "SELECT c1[1:2], c2[:c3], c4[c5:], c6[:], (c7).f[c8:c9]",
            "SELECT f(c1, VARIADIC c2), f(a => c3, b := c4), f(DISTINCT c5 ORDER BY c6), f(t.*), f(c7) FILTER (WHERE c8)",
            "SELECT OPERATOR(pg_catalog.-) c1, c2 OPERATOR(pg_catalog.+) c3, c4 OPERATOR(s.=) ANY (c5), c6 ^ ALL (c7)",
            "SELECT INTERVAL '1' DAY TO SECOND (3), INTERVAL(3) '1', char varying(3) 'a', bit varying(3) '1', bpchar(3) 'a', s.f(1, 2) 'a'",
            "SELECT c1::timestamp(3) with time zone, c2::int[3][], c3::int ARRAY[4], c4::bit varying, c5::interval day to second(3)",
            "SELECT c1 FROM t GROUP BY DISTINCT c2, ROLLUP (c3, (c4, c5)), GROUPING SETS ((), CUBE (c6))",
            "SELECT c1 FROM t GROUP BY ALL c2 ORDER BY c3 FETCH FIRST (3) ROWS WITH TIES FOR NO KEY UPDATE OF t NOWAIT",
            "SELECT FROM t, LATERAL ROWS FROM (f(c1) AS (a int), g(c2)) WITH ORDINALITY, collation for (c3), f() over, localtime",
            "SELECT FROM t * x TABLESAMPLE s.m(c1, (SELECT c2)) REPEATABLE (c3), (a JOIN b USING (x) AS j) AS k (l)",
            "SELECT f(c1) OVER (w ROWS BETWEEN c2 PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE NO OTHERS), c3 BETWEEN c4 = c5 AND c6",
            "SELECT xmlelement(name a), xmlelement(name b, xmlattributes(c1, c2 AS x), c3, (SELECT c4)), xmlpi(name a, c5)",
            "SELECT xmlforest(c1, c2 AS b, c3 || 'x' AS select), xmlconcat(c4, c5), xml_is_well_formed(c6), xmlagg(c7 ORDER BY c8)",
            "SELECT xmlroot(c1, version c2, standalone yes), xmlroot(c3, version no value, standalone no value), xmlroot(c4, version '1')",
            "SELECT xmlserialize(content c1 AS char varying(3)), xmlparse(document c2), xmlparse(content c3 preserve whitespace)",
            "SELECT xmlexists(c1 PASSING BY REF c2), xmlexists('//a' PASSING c3 BY VALUE)",
            "SELECT FROM xmltable('row' PASSING c1 COLUMNS a int PATH 'p' DEFAULT c2 NOT NULL, b FOR ORDINALITY, d text NULL) AS x (m, n)",
            "SELECT FROM t LEFT JOIN LATERAL xmltable(XMLNAMESPACES('u' AS x, DEFAULT c1), '/a' PASSING BY REF (SELECT c2) \
             COLUMNS a interval day to second PATH c3 || 'x') ON c4 = c5",
        ] {
            let tokens = tokens(sql);
            let statement = parse_statement(sql, &tokens);
            let Ok(Statement::Query(query)) = &statement else {
                panic!("{sql}: at {:?}", statement.map_err(|error| &sql[error.position..]).err())
            };
            let mut found = Vec::new();
            columns_in(query, sql, &mut found);
            found.sort_unstable();
            let words = tokens.iter().map(|token| token.span.of(sql));
            let mut expected: Vec<&str> =
                words.filter(|word| matches!(word.as_bytes(), [b'c', digit] if digit.is_ascii_digit())).collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "{sql}");
        }
    }

    #[test]
    fn reads_long_lists() {
        for item in ["date 'a'", "interval", "(SELECT 1)", "x IN (SELECT 1)", "time"] {
            assert!(parses(&format!("SELECT {item}{}", format!(", {item}").repeat(1000))), "{item}");
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
