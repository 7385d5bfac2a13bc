//! The statements that run, so that a client can cancel one that it sees in its hands as a ticket.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// Tickets that were cancelled before they were used, remembered at most.
const CANCELLED_KEPT: usize = 1024;

/// Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Running(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    next_id: AtomicU64,
    statements: Mutex<Statements>,
}

#[derive(Debug, Default)]
struct Statements {
    /// How many streams read each, and what ends them.
    running: HashMap<u64, (usize, CancellationToken)>,
    /// Those that must not start, from the oldest.
    cancelled: VecDeque<u64>,
}

/// A statement that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Run {
    id: u64,
    token: CancellationToken,
    running: Running,
}

impl Running {
    /// `first_id` differs from start to start, so that the ids of tickets do too.
    pub(crate) fn new(first_id: u64) -> Self {
        Self(Arc::new(Kept {
            next_id: AtomicU64::new(first_id),
            statements: Mutex::default(),
        }))
    }

    /// The id of a new ticket.
    pub(crate) fn id(&self) -> u64 {
        self.0.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Notes that a ticket is used; one that was cancelled ends at once.
    pub(crate) fn start(&self, id: u64) -> Run {
        let mut statements = self.0.statements.lock();
        let refused = statements.cancelled.contains(&id);
        let (readers, token) = statements.running.entry(id).or_default();
        *readers += 1;
        if refused {
            token.cancel();
        }
        Run {
            id,
            token: token.clone(),
            running: self.clone(),
        }
    }

    /// Ends a statement, now or as soon as it starts.
    pub(crate) fn cancel(&self, id: u64) {
        let mut statements = self.0.statements.lock();
        if let Some((_, token)) = statements.running.get(&id) {
            token.cancel();
        }
        statements.cancelled.push_back(id);
        if statements.cancelled.len() > CANCELLED_KEPT {
            statements.cancelled.pop_front();
        }
    }
}

impl Run {
    /// Resolves when somebody cancels the statement.
    pub(crate) async fn cancelled(&self) {
        self.token.cancelled().await;
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let mut statements = self.running.0.statements.lock();
        if let Some((readers, _)) = statements.running.get_mut(&self.id) {
            *readers -= 1;
            if *readers == 0 {
                statements.running.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_cancelled_while_it_runs_and_before() {
        let running = Running::new(7);
        let (first, second) = (running.id(), running.id());
        assert_ne!(first, second);
        let (one, other) = (running.start(first), running.start(second));
        running.cancel(first);
        assert!(one.token.is_cancelled());
        assert!(!other.token.is_cancelled());
        drop((one, other));
        assert!(running.0.statements.lock().running.is_empty());
        let third = running.id();
        running.cancel(third);
        assert!(running.start(third).token.is_cancelled());
    }

    #[test]
    fn what_was_cancelled_is_not_remembered_for_ever() {
        let running = Running::new(0);
        for id in 0..2 * CANCELLED_KEPT as u64 {
            running.cancel(id);
        }
        assert_eq!(running.0.statements.lock().cancelled.len(), CANCELLED_KEPT);
    }
}
