//! FROM: relations, derived tables and joins.

use super::outputs::rename;
use super::scope::{Columns, Item, ScopeId};
use super::walk::Walker;
use super::{Occurrence, Qualifier};
use crate::names::{Found, Target};
use crate::plan::KeySource;
use crate::syntax::{ExprKind, FromItem, JoinCondition, JoinKind, OtherName, TableRef};

/// A FROM clause's joins: which occurrences are on which side.
pub(super) enum Joined<'t, 'a> {
    Leaf(std::ops::Range<usize>),
    Join {
        kind: JoinKind,
        left: Box<Joined<'t, 'a>>,
        right: Box<Joined<'t, 'a>>,
        condition: &'t JoinCondition<'a>,
        occurrences: std::ops::Range<usize>,
    },
}

impl Joined<'_, '_> {
    pub fn occurrences(&self) -> std::ops::Range<usize> {
        match self {
            Joined::Leaf(range) | Joined::Join { occurrences: range, .. } => range.clone(),
        }
    }
}

impl<'f, 't, 'a> Walker<'f, 't, 'a> {
    /// Registers a FROM item and everything in it. `outer` is what its non-lateral subqueries can refer to.
    pub(super) fn walk_from(
        &mut self,
        item: &'t FromItem<'a>,
        scope: ScopeId,
        outer: Option<ScopeId>,
        block: usize,
    ) -> Joined<'t, 'a> {
        let first = self.analysis.occurrences.len();
        match item {
            FromItem::Table(table) => {
                table.sample_exprs.iter().for_each(|expr| self.expr(expr, scope));
                return self.table(table, scope, block);
            }
            FromItem::Query { lateral, query, alias, .. } => {
                let outputs = self.query(query, if *lateral { Some(scope) } else { outer }, Some(block));
                let columns = alias.as_ref().map_or(&[][..], |alias| &alias.columns);
                let name = alias.as_ref().and_then(|alias| alias.name.as_ref()).map_or("", |name| name.name.as_ref());
                let columns = rename(outputs, columns).map_or(Columns::Opaque, Columns::Derived);
                self.analysis.scopes[scope].items.push(Item { name: name.into(), columns });
            }
            FromItem::Function { exprs, alias, .. } => {
                self.analysis.row_sources.extend(exprs.iter().map(|expr| expr.span.start));
                exprs.iter().for_each(|expr| self.expr(expr, scope));
                let name = match alias.as_ref().and_then(|alias| alias.name.as_ref()) {
                    Some(name) => name.name.as_ref(),
                    None => match exprs.first().map(|expr| &expr.kind) {
                        Some(ExprKind::Call(call)) => call.name.last(),
                        Some(ExprKind::Other { name: OtherName::Fixed(name), .. }) => name,
                        _ => "",
                    },
                };
                self.analysis.scopes[scope].items.push(Item { name: name.into(), columns: Columns::Opaque });
            }
            FromItem::Join { kind, left, right, condition, alias } => {
                let items = self.analysis.scopes[scope].items.len();
                let left = Box::new(self.walk_from(left, scope, outer, block));
                let right = Box::new(self.walk_from(right, scope, outer, block));
                if matches!(condition, JoinCondition::Using(_) | JoinCondition::Natural) {
                    let scope = &mut self.analysis.scopes[scope];
                    scope.merges = true;
                    scope.merges_full |= *kind == JoinKind::Full || *kind == JoinKind::Right;
                    self.analysis.natural |= matches!(condition, JoinCondition::Natural);
                }
                if let JoinCondition::On(expr) = condition {
                    self.expr(expr, scope);
                }
                if let Some(name) = alias.as_ref().and_then(|alias| alias.name.as_ref()) {
                    if !matches!(condition, JoinCondition::Using(_))
                        || alias.as_ref().is_some_and(|alias| !alias.columns.is_empty())
                    {
                        // The join's alias hides the names below it.
                        self.analysis.scopes[scope].items.truncate(items);
                    }
                    self.analysis.scopes[scope]
                        .items
                        .push(Item { name: name.name.as_ref().into(), columns: Columns::Opaque });
                    // A star under this name means all of them.
                    self.analysis.occurrences[first..].iter_mut().for_each(|occurrence| occurrence.starred = true);
                }
                return Joined::Join {
                    kind: *kind,
                    left,
                    right,
                    condition,
                    occurrences: first..self.analysis.occurrences.len(),
                };
            }
        }
        Joined::Leaf(first..self.analysis.occurrences.len())
    }

    /// A relation in FROM: a CTE, or a relation of the catalog.
    pub(super) fn table(&mut self, table: &'t TableRef<'a>, scope: ScopeId, block: usize) -> Joined<'t, 'a> {
        let first = self.analysis.occurrences.len();
        if let [single] = table.name.parts.as_slice()
            && let Some(position) = self.ctes.iter().rposition(|entry| entry.name == single.name)
        {
            let entry = &self.ctes[position];
            for (query, _, visible) in &self.open {
                if *visible > position {
                    self.analysis.queries[*query].outer_cte = true;
                }
            }
            self.cte_uses[entry.id] += 1;
            let columns = match &entry.outputs {
                Some(outputs) => {
                    let mut outputs = outputs.clone();
                    outputs.iter_mut().filter_map(|output| output.key.as_mut()).for_each(|key| key.ctes.push(entry.id));
                    let renames = table.alias.as_ref().map_or(&[][..], |alias| &alias.columns);
                    rename(Some(outputs), renames).map_or(Columns::Opaque, Columns::Derived)
                }
                None => Columns::Opaque,
            };
            self.analysis.scopes[scope].items.push(Item { name: table.visible_name().into(), columns });
            return Joined::Leaf(first..first);
        }
        let occurrence = self.occurrence(table, block, false);
        let entry = &self.analysis.occurrences[occurrence];
        let renamed = table.alias.as_ref().map_or(&[][..], |alias| &alias.columns);
        let known = entry.relation.is_some() || (entry.distributed().is_some() && renamed.is_empty());
        let columns =
            if known { Columns::Base { occurrence, aliased: table.alias.is_some(), renamed } } else { Columns::Opaque };
        self.analysis.scopes[scope].items.push(Item { name: table.visible_name().into(), columns });
        Joined::Leaf(first..first + 1)
    }

    pub(super) fn occurrence(&mut self, table: &'t TableRef<'a>, block: usize, written: bool) -> usize {
        let Found { full, target, relation } = self.facts.find_relation(&table.name);
        let occurrence = self.analysis.occurrences.len();
        let parts = &table.name.parts;
        if let Some(last) = parts.last()
            && parts.len() > 1
        {
            let span = crate::scan::Span { start: parts[0].span.start, end: last.span.start };
            self.analysis.qualifiers.push(Qualifier { span, table: last.span, occurrence });
            if parts.len() > 2 {
                self.analysis
                    .database_names
                    .push(crate::scan::Span { start: parts[0].span.start, end: parts[1].span.start });
            }
        }
        let keyless = matches!(target, Target::Distributed { key, .. } if key.is_none());
        self.analysis.occurrences.push(Occurrence {
            table,
            full,
            target,
            relation,
            block,
            written,
            nullable: false,
            outer_joined: false,
            starred: false,
            unread: false,
            pins: keyless.then(|| vec![KeySource::Whole]),
        });
        occurrence
    }
}
