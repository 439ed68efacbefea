//! Expressions.

use super::{CHAIN_MAX, Parse, Parser, keywords};
use crate::scan::{Span, Token, TokenKind};
use crate::syntax::{Comparison, Expr, ExprKind, Name, OtherName, Query};

/// Precedences, loosest first.
pub(super) mod precedence {
    pub const OR: u8 = 1;
    pub const AND: u8 = 2;
    pub const NOT: u8 = 3;
    pub const IS: u8 = 4;
    pub const COMPARISON: u8 = 5;
    pub const RANGE: u8 = 6;
    pub const OPERATOR: u8 = 7;
    pub const SUM: u8 = 8;
    pub const PRODUCT: u8 = 9;
    pub const POWER: u8 = 10;
    pub const AT: u8 = 11;
    pub const COLLATE: u8 = 12;
    pub const SIGN: u8 = 13;
    pub const POSTFIX: u8 = 14;
}
use precedence as level;

enum Operand<'a> {
    Query(Box<Query<'a>>),
    Expr(Expr<'a>),
}

impl<'a> Parser<'a, '_> {
    pub(super) fn expr(&mut self) -> Parse<Expr<'a>> {
        self.expr_above(0)
    }

    pub(super) fn make(&self, start: usize, kind: ExprKind<'a>) -> Expr<'a> {
        Expr { span: self.since(start), kind }
    }

    fn other(&self, start: usize, name: OtherName<'a>, operands: Vec<Expr<'a>>) -> Expr<'a> {
        self.make(start, ExprKind::Other { name, operands })
    }

    /// An expression whose infix operators all bind tighter than `floor`.
    pub(super) fn expr_above(&mut self, floor: u8) -> Parse<Expr<'a>> {
        self.nested(|parser| {
            let start = parser.start();
            let mut left = parser.prefix()?;
            for _ in 0..CHAIN_MAX {
                match parser.infix(left, start, floor)? {
                    (next, true) => left = next,
                    (done, false) => return Ok(done),
                }
            }
            parser.fail()
        })
    }

    fn prefix(&mut self) -> Parse<Expr<'a>> {
        let start = self.start();
        let Some(token) = self.peek().copied() else { return self.fail() };
        if token.is_keyword(self.sql, "not") {
            self.at += 1;
            let operand = self.expr_above(level::NOT - 1)?;
            return Ok(self.make(start, ExprKind::Not(Box::new(operand))));
        }
        if token.is_keyword(self.sql, "operator") && self.symbol_at(1, "(") {
            let operator = self.qualified_operator()?;
            let operand = self.expr_above(level::OPERATOR)?;
            return Ok(self.make(start, ExprKind::Unary { operator, operand: Box::new(operand) }));
        }
        if token.kind == TokenKind::Symbol {
            let text = self.text(&token);
            let floor = match text {
                "(" | "*" => None,
                "+" | "-" => Some(level::SIGN - 1),
                _ if is_operator(text) && !matches!(text, "=" | "<" | ">") => Some(level::OPERATOR),
                _ => None,
            };
            if let Some(floor) = floor {
                self.at += 1;
                let operand = self.expr_above(floor)?;
                return Ok(self.make(start, ExprKind::Unary { operator: token.span, operand: Box::new(operand) }));
            }
        }
        let primary = self.primary()?;
        self.postfix(primary, start)
    }

    /// `OPERATOR(schema.operator)`
    fn qualified_operator(&mut self) -> Parse<Span> {
        let start = self.start();
        self.at += 1;
        self.skip_parentheses()?;
        Ok(self.since(start))
    }

    /// Subscripts and fields.
    fn postfix(&mut self, mut expr: Expr<'a>, start: usize) -> Parse<Expr<'a>> {
        for _ in 0..CHAIN_MAX {
            if self.symbol("[") {
                let mut operands = vec![expr];
                if !self.is_symbol(":") && !self.is_symbol("]") {
                    operands.push(self.expr()?);
                }
                if self.symbol(":") && !self.is_symbol("]") {
                    operands.push(self.expr()?);
                }
                self.expect_symbol("]")?;
                expr = self.other(start, OtherName::FirstOperand, operands);
            } else if self.is_symbol(".") {
                self.at += 1;
                if self.symbol("*") {
                    // `(row).*`: several output columns.
                    expr = self.other(start, OtherName::Fixed("*"), vec![expr]);
                } else {
                    let field = self.any_identifier()?;
                    expr = self.other(start, OtherName::Field(field.name), vec![expr]);
                }
            } else {
                return Ok(expr);
            }
        }
        self.fail()
    }

    /// One infix or postfix operator behind `left`; false when there is none above the floor.
    fn infix(&mut self, left: Expr<'a>, start: usize, floor: u8) -> Parse<(Expr<'a>, bool)> {
        let Some(token) = self.peek().copied() else { return Ok((left, false)) };
        match token.kind {
            TokenKind::Symbol => self.infix_symbol(left, start, floor, &token),
            TokenKind::Word => self.infix_word(left, start, floor, &token),
            _ => Ok((left, false)),
        }
    }

    fn infix_symbol(&mut self, left: Expr<'a>, start: usize, floor: u8, token: &Token) -> Parse<(Expr<'a>, bool)> {
        let text = self.text(token);
        let own = match text {
            "::" => level::POSTFIX,
            "^" => level::POWER,
            "*" | "/" | "%" => level::PRODUCT,
            "+" | "-" => level::SUM,
            "=" | "<>" | "!=" | "<" | ">" | "<=" | ">=" => level::COMPARISON,
            "=>" => return Ok((left, false)),
            _ if is_operator(text) => level::OPERATOR,
            _ => return Ok((left, false)),
        };
        if own <= floor {
            return Ok((left, false));
        }
        self.at += 1;
        if text == "::" {
            let target = self.type_name()?;
            let cast = self.make(start, ExprKind::Cast { operand: Box::new(left), target });
            return Ok((cast, true));
        }
        if let Some(quantified) = self.quantified(&left, start, text == "=")? {
            return Ok((quantified, true));
        }
        let right = Box::new(self.expr_above(own)?);
        let left = Box::new(left);
        let kind = if own == level::COMPARISON {
            let comparison = match text {
                "=" => Comparison::Equal,
                "<" => Comparison::Less,
                "<=" => Comparison::LessOrEqual,
                ">" => Comparison::Greater,
                ">=" => Comparison::GreaterOrEqual,
                _ => Comparison::NotEqual,
            };
            ExprKind::Compare { comparison, left, right }
        } else {
            ExprKind::Binary { operator: token.span, left, right }
        };
        Ok((self.make(start, kind), true))
    }

    /// `ANY (...)`, `SOME (...)`, `ALL (...)` behind an operator.
    fn quantified(&mut self, left: &Expr<'a>, start: usize, equal: bool) -> Parse<Option<Expr<'a>>> {
        let any = self.any_word(&["any", "some"]);
        if !(any || self.is_word("all")) || !self.symbol_at(1, "(") {
            return Ok(None);
        }
        self.at += 1;
        let operand = Box::new(left.clone());
        let kind = match self.query_or_expr()? {
            Operand::Query(query) => ExprKind::QuantifiedQuery { equal, any, operand, query },
            Operand::Expr(array) => ExprKind::Quantified { equal, any, operand, array: Box::new(array) },
        };
        Ok(Some(self.make(start, kind)))
    }

    fn query_or_expr(&mut self) -> Parse<Operand<'a>> {
        if self.query_follows() {
            let query = if self.symbol_at(1, "(") {
                self.attempt(|parser| parser.parenthesised(Self::query))
            } else {
                self.parenthesised(Self::query)
            };
            match query {
                Ok(query) => return Ok(Operand::Query(Box::new(query))),
                Err(error) if !self.symbol_at(1, "(") => return Err(error),
                Err(_) => {}
            }
        }
        self.parenthesised(Self::expr).map(Operand::Expr)
    }

    fn infix_word(&mut self, left: Expr<'a>, start: usize, floor: u8, token: &Token) -> Parse<(Expr<'a>, bool)> {
        let text = self.text(token);
        let is = |word: &str| text.eq_ignore_ascii_case(word);
        match text.as_bytes().first().map(u8::to_ascii_lowercase) {
            Some(b'a') if is("and") => self.junction(left, start, floor, level::AND),
            Some(b'o') if is("or") => self.junction(left, start, floor, level::OR),
            Some(b'i') if is("is") => {
                if level::IS <= floor {
                    return Ok((left, false));
                }
                self.is_test(left, start).map(|expr| (expr, true))
            }
            Some(b'i') if is("isnull") && level::IS > floor => {
                self.at += 1;
                Ok((self.other(start, OtherName::None, vec![left]), true))
            }
            Some(b'n') if is("notnull") && level::IS > floor => {
                self.at += 1;
                Ok((self.other(start, OtherName::None, vec![left]), true))
            }
            Some(b'n') if is("not") => {
                let range = ["in", "like", "ilike", "between"].iter().any(|word| self.word_at(1, word))
                    || (self.word_at(1, "similar") && self.word_at(2, "to"));
                if !range || level::RANGE <= floor {
                    return Ok((left, false));
                }
                self.at += 1;
                self.range(left, start, true).map(|expr| (expr, true))
            }
            Some(b'i') if is("in") || is("ilike") => self.range_if(left, start, floor),
            Some(b'l') if is("like") => self.range_if(left, start, floor),
            // Not so in `substring(a SIMILAR b ESCAPE c)`.
            Some(b's') if is("similar") && self.word_at(1, "to") => self.range_if(left, start, floor),
            Some(b'b') if is("between") => self.range_if(left, start, floor),
            Some(b'c') if is("collate") && level::COLLATE > floor => {
                self.at += 1;
                self.any_identifier()?;
                while self.symbol(".") {
                    self.any_identifier()?;
                }
                Ok((self.other(start, OtherName::FirstOperand, vec![left]), true))
            }
            Some(b'a') if is("at") && level::AT > floor => {
                if self.words(&["at", "local"]) {
                    return Ok((self.other(start, OtherName::Fixed("timezone"), vec![left]), true));
                }
                if !self.words(&["at", "time", "zone"]) {
                    return Ok((left, false));
                }
                let zone = self.expr_above(level::AT)?;
                Ok((self.other(start, OtherName::Fixed("timezone"), vec![left, zone]), true))
            }
            Some(b'o') if is("operator") && self.symbol_at(1, "(") && level::OPERATOR > floor => {
                let operator = self.qualified_operator()?;
                if let Some(quantified) = self.quantified(&left, start, false)? {
                    return Ok((quantified, true));
                }
                let right = self.expr_above(level::OPERATOR)?;
                let kind = ExprKind::Binary { operator, left: Box::new(left), right: Box::new(right) };
                Ok((self.make(start, kind), true))
            }
            Some(b'o') if is("overlaps") && level::OPERATOR > floor => {
                self.at += 1;
                let right = self.expr_above(level::OPERATOR)?;
                Ok((self.other(start, OtherName::Fixed("overlaps"), vec![left, right]), true))
            }
            _ => Ok((left, false)),
        }
    }

    /// A whole chain of AND or of OR.
    fn junction(&mut self, left: Expr<'a>, start: usize, floor: u8, own: u8) -> Parse<(Expr<'a>, bool)> {
        if own <= floor {
            return Ok((left, false));
        }
        let keyword = if own == level::AND { "and" } else { "or" };
        let mut operands = vec![left];
        while self.word(keyword) {
            operands.push(self.expr_above(own)?);
        }
        let kind = if own == level::AND { ExprKind::And(operands) } else { ExprKind::Or(operands) };
        Ok((self.make(start, kind), true))
    }

    fn is_test(&mut self, left: Expr<'a>, start: usize) -> Parse<Expr<'a>> {
        self.at += 1;
        let negated = self.word("not");
        if self.words(&["distinct", "from"]) {
            let right = self.expr_above(level::IS)?;
            return Ok(self.other(start, OtherName::None, vec![left, right]));
        }
        if self.any_word(&["nfc", "nfd", "nfkc", "nfkd"]) {
            self.at += 1;
        }
        if self.word("normalized") {
            let name = if negated { OtherName::None } else { OtherName::Fixed("is_normalized") };
            return Ok(self.other(start, name, vec![left]));
        }
        if !self.any_word(&["null", "true", "false", "unknown", "document"]) {
            return self.fail();
        }
        self.at += 1;
        Ok(self.other(start, OtherName::None, vec![left]))
    }

    fn range_if(&mut self, left: Expr<'a>, start: usize, floor: u8) -> Parse<(Expr<'a>, bool)> {
        if level::RANGE <= floor { Ok((left, false)) } else { self.range(left, start, false).map(|expr| (expr, true)) }
    }

    /// IN, BETWEEN, LIKE, ILIKE, SIMILAR TO.
    fn range(&mut self, left: Expr<'a>, start: usize, negated: bool) -> Parse<Expr<'a>> {
        if self.word("in") {
            let operand = Box::new(left);
            if self.query_follows() {
                match self.attempt(|parser| parser.parenthesised(Self::query)) {
                    Ok(query) => {
                        let kind = ExprKind::InQuery { negated, operand, query: Box::new(query) };
                        return Ok(self.make(start, kind));
                    }
                    Err(error) if !self.symbol_at(1, "(") => return Err(error),
                    Err(_) => {}
                }
            }
            let list = self.parenthesised(|parser| parser.comma_separated(Self::expr))?;
            return Ok(self.make(start, ExprKind::In { negated, operand, list }));
        }
        if self.word("between") {
            let symmetric = self.word("symmetric");
            if !symmetric {
                self.word("asymmetric");
            }
            let low = self.expr_above(level::IS)?;
            self.expect_word("and")?;
            let high = self.expr_above(level::RANGE)?;
            let name = if negated || symmetric { OtherName::None } else { OtherName::Between };
            return Ok(self.other(start, name, vec![left, low, high]));
        }
        if self.words(&["similar", "to"]) || self.word("like") || self.word("ilike") {
            if let Some(quantified) = self.quantified(&left, start, false)? {
                return Ok(quantified);
            }
            let mut operands = vec![left, self.expr_above(level::RANGE)?];
            if self.word("escape") {
                operands.push(self.expr_above(level::RANGE)?);
            }
            return Ok(self.other(start, OtherName::None, operands));
        }
        self.fail()
    }

    fn primary(&mut self) -> Parse<Expr<'a>> {
        let start = self.start();
        let Some(token) = self.peek().copied() else { return self.fail() };
        let kind = match token.kind {
            TokenKind::Integer => ExprKind::Integer,
            TokenKind::Numeric => ExprKind::Numeric,
            TokenKind::BitString => ExprKind::Bits,
            TokenKind::Parameter => {
                let Some(number) =
                    self.text(&token)[1..].parse::<usize>().ok().filter(|number| (1..=65535).contains(number))
                else {
                    return self.fail();
                };
                ExprKind::Parameter(number - 1)
            }
            // A national string is bpchar's: not a plain literal.
            TokenKind::NationalString => ExprKind::Bits,
            _ if token.is_string() => ExprKind::String(token.string_value(self.sql)),
            TokenKind::Symbol => return self.primary_symbol(start, &token),
            TokenKind::Word | TokenKind::QuotedIdentifier | TokenKind::UnicodeIdentifier => {
                return self.primary_word(start, &token);
            }
            _ => return self.fail(),
        };
        self.at += 1;
        Ok(self.make(start, kind))
    }

    fn primary_symbol(&mut self, start: usize, token: &Token) -> Parse<Expr<'a>> {
        match self.text(token) {
            "*" => {
                self.at += 1;
                Ok(self.make(start, ExprKind::Star(None)))
            }
            "(" => {
                if self.query_follows() {
                    let direct = !self.symbol_at(1, "(");
                    match self.attempt(|parser| parser.parenthesised(Self::query)) {
                        Ok(query) => return Ok(self.make(start, ExprKind::Subquery(Box::new(query)))),
                        Err(error) if direct => return Err(error),
                        Err(_) => {}
                    }
                }
                let mut list = self.parenthesised(|parser| parser.comma_separated(Self::expr))?;
                let kind = match (list.len(), list.pop()) {
                    (1, Some(single)) => ExprKind::Nested(Box::new(single)),
                    (_, last) => {
                        list.extend(last);
                        ExprKind::Row(list)
                    }
                };
                Ok(self.make(start, kind))
            }
            _ => self.fail(),
        }
    }

    fn primary_word(&mut self, start: usize, token: &Token) -> Parse<Expr<'a>> {
        if token.kind == TokenKind::Word {
            let text = self.text(token);
            let mut buffer = [0_u8; 20];
            if let Some(lower) = buffer.get_mut(..text.len()) {
                lower.copy_from_slice(text.as_bytes());
                lower.make_ascii_lowercase();
                if let Some(expr) = self.keyword(start, lower)? {
                    return Ok(expr);
                }
            }
            if !keywords::may_name_function(text) {
                return self.fail();
            }
        }
        // A type's name and a string: a constant of that type.
        if !self.symbol_at(1, "(") || token.kind == TokenKind::Word {
            let typed = self.typed_constant(start, token)?;
            if let Some(typed) = typed {
                return Ok(typed);
            }
        }
        let first = self.at;
        let function = self.name_of_function_or_column()?;
        match function {
            (name, true) => Ok(self.make(start, ExprKind::Star(Some(name)))),
            (name, false) if self.is_symbol("(") => {
                let call = self.call(start, name)?;
                if !self.peek().is_some_and(Token::is_string) {
                    return Ok(call);
                }
                // A type's name with a modifier.
                self.at = first;
                self.constant_of_type(start)
            }
            (name, false) => {
                let first = self.tokens.iter().find(|token| token.span == name.parts[0].span);
                if first.is_some_and(|token| !self.is_column_name(token)) {
                    return self.fail();
                }
                Ok(self.make(start, ExprKind::Column(name)))
            }
        }
    }

    /// A dotted name; true when it ends in `.*`.
    fn name_of_function_or_column(&mut self) -> Parse<(Name<'a>, bool)> {
        let mut parts = vec![self.any_identifier()?];
        while self.is_symbol(".") {
            self.at += 1;
            if self.symbol("*") {
                return Ok((Name { parts }, true));
            }
            parts.push(self.any_identifier()?);
        }
        Ok((Name { parts }, false))
    }

    fn typed_constant(&mut self, start: usize, token: &Token) -> Parse<Option<Expr<'a>>> {
        // Cheap first: a string must follow the name, perhaps behind a modifier or more words of the type's name.
        let text = self.text(token);
        let wordy = token.kind == TokenKind::Word
            && [
                "double",
                "character",
                "char",
                "national",
                "nchar",
                "bit",
                "timestamp",
                "time",
                "interval",
                "varchar",
                "numeric",
                "decimal",
                "dec",
                "float",
            ]
            .iter()
            .any(|word| text.eq_ignore_ascii_case(word));
        let plain = self.peek_at(1).is_some_and(|next| next.is_string())
            || (self.symbol_at(1, ".") && self.peek_at(3).is_some_and(|next| next.is_string()));
        if !plain && !wordy {
            return Ok(None);
        }
        // Not counted as a retry: however many constants there are, each is read once, and a type's name is short.
        let at = self.at;
        let constant = self.constant_of_type(start).ok();
        if constant.is_none() {
            self.at = at;
        }
        Ok(constant)
    }

    fn constant_of_type(&mut self, start: usize) -> Parse<Expr<'a>> {
        let mut target = self.type_name()?;
        let Some(string) = self.peek().copied().filter(Token::is_string) else { return self.fail() };
        self.at += 1;
        if target.name == "interval" && target.schema.is_none() {
            target.modified |= self.interval_fields()?;
        }
        let value = string.string_value(self.sql);
        let operand = Expr { span: string.span, kind: ExprKind::String(value) };
        Ok(self.make(start, ExprKind::Cast { operand: Box::new(operand), target }))
    }

    /// Expressions that begin with a keyword of their own; `None` when the word is an ordinary name here.
    fn keyword(&mut self, start: usize, lower: &[u8]) -> Parse<Option<Expr<'a>>> {
        let parenthesis = self.symbol_at(1, "(");
        let kind = match lower {
            b"null" => ExprKind::Null,
            b"true" | b"false" => ExprKind::Boolean,
            b"default" => ExprKind::Default,
            b"case" => return self.case(start).map(Some),
            b"cast" if parenthesis => return self.cast(start).map(Some),
            b"exists" if parenthesis => {
                self.at += 1;
                let query = self.parenthesised(Self::query)?;
                return Ok(Some(self.make(start, ExprKind::Exists(Box::new(query)))));
            }
            b"array" => return self.array(start).map(Some),
            b"row" if parenthesis => {
                self.at += 1;
                let list = self.parenthesised(|parser| {
                    if parser.is_symbol(")") { Ok(Vec::new()) } else { parser.comma_separated(Self::expr) }
                })?;
                return Ok(Some(self.make(start, ExprKind::Row(list))));
            }
            b"extract" | b"position" | b"overlay" | b"substring" | b"trim" | b"normalize" | b"treat" if parenthesis => {
                return self.special_call(start, lower).map(Some);
            }
            b"collation" if self.word_at(1, "for") && self.symbol_at(2, "(") => {
                return self.special_call(start, lower).map(Some);
            }
            b"current_date" | b"current_time" | b"current_timestamp" | b"localtime" | b"localtimestamp"
            | b"current_role" | b"current_user" | b"session_user" | b"user" | b"current_catalog" | b"system_user" => {
                return self.bare_call(start).map(Some);
            }
            b"current_schema" if !parenthesis && !self.symbol_at(1, ".") => return self.bare_call(start).map(Some),
            b"coalesce" | b"greatest" | b"least" | b"nullif" | b"grouping" if parenthesis => {
                let fixed = match lower {
                    b"coalesce" => "coalesce",
                    b"greatest" => "greatest",
                    b"least" => "least",
                    b"nullif" => "nullif",
                    _ => "grouping",
                };
                self.at += 1;
                let operands = self.parenthesised(|parser| parser.comma_separated(Self::expr))?;
                return Ok(Some(self.other(start, OtherName::Fixed(fixed), operands)));
            }
            _ if parenthesis && lower.starts_with(b"xml") => return self.xml(start, lower),
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(self.make(start, kind)))
    }

    fn case(&mut self, start: usize) -> Parse<Expr<'a>> {
        self.at += 1;
        let mut operands = Vec::new();
        if !self.is_word("when") {
            operands.push(self.expr()?);
        }
        while self.word("when") {
            operands.push(self.expr()?);
            self.expect_word("then")?;
            operands.push(self.expr()?);
        }
        let has_else = self.word("else");
        if has_else {
            operands.push(self.expr()?);
        }
        self.expect_word("end")?;
        Ok(self.other(start, OtherName::Case { has_else }, operands))
    }

    fn cast(&mut self, start: usize) -> Parse<Expr<'a>> {
        self.at += 1;
        let (operand, target) = self.parenthesised(|parser| {
            let operand = parser.expr()?;
            parser.expect_word("as")?;
            Ok((operand, parser.type_name()?))
        })?;
        Ok(self.make(start, ExprKind::Cast { operand: Box::new(operand), target }))
    }

    fn array(&mut self, start: usize) -> Parse<Expr<'a>> {
        self.at += 1;
        if self.is_symbol("(") {
            let query = self.parenthesised(Self::query)?;
            return Ok(self.make(start, ExprKind::ArrayQuery(Box::new(query))));
        }
        let elements = self.nested(Self::array_elements)?;
        Ok(self.make(start, ExprKind::Array(elements)))
    }

    fn array_elements(&mut self) -> Parse<Vec<Expr<'a>>> {
        self.expect_symbol("[")?;
        let mut elements = Vec::new();
        if !self.is_symbol("]") {
            elements = self.comma_separated(|parser| {
                if parser.is_symbol("[") {
                    let start = parser.start();
                    let inner = parser.nested(Self::array_elements)?;
                    Ok(parser.make(start, ExprKind::Array(inner)))
                } else {
                    parser.expr()
                }
            })?;
        }
        self.expect_symbol("]")?;
        Ok(elements)
    }
}

/// Whether a symbol is an operator rather than punctuation.
fn is_operator(text: &str) -> bool {
    !matches!(text, "(" | ")" | "[" | "]" | "," | ";" | "." | ".." | ":" | "::" | ":=" | "=>")
}
