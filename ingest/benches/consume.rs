//! What ingest costs beside reading and dropping: `cargo bench --profile dev --workspace --bench consume -- [EVENTS]`.
//!
//! The broker, the bare client and ingest run in a process each, so that CPU time and memory are their own.
#![expect(clippy::print_stdout, reason = "a bench reports on its terminal")]

use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use changes::{KafkaConfig, Purpose};
use chrono::{DateTime, Utc};
use engine::{Clock, Lake, LakeConfig, Lease, Role};
use ingest::IngestConfig;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use sources::broker::{self, BrokerConfig};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

const TOPIC: &str = "bench.public.sport_activities";
const PARTITIONS: i32 = 3;
const EVENT_BYTES: usize = 600;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["broker", path] => runtime()?.block_on(serve(Path::new(path))),
        ["drop", brokers, events] => drop_all(&kafka(brokers), events.parse()?),
        ["ingest", brokers, events, lake] => {
            runtime()?.block_on(ingest_all(kafka(brokers), events.parse()?, Path::new(lake)))
        }
        [] => compare(1_000_000),
        [events] => compare(events.parse()?),
        _ => Err("usage: consume [EVENTS]".into()),
    }
}

fn compare(events: i64) -> Outcome {
    let directory = tempfile::tempdir()?;
    let broker_path = directory.path().join("broker");
    let lake = directory.path().join("lake");
    let mut broker = role(&["broker", text(&broker_path)?])?;
    let mut address = String::new();
    let output = broker.stdout.take().ok_or("no output of the broker")?;
    BufReader::new(output).read_line(&mut address)?;
    let brokers = address.trim().to_owned();
    runtime()?.block_on(create(&kafka(&brokers)))?;
    produce(&kafka(&brokers), events)?;

    let events = events.to_string();
    println!(
        "{events} envelopes of {EVENT_BYTES} B in {PARTITIONS} partitions of the embedded broker"
    );
    for turn in ["first", "second"] {
        println!("{turn} turn");
        finish(role(&["drop", &brokers, &events])?)?;
        finish(role(&[
            "ingest",
            &brokers,
            &events,
            text(&lake.join(turn))?,
        ])?)?;
        println!("  {}", files(&lake.join(turn), events.parse()?)?);
    }
    broker.kill()?;
    broker.wait()?;
    Ok(())
}

fn role(arguments: &[&str]) -> Outcome<Child> {
    let child = Command::new(std::env::current_exe()?)
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()?;
    Ok(child)
}

fn finish(mut child: Child) -> Outcome {
    let mut report = String::new();
    if let Some(mut output) = child.stdout.take() {
        output.read_to_string(&mut report)?;
    }
    print!("{report}");
    if child.wait()?.success() {
        Ok(())
    } else {
        Err("a part of the bench failed".into())
    }
}

async fn serve(path: &Path) -> Outcome {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let config = BrokerConfig {
        path: path.to_owned(),
        ..BrokerConfig::default()
    };
    broker::serve(listener, config, clock(), CancellationToken::new()).await?;
    Ok(())
}

async fn create(kafka: &KafkaConfig) -> Outcome {
    let admin: AdminClient<DefaultClientContext> = kafka.client(&Purpose::Administer).create()?;
    let topic = NewTopic::new(TOPIC, PARTITIONS, TopicReplication::Fixed(1));
    admin.create_topics([&topic], &AdminOptions::new()).await?;
    Ok(())
}

fn produce(kafka: &KafkaConfig, events: i64) -> Outcome {
    let producer: BaseProducer = kafka.client(&Purpose::Produce).create()?;
    for id in 0..events {
        let (key, value) = (format!("{{\"id\":{id}}}"), envelope(id));
        let partition = i32::try_from(id % i64::from(PARTITIONS))?;
        let mut record = BaseRecord::to(TOPIC)
            .partition(partition)
            .key(&key)
            .payload(&value);
        while let Err((error, refused)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            producer.poll(Duration::from_millis(10));
            record = refused;
        }
    }
    producer.flush(Duration::from_secs(600))?;
    Ok(())
}

/// An activity as Debezium writes it, with a comment that fills it up.
fn envelope(id: i64) -> String {
    let mut random = SmallRng::seed_from_u64(id.unsigned_abs());
    let mut comment = String::new();
    while comment.len() < 140 {
        comment.push_str(WORDS[random.random_range(0..WORDS.len())]);
        comment.push(' ');
    }
    let (employee, distance, seconds) = (
        random.random_range(1..162),
        random.random_range(500..40_000),
        random.random_range(600..9_000),
    );
    let (at_ms, lsn) = (1_700_000_000_000 + id * 977, 24_000_000 + id * 120);
    let mut value = format!(
        concat!(
            r#"{{"before":null,"after":{{"id":{id},"employee_id":{employee},"date_debut":{at_ms}000,"#,
            r#""type_activite":"Course à pied","distance_m":{distance},"duree_s":{seconds},"commentaire":"{comment}"}},"#,
            r#""source":{{"version":"3.0.0.Final","connector":"postgresql","name":"bench","ts_ms":{at_ms},"#,
            r#""snapshot":"false","db":"sportsdb","sequence":"[\"{lsn}\",\"{lsn}\"]","schema":"public","#,
            r#""table":"sport_activities","txId":{id},"lsn":{lsn},"xmin":null}},"transaction":null,"op":"c","ts_ms":{at_ms}"#,
        ),
        id = id,
        employee = employee,
        at_ms = at_ms,
        distance = distance,
        seconds = seconds,
        comment = comment,
        lsn = lsn,
    );
    while value.len() + 1 < EVENT_BYTES {
        value.push(' ');
    }
    value.push('}');
    value
}

const WORDS: [&str; 24] = [
    "belle",
    "sortie",
    "le",
    "long",
    "du",
    "Lez",
    "avec",
    "les",
    "collègues",
    "vent",
    "de",
    "face",
    "soleil",
    "reprise",
    "doucement",
    "record",
    "battu",
    "jusqu'à",
    "la",
    "mer",
    "fractionné",
    "pluie",
    "encore",
    "demain",
];

fn drop_all(kafka: &KafkaConfig, events: i64) -> Outcome {
    let consumer: BaseConsumer = kafka.client(&Purpose::Consume).create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(TOPIC, partition, Offset::Beginning)?;
    }
    let usage = Usage::start();
    consumer.assign(&list)?;
    let mut seen = 0;
    while seen < events {
        match consumer.poll(Duration::from_secs(10)) {
            Some(Ok(_)) => seen += 1,
            Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(error)) => return Err(error.into()),
            None => return Err("the broker fell silent".into()),
        }
    }
    println!("  drop    {}", usage.report(events)?);
    Ok(())
}

async fn ingest_all(kafka: KafkaConfig, events: i64, path: &Path) -> Outcome {
    let uri = text(path)?.to_owned();
    let lake = Lake::open(&LakeConfig { uri }).await?;
    let lease = Lease::acquire(&lake, Role::Ingest)?;
    let config = IngestConfig {
        topics: vec![TOPIC.to_owned()],
        ..IngestConfig::default()
    };
    let (wake, shutdown) = (Arc::new(Notify::new()), CancellationToken::new());
    let usage = Usage::start();
    let running = tokio::spawn(ingest::run(
        kafka,
        lake,
        lease,
        config,
        clock(),
        Arc::clone(&wake),
        shutdown.clone(),
    ));
    while committed(path)? < events {
        wake.notified().await;
    }
    println!("  ingest  {}", usage.report(events)?);
    shutdown.cancel();
    running.await??;
    Ok(())
}

/// Messages committed: the sum of the offsets in the newest commit of each partition.
fn committed(lake: &Path) -> Outcome<i64> {
    let mut next = std::collections::BTreeMap::new();
    for action in log(lake)? {
        let app = action.pointer("/txn/appId").and_then(|app| app.as_str());
        let offset = action
            .pointer("/txn/version")
            .and_then(|offset| offset.as_i64());
        if let (Some(app), Some(offset)) = (app, offset)
            && app.starts_with("ingest/")
        {
            next.insert(app.to_owned(), offset);
        }
    }
    Ok(next.values().sum())
}

fn files(lake: &Path, events: i64) -> Outcome<String> {
    let sizes: Vec<i64> = log(lake)?
        .iter()
        .filter_map(|action| action.pointer("/add/size")?.as_i64())
        .collect();
    let total: i64 = sizes.iter().sum();
    let count = i64::try_from(sizes.len())?.max(1);
    Ok(format!(
        "{count} files, {} kB a file, {} B an event",
        total / count / 1000,
        total / events.max(1)
    ))
}

fn log(lake: &Path) -> Outcome<Vec<serde_json::Value>> {
    let directory = lake.join("bronze/sport_activities/_delta_log");
    let mut commits: Vec<PathBuf> = match std::fs::read_dir(directory) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.path()))
            .collect::<Outcome<_>>()?,
        Err(_) => Vec::new(),
    };
    commits.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    });
    commits.sort();
    let mut actions = Vec::new();
    for commit in commits {
        for line in std::fs::read_to_string(commit)?.lines() {
            actions.push(serde_json::from_str(line)?);
        }
    }
    Ok(actions)
}

/// Time, CPU time and memory of this process, as /proc shows them.
struct Usage {
    begun: Instant,
    ticks: u64,
}

impl Usage {
    fn start() -> Self {
        Self {
            begun: Instant::now(),
            ticks: ticks().unwrap_or(0),
        }
    }

    fn report(&self, events: i64) -> Outcome<String> {
        const TICKS_PER_SECOND: f64 = 100.0;
        let elapsed = self.begun.elapsed().as_secs_f64();
        let millions = events as f64 / 1e6;
        let cpu = (ticks()? - self.ticks) as f64 / TICKS_PER_SECOND;
        Ok(format!(
            "{:>9.0} events/s, {:.2} CPU s per million, {} MB at most",
            events as f64 / elapsed,
            cpu / millions,
            peak_megabytes()?
        ))
    }
}

/// User and system time: fields 14 and 15 of /proc/self/stat (proc(5)).
fn ticks() -> Outcome<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').ok_or("no name in stat")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let field = |index: usize| fields.get(index).copied().unwrap_or("0").parse::<u64>();
    Ok(field(11)? + field(12)?)
}

fn peak_megabytes() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes: u64 = line
        .and_then(|line| line.split_whitespace().nth(1))
        .ok_or("no VmHWM in status")?
        .parse()?;
    Ok(kilobytes / 1024)
}

fn kafka(brokers: &str) -> KafkaConfig {
    KafkaConfig::default().with_brokers(brokers)
}

fn clock() -> Clock {
    Arc::new(|| DateTime::<Utc>::UNIX_EPOCH)
}

fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?)
}

fn text(path: &Path) -> Outcome<&str> {
    path.to_str().ok_or_else(|| "a path is no text".into())
}
