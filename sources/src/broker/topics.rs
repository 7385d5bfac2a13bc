//! The topics and their directories: created, grown and deleted so that a crash leaves all or nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use changes::{Error, ErrorKind, Result};
use kafka_protocol::ResponseError;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::Clock;
use super::config::BrokerConfig;
use super::directory::Directory;
use super::log::{Limits, Partition};

/// Settings of a topic that a creator may name. Only `retention.bytes` changes anything here: the log is never
/// compacted and nothing expires by age, which keeps at least what the others promise to keep.
const SETTINGS: [&str; 10] = [
    "cleanup.policy",
    "compression.type",
    "delete.retention.ms",
    "max.message.bytes",
    "message.timestamp.type",
    "min.insync.replicas",
    RETENTION_BYTES,
    "retention.ms",
    "segment.bytes",
    "segment.ms",
];
const RETENTION_BYTES: &str = "retention.bytes";
const MANIFEST: &str = "topic.json";
const MAX_NAME_BYTES: usize = 249;

pub(super) struct Topics {
    root: PathBuf,
    staging: PathBuf,
    trash: PathBuf,
    limits: Limits,
    max_partitions: usize,
    clock: Clock,
    arrivals: watch::Sender<u64>,
    by_name: RwLock<BTreeMap<String, Arc<Topic>>>,
    /// One change of the set of topics at a time.
    changing: Mutex<()>,
}

pub(super) struct Topic {
    pub(super) name: String,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) partitions: Vec<Arc<Partition>>,
}

/// A topic as a creator asks for it.
pub(super) struct NewTopic {
    pub(super) name: String,
    pub(super) partitions: i32,
    pub(super) settings: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Manifest {
    name: String,
    partitions: i32,
    created_ms: i64,
    settings: BTreeMap<String, String>,
}

impl Topics {
    pub(super) fn open(directory: &Directory, config: &BrokerConfig, clock: Clock) -> Result<Self> {
        let topics = Self {
            root: directory.topics(),
            staging: directory.staging(),
            trash: directory.trash(),
            limits: Limits {
                segment_bytes: config.segment_bytes,
                max_batch_bytes: config.max_batch_bytes,
                retention_bytes: config.retention_bytes,
            },
            max_partitions: config.max_partitions,
            clock,
            arrivals: watch::Sender::new(0),
            by_name: RwLock::new(BTreeMap::new()),
            changing: Mutex::new(()),
        };
        let entries = fs::read_dir(&topics.root)
            .and_then(|entries| entries.collect::<io::Result<Vec<_>>>())
            .map_err(|error| unreadable(&topics.root, error))?;
        for entry in entries {
            let topic = topics.load(&entry.path())?;
            topics
                .by_name
                .write()
                .insert(topic.name.clone(), Arc::new(topic));
        }
        Ok(topics)
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.by_name.read().get(name).cloned()
    }

    pub(super) fn partition(
        &self,
        name: &str,
        index: i32,
    ) -> Result<Arc<Partition>, ResponseError> {
        self.get(name)
            .and_then(|topic| topic.partition(index))
            .ok_or(ResponseError::UnknownTopicOrPartition)
    }

    pub(super) fn all(&self) -> Vec<Arc<Topic>> {
        self.by_name.read().values().cloned().collect()
    }

    /// Changes whenever some partition has more to read.
    pub(super) fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrivals.subscribe()
    }

    /// Whether `new` could be created.
    pub(super) fn check(&self, new: &NewTopic) -> Result<(), ResponseError> {
        check_name(&new.name)?;
        if self.get(&new.name).is_some() {
            return Err(ResponseError::TopicAlreadyExists);
        }
        let known = |name: &String| SETTINGS.contains(&name.as_str());
        if !new.settings.keys().all(known) || !retention_is_valid(&new.settings) {
            return Err(ResponseError::InvalidConfig);
        }
        self.check_room(new.partitions)
    }

    /// Creates a topic; once this returns it survives power loss. Blocks on the disk.
    pub(super) fn create(&self, new: NewTopic) -> Result<Arc<Topic>, ResponseError> {
        let _changing = self.changing.lock();
        self.check(&new)?;
        let target = self.root.join(&new.name);
        let manifest = Manifest {
            partitions: new.partitions,
            created_ms: (self.clock)().timestamp_millis(),
            settings: new.settings,
            name: new.name,
        };
        self.build(&manifest, &target)
            .map_err(|error| storage_error("create", &target, &error))?;
        let topic = self.load(&target).map_err(|error| {
            tracing::error!(topic = manifest.name, %error, "new topic not opened");
            ResponseError::KafkaStorageError
        })?;
        let topic = Arc::new(topic);
        self.by_name
            .write()
            .insert(manifest.name, Arc::clone(&topic));
        Ok(topic)
    }

    /// Raises the number of partitions. Blocks on the disk.
    pub(super) fn grow(
        &self,
        name: &str,
        partitions: i32,
        dry_run: bool,
    ) -> Result<(), ResponseError> {
        let _changing = self.changing.lock();
        let topic = self
            .get(name)
            .ok_or(ResponseError::UnknownTopicOrPartition)?;
        let present = topic.partitions.len() as i32;
        if partitions <= present {
            return Err(ResponseError::InvalidPartitions);
        }
        self.check_room(partitions - present)?;
        if dry_run {
            return Ok(());
        }
        let path = self.root.join(name);
        self.extend(&topic, &path, partitions)
            .map_err(|error| storage_error("grow", &path, &error))?;
        let added =
            (present..partitions).map(|index| self.open_partition(&path, &topic.settings, index));
        let added = added.collect::<Result<Vec<_>>>().map_err(|error| {
            tracing::error!(topic = name, %error, "new partition not opened");
            ResponseError::KafkaStorageError
        })?;
        let grown = Topic {
            name: topic.name.clone(),
            settings: topic.settings.clone(),
            partitions: topic.partitions.iter().cloned().chain(added).collect(),
        };
        self.by_name
            .write()
            .insert(name.to_owned(), Arc::new(grown));
        Ok(())
    }

    /// Deletes a topic; once this returns it does not come back. Blocks on the disk.
    pub(super) fn delete(&self, name: &str) -> Result<(), ResponseError> {
        let _changing = self.changing.lock();
        let topic = self
            .get(name)
            .ok_or(ResponseError::UnknownTopicOrPartition)?;
        let path = self.root.join(name);
        let grave = (0_u64..)
            .map(|number| self.trash.join(number.to_string()))
            .find(|grave| !grave.exists())
            .ok_or(ResponseError::KafkaStorageError)?;
        disk::rename(&path, &grave)
            .and_then(|()| disk::sync_directory(&self.root))
            .map_err(|error| storage_error("delete", &path, &error))?;
        self.by_name.write().remove(name);
        for partition in &topic.partitions {
            partition.mark_deleted();
        }
        if let Err(error) = disk::remove_directory(&grave) {
            tracing::warn!(topic = name, %error, "files of a deleted topic are left for the next start");
        }
        Ok(())
    }

    pub(super) fn close(&self) {
        for topic in self.all() {
            for partition in &topic.partitions {
                partition.close();
            }
        }
    }

    fn check_room(&self, more: i32) -> Result<(), ResponseError> {
        let more = usize::try_from(more).unwrap_or(0);
        if more == 0 {
            return Err(ResponseError::InvalidPartitions);
        }
        let topics = self.by_name.read();
        let present: usize = topics.values().map(|topic| topic.partitions.len()).sum();
        if present.saturating_add(more) > self.max_partitions {
            return Err(ResponseError::InvalidPartitions);
        }
        Ok(())
    }

    fn build(&self, manifest: &Manifest, target: &Path) -> io::Result<()> {
        let staged = self.staging.join(&manifest.name);
        if staged.exists() {
            disk::remove_directory(&staged)?;
        }
        disk::make_directory(&staged)?;
        for index in 0..manifest.partitions {
            Partition::create(&staged.join(index.to_string()))?;
        }
        disk::replace_file(&staged.join(MANIFEST), &serde_json::to_vec(manifest)?)?;
        disk::rename(&staged, target)?;
        disk::sync_directory(&self.root)
    }

    fn extend(&self, topic: &Topic, path: &Path, partitions: i32) -> io::Result<()> {
        for index in topic.partitions.len() as i32..partitions {
            let directory = path.join(index.to_string());
            // Left by an attempt that never reached the manifest, hence empty.
            if directory.exists() {
                disk::remove_directory(&directory)?;
            }
            Partition::create(&directory)?;
        }
        // The manifest may name only what lasts.
        disk::sync_directory(path)?;
        let mut manifest: Manifest = serde_json::from_slice(&fs::read(path.join(MANIFEST))?)?;
        manifest.partitions = partitions;
        disk::replace_file(&path.join(MANIFEST), &serde_json::to_vec(&manifest)?)
    }

    fn load(&self, path: &Path) -> Result<Topic> {
        let content = fs::read(path.join(MANIFEST)).map_err(|error| unreadable(path, error))?;
        let manifest: Manifest = serde_json::from_slice(&content).map_err(|error| {
            Error::new(
                ErrorKind::Corrupt,
                format!("broker topic {path:?} has a damaged {MANIFEST}"),
            )
            .hint("Restore the file from a copy, or move the directory away to start without the topic.")
            .caused_by(error)
        })?;
        let partitions = (0..manifest.partitions)
            .map(|index| self.open_partition(path, &manifest.settings, index))
            .collect::<Result<Vec<_>>>()?;
        Ok(Topic {
            name: manifest.name,
            settings: manifest.settings,
            partitions,
        })
    }

    fn open_partition(
        &self,
        path: &Path,
        settings: &BTreeMap<String, String>,
        index: i32,
    ) -> Result<Arc<Partition>> {
        let mut limits = self.limits.clone();
        if let Some(retention) = settings.get(RETENTION_BYTES) {
            // -1, "no limit", is no u64.
            limits.retention_bytes = retention.parse().unwrap_or(0);
        }
        let directory = path.join(index.to_string());
        Partition::open(&directory, index, limits, self.arrivals.clone()).map(Arc::new)
    }
}

impl Topic {
    pub(super) fn partition(&self, index: i32) -> Option<Arc<Partition>> {
        let index = usize::try_from(index).ok()?;
        self.partitions.get(index).cloned()
    }
}

/// Names are directories, so only Kafka's own alphabet passes.
pub(super) fn check_name(name: &str) -> Result<(), ResponseError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let sized = !name.is_empty() && name.len() <= MAX_NAME_BYTES;
    if sized && name != "." && name != ".." && name.bytes().all(legal) {
        return Ok(());
    }
    Err(ResponseError::InvalidTopicException)
}

fn retention_is_valid(settings: &BTreeMap<String, String>) -> bool {
    settings
        .get(RETENTION_BYTES)
        .is_none_or(|value| value.parse::<i64>().is_ok_and(|bytes| bytes >= -1))
}

fn storage_error(step: &str, path: &Path, error: &io::Error) -> ResponseError {
    tracing::error!(step, path = %path.display(), %error, "topic not changed");
    ResponseError::KafkaStorageError
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("broker topic directory {path:?} cannot be read"),
    )
    .hint("Check the disk and the rights of the files.")
    .caused_by(error)
}
