//! Portals, and Execute on them: where they live, and rows of which a part at a time is asked for.

use std::sync::Arc;

use atoll_wire::backend;
use bytes::{Bytes, BytesMut};

use super::Session;
use super::batch::{Batch, Item};
use super::extended::{Bound, unsupported_format};
use super::simple::Ask;
use crate::error::{Error, Result, sqlstate};
use crate::place::Place;
use crate::plans::Statement;

/// A portal, and where it lives.
pub struct Portal {
    pub(super) statement: Arc<Statement>,
    pub(super) bound: Arc<Bound>,
    pub(super) state: PortalState,
}

#[derive(Clone, PartialEq)]
pub(super) enum PortalState {
    /// Known here only: its statement is the coordinator's to run.
    Here,
    /// Bound on this place's backend under its own name.
    There(Place, Arc<str>),
    /// Its rows, all of them, with the first that has not been sent, and the command tag.
    Rows(Arc<Vec<Bytes>>, usize, String),
    Done,
}

impl Session {
    /// Whether the client has portals that it may come back to.
    pub(super) fn has_named_portals(&self) -> bool {
        self.portals.keys().any(|name| !name.is_empty())
    }

    pub(super) fn portal(&self, name: &str) -> Result<&Portal> {
        self.portals
            .get(name)
            .ok_or_else(|| Error::sql(sqlstate::UNDEFINED_CURSOR, format!("portal \"{name}\" does not exist")))
    }

    /// Where an SQL cursor of this name lives, which the protocol calls a portal, too.
    pub(super) fn cursor_place(&self, name: &str) -> Option<Place> {
        if self.portals.contains_key(name) { None } else { self.cursors.get(name).map(|cursor| cursor.place) }
    }

    pub(super) fn set_state(&mut self, name: &str, state: PortalState) {
        if let Some(portal) = self.portals.get_mut(name) {
            portal.state = state;
        }
    }

    pub(super) async fn execute_message(&mut self, batch: &mut Batch, name: &str, max_rows: i32) -> Result<()> {
        if let Some(place) = self.cursor_place(name) {
            self.check_not_failed()?;
            self.engage_again(batch, place).await?;
            batch.items.push(Item::Execute(name.to_owned(), max_rows));
            return Ok(());
        }
        let portal = self.portal(name)?;
        let (statement, bound, state) = (portal.statement.clone(), portal.bound.clone(), portal.state.clone());
        match state {
            PortalState::There(place, portal_name) => {
                self.engage_again(batch, place).await?;
                batch.items.push(Item::Execute(portal_name.to_string(), max_rows));
                batch.last = Some(statement);
                Ok(())
            }
            PortalState::Here => {
                self.drain(batch).await?;
                if let Some(code) = bound.result_formats.iter().find(|code| !matches!(code, 0 | 1)) {
                    return Err(unsupported_format(*code));
                }
                if max_rows > 0 && self.describe(&statement).await?.columns.is_some() {
                    return self.start_limited(name, &statement, &bound, max_rows).await;
                }
                self.execute(&statement, Ask::Bound(&bound)).await?;
                self.set_state(name, PortalState::Done);
                Ok(())
            }
            PortalState::Rows(rows, next, command_tag) => {
                self.drain(batch).await?;
                self.send_limited(name, rows, next, command_tag, max_rows).await
            }
            PortalState::Done => {
                self.drain(batch).await?;
                Err(Error::sql("55000", format!("portal \"{name}\" cannot be run")))
            }
        }
    }

    /// A row limit on a statement the coordinator merges: its rows are kept, and sent as asked for.
    async fn start_limited(
        &mut self,
        name: &str,
        statement: &Arc<Statement>,
        bound: &Arc<Bound>,
        max_rows: i32,
    ) -> Result<()> {
        let mut rest = self.execute_into_buffer(statement, Ask::Bound(bound)).await?.freeze();
        let mut rows = Vec::new();
        let mut command_tag = String::new();
        while let Some((frame_tag, length)) = atoll_wire::frames::peek(&rest) {
            let frame = rest.split_to(length.min(rest.len()));
            match frame_tag {
                b'D' => rows.push(frame),
                b'C' => command_tag = backend::decode::command_complete(&frame[5..])?.to_owned(),
                _ => self.client.push(&frame),
            }
        }
        self.send_limited(name, Arc::new(rows), 0, command_tag, max_rows).await
    }

    /// Runs a statement whose answer is not for the client as it comes.
    ///
    /// # Errors
    /// The statement's.
    pub async fn execute_into_buffer(&mut self, statement: &Arc<Statement>, ask: Ask<'_>) -> Result<BytesMut> {
        let kept = self.client.output.split();
        self.client.hold_output = true;
        let outcome = Box::pin(self.execute(statement, ask)).await;
        self.client.hold_output = false;
        let mut produced = std::mem::replace(&mut self.client.output, kept);
        if outcome.as_ref().is_err_and(Error::already_told) {
            // The server's own error is among what was held back.
            let mut frames = produced.split().freeze();
            while let Some((frame_tag, length)) = atoll_wire::frames::peek(&frames) {
                let frame = frames.split_to(length.min(frames.len()));
                if matches!(frame_tag, b'E' | b'N') {
                    self.client.push(&frame);
                }
            }
        }
        outcome.map(|()| produced)
    }

    async fn send_limited(
        &mut self,
        name: &str,
        rows: Arc<Vec<Bytes>>,
        next: usize,
        command_tag: String,
        max_rows: i32,
    ) -> Result<()> {
        let limit = if max_rows > 0 { max_rows as usize } else { usize::MAX };
        let end = rows.len().min(next.saturating_add(limit));
        for row in &rows[next..end] {
            self.client.push(row);
            self.client.flush_if_large().await?;
        }
        // Like PostgreSQL: exactly as many rows as asked for means there may be more.
        if max_rows > 0 && end - next == limit {
            backend::portal_suspended(&mut self.client.output);
            self.set_state(name, PortalState::Rows(rows, end, command_tag));
        } else {
            let counted = tag_with_count(&command_tag, end - next);
            backend::command_complete(&counted, &mut self.client.output);
            self.set_state(name, PortalState::Rows(rows, end, command_tag));
        }
        Ok(())
    }
}

/// A command tag with another number of rows, where it has one.
fn tag_with_count(command_tag: &str, rows: usize) -> String {
    match command_tag.rsplit_once(' ') {
        Some((verb, count)) if count.parse::<u64>().is_ok() => format!("{verb} {rows}"),
        _ => command_tag.to_owned(),
    }
}
