//! Tables as files, under the visitor's policies, in a bounded number of places.

mod body;
mod options;
mod places;

use axum::body::Body;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::{EpochHold, Error, ErrorKind, Result, TableName};
use exports::Format;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use maud::{Markup, html};
use tracing::Instrument;

pub(crate) use self::places::Exports;
use self::places::Place;
use crate::failure;
use crate::language::Language;
use crate::rows::Select;
use crate::traces::Export;
use crate::visit::Visit;

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

type Chunks = BoxStream<'static, Result<Bytes, Fault>>;

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
    let traced = Export::begin(&table, format.extension());
    let span = traced.span();
    let begun = begun(visit, table, format, traced);
    Box::pin(begun).instrument(span).await
}

async fn begun(
    visit: &Visit,
    table: TableName,
    format: Format,
    mut traced: Export,
) -> Result<Response> {
    let first = Box::pin(first(visit, &table, format)).await;
    let (kept, first, rest) = first.inspect_err(|error| traced.failed(error))?;
    let chunks = stream::iter(first.map(Ok)).chain(rest.map_err(|fault| fault.0));
    let bytes = body::body(chunks, kept, visit.site.config.unread(), traced);
    let named = format!("attachment; filename=\"{table}.{}\"", format.extension());
    let headers = [
        (header::CONTENT_TYPE, format.media_type().to_owned()),
        (header::CONTENT_DISPOSITION, named),
    ];
    Ok((headers, Body::from_stream(bytes)).into_response())
}

/// What an export holds until its last byte, its first bytes and those that follow.
async fn first(
    visit: &Visit,
    table: &TableName,
    format: Format,
) -> Result<((Place, EpochHold), Option<Bytes>, Chunks)> {
    let (site, principal) = (&visit.site, &visit.visitor.principal);
    let place = site
        .exports
        .enter(principal.name(), site.desk.has_users())?;
    let session = site.desk.session(principal).await?;
    if session.info(table).is_none() {
        return Err(unknown());
    }
    let hold = site.desk.reader().hold(session.epoch());
    let answer = Select::all(table).answer(visit, &session).await?;
    let batches = answer.batches.map_err(Fault);
    let mut chunks: Chunks = Box::pin(exports::chunks(batches, answer.schema, format));
    let first = chunks.next().await.transpose().map_err(|fault| fault.0)?;
    Ok(((place, hold), first, chunks))
}

fn asked(visit: &Visit, name: &str) -> Result<(TableName, Format)> {
    let (table, extension) = name.rsplit_once('.').ok_or_else(unknown)?;
    let spelling = options::csv(&visit.values)?;
    let format = match extension {
        "csv" => Format::Csv(spelling.unwrap_or_default()),
        "parquet" => Format::Parquet,
        "xlsx" => Format::Xlsx,
        _ => {
            return Err(
                Error::invalid("tables are exported as csv, parquet or xlsx")
                    .hint("Write /export/gold.eligibilites.csv."),
            );
        }
    };
    if spelling.is_some() && !matches!(format, Format::Csv(_)) {
        return Err(
            Error::invalid("excel, separator, decimal_comma and bom are of CSV")
                .hint("Leave them out, or write .csv. Excel opens .xlsx without any of them."),
        );
    }
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
        Language::English => "?bom=1",
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
