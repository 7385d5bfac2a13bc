use insta::assert_snapshot;

use super::*;

const PEOPLE: &str = "-- @key id
-- @cdc sequence by generation, source_lsn, _offset; delete when op = 'd'
SELECT CAST(after ->> 'id' AS BIGINT) AS id, after ->> 'name' AS name, CAST(after ->> 'age' AS BIGINT) AS age
FROM bronze.people";

const TOTALS: &str = "-- @trigger on change, at most every 1h
-- @expect sane: oldest < 150 ON VIOLATION FAIL
SELECT count(*) AS people, coalesce(max(age), 0) AS oldest, CAST(avg(age) AS DOUBLE) AS mean, now() AS at
FROM silver.people";

const LOCK: &str = r#"format = 1
[bronze.people]
topic = "t.public.people"
key = ["id"]
[bronze.people.fields]
id = "int64"
name = "string"
age = "int64"
"#;

/// A project of two tables with one test of `gold.totals`.
async fn run_test(test: &str) -> Report {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, text) in [
        ("silver/people.sql", PEOPLE),
        ("gold/totals.sql", TOTALS),
        ("sources.lock", LOCK),
        ("tests/gold/totals.sql", test),
    ] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        std::fs::write(path, text).expect("written");
    }
    let source = SourceConfig::default();
    run(folder.path(), &source, None, |_, _| {})
        .await
        .expect("a report")
}

#[track_caller]
fn passes(report: &Report) {
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    let failures: Vec<String> = report.cases.iter().map(ToString::to_string).collect();
    assert!(report.is_good(), "{problems:?} {failures:?}");
    assert!(!report.cases.is_empty());
}

fn failure(report: &Report) -> String {
    let text = report.cases[0].to_string();
    let (_, after_path) = text.split_once("totals.sql:").unwrap_or(("", &text));
    after_path.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_take_the_real_path() {
    let report = run_test(
        "\
-- @case From events, with a rule that holds the table until it is cured
-- @now 2026-03-29 01:30
-- @given bronze.people
SELECT concat('{\"id\":', n, ',\"age\":', n * 10, '}') AS after FROM generate_series(1, 4) AS t (n);
-- @expected
SELECT 4 AS people, 40 AS oldest, 25.0 AS mean, now() AS at;
-- @now +1m
-- @change bronze.people
SELECT * FROM (VALUES ('u', NULL, '{\"id\":1,\"age\":400}'), ('d', '{\"id\":2}', NULL)) AS t (op, before, after);
-- @expected held sane
-- @expected
SELECT 4 AS people, TIMESTAMP '2026-03-29 01:30:00' AS at;
-- @change bronze.people
SELECT '{\"id\":1,\"age\":11}' AS after;
-- @expected
SELECT 3 AS people, 40 AS oldest, TIMESTAMP '2026-03-29 01:31:00' AS at;

-- @case From rows of the table it reads
-- @given silver.people
SELECT * FROM (VALUES (1, 30), (2, 50)) AS t (id, age);
-- @expected
SELECT 2 AS people, 50 AS oldest;
-- @change silver.people
SELECT 1 AS id, 60 AS age;
-- @change silver.people delete
SELECT 2 AS id;
-- @expected
SELECT 1 AS people, 60 AS oldest;
-- @expected warned sane 0

-- @case From nothing
-- @expected
SELECT 0 AS people, NULL AS mean;
",
    )
    .await;
    passes(&report);
    assert_eq!(report.cases.len(), 3);
    assert_eq!(report.untested, ["silver.people"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_told_with_its_place() {
    let differs = run_test(
        "-- @given silver.people\nSELECT 1 AS id, 30 AS age;\n\n-- @expected\nSELECT 1 AS people, 31 AS oldest, 30.00000000001 AS mean;",
    );
    assert_snapshot!(failure(&differs.await), @r"
    4: gold.totals is not as expected
                people   oldest   mean
      expected  1       [31]      30.00000000001
      found     1       [30]      30.0
    ");
    let held = run_test(
        "-- @given silver.people\nSELECT 1 AS id, 300 AS age;\n-- @expected\nSELECT 1 AS people;",
    );
    assert_snapshot!(failure(&held.await), @r#"
    3: gold.totals is held: rule "sane" is broken by 1 of 1 rows
    hint: Put `-- @expected held` above where that is meant.
    "#);
    let not_held = run_test("-- @expected held sane");
    assert_snapshot!(failure(&not_held.await), @"1: gold.totals is not held");
    let backwards =
        run_test("-- @now 2026-01-02 00:00\n-- @now 2026-01-01 00:00\n-- @expected no rows");
    assert_snapshot!(failure(&backwards.await), @"2: the clock stands at 2026-01-02T00:00:00+00:00 and only goes on");
    let twice = run_test(
        "-- @given silver.people\nSELECT * FROM (VALUES (1), (1)) AS t (id);\n-- @expected no rows",
    );
    assert_snapshot!(failure(&twice.await), @"1: two rows of silver.people have the key 1");
    let too_many = run_test(
        "-- @given silver.people\nSELECT n AS id FROM generate_series(1, 1000000) AS t (n);\n-- @expected no rows",
    );
    assert_snapshot!(failure(&too_many.await), @"1: a step has at most 10000 rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_of_a_file_is_told_at_once() {
    let report = run_test(
        "\
-- @case one
-- @case one
-- @given silver.people
-- @expected held saen
-- @now yesterday
-- @expected
SELECT 1 AS people -- @case two
;
SELECT 2;
-- @change silver.people remove
SELECT 1;
",
    )
    .await;
    let told: Vec<String> = report
        .problems
        .iter()
        .map(|problem| format!("{}:{} {}", problem.line, problem.column, problem.message))
        .collect();
    assert_snapshot!(told.join("\n"), @r#"
    2:10 two cases are named "one"
    3:4 the directive has no SELECT below it
    5:9 "yesterday" is no time
    7:23 a directive stands within a statement
    9:1 a SELECT stands below no directive
    10:26 expected the end of the line, found "remove"
    "#);
}
