//! What statements are made of.

/// Words, spaces and signs of a text, each by itself.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for character in text.chars() {
        let joins = |word: &String| {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            is_word(character) && word.chars().all(is_word)
        };
        match words.last_mut().filter(|word| joins(word)) {
            Some(word) => word.push(character),
            None => words.push(character.to_string()),
        }
    }
    words
}

/// Statements that the conformance suites ask, and some of those that reports do.
pub(super) fn corpus() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/slt");
    let mut corpus: Vec<String> = STATEMENTS.iter().map(|&text| text.to_owned()).collect();
    for entry in std::fs::read_dir(folder).expect("suites") {
        let text = std::fs::read_to_string(entry.expect("an entry").path()).expect("a text");
        for record in text.split("\n\n") {
            let lines = record.lines().skip_while(|line| !line.starts_with("query"));
            let sql: Vec<&str> = lines
                .skip(1)
                .take_while(|line| !line.starts_with("----"))
                .collect();
            if !sql.is_empty() {
                corpus.push(sql.join("\n"));
            }
        }
    }
    assert!(corpus.len() > 50, "{} statements", corpus.len());
    corpus
}

const STATEMENTS: &[&str] = &[
    "SELECT _offset, op FROM bronze.employees WHERE _offset >= 1 ORDER BY _offset DESC LIMIT 2",
    "SELECT op, count(*), sum(_offset), avg(_offset) FROM bronze.employees GROUP BY op HAVING count(*) > 0",
    "WITH a AS (SELECT * FROM bronze.employees), b AS (SELECT * FROM a) SELECT a.op, b.op FROM a JOIN b ON a._offset = b._offset",
    "SELECT row_number() OVER (PARTITION BY op ORDER BY _offset ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM bronze.employees",
    "SELECT * FROM bronze.employees e WHERE EXISTS (SELECT 1 FROM bronze.employees f WHERE f._offset = e._offset + 1)",
    "SELECT CASE WHEN _offset = 0 THEN 1 / _offset ELSE CAST(op AS INT) END FROM bronze.employees",
    "SELECT date_trunc('month', TIMESTAMP '2026-03-29 02:30:00'), CAST('2026-02-30' AS DATE), INTERVAL '1' MONTH",
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 100) SELECT sum(n) FROM r",
    "SELECT repeat('x', 100), lpad('a', 5, 'b'), range(1, 5), array_repeat(1, 3), split_part('a,b', ',', 2)",
    "SELECT regexp_replace('aaaa', '(a+)+b', 'x'), 'abc' ~ '^(a|b)*$', 'x' LIKE '%\\_%' ESCAPE '\\'",
    "SELECT sha256('x'), encode('abc', 'hex'), decode('YWJj', 'base64'), to_char(now(), '%Y'), to_timestamp(1e18)",
    "SELECT CAST(99999999999999999999999999999999999999 AS DECIMAL(38,0)) * 10, 1e308 * 10, -9223372036854775808 - 1",
    "EXPLAIN ANALYZE SELECT count(*) FROM bronze.employees a, bronze.employees b",
    "SELECT * FROM information_schema.columns WHERE table_name = 'employees'",
    "SELECT 1 UNION ALL SELECT 2 EXCEPT SELECT 3 INTERSECT SELECT ? ORDER BY 1 FETCH FIRST 1 ROWS ONLY",
    "SELECT op FROM bronze.employees VERSION AS OF 1 WHERE op IN ('c', 'u', NULL) GROUP BY ROLLUP(op), CUBE(op)",
];

pub(super) const FRAGMENTS: &[&str] = &[
    "NULL",
    "0",
    "-1",
    "''",
    "'%'",
    "*",
    "1e309",
    "9223372036854775807",
    "-9223372036854775808",
    "0.1",
    "$1",
    "?",
    "SELECT",
    "FROM",
    "WHERE",
    "(",
    ")",
    ",",
    ";",
    "--",
    "/*",
    "*/",
    "\"",
    "`",
    "'",
    "{fn",
    "{d '2026-01-01'}",
    "}",
    "||",
    "->>",
    "::",
    "@",
    "#",
    "%",
    "^",
    "<=>",
    " IS NOT DISTINCT FROM ",
    " NOT ",
    " BETWEEN ",
    " UNION ALL ",
    " LATERAL ",
    " UNNEST ",
    " QUALIFY ",
    " TABLESAMPLE ",
    " PIVOT ",
    " MATCH_RECOGNIZE ",
    " RECURSIVE ",
    " OVER ",
    "bronze.employees",
    "system.queries",
    "system.sessions",
    "information_schema.tables",
    "key",
    "value",
    "_offset",
    "range",
    "generate_series",
    "repeat",
    "lpad",
    "rpad",
    "array_repeat",
    "array_resize",
    "make_array",
    "struct",
    "arrow_cast",
    "get_field",
    "map",
    "json_get",
    "attribute",
    "now",
    "random",
    "uuid",
    "power",
    "factorial",
    "log",
    "date_trunc",
    "date_bin",
    "to_timestamp",
    "from_unixtime",
    "make_date",
    "extract",
    "substr",
    "overlay",
    "chr",
    "array_agg",
    "string_agg",
    "percentile_cont",
    "approx_distinct",
    "stddev",
    "corr",
    "first_value",
    "nth_value",
    "lag",
    "ntile",
    "KILL",
    "SET",
    "DESCRIBE",
    "SHOW",
    "EXPLAIN",
    "DROP TABLE",
    "COPY",
    "INSERT INTO",
    "CREATE VIEW",
    "INTERVAL '999999999' YEAR",
    "TIMESTAMP '9999-12-31 23:59:59'",
    "DATE '-0001-01-01'",
    "TIME '24:00:00'",
    "CAST(NULL AS DECIMAL(38, 38))",
    "DECIMAL '1e30'",
    "X'00'",
    "E'\\u0000'",
    "U&'\\0000'",
    "\u{202e}",
    "\0",
    "é",
];
