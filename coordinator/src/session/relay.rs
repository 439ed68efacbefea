//! Tier 1: what a backend answers goes to the client as it came, but for what the coordinator itself asked in between.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use atoll_planner::directory::ShardId;
use atoll_wire::backend::{self, decode};
use atoll_wire::frames::{Frame, peek};
use atoll_wire::frontend::tag;
use bytes::{BufMut as _, Bytes};

use super::client::Client;
use super::positions::in_client_text;
use super::settings::{REPORTED, Settings};
use crate::error::{Error, Result, sqlstate};
use crate::facts::{TypeMap, sliced_schema};
use crate::lane::{Lane, is_unreplicated};
use crate::plans::Statement;

/// What is due next, in order.
#[derive(Debug)]
pub enum Expect {
    /// Answers to messages of the coordinator's own (SET search_path, BEGIN), up to their ReadyForQuery; all hidden.
    Prelude,
    /// All answers to a Query; its ReadyForQuery is left to the caller.
    Query,
    ParseComplete {
        register: Option<u64>,
        hidden: bool,
    },
    BindComplete {
        hidden: bool,
    },
    /// RowDescription or NoData; the latter hidden in a simple-protocol answer.
    Description {
        hide_no_data: bool,
    },
    /// Rows up to CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute,
    CloseComplete {
        hidden: bool,
    },
    /// Frames of the coordinator's own, put in order.
    Local(Bytes),
    /// The ReadyForQuery of a Sync; left to the caller.
    Ready,
}

/// How a relayed exchange went.
#[derive(Debug, Default)]
pub struct Relayed {
    /// The SQLSTATE of the error that was forwarded.
    pub error: Option<String>,
    /// The last command tag.
    pub tag: Option<String>,
    /// The error that was not forwarded.
    pub kept: Option<Box<backend::ErrorFields>>,
    /// The statement committed, but no standby has confirmed it: its success was not forwarded, as far as it came after that.
    pub unreplicated: bool,
}

/// What ends a COPY FROM STDIN on the client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyEnd {
    /// Simple protocol: CopyDone or CopyFail.
    Done,
    /// Extended protocol, the messages so far ended with a Sync, which a server ignores during COPY: the next Sync takes its place.
    SyncAgain,
    /// Extended protocol, no Sync so far: the one to come also ends the session's batch.
    FirstSync,
}

/// Where a statement stands in the client's message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Within {
    /// Characters before it.
    pub before: usize,
    /// Characters between its end and the semicolon that follows.
    pub to_semicolon: Option<usize>,
}

/// A statement whose text on the backend is not the client's own.
#[derive(Clone, Copy)]
pub struct Rewritten<'a> {
    pub statement: &'a Statement,
    pub there: TextThere<'a>,
}

#[derive(Clone, Copy)]
pub enum TextThere<'a> {
    Known(&'a str),
    /// As rendered for this shard; rarely needed.
    On(ShardId),
}

impl Rewritten<'_> {
    /// Where a position in the backend's text is in the client's.
    pub fn in_client_text(&self, position: usize) -> Option<usize> {
        match self.there {
            TextThere::Known(sql) => in_client_text(&self.statement.text, sql, position),
            TextThere::On(shard) => in_client_text(&self.statement.text, &self.statement.text_on(shard), position),
        }
    }
}

/// One exchange between a client and a backend.
pub struct Relay<'a> {
    pub client: &'a mut Client,
    pub lane: &'a mut Lane,
    pub reported: &'a mut HashMap<String, String>,
    pub reported_for: &'a mut Option<Arc<Settings>>,
    /// Where a group's own type OIDs differ from the catalog database's.
    pub types: Option<&'a TypeMap>,
    pub copy_end: CopyEnd,
    /// The backend's table OIDs are the ones the client knows (catalog database).
    pub keep_tables: bool,
    pub within: Within,
    /// The backend's text is not the client's: an error with a position is kept for the caller, who knows better.
    pub rewritten: Option<Rewritten<'a>>,
}

impl Relay<'_> {
    /// Forwards until nothing is due any more.
    ///
    /// # Errors
    /// The lane broke, or the client left. An error of the statement is not one: it was forwarded and is told in the result.
    pub async fn run(mut self, mut due: VecDeque<Expect>) -> Result<Relayed> {
        let mut outcome = Relayed::default();
        loop {
            while let Some(Expect::Local(_)) = due.front() {
                if let Some(Expect::Local(frames)) = due.pop_front() {
                    self.client.push(&frames);
                }
            }
            if due.is_empty() {
                return Ok(outcome);
            }
            // A replica's error is not told before its backend is ready again: the statement may be run on the primary.
            let hold = outcome.error.is_some() && self.lane.reads_for.is_some();
            let mut chunk = self.next_chunk(hold).await?;
            while let Some((frame_tag, length)) = peek(&chunk) {
                if length > chunk.len() {
                    return Err(Error::internal("an agent cut a frame in two"));
                }
                let frame = chunk.split_to(length);
                if frame_tag == b'G' {
                    self.client.push(&frame);
                    self.copy_in().await?;
                } else {
                    self.frame(frame_tag, &frame, &mut due, &mut outcome)?;
                }
            }
            self.client.flush_if_large().await?;
        }
    }

    /// The backend's next frames, while watching for a client that leaves in the middle. With `hold` nothing is written meanwhile.
    async fn next_chunk(&mut self, hold: bool) -> Result<Bytes> {
        loop {
            tokio::select! {
                biased;
                chunk = self.lane.receive_frames() => return chunk,
                // Nothing more for now: what is there (notices, rows of a slow query) is not held back.
                () = std::future::ready(()), if !hold && self.client.has_to_flush() => {}
                read = self.client.fill_ahead() => {
                    if read? == 0 {
                        return Err(Error::Client(std::io::ErrorKind::UnexpectedEof.into()));
                    }
                }
            }
            if !hold {
                self.client.flush().await?;
            }
        }
    }

    fn frame(&mut self, frame_tag: u8, frame: &Bytes, due: &mut VecDeque<Expect>, outcome: &mut Relayed) -> Result<()> {
        let body = &frame[5..];
        match frame_tag {
            b'S' => return self.parameter(body, frame),
            b'A' => {
                self.client.push(&self.lane.notification(frame)?);
                return Ok(());
            }
            b'Z' => {
                self.lane.ready(decode::ready_for_query(body)?);
                while let Some(expect) = due.pop_front() {
                    match expect {
                        Expect::Prelude | Expect::Query | Expect::Ready => break,
                        Expect::Local(_) if outcome.error.is_none() => return Err(out_of_step(frame_tag)),
                        _ => {}
                    }
                }
                return Ok(());
            }
            b'N' => {
                let mut fields = decode::error_fields(body)?;
                if let Some(lost) = self.lane.last_word(&fields) {
                    self.lane.busy = true;
                    return Err(lost);
                }
                if matches!(due.front(), Some(Expect::Prelude)) || is_guards(&fields) {
                    return Ok(());
                }
                if is_unreplicated(&fields) {
                    outcome.unreplicated = true;
                } else if let Some(rewritten) = self.rewritten
                    && let Some(position) = fields.get(b'P').and_then(|text| text.parse().ok())
                {
                    match rewritten.in_client_text(position) {
                        Some(position) => fields.set(b'P', position.to_string()),
                        None => fields.remove(b'P'),
                    }
                    localize_error(&mut fields, self.within);
                    backend::notice_response(&fields, &mut self.client.output);
                } else {
                    self.client.push(frame);
                }
                return Ok(());
            }
            b'E' => {
                let fields = decode::error_fields(body)?;
                if let Some(lost) = self.lane.last_word(&fields) {
                    self.lane.busy = true;
                    return Err(lost);
                }
                if matches!(due.front(), Some(Expect::Prelude)) || matches!(fields.severity(), "FATAL" | "PANIC") {
                    self.lane.busy = true;
                    return Err(lost_session(self.lane, fields));
                }
                outcome.error = Some(fields.sqlstate().to_owned());
                let mut fields = fields;
                if self.rewritten.is_some() && fields.get(b'P').is_some() {
                    outcome.kept = Some(Box::new(fields));
                } else if localize_error(&mut fields, self.within) {
                    backend::error_response(&fields, &mut self.client.output);
                } else {
                    self.client.push(frame);
                }
                // The backend skips to the Sync, and so do the answers that were queued behind.
                while due.front().is_some_and(|next| !matches!(next, Expect::Query | Expect::Ready)) {
                    due.pop_front();
                }
                return Ok(());
            }
            _ => {}
        }
        match due.front() {
            Some(Expect::Prelude) => {}
            Some(Expect::Query | Expect::Execute) => {
                match frame_tag {
                    b'T' => self.row_description(frame),
                    b'C' if outcome.unreplicated => {}
                    _ => self.client.push(frame),
                }
                if frame_tag == b'C' {
                    outcome.tag = Some(decode::command_complete(body)?.to_owned());
                }
                if matches!(frame_tag, b'C' | b'I' | b's') && matches!(due.front(), Some(Expect::Execute)) {
                    due.pop_front();
                    self.locals(due);
                }
            }
            Some(&Expect::ParseComplete { register, hidden }) if frame_tag == b'1' => {
                if let Some(id) = register {
                    self.lane.note_prepared(id);
                }
                self.pass(frame, hidden, due);
            }
            Some(&Expect::BindComplete { hidden }) if frame_tag == b'2' => self.pass(frame, hidden, due),
            Some(&Expect::CloseComplete { hidden }) if frame_tag == b'3' => self.pass(frame, hidden, due),
            Some(Expect::Description { .. }) if frame_tag == b'T' => {
                self.row_description(frame);
                self.pass(frame, true, due);
            }
            Some(&Expect::Description { hide_no_data }) if frame_tag == b'n' => self.pass(frame, hide_no_data, due),
            _ => return Err(out_of_step(frame_tag)),
        }
        Ok(())
    }

    fn pass(&mut self, frame: &Bytes, hidden: bool, due: &mut VecDeque<Expect>) {
        if !hidden {
            self.client.push(frame);
        }
        due.pop_front();
        self.locals(due);
    }

    fn locals(&mut self, due: &mut VecDeque<Expect>) {
        while matches!(due.front(), Some(Expect::Local(_))) {
            if let Some(Expect::Local(frames)) = due.pop_front() {
                self.client.push(&frames);
            }
        }
    }

    /// A RowDescription with the OIDs the client knows: a shard's tables are not the catalog database's, nor are users' types.
    fn row_description(&mut self, frame: &Bytes) {
        let start = self.client.output.len();
        self.client.push(frame);
        if !self.keep_tables {
            rewrite_row_description(&mut self.client.output[start..], self.types);
        }
    }

    fn parameter(&mut self, body: &[u8], frame: &Bytes) -> Result<()> {
        let (name, value) = decode::parameter_status(body)?;
        if REPORTED.contains(&name) && self.reported.get(name).is_none_or(|known| known != value) {
            // What the coordinator itself tells a backend is the session's state already; anything else is news.
            self.reported.insert(name.to_owned(), value.to_owned());
            *self.reported_for = None;
            self.client.push(frame);
        }
        Ok(())
    }

    /// COPY FROM STDIN: the client's data goes to the backend until the client ends it or the backend objects. One that is lost meanwhile has
    /// not been told the end, without which a COPY has no effect.
    async fn copy_in(&mut self) -> Result<()> {
        let mut synced = false;
        match self.take_copy(&mut synced).await {
            Err(error) if error.loss().is_some() => {
                if !synced {
                    self.skip_copy().await?;
                }
                Err(error.undone())
            }
            taken => taken,
        }
    }

    async fn take_copy(&mut self, synced: &mut bool) -> Result<()> {
        self.client.flush().await?;
        let mut ended = false;
        loop {
            let frame = tokio::select! {
                biased;
                frame = self.client.next() => frame?,
                chunk = self.lane.receive(), if !ended => {
                    let chunk = chunk?;
                    *synced = true;
                    return self.copy_failed(chunk).await;
                }
            };
            let Some(frame) = frame else {
                return Err(Error::Client(std::io::ErrorKind::UnexpectedEof.into()));
            };
            match frame.tag {
                tag::COPY_DATA if !ended => {
                    let data = self.with_buffered_copy_data(frame.raw)?;
                    self.lane.send(data).await?;
                }
                tag::COPY_DONE | tag::COPY_FAIL if !ended => {
                    self.lane.send(frame.raw).await?;
                    ended = true;
                    if self.copy_end == CopyEnd::Done {
                        return Ok(());
                    }
                }
                tag::SYNC if ended => {
                    *synced = true;
                    return self.sync(frame).await;
                }
                tag::SYNC | tag::FLUSH => {}
                tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => {}
                other => {
                    return Err(Error::Fatal {
                        sqlstate: sqlstate::PROTOCOL_VIOLATION,
                        message: format!("unexpected message type 0x{other:02X} during COPY from stdin"),
                    });
                }
            }
        }
    }

    /// Lets the rest of the client's data go by when there is no backend for it any more.
    async fn skip_copy(&mut self) -> Result<()> {
        while self.copy_end != CopyEnd::Done {
            self.client.flush().await?;
            match self.client.next().await? {
                None => return Err(Error::Client(std::io::ErrorKind::UnexpectedEof.into())),
                Some(frame) if frame.tag == tag::SYNC => {
                    if self.copy_end == CopyEnd::FirstSync {
                        self.client.put_back(frame);
                    }
                    return Ok(());
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Small CopyData frames that have already arrived travel together.
    fn with_buffered_copy_data(&mut self, first: Bytes) -> Result<Bytes> {
        const TOGETHER_BYTES: usize = 128 << 10;
        if first.len() >= TOGETHER_BYTES || self.client.peek_tag() != Some(tag::COPY_DATA) {
            return Ok(first);
        }
        let mut together = bytes::BytesMut::from(first);
        while together.len() < TOGETHER_BYTES && self.client.peek_tag() == Some(tag::COPY_DATA) {
            match self.client.next_buffered()? {
                Some(frame) => together.put_slice(&frame.raw),
                None => break,
            }
        }
        Ok(together.freeze())
    }

    /// The backend gave up in the middle: its error is forwarded by the caller; in the extended protocol the client's Sync is still due.
    async fn copy_failed(&mut self, reply: crate::lane::Reply) -> Result<()> {
        let crate::lane::Reply::Frames(frames) = reply else {
            return Err(Error::internal("an agent broke the protocol"));
        };
        self.lane.unread(frames);
        while self.copy_end != CopyEnd::Done {
            self.client.flush().await?;
            match self.client.next().await? {
                None => return Err(Error::Client(std::io::ErrorKind::UnexpectedEof.into())),
                Some(frame) if frame.tag == tag::SYNC => return self.sync(frame).await,
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The Sync after COPY's data: the backend ignored the one before.
    async fn sync(&mut self, frame: Frame) -> Result<()> {
        let raw = frame.raw.clone();
        if self.copy_end == CopyEnd::FirstSync {
            self.client.put_back(frame);
        }
        self.lane.send(raw).await
    }
}

/// What PostgreSQL says at level DEBUG1 of the event triggers by which data databases guard their DDL.
fn is_guards(fields: &backend::ErrorFields) -> bool {
    fields.severity().starts_with("DEBUG") && fields.message().starts_with("EventTriggerInvoke ")
}

/// Puts other OIDs into an encoded RowDescription, in place.
pub fn rewrite_row_description(frame: &mut [u8], types: Option<&TypeMap>) {
    let Some(count) = frame.get(5..7).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]])) else { return };
    let mut at = 7;
    for _ in 0..count {
        let Some(name_len) = frame.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == 0)) else { return };
        at += name_len + 1;
        let Some(column) = frame.get_mut(at..at + 18) else { return };
        let word =
            |at: usize, column: &[u8]| u32::from_be_bytes([column[at], column[at + 1], column[at + 2], column[at + 3]]);
        let table = types.map_or(0, |types| types.relation_to_catalog(word(0, column)));
        column[..4].copy_from_slice(&table.to_be_bytes());
        if table == 0 {
            column[4..6].fill(0);
        }
        let oid = word(6, column);
        let known = types.map_or(oid, |types| types.to_catalog(oid));
        column[6..10].copy_from_slice(&known.to_be_bytes());
        at += 18;
    }
}

/// Puts a backend's error in the client's terms: users' schemas for slices, positions in the client's message, and its semicolon, which
/// backends are not sent. Whether anything changed.
pub fn localize_error(fields: &mut backend::ErrorFields, within: Within) -> bool {
    let mut changed = false;
    if let Some(schema) = fields.get(b's').and_then(sliced_schema).map(str::to_owned) {
        fields.set(b's', schema);
        changed = true;
    }
    let mut offset = within.before;
    if let Some(blanks) = within.to_semicolon
        && fields.sqlstate() == "42601"
        && fields.message() == "syntax error at end of input"
    {
        fields.set_message("syntax error at or near \";\"");
        offset += blanks;
        changed = true;
    }
    if offset > 0
        && let Some(position) = fields.get(b'P').and_then(|text| text.parse::<usize>().ok())
    {
        fields.set(b'P', (position + offset).to_string());
        changed = true;
    }
    changed
}

fn out_of_step(frame_tag: u8) -> Error {
    Error::internal(format!("a backend answered with a message of type {:?} that was not due", char::from(frame_tag)))
}

/// The backend ended (or could not be prepared): told as an error of the statement, with the server's own words.
fn lost_session(lane: &Lane, fields: backend::ErrorFields) -> Error {
    let mut fields = fields;
    fields.set(b'S', "ERROR");
    fields.set(b'V', "ERROR");
    fields.add_context(&format!("node \"{}\"", lane.node()));
    Error::Server(Box::new(fields))
}
