use std::collections::BTreeMap;

use arrow::array::UInt64Array;
use arrow::compute::{concat_batches, take_record_batch};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use sql_files::TableName;
use std::collections::HashSet;

use super::contributions::Contribution;
use crate::error::Result;
use crate::project::CheckedTable;

/// Rows by table, each once, at most so many a table.
pub(super) struct Evidence {
    most: usize,
    tables: BTreeMap<TableName, Rows>,
}

struct Rows {
    rows: RecordBatch,
    more: bool,
}

impl Evidence {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            tables: BTreeMap::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tables.values().all(|rows| rows.rows.num_rows() == 0)
    }

    pub(super) fn add(&mut self, contribution: Contribution) -> Result<()> {
        let Contribution { table, rows } = contribution;
        let (rows, mut more) = match self.tables.remove(&table) {
            Some(before) => {
                let both = concat_batches(&before.rows.schema(), [&before.rows, &rows])?;
                (both, before.more)
            }
            None => (rows, false),
        };
        let rows = distinct(&rows)?;
        more |= rows.num_rows() > self.most;
        let rows = rows.slice(0, rows.num_rows().min(self.most));
        self.tables.insert(table, Rows { rows, more });
        Ok(())
    }

    /// What is known of a table's inputs.
    pub(super) fn of_inputs<'a>(
        &'a self,
        table: Option<&'a CheckedTable>,
    ) -> impl Iterator<Item = (&'a TableName, &'a RecordBatch)> {
        let inputs = table.into_iter().flat_map(|table| &table.inputs);
        inputs.filter_map(|input| {
            let rows = self.tables.get(input)?;
            (!input.is_bronze()).then_some((input, &rows.rows))
        })
    }

    /// Everything, the tables nearest to the question first.
    pub(super) fn into_inputs(
        mut self,
        order: &[TableName],
    ) -> impl Iterator<Item = (TableName, RecordBatch, bool)> {
        let mut inputs = Vec::new();
        for name in order.iter().rev() {
            if let Some(rows) = self.tables.remove(name) {
                inputs.push((name.clone(), rows.rows, rows.more));
            }
        }
        let rest = self.tables.into_iter();
        inputs.extend(rest.map(|(name, rows)| (name, rows.rows, rows.more)));
        inputs.into_iter()
    }
}

fn distinct(rows: &RecordBatch) -> Result<RecordBatch> {
    let fields = rows
        .schema()
        .fields()
        .iter()
        .map(|field| SortField::new(field.data_type().clone()))
        .collect();
    let encoded = RowConverter::new(fields)?.convert_columns(rows.columns())?;
    let mut seen = HashSet::new();
    let kept: UInt64Array = encoded
        .iter()
        .enumerate()
        .filter(|(_, row)| seen.insert(row.as_ref().to_vec()))
        .map(|(index, _)| index as u64)
        .collect();
    Ok(take_record_batch(rows, &kept)?)
}
