//! The users file: who may sign in, with which roles. Passwords are argon2id hashes; tokens are named, not kept.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use engine::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::private_file::{private, write_private};

/// Users, and tokens of each, that a file may hold.
const MOST_USERS: usize = 100_000;
const MOST_TOKENS: usize = 100;

pub(crate) const LONGEST_NAME: usize = 128;

/// Bytes of the largest file that is read.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Everybody who may sign in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Users {
    #[serde(rename = "user", skip_serializing_if = "Vec::is_empty")]
    users: Vec<User>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: String,
    /// The argon2id hash; without one the user has no password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// SHA-256 of the client certificate that signs in by itself, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Rises when all that was signed before is to be worth nothing.
    #[serde(default)]
    pub generation: u64,
    #[serde(default)]
    pub roles: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    #[serde(default, rename = "token", skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<IssuedToken>,
}

/// A token that was given out. Taking it off the file takes it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssuedToken {
    pub id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Seconds since 1970.
    pub expires: i64,
}

impl Users {
    /// The users of a file; none where it is not there.
    ///
    /// # Errors
    /// `InvalidRequest` for a file that is no users file, `PermissionDenied` for one that others may write.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(path, error)),
        };
        private(path, &metadata)?;
        if metadata.len() > MAX_FILE_BYTES {
            return Err(Error::invalid(format!(
                "\"{}\" is too large",
                path.display()
            )));
        }
        let text = fs::read_to_string(path).map_err(|error| unreadable(path, error))?;
        Self::parse(path, &text).map(Some)
    }

    fn parse(path: &Path, text: &str) -> Result<Self> {
        let refused = |message: String| {
            Error::invalid(format!("\"{}\": {message}", path.display()))
                .hint("`sportlake user` writes the file; mend it or take it back from a copy.")
        };
        // The parser's own message may quote a hash.
        let users: Self = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map_or(1, |span| text[..span.start].lines().count().max(1));
            refused(format!("line {line} is no entry of a users file"))
        })?;
        let mut names = std::collections::BTreeSet::new();
        for user in &users.users {
            if !names.insert(user.name.as_str()) {
                return Err(refused(format!("\"{}\" is there twice", user.name)));
            }
        }
        Ok(users)
    }

    /// Replaces the file, whole or not at all.
    pub fn store(&self, path: &Path) -> Result<()> {
        let text = toml::to_string_pretty(self).map_err(|error| {
            Error::new(ErrorKind::Internal, "the users cannot be written").caused_by(error)
        })?;
        let text = format!("# Written by `sportlake user`. Passwords are argon2id hashes.\n{text}");
        write_private(path, text.as_bytes())
    }

    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.users.iter()
    }

    pub fn find(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name)
    }

    /// # Errors
    /// `NotFound` with the nearest name.
    pub fn find_mut(&mut self, name: &str) -> Result<&mut User> {
        let known: Vec<String> = self.users.iter().map(|user| user.name.clone()).collect();
        let found = self.users.iter_mut().find(|user| user.name == name);
        found.ok_or_else(|| {
            let error = Error::new(ErrorKind::NotFound, format!("there is no user \"{name}\""));
            match known.is_empty() {
                true => error.hint("`sportlake user add` makes the first."),
                false => error.hint("`sportlake user list` names them."),
            }
        })
    }

    /// # Errors
    /// `InvalidRequest` for a name that no client could send.
    pub fn add(&mut self, user: User) -> Result<()> {
        let legal = !user.name.is_empty()
            && user.name.len() <= LONGEST_NAME
            && !user.name.contains([':', '\n', '\r', '\0']);
        if !legal {
            return Err(
                Error::invalid(format!("\"{}\" is no name of a user", user.name)).hint(format!(
                    "A name has up to {LONGEST_NAME} bytes and no colon."
                )),
            );
        }
        if self.users.len() >= MOST_USERS {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                "there are too many users",
            ));
        }
        self.users.retain(|other| other.name != user.name);
        self.users.push(user);
        self.users.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(())
    }

    pub fn remove(&mut self, name: &str) -> Result<()> {
        let user = self.find_mut(name)?.name.clone();
        self.users.retain(|other| other.name != user);
        Ok(())
    }
}

impl User {
    /// Notes a token that is given out.
    pub(crate) fn note(&mut self, token: IssuedToken, now: i64) -> Result<()> {
        self.tokens.retain(|token| token.expires > now);
        if self.tokens.len() >= MOST_TOKENS {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!("\"{}\" has {MOST_TOKENS} tokens", self.name),
            )
            .hint("Take some back with `sportlake user token NAME --revoke ID`."));
        }
        self.tokens.push(token);
        Ok(())
    }
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("\"{}\" cannot be read", path.display())).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anne() -> User {
        User {
            name: "anne".to_owned(),
            password: None,
            certificate: None,
            generation: 3,
            roles: vec!["manager".to_owned()],
            attributes: BTreeMap::from([("bu".to_owned(), "R&D \"Sud\"".to_owned())]),
            tokens: vec![IssuedToken {
                id: "a1".to_owned(),
                label: "grafana".to_owned(),
                expires: 7,
            }],
        }
    }

    #[test]
    fn the_file_holds_users_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("users.toml");
        assert_eq!(Users::load(&path).expect("none"), None);
        let mut users = Users::default();
        users.add(anne()).expect("a user");
        users.store(&path).expect("stored");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Users::load(&path).expect("read"), Some(users));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("changed");
        let error = Users::load(&path).expect_err("others may read it");
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_broken_file_is_refused_without_quoting_it() {
        let path = Path::new("users.toml");
        let text = "[[user]]\nname = \"anne\"\npassword = \"$argon2id$secret\nroles = []\n";
        let error = Users::parse(path, text).expect_err("broken").to_string();
        assert!(
            error.contains("line") && !error.contains("secret"),
            "{error}"
        );
        let twice = "[[user]]\nname = \"a\"\n[[user]]\nname = \"a\"\n";
        assert!(Users::parse(path, twice).is_err());
    }

    #[test]
    fn names_that_basic_credentials_cannot_carry_are_refused() {
        for name in ["", "a:b", "a\nb"] {
            let user = User {
                name: name.to_owned(),
                ..anne()
            };
            assert!(Users::default().add(user).is_err(), "{name:?}");
        }
    }
}
