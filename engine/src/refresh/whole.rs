use arrow::datatypes::SchemaRef;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt;

use super::Refresher;
use super::build::Candidate;
use super::digest::RowsDigest;
use super::due::Versions;
use super::now;
use crate::delta::{Change, DataFile, TableLayout};
use crate::epoch::{Intent, Manifest};
use crate::error::Result;
use crate::project::SqlFile;
use crate::statement::align;

impl Refresher {
    /// Computes a table in whole from its pinned inputs.
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
        let plan = state.statement_to_plan(file.statement()).await?;
        let reads_clock = now::reads_clock(&plan)?;
        let plan = now::bind(plan, intent.now)?;
        let layout = layout(file, schema);
        let last = next.tables.get(&file.name);
        let committed = self.committed(intent, &file.name, &layout).await?;

        let physical = state.create_physical_plan(&plan).await?;
        let mut stream = execute_stream(physical, context.task_ctx())?;
        let table = self.writer_of(&file.name, &layout).await?;
        let mut staged = table.stage(&layout);
        let mut digest = RowsDigest::new(schema)?;
        while let Some(batch) = stream.next().await {
            let batch = align(&batch?, schema)?;
            digest.add(&batch)?;
            if !committed {
                staged.write(&batch).await?;
            }
        }
        let adds = staged.finish().await?;
        let digest = digest.finish();
        let schema_changed = table.schema()?.fields() != schema.fields();
        let same = last.is_some_and(|last| {
            last.digest.as_deref() == Some(&digest) && last.schema.fields() == schema.fields()
        });
        let (files, change) = if committed {
            (table.files()?, None)
        } else if same {
            let files = table.files()?;
            self.discard_files(&file.name, &adds).await?;
            (files, None)
        } else {
            let change = Change {
                removes: table.removes(|_| true)?,
                schema: schema_changed.then(|| schema.clone()),
                adds,
                ..Change::default()
            };
            (
                change.adds.iter().map(DataFile::from).collect(),
                Some(change),
            )
        };
        Ok(Candidate {
            files,
            change,
            layout,
            digest: Some(digest),
            reads_clock,
            fold: None,
        })
    }
}

fn layout(file: &SqlFile, schema: &SchemaRef) -> TableLayout {
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
