//! The files of `tests/slt`, each in process and a second time through Flight: the same SQL has the same rows.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use engine::Session;
use futures::TryStreamExt;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};
use tonic::Status;

use super::{Client, Running, fetch, project, status};
use crate::config::FlightConfig;
use crate::sql_info::ESCAPED_FUNCTIONS;

const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/slt");

type Output = DBOutput<DefaultColumnType>;

struct InProcess(Session);

struct OverFlight(Client);

#[tonic::async_trait]
impl AsyncDB for InProcess {
    type Error = engine::Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<Output, engine::Error> {
        let statement = self.0.prepare(sql).await?;
        let schema = statement.schema();
        let batches: Vec<RecordBatch> = statement.execute().await?.try_collect().await?;
        Ok(printed(&schema, &batches))
    }

    async fn shutdown(&mut self) {}
}

#[tonic::async_trait]
impl AsyncDB for OverFlight {
    type Error = Status;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<Output, Status> {
        let info = self.0.execute(sql.to_owned(), None).await.map_err(status)?;
        let schema = info.clone().try_decode_schema().map_err(status)?;
        let batches = fetch(&mut self.0, info).await?;
        Ok(printed(&schema.into(), &batches))
    }

    async fn shutdown(&mut self) {}
}

fn printed(schema: &SchemaRef, batches: &[RecordBatch]) -> Output {
    let options = FormatOptions::new().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options).expect("printable"))
            .collect();
        rows.extend((0..batch.num_rows()).map(|row| {
            let cells = columns.iter().map(|cells| cells.value(row).to_string());
            cells
                .map(|cell| {
                    if cell.is_empty() {
                        "(empty)".to_owned()
                    } else {
                        cell
                    }
                })
                .collect()
        }));
    }
    DBOutput::Rows {
        types: vec![DefaultColumnType::Any; schema.fields().len()],
        rows,
    }
}

async fn world() -> (Running, Session) {
    let directory = tempfile::tempdir().expect("a directory");
    let reader = project::reader(directory.path()).await;
    let newest = reader.latest().await.expect("an epoch");
    let session = reader.session(newest).expect("a session");
    let running = Running::on(directory, reader, FlightConfig::default()).await;
    (running, session)
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_has_the_same_rows_in_process_and_over_flight() {
    let (running, session) = world().await;
    let files = files();
    assert!(files.len() >= 5, "the files are found");
    let mut failures = String::new();
    for file in files {
        let mut told = |door: &str, error: &dyn StdError| {
            failures.push_str(&format!("{door}: {error}\n"));
        };
        let mut runner = Runner::new(|| async { Ok(InProcess(session.clone())) });
        if let Err(error) = runner.run_file_async(&file).await {
            told("in process", &error);
        }
        let mut runner = Runner::new(|| async { Ok(OverFlight(running.client.clone())) });
        if let Err(error) = runner.run_file_async(&file).await {
            told("over Flight", &error);
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(Path::new(FILES)).expect("a folder of files");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "slt"))
        .collect();
    files.sort();
    files
}

/// What drivers are told to send within `{fn ..}` is understood, each by a call that has a value.
#[tokio::test(flavor = "multi_thread")]
async fn every_function_that_drivers_are_told_of_runs() {
    let (_running, session) = world().await;
    let at = "TIMESTAMP '2024-02-29 12:30:45'";
    let arguments: BTreeMap<&str, String> = [
        ("ATAN2", "1, 2"),
        ("CHAR", "65"),
        ("CONCAT", "'a', 'b'"),
        ("CONVERT", "'1.5', SQL_DOUBLE"),
        ("CURDATE", ""),
        ("CURTIME", ""),
        ("DATABASE", ""),
        ("IFNULL", "NULL, 1"),
        ("INSERT", "'abcd', 2, 1, 'x'"),
        ("LEFT", "'abcd', 2"),
        ("LOCATE", "'c', 'abcd'"),
        ("MOD", "7, 2"),
        ("NOW", ""),
        ("PI", ""),
        ("POSITION", "'b' IN 'abc'"),
        ("POWER", "2, 3"),
        ("RAND", ""),
        ("REPEAT", "'a', 2"),
        ("REPLACE", "'abc', 'b', 'x'"),
        ("RIGHT", "'abcd', 2"),
        ("SPACE", "2"),
        ("SUBSTRING", "'abcd', 2, 2"),
        ("TRUNCATE", "1.25, 1"),
        ("ROUND", "1.25, 1"),
    ]
    .into_iter()
    .map(|(name, arguments)| (name, arguments.to_owned()))
    .chain([
        ("EXTRACT", format!("YEAR FROM {at}")),
        ("TIMESTAMPADD", format!("SQL_TSI_DAY, 1, {at}")),
        ("TIMESTAMPDIFF", format!("SQL_TSI_DAY, {at}, {at}")),
    ])
    .collect();
    for (info, names) in ESCAPED_FUNCTIONS {
        let usual = match *info {
            arrow_flight::sql::SqlInfo::SqlNumericFunctions => "0.5",
            arrow_flight::sql::SqlInfo::SqlDatetimeFunctions => at,
            _ => "'abc'",
        };
        for name in *names {
            let arguments = arguments.get(name).map_or(usual, String::as_str);
            let sql = format!("SELECT {{fn {name}({arguments})}} AS x");
            let prepared = session.prepare(&sql).await;
            let stream = prepared.expect(&sql).execute().await.expect(&sql);
            let batches: Vec<RecordBatch> = stream.try_collect().await.expect(&sql);
            assert!(batches[0].column(0).is_valid(0), "{sql} is NULL");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spelled_out_null_safe_join_is_hashed() {
    let (_running, session) = world().await;
    let sql = "EXPLAIN SELECT count(*) AS n FROM gold.ventes v LEFT OUTER JOIN gold.clients c
               ON (v.client = c.client AND v.client IS NOT NULL AND c.client IS NOT NULL
                   OR v.client IS NULL AND c.client IS NULL)";
    let stream = session.prepare(sql).await.expect("plans").execute().await;
    let batches: Vec<RecordBatch> = stream.expect("explains").try_collect().await.expect("rows");
    let plan = format!(
        "{:?}",
        arrow::util::pretty::pretty_format_batches(&batches)
            .expect("text")
            .to_string()
    );
    assert!(plan.contains("HashJoinExec"), "{plan}");
    assert!(!plan.contains("NestedLoopJoinExec"), "{plan}");
}
