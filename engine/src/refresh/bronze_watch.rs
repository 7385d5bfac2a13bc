use std::collections::BTreeMap;

use sql_files::TableName;

use crate::bronze;
use crate::delta::{DataFile, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;

/// The bronze tables as ingest leaves them.
pub(super) struct BronzeWatch {
    lake: Lake,
    tables: BTreeMap<TableName, Table>,
}

impl BronzeWatch {
    pub(super) fn new(lake: &Lake) -> Self {
        Self {
            lake: lake.clone(),
            tables: BTreeMap::new(),
        }
    }

    /// The newest version of every bronze table. A table that did not move costs one look at one name.
    pub(super) async fn versions(&mut self) -> Result<BTreeMap<TableName, u64>> {
        for name in bronze::names(&self.lake)? {
            if let Some(table) = self.tables.get_mut(&name) {
                if !table.has_next(&self.lake) {
                    continue;
                }
                if table.advance(None).await.is_ok() {
                    table.settle(&self.lake).await?;
                    continue;
                }
                // The log it was read from may have been cleaned since.
                self.tables.remove(&name);
            }
            if let Some(table) = Table::open(&self.lake, &Lake::table_path(&name), None).await? {
                table.settle(&self.lake).await?;
                self.tables.insert(name, table);
            }
        }
        Ok(self.known())
    }

    /// The same as of the last look.
    pub(super) fn known(&self) -> BTreeMap<TableName, u64> {
        self.tables
            .iter()
            .map(|(name, table)| (name.clone(), table.version()))
            .collect()
    }

    /// Files that the versions after `from`, up to and with `to`, brought; None where they are no longer kept.
    pub(super) async fn files_added(
        &mut self,
        name: &TableName,
        from: u64,
        to: u64,
    ) -> Result<Option<Vec<DataFile>>> {
        let files = self.table(name).await?.files_added(from, to).await?;
        let is_there = |file: &DataFile| {
            let path = format!("{}/{}", Lake::table_path(name), file.path);
            self.lake.has_file(&path)
        };
        Ok(files.filter(|files| files.iter().all(is_there)))
    }

    async fn table(&mut self, name: &TableName) -> Result<&Table> {
        if !self.tables.contains_key(name) {
            self.versions().await?;
        }
        self.tables.get(name).ok_or_else(|| {
            Error::new(
                ErrorKind::Corrupt,
                format!("\"{name}\" is gone from the lake"),
            )
        })
    }
}
