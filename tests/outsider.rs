//! A producer in a process of its own right: what it is told was written must be there, whatever is killed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use changes::{ChangeEvent, KafkaConfig, Op, Purpose, SourceTable};
use rdkafka::ClientContext;
use rdkafka::Message;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use serde_json::{Map, Value};

use crate::project::PATIENCE;

/// Far above what the embedded sources hand out.
const FIRST_LSN: i64 = 1 << 50;

/// A message of the outsider: partition, offset.
pub(crate) type Place = (i32, i64);

/// What the broker answered, by the number of the message.
#[derive(Default)]
struct Ledger {
    acknowledged: BTreeMap<usize, Place>,
    refused: Vec<String>,
}

#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Ledger>>);

impl ClientContext for Listener {}

impl ProducerContext for Listener {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let mut ledger = self.0.lock().expect("no panic holds it");
        match result {
            Ok(message) => {
                let place = (message.partition(), message.offset());
                ledger.acknowledged.insert(number, place);
            }
            Err((error, _)) => ledger.refused.push(error.to_string()),
        }
    }
}

pub(crate) struct Outsider {
    producer: ThreadedProducer<Listener>,
    listener: Listener,
    sent: usize,
    lsn: i64,
}

impl Outsider {
    pub(crate) fn connect(kafka: &KafkaConfig) -> Self {
        let listener = Listener::default();
        let mut client = kafka.client(&Purpose::Produce);
        // A broker that is killed every second is to be found again at once.
        client
            .set("reconnect.backoff.ms", "20")
            .set("reconnect.backoff.max.ms", "100")
            .set("message.timeout.ms", "300000");
        let producer = client.create_with_context(listener.clone());
        Self {
            producer: producer.expect("a producer"),
            listener,
            sent: 0,
            lsn: FIRST_LSN,
        }
    }

    /// Hands a change over, with the next `source.lsn`.
    pub(crate) fn send(&mut self, table: &str, op: Op, row: Value) {
        self.lsn += 10;
        self.send_at(table, op, row, self.lsn);
    }

    /// As `send`, with a `source.lsn` below that of the last change.
    pub(crate) fn send_late(&mut self, table: &str, op: Op, row: Value) {
        self.send_at(table, op, row, self.lsn - 5);
    }

    fn send_at(&mut self, table: &str, op: Op, row: Value, lsn: i64) {
        let Value::Object(row) = row else {
            unreachable!("rows are objects")
        };
        let column = match table {
            "employees" | "sport_activities" => "id",
            _ => "employee_id",
        };
        let event = ChangeEvent {
            op,
            key: Map::from_iter([(column.to_owned(), row[column].clone())]),
            before: (op == Op::Delete).then(|| row.clone()),
            after: (op != Op::Delete).then_some(row),
            lsn,
            ts_us: 1_700_000_000_000_000,
        };
        let source = SourceTable {
            name: "sportsdata".to_owned(),
            db: "sportsdb".to_owned(),
            schema: "public".to_owned(),
            table: table.to_owned(),
        };
        let (key, value) = (event.key_bytes(), event.value_bytes(&source));
        self.deliver(table, &key, Some(&value));
        if op == Op::Delete {
            self.deliver(table, &key, None);
        }
    }

    /// Hands over a message of any content.
    pub(crate) fn send_bytes(&mut self, table: &str, key: &[u8], value: &[u8]) {
        self.deliver(table, key, Some(value));
    }

    fn deliver(&mut self, table: &str, key: &[u8], value: Option<&[u8]>) {
        let topic = format!("sportsdata.public.{table}");
        let mut record = BaseRecord::with_opaque_to(&topic, self.sent).key(key);
        if let Some(value) = value {
            record = record.payload(value);
        }
        while let Err((error, back)) = self.producer.send(record) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            assert_eq!(error, full, "a message is taken");
            record = back;
            std::thread::sleep(Duration::from_millis(1));
        }
        self.sent += 1;
    }

    /// Waits until every message is acknowledged.
    #[track_caller]
    pub(crate) fn flush(&self) {
        let flushed = self.producer.flush(PATIENCE);
        let ledger = self.listener.0.lock().expect("no panic holds it");
        assert_eq!(ledger.refused, [""; 0], "every message is taken");
        assert!(
            flushed.is_ok() && ledger.acknowledged.len() == self.sent,
            "{} of {} messages acknowledged: {flushed:?}",
            ledger.acknowledged.len(),
            self.sent
        );
    }

    pub(crate) fn acknowledged(&self) -> BTreeMap<usize, Place> {
        let ledger = self.listener.0.lock().expect("no panic holds it");
        ledger.acknowledged.clone()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.sent - self.acknowledged().len()
    }

    pub(crate) fn sent(&self) -> usize {
        self.sent
    }
}
