//! One walk over a statement: its relations, functions and subqueries resolved, and what is known of distribution keys.
//!
//! Two kinds of facts come out. *Pins*: values outside of which rows of a table cannot matter to the answer. *Flows*: a pin on one table's
//! key carries over to another's, because they are equal wherever it matters. Both are collected only where that is sound: from
//! conjuncts of WHERE, from ON conditions towards the side they can restrict, from correlated subqueries inwards, through derived tables
//! and CTEs that pass the key through unharmed.

mod constants;
mod expressions;
mod facts;
mod from;
mod keys;
mod outputs;
mod resolve;
mod scope;
mod walk;
mod writes;

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::Facts;
use crate::catalog::Relation;
use crate::directory::{ColocationId, KeyColumn, TableName};
use crate::names::{Routine, Target};
use crate::plan::KeySource;
use crate::scan::Span;
use crate::syntax::{Assignment, Call, Expr, Insert, Query, Statement, TableRef};

pub(crate) use keys::{assigned_constant, constant};
pub(crate) use scope::{Columns, Resolved, ScopeId};

/// A place where a statement names a relation.
#[derive(Debug)]
pub(crate) struct Occurrence<'f, 't, 'a> {
    pub table: &'t TableRef<'a>,
    pub full: TableName,
    pub target: Target<'f>,
    pub relation: Option<&'f Relation>,
    /// The query block whose FROM (or whose target) it is.
    pub block: usize,
    /// What INSERT, UPDATE, DELETE or MERGE changes.
    pub written: bool,
    /// An outer join may put NULLs in place of its rows.
    pub nullable: bool,
    /// As [`Occurrence::nullable`], but for conditions that rows of NULLs do not meet.
    pub outer_joined: bool,
    /// A star stands for all of its columns.
    pub starred: bool,
    /// It stands in a CTE that nothing reads: PostgreSQL does not run it.
    pub unread: bool,
    pub pins: Option<Vec<KeySource>>,
}

impl<'f> Occurrence<'f, '_, '_> {
    pub fn distributed(&self) -> Option<(ColocationId, &'f KeyColumn)> {
        match self.target {
            Target::Distributed { colocation, key } => Some((colocation, key)),
            _ => None,
        }
    }
}

/// From one occurrence's key to another's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub from: usize,
    pub to: usize,
    /// Rows with equal keys stay together even where a pin does not carry over (the two sides of FULL JOIN).
    pub locality_only: bool,
}

#[derive(Debug)]
pub(crate) struct FunctionUse<'f, 't, 'a> {
    pub call: &'t Call<'a>,
    pub routine: Routine<'f>,
}

/// A schema's name in front of a table's in a column reference or a relation: `public` in `public.t.a`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Qualifier {
    /// Everything in front of the table's name, the last dot included.
    pub span: Span,
    /// The table's name.
    pub table: Span,
    pub occurrence: usize,
}

/// What outer joins in a block's FROM would break if every shard ran it alone.
#[derive(Clone, Debug)]
pub(crate) struct BlockFacts<'t, 'a> {
    /// `None`: the statement's own block; the block of a subquery's position is not always known, and is then `usize::MAX`.
    pub parent: Option<usize>,
    /// WHERE, and the scope in which its names are resolved.
    pub selection: Option<&'t Expr<'a>>,
    /// Conditions of inner joins.
    pub inner: Vec<&'t Expr<'a>>,
    pub scope: ScopeId,
    /// Its rows over all shards are its rows shard by shard: no grouping, no DISTINCT, no window, no LIMIT, no set operation.
    pub plain: bool,
    /// A side that keeps all its rows has no distributed table, but the other side has one.
    pub preserves_undistributed: bool,
}

/// A query anywhere in the statement, outer ones first.
#[derive(Clone, Debug)]
pub(crate) struct QueryFacts<'t, 'a> {
    pub query: &'t Query<'a>,
    /// The block and the scope of its SELECT, when it is one.
    pub select: Option<(usize, ScopeId)>,
    pub occurrences: Range<usize>,
    /// It refers to columns of a query around it.
    pub correlated: bool,
    /// It reads a CTE that is defined outside.
    pub outer_cte: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Analysis<'f, 't, 'a> {
    pub occurrences: Vec<Occurrence<'f, 't, 'a>>,
    pub flows: Vec<Flow>,
    pub functions: Vec<FunctionUse<'f, 't, 'a>>,
    pub qualifiers: Vec<Qualifier>,
    pub blocks: Vec<BlockFacts<'t, 'a>>,
    pub scopes: Vec<scope::Scope<'t, 'a>>,
    pub queries: Vec<QueryFacts<'t, 'a>>,
    /// A cast to regclass or its kin of what is not constant.
    pub catalog_cast: bool,
    /// Constant expressions of which only the catalog database knows the value.
    pub catalog_values: Vec<Span>,
    /// Expressions that output columns without alias have their names from, with the names.
    pub namers: HashMap<Span, String>,
    /// Where calls begin that are items of FROM.
    pub row_sources: HashSet<usize>,
    /// FOR UPDATE or FOR SHARE.
    pub lock: Option<Span>,
    pub into: Option<Span>,
    /// `ctid` and other system columns of a distributed table.
    pub system_column: Option<Span>,
    /// A table's name used as a value: the whole row.
    pub whole_row: Option<Span>,
    /// `(row).*`: any columns of any table.
    pub stars: bool,
    pub natural: bool,
    /// INSERT, UPDATE, DELETE or MERGE inside WITH.
    pub modifying_cte: bool,
    pub with: bool,
    /// Number of parameters: the highest.
    pub parameters: usize,
    /// What UPDATE, MERGE and ON CONFLICT set, with the table they set it in.
    pub assignments: Vec<(usize, &'t Assignment<'a>)>,
    /// Every INSERT, with its table.
    pub inserts: Vec<(usize, &'t Insert<'a>)>,
    /// MERGE inserts rows whose key is not that of a source row.
    pub merge_unanchored: bool,
    /// Tables from which MERGE takes the key of rows that it inserts.
    pub merge_sources: Vec<usize>,
    /// Targets of MERGE, with keys of rows that it inserts.
    pub merge_keys: Vec<(usize, Vec<KeySource>)>,
    /// A name reaches into another database: `app.public.t`.
    pub database_names: Vec<Span>,
}

/// Walks a statement.
pub(crate) fn analyse<'f, 't, 'a>(
    facts: Facts<'f>,
    sql: &'a str,
    statement: &'t Statement<'a>,
) -> Analysis<'f, 't, 'a> {
    let mut walker = walk::Walker::new(facts, sql);
    walker.statement(statement, None);
    walker.finish()
}

impl Analysis<'_, '_, '_> {
    pub fn distributed(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.occurrences.len()).filter(|index| self.occurrences[*index].distributed().is_some())
    }

    /// Whether this stretch of the text is (part of) what the catalog database is asked for.
    pub fn is_catalog_value(&self, span: Span) -> bool {
        self.catalog_values.iter().any(|value| value.start <= span.start && span.end <= value.end)
    }

    pub fn any_target(&self, condition: impl Fn(&Target<'_>) -> bool) -> bool {
        self.occurrences.iter().any(|occurrence| condition(&occurrence.target))
    }

    /// Every distributed occurrence that shares its rows' places with `root`, root included.
    pub fn together_with(&self, root: usize) -> Vec<bool> {
        let mut together = vec![false; self.occurrences.len()];
        together[root] = true;
        loop {
            let before = together.iter().filter(|flag| **flag).count();
            for flow in &self.flows {
                if together[flow.from] {
                    together[flow.to] = true;
                }
            }
            if together.iter().filter(|flag| **flag).count() == before {
                return together;
            }
        }
    }
}
