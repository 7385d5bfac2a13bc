use std::sync::Arc;

use chrono::{DateTime, Utc};

/// What tells the time. Passed in, so that tests decide it.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;
