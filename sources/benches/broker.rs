//! What the embedded broker takes and gives: 1 M messages of 600 B over 3 partitions, idempotent, then read back.
//!
//! `cargo bench -p sources --bench broker` measures the release profile, `--profile dev` the one of `./sportlake`.
//! Arguments after `--`: the number of messages, the program of another broker (started as `tests/broker` starts it).

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener as ReportListener;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use changes::{KafkaConfig, Purpose};
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sources::broker::BrokerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "bench";
const PARTITIONS: i32 = 3;
const MESSAGE_BYTES: usize = 600;

type AnyResult<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> AnyResult<()> {
    if let Some(directory) = std::env::var_os("SPORTLAKE_TEST_DIRECTORY") {
        return serve(directory.as_ref());
    }
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    let messages: u64 = arguments
        .next()
        .map_or(Ok(1_000_000), |text| text.parse())?;
    let program = match arguments.next() {
        Some(program) => program.into(),
        None => std::env::current_exe()?,
    };
    let directory = tempfile::tempdir()?;
    let mut broker = start(&program, directory.path())?;
    let measured = measure(&broker, messages);
    broker.child.kill()?;
    broker.child.wait()?;
    measured
}

struct RunningBroker {
    address: String,
    child: Child,
    _lifeline: BufReader<std::net::TcpStream>,
}

struct Deliveries {
    delivered: AtomicU64,
    failed: AtomicU64,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = match result {
            Ok(_) => &self.delivered,
            Err(_) => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn measure(broker: &RunningBroker, messages: u64) -> AnyResult<()> {
    let kafka = KafkaConfig::default().with_brokers(&broker.address);
    let admin: AdminClient<DefaultClientContext> = kafka.client(&Purpose::Administer).create()?;
    let topic = NewTopic::new(TOPIC, PARTITIONS, TopicReplication::Fixed(1));
    let options = AdminOptions::new();
    futures::executor::block_on(admin.create_topics([&topic], &options))?;

    let before = cpu_seconds(broker)?;
    let started = Instant::now();
    produce(&kafka, messages)?;
    report(broker, "produce", messages, started.elapsed(), before)?;

    let before = cpu_seconds(broker)?;
    let started = Instant::now();
    consume(&kafka, messages)?;
    report(broker, "consume", messages, started.elapsed(), before)
}

fn produce(kafka: &KafkaConfig, messages: u64) -> AnyResult<()> {
    let deliveries = Deliveries {
        delivered: AtomicU64::new(0),
        failed: AtomicU64::new(0),
    };
    let producer: ThreadedProducer<Deliveries> = kafka
        .client(&Purpose::Produce)
        .create_with_context(deliveries)?;
    let payload = vec![b'x'; MESSAGE_BYTES];
    for number in 0..messages {
        let partition = (number % PARTITIONS as u64) as i32;
        let mut record = BaseRecord::<[u8], [u8]>::to(TOPIC)
            .partition(partition)
            .payload(&payload);
        while let Err((error, refused)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            record = refused;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    producer.flush(Duration::from_secs(300))?;
    let deliveries = producer.context();
    let delivered = deliveries.delivered.load(Ordering::Relaxed);
    match delivered == messages {
        true => Ok(()),
        false => Err(format!("{delivered} of {messages} messages were delivered").into()),
    }
}

fn consume(kafka: &KafkaConfig, messages: u64) -> AnyResult<()> {
    let consumer: BaseConsumer = kafka.client(&Purpose::Consume).create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        assignment.add_partition_offset(TOPIC, partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;
    let mut consumed = 0;
    let mut ended = 0;
    while ended < PARTITIONS {
        match consumer.poll(Duration::from_secs(60)) {
            Some(Ok(message)) => consumed += u64::from(message.payload_len() == MESSAGE_BYTES),
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(error.into()),
            None => return Err("nothing more to read".into()),
        }
    }
    match consumed == messages {
        true => Ok(()),
        false => Err(format!("{consumed} of {messages} messages were read").into()),
    }
}

fn report(
    broker: &RunningBroker,
    step: &str,
    messages: u64,
    elapsed: Duration,
    cpu_before: f64,
) -> AnyResult<()> {
    let rate = messages as f64 / elapsed.as_secs_f64();
    let cpu = cpu_seconds(broker)? - cpu_before;
    let peak = peak_resident_mib(broker)?;
    writeln!(
        io::stdout(),
        "{step}: {messages} messages in {:.2} s, {rate:.0}/s; broker {cpu:.2} CPU s, peak {peak} MiB resident",
        elapsed.as_secs_f64()
    )?;
    Ok(())
}

fn start(program: &Path, directory: &Path) -> AnyResult<RunningBroker> {
    let reports = ReportListener::bind("127.0.0.1:0")?;
    let child = Command::new(program)
        .env("SPORTLAKE_TEST_DIRECTORY", directory)
        .env("SPORTLAKE_TEST_LISTEN", "127.0.0.1:0")
        .env("SPORTLAKE_TEST_REPORT", reports.local_addr()?.to_string())
        .spawn()?;
    let mut lifeline = BufReader::new(reports.accept()?.0);
    let mut line = String::new();
    lifeline.read_line(&mut line)?;
    Ok(RunningBroker {
        address: line.trim().to_owned(),
        child,
        _lifeline: lifeline,
    })
}

fn serve(directory: &Path) -> AnyResult<()> {
    let report = std::env::var("SPORTLAKE_TEST_REPORT")?;
    let config = BrokerConfig {
        path: directory.to_owned(),
        ..BrokerConfig::default()
    };
    let clock = Arc::new(|| chrono::DateTime::from_timestamp(1_760_000_000, 0).expect("valid"));
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let mut lifeline = tokio::net::TcpStream::connect(report).await?;
        let line = format!("{}\n", listener.local_addr()?);
        lifeline.write_all(line.as_bytes()).await?;
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        tokio::spawn(async move {
            let _ = lifeline.read_u8().await;
            stop.cancel();
        });
        Ok(sources::broker::serve(listener, config, clock, shutdown).await?)
    })
}

fn cpu_seconds(broker: &RunningBroker) -> AnyResult<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", broker.child.id()))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(ticks as f64 / 100.0)
}

fn peak_resident_mib(broker: &RunningBroker) -> AnyResult<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.child.id()))?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .ok_or("no VmHWM")?;
    let kib: u64 = line.split_whitespace().nth(1).ok_or("no value")?.parse()?;
    Ok(kib / 1024)
}
