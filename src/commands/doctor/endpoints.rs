use std::io::ErrorKind;
use std::time::Duration;

use engine::Clock;
use sources::postgres::{Address, Connection};
use sources::topics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::Finding;
use super::lake::apart;
use crate::config::Config;

/// Brokers and servers that are there answer in much less.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longer than the time that a connection is given.
const DATABASE_PATIENCE: Duration = Duration::from_secs(20);

/// The brokers, or the address of the embedded one: free, or answered by a running one.
pub(super) async fn kafka(config: &Config) -> Finding {
    let (key, kafka) = match config.kafka.is_embedded() {
        // As the roles do: with the passwords of the files that are named.
        false => match config.kafka.with_secrets() {
            Ok(kafka) => ("kafka.brokers", kafka),
            Err(error) => return Finding::failed("kafka.brokers", &error),
        },
        true => {
            let listen = &config.broker.listen;
            match bound(listen).await {
                Bound::Free => return free("broker.listen", listen),
                Bound::Taken => ("broker.listen", config.kafka.with_brokers(listen)),
                Bound::Refused(error) => return refused("broker.listen", listen, &error),
            }
        }
    };
    match topics::answering(&kafka).await {
        Ok(cluster) => {
            let found = format!(
                "\"{}\": {} brokers, {} topics",
                kafka.brokers, cluster.brokers, cluster.topics
            );
            let release = cluster
                .release
                .map(|release| format!(", as Kafka {release}"));
            Finding::ok(key, found + &release.unwrap_or_default())
        }
        Err(_) if config.kafka.is_embedded() => taken(key, &kafka.brokers, "no Kafka broker"),
        Err(error) => Finding::failed(key, &error),
    }
}

/// The source database: whether it lets this user in, keeps the log that capture needs, and shares this clock.
pub(super) async fn postgres(address: &Address, clock: &Clock) -> Vec<Finding> {
    let key = "source.postgres";
    let asking = async {
        let mut connection = Connection::connect(address).await?;
        let sql = "SELECT current_setting('server_version'), current_setting('wal_level'), \
                   (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
        let asked = clock();
        let rows = connection.query(sql).await?;
        Ok::<_, changes::Error>((rows, asked + (clock() - asked) / 2))
    };
    let (rows, now) = match timeout(DATABASE_PATIENCE, asking).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return vec![Finding::failed(key, &error)],
        Err(_) => {
            let found = format!("{}: no answer in time", address.shown());
            let hint = "Look what it is busy with: it lets this user in and answers nothing.";
            return vec![Finding::fail(key, found, hint)];
        }
    };
    let mut cells = rows.into_iter().flatten().map(Option::unwrap_or_default);
    let mut next = || cells.next().unwrap_or_default();
    let (version, wal, millis) = (next(), next(), next());
    let found = format!("{}: PostgreSQL {version}, wal_level {wal}", address.shown());
    let database = match wal.as_str() {
        "logical" => Finding::ok(key, found),
        _ => Finding::warn(
            key,
            found,
            "Capture needs wal_level = logical, and a restart of PostgreSQL: docs/postgres.md.",
        ),
    };
    let theirs = millis
        .parse()
        .ok()
        .and_then(chrono::DateTime::from_timestamp_millis);
    let clocks = theirs.map(|theirs| apart("clock and source.postgres", now - theirs));
    std::iter::once(database).chain(clocks).collect()
}

/// The addresses that this project's roles serve: free, or answered by a running one.
///
/// # Errors
/// `InvalidRequest` for a configuration that could serve nowhere.
pub(super) async fn listening(config: &Config) -> engine::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let http = probed("http.listen", &config.http.listen).await;
    let serves = http.answered;
    findings.push(match fit("flight.listen", config.flight.validate())? {
        Some(refused) => refused,
        None => flight(config, serves).await,
    });
    findings.push(fit("http.listen", config.http.validate())?.unwrap_or(http.finding));
    if !config.metrics.listen.is_empty() {
        let metrics = probed("metrics.listen", &config.metrics.listen).await;
        findings.push(metrics.finding);
    }
    Ok(findings)
}

/// What keeps a configuration that can be read from being served.
fn fit(key: &str, valid: engine::Result<()>) -> engine::Result<Option<Finding>> {
    match valid {
        Err(error) if error.kind() == engine::ErrorKind::InvalidRequest => Err(error),
        valid => Ok(valid.err().map(|error| Finding::failed(key, &error))),
    }
}

async fn flight(config: &Config, serves: bool) -> Finding {
    let (key, listen) = ("flight.listen", &config.flight.listen);
    match bound(listen).await {
        Bound::Free => free(key, listen),
        // The page and Flight SQL are one role.
        Bound::Taken if serves => Finding::ok(key, format!("\"{listen}\" is served")),
        Bound::Taken => taken(key, listen, "nothing of ours"),
        Bound::Refused(error) => refused(key, listen, &error),
    }
}

struct Probed {
    finding: Finding,
    answered: bool,
}

async fn probed(key: &str, listen: &str) -> Probed {
    let (finding, answered) = match bound(listen).await {
        Bound::Free => (free(key, listen), false),
        Bound::Taken if is_healthy(listen).await => {
            (Finding::ok(key, format!("\"{listen}\" is served")), true)
        }
        Bound::Taken => (taken(key, listen, "nothing of ours"), false),
        Bound::Refused(error) => (refused(key, listen, &error), false),
    };
    Probed { finding, answered }
}

/// Whether a role of ours answers there.
async fn is_healthy(listen: &str) -> bool {
    let asking = async {
        let mut stream = TcpStream::connect(listen).await?;
        let request = format!("GET /healthz HTTP/1.0\r\nHost: {listen}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(PATIENCE, asking).await;
    matches!(answer, Ok(Ok(answer)) if answer.contains(" 200 ") && answer.ends_with("\r\n\r\nok\n"))
}

enum Bound {
    Free,
    Taken,
    Refused(std::io::Error),
}

/// Whether an address could be listened on; nobody is served meanwhile.
async fn bound(listen: &str) -> Bound {
    match TcpListener::bind(listen).await {
        Ok(_) => Bound::Free,
        Err(error) if error.kind() == ErrorKind::AddrInUse => Bound::Taken,
        Err(error) => Bound::Refused(error),
    }
}

fn free(key: &str, listen: &str) -> Finding {
    Finding::ok(key, format!("\"{listen}\" is free"))
}

fn taken(key: &str, listen: &str, who: &str) -> Finding {
    Finding::fail(
        key,
        format!("\"{listen}\" is in use, and {who} answers there"),
        "Stop what listens there, or choose another address.",
    )
}

fn refused(key: &str, listen: &str, error: &std::io::Error) -> Finding {
    Finding::fail(
        key,
        format!("cannot listen on \"{listen}\": {error}"),
        "Write an address of this machine and a port above 1023, as 127.0.0.1:50051.",
    )
}
