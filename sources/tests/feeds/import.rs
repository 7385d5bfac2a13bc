use changes::ErrorKind;
use sources::hr::{ImportOptions, ImportReport, Workbook, import};

use crate::kafka::{Kafka, clock};

pub(crate) async fn import_sample(kafka: &Kafka) -> ImportReport {
    import_as(kafka, sample(), ImportOptions::default()).await
}

async fn import_as(kafka: &Kafka, workbook: Workbook, options: ImportOptions) -> ImportReport {
    import(&kafka.config, &kafka.allocator, workbook, options, clock())
        .await
        .expect("imported")
}

fn sample() -> Workbook {
    Workbook::sample().expect("the sample")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_workbook_again_publishes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let kafka = Kafka::start(directory.path()).await;
    let first = import_sample(&kafka).await;
    assert_eq!(first.employees.created, 161);
    assert_eq!(first.declared_sports.created, 134);
    assert_eq!(first.commute_distances.created, 161);
    assert_eq!(first.published, 161 + 134 + 161);
    kafka.stop().await;

    let kafka = Kafka::start(directory.path()).await;
    let again = import_sample(&kafka).await;
    assert_eq!(again.changes(), 0);
    assert_eq!(again.published, 0);
    let employees = kafka.messages("employees").await;
    assert_eq!(employees.len(), 161);
    assert!(employees.iter().all(|message| message.op() == "c"));
    let salary = employees[0].value["after"]["salaire_brut"]
        .as_str()
        .expect("text");
    assert!(
        salary
            .split_once('.')
            .is_some_and(|(_, cents)| cents.len() == 2)
    );
    kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_published_with_what_was_before() {
    let directory = tempfile::tempdir().expect("a directory");
    let kafka = Kafka::start(directory.path()).await;
    import_sample(&kafka).await;
    let mut workbook = sample();
    let gone = workbook.employees.remove(3).id;
    let raised = workbook.employees[0].id;
    workbook.employees[0].salaire_brut.0 += 100_000;
    let report = import_as(&kafka, workbook, ImportOptions::default()).await;
    assert_eq!(report.deleted_employees, [gone]);
    assert_eq!((report.employees.updated, report.employees.deleted), (1, 1));

    let employees = kafka.messages("employees").await;
    let last: Vec<(i64, &str)> = employees[161..].iter().map(|m| (m.id(), m.op())).collect();
    assert_eq!(last, [(gone, "d"), (gone, "tombstone"), (raised, "u")]);
    let update = &employees[163].value;
    assert_ne!(
        update["before"]["salaire_brut"],
        update["after"]["salaire_brut"]
    );
    let mut lsns: Vec<i64> = Vec::new();
    for table in ["employees", "declared_sports", "commute_distances"] {
        let messages = kafka.messages(table).await;
        let of_table: Vec<i64> = messages
            .iter()
            .filter_map(|message| message.lsn())
            .collect();
        assert!(of_table.is_sorted(), "{table}");
        lsns.extend(of_table);
    }
    let count = lsns.len();
    lsns.sort_unstable();
    lsns.dedup();
    assert_eq!(lsns.len(), count, "one lsn a change");
    kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mass_deletions_are_listed_but_not_done_without_a_yes() {
    let directory = tempfile::tempdir().expect("a directory");
    let kafka = Kafka::start(directory.path()).await;
    import_sample(&kafka).await;
    let mut small = sample();
    small.employees.truncate(100);

    let dry = ImportOptions {
        dry_run: true,
        ..ImportOptions::default()
    };
    let listed = import_as(&kafka, small.clone(), dry).await;
    assert_eq!((listed.deleted_employees.len(), listed.published), (61, 0));

    let refused = import(
        &kafka.config,
        &kafka.allocator,
        small.clone(),
        ImportOptions::default(),
        clock(),
    );
    let error = refused.await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert_eq!(kafka.messages("employees").await.len(), 161);

    let yes = ImportOptions {
        yes: true,
        ..ImportOptions::default()
    };
    assert_eq!(import_as(&kafka, small, yes).await.employees.deleted, 61);
    assert_eq!(kafka.messages("employees").await.len(), 161 + 2 * 61);
    kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_file_of_numbers_does_not_turn_time_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let kafka = Kafka::start(directory.path()).await;
    import_sample(&kafka).await;
    kafka.stop().await;
    std::fs::remove_file(directory.path().join("lsn")).expect("removed");

    let kafka = Kafka::start(directory.path()).await;
    let mut workbook = sample();
    workbook.employees[0].bu = Some("Support".to_owned());
    workbook.employees[1].bu = Some("Autre".to_owned());
    import_as(&kafka, workbook, ImportOptions::default()).await;
    let lsns: Vec<_> = kafka.messages("employees").await;
    assert!(lsns.len() > 161);
    assert!(lsns.iter().filter_map(|message| message.lsn()).is_sorted());
    kafka.stop().await;
}
