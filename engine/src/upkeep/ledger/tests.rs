use serde_json::json;

use super::*;
use crate::lake::LakeConfig;

const HOUR: i64 = 3600;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).expect("a time")
}

fn config() -> UpkeepConfig {
    UpkeepConfig {
        keep_epochs_seconds: 600,
        keep_hourly_seconds: 6 * 3600,
        ..UpkeepConfig::default()
    }
}

struct World {
    _directory: tempfile::TempDir,
    lake: Lake,
    ledger: Ledger,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let uri = directory.path().join("lake").display().to_string();
        let lake = Lake::open(&LakeConfig { uri }).await.expect("a lake");
        Self {
            _directory: directory,
            ledger: Ledger::new(&lake),
            lake,
        }
    }

    /// An epoch in which every version is ten times its number, and silver has read bronze up to `read`.
    async fn epoch(&self, epoch: u64, seconds: i64, read: u64, replaced: Option<u64>) {
        let manifest = json!({
            "epoch": epoch, "term": 1, "now": at(seconds), "project": format!("p{}", replaced.unwrap_or(0)),
            "replaced": replaced,
            "tables": {
                "bronze.people": { "version": epoch * 10 },
                "silver.people": { "version": epoch * 10, "inputs": { "bronze.people": read } },
            },
        });
        let path = manifest_path(epoch);
        self.lake
            .create(&path, manifest.to_string().into_bytes())
            .await
            .expect("written");
    }

    async fn look(&mut self, seconds: i64, asked: bool) {
        let looked = self.ledger.look(&config(), at(seconds), asked).await;
        looked.expect("looked at");
    }

    fn bronze(&self) -> Needs {
        let name = TableName::new("bronze", "people").expect("a name");
        self.ledger.needs(&name).expect("named")
    }
}

#[tokio::test]
async fn recent_and_hourly_epochs_and_the_one_of_a_rollback_stay() {
    let mut world = World::new().await;
    for epoch in 1..=100 {
        // One each five minutes: twelve an hour, over eight hours.
        let seconds = i64::try_from(epoch).expect("small") * 300;
        world.epoch(epoch, seconds, epoch * 10, Some(2)).await;
    }
    world.look(100 * 300, true).await;
    let unneeded = world.ledger.unneeded();
    let kept: Vec<u64> = (1..=100)
        .filter(|epoch| !unneeded.contains(epoch))
        .collect();
    assert_eq!(kept, [2, 35, 47, 59, 71, 83, 95, 98, 99, 100]);
    let needs = world.bronze();
    let what_is_listed = (needs.from, needs.consumed);
    assert_eq!(what_is_listed, (10, 1000), "can be read");
    for epoch in unneeded {
        let thinned = world.ledger.thin(epoch, at(100 * 300)).await;
        thinned.expect("removed");
    }
    world.look(100 * 300 + 60, true).await;
    let needs = world.bronze();
    assert_eq!((needs.from, needs.consumed), (950, 1000));
    assert_eq!(Vec::from_iter(needs.apart), [20, 350, 470, 590, 710, 830]);
}

#[tokio::test]
async fn changes_stay_for_a_held_table_while_epochs_of_then_are_kept() {
    let mut world = World::new().await;
    for epoch in 1..=100 {
        let seconds = i64::try_from(epoch).expect("small") * 300;
        world.epoch(epoch, seconds, 600, None).await;
    }
    world.look(100 * 300, true).await;
    assert_eq!(world.bronze().consumed, 600);
    for epoch in 101..=140 {
        let seconds = i64::try_from(epoch).expect("small") * 300;
        world.epoch(epoch, seconds, 600, None).await;
    }
    world.ledger = Ledger::new(&world.lake);
    world.look(140 * 300, true).await;
    let needs = world.bronze();
    let made_anew = "it is made anew from all messages";
    assert!(needs.consumed > 600, "{made_anew}: {needs:?}");
    let silver = TableName::new("silver", "people").expect("a name");
    let silver = world.ledger.needs(&silver).expect("named");
    assert_eq!(silver.consumed, 1400, "nobody reads changes of silver");
}

#[tokio::test]
async fn what_a_held_table_was_made_from_stays_with_it() {
    let mut world = World::new().await;
    let silver: TableName = "silver.people".parse().expect("a name");
    let entry = format!("silver/people/_delta_log/{:020}.json", 10);
    let written = world.lake.create(&entry, Vec::new()).await;
    written.expect("written");
    for epoch in 1..=200_u64 {
        // Tables that are held: at what they read in an early epoch, and at what is gone.
        let manifest = json!({
            "epoch": epoch, "term": 1, "now": at(0), "project": "p",
            "tables": {
                "silver.people": { "version": epoch * 10, "inputs": { "bronze.people": epoch } },
                "gold.early": { "version": 6, "inputs": { "silver.people": 30 } },
                "gold.older": { "version": 5, "inputs": { "silver.people": 2 } },
                "gold.totals": { "version": 7, "inputs": { "silver.people": 10, "silver.gone": 3 } },
            },
        });
        let json = manifest.to_string().into_bytes();
        let written = world.lake.create(&manifest_path(epoch), json).await;
        written.expect("written");
    }
    world.look(200 * HOUR, true).await;
    for epoch in world.ledger.unneeded() {
        let thinned = world.ledger.thin(epoch, at(200 * HOUR)).await;
        thinned.expect("removed");
    }
    world.look(200 * HOUR + 60, true).await;
    let needs = world.ledger.needs(&silver).expect("named");
    assert_eq!((needs.from, needs.consumed), (1980, 2000));
    assert_eq!(
        Vec::from_iter(needs.apart),
        [10, 30],
        "one version, not all since"
    );
    let kept = world.ledger.known.contains_key(&3);
    assert!(kept, "it says what the table below was made from");
    let gone = TableName::new("silver", "gone").expect("a name");
    let retired = world.ledger.needs_of_retired(&gone);
    assert_eq!(retired.from, u64::MAX, "no epoch shows it any more");
}

#[tokio::test]
async fn a_clock_that_leaps_removes_nothing_until_it_is_steady() {
    let mut world = World::new().await;
    for epoch in 1..=20 {
        let seconds = i64::try_from(epoch).expect("small") * 60;
        world.epoch(epoch, seconds, epoch * 10, None).await;
    }
    world.look(20 * 60, false).await;
    assert!(!world.ledger.is_settled(), "the clock is new to it");
    assert_eq!(world.ledger.unneeded(), [0_u64; 0]);
    for second in (20 * 60..20 * 60 + 180).step_by(60) {
        world.look(second, false).await;
    }
    assert!(world.ledger.is_settled());
    let before = world.ledger.unneeded();
    assert!(!before.is_empty());
    for leap in [400 * 24 * HOUR, 0, -400 * 24 * HOUR] {
        world.look(1380 + leap, false).await;
        assert!(!world.ledger.is_settled() || leap == 0, "leap {leap}");
        if leap != 0 {
            assert_eq!(world.ledger.unneeded(), [0_u64; 0], "leap {leap}");
        }
    }
    for second in 0..4 {
        world.look(1400 + second * 60, false).await;
    }
    assert!(world.ledger.is_settled());
    assert!(world.ledger.unneeded().len() >= before.len());
    let newest: Vec<u64> = world.ledger.unneeded();
    assert!(
        newest.iter().all(|epoch| *epoch < 18),
        "the newest three stay"
    );
}

#[tokio::test]
async fn files_of_an_epoch_outlive_it_until_whoever_opened_it_could_pin_it() {
    let mut world = World::new().await;
    for epoch in 1..=10 {
        world.epoch(epoch, 0, epoch * 10, None).await;
    }
    world.look(2 * HOUR, true).await;
    assert_eq!(world.ledger.unneeded(), [1, 2, 3, 4, 5, 6, 7]);
    for epoch in [1, 2] {
        world
            .ledger
            .thin(epoch, at(2 * HOUR))
            .await
            .expect("removed");
    }
    assert_eq!(world.bronze().from, 10);
    let pins = crate::pins::Pins::new(&world.lake);
    let hold = pins.hold(2);
    pins.renew(at(2 * HOUR + 5)).await.expect("pinned");
    world.look(2 * HOUR + 60, true).await;
    assert_eq!(world.bronze().from, 20);
    drop(hold);
    pins.renew(at(2 * HOUR + 65)).await.expect("let go");
    world.look(2 * HOUR + 120, true).await;
    assert_eq!(world.bronze().from, 30);
}

#[test]
fn versions_that_are_close_together_stay_in_a_row() {
    let row = |versions: &[u64], last| {
        let (from, apart) = in_a_row(versions.iter().copied().collect(), last);
        (from, Vec::from_iter(apart))
    };
    assert_eq!(row(&[], 7), (7, vec![]));
    assert_eq!(row(&[5, 900, 960, 1000], 1000), (900, vec![5]));
    assert_eq!(row(&[5, 900, 960, 1000], 950), (900, vec![5]));
    assert_eq!(row(&[5, 900], u64::MAX), (u64::MAX, vec![5, 900]));
    assert_eq!(row(&[1000], 64), (64, vec![]));
}
