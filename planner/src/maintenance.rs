//! VACUUM, ANALYZE, REINDEX, CLUSTER and CHECKPOINT: what reaches every place of the tables they name.

use crate::Facts;
use crate::ddl::{List, Name, Words, list};
use crate::plan::{DdlMode, DdlNames, DdlStep, Maintenance, Piece, Plan, Template};

/// The plan of a maintenance command; `None` for every other statement.
pub fn plan_maintenance(sql: &str, facts: &Facts<'_>) -> Option<Plan> {
    let mut words = Words::new(sql);
    match words.accept_any(&["vacuum", "analyze", "analyse", "reindex", "cluster", "checkpoint"])? {
        "vacuum" => Some(vacuum(words, facts)),
        "reindex" => Some(reindex(words, facts)),
        "cluster" => Some(cluster(words, facts)),
        "checkpoint" => {
            Some(maintenance("CHECKPOINT", vec![DdlStep::EveryGroup(sql.to_owned())], DdlMode::Transaction))
        }
        _ => Some(analyze(words, facts)),
    }
}

fn maintenance(command: &'static str, steps: Vec<DdlStep>, mode: DdlMode) -> Plan {
    Plan::Maintenance(Maintenance { command, steps, mode })
}

fn vacuum(mut words: Words<'_>, facts: &Facts<'_>) -> Plan {
    if !words.skip_parentheses() {
        for option in ["full", "freeze", "verbose", "analyze", "analyse"] {
            words.accept(option);
        }
    }
    tables(words, facts, "VACUUM", DdlMode::Autonomous)
}

fn analyze(mut words: Words<'_>, facts: &Facts<'_>) -> Plan {
    if !words.skip_parentheses() {
        words.accept("verbose");
    }
    tables(words, facts, "ANALYZE", DdlMode::Transaction)
}

/// `[table [(columns)], ...]`: without a table, every group's whole data database. One statement per table and place, because
/// each column list belongs to its table.
fn tables(mut words: Words<'_>, facts: &Facts<'_>, command: &'static str, mode: DdlMode) -> Plan {
    let sql = words.sql;
    let head = sql[..words.offset()].trim_end().to_owned();
    let mut steps = Vec::new();
    while let Some(name) = words.name() {
        let start = words.offset();
        let columns =
            if words.skip_parentheses() { sql[start..].split_inclusive(')').next().unwrap_or("") } else { "" };
        match facts.locate(&name) {
            Some(located) => {
                let name = crate::plan::DdlName { before: "", name: located.name, whereabouts: located.whereabouts };
                steps.push(DdlStep::Names(DdlNames {
                    head: format!("{head} "),
                    names: vec![name],
                    tail: columns.to_owned(),
                }));
            }
            // A temporary table, or the error that there is none.
            None => steps.push(DdlStep::Home(format!("{head} {}{columns}", name.span.of(sql)))),
        }
        if !words.accept_symbol(",") {
            break;
        }
    }
    if steps.is_empty() {
        steps.push(DdlStep::EveryGroup(sql.to_owned()));
    }
    maintenance(command, steps, mode)
}

fn reindex(mut words: Words<'_>, facts: &Facts<'_>) -> Plan {
    let sql = words.sql;
    let options = words.offset();
    words.skip_parentheses();
    let concurrent_option = sql[options..words.offset()].to_ascii_lowercase().contains("concurrently");
    let object = words.accept_any(&["index", "table", "schema", "database", "system"]);
    let concurrently = concurrent_option || words.accept("concurrently");
    let alone = concurrently || !matches!(object, Some("index" | "table"));
    let mode = if alone { DdlMode::Autonomous } else { DdlMode::Transaction };
    let head = sql[..words.offset()].to_owned();
    let steps = match object {
        Some("index" | "table") => match list(&mut words, facts) {
            List { unknown: true, .. } => vec![DdlStep::Home(sql.to_owned())],
            List { names, .. } => vec![DdlStep::Names(DdlNames { head, names, tail: String::new() })],
        },
        Some("schema") => {
            let mut steps = vec![DdlStep::EveryGroup(sql.to_owned())];
            if let Some(Name { name, span, .. }) = words.name() {
                let pieces =
                    vec![Piece::Text(head), Piece::Slice(name.clone()), Piece::Text(sql[span.end..].to_owned())];
                steps.push(DdlStep::SchemaSlices { schema: name, statement: Template { pieces } });
            }
            steps
        }
        // The data database has another name than the client's; it is the current one.
        _ => {
            let what = object.unwrap_or("database").to_ascii_uppercase();
            vec![DdlStep::EveryGroup(format!("REINDEX {what}{}", if concurrently { " CONCURRENTLY" } else { "" }))]
        }
    };
    maintenance("REINDEX", steps, mode)
}

fn cluster(mut words: Words<'_>, facts: &Facts<'_>) -> Plan {
    let sql = words.sql;
    if !words.skip_parentheses() {
        words.accept("verbose");
    }
    let head = sql[..words.offset()].to_owned();
    let Some(name) = words.name() else {
        return maintenance("CLUSTER", vec![DdlStep::EveryGroup(sql.to_owned())], DdlMode::Autonomous);
    };
    let tail = format!(" {}", words.rest_text()).trim_end().to_owned();
    let step = match facts.locate(&name) {
        Some(located) => {
            // Which index a table is clustered by is a property of the slice, too, so that plain CLUSTER finds it.
            let name = crate::plan::DdlName { before: "", name: located.name, whereabouts: located.whereabouts };
            DdlStep::Names(DdlNames { head, names: vec![name], tail })
        }
        None => DdlStep::Home(sql.to_owned()),
    };
    maintenance("CLUSTER", vec![step], DdlMode::Transaction)
}
