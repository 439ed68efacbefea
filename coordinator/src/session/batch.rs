//! Messages for one backend are gathered and travel together; the backend knows statements by the coordinator's names, so that pooled
//! backends keep them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use atoll_planner::directory::ShardId;
use atoll_planner::plan::{Access, Residue};
use atoll_wire::frontend;
use bytes::{Bytes, BytesMut};

use super::extended::Bound;
use super::reads::Route;
use super::relay::{CopyEnd, Expect, Rewritten, TextThere};
use super::{Held, Session};
use crate::error::{Loss, Result};
use crate::place::Place;
use crate::plans::Statement;

/// Messages on their way to one backend, not yet sent: which form they take depends on the backend.
pub(super) struct Batch {
    /// Where to, and under which search_path.
    pub(super) site: Option<(Place, Arc<str>)>,
    pub(super) items: Vec<Item>,
    pub(super) access: Access,
    pub(super) residue: Residue,
    /// The statements bound so far whose text there is a shard's.
    pub(super) rewritten: Vec<(Arc<Statement>, ShardId)>,
    /// The last statement that was bound or sent to run.
    pub(super) last: Option<Arc<Statement>>,
}

pub(super) enum Item {
    /// Frames of the coordinator's own, in their place among the answers.
    Local(Bytes),
    Bind {
        statement: Arc<Statement>,
        id: u64,
        rendered_for: Option<ShardId>,
        bound: Arc<Bound>,
        portal: String,
    },
    Describe(String),
    Execute(String, i32),
    Close(String),
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            site: None,
            items: Vec::new(),
            access: Access::Read,
            residue: Residue::Clean,
            rewritten: Vec::new(),
            last: None,
        }
    }

    pub(super) fn is_for(&self, place: Place) -> bool {
        self.site.as_ref().is_some_and(|(site, _)| *site == place)
    }
}

impl Session {
    /// Whether something must not be begun before the answers that are due (it could fail, or run elsewhere).
    pub(super) fn needs_order(&self, batch: &Batch) -> bool {
        !batch.items.is_empty() && self.transaction.is_some()
    }

    /// Frames of the coordinator's own, in their place among those of the backend.
    pub(super) fn local(&mut self, batch: &mut Batch, build: impl FnOnce(&mut BytesMut)) {
        if batch.items.is_empty() {
            build(&mut self.client.output);
        } else {
            let mut frames = BytesMut::new();
            build(&mut frames);
            batch.items.push(Item::Local(frames.freeze()));
        }
    }

    /// The batch's messages for a backend, which is told statements first that it does not know; and what is due for them.
    fn encode(
        &mut self,
        batch: &Batch,
        held: &mut Held,
        place: Place,
        out: &mut BytesMut,
        due: &mut VecDeque<Expect>,
    ) -> Result<()> {
        let facts = self.facts.clone();
        let lane = self.lane(held);
        // Statements whose Parse is on its way in this very batch.
        let mut parsed = Vec::new();
        for item in &batch.items {
            match item {
                Item::Local(frames) => due.push_back(Expect::Local(frames.clone())),
                Item::Bind { statement, id, rendered_for, bound, portal } => {
                    let name = statement_name(*id);
                    if !parsed.contains(id) && !lane.has_prepared(*id) {
                        if let Some(old) = lane.evict_prepared() {
                            frontend::close(b'S', &statement_name(old), out);
                            due.push_back(Expect::CloseComplete { hidden: true });
                        }
                        let types: Vec<u32> = match facts.types.get(&place.group) {
                            Some(map) if place != Place::CATALOG => {
                                statement.types.iter().map(|oid| map.from_catalog(*oid)).collect()
                            }
                            _ => statement.types.clone(),
                        };
                        let rendered = rendered_for.map(|shard| statement.text_on(shard));
                        frontend::parse(&name, rendered.as_deref().unwrap_or(&statement.text), &types, out);
                        due.push_back(Expect::ParseComplete { register: Some(*id), hidden: true });
                        parsed.push(*id);
                    }
                    frontend::bind_renamed(&bound.frame, portal, &name, out)?;
                    due.push_back(Expect::BindComplete { hidden: false });
                }
                Item::Describe(portal) => {
                    frontend::describe(b'P', portal, out);
                    due.push_back(Expect::Description { hide_no_data: false });
                }
                Item::Execute(portal, max_rows) => {
                    frontend::execute(portal, *max_rows, out);
                    due.push_back(Expect::Execute);
                }
                Item::Close(portal) => {
                    frontend::close(b'P', portal, out);
                    due.push_back(Expect::CloseComplete { hidden: false });
                }
            }
        }
        frontend::sync(out);
        due.push_back(Expect::Ready);
        Ok(())
    }

    /// Makes the batch's messages go to `place`; those for another one are sent and answered first.
    pub(super) async fn engage(&mut self, batch: &mut Batch, place: Place, path: &Arc<str>) -> Result<()> {
        if batch.site.as_ref().is_some_and(|(site, known)| *site == place && known == path) {
            return Ok(());
        }
        self.drain(batch).await?;
        batch.site = Some((place, path.clone()));
        Ok(())
    }

    /// [`Session::engage`] for a portal of an earlier batch: its lane is the transaction's, and stays as it stands.
    pub(super) async fn engage_again(&mut self, batch: &mut Batch, place: Place) -> Result<()> {
        if batch.is_for(place) {
            return Ok(());
        }
        let path = self.transaction.as_ref().and_then(|transaction| {
            let index = transaction.position(place)?;
            transaction.participants[index].lane.state.search_path.clone()
        });
        let path = path.unwrap_or_else(|| self.plain_path());
        self.engage(batch, place, &path).await
    }

    /// Sends what was gathered with a Sync and answers what is due. Outside a transaction that ends the backend's own; and a batch that
    /// only reads, of which the client has seen nothing, is sent again when its backend is lost.
    pub(super) async fn drain(&mut self, batch: &mut Batch) -> Result<()> {
        let Some((place, path)) = batch.site.take() else {
            for item in batch.items.drain(..) {
                if let Item::Local(frames) = item {
                    self.client.push(&frames);
                }
            }
            return Ok(());
        };
        let start = Instant::now();
        let last = batch.last.take();
        let outcome = self.send_batch(batch, (place, &path), last.as_ref()).await;
        self.route = Route::Primary;
        if let Some(last) = &last {
            self.note_time(start, last);
        }
        (batch.access, batch.residue) = (Access::Read, Residue::Clean);
        batch.items.clear();
        batch.rewritten.clear();
        outcome
    }

    /// Sends a batch, of which `last` is the last statement, and relays the answers.
    async fn send_batch(
        &mut self,
        batch: &Batch,
        (place, path): (Place, &Arc<str>),
        last: Option<&Arc<Statement>>,
    ) -> Result<()> {
        let copy_end = if self.batch_synced { CopyEnd::SyncAgain } else { CopyEnd::FirstSync };
        let mark = self.client.mark();
        let mut times = 0;
        self.route = Route::Primary;
        if let Some(statement) = last {
            self.route = self.route_of(statement);
            self.leave_replicas(statement).await?;
        }
        self.used_replica = false;
        self.runs_alone = self.transaction.is_none();
        loop {
            let (mut held, prelude) = self.hold(place, path).await?;
            let mut due: VecDeque<Expect> = (0..prelude.ready).map(|_| Expect::Prelude).collect();
            let mut out = prelude.frames;
            self.encode(batch, &mut held, place, &mut out, &mut due)?;
            // Of several statements it is not known whose an error is; one that depends on the text came when they were described.
            let one = match batch.rewritten.as_slice() {
                [(statement, shard)] => Some(Rewritten { statement, there: TextThere::On(*shard) }),
                _ => None,
            };
            let mut relayed = self.exchange(&mut held, out.freeze(), due, copy_end, one).await;
            self.tier = super::Tier::Relay;
            if let Err(error) = &relayed
                && prelude.is_fresh
                && error.loss() == Some(Loss::Unsent)
            {
                self.give_up(held);
                self.wait_for_another(error).await?;
                continue;
            }
            let kept = relayed.as_mut().ok().and_then(|relayed| relayed.kept.take());
            let sql = last.map_or("", |statement| &statement.text);
            let outcome = self.after_relay(held, relayed, sql, batch.access, batch.residue).await;
            match (kept, one, outcome) {
                (_, _, Err(error)) if self.runs_on_primary(&error, mark) => {
                    (self.route, self.used_replica) = (Route::Primary, false);
                }
                (Some(fields), Some(one), _) => return Err(self.in_the_clients_text(*fields, one).await),
                (_, _, Err(error)) if self.transaction.is_none() && error.loss().is_some() => {
                    let Some(statement) = last else { return Err(error) };
                    if self.reads_again(&error, statement, mark, &mut times).await {
                        continue;
                    }
                    return Err(self.outcome_of(error, statement));
                }
                (_, _, outcome) => return outcome,
            }
        }
    }
}

/// What a backend calls a statement of the coordinator.
pub(super) fn statement_name(id: u64) -> String {
    format!("atoll_{id}")
}
