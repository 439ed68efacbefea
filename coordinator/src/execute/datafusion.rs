//! Tier 2: fragments stream from the groups' lanes through DataFusion to the client.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arrow_array::RecordBatch;
use atoll_merge::{Bound, Engine, InputColumn, InputError, InputRows, InputSchema, InputStream, MergeError, Parameter};
use atoll_planner::directory::GroupIndex;
use atoll_planner::marks;
use atoll_planner::plan::{FragmentColumn, Merge};
use atoll_proto::v1::Fragment;
use atoll_wire::backend::{self, Column};
use atoll_wire::encode::{RowEncoder, encodable};
use atoll_wire::frontend::format_of;
use atoll_wire::rows::{self, ColumnFormat, IpcReader};
use bytes::BytesMut;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::scatter::{discard_rest, next_batch, request};
use crate::error::{Error, Result, sqlstate};
use crate::lane::Lane;
use crate::plans::{Description, Statement};
use crate::session::cancel::CancelHandle;
use crate::session::client::Client;
use crate::session::extended::push_description;
use crate::session::simple::Ask;
use crate::session::{Session, Tier};

/// Batches a group may be ahead of the merge.
const BATCHES_AHEAD_MAX: usize = 2;

/// Up to so many rows are merged where they arrive, without another thread.
const ROWS_HERE_MAX: usize = 10_000;

/// The agent's SQLSTATE for a value that PostgreSQL has and Arrow has not (a timestamp beyond the year 294246). Nothing has been sent then:
/// sorts and aggregates, the only ones to look at values, yield no row before they have seen all.
pub(super) const BEYOND_ARROW: &str = "22008";

/// The merge wants more memory than one query may have. Sorts and groupings say so before their first row.
pub(super) const OUT_OF_MEMORY: &str = "53200";

/// Whether DataFusion took the merge.
pub enum Attempt {
    Answered,
    /// Nothing was sent anywhere; why.
    Unsupported(String),
}

/// What running a merge takes.
pub(super) struct Ready {
    pub merge: Bound,
    /// The fragments, then the tables at home.
    pub inputs: Vec<InputSchema>,
    /// Of each input's columns.
    pub formats: Vec<Vec<ColumnFormat>>,
    pub encoder: RowEncoder,
    pub description: Arc<Description>,
}

impl Ready {
    /// In the simple protocol the description comes with the first rows: an error before them comes alone.
    pub fn described(&self, ask: Ask<'_>) -> Option<BytesMut> {
        ask.describes().then(|| {
            let mut frames = BytesMut::new();
            push_description(self.description.columns.as_deref(), &[], &mut frames);
            frames
        })
    }
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
        forced: bool,
    ) -> Result<Attempt> {
        let bound = ask.bound();
        let ready = match self.ready_for_datafusion(merge, columns, statement, bound).await? {
            Ok(ready) => ready,
            Err(reason) => return Ok(Attempt::Unsupported(reason)),
        };
        if ready.inputs.len() > 1 {
            return self.join_in_datafusion(merge, ready, ask, forced).await;
        }
        let hands = self.hands(&merge.fragments[0], statement, bound).await?;
        if hands > 1 {
            return self.merge_by_several(merge, &ready, ask, hands).await;
        }
        let start = Instant::now();
        let fragment = &merge.fragments[0];
        let engine = self.worker.cluster.merge.clone();

        let groups = self.group_fragments(fragment, bound).await?;
        let version = self.facts().id;
        let requests: Vec<_> = groups
            .into_iter()
            .map(|part| {
                let parameters = self.fragment_parameters(bound, part.group);
                (part.group, request(part.sql, parameters, &ready.formats[0], version))
            })
            .collect();
        let mut lanes = self.scatter_lanes(requests.iter().map(|(group, _)| *group)).await?;
        let described = ready.described(ask);
        self.tier = Tier::DataFusion;

        let cancel = self.cancel.clone();
        let Run { sent, outcome, .. } = {
            let borrowed = Self::lanes_of(self.transaction.as_mut(), &mut self.pinned, &mut lanes);
            let input = (fragment.name.as_str(), with_lanes(requests, borrowed)?);
            let output = (&ready.encoder, &mut self.client, described);
            run(&engine, &ready.merge, input, Vec::new(), &cancel, output).await
        };
        self.note_long(fragment, start.elapsed());
        let too_large = sent == 0 && matches!(&outcome, Err(Error::Sql { sqlstate: OUT_OF_MEMORY, .. }));
        let mut all = Self::lanes_of(self.transaction.as_mut(), &mut self.pinned, &mut lanes);
        for lane in all.values_mut() {
            if too_large && lane.transaction_status != b'I' {
                // PostgreSQL is to try in the same transaction, which an interrupt would fail.
                while lane.busy && lane.receive().await.is_ok() {}
            } else if outcome.is_err() && lane.busy {
                discard_rest(lane).await;
            }
            cancel.leave(lane);
        }
        drop(all);
        cancel.settled().await;
        self.let_go_all(lanes);
        if let Err(Error::Server(fields)) = &outcome
            && fields.sqlstate() == BEYOND_ARROW
            && self.transaction.is_none()
            && sent == 0
        {
            return Ok(Attempt::Unsupported(fields.message().to_owned()));
        }
        if too_large {
            return Ok(Attempt::Unsupported("more rows than it may hold in memory".to_owned()));
        }
        outcome.inspect_err(|_| self.note_failure())?;
        backend::command_complete(&format!("SELECT {sent}"), &mut self.client.output);
        Ok(Attempt::Answered)
    }

    /// The merge as DataFusion would run it, or why it does not.
    ///
    /// # Errors
    /// What PostgreSQL says of the statement.
    pub(super) async fn ready_for_datafusion(
        &mut self,
        merge: &Merge,
        columns: &[Vec<Column>],
        statement: &Arc<Statement>,
        bound: Option<&crate::session::extended::Bound>,
    ) -> Result<Result<Ready, String>> {
        if let Some(setting) = self.unusual_output_setting() {
            return Ok(Err(format!("the session's {setting}")));
        }
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
        let home = merge.joined.iter().flat_map(|joined| &joined.home);
        let relations = merge.fragments.iter().map(|fragment| (&fragment.name, &fragment.columns));
        let relations = relations.chain(home.map(|rows| (&rows.name, &rows.columns)));
        let (mut inputs, mut all_formats) = (Vec::new(), Vec::new());
        for ((name, facts), columns) in relations.zip(columns) {
            let format = |fact: &FragmentColumn| raw.filter(|_| fact.passed_on).unwrap_or(ColumnFormat::Typed);
            let formats: Vec<ColumnFormat> = facts.iter().map(format).collect();
            inputs.push(InputSchema {
                name: name.clone(),
                schema: rows::schema(columns, &formats),
                columns: facts
                    .iter()
                    .map(|column| InputColumn {
                        bytewise_collation: column.bytewise_collation,
                        passed_on: column.passed_on && raw.is_some(),
                    })
                    .collect(),
            });
            all_formats.push(formats);
        }
        let sql = merge.joined.as_ref().map_or(&merge.sql, |joined| &joined.sql);
        let types = bound.map_or(&[][..], |bound| &bound.types);
        let engine = self.worker.cluster.merge.clone();
        let kept = statement.merges.of(raw, bound.is_some());
        let prepared = match kept.get_or_init(|| engine.check(&marks::plain(sql), &inputs, types)) {
            Ok(prepared) => prepared,
            Err(refused) => return Ok(Err(refused.reason.clone())),
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
            Err(refused) => return Ok(Err(refused.reason)),
        };
        if !encodable(merge_bound.schema(), &result_formats) {
            return Ok(Err("a result column that only PostgreSQL prints exactly".to_owned()));
        }
        let encoder = RowEncoder::new(merge_bound.schema(), &result_formats)
            .map_err(|error| Error::internal(error.to_string()))?;
        Ok(Ok(Ready { merge: merge_bound, inputs, formats: all_formats, encoder, description }))
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
        if usual("bytea_output").is_some_and(|output| output != "hex") {
            return Some("bytea_output");
        }
        None
    }
}

/// What became of a merge.
pub(super) struct Run {
    /// Rows that came from the groups.
    pub fetched: u64,
    /// Rows that went to the client.
    pub sent: u64,
    pub outcome: Result<()>,
}

/// Each group's request with its lane.
pub(super) fn with_lanes(
    requests: Vec<(GroupIndex, Fragment)>,
    mut lanes: BTreeMap<GroupIndex, &mut Lane>,
) -> Result<Vec<(&mut Lane, Fragment)>> {
    let lost = || Error::internal("a group without its lane");
    requests.into_iter().map(|(group, fragment)| Ok((lanes.remove(&group).ok_or_else(lost)?, fragment))).collect()
}

/// Starts every group's part of one input and the merge over it and `others`, and moves rows until the end.
pub(super) async fn run(
    engine: &Engine,
    merge: &Bound,
    (name, requests): (&str, Vec<(&mut Lane, Fragment)>),
    others: Vec<(String, Vec<RecordBatch>)>,
    cancel: &CancelHandle,
    (encoder, client, described): (&RowEncoder, &mut Client, Option<BytesMut>),
) -> Run {
    let ahead = Ahead::default();
    let mut out = Output { encoder, client, described, rows: 0 };
    let outcome = async {
        let mut inputs: Vec<mpsc::Receiver<Result<RecordBatch, InputError>>> = Vec::new();
        let mut pumps = FuturesUnordered::new();
        for (lane, fragment) in requests {
            cancel.enter(lane);
            lane.send_fragment(fragment).await?;
            let (sender, receiver) = mpsc::channel(BATCHES_AHEAD_MAX);
            inputs.push(receiver);
            pumps.push(pump(lane, sender, &ahead));
        }
        let here = others.iter().flat_map(|(_, batches)| batches).map(RecordBatch::num_rows).sum::<usize>();
        match gather(&mut pumps, &ahead).await {
            Err(error) => Err(error),
            Ok(true) if here + ahead.rows() <= ROWS_HERE_MAX => {
                let batches = inputs.iter_mut().flat_map(|input| std::iter::from_fn(|| input.try_recv().ok()));
                match batches.collect::<Result<Vec<_>, _>>() {
                    Ok(batches) => {
                        let mut inputs = others;
                        inputs.push((name.to_owned(), batches));
                        merge_here(engine, merge, inputs, &mut out).await
                    }
                    Err(error) => Err(Error::internal(error.to_string())),
                }
            }
            Ok(_) => {
                let streams = inputs.into_iter().map(|input| Box::pin(ReceiverStream::new(input)) as InputStream);
                let last = InputRows { name: name.to_owned(), streams: streams.collect(), count: None };
                let others = others.into_iter().map(|(name, batches)| InputRows::of(name, batches));
                match engine.execute(merge, others.chain([last]).collect()) {
                    Ok(merged) => drive(pumps, merged, &mut out).await,
                    Err(error) => Err(merge_error(error)),
                }
            }
        }
    }
    .await;
    // PostgreSQL describes the rows before it computes the first, but not before it has checked the privileges.
    let denied = matches!(&outcome, Err(error) if ["42501", BEYOND_ARROW, OUT_OF_MEMORY].contains(&error.sqlstate()));
    if !denied {
        out.describe();
    }
    Run { fetched: ahead.rows() as u64, sent: out.rows, outcome }
}

/// How far the groups are ahead of the merge.
#[derive(Default)]
struct Ahead {
    rows: AtomicUsize,
    full: Notify,
}

impl Ahead {
    fn rows(&self) -> usize {
        self.rows.load(Ordering::Relaxed)
    }
}

/// Where a merge's rows go.
struct Output<'a> {
    encoder: &'a RowEncoder,
    client: &'a mut Client,
    /// The description that precedes the first row.
    described: Option<BytesMut>,
    rows: u64,
}

impl Output<'_> {
    fn describe(&mut self) {
        if let Some(frames) = self.described.take() {
            self.client.output.extend_from_slice(&frames);
        }
    }

    async fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        self.describe();
        self.encoder
            .encode(batch, &mut self.client.output)
            .map_err(|error| Error::sql(error.sqlstate(), error.to_string()))?;
        self.rows += batch.num_rows() as u64;
        self.client.flush_if_large().await
    }
}

/// Waits until the groups have sent everything (true), or one has to wait for the merge.
async fn gather(pumps: &mut FuturesUnordered<impl Future<Output = Result<()>>>, ahead: &Ahead) -> Result<bool> {
    loop {
        tokio::select! {
            biased;
            pumped = pumps.next() => match pumped {
                Some(pumped) => pumped?,
                None => return Ok(true),
            },
            () = ahead.full.notified() => return Ok(false),
        }
    }
}

async fn merge_here(
    engine: &Engine,
    merge: &Bound,
    inputs: Vec<(String, Vec<RecordBatch>)>,
    out: &mut Output<'_>,
) -> Result<()> {
    let merged = engine.execute_here(merge, inputs).await.map_err(merge_error)?;
    for batch in &merged {
        out.push(batch).await?;
    }
    Ok(())
}

/// Reads one group's batches for the merge; ends early when the merge has enough.
async fn pump(lane: &mut Lane, sender: mpsc::Sender<Result<RecordBatch, InputError>>, ahead: &Ahead) -> Result<()> {
    let mut reader = IpcReader::new();
    loop {
        match next_batch(lane, &mut reader).await {
            Ok(Some(batch)) => {
                ahead.rows.fetch_add(batch.num_rows(), Ordering::Relaxed);
                if sender.capacity() == 0 {
                    ahead.full.notify_one();
                }
                if sender.send(Ok(batch)).await.is_err() {
                    if lane.transaction_status == b'I' {
                        discard_rest(lane).await;
                        return Ok(());
                    }
                    // An interrupt would fail the client's transaction.
                    while next_batch(lane, &mut reader).await?.is_some() {}
                    return Ok(());
                }
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                // The merge must not take the end of the stream for the end of the rows.
                if sender.capacity() == 0 {
                    ahead.full.notify_one();
                }
                let _ = sender.send(Err(Box::from(error.to_string()))).await;
                return Err(error);
            }
        }
    }
}

/// Moves batches in and rows out until the merge has ended.
async fn drive(
    mut pumps: FuturesUnordered<impl Future<Output = Result<()>>>,
    mut merged: atoll_merge::MergeStream,
    out: &mut Output<'_>,
) -> Result<()> {
    let mut input_error = None;
    loop {
        tokio::select! {
            Some(pumped) = pumps.next(), if !pumps.is_empty() => {
                if let Err(error) = pumped {
                    // The shard's own error is the statement's, whatever the merge makes of the end of its rows.
                    input_error.get_or_insert(error);
                }
            }
            batch = merged.next() => match batch {
                None => break,
                Some(Ok(batch)) => out.push(&batch).await?,
                Some(Err(error)) => return Err(input_error.unwrap_or_else(|| merge_error(error))),
            },
        }
    }
    // Lanes are read to the end, so that they can be used again.
    while let Some(pumped) = pumps.next().await {
        pumped?;
    }
    input_error.map_or(Ok(()), Err)
}

pub(super) fn merge_error(error: MergeError) -> Error {
    match error {
        MergeError::Sql(error) => {
            Error::Sql { sqlstate: error.sqlstate, message: error.message, detail: error.detail, hint: None }
        }
        MergeError::Memory { detail } => Error::sql(OUT_OF_MEMORY, "out of memory").with_detail(detail),
        other => Error::sql(sqlstate::INTERNAL, other.to_string()),
    }
}
