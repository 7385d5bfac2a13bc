use std::collections::BTreeMap;

use sql_files::TableName;

use crate::delta::Table;
use crate::epoch::Manifest;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;

/// What a table's log asks of whoever reads or writes it: versions of the Delta protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Protocol {
    pub reader: i32,
    pub writer: i32,
}

/// The newest version that this program reads, and the newest that it writes.
const NEWEST: Protocol = Protocol {
    reader: 3,
    writer: 7,
};

impl Protocol {
    /// Whether this program reads and writes such tables; their features are checked as a table is opened.
    pub fn is_supported(self) -> bool {
        (1..=NEWEST.reader).contains(&self.reader) && (1..=NEWEST.writer).contains(&self.writer)
    }
}

/// The protocol of each table of an epoch, or why its log cannot be read.
pub async fn protocols(lake: &Lake, manifest: &Manifest) -> BTreeMap<TableName, Result<Protocol>> {
    let mut protocols = BTreeMap::new();
    for (name, state) in &manifest.tables {
        protocols.insert(
            name.clone(),
            protocol(lake, &state.path, state.version).await,
        );
    }
    protocols
}

async fn protocol(lake: &Lake, path: &str, version: u64) -> Result<Protocol> {
    let table = Table::open(lake, path, Some(version)).await?;
    let table = table.ok_or_else(|| {
        Error::new(
            ErrorKind::Corrupt,
            format!("the lake holds no table in \"{path}\", which an epoch names"),
        )
    })?;
    table.protocol()
}
