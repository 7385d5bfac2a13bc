use super::*;

fn row(n: i64, t: &str) -> String {
    format!(r#"{{"id":1,"n":{n},"t":"{t}"}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_was_left_out_is_the_one_before() {
    let mut world = World::new(THINGS).await;
    let mut refresher = world.refresher().await;
    world.append(&[event(9, "u", &row(9, UNKNOWN))]).await;
    published(&mut refresher).await;
    assert_eq!(things(&world).await, ["1,9,-"], "nothing before it");

    world.append(&[event(3, "c", &row(3, "first"))]).await;
    published(&mut refresher).await;
    assert_eq!(things(&world).await, ["1,9,first"], "a late event gives it");

    world
        .append(&[
            event(5, "u", &row(5, "second")),
            event(4, "u", &row(4, "x")),
        ])
        .await;
    published(&mut refresher).await;
    assert_eq!(things(&world).await, ["1,9,second"]);

    world.append(&[event(12, "u", &row(12, UNKNOWN))]).await;
    published(&mut refresher).await;
    assert_eq!(
        things(&world).await,
        ["1,12,second"],
        "over two that left it out"
    );

    world.append(&[event(10, "u", &row(10, "third"))]).await;
    published(&mut refresher).await;
    assert_eq!(things(&world).await, ["1,12,third"], "between the two");

    world.append(&[event(11, "d", &row(0, "gone"))]).await;
    published(&mut refresher).await;
    assert_eq!(
        things(&world).await,
        ["1,12,-"],
        "a delete leaves nothing to keep"
    );

    world.append(&[event(13, "u", &row(13, "whole"))]).await;
    published(&mut refresher).await;
    assert_eq!(things(&world).await, ["1,13,whole"]);
    world
        .append(&[event(14, "t", ""), event(15, "u", &row(15, UNKNOWN))])
        .await;
    published(&mut refresher).await;
    assert_eq!(
        things(&world).await,
        ["1,15,-"],
        "a truncate leaves nothing to keep"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_batch_and_many_give_the_same() {
    let messages = [
        event(3, "u", &row(3, UNKNOWN)),
        event(1, "c", &row(1, "a")),
        event(2, "u", &row(2, UNKNOWN)),
        event(1, "c", &row(1, "a")),
    ];
    let mut world = World::new(THINGS).await;
    world.append(&messages).await;
    let mut refresher = world.refresher().await;
    published(&mut refresher).await;
    assert_eq!(things(&world).await, ["1,3,a"]);
}

/// The same coordinates on two clusters are two messages.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_was_left_out_is_not_anothers() {
    let of = |id: i64, n: i64, t: &str| format!(r#"{{"id":{id},"n":{n},"t":"{t}"}}"#);
    let of_next = |message: Message| Message {
        generation: 1,
        ..message
    };
    let before = [
        event(1, "c", &of(6, 1, "six")),
        event(2, "u", &of(6, 2, "six again")),
        event(3, "d", &of(5, 3, "five")),
    ];
    let after = [
        of_next(event(1, "c", &of(50, 1, "fifty"))),
        of_next(event(2, "u", &of(50, 2, UNKNOWN))),
        of_next(event(3, "u", &of(50, 3, UNKNOWN))),
    ];
    for is_together in [false, true] {
        let mut world = World::new(THINGS).await;
        let mut refresher = world.refresher().await;
        world.append(&before).await;
        if !is_together {
            published(&mut refresher).await;
        }
        world.move_to_another_cluster();
        world.append(&after).await;
        published(&mut refresher).await;
        assert_eq!(things(&world).await, ["6,2,six again", "50,3,fifty"]);
    }
}
