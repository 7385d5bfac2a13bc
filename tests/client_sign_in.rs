//! Clients at the door of a server with users, each with its own driver: every way in, every refusal with its reason,
//! and a server that starts again while they are connected.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::parts::part;
use crate::project::{Project, free_address, text};

const PASSWORD: &str = "correct horse battery";

const SEEN: &str = "-- Une ligne, que lit le rôle.
-- @key id
SELECT 1 AS id, 'vu' AS texte
";

const HIDDEN: &str = "-- Une ligne, que le rôle ne lit pas.
-- @key id
SELECT 1 AS id, 'secret' AS texte
";

const POLICIES: &str = "CREATE ROLE lecteur, personne;
GRANT SELECT ON gold.visible TO lecteur;
";

#[test]
fn every_client_signs_in_and_is_told_why_not() {
    let clients = clients();
    if clients.is_empty() {
        return;
    }
    let address = free_address();
    let project = Project::new().set("flight.listen", &address);
    std::fs::remove_dir_all(project.path("sql")).expect("removed");
    project.write("sql/gold/visible.sql", SEEN);
    project.write("sql/gold/cache.sql", HIDDEN);
    project.write("sql/policies.sql", POLICIES);
    succeeds(&project, &["refresh"]);
    succeeds(&project, &["user", "add", "anne", "--role", "lecteur"]);
    succeeds(&project, &["user", "add", "bob", "--role", "personne"]);
    let token = |label: &str| succeeds(&project, &["user", "token", "anne", "--label", label]);
    let good = token("good");
    let expired = token("expired");
    let taken_back = token("taken back");
    let listed = succeeds(
        &project,
        &["user", "token", "anne", "--list", "--output", "json"],
    );
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
    let id = listed[2]["id"].as_str().expect("an id").to_owned();
    assert_eq!(listed[2]["label"], "taken back");
    succeeds(&project, &["user", "token", "anne", "--revoke", &id]);
    ends(&project, "expired");

    let mut serve = project.start(&["serve"]);
    serve.wait_for("grpc://");
    for client in clients {
        let mut driver = Command::new(&client[0])
            .args(&client[1..])
            .args([&address, PASSWORD, &good, &expired, &taken_back])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the client runs");
        let mut lines = BufReader::new(driver.stdout.take().expect("piped")).lines();
        let ready = lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line == "connected");
        if ready {
            serve.signal(Signal::SIGINT);
            serve.end();
            serve = project.start(&["serve"]);
            serve.wait_for("grpc://");
            let mut stdin = driver.stdin.take().expect("piped");
            stdin.write_all(b"again\n").expect("told");
        }
        for line in lines.map_while(Result::ok) {
            println!("{line}");
        }
        let output = driver.wait_with_output().expect("the client ends");
        assert!(
            ready && output.status.success(),
            "{client:?}: {}",
            text(&output.stderr)
        );
    }
    serve.signal(Signal::SIGINT);
    serve.end();
    let audit = project.read("data/audit.jsonl");
    assert!(audit.contains("\"refused\""), "{audit}");
    for secret in [PASSWORD, good.as_str(), "wrong horse"] {
        assert!(!audit.contains(secret), "a secret is in the audit log");
    }
}

/// The commands of the clients that this machine has; `tests/run` names the others as skipped.
fn clients() -> Vec<Vec<OsString>> {
    let script = |name: &str| -> OsString {
        let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "clients", name]
            .iter()
            .collect();
        path.into()
    };
    let python = part("SPORTLAKE_TEST_PYTHON");
    let python = python.map(|python| vec![python, script("sign_in_ways.py")]);
    let drivers = part("SPORTLAKE_TEST_JDBC").unwrap_or_default();
    let java = std::env::split_paths(&drivers).filter(|driver| !driver.as_os_str().is_empty());
    let java = java.map(|driver| {
        let mut command: Vec<OsString> = ["java", "-Xmx256m"].map(Into::into).into();
        command.push("--add-opens=java.base/java.nio=ALL-UNNAMED".into());
        command.extend(["-cp".into(), driver.into(), script("SignInWays.java")]);
        command
    });
    let grafana = part("SPORTLAKE_TEST_GRAFANA");
    let grafana = grafana.map(|grafana| vec![grafana, "sign-in".into()]);
    python.into_iter().chain(java).chain(grafana).collect()
}

#[track_caller]
fn succeeds(project: &Project, arguments: &[&str]) -> String {
    let mut command = project.command(arguments);
    command.env("SPORTLAKE_PASSWORD", PASSWORD);
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

/// Ends a token's time in the users file, as an operator may.
fn ends(project: &Project, label: &str) {
    let file = project.read("users.toml");
    let (before, entry) = file
        .split_once(&format!("label = \"{label}\"\n"))
        .expect("the token's entry");
    let (line, after) = entry.split_once('\n').expect("its next line");
    assert!(line.starts_with("expires = "), "{line}");
    let path = project.path("users.toml");
    // In place: the file keeps its mode.
    std::fs::write(
        path,
        format!("{before}label = \"{label}\"\nexpires = 1\n{after}"),
    )
    .expect("written");
}
