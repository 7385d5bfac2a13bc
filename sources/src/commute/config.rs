use changes::{Error, Result};
use serde::Deserialize;

/// `[commute]` of the configuration: who says how far employees live from the office.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CommuteConfig {
    /// `estimate`, `google` or `openrouteservice`.
    pub provider: ProviderName,
    /// File that holds the provider's key.
    pub key_file: String,
    /// What providers answered, by address and mode; nothing in it names an address.
    pub cache: std::path::PathBuf,
    /// Calls under way at the same time.
    pub parallel: usize,
    /// Calls about one address, at most.
    pub attempts: u32,
    /// Pause after a call that failed; it doubles up to a minute.
    pub retry_ms: u64,
    /// Time that a call may take.
    pub timeout_ms: u64,
    /// Address of Google's Routes API.
    pub google_api: String,
    /// Address of OpenRouteService.
    pub openrouteservice_api: String,
}

/// Who measures ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderName {
    Estimate,
    Google,
    OpenRouteService,
}

impl ProviderName {
    /// What `source` of a commute distance says.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Estimate => super::SOURCE,
            Self::Google => "google",
            Self::OpenRouteService => "openrouteservice",
        }
    }
}

impl Default for CommuteConfig {
    fn default() -> Self {
        Self {
            provider: ProviderName::Estimate,
            key_file: String::new(),
            cache: "./data/commute.cache".into(),
            parallel: 4,
            attempts: 5,
            retry_ms: 1000,
            timeout_ms: 10_000,
            google_api: "https://routes.googleapis.com".to_owned(),
            openrouteservice_api: "https://api.openrouteservice.org".to_owned(),
        }
    }
}

impl CommuteConfig {
    pub fn validate(&self) -> Result<()> {
        let in_range = [
            (
                "parallel",
                (1..=64).contains(&self.parallel),
                "between 1 and 64",
            ),
            (
                "attempts",
                (1..=20).contains(&self.attempts),
                "between 1 and 20",
            ),
            (
                "retry_ms",
                (1..=60_000).contains(&self.retry_ms),
                "between 1 and a minute",
            ),
            (
                "timeout_ms",
                (100..=300_000).contains(&self.timeout_ms),
                "between 100 and five minutes",
            ),
        ];
        for (key, holds, expected) in in_range {
            if !holds {
                return Err(Error::invalid(format!("commute.{key} is out of range"))
                    .hint(format!("Choose a value {expected}.")));
            }
        }
        Ok(())
    }
}

/// A provider's key: no log, error or panic shows it.
#[derive(Clone)]
pub struct Key(String);

impl Key {
    /// Without the spaces and line ends around it.
    pub fn new(text: &str) -> Result<Self> {
        let key = text.trim();
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::invalid("the provider's key is no key")
                .hint("A key is one word, as the provider's console shows it."));
        }
        Ok(Self(key.to_owned()))
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}
