//! What a partition knew about its synced bytes, so that recovery reads only what came later.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::producers::Producers;
use super::sealed;
use super::segment::Segment;

const NAME: &str = "checkpoint";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// The segment being written, as far as its bytes are synced.
    pub(crate) active: Segment,
    /// Exactly the producers of the batches up to there: one known too early would lose a retried batch.
    pub(crate) producers: Producers,
}

impl Checkpoint {
    pub(crate) fn save(&self, directory: &Path) -> io::Result<()> {
        disk::replace_file(&directory.join(NAME), &sealed::seal(self)?)
    }

    /// The saved checkpoint; a torn one counts as none.
    pub(crate) fn load(directory: &Path) -> Option<Self> {
        sealed::unseal(&std::fs::read(directory.join(NAME)).ok()?)
    }
}
