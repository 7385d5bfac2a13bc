//! How far each bronze table is behind its topic.

use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::error::is_transient;
use crate::metrics;
use crate::progress::Progress;
use crate::topics::Watermarks;

const EVERY: Duration = Duration::from_secs(5);

/// Measures until it is dropped; while the broker is away there is nothing to say.
pub(crate) async fn watch(client: Arc<Client>, progress: Progress) {
    loop {
        tokio::time::sleep(EVERY).await;
        let (client, progress) = (Arc::clone(&client), progress.clone());
        let measured = tokio::task::spawn_blocking(move || measure(&client, &progress)).await;
        if measured.is_err() {
            return;
        }
    }
}

fn measure(client: &Client, progress: &Progress) {
    for (topic, partition) in progress.partitions() {
        let watermarks = match Watermarks::fetch(client, &topic, partition) {
            Ok(watermarks) => watermarks,
            // Each question to brokers that are away takes its time, and there are many.
            Err(error) if is_transient(&error) => return,
            Err(_) => continue,
        };
        let Some(next) = progress.next(&topic, partition) else {
            continue;
        };
        let behind = u64::try_from(watermarks.high.saturating_sub(next)).unwrap_or(0);
        metrics::observe_lag(topic.as_str(), partition, behind);
    }
}
