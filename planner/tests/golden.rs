//! Plans of statements, as files: each statement behind `> `, its plan below. `UPDATE_GOLDEN=1` writes what the planner says.

mod fixture;

use std::fmt::Write;
use std::path::Path;

use atoll_planner::plan::{
    CopyTarget, InsertPiece, Keys, Many, Merge, Piece, Plan, Refusal, RowKey, Template, VirtualPiece,
};
use atoll_planner::{Facts, plan};
use fixture::Fixture;

fn template(template: &Template) -> String {
    template
        .pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Slice(schema) => format!("<{schema}>"),
        })
        .collect()
}

fn keys(keys: &Keys) -> String {
    match keys {
        Keys::All => "all".to_owned(),
        Keys::These(list) => {
            let list: Vec<String> = list.iter().map(|source| format!("{source:?}")).collect();
            format!("[{}]", list.join(", "))
        }
    }
}

fn refusal(out: &mut String, refusal: &Refusal) {
    let sentence = |text: &Option<String>| text.as_ref().is_some_and(|text| text.ends_with('.'));
    let complete = sentence(&refusal.detail) && sentence(&refusal.hint) && !refusal.message.ends_with('.');
    assert!(complete || refusal.sqlstate != "0A000", "says not what, why and what to do instead: {refusal:?}");
    let _ = writeln!(out, "refuse {}: {}", refusal.sqlstate, refusal.message);
}

fn merge(out: &mut String, merge: &Merge) {
    let _ = writeln!(out, "merge{}: {}", if merge.datafusion { "" } else { " in PostgreSQL" }, merge.sql);
    for fragment in &merge.fragments {
        let columns: Vec<String> = fragment
            .columns
            .iter()
            .map(|column| format!("{}{}", column.name, if column.passed_on { "*" } else { "" }))
            .collect();
        let _ = writeln!(out, "  {} ({}) keys {}", fragment.name, columns.join(", "), keys(&fragment.keys));
        let _ = writeln!(out, "    {}", template(&fragment.arm));
    }
    if let Some(joined) = &merge.joined {
        let _ = writeln!(out, "  joined: {}", joined.sql);
        for rows in &joined.home {
            let columns: Vec<&str> = rows.columns.iter().map(|column| column.name.as_str()).collect();
            let _ = writeln!(out, "  {} ({})", rows.name, columns.join(", "));
            let _ = writeln!(out, "    {}", rows.sql);
        }
    }
    if let Some(grouped) = &merge.grouped {
        let fragment = &grouped.merge.fragments[grouped.fragment];
        let _ = writeln!(out, "  grouped early: {}", grouped.merge.sql);
        let _ = writeln!(out, "    {}", template(&fragment.arm));
    }
}

/// Marks' zero bytes would not be seen.
fn print(plan: &Plan) -> String {
    print_marked(plan).replace('\0', "~")
}

fn print_marked(plan: &Plan) -> String {
    let mut out = String::new();
    match plan {
        Plan::Relay(relay) => {
            let _ = writeln!(out, "relay {:?} {:?} {:?}", relay.site, relay.access, relay.residue);
            if let Some(pieces) = &relay.text {
                let text: String = pieces
                    .iter()
                    .map(|piece| match piece {
                        VirtualPiece::Text(text) => text.clone(),
                        VirtualPiece::Relation(relation) => format!("<{relation:?}>"),
                    })
                    .collect();
                let _ = writeln!(out, "  {text}");
            }
        }
        Plan::Sharded(sharded) => {
            let verbatim = sharded.single.is_verbatim();
            let _ = writeln!(
                out,
                "sharded {} keys {} {:?} {:?}{}",
                sharded.colocation.0,
                keys(&sharded.keys),
                sharded.access,
                sharded.residue,
                if verbatim { "" } else { " spliced" }
            );
            if !verbatim {
                let _ = writeln!(out, "  {}", template(&sharded.single));
            }
            match &sharded.many {
                Many::Merge(own) => merge(&mut out, own),
                Many::Write(write) => {
                    let _ = writeln!(
                        out,
                        "each shard: {}{}",
                        template(&write.arm),
                        if write.returning { " (rows)" } else { "" }
                    );
                }
                Many::Refuse(own) => refusal(&mut out, own),
            }
        }
        Plan::Gather(gather) => {
            let _ = writeln!(out, "gather {:?} {:?}", gather.access, gather.residue);
            merge(&mut out, &gather.merge);
        }
        Plan::Insert(insert) => {
            let _ = writeln!(out, "insert {} computed {:?}", insert.colocation.0, insert.computed);
            let _ = writeln!(out, "  {}", template(&insert.head));
            for row in &insert.rows {
                let values: String = row
                    .values
                    .iter()
                    .map(|piece| match piece {
                        InsertPiece::Text(text) => text.clone(),
                        InsertPiece::Computed(index) => format!("<computed {index}>"),
                        InsertPiece::Key => "<key>".to_owned(),
                    })
                    .collect();
                let key = match &row.key {
                    RowKey::Value(source) => format!("{source:?}"),
                    other => format!("{other:?}"),
                };
                let _ = writeln!(out, "  {key}: ({values})");
            }
            let tail = template(&insert.tail);
            if !tail.is_empty() {
                let _ = writeln!(out, "  {}", tail.trim());
            }
        }
        Plan::Copy(copy) => match &copy.target {
            CopyTarget::Query(inner, options) => {
                let _ = writeln!(out, "copy {:?} query ({})", copy.direction, options.text);
                for line in print(inner).lines() {
                    let _ = writeln!(out, "  {line}");
                }
            }
            CopyTarget::Distributed { columns, key_index, computed, options, filter, .. } => {
                let _ = writeln!(out, "copy {:?} {columns:?} key {key_index:?} computed {computed:?}", copy.direction);
                let _ = writeln!(out, "  {options:?} {filter:?}");
            }
            other => {
                let _ = writeln!(out, "copy {:?} {other:?}", copy.direction);
            }
        },
        Plan::Refuse(own) => {
            refusal(&mut out, own);
            for text in own.detail.iter().chain(&own.hint) {
                let _ = writeln!(out, "  {text}");
            }
        }
        other => {
            let _ = writeln!(out, "{other:?}");
        }
    }
    out
}

fn run(path: &Path, fixture: &Fixture) -> (String, String) {
    let given = std::fs::read_to_string(path).unwrap();
    let facts = Facts {
        directory: &fixture.directory,
        catalog: &fixture.catalog,
        search_path: &fixture.search_path,
        views: &fixture.views,
    };
    let mut out = String::new();
    for line in given.lines() {
        if line.starts_with('#') {
            let _ = writeln!(out, "{line}\n");
        } else if let Some(sql) = line.strip_prefix("> ") {
            let _ = writeln!(out, "> {sql}\n{}", print(&plan(sql, &facts)));
        }
    }
    (given, out)
}

#[test]
fn golden_plans() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let fixture = Fixture::new();
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let (given, out) = run(&path, &fixture);
        if update {
            std::fs::write(&path, out).unwrap();
        } else if given != out {
            for (number, (left, right)) in given.lines().zip(out.lines()).enumerate() {
                if left != right {
                    wrong.push(format!("{}:{}\n  file {left}\n  plan {right}", path.display(), number + 1));
                    break;
                }
            }
            if given.lines().count() != out.lines().count() {
                wrong.push(format!("{}: different length", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "run with UPDATE_GOLDEN=1 to accept:\n{}", wrong.join("\n"));
}
