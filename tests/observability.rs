//! What Prometheus and Grafana are given in `docker/`, against the real Prometheus, the calls of Grafana's plugin and a
//! live `up`. What is asked of captures is asked in `stack`, where they run.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use changes::Op;
use serde_json::{Value, json};

use crate::http;
use crate::metrics;
use crate::notify::slack::{Reply, Slack};
use crate::outsider::Outsider;
use crate::parts::part;
use crate::project::{PATIENCE, Project, text};
use crate::prometheus::{Beside, Prometheus, panels, promtool_passes};

pub(crate) const CANARIES: [&str; 4] = [
    "Zyxcanari",
    "Quetzalcoatline",
    "987654.32",
    "13 rue du Canari",
];

const PASSWORD: &str = "correct horse battery";

#[test]
fn every_panel_and_rule_says_something_of_a_live_service() {
    let Some(programs) = part("SPORTLAKE_TEST_PROMETHEUS").map(PathBuf::from) else {
        return;
    };
    promtool_passes(&programs);

    let slack = Slack::start();
    // What fails for a moment, and what Slack will never take.
    slack.script([Reply::Raw(500, "", "x"), Reply::Error("msg_too_long")]);
    let project = Project::new()
        .set("generator.days", "5")
        .set("generator.rate", "20")
        .set("upkeep.interval_seconds", "1")
        .set("notify.enabled", "true")
        .set("notify.api", &slack.api())
        .set("notify.channel", "C1")
        .with("SLACK_BOT_TOKEN", "xoxb-Zyxcanari");
    a_user_is_added(&project);
    let kafka = project.kafka();
    let mut up = project.start(&["-v", "up"]);
    let flight = up.address("grpc://");
    let http = up.address("http://");
    up.wait_for("caught up");
    let prometheus = Prometheus::start(&programs, &[("sportlake.yml", &http, "up")]);
    let mut outsider = Outsider::connect(&kafka);
    outsider.send("employees", Op::Create, canary());
    outsider.flush();
    let deadline = Instant::now() + PATIENCE;
    while project.rows("SELECT count(*) FROM silver.employees WHERE id = 90077") != ["1"] {
        assert!(Instant::now() < deadline, "the canary does not come");
    }

    prometheus.every_panel_says_something(Beside::Up, || {});
    prometheus.every_rule_names_what_is_there(Beside::Up);
    let grafana = part("SPORTLAKE_TEST_GRAFANA");
    let python = part("SPORTLAKE_TEST_PYTHON");
    if grafana.is_some() || python.is_some() {
        prometheus.every_panel_says_something(Beside::Clients, || {
            if let Some(grafana) = &grafana {
                asks_for_gold(grafana, &flight);
            }
            if let Some(python) = &python {
                keeps_a_session(python, &flight);
            }
        });
    }

    let metrics = http::get(&http, "/metrics");
    drop(prometheus);
    up.signal(nix::sys::signal::Signal::SIGINT);
    up.end();
    let log = up.transcript();
    assert!(log.contains("epoch"), "{log}");
    for canary in CANARIES {
        assert!(!metrics.contains(canary), "{canary} is in the metrics");
        assert!(!log.contains(canary), "{canary} is in the log");
    }
    metrics::are_documented(&metrics);
}

pub(crate) fn canary() -> Value {
    json!({
        "id": 90_077, "nom": CANARIES[0], "prenom": CANARIES[1], "date_naissance": 7000, "bu": "R&D",
        "date_embauche": 18000, "salaire_brut": CANARIES[2], "type_contrat": "CDI", "jours_cp": 25,
        "adresse": format!("{}, 34970 Lattes", CANARIES[3]), "moyen_deplacement": "Marche/running",
    })
}

/// Grafana's, as `docker/compose.yaml` adds it.
fn a_user_is_added(project: &Project) {
    let mut command =
        project.command(&["user", "add", "grafana", "--role", "tableaux", "--replace"]);
    let output = command.env("SPORTLAKE_PASSWORD", PASSWORD).output();
    let output = output.expect("the program runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// What the panels of gold ask, by the calls of Grafana's plugin with the metadata that our data source has.
#[track_caller]
fn asks_for_gold(grafana: &OsStr, flight: &str) {
    let targets: Vec<Value> = panels()
        .into_iter()
        .filter(|panel| panel.source == "sportlake")
        .map(|panel| panel.target)
        .collect();
    assert!(targets.len() >= 8, "{targets:?}");
    let sources = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docker/grafana/provisioning/datasources/sportlake.yml"
    );
    let sources = std::fs::read_to_string(sources).expect("data sources");
    let profile = sources.split("- profile: ").nth(1).expect("a profile");
    let profile = profile.lines().next().unwrap_or_default();
    let mut client = Command::new(grafana)
        .args(["panels", flight.trim_start_matches("grpc://")])
        .args(["grafana", PASSWORD, profile])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client runs");
    let mut stdin = client.stdin.take().expect("piped");
    let targets = Value::Array(targets).to_string();
    stdin.write_all(targets.as_bytes()).expect("told");
    drop(stdin);
    let asked = client.wait_with_output().expect("the client ends");
    assert!(asked.status.success(), "{}", text(&asked.stderr));
}

/// A session with an option of its own, and a statement in it.
#[track_caller]
fn keeps_a_session(python: &OsStr, flight: &str) {
    let script = "import sys\nfrom adbc_driver_flightsql import dbapi\n\
        kwargs = {'username': 'grafana', 'password': sys.argv[2]}\n\
        with dbapi.connect(sys.argv[1], db_kwargs=kwargs, autocommit=True) as c, c.cursor() as s:\n    \
        c.adbc_current_db_schema = 'gold'\n    s.execute('SELECT * FROM indicateurs')\n    s.fetchall()";
    let output = Command::new(python)
        .args(["-c", script, flight, PASSWORD])
        .output();
    let output = output.expect("Python runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
}
