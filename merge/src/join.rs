//! Joins: of relations in FROM, and with the subqueries that EXISTS and IN look into.
//!
//! Only what joins by equality runs here. PostgreSQL tests conditions in the order of its own plan, which nobody can follow: conditions
//! that could raise an error for a row, and columns whose computation could, are refused around joins.

use datafusion::sql::sqlparser::ast::{self, BinaryOperator, JoinConstraint, JoinOperator, SetExpr, UnaryOperator};

use crate::clauses::bare;
use crate::compile::{Compiler, Result, Scope, comparable};
use crate::error::refuse;
use crate::expr::{Expr, Typed};
use crate::query::{Preparer, Query, Source, as_columns};
use crate::simplify::simplify;
use crate::types::PgType;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    /// Of two relations or more.
    Inner,
    Left,
    Right,
    Full,
    /// The first relation's rows for which the second has one. Its columns are the first one's.
    Semi,
    /// The first relation's rows for which the second has none. Its columns are the first one's.
    Anti,
}

/// A join. Expressions are over the columns of all its relations, one relation's behind the other's.
#[derive(Clone, Debug)]
pub struct Join {
    pub kind: JoinKind,
    pub relations: Vec<Relation>,
    /// They lead from every relation to every other.
    pub equalities: Vec<Equality>,
    /// All else that pairs of rows have to satisfy.
    pub conditions: Vec<Expr>,
}

/// What is joined.
#[derive(Clone, Debug)]
pub struct Relation {
    pub source: Source,
    /// Columns.
    pub width: usize,
    /// Over its own columns.
    pub filter: Option<Expr>,
}

/// Two relations' expressions of one type whose values have to be equal, and not NULL.
#[derive(Clone, Debug)]
pub struct Equality {
    pub ty: PgType,
    pub sides: [Side; 2],
}

#[derive(Clone, Debug)]
pub struct Side {
    /// The only relation whose columns it reads.
    pub relation: usize,
    pub expr: Expr,
}

impl Join {
    /// Its own expressions.
    pub fn exprs(&self) -> impl Iterator<Item = &Expr> {
        let sides = self.equalities.iter().flat_map(|equality| equality.sides.iter().map(|side| &side.expr));
        sides.chain(&self.conditions).chain(self.relations.iter().filter_map(|relation| relation.filter.as_ref()))
    }

    /// The number of the first column of each relation.
    pub fn offsets(&self) -> Vec<usize> {
        let ends = self.relations.iter().scan(0, |end, relation| {
            *end += relation.width;
            Some(*end)
        });
        std::iter::once(0).chain(ends).take(self.relations.len()).collect()
    }

    /// The relations whose columns an expression reads.
    pub fn relations_of(&self, expr: &Expr) -> Vec<usize> {
        let mut read = vec![false; self.relations.iter().map(|relation| relation.width).sum()];
        expr.mark_columns(&mut read);
        let mut columns = read.into_iter();
        let of_relation = |relation: &Relation| columns.by_ref().take(relation.width).filter(|read| *read).count() > 0;
        let reads: Vec<bool> = self.relations.iter().map(of_relation).collect();
        (0..reads.len()).filter(|relation| reads[*relation]).collect()
    }

    fn new(kind: JoinKind, relations: Vec<Relation>) -> Self {
        Self { kind, relations, equalities: Vec::new(), conditions: Vec::new() }
    }

    /// Takes a condition in.
    fn add(&mut self, mut condition: Expr) -> Result<()> {
        simplify(&mut condition)?;
        let terms = match condition {
            Expr::And(terms) => terms,
            other => vec![other],
        };
        for term in terms {
            if let Expr::And(_) = term {
                self.add(term)?;
                continue;
            }
            if may_raise(&term) {
                refuse!("a condition around a join that may raise an error");
            }
            // What every branch of an OR says is said for sure; the rest of it stays a condition.
            for common in common_terms(&term) {
                self.equalities.extend(self.equality(common));
            }
            match self.equality(&term) {
                Some(equality) => self.equalities.push(equality),
                None if matches!(term, Expr::Literal(crate::datum::Datum::Bool(true))) => {}
                None => self.conditions.push(term),
            }
        }
        Ok(())
    }

    fn equality(&self, term: &Expr) -> Option<Equality> {
        let Expr::Compare { symbol: "=", ty, left, right } = term else { return None };
        match (self.relations_of(left).as_slice(), self.relations_of(right).as_slice()) {
            ([one], [other]) if one != other => Some(Equality {
                ty: *ty,
                sides: [
                    Side { relation: *one, expr: left.as_ref().clone() },
                    Side { relation: *other, expr: right.as_ref().clone() },
                ],
            }),
            _ => None,
        }
    }

    /// Whether equalities lead from every relation to every other.
    fn check(self) -> Result<Source> {
        let mut reached = vec![false; self.relations.len()];
        reached[0] = true;
        while let Some(next) = self.equalities.iter().find_map(|equality| {
            let [one, other] = &equality.sides;
            match (reached[one.relation], reached[other.relation]) {
                (true, false) => Some(other.relation),
                (false, true) => Some(one.relation),
                _ => None,
            }
        }) {
            reached[next] = true;
        }
        if reached.contains(&false) {
            refuse!("a join that is not by equality");
        }
        Ok(Source::Join(Box::new(self)))
    }
}

/// The terms that are in every branch of an OR.
fn common_terms(term: &Expr) -> Vec<&Expr> {
    let mut branches = Vec::new();
    flatten(term, true, &mut branches);
    let [first, rest @ ..] = branches.as_slice() else { return Vec::new() };
    if rest.is_empty() {
        return Vec::new();
    }
    let rest: Vec<Vec<&Expr>> = rest.iter().map(|branch| conjuncts_of(branch)).collect();
    let everywhere = |term: &&Expr| rest.iter().all(|branch| branch.iter().any(|other| other.is_same(term)));
    conjuncts_of(first).into_iter().filter(everywhere).collect()
}

fn conjuncts_of(expr: &Expr) -> Vec<&Expr> {
    let mut terms = Vec::new();
    flatten(expr, false, &mut terms);
    terms
}

/// What OR (or AND) puts together.
fn flatten<'e>(expr: &'e Expr, or: bool, into: &mut Vec<&'e Expr>) {
    match expr {
        Expr::Or(terms) if or => terms.iter().for_each(|term| flatten(term, or, into)),
        Expr::And(terms) if !or => terms.iter().for_each(|term| flatten(term, or, into)),
        other => into.push(other),
    }
}

/// Whether computing it may end in an error.
fn may_raise(expr: &Expr) -> bool {
    let own = match expr {
        // Beyond 131,072 digits only, which no plan of PostgreSQL's gets to.
        Expr::Arithmetic { symbol, ty: PgType::Numeric, .. } => *symbol == "/",
        Expr::Arithmetic { .. } | Expr::Rescale { .. } => true,
        Expr::Function { ty, .. } => *ty != PgType::Numeric,
        Expr::Cast { from, to, .. } => match (from.tower(), to.tower()) {
            (Some(low), Some(high)) => low > high || *from == PgType::Numeric,
            _ => !(from.is_text() && to.is_text()),
        },
        _ => false,
    };
    own || expr.children().into_iter().any(may_raise)
}

/// Whether a query computes nothing that may raise an error for rows that a join would leave out.
fn is_quiet(query: &Query) -> bool {
    let outputs = query.outputs.iter().all(|(_, typed)| !may_raise(&typed.expr));
    let filter = query.filter.as_ref().is_none_or(|filter| !may_raise(filter));
    let having = query.grouping.as_ref().and_then(|grouping| grouping.having.as_ref());
    outputs && filter && having.is_none_or(|having| !may_raise(having)) && is_quiet_source(&query.source)
}

fn is_quiet_source(source: &Source) -> bool {
    match source {
        Source::Input(_) => true,
        Source::Query(query) => is_quiet(query),
        Source::Union(arms) => arms.iter().all(is_quiet),
        Source::Join(join) => join.relations.iter().all(|relation| is_quiet_source(&relation.source)),
    }
}

/// Whether rows of several relations meet in it.
fn has_join(source: &Source) -> bool {
    match source {
        Source::Input(_) => false,
        Source::Query(query) => has_join(&query.source),
        Source::Union(arms) => arms.iter().any(|arm| has_join(&arm.source)),
        Source::Join(_) => true,
    }
}

fn relation_of(source: Source, width: usize, filter: Option<Expr>) -> Result<Relation> {
    let source = match source {
        Source::Join(join) => join.check()?,
        source => source,
    };
    if !is_quiet_source(&source) || filter.as_ref().is_some_and(may_raise) {
        refuse!("a join of what may raise an error");
    }
    Ok(Relation { source, width, filter })
}

/// The terms of a condition that AND puts together.
fn conjuncts<'a>(condition: &'a ast::Expr, into: &mut Vec<&'a ast::Expr>) {
    match bare(condition) {
        ast::Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            conjuncts(left, into);
            conjuncts(right, into);
        }
        other => into.push(other),
    }
}

/// A condition that looks into a subquery.
struct Lookup<'a> {
    negated: bool,
    /// The left side of IN.
    operand: Option<&'a ast::Expr>,
    query: &'a ast::Query,
}

fn lookup(condition: &ast::Expr) -> Option<Lookup<'_>> {
    match bare(condition) {
        ast::Expr::Exists { subquery, negated } => Some(Lookup { negated: *negated, operand: None, query: subquery }),
        ast::Expr::InSubquery { expr, subquery, negated: false } => {
            Some(Lookup { negated: false, operand: Some(expr), query: subquery })
        }
        ast::Expr::UnaryOp { op: UnaryOperator::Not, expr } => match lookup(expr)? {
            // NOT IN is another thing where there are NULLs.
            Lookup { operand: Some(_), .. } => None,
            exists => Some(Lookup { negated: !exists.negated, ..exists }),
        },
        _ => None,
    }
}

impl<'a> Preparer<'a> {
    /// FROM.
    ///
    /// # Errors
    /// When it is not on the verified list.
    pub(crate) fn from(&self, from: &'a [ast::TableWithJoins]) -> Result<(Source, Scope)> {
        let Some((first, rest)) = from.split_first() else { refuse!("a SELECT without FROM") };
        let (mut source, mut scope) = self.joins(first)?;
        for item in rest {
            let (other, own) = self.joins(item)?;
            let mut join = inner(source, scope.columns.len())?;
            append(&mut join, other, own.columns.len())?;
            scope = scope.join(own);
            // WHERE may say more; [`Preparer::selection`] looks whether all are connected.
            source = Source::Join(Box::new(join));
        }
        Ok((source, scope))
    }

    fn joins(&self, item: &'a ast::TableWithJoins) -> Result<(Source, Scope)> {
        let (mut source, mut scope) = match &item.relation {
            ast::TableFactor::NestedJoin { table_with_joins, alias: None } => self.joins(table_with_joins)?,
            relation => self.relation(relation)?,
        };
        for join in &item.joins {
            let (kind, constraint) = match &join.join_operator {
                JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => (JoinKind::Inner, constraint),
                JoinOperator::Left(constraint) | JoinOperator::LeftOuter(constraint) => (JoinKind::Left, constraint),
                JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => (JoinKind::Right, constraint),
                JoinOperator::FullOuter(constraint) => (JoinKind::Full, constraint),
                _ => refuse!("an unusual join"),
            };
            let JoinConstraint::On(on) = constraint else { refuse!("a join without ON") };
            if join.global {
                refuse!("an unusual join");
            }
            let (right, own) = match &join.relation {
                ast::TableFactor::NestedJoin { table_with_joins, alias: None } => self.joins(table_with_joins)?,
                relation => self.relation(relation)?,
            };
            let (left_width, right_width) = (scope.columns.len(), own.columns.len());
            scope = scope.join(own);
            let mut compiler = Compiler { scope: &scope, parameters: self.parameters, aggregates: None };
            let condition = compiler.boolean(on)?;
            let mut joined = match kind {
                JoinKind::Inner => {
                    let mut joined = inner(source, left_width)?;
                    append(&mut joined, right, right_width)?;
                    joined
                }
                kind => {
                    let sides = vec![relation_of(source, left_width, None)?, relation_of(right, right_width, None)?];
                    Join::new(kind, sides)
                }
            };
            joined.add(condition)?;
            source = match kind {
                JoinKind::Inner => Source::Join(Box::new(joined)),
                _ => joined.check()?,
            };
        }
        Ok((source, scope))
    }

    /// FROM's rows that WHERE lets through; what is left of WHERE.
    ///
    /// # Errors
    /// When it is not on the verified list.
    pub(crate) fn selection(
        &self,
        source: Source,
        scope: &Scope,
        selection: Option<&'a ast::Expr>,
    ) -> Result<(Source, Option<Expr>)> {
        let mut terms = Vec::new();
        selection.into_iter().for_each(|selection| conjuncts(selection, &mut terms));
        let (mut lookups, mut plain) = (Vec::new(), Vec::new());
        for term in terms {
            match lookup(term) {
                Some(lookup) => lookups.push(lookup),
                None => plain.push(term),
            }
        }
        let mut compiler = Compiler { scope, parameters: self.parameters, aggregates: None };
        let (mut source, mut filter) = match source {
            Source::Join(mut join) if join.kind == JoinKind::Inner => {
                for term in plain {
                    join.add(compiler.boolean(term)?)?;
                }
                (join.check()?, None)
            }
            source if lookups.is_empty() => {
                let filter = selection.map(|selection| compiler.boolean(selection)).transpose()?;
                if has_join(&source) && filter.as_ref().is_some_and(may_raise) {
                    refuse!("a condition around a join that may raise an error");
                }
                (source, filter)
            }
            source => {
                let terms = plain.into_iter().map(|term| compiler.boolean(term)).collect::<Result<Vec<_>>>()?;
                (source, (!terms.is_empty()).then_some(Expr::And(terms)))
            }
        };
        let width = scope.columns.len();
        for lookup in lookups {
            if let Some(filter) = &mut filter {
                simplify(filter)?;
            }
            source = self.look_up(relation_of(source, width, filter.take())?, scope, &lookup)?;
        }
        Ok((source, filter))
    }

    /// A relation's rows for which a subquery has one (or none).
    fn look_up(&self, outer: Relation, scope: &Scope, lookup: &Lookup<'a>) -> Result<Source> {
        let kind = if lookup.negated { JoinKind::Anti } else { JoinKind::Semi };
        let plain = self.plain_subquery(lookup.query);
        let (inner, inner_scope, selection, item) = match plain {
            Some((select, item)) => {
                let (source, own) = self.from(&select.from)?;
                (source, own, select.selection.as_ref(), item)
            }
            // One of its own, which cannot see the query around.
            None if lookup.operand.is_some() => {
                let query = self.query(lookup.query)?;
                let columns = as_columns(&query.outputs);
                (Source::Query(Box::new(query)), Scope::of("", columns), None, None)
            }
            None => refuse!("EXISTS over more than rows"),
        };
        let inner_width = inner_scope.columns.len();
        let first = inner_scope.columns.first().map(|column| column.typed.clone());
        let (outer_width, both) = (outer.width, scope.around(inner_scope.clone()));
        let mut terms = Vec::new();
        selection.into_iter().for_each(|selection| conjuncts(selection, &mut terms));
        // What the subquery says of its own rows is decided there.
        let mut own_terms = Vec::new();
        let mut shared = Vec::new();
        let mut compiler = Compiler { scope: &both, parameters: self.parameters, aggregates: None };
        for term in terms {
            let mut condition = compiler.boolean(term)?;
            let mut read = vec![false; outer_width + inner_width];
            condition.mark_columns(&mut read);
            if read[..outer_width].contains(&true) {
                shared.push(condition);
            } else {
                condition.rewrite(&mut |expr| {
                    Ok::<_, crate::error::Unsupported>(match expr {
                        Expr::Column(index) => Some(Expr::Column(index - outer_width)),
                        _ => None,
                    })
                })?;
                own_terms.push(condition);
            }
        }
        if let Some(operand) = lookup.operand {
            // It belongs to the query around, whatever names the subquery has.
            let mut outside = Compiler { scope, parameters: self.parameters, aggregates: None };
            let value = outside.compile(operand)?;
            let found = match (item, first) {
                (Some(item), _) => compiler.compile(item)?,
                (None, Some(column)) if plain.is_none() && inner_width == 1 => {
                    Typed { expr: Expr::Column(outer_width), ..column }
                }
                _ => refuse!("IN over other than one column"),
            };
            let (ty, left, right) = comparable(value, found)?;
            shared.push(Expr::Compare { symbol: "=", ty, left: Box::new(left), right: Box::new(right) });
        }
        let (source, filter) = match inner {
            Source::Join(mut join) if join.kind == JoinKind::Inner => {
                for term in own_terms {
                    join.add(term)?;
                }
                (join.check()?, None)
            }
            source => {
                let mut filter = (!own_terms.is_empty()).then_some(Expr::And(own_terms));
                filter.iter_mut().try_for_each(simplify)?;
                (source, filter)
            }
        };
        let mut join = Join::new(kind, vec![outer, relation_of(source, inner_width, filter)?]);
        for term in shared {
            join.add(term)?;
        }
        join.check()
    }

    /// A subquery that is nothing but rows of its FROM; the one column it selects.
    fn plain_subquery(&self, query: &'a ast::Query) -> Option<(&'a ast::Select, Option<&'a ast::Expr>)> {
        let SetExpr::Select(select) = query.body.as_ref() else { return None };
        let ungrouped = matches!(&select.group_by, ast::GroupByExpr::Expressions(keys, modifiers)
            if keys.is_empty() && modifiers.is_empty());
        let plain = query.with.is_none()
            && query.order_by.is_none()
            && query.limit_clause.is_none()
            && query.fetch.is_none()
            && query.locks.is_empty()
            && ungrouped
            && select.having.is_none()
            && Self::is_usual(select)
            && !matches!(select.distinct, Some(ast::Distinct::On(_)));
        let items: Vec<Option<&ast::Expr>> = select
            .projection
            .iter()
            .map(|item| match item {
                ast::SelectItem::UnnamedExpr(expr) | ast::SelectItem::ExprWithAlias { expr, .. } => Some(expr),
                _ => None,
            })
            .collect();
        let rows_only = items.iter().flatten().all(|expr| is_plain_item(expr));
        let one = match items.as_slice() {
            [item] => *item,
            _ => None,
        };
        (plain && rows_only).then_some((select, one))
    }
}

/// Whether selecting it yields one row for each of FROM's: it calls neither aggregates nor functions that return rows.
fn is_plain_item(expr: &ast::Expr) -> bool {
    match expr {
        ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_) | ast::Expr::Value(_) => true,
        ast::Expr::Nested(inner) | ast::Expr::Cast { expr: inner, .. } => is_plain_item(inner),
        ast::Expr::BinaryOp { left, right, .. } => is_plain_item(left) && is_plain_item(right),
        _ => false,
    }
}

/// An inner join to which relations can be added.
fn inner(source: Source, width: usize) -> Result<Join> {
    Ok(match source {
        Source::Join(join) if join.kind == JoinKind::Inner => *join,
        source => Join::new(JoinKind::Inner, vec![relation_of(source, width, None)?]),
    })
}

/// Adds a relation, or those that an inner join is of.
fn append(join: &mut Join, source: Source, width: usize) -> Result<()> {
    match source {
        Source::Join(other) if other.kind == JoinKind::Inner => {
            let (relations, columns) = (join.relations.len(), join.relations.iter().map(|own| own.width).sum());
            for equality in other.equalities {
                let [one, another] = equality
                    .sides
                    .map(|side| Side { relation: side.relation + relations, expr: shifted(side.expr, columns) });
                join.equalities.push(Equality { ty: equality.ty, sides: [one, another] });
            }
            join.conditions.extend(other.conditions.into_iter().map(|condition| shifted(condition, columns)));
            join.relations.extend(other.relations);
        }
        source => join.relations.push(relation_of(source, width, None)?),
    }
    Ok(())
}

/// The same over columns that come so many further behind.
fn shifted(mut expr: Expr, by: usize) -> Expr {
    if let Expr::Column(index) = &mut expr {
        *index += by;
    }
    for child in expr.children_mut() {
        let own = std::mem::replace(child, Expr::Literal(crate::datum::Datum::Null));
        *child = shifted(own, by);
    }
    expr
}
