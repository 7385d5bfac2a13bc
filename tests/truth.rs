//! What gold must hold, computed from the topics by `oracle.py`, beside what gold holds.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use changes::{KafkaConfig, Purpose};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::parts::part;
use crate::project::{PATIENCE, Project, text};

pub(crate) const TABLES: [&str; 4] = [
    "employees",
    "declared_sports",
    "commute_distances",
    "sport_activities",
];

/// Every gold table and its columns.
const GOLD: [(&str, &[&str]); 6] = [
    (
        "eligibilites",
        &[
            "employee_id",
            "bu",
            "prime_sportive",
            "montant_prime_euros",
            "distance_km",
            "nb_activites",
            "jours_bien_etre",
            "declaration_correcte",
            "distance_source",
        ],
    ),
    (
        "cout_par_bu",
        &[
            "bu",
            "nb_salaries",
            "nb_primes",
            "montant_primes_euros",
            "jours_bien_etre",
        ],
    ),
    (
        "activites_par_mois",
        &[
            "mois",
            "type_activite",
            "nb_activites",
            "distance_km",
            "duree_h",
        ],
    ),
    (
        "classement",
        &["rang", "employee_id", "bu", "nb_activites", "distance_km"],
    ),
    (
        "anomalies_declaration",
        &[
            "employee_id",
            "bu",
            "moyen_deplacement",
            "distance_km",
            "limite_km",
            "motif",
        ],
    ),
    (
        "indicateurs",
        &[
            "nb_salaries",
            "nb_primes",
            "montant_primes_euros",
            "nb_bien_etre",
            "jours_bien_etre",
            "nb_activites",
            "distance_km",
        ],
    ),
];

/// Partitions with an offset each, by table.
type Offsets = BTreeMap<String, BTreeMap<i32, i64>>;

/// Rows of the gold tables, one text a row, sorted.
pub(crate) type Gold = BTreeMap<&'static str, Vec<String>>;

/// One epoch, as readers see it.
pub(crate) struct Seen {
    pub(crate) manifest: Value,
    pub(crate) gold: Gold,
    /// The last offset that bronze holds.
    offsets: Offsets,
}

/// The topics of a project, and what it makes of them.
pub(crate) struct Topics<'a> {
    project: &'a Project,
    kafka: KafkaConfig,
}

/// Them beside the oracle.
pub(crate) struct Truth<'a> {
    topics: Topics<'a>,
    python: OsString,
}

impl<'a> Truth<'a> {
    /// None where there is no Python with the oracle's packages.
    pub(crate) fn new(project: &'a Project, kafka: &KafkaConfig) -> Option<Self> {
        Some(Self {
            topics: Topics::new(project, kafka),
            python: part("SPORTLAKE_TEST_PYTHON")?,
        })
    }

    #[track_caller]
    pub(crate) fn await_topics(&self) {
        self.topics.await_them();
    }

    /// Waits for an epoch with everything that the topics hold at the time of the call, and compares its gold with the
    /// oracle's. With `as_imported`, employees and sports must be those of the sample workbooks.
    #[track_caller]
    pub(crate) fn check(&self, as_imported: bool) -> Value {
        let seen = self.topics.settled();
        let folder = tempfile::tempdir().expect("a folder");
        let (events, offsets) = (folder.path().join("events"), folder.path().join("offsets"));
        std::fs::write(&events, self.topics.dump()).expect("written");
        std::fs::write(&offsets, json!(seen.offsets).to_string()).expect("written");
        // A table that reads the clock has the time of its files, or of the turn that found it unchanged.
        let tables = GOLD.iter();
        let computed = tables.map(|(table, _)| {
            seen.manifest["tables"][format!("gold.{table}")]["computed_at"].as_str()
        });
        let nows: BTreeSet<&str> = computed
            .chain([seen.manifest["now"].as_str()])
            .flatten()
            .collect();
        let expected: Vec<Gold> = nows
            .iter()
            .map(|now| self.oracle(&events, now, &offsets, as_imported))
            .collect();
        seen.is_one_of(&expected);
        seen.manifest
    }

    #[track_caller]
    fn oracle(&self, events: &Path, now: &str, offsets: &Path, as_imported: bool) -> Gold {
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
        gold(&serde_json::from_slice(&output.stdout).expect("rows"))
    }
}

/// The gold tables as an oracle says them, `{table: [row]}`.
#[track_caller]
pub(crate) fn gold(rows: &Value) -> Gold {
    let table = |(table, columns): &(&'static str, &[&str])| {
        let rows = rows[*table].as_array().expect("rows");
        let texts = rows.iter().map(|row| {
            assert_eq!(row.as_object().map(|row| row.len()), Some(columns.len()));
            row_text(columns, |column| cell_text(&row[column]))
        });
        let mut texts: Vec<String> = texts.collect();
        texts.sort();
        (*table, texts)
    };
    GOLD.iter().map(table).collect()
}

impl Seen {
    /// Messages of all topics, in bronze.
    pub(crate) fn messages(&self) -> i64 {
        let ends = self.offsets.values().flat_map(BTreeMap::values);
        ends.map(|last| last + 1).sum()
    }

    /// Every gold table is as one of the oracles' answers has it.
    #[track_caller]
    pub(crate) fn is_one_of(&self, expected: &[Gold]) {
        for (table, _) in GOLD {
            let differences = expected
                .iter()
                .map(|expected| difference(&self.gold[table], &expected[table]));
            let least = differences.min_by_key(String::len).unwrap_or_default();
            assert_eq!(
                least, "",
                "gold.{table} of epoch {} is not what the rules give",
                self.manifest["epoch"]
            );
        }
    }
}

impl<'a> Topics<'a> {
    pub(crate) fn new(project: &'a Project, kafka: &KafkaConfig) -> Self {
        let kafka = kafka.clone();
        Self { project, kafka }
    }

    fn topic(&self, table: &str) -> String {
        format!("{}.public.{table}", self.kafka.prefix)
    }

    /// Waits for an epoch with everything that the topics hold at the time of the call.
    #[track_caller]
    pub(crate) fn settled(&self) -> Seen {
        let ends = self.ends();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let why = match self.see() {
                Ok(seen) if !reaches(&seen.offsets, &ends) => {
                    format!("{:?} of {ends:?}", seen.offsets)
                }
                Ok(seen) => match lagging(&seen.manifest) {
                    Some(table) => {
                        format!("{table} lags behind what it reads: {}", seen.manifest)
                    }
                    None => return seen,
                },
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
        let widest = GOLD.iter().map(|(_, columns)| columns.len()).max();
        let widest = widest.unwrap_or_default();
        let part = |name: &str, table: &str, columns: &[String]| {
            let cells = (0..widest).map(|at| match columns.get(at) {
                Some(column) => format!("CAST({column} AS VARCHAR) AS c{at}"),
                None => format!("CAST(NULL AS VARCHAR) AS c{at}"),
            });
            let cells: Vec<String> = cells.collect();
            format!("SELECT '{name}' AS part, {} FROM {table}", cells.join(", "))
        };
        let gold = GOLD.iter().map(|(table, columns)| {
            let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
            part(table, &format!("gold.{table}"), &columns)
        });
        let bronze = TABLES.iter().map(|table| {
            let columns = ["_partition", "max(_offset)"].map(str::to_owned);
            let table_name = format!("bronze.{table} GROUP BY _partition");
            part(table, &table_name, &columns)
        });
        let parts: Vec<String> = gold.chain(bronze).collect();
        let sql = parts.join(" UNION ALL ");
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
        let mut gold: Gold = GOLD.iter().map(|(table, _)| (*table, Vec::new())).collect();
        let mut offsets = Offsets::new();
        for row in &answer {
            let part = row["part"].as_str().unwrap_or_default();
            if let Some((table, columns)) = GOLD.iter().find(|(table, _)| *table == part) {
                let mut cells = (0..).map(|at| cell_text(&row[format!("c{at}")]));
                let text = row_text(columns, |_| cells.next().flatten());
                gold.entry(table).or_default().push(text);
                continue;
            }
            let number = |cell: &str| row[cell].as_str()?.parse::<i64>().ok();
            let partition = number("c0").and_then(|number| i32::try_from(number).ok());
            let partition = partition.ok_or("a partition is missing")?;
            let offset = number("c1").ok_or("an offset is missing")?;
            let table = offsets.entry(part.to_owned()).or_default();
            table.insert(partition, offset);
        }
        gold.values_mut().for_each(|rows| rows.sort());
        Ok(Seen {
            manifest,
            gold,
            offsets,
        })
    }

    /// Waits until the sources have made their topics.
    #[track_caller]
    pub(crate) fn await_them(&self) {
        let consumer = self.consumer();
        let deadline = Instant::now() + PATIENCE;
        let exist = || {
            let metadata = consumer.fetch_metadata(None, PATIENCE).ok()?;
            let topics = metadata.topics().iter();
            let ours = topics.filter(|topic| topic.name().starts_with(&self.topic("")));
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
            let topic = self.topic(table);
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
                let topic = self.topic(table);
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

/// A gold table that is not made from the very versions that the epoch shows.
fn lagging(manifest: &Value) -> Option<String> {
    let mut tables = GOLD.iter().map(|(table, _)| format!("gold.{table}"));
    tables.find(|table| !is_coherent(manifest, table))
}

pub(crate) fn cell_text(cell: &Value) -> Option<String> {
    match cell {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// A row as one text; kilometres and hours to the sixth digit, which is a millimetre.
pub(crate) fn row_text(columns: &[&str], mut cell: impl FnMut(&str) -> Option<String>) -> String {
    let cells = columns.iter().map(|column| {
        let text = cell(column).unwrap_or_else(|| "NULL".to_owned());
        match text.parse::<f64>() {
            Ok(number) if column.ends_with("_km") || column.ends_with("_h") => {
                format!("{column}={number:.6}")
            }
            _ => format!("{column}={text}"),
        }
    });
    let cells: Vec<String> = cells.collect();
    cells.join(" ")
}

/// The first rows that only one side has.
pub(crate) fn difference(found: &[String], expected: &[String]) -> String {
    let mut text = String::new();
    if found.len() != expected.len() {
        let _ = writeln!(text, "{} rows, {} expected", found.len(), expected.len());
    }
    let unexpected = found.iter().filter(|row| !expected.contains(row));
    for row in unexpected.take(5) {
        let _ = writeln!(text, "unexpected {row}");
    }
    let missing = expected.iter().filter(|row| !found.contains(row));
    for row in missing.take(5) {
        let _ = writeln!(text, "missing    {row}");
    }
    text
}
