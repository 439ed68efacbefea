//! A fragment on a lane: one statement by the extended protocol, its rows out as Arrow.
//!
//! Everything is sent at once (Parse only when the lane has not prepared the text yet), and rows are decoded in the inbox
//! as they come. [`Run::next`] reads on only when asked for the next reply, so that a slow consumer stops PostgreSQL.

use std::collections::VecDeque;
use std::sync::Arc;

use atoll_proto::v1::lane_reply::Kind;
use atoll_proto::v1::{ColumnFormat as WireColumnFormat, Fragment, FragmentDone, Parameter};
use atoll_wire::backend::{self, Column, ErrorFields, decode, tag};
use atoll_wire::frontend;
use atoll_wire::rows::{BatchBuilder, ColumnFormat, IpcWriter, RowError, schema};
use bytes::{Buf, Bytes, BytesMut};
use tonic::Status;

use super::relay::{Lane, broken, too_long};
use super::statements::{Key, Prepared};

/// Bytes of rows, as PostgreSQL sent them, that make a batch.
const BATCH_BYTES: usize = 1 << 20;
/// Longest Arrow chunk in one reply.
const CHUNK_BYTES_MAX: usize = 4 << 20;
/// Notices kept for the caller; what comes after is dropped.
const NOTICE_BYTES_MAX: usize = 256 << 10;

/// A fragment being run.
pub struct Run {
    key: Key,
    parameters: Vec<Parameter>,
    formats: Vec<ColumnFormat>,
    in_transaction: bool,
    /// Not to be prepared under a name.
    once: bool,
    /// The caller holds the backend's socket.
    handed_over: bool,
    attempt: Attempt,
    retried: bool,
    ready: VecDeque<Kind>,
    finished: bool,
}

/// One try at it.
struct Attempt {
    name: Arc<str>,
    /// The lane had prepared it before.
    reused: bool,
    /// ParseComplete has come.
    parsed: bool,
    /// What it returns, once known.
    columns: Option<Arc<[Column]>>,
    rows: Option<Rows>,
    rows_affected: u64,
    notices: BytesMut,
    /// PostgreSQL's, as it came.
    error: Option<Bytes>,
    /// Found here, while PostgreSQL was content.
    own_error: Option<ErrorFields>,
}

struct Rows {
    batches: BatchBuilder,
    ipc: IpcWriter,
}

impl Rows {
    fn new(columns: &[Column], formats: &[ColumnFormat]) -> Result<Self, RowError> {
        let schema = Arc::new(schema(columns, formats));
        Ok(Self { ipc: IpcWriter::new(&schema)?, batches: BatchBuilder::new(schema)? })
    }
}

impl Run {
    /// Sends the fragment to the lane's backend, which must be ready for a query.
    ///
    /// # Errors
    /// When the request is malformed. A connection that breaks shows in [`Run::next`].
    pub async fn start(lane: &mut Lane, fragment: Fragment) -> Result<Self, Status> {
        let formats = fragment
            .column_formats
            .iter()
            .map(|&format| match WireColumnFormat::try_from(format) {
                Ok(WireColumnFormat::Typed) => Ok(ColumnFormat::Typed),
                Ok(WireColumnFormat::RawText) => Ok(ColumnFormat::RawText),
                Ok(WireColumnFormat::RawBinary) => Ok(ColumnFormat::RawBinary),
                Err(_) => Err(Status::invalid_argument("unknown column format")),
            })
            .collect::<Result<_, _>>()?;
        let types = fragment.parameters.iter().map(|parameter| parameter.type_oid).collect();
        let key = Key { sql: fragment.sql, types, version: fragment.version };
        let mut run = Self {
            attempt: if fragment.once { Attempt::unnamed() } else { Attempt::of(lane, &key) },
            key,
            parameters: fragment.parameters,
            formats,
            in_transaction: fragment.in_transaction,
            once: fragment.once,
            handed_over: lane.backend().is_parked(),
            retried: false,
            ready: VecDeque::new(),
            finished: false,
        };
        lane.backend().unpark().map_err(|error| broken(&error))?;
        run.send(lane).await;
        lane.meters.fragments.increment(1);
        Ok(run)
    }

    async fn send(&mut self, lane: &mut Lane) {
        let mut packet = BytesMut::new();
        for name in lane.statements.take_stale() {
            frontend::close(b'S', &name, &mut packet);
        }
        let attempt = &self.attempt;
        if !attempt.reused {
            frontend::parse(&attempt.name, &self.key.sql, &self.key.types, &mut packet);
        }
        let parameter_formats: Vec<i16> = self.parameters.iter().map(|parameter| i16::from(parameter.binary)).collect();
        let values = self.parameters.iter().map(|parameter| (!parameter.null).then_some(&parameter.value[..]));
        let mut result_formats: Vec<i16> = self.formats.iter().map(|format| format.wire_format()).collect();
        if result_formats.iter().all(|format| *format == 1) {
            // One for all fits any number of columns.
            result_formats = vec![1];
        }
        frontend::bind("", &attempt.name, &parameter_formats, values, &result_formats, &mut packet);
        if attempt.columns.is_none() {
            frontend::describe(b'P', "", &mut packet);
        }
        frontend::execute("", 0, &mut packet);
        frontend::sync(&mut packet);
        if let Err(error) = lane.send(&packet, 1).await {
            // Its last words may still be there to be read.
            tracing::debug!(%error, "a backend broke under a fragment");
        }
    }

    /// The next reply of the fragment: Arrow chunks, then `FragmentDone`, then None. When the backend dies, the lane is
    /// lost and `FragmentDone` carries what it said last.
    pub async fn next(&mut self, lane: &mut Lane) -> Option<Kind> {
        loop {
            if let Some(reply) = self.ready.pop_front() {
                return Some(reply);
            }
            if self.finished {
                return None;
            }
            match lane.backend().whole_frame() {
                Ok(Some((tag, len))) => self.take(lane, tag, len).await,
                Ok(None) => match lane.backend().fill().await {
                    Ok(1..) => (),
                    Ok(0) | Err(_) => self.lost(lane, None),
                },
                Err(error) => {
                    tracing::warn!(%error, "a lane ends: PostgreSQL sent what cannot be carried");
                    let len = atoll_wire::frames::peek(&lane.backend().inbox).map_or(0, |(_, len)| len);
                    self.lost(lane, Some(too_long(len)));
                }
            }
        }
    }

    /// Handles the frame of `len` bytes that the inbox begins with.
    async fn take(&mut self, lane: &mut Lane, tag: u8, len: usize) {
        let attempt = &mut self.attempt;
        let body = &lane.backend().inbox[5..len];
        match tag {
            tag::DATA_ROW => {
                if let (Some(rows), None) = (&mut attempt.rows, &attempt.own_error)
                    && let Err(error) = rows.batches.push_row(body)
                {
                    attempt.own_error = Some(of_row(&error));
                }
            }
            tag::PARSE_COMPLETE => attempt.parsed = true,
            tag::BIND_COMPLETE => attempt.begin_rows(&self.formats),
            tag::ROW_DESCRIPTION => match decode::row_description(body) {
                Ok(columns) => {
                    attempt.columns = Some(columns.into());
                    attempt.begin_rows(&self.formats);
                }
                Err(error) => attempt.own_error = Some(of_row(&error.into())),
            },
            tag::NO_DATA => {
                attempt.columns = Some(Arc::new([]));
                attempt.begin_rows(&self.formats);
            }
            tag::COMMAND_COMPLETE => {
                let rows = decode::command_complete(body).ok().and_then(decode::rows_of_tag);
                attempt.rows_affected = rows.unwrap_or(0);
            }
            tag::ERROR_RESPONSE => {
                let frame = Bytes::copy_from_slice(&lane.backend().inbox[..len]);
                attempt.error.get_or_insert(frame);
            }
            tag::NOTICE_RESPONSE if attempt.notices.len() + len <= NOTICE_BYTES_MAX => {
                attempt.notices.extend_from_slice(&lane.backend().inbox[..len]);
            }
            tag::COPY_IN_RESPONSE => {
                let mut packet = BytesMut::new();
                frontend::copy_fail("a fragment cannot copy", &mut packet);
                // The Sync that was sent before was taken for a part of the COPY.
                frontend::sync(&mut packet);
                let _ = lane.send(&packet, 0).await;
            }
            tag::COPY_OUT_RESPONSE => {
                attempt.own_error = Some(ErrorFields::new("ERROR", "0A000", "a fragment cannot copy"));
            }
            tag::READY_FOR_QUERY => {
                let status = body.first().copied().unwrap_or(b'I');
                lane.backend().inbox.advance(len);
                lane.ready(status);
                self.ended(lane).await;
                return;
            }
            _ => (),
        }
        lane.backend().inbox.advance(len);
        self.flush(lane, BATCH_BYTES);
    }

    /// Makes a batch of the rows so far when they are at least `bytes_min`.
    fn flush(&mut self, lane: &Lane, bytes_min: usize) {
        let Some(rows) = &mut self.attempt.rows else { return };
        if rows.batches.len_bytes() < bytes_min || rows.batches.rows() == 0 || self.attempt.own_error.is_some() {
            return;
        }
        lane.meters.fragment_rows.increment(rows.batches.rows() as u64);
        match rows.ipc.write(&rows.batches.finish()) {
            Ok(chunk) => self.push_chunk(lane, chunk),
            Err(error) => self.attempt.own_error = Some(of_row(&error.into())),
        }
    }

    fn push_chunk(&mut self, lane: &Lane, mut chunk: Bytes) {
        lane.meters.fragment_bytes.increment(chunk.len() as u64);
        while chunk.len() > CHUNK_BYTES_MAX {
            self.ready.push_back(Kind::Arrow(chunk.split_to(CHUNK_BYTES_MAX)));
        }
        if !chunk.is_empty() {
            self.ready.push_back(Kind::Arrow(chunk));
        }
    }

    /// PostgreSQL is done: with the fragment, or only with this attempt at it.
    async fn ended(&mut self, lane: &mut Lane) {
        if let Some(error) = &self.attempt.error {
            let outdated = self.attempt.reused && is_outdated(&error[5..]);
            if !self.once {
                self.attempt.forget(lane, &self.key, outdated);
            }
            // Nothing was executed, and there is no transaction that failed with it.
            if outdated && !self.in_transaction && !self.retried {
                self.retried = true;
                self.attempt = Attempt::of(lane, &self.key);
                self.send(lane).await;
                return;
            }
        } else {
            if !self.once {
                self.attempt.keep(lane, &self.key);
            }
            self.flush(lane, 0);
            self.end_stream(lane);
        }
        let mut rest = Bytes::new();
        if self.handed_over {
            rest = lane.backend().inbox.split().freeze();
            if lane.backend().park().is_err() {
                lane.lose();
            }
        }
        self.done(lane.status, rest);
    }

    fn end_stream(&mut self, lane: &Lane) {
        let end = match (&mut self.attempt.rows, &self.attempt.own_error) {
            (Some(rows), None) => rows.ipc.finish(),
            _ => return,
        };
        match end {
            Ok(chunk) => self.push_chunk(lane, chunk),
            Err(error) => self.attempt.own_error = Some(of_row(&error.into())),
        }
    }

    fn lost(&mut self, lane: &mut Lane, error: Option<ErrorFields>) {
        lane.lose();
        let attempt = &mut self.attempt;
        if attempt.error.is_none() {
            attempt.own_error = Some(error.unwrap_or_else(|| {
                ErrorFields::new("FATAL", "08006", "the backend's connection ended in the middle of a fragment")
            }));
        }
        self.done(0, Bytes::new());
    }

    fn done(&mut self, status: u8, rest: Bytes) {
        let attempt = &mut self.attempt;
        let error_frame = match (attempt.error.take(), attempt.own_error.take()) {
            (Some(frame), _) => frame,
            (None, Some(fields)) => {
                let mut frame = BytesMut::new();
                backend::error_response(&fields, &mut frame);
                frame.freeze()
            }
            (None, None) => Bytes::new(),
        };
        self.ready.push_back(Kind::FragmentDone(FragmentDone {
            error_frame,
            notice_frames: attempt.notices.split().freeze(),
            transaction_status: status.into(),
            rows: attempt.rows_affected,
            rest,
        }));
        self.finished = true;
    }
}

impl Attempt {
    fn of(lane: &mut Lane, key: &Key) -> Self {
        let known = lane.statements.get(key);
        Self {
            reused: known.is_some(),
            name: known.as_ref().map_or_else(|| lane.statements.new_name(), |known| Arc::clone(&known.name)),
            columns: known.map(|known| known.columns),
            ..Self::unnamed()
        }
    }

    fn unnamed() -> Self {
        Self {
            reused: false,
            name: "".into(),
            columns: None,
            parsed: false,
            rows: None,
            rows_affected: 0,
            notices: BytesMut::new(),
            error: None,
            own_error: None,
        }
    }

    /// Makes ready for rows, once bound and described.
    fn begin_rows(&mut self, formats: &[ColumnFormat]) {
        let Some(columns) = &self.columns else { return };
        match Rows::new(columns, formats) {
            Ok(rows) => self.rows = Some(rows),
            Err(error) => self.own_error = Some(of_row(&error)),
        }
    }

    /// Remembers what the backend prepared.
    fn keep(&mut self, lane: &mut Lane, key: &Key) {
        if let (false, Some(columns)) = (self.reused, &self.columns) {
            let prepared = Prepared { name: Arc::clone(&self.name), columns: Arc::clone(columns) };
            lane.statements.insert(key.clone(), prepared);
        }
    }

    /// After an error: keeps what was prepared nevertheless, unless it is `outdated`.
    fn forget(&mut self, lane: &mut Lane, key: &Key, outdated: bool) {
        if outdated {
            lane.statements.remove(key);
        } else if self.parsed && self.columns.is_none() {
            lane.statements.discard(Arc::clone(&self.name));
        } else if self.parsed {
            self.keep(lane, key);
        }
    }
}

/// Whether an ErrorResponse says that a prepared statement is not what it was: its result has another shape by now, or
/// somebody has deallocated it.
fn is_outdated(body: &[u8]) -> bool {
    /// The function that raises 0A000 for a plan whose result type changed.
    const REVALIDATE: &str = "RevalidateCachedQuery";
    decode::error_fields(body).is_ok_and(|fields| match fields.sqlstate() {
        "0A000" => fields.get(b'R') == Some(REVALIDATE),
        "26000" => true,
        _ => false,
    })
}

fn of_row(error: &RowError) -> ErrorFields {
    ErrorFields::new("ERROR", error.sqlstate(), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_changed_or_missing_statement_is_outdated() {
        let body = |sqlstate: &str, routine: &str| {
            let mut fields = ErrorFields::new("ERROR", sqlstate, "m");
            fields.set(b'R', routine);
            let mut frame = BytesMut::new();
            backend::error_response(&fields, &mut frame);
            frame.split_off(5)
        };
        assert!(is_outdated(&body("0A000", "RevalidateCachedQuery")));
        assert!(!is_outdated(&body("0A000", "transformSelectStmt")));
        assert!(is_outdated(&body("26000", "FetchPreparedStatement")));
        assert!(!is_outdated(&body("22012", "int4div")));
    }
}
