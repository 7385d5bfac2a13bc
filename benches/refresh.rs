//! What 100 new events cost on a long history: `cargo bench --profile dist --workspace --bench refresh -- [EVENTS ..]`.
//!
//! The sport project as it is shipped, `ingest` and `refresh --watch` as processes of their own, the broker in this
//! one. Told are the first build, then for each round the time from the commit of bronze to the epoch that shows it.
#![expect(clippy::print_stdout, reason = "a bench reports on its terminal")]
#![expect(clippy::expect_used, reason = "a bench that fails says where")]

#[path = "../tests/broker.rs"]
mod broker;
mod measured;
#[path = "../tests/ports.rs"]
mod ports;
#[expect(dead_code, reason = "tests use more of it")]
#[path = "../tests/project.rs"]
mod project;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use changes::{KafkaConfig, Purpose};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use crate::broker::Broker;
use crate::measured::{PATIENCE, Usage, wait};
use crate::project::{Project, Running, text};

const TOPIC: &str = "sportsdata.public.sport_activities";
const PARTITIONS: i64 = 3;
const NEW_EVENTS: i64 = 100;
const ROUNDS: usize = 6;
const EVERY: Duration = Duration::from_millis(2);
const HISTORIES: [i64; 3] = [100_000, 1_000_000, 10_000_000];

fn main() {
    let asked: Vec<i64> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let histories = if asked.is_empty() {
        HISTORIES.to_vec()
    } else {
        asked
    };
    for events in histories {
        refresh_after(events);
    }
}

fn refresh_after(events: i64) {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(folder.path().to_owned());
    let project = Project::new().set("kafka.brokers", &broker.address);
    let kafka = KafkaConfig::default().with_brokers(&broker.address);
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/sources/samples");
    let workbooks = ["employes", "sports"].map(|name| format!("{samples}/{name}.xlsx"));
    succeed(&project, &["hr", "import", &workbooks[0], &workbooks[1]]);
    succeed(&project, &["generate", "--days", "1", "--once"]);
    let lake = project.path("data/lake");

    let loaded = first_offsets(&kafka);
    let mut bronze = Bronze::default();
    let producer = kafka.client(&Purpose::Produce).create::<BaseProducer>();
    let producer = producer.expect("a producer");
    produce(&producer, 0..events);
    let begun = Instant::now();
    let _ingest = project.start(&["ingest"]);
    let mut holds = |events: i64| {
        wait("bronze", EVERY, || {
            (bronze.messages(&lake) >= loaded + events).then_some(())
        });
    };
    holds(events);
    let ingested = begun.elapsed();

    let begun = Instant::now();
    let mut refresh = project.start(&["refresh", "--watch"]);
    wait("the first epoch", EVERY, || {
        epoch_of(&lake, bronze_version(&lake))
    });
    let built = begun.elapsed();
    let used = Usage::of(refresh.id());
    println!(
        "{events} events: ingested in {:.1} s; first build {:.1} s from process start ({:.0} events/s), {:.1} CPU s, {} MB at most",
        ingested.as_secs_f64(),
        built.as_secs_f64(),
        events as f64 / built.as_secs_f64(),
        used.cpu_seconds,
        used.peak_megabytes,
    );

    let mut next = events;
    for _ in 0..ROUNDS {
        let before = Usage::of(refresh.id());
        let version = bronze_version(&lake);
        produce(&producer, next..next + NEW_EVENTS);
        next += NEW_EVENTS;
        holds(next);
        let committed = modified(&entry(&lake, bronze_version(&lake)));
        assert!(bronze_version(&lake) > version);
        let epoch = wait("an epoch", EVERY, || epoch_of(&lake, bronze_version(&lake)));
        let shown = modified(&epoch);
        let after = Usage::of(refresh.id());
        println!(
            "  {NEW_EVENTS} new: visible {:.3} s after their commit, {:.2} CPU s, {:.1} MB read",
            shown
                .duration_since(committed)
                .unwrap_or_default()
                .as_secs_f64(),
            after.cpu_seconds - before.cpu_seconds,
            (after.bytes_read - before.bytes_read) as f64 / 1e6,
        );
        for (table, milliseconds) in costs(&epoch) {
            println!("      {table} {milliseconds} ms");
        }
    }
    edit(&project, &mut refresh);
}

/// A gold file is saved: the time until readers see it.
fn edit(project: &Project, refresh: &mut Running) {
    let lake = project.path("data/lake");
    let name = "sql/gold/activites_par_mois.sql";
    let text = project.read(name);
    let edited = text.replacen("\nSELECT\n", "\nSELECT 1 AS un,\n", 1);
    project.write(name, &edited);
    let begun = modified(&project.path(name));
    let shows = |manifest: &Value| {
        let fields = manifest["tables"]["gold.activites_par_mois"]["schema"]["fields"].as_array();
        fields.is_some_and(|fields| fields.iter().any(|field| field["name"] == "un"))
    };
    let epoch = wait("the edit", EVERY, || {
        let (path, manifest) = newest(&lake)?;
        shows(&manifest).then_some(path)
    });
    let took = modified(&epoch).duration_since(begun).unwrap_or_default();
    println!(
        "  an edit of gold.activites_par_mois: visible after {:.3} s",
        took.as_secs_f64()
    );
    refresh.signal(nix::sys::signal::Signal::SIGTERM);
    refresh.end();
}

fn succeed(project: &Project, arguments: &[&str]) {
    let output = project.run(arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

fn produce(producer: &BaseProducer, ids: std::ops::Range<i64>) {
    for id in ids {
        let (key, value) = (format!("{{\"id\":{}}}", subject(id)), envelope(id));
        let partition = i32::try_from(subject(id) % PARTITIONS).expect("small");
        let mut record = BaseRecord::to(TOPIC)
            .partition(partition)
            .key(&key)
            .payload(&value);
        while let Err((error, refused)) = producer.send(record) {
            let is_full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            assert_eq!(error, is_full);
            producer.poll(Duration::from_millis(10));
            record = refused;
        }
    }
    producer.flush(PATIENCE).expect("written");
}

/// 85 events in a hundred create, 12 correct and 3 delete an earlier row, as the Spark baseline's do.
fn subject(id: i64) -> i64 {
    let base = 1_000_000_000;
    match id % 100 {
        0..85 => base + id,
        kind => base + id - id % 100 + (id * 7 + kind) % 85,
    }
}

/// As Debezium writes it with schemas off; the times spread over the two years before 2026-11-24.
fn envelope(id: i64) -> String {
    let employee = 59_000 + id % 161;
    let (at_us, lsn) = (
        1_732_400_000_000_000 + id % 63_000_000 * 1_000_000,
        (1_i64 << 40) + id * 120,
    );
    let at_ms = at_us / 1000;
    let row = format!(
        r#"{{"id":{},"employee_id":{employee},"date_debut":{at_us},"type_activite":"Course à pied","distance_m":{},"duree_s":{},"commentaire":"belle sortie le long du Lez avec les collègues, vent de face au retour"}}"#,
        subject(id),
        500 + id % 40_000,
        600 + id % 9_000
    );
    let (before, after, op) = match id % 100 {
        0..85 => ("null", row.as_str(), "c"),
        85..97 => (row.as_str(), row.as_str(), "u"),
        _ => (row.as_str(), "null", "d"),
    };
    format!(
        concat!(
            r#"{{"before":{before},"after":{after},"source":{{"version":"3.7.0.Final","connector":"postgresql","#,
            r#""name":"sportsdata","ts_ms":{at_ms},"snapshot":"false","db":"sportsdb","sequence":"[\"{lsn}\",\"{lsn}\"]","#,
            r#""ts_us":{at_us},"ts_ns":{at_us}000,"schema":"public","table":"sport_activities","txId":{id},"lsn":{lsn},"#,
            r#""xmin":null,"origin":null,"origin_lsn":null}},"transaction":null,"op":"{op}","ts_ms":{at_ms},"ts_us":{at_us},"ts_ns":{at_us}000}}"#,
        ),
        before = before,
        after = after,
        op = op,
        at_ms = at_ms,
        at_us = at_us,
        lsn = lsn,
        id = id,
    )
}

fn log(lake: &Path) -> PathBuf {
    lake.join("bronze/sport_activities/_delta_log")
}

fn entry(lake: &Path, version: u64) -> PathBuf {
    log(lake).join(format!("{version:020}.json"))
}

/// The newest version of the table of activities.
fn bronze_version(lake: &Path) -> u64 {
    numbered(&log(lake)).map_or(0, |(version, _)| version)
}

/// What bronze holds of the topic, read on from where it was read last: upkeep removes entries that are in a checkpoint.
#[derive(Default)]
struct Bronze {
    /// The next entry of the log.
    version: u64,
    /// The next offset of each partition.
    next: BTreeMap<String, i64>,
}

impl Bronze {
    /// Messages of the topic that are committed.
    fn messages(&mut self, lake: &Path) -> i64 {
        while let Ok(text) = std::fs::read_to_string(entry(lake, self.version)) {
            for line in text.lines() {
                let action: Value = serde_json::from_str(line).expect("an action");
                let app = action.pointer("/txn/appId").and_then(Value::as_str);
                let app = app.filter(|app| app.starts_with("ingest/"));
                let offset = action.pointer("/txn/version").and_then(Value::as_i64);
                if let (Some(app), Some(offset)) = (app, offset) {
                    self.next.insert(app.to_owned(), offset);
                }
            }
            self.version += 1;
        }
        self.next.values().sum()
    }
}

/// Messages of the topic before those of the bench.
fn first_offsets(kafka: &KafkaConfig) -> i64 {
    let consumer: BaseConsumer = kafka
        .client(&Purpose::Administer)
        .create()
        .expect("a client");
    let ends = (0..PARTITIONS).map(|partition| {
        let partition = i32::try_from(partition).expect("small");
        let ends = consumer.fetch_watermarks(TOPIC, partition, Duration::from_secs(60));
        ends.expect("a topic").1
    });
    ends.sum()
}

/// The newest file of a directory whose name is a number.
fn numbered(directory: &Path) -> Option<(u64, PathBuf)> {
    let entries = std::fs::read_dir(directory).ok()?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .filter_map(|path| {
            let number = path
                .file_name()?
                .to_str()?
                .strip_suffix(".json")?
                .parse()
                .ok()?;
            Some((number, path))
        })
        .max()
}

fn newest(lake: &Path) -> Option<(PathBuf, Value)> {
    let (_, path) = numbered(&lake.join("_epochs"))?;
    let manifest = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
    Some((path, manifest))
}

/// The newest epoch, once all gold tables are made from that version of bronze.
fn epoch_of(lake: &Path, version: u64) -> Option<PathBuf> {
    let (path, manifest) = newest(lake)?;
    let tables = &manifest["tables"];
    let silver = &tables["silver.sport_activities"];
    let reads = silver["inputs"]["bronze.sport_activities"].as_u64()?;
    let gold = &tables["gold.eligibilites"]["inputs"]["silver.sport_activities"];
    (reads >= version && *gold == silver["version"]).then_some(path)
}

/// Milliseconds that the tables of an epoch took, those that were made in it.
fn costs(epoch: &Path) -> Vec<(String, u64)> {
    let manifest = std::fs::read(epoch).expect("a manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("a manifest");
    let tables = manifest["tables"].as_object().expect("tables");
    let made = tables
        .iter()
        .filter(|(_, table)| table["since"] == manifest["epoch"]);
    made.filter_map(|(name, table)| Some((name.clone(), table["work"]["milliseconds"].as_u64()?)))
        .collect()
}

fn modified(path: &Path) -> SystemTime {
    let metadata = std::fs::metadata(path).expect("a file");
    metadata.modified().expect("a time")
}
