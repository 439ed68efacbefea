//! INSERT, UPDATE, DELETE, MERGE.

use super::{Parse, Parser};
use crate::scan::Span;
use crate::syntax::{
    Alias, Assignment, Body, Delete, Insert, InsertColumn, InsertSource, InsertValues, MergeInto, OnConflict,
    Overriding, Returning, TableRef, Update, With,
};

impl<'a> Parser<'a, '_> {
    fn write_start(&self, with: Option<&With<'a>>) -> usize {
        with.map_or_else(|| self.start(), |with| with.span.start)
    }

    /// The table that UPDATE, DELETE and MERGE change, with its alias.
    fn target(&mut self) -> Parse<TableRef<'a>> {
        let mut target = self.relation()?;
        target.alias_place = Some(self.end());
        if self.word("as") || (!self.is_word("set") && self.peek().is_some_and(|token| self.is_column_name(token))) {
            target.alias = Some(Alias { name: Some(self.identifier()?), columns: Vec::new() });
        }
        Ok(target)
    }

    fn returning(&mut self) -> Parse<Option<Returning<'a>>> {
        let start = self.start();
        if !self.word("returning") {
            return Ok(None);
        }
        let items = self.select_items()?;
        Ok(Some(Returning { span: self.since(start), items }))
    }

    fn insert_column(&mut self) -> Parse<InsertColumn<'a>> {
        let name = self.identifier()?;
        let mut indirect = false;
        loop {
            if self.symbol(".") {
                self.any_identifier()?;
            } else if self.symbol("[") {
                if !self.is_symbol("]") && !self.is_symbol(":") {
                    self.expr()?;
                }
                if self.symbol(":") && !self.is_symbol("]") {
                    self.expr()?;
                }
                self.expect_symbol("]")?;
            } else {
                return Ok(InsertColumn { name, indirect });
            }
            indirect = true;
        }
    }

    fn overriding(&mut self) -> Parse<Option<Overriding>> {
        if !self.word("overriding") {
            return Ok(None);
        }
        let overriding = if self.word("system") {
            Overriding::System
        } else {
            self.expect_word("user")?;
            Overriding::User
        };
        self.expect_word("value")?;
        Ok(Some(overriding))
    }

    pub(super) fn insert(&mut self, with: Option<With<'a>>) -> Parse<Insert<'a>> {
        let start = self.write_start(with.as_ref());
        self.at += 1;
        self.expect_word("into")?;
        let name = self.name()?;
        let mut target =
            TableRef { name, only: false, alias: None, alias_place: None, sample: None, sample_exprs: Vec::new() };
        if self.word("as") {
            target.alias = Some(Alias { name: Some(self.identifier()?), columns: Vec::new() });
        }
        let mut columns = None;
        if self.is_symbol("(") && !self.query_follows() {
            columns = Some(self.parenthesised(|parser| parser.comma_separated(Self::insert_column))?);
        }
        let overriding = self.overriding()?;
        let source =
            if self.words(&["default", "values"]) { InsertSource::DefaultValues } else { self.insert_source()? };
        let tail = self.end();
        let on_conflict = self.on_conflict()?;
        let returning = self.returning()?;
        Ok(Insert { span: self.since(start), with, target, columns, overriding, source, on_conflict, returning, tail })
    }

    fn insert_source(&mut self) -> Parse<InsertSource<'a>> {
        if self.is_word("values") {
            let rows = self.attempt(|parser| {
                parser.at += 1;
                let rows = parser.comma_separated(Self::insert_values)?;
                let plain = parser.peek().is_none()
                    || parser.is_symbol(";")
                    || parser.is_symbol(")")
                    || parser.any_word(&["on", "returning"]);
                if plain { Ok(rows) } else { parser.fail() }
            });
            if let Ok(rows) = rows {
                return Ok(InsertSource::Values(rows));
            }
        }
        let query = self.query()?;
        Ok(InsertSource::Query(Box::new(unwrap(query))))
    }

    fn insert_values(&mut self) -> Parse<InsertValues<'a>> {
        let open = self.start();
        let values = self.parenthesised(|parser| parser.comma_separated(Self::expr))?;
        let span = Span { start: open + 1, end: self.end() - 1 };
        Ok(InsertValues { span, values })
    }

    fn on_conflict(&mut self) -> Parse<Option<OnConflict<'a>>> {
        if !self.words(&["on", "conflict"]) {
            return Ok(None);
        }
        let mut conflict = OnConflict { exprs: Vec::new(), assignments: Vec::new() };
        if self.words(&["on", "constraint"]) {
            self.identifier()?;
        } else if self.is_symbol("(") {
            // Index columns; their expressions are read for their names, collations and operator classes only.
            self.skip_parentheses()?;
            if self.word("where") {
                conflict.exprs.push(self.expr()?);
            }
        }
        self.expect_word("do")?;
        if !self.word("nothing") {
            self.expect_word("update")?;
            self.expect_word("set")?;
            conflict.assignments = self.assignments()?;
            if self.word("where") {
                conflict.exprs.push(self.expr()?);
            }
        }
        Ok(Some(conflict))
    }

    fn assignments(&mut self) -> Parse<Vec<Assignment<'a>>> {
        self.comma_separated(|parser| {
            let columns = if parser.is_symbol("(") {
                parser.parenthesised(|parser| parser.comma_separated(Self::insert_column))?
            } else {
                vec![parser.insert_column()?]
            };
            parser.expect_symbol("=")?;
            Ok(Assignment { columns, value: parser.expr()? })
        })
    }

    pub(super) fn update(&mut self, with: Option<With<'a>>) -> Parse<Update<'a>> {
        let start = self.write_start(with.as_ref());
        self.at += 1;
        let target = self.target()?;
        self.expect_word("set")?;
        let assignments = self.assignments()?;
        let from = if self.word("from") { self.item_list()? } else { Vec::new() };
        let (selection, current_of) = self.where_or_cursor()?;
        let returning = self.returning()?;
        Ok(Update { span: self.since(start), with, target, assignments, from, selection, current_of, returning })
    }

    pub(super) fn delete(&mut self, with: Option<With<'a>>) -> Parse<Delete<'a>> {
        let start = self.write_start(with.as_ref());
        self.at += 1;
        self.expect_word("from")?;
        let target = self.target()?;
        let using = if self.word("using") { self.item_list()? } else { Vec::new() };
        let (selection, current_of) = self.where_or_cursor()?;
        let returning = self.returning()?;
        Ok(Delete { span: self.since(start), with, target, using, selection, current_of, returning })
    }

    fn where_or_cursor(&mut self) -> Parse<(Option<crate::syntax::Expr<'a>>, Option<crate::syntax::Ident<'a>>)> {
        if !self.word("where") {
            return Ok((None, None));
        }
        if self.words(&["current", "of"]) {
            return Ok((None, Some(self.any_identifier()?)));
        }
        Ok((Some(self.expr()?), None))
    }

    pub(super) fn merge(&mut self, with: Option<With<'a>>) -> Parse<MergeInto<'a>> {
        let start = self.write_start(with.as_ref());
        self.at += 1;
        self.expect_word("into")?;
        let target = self.target()?;
        self.expect_word("using")?;
        let source = self.item()?;
        self.expect_word("on")?;
        let condition = self.expr()?;
        let mut merge = MergeInto {
            span: Span::default(),
            with,
            target,
            source,
            condition,
            exprs: Vec::new(),
            assignments: Vec::new(),
            inserts: Vec::new(),
        };
        while self.word("when") {
            self.word("not");
            self.expect_word("matched")?;
            if self.word("and") {
                merge.exprs.push(self.expr()?);
            }
            self.expect_word("then")?;
            if self.word("update") {
                self.expect_word("set")?;
                merge.assignments.extend(self.assignments()?);
            } else if self.word("insert") {
                let columns = if self.is_symbol("(") {
                    self.parenthesised(|parser| parser.comma_separated(Self::insert_column))?
                } else {
                    Vec::new()
                };
                self.overriding()?;
                let values = if self.words(&["default", "values"]) {
                    Vec::new()
                } else {
                    self.expect_word("values")?;
                    self.insert_values()?.values
                };
                merge.inserts.push((columns, values));
            } else if !self.word("delete") && !self.words(&["do", "nothing"]) {
                return self.fail();
            }
        }
        merge.span = self.since(start);
        Ok(merge)
    }
}

/// A query that is only parentheses around another one.
fn unwrap(query: crate::syntax::Query<'_>) -> crate::syntax::Query<'_> {
    let bare = query.with.is_none()
        && query.order_by.is_empty()
        && query.limit.is_none()
        && query.offset.is_none()
        && query.locks.is_empty();
    match query.body {
        Body::Nested(inner) if bare => unwrap(*inner),
        body => crate::syntax::Query { body, ..query },
    }
}
