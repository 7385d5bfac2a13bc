//! Upkeep beside the turns of its role, on a clock that is pushed on.

use super::*;
use crate::pins::Pins;
use crate::statement::Statement;
use crate::upkeep::UpkeepConfig;

/// In the gate; `SPORTLAKE_UPKEEP_TURNS` asks for more of them in the same hour.
fn turns() -> i64 {
    let asked = std::env::var("SPORTLAKE_UPKEEP_TURNS").ok();
    let asked = asked.and_then(|turns| turns.parse().ok());
    asked.unwrap_or(300).clamp(60, 3600)
}

const TABLES: [&str; 4] = [
    "bronze/people",
    "silver/people",
    "gold/totals",
    "gold/below",
];

/// Made in whole, of messages.
const HEARD: &str = "-- @key one
-- @expect sane: oldest < 150 ON VIOLATION FAIL
SELECT 1 AS one, count(*) AS messages, max(CAST(after ->> 'age' AS BIGINT)) AS oldest FROM bronze.people";

fn config() -> UpkeepConfig {
    UpkeepConfig {
        keep_epochs_seconds: 120,
        ..UpkeepConfig::default()
    }
}

fn hasty() -> UpkeepConfig {
    UpkeepConfig {
        keep_epochs_seconds: 0,
        keep_hourly_seconds: 0,
        ..UpkeepConfig::default()
    }
}

fn files(path: PathBuf) -> usize {
    let Ok(entries) = std::fs::read_dir(path) else {
        return 0;
    };
    entries
        .map(|entry| entry.expect("an entry").path())
        .map(|path| if path.is_dir() { files(path) } else { 1 })
        .sum()
}

impl World {
    /// The clock begins at the machine's, whose time the files get.
    fn start_clock(&self) -> i64 {
        let made = std::fs::metadata(self.lake.root().join("_format")).expect("a file");
        let made: DateTime<Utc> = made.modified().expect("a time").into();
        let begin = made.timestamp() - 1_770_000_000;
        self.seconds.store(begin, Ordering::Relaxed);
        begin
    }

    /// What `maintain` does: both roles' upkeep.
    async fn maintain(&mut self, refresher: &mut Refresher, config: &UpkeepConfig) {
        refresher.maintain(false).await.expect("upkeep");
        let bronze = self.bronze.maintain(config, false).await;
        bronze.expect("upkeep");
    }

    fn watcher(&self) -> Reader {
        let config = (ReaderConfig::default(), SourceConfig::default());
        Reader::new(self.lake.clone(), &config.0, &config.1).expect("a reader")
    }

    /// Files by what they are: epochs, and log entries and data files of each table.
    fn counts(&self) -> BTreeMap<String, usize> {
        let root = self.lake.root();
        let mut counts = BTreeMap::from([("epochs".to_owned(), files(root.join("_epochs")))]);
        for table in TABLES {
            let log = files(root.join(table).join("_delta_log"));
            let all = files(root.join(table));
            counts.insert(format!("{table} log"), log);
            counts.insert(format!("{table} data"), all - log);
        }
        counts
    }

    /// Everything that the newest epoch says.
    async fn contents(&self) -> Vec<Vec<String>> {
        let bronze = "SELECT _offset, value, op FROM bronze.people ORDER BY _offset";
        let gold = "SELECT people, oldest, more FROM gold.totals, gold.below";
        vec![
            self.rows(bronze).await,
            self.people().await,
            self.rows(gold).await,
        ]
    }
}

async fn prepared(reader: &Reader, sql: &str) -> (u64, Statement) {
    let newest = reader.latest().await.expect("an epoch");
    let session = reader.session(newest).expect("a session");
    let statement = session.prepare(sql).await.expect("planned");
    (session.epoch(), statement)
}

async fn run(statement: Statement) -> Result<Vec<String>> {
    let stream = statement.execute().await?;
    let batches: Vec<RecordBatch> = stream.try_collect().await?;
    Ok(batches.iter().flat_map(texts).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_leaves_a_bounded_lake_with_the_same_rows() {
    let (turns, pace) = (turns(), 3600 / turns());
    let mut world = World::new().await;
    let begin = world.start_clock();
    let mut refresher = world.refresher().await;
    refresher.config.upkeep = config();
    let reader = world.watcher();
    let pins = Pins::new(&world.lake);
    let counted = "SELECT count(*) AS n FROM silver.people";
    let (mut pinned, mut unpinned) = (None, None);
    let mut at_half = BTreeMap::new();

    for turn in 1..=turns {
        world.seconds.store(begin + turn * pace, Ordering::Relaxed);
        let age = turn % 90;
        let row = format!(r#"{{"id":{},"name":"Anne","age":{age}}}"#, turn % 40);
        world.events(&[(turn, "u", &row)]).await;
        refresher.turn().await.expect("a turn");
        refresher.upkeep_step().await.expect("upkeep");
        if turn % 20 == 0 {
            world.bronze.upkeep(&config()).await.expect("upkeep");
        }
        match turn {
            20 => {
                let (epoch, statement) = prepared(&reader, counted).await;
                pinned = Some((pins.hold(epoch), statement));
            }
            25 => unpinned = Some(prepared(&reader, counted).await.1),
            // Whoever takes up the role begins with what the lake holds.
            _ if turn == turns / 3 => {
                drop(refresher);
                refresher = world.refresher().await;
                refresher.config.upkeep = config();
            }
            _ if turn == turns / 2 => at_half = world.counts(),
            _ => {}
        }
        pins.renew((refresher.clock)()).await.expect("renewed");
    }

    let counts = world.counts();
    for (what, count) in &counts {
        let before = at_half[what];
        // What lies there is what the kept seconds made, whatever came before.
        let kept = usize::try_from(2 * 180 / pace).expect("positive") + 230;
        assert!(*count <= before + 130, "{what}: {count} after {before}");
        assert!(*count < kept, "{what}: {count} of {kept}: {counts:?}");
    }

    // What is done is done without a change of rows, all at once too.
    let rows = world.contents().await;
    assert_eq!(rows[0].len(), usize::try_from(turns).expect("positive"));
    assert_eq!(rows[1].len(), 40);
    for _ in 0..2 {
        world.maintain(&mut refresher, &config()).await;
        refresher.turn().await.expect("a turn");
    }
    assert_eq!(world.contents().await, rows);

    let (_hold, statement) = pinned.expect("taken");
    let counted = run(statement).await.expect("it is pinned");
    assert_eq!(counted, ["20"], "as it was at turn 20");
    let gone = run(unpinned.expect("taken")).await.expect_err("thinned");
    assert_eq!(gone.kind(), ErrorKind::Unavailable, "{gone}");
    assert!(gone.to_string().contains("no longer kept"), "{gone}");
    assert!(gone.hint_text().is_some());

    // The next turn goes on from there.
    let gone = r#"{"id":3,"name":"Anne","age":3}"#;
    world.events(&[(turns + 1, "d", gone)]).await;
    refresher.turn().await.expect("a turn");
    assert_eq!(world.people().await.len(), 39);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_epoch_is_found_without_the_hint_and_without_the_first() {
    let mut world = World::new().await;
    let mut refresher = world.refresher().await;
    refresher.config.upkeep = hasty();
    let idle = world.watcher();
    for turn in 1..=5 {
        world.events(&[(turn, "c", ANNE), (turn, "c", BOB)]).await;
        refresher.turn().await.expect("a turn");
        if turn == 1 {
            assert_eq!(idle.latest().await.expect("an epoch").epoch, 1);
        }
    }
    let dry = refresher.maintain(true).await.expect("told");
    assert_eq!(dry[0].files, 2, "the newest three stay: {dry:?}");
    let listed = refresher.epochs.listed().await.expect("listed");
    assert_eq!(listed.len(), 5, "a dry run changes nothing");
    refresher.maintain(false).await.expect("upkeep");
    let newest = idle.latest().await.expect("an epoch").epoch;
    assert_eq!(newest, 5, "over a gap");
    let thinned = idle.epoch(1).await.expect_err("thinned");
    assert_eq!(thinned.kind(), ErrorKind::NotFound, "{thinned}");
    std::fs::remove_file(world.lake.root().join("_epochs/_hint")).expect("removed");
    assert_eq!(world.people().await.len(), 2, "without a hint");
    drop(refresher);
    world.events(&[(6, "d", BOB)]).await;
    let mut refresher = world.refresher().await;
    refresher.turn().await.expect("a turn");
    assert_eq!(idle.latest().await.expect("an epoch").epoch, 6);
}

/// Turns and passes of upkeep that keep as little as they may, `count` of them.
async fn many_turns(world: &mut World, refresher: &mut Refresher, from: i64, count: i64) {
    for turn in from..from + count {
        let row = format!(r#"{{"id":{},"name":"Anne","age":{}}}"#, turn % 7, turn % 90);
        world.events(&[(turn, "u", &row)]).await;
        refresher.turn().await.expect("a turn");
        if turn % 25 == 0 {
            world.seconds.fetch_add(60, Ordering::Relaxed);
            world.maintain(refresher, &hasty()).await;
        }
    }
    for _ in 0..2 {
        world.seconds.fetch_add(60, Ordering::Relaxed);
        world.maintain(refresher, &hasty()).await;
        refresher.turn().await.expect("a turn");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_finds_its_data_after_upkeep_and_takes_in_what_came_since() {
    let mut world = World::new().await;
    world.start_clock();
    let mut refresher = world.refresher().await;
    refresher.config.upkeep = hasty();
    world.events(&[(1, "c", ANNE), (1, "c", BOB)]).await;
    refresher.turn().await.expect("a turn");
    let totals = "SELECT people, oldest FROM gold.totals";
    assert_eq!(world.rows(totals).await, ["2,40"]);
    let edited = TOTALS.replace("max(age)", "min(age)");
    write(&world.sql("gold/totals.sql"), &edited);
    refresher.apply().await.expect("applied");
    assert_eq!(world.rows(totals).await, ["2,30"]);
    many_turns(&mut world, &mut refresher, 2, 130).await;
    let now = world.people().await;
    let first = world.lake.root().join("bronze/people/_delta_log");
    assert!(!first.join(format!("{:020}.json", 3)).exists(), "cleaned");

    refresher.rollback().await.expect("rolled back");
    assert_eq!(world.rows(totals).await, ["2,40"], "the data of then");
    many_turns(&mut world, &mut refresher, 132, 1).await;
    let people = world.people().await;
    let changed: Vec<_> = people.iter().filter(|row| !now.contains(row)).collect();
    assert_eq!(changed.len(), 1, "one event came since: {people:?}");
    let oldest = "SELECT max(age) AS a FROM silver.people";
    let expected = format!("{},{}", people.len(), world.rows(oldest).await[0]);
    assert_eq!(world.rows(totals).await, [expected]);
    many_turns(&mut world, &mut refresher, 133, 30).await;
    assert_eq!(world.people().await.len(), people.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_table_says_why_long_after_its_inputs_went_on() {
    let mut world = World::new().await;
    world.start_clock();
    let mut refresher = world.refresher().await;
    refresher.config.upkeep = hasty();
    write(&world.sql("gold/heard.sql"), HEARD);
    world.events(&[(1, "c", ANNE)]).await;
    refresher.turn().await.expect("a turn");
    let ancient = r#"{"id":100,"name":"Adam","age":400}"#;
    world.events(&[(1, "c", ancient)]).await;
    many_turns(&mut world, &mut refresher, 2, 130).await;
    for table in ["silver", "bronze"] {
        let log = world.lake.root().join(table).join("people/_delta_log");
        assert!(!log.join(format!("{:020}.json", 5)).exists(), "cleaned");
    }

    let reader = world.watcher();
    let newest = reader.latest().await.expect("an epoch");
    let totals: TableName = "gold.totals".parse().expect("a name");
    assert_eq!(newest.tables[&totals].state, Freshness::Held);
    let why = reader.why(&newest, &totals, &["1".to_owned()]).await;
    let why = why.expect("an answer");
    let inputs: Vec<_> = why.inputs.iter().map(|input| texts(&input.rows)).collect();
    assert_eq!(inputs, [["1,Anne,30"]], "as they were then");

    let heard: TableName = "gold.heard".parse().expect("a name");
    assert_eq!(newest.tables[&heard].state, Freshness::Held);
    let why = reader.why(&newest, &heard, &["1".to_owned()]).await;
    let inputs = why.expect("an answer").inputs;
    let messages: Vec<_> = inputs.iter().map(|input| input.rows.num_rows()).collect();
    assert_eq!(messages, [1], "of the messages that had come by then");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_table_gives_up_its_files_and_may_come_back() {
    let mut world = World::new().await;
    world.start_clock();
    let mut refresher = world.refresher().await;
    refresher.config.upkeep = hasty();
    let reader = world.watcher();
    many_turns(&mut world, &mut refresher, 1, 5).await;
    let more = "SELECT more FROM gold.below";
    let served = run(prepared(&reader, more).await.1).await.expect("rows");
    std::fs::remove_file(world.sql("gold/below.sql")).expect("deleted");
    refresher.apply().await.expect("applied");
    many_turns(&mut world, &mut refresher, 6, 5).await;
    let below = || {
        let root = world.lake.root().join("gold/below");
        (files(root.clone()), files(root.join("_delta_log")))
    };
    let (all, log) = below();
    assert!(all > log, "a rollback may want it");

    // Another change of the project is what a rollback returns to then.
    write(&world.sql("gold/totals.sql"), &TOTALS.replace("150", "151"));
    refresher.apply().await.expect("applied");
    many_turns(&mut world, &mut refresher, 11, 5).await;
    let root = world.lake.root().join("gold/below");
    assert_eq!(
        files(root.clone()),
        files(root.join("_delta_log")),
        "no data"
    );
    assert!(files(root) < 5);

    write(&world.sql("gold/below.sql"), BELOW);
    refresher.apply().await.expect("applied");
    let again = run(prepared(&reader, more).await.1).await.expect("rows");
    let people = world.people().await.len();
    assert_eq!(again, [(people + 1).to_string()]);
    assert_ne!(
        again, served,
        "a reader that knew the old table reads the new one"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_was_begun_keeps_everything() {
    let mut world = World::new().await;
    world.start_clock();
    let mut refresher = world.refresher().await;
    refresher.config.upkeep = hasty();
    many_turns(&mut world, &mut refresher, 1, 30).await;
    let before = world.counts();
    let newest = refresher.newest.clone().expect("an epoch");
    refresher.unfinished = Some(Intent {
        epoch: newest.epoch + 1,
        term: newest.term,
        now: newest.now,
        project: newest.project.clone(),
        inputs: BTreeMap::new(),
        commits: BTreeMap::new(),
        restores: None,
        refused: None,
    });
    world.seconds.fetch_add(600, Ordering::Relaxed);
    for name in ["silver.people", "gold.totals"] {
        let stray = name.replace('.', "/") + "/part-stray.parquet";
        std::fs::write(world.lake.root().join(stray), "half").expect("written");
    }
    let done = refresher.maintain(false).await.expect("upkeep");
    assert!(
        done.iter().all(|chore| chore.target == "_epochs"),
        "{done:?}"
    );
    refresher.unfinished = None;
    world.seconds.fetch_add(600, Ordering::Relaxed);
    refresher.maintain(false).await.expect("upkeep");
    let after = world.counts();
    assert!(after["silver/people data"] <= before["silver/people data"]);
    assert!(after["gold/totals data"] <= before["gold/totals data"]);
}
