//! How old tables are, and what `@fresh` makes of it.

use super::*;
use crate::age::Age;
use crate::refresh::CheckOutcome;

const TOTALS_IN_TIME: &str = "-- @key one
-- @fresh 60s ON VIOLATION FAIL
-- @expect sane: oldest < 150 ON VIOLATION FAIL
SELECT 1 AS one, count(*) AS people, coalesce(max(age), 0) AS oldest FROM silver.people";

const RESULTS: &str = "SELECT epoch, action, violations, outcome FROM quality.results \
                       WHERE table_name = 'gold.totals' AND rule = 'fresh' ORDER BY epoch";

fn name(text: &str) -> TableName {
    text.parse().expect("a name")
}

impl World {
    /// Lets this much time pass.
    fn wait(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    fn reader(&self) -> Reader {
        let config = (ReaderConfig::default(), SourceConfig::default());
        Reader::new(self.lake.clone(), &config.0, &config.1).expect("a reader")
    }

    async fn age(&self, table: &str) -> Age {
        let reader = self.reader();
        let newest = reader.latest().await.expect("an epoch");
        let ages = reader.ages(&newest).await.expect("ages");
        ages[&name(table)]
    }

    /// Seconds that a table is behind, and whether that is too much.
    async fn behind(&self, table: &str) -> (i64, bool) {
        let now = clock(&self.seconds)();
        let age = self.age(table).await;
        (age.behind(now).num_seconds(), age.is_late(now))
    }

    async fn fresh_result(&self) -> Option<(CheckOutcome, Option<String>)> {
        let reader = self.reader();
        let newest = reader.latest().await.expect("an epoch");
        let now = clock(&self.seconds)();
        let tables = [name("gold.totals")];
        let validation = reader.validate(&newest, &tables, 5, now).await;
        let results = validation.expect("a validation").results;
        let fresh = results.into_iter().find(|result| result.rule == "fresh");
        fresh.map(|result| (result.outcome, result.message))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_as_old_as_what_it_does_not_show_and_idle_sources_age_nothing() {
    let mut world = World::new().await;
    write(&world.sql("gold/totals.sql"), TOTALS_IN_TIME);
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    refresher.turn().await.expect("a turn");
    world.wait(10_000);
    assert_eq!(world.age("gold.totals").await.behind_since, None);
    assert_eq!(world.behind("gold.below").await, (0, false), "idle");
    let passed = Some((CheckOutcome::Passed, None));
    assert_eq!(world.fresh_result().await, passed);

    // Nothing refreshes: what arrives makes every table behind it older.
    world.events(&[(2, "c", BOB)]).await;
    world.wait(30);
    for table in ["silver.people", "gold.totals", "gold.below"] {
        let (seconds, late) = world.behind(table).await;
        assert!((30..60).contains(&seconds) && !late, "{table} {seconds}");
    }
    world.wait(60);
    let late = |(seconds, late): (i64, bool)| (90..120).contains(&seconds) && late;
    assert!(late(world.behind("gold.totals").await));
    assert!(!world.behind("gold.below").await.1, "nothing is promised");
    let (outcome, message) = world.fresh_result().await.expect("judged");
    assert_eq!(outcome, CheckOutcome::Failed);
    assert!(message.is_some_and(|text| text.ends_with(" s behind bronze")));

    let Turn::Published(late) = refresher.turn().await.expect("a turn") else {
        panic!("nothing published");
    };
    let totals = &late.tables[&name("gold.totals")];
    assert_eq!(totals.state, Freshness::Fresh, "newer rows are no worse");
    assert_eq!(world.fresh_result().await, passed);
    assert_eq!(world.rows(RESULTS).await, ["2,FAIL,1,failed"]);

    world.events(&[(3, "d", BOB)]).await;
    refresher.turn().await.expect("a turn");
    assert_eq!(
        world.rows(RESULTS).await,
        ["2,FAIL,1,failed", "3,FAIL,0,passed"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_table_grows_old_with_what_reads_it_and_a_resting_one_too() {
    let mut world = World::new().await;
    let warned = TOTALS_IN_TIME.replace("60s ON VIOLATION FAIL", "60s ON VIOLATION WARN");
    write(&world.sql("gold/totals.sql"), &warned);
    let resting =
        "-- @trigger on change, at most every 1000s\nSELECT count(*) AS n FROM silver.people";
    write(&world.sql("gold/resting.sql"), resting);
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    refresher.turn().await.expect("a turn");

    let ancient = r#"{"id":2,"name":"Bob","age":400}"#;
    world.events(&[(2, "c", ancient)]).await;
    refresher.turn().await.expect("a turn");
    world.wait(100);
    refresher.watch_ages().await.expect("seen");
    assert_eq!(world.behind("silver.people").await, (0, false));
    for (table, is_late) in [
        ("gold.totals", true),
        ("gold.below", false),
        ("gold.resting", false),
    ] {
        let (seconds, late) = world.behind(table).await;
        assert!((100..130).contains(&seconds), "{table} is {seconds} s");
        assert_eq!(late, is_late, "{table}");
    }
    assert_eq!(refresher.late, [name("gold.totals")].into());

    // Later messages do not make it younger.
    world.events(&[(3, "u", ANNE)]).await;
    refresher.turn().await.expect("a turn");
    assert!(world.behind("gold.totals").await.0 >= 100);
    let (outcome, _) = world.fresh_result().await.expect("judged");
    assert_eq!(outcome, CheckOutcome::Warned);

    world.events(&[(4, "u", BOB)]).await;
    refresher.turn().await.expect("a turn");
    refresher.watch_ages().await.expect("seen");
    assert_eq!(world.behind("gold.totals").await, (0, false), "cured");
    assert!(world.behind("gold.resting").await.0 >= 100);
    assert!(refresher.late.is_empty());
    drop(refresher);
    world.refresher().await.turn().await.expect("a turn");
    assert!(world.behind("gold.resting").await.0 >= 100, "a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_table_grows_old_when_the_log_of_bronze_is_cleaned_too() {
    let mut world = World::new().await;
    write(&world.sql("gold/totals.sql"), TOTALS_IN_TIME);
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    refresher.turn().await.expect("a turn");
    let ancient = r#"{"id":2,"name":"Bob","age":400}"#;
    world.events(&[(2, "c", ancient)]).await;
    refresher.turn().await.expect("a turn");
    world.wait(100);
    let log = world.directory.path().join("lake/bronze/people/_delta_log");
    for entry in std::fs::read_dir(&log).expect("a log") {
        std::fs::remove_file(entry.expect("an entry").path()).expect("removed");
    }
    let (seconds, is_late) = world.behind("gold.totals").await;
    assert!((100..130).contains(&seconds) && is_late, "{seconds}");
    assert_eq!(world.behind("silver.people").await, (0, false));
}
