//! Secrets that a command will ask for, found as that command finds them, and who may sign in. None is ever shown.

use std::path::Path;

use flight_server::Users;
use sources::commute::ProviderName;

use super::Finding;
use crate::commands::{commute, notify};
use crate::config::Config;

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let secrets = slack(config).into_iter().chain(provider(config));
    secrets.chain([users(config)]).collect()
}

/// Whom `serve` would let in.
fn users(config: &Config) -> Finding {
    let check = "flight.users";
    let file = &config.flight.users;
    let loaded = match file.as_str() {
        "" => Ok(None),
        file => Users::load(Path::new(file)),
    };
    match loaded {
        Ok(None) => Finding::ok(check, "nobody signs in: whoever connects reads everything"),
        Ok(Some(users)) => match users.iter().count() {
            1 => Finding::ok(check, format!("\"{file}\" has 1 user")),
            count => Finding::ok(check, format!("\"{file}\" has {count} users")),
        },
        Err(error) => Finding::failed(check, &error),
    }
}

/// Where `up` or `notify` would post.
fn slack(config: &Config) -> Option<Finding> {
    let check = "notify";
    notify::is_configured(&config.notify).then(|| match notify::destination(&config.notify) {
        Ok(_) => Finding::ok(check, "there is a secret to post with"),
        Err(error) => Finding::failed(check, error.as_ref()),
    })
}

/// What `commute` would measure with.
fn provider(config: &Config) -> Option<Finding> {
    let check = "commute.provider";
    let provider = config.commute.provider;
    if provider == ProviderName::Estimate {
        return None;
    }
    let name = provider.as_str();
    Some(match commute::key(&config.commute) {
        Ok(Some(_)) => Finding::ok(check, format!("there is a key for {name}")),
        Ok(None) => Finding::warn(
            check,
            format!("there is no key for {name}"),
            "Name its file in commute.key_file, or give it in the environment: docs/configuration.md.",
        ),
        Err(error) => Finding::failed(check, error.as_ref()),
    })
}
