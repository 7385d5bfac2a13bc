//! The real Prometheus on the configuration of `docker/`, and what its rules and Grafana's dashboards ask.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http;
use crate::project::{PATIENCE, free_address};

/// The services beside which a question is asked. Each has one, so that none is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    /// `up`, which tells on Slack.
    Up,
    /// The same, with clients of Flight SQL.
    Clients,
    /// `sportlake cdc` and Debezium, of one PostgreSQL.
    Captures,
}

impl Beside {
    fn of(query: &str) -> Self {
        let of_captures = [
            "sportlake_cdc_",
            "debezium_",
            "kafka_connect_",
            "\"connect\"",
        ];
        if of_captures.iter().any(|name| query.contains(name)) {
            return Self::Captures;
        }
        match query.contains("sportlake_flight_") {
            true => Self::Clients,
            false => Self::Up,
        }
    }
}

/// One question that a dashboard asks.
pub(crate) struct Panel {
    /// Its `uid`.
    pub(crate) source: String,
    pub(crate) query: String,
    /// As it stands in the dashboard.
    pub(crate) target: Value,
}

pub(crate) fn panels() -> Vec<Panel> {
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
                    target: target.clone(),
                });
            }
        }
    }
    panels
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Who is scraped: the file of `targets/`, the address, the role where it has one.
pub(crate) type Target<'a> = (&'a str, &'a str, &'a str);

pub(crate) struct Prometheus {
    process: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// On our configuration, with the addresses of a test.
    pub(crate) fn start(programs: &Path, scraped: &[Target<'_>]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ours = root().join("docker/prometheus");
        let config = std::fs::read_to_string(ours.join("prometheus.yml")).expect("a file");
        let config = config.replace("interval: 5s", "interval: 1s");
        std::fs::write(folder.path().join("prometheus.yml"), config).expect("written");
        std::fs::copy(ours.join("rules.yml"), folder.path().join("rules.yml")).expect("copied");
        let targets = folder.path().join("targets");
        std::fs::create_dir(&targets).expect("created");
        for (file, address, role) in scraped {
            assert!(ours.join("targets").join(file).is_file(), "{file}");
            let address = address.trim_start_matches("http://");
            let mut text = format!("- targets: [\"{address}\"]\n");
            if !role.is_empty() {
                let _ = writeln!(text, "  labels: {{ role: {role} }}");
            }
            std::fs::write(targets.join(file), text).expect("written");
        }
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

    /// Waits until every panel of these services has data, while `meanwhile` makes some.
    #[track_caller]
    pub(crate) fn every_panel_says_something(&self, beside: Beside, meanwhile: impl Fn()) {
        let panels = panels();
        let mut silent: Vec<&str> = panels
            .iter()
            .filter(|panel| panel.source == "prometheus" && Beside::of(&panel.query) == beside)
            // A query with `or vector(0)` has an answer without the metric that it names.
            .flat_map(|panel| metrics_of(&panel.query).chain([panel.query.as_str()]))
            .collect();
        assert!(silent.len() > 10, "{}", silent.len());
        // Upkeep watches the clock for two minutes before it removes anything.
        let deadline = Instant::now() + 2 * PATIENCE;
        while !silent.is_empty() {
            assert!(Instant::now() < deadline, "no data: {silent:#?}");
            meanwhile();
            silent.retain(|query| self.query(query).is_empty());
        }
    }

    /// Their rules are valid, of metrics that are there, and name labels that are there.
    #[track_caller]
    pub(crate) fn every_rule_names_what_is_there(&self, beside: Beside) {
        let rules = self.rules();
        let rules: Vec<&Value> = rules
            .iter()
            .filter(|rule| Beside::of(rule["query"].as_str().expect("a query")) == beside)
            .collect();
        assert!(rules.len() >= 5, "{rules:?}");
        for rule in rules {
            assert_eq!(rule["health"], "ok", "{rule}");
            let query = rule["query"].as_str().expect("a query");
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

    /// Waits until what a rule looks for is there, or no more; how long it must last is `rules.test.yml`'s.
    #[track_caller]
    pub(crate) fn wait_until(&self, rule: &str, is_there: bool) {
        let rules = self.rules();
        let found = rules.iter().find(|found| found["name"] == rule);
        let query = found.and_then(|found| found["query"].as_str());
        let query = query.expect("a rule");
        let deadline = Instant::now() + PATIENCE;
        while self.query(query).is_empty() == is_there {
            assert!(Instant::now() < deadline, "{rule} {is_there}: {query}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn rules(&self) -> Vec<Value> {
        let rules = self.ask("/api/v1/rules");
        list(&rules["data"]["groups"])
            .flat_map(|group| list(&group["rules"]).cloned())
            .collect()
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
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Our configuration and rules by Prometheus' own tool, and the tests of the rules.
#[track_caller]
pub(crate) fn promtool_passes(programs: &Path) {
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
        let said = [checked.stdout, checked.stderr].concat();
        assert!(
            checked.status.success(),
            "{}",
            String::from_utf8_lossy(&said)
        );
    }
}

/// The metrics that a query names, with the labels that it wants of them.
fn metrics_of(query: &str) -> impl Iterator<Item = &str> {
    const PREFIXES: [&str; 4] = ["sportlake_", "debezium_", "kafka_connect_", "process_"];
    let is_in_name = |c: char| c.is_alphanumeric() || c == '_';
    let places = query.char_indices().map(|(place, _)| query.split_at(place));
    let words = places.filter(move |(before, _)| !before.ends_with(is_in_name));
    words.filter_map(move |(_, rest)| {
        let end = rest.find(|c| !is_in_name(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let is_metric = name == "up" || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        let end = match after.starts_with('{') {
            true => rest.find('}')? + 1,
            false => end,
        };
        is_metric.then(|| &rest[..end])
    })
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
