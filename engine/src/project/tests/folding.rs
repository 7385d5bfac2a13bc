//! `@cdc` queries: what a fold can do right, and what is refused.

use super::*;

const HEADER: &str =
    "-- @key id\n-- @cdc sequence by generation, source_lsn, _offset; delete when op = 'd'\n";

const ID: &str = "CAST(after ->> 'id' AS BIGINT) AS id";

/// Tables that a row may be looked up in: by a key that is folded, by one that a rule holds to, and by none.
const LOOKED_UP: [(&str, &str); 3] = [
    (
        "gold/rates.sql",
        "-- @expect one: unique(bu) ON VIOLATION FAIL\nSELECT bu, count(*) AS n FROM silver.employees GROUP BY bu",
    ),
    (
        "gold/named.sql",
        "-- @key bu\nSELECT bu, count(*) AS n FROM silver.employees GROUP BY bu",
    ),
    (
        "gold/loose.sql",
        "-- @key bu\n-- @expect one: unique(bu) ON VIOLATION WARN\nSELECT bu, count(*) AS n FROM silver.employees GROUP BY bu",
    ),
];

fn of(select: &str) -> String {
    let text = format!("{HEADER}{select}");
    let mut files = LOOKED_UP.to_vec();
    files.push(("silver/x.sql", &text));
    check(&files)
}

#[track_caller]
fn taken(select: &str) {
    assert_eq!(of(select), "", "{select}");
}

/// The message, the place in the third line of the file or below, and that there is a hint.
#[track_caller]
fn refused(select: &str, message: &str, place: &str) {
    let problems = of(select);
    assert!(problems.contains(message), "{select}\n{problems}");
    let place = format!(" --> sql/silver/x.sql:{place}\n");
    assert!(problems.contains(&place), "{select}\n{problems}");
    assert!(problems.contains("\nhint: "), "{select}\n{problems}");
}

#[test]
fn a_row_of_each_event_is_taken() {
    taken(&format!("SELECT {ID} FROM bronze.employees"));
    taken(&format!(
        "SELECT {ID}, CASE trim(after ->> 'bu') WHEN '' THEN NULL ELSE after ->> 'bu' END AS bu\n\
         FROM bronze.employees AS e WHERE (e.after ->> 'bu') IS DISTINCT FROM 'x'"
    ));
    taken(&format!(
        "SELECT {ID}, (SELECT max(n) FROM gold.rates) AS most FROM bronze.employees"
    ));
}

#[test]
fn rows_are_looked_up_by_a_whole_key() {
    for on in [
        "r.bu = after ->> 'bu'",
        "(after ->> 'bu') = r.bu AND r.n > 3",
        "(r.bu = (e.after ->> 'bu'))",
    ] {
        taken(&format!(
            "SELECT {ID}, r.n FROM bronze.employees e LEFT JOIN gold.rates r ON {on}"
        ));
    }
    taken(&format!(
        "SELECT {ID}, o.bu FROM bronze.employees LEFT OUTER JOIN silver.employees AS o \
         ON o.id = CAST(after ->> 'id' AS BIGINT) WHERE o.bu IS NOT NULL"
    ));
}

#[test]
fn clauses_over_several_events_are_refused() {
    let from = "FROM bronze.employees";
    for (select, word, place) in [
        (format!("SELECT DISTINCT {ID} {from}"), "DISTINCT", "3:1"),
        (
            format!("SELECT {ID}\n{from}\nGROUP BY 1"),
            "GROUP BY",
            "5:10",
        ),
        (
            format!("SELECT max(after ->> 'id') AS id\n{from}\nHAVING count(*) > 1"),
            "HAVING",
            "5:8",
        ),
        (
            format!("WITH e AS (SELECT * {from})\nSELECT {ID} FROM e"),
            "WITH",
            "3:1",
        ),
        (
            format!("SELECT {ID}\n{from}\nORDER BY 1"),
            "ORDER BY",
            "5:10",
        ),
        (format!("SELECT {ID}\n{from}\nLIMIT 5"), "LIMIT", "5:7"),
    ] {
        refused(&select, &format!("without {word}"), place);
    }
    refused(
        &format!("SELECT {ID} {from}\nUNION ALL SELECT 1 AS id"),
        "@cdc folds one plain SELECT",
        "3:1",
    );
}

#[test]
fn functions_over_several_events_are_refused() {
    let from = "FROM bronze.employees";
    refused(
        &format!(
            "SELECT {ID},\nlag(after ->> 'bu') OVER (PARTITION BY key ORDER BY _offset) AS bu {from}"
        ),
        "this is a window over several",
        "4:1",
    );
    refused(
        &format!("SELECT\nmax(CAST(after ->> 'id' AS BIGINT)) AS id {from}"),
        "this is an aggregate of several",
        "4:1",
    );
    refused(
        &format!("SELECT {ID},\nunnest(make_array(1, 2)) AS n {from}"),
        "this is several rows of one",
        "4:1",
    );
}

#[test]
fn functions_whose_value_changes_by_itself_are_refused() {
    let from = "FROM bronze.employees";
    let message = "has another value each time it is computed";
    for (call, place) in [
        ("now()", "4:1"),
        ("current_date", "4:1"),
        ("CURRENT_TIMESTAMP", "4:1"),
        ("random()", "4:1"),
        ("uuid()", "4:1"),
        ("round(random(), 2)", "4:7"),
        ("(SELECT now())", "4:9"),
    ] {
        refused(
            &format!("SELECT {ID},\n{call} AS at {from}"),
            message,
            place,
        );
    }
    refused(
        &format!("SELECT {ID} {from}\nWHERE _timestamp > now() - INTERVAL '30 days'"),
        message,
        "4:20",
    );
    let deletes = HEADER.replace("op = 'd'", "op = 'd' OR _timestamp < now()");
    let text = format!("{deletes}SELECT {ID} {from}");
    let problems = check(&[("silver/x.sql", &text)]);
    assert!(problems.contains(message), "{problems}");
    assert!(
        problems.contains(" --> sql/silver/x.sql:2:91\n"),
        "{problems}"
    );
    let gold = "SELECT id, now() AS at, random() AS chance FROM silver.employees";
    assert_eq!(check(&[("gold/x.sql", gold)]), "");
}

#[test]
fn joins_that_may_leave_events_out_or_double_them_are_refused() {
    let select = format!("SELECT {ID}, r.n FROM bronze.employees e");
    for join in [
        "JOIN gold.rates r ON r.bu = after ->> 'bu'",
        "INNER JOIN gold.rates r ON r.bu = after ->> 'bu'",
        "RIGHT JOIN gold.rates r ON r.bu = after ->> 'bu'",
        "FULL JOIN gold.rates r ON r.bu = after ->> 'bu'",
        "CROSS JOIN gold.rates r",
    ] {
        refused(
            &format!("{select}\n{join}"),
            "may leave events out or double them",
            &format!("4:{}", join.find("gold").expect("a table") + 1),
        );
    }
    refused(
        &format!("{select},\ngold.rates r"),
        "one more table beside them",
        "4:1",
    );
    for on in ["r.n = 3", "r.bu <> after ->> 'bu'", "r.bu = r.bu", "TRUE"] {
        refused(
            &format!("{select}\nLEFT JOIN gold.rates r ON {on}"),
            "ON does not say which bu",
            "4:11",
        );
    }
    for table in ["named", "loose"] {
        refused(
            &format!("{select}\nLEFT JOIN gold.{table} r ON r.bu = after ->> 'bu'"),
            "two rows would come of one event",
            "4:11",
        );
    }
    refused(
        &format!("{select}\nLEFT JOIN (SELECT 1 AS n) r ON TRUE"),
        "looks rows up in a table",
        "4:12",
    );
    refused(
        &format!(
            "SELECT {ID} FROM gold.rates r\nLEFT JOIN bronze.employees e ON r.bu = after ->> 'bu'"
        ),
        "the events of @cdc come first in FROM",
        "3:50",
    );
}

#[test]
fn bronze_is_read_once() {
    refused(
        &format!(
            "SELECT {ID} FROM bronze.employees a\nLEFT JOIN bronze.employees b ON b.key = a.key"
        )
        .replace("after", "a.after"),
        "a second time",
        "4:11",
    );
    refused(
        &format!(
            "SELECT {ID},\n(SELECT max(_offset) FROM bronze.employees) AS last FROM bronze.employees"
        ),
        "a second time",
        "4:27",
    );
    refused(
        &format!("SELECT {ID} FROM (SELECT * FROM bronze.employees LIMIT 5) AS e"),
        "come first in FROM, and from a table",
        "3:51",
    );
}
