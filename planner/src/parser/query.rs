//! SELECT, VALUES, TABLE, WITH, and FROM clauses.

use super::{CHAIN_MAX, Parse, Parser, keywords};
use crate::scan::{Span, TokenKind};
use crate::syntax::{
    Alias, Body, Cte, Distinct, Expr, ExprKind, FromItem, GroupBy, JoinCondition, JoinKind, Limit, LimitCount, Query,
    Select, SelectItem, Statement, TableRef, With,
};

impl<'a> Parser<'a, '_> {
    /// Whether a query in parentheses follows, as far as a look at the first words tells.
    pub(super) fn query_follows(&self) -> bool {
        let mut ahead = 0;
        while self.symbol_at(ahead, "(") {
            ahead += 1;
        }
        ahead > 0 && ["select", "values", "with", "table"].iter().any(|word| self.word_at(ahead, word))
    }

    pub(super) fn query(&mut self) -> Parse<Query<'a>> {
        self.nested(|parser| {
            let with = parser.with()?;
            parser.query_after(with)
        })
    }

    pub(super) fn query_after(&mut self, with: Option<With<'a>>) -> Parse<Query<'a>> {
        let start = with.as_ref().map_or_else(|| self.start(), |with| with.span.start);
        let body = self.set_operations(false)?;
        let mut query = Query {
            span: Span::default(),
            with,
            body,
            order_by: Vec::new(),
            limit: None,
            offset: None,
            locks: Vec::new(),
        };
        if self.words(&["order", "by"]) {
            query.order_by = self.order_items()?;
        }
        loop {
            let at = self.start();
            if self.word("limit") {
                let count = if self.word("all") { LimitCount::All } else { LimitCount::Expr(self.expr()?) };
                query.limit = Some(Limit { count, with_ties: false });
            } else if self.word("offset") {
                query.offset = Some(self.expr()?);
                if !self.word("row") {
                    self.word("rows");
                }
            } else if self.word("fetch") {
                query.limit = Some(self.fetch()?);
            } else if self.word("for") {
                self.lock()?;
                query.locks.push(self.since(at));
            } else {
                break;
            }
        }
        query.span = self.since(start);
        Ok(query)
    }

    fn fetch(&mut self) -> Parse<Limit<'a>> {
        if !self.word("first") {
            self.expect_word("next")?;
        }
        let count = if self.any_word(&["row", "rows"]) { LimitCount::One } else { LimitCount::Expr(self.expr()?) };
        if !self.word("row") {
            self.expect_word("rows")?;
        }
        let with_ties = self.words(&["with", "ties"]);
        if !with_ties {
            self.expect_word("only")?;
        }
        Ok(Limit { count, with_ties })
    }

    fn lock(&mut self) -> Parse<()> {
        if self.words(&["read", "only"]) {
            return Ok(());
        }
        self.words(&["no", "key"]);
        self.word("key");
        if !self.word("update") {
            self.expect_word("share")?;
        }
        if self.word("of") {
            self.comma_separated(Self::name)?;
        }
        if !self.word("nowait") {
            self.words(&["skip", "locked"]);
        }
        Ok(())
    }

    pub(super) fn with(&mut self) -> Parse<Option<With<'a>>> {
        let start = self.start();
        if !self.word("with") {
            return Ok(None);
        }
        let recursive = self.word("recursive");
        let ctes = self.comma_separated(|parser| {
            let name = parser.identifier()?;
            let columns = if parser.is_symbol("(") { parser.column_list()? } else { Vec::new() };
            parser.expect_word("as")?;
            if !parser.word("materialized") {
                parser.words(&["not", "materialized"]);
            }
            let statement = parser.parenthesised(Self::statement)?;
            parser.search_and_cycle()?;
            Ok(Cte { name, columns, statement })
        })?;
        Ok(Some(With { span: self.since(start), recursive, ctes }))
    }

    /// SEARCH and CYCLE behind a CTE. They name its own columns and add more, but only to a query that reads itself: the columns of
    /// such a one are not known anyway.
    fn search_and_cycle(&mut self) -> Parse<()> {
        if self.word("search") {
            if !self.word("depth") {
                self.expect_word("breadth")?;
            }
            self.expect_word("first")?;
            self.expect_word("by")?;
            self.comma_separated(Self::identifier)?;
            self.expect_word("set")?;
            self.identifier()?;
        }
        if self.word("cycle") {
            self.comma_separated(Self::identifier)?;
            self.expect_word("set")?;
            self.identifier()?;
            if self.word("to") {
                // Constants.
                self.expr()?;
                self.expect_word("default")?;
                self.expr()?;
            }
            self.expect_word("using")?;
            self.identifier()?;
        }
        Ok(())
    }

    pub(super) fn statement(&mut self) -> Parse<Statement<'a>> {
        self.nested(|parser| {
            let with = parser.with()?;
            if parser.is_word("insert") {
                parser.insert(with).map(|insert| Statement::Insert(Box::new(insert)))
            } else if parser.is_word("update") {
                parser.update(with).map(|update| Statement::Update(Box::new(update)))
            } else if parser.is_word("delete") {
                parser.delete(with).map(|delete| Statement::Delete(Box::new(delete)))
            } else if parser.is_word("merge") {
                parser.merge(with).map(|merge| Statement::Merge(Box::new(merge)))
            } else {
                parser.query_after(with).map(|query| Statement::Query(Box::new(query)))
            }
        })
    }

    /// UNION and EXCEPT, or (`tight`) INTERSECT only.
    fn set_operations(&mut self, tight: bool) -> Parse<Body<'a>> {
        let start = self.start();
        let mut left = if tight { self.query_primary()? } else { self.set_operations(true)? };
        for _ in 0..CHAIN_MAX {
            let union = !tight && self.is_word("union");
            if !(union || (!tight && self.is_word("except")) || (tight && self.is_word("intersect"))) {
                return Ok(left);
            }
            let left_span = self.since(start);
            self.at += 1;
            let all = self.word("all");
            if !all {
                self.word("distinct");
            }
            let right_start = self.start();
            let right = if tight { self.query_primary()? } else { self.set_operations(true)? };
            let right = plain_query(right, self.since(right_start));
            let left_query = plain_query(left, left_span);
            left = Body::SetOperation { union, all, left: Box::new(left_query), right: Box::new(right) };
        }
        self.fail()
    }

    fn query_primary(&mut self) -> Parse<Body<'a>> {
        if self.is_symbol("(") {
            let query = self.parenthesised(Self::query)?;
            return Ok(Body::Nested(Box::new(query)));
        }
        if self.is_word("select") {
            return self.select().map(|select| Body::Select(Box::new(select)));
        }
        if self.word("values") {
            let rows =
                self.comma_separated(|parser| parser.parenthesised(|parser| parser.comma_separated(Self::expr)))?;
            return Ok(Body::Values { rows });
        }
        if self.word("table") {
            return self.relation().map(|table| Body::Table(Box::new(table)));
        }
        self.fail()
    }

    fn select(&mut self) -> Parse<Select<'a>> {
        let start = self.start();
        self.at += 1;
        let mut select = Select {
            span: Span::default(),
            distinct: None,
            items: Vec::new(),
            into: None,
            from_span: None,
            from: Vec::new(),
            selection: None,
            group_by: None,
            having: None,
            windows: Vec::new(),
            windows_span: None,
        };
        if self.word("distinct") {
            select.distinct = Some(if self.word("on") {
                Distinct::On(self.parenthesised(|parser| parser.comma_separated(Self::expr))?)
            } else {
                Distinct::All
            });
        } else {
            self.word("all");
        }
        const AFTER_ITEMS: [&str; 14] = [
            "from",
            "where",
            "group",
            "having",
            "window",
            "union",
            "intersect",
            "except",
            "order",
            "limit",
            "offset",
            "fetch",
            "for",
            "into",
        ];
        let empty = self.peek().is_none() || self.is_symbol(")") || self.is_symbol(";") || self.any_word(&AFTER_ITEMS);
        if !empty {
            select.items = self.select_items()?;
        }
        if self.is_word("into") {
            let into = self.start();
            self.at += 1;
            if self.any_word(&["temporary", "temp", "unlogged", "local", "global"]) {
                self.at += 1;
                if !self.word("temporary") {
                    self.word("temp");
                }
            }
            self.word("table");
            self.name()?;
            select.into = Some(self.since(into));
        }
        if self.word("from") {
            let from = self.start();
            select.from = self.item_list()?;
            select.from_span = Some(self.since(from));
        }
        if self.word("where") {
            select.selection = Some(self.expr()?);
        }
        if self.words(&["group", "by"]) {
            select.group_by = Some(self.group_by()?);
        }
        if self.word("having") {
            select.having = Some(self.expr()?);
        }
        if self.is_word("window") {
            let windows = self.start();
            self.at += 1;
            select.windows = self.comma_separated(|parser| {
                let name = parser.identifier()?;
                parser.expect_word("as")?;
                Ok((name, parser.window()?))
            })?;
            select.windows_span = Some(self.since(windows));
        }
        select.span = self.since(start);
        Ok(select)
    }

    pub(super) fn select_items(&mut self) -> Parse<Vec<SelectItem<'a>>> {
        self.comma_separated(|parser| {
            let start = parser.start();
            let expr = parser.expr()?;
            let mut alias = None;
            if parser.word("as") {
                alias = Some(parser.any_identifier()?);
            } else if let Some(token) = parser.peek() {
                let bare = match token.kind {
                    TokenKind::Word => keywords::may_be_bare_label(parser.text(token)),
                    TokenKind::QuotedIdentifier | TokenKind::UnicodeIdentifier => true,
                    _ => false,
                };
                if bare {
                    alias = Some(parser.any_identifier()?);
                }
            }
            Ok(SelectItem { span: parser.since(start), expr, alias })
        })
    }

    fn group_by(&mut self) -> Parse<GroupBy<'a>> {
        let start = self.start();
        let mut group = GroupBy { span: Span::default(), sets: false, exprs: Vec::new() };
        if self.word("distinct") {
            group.sets = true;
        } else {
            self.word("all");
        }
        self.group_items(&mut group)?;
        group.span = self.since(start);
        Ok(group)
    }

    fn group_items(&mut self, group: &mut GroupBy<'a>) -> Parse<()> {
        loop {
            if self.is_symbol("(") && self.symbol_at(1, ")") {
                self.at += 2;
                group.sets = true;
            } else if self.words(&["grouping", "sets"])
                || (self.any_word(&["rollup", "cube"]) && self.symbol_at(1, "(") && {
                    self.at += 1;
                    true
                })
            {
                group.sets = true;
                self.expect_symbol("(")?;
                self.nested(|parser| parser.group_items(group))?;
                self.expect_symbol(")")?;
            } else {
                let expr = self.expr()?;
                group.exprs.push(expr);
            }
            if !self.symbol(",") {
                return Ok(());
            }
        }
    }

    pub(super) fn item_list(&mut self) -> Parse<Vec<FromItem<'a>>> {
        self.comma_separated(Self::item)
    }

    pub(super) fn item(&mut self) -> Parse<FromItem<'a>> {
        self.nested(|parser| {
            let mut item = parser.item_primary()?;
            for _ in 0..CHAIN_MAX {
                match parser.join(item)? {
                    (joined, true) => item = joined,
                    (done, false) => return Ok(done),
                }
            }
            parser.fail()
        })
    }

    fn join_follows(&self) -> bool {
        self.any_word(&["cross", "join", "inner", "natural"])
            || (self.any_word(&["left", "right", "full"]) && (self.word_at(1, "join") || self.word_at(1, "outer")))
    }

    fn join(&mut self, left: FromItem<'a>) -> Parse<(FromItem<'a>, bool)> {
        if !self.join_follows() {
            return Ok((left, false));
        }
        let natural = self.word("natural");
        let kind = if self.word("cross") {
            JoinKind::Cross
        } else if self.word("left") {
            JoinKind::Left
        } else if self.word("right") {
            JoinKind::Right
        } else if self.word("full") {
            JoinKind::Full
        } else {
            self.word("inner");
            JoinKind::Inner
        };
        self.word("outer");
        self.expect_word("join")?;
        let mut right = self.item_primary()?;
        let mut condition = if natural { JoinCondition::Natural } else { JoinCondition::None };
        let mut alias = None;
        if !natural && kind != JoinKind::Cross {
            // `a JOIN b JOIN c ON ... ON ...`: the right side is itself a join.
            for _ in 0..CHAIN_MAX {
                if self.any_word(&["on", "using"]) {
                    break;
                }
                match self.join(right)? {
                    (joined, true) => right = joined,
                    (_, false) => return self.fail(),
                }
            }
            if self.word("on") {
                condition = JoinCondition::On(self.expr()?);
            } else {
                self.expect_word("using")?;
                condition = JoinCondition::Using(self.column_list()?);
                if self.word("as") {
                    alias = Some(Alias { name: Some(self.identifier()?), columns: Vec::new() });
                }
            }
        }
        let join = FromItem::Join { kind, left: Box::new(left), right: Box::new(right), condition, alias };
        Ok((join, true))
    }

    fn item_primary(&mut self) -> Parse<FromItem<'a>> {
        let start = self.start();
        let lateral = self.word("lateral");
        if self.is_symbol("(") {
            if self.query_follows() {
                let direct = !self.symbol_at(1, "(");
                match self.attempt(|parser| parser.parenthesised(Self::query)) {
                    Ok(query) => {
                        let span = self.since(start);
                        let alias = self.alias(false)?;
                        return Ok(FromItem::Query { lateral, query: Box::new(query), alias, span });
                    }
                    Err(error) if direct => return Err(error),
                    Err(_) => {}
                }
            }
            let mut item = self.parenthesised(Self::item)?;
            if let Some(outer) = self.alias(false)? {
                match &mut item {
                    // It hides an alias behind USING.
                    FromItem::Join { alias, .. } => *alias = Some(outer),
                    _ => return self.fail(),
                }
            }
            return Ok(item);
        }
        if self.words(&["rows", "from"]) {
            let exprs = self.parenthesised(|parser| {
                parser.comma_separated(|parser| {
                    let expr = parser.function_in_from()?;
                    if parser.word("as") {
                        parser.column_definitions()?;
                    }
                    Ok(expr)
                })
            })?;
            self.words(&["with", "ordinality"]);
            let span = self.since(start);
            let alias = self.alias(true)?;
            return Ok(FromItem::Function { lateral, exprs, alias, span });
        }
        if self.is_word("xmltable") && self.symbol_at(1, "(") {
            let expr = self.xml_table()?;
            let span = self.since(start);
            let alias = self.alias(false)?;
            return Ok(FromItem::Function { lateral, exprs: vec![expr], alias, span });
        }
        let function = !self.is_word("only") && {
            let mut ahead = 1;
            while self.symbol_at(ahead, ".") {
                ahead += 2;
            }
            self.symbol_at(ahead, "(")
        };
        let bare = self.words_follow(&["collation", "for"])
            || self.any_word(&[
                "current_catalog",
                "current_date",
                "current_role",
                "current_schema",
                "current_time",
                "current_timestamp",
                "current_user",
                "localtime",
                "localtimestamp",
                "session_user",
                "user",
            ]);
        if function || bare {
            let expr = self.function_in_from()?;
            self.words(&["with", "ordinality"]);
            let span = self.since(start);
            let alias = self.alias(true)?;
            return Ok(FromItem::Function { lateral, exprs: vec![expr], alias, span });
        }
        let mut table = self.relation()?;
        table.alias_place = Some(self.end());
        table.alias = self.alias(false)?;
        let sample = self.start();
        if self.word("tablesample") {
            self.any_identifier()?;
            while self.symbol(".") {
                self.any_identifier()?;
            }
            table.sample_exprs = self.parenthesised(|parser| parser.comma_separated(Self::expr))?;
            if self.word("repeatable") {
                table.sample_exprs.push(self.parenthesised(Self::expr)?);
            }
            table.sample = Some(self.since(sample));
        }
        Ok(FromItem::Table(Box::new(table)))
    }

    fn function_in_from(&mut self) -> Parse<Expr<'a>> {
        let expr = self.expr()?;
        match &expr.kind {
            ExprKind::Call(_) | ExprKind::Other { .. } | ExprKind::Cast { .. } => Ok(expr),
            _ => self.fail(),
        }
    }

    /// `[ONLY] name [*]`, `ONLY (name)`; no alias.
    pub(super) fn relation(&mut self) -> Parse<TableRef<'a>> {
        let only = self.word("only");
        let name = if only && self.is_symbol("(") { self.parenthesised(Self::name)? } else { self.name()? };
        if !only {
            self.symbol("*");
        }
        Ok(TableRef { name, only, alias: None, alias_place: None, sample: None, sample_exprs: Vec::new() })
    }

    /// `[AS] name [(columns)]`; of a function also `AS (definitions)`.
    fn alias(&mut self, function: bool) -> Parse<Option<Alias<'a>>> {
        let explicit = self.word("as");
        if explicit && function && self.is_symbol("(") {
            return Ok(Some(Alias { name: None, columns: self.column_definitions()? }));
        }
        if !self.peek().is_some_and(|token| self.is_column_name(token)) {
            return if explicit { self.fail() } else { Ok(None) };
        }
        let name = self.identifier()?;
        let mut columns = Vec::new();
        if self.is_symbol("(") {
            columns = if function {
                match self.attempt(Self::column_list) {
                    Ok(columns) => columns,
                    Err(_) => self.column_definitions()?,
                }
            } else {
                self.column_list()?
            };
        }
        Ok(Some(Alias { name: Some(name), columns }))
    }

    pub(super) fn column_list(&mut self) -> Parse<Vec<crate::syntax::Ident<'a>>> {
        self.parenthesised(|parser| parser.comma_separated(Self::identifier))
    }
}

fn plain_query(body: Body<'_>, span: Span) -> Query<'_> {
    match body {
        Body::Nested(query) => *query,
        body => Query { span, with: None, body, order_by: Vec::new(), limit: None, offset: None, locks: Vec::new() },
    }
}
