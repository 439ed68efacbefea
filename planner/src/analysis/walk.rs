//! The walk itself: statements, CTEs, queries and their blocks.

use std::collections::HashMap;
use std::ops::Range;

use super::facts::Pin;
use super::outputs::{Outputs, has_window, rename, strip_keys, unite};
use super::scope::{Output, Scope, ScopeId};
use super::{Analysis, BlockFacts, Flow, QueryFacts};
use crate::Facts;
use crate::directory::ColocationId;
use crate::names::Target;
use crate::syntax::{Body, Distinct, ExprKind, LimitCount, Query, Select, Statement, With};

pub(super) struct CteEntry<'t, 'a> {
    pub name: &'t str,
    pub id: usize,
    pub outputs: Outputs<'a>,
}

pub(super) struct Walker<'f, 't, 'a> {
    pub facts: Facts<'f>,
    pub sql: &'a str,
    pub analysis: Analysis<'f, 't, 'a>,
    /// The query that is about to be walked is EXISTS's own.
    pub exists: bool,
    pub pins: Vec<Pin>,
    pub flows: Vec<(Flow, Vec<usize>)>,
    pub ctes: Vec<CteEntry<'t, 'a>>,
    /// How often each CTE is named, by its id.
    pub cte_uses: Vec<usize>,
    /// The tables that each CTE, of those that only read, names.
    cte_tables: HashMap<usize, Range<usize>>,
    /// The queries being walked: position among the analysis's queries, first scope, CTEs visible before.
    pub open: Vec<(usize, ScopeId, usize)>,
    /// Output columns of subqueries in expressions, by address.
    pub outputs: HashMap<usize, Outputs<'a>>,
}

impl<'f, 't, 'a> Walker<'f, 't, 'a> {
    pub fn new(facts: Facts<'f>, sql: &'a str) -> Self {
        Self {
            facts,
            sql,
            analysis: Analysis::default(),
            pins: Vec::new(),
            flows: Vec::new(),
            ctes: Vec::new(),
            cte_uses: Vec::new(),
            cte_tables: HashMap::new(),
            open: Vec::new(),
            outputs: HashMap::new(),
            exists: false,
        }
    }

    pub fn finish(mut self) -> Analysis<'f, 't, 'a> {
        let once = |ctes: &[usize], uses: &[usize]| ctes.iter().all(|cte| uses[*cte] <= 1);
        for (flow, ctes) in std::mem::take(&mut self.flows) {
            if once(&ctes, &self.cte_uses) {
                self.analysis.flows.push(flow);
            }
        }
        self.join_keyless();
        for (id, tables) in &self.cte_tables {
            if self.cte_uses[*id] == 0 {
                self.analysis.occurrences[tables.clone()].iter_mut().for_each(|occurrence| occurrence.unread = true);
            }
        }
        for pin in std::mem::take(&mut self.pins) {
            if once(&pin.ctes, &self.cte_uses) {
                self.analysis.occurrences[pin.occurrence].pin(&pin.keys);
            }
        }
        // Each pass carries pins one flow further.
        for _ in 0..=self.analysis.flows.len() {
            let mut changed = false;
            for index in 0..self.analysis.flows.len() {
                let flow = self.analysis.flows[index];
                if !flow.locality_only
                    && let Some(keys) = self.analysis.occurrences[flow.from].pins.clone()
                {
                    changed |= self.analysis.occurrences[flow.to].pin(&keys);
                }
            }
            if !changed {
                break;
            }
        }
        self.analysis
    }

    /// Tables of one distributed schema are together, whatever a statement says of them.
    fn join_keyless(&mut self) {
        let mut last: HashMap<ColocationId, usize> = HashMap::new();
        for (index, occurrence) in self.analysis.occurrences.iter().enumerate() {
            let Target::Distributed { colocation, key } = occurrence.target else { continue };
            if !key.is_none() {
                continue;
            }
            if let Some(other) = last.insert(colocation, index) {
                for (from, to) in [(other, index), (index, other)] {
                    self.analysis.flows.push(Flow { from, to, locality_only: false });
                }
            }
        }
    }

    pub fn scope(&mut self, parent: Option<ScopeId>) -> ScopeId {
        self.analysis.scopes.push(Scope { parent, ..Scope::default() });
        self.analysis.scopes.len() - 1
    }

    pub(super) fn block(&mut self, parent: Option<usize>) -> usize {
        self.analysis.blocks.push(BlockFacts {
            inner: Vec::new(),
            parent,
            selection: None,
            scope: 0,
            plain: false,
            preserves_undistributed: false,
        });
        self.analysis.blocks.len() - 1
    }

    pub fn statement(&mut self, statement: &'t Statement<'a>, block: Option<usize>) -> Outputs<'a> {
        match statement {
            Statement::Query(query) => self.query(query, None, block),
            Statement::Insert(insert) => self.insert(insert, block),
            Statement::Update(update) => self.update(update, block),
            Statement::Delete(delete) => self.delete(delete, block),
            Statement::Merge(merge) => self.merge(merge, block),
        }
    }

    /// CTEs, whose names may also mean those of the scope `parent`.
    pub(super) fn with(&mut self, with: Option<&'t With<'a>>, parent: Option<ScopeId>, block: Option<usize>) {
        let Some(with) = with else { return };
        self.analysis.with = true;
        for cte in &with.ctes {
            let id = self.cte_uses.len();
            self.cte_uses.push(0);
            let first = self.analysis.occurrences.len();
            if with.recursive {
                self.ctes.push(CteEntry { name: cte.name.name.as_ref(), id, outputs: None });
            }
            let inner = Some(block.unwrap_or(usize::MAX));
            let mut outputs = match &cte.statement {
                Statement::Query(query) => self.query(query, parent, inner),
                statement => self.statement(statement, inner),
            };
            if matches!(cte.statement, Statement::Query(_)) {
                self.cte_tables.insert(id, first..self.analysis.occurrences.len());
            }
            if with.recursive {
                let recursive = std::mem::take(&mut self.cte_uses[id]) > 0;
                self.ctes.pop();
                if recursive {
                    outputs = None;
                }
            }
            if !matches!(cte.statement, Statement::Query(_)) {
                self.analysis.modifying_cte = true;
                outputs = None;
            }
            let outputs = rename(outputs, &cte.columns);
            self.ctes.push(CteEntry { name: cte.name.name.as_ref(), id, outputs });
        }
    }

    /// Walks a query whose names may also mean those of the scope `parent`.
    pub fn query(&mut self, query: &'t Query<'a>, parent: Option<ScopeId>, block: Option<usize>) -> Outputs<'a> {
        let visible = self.ctes.len();
        let blocks = self.analysis.blocks.len();
        let own = self.analysis.queries.len();
        self.open.push((own, self.analysis.scopes.len(), visible));
        self.analysis.queries.push(QueryFacts {
            query,
            select: None,
            occurrences: self.analysis.occurrences.len()..self.analysis.occurrences.len(),
            correlated: false,
            outer_cte: false,
        });
        self.with(query.with.as_ref(), parent, block);
        let (mut outputs, scope) = match &query.body {
            Body::Select(select) => {
                let next = self.analysis.blocks.len();
                let (outputs, scope) = self.select(select, parent, block);
                self.analysis.queries[own].select = Some((next, scope));
                (outputs, scope)
            }
            Body::Values { rows } => {
                let scope = self.scope(parent);
                for expr in rows.iter().flatten() {
                    self.expr(expr, scope);
                }
                let count = rows.first().map_or(0, Vec::len);
                let output = |index: usize| Output { name: Some(format!("column{}", index + 1).into()), key: None };
                (Some((0..count).map(output).collect()), scope)
            }
            Body::Table(table) => {
                let scope = self.scope(parent);
                let block = self.block(block);
                let leaf = self.table(table, scope, block);
                let outputs = self.star_outputs(scope, None);
                self.star(None, scope);
                let _ = leaf;
                (outputs, scope)
            }
            Body::SetOperation { left, right, .. } => {
                let left = self.query(left, parent, Some(block.unwrap_or(usize::MAX)));
                let right = self.query(right, parent, Some(block.unwrap_or(usize::MAX)));
                (unite(left, right), self.scope(parent))
            }
            Body::Nested(inner) => (self.query(inner, parent, block), self.scope(parent)),
        };
        for item in &query.order_by {
            self.expr(&item.expr, scope);
        }
        if let Some(limit) = &query.limit
            && let LimitCount::Expr(expr) = &limit.count
        {
            self.expr(expr, scope);
        }
        if let Some(offset) = &query.offset {
            self.expr(offset, scope);
        }
        if let Some(span) = query.locks.first() {
            self.analysis.lock = Some(*span);
        }
        if query.limit.is_some() || query.offset.is_some() {
            strip_keys(&mut outputs);
        }
        let limits = query.limit.is_some() || query.offset.is_some() || query.with.is_some() || !query.locks.is_empty();
        if limits || matches!(query.body, Body::SetOperation { .. } | Body::Values { .. }) {
            self.analysis.blocks[blocks..].iter_mut().for_each(|block| block.plain = false);
        }
        self.ctes.truncate(visible);
        self.open.pop();
        self.analysis.queries[own].occurrences.end = self.analysis.occurrences.len();
        outputs
    }

    fn select(
        &mut self,
        select: &'t Select<'a>,
        parent: Option<ScopeId>,
        outer: Option<usize>,
    ) -> (Outputs<'a>, ScopeId) {
        let block = self.block(outer);
        let scope = self.scope(parent);
        // Of EXISTS, only whether there is a row counts.
        let unread = std::mem::take(&mut self.exists) && select.group_by.is_none() && select.distinct.is_none();
        let joined: Vec<_> = select.from.iter().map(|item| self.walk_from(item, scope, parent, block)).collect();
        if let Some(into) = select.into {
            self.analysis.into = Some(into);
        }
        for item in &select.items {
            self.note_name(item);
            if !(unread && matches!(item.expr.kind, ExprKind::Star(_))) {
                self.expr(&item.expr, scope);
            }
        }
        let lists = [select.selection.as_ref(), select.having.as_ref()];
        for expr in lists.into_iter().flatten() {
            self.expr(expr, scope);
        }
        if let Some(group) = &select.group_by {
            group.exprs.iter().for_each(|expr| self.expr(expr, scope));
        }
        if let Some(Distinct::On(exprs)) = &select.distinct {
            exprs.iter().for_each(|expr| self.expr(expr, scope));
        }
        for (_, window) in &select.windows {
            window.exprs(&mut |expr| self.expr(expr, scope));
        }
        self.block_facts(joined, select.selection.as_ref(), scope, block);
        let grouped = self.is_grouped(select);
        self.analysis.blocks[block].plain = !grouped && select.distinct.is_none() && !has_window(select);
        let outputs = self.select_outputs(select, scope, grouped);
        (outputs, scope)
    }
}
