use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use engine::{Error, ErrorKind, Result};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::Client;
use reqwest::redirect::Policy;
use tokio::runtime::Runtime;

/// Bytes of an answer that are looked at; a receiver's are some ten.
const LONGEST_ANSWER: usize = 64 << 10;

/// Sends a batch from the thread that batches are made on, which is none of the program's runtime: spans are sent while
/// that one is busy, and after it has ended.
#[derive(Debug)]
pub(super) struct Post {
    client: Client,
    runtime: Runtime,
    failure: Failure,
}

/// Why nothing was sent: the exporter says no more than that it was not.
#[derive(Debug, Clone, Default)]
pub(super) struct Failure(Arc<Mutex<Option<String>>>);

impl Failure {
    pub(super) fn take(&self) -> Option<String> {
        let mut reason = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reason.take()
    }

    fn set(&self, reason: &str) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(reason.to_owned());
    }
}

impl Post {
    pub(super) fn new(timeout: Duration, failure: Failure) -> Result<Self> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(
                ErrorKind::Internal,
                "could not set up the sending of traces",
            )
            .caused_by(error)
        };
        Ok(Self {
            client: Client::builder()
                .user_agent(concat!("sportlake/", env!("CARGO_PKG_VERSION")))
                .timeout(timeout)
                // Nothing looks after a connection between two batches.
                .pool_max_idle_per_host(0)
                .redirect(Policy::none())
                .build()
                .map_err(|error| failed(error.into()))?,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| failed(error.into()))?,
            failure,
        })
    }

    async fn sent(&self, request: Request<Bytes>) -> reqwest::Result<Response<Bytes>> {
        let request = reqwest::Request::try_from(request)?;
        let mut answer = self.client.execute(request).await?;
        let mut body = Vec::new();
        while let Some(bytes) = answer.chunk().await? {
            body.extend_from_slice(&bytes);
            if body.len() > LONGEST_ANSWER {
                break;
            }
        }
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = answer.status();
        Ok(response)
    }
}

#[async_trait]
impl HttpClient for Post {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.runtime.block_on(self.sent(request));
        sent.map_err(|error| {
            // An address may hold a key.
            let reason = reason(&error.without_url());
            self.failure.set(&reason);
            reason.into()
        })
    }
}

fn reason(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
