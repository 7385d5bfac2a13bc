//! Passwords: hashed with argon2id, compared in constant time, never kept or printed.

use argon2::password_hash::{PasswordHash, SaltString};
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use engine::{Error, ErrorKind, Result};

const SHORTEST: usize = 8;
const LONGEST: usize = 1024;

/// The hash that a users file holds.
///
/// # Errors
/// `InvalidRequest` for a password that is too short to be one.
pub fn hash_password(password: &str) -> Result<String> {
    if password.chars().count() < SHORTEST || password.len() > LONGEST {
        return Err(Error::invalid(format!(
            "a password has at least {SHORTEST} characters, and at most {LONGEST} bytes"
        ))
        .hint("A sentence is easy to remember and hard to guess."));
    }
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| broken().caused_by(error))?;
    let salt = SaltString::encode_b64(&salt).map_err(|_| broken())?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
    Ok(hash.map_err(|_| broken())?.to_string())
}

/// Whether a password is the one of a hash. Takes its time: not for a thread that others wait on.
pub(crate) fn is_right(password: &str, hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else {
        return false;
    };
    password.len() <= LONGEST
        && Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok()
}

fn broken() -> Error {
    Error::new(ErrorKind::Internal, "the password cannot be hashed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_knows_its_password_and_no_other() {
        let hash = hash_password("correct horse").expect("long enough");
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert!(is_right("correct horse", &hash));
        assert!(!is_right("correct horsf", &hash) && !is_right("", &hash));
        assert!(!is_right("correct horse", "no hash"));
        assert!(hash_password("short").is_err());
    }
}
