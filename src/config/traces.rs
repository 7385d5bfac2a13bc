use engine::{Error, Result};
use serde::Deserialize;

/// `[traces]` of the configuration: where spans are sent, if anywhere.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TracesConfig {
    /// Address of an OTLP receiver over HTTP, as `http://127.0.0.1:4318`; empty = what OpenTelemetry's own variables say.
    pub(crate) endpoint: String,
    /// What this process is called in traces; `OTEL_SERVICE_NAME` goes before it.
    pub(crate) service: String,
    /// Share of the traces begun here that are kept, from 0 to 1; one that a client began is as the client says.
    pub(crate) sample: f64,
    /// Spans that wait for the receiver, at most; what comes then is dropped.
    pub(crate) max_queued: usize,
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            service: "sportlake".to_owned(),
            sample: 1.0,
            max_queued: 2048,
        }
    }
}

impl TracesConfig {
    pub(crate) fn validate(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.sample) {
            return Err(Error::invalid("traces.sample is out of range")
                .hint("Choose a share between 0 and 1."));
        }
        if !(1..=1_000_000).contains(&self.max_queued) {
            return Err(Error::invalid("traces.max_queued is out of range")
                .hint("Choose a number between 1 and 1000000."));
        }
        Ok(())
    }
}
