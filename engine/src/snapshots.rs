use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::delta::{DataFile, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;

/// Versions kept of each table: a few epochs that statements may still hold.
const VERSIONS_KEPT: usize = 8;

/// File lists of table versions, shared by every reader of a lake. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Snapshots {
    lake: Lake,
    tables: Arc<Mutex<BTreeMap<String, Known>>>,
}

#[derive(Default)]
struct Known {
    newest: Option<Table>,
    files: BTreeMap<u64, Arc<Vec<DataFile>>>,
}

impl Snapshots {
    pub(crate) fn new(lake: &Lake) -> Self {
        Self {
            lake: lake.clone(),
            tables: Arc::default(),
        }
    }

    /// Files of the table in directory `path` at `version`. A newer version is reached from the newest one known.
    pub(crate) async fn files(&self, path: &str, version: u64) -> Result<Arc<Vec<DataFile>>> {
        let newest = {
            let tables = self.tables.lock();
            let known = tables.get(path);
            if let Some(files) = known.and_then(|known| known.files.get(&version)) {
                return Ok(files.clone());
            }
            known.and_then(|known| known.newest.clone())
        };
        let advanced = match newest {
            Some(mut table) if table.version() <= version => {
                let advanced = table.advance(Some(version)).await;
                // Commits between the two may be cleaned from the log.
                advanced.is_ok().then_some(table)
            }
            _ => None,
        };
        let table = match advanced {
            Some(table) => table,
            None => self.load(path, version).await?,
        };
        let files = Arc::new(table.files()?);
        let mut tables = self.tables.lock();
        let known = tables.entry(path.to_owned()).or_default();
        known.files.insert(version, files.clone());
        while known.files.len() > VERSIONS_KEPT {
            known.files.pop_first();
        }
        if known
            .newest
            .as_ref()
            .is_none_or(|newest| newest.version() < version)
        {
            known.newest = Some(table);
        }
        Ok(files)
    }

    async fn load(&self, path: &str, version: u64) -> Result<Table> {
        Table::open(&self.lake, path, Some(version))
            .await?
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Corrupt,
                    format!("the lake holds no table in \"{path}\", which an epoch names"),
                )
            })
    }
}
