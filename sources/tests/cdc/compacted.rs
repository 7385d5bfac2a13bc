//! Topics of a real Kafka that are compacted.

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;

use crate::java::{RealKafka, jars};
use crate::kafka::{Message, messages};
use crate::node::{Capture, config};
use crate::postgres::Database;
use crate::tables::only;

#[tokio::test(flavor = "multi_thread")]
async fn a_truncate_goes_into_a_compacted_topic() {
    let (Some(jars), Some(database)) = (jars(), Database::create("t_compacted")) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = RealKafka::start(&jars, folder.path()).await;
    let topic = NewTopic::new("sportsdata.public.teams", 2, TopicReplication::Fixed(1));
    let topic = topic.set("cleanup.policy", "compact");
    let created = admin(&kafka)
        .create_topics([&topic], &AdminOptions::new())
        .await;
    assert!(created.expect("an answer").iter().all(Result::is_ok));
    database.sql(
        "CREATE TABLE teams (id int PRIMARY KEY); INSERT INTO teams VALUES (1), (2); GRANT SELECT ON teams TO sportlake_cdc;
         ALTER PUBLICATION sportlake SET TABLE teams",
    );
    for schemas in [false, true] {
        let mut config = config(&database, folder.path());
        config.schemas = schemas;
        let arrived = |id: i64| {
            messages(&kafka.config, "teams", move |found| {
                found.iter().any(|message| key(message)["id"] == id)
            })
        };
        let end = 10 + i64::from(schemas);
        let mut capture = Capture::start(&database, &kafka.config, &config);
        capture.following().await;
        database.sql(&format!("TRUNCATE teams; INSERT INTO teams VALUES ({end})"));
        let mut found = arrived(end).await;
        capture.stop().await;
        for message in &mut found {
            message.key = key(message);
            message.value = payload(&message.value);
        }
        only(&found, &[end]);
        // A consumer reads the key of a truncate as none.
        let truncates = found.iter().filter(|message| message.op() == "t");
        assert!(truncates.clone().count() > 0 && truncates.into_iter().all(|m| m.key.is_null()));
    }
    // A generation empties what was before it in the same way.
    database.sql("INSERT INTO teams VALUES (12)");
    let options = sources::cdc::CdcOptions {
        new_generation: true,
    };
    let config = config(&database, folder.path());
    let mut capture = Capture::start_with(database.address(), &kafka.config, &config, options);
    capture.following().await;
    capture.stop().await;
    let mut found = messages(&kafka.config, "teams", |found| !found.is_empty()).await;
    found.retain(|message| message.generation() > 0);
    only(&found, &[11, 12]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_brokers_find_too_large_is_said_and_sent_again() {
    let (Some(jars), Some(database)) = (jars(), Database::create("t_small_topic")) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = RealKafka::start(&jars, folder.path()).await;
    let admin = admin(&kafka);
    let topic = NewTopic::new("sportsdata.public.films", 1, TopicReplication::Fixed(1));
    let topic = topic.set("max.message.bytes", "20000");
    let created = admin.create_topics([&topic], &AdminOptions::new()).await;
    assert!(created.expect("an answer").iter().all(Result::is_ok));
    database.sql(
        "CREATE TABLE films (id int PRIMARY KEY, film text); GRANT SELECT ON films TO sportlake_cdc;
        ALTER PUBLICATION sportlake SET TABLE films",
    );
    let config = config(&database, folder.path());
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    database.sql(
        "INSERT INTO films SELECT 1, string_agg(md5(n::text), '') FROM generate_series(1, 3000) n",
    );
    let error = capture.ended().await.expect_err("too large");
    assert!(
        error
            .to_string()
            .contains("the brokers take no message of 96"),
        "{error}"
    );
    assert!(
        error
            .hint_text()
            .is_some_and(|hint| hint.contains("max.message.bytes of the topic"))
    );
    let larger = AlterConfig::new(ResourceSpecifier::Topic("sportsdata.public.films"));
    let larger = larger.set("max.message.bytes", "200000");
    let altered = admin.alter_configs([&larger], &AdminOptions::new()).await;
    assert!(altered.expect("an answer").iter().all(Result::is_ok));
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    let found = messages(&kafka.config, "films", |found| !found.is_empty()).await;
    only(&found, &[1]);
    capture.stop().await;
}

fn admin(kafka: &RealKafka) -> AdminClient<DefaultClientContext> {
    let client = kafka.config.client(&changes::Purpose::Administer);
    client.create().expect("a client")
}

fn key(message: &Message) -> serde_json::Value {
    payload(&message.key)
}

fn payload(value: &serde_json::Value) -> serde_json::Value {
    value.get("payload").unwrap_or(value).clone()
}
