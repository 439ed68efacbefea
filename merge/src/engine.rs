//! Checks merges, and runs them.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use atoll_wire::oid;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::prelude::SessionConfig;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::datum::Datum;
use crate::error::{InputError, MergeError, Unsupported, refuse};
use crate::kernels;
use crate::memory::QueryPool;
use crate::physical::{Builder, Node, numbered};
use crate::query::{self, InputSchema, Query, Source};
use crate::types::PgType;

/// Batches of one group's fragment, or what went wrong there.
pub type InputStream = Pin<Box<dyn Stream<Item = Result<RecordBatch, InputError>> + Send>>;

/// The rows of one input.
pub struct InputRows {
    /// The input's name.
    pub name: String,
    /// One per partition (group), in any number.
    pub streams: Vec<InputStream>,
    /// How many rows, where that is known: the smaller side of a join is kept in memory. One that is still on its way counts as the largest.
    pub count: Option<usize>,
}

impl InputRows {
    /// Those that are all there.
    pub fn of(name: String, batches: Vec<RecordBatch>) -> Self {
        let count = Some(batches.iter().map(RecordBatch::num_rows).sum());
        let rows: InputStream = Box::pin(stream::iter(batches.into_iter().map(Ok)));
        Self { name, streams: vec![rows], count }
    }
}

/// Finished batches that wait for the client.
const OUTPUT_BATCHES_MAX: usize = 2;
/// Rows per batch between operators.
const BATCH_ROWS: usize = 8192;

/// Limits of an engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// What all merges together hold in memory, in bytes.
    pub memory_bytes: usize,
    /// What one merge holds, in bytes.
    pub query_memory_bytes: usize,
    /// Where sorts and groupings spill; None: the system's directory for temporary files.
    pub spill_dir: Option<PathBuf>,
    /// What one merge may have on disk, in bytes.
    pub query_spill_bytes: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { memory_bytes: 1 << 30, query_memory_bytes: 256 << 20, spill_dir: None, query_spill_bytes: 64 << 30 }
    }
}

/// Runs merge queries in DataFusion. One per coordinator; cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Engine {
    options: EngineOptions,
    memory: Arc<dyn MemoryPool>,
    runtime: Handle,
}

/// A merge that holds nothing but what is on the verified list. Independent of rows and parameter values: worth caching.
#[derive(Clone, Debug)]
pub struct Prepared {
    inner: Arc<PreparedInner>,
}

#[derive(Debug)]
struct PreparedInner {
    query: Query,
    inputs: Vec<Input>,
    parameters: Vec<u32>,
    schema: SchemaRef,
}

#[derive(Debug)]
struct Input {
    name: String,
    arrow: Vec<DataType>,
    types: Arc<[PgType]>,
}

/// A parameter as the client sent it.
#[derive(Clone, Copy, Debug)]
pub struct Parameter<'a> {
    /// Format 1; otherwise text.
    pub binary: bool,
    /// None for NULL.
    pub value: Option<&'a [u8]>,
}

/// A prepared merge with values for its parameters.
#[derive(Clone, Debug)]
pub struct Bound {
    prepared: Arc<PreparedInner>,
    parameters: Arc<[Datum<'static>]>,
}

impl Engine {
    /// An engine whose merges run on `runtime` (of several threads).
    pub fn new(options: EngineOptions, runtime: Handle) -> Self {
        let memory = Arc::new(GreedyMemoryPool::new(options.memory_bytes));
        Self { options, memory, runtime }
    }

    /// Checks that this engine computes `merge_sql` over `inputs` exactly as PostgreSQL does. `parameters` are the type OIDs of
    /// `$1` and so on. Costs a parse; does not touch the inputs.
    ///
    /// # Errors
    /// When anything in it is not on the verified list: PostgreSQL has to run it.
    pub fn check(&self, merge_sql: &str, inputs: &[InputSchema], parameters: &[u32]) -> Result<Prepared, Unsupported> {
        let query = query::prepare(merge_sql, inputs, parameters)?;
        let mut reads = vec![0; inputs.len()];
        count_reads(&query.source, &mut reads);
        if reads.iter().any(|count| *count > 1) {
            refuse!("an input that is read twice");
        }
        let schema = Arc::new(query.schema());
        let inputs = inputs
            .iter()
            .map(|input| {
                Ok(Input {
                    name: input.name.clone(),
                    arrow: input.schema.fields().iter().map(|field| field.data_type().clone()).collect(),
                    types: query::input_types(input)?.into(),
                })
            })
            .collect::<Result<Vec<_>, Unsupported>>()?;
        let parameters = parameters.to_vec();
        Ok(Prepared { inner: Arc::new(PreparedInner { query, inputs, parameters, schema }) })
    }

    /// Runs a merge. `inputs` gives every input of the merge. The merge starts at once, on the engine's runtime; dropping the returned
    /// stream ends it and drops the inputs.
    ///
    /// Rows flow through where the query allows it; sorts and groupings spill to disk. The inputs' errors come out as they are.
    ///
    /// # Errors
    /// 2201W, 2201X and errors in computing LIMIT and OFFSET; an input that is missing is XX000. Errors of rows come from the stream.
    pub fn execute(&self, bound: &Bound, inputs: Vec<InputRows>) -> Result<MergeStream, MergeError> {
        let Started { plan, context, failure } = self.start(bound, inputs)?;
        let schema = Arc::clone(&bound.prepared.schema);
        let (sender, receiver) = mpsc::channel(OUTPUT_BATCHES_MAX);
        let output = Arc::clone(&schema);
        let task = self.runtime.spawn(async move {
            let rows = plan.execute(0, context);
            let end = match forward(rows, &output, &sender).await {
                Ok(()) => Event::End,
                Err(error) => Event::Failed(merge_failure(&failure, &error)),
            };
            // Nobody listens any more: nothing to tell.
            let _ = sender.send(end).await;
        });
        Ok(MergeStream { schema, receiver, task, ended: false })
    }

    /// Runs a merge over rows that are all there, to its end, on the caller's own task: for so few that handing them to another thread
    /// would take longer.
    ///
    /// # Errors
    /// As [`Engine::execute`], those of rows included.
    pub async fn execute_here(
        &self,
        bound: &Bound,
        inputs: Vec<(String, Vec<RecordBatch>)>,
    ) -> Result<Vec<RecordBatch>, MergeError> {
        let inputs = inputs.into_iter().map(|(name, batches)| InputRows::of(name, batches)).collect();
        let Started { plan, context, failure } = self.start(bound, inputs)?;
        let schema = &bound.prepared.schema;
        let merged = async {
            let mut rows = plan.execute(0, context)?;
            let mut merged = Vec::new();
            while let Some(batch) = rows.next().await.transpose()? {
                if batch.num_rows() > 0 {
                    merged.push(RecordBatch::try_new(Arc::clone(schema), batch.columns().to_vec())?);
                }
            }
            Ok(merged)
        };
        merged.await.map_err(|error| merge_failure(&failure, &error))
    }

    /// The physical plan over these inputs.
    fn start(&self, bound: &Bound, mut inputs: Vec<InputRows>) -> Result<Started, MergeError> {
        let failure = Arc::new(Mutex::new(None));
        let mut nodes = Vec::with_capacity(bound.prepared.inputs.len());
        let mut rows = Vec::with_capacity(bound.prepared.inputs.len());
        for input in &bound.prepared.inputs {
            let Some(at) = inputs.iter().position(|rows| rows.name == input.name) else {
                return Err(MergeError::Internal { detail: format!("no rows for input \"{}\"", input.name) });
            };
            let InputRows { streams, count, .. } = inputs.swap_remove(at);
            rows.push(count);
            nodes.push(Some(source(input, streams, &failure).map_err(|error| MergeError::from_datafusion(&error))?));
        }
        let mut builder = Builder { inputs: nodes, rows, parameters: Arc::clone(&bound.parameters) };
        let plan =
            builder.query(&bound.prepared.query).map_err(|error| MergeError::from_datafusion(&error))?.coalesce().plan;
        let context = self.context().map_err(|error| MergeError::from_datafusion(&error))?;

        Ok(Started { plan, context, failure })
    }

    /// Room for rows that a merge of this engine waits for: at most half of what a merge may hold.
    pub fn reserve(&self) -> Reservation {
        let held = MemoryConsumer::new("rows that are there").register(&self.memory);
        Reservation { held, bytes_max: self.options.query_memory_bytes / 2 }
    }

    fn context(&self) -> Result<Arc<TaskContext>, DataFusionError> {
        let pool = QueryPool::new(self.options.query_memory_bytes, Arc::clone(&self.memory));
        let mut disk = DiskManagerBuilder::default().with_max_temp_directory_size(self.options.query_spill_bytes);
        if let Some(dir) = &self.options.spill_dir {
            use datafusion::execution::disk_manager::DiskManagerMode;
            disk = disk.with_mode(DiskManagerMode::Directories(vec![dir.clone()]));
        }
        let runtime =
            RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).with_disk_manager_builder(disk).build_arc()?;
        // Kept back for merging what was spilled; a share of small pools.
        let reserved = (10 << 20).min(self.options.query_memory_bytes / 16);
        let config = SessionConfig::new()
            .with_batch_size(BATCH_ROWS)
            .with_target_partitions(2)
            .with_sort_spill_reservation_bytes(reserved);
        Ok(Arc::new(TaskContext::default().with_session_config(config).with_runtime(runtime)))
    }
}

/// Memory that is taken from an engine's, until it is dropped.
#[derive(Debug)]
pub struct Reservation {
    held: MemoryReservation,
    bytes_max: usize,
}

impl Reservation {
    /// Takes so many bytes more.
    ///
    /// # Errors
    /// [`MergeError::Memory`].
    pub fn grow(&self, bytes: usize) -> Result<(), MergeError> {
        if self.held.size() + bytes > self.bytes_max {
            let detail = format!("The rows that a merge waits for take more than {} bytes.", self.bytes_max);
            return Err(MergeError::Memory { detail });
        }
        self.held.try_grow(bytes).map_err(|error| MergeError::from_datafusion(&error))
    }

    /// What it may take in all.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }
}

impl Prepared {
    /// The schema of the merge's rows, with `pg.oid`, `pg.typmod` and `pg.format` on every field.
    pub fn schema(&self) -> &SchemaRef {
        &self.inner.schema
    }

    /// The merge with values for its parameters.
    ///
    /// # Errors
    /// When a value is written in a way that only PostgreSQL is sure to read alike, or the number of values is another.
    pub fn bind(&self, parameters: &[Parameter<'_>]) -> Result<Bound, Unsupported> {
        let types = &self.inner.parameters;
        if parameters.len() != types.len() {
            refuse!("{} values for {} parameters", parameters.len(), types.len());
        }
        let values = types
            .iter()
            .zip(parameters)
            .enumerate()
            .map(|(index, (type_oid, parameter))| {
                // One that the merge does not read may be of any type.
                if !self.inner.query.reads_parameter(index) {
                    return Ok(Datum::Null);
                }
                read_parameter(*type_oid, parameter)
                    .ok_or_else(|| Unsupported::new(format!("the value of parameter ${}", index + 1)))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Bound { prepared: Arc::clone(&self.inner), parameters: values.into() })
    }
}

impl Bound {
    /// Whether no row of it comes out before the last one of its inputs has gone in.
    pub fn holds_rows_back(&self) -> bool {
        self.prepared.query.holds_rows_back()
    }

    /// The schema of the merge's rows, as [`Prepared::schema`].
    pub fn schema(&self) -> &SchemaRef {
        &self.prepared.schema
    }
}

fn count_reads(source: &Source, reads: &mut [usize]) {
    match source {
        Source::Input(index) => reads[*index] += 1,
        Source::Query(inner) => count_reads(&inner.source, reads),
        Source::Union(arms) => arms.iter().for_each(|arm| count_reads(&arm.source, reads)),
        Source::Join(join) => join.relations.iter().for_each(|relation| count_reads(&relation.source, reads)),
    }
}

/// None when it takes PostgreSQL to read it.
fn read_parameter(type_oid: u32, parameter: &Parameter<'_>) -> Option<Datum<'static>> {
    let Some(value) = parameter.value else { return Some(Datum::Null) };
    let ty = PgType::of(type_oid);
    if !parameter.binary {
        return kernels::parse(ty, std::str::from_utf8(value).ok()?);
    }
    Some(match type_oid {
        oid::BOOL => Datum::Bool(<[u8; 1]>::try_from(value).ok()? != [0]),
        oid::INT2 => Datum::Int(i16::from_be_bytes(value.try_into().ok()?).into()),
        oid::INT4 => Datum::Int(i32::from_be_bytes(value.try_into().ok()?).into()),
        oid::INT8 => Datum::Int(i64::from_be_bytes(value.try_into().ok()?)),
        oid::FLOAT4 => Datum::Float4(f32::from_be_bytes(value.try_into().ok()?)),
        oid::FLOAT8 => Datum::Float8(f64::from_be_bytes(value.try_into().ok()?)),
        oid::NUMERIC => Datum::Numeric(atoll_wire::numeric::Numeric::from_binary(value).ok()?),
        oid::TEXT | oid::VARCHAR | oid::BPCHAR => Datum::Text(std::str::from_utf8(value).ok()?.to_owned().into()),
        oid::BYTEA => Datum::Bytes(value.to_vec().into()),
        oid::UUID => Datum::Bytes(<[u8; 16]>::try_from(value).ok()?.to_vec().into()),
        _ => return None,
    })
}

/// An input's streams as the leaves of a plan.
fn source(
    input: &Input,
    streams: Vec<InputStream>,
    failure: &Arc<Mutex<Option<InputError>>>,
) -> Result<Node, DataFusionError> {
    let schema = numbered(input.arrow.iter().cloned());
    let mut partitions: Vec<Arc<dyn PartitionStream>> = Vec::with_capacity(streams.len().max(1));
    let nothing: InputStream = Box::pin(stream::empty());
    // A plan needs a partition.
    let streams = if streams.is_empty() { vec![nothing] } else { streams };
    for stream in streams {
        partitions.push(Arc::new(Partition {
            schema: Arc::clone(&schema),
            stream: Mutex::new(Some(stream)),
            failure: Arc::clone(failure),
        }));
    }
    let plan = StreamingTableExec::try_new(schema, partitions, None, [], false, None)?;
    Ok(Node { plan: Arc::new(plan), types: Arc::clone(&input.types) })
}

/// One stream of an input.
struct Partition {
    schema: SchemaRef,
    stream: Mutex<Option<InputStream>>,
    /// Where the first error of any input is kept: on the way through operators it would be wrapped.
    failure: Arc<Mutex<Option<InputError>>>,
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partition").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl PartitionStream for Partition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let taken = self.stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        let failure = Arc::clone(&self.failure);
        let schema = Arc::clone(&self.schema);
        let batches = stream::iter(taken).flatten().map(move |item| match item {
            Ok(batch) => Ok(RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec())?),
            Err(error) => {
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                Err(DataFusionError::Execution("an input failed".to_owned()))
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}

/// A merge that only has to be polled.
struct Started {
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    failure: Arc<Mutex<Option<InputError>>>,
}

/// The input's own error when there was one, else what DataFusion says.
fn merge_failure(failure: &Mutex<Option<InputError>>, error: &DataFusionError) -> MergeError {
    let kept = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
    kept.map_or_else(|| MergeError::from_datafusion(error), MergeError::Input)
}

/// What the merge's task says.
enum Event {
    Batch(RecordBatch),
    Failed(MergeError),
    End,
}

/// Hands batches on until there are no more, or nobody takes them.
async fn forward(
    rows: Result<SendableRecordBatchStream, DataFusionError>,
    schema: &SchemaRef,
    sender: &mpsc::Sender<Event>,
) -> Result<(), DataFusionError> {
    let mut rows = rows?;
    while let Some(batch) = rows.next().await.transpose()? {
        if batch.num_rows() == 0 {
            continue;
        }
        let batch = RecordBatch::try_new(Arc::clone(schema), batch.columns().to_vec())?;
        if sender.send(Event::Batch(batch)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// The merge's rows. No batch is empty. After an error nothing more comes.
#[derive(Debug)]
pub struct MergeStream {
    schema: SchemaRef,
    receiver: mpsc::Receiver<Event>,
    task: JoinHandle<()>,
    ended: bool,
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Batch(_) => "Batch",
            Self::Failed(_) => "Failed",
            Self::End => "End",
        })
    }
}

impl MergeStream {
    /// The schema of every batch, as [`Prepared::schema`].
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

impl Stream for MergeStream {
    type Item = Result<RecordBatch, MergeError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let event = ready!(self.receiver.poll_recv(context));
        Poll::Ready(match event {
            Some(Event::Batch(batch)) => Some(Ok(batch)),
            Some(Event::End) => {
                self.ended = true;
                None
            }
            Some(Event::Failed(error)) => {
                self.ended = true;
                Some(Err(error))
            }
            // Rows would silently be missing.
            None => {
                self.ended = true;
                Some(Err(MergeError::Internal { detail: "the merge ended before its last row".to_owned() }))
            }
        })
    }
}

impl Drop for MergeStream {
    fn drop(&mut self) {
        self.task.abort();
    }
}
