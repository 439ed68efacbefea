//! The lists of a SELECT: outputs and their names, positions, and keys of ORDER BY.

use datafusion::sql::sqlparser::ast::{self, SelectItem};

use crate::compile::{Compiler, Result, fold, numeric_constant, settle};
use crate::error::refuse;
use crate::expr::{Collation, Typed};
use crate::query::OrderKey;
use crate::verified;

/// The SELECT list: names and expressions.
///
/// # Errors
/// When an expression is not on the verified list.
pub fn outputs(items: &[SelectItem], compiler: &mut Compiler<'_>) -> Result<Vec<(String, Typed)>> {
    let mut outputs = Vec::with_capacity(items.len());
    for item in items {
        match item {
            SelectItem::UnnamedExpr(expr) => outputs.push((column_name(expr), settle(compiler.compile(expr)?)?)),
            SelectItem::ExprWithAlias { expr, alias } => outputs.push((fold(alias), settle(compiler.compile(expr)?)?)),
            SelectItem::Wildcard(options) if *options == ast::WildcardAdditionalOptions::default() => {
                outputs.extend(compiler.scope.columns.iter().map(|column| (column.name.clone(), column.typed.clone())));
            }
            SelectItem::QualifiedWildcard(ast::SelectItemQualifiedWildcardKind::ObjectName(name), options)
                if *options == ast::WildcardAdditionalOptions::default() =>
            {
                let [ast::ObjectNamePart::Identifier(ident)] = name.0.as_slice() else { refuse!("{item} in SELECT") };
                let relation = fold(ident);
                let own = compiler.scope.columns.iter().filter(|column| column.relation == relation);
                let before = outputs.len();
                outputs.extend(own.map(|column| (column.name.clone(), column.typed.clone())));
                if outputs.len() == before {
                    refuse!("{item} in SELECT");
                }
            }
            other => refuse!("{other} in SELECT"),
        }
    }
    if outputs.is_empty() {
        refuse!("SELECT of no columns");
    }
    Ok(outputs)
}

/// The name that PostgreSQL gives a column without alias, where it is simple.
fn column_name(expr: &ast::Expr) -> String {
    match expr {
        ast::Expr::Identifier(ident) => fold(ident),
        ast::Expr::CompoundIdentifier(idents) => idents.last().map(fold).unwrap_or_default(),
        ast::Expr::Nested(inner) | ast::Expr::Collate { expr: inner, .. } => column_name(inner),
        ast::Expr::Cast { expr: inner, data_type, .. } => match column_name(inner).as_str() {
            "?column?" | "case" => crate::type_names::type_of(data_type)
                .map_or_else(|_| "?column?".to_owned(), |(ty, _)| crate::type_names::short_name(ty).to_owned()),
            name => name.to_owned(),
        },
        ast::Expr::Function(function) => {
            function.name.0.last().and_then(|part| part.as_ident()).map(fold).unwrap_or_default()
        }
        ast::Expr::Case { else_result: Some(otherwise), .. } => match column_name(otherwise).as_str() {
            "?column?" => "case".to_owned(),
            name => name.to_owned(),
        },
        ast::Expr::Case { .. } => "case".to_owned(),
        ast::Expr::Value(ast::ValueWithSpan { value: ast::Value::Boolean(_), .. }) => "bool".to_owned(),
        _ => "?column?".to_owned(),
    }
}

/// Without parentheses, which mean nothing in ORDER BY and GROUP BY.
pub fn bare(ast: &ast::Expr) -> &ast::Expr {
    match ast {
        ast::Expr::Nested(inner) => bare(inner),
        other => other,
    }
}

/// The output that an integer literal names by its position.
pub fn position(ast: &ast::Expr, outputs: &[(String, Typed)]) -> Result<Option<usize>> {
    if let Some(digits) = numeric_constant(ast) {
        return match digits.parse::<usize>().ok().and_then(|number| number.checked_sub(1)) {
            Some(output) if output < outputs.len() => Ok(Some(output)),
            _ => refuse!("position {digits} is not in the select list"),
        };
    }
    if matches!(ast, ast::Expr::Value(ast::ValueWithSpan { value, .. }) if !matches!(value, ast::Value::Placeholder(_)))
    {
        refuse!("the constant {ast} in ORDER BY or GROUP BY");
    }
    Ok(None)
}

/// The output of this name.
pub fn output_named(name: &str, outputs: &[(String, Typed)]) -> Result<Option<usize>> {
    let mut found = outputs.iter().enumerate().filter(|(_, (output, _))| output == name);
    let Some((first, (_, typed))) = found.next() else { return Ok(None) };
    if found.any(|(_, (_, other))| !other.expr.is_same(&typed.expr)) {
        refuse!("\"{name}\" is ambiguous");
    }
    Ok(Some(first))
}

/// ORDER BY: positions, names of outputs, and expressions.
///
/// # Errors
/// When something in it is not on the verified list, or has no order here.
pub fn order_keys(
    keys: &[ast::OrderByExpr],
    compiler: &mut Compiler<'_>,
    outputs: &[(String, Typed)],
) -> Result<Vec<OrderKey>> {
    let mut order = Vec::with_capacity(keys.len());
    for key in keys {
        if key.with_fill.is_some() {
            refuse!("{key}");
        }
        let named = match (position(bare(&key.expr), outputs)?, bare(&key.expr)) {
            (None, ast::Expr::Identifier(ident)) => output_named(&fold(ident), outputs)?,
            (position, _) => position,
        };
        let typed = match named {
            Some(output) => outputs[output].1.clone(),
            None => settle(compiler.compile(&key.expr)?)?,
        };
        check_grouped([&typed], "ORDER BY")?;
        let output = named.or_else(|| outputs.iter().position(|(_, output)| output.expr.is_same(&typed.expr)));
        let descending = key.options.asc == Some(false);
        let nulls_first = key.options.nulls_first.unwrap_or(descending);
        order.push(OrderKey { expr: typed.expr, ty: typed.ty, output, descending, nulls_first });
    }
    Ok(order)
}

/// Whether values of these can be compared here.
///
/// # Errors
/// When they cannot.
pub fn check_grouped<'a>(keys: impl IntoIterator<Item = &'a Typed>, clause: &str) -> Result<()> {
    for key in keys {
        if key.opaque || !verified::is_ordered(key.ty) {
            refuse!("{clause} a column of type {}, or one that is only passed on", key.ty.oid());
        }
        if key.collation == Collation::Other {
            refuse!("{clause} text in a collation that does not compare bytes");
        }
    }
    Ok(())
}
