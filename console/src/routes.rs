use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use engine::{Error, ErrorKind, Reader};
use prometheus::{Encoder, Registry, TextEncoder};

use crate::page;

#[derive(Clone)]
struct Console {
    reader: Reader,
}

pub(crate) fn router(reader: Reader, registry: Registry) -> Router {
    Router::new()
        .route("/", get(status))
        .route("/style.css", get(style))
        .route("/readyz", get(ready))
        .with_state(Console { reader })
        .merge(measured(registry))
        .fallback(|| async { (StatusCode::NOT_FOUND, "no such page\n") })
        .layer(middleware::from_fn(guarded))
}

pub(crate) fn probes(registry: Registry) -> Router {
    measured(registry)
        .route("/readyz", get(|| async { "ready\n" }))
        .fallback(|| async { (StatusCode::NOT_FOUND, "no such page\n") })
        .layer(middleware::from_fn(guarded))
}

fn measured(registry: Registry) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(registry)
        .route("/healthz", get(|| async { "ok\n" }))
}

async fn status(State(console): State<Console>) -> Response {
    match console.reader.latest().await {
        Ok(manifest) => Html(page::status(&manifest)).into_response(),
        Err(error) => (code(error.kind()), Html(page::failure(&error))).into_response(),
    }
}

async fn style() -> Response {
    (
        [(header::CONTENT_TYPE, "text/css; charset=utf-8")],
        page::STYLE,
    )
        .into_response()
}

async fn ready(State(console): State<Console>) -> Response {
    match console.reader.latest().await {
        Ok(manifest) => format!("ready: epoch {}\n", manifest.epoch).into_response(),
        Err(error) => not_ready(&error),
    }
}

/// Whatever keeps an epoch from being read, the probe's answer is "not now".
fn not_ready(error: &Error) -> Response {
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("not ready: {error}\n"),
    )
        .into_response()
}

async fn metrics(State(registry): State<Registry>) -> Response {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&registry.gather(), &mut text) {
        Ok(()) => (
            [(header::CONTENT_TYPE, encoder.format_type().to_owned())],
            text,
        )
            .into_response(),
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics cannot be encoded\n",
        )
            .into_response(),
    }
}

/// The one mapping of error kinds to HTTP.
fn code(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::InvalidRequest => StatusCode::BAD_REQUEST,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Corrupt | ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorKind::Cancelled => client_closed_request(),
    }
}

/// 499, which has no name in the standard.
fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Headers of every answer: nothing is loaded from elsewhere, framed, sniffed or kept.
async fn guarded(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, page::POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_status_of_the_table() {
        let table = [
            (ErrorKind::InvalidRequest, 400),
            (ErrorKind::Unsupported, 501),
            (ErrorKind::NotFound, 404),
            (ErrorKind::Unauthenticated, 401),
            (ErrorKind::PermissionDenied, 403),
            (ErrorKind::Conflict, 409),
            (ErrorKind::Unavailable, 503),
            (ErrorKind::DeadlineExceeded, 504),
            (ErrorKind::ResourceExhausted, 429),
            (ErrorKind::Corrupt, 500),
            (ErrorKind::Internal, 500),
            (ErrorKind::Cancelled, 499),
        ];
        for (kind, status) in table {
            assert_eq!(code(kind).as_u16(), status, "{kind:?}");
        }
    }
}
