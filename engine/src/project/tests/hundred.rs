//! A project of a hundred files, and how long it takes to check.

use std::io::Write as _;
use std::time::Instant;

use super::*;

/// Tables that fold change events; the others read them.
const FOLDS: usize = 25;
const FILES: usize = 100;

fn fold(number: usize) -> (String, String) {
    let columns: String = (0..12)
        .map(|column| format!("    CAST(after ->> 'n{column}' AS BIGINT) AS n{column},\n"))
        .collect();
    let text = format!(
        "-- The things of kind {number}, one a row.
-- @key id
-- @cdc sequence by generation, source_lsn, _offset; delete when op = 'd'
-- @expect counted: n0 >= 0 AND n1 < 1000000 ON VIOLATION QUARANTINE, FAIL OVER 5%
-- @expect named: name IS NOT NULL ON VIOLATION QUARANTINE
-- @expect priced: price > 0 ON VIOLATION WARN
SELECT
    CAST(after ->> 'id' AS BIGINT) AS id,
{columns}    after ->> 'name' AS name,
    CAST(after ->> 'price' AS DECIMAL(12, 2)) AS price,
    local_timestamp(CAST(after ->> 'at' AS BIGINT)) AS at
FROM bronze.things_{number}
"
    );
    (format!("silver/things_{number}.sql"), text)
}

/// Reads three folds, and the table before.
fn report(number: usize) -> (String, String) {
    let [a, b, c] = [0, 7, 13].map(|step| (number + step) % FOLDS);
    let before = match number.checked_sub(1) {
        Some(before) if !number.is_multiple_of(5) => format!("gold.report_{before}"),
        _ => "(SELECT CAST(0 AS BIGINT) AS id, CAST(0 AS DECIMAL(12, 2)) AS total)".to_owned(),
    };
    let text = format!(
        "-- Report {number}.
-- @key id
-- @fresh 60s ON VIOLATION WARN
-- @expect summed: total >= 0 ON VIOLATION WARN
-- @expect one_row: unique(id) ON VIOLATION FAIL
WITH recent AS (
    SELECT id, name, price, at FROM silver.things_{a} WHERE at > now() - INTERVAL '365 days'
), counted AS (
    SELECT id, count(*) AS n, sum(n3) AS threes FROM silver.things_{b} GROUP BY id
)
SELECT r.id, r.name, date_trunc('month', r.at) AS month,
    CASE WHEN c.n > 3 THEN 'many' WHEN c.n IS NULL THEN 'none' ELSE 'few' END AS how_many,
    CAST(coalesce(r.price, 0) + coalesce(p.total, 0) AS DECIMAL(12, 2)) AS total,
    row_number() OVER (PARTITION BY r.name ORDER BY r.price DESC, r.id) AS place,
    t.n0 + t.n1 AS together
FROM recent AS r
LEFT JOIN counted AS c ON c.id = r.id
LEFT JOIN silver.things_{c} AS t ON t.id = r.id
LEFT JOIN {before} AS p ON p.id = r.id
"
    );
    (format!("gold/report_{number}.sql"), text)
}

fn lock() -> String {
    let mut lock = "format = 1\n".to_owned();
    for number in 0..FOLDS {
        let _ = write!(
            lock,
            "[bronze.things_{number}]\ntopic = \"t.public.things_{number}\"\nkey = [\"id\"]\n\
             [bronze.things_{number}.fields]\nid = \"int64\"\nname = \"string\"\nprice = \"decimal(12, 2)\"\nat = \"timestamp\"\n"
        );
        for column in 0..12 {
            let _ = writeln!(lock, "n{column} = \"int64\"");
        }
    }
    lock
}

#[tokio::test]
async fn a_hundred_files_are_checked_from_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = (0..FOLDS).map(fold).chain((0..FILES - FOLDS).map(report));
    for (path, text) in files.chain([(LOCK_FILE.to_owned(), lock())]) {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a layer")).expect("created");
        std::fs::write(path, text).expect("written");
    }
    let started = Instant::now();
    let checked = crate::project::check(folder.path(), &SourceConfig::default()).await;
    let elapsed = started.elapsed();
    let checked = checked.expect("checked");
    assert_eq!(checked.problems, []);
    assert_eq!(checked.order.len(), FILES);
    let mut told = std::io::stderr().lock();
    writeln!(told, "check of {FILES} files: {elapsed:.2?}").expect("told");
}
