//! Function calls, windows, and ORDER BY lists.

use std::borrow::Cow;

use super::expression::precedence as level;
use super::{Parse, Parser};
use crate::scan::Span;
use crate::syntax::{Call, Expr, ExprKind, Ident, Name, OrderItem, TypeName, Window};

impl<'a> Parser<'a, '_> {
    /// Functions with keywords among their arguments, under the names they really have.
    pub(super) fn special_call(&mut self, start: usize, lower: &[u8]) -> Parse<Expr<'a>> {
        self.at += 1;
        if lower == b"collation" {
            self.expect_word("for")?;
        }
        let name_span = self.since(start);
        let from = self.end();
        let mut name = Cow::Borrowed(match lower {
            b"collation" => "pg_collation_for",
            b"extract" => "extract",
            b"position" => "position",
            b"overlay" => "overlay",
            b"substring" => "substring",
            b"normalize" => "normalize",
            _ => "btrim",
        });
        let arguments = self.parenthesised(|parser| {
            let mut arguments = Vec::new();
            match lower {
                b"extract" => {
                    // The field is a word or a string, never a column.
                    parser.at += 1;
                    parser.expect_word("from")?;
                    arguments.push(parser.expr()?);
                }
                b"position" => {
                    arguments.push(parser.expr_above(level::RANGE)?);
                    parser.expect_word("in")?;
                    arguments.push(parser.expr_above(level::RANGE)?);
                }
                b"trim" => {
                    if parser.word("leading") {
                        name = Cow::Borrowed("ltrim");
                    } else if parser.word("trailing") {
                        name = Cow::Borrowed("rtrim");
                    } else {
                        parser.word("both");
                    }
                    if !parser.is_word("from") {
                        arguments.extend(parser.comma_separated(Self::expr)?);
                    }
                    if parser.word("from") {
                        arguments.extend(parser.comma_separated(Self::expr)?);
                    }
                }
                b"normalize" => {
                    arguments.push(parser.expr()?);
                    // The form is a word, never a column.
                    if parser.symbol(",") {
                        parser.any_identifier()?;
                    }
                }
                b"treat" => {
                    arguments.push(parser.expr()?);
                    parser.expect_word("as")?;
                    // It calls the function of the type's name.
                    name = parser.type_name()?.name;
                }
                _ => loop {
                    if parser.is_symbol(")") {
                        break;
                    }
                    arguments.push(parser.argument()?);
                    let more = parser.symbol(",")
                        || ["placing", "from", "for", "similar", "escape"].iter().any(|word| parser.word(word));
                    if !more {
                        break;
                    }
                },
            }
            Ok(arguments)
        })?;
        let parts = vec![Ident { name, span: name_span }];
        let call = Call {
            name: Name { parts },
            special: true,
            star: false,
            distinct: false,
            variadic: false,
            arguments,
            order_by: Vec::new(),
            within_group: Vec::new(),
            filter: None,
            over: None,
            parentheses: self.since(from),
        };
        Ok(self.make(start, ExprKind::Call(Box::new(call))))
    }

    /// `current_date` and its kin: calls without parentheses, some with a precision.
    pub(super) fn bare_call(&mut self, start: usize) -> Parse<Expr<'a>> {
        let ident = self.any_identifier()?;
        let from = self.end();
        if self.is_symbol("(") {
            self.skip_parentheses()?;
        }
        let call = Call {
            name: Name { parts: vec![ident] },
            special: true,
            star: false,
            distinct: false,
            variadic: false,
            arguments: Vec::new(),
            order_by: Vec::new(),
            within_group: Vec::new(),
            filter: None,
            over: None,
            parentheses: self.since(from),
        };
        Ok(self.make(start, ExprKind::Call(Box::new(call))))
    }

    pub(super) fn call(&mut self, start: usize, name: Name<'a>) -> Parse<Expr<'a>> {
        let from = self.end();
        self.expect_symbol("(")?;
        let mut call = Call {
            name,
            special: false,
            star: false,
            distinct: false,
            variadic: false,
            arguments: Vec::new(),
            order_by: Vec::new(),
            within_group: Vec::new(),
            filter: None,
            over: None,
            parentheses: Span::default(),
        };
        if self.is_symbol("*") && self.symbol_at(1, ")") {
            self.at += 1;
            call.star = true;
        } else if !self.is_symbol(")") {
            call.distinct = self.word("distinct");
            if !call.distinct {
                self.word("all");
            }
            loop {
                call.variadic |= self.word("variadic");
                call.arguments.push(self.argument()?);
                if !self.symbol(",") {
                    break;
                }
            }
            if self.words(&["order", "by"]) {
                call.order_by = self.order_items()?;
            }
        }
        self.expect_symbol(")")?;
        call.parentheses = self.since(from);
        if self.words(&["within", "group"]) {
            call.within_group = self.parenthesised(|parser| {
                parser.expect_word("order")?;
                parser.expect_word("by")?;
                parser.order_items()
            })?;
        }
        if self.is_word("filter") && self.symbol_at(1, "(") {
            self.at += 1;
            call.filter = Some(self.parenthesised(|parser| {
                parser.expect_word("where")?;
                parser.expr()
            })?);
        }
        let named = self.peek_at(1).is_some_and(|token| self.is_column_name(token));
        if self.is_word("over") && (named || self.symbol_at(1, "(")) {
            self.at += 1;
            call.over = Some(if self.is_symbol("(") {
                self.window()?
            } else {
                Window { base: Some(self.identifier()?), ..Window::default() }
            });
        }
        Ok(self.make(start, ExprKind::Call(Box::new(call))))
    }

    /// `x`, `name => x` or `name := x`
    fn argument(&mut self) -> Parse<Expr<'a>> {
        if self.symbol_at(1, "=>") || self.symbol_at(1, ":=") {
            self.at += 2;
        }
        self.expr()
    }

    /// A window's definition in its parentheses.
    pub(super) fn window(&mut self) -> Parse<Window<'a>> {
        self.parenthesised(|parser| {
            let mut window = Window::default();
            let frame = ["partition", "order", "range", "rows", "groups"];
            if !parser.is_symbol(")") && !parser.any_word(&frame) {
                window.base = Some(parser.identifier()?);
            }
            if parser.words(&["partition", "by"]) {
                window.partition_by = parser.comma_separated(Self::expr)?;
            }
            if parser.words(&["order", "by"]) {
                window.order_by = parser.order_items()?;
            }
            if parser.any_word(&["range", "rows", "groups"]) {
                parser.at += 1;
                let between = parser.word("between");
                parser.frame_bound(&mut window)?;
                if between {
                    parser.expect_word("and")?;
                    parser.frame_bound(&mut window)?;
                }
                if parser.word("exclude") && !parser.words(&["current", "row"]) && !parser.words(&["no", "others"]) {
                    parser.any_identifier()?;
                }
            }
            Ok(window)
        })
    }

    fn frame_bound(&mut self, window: &mut Window<'a>) -> Parse<()> {
        if self.words(&["current", "row"]) {
            return Ok(());
        }
        if !self.word("unbounded") {
            window.frame.push(self.expr_above(level::AND)?);
        }
        if self.word("preceding") || self.word("following") { Ok(()) } else { self.fail() }
    }

    pub(super) fn order_items(&mut self) -> Parse<Vec<OrderItem<'a>>> {
        self.comma_separated(|parser| {
            let start = parser.start();
            let expr = parser.expr()?;
            let direction = parser.end();
            if !parser.word("asc") && !parser.word("desc") && parser.word("using") {
                if parser.word("operator") {
                    parser.skip_parentheses()?;
                } else {
                    parser.at += 1;
                }
            }
            if parser.word("nulls") && !parser.word("first") {
                parser.expect_word("last")?;
            }
            Ok(OrderItem { span: parser.since(start), expr, direction: parser.since(direction) })
        })
    }

    /// Column definitions behind a function's alias: `(a int, b text)`.
    pub(super) fn column_definitions(&mut self) -> Parse<Vec<Ident<'a>>> {
        self.parenthesised(|parser| {
            parser.comma_separated(|parser| {
                let column = parser.identifier()?;
                let _: TypeName = parser.type_name()?;
                if parser.word("collate") {
                    parser.name()?;
                }
                Ok(column)
            })
        })
    }
}
