use std::collections::BTreeSet;

use super::*;
use crate::refresh::tests::World;

fn file(day: &str, bytes: u64, name: usize) -> DataFile {
    DataFile {
        path: format!("_date={day}/{name}.parquet"),
        bytes,
        rows: Some(1),
        partition_values: [("_date".to_owned(), Some(day.to_owned()))].into(),
        stats: None,
    }
}

fn chosen(files: &[DataFile]) -> usize {
    chosen_of(files, 0)
}

/// The same, where each file takes so much memory.
fn chosen_of(files: &[DataFile], read: u64) -> usize {
    let files = files.iter().map(|file| (file.clone(), read));
    choose(files.collect()).map_or(0, |files| files.len())
}

#[test]
fn files_of_one_size_and_day_are_merged_when_there_are_enough() {
    let today: Vec<DataFile> = (0..15).map(|name| file("2026-02-02", 900, name)).collect();
    assert_eq!(chosen(&today), 0);
    let mut more = today.clone();
    more.push(file("2026-02-02", 4 << 20, 15));
    assert_eq!(chosen(&more), 0, "one of another size");
    more.push(file("2026-02-02", 300, 16));
    assert_eq!(chosen(&more), 16);
    let mut over = today.clone();
    over.push(file("2026-02-01", 300, 17));
    assert_eq!(chosen(&over), 0, "a day that is over has one file");
    over.push(file("2026-02-01", 4 << 20, 18));
    assert_eq!(chosen(&over), 2, "two of any size");
    let large: Vec<DataFile> = (0..40)
        .map(|name| file("2026-02-01", 7 << 20, name))
        .chain(today)
        .collect();
    assert_eq!(chosen(&large), 9, "as many as one step may rewrite");
    let some: Vec<DataFile> = (0..40).map(|name| file("2026-02-02", 900, name)).collect();
    assert_eq!(
        chosen_of(&some, 32 << 20),
        16,
        "as many as one step may read"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn merging_keeps_rows_offsets_and_what_refresh_has_still_to_read() {
    let mut world = World::new().await;
    let mut refresher = world.refresher().await;
    let config = UpkeepConfig::default();
    let row = |turn: i64| format!(r#"{{"id":{turn},"name":"Anne","age":30}}"#);
    for turn in 0..20 {
        world.events(&[(turn, "c", &row(turn))]).await;
    }
    let table = &mut world.bronze;
    assert_eq!(
        table.maintain(&config, false).await.expect("upkeep"),
        [],
        "nothing is taken in yet"
    );
    refresher.turn().await.expect("a turn");
    for turn in 20..25 {
        world.events(&[(turn, "c", &row(turn))]).await;
    }
    let table = &mut world.bronze;
    let told = table.maintain(&config, true).await.expect("told");
    let version = table.table.version();
    let done = table.maintain(&config, false).await.expect("upkeep");
    assert_eq!(told, done);
    assert_eq!((done[0].task, done[0].files), (Task::Compact, 20));
    assert_eq!(table.table.version(), version + 1);
    let files = table.table.files().expect("files");
    assert_eq!(files.len(), 1 + 5, "the five that are new stay as they are");
    let merged = files.iter().find(|file| file.rows == Some(20));
    let stats = merged
        .and_then(|file| file.stats.clone())
        .expect("statistics");
    let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
    assert_eq!(stats["maxValues"]["_offset"], 19);
    assert_eq!(
        table.next_offset("t.public.people", 0).await.expect("read"),
        Some(25)
    );

    refresher.turn().await.expect("a turn");
    let ids = world.rows("SELECT id FROM silver.people").await;
    assert_eq!(BTreeSet::from_iter(&ids).len(), 25);
    assert_eq!(ids.len(), 25);
    let all =
        "SELECT count(*) AS n, count(DISTINCT _offset) AS d, max(_offset) AS m FROM bronze.people";
    assert_eq!(world.rows(all).await, ["25,25,24"]);
    world.events(&[(30, "d", &row(3))]).await;
    refresher.turn().await.expect("a turn");
    assert_eq!(world.rows("SELECT id FROM silver.people").await.len(), 24);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_changes_are_gone_is_made_from_all_messages() {
    let mut world = World::new().await;
    let mut refresher = world.refresher().await;
    let row = |turn: i64| format!(r#"{{"id":{turn},"name":"Anne","age":30}}"#);
    world.events(&[(0, "c", &row(0))]).await;
    refresher.turn().await.expect("a turn");
    for turn in 1..4 {
        world.events(&[(turn, "c", &row(turn))]).await;
    }
    let log = world.lake.root().join("bronze/people/_delta_log");
    let table = &world.bronze.table;
    table.checkpoint().await.expect("made");
    let missing = table.version() - 1;
    std::fs::remove_file(log.join(format!("{missing:020}.json"))).expect("removed");
    refresher.turn().await.expect("a turn");
    assert_eq!(world.rows("SELECT id FROM silver.people").await.len(), 4);

    // Nor does a file that is gone stop it: what it held is in the one that took its place.
    for turn in 4..24 {
        world.events(&[(turn, "c", &row(turn))]).await;
    }
    let table = &mut world.bronze;
    table.table.advance(None).await.expect("advanced");
    let files = table.table.files().expect("files");
    table.rewrite(&files).await.expect("merged");
    for file in &files {
        let path = world.lake.root().join("bronze/people").join(&file.path);
        std::fs::remove_file(path).expect("removed");
    }
    refresher.turn().await.expect("a turn");
    assert_eq!(world.rows("SELECT id FROM silver.people").await.len(), 24);
}
