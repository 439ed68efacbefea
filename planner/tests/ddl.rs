//! Golden plans of DDL, maintenance and distribution calls: each file of `ddl_golden` holds statements, each after `> `, and below
//! each what it becomes. `UPDATE_GOLDEN=1 cargo test -p atoll-planner --test ddl` writes what is, for review.

use std::fmt::Write as _;

use atoll_planner::catalog::{Catalog, Function, FunctionKind, Relation, RelationKind, Volatility};
use atoll_planner::directory::{ColocationId, Database, KeyColumn, KeyType, Table, TableName};
use atoll_planner::plan::{DdlMode, DdlName, DdlStep, Piece, Plan, Template, Whereabouts};
use atoll_planner::{Facts, ViewDefinitions, plan_ddl, plan_distribute, plan_maintenance};

fn relation(kind: RelationKind, reads: &[TableName]) -> Relation {
    Relation {
        oid: 1,
        kind,
        columns: Vec::new(),
        unique_keys: Vec::new(),
        primary_key: None,
        reads: reads.to_vec(),
        has_triggers: false,
        acts: false,
    }
}

fn public(name: &str) -> TableName {
    TableName::new("public", name)
}

/// `orders` and `lineitem` are distributed alike, `sales.items` otherwise; `nations` is a reference table, `notes` is unsharded.
fn fixture() -> (Database, Catalog) {
    let mut database = Database::default();
    let key = |name: &str| KeyColumn { name: name.to_owned(), key_type: KeyType::Int8 };
    let distributed = |colocation, name| Table::Distributed { colocation: ColocationId(colocation), key: key(name) };
    database.tables.insert(public("orders"), distributed(1, "o_id"));
    database.tables.insert(public("lineitem"), distributed(1, "l_id"));
    database.tables.insert(TableName::new("sales", "items"), distributed(2, "id"));
    database.tables.insert(public("nations"), Table::Reference);
    let mut catalog = Catalog::default();
    for name in ["orders", "lineitem", "nations", "notes"] {
        catalog.relations.insert(public(name), relation(RelationKind::Table, &[]));
        catalog.indexes.insert(public(&format!("{name}_pkey")), public(name));
        catalog.statistics.insert(public(&format!("{name}_stat")), public(name));
    }
    catalog.relations.insert(TableName::new("sales", "items"), relation(RelationKind::Table, &[]));
    catalog.relations.insert(public("notes_id_seq"), relation(RelationKind::Sequence, &[]));
    catalog
        .relations
        .insert(public("big_orders"), relation(RelationKind::View, &[public("orders"), public("nations")]));
    catalog.relations.insert(public("nation_names"), relation(RelationKind::View, &[public("nations")]));
    catalog.relations.insert(public("note_texts"), relation(RelationKind::View, &[public("notes")]));
    let function = |depends_on: &[TableName]| Function {
        volatility: Volatility::Volatile,
        kind: FunctionKind::Function,
        reads_tables: false,
        may_read: false,
        pins: false,
        depends_on: depends_on.to_vec(),
    };
    catalog.functions.insert(public("all_notes"), vec![function(&[public("notes")])]);
    catalog.functions.insert(public("roll"), vec![function(&[])]);
    catalog.volatile_functions.extend(["random", "gen_random_uuid", "nextval"].map(str::to_owned));
    catalog.stable_functions.insert("now".to_owned());
    catalog.schemas.extend(["public", "sales"].map(str::to_owned));
    (database, catalog)
}

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

fn name(name: &DdlName) -> String {
    let place = match name.whereabouts {
        Whereabouts::Catalog => "catalog".to_owned(),
        Whereabouts::Home => "home".to_owned(),
        Whereabouts::EveryGroup => "every group".to_owned(),
        Whereabouts::Shards(colocation) => format!("shards {}", colocation.0),
    };
    format!("{}{}.{} [{place}]", name.before, name.name.schema, name.name.name)
}

fn step(one: &DdlStep) -> String {
    match one {
        DdlStep::Catalog(sql) => format!("catalog: {sql}"),
        DdlStep::Home(sql) => format!("home: {sql}"),
        DdlStep::EveryGroup(sql) => format!("every group: {sql}"),
        DdlStep::OtherGroups(sql) => format!("other groups: {sql}"),
        DdlStep::Shards { colocation, statement } => format!("shards {}: {}", colocation.0, template(statement)),
        DdlStep::SchemaSlices { schema, statement } => format!("slices of {schema}: {}", template(statement)),
        DdlStep::Names(names) => {
            let list: Vec<String> = names.names.iter().map(name).collect();
            format!("names: {}{}{}", names.head, list.join(", "), names.tail)
        }
        DdlStep::View(view) => {
            let kind = if view.materialized { "materialized view" } else { "view" };
            format!("{kind} {}: {}", view.name, template(&view.statement))
        }
        DdlStep::Evaluated { expressions, steps } => {
            let inner: Vec<String> =
                steps.iter().map(|inner| format!("\n    {}", step(inner).replace('\0', "~"))).collect();
            format!("evaluated {expressions:?}{}", inner.concat())
        }
        DdlStep::NamedIndex { table, step: inner } => {
            format!("named index of {}.{}\n    {}", table.schema, table.name, step(inner).replace('\0', "~"))
        }
        other => format!("{other:?}"),
    }
}

fn steps(title: &str, command: &str, mode: DdlMode, list: &[DdlStep]) -> String {
    let mut out = format!("{title} {command}");
    if mode != DdlMode::Transaction {
        write!(out, " ({mode:?})").unwrap();
    }
    for one in list {
        write!(out, "\n  {}", step(one).replace("\n; ", "; ")).unwrap();
    }
    out
}

fn show(plan: Option<Plan>) -> String {
    match plan {
        None => "other".to_owned(),
        Some(Plan::Ddl(ddl)) => steps("ddl", ddl.command, ddl.mode, &ddl.steps),
        Some(Plan::Maintenance(plan)) => steps("maintenance", plan.command, plan.mode, &plan.steps),
        Some(Plan::Relay(relay)) => format!("relay {:?} {:?}", relay.site, relay.residue),
        Some(Plan::Distribute(call)) => format!("{:?} {:?} as {}", call.function, call.arguments, call.column),
        Some(Plan::Refuse(refusal)) => {
            assert!(
                refusal.detail.is_some() && refusal.hint.is_some(),
                "says not why, or what to do instead: {refusal:?}"
            );
            let mut out = format!("refused {}: {}", refusal.sqlstate, refusal.message);
            for (title, text) in [("detail", refusal.detail), ("hint", refusal.hint)] {
                if let Some(text) = text {
                    write!(out, "\n  {title}: {text}").unwrap();
                }
            }
            out
        }
        Some(other) => format!("{other:?}"),
    }
}

#[test]
fn plans_are_as_written() {
    let (database, catalog) = fixture();
    let search_path = ["public".to_owned()];
    let facts =
        Facts { directory: &database, catalog: &catalog, search_path: &search_path, views: &ViewDefinitions::new() };
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ddl_golden");
    let mut different = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for path in files {
        let written = std::fs::read_to_string(&path).unwrap();
        let mut now = String::new();
        for sql in written.lines().filter_map(|line| line.strip_prefix("> ")) {
            let plan = plan_distribute(sql).or_else(|| plan_maintenance(sql, &facts)).or_else(|| plan_ddl(sql, &facts));
            write!(now, "> {sql}\n{}\n\n", show(plan)).unwrap();
        }
        let now = format!("{}\n", now.trim_end());
        if now == written {
            continue;
        }
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &now).unwrap();
        } else {
            different.push(format!("{}:\n{now}", path.display()));
        }
    }
    assert!(different.is_empty(), "plans differ from the files:\n{}", different.join("\n"));
}
