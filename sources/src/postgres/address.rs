use std::fmt;
use std::path::{Path, PathBuf};

use changes::{Error, ErrorKind, Result};
use url::Url;

/// Where a PostgreSQL listens, and who signs in there.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: Option<String>,
    pub(super) database: String,
    pub(super) tls: TlsMode,
    /// Certificates of the authorities to trust, PEM.
    pub(super) authorities: Option<PathBuf>,
    /// Our certificate and its key, PEM.
    pub(super) client: Option<(PathBuf, PathBuf)>,
}

/// libpq's `sslmode`, without the modes that encrypt or not as it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsMode {
    Disable,
    /// Encrypted, whoever it is.
    Require,
    /// Encrypted, and signed by an authority that is trusted.
    VerifyCa,
    /// As well, and named as the host is.
    VerifyFull,
}

const EXAMPLE: &str =
    "Write postgres://USER@HOST:5432/DATABASE?sslmode=verify-full&sslrootcert=ca.pem.";

impl Address {
    /// Reads a URL as libpq writes it; the file's first line is the password where one is named.
    pub fn parse(text: &str, password_file: Option<&Path>) -> Result<Self> {
        // The text may hold a password, so that no error quotes it.
        let wrong = |what: &str| {
            Error::invalid(format!(
                "source.postgres is not the address of a PostgreSQL: {what}"
            ))
            .hint(EXAMPLE)
        };
        let url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(wrong("it does not begin with postgres://"));
        }
        let decoded = |part: &str| {
            decoded(part).ok_or_else(|| wrong("a % is followed by no hexadecimal digits"))
        };
        let host = url.host_str().filter(|host| !host.is_empty());
        let database = decoded(url.path().trim_start_matches('/'))?;
        let mut address = Self {
            host: host
                .ok_or_else(|| wrong("it names no host"))?
                .trim_matches(['[', ']'])
                .to_owned(),
            port: url.port().unwrap_or(5432),
            user: decoded(url.username())?,
            password: url.password().map(decoded).transpose()?,
            database,
            tls: TlsMode::Disable,
            authorities: None,
            client: None,
        };
        if address.user.is_empty() {
            return Err(wrong("it names no user"));
        }
        if address.database.is_empty() {
            return Err(wrong("it names no database"));
        }
        let local = ["localhost", "127.0.0.1", "::1"].contains(&address.host.as_str());
        address.tls = if local {
            TlsMode::Disable
        } else {
            TlsMode::VerifyFull
        };
        address.options(&url, &wrong)?;
        if let Some(path) = password_file {
            address.password = Some(first_line(path)?);
        }
        Ok(address)
    }

    /// The address without its password, for people to read.
    pub fn shown(&self) -> String {
        format!(
            "{}@{}:{}/{}",
            self.user, self.host, self.port, self.database
        )
    }

    /// The file of authorities that are trusted, where one is named.
    pub fn authorities(&self) -> Option<&Path> {
        self.authorities.as_deref()
    }

    /// The files of our certificate and its key, where they are named.
    pub fn client(&self) -> Option<(&Path, &Path)> {
        let (certificate, key) = self.client.as_ref()?;
        Some((certificate, key))
    }

    pub fn database(&self) -> &str {
        &self.database
    }

    pub fn user(&self) -> &str {
        &self.user
    }

    fn options(&mut self, url: &Url, wrong: &impl Fn(&str) -> Error) -> Result<()> {
        let (mut certificate, mut key) = (None, None);
        for (name, value) in url.query_pairs() {
            let path = || Some(PathBuf::from(value.as_ref()));
            match name.as_ref() {
                "sslmode" => {
                    self.tls = match value.as_ref() {
                        "disable" => TlsMode::Disable,
                        "require" => TlsMode::Require,
                        "verify-ca" => TlsMode::VerifyCa,
                        "verify-full" => TlsMode::VerifyFull,
                        _ => {
                            return Err(wrong(
                                "sslmode is none of disable, require, verify-ca, verify-full",
                            ));
                        }
                    }
                }
                "sslrootcert" => self.authorities = path(),
                "sslcert" => certificate = path(),
                "sslkey" => key = path(),
                other => {
                    return Err(wrong(&format!(
                        "\"{other}\" is none of sslmode, sslrootcert, sslcert, sslkey"
                    )));
                }
            }
        }
        self.client = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err(wrong("sslcert and sslkey go together")),
        };
        Ok(())
    }
}

/// Passwords stay out of logs.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

fn first_line(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            _ => ErrorKind::NotFound,
        };
        Error::new(
            kind,
            format!("could not read the password in \"{}\"", path.display()),
        )
        .hint("source.postgres_password_file names a file whose first line is the password.")
        .caused_by(error)
    })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn decoded(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_whole() {
        let text = "postgres://cdc%40hr:p%2Fw@db.example:5433/sportsdb?sslrootcert=ca.pem";
        let address = Address::parse(text, None).expect("valid");
        assert_eq!(address.shown(), "cdc@hr@db.example:5433/sportsdb");
        assert_eq!(address.password.as_deref(), Some("p/w"));
        assert_eq!(address.tls, TlsMode::VerifyFull);
        assert!(!format!("{address:?}").contains("p/w"));
    }

    #[test]
    fn only_this_machine_is_spoken_to_in_clear() {
        let mode = |text| Address::parse(text, None).expect("valid").tls;
        assert_eq!(mode("postgres://a@127.0.0.1/b"), TlsMode::Disable);
        assert_eq!(mode("postgres://a@[::1]/b"), TlsMode::Disable);
        assert_eq!(mode("postgres://a@db/b"), TlsMode::VerifyFull);
        assert_eq!(mode("postgres://a@db/b?sslmode=disable"), TlsMode::Disable);
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_password() {
        for text in [
            "",
            "db",
            "mysql://a:secret@b/c",
            "postgres://a:secret@/c",
            "postgres://:secret@b/c",
            "postgres://a:secret@b",
            "postgres://a:secret@b/c?sslmode=maybe",
            "postgres://a:secret@b/c?sslcert=x",
            "postgres://a:secret@b/c?options=x",
            "postgres://a:secret%zz@b/c",
        ] {
            let error = Address::parse(text, None).expect_err(text);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
