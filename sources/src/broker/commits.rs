//! Offsets that consumer groups committed: a journal of changes, rewritten as a whole when it grew.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use changes::{Error, ErrorKind, Result};
use disk::File;
use kafka_protocol::ResponseError;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::log::sealed;

/// Journal size from which it is rewritten, if most of it is outdated.
const REWRITE_BYTES: u64 = 4 * 1024 * 1024;
const MAX_ENTRIES: usize = 200_000;

pub(super) struct Commits {
    path: PathBuf,
    journal: Mutex<Journal>,
}

struct Journal {
    file: File,
    size: u64,
    groups: BTreeMap<String, GroupOffsets>,
    /// Size when it was last rewritten.
    rewritten: u64,
    failed: bool,
}

/// By topic, then partition.
pub(super) type GroupOffsets = BTreeMap<String, BTreeMap<i32, Committed>>;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Committed {
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) metadata: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Change {
    Commit {
        group: String,
        topic: String,
        partition: i32,
        committed: Committed,
    },
    ForgetGroup {
        group: String,
    },
    ForgetTopic {
        topic: String,
    },
}

impl Commits {
    pub(super) fn open(path: &Path) -> Result<Self> {
        Self::load(path).map_err(|error| {
            Error::new(ErrorKind::Unavailable, format!("{path:?} cannot be read"))
                .hint("Check the disk and the rights of the file.")
                .caused_by(error)
        })
    }

    /// Applies the changes; once this returns they survive power loss. Blocks on the disk.
    pub(super) fn apply(&self, changes: Vec<Change>) -> Result<(), ResponseError> {
        let mut journal = self.journal.lock();
        if journal.failed {
            return Err(ResponseError::KafkaStorageError);
        }
        let entries: usize = journal
            .groups
            .values()
            .flat_map(BTreeMap::values)
            .map(BTreeMap::len)
            .sum();
        let commits = matches!(changes.first(), Some(Change::Commit { .. }));
        if commits && entries.saturating_add(changes.len()) > MAX_ENTRIES {
            return Err(ResponseError::PolicyViolation);
        }
        journal.write(&self.path, changes).map_err(|error| {
            tracing::error!(%error, "committed offsets not written");
            journal.failed = true;
            ResponseError::KafkaStorageError
        })
    }

    pub(super) fn of_group(&self, group: &str) -> GroupOffsets {
        let journal = self.journal.lock();
        journal.groups.get(group).cloned().unwrap_or_default()
    }

    pub(super) fn has_group(&self, group: &str) -> bool {
        self.journal.lock().groups.contains_key(group)
    }

    pub(super) fn groups(&self) -> Vec<String> {
        self.journal.lock().groups.keys().cloned().collect()
    }

    fn load(path: &Path) -> io::Result<Self> {
        let file = File::open_or_create(path)?;
        let content = std::fs::read(path)?;
        let mut groups = BTreeMap::new();
        let mut size = 0;
        while let Some((change, length)) = sealed::unseal_first::<Change>(&content[size..]) {
            replay(&mut groups, change);
            size += length;
        }
        if size < content.len() {
            tracing::warn!(
                bytes = content.len() - size,
                "unacknowledged end of the committed offsets cut off"
            );
            file.set_len(size as u64)?;
        }
        file.sync_all()?;
        if let Some(parent) = path.parent() {
            disk::sync_directory(parent)?;
        }
        let journal = Journal {
            file,
            size: size as u64,
            groups,
            rewritten: 0,
            failed: false,
        };
        Ok(Self {
            path: path.to_owned(),
            journal: Mutex::new(journal),
        })
    }
}

impl Journal {
    fn write(&mut self, path: &Path, changes: Vec<Change>) -> io::Result<()> {
        let mut entries = Vec::new();
        for change in &changes {
            entries.extend(sealed::seal(change)?);
        }
        self.file.write_all_at(&entries, self.size)?;
        self.file.sync_data()?;
        self.size += entries.len() as u64;
        for change in changes {
            replay(&mut self.groups, change);
        }
        if self.size > REWRITE_BYTES && self.size > 2 * self.rewritten {
            self.rewrite(path)?;
        }
        Ok(())
    }

    fn rewrite(&mut self, path: &Path) -> io::Result<()> {
        let mut content = Vec::new();
        for (group, topics) in &self.groups {
            for (topic, partitions) in topics {
                for (&partition, committed) in partitions {
                    content.extend(sealed::seal(&Change::Commit {
                        group: group.clone(),
                        topic: topic.clone(),
                        partition,
                        committed: committed.clone(),
                    })?);
                }
            }
        }
        disk::replace_file(path, &content)?;
        self.file = File::open(path)?;
        self.size = content.len() as u64;
        self.rewritten = self.size;
        Ok(())
    }
}

fn replay(groups: &mut BTreeMap<String, GroupOffsets>, change: Change) {
    match change {
        Change::Commit {
            group,
            topic,
            partition,
            committed,
        } => {
            let topics = groups.entry(group).or_default();
            topics
                .entry(topic)
                .or_default()
                .insert(partition, committed);
        }
        Change::ForgetGroup { group } => {
            groups.remove(&group);
        }
        Change::ForgetTopic { topic } => {
            for topics in groups.values_mut() {
                topics.remove(&topic);
            }
            groups.retain(|_, topics| !topics.is_empty());
        }
    }
}
