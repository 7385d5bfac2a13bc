use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, StringArray, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;

use crate::error::{Error, ErrorKind, Result};
use crate::hidden;
use crate::project::{Cdc, SqlFile};

/// Fields that an event left out, as a JSON array of their names; NULL where it has all.
pub(super) const UNAVAILABLE: &str = "__unavailable";

/// The event empties the table instead of telling about a row.
pub(super) const TRUNCATES: &str = "__truncates";

/// Columns of a fold: of the table as stored, and of the events that come into it.
///
/// An event has the stored columns, then `__unavailable` and `__truncates`.
#[derive(Debug, Clone)]
pub(super) struct FoldColumns {
    pub(super) stored: SchemaRef,
    pub(super) event: SchemaRef,
    pub(super) key: Vec<usize>,
    pub(super) sequence: Vec<usize>,
}

impl FoldColumns {
    pub(super) fn new(file: &SqlFile, cdc: &Cdc, visible: &Schema) -> Self {
        let key = file.directives.key.iter();
        let key = key
            .filter_map(|column| visible.index_of(&column.name).ok())
            .collect();
        Self::of(visible, key, cdc.sequence.len())
    }

    pub(super) fn of(visible: &Schema, key: Vec<usize>, sequences: usize) -> Self {
        let stored = hidden::stored_schema(visible, sequences);
        let mut fields: Vec<Arc<Field>> = stored.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(UNAVAILABLE, DataType::Utf8, true)));
        fields.push(Arc::new(Field::new(TRUNCATES, DataType::Boolean, true)));
        let visible = visible.fields().len();
        Self {
            stored,
            event: Arc::new(Schema::new(fields)),
            key,
            sequence: (visible..visible + sequences).collect(),
        }
    }

    /// Names of the key's columns.
    pub(super) fn key_names(&self) -> Vec<&str> {
        let name = |index: &usize| self.stored.field(*index).name().as_str();
        self.key.iter().map(name).collect()
    }

    /// The stored columns of a batch of events.
    pub(super) fn stored_part(&self, events: &RecordBatch) -> Result<RecordBatch> {
        let width = self.stored.fields().len();
        let columns = events.columns()[..width].to_vec();
        Ok(RecordBatch::try_new(self.stored.clone(), columns)?)
    }

    /// A batch of the columns of `schema`, NULL where `rows` has none of that name.
    pub(super) fn widened(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        let columns = schema
            .fields()
            .iter()
            .map(|field| match rows.column_by_name(field.name()) {
                None => Ok(new_null_array(field.data_type(), rows.num_rows())),
                Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
                Some(column) => arrow::compute::cast(column, field.data_type()),
            });
        let columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
        Ok(RecordBatch::try_new(schema.clone(), columns)?)
    }
}

/// A column of a batch of ours, by name and type.
pub(super) fn column<'a, T: Array + 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a T> {
    let column = batch.column_by_name(name);
    column
        .and_then(|column| column.as_any().downcast_ref::<T>())
        .ok_or_else(|| Error::new(ErrorKind::Internal, format!("a fold lacks its \"{name}\"")))
}

/// The batch with some of its columns replaced.
pub(super) fn with_columns(
    batch: &RecordBatch,
    replaced: Vec<(&str, ArrayRef)>,
) -> Result<RecordBatch> {
    let mut columns = batch.columns().to_vec();
    for (name, column) in replaced {
        columns[batch.schema().index_of(name)?] = column;
    }
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}

/// The batch with the same rule and reason in every row, none of them deleted.
pub(super) fn kept_out(batch: &RecordBatch, rule: &str, reason: &str) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let text = |text: &str| Arc::new(StringArray::from(vec![text; rows])) as ArrayRef;
    with_columns(
        batch,
        vec![
            (
                hidden::DELETED,
                Arc::new(BooleanArray::from(vec![false; rows])),
            ),
            (hidden::RULE, text(rule)),
            (hidden::REASON, text(reason)),
        ],
    )
}
