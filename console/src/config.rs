use std::time::Duration;

use serde::Deserialize;

/// `[http]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port of the page, health and metrics. Port 0 takes a free one.
    pub listen: String,
    /// How long requests in flight may take once the process is asked to stop.
    #[serde(skip)]
    pub grace: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            grace: Duration::from_secs(1),
        }
    }
}

/// `[metrics]` of the configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Address and port of health and metrics in a role that serves no page; empty for none.
    pub listen: String,
}
