use std::fs::File;
use std::io::Read;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;

use crate::csv::Csv;
use crate::error::{Result, temporary};
use crate::format::Format;
use crate::parquet::Parquet;
use crate::xlsx::Xlsx;

/// Bytes of a file that are sent at once.
const CHUNK: usize = 256 << 10;

/// Batches in, bytes out.
pub(crate) enum Encoder {
    Csv(Csv),
    Parquet(Box<Parquet>),
    Xlsx(Box<Xlsx>),
}

/// What is left to send after the last batch.
pub(crate) enum Rest {
    Bytes(Vec<u8>),
    File(File),
}

impl Encoder {
    pub(crate) fn new(schema: &SchemaRef, format: Format) -> Result<Self> {
        Ok(match format {
            Format::Csv(options) => Self::Csv(Csv::new(schema, options)),
            Format::Parquet => Self::Parquet(Box::new(Parquet::new(schema)?)),
            Format::Xlsx => Self::Xlsx(Box::new(Xlsx::new(schema)?)),
        })
    }

    /// What can be sent after this batch; nothing where it cannot be sent yet.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<Bytes> {
        Ok(match self {
            Self::Csv(csv) => csv.write(batch)?.into(),
            Self::Parquet(parquet) => parquet.write(batch)?.into(),
            Self::Xlsx(xlsx) => {
                xlsx.write(batch)?;
                Bytes::new()
            }
        })
    }

    pub(crate) fn finish(self) -> Result<Rest> {
        Ok(match self {
            Self::Csv(csv) => Rest::Bytes(csv.finish()),
            Self::Parquet(parquet) => Rest::Bytes(parquet.finish()?),
            Self::Xlsx(xlsx) => Rest::File(xlsx.finish()?),
        })
    }
}

impl Rest {
    /// The next bytes; nothing at the end.
    pub(crate) fn next(&mut self) -> Result<Bytes> {
        match self {
            Self::Bytes(bytes) => Ok(std::mem::take(bytes).into()),
            Self::File(file) => {
                let mut chunk = Vec::with_capacity(CHUNK);
                let mut part = file.take(CHUNK as u64);
                part.read_to_end(&mut chunk).map_err(temporary)?;
                Ok(chunk.into())
            }
        }
    }
}
