use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::{Result, unwritable};
use crate::format::CsvOptions;
use crate::formula;

/// Rows as RFC 4180 has them. A NULL is an empty cell, an empty text a pair of quotes.
pub(crate) struct Csv {
    options: CsvOptions,
    columns: Vec<(String, Kind)>,
    has_begun: bool,
}

/// How a column's values become cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Somebody's words, which must not become a formula.
    Text,
    /// With decimals, perhaps.
    Number,
    /// As it is printed.
    Plain,
}

impl Csv {
    pub(crate) fn new(schema: &SchemaRef, options: CsvOptions) -> Self {
        let fields = schema.fields().iter();
        Self {
            options,
            columns: fields
                .map(|field| (field.name().clone(), kind(field.data_type())))
                .collect(),
            has_begun: false,
        }
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<Vec<u8>> {
        let mut out = self.beginning();
        let options = self.display();
        let failed = |column: &str| unwritable(column, "CSV");
        let mut formatters = Vec::with_capacity(self.columns.len());
        for ((name, kind), array) in self.columns.iter().zip(batch.columns()) {
            let formatter = ArrayFormatter::try_new(array.as_ref(), &options);
            let formatter = formatter.map_err(|error| failed(name).caused_by(error))?;
            formatters.push((name, *kind, array, formatter));
        }
        let mut text = String::new();
        for row in 0..batch.num_rows() {
            for (at, (name, kind, array, formatter)) in formatters.iter().enumerate() {
                if at > 0 {
                    out.push(self.options.separator.byte());
                }
                if array.is_null(row) {
                    // A line without a letter is none to many readers.
                    if formatters.len() == 1 {
                        out.extend(b"\"\"");
                    }
                    continue;
                }
                text.clear();
                let written = formatter.value(row).write(&mut text);
                // The cause of a failure might quote the value.
                written.map_err(|_| failed(name))?;
                self.cell(&mut out, *kind, &text);
            }
            out.extend(b"\r\n");
        }
        Ok(out)
    }

    /// The header, where there was no row.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.beginning()
    }

    /// The mark of UTF-8 and the header, once.
    fn beginning(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if std::mem::replace(&mut self.has_begun, true) {
            return out;
        }
        if self.options.bom {
            out.extend("\u{feff}".as_bytes());
        }
        for (at, (name, _)) in self.columns.iter().enumerate() {
            if at > 0 {
                out.push(self.options.separator.byte());
            }
            self.cell(&mut out, Kind::Text, name);
        }
        out.extend(b"\r\n");
        out
    }

    fn display(&self) -> FormatOptions<'static> {
        let options = FormatOptions::default().with_display_error(false);
        if !self.options.spaced_times {
            return options;
        }
        options
            .with_datetime_format(Some("%Y-%m-%d %H:%M:%S%.f"))
            .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"))
            .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f"))
    }

    fn cell(&self, out: &mut Vec<u8>, kind: Kind, text: &str) {
        let separator = self.options.separator.byte();
        match kind {
            Kind::Plain => out.extend(text.as_bytes()),
            Kind::Number if self.options.decimal_comma => {
                let number = text.replace('.', ",");
                put(out, &number, number.bytes().any(|byte| byte == separator));
            }
            Kind::Number => out.extend(text.as_bytes()),
            Kind::Text => {
                let text = formula::defused(text);
                put(out, &text, needs_quotes(&text));
            }
        }
    }
}

/// With any separator it does: Excel splits by that of its own country.
fn needs_quotes(text: &str) -> bool {
    let is_special = |byte: u8| matches!(byte, b'"' | b'\r' | b'\n' | b',' | b';' | b'\t');
    text.is_empty() || text.bytes().any(is_special)
}

fn put(out: &mut Vec<u8>, text: &str, in_quotes: bool) {
    if !in_quotes {
        out.extend(text.as_bytes());
        return;
    }
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

fn kind(data_type: &DataType) -> Kind {
    match data_type {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => Kind::Number,
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => Kind::Number,
        DataType::Boolean | DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            Kind::Plain
        }
        data_type if data_type.is_integer() => Kind::Plain,
        _ => Kind::Text,
    }
}

#[cfg(test)]
mod tests;
