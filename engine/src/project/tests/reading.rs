use std::collections::BTreeMap;

use insta::assert_snapshot;
use proptest::prelude::*;
use sql_files::expect;

use super::{EMPLOYEES, check, gold, project};
use crate::project::Project;

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
fn rules_that_reach_beyond_their_table() {
    let text = "\
-- @expect evaluation: id > 0 ON VIOLATION WARN
-- @expect b: id IN (SELECT 1) ON VIOLATION WARN
-- @expect c: row_number() OVER (ORDER BY id) > 0 ON VIOLATION FAIL
-- @expect d: id > 0 ON VIOLATION WARN
-- @expect d: id > 1 ON VIOLATION DROP
SELECT id FROM silver.employees";
    assert_snapshot!(gold(text), @r#"
error: "evaluation" is the name of a check that every table has
 --> sql/gold/x.sql:1:12
  |
1 | -- @expect evaluation: id > 0 ON VIOLATION WARN
  |            ^^^^^^^^^^
hint: Give the rule another name.
error: a rule reads its own table's columns, this is a subquery
 --> sql/gold/x.sql:2:15
  |
2 | -- @expect b: id IN (SELECT 1) ON VIOLATION WARN
  |               ^^^^^^^^^^^^^^^
hint: Make it a column of the SELECT, and let the rule test that column.
error: a rule reads its own table's columns, this is a window function
 --> sql/gold/x.sql:3:15
  |
3 | -- @expect c: row_number() OVER (ORDER BY id) > 0 ON VIOLATION FAIL
  |               ^^^^^^^^^^
hint: Make it a column of the SELECT, and let the rule test that column.
error: two expectations are named "d"
 --> sql/gold/x.sql:5:12
  |
5 | -- @expect d: id > 1 ON VIOLATION DROP
  |            ^
hint: Give each rule of a table a name of its own.
"#);
    assert_snapshot!(check(&[("gold/x__quarantine.sql", "SELECT 1 AS one")]), @r#"
error: "gold.x__quarantine" is the name of the rows kept out of gold.x
 --> sql/gold/x__quarantine.sql:1:1
hint: Choose a name that does not end in __quarantine.
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
    write("gold/nul.sql", b"SELECT 1\n-- \0 AS a");
    write("gold/large.sql", &vec![b' '; 10 << 20]);
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
error: the file has a NUL byte
 --> sql/gold/nul.sql:2:1
hint: Save it as plain text with the encoding UTF-8.
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
fn of_a_very_long_line_the_part_around_the_mistake_is_shown() {
    let before = "CAST(NULL AS BIGINT) AS \"été\",";
    let (long, spaces) = ("x".repeat(1 << 17), " ".repeat(1 << 17));
    for (text, place) in [
        (
            format!("SELECT {before} bux {spaces} FROM silver.employees"),
            "1:39",
        ),
        (
            format!("SELECT {before} '{long}', bux FROM silver.employees"),
            "1:131115",
        ),
        (
            format!("SELECT {before} '{long}', bux{spaces}FROM silver.employees"),
            "1:131115",
        ),
    ] {
        let said = gold(&text);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], "error: unknown column \"bux\"");
        assert!(
            lines[1].ends_with(&format!("gold/x.sql:{place}")),
            "{}",
            lines[1]
        );
        let (line, carets) = (lines[3], lines[4]);
        assert!(line.chars().count() < 170, "{line}");
        let caret = carets.chars().position(|c| c == '^').expect("a caret");
        let word: String = line.chars().skip(caret).take(4).collect();
        assert_eq!(
            (word.trim_end(), carets.trim_start_matches(['|', ' '])),
            ("bux", "^^^")
        );
    }
    for text in [
        format!("SELECT {long} FROM silver.employees"),
        format!("SELECT bu FROM silver.{long}"),
        format!("SELECT {long}(bu) AS b FROM silver.employees"),
        format!("SELECT bu AS \"{long} \" FROM silver.employees"),
        format!("-- @{long} bu\nSELECT bu FROM silver.employees"),
        format!("-- @key {long}\nSELECT bu FROM silver.employees"),
        format!("-- @expect {long}\nSELECT bu FROM silver.employees"),
        format!("SELECT bu FROM silver.employees WHERE '{long}"),
        format!("{long} bu FROM silver.employees"),
        format!("SELECT after ->> '{long}' AS a FROM bronze.employees"),
    ] {
        let said = gold(&text);
        let start: String = text.chars().take(40).collect();
        assert!(said.starts_with("error: "), "{start}");
        assert!(said.chars().count() < 3_000, "{start}: {}", said.len());
    }
}

#[test]
fn a_file_does_not_write_to_the_terminal() {
    let said = gold("SELECT \u{1b}[31mbux\u{7} FROM silver.employees");
    assert!(said.starts_with("error: "), "{said:?}");
    let is_hostile = |c: char| c.is_control() && c != '\n';
    assert!(!said.contains(is_hostile), "{said:?}");
}

#[test]
fn sql_that_would_exhaust_the_stack_is_refused() {
    let chain = |terms: usize| format!("SELECT 1{} AS a", " + 1".repeat(terms));
    assert_eq!(gold(&chain(90)), "");
    for terms in [100, 5_000] {
        assert!(gold(&chain(terms)).contains("nested too deeply"), "{terms}");
    }
    assert!(gold(&chain(100_000)).contains("more than 20000 words"));
    let union =
        |selects: usize| format!("SELECT 1 AS a{}", " UNION ALL SELECT 1".repeat(selects - 1));
    assert_eq!(gold(&union(100)), "");
    assert!(gold(&union(4_000)).contains("nested too deeply"));
    let nested = format!("SELECT {}1{} AS a", "(".repeat(5_000), ")".repeat(5_000));
    assert!(gold(&nested).contains("nested too deeply"));
    let rule = format!(
        "-- @expect a: 1{} > 0 ON VIOLATION WARN\nSELECT 1 AS a",
        " + 1".repeat(5_000)
    );
    assert!(gold(&rule).contains("nested too deeply"));
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
