//! What Compose starts, as processes with the words of the file: on free ports, with the embedded broker in Redpanda's
//! place and the capture in Debezium's.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Map, Value};

use super::proxies::proxies;
use super::{docker, environment, read, scalar, services, services_with, words};
use crate::broker::Broker;
use crate::http::{get, try_get};
use crate::parts::{missing, part};
use crate::ports::free_port;
use crate::postgres::{Database, PASSWORD, Server};
use crate::project::{PATIENCE, Project, Running, free_address, text};

/// The words of a health check.
fn check(service: &Value) -> Vec<String> {
    let words = words(&service["healthcheck"]["test"]);
    assert_eq!(words.first().map(String::as_str), Some("CMD"), "{words:?}");
    words[1..].to_vec()
}

/// Those of the image, which hold for every role.
fn check_of_the_image() -> Vec<String> {
    let dockerfile = read("Dockerfile");
    let (_, after) = dockerfile.split_once("HEALTHCHECK ").expect("a check");
    let (_, command) = after.split_once("CMD ").expect("its command");
    let command = command.lines().next().unwrap_or_default();
    serde_json::from_str(command).expect("a list of words")
}

/// Runs a check where its service listens here. It asks no proxy, such as a Docker client sets in every container.
fn passes(check: &[String], container: &str, here: &str) -> bool {
    let words = check.iter().map(|word| word.replace(container, here));
    let words: Vec<String> = words.collect();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).envs(proxies());
    let ended = command.stderr(Stdio::null()).status();
    ended.is_ok_and(|status| status.success())
}

#[track_caller]
fn becomes_healthy(name: &str, check: &[String], container: &str, here: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !passes(check, container, here) {
        assert!(Instant::now() < deadline, "{name} does not become healthy");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The server with the settings of the command line, and the database that the init files make.
fn postgres(service: &Value) -> Option<Database> {
    let words = words(&service["command"]);
    assert_eq!(words[0], "postgres");
    let settings: Vec<&str> = words[1..]
        .chunks(2)
        .map(|pair| {
            assert_eq!(pair[0], "-c", "{words:?}");
            pair[1].as_str()
        })
        .collect();
    let server = Arc::new(Server::start(&settings)?);
    for setting in settings {
        let (name, value) = setting.split_once('=').expect("a setting");
        assert_eq!(server.psql("postgres", &format!("SHOW {name}")), value);
    }
    Some(Database::on(server, "sportsdb"))
}

/// The server's own check, which knows no port but the usual one.
#[track_caller]
fn postgres_is_healthy_when_it_answers(service: &Value, port: u16) {
    let programs = PathBuf::from(part("SPORTLAKE_TEST_POSTGRES").expect("it runs"));
    let check = check(service);
    let asked = |port: u16| {
        let mut command = Command::new(programs.join(&check[0]));
        command.args(&check[1..]).env("PGPORT", port.to_string());
        command.status().expect("it runs").success()
    };
    assert!(asked(port), "{check:?}");
    assert!(!asked(free_port()), "nobody answers there");
}

struct Stack {
    services: Map<String, Value>,
    project: Project,
    broker: Broker,
    database: Database,
}

/// A role with the address of its page or its probes.
struct Role {
    name: &'static str,
    http: String,
    running: Running,
}

impl Stack {
    /// A service's command line and environment, with the addresses that are other ones here.
    fn command(&self, name: &str, http: &str) -> Command {
        let service = &self.services[name];
        let words = words(&service["command"]);
        let arguments: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = self.project.command(&arguments);
        for (variable, value) in environment(service) {
            let here = match (variable.as_str(), value.as_str()) {
                ("SPORTLAKE__SOURCE__POSTGRES", address) => {
                    assert!(address.contains("@postgres/sportsdb"), "{address}");
                    self.database.url_of("sportlake_app", PASSWORD, "")
                }
                (_, "redpanda:9092") => self.broker.address.clone(),
                (_, "0.0.0.0:8080") => http.to_owned(),
                (_, "0.0.0.0:50051") => "127.0.0.1:0".to_owned(),
                _ => value,
            };
            command.env(variable, here);
        }
        command
    }

    /// A service that does its work and ends.
    #[track_caller]
    fn runs(&self, name: &str) {
        let output = self.command(name, "").output().expect("it runs");
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
    }

    /// A role, once its check passes.
    #[track_caller]
    fn starts(&self, name: &'static str) -> Role {
        let http = free_address();
        let role = Role {
            name,
            running: Running::of(&mut self.command(name, &http)),
            http,
        };
        let check = check_of_the_image();
        becomes_healthy(name, &check, "127.0.0.1:8080", &role.http);
        role
    }
}

#[test]
fn the_stack_comes_up_in_its_order_and_every_check_of_health_passes() {
    let Some(services) = services_with(&["GENERATE_DAYS=3"]) else {
        return;
    };
    if Command::new("curl").arg("--version").output().is_err() {
        missing("curl");
        return;
    }
    let Some(database) = postgres(&services["postgres"]) else {
        return;
    };
    postgres_is_healthy_when_it_answers(&services["postgres"], database.server.port);
    let project = Project::new();
    for folder in ["hr", "data"] {
        std::fs::create_dir_all(project.path(folder)).expect("created");
    }
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("sources/samples");
    for name in ["employes.xlsx", "sports.xlsx"] {
        std::fs::copy(samples.join(name), project.path("hr").join(name)).expect("copied");
    }
    let stack = Stack {
        services,
        broker: Broker::start(project.path("broker")),
        project,
        database,
    };

    let activities = || stack.database.sql("SELECT count(*) FROM sport_activities");
    for name in ["hr-import", "generate", "commute", "user", "grafana-user"] {
        stack.runs(name);
    }
    let loaded = activities();
    assert!(loaded.parse::<usize>().expect("a number") > 10, "{loaded}");
    let marks = "SELECT count(*) FROM sport_activities WHERE type_activite = 'BACKFILL_COMPLETE'";
    assert_eq!(stack.database.sql(marks), "1");
    // The next `up`.
    for name in ["hr-import", "generate", "commute"] {
        stack.runs(name);
    }
    assert_eq!(activities(), loaded, "nothing was left to do");

    let capture = stack.database.url_of("sportlake_cdc", PASSWORD, "");
    let mut cdc = stack.project.command(&["cdc"]);
    cdc.env("SPORTLAKE__SOURCE__POSTGRES", capture)
        .env("SPORTLAKE__KAFKA__BROKERS", &stack.broker.address);
    let _cdc = Running::of(&mut cdc);
    let mut roles = ["ingest", "refresh", "serve", "notify"].map(|name| stack.starts(name));
    let deadline = Instant::now() + PATIENCE;
    while stack.project.rows("SELECT count(*) FROM silver.employees") != ["161"] {
        assert!(Instant::now() < deadline, "the employees do not come");
    }

    // Nothing of the first load is news; what comes alive is.
    let live = Running::of(&mut stack.command("live", ""));
    let told = |role: &Role| {
        let metrics = get(&role.http, "/metrics");
        let mut lines = metrics.lines();
        lines.any(|line| {
            let count = line.strip_prefix("sportlake_notify_activities_total ");
            count.is_some_and(|count| count != "0")
        })
    };
    let deadline = Instant::now() + PATIENCE;
    while !told(&roles[3]) {
        assert!(Instant::now() < deadline, "nothing is told");
        std::thread::sleep(Duration::from_millis(100));
    }
    live.kill();
    for role in &mut roles {
        role.running.signal(Signal::SIGTERM);
        let ended = role.running.end();
        let said = role.running.transcript();
        assert_eq!(ended.code(), Some(0), "{}: {said}", role.name);
    }
}

/// Prometheus, killed when dropped.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn prometheus_takes_its_command_line_and_finds_what_is_mounted() {
    let Some(services) = services() else { return };
    let Some(programs) = part("SPORTLAKE_TEST_PROMETHEUS").map(PathBuf::from) else {
        return;
    };
    if Command::new("wget").arg("--version").output().is_err() {
        missing("wget");
        return;
    }
    let service = &services["prometheus"];
    let folder = tempfile::tempdir().expect("a folder");
    let here = |path: &str| folder.path().join(path.trim_start_matches('/'));
    for volume in service["volumes"].as_array().expect("volumes") {
        let volume = scalar(volume);
        let mut parts = volume.split(':');
        let (source, target) = (parts.next().expect("one"), parts.next().expect("another"));
        let target = here(target);
        std::fs::create_dir_all(target.parent().expect("a folder")).expect("created");
        if source.starts_with('.') {
            std::fs::copy(docker(source), target).expect("copied");
        }
    }
    let address = free_address();
    let arguments = words(&service["command"]).into_iter().map(|word| {
        let (flag, value) = word.split_once('=').expect("a flag with a value");
        match value.strip_prefix('/') {
            Some(path) => format!("{flag}={}", here(path).display()),
            None => word,
        }
    });
    let process = Command::new(programs.join("prometheus"))
        .args(arguments)
        .arg(format!("--web.listen-address={address}"))
        .stderr(Stdio::null())
        .spawn()
        .expect("Prometheus runs");
    let _prometheus = Prometheus(process);
    becomes_healthy("prometheus", &check(service), "127.0.0.1:9090", &address);

    let ask = |path: &str| -> Value {
        let answer = get(&address, path);
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        serde_json::from_str(body).expect("JSON")
    };
    let flags = ask("/api/v1/status/flags");
    assert_eq!(flags["data"]["storage.tsdb.retention.time"], "15d");
    let rules = ask("/api/v1/rules");
    let groups = rules["data"]["groups"].as_array().expect("groups");
    assert!(!groups.is_empty(), "{rules}");
    // The files of targets are read a moment after the start.
    let deadline = Instant::now() + PATIENCE;
    for target in [
        "ingest:8080",
        "refresh:8080",
        "serve:8080",
        "notify:8080",
        "connect:9404",
    ] {
        let known = || {
            let targets = try_get(&address, "/api/v1/targets").unwrap_or_default();
            targets.contains(&format!("\"instance\":\"{target}\""))
        };
        while !known() {
            assert!(Instant::now() < deadline, "{target} is not scraped");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
