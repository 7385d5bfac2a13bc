//! Epochs that are declared and never published, and tables that cannot be made.

use tokio::task::JoinHandle;

use super::*;
use crate::delta::Table;
use crate::requests::Request;

const ENDLESS: &str = "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) AS more FROM r";

const MORE: &str = "SELECT more FROM gold.below";

/// A role that runs, and the means to end it.
struct Running {
    role: JoinHandle<Result<()>>,
    shutdown: CancellationToken,
}

impl Running {
    fn start(refresher: Refresher) -> Self {
        let shutdown = CancellationToken::new();
        let role = tokio::spawn(refresher.run(Arc::new(Notify::new()), shutdown.clone()));
        Self { role, shutdown }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.role.await.expect("no panic").expect("a clean end");
    }
}

impl World {
    /// A world with one epoch, whose next one does not end.
    async fn with_endless() -> (Self, Running) {
        let mut world = Self::new().await;
        let config = RefreshConfig {
            poll_ms: 10,
            ..RefreshConfig::default()
        };
        let mut refresher = world.refresher_with(&config).await;
        world.events(&[(1, "c", ANNE)]).await;
        refresher.turn().await.expect("a turn");
        write(&world.sql("gold/below.sql"), ENDLESS);
        let running = Running::start(refresher);
        while !world.has_intent(2) {
            tokio::task::yield_now().await;
        }
        (world, running)
    }

    fn has_intent(&self, epoch: u64) -> bool {
        let name = format!("_epochs/{epoch:020}.intent.json");
        self.lake.root().join(name).exists()
    }

    /// Waits until the newest epoch has these rows.
    async fn shows(&self, sql: &str, rows: &[&str]) {
        while self.rows(sql).await != rows {
            tokio::task::yield_now().await;
        }
    }

    /// The rows that other tools find in a table, at the head of its log.
    async fn rows_at_the_head(&self, name: &str) -> Option<u64> {
        let path = Lake::table_path(&name.parse().expect("a name"));
        let table = Table::open(&self.lake, &path, None)
            .await
            .expect("readable")?;
        let files = table.files().expect("files");
        files.iter().map(|file| file.rows).sum()
    }
}

fn state<'a>(manifest: &'a Manifest, name: &str) -> &'a crate::epoch::TableState {
    &manifest.tables[&name.parse().expect("a name")]
}

#[track_caller]
fn published(turn: Result<Turn>) -> Arc<Manifest> {
    match turn.expect("a turn") {
        Turn::Published(manifest) => manifest,
        Turn::Quiet => panic!("nothing was published"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_takes_the_place_of_an_epoch_that_does_not_end() {
    let (mut world, running) = World::with_endless().await;
    world.events(&[(2, "c", BOB)]).await;
    write(
        &world.sql("gold/below.sql"),
        "SELECT people + 5 AS more FROM gold.totals",
    );
    world.shows(MORE, &["7"]).await;
    assert!(!running.role.is_finished());
    running.stop().await;
    assert_eq!(world.people().await, ["1,Anne,30", "2,Bob,40"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_taken_off_the_disk_again_does_not_come_back() {
    let (world, running) = World::with_endless().await;
    write(&world.sql("gold/below.sql"), BELOW);
    while world.has_intent(2) {
        tokio::task::yield_now().await;
    }
    write(&world.sql("gold/extra.sql"), ENDLESS);
    while !world.has_intent(2) {
        tokio::task::yield_now().await;
    }
    std::fs::remove_file(world.sql("gold/extra.sql")).expect("removed");
    while world.has_intent(2) {
        tokio::task::yield_now().await;
    }
    running.stop().await;
    assert_eq!(world.rows(MORE).await, ["2"]);
    let mut refresher = world.refresher().await;
    assert!(matches!(
        refresher.turn().await.expect("a turn"),
        Turn::Quiet
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_and_a_rollback_take_its_place_too() {
    let (world, running) = World::with_endless().await;
    write(
        &world.sql("gold/below.sql"),
        "SELECT people + 5 AS more FROM gold.totals",
    );
    world.shows(MORE, &["6"]).await;
    write(&world.sql("gold/below.sql"), ENDLESS);
    while !world.has_intent(3) {
        tokio::task::yield_now().await;
    }
    let rollback = serde_json::json!({
        "id": "1-1-0",
        "asked_at": chrono::DateTime::UNIX_EPOCH,
        "expires_at": chrono::DateTime::from_timestamp(4_000_000_000, 0),
        "request": Request::Rollback { epoch: 1 },
    });
    let name = "_requests/refresh/1-1-0.json";
    let asked = world.lake.create(name, rollback.to_string().into_bytes());
    asked.await.expect("asked");
    world.shows(MORE, &["2"]).await;
    running.stop().await;
    let mut refresher = world.refresher().await;
    assert!(
        matches!(refresher.turn().await.expect("a turn"), Turn::Quiet),
        "what is on disk is refused"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_stopped_gives_up_what_it_builds() {
    let (world, running) = World::with_endless().await;
    running.stop().await;
    assert!(!world.has_intent(2));
    write(&world.sql("gold/below.sql"), BELOW);
    let mut refresher = world.refresher().await;
    assert!(matches!(
        refresher.turn().await.expect("a turn"),
        Turn::Quiet
    ));
    assert_eq!(world.rows(MORE).await, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_for_an_epoch_that_is_given_up_is_put_back() {
    let mut world = World::new().await;
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    let first = published(refresher.turn().await);
    let dead = "SELECT people + 90 AS more, 'x' AS note FROM gold.totals";
    write(&world.sql("gold/below.sql"), dead);
    write(
        &world.sql("gold/extra.sql"),
        "-- @expect some: people > 0 ON VIOLATION WARN\nSELECT people FROM gold.totals",
    );
    world.events(&[(2, "c", BOB)]).await;
    refresher.leave_unfinished().await.expect("built");
    drop(refresher);
    assert_eq!(world.rows(MORE).await, ["2"]);
    assert_eq!(world.rows_at_the_head("silver.people").await, Some(2));
    assert_eq!(world.rows_at_the_head("gold.extra").await, Some(1));

    std::fs::remove_file(world.sql("gold/extra.sql")).expect("removed");
    write(&world.sql("gold/below.sql"), BELOW);
    let mut refresher = world.refresher().await;
    let intent = refresher.unfinished.clone().expect("an intent");
    refresher.give_up(&intent).await.expect("given up");
    assert!(!world.has_intent(2));
    assert_eq!(world.rows_at_the_head("silver.people").await, Some(1));
    assert_eq!(world.rows_at_the_head("gold.extra").await, Some(0));
    let checks = state(&first, "quality.results").rows;
    assert_eq!(world.rows_at_the_head("quality.results").await, checks);

    world.events(&[(3, "d", ANNE)]).await;
    let next = published(refresher.turn().await);
    assert_eq!(next.epoch, 2);
    assert_eq!(world.people().await, ["2,Bob,40"]);
    assert_eq!(world.rows("SELECT * FROM gold.below").await, ["2"]);
    let extra = "SELECT count(*) FROM quality.results WHERE table_name = 'gold.extra'";
    assert_eq!(world.rows(extra).await, ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_text_found_at_the_start_goes_before_what_was_interrupted() {
    let mut world = World::new().await;
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    published(refresher.turn().await);
    world.events(&[(2, "c", BOB)]).await;
    write(
        &world.sql("gold/below.sql"),
        "SELECT people + 5 AS more FROM gold.totals",
    );
    refresher.leave_unfinished().await.expect("built");
    drop(refresher);
    write(
        &world.sql("gold/below.sql"),
        "SELECT people + 6 AS more FROM gold.totals",
    );
    let mut refresher = world.refresher().await;
    let newer = published(refresher.turn().await);
    assert_eq!((newer.epoch, newer.replaced), (2, Some(1)));
    assert_eq!(world.rows(MORE).await, ["8"]);
    assert!(matches!(
        refresher.turn().await.expect("a turn"),
        Turn::Quiet
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_takes_too_long_is_held_and_the_others_go_on() {
    let mut world = World::new().await;
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    published(refresher.turn().await);
    refresher.config.build_seconds = 3;
    write(&world.sql("gold/below.sql"), ENDLESS);
    write(&world.sql("gold/zeros.sql"), "SELECT 0 AS zero");
    let held = published(refresher.turn().await);
    let below = state(&held, "gold.below");
    assert_eq!(below.state, Freshness::Held);
    assert_eq!(
        below.reason.as_deref(),
        Some("it takes more than 3 seconds to make, which refresh.build_seconds allows")
    );
    assert_eq!(world.rows("SELECT zero FROM gold.zeros").await, ["0"]);

    // It rests, so the next turn does not wait for it.
    let resting = refresher
        .rests
        .contains_key(&"gold.below".parse().expect("a name"));
    assert!(resting);
    refresher.config.build_seconds = 0;
    world.events(&[(2, "c", BOB), (3, "d", ANNE)]).await;
    let next = published(refresher.turn().await);
    assert_eq!(state(&next, "gold.below").state, Freshness::Held);
    assert_eq!(world.rows("SELECT people FROM gold.totals").await, ["1"]);
    write(&world.sql("gold/below.sql"), BELOW);
    let cured = published(refresher.turn().await);
    assert_eq!(state(&cured, "gold.below").state, Freshness::Fresh);
    assert_eq!(world.rows(MORE).await, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_file_is_damaged_holds_what_reads_it_and_nothing_else() {
    let mut world = World::new().await;
    write(&world.sql("gold/apart.sql"), "SELECT 1 AS one");
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    let first = published(refresher.turn().await);
    let totals = state(&first, "gold.totals");
    let files = refresher.snapshots.files(&totals.path, totals.version);
    let file = files.await.expect("files")[0].clone();
    let path = world
        .lake
        .root()
        .join(format!("{}/{}", totals.path, file.path));
    let bytes = vec![7; usize::try_from(file.bytes).expect("small")];
    std::fs::write(&path, bytes).expect("damaged");

    write(
        &world.sql("gold/below.sql"),
        "SELECT people + 5 AS more FROM gold.totals",
    );
    write(&world.sql("gold/apart.sql"), "SELECT 2 AS one");
    let held = published(refresher.turn().await);
    assert_eq!(state(&held, "gold.below").state, Freshness::Held);
    assert_eq!(world.rows("SELECT one FROM gold.apart").await, ["2"]);
    let reason = state(&held, "gold.below").reason.clone();
    assert!(reason.is_some_and(|reason| !reason.is_empty()));

    // Newer events make the damaged table anew.
    world.events(&[(2, "c", BOB)]).await;
    let cured = published(refresher.turn().await);
    assert_eq!(state(&cured, "gold.below").state, Freshness::Fresh);
    assert_eq!(world.rows(MORE).await, ["7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_damaged_holds_its_table_and_nothing_else() {
    let mut world = World::new().await;
    write(
        &world.sql("gold/apart.sql"),
        "SELECT count(*) AS n FROM silver.people",
    );
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    published(refresher.turn().await);
    drop(refresher);
    let log = world.lake.root().join("gold/totals/_delta_log");
    for entry in std::fs::read_dir(log).expect("a log") {
        std::fs::write(entry.expect("an entry").path(), "damaged").expect("damaged");
    }
    world.events(&[(2, "c", BOB)]).await;
    let mut refresher = world.refresher().await;
    let held = published(refresher.turn().await);
    assert_eq!(state(&held, "gold.totals").state, Freshness::Held);
    assert_eq!(world.rows("SELECT n FROM gold.apart").await, ["2"]);
}
