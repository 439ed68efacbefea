//! SQL expressions into [`Typed`] ones, typed as PostgreSQL types them; what is not on the verified list is refused.

use datafusion::sql::sqlparser::ast::{self, BinaryOperator, UnaryOperator, Value};

use crate::datum::Datum;
use crate::error::{Unsupported, refuse};
use crate::expr::{Collation, Expr, Typed};
use crate::kernels;
use crate::type_names::type_of;
use crate::types::PgType;
use crate::verified;

pub type Result<T> = std::result::Result<T, Unsupported>;

/// A column that names can mean.
#[derive(Clone, Debug)]
pub struct Named {
    /// What qualifies it.
    pub relation: String,
    pub name: String,
    pub typed: Typed,
}

/// The columns that names can mean.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// In order; those of the query around come first.
    pub columns: Vec<Named>,
    /// So many of them are of the query around: they are meant when no other is.
    pub outer: usize,
}

impl Scope {
    /// One relation's.
    pub fn of(relation: &str, columns: Vec<(String, Typed)>) -> Self {
        let named = |(name, typed)| Named { relation: relation.to_owned(), name, typed };
        Self { columns: columns.into_iter().map(named).collect(), outer: 0 }
    }

    /// Both, the columns of `other` behind its own.
    pub fn join(mut self, other: Self) -> Self {
        let width = self.columns.len();
        self.columns.extend(other.columns.into_iter().map(|column| column.behind(width)));
        self
    }

    /// A subquery's, in which this one's columns can be meant, too.
    pub fn around(&self, inner: Self) -> Self {
        Self { outer: self.columns.len(), ..self.clone().join(inner) }
    }

    /// The column of this name; None when there is none.
    ///
    /// # Errors
    /// When several have it.
    pub fn find(&self, name: &str) -> Result<Option<&Typed>> {
        self.find_where(name, |column| column.name == name)
    }

    /// As [`Scope::find`], of this relation.
    ///
    /// # Errors
    /// When several have it.
    pub fn find_of(&self, relation: &str, name: &str) -> Result<Option<&Typed>> {
        // A nearer relation of this name hides one around, whatever its columns are.
        let near = self.columns[self.outer..].iter().any(|column| column.relation == relation);
        let of_relation = |column: &Named| column.relation == relation && column.name == name;
        if near { unique(&self.columns[self.outer..], name, of_relation) } else { self.find_where(name, of_relation) }
    }

    fn find_where(&self, name: &str, is_meant: impl Fn(&Named) -> bool) -> Result<Option<&Typed>> {
        let (outer, own) = self.columns.split_at(self.outer);
        match unique(own, name, &is_meant)? {
            None => unique(outer, name, is_meant),
            found => Ok(found),
        }
    }
}

fn unique<'c>(columns: &'c [Named], name: &str, is_meant: impl Fn(&Named) -> bool) -> Result<Option<&'c Typed>> {
    let mut found = columns.iter().filter(|column| is_meant(column)).map(|column| &column.typed);
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => refuse!("column reference \"{name}\" is ambiguous"),
        (first, _) => Ok(first),
    }
}

impl Named {
    fn behind(mut self, width: usize) -> Self {
        if let Expr::Column(index) = &mut self.typed.expr {
            *index += width;
        }
        self
    }
}

/// Identifiers as PostgreSQL folds them.
pub fn fold(ident: &ast::Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_ascii_lowercase() }
}

/// A call of an aggregate. Its argument is already NULL where FILTER leaves the row out.
#[derive(Clone, Debug)]
pub struct AggregateCall {
    /// None: `count`, of whatever is not NULL.
    pub function: Option<&'static verified::Aggregate>,
    pub argument: Expr,
    /// The argument's type.
    pub ty: PgType,
    /// Equal values count once.
    pub distinct: bool,
}

/// Compiles the expressions of one SELECT.
pub struct Compiler<'a> {
    pub scope: &'a Scope,
    /// Type OIDs of the parameters.
    pub parameters: &'a [u32],
    /// Where aggregate calls go; None where they are not allowed.
    pub aggregates: Option<Vec<AggregateCall>>,
}

impl Compiler<'_> {
    /// `ast`, typed.
    ///
    /// # Errors
    /// When anything in it is not on the verified list.
    pub fn compile(&mut self, ast: &ast::Expr) -> Result<Typed> {
        match ast {
            ast::Expr::Identifier(ident) => self.column(&fold(ident)),
            ast::Expr::CompoundIdentifier(idents) => match idents.as_slice() {
                [relation, column] => match self.scope.find_of(&fold(relation), &fold(column))? {
                    Some(typed) => Ok(typed.clone()),
                    None => refuse!("column reference {ast}"),
                },
                _ => refuse!("column reference {ast}"),
            },
            ast::Expr::Nested(inner) => self.compile(inner),
            ast::Expr::Value(value) => self.literal(&value.value),
            ast::Expr::TypedString(string) => {
                let Value::SingleQuotedString(text) = &string.value.value else { refuse!("literal {ast}") };
                let (ty, typmod) = type_of(&string.data_type)?;
                cast(unknown(text), ty, typmod)
            }
            ast::Expr::Cast {
                kind: ast::CastKind::Cast | ast::CastKind::DoubleColon,
                expr,
                data_type,
                array: false,
                format: None,
            } => {
                let (ty, typmod) = type_of(data_type)?;
                cast(self.compile(expr)?, ty, typmod)
            }
            ast::Expr::Collate { expr, collation } => {
                let inner = self.compile(expr)?;
                let name = collation.to_string();
                if !matches!(name.as_str(), "\"C\"" | "\"POSIX\"" | "pg_catalog.\"C\"") || inner.opaque {
                    refuse!("COLLATE {name}");
                }
                let inner = settle(inner)?;
                if !inner.ty.is_text() {
                    refuse!("COLLATE of type {}", inner.ty.name());
                }
                Ok(Typed { collation: Collation::Explicit, ..inner })
            }
            ast::Expr::UnaryOp { op: UnaryOperator::Not, expr } => {
                let value = self.boolean(expr)?;
                Ok(Typed::new(Expr::Not(Box::new(value)), PgType::Bool))
            }
            ast::Expr::UnaryOp { op: UnaryOperator::Minus, expr } => self.minus(expr),
            ast::Expr::UnaryOp { op: UnaryOperator::Plus, expr } => {
                let inner = self.compile(expr)?;
                if inner.ty.tower().is_none() {
                    refuse!("operator + {}", inner.ty.name());
                }
                Ok(Typed { typmod: -1, ..inner })
            }
            ast::Expr::BinaryOp { left, op, right } => self.binary(left, op, right),
            ast::Expr::IsNull(inner) => self.is_null(inner, false),
            ast::Expr::IsNotNull(inner) => self.is_null(inner, true),
            ast::Expr::IsTrue(inner) => self.is_boolean(inner, true, false),
            ast::Expr::IsNotTrue(inner) => self.is_boolean(inner, true, true),
            ast::Expr::IsFalse(inner) => self.is_boolean(inner, false, false),
            ast::Expr::IsNotFalse(inner) => self.is_boolean(inner, false, true),
            ast::Expr::IsUnknown(inner) | ast::Expr::IsNotUnknown(inner) => {
                let unknown = Expr::IsNull(Box::new(self.boolean(inner)?));
                let negated = matches!(ast, ast::Expr::IsNotUnknown(_));
                Ok(Typed::new(if negated { Expr::Not(Box::new(unknown)) } else { unknown }, PgType::Bool))
            }
            ast::Expr::IsDistinctFrom(left, right) => self.distinct(left, right, false),
            ast::Expr::IsNotDistinctFrom(left, right) => self.distinct(left, right, true),
            ast::Expr::Between { expr, negated, low, high } => {
                let (low_symbol, high_symbol) = if *negated { ("<", ">") } else { (">=", "<=") };
                let value = self.compile(expr)?;
                let low = compare(low_symbol, value.clone(), self.compile(low)?)?.expr;
                let high = compare(high_symbol, value, self.compile(high)?)?.expr;
                let terms = vec![low, high];
                Ok(Typed::new(if *negated { Expr::Or(terms) } else { Expr::And(terms) }, PgType::Bool))
            }
            ast::Expr::InList { expr, list, negated } => self.in_list(expr, list, *negated),
            ast::Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())
            }
            ast::Expr::Function(function) => self.function(function),
            other => refuse!("expression {other}"),
        }
    }

    fn column(&self, name: &str) -> Result<Typed> {
        match self.scope.find(name)? {
            Some(typed) => Ok(typed.clone()),
            None => refuse!("column \"{name}\" does not exist"),
        }
    }

    fn literal(&self, value: &Value) -> Result<Typed> {
        Ok(match value {
            Value::Null => Typed::new(Expr::Literal(Datum::Null), PgType::Unknown),
            Value::Boolean(value) => Typed::new(Expr::Literal(Datum::Bool(*value)), PgType::Bool),
            Value::SingleQuotedString(text) => unknown(text),
            Value::Number(digits, false) => number(digits)?,
            Value::Placeholder(name) => {
                let number = name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok()).unwrap_or(0);
                match number.checked_sub(1).and_then(|index| Some((index, *self.parameters.get(index)?))) {
                    Some((index, type_oid)) => {
                        let ty = PgType::of(type_oid);
                        if matches!(ty, PgType::Other(_)) {
                            refuse!("parameter {name} of type {type_oid}");
                        }
                        Typed::new(Expr::Parameter(index), ty)
                    }
                    None => refuse!("parameter {name}"),
                }
            }
            other => refuse!("literal {other}"),
        })
    }

    /// `ast` as a condition.
    ///
    /// # Errors
    /// When it is not boolean, or not on the verified list.
    pub fn boolean(&mut self, ast: &ast::Expr) -> Result<Expr> {
        let typed = self.compile(ast)?;
        Ok(coerce(typed, PgType::Bool)?.expr)
    }

    fn minus(&mut self, operand: &ast::Expr) -> Result<Typed> {
        // PostgreSQL's grammar puts the sign into a constant before it is typed: -2147483648 is an integer.
        if let Some(digits) = numeric_constant(operand) {
            return number(&negated(digits));
        }
        let inner = self.compile(operand)?;
        let Some(function) = verified::function_of("-", &[inner.ty]) else { refuse!("operator - {}", inner.ty.name()) };
        Ok(Typed::new(
            Expr::Function { name: function.name, ty: inner.ty, arguments: vec![inner.expr] },
            function.result,
        ))
    }

    fn is_null(&mut self, inner: &ast::Expr, negated: bool) -> Result<Typed> {
        // Of a composite, IS NULL looks at its fields.
        let inner = self.compile(inner)?;
        if inner.opaque {
            refuse!("IS NULL of a column that is only passed on");
        }
        let test = Expr::IsNull(Box::new(inner.expr));
        Ok(Typed::new(if negated { Expr::Not(Box::new(test)) } else { test }, PgType::Bool))
    }

    fn is_boolean(&mut self, inner: &ast::Expr, value: bool, negated: bool) -> Result<Typed> {
        let test = Expr::Is { value, of: Box::new(self.boolean(inner)?) };
        Ok(Typed::new(if negated { Expr::Not(Box::new(test)) } else { test }, PgType::Bool))
    }

    fn distinct(&mut self, left: &ast::Expr, right: &ast::Expr, negated: bool) -> Result<Typed> {
        let (left, right) = (self.compile(left)?, self.compile(right)?);
        let (ty, left, right) = comparable(left, right)?;
        Ok(Typed::new(Expr::Distinct { ty, negated, left: Box::new(left), right: Box::new(right) }, PgType::Bool))
    }

    fn binary(&mut self, left: &ast::Expr, op: &BinaryOperator, right: &ast::Expr) -> Result<Typed> {
        if matches!(op, BinaryOperator::And | BinaryOperator::Or) {
            let terms = vec![self.boolean(left)?, self.boolean(right)?];
            let expr = if *op == BinaryOperator::And { Expr::And(terms) } else { Expr::Or(terms) };
            return Ok(Typed::new(expr, PgType::Bool));
        }
        let symbol = op.to_string();
        // Comparisons do not associate in PostgreSQL; without parentheses the parsers may disagree.
        let is_comparison = |ast: &ast::Expr| matches!(ast, ast::Expr::BinaryOp { op, .. } if verified::COMPARISONS.contains(&op.to_string().as_str()));
        if let Some(symbol) = verified::COMPARISONS.iter().find(|known| **known == symbol) {
            if is_comparison(left) || is_comparison(right) {
                refuse!("a chain of comparisons");
            }
            return compare(symbol, self.compile(left)?, self.compile(right)?);
        }
        arithmetic(&symbol, self.compile(left)?, self.compile(right)?)
    }

    fn in_list(&mut self, value: &ast::Expr, list: &[ast::Expr], negated: bool) -> Result<Typed> {
        let value = self.compile(value)?;
        let items = list.iter().map(|item| self.compile(item)).collect::<Result<Vec<_>>>()?;
        // PostgreSQL brings the constants of a list to one type before it compares. Between exact numbers that makes no
        // difference; a float among them would round the others.
        let is_float = |ty: PgType| matches!(ty, PgType::Float4 | PgType::Float8);
        let types: Vec<PgType> = items.iter().map(|item| item.ty).filter(|ty| *ty != PgType::Unknown).collect();
        if types.iter().any(|ty| is_float(*ty)) && types.iter().any(|ty| *ty != value.ty) {
            refuse!("IN over several types of numbers");
        }
        let terms =
            items.into_iter().map(|item| Ok(compare("=", value.clone(), item)?.expr)).collect::<Result<Vec<_>>>()?;
        let any = Expr::Or(terms);
        Ok(Typed::new(if negated { Expr::Not(Box::new(any)) } else { any }, PgType::Bool))
    }

    fn case(
        &mut self,
        operand: Option<&ast::Expr>,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&ast::Expr>,
    ) -> Result<Typed> {
        let operand = operand.map(|operand| self.compile(operand)).transpose()?;
        let mut tests = Vec::with_capacity(conditions.len());
        let mut results = Vec::with_capacity(conditions.len() + 1);
        for when in conditions {
            tests.push(match &operand {
                Some(operand) => compare("=", operand.clone(), self.compile(&when.condition)?)?.expr,
                None => self.boolean(&when.condition)?,
            });
            results.push(self.compile(&when.result)?);
        }
        results.push(match otherwise {
            Some(otherwise) => self.compile(otherwise)?,
            None => Typed::new(Expr::Literal(Datum::Null), PgType::Unknown),
        });
        let shared = unify(results)?;
        let mut values = shared.values;
        let otherwise = values.pop().unwrap_or(Expr::Literal(Datum::Null));
        let branches = tests.into_iter().zip(values).collect();
        Ok(Typed { expr: Expr::Case { branches, otherwise: Box::new(otherwise) }, ..shared.typed })
    }
}

fn unknown(text: &str) -> Typed {
    Typed::new(Expr::Literal(Datum::Text(text.to_owned().into())), PgType::Unknown)
}

/// The digits of a number, also in parentheses and behind minus signs.
pub fn numeric_constant(ast: &ast::Expr) -> Option<String> {
    match ast {
        ast::Expr::Value(ast::ValueWithSpan { value: Value::Number(digits, false), .. }) => Some(digits.clone()),
        ast::Expr::Nested(inner) => numeric_constant(inner),
        ast::Expr::UnaryOp { op: UnaryOperator::Minus, expr } => numeric_constant(expr).map(negated),
        _ => None,
    }
}

fn negated(digits: String) -> String {
    digits.strip_prefix('-').map_or_else(|| format!("-{digits}"), str::to_owned)
}

/// A number as PostgreSQL's lexer types it: integer, bigint, or numeric.
fn number(digits: &str) -> Result<Typed> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    if !plain {
        refuse!("number {digits}");
    }
    let integer = digits.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
    let types: &[PgType] = if integer { &[PgType::Int4, PgType::Int8, PgType::Numeric] } else { &[PgType::Numeric] };
    for ty in types {
        if let Some(value) = kernels::parse(*ty, digits) {
            return Ok(Typed::new(Expr::Literal(value), *ty));
        }
    }
    refuse!("number {digits}")
}

/// A literal that is still without type becomes text, as in a SELECT list.
pub fn settle(typed: Typed) -> Result<Typed> {
    if typed.ty == PgType::Unknown { coerce(typed, PgType::Text) } else { Ok(typed) }
}

/// `typed` as `ty`, by an implicit conversion.
pub fn coerce(typed: Typed, ty: PgType) -> Result<Typed> {
    if typed.ty == ty {
        return Ok(typed);
    }
    if typed.opaque {
        refuse!("a column that is only passed on as {}", ty.name());
    }
    if typed.ty == PgType::Unknown {
        let value = match typed.expr {
            Expr::Literal(Datum::Null) => Datum::Null,
            Expr::Literal(Datum::Text(text)) => match kernels::parse(ty, &text) {
                Some(value) => value,
                None => refuse!("literal '{text}' as {}", ty.name()),
            },
            _ => refuse!("an expression of unknown type"),
        };
        return Ok(Typed::new(Expr::Literal(value), ty));
    }
    let upward = match (typed.ty.tower(), ty.tower()) {
        (Some(from), Some(to)) => from <= to,
        _ => matches!((typed.ty, ty), (PgType::Varchar | PgType::Name, PgType::Text)),
    };
    if !upward || !verified::is_cast(typed.ty, ty) {
        refuse!("{} as {}", typed.ty.name(), ty.name());
    }
    let collation = typed.collation;
    let expr = Expr::Cast { from: typed.ty, to: ty, value: Box::new(typed.expr) };
    Ok(Typed { collation, ..Typed::new(expr, ty) })
}

/// `typed::ty`.
fn cast(typed: Typed, ty: PgType, typmod: i32) -> Result<Typed> {
    if typed.opaque {
        refuse!("a cast of a column that is only passed on");
    }
    let collation = typed.collation;
    let plain = if typed.ty == ty || typed.ty == PgType::Unknown {
        coerce(typed, ty)?
    } else if verified::is_cast(typed.ty, ty) {
        Typed::new(Expr::Cast { from: typed.ty, to: ty, value: Box::new(typed.expr) }, ty)
    } else {
        refuse!("a cast from {} to {}", typed.ty.name(), ty.name())
    };
    let plain = Typed { collation, ..plain };
    match ty {
        _ if typmod == -1 => Ok(Typed { typmod: -1, ..plain }),
        PgType::Numeric => Ok(Typed {
            expr: Expr::Rescale { typmod, value: Box::new(plain.expr) },
            typmod,
            ..Typed::new(Expr::Literal(Datum::Null), ty)
        }),
        _ => refuse!("a cast to {} with a length", ty.name()),
    }
}

/// Both sides as one type that has an order.
pub fn comparable(left: Typed, right: Typed) -> Result<(PgType, Expr, Expr)> {
    use PgType::{Bpchar, Name, Text, Unknown, Varchar};
    if left.opaque || right.opaque {
        refuse!("a comparison of a column that is only passed on");
    }
    let ty = match (left.ty, right.ty) {
        (Text | Varchar | Unknown, Text | Varchar | Unknown) => Text,
        (same, other) if same == other => same,
        (Unknown, known) | (known, Unknown) => known,
        (left, right) => match left.operands(right) {
            Some(ty) => ty,
            None => refuse!("a comparison of {} with {}", left.name(), right.name()),
        },
    };
    if !verified::is_ordered(ty) {
        refuse!("a comparison of {}", ty.name());
    }
    let collation = left.collation.with(right.collation);
    if matches!(ty, Text | Bpchar | Name) && !matches!(collation, Collation::Bytes | Collation::Explicit) {
        refuse!("a comparison of text in a collation that does not compare bytes");
    }
    Ok((ty, coerce(left, ty)?.expr, coerce(right, ty)?.expr))
}

fn compare(symbol: &'static str, left: Typed, right: Typed) -> Result<Typed> {
    let (ty, left, right) = comparable(left, right)?;
    Ok(Typed::new(Expr::Compare { symbol, ty, left: Box::new(left), right: Box::new(right) }, PgType::Bool))
}

pub fn arithmetic(symbol: &str, left: Typed, right: Typed) -> Result<Typed> {
    let ty = match (left.ty, right.ty) {
        (PgType::Unknown, known) | (known, PgType::Unknown) => Some(known),
        (left, right) => left.operands(right),
    };
    let Some(operator) = ty.and_then(|ty| verified::arithmetic(symbol, ty)) else {
        refuse!("operator {} {symbol} {}", left.ty.name(), right.ty.name())
    };
    let ty = operator.operands;
    let (left, right) = (Box::new(coerce(left, ty)?.expr), Box::new(coerce(right, ty)?.expr));
    Ok(Typed::new(Expr::Arithmetic { symbol: operator.symbol, ty, left, right }, operator.result))
}

/// Branches brought to one type.
pub struct Unified {
    pub values: Vec<Expr>,
    /// What they have in common; its expression says nothing.
    pub typed: Typed,
}

pub fn unify(branches: Vec<Typed>) -> Result<Unified> {
    let mut ty = PgType::Unknown;
    for branch in &branches {
        if branch.opaque {
            refuse!("a choice over columns that are only passed on");
        }
        ty = match ty.common(branch.ty) {
            Some(ty) => ty,
            None => refuse!("a choice between {} and {}", ty.name(), branch.ty.name()),
        };
    }
    if ty == PgType::Unknown {
        ty = PgType::Text;
    }
    let typmods: Vec<i32> = branches.iter().map(|branch| if branch.ty == ty { branch.typmod } else { -1 }).collect();
    let typmod =
        if typmods.windows(2).all(|pair| pair[0] == pair[1]) { typmods.first().copied().unwrap_or(-1) } else { -1 };
    let collation = branches.iter().fold(Collation::Neutral, |all, branch| all.with(branch.collation));
    let values = branches.into_iter().map(|branch| Ok(coerce(branch, ty)?.expr)).collect::<Result<Vec<_>>>()?;
    Ok(Unified { values, typed: Typed { typmod, collation, ..Typed::new(Expr::Literal(Datum::Null), ty) } })
}
