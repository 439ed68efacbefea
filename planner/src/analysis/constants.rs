//! Expressions with one value for a whole statement, and what output columns are named after.

use super::walk::Walker;
use crate::catalog::Volatility;
use crate::names::{Effect, Routine};
use crate::syntax::{Expr, ExprKind, SelectItem};

impl<'t, 'a> Walker<'_, 't, 'a> {
    /// Whether the catalog database has to be asked for part of an expression's value.
    pub(super) fn asks_catalog(&self, expr: &Expr<'a>) -> bool {
        expr.any(&mut |expr| match &expr.kind {
            ExprKind::Cast { target, .. } => is_reg_type(&target.name),
            ExprKind::Call(call) => {
                matches!(self.facts.find_function(&call.name), Routine::BuiltIn(built_in) if built_in.effect == Effect::Catalog)
            }
            _ => false,
        })
    }

    /// Whether an expression has one value for the whole statement, which needs nothing but the catalog.
    pub(super) fn is_constant(&self, expr: &Expr<'a>) -> bool {
        !expr.has_subquery()
            && !expr.any(&mut |expr| match &expr.kind {
                ExprKind::Column(_) | ExprKind::Star(_) | ExprKind::Parameter(_) | ExprKind::Default => true,
                ExprKind::Call(call) => match self.facts.find_function(&call.name) {
                    Routine::BuiltIn(built_in) => {
                        built_in.volatility == Volatility::Volatile
                            || built_in.aggregate
                            || call.over.is_some()
                            || !matches!(built_in.effect, Effect::None | Effect::Catalog)
                            || crate::marks::clock(self.sql, call, false).is_some()
                    }
                    Routine::User { .. } => true,
                },
                _ => false,
            })
    }

    /// Notes what gives an output column its name.
    pub(super) fn note_name(&mut self, item: &'t SelectItem<'a>) {
        if item.alias.is_none()
            && let (Some(name), _) = crate::island::column_name(&item.expr)
        {
            if let Some(call) = crate::island::naming_call(&item.expr) {
                self.analysis.namers.insert(crate::marks::span_of(call), call.name.last().to_owned());
            }
            self.analysis.namers.insert(item.expr.span, name);
        }
    }
}

pub(super) fn is_reg_type(name: &str) -> bool {
    matches!(
        name,
        "regclass"
            | "regproc"
            | "regprocedure"
            | "regoper"
            | "regoperator"
            | "regtype"
            | "regnamespace"
            | "regrole"
            | "regconfig"
            | "regdictionary"
            | "regcollation"
    )
}
