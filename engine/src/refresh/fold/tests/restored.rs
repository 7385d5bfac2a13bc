//! Bronze that was brought back from an older copy, beside tables made of more.

use super::*;

/// Five messages of which the last are gone, then as many others.
async fn check(gone: usize, then: usize) {
    let mut world = World::new(THINGS).await;
    let mut refresher = world.refresher().await;
    let row = |id: i64, text: &str| event(id, "c", &format!(r#"{{"id":{id},"n":1,"t":"{text}"}}"#));
    for id in 0..5 {
        world.append(&[row(id, "first")]).await;
        published(&mut refresher).await;
    }
    drop(refresher);
    world.take_back(gone).await;
    for id in 0..then {
        world.append(&[row(10 + id as i64, "then")]).await;
    }
    let mut refresher = world.refresher().await;
    published(&mut refresher).await;
    let kept = (0..5 - gone).map(|id| format!("{id},1,first"));
    let come = (0..then).map(|id| format!("{},1,then", 10 + id));
    let expected: Vec<String> = kept.chain(come).collect();
    assert_eq!(things(&world).await, expected, "{gone} gone, {then} then");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_hold_what_bronze_holds_and_no_more() {
    for (gone, then) in [(2, 0), (2, 1), (2, 2), (2, 3), (1, 4)] {
        check(gone, then).await;
    }
}

fn row(id: i64) -> Message {
    event(id, "c", &format!(r#"{{"id":{id},"n":1,"t":"a"}}"#))
}

/// Bronze is what the newest epoch shows, and what an epoch after it was begun on is gone.
#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_was_begun_on_what_is_gone_is_given_up() {
    for then in [0, 1, 2] {
        let mut world = World::new(THINGS).await;
        let mut refresher = world.refresher().await;
        for id in 0..2 {
            world.append(&[row(id)]).await;
            published(&mut refresher).await;
        }
        world.append(&[row(7)]).await;
        refresher.leave_unfinished().await.expect("committed");
        drop(refresher);
        world.take_back(1).await;
        for id in 0..then {
            world.append(&[row(10 + id)]).await;
        }
        let mut refresher = world.refresher().await;
        refresher.turn().await.expect("a turn");
        let rows = [0, 1].into_iter().chain(10..10 + then);
        let rows: Vec<String> = rows.map(|id| format!("{id},1,a")).collect();
        assert_eq!(things(&world).await, rows, "{then} then");
    }
}

/// What a rollback brings back was made of more than there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_behind_a_restore_shows_what_bronze_holds() {
    let mut world = World::new(THINGS).await;
    let mut refresher = world.refresher().await;
    for id in 0..4 {
        world.append(&[row(id)]).await;
        published(&mut refresher).await;
    }
    world.write("silver/things.sql", &THINGS.replace("after ->> 't'", "'b'"));
    published(&mut refresher).await;
    drop(refresher);
    world.take_back(2).await;
    world.append(&[row(10)]).await;
    let mut refresher = world.refresher().await;
    published(&mut refresher).await;
    assert_eq!(things(&world).await, ["0,1,b", "1,1,b", "10,1,b"]);
    refresher.rollback().await.expect("rolled back");
    refresher.turn().await.expect("a turn");
    assert_eq!(things(&world).await, ["0,1,a", "1,1,a", "10,1,a"]);
}
