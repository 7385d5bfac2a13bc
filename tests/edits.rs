//! Edits of the SQL project from the command line: plan, apply, rollback, and the lock of the sources.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::project::{Project, text};

const GOLD: &str = "sql/gold/salaries_par_bu.sql";
const SQL: &str = "-- @key bu\nSELECT bu, count(*) AS nb FROM silver.employees GROUP BY bu\n";

#[track_caller]
fn json(project: &Project, arguments: &[&str]) -> Value {
    let output = project.run(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        text(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn an_edit_is_planned_applied_and_taken_back_beside_a_live_up() {
    let project = Project::new()
        .set("generator.days", "5")
        .set("generator.rate", "0");
    let mut up = project.start(&["up"]);
    up.wait_for("caught up");
    let nothing = text(&project.run(&["plan"]).stdout);
    assert!(nothing.starts_with("nothing to do"), "{nothing}");
    assert_eq!(project.run(&["apply", "--rollback"]).status.code(), Some(3));

    project.write(GOLD, SQL);
    up.wait_for("salaries_par_bu");
    let rows = project.rows("SELECT count(*) FROM gold.salaries_par_bu");
    std::fs::remove_file(project.path(GOLD)).expect("deleted");
    up.wait_for("is gone");
    let status = text(&project.run(&["status"]).stdout);
    assert!(
        status.contains("the file of gold.salaries_par_bu is gone"),
        "{status}"
    );
    assert_eq!(
        project.rows("SELECT count(*) FROM gold.salaries_par_bu"),
        rows
    );

    let plan = json(&project, &["plan", "--output", "json"]);
    assert_eq!(plan["tables"][0]["kind"], "retired", "{plan}");
    let dry = text(&project.run(&["apply", "--dry-run"]).stdout);
    assert!(
        dry.contains("retired") && dry.contains("needs `sportlake apply`"),
        "{dry}"
    );
    let applied = json(&project, &["apply", "--output", "json"]);
    assert_eq!(
        applied["details"]["retired"][0], "gold.salaries_par_bu",
        "{applied}"
    );
    let gone = project.run(&["query", "SELECT * FROM gold.salaries_par_bu"]);
    assert_eq!(gone.status.code(), Some(2), "{}", text(&gone.stderr));

    let back = project.run(&["apply", "--rollback"]);
    assert!(back.status.success(), "{}", text(&back.stderr));
    assert_eq!(
        project.rows("SELECT count(*) FROM gold.salaries_par_bu"),
        rows
    );
    let status = json(&project, &["status", "--output", "json"]);
    assert_eq!(status["project"]["rolled_back"], true, "{status}");
    let plan = json(&project, &["plan", "--no-rows", "--output", "json"]);
    assert!(
        plan["needs_apply"].to_string().contains("rolled back"),
        "{plan}"
    );

    project.write("sql/gold/broken.sql", "SELECT nom FROM silver.employes\n");
    for command in [["plan"], ["apply"]] {
        let broken = project.run(&command);
        let said = text(&broken.stdout);
        assert_eq!(broken.status.code(), Some(1), "{said}");
        assert!(said.contains("sql/gold/broken.sql:1:17"), "{said}");
    }
    up.signal(Signal::SIGINT);
    up.end();
}

#[test]
fn the_lock_of_the_sources_follows_what_was_ingested() {
    let project = Project::new()
        .set("generator.days", "5")
        .set("generator.rate", "0");
    let mut up = project.start(&["up"]);
    up.wait_for("caught up");
    let same = json(
        &project,
        &["sources", "update", "--dry-run", "--output", "json"],
    );
    assert_eq!(
        same,
        Value::Array(Vec::new()),
        "the shipped lock is what the topics hold"
    );

    let lock = project.read("sql/sources.lock");
    let edited = lock
        .replace("adresse = \"string\"", "adresse = \"boolean\"")
        .replace(
            "nom = \"string\"\nprenom",
            "nom = \"string\"\nsurnom = \"string\"\nprenom",
        );
    assert_ne!(edited, lock);
    project.write("sql/sources.lock", &edited);
    up.wait_for("sources.lock");
    let status = text(&project.run(&["status"]).stdout);
    for expected in [
        "field adresse of bronze.employees was boolean and is string; read at silver/employees.sql:",
        "bronze.employees has no field surnom any more",
    ] {
        assert!(status.contains(expected), "no {expected} in {status}");
    }
    let dry = project.run(&["sources", "update", "--dry-run"]);
    assert!(
        text(&dry.stdout).contains("surnom"),
        "{}",
        text(&dry.stdout)
    );
    assert_eq!(project.read("sql/sources.lock"), edited);
    assert!(project.run(&["sources", "update"]).status.success());
    assert_eq!(project.read("sql/sources.lock"), lock);
    up.signal(Signal::SIGINT);
    up.end();
}
