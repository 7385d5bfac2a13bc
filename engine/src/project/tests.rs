mod counting;
mod folding;
mod hundred;
mod reading;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use insta::assert_snapshot;

use super::*;
use crate::session::{Sessions, SourceConfig};

const LOCK: &str = r#"
format = 1

[bronze.employees]
topic = "sportsdata.public.employees"
key = ["id"]

[bronze.employees.fields]
id = "int64"
bu = "string"
salaire_brut = "decimal"
"#;

const EMPLOYEES: &str = "\
-- One row per employee.
-- @key id
-- @cdc sequence by generation, source_lsn, _offset; delete when op = 'd'
SELECT CAST(after ->> 'id' AS BIGINT) AS id, after ->> 'bu' AS bu,
       CAST(after ->> 'salaire_brut' AS DECIMAL(12, 2)) AS salaire_brut
FROM bronze.employees
";

fn project(files: &[(&str, &str)]) -> Project {
    let mut texts = BTreeMap::from([("silver/employees.sql".to_owned(), EMPLOYEES.to_owned())]);
    for (path, text) in files {
        texts.insert((*path).to_owned(), (*text).to_owned());
    }
    Project::from_texts(texts)
}

fn checked(project: Project) -> CheckedProject {
    let lock = SourcesLock::parse(LOCK).expect("a lock");
    let zone = SourceConfig::default().zone().expect("a zone");
    let sessions = Sessions::new(zone, 1 << 20).expect("sessions");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime
        .block_on(check_project(project, &lock, &sessions))
        .expect("checked")
}

/// Everything wrong with the project of silver.employees and `files`, as a person reads it.
fn check(files: &[(&str, &str)]) -> String {
    let checked = checked(project(files));
    let mut text = String::new();
    for problem in &checked.problems {
        let _ = writeln!(text, "{problem}");
    }
    text
}

/// What is wrong with gold.x, made of these lines.
fn gold(text: &str) -> String {
    check(&[("gold/x.sql", text)])
}

#[test]
fn a_sound_project_has_no_problems() {
    let files = [
        ("parameters.sql", "SELECT 15 AS seuil"),
        (
            "gold/a.sql",
            "-- @key bu\n-- @trigger on change, at most every 500ms\n-- @refresh auto\n\
             -- @fresh 60s ON VIOLATION WARN\n\
             -- @expect some: count(*) >= 0 ON VIOLATION FAIL\n\
             -- @expect one: unique(bu) ON VIOLATION FAIL\n\
             -- @expect known: bu IS NOT NULL ON VIOLATION WARN, FAIL OVER 5%\n\
             SELECT bu, count(*) AS n FROM gold.b GROUP BY bu;",
        ),
        (
            "gold/b.sql",
            "WITH parameters AS (SELECT seuil FROM parameters) \
             SELECT e.bu, p.seuil FROM silver.employees e CROSS JOIN parameters p",
        ),
    ];
    let checked = checked(project(&files));
    assert!(checked.is_sound(), "{:#?}", checked.problems);
    let order: Vec<String> = checked.order.iter().map(ToString::to_string).collect();
    assert_eq!(
        order,
        ["parameters", "silver.employees", "gold.b", "gold.a"],
        "inputs come first"
    );
    let name = "gold.b".parse().expect("a name");
    let inputs: Vec<String> = checked.tables[&name]
        .inputs
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(inputs, ["parameters", "silver.employees"]);
}

#[test]
fn a_typo_in_a_select() {
    assert_snapshot!(gold("SELECT e.bu,\n\te.salaire_brutt AS s\nFROM silver.employees e"), @r#"
error: "e" has no column "salaire_brutt"
 --> sql/gold/x.sql:2:2
  |
2 | 	e.salaire_brutt AS s
  | 	^^^^^^^^^^^^^^^
hint: Did you mean "salaire_brut"?
"#);
    assert_snapshot!(gold("SELECT salaire FROM silver.employees"), @r#"
error: unknown column "salaire"
 --> sql/gold/x.sql:1:8
  |
1 | SELECT salaire FROM silver.employees
  |        ^^^^^^^
hint: Columns are id, bu, salaire_brut.
"#);
    assert_snapshot!(gold("SELECT bu FORM silver.employees"), @r#"
error: expected: end of statement, found: silver
 --> sql/gold/x.sql:1:16
  |
1 | SELECT bu FORM silver.employees
  |                ^^^^^^
"#);
}

#[test]
fn an_unknown_table() {
    assert_snapshot!(gold("SELECT *\nFROM silver.employes"), @r#"
error: unknown table "silver.employes"
 --> sql/gold/x.sql:2:6
  |
2 | FROM silver.employes
  |      ^^^^^^^^^^^^^^^
hint: Did you mean "silver.employees"?
"#);
    assert_snapshot!(gold("SELECT * FROM bronze.salaries"), @r#"
error: unknown table "bronze.salaries"
 --> sql/gold/x.sql:1:15
  |
1 | SELECT * FROM bronze.salaries
  |               ^^^^^^^^^^^^^^^
hint: Tables are bronze.employees, silver.employees.
"#);
}

#[test]
fn a_table_of_dead_letters_is_refused() {
    assert_snapshot!(gold("SELECT count(*) AS n FROM bronze.dead_letters"), @r#"
error: dead letters are for queries, no table is made of them
 --> sql/gold/x.sql:1:27
  |
1 | SELECT count(*) AS n FROM bronze.dead_letters
  |                           ^^^^^^^^^^^^^^^^^^^
hint: Read the bronze table that they are of, WHERE error IS NOT NULL.
"#);
    let sound = gold("SELECT count(*) AS n FROM bronze.employees WHERE error IS NOT NULL");
    assert_eq!(sound, "");
}

#[test]
fn an_unknown_function() {
    assert_snapshot!(gold("SELECT id, cuont(*) AS n FROM silver.employees GROUP BY id"), @r#"
error: unknown function "cuont"
 --> sql/gold/x.sql:1:12
  |
1 | SELECT id, cuont(*) AS n FROM silver.employees GROUP BY id
  |            ^^^^^
hint: Did you mean "count"?
"#);
}

#[test]
fn an_unknown_json_field() {
    let text = "SELECT e.after ->> 'salaire_burt' AS s FROM bronze.employees AS e";
    assert_snapshot!(gold(text), @r#"
error: rows of bronze.employees have no field "salaire_burt"
 --> sql/gold/x.sql:1:20
  |
1 | SELECT e.after ->> 'salaire_burt' AS s FROM bronze.employees AS e
  |                    ^^^^^^^^^^^^^^
hint: Did you mean "salaire_brut"?
"#);
    assert_snapshot!(gold("SELECT json_get_str(before, 'adresse') AS s FROM bronze.employees"), @r#"
error: rows of bronze.employees have no field "adresse"
 --> sql/gold/x.sql:1:29
  |
1 | SELECT json_get_str(before, 'adresse') AS s FROM bronze.employees
  |                             ^^^^^^^^^
hint: Fields are bu, id, salaire_brut.
"#);
}

#[test]
fn a_cycle() {
    let files = [
        ("gold/a.sql", "SELECT id FROM gold.b"),
        ("gold/b.sql", "SELECT id\nFROM gold.c"),
        ("gold/c.sql", "SELECT id FROM gold.a"),
        ("gold/d.sql", "SELECT id FROM gold.a"),
    ];
    assert_snapshot!(check(&files), @r#"
error: tables depend on each other: gold.a -> gold.b -> gold.c -> gold.a
 --> sql/gold/c.sql:1:16
  |
1 | SELECT id FROM gold.a
  |                ^^^^^^
hint: Take one of these references out.
"#);
    assert_snapshot!(gold("SELECT id FROM gold.x"), @r#"
error: gold.x reads itself
 --> sql/gold/x.sql:1:16
  |
1 | SELECT id FROM gold.x
  |                ^^^^^^
hint: Read another table here.
"#);
}

#[test]
fn columns_that_no_table_can_hold() {
    assert_snapshot!(gold("SELECT id, count(*) FROM silver.employees GROUP BY id"), @r#"
error: this column has no name that a table can hold
 --> sql/gold/x.sql:1:12
  |
1 | SELECT id, count(*) FROM silver.employees GROUP BY id
  |            ^^^^^
hint: Give it one with AS.
"#);
    assert_snapshot!(
        gold("SELECT e.id, f.id, e.bu AS __bu FROM silver.employees e CROSS JOIN silver.employees f"),
        @r#"
error: two columns are named "id"
 --> sql/gold/x.sql:1:14
  |
1 | SELECT e.id, f.id, e.bu AS __bu FROM silver.employees e CROSS JOIN silver.employees f
  |              ^^^^
hint: Rename one with AS.
error: column "__bu" begins with "__"
 --> sql/gold/x.sql:1:20
  |
1 | SELECT e.id, f.id, e.bu AS __bu FROM silver.employees e CROSS JOIN silver.employees f
  |                    ^^^^^^^^^^^^
hint: Rename it with AS; such names are the lake's own.
"#
    );
    assert_snapshot!(gold("SELECT INTERVAL '1 day' AS d"), @r#"
error: column "d" is of type Interval(MonthDayNano), which a table cannot hold
 --> sql/gold/x.sql:1:17
  |
1 | SELECT INTERVAL '1 day' AS d
  |                 ^^^^^^^^^^^^
hint: Use CAST to make it a number, a text, a date or a timestamp.
"#);
    assert_snapshot!(gold("SELECT abs(bu) AS a FROM silver.employees"), @r#"
error: function 'abs' expects Numeric but received String
 --> sql/gold/x.sql:1:8
  |
1 | SELECT abs(bu) AS a FROM silver.employees
  |        ^^^
"#);
}

#[test]
fn a_promise_that_cannot_be_kept() {
    let counts = "SELECT bu, count(*) AS n FROM silver.employees GROUP BY bu";
    assert_snapshot!(gold(&format!("-- @refresh strict\n{counts}")), @r#"
error: @refresh strict: only a table with @cdc is refreshed incrementally
 --> sql/gold/x.sql:1:1
  |
1 | -- @refresh strict
  | ^
hint: With @refresh incremental or auto it is computed in whole whenever an input changes.
"#);
    assert_eq!(gold(&format!("-- @refresh incremental\n{counts}")), "");
    let folded = EMPLOYEES.replace("-- @key", "-- @refresh strict\n-- @key");
    assert_eq!(check(&[("silver/employees.sql", &folded)]), "");
}

#[test]
fn a_broken_file_hides_no_other_mistake() {
    let files = [
        ("gold/a.sql", "SELECT FROM WHERE"),
        ("gold/b.sql", "SELECT id FROM gold.a"),
        ("gold/c.sql", "SELECT idd FROM silver.employees"),
        ("gold/d.sql", "SELECT id FROM silver.employees"),
    ];
    let checked = checked(project(&files));
    let places: Vec<String> = checked
        .problems
        .iter()
        .map(|problem| format!("{}:{}", problem.file, problem.line))
        .collect();
    assert_eq!(places, ["sql/gold/a.sql:1", "sql/gold/c.sql:1"]);
    let sound: Vec<String> = checked.order.iter().map(ToString::to_string).collect();
    assert_eq!(sound, ["silver.employees", "gold.d"]);
}

#[test]
fn the_sport_project_is_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let checked = runtime
        .block_on(super::check(&folder, &SourceConfig::default()))
        .expect("checked");
    let problems: Vec<String> = checked.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, [""; 0], "\n{}", problems.join("\n"));
    let columns = |table: &str| {
        let name = table.parse().expect("a name");
        let fields = checked.tables[&name].schema.fields().iter();
        let columns: Vec<String> = fields
            .map(|field| format!("{} {}", field.name(), field.data_type()))
            .collect();
        columns.join("\n")
    };
    assert_snapshot!(columns("gold.eligibilites"), @r#"
employee_id Int64
bu Utf8
prime_sportive Boolean
montant_prime_euros Decimal128(12, 2)
distance_km Float64
nb_activites Int64
jours_bien_etre Int64
declaration_correcte Boolean
distance_source Utf8
"#);
    assert_snapshot!(columns("gold.indicateurs"), @r#"
nb_salaries Int64
nb_primes Int64
montant_primes_euros Decimal128(14, 2)
nb_bien_etre Int64
jours_bien_etre Int64
nb_activites Int64
distance_km Float64
"#);
    assert_snapshot!(columns("silver.commute_distances"), @r#"
employee_id Int64
moyen_deplacement Utf8
distance_m Float64
source Utf8
flag Utf8
computed_at Timestamp(µs, "UTC")
"#);
}
