use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use changes::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::warn;

use super::estimate::Flag;
use super::provider::Profile;
use crate::spelling::plain;

/// Answers that are kept, at most; above it, those that nobody asked for this time go.
const MOST: usize = 200_000;

/// What a provider said of an address and a mode.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Said {
    pub(super) metres: Option<f64>,
    /// From the middle of the commune to where the provider places the address.
    pub(super) away_m: Option<f64>,
    pub(super) flag: Option<Flag>,
}

/// Answers by a hash of provider, address and mode: no address is in the file.
#[derive(Debug)]
pub(super) struct Cache {
    path: PathBuf,
    said: BTreeMap<String, Said>,
    is_lost: bool,
}

impl Cache {
    /// A file that cannot be read is one that is not there: everything is asked again.
    pub(super) fn open(path: &Path) -> Self {
        let said = std::fs::read(path).ok().and_then(|bytes| {
            let said = serde_json::from_slice(&bytes);
            if said.is_err() {
                warn!(path = %path.display(), "the cache of distances is damaged: everything is asked again");
            }
            said.ok()
        });
        Self {
            path: path.to_owned(),
            is_lost: said.is_none(),
            said: said.unwrap_or_default(),
        }
    }

    /// Whether nothing is known of what was answered before.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }

    pub(super) fn key(provider: &str, address: &str, profile: Profile) -> String {
        let text = format!("{provider}\n{profile:?}\n{}", plain(address));
        format!("{:x}", Sha256::digest(text.as_bytes()))
    }

    pub(super) fn get(&self, key: &str) -> Option<Said> {
        self.said.get(key).copied()
    }

    pub(super) fn insert(&mut self, key: String, said: Said) {
        self.said.insert(key, said);
    }

    pub(super) fn keep(&mut self, wanted: impl Fn(&str) -> bool) {
        if self.said.len() > MOST {
            self.said.retain(|key, _| wanted(key));
        }
    }

    pub(super) fn save(&self) -> Result<()> {
        let unsaved = |error: std::io::Error| {
            let message = format!("could not write \"{}\"", self.path.display());
            Error::new(ErrorKind::Unavailable, message)
                .hint("commute.cache must be a file that this user may write.")
                .caused_by(error)
        };
        if let Some(folder) = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            disk::create_directory(folder).map_err(unsaved)?;
        }
        let json = serde_json::to_vec(&self.said).map_err(|error| unsaved(error.into()))?;
        disk::replace_file(&self.path, &json).map_err(unsaved)
    }
}
