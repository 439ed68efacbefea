//! What column names refer to.

use super::Analysis;
use super::scope::{Columns, Item, KeyTerm, Resolved, Scope, ScopeId, readings};
use crate::syntax::{Expr, ExprKind, Name};

impl<'t, 'a> Analysis<'_, 't, 'a> {
    /// The distribution key that an expression is, if it is one, and how many scopes outside.
    pub fn key_term_at(&self, expr: &Expr<'_>, scope: ScopeId) -> Option<(KeyTerm, usize)> {
        let ExprKind::Column(name) = &expr.bare().kind else { return None };
        match self.resolve(name, scope) {
            (Resolved::Base { occurrence, column }, depth) => {
                let (_, key) = self.occurrences[occurrence].distributed()?;
                (key.name == column).then(|| (KeyTerm::of(occurrence), depth))
            }
            (Resolved::Derived { key, .. }, depth) => key.map(|key| (key, depth)),
            _ => None,
        }
    }

    pub fn resolve(&self, name: &Name<'_>, scope: ScopeId) -> (Resolved, usize) {
        let readings = readings(name);
        let mut depth = 0;
        let mut next = Some(scope);
        while let Some(id) = next {
            let scope = &self.scopes[id];
            for reading in &readings {
                let found = match reading.table {
                    Some(table) => self.resolve_qualified(scope, reading.schema, table, reading.column),
                    None => self.resolve_bare(scope, reading.column),
                };
                if let Some(resolved) = found {
                    return (resolved, depth);
                }
            }
            next = scope.parent;
            depth += 1;
        }
        (Resolved::Unknown, depth)
    }

    fn resolve_qualified(
        &self,
        scope: &Scope<'t, 'a>,
        schema: Option<&str>,
        table: &str,
        column: &str,
    ) -> Option<Resolved> {
        let item = scope.items.iter().find(|item| {
            item.name == table
                && schema.is_none_or(|schema| {
                    matches!(&item.columns, Columns::Base { occurrence, aliased: false, .. }
                        if self.occurrences[*occurrence].full.schema == schema)
                })
        })?;
        Some(self.column_of(item, column).unwrap_or(Resolved::Unknown))
    }

    fn resolve_bare(&self, scope: &Scope<'t, 'a>, column: &str) -> Option<Resolved> {
        let mut found = scope.items.iter().filter_map(|item| self.column_of(item, column));
        if let Some(first) = found.next() {
            let several = found.next().is_some();
            let usable = !several || (scope.merges && !scope.merges_full);
            return Some(if usable { first } else { Resolved::Unknown });
        }
        if scope.items.iter().any(|item| matches!(item.columns, Columns::Opaque)) {
            return Some(Resolved::Unknown);
        }
        scope.items.iter().find(|item| item.name == column).map(|item| Resolved::WholeRow {
            occurrence: match item.columns {
                Columns::Base { occurrence, .. } => Some(occurrence),
                _ => None,
            },
        })
    }

    fn column_of(&self, item: &Item<'t, 'a>, column: &str) -> Option<Resolved> {
        match &item.columns {
            Columns::Opaque => None,
            Columns::Derived(outputs) => {
                let output = outputs.iter().find(|output| output.name.as_deref() == Some(column))?;
                Some(Resolved::Derived {
                    key: output.key.clone(),
                    name: output.name.as_ref().map(|name| name.to_string()),
                })
            }
            Columns::Base { occurrence, renamed, .. } => {
                let entry = &self.occurrences[*occurrence];
                let Some(relation) = entry.relation else {
                    let (_, key) = entry.distributed()?;
                    return (key.name == column)
                        .then(|| Resolved::Base { occurrence: *occurrence, column: column.to_owned() });
                };
                let position =
                    relation.columns.iter().enumerate().position(|(index, own)| match renamed.get(index) {
                        Some(alias) => alias.name == column,
                        None => own.name == column,
                    })?;
                Some(Resolved::Base { occurrence: *occurrence, column: relation.columns[position].name.clone() })
            }
        }
    }
}
