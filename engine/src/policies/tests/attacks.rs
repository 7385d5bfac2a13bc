use super::*;
use crate::error::ErrorKind;

/// Statements that fail on a row that pays 5000, if ever they meet one.
const ORACLES: [&str; 12] = [
    "SELECT count(*) FROM silver.people WHERE 1 / (pay - 5000) > 10",
    "SELECT 1 / (pay - 5000) FROM silver.people",
    "SELECT count(*) FROM (SELECT 1 / (pay - 5000) AS x FROM silver.people) WHERE x > 0",
    "SELECT count(*) FROM silver.people a JOIN silver.people b ON a.id = b.id AND 1 / (a.pay - 5000) < 5",
    "SELECT count(*) FROM silver.people WHERE id IN (SELECT 1 / (pay - 5000) FROM silver.people)",
    "SELECT count(*) FROM silver.people a WHERE EXISTS (SELECT 1 FROM silver.people b WHERE b.id = a.id AND 1 / (b.pay - 5000) > 5)",
    "SELECT id FROM silver.people ORDER BY 1 / (pay - 5000) LIMIT 1",
    "SELECT bu, count(*) FILTER (WHERE 1 / (pay - 5000) > 5) FROM silver.people GROUP BY bu",
    "SELECT sum(1 / (pay - 5000)) OVER (PARTITION BY bu) FROM silver.people",
    "WITH p AS (SELECT * FROM silver.people) SELECT count(*) FROM p WHERE CAST(CASE WHEN pay = 5000 THEN 'x' ELSE '1' END AS TINYINT) < 9",
    "SELECT bu FROM silver.people GROUP BY bu HAVING sum(1 / (pay - 5000)) > 5",
    "SELECT count(*) FROM silver.people WHERE CASE WHEN bu = 'south' THEN 1 / (pay - 5000) ELSE 1 END > 0",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_meets_a_row_that_the_role_does_not_see() {
    let lake = Lake::new().await;
    let anne = somebody(&["own"], &[("id", "1")]);
    for sql in ORACLES {
        let refused = lake.ask(&operator(), sql).await;
        let kind = refused.expect_err("the attack itself works").kind();
        assert_eq!(kind, ErrorKind::InvalidRequest, "a user's mistake: {sql}");
        let answered = lake.ask(&anne, sql).await;
        assert!(answered.is_ok(), "{sql}: {answered:?}");
    }
}

/// Deleted rows and rows kept aside have a pay of 7777 and -8888.
#[tokio::test(flavor = "multi_thread")]
async fn no_statement_meets_a_row_that_is_gone_or_kept_aside() {
    let lake = Lake::new().await;
    let all = somebody(&["all_of_it"], &[]);
    for pay in [7777, -8888] {
        for oracle in ORACLES {
            let sql = oracle.replace("- 5000", &format!("- ({pay})"));
            if sql.contains("TINYINT") {
                continue;
            }
            let answered = lake.ask(&all, &sql).await;
            assert!(answered.is_ok(), "{sql}: {answered:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_masked_value_is_nowhere_in_any_expression() {
    let lake = Lake::new().await;
    let team = somebody(&["team"], &[]);
    for sql in ORACLES {
        let answered = lake.ask(&team, sql).await;
        assert!(answered.is_ok(), "{sql}: {answered:?}");
    }
    for (sql, expected) in [
        (
            "SELECT max(pay), min(pay), sum(pay) FROM silver.people",
            "0,0,0",
        ),
        (
            "SELECT count(DISTINCT pay) FROM silver.people WHERE pay = 5000",
            "0",
        ),
        (
            "SELECT count(*) FROM silver.people a JOIN (VALUES (5000)) v(x) ON a.pay = v.x",
            "0",
        ),
        ("SELECT array_agg(DISTINCT pay) FROM silver.people", "[0]"),
    ] {
        assert_eq!(lake.rows(&team, sql).await, [expected], "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_column_is_a_column_that_does_not_exist() {
    let lake = Lake::new().await;
    for sql in [
        "SELECT COLUMN FROM silver.people",
        "SELECT p.COLUMN FROM silver.people p",
        "SELECT id FROM silver.people WHERE COLUMN = 1",
        "SELECT id FROM silver.people ORDER BY COLUMN",
        "SELECT count(*) FROM silver.people a JOIN silver.people b USING (COLUMN)",
        "EXPLAIN SELECT COLUMN FROM silver.people",
        "SELECT id FROM silver.people WHERE id IN (SELECT COLUMN FROM silver.people)",
    ] {
        let hidden = lake.refusal(&clerk(), &sql.replace("COLUMN", "pay")).await;
        let unknown = lake.refusal(&clerk(), &sql.replace("COLUMN", "xyz")).await;
        assert_eq!(hidden.replace("pay", "xyz"), unknown, "{sql}");
    }
    let rows = lake
        .rows(
            &clerk(),
            "SELECT * FROM silver.people p NATURAL JOIN silver.people q",
        )
        .await;
    assert_eq!(rows.len(), 2, "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_table_is_a_table_that_does_not_exist() {
    let lake = Lake::new().await;
    let all = somebody(&["all_of_it"], &[]);
    for (principal, table) in [
        (&clerk(), "bronze.people"),
        (&clerk(), "bronze.dead_letters"),
        (&clerk(), "quality.results"),
        (&clerk(), "silver.people__quarantine"),
        (&all, "silver.people__quarantine"),
        (&all, "bronze.dead_letters"),
    ] {
        for sql in [
            "SELECT * FROM TABLE",
            "DESCRIBE TABLE",
            "SHOW COLUMNS FROM TABLE",
            "EXPLAIN SELECT 1 FROM TABLE",
            "SELECT 1 FROM TABLE VERSION AS OF 0",
            "SELECT 1 FROM TABLE VERSION AS OF 999",
            "SELECT 1 FROM TABLE TIMESTAMP AS OF '2100-01-01'",
        ] {
            let hidden = lake.refusal(principal, &sql.replace("TABLE", table)).await;
            let (schema, _) = table.split_once('.').expect("a schema");
            let other = format!("{schema}.zyxwvut");
            let unknown = lake.refusal(principal, &sql.replace("TABLE", &other)).await;
            assert_eq!(hidden.replace(table, &other), unknown, "{sql} {table}");
        }
    }
    let session = lake.session(&clerk()).await.expect("a session");
    let listed: Vec<String> = session
        .tables()
        .iter()
        .map(|info| format!("{}.{}", info.schema, info.name))
        .collect();
    assert_eq!(listed, ["gold.bonus", "gold.by_bu", "silver.people"]);
    assert!(session.tables()[2].arrow.field_with_name("pay").is_err());
    assert!(!format!("{:?}", session.tables()).contains("pay"));
}

#[tokio::test(flavor = "multi_thread")]
async fn catalogs_show_what_the_role_sees() {
    let lake = Lake::new().await;
    let tables = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema <> 'information_schema' ORDER BY 1, 2";
    let rows = lake.rows(&clerk(), tables).await;
    assert_eq!(rows, ["gold,bonus", "gold,by_bu", "silver,people"]);
    for sql in [
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM information_schema.columns",
        "SELECT * FROM information_schema.views",
        "SELECT * FROM information_schema.schemata",
        "SHOW TABLES",
        "SHOW ALL",
        "SHOW COLUMNS FROM silver.people",
        "DESCRIBE silver.people",
    ] {
        let rows = lake.rows(&clerk(), sql).await.join("\n");
        for secret in ["pay", "quarantine", "bronze", "north", "__deleted", "/"] {
            let shown = rows
                .lines()
                .any(|row| row.contains(secret) && !(secret == "/" && row.contains("datafusion.")));
            assert!(!shown, "{sql} shows {secret}: {rows}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_plan_tells_what_is_below_the_barrier() {
    let lake = Lake::new().await;
    for explain in [
        "EXPLAIN",
        "EXPLAIN VERBOSE",
        "EXPLAIN ANALYZE",
        "EXPLAIN ANALYZE VERBOSE",
        "EXPLAIN FORMAT TREE",
    ] {
        for query in [
            "SELECT * FROM silver.people WHERE id = 2",
            "SELECT count(*) FROM gold.bonus",
            "SELECT p.id, b.total FROM silver.people p JOIN gold.by_bu b ON p.bu = b.bu ORDER BY p.id LIMIT 1",
        ] {
            let sql = format!("{explain} {query}");
            let plan = lake.rows(&clerk(), &sql).await.join("\n");
            let guarded = plan.contains("GuardedExec") || plan.contains("guarded");
            assert!(guarded, "{sql}: {plan}");
            for secret in [
                ".parquet",
                "north",
                "pay",
                "__deleted",
                "__rule",
                "DataSource",
                "/silver",
                "attribute",
            ] {
                assert!(!plan.contains(secret), "{sql} shows {secret}: {plan}");
            }
        }
    }
    let plan = lake
        .rows(&operator(), "EXPLAIN SELECT * FROM silver.people")
        .await
        .join("\n");
    assert!(
        plan.contains(".parquet"),
        "what is looked for would be found: {plan}"
    );
}

/// Rows are counted, and the least and greatest values found, without any statistics of the files.
#[tokio::test(flavor = "multi_thread")]
async fn aggregates_and_limits_are_of_what_is_seen() {
    let lake = Lake::new().await;
    for (sql, expected) in [
        ("SELECT count(*) FROM gold.bonus", "2"),
        (
            "SELECT count(*), count(1), count(id) FROM silver.people",
            "2,2,2",
        ),
        (
            "SELECT min(id), max(id), max(name) FROM silver.people",
            "1,2,Bob",
        ),
        (
            "SELECT count(*) FROM (SELECT * FROM silver.people LIMIT 5)",
            "2",
        ),
        (
            "SELECT count(*) FROM (SELECT id FROM silver.people ORDER BY id LIMIT 1 OFFSET 1)",
            "1",
        ),
        (
            "SELECT count(*) FROM silver.people a FULL JOIN silver.people b ON a.id = b.id + 1",
            "3",
        ),
        (
            "SELECT count(*) FROM silver.people WHERE bu = 'south' OR bu IS NULL",
            "0",
        ),
    ] {
        assert_eq!(lake.rows(&clerk(), sql).await, [expected], "{sql}");
    }
    let limited = lake
        .rows(&clerk(), "SELECT id FROM silver.people LIMIT 1")
        .await;
    assert_eq!(limited.len(), 1);
    let recursive = "WITH RECURSIVE up AS (SELECT id FROM silver.people WHERE id = 1 \
        UNION ALL SELECT p.id FROM silver.people p JOIN up ON p.id = up.id + 1) SELECT count(*) FROM up";
    assert_eq!(lake.rows(&clerk(), recursive).await, ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_cross_only_where_every_row_is_seen() {
    let policies = "CREATE ROLE wide; GRANT SELECT (id, bu) ON gold.bonus TO wide;
        GRANT SELECT ON silver.people TO wide;";
    let lake = Lake::with(policies).await;
    let wide = somebody(&["wide"], &[]);
    let pushed = async |sql: &str| {
        let plan = lake.rows(&wide, &format!("EXPLAIN {sql}")).await.join("\n");
        plan.contains("partial_filters=")
    };
    assert!(pushed("SELECT id FROM gold.bonus WHERE id = 2").await);
    assert!(!pushed("SELECT id FROM gold.bonus WHERE random() < 0.5").await);
    assert!(
        !pushed("SELECT id FROM silver.people WHERE id = 2").await,
        "rows are hidden there"
    );
    assert_eq!(
        lake.rows(&wide, "SELECT id FROM gold.bonus WHERE id = 2")
            .await,
        ["2"]
    );
    let refused = lake
        .refusal(&wide, "SELECT id FROM gold.bonus WHERE bonus = 2")
        .await;
    assert!(refused.contains("no column \"bonus\""), "{refused}");
    let mistaken = "SELECT id FROM gold.bonus WHERE 1 / (id - 2) > 0";
    let error = lake.ask(&wide, mistaken).await;
    let error = error.expect_err("it divides by zero inside the reader of a file");
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert_eq!(error.to_string(), "Divide by zero error");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_below_the_barrier_tells_nothing() {
    let policies = "CREATE ROLE broken; GRANT SELECT ON silver.people TO broken;
        CREATE POLICY p ON silver.people TO broken USING (100 / (pay - 5000) > 0);";
    let lake = Lake::with(policies).await;
    let error = lake
        .ask(&somebody(&["broken"], &[]), "SELECT id FROM silver.people")
        .await;
    let error = error.expect_err("the policy fails");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.to_string(), "\"silver.people\" cannot be read");
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_runs_out_below_the_barrier_is_told_as_such() {
    let policies = "CREATE ROLE greedy; GRANT SELECT ON silver.people TO greedy;
        CREATE POLICY p ON silver.people TO greedy USING (length(repeat(name, 2000000000)) > 0);";
    let lake = Lake::with(policies).await;
    let greedy = somebody(&["greedy"], &[]);
    let error = lake.ask(&greedy, "SELECT id FROM silver.people").await;
    let error = error.expect_err("too much");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.hint_text().is_some(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn why_tells_no_link_that_is_masked() {
    let policies = "CREATE ROLE masked; GRANT SELECT ON gold.units, silver.people TO masked;
        CREATE MASK ON silver.people (bu) TO masked USING ('somewhere');
        CREATE ROLE open; GRANT SELECT ON gold.units, silver.people TO open;";
    let units = "-- @key unit
        SELECT u.unit, count(p.id) AS n FROM (VALUES ('north'), ('south')) AS u (unit)
        JOIN silver.people p ON p.bu = u.unit GROUP BY u.unit";
    let lake = Lake::with("CREATE ROLE none;").await;
    write(&lake.world.sql("gold/units.sql"), units);
    let mut refresher = lake.world.refresher().await;
    refresher.turn().await.expect("a turn");
    write(&lake.world.sql("policies.sql"), policies);
    for (role, shown) in [("open", true), ("masked", false)] {
        let session = lake.session(&somebody(&[role], &[])).await;
        let session = session.expect("a session");
        let table = "gold.units".parse().expect("a name");
        let why = session.why(&table, &["north".to_owned()]).await;
        let why = why.expect("the row is seen");
        assert!(why.partial);
        let mut inputs = why.inputs.iter().map(|input| input.table.to_string());
        assert_eq!(
            inputs.any(|table| table == "silver.people"),
            shown,
            "{role}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn why_tells_of_kept_out_rows_only_who_sees_them() {
    let schemas = "SCHEMA bronze, silver, gold, main, quality";
    let policies = format!(
        "CREATE ROLE steward, reader;
        GRANT SELECT ON {schemas} TO reader;
        GRANT SELECT ON {schemas} TO steward;
        GRANT SELECT ON silver.people__quarantine TO steward;"
    );
    let lake = Lake::with(&policies).await;
    let why = async |principal: &Principal, table: &str, key: &str| {
        let session = lake.session(principal).await.expect("a session");
        let table = table.parse().expect("a name");
        session.why(&table, &[key.to_owned()]).await
    };
    for principal in [operator(), somebody(&["steward"], &[])] {
        for table in ["gold.bonus", "silver.people"] {
            let why = why(&principal, table, "7").await.expect("an answer");
            assert!(why.row.is_none() && !why.partial);
            let [kept_out] = why.kept_out.as_slice() else {
                panic!("{table}: {:?}", why.kept_out);
            };
            assert_eq!(kept_out.table.to_string(), "silver.people");
            let rows = texts(&kept_out.rows);
            let expected = "7,Aside,north,-8888,paid,pay > 0 is not true,0,";
            assert!(rows[0].starts_with(expected), "{rows:?}");
        }
    }
    let reader = somebody(&["reader"], &[]);
    for table in ["gold.bonus", "silver.people"] {
        let kept_out = why(&reader, table, "7").await.expect_err("not seen");
        let unknown = why(&reader, table, "99").await.expect_err("not there");
        assert_eq!(kept_out.kind(), ErrorKind::NotFound);
        assert_eq!(kept_out.to_string(), unknown.to_string());
        let seen = why(&reader, table, "1").await.expect("an answer");
        assert!(!seen.partial && seen.row.is_some());
    }
}
