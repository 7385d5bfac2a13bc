use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use insta::assert_snapshot;
use proptest::prelude::*;

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
fn directives_that_are_wrong() {
    let text = "-- @kee id\n-- @trigger on change, at most evry 1s\n-- @refresh fast\n-- @fresh 60\n\
                -- @fresh 60s\n-- @key\n-- @expect bu IS NULL\nSELECT 1 AS id -- @key id\n";
    assert_snapshot!(gold(text), @r#"
error: unknown directive "@kee"
 --> sql/gold/x.sql:1:4
  |
1 | -- @kee id
  |    ^^^^
hint: Did you mean "key"?
error: expected "at most every", found "evry"
 --> sql/gold/x.sql:2:32
  |
2 | -- @trigger on change, at most evry 1s
  |                                ^^^^
hint: Write it as: -- @trigger on change, at most every 1s
error: expected one of auto, incremental, strict, full, found "fast"
 --> sql/gold/x.sql:3:13
  |
3 | -- @refresh fast
  |             ^^^^
hint: It is one of auto, incremental, strict, full.
error: expected a duration, found "60"
 --> sql/gold/x.sql:4:11
  |
4 | -- @fresh 60
  |           ^^
hint: Durations are written 500ms, 60s, 5m, 1h or 2d.
error: "@fresh" stands twice in this file
 --> sql/gold/x.sql:5:4
  |
5 | -- @fresh 60s
  |    ^^^^^^
hint: Keep one of the two lines.
error: "@key" says nothing
 --> sql/gold/x.sql:6:4
  |
6 | -- @key
  |    ^^^^
hint: Write it as: -- @key id
error: expected ":" behind the rule's name, found "IS"
 --> sql/gold/x.sql:7:15
  |
7 | -- @expect bu IS NULL
  |               ^^
hint: Write it as: -- @expect positive: distance_m >= 0 ON VIOLATION WARN
error: a directive stands above the SELECT
 --> sql/gold/x.sql:8:19
  |
8 | SELECT 1 AS id -- @key id
  |                   ^^^^^^^
hint: Move the line up, or write the comment without "@".
"#);
}

#[test]
fn expectations_that_are_wrong() {
    let text = "\
-- @key idd
-- @expect a: salaire_burt > 0 ON VIOLATION WARN
-- @expect b: unique(idd) ON VIOLATION FAIL
-- @expect c: id + 1 ON VIOLATION WARN
-- @expect d: id > 0 ON VIOLATION QUARANTINE, FAIL OVER 5%
SELECT id, salaire_brut FROM silver.employees";
    assert_snapshot!(gold(text), @r#"
error: unknown column "idd"
 --> sql/gold/x.sql:1:9
  |
1 | -- @key idd
  |         ^^^
hint: Did you mean "id"?
error: unknown column "salaire_burt"
 --> sql/gold/x.sql:2:15
  |
2 | -- @expect a: salaire_burt > 0 ON VIOLATION WARN
  |               ^^^^^^^^^^^^
hint: Did you mean "salaire_brut"?
error: unknown column "idd"
 --> sql/gold/x.sql:3:22
  |
3 | -- @expect b: unique(idd) ON VIOLATION FAIL
  |                      ^^^
hint: Did you mean "id"?
error: a rule is true or false, this is Int64
 --> sql/gold/x.sql:4:15
  |
4 | -- @expect c: id + 1 ON VIOLATION WARN
  |               ^^^^^^
error: ON VIOLATION QUARANTINE is not supported
 --> sql/gold/x.sql:5:12
  |
5 | -- @expect d: id > 0 ON VIOLATION QUARANTINE, FAIL OVER 5%
  |            ^
hint: Use ON VIOLATION WARN or ON VIOLATION FAIL.
"#);
    let text = "\
-- @expect a: id > 0
-- @expect b: sum(id) > 0 ON VIOLATION DROP
-- @expect c: id > 0 ON VIOLATION FAIL, FAIL OVER 5%
-- @expect d: unique(id) AND id > 0 ON VIOLATION WARN
-- @expect e: id > ON VIOLATION WARN
-- @expect f: id > 0 ON VIOLATION WRAN
SELECT id FROM silver.employees";
    assert_snapshot!(gold(text), @r#"
error: expected "ON VIOLATION" here
 --> sql/gold/x.sql:1:21
  |
1 | -- @expect a: id > 0
  |                     ^
hint: Write it as: -- @expect positive: distance_m >= 0 ON VIOLATION WARN
error: "b" is about the whole table and cannot DROP single rows
 --> sql/gold/x.sql:2:12
  |
2 | -- @expect b: sum(id) > 0 ON VIOLATION DROP
  |            ^
hint: Use ON VIOLATION WARN or ON VIOLATION FAIL.
error: "c" fails at the first violation already
 --> sql/gold/x.sql:3:12
  |
3 | -- @expect c: id > 0 ON VIOLATION FAIL, FAIL OVER 5%
  |            ^
hint: Use ON VIOLATION WARN, FAIL OVER n%.
error: unique() must be a rule of its own
 --> sql/gold/x.sql:4:15
  |
4 | -- @expect d: unique(id) AND id > 0 ON VIOLATION WARN
  |               ^^^^^^^^^
hint: Put each of the two conditions into an @expect line.
error: expected "ON VIOLATION", found "VIOLATION"
 --> sql/gold/x.sql:5:23
  |
5 | -- @expect e: id > ON VIOLATION WARN
  |                       ^^^^^^^^^
hint: Write it as: -- @expect positive: distance_m >= 0 ON VIOLATION WARN
error: expected one of WARN, DROP, QUARANTINE, FAIL, found "WRAN"
 --> sql/gold/x.sql:6:35
  |
6 | -- @expect f: id > 0 ON VIOLATION WRAN
  |                                   ^^^^
hint: Did you mean "WARN"?
"#);
}

#[test]
fn folds_that_are_wrong() {
    assert_snapshot!(check(&[(
        "silver/x.sql",
        "-- @cdc sequence by _offset\nSELECT after ->> 'id' AS id FROM bronze.employees",
    )]), @r#"
error: silver.x folds change events, but has no key
 --> sql/silver/x.sql:1:4
  |
1 | -- @cdc sequence by _offset
  |    ^^^^
hint: Add a line such as: -- @key id
"#);
    assert_snapshot!(check(&[(
        "silver/x.sql",
        "-- @key id\n-- @cdc sequence by offset; delete when opp = 'd'\nSELECT after ->> 'id' AS id FROM bronze.employees",
    )]), @r#"
error: unknown column "offset"
 --> sql/silver/x.sql:2:21
  |
2 | -- @cdc sequence by offset; delete when opp = 'd'
  |                     ^^^^^^
hint: Did you mean "_offset"?
error: unknown column "opp"
 --> sql/silver/x.sql:2:41
  |
2 | -- @cdc sequence by offset; delete when opp = 'd'
  |                                         ^^^
hint: Did you mean "op"?
"#);
    assert_snapshot!(check(&[(
        "silver/x.sql",
        "-- @key id\n-- @cdc sequence by _offset\nSELECT id FROM silver.employees",
    )]), @r#"
error: @cdc folds one bronze table, 0 are read
 --> sql/silver/x.sql:2:4
  |
2 | -- @cdc sequence by _offset
  |    ^^^^
hint: Read one bronze table, and join the result in another file.
"#);
}

#[test]
fn statements_that_make_no_table() {
    assert_snapshot!(gold("SELECT 1 AS a; SELECT 2 AS b"), @r#"
error: the file has a second statement
 --> sql/gold/x.sql:1:16
  |
1 | SELECT 1 AS a; SELECT 2 AS b
  |                ^^^^^^
hint: A file holds one SELECT, with or without WITH.
"#);
    assert_snapshot!(gold("DELETE FROM silver.employees"), @r#"
error: the statement is no SELECT
 --> sql/gold/x.sql:1:1
  |
1 | DELETE FROM silver.employees
  | ^^^^^^
hint: A file holds one SELECT, with or without WITH.
"#);
    assert_snapshot!(gold("-- Nothing yet.\n"), @r#"
error: the file has no SELECT
 --> sql/gold/x.sql:1:1
  |
1 | -- Nothing yet.
  | ^
hint: A file holds one SELECT, with or without WITH.
"#);
    assert_snapshot!(gold("SELECT $1 AS a"), @r#"
error: a table's query takes no parameters
 --> sql/gold/x.sql:1:8
  |
1 | SELECT $1 AS a
  |        ^^
hint: A file holds one SELECT, with or without WITH.
"#);
    assert_snapshot!(gold("WITH t AS (DELETE FROM silver.employees RETURNING id) SELECT id FROM t"), @r#"
error: a table's query changes no data
 --> sql/gold/x.sql:1:12
  |
1 | WITH t AS (DELETE FROM silver.employees RETURNING id) SELECT id FROM t
  |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
hint: A file holds one SELECT, with or without WITH.
"#);
    assert_snapshot!(gold("SELECT 'open AS a"), @r#"
error: unterminated string literal
 --> sql/gold/x.sql:1:8
  |
1 | SELECT 'open AS a
  |        ^
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
fn fingerprints_follow_what_matters() {
    let file = |text: &str| {
        let project = project(&[("gold/x.sql", text)]);
        let name = "gold.x".parse().expect("a name");
        project.file(&name).expect("parsed").clone()
    };
    let plain = file("-- @key id\nSELECT id FROM silver.employees");
    let spaced =
        file("-- Described.\n-- @key   id\nselect id -- comment\n  FROM   silver.employees;");
    assert_eq!(plain.query_fingerprint(), spaced.query_fingerprint());
    assert_eq!(plain.policy_fingerprint(), spaced.policy_fingerprint());
    assert_eq!(spaced.description.as_deref(), Some("Described."));
    assert_eq!(
        spaced.sql,
        "select id -- comment\n  FROM   silver.employees"
    );

    let ruled =
        file("-- @key id\n-- @expect a: id > 0 ON VIOLATION WARN\nSELECT id FROM silver.employees");
    assert_eq!(plain.query_fingerprint(), ruled.query_fingerprint());
    assert_ne!(plain.policy_fingerprint(), ruled.policy_fingerprint());

    let other_key = file("-- @key bu\nSELECT id FROM silver.employees");
    let other_query = file("-- @key id\nSELECT id + 1 AS id FROM silver.employees");
    assert_ne!(plain.query_fingerprint(), other_key.query_fingerprint());
    assert_ne!(plain.query_fingerprint(), other_query.query_fingerprint());
}

#[test]
fn a_folder_loads_and_its_texts_give_the_same_project() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |path: &str, text: &[u8]| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("written");
    };
    write("silver/employees.sql", EMPLOYEES.as_bytes());
    write("gold/.#x.sql", b"an editor's own");
    write("gold/notes.md", b"no SQL");
    write("tests/gold/x.sql", b"SELECT");
    write("policies.sql", b"GRANT");
    let project = Project::load(folder.path()).expect("loaded");
    assert_eq!(project.problems, []);
    assert_eq!(project.files.len(), 1);
    let again = Project::from_texts(project.texts().clone());
    assert_eq!(again.fingerprint(), project.fingerprint());

    write("gold/X.sql", b"SELECT 1 AS a");
    write("gold/latin.sql", b"SELECT 1 AS a\n-- \xe9");
    write("glod/y.sql", b"SELECT 1 AS a");
    write("parametres.sql", b"SELECT 1 AS a");
    write("gold/large.sql", &vec![b' '; (1 << 20) + 1]);
    let project = Project::load(folder.path()).expect("loaded");
    let shown = folder.path().display().to_string();
    let problems: Vec<String> = project
        .problems
        .iter()
        .map(|problem| problem.to_string().replace(&shown, "sql"))
        .collect();
    assert_snapshot!(problems.join("\n"), @r#"
error: the folder is no layer of the lake
 --> sql/glod:1:1
hint: Did you mean "gold"?
error: "X" is not a table name
 --> sql/gold/X.sql:1:1
hint: Table names are lower case letters, digits and _, at most 128 characters.
error: the file is larger than 1 MiB
 --> sql/gold/large.sql:1:1
error: the file is not UTF-8
 --> sql/gold/latin.sql:2:1
hint: Save it with the encoding UTF-8.
error: the file stands in no layer
 --> sql/parametres.sql:1:1
hint: Did you mean "parameters.sql"?
"#);
    assert!(Project::load(&folder.path().join("absent")).is_err());
}

#[test]
fn the_aggregates_are_those_of_the_engine() {
    let known = datafusion::functions_aggregate::all_default_aggregate_functions();
    let mut missing: Vec<String> = known
        .iter()
        .flat_map(|function| {
            std::iter::once(function.name().to_owned()).chain(function.aliases().iter().cloned())
        })
        .filter(|name| !expect::AGGREGATES.contains(&name.as_str()))
        .collect();
    missing.sort();
    assert_eq!(missing, [""; 0]);
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

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>()) {
        let _ = Project::from_texts(BTreeMap::from([("gold/x.sql".to_owned(), text)]));
    }

    #[test]
    fn no_directive_makes_the_parser_panic(
        tag in "key|cdc|trigger|refresh|fresh|expect|[a-zé]{0,5}",
        words in prop::collection::vec(
            prop_oneof![
                Just("sequence by"), Just("delete when"), Just("on change"), Just(","), Just(";"),
                Just("at most every"), Just("ON VIOLATION"), Just("FAIL OVER"), Just("5%"),
                Just("60s"), Just("a:"), Just("unique("), Just(")"), Just("'"), Just("é"),
                Just("99999999999999999999d"), Just("\t"), Just("\""), Just("$$"), Just("/*"),
                Just("= 1"), Just("WARN"), Just("DROP"),
            ],
            0..8,
        ),
    ) {
        let text = format!("-- @{tag} {}\nSELECT 1 AS a", words.join(" "));
        let project = Project::from_texts(BTreeMap::from([("gold/x.sql".to_owned(), text)]));
        for problem in &project.problems {
            let _ = problem.to_string();
        }
    }
}
