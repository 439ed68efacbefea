//! Tier 2: fragments stream from the groups' lanes through DataFusion to the client.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::RecordBatch;
use atoll_merge::{Bound, Engine, InputColumn, InputError, InputSchema, InputStream, MergeError, Parameter};
use atoll_planner::directory::GroupIndex;
use atoll_planner::plan::Merge;
use atoll_proto::v1::Fragment;
use atoll_wire::backend::{self, Column};
use atoll_wire::encode::{RowEncoder, encodable};
use atoll_wire::frontend::format_of;
use atoll_wire::rows::{self, ColumnFormat, IpcReader};
use bytes::BytesMut;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::scatter::{discard_rest, next_batch, request};
use crate::error::{Error, Result, sqlstate};
use crate::lane::Lane;
use crate::plans::Statement;
use crate::session::cancel::CancelHandle;
use crate::session::client::Client;
use crate::session::extended::push_description;
use crate::session::simple::Ask;
use crate::session::{Session, Tier};

/// Batches a group may be ahead of the merge.
const BATCHES_AHEAD_MAX: usize = 2;

/// The agent's SQLSTATE for a value that PostgreSQL has and Arrow has not (a timestamp beyond the year 294246). Nothing has been sent then:
/// sorts and aggregates, the only ones to look at values, yield no row before they have seen all.
const BEYOND_ARROW: &str = "22008";

/// Whether DataFusion took the merge.
pub enum Attempt {
    Answered,
    /// Nothing was sent anywhere; why.
    Unsupported(String),
}

impl Session {
    /// Runs the merge in DataFusion, if all of it is on the verified list and its results can be printed as PostgreSQL would.
    ///
    /// # Errors
    /// The statement's.
    pub async fn merge_in_datafusion(
        &mut self,
        merge: &Merge,
        columns: &[Vec<Column>],
        statement: &Arc<Statement>,
        ask: Ask<'_>,
    ) -> Result<Attempt> {
        let ([fragment], [columns]) = (merge.fragments.as_slice(), columns) else {
            return Ok(Attempt::Unsupported("several fragments".to_owned()));
        };
        if let Some(setting) = self.unusual_output_setting() {
            return Ok(Attempt::Unsupported(format!("the session's {setting}")));
        }
        let bound = match ask {
            Ask::Simple => None,
            Ask::Bound(bound) => Some(bound),
        };
        let description = self.describe(statement).await?;
        let width = description.columns.as_ref().map_or(0, Vec::len);
        let result_formats: Vec<i16> =
            (0..width).map(|index| bound.map_or(0, |bound| format_of(&bound.result_formats, index))).collect();
        // What is only passed on travels in the format the client asked for; where it asked for several, nothing does.
        let raw = match result_formats.as_slice() {
            formats if formats.iter().all(|format| *format == 0) => Some(ColumnFormat::RawText),
            formats if formats.iter().all(|format| *format == 1) => Some(ColumnFormat::RawBinary),
            _ => None,
        };
        let formats: Vec<ColumnFormat> = fragment
            .columns
            .iter()
            .map(|column| raw.filter(|_| column.passed_on).unwrap_or(ColumnFormat::Typed))
            .collect();
        let input = InputSchema {
            name: fragment.name.clone(),
            schema: rows::schema(columns, &formats),
            columns: fragment
                .columns
                .iter()
                .map(|column| InputColumn {
                    bytewise_collation: column.bytewise_collation,
                    passed_on: column.passed_on && raw.is_some(),
                })
                .collect(),
        };
        let types = bound.map_or(&[][..], |bound| &bound.types);
        let engine = self.worker.cluster.merge.clone();
        let prepared = match engine.check(&merge.sql, &[input], types) {
            Ok(prepared) => prepared,
            Err(refused) => return Ok(Attempt::Unsupported(refused.reason)),
        };
        let values: Vec<Parameter<'_>> = bound
            .into_iter()
            .flat_map(|bound| {
                bound.parameters.iter().enumerate().map(|(index, value)| Parameter {
                    binary: format_of(&bound.parameter_formats, index) == 1,
                    value: value.as_deref(),
                })
            })
            .collect();
        let merge_bound = match prepared.bind(&values) {
            Ok(merge_bound) => merge_bound,
            Err(refused) => return Ok(Attempt::Unsupported(refused.reason)),
        };
        if !encodable(merge_bound.schema(), &result_formats) {
            return Ok(Attempt::Unsupported("a result column that only PostgreSQL prints exactly".to_owned()));
        }
        let encoder = RowEncoder::new(merge_bound.schema(), &result_formats)
            .map_err(|error| Error::internal(error.to_string()))?;

        let groups = self.group_fragments(fragment, bound).await?;
        let requests: Vec<_> = groups
            .iter()
            .map(|part| (part.group, self.fragment_parameters(bound, part.group)))
            .zip(groups.iter().map(|part| part.sql.clone()))
            .map(|((group, parameters), sql)| (group, request(sql, parameters, &formats)))
            .collect();
        let mut lanes = self.scatter_lanes(groups.iter().map(|part| part.group)).await?;
        // In the simple protocol the description comes with the first rows: an error before them comes alone.
        let described = ask.describes().then(|| {
            let mut frames = BytesMut::new();
            push_description(description.columns.as_deref(), &[], &mut frames);
            frames
        });
        self.tier = Tier::DataFusion;

        let cancel = self.cancel.clone();
        let outcome = {
            let borrowed = Self::lanes_of(self.transaction.as_mut(), &mut self.pinned, &mut lanes);
            let input = (fragment.name.as_str(), requests);
            run(&engine, &merge_bound, input, borrowed, &cancel, (&encoder, &mut self.client, described)).await
        };
        let mut cancelling = false;
        let mut all = Self::lanes_of(self.transaction.as_mut(), &mut self.pinned, &mut lanes);
        for lane in all.values_mut() {
            if outcome.is_err() && lane.busy {
                discard_rest(lane).await;
            }
            cancelling |= cancel.leave(lane);
        }
        if cancelling {
            cancel.settled().await;
            for lane in all.values_mut().filter(|lane| !lane.busy) {
                let _ = lane.query("").await;
            }
        }
        drop(all);
        self.let_go_all(lanes);
        if let Err(Error::Server(fields)) = &outcome
            && fields.sqlstate() == BEYOND_ARROW
            && self.transaction.is_none()
        {
            return Ok(Attempt::Unsupported(fields.message().to_owned()));
        }
        let rows = outcome.inspect_err(|_| self.note_failure())?;
        backend::command_complete(&format!("SELECT {rows}"), &mut self.client.output);
        Ok(Attempt::Answered)
    }

    /// A setting under which PostgreSQL prints typed values otherwise than the encoder does.
    fn unusual_output_setting(&self) -> Option<&'static str> {
        let usual = |name: &str| self.settings.get(name).or_else(|| self.reported_setting(name));
        if !usual("DateStyle").is_none_or(|style| style.starts_with("ISO")) {
            return Some("DateStyle");
        }
        if usual("extra_float_digits").and_then(|digits| digits.parse::<i32>().ok()).is_some_and(|digits| digits < 1) {
            return Some("extra_float_digits");
        }
        if !usual("bytea_output").is_none_or(|output| output == "hex") {
            return Some("bytea_output");
        }
        None
    }
}

/// Starts every group's fragment and the merge over them, and moves rows until the end; yields their number.
async fn run(
    engine: &Engine,
    merge: &Bound,
    (name, requests): (&str, Vec<(GroupIndex, Fragment)>),
    mut lanes: BTreeMap<GroupIndex, &mut Lane>,
    cancel: &CancelHandle,
    (encoder, client, mut described): (&RowEncoder, &mut Client, Option<BytesMut>),
) -> Result<u64> {
    let mut inputs: Vec<InputStream> = Vec::new();
    let pumps = FuturesUnordered::new();
    for (group, fragment) in requests {
        let lane = lanes.remove(&group).ok_or_else(|| Error::internal("a group without its lane"))?;
        cancel.enter(lane);
        lane.send_fragment(fragment).await?;
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD_MAX);
        inputs.push(Box::pin(ReceiverStream::new(receiver)));
        pumps.push(pump(lane, sender));
    }
    let outcome = match engine.execute(merge, vec![(name.to_owned(), inputs)]) {
        Ok(merged) => drive(pumps, merged, encoder, client, &mut described).await,
        Err(error) => Err(merge_error(error)),
    };
    // PostgreSQL describes the rows before it computes the first, but not before it has checked the privileges.
    let denied = matches!(&outcome, Err(error) if error.sqlstate() == "42501" || error.sqlstate() == BEYOND_ARROW);
    if let Some(frames) = described.filter(|_| !denied) {
        client.output.extend_from_slice(&frames);
    }
    outcome
}

/// Reads one group's batches for the merge; ends early when the merge has enough.
async fn pump(lane: &mut Lane, sender: mpsc::Sender<Result<RecordBatch, InputError>>) -> Result<()> {
    let mut reader = IpcReader::new();
    loop {
        match next_batch(lane, &mut reader).await {
            Ok(Some(batch)) => {
                if sender.send(Ok(batch)).await.is_err() {
                    discard_rest(lane).await;
                    return Ok(());
                }
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                // The merge must not take the end of the stream for the end of the rows.
                let _ = sender.send(Err(Box::from(error.to_string()))).await;
                return Err(error);
            }
        }
    }
}

/// Moves batches in and rows out until the merge has ended; yields the number of rows.
async fn drive(
    mut pumps: FuturesUnordered<impl Future<Output = Result<()>>>,
    mut merged: atoll_merge::MergeStream,
    encoder: &RowEncoder,
    client: &mut Client,
    described: &mut Option<BytesMut>,
) -> Result<u64> {
    let mut rows = 0;
    let mut input_error = None;
    loop {
        tokio::select! {
            Some(pumped) = pumps.next(), if !pumps.is_empty() => {
                if let Err(error) = pumped {
                    // The shard's own error is the statement's; the merge only hears that there was one.
                    input_error.get_or_insert(error);
                }
            }
            batch = merged.next() => match batch {
                None => break,
                Some(Ok(batch)) => {
                    if let Some(frames) = described.take() {
                        client.output.extend_from_slice(&frames);
                    }
                    encoder
                        .encode(&batch, &mut client.output)
                        .map_err(|error| Error::sql(error.sqlstate(), error.to_string()))?;
                    rows += batch.num_rows() as u64;
                    client.flush_if_large().await?;
                }
                Some(Err(error)) => return Err(input_error.unwrap_or_else(|| merge_error(error))),
            },
        }
    }
    // Lanes are read to the end, so that they can be used again.
    while let Some(pumped) = pumps.next().await {
        pumped?;
    }
    input_error.map_or(Ok(rows), Err)
}

fn merge_error(error: MergeError) -> Error {
    match error {
        MergeError::Sql(error) => {
            Error::Sql { sqlstate: error.sqlstate, message: error.message, detail: error.detail, hint: None }
        }
        MergeError::Memory { detail } => Error::sql("53200", "out of memory")
            .with_detail(detail)
            .with_hint("SET atoll.merge_engine = postgres lets PostgreSQL run the merge, which spills to disk."),
        other => Error::sql(sqlstate::INTERNAL, other.to_string()),
    }
}
