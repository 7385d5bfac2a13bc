use std::ops::Deref;
use std::sync::Arc;
use std::thread;

use rdkafka::consumer::BaseConsumer;
use tokio::sync::oneshot;

/// The Kafka client, shared by all parts of ingest.
///
/// Closing it waits for the broker, which may be away for good, so whoever drops it last leaves that to a thread
/// that nobody waits for.
pub(crate) struct Client {
    consumer: Option<BaseConsumer>,
    closed: Option<oneshot::Sender<()>>,
}

impl Client {
    /// The client, and what tells that it is closed.
    pub(crate) fn new(consumer: BaseConsumer) -> (Arc<Self>, oneshot::Receiver<()>) {
        let (sender, closed) = oneshot::channel();
        let client = Self {
            consumer: Some(consumer),
            closed: Some(sender),
        };
        (Arc::new(client), closed)
    }
}

impl Deref for Client {
    type Target = BaseConsumer;

    fn deref(&self) -> &BaseConsumer {
        self.consumer.as_ref().expect("taken by drop alone")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let (consumer, closed) = (self.consumer.take(), self.closed.take());
        let close = move || {
            drop(consumer);
            closed.map(|closed| closed.send(()))
        };
        drop(
            thread::Builder::new()
                .name("kafka-close".to_owned())
                .spawn(close),
        );
    }
}
