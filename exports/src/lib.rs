//! Rows as the files that people open elsewhere: CSV, Parquet, XLSX.
//!
//! `schema + stream of RecordBatch -> chunks -> stream of bytes`. Who asks for the rows applies the policies and decides
//! where the bytes go: a file, a pipe, a response.
//!
//! Promises: memory is that of one batch and of one row group, however many rows there are; a chunk is made when it is
//! asked for; a workbook is made in a temporary file and sent when it is whole, so that what Excel could not open is
//! refused before its first byte. Text in a cell is never a formula.

mod chunks;
mod csv;
mod encoder;
mod error;
mod format;
mod formula;
mod parquet;
mod xlsx;

pub use chunks::chunks;
pub use error::{Error, ErrorKind, Result};
pub use format::{CsvOptions, Format, Separator};
