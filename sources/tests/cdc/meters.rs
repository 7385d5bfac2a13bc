//! What the meters of this process show, without an exporter.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use opentelemetry::metrics::{
    Gauge, InstrumentBuilder, InstrumentProvider, Meter, MeterProvider, SyncInstrument,
};
use opentelemetry::{InstrumentationScope, KeyValue, global};

use crate::kafka::Kafka;
use crate::node::{Capture, config};
use crate::postgres::Database;

/// The last value of each gauge, by its name and slot.
static SHOWN: Mutex<BTreeMap<(String, String), u64>> = Mutex::new(BTreeMap::new());

/// Shows gauges from now on; to be called before anything is measured.
pub(crate) fn show() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| global::set_meter_provider(Shown));
}

fn shown(gauge: &str, slot: &str) -> u64 {
    let shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let at = (gauge.to_owned(), slot.to_owned());
    shown.get(&at).copied().unwrap_or(0)
}

struct Shown;

impl MeterProvider for Shown {
    fn meter_with_scope(&self, _: InstrumentationScope) -> Meter {
        Meter::new(Arc::new(Shown))
    }
}

impl InstrumentProvider for Shown {
    fn u64_gauge(&self, builder: InstrumentBuilder<'_, Gauge<u64>>) -> Gauge<u64> {
        Gauge::new(Arc::new(Of(builder.name.into_owned())))
    }
}

struct Of(String);

impl SyncInstrument<u64> for Of {
    fn measure(&self, value: u64, attributes: &[KeyValue]) {
        let slot = attributes.iter().find(|one| one.key.as_str() == "slot");
        let slot = slot.map_or_else(String::new, |slot| slot.value.to_string());
        let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
        shown.insert((self.0.clone(), slot), value);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_slot_keeps_is_shown_while_nothing_can_be_written() {
    let Some(database) = Database::create("t_meters") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = Kafka::start(folder.path()).await;
    database.sql(
        "CREATE TABLE many (id int PRIMARY KEY, text text); GRANT SELECT ON many TO sportlake_cdc;
        ALTER PUBLICATION sportlake SET TABLE many",
    );
    let config = config(&database, folder.path());
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    assert_eq!(shown("cdc_connected", "t_meters"), 1);
    drop(kafka);
    // More than waits in memory, so that the capture waits for Kafka, and then still more.
    let (mut rows, mut seen) = (0, 0);
    for more in [200_000, 30_000] {
        database.sql(&format!(
            "INSERT INTO many SELECT id, repeat('x', 500) FROM generate_series({rows} + 1, {rows} + {more}) id"
        ));
        rows += more;
        let least = seen + more * 500;
        let grown = async {
            while shown("cdc_slot_lag_bytes", "t_meters") < least
                || shown("cdc_slot_retained_bytes", "t_meters") < least
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), grown)
            .await
            .expect("it grows");
        // Time for the queue to be full.
        tokio::time::sleep(Duration::from_secs(3)).await;
        seen = shown("cdc_slot_lag_bytes", "t_meters");
    }
    drop(capture);
}
