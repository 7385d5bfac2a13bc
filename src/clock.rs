use std::sync::Arc;

use engine::Clock;

/// The one real clock. Everything else is handed a clock, so that a test can replay a moment.
#[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
pub(crate) fn system() -> Clock {
    Arc::new(chrono::Utc::now)
}
