use super::*;
use crate::requests::{Outcome, Request};

async fn refresh(refresher: &mut Refresher, tables: &[&str], full: bool) -> Result<Outcome> {
    let request = Request::Refresh {
        tables: tables.iter().map(|table| (*table).to_owned()).collect(),
        full,
    };
    refresher.fulfil(&request).await
}

fn changed(outcome: &Outcome) -> Vec<&str> {
    let changed = outcome.details["changed"].as_array().expect("a list");
    changed.iter().filter_map(|name| name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_is_about_the_tables_that_were_asked_for() {
    let mut world = World::new().await;
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    let alone = refresh(&mut refresher, &["gold.below"], false).await;
    let alone = alone.expect_err("it reads what is not there");
    assert_eq!(alone.kind(), ErrorKind::InvalidRequest);
    assert!(
        alone
            .hint_text()
            .is_some_and(|hint| hint.contains("+gold.below"))
    );

    let first = refresh(&mut refresher, &["+gold.totals"], false)
        .await
        .expect("built");
    assert_eq!(changed(&first), ["gold.totals", "silver.people"]);
    let below = refresh(&mut refresher, &["silver.people+"], false)
        .await
        .expect("built");
    assert_eq!(
        changed(&below),
        ["gold.below"],
        "the others are as they were"
    );

    world.events(&[(2, "c", BOB)]).await;
    let silver = refresh(&mut refresher, &["silver.people"], false)
        .await
        .expect("built");
    assert_eq!(changed(&silver), ["silver.people"]);
    assert_eq!(world.rows("SELECT people FROM gold.totals").await, ["1"]);
    refresher.turn().await.expect("a turn");
    assert_eq!(
        world.rows("SELECT people FROM gold.totals").await,
        ["2"],
        "the next turn"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_start_means_every_event_again() {
    let mut world = World::new().await;
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE), (2, "c", BOB)]).await;
    refresher.turn().await.expect("a turn");
    let again = refresh(&mut refresher, &[], false)
        .await
        .expect("nothing to do");
    assert_eq!(again.details["published"], false);
    let full = refresh(&mut refresher, &[], true).await.expect("built");
    assert_eq!(
        changed(&full),
        ["silver.people"],
        "gold's rows are the same"
    );
    assert_eq!(world.people().await, ["1,Anne,30", "2,Bob,40"]);
    assert!(matches!(
        refresher.turn().await.expect("a turn"),
        Turn::Quiet
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_no_table_is_told_with_the_nearest() {
    let world = World::new().await;
    let mut refresher = world.refresher().await;
    let unknown = refresh(&mut refresher, &["+gold.totlas"], false).await;
    let unknown = unknown.expect_err("no such table");
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    assert_eq!(unknown.hint_text(), Some("Did you mean \"gold.totals\"?"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_overtaken_writes_nothing_more() {
    let mut world = World::new().await;
    let mut zombie = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    zombie.turn().await.expect("a turn");
    // A lock that does not hold: the file under it was replaced, as a network disk may do.
    let leases = world.lake.root().join("_leases");
    std::fs::copy(leases.join("refresh"), leases.join("copy")).expect("copied");
    std::fs::rename(leases.join("copy"), leases.join("refresh")).expect("renamed");
    let mut next = world.refresher().await;
    world.events(&[(2, "c", BOB)]).await;
    let fenced = zombie.turn().await.expect_err("a higher term is there");
    assert_eq!(fenced.kind(), ErrorKind::Conflict);
    next.turn().await.expect("a turn");
    assert_eq!(world.people().await, ["1,Anne,30", "2,Bob,40"]);
}

/// The same between two steps of one epoch, where the zombie has declared it already.
#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_of_a_lower_term_is_finished_by_the_higher_alone() {
    let mut world = World::new().await;
    let mut zombie = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    zombie.turn().await.expect("a turn");
    world.events(&[(2, "c", BOB)]).await;
    let project = zombie.project.current().expect("a project");
    let intent = Intent {
        inputs: zombie.bronze.versions().await.expect("versions"),
        ..zombie
            .epochs
            .intent(1)
            .await
            .expect("readable")
            .expect("kept")
    };
    let intent = Intent { epoch: 2, ..intent };
    zombie
        .epochs
        .declare(intent.clone())
        .await
        .expect("declared");
    let leases = world.lake.root().join("_leases");
    std::fs::copy(leases.join("refresh"), leases.join("copy")).expect("copied");
    std::fs::rename(leases.join("copy"), leases.join("refresh")).expect("renamed");
    let mut next = world.refresher().await;
    next.turn().await.expect("the epoch is finished");

    let late = zombie.build(&intent, &project).await;
    if let Ok(built) = late {
        let manifest = built.manifest.expect("something changed");
        let refused = zombie.epochs.publish(&manifest).await;
        assert_eq!(refused.expect_err("published").kind(), ErrorKind::Conflict);
    }
    assert_eq!(world.people().await, ["1,Anne,30", "2,Bob,40"]);
    world.events(&[(3, "d", ANNE)]).await;
    next.turn().await.expect("nobody interfered");
    assert_eq!(world.people().await, ["2,Bob,40"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_is_taken_in_whole_whatever_is_asked_for() {
    let mut world = World::new().await;
    let mut refresher = world.refresher().await;
    world.events(&[(1, "c", ANNE)]).await;
    refresher.turn().await.expect("a turn");
    let totals = TOTALS.replace("SELECT 1 AS one", "SELECT 1 AS one, 7 AS added");
    write(&world.sql("gold/totals.sql"), &totals);
    write(
        &world.sql("gold/below.sql"),
        "SELECT added FROM gold.totals",
    );
    refresh(&mut refresher, &["gold.below"], false)
        .await
        .expect("both are built");
    assert_eq!(world.rows("SELECT added FROM gold.below").await, ["7"]);
}
