//! How a table is kept up to date, and what that has taken.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sql_files::TableName;

use crate::age::Age;
use crate::epoch::{EpochLog, Freshness, Manifest, TableState, Work};
use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::project::{CheckedProject, Expect, RefreshPolicy};
use crate::reader::Reader;

/// Versions of a table that are looked back at.
const PAST: usize = 10;

/// How one table is kept up to date.
#[derive(Debug)]
pub struct Explained {
    pub table: TableName,
    pub description: Option<String>,
    pub state: TableState,
    /// Whether it was never made: its state is what it would have, and says why it has not.
    pub is_unbuilt: bool,
    pub technique: Technique,
    /// Tables it reads, with the versions it was made from, or would be.
    pub inputs: BTreeMap<TableName, Option<u64>>,
    pub rules: Vec<Expect>,
    pub at_most_every: Option<Duration>,
    pub age: Option<Age>,
    /// The last versions, newest first.
    pub past: Vec<Past>,
}

/// What a refresh of a table does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Technique {
    /// Folds the messages that are new into the rows of their keys.
    Fold,
    /// The same, and all of them anew when a table changes that it looks rows up in.
    FoldBeside,
    /// Folds all messages anew.
    FoldAnew,
    /// Computes the whole query anew.
    Whole,
    /// The same where less was asked for.
    WholeInstead,
}

impl Technique {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fold | Self::FoldBeside => "fold",
            Self::FoldAnew => "fold anew",
            Self::Whole | Self::WholeInstead => "whole",
        }
    }

    /// Why it is this one, for a person.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Fold => {
                "@cdc: each new message replaces the row of its key; the messages before are not read again"
            }
            Self::FoldBeside => {
                "@cdc: each new message replaces the row of its key; all messages are folded anew when another table that it reads changes"
            }
            Self::FoldAnew => {
                "@refresh full: all messages are folded anew whenever there is a new one"
            }
            Self::Whole => {
                "the query is computed anew from its inputs whenever one of them changes, and written when the rows differ"
            }
            Self::WholeInstead => {
                "@refresh incremental, which only tables with @cdc can be: the query is computed anew from its inputs whenever one of them changes, and written when the rows differ"
            }
        }
    }
}

/// One version of a table.
#[derive(Debug, Clone)]
pub struct Past {
    pub epoch: u64,
    /// Its `now()`; unknown where the epoch is no longer kept and the table does not say.
    pub at: Option<DateTime<Utc>>,
    pub version: u64,
    pub rows: Option<u64>,
    pub work: Option<Work>,
    pub state: Freshness,
}

impl Reader {
    /// How a table is kept up to date as of an epoch.
    ///
    /// # Errors
    /// `NotFound` for a table that the epoch does not know; `InvalidRequest` for one that no file makes.
    pub async fn explain(&self, manifest: &Manifest, table: &TableName) -> Result<Explained> {
        let (project, _) =
            crate::refresh::stored_project(self.lake(), &manifest.project, self.sessions()).await?;
        let never_made = never_made(manifest, &project, table);
        let is_unbuilt = never_made.is_some();
        let state = match never_made {
            Some(state) => state,
            None => manifest.table(table)?.clone(),
        };
        let file = project.project.file(table).ok_or_else(|| {
            Error::invalid(format!(
                "\"{table}\" is not made by a file of the SQL project"
            ))
            .hint("Ask about a table of silver or gold; bronze is what ingest received.")
        })?;
        let inputs = project.tables.get(table).map(|checked| &checked.inputs);
        let inputs = inputs.into_iter().flatten();
        let looks_up = inputs.clone().any(|input| !input.is_bronze());
        Ok(Explained {
            table: table.clone(),
            description: state.description.clone(),
            technique: match (&file.directives.cdc, file.directives.refresh) {
                (Some(_), RefreshPolicy::Full) => Technique::FoldAnew,
                (Some(_), _) if looks_up => Technique::FoldBeside,
                (Some(_), _) => Technique::Fold,
                (None, RefreshPolicy::Incremental) => Technique::WholeInstead,
                (None, _) => Technique::Whole,
            },
            inputs: inputs
                .map(|input| (input.clone(), state.inputs.get(input).copied()))
                .collect(),
            rules: file.directives.expects.clone(),
            at_most_every: file.directives.trigger.at_most_every,
            age: self.ages(manifest).await?.get(table).copied(),
            past: past(self.epochs(), manifest, table).await?,
            state,
            is_unbuilt,
        })
    }
}

/// The state that a table of the project would have, with the reason why it was never made; none where it was.
pub(crate) fn never_made(
    manifest: &Manifest,
    project: &CheckedProject,
    table: &TableName,
) -> Option<TableState> {
    let unbuilt = manifest.unbuilt.get(table)?;
    let (file, checked) = (project.project.file(table)?, project.tables.get(table)?);
    let inputs = checked.inputs.iter().filter_map(|input| {
        let state = manifest.tables.get(input)?;
        Some((input.clone(), state.version))
    });
    let key = file.directives.key.iter().map(|key| key.name.clone());
    let (path, schema) = (Lake::table_path(table), checked.schema.clone());
    Some(TableState {
        state: Freshness::Held,
        reason: Some(unbuilt.reason.clone()),
        description: file.description.clone(),
        column_notes: file.column_notes.clone(),
        key: key.collect(),
        reads_clock: checked.reads_clock,
        inputs: inputs.collect(),
        ..TableState::new(path, 0, schema, manifest.epoch)
    })
}

/// The table's last versions: each epoch says since when its version is there, so the epochs between are not read.
async fn past(epochs: &EpochLog, newest: &Manifest, table: &TableName) -> Result<Vec<Past>> {
    let listed = epochs.listed().await?;
    let mut past = Vec::new();
    let mut current = Some(newest.clone());
    while let Some(manifest) = current.take() {
        let Some(state) = manifest.tables.get(table) else {
            break;
        };
        let at = match state.since < manifest.epoch {
            true => {
                let first = epochs.manifest(state.since).await?;
                first.map(|first| first.now).or(state.computed_at)
            }
            false => Some(manifest.now),
        };
        past.push(Past {
            epoch: state.since,
            at,
            version: state.version,
            rows: state.rows,
            work: state.work.clone(),
            state: state.state,
        });
        if past.len() < PAST {
            current = match listed.range(..state.since).next_back() {
                Some(before) => epochs.manifest(*before).await?,
                None => None,
            };
        }
    }
    Ok(past)
}
