//! A real Kafka, and a real Debezium in Kafka Connect.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use changes::{KafkaConfig, Purpose};
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::parts::part;
use crate::ports::free_port;

const PATIENCE: Duration = Duration::from_secs(180);

/// The folder of jars; none where Java or Maven is not there.
pub(crate) fn jars() -> Option<PathBuf> {
    part("SPORTLAKE_TEST_KAFKA").map(PathBuf::from)
}

/// For a test that starts more than it computes.
pub(crate) const QUICK: &[&str] = &["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

/// A broker in KRaft mode. Ends with its owner.
pub(crate) struct RealKafka {
    pub(crate) config: KafkaConfig,
    jars: PathBuf,
    folder: PathBuf,
    options: &'static [&'static str],
    process: Child,
}

impl RealKafka {
    pub(crate) async fn start(jars: &Path, folder: &Path) -> Self {
        Self::start_with(jars, folder, QUICK).await
    }

    /// With options of its JVM.
    pub(crate) async fn start_with(
        jars: &Path,
        folder: &Path,
        options: &'static [&'static str],
    ) -> Self {
        let [port, controller] = free_ports();
        let folder = folder.join("kafka");
        let data = folder.join("data");
        std::fs::create_dir_all(&data).expect("a folder");
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\nlog.dirs={}\nnum.partitions=3\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=1\ngroup.initial.rebalance.delay.ms=0\n\
             log.cleaner.dedupe.buffer.size=4194304\nlog.cleaner.backoff.ms=500\nbroker.session.timeout.ms=1000\nbroker.heartbeat.interval.ms=200\n",
            data.display()
        );
        std::fs::write(folder.join("server.properties"), properties).expect("written");
        // What StorageTool would write, without a JVM for it.
        let meta = "version=1\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\nnode.id=1\ndirectory.id=ZkU3OEVBNTcwNTJENDM2Qg\n";
        std::fs::write(data.join("meta.properties"), meta).expect("written");
        let process = spawn(jars, &folder, options);
        let kafka = Self {
            config: KafkaConfig::default().with_brokers(format!("127.0.0.1:{port}")),
            jars: jars.to_owned(),
            folder,
            options,
            process,
        };
        kafka.answers().await;
        kafka
    }

    /// Ends it with SIGKILL, and starts it again.
    pub(crate) async fn crash(&mut self) {
        self.process.kill().await.expect("killed");
        self.process = spawn(&self.jars, &self.folder, self.options);
        self.answers().await;
    }

    async fn answers(&self) {
        answers(&self.config).await;
    }
}

/// Waits until the brokers answer this client.
pub(crate) async fn answers(kafka: &KafkaConfig) {
    let mut client = kafka.client(&Purpose::Consume);
    client.set("log_level", "0");
    let consumer: BaseConsumer = client.create().expect("a client");
    let answers = tokio::task::spawn_blocking(move || {
        let started = Instant::now();
        while consumer
            .fetch_metadata(None, Duration::from_secs(1))
            .is_err()
        {
            assert!(started.elapsed() < PATIENCE, "Kafka does not answer");
        }
    });
    answers.await.expect("it answers");
}

fn spawn(jars: &Path, folder: &Path, options: &[&str]) -> Child {
    let program = ["kafka.Kafka", "server.properties"];
    java_with(jars, folder, options, &program, &[])
}

/// A Connect worker. Ends with its owner.
pub(crate) struct Connect {
    port: u16,
    process: Child,
}

impl Connect {
    /// `secrets` are variables that a connector's configuration may name.
    pub(crate) async fn start(
        jars: &Path,
        folder: &Path,
        kafka: &KafkaConfig,
        secrets: &[(&str, &str)],
    ) -> Self {
        Self::start_with(jars, folder, kafka, secrets, QUICK).await
    }

    /// With options of its JVM.
    pub(crate) async fn start_with(
        jars: &Path,
        folder: &Path,
        kafka: &KafkaConfig,
        secrets: &[(&str, &str)],
        options: &[&str],
    ) -> Self {
        let [port] = free_ports();
        let folder = folder.join("connect");
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut properties = format!(
            "bootstrap.servers={}\ngroup.id=connect\nlisteners=http://127.0.0.1:{port}\n\
             rest.advertised.host.name=127.0.0.1\nkey.converter=org.apache.kafka.connect.json.JsonConverter\n\
             value.converter=org.apache.kafka.connect.json.JsonConverter\noffset.flush.interval.ms=1000\n\
             plugin.discovery=service_load\nconfig.providers=env\n\
             config.providers.env.class=org.apache.kafka.common.config.provider.EnvVarConfigProvider\n",
            kafka.brokers
        );
        for (kind, topic) in [
            ("config", "connect_configs"),
            ("offset", "connect_offsets"),
            ("status", "connect_statuses"),
        ] {
            properties +=
                &format!("{kind}.storage.topic={topic}\n{kind}.storage.replication.factor=1\n");
        }
        properties += "offset.storage.partitions=1\nstatus.storage.partitions=1\n";
        std::fs::write(folder.join("connect.properties"), properties).expect("written");
        let arguments = [
            "org.apache.kafka.connect.cli.ConnectDistributed",
            "connect.properties",
        ];
        let process = java_with(jars, &folder, options, &arguments, secrets);
        let connect = Self { port, process };
        connect
            .until("/connectors", |status, _| status == 200)
            .await;
        connect
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id().expect("it runs")
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Registers the connector of `docker/debezium/` by its own script, twice, with what the test has elsewhere.
    pub(crate) fn register(&self, folder: &Path, name: &str, otherwise: &Value) {
        let shipped = shipped();
        let text = std::fs::read_to_string(shipped.join("sport.json")).expect("the file");
        let mut config: Map<String, Value> = serde_json::from_str(&text).expect("JSON");
        for (key, value) in otherwise.as_object().expect("an object") {
            let is_known = config.contains_key(key) || key == "time.precision.mode";
            assert!(is_known, "sport.json has no {key}");
            config.insert(key.clone(), value.clone());
        }
        let file = folder.join(format!("{name}.json"));
        std::fs::write(&file, Value::Object(config).to_string()).expect("written");
        for _ in ["first", "again: it changes nothing"] {
            let mut script = std::process::Command::new("sh");
            script.arg(shipped.join("register.sh")).arg(&file);
            script.env("CONNECT_URL", self.url());
            script.env("http_proxy", "http://127.0.0.1:9");
            let output = script.env("CONNECT_NAME", name).output().expect("it runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
        }
    }

    async fn until(&self, path: &str, ready: impl Fn(u16, &str) -> bool) {
        let started = Instant::now();
        loop {
            if let Some((status, answer)) = self.call("GET", path, "").await
                && ready(status, &answer)
            {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "Connect does not answer");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn call(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: connect\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
    }
}

/// The exporter that Prometheus scrapes, in the JVM of a worker, with the settings of `docker/debezium/`.
pub(crate) struct Exporter {
    pub(crate) address: String,
    /// Of the JVM.
    pub(crate) option: String,
}

impl Exporter {
    pub(crate) fn new(jars: &Path) -> Self {
        let [port] = free_ports();
        let address = format!("127.0.0.1:{port}");
        let mut jars = std::fs::read_dir(jars).expect("a folder").flatten();
        let is_agent = |name: &str| name.starts_with("jmx_prometheus_javaagent-");
        let agent = jars.find(|jar| jar.file_name().to_str().is_some_and(is_agent));
        let agent = agent.expect("real-parts.xml names the exporter").path();
        let settings = shipped().join("metrics.yaml");
        let option = format!(
            "-javaagent:{}={address}:{}",
            agent.display(),
            settings.display()
        );
        Self { address, option }
    }
}

/// `docker/debezium/` of the workspace, whose own tests use this too.
fn shipped() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut roots = root.ancestors().map(|root| root.join("docker/debezium"));
    roots.find(|shipped| shipped.is_dir()).expect("a workspace")
}

pub(crate) fn java(jars: &Path, folder: &Path, arguments: &[&str]) -> Child {
    java_with(jars, folder, QUICK, arguments, &[])
}

fn java_with(
    jars: &Path,
    folder: &Path,
    options: &[&str],
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Child {
    let log = std::fs::File::create(folder.join("log")).expect("a file");
    Command::new("java")
        .args(options)
        .arg("-cp")
        .arg(format!("{}/*", jars.display()))
        .args(arguments)
        .envs(variables.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(log.try_clone().expect("a file"))
        .stdout(log)
        .kill_on_drop(true)
        .spawn()
        .expect("Java starts")
}

pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    [(); N].map(|()| free_port())
}
