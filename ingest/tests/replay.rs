use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, BinaryArray, Date32Array, Int32Array, Int64Array, RecordBatch};
use arrow::array::{StringArray, TimestampMicrosecondArray, new_null_array};
use disk::{Operation, Step, Watcher};
use engine::bronze::{self, BronzeTable};
use engine::{
    Asked, Lake, Lease, ProjectConfig, Reader, ReaderConfig, RefreshConfig, Refresher, Request,
    Role, SourceConfig, Turn, UpkeepConfig, dead_letters,
};
use futures::TryStreamExt;

use crate::support::{Broker, Ingest, Row, Sent, TestLake, clock, envelope, in_time, quick, rows};

const TOPIC: &str = "sportsdata.public.employees";

fn all() -> Request {
    Request::ReplayDeadLetters { tables: Vec::new() }
}

/// An event of the row `id`, of the fifth millisecond, that an older program could not read and this one can.
async fn put_misjudged(lake: &Lake, lease: &Lease, offset: i64, id: i64) {
    put_misjudged_at(lake, lease, offset, id, 5).await;
}

async fn put_misjudged_at(lake: &Lake, lease: &Lease, offset: i64, id: i64, ms: i64) {
    let headers = Some(r#"[["sportlake.generation","4"]]"#);
    put(lake, lease, offset..offset + 1, ms, &envelope(id), headers).await;
}

/// Dead letters of these offsets, in one commit.
async fn put(
    lake: &Lake,
    lease: &Lease,
    offsets: Range<i64>,
    ms: i64,
    value: &[u8],
    headers: Option<&str>,
) {
    let count = offsets.clone().count();
    let columns = bronze::schema();
    let columns: Vec<ArrayRef> = columns
        .fields()
        .iter()
        .map(|field| -> ArrayRef {
            match field.name().as_str() {
                "_partition" => Arc::new(Int32Array::from(vec![0; count])),
                "_offset" => Arc::new(Int64Array::from_iter_values(offsets.clone())),
                "_date" => Arc::new(Date32Array::from(vec![0; count])),
                "_timestamp" | "_ingested_at" => {
                    let times = TimestampMicrosecondArray::from(vec![ms * 1_000; count]);
                    Arc::new(times.with_timezone("UTC"))
                }
                "value" => Arc::new(BinaryArray::from_vec(vec![value; count])),
                "headers" => Arc::new(StringArray::from(vec![headers; count])),
                "error" => Arc::new(StringArray::from(vec!["unknown op"; count])),
                _ => new_null_array(field.data_type(), count),
            }
        })
        .collect();
    let batch = RecordBatch::try_new(bronze::schema(), columns).expect("rows");
    let table = BronzeTable::open_or_create(lake, lease, "employees", clock()).await;
    let mut table = table.expect("bronze");
    table.append(vec![batch], &[]).await.expect("appended");
}

fn attempts(rows: &[Row], offset: i64) -> Vec<(Option<&str>, bool)> {
    let of_offset = rows.iter().filter(|row| row.offset == offset);
    let mut attempts: Vec<_> = of_offset
        .map(|row| (row.headers.as_deref(), row.error.is_some()))
        .collect();
    attempts.sort_by_key(|(headers, _)| headers.map(str::len));
    attempts
}

/// More than one replay takes: none has a second turn before each had its first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_dead_letters_each_has_its_turn() {
    let place = TestLake::new();
    let lake = place.open().await;
    let lease = Lease::acquire(&lake, Role::Ingest).expect("free");
    put(&lake, &lease, 0..12_000, 0, b"no JSON", None).await;
    for _ in 0..2 {
        let upkeep = UpkeepConfig::default();
        let done = ingest::fulfil(&lake, &lease, &clock(), &upkeep, &all()).await;
        let told = done.expect("replayed").summary;
        assert!(
            told.starts_with("bronze.employees: 10000 messages replayed"),
            "{told}"
        );
        assert!(told.contains("more are left"), "{told}");
    }
    let stored = rows(&place.path(), "employees");
    let is_second = |row: &&Row| {
        row.headers
            .as_ref()
            .is_some_and(|all| all.contains("attempt"))
    };
    let second = stored.iter().filter(is_second).map(|row| row.offset);
    let second: std::collections::BTreeSet<i64> = second.collect();
    assert_eq!((stored.len(), second.len()), (32_000, 12_000));
}

/// More bytes than one replay has memory for: it takes a part.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_large_dead_letters_a_part_is_taken() {
    let place = TestLake::new();
    let lake = place.open().await;
    let lease = Lease::acquire(&lake, Role::Ingest).expect("free");
    put(&lake, &lease, 0..1_200, 0, &vec![b'x'; 80 << 10], None).await;
    let mut taken = 0;
    for _ in 0..2 {
        let upkeep = UpkeepConfig::default();
        let done = ingest::fulfil(&lake, &lease, &clock(), &upkeep, &all()).await;
        let replayed = done.expect("replayed").details["replayed"][0].clone();
        assert_eq!(replayed["more"], true, "{replayed}");
        taken += replayed["messages"].as_u64().expect("a count");
    }
    assert!((1_200..2_400).contains(&taken), "{taken}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_can_be_read_now_is_a_dead_letter_no_more() {
    let place = TestLake::new();
    let lake = place.open().await;
    let lease = Lease::acquire(&lake, Role::Ingest).expect("free");
    put_misjudged(&lake, &lease, 7, 7).await;
    let name = "bronze.employees".parse().expect("a name");
    assert_eq!(
        dead_letters(&lake, &name)
            .await
            .expect("read")
            .letters
            .len(),
        1
    );

    let outcome = ingest::fulfil(&lake, &lease, &clock(), &UpkeepConfig::default(), &all())
        .await
        .expect("replayed");
    assert_eq!(
        outcome.summary,
        "bronze.employees: 1 messages replayed, 0 are dead letters still"
    );
    let stored = rows(&place.path(), "employees");
    assert_eq!(
        attempts(&stored, 7),
        [
            (Some(r#"[["sportlake.generation","4"]]"#), true),
            (
                Some(r#"[["sportlake.generation","4"],["sportlake.attempt","2"]]"#),
                false
            ),
        ]
    );
    let again = stored.iter().find(|row| row.error.is_none());
    let again = again.expect("the second attempt");
    assert_eq!(
        (again.op.as_deref(), again.generation),
        (Some("c"), Some(4))
    );
    assert!(
        dead_letters(&lake, &name)
            .await
            .expect("read")
            .letters
            .is_empty()
    );
    let outcome = ingest::fulfil(&lake, &lease, &clock(), &UpkeepConfig::default(), &all())
        .await
        .expect("nothing left");
    assert_eq!(outcome.summary, "there are no dead letters");
    assert_eq!(rows(&place.path(), "employees").len(), 2);

    // A message of another cluster that stands at the same offset.
    put_misjudged_at(&lake, &lease, 7, 8, 6).await;
    let left = dead_letters(&lake, &name).await.expect("read").letters;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].timestamp_us, Some(6_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_ingest_replays_beside_what_it_reads() {
    let place = TestLake::new();
    let broker = Broker::start(&place.broker_path()).await;
    broker.create(TOPIC, 1).await;
    let (good, bad) = (envelope(1), b"not an envelope".to_vec());
    let sent = |value| Sent {
        value: Some(value),
        ..Sent::default()
    };
    broker.send(TOPIC, sent(&good)).await;
    broker.send(TOPIC, sent(&bad)).await;
    let ingest = Ingest::start(&broker.kafka, &place, quick()).await;
    ingest.until("employees", 2).await;

    let lake = place.open().await;
    for attempt in [2, 3] {
        let (request, clock) = (all(), clock());
        let asked = engine::ask(&lake, &request, &clock, Duration::from_secs(60), |_, _| {});
        let asked = in_time("the answer", asked).await.expect("answered");
        let Asked::Answered(outcome) = asked else {
            unreachable!("the role runs");
        };
        assert_eq!(
            outcome.summary,
            "bronze.employees: 1 messages replayed, 1 are dead letters still"
        );
        let name = "bronze.employees".parse().expect("a name");
        let left = dead_letters(&lake, &name).await.expect("read").letters;
        assert_eq!(left.len(), 1, "only the latest attempt is a dead letter");
        assert_eq!((left[0].offset, left[0].attempt), (1, attempt));
    }
    broker.send(TOPIC, sent(&good)).await;
    let stored = ingest.until("employees", 5).await;
    let offsets: Vec<i64> = stored.iter().map(|row| row.offset).collect();
    assert_eq!(offsets, [0, 1, 1, 1, 2]);
    ingest.stop().await;
    broker.stop().await;
}

/// Fails once to sync the folder of a log, after an entry is in it: the commit is there, and its answer is lost.
#[derive(Default)]
struct LosesAnAnswer {
    is_armed: AtomicBool,
}

impl Watcher for LosesAnAnswer {
    fn before(&self, step: &Step<'_>) -> std::io::Result<()> {
        let is_of_a_log = step.path.ends_with("_delta_log");
        if step.operation == Operation::SyncDirectory
            && is_of_a_log
            && self.is_armed.swap(false, Ordering::SeqCst)
        {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn after(&self, _step: &Step<'_>) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_whose_answer_is_lost_is_there_once() {
    let place = TestLake::new();
    let broker = Broker::start(&place.broker_path()).await;
    broker.create(TOPIC, 1).await;
    let bad = Sent {
        value: Some(b"not an envelope"),
        ..Sent::default()
    };
    broker.send(TOPIC, bad).await;
    let ingest = Ingest::start(&broker.kafka, &place, quick()).await;
    ingest.until("employees", 1).await;
    let lake = place.open().await;
    let disk = Arc::new(LosesAnAnswer::default());
    let watching = disk::watch(&place.path(), disk.clone());
    for wanted in [2, 3] {
        disk.is_armed.store(true, Ordering::SeqCst);
        let (request, clock) = (all(), clock());
        let asked = engine::ask(&lake, &request, &clock, Duration::from_secs(60), |_, _| {});
        let asked = in_time("the answer", asked).await.expect("answered");
        assert!(matches!(asked, Asked::Answered(_)));
        assert!(!disk.is_armed.load(Ordering::SeqCst), "an answer was lost");
        assert_eq!(rows(&place.path(), "employees").len(), wanted);
    }
    drop(watching);
    ingest.stop().await;
    broker.stop().await;
}

const EMPLOYEES: &str = "-- @key id
-- @cdc sequence by generation, source_lsn, _offset; delete when op = 'd'
SELECT CAST(after ->> 'id' AS BIGINT) AS id, _offset AS stands_on FROM bronze.employees";

async fn refresher(lake: &Lake, folder: &Path) -> Refresher {
    std::fs::create_dir_all(folder.join("silver")).expect("created");
    std::fs::write(folder.join("silver/employees.sql"), EMPLOYEES).expect("written");
    let lock = "format = 1\n[bronze.employees]\ntopic = \"sportsdata.public.employees\"\n";
    std::fs::write(folder.join("sources.lock"), lock).expect("written");
    let project = ProjectConfig {
        path: folder.to_owned(),
    };
    let lease = Lease::acquire(lake, Role::Refresh).expect("free");
    let (config, source) = (RefreshConfig::default(), SourceConfig::default());
    let refresher = Refresher::open(lake.clone(), lease, &project, &config, &source, clock());
    refresher.await.expect("a refresher")
}

/// Rows of a query at the newest epoch.
async fn queried(lake: &Lake, sql: &str) -> String {
    let (config, source) = (ReaderConfig::default(), SourceConfig::default());
    let reader = Reader::new(lake.clone(), &config, &source).expect("a reader");
    let session = reader.session(reader.latest().await.expect("an epoch"));
    let statement = session.expect("a session").prepare(sql).await;
    let stream = statement.expect("a statement").execute().await;
    let rows: Vec<RecordBatch> = stream.expect("running").try_collect().await.expect("rows");
    let text = arrow::util::pretty::pretty_format_batches(&rows).expect("text");
    let lines = text.to_string();
    let values = lines.lines().skip(3).filter(|line| line.starts_with("| "));
    let values: Vec<String> = values
        .map(|line| {
            line.trim_matches('|')
                .split('|')
                .map(str::trim)
                .collect::<Vec<_>>()
                .join(",")
        })
        .collect();
    values.join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replayed_message_folds_once_and_by_its_own_place() {
    let place = TestLake::new();
    let lake = place.open().await;
    let lease = Lease::acquire(&lake, Role::Ingest).expect("free");
    let folder = tempfile::tempdir().expect("a folder");
    put_misjudged(&lake, &lease, 8, 1).await;
    put_misjudged(&lake, &lease, 3, 2).await;
    let mut refresher = refresher(&lake, folder.path()).await;
    let people = "SELECT id, stands_on FROM silver.employees ORDER BY id";
    refresher.turn().await.expect("a turn");
    assert_eq!(
        queried(&lake, people).await,
        "",
        "dead letters are no events"
    );

    ingest::fulfil(&lake, &lease, &clock(), &UpkeepConfig::default(), &all())
        .await
        .expect("replayed");
    refresher.turn().await.expect("a turn");
    assert_eq!(queried(&lake, people).await, "1,8 2,3");
    let place =
        "SELECT _offset, count(*), count(error) FROM bronze.employees GROUP BY 1 ORDER BY 1";
    assert_eq!(
        queried(&lake, place).await,
        "3,2,1 8,2,1",
        "both attempts are kept"
    );

    // An older event of one and a newer of the other come only now, as second attempts.
    put_misjudged(&lake, &lease, 5, 1).await;
    put_misjudged(&lake, &lease, 4, 2).await;
    refresher.turn().await.expect("a turn");
    assert_eq!(queried(&lake, people).await, "1,8 2,3");
    ingest::fulfil(&lake, &lease, &clock(), &UpkeepConfig::default(), &all())
        .await
        .expect("replayed");
    refresher.turn().await.expect("a turn");
    assert_eq!(
        queried(&lake, people).await,
        "1,8 2,4",
        "order is that of the places"
    );
    ingest::fulfil(&lake, &lease, &clock(), &UpkeepConfig::default(), &all())
        .await
        .expect("nothing left");
    assert!(matches!(
        refresher.turn().await.expect("a turn"),
        Turn::Quiet
    ));

    // From the start, with all attempts side by side.
    let again = Request::Refresh {
        tables: Vec::new(),
        full: true,
    };
    refresher.fulfil(&again).await.expect("made anew");
    assert_eq!(queried(&lake, people).await, "1,8 2,4");
    let letters = "SELECT count(*) FROM bronze.dead_letters";
    assert_eq!(queried(&lake, letters).await, "0");
}
