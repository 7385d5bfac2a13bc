//! Services that measure a way by road, and what their answers mean.

mod google;
mod openrouteservice;

use std::time::Duration;

use changes::{Error, ErrorKind, Result};
use reqwest::header::RETRY_AFTER;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Url};

use super::config::{CommuteConfig, Key, ProviderName};
use super::estimate::{Flag, Position};
use google::Google;
use openrouteservice::OpenRouteService;

/// Bytes of an answer that are looked at.
const LONGEST_ANSWER: usize = 1 << 20;

const CONNECT: Duration = Duration::from_secs(5);

/// How somebody travels, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Profile {
    Walking,
    Cycling,
}

/// A measured way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Way {
    pub(super) metres: f64,
    /// Where the provider places the address, when it says.
    pub(super) from: Option<Position>,
}

/// Why there is no way.
#[derive(Debug)]
pub(super) enum Failure {
    /// This address will not have another answer.
    Flagged(Flag),
    /// The same call may succeed later.
    Passing(Option<Duration>, &'static str),
    /// This question is not taken, and another may be.
    Refused(&'static str),
    /// No call will succeed until somebody acts.
    Lasting(Error),
}

pub(super) enum Provider {
    Google(Google),
    OpenRouteService(OpenRouteService),
}

impl Provider {
    /// None for the estimate, which asks nobody.
    pub(super) fn new(config: &CommuteConfig, key: Option<Key>) -> Result<Option<Self>> {
        if config.provider == ProviderName::Estimate {
            return Ok(None);
        }
        let Some(key) = key else {
            let name = config.provider.as_str();
            return Err(Error::new(
                ErrorKind::Unauthenticated,
                format!("there is no key for \"{name}\""),
            )
            .hint("Set GOOGLE_MAPS_API_KEY or ORS_API_KEY, or name a file at commute.key_file."));
        };
        let client = Client::builder()
            .user_agent(concat!("sportlake/", env!("CARGO_PKG_VERSION")))
            .timeout(Duration::from_millis(config.timeout_ms))
            .connect_timeout(CONNECT)
            .redirect(Policy::none())
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Internal, "could not set up the HTTP client").caused_by(error)
            })?;
        Ok(Some(match config.provider {
            ProviderName::Google => Self::Google(Google {
                client,
                key,
                url: url(&config.google_api, "directions/v2:computeRoutes")?,
            }),
            _ => Self::OpenRouteService(OpenRouteService {
                client,
                key,
                search: url(&config.openrouteservice_api, "geocode/search")?,
                walking: url(
                    &config.openrouteservice_api,
                    "v2/directions/foot-walking/json",
                )?,
                cycling: url(
                    &config.openrouteservice_api,
                    "v2/directions/cycling-regular/json",
                )?,
            }),
        }))
    }

    /// Asks once for the way from an address to the office.
    pub(super) async fn measure(&self, address: &str, profile: Profile) -> Result<Way, Failure> {
        match self {
            Self::Google(google) => google.measure(address, profile).await,
            Self::OpenRouteService(service) => service.measure(address, profile).await,
        }
    }
}

fn url(api: &str, path: &str) -> Result<Url> {
    let address = format!("{}/{path}", api.trim_end_matches('/'));
    Url::parse(&address).map_err(|error| {
        Error::invalid(format!("\"{api}\" is no web address"))
            .hint("Leave the key out for the provider's own.")
            .caused_by(error)
    })
}

/// An answer, whatever its status.
struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

/// Calls once. The request is in no error: it holds an address.
async fn call(request: RequestBuilder) -> Result<Answer, Failure> {
    let fault = |error: reqwest::Error| {
        let reason = if error.is_timeout() {
            "no answer in time"
        } else {
            "no connection"
        };
        Failure::Passing(None, reason)
    };
    let mut response = request.send().await.map_err(fault)?;
    let mut answer = Answer {
        status: response.status().as_u16(),
        retry_after: response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs),
        body: Vec::new(),
    };
    while let Some(bytes) = response.chunk().await.map_err(fault)? {
        answer.body.extend_from_slice(&bytes);
        if answer.body.len() > LONGEST_ANSWER {
            return Err(Failure::Passing(None, "an answer of another kind"));
        }
    }
    match answer.status {
        500..=599 | 408 => Err(Failure::Passing(
            answer.retry_after,
            "trouble at the provider",
        )),
        _ => Ok(answer),
    }
}

fn refused(provider: &str, hint: &str) -> Failure {
    let message = format!("{provider} refuses the key");
    Failure::Lasting(Error::new(ErrorKind::Unauthenticated, message).hint(hint))
}

fn exhausted(provider: &str) -> Failure {
    Failure::Lasting(quota_gone(provider))
}

pub(super) fn quota_gone(provider: &str) -> Error {
    Error::new(ErrorKind::ResourceExhausted, format!("the quota at {provider} is used up"))
        .hint("What was measured is kept. Run it again when the quota is renewed, or raise it in the provider's console.")
}

/// What an answer means that is documented for no address in particular.
fn undocumented(provider: &str, status: u16) -> Failure {
    match status {
        // An address that is too odd, or a provider of another version: then it is so for every address.
        400 => Failure::Refused("the question is not understood"),
        404 | 422 => Failure::Refused("the question is refused"),
        status => unexpected(provider, status),
    }
}

fn unexpected(provider: &str, status: u16) -> Failure {
    Failure::Lasting(
        Error::new(
            ErrorKind::Unavailable,
            format!("{provider} answers with status {status}, which is not expected"),
        )
        .hint("Check the provider's address in the section [commute], and its status page."),
    )
}
