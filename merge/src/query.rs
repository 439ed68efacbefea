//! A merge query, taken apart into the steps that run it.

use atoll_wire::rows;
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::sql::sqlparser::ast::{self, Distinct, SetExpr, SetOperator, SetQuantifier, Statement};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::clauses::{bare, check_grouped, order_keys, output_named, outputs, position};
use crate::compile::{AggregateCall, Compiler, Result, Scope, fold, settle};
use crate::error::{Unsupported, refuse};
use crate::expr::{Collation, Expr, Typed};
use crate::join::Join;
use crate::simplify::{order_conjuncts, simplify};
use crate::types::PgType;

/// A relation of the merge query.
#[derive(Clone, Debug)]
pub struct InputSchema {
    /// The name under which the merge query reads it.
    pub name: String,
    /// As `atoll_wire::rows::schema` makes it: every field says its type OID, modifier and format.
    pub schema: Schema,
    /// One per field.
    pub columns: Vec<InputColumn>,
}

/// What the planner knows about a column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InputColumn {
    /// Text in it is ordered and compared by its bytes.
    pub bytewise_collation: bool,
    /// The merge only hands it to the client.
    pub passed_on: bool,
}

/// Where a query's rows come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The input of this number.
    Input(usize),
    /// A subquery in FROM.
    Query(Box<Query>),
    /// UNION ALL of queries with the same column types.
    Union(Vec<Query>),
    Join(Box<Join>),
}

/// GROUP BY and aggregates. Its rows are the keys, then the aggregates.
#[derive(Clone, Debug)]
pub struct Grouping {
    /// Over the source's columns.
    pub keys: Vec<Typed>,
    pub aggregates: Vec<AggregateCall>,
    /// HAVING, over the grouping's columns.
    pub having: Option<Expr>,
}

/// A key of ORDER BY.
#[derive(Clone, Debug)]
pub struct OrderKey {
    pub expr: Expr,
    pub ty: PgType,
    /// The output column that it is, if it is one.
    pub output: Option<usize>,
    pub descending: bool,
    pub nulls_first: bool,
}

/// One SELECT, or a UNION of several.
#[derive(Clone, Debug)]
pub struct Query {
    pub source: Source,
    /// WHERE, over the source's columns.
    pub filter: Option<Expr>,
    pub grouping: Option<Grouping>,
    /// Names and expressions over the grouping's columns, or the source's.
    pub outputs: Vec<(String, Typed)>,
    pub distinct: bool,
    pub order: Vec<OrderKey>,
    /// Expressions over nothing but parameters, of type bigint.
    pub limit: Option<Expr>,
    pub offset: Option<Expr>,
}

impl Query {
    /// The schema of its rows, with types, modifiers and formats as metadata.
    pub fn schema(&self) -> Schema {
        let field = |(name, typed): &(String, Typed)| -> Field {
            rows::field(name, typed.ty.oid(), typed.typmod, typed.format)
        };
        Schema::new(self.outputs.iter().map(field).collect::<Vec<_>>())
    }
}

impl Query {
    /// Whether any part of it reads the parameter of this (zero-based) number.
    pub fn reads_parameter(&self, number: usize) -> bool {
        fn reads(expr: &Expr, number: usize) -> bool {
            matches!(expr, Expr::Parameter(read) if *read == number)
                || expr.children().into_iter().any(|child| reads(child, number))
        }
        let grouping = self.grouping.iter().flat_map(|grouping| {
            let keys = grouping.keys.iter().map(|key| &key.expr);
            keys.chain(grouping.aggregates.iter().map(|call| &call.argument)).chain(&grouping.having)
        });
        let mut own = (self.outputs.iter().map(|(_, typed)| &typed.expr))
            .chain(self.order.iter().map(|key| &key.expr))
            .chain(&self.filter)
            .chain(&self.limit)
            .chain(&self.offset)
            .chain(grouping);
        fn source_reads(source: &Source, number: usize) -> bool {
            match source {
                Source::Input(_) => false,
                Source::Query(inner) => inner.reads_parameter(number),
                Source::Union(arms) => arms.iter().any(|arm| arm.reads_parameter(number)),
                Source::Join(join) => {
                    join.exprs().any(|expr| reads(expr, number))
                        || join.relations.iter().any(|relation| source_reads(&relation.source, number))
                }
            }
        }
        own.any(|expr| reads(expr, number)) || source_reads(&self.source, number)
    }

    /// Whether no row of it comes out before the last one of its source has gone in.
    pub fn holds_rows_back(&self) -> bool {
        self.grouping.is_some() || self.distinct || !self.order.is_empty()
    }
}

impl Query {
    /// Folds the constants of its own expressions. After grouping is resolved: that goes by what is written.
    fn simplify(&mut self) -> Result<()> {
        self.filter.iter_mut().try_for_each(simplify)?;
        self.filter.iter_mut().for_each(order_conjuncts);
        if let Some(grouping) = &mut self.grouping {
            grouping.keys.iter_mut().try_for_each(|key| simplify(&mut key.expr))?;
            grouping.aggregates.iter_mut().try_for_each(|call| simplify(&mut call.argument))?;
            grouping.having.iter_mut().try_for_each(simplify)?;
            grouping.having.iter_mut().for_each(order_conjuncts);
        }
        self.outputs.iter_mut().try_for_each(|(_, output)| simplify(&mut output.expr))?;
        self.order.iter_mut().try_for_each(|key| simplify(&mut key.expr))
    }
}

/// The types of an input's columns; [`PgType::Other`] for those that are only carried.
///
/// # Errors
/// When a field does not say its type.
pub fn input_types(input: &InputSchema) -> Result<Vec<PgType>> {
    let carried = |typed: Typed| if typed.opaque { PgType::Other(typed.ty.oid()) } else { typed.ty };
    Ok(input_columns(input)?.into_iter().map(|(_, typed)| carried(typed)).collect())
}

/// Parses and checks a merge query.
///
/// # Errors
/// When it is not one SELECT, or when anything in it is not on the verified list.
pub fn prepare(sql: &str, inputs: &[InputSchema], parameters: &[u32]) -> Result<Query> {
    let statements =
        Parser::parse_sql(&PostgreSqlDialect {}, sql).map_err(|error| Unsupported::new(error.to_string()))?;
    let [Statement::Query(query)] = statements.as_slice() else { refuse!("not one SELECT") };
    Preparer { inputs, parameters, named: Vec::new() }.query(query)
}

#[derive(Clone)]
pub(crate) struct Preparer<'a> {
    inputs: &'a [InputSchema],
    pub(crate) parameters: &'a [u32],
    /// Queries of WITH, the innermost last. Each sees those before it.
    named: Vec<(String, &'a ast::Cte)>,
}

impl<'a> Preparer<'a> {
    pub(crate) fn query(&self, query: &'a ast::Query) -> Result<Query> {
        if let Some(with) = &query.with {
            if with.recursive {
                refuse!("WITH RECURSIVE");
            }
            let mut inner = self.clone();
            for cte in &with.cte_tables {
                inner.named.push((fold(&cte.alias.name), cte));
            }
            return inner.body(query);
        }
        self.body(query)
    }

    /// A query, its WITH read.
    fn body(&self, query: &'a ast::Query) -> Result<Query> {
        let plain = query.locks.is_empty()
            && query.for_clause.is_none()
            && query.settings.is_none()
            && query.format_clause.is_none()
            && query.pipe_operators.is_empty();
        if !plain {
            refuse!("FOR UPDATE and other clauses around a SELECT");
        }
        let order_by = match &query.order_by {
            None => &[][..],
            Some(ast::OrderBy { kind: ast::OrderByKind::Expressions(keys), interpolate: None }) => keys,
            Some(other) => refuse!("{other}"),
        };
        let mut prepared = match query.body.as_ref() {
            SetExpr::Select(select) => self.select(select, order_by)?,
            // In parentheses.
            SetExpr::Query(inner) => {
                let prepared = self.query(inner)?;
                if order_by.is_empty() && query.limit_clause.is_none() && query.fetch.is_none() {
                    return Ok(prepared);
                }
                refuse!("ORDER BY or LIMIT behind a SELECT in parentheses");
            }
            body => {
                let mut union = self.set(body)?;
                let scope = Scope::of("", union.outputs.clone());
                let mut compiler = Compiler { scope: &scope, parameters: self.parameters, aggregates: None };
                union.order = order_keys(order_by, &mut compiler, &union.outputs)?;
                if union.order.iter().any(|key| key.output.is_none()) {
                    refuse!("ORDER BY an expression over a UNION");
                }
                union
            }
        };
        (prepared.limit, prepared.offset) = self.limits(query)?;
        Ok(prepared)
    }

    fn limits(&self, query: &ast::Query) -> Result<(Option<Expr>, Option<Expr>)> {
        let (limit, offset) = match &query.limit_clause {
            None => (None, None),
            Some(ast::LimitClause::LimitOffset { limit, offset, limit_by }) if limit_by.is_empty() => {
                (limit.as_ref(), offset.as_ref().map(|offset| &offset.value))
            }
            Some(other) => refuse!("{other}"),
        };
        let limit = match (&query.fetch, limit) {
            (None, limit) => limit,
            (Some(ast::Fetch { with_ties: false, percent: false, quantity: Some(quantity) }), None) => Some(quantity),
            (Some(fetch), _) => refuse!("{fetch}"),
        };
        let scope = Scope::default();
        let mut compiler = Compiler { scope: &scope, parameters: self.parameters, aggregates: None };
        let mut count = |ast: &ast::Expr| -> Result<Expr> {
            Ok(crate::compile::coerce(compiler.compile(ast)?, PgType::Int8)?.expr)
        };
        Ok((limit.map(&mut count).transpose()?, offset.map(&mut count).transpose()?))
    }

    /// UNION and UNION ALL.
    fn set(&self, body: &'a SetExpr) -> Result<Query> {
        match body {
            SetExpr::Select(select) => self.select(select, &[]),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { left, op: SetOperator::Union, set_quantifier, right } => {
                let distinct = match set_quantifier {
                    SetQuantifier::All => false,
                    SetQuantifier::None | SetQuantifier::Distinct => true,
                    other => refuse!("UNION {other}"),
                };
                let arms = vec![self.set(left)?, self.set(right)?];
                let outputs = union_outputs(&arms)?;
                if distinct {
                    check_grouped(outputs.iter().map(|(_, typed)| typed), "UNION")?;
                }
                Ok(Query {
                    source: Source::Union(arms),
                    filter: None,
                    grouping: None,
                    outputs,
                    distinct,
                    order: Vec::new(),
                    limit: None,
                    offset: None,
                })
            }
            SetExpr::SetOperation { op, .. } => refuse!("{op}"),
            _ => refuse!("a query that is no SELECT"),
        }
    }

    /// Whether it has no clauses that this does not know.
    pub(crate) fn is_usual(select: &ast::Select) -> bool {
        select.optimizer_hints.is_empty()
            && select.select_modifiers.is_none()
            && select.top.is_none()
            && select.exclude.is_none()
            && select.into.is_none()
            && select.lateral_views.is_empty()
            && select.prewhere.is_none()
            && select.connect_by.is_empty()
            && select.cluster_by.is_empty()
            && select.distribute_by.is_empty()
            && select.sort_by.is_empty()
            && select.named_window.is_empty()
            && select.qualify.is_none()
            && select.value_table_mode.is_none()
            && select.flavor == ast::SelectFlavor::Standard
    }

    fn select(&self, select: &'a ast::Select, order_by: &[ast::OrderByExpr]) -> Result<Query> {
        if !Self::is_usual(select) {
            refuse!("an unusual clause of SELECT");
        }
        let distinct = match &select.distinct {
            None | Some(Distinct::All) => false,
            Some(Distinct::Distinct) => true,
            Some(Distinct::On(_)) => refuse!("DISTINCT ON"),
        };
        let (source, scope) = self.from(&select.from)?;
        let (source, filter) = self.selection(source, &scope, select.selection.as_ref())?;

        let mut compiler = Compiler { scope: &scope, parameters: self.parameters, aggregates: Some(Vec::new()) };
        let outputs = outputs(&select.projection, &mut compiler)?;
        let keys = self.group_keys(&select.group_by, &scope, &outputs)?;
        let having = select.having.as_ref().map(|having| compiler.boolean(having)).transpose()?;
        let order = order_keys(order_by, &mut compiler, &outputs)?;
        let aggregates = compiler.aggregates.unwrap_or_default();

        let mut query = Query { source, filter, grouping: None, outputs, distinct, order, limit: None, offset: None };
        if keys.is_empty() && aggregates.is_empty() && having.is_some() {
            refuse!("HAVING without a grouping or an aggregate");
        }
        if !keys.is_empty() || !aggregates.is_empty() {
            check_grouped(&keys, "GROUP BY")?;
            check_distinct(&aggregates)?;
            query.grouping = Some(Grouping { keys, aggregates, having });
            resolve_grouping(&mut query)?;
        }
        if distinct {
            check_grouped(query.outputs.iter().map(|(_, typed)| typed), "DISTINCT")?;
            if query.order.iter().any(|key| key.output.is_none()) {
                refuse!("ORDER BY what SELECT DISTINCT does not select");
            }
        }
        query.simplify()?;
        Ok(query)
    }

    /// A relation of FROM.
    pub(crate) fn relation(&self, relation: &'a ast::TableFactor) -> Result<(Source, Scope)> {
        let (source, name, alias, columns) = match relation {
            ast::TableFactor::Table {
                name,
                alias,
                args: None,
                with_hints,
                version: None,
                with_ordinality: false,
                partitions,
                json_path: None,
                sample: None,
                index_hints,
            } if with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty() => {
                let [ast::ObjectNamePart::Identifier(ident)] = name.0.as_slice() else { refuse!("relation {name}") };
                let name = fold(ident);
                if let Some(at) = self.named.iter().rposition(|(named, _)| *named == name) {
                    let cte = self.named[at].1;
                    let outer = Preparer { named: self.named[..at].to_vec(), ..*self };
                    let query = outer.query(&cte.query)?;
                    let columns = renamed(as_columns(&query.outputs), &cte.alias.columns)?;
                    let (relation, columns) = aliased(name, columns, alias.as_ref())?;
                    return Ok((Source::Query(Box::new(query)), Scope::of(&relation, columns)));
                }
                let Some(index) = self.inputs.iter().position(|input| input.name == name) else {
                    refuse!("relation \"{name}\" is no input")
                };
                (Source::Input(index), name, alias, input_columns(&self.inputs[index])?)
            }
            ast::TableFactor::Derived { lateral: false, subquery, alias, sample: None } => {
                let query = self.query(subquery)?;
                let columns = as_columns(&query.outputs);
                (Source::Query(Box::new(query)), String::new(), alias, columns)
            }
            other => refuse!("{other} in FROM"),
        };
        let (relation, columns) = aliased(name, columns, alias.as_ref())?;
        Ok((source, Scope::of(&relation, columns)))
    }

    /// GROUP BY: positions, names (of the source first, then of outputs) and expressions.
    fn group_keys(
        &self,
        group_by: &ast::GroupByExpr,
        scope: &Scope,
        outputs: &[(String, Typed)],
    ) -> Result<Vec<Typed>> {
        let ast::GroupByExpr::Expressions(items, modifiers) = group_by else { refuse!("GROUP BY ALL") };
        if !modifiers.is_empty() {
            refuse!("modifiers of GROUP BY");
        }
        let mut compiler = Compiler { scope, parameters: self.parameters, aggregates: None };
        let mut keys: Vec<Typed> = Vec::with_capacity(items.len());
        for item in items.iter().map(bare) {
            let key = match position(item, outputs)? {
                Some(output) => outputs[output].1.clone(),
                None => match item {
                    ast::Expr::Identifier(ident) if scope.find(&fold(ident))?.is_none() => {
                        match output_named(&fold(ident), outputs)? {
                            Some(output) => outputs[output].1.clone(),
                            None => refuse!("column \"{}\" does not exist", fold(ident)),
                        }
                    }
                    _ => settle(compiler.compile(item)?)?,
                },
            };
            if holds_aggregate(&key.expr) {
                refuse!("an aggregate in GROUP BY");
            }
            if !keys.iter().any(|known| known.expr.is_same(&key.expr)) {
                keys.push(key);
            }
        }
        Ok(keys)
    }
}

/// The columns of an input.
fn input_columns(input: &InputSchema) -> Result<Vec<(String, Typed)>> {
    if input.columns.len() != input.schema.fields().len() {
        refuse!("{} column facts for {} columns", input.columns.len(), input.schema.fields().len());
    }
    let mut columns = Vec::with_capacity(input.columns.len());
    for (index, (field, facts)) in input.schema.fields().iter().zip(&input.columns).enumerate() {
        let (Some(type_oid), Some(format)) = (rows::field_oid(field), rows::field_format(field)) else {
            refuse!("column \"{}\" without a PostgreSQL type", field.name())
        };
        let ty = PgType::of(type_oid);
        let is_raw = format != rows::ColumnFormat::Typed;
        if !is_raw && *field.data_type() != ty.arrow() {
            refuse!("column \"{}\" of Arrow type {}", field.name(), field.data_type());
        }
        let collation = match ty {
            // Its collation is "C" unless told otherwise.
            PgType::Name => Collation::Bytes,
            _ if !ty.is_text() => Collation::Neutral,
            _ if facts.bytewise_collation => Collation::Bytes,
            _ => Collation::Other,
        };
        let opaque = is_raw || facts.passed_on || matches!(ty, PgType::Other(_));
        let typmod = rows::field_typmod(field);
        columns
            .push((field.name().clone(), Typed { expr: Expr::Column(index), ty, typmod, format, opaque, collation }));
    }
    Ok(columns)
}

/// A relation's name and columns under its alias.
fn aliased(
    name: String,
    columns: Vec<(String, Typed)>,
    alias: Option<&ast::TableAlias>,
) -> Result<(String, Vec<(String, Typed)>)> {
    match alias {
        None => Ok((name, columns)),
        Some(alias) => Ok((fold(&alias.name), renamed(columns, &alias.columns)?)),
    }
}

fn renamed(mut columns: Vec<(String, Typed)>, aliases: &[ast::TableAliasColumnDef]) -> Result<Vec<(String, Typed)>> {
    if aliases.len() > columns.len() {
        refuse!("more column aliases than columns");
    }
    for (column, alias) in columns.iter_mut().zip(aliases) {
        column.0 = fold(&alias.name);
    }
    Ok(columns)
}

/// A query's outputs as columns of what reads it.
pub(crate) fn as_columns(outputs: &[(String, Typed)]) -> Vec<(String, Typed)> {
    let column = |(index, (name, typed)): (usize, &(String, Typed))| {
        let collation = if typed.collation == Collation::Explicit { Collation::Bytes } else { typed.collation };
        (name.clone(), Typed { expr: Expr::Column(index), collation, ..typed.clone() })
    };
    outputs.iter().enumerate().map(column).collect()
}

fn union_outputs(arms: &[Query]) -> Result<Vec<(String, Typed)>> {
    let mut columns = as_columns(&arms[0].outputs);
    for arm in &arms[1..] {
        if arm.outputs.len() != columns.len() {
            refuse!("UNION arms of different width");
        }
        for ((_, column), (_, output)) in columns.iter_mut().zip(&arm.outputs) {
            if output.ty != column.ty || output.format != column.format {
                refuse!("UNION of {} and {}", column.ty.name(), output.ty.name());
            }
            column.opaque |= output.opaque;
            column.collation = column.collation.with(output.collation);
            if output.typmod != column.typmod {
                column.typmod = -1;
            }
        }
    }
    Ok(columns)
}

/// Distinct aggregates are one grouping more: of one argument.
fn check_distinct(calls: &[AggregateCall]) -> Result<()> {
    let mut distinct = calls.iter().filter(|call| call.distinct);
    let Some(first) = distinct.next() else { return Ok(()) };
    if distinct.any(|call| call.ty != first.ty || !call.argument.is_same(&first.argument)) {
        refuse!("aggregates over several DISTINCT arguments");
    }
    let adds_floats = |call: &AggregateCall| {
        matches!(call.ty, PgType::Float4 | PgType::Float8)
            && call.function.is_some_and(|function| function.name == "sum")
    };
    if calls.iter().any(adds_floats) {
        refuse!("a sum of floats beside a DISTINCT aggregate");
    }
    Ok(())
}

fn holds_aggregate(expr: &Expr) -> bool {
    matches!(expr, Expr::Aggregate(_)) || expr.children().into_iter().any(holds_aggregate)
}

/// Rewrites what is computed after the grouping from the source's columns to the grouping's.
fn resolve_grouping(query: &mut Query) -> Result<()> {
    let Some(grouping) = &mut query.grouping else { return Ok(()) };
    let keys = &grouping.keys;
    let mut replace = |expr: &Expr| -> Result<Option<Expr>> {
        if let Some(index) = keys.iter().position(|key| key.expr.is_same(expr)) {
            return Ok(Some(Expr::Column(index)));
        }
        match expr {
            Expr::Aggregate(call) => Ok(Some(Expr::Column(keys.len() + call))),
            Expr::Column(_) => refuse!("a column that is neither grouped nor aggregated"),
            _ => Ok(None),
        }
    };
    if let Some(having) = &mut grouping.having {
        having.rewrite(&mut replace)?;
    }
    for (_, output) in &mut query.outputs {
        output.expr.rewrite(&mut replace)?;
    }
    for key in &mut query.order {
        key.expr.rewrite(&mut replace)?;
    }
    Ok(())
}
