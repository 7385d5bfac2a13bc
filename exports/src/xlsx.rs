use std::fs::File;
use std::io::{Seek, SeekFrom};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Field, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use rust_xlsxwriter::{Format, Workbook, Worksheet, XlsxError};

use crate::error::{Error, ErrorKind, Result, temporary, unwritable};
use crate::formula;

/// What a sheet holds, the header included.
const MOST_ROWS: u64 = 1_048_576;
const MOST_COLUMNS: usize = 16_384;

/// UTF-16 units of a cell.
const LONGEST_TEXT: usize = 32_767;

/// Digits that Excel keeps of a number.
const EXACT_DIGITS: usize = 15;

/// Excel counts days from the end of 1899, and one that never was in 1900: dates are dates from March on, to 9999.
const EPOCH_DAYS: f64 = 25_569.0;
const DATES: std::ops::Range<f64> = 61.0..2_958_466.0;

const DAY_MICROSECONDS: f64 = 86_400_000_000.0;

/// Widths of columns, in letters.
const NARROWEST: usize = 8;
const WIDEST: usize = 60;

/// One sheet that grows in a temporary file.
pub(crate) struct Xlsx {
    workbook: Workbook,
    columns: Vec<Column>,
    armoured: Format,
    rows: u64,
}

struct Column {
    name: String,
    kind: Kind,
    format: Format,
    width: usize,
}

/// What the cells of a column are to Excel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Boolean,
    Number,
    Date,
    Time,
    Text,
}

impl Xlsx {
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self> {
        if schema.fields().len() > MOST_COLUMNS {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!("a sheet has no more than {MOST_COLUMNS} columns"),
            )
            .hint("Name the columns that are needed, or choose CSV or Parquet."));
        }
        let mut workbook = Workbook::new();
        let sheet = workbook.add_worksheet_with_constant_memory();
        let sheet = sheet.map_err(failed)?;
        sheet.set_freeze_panes(1, 0).map_err(failed)?;
        let columns: Vec<Column> = schema.fields().iter().map(|field| column(field)).collect();
        let bold = Format::new().set_bold().set_quote_prefix();
        for (at, column) in (0..).zip(&columns) {
            check_length(&column.name, &column.name)?;
            let written = sheet.write_string_with_format(0, at, &column.name, &bold);
            written.map_err(failed)?;
        }
        Ok(Self {
            workbook,
            columns,
            armoured: Format::new().set_quote_prefix(),
            rows: 1,
        })
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let first = self.rows;
        self.rows += batch.num_rows() as u64;
        if self.rows > MOST_ROWS {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!("there are more rows than the {} of a sheet", MOST_ROWS - 1),
            )
            .hint("Ask for fewer rows, with WHERE or LIMIT, or choose CSV or Parquet."));
        }
        let first = u32::try_from(first).expect("rows of a sheet");
        let sheet = self.workbook.worksheet_from_index(0).map_err(failed)?;
        let cells: Vec<Cells<'_>> = self
            .columns
            .iter()
            .zip(batch.columns())
            .map(|(column, array)| Cells::of(column, array.as_ref()))
            .collect::<Result<_>>()?;
        // Row by row, as they leave memory.
        let mut text = String::new();
        let mut widths: Vec<usize> = self.columns.iter().map(|column| column.width).collect();
        for row in 0..batch.num_rows() {
            for (at, cells) in cells.iter().enumerate() {
                if cells.array.is_null(row) {
                    continue;
                }
                let place = Place {
                    row: first + u32::try_from(row).expect("rows of a sheet"),
                    column: u16::try_from(at).expect("columns of a sheet"),
                };
                let width = cells.write(sheet, place, row, &self.armoured, &mut text)?;
                widths[at] = widths[at].max(width);
            }
        }
        drop(cells);
        for (column, width) in self.columns.iter_mut().zip(widths) {
            column.width = width;
        }
        Ok(())
    }

    /// The whole file, from its start.
    pub(crate) fn finish(mut self) -> Result<File> {
        let sheet = self.workbook.worksheet_from_index(0).map_err(failed)?;
        for (at, column) in (0..).zip(&self.columns) {
            let width = column.width.clamp(NARROWEST, WIDEST) + 2;
            let width = u16::try_from(width).expect("clamped");
            sheet.set_column_width(at, width).map_err(failed)?;
        }
        let mut file = tempfile::tempfile().map_err(temporary)?;
        self.workbook.save_to_writer(&mut file).map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(temporary)?;
        Ok(file)
    }
}

#[derive(Clone, Copy)]
struct Place {
    row: u32,
    column: u16,
}

/// A column of a batch, and how it is written.
struct Cells<'a> {
    column: &'a Column,
    array: &'a dyn Array,
    /// Of dates and times: days, or microseconds.
    moments: Option<arrow::array::ArrayRef>,
    formatter: ArrayFormatter<'a>,
}

const DISPLAY: FormatOptions<'static> = FormatOptions::new().with_display_error(false);

impl<'a> Cells<'a> {
    fn of(column: &'a Column, array: &'a dyn Array) -> Result<Self> {
        let unwritable = |error| unwritable(&column.name, "XLSX").caused_by(error);
        let wanted = match (column.kind, array.data_type()) {
            (Kind::Date, _) => Some(DataType::Date32),
            (Kind::Time, DataType::Timestamp(_, zone)) => {
                Some(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))
            }
            _ => None,
        };
        let moments = wanted.map(|wanted| cast(array, &wanted)).transpose();
        Ok(Self {
            column,
            array,
            moments: moments.map_err(unwritable)?,
            formatter: ArrayFormatter::try_new(array, &DISPLAY).map_err(unwritable)?,
        })
    }

    /// Writes one value and returns how wide it is.
    fn write(
        &self,
        sheet: &mut Worksheet,
        at: Place,
        row: usize,
        armoured: &Format,
        text: &mut String,
    ) -> Result<usize> {
        let (kind, format) = (self.column.kind, &self.column.format);
        if kind == Kind::Boolean {
            let value = self.array.as_boolean().value(row);
            let written = sheet.write_boolean(at.row, at.column, value);
            return written.map(|_| 5).map_err(failed);
        }
        let number = match kind {
            Kind::Date | Kind::Time => self.serial(row),
            _ => None,
        };
        if let Some(serial) = number {
            let written = sheet.write_number_with_format(at.row, at.column, serial, format);
            let width = if kind == Kind::Date { 10 } else { 19 };
            return written.map(|_| width).map_err(failed);
        }
        text.clear();
        let shown = self.formatter.value(row).write(text);
        // The cause of a failure might quote the value.
        shown.map_err(|_| unwritable(&self.column.name, "XLSX"))?;
        if kind == Kind::Number
            && let Some(number) = exact(text, self.array.data_type().is_floating())
        {
            let written = sheet.write_number_with_format(at.row, at.column, number, format);
            // Groups of three are set apart.
            return written.map(|_| text.len() + text.len() / 4).map_err(failed);
        }
        check_length(&self.column.name, text)?;
        let written = if formula::is_one(text) {
            sheet.write_string_with_format(at.row, at.column, text.as_str(), armoured)
        } else {
            sheet.write_string(at.row, at.column, text.as_str())
        };
        let longest_line = text.lines().map(|line| line.chars().count()).max();
        written.map(|_| longest_line.unwrap_or(0)).map_err(failed)
    }

    /// A date or time as Excel counts; nothing for one that it does not know.
    fn serial(&self, row: usize) -> Option<f64> {
        let moments = self.moments.as_ref()?;
        if moments.is_null(row) {
            return None;
        }
        let days = match self.column.kind {
            Kind::Date => f64::from(moments.as_primitive::<Date32Type>().value(row)),
            _ => {
                let micros = moments
                    .as_primitive::<TimestampMicrosecondType>()
                    .value(row);
                micros as f64 / DAY_MICROSECONDS
            }
        };
        Some(days + EPOCH_DAYS).filter(|serial| DATES.contains(serial))
    }
}

/// The number that a text is, where Excel would show the same digits.
fn exact(text: &str, is_floating: bool) -> Option<f64> {
    let digits = text.trim_start_matches(['-', '0', '.']);
    let digits = digits.bytes().filter(u8::is_ascii_digit).count();
    let number: f64 = text.parse().ok()?;
    (number.is_finite() && (is_floating || digits <= EXACT_DIGITS)).then_some(number)
}

fn column(field: &Field) -> Column {
    let (kind, format) = match field.data_type() {
        DataType::Boolean => (Kind::Boolean, Format::new()),
        DataType::Date32 | DataType::Date64 => {
            (Kind::Date, Format::new().set_num_format("yyyy-mm-dd"))
        }
        DataType::Timestamp(..) => {
            let format = Format::new().set_num_format("yyyy-mm-dd hh:mm:ss");
            (Kind::Time, format)
        }
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => {
            let decimals = "0".repeat(usize::try_from(*scale).unwrap_or(0));
            let point = if decimals.is_empty() { "" } else { "." };
            let format = Format::new().set_num_format(format!("#,##0{point}{decimals}"));
            (Kind::Number, format)
        }
        data_type if data_type.is_integer() => (Kind::Number, Format::new().set_num_format("0")),
        data_type if data_type.is_floating() => (Kind::Number, Format::new()),
        _ => (Kind::Text, Format::new()),
    };
    Column {
        name: field.name().clone(),
        kind,
        format,
        width: field.name().chars().count(),
    }
}

fn check_length(column: &str, text: &str) -> Result<()> {
    // One unit is at least a byte.
    if text.len() <= LONGEST_TEXT || text.encode_utf16().count() <= LONGEST_TEXT {
        return Ok(());
    }
    let column: String = column.chars().take(64).collect();
    Err(Error::new(
        ErrorKind::ResourceExhausted,
        format!(
            "a text of column \"{column}\" is longer than the {LONGEST_TEXT} letters of a cell"
        ),
    )
    .hint("Shorten it with LEFT(.., 32767), leave the column out, or choose CSV or Parquet."))
}

fn failed(error: XlsxError) -> Error {
    match error {
        XlsxError::IoError(error) | XlsxError::TempFileError(_, error) => temporary(error),
        error => {
            Error::new(ErrorKind::Internal, "the workbook could not be written").caused_by(error)
        }
    }
}

#[cfg(test)]
mod tests;
