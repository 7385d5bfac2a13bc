use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Utc};
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::prelude::SessionContext;
use futures::StreamExt;

use super::super::Refresher;
use super::super::build::Candidate;
use super::super::now;
use super::failing::{failing_rows, keys_of};
use super::tally::Tally;
use crate::delta::{DataFile, TableLayout};
use crate::epoch::TableState;
use crate::error::{Error, ErrorKind, Result};
use crate::hidden::{DELETED, RULE};
use crate::lake::Lake;
use crate::pinned::PinnedTable;
use crate::project::{Expect, Rule, SqlFile, statement};
use crate::session::{Sessions, public_view};

impl Refresher {
    /// What the row rules count over a candidate, starting from what is known of the last version.
    pub(super) async fn tally(
        &self,
        file: &SqlFile,
        candidate: &Candidate,
        last: Option<&TableState>,
        now: DateTime<Utc>,
    ) -> Result<Tally> {
        let layout = &candidate.layout;
        if let Some(last) = last.filter(|last| last.schema.fields() == layout.schema.fields()) {
            let before = self.snapshots.files(&last.path, last.version).await?;
            let added = beside(&candidate.files, &before);
            let removed = beside(&before, &candidate.files);
            // Of a table that is made anew, nothing that goes is looked at: it may be damaged.
            if added.len() < candidate.files.len() || removed.is_empty() {
                let mut tally = Tally::of(last);
                tally.add(&self.count_files(file, layout, added, now).await?, 1);
                tally.add(&self.count_files(file, layout, removed, now).await?, -1);
                if tally.is_possible() {
                    return Ok(tally);
                }
            }
        }
        let all = candidate.files.clone();
        self.count_files(file, layout, all, now).await
    }

    /// Whether the candidate is the last version itself.
    pub(super) async fn is_unchanged(
        &self,
        candidate: &Candidate,
        last: &TableState,
    ) -> Result<bool> {
        if candidate.change.is_some() {
            return Ok(false);
        }
        let before = self.snapshots.files(&last.path, last.version).await?;
        let same = |a: &[DataFile], b: &[DataFile]| beside(a, b).is_empty();
        Ok(same(&candidate.files, &before) && same(&before, &candidate.files))
    }

    async fn count_files(
        &self,
        file: &SqlFile,
        layout: &TableLayout,
        files: Vec<DataFile>,
        now: DateTime<Utc>,
    ) -> Result<Tally> {
        let mut tally = Tally::default();
        if files.is_empty() {
            return Ok(tally);
        }
        let watching = watching(file);
        let context = self.context_of(file, layout, files.clone()).await?;
        match count(&context, file, &watching, now).await {
            Ok((rows, violations)) => {
                tally.see(rows);
                for (expect, count) in watching.iter().zip(violations) {
                    tally.violate(&expect.name, count);
                }
            }
            Err(error) if error.kind() == ErrorKind::InvalidRequest => {
                let rows = RowByRow {
                    sessions: &self.sessions,
                    file,
                    key: &[],
                    keys: 0,
                    now,
                };
                let judged = rows.judge(&context, &watching).await?;
                tally.see(judged.rows);
                for (expect, judged) in watching.iter().zip(judged.rules) {
                    tally.violate(&expect.name, judged.violations);
                }
            }
            Err(error) => return Err(error),
        }
        if layout.schema.field_with_name(RULE).is_ok() {
            let path = Lake::table_path(&file.name);
            let rows = self.lake.batch_rows(&path, &files).await;
            let stored = self.stored(file, layout, files);
            let context = self
                .sessions
                .of_batches(rows)
                .context([(file.name.clone(), stored)])?;
            for (rule, rows) in kept_out(&context, file).await? {
                tally.keep_out(&rule, rows);
            }
        }
        Ok(tally)
    }

    fn stored(
        &self,
        file: &SqlFile,
        layout: &TableLayout,
        files: Vec<DataFile>,
    ) -> Arc<dyn TableProvider> {
        let path = Lake::table_path(&file.name);
        let schema = layout.schema.clone();
        Arc::new(PinnedTable::of_files(
            &self.lake,
            &path,
            schema,
            Vec::new(),
            files,
        ))
    }

    /// A session that sees the table, made of these files, as readers would.
    pub(super) async fn context_of(
        &self,
        file: &SqlFile,
        layout: &TableLayout,
        files: Vec<DataFile>,
    ) -> Result<SessionContext> {
        let path = Lake::table_path(&file.name);
        let rows = self.lake.batch_rows(&path, &files).await;
        let public = public_view(&file.name, self.stored(file, layout, files))?;
        let sessions = self.sessions.of_batches(rows);
        sessions.context([(file.name.clone(), public)])
    }
}

/// Row rules that keep nothing out.
fn watching(file: &SqlFile) -> Vec<&Expect> {
    let expects = file.directives.expects.iter();
    expects
        .filter(|expect| expect.is_about_rows() && !expect.on_violation.keeps_out())
        .collect()
}

/// Judges row rules of which one cannot be evaluated on some row: such a row breaks the rule.
pub(crate) struct RowByRow<'a> {
    pub(crate) sessions: &'a Sessions,
    pub(crate) file: &'a SqlFile,
    /// Columns that tell rows apart, and how many of those that break a rule are named by them.
    pub(crate) key: &'a [String],
    pub(crate) keys: usize,
    pub(crate) now: DateTime<Utc>,
}

/// What rules say of a table's rows.
#[derive(Debug, Default)]
pub(crate) struct JudgedRows {
    pub(crate) rows: i64,
    /// In the order of the rules.
    pub(crate) rules: Vec<JudgedRule>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct JudgedRule {
    pub(crate) violations: i64,
    pub(crate) keys: Vec<Vec<String>>,
}

impl RowByRow<'_> {
    /// The rules over the table as a session sees it.
    pub(crate) async fn judge(
        &self,
        context: &SessionContext,
        rules: &[&Expect],
    ) -> Result<JudgedRows> {
        let mut judged = JudgedRows {
            rows: 0,
            rules: vec![JudgedRule::default(); rules.len()],
        };
        let mut stream = table(context, self.file).await?.execute_stream().await?;
        while let Some(batch) = stream.next().await {
            let batch = batch?;
            judged.rows += i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
            for (expect, judged) in rules.iter().zip(&mut judged.rules) {
                self.judge_batch(expect, batch.clone(), judged).await?;
            }
        }
        Ok(judged)
    }

    async fn judge_batch(
        &self,
        expect: &Expect,
        batch: RecordBatch,
        judged: &mut JudgedRule,
    ) -> Result<()> {
        let mut pending = vec![batch];
        while let Some(batch) = pending.pop() {
            let rows = batch.num_rows();
            let missing = self.keys.saturating_sub(judged.keys.len());
            match self.violations(expect, batch.clone(), missing).await {
                Ok(of_batch) => {
                    judged.violations += of_batch.violations;
                    judged.keys.extend(of_batch.keys);
                }
                Err(error) if error.kind() != ErrorKind::InvalidRequest => return Err(error),
                Err(_) if rows <= 1 => {
                    judged.violations += 1;
                    let context = self.context(batch)?;
                    let all = from(self.file);
                    judged
                        .keys
                        .extend(self.keys_of(&context, &all, missing).await?);
                }
                Err(_) => {
                    pending.push(batch.slice(rows / 2, rows - rows / 2));
                    pending.push(batch.slice(0, rows / 2));
                }
            }
        }
        Ok(())
    }

    async fn violations(
        &self,
        expect: &Expect,
        batch: RecordBatch,
        keys: usize,
    ) -> Result<JudgedRule> {
        let context = self.context(batch)?;
        let (_, violations) = count(&context, self.file, &[expect], self.now).await?;
        let violations = violations.into_iter().sum();
        let (_, rows) = failing_rows(&self.file.name, &expect.rule, self.key);
        let keys = match rows {
            Some(rows) if violations > 0 => self.keys_of(&context, &rows, keys).await?,
            _ => Vec::new(),
        };
        Ok(JudgedRule { violations, keys })
    }

    async fn keys_of(
        &self,
        context: &SessionContext,
        rows: &str,
        limit: usize,
    ) -> Result<Vec<Vec<String>>> {
        match limit == 0 || self.key.is_empty() {
            true => Ok(Vec::new()),
            false => keys_of(context, rows, self.key, limit, self.now).await,
        }
    }

    fn context(&self, batch: RecordBatch) -> Result<SessionContext> {
        let rows = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
        let rows: Arc<dyn TableProvider> = Arc::new(rows);
        self.sessions.context([(self.file.name.clone(), rows)])
    }
}

async fn table(
    context: &SessionContext,
    file: &SqlFile,
) -> Result<datafusion::dataframe::DataFrame> {
    let name = format!("{}.{}", file.name.schema(), file.name.name());
    Ok(context.table(name).await?)
}

/// How many rows the table has, and how many of them break each rule.
pub(crate) async fn count(
    context: &SessionContext,
    file: &SqlFile,
    watching: &[&Expect],
    now: DateTime<Utc>,
) -> Result<(i64, Vec<i64>)> {
    if watching.is_empty() {
        let rows = table(context, file).await?.count().await?;
        return Ok((i64::try_from(rows).unwrap_or(i64::MAX), Vec::new()));
    }
    let mut sql = "SELECT count(*)".to_owned();
    for expect in watching {
        if let Rule::Row(rule) = &expect.rule {
            sql.push_str(&format!(", count(*) FILTER (WHERE ({rule}) IS NOT TRUE)"));
        }
    }
    sql.push_str(" FROM ");
    sql.push_str(&from(file));
    let batches = run(context, &sql, now).await?;
    let row = batches.iter().find(|batch| batch.num_rows() == 1);
    let numbers: Option<Vec<i64>> = row.and_then(|row| {
        let columns = row.columns().iter();
        columns
            .map(|column| Some(column.as_primitive_opt::<Int64Type>()?.value(0)))
            .collect()
    });
    let mut numbers = numbers
        .ok_or_else(|| Error::new(ErrorKind::Internal, "a count gave no numbers"))?
        .into_iter();
    Ok((numbers.next().unwrap_or(0), numbers.collect()))
}

/// Rows kept out of the stored table, by what keeps them out.
async fn kept_out(context: &SessionContext, file: &SqlFile) -> Result<Vec<(String, i64)>> {
    let sql = format!(
        "SELECT \"{RULE}\", count(*) FROM {} WHERE \"{DELETED}\" IS NOT TRUE \
         AND \"{RULE}\" IS NOT NULL GROUP BY \"{RULE}\"",
        from(file)
    );
    let mut found = Vec::new();
    for batch in run(context, &sql, DateTime::<Utc>::UNIX_EPOCH).await? {
        let names = batch.column(0).as_string_opt::<i32>();
        let counts = batch.column(1).as_primitive_opt::<Int64Type>();
        if let (Some(names), Some(counts)) = (names, counts) {
            let rows = 0..names.len();
            found.extend(rows.map(|row| (names.value(row).to_owned(), counts.value(row))));
        }
    }
    Ok(found)
}

/// The table, quoted.
fn from(file: &SqlFile) -> String {
    format!("\"{}\".\"{}\"", file.name.schema(), file.name.name())
}

async fn run(context: &SessionContext, sql: &str, at: DateTime<Utc>) -> Result<Vec<RecordBatch>> {
    let plan = context.state().statement_to_plan(statement(sql)?).await?;
    let plan = now::bind(plan, at)?;
    Ok(context.execute_logical_plan(plan).await?.collect().await?)
}

/// The files of `some` that are not among `others`.
fn beside(some: &[DataFile], others: &[DataFile]) -> Vec<DataFile> {
    let others: BTreeSet<&str> = others.iter().map(|file| file.path.as_str()).collect();
    let beside = |file: &&DataFile| !others.contains(file.path.as_str());
    some.iter().filter(beside).cloned().collect()
}
