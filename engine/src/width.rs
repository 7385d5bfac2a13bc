//! How wide rows are: batches are bounded by bytes, not only by rows, since a value may be as large as a message.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::Array;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use object_store::ObjectStoreExt;
use parking_lot::Mutex;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use crate::delta::DataFile;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;

/// Rows of a batch, where they are not wide.
pub(crate) const BATCH_ROWS: usize = 8_192;

/// Bytes that a batch has in memory, about and unless one row has more.
pub(crate) const BATCH_BYTES: u64 = 16 << 20;

/// Bytes written at once: a page of a data file is about as large at most, and is read in whole.
const WRITTEN_BYTES: usize = 1 << 20;

/// Bytes read at the end of a file, where its footer is.
const FOOTER_BYTES: u64 = 64 << 10;

/// Files whose width is remembered.
const REMEMBERED: usize = 65_536;

/// What data files say of themselves; they never change. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Widths(Arc<Mutex<HashMap<String, Width>>>);

/// The rows of a data file as they are in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Width {
    /// Bytes of an average row, in the part of the file where they are widest.
    pub(crate) of_row: u64,
    /// Bytes of all rows.
    pub(crate) of_all: u64,
}

impl Lake {
    /// How wide the rows of a table's data file are.
    pub(crate) async fn width(&self, table: &str, file: &DataFile) -> Result<Width> {
        let path = format!("{table}/{}", file.path);
        if let Some(width) = self.widths().0.lock().get(&path) {
            return Ok(*width);
        }
        let width = width_of(&self.footer(&path, file.bytes).await?);
        let widths = self.widths();
        let mut known = widths.0.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(path, width);
        Ok(width)
    }

    /// How many rows of these files a batch may have. A file that cannot be read is left to whoever reads it.
    pub(crate) async fn batch_rows(&self, table: &str, files: &[DataFile]) -> usize {
        let mut rows = BATCH_ROWS;
        for file in files {
            if let Ok(width) = self.width(table, file).await {
                rows = rows.min(rows_of(width.of_row));
            }
        }
        rows
    }

    async fn footer(&self, path: &str, size: u64) -> Result<ParquetMetaData> {
        let location = self.path(path)?;
        let mut reader = ParquetMetaDataReader::new();
        let mut wanted = FOOTER_BYTES.min(size);
        loop {
            let end: Bytes = self
                .store()
                .get_range(&location, size - wanted..size)
                .await?;
            match reader.try_parse_sized(&end, size) {
                Ok(()) => return reader.finish().map_err(|error| unreadable(path, error)),
                Err(ParquetError::NeedMoreData(needed)) if (needed as u64) > wanted => {
                    wanted = (needed as u64).min(size);
                    if end.len() as u64 == size {
                        return Err(unreadable(path, ParquetError::NeedMoreData(needed)));
                    }
                }
                Err(error) => return Err(unreadable(path, error)),
            }
        }
    }
}

/// Rows of this many bytes that make a batch.
pub(crate) fn rows_of(bytes: u64) -> usize {
    let rows = BATCH_BYTES / bytes.max(1);
    usize::try_from(rows).map_or(BATCH_ROWS, |rows| rows.clamp(1, BATCH_ROWS))
}

/// Bytes that the rows of a batch take, what it shares with others left out.
pub(crate) fn bytes_of(batch: &RecordBatch) -> usize {
    let columns = batch.columns().iter();
    let bytes = columns.map(|column| column.to_data().get_slice_memory_size().unwrap_or(0));
    bytes.sum()
}

/// The rows of a batch in parts that are no wider than what is written at once.
pub(crate) fn parts(batch: &RecordBatch) -> Vec<RecordBatch> {
    let mut parts = Vec::new();
    let mut pending = vec![batch.clone()];
    while let Some(batch) = pending.pop() {
        let rows = batch.num_rows();
        if rows <= 1 || bytes_of(&batch) <= WRITTEN_BYTES {
            parts.push(batch);
        } else {
            pending.push(batch.slice(rows / 2, rows - rows / 2));
            pending.push(batch.slice(0, rows / 2));
        }
    }
    parts
}

/// Texts count as they are read: what is written once for many rows is in memory once for each.
fn width_of(footer: &ParquetMetaData) -> Width {
    let mut width = Width::default();
    for group in footer.row_groups() {
        let columns = group.columns().iter().map(|column| {
            let written = column.uncompressed_size();
            let read = column.unencoded_byte_array_data_bytes().unwrap_or(0);
            u64::try_from(written.max(read)).unwrap_or(0)
        });
        let bytes: u64 = columns.sum();
        let rows = u64::try_from(group.num_rows()).unwrap_or(0).max(1);
        width.of_row = width.of_row.max(bytes.div_ceil(rows));
        width.of_all += bytes;
    }
    width
}

fn unreadable(path: &str, source: ParquetError) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("the data file \"{path}\" cannot be read"),
    )
    .caused_by(source)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn a_batch_is_as_large_as_its_rows_allow() {
        assert_eq!(rows_of(0), BATCH_ROWS);
        assert_eq!(rows_of(100), BATCH_ROWS);
        assert_eq!(rows_of(1 << 20), 16);
        assert_eq!(rows_of(1 << 30), 1);
    }

    #[test]
    fn wide_rows_are_written_a_few_at_a_time() {
        let text = "x".repeat(400_000);
        let texts: StringArray = (0..10).map(|_| Some(text.as_str())).collect();
        let ids: Int64Array = (0..10).collect();
        let columns: [(&str, ArrayRef); 2] = [("id", Arc::new(ids)), ("t", Arc::new(texts))];
        let batch = RecordBatch::try_from_iter(columns).expect("a batch");
        let parts = parts(&batch);
        assert!(
            parts.iter().all(|part| part.num_rows() <= 2),
            "{}",
            parts.len()
        );
        let again = arrow::compute::concat_batches(&batch.schema(), &parts).expect("a batch");
        assert_eq!(again, batch, "in the same order");
        assert_eq!(super::parts(&batch.slice(0, 1)).len(), 1);
    }
}
