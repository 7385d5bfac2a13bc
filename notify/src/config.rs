use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use changes::{Error, Result};
use chrono::TimeDelta;
use reqwest::Url;
use serde::Deserialize;

/// `[notify]` of the configuration: which activities are told on Slack, and how.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NotifyConfig {
    /// Whether `up` and nobody else tells of activities; `sportlake notify` does it in any case.
    pub enabled: bool,
    /// Directory of what was told, and up to where the topic was read.
    pub path: PathBuf,
    /// Channel that a bot posts in, by its id or name; a webhook has its own.
    pub channel: String,
    /// File that holds the bot's token.
    pub token_file: String,
    /// File that holds the webhook's address.
    pub webhook_file: String,
    /// Address of Slack's methods, without the name of one.
    pub api: String,
    /// Whether the source marks the end of its first load; nothing before the mark is told.
    pub backfill_marker: bool,
    /// Age of an activity, by its start and by its record, above which it is no news.
    pub max_age_seconds: u64,
    /// Time between two messages at least; Slack takes one a second.
    pub interval_ms: u64,
    /// Pause after a call that failed; it doubles up to a minute.
    pub retry_ms: u64,
    /// Time that a call may take.
    pub timeout_ms: u64,
    /// What becomes of the message whose answer a killed process did not store.
    pub in_doubt: InDoubt,
    /// Employees that nothing is told of, by their ids.
    pub opt_out: Vec<i64>,
    /// File with more such ids, one a line; read again before each message.
    pub opt_out_file: String,
}

/// What becomes of the one message that may have been posted, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InDoubt {
    /// It is not posted again.
    Skip,
    /// It is posted again, word for word.
    Repeat,
}

impl Default for NotifyConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            path: PathBuf::from("./data/notify"),
            channel: String::new(),
            token_file: String::new(),
            webhook_file: String::new(),
            api: "https://slack.com/api".to_owned(),
            backfill_marker: true,
            max_age_seconds: 6 * 3600,
            interval_ms: 1000,
            retry_ms: 1000,
            timeout_ms: 10_000,
            in_doubt: InDoubt::Skip,
            opt_out: Vec::new(),
            opt_out_file: String::new(),
        }
    }
}

impl NotifyConfig {
    pub fn validate(&self) -> Result<()> {
        require(
            self.max_age_seconds >= 1,
            "notify.max_age_seconds",
            "of at least 1",
        )?;
        require(
            self.interval_ms <= 3_600_000,
            "notify.interval_ms",
            "of at most an hour",
        )?;
        require(
            (1..=60_000).contains(&self.retry_ms),
            "notify.retry_ms",
            "between 1 and a minute",
        )?;
        require(
            (100..=300_000).contains(&self.timeout_ms),
            "notify.timeout_ms",
            "between 100 and five minutes",
        )
    }

    /// No limit where no clock goes that far.
    pub(crate) fn max_age(&self) -> TimeDelta {
        i64::try_from(self.max_age_seconds)
            .ok()
            .and_then(TimeDelta::try_seconds)
            .unwrap_or(TimeDelta::MAX)
    }

    pub(crate) fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms)
    }
}

fn require(holds: bool, key: &str, expected: &str) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(Error::invalid(format!("{key} is out of range"))
        .hint(format!("Choose a value {expected}.")))
}

/// Where messages go.
#[derive(Debug, Clone)]
pub enum Destination {
    /// An incoming webhook, by its address.
    Webhook(Secret),
    /// The method `chat.postMessage`, with a bot's token.
    Bot { token: Secret, channel: String },
}

/// A text that no log, error or panic shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Without the spaces and line ends around it.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl Destination {
    /// What is called; a webhook's is a secret.
    ///
    /// # Errors
    /// `InvalidRequest` for what is no web address.
    pub fn address(&self, config: &NotifyConfig) -> Result<Url> {
        let address = match self {
            Self::Webhook(address) => address.reveal().to_owned(),
            Self::Bot { .. } => format!("{}/chat.postMessage", config.api.trim_end_matches('/')),
        };
        Url::parse(&address).map_err(|error| {
            Error::invalid("notify.api is no web address")
                .hint("Leave it out, or write https://slack.com/api.")
                .caused_by(error)
        })
    }

    /// What can be refused without asking Slack.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Webhook(address) => {
                let host = Url::parse(address.reveal()).ok();
                let is_web = host.is_some_and(|url| matches!(url.scheme(), "http" | "https"));
                if !is_web {
                    return Err(Error::invalid("the webhook is no web address").hint(
                        "A webhook looks like https://hooks.slack.com/services/T000/B000/XXXX.",
                    ));
                }
            }
            Self::Bot { token, channel } => {
                if channel.is_empty() {
                    return Err(Error::invalid("notify.channel is empty").hint(
                        "Write the id of the channel that the bot posts in, as C0123456789.",
                    ));
                }
                let sendable = |c: char| c.is_ascii_graphic();
                if token.reveal().is_empty() || !token.reveal().chars().all(sendable) {
                    return Err(Error::invalid("the bot's token is no token")
                        .hint("A bot's token is one word that begins with xoxb-."));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let destination = Destination::Bot {
            token: Secret::new("xoxb-123\n"),
            channel: "C1".to_owned(),
        };
        assert!(!format!("{destination:?}").contains("xoxb"));
        destination.validate().expect("a token and a channel");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let webhook = |text: &str| Destination::Webhook(Secret::new(text)).validate();
        webhook("https://hooks.slack.com/services/a/b/c").expect("an address");
        assert!(webhook("hooks.slack.com").is_err());
        let bot = |token: &str, channel: &str| {
            let (token, channel) = (Secret::new(token), channel.to_owned());
            Destination::Bot { token, channel }.validate()
        };
        assert!(bot("xoxb-1", "").is_err());
        assert!(bot("xoxb 1", "C1").is_err());
        assert!(bot("", "C1").is_err());
    }
}
