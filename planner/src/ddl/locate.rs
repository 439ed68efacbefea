//! Which relation a name means, where that relation is, and the splicing of qualified names for shards.

use super::words::{Name, is_identifier};
use crate::Facts;
use crate::catalog::RelationKind;
use crate::directory::{Table, TableName};
use crate::plan::{Piece, Template, Whereabouts};
use crate::scan::{Token, tokens};

/// How deep views may stand on views before they are taken for unsharded.
const VIEW_DEPTH_MAX: usize = 32;

/// A relation (or an index) that a statement names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    pub name: TableName,
    pub whereabouts: Whereabouts,
}

impl Facts<'_> {
    /// The relation or index a name means; `None` when the catalog has none of that name (it may be a temporary one).
    pub(crate) fn locate(&self, name: &Name) -> Option<Located> {
        self.resolve(name, |full| self.catalog.relations.contains_key(full) || self.catalog.indexes.contains_key(full))
            .map(|name| Located { whereabouts: self.whereabouts(&name), name })
    }

    /// Whether a new relation of that name would meet one that is there: in its schema, or in the first of the search_path that exists.
    pub(crate) fn new_name_is_taken(&self, name: &Name) -> bool {
        let first = self.search_path.iter().find(|schema| self.catalog.schemas.contains(*schema));
        let Some(schema) = name.schema.as_ref().or(first) else { return false };
        let full = TableName::new(schema, &name.name);
        self.catalog.relations.contains_key(&full) || self.catalog.indexes.contains_key(&full)
    }

    /// An extended statistics object's table.
    pub(crate) fn locate_statistics(&self, name: &Name) -> Option<Located> {
        let name = self.resolve(name, |full| self.catalog.statistics.contains_key(full))?;
        let whereabouts = self.whereabouts(&self.catalog.statistics[&name]);
        Some(Located { name, whereabouts })
    }

    fn resolve(&self, name: &Name, exists: impl Fn(&TableName) -> bool) -> Option<TableName> {
        match &name.schema {
            Some(schema) => Some(TableName::new(schema, &name.name)).filter(&exists),
            None => self.search_path.iter().map(|schema| TableName::new(schema, &name.name)).find(exists),
        }
    }

    /// Where an existing relation, or the table of an existing index, is.
    pub fn whereabouts(&self, name: &TableName) -> Whereabouts {
        self.whereabouts_within(name, VIEW_DEPTH_MAX)
    }

    fn whereabouts_within(&self, name: &TableName, depth: usize) -> Whereabouts {
        let name = self.catalog.indexes.get(name).unwrap_or(name);
        match self.directory.tables.get(name) {
            Some(Table::Distributed { colocation, .. }) => return Whereabouts::Shards(*colocation),
            Some(Table::Reference) => return Whereabouts::EveryGroup,
            None => {}
        }
        match self.catalog.relations.get(name) {
            Some(relation) if relation.kind == RelationKind::CompositeType => Whereabouts::EveryGroup,
            Some(relation) if relation.kind == RelationKind::View && depth > 0 => {
                fold(relation.reads.iter().map(|read| self.whereabouts_within(read, depth - 1)))
            }
            _ => Whereabouts::Home,
        }
    }

    /// The text with the schema of every qualified distributed relation (or its index) made a slice.
    pub fn splice(&self, text: &str) -> Template {
        let tokens = tokens(text);
        let mut pieces = Vec::new();
        let mut copied = 0;
        for index in 0..tokens.len() {
            let Some(schema) = self.sliced_schema(text, &tokens, index) else { continue };
            let span = tokens[index].span;
            pieces.push(Piece::Text(text[copied..span.start].to_owned()));
            pieces.push(Piece::Slice(schema));
            copied = span.end;
        }
        if copied < text.len() || pieces.is_empty() {
            pieces.push(Piece::Text(text[copied..].to_owned()));
        }
        Template { pieces }
    }

    /// Whether the token at `index` is the schema of a qualified distributed relation.
    fn sliced_schema(&self, text: &str, tokens: &[Token], index: usize) -> Option<String> {
        let after_dot = index > 0 && tokens[index - 1].is_symbol(text, ".");
        if after_dot || !tokens.get(index + 1)?.is_symbol(text, ".") || !is_identifier(&tokens[index]) {
            return None;
        }
        let schema = tokens[index].identifier(text)?.into_owned();
        let full = TableName::new(schema, tokens.get(index + 2)?.identifier(text)?);
        matches!(self.whereabouts(&full), Whereabouts::Shards(_)).then_some(full.schema)
    }
}

/// Where something is that reads relations in these places: with slices when any is sliced; at home when any is only there; otherwise
/// everywhere. What is both sliced and only at home, or sliced in two ways, is in the catalog database alone.
pub fn fold(places: impl Iterator<Item = Whereabouts>) -> Whereabouts {
    places.fold(Whereabouts::EveryGroup, |sum, place| match (sum, place) {
        (have, place) if have == place => have,
        (have, Whereabouts::EveryGroup) => have,
        (Whereabouts::EveryGroup, place) => place,
        _ => Whereabouts::Catalog,
    })
}
