//! Catalog queries in which some relations are Atoll's own: their rows of this moment are spliced into the text.

use atoll_planner::directory::GroupIndex;
use atoll_planner::plan::{SizeFunction, VirtualPiece, VirtualRelation};

use crate::directory::sizes::SIZES;
use crate::directory::virtual_relations;
use crate::error::Result;
use crate::lane::ResultSet;
use crate::place::{Kind, Place};
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
                    let own = match relation {
                        VirtualRelation::Size(function) if function != SizeFunction::Database => {
                            self.own_sizes().await?
                        }
                        _ => Vec::new(),
                    };
                    let sql = self
                        .worker
                        .cluster
                        .on_control(async move { virtual_relations::sql(relation, &keeper, &facts, own).await })
                        .await?;
                    text.push_str(&sql);
                }
            }
        }
        Ok(text)
    }

    /// What the open transaction itself sees of the tables' sizes, by group: it may have made or emptied tables, and locked them.
    async fn own_sizes(&mut self) -> Result<Vec<(GroupIndex, Vec<ResultSet>)>> {
        let joined = self.transaction.iter().flat_map(|transaction| &transaction.participants);
        let on_primary = joined.filter(|one| one.place.kind == Kind::Data && one.lane.reads_for.is_none());
        let places: Vec<Place> = on_primary.map(|participant| participant.place).collect();
        let path = self.plain_path();
        let mut own = Vec::with_capacity(places.len());
        for place in places {
            own.push((place.group, self.run_at(place, &path, SIZES, false).await?));
        }
        Ok(own)
    }
}
