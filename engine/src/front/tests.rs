use super::*;

/// What the engine plans, as text.
fn plain(sql: &str) -> String {
    match read(sql, "main", 50) {
        Ok(read) => match read.statement {
            Parsed::Statement(statement) => statement.to_string(),
            other => other.to_string(),
        },
        Err(error) => format!("{:?}: {error}", error.kind()),
    }
}

#[track_caller]
fn check(sql: &str, expected: &str) {
    assert_eq!(plain(sql), expected, "{sql}");
}

#[test]
fn parameters_are_numbered_as_they_stand() {
    check(
        "SELECT trim(? FROM ?) FROM t WHERE a = ? OFFSET ? LIMIT ?",
        "SELECT TRIM($1 FROM $2) FROM t WHERE a = $3 LIMIT $5 OFFSET $4",
    );
    let read = read("SELECT {fn LEFT(?, ?)}", "main", 50).expect("reads");
    assert_eq!(read.questions, 2);
}

#[test]
fn escapes_of_odbc_are_read() {
    for (escape, expected) in [
        ("{d '2024-02-29'}", "DATE '2024-02-29'"),
        ("{t '12:30:00'}", "TIME '12:30:00'"),
        (
            "{ts '2024-02-29 12:30:00'}",
            "TIMESTAMP '2024-02-29 12:30:00'",
        ),
        ("{fn UCASE({fn LTRIM(a)})}", "upper(LTRIM(a))"),
        ("{ fn CONCAT(a, b) }", "a || b"),
        ("concat(a, b)", "concat(a, b)"),
        ("{fn LOG(a)}", "ln(a)"),
        ("log(a)", "log(a)"),
        ("{fn EXTRACT(YEAR FROM a)}", "EXTRACT(YEAR FROM a)"),
        ("{fn CONVERT(a, SQL_DOUBLE)}", "CAST(a AS DOUBLE)"),
        ("{fn CONVERT(a, SQL_WVARCHAR)}", "CAST(a AS VARCHAR)"),
        ("a LIKE 'x\\_%' {escape '\\'}", "a LIKE 'x\\_%' ESCAPE '\\'"),
    ] {
        check(
            &format!("SELECT {escape} AS x"),
            &format!("SELECT {expected} AS x"),
        );
    }
    check(
        "SELECT {fn UCASE(a)}, {fn CONCAT(a, b)}, a, upper(a) FROM t",
        "SELECT upper(a) AS \"UCASE(a)\", a || b AS \"concat(a, b)\", a, upper(a) FROM t",
    );
    check(
        "SELECT 1 FROM {oj a LEFT OUTER JOIN b ON a.x = b.x}",
        "SELECT 1 FROM a LEFT OUTER JOIN b ON a.x = b.x",
    );
    check(
        "SELECT {call f(1)}",
        "Unsupported: there are no stored procedures",
    );
}

#[test]
fn top_and_fetch_are_limits() {
    check("SELECT TOP 5 a FROM t", "SELECT a FROM t LIMIT 5");
    check(
        "SELECT DISTINCT TOP (?) a FROM t",
        "SELECT DISTINCT a FROM t LIMIT $1",
    );
    check(
        "SELECT a FROM t ORDER BY a OFFSET 2 ROWS FETCH NEXT 3 ROWS ONLY",
        "SELECT a FROM t ORDER BY a LIMIT 3 OFFSET 2 ROWS",
    );
    check(
        "SELECT TOP 1 a FROM t UNION ALL SELECT TOP 2 b FROM u",
        "(SELECT a FROM t LIMIT 1) UNION ALL (SELECT b FROM u LIMIT 2)",
    );
    for refused in [
        "SELECT TOP 5 PERCENT a FROM t",
        "SELECT a FROM t FETCH FIRST 5 ROWS WITH TIES",
        "SELECT TOP 5 a FROM t LIMIT 3",
    ] {
        assert!(
            plain(refused).contains(": "),
            "{refused}: {}",
            plain(refused)
        );
    }
}

#[test]
fn a_spelled_out_equality_of_nulls_is_one_comparison() {
    let joined = "SELECT 1 FROM a JOIN b ON ";
    for condition in [
        "(a.x = b.y AND a.x IS NOT NULL AND b.y IS NOT NULL OR a.x IS NULL AND b.y IS NULL)",
        "((a.x IS NULL AND b.y IS NULL) OR (a.x = b.y AND a.x IS NOT NULL AND b.y IS NOT NULL))",
        "a.x = b.y OR (b.y IS NULL AND a.x IS NULL)",
    ] {
        let found = plain(&format!("{joined}{condition}"));
        assert!(found.contains("a.x IS NOT DISTINCT FROM b.y"), "{found}");
        assert!(!found.contains(" OR "), "{found}");
    }
    // Where NULL and false differ, only the exact spelling is taken.
    for kept in [
        "SELECT NOT (x = y OR x IS NULL AND y IS NULL) FROM t",
        "SELECT 1 FROM a JOIN b ON a.x = b.y OR a.x IS NULL AND b.z IS NULL",
        "SELECT 1 FROM a JOIN b ON a.x = b.y AND a.x IS NOT NULL OR a.x IS NULL AND b.y IS NULL",
    ] {
        assert!(!plain(kept).contains("DISTINCT FROM"), "{kept}");
    }
}

#[test]
fn json_reads_as_in_a_projects_file() {
    // PostgreSQL's order of operators: the arrow binds closer than the equals sign.
    check(
        "SELECT after ->> 'x' = 'y' FROM t",
        "SELECT after ->> 'x' = 'y' FROM t",
    );
    let read = read("SELECT after ->> 'x' = 'y' FROM t", "main", 50).expect("reads");
    let Parsed::Statement(statement) = read.statement else {
        panic!("a query");
    };
    let tree = format!("{statement:?}");
    let equals = tree.find("op: Eq").expect("an equals sign");
    let arrow = tree.find("op: LongArrow").expect("an arrow");
    assert!(arrow < equals, "the arrow is within: {tree}");
}

#[test]
fn other_moments_of_a_table_are_named() {
    let moments = [
        ("VERSION AS OF 3", At::Version(3)),
        ("FOR VERSION AS OF 3", At::Version(3)),
        ("EPOCH AS OF 12", At::Epoch(12)),
        (
            "TIMESTAMP AS OF '1970-01-01'",
            At::Timestamp(Default::default()),
        ),
        (
            "timestamp as of TIMESTAMP '1970-01-01 00:00:00'",
            At::Timestamp(Default::default()),
        ),
    ];
    for (moment, at) in moments {
        let sql = format!("SELECT eligibilites.bu FROM gold.Eligibilites {moment} WHERE true");
        let found = read(&sql, "main", 50).expect(moment);
        let [travel] = found.travels.as_slice() else {
            panic!("one table");
        };
        assert_eq!(travel.table, ["gold", "eligibilites"]);
        assert_eq!(travel.at, at);
        let text = plain(&sql);
        assert!(
            text.contains(&format!("gold.\"{}\" AS \"eligibilites\"", travel.alias)),
            "{text}"
        );
    }
    check("SELECT version AS of FROM t", "SELECT version AS of FROM t");
    check("SELECT 1 AS version", "SELECT 1 AS version");
    assert!(plain("SELECT 1 FROM t TIMESTAMP AS OF 'yesterday'").contains("not a time"));
}

#[test]
fn a_statement_that_writes_is_refused() {
    for sql in [
        "DELETE FROM t",
        "CREATE TABLE t AS SELECT 1",
        "SET a = 1",
        "EXPLAIN DELETE FROM t",
    ] {
        assert!(plain(sql).contains("only reading"), "{sql}: {}", plain(sql));
    }
}

#[test]
fn nested_calls_cannot_grow_without_bound() {
    let mut call = "a".to_owned();
    for _ in 0..12 {
        call = format!("TIMESTAMPDIFF(SQL_TSI_MONTH, {call}, b)");
    }
    assert!(plain(&format!("SELECT {call}")).contains("nests too many"));
}

#[test]
fn nothing_makes_the_front_panic() {
    for sql in [
        "",
        "{",
        "}",
        "{fn",
        "{fn}",
        "{fn }",
        "SELECT {d}",
        "VERSION AS OF 1",
        "SELECT . VERSION AS OF 1",
        "SELECT TOP",
        "SELECT CONVERT(a)",
        "SHOW COLUMNS",
        "SHOW",
        "DESCRIBE",
        "SELECT ??",
        "{{fn}}",
        "FROM t FOR VERSION AS OF 99999999999999999999999",
        "SELECT regexp_extract(a, b, c)",
    ] {
        let _ = plain(sql);
    }
}

/// What is refused for its size, and how.
fn size_of(sql: &str) -> Option<String> {
    let error = read(sql, "main", 50).err()?;
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert!(error.hint_text().is_some(), "{error}");
    Some(error.to_string())
}

fn doubled(times: usize) -> String {
    let mut sql = "WITH a0 AS (SELECT 1 AS n FROM t)".to_owned();
    for nth in 1..=times {
        let before = nth - 1;
        sql += &format!(", A{nth} AS (SELECT * FROM a{before} UNION ALL SELECT * FROM a{before})");
    }
    sql + &format!(" SELECT count(*) FROM a{times}")
}

#[test]
fn names_of_with_may_not_multiply_without_end() {
    assert_eq!(size_of(&doubled(10)), None);
    let refused = size_of(&doubled(40)).expect("refused");
    assert!(refused.contains("4096 tables"), "{refused}");
    let hidden = format!("SELECT (WITH x AS ({}) SELECT * FROM x)", doubled(40));
    assert!(size_of(&hidden).is_some());
    let explained = format!("EXPLAIN {}", doubled(40));
    assert!(size_of(&explained).is_some());
}

#[test]
fn a_name_of_with_counts_where_it_is_seen() {
    let big = "SELECT * FROM a10 UNION ALL ".repeat(3) + "SELECT * FROM a10";
    let body = doubled(10).replace("SELECT count(*) FROM a10", "");
    // Four times 1024 is as many as there may be, and one more is too many.
    assert_eq!(size_of(&format!("{body} {big}")), None);
    assert!(size_of(&format!("{body} {big} UNION ALL SELECT * FROM t")).is_some());
    // What an inner WITH calls by the same name is what it says, and the outer one is seen in it until then.
    let inner = "WITH a10 AS (SELECT * FROM t) SELECT * FROM a10";
    let many = format!("SELECT * FROM ({inner}) x UNION ALL ").repeat(20);
    assert_eq!(size_of(&format!("{body} {many} SELECT 1")), None);
    let of_outer = "WITH a10 AS (SELECT * FROM a10) SELECT * FROM a10";
    let many = format!("SELECT * FROM ({of_outer}) x UNION ALL ").repeat(5);
    assert!(size_of(&format!("{body} {many} SELECT 1")).is_some());
    let recursive = "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT * FROM r";
    assert_eq!(size_of(recursive), None);
}

#[test]
fn a_statement_names_few_tables_of_other_moments() {
    let of = |tables: usize| {
        let tables = (0..tables).map(|epoch| format!("t EPOCH AS OF {epoch}"));
        format!("SELECT 1 FROM {}", tables.collect::<Vec<_>>().join(", "))
    };
    assert_eq!(size_of(&of(32)), None);
    assert!(size_of(&of(33)).is_some());
}
