//! What gold must hold, computed from the topics by `oracle.py`, beside what gold holds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use changes::{KafkaConfig, Purpose};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::project::{PATIENCE, Project, text};

pub(crate) const TABLES: [&str; 4] = [
    "employees",
    "declared_sports",
    "commute_distances",
    "sport_activities",
];
const GOLD: &str = "gold.eligibilites";

/// Partitions with an offset each, by table.
type Offsets = BTreeMap<String, BTreeMap<i32, i64>>;

/// One epoch, as readers see it.
struct Seen {
    manifest: Value,
    rows: Vec<Value>,
    /// The last offset that bronze holds.
    offsets: Offsets,
}

/// The broker of a project's `up`.
pub(crate) struct Truth<'a> {
    project: &'a Project,
    kafka: KafkaConfig,
    python: String,
}

impl<'a> Truth<'a> {
    /// None where there is no Python with the oracle's packages.
    pub(crate) fn new(project: &'a Project, kafka: &KafkaConfig) -> Option<Self> {
        Some(Self {
            project,
            kafka: kafka.clone(),
            python: std::env::var("SPORTLAKE_TEST_PYTHON").ok()?,
        })
    }

    /// Waits for an epoch with everything that the topics hold at the time of the call, and compares its gold with the
    /// oracle's. With `as_imported`, employees and sports must be those of the sample workbooks.
    #[track_caller]
    pub(crate) fn check(&self, as_imported: bool) -> Value {
        let seen = self.settled();
        let folder = tempfile::tempdir().expect("a folder");
        let (events, offsets) = (folder.path().join("events"), folder.path().join("offsets"));
        std::fs::write(&events, self.dump()).expect("written");
        std::fs::write(&offsets, json!(seen.offsets).to_string()).expect("written");
        let mut nows = vec![seen.manifest["tables"][GOLD]["computed_at"].clone()];
        // A table found unchanged keeps the time of its files.
        nows.push(seen.manifest["now"].clone());
        let mut differences = String::new();
        for now in nows.iter().filter_map(Value::as_str) {
            let expected = self.oracle(&events, now, &offsets, as_imported);
            differences = difference(&seen.rows, &expected);
            if differences.is_empty() {
                return seen.manifest;
            }
        }
        assert_eq!(
            differences, "",
            "gold of epoch {} is not what the rules give",
            seen.manifest["epoch"]
        );
        seen.manifest
    }

    #[track_caller]
    fn oracle(&self, events: &Path, now: &str, offsets: &Path, as_imported: bool) -> Vec<Value> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(&self.python);
        command
            .arg(root.join("tests/oracle.py"))
            .arg(events)
            .arg(now)
            .arg(offsets);
        if as_imported {
            let samples = root.join("sources/samples");
            command
                .arg(samples.join("employes.xlsx"))
                .arg(samples.join("sports.xlsx"));
        }
        let output = command.output().expect("Python runs");
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("rows")
    }

    #[track_caller]
    fn settled(&self) -> Seen {
        let ends = self.ends();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let why = match self.see() {
                Ok(seen) if !reaches(&seen.offsets, &ends) => {
                    format!("{:?} of {ends:?}", seen.offsets)
                }
                Ok(seen) if !is_coherent(&seen.manifest, GOLD) => {
                    format!("{GOLD} lags behind what it reads: {}", seen.manifest)
                }
                Ok(seen) => return seen,
                Err(why) => why,
            };
            assert!(
                Instant::now() < deadline,
                "no epoch holds what was written: {why}"
            );
        }
    }

    /// The newest epoch, in one statement, so that it is one epoch.
    fn see(&self) -> Result<Seen, String> {
        let before = newest_manifest(self.project).ok_or("no epoch yet")?;
        let mut sql = format!(
            "SELECT 'gold' AS part, employee_id, bu, prime_sportive,
                CAST(montant_prime_euros AS VARCHAR) AS montant_prime_euros, distance_km,
                CAST(nb_activites AS BIGINT) AS nb_activites, CAST(jours_bien_etre AS BIGINT) AS jours_bien_etre,
                declaration_correcte, distance_source
             FROM {GOLD}"
        );
        for table in TABLES {
            let _ = write!(
                sql,
                " UNION ALL SELECT '{table}', CAST(_partition AS BIGINT), NULL, NULL, NULL, NULL, max(_offset),
                    NULL, NULL, NULL FROM bronze.{table} GROUP BY _partition"
            );
        }
        let output = self.project.run(&["query", "--output", "json", &sql]);
        if !output.status.success() {
            return Err(text(&output.stderr));
        }
        let manifest = newest_manifest(self.project).ok_or("no epoch")?;
        if manifest["epoch"] != before["epoch"] {
            return Err("epochs follow too fast".to_owned());
        }
        let answer: Vec<Value> =
            serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
        let mut rows = Vec::new();
        let mut offsets = Offsets::new();
        for mut row in answer {
            let part = row["part"].as_str().unwrap_or_default().to_owned();
            if part == "gold" {
                row.as_object_mut().map(|row| row.shift_remove("part"));
                rows.push(row);
                continue;
            }
            let partition = row["employee_id"].as_i64().and_then(|n| n.try_into().ok());
            let offset = row["nb_activites"].as_i64().ok_or("an offset is missing")?;
            let partition = partition.ok_or("a partition is missing")?;
            offsets.entry(part).or_default().insert(partition, offset);
        }
        rows.sort_by_key(|row| row["employee_id"].as_i64());
        Ok(Seen {
            manifest,
            rows,
            offsets,
        })
    }

    /// Waits until the sources have made their topics.
    #[track_caller]
    pub(crate) fn await_topics(&self) {
        let consumer = self.consumer();
        let deadline = Instant::now() + PATIENCE;
        let exist = || {
            let metadata = consumer.fetch_metadata(None, PATIENCE).ok()?;
            let topics = metadata.topics().iter();
            let ours = topics.filter(|topic| topic.name().starts_with("sportsdata.public."));
            (ours.count() == TABLES.len()).then_some(())
        };
        while exist().is_none() {
            assert!(Instant::now() < deadline, "the topics are created");
        }
    }

    fn consumer(&self) -> BaseConsumer {
        let consumer = self.kafka.client(&Purpose::Consume).create();
        consumer.expect("a consumer")
    }

    /// The last offset of every partition that holds something.
    fn ends(&self) -> Offsets {
        let consumer = self.consumer();
        let mut ends = Offsets::new();
        for table in TABLES {
            let topic = format!("sportsdata.public.{table}");
            let metadata = consumer.fetch_metadata(Some(&topic), PATIENCE);
            let metadata = metadata.expect("the broker answers");
            for partition in metadata.topics()[0].partitions() {
                let marks = consumer.fetch_watermarks(&topic, partition.id(), PATIENCE);
                let (low, high) = marks.expect("the broker answers");
                assert_eq!(low, 0, "nothing is deleted from {topic}");
                if high > 0 {
                    let ends = ends.entry(table.to_owned()).or_default();
                    ends.insert(partition.id(), high - 1);
                }
            }
        }
        ends
    }

    /// Every message of the topics as lines of JSON.
    #[track_caller]
    fn dump(&self) -> String {
        let mut ends = self.ends();
        let consumer = self.consumer();
        let mut assignment = TopicPartitionList::new();
        for (table, partitions) in &ends {
            for partition in partitions.keys() {
                let topic = format!("sportsdata.public.{table}");
                assignment
                    .add_partition_offset(&topic, *partition, Offset::Beginning)
                    .expect("assigned");
            }
        }
        consumer.assign(&assignment).expect("assigned");
        let mut lines = String::new();
        let mut deadline = Instant::now() + PATIENCE;
        while ends.values().any(|partitions| !partitions.is_empty()) {
            assert!(Instant::now() < deadline, "the topics can be read");
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else {
                continue;
            };
            deadline = Instant::now() + PATIENCE;
            let line = json!({
                "topic": message.topic(), "partition": message.partition(), "offset": message.offset(),
                "key": message.key().map(text), "value": message.payload().map(text),
            });
            let _ = writeln!(lines, "{line}");
            let table = message.topic().rsplit('.').next().unwrap_or_default();
            if let Some(partitions) = ends.get_mut(table)
                && partitions.get(&message.partition()) == Some(&message.offset())
            {
                partitions.remove(&message.partition());
            }
        }
        lines
    }
}

/// The newest epoch's manifest, read as a file.
pub(crate) fn newest_manifest(project: &Project) -> Option<Value> {
    let newest = manifests(project).into_iter().max()?;
    let bytes = std::fs::read(newest).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The files of all published epochs.
pub(crate) fn manifests(project: &Project) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(project.path("data/lake/_epochs")) else {
        return Vec::new();
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.strip_suffix(".json")
                .is_some_and(|stem| stem.bytes().all(|byte| byte.is_ascii_digit()))
        })
        .collect()
}

fn reaches(offsets: &Offsets, ends: &Offsets) -> bool {
    ends.iter().all(|(table, partitions)| {
        partitions.iter().all(|(partition, end)| {
            offsets
                .get(table)
                .and_then(|partitions| partitions.get(partition))
                .is_some_and(|offset| offset >= end)
        })
    })
}

/// Whether a table of an epoch is made from the very versions of its inputs that the epoch shows.
fn is_coherent(manifest: &Value, table: &str) -> bool {
    let tables = &manifest["tables"];
    if table.starts_with("bronze.") {
        return true;
    }
    tables[table]["state"] == "fresh"
        && tables[table]["inputs"].as_object().is_none_or(|inputs| {
            inputs.iter().all(|(input, version)| {
                tables[input]["version"] == *version && is_coherent(manifest, input)
            })
        })
}

/// The first rows that differ, without those that agree.
fn difference(found: &[Value], expected: &[Value]) -> String {
    let by_employee = |rows: &[Value]| -> BTreeMap<i64, Value> {
        let rows = rows.iter();
        rows.map(|row| (row["employee_id"].as_i64().unwrap_or(-1), row.clone()))
            .collect()
    };
    let (left, right) = (by_employee(found), by_employee(expected));
    let mut text = String::new();
    if found.len() != left.len() || left.len() != right.len() {
        let _ = writeln!(text, "{} rows, {} expected", found.len(), right.len());
    }
    for id in left.keys().chain(right.keys()) {
        if left.get(id) != right.get(id) && text.lines().count() < 10 {
            let _ = writeln!(
                text,
                "found {:?}, expected {:?}",
                left.get(id),
                right.get(id)
            );
        }
    }
    text
}
