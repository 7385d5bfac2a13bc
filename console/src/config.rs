use std::net::{IpAddr, ToSocketAddrs};
use std::time::Duration;

use engine::{Error, ErrorKind, Result};
use serde::Deserialize;

use crate::connections::Room;

/// `[http]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address and port of the page, health and metrics. Port 0 takes a free one.
    pub listen: String,
    /// Serves an address that other machines reach, although nobody signs in or nothing is encrypted.
    pub insecure: bool,
    /// Names under which browsers reach the page, beside addresses and localhost.
    pub hosts: Vec<String>,
    /// Hours for which somebody who signed in to the page need not do so again.
    pub session_hours: u32,
    /// Connections that are answered at once; others wait.
    pub max_connections: u32,
    /// Seconds that the statements of one page may take together.
    pub page_seconds: u64,
    /// Pages that are told of new epochs as they come; others show them when they are loaded again.
    pub max_followers: usize,
    /// Exports that may run at once; others are told to come back.
    pub max_exports: usize,
    /// Seconds for which a client may read nothing of its answer, before that is ended.
    pub unread_seconds: u64,
    /// How long the head of a request, and its form, may take to come.
    #[serde(skip)]
    pub asking: Duration,
    /// How long requests in flight may take once the process is asked to stop.
    #[serde(skip)]
    pub grace: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            insecure: false,
            hosts: Vec::new(),
            session_hours: 12,
            max_connections: 1024,
            page_seconds: 30,
            max_followers: 64,
            max_exports: 4,
            unread_seconds: 60,
            asking: Duration::from_secs(30),
            grace: Duration::from_secs(1),
        }
    }
}

impl HttpConfig {
    /// Refuses an address that other machines reach: this port speaks no TLS, and without users nobody signs in.
    ///
    /// # Errors
    /// `PermissionDenied` unless `insecure` is set; `InvalidRequest` for what is no address.
    pub fn validate(&self) -> Result<()> {
        for (name, value) in [
            ("session_hours", u64::from(self.session_hours)),
            ("max_connections", u64::from(self.max_connections)),
            ("page_seconds", self.page_seconds),
            ("unread_seconds", self.unread_seconds),
        ] {
            if value == 0 {
                return Err(Error::invalid(format!("http.{name} is 0"))
                    .hint("Give it a number above 0, or leave it out for the default."));
            }
        }
        let addresses = self.listen.to_socket_addrs().map_err(|error| {
            Error::invalid(format!("http.listen \"{}\" is no address", self.listen))
                .hint("Write it as \"127.0.0.1:8080\".")
                .caused_by(error)
        })?;
        for address in addresses {
            self.admit(address.ip())?;
        }
        Ok(())
    }

    fn admit(&self, ip: IpAddr) -> Result<()> {
        if ip.is_loopback() || self.insecure {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::PermissionDenied,
            format!("http.listen {ip} is reached by other machines, and this port speaks no TLS"),
        )
        .hint("Listen on 127.0.0.1 behind a proxy that does, or set http.insecure = true."))
    }

    pub(crate) fn lifetime(&self) -> Duration {
        Duration::from_secs(u64::from(self.session_hours) * 60 * 60)
    }

    pub(crate) fn room(&self) -> Room {
        Room {
            connections: self.max_connections,
            asking: self.asking,
            unread: self.unread(),
            grace: self.grace,
        }
    }

    pub(crate) fn unread(&self) -> Duration {
        Duration::from_secs(self.unread_seconds)
    }

    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.page_seconds)
    }
}

/// `[metrics]` of the configuration.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Address and port of health and metrics in a role that serves no page; empty for none.
    pub listen: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validated(listen: &str, insecure: bool) -> Option<ErrorKind> {
        let config = HttpConfig {
            listen: listen.to_owned(),
            insecure,
            ..HttpConfig::default()
        };
        config.validate().err().map(|error| error.kind())
    }

    #[test]
    fn other_machines_reach_the_page_only_where_that_is_said() {
        assert_eq!(validated("127.0.0.1:0", false), None);
        assert_eq!(validated("[::1]:0", false), None);
        assert_eq!(validated("0.0.0.0:0", true), None);
        let refused = Some(ErrorKind::PermissionDenied);
        assert_eq!(validated("0.0.0.0:0", false), refused);
        assert_eq!(
            validated("somewhere", true),
            Some(ErrorKind::InvalidRequest)
        );
    }
}
