//! Catalog queries in which some relations are Atoll's own: their rows of this moment are spliced into the text.

use atoll_planner::plan::VirtualPiece;

use crate::directory::virtual_relations;
use crate::error::Result;
use crate::session::Session;

impl Session {
    /// The text to run in the catalog database.
    ///
    /// # Errors
    /// When sizes or states cannot be read.
    pub async fn virtual_text(&mut self, pieces: &[VirtualPiece]) -> Result<String> {
        let keeper = self.worker.cluster.keeper.clone();
        let facts = self.facts();
        let mut text = String::new();
        for piece in pieces {
            match piece {
                VirtualPiece::Text(piece) => text.push_str(piece),
                VirtualPiece::Relation(relation) => {
                    let (keeper, facts, relation) = (keeper.clone(), facts.clone(), *relation);
                    let sql = self
                        .worker
                        .cluster
                        .on_control(async move { virtual_relations::sql(relation, &keeper, &facts).await })
                        .await?;
                    text.push_str(&sql);
                }
            }
        }
        Ok(text)
    }
}
