use changes::ErrorKind;
use sources::hr::{ImportOptions, Workbook, import_into};

use crate::kafka::{Kafka, clock, messages};
use crate::node::{Capture, config};
use crate::postgres::{Database, PASSWORD};

#[tokio::test(flavor = "multi_thread")]
async fn workbooks_go_into_the_database_and_its_capture_tells_the_topics() {
    let Some(database) = Database::create("t_import") else {
        return;
    };
    let app = database.address_of("sportlake_app", PASSWORD, "");
    let import =
        async |workbook: Workbook, options| import_into(&app, workbook, options, clock()).await;
    let sample = || Workbook::sample().expect("the sample");
    let look = ImportOptions {
        dry_run: true,
        yes: false,
    };
    let report = import(sample(), look).await.expect("a look");
    assert_eq!((report.employees.created, report.published), (161, 0));
    assert_eq!(database.sql("SELECT count(*) FROM employees"), "0");

    let report = import(sample(), ImportOptions::default())
        .await
        .expect("imported");
    assert_eq!(report.published, 161 + 134 + 161);
    let again = import(sample(), ImportOptions::default())
        .await
        .expect("imported");
    assert_eq!(again.changes(), 0, "{again:?}");

    let folder = tempfile::tempdir().expect("a folder");
    let kafka = Kafka::start(folder.path()).await;
    let mut capture = Capture::start(&database, &kafka.config, &config(&database, folder.path()));
    capture.following().await;
    let mut fewer = sample();
    let left = fewer.employees.pop().expect("somebody").id;
    fewer.employees[0].bu = Some("Ventes".to_owned());
    let changed = fewer.employees[0].id;
    let report = import(fewer, ImportOptions::default())
        .await
        .expect("imported");
    assert_eq!(
        (report.employees.updated, report.deleted_employees),
        (1, vec![left])
    );
    let found = messages(&kafka.config, "employees", |found| {
        found.iter().any(|message| message.op() == "tombstone")
    });
    let found = found.await;
    let last = |id: i64| {
        found
            .iter()
            .rfind(|message| message.key["id"] == id)
            .expect("a message")
    };
    assert_eq!(last(changed).value["after"]["bu"], "Ventes");
    assert_eq!(last(left).op(), "tombstone");
    capture.stop().await;

    let mut few = sample();
    few.employees.truncate(20);
    let error = import(few, ImportOptions::default())
        .await
        .expect_err("too many would go");
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert_eq!(database.sql("SELECT count(*) FROM employees"), "160");
    let few = || {
        let mut few = sample();
        few.employees.truncate(20);
        few
    };
    let yes = ImportOptions {
        yes: true,
        dry_run: false,
    };
    import(few(), yes).await.expect("imported");
    assert_eq!(database.sql("SELECT count(*) FROM commute_distances"), "20");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_take_them_is_told() {
    let Some(database) = Database::create("t_import_refused") else {
        return;
    };
    let sample = || Workbook::sample().expect("the sample");
    let reader = database.address();
    let error = import_into(&reader, sample(), ImportOptions::default(), clock())
        .await
        .expect_err("no right");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    database.sql("DROP TABLE commute_distances");
    let app = database.address_of("sportlake_app", PASSWORD, "");
    let error = import_into(&app, sample(), ImportOptions::default(), clock())
        .await
        .expect_err("no table");
    assert!(
        error
            .hint_text()
            .is_some_and(|hint| hint.contains("01-sportsdb.sql")),
        "{error:?}"
    );
}
