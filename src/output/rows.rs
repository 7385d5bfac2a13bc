use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use comfy_table::{CellAlignment, Table};
use futures::{Stream, StreamExt};

use super::{Format, empty_table, stdout};

/// Rows of one printed table. Column widths are fitted to this many rows at a time, so that memory stays bounded.
const TABLE_ROWS: usize = 10_000;

/// Prints a query's result as it arrives and returns the number of rows.
pub(crate) async fn rows<E>(
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch, E>>,
    format: Format,
) -> anyhow::Result<u64>
where
    engine::Error: From<E>,
{
    let mut batches = std::pin::pin!(batches);
    let mut printer = Printer::new(schema, format);
    let mut count = 0;
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(engine::Error::from)?;
        count += batch.num_rows() as u64;
        printer.write(&batch).map_err(unprintable)?;
    }
    printer.finish(count)?;
    Ok(count)
}

/// Prints rows that are at hand as a table.
pub(crate) fn batch(rows: &RecordBatch) -> anyhow::Result<()> {
    let mut table = TablePrinter::new(rows.schema());
    table.write(rows).map_err(unprintable)?;
    table.print()
}

/// A day that no calendar shows is in the data, not in this program.
fn unprintable(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<ArrowError>() {
        Ok(error) => engine::Error::invalid("the result holds a value that cannot be printed")
            .hint("Leave it out, or cast a date to INT and a timestamp to BIGINT.")
            .caused_by(error)
            .into(),
        Err(error) => error,
    }
}

/// Rows that are at hand as a JSON list.
pub(crate) fn json_rows(rows: &RecordBatch) -> anyhow::Result<serde_json::Value> {
    let mut writer = arrow::json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::JsonArray>(Vec::new());
    let written = writer.write(rows).and_then(|()| writer.finish());
    written.map_err(|error| unprintable(error.into()))?;
    let json = writer.into_inner();
    match json.is_empty() {
        true => Ok(serde_json::Value::Array(Vec::new())),
        false => Ok(serde_json::from_slice(&json)?),
    }
}

enum Printer {
    Table(Box<TablePrinter>),
    Json(arrow::json::ArrayWriter<Vec<u8>>),
    Csv(CsvPrinter),
}

impl Printer {
    fn new(schema: SchemaRef, format: Format) -> Self {
        match format {
            Format::Table => Self::Table(Box::new(TablePrinter::new(schema))),
            Format::Json => Self::Json(
                arrow::json::WriterBuilder::new()
                    .with_explicit_nulls(true)
                    .build(Vec::new()),
            ),
            Format::Csv => Self::Csv(CsvPrinter::new(schema)),
        }
    }

    fn write(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        match self {
            Self::Table(table) => table.write(batch),
            Self::Json(writer) => {
                writer.write(batch)?;
                flush(writer.get_mut())
            }
            Self::Csv(csv) => csv.write(batch),
        }
    }

    fn finish(self, count: u64) -> anyhow::Result<()> {
        match self {
            Self::Table(mut table) => table.finish(count),
            Self::Json(mut writer) => {
                writer.finish()?;
                writer.get_mut().push(b'\n');
                flush(writer.get_mut())
            }
            Self::Csv(csv) => csv.finish(),
        }
    }
}

/// Sends what a writer has put into memory to standard output. The lock is held for one batch only.
fn flush(buffer: &mut Vec<u8>) -> anyhow::Result<()> {
    let mut out = stdout();
    out.write_all(buffer)?;
    buffer.clear();
    Ok(out.flush()?)
}

struct TablePrinter {
    schema: SchemaRef,
    table: Table,
    rows: usize,
    printed: bool,
}

impl TablePrinter {
    fn new(schema: SchemaRef) -> Self {
        Self {
            table: table_of(&schema),
            schema,
            rows: 0,
            printed: false,
        }
    }

    fn write(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        let options = FormatOptions::default().with_null("NULL");
        let columns = formatters(batch, &options)?;
        for row in 0..batch.num_rows() {
            let cells: Result<Vec<String>, ArrowError> = columns
                .iter()
                .map(|column| column.value(row).try_to_string())
                .collect();
            self.table.add_row(cells?);
            self.rows += 1;
            if self.rows == TABLE_ROWS {
                self.print()?;
            }
        }
        Ok(())
    }

    fn print(&mut self) -> anyhow::Result<()> {
        let mut out = stdout();
        writeln!(out, "{}", self.table)?;
        self.table = table_of(&self.schema);
        self.rows = 0;
        self.printed = true;
        Ok(out.flush()?)
    }

    fn finish(&mut self, count: u64) -> anyhow::Result<()> {
        if self.rows > 0 || !self.printed {
            self.print()?;
        }
        let noun = if count == 1 { "row" } else { "rows" };
        Ok(super::line(&format!("{count} {noun}"))?)
    }
}

fn table_of(schema: &Schema) -> Table {
    empty_table(schema.fields().iter().map(|field| {
        let alignment = if field.data_type().is_numeric() {
            CellAlignment::Right
        } else {
            CellAlignment::Left
        };
        (field.name().as_str(), alignment)
    }))
}

struct CsvPrinter {
    schema: SchemaRef,
    started: bool,
}

impl CsvPrinter {
    fn new(schema: SchemaRef) -> Self {
        Self {
            schema,
            started: false,
        }
    }

    fn write(&mut self, batch: &RecordBatch) -> anyhow::Result<()> {
        let mut buffer = Vec::new();
        arrow::csv::WriterBuilder::new()
            .with_header(!self.started)
            .build(&mut buffer)
            .write(&flat(batch)?)?;
        self.started = true;
        flush(&mut buffer)
    }

    /// A result without rows still has its header.
    fn finish(mut self) -> anyhow::Result<()> {
        if self.started {
            return Ok(());
        }
        let header = RecordBatch::new_empty(self.schema.clone());
        self.write(&header)
    }
}

/// The batch with lists, structs and maps as text, which is all that CSV can hold.
fn flat(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if field.data_type().is_nested() {
            fields.push(Field::new(field.name(), DataType::Utf8, true));
            columns.push(Arc::new(text(column)?));
        } else {
            fields.push(field.as_ref().clone());
            columns.push(Arc::clone(column));
        }
    }
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

fn text(column: &dyn Array) -> Result<StringArray, ArrowError> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column, &options)?;
    (0..column.len())
        .map(|row| match column.is_null(row) {
            true => Ok(None),
            false => formatter.value(row).try_to_string().map(Some),
        })
        .collect()
}

fn formatters<'a>(
    batch: &'a RecordBatch,
    options: &'a FormatOptions<'a>,
) -> Result<Vec<ArrayFormatter<'a>>, ArrowError> {
    batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), options))
        .collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::Date32Array;

    use super::*;

    #[test]
    fn a_day_that_no_calendar_shows_is_not_this_programs_fault() {
        let days: ArrayRef = Arc::new(Date32Array::from(vec![2_146_033_979]));
        let rows = RecordBatch::try_from_iter([("fin", days)]).expect("a row");
        let error = batch(&rows).expect_err("a day in 5 877 000 or so");
        let error = error.downcast::<engine::Error>().expect("one of ours");
        assert_eq!(error.kind(), engine::ErrorKind::InvalidRequest);
        assert!(error.hint_text().is_some());
    }
}
