//! What serving costs: `cargo bench --profile dist --workspace --bench serve -- [ROWS]`.
//!
//! The server and its clients in one process, over loopback. Each figure is paired with one of the same run: a bare
//! Arrow Flight server that sends the same messages, or the same statement in process. The table is gold, of ROWS rows
//! in six columns (1 000 000).
#![expect(clippy::print_stdout, reason = "a bench reports on its terminal")]
#![expect(clippy::expect_used, reason = "a bench that fails says where")]

mod bare;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use arrow_flight::FlightInfo;
use arrow_flight::sql::client::FlightSqlServiceClient;
use chrono::Utc;
use engine::{
    Clock, Lake, LakeConfig, Lease, Principal, ProjectConfig, Reader, ReaderConfig, RefreshConfig,
    Refresher, Role, SourceConfig, Turn,
};
use flight_server::{FlightConfig, Server, TicketKey};
use futures::TryStreamExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

type Client = FlightSqlServiceClient<Channel>;

const ROWS: u64 = 1_000_000;
const CLIENTS: u64 = 32;
const BY_GROUP: &str =
    "SELECT bu, count(*) AS nb, sum(montant) AS total FROM gold.ventes GROUP BY bu";
const ALL: &str = "SELECT * FROM gold.ventes";

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let rows = arguments.find_map(|argument| argument.parse().ok());
    let rows = rows.unwrap_or(ROWS);
    let folder = tempfile::tempdir().expect("a folder");
    let reader = lake(folder.path(), rows).await;
    let ours = served(folder.path(), reader.clone()).await;
    let process = InProcess(reader);
    let batches = process.query(ALL).await;
    let fetched: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(fetched as u64, rows);
    let bytes: usize = batches.iter().map(RecordBatch::get_array_memory_size).sum();
    println!("{rows} rows, {:.0} MB as Arrow", bytes as f64 / 1e6);
    let one = process.query("SELECT 1 AS n").await;
    let bare = bare::served(vec![one, batches]).await;

    let mut client = connected(ours).await;
    let mut other = connected(bare).await;
    let mut pair = Pair::new("SELECT 1", "bare server");
    for _ in 0..300 {
        pair.ours(fetch(&mut client, "SELECT 1 AS n")).await;
        pair.other(fetch(&mut other, "0")).await;
    }
    pair.tell();

    let mut pair = Pair::new("point lookup", "in process");
    for nth in 0..100 {
        let sql = lookup(nth, rows);
        pair.ours(fetch(&mut client, &sql)).await;
        pair.other(process.query(&sql)).await;
    }
    pair.tell();

    let mut pair = Pair::new("group by", "in process");
    for _ in 0..20 {
        pair.ours(fetch(&mut client, BY_GROUP)).await;
        pair.other(process.query(BY_GROUP)).await;
    }
    pair.tell();

    let mut pair = Pair::new("fetch of all", "bare server");
    for _ in 0..10 {
        pair.ours(fetch(&mut client, ALL)).await;
        pair.other(fetch(&mut other, "1")).await;
    }
    pair.tell();

    let before = resident();
    many(ours, rows).await;
    println!(
        "memory: {before} MB before {CLIENTS} clients, {} MB after",
        resident()
    );
}

fn lookup(nth: u64, rows: u64) -> String {
    let id = nth * 7919 % rows;
    format!("SELECT * FROM gold.ventes WHERE id = {id}")
}

/// A lake with one gold table, built by the refresh role.
async fn lake(folder: &Path, rows: u64) -> Reader {
    let sql = folder.join("sql");
    std::fs::create_dir_all(sql.join("gold")).expect("created");
    let text = format!(
        "-- @key id
SELECT value AS id, concat('unité ', value % 12) AS bu, CAST(value % 100000 AS DECIMAL(12, 2)) AS montant,
       CAST('2026-01-01' AS DATE) AS jour, value * 0.5 AS poids, concat('vente ', value) AS libelle
FROM range(0, {rows})"
    );
    std::fs::write(sql.join("gold/ventes.sql"), text).expect("written");
    let uri = folder.join("lake").display().to_string();
    let lake = Lake::open(&LakeConfig { uri }).await.expect("a lake");
    let lease = Lease::acquire(&lake, Role::Refresh).expect("nobody else");
    let project = ProjectConfig { path: sql };
    let (config, source) = (RefreshConfig::default(), SourceConfig::default());
    let opened = Refresher::open(lake.clone(), lease, &project, &config, &source, clock()).await;
    let turn = opened.expect("a project").turn().await.expect("a turn");
    assert!(matches!(turn, Turn::Published(_)));
    Reader::new(lake, &ReaderConfig::default(), &source).expect("a reader")
}

#[expect(clippy::disallowed_methods, reason = "a bench has no other clock")]
fn clock() -> Clock {
    Arc::new(Utc::now)
}

async fn served(folder: &Path, reader: Reader) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let config = FlightConfig {
        key: Some(TicketKey::new([5; 32])),
        users: String::new(),
        audit: folder.join("audit.jsonl").display().to_string(),
        ..FlightConfig::default()
    };
    let server = Server::open(address, reader, &config, clock(), CancellationToken::new());
    tokio::spawn(server.expect("opened").serve(listener));
    address
}

async fn connected(address: SocketAddr) -> Client {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address");
    Client::new(endpoint.connect().await.expect("listens"))
}

/// A statement as drivers ask it: its FlightInfo, then its rows.
async fn fetch(client: &mut Client, sql: &str) -> Vec<RecordBatch> {
    let info: FlightInfo = client.execute(sql.to_owned(), None).await.expect("plans");
    let ticket = info.endpoint.into_iter().next().and_then(|end| end.ticket);
    let rows = client.do_get(ticket.expect("a ticket")).await;
    rows.expect("starts").try_collect().await.expect("rows")
}

/// The same statements without a server.
struct InProcess(Reader);

impl InProcess {
    async fn query(&self, sql: &str) -> Vec<RecordBatch> {
        let manifest = self.0.latest().await.expect("an epoch");
        let session = self
            .0
            .session_of(manifest, &Principal::operator("bench"))
            .await;
        let statement = session
            .expect("a session")
            .prepare(sql)
            .await
            .expect("plans");
        let rows = statement.execute().await.expect("starts");
        rows.try_collect().await.expect("rows")
    }
}

/// Two ways to the same answer, in turns.
struct Pair {
    what: &'static str,
    beside: &'static str,
    ours: Vec<Duration>,
    other: Vec<Duration>,
}

impl Pair {
    fn new(what: &'static str, beside: &'static str) -> Self {
        Self {
            what,
            beside,
            ours: Vec::new(),
            other: Vec::new(),
        }
    }

    async fn ours(&mut self, answer: impl Future<Output = Vec<RecordBatch>>) {
        let took = timed(answer).await;
        self.ours.push(took);
    }

    async fn other(&mut self, answer: impl Future<Output = Vec<RecordBatch>>) {
        let took = timed(answer).await;
        self.other.push(took);
    }

    fn tell(mut self) {
        let (ours, other) = (median(&mut self.ours), median(&mut self.other));
        println!(
            "{}: {:.2} ms, {} {:.2} ms, ratio {:.2} (medians of {})",
            self.what,
            ours * 1e3,
            self.beside,
            other * 1e3,
            ours / other,
            self.ours.len(),
        );
    }
}

async fn timed(answer: impl Future<Output = Vec<RecordBatch>>) -> Duration {
    let started = Instant::now();
    let rows = answer.await;
    let took = started.elapsed();
    assert!(rows.iter().any(|batch| batch.num_rows() > 0));
    took
}

fn median(times: &mut [Duration]) -> f64 {
    percentile(times, 50)
}

fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100].as_secs_f64()
}

/// Lookups and groups by many clients at once.
async fn many(address: SocketAddr, rows: u64) {
    let clients = (0..CLIENTS).map(|nth| {
        tokio::spawn(async move {
            let mut client = connected(address).await;
            let mut times = Vec::new();
            for turn in 0..20 {
                let sql = match turn % 10 {
                    0 => BY_GROUP.to_owned(),
                    _ => lookup(nth * 1000 + turn, rows),
                };
                times.push(timed(fetch(&mut client, &sql)).await);
            }
            times
        })
    });
    let started = Instant::now();
    let mut times = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        times.extend(client.await.expect("no panic"));
    }
    let rate = times.len() as f64 / started.elapsed().as_secs_f64();
    let [middle, late] = [50, 99].map(|percent| percentile(&mut times, percent) * 1e3);
    println!(
        "{CLIENTS} clients, 9 lookups to 1 group by: {rate:.0} a second, p50 {middle:.1} ms, p99 {late:.1} ms"
    );
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.expect("a number") / 1024
}
