use futures::StreamExt;
use parquet::file::reader::{FileReader, SerializedFileReader};
use sql_files::TableName;

use super::*;
use crate::bronze;
use crate::refresh::fold::events::Events;

/// A first build and a large change, both larger than the memory they may take.
#[tokio::test(flavor = "multi_thread")]
async fn events_that_do_not_fit_into_memory_are_folded_in_files() {
    let mut world = World::new(THINGS).await;
    world.config.memory_limit_bytes = 2 << 20;
    let mut refresher = world.refresher().await;
    let text = "x".repeat(100);
    let row = |id: i64, n: i64| format!(r#"{{"id":{id},"n":{n},"t":"{text}"}}"#);
    let rows = 20_000;
    for from in 0..5 {
        let ids = (from..).step_by(5).take(rows / 5);
        let messages: Vec<Message> = ids
            .map(|id| event(id, "c", &row(id, 1 + id % 150)))
            .collect();
        world.append(&messages).await;
    }
    published(&mut refresher).await;
    let count = "SELECT count(*), min(id), max(id), sum(n) FROM silver.things";
    let kept = (0..20_000).map(|id| 1 + id % 150).filter(|n| *n < 100);
    let (seen, total) = (kept.clone().count(), kept.sum::<i64>());
    assert_eq!(world.rows(count).await, [format!("{seen},0,19999,{total}")]);
    let aside = "SELECT count(*) FROM silver.things__quarantine";
    assert_eq!(world.rows(aside).await, [(rows - seen).to_string()]);

    let messages: Vec<Message> = (0..20_000)
        .map(|id| match id % 2 {
            0 => event(100_000 + id, "u", &row(id, 7)),
            _ => event(100_000 + id, "d", &row(id, 0)),
        })
        .collect();
    world.append(&messages).await;
    published(&mut refresher).await;
    assert_eq!(world.rows(count).await, ["10000,0,19998,70000"]);
    assert_eq!(world.rows(aside).await, ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_larger_than_expected_are_folded_in_files_too() {
    let mut world = World::new(THINGS).await;
    world.config.memory_limit_bytes = 2 << 20;
    let mut refresher = world.refresher().await;
    let text = "x".repeat(4_000);
    let messages: Vec<Message> = (0..1_000)
        .map(|id| event(id, "c", &format!(r#"{{"id":{id},"n":1,"t":"{text}"}}"#)))
        .collect();
    world.append(&messages).await;
    published(&mut refresher).await;
    let count = "SELECT count(*), min(length(t)) FROM silver.things";
    assert_eq!(world.rows(count).await, ["1000,4000"]);
}

/// Neither side of a join fits: it is made by sorting.
#[tokio::test(flavor = "multi_thread")]
async fn tables_that_do_not_fit_into_memory_are_joined() {
    let mut world = World::new(THINGS).await;
    world.config.memory_limit_bytes = 16 << 20;
    let pairs = "SELECT a.id, a.t AS t, b.t AS other FROM silver.things a \
        LEFT JOIN silver.things b ON b.id = a.id + 1";
    world.write("gold/pairs.sql", pairs);
    let text = "x".repeat(300);
    let row = |id: i64| format!(r#"{{"id":{id},"n":1,"t":"{text}{id}"}}"#);
    let messages: Vec<Message> = (0..60_000).map(|id| event(id, "c", &row(id))).collect();
    for messages in messages.chunks(20_000) {
        world.append(messages).await;
    }
    drop(messages);
    let mut refresher = world.refresher().await;
    let manifest = published(&mut refresher).await;
    let pairs = manifest.tables.get(&"gold.pairs".parse().expect("a name"));
    assert_eq!(
        pairs.map(|state| state.rows),
        Some(Some(60_000)),
        "{:?}",
        manifest.unbuilt
    );
    let count = "SELECT count(*), count(other) FROM gold.pairs";
    assert_eq!(world.rows(count).await, ["60000,59999"]);
}

/// Small events whose rows are large once they have what was left out.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_do_not_fit_once_they_are_filled_in_are_folded_in_files_too() {
    let mut world = World::new(THINGS).await;
    let text = "x".repeat(20_000);
    let row = |id: i64, n: i64, t: &str| format!(r#"{{"id":{id},"n":{n},"t":"{t}"}}"#);
    let rows = |n, t| (0..1_000).map(move |id| event(1_000 * n + id, "u", &row(id, n, t)));
    world.append(&rows(1, &text).collect::<Vec<_>>()).await;
    let mut refresher = world.refresher().await;
    published(&mut refresher).await;
    // The events take less than a mebibyte, their rows 20.
    world.config.memory_limit_bytes = 12 << 20;
    drop(refresher);
    let mut refresher = world.refresher().await;
    world.append(&rows(2, UNKNOWN).collect::<Vec<_>>()).await;
    let runtime = refresher
        .sessions
        .context([])
        .expect("a session")
        .runtime_env();
    let divided = tokio::spawn(async move {
        while runtime.disk_manager.used_disk_space() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    });
    published(&mut refresher).await;
    assert!(divided.is_finished(), "files are used");
    let count = "SELECT count(*), sum(n), min(length(t)), max(length(t)) FROM silver.things";
    assert_eq!(world.rows(count).await, ["1000,2000,20000,20000"]);
}

/// Messages of a mebibyte that take a few bytes on disk: neither pages nor batches nor merges have many of them.
#[tokio::test(flavor = "multi_thread")]
async fn wide_messages_are_handled_a_few_at_a_time() {
    let mut world = World::new(THINGS).await;
    world.config.memory_limit_bytes = 16 << 20;
    world.write("gold/long.sql", "SELECT id, t FROM silver.things");
    let text = "a".repeat(1 << 20);
    let wide = |id: i64| event(id, "c", &format!(r#"{{"id":{id},"n":1,"t":"{text}"}}"#));
    let messages: Vec<Message> = (0..48).map(wide).collect();
    world.append(&messages).await;
    drop(messages);
    let mut refresher = world.refresher().await;
    let manifest = published(&mut refresher).await;
    let sizes = "SELECT count(*), min(length(t)), max(length(t)) FROM gold.long";
    assert_eq!(world.rows(sizes).await, ["48,1048576,1048576"]);

    for name in ["bronze.things", "silver.things", "gold.long"] {
        let name: TableName = name.parse().expect("a name");
        let state = &manifest.tables[&name];
        let files = refresher.snapshots.files(&state.path, state.version).await;
        for file in files.expect("files").iter() {
            assert!(file.bytes < 1 << 20, "{} bytes of {name}", file.bytes);
            let width = world.lake.width(&state.path, file).await.expect("a footer");
            assert!((1 << 20..1 << 21).contains(&width.of_row), "{width:?}");
            assert!(width.of_all >= 48 << 20, "{width:?}");
            let path = world.lake.root().join(&state.path).join(&file.path);
            let page = largest_page(&path);
            assert!(page <= 3 << 20, "a page of {page} bytes in {name}");
        }
        let inputs = [(name.clone(), state.version)].into();
        let rows = refresher.batch_rows(&manifest, &inputs).await;
        assert!((8..=16).contains(&rows.expect("readable")));
    }
    let table: TableName = "bronze.things".parse().expect("a name");
    let state = &manifest.tables[&table];
    let new = refresher.snapshots.files(&state.path, state.version).await;
    let events = Events {
        table,
        new: new.expect("files").as_ref().clone(),
        version: state.version,
    };
    let columns: Vec<usize> = (0..bronze::schema().fields().len()).collect();
    let batches = refresher.messages(&events, events.new.clone(), None, &columns);
    let mut batches = batches.await.expect("a stream");
    let mut rows = 0;
    while let Some(batch) = batches.next().await {
        let batch = batch.expect("a batch");
        assert!(batch.num_rows() <= 16, "{} rows at once", batch.num_rows());
        rows += batch.num_rows();
    }
    assert_eq!(rows, 48);
}

/// Bytes of the largest page of a data file, once it is read.
fn largest_page(path: &std::path::Path) -> usize {
    let file = std::fs::File::open(path).expect("a file");
    let reader = SerializedFileReader::new(file).expect("Parquet");
    let mut largest = 0;
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).expect("a group");
        for column in 0..group.num_columns() {
            for page in group.get_column_page_reader(column).expect("pages") {
                largest = largest.max(page.expect("a page").buffer().len());
            }
        }
    }
    largest
}

/// `SPORTLAKE_FOLD_ROWS` rows from bronze to silver and gold, as many groups among them, with the memory of
/// `SPORTLAKE_FOLD_MEMORY` bytes; tells time and memory.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes; ask for it by name"]
async fn a_first_build_of_any_size() {
    let number = |name: &str, otherwise: usize| {
        let text = std::env::var(name).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    let rows = number("SPORTLAKE_FOLD_ROWS", 1_000_000);
    let mut world = World::new(THINGS).await;
    world.config.memory_limit_bytes = number("SPORTLAKE_FOLD_MEMORY", 64 << 20);
    let gold = "SELECT t, count(*) AS nb, sum(n) AS total FROM silver.things GROUP BY t";
    world.write("gold/by_text.sql", gold);
    let ids: Vec<i64> = (0..).take(rows).collect();
    for ids in ids.chunks(100_000) {
        let row = |id: i64| {
            format!(
                r#"{{"id":{id},"n":{},"t":"Course à pied {id}"}}"#,
                1 + id % 90
            )
        };
        let messages: Vec<Message> = ids.iter().map(|id| event(*id, "c", &row(*id))).collect();
        world.append(&messages).await;
    }
    let before = peak();
    let started = std::time::Instant::now();
    let mut refresher = world.refresher().await;
    published(&mut refresher).await;
    let (took, after) = (started.elapsed(), peak());
    println!("{rows} rows in {took:?}; peak memory {before} before, {after} after");
    let count = "SELECT count(*), sum(n) FROM silver.things";
    let groups = "SELECT count(*), sum(total) FROM gold.by_text WHERE nb = 1";
    let total: i64 = (0..).take(rows).map(|id: i64| 1 + id % 90).sum();
    for sql in [count, groups] {
        assert_eq!(world.rows(sql).await, [format!("{rows},{total}")]);
    }
}

/// The most memory this process ever had.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    line.unwrap_or("unknown")
        .trim_start_matches("VmHWM:")
        .trim()
        .to_owned()
}
