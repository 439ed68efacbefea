//! DDL and distribution: plans of [`atoll_planner::plan::Ddl`] run against a transaction over the catalog database, home, groups and
//! shards.
//!
//! The catalog database is always first: errors are PostgreSQL's own, in the client's words, and what the text alone does not say (what
//! a new view reads, whether a constraint may be) is then read from it. Home comes next, then the other groups in their order and
//! each group's shards in theirs, so that two such statements wait for each other rather than deadlock.

mod alone;
mod carve;
mod deparse;
mod distribute;
mod distribution_call;
mod execute;
mod key;
mod maintain;
mod reconcile;
mod rows;
mod rules;
mod schemas;
mod slices;
mod spread;
mod views;

pub use alone::execute_alone;
pub use distribute::distribute;
pub use execute::{DdlOutcome, execute};
pub(crate) use key::{condition as shard_condition, not_below};
pub use maintain::{maintain, maintain_alone};

use std::collections::BTreeMap;

use std::sync::LazyLock;

use atoll_planner::directory::{Colocation, ColocationId, Directory, GroupIndex, Shard, ShardId};
use atoll_planner::plan::Template;
use atoll_planner::{Facts, ViewDefinitions};

use crate::error::{Error, Result, sqlstate};
use crate::facts::DatabaseFacts;
use crate::lane::ResultSet;
use crate::place::{Participants, Place};
use crate::session::settings::join_search_path;

/// What every step needs: the transaction, and what it is planned against.
pub(crate) struct Scope<'a> {
    pub tx: &'a mut dyn Participants,
    pub facts: &'a DatabaseFacts,
    /// The client's search_path, `$user` replaced.
    pub search_path: &'a [String],
}

impl Scope<'_> {
    pub(crate) fn planner_facts(&self) -> Facts<'_> {
        Facts {
            directory: &self.facts.database,
            catalog: &self.facts.catalog,
            search_path: self.search_path,
            views: no_views(),
        }
    }

    /// Every group, home first.
    pub(crate) fn groups(&self) -> impl Iterator<Item = GroupIndex> + use<> {
        (0..self.facts.directory.groups.len()).map(GroupIndex)
    }

    /// The group with the fewest shards of this database, the first of several.
    pub(crate) fn least_loaded_group(&self) -> GroupIndex {
        let shards = self.all_shards();
        self.groups().min_by_key(|group| shards.get(group).map_or(0, Vec::len)).unwrap_or_default()
    }

    fn other_groups(&self) -> impl Iterator<Item = GroupIndex> + use<> {
        self.groups().filter(|group| *group != Directory::HOME)
    }

    pub(crate) fn group_name(&self, group: GroupIndex) -> String {
        group_name(self.facts, group)
    }

    /// A co-location group's shards by group, home first.
    ///
    /// # Errors
    /// XX000 when there is no such co-location group.
    pub(crate) fn shards(&self, colocation: ColocationId) -> Result<BTreeMap<GroupIndex, Vec<Shard>>> {
        let found = self.facts.database.colocations.get(&colocation);
        Ok(by_group(found.ok_or_else(|| Error::internal(format!("co-location group {} is not known", colocation.0)))?))
    }

    /// The shards of every co-location group, by group.
    pub(crate) fn all_shards(&self) -> BTreeMap<GroupIndex, Vec<Shard>> {
        let mut all: BTreeMap<GroupIndex, Vec<Shard>> = BTreeMap::new();
        for colocation in self.facts.database.colocations.values() {
            for (group, mut shards) in by_group(colocation) {
                all.entry(group).or_default().append(&mut shards);
            }
        }
        all
    }

    pub(crate) async fn catalog(&mut self, sql: &str) -> Result<Vec<ResultSet>> {
        self.tx.run(Place::CATALOG, None, sql).await
    }

    pub(crate) async fn home(&mut self, sql: &str) -> Result<Vec<ResultSet>> {
        self.tx.run(Place::HOME, None, sql).await.map_err(|error| within(error, "home's part of the statement"))
    }

    pub(crate) async fn group(&mut self, group: GroupIndex, sql: &str) -> Result<Vec<ResultSet>> {
        let context = format!("group {}", self.group_name(group));
        self.tx.run(Place::data(group), None, sql).await.map_err(|error| within(error, &context))
    }

    pub(crate) async fn every_group(&mut self, sql: &str) -> Result<()> {
        for group in self.groups() {
            self.group(group, sql).await?;
        }
        Ok(())
    }

    pub(crate) async fn others(&mut self, sql: &str) -> Result<()> {
        for group in self.other_groups() {
            self.group(group, sql).await?;
        }
        Ok(())
    }

    /// Runs a statement for one shard, under its search_path.
    pub(crate) async fn shard(&mut self, shard: &Shard, statement: &Template) -> Result<Vec<ResultSet>> {
        self.shard_under(shard, &shard_path(shard.id, self.search_path), statement).await
    }

    pub(crate) async fn shard_under(
        &mut self,
        shard: &Shard,
        path: &str,
        statement: &Template,
    ) -> Result<Vec<ResultSet>> {
        let context = format!("shard {} of group {}", shard.id, self.group_name(shard.group));
        let sql = statement.render(shard.id);
        self.tx.run(Place::data(shard.group), Some(path), &sql).await.map_err(|error| within(error, &context))
    }

    pub(crate) async fn every_shard(&mut self, colocation: ColocationId, statement: &Template) -> Result<()> {
        for shard in self.shards(colocation)?.into_values().flatten() {
            self.shard(&shard, statement).await?;
        }
        Ok(())
    }

    pub(crate) async fn privileged(&mut self, group: GroupIndex, sql: &str) -> Result<()> {
        let context = format!("group {}", self.group_name(group));
        self.tx.run_privileged(Place::data(group), sql).await.map_err(|error| within(error, &context))
    }

    /// Changes the directory.
    pub(crate) async fn directory(&mut self, sql: &str) -> Result<Vec<ResultSet>> {
        self.tx.run(Place::DIRECTORY, None, sql).await.map_err(|error| within(error, "the directory"))
    }
}

pub(crate) fn group_name(facts: &DatabaseFacts, group: GroupIndex) -> String {
    facts.directory.groups.get(group.0).map_or_else(|| format!("#{}", group.0), |known| known.name.clone())
}

pub(crate) fn by_group(colocation: &Colocation) -> BTreeMap<GroupIndex, Vec<Shard>> {
    let mut groups: BTreeMap<GroupIndex, Vec<Shard>> = BTreeMap::new();
    for shard in &colocation.shards {
        groups.entry(shard.group).or_default().push(shard.clone());
    }
    groups
}

/// The search_path of a shard: each schema preceded by its slice.
/// DDL is planned by what it names: what a view holds does not matter.
fn no_views() -> &'static ViewDefinitions {
    static NONE: LazyLock<ViewDefinitions> = LazyLock::new(ViewDefinitions::new);
    &NONE
}

pub(crate) fn shard_path(shard: ShardId, search_path: &[String]) -> String {
    join_search_path(search_path.iter().flat_map(|schema| [shard.schema(schema), schema.clone()]))
}

/// Says in an error's CONTEXT where it came from. Its position is dropped: it may not be one in the client's text.
///
/// The catalog database has accepted the statement before, so a role that is unknown elsewhere is one that this transaction makes: only in
/// the backend that makes it is it there before the commit.
pub(crate) fn within(mut error: Error, context: &str) -> Error {
    if let Error::Server(fields) = &mut error {
        if fields.sqlstate() == sqlstate::UNDEFINED_OBJECT && fields.message().starts_with("role \"") {
            return Error::unsupported(
                "roles cannot be used in the transaction that creates them",
                format!("{context}: {}.", fields.message()),
                "COMMIT after CREATE ROLE, and send it as a message of its own.",
            );
        }
        fields.set_position(None);
        fields.add_context(context);
    }
    error
}
