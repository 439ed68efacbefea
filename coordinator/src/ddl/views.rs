//! Views: the catalog database says what a new one reads, and that decides where it is.

use atoll_planner::directory::{Shard, TableName};
use atoll_planner::plan::{NewView, Template, Whereabouts};
use atoll_planner::{Facts, quote_identifier, quote_literal, whereabouts_of_readers};

use super::deparse::table_grants;
use super::rows::regclass;
use super::{Scope, execute, slices};
use crate::directory::rows::Rows;
use crate::error::{Error, Result};
use crate::facts::DatabaseFacts;
use crate::place::Place;

/// Creates where it belongs a view that the catalog database has just created; the tag of a materialized view's rows.
pub(super) async fn create(scope: &mut Scope<'_>, view: &NewView) -> Result<Option<String>> {
    let results = scope.catalog(&reads_sql(&format!("to_regclass({})", quote_literal(&view.name)))).await?;
    let [named, reads] = results.as_slice() else { return Err(Error::internal("the catalog answered oddly")) };
    // IF NOT EXISTS of a relation that is not even a view.
    let Some(row) = Rows::new(named).next() else { return Ok(None) };
    let name = TableName::new(row.text(0)?, row.text(1)?);
    let facts = scope.planner_facts();
    let mut read = Vec::new();
    for row in Rows::new(reads) {
        let relation = TableName::new(row.text(0)?, row.text(1)?);
        read.push(facts.whereabouts(&relation));
    }
    let whereabouts = whereabouts_of_readers(read.into_iter());
    let before = scope.facts.catalog.relations.contains_key(&name).then(|| facts.whereabouts(&name));
    if view.materialized {
        if matches!(whereabouts, Whereabouts::Shards(_) | Whereabouts::Catalog) {
            return Err(Error::unsupported(
                format!("materialized view \"{}\" would read a distributed table", name.name),
                "A materialized view is at home, where that table's rows are not.",
                "Create a table, and fill it with INSERT ... SELECT or COPY.",
            ));
        }
        let text = unsliced(&view.statement);
        return Ok(execute::last_tag(&scope.home(&text).await?).filter(|tag| tag.starts_with("SELECT ")));
    }
    if let Some(before) = before.filter(|before| *before != whereabouts) {
        remove(scope, &name, before).await?;
    }
    place(scope, &name, whereabouts, &view.statement).await?;
    Ok(None)
}

/// Two results: the relation's schema and name, and those of what its rules read.
pub(super) fn reads_sql(oid: &str) -> String {
    format!(
        "SELECT nspname, relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
         WHERE pg_class.oid = {oid} AND relkind IN ('v', 'm'); \
         SELECT DISTINCT nspname, relname FROM pg_rewrite \
         JOIN pg_depend ON classid = 'pg_rewrite'::regclass AND objid = pg_rewrite.oid AND refclassid = 'pg_class'::regclass \
         JOIN pg_class ON pg_class.oid = refobjid JOIN pg_namespace ON pg_namespace.oid = relnamespace \
         WHERE ev_class = {oid} AND refobjid <> ev_class AND refobjid >= 16384"
    )
}

/// Runs a view's definition in its places.
pub(super) async fn place(
    scope: &mut Scope<'_>,
    name: &TableName,
    whereabouts: Whereabouts,
    statement: &Template,
) -> Result<()> {
    match whereabouts {
        Whereabouts::Shards(colocation) => {
            slices::ensure(scope, &name.schema, colocation).await?;
            scope.every_shard(colocation, statement).await
        }
        Whereabouts::EveryGroup => {
            let sql = unsliced(statement);
            scope.every_group(&sql).await
        }
        Whereabouts::Home => {
            let sql = unsliced(statement);
            scope.home(&sql).await.map(drop)
        }
        Whereabouts::Catalog => Ok(()),
    }
}

/// The statement with the user's own schemas where slices could be.
fn unsliced(statement: &Template) -> String {
    statement
        .pieces
        .iter()
        .map(|piece| match piece {
            atoll_planner::plan::Piece::Text(text) => text.clone(),
            atoll_planner::plan::Piece::Slice(schema) => quote_identifier(schema),
        })
        .collect()
}

/// Drops a view from its places.
pub(super) async fn remove(scope: &mut Scope<'_>, name: &TableName, whereabouts: Whereabouts) -> Result<()> {
    let listed = atoll_planner::plan::DdlName { before: "", name: name.clone(), whereabouts };
    for group in scope.groups() {
        let here = execute::in_group(scope, &listed, group)?;
        if !here.is_empty() {
            scope.group(group, &format!("DROP VIEW IF EXISTS {}", here.join(", "))).await?;
        }
    }
    Ok(())
}

/// A view that depends on a table which is about to be spread otherwise.
pub(super) struct Dependent {
    pub name: TableName,
    before: Whereabouts,
    pub after: Whereabouts,
    /// CREATE VIEW and what belongs to it; names of its own schema are left out.
    statements: Vec<String>,
}

/// The views that depend on a table, those that others depend on first. `after`: the facts as they will be.
///
/// # Errors
/// 0A000 for a materialized view or a rule, and for a view that could be nowhere then.
pub(super) async fn dependents(
    scope: &mut Scope<'_>,
    table: &TableName,
    after: &DatabaseFacts,
) -> Result<Vec<Dependent>> {
    let step = "FROM pg_depend JOIN pg_rewrite ON pg_rewrite.oid = objid AND classid = 'pg_rewrite'::regclass";
    let sql = format!(
        "WITH RECURSIVE dependent (oid, depth) AS ( \
             SELECT ev_class, 1 {step} WHERE refclassid = 'pg_class'::regclass AND refobjid = {table} AND ev_class <> refobjid \
             UNION SELECT ev_class, depth + 1 {step} JOIN dependent ON refobjid = dependent.oid \
                 WHERE refclassid = 'pg_class'::regclass AND ev_class <> dependent.oid) \
         SELECT nspname, relname, relkind, \
             EXISTS (SELECT FROM pg_rewrite WHERE ev_class = pg_class.oid AND rulename <> '_RETURN') \
         FROM pg_class JOIN (SELECT oid, max(depth) AS depth FROM dependent GROUP BY oid) AS deepest ON deepest.oid = pg_class.oid \
         JOIN pg_namespace ON pg_namespace.oid = relnamespace ORDER BY depth, nspname, relname",
        table = regclass(table)
    );
    let results = scope.catalog(&sql).await?;
    let mut found = Vec::new();
    for row in results.iter().flat_map(Rows::new) {
        let name = TableName::new(row.text(0)?, row.text(1)?);
        if row.text(2)? != "v" || row.text(3)? == "t" {
            return Err(Error::unsupported(
                format!("cannot distribute table \"{}\": \"{}\" depends on it", table.name, name.name),
                "Materialized views and rules cannot follow a table into shards.",
                "Drop it first.",
            ));
        }
        found.push(dependent(scope, name, after).await?);
    }
    Ok(found)
}

async fn dependent(scope: &mut Scope<'_>, name: TableName, after: &DatabaseFacts) -> Result<Dependent> {
    let before = scope.planner_facts().whereabouts(&name);
    let facts =
        Facts { directory: &after.database, catalog: &after.catalog, search_path: &[], views: super::no_views() };
    let reads = after.catalog.relations.get(&name).map(|relation| relation.reads.as_slice()).unwrap_or_default();
    let reads = reads.iter().map(|read| facts.whereabouts(read));
    let after = whereabouts_of_readers(reads);
    let sql = format!(
        "SELECT pg_get_viewdef({oid}), array_to_string(reloptions, ', '), quote_ident(pg_get_userbyid(relowner)) \
         FROM pg_class WHERE oid = {oid}; \
         SELECT pg_get_triggerdef(oid, true) FROM pg_trigger WHERE tgrelid = {oid} AND NOT tgisinternal ORDER BY tgname; \
         SELECT NULL, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END, privilege_type, is_grantable \
         FROM pg_class, aclexplode(relacl) WHERE oid = {oid} \
         UNION ALL \
         SELECT attname, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END, privilege_type, is_grantable \
         FROM pg_attribute, aclexplode(attacl) WHERE attrelid = {oid} AND attnum > 0 AND NOT attisdropped",
        oid = regclass(&name)
    );
    let results = scope.tx.run(Place::CATALOG, Some(&quote_identifier(&name.schema)), &sql).await?;
    let [view, triggers, grants] = results.as_slice() else {
        return Err(Error::internal("the catalog answered oddly"));
    };
    let view = Rows::new(view).only()?;
    let quoted = quote_identifier(&name.name);
    let options = view.maybe(1).map_or_else(String::new, |options| format!(" WITH ({options})"));
    let body = view.text(0)?.trim_end().trim_end_matches(';');
    let mut statements = vec![format!("CREATE VIEW {quoted}{options} AS {body}")];
    for row in Rows::new(triggers) {
        statements.push(row.text(0)?.to_owned());
    }
    statements.push(format!("ALTER VIEW {quoted} OWNER TO {}", view.text(2)?));
    statements.extend(table_grants(&quoted, view.text(2)?, Rows::new(grants))?);
    Ok(Dependent { name, before, after, statements })
}

/// Takes dependent views away, the outermost first.
pub(super) async fn take_away(scope: &mut Scope<'_>, views: &[Dependent]) -> Result<()> {
    for view in views.iter().rev() {
        remove(scope, &view.name, view.before).await?;
    }
    Ok(())
}

/// Makes a dependent view that belongs into shards in one of them, whose slice of the view's schema is there.
pub(super) async fn put_into(scope: &mut Scope<'_>, view: &Dependent, shard: &Shard) -> Result<()> {
    let statement = scope.planner_facts().splice(&view.statements.join("; "));
    let path = super::shard_path(shard.id, std::slice::from_ref(&view.name.schema));
    scope.shard_under(shard, &path, &statement).await.map(drop)
}

/// Makes dependent views again, where they belong now: `scope` has the facts as they are then.
pub(super) async fn put_back(scope: &mut Scope<'_>, views: &[Dependent]) -> Result<()> {
    for view in views {
        let text = view.statements.join("; ");
        let schema = &view.name.schema;
        match view.after {
            Whereabouts::Shards(colocation) => {
                let shards = scope.shards(colocation)?;
                slices::ensure_in(scope, schema, shards.clone()).await?;
                for shard in shards.values().flatten() {
                    put_into(scope, view, shard).await?;
                }
            }
            Whereabouts::EveryGroup => {
                for group in scope.groups() {
                    scope.tx.run(Place::data(group), Some(&quote_identifier(schema)), &text).await?;
                }
            }
            Whereabouts::Home => {
                scope.tx.run(Place::HOME, Some(&quote_identifier(schema)), &text).await?;
            }
            Whereabouts::Catalog => {}
        }
    }
    Ok(())
}
