//! What a statement's constants may take. They are computed while it is planned, outside the memory that it is given.

use std::cell::Cell;

/// Bytes that growing functions may make of constants in one statement.
const MOST_BYTES: u64 = 256 << 20;

thread_local! {
    /// What is left of it, while this thread plans one.
    static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Counts the constants of one statement, from here until it is dropped. Planning never leaves its thread meanwhile.
pub(crate) struct Constants(());

impl Constants {
    pub(crate) fn of_a_statement() -> Self {
        LEFT.set(Some(MOST_BYTES));
        Self(())
    }
}

impl Drop for Constants {
    fn drop(&mut self) {
        LEFT.set(None);
    }
}

/// Whether there is room for one more constant of that size.
pub(super) fn has_room(bytes: u64) -> bool {
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
    fn constants_are_counted_together_and_for_one_statement() {
        assert!(has_room(u64::MAX), "nothing is planned");
        for _ in 0..2 {
            let _constants = Constants::of_a_statement();
            assert!(has_room(MOST_BYTES / 2) && has_room(MOST_BYTES / 2));
            assert!(!has_room(1));
        }
        assert!(has_room(u64::MAX));
    }
}
