//! A SELECT's output columns, stars expanded, named as PostgreSQL names them.

use super::Builder;
use crate::analysis::{Columns, ScopeId};
use crate::plan::Template;
use crate::quote_identifier;
use crate::statement::Context;
use crate::syntax::{Body, Call, Expr, ExprKind, Name, OtherName, Select};

/// An output column.
pub(crate) struct Output<'c, 'a> {
    /// Its name for the client.
    pub name: String,
    /// `None` when it comes from a star.
    pub expr: Option<&'c Expr<'a>>,
    star: Option<String>,
    pub bytewise: bool,
    oddly_collated: bool,
}

impl<'a> Output<'_, 'a> {
    pub fn is_comparable(&self, builder: &Builder<'_, '_, '_, 'a>) -> bool {
        !self.oddly_collated && self.expr.is_none_or(|expr| builder.is_comparable(expr))
    }

    pub fn text(&self, builder: &Builder<'_, '_, '_, 'a>) -> Template {
        match (&self.star, self.expr) {
            (Some(text), _) => Template::text(text.clone()),
            (None, Some(expr)) => builder.text(expr.span),
            (None, None) => Template::text("NULL"),
        }
    }
}

/// All output columns; `None` when a star's columns are not known.
pub(crate) fn outputs<'c, 'a>(
    context: &Context<'_, '_, '_>,
    select: &'c Select<'a>,
    scope: ScopeId,
) -> Option<Vec<Output<'c, 'a>>> {
    let mut outputs = Vec::with_capacity(select.items.len());
    for item in &select.items {
        match &item.expr.kind {
            ExprKind::Star(table) => star(context, scope, table.as_ref(), &mut outputs)?,
            ExprKind::Other { name: OtherName::Fixed("*"), .. } => return None,
            _ => {
                let name = match &item.alias {
                    Some(alias) => alias.name.to_string(),
                    None => column_name(&item.expr).0.unwrap_or_else(|| "?column?".to_owned()),
                };
                let bytewise = is_bytewise(context, scope, &item.expr);
                outputs.push(Output { name, expr: Some(&item.expr), star: None, bytewise, oddly_collated: false });
            }
        }
    }
    if outputs.is_empty() { None } else { Some(outputs) }
}

pub(super) fn is_bytewise(context: &Context<'_, '_, '_>, scope: ScopeId, expr: &Expr<'_>) -> bool {
    let column = match &expr.bare().kind {
        ExprKind::Column(name) => context.column(name, scope),
        _ => None,
    };
    column.map_or(context.facts.catalog.bytewise_collation, |column| column.bytewise_collation)
}

fn star(
    context: &Context<'_, '_, '_>,
    scope: ScopeId,
    table: Option<&Name<'_>>,
    outputs: &mut Vec<Output<'_, '_>>,
) -> Option<()> {
    let scope = &context.analysis.scopes[scope];
    if scope.merges && table.is_none() {
        // USING and NATURAL put merged columns first, once.
        return None;
    }
    let mut found = false;
    for item in &scope.items {
        if table.is_some_and(|table| table.last() != item.name) {
            continue;
        }
        found = true;
        let qualifier = quote_identifier(&item.name);
        let mut push = |name: &str, bytewise: bool, oddly_collated: bool| {
            let text = format!("{qualifier}.{}", quote_identifier(name));
            outputs.push(Output { name: name.to_owned(), expr: None, star: Some(text), bytewise, oddly_collated });
        };
        match &item.columns {
            Columns::Opaque => return None,
            Columns::Derived(columns) => {
                for column in columns {
                    push(column.name.as_deref()?, context.facts.catalog.bytewise_collation, false);
                }
            }
            Columns::Base { occurrence, renamed, .. } => {
                let relation = context.analysis.occurrences[*occurrence].relation?;
                for (index, column) in relation.columns.iter().enumerate() {
                    let name = renamed.get(index).map_or(column.name.as_str(), |alias| alias.name.as_ref());
                    push(name, column.bytewise_collation, context.is_oddly_collated(column));
                }
            }
        }
    }
    found.then_some(())
}

/// Whether the merge knows the outputs' types and collations as the shards' descriptions tell them: not of domains, which a description
/// gives as their base types, not of text with a collation of its own, and not of constants whose type depends on what surrounds them.
pub(super) fn keep_their_types(context: &Context<'_, '_, '_>, select: &Select<'_>, scope: ScopeId) -> bool {
    /// The first OID of users' own types.
    const USER_OID_MIN: u32 = 16384;
    let own_type =
        |column: &crate::catalog::Column| column.type_oid >= USER_OID_MIN || context.is_oddly_collated(column);
    select.items.iter().all(|item| {
        let fits = match &item.expr.bare().kind {
            ExprKind::String(_) | ExprKind::Null | ExprKind::Parameter(_) => false,
            ExprKind::Star(_) => context.analysis.scopes[scope].items.iter().all(|item| match item.columns {
                Columns::Base { occurrence, .. } => context.analysis.occurrences[occurrence]
                    .relation
                    .is_some_and(|relation| !relation.columns.iter().any(own_type)),
                _ => true,
            }),
            _ => true,
        };
        fits && !item.expr.any(&mut |expr| match &expr.kind {
            ExprKind::Column(name) => context.column(name, scope).is_some_and(own_type),
            _ => false,
        })
    })
}

/// The name PostgreSQL gives a column without alias, and how sure it is of it (`FigureColname` in its `parse_target.c`).
pub(crate) fn column_name(expr: &Expr<'_>) -> (Option<String>, u8) {
    let sure = |name: &str| (Some(name.to_owned()), 2);
    match &expr.kind {
        ExprKind::Nested(inner) => column_name(inner),
        ExprKind::Column(name) => sure(name.last()),
        ExprKind::Call(call) => sure(call.name.last()),
        ExprKind::Cast { operand, target } => match column_name(operand) {
            (Some(name), 2) => (Some(name), 2),
            _ => (Some(target.name.to_string()), 1),
        },
        ExprKind::Boolean => (Some("bool".to_owned()), 1),
        ExprKind::Exists(_) => sure("exists"),
        ExprKind::Array(_) | ExprKind::ArrayQuery(_) => sure("array"),
        ExprKind::Row(_) => sure("row"),
        ExprKind::Subquery(query) => match &query.body {
            Body::Select(select) => match select.items.first() {
                Some(item) => match &item.alias {
                    Some(alias) => sure(&alias.name),
                    None => column_name(&item.expr),
                },
                None => (None, 0),
            },
            Body::Values { .. } => sure("column1"),
            _ => (None, 0),
        },
        ExprKind::Other { name, operands } => match name {
            OtherName::None | OtherName::Between => (None, 0),
            OtherName::Fixed(name) => sure(name),
            OtherName::Field(name) => sure(name),
            OtherName::FirstOperand => operands.first().map_or((None, 0), |operand| column_name(operand)),
            OtherName::Case { has_else } => {
                let inner = operands.last().filter(|_| *has_else).map_or((None, 0), |last| column_name(last));
                if inner.1 == 2 { inner } else { (Some("case".to_owned()), 1) }
            }
        },
        _ => (None, 0),
    }
}

/// The call that [`column_name`] takes the name from.
pub(crate) fn naming_call<'t, 'a>(expr: &'t Expr<'a>) -> Option<&'t Call<'a>> {
    match &expr.kind {
        ExprKind::Nested(inner) => naming_call(inner),
        ExprKind::Call(call) => Some(call),
        ExprKind::Cast { operand, .. } => naming_call(operand),
        ExprKind::Other { name: OtherName::FirstOperand, operands } => operands.first().and_then(naming_call),
        ExprKind::Other { name: OtherName::Case { has_else: true }, operands } => operands.last().and_then(naming_call),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::Statement;

    #[test]
    fn names_are_postgresql_s() {
        for (expression, expected) in [
            ("1", "?column?"),
            ("a + b", "?column?"),
            ("t.a", "a"),
            ("count(*)", "count"),
            ("a::int", "a"),
            ("1::int", "int4"),
            ("'x'::timestamp with time zone", "timestamptz"),
            ("date '2020-01-01'", "date"),
            ("interval '1 day'", "interval"),
            ("CASE WHEN a THEN b END", "case"),
            ("CASE WHEN a THEN b ELSE c END", "c"),
            ("CASE WHEN a THEN b ELSE 1 END", "case"),
            ("coalesce(a, b)", "coalesce"),
            ("(SELECT max(x) FROM t)", "max"),
            ("EXISTS (SELECT 1)", "exists"),
            ("ARRAY[1]", "array"),
            ("a[1]", "a"),
            ("(a).b", "b"),
            ("true", "bool"),
            ("trim(a)", "btrim"),
            ("extract(year FROM a)", "extract"),
            ("a AT TIME ZONE 'UTC'", "timezone"),
            ("current_date", "current_date"),
            ("a IS NULL", "?column?"),
            ("NULLIF(a, b)", "nullif"),
            ("ROW(1, 2)", "row"),
            ("a COLLATE \"C\"", "a"),
            ("(a)", "a"),
            ("cast(a + 1 AS numeric(10, 2))", "numeric"),
            ("1::float(3)", "float4"),
            ("bpchar(3) 'a'", "bpchar"),
            ("COLLATION FOR (a)", "pg_collation_for"),
            ("treat(a AS int)", "int4"),
            ("normalize(a, NFC)", "normalize"),
            ("a IS NFC NORMALIZED", "is_normalized"),
            ("a IS NOT NORMALIZED", "?column?"),
            ("(a, b) OVERLAPS (c, d)", "overlaps"),
            ("a IS DOCUMENT", "?column?"),
            ("xmlelement(name b, a)", "xmlelement"),
            ("xmlforest(a)", "xmlforest"),
            ("xmlexists('b' PASSING a)", "xmlexists"),
            ("xmlserialize(content a AS text)", "xmlserialize"),
        ] {
            let sql = format!("SELECT {expression}");
            let statement = crate::parser::parse_statement(&sql, &crate::scan::tokens(&sql)).unwrap();
            let Statement::Query(query) = &statement else { panic!("{sql}") };
            let Body::Select(select) = &query.body else { panic!("{sql}") };
            let name = column_name(&select.items[0].expr).0.unwrap_or_else(|| "?column?".to_owned());
            assert_eq!(name, expected, "{expression}");
        }
    }
}
