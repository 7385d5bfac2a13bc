use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;
use sql_files::TableName;
use tracing::info;

use super::build::Candidate;
use super::digest::RowsDigest;
use super::due::Versions;
use super::give_up::ends_the_turn;
use super::reading::Reading;
use super::within::apart;
use super::{Refresher, now};
use crate::delta::{Change, DataFile, StagedFiles, TableLayout};
use crate::epoch::{Intent, Manifest, TableState};
use crate::error::{ErrorKind, Result};
use crate::lake::Lake;
use crate::pinned::PinnedTable;
use crate::project::{self, SqlFile};
use crate::quarantine;
use crate::session::Sessions;
use crate::width::BATCH_ROWS;

impl Refresher {
    /// Computes a table in whole from its pinned inputs, and the rows that its rules keep out.
    pub(super) async fn whole(
        &mut self,
        next: &Manifest,
        intent: &Intent,
        file: &SqlFile,
        schema: &SchemaRef,
        inputs: &Versions,
    ) -> Result<Candidate> {
        let declared = self.inputs_of_file(file);
        let context = self.inputs_context(next, inputs, declared, None)?;
        let state = context.state();
        let plan = state
            .statement_to_plan(project::planned(file.statement()))
            .await?;
        let reads_clock = now::reads_clock(&plan)?;
        let plan = now::bind(plan, intent.now)?;
        let rows = self.batch_rows(next, inputs).await?;
        let mut candidate = self
            .judged(next, intent, file, schema, plan, rows, false)
            .await?;
        candidate.reads_clock = reads_clock;
        Ok(candidate)
    }

    /// How many rows of its inputs a batch of a table may have.
    pub(super) async fn batch_rows(&self, next: &Manifest, inputs: &Versions) -> Result<usize> {
        let mut rows = BATCH_ROWS;
        for state in inputs.keys().filter_map(|name| next.tables.get(name)) {
            let files = self.snapshots.files(&state.path, state.version).await?;
            rows = rows.min(self.lake.batch_rows(&state.path, &files).await);
        }
        Ok(rows)
    }

    /// The rows of a plan, but for those that the table's rules keep out; only judged where they are the table's already.
    #[expect(
        clippy::too_many_arguments,
        reason = "all that one table's rows are made from"
    )]
    pub(super) async fn judged(
        &mut self,
        next: &Manifest,
        intent: &Intent,
        file: &SqlFile,
        schema: &SchemaRef,
        plan: LogicalPlan,
        batch_rows: usize,
        only_judge: bool,
    ) -> Result<Candidate> {
        let sessions = self.sessions.of_batches(batch_rows);
        let rows = Rows {
            next,
            intent,
            file,
            schema,
            only_judge,
        };
        match self.computed(&rows, plan.clone(), &sessions).await {
            Err(error) if error.kind() == ErrorKind::ResourceExhausted && joins(&plan)? => {
                info!(table = %file.name, "memory or disk is short: its joins are made once more, by sorting");
                self.sessions.until_free().await;
                self.computed(&rows, plan, &sessions.sorting_joins()).await
            }
            computed => computed,
        }
    }

    async fn computed(
        &mut self,
        rows: &Rows<'_>,
        plan: LogicalPlan,
        sessions: &Sessions,
    ) -> Result<Candidate> {
        let Rows {
            next,
            intent,
            file,
            schema,
            only_judge,
        } = *rows;
        let (plan, mut judged) = self.judging(file, plan, schema, intent.now).await?;
        let context = sessions.context([])?;
        let physical = context.state().create_physical_plan(&plan).await?;
        let mut reading = Reading::new(&file.name, &physical)?;
        let mut stream = apart(execute_stream(physical, context.task_ctx())?);
        let mut table = self
            .rewrite(intent, &file.name, layout(file, schema))
            .await?;
        table.as_it_is |= only_judge;
        let mut aside = match judged.has_quarantine() {
            true => {
                let layout = layout(file, &quarantine::schema(schema));
                Some(
                    self.rewrite(intent, &file.name.quarantine(), layout)
                        .await?,
                )
            }
            false => None,
        };
        while let Some(batch) = reading.beside(stream.next()).await {
            let batch = judged.tell_apart(&batch?)?;
            table.write(&batch.rows).await?;
            if let (Some(aside), Some(rows)) = (&mut aside, &batch.kept_aside) {
                aside.write(rows).await?;
            }
        }
        let last = |name: &TableName| next.tables.get(name);
        let mut candidate = self.rewritten(table, last(&file.name)).await?;
        candidate.tally = Some(judged.tally);
        if let Some(aside) = aside {
            let last = last(&file.name.quarantine());
            candidate.quarantine = Some(Box::new(self.rewritten(aside, last).await?));
        }
        Ok(candidate)
    }

    async fn rewrite(
        &mut self,
        intent: &Intent,
        name: &TableName,
        layout: TableLayout,
    ) -> Result<Rewrite> {
        let committed = self.committed(intent, name, &layout).await?;
        let table = self.writer_of(name, &layout).await?;
        Ok(Rewrite {
            name: name.clone(),
            staged: table.stage(&layout),
            digest: RowsDigest::new(&layout.schema)?,
            layout,
            as_it_is: committed,
            rows: 0,
        })
    }

    /// The next version of a table that was written anew; no change where its rows are those of the last one.
    async fn rewritten(
        &mut self,
        rewrite: Rewrite,
        last: Option<&TableState>,
    ) -> Result<Candidate> {
        let Rewrite {
            name,
            layout,
            staged,
            digest,
            as_it_is,
            rows,
        } = rewrite;
        let adds = staged.finish().await?;
        let digest = digest.finish();
        let mut same = last.is_some_and(|last| {
            last.digest.as_deref() == Some(&digest)
                && last.schema.fields() == layout.schema.fields()
        });
        if same && self.is_made_from_the_start() {
            same = self.is_intact(&name, &layout, &digest).await?;
        }
        let table = self.writer_of(&name, &layout).await?;
        let schema_changed = table.schema()?.fields() != layout.schema.fields();
        let (files, change) = if as_it_is {
            (table.files()?, None)
        } else if same {
            let files = table.files()?;
            self.discard_files(&name, &adds).await?;
            (files, None)
        } else {
            let change = Change {
                removes: table.removes(|_| true)?,
                schema: schema_changed.then(|| layout.schema.clone()),
                adds,
                ..Change::default()
            };
            let files = change.adds.iter().map(DataFile::from).collect();
            (files, Some(change))
        };
        Ok(Candidate {
            files,
            change,
            layout,
            digest: Some(digest),
            reads_clock: false,
            fold: None,
            tally: None,
            rows: Some(rows),
            quarantine: None,
        })
    }

    /// Whether the files of a table can be read, and hold the rows that they should.
    async fn is_intact(
        &mut self,
        name: &TableName,
        layout: &TableLayout,
        digest: &str,
    ) -> Result<bool> {
        let files = self.writer_of(name, layout).await?.files()?;
        let path = Lake::table_path(name);
        let rows = self.lake.batch_rows(&path, &files).await;
        let schema = layout.schema.clone();
        let stored = PinnedTable::of_files(&self.lake, &path, schema, Vec::new(), files);
        let context = self.sessions.of_batches(rows).context([])?;
        let read = async {
            let mut found = RowsDigest::new(&layout.schema)?;
            let frame = context.read_table(Arc::new(stored))?;
            let mut rows = frame.execute_stream().await?;
            while let Some(batch) = rows.next().await {
                found.add(&batch?)?;
            }
            Ok(found.finish() == digest)
        };
        match read.await {
            Err(error) if ends_the_turn(&error) => Err(error),
            read => Ok(read.unwrap_or(false)),
        }
    }
}

/// What the rows of a table are made for.
struct Rows<'a> {
    next: &'a Manifest,
    intent: &'a Intent,
    file: &'a SqlFile,
    schema: &'a SchemaRef,
    only_judge: bool,
}

/// Whether a plan, or a subquery in it, joins.
fn joins(plan: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::Join(_) | LogicalPlan::Subquery(_));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// A table being written anew beside its last version.
struct Rewrite {
    name: TableName,
    layout: TableLayout,
    staged: StagedFiles,
    digest: RowsDigest,
    /// Whether its last version is the next one: this epoch already committed it, or its rows stay.
    as_it_is: bool,
    rows: u64,
}

impl Rewrite {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.digest.add(batch)?;
        self.rows += batch.num_rows() as u64;
        if !self.as_it_is {
            self.staged.write(batch).await?;
        }
        Ok(())
    }
}

pub(super) fn layout(file: &SqlFile, schema: &SchemaRef) -> TableLayout {
    let mut stats_columns: Vec<String> = file
        .directives
        .key
        .iter()
        .map(|column| column.name.clone())
        .collect();
    if stats_columns.is_empty() {
        let plain = schema
            .fields()
            .iter()
            .find(|field| !field.data_type().is_nested());
        stats_columns.extend(plain.map(|field| field.name().clone()));
    }
    TableLayout {
        schema: schema.clone(),
        partition_columns: Vec::new(),
        stats_columns,
    }
}
