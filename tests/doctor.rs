//! What `sportlake doctor` finds: each check with its state, and nothing touched.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::postgres::{Database, PASSWORD, Server};
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
        ("http.page_seconds", "0"),
        ("generator.rate", "-1"),
        ("ingest.flush_rows", "0"),
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
    let broker = &found["broker.listen"].1;
    assert!(
        broker.ends_with("1 brokers, 4 topics, as Kafka 2.3 to 2.6"),
        "{broker}"
    );

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
    let webhook = format!("http://{}/services/canary", free_address());
    for enabled in ["true", "false"] {
        let project = Project::new()
            .set("notify.enabled", enabled)
            .with("SLACK_WEBHOOK_URL", &webhook);
        project.write("data/notify", "a file where a folder should be");
        fails(&project, "folder notify.path", "is no folder");
    }

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
    for listens in ["flight.listen", "http.listen"] {
        let project = Project::new().set(listens, "0.0.0.0:0");
        fails(&project, listens, "reached by other machines");
    }
}

#[test]
fn a_users_file_that_cannot_be_served_is_told() {
    let project = Project::new();
    let fresh = findings(&doctor(&project));
    assert!(fresh["flight.users"].1.contains("nobody signs in"));
    project.write("users.toml", "no users file");
    let writable = project.path("users.toml");
    std::fs::set_permissions(&writable, Permissions::from_mode(0o600)).expect("set");
    fails(&project, "flight.users", "no entry of a users file");
    std::fs::remove_file(&writable).expect("removed");
    let mut add = project.command(&["user", "add", "anne", "--role", "rh"]);
    let added = add.env("SPORTLAKE_PASSWORD", "correct horse").output();
    let added = added.expect("it runs");
    assert!(added.status.success(), "{}", text(&added.stderr));
    let known = findings(&doctor(&project));
    assert!(known["flight.users"].1.ends_with("has 1 user"), "{known:?}");
}

/// What is called, one line a call, by a server that answers nobody before so many called.
fn service(together: usize) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let calls: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = calls.clone();
    std::thread::spawn(move || {
        let mut waiting = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let mut call = [0; 4096];
            let length = stream.read(&mut call).unwrap_or_default();
            let call = text(&call[..length]);
            let is_ours = call.starts_with("HEAD ");
            heard.lock().expect("no panic").push(call);
            if !is_ours {
                // Traces of the command itself.
                continue;
            }
            waiting.push(stream);
            if waiting.len() == together {
                for mut stream in waiting.drain(..) {
                    let answer = "HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n";
                    let _ = stream.write_all(answer.as_bytes());
                }
            }
        }
    });
    (address, calls)
}

#[test]
fn services_are_reached_together_and_told_no_secret() {
    let (there, calls) = service(3);
    let project = Project::new()
        .with("SLACK_BOT_TOKEN", "xoxb-canary")
        .set("notify.channel", "C1")
        .set("notify.api", &format!("http://{there}/api"))
        .set("commute.provider", "google")
        .set("commute.google_api", &format!("http://{there}/canary"))
        .with("GOOGLE_MAPS_API_KEY", "canary")
        .with("OTEL_EXPORTER_OTLP_HEADERS", "authorization=canary")
        .set("traces.endpoint", &format!("http://{there}"));
    let output = doctor(&project);
    let found = findings(&output);
    assert!(output.status.success(), "{found:#?}");
    for check in ["reach Slack", "reach google", "reach traces"] {
        let expected = format!("\"http://{there}\" answers");
        assert_eq!(
            (found[check].0.as_str(), &found[check].1),
            ("ok", &expected)
        );
    }
    let calls = calls.lock().expect("no panic");
    let roots = calls
        .iter()
        .filter(|call| call.starts_with("HEAD / HTTP/1.1"));
    assert_eq!(roots.count(), 3, "{calls:?}");
    let head = calls.iter().filter(|call| call.starts_with("HEAD"));
    assert!(
        !head.cloned().collect::<String>().contains("canary"),
        "{calls:?}"
    );
}

#[test]
fn services_that_do_not_answer_keep_nobody_from_running() {
    let nobody = free_address();
    // It never has as many callers as it waits for.
    let (silent, _) = service(usize::MAX);
    let project = Project::new()
        .with(
            "SLACK_WEBHOOK_URL",
            &format!("http://{nobody}/services/canary"),
        )
        .set("commute.provider", "openrouteservice")
        .set("commute.openrouteservice_api", &format!("http://{silent}"))
        .with("ORS_API_KEY", "key");
    let output = doctor(&project);
    let found = findings(&output);
    assert!(output.status.success(), "{found:#?}");
    for (check, address, why) in [
        ("reach Slack", &nobody, "refused"),
        ("reach openrouteservice", &silent, "no answer within 5 s"),
    ] {
        let (state, said, hint) = &found[check];
        assert_eq!((state.as_str(), hint.is_empty()), ("warn", false), "{said}");
        assert!(said.contains(address) && said.contains(why), "{said}");
    }
    assert!(!text(&output.stdout).contains("canary"));
    let found = findings(&doctor(&Project::new()));
    let reached = found.keys().filter(|check| check.starts_with("reach "));
    assert_eq!(reached.count(), 0, "nothing is configured: {found:#?}");
}

#[test]
fn a_database_is_asked_for_its_version_its_log_and_its_clock() {
    for (setting, state, hint) in [
        ("logical", "ok", ""),
        ("replica", "warn", "Capture needs wal_level = logical"),
    ] {
        let Some(server) = Server::start(&[&format!("wal_level={setting}")]) else {
            return;
        };
        let database = Database::on(Arc::new(server), "t_doctor");
        let version = database.sql("SHOW server_version");
        let address = database.url_of("sportlake_app", PASSWORD, "");
        let project = Project::new().set("source.postgres", &address);
        let output = doctor(&project);
        assert!(output.status.success(), "{}", text(&output.stdout));
        let found = findings(&output);
        let (seen, said, hinted) = &found["source.postgres"];
        let expected = format!("t_doctor: PostgreSQL {version}, wal_level {setting}");
        assert!(said.ends_with(&expected), "no \"{expected}\" in {said}");
        assert_eq!(seen, state);
        assert!(hinted.starts_with(hint), "{hinted}");
        let (seen, said, _) = &found["clock and source.postgres"];
        assert_eq!(seen, "ok");
        // One machine, one clock: what is left is the way there and back.
        assert!(said.starts_with("this clock is 0."), "{said}");
        assert!(!text(&output.stdout).contains(&PASSWORD.replace(' ', "%20")));
    }
}

/// A certificate of its own for so many days, as `NAME.pem` and `NAME-key.pem`.
fn certificate(project: &Project, name: &str, days: &str) {
    let (key, out) = (format!("{name}-key.pem"), format!("{name}.pem"));
    // A file that is there would keep its mode.
    let _ = std::fs::remove_file(project.path(&key));
    openssl(
        project,
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            days,
            "-subj",
            "/CN=localhost",
            "-keyout",
            &key,
            "-out",
            &out,
        ],
    );
}

#[track_caller]
fn openssl(project: &Project, arguments: &[&str]) {
    let made = Command::new("openssl")
        .args(arguments)
        .current_dir(project.path("."))
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", text(&made.stderr));
}

/// The same certificate, which ended long ago: no openssl makes one.
fn ended(project: &Project, name: &str, until: &str) {
    let (pem, der) = (format!("{name}.pem"), format!("{name}.der"));
    openssl(
        project,
        &["x509", "-in", &pem, "-outform", "DER", "-out", &der],
    );
    let mut bytes = std::fs::read(project.path(&der)).expect("a file");
    let dates = bytes
        .windows(4)
        .position(|window| window[..2] == [0x30, 0x1e] && window[2..] == [0x17, 0x0d])
        .expect("two dates");
    bytes[dates + 19..][..13].copy_from_slice(until.as_bytes());
    std::fs::write(project.path(&der), bytes).expect("written");
    openssl(
        project,
        &["x509", "-inform", "DER", "-in", &der, "-out", &pem],
    );
}

#[track_caller]
fn says(project: &Project, check: &str, state: &str, wanted: &str) {
    let output = doctor(project);
    let findings = findings(&output);
    let found = findings
        .get(check)
        .unwrap_or_else(|| unreachable!("no {check} in {findings:#?}"));
    assert_eq!(
        (found.0.as_str(), found.2.is_empty()),
        (state, state == "ok"),
        "{found:?}"
    );
    assert!(found.1.contains(wanted), "no \"{wanted}\" in {}", found.1);
}

#[test]
fn certificates_that_end_or_do_not_belong_together_are_told() {
    let served = Project::new()
        .set("flight.tls_certificate", "server.pem")
        .set("flight.tls_key", "server-key.pem")
        .set("flight.tls_client_authority", "ca.pem");
    let check = "flight.tls_certificate";
    says(&served, check, "fail", "cannot be used for TLS");
    for (name, days) in [("server", "90"), ("other", "90"), ("ca", "10")] {
        certificate(&served, name, days);
    }
    says(&served, check, "ok", "\"server.pem\" is valid until 20");
    says(&served, "flight.tls_client_authority", "warn", "days");
    let output = doctor(&served);
    assert!(
        output.status.success(),
        "a warning keeps nobody from running"
    );
    std::fs::copy(served.path("other-key.pem"), served.path("server-key.pem")).expect("copied");
    says(&served, check, "fail", "cannot be used for TLS");
    certificate(&served, "server", "7");
    says(&served, check, "warn", "ends on 20");
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(served.path("server-key.pem"), open).expect("changed");
    says(&served, check, "fail", "server-key.pem");
    certificate(&served, "server", "90");
    ended(&served, "server", "200101000000Z");
    fails(&served, check, "ended on 2020-01-01");
    served.write("server.pem", "no certificate");
    says(&served, check, "fail", "server.pem");
}

#[test]
fn certificates_of_brokers_and_databases_are_told() {
    let nobody = free_address();
    let address = format!(
        "postgres://a:canary@{nobody}/b?sslmode=verify-full&sslrootcert=ca.pem&sslcert=us.pem&sslkey=us-key.pem"
    );
    let project = Project::new()
        .set("kafka.brokers", &nobody)
        .set("kafka.security", "ssl")
        .set("kafka.ca_file", "ca.pem")
        .set("kafka.certificate_file", "us.pem")
        .set("kafka.key_file", "us-key.pem")
        .set("source.postgres", &address);
    for (name, days) in [("us", "90"), ("other", "90"), ("ca", "90")] {
        certificate(&project, name, days);
    }
    let both = [
        ("kafka.ca_file", "kafka.certificate_file"),
        ("source.postgres sslrootcert", "source.postgres sslcert"),
    ];
    for (authority, own) in both {
        says(&project, authority, "ok", "is valid until");
        says(&project, own, "ok", "is valid until");
    }
    ended(&project, "ca", "200101000000Z");
    std::fs::copy(project.path("other-key.pem"), project.path("us-key.pem")).expect("copied");
    let open = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(project.path("us-key.pem"), open).expect("changed");
    for (authority, own) in both {
        says(&project, authority, "fail", "ended on 2020-01-01");
        says(&project, own, "fail", "do not belong together");
    }
    says(&project, "kafka.key_file", "warn", "others may read");
    says(
        &project,
        "source.postgres sslkey",
        "warn",
        "others may read",
    );
    // An authority that still lasts beside one that does not is enough.
    certificate(&project, "more", "90");
    let bundle = project.read("ca.pem") + &project.read("more.pem");
    project.write("ca.pem", &bundle);
    says(&project, "kafka.ca_file", "ok", "is valid until");
    assert!(!text(&doctor(&project).stdout).contains("canary"));
}

#[test]
fn secrets_are_found_as_the_roles_find_them_and_never_shown() {
    let nobody = free_address();
    let project = Project::new()
        .set("kafka.brokers", &nobody)
        .set("kafka.security", "sasl_plaintext")
        .set("kafka.sasl_mechanism", "PLAIN")
        .set("kafka.username", "someone")
        .set("kafka.password_file", "kafka.password")
        .set("source.postgres", &format!("postgres://a@{nobody}/b"))
        .set("source.postgres_password_file", "postgres.password")
        .set("notify.enabled", "true")
        .set("notify.webhook_file", "webhook")
        .set("commute.provider", "google")
        .set("commute.google_api", &format!("http://{nobody}"))
        .set("commute.key_file", "google.key");
    says(
        &project,
        "kafka.brokers",
        "fail",
        "could not read \"kafka.password\"",
    );
    says(
        &project,
        "source.postgres",
        "fail",
        "could not read the password",
    );
    says(
        &project,
        "notify",
        "fail",
        "could not read notify.webhook_file",
    );
    says(
        &project,
        "commute.provider",
        "fail",
        "could not read commute.key_file",
    );
    for file in ["kafka.password", "postgres.password", "google.key"] {
        project.write(file, "canary\n");
    }
    project.write("webhook", &format!("http://{nobody}/services/canary\n"));
    says(&project, "kafka.brokers", "fail", "no broker answers");
    says(&project, "source.postgres", "fail", "no PostgreSQL answers");
    says(&project, "notify", "ok", "there is a secret");
    says(
        &project,
        "commute.provider",
        "ok",
        "there is a key for google",
    );
    for format in ["table", "json"] {
        let output = project.run(&["-vv", "doctor", "--output", format]);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(!said.contains("canary"), "{said}");
    }
    let bare = Project::new()
        .set("commute.provider", "google")
        .set("commute.google_api", &format!("http://{nobody}"));
    let output = bare
        .command(&["doctor", "--output", "json"])
        .env_remove("GOOGLE_MAPS_API_KEY")
        .output();
    let found = findings(&output.expect("runs"));
    assert_eq!(found["commute.provider"].0, "warn");
}
