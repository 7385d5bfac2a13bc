//! The memory that messages may hold between the client and the tables.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Bytes in the hands of the writers, of a fixed allowance.
#[derive(Clone)]
pub(crate) struct Budget {
    shared: Arc<Shared>,
}

struct Shared {
    limit: usize,
    used: Mutex<usize>,
    freed: Condvar,
}

/// Bytes that count against the budget until this is dropped.
pub(crate) struct Reserved {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                limit,
                used: Mutex::new(0),
                freed: Condvar::new(),
            }),
        }
    }

    pub(crate) fn reserve(&self, bytes: usize) -> Reserved {
        *self.shared.used() += bytes;
        Reserved {
            shared: Arc::clone(&self.shared),
            bytes,
        }
    }

    /// Whether `more` bytes beside those reserved stay within the limit.
    pub(crate) fn allows(&self, more: usize) -> bool {
        self.shared.used().saturating_add(more) <= self.shared.limit
    }

    /// Whether the writers hold nothing.
    pub(crate) fn is_unused(&self) -> bool {
        *self.shared.used() == 0
    }

    /// Waits, while `more` bytes do not fit, until something is freed, at most `patience`.
    pub(crate) fn wait(&self, more: usize, patience: Duration) {
        let used = self.shared.used();
        if *used > 0 && used.saturating_add(more) > self.shared.limit {
            drop(
                self.shared
                    .freed
                    .wait_timeout(used, patience)
                    .unwrap_or_else(PoisonError::into_inner),
            );
        }
    }
}

impl Shared {
    /// A count stays right whoever panicked while holding it.
    fn used(&self) -> std::sync::MutexGuard<'_, usize> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        *self.shared.used() -= self.bytes;
        self.shared.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_free_again() {
        let budget = Budget::new(10);
        let first = budget.reserve(8);
        assert!(budget.allows(2));
        assert!(!budget.allows(3));
        let second = budget.reserve(8);
        assert!(!budget.allows(0));
        let writer = std::thread::spawn(move || drop(first));
        while !budget.allows(0) {
            budget.wait(0, Duration::from_secs(60));
        }
        writer.join().expect("the writer ends");
        assert!(!budget.is_unused());
        drop(second);
        assert!(budget.is_unused());
        budget.wait(11, Duration::from_secs(60));
    }
}
