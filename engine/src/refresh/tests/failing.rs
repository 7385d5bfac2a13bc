//! Tables that cannot be made for a while, or until somebody acts.

use std::path::PathBuf;

use super::*;
use crate::requests::Request;

const MORE: &str = "SELECT more FROM gold.below";

impl World {
    /// The one data file of a table, as it is served.
    async fn file_of(&self, refresher: &Refresher, name: &str) -> PathBuf {
        let newest = refresher.newest.clone().expect("an epoch");
        let state = &newest.tables[&name.parse().expect("a name")];
        let files = refresher.snapshots.files(&state.path, state.version);
        let files = files.await.expect("files");
        assert_eq!(files.len(), 1);
        let path = format!("{}/{}", state.path, files[0].path);
        self.lake.root().join(path)
    }
}

#[track_caller]
fn published(turn: Result<Turn>) -> Arc<Manifest> {
    match turn.expect("a turn") {
        Turn::Published(manifest) => manifest,
        Turn::Quiet => panic!("nothing was published"),
    }
}

fn below(manifest: &Manifest) -> Freshness {
    manifest.tables[&"gold.below".parse().expect("a name")].state
}

fn damage(path: &Path) {
    let bytes = std::fs::metadata(path).expect("a file").len();
    std::fs::write(path, vec![7; usize::try_from(bytes).expect("small")]).expect("damaged");
}

async fn refresh(refresher: &mut Refresher, table: &str, full: bool) -> String {
    let tables = vec![table.to_owned()];
    let request = Request::Refresh { tables, full };
    let outcome = refresher.fulfil(&request).await;
    outcome.expect("done").summary
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_for_a_while_is_read_again() {
    for is_asked in [false, true] {
        let mut world = World::new().await;
        let mut refresher = world.refresher().await;
        world.events(&[(1, "c", ANNE)]).await;
        published(refresher.turn().await);
        let file = world.file_of(&refresher, "gold.totals").await;
        let away = file.with_extension("away");
        std::fs::rename(&file, &away).expect("moved");
        let edited = "SELECT people + 5 AS more FROM gold.totals";
        write(&world.sql("gold/below.sql"), edited);
        let held = published(refresher.turn().await);
        assert_eq!(below(&held), Freshness::Held);
        let soon = refresher.turn().await.expect("a turn");
        assert!(matches!(soon, Turn::Quiet), "not at once: {soon:?}");

        std::fs::rename(&away, &file).expect("moved back");
        if is_asked {
            refresh(&mut refresher, "gold.below", false).await;
        } else {
            let mut turns = 0;
            while below(refresher.newest.as_ref().expect("an epoch")) == Freshness::Held {
                turns += 1;
                assert!(turns < 60, "it is tried again");
                refresher.turn().await.expect("a turn");
            }
        }
        assert_eq!(world.rows(MORE).await, ["6"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_table_is_made_anew_when_somebody_asks() {
    let mut world = World::new().await;
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE), (2, "c", BOB)]).await;
    published(refresher.turn().await);
    for name in ["silver.people", "gold.totals"] {
        let rows = format!("SELECT count(*) FROM (SELECT * FROM {name} ORDER BY 1)");
        let before = world.rows(&rows).await;
        damage(&world.file_of(&refresher, name).await);
        let said = refresh(&mut refresher, name, true).await;
        assert!(said.contains(name), "{said}");
        assert_eq!(world.rows(&rows).await, before, "{name}: {said}");
        world.file_of(&refresher, name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_that_fails_again_and_again_is_one_tables_trouble_while_the_lake_is_there() {
    let world = World::new().await;
    let mut refresher = world.refresher().await;
    let [below, totals] = ["gold.below", "gold.totals"].map(|name| name.parse().expect("a name"));
    for _ in 1..5 {
        assert!(!refresher.is_its_own(2, &below).await);
    }
    assert!(refresher.is_its_own(2, &below).await);
    for (epoch, table) in [(2, &totals), (3, &below)] {
        assert!(!refresher.is_its_own(epoch, table).await);
    }
    for _ in 2..5 {
        refresher.is_its_own(3, &below).await;
    }
    let root = world.lake.root();
    let away = root.with_extension("away");
    std::fs::rename(root, &away).expect("moved");
    assert!(!refresher.is_its_own(3, &below).await);
    std::fs::rename(&away, root).expect("moved back");
    assert!(refresher.is_its_own(3, &below).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_never_built_is_tried_when_something_changed() {
    let mut world = World::new().await;
    write(
        &world.sql("gold/never.sql"),
        "-- @expect no: one > 1 ON VIOLATION FAIL\nSELECT 1 AS one",
    );
    let mut refresher = world.refresher().await;
    for lsn in 1..4 {
        world.events(&[(lsn, "c", ANNE)]).await;
        let newest = published(refresher.turn().await);
        assert_eq!(newest.unbuilt.len(), 1);
    }
    let checks = "SELECT count(*) FROM quality.results WHERE rule = 'no'";
    assert_eq!(
        world.rows(checks).await,
        ["1"],
        "the same is not tried again"
    );
    let said = refresh(&mut refresher, "gold.never", false).await;
    assert!(said.contains("gold.never is held"), "{said}");
    write(
        &world.sql("gold/never.sql"),
        "-- @expect no: one > 0 ON VIOLATION FAIL\nSELECT 1 AS one",
    );
    assert!(published(refresher.turn().await).unbuilt.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_done_with_an_edit_that_is_saved_meanwhile() {
    const ENDLESS: &str = "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) \
        SELECT count(*) AS more FROM r";
    let mut world = World::new().await;
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    published(refresher.turn().await);
    write(&world.sql("gold/below.sql"), ENDLESS);
    let saved = async {
        while !world
            .lake
            .root()
            .join("_epochs/00000000000000000002.intent.json")
            .exists()
        {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        write(
            &world.sql("gold/below.sql"),
            "SELECT people + 7 AS more FROM gold.totals",
        );
    };
    let (said, ()) = tokio::join!(refresh(&mut refresher, "gold.totals", true), saved);
    assert!(said.contains("epoch 2 stays the newest"), "{said}");
    assert_eq!(world.rows(MORE).await, ["8"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_table_whose_inputs_cannot_be_read_is_not_tried_at_every_turn() {
    let mut world = World::new().await;
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    published(refresher.turn().await);
    let file = world.file_of(&refresher, "gold.totals").await;
    let away = file.with_extension("away");
    std::fs::rename(&file, &away).expect("moved");
    let new = "SELECT people + 5 AS more FROM gold.totals";
    write(&world.sql("gold/new.sql"), new);
    assert_eq!(published(refresher.turn().await).unbuilt.len(), 1);
    for _ in 0..3 {
        let soon = refresher.turn().await.expect("a turn");
        assert!(matches!(soon, Turn::Quiet), "not at once: {soon:?}");
    }
    std::fs::rename(&away, &file).expect("moved back");
    let mut turns = 0;
    while !refresher
        .newest
        .as_ref()
        .expect("an epoch")
        .unbuilt
        .is_empty()
    {
        turns += 1;
        assert!(turns < 60, "it is tried again");
        refresher.turn().await.expect("a turn");
    }
    assert_eq!(world.rows("SELECT more FROM gold.new").await, ["6"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_over_a_table_whose_log_is_damaged_holds_its_table_and_no_other() {
    let mut world = World::new().await;
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    published(refresher.turn().await);
    drop(refresher);
    let log = world.lake.root().join("gold/totals/_delta_log");
    for entry in std::fs::read_dir(log).expect("a log") {
        damage(&entry.expect("an entry").path());
    }
    let mut refresher = world.refresher().await;
    world.events(&[(2, "c", BOB)]).await;
    let edited = "SELECT people + 5 AS more FROM gold.totals";
    write(&world.sql("gold/below.sql"), edited);
    write(
        &world.sql("gold/beside.sql"),
        "SELECT count(*) AS n FROM silver.people",
    );
    let newest = published(refresher.turn().await);
    assert_eq!(below(&newest), Freshness::Held);
    assert_eq!(world.rows("SELECT n FROM gold.beside").await, ["2"]);
}
