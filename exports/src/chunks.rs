use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::stream::try_unfold;
use futures::{Stream, StreamExt};
use tokio::task::spawn_blocking;

use crate::encoder::{Encoder, Rest};
use crate::error::{Error, ErrorKind, Result};
use crate::format::Format;

/// How far an export is.
enum Stage {
    Begun(SchemaRef, Format),
    Encoding(Encoder),
    Ending(Rest),
}

/// The file that the batches make, piece by piece. Every batch has the schema given.
///
/// A piece is made when it is asked for, beside the runtime's threads; dropping the stream ends the export. CSV and
/// Parquet come as the batches do, so that a fault may come after bytes that were sent: whoever has them must learn that
/// they are not whole. A workbook comes when it is whole.
///
/// # Errors
/// Those of the batches. `ResourceExhausted` for more rows, columns or text than a sheet holds, and for a full disk;
/// `InvalidRequest` for a value that the format cannot hold.
pub fn chunks<S, E>(
    batches: S,
    schema: SchemaRef,
    format: Format,
) -> impl Stream<Item = Result<Bytes, E>> + Send
where
    S: Stream<Item = Result<RecordBatch, E>> + Send,
    E: From<Error> + Send,
{
    let begun = (Box::pin(batches), Stage::Begun(schema, format));
    try_unfold(begun, |(mut batches, mut stage)| async move {
        loop {
            let bytes;
            (bytes, stage) = match stage {
                Stage::Begun(schema, format) => {
                    let encoder = beside(move || Encoder::new(&schema, format)).await?;
                    (Bytes::new(), Stage::Encoding(encoder))
                }
                Stage::Encoding(mut encoder) => match batches.next().await {
                    Some(batch) => {
                        let batch = batch?;
                        beside(move || {
                            let bytes = encoder.write(&batch)?;
                            Ok((bytes, Stage::Encoding(encoder)))
                        })
                        .await?
                    }
                    None => {
                        let rest = beside(move || encoder.finish()).await?;
                        (Bytes::new(), Stage::Ending(rest))
                    }
                },
                Stage::Ending(mut rest) => {
                    let (bytes, rest) = beside(move || Ok((rest.next()?, rest))).await?;
                    if bytes.is_empty() {
                        return Ok(None);
                    }
                    (bytes, Stage::Ending(rest))
                }
            };
            if !bytes.is_empty() {
                return Ok(Some((bytes, (batches, stage))));
            }
        }
    })
}

/// Where work that takes a while holds nobody up.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.map_err(|error| {
        // What writes workbooks does not survive a disk that fails.
        Error::new(ErrorKind::Unavailable, "the export broke off")
            .hint("Look whether the system's folder for temporary files is full, and try again.")
            .caused_by(error)
    })?
}

#[cfg(test)]
mod tests;
