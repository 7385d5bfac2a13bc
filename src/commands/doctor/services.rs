//! Services elsewhere that roles call: whether they are reached. None is told a secret, or asked for what it counts.

use std::error::Error as _;
use std::time::Duration;

use futures::future::join_all;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use sources::commute::ProviderName;

use super::Finding;
use crate::commands::notify;
use crate::config::Config;
use crate::telemetry;

/// Services that are there answer in much less.
const PATIENCE: Duration = Duration::from_secs(5);

const WAY_OUT: &str = "Roles go on without it for now. Check the address, the name server, HTTPS_PROXY, and the certificates that this machine trusts.";

/// Every service that is configured, all at once.
pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let client = Client::builder()
        .user_agent(concat!("sportlake/", env!("CARGO_PKG_VERSION")))
        .timeout(PATIENCE)
        .redirect(Policy::none())
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => return vec![Finding::failed("reach services", &error).or_hint(WAY_OUT)],
    };
    let asked = called(config).into_iter().map(|(check, address)| {
        let client = client.clone();
        async move {
            match address {
                Ok(url) => reached(check, &client, url).await,
                Err(error) => Finding::failed(check, error.as_ref()),
            }
        }
    });
    join_all(asked).await
}

/// What is called, each by its scheme, host and port: paths, queries and names of users may be secrets.
fn called(config: &Config) -> Vec<(&'static str, anyhow::Result<Url>)> {
    let mut called = Vec::new();
    if notify::is_configured(&config.notify)
        && let Ok(destination) = notify::destination(&config.notify)
    {
        let address = destination.address(&config.notify);
        called.push(("reach Slack", address.map_err(anyhow::Error::from)));
    }
    let commute = &config.commute;
    match commute.provider {
        ProviderName::Estimate => {}
        ProviderName::Google => called.push(("reach google", parsed(&commute.google_api))),
        ProviderName::OpenRouteService => called.push((
            "reach openrouteservice",
            parsed(&commute.openrouteservice_api),
        )),
    }
    let receiver = telemetry::receiver(&config.traces).map_err(anyhow::Error::from);
    if let Some(receiver) = receiver.transpose() {
        called.push(("reach traces", receiver));
    }
    let origin = |url: Url| anyhow::Ok(Url::parse(&url.origin().ascii_serialization())?);
    let called = called.into_iter();
    called
        .map(|(check, address)| (check, address.and_then(origin)))
        .collect()
}

fn parsed(address: &str) -> anyhow::Result<Url> {
    let error = || changes::Error::invalid(format!("\"{address}\" is no web address"));
    Ok(Url::parse(address).map_err(|cause| {
        error()
            .hint("Leave the key out for the provider's own.")
            .caused_by(cause)
    })?)
}

/// Whatever it answers at its root, it is there.
async fn reached(check: &str, client: &Client, url: Url) -> Finding {
    let shown = url.origin().ascii_serialization();
    match client.head(url).send().await {
        Ok(_) => Finding::ok(check, format!("\"{shown}\" answers")),
        Err(error) => {
            let why = match error.is_timeout() {
                true => format!("no answer within {} s", PATIENCE.as_secs()),
                false => root(&error.without_url()),
            };
            Finding::warn(check, format!("\"{shown}\" is not reached: {why}"), WAY_OUT)
        }
    }
}

/// What was wrong in the first place.
fn root(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}
