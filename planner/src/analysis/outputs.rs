//! The columns that queries put out, and what distribution keys they are.

use super::scope::{Columns, KeyTerm, Output, ScopeId};
use super::walk::Walker;
use crate::catalog::FunctionKind;
use crate::names::Routine;
use crate::syntax::{Distinct, Expr, ExprKind, Ident, Name, OtherName, Query, Select};

/// Output columns of a query; `None` when their names are not known.
pub(super) type Outputs<'a> = Option<Vec<Output<'a>>>;

impl<'f, 't, 'a> Walker<'f, 't, 'a> {
    pub(super) fn is_grouped(&self, select: &Select<'a>) -> bool {
        let aggregate = |expr: &Expr<'a>| matches!(&expr.kind, ExprKind::Call(call) if call.over.is_none() && self.is_aggregate(&call.name));
        select.group_by.is_some()
            || select.having.is_some()
            || select.items.iter().any(|item| item.expr.any(&mut |expr| aggregate(expr)))
    }

    /// The output columns, with the keys that pass through the block unharmed.
    pub(super) fn select_outputs(&self, select: &'t Select<'a>, scope: ScopeId, grouped: bool) -> Outputs<'a> {
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

    pub(super) fn star_outputs(&self, scope: ScopeId, table: Option<&Name<'a>>) -> Outputs<'a> {
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

    /// What a subquery in an expression puts out, once it was walked.
    pub fn outputs_of(&self, query: &Query<'a>) -> Outputs<'a> {
        self.outputs.get(&std::ptr::from_ref(query).addr()).cloned().flatten()
    }
}

pub(super) fn has_window(select: &Select<'_>) -> bool {
    select
        .items
        .iter()
        .any(|item| item.expr.any(&mut |expr| matches!(&expr.kind, ExprKind::Call(call) if call.over.is_some())))
}

/// Gives output columns the names of an alias's column list.
pub(super) fn rename<'a>(outputs: Outputs<'a>, columns: &[Ident<'a>]) -> Outputs<'a> {
    let mut outputs = outputs?;
    for (output, column) in outputs.iter_mut().zip(columns) {
        output.name = Some(column.name.clone());
    }
    Some(outputs)
}

pub(super) fn strip_keys(outputs: &mut Outputs<'_>) {
    outputs.iter_mut().flatten().for_each(|output| output.key = None);
}

/// The columns of a set operation: each is what it is in both branches.
pub(super) fn unite<'a>(left: Outputs<'a>, right: Outputs<'a>) -> Outputs<'a> {
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
