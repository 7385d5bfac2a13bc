use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use sql_files::TableName;

use super::give_up::ends_the_turn;
use crate::epoch::Manifest;
use crate::error::Result;
use crate::project::{CheckedProject, SqlFile};
use crate::snapshots::Snapshots;

/// A table that an edit makes anew, and what is read for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuild {
    pub table: TableName,
    /// Rows of its inputs, where their statistics tell.
    pub rows: Option<u64>,
    /// Size of its inputs' data files.
    pub bytes: u64,
}

impl fmt::Display for Rebuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {}", self.table, ByteSize(self.bytes))
    }
}

struct ByteSize(u64);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a size for people needs few digits"
        )]
        let bytes = self.0 as f64;
        match self.0 {
            0..1_000 => write!(f, "{} bytes", self.0),
            1_000..1_000_000 => write!(f, "{:.1} kB", bytes / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.1} MB", bytes / 1e6),
            _ => write!(f, "{:.1} GB", bytes / 1e9),
        }
    }
}

/// Tables whose rows may differ once `after` is in force: new ones, changed queries, and all that read them.
pub(crate) fn affected(
    before: Option<&CheckedProject>,
    after: &CheckedProject,
) -> BTreeSet<TableName> {
    let mut affected = BTreeSet::new();
    for name in &after.order {
        let (Some(file), Some(table)) = (after.project.file(name), after.tables.get(name)) else {
            continue;
        };
        if is_redefined(before, file) || !table.inputs.is_disjoint(&affected) {
            affected.insert(name.clone());
        }
    }
    affected
}

/// Whether a file is new or asks for other rows than the one in force.
pub(super) fn is_redefined(before: Option<&CheckedProject>, file: &SqlFile) -> bool {
    let last = before.and_then(|before| before.project.file(&file.name));
    last.is_none_or(|last| last.query_fingerprint() != file.query_fingerprint())
}

/// What an edit reads beyond an ordinary turn: the inputs of each table with another query, and of each fold whose
/// looked-up tables change.
pub(crate) async fn rebuilds(
    before: Option<&CheckedProject>,
    after: &CheckedProject,
    newest: &Manifest,
    snapshots: &Snapshots,
) -> Result<Vec<Rebuild>> {
    let affected = affected(before, after);
    let mut rebuilds = Vec::new();
    for name in &after.order {
        let (Some(file), Some(table)) = (after.project.file(name), after.tables.get(name)) else {
            continue;
        };
        let refolds = file.directives.cdc.is_some() && !table.inputs.is_disjoint(&affected);
        if !is_redefined(before, file) && !refolds {
            continue;
        }
        let mut rebuild = Rebuild {
            table: name.clone(),
            rows: Some(0),
            bytes: 0,
        };
        for state in table
            .inputs
            .iter()
            .filter_map(|input| newest.tables.get(input))
        {
            let files = match snapshots.files(&state.path, state.version).await {
                Ok(files) => files,
                Err(error) if ends_the_turn(&error) => return Err(error),
                // Whoever makes the table finds the same and holds it.
                Err(_) => {
                    rebuild.rows = None;
                    continue;
                }
            };
            for data in files.iter() {
                rebuild.bytes += data.bytes;
                rebuild.rows = rebuild.rows.zip(data.rows).map(|(sum, rows)| sum + rows);
            }
        }
        rebuilds.push(rebuild);
    }
    Ok(rebuilds)
}
