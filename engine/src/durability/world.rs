use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, Date32Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Int64Type};
use arrow::record_batch::RecordBatch;
use chrono::{TimeZone, Utc};
use futures::TryStreamExt;

use crate::bronze::{self, BronzeTable, PartitionOffset};
use crate::error::{ErrorKind, Result};
use crate::{
    Clock, Lake, LakeConfig, Lease, Manifest, ProjectConfig, Reader, ReaderConfig, RefreshConfig,
    Refresher, Request, Role, Session, SourceConfig, UpkeepConfig,
};

const TOPIC: &str = "t.public.people";

const PEOPLE: &str = "-- @key id
-- @cdc sequence by generation, source_lsn, _offset; delete when op = 'd'
SELECT CAST(after ->> 'id' AS BIGINT) AS id, CAST(after ->> 'age' AS BIGINT) AS age FROM bronze.people";

const TOTALS: &str = "-- @key one
SELECT 1 AS one, count(*) AS people, coalesce(sum(age), 0) AS ages FROM silver.people";

const LOCK: &str = r#"format = 1
[bronze.people]
topic = "t.public.people"
key = ["id"]
[bronze.people.fields]
id = "int64"
age = "int64"
"#;

/// The two texts that an edit changes between: what `more` adds to the number of people.
pub(super) fn below(step: i64) -> String {
    format!("SELECT people + {step} AS more FROM gold.totals")
}

/// A directory with a lake and its project.
pub(super) struct World {
    root: PathBuf,
    seconds: Arc<AtomicI64>,
}

impl World {
    /// Writes the project below `root`.
    pub(super) fn new(root: &Path) -> Self {
        let world = Self::at(root);
        for (path, text) in [
            ("silver/people.sql", PEOPLE),
            ("gold/totals.sql", TOTALS),
            ("gold/below.sql", &below(1)),
            ("sources.lock", LOCK),
        ] {
            let path = world.sql().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("created");
            std::fs::write(path, text).expect("written");
        }
        world
    }

    /// The same, where the project is.
    pub(super) fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            seconds: Arc::default(),
        }
    }

    fn sql(&self) -> PathBuf {
        self.root.join("sql")
    }

    /// Saves the file that edits change.
    pub(super) fn edit(&self, step: i64) {
        std::fs::write(self.sql().join("gold/below.sql"), below(step)).expect("written");
    }

    /// Leaves word of what is acknowledged, beside the lake.
    pub(super) fn acknowledge(&self, events: i64, epoch: u64) {
        std::fs::write(self.root.join("acknowledged"), format!("{events} {epoch}"))
            .expect("written");
    }

    pub(super) async fn lake(&self) -> Result<Lake> {
        let uri = self.root.join("lake").display().to_string();
        Lake::open(&LakeConfig { uri }).await
    }

    pub(super) async fn ingest(&self) -> Result<Ingest> {
        let lake = self.lake().await?;
        let lease = Lease::acquire(&lake, Role::Ingest)?;
        let bronze = BronzeTable::open_or_create(&lake, &lease, "people", self.clock()).await?;
        let stored = bronze.next_offset(TOPIC, 0).await?;
        Ok(Ingest {
            bronze,
            _lease: lease,
            stored,
        })
    }

    pub(super) async fn refresher(&self) -> Result<Refresher> {
        let lake = self.lake().await?;
        let lease = Lease::acquire(&lake, Role::Refresh)?;
        let project = ProjectConfig { path: self.sql() };
        let config = RefreshConfig {
            poll_ms: 10,
            upkeep: keeps_little(),
            ..RefreshConfig::default()
        };
        let source = SourceConfig::default();
        Box::pin(Refresher::open(
            lake,
            lease,
            &project,
            &config,
            &source,
            self.clock(),
        ))
        .await
    }

    pub(super) async fn reader(&self) -> Result<Reader> {
        let lake = self.lake().await?;
        Reader::new(lake, &ReaderConfig::default(), &SourceConfig::default())
    }

    /// Puts a request where the refresh role finds it, as a command does that then dies.
    pub(super) async fn request(&self, id: &str, request: &Request) -> Result<()> {
        let asking = serde_json::json!({
            "id": id,
            "asked_at": (self.clock())(),
            "expires_at": (self.clock())() + chrono::Duration::hours(1),
            "request": request,
        });
        let name = format!("_requests/refresh/{id}.json");
        let lake = self.lake().await?;
        lake.create(&name, asking.to_string().into_bytes()).await?;
        Ok(())
    }

    /// What both roles do so that the lake stays small: epochs thinned, files merged, then what nothing names removed.
    pub(super) async fn tidy(&self, ingest: &mut Ingest, refresher: &mut Refresher) -> Result<()> {
        // Less than what counts as a clock that leapt.
        const STEP: i64 = 600;
        for _ in 0..4 {
            self.seconds.fetch_add(STEP, Ordering::Relaxed);
            refresher.maintain(false).await?;
            ingest.bronze.maintain(&keeps_little(), false).await?;
        }
        Ok(())
    }

    fn clock(&self) -> Clock {
        let seconds = self.seconds.clone();
        // Later than any file's own time, by which upkeep knows how old it is.
        let start = Utc.timestamp_opt(4_000_000_000, 0).single();
        let start = start.expect("a time");
        Arc::new(move || start + chrono::Duration::seconds(seconds.fetch_add(1, Ordering::Relaxed)))
    }
}

fn keeps_little() -> UpkeepConfig {
    UpkeepConfig {
        keep_epochs_seconds: 60,
        keep_hourly_seconds: 0,
        ..UpkeepConfig::default()
    }
}

/// Bronze, written as the ingest role does.
pub(super) struct Ingest {
    bronze: BronzeTable,
    _lease: Lease,
    stored: Option<i64>,
}

impl Ingest {
    /// The offset that comes next.
    pub(super) fn next(&self) -> i64 {
        self.stored.unwrap_or(0)
    }

    /// Appends the next `count` events; where they end.
    pub(super) async fn append(&mut self, count: i64) -> Result<i64> {
        let next = self.next() + count;
        let offset = PartitionOffset {
            topic: TOPIC.to_owned(),
            partition: 0,
            from: self.stored,
            next,
        };
        let rows = events(self.next()..next);
        self.bronze.append(vec![rows], &[offset]).await?;
        self.stored = Some(next);
        Ok(next)
    }

    /// As `append`, again while the disk fails, as the role's writer does.
    pub(super) async fn append_in_the_end(&mut self, count: i64) -> i64 {
        let next = self.next() + count;
        loop {
            match self.append(count).await {
                Ok(next) => return next,
                Err(error) if error.kind() == ErrorKind::Unavailable => {}
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    let stored = self.bronze.next_offset(TOPIC, 0).await.expect("readable");
                    assert_eq!(stored, Some(next), "{error}: not by an earlier attempt");
                    self.stored = stored;
                    return next;
                }
                Err(error) => panic!("{:?}: {error}: {error:?}", error.kind()),
            }
        }
    }
}

/// What the event at an offset says of whom: five people, each seventh event a delete.
fn event(offset: i64) -> (i64, Option<i64>) {
    (offset % 5, (offset % 7 != 6).then_some(offset))
}

/// The table that the first `count` events make, by id.
pub(super) fn people(count: i64) -> BTreeMap<i64, i64> {
    let mut people = BTreeMap::new();
    for (id, age) in (0..count).map(event) {
        match age {
            Some(age) => people.insert(id, age),
            None => people.remove(&id),
        };
    }
    people
}

fn events(offsets: std::ops::Range<i64>) -> RecordBatch {
    let count = usize::try_from(offsets.end - offsets.start).expect("a few");
    // Days that are over keep no small files apart.
    let day = i32::try_from(offsets.start / 7).expect("a few");
    let values: Vec<String> = offsets
        .clone()
        .map(|offset| match event(offset) {
            (id, Some(age)) => {
                format!(r#"{{"before":null,"after":{{"id":{id},"age":{age}}},"op":"u"}}"#)
            }
            (id, None) => format!(r#"{{"before":{{"id":{id}}},"after":null,"op":"d"}}"#),
        })
        .collect();
    let ops: StringArray = offsets
        .clone()
        .map(|offset| Some(event(offset).1.map_or("d", |_| "u")))
        .collect();
    let instant = || TimestampMicrosecondArray::from(vec![0; count]).with_timezone("UTC");
    let keys = values.iter().map(|_| b"{}");
    let none: StringArray = vec![None::<&str>; count].into();
    let lsns: Int64Array = offsets.clone().map(|offset| offset + 1).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(vec![0; count])),
        Arc::new(offsets.collect::<Int64Array>()),
        Arc::new(instant()),
        Arc::new(instant()),
        Arc::new(Date32Array::from(vec![day; count])),
        Arc::new(BinaryArray::from_iter_values(keys)),
        Arc::new(BinaryArray::from_iter_values(&values)),
        Arc::new(none.clone()),
        Arc::new(ops),
        Arc::new(Int64Array::from(vec![0; count])),
        Arc::new(lsns),
        Arc::new(Int64Array::from(vec![0; count])),
        Arc::new(none),
    ];
    RecordBatch::try_new(bronze::schema(), columns).expect("bronze rows")
}

/// What one epoch shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) epoch: u64,
    /// Events in bronze.
    pub(super) events: i64,
    /// What the edited file adds.
    pub(super) step: i64,
}

/// Reads an epoch and finds it whole: bronze without a gap or a double, silver as the events make it, gold as silver
/// makes it.
pub(super) async fn whole_epoch(reader: &Reader, manifest: Arc<Manifest>) -> Seen {
    let epoch = manifest.epoch;
    let session = reader.session(manifest).expect("a session");
    let offsets = integers(&session, "SELECT _offset FROM bronze.people ORDER BY 1").await;
    let events = i64::try_from(offsets.len()).expect("a few");
    let dense: Vec<Vec<i64>> = (0..events).map(|offset| vec![offset]).collect();
    assert_eq!(offsets, dense, "bronze of epoch {epoch}");

    let expected = people(events);
    let rows = integers(&session, "SELECT id, age FROM silver.people ORDER BY id").await;
    let found: Vec<(i64, i64)> = rows.iter().map(|row| (row[0], row[1])).collect();
    let wanted: Vec<(i64, i64)> = expected.clone().into_iter().collect();
    assert_eq!(
        found, wanted,
        "silver of epoch {epoch} after {events} events"
    );

    let count = i64::try_from(expected.len()).expect("a few");
    let gold = "SELECT people, ages, more FROM gold.totals CROSS JOIN gold.below";
    let gold = integers(&session, gold).await;
    let ages = expected.values().sum();
    assert_eq!(gold.len(), 1, "gold of epoch {epoch}");
    assert_eq!(gold[0][..2], [count, ages], "gold of epoch {epoch}");
    let step = gold[0][2] - count;
    Seen {
        epoch,
        events,
        step,
    }
}

async fn integers(session: &Session, sql: &str) -> Vec<Vec<i64>> {
    let statement = session.prepare(sql).await.expect("a statement");
    let stream = statement.execute().await.expect("running");
    let batches: Vec<RecordBatch> = stream.try_collect().await.expect("rows");
    let mut rows = Vec::new();
    for batch in &batches {
        let cast =
            |column: &ArrayRef| arrow::compute::cast(column, &DataType::Int64).expect("integers");
        let columns: Vec<ArrayRef> = batch.columns().iter().map(cast).collect();
        let columns: Vec<&Int64Array> = columns
            .iter()
            .map(|column| column.as_primitive::<Int64Type>())
            .collect();
        rows.extend(
            (0..batch.num_rows())
                .map(|row| columns.iter().map(|column| column.value(row)).collect()),
        );
    }
    rows
}

/// Sizes and samples of these suites.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

pub(super) fn seed() -> u64 {
    variable("SPORTLAKE_SEED")
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(20_260_727)
}

/// Whether to try everything.
pub(super) fn all() -> bool {
    variable("SPORTLAKE_CUTS").as_deref() == Some("all")
}

/// Every number below `end`, or a sample of `count` of them, or of as many as are asked for.
pub(super) fn sample(end: usize, count: usize) -> Vec<usize> {
    let asked = variable("SPORTLAKE_CUTS").and_then(|asked| asked.parse().ok());
    let count = asked.unwrap_or(count);
    if all() || end <= count {
        return (0..end).collect();
    }
    let mut chance = Chance(seed());
    let mut numbers: Vec<usize> = (0..count)
        .map(|number| number * end / count + chance.below(end / count))
        .collect();
    numbers.dedup();
    numbers
}

/// For each name one of its places, where each is asked for.
pub(super) fn each(names: &[String]) -> Option<Vec<usize>> {
    if variable("SPORTLAKE_CUTS").as_deref() != Some("each") {
        return None;
    }
    let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, name) in names.iter().enumerate() {
        places.entry(name).or_default().push(place);
    }
    let mut chance = Chance(seed());
    let one = places
        .values()
        .map(|of_name| of_name[chance.below(of_name.len())]);
    Some(one.collect())
}

/// Chances that come again with the same seed (Steele, Lea and Flood's SplitMix).
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        let drawn = self.next() % end.max(1) as u64;
        usize::try_from(drawn).expect("below a size")
    }
}
