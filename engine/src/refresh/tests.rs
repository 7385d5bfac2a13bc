mod ages;
mod edits;
mod failing;
mod give_up;
mod plans;
mod rechecks;
mod rules;

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{
    ArrayRef, BinaryArray, Date32Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::TimeZone;
use futures::TryStreamExt;

use super::*;
use crate::bronze::{self, BronzeTable, PartitionOffset};
use crate::epoch::Freshness;
use crate::lake::LakeConfig;
use crate::reader::{Reader, ReaderConfig};

const PEOPLE: &str = "-- @key id
-- @cdc sequence by generation, source_lsn, _offset; delete when op = 'd'
SELECT CAST(after ->> 'id' AS BIGINT) AS id, after ->> 'name' AS name, CAST(after ->> 'age' AS BIGINT) AS age
FROM bronze.people WHERE (after ->> 'name') IS DISTINCT FROM 'hidden'";

const TOTALS: &str = "-- @key one
-- @expect sane: oldest < 150 ON VIOLATION FAIL
SELECT 1 AS one, count(*) AS people, coalesce(max(age), 0) AS oldest FROM silver.people";

const BELOW: &str = "SELECT people + 1 AS more FROM gold.totals";

const LOCK: &str = r#"format = 1
[bronze.people]
topic = "t.public.people"
key = ["id"]
[bronze.people.fields]
id = "int64"
name = "string"
age = "int64"
"#;

/// A lake, a project and a bronze table that a test writes as ingest would.
pub(crate) struct World {
    directory: tempfile::TempDir,
    pub(crate) lake: Lake,
    pub(crate) bronze: BronzeTable,
    _ingest: Lease,
    seconds: Arc<AtomicI64>,
    next_offset: i64,
}

impl World {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let sql = directory.path().join("sql");
        for (path, text) in [
            ("silver/people.sql", PEOPLE),
            ("gold/totals.sql", TOTALS),
            ("gold/below.sql", BELOW),
            ("sources.lock", LOCK),
        ] {
            write(&sql.join(path), text);
        }
        let uri = directory.path().join("lake").display().to_string();
        let lake = Lake::open(&LakeConfig { uri }).await.expect("a lake");
        let ingest = Lease::acquire(&lake, Role::Ingest).expect("free");
        let seconds = Arc::new(AtomicI64::new(0));
        let bronze = BronzeTable::open_or_create(&lake, &ingest, "people", clock(&seconds))
            .await
            .expect("bronze");
        Self {
            directory,
            lake,
            bronze,
            _ingest: ingest,
            seconds,
            next_offset: 0,
        }
    }

    pub(crate) fn sql(&self, path: &str) -> PathBuf {
        self.directory.path().join("sql").join(path)
    }

    pub(crate) async fn refresher(&self) -> Refresher {
        self.refresher_with(&RefreshConfig::default()).await
    }

    pub(crate) async fn refresher_with(&self, config: &RefreshConfig) -> Refresher {
        let lease = Lease::acquire(&self.lake, Role::Refresh).expect("free");
        let project = ProjectConfig {
            path: self.directory.path().join("sql"),
        };
        Refresher::open(
            self.lake.clone(),
            lease,
            &project,
            config,
            &SourceConfig::default(),
            clock(&self.seconds),
        )
        .await
        .expect("a refresher")
    }

    /// Appends events `(lsn, op, row)`; a row's id is its key.
    pub(crate) async fn events(&mut self, events: &[(i64, &str, &str)]) {
        let from = self.next_offset;
        let offsets: Int64Array = (from..).take(events.len()).collect();
        let values: Vec<String> = events
            .iter()
            .map(|(_, op, row)| match *op {
                "d" => format!(r#"{{"before":{row},"after":null,"op":"d"}}"#),
                _ => format!(r#"{{"before":null,"after":{row},"op":"{op}"}}"#),
            })
            .collect();
        let count = events.len();
        let instant = || TimestampMicrosecondArray::from(vec![0; count]).with_timezone("UTC");
        let none: StringArray = vec![None::<&str>; count].into();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![0; count])),
            Arc::new(offsets),
            Arc::new(instant()),
            Arc::new(instant()),
            Arc::new(Date32Array::from(vec![0; count])),
            Arc::new(BinaryArray::from_iter_values(vec![b"{}"; count])),
            Arc::new(BinaryArray::from_iter_values(&values)),
            Arc::new(none.clone()),
            Arc::new(StringArray::from_iter_values(
                events.iter().map(|event| event.1),
            )),
            Arc::new(Int64Array::from(vec![0; count])),
            Arc::new(
                events
                    .iter()
                    .map(|event| Some(event.0))
                    .collect::<Int64Array>(),
            ),
            Arc::new(Int64Array::from(vec![0; count])),
            Arc::new(none),
        ];
        let batch = RecordBatch::try_new(bronze::schema(), columns).expect("bronze rows");
        self.next_offset += i64::try_from(count).expect("a few");
        let offset = PartitionOffset {
            topic: "t.public.people".to_owned(),
            partition: 0,
            from: (from > 0).then_some(from),
            next: self.next_offset,
        };
        self.bronze
            .append(vec![batch], &[offset])
            .await
            .expect("appended");
    }

    /// The rows of a query at the newest epoch, one text a row.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<String> {
        let config = (ReaderConfig::default(), SourceConfig::default());
        let reader = Reader::new(self.lake.clone(), &config.0, &config.1).expect("a reader");
        let newest = reader.latest().await.expect("an epoch");
        let session = reader.session(newest).expect("a session");
        let statement = session.prepare(sql).await.expect("a statement");
        let stream = statement.execute().await.expect("running");
        let batches: Vec<RecordBatch> = stream.try_collect().await.expect("rows");
        batches.iter().flat_map(texts).collect()
    }

    pub(crate) async fn people(&self) -> Vec<String> {
        self.rows("SELECT id, name, age FROM silver.people ORDER BY id")
            .await
    }
}

fn texts(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default();
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).expect("printable"))
        .collect();
    (0..batch.num_rows())
        .map(|row| {
            let cells: Vec<_> = columns
                .iter()
                .map(|cells| cells.value(row).to_string())
                .collect();
            cells.join(",")
        })
        .collect()
}

pub(crate) fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("created");
    std::fs::write(path, text).expect("written");
}

fn clock(seconds: &Arc<AtomicI64>) -> Clock {
    let seconds = seconds.clone();
    Arc::new(move || {
        let start = Utc
            .timestamp_opt(1_770_000_000, 0)
            .single()
            .expect("a time");
        start + chrono::Duration::seconds(seconds.fetch_add(1, Ordering::Relaxed))
    })
}

impl Refresher {
    /// Declares the next epoch of the project on disk and commits its tables, as a process that dies before the manifest.
    /// What it would have published.
    pub(crate) async fn leave_unfinished(&mut self) -> Result<Option<Manifest>> {
        self.take_edit().await?;
        let project = self.project.current().expect("a project");
        let inputs = self.bronze.versions().await?;
        let intent = self.next(&project, inputs, (self.clock)()).await?;
        let intent = self.epochs.declare(intent).await?;
        self.unfinished = Some(intent.clone());
        Ok(self.build(&intent, &project).await?.manifest)
    }
}

const ANNE: &str = r#"{"id":1,"name":"Anne","age":30}"#;
const BOB: &str = r#"{"id":2,"name":"Bob","age":40}"#;

#[tokio::test(flavor = "multi_thread")]
async fn events_fold_into_the_current_row_of_each_key() {
    let mut world = World::new().await;
    let mut refresher = world.refresher().await;
    world.events(&[(1, "r", ANNE), (2, "c", BOB)]).await;
    assert!(matches!(
        refresher.turn().await.expect("a turn"),
        Turn::Published(_)
    ));
    assert_eq!(world.people().await, ["1,Anne,30", "2,Bob,40"]);
    assert!(matches!(
        refresher.turn().await.expect("a turn"),
        Turn::Quiet
    ));

    let late = r#"{"id":1,"name":"Late","age":1}"#;
    let newer = r#"{"id":1,"name":"Anna","age":31}"#;
    world
        .events(&[
            (9, "u", newer),
            (5, "u", late),
            (6, "d", BOB),
            (2, "c", BOB),
        ])
        .await;
    refresher.turn().await.expect("a turn");
    assert_eq!(
        world.people().await,
        ["1,Anna,31"],
        "late, deleted and replayed"
    );
    assert_eq!(
        world.rows("SELECT people, oldest FROM gold.totals").await,
        ["1,31"]
    );

    world.events(&[(3, "u", BOB)]).await;
    refresher.turn().await.expect("a turn");
    assert_eq!(
        world.people().await,
        ["1,Anna,31"],
        "an old event loses to the delete"
    );

    let hidden = r#"{"id":1,"name":"hidden","age":31}"#;
    world.events(&[(10, "u", hidden)]).await;
    refresher.turn().await.expect("a turn");
    assert!(
        world.people().await.is_empty(),
        "a row that leaves the WHERE is gone"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_evaluated_is_left_out_and_counted() {
    let mut world = World::new().await;
    let mut refresher = world.refresher().await;
    let bad = r#"{"id":3,"name":"Bad","age":"old"}"#;
    let no_key = r#"{"name":"Nobody"}"#;
    world
        .events(&[
            (1, "c", ANNE),
            (2, "c", bad),
            (3, "c", no_key),
            (4, "c", BOB),
        ])
        .await;
    let Turn::Published(manifest) = refresher.turn().await.expect("a turn") else {
        panic!("nothing published");
    };
    assert_eq!(world.people().await, ["1,Anne,30", "2,Bob,40"]);
    let people = &manifest.tables[&"silver.people".parse().expect("a name")];
    assert_eq!(people.state, Freshness::Fresh);
    assert_eq!(people.warnings["evaluation"], 1);
    assert_eq!(people.warnings["without_key"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_would_become_too_large_is_left_out_and_the_others_are_not() {
    let mut world = World::new().await;
    let growing = PEOPLE.replace(
        "after ->> 'name' AS name",
        "repeat(after ->> 'name', CAST(after ->> 'age' AS BIGINT)) AS name",
    );
    write(&world.sql("silver/people.sql"), &growing);
    let mut refresher = world.refresher().await;
    let large = r#"{"id":3,"name":"Large","age":1000000000}"#;
    let many: Vec<(i64, &str, String)> = (4..1004)
        .map(|id| (id, "c", format!(r#"{{"id":{id},"name":"P","age":100000}}"#)))
        .collect();
    let mut events = vec![(1, "c", ANNE), (3, "c", large)];
    events.extend(many.iter().map(|(lsn, op, row)| (*lsn, *op, row.as_str())));
    world.events(&events).await;
    let Turn::Published(manifest) = refresher.turn().await.expect("a turn") else {
        panic!("nothing published");
    };
    let people = &manifest.tables[&"silver.people".parse().expect("a name")];
    assert_eq!((people.state, people.rows), (Freshness::Fresh, Some(1001)));
    assert_eq!(people.warnings["evaluation"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_rule_holds_its_table_and_what_reads_it_until_it_is_cured() {
    let mut world = World::new().await;
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    refresher.turn().await.expect("a turn");
    let ancient = r#"{"id":2,"name":"Bob","age":400}"#;
    world.events(&[(2, "c", ancient)]).await;
    let Turn::Published(held) = refresher.turn().await.expect("a turn") else {
        panic!("nothing published");
    };
    let state = |manifest: &Manifest, name: &str| {
        let table = &manifest.tables[&name.parse().expect("a name")];
        (table.state, table.reason.clone().unwrap_or_default())
    };
    assert_eq!(state(&held, "silver.people").0, Freshness::Fresh);
    assert_eq!(
        state(&held, "gold.totals"),
        (
            Freshness::Held,
            "rule \"sane\" is broken by 1 of 1 rows".to_owned()
        )
    );
    assert_eq!(state(&held, "gold.below").0, Freshness::Held);
    assert_eq!(world.rows("SELECT people FROM gold.totals").await, ["1"]);
    assert!(matches!(
        refresher.turn().await.expect("a turn"),
        Turn::Quiet
    ));

    world.events(&[(3, "u", BOB)]).await;
    let Turn::Published(cured) = refresher.turn().await.expect("a turn") else {
        panic!("nothing published");
    };
    assert_eq!(state(&cured, "gold.totals").0, Freshness::Fresh);
    assert_eq!(state(&cured, "gold.below").0, Freshness::Fresh);
    assert_eq!(world.rows("SELECT more FROM gold.below").await, ["3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_epoch_is_finished_from_its_intent() {
    let mut world = World::new().await;
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    refresher.turn().await.expect("a turn");
    world.events(&[(2, "c", BOB)]).await;

    // Every table of the next epoch is committed, and the process dies before the manifest.
    let begun = refresher.leave_unfinished().await.expect("built");
    drop(refresher);
    assert_eq!(
        world.people().await,
        ["1,Anne,30"],
        "the old epoch is whole"
    );

    world
        .events(&[(3, "c", r#"{"id":3,"name":"Carl","age":50}"#)])
        .await;
    let mut refresher = world.refresher().await;
    let Turn::Published(resumed) = refresher.turn().await.expect("a turn") else {
        panic!("nothing published");
    };
    assert_eq!((resumed.epoch, resumed.now), (2, begun.expect("news").now));
    assert_eq!(
        world.people().await,
        ["1,Anne,30", "2,Bob,40"],
        "inputs are the intent's"
    );
    refresher.turn().await.expect("a turn");
    assert_eq!(world.people().await, ["1,Anne,30", "2,Bob,40", "3,Carl,50"]);
    assert_eq!(world.rows("SELECT people FROM gold.totals").await, ["3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_takes_effect_and_a_broken_one_does_not() {
    let mut world = World::new().await;
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    refresher.turn().await.expect("a turn");
    write(
        &world.sql("gold/below.sql"),
        "SELECT people + 2 AS more, 'x' AS note FROM gold.totals",
    );
    refresher.turn().await.expect("a turn");
    assert_eq!(
        world.rows("SELECT * FROM gold.below").await,
        ["3,x"],
        "another schema too"
    );

    write(
        &world.sql("gold/below.sql"),
        "SELECT peeple FROM gold.totals",
    );
    assert!(matches!(
        refresher.turn().await.expect("a turn"),
        Turn::Quiet
    ));
    drop(refresher);
    let mut refresher = world.refresher().await;
    world.events(&[(2, "c", BOB)]).await;
    refresher.turn().await.expect("a turn");
    assert_eq!(
        world.rows("SELECT * FROM gold.below").await,
        ["4,x"],
        "a restart while broken"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bronze_refuses_an_ingest_that_was_overtaken() {
    let mut world = World::new().await;
    world.events(&[(1, "c", ANNE)]).await;
    world.next_offset = 0;
    let stale = PartitionOffset {
        topic: "t.public.people".to_owned(),
        partition: 0,
        from: None,
        next: 1,
    };
    let refused = world
        .bronze
        .append(Vec::new(), &[stale])
        .await
        .expect_err("overtaken");
    assert_eq!(refused.kind(), ErrorKind::Conflict);
}

mod requested;
mod upkeep;
