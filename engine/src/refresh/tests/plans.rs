//! What `plan` says before anything happens.

use super::*;
use crate::plan::{ChangeKind, Plan, PlanConfig, PlannedTable, plan};

impl World {
    async fn plan(&self) -> Plan {
        let newest = EpochLog::new(self.lake.clone()).newest().await;
        self.plan_on(newest.expect("readable").map(Arc::new)).await
    }

    async fn plan_on(&self, epoch: Option<Arc<Manifest>>) -> Plan {
        let config = PlanConfig {
            project: ProjectConfig { path: self.sql("") },
            refresh: RefreshConfig::default(),
            source: SourceConfig::default(),
            compares_rows: true,
            samples: 3,
        };
        plan(&self.lake, &config, epoch, clock(&self.seconds))
            .await
            .expect("a plan")
    }
}

#[track_caller]
fn planned<'a>(plan: &'a Plan, table: &str) -> &'a PlannedTable {
    let found = plan.tables.iter().find(|planned| planned.table == table);
    found.expect("a planned table")
}

fn samples(table: &PlannedTable) -> Vec<String> {
    let rows = table.rows.as_ref().expect("compared rows");
    let samples = rows.samples.iter().map(|sample| {
        let values = sample.values.iter();
        let values: Vec<String> = values
            .map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or("NULL")))
            .collect();
        format!("{} {}", sample.side, values.join(" "))
    });
    samples.collect()
}

fn files_of_lake(world: &World) -> Vec<PathBuf> {
    let mut folders = vec![world.lake.root().to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_changed_is_an_empty_plan() {
    let mut world = World::new().await;
    let first = world.plan().await;
    assert_eq!(first.epoch, None);
    assert!(
        first
            .tables
            .iter()
            .all(|table| table.kind == ChangeKind::Added)
    );
    world.events(&[(1, "c", ANNE)]).await;
    world.refresher().await.turn().await.expect("a turn");
    let plan = world.plan().await;
    assert!(plan.is_empty(), "{plan:?}");
    assert_eq!(plan.epoch, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_tells_what_an_edit_does_down_to_rows_and_does_nothing() {
    let mut world = World::new().await;
    world.events(&[(1, "c", ANNE), (2, "c", BOB)]).await;
    // The writer is alive all the while.
    let _live = {
        let mut refresher = world.refresher().await;
        refresher.turn().await.expect("a turn");
        refresher
    };
    let before = files_of_lake(&world);
    let people = PEOPLE.replace(
        "after ->> 'name' AS name",
        "upper(after ->> 'name') AS name",
    );
    let people = people.replace("AS age\n", "AS age, after ->> 'age' AS age_text\n");
    write(&world.sql("silver/people.sql"), &people);
    write(
        &world.sql("gold/totals.sql"),
        &TOTALS.replace("oldest < 150", "oldest < 151"),
    );
    std::fs::rename(world.sql("gold/below.sql"), world.sql("gold/beneath.sql")).expect("renamed");

    let plan = world.plan().await;
    assert_eq!(files_of_lake(&world), before);
    let kinds: Vec<(&str, ChangeKind)> = plan
        .tables
        .iter()
        .map(|table| (table.table.as_str(), table.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            ("silver.people", ChangeKind::Query),
            ("gold.totals", ChangeKind::Policy),
            ("gold.beneath", ChangeKind::Added),
            ("gold.below", ChangeKind::Retired),
        ]
    );
    let people = planned(&plan, "silver.people");
    assert_eq!(people.columns.len(), 1);
    assert_eq!(people.columns[0].after.as_deref(), Some("Utf8"));
    assert!(
        people
            .rebuild
            .as_ref()
            .is_some_and(|rebuild| rebuild.rows == Some(2))
    );
    let rows = people.rows.as_ref().expect("compared");
    assert_eq!((rows.added, rows.removed, rows.changed), (0, 0, 2));
    assert_eq!(
        samples(people),
        [
            "- id=1 name=Anne age=30",
            "+ id=1 name=ANNE age=30",
            "- id=2 name=Bob age=40",
            "+ id=2 name=BOB age=40",
        ]
    );
    let beneath = planned(&plan, "gold.beneath");
    assert!(
        beneath.because.contains("gold/below.sql"),
        "{}",
        beneath.because
    );
    assert_eq!(samples(beneath), ["+ more=3"]);
    assert_eq!(
        planned(&plan, "gold.totals").because,
        "gold/totals.sql: rule sane changed"
    );
    assert_eq!(plan.needs_apply, ["gold.below is retired"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_about_the_epoch_that_is_held_whatever_is_published_meanwhile() {
    let mut world = World::new().await;
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    let Turn::Published(held) = refresher.turn().await.expect("a turn") else {
        panic!("nothing published");
    };
    world.events(&[(2, "c", BOB)]).await;
    refresher.turn().await.expect("a turn");
    let edited = TOTALS.replace("count(*) AS people", "count(*) + 10 AS people");
    write(&world.sql("gold/totals.sql"), &edited);
    let plan = world.plan_on(Some(held)).await;
    assert_eq!(plan.epoch, Some(1));
    assert_eq!(
        samples(planned(&plan, "gold.totals")),
        ["- one=1 people=1 oldest=30", "+ one=1 people=11 oldest=30"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_names_what_lies_downstream_and_what_would_be_held() {
    let mut world = World::new().await;
    world.events(&[(1, "c", ANNE)]).await;
    world.refresher().await.turn().await.expect("a turn");
    let strict = TOTALS.replace("count(*) AS people", "count(*) + 1 AS people");
    write(&world.sql("gold/totals.sql"), &strict);
    let plan = world.plan().await;
    let below = planned(&plan, "gold.below");
    assert_eq!(
        (below.kind, below.because.as_str()),
        (ChangeKind::Downstream, "reads gold.totals")
    );
    let rows = below.rows.as_ref().expect("compared");
    assert_eq!((rows.added, rows.removed), (1, 1), "it has no key");

    write(
        &world.sql("gold/totals.sql"),
        &strict.replace("< 150", "< 10"),
    );
    let plan = world.plan().await;
    let held = planned(&plan, "gold.totals").held.clone();
    assert!(held.is_some_and(|reason| reason.contains("sane")));
    assert!(planned(&plan, "gold.below").held.is_some());

    write(
        &world.sql("gold/totals.sql"),
        "SELECT oops FROM silver.people",
    );
    let plan = world.plan().await;
    assert_eq!(plan.problems.len(), 1);
    assert!(plan.tables.is_empty());
}

/// What came since is no effect of an edit, and whoever goes on writing is in nobody's way.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_on_an_epoch_sees_nothing_that_came_later() {
    let mut world = World::new().await;
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE), (2, "c", BOB)]).await;
    refresher.turn().await.expect("a turn");
    let first = refresher.newest.clone();
    let carl = r#"{"id":3,"name":"Carl","age":50}"#;
    for (lsn, row) in [(3, carl), (4, r#"{"id":1,"name":"Anna","age":31}"#)] {
        world.events(&[(lsn, "u", row)]).await;
        refresher.turn().await.expect("a turn");
    }
    drop(refresher);
    let rule = "-- @expect young: age < 40 ON VIOLATION QUARANTINE\n";
    let people = world.sql("silver/people.sql");
    let text = std::fs::read_to_string(&people).expect("a file");
    write(&people, &format!("{rule}{text}"));
    let plan = world.plan_on(first).await;
    let removed = "- id=2 name=Bob age=40";
    assert_eq!(samples(planned(&plan, "silver.people")), [removed]);
    let totals = planned(&plan, "gold.totals");
    assert_eq!(
        (totals.kind, totals.because.as_str()),
        (ChangeKind::Downstream, "reads silver.people")
    );
    let rows = samples(totals);
    assert!(rows.iter().any(|row| row.contains("people=1")), "{rows:?}");
    planned(&plan, "gold.below");

    write(
        &people,
        &format!("{}{text}", rule.replace("QUARANTINE", "WARN")),
    );
    let plan = world.plan().await;
    assert_eq!(plan.tables.len(), 1, "a warning changes no rows: {plan:?}");
}
