use std::sync::Arc;

use arrow::array::{Array, AsArray};
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

const FILES: [(&str, &str); 3] = [
    ("parameters.sql", LIMITS),
    ("gold/adults.sql", ADULTS),
    ("gold/by_name.sql", BY_NAME),
];

async fn world() -> (World, Reader) {
    world_of(&FILES, "").await
}

/// A world with these files, whose silver.people has these directives too.
async fn world_of(files: &[(&str, &str)], directives: &str) -> (World, Reader) {
    let mut world = World::new().await;
    for (path, text) in files {
        write(&world.sql(path), text);
    }
    let people = world.sql("silver/people.sql");
    let text = std::fs::read_to_string(&people).expect("a file");
    write(&people, &format!("{directives}{text}"));
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
    lines_of(&why.inputs)
}

fn lines_of(inputs: &[Input]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut lines = Vec::new();
    for input in inputs {
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
    assert_eq!(why.rules[0].verdict, Verdict::Holds);
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

const GROWN: &str = "-- @expect grown: age > 10 ON VIOLATION QUARANTINE\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_row_made_of_kept_out_rows_names_them_and_their_messages() {
    let aside = "-- @key id\nSELECT id, rule FROM silver.people__quarantine";
    let small = "-- @key id\n-- @expect large: age > 20 ON VIOLATION QUARANTINE
        SELECT id, age FROM silver.people";
    let below = "-- @key id\nSELECT id, reason FROM gold.large__quarantine";
    let files = [
        ("gold/aside.sql", aside),
        ("gold/large.sql", small),
        ("gold/below.sql", below),
    ];
    let (_world, reader) = world_of(&files, GROWN).await;
    let of_fold = why(&reader, "gold.aside", &["2"]).await.expect("an answer");
    let lines = rested_on(&of_fold);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let expected = "silver.people__quarantine: 2 Bob 7 grown age > 10 is not true 0 1 ";
    assert!(lines[0].starts_with(expected), "{lines:?}");
    let messages = of_fold.inputs[0].messages.as_ref().expect("messages");
    assert_eq!(messages.num_rows(), 1);

    let of_whole = why(&reader, "gold.below", &["3"]).await.expect("an answer");
    assert_eq!(
        rested_on(&of_whole),
        [
            "gold.large__quarantine: 3 13 large age > 20 is not true NULL NULL NULL",
            "silver.people: 3 Anne 13",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_not_there_names_the_rule_that_keeps_it_out() {
    let large = "-- @key id\n-- @expect large: age > 20 ON VIOLATION QUARANTINE
        SELECT id, age FROM silver.people";
    let report = "-- @key id\nSELECT id, age + 1 AS next FROM gold.large";
    let shares = "-- @key id\nSELECT id FROM gold.large WHERE 100 / (age - 13) < 200";
    let files = [
        FILES[0],
        FILES[1],
        ("gold/large.sql", large),
        ("gold/report.sql", report),
        ("gold/shares.sql", shares),
    ];
    let (world, reader) = world_of(&files, GROWN).await;
    let adult = why(&reader, "gold.adults", &["2"])
        .await
        .expect("an answer");
    assert!(adult.row.is_none() && adult.inputs.is_empty());
    assert_eq!(adult.rules[0].verdict, Verdict::NoRow);
    let lines = lines_of(&adult.kept_out);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let expected = "silver.people: 2 Bob 7 grown age > 10 is not true 0 1 ";
    assert!(lines[0].starts_with(expected), "{lines:?}");

    for table in ["gold.large", "gold.report"] {
        let why = why(&reader, table, &["3"]).await.expect("an answer");
        assert_eq!(
            lines_of(&why.kept_out),
            ["gold.large: 3 13 large age > 20 is not true NULL NULL NULL"],
            "{table}"
        );
    }
    let not_computable = why(&reader, "gold.shares", &["3"]).await;
    let kind = not_computable.expect_err("it divides by zero").kind();
    assert_eq!(kind, ErrorKind::NotFound);
    let unknown = why(&reader, "gold.adults", &["99"]).await;
    assert_eq!(unknown.expect_err("unknown").kind(), ErrorKind::NotFound);
    let seen = why(&reader, "gold.adults", &["1"])
        .await
        .expect("an answer");
    assert!(seen.kept_out.is_empty());

    let dropping = GROWN.replace("QUARANTINE", "DROP");
    let people = world.sql("silver/people.sql");
    let text = std::fs::read_to_string(&people).expect("a file");
    write(&people, &text.replace(GROWN, &dropping));
    let refreshed = world.refresher().await.turn().await;
    refreshed.expect("an epoch");
    let adult = why(&reader, "gold.adults", &["2"])
        .await
        .expect("an answer");
    assert_eq!(adult.kept_out[0].table.to_string(), "silver.people");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_gives_no_answer_on_a_row_is_not_one_about_the_table() {
    let rules = "-- @expect odd: 100 / (age - 30) < 0 ON VIOLATION WARN
-- @expect some: count(*) > 0 ON VIOLATION WARN\n";
    let (_world, reader) = world_of(&[], rules).await;
    let why = why(&reader, "silver.people", &["1"])
        .await
        .expect("an answer");
    let verdicts: Vec<Verdict> = why.rules.iter().map(|rule| rule.verdict).collect();
    assert_eq!(verdicts, [Verdict::NotComputable, Verdict::WholeTable]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_never_made_says_why_not() {
    let broken = "-- Numbers.\n-- @key id\nSELECT id, CAST(name AS BIGINT) AS n FROM silver.people";
    let below = "-- @key id\nSELECT id, n + 1 AS n FROM gold.broken";
    let files = [("gold/broken.sql", broken), ("gold/beneath.sql", below)];
    let (_world, reader) = world_of(&files, "").await;
    let newest = reader.latest().await.expect("an epoch");
    for (table, reason, made_from) in [
        ("gold.broken", "Cannot cast", "silver.people"),
        ("gold.beneath", "gold.broken, which is held", "gold.broken"),
    ] {
        let name = table.parse().expect("a name");
        let explained = reader.explain(&newest, &name).await.expect("explained");
        assert!(explained.is_unbuilt && explained.past.is_empty());
        let told = explained.state.reason.unwrap_or_default();
        assert!(told.contains(reason), "{told}");
        let inputs: Vec<String> = explained.inputs.keys().map(ToString::to_string).collect();
        assert_eq!(inputs, [made_from]);

        let why = why(&reader, table, &["1"]).await.expect("an answer");
        assert!(why.is_unbuilt && why.row.is_none());
        assert_eq!(why.held, Some(told));
        assert_eq!(why.formulas.len(), 1);
        let mistaken = super::tests::why(&reader, table, &["one"]).await;
        let kind = mistaken.expect_err("no key").kind();
        assert_eq!(kind, ErrorKind::InvalidRequest);
    }
}

/// A table that is held rests on the rows, and their messages, that it was made from.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_a_held_table_rests_on_what_it_was_made_from() {
    let strict = "-- @key id\n-- @expect old: min(age) > 5 ON VIOLATION FAIL
        SELECT id, age, adult FROM gold.between";
    let between = "-- @key id\nSELECT p.id, p.age, p.age >= l.majority AS adult
        FROM silver.people p CROSS JOIN parameters l";
    let files = [
        ("parameters.sql", LIMITS),
        ("gold/between.sql", between),
        ("gold/strict.sql", strict),
    ];
    let (mut world, reader) = world_of(&files, "").await;
    let mut refresher = world.refresher().await;
    for (lsn, row) in [
        (5, r#"{"id":2,"name":"Bob","age":3}"#),
        (6, r#"{"id":1,"name":"Anne","age":31}"#),
        (7, r#"{"id":1,"name":"Anne","age":32}"#),
    ] {
        world.events(&[(lsn, "u", row)]).await;
        refresher.turn().await.expect("an epoch");
    }
    let why = why(&reader, "gold.strict", &["1"])
        .await
        .expect("an answer");
    assert!(why.held.is_some());
    assert_eq!(
        rested_on(&why),
        [
            "gold.between: 1 30 true",
            "parameters: 18",
            "silver.people: 1 Anne 30"
        ]
    );
    let people = why.inputs.iter().find(|input| input.messages.is_some());
    let messages = people.and_then(|people| people.messages.clone());
    let offsets = messages
        .expect("messages")
        .column_by_name("offset")
        .cloned();
    let offsets = offsets.expect("a column");
    let offsets = offsets.as_primitive::<arrow::datatypes::Int64Type>();
    assert_eq!(offsets.values(), &[0], "the message of then");
    assert!(why.inputs.iter().all(|input| !input.is_end));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_with_a_rank_rests_on_its_own_rows() {
    let ranks = "-- @key id\nSELECT id, name, row_number() OVER (ORDER BY age DESC) AS rang
        FROM silver.people";
    let (_world, reader) = world_of(&[("gold/ranks.sql", ranks)], GROWN).await;
    let first = why(&reader, "gold.ranks", &["1"]).await.expect("an answer");
    assert_eq!(rested_on(&first), ["silver.people: 1 Anne 30"]);
    assert!(first.kept_out.is_empty());
    let bob = why(&reader, "gold.ranks", &["2"]).await.expect("an answer");
    assert!(bob.row.is_none() && bob.inputs.is_empty());
    assert_eq!(bob.kept_out.len(), 1);
    let unknown = why(&reader, "gold.ranks", &["99"]).await;
    assert_eq!(unknown.expect_err("unknown").kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_there_names_what_rules_keep_from_it() {
    let counts = "-- @key name\nSELECT name, count(*) AS n FROM silver.people GROUP BY name";
    let grown = GROWN.replace("age > 10", "age > 20");
    let (_world, reader) = world_of(&[("gold/counts.sql", counts)], &grown).await;
    let anne = why(&reader, "gold.counts", &["Anne"])
        .await
        .expect("an answer");
    assert_eq!(rested_on(&anne), ["silver.people: 1 Anne 30"]);
    let lines = lines_of(&anne.kept_out);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let expected = "silver.people: 3 Anne 13 grown age > 20 is not true 0 3 ";
    assert!(lines[0].starts_with(expected), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folded_row_names_older_messages_and_what_it_looks_up() {
    let (mut world, reader) = world_of(&[("parameters.sql", LIMITS)], "").await;
    let people = world.sql("silver/people.sql");
    let text = std::fs::read_to_string(&people).expect("a file");
    let looking = text.replace(
        "FROM bronze",
        ", (SELECT majority FROM parameters) AS majority FROM bronze",
    );
    write(&people, &looking);
    let partly = r#"{"id":2,"name":"__debezium_unavailable_value","age":8}"#;
    world.events(&[(9, "u", partly)]).await;
    world.refresher().await.turn().await.expect("an epoch");
    let bob = why(&reader, "silver.people", &["2"])
        .await
        .expect("an answer");
    assert_eq!(rested_on(&bob), ["parameters: 18"]);
    let messages = bob.messages.expect("messages");
    let column = |name: &str| messages.column_by_name(name).expect("a column").clone();
    let offsets = column("offset");
    let offsets = offsets.as_primitive::<arrow::datatypes::Int64Type>();
    assert_eq!(offsets.values(), &[4, 1], "the last, and the one before");
    let (fields, ops) = (column("fields"), column("op"));
    let (fields, ops) = (fields.as_string::<i32>(), ops.as_string::<i32>());
    assert!(fields.is_null(0) && fields.value(1) == "name");
    assert_eq!((ops.value(0), ops.value(1)), ("u", "c"));
    let name = "silver.people".parse().expect("a name");
    let newest = reader.latest().await.expect("an epoch");
    let explained = reader.explain(&newest, &name).await.expect("explained");
    assert_eq!(explained.technique, crate::explain::Technique::FoldBeside);
}
