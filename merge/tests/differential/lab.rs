//! One table, two ways to query it: PostgreSQL itself, and the merge engine over the same rows.

use anyhow::{Context as _, Result, bail, ensure};
use atoll_merge::arrow::array::RecordBatch;
use atoll_merge::arrow::datatypes::{Field, Schema};
use atoll_merge::{
    Engine, EngineOptions, InputColumn, InputError, InputRows, InputSchema, InputStream, MergeError, MergeStream,
    Parameter, Unsupported,
};
use atoll_tests::client::Client;
use atoll_tests::outcome::Column;
use atoll_tests::plain::PlainServer;
use atoll_wire::encode::{RowEncoder, encodable_field};
use atoll_wire::rows::{self, BatchBuilder, ColumnFormat};
use atoll_wire::{backend, oid};
use bytes::{BufMut as _, BytesMut};
use futures_util::StreamExt as _;
use tokio::runtime::Runtime;

/// A row as text; None is NULL.
pub type TextRow = Vec<Option<String>>;

/// An answer: column names with their type OIDs and modifiers, and rows.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub columns: Vec<(String, u32, i32)>,
    pub rows: Vec<TextRow>,
}

/// What the engine says.
#[derive(Debug)]
pub enum Ours {
    Answer(Answer),
    Refused(Unsupported),
    Failed(MergeError),
}

/// What PostgreSQL says.
#[derive(Debug)]
pub enum Theirs {
    Answer(Answer),
    /// SQLSTATE, message, detail.
    Failed(String, String, Option<String>),
}

/// A plain PostgreSQL with a temporary table `f`, whose rows are also here as Arrow.
pub struct Lab {
    pub client: Client,
    pub engine: Engine,
    pub runtime: Runtime,
    pub input: InputSchema,
    pub rows: Vec<RecordBatch>,
    /// More tables, and their rows.
    pub others: Vec<(InputSchema, Vec<RecordBatch>)>,
    _server: PlainServer,
}

impl Lab {
    pub fn start() -> Result<Self> {
        let server = PlainServer::start()?;
        let client = Client::connect(server.target(), "app")?;
        let mut client = client;
        // Plans that are told not to sort look dear, and dear plans would be compiled.
        client.simple("SET TimeZone = 'UTC'; SET jit = off")?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let engine = Engine::new(EngineOptions::default(), runtime.handle().clone());
        let input = InputSchema { name: "f".to_owned(), schema: Schema::empty(), columns: Vec::new() };
        Ok(Self { client, engine, runtime, input, rows: Vec::new(), others: Vec::new(), _server: server })
    }

    /// Runs statements that must succeed.
    pub fn sql(&mut self, sql: &str) -> Result<Vec<TextRow>> {
        let outcome = self.client.simple(sql)?;
        match &outcome.error {
            Some(error) => bail!("{error} in {sql}"),
            None => Ok(outcome.text_rows()),
        }
    }

    /// Makes the table `f` of these columns (`name type`) and rows, with `n` counting the rows last.
    pub fn load(&mut self, columns: &[&str], rows: &[TextRow]) -> Result<()> {
        self.sql("DROP TABLE IF EXISTS f")?;
        self.sql(&format!("CREATE TEMP TABLE f ({}, n int)", columns.join(", ")))?;
        for (chunk, rows) in rows.chunks(500).enumerate() {
            let tuple = |(index, row): (usize, &TextRow)| {
                let values: Vec<String> = row.iter().map(|value| literal(value.as_deref())).collect();
                format!("({}, {})", values.join(", "), chunk * 500 + index)
            };
            let tuples: Vec<String> = rows.iter().enumerate().map(tuple).collect();
            self.sql(&format!("INSERT INTO f VALUES {}", tuples.join(", ")))?;
        }
        self.fetch(&[])
    }

    /// Puts the table `f` aside under another name; merges can read it still.
    pub fn keep_as(&mut self, name: &str) -> Result<()> {
        self.sql(&format!("ALTER TABLE f RENAME TO {name}"))?;
        let input = InputSchema { name: name.to_owned(), ..self.input.clone() };
        self.others.push((input, std::mem::take(&mut self.rows)));
        Ok(())
    }

    /// Reads the table as fragments would arrive; `formats` by column, typed past its end.
    pub fn fetch(&mut self, formats: &[ColumnFormat]) -> Result<()> {
        let outcome = self.client.extended("SELECT * FROM f ORDER BY n", &[], true, None)?;
        let result = outcome.results.first().context("no result")?;
        let columns: Vec<backend::Column> = result.columns.iter().flatten().map(described).collect();
        let schema = rows::schema(&columns, formats);
        let mut builder = BatchBuilder::new(schema.clone().into())?;
        let mut batches = Vec::new();
        for row in &result.rows {
            let mut body = BytesMut::new();
            body.put_u16(u16::try_from(row.len())?);
            for field in row {
                match field {
                    None => body.put_i32(-1),
                    Some(bytes) => {
                        body.put_i32(i32::try_from(bytes.len())?);
                        body.put_slice(bytes);
                    }
                }
            }
            builder.push_row(&body)?;
            if builder.rows() == 64 {
                batches.push(builder.finish());
            }
        }
        batches.push(builder.finish());
        self.rows = batches;
        let facts = InputColumn { bytewise_collation: true, passed_on: false };
        self.input.columns = vec![facts; schema.fields().len()];
        self.input.schema = schema;
        Ok(())
    }

    /// `sql` in PostgreSQL.
    pub fn theirs(&mut self, sql: &str) -> Result<Theirs> {
        let outcome = self.client.extended(sql, &[], false, None)?;
        if let Some(error) = &outcome.error {
            let detail = error.field(b'D').map(str::to_owned);
            return Ok(Theirs::Failed(error.sqlstate().to_owned(), error.message().to_owned(), detail));
        }
        let columns = outcome.results.first().and_then(|result| result.columns.clone()).context("no columns")?;
        let columns = columns.into_iter().map(|column| (column.name, column.type_oid, column.type_modifier)).collect();
        Ok(Theirs::Answer(Answer { columns, rows: outcome.text_rows() }))
    }

    /// `sql` in the engine, the rows dealt to `partitions` streams.
    pub fn ours(&self, sql: &str, partitions: usize) -> Ours {
        self.ours_over(sql, &[], &[], self.streams(partitions))
    }

    pub fn streams(&self, partitions: usize) -> Vec<InputStream> {
        let mut dealt: Vec<Vec<Result<RecordBatch, InputError>>> = (0..partitions).map(|_| Vec::new()).collect();
        for (index, batch) in self.rows.iter().enumerate() {
            dealt[index % partitions].push(Ok(batch.clone()));
        }
        dealt.into_iter().map(|batches| Box::pin(tokio_stream::iter(batches)) as InputStream).collect()
    }

    pub fn ours_over(&self, sql: &str, types: &[u32], values: &[Parameter<'_>], streams: Vec<InputStream>) -> Ours {
        let others = self.others.iter().map(|(input, _)| input.clone());
        let inputs: Vec<InputSchema> = std::iter::once(self.input.clone()).chain(others).collect();
        let prepared = match self.engine.check(sql, &inputs, types) {
            Ok(prepared) => prepared,
            Err(refused) => return Ours::Refused(refused),
        };
        let bound = match prepared.bind(values) {
            Ok(bound) => bound,
            Err(refused) => return Ours::Refused(refused),
        };
        let others = self.others.iter().map(|(input, rows)| InputRows::of(input.name.clone(), rows.clone()));
        let own = InputRows { name: "f".to_owned(), streams, count: None };
        let stream = match self.engine.execute(&bound, std::iter::once(own).chain(others).collect()) {
            Ok(stream) => stream,
            Err(error) => return Ours::Failed(error),
        };
        self.collect(stream)
    }

    /// All rows of a merge.
    pub fn collect(&self, stream: MergeStream) -> Ours {
        let columns = (stream.schema().fields().iter())
            .map(|field| (field.name().clone(), rows::field_oid(field).unwrap_or(0), rows::field_typmod(field)))
            .collect();
        let collected = self.runtime.block_on(async {
            let mut stream = stream;
            let mut rows = Vec::new();
            while let Some(batch) = stream.next().await {
                rows.extend(print(&batch?));
            }
            Ok::<_, MergeError>(rows)
        });
        match collected {
            Ok(rows) => Ours::Answer(Answer { columns, rows }),
            Err(error) => Ours::Failed(error),
        }
    }

    /// Both sides answer `sql` alike; rows in any order unless `ordered`.
    pub fn compare(&mut self, sql: &str, partitions: usize, ordered: bool) -> Result<()> {
        match self.ours(sql, partitions) {
            Ours::Refused(refused) => bail!("refused: {refused}\n  in {sql}"),
            ours => self.compare_with(sql, ours, ordered),
        }
    }

    /// [`Lab::compare`], in order, of what the engine takes; whether it does.
    pub fn compare_if_taken(&mut self, sql: &str, partitions: usize) -> Result<bool> {
        match self.ours(sql, partitions) {
            Ours::Refused(refused) => {
                println!("{refused}: {sql}");
                Ok(false)
            }
            ours => self.compare_with(sql, ours, true).map(|()| true),
        }
    }

    /// PostgreSQL answers `sql` as `ours` does.
    pub fn compare_with(&mut self, sql: &str, ours: Ours, ordered: bool) -> Result<()> {
        match (ours, self.theirs(sql)?) {
            (Ours::Answer(mut ours), Theirs::Answer(mut theirs)) => {
                if !ordered {
                    ours.rows.sort();
                    theirs.rows.sort();
                }
                ensure!(
                    ours.columns == theirs.columns,
                    "columns\n  ours   {:?}\n  theirs {:?}\n  in {sql}",
                    ours.columns,
                    theirs.columns
                );
                ensure!(
                    ours.rows.len() == theirs.rows.len(),
                    "{} rows, theirs {}\n  in {sql}",
                    ours.rows.len(),
                    theirs.rows.len()
                );
                for (ours, theirs) in ours.rows.iter().zip(&theirs.rows) {
                    ensure!(ours == theirs, "rows\n  ours   {ours:?}\n  theirs {theirs:?}\n  in {sql}");
                }
            }
            (Ours::Failed(MergeError::Sql(ours)), Theirs::Failed(sqlstate, message, detail)) => {
                ensure!(
                    ours.sqlstate == sqlstate && ours.message == message && ours.detail == detail,
                    "errors\n  ours   {ours:?}\n  theirs {sqlstate} {message} {detail:?}\n  in {sql}"
                );
            }
            (ours, theirs) => bail!("ours {ours:?}\n  theirs {theirs:?}\n  in {sql}"),
        }
        Ok(())
    }
}

fn described(column: &Column) -> backend::Column {
    backend::Column {
        name: column.name.clone(),
        table_oid: column.table_oid,
        attribute: column.attribute,
        type_oid: column.type_oid,
        type_len: column.type_size,
        typmod: column.type_modifier,
        format: column.format,
    }
}

/// A batch's rows as a client in time zone UTC would see them.
pub fn print(batch: &RecordBatch) -> Vec<TextRow> {
    let zoned: Vec<bool> =
        batch.schema().fields().iter().map(|field| rows::field_oid(field) == Some(oid::TIMESTAMPTZ)).collect();
    // The encoder leaves time zones to others.
    let fields: Vec<Field> = (batch.schema().fields().iter().zip(&zoned))
        .map(|(field, zoned)| {
            let type_oid = if *zoned { oid::TIMESTAMP } else { rows::field_oid(field).unwrap_or(0) };
            let format = rows::field_format(field).unwrap_or(ColumnFormat::Typed);
            rows::field(field.name(), type_oid, -1, format)
        })
        .collect();
    let schema = Schema::new(fields);
    let formats: Vec<i16> = schema.fields().iter().map(|field| i16::from(!encodable_field(field, 0))).collect();
    let encoder = RowEncoder::new(&schema, &formats).expect("the engine's columns are printable");
    let mut rows = Vec::new();
    for row in 0..batch.num_rows() {
        let mut out = BytesMut::new();
        encoder.encode_range(batch, row..row + 1, &mut out).expect("a row is printable");
        // Tag and length, then the body.
        let mut fields = backend::decode::data_row(&out[5..]).expect("an encoded row can be read");
        let mut values = Vec::new();
        for zoned in &zoned {
            let field = fields.next_field().expect("an encoded field can be read").flatten();
            let text = field.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            values.push(text.map(|text| if *zoned && !text.ends_with("infinity") { text + "+00" } else { text }));
        }
        rows.push(values);
    }
    rows
}

/// A string literal, or NULL.
pub fn literal(value: Option<&str>) -> String {
    match value {
        None => "NULL".to_owned(),
        Some(text) => format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
    }
}
