use serde::{Deserialize, Serialize};
use sql_files::TableName;

use super::rebuilds::Rebuild;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;

/// Where the lake says how the project on disk stands to the one in force.
const STANDING: &str = "_project/_standing";

/// How the SQL project on disk stands to the one that is served, as the refresh role last saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// Why the project on disk cannot be taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problems: Option<String>,
    /// Rebuilds that the edit on disk asks for and that are too large for a save.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Rebuild>,
    /// The texts on disk are those that a rollback put out of force.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rolled_back: bool,
    /// Tables whose file is gone from disk and that are served all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retiring: Vec<TableName>,
}

impl Standing {
    pub(crate) async fn read(lake: &Lake) -> Result<Self> {
        let Some(bytes) = lake.read(STANDING).await? else {
            return Ok(Self::default());
        };
        // Written anew at the next look, so what cannot be read is no reason to stop.
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    pub(super) async fn write(&self, lake: &Lake) -> Result<()> {
        let json = serde_json::to_vec_pretty(self).map_err(|source| {
            Error::new(
                ErrorKind::Internal,
                "could not write the project's standing",
            )
            .caused_by(source)
        })?;
        lake.replace(STANDING, json).await
    }

    /// What an operator should know, one sentence or text each; nothing when the project on disk is the one served.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(problems) = &self.problems {
            notes.push(format!(
                "the SQL project on disk cannot be taken; the last good one is served\n{problems}"
            ));
        }
        if !self.waiting.is_empty() {
            let tables: Vec<String> = self.waiting.iter().map(ToString::to_string).collect();
            notes.push(format!(
                "the edit on disk waits for `sportlake apply`: it rebuilds {}",
                tables.join(", ")
            ));
        }
        if self.rolled_back {
            notes.push(
                "the SQL project on disk was rolled back; it is taken when a file changes or with `sportlake apply`"
                    .to_owned(),
            );
        }
        for table in &self.retiring {
            notes.push(format!(
                "the file of {table} is gone; the table is served and refreshed until `sportlake apply`"
            ));
        }
        notes
    }
}
