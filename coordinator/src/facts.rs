//! Everything that statements of a logical database are planned against, as one immutable value.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use atoll_planner::ViewDefinitions;
use atoll_planner::catalog::Catalog;
use atoll_planner::directory::{Database, Directory, GroupIndex};

use crate::routing::Floors;

static FACTS_ID: AtomicU64 = AtomicU64::new(1);

/// A number for [`DatabaseFacts::id`].
pub fn next_facts_id() -> u64 {
    FACTS_ID.fetch_add(1, Ordering::Relaxed)
}

/// One version of everything a statement of a logical database is planned against; immutable, swapped whole.
#[derive(Debug)]
pub struct DatabaseFacts {
    /// Unique in this process, new for every reading.
    pub id: u64,
    /// The logical database.
    pub name: String,
    pub directory_version: u64,
    /// All of it, this database's part included.
    pub directory: Arc<Directory>,
    pub database: Database,
    pub catalog: Catalog,
    /// The user types of the catalog database, which are the ones that clients know.
    pub user_types: UserTypes,
    /// How the types of each group's data database are called in the catalog database. A group that could not be asked is missing.
    pub types: HashMap<GroupIndex, TypeMap>,
    /// Definitions of views over distributed tables, as statements come to need them.
    pub views: Arc<RwLock<ViewDefinitions>>,
    /// What replicas must have replayed to know all this, as far as it has been asked for.
    pub floors: Arc<Floors>,
}

impl DatabaseFacts {
    /// The same without tables of these names, whatever their schema: something else goes by them.
    pub fn without(&self, names: &BTreeSet<String>) -> Self {
        let mut facts = Self {
            id: next_facts_id(),
            name: self.name.clone(),
            directory_version: self.directory_version,
            directory: self.directory.clone(),
            database: self.database.clone(),
            catalog: self.catalog.clone(),
            user_types: self.user_types.clone(),
            types: self.types.clone(),
            views: self.views.clone(),
            floors: self.floors.clone(),
        };
        facts.database.tables.retain(|table, _| !names.contains(&table.name));
        facts.catalog.relations.retain(|table, _| !names.contains(&table.name));
        facts
    }

    /// The translation for what comes from, or goes to, a group's data database.
    pub fn types_of(&self, group: GroupIndex) -> Option<&TypeMap> {
        self.types.get(&group)
    }
}

/// The user types and row types of one database, by schema and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserTypes {
    by_name: HashMap<(String, String), UserType>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct UserType {
    oid: u32,
    /// The relation whose row type it is.
    relation: Option<u32>,
}

impl UserTypes {
    pub fn add(&mut self, schema: &str, name: &str, oid: u32, relation: Option<u32>) {
        self.by_name.insert((schema.to_owned(), name.to_owned()), UserType { oid, relation });
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Whether both have the same types that are no table's or view's row type, under the same OIDs.
    pub fn same_declared(&self, other: &Self) -> bool {
        let declared = |types: &Self| -> HashMap<(String, String), u32> {
            let is_row = |schema: &str, name: &str| {
                let element = name.strip_prefix('_').unwrap_or(name);
                let found = types.by_name.get(&(schema.to_owned(), element.to_owned()));
                found.is_some_and(|element| element.relation.is_some())
            };
            let kept = types.by_name.iter().filter(|((schema, name), _)| !is_row(schema, name));
            kept.map(|(name, user_type)| (name.clone(), user_type.oid)).collect()
        };
        declared(self) == declared(other)
    }
}

/// OIDs of one group's data database and of the catalog database, for the same things. What is not listed is the same on both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TypeMap {
    to_catalog: HashMap<u32, u32>,
    from_catalog: HashMap<u32, u32>,
    relations: HashMap<u32, u32>,
}

impl TypeMap {
    /// Pairs the types of a data database with the catalog database's of the same name; a shard's slice of a schema counts as the
    /// schema.
    pub fn new(data: &UserTypes, catalog: &UserTypes) -> Self {
        let mut map = Self::default();
        for ((schema, name), here) in &data.by_name {
            let user_schema = sliced_schema(schema);
            let Some(there) = catalog.by_name.get(&(user_schema.unwrap_or(schema).to_owned(), name.clone())) else {
                continue;
            };
            map.to_catalog.insert(here.oid, there.oid);
            if let (Some(here), Some(there)) = (here.relation, there.relation) {
                map.relations.insert(here, there);
            }
            // Row types of slices: any will do, but one that is not a slice's goes before.
            if user_schema.is_none() {
                map.from_catalog.insert(there.oid, here.oid);
            } else {
                map.from_catalog.entry(there.oid).or_insert(here.oid);
            }
        }
        map
    }

    /// What the catalog database calls a data type of the group.
    pub fn to_catalog(&self, oid: u32) -> u32 {
        self.to_catalog.get(&oid).copied().unwrap_or(oid)
    }

    /// What the group calls a data type of the catalog database.
    pub fn from_catalog(&self, oid: u32) -> u32 {
        self.from_catalog.get(&oid).copied().unwrap_or(oid)
    }

    /// The OID in the catalog database of a table or view of the group; the group's own of what is not known there (yet): temporary tables,
    /// sequences, what the transaction has just made.
    pub fn relation_to_catalog(&self, oid: u32) -> u32 {
        self.relations.get(&oid).copied().unwrap_or(oid)
    }

    /// Whether both sides agree on everything, so that nothing has to be translated.
    pub fn is_identity(&self) -> bool {
        self.to_catalog.iter().chain(&self.from_catalog).all(|(from, to)| from == to)
    }
}

/// The user schema of which `schema` is a shard's slice.
pub fn sliced_schema(schema: &str) -> Option<&str> {
    if schema == "atoll" || !atoll_planner::directory::is_reserved_schema(schema) {
        return None;
    }
    Some(schema.split_once('_').map_or("public", |(_, user_schema)| user_schema))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_paired_by_name() {
        let mut catalog = UserTypes::default();
        catalog.add("public", "mood", 100, None);
        catalog.add("public", "orders", 110, Some(111));
        catalog.add("sales", "items", 120, Some(121));
        let mut data = UserTypes::default();
        data.add("public", "mood", 200, None);
        data.add("s0007", "orders", 210, Some(211));
        data.add("s0008", "orders", 220, Some(221));
        data.add("s0007_sales", "items", 230, Some(231));
        data.add("public", "other", 240, None);
        let map = TypeMap::new(&data, &catalog);
        assert_eq!([200, 210, 220, 230, 240, 25].map(|oid| map.to_catalog(oid)), [100, 110, 110, 120, 240, 25]);
        assert_eq!(map.relation_to_catalog(221), 111);
        assert_eq!(map.from_catalog(100), 200);
        assert!([210, 220].contains(&map.from_catalog(110)));
        assert!(!map.is_identity());
    }

    #[test]
    fn declared_types_decide_whether_groups_are_asked_again() {
        let mut before = UserTypes::default();
        before.add("public", "mood", 100, None);
        let mut after = before.clone();
        after.add("public", "orders", 110, Some(111));
        after.add("public", "_orders", 112, None);
        assert!(before.same_declared(&after));
        after.add("public", "_mood2", 114, None);
        assert!(!before.same_declared(&after));
    }
}
