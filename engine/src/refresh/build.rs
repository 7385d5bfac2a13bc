use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::datasource::empty::EmptyTable;
use datafusion::prelude::SessionContext;
use deltalake_core::kernel::Add;
use sql_files::TableName;
use tracing::{Instrument, error};

use super::Refresher;
use super::due::{MAY_PASS, Versions, attempt, inputs_of};
use super::edit::{is_served, replaced};
use super::give_up::ends_the_turn;
use super::held::{hold, hold_below};
use super::newer::Watch;
use super::quality::Checks;
use super::rules::{Check, Tally, Verdict};
use super::within::within;
use crate::bronze;
use crate::delta::{Change, DataFile, Table, TableLayout};
use crate::epoch::{FoldState, Intent, Manifest, TableState, Work};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;
use crate::masked::masked;
use crate::project::{CheckedProject, CheckedTable, SqlFile};
use crate::reader::stored_table;
use crate::session::public_views;
use crate::traces;

/// An epoch's tables, not yet published.
pub(super) struct Built {
    /// None when nothing changed.
    pub(super) manifest: Option<Manifest>,
    /// Tables that got a new version.
    pub(super) rebuilt: Vec<TableName>,
}

/// A table's next version, its files written and not committed.
pub(super) struct Candidate {
    /// Every file of the next version, as it would be read.
    pub(super) files: Vec<DataFile>,
    /// None when the rows are those of the last version.
    pub(super) change: Option<Change>,
    /// Columns as stored, hidden ones included.
    pub(super) layout: TableLayout,
    pub(super) digest: Option<String>,
    pub(super) reads_clock: bool,
    /// Where the fold stands, for a table that is one.
    pub(super) fold: Option<FoldState>,
    /// What the row rules counted while the rows were made; None where they are to be counted.
    pub(super) tally: Option<Tally>,
    /// Rows that readers see, where they were counted.
    pub(super) rows: Option<u64>,
    /// The next version of the rows kept out, for a table that keeps them in one of their own.
    pub(super) quarantine: Option<Box<Candidate>>,
}

impl Refresher {
    pub(super) async fn build(
        &mut self,
        intent: &Intent,
        project: &CheckedProject,
    ) -> Result<Built> {
        let before = self.newest.clone();
        let mut next = Manifest {
            epoch: intent.epoch,
            term: self.lease.term(),
            now: intent.now,
            project: intent.project.clone(),
            tables: before
                .as_ref()
                .map(|before| before.tables.clone())
                .unwrap_or_default(),
            unbuilt: BTreeMap::new(),
            replaced: before.as_ref().and_then(|before| replaced(before, intent)),
            refused: intent.refused.clone(),
        };
        next.tables.retain(|name, _| is_served(project, name));
        for (name, version) in &intent.inputs {
            let commit = intent.commits.get(name);
            pin_bronze(&mut next, name, *version, commit);
        }
        let mut watch = self.watch(intent);
        let mut rebuilt = Vec::new();
        let mut checks = Checks::new();
        for name in &project.order {
            let (Some(file), Some(table)) = (project.project.file(name), project.tables.get(name))
            else {
                continue;
            };
            if self.is_left_out(name) {
                let before = before.as_ref();
                if let Some(unbuilt) = before.and_then(|before| before.unbuilt.get(name)) {
                    next.unbuilt.insert(name.clone(), unbuilt.clone());
                }
                continue;
            }
            let versions: Versions = next
                .tables
                .iter()
                .map(|(name, state)| (name.clone(), state.version))
                .collect();
            let inputs = inputs_of(table.inputs.iter(), &versions);
            if hold_below(&mut next, file, &table.inputs) {
                continue;
            }
            let verdict = self
                .table(&mut next, intent, file, table, inputs, &mut watch)
                .await?;
            let is_new =
                next.tables.get(name).map(|state| state.version) != versions.get(name).copied();
            if is_new {
                rebuilt.push(name.clone());
            }
            checks.extend(verdict.map(|verdict| (name.clone(), verdict)));
        }
        self.note_ages(&mut next, intent, project, &mut checks)
            .await?;
        let same = before.as_ref().is_some_and(|before| {
            before.project == next.project
                && before.unbuilt == next.unbuilt
                && before.tables == next.tables
        });
        if !same {
            let recorded = self.record_checks(intent, &mut next, &checks).await;
            match recorded {
                Err(error) if ends_the_turn(&error) => return Err(error),
                Err(error) => {
                    self.tables.remove(&TableName::quality_results());
                    error!(error = %error.with_causes(), "the checks of an epoch are not recorded");
                }
                Ok(()) => {}
            }
        }
        Ok(Built {
            manifest: (!same).then_some(next),
            rebuilt,
        })
    }

    /// Brings one table of the next epoch up to date, or leaves it as it is. The checks made on the way.
    async fn table(
        &mut self,
        next: &mut Manifest,
        intent: &Intent,
        file: &SqlFile,
        table: &CheckedTable,
        inputs: Versions,
        watch: &mut Watch,
    ) -> Result<Option<Vec<Check>>> {
        let name = &file.name;
        let schema = &table.schema;
        let started = Instant::now();
        let attempt = attempt(file, &inputs);
        let last = next.tables.get(name).cloned();
        let edited = self
            .newest
            .as_ref()
            .is_some_and(|newest| newest.project != intent.project);
        let stale = match &last {
            Some(state) => self.is_stale(file, state, &attempt, intent.now, edited),
            None => self.is_untried(file, table.reads_clock, &attempt, intent.now),
        };
        if !stale {
            if let Some(state) = next.tables.get_mut(name) {
                state.description.clone_from(&file.description);
                state.column_notes.clone_from(&file.column_notes);
            } else {
                let newest = self.newest.as_ref();
                let unbuilt = newest.and_then(|newest| newest.unbuilt.get(name));
                let unbuilt = unbuilt.map(|unbuilt| (name.clone(), unbuilt.clone()));
                next.unbuilt.extend(unbuilt);
            }
            return Ok(None);
        }
        let span = traces::table(intent.epoch, name);
        let making = async {
            let kept_rows = last.as_ref().filter(|last| {
                last.schema.fields() == schema.fields()
                    && self.has_its_rows(file, last, &inputs, intent.now)
            });
            let computed_at = kept_rows.map(|last| last.computed_at);
            let tried = match self.open_writers(file, schema).await {
                Ok(()) => {
                    let limit = self.limit();
                    let build = async {
                        let candidate = match kept_rows {
                            Some(last) => self.recheck(next, intent, file, schema, last).await?,
                            None => self.candidate(next, intent, file, schema, &inputs).await?,
                        };
                        let verdict = self.judge(file, &candidate, last.as_ref(), intent.now);
                        let verdict = verdict.await?;
                        Ok((candidate, verdict))
                    };
                    Box::pin(within(limit, watch, build)).await
                }
                Err(error) => Err(error),
            };
            let (candidate, mut verdict) = match tried {
                Ok(tried) => tried,
                Err(error) => {
                    let held = self.held(next, intent, file, &attempt, error).await?;
                    traces::ended(&span, "held");
                    return Ok(held);
                }
            };
            let checks = std::mem::take(&mut verdict.checks);
            if let Some(reason) = verdict.failure {
                self.discard(name, &candidate).await?;
                self.found_same.insert(name.clone(), intent.now);
                traces::ended(&span, "held");
                hold(next, file, &attempt, reason, verdict.broken);
                return Ok(Some(checks));
            }
            let aside = file.name.quarantine();
            let aside_before = next.tables.get(&aside).cloned();
            let committed = self.commit_both(next, intent, file, &candidate, last.as_ref());
            let (version, state_is_new) = match committed.await {
                Ok(committed) => committed,
                Err(error) => {
                    next.tables.remove(&aside);
                    next.tables.extend(aside_before.map(|state| (aside, state)));
                    let held = self.held(next, intent, file, &attempt, error).await?;
                    traces::ended(&span, "held");
                    return Ok(held);
                }
            };
            if candidate.reads_clock && !state_is_new && computed_at.is_none() {
                self.found_same.insert(name.clone(), intent.now);
            }
            let work = match &candidate.change {
                Some(change) => {
                    let work = work(change, started);
                    traces::wrote(&span, &work);
                    Some(work)
                }
                None => last.as_ref().and_then(|last| last.work.clone()),
            };
            let mut state = next_state(
                intent, file, attempt, inputs, version, candidate, verdict, last,
            );
            state.work = work;
            if let Some(computed_at) = computed_at {
                state.computed_at = computed_at;
            }
            traces::made(&span, state.rows);
            next.tables.insert(name.clone(), state);
            self.retries.remove(name);
            Ok(Some(checks))
        };
        let made = Box::pin(making).instrument(span.clone()).await;
        made.inspect_err(|error| traces::failed(&span, error))
    }

    /// Holds a table whose build failed, unless its error ends the turn. What it committed for this epoch, before an
    /// interruption or before the error, is put back.
    async fn held(
        &mut self,
        next: &mut Manifest,
        intent: &Intent,
        file: &SqlFile,
        attempt: &str,
        error: Error,
    ) -> Result<Option<Vec<Check>>> {
        if ends_the_turn(&error)
            && !(error.kind() == ErrorKind::Unavailable
                && self.is_its_own(intent.epoch, &file.name).await)
        {
            return Err(error);
        }
        if !is_about_the_data(error.kind()) {
            let error = masked(&error.with_causes());
            error!(table = %file.name, error, "a table cannot be made");
            for name in [file.name.clone(), file.name.quarantine()] {
                // It may be in the middle of something.
                self.tables.remove(&name);
            }
        }
        for name in [file.name.clone(), file.name.quarantine()] {
            self.put_back(intent, &name).await?;
        }
        let attempt = match error.kind() {
            ErrorKind::InvalidRequest | ErrorKind::Unsupported => attempt.to_owned(),
            ErrorKind::DeadlineExceeded => {
                self.put_to_rest(file, intent.now);
                attempt.to_owned()
            }
            _ => {
                self.try_later(file, intent.now);
                format!("{attempt}{MAY_PASS}")
            }
        };
        self.found_same.insert(file.name.clone(), intent.now);
        let verdict = Verdict::unreadable(&error);
        let reason = verdict.failure.unwrap_or_default();
        hold(next, file, &attempt, reason, Vec::new());
        Ok(Some(verdict.checks))
    }

    async fn commit_both(
        &mut self,
        next: &mut Manifest,
        intent: &Intent,
        file: &SqlFile,
        candidate: &Candidate,
        last: Option<&TableState>,
    ) -> Result<(u64, bool)> {
        self.commit_quarantine(next, intent, file, candidate)
            .await?;
        self.commit(intent, &file.name, candidate, last).await
    }

    async fn candidate(
        &mut self,
        next: &Manifest,
        intent: &Intent,
        file: &SqlFile,
        schema: &SchemaRef,
        inputs: &Versions,
    ) -> Result<Candidate> {
        if file.directives.cdc.is_some() {
            self.fold(next, intent, file, schema, inputs).await
        } else {
            self.whole(next, intent, file, schema, inputs).await
        }
    }

    pub(super) async fn commit(
        &mut self,
        intent: &Intent,
        name: &TableName,
        candidate: &Candidate,
        last: Option<&TableState>,
    ) -> Result<(u64, bool)> {
        if let Some(change) = candidate.change.clone() {
            self.commit_change(intent, name, &candidate.layout, change)
                .await?;
        }
        // Without a change the writer is at the last version, or at the one that this epoch committed before it was
        // interrupted.
        let version = self.writer_of(name, &candidate.layout).await?.version();
        Ok((version, last.is_none_or(|last| last.version != version)))
    }

    /// Commits one table's part of an epoch.
    pub(super) async fn commit_change(
        &mut self,
        intent: &Intent,
        name: &TableName,
        layout: &TableLayout,
        mut change: Change,
    ) -> Result<()> {
        change.transactions = vec![transaction(intent, name)];
        let table = self.writer_of(name, layout).await?;
        table.commit(change, layout, intent.now).await?;
        Ok(())
    }

    /// A session that sees the given inputs as the next epoch has them.
    pub(super) fn inputs_context(
        &self,
        next: &Manifest,
        inputs: &Versions,
        declared: impl IntoIterator<Item = TableName>,
        replaced: Option<(TableName, Arc<dyn TableProvider>)>,
    ) -> Result<SessionContext> {
        let mut tables: Vec<(TableName, Arc<dyn TableProvider>)> = Vec::new();
        for name in declared {
            if replaced
                .as_ref()
                .is_some_and(|(replaced, _)| *replaced == name)
            {
                continue;
            }
            let stored: Arc<dyn TableProvider> = match next.tables.get(&name) {
                Some(state) if inputs.contains_key(&name) => {
                    Arc::new(stored_table(&self.lake, &self.snapshots, &name, state))
                }
                _ if name.is_bronze() => Arc::new(EmptyTable::new(bronze::schema())),
                _ => continue,
            };
            tables.extend(public_views(&name, stored)?);
        }
        tables.extend(replaced);
        self.sessions.context(tables)
    }

    /// The table as this writer holds it, created when there is none.
    pub(super) async fn writer_of(
        &mut self,
        name: &TableName,
        layout: &TableLayout,
    ) -> Result<&mut Table> {
        if !self.tables.contains_key(name) {
            let path = Lake::table_path(name);
            let table = Table::open_or_create(&self.lake, &path, layout).await?;
            self.tables.insert(name.clone(), table);
        }
        self.tables.get_mut(name).ok_or_else(|| {
            crate::Error::new(ErrorKind::Internal, "a table vanished from its writer")
        })
    }

    /// The version that this epoch already committed before it was interrupted.
    pub(super) async fn committed(
        &mut self,
        intent: &Intent,
        name: &TableName,
        layout: &TableLayout,
    ) -> Result<bool> {
        let epoch = i64::try_from(intent.epoch).unwrap_or(i64::MAX);
        let table = self.writer_of(name, layout).await?;
        Ok(table.transaction(&transaction_id(name)).await? >= Some(epoch))
    }

    /// Removes files that nothing will name.
    async fn discard(&self, name: &TableName, candidate: &Candidate) -> Result<()> {
        if let Some(change) = &candidate.change {
            self.discard_files(name, &change.adds).await?;
        }
        let aside = candidate.quarantine.as_ref();
        if let Some(change) = aside.and_then(|aside| aside.change.as_ref()) {
            self.discard_files(&name.quarantine(), &change.adds).await?;
        }
        Ok(())
    }

    pub(super) async fn discard_files(&self, name: &TableName, adds: &[Add]) -> Result<()> {
        for add in adds {
            let path = format!("{}/{}", Lake::table_path(name), add.path);
            self.lake.remove(&path).await?;
        }
        Ok(())
    }
}

/// What a table's data or its query can do wrong, as against storage or this program.
fn is_about_the_data(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidRequest
            | ErrorKind::Unsupported
            | ErrorKind::ResourceExhausted
            | ErrorKind::DeadlineExceeded
    )
}

/// Marks a table's commit as part of an epoch.
pub(super) fn transaction(intent: &Intent, name: &TableName) -> (String, i64) {
    let epoch = i64::try_from(intent.epoch).unwrap_or(i64::MAX);
    (transaction_id(name), epoch)
}

pub(super) fn transaction_id(name: &TableName) -> String {
    format!("refresh/{name}")
}

#[expect(
    clippy::too_many_arguments,
    reason = "a table's state is made of all of these, in one place"
)]
fn next_state(
    intent: &Intent,
    file: &SqlFile,
    attempt: String,
    inputs: Versions,
    version: u64,
    candidate: Candidate,
    verdict: Verdict,
    last: Option<TableState>,
) -> TableState {
    let unchanged = last.filter(|last| last.version == version);
    let since = unchanged.as_ref().map_or(intent.epoch, |last| last.since);
    let schema = candidate.layout.schema;
    TableState {
        rows: Some(verdict.rows),
        description: file.description.clone(),
        column_notes: file.column_notes.clone(),
        key: file
            .directives
            .key
            .iter()
            .map(|column| column.name.clone())
            .collect(),
        query: file.query_fingerprint(),
        attempt,
        reads_clock: candidate.reads_clock,
        inputs,
        computed_at: match unchanged {
            Some(last) if candidate.change.is_none() => last.computed_at,
            _ => Some(intent.now),
        },
        digest: candidate.digest,
        warnings: verdict.warnings,
        rules: verdict.rules,
        fold: candidate.fold,
        ..TableState::new(Lake::table_path(&file.name), version, schema, since)
    }
}

/// Puts the version of a bronze table that an epoch reads into it.
fn pin_bronze(next: &mut Manifest, name: &TableName, version: u64, commit: Option<&String>) {
    let last = next.tables.get(name);
    let last = last.filter(|last| last.version == version);
    let since = last.map_or(next.epoch, |last| last.since);
    let known = last.and_then(|last| last.commit.clone());
    let state = TableState {
        commit: known.or_else(|| commit.cloned()),
        ..TableState::new(Lake::table_path(name), version, bronze::schema(), since)
    };
    next.tables.insert(name.clone(), state);
}

fn work(change: &Change, started: Instant) -> Work {
    let files = change.adds.iter().map(DataFile::from);
    let (mut rows, mut bytes) = (0, 0);
    for file in files {
        rows += file.rows.unwrap_or(0);
        bytes += file.bytes;
    }
    Work {
        milliseconds: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        rows,
        bytes,
        files: change.adds.len() as u64,
    }
}
