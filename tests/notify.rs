//! `sportlake notify` killed around each call of Slack: one message is in doubt, every other is told once.

use changes::{BACKFILL_COMPLETE, KafkaConfig, Op};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::http::{get, try_get};
use crate::metrics;
use crate::outsider::Outsider;
use crate::project::{Project, Running, text};
use slack::{Reply, Slack};

#[path = "../notify/tests/slack.rs"]
#[expect(dead_code, reason = "the crate's own tests ask for more")]
pub(crate) mod slack;

/// In names, addresses, comments and tokens, and in no log.
pub(crate) const CANARY: &str = "Zephirine";

/// When the process dies, seen from the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    /// The answer was sent, and the process cannot have stored it.
    AfterTheAnswer,
    /// Slack has the message and never answered.
    BeforeTheAnswer,
    None,
}

const DEATHS: [Death; 6] = [
    Death::None,
    Death::AfterTheAnswer,
    Death::BeforeTheAnswer,
    Death::None,
    Death::AfterTheAnswer,
    Death::None,
];

#[test]
fn killed_between_response_and_store_a_message_is_skipped() {
    killed_around_its_calls("skip");
}

#[test]
fn killed_between_response_and_store_a_message_is_repeated() {
    killed_around_its_calls("repeat");
}

fn killed_around_its_calls(in_doubt: &str) {
    let mut stage = Stage::new(in_doubt);
    stage.project = stage.project.set("metrics.listen", "127.0.0.1:0");
    let (slack, outsider) = (&stage.slack, &mut stage.outsider);
    let mut notifier = stage.project.start(&["notify"]);
    let mut expected: Vec<String> = Vec::new();
    for (number, death) in (1..).zip(DEATHS) {
        slack.script([Reply::Held]);
        outsider.send("sport_activities", Op::Create, activity(number, "Running"));
        outsider.flush();
        let told = slack.wait_for(expected.len() + 1);
        let message = told[expected.len()].text().to_owned();
        assert!(message.contains(CANARY), "{message}");
        expected.push(message.clone());
        match death {
            Death::None | Death::BeforeTheAnswer => {}
            Death::AfterTheAnswer => notifier.signal(Signal::SIGSTOP),
        }
        if death != Death::BeforeTheAnswer {
            slack.release();
            slack.wait_until_answered(expected.len());
        }
        if death == Death::None {
            continue;
        }
        notifier.signal(Signal::SIGKILL);
        says_nothing_of_anybody(&mut notifier);
        if death == Death::BeforeTheAnswer {
            slack.release();
            slack.wait_until_answered(expected.len());
        }
        notifier = stage.project.start(&["notify"]);
        if in_doubt == "repeat" {
            expected.push(message);
            slack.wait_until_answered(expected.len());
        }
    }
    let answer = get(&notifier.address("http://"), "/metrics");
    assert!(
        answer.contains("sportlake_notify_in_doubt_total 1\n"),
        "{answer}"
    );
    metrics::are_documented(&answer);
    // Once, by itself: nothing is left to tell.
    notifier.signal(Signal::SIGTERM);
    assert_eq!(notifier.end().code(), Some(0), "{}", notifier.transcript());
    let once = stage.project.run(&["notify", "--once"]);
    assert!(once.status.success(), "{}", text(&once.stderr));
    assert_eq!(slack.texts(), expected);
    let distinct: std::collections::BTreeSet<&String> = expected.iter().collect();
    assert_eq!(
        distinct.len(),
        DEATHS.len(),
        "each activity has words of its own"
    );
}

#[test]
fn the_command_says_what_is_wrong_and_shows_what_it_would_post() {
    let mut stage = Stage::new("skip");
    stage
        .outsider
        .send("sport_activities", Op::Create, activity(1, "Running"));
    stage.outsider.flush();
    let bare = |arguments: &[&str]| {
        let mut command = stage.project.command(arguments);
        command
            .env_remove("SLACK_BOT_TOKEN")
            .env("SPORTLAKE__METRICS__LISTEN", "127.0.0.1:0")
            .output()
            .expect("runs")
    };
    let refused = bare(&["notify"]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(
        said.contains("SLACK_BOT_TOKEN") && said.contains("--dry-run"),
        "{said}"
    );

    let shown = bare(&["notify", "--dry-run", "--once"]);
    let (out, err) = (text(&shown.stdout), text(&shown.stderr));
    assert!(shown.status.success(), "{err}");
    assert!(out.contains(CANARY) && out.lines().count() == 1, "{out}");
    assert!(!err.contains(CANARY), "{err}");
    assert!(!err.contains("nothing is posted"), "{err}");
    let json = bare(&["notify", "--dry-run", "--once", "--output", "json"]);
    let json: Value = serde_json::from_slice(&json.stdout).expect("a line of JSON");
    assert_eq!(json["activities"], json!([1]));

    let in_vain = stage.project.run(&["notify", "--dry-run", "--once"]);
    let (out, err) = (text(&in_vain.stdout), text(&in_vain.stderr));
    assert!(in_vain.status.success() && out.contains(CANARY), "{err}");
    let note = "dry run: SLACK_BOT_TOKEN is set, but nothing is posted\n";
    assert_eq!(err.matches(note).count(), 1, "{err}");
    assert!(!err.contains(CANARY), "{err}");

    stage.slack.script([Reply::Error("channel_not_found")]);
    let refused = stage.project.run(&["notify", "--once"]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(3), "{said}");
    assert!(
        said.contains("error: Slack refuses to post: \"channel_not_found\"\nhint: "),
        "{said}"
    );
    assert!(!said.contains(CANARY), "{said}");

    stage.slack.script([Reply::Error("msg_too_long")]);
    let kept = stage.project.run(&["notify", "--once"]);
    assert!(kept.status.success(), "{}", text(&kept.stderr));
    let dead = stage.project.run(&["notify", "--dead", "--output", "json"]);
    let dead: Value = serde_json::from_slice(&dead.stdout).expect("JSON");
    assert_eq!(dead[0]["error"], "msg_too_long", "{dead}");
    assert_eq!(dead[0]["activities"], "1", "{dead}");
}

/// Nothing ends, and nothing is said twice, while somebody has yet to invite the bot.
#[test]
fn the_role_waits_for_whoever_has_to_act_and_its_health_says_so() {
    let mut stage = Stage::new("skip");
    let (slack, outsider) = (&stage.slack, &mut stage.outsider);
    slack.script((0..3).map(|_| Reply::Error("channel_not_found")));
    let project = stage
        .project
        .set("metrics.listen", "127.0.0.1:0")
        .set("notify.retry_ms", "1000");
    let mut notifier = project.start(&["notify"]);
    let address = notifier.address("http://");
    get(&address, "/readyz");
    outsider.send("sport_activities", Op::Create, activity(1, "Running"));
    outsider.flush();
    let said = notifier.wait_for("nothing is told until somebody acts");
    assert!(
        said.contains("channel_not_found") && said.contains("notify.channel"),
        "{said}"
    );
    slack.wait_for(2);
    assert_eq!(try_get(&address, "/readyz"), None, "not ready");
    get(&address, "/healthz");
    assert!(get(&address, "/metrics").contains("sportlake_notify_stopped 1"));
    notifier.wait_for("Slack takes messages again");
    get(&address, "/readyz");
    assert_eq!(slack.calls().len(), 4, "{:?}", slack.texts());
    notifier.signal(Signal::SIGTERM);
    assert_eq!(notifier.end().code(), Some(0), "{}", notifier.transcript());
    let said = notifier.transcript();
    let times = said.matches("nothing is told until somebody acts").count();
    assert_eq!(times, 1, "{said}");
    assert!(!said.contains(CANARY), "{said}");
}

/// A broker with a first load that is over, one employee, and Slack.
pub(crate) struct Stage {
    pub(crate) broker: Broker,
    pub(crate) slack: Slack,
    pub(crate) project: Project,
    pub(crate) outsider: Outsider,
}

impl Stage {
    pub(crate) fn new(in_doubt: &str) -> Self {
        let broker = Broker::start(tempfile::tempdir().expect("a folder").keep());
        let slack = Slack::start();
        let project = Project::new()
            .set("kafka.brokers", &broker.address)
            .set("notify.api", &slack.api())
            .set("notify.channel", "C1")
            .set("notify.in_doubt", in_doubt)
            // The outsider's clock stands in 2023.
            .set("notify.max_age_seconds", "3000000000")
            .set("notify.interval_ms", "1")
            .with("SLACK_BOT_TOKEN", "xoxb-Zephirine");
        let kafka = KafkaConfig::default().with_brokers(&broker.address);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let made = runtime.block_on(sources::topics::ensure(
            &kafka,
            &sources::topics::TopicsConfig::default(),
        ));
        made.expect("the topics");
        let mut outsider = Outsider::connect(&kafka);
        let employee = json!({"id": 1, "prenom": CANARY, "nom": CANARY, "adresse": CANARY});
        outsider.send("employees", Op::Create, employee);
        let mark = activity(1000, BACKFILL_COMPLETE);
        outsider.send("sport_activities", Op::Create, mark);
        outsider.flush();
        Self {
            broker,
            slack,
            project,
            outsider,
        }
    }
}

pub(crate) fn activity(id: i64, sport: &str) -> Value {
    json!({
        "id": id, "employee_id": 1, "date_debut": 1_700_000_000_000_000_i64, "type_activite": sport,
        "distance_m": 10_000 + id * 100, "duree_s": 2760, "commentaire": format!("avec {CANARY}"),
    })
}

#[track_caller]
fn says_nothing_of_anybody(notifier: &mut Running) {
    notifier.end();
    let said = notifier.transcript();
    assert!(!said.contains(CANARY), "{said}");
}
