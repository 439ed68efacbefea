//! Statements that provably change nothing: they may be asked again, and of replicas.

use crate::analysis::analyse;
use crate::catalog::{RelationKind, Volatility};
use crate::names::{Effect, Routine, Target};
use crate::parser::parse_statement;
use crate::scan::tokens;
use crate::statement::Context;
use crate::syntax::Statement;
use crate::{Facts, views};

/// Volatile functions of PostgreSQL's that change nothing all the same.
const HARMLESS: [&str; 13] = [
    "random",
    "clock_timestamp",
    "timeofday",
    "gen_random_uuid",
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "pg_is_in_recovery",
    "pg_last_wal_receive_lsn",
    "pg_last_wal_replay_lsn",
    "pg_last_xact_replay_timestamp",
    "pg_lock_status",
    "pg_prepared_xact",
];

/// Functions that give the transaction a number, whatever their volatility says: only primaries can.
const NUMBERING: [&str; 2] = ["txid_current", "pg_current_xact_id"];

/// Whether a statement is a query that can neither write nor lock rows, and leaves nothing behind in its session: no function in it is
/// volatile, in views and policies neither.
pub fn only_reads(sql: &str, facts: &Facts<'_>) -> bool {
    let all = tokens(sql);
    let text = match all.last() {
        Some(last) if last.is_symbol(sql, ";") => &sql[..last.span.start],
        Some(_) => sql,
        None => return false,
    };
    let Ok(statement) = parse_statement(text, &tokens(text)) else { return false };
    let analysis = analyse(*facts, text, &statement);
    let context = Context { sql: text, facts: *facts, statement: &statement, analysis: &analysis };
    match views::expanded(&context) {
        Some(Ok(expanded)) if expanded != text => return only_reads(&expanded, facts),
        Some(_) => return false,
        None => {}
    }
    let writes = !matches!(statement, Statement::Query(_))
        || analysis.modifying_cte
        || analysis.lock.is_some()
        || analysis.into.is_some()
        || analysis.any_target(|target| *target == Target::Unknown)
        // Replicas know how far ahead a sequence is logged, not where it is.
        || analysis
            .occurrences
            .iter()
            .any(|found| found.relation.is_some_and(|own| own.acts || own.kind == RelationKind::Sequence));
    let harmless = |function: &crate::analysis::FunctionUse<'_, '_, '_>| match &function.routine {
        Routine::User { overloads, .. } => {
            overloads.iter().all(|function| function.volatility != Volatility::Volatile && !function.pins)
        }
        Routine::BuiltIn(built_in) => {
            matches!(built_in.effect, Effect::None | Effect::Catalog | Effect::Size)
                && (built_in.volatility != Volatility::Volatile || HARMLESS.contains(&function.call.name.last()))
                && !NUMBERING.contains(&function.call.name.last())
        }
    };
    !writes && analysis.functions.iter().all(harmless)
}
