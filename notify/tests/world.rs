use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use changes::{BACKFILL_COMPLETE, ChangeEvent, Clock, KafkaConfig, Op, Result};
use chrono::{DateTime, Utc};
use notify::{Delivery, Destination, NotifyConfig, Secret, Standing, Until};
use serde_json::{Map, Value, json};
use sources::Publisher;
use sources::broker::{self, BrokerConfig};
use sources::topics::{self, SourceTopic, TopicsConfig};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::slack::Slack;

/// The one moment of these tests, in seconds.
pub(crate) const NOW: i64 = 1_795_600_000;

/// A broker with the company's topics, and a clock that stands.
pub(crate) struct World {
    folder: TempDir,
    kafka: KafkaConfig,
    publisher: Publisher,
    lsn: AtomicI64,
    stop: CancellationToken,
}

pub(crate) fn clock() -> Clock {
    let now = DateTime::<Utc>::from_timestamp(NOW, 0).expect("a time");
    Arc::new(move || now)
}

impl World {
    pub(crate) async fn begin() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let kafka = KafkaConfig::default().with_brokers(address);
        let config = BrokerConfig {
            path: folder.path().join("broker"),
            ..BrokerConfig::default()
        };
        let stop = CancellationToken::new();
        tokio::spawn(broker::serve(listener, config, clock(), stop.clone()));
        topics::ensure(&kafka, &TopicsConfig::default())
            .await
            .expect("the topics");
        let world = Self {
            folder,
            publisher: Publisher::connect(&kafka).expect("a producer"),
            kafka,
            lsn: AtomicI64::new(1),
            stop,
        };
        for (id, name) in [(1, "Juliette"), (2, "Paul"), (3, "Laurence")] {
            world.employee(id, name).await;
        }
        world
    }

    /// Where nobody made the company's topics.
    pub(crate) async fn elsewhere() -> Self {
        let mut world = Self::begin().await;
        world.kafka.prefix = "elsewhere".to_owned();
        world
    }

    /// With a first load that is over.
    pub(crate) async fn loaded() -> Self {
        let world = Self::begin().await;
        world.activity(Op::Create, 1, 1, "Running").await;
        world.mark().await;
        world
    }

    pub(crate) async fn employee(&self, id: i64, name: &str) {
        let topic = SourceTopic::employees(&self.kafka).expect("a topic");
        let row = json!({"id": id, "prenom": name, "nom": "Canary", "adresse": "Canary"});
        self.publish(&topic, Op::Create, id, row).await;
    }

    pub(crate) async fn mark(&self) {
        self.activity(Op::Create, 0, 0, BACKFILL_COMPLETE).await;
    }

    /// 10,8 km in 46 minutes, just now.
    pub(crate) async fn activity(&self, op: Op, id: i64, employee: i64, sport: &str) {
        self.row(
            op,
            id,
            json!({"employee_id": employee, "type_activite": sport}),
        )
        .await;
    }

    /// As `activity`, with other columns.
    pub(crate) async fn row(&self, op: Op, id: i64, columns: Value) {
        let mut row = json!({
            // Local time in Paris, an hour ahead.
            "id": id, "employee_id": 1, "date_debut": (NOW + 3600 - 2760) * 1_000_000, "type_activite": "Running",
            "distance_m": 10_840.0, "duree_s": 2760, "commentaire": null,
        });
        for (name, value) in columns.as_object().expect("columns") {
            row[name] = value.clone();
        }
        let topic = SourceTopic::sport_activities(&self.kafka).expect("a topic");
        self.publish(&topic, op, id, row).await;
    }

    async fn publish(&self, topic: &SourceTopic, op: Op, id: i64, row: Value) {
        let row = row.as_object().cloned();
        let lsn = self.lsn.fetch_add(1, Ordering::Relaxed);
        let event = ChangeEvent {
            op,
            key: Map::from_iter([("id".to_owned(), json!(id))]),
            before: row.clone().filter(|_| op == Op::Delete),
            after: row.filter(|_| op != Op::Delete),
            lsn,
            ts_us: (NOW - 100) * 1_000_000 + lsn * 1000,
        };
        self.publisher
            .publish(topic, &[event], None)
            .await
            .expect("acknowledged");
    }

    /// Quick, so that tests are.
    pub(crate) fn config(&self, slack: &Slack) -> NotifyConfig {
        NotifyConfig {
            path: self.folder.path().join("notify"),
            channel: "C1".to_owned(),
            api: slack.api(),
            interval_ms: 1,
            retry_ms: 10,
            timeout_ms: 1000,
            ..NotifyConfig::default()
        }
    }

    pub(crate) async fn run(
        &self,
        config: NotifyConfig,
        delivery: Delivery,
        until: Until,
        stop: CancellationToken,
    ) -> Result<()> {
        let kafka = self.kafka.clone();
        notify::run(
            kafka,
            config,
            delivery,
            "Europe/Paris",
            clock(),
            until,
            stop,
        )
        .await
    }

    /// Tells everything there is, as a bot.
    pub(crate) async fn tell(&self, slack: &Slack) -> Result<()> {
        self.tell_by(self.config(slack)).await
    }

    pub(crate) async fn tell_by(&self, config: NotifyConfig) -> Result<()> {
        self.run(config, bot(), Until::End, CancellationToken::new())
            .await
    }

    /// Goes on telling until stopped.
    pub(crate) fn start(&self, config: NotifyConfig) -> Telling {
        self.start_by(config, bot())
    }

    pub(crate) fn start_by(&self, config: NotifyConfig, delivery: Delivery) -> Telling {
        let (kafka, stop) = (self.kafka.clone(), CancellationToken::new());
        let run = notify::run(
            kafka,
            config,
            delivery,
            "Europe/Paris",
            clock(),
            Until::Stopped,
            stop.clone(),
        );
        Telling {
            stop,
            run: tokio::spawn(run),
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) struct Telling {
    stop: CancellationToken,
    run: JoinHandle<Result<()>>,
}

impl Telling {
    pub(crate) async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.run.await.expect("no panic")
    }
}

pub(crate) fn bot() -> Delivery {
    let bot = Destination::Bot {
        token: Secret::new("xoxb-123"),
        channel: "C1".to_owned(),
    };
    Delivery::Slack(bot, Standing::default())
}

/// Waits for calls without holding up the runtime.
pub(crate) async fn calls(slack: &Slack, count: usize) -> Vec<String> {
    let slack = slack.clone();
    let waited = tokio::task::spawn_blocking(move || slack.wait_for(count)).await;
    let calls = waited.expect("they arrive");
    calls.iter().map(|call| call.text().to_owned()).collect()
}
