use changes::ErrorKind;
use sources::generator::{GeneratorConfig, Progress, run_into};
use sources::hr::{ImportOptions, Workbook, import_into};
use tokio_util::sync::CancellationToken;

use crate::kafka::clock;
use crate::postgres::{Database, PASSWORD};

#[tokio::test(flavor = "multi_thread")]
async fn activities_go_into_the_database() {
    let Some(database) = Database::create("t_generate") else {
        return;
    };
    let app = database.address_of("sportlake_app", PASSWORD, "");
    let config = GeneratorConfig {
        days: 30,
        rate: 0.0,
        ..GeneratorConfig::default()
    };
    let stop = CancellationToken::new();
    let error = run_into(&app, config.clone(), clock(), stop.clone(), |_| {})
        .await
        .expect_err("nobody");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let sample = Workbook::sample().expect("the sample");
    import_into(&app, sample, ImportOptions::default(), clock())
        .await
        .expect("imported");

    let report = run_into(&app, config.clone(), clock(), stop.clone(), |_| {})
        .await
        .expect("played");
    assert!(report.complete && report.backfill > 500, "{report:?}");
    let rows: usize = database
        .sql("SELECT count(*) FROM sport_activities")
        .parse()
        .expect("a number");
    assert!(
        rows > 500 && rows < report.backfill,
        "corrections and deletes are no rows: {rows} {report:?}"
    );
    let ends = "SELECT count(*) FROM sport_activities WHERE type_activite = 'BACKFILL_COMPLETE'";
    assert_eq!(database.sql(ends), "1");
    let again = run_into(&app, config.clone(), clock(), stop.clone(), |_| {})
        .await
        .expect("played");
    assert_eq!((again.complete, again.backfill), (true, 0));

    let live = GeneratorConfig {
        rate: 200.0,
        ..config
    };
    let enough = stop.clone();
    let tell = move |progress| {
        if matches!(progress, Progress::Live { published } if published >= 100) {
            enough.cancel();
        }
    };
    let report = run_into(&app, live, clock(), stop, tell)
        .await
        .expect("stopped in order");
    assert!(report.live >= 100, "{report:?}");
    let more: usize = database
        .sql("SELECT count(*) FROM sport_activities")
        .parse()
        .expect("a number");
    assert!(more > rows);
}
