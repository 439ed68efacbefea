//! SELECTs over many shards: fragments from every group, and the merge query over them, in DataFusion where that computes exactly as
//! PostgreSQL does (tier 2), in PostgreSQL otherwise (tier 3).

use std::sync::Arc;

use atoll_planner::directory::Directory;
use atoll_planner::plan::{Access, Merge, Residue};
use atoll_wire::backend::Column;

use super::datafusion::Attempt;
use crate::error::{Error, Result};
use crate::place::Place;
use crate::plans::{Description, Statement};
use crate::session::Session;
use crate::session::extended::{Bound, push_description};
use crate::session::simple::Ask;
use atoll_wire::frames::Frame;
use atoll_wire::frontend;
use bytes::BytesMut;

/// Why DataFusion is not tried with a merge whose plan rules it out.
pub(super) const NOT_FOR_DATAFUSION: &str =
    "a statement that is more than a SELECT, reads system catalogs, or has collations of its own";

impl Session {
    /// Answers a merge, up to and including its CommandComplete.
    ///
    /// # Errors
    /// The statement's.
    pub async fn merge(
        &mut self,
        merge: &Merge,
        statement: &Arc<Statement>,
        ask: Ask<'_>,
        effects: (Access, Residue),
    ) -> Result<()> {
        // PostgreSQL judges the statement before its parts run anywhere.
        let description = self.describe(statement).await?;
        let own;
        let (merge, statement) = match self.worth_grouping(merge, ask).await? {
            Some(grouped) => {
                own = statement.grouped();
                (grouped, &own)
            }
            None => (merge, statement),
        };
        let columns = self.fragment_columns(merge, statement, ask).await?;
        let engine = self.settings.get("atoll.merge_engine").unwrap_or("auto").to_owned();
        if engine != "postgres" {
            let attempt = if merge.datafusion {
                self.merge_in_datafusion(merge, &columns, statement, ask, engine == "datafusion").await?
            } else {
                Attempt::Unsupported(NOT_FOR_DATAFUSION.to_owned())
            };
            match attempt {
                Attempt::Answered => return Ok(()),
                Attempt::Unsupported(reason) if engine == "datafusion" => {
                    return Err(Error::unsupported(
                        "DataFusion does not compute this merge as PostgreSQL does",
                        reason,
                        "SET atoll.merge_engine = auto lets PostgreSQL run it.",
                    ));
                }
                Attempt::Unsupported(reason) => {
                    tracing::debug!(reason, "PostgreSQL merges what DataFusion does not compute alike");
                    self.work.reason = Some(reason);
                }
            }
        }
        if ask.describes() && description.columns.is_some() {
            // The same answer, under the description that the catalog database gives.
            let bound = described_as(&description, ask, &[])?;
            return self.merge_in_postgres(merge, &columns, statement, Ask::Bound(&bound), effects).await;
        }
        self.merge_in_postgres(merge, &columns, statement, ask, effects).await
    }

    /// Relays a statement whose rows are described in other words than the backend's.
    ///
    /// # Errors
    /// The statement's.
    pub async fn relay_described(
        &mut self,
        (description, formats): (&Description, &[i16]),
        (place, path): (Place, &Arc<str>),
        sql: &str,
        statement: &Arc<Statement>,
        ask: Ask<'_>,
        effects: (Access, Residue),
    ) -> Result<()> {
        let bound = described_as(description, ask, formats)?;
        self.relay_statement(place, path, sql, statement, Ask::Bound(&bound), effects).await
    }

    /// The columns of each fragment, as the first shard describes them, then those of the tables at home; asked once for each plan.
    pub(super) async fn fragment_columns(
        &mut self,
        merge: &Merge,
        statement: &Arc<Statement>,
        ask: Ask<'_>,
    ) -> Result<Vec<Vec<Column>>> {
        if let Some(known) = statement.fragments.get() {
            return Ok(known.clone());
        }
        let facts = self.facts();
        let cancel = self.cancel.clone();
        let mut all = Vec::new();
        let home = merge.joined.iter().flat_map(|joined| &joined.home);
        let mut asked = Vec::new();
        for fragment in &merge.fragments {
            let shard = facts
                .database
                .colocations
                .get(&fragment.colocation)
                .and_then(|group| group.shards.first())
                .ok_or_else(|| Error::internal("a co-location group without shards"))?;
            asked.push((shard.group, fragment.arm.render_marked(shard.id)));
        }
        asked.extend(home.map(|rows| (Directory::HOME, rows.sql.clone())));
        for (group, marked) in asked {
            let path = self.plain_path();
            let types: Vec<u32> = match ask {
                Ask::Simple => Vec::new(),
                Ask::Bound(bound) => {
                    let map = facts.types_of(group);
                    bound.types.iter().map(|oid| map.map_or(*oid, |map| map.from_catalog(*oid))).collect()
                }
            };
            let sql = self.text_to_describe(&marked).await?.into_owned();
            let mut held = self.hold_ready(Place::data(group), &path).await?;
            let lane = self.lane(&mut held);
            let described = cancel.over(lane, async |lane| lane.describe(&sql, &types).await).await;
            self.let_go(held, false);
            let described = described.map_err(without_position).inspect_err(|_| self.note_failure())?;
            let columns = described.columns.ok_or_else(|| Error::internal("a fragment without columns"))?;
            all.push(columns);
        }
        // Another session may have been first; both say the same.
        let _ = statement.fragments.set(all.clone());
        Ok(all)
    }
}

/// The same request, for an answer under this description instead of one of its own; in `formats` unless it asks for others itself.
fn described_as(description: &Description, ask: Ask<'_>, formats: &[i16]) -> Result<Bound> {
    let bound = match ask {
        Ask::Bound(bound) => bound.clone(),
        Ask::Simple => {
            let mut out = BytesMut::new();
            frontend::bind("", "", &[], std::iter::empty(), formats, &mut out);
            Bound::decode(Frame::from_raw(out.freeze())?, false)?
        }
    };
    let mut described = BytesMut::new();
    push_description(description.columns.as_deref(), formats, &mut described);
    Ok(Bound { describe: false, described: Some(described.freeze()), ..bound })
}

/// A position in a fragment's text means nothing to the client.
fn without_position(error: Error) -> Error {
    match error {
        Error::Server(mut fields) => {
            fields.remove(b'P');
            Error::Server(fields)
        }
        other => other,
    }
}
