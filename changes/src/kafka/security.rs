//! How a client is let in: TLS, certificates, passwords.

use std::path::Path;

use rdkafka::ClientConfig;
use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};
use crate::kafka::KafkaConfig;
use crate::secret::Secret;

/// What the brokers' listener speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    #[default]
    Plaintext,
    /// TLS; who we are is told by a certificate, or not at all.
    Ssl,
    /// A name and a password, in clear.
    SaslPlaintext,
    /// A name and a password, over TLS.
    SaslSsl,
}

/// How the password is proven.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Mechanism {
    #[default]
    #[serde(rename = "")]
    Unset,
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// How producers compress; consumers read them all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Security {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }

    pub(super) fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

impl Mechanism {
    fn name(self) -> &'static str {
        match self {
            Self::Unset => "",
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl Compression {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// Refuses what does not go together, so that nothing is sent otherwise than was meant.
pub(super) fn check(kafka: &KafkaConfig) -> Result<()> {
    let security = kafka.security;
    if kafka.is_embedded() && security != Security::Plaintext {
        return Err(refused(&format!("kafka.security is \"{}\" and kafka.brokers is \"embedded\"", security.name()))
            .hint("The embedded broker speaks in clear on this machine: name your brokers in kafka.brokers, or write security = \"plaintext\"."));
    }
    let set = |path: &Path| !path.as_os_str().is_empty();
    let tls_keys = [
        ("ca_file", set(&kafka.ca_file)),
        ("certificate_file", set(&kafka.certificate_file)),
        ("key_file", set(&kafka.key_file)),
        ("key_password", !kafka.key_password.is_empty()),
        ("key_password_file", set(&kafka.key_password_file)),
    ];
    let sasl_keys = [
        ("sasl_mechanism", kafka.sasl_mechanism != Mechanism::Unset),
        ("username", !kafka.username.is_empty()),
        ("password", !kafka.password.is_empty()),
        ("password_file", set(&kafka.password_file)),
    ];
    for (keys, wanted, others) in [
        (&tls_keys[..], security.has_tls(), "\"ssl\" or \"sasl_ssl\""),
        (
            &sasl_keys[..],
            security.has_sasl(),
            "\"sasl_ssl\" or \"sasl_plaintext\"",
        ),
    ] {
        if let Some((key, _)) = keys.iter().find(|(_, is_set)| *is_set && !wanted) {
            return Err(refused(&format!(
                "kafka.{key} is set and kafka.security is \"{}\", which does not use it",
                security.name()
            ))
            .hint(format!(
                "Write security = {others} where the brokers' listener is one; otherwise leave kafka.{key} out."
            )));
        }
    }
    both(
        ("certificate_file", tls_keys[1].1),
        ("key_file", tls_keys[2].1),
    )?;
    if tls_keys[3].1 || tls_keys[4].1 {
        both(("key_password", true), ("key_file", tls_keys[2].1))?;
    }
    for (secret, file) in [(tls_keys[3], tls_keys[4]), (sasl_keys[2], sasl_keys[3])] {
        if secret.1 && file.1 {
            return Err(refused(&format!(
                "kafka.{} and kafka.{} are both set",
                secret.0, file.0
            ))
            .hint("Give one of them."));
        }
    }
    if security.has_sasl() {
        sign_in_is_whole(&sasl_keys)?;
    }
    Ok(())
}

fn both(one: (&str, bool), other: (&str, bool)) -> Result<()> {
    let (there, missing) = match (one.1, other.1) {
        (true, false) => (one.0, other.0),
        (false, true) => (other.0, one.0),
        _ => return Ok(()),
    };
    Err(
        refused(&format!("kafka.{there} is set without kafka.{missing}"))
            .hint("They go together: a client's certificate, its key, and the key's password where it has one."),
    )
}

fn sign_in_is_whole(keys: &[(&str, bool); 4]) -> Result<()> {
    let [mechanism, username, password, password_file] = keys.map(|(_, is_set)| is_set);
    let hint = if !mechanism {
        "Write sasl_mechanism = \"PLAIN\", \"SCRAM-SHA-256\" or \"SCRAM-SHA-512\", as the brokers ask for."
    } else if !username {
        "Write username = \"..\", the name that the brokers know."
    } else if !password && !password_file {
        "Give the password in SPORTLAKE__KAFKA__PASSWORD, or name a file whose first line it is in kafka.password_file."
    } else {
        return Ok(());
    };
    Err(refused("kafka.security asks for a sign-in that is not told whole").hint(hint))
}

fn refused(message: &str) -> Error {
    Error::invalid(message)
}

/// Puts into a client how it is let in.
pub(super) fn apply(kafka: &KafkaConfig, client: &mut ClientConfig) {
    if kafka.security == Security::Plaintext {
        return;
    }
    client.set("security.protocol", kafka.security.name());
    if kafka.security.has_sasl() {
        client
            .set("sasl.mechanisms", kafka.sasl_mechanism.name())
            .set("sasl.username", &kafka.username)
            .set("sasl.password", kafka.password.reveal());
    }
    for (name, path) in [
        ("ssl.ca.location", &kafka.ca_file),
        ("ssl.certificate.location", &kafka.certificate_file),
        ("ssl.key.location", &kafka.key_file),
    ] {
        if !path.as_os_str().is_empty() {
            client.set(name, path.display().to_string());
        }
    }
    if !kafka.key_password.is_empty() {
        client.set("ssl.key.password", kafka.key_password.reveal());
    }
}

/// Refuses files that are not there before a client says so in its own words.
pub(super) fn files_are_there(kafka: &KafkaConfig) -> Result<()> {
    for (key, path) in [
        ("ca_file", &kafka.ca_file),
        ("certificate_file", &kafka.certificate_file),
        ("key_file", &kafka.key_file),
    ] {
        if !path.as_os_str().is_empty() {
            std::fs::File::open(path).map_err(|error| unreadable(key, path, error))?;
        }
    }
    Ok(())
}

/// The secret, or the first line of its file.
pub(super) fn secret(key: &str, told: &Secret, file: &Path) -> Result<Secret> {
    if file.as_os_str().is_empty() {
        return Ok(told.clone());
    }
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(key, file, error))?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        let message = format!("the first line of \"{}\" is empty", file.display());
        return Err(Error::invalid(message).hint(format!(
            "kafka.{key} names a file whose first line is the password."
        )));
    }
    Ok(Secret::new(line))
}

fn unreadable(key: &str, path: &Path, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::InvalidRequest,
    };
    Error::new(kind, format!("could not read \"{}\"", path.display()))
        .hint(format!("kafka.{key} names a file that this user may read."))
        .caused_by(error)
}
