//! The walk over INSERT, UPDATE, DELETE and MERGE.

use super::facts::Side;
use super::from::Joined;
use super::keys::assigned_constant;
use super::outputs::Outputs;
use super::scope::{Columns, Item, ScopeId};
use super::walk::Walker;
use crate::syntax::{
    Assignment, Delete, Insert, InsertSource, MergeInto, OnConflict, Returning, SelectItem, TableRef, Update,
};

impl<'t, 'a> Walker<'_, 't, 'a> {
    /// The table that a statement changes, as an item of the scope.
    fn target(&mut self, table: &'t TableRef<'a>, scope: ScopeId, block: usize) -> usize {
        let occurrence = self.occurrence(table, block, true);
        let columns = Columns::Base { occurrence, aliased: table.alias.is_some(), renamed: &[] };
        self.analysis.scopes[scope].items.push(Item { name: table.visible_name().into(), columns });
        occurrence
    }

    fn assignments(&mut self, assignments: &'t [Assignment<'a>], target: usize, scope: ScopeId) {
        for assignment in assignments {
            self.expr(&assignment.value, scope);
            self.analysis.assignments.push((target, assignment));
        }
    }

    fn items(&mut self, items: &'t [SelectItem<'a>], scope: ScopeId) {
        for item in items {
            self.note_name(item);
            self.expr(&item.expr, scope);
        }
    }

    fn returning(&mut self, returning: Option<&'t Returning<'a>>, scope: ScopeId) {
        if let Some(returning) = returning {
            self.items(&returning.items, scope);
        }
    }

    pub(super) fn update(&mut self, update: &'t Update<'a>, outer: Option<usize>) -> Outputs<'a> {
        let visible = self.ctes.len();
        self.with(update.with.as_ref(), None, outer);
        let (block, scope) = (self.block(outer), self.scope(None));
        let target = self.target(&update.target, scope, block);
        let mut joined = vec![Joined::Leaf(target..target + 1)];
        joined.extend(update.from.iter().map(|item| self.walk_from(item, scope, None, block)));
        self.assignments(&update.assignments, target, scope);
        if let Some(selection) = &update.selection {
            self.expr(selection, scope);
        }
        self.returning(update.returning.as_ref(), scope);
        self.block_facts(joined, update.selection.as_ref(), scope, block);
        self.ctes.truncate(visible);
        None
    }

    pub(super) fn delete(&mut self, delete: &'t Delete<'a>, outer: Option<usize>) -> Outputs<'a> {
        let visible = self.ctes.len();
        self.with(delete.with.as_ref(), None, outer);
        let (block, scope) = (self.block(outer), self.scope(None));
        let target = self.target(&delete.target, scope, block);
        let mut joined = vec![Joined::Leaf(target..target + 1)];
        joined.extend(delete.using.iter().map(|item| self.walk_from(item, scope, None, block)));
        if let Some(selection) = &delete.selection {
            self.expr(selection, scope);
        }
        self.returning(delete.returning.as_ref(), scope);
        self.block_facts(joined, delete.selection.as_ref(), scope, block);
        self.ctes.truncate(visible);
        None
    }

    pub(super) fn insert(&mut self, insert: &'t Insert<'a>, outer: Option<usize>) -> Outputs<'a> {
        let visible = self.ctes.len();
        self.with(insert.with.as_ref(), None, outer);
        let (block, scope) = (self.block(outer), self.scope(None));
        let target = self.target(&insert.target, scope, block);
        let position = self.key_position(target, insert.columns.as_deref());
        self.analysis.inserts.push((target, insert));
        match &insert.source {
            InsertSource::DefaultValues => {}
            InsertSource::Values(rows) => {
                let values = self.scope(None);
                rows.iter().flat_map(|row| &row.values).for_each(|expr| self.expr(expr, values));
                self.pin_to_rows(target, position, rows.iter().map(|row| row.values.as_slice()));
            }
            InsertSource::Query(query) => {
                let outputs = self.query(query, None, Some(block));
                self.pin_to_query(target, position, query, outputs);
            }
        }
        let excluded = Item { name: "excluded".into(), columns: Columns::Opaque };
        if let Some(OnConflict { exprs, assignments }) = &insert.on_conflict {
            let inner = self.scope(Some(scope));
            self.analysis.scopes[inner].items.push(excluded);
            exprs.iter().for_each(|expr| self.expr(expr, inner));
            self.assignments(assignments, target, inner);
        }
        self.returning(insert.returning.as_ref(), scope);
        self.ctes.truncate(visible);
        None
    }

    pub(super) fn merge(&mut self, merge: &'t MergeInto<'a>, outer: Option<usize>) -> Outputs<'a> {
        let visible = self.ctes.len();
        self.with(merge.with.as_ref(), None, outer);
        let (block, scope) = (self.block(outer), self.scope(None));
        let target = self.target(&merge.target, scope, block);
        let source = self.walk_from(&merge.source, scope, None, block);
        self.expr(&merge.condition, scope);
        merge.exprs.iter().for_each(|expr| self.expr(expr, scope));
        self.assignments(&merge.assignments, target, scope);
        self.block_facts(vec![source], None, scope, block);
        // Rows of the target that match nothing stay as they are; rows of the source count only where unmatched ones are inserted.
        let side = if merge.inserts.is_empty() { Side::All } else { Side::Only(target..target + 1) };
        for conjunct in merge.condition.conjuncts() {
            self.conjunct(conjunct, scope, &side);
        }
        for (columns, values) in &merge.inserts {
            values.iter().for_each(|expr| self.expr(expr, scope));
            let position = self.key_position(target, if columns.is_empty() { None } else { Some(columns) });
            let value = position.and_then(|position| values.get(position));
            let source = value.and_then(|value| self.key_term(value, scope)).and_then(|term| term.single());
            let source = source.filter(|source| self.assigned_key(*source) == self.assigned_key(target));
            let keys = value
                .zip(self.assigned_key(target))
                .and_then(|(value, (key_type, typmod))| assigned_constant(self.sql, value, key_type, typmod));
            match (source, keys) {
                (Some(source), _) => self.analysis.merge_sources.push(source),
                (None, Some(keys)) => self.analysis.merge_keys.push((target, keys)),
                (None, None) => self.analysis.merge_unanchored = true,
            }
        }
        self.ctes.truncate(visible);
        None
    }
}
