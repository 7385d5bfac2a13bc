//! How soon a new activity is told: `cargo bench --profile dist --workspace --bench notify -- [MESSAGES]`.
//!
//! The embedded broker, `sportlake notify` as a process of its own with the defaults, and a server on loopback in the
//! place of Slack. One activity (of 60) follows the other within half a second to two, so at about Slack's rate. Told is
//! the time from the hand-over to the producer until the call has come.
#![expect(clippy::print_stdout, reason = "a bench reports on its terminal")]
#![expect(clippy::expect_used, reason = "a bench that fails says where")]

#[path = "../tests/broker.rs"]
mod broker;
#[path = "../tests/outsider.rs"]
#[expect(dead_code, reason = "tests use more of it")]
mod outsider;
#[path = "../tests/ports.rs"]
mod ports;
#[expect(dead_code, reason = "tests use more of it")]
#[path = "../tests/project.rs"]
mod project;
#[path = "../notify/tests/slack.rs"]
#[expect(dead_code, reason = "tests use more of it")]
mod slack;

use std::time::{Duration, Instant};

use changes::{BACKFILL_COMPLETE, KafkaConfig, Op};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sources::topics::TopicsConfig;

use crate::broker::Broker;
use crate::outsider::Outsider;
use crate::project::Project;
use crate::slack::Slack;

const MESSAGES: usize = 60;
/// Between two activities, in no order of its own.
const LEAST_MS: u64 = 500;
const STEP_MS: u64 = 977;
const SPREAD_MS: u64 = 1500;

fn main() {
    let messages = std::env::args()
        .skip(1)
        .find_map(|word| word.parse().ok())
        .unwrap_or(MESSAGES);
    let broker = Broker::start(tempfile::tempdir().expect("a folder").keep());
    let slack = Slack::start();
    let project = Project::new()
        .set("kafka.brokers", &broker.address)
        .set("notify.api", &slack.api())
        .set("notify.channel", "C1")
        // The outsider's clock stands in 2023.
        .set("notify.max_age_seconds", "3000000000")
        .with("SLACK_BOT_TOKEN", "xoxb-of-nobody");
    let kafka = KafkaConfig::default().with_brokers(&broker.address);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime
        .block_on(sources::topics::ensure(&kafka, &TopicsConfig::default()))
        .expect("the topics");
    let mut outsider = Outsider::connect(&kafka);
    outsider.send("employees", Op::Create, json!({"id": 1, "prenom": "Anne"}));
    let mark = activity(0, BACKFILL_COMPLETE);
    outsider.send("sport_activities", Op::Create, mark);
    outsider.flush();
    let mut notifier = project.start(&["notify"]);

    let mut delays = Vec::new();
    let mut pauses = (1..).map(|nth: u64| LEAST_MS + nth * STEP_MS % SPREAD_MS);
    // The first one waits for the process to start.
    for number in 0..=messages {
        let handed_over = Instant::now();
        let row = activity(1 + i64::try_from(number).expect("few"), "Running");
        outsider.send("sport_activities", Op::Create, row);
        slack.wait_for(number + 1);
        delays.push(handed_over.elapsed());
        std::thread::sleep(Duration::from_millis(pauses.next().unwrap_or(LEAST_MS)));
    }
    notifier.signal(Signal::SIGTERM);
    notifier.end();
    let mut delays = delays.split_off(1);
    delays.sort_unstable();
    let share = |percent: usize| delays[(delays.len() * percent).div_ceil(100).max(1) - 1];
    println!(
        "{messages} activities, from hand-over to call: p50 {:?}, p95 {:?}, most {:?}",
        share(50),
        share(95),
        share(100)
    );
}

fn activity(id: i64, sport: &str) -> Value {
    json!({
        "id": id, "employee_id": 1, "date_debut": 1_700_000_000_000_000_i64, "type_activite": sport,
        "distance_m": 10_000 + id * 100, "duree_s": 2760, "commentaire": null,
    })
}
