use bytes::{Buf, Bytes};
use changes::{Error, ErrorKind};

use super::address::Address;
use super::wire::text;

/// What a server said when it refused something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (SQLSTATE {code})")]
pub struct ServerError {
    pub code: String,
    pub message: String,
}

impl ServerError {
    /// Leaves out the detail and the context, which may quote a row.
    pub(super) fn read(mut body: Bytes) -> Self {
        let (mut code, mut message) = (String::new(), String::new());
        while body.has_remaining() {
            let kind = body.get_u8();
            let Some(field) = text(&mut body) else { break };
            match kind {
                b'C' => code = field,
                b'M' => message = field,
                _ => {}
            }
        }
        Self { code, message }
    }

    /// The error of a sign-in.
    pub(super) fn at_sign_in(self, address: &Address) -> Error {
        let (user, database) = (&address.user, &address.database);
        let error = match self.code.as_str() {
            "28P01" => Error::new(
                ErrorKind::Unauthenticated,
                format!("PostgreSQL refuses the password of \"{user}\""),
            )
            .hint("Set SPORTLAKE__SOURCE__POSTGRES, or the first line of source.postgres_password_file, to the right one."),
            "28000" if self.message.contains("replication role") || self.message.contains("REPLICATION") => {
                not_allowed_to_replicate(user)
            }
            "42501" => not_allowed_to_replicate(user),
            "28000" => Error::new(
                ErrorKind::Unauthenticated,
                format!("PostgreSQL does not let \"{user}\" in"),
            )
            .hint("Check the user in source.postgres, and the server's pg_hba.conf: it decides who may come from where, with TLS or without."),
            "3D000" => Error::new(
                ErrorKind::NotFound,
                format!("PostgreSQL has no database \"{database}\""),
            )
            .hint("Name an existing one at the end of source.postgres."),
            _ => return self.into(),
        };
        error.caused_by(self)
    }
}

fn not_allowed_to_replicate(user: &str) -> Error {
    Error::new(
        ErrorKind::PermissionDenied,
        format!("\"{user}\" may not replicate"),
    )
    .hint(format!(
        "Have an administrator run: ALTER ROLE \"{user}\" REPLICATION;"
    ))
}

/// The class of an SQLSTATE says what the caller can do.
impl From<ServerError> for Error {
    fn from(error: ServerError) -> Self {
        let (kind, hint) = match error.code.as_str() {
            "42501" => (
                ErrorKind::PermissionDenied,
                Some(
                    "Have the owner GRANT it to the user of source.postgres; docker/postgres/ shows the rights that are needed.",
                ),
            ),
            "42P01" | "42704" | "3F000" => (ErrorKind::NotFound, None),
            "55006" => (ErrorKind::Conflict, None),
            // Others may go, or a pooler shrink.
            "53300" => (
                ErrorKind::Unavailable,
                Some(
                    "Raise max_connections or max_wal_senders of PostgreSQL, or stop what else is connected.",
                ),
            ),
            "53400" => (
                ErrorKind::ResourceExhausted,
                Some(
                    "Raise max_replication_slots of PostgreSQL, or drop a slot that nobody uses: SELECT * FROM pg_replication_slots.",
                ),
            ),
            "57014" => (
                ErrorKind::Unavailable,
                Some(
                    "An administrator, or a statement_timeout of the server, ended it: it may work when tried again.",
                ),
            ),
            "55P03" => (
                ErrorKind::Unavailable,
                Some(
                    "Somebody holds the table, as ALTER TABLE does: SELECT * FROM pg_locks WHERE NOT granted shows who waits.",
                ),
            ),
            code => (
                match code.get(..2) {
                    Some("08" | "57" | "58" | "53") => ErrorKind::Unavailable,
                    Some("22" | "23") => ErrorKind::InvalidRequest,
                    Some("40") => ErrorKind::Unavailable,
                    Some("0A") => ErrorKind::Unsupported,
                    _ => ErrorKind::InvalidRequest,
                },
                None,
            ),
        };
        let error = Self::new(kind, "PostgreSQL refused a statement").caused_by(error);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// The SQLSTATE of an error that a server caused.
pub(crate) fn sqlstate(error: &Error) -> Option<&str> {
    let cause = std::error::Error::source(error)?;
    Some(cause.downcast_ref::<ServerError>()?.code.as_str())
}

/// Says how the tables of the sport project are made, where they are not there.
pub(crate) fn without_tables(error: Error) -> Error {
    match sqlstate(&error) {
        Some("42P01") => Error::new(
            ErrorKind::NotFound,
            "the database lacks the tables of the sport project",
        )
        .hint("Make them: psql -f docker/postgres/01-sportsdb.sql.")
        .caused_by(error),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_told_from_what_does_not() {
        for (code, kind) in [
            ("57014", ErrorKind::Unavailable),
            ("53300", ErrorKind::Unavailable),
            ("53400", ErrorKind::ResourceExhausted),
            ("55P03", ErrorKind::Unavailable),
            ("57P01", ErrorKind::Unavailable),
            ("40001", ErrorKind::Unavailable),
            ("42501", ErrorKind::PermissionDenied),
            ("42P01", ErrorKind::NotFound),
            ("22P02", ErrorKind::InvalidRequest),
        ] {
            let error = ServerError {
                code: code.to_owned(),
                message: String::new(),
            };
            assert_eq!(Error::from(error).kind(), kind, "{code}");
        }
    }
}
