//! SQL text with places for what differs per shard.

use serde::Serialize;

use crate::directory::ShardId;

/// SQL text that differs per shard only in the schema of some names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Template {
    pub pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Piece {
    Text(String),
    /// The quoted name of the shard's slice of this user schema.
    Slice(String),
}

impl Template {
    pub fn text(text: impl Into<String>) -> Self {
        Self { pieces: vec![Piece::Text(text.into())] }
    }

    /// Whether it is the same for every shard.
    pub fn is_one_for_all(&self) -> bool {
        self.pieces.iter().all(|piece| matches!(piece, Piece::Text(_)))
    }

    /// Whether a relayed statement goes out byte for byte as it came.
    pub fn is_verbatim(&self) -> bool {
        self.is_one_for_all() && !self.has_marks()
    }

    /// Whether values are to be put in ([`crate::marks`]).
    pub fn has_marks(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Text(text) if crate::marks::has_marks(text)))
    }

    /// The text for a shard, as the client wrote what is marked.
    pub fn render(&self, shard: ShardId) -> String {
        let marked = self.render_marked(shard);
        if crate::marks::has_marks(&marked) { crate::marks::plain(&marked).into_owned() } else { marked }
    }

    /// The text for a shard, with its marks.
    pub fn render_marked(&self, shard: ShardId) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Slice(schema) => out.push_str(&crate::quote_identifier(&shard.schema(schema))),
            }
        }
        out
    }
}
