//! Expressions: the columns, functions and subqueries in them.

use super::constants::is_reg_type;
use super::scope::{Columns, KeyTerm, Resolved, SYSTEM_COLUMNS, ScopeId};
use super::walk::Walker;
use super::{FunctionUse, Qualifier};
use crate::names::{Effect, Routine};
use crate::syntax::{Body, Child, Expr, ExprKind, Name, OtherName, Query};

impl<'f, 't, 'a> Walker<'f, 't, 'a> {
    /// Walks an expression: its columns, functions and subqueries.
    pub fn expr(&mut self, expr: &'t Expr<'a>, scope: ScopeId) {
        match &expr.kind {
            ExprKind::Column(name) => self.column(name, scope),
            ExprKind::Star(name) => self.star(name.as_ref(), scope),
            ExprKind::Parameter(index) => self.analysis.parameters = self.analysis.parameters.max(index + 1),
            ExprKind::Cast { target, .. } => {
                let constant = self.asks_catalog(expr) && self.is_constant(expr);
                if constant {
                    self.analysis.catalog_values.push(expr.span);
                }
                self.analysis.catalog_cast |= !constant && is_reg_type(&target.name);
            }
            ExprKind::Call(call) => {
                let routine = self.facts.find_function(&call.name);
                if matches!(&routine, Routine::BuiltIn(built_in) if built_in.effect == Effect::Catalog)
                    && self.is_constant(expr)
                    && !self.analysis.row_sources.contains(&expr.span.start)
                {
                    self.analysis.catalog_values.push(expr.span);
                }
                self.analysis.functions.push(FunctionUse { call, routine });
            }
            ExprKind::Other { name: OtherName::Fixed("*"), .. } => self.analysis.stars = true,
            _ => {}
        }
        let mut queries: Vec<&'t Query<'a>> = Vec::new();
        let mut exprs: Vec<&'t Expr<'a>> = Vec::new();
        expr.children(&mut |child| match child {
            Child::Expr(expr) => exprs.push(expr),
            Child::Query(query) => queries.push(query),
        });
        exprs.into_iter().for_each(|child| self.expr(child, scope));
        for query in queries {
            self.exists = matches!(expr.kind, ExprKind::Exists(_))
                && matches!(query.body, Body::Select(_))
                && query.with.is_none();
            let outputs = self.query(query, Some(scope), Some(usize::MAX));
            self.outputs.insert(std::ptr::from_ref(query).addr(), outputs);
        }
        if let ExprKind::InQuery { operand, query, .. }
        | ExprKind::QuantifiedQuery { equal: true, any: true, operand, query } = &expr.kind
        {
            self.membership(operand, query, scope);
        }
    }

    /// `*`, or `t.*`: all columns of the tables that it stands for. Those of derived tables and CTEs are named, or starred, in them.
    pub(super) fn star(&mut self, name: Option<&'t Name<'a>>, scope: ScopeId) {
        let mut next = Some(scope);
        while let Some(id) = next {
            let here = &self.analysis.scopes[id];
            let meant = here.items.iter().filter(|item| name.is_none_or(|name| name.last() == item.name));
            let mut found = false;
            let mut tables = Vec::new();
            for item in meant {
                found = true;
                if let Columns::Base { occurrence, .. } = item.columns {
                    tables.push(occurrence);
                }
            }
            next = here.parent.filter(|_| !found && name.is_some());
            for occurrence in tables {
                self.analysis.occurrences[occurrence].starred = true;
            }
        }
    }

    fn column(&mut self, name: &'t Name<'a>, scope: ScopeId) {
        if name.parts.len() >= 3 {
            self.qualified_column(name, scope);
        }
        let (resolved, depth) = self.resolve(name, scope);
        self.note_reference(scope, depth);
        let span = name.span();
        if let Resolved::WholeRow { .. } = resolved {
            self.analysis.whole_row = Some(span);
        }
        let column = name.last();
        if SYSTEM_COLUMNS.contains(&column) {
            let table = name.parts.len().checked_sub(2).map(|index| name.parts[index].name.as_ref());
            let items = &self.analysis.scopes[scope].items;
            let system = items.iter().any(|item| {
                table.is_none_or(|table| table == item.name)
                    && matches!(&item.columns, Columns::Base { occurrence, .. }
                        if self.analysis.occurrences[*occurrence].distributed().is_some())
            });
            let parent = self.analysis.scopes[scope].parent;
            if system {
                self.analysis.system_column = Some(span);
            } else if let (Resolved::Unknown, Some(parent)) = (resolved, parent) {
                self.column(name, parent);
            }
        }
    }

    /// `public.t.a`: where the schema's name stands, so that it can be replaced.
    fn qualified_column(&mut self, name: &'t Name<'a>, scope: ScopeId) {
        let mut next = Some(scope);
        while let Some(id) = next {
            for item in &self.analysis.scopes[id].items {
                let Columns::Base { occurrence, aliased: false, .. } = item.columns else { continue };
                for table in 1..name.parts.len() - 1 {
                    let entry = &self.analysis.occurrences[occurrence];
                    if name.parts[table].name == item.name && name.parts[table - 1].name == entry.full.schema {
                        let span =
                            crate::scan::Span { start: name.parts[0].span.start, end: name.parts[table].span.start };
                        if table > 1 {
                            let database = crate::scan::Span { start: span.start, end: name.parts[1].span.start };
                            self.analysis.database_names.push(database);
                        }
                        let table = name.parts[table].span;
                        self.analysis.qualifiers.push(Qualifier { span, table, occurrence });
                        return;
                    }
                }
            }
            next = self.analysis.scopes[id].parent;
        }
    }

    /// Notes that a name was found in a scope: queries that began later refer to their outside.
    fn note_reference(&mut self, from: ScopeId, depth: usize) {
        let mut found = from;
        for _ in 0..depth {
            match self.analysis.scopes[found].parent {
                Some(parent) => found = parent,
                None => break,
            }
        }
        for (query, first, _) in &self.open {
            if *first > found {
                self.analysis.queries[*query].correlated = true;
            }
        }
    }

    /// What a column's name refers to, and how many scopes outside.
    pub fn resolve(&self, name: &Name<'_>, scope: ScopeId) -> (Resolved, usize) {
        self.analysis.resolve(name, scope)
    }

    /// The distribution key that an expression is, if it is one.
    pub fn key_term(&self, expr: &Expr<'a>, scope: ScopeId) -> Option<KeyTerm> {
        self.key_term_at(expr, scope).map(|(term, _)| term)
    }

    pub fn key_term_at(&self, expr: &Expr<'a>, scope: ScopeId) -> Option<(KeyTerm, usize)> {
        self.analysis.key_term_at(expr, scope)
    }
}
