//! The walk itself: blocks, scopes, expressions, CTEs.

use std::collections::HashMap;
use std::ops::Range;

use super::constants::is_reg_type;
use super::facts::Pin;
use super::scope::{Columns, Item, KeyTerm, Output, Resolved, SYSTEM_COLUMNS, Scope, ScopeId};
use super::{Analysis, BlockFacts, Flow, FunctionUse, Occurrence, Qualifier, QueryFacts};
use crate::Facts;
use crate::catalog::FunctionKind;
use crate::directory::ColocationId;
use crate::names::{Effect, Found, Routine, Target};
use crate::plan::KeySource;
use crate::syntax::{
    Body, Child, Distinct, Expr, ExprKind, FromItem, Ident, JoinCondition, JoinKind, LimitCount, Name, OtherName,
    Query, Select, Statement, TableRef, With,
};

/// Output columns of a query; `None` when their names are not known.
pub(super) type Outputs<'a> = Option<Vec<Output<'a>>>;

pub(super) struct CteEntry<'t, 'a> {
    name: &'t str,
    id: usize,
    outputs: Outputs<'a>,
}

pub(super) struct Walker<'f, 't, 'a> {
    pub facts: Facts<'f>,
    pub sql: &'a str,
    pub analysis: Analysis<'f, 't, 'a>,
    /// The query that is about to be walked is EXISTS's own.
    exists: bool,
    pub pins: Vec<Pin>,
    pub flows: Vec<(Flow, Vec<usize>)>,
    pub(super) ctes: Vec<CteEntry<'t, 'a>>,
    /// How often each CTE is named, by its id.
    cte_uses: Vec<usize>,
    /// The tables that each CTE, of those that only read, names.
    cte_tables: HashMap<usize, Range<usize>>,
    /// The queries being walked: position among the analysis's queries, first scope, CTEs visible before.
    open: Vec<(usize, ScopeId, usize)>,
    /// Output columns of subqueries in expressions, by address.
    outputs: HashMap<usize, Outputs<'a>>,
}

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

    fn is_grouped(&self, select: &Select<'a>) -> bool {
        let aggregate = |expr: &Expr<'a>| matches!(&expr.kind, ExprKind::Call(call) if call.over.is_none() && self.is_aggregate(&call.name));
        select.group_by.is_some()
            || select.having.is_some()
            || select.items.iter().any(|item| item.expr.any(&mut |expr| aggregate(expr)))
    }

    /// The output columns, with the keys that pass through the block unharmed.
    fn select_outputs(&self, select: &'t Select<'a>, scope: ScopeId, grouped: bool) -> Outputs<'a> {
        let harmed = matches!(select.distinct, Some(Distinct::On(_))) || has_window(select);
        let group_keys: Vec<KeyTerm> = match &select.group_by {
            Some(group) if !group.sets => group
                .exprs
                .iter()
                .filter_map(|expr| match &expr.kind {
                    ExprKind::Integer => {
                        let position: usize = expr.span.of(self.sql).parse().ok()?;
                        self.key_term(&select.items.get(position.checked_sub(1)?)?.expr, scope)
                    }
                    _ => self.key_term(expr, scope),
                })
                .collect(),
            _ => Vec::new(),
        };
        let mut outputs = Vec::with_capacity(select.items.len());
        for item in &select.items {
            match &item.expr.kind {
                ExprKind::Star(name) => outputs.extend(self.star_outputs(scope, name.as_ref())?),
                ExprKind::Other { name: OtherName::Fixed("*"), .. } => return None,
                kind => {
                    let name = match (&item.alias, kind) {
                        (Some(alias), _) => Some(alias.name.clone()),
                        (None, ExprKind::Column(name)) => name.parts.last().map(|part| part.name.clone()),
                        _ => None,
                    };
                    // A column of a query around this one is no key of these rows.
                    let key = self.key_term_at(&item.expr, scope).filter(|(_, depth)| *depth == 0);
                    outputs.push(Output { name, key: key.map(|(term, _)| term) });
                }
            }
        }
        for output in &mut outputs {
            let kept = !harmed && (!grouped || output.key.as_ref().is_some_and(|key| group_keys.contains(key)));
            if !kept {
                output.key = None;
            }
        }
        Some(outputs)
    }

    fn star_outputs(&self, scope: ScopeId, table: Option<&Name<'a>>) -> Outputs<'a> {
        let scope = &self.analysis.scopes[scope];
        if scope.merges {
            return None;
        }
        let mut outputs = Vec::new();
        for item in &scope.items {
            if table.is_some_and(|table| table.last() != item.name) {
                continue;
            }
            match &item.columns {
                Columns::Opaque => return None,
                Columns::Derived(columns) => outputs.extend(columns.iter().cloned()),
                Columns::Base { occurrence, renamed, .. } => {
                    let entry = &self.analysis.occurrences[*occurrence];
                    let key = entry.distributed().map(|(_, key)| key.name.as_str());
                    for (index, column) in entry.relation?.columns.iter().enumerate() {
                        let name = renamed
                            .get(index)
                            .map_or_else(|| column.name.clone().into(), |ident: &Ident<'a>| ident.name.clone());
                        let term = (key == Some(column.name.as_str())).then(|| KeyTerm::of(*occurrence));
                        outputs.push(Output { name: Some(name), key: term });
                    }
                }
            }
        }
        Some(outputs)
    }

    pub fn is_aggregate(&self, name: &Name<'_>) -> bool {
        match self.facts.find_function(name) {
            Routine::BuiltIn(built_in) => built_in.aggregate,
            Routine::User { overloads, .. } => {
                overloads.iter().any(|function| function.kind == FunctionKind::Aggregate)
            }
        }
    }

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
    fn table(&mut self, table: &'t TableRef<'a>, scope: ScopeId, block: usize) -> Joined<'t, 'a> {
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
    fn star(&mut self, name: Option<&'t Name<'a>>, scope: ScopeId) {
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

    /// What a subquery in an expression puts out, once it was walked.
    pub fn outputs_of(&self, query: &Query<'a>) -> Outputs<'a> {
        self.outputs.get(&std::ptr::from_ref(query).addr()).cloned().flatten()
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

fn has_window(select: &Select<'_>) -> bool {
    select
        .items
        .iter()
        .any(|item| item.expr.any(&mut |expr| matches!(&expr.kind, ExprKind::Call(call) if call.over.is_some())))
}

/// Gives output columns the names of an alias's column list.
fn rename<'a>(outputs: Outputs<'a>, columns: &[Ident<'a>]) -> Outputs<'a> {
    let mut outputs = outputs?;
    for (output, column) in outputs.iter_mut().zip(columns) {
        output.name = Some(column.name.clone());
    }
    Some(outputs)
}

fn strip_keys(outputs: &mut Outputs<'_>) {
    outputs.iter_mut().flatten().for_each(|output| output.key = None);
}

/// The columns of a set operation: each is what it is in both branches.
fn unite<'a>(left: Outputs<'a>, right: Outputs<'a>) -> Outputs<'a> {
    let (left, right) = (left?, right?);
    let united = left.into_iter().zip(right).map(|(left, right)| {
        let key = match (left.key, right.key) {
            (Some(mut left), Some(right)) => {
                left.occurrences.extend(right.occurrences);
                left.ctes.extend(right.ctes);
                Some(KeyTerm { whole: left.whole && right.whole, ..left })
            }
            (Some(one), None) | (None, Some(one)) => Some(KeyTerm { whole: false, ..one }),
            (None, None) => None,
        };
        Output { name: left.name, key }
    });
    Some(united.collect())
}
