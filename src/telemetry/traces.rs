//! Spans on their way to an OTLP receiver, where one is configured. Crates only open spans, under one target.
//!
//! The receiver may be down or slow: spans wait in a queue of bounded length, on a thread of their own, and what does not
//! fit is dropped. Whatever is no span of ours (log lines, other crates' spans) never leaves by this way.

mod post;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engine::{Error, Result};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{
    Protocol, RetryPolicy, SpanExporter as Otlp, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter,
};
use reqwest::Url;
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber, info, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use self::post::{Failure, Post};
use crate::config::TracesConfig;

/// The target of every span that is sent; crates name it where they open one.
const TARGET: &str = "trace";

/// Patience with one batch, and with the last ones of a process that ends.
const TIMEOUT: Duration = Duration::from_secs(5);
const FAREWELL: Duration = Duration::from_secs(2);

/// What of a receiver's complaint is worth a line of the log.
const LONGEST_REASON: usize = 200;

/// OpenTelemetry's own variables, for whoever sets them for all services of a machine.
const SIGNAL_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const SERVICE: &str = "OTEL_SERVICE_NAME";
const DISABLED: &str = "OTEL_SDK_DISABLED";

/// Whether a span is one that is sent.
pub(super) fn is_sent(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target() == TARGET
}

/// What sends spans until the process ends.
pub(super) struct Traces(SdkTracerProvider);

impl Traces {
    /// None where nobody asks for traces.
    ///
    /// # Errors
    /// `InvalidRequest` for an address or a limit that cannot work.
    pub(super) fn begin(config: &TracesConfig) -> Result<Option<Self>> {
        config.validate()?;
        let variable = |name: &str| std::env::var(name).ok();
        let Some(endpoint) = receiver(config)? else {
            return Ok(None);
        };
        let unusable = |error: opentelemetry_otlp::ExporterBuildError| {
            Error::invalid("traces cannot be sent as OpenTelemetry's variables say")
                .hint("Leave OTEL_EXPORTER_OTLP_COMPRESSION out, and write headers as name=value,name=value.")
                .caused_by(error)
        };
        let failure = Failure::default();
        let exporter = Otlp::builder()
            .with_http()
            .with_http_client(Post::new(TIMEOUT, failure.clone())?)
            .with_retry_policy(RetryPolicy::disabled())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(TIMEOUT)
            .with_endpoint(endpoint.as_str())
            .build()
            .map_err(unusable)?;
        let queue = BatchConfigBuilder::default().with_max_queue_size(config.max_queued);
        let told = Told {
            exporter,
            failure,
            receiver: shown(&endpoint),
            is_away: AtomicBool::new(false),
        };
        let processor = BatchSpanProcessor::builder(told).with_batch_config(queue.build());
        let service = variable(SERVICE).unwrap_or_else(|| config.service.clone());
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor.build())
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
                config.sample,
            ))))
            .with_resource(
                Resource::builder()
                    .with_service_name(service)
                    .with_attribute(version)
                    .build(),
            )
            .build();
        // What a client sends along is read from here on.
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        Ok(Some(Self(provider)))
    }

    /// What hears of spans: ours, and no event.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let ours = filter_fn(is_sent).with_max_level_hint(LevelFilter::INFO);
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("sportlake"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(ours)
    }

    /// Sends what waits, for as long as a process that ends may take.
    pub(super) fn end(self) {
        // Whoever did not take it was told of when it happened.
        let _ = self.0.shutdown_with_timeout(FAREWELL);
    }
}

/// Where spans are sent, as this process's environment has it.
///
/// # Errors
/// `InvalidRequest` for what is no such address.
pub(crate) fn receiver(config: &TracesConfig) -> Result<Option<Url>> {
    endpoint(config, |name: &str| std::env::var(name).ok())
}

/// Where spans are sent: what the configuration says goes before what the environment says for every service.
fn endpoint(
    config: &TracesConfig,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Url>> {
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    if set(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let (key, text, is_whole) = if !config.endpoint.trim().is_empty() {
        ("traces.endpoint", config.endpoint.clone(), false)
    } else if let Some(text) = set(SIGNAL_ENDPOINT) {
        (SIGNAL_ENDPOINT, text, true)
    } else if let Some(text) = set(ENDPOINT) {
        (ENDPOINT, text, false)
    } else {
        return Ok(None);
    };
    let none = || {
        Error::invalid(format!("{key} is no address of an OTLP receiver over HTTP"))
            .hint("Write it as http://127.0.0.1:4318.")
    };
    let mut url = Url::parse(text.trim()).map_err(|error| none().caused_by(error))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(none());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::invalid(format!("{key} holds a password"))
            .hint("Give it in OTEL_EXPORTER_OTLP_HEADERS, as authorization=Basic%20..."));
    }
    if !is_whole && !url.path().ends_with("/v1/traces") {
        let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    Ok(Some(url))
}

/// Without what a query may hold.
fn shown(endpoint: &Url) -> String {
    let host = endpoint.host_str().unwrap_or_default();
    match endpoint.port_or_known_default() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Says once that the receiver is away, and once that it is back.
#[derive(Debug)]
struct Told {
    exporter: Otlp,
    failure: Failure,
    receiver: String,
    is_away: AtomicBool,
}

impl SpanExporter for Told {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(batch).await;
        let was_away = self.is_away.swap(sent.is_err(), Ordering::Relaxed);
        match (&sent, was_away) {
            (Err(error), false) => {
                let reason = self.failure.take().unwrap_or_else(|| error.to_string());
                let reason = &reason[..reason.floor_char_boundary(LONGEST_REASON)];
                warn!(
                    receiver = self.receiver,
                    reason, "traces are not taken: they are dropped until they are"
                );
            }
            (Ok(()), true) => info!(receiver = self.receiver, "traces are taken again"),
            _ => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(key: &str, variables: &[(&str, &str)]) -> Result<Option<String>> {
        let config = TracesConfig {
            endpoint: key.to_owned(),
            ..TracesConfig::default()
        };
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Ok(endpoint(&config, variable)?.map(String::from))
    }

    #[track_caller]
    fn check(key: &str, variables: &[(&str, &str)], expected: Option<&str>) {
        let found = found(key, variables).expect("an address");
        assert_eq!(found.as_deref(), expected, "{key} {variables:?}");
    }

    #[test]
    fn the_receiver_is_the_configured_one_or_that_of_the_environment() {
        let base = "http://127.0.0.1:4318";
        check("", &[], None);
        check("", &[(ENDPOINT, " ")], None);
        check(base, &[], Some("http://127.0.0.1:4318/v1/traces"));
        check("http://c/v1/traces", &[], Some("http://c/v1/traces"));
        check("https://c/otlp/", &[], Some("https://c/otlp/v1/traces"));
        let both = [(ENDPOINT, "http://all"), (SIGNAL_ENDPOINT, "http://own/x")];
        check("", &both[..1], Some("http://all/v1/traces"));
        check("", &both, Some("http://own/x"));
        check(base, &both, Some("http://127.0.0.1:4318/v1/traces"));
        check(base, &[(DISABLED, "true")], None);
    }

    #[test]
    fn what_is_no_receiver_is_refused_and_no_password_shown() {
        for address in ["collector:4317", "grpc://c:4317", "http://", "nonsense"] {
            let error = found(address, &[]).expect_err("no address");
            assert!(error.to_string().contains("traces.endpoint"), "{error}");
        }
        let error = found("", &[(ENDPOINT, "http://me:canary@c")]).expect_err("a password");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
}
