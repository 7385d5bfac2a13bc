use changes::{ErrorKind, Op};
use notify::{Delivery, Destination, Secret, Standing, Until};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::slack::{Reply, Slack};
use crate::world::{World, calls};

#[tokio::test(flavor = "multi_thread")]
async fn new_activities_are_told_and_nothing_of_the_first_load_is() {
    let (world, slack) = (World::begin().await, Slack::start());
    for id in 1..=20 {
        world.activity(Op::Create, id, 1, "Running").await;
    }
    world.activity(Op::Read, 21, 1, "Running").await;
    world.tell(&slack).await.expect("nothing to tell yet");
    assert!(slack.calls().is_empty(), "{:?}", slack.calls());

    world.mark().await;
    world.activity(Op::Read, 22, 1, "Running").await;
    world.activity(Op::Create, 23, 1, "Running").await;
    world.activity(Op::Update, 5, 1, "Running").await;
    world.tell(&slack).await.expect("told");
    let told = slack.calls();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].path, "/api/chat.postMessage");
    assert_eq!(told[0].authorization, "Bearer xoxb-123");
    assert_eq!(told[0].body["channel"], "C1");
    assert_eq!(told[0].body["mrkdwn"], false);
    assert_eq!(told[0].body["parse"], "none");
    assert_eq!(told[0].body["link_names"], false);
    for expected in ["Juliette", "10,8 km", "46 min"] {
        assert!(told[0].text().contains(expected), "{}", told[0].text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_it_runs_is_told_in_order() {
    let (world, slack) = (World::loaded().await, Slack::start());
    let telling = world.start(world.config(&slack));
    for (id, employee, name) in [
        (10, 1, "Juliette"),
        (11, 2, "Paul"),
        (12, 99, "membre de l'équipe"),
    ] {
        world.activity(Op::Create, id, employee, "Natation").await;
        let told = calls(&slack, usize::try_from(id - 9).expect("small")).await;
        let last = told.last().expect("a call");
        assert!(last.contains(name), "{last}");
    }
    telling.stop().await.expect("a clean stop");
    assert_eq!(slack.calls().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_and_a_source_that_repeats_itself_tell_nothing_twice() {
    let (world, slack) = (World::loaded().await, Slack::start());
    world.activity(Op::Create, 10, 1, "Boxe").await;
    world.tell(&slack).await.expect("told");
    world.tell(&slack).await.expect("nothing new");
    world.activity(Op::Create, 10, 1, "Boxe").await;
    world.tell(&slack).await.expect("a repeat");
    assert_eq!(slack.calls().len(), 1, "{:?}", slack.texts());
    world.activity(Op::Create, 11, 1, "Boxe").await;
    world.tell(&slack).await.expect("told");
    assert_eq!(slack.calls().len(), 2, "{:?}", slack.texts());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_what_would_be_posted_and_remembers_nothing() {
    let (world, slack) = (World::loaded().await, Slack::start());
    world.activity(Op::Create, 10, 2, "Vélo").await;
    let show = || {
        let (sender, shown) = std::sync::mpsc::channel();
        let show = move |message: &notify::Message| {
            sender.send(message.clone()).expect("heard");
            Ok(())
        };
        (Delivery::Shown(Box::new(show)), shown)
    };
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (delivery, shown) = show();
        let config = world.config(&slack);
        let ended = world
            .run(config, delivery, Until::End, CancellationToken::new())
            .await;
        ended.expect("shown");
        seen.push(shown.iter().collect::<Vec<_>>());
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].len(), 1);
    assert_eq!(seen[0][0].ids, [10]);
    assert!(slack.calls().is_empty());
    world.tell(&slack).await.expect("told");
    assert_eq!(slack.texts(), [seen[0][0].text.clone()], "the same words");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_opted_out_is_told_of_and_nothing_old_is() {
    let (world, slack) = (World::loaded().await, Slack::start());
    let list = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(list.path(), "2 # Paul\n\n").expect("written");
    let mut config = world.config(&slack);
    config.opt_out = vec![1];
    config.opt_out_file = list.path().display().to_string();
    for id in 1..=3 {
        world.activity(Op::Create, 10 + id, id, "Marche").await;
    }
    let old = json!({"employee_id": 3, "date_debut": 1_700_000_000_000_000_i64});
    world.row(Op::Create, 20, old).await;
    world.activity(Op::Create, 21, 3, "Marche").await;
    world.activity(Op::Delete, 21, 3, "Marche").await;
    world.tell_by(config.clone()).await.expect("told");
    let told = slack.texts();
    assert!(
        !told.is_empty() && told.iter().all(|text| text.contains("Laurence")),
        "{told:?}"
    );

    std::fs::write(list.path(), "Paul\n").expect("written");
    let error = world.tell_by(config).await.expect_err("no id");
    assert!(error.to_string().contains("line 1"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_slack_takes_is_one_digest() {
    let (world, slack) = (World::loaded().await, Slack::start());
    slack.script([Reply::Held]);
    let mut config = world.config(&slack);
    (config.interval_ms, config.timeout_ms) = (500, 60_000);
    let telling = world.start(config);
    world.activity(Op::Create, 10, 1, "Running").await;
    calls(&slack, 1).await;
    for id in 11..=60 {
        world.activity(Op::Create, id, 2, "Running").await;
    }
    slack.release();
    // How many the reader has by the time of the next call is chance: what is told once is not.
    let mut counted = 0;
    let mut seen = 1;
    while counted < 50 {
        let told = calls(&slack, seen + 1).await;
        for text in &told[seen..] {
            let count = text
                .split(" activités")
                .next()
                .and_then(|start| start.rsplit(' ').next());
            counted += count
                .and_then(|count| count.parse::<usize>().ok())
                .unwrap_or(1);
        }
        seen = told.len();
    }
    assert_eq!(counted, 50, "{:?}", slack.texts());
    assert!(seen < 10, "{seen} messages: {:?}", slack.texts());
    telling.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_posted_to_as_well() {
    let (world, slack) = (World::loaded().await, Slack::start());
    world.activity(Op::Create, 10, 1, "Judo").await;
    let webhook = Destination::Webhook(Secret::new(&slack.webhook()));
    let webhook = Delivery::Slack(webhook, Standing::default());
    slack.script([
        Reply::Raw(500, "", "rollup_error"),
        Reply::Raw(429, "Retry-After: 1\r\n", "rate_limited"),
    ]);
    let ended = world
        .run(
            world.config(&slack),
            webhook,
            Until::End,
            CancellationToken::new(),
        )
        .await;
    ended.expect("told");
    slack.wait_until_answered(3);
    let told = slack.calls();
    assert_eq!(told.len(), 3);
    assert_eq!(told[0], told[2]);
    assert_eq!(told[0].path, "/services/T000/B000/XXXX");
    assert_eq!(told[0].authorization, "");
    assert_eq!(told[0].body["parse"], "none");
    assert_eq!(told[0].body["link_names"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn once_without_a_topic_is_an_error() {
    let (world, slack) = (World::elsewhere().await, Slack::start());
    let error = world.tell(&slack).await.expect_err("no topic");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error
            .to_string()
            .contains("elsewhere.public.sport_activities"),
        "{error}"
    );
    assert!(error.hint_text().is_some());
}

/// The file of opted-out employees goes bad while it runs.
#[tokio::test(flavor = "multi_thread")]
async fn who_opted_out_stays_so_while_the_list_has_a_fault() {
    let (world, slack) = (World::loaded().await, Slack::start());
    let list = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(list.path(), "2 # Paul\n").expect("written");
    let mut config = world.config(&slack);
    config.opt_out_file = list.path().display().to_string();
    let telling = world.start(config);
    world.activity(Op::Create, 10, 1, "Marche").await;
    calls(&slack, 1).await;
    std::fs::write(list.path(), "2\nPaul\n").expect("written");
    world.activity(Op::Create, 11, 2, "Marche").await;
    world.activity(Op::Create, 12, 3, "Marche").await;
    let told = calls(&slack, 2).await;
    assert!(told[1].contains("Laurence"), "{told:?}");
    telling.stop().await.expect("no error");
    assert!(!slack.texts().iter().any(|text| text.contains("Paul")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_clock_shows_is_passed_over_and_a_reused_id_is_told() {
    let (world, slack) = (World::loaded().await, Slack::start());
    for (id, date) in [(10, i64::MIN), (11, i64::MAX), (12, i64::MIN + 1)] {
        world.row(Op::Create, id, json!({"date_debut": date})).await;
    }
    world.activity(Op::Create, 13, 1, "Judo").await;
    let mut config = world.config(&slack);
    config.max_age_seconds = i64::MAX.cast_unsigned();
    world.tell_by(config).await.expect("told");
    assert_eq!(slack.calls().len(), 1, "{:?}", slack.texts());
    world.activity(Op::Create, 13, 2, "Judo").await;
    world.tell(&slack).await.expect("told");
    let told = slack.texts();
    assert!(told.len() == 2 && told[1].contains("Paul"), "{told:?}");
}
