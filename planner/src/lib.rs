//! From SQL text to a [`plan::Plan`]: pure, without I/O.
//!
//! The life of a statement here: [`scan`] splits a message into statements and a statement into tokens; [`statement::plan`] looks at the
//! first word. DDL, maintenance, session and transaction commands are recognised by their words. Queries and writes go through `parser`
//! to a tree in which every node knows its place in the text; `analysis` resolves names against [`Facts`] and collects what is known
//! of distribution keys; then the statement is pinned to a site or to one shard, or cut into fragments and a merge query (`select`,
//! `stage`). Texts for shards are the client's own, with stretches replaced by place (`edits`).

mod analysis;
pub mod catalog;
mod copy;
mod ddl;
mod dependent;
pub mod directory;
mod distribute_call;
mod edits;
mod explain;
pub mod hash;
mod insert;
mod insert_select;
mod island;
mod joined;
mod maintenance;
pub mod marks;
mod names;
mod parser;
pub mod plan;
mod reads;
mod reduce;
mod reference;
pub mod scan;
mod select;
mod session;
mod stage;
mod statement;
mod steps;
mod syntax;
mod update;
mod views;
mod virtual_edits;

pub use ddl::{fold as whereabouts_of_readers, plan_ddl};
pub use distribute_call::plan_distribute;
pub use maintenance::plan_maintenance;
pub use reads::only_reads;
pub use statement::plan;

use std::collections::HashMap;

use catalog::Catalog;
use directory::{Database, TableName};

/// What a statement is planned against: one version of the directory and of the catalog.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub directory: &'a Database,
    pub catalog: &'a Catalog,
    /// The session's search_path, `$user` already replaced (or left out when there is no such schema), without pg_catalog unless listed.
    pub search_path: &'a [String],
    /// Queries of views over distributed tables, as far as somebody asked for them; `None` for one that cannot stand in the view's place.
    pub views: &'a ViewDefinitions,
}

/// Views' queries, all names qualified.
pub type ViewDefinitions = HashMap<TableName, Option<String>>;

/// Quotes an identifier as PostgreSQL's quote_ident does.
pub fn quote_identifier(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !parser::needs_quotes(name);
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Quotes a string literal; independent of standard_conforming_strings.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!(" E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}
