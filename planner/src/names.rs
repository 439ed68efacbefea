//! What names mean: relations and functions, found as PostgreSQL finds them along the search path.

use crate::Facts;
use crate::catalog::{Function, Relation, RelationKind, Volatility};
use crate::directory::{ColocationId, KeyColumn, Table, TableName};
use crate::plan::VirtualRelation;
use crate::syntax::Name;

/// How deep views may stand on views.
const VIEW_DEPTH_MAX: usize = 32;

/// Where a relation's rows are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target<'f> {
    Distributed {
        colocation: ColocationId,
        key: &'f KeyColumn,
    },
    Reference,
    /// At home only.
    Unsharded,
    /// A view that reads distributed tables.
    DistributedView,
    /// A view that reads nothing but reference tables.
    ReferenceView,
    /// PostgreSQL's own catalogs, and views over nothing but them.
    System,
    Virtual(VirtualRelation),
    /// Not in the catalog: a temporary table, or one that does not exist.
    Unknown,
}

#[derive(Clone, Debug)]
pub(crate) struct Found<'f> {
    pub full: TableName,
    pub target: Target<'f>,
    pub relation: Option<&'f Relation>,
}

/// Names of a relation: database, schema, relation.
pub(crate) struct Split<'n> {
    pub schema: Option<&'n str>,
    pub name: &'n str,
}

pub(crate) fn split_name<'n>(name: &'n Name<'_>) -> Split<'n> {
    let schema = name.parts.len().checked_sub(2).map(|index| name.parts[index].name.as_ref());
    Split { schema, name: name.last() }
}

fn virtual_relation(schema: Option<&str>, name: &str) -> Option<VirtualRelation> {
    match (schema, name) {
        (Some("atoll"), "shards") => Some(VirtualRelation::AtollShards),
        (Some("atoll"), "nodes") => Some(VirtualRelation::AtollNodes),
        (Some("atoll"), "tables") => Some(VirtualRelation::AtollTables),
        (Some("atoll"), "events") => Some(VirtualRelation::AtollEvents),
        (None | Some("public" | "pg_catalog"), "citus_tables") => Some(VirtualRelation::CitusTables),
        (None | Some("public" | "pg_catalog"), "citus_shards") => Some(VirtualRelation::CitusShards),
        (None | Some("pg_catalog"), "pg_database") => Some(VirtualRelation::PgDatabase),
        _ => None,
    }
}

/// What a function's name means.
#[derive(Clone, Debug)]
pub(crate) enum Routine<'f> {
    BuiltIn(BuiltIn),
    User { full: TableName, overloads: &'f [Function] },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BuiltIn {
    pub volatility: Volatility,
    pub effect: Effect,
    pub aggregate: bool,
}

/// What a built-in function touches besides its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    None,
    /// Reads catalogs, or tells where it runs: the catalog database answers.
    Catalog,
    /// As [`Effect::Catalog`], and its answer is summed over the cluster.
    Size,
    /// Reads or changes sequences, which are at home.
    Sequence {
        writes: bool,
    },
    /// Changes something at home that ends with the transaction.
    Home,
    /// Changes something at home that belongs to the session.
    HomeSession,
    /// Changes the session.
    Session,
}

fn effect_of(name: &str) -> Effect {
    match name {
        "nextval" | "setval" => Effect::Sequence { writes: true },
        "currval" | "lastval" => Effect::Sequence { writes: false },
        "set_config" | "setseed" => Effect::Session,
        "pg_table_size" | "pg_total_relation_size" | "pg_relation_size" | "pg_indexes_size" | "pg_database_size" => {
            Effect::Size
        }
        // Where LISTEN is: channels belong to a database.
        "pg_notify" => Effect::Catalog,
        "current_database"
        | "current_catalog"
        | "current_schema"
        | "current_schemas"
        | "version"
        | "format_type"
        | "obj_description"
        | "col_description"
        | "shobj_description"
        | "row_security_active" => Effect::Catalog,
        _ if name.starts_with("lo_") || name == "loread" || name == "lowrite" => Effect::HomeSession,
        _ if name.starts_with("pg_advisory_xact_") || name.starts_with("pg_try_advisory_xact_") => Effect::Home,
        _ if name.starts_with("pg_advisory_") || name.starts_with("pg_try_advisory_") => Effect::HomeSession,
        "pg_typeof" | "pg_collation_for" | "pg_sleep" | "pg_sleep_for" | "pg_sleep_until" | "pg_column_size"
        | "pg_size_pretty" | "pg_size_bytes" | "pg_client_encoding" => Effect::None,
        _ if name.starts_with("pg_") || name.starts_with("to_reg") => Effect::Catalog,
        _ if name.starts_with("has_") && name.ends_with("_privilege") => Effect::Catalog,
        _ if name.starts_with("txid_") || name.starts_with("inet_") => Effect::Catalog,
        _ => Effect::None,
    }
}

impl<'f> Facts<'f> {
    /// The relation that a name means where no CTE has it.
    pub(crate) fn find_relation(&self, name: &Name<'_>) -> Found<'f> {
        let Split { schema, name } = split_name(name);
        match schema {
            Some(schema) => self.find_qualified(schema, name),
            None => self.find_unqualified(name),
        }
    }

    fn find_qualified(&self, schema: &str, name: &str) -> Found<'f> {
        let full = TableName::new(schema, name);
        if let Some(virtual_relation) = virtual_relation(Some(schema), name)
            && (schema != "public" || !self.catalog.relations.contains_key(&full))
        {
            return Found { full, target: Target::Virtual(virtual_relation), relation: None };
        }
        if matches!(schema, "pg_catalog" | "information_schema" | "pg_toast") {
            return Found { full, target: Target::System, relation: None };
        }
        self.found(full).unwrap_or_else(|full| Found { full, target: Target::Unknown, relation: None })
    }

    fn find_unqualified(&self, name: &str) -> Found<'f> {
        let listed = self.search_path.iter().any(|schema| schema == "pg_catalog");
        let system = |schema: &str| match virtual_relation(Some("pg_catalog"), name) {
            Some(VirtualRelation::PgDatabase) => Some(Found {
                full: TableName::new(schema, name),
                target: Target::Virtual(VirtualRelation::PgDatabase),
                relation: None,
            }),
            _ if self.catalog.system_relations.contains(name) => {
                Some(Found { full: TableName::new(schema, name), target: Target::System, relation: None })
            }
            _ => None,
        };
        if !listed && let Some(found) = system("pg_catalog") {
            return found;
        }
        for schema in self.search_path {
            if schema == "pg_catalog" {
                if let Some(found) = system(schema) {
                    return found;
                }
            } else if schema == "information_schema" {
                return Found { full: TableName::new(schema, name), target: Target::System, relation: None };
            } else if let Ok(found) = self.found(TableName::new(schema, name)) {
                return found;
            }
        }
        let target = virtual_relation(None, name).map_or(Target::Unknown, Target::Virtual);
        Found { full: TableName::new("", name), target, relation: None }
    }

    fn found(&self, full: TableName) -> Result<Found<'f>, TableName> {
        let relation = self.catalog.relations.get(&full);
        let target = match self.directory.tables.get(&full) {
            Some(Table::Distributed { colocation, key }) => Target::Distributed { colocation: *colocation, key },
            Some(Table::Reference) => Target::Reference,
            None => match relation {
                Some(relation) if relation.kind == RelationKind::View => self.view_target(relation, VIEW_DEPTH_MAX),
                Some(_) => Target::Unsharded,
                None => return Err(full),
            },
        };
        Ok(Found { full, target, relation })
    }

    /// Where a view's rows come from.
    fn view_target(&self, view: &Relation, depth: usize) -> Target<'f> {
        let (mut system, mut reference, mut home) = (0, 0, 0);
        for name in &view.reads {
            let target = match self.directory.tables.get(name) {
                Some(Table::Distributed { .. }) => Target::DistributedView,
                Some(Table::Reference) => Target::ReferenceView,
                None => match self.catalog.relations.get(name) {
                    Some(inner) if inner.kind == RelationKind::View && depth > 0 => self.view_target(inner, depth - 1),
                    Some(_) => Target::Unsharded,
                    None if matches!(name.schema.as_str(), "pg_catalog" | "information_schema") => Target::System,
                    None => Target::Unsharded,
                },
            };
            match target {
                Target::DistributedView => return Target::DistributedView,
                Target::ReferenceView => reference += 1,
                Target::System => system += 1,
                _ => home += 1,
            }
        }
        match (home, reference, system) {
            (0, 1.., 0) => Target::ReferenceView,
            (0, 0, 1..) => Target::System,
            _ => Target::Unsharded,
        }
    }

    /// What a function's name means. PostgreSQL chooses among overloads in all schemas of the search path by argument types, so a
    /// user's function of that name anywhere on the path counts.
    pub(crate) fn find_function(&self, name: &Name<'_>) -> Routine<'f> {
        let Split { schema, name } = split_name(name);
        if !self.catalog.functions.is_empty() {
            let found = match schema {
                Some("pg_catalog") => None,
                Some(schema) => self.user_function(schema, name),
                None => self.search_path.iter().find_map(|schema| self.user_function(schema, name)),
            };
            if let Some((full, overloads)) = found {
                return Routine::User { full, overloads };
            }
        }
        Routine::BuiltIn(self.built_in(name))
    }

    pub(crate) fn built_in(&self, name: &str) -> BuiltIn {
        let volatility = if self.catalog.volatile_functions.contains(name) {
            Volatility::Volatile
        } else if self.catalog.stable_functions.contains(name) || is_stable_keyword(name) {
            Volatility::Stable
        } else {
            Volatility::Immutable
        };
        BuiltIn { volatility, effect: effect_of(name), aggregate: self.catalog.aggregates.contains(name) }
    }

    fn user_function(&self, schema: &str, name: &str) -> Option<(TableName, &'f [Function])> {
        let full = TableName::new(schema, name);
        let overloads = self.catalog.functions.get(&full)?;
        Some((full, overloads.as_slice()))
    }

    /// Whether any distributed table, or view over one, has this name in whatever schema.
    pub(crate) fn names_distributed(&self, name: &str) -> bool {
        self.directory
            .tables
            .iter()
            .any(|(full, table)| full.name == name && matches!(table, Table::Distributed { .. }))
            || self.search_path.iter().any(|schema| {
                matches!(self.found(TableName::new(schema, name)), Ok(Found { target: Target::DistributedView, .. }))
            })
    }
}

/// SQL's functions without parentheses depend on session and transaction.
fn is_stable_keyword(name: &str) -> bool {
    matches!(
        name,
        "current_date"
            | "current_time"
            | "current_timestamp"
            | "localtime"
            | "localtimestamp"
            | "current_role"
            | "current_user"
            | "session_user"
            | "user"
            | "current_catalog"
            | "current_schema"
            | "now"
    )
}
