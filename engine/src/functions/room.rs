//! What growing functions may make at once, all of a statement's together. It is outside the memory that it is given
//! until the operator that asked for it hands it on.

use std::cell::Cell;

const MOST_BYTES: u64 = 256 << 20;

thread_local! {
    /// What is left of it, while this thread plans a statement or computes its next rows.
    static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Counts what growing functions make meanwhile. The work never leaves its thread.
pub(crate) fn limited<T>(work: impl FnOnce() -> T) -> T {
    within(Some(MOST_BYTES), work)
}

/// Counts nothing meanwhile: the work is an input's, which counts for itself. Once its rows are there, whoever asked for
/// them begins with the next ones.
pub(crate) fn apart<T>(work: impl FnOnce() -> T) -> T {
    within(None, work)
}

fn within<T>(room: Option<u64>, work: impl FnOnce() -> T) -> T {
    let around = LEFT.replace(room);
    let done = work();
    LEFT.set(around.map(|_| MOST_BYTES));
    done
}

/// Whether there is room for that many bytes more.
pub(super) fn takes(bytes: u64) -> bool {
    let Some(left) = LEFT.get() else {
        return true;
    };
    let rest = left.checked_sub(bytes);
    LEFT.set(Some(rest.unwrap_or(left)));
    rest.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_counted_together_until_the_next_rows_come() {
        assert!(takes(u64::MAX), "nobody counts");
        limited(|| {
            for _ in 0..2 {
                assert!(takes(MOST_BYTES / 2) && takes(MOST_BYTES / 2) && !takes(1));
                apart(|| assert!(takes(u64::MAX)));
            }
        });
        assert!(takes(u64::MAX));
    }
}
