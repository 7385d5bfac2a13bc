use changes::{ErrorKind, Op};
use notify::{Delivery, Destination, InDoubt, Secret, Standing, Until, dead_letters};
use tokio_util::sync::CancellationToken;

use crate::slack::{Reply, Slack};
use crate::world::{World, calls};

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_tried_again_in_order() {
    let (world, slack) = (World::loaded().await, Slack::start());
    world.activity(Op::Create, 10, 1, "Running").await;
    world.activity(Op::Create, 13, 2, "Boxe").await;
    slack.script([
        Reply::Raw(
            429,
            "Retry-After: 1\r\n",
            r#"{"ok":false,"error":"ratelimited"}"#,
        ),
        Reply::Raw(503, "", "upstream connect error"),
        Reply::Reset,
        // Longer than a call may take.
        Reply::Held,
        Reply::Error("internal_error"),
        Reply::Raw(200, "", "<html>a proxy</html>"),
    ]);
    world.tell(&slack).await.expect("told in the end");
    let told = slack.texts();
    assert_eq!(told.len(), 8, "{told:?}");
    assert!(told[..7].iter().all(|text| *text == told[0]), "{told:?}");
    assert_ne!(told[7], told[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_slack_refuses_until_somebody_acts_ends_it_with_one_message() {
    let world = World::loaded().await;
    world.activity(Op::Create, 10, 1, "Running").await;
    for (reply, kind, code) in [
        (
            Reply::Error("channel_not_found"),
            ErrorKind::NotFound,
            "channel_not_found",
        ),
        (
            Reply::Error("invalid_auth"),
            ErrorKind::Unauthenticated,
            "invalid_auth",
        ),
        (
            Reply::Error("account_inactive"),
            ErrorKind::Unauthenticated,
            "account_inactive",
        ),
        (
            Reply::Error("missing_scope"),
            ErrorKind::PermissionDenied,
            "missing_scope",
        ),
        (
            Reply::Raw(302, "Location: https://slack.com/\r\n", ""),
            ErrorKind::PermissionDenied,
            "status 302",
        ),
    ] {
        let slack = Slack::start();
        slack.script([reply]);
        let error = world.tell(&slack).await.expect_err("refused");
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(
            error.to_string(),
            format!("Slack refuses to post: \"{code}\"")
        );
        assert!(error.hint_text().is_some_and(|hint| hint.ends_with('.')));
        assert_eq!(slack.calls().len(), 1, "{:?}", slack.texts());
    }
    let slack = Slack::start();
    world.tell(&slack).await.expect("mended");
    assert_eq!(slack.calls().len(), 1, "told once somebody acted");
}

/// Whoever goes on telling waits for somebody to act, and loses nothing meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_slack_refuses_until_somebody_acts_is_asked_again_by_who_goes_on() {
    let (world, slack) = (World::loaded().await, Slack::start());
    let refused = Reply::Error("channel_not_found");
    slack.script([refused.clone(), refused.clone(), refused]);
    let standing = Standing::default();
    let bot = Destination::Bot {
        token: Secret::new("xoxb-123"),
        channel: "C1".to_owned(),
    };
    let delivery = Delivery::Slack(bot, standing.clone());
    let mut config = world.config(&slack);
    config.retry_ms = 300;
    let telling = world.start_by(config, delivery);
    world.activity(Op::Create, 10, 1, "Running").await;
    calls(&slack, 2).await;
    let trouble = standing.trouble();
    assert_eq!(
        trouble.as_deref(),
        Some("Slack refuses to post: \"channel_not_found\"")
    );
    // The fourth call is taken.
    calls(&slack, 4).await;
    world.activity(Op::Create, 13, 2, "Boxe").await;
    let told = calls(&slack, 5).await;
    assert_eq!(standing.trouble(), None);
    assert!(told[1..4].iter().all(|text| *text == told[0]), "{told:?}");
    assert_ne!(told[4], told[0]);
    telling.stop().await.expect("a clean stop");
}

/// What may still be posted is decided before each call, not before the first.
#[tokio::test(flavor = "multi_thread")]
async fn who_opts_out_or_takes_back_while_slack_refuses_is_not_told() {
    let (world, slack) = (World::loaded().await, Slack::start());
    let refused = Reply::Error("channel_not_found");
    slack.script([refused.clone(), refused]);
    let opted_out = tempfile::NamedTempFile::new().expect("a file");
    let mut config = world.config(&slack);
    config.retry_ms = 1500;
    config.opt_out_file = opted_out.path().display().to_string();
    let telling = world.start(config);
    world.activity(Op::Create, 10, 1, "Running").await;
    calls(&slack, 1).await;
    world.activity(Op::Delete, 10, 1, "Running").await;
    world.activity(Op::Create, 13, 2, "Boxe").await;
    let refused = calls(&slack, 2).await;
    assert!(refused[1].contains("Paul"), "{refused:?}");
    std::fs::write(opted_out.path(), "2\n").expect("written");
    world.activity(Op::Create, 14, 3, "Natation").await;
    let told = calls(&slack, 3).await;
    assert!(told[2].contains("Laurence"), "{told:?}");
    assert!(!told[2].contains("Paul"), "{told:?}");
    telling.stop().await.expect("a clean stop");
    assert_eq!(slack.calls().len(), 3, "{:?}", slack.texts());
}

/// Nothing of what was refused is left, and the next start begins after it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_while_slack_refuses_is_done_with() {
    let (world, slack) = (World::loaded().await, Slack::start());
    slack.script([Reply::Raw(503, "", "")]);
    let mut config = world.config(&slack);
    config.retry_ms = 2000;
    let telling = world.start(config.clone());
    world.activity(Op::Create, 10, 1, "Running").await;
    calls(&slack, 1).await;
    world.activity(Op::Delete, 10, 1, "Running").await;
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    telling.stop().await.expect("a clean stop");
    world.tell_by(config).await.expect("nothing to tell");
    assert_eq!(slack.calls().len(), 1, "{:?}", slack.texts());
}

/// Stopped while everything is refused: nothing is in doubt.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_when_it_is_stopped_is_told_once_somebody_acted() {
    let (world, slack) = (World::loaded().await, Slack::start());
    slack.script([Reply::Error("invalid_auth")]);
    let mut config = world.config(&slack);
    config.retry_ms = 60_000;
    let telling = world.start(config);
    world.activity(Op::Create, 10, 1, "Running").await;
    calls(&slack, 1).await;
    telling.stop().await.expect("a clean stop");
    world.tell(&slack).await.expect("told");
    let told = slack.texts();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[0], told[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_gone_ends_it() {
    let (world, slack) = (World::loaded().await, Slack::start());
    world.activity(Op::Create, 10, 1, "Running").await;
    slack.script([Reply::Raw(404, "", "no_service")]);
    let webhook = Destination::Webhook(Secret::new(&slack.webhook()));
    let webhook = Delivery::Slack(webhook, Standing::default());
    let ended = world.run(
        world.config(&slack),
        webhook,
        Until::End,
        CancellationToken::new(),
    );
    let error = ended.await.expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        !format!("{error:?}").contains("XXXX"),
        "the address is a secret: {error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_slack_will_never_take_is_kept_and_the_next_is_told() {
    let (world, slack) = (World::loaded().await, Slack::start());
    world.activity(Op::Create, 10, 1, "Running").await;
    world.activity(Op::Create, 13, 2, "Boxe").await;
    slack.script([Reply::Error("msg_too_long")]);
    world.tell(&slack).await.expect("told");
    assert_eq!(slack.calls().len(), 2, "{:?}", slack.texts());
    let config = world.config(&slack);
    let dead = dead_letters(&config.path).expect("a list");
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].error, "msg_too_long");
    assert_eq!(dead[0].ids.len(), 1);
}

/// Stopped while nobody knows whether Slack took the message.
#[tokio::test(flavor = "multi_thread")]
async fn one_message_in_doubt_is_skipped_or_repeated_as_configured() {
    for (in_doubt, expected) in [(InDoubt::Skip, 2), (InDoubt::Repeat, 3)] {
        let (world, slack) = (World::loaded().await, Slack::start());
        slack.script([Reply::Reset]);
        let mut config = world.config(&slack);
        config.retry_ms = 60_000;
        config.in_doubt = in_doubt;
        let telling = world.start(config.clone());
        world.activity(Op::Create, 10, 1, "Running").await;
        let first = calls(&slack, 1).await.remove(0);
        telling.stop().await.expect("a clean stop");
        world.activity(Op::Create, 11, 2, "Boxe").await;
        world.tell_by(config).await.expect("told");
        let told = slack.texts();
        assert_eq!(told.len(), expected, "{told:?}");
        let repeats = told.iter().filter(|text| **text == first).count();
        assert_eq!(repeats, expected - 1, "{told:?}");
    }
}

/// Stopped while it is known that Slack did not take it.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_refused_for_a_while_is_in_no_doubt() {
    let (world, slack) = (World::loaded().await, Slack::start());
    slack.script([Reply::Raw(429, "Retry-After: 600\r\n", "")]);
    let telling = world.start(world.config(&slack));
    world.activity(Op::Create, 10, 1, "Running").await;
    calls(&slack, 1).await;
    telling.stop().await.expect("a clean stop");
    world.tell(&slack).await.expect("told");
    let told = slack.texts();
    assert_eq!(told.len(), 2);
    assert_eq!(told[0], told[1]);
}

/// Nobody knows of the first call; of the second it is known that Slack did not take it.
#[tokio::test(flavor = "multi_thread")]
async fn a_doubt_ends_with_an_answer_that_is_none() {
    let (world, slack) = (World::loaded().await, Slack::start());
    slack.script([Reply::Reset, Reply::Raw(429, "Retry-After: 600\r\n", "")]);
    let telling = world.start(world.config(&slack));
    world.activity(Op::Create, 10, 1, "Running").await;
    calls(&slack, 2).await;
    telling.stop().await.expect("a clean stop");
    world.tell(&slack).await.expect("told");
    let told = slack.texts();
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told.iter().all(|text| *text == told[0]), "{told:?}");
}

/// The message in doubt of a process that stopped is too old once Slack answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_doubt_grows_old_as_well() {
    let (world, slack) = (World::loaded().await, Slack::start());
    slack.script([Reply::Reset]);
    let mut config = world.config(&slack);
    (config.retry_ms, config.in_doubt) = (60_000, InDoubt::Repeat);
    let telling = world.start(config.clone());
    world.activity(Op::Create, 10, 1, "Running").await;
    calls(&slack, 1).await;
    telling.stop().await.expect("a clean stop");
    slack.script([Reply::Raw(503, "", "")]);
    (config.retry_ms, config.max_age_seconds) = (10, 1);
    world.tell_by(config).await.expect("passed over");
    assert_eq!(slack.calls().len(), 2, "{:?}", slack.texts());
}
