//! Batches as the bytes of an Arrow IPC stream, and back.

use std::collections::VecDeque;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, Schema, SchemaRef};
use bytes::Bytes;

/// Writes one Arrow IPC stream, chunk by chunk.
pub struct IpcWriter {
    writer: StreamWriter<Vec<u8>>,
}

impl IpcWriter {
    /// Starts a stream; the schema goes out with the first chunk.
    ///
    /// # Errors
    /// When the schema cannot be encoded.
    pub fn new(schema: &Schema) -> Result<Self, ArrowError> {
        Ok(Self { writer: StreamWriter::try_new(Vec::new(), schema)? })
    }

    /// The bytes of `batch`, preceded by whatever was not taken yet (at first the schema).
    ///
    /// # Errors
    /// When the batch does not have the stream's schema.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, ArrowError> {
        self.writer.write(batch)?;
        Ok(self.take())
    }

    /// What was written and not taken yet: right after [`IpcWriter::new`], the schema.
    pub fn take(&mut self) -> Bytes {
        Bytes::from(std::mem::take(self.writer.get_mut()))
    }

    /// The end of the stream (with the schema, when nothing was taken before).
    ///
    /// # Errors
    /// When the stream had been finished before.
    pub fn finish(&mut self) -> Result<Bytes, ArrowError> {
        self.writer.finish()?;
        Ok(self.take())
    }
}

/// Reads one Arrow IPC stream from chunks of any size.
#[derive(Default)]
pub struct IpcReader {
    decoder: StreamDecoder,
    chunks: VecDeque<Buffer>,
}

impl IpcReader {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next bytes of the stream.
    pub fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.chunks.push_back(Buffer::from(chunk));
        }
    }

    /// The next batch; None until more bytes come.
    ///
    /// # Errors
    /// When the bytes are not an Arrow IPC stream. The reader must be dropped then.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        while let Some(chunk) = self.chunks.front_mut() {
            let batch = self.decoder.decode(chunk)?;
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
            if batch.is_some() {
                return Ok(batch);
            }
        }
        Ok(None)
    }

    /// The stream's schema, once it was read (by [`IpcReader::next_batch`]).
    pub fn schema(&self) -> Option<SchemaRef> {
        self.decoder.schema()
    }

    /// Checks that the stream ended where a message ends.
    ///
    /// # Errors
    /// When it was cut short.
    pub fn finish(&mut self) -> Result<(), ArrowError> {
        self.decoder.finish()
    }
}
