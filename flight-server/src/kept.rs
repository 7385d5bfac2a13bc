//! What is kept from call to call to save work: sessions of an epoch, and the plans made in them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::{Principal, Session, Statement};
use parking_lot::Mutex;

use crate::metrics;

/// What callers see of epochs, kept for the next call, and the plans kept with each.
const EPOCHS_KEPT: usize = 32;
const PLANS_KEPT: usize = 64;

/// Plans of longer statements are not kept.
const LONGEST_KEPT: usize = 4 * 1024;

/// What nobody asked for in this time goes: by then its epoch may be gone.
const UNUSED: Duration = Duration::from_secs(600);

/// Who looks under which policies, an epoch and the schema of unqualified names. Everything that decides what a name
/// means and which rows it has is in here, so that no plan of one is ever another's.
pub(crate) type EpochKey = ((Principal, u64), u64, Option<String>);

/// What calls on the same epoch share; plans go with their epoch.
pub(crate) struct KeptEpoch {
    pub(crate) session: Session,
    plans: Recent<Bytes, Statement>,
}

impl KeptEpoch {
    pub(crate) fn new(session: Session) -> Self {
        Self {
            session,
            plans: Recent::new(PLANS_KEPT),
        }
    }

    /// The plan made for the same text and parameters.
    pub(crate) fn plan(&self, known: &Bytes) -> Option<Statement> {
        let plan = self.plans.get(known);
        metrics::observe_plan(plan.is_some());
        plan
    }

    pub(crate) fn keep(&self, known: Bytes, statement: Statement) {
        if known.len() <= LONGEST_KEPT {
            self.plans.keep(known, statement);
        }
    }
}

/// The most recently used of something, found by key.
pub(crate) struct Recent<K, V> {
    most: usize,
    entries: Mutex<VecDeque<Entry<K, V>>>,
}

struct Entry<K, V> {
    key: K,
    value: V,
    used: Instant,
}

impl<V: Clone> Recent<EpochKey, V> {
    pub(crate) fn of_epochs() -> Self {
        Self::new(EPOCHS_KEPT)
    }
}

impl<K: PartialEq, V: Clone> Recent<K, V> {
    fn new(most: usize) -> Self {
        Self {
            most,
            entries: Mutex::default(),
        }
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        let mut entries = self.entries.lock();
        let index = entries.iter().position(|entry| entry.key == *key)?;
        let mut entry = entries.remove(index)?;
        entry.used = Instant::now();
        let value = entry.value.clone();
        entries.push_front(entry);
        Some(value)
    }

    pub(crate) fn keep(&self, key: K, value: V) {
        self.keep_at(key, value, Instant::now());
    }

    fn keep_at(&self, key: K, value: V, now: Instant) {
        let mut entries = self.entries.lock();
        entries.retain(|entry| entry.key != key && now.duration_since(entry.used) < UNUSED);
        entries.push_front(Entry {
            key,
            value,
            used: now,
        });
        entries.truncate(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_is_dropped() {
        let recent = Recent::new(2);
        recent.keep("a", 1);
        recent.keep("b", 2);
        assert_eq!(recent.get(&"a"), Some(1));
        recent.keep("c", 3);
        assert_eq!(recent.get(&"b"), None);
        assert_eq!(recent.get(&"a"), Some(1));
        assert_eq!(recent.get(&"c"), Some(3));
    }

    #[test]
    fn what_nobody_asks_for_goes_with_the_next_that_comes() {
        let recent = Recent::new(8);
        let now = Instant::now();
        recent.keep_at("old", 1, now);
        recent.keep_at("new", 2, now + UNUSED);
        assert_eq!(recent.get(&"old"), None);
        assert_eq!(recent.get(&"new"), Some(2));
    }
}
