//! SQL/XML: expressions with keywords among their operands, and XMLTABLE.

use super::expression::precedence as level;
use super::{Parse, Parser};
use crate::syntax::{Expr, ExprKind, OtherName};

impl<'a> Parser<'a, '_> {
    /// An expression that begins with one of SQL/XML's words and a parenthesis; `None` when the word is an ordinary function's name.
    pub(super) fn xml(&mut self, start: usize, lower: &[u8]) -> Parse<Option<Expr<'a>>> {
        const NAMES: [&str; 8] =
            ["xmlconcat", "xmlelement", "xmlexists", "xmlforest", "xmlparse", "xmlpi", "xmlroot", "xmlserialize"];
        let Some(name) = NAMES.into_iter().find(|name| name.as_bytes() == lower) else { return Ok(None) };
        self.at += 1;
        let operands = self.parenthesised(|parser| match name {
            "xmlconcat" => parser.comma_separated(Self::expr),
            "xmlexists" => Ok(vec![parser.expr()?, parser.xml_passing()?]),
            "xmlforest" => parser.xml_attributes(),
            "xmlparse" => parser.xml_parse(),
            "xmlroot" => parser.xml_root(),
            "xmlserialize" => parser.xml_serialize(),
            _ => parser.xml_element(),
        })?;
        Ok(Some(self.xml_expr(start, name, operands)))
    }

    fn xml_expr(&self, start: usize, name: &'static str, operands: Vec<Expr<'a>>) -> Expr<'a> {
        self.make(start, ExprKind::Other { name: OtherName::Fixed(name), operands })
    }

    /// `NAME label [, XMLATTRIBUTES (...)] [, content ...]`, which is also how XMLPI is written.
    fn xml_element(&mut self) -> Parse<Vec<Expr<'a>>> {
        self.expect_word("name")?;
        self.any_identifier()?;
        let mut operands = Vec::new();
        while self.symbol(",") {
            let start = self.start();
            if self.is_word("xmlattributes") && self.symbol_at(1, "(") {
                self.at += 1;
                let attributes = self.parenthesised(Self::xml_attributes)?;
                operands.push(self.xml_expr(start, "xmlattributes", attributes));
            } else {
                operands.push(self.expr()?);
            }
        }
        Ok(operands)
    }

    /// `value [AS label], ...`: without a label, the value is a column and gives its name.
    fn xml_attributes(&mut self) -> Parse<Vec<Expr<'a>>> {
        self.comma_separated(|parser| {
            let value = parser.expr()?;
            if parser.word("as") {
                parser.any_identifier()?;
            }
            Ok(value)
        })
    }

    fn xml_document_or_content(&mut self) -> Parse<()> {
        if self.word("document") { Ok(()) } else { self.expect_word("content") }
    }

    fn xml_parse(&mut self) -> Parse<Vec<Expr<'a>>> {
        self.xml_document_or_content()?;
        let text = self.expr()?;
        if self.word("preserve") || self.word("strip") {
            self.expect_word("whitespace")?;
        }
        Ok(vec![text])
    }

    fn xml_serialize(&mut self) -> Parse<Vec<Expr<'a>>> {
        self.xml_document_or_content()?;
        let value = self.expr()?;
        self.expect_word("as")?;
        self.type_name()?;
        Ok(vec![value])
    }

    fn xml_root(&mut self) -> Parse<Vec<Expr<'a>>> {
        let mut operands = vec![self.expr()?];
        self.expect_symbol(",")?;
        self.expect_word("version")?;
        if !self.words(&["no", "value"]) {
            operands.push(self.expr()?);
        }
        if self.symbol(",") {
            self.expect_word("standalone")?;
            if !self.word("yes") {
                self.expect_word("no")?;
                self.word("value");
            }
        }
        Ok(operands)
    }

    /// `PASSING [BY REF] document [BY REF]`
    fn xml_passing(&mut self) -> Parse<Expr<'a>> {
        self.expect_word("passing")?;
        self.xml_mechanism();
        let document = self.expr()?;
        self.xml_mechanism();
        Ok(document)
    }

    fn xml_mechanism(&mut self) {
        if !self.words(&["by", "ref"]) {
            self.words(&["by", "value"]);
        }
    }

    /// XMLTABLE with its parentheses.
    pub(super) fn xml_table(&mut self) -> Parse<Expr<'a>> {
        let start = self.start();
        self.at += 1;
        let operands = self.parenthesised(|parser| {
            let mut operands = Vec::new();
            if parser.is_word("xmlnamespaces") && parser.symbol_at(1, "(") {
                parser.at += 1;
                operands = parser.parenthesised(|parser| parser.comma_separated(Self::xml_namespace))?;
                parser.expect_symbol(",")?;
            }
            operands.push(parser.expr()?);
            operands.push(parser.xml_passing()?);
            parser.expect_word("columns")?;
            parser.comma_separated(|parser| parser.xml_column(&mut operands))?;
            Ok(operands)
        })?;
        Ok(self.xml_expr(start, "xmltable", operands))
    }

    fn xml_namespace(&mut self) -> Parse<Expr<'a>> {
        if self.word("default") {
            return self.expr();
        }
        let address = self.expr()?;
        self.expect_word("as")?;
        self.any_identifier()?;
        Ok(address)
    }

    fn xml_column(&mut self, operands: &mut Vec<Expr<'a>>) -> Parse<()> {
        self.identifier()?;
        if self.words(&["for", "ordinality"]) {
            return Ok(());
        }
        self.type_name()?;
        loop {
            if self.word("path") || self.word("default") {
                // Looser operators stand in parentheses only: NOT NULL may follow.
                operands.push(self.expr_above(level::IS)?);
            } else if !self.words(&["not", "null"]) && !self.word("null") {
                return Ok(());
            }
        }
    }
}
