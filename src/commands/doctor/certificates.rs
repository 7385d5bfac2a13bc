//! The certificates that the roles will use: whether they can be read, belong to their keys, and how long they last.

mod validity;

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use changes::Error;
use chrono::{DateTime, TimeDelta, Utc};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sources::postgres::Address;

use self::validity::Validity;
use super::Finding;
use crate::config::Config;

/// Below this somebody should renew it; authorities ask for some days.
const SOON: TimeDelta = TimeDelta::days(30);

const RENEW: &str = "Have it renewed. `serve` takes new files by itself; Kafka and PostgreSQL are spoken to with them after a start.";

/// Every file of certificates that is configured.
pub(super) fn examine(
    config: &Config,
    database: Option<&Address>,
    now: DateTime<Utc>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    flight(config, now, &mut findings);
    kafka(config, now, &mut findings);
    if let Some(address) = database {
        postgres(address, now, &mut findings);
    }
    findings
}

fn flight(config: &Config, now: DateTime<Utc>, findings: &mut Vec<Finding>) {
    let flight = &config.flight;
    let check = "flight.tls_certificate";
    let path = |text: &str| Path::new(text).to_owned();
    match flight.check_tls() {
        Ok(false) => return,
        Ok(true) => findings.push(ours(check, &path(&flight.tls_certificate), now)),
        Err(error) => findings.push(Finding::failed(check, &error)),
    }
    if !flight.tls_client_authority.is_empty() {
        let authority = path(&flight.tls_client_authority);
        findings.push(authorities("flight.tls_client_authority", &authority, now));
    }
}

fn kafka(config: &Config, now: DateTime<Utc>, findings: &mut Vec<Finding>) {
    let kafka = &config.kafka;
    let is_set = |path: &Path| !path.as_os_str().is_empty();
    if is_set(&kafka.ca_file) {
        findings.push(authorities("kafka.ca_file", &kafka.ca_file, now));
    }
    if is_set(&kafka.certificate_file) {
        let (check, chain) = ("kafka.certificate_file", &kafka.certificate_file);
        let has_password = !kafka.key_password.is_empty() || is_set(&kafka.key_password_file);
        findings.push(match has_password {
            // The client itself opens the key: a wrong password shows at kafka.brokers.
            true => ours(check, chain, now),
            false => pair(check, chain, &kafka.key_file, now),
        });
        findings.extend(open_to_others("kafka.key_file", &kafka.key_file));
    }
}

fn postgres(address: &Address, now: DateTime<Utc>, findings: &mut Vec<Finding>) {
    if let Some(path) = address.authorities() {
        findings.push(authorities("source.postgres sslrootcert", path, now));
    }
    if let Some((chain, key)) = address.client() {
        findings.push(pair("source.postgres sslcert", chain, key, now));
        findings.extend(open_to_others("source.postgres sslkey", key));
    }
}

/// A certificate of ours: the first of its chain that ends ends it.
fn ours(check: &str, path: &Path, now: DateTime<Utc>) -> Finding {
    match read(path) {
        Err(error) => Finding::failed(check, &error),
        Ok(chain) => lasting(check, path, &chain, now, Iterator::min),
    }
}

/// Authorities that are trusted: they serve as long as one of them does.
fn authorities(check: &str, path: &Path, now: DateTime<Utc>) -> Finding {
    match read(path) {
        Err(error) => Finding::failed(check, &error),
        Ok(all) => lasting(check, path, &all, now, Iterator::max),
    }
}

/// A certificate of ours beside its key.
fn pair(check: &str, chain: &Path, key: &Path, now: DateTime<Utc>) -> Finding {
    match together(chain, key) {
        Err(error) => Finding::failed(check, &error),
        Ok(()) => ours(check, chain, now),
    }
}

fn together(chain: &Path, key: &Path) -> Result<(), Error> {
    let certificates = read(chain)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| {
        Error::invalid(format!("there is no private key in \"{}\"", key.display()))
            .hint("Give it as a PEM file that this user may read.")
            .caused_by(error)
    })?;
    let differ = |error: rustls::Error| {
        Error::invalid(format!(
            "\"{}\" and \"{}\" do not belong together",
            chain.display(),
            key.display()
        ))
        .hint("Give the key that the certificate was made for.")
        .caused_by(error)
    };
    let signing = aws_lc_rs::sign::any_supported_type(&private).map_err(differ)?;
    match CertifiedKey::new(certificates, signing).keys_match() {
        // Some keys do not tell.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(()),
        Err(error) => Err(differ(error)),
    }
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let none = || {
        Error::invalid(format!("there is no certificate in \"{}\"", path.display()))
            .hint("Give it as a PEM file that this user may read.")
    };
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read: Vec<_> = read.map_err(|error| none().caused_by(error))?;
    match read.is_empty() {
        true => Err(none()),
        false => Ok(read),
    }
}

/// How long what is in the file lasts, by the one whose end decides.
fn lasting(
    check: &str,
    path: &Path,
    certificates: &[CertificateDer<'_>],
    now: DateTime<Utc>,
    decides: fn(std::vec::IntoIter<DateTime<Utc>>) -> Option<DateTime<Utc>>,
) -> Finding {
    let shown = path.display();
    let told: Option<Vec<Validity>> = certificates.iter().map(|one| Validity::of(one)).collect();
    let Some(told) = told else {
        let found = format!("\"{shown}\" holds a certificate whose dates cannot be read");
        return Finding::fail(check, found, "Have it made anew, as X.509 in PEM.");
    };
    let begins = told.first().map(|first| first.begins);
    let ends: Vec<DateTime<Utc>> = told.iter().map(|one| one.ends).collect();
    let (Some(begins), Some(ends)) = (begins, decides(ends.into_iter())) else {
        return Finding::fail(check, format!("\"{shown}\" holds no certificate"), RENEW);
    };
    let day = |time: DateTime<Utc>| time.format("%Y-%m-%d").to_string();
    let left = ends - now;
    if begins > now {
        let found = format!("\"{shown}\" is not valid before {}", day(begins));
        return Finding::fail(check, found, "Look at this machine's clock, or wait.");
    }
    if left < TimeDelta::zero() {
        return Finding::fail(check, format!("\"{shown}\" ended on {}", day(ends)), RENEW);
    }
    if left < SOON {
        let found = format!(
            "\"{shown}\" ends on {}, in {} days",
            day(ends),
            left.num_days()
        );
        return Finding::warn(check, found, RENEW);
    }
    Finding::ok(check, format!("\"{shown}\" is valid until {}", day(ends)))
}

/// A key that others on this machine may read.
fn open_to_others(check: &str, key: &Path) -> Option<Finding> {
    let mode = std::fs::metadata(key).ok()?.mode();
    (mode & 0o077 != 0).then(|| {
        let found = format!("others may read \"{}\"", key.display());
        let hint = format!("chmod 600 {}", key.display());
        Finding::warn(check, found, hint)
    })
}
