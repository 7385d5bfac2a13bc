//! What rules keep out of a table, or of what it reads: why a row is not there.

use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, ident, lit};
use sql_files::TableName;

use super::evidence::Evidence;
use super::{Asked, Input, MAX_ROWS, keys_in, rows_of};
use crate::error::{ErrorKind, Result};
use crate::hidden;
use crate::reader::stored_table;

/// Which rows of a table's inputs a trace goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// Those that the table was made from.
    Public,
    /// Those that rules keep out of the inputs too.
    KeptOut,
}

impl Asked<'_> {
    /// The rows that a rule keeps out of a table or of one that it reads, on which the wanted rows would rest.
    pub(super) async fn kept_out(&self, table: &TableName, wanted: Expr) -> Result<Vec<Input>> {
        let evidence = match self.trace(table, wanted.clone(), Over::KeptOut).await {
            // A row that breaks a rule may be one that the query cannot be computed for.
            Err(error) if error.kind() == ErrorKind::InvalidRequest => Evidence::new(MAX_ROWS),
            traced => traced?,
        };
        let mut asked = vec![(table.clone(), wanted, false)];
        for (name, rows, more) in evidence.into_inputs(&self.project.order) {
            let key = self.manifest.tables.get(&name).map(|state| &state.key);
            if let Some(key) = key.filter(|key| !key.is_empty() && rows.num_rows() > 0) {
                asked.push((name, rows_of(&rows, key)?, more));
            }
        }
        let mut kept_out = Vec::new();
        for (name, wanted, more) in asked {
            let Some(aside) = self.aside(&name)? else {
                continue;
            };
            // Of many rows some were asked about: those kept out may be among the others.
            let more = more && self.first_rows(aside.clone(), lit(true)).await?.num_rows() > 0;
            let rows = self.first_rows(aside, wanted).await?;
            if rows.num_rows() > 0 || more {
                let keys = keys_in(&rows, &self.manifest.table(&name)?.key)?;
                kept_out.push(Input {
                    more: more || rows.num_rows() > MAX_ROWS,
                    rows: rows.slice(0, rows.num_rows().min(MAX_ROWS)),
                    messages: self.messages(&name, &keys).await?,
                    is_end: false,
                    table: name,
                });
            }
        }
        Ok(kept_out)
    }

    /// An input's rows and those that its rules keep out of it, in the input's columns.
    pub(super) fn with_kept_out(
        &self,
        input: &TableName,
        stored: Arc<dyn TableProvider>,
        public: Arc<dyn TableProvider>,
    ) -> Result<Arc<dyn TableProvider>> {
        if hidden::is_folded(&stored.schema()) {
            return hidden::live_rows(stored);
        }
        let schema = public.schema();
        let aside = self.aside(input)?.filter(|aside| {
            let aside = aside.schema();
            let same = |name: &str, of| {
                let found = aside.field_with_name(name);
                found.is_ok_and(|field| field.data_type() == of)
            };
            let mut fields = schema.fields().iter();
            fields.all(|field| same(field.name(), field.data_type()))
        });
        let Some(aside) = aside else {
            return Ok(public);
        };
        let columns = schema.fields().iter().map(|field| ident(field.name()));
        let aside = LogicalPlanBuilder::scan("aside", provider_as_source(aside), None)?;
        let aside = aside.project(columns)?.build()?;
        let both = LogicalPlanBuilder::scan("rows", provider_as_source(public), None)?;
        let both = both.union(aside)?.build()?;
        Ok(Arc::new(ViewTable::new(both, None)))
    }

    /// The rows that a table's rules keep out of it and why; none where it has no such rules.
    fn aside(&self, table: &TableName) -> Result<Option<Arc<dyn TableProvider>>> {
        let stored = |name: &TableName| {
            let state = self.manifest.tables.get(name)?;
            let stored = stored_table(self.lake, self.snapshots, name, state);
            Some(Arc::new(stored) as Arc<dyn TableProvider>)
        };
        if self.manifest.unbuilt.contains_key(table) {
            return Ok(None);
        }
        match stored(table) {
            Some(folded) if folded.schema().field_with_name(hidden::RULE).is_ok() => {
                hidden::kept_out_rows(folded).map(Some)
            }
            _ => Ok(stored(&table.quarantine())),
        }
    }

    /// Some rows of a table, one more than are shown when there are more.
    async fn first_rows(&self, table: Arc<dyn TableProvider>, wanted: Expr) -> Result<RecordBatch> {
        let schema = table.schema();
        let frame = self.sessions.context([])?.read_table(table)?;
        let rows = frame.filter(wanted)?.limit(0, Some(MAX_ROWS + 1))?;
        Ok(concat_batches(&schema, &rows.collect().await?)?)
    }
}
