//! A table whose rules were edited, and nothing else: its rows are judged anew, its query is not run.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, ident};
use sql_files::TableName;

use super::Refresher;
use super::build::Candidate;
use super::due::Versions;
use crate::epoch::{Freshness, Intent, Manifest, TableState};
use crate::error::Result;
use crate::project::{OnViolation, SqlFile};
use crate::reader::stored_table;

impl Refresher {
    /// Whether a table computed in whole has all its rows already, those that its rules keep out included, so that
    /// only the rules have to be asked.
    pub(super) fn has_its_rows(
        &self,
        file: &SqlFile,
        last: &TableState,
        inputs: &Versions,
        now: DateTime<Utc>,
    ) -> bool {
        let is_asked_for = self.selection.as_ref().is_some_and(|wanted| wanted.full);
        let is_timeless = !last.reads_clock
            || (last.state == Freshness::Fresh && !self.is_past(&file.name, last, now));
        file.directives.cdc.is_none()
            && !is_asked_for
            && is_timeless
            && last.digest.is_some()
            && last.inputs == *inputs
            && last.query == file.query_fingerprint()
            && !has_dropped_rows(last)
    }

    /// The table with its rules asked anew. A new version only where other rows are kept out.
    pub(super) async fn recheck(
        &mut self,
        next: &Manifest,
        intent: &Intent,
        file: &SqlFile,
        schema: &SchemaRef,
        last: &TableState,
    ) -> Result<Candidate> {
        let mut plan = self.rows_of(&file.name, last, schema)?;
        let aside = file.name.quarantine();
        if let Some(state) = next.tables.get(&aside) {
            let kept_aside = self.rows_of(&aside, state, schema)?;
            plan = LogicalPlanBuilder::from(plan).union(kept_aside)?.build()?;
        }
        let keeps_all = !file
            .directives
            .expects
            .iter()
            .any(|e| e.on_violation.keeps_out());
        let only_judge = keeps_all && last.kept_out() == 0;
        let own = [&file.name, &aside].map(|name| (name.clone(), 0));
        let rows = self.batch_rows(next, &own.into()).await?;
        let judged = self.judged(next, intent, file, schema, plan, rows, only_judge);
        let mut candidate = judged.await?;
        candidate.reads_clock = last.reads_clock;
        Ok(candidate)
    }

    /// The columns of `schema` of a stored table.
    fn rows_of(
        &self,
        name: &TableName,
        state: &TableState,
        schema: &SchemaRef,
    ) -> Result<LogicalPlan> {
        let stored = stored_table(&self.lake, &self.snapshots, name, state);
        let stored: Arc<dyn TableProvider> = Arc::new(stored);
        let columns = schema.fields().iter().map(|field| ident(field.name()));
        let plan = LogicalPlanBuilder::scan("stored", provider_as_source(stored), None)?
            .project(columns)?
            .build()?;
        Ok(plan)
    }
}

/// Rows that a rule keeps out and nothing keeps.
fn has_dropped_rows(state: &TableState) -> bool {
    let drop = OnViolation::Drop.to_string();
    let mut rules = state.rules.values();
    rules.any(|rule| rule.kept_out > 0 && rule.action.starts_with(&drop))
}
