//! What a save does, what only `apply` does, and how to go back.

use super::*;
use crate::refresh::Standing;

const EXTRA: &str = "SELECT people * 10 AS tens FROM gold.totals";

impl World {
    async fn standing(&self) -> Standing {
        Standing::read(&self.lake).await.expect("a standing")
    }

    /// A world whose first epoch has one person.
    async fn with_anne() -> (Self, Refresher) {
        let mut world = Self::new().await;
        let mut refresher = world.refresher().await;
        world.events(&[(1, "c", ANNE)]).await;
        published(refresher.turn().await);
        (world, refresher)
    }
}

#[track_caller]
fn published(turn: Result<Turn>) -> Arc<Manifest> {
    match turn.expect("a turn") {
        Turn::Published(manifest) => manifest,
        Turn::Quiet => panic!("nothing was published"),
    }
}

#[track_caller]
fn quiet(turn: Result<Turn>) {
    assert!(matches!(turn.expect("a turn"), Turn::Quiet));
}

fn name(text: &str) -> TableName {
    text.parse().expect("a name")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_file_keeps_its_table_until_it_is_applied() {
    let (mut world, mut refresher) = World::with_anne().await;
    std::fs::remove_file(world.sql("gold/below.sql")).expect("deleted");
    quiet(refresher.turn().await);
    assert_eq!(world.standing().await.retiring, [name("gold.below")]);
    world.events(&[(2, "c", BOB)]).await;
    published(refresher.turn().await);
    let more = "SELECT more FROM gold.below";
    assert_eq!(
        world.rows(more).await,
        ["3"],
        "it is refreshed all the same"
    );

    let applied = published(refresher.apply().await);
    assert!(!applied.tables.contains_key(&name("gold.below")));
    assert!(applied.tables.contains_key(&name("gold.totals")));
    assert_eq!(world.standing().await, Standing::default());
    quiet(refresher.turn().await);
    assert!(world.directory.path().join("lake/gold/below").is_dir());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_saved_together_are_one_edit() {
    let (world, mut refresher) = World::with_anne().await;
    refresher.project.let_edits_settle();
    write(&world.sql("gold/extra.sql"), EXTRA);
    quiet(refresher.turn().await);
    write(
        &world.sql("gold/more.sql"),
        "SELECT tens + 1 AS more_than_tens FROM gold.extra",
    );
    quiet(refresher.turn().await);
    let settles = refresher.project.settles_in().expect("it may still change");
    assert!(!settles.is_zero());
    tokio::time::sleep(settles).await;
    let epoch = published(refresher.turn().await);
    assert_eq!(epoch.epoch, 2);
    let both = "SELECT tens, more_than_tens FROM gold.extra CROSS JOIN gold.more";
    assert_eq!(world.rows(both).await, ["10,11"]);
    assert_eq!(refresher.project.settles_in(), None);
    quiet(refresher.turn().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_file_builds_the_new_table_beside_the_old() {
    let (world, mut refresher) = World::with_anne().await;
    std::fs::rename(world.sql("gold/below.sql"), world.sql("gold/beneath.sql")).expect("renamed");
    published(refresher.turn().await);
    let both = "SELECT a.more, b.more FROM gold.below a CROSS JOIN gold.beneath b";
    assert_eq!(world.rows(both).await, ["2,2"]);
    let applied = published(refresher.apply().await);
    assert!(!applied.tables.contains_key(&name("gold.below")));
    assert!(applied.tables.contains_key(&name("gold.beneath")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_reads_too_much_waits_for_apply() {
    let (world, refresher) = World::with_anne().await;
    drop(refresher);
    let small = RefreshConfig {
        apply_above_bytes: 1,
        ..RefreshConfig::default()
    };
    write(&world.sql("gold/extra.sql"), EXTRA);
    for _ in 0..2 {
        let mut refresher = world.refresher_with(&small).await;
        quiet(refresher.turn().await);
        let waiting = world.standing().await.waiting;
        assert_eq!(waiting.len(), 1);
        assert_eq!(waiting[0].table, name("gold.extra"));
        assert!(waiting[0].bytes > 1, "{waiting:?}");
    }
    let mut refresher = world.refresher_with(&small).await;
    published(refresher.apply().await);
    assert_eq!(world.rows("SELECT tens FROM gold.extra").await, ["10"]);
    assert_eq!(world.standing().await, Standing::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_brings_back_definition_and_data_and_stays() {
    let (mut world, mut refresher) = World::with_anne().await;
    let edited = TOTALS.replace("count(*) AS people", "count(*) + 100 AS people");
    write(&world.sql("gold/totals.sql"), &edited);
    published(refresher.turn().await);
    let more = "SELECT more FROM gold.below";
    assert_eq!(world.rows(more).await, ["102"]);

    let back = published(refresher.rollback().await);
    assert_eq!(back.epoch, 3);
    assert_eq!(world.rows(more).await, ["2"]);
    assert!(world.standing().await.rolled_back);
    quiet(refresher.turn().await);
    drop(refresher);
    let mut refresher = world.refresher().await;
    world.events(&[(2, "c", BOB)]).await;
    published(refresher.turn().await);
    assert_eq!(
        world.rows(more).await,
        ["3"],
        "by the old text, after a restart too"
    );

    write(&world.sql("gold/totals.sql"), &edited.replace("100", "200"));
    published(refresher.turn().await);
    assert_eq!(world.rows(more).await, ["203"], "a new edit is taken");
    write(&world.sql("gold/totals.sql"), TOTALS);
    published(refresher.turn().await);
    assert_eq!(world.rows(more).await, ["3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_rolled_back_can_be_applied_again() {
    let (world, mut refresher) = World::with_anne().await;
    let nothing = refresher.rollback().await.expect_err("no change yet");
    assert_eq!(nothing.kind(), ErrorKind::NotFound);
    let edited = "SELECT people + 7 AS more, 'x' AS note FROM gold.totals";
    write(&world.sql("gold/below.sql"), edited);
    published(refresher.turn().await);
    published(refresher.rollback().await);
    assert_eq!(world.rows("SELECT * FROM gold.below").await, ["2"]);
    published(refresher.apply().await);
    assert_eq!(world.rows("SELECT * FROM gold.below").await, ["8,x"]);
    published(refresher.rollback().await);
    assert_eq!(world.rows("SELECT * FROM gold.below").await, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_rollback_is_finished() {
    let (world, mut refresher) = World::with_anne().await;
    write(
        &world.sql("gold/below.sql"),
        "SELECT people + 7 AS more FROM gold.totals",
    );
    published(refresher.turn().await);
    let newest = refresher.newest.clone().expect("an epoch");
    let target = newest.replaced.expect("a change");
    let first = refresher
        .epochs
        .manifest(target)
        .await
        .expect("read")
        .expect("kept");
    let intent = Intent {
        epoch: newest.epoch + 1,
        term: refresher.lease.term(),
        now: (refresher.clock)(),
        project: first.project.clone(),
        inputs: BTreeMap::new(),
        commits: BTreeMap::new(),
        restores: Some(target),
        refused: Some(newest.project.clone()),
    };
    let project = refresher.project.current().expect("a project");
    refresher
        .epochs
        .declare(intent.clone())
        .await
        .expect("declared");
    refresher
        .restore(&intent, &project, target)
        .await
        .expect("committed");
    drop(refresher);
    assert_eq!(
        world.rows("SELECT more FROM gold.below").await,
        ["8"],
        "not yet published"
    );

    let mut refresher = world.refresher().await;
    published(refresher.turn().await);
    assert_eq!(world.rows("SELECT more FROM gold.below").await, ["2"]);
    quiet(refresher.turn().await);
    assert!(world.standing().await.rolled_back);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_comments_make_no_new_version() {
    let (world, mut refresher) = World::with_anne().await;
    let version = |manifest: &Manifest| manifest.tables[&name("gold.totals")].version;
    let first = version(&refresher.newest.clone().expect("an epoch"));
    write(
        &world.sql("gold/totals.sql"),
        &format!("-- How many.\n{TOTALS}\n-- The end."),
    );
    let commented = published(refresher.turn().await);
    let totals = &commented.tables[&name("gold.totals")];
    assert_eq!(version(&commented), first);
    assert_eq!(totals.description.as_deref(), Some("How many."));
    assert!(totals.column_notes.is_empty());
    let noted = TOTALS.replace(" FROM", " -- of all\nFROM");
    write(&world.sql("gold/totals.sql"), &noted);
    let noted = published(refresher.turn().await);
    let totals = &noted.tables[&name("gold.totals")];
    assert_eq!(version(&noted), first);
    assert_eq!(totals.column_notes["oldest"], "of all");

    let strict = TOTALS.replace("oldest < 150", "oldest < 20");
    write(&world.sql("gold/totals.sql"), &strict);
    let held = published(refresher.turn().await);
    assert_eq!(version(&held), first);
    assert_eq!(
        held.tables[&name("gold.totals")].state,
        Freshness::Held,
        "judged anew"
    );
    write(&world.sql("gold/totals.sql"), TOTALS);
    let cured = published(refresher.turn().await);
    assert_eq!(version(&cured), first);
    assert_eq!(cured.tables[&name("gold.totals")].state, Freshness::Fresh);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_or_lock_that_cannot_be_read_is_told_and_the_last_good_serves() {
    let (mut world, mut refresher) = World::with_anne().await;
    let (sql, away) = (world.sql(""), world.directory.path().join("away"));
    std::fs::rename(&sql, &away).expect("moved");
    quiet(refresher.turn().await);
    assert!(world.standing().await.problems.is_some());
    world.events(&[(2, "c", BOB)]).await;
    published(refresher.turn().await);
    std::fs::rename(&away, &sql).expect("moved back");
    quiet(refresher.turn().await);
    assert_eq!(world.standing().await, Standing::default());

    write(&world.sql("sources.lock"), "format = ?");
    quiet(refresher.turn().await);
    let problems = world.standing().await.problems.expect("a problem");
    assert!(problems.contains("sources.lock"), "{problems}");
    let refused = refresher.apply().await.expect_err("a broken lock");
    assert_eq!(refused.kind(), ErrorKind::InvalidRequest);
    assert_eq!(world.rows("SELECT more FROM gold.below").await, ["3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unbuilt_table_that_reads_the_clock_is_tried_again() {
    let mut world = World::new().await;
    write(
        &world.sql("gold/later.sql"),
        "SELECT 1 / CAST(extract(epoch FROM now()) > 1770000100 AS BIGINT) AS one FROM silver.people",
    );
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    let early = published(refresher.turn().await);
    assert!(
        early.unbuilt.contains_key(&name("gold.later")),
        "{:?}",
        early.unbuilt
    );
    quiet(refresher.turn().await);
    world.seconds.fetch_add(200, Ordering::Relaxed);
    let late = published(refresher.turn().await);
    assert!(late.tables.contains_key(&name("gold.later")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_takes_back_nothing_of_bronze() {
    let (mut world, mut refresher) = World::with_anne().await;
    let edited = "SELECT people + 7 AS more FROM gold.totals";
    write(&world.sql("gold/below.sql"), edited);
    published(refresher.turn().await);
    world.events(&[(2, "c", BOB)]).await;
    published(refresher.turn().await);
    published(refresher.rollback().await);
    let messages = "SELECT count(*) FROM bronze.people";
    assert_eq!(world.rows(messages).await, ["2"]);
    assert_eq!(world.rows("SELECT more FROM gold.below").await, ["2"]);
    published(refresher.turn().await);
    assert_eq!(world.rows("SELECT more FROM gold.below").await, ["3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_away_for_a_while_retires_nothing() {
    let (world, mut refresher) = World::with_anne().await;
    let below = world.sql("gold/below.sql");
    std::fs::remove_file(&below).expect("removed");
    std::os::unix::fs::symlink("/nowhere/below.sql", &below).expect("linked");
    quiet(refresher.turn().await);
    refresher.apply().await.expect_err("a link to nothing");
    std::fs::remove_file(&below).expect("removed");
    write(&below, BELOW);
    quiet(refresher.turn().await);

    let away = world.directory.path().join("away");
    std::fs::rename(world.sql(""), &away).expect("moved");
    std::fs::create_dir_all(world.sql("")).expect("an empty folder");
    let refused = refresher.apply().await.expect_err("no table at all");
    assert_eq!(refused.kind(), ErrorKind::InvalidRequest);
    assert_eq!(world.rows("SELECT more FROM gold.below").await, ["2"]);
}

/// An edit that waits, and a rollback that puts its very texts in force.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_any_more_once_a_rollback_made_it_true() {
    let (world, mut refresher) = World::with_anne().await;
    refresher.config.apply_above_bytes = 0;
    let below = world.sql("gold/below.sql");
    write(&below, "SELECT people + 7 AS more FROM gold.totals");
    refresher.apply().await.expect("applied");
    write(&below, BELOW);
    quiet(refresher.turn().await);
    assert_eq!(world.standing().await.waiting.len(), 1);
    refresher.rollback().await.expect("rolled back");
    refresher.turn().await.expect("a turn");
    assert!(world.standing().await.waiting.is_empty());
    assert_eq!(world.rows("SELECT more FROM gold.below").await, ["2"]);
}
