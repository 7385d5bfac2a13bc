//! Tables as files, under the visitor's policies, in a bounded number of places.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use engine::{Error, ErrorKind, Result, TableName};
use exports::{CsvOptions, Format};
use futures::{StreamExt, TryStreamExt, stream};
use maud::{Markup, html};
use tokio::sync::Semaphore;

use crate::failure;
use crate::language::Language;
use crate::rows::Select;
use crate::visit::Visit;

/// Who exports at this moment.
pub(crate) struct Exports(Arc<Semaphore>);

impl Exports {
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most)))
    }
}

/// An error of the rows, or of their way into a file.
struct Fault(Error);

impl From<exports::Error> for Fault {
    fn from(error: exports::Error) -> Self {
        let kind = match error.kind() {
            exports::ErrorKind::InvalidRequest => ErrorKind::InvalidRequest,
            exports::ErrorKind::Unavailable => ErrorKind::Unavailable,
            exports::ErrorKind::ResourceExhausted => ErrorKind::ResourceExhausted,
            exports::ErrorKind::Internal => ErrorKind::Internal,
        };
        let told = Error::new(kind, error.to_string());
        Self(match error.hint_text() {
            Some(hint) => told.hint(hint.to_owned()),
            None => told,
        })
    }
}

/// `/export/gold.eligibilites.csv`
pub(crate) async fn file(visit: Visit, Path(name): Path<String>) -> Response {
    match Box::pin(made(&visit, &name)).await {
        Ok(response) => response,
        Err(error) => failure::shown(&visit, &error),
    }
}

/// What goes wrong before the first bytes is an answer of its own; later it breaks the answer off.
async fn made(visit: &Visit, name: &str) -> Result<Response> {
    let (table, format) = asked(visit, name)?;
    let place = visit.site.exports.0.clone().try_acquire_owned();
    let place = place.map_err(|_| {
        Error::new(ErrorKind::ResourceExhausted, "too many exports run already")
            .hint("Try again in a few seconds; http.max_exports says how many may run at once.")
    })?;
    let session = visit.site.desk.session(&visit.visitor.principal).await?;
    if session.info(&table).is_none() {
        return Err(unknown());
    }
    let hold = visit.site.desk.reader().hold(session.epoch());
    let answer = Select::all(&table).answer(visit, &session).await?;
    let batches = answer.batches.map_err(Fault);
    let mut chunks = Box::pin(exports::chunks(batches, answer.schema, format));
    let first = chunks.next().await.transpose().map_err(|fault| fault.0)?;
    let first = stream::iter(first.map(Ok));
    let bytes = first.chain(chunks).map(move |bytes| {
        let _held_until_the_last_byte = (&place, &hold);
        bytes.map_err(|fault: Fault| {
            tracing::warn!(error = %fault.0, "an export broke off");
            std::io::Error::other("the export broke off")
        })
    });
    let named = format!("attachment; filename=\"{table}.{}\"", format.extension());
    let headers = [
        (header::CONTENT_TYPE, format.media_type().to_owned()),
        (header::CONTENT_DISPOSITION, named),
    ];
    Ok((headers, Body::from_stream(bytes)).into_response())
}

fn asked(visit: &Visit, name: &str) -> Result<(TableName, Format)> {
    let (table, extension) = name.rsplit_once('.').ok_or_else(unknown)?;
    let format = match extension {
        "csv" if visit.values.get("excel") == Some("fr") => Format::Csv(CsvOptions::excel_fr()),
        "csv" => Format::Csv(CsvOptions::default()),
        "parquet" => Format::Parquet,
        "xlsx" => Format::Xlsx,
        _ => {
            return Err(
                Error::invalid("tables are exported as csv, parquet or xlsx")
                    .hint("Write /export/gold.eligibilites.csv."),
            );
        }
    };
    Ok((table.parse().map_err(|_| unknown())?, format))
}

/// One that is not there and one that is not to be seen look alike.
fn unknown() -> Error {
    Error::new(ErrorKind::NotFound, "there is no such table")
        .hint("The pipeline's page lists those that you see.")
}

/// The ways to have a table as a file.
pub(crate) fn links(visit: &Visit, table: &str) -> Markup {
    let excel = match visit.language {
        Language::French => "?excel=fr",
        Language::English => "",
    };
    html! {
        p.exports {
            span.soft { (visit.say("Exporter ", "Export ")) (table) " : " }
            a href={ "/export/" (table) ".csv" (excel) } download { "CSV" } " · "
            a href={ "/export/" (table) ".xlsx" } download { "Excel" } " · "
            a href={ "/export/" (table) ".parquet" } download { "Parquet" }
        }
    }
}
