//! What a statement looks like (parameters, columns), in PostgreSQL's own words; and where it goes when one backend will do.

use std::sync::Arc;

use atoll_planner::directory::ShardId;
use atoll_planner::plan::{
    Access, Distribute, InsertSelect, ManyWrite, Plan, Residue, Session as SessionPlan, WriteWith,
};
use atoll_wire::backend::Column;
use atoll_wire::frontend;
use bytes::BytesMut;

use super::extended::Bound;
use super::{Held, Session};
use crate::error::{Error, Result};
use crate::execute::route::Route;
use crate::place::Place;
use crate::plans::{Description, Statement};

/// One backend's share of a statement: all of it.
pub struct Target {
    pub place: Place,
    pub path: Arc<str>,
    /// The shard whose text of the statement is sent, when that is not the client's own.
    pub rendered_for: Option<ShardId>,
    pub access: Access,
    pub residue: Residue,
    /// Under which number backends keep it prepared.
    pub statement_id: u64,
}

/// Statements' numbers leave room for the shard: prepared under another search_path, the same text is another statement.
fn prepared_id(statement: &Statement, shard: u32) -> u64 {
    (statement.id << 20) | u64::from(shard)
}

impl Session {
    /// Where the statement goes whole, or `None` when the coordinator has to do more than relay it.
    ///
    /// # Errors
    /// 22P02 and the like for key values that are none.
    pub async fn single_target(&mut self, statement: &Arc<Statement>, bound: &Bound) -> Result<Option<Target>> {
        match &statement.plan {
            Plan::Relay(relay) if relay.text.is_none() => {
                let place = self.place_of(relay.site);
                if relay.marked.as_ref().is_some_and(|marked| !self.is_plain_at(place, marked)) {
                    return Ok(None);
                }
                Ok(Some(Target {
                    place,
                    path: self.plain_path(),
                    rendered_for: None,
                    access: relay.access,
                    residue: relay.residue,
                    statement_id: prepared_id(statement, 0),
                }))
            }
            Plan::Sharded(sharded) => {
                let route = self.route(sharded.colocation, sharded.key_type, &sharded.keys, Some(bound)).await?;
                let Route::One(shard) = route else { return Ok(None) };
                let marked = sharded.single.has_marks().then(|| sharded.single.render_marked(shard.id));
                if marked.is_some_and(|marked| !self.is_plain_at(Place::data(shard.group), &marked)) {
                    return Ok(None);
                }
                Ok(Some(Target {
                    place: Place::data(shard.group),
                    path: self.path_on_shard(sharded, shard.id),
                    rendered_for: (!sharded.single.is_verbatim()).then_some(shard.id),
                    access: sharded.access,
                    residue: sharded.residue,
                    statement_id: prepared_id(statement, shard.id.0),
                }))
            }
            _ => Ok(None),
        }
    }

    /// The statement's description; asked of PostgreSQL once for each version of the facts.
    ///
    /// # Errors
    /// What PostgreSQL says of a statement that it does not accept.
    pub async fn describe(&mut self, statement: &Arc<Statement>) -> Result<Arc<Description>> {
        if let Some(known) = statement.description.get() {
            return Ok(known.clone());
        }
        let nothing = || Description { parameters: Vec::new(), columns: None };
        let description = match &statement.plan {
            Plan::Empty => nothing(),
            // PostgreSQL's own error, if it has one; what Atoll refuses is said when it is to run.
            Plan::Refuse(_) => self.ask_postgres(&statement.text, &statement.types, Place::CATALOG).await?,
            Plan::Distribute(call) => Description { parameters: Vec::new(), columns: Some(vec![of_distribute(call)]) },
            Plan::Own(own) => self.describe_own(own, &statement.types),
            Plan::Session(SessionPlan::Show { name }) if name.starts_with("atoll.") => {
                Description { parameters: Vec::new(), columns: Some(vec![column(name, atoll_wire::oid::TEXT, -1)]) }
            }
            Plan::Session(SessionPlan::Execute { name, .. }) => {
                let prepared = self.statements.get(name).map(|prepared| prepared.statement.clone());
                match prepared {
                    Some(prepared) => {
                        // Not kept: the name may stand for another statement next time.
                        let inner = Box::pin(self.describe(&prepared)).await?;
                        return Ok(Arc::new(Description { parameters: Vec::new(), columns: inner.columns.clone() }));
                    }
                    None => {
                        return Err(Error::sql("26000", format!("prepared statement \"{name}\" does not exist")));
                    }
                }
            }
            Plan::Session(
                SessionPlan::Cursor { .. } | SessionPlan::Prepare { .. } | SessionPlan::Deallocate { .. },
            ) => {
                return self.describe_cursor_command(statement).await;
            }
            Plan::Relay(relay) if relay.text.is_some() => {
                let text = self.virtual_text(relay.text.as_deref().unwrap_or_default()).await?;
                self.ask_postgres(&text, &statement.types, Place::CATALOG).await?
            }
            Plan::Relay(relay) => {
                let place = self.place_of(relay.site);
                self.ask_postgres(&statement.text, &statement.types, place).await?
            }
            Plan::WriteWith(WriteWith { write: ManyWrite { returning: false, .. }, .. })
            | Plan::InsertSelect(InsertSelect { returning: false, .. }) => {
                match self.ask_postgres(&statement.text, &statement.types, Place::CATALOG).await {
                    // As below; the shards judge the rest.
                    Err(error) if error.sqlstate() == "42P01" && self.has_own(Place::HOME) => {
                        Description { parameters: statement.types.clone(), columns: None }
                    }
                    asked => asked?,
                }
            }
            Plan::Gather(gather) => {
                match self.ask_postgres(&statement.text, &statement.types, Place::CATALOG).await {
                    // Temporary tables are known at home only.
                    Err(error) if error.sqlstate() == "42P01" && self.has_own(Place::HOME) => {
                        self.describe_merge(&gather.merge, statement).await?
                    }
                    asked => asked?,
                }
            }
            _ => self.ask_postgres(&statement.text, &statement.types, Place::CATALOG).await?,
        };
        let description = Arc::new(description);
        // Another session may have been first; both say the same.
        let _ = statement.description.set(description.clone());
        Ok(description)
    }

    /// FETCH describes the cursor's columns, which the backend that holds it knows; not kept, because another cursor may take the name.
    async fn describe_cursor_command(&mut self, statement: &Arc<Statement>) -> Result<Arc<Description>> {
        let nothing = Arc::new(Description { parameters: Vec::new(), columns: None });
        let Plan::Session(SessionPlan::Cursor { name: Some(name) }) = &statement.plan else { return Ok(nothing) };
        let Some(cursor) = self.cursors.get(name) else { return Ok(nothing) };
        let place = cursor.place;
        if let Some(description) = &cursor.description
            && statement.text.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("fetch"))
        {
            return Ok(description.clone());
        }
        let path = self.plain_path();
        let cancel = self.cancel.clone();
        let mut held = self.hold_ready(place, &path).await?;
        let lane = self.lane(&mut held);
        let described = cancel.over(lane, async |lane| lane.describe(&statement.text, &[]).await).await;
        self.let_go(held, false);
        if described.is_err() {
            self.note_failure();
        }
        described.map(Arc::new)
    }

    /// Parses and describes a text in the catalog database, where names and OIDs are the client's; what only a session's own backend at
    /// home knows (temporary tables) is asked there.
    pub(crate) async fn ask_postgres(&mut self, text: &str, types: &[u32], place: Place) -> Result<Description> {
        let joined = self.transaction.as_ref().is_some_and(|transaction| transaction.catalog_changed);
        let asked = if joined {
            self.describe_joined(text, types, Place::CATALOG).await
        } else {
            self.describe_apart(text, types).await
        };
        match asked {
            Err(error)
                if place == Place::HOME && matches!(error.sqlstate(), "42P01" | "42703") && self.has_own(place) =>
            {
                self.describe_joined(text, types, place).await
            }
            other => other,
        }
    }

    /// PostgreSQL's own words for a Bind that it would not accept either; `error` when it does.
    pub(super) async fn judge_bind(
        &mut self,
        statement: &Arc<Statement>,
        bound: &Bound,
        portal: &str,
        error: Error,
    ) -> Error {
        let mut out = BytesMut::new();
        frontend::parse("", &statement.text, &bound.types, &mut out);
        if let Err(error) = frontend::bind_renamed(&bound.frame, portal, "", &mut out) {
            return error.into();
        }
        frontend::sync(&mut out);
        let messages = out.freeze();
        let judged = loop {
            let mut lane = match self.catalog_lane().await {
                Ok(lane) => lane,
                Err(error) => return error,
            };
            let judged = lane.exchange(messages.clone(), 1).await;
            if let Some(judged) = self.answered(lane, judged).await.transpose() {
                break judged;
            }
        };
        match judged {
            Err(judged @ Error::Server(_)) if judged.sqlstate().starts_with("22") || judged.sqlstate() == "08P01" => {
                judged
            }
            _ => error,
        }
    }

    fn has_own(&self, place: Place) -> bool {
        self.pinned.iter().any(|(pinned, _)| *pinned == place)
            || self.transaction.as_ref().is_some_and(|transaction| transaction.has(place))
    }

    pub(super) async fn describe_apart(&mut self, text: &str, types: &[u32]) -> Result<Description> {
        let cancel = self.cancel.clone();
        loop {
            let mut lane = self.catalog_lane().await?;
            let described = cancel.over(&mut lane, async |lane| lane.describe(text, types).await).await;
            if let Some(described) = self.answered(lane, described).await? {
                return Ok(described);
            }
        }
    }

    async fn describe_joined(&mut self, text: &str, types: &[u32], place: Place) -> Result<Description> {
        let path = self.plain_path();
        let cancel = self.cancel.clone();
        let mut held = self.hold_ready(place, &path).await?;
        let lane = self.lane(&mut held);
        let described = cancel.over(lane, async |lane| lane.describe(text, types).await).await;
        if let Held::Alone(..) | Held::Pinned(_) = held {
            self.let_go(held, false);
        }
        described
    }
}

/// `void`, what functions return that return nothing.
const VOID: u32 = 2278;

/// The column of a call that changes how tables are spread: a shard's number, or nothing.
pub fn of_distribute(call: &Distribute) -> Column {
    let type_oid = if call.function.gives_shard() { atoll_wire::oid::INT4 } else { VOID };
    column(&call.column, type_oid, 4)
}

/// A result column of the coordinator's own.
pub fn column(name: &str, type_oid: u32, type_len: i16) -> Column {
    Column { name: name.to_owned(), table_oid: 0, attribute: 0, type_oid, type_len, typmod: -1, format: 0 }
}
