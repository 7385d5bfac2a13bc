use std::sync::Arc;

use engine::{Activity, QueryRow, SessionRow};

use crate::running::Running;
use crate::session::Sessions;

/// What the tables of `system` tell of a server.
pub(crate) struct Served {
    pub(crate) running: Running,
    pub(crate) sessions: Arc<Sessions>,
}

impl Activity for Served {
    fn queries(&self) -> Vec<QueryRow> {
        self.running.rows()
    }

    fn sessions(&self) -> Vec<SessionRow> {
        self.sessions.rows()
    }
}
