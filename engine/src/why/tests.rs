use std::sync::Arc;

use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::*;
use crate::error::ErrorKind;
use crate::reader::ReaderConfig;
use crate::refresh::tests::{World, write};
use crate::session::SourceConfig;

const LIMITS: &str = "SELECT 18 AS majority";

const ADULTS: &str = "-- @key id
-- @expect known: name IS NOT NULL ON VIOLATION WARN
WITH ages AS (
    SELECT p.id, coalesce(p.age, 0) AS years FROM silver.people p
),
namesakes AS (
    SELECT n.name, count(*) AS n FROM silver.people n GROUP BY n.name
)
SELECT p.id, p.name, a.years >= l.majority AS adult, coalesce(s.n, 0) AS namesakes
FROM silver.people p
CROSS JOIN parameters l
JOIN ages a ON a.id = p.id
LEFT JOIN namesakes s ON s.name = p.name
WHERE EXISTS (SELECT 1 FROM silver.people x WHERE x.id = p.id)";

const BY_NAME: &str = "-- @key name
SELECT name, count(*) AS people, bool_or(adult) AS adult FROM gold.adults GROUP BY name";

const PEOPLE: [(i64, &str, &str); 4] = [
    (1, "c", r#"{"id":1,"name":"Anne","age":30}"#),
    (2, "c", r#"{"id":2,"name":"Bob","age":7}"#),
    (3, "c", r#"{"id":3,"name":"Anne","age":12}"#),
    (4, "u", r#"{"id":3,"name":"Anne","age":13}"#),
];

async fn world() -> (World, Reader) {
    let mut world = World::new().await;
    for (path, text) in [
        ("parameters.sql", LIMITS),
        ("gold/adults.sql", ADULTS),
        ("gold/by_name.sql", BY_NAME),
    ] {
        write(&world.sql(path), text);
    }
    world.events(&PEOPLE).await;
    world.refresher().await.turn().await.expect("an epoch");
    let reader = Reader::new(
        world.lake.clone(),
        &ReaderConfig::default(),
        &SourceConfig::default(),
    );
    (world, reader.expect("a reader"))
}

async fn why(reader: &Reader, table: &str, key: &[&str]) -> Result<Why> {
    let newest: Arc<Manifest> = reader.latest().await?;
    let key: Vec<String> = key.iter().map(|value| (*value).to_owned()).collect();
    reader.why(&newest, &table.parse()?, &key).await
}

/// `table: column=value ...` for each row, in no order of its own.
fn rested_on(why: &Why) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut lines = Vec::new();
    for input in &why.inputs {
        for row in 0..input.rows.num_rows() {
            let cells: Vec<String> = input
                .rows
                .columns()
                .iter()
                .map(|column| {
                    let cells = ArrayFormatter::try_new(column, &options).expect("printable");
                    cells.value(row).to_string()
                })
                .collect();
            lines.push(format!("{}: {}", input.table, cells.join(" ")));
        }
    }
    lines.sort();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_names_the_rows_and_parameters_it_rests_on() {
    let (_world, reader) = world().await;
    let why = why(&reader, "gold.adults", &["2"])
        .await
        .expect("an answer");
    assert_eq!(
        rested_on(&why),
        ["parameters: 18", "silver.people: 2 Bob 7"],
        "neither the namesakes of others nor their rows"
    );
    let adult = why
        .formulas
        .iter()
        .find(|formula| formula.column == "adult");
    let adult = adult.expect("a formula");
    assert_eq!(adult.expression, "a.years >= l.majority");
    let parts: Vec<_> = adult
        .parts
        .iter()
        .map(|part| {
            (
                part.column.as_str(),
                part.value.as_deref(),
                part.expression.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        parts,
        [
            ("a.years", Some("7"), Some("coalesce(p.age, 0)")),
            ("l.majority", Some("18"), None)
        ]
    );
    assert_eq!(why.rules[0].holds, Some(true));
    assert_eq!(why.row.expect("a row").num_rows(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_names_its_rows_through_every_table_between() {
    let (_world, reader) = world().await;
    let why = why(&reader, "gold.by_name", &["Anne"])
        .await
        .expect("an answer");
    assert_eq!(
        rested_on(&why),
        [
            "gold.adults: 1 Anne true 2",
            "gold.adults: 3 Anne false 2",
            "parameters: 18",
            "silver.people: 1 Anne 30",
            "silver.people: 3 Anne 13",
        ]
    );
    let tables: Vec<String> = why
        .inputs
        .iter()
        .map(|input| input.table.to_string())
        .collect();
    assert_eq!(tables[0], "gold.adults", "nearest first");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_unknown_or_does_not_fit_is_refused() {
    let (_world, reader) = world().await;
    let unknown = why(&reader, "gold.adults", &["99"]).await;
    assert_eq!(unknown.expect_err("unknown").kind(), ErrorKind::NotFound);
    for key in [&[][..], &["1", "2"], &["one"]] {
        let refused = why(&reader, "gold.adults", key).await.expect_err("no key");
        assert_eq!(refused.kind(), ErrorKind::InvalidRequest, "{refused}");
    }
    let nowhere = why(&reader, "gold.nowhere", &["1"]).await;
    assert_eq!(nowhere.expect_err("no table").kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_says_how_it_is_refreshed_and_what_that_took() {
    let (mut world, reader) = world().await;
    world
        .events(&[(9, "u", r#"{"id":1,"name":"Anna","age":31}"#)])
        .await;
    let refreshed = world.refresher().await.turn().await;
    refreshed.expect("an epoch");
    let newest = reader.latest().await.expect("an epoch");
    let name = "silver.people".parse().expect("a name");
    let people = reader.explain(&newest, &name).await.expect("explained");
    assert_eq!(people.technique, crate::explain::Technique::Fold);
    let epochs: Vec<u64> = people.past.iter().map(|past| past.epoch).collect();
    assert_eq!(epochs, [2, 1], "newest first");
    let work = people.past[0].work.as_ref().expect("known");
    assert!(work.rows >= 1 && work.bytes > 0, "{work:?}");
}
