use std::sync::Mutex;
use std::time::Duration;

use changes::{ChangeEvent, ErrorKind, Op, Result};
use serde_json::{Map, Value, json};
use sources::Publisher;
use sources::commute::{
    CommuteConfig, Key, MeasureOptions, MeasureReport, Progress, ProviderName, measure,
};
use sources::topics::SourceTopic;
use tempfile::TempDir;

use crate::kafka::{Kafka, clock};
use crate::routes::{GOOGLE_KEY, ORS_KEY, Reply, Routes, place, way};

const WALK: &str = "Marche/running";
const BIKE: &str = "Vélo/Trottinette/Autres";
const CAR: &str = "véhicule thermique/électrique";
/// Of those who were not asked about any more.
const OVER: &str = "asking ended before there was an answer";
const HOME: &str = "12 rue de la Loge, 34000 Montpellier";

/// A broker, and a provider that is asked one thing at a time.
struct Company {
    folder: TempDir,
    kafka: Kafka,
    routes: Routes,
}

impl Company {
    async fn of(employees: &[(i64, &str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let kafka = Kafka::start(folder.path()).await;
        let company = Self {
            folder,
            kafka,
            routes: Routes::start(),
        };
        for (id, address, mode) in employees {
            company.moves(*id, address, mode).await;
        }
        company
    }

    /// That many who walk, each from a home of their own.
    async fn of_so_many(count: i64) -> Self {
        let homes: Vec<String> = (1..=count)
            .map(|number| format!("{number} rue de la Loge, 34000 Montpellier"))
            .collect();
        let employees: Vec<_> = (1..)
            .zip(&homes)
            .map(|(id, at)| (id, at.as_str(), WALK))
            .collect();
        Self::of(&employees).await
    }

    async fn moves(&self, id: i64, address: &str, mode: &str) {
        let row = json!({"id": id, "adresse": address, "moyen_deplacement": mode, "nom": "Canary"});
        let topic = SourceTopic::employees(&self.kafka.config).expect("a topic");
        let event = ChangeEvent {
            op: Op::Create,
            key: Map::from_iter([("id".to_owned(), json!(id))]),
            before: None,
            after: row.as_object().cloned(),
            lsn: self.kafka.allocator.reserve(1).await.expect("a number"),
            ts_us: 1_795_540_000_000_000,
        };
        let publisher = Publisher::connect(&self.kafka.config).expect("a producer");
        publisher
            .publish(&topic, &[event], None)
            .await
            .expect("acknowledged");
    }

    fn config(&self, provider: ProviderName) -> CommuteConfig {
        CommuteConfig {
            provider,
            cache: self.folder.path().join("commute.cache"),
            parallel: 1,
            attempts: 3,
            retry_ms: 1,
            timeout_ms: 2000,
            google_api: self.routes.api(),
            openrouteservice_api: self.routes.api(),
            ..CommuteConfig::default()
        }
    }

    async fn ask(
        &self,
        provider: ProviderName,
        key: &str,
        options: MeasureOptions,
    ) -> Result<MeasureReport> {
        self.ask_as(&self.config(provider), key, options).await
    }

    async fn ask_as(
        &self,
        config: &CommuteConfig,
        key: &str,
        options: MeasureOptions,
    ) -> Result<MeasureReport> {
        let key = Key::new(key).expect("a key");
        measure(
            &self.kafka.config,
            &self.kafka.allocator,
            config,
            Some(key),
            options,
            clock(),
            |_| (),
        )
        .await
    }

    async fn google(&self) -> MeasureReport {
        self.ask(ProviderName::Google, GOOGLE_KEY, MeasureOptions::default())
            .await
            .expect("measured")
    }

    async fn open_route_service(&self) -> MeasureReport {
        self.ask(
            ProviderName::OpenRouteService,
            ORS_KEY,
            MeasureOptions::default(),
        )
        .await
        .expect("measured")
    }

    /// Source, metres and flag of the last event about an employee.
    async fn distance(&self, id: i64) -> (String, Option<f64>, Option<String>) {
        let messages = self.kafka.messages("commute_distances").await;
        let of = |message: &&crate::kafka::Message| message.key["employee_id"] == id;
        let last = messages.iter().rfind(of).expect("an event");
        let after = &last.value["after"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        (
            text(&after["source"]).expect("a source"),
            after["distance_m"].as_f64(),
            text(&after["flag"]),
        )
    }
}

/// Why there is no answer, sorted.
fn reasons(unanswered: &[(i64, String)]) -> Vec<&str> {
    let mut reasons: Vec<&str> = unanswered.iter().map(|(_, why)| why.as_str()).collect();
    reasons.sort_unstable();
    reasons
}

#[track_caller]
fn asked(company: &Company, expected: &[(&str, &str)]) {
    let calls = company.routes.calls();
    let seen: Vec<(&str, &str)> = calls
        .iter()
        .map(|call| {
            let origin = call.body["origin"]["address"].as_str();
            let mode = call.body["travelMode"].as_str();
            (origin.unwrap_or_default(), mode.unwrap_or_default())
        })
        .collect();
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn google_is_asked_once_for_an_address_and_a_mode_and_again_when_somebody_moves() {
    let company = Company::of(&[
        (1, HOME, WALK),
        (2, "12 RUE DE LA LOGE 34000 montpellier", WALK),
        (3, HOME, BIKE),
        (4, HOME, CAR),
        (5, "1 rue Nulle-Part, 99999 Nowhere", WALK),
    ])
    .await;
    let report = company.google().await;
    assert_eq!(
        (report.asked, report.changed.len(), report.unchanged),
        (2, 5, 0)
    );
    let mut calls = company.routes.calls();
    calls.sort_by_key(|call| call.body["travelMode"].to_string());
    assert_eq!(calls[0].body["travelMode"], "BICYCLE");
    assert_eq!(calls[1].body["travelMode"], "WALK");
    for call in &calls {
        assert_eq!(call.key, GOOGLE_KEY);
        assert_eq!(
            call.fields,
            "routes.distanceMeters,routes.legs.startLocation,geocodingResults.origin"
        );
        assert_eq!(
            call.body["destination"]["address"],
            "1362 Avenue des Platanes, 34970 Lattes, France"
        );
        assert!(!call.line.contains(GOOGLE_KEY));
    }
    for id in 1..=3 {
        assert_eq!(
            company.distance(id).await,
            ("google".to_owned(), Some(6400.0), None)
        );
    }
    assert_eq!(
        company.distance(4).await.0,
        "estimate",
        "who drives is not asked about"
    );
    let unknown = (
        "google".to_owned(),
        None,
        Some("unknown_commune".to_owned()),
    );
    assert_eq!(
        company.distance(5).await,
        unknown,
        "nothing to hold an answer against"
    );

    let again = company.google().await;
    assert_eq!(
        (again.asked, again.changed.len(), again.unchanged),
        (0, 0, 5)
    );
    company
        .moves(1, "3 avenue de Lodève, 34000 Montpellier", WALK)
        .await;
    company.moves(2, HOME, BIKE).await;
    company
        .routes
        .script([Some((200, "", way(7000, (43.61, 3.87))))]);
    let moved = company.google().await;
    assert_eq!(
        (moved.asked, moved.changed.len()),
        (1, 2),
        "the bike ride from there is known"
    );
    assert_eq!(company.routes.calls().len(), 3);
    company.kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_route_service_places_the_address_and_measures_the_way() {
    let company = Company::of(&[(1, HOME, BIKE)]).await;
    company.open_route_service().await;
    let calls = company.routes.calls();
    let lines: Vec<&str> = calls.iter().map(|call| call.line.trim_end()).collect();
    assert_eq!(
        lines,
        [
            "GET /geocode/search?text=12+rue+de+la+Loge%2C+34000+Montpellier&boundary.country=FR&size=1 HTTP/1.1",
            "POST /v2/directions/cycling-regular/json HTTP/1.1",
        ]
    );
    assert!(calls.iter().all(|call| call.key == ORS_KEY));
    assert_eq!(
        calls[1].body,
        json!({"coordinates": [[3.8772, 43.6109], [3.9290, 43.5845]]})
    );
    let expected = ("openrouteservice".to_owned(), Some(6501.0), None);
    assert_eq!(company.distance(1).await, expected);
    company.kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_tried_again_in_order_and_an_address_that_fails_is_estimated() {
    let company = Company::of(&[(1, HOME, WALK)]).await;
    let limited = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}});
    company
        .routes
        .script([Some((503, "", json!("down"))), Some((0, "", Value::Null))]);
    assert_eq!(company.google().await.changed.len(), 1);
    asked(&company, &[(HOME, "WALK"); 3]);

    company
        .moves(1, "8 chemin du Mas, 34970 Lattes", WALK)
        .await;
    company.routes.script([
        Some((429, "Retry-After: 1\r\n", limited)),
        Some((200, "", json!("<html>"))),
        Some((500, "", json!(""))),
    ]);
    let report = company.google().await;
    assert_eq!(report.unanswered.len(), 1, "{report:?}");
    assert!(report.stopped.is_none());
    let estimated = company.distance(1).await;
    assert_eq!(
        estimated.0, "estimate",
        "the way from the last home is not that from this one"
    );
    assert_ne!(estimated.1, Some(6400.0));
    assert_eq!(company.google().await.changed.len(), 1, "another day");
    company.kafka.stop().await;
}

/// A limit by the minute is no quota that is used up: what is beyond it is asked about in the next minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_by_the_minute_is_waited_for_by_all() {
    const PARALLEL: usize = 3;
    let company = Company::of_so_many(13).await;
    company.routes.limit(5, Duration::from_secs(2));
    let config = CommuteConfig {
        parallel: PARALLEL,
        attempts: 5,
        retry_ms: 40,
        ..company.config(ProviderName::OpenRouteService)
    };
    let report = company.ask_as(&config, ORS_KEY, MeasureOptions::default());
    let report = report.await.expect("measured");
    assert!(report.stopped.is_none(), "{report:?}");
    assert_eq!((report.changed.len(), report.unanswered.len()), (13, 0));
    // Those under way whenever the limit is met: nobody goes on asking meanwhile.
    let refused = company.routes.refused();
    assert!((2..=4 * PARALLEL).contains(&refused), "{refused}");
    company.kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_do_not_fit_the_commune_are_flagged_and_not_believed() {
    let toulouse = (43.6045, 1.4442);
    let partial = json!({"routes": [{"distanceMeters": 6400}], "geocodingResults": {"origin": {"partialMatch": true}}});
    let lost = json!({"geocodingResults": {"origin": {"geocoderStatus": {"code": 5}}}});
    let answers: [(Value, &str); 6] = [
        (way(240_000, toulouse), "far_from_commune"),
        // A wrong place at a likely distance, and a long way from the right place.
        (way(6400, toulouse), "far_from_commune"),
        (way(100_000, (43.57, 3.90)), "far_from_commune"),
        (way(0, (43.57, 3.90)), "far_from_commune"),
        (partial, "ambiguous_address"),
        (lost, "address_not_found"),
    ];
    for (answer, flag) in answers {
        let company = Company::of(&[(1, "8 chemin du Mas, 34970 Lattes", WALK)]).await;
        company.routes.script([Some((200, "", answer))]);
        company.google().await;
        let expected = ("google".to_owned(), None, Some(flag.to_owned()));
        assert_eq!(company.distance(1).await, expected);
        assert_eq!(
            company.google().await.asked,
            0,
            "the answer would be the same"
        );
        let options = MeasureOptions {
            retry_flagged: true,
            ..MeasureOptions::default()
        };
        let asked = company
            .ask(ProviderName::Google, GOOGLE_KEY, options)
            .await
            .expect("asked")
            .asked;
        let by_provider = flag != "far_from_commune";
        assert_eq!(asked, usize::from(by_provider), "{flag}");
        company.kafka.stop().await;
    }
    let company = Company::of(&[(1, HOME, WALK)]).await;
    company
        .routes
        .script([Some((200, "", place(toulouse, 0.3)))]);
    company.open_route_service().await;
    assert_eq!(
        company.distance(1).await.2.as_deref(),
        Some("ambiguous_address")
    );
    company.kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_and_a_used_up_quota_are_one_message_and_what_was_measured_is_kept() {
    let limited = || {
        Some((
            429,
            "",
            json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}),
        ))
    };
    let company = Company::of(&[(1, HOME, WALK), (2, HOME, BIKE)]).await;
    let refused = company
        .ask(
            ProviderName::Google,
            "AIza-wrong",
            MeasureOptions::default(),
        )
        .await
        .expect("a report");
    let error = refused.stopped.expect("refused");
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert_eq!(error.to_string(), "Google Routes refuses the key");
    assert!(!format!("{error:?}").contains("AIza-wrong"));
    let reasons = reasons(&refused.unanswered);
    assert_eq!(reasons, ["Google Routes refuses the key", OVER]);
    assert_eq!(company.routes.calls().len(), 1, "nobody is asked after it");

    company
        .routes
        .script([None, limited(), limited(), limited()]);
    let report = company.google().await;
    assert_eq!(report.changed.len(), 1, "{report:?}");
    assert_eq!(report.unanswered[0].1, "the quota at google is used up");
    assert_eq!(
        report.stopped.map(|error| error.kind()),
        Some(ErrorKind::ResourceExhausted)
    );
    let report = company.google().await;
    assert_eq!(
        (report.asked, report.changed.len()),
        (1, 1),
        "only what was left"
    );

    let company = Company::of(&[(1, HOME, WALK)]).await;
    let replies: [(Reply, ErrorKind); 2] = [
        (
            (
                403,
                "",
                json!({"error": "Access to this API has been disallowed"}),
            ),
            ErrorKind::Unauthenticated,
        ),
        (
            (403, "", json!({"error": "Quota exceeded"})),
            ErrorKind::ResourceExhausted,
        ),
    ];
    for (reply, kind) in replies {
        company.routes.script([Some(reply)]);
        let stopped = company.open_route_service().await.stopped;
        assert_eq!(stopped.map(|error| error.kind()), Some(kind));
    }
    company.kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_provider_measured_stays_when_another_fails_or_nobody_is_asked() {
    let company = Company::of(&[(1, HOME, WALK)]).await;
    company.google().await;
    let measured = ("google".to_owned(), Some(6400.0), None);
    assert_eq!(company.distance(1).await, measured);

    let down = || Some((503, "", json!("down")));
    company.routes.script([down(), down(), down()]);
    let report = company.open_route_service().await;
    assert_eq!(
        (report.unanswered.len(), report.changed.len()),
        (1, 0),
        "{report:?}"
    );
    let asked = company.ask(
        ProviderName::Estimate,
        GOOGLE_KEY,
        MeasureOptions::default(),
    );
    assert_eq!(asked.await.expect("estimated").changed.len(), 0);
    assert_eq!(company.distance(1).await, measured);
    company.kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_address_holds_up_nobody_else_and_is_asked_about_again() {
    let company = Company::of(&[(1, HOME, WALK), (2, HOME, BIKE)]).await;
    let invalid = json!({"error": {"code": 400, "status": "INVALID_ARGUMENT"}});
    company
        .routes
        .script([Some((400, "", invalid)), Some((404, "", json!({})))]);
    let report = company.google().await;
    assert_eq!(report.asked, 2);
    assert_eq!(
        reasons(&report.unanswered),
        ["the question is not understood", "the question is refused"]
    );
    assert!(report.stopped.is_none(), "{report:?}");
    for id in [1, 2] {
        let (source, _, flag) = company.distance(id).await;
        assert_eq!((source.as_str(), flag), ("estimate", None));
    }
    let again = company.google().await;
    assert_eq!((again.asked, again.changed.len()), (2, 2), "{again:?}");
    assert!(again.stopped.is_none());
    company.kafka.stop().await;

    for status in [400, 404] {
        let company = Company::of_so_many(12).await;
        company
            .routes
            .script((0..12).map(|_| Some((status, "", json!({})))));
        let stopped = company.google().await;
        assert_eq!(stopped.asked, 10, "{stopped:?}");
        let over = stopped.unanswered.iter().filter(|(_, why)| why == OVER);
        assert_eq!((over.count(), stopped.unanswered.len()), (2, 12));
        assert_eq!(
            stopped.stopped.map(|error| error.kind()),
            Some(ErrorKind::Unavailable)
        );
        company.kafka.stop().await;
    }
}

/// Whoever has no answer is told of, whether asked about or not.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_passed_over_in_silence_when_asking_ends() {
    let company = Company::of_so_many(8).await;
    let limited = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}});
    let gone = || Some((429, "", limited.clone()));
    company.routes.script([None, None, gone(), gone(), gone()]);
    let report = company.google().await;
    let told: Vec<i64> = report.unanswered.iter().map(|(id, _)| *id).collect();
    assert_eq!((report.asked, told.len()), (3, 6), "{report:?}");
    for id in 1..=8 {
        let measured = company.distance(id).await.0 == "google";
        assert_eq!(measured, !told.contains(&id), "{id}");
    }
    let of = |why: &str| {
        reasons(&report.unanswered)
            .iter()
            .filter(|said| **said == why)
            .count()
    };
    assert_eq!((of("the quota at google is used up"), of(OVER)), (1, 5));

    let down = || Some((503, "", json!("down")));
    company.routes.script((0..9).map(|_| down()));
    let silent = company.google().await;
    assert_eq!(
        (silent.asked, silent.unanswered.len()),
        (3, 6),
        "{silent:?}"
    );
    assert_eq!(
        silent.stopped.map(|error| error.kind()),
        Some(ErrorKind::Unavailable)
    );
    company.kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_are_asked_about_at_once_as_configured_and_progress_is_told_to_its_end() {
    const PARALLEL: usize = 4;
    let company = Company::of_so_many(24).await;
    company.routes.gather(PARALLEL);
    let config = CommuteConfig {
        parallel: PARALLEL,
        timeout_ms: 60_000,
        ..company.config(ProviderName::Google)
    };
    let told = Mutex::new(Vec::new());
    let report = measure(
        &company.kafka.config,
        &company.kafka.allocator,
        &config,
        Some(Key::new(GOOGLE_KEY).expect("a key")),
        MeasureOptions::default(),
        clock(),
        |progress| told.lock().expect("no panic").push(progress),
    )
    .await
    .expect("measured");
    assert_eq!((report.asked, report.unanswered.len()), (24, 0));
    assert_eq!(company.routes.most(), PARALLEL);
    let expected: Vec<Progress> = (1..=24).map(|done| Progress { done, total: 24 }).collect();
    assert_eq!(told.into_inner().expect("no panic"), expected);
    company.kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_asks_nobody_and_publishes_nothing() {
    let company = Company::of(&[(1, HOME, WALK), (4, HOME, CAR)]).await;
    let options = MeasureOptions {
        dry_run: true,
        ..MeasureOptions::default()
    };
    let report = company
        .ask(ProviderName::Google, GOOGLE_KEY, options)
        .await
        .expect("a report");
    assert_eq!((report.asked, report.changed.len()), (1, 1), "{report:?}");
    assert!(company.routes.calls().is_empty());
    assert!(company.kafka.messages("commute_distances").await.is_empty());
    company.kafka.stop().await;
}
