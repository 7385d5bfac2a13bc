//! Rules of tables that are computed in whole, counts, and the record of every check.

use super::*;
use crate::epoch::TableState;

const CARL: &str = r#"{"id":3,"name":"Carl","age":-5}"#;

const ADULTS: &str = "-- @key id
-- @expect grown_up: age >= 18 ON VIOLATION DROP
-- @expect alive: age >= 0 ON VIOLATION QUARANTINE
-- @expect short: length(name) < 5 ON VIOLATION WARN
SELECT id, name, age FROM silver.people";

/// Turns that must publish.
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

/// Violations and rows kept out, by rule.
fn counts(state: &TableState) -> Vec<(&str, u64, u64)> {
    let rules = state.rules.iter();
    rules
        .map(|(name, rule)| (name.as_str(), rule.violations, rule.kept_out))
        .collect()
}

fn person(id: i64, age: i64) -> String {
    format!(r#"{{"id":{id},"name":"P{id}","age":{age}}}"#)
}

impl World {
    async fn people_aged(&mut self, lsn: i64, ages: &[(i64, i64)]) {
        let people: Vec<String> = ages.iter().map(|(id, age)| person(*id, *age)).collect();
        let events: Vec<(i64, &str, &str)> = (lsn..)
            .zip(&people)
            .map(|(lsn, person)| (lsn, "u", person.as_str()))
            .collect();
        self.events(&events).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_rows_are_kept_out_and_come_back_when_they_are_cured() {
    let mut world = World::new().await;
    let alive_first = ADULTS.replace("-- @expect grown_up: age >= 18 ON VIOLATION DROP\n", "");
    let alive_first = alive_first.replace(
        "-- @expect short",
        "-- @expect grown_up: age >= 18 ON VIOLATION DROP\n-- @expect short",
    );
    write(&world.sql("gold/adults.sql"), &alive_first);
    let mut refresher = world.refresher().await;
    let child = r#"{"id":4,"name":"Dorothea","age":7}"#;
    world
        .events(&[
            (1, "c", ANNE),
            (2, "c", BOB),
            (3, "c", CARL),
            (4, "c", child),
        ])
        .await;
    let manifest = publish(&mut refresher).await;
    let adults = "SELECT id FROM gold.adults ORDER BY id";
    let aside = "SELECT id, name, age, rule, reason, _offset FROM gold.adults__quarantine";
    assert_eq!(world.rows(adults).await, ["1", "2"]);
    assert_eq!(
        world.rows(aside).await,
        ["3,Carl,-5,alive,age >= 0 is not true,"],
        "a dropped row is nowhere"
    );
    let table = state(&manifest, "gold.adults");
    assert_eq!((table.rows, table.kept_out()), (Some(2), 2));
    assert_eq!(
        counts(table),
        [("alive", 1, 1), ("grown_up", 1, 1), ("short", 0, 0)],
        "what is kept out is not asked again, and zero is told"
    );
    let kept = state(&manifest, "gold.adults__quarantine");
    assert_eq!((kept.rows, kept.since), (Some(1), manifest.epoch));

    world
        .events(&[(5, "u", &person(3, 50)), (6, "d", child)])
        .await;
    let manifest = publish(&mut refresher).await;
    assert_eq!(
        world.rows(adults).await,
        ["1", "2", "3"],
        "cured by an event"
    );
    assert!(world.rows(aside).await.is_empty(), "in the same epoch");
    assert_eq!(state(&manifest, "gold.adults").kept_out(), 0);

    world.people_aged(7, &[(3, -1)]).await;
    publish(&mut refresher).await;
    assert_eq!(world.rows(adults).await, ["1", "2"]);
    let loose = alive_first.replace("age >= 0 ON", "age >= -1 ON");
    let loose = loose.replace("age >= 18 ON", "age <> 7 ON");
    write(&world.sql("gold/adults.sql"), &loose);
    publish(&mut refresher).await;
    assert_eq!(world.rows(adults).await, ["1", "2", "3"], "cured by a rule");
    assert!(world.rows(aside).await.is_empty());

    write(
        &world.sql("gold/adults.sql"),
        "SELECT id FROM silver.people",
    );
    let manifest = publish(&mut refresher).await;
    let aside = "gold.adults__quarantine".parse().expect("a name");
    assert!(
        !manifest.tables.contains_key(&aside),
        "no rule, no quarantine"
    );
    write(&world.sql("gold/adults.sql"), ADULTS);
    let manifest = publish(&mut refresher).await;
    assert_eq!(
        counts(state(&manifest, "gold.adults")),
        [("alive", 1, 1), ("grown_up", 0, 0), ("short", 0, 0)],
        "what one rule keeps aside no other drops"
    );
    assert_eq!(state(&manifest, "gold.adults__quarantine").rows, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_computed_holds_a_table_until_it_can_be() {
    let mut world = World::new().await;
    write(
        &world.sql("gold/shares.sql"),
        "SELECT id, CAST(name AS BIGINT) AS number FROM silver.people WHERE age > 100",
    );
    write(
        &world.sql("gold/guarded.sql"),
        "-- @expect not_one: id <> 1 ON VIOLATION QUARANTINE
-- @expect share: 10 / (id - 1) > 0 ON VIOLATION WARN
SELECT id FROM silver.people",
    );
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    let first = publish(&mut refresher).await;
    assert_eq!(state(&first, "gold.guarded").state, Freshness::Fresh);
    assert_eq!(state(&first, "gold.guarded").rows, Some(0));

    let secret = r#"{"id":2,"name":"Durand","age":101}"#;
    world.events(&[(2, "c", secret)]).await;
    let held = publish(&mut refresher).await;
    let shares = state(&held, "gold.shares");
    assert_eq!(shares.state, Freshness::Held);
    let reason = shares.reason.as_deref().unwrap_or_default();
    assert!(reason.contains("Cannot cast string"), "{reason}");
    assert!(!reason.contains("Durand"), "{reason}");
    assert_eq!(shares.version, state(&first, "gold.shares").version);
    assert_eq!(
        world.rows("SELECT people FROM gold.totals").await,
        ["2"],
        "an unrelated table advances"
    );
    assert!(matches!(
        refresher.turn().await.expect("a turn"),
        Turn::Quiet
    ));

    world.people_aged(3, &[(2, 20)]).await;
    let cured = publish(&mut refresher).await;
    assert_eq!(state(&cured, "gold.shares").state, Freshness::Fresh);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_counts_from_twenty_rows_on_and_over_rows_kept_out_too() {
    let mut world = World::new().await;
    write(
        &world.sql("gold/adults.sql"),
        "-- @expect alive: age >= 0 ON VIOLATION QUARANTINE, FAIL OVER 10%
SELECT id, age FROM silver.people",
    );
    let mut refresher = world.refresher().await;
    let few: Vec<(i64, i64)> = (1..=19)
        .map(|id| (id, if id <= 5 { -1 } else { 30 }))
        .collect();
    world.people_aged(1, &few).await;
    let manifest = publish(&mut refresher).await;
    let table = state(&manifest, "gold.adults");
    assert_eq!((table.state, table.rows), (Freshness::Fresh, Some(14)));

    world.people_aged(100, &[(20, 30)]).await;
    let manifest = publish(&mut refresher).await;
    let table = state(&manifest, "gold.adults");
    assert_eq!(table.state, Freshness::Held);
    assert_eq!(
        table.reason.as_deref(),
        Some("rule \"alive\" is broken by 5 of 20 rows")
    );
    let aside = state(&manifest, "gold.adults__quarantine");
    assert_eq!((aside.state, aside.rows), (Freshness::Held, Some(5)));

    world.people_aged(200, &[(1, 30), (2, 30), (3, 30)]).await;
    let manifest = publish(&mut refresher).await;
    let table = state(&manifest, "gold.adults");
    assert_eq!(table.state, Freshness::Fresh, "2 of 20 are not over 10 %");
    assert_eq!(table.rows, Some(18));
    let aside = state(&manifest, "gold.adults__quarantine");
    assert_eq!((aside.state, aside.rows), (Freshness::Fresh, Some(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn unique_and_aggregates_are_about_the_whole_table() {
    let mut world = World::new().await;
    write(
        &world.sql("gold/ages.sql"),
        "-- @expect one_each: unique(age) ON VIOLATION FAIL
-- @expect some: count(*) >= 2 ON VIOLATION WARN
SELECT age FROM silver.people",
    );
    let mut refresher = world.refresher().await;
    world.people_aged(1, &[(1, 30)]).await;
    let manifest = publish(&mut refresher).await;
    let ages = state(&manifest, "gold.ages");
    assert_eq!(counts(ages), [("one_each", 0, 0), ("some", 1, 0)]);
    assert_eq!(ages.warnings["some"], 1);
    world.people_aged(2, &[(2, 30)]).await;
    let manifest = publish(&mut refresher).await;
    assert_eq!(
        state(&manifest, "gold.ages").reason.as_deref(),
        Some("rule \"one_each\" is broken by 1 of 2 rows")
    );
    let loose = "-- @expect one_each: unique(age) ON VIOLATION WARN\nSELECT age FROM silver.people";
    write(&world.sql("gold/ages.sql"), loose);
    let manifest = publish(&mut refresher).await;
    let ages = state(&manifest, "gold.ages");
    assert_eq!(
        (ages.state, ages.rows),
        (Freshness::Fresh, Some(2)),
        "cured by its rule"
    );
    assert_eq!(counts(ages), [("one_each", 1, 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_of_a_folded_table_follow_the_change() {
    let mut world = World::new().await;
    let rules = "-- @expect adult: age >= 18 ON VIOLATION WARN
-- @expect inverse: 100 / age > 1 ON VIOLATION WARN
";
    let text = PEOPLE.replace("SELECT CAST", &format!("{rules}SELECT CAST"));
    write(&world.sql("silver/people.sql"), &text);
    let mut refresher = world.refresher().await;
    let many: Vec<(i64, i64)> = (1..=50).map(|id| (id, id)).collect();
    world.people_aged(1, &many).await;
    let manifest = publish(&mut refresher).await;
    let people = state(&manifest, "silver.people");
    assert_eq!(people.rows, Some(50));
    assert_eq!(counts(people), [("adult", 17, 0), ("inverse", 0, 0)]);

    // Nothing of the first file may be needed to count what comes beside it.
    let old = refresher.snapshots.files("silver/people", people.version);
    let old = old.await.expect("files")[0].path.clone();
    let old = world.lake.root().join("silver/people").join(old);
    write(&world.sql("gold/totals.sql"), "SELECT 1 AS one");
    write(&world.sql("gold/below.sql"), "SELECT 1 AS one");
    publish(&mut refresher).await;
    let hidden = old.with_extension("hidden");
    std::fs::rename(&old, &hidden).expect("hidden");
    world
        .people_aged(100, &[(101, 3), (102, 0), (103, 40)])
        .await;
    let manifest = publish(&mut refresher).await;
    let people = state(&manifest, "silver.people");
    assert_eq!(people.rows, Some(53));
    assert_eq!(
        counts(people),
        [("adult", 19, 0), ("inverse", 1, 0)],
        "a row on which a rule cannot be evaluated breaks it"
    );
    std::fs::rename(&hidden, &old).expect("back");

    world.people_aged(200, &[(1, 90), (102, 90)]).await;
    world.events(&[(300, "d", &person(2, 2))]).await;
    let manifest = publish(&mut refresher).await;
    let people = state(&manifest, "silver.people");
    assert_eq!(people.rows, Some(52));
    assert_eq!(counts(people), [("adult", 16, 0), ("inverse", 2, 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_check_is_recorded_in_the_epoch_that_made_it() {
    let mut world = World::new().await;
    write(&world.sql("gold/adults.sql"), ADULTS);
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE), (2, "c", CARL)]).await;
    let manifest = publish(&mut refresher).await;
    let results = "SELECT epoch, table_name, rule, definition, action, violations, rows, outcome
                   FROM quality.results ORDER BY epoch, table_name, rule";
    let first = [
        "1,gold.adults,alive,age >= 0,QUARANTINE,1,2,kept_out",
        "1,gold.adults,grown_up,age >= 18,DROP,0,2,passed",
        "1,gold.adults,short,length(name) < 5,WARN,0,2,passed",
        "1,gold.totals,sane,oldest < 150,FAIL,0,1,passed",
    ];
    assert_eq!(world.rows(results).await, first);
    assert_eq!(state(&manifest, "quality.results").rows, Some(4));

    write(
        &world.sql("gold/below.sql"),
        "SELECT people FROM gold.totals",
    );
    let manifest = publish(&mut refresher).await;
    let unchanged = state(&manifest, "quality.results");
    assert_eq!(
        (unchanged.since, unchanged.rows),
        (1, Some(4)),
        "nothing was checked"
    );

    let ancient = r#"{"id":1,"name":"Methuselah","age":969}"#;
    world.events(&[(3, "u", ancient)]).await;
    publish(&mut refresher).await;
    let third =
        "SELECT rule, violations, outcome FROM quality.results WHERE epoch = 3 ORDER BY rule";
    assert_eq!(
        world.rows(third).await,
        [
            "alive,1,kept_out",
            "grown_up,0,passed",
            "sane,1,failed",
            "short,1,warned"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_epoch_records_its_checks_once() {
    let mut world = World::new().await;
    write(&world.sql("gold/adults.sql"), ADULTS);
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    publish(&mut refresher).await;
    world.events(&[(2, "c", CARL)]).await;
    let whole = refresher.leave_unfinished().await.expect("built");
    let whole = whole.expect("a manifest");
    drop(refresher);

    let mut refresher = world.refresher().await;
    let resumed = publish(&mut refresher).await;
    for name in [
        "gold.adults",
        "gold.adults__quarantine",
        "quality.results",
        "silver.people",
    ] {
        let (resumed, whole) = (state(&resumed, name), state(&whole, name));
        assert_eq!(resumed.version, whole.version, "{name}");
        assert_eq!(
            (resumed.rows, &resumed.rules),
            (whole.rows, &whole.rules),
            "{name}"
        );
    }
    let twice = "SELECT count(*) FROM quality.results WHERE epoch = 2 AND rule = 'alive'";
    assert_eq!(world.rows(twice).await, ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_of_checks_stays_in_few_files_and_forgets() {
    let mut world = World::new().await;
    let mut refresher = world.refresher().await;
    for turn in 0..40 {
        world.people_aged(turn, &[(turn, 30 + turn)]).await;
        let manifest = publish(&mut refresher).await;
        let results = state(&manifest, "quality.results");
        let files = refresher.snapshots.files(&results.path, results.version);
        assert!(files.await.expect("files").len() <= 17);
    }
    let count = "SELECT count(DISTINCT epoch), min(epoch) FROM quality.results";
    assert_eq!(world.rows(count).await, ["40,1"]);
    world.seconds.fetch_add(31 * 86_400, Ordering::Relaxed);
    for turn in 100..117 {
        world.people_aged(turn, &[(turn, turn)]).await;
        publish(&mut refresher).await;
    }
    let oldest = world
        .rows("SELECT min(epoch) > 32 FROM quality.results")
        .await;
    assert_eq!(
        oldest,
        ["true"],
        "what is older than its time goes with the next merge"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_held_for_itself_stays_so_when_what_it_reads_is_cured() {
    let mut world = World::new().await;
    let upper = "-- @key id\nSELECT id, age FROM silver.people";
    let lower =
        "-- @key id\n-- @expect alive: age >= 0 ON VIOLATION FAIL\nSELECT id, age FROM gold.upper";
    write(&world.sql("gold/upper.sql"), upper);
    write(&world.sql("gold/lower.sql"), lower);
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    publish(&mut refresher).await;
    world.events(&[(2, "c", CARL)]).await;
    let held = publish(&mut refresher).await;
    let reason = state(&held, "gold.lower").reason.clone();
    assert!(
        reason
            .as_deref()
            .is_some_and(|reason| reason.contains("alive"))
    );

    let broken = upper.replace(
        "SELECT",
        "-- @expect never: FALSE ON VIOLATION FAIL\nSELECT",
    );
    write(&world.sql("gold/upper.sql"), &broken);
    let both = publish(&mut refresher).await;
    assert_eq!(state(&both, "gold.upper").state, Freshness::Held);
    assert_eq!(state(&both, "gold.lower").reason, reason);
    write(&world.sql("gold/upper.sql"), upper);
    let cured = publish(&mut refresher).await;
    assert_eq!(state(&cured, "gold.upper").state, Freshness::Fresh);
    let lower = state(&cured, "gold.lower");
    assert_eq!((lower.state, &lower.reason), (Freshness::Held, &reason));
}

/// What a held table is held for is told of the version that was not committed, and is gone with its cure.
#[tokio::test(flavor = "multi_thread")]
async fn a_held_tables_failing_keys_are_told() {
    let mut world = World::new().await;
    write(
        &world.sql("gold/all.sql"),
        "-- @key id
-- @expect alive: age >= 0 ON VIOLATION FAIL
-- @expect one_each: unique(name) ON VIOLATION FAIL
SELECT id, name, age FROM silver.people",
    );
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE), (2, "c", BOB)]).await;
    publish(&mut refresher).await;
    world.people_aged(3, &[(5, -1), (4, -2), (1, 30)]).await;
    let held = publish(&mut refresher).await;
    assert_eq!(state(&held, "gold.all").rows, Some(2), "as it was");

    let (reading, source) = (ReaderConfig::default(), SourceConfig::default());
    let reader = Reader::new(world.lake.clone(), &reading, &source).expect("a reader");
    let name = "gold.all".parse().expect("a name");
    let validated = async |keys: usize| {
        let newest = reader.latest().await.expect("an epoch");
        let tables = std::slice::from_ref(&name);
        let validation = reader.validate(&newest, tables, keys, newest.now).await;
        let results = validation.expect("judged").results.into_iter();
        let rules = results.filter(|result| result.rule != "held");
        rules
            .map(|result| {
                let told = format!("{} {:?}", result.rule, result.outcome);
                (told, result.summary(), result.keys)
            })
            .collect::<Vec<_>>()
    };
    let keys = |ids: &[&str]| -> Vec<Vec<String>> {
        ids.iter().map(|id| vec![(*id).to_owned()]).collect()
    };
    let back = "of the version that is held back";
    assert_eq!(
        validated(5).await,
        [
            (
                "alive Failed".to_owned(),
                format!("2 of 4 rows {back}"),
                keys(&["4", "5"])
            ),
            (
                "one_each Passed".to_owned(),
                "0 of 2 rows".to_owned(),
                keys(&[])
            ),
        ]
    );
    assert_eq!(validated(1).await[0].2, keys(&["4"]));
    world.people_aged(6, &[(5, 1), (4, 2)]).await;
    publish(&mut refresher).await;
    let cured = validated(5).await;
    assert!(
        cured.iter().all(|(told, ..)| told.ends_with("Passed")),
        "{cured:?}"
    );
}

/// A share of rows that are kept aside is too large: they are in no table that anybody reads.
#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_too_many_rows_kept_aside_are_told() {
    let mut world = World::new().await;
    write(
        &world.sql("gold/all.sql"),
        "-- @key id
-- @expect alive: age >= 0 ON VIOLATION QUARANTINE, FAIL OVER 10%
SELECT id, name, age FROM silver.people",
    );
    let mut refresher = world.refresher().await;
    let ages: Vec<(i64, i64)> = (1..=25)
        .map(|id| (id, if id % 8 == 0 { -1 } else { 30 }))
        .collect();
    world.people_aged(1, &ages).await;
    let unbuilt = publish(&mut refresher).await;
    let name = "gold.all".parse().expect("a name");
    let broken = &unbuilt.unbuilt[&name].broken;
    let told: Vec<&str> = broken[0].keys.iter().map(|key| key[0].as_str()).collect();
    assert_eq!((told, broken[0].violations), (vec!["8", "16", "24"], 3));
}
