//! Why a row is as it is: the rows, rules and parameters that it rests on, down to the messages they came in.

mod contributions;
mod evidence;
mod formulas;
mod kept_out;
mod messages;
mod rules;
mod seen;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, ident, lit};

use self::evidence::Evidence;
pub use self::formulas::{Formula, Part};
use self::kept_out::Over;
pub use self::rules::{RuleVerdict, Verdict};
use self::versions::AsRead;
use sql_files::TableName;

use crate::epoch::{Manifest, TableState};
use crate::error::{Error, ErrorKind, Result};
use crate::explain::never_made;
use crate::lake::Lake;
use crate::pinned::PinnedTable;
use crate::project::{CheckedProject, SourcesLock};
use crate::reader::{Reader, stored_table};
use crate::session::{Sessions, public_view};
use crate::snapshots::Snapshots;

/// Rows of one input that are named at most.
const MAX_ROWS: usize = 200;

/// A row of a table, and everything it was made from.
#[derive(Debug)]
pub struct Why {
    pub table: TableName,
    pub description: Option<String>,
    pub epoch: u64,
    /// The `now()` that the table was computed with.
    pub computed_at: Option<DateTime<Utc>>,
    /// Why the table is held, when it is.
    pub held: Option<String>,
    /// Whether it was never made, for the reason that it is held for.
    pub is_unbuilt: bool,
    /// Key columns and the values asked for.
    pub key: Vec<(String, String)>,
    /// The row as readers see it, where there is one.
    pub row: Option<RecordBatch>,
    /// How the columns come about.
    pub formulas: Vec<Formula>,
    pub rules: Vec<RuleVerdict>,
    /// Messages the row itself rests on, for a `@cdc` table.
    pub messages: Option<RecordBatch>,
    /// The rows it rests on, by table, nearest first.
    pub inputs: Vec<Input>,
    /// Rows that it would rest on too, were it not for rules that keep them out of their tables. In the columns of a
    /// quarantine.
    pub kept_out: Vec<Input>,
    /// Whether something of it was left out, because whoever asks does not see it; of a row that is there not what rules
    /// keep out.
    pub partial: bool,
}

/// The rows of one table that a row rests on.
#[derive(Debug)]
pub struct Input {
    pub table: TableName,
    /// At most 200 rows.
    pub rows: RecordBatch,
    /// Whether there are more, or may be.
    pub more: bool,
    /// Whether it is no longer kept what they were made from.
    pub is_end: bool,
    /// `topic, partition, offset, time, op, source_lsn` by key, for a `@cdc` table.
    pub messages: Option<RecordBatch>,
}

/// What answering needs of a reader.
struct Asked<'a> {
    lake: &'a Lake,
    sessions: &'a Sessions,
    snapshots: &'a Snapshots,
    manifest: Manifest,
    ends: BTreeSet<TableName>,
    project: CheckedProject,
    lock: SourcesLock,
}

impl Reader {
    /// Why the row with this key is as it is, or is not there, in an epoch.
    ///
    /// # Errors
    /// `NotFound` for a table that the epoch does not hold, or a key of which nothing at all is known;
    /// `InvalidRequest` for a key that does not fit the table's.
    pub async fn why(&self, manifest: &Manifest, table: &TableName, key: &[String]) -> Result<Why> {
        let (project, lock) =
            crate::refresh::stored_project(self.lake(), &manifest.project, self.sessions()).await?;
        let mut manifest = manifest.clone();
        if let Some(state) = never_made(&manifest, &project, table) {
            manifest.tables.insert(table.clone(), state);
        }
        let AsRead { manifest, ends } =
            AsRead::of(self.epochs(), &project, manifest, table).await?;
        let asked = Asked {
            lake: self.lake(),
            sessions: self.sessions(),
            snapshots: self.snapshots(),
            manifest,
            ends,
            project,
            lock,
        };
        Box::pin(asked.answer(table, key)).await
    }
}

impl Asked<'_> {
    async fn answer(&self, table: &TableName, key: &[String]) -> Result<Why> {
        let state = self.manifest.table(table)?;
        let file = self.project.project.file(table).ok_or_else(|| {
            Error::invalid(format!(
                "\"{table}\" is not made by a file of the SQL project"
            ))
            .hint("Ask about a table of silver or gold; rows of bronze are messages themselves.")
        })?;
        let key = self.key(table, state, key)?;
        let wanted = predicate(&key);
        let is_unbuilt = self.manifest.unbuilt.contains_key(table);
        let row = match is_unbuilt {
            true => None,
            false => self.row(table, state, wanted.clone()).await?,
        };
        let (evidence, kept_out) = match self.rests_on(table, wanted).await {
            // What keeps the table from being made keeps its rows from being traced.
            Err(error) if is_unbuilt && error.kind() != ErrorKind::Unavailable => {
                (Evidence::new(MAX_ROWS), Vec::new())
            }
            traced => traced?,
        };
        let messages = self.messages(table, &key_values(&key)).await?;
        let nothing = row.is_none()
            && evidence.is_empty()
            && kept_out.is_empty()
            && messages
                .as_ref()
                .is_none_or(|messages| messages.num_rows() == 0);
        if nothing && !key.is_empty() && !is_unbuilt {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("nothing is known of {} in \"{table}\"", shown(&key)),
            )
            .hint("Check the key; a text with spaces needs quotes in the shell."));
        }
        let mut inputs = Vec::new();
        for (name, rows, more) in evidence.into_inputs(&self.project.order) {
            if row.is_none() && rows.num_rows() == 0 {
                continue;
            }
            let made_by = made_by(&name);
            let key = &self.manifest.table(&made_by)?.key;
            inputs.push(Input {
                messages: self.messages(&made_by, &keys_in(&rows, key)?).await?,
                is_end: self.is_end(&made_by),
                table: name,
                rows,
                more,
            });
        }
        Ok(Why {
            rules: self.rules(file, row.as_ref()).await?,
            formulas: self.formulas(file, &key).await,
            table: table.clone(),
            description: state.description.clone(),
            epoch: self.manifest.epoch,
            computed_at: state.computed_at,
            held: state.reason.clone(),
            is_unbuilt,
            key: key
                .iter()
                .map(|(name, value)| (name.clone(), value.to_string()))
                .collect(),
            row,
            messages,
            inputs,
            kept_out,
            partial: false,
        })
    }

    /// The rows that the wanted ones of a table rest on, and those that rules keep from them.
    async fn rests_on(&self, table: &TableName, wanted: Expr) -> Result<(Evidence, Vec<Input>)> {
        let evidence = self.trace(table, wanted.clone(), Over::Public).await?;
        Ok((evidence, self.kept_out(table, wanted).await?))
    }

    /// From table to table, down to those that are made from messages.
    async fn trace(&self, table: &TableName, wanted: Expr, over: Over) -> Result<Evidence> {
        let mut evidence = Evidence::new(MAX_ROWS);
        let mut pending = BTreeMap::from([(table.clone(), wanted)]);
        for name in self.project.order.iter().rev() {
            let Some(wanted) = pending.remove(name).filter(|_| !self.ends.contains(name)) else {
                continue;
            };
            for contribution in self.contributions(name, wanted, over).await? {
                evidence.add(contribution)?;
            }
            for (input, rows) in evidence.of_inputs(self.project.tables.get(name)) {
                let made_by = made_by(input);
                let rows = rows_of(rows, &self.manifest.table(&made_by)?.key)?;
                let wanted = match pending.remove(&made_by) {
                    Some(others) => others.or(rows),
                    None => rows,
                };
                pending.insert(made_by, wanted);
            }
        }
        Ok(evidence)
    }

    /// Whether the rows of a table cannot be followed to what they were made from.
    fn is_end(&self, name: &TableName) -> bool {
        let file = self.project.project.file(name);
        let is_folded = file.is_some_and(|file| file.directives.cdc.is_some());
        self.ends.contains(name) && !is_folded
    }

    /// The values asked for, in the types of the key's columns.
    fn key(
        &self,
        table: &TableName,
        state: &TableState,
        values: &[String],
    ) -> Result<Vec<(String, ScalarValue)>> {
        if values.len() != state.key.len() {
            let expected = match state.key.as_slice() {
                [] => "it has no key: ask about the table without one".to_owned(),
                key => format!("its key is {}", key.join(", ")),
            };
            return Err(Error::invalid(format!(
                "{} key values were given for \"{table}\"",
                values.len()
            ))
            .hint(format!("Give one value a column; {expected}.")));
        }
        let mut key = Vec::with_capacity(values.len());
        for (column, text) in state.key.iter().zip(values) {
            let wanted = state.schema.field_with_name(column)?.data_type().clone();
            let value = ScalarValue::try_from_string(text.clone(), &wanted).map_err(|error| {
                Error::invalid(format!("\"{text}\" is no value of {column}"))
                    .hint(format!("The column is of type {wanted}."))
                    .caused_by(error)
            })?;
            key.push((column.clone(), value));
        }
        Ok(key)
    }

    async fn row(
        &self,
        table: &TableName,
        state: &TableState,
        wanted: Expr,
    ) -> Result<Option<RecordBatch>> {
        let provider = self.public(table, state.version)?;
        let schema = provider.schema();
        let frame = self.sessions.context([])?.read_table(provider)?;
        let batches = frame.filter(wanted)?.limit(0, Some(1))?.collect().await?;
        let row = concat_batches(&schema, &batches)?;
        Ok((row.num_rows() > 0).then_some(row))
    }

    /// The `now()` of a table.
    fn at(&self, name: &TableName) -> DateTime<Utc> {
        let state = self.manifest.tables.get(name);
        state
            .and_then(|state| state.computed_at)
            .unwrap_or(self.manifest.now)
    }

    /// A table as readers see it, at a version.
    fn public(&self, name: &TableName, version: u64) -> Result<Arc<dyn TableProvider>> {
        public_view(name, Arc::new(self.stored(name, version)?))
    }

    fn stored(&self, name: &TableName, version: u64) -> Result<PinnedTable> {
        let state = TableState {
            version,
            ..self.manifest.table(name)?.clone()
        };
        Ok(stored_table(self.lake, self.snapshots, name, &state))
    }
}

/// The table whose query makes the rows of an input: what rules keep out of a table is made as its own rows are.
fn made_by(input: &TableName) -> TableName {
    input.quarantine_of().unwrap_or_else(|| input.clone())
}

fn predicate(key: &[(String, ScalarValue)]) -> Expr {
    key.iter()
        .map(|(column, value)| ident(column).eq(lit(value.clone())))
        .reduce(Expr::and)
        .unwrap_or_else(|| lit(true))
}

fn key_values(key: &[(String, ScalarValue)]) -> Vec<Vec<ScalarValue>> {
    vec![key.iter().map(|(_, value)| value.clone()).collect()]
}

/// The keys of some rows.
fn keys_in(rows: &RecordBatch, key: &[String]) -> Result<Vec<Vec<ScalarValue>>> {
    let mut keys = Vec::with_capacity(rows.num_rows());
    for row in 0..rows.num_rows() {
        let values = key.iter().map(|column| {
            let index = rows.schema().index_of(column)?;
            ScalarValue::try_from_array(rows.column(index), row)
        });
        keys.push(values.collect::<datafusion::error::Result<_>>()?);
    }
    Ok(keys)
}

/// Selects some rows by their keys; all rows of a table without one.
fn rows_of(rows: &RecordBatch, key: &[String]) -> Result<Expr> {
    if key.is_empty() {
        return Ok(lit(true));
    }
    let keys = keys_in(rows, key)?;
    Ok(among(key, keys))
}

fn among(key: &[String], keys: Vec<Vec<ScalarValue>>) -> Expr {
    if let [column] = key {
        let values = keys.into_iter().flatten().map(lit).collect();
        return ident(column).in_list(values, false);
    }
    keys.into_iter()
        .filter_map(|values| {
            let pairs = key.iter().zip(values);
            pairs
                .map(|(column, value)| ident(column).eq(lit(value)))
                .reduce(Expr::and)
        })
        .reduce(Expr::or)
        .unwrap_or_else(|| lit(false))
}

fn shown(key: &[(String, ScalarValue)]) -> String {
    let pairs = key
        .iter()
        .map(|(column, value)| format!("{column} = {value}"));
    pairs.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
