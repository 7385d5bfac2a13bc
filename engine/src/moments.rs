//! Tables of other moments, for statements that name any.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use sql_files::{CATALOG, TableName};

use crate::delta::Table;
use crate::epoch::Manifest;
use crate::error::{Error, ErrorKind, Result};
use crate::front::{At, Travel};
use crate::pins::Reads;
use crate::reader::{Reader, Session};

/// A table of another moment, by its schema and the name that the statement has for it.
type Named = (String, String, Arc<dyn TableProvider>);

impl Session {
    /// The tables that a statement names as of other moments; unqualified names are in `schema`.
    ///
    /// Each comes from a session of that moment for the same reader, so it shows no more than the newest would.
    pub(crate) async fn moments(
        &self,
        schema: &str,
        travels: &[Travel],
        reads: &mut Reads,
    ) -> Result<Vec<Named>> {
        let mut named = Vec::with_capacity(travels.len());
        for travel in travels {
            let (schema, table) = match travel.table.as_slice() {
                [catalog, schema, table] if catalog == CATALOG => (schema.as_str(), table),
                [schema, table] => (schema.as_str(), table),
                [table] => (schema, table),
                _ => return Err(nowhere(travel)),
            };
            let name = TableName::new(schema, table).map_err(|_| nowhere(travel))?;
            let manifest = match travel.at {
                At::Epoch(epoch) => self.reader().epoch(epoch).await?,
                At::Timestamp(time) => self.reader().epoch_at(time).await?,
                // Whether a table that is not seen has a version is not told either.
                At::Version(_) if !self.shows(schema, table) => return Err(nowhere(travel)),
                At::Version(version) => {
                    reads.versions();
                    self.at_version(&name, version).await?
                }
            };
            reads.also(manifest.epoch);
            let session = self.at(manifest).await?;
            let catalog = session.context().catalog(CATALOG);
            let provider = match catalog.and_then(|catalog| catalog.schema(schema)) {
                Some(schema) => schema.table(table).await?,
                None => None,
            };
            let provider = provider.ok_or_else(|| nowhere(travel))?;
            named.push((schema.to_owned(), travel.alias.clone(), provider));
        }
        Ok(named)
    }

    fn shows(&self, schema: &str, table: &str) -> bool {
        let mut shown = self.tables().iter();
        shown.any(|info| info.schema == schema && info.name == table)
    }

    /// This epoch, with one table at an older version.
    async fn at_version(&self, name: &TableName, version: u64) -> Result<Arc<Manifest>> {
        let gone = || {
            Error::new(
                ErrorKind::NotFound,
                format!("\"{name}\" has no version {version}"),
            )
            .hint("`sportlake explain` names the versions that there are; old ones are cleaned up.")
        };
        let of_table = name
            .quarantine_of()
            .filter(|_| !self.manifest().tables.contains_key(name));
        let name = of_table.as_ref().unwrap_or(name);
        let newest = self.manifest().table(name)?;
        if version > newest.version {
            return Err(gone());
        }
        if version == newest.version {
            return Ok(self.manifest().clone());
        }
        let table = Table::open(self.reader().lake(), &newest.path, Some(version)).await;
        let table = table
            .map_err(|error| gone().caused_by(error))?
            .ok_or_else(gone)?;
        let mut manifest = self.manifest().as_ref().clone();
        if let Some(state) = manifest.tables.get_mut(name) {
            state.version = version;
            state.schema = table.schema()?;
        }
        Ok(Arc::new(manifest))
    }
}

impl Reader {
    /// The newest epoch whose `now` is not after `time`.
    ///
    /// # Errors
    /// `NotFound` when none that is kept is so old.
    pub async fn epoch_at(&self, time: DateTime<Utc>) -> Result<Arc<Manifest>> {
        let epochs = Vec::from_iter(self.epochs().listed().await?);
        let mut found = None;
        let (mut low, mut high) = (0, epochs.len());
        while low < high {
            let middle = low + (high - low) / 2;
            // One that was thinned since it was listed is looked for among the older ones.
            match self.epochs().manifest(epochs[middle]).await? {
                Some(manifest) if manifest.now <= time => {
                    found = Some(Arc::new(manifest));
                    low = middle + 1;
                }
                _ => high = middle,
            }
        }
        found.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("no epoch is kept that is as old as {}", time.to_rfc3339()),
            )
            .hint("Ask for a later time; old epochs are thinned.")
        })
    }
}

fn nowhere(travel: &Travel) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!(
            "there is no table \"{}\" at {}",
            travel.table.join("."),
            travel.at
        ),
    )
    .hint("`SHOW TABLES` lists the tables that there are.")
}
