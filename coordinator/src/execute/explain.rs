//! EXPLAIN of a SELECT over several shards: which engine merges and why, the merge query, and each group's fragment with PostgreSQL's own
//! plan of it.

use std::sync::Arc;
use std::time::Instant;

use arrow_array::cast::AsArray as _;
use atoll_planner::marks;
use atoll_planner::plan::{Explain, Fragment, JoinedBy, Keys, Many, Merge, Plan};
use atoll_wire::backend::{self, decode};
use atoll_wire::frames::peek;
use atoll_wire::rows::{ColumnFormat, IpcReader};
use serde_json::{Value, json};

use super::merge::NOT_FOR_DATAFUSION;
use super::route::Route;
use super::scatter::{next_batch, request};
use crate::error::{Error, Result};
use crate::place::Place;
use crate::plans::Statement;
use crate::session::Session;
use crate::session::extended::{Bound, push_description};
use crate::session::simple::Ask;
use crate::session::slow::FragmentWork;

/// What a run of the statement showed.
struct Run {
    tier: &'static str,
    /// What PostgreSQL merged of it.
    fetched: Vec<FragmentWork>,
    rows: u64,
    milliseconds: f64,
}

/// One group's part.
struct GroupPlan {
    group: String,
    sql: String,
    /// As PostgreSQL prints it; one line for JSON.
    lines: Vec<String>,
}

struct FragmentPlan {
    name: String,
    shards: usize,
    shards_of: usize,
    groups: Vec<GroupPlan>,
}

impl Session {
    /// Answers it, up to and including its CommandComplete.
    ///
    /// # Errors
    /// The explained statement's.
    pub async fn explain(&mut self, explain: &Explain, statement: &Arc<Statement>, ask: Ask<'_>) -> Result<()> {
        let (head, text) = statement.text.split_at(explain.start);
        let inner = self.plan(text, &statement.types).await?;
        let bound = ask.bound();
        let merge = match &inner.plan {
            Plan::Sharded(sharded) => {
                let route = self.route(sharded.colocation, sharded.key_type, &sharded.keys, bound).await?;
                match (route, &sharded.many) {
                    (Route::One(shard), _) => {
                        let (path, rendered) = self.on_shard(sharded, shard.id);
                        let sql = format!("{head}{}", rendered.as_deref().unwrap_or(text));
                        let effects = (sharded.access, sharded.residue);
                        return self
                            .relay_statement(Place::data(shard.group), &path, &sql, statement, ask, effects)
                            .await;
                    }
                    (Route::Many(_), Many::Merge(merge)) => merge,
                    (Route::Many(_), _) => {
                        return Err(Error::unsupported(
                            "EXPLAIN of a write to several shards is not supported",
                            "Shards' plans are put together for queries that the shards answer.",
                            "Give the distribution key, or explain a SELECT with the same conditions.",
                        ));
                    }
                }
            }
            Plan::Gather(gather) => &gather.merge,
            Plan::Refuse(refusal) => return Err(self.refusal(refusal, &inner).await),
            _ => return Err(Error::internal("EXPLAIN of a statement that is planned otherwise now")),
        };
        let grouped = self.worth_grouping(merge, ask).await?;
        let own = if grouped.is_some() { inner.grouped() } else { inner.clone() };
        let merge = grouped.unwrap_or(merge);
        let columns = self.fragment_columns(merge, &own, ask).await?;
        // As the client wrote it.
        let merge = &Merge { sql: marks::plain(&merge.sql).into_owned(), ..merge.clone() };
        let reason = match self.settings.get("atoll.merge_engine") {
            Some("postgres") => Some("atoll.merge_engine is postgres".to_owned()),
            _ if !merge.datafusion => Some(NOT_FOR_DATAFUSION.to_owned()),
            engine => {
                let forced = engine == Some("datafusion");
                match self.ready_for_datafusion(merge, &columns, &own, bound).await? {
                    Err(reason) => Some(reason),
                    Ok(ready) => self.not_joined_because(merge, &ready, bound, forced).await?,
                }
            }
        };
        // What DataFusion runs, if it does.
        let merge = &match (&merge.joined, &reason) {
            (Some(joined), None) => Merge { sql: marks::plain(&joined.sql).into_owned(), ..merge.clone() },
            _ => Merge { joined: None, ..merge.clone() },
        };
        let run = if explain.analyze { Some(self.run_unseen(&inner, ask).await?) } else { None };
        let mut fragments = Vec::new();
        for fragment in &merge.fragments {
            fragments.push(self.explain_fragment(fragment, head, bound).await?);
        }
        if ask.describes() {
            let description = self.describe(statement).await?;
            push_description(description.columns.as_deref(), &[], &mut self.client.output);
        }
        let lines = if explain.json {
            vec![as_json(merge, reason.as_deref(), &fragments, run.as_ref())]
        } else {
            as_text(merge, reason.as_deref(), &fragments, run.as_ref())
        };
        for line in &lines {
            backend::data_row([Some(line.as_bytes())], &mut self.client.output);
        }
        backend::command_complete("EXPLAIN", &mut self.client.output);
        Ok(())
    }

    /// What each group would do for a fragment.
    async fn explain_fragment(
        &mut self,
        fragment: &Fragment,
        head: &str,
        bound: Option<&Bound>,
    ) -> Result<FragmentPlan> {
        let facts = self.facts();
        let colocation = facts.database.colocations.get(&fragment.colocation);
        let key_type = colocation.and_then(|group| group.key_type);
        let key_type = key_type.ok_or_else(|| Error::internal("a fragment of a co-location group without a key"))?;
        let all = colocation.map_or(0, |group| group.shards.len());
        let shards = match self.route(fragment.colocation, key_type, &fragment.keys, bound).await? {
            Route::One(_) => 1,
            Route::Many(shards) => shards.len(),
        };
        let mut groups = Vec::new();
        for part in self.group_fragments(fragment, bound).await? {
            let parameters = self.fragment_parameters(bound, part.group);
            let wanted = request(format!("{head}{}", part.sql), parameters, &[ColumnFormat::RawText], facts.id);
            let (cancel, path) = (self.cancel.clone(), self.plain_path());
            let mut held = self.hold_ready(Place::data(part.group), &path).await?;
            let lane = self.lane(&mut held);
            let lines = cancel
                .over(lane, async |lane| {
                    lane.send_fragment(wanted).await?;
                    let mut reader = IpcReader::new();
                    let mut lines = Vec::new();
                    while let Some(batch) = next_batch(lane, &mut reader).await? {
                        let column = batch.column(0).as_binary::<i32>();
                        lines.extend(column.iter().flatten().map(|line| String::from_utf8_lossy(line).into_owned()));
                    }
                    Ok(lines)
                })
                .await;
            self.let_go(held, false);
            let lines = lines.inspect_err(|_| self.note_failure())?;
            groups.push(GroupPlan { group: self.group_name(part.group), sql: part.sql, lines });
        }
        Ok(FragmentPlan { name: fragment.name.clone(), shards, shards_of: all, groups })
    }

    /// Runs a statement whose rows nobody gets to see.
    async fn run_unseen(&mut self, inner: &Arc<Statement>, ask: Ask<'_>) -> Result<Run> {
        let start = Instant::now();
        let mut produced = self.execute_into_buffer(inner, ask).await?.freeze();
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        let mut rows = 0;
        while let Some((tag, length)) = peek(&produced) {
            let frame = produced.split_to(length.min(produced.len()));
            if tag == b'C' {
                rows = decode::rows_of_tag(decode::command_complete(&frame[5..])?).unwrap_or(0);
            }
        }
        let fetched = std::mem::take(&mut self.work.fragments);
        Ok(Run { tier: self.tier.as_str(), rows, milliseconds, fetched })
    }
}

fn engine_of(reason: Option<&str>) -> &'static str {
    if reason.is_none() { "DataFusion" } else { "PostgreSQL" }
}

fn keys_of(merge: &Merge, index: usize) -> &'static str {
    match merge.fragments[index].keys {
        Keys::All => "",
        Keys::These(_) => ", limited by key",
    }
}

/// Which keys a fragment's rows are limited by, when they are few enough: `column in fragments`.
fn limits_of(merge: &Merge, index: usize) -> Vec<String> {
    let limit = |joined: &JoinedBy| {
        let sources: Vec<&str> = joined.needs.iter().map(|need| merge.fragments[*need].name.as_str()).collect();
        format!("{} in {}", joined.column, sources.join(", "))
    };
    merge.fragments[index].joined_by.iter().map(limit).collect()
}

/// What was fetched of a fragment when the statement ran.
fn fetched<'r>(run: Option<&'r Run>, name: &str) -> Option<&'r FragmentWork> {
    run?.fetched.iter().find(|fetched| fetched.name == name)
}

fn fetched_line(fetched: &FragmentWork) -> String {
    let limited = if fetched.limited { ", limited by keys" } else { "" };
    let several = match fetched.fragments > fetched.groups {
        true => format!(", by {} fragments of {} groups", fetched.fragments, fetched.groups),
        false => String::new(),
    };
    format!("        Fetched: rows={} time={:.3}{limited}{several}", fetched.rows, fetched.took.as_secs_f64() * 1e3)
}

fn as_text(merge: &Merge, reason: Option<&str>, fragments: &[FragmentPlan], run: Option<&Run>) -> Vec<String> {
    let because = reason.map(|reason| format!(" (not DataFusion: {reason})")).unwrap_or_default();
    let seen = run.map(|run| format!(" (actual time={:.3} rows={})", run.milliseconds, run.rows)).unwrap_or_default();
    let mut lines = vec![format!("Merge in {}{because}{seen}", engine_of(reason))];
    lines.extend(
        merge
            .sql
            .lines()
            .enumerate()
            .map(|(index, line)| if index == 0 { format!("  Query: {line}") } else { format!("         {line}") }),
    );
    for rows in merge.joined.iter().flat_map(|joined| &joined.home) {
        let sql = marks::plain(&rows.sql);
        lines.push(format!("  ->  Home {}: {}", rows.name, sql.split_whitespace().collect::<Vec<_>>().join(" ")));
        lines.extend(fetched(run, &rows.name).map(fetched_line));
    }
    for (index, fragment) in fragments.iter().enumerate() {
        let keys = keys_of(merge, index);
        lines.push(format!(
            "  ->  Fragment {} ({} of {} shards{keys})",
            fragment.name, fragment.shards, fragment.shards_of
        ));
        lines.extend(limits_of(merge, index).into_iter().map(|limit| format!("        Limit, if few: {limit}")));
        lines.extend(fetched(run, &fragment.name).map(fetched_line));
        for group in &fragment.groups {
            lines.push(format!(
                "        Group {}: {}",
                group.group,
                group.sql.split_whitespace().collect::<Vec<_>>().join(" ")
            ));
            lines.extend(group.lines.iter().map(|line| format!("          {line}")));
        }
    }
    if let Some(run) = run {
        lines.push(format!("Tier: {}", run.tier));
        lines.push(format!("Execution Time: {:.3} ms", run.milliseconds));
    }
    lines
}

fn as_json(merge: &Merge, reason: Option<&str>, fragments: &[FragmentPlan], run: Option<&Run>) -> String {
    let fragments: Vec<Value> = fragments
        .iter()
        .enumerate()
        .map(|(index, fragment)| {
            let groups: Vec<Value> = fragment
                .groups
                .iter()
                .map(|group| {
                    let text = group.lines.join("\n");
                    let plan = serde_json::from_str(&text).unwrap_or(Value::String(text));
                    json!({"Group": group.group, "Query": group.sql, "Plan": plan})
                })
                .collect();
            let mut shown =
                json!({"Name": fragment.name, "Shards": fragment.shards, "Shards Of": fragment.shards_of, "Groups": groups});
            let limits = limits_of(merge, index);
            if !limits.is_empty() {
                shown["Limits"] = limits.into();
            }
            if let Some(fetched) = fetched(run, &fragment.name) {
                shown["Fetched Rows"] = fetched.rows.into();
                shown["Fetch Time"] = (fetched.took.as_secs_f64() * 1e3).into();
                shown["Limited By Keys"] = fetched.limited.into();
                shown["Fragments At A Time"] = fetched.fragments.into();
            }
            shown
        })
        .collect();
    let mut merged = json!({"Engine": engine_of(reason), "Query": merge.sql, "Fragments": fragments});
    let home = merge.joined.iter().flat_map(|joined| &joined.home);
    let home: Vec<Value> = home
        .map(|rows| {
            let mut shown = json!({"Name": rows.name, "Query": marks::plain(&rows.sql)});
            if let Some(fetched) = fetched(run, &rows.name) {
                shown["Fetched Rows"] = fetched.rows.into();
                shown["Fetch Time"] = (fetched.took.as_secs_f64() * 1e3).into();
            }
            shown
        })
        .collect();
    if !home.is_empty() {
        merged["Home"] = home.into();
    }
    if let Some(reason) = reason {
        merged["Reason"] = reason.into();
    }
    if let Some(run) = run {
        merged["Tier"] = run.tier.into();
        merged["Actual Rows"] = run.rows.into();
        merged["Actual Total Time"] = run.milliseconds.into();
    }
    serde_json::to_string_pretty(&json!([{"Merge": merged}])).unwrap_or_default()
}
