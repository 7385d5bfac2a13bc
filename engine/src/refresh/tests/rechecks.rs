//! What is computed anew, and what is not: an edit of rules alone judges the rows that are there, and no query runs.

use super::*;
use crate::epoch::TableState;

const ADULTS: &str = "-- @key id
-- @expect alive: age >= 0 ON VIOLATION QUARANTINE
SELECT id, name, age FROM silver.people";

async fn publish(refresher: &mut Refresher) -> Arc<Manifest> {
    match refresher.turn().await.expect("a turn") {
        Turn::Published(manifest) => manifest,
        Turn::Quiet => panic!("nothing published"),
    }
}

#[track_caller]
fn state<'a>(manifest: &'a Manifest, name: &str) -> &'a TableState {
    &manifest.tables[&name.parse().expect("a name")]
}

/// Makes every query over silver fail, and every look at gold's own rows not.
fn lose_silver(world: &World) {
    lose_data(&world.lake.root().join("silver/people"));
}

fn lose_data(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            lose_data(&path);
        }
        if path.extension().is_some_and(|kind| kind == "parquet") {
            std::fs::remove_file(path).expect("removed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_is_edited_is_asked_of_the_rows_that_are_there() {
    let mut world = World::new().await;
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE), (2, "c", BOB)]).await;
    let before = publish(&mut refresher).await;
    lose_silver(&world);

    let warned = TOTALS.replace(
        "oldest < 150 ON VIOLATION FAIL",
        "oldest < 35 ON VIOLATION WARN",
    );
    write(&world.sql("gold/totals.sql"), &warned);
    let after = publish(&mut refresher).await;
    let (old, new) = (state(&before, "gold.totals"), state(&after, "gold.totals"));
    assert_eq!(new.state, Freshness::Fresh, "{:?}", new.reason);
    assert_eq!((new.version, new.since), (old.version, old.since));
    assert_eq!(new.computed_at, old.computed_at);
    assert_eq!(new.work, old.work);
    assert_eq!(new.warnings["sane"], 1);
    assert_eq!(
        world.rows("SELECT epoch, violations, outcome FROM quality.results WHERE rule = 'sane' ORDER BY 1").await,
        ["1,0,passed", "2,1,warned"]
    );

    let failing = warned.replace("ON VIOLATION WARN", "ON VIOLATION FAIL");
    write(&world.sql("gold/totals.sql"), &failing);
    let held = publish(&mut refresher).await;
    assert_eq!(state(&held, "gold.totals").state, Freshness::Held);
    assert_eq!(state(&held, "gold.below").state, Freshness::Held);
    write(&world.sql("gold/totals.sql"), TOTALS);
    let cured = publish(&mut refresher).await;
    assert_eq!(state(&cured, "gold.totals").state, Freshness::Fresh);
    assert_eq!(state(&cured, "gold.totals").version, old.version);
    assert_eq!(state(&cured, "gold.below").state, Freshness::Fresh);

    let described = format!("-- People, counted.\n{TOTALS}");
    write(&world.sql("gold/totals.sql"), &described);
    let told = publish(&mut refresher).await;
    let told = state(&told, "gold.totals");
    assert_eq!(told.description.as_deref(), Some("People, counted."));
    assert_eq!(told.version, old.version);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_keep_rows_out_move_rows_without_running_the_query() {
    let mut world = World::new().await;
    write(&world.sql("gold/adults.sql"), ADULTS);
    let mut refresher = world.refresher().await;
    let carl = r#"{"id":3,"name":"Carl","age":-5}"#;
    world
        .events(&[(1, "c", ANNE), (2, "c", BOB), (3, "c", carl)])
        .await;
    let before = publish(&mut refresher).await;
    lose_silver(&world);
    let adults = "SELECT id FROM gold.adults ORDER BY id";
    let aside = "SELECT id, rule FROM gold.adults__quarantine ORDER BY id";
    assert_eq!(world.rows(aside).await, ["3,alive"]);

    let stricter = ADULTS.replace("age >= 0 ", "age BETWEEN 0 AND 35 ");
    write(&world.sql("gold/adults.sql"), &stricter);
    let after = publish(&mut refresher).await;
    assert_eq!(world.rows(adults).await, ["1"]);
    assert_eq!(world.rows(aside).await, ["2,alive", "3,alive"]);
    let (old, new) = (state(&before, "gold.adults"), state(&after, "gold.adults"));
    assert_eq!((new.rows, new.kept_out()), (Some(1), 2));
    assert_eq!(new.since, after.epoch, "other rows are another version");
    assert_eq!(new.computed_at, old.computed_at);

    // Loosened, and renamed: the rows come back, those still bad have the rule's new name.
    let renamed = ADULTS.replace("alive", "born");
    write(&world.sql("gold/adults.sql"), &renamed);
    publish(&mut refresher).await;
    assert_eq!(world.rows(adults).await, ["1", "2"]);
    assert_eq!(world.rows(aside).await, ["3,born"]);

    // What is dropped is nowhere, so that the way back is the query's.
    let dropping = ADULTS.replace("QUARANTINE", "DROP");
    write(&world.sql("gold/adults.sql"), &dropping);
    let dropped = publish(&mut refresher).await;
    assert_eq!(state(&dropped, "gold.adults").kept_out(), 1);
    write(&world.sql("gold/adults.sql"), ADULTS);
    let held = publish(&mut refresher).await;
    assert_eq!(
        state(&held, "gold.adults").state,
        Freshness::Held,
        "the query must run, and its input is gone"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fold_reads_what_is_new_unless_it_is_to_read_everything() {
    for (policy, reads_again) in [("auto", false), ("strict", false), ("full", true)] {
        let mut world = World::new().await;
        let people = format!("-- @refresh {policy}\n{PEOPLE}");
        write(&world.sql("silver/people.sql"), &people);
        let mut refresher = world.refresher().await;
        world.events(&[(1, "c", ANNE)]).await;
        publish(&mut refresher).await;
        lose_data(&world.lake.root().join("bronze"));
        world.events(&[(2, "c", BOB)]).await;
        let turned = publish(&mut refresher).await;
        let is_held = state(&turned, "silver.people").state == Freshness::Held;
        assert_eq!(is_held, reads_again, "{policy}");
        let config = (ReaderConfig::default(), SourceConfig::default());
        let reader = Reader::new(world.lake.clone(), &config.0, &config.1).expect("a reader");
        let newest = reader.latest().await.expect("an epoch");
        let table = "silver.people".parse().expect("a name");
        let explained = reader.explain(&newest, &table).await.expect("explained");
        assert_eq!(explained.technique.reason().contains("anew"), reads_again);
    }
}
