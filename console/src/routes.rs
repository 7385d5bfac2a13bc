use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use engine::{Error, ErrorKind, Reader};
use prometheus::{Encoder, Registry, TextEncoder};

use crate::visit::{Site, Visit};
use crate::{
    Trouble, benefits, door, export, failure, form, layout, live, login, pipeline, quality,
    queries, why,
};

pub(crate) fn service(site: Arc<Site>, registry: Registry) -> Router {
    let reader = site.desk.reader().clone();
    pages(site)
        .merge(measured(registry))
        .route("/readyz", get(ready).with_state(reader))
        .layer(middleware::from_fn(guarded))
}

/// Everything behind the door.
fn pages(site: Arc<Site>) -> Router {
    Router::new()
        .route("/", get(benefits::page))
        .route("/why", get(why::asked))
        .route("/why/{id}", get(why::page))
        .route("/pipeline", get(pipeline::page))
        .route("/pipeline/{table}", get(pipeline::table_page))
        .route("/quality", get(quality::page))
        .route("/quality/quarantine", post(quality::quarantine))
        .route("/quality/letters", post(quality::letters))
        .route("/queries", get(queries::page))
        .route("/queries/kill", post(queries::kill))
        .route("/export/{file}", get(export::file))
        .route("/events", get(live::follow))
        .route("/login", get(login::asked).post(login::sent))
        .route("/logout", post(login::left))
        .route("/style.css", get(style))
        .route("/live.js", get(script))
        .fallback(missing)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(site.clone(), form::whole))
        .layer(middleware::from_fn_with_state(site, door::enter))
}

pub(crate) fn probes(registry: Registry, trouble: Trouble) -> Router {
    let ready = move || async move {
        match trouble() {
            None => "ready\n".into_response(),
            Some(trouble) => not_ready(&trouble),
        }
    };
    measured(registry)
        .route("/readyz", get(ready))
        .fallback(|| async { (StatusCode::NOT_FOUND, "no such page\n") })
        .layer(middleware::from_fn(guarded))
}

fn measured(registry: Registry) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .with_state(registry)
        .route("/healthz", get(|| async { "ok\n" }))
}

async fn missing(visit: Visit) -> Response {
    let error = Error::new(ErrorKind::NotFound, "there is no such page")
        .hint("The pages are those of the navigation.");
    failure::shown(&visit, &error)
}

async fn wrong_method(visit: Visit) -> Response {
    let error = Error::invalid("this address is not asked in this way")
        .hint("Use the links and forms of the page.");
    let mut response = failure::shown(&visit, &error);
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

async fn style() -> Response {
    asset("text/css; charset=utf-8", layout::STYLE)
}

async fn script() -> Response {
    asset("text/javascript; charset=utf-8", layout::SCRIPT)
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn ready(State(reader): State<Reader>) -> Response {
    match reader.latest().await {
        Ok(manifest) => format!("ready: epoch {}\n", manifest.epoch).into_response(),
        Err(error) => not_ready(&error.to_string()),
    }
}

/// Whatever keeps an epoch from being read, or a role from its work, the probe's answer is "not now".
fn not_ready(why: &str) -> Response {
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("not ready: {why}\n"),
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

/// Headers of every answer: nothing is loaded from elsewhere, framed, sniffed or kept.
async fn guarded(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, layout::POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Without the origin, a form of ours could not be told from one of others.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
