//! What `sportlake doctor` finds: each check with its state, and nothing touched.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::Output;

use serde_json::Value;

use crate::project::{Project, free_address, text};
use crate::truth::newest_manifest;

/// Each check's state, found text and hint.
#[track_caller]
fn findings(output: &Output) -> BTreeMap<String, (String, String, String)> {
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).expect("a list of checks");
    let cell = |row: &Value, name: &str| row[name].as_str().expect("a text").to_owned();
    let rows = rows.iter();
    rows.map(|row| {
        let told = (cell(row, "state"), cell(row, "found"), cell(row, "hint"));
        (cell(row, "check"), told)
    })
    .collect()
}

fn doctor(project: &Project) -> Output {
    project.run(&["doctor", "--output", "json"])
}

/// The checks that failed; each has a hint.
#[track_caller]
fn failed(output: &Output) -> Vec<String> {
    let findings = findings(output).into_iter();
    let failed = findings.filter(|(_, (state, _, _))| state == "fail");
    failed
        .map(|(check, (_, found, hint))| {
            assert!(!hint.is_empty(), "{check} \"{found}\" has no hint");
            check
        })
        .collect()
}

#[track_caller]
fn fails(project: &Project, check: &str, wanted: &str) {
    let output = doctor(project);
    assert_eq!(failed(&output), [check], "{}", text(&output.stdout));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "error: 1 check failed\n");
    let (_, found, _) = &findings(&output)[check];
    assert!(found.contains(wanted), "no \"{wanted}\" in {found}");
}

#[test]
fn a_fresh_folder_is_well_and_stays_as_it_is() {
    let project = Project::new();
    for format in ["table", "json", "csv"] {
        let output = project.run(&["doctor", "--output", format]);
        let (told, errors) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{told}{errors}");
        for check in ["program", "configuration", "broker.listen", "lake.uri"] {
            assert!(told.contains(check), "no {check} in {told}");
        }
        assert!(!told.contains("fail"), "{told}");
    }
    let found = findings(&doctor(&project));
    assert!(found["lake"].1.contains("none at \"./data/lake\" yet"));
    assert!(!project.path("data").exists(), "something was written");
}

#[test]
fn a_configuration_that_is_wrong_is_refused_as_everywhere() {
    for (key, value) in [
        ("flight.lisen", "x"),
        ("flight.max_statements", "0"),
        ("flight.listen", "nowhere"),
        ("source.postgres", "mysql://a@b/c"),
        ("notify.retry_ms", "0"),
    ] {
        let output = doctor(&Project::new().set(key, value));
        assert_eq!(
            output.status.code(),
            Some(2),
            "{key}: {}",
            text(&output.stderr)
        );
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn a_lake_is_looked_at_beside_its_roles_and_after_them() {
    let ports = [free_address(), free_address()];
    let project = Project::new()
        .set("generator.days", "3")
        .set("generator.rate", "0")
        .set("flight.listen", &ports[0])
        .set("http.listen", &ports[1]);
    let mut up = project.start(&["up"]);
    up.wait_for("caught up");
    let output = doctor(&project);
    let found = findings(&output);
    assert!(output.status.success(), "{}", text(&output.stdout));
    assert!(found["flight.listen"].1.ends_with("is served"));
    assert!(found["http.listen"].1.ends_with("is served"));
    assert!(found["broker.listen"].1.contains("1 brokers, 4 topics"));

    up.signal(nix::sys::signal::Signal::SIGINT);
    up.end();
    let newest = newest_manifest(&project).expect("an epoch");
    let output = doctor(&project);
    let found = findings(&output);
    assert!(output.status.success(), "{}", text(&output.stdout));
    assert!(found["broker.listen"].1.ends_with("is free"));
    assert!(found["lake"].1.contains("has this program's format"));
    let epoch = format!("{} of ", newest["epoch"]);
    assert!(found["newest epoch"].1.starts_with(&epoch), "{found:?}");
    let tables = newest["tables"].as_object().expect("tables").len();
    let protocols = format!("{tables} tables: reader 1, writer 4");
    assert_eq!(found["Delta protocol"].1, protocols);

    an_epoch_from_the_future_is_told(&project, newest);
    a_protocol_that_nobody_knows_is_told(&project);
    project.write("data/lake/_format", "sportlake lake format 99\n");
    fails(
        &project,
        "lake",
        "another format: \"sportlake lake format 99\"",
    );
}

/// As a clock that was an hour ahead would leave it.
#[track_caller]
fn an_epoch_from_the_future_is_told(project: &Project, mut newest: Value) {
    let file = format!(
        "data/lake/_epochs/{:020}.json",
        newest["epoch"].as_u64().expect("n")
    );
    let before = project.read(&file);
    newest["now"] = "2999-01-01T00:00:00Z".into();
    project.write(&file, &newest.to_string());
    fails(project, "clock and newest epoch", "behind");
    project.write(&file, &before);
}

/// As another program would leave it that turns on what came later.
#[track_caller]
fn a_protocol_that_nobody_knows_is_told(project: &Project) {
    let first = "data/lake/gold/indicateurs/_delta_log/00000000000000000000.json";
    let before = project.read(first);
    let raised = before
        .replace("\"minReaderVersion\":1", "\"minReaderVersion\":9")
        .replace("\"minWriterVersion\":4", "\"minWriterVersion\":9");
    assert_ne!(raised, before, "{before}");
    project.write(first, &raised);
    let output = doctor(project);
    assert_eq!(failed(&output), ["Delta protocol of gold.indicateurs"]);
    project.write(first, &before);
}

#[test]
fn a_port_that_somebody_else_has_is_told() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    // Whoever connects is let go, so that nobody waits.
    let address = taken.local_addr().expect("bound").to_string();
    std::thread::spawn(move || while taken.accept().is_ok() {});
    for key in [
        "flight.listen",
        "http.listen",
        "metrics.listen",
        "broker.listen",
    ] {
        let project = Project::new().set(key, &address);
        fails(&project, key, "is in use");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_told() {
    let project = Project::new().set("notify.enabled", "true");
    project.write("data/notify", "a file where a folder should be");
    fails(&project, "folder notify.path", "is no folder");

    let project = Project::new().set("lake.uri", "/proc/sportlake");
    let output = doctor(&project);
    // The superuser may write everywhere, says the kernel, and has no room there.
    assert_eq!(failed(&output), ["folder lake.uri"]);
}

#[test]
fn brokers_and_databases_that_do_not_answer_are_told() {
    let nobody = free_address();
    let project = Project::new().set("kafka.brokers", &nobody);
    fails(&project, "kafka.brokers", "no broker answers");
    let project = project
        .set("kafka.security", "sasl_plaintext")
        .set("kafka.sasl_mechanism", "PLAIN")
        .set("kafka.username", "someone")
        .set("kafka.password_file", "absent");
    fails(&project, "kafka.brokers", "absent");
    let address = format!("postgres://someone:secret@{nobody}/sportsdb");
    let project = Project::new().set("source.postgres", &address);
    fails(&project, "source.postgres", "no PostgreSQL answers");
    assert!(!text(&doctor(&project).stdout).contains("secret"));
}

#[test]
fn a_server_that_others_reach_and_nobody_signs_in_to_is_told() {
    let project = Project::new().set("flight.listen", "0.0.0.0:0");
    fails(&project, "flight.listen", "reached by other machines");
}
