//! COPY FROM into a distributed table: rows go to their shards as they come. A group has one backend, so its shards take turns: each gets
//! a COPY of its own for every full buffer, sent without waiting for the one before.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use atoll_planner::directory::{Colocation, ColocationId, GroupIndex, KeyType, Method, Shard, Table, TableName};
use atoll_planner::hash;
use atoll_planner::plan::{CopyFormat, CopyHeader, CopyOptions, CopyTarget};
use atoll_planner::quote_identifier;
use atoll_wire::backend::{self, decode};
use atoll_wire::frames::peek;
use atoll_wire::frontend::{self, tag};
use bytes::{Buf as _, BytesMut};

use super::copy_rows::{Row, Splitter};
use crate::error::{Error, Result, sqlstate};
use crate::lane::Lane;
use crate::place::Place;
use crate::session::Session;

/// A shard's rows are sent when this many bytes have gathered.
const SHARD_BUFFER_BYTES: usize = 512 << 10;
/// COPY commands a lane may have under way before their answers are awaited.
const COPIES_QUEUED_MAX: usize = 3;
/// CopyData messages are of about this size.
const PIECE_BYTES: usize = 64 << 10;
const BINARY_SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// What COPY has to know of its table.
struct Target<'a> {
    table: &'a TableName,
    colocation: ColocationId,
    key_type: KeyType,
    columns: &'a [String],
    key: &'a str,
    key_index: Option<usize>,
    computed: &'a [(String, String)],
    /// Which of the computed defaults is the key, when the data does not hold it.
    computed_key: Option<usize>,
    options: &'a CopyOptions,
    filter: Option<&'a str>,
}

/// Rows on their way.
struct Flow {
    colocation: Colocation,
    shards: Vec<Shard>,
    /// By position in `shards`.
    buffers: Vec<BytesMut>,
    /// COPY commands sent and not yet answered, by group.
    queued: BTreeMap<GroupIndex, usize>,
    /// Values that PostgreSQL had to be asked about: their shards' positions.
    asked: HashMap<Vec<u8>, usize>,
    rows: u64,
}

impl Session {
    /// Takes the client's data and spreads it; yields the command tag.
    ///
    /// # Errors
    /// What PostgreSQL says of the rows; 57014 when the client gives up; 23502 for rows without a key.
    pub async fn copy_in(&mut self, target: &CopyTarget, extended: bool) -> Result<String> {
        let CopyTarget::Distributed { table, colocation, key_type, columns, key_index, computed, options, filter } =
            target
        else {
            return Err(Error::internal("COPY into one place"));
        };
        let key_name = match self.facts().database.tables.get(table) {
            Some(Table::Distributed { key, .. }) => key.name.clone(),
            _ => return Err(Error::internal("COPY into a table that is not distributed")),
        };
        let computed_key =
            if key_index.is_some() { None } else { computed.iter().position(|(name, _)| *name == key_name) };
        let target = Target {
            computed_key,
            key: &key_name,
            table,
            colocation: *colocation,
            key_type: *key_type,
            columns,
            key_index: *key_index,
            computed,
            options,
            filter: filter.as_deref(),
        };
        if options.format == CopyFormat::Binary && !computed.is_empty() {
            return Err(Error::unsupported(
                "binary COPY that leaves out a column with a computed default is not supported",
                "The coordinator computes such defaults, and adds them to rows of text.",
                "Name all columns, or use the text format.",
            ));
        }
        // One version of the directory for all of the data.
        let colocation =
            self.facts().database.colocations.get(&target.colocation).cloned().ok_or_else(|| {
                Error::internal(format!("the directory lacks co-location group {}", target.colocation.0))
            })?;
        let shards = colocation.shards.clone();
        let path = self.plain_path();
        let groups = groups_of(&shards);
        for group in &groups {
            // Join, so that errors of joining come before the client is asked for data.
            self.participant(Place::data(*group), &path, true).await?;
        }
        let format = u8::from(options.format == CopyFormat::Binary);
        backend::copy_in_response(format, columns.len(), &mut self.client.output);
        self.client.flush().await?;

        let mut flow = Flow {
            buffers: shards.iter().map(|_| BytesMut::new()).collect(),
            queued: BTreeMap::new(),
            asked: HashMap::new(),
            colocation,
            shards,
            rows: 0,
        };
        let cancel = self.cancel.clone();
        for group in &groups {
            cancel.enter(self.copy_lane(*group)?);
        }
        let taken = self.take_rows(&target, &mut flow).await;
        let ended = match taken {
            Ok(()) => self.finish_copies(&target, &mut flow).await,
            Err(error) => {
                self.abandon_copies(&mut flow).await;
                Err(error)
            }
        };
        for group in &groups {
            cancel.leave(self.copy_lane(*group)?);
        }
        cancel.settled().await;
        if extended && !matches!(ended, Err(Error::Client(_))) {
            self.skip_to_sync().await?;
        }
        ended.map(|()| format!("COPY {}", flow.rows))
    }

    /// In the extended protocol the Sync that came with Execute was ignored; the one after CopyDone ends the exchange.
    async fn skip_to_sync(&mut self) -> Result<()> {
        loop {
            match self.client.next().await? {
                None => return Err(Error::Client(std::io::ErrorKind::UnexpectedEof.into())),
                Some(frame) if frame.tag == tag::SYNC => return Ok(()),
                Some(_) => {}
            }
        }
    }

    async fn take_rows(&mut self, target: &Target<'_>, flow: &mut Flow) -> Result<()> {
        let splitter = Splitter { options: target.options, key_index: target.key_index };
        let mut data = BytesMut::new();
        let mut header_due = target.options.format == CopyFormat::Binary || target.options.header != CopyHeader::No;
        let mut ended = false;
        loop {
            let cancel = self.cancel.clone();
            let frame = tokio::select! {
                biased;
                frame = self.client.next() => frame?,
                cancelled = cancel.requested() => return Err(cancelled),
            };
            let Some(frame) = frame else { return Err(Error::Client(std::io::ErrorKind::UnexpectedEof.into())) };
            let last = match frame.tag {
                tag::COPY_DATA => {
                    if !ended {
                        data.extend_from_slice(frame.body_slice());
                    }
                    // What has arrived is taken together: fewer, larger steps.
                    if data.len() < PIECE_BYTES && self.client.peek_tag() == Some(tag::COPY_DATA) {
                        continue;
                    }
                    false
                }
                tag::COPY_DONE => true,
                tag::COPY_FAIL => {
                    let fail = frontend::CopyFail::decode(&frame)?;
                    return Err(Error::sql(
                        sqlstate::QUERY_CANCELED,
                        format!("COPY from stdin failed: {}", fail.reason),
                    ));
                }
                tag::SYNC | tag::FLUSH => continue,
                other => {
                    return Err(Error::Fatal {
                        sqlstate: sqlstate::PROTOCOL_VIOLATION,
                        message: format!("unexpected message type 0x{other:02X} during COPY from stdin"),
                    });
                }
            };
            if header_due && !ended {
                header_due = !take_header(target, &mut data, last)?;
            }
            if !header_due && !ended {
                let rows = splitter.split(&data, last)?;
                ended = rows.ended;
                self.spread(target, flow, &data, &rows.rows).await?;
                data.advance(rows.taken);
                if last && !data.is_empty() && !ended {
                    return Err(Error::sql("22P04", "unexpected EOF in COPY data"));
                }
            }
            if last {
                return Ok(());
            }
        }
    }

    /// Puts rows into their shards' buffers, sending those that are full.
    async fn spread(&mut self, target: &Target<'_>, flow: &mut Flow, data: &[u8], rows: &[Row]) -> Result<()> {
        let computed = self.computed_fields(target, rows.len()).await?;
        for (index, row) in rows.iter().enumerate() {
            let computed_key = target.computed_key.and_then(|column| Some(computed.get(column)?[index].as_bytes()));
            let shard = match computed_key.or(row.key.as_deref()) {
                Some(key) => self.position_of(target, flow, key).await?,
                None if flow.colocation.method == Method::Schema => 0,
                None => return Err(self.null_key(target, &data[row.bytes.clone()])),
            };
            let buffer = &mut flow.buffers[shard];
            if computed.is_empty() {
                buffer.extend_from_slice(&data[row.bytes.clone()]);
                if row.fields_end == row.bytes.end && target.options.format != CopyFormat::Binary {
                    // The data's last line, without its end: others may follow it in the shard's.
                    buffer.extend_from_slice(b"\n");
                }
            } else {
                buffer.extend_from_slice(&data[row.bytes.start..row.fields_end]);
                for values in &computed {
                    buffer.extend_from_slice(&[target.options.delimiter]);
                    buffer.extend_from_slice(values[index].as_bytes());
                }
                buffer.extend_from_slice(b"\n");
            }
            if buffer.len() >= SHARD_BUFFER_BYTES {
                self.send_copy(target, flow, shard).await?;
            }
        }
        Ok(())
    }

    async fn position_of(&mut self, target: &Target<'_>, flow: &mut Flow, key: &[u8]) -> Result<usize> {
        if target.options.format == CopyFormat::Binary {
            return hash::parse_binary(target.key_type, 0, key)
                .map(|value| flow.colocation.position_of(&value))
                .map_err(|_| Error::sql("22P03", "incorrect binary data format"));
        }
        let text =
            std::str::from_utf8(key).map_err(|_| Error::sql("22021", "invalid byte sequence for encoding \"UTF8\""))?;
        if let Ok(value) = hash::parse_text(target.key_type, text) {
            return Ok(flow.colocation.position_of(&value));
        }
        if let Some(position) = flow.asked.get(key) {
            return Ok(*position);
        }
        let position =
            self.ask_position(&flow.colocation, target.key_type, text).await.map_err(|error| match error {
                Error::Server(mut fields) => {
                    fields.remove(b'P');
                    fields.add_context(&format!("COPY {}", target.table.name));
                    Error::Server(fields)
                }
                other => other,
            })?;
        flow.asked.insert(key.to_vec(), position);
        Ok(position)
    }

    /// Values of left-out columns with computed defaults, one list per column.
    async fn computed_fields(&mut self, target: &Target<'_>, rows: usize) -> Result<Vec<Vec<String>>> {
        if target.computed.is_empty() || rows == 0 {
            return Ok(Vec::new());
        }
        let expressions: Vec<String> =
            target.computed.iter().map(|(_, expression)| format!("({expression})::text")).collect();
        let sql = format!("SELECT {} FROM pg_catalog.generate_series(1, {rows})", expressions.join(", "));
        let path = self.plain_path();
        let sets = self.run_at(Place::HOME, &path, &sql, true).await;
        self.note_sequences_drawn();
        let sets = sets?;
        let answer = sets.into_iter().next().unwrap_or_default();
        let mut fields = vec![Vec::with_capacity(rows); target.computed.len()];
        for row in answer.rows {
            for (column, value) in row.into_iter().enumerate() {
                fields[column]
                    .push(value.map_or_else(|| target.options.null.clone(), |value| escape(target.options, &value)));
            }
        }
        Ok(fields)
    }

    fn null_key(&self, target: &Target<'_>, row: &[u8]) -> Error {
        let column = target.key;
        let fields = String::from_utf8_lossy(row);
        Error::sql(
            "23502",
            format!(
                "null value in column \"{column}\" of relation \"{}\" violates not-null constraint",
                target.table.name
            ),
        )
        .with_detail(format!(
            "The distribution column decides the row's shard, and cannot be null. The row is: {}",
            fields.trim_end()
        ))
    }

    /// Sends a shard's buffer as a COPY of its own.
    async fn send_copy(&mut self, target: &Target<'_>, flow: &mut Flow, shard: usize) -> Result<()> {
        let group = flow.shards[shard].group;
        let data = std::mem::take(&mut flow.buffers[shard]);
        let mut out = BytesMut::with_capacity(data.len() + 1024);
        frontend::query(&copy_sql(target, &flow.shards[shard]), &mut out);
        if target.options.format == CopyFormat::Binary {
            let mut header = BytesMut::new();
            atoll_wire::rows::copy_binary_header(&mut header);
            frontend::copy_data(&header, &mut out);
        }
        for piece in data.chunks(PIECE_BYTES) {
            frontend::copy_data(piece, &mut out);
        }
        if target.options.format == CopyFormat::Binary {
            let mut trailer = BytesMut::new();
            atoll_wire::rows::copy_binary_trailer(&mut trailer);
            frontend::copy_data(&trailer, &mut out);
        }
        frontend::copy_done(&mut out);
        let queued = flow.queued.entry(group).or_default();
        let lane = self.copy_lane(group)?;
        while *queued >= COPIES_QUEUED_MAX {
            *queued -= 1;
            flow.rows += read_copied(lane).await?;
        }
        *queued += 1;
        lane.send(out.freeze()).await
    }

    fn copy_lane(&mut self, group: GroupIndex) -> Result<&mut Lane> {
        let transaction = self.transaction.as_mut().ok_or_else(|| Error::internal("COPY outside a transaction"))?;
        let index =
            transaction.position(Place::data(group)).ok_or_else(|| Error::internal("a group that did not join"))?;
        Ok(&mut transaction.participants[index].lane)
    }

    /// Sends what is left and reads every answer.
    async fn finish_copies(&mut self, target: &Target<'_>, flow: &mut Flow) -> Result<()> {
        let mut outcome = Ok(());
        for shard in 0..flow.shards.len() {
            if outcome.is_ok() && !flow.buffers[shard].is_empty() {
                outcome = self.send_copy(target, flow, shard).await;
            }
        }
        for (group, queued) in std::mem::take(&mut flow.queued) {
            for _ in 0..queued {
                let copied = match self.copy_lane(group) {
                    Ok(lane) => read_copied(lane).await,
                    Err(error) => Err(error),
                };
                match copied {
                    Ok(rows) => flow.rows += rows,
                    Err(error) => outcome = outcome.and(Err(error)),
                }
            }
        }
        outcome
    }

    /// After an error: the answers still due are read, so that the lanes can be rolled back.
    async fn abandon_copies(&mut self, flow: &mut Flow) {
        for (group, queued) in std::mem::take(&mut flow.queued) {
            for _ in 0..queued {
                if let Ok(lane) = self.copy_lane(group) {
                    // The first error is the one the client hears.
                    let _ = read_copied(lane).await;
                }
            }
        }
    }
}

fn groups_of(shards: &[Shard]) -> BTreeSet<GroupIndex> {
    shards.iter().map(|shard| shard.group).collect()
}

/// The answer to one COPY: its rows.
async fn read_copied(lane: &mut Lane) -> Result<u64> {
    let mut rows = 0;
    let mut failure = None;
    loop {
        let mut chunk = lane.receive_frames().await?;
        while let Some((frame_tag, length)) = peek(&chunk) {
            let frame = chunk.split_to(length.min(chunk.len()));
            match frame_tag {
                b'C' => rows = decode::rows_of_tag(decode::command_complete(&frame[5..])?).unwrap_or(0),
                b'E' => {
                    failure.get_or_insert(decode::error_fields(&frame[5..])?);
                }
                b'Z' => {
                    lane.ready(frame[5]);
                    if !chunk.is_empty() {
                        lane.unread(chunk);
                    }
                    return failure.map_or(Ok(rows), |fields| Err(Error::Server(Box::new(fields))));
                }
                _ => {}
            }
        }
    }
}

fn copy_sql(target: &Target<'_>, shard: &Shard) -> String {
    let columns: Vec<String> = target
        .columns
        .iter()
        .chain(target.computed.iter().map(|(column, _)| column))
        .map(|column| quote_identifier(column))
        .collect();
    let with = target.options.text.trim_start_matches(", ");
    let with = if with.is_empty() { String::new() } else { format!(" WITH ({with})") };
    let filter = target.filter.map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
    format!(
        "COPY {}.{} ({}) FROM STDIN{with}{filter}",
        quote_identifier(&shard.id.schema(&target.table.schema)),
        quote_identifier(&target.table.name),
        columns.join(", "),
    )
}

/// Takes the header off the data, when all of it is there.
fn take_header(target: &Target<'_>, data: &mut BytesMut, last: bool) -> Result<bool> {
    if target.options.format == CopyFormat::Binary {
        let fixed = BINARY_SIGNATURE.len() + 8;
        if data.len() < fixed {
            return if last { Err(Error::sql("22P04", "COPY file signature not recognized")) } else { Ok(false) };
        }
        if !data.starts_with(BINARY_SIGNATURE) {
            return Err(Error::sql("22P04", "COPY file signature not recognized"));
        }
        let extension = i32::from_be_bytes([data[15], data[16], data[17], data[18]]);
        let whole = fixed
            + usize::try_from(extension).map_err(|_| Error::sql("22P04", "invalid COPY file header (wrong length)"))?;
        if data.len() < whole {
            return Ok(false);
        }
        data.advance(whole);
        return Ok(true);
    }
    let splitter = Splitter { options: target.options, key_index: None };
    let rows = splitter.split(data, last)?;
    let Some(first) = rows.rows.first() else { return Ok(last) };
    if target.options.header == CopyHeader::Match {
        check_header(target, &data[first.bytes.start..first.fields_end])?;
    }
    data.advance(first.bytes.end);
    Ok(true)
}

fn check_header(target: &Target<'_>, line: &[u8]) -> Result<()> {
    for (index, column) in target.columns.iter().enumerate() {
        let splitter = Splitter { options: target.options, key_index: Some(index) };
        let rows = splitter.split(line, true)?;
        let found = rows.rows.first().and_then(|row| row.key.as_deref()).map(String::from_utf8_lossy);
        if found.as_deref() != Some(column) {
            let got = found.map_or_else(|| "null value".to_owned(), |name| format!("\"{name}\""));
            return Err(Error::sql(
                "22P04",
                format!("column name mismatch in header line field {}: got {got}, expected \"{column}\"", index + 1),
            ));
        }
    }
    Ok(())
}

/// A value as the data's format writes it.
fn escape(options: &CopyOptions, value: &str) -> String {
    match options.format {
        CopyFormat::Csv => {
            let quote = char::from(options.quote);
            let escape = char::from(options.escape);
            let inner: String =
                value.chars().flat_map(|c| if c == quote || c == escape { vec![escape, c] } else { vec![c] }).collect();
            format!("{quote}{inner}{quote}")
        }
        _ => {
            let mut out = String::with_capacity(value.len());
            for c in value.chars() {
                match c {
                    '\\' => out.push_str("\\\\"),
                    '\n' => out.push_str("\\n"),
                    '\r' => out.push_str("\\r"),
                    '\t' => out.push_str("\\t"),
                    c if c.is_ascii() && c as u8 == options.delimiter => {
                        out.push('\\');
                        out.push(c);
                    }
                    c => out.push(c),
                }
            }
            out
        }
    }
}
