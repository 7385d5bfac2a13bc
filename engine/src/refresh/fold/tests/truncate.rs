use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_truncate_empties_the_table_of_what_sorts_before_it() {
    let mut world = World::new(THINGS).await;
    let mut refresher = world.refresher().await;
    let row = |id: i64| format!(r#"{{"id":{id},"n":1,"t":"x"}}"#);
    world
        .append(&[event(1, "c", &row(1)), event(9, "c", &row(2))])
        .await;
    published(&mut refresher).await;
    world.append(&[event(5, "t", "")]).await;
    let manifest = published(&mut refresher).await;
    assert_eq!(things(&world).await, ["2,1,x"]);
    let state = &manifest.tables[&"silver.things".parse().expect("a name")];
    let emptied = state.fold.as_ref().and_then(|fold| fold.emptied.clone());
    assert_eq!(emptied.expect("a place")[1], Some(5));

    drop(refresher);
    let mut refresher = world.refresher().await;
    world
        .append(&[event(4, "c", &row(3)), event(6, "c", &row(4))])
        .await;
    published(&mut refresher).await;
    assert_eq!(
        things(&world).await,
        ["2,1,x", "4,1,x"],
        "an older event loses to it for good"
    );

    world
        .append(&[
            event(20, "c", &row(5)),
            event(21, "t", ""),
            event(22, "c", &row(1)),
        ])
        .await;
    published(&mut refresher).await;
    assert_eq!(things(&world).await, ["1,1,x"]);
}
