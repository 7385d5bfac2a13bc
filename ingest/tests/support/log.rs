//! What ingest tells its log, for tests that wait for it.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::in_time;

/// Every warning of this process so far, each as its fields.
static WARNINGS: OnceLock<Arc<watch::Sender<Vec<String>>>> = OnceLock::new();

/// Begins to listen, once a process.
pub(crate) fn listen() {
    WARNINGS.get_or_init(|| {
        let told = Arc::new(watch::Sender::new(Vec::new()));
        let listener = Listener(Arc::clone(&told));
        tracing::subscriber::set_global_default(listener).expect("nobody else listens");
        told
    });
}

/// Waits for a warning that holds all of these words.
pub(crate) async fn warned(words: &[&str]) {
    let mut told = WARNINGS.get().expect("somebody listens").subscribe();
    let holds = |warnings: &Vec<String>| {
        let mut warnings = warnings.iter();
        warnings.any(|warning| words.iter().all(|word| warning.contains(word)))
    };
    in_time("a warning", told.wait_for(holds))
        .await
        .expect("it lives as long as the process");
}

struct Listener(Arc<watch::Sender<Vec<String>>>);

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("ingest")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.0.send_modify(|warnings| warnings.push(fields.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!("{}={value:?} ", field.name()));
    }
}
