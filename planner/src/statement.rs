//! One statement's way from text to plan.

use std::collections::HashSet;
use std::ops::Range;

use crate::analysis::{Analysis, FunctionUse, Occurrence, Resolved, ScopeId, analyse};
use crate::catalog::{Column, Volatility};
use crate::edits::Edits;
use crate::names::{Effect, Routine, Target};
use crate::parser::parse_statement;
use crate::plan::{
    Access, DistributeFunction, Keys, Many, Merge, OwnFunction, Piece, Plan, Refusal, Relay, Residue, Sharded, Site,
};
use crate::scan::{Span, Token, TokenKind, tokens};
use crate::syntax::{Call, Name, Statement};
use crate::virtual_edits::VirtualEdits;
use crate::{
    Facts, ddl, distribute_call, explain, insert, maintenance, reference, select, session, steps, update, views,
};

/// Plans one statement. Never fails: what cannot be answered is a [`Plan::Refuse`], and what PostgreSQL would reject is relayed to where
/// it rejects it.
pub fn plan(sql: &str, facts: &Facts<'_>) -> Plan {
    let mut tokens = tokens(sql);
    while tokens.last().is_some_and(|token| token.is_symbol(sql, ";")) {
        tokens.pop();
    }
    plan_tokens(sql, &tokens, facts)
}

/// Plans the statement that these tokens of the text are; whatever stands in front of them goes along.
pub(crate) fn plan_tokens(sql: &str, tokens: &[Token], facts: &Facts<'_>) -> Plan {
    let Some(first) = tokens.first() else { return Plan::Empty };
    let mut buffer = [0_u8; 12];
    let text = first.span.of(sql);
    let word = match (first.kind, buffer.get_mut(..text.len())) {
        (TokenKind::Word, Some(lower)) => {
            lower.copy_from_slice(text.as_bytes());
            lower.make_ascii_lowercase();
            std::str::from_utf8(lower).unwrap_or("")
        }
        _ => text,
    };
    let planned = match word {
        "select" | "with" | "values" | "table" | "(" | "insert" | "update" | "delete" | "merge" => {
            return plan_query(sql, tokens, facts);
        }
        "create" | "alter" | "drop" | "truncate" | "lock" | "comment" | "grant" | "revoke" | "reassign"
        | "security" | "refresh" | "import" | "do" | "call" => ddl::plan_ddl(sql, facts),
        "vacuum" | "analyze" | "analyse" | "reindex" | "cluster" | "checkpoint" => {
            maintenance::plan_maintenance(sql, facts)
        }
        "explain" => Some(explain::plan(sql, tokens, facts)),
        "copy" => crate::copy::plan(sql, tokens, facts),
        _ => session::plan(sql, tokens),
    };
    planned.unwrap_or_else(|| unparsed(sql, tokens, facts))
}

/// The fragments of a query over distributed tables and the query over them, also where a single shard could answer it alone; `None` when
/// it is none that reads shards.
pub(crate) fn merge_of(sql: &str, facts: &Facts<'_>) -> Option<Result<Merge, Refusal>> {
    let statement = parse_statement(sql, &tokens(sql)).ok()?;
    let analysis = analyse(*facts, sql, &statement);
    let context = Context { sql, facts: *facts, statement: &statement, analysis: &analysis };
    match (views::expanded(&context), &statement) {
        (None, Statement::Query(query)) => Some(select::merge(&context, query)),
        _ => None,
    }
}

/// Views in views, at most; PostgreSQL has no limit but its stack.
const VIEW_DEPTH_MAX: usize = 64;

fn plan_query(sql: &str, tokens: &[Token], facts: &Facts<'_>) -> Plan {
    plan_query_in(sql, tokens, facts, VIEW_DEPTH_MAX)
}

fn plan_query_in(sql: &str, all: &[Token], facts: &Facts<'_>, views: usize) -> Plan {
    let Ok(statement) = parse_statement(sql, all) else { return unparsed(sql, all, facts) };
    let analysis = analyse(*facts, sql, &statement);
    let context = Context { sql, facts: *facts, statement: &statement, analysis: &analysis };
    match views::expanded(&context) {
        None => context.plan(),
        Some(Err(plan)) => plan,
        Some(Ok(_)) if views == 0 => Refusal::unsupported(
            "views are nested too deeply",
            format!("More than {VIEW_DEPTH_MAX} views over distributed tables are defined by one another."),
            "Query the tables, or a view that is nearer to them.",
        )
        .into(),
        Some(Ok(expanded)) => {
            let start = all.first().map_or(0, |token| token.span.start);
            let mut inner = tokens(&expanded);
            inner.retain(|token| token.span.start >= start && !token.is_symbol(&expanded, ";"));
            let mut plan = plan_query_in(&expanded, &inner, facts, views - 1);
            if let Plan::Sharded(sharded) = &mut plan {
                sharded.views = true;
            }
            plan
        }
    }
}

/// A statement, parsed and resolved.
#[derive(Clone, Copy)]
pub(crate) struct Context<'f, 't, 'a> {
    pub sql: &'a str,
    pub facts: Facts<'f>,
    pub statement: &'t Statement<'a>,
    pub analysis: &'t Analysis<'f, 't, 'a>,
}

impl Context<'_, '_, '_> {
    fn plan(&self) -> Plan {
        let analysis = self.analysis;
        if analysis.into.is_some() {
            let misplaced = || {
                Refusal::unsupported(
                    "SELECT INTO is not supported here",
                    "It makes a table only where it is the whole statement.",
                    "Use CREATE TABLE ... AS, or leave out INTO.",
                )
            };
            return ddl::plan_ddl(self.sql, &self.facts).unwrap_or_else(|| misplaced().into());
        }
        if analysis.functions.iter().any(is_distribute_call)
            && let Some(plan) = distribute_call::plan_distribute(self.sql)
        {
            return plan;
        }
        if analysis.functions.iter().any(is_own_call)
            && let Some(plan) = distribute_call::plan_own(self.sql)
        {
            return plan;
        }
        let distributed = analysis.distributed().next().is_some();
        let writes_shards =
            |occurrence: &Occurrence<'_, '_, '_>| occurrence.written && occurrence.distributed().is_some();
        if analysis.modifying_cte
            && analysis.occurrences.iter().any(writes_shards)
            && !(self.fits_on_shard() && select::is_one_key(&self.keys()))
        {
            return steps::plan(self);
        }
        let beside_catalogs =
            !distributed && analysis.any_target(|target| *target == Target::System) && self.site() == Site::Home;
        if (distributed || beside_catalogs)
            && let Some(refusal) = self.refusal(distributed)
        {
            return refusal.into();
        }
        if analysis
            .occurrences
            .iter()
            .any(|occurrence| occurrence.written && matches!(occurrence.target, Target::Reference))
        {
            return reference::plan(self);
        }
        if beside_catalogs {
            return select::plan_beside_catalogs(self);
        }
        if !distributed {
            return self.relay();
        }
        let span = match self.statement {
            Statement::Query(_) => None,
            Statement::Insert(insert) => Some(insert.span),
            Statement::Update(update) => Some(update.span),
            Statement::Delete(delete) => Some(delete.span),
            Statement::Merge(merge) => Some(merge.span),
        };
        let at_home = analysis
            .occurrences
            .iter()
            .all(|occurrence| !occurrence.written || matches!(occurrence.target, Target::Unsharded | Target::Unknown));
        if let Some(span) = span.filter(|_| at_home) {
            return select::plan_write_at_home(self, span);
        }
        match self.statement {
            Statement::Query(query) => select::plan(self, query),
            Statement::Insert(insert) => insert::plan(self, insert),
            Statement::Update(update) => update::plan_update(self, update),
            Statement::Delete(delete) => update::plan_delete(self, delete),
            Statement::Merge(_) => update::plan_merge(self),
        }
    }

    /// What no plan can be made of, when rows are fetched from shards, or from the catalog database for tables at home.
    fn refusal(&self, distributed: bool) -> Option<Refusal> {
        let analysis = self.analysis;
        let tables = if distributed { "distributed tables" } else { "tables and system catalogs together" };
        for function in &analysis.functions {
            let start = function.call.name.span().start;
            let refused = |name: &str, why: &str, instead: &str| {
                let what = format!("function {name}() cannot be called in a statement on {tables}");
                Some(Refusal::unsupported(what, why, instead).at(start))
            };
            match &function.routine {
                Routine::User { full, overloads }
                    if distributed && overloads.iter().any(|function| function.reads_tables) =>
                {
                    return refused(
                        &full.name,
                        "Its body reads tables or builds SQL: on a shard it would see only that shard's rows.",
                        "Call it in a statement of its own, without distributed tables.",
                    );
                }
                Routine::User { .. } => {}
                Routine::BuiltIn(built_in) => {
                    let (why, instead) = match built_in.effect {
                        Effect::Catalog if analysis.is_catalog_value(crate::marks::span_of(function.call)) => continue,
                        Effect::Catalog => (
                            "The catalog database answers it, which does not have the shards' rows.",
                            "Call it with constants only, or in a statement of its own.",
                        ),
                        Effect::Size => (
                            "Its answer is a sum over all groups, which no shard can compute.",
                            "Call it in a statement of its own.",
                        ),
                        Effect::Session => (
                            "It changes the session, and the shards' servers have sessions of their own.",
                            "Call it in a statement of its own.",
                        ),
                        _ => continue,
                    };
                    return refused(function.call.name.last(), why, instead);
                }
            }
        }
        if let Some(refusal) = update::key_change(self).or_else(|| insert::missing_defaults(self)) {
            return Some(refusal);
        }
        if analysis.catalog_cast {
            return Some(Refusal::unsupported(
                format!("casts of columns to regclass and its kin are not supported in a statement on {tables}"),
                "Such values are numbers of the catalog database's objects, which shards do not share.",
                "Select the column as it is, and cast its values in a statement of their own.",
            ));
        }
        analysis.occurrences.iter().find_map(|occurrence| {
            let (what, why, instead) = match occurrence.target {
                Target::Virtual(_) => (
                    "cannot be joined with distributed tables, nor with tables at home and other system catalogs",
                    "The coordinator puts its rows into the text of a statement that one server answers.",
                    "Query it in a statement of its own.",
                ),
                Target::System if occurrence.table.only => (
                    "cannot be joined with tables by ONLY",
                    "Its rows are fetched as one relation without children.",
                    "Leave out ONLY: system catalogs have no child tables.",
                ),
                _ => return None,
            };
            let what = format!("\"{}\" {what}", occurrence.full.name);
            Some(Refusal::unsupported(what, why, instead).at(occurrence.table.name.span().start))
        })
    }

    /// The plan of a statement without distributed tables and without a written reference table.
    pub fn relay(&self) -> Plan {
        let analysis = self.analysis;
        let site = self.site();
        let mut edits = VirtualEdits::new(self.sql);
        for occurrence in &analysis.occurrences {
            if let Target::Virtual(relation) = occurrence.target {
                let alias = if occurrence.table.alias.is_some() { "" } else { occurrence.table.name.last() };
                edits.relation(occurrence.table.name.span(), relation, alias, occurrence.table.alias_place);
            }
        }
        for qualifier in &analysis.qualifiers {
            let name = analysis.occurrences[qualifier.occurrence].table.name.span();
            let of_relation = name.start == qualifier.span.start;
            if matches!(analysis.occurrences[qualifier.occurrence].target, Target::Virtual(_)) && !of_relation {
                edits.remove(qualifier.span);
            }
        }
        for function in &analysis.functions {
            if let Routine::BuiltIn(built_in) = &function.routine
                && built_in.effect == Effect::Size
            {
                edits.size(function.call);
            }
        }
        if site != Site::Catalog {
            analysis.database_names.iter().for_each(|span| edits.remove(*span));
        }
        let mut clock = Edits::default();
        self.mark_clock(&mut clock);
        let marked = (!clock.is_empty()).then(|| clock.apply_text(self.sql, Span { start: 0, end: self.sql.len() }));
        Plan::Relay(Relay { site, text: edits.finish(), marked, access: self.access(), residue: self.residue() })
    }

    /// Whether it reads what the catalog database or the coordinator knows.
    fn reads_catalogs(&self) -> bool {
        self.analysis.any_target(|target| matches!(target, Target::System | Target::Virtual(_)))
    }

    fn site(&self) -> Site {
        let analysis = self.analysis;
        let catalog = self.reads_catalogs();
        let home_function = analysis.functions.iter().any(|function| match &function.routine {
            // The catalog database has functions, too, but no rows for them.
            Routine::User { overloads, .. } => !catalog || overloads.iter().any(|function| function.may_read),
            Routine::BuiltIn(built_in) => {
                matches!(built_in.effect, Effect::Sequence { .. } | Effect::Home | Effect::HomeSession)
            }
        });
        if home_function || analysis.any_target(|target| matches!(target, Target::Unsharded | Target::Unknown)) {
            return Site::Home;
        }
        let reference = analysis.any_target(|target| matches!(target, Target::Reference | Target::ReferenceView));
        match (reference, catalog) {
            (true, false) if analysis.lock.is_none() => Site::AnyGroup,
            (true, _) => Site::Home,
            (false, _) => Site::Catalog,
        }
    }

    pub fn access(&self) -> Access {
        let analysis = self.analysis;
        let writes = !matches!(self.statement, Statement::Query(_))
            || analysis.modifying_cte
            || analysis.lock.is_some()
            || analysis.occurrences.iter().any(|found| found.relation.is_some_and(|relation| relation.acts))
            || analysis.functions.iter().any(|function| match &function.routine {
                Routine::User { overloads, .. } => {
                    overloads.iter().any(|function| function.volatility == Volatility::Volatile)
                }
                Routine::BuiltIn(built_in) => match built_in.effect {
                    Effect::Sequence { writes } => writes,
                    Effect::Home | Effect::HomeSession => true,
                    _ => false,
                },
            });
        if writes { Access::Write } else { Access::Read }
    }

    pub fn residue(&self) -> Residue {
        let analysis = self.analysis;
        let mut residue = Residue::Clean;
        for function in &analysis.functions {
            match &function.routine {
                Routine::User { overloads, .. } if overloads.iter().any(|function| function.pins) => {
                    return Residue::Pins;
                }
                Routine::User { .. } => residue = Residue::Unknown,
                Routine::BuiltIn(built_in) => match built_in.effect {
                    Effect::Session | Effect::HomeSession => return Residue::Pins,
                    Effect::Sequence { .. } => residue = Residue::Unknown,
                    _ => {}
                },
            }
        }
        let unknown = analysis.occurrences.iter().any(|occurrence| {
            occurrence.target == Target::Unknown || occurrence.relation.is_some_and(|relation| relation.has_triggers)
        });
        // Which the client may ask for with currval() and lastval().
        let draws = analysis.inserts.iter().any(|(target, own)| {
            let relation = analysis.occurrences[*target].relation;
            relation.is_some_and(|relation| relation.columns.iter().any(Column::draws_from_sequence))
                && insert::computes_defaults(own, relation)
        }) || (matches!(self.statement, Statement::Merge(_))
            && analysis
                .occurrences
                .iter()
                .filter_map(|occurrence| occurrence.relation)
                .any(|relation| relation.columns.iter().any(Column::draws_from_sequence)));
        if unknown || draws { Residue::Unknown } else { residue }
    }

    /// Whether the statement gives the same on one shard's group as where the whole can be seen, as far as other relations and
    /// functions are concerned.
    pub fn fits_on_shard(&self) -> bool {
        let analysis = self.analysis;
        let mut colocations = analysis.distributed().filter_map(|index| analysis.occurrences[index].distributed());
        let first = colocations.next().map(|(colocation, _)| colocation);
        colocations.all(|(colocation, _)| Some(colocation) == first)
            && !analysis.any_target(|target| matches!(target, Target::Unsharded | Target::Unknown | Target::System))
            && !self.needs_home()
    }

    /// The catalog's column that a name refers to.
    pub fn column(&self, name: &Name<'_>, scope: ScopeId) -> Option<&Column> {
        let (Resolved::Base { occurrence, column }, _) = self.analysis.resolve(name, scope) else { return None };
        self.analysis.occurrences[occurrence].relation?.columns.iter().find(|own| own.name == column)
    }

    /// Whether a column orders text in another way than the database does: what is computed from it would be ordered anew, and wrongly.
    pub fn is_oddly_collated(&self, column: &Column) -> bool {
        column.collation.is_some() && !(column.bytewise_collation && self.facts.catalog.bytewise_collation)
    }

    /// Calls a function that works only at home.
    pub fn needs_home(&self) -> bool {
        self.analysis.functions.iter().any(|function| match &function.routine {
            Routine::BuiltIn(built_in) => {
                matches!(built_in.effect, Effect::Sequence { .. } | Effect::Home | Effect::HomeSession)
            }
            Routine::User { .. } => false,
        })
    }

    /// The values that all distributed tables' keys are limited to: the statement is exact on any shard that holds them all.
    pub fn keys(&self) -> Keys {
        self.keys_of(0..self.analysis.occurrences.len())
    }

    /// As [`Context::keys`], of some of the relations.
    pub fn keys_of(&self, occurrences: Range<usize>) -> Keys {
        let mut keys = Vec::new();
        let mut seen = HashSet::new();
        for index in self.analysis.distributed().filter(|index| occurrences.contains(index)) {
            let Some(pins) = &self.analysis.occurrences[index].pins else { return Keys::All };
            for pin in pins {
                if seen.insert(pin) {
                    keys.push(pin.clone());
                }
            }
        }
        Keys::These(keys)
    }

    /// Marks calls that tell when the transaction began, so that they tell the same wherever the statement runs.
    pub fn mark_clock(&self, edits: &mut Edits) {
        for function in self.analysis.functions.iter() {
            if let Some(mark) = self.clock_mark(function.call) {
                edits.replace_text(crate::marks::span_of(function.call), mark);
            }
        }
    }

    /// The mark for one such call.
    pub fn clock_mark(&self, call: &Call<'_>) -> Option<String> {
        let span = crate::marks::span_of(call);
        if self.analysis.row_sources.contains(&span.start)
            || !matches!(self.facts.find_function(&call.name), Routine::BuiltIn(_))
        {
            return None;
        }
        crate::marks::clock(self.sql, call, self.analysis.namers.contains_key(&span))
    }

    /// Marks what has one value wherever the statement runs: the clock, and what the catalog database has to be asked for.
    pub fn mark(&self, edits: &mut Edits) {
        self.mark_clock(edits);
        for span in &self.analysis.catalog_values {
            let name = self.analysis.namers.get(span);
            edits.replace_text(*span, crate::marks::catalog(self.sql, *span, name.map(String::as_str)));
        }
    }

    /// Replacements that make names mean a shard's slices, and marks ([`Context::mark`]); with `everywhere`, also those that have no schema in front, so that the text
    /// does not depend on the search path.
    pub fn slice_edits(&self, everywhere: bool) -> Edits {
        let analysis = self.analysis;
        let mut edits = Edits::default();
        self.mark(&mut edits);
        for qualifier in &analysis.qualifiers {
            let occurrence = &analysis.occurrences[qualifier.occurrence];
            match occurrence.target {
                Target::Distributed { .. } => {
                    let slice = vec![Piece::Slice(occurrence.full.schema.clone()), Piece::Text(".".to_owned())];
                    edits.replace(qualifier.span, slice);
                }
                _ => {
                    if let Some(database) =
                        analysis.database_names.iter().find(|span| span.start == qualifier.span.start)
                    {
                        edits.replace_text(*database, "");
                    }
                }
            }
        }
        if everywhere {
            for occurrence in &analysis.occurrences {
                if occurrence.table.name.parts.len() > 1 {
                    continue;
                }
                let start = occurrence.table.name.span().start;
                let before = Span { start, end: start };
                match occurrence.target {
                    Target::Distributed { .. } => {
                        let slice = vec![Piece::Slice(occurrence.full.schema.clone()), Piece::Text(".".to_owned())];
                        edits.replace(before, slice);
                    }
                    Target::Reference | Target::ReferenceView => {
                        edits.replace_text(before, format!("{}.", crate::quote_identifier(&occurrence.full.schema)));
                    }
                    _ => {}
                }
            }
            for function in &analysis.functions {
                if let Routine::User { full, .. } = &function.routine
                    && function.call.name.parts.len() == 1
                {
                    edits.insert_text(
                        function.call.name.span().start,
                        format!("{}.", crate::quote_identifier(&full.schema)),
                    );
                }
            }
        }
        edits
    }

    /// A plan that depends on the keys; `None` when the statement has to see more than shards, or nothing pins it and it fits nowhere.
    pub fn sharded(&self, many: Many) -> Option<Plan> {
        let (colocation, key) =
            self.analysis.distributed().find_map(|index| self.analysis.occurrences[index].distributed())?;
        let residue = self.residue();
        let qualified = residue == Residue::Clean;
        Some(Plan::Sharded(Sharded {
            colocation,
            key_type: key.key_type,
            keys: self.keys(),
            access: self.access(),
            residue,
            single: self.slice_edits(qualified).apply(self.sql, Span { start: 0, end: self.sql.len() }),
            qualified,
            views: false,
            many,
        }))
    }
}

fn is_distribute_call(function: &FunctionUse<'_, '_, '_>) -> bool {
    let parts = &function.call.name.parts;
    let schema = parts.len().checked_sub(2).map(|index| parts[index].name.as_ref());
    DistributeFunction::named(schema, function.call.name.last()).is_some()
}

fn is_own_call(function: &FunctionUse<'_, '_, '_>) -> bool {
    let parts = &function.call.name.parts;
    let schema = parts.len().checked_sub(2).map(|index| parts[index].name.as_ref());
    OwnFunction::named(schema, function.call.name.last()).is_some()
}

/// The plan of what this planner has no grammar for: nothing about it is known but its words. Most of these are syntax errors, which
/// PostgreSQL reports best.
fn unparsed(sql: &str, tokens: &[Token], facts: &Facts<'_>) -> Plan {
    let mut site = Site::Catalog;
    for token in tokens {
        let Some(name) = token.identifier(sql) else { continue };
        if facts.names_distributed(&name) {
            return Refusal::unsupported(
                format!("a statement of this kind cannot use the distributed table \"{name}\""),
                "Atoll does not read this statement's syntax (or it has an error).",
                "Write it in another way, or use a table that is not distributed.",
            )
            .at(token.span.start)
            .into();
        }
        let known = facts.search_path.iter().any(|schema| {
            let full = crate::directory::TableName::new(schema, name.as_ref());
            facts.catalog.relations.contains_key(&full) || facts.catalog.functions.contains_key(&full)
        });
        if known {
            site = Site::Home;
        }
    }
    Plan::Relay(Relay { site, text: None, marked: None, access: Access::Write, residue: Residue::Unknown })
}
