//! Calls of functions and aggregates.

use datafusion::sql::sqlparser::ast;

use crate::compile::{AggregateCall, Compiler, Result, arithmetic, coerce, comparable, fold, unify};
use crate::datum::Datum;
use crate::error::refuse;
use crate::expr::{Collation, Expr, Typed};
use crate::types::PgType;
use crate::verified;

impl Compiler<'_> {
    /// A call of a function or an aggregate, typed.
    ///
    /// # Errors
    /// When it is not on the verified list.
    pub fn function(&mut self, function: &ast::Function) -> Result<Typed> {
        let name = match function.name.0.as_slice() {
            [ast::ObjectNamePart::Identifier(name)] => fold(name),
            [ast::ObjectNamePart::Identifier(schema), ast::ObjectNamePart::Identifier(name)]
                if fold(schema) == "pg_catalog" =>
            {
                fold(name)
            }
            _ => refuse!("function {}", function.name),
        };
        let ast::FunctionArguments::List(list) = &function.args else { refuse!("function {name}") };
        let plain = matches!(function.parameters, ast::FunctionArguments::None)
            && function.null_treatment.is_none()
            && function.over.is_none()
            && function.within_group.is_empty()
            && !function.uses_odbc_syntax
            && list.clauses.is_empty();
        if !plain {
            refuse!("clauses in {function}");
        }
        let star = matches!(list.args.as_slice(), [ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Wildcard)]);
        let is_aggregate = name == "count" || verified::AGGREGATES.iter().any(|aggregate| aggregate.name == name);
        if is_aggregate {
            // What is inside an aggregate holds none.
            let Some(calls) = self.aggregates.take() else { refuse!("aggregate {name} here") };
            let filter = function.filter.as_deref().map(|filter| self.boolean(filter)).transpose()?;
            let arguments = if star { Vec::new() } else { self.arguments(list)? };
            self.aggregates = Some(calls);
            let distinct = list.duplicate_treatment == Some(ast::DuplicateTreatment::Distinct);
            return self.aggregate(&name, &arguments, star, distinct, filter);
        }
        if star || function.filter.is_some() || list.duplicate_treatment.is_some() {
            refuse!("function {name}");
        }
        let arguments = self.arguments(list)?;
        match (name.as_str(), arguments.len()) {
            ("coalesce", 1..) => {
                let shared = unify(arguments)?;
                Ok(Typed { expr: Expr::Coalesce(shared.values), ..shared.typed })
            }
            ("nullif", 2) => null_if(arguments),
            _ => call(&name, arguments),
        }
    }

    fn arguments(&mut self, list: &ast::FunctionArgumentList) -> Result<Vec<Typed>> {
        list.args
            .iter()
            .map(|argument| match argument {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => self.compile(expr),
                other => refuse!("argument {other}"),
            })
            .collect()
    }

    fn aggregate(
        &mut self,
        name: &str,
        arguments: &[Typed],
        star: bool,
        distinct: bool,
        filter: Option<Expr>,
    ) -> Result<Typed> {
        let chosen = |value: Expr| match &filter {
            Some(filter) => only_where(filter.clone(), value),
            None => value,
        };
        let argument = match arguments {
            [] if name == "count" && star && !distinct => {
                return Ok(self.call(None, chosen(Expr::Literal(Datum::Bool(true))), PgType::Bool, false));
            }
            [argument] => argument.clone(),
            _ => refuse!("arguments of {name}"),
        };
        if name == "count" && !distinct {
            // Of any type, also one that is only carried.
            let present = Expr::Not(Box::new(Expr::IsNull(Box::new(argument.expr))));
            let counted = only_where(present, Expr::Literal(Datum::Bool(true)));
            return Ok(self.call(None, chosen(counted), PgType::Bool, false));
        }
        if argument.opaque {
            refuse!("{name} of a column that is only passed on");
        }
        if argument.collation == Collation::Other {
            refuse!("{name} of text in a collation that does not compare bytes");
        }
        // Binary-coercible or implicitly cast to what the aggregate takes.
        let argument = match argument.ty {
            PgType::Varchar | PgType::Name | PgType::Unknown => coerce(argument, PgType::Text)?,
            _ => argument,
        };
        let ty = argument.ty;
        if name == "count" {
            if !verified::is_ordered(ty) {
                refuse!("count(DISTINCT {})", ty.name());
            }
            return Ok(self.call(None, chosen(argument.expr), ty, true));
        }
        let Some(function) = verified::aggregate_of(name, ty) else { refuse!("{name}({})", ty.name()) };
        // Distinct floats are added in their order in PostgreSQL; of minima and the like it makes no difference.
        let matters = matches!(name, "sum" | "avg" | "bit_xor");
        if distinct && matters && matches!(ty, PgType::Float4 | PgType::Float8) {
            refuse!("{name}(DISTINCT {})", ty.name());
        }
        let distinct = distinct && matters;
        let value = chosen(argument.expr);
        if name != "avg" {
            return Ok(self.call(Some(function), value, ty, distinct));
        }
        // As PostgreSQL computes it: the exact sum over the count, as numerics.
        let Some(sum) = verified::aggregate_of("sum", ty) else { refuse!("avg({})", ty.name()) };
        let sum = self.call(Some(sum), value.clone(), ty, distinct);
        let count = self.call(None, value, ty, distinct);
        arithmetic("/", coerce(sum, PgType::Numeric)?, coerce(count, PgType::Numeric)?)
    }

    /// The result of an aggregate call, which is computed once however often it is written.
    fn call(
        &mut self,
        function: Option<&'static verified::Aggregate>,
        argument: Expr,
        ty: PgType,
        distinct: bool,
    ) -> Typed {
        let result = function.map_or(PgType::Int8, |function| function.result);
        let calls = self.aggregates.get_or_insert_default();
        let same = |call: &AggregateCall| {
            call.function == function && call.ty == ty && call.distinct == distinct && call.argument.is_same(&argument)
        };
        let index = calls.iter().position(same).unwrap_or(calls.len());
        if index == calls.len() {
            calls.push(AggregateCall { function, argument, ty, distinct });
        }
        let collation = if result.is_text() { Collation::Bytes } else { Collation::Neutral };
        Typed { collation, ..Typed::new(Expr::Aggregate(index), result) }
    }
}

/// `value` where `condition` is true, else NULL.
fn only_where(condition: Expr, value: Expr) -> Expr {
    Expr::Case { branches: vec![(condition, value)], otherwise: Box::new(Expr::Literal(Datum::Null)) }
}

fn null_if(arguments: Vec<Typed>) -> Result<Typed> {
    let [value, other]: [Typed; 2] = match arguments.try_into() {
        Ok(pair) => pair,
        Err(_) => refuse!("arguments of nullif"),
    };
    let collation = value.collation;
    let (ty, left, right) = comparable(value.clone(), other)?;
    // The result has the type that the operator takes on its left; integers of different widths, and floats, have
    // operators of their own.
    let has_own = (value.ty.is_integer() && ty.is_integer()) || (value.ty == PgType::Float4 && ty == PgType::Float8);
    let value = if value.ty == ty || has_own { value } else { coerce(value, ty)? };
    let result = value.ty;
    let expr = Expr::NullIf { ty, value: Box::new(value.expr), left: Box::new(left), right: Box::new(right) };
    Ok(Typed { collation, ..Typed::new(expr, result) })
}

fn call(name: &str, arguments: Vec<Typed>) -> Result<Typed> {
    let types: Vec<PgType> = arguments.iter().map(|argument| argument.ty).collect();
    let candidates = || verified::FUNCTIONS.iter().filter(|function| function.name == name && name != "-");
    // The exact one, or the only one (round has no integer form: integers go to float8 there, which is not on the list).
    let exact = verified::function_of(name, &types).filter(|_| name != "-");
    let Some(function) = exact else {
        let known = candidates().next().is_some();
        let types: Vec<&str> = types.iter().map(|ty| ty.name()).collect();
        refuse!("{} {name}({})", if known { "arguments of" } else { "function" }, types.join(", "))
    };
    if arguments.iter().any(|argument| argument.opaque) {
        refuse!("{name} of a column that is only passed on");
    }
    let arguments = arguments.into_iter().map(|argument| argument.expr).collect();
    Ok(Typed::new(Expr::Function { name: function.name, ty: function.result, arguments }, function.result))
}
