mod traces;

use std::io::IsTerminal;

use anyhow::Context;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::Registry;
use prometheus::process_collector::ProcessCollector;
use tracing::Subscriber;
use tracing_subscriber::filter::{FilterExt, dynamic_filter_fn};
use tracing_subscriber::layer::{Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use self::traces::Traces;
pub(crate) use self::traces::receiver;
use crate::config::{LogConfig, LogFormat, TracesConfig};

/// Overrides what is logged, in tracing's filter syntax: `SPORTLAKE_LOG=ingest=debug`.
pub(crate) const LOG_VARIABLE: &str = "SPORTLAKE_LOG";

/// Our own crates; everything else is heard from WARN on, whatever the verbosity.
const CRATES: [&str; 8] = [
    "sportlake",
    "changes",
    "engine",
    "ingest",
    "flight_server",
    "sources",
    "notify",
    "console",
];

/// What tells of this process, until it ends.
pub(crate) struct Telemetry {
    pub(crate) metrics: Registry,
    traces: Option<Traces>,
}

impl Telemetry {
    /// Sends the traces that wait, for a limited time.
    pub(crate) fn end(self) {
        if let Some(traces) = self.traces {
            traces.end();
        }
    }
}

/// Installs logging to standard error, the metrics registry and traces, once. Crates only emit.
///
/// INFO is what an operator wants to read as it happens; commands that `narrate` show it, others from WARN on.
pub(crate) fn install(
    verbose: u8,
    narrates: bool,
    log: &LogConfig,
    traces: &TracesConfig,
) -> anyhow::Result<Telemetry> {
    let filter = match std::env::var(LOG_VARIABLE) {
        Ok(directives) => EnvFilter::try_new(&directives).map_err(|error| {
            engine::Error::invalid(format!(
                "\"{directives}\" in {LOG_VARIABLE} is not a log filter"
            ))
            .hint("Write for example SPORTLAKE_LOG=info, or SPORTLAKE_LOG=warn,ingest=debug.")
            .caused_by(error)
        })?,
        Err(_) => EnvFilter::try_new(directives(verbose, narrates))?,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .compact()
            .boxed(),
        LogFormat::Json => lines.with_ansi(false).json().with_span_list(false).boxed(),
    };
    let log = lines.with_filter(of_log(filter));
    let traces = Traces::begin(traces)?;
    tracing_subscriber::registry()
        .with(log)
        .with(traces.as_ref().map(Traces::layer))
        .try_init()
        .map_err(|error| anyhow::anyhow!(error))
        .context("could not install logging")?;
    Ok(Telemetry {
        metrics: metrics()?,
        traces,
    })
}

/// Lines are the same whether spans are sent or not.
///
/// It is dynamic so that each line is judged anew. A client of Kafka asks at its start whether lines are wanted, and writes
/// none; a refusal would stay with the thread and take its next line along, were that one known to be always wanted.
fn of_log<S: Subscriber>(filter: EnvFilter) -> impl Filter<S> {
    filter.and(dynamic_filter_fn(|metadata, _| !traces::is_sent(metadata)))
}

fn directives(verbose: u8, narrates: bool) -> String {
    let level = match (verbose, narrates) {
        (0, false) => "warn",
        (0, true) => "info",
        (1, _) => "debug",
        (_, _) => "trace",
    };
    // The Kafka client calls an idle partition and a broker that restarts errors; ingest says what matters of them.
    let kafka = if verbose == 0 { "off" } else { "info" };
    let ours = CRATES.map(|name| format!("{name}={level}")).join(",");
    // How far a long build is concerns whoever waits for it, in a command too.
    let progress = if verbose == 0 { "info" } else { level };
    format!("warn,librdkafka={kafka},rdkafka={kafka},{ours},engine::refresh::progress={progress}")
}

fn metrics() -> anyhow::Result<Registry> {
    let registry = Registry::new();
    registry
        .register(Box::new(ProcessCollector::for_self()))
        .context("could not install metrics")?;
    let exporter = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .with_namespace("sportlake")
        .scope_info_enabled(false)
        .without_target_info()
        .build()
        .context("could not install metrics")?;
    let provider = SdkMeterProvider::builder().with_reader(exporter).build();
    opentelemetry::global::set_meter_provider(provider);
    Ok(registry)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn verbosity_never_turns_on_other_crates() {
        for (verbose, narrates) in [(0, false), (0, true), (1, false), (2, true)] {
            let directives = directives(verbose, narrates);
            assert!(directives.starts_with("warn,"), "{directives}");
            assert!(EnvFilter::try_new(&directives).is_ok(), "{directives}");
        }
    }

    #[test]
    fn who_asks_about_a_line_takes_no_other_along() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let writer = Arc::new(file.reopen().expect("a file"));
        let log = tracing_subscriber::fmt::layer().with_writer(writer);
        let log = log.with_filter(of_log(EnvFilter::new("warn,sportlake=info")));
        let subscriber = tracing_subscriber::registry().with(log);
        tracing::subscriber::with_default(subscriber, || {
            let elsewhere = tracing::debug_span!(target: "elsewhere", "a line");
            let metadata = elsewhere.metadata().expect("it has a callsite");
            for line in ["first", "second"] {
                tracing::dispatcher::get_default(|log| log.enabled(metadata));
                tracing::info!(target: "sportlake", line);
            }
        });
        let lines = std::fs::read_to_string(file.path()).expect("lines");
        assert!(
            lines.contains("first") && lines.contains("second"),
            "{lines}"
        );
    }
}
