//! A user schema's slices: one schema per shard, with the user schema's owner and privileges.

use std::collections::BTreeSet;

use atoll_planner::directory::ColocationId;
use atoll_planner::plan::Whereabouts;
use atoll_planner::{quote_identifier, quote_literal};

use super::Scope;
use crate::directory::rows::Rows;
use crate::error::{Error, Result};

/// Co-location groups in whose shards a user schema has slices in use.
pub(super) fn of_schema(scope: &Scope<'_>, schema: &str) -> BTreeSet<ColocationId> {
    let facts = scope.planner_facts();
    let relations = scope.facts.catalog.relations.keys().chain(scope.facts.database.tables.keys());
    relations
        .filter(|name| name.schema == schema)
        .filter_map(|name| match facts.whereabouts(name) {
            Whereabouts::Shards(colocation) => Some(colocation),
            _ => None,
        })
        .collect()
}

/// Creates the slices of a user schema in a co-location group's shards.
pub(super) async fn ensure(scope: &mut Scope<'_>, schema: &str, colocation: ColocationId) -> Result<()> {
    if of_schema(scope, schema).contains(&colocation) {
        return Ok(());
    }
    let shards = scope.shards(colocation)?;
    ensure_in(scope, schema, shards).await
}

/// Creates the slices of a user schema, or brings owner and privileges of existing ones in line.
pub(super) async fn ensure_in(
    scope: &mut Scope<'_>,
    schema: &str,
    shards: std::collections::BTreeMap<atoll_planner::directory::GroupIndex, Vec<atoll_planner::directory::Shard>>,
) -> Result<()> {
    let sql = format!(
        "SELECT pg_get_userbyid(nspowner), NULL, NULL, NULL FROM pg_namespace WHERE nspname = {name} \
         UNION ALL \
         SELECT NULL, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END, privilege_type, \
             is_grantable::text \
         FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) WHERE nspname = {name}",
        name = quote_literal(schema)
    );
    let results = scope.catalog(&sql).await?;
    let mut owner = None;
    let mut grants = Vec::new();
    for row in results.iter().flat_map(Rows::new) {
        match row.maybe(0) {
            Some(name) => owner = Some(quote_identifier(name)),
            None => grants.push((row.text(1)?, row.text(2)?, row.text(3)? == "true")),
        }
    }
    let owner = owner.ok_or_else(|| Error::sql("3F000", format!("schema \"{schema}\" does not exist")))?;
    for (group, shards) in shards {
        let mut sql = String::new();
        for shard in shards {
            let slice = quote_identifier(&shard.id.schema(schema));
            sql.push_str(&format!(
                "CREATE SCHEMA IF NOT EXISTS {slice}; ALTER SCHEMA {slice} OWNER TO {owner}; REVOKE ALL ON SCHEMA {slice} FROM PUBLIC; "
            ));
            for (grantee, privilege, grantable) in &grants {
                let option = if *grantable { " WITH GRANT OPTION" } else { "" };
                sql.push_str(&format!("GRANT {privilege} ON SCHEMA {slice} TO {grantee}{option}; "));
            }
        }
        scope.privileged(group, &sql).await?;
    }
    Ok(())
}

/// Drops every slice of these user schemas.
pub(super) async fn drop(scope: &mut Scope<'_>, schemas: &[String]) -> Result<()> {
    for (group, shards) in scope.all_shards() {
        let slices: Vec<String> = shards
            .iter()
            .flat_map(|shard| schemas.iter().map(|schema| quote_identifier(&shard.id.schema(schema))))
            .collect();
        if !slices.is_empty() {
            scope.privileged(group, &format!("DROP SCHEMA IF EXISTS {} CASCADE", slices.join(", "))).await?;
        }
    }
    Ok(())
}

/// Renames the slices of a user schema, those that exist.
pub(super) async fn rename(scope: &mut Scope<'_>, from: &str, to: &str) -> Result<()> {
    for (group, shards) in scope.all_shards() {
        let mut sql = String::from("DO $atoll$ BEGIN ");
        for shard in &shards {
            let (old, new) = (shard.id.schema(from), shard.id.schema(to));
            sql.push_str(&format!(
                "IF EXISTS (SELECT FROM pg_namespace WHERE nspname = {}) THEN ALTER SCHEMA {} RENAME TO {}; END IF; ",
                quote_literal(&old),
                quote_identifier(&old),
                quote_identifier(&new)
            ));
        }
        sql.push_str("END $atoll$");
        scope.privileged(group, &sql).await?;
    }
    Ok(())
}
