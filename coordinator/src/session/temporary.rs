//! Temporary tables: they live on the session's own backend at home, and hide permanent tables of the same name.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Held, Session};
use crate::error::Result;
use crate::facts::DatabaseFacts;
use crate::lane::Lane;
use crate::place::Place;

const NAMES: &str =
    "SELECT relname FROM pg_catalog.pg_class WHERE relnamespace = pg_catalog.pg_my_temp_schema() AND relkind <> 'i'";

/// What a session's temporary tables hide.
#[derive(Default)]
pub struct Temporary {
    names: BTreeSet<String>,
    /// The facts without what is hidden, and the facts they were made from.
    facts: Option<(u64, Arc<DatabaseFacts>)>,
}

impl Session {
    /// The facts to plan against: a hidden table is not known, so that its name goes to the session's own backend.
    pub fn planning_facts(&mut self) -> Arc<DatabaseFacts> {
        let facts = self.facts();
        if self.temporary.names.is_empty() {
            return facts;
        }
        if let Some((made_from, without)) = &self.temporary.facts
            && *made_from == facts.id
        {
            return without.clone();
        }
        let without = Arc::new(facts.without(&self.temporary.names));
        self.temporary.facts = Some((facts.id, without.clone()));
        without
    }

    /// Notes which temporary relations there are now on the session's own backend.
    ///
    /// # Errors
    /// PostgreSQL's own; the lane's.
    pub(super) async fn read_temporary_names(&mut self, held: &mut Held) -> Result<()> {
        let lane = self.lane(held);
        if lane.transaction_status == b'E' {
            return Ok(());
        }
        let names = names_on(lane).await?;
        self.note_temporary_names(names);
        Ok(())
    }

    /// After a transaction, which may have dropped some or taken some back.
    pub(super) async fn refresh_temporary_names(&mut self) {
        if self.temporary.names.is_empty() {
            return;
        }
        let names = match self.pinned.iter_mut().find(|(place, _)| *place == Place::HOME) {
            None => BTreeSet::new(),
            // A backend that cannot say is about to be found out by the next statement.
            Some((_, lane)) => names_on(lane).await.unwrap_or_default(),
        };
        self.note_temporary_names(names);
    }

    pub(super) fn has_temporary_names(&self) -> bool {
        !self.temporary.names.is_empty()
    }

    /// The backend that had them is gone.
    pub(super) fn forget_temporary_names(&mut self) {
        self.note_temporary_names(BTreeSet::new());
    }

    fn note_temporary_names(&mut self, names: BTreeSet<String>) {
        if self.temporary.names != names {
            self.temporary = Temporary { names, facts: None };
        }
    }

    /// Where a held lane is.
    pub(super) fn place_held(&self, held: &Held) -> Place {
        match held {
            Held::Alone(place, _) => *place,
            Held::Pinned(index) => self.pinned[*index].0,
            Held::Joined(index) => {
                self.transaction.as_ref().expect("a joined lane has its transaction").participants[*index].place
            }
        }
    }
}

async fn names_on(lane: &mut Lane) -> Result<BTreeSet<String>> {
    let sets = lane.query(NAMES).await?;
    Ok(sets.into_iter().flat_map(|set| set.rows).filter_map(|mut row| row.pop().flatten()).collect())
}
