//! From a real PostgreSQL through a real Kafka to gold, every role a process of its own: in the end silver and gold say
//! what PostgreSQL says of its own tables, whatever was killed, and whoever captured them.
//!
//! `SPORTLAKE_CHANGES` is the number of changes, `SPORTLAKE_SEED` decides them and the moments of the kills.

mod workload;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use changes::KafkaConfig;
use chrono::{DateTime, Utc};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::crash::{Moments, no_epoch_is_torn, no_offset_is_there_twice_or_missing};
use crate::http;
use crate::java::{Connect, Exporter, QUICK, RealKafka, jars};
use crate::metrics;
use crate::parts::part;
use crate::postgres::{Database, PASSWORD, Server};
use crate::project::{PATIENCE, Project, Running, text};
use crate::prometheus::{Beside, Prometheus};
use crate::truth::{Gold, Seen, Topics, cell_text, difference, gold, row_text};
use workload::{Part, Workload};

const CHANGES: u64 = 5000;
const SEED: u64 = 20_261_129;

/// Kills in the gate; with more changes there is one for this many.
const KILLS: u64 = 10;
const CHANGES_A_KILL: u64 = 1000;

/// The latest moment of a kill, after a round's changes have begun.
const LATEST_MS: u64 = 1000;

const ROLES: [&[&str]; 3] = [&["cdc"], &["ingest"], &["refresh", "--watch"]];

/// What the capture says once it outlives whatever goes away; before, an error is its supervisor's.
const CAPTURES: &str = "capturing the changes";
const CDC: usize = 0;

/// In the order in which they die.
const VICTIMS: [Victim; 5] = [
    Victim::Role(0),
    Victim::Kafka,
    Victim::Role(1),
    Victim::Postgres,
    Victim::Role(2),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    /// Of `ROLES`.
    Role(usize),
    Kafka,
    Postgres,
}

/// What silver has of each table, in the order of `oracle.sql`.
const SILVER: [(&str, &[&str]); 4] = [
    (
        "employees",
        &[
            "id",
            "nom",
            "prenom",
            "CAST(date_naissance AS INT)",
            "bu",
            "CAST(date_embauche AS INT)",
            "salaire_brut",
            "type_contrat",
            "jours_cp",
            "adresse",
            "moyen_deplacement",
        ],
    ),
    ("declared_sports", &["employee_id", "sport"]),
    (
        "commute_distances",
        &[
            "employee_id",
            "moyen_deplacement",
            "distance_m",
            "source",
            "flag",
            "computed_at",
        ],
    ),
    (
        "sport_activities",
        &[
            "id",
            "employee_id",
            "date_debut",
            "type_activite",
            "distance_m",
            "duree_s",
            "commentaire",
        ],
    ),
];

type Silver = BTreeMap<&'static str, Vec<String>>;

#[test]
fn gold_is_what_postgresql_says_whatever_is_killed() {
    let (Some(jars), Some(server)) = (jars(), Server::start(&["wal_level=logical"])) else {
        return;
    };
    let (changes, seed) = (
        number("SPORTLAKE_CHANGES", CHANGES),
        number("SPORTLAKE_SEED", SEED),
    );
    let began = Instant::now();
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let database = Database::on(Arc::new(server), "t_gold");
    let mut kafka = runtime.block_on(RealKafka::start(&jars, folder.path()));
    let project = captured(&database, &kafka.config);
    let mut sessions = Sessions::new(&database, seed);
    let mut moments = Moments(seed);

    let kills = KILLS.max(changes / CHANGES_A_KILL);
    let portion = changes / (kills + 1);
    // The first load finds rows.
    sessions.write(portion, false, || {});
    let mut roles = ROLES.map(|role| project.start(role));
    let mut captures = false;
    for victim in VICTIMS
        .iter()
        .cycle()
        .take(usize::try_from(kills).expect("few"))
    {
        let moment = Duration::from_millis(moments.next() % LATEST_MS);
        sessions.write(portion, *victim == Victim::Postgres, || {
            if !matches!(victim, Victim::Role(_)) && !std::mem::replace(&mut captures, true) {
                roles[CDC].wait_for(CAPTURES);
            }
            std::thread::sleep(moment);
            match victim {
                Victim::Kafka => runtime.block_on(kafka.crash()),
                Victim::Postgres => database.server.crash(),
                Victim::Role(at) => {
                    roles[*at].signal(Signal::SIGKILL);
                    roles[*at].end();
                    roles[*at] = project.start(ROLES[*at]);
                    captures &= *at != CDC;
                }
            }
        });
        outlived(&mut roles, *victim);
    }
    let written = began.elapsed();
    delivered(&database, "sportlake");
    let seen = Topics::new(&project, &kafka.config).settled();
    let (silver, expected) = asked(&database, &seen);
    is_alike(&silver_of(&project), &silver);
    seen.is_one_of(&[expected]);
    no_offset_is_there_twice_or_missing(&project);
    let epochs = no_epoch_is_torn(&project);
    outlived(&mut roles, Victim::Kafka);
    println!(
        "seed {seed}: {changes} changes in {:.0} s with {kills} kills, {} messages, {epochs} epochs kept, all shown after {:.0} s",
        written.as_secs_f64(),
        seen.messages(),
        began.elapsed().as_secs_f64(),
    );
}

#[test]
fn debezium_and_the_capture_make_the_same_silver_and_gold() {
    let (Some(jars), Some(server)) = (jars(), Server::start(&["wal_level=logical"])) else {
        return;
    };
    let (changes, seed) = (
        number("SPORTLAKE_CHANGES", CHANGES),
        number("SPORTLAKE_SEED", SEED + 1),
    );
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let database = Database::on(Arc::new(server), "t_alike");
    let kafka = runtime.block_on(RealKafka::start(&jars, folder.path()));
    let exporter = Exporter::new(&jars);
    let connect = runtime.block_on(Connect::start_with(
        &jars,
        folder.path(),
        &kafka.config,
        &[("SPORTLAKE_CDC_PASSWORD", PASSWORD)],
        &[QUICK, &[exporter.option.as_str()]].concat(),
    ));
    let mut sessions = Sessions::new(&database, seed);
    sessions.write(changes / 4, false, || {});

    let sides = ["ours", "theirs"].map(|prefix| {
        let kafka = KafkaConfig {
            prefix: prefix.to_owned(),
            ..kafka.config.clone()
        };
        let project = captured(&database, &kafka)
            .set("kafka.prefix", prefix)
            .set("metrics.listen", "127.0.0.1:0")
            .set("ingest.topics", &format!("[\"{prefix}.*\"]"));
        (project, kafka)
    });
    let mut roles: Vec<Running> = Vec::new();
    roles.push(sides[0].0.start(ROLES[CDC]));
    let capture = roles[CDC].address("http://");
    let prometheus = part("SPORTLAKE_TEST_PROMETHEUS").map(|programs| {
        let connect = ("connect.yml", exporter.address.as_str(), "");
        let capture = ("sportlake-cdc.yml", capture.as_str(), "cdc");
        Prometheus::start(Path::new(&programs), &[connect, capture])
    });
    for (project, _) in &sides {
        roles.extend(ROLES[1..].iter().map(|role| project.start(role)));
    }
    // Both loads, and what comes meanwhile.
    sessions.write(changes / 4, false, || {
        let theirs = json!({
            "database.hostname": "127.0.0.1", "database.port": database.server.port.to_string(),
            "database.dbname": database.name, "topic.prefix": "theirs", "slot.name": "theirs",
        });
        connect.register(folder.path(), "theirs", &theirs);
    });
    sessions.write(changes / 2, false, || {});
    for slot in ["sportlake", "theirs"] {
        delivered(&database, slot);
    }
    let seen = sides
        .each_ref()
        .map(|(project, kafka)| Topics::new(project, kafka).settled());
    let silver = sides.each_ref().map(|(project, _)| silver_of(project));
    is_alike(&silver[0], &silver[1]);
    seen[0].is_one_of(std::slice::from_ref(&seen[1].gold));
    // And both are right.
    let (expected, rows) = asked(&database, &seen[1]);
    is_alike(&silver[1], &expected);
    seen[1].is_one_of(&[rows]);
    for role in &mut roles {
        assert!(role.is_running(), "{}", ended(role));
    }
    metrics::are_documented(&http::get(&capture, "/metrics"));
    if let Some(prometheus) = prometheus {
        prometheus.every_panel_says_something(Beside::Captures, || {});
        prometheus.every_rule_names_what_is_there(Beside::Captures);
        slots_are_left(&prometheus, connect, database);
    }
}

/// Each way in which a slot is left, as Prometheus sees it: paused, stopped, without a worker, without PostgreSQL.
fn slots_are_left(prometheus: &Prometheus, connect: Connect, database: Database) {
    let tell = |what: &str| {
        let url = format!("{}/connectors/theirs/{what}", connect.url());
        let mut curl = Command::new("curl");
        let told = curl.args(["-fsS", "-X", "PUT", &url]).output();
        let told = told.expect("curl runs");
        assert!(told.status.success(), "{}", text(&told.stderr));
    };
    prometheus.wait_until("SportlakeConnectorStopped", false);
    for what in ["pause", "stop"] {
        tell(what);
        prometheus.wait_until("SportlakeConnectorStopped", true);
        tell("resume");
        prometheus.wait_until("SportlakeConnectorStopped", false);
    }
    prometheus.wait_until("SportlakeConnectDown", false);
    drop(connect);
    prometheus.wait_until("SportlakeConnectDown", true);
    prometheus.wait_until("SportlakeConnectorStopped", false);
    prometheus.wait_until("SportlakeCaptureNotConnected", false);
    drop(database);
    prometheus.wait_until("SportlakeCaptureNotConnected", true);
}

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().expect("a number"))
}

/// A project whose source is the database.
fn captured(database: &Database, kafka: &KafkaConfig) -> Project {
    let source = database.url_of("sportlake_cdc", PASSWORD, "");
    Project::new()
        .set("source.postgres", &source)
        .set("kafka.brokers", &kafka.brokers)
        .set("cdc.look_seconds", "1")
        .set("upkeep.interval_seconds", "5")
        .set("upkeep.keep_epochs_seconds", "60")
        .set("upkeep.keep_hourly_seconds", "0")
}

/// Those of people and those of activities, each in transactions of its own.
struct Sessions<'a> {
    database: &'a Database,
    workloads: [Workload; 2],
}

impl<'a> Sessions<'a> {
    fn new(database: &'a Database, seed: u64) -> Self {
        let workloads = [Part::People, Part::Activities].map(|part| Workload::new(seed, part));
        Self {
            database,
            workloads,
        }
    }

    /// Writes the changes, while something else happens.
    fn write(&mut self, changes: u64, is_cut_off: bool, meanwhile: impl FnOnce()) {
        let database = self.database;
        std::thread::scope(|scope| {
            for workload in &mut self.workloads {
                scope.spawn(move || {
                    let deadline = Instant::now() + PATIENCE;
                    // A session that was cut off has other changes to make afterwards.
                    while let Err(said) = database.try_sql(&workload.transactions(changes / 2)) {
                        assert!(is_cut_off && Instant::now() < deadline, "{said}");
                        std::thread::sleep(Duration::from_millis(100));
                    }
                });
            }
            meanwhile();
        });
    }
}

/// Whatever else is killed, a role goes on by itself.
#[track_caller]
fn outlived(roles: &mut [Running], victim: Victim) {
    for role in roles {
        assert!(role.is_running(), "after {victim:?}: {}", ended(role));
    }
}

fn ended(role: &mut Running) -> String {
    role.end();
    role.transcript()
}

/// Waits until Kafka has whatever is committed now.
#[track_caller]
fn delivered(database: &Database, slot: &str) {
    let position = database.sql("SELECT pg_current_wal_lsn()");
    let deadline = Instant::now() + PATIENCE;
    // It is a commit that moves Debezium's position; this one changes nothing.
    let sql = format!(
        "UPDATE sport_activities SET duree_s = duree_s WHERE id = (SELECT min(id) FROM sport_activities);
         SELECT confirmed_flush_lsn >= '{position}' FROM pg_replication_slots WHERE slot_name = '{slot}'"
    );
    while database.sql(&sql) != "t" {
        assert!(
            Instant::now() < deadline,
            "\"{slot}\" does not reach the end"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What PostgreSQL says of its tables, as silver and gold should have it at the epoch.
#[track_caller]
fn asked(database: &Database, seen: &Seen) -> (Silver, Gold) {
    let now = seen.manifest["now"].as_str().expect("a time");
    let sql = include_str!("stack/oracle.sql").replace("{now}", now);
    let answer: Value = serde_json::from_str(&database.sql(&sql)).expect("JSON");
    let silver = SILVER.iter().map(|(table, columns)| {
        let rows = answer[*table].as_array().expect("rows");
        assert!(!rows.is_empty(), "{table} has rows");
        let rows = rows
            .iter()
            .map(|row| row.as_array().expect("a row").clone());
        (*table, rows_text(columns, rows))
    });
    (silver.collect(), gold(&answer["gold"]))
}

#[track_caller]
fn silver_of(project: &Project) -> Silver {
    let silver = SILVER.iter().map(|(table, columns)| {
        let cells = columns.iter().enumerate();
        let cells: Vec<String> = cells
            .map(|(at, column)| format!("CAST({column} AS VARCHAR) AS c{at}"))
            .collect();
        let sql = format!("SELECT {} FROM silver.{table}", cells.join(", "));
        let output = project.run(&["query", "--output", "json", &sql]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).expect("rows");
        let rows = rows.iter().map(|row| {
            let cells = (0..columns.len()).map(|at| row[format!("c{at}")].clone());
            cells.collect()
        });
        (*table, rows_text(columns, rows))
    });
    silver.collect()
}

fn rows_text(columns: &[&str], rows: impl Iterator<Item = Vec<Value>>) -> Vec<String> {
    let rows = rows.map(|row| {
        let mut cells = columns.iter().zip(&row);
        row_text(columns, |_| {
            let (column, cell) = cells.next()?;
            Some(plain(column, cell_text(cell)?))
        })
    });
    let mut rows: Vec<String> = rows.collect();
    rows.sort();
    rows
}

/// Numbers and times as one text, however they were written.
fn plain(column: &str, text: String) -> String {
    match column {
        "distance_m" => text.parse().map_or(text, |number: f64| number.to_string()),
        "date_debut" | "computed_at" => DateTime::parse_from_rfc3339(&text)
            .map_or(text, |time| time.with_timezone(&Utc).to_string()),
        _ => text,
    }
}

#[track_caller]
fn is_alike(found: &Silver, expected: &Silver) {
    for (table, _) in SILVER {
        let differing = difference(&found[table], &expected[table]);
        assert_eq!(differing, "", "silver.{table} is not what PostgreSQL has");
    }
}
