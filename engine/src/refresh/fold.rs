//! `@cdc` tables: the current row of each key, from the events that are new.
//!
//! Messages of bronze are evaluated with the file's SELECT into events; of each key's events the last by its place
//! wins, and fields that it left out are taken from older ones; the rules judge the winners; then they replace what
//! the table holds for their keys. Every key keeps a row, also one that is deleted or kept out (`hidden`).

mod calendar;
mod columns;
mod complete;
mod evaluator;
mod events;
mod kept;
mod keys;
mod replace;
mod slot;
mod spill;
mod statement;
mod steps;
mod verdict;
mod winners;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::{Expr, ident, lit};
use datafusion::sql::parser::Statement as PlannerStatement;
use sql_files::TableName;
use tracing::info;

use self::columns::FoldColumns;
use self::events::{Events, Folding};
pub(crate) use self::kept::taken;
use self::keys::Place;
use self::spill::Buckets;
use self::statement::FoldStatements;
use self::verdict::Verdicts;
use self::winners::Winners;
use super::Refresher;
use super::build::Candidate;
use super::due::Versions;
use crate::delta::{Change, DataFile, TableLayout};
use crate::epoch::{FoldState, Intent, Manifest, TableState};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;
use crate::project::{Cdc, RefreshPolicy, SqlFile};

/// The part of the memory limit that the winners of a fold may take.
const SHARE_OF_MEMORY: usize = 2;

/// What an event is expected to take in memory at least, bytes.
const EXPECTED_BYTES: usize = 64;

const TOO_LARGE: &str = "the events do not fit into memory";

/// The new events of a fold.
enum Gathered {
    Kept(Winners),
    Divided(Buckets),
}

impl Gathered {
    fn emptied(&self) -> Option<&Place> {
        match self {
            Self::Kept(winners) => winners.emptied(),
            Self::Divided(buckets) => buckets.emptied(),
        }
    }
}

/// How much of a table a turn may touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// All is built anew.
    Everything,
    /// The keys of the new events; also what an event emptied, also what changed rules say.
    Changes { emptied: bool, rejudged: bool },
}

impl Extent {
    fn is_emptied(self) -> bool {
        matches!(self, Self::Changes { emptied: true, .. })
    }

    fn is_rejudged(self) -> bool {
        matches!(self, Self::Changes { rejudged: true, .. })
    }

    /// Whether nothing but the keys of new events changes.
    fn is_of_winners(self) -> bool {
        let changes = Self::Changes {
            emptied: false,
            rejudged: false,
        };
        self == changes
    }
}

impl Refresher {
    pub(super) fn inputs_of_file(&self, file: &SqlFile) -> Vec<TableName> {
        crate::project::inputs(file).into_iter().collect()
    }

    /// Folds what is new in bronze into the table; all of bronze when the query changed.
    pub(super) async fn fold(
        &mut self,
        next: &Manifest,
        intent: &Intent,
        file: &SqlFile,
        schema: &SchemaRef,
        inputs: &Versions,
    ) -> Result<Candidate> {
        let Some(cdc) = &file.directives.cdc else {
            return Err(Error::new(
                ErrorKind::Internal,
                "only a @cdc table is folded",
            ));
        };
        let columns = FoldColumns::new(file, cdc, schema);
        let layout = layout(file, &columns);
        let last = next.tables.get(&file.name);
        let declared = self.inputs_of_file(file);
        let goes_on =
            !self.is_made_from_the_start() && file.directives.refresh != RefreshPolicy::Full;
        let last = last.filter(|last| goes_on && builds_on(last, file, &layout, &declared, inputs));
        let new = match last {
            Some(last) => self.changes(&declared, &last.inputs, inputs).await?,
            None => None,
        };
        let last = last.filter(|_| new.is_some());
        let folding = Folding {
            next,
            intent,
            inputs,
            file,
            statements: Arc::new(FoldStatements::new(file, cdc, &columns)?),
            events: self.events(&declared, new, inputs).await?,
            declared,
            columns,
        };
        let known = last.and_then(|last| last.fold.clone()).unwrap_or_default();
        let emptied_before = known.emptied.as_deref().map(Place::of);
        let is_committed = self.committed(intent, &file.name, &layout).await?;

        let only = is_committed.then(truncates);
        let gathered = self.gather(&folding, only, emptied_before.as_ref()).await?;
        let emptied = gathered.emptied();
        let state = FoldState {
            rules: Verdicts::fingerprint(file),
            emptied: emptied.map(Place::parts),
        };
        if is_committed {
            let table = self.writer_of(&file.name, &layout).await?;
            let mut candidate = candidate(table.files()?, None, layout);
            candidate.fold = Some(state);
            return Ok(candidate);
        }
        let extent = match last {
            None => Extent::Everything,
            Some(_) => Extent::Changes {
                emptied: emptied != emptied_before.as_ref(),
                rejudged: known.rules != state.rules,
            },
        };
        let verdicts = Verdicts::new(&self.sessions, file, &folding.columns, intent.now).await?;
        let (replaced, buckets) = match gathered {
            Gathered::Kept(winners) => {
                let layout = layout.clone();
                let replaced = self.replace_keys(&folding, layout, winners, &verdicts, extent);
                (replaced.await?, None)
            }
            Gathered::Divided(buckets) => (None, Some(buckets)),
        };
        let mut candidate = match replaced {
            Some(candidate) => candidate,
            None => {
                let buckets = match buckets {
                    Some(buckets) => buckets,
                    None => self.divide(&folding, None, emptied_before.as_ref()).await?,
                };
                self.replace_all(&folding, layout, buckets, &verdicts, extent)
                    .await?
            }
        };
        candidate.fold = Some(state);
        Ok(candidate)
    }

    /// The new events: their winners, or all of them in files where they would not fit into memory.
    async fn gather(
        &self,
        folding: &Folding<'_>,
        only: Option<Expr>,
        emptied: Option<&Place>,
    ) -> Result<Gathered> {
        let limit = self.fold_limit();
        let messages = folding.events.as_ref().map_or(0, Events::messages);
        let expected = usize::try_from(messages).unwrap_or(usize::MAX);
        if expected.saturating_mul(EXPECTED_BYTES) <= limit {
            let mut winners = Winners::new(folding.columns.clone())?;
            emptied
                .into_iter()
                .for_each(|place| winners.empty_before(place.clone()));
            let gathered = self.each_event(folding, only.clone(), |events| {
                winners.push(&events)?;
                match winners.bytes() > limit {
                    true => Err(Error::new(ErrorKind::ResourceExhausted, TOO_LARGE)),
                    false => Ok(()),
                }
            });
            match gathered.await {
                Ok(()) => return Ok(Gathered::Kept(winners)),
                Err(error) if winners.bytes() > limit => drop(error),
                Err(error) => return Err(error),
            }
        }
        let buckets = self.divide(folding, only, emptied).await?;
        Ok(Gathered::Divided(buckets))
    }

    /// Bytes that the winners of a fold may take.
    fn fold_limit(&self) -> usize {
        self.config.memory_limit_bytes / SHARE_OF_MEMORY
    }

    /// The new events, all of them in files.
    async fn divide(
        &self,
        folding: &Folding<'_>,
        only: Option<Expr>,
        emptied: Option<&Place>,
    ) -> Result<Buckets> {
        let runtime = self.sessions.context([])?.runtime_env();
        let mut buckets = Buckets::new(&folding.columns, &runtime)?;
        emptied
            .into_iter()
            .for_each(|place| buckets.empty_before(place.clone()));
        self.each_event(folding, only, |events| buckets.push(events))
            .await?;
        buckets.flush()?;
        Ok(buckets)
    }

    /// The files with the messages that came after those that a version was made from; None where they are no longer
    /// kept, so that it is made from all messages.
    async fn changes(
        &mut self,
        declared: &[TableName],
        from: &Versions,
        inputs: &Versions,
    ) -> Result<Option<Vec<DataFile>>> {
        let Some((name, to)) = messages(declared, inputs) else {
            return Ok(Some(Vec::new()));
        };
        let Some(from) = from.get(name) else {
            return Ok(None);
        };
        let new = self.bronze.files_added(name, *from, to).await?;
        if new.is_none() {
            info!(table = %name, from, "the changes since are no longer kept: all messages are read");
        }
        Ok(new)
    }

    async fn events(
        &mut self,
        declared: &[TableName],
        new: Option<Vec<DataFile>>,
        inputs: &Versions,
    ) -> Result<Option<Events>> {
        let Some((name, to)) = messages(declared, inputs) else {
            return Ok(None);
        };
        let new = match new {
            Some(new) => new,
            None => {
                let path = Lake::table_path(name);
                self.snapshots.files(&path, to).await?.as_ref().clone()
            }
        };
        Ok(Some(Events {
            table: name.clone(),
            new,
            version: to,
        }))
    }
}

/// The bronze table that a fold reads, and the version it reads it at.
fn messages<'a>(declared: &'a [TableName], inputs: &Versions) -> Option<(&'a TableName, u64)> {
    let bronze = declared.iter().find(|name| name.is_bronze())?;
    Some((bronze, *inputs.get(bronze)?))
}

fn truncates() -> Expr {
    ident("op").eq(lit("t"))
}

/// Whether the table as it was last made needs no more than the events that are new.
fn builds_on(
    last: &TableState,
    file: &SqlFile,
    layout: &TableLayout,
    declared: &[TableName],
    inputs: &Versions,
) -> bool {
    let same = |name: &TableName| name.is_bronze() || last.inputs.get(name) == inputs.get(name);
    last.query == file.query_fingerprint()
        && last.schema.fields() == layout.schema.fields()
        && declared.iter().all(same)
}

/// The statement that a `@cdc` file's events are evaluated with.
pub(crate) fn fold_statement(
    file: &SqlFile,
    cdc: &Cdc,
    schema: &SchemaRef,
) -> Result<PlannerStatement> {
    let columns = FoldColumns::new(file, cdc, schema);
    Ok(FoldStatements::new(file, cdc, &columns)?.whole)
}

/// How a fold's table is laid out.
pub(super) fn layout_of(file: &SqlFile, cdc: &Cdc, schema: &SchemaRef) -> TableLayout {
    layout(file, &FoldColumns::new(file, cdc, schema))
}

fn layout(file: &SqlFile, columns: &FoldColumns) -> TableLayout {
    let key = file.directives.key.iter();
    TableLayout {
        schema: columns.stored.clone(),
        partition_columns: Vec::new(),
        stats_columns: key.map(|key| key.name.clone()).collect(),
    }
}

fn candidate(files: Vec<DataFile>, change: Option<Change>, layout: TableLayout) -> Candidate {
    Candidate {
        files,
        change,
        layout,
        digest: None,
        reads_clock: false,
        fold: None,
        tally: None,
        rows: None,
        quarantine: None,
    }
}

#[cfg(test)]
mod tests;
