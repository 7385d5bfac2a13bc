//! How far the commits have come, for the group offsets and the lag that people look at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use changes::Topic;
use engine::bronze::PartitionOffset;

/// Next offset of each partition as its table holds it; shared by the writers, the reader and the lag.
#[derive(Clone, Default)]
pub(crate) struct Progress {
    shared: Arc<Mutex<Committed>>,
}

#[derive(Default)]
struct Committed {
    next: BTreeMap<(Topic, i32), i64>,
    /// Partitions whose group offset is behind.
    unreported: BTreeSet<(Topic, i32)>,
}

impl Progress {
    /// A partition that is read from `next` on.
    pub(crate) fn begin(&self, topic: &Topic, partition: i32, next: i64) {
        self.committed()
            .next
            .insert((topic.clone(), partition), next);
    }

    pub(crate) fn advance(&self, topic: &Topic, offsets: &[PartitionOffset]) {
        let mut committed = self.committed();
        for offset in offsets {
            let key = (topic.clone(), offset.partition);
            committed.next.insert(key.clone(), offset.next);
            committed.unreported.insert(key);
        }
    }

    /// Every partition that is read.
    pub(crate) fn partitions(&self) -> Vec<(Topic, i32)> {
        self.committed().next.keys().cloned().collect()
    }

    pub(crate) fn is_read(&self, topic: &Topic, partition: i32) -> bool {
        self.committed()
            .next
            .contains_key(&(topic.clone(), partition))
    }

    pub(crate) fn next(&self, topic: &Topic, partition: i32) -> Option<i64> {
        self.committed()
            .next
            .get(&(topic.clone(), partition))
            .copied()
    }

    /// What moved since the last call.
    pub(crate) fn take_unreported(&self) -> Vec<(Topic, i32, i64)> {
        let mut committed = self.committed();
        let moved = std::mem::take(&mut committed.unreported);
        moved
            .into_iter()
            .filter_map(|key| {
                let next = *committed.next.get(&key)?;
                Some((key.0, key.1, next))
            })
            .collect()
    }

    /// Offsets only grow by whole steps, so they are right whoever panicked while holding them.
    fn committed(&self) -> std::sync::MutexGuard<'_, Committed> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
