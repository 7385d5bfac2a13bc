use super::Refresher;
use super::build::Candidate;
use crate::epoch::{Intent, Manifest, TableState};
use crate::error::Result;
use crate::lake::Lake;
use crate::project::SqlFile;

impl Refresher {
    /// Commits the rows that a table's rules keep aside; a table without such rules has no quarantine.
    ///
    /// Before the table itself: only together does the manifest name them.
    pub(super) async fn commit_quarantine(
        &mut self,
        next: &mut Manifest,
        intent: &Intent,
        file: &SqlFile,
        candidate: &Candidate,
    ) -> Result<()> {
        let name = file.name.quarantine();
        let Some(aside) = candidate.quarantine.as_deref() else {
            next.tables.remove(&name);
            return Ok(());
        };
        let last = next.tables.get(&name).cloned();
        let (version, is_new) = self.commit(intent, &name, aside, last.as_ref()).await?;
        let kept = last.filter(|_| !is_new);
        let since = kept.as_ref().map_or(intent.epoch, |last| last.since);
        let (path, schema) = (Lake::table_path(&name), aside.layout.schema.clone());
        let description = format!("Rows that the rules of {} keep out of it.", file.name);
        let state = TableState {
            rows: aside.rows,
            description: Some(description),
            computed_at: kept.map_or(Some(intent.now), |last| last.computed_at),
            digest: aside.digest.clone(),
            ..TableState::new(path, version, schema, since)
        };
        next.tables.insert(name, state);
        Ok(())
    }
}
