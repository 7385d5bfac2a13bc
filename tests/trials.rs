//! The tests of the sport project's tables, and what `sportlake test` says of tests that are wrong.

use std::process::Output;

use serde_json::Value;

use crate::project::{Project, text};

/// Runs one test of a table in a project where it is the only one.
fn test_of(path: &str, test: &str, arguments: &[&str]) -> (Project, Output) {
    let project = Project::new();
    std::fs::remove_dir_all(project.path("sql/tests")).expect("removed");
    project.write(path, test);
    let arguments = [&["test"], arguments].concat();
    let output = project.run(&arguments);
    assert!(!project.path("data").exists(), "no lake is needed");
    (project, output)
}

#[track_caller]
fn refused(path: &str, test: &str, expected: &[&str]) {
    let (_project, output) = test_of(path, test, &[]);
    let told = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for expected in expected {
        assert!(told.contains(expected), "no \"{expected}\" in {told}");
    }
}

#[test]
fn every_table_of_the_project_passes_its_tests() {
    let project = Project::new();
    let output = project.run(&["test"]);
    let said = text(&output.stderr);
    assert!(output.status.success(), "{}{said}", text(&output.stdout));
    assert!(!said.contains("has no test"), "{said}");
    println!("{said}");
}

const FAILING: &str = "\
-- @given bronze.employees
SELECT '{\"id\":1,\"bu\":\"R&D\",\"salaire_brut\":\"1.00\",\"moyen_deplacement\":\"Marche/running\"}' AS after;

-- @expected
SELECT * FROM (VALUES (1, 'R&D', 2.00), (2, 'Ventes', 3.00)) AS t (id, bu, salaire_brut);
";

#[test]
fn a_failing_test_shows_what_differs_and_where() {
    let junit = tempfile::tempdir().expect("a folder");
    let report = junit.path().join("report.xml");
    let report_text = report.display().to_string();
    let path = "sql/tests/silver/employees.sql";
    let (_project, output) = test_of(path, FAILING, &["--junit", &report_text]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stdout);
    for line in [
        "failed: silver.employees\n",
        " --> sql/tests/silver/employees.sql:4: silver.employees is not as expected\n",
        "            id   bu       salaire_brut\n",
        "  expected  1    R&D     [2.00]\n",
        "  found     1    R&D     [1.00]\n",
        "  missing   2    Ventes   3.00\n",
    ] {
        assert!(told.contains(line), "no {line:?} in\n{told}");
    }
    assert!(text(&output.stderr).contains("1 of 1 case failed"));
    let xml = std::fs::read_to_string(report).expect("a report");
    assert!(
        xml.contains("<testsuites tests=\"1\" failures=\"1\""),
        "{xml}"
    );
    assert!(xml.contains("silver.employees is not as expected"), "{xml}");
    // A report that cannot be written costs nobody the answer.
    let nowhere = junit.path().join("absent/report.xml").display().to_string();
    let (_project, output) = test_of(path, FAILING, &["--junit", &nowhere]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("failed: silver.employees\n"));
    assert!(text(&output.stderr).contains("hint: Name a file in a directory"));
}

#[test]
fn json_has_the_rows_that_differ() {
    let path = "sql/tests/silver/employees.sql";
    let (_project, output) = test_of(path, FAILING, &["--output", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let failure = &report["cases"][0]["failure"];
    assert_eq!(failure["line"], 4);
    assert_eq!(failure["difference"]["rows"][0]["kind"], "expected");
    assert_eq!(
        failure["difference"]["rows"][0]["cells"][2]["differs"],
        true
    );
    assert!(
        report["untested"]
            .as_array()
            .is_some_and(|all| all.len() > 5)
    );
}

#[test]
fn a_filter_that_matches_nothing_is_not_found() {
    let project = Project::new();
    let output = project.run(&["test", "gold.eligibilite_s"]);
    assert_eq!(output.status.code(), Some(3));
    let said = text(&output.stderr);
    assert!(said.contains("gold.eligibilites"), "{said}");
}

#[test]
fn a_test_that_is_wrong_is_told_with_its_place_before_anything_runs() {
    let employees = "sql/tests/silver/employees.sql";
    let nothing = "-- @expected no rows\n";
    refused(
        "sql/tests/gold/eligibilite.sql",
        nothing,
        &[
            "there is no table \"gold.eligibilite\"",
            "Did you mean \"gold.eligibilites\"?",
        ],
    );
    refused(
        "sql/tests/golden/x.sql",
        nothing,
        &["sql/tests/golden:1:1", "Did you mean \"gold\"?"],
    );
    refused(
        "sql/tests/gold/eligibilites.sql",
        "-- @given silver.employes\nSELECT 1 AS id;\n-- @expected no rows\n",
        &[
            "eligibilites.sql:1:11",
            "^^^^^^^^^^^^^^^",
            "Did you mean \"silver.employees\"?",
        ],
    );
    refused(
        employees,
        "-- @givn bronze.employees\nSELECT 1 AS id;\n-- @expected no rows\n",
        &["employees.sql:1:4", "^^^^^", "Did you mean \"given\"?"],
    );
    refused(
        employees,
        "-- @expected\nSELEC 1 AS id;\n",
        &["employees.sql:2:1", "^^^^^"],
    );
    refused(
        employees,
        "-- @expected\nSELECT id FROM silver.employees;\n",
        &["employees.sql:2:16", "come from no table"],
    );
    refused(
        employees,
        "-- @expected\nSELECT 1 AS idd;\n",
        &[
            "employees.sql:1:",
            "has no column \"idd\"",
            "Did you mean \"id\"?",
        ],
    );
    refused(
        employees,
        "-- @given bronze.employees\nSELECT '{\"id\":1,\"nmo\":\"x\"}' AS after;\n-- @expected no rows\n",
        &["no field \"nmo\"", "Did you mean \"nom\"?"],
    );
    refused(
        employees,
        "-- @expected held bu_conue\n",
        &["no rule \"bu_conue\"", "Did you mean \"bu_connue\"?"],
    );
    refused(employees, "-- nothing\n", &["the test expects nothing"]);
    refused(
        "sql/tests/parameters.sql",
        "-- @expected\nSELECT 0.05001 AS taux_prime;\n",
        &["0.05001 is no Decimal128(5, 4)"],
    );
}
