//! `docker/compose.yaml` and `docker/Dockerfile`, without a container engine: what they say, and every command line of
//! ours in them, run as a process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use changes::Op;
use serde_json::{Map, Value};

use crate::notify::{CANARY, Stage, activity};
use crate::parts::missing;
use crate::postgres::{Database, PASSWORD, Server};
use crate::project::{PATIENCE, Project, text};
use routes::{GOOGLE_KEY, Routes};

mod proxies;
#[expect(dead_code, reason = "the tests of the provider ask for more")]
#[path = "../sources/tests/feeds/routes.rs"]
mod routes;
mod running;

/// How long a command that goes on is watched.
const WATCHED: Duration = Duration::from_secs(5);

/// Reads the file as Compose does, with the variables of `.env.example`, and writes JSON. `${NAME:?text}` must be set
/// there, so that whoever copies it lacks nothing.
const READ: &str = r##"
import json, re, sys, yaml
given = dict(line.strip().split("=", 1) for line in open(sys.argv[2]) if "=" in line and not line.startswith("#"))
given.update(word.split("=", 1) for word in sys.argv[3:])
used = set()
def one(found):
    name, operator, rest = found.group(1), found.group(2), found.group(3)
    used.add(name)
    if operator == ":?" and not given.get(name):
        sys.exit(f"{name} is not in .env.example")
    if operator == ":-" and not given.get(name):
        return rest
    return given.get(name, rest)
# A default may begin with dashes of its own: ${NAME---flag}.
filled = re.sub(r"\$\{(\w+)(:\?|:-|-)([^}]*)\}", one, open(sys.argv[1]).read())
json.dump({"compose": yaml.safe_load(filled), "unused": sorted(set(given) - used)}, sys.stdout)
"##;

fn docker(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docker")
        .join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(docker(name)).expect("a text file")
}

/// The services; None where Python has no YAML.
fn services() -> Option<Map<String, Value>> {
    services_with(&[])
}

/// The same with lines of `.env` that are otherwise than in its example.
fn services_with(lines: &[&str]) -> Option<Map<String, Value>> {
    let has_yaml = Command::new("python3").args(["-c", "import yaml"]).output();
    if !has_yaml.is_ok_and(|output| output.status.success()) {
        missing("yaml for Python");
        return None;
    }
    let output = Command::new("python3")
        .args(["-c", READ])
        .args([docker("compose.yaml"), docker(".env.example")])
        .args(lines)
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        read["unused"],
        serde_json::json!([]),
        "nobody reads these variables"
    );
    Some(
        read["compose"]["services"]
            .as_object()
            .expect("services")
            .clone(),
    )
}

/// Words of a command, whether a list or a text.
fn words(command: &Value) -> Vec<String> {
    match command {
        Value::Array(words) => words.iter().map(scalar).collect(),
        Value::String(text) => text.split_whitespace().map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn environment(service: &Value) -> BTreeMap<String, String> {
    let variables = service["environment"].as_object().into_iter().flatten();
    variables
        .map(|(name, value)| (name.clone(), scalar(value)))
        .collect()
}

/// Runs the program of this repository, and nothing else in its place.
fn is_ours(service: &Value) -> bool {
    service["image"] == "sportlake:local" && service["entrypoint"].is_null()
}

#[test]
fn compose_takes_the_file() {
    let Ok(output) = Command::new("docker-compose")
        .arg("--env-file")
        .arg(docker(".env.example"))
        .arg("-f")
        .arg(docker("compose.yaml"))
        .args(["config", "--quiet"])
        .output()
    else {
        missing("docker-compose");
        return;
    };
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn every_service_starts_in_its_turn_and_says_how_it_is() {
    let Some(services) = services() else { return };
    for (name, service) in &services {
        let image = service["image"].as_str().expect("an image");
        let tag = image.rsplit_once(':').map(|(_, tag)| tag);
        assert!(tag.is_some_and(|tag| tag != "latest"), "{name}: {image}");
        assert_ne!(service["privileged"], Value::Bool(true), "{name}");
        let ports = service["ports"].as_array().into_iter().flatten();
        for port in ports.map(scalar) {
            assert!(
                port.starts_with("127.0.0.1:"),
                "{name} publishes {port} to everybody"
            );
        }
        let restarts = service["restart"].as_str().expect("a restart policy");
        let is_once = restarts == "no";
        let checked = &service["healthcheck"];
        let is_live_only = name == "live";
        if is_once || is_live_only {
            assert_eq!(
                checked["disable"],
                Value::Bool(true),
                "{name} answers nobody"
            );
        } else {
            // Ours have the check of the image.
            assert!(
                checked["test"].is_array() || is_ours(service),
                "{name} has no health check"
            );
        }
        for (other, wanted) in service["depends_on"].as_object().into_iter().flatten() {
            let on = services.get(other).expect("a service that is there");
            let condition = match on["restart"] == "no" {
                true => "service_completed_successfully",
                false => "service_healthy",
            };
            assert_eq!(wanted["condition"], condition, "{name} waits for {other}");
        }
    }
    let published: BTreeSet<String> = services
        .values()
        .filter_map(|service| service["ports"].as_array())
        .flatten()
        .filter_map(|port| Some(scalar(port).split(':').nth(1)?.to_owned()))
        .collect();
    for port in ["3000", "5432", "8080", "8083", "9090", "9092", "50051"] {
        assert!(published.contains(port), "{port} is not published");
    }
    no_service_waits_for_itself(&services);
}

#[track_caller]
fn no_service_waits_for_itself(services: &Map<String, Value>) {
    let mut started: BTreeSet<&str> = BTreeSet::new();
    loop {
        let before = started.len();
        for (name, service) in services {
            let waits = service["depends_on"].as_object().into_iter().flatten();
            if waits
                .map(|(other, _)| other.as_str())
                .all(|other| started.contains(other))
            {
                started.insert(name);
            }
        }
        if started.len() == before {
            break;
        }
    }
    assert_eq!(started.len(), services.len(), "only {started:?} ever start");
}

/// Each file or folder that a service is given is there, and Prometheus finds each role that runs.
#[test]
fn what_is_mounted_is_there_and_what_runs_is_scraped() {
    let Some(services) = services() else { return };
    for (name, service) in &services {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let volume = scalar(volume);
            let source = volume.split(':').next().unwrap_or_default();
            if source.starts_with('.') {
                assert!(docker(source).exists(), "{name} mounts {source}");
                assert!(volume.ends_with(":ro"), "{name} may write {source}");
            }
        }
    }
    let scraped = read("prometheus/targets/sportlake.yml");
    let scraped: BTreeSet<&str> = scraped
        .lines()
        .filter_map(|line| line.strip_prefix("- targets: [")?.strip_suffix(":8080]"))
        .collect();
    let roles = services.iter().filter(|(name, service)| {
        is_ours(service) && service["restart"] != "no" && *name != "live"
    });
    let roles: BTreeSet<&str> = roles.map(|(name, _)| name.as_str()).collect();
    assert_eq!(scraped, roles);
}

/// What a file says, instruction by instruction.
fn instructions(dockerfile: &str) -> Vec<(&str, &str)> {
    let lines = dockerfile.lines();
    let instructions = lines.filter(|line| !line.starts_with([' ', '#']));
    instructions
        .filter_map(|line| line.split_once(' '))
        .collect()
}

/// The rules of every image that is built here.
#[test]
fn images_are_pinned_copy_what_is_there_and_run_as_nobody_in_particular() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, context, user) in [
        ("Dockerfile", root.to_owned(), "10001:10001"),
        ("debezium/Dockerfile", docker("debezium"), "kafka"),
    ] {
        let dockerfile = read(name);
        let instructions = instructions(&dockerfile);
        let of = |wanted: &str| -> Vec<&str> {
            let found = instructions.iter().filter(|(name, _)| *name == wanted);
            found.map(|(_, rest)| *rest).collect()
        };
        assert!(of("ADD").is_empty(), "{name}: COPY says what it does");
        for base in of("FROM") {
            let image = base.split_whitespace().next().unwrap_or_default();
            let tag = image.rsplit_once(':').map(|(_, tag)| tag);
            assert!(tag.is_some_and(|tag| tag != "latest"), "{name}: {image}");
        }
        assert_eq!(of("USER").last(), Some(&user), "{name}");
        for copied in of("COPY")
            .into_iter()
            .filter(|line| !line.starts_with("--from"))
        {
            let words = copied.split(' ').filter(|word| !word.starts_with("--"));
            let sources: Vec<&str> = words.collect();
            for source in &sources[..sources.len() - 1] {
                assert!(context.join(source).exists(), "{name}: {source} is copied");
            }
        }
        for line in dockerfile
            .lines()
            .filter(|line| line.contains("apt-get install"))
        {
            assert!(line.contains("--no-install-recommends"), "{name}: {line}");
            assert!(dockerfile.contains("rm -rf /var/lib/apt/lists/*"), "{name}");
        }
        for (_, run) in instructions.iter().filter(|(name, _)| *name == "RUN") {
            let is_piped = run.contains("| sh") || run.contains("| bash");
            assert!(!is_piped && !run.contains("sudo"), "{name}: {run}");
        }
    }
}

#[test]
fn the_image_of_ours_is_slim_and_holds_what_it_needs() {
    let dockerfile = read("Dockerfile");
    let instructions = instructions(&dockerfile);
    let of = |wanted: &str| -> Vec<&str> {
        let found = instructions.iter().filter(|(name, _)| *name == wanted);
        found.map(|(_, rest)| *rest).collect()
    };
    let bases = of("FROM");
    assert_eq!(bases.len(), 2, "what builds is not what runs");
    assert!(bases[1].contains("slim"), "{}", bases[1]);
    assert_eq!(of("HEALTHCHECK").len(), 1);
    assert_eq!(of("ENTRYPOINT"), ["[\"sportlake\"]"]);
    assert!(dockerfile.contains("--profile dist") && dockerfile.contains("type=cache"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ignored = std::fs::read_to_string(root.join(".dockerignore")).expect("a list");
    for secret in ["**/.env", "users.toml", "data", "target"] {
        assert!(
            ignored.lines().any(|line| line == secret),
            "{secret} is sent to the builder"
        );
    }
}

/// Nobody answers at `redpanda` and `postgres` here: what needs them ends and says so, what a role waits for it waits for.
/// What the program would refuse ends with another code.
#[test]
fn the_program_takes_every_command_line_and_environment() {
    let Some(services) = services() else { return };
    let ours: Vec<(&String, &Value)> = services
        .iter()
        .filter(|(_, service)| is_ours(service))
        .collect();
    assert!(ours.len() >= 9, "{}", ours.len());
    let project = Project::new();
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("sources/samples");
    for folder in ["hr", "data/lake"] {
        std::fs::create_dir_all(project.path(folder)).expect("created");
    }
    for name in ["employes.xlsx", "sports.xlsx"] {
        std::fs::copy(samples.join(name), project.path("hr").join(name)).expect("copied");
    }
    for (name, service) in ours {
        takes(&project, name, service);
    }
    assert!(project.read("data/users.toml").contains("grafana"));
}

/// HR's import, then the distances, as Compose runs them one after the other, against a database that is there.
#[test]
fn distances_are_measured_before_the_database_is_captured() {
    let Some(services) = services() else { return };
    for waited_for in ["generate", "commute"] {
        let waits = &services["connector"]["depends_on"][waited_for]["condition"];
        assert_eq!(waits, "service_completed_successfully", "{waited_for}");
    }
    let waits = services["commute"]["depends_on"]
        .as_object()
        .expect("a list");
    assert_eq!(waits.keys().collect::<Vec<_>>(), ["hr-import"]);

    let Some(server) = Server::shared() else {
        return;
    };
    let database = Database::on(server, "t_compose");
    let routes = Routes::start();
    let project = Project::new();
    std::fs::create_dir_all(project.path("hr")).expect("created");
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("sources/samples");
    for name in ["employes.xlsx", "sports.xlsx"] {
        std::fs::copy(samples.join(name), project.path("hr").join(name)).expect("copied");
    }
    let run = |name: &str, more: &[(&str, &str)]| {
        let service = &services[name];
        let words = words(&service["command"]);
        let arguments: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = project
            .command(&arguments)
            .envs(environment(service))
            .env(
                "SPORTLAKE__SOURCE__POSTGRES",
                database.url_of("sportlake_app", PASSWORD, ""),
            )
            .env("SPORTLAKE__COMMUTE__GOOGLE_API", routes.api())
            .envs(more.iter().copied())
            .output()
            .expect("it runs");
        let said = text(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        said
    };
    run("hr-import", &[]);
    let said = run("commute", &[]);
    assert!(
        said.contains("0 addresses asked about, 0 distances written, 161 unchanged"),
        "{said}"
    );
    let google = [
        ("SPORTLAKE__COMMUTE__PROVIDER", "google"),
        ("GOOGLE_MAPS_API_KEY", GOOGLE_KEY),
    ];
    // One odd address keeps nobody waiting: the connector wants this command's success.
    let invalid = serde_json::json!({"error": {"code": 400, "status": "INVALID_ARGUMENT"}});
    routes.script([Some((400, "", invalid))]);
    let said = run("commute", &google);
    assert!(
        said.contains(
            "no answer, so as measured before or estimated: the question is not understood"
        ),
        "{said}"
    );
    let first = routes.calls().len();
    // The next `up`: HR's import leaves what was measured, and nobody else is asked about again.
    run("hr-import", &[]);
    run("commute", &google);
    let asked = routes.calls().len();
    assert_eq!(asked, first + 1);
    let measured = database.sql("SELECT count(*) FROM commute_distances WHERE source = 'google'");
    assert!(
        first > 10 && measured.parse::<usize>().expect("a number") >= first,
        "{first}, {measured}"
    );
    run("hr-import", &[]);
    run("commute", &google);
    assert_eq!(routes.calls().len(), asked);
    let after = database.sql("SELECT count(*) FROM commute_distances WHERE source = 'google'");
    assert_eq!(after, measured);
}

/// Whoever copies the example and fills in one way to post has set that one and no other.
#[test]
fn notify_posts_where_the_variables_say_and_what_is_empty_is_not_set() {
    let notify = |lines: &[&str]| {
        let lines: Vec<&str> = lines.iter().copied().chain(["NOTIFY_ARGUMENTS="]).collect();
        Some(services_with(&lines)?["notify"].clone())
    };
    let Some(empty) = notify(&[]) else { return };
    let mut stage = Stage::new("skip");
    let brokers = stage.broker.address.clone();
    let run = |stage: &Stage, service: &Value| {
        let mut arguments = words(&service["command"]);
        arguments.push("--once".to_owned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = stage.project.command(&arguments);
        command.envs(environment(service));
        command.env("SPORTLAKE__KAFKA__BROKERS", &brokers);
        command.env("SPORTLAKE__METRICS__LISTEN", "127.0.0.1:0");
        command.output().expect("it runs")
    };
    let output = run(&stage, &empty);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("nothing says where to post"), "{said}");

    let token = "SLACK_BOT_TOKEN=xoxb-compose";
    let without_channel = notify(&[token]).expect("read before");
    let output = run(&stage, &without_channel);
    let said = text(&output.stderr);
    assert!(said.contains("notify.channel is empty"), "{said}");

    let bot = notify(&[token, "SLACK_CHANNEL=C1", "SLACK_OPT_OUT=[8, 9]"]).expect("read before");
    for (id, employee) in [(1, 8), (2, 1), (3, 9)] {
        let mut row = activity(id, "Running");
        row["employee_id"] = employee.into();
        stage.outsider.send("sport_activities", Op::Create, row);
    }
    stage.outsider.flush();
    let output = run(&stage, &bot);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let calls = stage.slack.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert!(calls[0].text().contains(CANARY), "{calls:?}");
    assert_eq!(calls[0].authorization, "Bearer xoxb-compose");
    assert_eq!(calls[0].body["channel"], "C1");

    let webhook = format!("SLACK_WEBHOOK_URL={}", stage.slack.webhook());
    let webhook = notify(&[&webhook]).expect("read before");
    stage
        .outsider
        .send("sport_activities", Op::Create, activity(4, "Running"));
    stage.outsider.flush();
    let output = run(&stage, &webhook);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let calls = stage.slack.calls();
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(calls[1].path.starts_with("/services/"), "{calls:?}");
}

#[track_caller]
fn takes(project: &Project, name: &str, service: &Value) {
    let words = words(&service["command"]);
    let arguments: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut command = project.command(&arguments);
    for (variable, value) in environment(service) {
        // The same on a free port: other tests listen on this machine too.
        match value.strip_prefix("0.0.0.0:") {
            Some(port) => {
                port.parse::<u16>().expect("a port");
                command.env(variable, "127.0.0.1:0")
            }
            None => command.env(variable, value),
        };
    }
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let is_once = service["restart"] == "no";
    let deadline = Instant::now() + if is_once { PATIENCE } else { WATCHED };
    let ended = loop {
        match child.try_wait().expect("a child") {
            Some(status) => break Some(status),
            None if Instant::now() >= deadline => break None,
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    let _ = child.kill();
    let output = child.wait_with_output().expect("reaped");
    let said = text(&output.stderr);
    match (ended, is_once) {
        (Some(status), _) => {
            let reaches = ["SPORTLAKE__SOURCE__POSTGRES", "SPORTLAKE__KAFKA__BROKERS"];
            let environment = environment(service);
            let expected = match reaches.iter().any(|name| environment.contains_key(*name)) {
                true => 6,
                false => 0,
            };
            assert_eq!(status.code(), Some(expected), "{name}: {said}");
        }
        (None, true) => assert!(!is_once, "{name} does not come to an end: {said}"),
        (None, false) => {
            let is_refused = said.lines().any(|line| line.starts_with("error:"));
            assert!(!is_refused, "{name}: {said}");
        }
    }
}

/// Whoever listens for other machines without TLS must say so on the command line.
#[test]
fn what_serves_the_other_containers_says_that_it_does() {
    let Some(services) = services() else { return };
    for (name, service) in services.iter().filter(|(_, service)| is_ours(service)) {
        if environment(service).contains_key("SPORTLAKE__FLIGHT__LISTEN") {
            assert!(
                words(&service["command"]).contains(&"--insecure".to_owned()),
                "{name}"
            );
            assert!(
                environment(service).contains_key("SPORTLAKE__FLIGHT__USERS"),
                "{name}"
            );
        }
    }
}
