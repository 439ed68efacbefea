//! COPY: relayed where one backend does it all, taken apart over shards otherwise.

use std::sync::Arc;

use atoll_planner::directory::{ColocationId, KeyType, TableName};
use atoll_planner::plan::{
    Access, Copy, CopyDirection, CopyFormat, CopyHeader, CopyOptions, CopyTarget, Keys, Many, Plan, Residue, Site,
};
use atoll_planner::quote_identifier;
use atoll_wire::backend::{self, decode};
use atoll_wire::frames::peek;
use atoll_wire::frontend;
use bytes::{Bytes, BytesMut};

use super::route::Route;
use crate::error::{Error, Result};
use crate::lane::Lane;
use crate::place::Place;
use crate::plans::Statement;
use crate::session::Session;
use crate::session::client::Client;
use crate::session::simple::Ask;

/// Signature, flags and extension length of binary COPY data.
const BINARY_HEADER_BYTES: usize = 19;
const BINARY_TRAILER: [u8; 2] = [0xff, 0xff];

impl Session {
    /// Answers a COPY, up to and including its CommandComplete.
    ///
    /// # Errors
    /// The statement's.
    pub async fn copy(&mut self, copy: &Copy, statement: &Arc<Statement>, ask: Ask<'_>) -> Result<()> {
        let access = if copy.direction == CopyDirection::In { Access::Write } else { Access::Read };
        match &copy.target {
            CopyTarget::Site(site) => {
                let place = self.place_of(*site);
                let path = self.plain_path();
                self.relay_statement(place, &path, &statement.text, statement, ask, (access, Residue::Clean)).await
            }
            CopyTarget::Distributed { table, colocation, columns, options, .. }
                if copy.direction == CopyDirection::Out =>
            {
                self.in_transaction(async |session: &mut Self| {
                    session.copy_out(table, *colocation, columns, options).await
                })
                .await
            }
            target @ CopyTarget::Distributed { .. } => {
                // A Sync that came before the data was for nothing; one that is still to come ends the batch.
                let extended = matches!(ask, Ask::Bound(_)) && self.has_synced();
                self.in_transaction(async |session: &mut Self| session.copy_in(target, extended).await).await
            }
            CopyTarget::Reference { table } if copy.direction == CopyDirection::In => {
                self.copy_into_reference(table, statement, ask).await
            }
            CopyTarget::Reference { .. } => {
                let place = self.place_of(Site::AnyGroup);
                let path = self.plain_path();
                self.relay_statement(place, &path, &statement.text, statement, ask, (access, Residue::Clean)).await
            }
            CopyTarget::Query(plan, options) => self.copy_query(plan, options, statement, ask).await,
        }
    }

    /// COPY FROM into a reference table: home takes the client's data, the other groups home's rows.
    async fn copy_into_reference(&mut self, table: &TableName, statement: &Arc<Statement>, ask: Ask<'_>) -> Result<()> {
        let alone = self.transaction.is_none();
        self.open_implicit();
        let path = self.plain_path();
        let effects = (Access::Write, Residue::Clean);
        let result = async {
            self.relay_statement(Place::HOME, &path, &statement.text, statement, ask, effects).await?;
            self.copy_reference(table).await
        }
        .await;
        if result.is_err() {
            self.note_failure();
        }
        if alone {
            let ended = self.end_transaction(result.is_ok()).await;
            result.map_err(Error::undone)?;
            ended?;
            return Ok(());
        }
        result
    }

    /// COPY (query) TO: the query's own plan decides where.
    async fn copy_query(
        &mut self,
        plan: &Plan,
        options: &CopyOptions,
        statement: &Arc<Statement>,
        ask: Ask<'_>,
    ) -> Result<()> {
        let effects = (Access::Read, Residue::Clean);
        match plan {
            Plan::Relay(relay) => {
                let place = self.place_of(relay.site);
                let path = self.plain_path();
                self.relay_statement(place, &path, &statement.text, statement, ask, effects).await
            }
            Plan::Sharded(sharded) => {
                let route = self.route(sharded.colocation, sharded.key_type, &sharded.keys, None).await?;
                let header = if options.header == CopyHeader::No { "" } else { ", HEADER" };
                let with = |sql: &str| copy_out_sql(&format!("({sql})"), &format!("{}{header}", options.text));
                match (route, &sharded.many) {
                    (Route::One(shard), _) => {
                        let path = self.shard_path(shard.id);
                        let sql = with(&sharded.single.render_marked(shard.id));
                        self.relay_statement(Place::data(shard.group), &path, &sql, statement, ask, effects).await
                    }
                    (Route::Many(_), Many::Merge(merge)) => {
                        let mut staged = merge.clone();
                        staged.sql = with(&merge.sql);
                        (staged.datafusion, staged.grouped) = (false, None);
                        self.merge(&staged, statement, ask, effects).await
                    }
                    (Route::Many(_), Many::Refuse(refusal)) => Err(Error::Refused(Box::new(refusal.clone()))),
                    (Route::Many(_), Many::Write(_)) => Err(Error::unsupported(
                        "COPY of a statement that writes to several shards is not supported",
                        "Each shard would send a stream of its own.",
                        "Give the distribution key, or use RETURNING without COPY.",
                    )),
                }
            }
            Plan::Gather(gather) => {
                let header = if options.header == CopyHeader::No { "" } else { ", HEADER" };
                let mut staged = gather.merge.clone();
                staged.sql = copy_out_sql(&format!("({})", gather.merge.sql), &format!("{}{header}", options.text));
                (staged.datafusion, staged.grouped) = (false, None);
                self.merge(&staged, statement, ask, (gather.access, gather.residue)).await
            }
            Plan::Refuse(refusal) => Err(Error::Refused(Box::new(refusal.clone()))),
            _ => Err(Error::unsupported(
                "COPY of this kind of statement is not supported",
                "It runs in several steps, of which none gives all rows.",
                "COPY the result of a SELECT.",
            )),
        }
    }

    /// COPY of a distributed table: shard after shard, as one stream.
    async fn copy_out(
        &mut self,
        table: &TableName,
        colocation: ColocationId,
        columns: &[String],
        options: &CopyOptions,
    ) -> Result<String> {
        // The key's type is not needed for all shards.
        let shards = match self.route(colocation, KeyType::Int8, &Keys::All, None).await? {
            Route::One(shard) => vec![shard],
            Route::Many(shards) => shards,
        };
        let list: Vec<String> = columns.iter().map(|column| quote_identifier(column)).collect();
        let mut rows = 0;
        let last = shards.len() - 1;
        for (index, shard) in shards.into_iter().enumerate() {
            let mut with = options.text.clone();
            if options.header != CopyHeader::No && index == 0 {
                with.push_str(", HEADER");
            }
            let source = format!(
                "{}.{} ({})",
                quote_identifier(&shard.id.schema(&table.schema)),
                quote_identifier(&table.name),
                list.join(", "),
            );
            let sql = copy_out_sql(&source, &with);
            let part = Part { first: index == 0, last: index == last, binary: options.format == CopyFormat::Binary };
            rows += self.copy_out_shard(Place::data(shard.group), &sql, part).await?;
        }
        backend::copy_done(&mut self.client.output);
        Ok(format!("COPY {rows}"))
    }

    async fn copy_out_shard(&mut self, place: Place, sql: &str, part: Part) -> Result<u64> {
        let path = self.plain_path();
        let mut out = BytesMut::new();
        frontend::query(sql, &mut out);
        let cancel = self.cancel.clone();
        let lane = self.participant(place, &path, false).await?;
        lane.send(out.freeze()).await?;
        let index = self.transaction.as_ref().and_then(|transaction| transaction.position(place));
        let transaction = self.transaction.as_mut().ok_or_else(|| Error::internal("COPY outside a transaction"))?;
        let index = index.ok_or_else(|| Error::internal("a place that did not join"))?;
        let client = &mut self.client;
        cancel.over(&mut transaction.participants[index].lane, async |lane| relay_part(lane, client, part).await).await
    }
}

/// Passes one shard's data on; its number of rows.
async fn relay_part(lane: &mut Lane, client: &mut Client, part: Part) -> Result<u64> {
    let mut started = false;
    let mut rows = 0;
    let mut failure = None;
    loop {
        let mut chunk = lane.receive_frames().await?;
        while let Some((tag, length)) = peek(&chunk) {
            let frame = chunk.split_to(length.min(chunk.len()));
            match tag {
                b'H' if part.first => client.push(&frame),
                b'd' if part.binary => push_binary(&frame, part, &mut started, &mut client.output),
                b'd' => client.push(&frame),
                b'C' => rows = decode::rows_of_tag(decode::command_complete(&frame[5..])?).unwrap_or(0),
                b'E' => failure = Some(decode::error_fields(&frame[5..])?),
                b'Z' => {
                    lane.ready(frame[5]);
                    return failure.map_or(Ok(rows), |fields| Err(Error::Server(Box::new(fields))));
                }
                _ => {}
            }
        }
        client.flush_if_large().await?;
    }
}

/// COPY TO with options as text, each preceded by a comma.
fn copy_out_sql(source: &str, options: &str) -> String {
    match options.trim_start_matches(", ") {
        "" => format!("COPY {source} TO STDOUT"),
        options => format!("COPY {source} TO STDOUT WITH ({options})"),
    }
}

/// One shard's place in the whole stream.
#[derive(Clone, Copy)]
struct Part {
    first: bool,
    last: bool,
    binary: bool,
}

/// Binary data has one header and one trailer, however many shards it comes from.
fn push_binary(frame: &Bytes, part: Part, started: &mut bool, out: &mut BytesMut) {
    let mut data = &frame[5..];
    if !*started {
        *started = true;
        if !part.first {
            data = data.get(BINARY_HEADER_BYTES..).unwrap_or_default();
        }
    }
    if !part.last && data.ends_with(&BINARY_TRAILER) && data.len() <= BINARY_HEADER_BYTES + BINARY_TRAILER.len() {
        let kept = data.len() - BINARY_TRAILER.len();
        // Alone or right after the header, these two bytes are the trailer; at a row's end they would be a NULL's last.
        if kept == 0 || kept == BINARY_HEADER_BYTES {
            data = &data[..kept];
        }
    }
    if !data.is_empty() {
        frontend::copy_data(data, out);
    }
}
