use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::error::{Error, ErrorKind, Result};

/// Rows and encoded bytes of a row group, at most: it is in memory until it is whole.
const GROUP_ROWS: usize = 1 << 20;
const GROUP_BYTES: usize = 32 << 20;

pub(crate) struct Parquet(ArrowWriter<Vec<u8>>);

impl Parquet {
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_max_row_group_bytes(Some(GROUP_BYTES))
            .set_created_by(concat!("sportlake ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties));
        Ok(Self(writer.map_err(failed)?))
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        self.0.write(batch).map_err(failed)?;
        self.0.sync().map_err(|error| failed(error.into()))?;
        Ok(std::mem::take(self.0.inner_mut()))
    }

    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        self.0.into_inner().map_err(failed)
    }
}

fn failed(error: ParquetError) -> Error {
    Error::new(
        ErrorKind::Internal,
        "the rows could not be written as Parquet",
    )
    .caused_by(error)
}

#[cfg(test)]
mod tests;
