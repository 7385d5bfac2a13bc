//! What somebody sees of why a row is as it is: never more than their own statements would show.

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::TableReference;
use datafusion::logical_expr::Expr;
use sql_files::TableName;

use super::{Input, MAX_ROWS, Why, keys_in, rows_of};
use crate::error::{Error, ErrorKind, Result};
use crate::reader::{Session, TableInfo};

impl Session {
    /// Why a row is as it is, told of the tables, rows and columns that this session sees.
    ///
    /// Who sees all that the row rests on is told all of it. Others see the row and those below it as their own
    /// statements would show them, without the values in formulas, the rules and the messages; `Why::partial` says so.
    ///
    /// # Errors
    /// `NotFound` for a table or a row that the session does not see, whether it is there or not; `InvalidRequest` for a
    /// key that does not fit the table's.
    pub async fn why(&self, table: &TableName, key: &[String]) -> Result<Why> {
        let info = self.info(table).ok_or_else(|| no_table(table))?;
        let asked = self.reader().why(self.manifest(), table, key);
        let mut why = Box::pin(asked).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => no_row(table),
            _ => error,
        })?;
        if why.row.is_some() {
            // Of a row that is there nobody misses what they may not see aside.
            why.kept_out
                .retain(|input| self.sees_whole(&input.table.quarantine()));
        }
        match self.sees_all_of(&why) {
            true => Ok(why),
            false => self.partly(info, why).await,
        }
    }

    /// A table as this session sees it.
    pub fn info(&self, table: &TableName) -> Option<&TableInfo> {
        let mut tables = self.tables().iter();
        tables.find(|info| info.schema == table.schema() && info.name == table.name())
    }

    fn sees_all_of(&self, why: &Why) -> bool {
        let inputs = why.inputs.iter().chain(&why.kept_out);
        let inputs = inputs.map(|input| &input.table);
        let aside = why.kept_out.iter().map(|input| input.table.quarantine());
        let aside: Vec<TableName> = aside.collect();
        let bronze = self
            .manifest()
            .tables
            .keys()
            .filter(|name| name.is_bronze());
        let mut needed = inputs.chain(&aside).chain(bronze).chain([&why.table]);
        needed.all(|table| self.sees_whole(table))
    }

    fn sees_whole(&self, table: &TableName) -> bool {
        self.info(table).is_some_and(|info| info.whole)
    }

    async fn partly(&self, info: &TableInfo, mut why: Why) -> Result<Why> {
        let own = match &why.row {
            Some(row) => self.seen_rows(info, row).await?,
            None => None,
        };
        why.row = Some(own.ok_or_else(|| no_row(&why.table))?);
        why.partial = true;
        why.rules.clear();
        why.kept_out.clear();
        why.messages = None;
        for part in why
            .formulas
            .iter_mut()
            .flat_map(|formula| &mut formula.parts)
        {
            part.value = None;
        }
        let seen = |column: &String| info.arrow.field_with_name(column).is_ok();
        why.formulas
            .retain(|formula| seen(&formula.column) && !info.masked.contains(&formula.column));
        let mut inputs = Vec::new();
        for input in std::mem::take(&mut why.inputs) {
            let Some(info) = self.info(&input.table) else {
                continue;
            };
            if hides_the_link(info, &input.rows, &why.key)? {
                continue;
            }
            if let Some(rows) = self.seen_rows(info, &input.rows).await? {
                inputs.push(Input {
                    more: rows.num_rows() >= MAX_ROWS,
                    rows,
                    is_end: input.is_end,
                    messages: None,
                    table: input.table,
                });
            }
        }
        why.inputs = inputs;
        Ok(why)
    }

    /// Those of a table's rows that the session sees, as it sees them; nothing where it cannot tell them by their key.
    async fn seen_rows(&self, info: &TableInfo, rows: &RecordBatch) -> Result<Option<RecordBatch>> {
        let name = TableName::new(&info.schema, &info.name)?;
        let state = self.manifest().tables.get(&name);
        let key = match state.filter(|state| state.key == info.key) {
            Some(state) if name.quarantine_of().is_none() => &state.key,
            _ => return Ok(None),
        };
        let wanted: Expr = match keys_in(rows, key)?.is_empty() {
            true => return Ok(None),
            false => rows_of(rows, key)?,
        };
        let reference = TableReference::partial(name.schema(), name.name());
        let frame = self.context().table(reference).await?;
        let batches = frame
            .filter(wanted)?
            .limit(0, Some(MAX_ROWS))?
            .collect()
            .await?;
        let rows = concat_batches(&info.arrow, &batches)?;
        Ok((rows.num_rows() > 0).then_some(rows))
    }
}

/// Whether rows are known to belong to the row asked for by a column that the session does not see as it is: that they
/// are shown would tell whose they are.
fn hides_the_link(info: &TableInfo, rows: &RecordBatch, key: &[(String, String)]) -> Result<bool> {
    let options = FormatOptions::default().with_display_error(true);
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        let is_seen = info.arrow.field_with_name(field.name()).is_ok();
        if is_seen && !info.masked.contains(field.name()) {
            continue;
        }
        let cells = ArrayFormatter::try_new(column, &options)?;
        let mut texts = (0..rows.num_rows()).map(|row| cells.value(row).to_string());
        if texts.any(|text| key.iter().any(|(_, value)| *value == text)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn no_table(table: &TableName) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("there is no table \"{table}\""),
    )
    .hint("The tables that you see are in information_schema.tables.")
}

fn no_row(table: &TableName) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("nothing is known of this row in \"{table}\""),
    )
    .hint("Check the key.")
}
