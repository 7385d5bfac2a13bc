use std::collections::BTreeMap;
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::time::Duration;

use engine::{Error, ErrorKind, Result};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::admission::Room;
use crate::limits::RoleLimits;
use crate::ticket::TicketKey;
use crate::tls::{Tls, TlsFiles};

/// No time is longer: ten years.
const LONGEST_SECONDS: u64 = 10 * 365 * 24 * 60 * 60;

/// The `[flight]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlightConfig {
    /// Address and port that Flight SQL clients connect to.
    pub listen: String,
    /// Serves an address that other machines reach, although nobody signs in or nothing is encrypted.
    pub insecure: bool,
    /// Largest message a client may send, in bytes.
    pub max_message_bytes: usize,
    /// Calls that one connection may have open at once.
    pub max_calls_per_connection: u32,
    /// Statements that may run at once; others wait for their turn, which goes from user to user.
    pub max_statements: usize,
    /// Statements that may wait; more are refused.
    pub max_queued: usize,
    /// Statements of one user that may wait.
    pub max_queued_per_user: usize,
    /// Seconds that a statement waits at most.
    pub queue_seconds: u64,
    /// Threads that run queries; 0 for one a core.
    pub query_threads: usize,
    /// Sessions whose options are kept; the one unused for longest is forgotten first.
    pub max_sessions: usize,
    /// Seconds after which the options of an unused session are forgotten.
    pub session_idle_seconds: u64,
    /// Seconds a statement may take, from its turn to the last row the client takes.
    pub statement_timeout_seconds: u64,
    /// Seconds after which a result that its client does not read is ended.
    pub unread_seconds: u64,
    /// Rows of a result; a larger one ends with an error.
    pub max_result_rows: u64,
    /// Bytes of a result as they are sent; a larger one ends with an error.
    pub max_result_bytes: u64,
    /// Statements that `system.queries` shows after their end.
    pub query_history: usize,
    /// Smaller limits of single roles.
    pub roles: BTreeMap<String, RoleLimits>,
    /// Who may sign in; `sportlake user` writes it. Where it is not there, whoever connects may do everything.
    pub users: String,
    /// Holds the key that seals tickets, handles and tokens; made at the first start. Empty for a fresh key, with which
    /// they end with the process.
    pub key_file: String,
    /// Certificate of the server and those that signed it, PEM; empty for no TLS.
    pub tls_certificate: String,
    /// Private key of the certificate, PEM.
    pub tls_key: String,
    /// Certificates of the authority that signs those of clients, PEM; then only clients with one connect.
    pub tls_client_authority: String,
    /// Hours for which somebody who signed in need not do so again.
    pub session_hours: u64,
    /// One line for each sign-in and each statement; empty for none.
    pub audit: String,
    /// Instead of `key_file`.
    #[serde(skip)]
    pub key: Option<TicketKey>,
}

impl Default for FlightConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:50051".to_owned(),
            insecure: false,
            max_message_bytes: 16 * 1024 * 1024,
            max_calls_per_connection: 256,
            max_statements: 16,
            max_queued: 256,
            max_queued_per_user: 64,
            queue_seconds: 60,
            query_threads: 0,
            max_sessions: 10_000,
            session_idle_seconds: 12 * 60 * 60,
            statement_timeout_seconds: 30 * 60,
            unread_seconds: 10 * 60,
            max_result_rows: 100_000_000,
            max_result_bytes: 32 << 30,
            query_history: 1000,
            roles: BTreeMap::new(),
            users: "users.toml".to_owned(),
            key_file: "./data/flight.key".to_owned(),
            tls_certificate: String::new(),
            tls_key: String::new(),
            tls_client_authority: String::new(),
            session_hours: 7 * 24,
            audit: "./data/audit.jsonl".to_owned(),
            key: None,
        }
    }
}

impl FlightConfig {
    /// Refuses values that could not serve.
    pub fn validate(&self) -> Result<()> {
        let limits = [
            ("max_message_bytes", self.max_message_bytes as u64),
            (
                "max_calls_per_connection",
                u64::from(self.max_calls_per_connection),
            ),
            ("max_statements", self.max_statements as u64),
            ("max_sessions", self.max_sessions as u64),
            ("session_idle_seconds", self.session_idle_seconds),
            ("statement_timeout_seconds", self.statement_timeout_seconds),
            ("session_hours", self.session_hours),
            ("queue_seconds", self.queue_seconds),
            ("unread_seconds", self.unread_seconds),
            ("max_result_rows", self.max_result_rows),
            ("max_result_bytes", self.max_result_bytes),
        ];
        let roles = self.roles.iter().flat_map(|(role, limits)| {
            let limits = [
                (
                    "statement_timeout_seconds",
                    limits.statement_timeout_seconds,
                ),
                ("max_result_rows", limits.max_result_rows),
                ("max_result_bytes", limits.max_result_bytes),
            ];
            limits.map(|(name, value)| (format!("roles.{role}.{name}"), value.unwrap_or(u64::MAX)))
        });
        let limits = limits.map(|(name, value)| (name.to_owned(), value));
        for (name, value) in limits.into_iter().chain(roles) {
            if value == 0 {
                return Err(Error::invalid(format!("flight.{name} is 0"))
                    .hint("Give it a number above 0, or leave it out for the default."));
            }
        }
        self.validate_times()?;
        let addresses = self.listen.to_socket_addrs().map_err(|err| {
            Error::invalid(format!("flight.listen \"{}\" is no address", self.listen))
                .hint("Write it as \"127.0.0.1:50051\".")
                .caused_by(err)
        })?;
        for address in addresses {
            self.admit(address.ip())?;
        }
        Ok(())
    }

    /// Refuses times that no clock can be moved by.
    fn validate_times(&self) -> Result<()> {
        let hours = self.session_hours.saturating_mul(60 * 60);
        let roles = self.roles.iter().filter_map(|(role, limits)| {
            let seconds = limits.statement_timeout_seconds?;
            Some((format!("roles.{role}.statement_timeout_seconds"), seconds))
        });
        let times = [
            ("queue_seconds", self.queue_seconds),
            ("session_idle_seconds", self.session_idle_seconds),
            ("statement_timeout_seconds", self.statement_timeout_seconds),
            ("unread_seconds", self.unread_seconds),
            ("session_hours", hours),
        ];
        let times = times.map(|(name, seconds)| (name.to_owned(), seconds));
        for (name, seconds) in times.into_iter().chain(roles) {
            if seconds > LONGEST_SECONDS {
                return Err(Error::invalid(format!("flight.{name} is over ten years"))
                    .hint("Give it a shorter time, or leave it out for the default."));
            }
        }
        Ok(())
    }

    /// Binds the configured address.
    pub async fn bind(&self) -> Result<TcpListener> {
        self.validate()?;
        TcpListener::bind(&self.listen).await.map_err(|err| {
            let kind = match err.kind() {
                std::io::ErrorKind::AddrInUse => ErrorKind::Conflict,
                _ => ErrorKind::Unavailable,
            };
            Error::new(kind, format!("cannot listen on \"{}\"", self.listen))
                .hint("Stop what uses that port, or set flight.listen to another one.")
                .caused_by(err)
        })
    }

    /// Without users and TLS only this machine may connect.
    pub(crate) fn admit(&self, ip: std::net::IpAddr) -> Result<()> {
        let users = !self.users.is_empty() && std::path::Path::new(&self.users).exists();
        let tls = self.tls()?.is_some();
        if ip.is_loopback() || self.insecure || (users && tls) {
            return Ok(());
        }
        let lacking = match (users, tls) {
            (false, false) => "there are no users and no TLS",
            (false, true) => "there are no users",
            _ => "there is no TLS",
        };
        Err(Error::new(
            ErrorKind::PermissionDenied,
            format!("flight.listen {ip} is reached by other machines, and {lacking}"),
        )
        .hint("Add users with `sportlake user add` and set flight.tls_certificate, or listen on 127.0.0.1; flight.insecure = true overrides."))
    }

    /// Whether connections are encrypted, with files that can be used.
    ///
    /// # Errors
    /// `InvalidRequest` for files that are no certificate and key that belong together, `PermissionDenied` for a key that
    /// others may read.
    pub fn check_tls(&self) -> Result<bool> {
        match self.tls()? {
            Some(files) => Tls::open(files).map(|_| true),
            None => Ok(false),
        }
    }

    /// The files of the certificate; none for plain connections.
    pub(crate) fn tls(&self) -> Result<Option<TlsFiles>> {
        let file = |name: &String| (!name.is_empty()).then(|| PathBuf::from(name));
        let authority = file(&self.tls_client_authority);
        match (file(&self.tls_certificate), file(&self.tls_key)) {
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles {
                certificate,
                key,
                client_authority: authority,
            })),
            (None, None) if authority.is_none() => Ok(None),
            _ => Err(
                Error::invalid("TLS needs flight.tls_certificate and flight.tls_key")
                    .hint("Set both, and flight.tls_client_authority only beside them."),
            ),
        }
    }

    pub(crate) fn sealing_key(&self) -> Result<TicketKey> {
        match (&self.key, self.key_file.as_str()) {
            (Some(key), _) => Ok(key.clone()),
            (None, "") => TicketKey::random(),
            (None, path) => TicketKey::load_or_create(std::path::Path::new(path)),
        }
    }

    pub(crate) fn unread(&self) -> Duration {
        Duration::from_secs(self.unread_seconds)
    }

    pub(crate) fn room(&self) -> Room {
        Room {
            running: self.max_statements,
            waiting: self.max_queued,
            waiting_of_one: self.max_queued_per_user,
            patience: Duration::from_secs(self.queue_seconds),
        }
    }

    pub(crate) fn session_seconds(&self) -> i64 {
        i64::try_from(self.session_hours.saturating_mul(60 * 60)).unwrap_or(i64::MAX)
    }

    pub(crate) fn session_idle(&self) -> Duration {
        Duration::from_secs(self.session_idle_seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(listen: &str, insecure: bool) -> FlightConfig {
        FlightConfig {
            listen: listen.to_owned(),
            insecure,
            ..FlightConfig::default()
        }
    }

    #[test]
    fn only_loopback_without_users() {
        assert!(listening("127.0.0.1:0", false).validate().is_ok());
        assert!(listening("[::1]:0", false).validate().is_ok());
        assert!(listening("0.0.0.0:0", true).validate().is_ok());
        let error = listening("0.0.0.0:0", false)
            .validate()
            .expect_err("reachable");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.hint_text().is_some());
    }

    #[test]
    fn other_machines_need_users_and_tls() {
        let folder = tempfile::tempdir().expect("a folder");
        let users = folder.path().join("users.toml");
        std::fs::write(&users, "").expect("written");
        let refusal = |users: &str, certificate: &str| {
            let config = FlightConfig {
                users: users.to_owned(),
                tls_certificate: certificate.to_owned(),
                tls_key: certificate.to_owned(),
                ..listening("0.0.0.0:0", false)
            };
            config.validate().map_err(|error| error.to_string())
        };
        let users = users.display().to_string();
        assert!(refusal(&users, "server.pem").is_ok());
        for (users, certificate, lacking) in [
            (users.as_str(), "", "there is no TLS"),
            ("", "server.pem", "there are no users"),
            ("nowhere.toml", "", "there are no users and no TLS"),
        ] {
            let refused = refusal(users, certificate).expect_err("refused");
            assert!(refused.ends_with(lacking), "{refused}");
        }
        let half = FlightConfig {
            tls_key: "key.pem".to_owned(),
            ..FlightConfig::default()
        };
        assert_eq!(
            half.validate().expect_err("half").kind(),
            ErrorKind::InvalidRequest
        );
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let error = listening("somewhere", false)
            .validate()
            .expect_err("no port");
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    }

    #[test]
    fn a_limit_of_zero_is_refused() {
        let config = FlightConfig {
            max_statements: 0,
            ..FlightConfig::default()
        };
        let error = config.validate().expect_err("zero");
        assert_eq!(error.to_string(), "flight.max_statements is 0");
        let limits = RoleLimits {
            max_result_rows: Some(0),
            ..RoleLimits::default()
        };
        let config = FlightConfig {
            roles: BTreeMap::from([("rh".to_owned(), limits)]),
            ..FlightConfig::default()
        };
        let error = config.validate().expect_err("zero");
        assert_eq!(error.to_string(), "flight.roles.rh.max_result_rows is 0");
    }

    #[test]
    fn a_time_that_no_clock_has_is_refused() {
        let config = FlightConfig {
            statement_timeout_seconds: u64::MAX,
            ..FlightConfig::default()
        };
        let error = config.validate().expect_err("too long");
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        let config = FlightConfig {
            session_hours: u64::MAX,
            ..FlightConfig::default()
        };
        let error = config.validate().expect_err("too long");
        assert_eq!(error.to_string(), "flight.session_hours is over ten years");
    }

    #[tokio::test]
    async fn a_port_taken_is_a_conflict() {
        let first = listening("127.0.0.1:0", false).bind().await.expect("free");
        let taken = first.local_addr().expect("bound").to_string();
        let error = listening(&taken, false).bind().await.expect_err("taken");
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }
}
