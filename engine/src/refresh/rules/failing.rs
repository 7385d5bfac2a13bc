use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use datafusion::prelude::SessionContext;
use sql_files::TableName;

use super::super::Refresher;
use super::super::build::Candidate;
use super::super::give_up::ends_the_turn;
use super::super::now;
use super::outcome::{CheckOutcome, Verdict};
use super::rows::RowByRow;
use crate::epoch::Broken;
use crate::error::{ErrorKind, Result};
use crate::hidden::RULE;
use crate::lake::Lake;
use crate::pinned::PinnedTable;
use crate::project::{Expect, Rule, SqlFile, quoted, statement};

/// Keys that are kept of the rows that break a rule.
const KEYS: usize = 10;

/// Bytes that are kept of each of their columns.
const LONGEST_CELL: usize = 200;

/// Columns shown of a table that has no key.
const COLUMNS_WITHOUT_KEY: usize = 3;

impl Refresher {
    /// The rules for which a candidate is not committed, with some of the keys that break them.
    pub(super) async fn broken(
        &self,
        file: &SqlFile,
        candidate: &Candidate,
        verdict: &Verdict,
        now: DateTime<Utc>,
    ) -> Result<Vec<Broken>> {
        let failed = |expect: &&Expect| {
            let mut checks = verdict.checks.iter();
            checks.any(|check| check.rule == expect.name && check.outcome == CheckOutcome::Failed)
        };
        let context = self
            .context_of(file, &candidate.layout, candidate.files.clone())
            .await?;
        let key = file.directives.key.iter().map(|key| key.name.clone());
        let key = shown_key(key.collect(), &candidate.layout.schema);
        let mut broken = Vec::new();
        for expect in file.directives.expects.iter().filter(failed) {
            let check = verdict
                .checks
                .iter()
                .find(|check| check.rule == expect.name);
            let Some(check) = check else { continue };
            let (columns, rows) = failing_rows(&file.name, &expect.rule, &key);
            let keys = match rows {
                Some(_) if expect.on_violation.keeps_out() => {
                    self.kept_out(file, candidate, expect, &columns, now).await
                }
                Some(rows) => match keys_of(&context, &rows, &columns, KEYS, now).await {
                    // A rule that cannot be evaluated for some row is broken by it.
                    Err(error) if error.kind() == ErrorKind::InvalidRequest => {
                        let rows = RowByRow {
                            sessions: &self.sessions,
                            file,
                            key: &columns,
                            keys: KEYS,
                            now,
                        };
                        let judged = rows.judge(&context, &[expect]).await;
                        judged.map(|judged| judged.rules.into_iter().flat_map(|r| r.keys).collect())
                    }
                    keys => keys,
                },
                None => Ok(Vec::new()),
            };
            broken.push(Broken {
                rule: expect.name.clone(),
                violations: check.violations.unwrap_or_default(),
                rows: check.rows.unwrap_or_default(),
                key_columns: columns,
                keys: match keys {
                    Err(error) if ends_the_turn(&error) => return Err(error),
                    keys => keys.unwrap_or_default(),
                },
            });
        }
        Ok(broken)
    }

    /// The keys of rows that a rule keeps out of a candidate.
    async fn kept_out(
        &self,
        file: &SqlFile,
        candidate: &Candidate,
        expect: &Expect,
        columns: &[String],
        now: DateTime<Utc>,
    ) -> Result<Vec<Vec<String>>> {
        let own = &candidate.layout.schema;
        let (name, held, column) = match &candidate.quarantine {
            Some(aside) => {
                let column = rule_column(own, &aside.layout.schema);
                (file.name.quarantine(), aside.as_ref(), column)
            }
            None => {
                let hidden = own.field_with_name(RULE).ok();
                (file.name.clone(), candidate, hidden.map(|_| RULE))
            }
        };
        let Some(column) = column else {
            return Ok(Vec::new());
        };
        let rows = kept_out_rows(&name, column, &expect.name);
        let stored: Arc<dyn TableProvider> = Arc::new(PinnedTable::of_files(
            &self.lake,
            &Lake::table_path(&name),
            held.layout.schema.clone(),
            Vec::new(),
            held.files.clone(),
        ));
        let context = self.sessions.context([(name, stored)])?;
        keys_of(&context, &rows, columns, KEYS, now).await
    }
}

/// The columns by which rows of a table are told apart: its key, or its first columns.
pub(crate) fn shown_key(key: Vec<String>, schema: &Schema) -> Vec<String> {
    if !key.is_empty() {
        return key;
    }
    let fields = schema.fields().iter();
    let plain = fields.filter(|field| !field.data_type().is_nested());
    plain
        .take(COLUMNS_WITHOUT_KEY)
        .map(|field| field.name().clone())
        .collect()
}

/// The column that names the rule of a row that is kept aside: the first behind the table's own.
pub(crate) fn rule_column<'a>(own: &Schema, aside: &'a Schema) -> Option<&'a str> {
    let column = aside.fields().get(own.fields().len())?;
    Some(column.name())
}

/// The rows that a rule keeps out of a table, where they stand, as a FROM clause and what follows it.
pub(crate) fn kept_out_rows(stored: &TableName, column: &str, rule: &str) -> String {
    let (schema, name) = (stored.schema(), stored.name());
    format!("\"{schema}\".\"{name}\" WHERE \"{column}\" = '{rule}'")
}

/// The columns that tell what breaks a rule, and the rows that do, as a FROM clause and what follows it; none for a rule
/// about the table as a whole.
pub(crate) fn failing_rows(
    name: &TableName,
    rule: &Rule,
    key: &[String],
) -> (Vec<String>, Option<String>) {
    let own = format!("\"{}\".\"{}\"", name.schema(), name.name());
    match rule {
        Rule::Row(rule) => {
            let rows = format!("{own} WHERE ({rule}) IS NOT TRUE");
            (key.to_vec(), (!key.is_empty()).then_some(rows))
        }
        Rule::Unique(columns) => {
            let columns: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
            let list = quoted(columns.iter().map(String::as_str));
            let rows = format!("{own} GROUP BY {list} HAVING count(*) > 1");
            (columns, Some(rows))
        }
        Rule::Table(_) => (Vec::new(), None),
    }
}

/// Of a table without a key it may be any text.
fn shortened(mut cell: String) -> String {
    cell.truncate(cell.floor_char_boundary(LONGEST_CELL));
    cell
}

/// Some of the keys of rows, in order, as texts.
pub(crate) async fn keys_of(
    context: &SessionContext,
    rows: &str,
    columns: &[String],
    limit: usize,
    at: DateTime<Utc>,
) -> Result<Vec<Vec<String>>> {
    let list = quoted(columns.iter().map(String::as_str));
    let sql = format!("SELECT {list} FROM {rows} ORDER BY {list} LIMIT {limit}");
    let plan = context.state().statement_to_plan(statement(&sql)?).await?;
    let plan = now::bind(plan, at)?;
    let batches = context.execute_logical_plan(plan).await?.collect().await?;
    let options = FormatOptions::default().with_null("NULL");
    let mut keys = Vec::new();
    for batch in &batches {
        let cells: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<_, _>>()?;
        for row in 0..batch.num_rows() {
            let of_row = cells.iter().map(|cells| cells.value(row).to_string());
            keys.push(of_row.map(shortened).collect());
        }
    }
    Ok(keys)
}
