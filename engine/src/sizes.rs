use std::collections::BTreeMap;

use sql_files::TableName;

use crate::epoch::Manifest;
use crate::error::Result;
use crate::reader::Reader;

/// What a table takes in the lake at one version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    pub files: u64,
    pub bytes: u64,
}

impl Reader {
    /// What each table of an epoch takes; what older versions take beside it is not counted.
    pub async fn sizes(&self, manifest: &Manifest) -> Result<BTreeMap<TableName, Size>> {
        let mut sizes = BTreeMap::new();
        for (name, state) in &manifest.tables {
            let files = self.snapshots().files(&state.path, state.version).await?;
            let size = Size {
                files: files.len() as u64,
                bytes: files.iter().map(|file| file.bytes).sum(),
            };
            sizes.insert(name.clone(), size);
        }
        Ok(sizes)
    }
}
