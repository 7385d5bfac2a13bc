use std::sync::Arc;

use chrono::{DateTime, Utc};

/// Wall-clock time, handed in by the caller so that tests decide what time it is.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;
