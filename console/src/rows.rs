//! Statements of the page: fixed texts, whatever a visitor chose as bound parameters, and their rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Date32Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float64Type, Int32Type, Int64Type, Schema,
    TimeUnit, TimestampMicrosecondType,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, NaiveDate, Utc};
use engine::{Answer, Error, ErrorKind, Result, Session, TableInfo, TableName};
use futures::TryStreamExt;
use maud::{Markup, Render, html};

use crate::language::Language;
use crate::layout::NOTHING;
use crate::visit::Visit;

/// What a visitor chose, on its way into a statement.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    Date(NaiveDate),
}

/// A statement that grows by conditions. Only texts of this program become SQL.
#[derive(Debug, Clone)]
pub(crate) struct Select {
    sql: String,
    values: Vec<Value>,
    has_condition: bool,
}

impl Select {
    pub(crate) fn new(columns: &[&'static str], table: &'static str) -> Self {
        Self {
            sql: format!("SELECT {} FROM {table}", columns.join(", ")),
            values: Vec::new(),
            has_condition: false,
        }
    }

    /// Every column of a table, whose name is one of the lake's.
    pub(crate) fn all(table: &TableName) -> Self {
        Self {
            sql: format!("SELECT * FROM \"{}\".\"{}\"", table.schema(), table.name()),
            values: Vec::new(),
            has_condition: false,
        }
    }

    /// A condition that ends in the value: `bu =`. Without a value it does not ask for it.
    #[must_use]
    pub(crate) fn filter(mut self, condition: &'static str, value: Option<Value>) -> Self {
        let Some(value) = value else {
            return self;
        };
        self.values.push(value);
        let word = match std::mem::replace(&mut self.has_condition, true) {
            true => "AND",
            false => "WHERE",
        };
        self.sql
            .push_str(&format!(" {word} {condition} ${}", self.values.len()));
        self
    }

    /// What comes last: order and limit.
    #[must_use]
    pub(crate) fn then(mut self, end: &'static str) -> Self {
        self.sql.push(' ');
        self.sql.push_str(end);
        self
    }

    /// So many rows, after so many.
    #[must_use]
    pub(crate) fn page(mut self, limit: usize, offset: usize) -> Self {
        self.sql
            .push_str(&format!(" LIMIT {limit} OFFSET {offset}"));
        self
    }

    pub(crate) fn text(&self) -> &str {
        &self.sql
    }

    fn parameters(&self) -> Result<Option<RecordBatch>> {
        if self.values.is_empty() {
            return Ok(None);
        }
        let columns = self.values.iter().map(|value| -> ArrayRef {
            match value {
                Value::Text(text) => Arc::new(StringArray::from(vec![text.clone()])),
                Value::Date(date) => {
                    let epoch = NaiveDate::default();
                    let days = date.signed_duration_since(epoch).num_days();
                    Arc::new(Date32Array::from(vec![i32::try_from(days).ok()]))
                }
            }
        });
        let columns: Vec<ArrayRef> = columns.collect();
        let fields = columns.iter().enumerate().map(|(index, column)| {
            Field::new(format!("${}", index + 1), column.data_type().clone(), true)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Some(RecordBatch::try_new(schema, columns)?))
    }

    /// The rows as they come, on the session's epoch and in the visitor's name.
    pub(crate) async fn answer(&self, visit: &Visit, session: &Session) -> Result<Answer> {
        let parameters = self.parameters()?;
        let desk = &visit.site.desk;
        let answering = desk.answer(&visit.visitor, &self.sql, parameters, session.epoch());
        answering.await
    }

    /// The rows, on the session's epoch and in the visitor's name.
    pub(crate) async fn rows(&self, visit: &Visit, session: &Session) -> Result<Rows> {
        let answer = self.answer(visit, session).await?;
        let batches: Vec<RecordBatch> = answer.batches.try_collect().await?;
        let batch = concat_batches(&answer.schema, &batches)?;
        Ok(Rows(batch))
    }
}

/// The columns of a table that somebody sees, of those that a page would show.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    pub(crate) seen: Vec<&'static str>,
    /// Not granted, or masked.
    pub(crate) left_out: Vec<&'static str>,
}

impl Columns {
    /// Nothing where the table is not seen at all, or none of the columns.
    pub(crate) fn of(session: &Session, table: &str, wanted: &[&'static str]) -> Option<Self> {
        let info = table_of(session, table)?;
        let is_seen = |column: &&&'static str| info.arrow.field_with_name(column).is_ok();
        let (seen, mut left_out): (Vec<_>, Vec<_>) = wanted.iter().partition(is_seen);
        left_out.extend(seen.iter().filter(|column| info.masked.contains(**column)));
        match seen.is_empty() {
            true => None,
            false => Some(Self { seen, left_out }),
        }
    }

    pub(crate) fn has(&self, column: &str) -> bool {
        self.seen.contains(&column)
    }
}

pub(crate) fn table_of<'a>(session: &'a Session, table: &str) -> Option<&'a TableInfo> {
    let name: TableName = table.parse().ok()?;
    session.info(&name)
}

/// Rows that were read to their end.
#[derive(Debug, Clone)]
pub(crate) struct Rows(pub(crate) RecordBatch);

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.0.num_rows()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// No more than the first so many.
    pub(crate) fn first(&self, count: usize) -> Self {
        Self(self.0.slice(0, count.min(self.len())))
    }

    /// Whether a column is not there, or has a row without a value.
    pub(crate) fn lacks(&self, name: &str) -> bool {
        let column = self.0.column_by_name(name);
        column.is_none_or(|column| column.null_count() > 0)
    }

    fn column(&self, row: usize, name: &str) -> Option<&ArrayRef> {
        let column = self.0.column_by_name(name)?;
        (row < self.len() && column.is_valid(row)).then_some(column)
    }

    pub(crate) fn text(&self, row: usize, name: &str) -> Option<&str> {
        Some(self.column(row, name)?.as_string_opt::<i32>()?.value(row))
    }

    pub(crate) fn number(&self, row: usize, name: &str) -> Option<i64> {
        let column = self.column(row, name)?;
        match column.data_type() {
            DataType::Int32 => Some(column.as_primitive::<Int32Type>().value(row).into()),
            _ => Some(column.as_primitive_opt::<Int64Type>()?.value(row)),
        }
    }

    pub(crate) fn float(&self, row: usize, name: &str) -> Option<f64> {
        let column = self.column(row, name)?;
        Some(column.as_primitive_opt::<Float64Type>()?.value(row))
    }

    pub(crate) fn truth(&self, row: usize, name: &str) -> Option<bool> {
        Some(self.column(row, name)?.as_boolean_opt()?.value(row))
    }

    pub(crate) fn date(&self, row: usize, name: &str) -> Option<NaiveDate> {
        let column = self.column(row, name)?;
        column.as_primitive_opt::<Date32Type>()?.value_as_date(row)
    }

    pub(crate) fn moment(&self, row: usize, name: &str) -> Option<DateTime<Utc>> {
        let column = self.column(row, name)?;
        let micros = column.as_primitive_opt::<TimestampMicrosecondType>()?;
        DateTime::from_timestamp_micros(micros.value(row))
    }

    /// An exact number: its units and scale.
    pub(crate) fn decimal(&self, row: usize, name: &str) -> Option<(i128, u32)> {
        let column = self.column(row, name)?;
        let DataType::Decimal128(_, scale) = column.data_type() else {
            return None;
        };
        let units = column.as_primitive_opt::<Decimal128Type>()?.value(row);
        Some((units, u32::try_from(*scale).ok()?))
    }

    /// A table of all its rows and columns, as they are.
    pub(crate) fn table(&self, visit: &Visit, caption: &str) -> Result<Markup> {
        let schema = self.0.schema();
        let numeric: Vec<bool> = schema
            .fields()
            .iter()
            .map(|field| field.data_type().is_numeric())
            .collect();
        let mut lines = Vec::with_capacity(self.len());
        for row in 0..self.len() {
            let cells = self.0.columns().iter().zip(schema.fields());
            let cells = cells.map(|(column, field)| cell(visit, self, row, column, field.name()));
            lines.push(cells.collect::<Result<Vec<Markup>>>()?);
        }
        Ok(html! {
            table {
                caption { (caption) }
                thead {
                    tr {
                        @for (field, numeric) in schema.fields().iter().zip(&numeric) {
                            th.n[*numeric] scope="col" { (field.name()) }
                        }
                    }
                }
                tbody {
                    @for line in &lines {
                        tr {
                            @for (cell, numeric) in line.iter().zip(&numeric) { td.n[*numeric] { (cell) } }
                        }
                    }
                }
            }
        })
    }
}

/// One value of any type.
fn cell(visit: &Visit, rows: &Rows, row: usize, column: &ArrayRef, name: &str) -> Result<Markup> {
    if column.is_null(row) {
        return Ok(NOTHING.render());
    }
    let language = visit.language;
    let shown = match column.data_type() {
        DataType::Boolean => rows
            .truth(row, name)
            .map(|truth| yes(language, truth).to_owned()),
        DataType::Decimal128(..) => {
            let number = rows.decimal(row, name);
            number.map(|(units, scale)| language.decimal(units, scale))
        }
        DataType::Float64 => rows
            .float(row, name)
            .map(|value| language.measure(value, 3)),
        DataType::Date32 => rows.date(row, name).map(|date| language.date(date)),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            let moment = rows.moment(row, name);
            moment.map(|moment| language.moment(moment, visit.site.zone))
        }
        _ => None,
    };
    let shown = match shown {
        Some(shown) => shown,
        None => {
            let format = ArrayFormatter::try_new(column, &FormatOptions::default())?;
            format.value(row).to_string()
        }
    };
    Ok(html! { (shown) })
}

pub(crate) fn yes(language: Language, truth: bool) -> &'static str {
    match truth {
        true => language.say("oui", "yes"),
        false => language.say("non", "no"),
    }
}

/// What is not answered in the time that a page has.
pub(crate) async fn in_time<T>(visit: &Visit, work: impl Future<Output = Result<T>>) -> Result<T> {
    let patience = visit.site.config.patience();
    tokio::time::timeout(patience, work)
        .await
        .unwrap_or_else(|_| {
            let seconds = patience.as_secs();
            Err(Error::new(
                ErrorKind::DeadlineExceeded,
                format!("the page was not ready after {seconds} seconds"),
            )
            .hint("Choose less, or come back when fewer statements run; http.page_seconds holds."))
        })
}
