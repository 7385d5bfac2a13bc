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
