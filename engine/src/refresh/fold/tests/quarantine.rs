use super::*;
use crate::epoch::Freshness;

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_break_a_rule_are_kept_aside_until_they_are_cured() {
    let mut world = World::new(THINGS).await;
    world.write(
        "gold/aside.sql",
        "SELECT rule, count(*) AS n FROM silver.things__quarantine GROUP BY rule",
    );
    let mut refresher = world.refresher().await;
    world
        .append(&[
            event(1, "c", r#"{"id":1,"n":1,"t":"good"}"#),
            event(2, "c", r#"{"id":2,"n":200,"t":"large"}"#),
            event(3, "c", r#"{"id":3,"n":-1,"t":"dropped"}"#),
            event(4, "c", r#"{"id":4,"n":"x","t":"no number"}"#),
            event(5, "c", r#"{"n":5,"t":"nobody"}"#),
        ])
        .await;
    let manifest = published(&mut refresher).await;
    assert_eq!(things(&world).await, ["1,1,good"]);
    let kept = ["2,200,small,1", "4,-,evaluation,3", "-,5,without_key,4"];
    assert_eq!(aside(&world).await, kept);
    let gold = world
        .rows("SELECT rule, n FROM gold.aside ORDER BY rule")
        .await;
    assert_eq!(gold, ["evaluation,1", "small,1", "without_key,1"]);
    let state = &manifest.tables[&"silver.things".parse().expect("a name")];
    assert_eq!(state.rows, Some(1));
    assert_eq!(state.warnings["evaluation"], 1);

    world
        .append(&[
            event(6, "u", r#"{"id":2,"n":20,"t":"cured"}"#),
            event(7, "d", r#"{"id":4,"n":0,"t":null}"#),
            event(8, "u", r#"{"id":1,"n":1000,"t":"bad"}"#),
            event(1, "u", r#"{"id":3,"n":9,"t":"late"}"#),
        ])
        .await;
    published(&mut refresher).await;
    assert_eq!(
        things(&world).await,
        ["2,20,cured"],
        "a late event loses to a row kept out"
    );
    assert_eq!(aside(&world).await, ["-,5,without_key,4", "1,1000,small,7"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_rule_judges_the_stored_rows_again() {
    let mut world = World::new(THINGS).await;
    let mut refresher = world.refresher().await;
    world
        .append(&[
            event(1, "c", r#"{"id":1,"n":1,"t":"a"}"#),
            event(2, "c", r#"{"id":2,"n":200,"t":"b"}"#),
            event(3, "c", r#"{"id":3,"n":-1,"t":"c"}"#),
            event(4, "c", r#"{"id":4,"n":"x","t":"d"}"#),
        ])
        .await;
    let first = published(&mut refresher).await;
    world.write(
        "silver/things.sql",
        &THINGS
            .replace("n < 100", "n > 1 AND n < 1000")
            .replace("n > 0", "TRUE"),
    );
    let second = published(&mut refresher).await;
    assert_eq!(things(&world).await, ["2,200,b"]);
    assert_eq!(
        aside(&world).await,
        ["1,1,small,0", "3,-1,small,2", "4,-,evaluation,3"]
    );
    let name = "silver.things".parse().expect("a name");
    assert_eq!(first.tables[&name].inputs, second.tables[&name].inputs);

    world.write(
        "silver/things.sql",
        &THINGS.replace("CAST(after ->> 'n' AS BIGINT)", "7"),
    );
    published(&mut refresher).await;
    assert_eq!(
        things(&world).await,
        ["1,7,a", "2,7,b", "3,7,c", "4,7,d"],
        "a changed query cures what it could not compute"
    );
    assert!(aside(&world).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_a_changed_rule_keeps_out_again_says_so_in_its_words() {
    let mut world = World::new(THINGS).await;
    let mut refresher = world.refresher().await;
    world
        .append(&[event(1, "c", r#"{"id":1,"n":200,"t":"large"}"#)])
        .await;
    published(&mut refresher).await;
    let reasons = "SELECT rule, reason FROM silver.things__quarantine";
    assert_eq!(world.rows(reasons).await, ["small,n < 100 is not true"]);
    world.write("silver/things.sql", &THINGS.replace("n < 100", "n < 150"));
    published(&mut refresher).await;
    assert_eq!(world.rows(reasons).await, ["small,n < 150 is not true"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_cannot_be_computed_quarantines_its_row() {
    let rule = THINGS.replace("n < 100", "100 / n > 1");
    let mut world = World::new(&rule).await;
    let mut refresher = world.refresher().await;
    let rows = [
        event(1, "c", r#"{"id":1,"n":2,"t":"a"}"#),
        event(2, "c", r#"{"id":2,"n":0,"t":"b"}"#),
    ];
    world.append(&rows).await;
    published(&mut refresher).await;
    assert_eq!(things(&world).await, ["1,2,a"]);
    assert_eq!(aside(&world).await, ["2,0,evaluation,1"]);
    world.write("silver/things.sql", &THINGS.replace("n > 0", "TRUE"));
    published(&mut refresher).await;
    assert_eq!(things(&world).await, ["1,2,a", "2,0,b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_bad_rows_do_not_stop_the_good_ones() {
    let mut world = World::new(THINGS).await;
    let mut refresher = world.refresher().await;
    let row = |id: i64| match id % 3 {
        0 => format!(r#"{{"id":{id},"n":"x{id}","t":"bad"}}"#),
        _ => format!(r#"{{"id":{id},"n":1,"t":"good"}}"#),
    };
    let messages: Vec<Message> = (0..3_000).map(|id| event(id, "c", &row(id))).collect();
    world.append(&messages).await;
    published(&mut refresher).await;
    assert_eq!(things(&world).await.len(), 2_000);
    assert_eq!(aside(&world).await.len(), 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_cannot_be_computed_take_nothing_from_the_others() {
    let things = "-- @key id
-- @cdc sequence by generation, source_lsn, _offset; delete when op = 'd'
SELECT CAST(after ->> 'id' AS BIGINT) AS id, CAST(after ->> 'n' AS INT) AS n, CAST(after ->> 'd' AS DATE) AS d
FROM bronze.things WHERE CAST(after ->> 'w' AS INT) > 0";
    let row = |id: i64| {
        let n = if id % 7 == 0 { "3000000000" } else { "1" };
        let d = if id % 11 == 0 { "no day" } else { "2026-11-29" };
        let w = match id % 13 {
            0 => "\"x\"",
            1 => "0",
            _ => "1",
        };
        event(
            1 + id,
            "c",
            &format!(r#"{{"id":{id},"n":"{n}","d":"{d}","w":{w}}}"#),
        )
    };
    let found = async |turns: &[&[Message]]| {
        let mut world = World::new(things).await;
        let mut refresher = world.refresher().await;
        for messages in turns {
            world.append(messages).await;
            published(&mut refresher).await;
        }
        let good = world.rows("SELECT id FROM silver.things ORDER BY id");
        let aside = "SELECT id, rule, reason FROM silver.things__quarantine ORDER BY _offset";
        (good.await, world.rows(aside).await)
    };
    let messages: Vec<Message> = (0..400).map(row).collect();
    let (good, aside) = found(&[&messages]).await;
    let is_good = |id: &i64| id % 7 != 0 && id % 11 != 0 && id % 13 > 1;
    let expected: Vec<String> = (0..400).filter(is_good).map(|id| id.to_string()).collect();
    assert_eq!(good, expected);
    let ids: Vec<&str> = aside
        .iter()
        .filter_map(|row| row.split(',').next())
        .collect();
    // What WHERE leaves out is gone, whatever else is wrong with it.
    let is_aside = |id: &i64| !is_good(id) && id % 13 != 1;
    let expected: Vec<String> = (0..400).filter(is_aside).map(|id| id.to_string()).collect();
    assert_eq!(ids, expected);
    let few: Vec<Message> = (0..30).map(row).collect();
    let turns: Vec<&[Message]> = few.chunks(1).collect();
    let (_, alone) = found(&turns).await;
    assert_eq!(alone, aside[..alone.len()], "one by one");
}

/// What changes no row costs no look at any.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_reads_nothing_of_the_table() {
    let mut world = World::new(THINGS).await;
    let mut refresher = world.refresher().await;
    world
        .append(&[event(1, "c", r#"{"id":1,"n":1,"t":"a"}"#)])
        .await;
    let first = published(&mut refresher).await;
    let name = "silver.things".parse().expect("a name");
    let table = &first.tables[&name];
    let files = refresher.snapshots.files(&table.path, table.version).await;
    for file in files.expect("files").iter() {
        let path = world.lake.root().join(&table.path).join(&file.path);
        std::fs::write(path, "unreadable").expect("written");
    }
    let letter = Message {
        value: Some("no JSON".to_owned()),
        op: String::new(),
        error: Some("not JSON".to_owned()),
        ..event(2, "c", "{}")
    };
    world.append(&[letter]).await;
    let second = published(&mut refresher).await;
    assert_eq!(second.tables[&name].state, Freshness::Fresh);
    assert_eq!(second.tables[&name].version, table.version);
}

/// A topic that was made again counts its offsets from 0 again.
#[tokio::test(flavor = "multi_thread")]
async fn messages_of_nobody_with_the_same_coordinates_are_two() {
    for is_together in [false, true] {
        let mut world = World::new(THINGS).await;
        let mut refresher = world.refresher().await;
        world.append(&[event(1, "c", r#"{"n":1}"#)]).await;
        if !is_together {
            published(&mut refresher).await;
        }
        world.move_to_another_cluster();
        let next = Message {
            generation: 1,
            ..event(1, "c", r#"{"n":2}"#)
        };
        world.append(&[next]).await;
        published(&mut refresher).await;
        let aside = "SELECT n, rule FROM silver.things__quarantine ORDER BY n";
        assert_eq!(world.rows(aside).await, ["1,without_key", "2,without_key"]);
    }
}

/// A reader's condition may not be computable for a row that a rule keeps out, be that row alone in its file.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_kept_out_breaks_no_reader() {
    let rule = "-- @expect number: t ~ '^[0-9]+$' ON VIOLATION QUARANTINE\n\
        -- @expect short: CAST(t AS BIGINT) < 90 ON VIOLATION WARN\n";
    let mut world = World::new(&format!("{rule}{THINGS}")).await;
    let large = "-- @key id\nSELECT id FROM silver.things WHERE CAST(t AS BIGINT) > 5";
    world.write("gold/large.sql", large);
    let shares = "-- @key id\nSELECT id FROM silver.things WHERE 100 / n > 1";
    world.write("gold/shares.sql", shares);
    let mut refresher = world.refresher().await;
    for (id, n, t) in [(1, 1, "7"), (2, 1, "x"), (3, 0, "8"), (4, 2, "95")] {
        let row = format!(r#"{{"id":{id},"n":{n},"t":"{t}"}}"#);
        world.append(&[event(id, "c", &row)]).await;
        let manifest = published(&mut refresher).await;
        for table in ["gold.large", "gold.shares"] {
            let state = &manifest.tables[&table.parse().expect("a name")];
            assert_eq!(state.state, Freshness::Fresh, "{id}: {:?}", state.reason);
        }
    }
    for table in ["large", "shares"] {
        let rows = format!("SELECT id FROM gold.{table} ORDER BY id");
        assert_eq!(world.rows(&rows).await, ["1", "4"], "{table}");
    }
    let told = world.validated("silver.things").await;
    assert_eq!(
        told["short"],
        ("warned".to_owned(), Some(1), vec!["4".to_owned()])
    );
}

/// A row on which a rule cannot be evaluated breaks it, and so it is told.
#[tokio::test(flavor = "multi_thread")]
async fn validate_says_what_a_refresh_says_of_rules_that_cannot_be_evaluated() {
    let rule = "-- @expect pace: 100 / n < 60 ON VIOLATION WARN\n";
    let things = THINGS.replace("-- @expect positive: n > 0 ON VIOLATION DROP\n", rule);
    let mut world = World::new(&things).await;
    let mut refresher = world.refresher().await;
    let row = |id: i64, n: i64| event(id, "c", &format!(r#"{{"id":{id},"n":{n},"t":"a"}}"#));
    let rows: Vec<Message> = [(1, 2), (2, 0), (3, 1), (4, 50)]
        .map(|(id, n)| row(id, n))
        .into();
    world.append(&rows).await;
    let manifest = published(&mut refresher).await;
    let state = &manifest.tables[&"silver.things".parse().expect("a name")];
    assert_eq!(state.rules["pace"].violations, 2);
    let told = world.validated("silver.things").await;
    let keys = ["2", "3"].map(str::to_owned).to_vec();
    assert_eq!(told["pace"], ("warned".to_owned(), Some(2), keys));
}
