//! What the capture costs beside a real Debezium, and how soon a commit is seen:
//! `cargo bench --profile dist --workspace --bench capture -- [ROWS [SECONDS]]`, with the variables that `tests/run` sets.
//!
//! One PostgreSQL, one Kafka; first the one, then the other loads ROWS rows (100 000) and follows as many more in
//! transactions of a hundred, then single ones at 500 a second for SECONDS (20). Debezium runs as `docker/debezium/`
//! has it, its JVM with a heap of 512 MB; its processor time is told from the start of the JVM, and without that start.
//! At last commits at the same rate, and a Flight client that asks gold again and again, at a trigger of half a second.
#![expect(clippy::print_stdout, reason = "a bench reports on its terminal")]
#![expect(clippy::expect_used, reason = "a bench that fails says where")]

#[path = "../sources/tests/cdc/java.rs"]
#[expect(dead_code, reason = "tests use more of it")]
mod java;
#[expect(dead_code, reason = "other benches use more of it")]
mod measured;
#[path = "../tests/parts.rs"]
mod parts;
#[path = "../tests/ports.rs"]
mod ports;
#[path = "../sources/tests/cdc/postgres.rs"]
#[expect(dead_code, reason = "tests use more of it")]
mod postgres;
#[expect(dead_code, reason = "tests use more of it")]
#[path = "../tests/project.rs"]
mod project;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use changes::{KafkaConfig, Purpose};
use nix::sys::signal::Signal;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::Offset;
use rdkafka::{Message, TopicPartitionList};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::java::{Connect, RealKafka, jars};
use crate::measured::{Usage, wait};
use crate::parts::part;
use crate::postgres::{Database, PASSWORD, Server};
use crate::project::{Project, Running};

const ROWS: i64 = 100_000;
const SECONDS: u64 = 20;
const A_TRANSACTION: i64 = 100;
const A_SECOND: u64 = 500;
const EVERY: Duration = Duration::from_millis(20);
const JVM: &[&str] = &["-Xmx512m", "-XX:+UseSerialGC"];
const BROKER: &[&str] = &["-Xmx1g", "-XX:+UseSerialGC"];

/// A row as the sport project's are.
fn row(id: &str, comment: &str) -> String {
    format!(
        "{id}, 59000 + {id} % 161, timestamp '2026-01-01' + {id} % 20000000 * interval '1 second', 'Course à pied',
         500 + {id} % 40000, 600 + {id} % 9000, {comment}"
    )
}

fn main() {
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok());
    let rows: i64 = numbers.next().unwrap_or(ROWS);
    let seconds = numbers
        .next()
        .and_then(|seconds| u64::try_from(seconds).ok());
    let seconds = seconds.unwrap_or(SECONDS);
    let profile = if cfg!(debug_assertions) {
        "dev"
    } else {
        "release or dist"
    };
    println!("profile {profile}, {rows} rows, then {A_SECOND} commits a second for {seconds} s");
    let (Some(jars), Some(server)) = (jars(), Server::start(&["wal_level=logical"])) else {
        return;
    };
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let database = Database::on(Arc::new(server), "bench");
    let kafka = runtime.block_on(RealKafka::start_with(&jars, folder.path(), BROKER));

    fill(&database, rows);
    let project = captured(&database, &kafka.config, "ours");
    let capture = project.start(&["cdc"]);
    let ours = Measured {
        name: "sportlake cdc",
        process: capture.id(),
        started: Usage::default(),
        topic: Topic::new(&kafka.config, "ours"),
    };
    ours.measure(&database, rows, seconds);
    drop(capture);
    drop_slot(&database, "sportlake");

    fill(&database, rows);
    let secrets = [("SPORTLAKE_CDC_PASSWORD", PASSWORD)];
    let starting = Connect::start_with(&jars, folder.path(), &kafka.config, &secrets, JVM);
    let connect = runtime.block_on(starting);
    let started = Usage::of(connect.id());
    let otherwise = json!({
        "database.hostname": "127.0.0.1", "database.port": database.server.port.to_string(),
        "database.dbname": database.name, "topic.prefix": "theirs", "slot.name": "theirs",
    });
    let theirs = Measured {
        name: "Debezium",
        process: connect.id(),
        started,
        topic: Topic::new(&kafka.config, "theirs"),
    };
    connect.register(folder.path(), "theirs", &otherwise);
    theirs.measure(&database, rows, seconds);
    drop(connect);
    drop_slot(&database, "theirs");

    fill(&database, rows);
    seen_by_a_client(&database, &kafka.config, rows, seconds);
}

/// The table with that many rows and no more.
fn fill(database: &Database, rows: i64) {
    database.sql("TRUNCATE sport_activities");
    insert(database, 0, rows, rows);
}

fn insert(database: &Database, from: i64, to: i64, in_one: i64) {
    let comment = "'belle sortie le long du Lez avec les collègues, vent de face au retour'";
    database.sql(&format!(
        "DO $$ BEGIN FOR base IN {from}..{to} - 1 BY {in_one} LOOP
            INSERT INTO sport_activities
            SELECT {} FROM generate_series(base, least(base + {in_one}, {to}) - 1) id;
            COMMIT;
        END LOOP; END $$",
        row("id", comment)
    ));
}

fn drop_slot(database: &Database, slot: &str) {
    let sql = format!(
        "SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots WHERE slot_name = '{slot}' AND NOT active"
    );
    wait("the slot is free", EVERY, || {
        (database.sql(&sql) == "1").then_some(())
    });
}

fn captured(database: &Database, kafka: &KafkaConfig, prefix: &str) -> Project {
    Project::new()
        .set(
            "source.postgres",
            &database.url_of("sportlake_cdc", PASSWORD, ""),
        )
        .set("kafka.brokers", &kafka.brokers)
        .set("kafka.prefix", prefix)
}

/// A capture in a process of its own, which has begun to load.
struct Measured {
    name: &'static str,
    process: u32,
    /// What the process had used before it knew of the database.
    started: Usage,
    topic: Topic,
}

impl Measured {
    fn measure(&self, database: &Database, rows: i64, seconds: u64) {
        let began = Instant::now();
        self.topic.holds(rows);
        self.tell("snapshot", rows, began.elapsed(), self.started);
        let (began, before) = (Instant::now(), Usage::of(self.process));
        insert(database, rows, 2 * rows, A_TRANSACTION);
        self.topic.holds(2 * rows);
        self.tell("stream", rows, began.elapsed(), before);
        let before = Usage::of(self.process);
        let mut delays = self.topic.delays(database, 2 * rows, seconds);
        println!(
            "{}: commit to Kafka {}; {:.1} % of a core",
            self.name,
            shares(&mut delays),
            (Usage::of(self.process).cpu_seconds - before.cpu_seconds) * 100.0 / seconds as f64,
        );
    }

    fn tell(&self, what: &str, rows: i64, took: Duration, before: Usage) {
        let usage = Usage::of(self.process);
        let cpu = usage.cpu_seconds - before.cpu_seconds;
        println!(
            "{}: {what} {:.0} rows/s, {:.0} rows per CPU second ({cpu:.2} CPU s), {} MB resident at most",
            self.name,
            rows as f64 / took.as_secs_f64(),
            rows as f64 / cpu,
            usage.peak_megabytes,
        );
        if before.cpu_seconds > 0.0 && what == "snapshot" {
            println!(
                "{}: {what} {:.0} rows per CPU second with the start of its JVM",
                self.name,
                rows as f64 / usage.cpu_seconds
            );
        }
    }
}

/// The topic of activities, as a client sees it.
struct Topic {
    name: String,
    consumer: BaseConsumer,
}

impl Topic {
    fn new(kafka: &KafkaConfig, prefix: &str) -> Self {
        let mut client = kafka.client(&Purpose::Consume);
        client.set("topic.metadata.refresh.interval.ms", "200");
        // Of a topic that is not there yet.
        client.set("log_level", "0");
        Self {
            name: format!("{prefix}.public.sport_activities"),
            consumer: client.create().expect("a consumer"),
        }
    }

    /// The end of each partition.
    fn ends(&self) -> Vec<(i32, i64)> {
        let Ok(metadata) = self
            .consumer
            .fetch_metadata(Some(&self.name), Duration::from_secs(5))
        else {
            return Vec::new();
        };
        let partitions = metadata
            .topics()
            .iter()
            .flat_map(|topic| topic.partitions());
        partitions
            .filter_map(|partition| {
                let marks = self.consumer.fetch_watermarks(
                    &self.name,
                    partition.id(),
                    Duration::from_secs(5),
                );
                Some((partition.id(), marks.ok()?.1))
            })
            .collect()
    }

    /// Waits until that many messages are there.
    fn holds(&self, messages: i64) {
        wait("the messages", EVERY, || {
            let ends: i64 = self.ends().iter().map(|(_, end)| end).sum();
            (ends >= messages).then_some(())
        });
    }

    /// Seconds from each commit to the moment at which a consumer has its message.
    fn delays(&self, database: &Database, first: i64, seconds: u64) -> Vec<f64> {
        let mut assignment = TopicPartitionList::new();
        for (partition, end) in self.ends() {
            let added = assignment.add_partition_offset(&self.name, partition, Offset::Offset(end));
            added.expect("added");
        }
        self.consumer.assign(&assignment).expect("assigned");
        let wanted = usize::try_from(seconds * A_SECOND).expect("few");
        let mut delays = Vec::with_capacity(wanted);
        std::thread::scope(|scope| {
            scope.spawn(|| commit_steadily(database, first, seconds));
            while delays.len() < wanted {
                let polled = self
                    .consumer
                    .poll(Duration::from_secs(60))
                    .expect("messages come");
                let Ok(message) = polled else { continue };
                let now = seconds_now();
                let Some(value) = message.payload() else {
                    continue;
                };
                let value: Value = serde_json::from_slice(value).expect("JSON");
                let committed = value["source"]["ts_us"].as_f64().expect("a time");
                delays.push(now - committed / 1e6);
            }
        });
        delays
    }
}

/// One row a transaction, at the rate, by one session.
fn commit_steadily(database: &Database, first: i64, seconds: u64) {
    let mut session = Command::new("psql");
    if let Some(programs) = part("SPORTLAKE_TEST_POSTGRES") {
        session = Command::new(Path::new(&programs).join("psql"));
    }
    session.args([
        "-X",
        "-q",
        "-h",
        "127.0.0.1",
        "-U",
        "postgres",
        "-v",
        "ON_ERROR_STOP=1",
    ]);
    session.args([
        "-d",
        &database.name,
        "-p",
        &database.server.port.to_string(),
    ]);
    let mut session = session.stdin(Stdio::piped()).spawn().expect("psql runs");
    let mut statements = session.stdin.take().expect("piped");
    let began = Instant::now();
    for nth in 0..seconds * A_SECOND {
        let due = Duration::from_micros(nth * 1_000_000 / A_SECOND);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        let id = first + i64::try_from(nth).expect("few");
        // The comment is the time, for who asks which commits are seen.
        let row = row(
            &id.to_string(),
            "extract(epoch FROM clock_timestamp())::text",
        );
        let sql = format!("INSERT INTO sport_activities VALUES ({row});\n");
        statements.write_all(sql.as_bytes()).expect("it listens");
    }
    drop(statements);
    assert!(session.wait().expect("it ends").success());
}

/// Asks gold how many activities there are, and says when it knew.
const ASKING: &str = "
import sys, time
from adbc_driver_flightsql import dbapi
with dbapi.connect(sys.argv[1]) as connection, connection.cursor() as cursor:
    while True:
        try:
            cursor.execute('SELECT coalesce(sum(nb_activites), 0) FROM gold.activites_par_mois')
            print(cursor.fetchone()[0], time.time(), flush=True)
        except dbapi.Error:
            pass  # There is no epoch yet.
        time.sleep(0.02)
";

/// Seconds from each commit to the first answer of a Flight client that counts it.
fn seen_by_a_client(database: &Database, kafka: &KafkaConfig, rows: i64, seconds: u64) {
    let Some(python) = part("SPORTLAKE_TEST_PYTHON") else {
        return;
    };
    let mut project = captured(database, kafka, "seen").set("ingest.topics", "[\"seen.*\"]");
    project = project.set("generator.enabled", "false");
    for table in std::fs::read_dir(project.path("sql/gold")).expect("a folder") {
        let name = table
            .expect("a file")
            .file_name()
            .into_string()
            .expect("UTF-8");
        let name = format!("sql/gold/{name}");
        let text = project.read(&name);
        project.write(
            &name,
            &text.replace("at most every 1s", "at most every 500ms"),
        );
    }
    let mut roles: Vec<Running> = [&["cdc"][..], &["up"]]
        .map(|role| project.start(role))
        .into();
    let flight = roles[1].address("grpc://");
    let mut asking = Command::new(python);
    asking.args(["-c", ASKING, &flight]);
    let mut asking = asking
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("Python runs");
    let answers = BufReader::new(asking.stdout.take().expect("piped")).lines();
    let mut answers = answers.map(|line| {
        let line = line.expect("an answer");
        let (count, at) = line.split_once(' ').expect("two numbers");
        (
            count.parse::<i64>().expect("a count"),
            at.parse::<f64>().expect("a time"),
        )
    });
    answers
        .find(|(count, _)| *count >= rows)
        .expect("all is shown");
    let mut delays = std::thread::scope(|scope| {
        let committing = scope.spawn(|| commit_steadily(database, rows, seconds));
        let last = rows + i64::try_from(seconds * A_SECOND).expect("few");
        let mut answered = Vec::new();
        for (count, at) in answers.by_ref() {
            answered.push((count, at));
            if count >= last {
                break;
            }
        }
        committing.join().expect("committed");
        let sql =
            format!("SELECT commentaire FROM sport_activities WHERE id >= {rows} ORDER BY id");
        let commits = database.sql(&sql);
        let commits = (rows..).zip(commits.lines());
        let delay = |(id, commit): (i64, &str)| {
            let shown = answered
                .iter()
                .find(|(count, _)| *count > id)
                .expect("shown");
            shown.1 - commit.parse::<f64>().expect("a time")
        };
        commits.map(delay).collect::<Vec<f64>>()
    });
    asking.kill().expect("killed");
    asking.wait().expect("reaped");
    println!(
        "commit to a Flight query that sees it, trigger 0.5 s, {rows} rows of history: {}",
        shares(&mut delays)
    );
    for role in &mut roles {
        role.signal(Signal::SIGTERM);
        role.end();
    }
}

fn shares(delays: &mut [f64]) -> String {
    delays.sort_by(f64::total_cmp);
    let share =
        |percent: usize| delays[(delays.len() * percent / 100).min(delays.len() - 1)] * 1000.0;
    format!(
        "p50 {:.0} ms, p95 {:.0} ms, p99 {:.0} ms of {} commits",
        share(50),
        share(95),
        share(99),
        delays.len()
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "the real clock, for delays between processes"
)]
fn seconds_now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("after 1970").as_secs_f64()
}
