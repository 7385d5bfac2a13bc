//! How long a statement may take and how large its result may be: the smallest of what the configuration, the caller's
//! roles and the session say.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::{Error, ErrorKind, Principal, Result};
use serde::Deserialize;

use crate::config::FlightConfig;
use crate::running::Cut;

/// What one role has less of than others: `[flight.roles.NAME]`. What is not set is not limited further.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoleLimits {
    /// Seconds that a statement may take.
    pub statement_timeout_seconds: Option<u64>,
    /// Rows of a result.
    pub max_result_rows: Option<u64>,
    /// Bytes of a result as they are sent.
    pub max_result_bytes: Option<u64>,
}

/// What a session asks for, by option or header; it can only be less.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) timeout_seconds: Option<u64>,
    pub(crate) max_rows: Option<u64>,
    pub(crate) max_bytes: Option<u64>,
}

/// The names of these options.
pub(crate) const TIMEOUT_SECONDS: &str = "timeout_seconds";
pub(crate) const MAX_ROWS: &str = "max_rows";
pub(crate) const MAX_BYTES: &str = "max_bytes";

impl Asked {
    /// What is asked for here, and elsewhere what is not.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            timeout_seconds: self.timeout_seconds.or(other.timeout_seconds),
            max_rows: self.max_rows.or(other.max_rows),
            max_bytes: self.max_bytes.or(other.max_bytes),
        }
    }

    /// The option of a name; nothing where there is none of it.
    pub(crate) fn option(&mut self, name: &str) -> Option<&mut Option<u64>> {
        match name {
            TIMEOUT_SECONDS => Some(&mut self.timeout_seconds),
            MAX_ROWS => Some(&mut self.max_rows),
            MAX_BYTES => Some(&mut self.max_bytes),
            _ => None,
        }
    }
}

/// What holds for everybody, and for some roles.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    everybody: Limit,
    roles: BTreeMap<String, RoleLimits>,
}

/// What holds for one statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) seconds: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl Limits {
    pub(crate) fn new(config: &FlightConfig) -> Self {
        Self {
            everybody: Limit {
                seconds: config.statement_timeout_seconds,
                rows: config.max_result_rows,
                bytes: config.max_result_bytes,
            },
            roles: config.roles.clone(),
        }
    }

    pub(crate) fn of(&self, principal: &Principal, asked: Asked) -> Limit {
        let roles = principal.roles().filter_map(|role| self.roles.get(role));
        let asked = RoleLimits {
            statement_timeout_seconds: asked.timeout_seconds,
            max_result_rows: asked.max_rows,
            max_result_bytes: asked.max_bytes,
        };
        roles
            .chain([&asked])
            .fold(self.everybody, |least, role| Limit {
                seconds: least
                    .seconds
                    .min(role.statement_timeout_seconds.unwrap_or(u64::MAX)),
                rows: least.rows.min(role.max_result_rows.unwrap_or(u64::MAX)),
                bytes: least.bytes.min(role.max_result_bytes.unwrap_or(u64::MAX)),
            })
    }
}

impl Limit {
    pub(crate) fn time(self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// That a statement took longer.
    pub(crate) fn late(self) -> Cut {
        Cut::Late(self.seconds)
    }

    /// # Errors
    /// `ResourceExhausted` for a result of more rows than these.
    pub(crate) fn admit_rows(self, rows: u64) -> Result<()> {
        match rows <= self.rows {
            true => Ok(()),
            false => Err(too_large(&format!("{} rows", self.rows), "rows")),
        }
    }

    /// # Errors
    /// `ResourceExhausted` for a result of more bytes than these.
    pub(crate) fn admit_bytes(self, bytes: u64) -> Result<()> {
        match bytes <= self.bytes {
            true => Ok(()),
            false => Err(too_large(&format!("{} bytes", self.bytes), "bytes")),
        }
    }
}

fn too_large(limit: &str, unit: &str) -> Error {
    Error::new(
        ErrorKind::ResourceExhausted,
        format!("the result is larger than {limit}"),
    )
    .hint(format!(
        "Ask for less, with a WHERE, a GROUP BY or a LIMIT. The smallest of flight.max_result_{unit}, that of your roles and the option max_{unit} holds."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_of_configuration_roles_and_session_holds() {
        let manager = RoleLimits {
            statement_timeout_seconds: Some(60),
            max_result_rows: Some(1000),
            max_result_bytes: None,
        };
        let auditor = RoleLimits {
            statement_timeout_seconds: Some(9000),
            max_result_rows: Some(10),
            max_result_bytes: Some(500),
        };
        let config = FlightConfig {
            statement_timeout_seconds: 1800,
            max_result_rows: 10_000,
            max_result_bytes: 20_000,
            roles: BTreeMap::from([
                ("manager".to_owned(), manager),
                ("auditor".to_owned(), auditor),
            ]),
            ..FlightConfig::default()
        };
        let limits = Limits::new(&config);
        let of = |roles: &[&str], asked: Asked| {
            let roles = roles.iter().map(|&role| role.to_owned());
            let limit = limits.of(&Principal::new("anne", roles, BTreeMap::new()), asked);
            (limit.seconds, limit.rows, limit.bytes)
        };
        let nothing = Asked::default();
        let asked = Asked {
            timeout_seconds: Some(5),
            max_rows: Some(50_000),
            max_bytes: Some(700),
        };
        assert_eq!(of(&[], nothing), (1800, 10_000, 20_000));
        assert_eq!(of(&["manager"], nothing), (60, 1000, 20_000));
        assert_eq!(of(&["manager", "auditor"], nothing), (60, 10, 500));
        assert_eq!(of(&["manager", "other"], asked), (5, 1000, 700));
        let operator = limits.of(&Principal::operator("anonymous"), nothing);
        assert_eq!(operator.seconds, 1800);
    }

    #[test]
    fn a_result_of_exactly_the_limit_is_none_too_large() {
        let limit = Limit {
            seconds: 1,
            rows: 10,
            bytes: 100,
        };
        assert!(limit.admit_rows(10).is_ok() && limit.admit_bytes(100).is_ok());
        for refused in [limit.admit_rows(11), limit.admit_bytes(101)] {
            let refused = refused.expect_err("too large");
            assert_eq!(refused.kind(), ErrorKind::ResourceExhausted);
            assert!(refused.hint_text().is_some());
        }
    }
}
