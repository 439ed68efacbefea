//! Pins and flows from conditions.

use std::ops::Range;

use super::from::Joined;
use super::keys::{assigned_constant, constant, elements, is_key_comparable};
use super::outputs::Outputs;
use super::scope::{Columns, KeyTerm, ScopeId};
use super::walk::Walker;
use super::{Flow, Occurrence};
use crate::directory::{KeyType, Method};
use crate::plan::KeySource;
use crate::syntax::{Body, Comparison, Expr, ExprKind, InsertColumn, JoinCondition, JoinKind, OtherName, Query};

/// Rows of an occurrence matter only when their key is one of these.
#[derive(Clone, Debug)]
pub(super) struct Pin {
    pub occurrence: usize,
    pub keys: Vec<KeySource>,
    pub ctes: Vec<usize>,
}

/// Which occurrences a condition can restrict.
#[derive(Clone, Debug)]
pub(super) enum Side {
    /// All: WHERE, or ON of an inner join.
    All,
    /// Those of an outer join's side that gives way to NULLs.
    Only(Range<usize>),
    /// None: FULL JOIN; equal keys are together all the same.
    Neither,
}

impl Side {
    fn restricts(&self, term: &KeyTerm) -> bool {
        match self {
            Side::All => true,
            Side::Only(range) => term.occurrences.iter().all(|occurrence| range.contains(occurrence)),
            Side::Neither => false,
        }
    }
}

impl Occurrence<'_, '_, '_> {
    /// Keeps the better of two sets of keys, either of which alone is right: values rather than ranges, and few of them; of two ranges what
    /// each leaves open. Whether anything changed.
    pub(super) fn pin(&mut self, keys: &[KeySource]) -> bool {
        let ranges = |keys: &[KeySource]| keys.iter().filter(|key| matches!(key, KeySource::Between { .. })).count();
        let better = match &mut self.pins {
            None => true,
            Some(own) => {
                if let ([KeySource::Between { from, to }], [KeySource::Between { from: other_from, to: other_to }]) =
                    (own.as_mut_slice(), keys)
                {
                    let narrower = (from.is_none() && other_from.is_some()) || (to.is_none() && other_to.is_some());
                    *from = from.take().or_else(|| other_from.clone());
                    *to = to.take().or_else(|| other_to.clone());
                    return narrower;
                }
                (ranges(keys), keys.len()) < (ranges(own), own.len())
            }
        };
        if better {
            self.pins = Some(keys.to_vec());
        }
        better
    }
}

impl<'f, 't, 'a> Walker<'f, 't, 'a> {
    /// What a block's FROM and WHERE say about keys.
    pub fn block_facts(
        &mut self,
        joined: Vec<Joined<'t, 'a>>,
        selection: Option<&'t Expr<'a>>,
        scope: ScopeId,
        block: usize,
    ) {
        let conjuncts = selection.map(|selection| selection.conjuncts()).unwrap_or_default();
        let facts = &mut self.analysis.blocks[block];
        (facts.selection, facts.scope) = (selection, scope);
        let mut strict = Vec::new();
        for conjunct in &conjuncts {
            self.strict_keys(conjunct, scope, &mut strict);
        }
        for item in joined {
            let breaks = self.join_facts(item, &strict, scope, block);
            self.analysis.blocks[block].preserves_undistributed |= breaks;
        }
        for conjunct in conjuncts {
            self.conjunct(conjunct, scope, &Side::All);
        }
    }

    /// Occurrences whose key a condition of WHERE compares: rows in which it is NULL do not survive.
    fn strict_keys(&self, conjunct: &Expr<'a>, scope: ScopeId, strict: &mut Vec<usize>) {
        let mut add = |expr: &Expr<'a>| {
            if let Some((term, 0)) = self.key_term_at(expr, scope) {
                strict.extend(term.occurrences);
            }
        };
        match &conjunct.bare().kind {
            ExprKind::Compare { left, right, .. } => {
                add(left);
                add(right);
            }
            ExprKind::In { negated: false, operand, .. }
            | ExprKind::Quantified { any: true, equal: true, operand, .. } => add(operand),
            _ => {}
        }
    }

    /// The facts of a tree of joins. Returns whether a side that keeps all its rows lacks what the other side spreads over shards.
    fn join_facts(&mut self, joined: Joined<'t, 'a>, strict: &[usize], scope: ScopeId, block: usize) -> bool {
        let Joined::Join { kind, left, right, condition, .. } = joined else { return false };
        let (left_range, right_range) = (left.occurrences(), right.occurrences());
        let outer = match kind {
            JoinKind::Inner | JoinKind::Cross => vec![],
            JoinKind::Left => vec![right_range.clone()],
            JoinKind::Right => vec![left_range.clone()],
            JoinKind::Full => vec![left_range.clone(), right_range.clone()],
        };
        for range in outer {
            self.analysis.occurrences[range].iter_mut().for_each(|entry| entry.outer_joined = true);
        }
        let is_strict = |range: &Range<usize>| strict.iter().any(|occurrence| range.contains(occurrence));
        let (left_strict, right_strict) = (is_strict(&left_range), is_strict(&right_range));
        let kind = match kind {
            JoinKind::Left if right_strict => JoinKind::Inner,
            JoinKind::Right if left_strict => JoinKind::Inner,
            JoinKind::Full => match (left_strict, right_strict) {
                (true, true) => JoinKind::Inner,
                (true, false) => JoinKind::Left,
                (false, true) => JoinKind::Right,
                (false, false) => JoinKind::Full,
            },
            kind => kind,
        };
        let spread = |range: &Range<usize>| {
            self.analysis.occurrences[range.clone()].iter().any(|entry| entry.distributed().is_some())
        };
        let (left_spread, right_spread) = (spread(&left_range), spread(&right_range));
        let (side, nullable, breaks) = match kind {
            JoinKind::Inner | JoinKind::Cross => (Side::All, vec![], false),
            JoinKind::Left => {
                (Side::Only(right_range.clone()), vec![right_range.clone()], right_spread && !left_spread)
            }
            JoinKind::Right => (Side::Only(left_range.clone()), vec![left_range.clone()], left_spread && !right_spread),
            JoinKind::Full => {
                (Side::Neither, vec![left_range.clone(), right_range.clone()], left_spread != right_spread)
            }
        };
        for range in nullable {
            self.analysis.occurrences[range].iter_mut().for_each(|entry| entry.nullable = true);
        }
        match condition {
            JoinCondition::On(expr) => {
                if matches!(side, Side::All) {
                    self.analysis.blocks[block].inner.extend(expr.conjuncts());
                }
                for conjunct in expr.conjuncts() {
                    self.conjunct(conjunct, scope, &side);
                }
            }
            JoinCondition::Using(columns) => {
                for column in columns {
                    self.merged_column(&column.name, &left_range, &right_range, scope, &side);
                }
            }
            JoinCondition::Natural => self.natural_keys(&left_range, &right_range, scope, &side),
            JoinCondition::None => {}
        }
        let left_breaks = self.join_facts(*left, strict, scope, block);
        let right_breaks = self.join_facts(*right, strict, scope, block);
        breaks || left_breaks || right_breaks
    }

    /// USING (column): the two sides' columns are equal.
    fn merged_column(&mut self, column: &str, left: &Range<usize>, right: &Range<usize>, scope: ScopeId, side: &Side) {
        let full = self.analysis.scopes[scope].merges_full;
        let (left, right) = (self.column_in(column, left, scope, full), self.column_in(column, right, scope, full));
        if let (Some(left), Some(right)) = (left, right) {
            self.equal(&(left, 0), &(right, 0), side);
        }
    }

    /// The key of that name among some occurrences of a scope; of several (merged before) the first.
    fn column_in(&self, column: &str, range: &Range<usize>, scope: ScopeId, single: bool) -> Option<KeyTerm> {
        let mut terms = self.analysis.scopes[scope].items.iter().filter_map(|item| match &item.columns {
            Columns::Base { occurrence, renamed, .. } if range.contains(occurrence) => {
                let entry = &self.analysis.occurrences[*occurrence];
                let name_at =
                    |index: usize, own: &str| renamed.get(index).map_or(own == column, |alias| alias.name == column);
                let own = match entry.relation {
                    Some(relation) => {
                        let (index, own) =
                            relation.columns.iter().enumerate().find(|(index, own)| name_at(*index, &own.name))?;
                        let _ = index;
                        own.name.as_str()
                    }
                    None => column,
                };
                let key = entry.distributed().is_some_and(|(_, key)| key.name == own);
                Some(key.then(|| KeyTerm::of(*occurrence)))
            }
            _ => None,
        });
        let first = terms.next()?;
        if single && terms.next().is_some() { None } else { first }
    }

    /// NATURAL JOIN of two plain tables: their keys are equal when they have the same name.
    fn natural_keys(&mut self, left: &Range<usize>, right: &Range<usize>, scope: ScopeId, side: &Side) {
        if left.len() != 1 || right.len() != 1 {
            return;
        }
        let Some((_, key)) = self.analysis.occurrences[left.start].distributed() else { return };
        let name = key.name.clone();
        self.merged_column(&name, left, right, scope, side);
    }

    /// The facts of one condition that must hold.
    pub fn conjunct(&mut self, conjunct: &'t Expr<'a>, scope: ScopeId, side: &Side) {
        let conjunct = conjunct.bare();
        match &conjunct.kind {
            ExprKind::And(operands) => operands.iter().for_each(|operand| self.conjunct(operand, scope, side)),
            ExprKind::Compare { comparison: Comparison::Equal, left, right } => {
                match (&left.bare().kind, &right.bare().kind) {
                    (ExprKind::Row(left), ExprKind::Row(right)) if left.len() == right.len() => {
                        for (left, right) in left.iter().zip(right) {
                            self.equality(left, right, scope, side);
                        }
                    }
                    _ => self.equality(left, right, scope, side),
                }
            }
            ExprKind::InQuery { negated: false, operand, query } => {
                // What the subquery's key is pinned to, the operand is pinned to.
                if let Some((inner, _)) = self.first_output(query)
                    && let Some(outer) = self.key_term_at(operand, scope)
                    && side.restricts(&outer.0)
                    && outer.1 == 0
                {
                    self.flow(&inner, &outer.0, false);
                }
            }
            _ => {
                for pin in self.alternatives(conjunct, scope) {
                    if side.restricts(&KeyTerm::of(pin.occurrence)) {
                        self.pins.push(pin);
                    }
                }
            }
        }
    }

    fn first_output(&self, query: &Query<'a>) -> Option<(KeyTerm, usize)> {
        Some((self.outputs_of(query)?.into_iter().next()?.key?, 0))
    }

    fn equality(&mut self, left: &'t Expr<'a>, right: &'t Expr<'a>, scope: ScopeId, side: &Side) {
        match (self.key_term_at(left, scope), self.key_term_at(right, scope)) {
            (Some(left), Some(right)) => self.equal(&left, &right, side),
            (Some(term), None) => self.pin_constant(&term, right, side),
            (None, Some(term)) => self.pin_constant(&term, left, side),
            (None, None) => {}
        }
    }

    fn pin_constant(&mut self, (term, depth): &(KeyTerm, usize), value: &Expr<'a>, side: &Side) {
        if *depth == 0
            && side.restricts(term)
            && let Some(keys) = self.key_type(term).and_then(|key_type| constant(self.sql, value, key_type))
        {
            self.pin_term(term, &keys);
        }
    }

    fn pin_term(&mut self, term: &KeyTerm, keys: &[KeySource]) {
        for occurrence in &term.occurrences {
            self.pins.push(Pin { occurrence: *occurrence, keys: keys.to_vec(), ctes: term.ctes.clone() });
        }
    }

    /// The common type of the keys behind a column.
    fn key_type(&self, term: &KeyTerm) -> Option<KeyType> {
        let mut types =
            term.occurrences.iter().filter_map(|occurrence| self.analysis.occurrences[*occurrence].distributed());
        let first = types.next()?.1.key_type;
        types.all(|(_, key)| key.key_type == first).then_some(first)
    }

    /// Two keys are equal; one of them may belong to an outer query, whose rows a subquery cannot restrict.
    fn equal(&mut self, left: &(KeyTerm, usize), right: &(KeyTerm, usize), side: &Side) {
        let comparable = match (self.key_type(&left.0), self.key_type(&right.0)) {
            (Some(left), Some(right)) => is_key_comparable(left, right),
            _ => false,
        };
        if !comparable {
            return;
        }
        for ((from, _), (to, depth)) in [(left, right), (right, left)] {
            if *depth == 0 && side.restricts(to) {
                self.flow(from, to, false);
            } else if left.1 == 0 && right.1 == 0 && matches!(side, Side::Neither) {
                self.flow(from, to, true);
            }
        }
    }

    fn flow(&mut self, from: &KeyTerm, to: &KeyTerm, locality_only: bool) {
        let Some(from) = from.single() else { return };
        let own = |occurrence: usize| self.analysis.occurrences[occurrence].distributed();
        let flows: Vec<_> = to
            .occurrences
            .iter()
            .filter(|to| match (own(from), own(**to)) {
                (Some((left, left_key)), Some((right, right_key))) => {
                    left == right && is_key_comparable(left_key.key_type, right_key.key_type)
                }
                _ => false,
            })
            .map(|to| Flow { from, to: *to, locality_only })
            .collect();
        self.flows.extend(flows.into_iter().map(|flow| (flow, to.ctes.clone())));
    }

    /// `key IN (SELECT key ...)`, in whatever place: for a row with key v only the subquery's rows with key v matter.
    pub fn membership(&mut self, operand: &'t Expr<'a>, query: &'t Query<'a>, scope: ScopeId) {
        let Some(outputs) = self.outputs_of(query) else { return };
        let operands: Vec<&Expr<'a>> = match &operand.bare().kind {
            ExprKind::Row(list) => list.iter().collect(),
            _ => vec![operand],
        };
        for (operand, output) in operands.into_iter().zip(outputs) {
            let (Some((outer, _)), Some(inner)) = (self.key_term_at(operand, scope), output.key) else { continue };
            if !inner.occurrences.iter().any(|occurrence| self.analysis.occurrences[*occurrence].nullable) {
                self.flow(&outer, &inner, false);
            }
        }
    }

    /// The pins that follow from any condition, OR included: for each occurrence that every branch pins, all of the branches' keys.
    fn alternatives(&self, expr: &Expr<'a>, scope: ScopeId) -> Vec<Pin> {
        let expr = expr.bare();
        match &expr.kind {
            ExprKind::And(operands) => operands.iter().flat_map(|operand| self.alternatives(operand, scope)).collect(),
            ExprKind::Or(branches) => {
                let mut branches = branches.iter().map(|branch| self.alternatives(branch, scope));
                let Some(mut united) = branches.next() else { return Vec::new() };
                for branch in branches {
                    united.retain_mut(|pin| {
                        let other = branch
                            .iter()
                            .filter(|other| other.occurrence == pin.occurrence)
                            .min_by_key(|other| other.keys.len());
                        let Some(other) = other else { return false };
                        pin.keys.extend(
                            other.keys.iter().filter(|key| !pin.keys.contains(key)).cloned().collect::<Vec<_>>(),
                        );
                        pin.ctes.extend(&other.ctes);
                        true
                    });
                }
                united
            }
            ExprKind::Compare { comparison: Comparison::Equal, left, right } => {
                if let (ExprKind::Row(left), ExprKind::Row(right)) = (&left.bare().kind, &right.bare().kind) {
                    return left
                        .iter()
                        .zip(right)
                        .flat_map(|(left, right)| self.pins_of(left, std::slice::from_ref(right), scope))
                        .collect();
                }
                let mut pins = self.pins_of(left, std::slice::from_ref(right), scope);
                pins.extend(self.pins_of(right, std::slice::from_ref(left), scope));
                pins
            }
            ExprKind::Compare { comparison, left, right } => {
                let mut pins = self.range_pins(left, *comparison, right, scope);
                pins.extend(self.range_pins(right, mirrored(*comparison), left, scope));
                pins
            }
            ExprKind::Other { name: OtherName::Between, operands } => {
                let [operand, low, high] = operands.as_slice() else { return Vec::new() };
                let mut pins = self.range_pins(operand, Comparison::GreaterOrEqual, low, scope);
                pins.extend(self.range_pins(operand, Comparison::LessOrEqual, high, scope));
                pins
            }
            ExprKind::In { negated: false, operand, list } => match &operand.bare().kind {
                ExprKind::Row(operands) => self.row_pins(operands, list, scope),
                _ => self.pins_of(operand, list, scope),
            },
            ExprKind::Quantified { equal: true, any: true, operand, array } => {
                let Some((term, 0)) = self.key_term_at(operand, scope) else { return Vec::new() };
                let keys = self.key_type(&term).and_then(|key_type| elements(self.sql, array, key_type));
                keys.map(|keys| pins_for(&term, &keys)).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }

    fn pins_of(&self, operand: &Expr<'a>, list: &[Expr<'a>], scope: ScopeId) -> Vec<Pin> {
        let Some((term, 0)) = self.key_term_at(operand, scope) else { return Vec::new() };
        let Some(key_type) = self.key_type(&term) else { return Vec::new() };
        let mut keys = Vec::with_capacity(list.len());
        for value in list {
            let Some(constants) = constant(self.sql, value, key_type) else { return Vec::new() };
            keys.extend(constants);
        }
        pins_for(&term, &keys)
    }

    /// `key < value` and its kin, where the key's table is distributed by range.
    fn range_pins(&self, operand: &Expr<'a>, comparison: Comparison, value: &Expr<'a>, scope: ScopeId) -> Vec<Pin> {
        let Some((term, 0)) = self.key_term_at(operand, scope) else { return Vec::new() };
        let by_range = |occurrence: &usize| {
            let colocation = self.analysis.occurrences[*occurrence].distributed().map(|(colocation, _)| colocation);
            colocation
                .and_then(|colocation| self.facts.directory.colocations.get(&colocation))
                .is_some_and(|colocation| colocation.method == Method::Range)
        };
        if !term.occurrences.iter().any(by_range) {
            return Vec::new();
        }
        let Some(key_type) = self.key_type(&term) else { return Vec::new() };
        let Some(constants) = constant(self.sql, value, key_type) else { return Vec::new() };
        let Some(edge) = constants.into_iter().next().map(Box::new) else { return pins_for(&term, &[]) };
        let range = match comparison {
            Comparison::Less | Comparison::LessOrEqual => KeySource::Between { from: None, to: Some(edge) },
            Comparison::Greater | Comparison::GreaterOrEqual => KeySource::Between { from: Some(edge), to: None },
            Comparison::Equal | Comparison::NotEqual => return Vec::new(),
        };
        pins_for(&term, &[range])
    }

    /// `(key, b) IN ((1, 2), (3, 4))`
    fn row_pins(&self, operands: &[Expr<'a>], rows: &[Expr<'a>], scope: ScopeId) -> Vec<Pin> {
        let mut pins = Vec::new();
        for (index, operand) in operands.iter().enumerate() {
            let column: Option<Vec<Expr<'a>>> = rows
                .iter()
                .map(|row| match &row.bare().kind {
                    ExprKind::Row(values) if values.len() == operands.len() => Some(values[index].clone()),
                    _ => None,
                })
                .collect();
            if let Some(column) = column {
                pins.extend(self.pins_of(operand, &column, scope));
            }
        }
        pins
    }

    /// Where the key stands among INSERT's columns.
    pub fn key_position(&self, target: usize, columns: Option<&[InsertColumn<'a>]>) -> Option<usize> {
        let entry = &self.analysis.occurrences[target];
        let (_, key) = entry.distributed()?;
        match columns {
            Some(columns) => columns.iter().position(|column| column.name.name == key.name),
            None => entry.relation?.columns.iter().position(|column| column.name == key.name),
        }
    }

    /// The type and the type modifier of an occurrence's key column.
    pub fn assigned_key(&self, occurrence: usize) -> Option<(KeyType, i32)> {
        let entry = &self.analysis.occurrences[occurrence];
        let (_, key) = entry.distributed()?;
        let column = entry.relation?.columns.iter().find(|column| column.name == key.name)?;
        Some((key.key_type, column.typmod))
    }

    pub fn pin_to_rows<'r>(
        &mut self,
        target: usize,
        position: Option<usize>,
        rows: impl Iterator<Item = &'r [Expr<'a>]>,
    ) where
        'a: 'r,
    {
        let Some(position) = position else { return };
        let Some((key_type, typmod)) = self.assigned_key(target) else { return };
        let mut keys = Vec::new();
        for row in rows {
            let value = row.get(position);
            let Some(constants) = value.and_then(|value| assigned_constant(self.sql, value, key_type, typmod)) else {
                return;
            };
            keys.extend(constants);
        }
        self.pin_term(&KeyTerm::of(target), &keys);
    }

    /// INSERT ... SELECT: the target's rows have the key that the query puts out.
    pub fn pin_to_query(&mut self, target: usize, position: Option<usize>, query: &Query<'a>, outputs: Outputs<'a>) {
        let Some(position) = position else { return };
        let Some((key_type, typmod)) = self.assigned_key(target) else { return };
        let item = match &query.body {
            Body::Select(select) if !select.items.iter().any(|item| matches!(item.expr.kind, ExprKind::Star(_))) => {
                select.items.get(position)
            }
            _ => None,
        };
        if let Some(keys) = item.and_then(|item| assigned_constant(self.sql, &item.expr, key_type, typmod)) {
            self.pin_term(&KeyTerm::of(target), &keys);
        }
        // A column with a length or precision of its own may change the source's value.
        if let Some(term) = outputs.and_then(|outputs| outputs.into_iter().nth(position)?.key)
            && term.single().and_then(|source| self.assigned_key(source)) == Some((key_type, typmod))
        {
            self.flow(&term, &KeyTerm::of(target), false);
        }
    }
}

/// The comparison with its sides exchanged.
fn mirrored(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        same => same,
    }
}

fn pins_for(term: &KeyTerm, keys: &[KeySource]) -> Vec<Pin> {
    term.occurrences
        .iter()
        .map(|occurrence| Pin { occurrence: *occurrence, keys: keys.to_vec(), ctes: term.ctes.clone() })
        .collect()
}
