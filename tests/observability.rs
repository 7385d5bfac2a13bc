//! What Prometheus and Grafana are given in `docker/`, against the real Prometheus and a live `up`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use changes::Op;
use serde_json::{Value, json};

use crate::http;
use crate::outsider::Outsider;
use crate::parts::part;
use crate::project::{PATIENCE, Project, free_address, text};

pub(crate) const CANARIES: [&str; 4] = [
    "Zyxcanari",
    "Quetzalcoatline",
    "987654.32",
    "13 rue du Canari",
];

#[test]
fn every_panel_and_rule_says_something_of_a_live_service() {
    let Some(programs) = part("SPORTLAKE_TEST_PROMETHEUS").map(PathBuf::from) else {
        return;
    };
    let folder = root().join("docker/prometheus");
    for arguments in [
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "rules.test.yml"],
    ] {
        let checked = Command::new(programs.join("promtool"))
            .args(arguments)
            .current_dir(&folder)
            .output()
            .expect("promtool runs");
        let said = text(&checked.stdout) + &text(&checked.stderr);
        assert!(checked.status.success(), "{said}");
    }

    let project = Project::new()
        .set("generator.days", "5")
        .set("generator.rate", "20")
        .set("upkeep.interval_seconds", "1");
    let kafka = project.kafka();
    let mut up = project.start(&["-v", "up"]);
    let flight = up.address("grpc://");
    let http = up.address("http://");
    up.wait_for("caught up");
    let prometheus = Prometheus::start(&programs, http.trim_start_matches("http://"));
    let mut outsider = Outsider::connect(&kafka);
    outsider.send("employees", Op::Create, canary());
    outsider.flush();
    let deadline = Instant::now() + PATIENCE;
    while project.rows("SELECT count(*) FROM silver.employees WHERE id = 90077") != ["1"] {
        assert!(Instant::now() < deadline, "the canary does not come");
    }

    let panels = panels();
    let mut silent: Vec<&Panel> = panels.iter().filter(|panel| panel.is_asked()).collect();
    assert!(silent.len() > 30, "{}", silent.len());
    // Upkeep watches the clock for two minutes before it removes anything.
    let deadline = Instant::now() + 2 * PATIENCE;
    while !silent.is_empty() {
        let names: Vec<&str> = silent.iter().map(|panel| panel.query.as_str()).collect();
        assert!(Instant::now() < deadline, "no data: {names:#?}");
        asks(&flight);
        silent.retain(|panel| match panel.source.as_str() {
            "prometheus" => prometheus.query(&panel.query).is_empty(),
            _ => project.rows(&panel.query).is_empty(),
        });
    }
    prometheus.every_rule_names_what_is_there();

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
    if std::env::var_os("SPORTLAKE_TEST_PYTHON").is_none() {
        return; // Nobody has asked over Flight, and metrics of statements appear with the first.
    }
    let documented = std::fs::read_to_string(root().join("docs/metrics.md")).expect("a page");
    let table = documented_metrics(&metrics);
    assert!(
        documented.contains(&table),
        "docs/metrics.md should have:\n{table}"
    );
}

pub(crate) fn canary() -> Value {
    json!({
        "id": 90_077, "nom": CANARIES[0], "prenom": CANARIES[1], "date_naissance": 7000, "bu": "R&D",
        "date_embauche": 18000, "salaire_brut": CANARIES[2], "type_contrat": "CDI", "jours_cp": 25,
        "adresse": format!("{}, 34970 Lattes", CANARIES[3]), "moyen_deplacement": "Marche/running",
    })
}

/// A statement over Flight, as a client makes it.
fn asks(flight: &str) {
    let Some(python) = part("SPORTLAKE_TEST_PYTHON") else {
        return;
    };
    let script = "import sys\nfrom adbc_driver_flightsql import dbapi\n\
        with dbapi.connect(sys.argv[1]) as c, c.cursor() as s: s.execute('SELECT * FROM gold.indicateurs'); s.fetchall()";
    let output = Command::new(python).args(["-c", script, flight]).output();
    let output = output.expect("Python runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One question that a dashboard asks.
struct Panel {
    source: String,
    query: String,
}

impl Panel {
    /// Debezium's are asked where Kafka Connect runs.
    fn is_asked(&self) -> bool {
        let by_a_client = self.query.contains("sportlake_flight_");
        let has_client = std::env::var_os("SPORTLAKE_TEST_PYTHON").is_some();
        !self.query.contains("debezium_") && (has_client || !by_a_client)
    }
}

fn panels() -> Vec<Panel> {
    let folder = root().join("docker/grafana");
    let sources = std::fs::read_to_string(folder.join("provisioning/datasources/sportlake.yml"));
    let sources = sources.expect("data sources");
    let mut panels = Vec::new();
    for entry in std::fs::read_dir(folder.join("dashboards")).expect("dashboards") {
        let path = entry.expect("an entry").path();
        let board = std::fs::read(&path).expect("a file");
        let board: Value = serde_json::from_slice(&board).expect("JSON");
        let ids: BTreeSet<i64> = list(&board["panels"])
            .filter_map(|p| p["id"].as_i64())
            .collect();
        assert_eq!(
            ids.len(),
            list(&board["panels"]).count(),
            "{}",
            path.display()
        );
        for panel in list(&board["panels"]) {
            for target in list(&panel["targets"]) {
                let source = target["datasource"]["uid"].as_str().expect("a source");
                assert!(sources.contains(&format!("uid: {source}\n")), "{source}");
                let query = target["expr"].as_str().or(target["queryText"].as_str());
                panels.push(Panel {
                    source: source.to_owned(),
                    query: query.expect("a query").to_owned(),
                });
            }
        }
    }
    panels
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The real one, on our configuration with the address of a test.
struct Prometheus {
    process: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(programs: &Path, target: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ours = root().join("docker/prometheus");
        let config = std::fs::read_to_string(ours.join("prometheus.yml")).expect("a file");
        let config = config.replace("interval: 5s", "interval: 1s");
        std::fs::write(folder.path().join("prometheus.yml"), config).expect("written");
        std::fs::copy(ours.join("rules.yml"), folder.path().join("rules.yml")).expect("copied");
        let targets = folder.path().join("targets");
        std::fs::create_dir(&targets).expect("created");
        let targets_text = format!("- targets: [\"{target}\"]\n  labels: {{ role: up }}\n");
        std::fs::write(targets.join("sportlake.yml"), targets_text).expect("written");
        let address = free_address();
        let process = Command::new(programs.join("prometheus"))
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address={address}"))
            .current_dir(folder.path())
            .stderr(Stdio::null())
            .spawn()
            .expect("Prometheus runs");
        let prometheus = Self {
            process,
            address: format!("http://{address}"),
            _folder: folder,
        };
        let deadline = Instant::now() + PATIENCE;
        while http::try_get(&prometheus.address, "/-/ready").is_none() {
            assert!(Instant::now() < deadline, "Prometheus is ready");
            std::thread::sleep(Duration::from_millis(50));
        }
        prometheus
    }

    /// The series that a query gives at this moment, with their labels; NaN is no answer.
    fn query(&self, query: &str) -> Vec<BTreeMap<String, String>> {
        let path = format!("/api/v1/query?query={}", encoded(query));
        let answer = self.ask(&path);
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let series = list(&answer["data"]["result"]);
        let told = series.filter(|series| series["value"][1] != "NaN");
        told.map(|series| serde_json::from_value(series["metric"].clone()).expect("labels"))
            .collect()
    }

    fn ask(&self, path: &str) -> Value {
        let answer = http::get(&self.address, path);
        let body = answer.split_once("\r\n\r\n").expect("a body").1;
        serde_json::from_str(body).expect("JSON")
    }

    fn every_rule_names_what_is_there(&self) {
        let rules = self.ask("/api/v1/rules");
        let rules: Vec<&Value> = list(&rules["data"]["groups"])
            .flat_map(|group| list(&group["rules"]))
            .collect();
        assert!(rules.len() > 5, "{rules:?}");
        for rule in rules {
            assert_eq!(rule["health"], "ok", "{rule}");
            let query = rule["query"].as_str().expect("a query");
            if query.contains("debezium_") {
                continue;
            }
            let labels: BTreeSet<String> = metrics_of(query)
                .inspect(|metric| assert!(!self.query(metric).is_empty(), "{metric}"))
                .flat_map(|metric| self.query(metric))
                .flat_map(BTreeMap::into_keys)
                .collect();
            for (_, rest) in told(&rule["annotations"]) {
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
                assert!(labels.contains(&name), "no label {name}: {query}");
            }
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The names of metrics in a query.
fn metrics_of(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("sportlake_") || *word == "up")
}

/// What follows each mention of a label in the texts of a rule.
fn told(annotations: &Value) -> Vec<(&str, &str)> {
    let texts = annotations.as_object().into_iter().flatten();
    let texts = texts.filter_map(|(_, text)| text.as_str());
    texts
        .flat_map(|text| text.split("$labels.").skip(1).map(move |rest| (text, rest)))
        .collect()
}

fn encoded(query: &str) -> String {
    query.bytes().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "%{byte:02X}");
        text
    })
}

/// Name, kind, labels and meaning of each metric, as the documentation has them.
fn documented_metrics(answer: &str) -> String {
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let (mut kinds, mut helps) = (BTreeMap::new(), BTreeMap::new());
    for line in answer.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|l| l.split_once(' ')) {
            helps.insert(name, help);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|l| l.split_once(' '))
        {
            kinds.insert(name, kind);
        } else if let Some((name, rest)) = line.split_once('{') {
            let own = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end));
            let name = own.filter(|name| kinds.contains_key(name)).unwrap_or(name);
            let inner = rest.rsplit_once('}').map_or("", |(inner, _)| inner);
            let names = inner
                .split("\",")
                .filter_map(|label| Some(label.split_once('=')?.0));
            let names = names.filter(|name| *name != "le");
            labels.entry(name).or_default().extend(names);
        }
    }
    let mut table = "| name | kind | labels | |\n|---|---|---|---|\n".to_owned();
    for (name, kind) in &kinds {
        let labels = labels.get(name).into_iter().flatten();
        let labels: Vec<String> = labels.map(|label| format!("`{label}`")).collect();
        let help = helps.get(name).copied().unwrap_or_default();
        let _ = writeln!(
            table,
            "| `{name}` | {kind} | {} | {help} |",
            labels.join(", ")
        );
    }
    table
}
