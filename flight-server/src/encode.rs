//! From a stream of record batches to Flight messages of a size every client takes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use arrow::array::{Array, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_flight::encode::{FlightDataEncoder, FlightDataEncoderBuilder};
use arrow_flight::error::FlightError;
use arrow_flight::{FlightData, IpcMessage, SchemaAsIpc};
use arrow_flight::{error, utils::batches_to_flight_data};
use bytes::Bytes;
use engine::{Error, ErrorKind, Result};
use futures::{Stream, StreamExt};
use tonic::Status;

use crate::profile::Profile;
use crate::{columns, errors, metrics};

/// Messages stay below this, for clients that refuse more than 4 MiB; a single row may be larger.
const MAX_BATCH_BYTES: usize = 2 * 1024 * 1024 - 64 * 1024;
/// Smaller batches are joined up to this size or this many rows, for throughput.
const TARGET_BATCH_BYTES: usize = 1024 * 1024;
const TARGET_BATCH_ROWS: usize = 64 * 1024;
/// How long rows wait for more to join them.
const LINGER: Duration = Duration::from_millis(20);

/// What a `DoGet` answers with.
pub(crate) type DataStream = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send>>;

/// The schema that the stream of a statement with this schema will have, to the last detail:
/// clients compare the two.
pub(crate) fn wire_schema(schema: &Schema, profile: Profile) -> SchemaRef {
    let described = columns::of_result(&profile.schema(schema));
    let nothing = futures::stream::empty::<error::Result<RecordBatch>>();
    FlightDataEncoderBuilder::new()
        .with_schema(described.clone())
        .build(nothing)
        .known_schema()
        .unwrap_or(described)
}

/// A schema as an encapsulated IPC message.
pub(crate) fn schema_bytes(schema: &Schema) -> Result<Bytes> {
    let IpcMessage(bytes) = SchemaAsIpc::new(schema, &Default::default())
        .try_into()
        .map_err(internal)?;
    Ok(bytes)
}

/// A batch as the messages that a client would send.
pub(crate) fn row_messages(batch: RecordBatch) -> Result<Vec<FlightData>> {
    batches_to_flight_data(&batch.schema(), vec![batch]).map_err(internal)
}

/// Encodes batches under `schema`, which is theirs with the metadata for clients.
pub(crate) fn encoded<S, E>(schema: SchemaRef, batches: S) -> FlightDataEncoder
where
    S: Stream<Item = Result<RecordBatch, E>> + Send + Unpin + 'static,
    Error: From<E>,
    E: Send,
{
    let shaped = futures::stream::unfold(Shaped::new(batches), |mut shaped| async move {
        let item = shaped.next().await?;
        Some((item, shaped))
    });
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        // The shaper cuts by what rows really take; the encoder only by their average.
        .with_max_flight_data_size(usize::MAX)
        .build(shaped)
}

/// A whole answer that is at hand.
pub(crate) fn answer(batch: RecordBatch) -> DataStream {
    let schema = batch.schema();
    let batches = futures::stream::iter([Ok::<_, Error>(batch)]);
    Box::pin(encoded(schema, batches).map(|item| item.map_err(encoding_status)))
}

/// The status of an error that came through the encoder.
pub(crate) fn encoding_status(error: FlightError) -> Status {
    errors::status(encoding_error(error))
}

/// An error that came through the encoder: that of the statement, or the encoder's own.
pub(crate) fn encoding_error(error: FlightError) -> Error {
    let broken = || Error::new(ErrorKind::Internal, "the result cannot be encoded");
    match error {
        FlightError::ExternalError(inner) => match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(other) => broken().caused_by(other),
        },
        other => broken().caused_by(other),
    }
}

fn internal(error: ArrowError) -> Error {
    Error::new(ErrorKind::Internal, "a schema or row cannot be encoded").caused_by(error)
}

/// Batches of the right size from batches of any size.
struct Shaped<S> {
    input: S,
    waiting: Vec<RecordBatch>,
    waiting_rows: usize,
    waiting_bytes: usize,
    ready: VecDeque<RecordBatch>,
    ended: bool,
}

impl<S, E> Shaped<S>
where
    S: Stream<Item = Result<RecordBatch, E>> + Unpin,
    Error: From<E>,
{
    fn new(input: S) -> Self {
        Self {
            input,
            waiting: Vec::new(),
            waiting_rows: 0,
            waiting_bytes: 0,
            ready: VecDeque::new(),
            ended: false,
        }
    }

    async fn next(&mut self) -> Option<error::Result<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Some(Ok(batch));
            }
            if self.ended {
                return None;
            }
            let next = if self.waiting.is_empty() {
                Ok(self.input.next().await)
            } else {
                tokio::time::timeout(LINGER, self.input.next()).await
            };
            let moved = match next {
                Ok(Some(Ok(batch))) => {
                    metrics::observe_rows(batch.num_rows());
                    self.push(batch)
                }
                Ok(Some(Err(error))) => {
                    self.ended = true;
                    let error = Box::new(Error::from(error));
                    return Some(Err(FlightError::ExternalError(error)));
                }
                Ok(None) => {
                    self.ended = true;
                    self.flush()
                }
                Err(_lingered) => self.flush(),
            };
            if let Err(error) = moved {
                self.ended = true;
                return Some(Err(FlightError::Arrow(error)));
            }
        }
    }

    fn push(&mut self, batch: RecordBatch) -> Result<(), ArrowError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let bytes = occupied_bytes(&batch)?;
        if self.waiting_bytes + bytes > MAX_BATCH_BYTES {
            self.flush()?;
        }
        if bytes > MAX_BATCH_BYTES {
            return split(batch, &mut self.ready);
        }
        self.waiting_rows += batch.num_rows();
        self.waiting_bytes += bytes;
        self.waiting.push(batch);
        if self.waiting_bytes >= TARGET_BATCH_BYTES || self.waiting_rows >= TARGET_BATCH_ROWS {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ArrowError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_rows = 0;
        self.waiting_bytes = 0;
        match waiting.as_slice() {
            [] => {}
            [batch] => self.ready.push_back(batch.clone()),
            [first, ..] => self
                .ready
                .push_back(concat_batches(&first.schema(), &waiting)?),
        }
        Ok(())
    }
}

/// Halves until every piece is small enough or one row.
fn split(batch: RecordBatch, pieces: &mut VecDeque<RecordBatch>) -> Result<(), ArrowError> {
    let mut stack = vec![batch];
    while let Some(batch) = stack.pop() {
        let rows = batch.num_rows();
        if rows <= 1 || occupied_bytes(&batch)? <= MAX_BATCH_BYTES {
            pieces.push_back(batch);
        } else {
            let half = rows / 2;
            stack.push(batch.slice(half, rows - half));
            stack.push(batch.slice(0, half));
        }
    }
    Ok(())
}

/// What the rows of a batch take on the wire, not what the buffers behind them hold.
fn occupied_bytes(batch: &RecordBatch) -> Result<usize, ArrowError> {
    let mut bytes = 0;
    for column in batch.columns() {
        bytes += column.to_data().get_slice_memory_size()?;
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "encode/tests.rs"]
mod tests;
