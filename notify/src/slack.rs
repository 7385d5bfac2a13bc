//! One call of Slack's API, and what its answer means.
//!
//! Sources: Slack's documentation of `chat.postMessage`, "Sending messages using incoming webhooks" and "Rate limits".

mod verdict;

use std::time::Duration;

use changes::{Error, ErrorKind, Result};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use serde_json::json;

use crate::config::{Destination, NotifyConfig};
pub(crate) use verdict::Verdict;

/// Patience for a connection, within that of the call.
const CONNECT: Duration = Duration::from_secs(5);

/// Bytes of an answer that are looked at; Slack's are some hundred.
const LONGEST_ANSWER: usize = 64 << 10;

/// Posts messages in one channel.
pub(crate) struct Slack {
    client: Client,
    destination: Destination,
    url: Url,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Vec<u8>,
}

impl Slack {
    pub(crate) fn new(config: &NotifyConfig, destination: Destination) -> Result<Self> {
        destination.validate()?;
        let url = destination.address(config)?;
        let client = Client::builder()
            .user_agent(concat!("sportlake/", env!("CARGO_PKG_VERSION")))
            .timeout(Duration::from_millis(config.timeout_ms))
            .connect_timeout(CONNECT)
            // A webhook that is none leads to a page that answers 200.
            .redirect(Policy::none())
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Internal, "could not set up the HTTP client").caused_by(error)
            })?;
        Ok(Self {
            client,
            destination,
            url,
        })
    }

    /// Calls once.
    pub(crate) async fn post(&self, text: &str) -> Verdict {
        let mut message = json!({
            "text": text,
            "mrkdwn": false,
            "parse": "none",
            "link_names": false,
            "unfurl_links": false,
            "unfurl_media": false,
        });
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json; charset=utf-8");
        if let Destination::Bot { token, channel } = &self.destination {
            message["channel"] = json!(channel);
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.reveal()));
        }
        match self.answer(request.body(message.to_string())).await {
            Ok(answer) => match self.destination {
                Destination::Webhook(_) => verdict::of_webhook(&answer),
                Destination::Bot { .. } => verdict::of_method(&answer),
            },
            // The address of a webhook is its secret.
            Err(error) => Verdict::Retry {
                reason: if error.is_timeout() {
                    "timeout"
                } else {
                    "network"
                },
                after: None,
                posted: !error.is_connect(),
            },
        }
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
        let mut response = request.send().await?;
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let mut answer = Answer {
            status: response.status().as_u16(),
            retry_after,
            body: Vec::new(),
        };
        while let Some(bytes) = response.chunk().await? {
            answer.body.extend_from_slice(&bytes);
            if answer.body.len() > LONGEST_ANSWER {
                break;
            }
        }
        Ok(answer)
    }
}
