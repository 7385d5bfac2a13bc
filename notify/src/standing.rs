use std::sync::Arc;

use parking_lot::Mutex;

/// Whether Slack takes messages, for whoever asks how the notifier is.
#[derive(Debug, Clone, Default)]
pub struct Standing(Arc<Mutex<Option<String>>>);

impl Standing {
    /// Why nothing is told until somebody acts; none while messages are taken.
    pub fn trouble(&self) -> Option<String> {
        self.0.lock().clone()
    }

    /// Whether this trouble is another than the last one.
    pub(crate) fn begins(&self, trouble: &str) -> bool {
        let mut last = self.0.lock();
        let is_new = last.as_deref() != Some(trouble);
        if is_new {
            *last = Some(trouble.to_owned());
        }
        is_new
    }

    /// Whether there was any trouble.
    pub(crate) fn ends(&self) -> bool {
        self.0.lock().take().is_some()
    }
}
