//! Who may sign in, by what: a password, a token of ours or a client certificate.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use engine::{Clock, Error, ErrorKind, Principal, Result};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tonic::metadata::MetadataMap;

use crate::attempts::Attempts;
use crate::connection::Peer;
use crate::password;
use crate::ticket::{Purpose, SessionToken, TicketKey};
use crate::user_file::{LONGEST_NAME, User, Users};

/// An edit of the users file takes effect this long after it is saved, at the latest.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Passwords that are hashed at once: each takes 19 MiB and a core.
const HASHED_AT_ONCE: usize = 2;

/// Right passwords remembered, for clients that send theirs with every call.
const MOST_VERIFIED: usize = 1024;
const MOST_ATTEMPTS: usize = 10_000;

/// Some clients send Basic credentials without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Knows who may sign in. An edit of the users file holds from the next call on.
pub(crate) struct SignIn {
    path: PathBuf,
    key: TicketKey,
    clock: Clock,
    loaded: Mutex<Loaded>,
    attempts: Mutex<Attempts>,
    verified: Mutex<VecDeque<[u8; 32]>>,
    hashing: Semaphore,
    /// Hashed for users that do not exist, so that they take as long as others.
    nobody: String,
}

struct Loaded {
    looked: Instant,
    users: Arc<Users>,
}

/// How somebody signed in.
pub(crate) struct SignedIn {
    pub(crate) principal: Principal,
    /// The session that the token stands for, where it stands for one.
    pub(crate) session: Option<SessionToken>,
}

impl SignIn {
    /// Over the users of a file that is there.
    pub(crate) fn open(path: PathBuf, users: Users, key: TicketKey, clock: Clock) -> Result<Self> {
        Ok(Self {
            path,
            key,
            clock,
            loaded: Mutex::new(Loaded {
                looked: Instant::now(),
                users: Arc::new(users),
            }),
            attempts: Mutex::new(Attempts::new(MOST_ATTEMPTS)),
            verified: Mutex::default(),
            hashing: Semaphore::new(HASHED_AT_ONCE),
            nobody: password::hash_password("nobody has this password")?,
        })
    }

    /// Who sends a call with these headers.
    ///
    /// # Errors
    /// `Unauthenticated`, in the same words for a user that does not exist and a password that is wrong.
    pub(crate) async fn authenticate(
        &self,
        headers: &MetadataMap,
        peer: &Peer,
    ) -> Result<SignedIn> {
        if let Some(token) = credentials(headers, "bearer") {
            return self.by_token(token);
        }
        if let Some(text) = credentials(headers, "basic") {
            let (user, password) = basic(text).ok_or_else(wrong)?;
            // By convention a token may stand in the place of the password, beside any name.
            if let Ok(signed_in) = self.by_token(&password) {
                return Ok(signed_in);
            }
            let principal = self.by_password(&user, password, peer.address).await?;
            return Ok(SignedIn {
                principal,
                session: None,
            });
        }
        if let Some(user) = peer.certificate.as_deref().and_then(|certificate| {
            let users = self.users();
            let found = users
                .iter()
                .find(|user| user.certificate.as_deref() == Some(certificate));
            found.cloned()
        }) {
            return Ok(SignedIn {
                principal: principal(&user),
                session: None,
            });
        }
        Err(
            Error::new(ErrorKind::Unauthenticated, "nobody is signed in")
                .hint("Sign in with a user name and a password, or with a token."),
        )
    }

    /// The user that a refused call names, where there is such a user: other names may be passwords in the wrong place.
    pub(crate) fn claimed(&self, headers: &MetadataMap) -> String {
        let named = credentials(headers, "basic").and_then(basic);
        named.map_or_else(|| self.known_name(""), |(user, _)| self.known_name(&user))
    }

    /// A user's name as logs may have it.
    pub(crate) fn known_name(&self, name: &str) -> String {
        let known = self.user(name);
        known.map_or_else(|| "unknown".to_owned(), |user| user.name)
    }

    pub(crate) fn user(&self, name: &str) -> Option<User> {
        self.users().find(name).cloned()
    }

    /// The user's generation, which is signed into tokens.
    pub(crate) fn generation_of(&self, name: &str) -> u64 {
        self.users().find(name).map_or(0, |user| user.generation)
    }

    pub(crate) fn now(&self) -> i64 {
        (self.clock)().timestamp()
    }

    fn by_token(&self, token: &str) -> Result<SignedIn> {
        let invalid = || {
            Error::new(ErrorKind::Unauthenticated, "the token is not valid")
                .hint("Sign in again, or ask for a new token.")
        };
        let sealed = URL_SAFE_NO_PAD.decode(token).map_err(|_| invalid())?;
        let claim: SessionToken = self
            .key
            .open(Purpose::Session, &sealed)
            .map_err(|_| invalid())?;
        let now = self.now();
        let expired = || {
            Error::new(ErrorKind::Unauthenticated, "the token has expired")
                .hint("Sign in again, or ask for a new token.")
        };
        if claim.expires <= now {
            return Err(expired());
        }
        let users = self.users();
        let user = users.find(&claim.user).ok_or_else(invalid)?;
        let entry = user.tokens.iter().find(|token| token.id == claim.issued);
        let is_kept = claim.issued.is_empty() || entry.is_some();
        if claim.generation != user.generation || !is_kept {
            return Err(
                Error::new(ErrorKind::Unauthenticated, "the token was taken back")
                    .hint("Sign in again, or ask for a new token."),
            );
        }
        if entry.is_some_and(|token| token.expires <= now) {
            return Err(expired());
        }
        Ok(SignedIn {
            principal: principal(user),
            // Many clients may share one that was given out: it is no session of any of them.
            session: claim.issued.is_empty().then_some(claim),
        })
    }

    /// Who has this name and this password.
    ///
    /// # Errors
    /// `Unauthenticated` for nobody, and too soon after wrong passwords.
    pub(crate) async fn by_password(
        &self,
        name: &str,
        password: String,
        from: IpAddr,
    ) -> Result<Principal> {
        // Nobody has such a name, and failures are counted by name.
        if name.len() > LONGEST_NAME {
            return Err(wrong());
        }
        let users = self.users();
        let user = users.find(name);
        let hash = user.and_then(|user| user.password.clone());
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.nobody.clone());
        let proof = self.proof(name, &password, &hash);
        if !(known && self.verified.lock().contains(&proof)) {
            let begun = self.attempts.lock().begin(from, name, Instant::now());
            begun.map_err(|wait| {
                let seconds = wait.as_secs().max(1);
                Error::new(ErrorKind::Unauthenticated, "too many wrong passwords came")
                    .hint(format!("Try again in {seconds} seconds."))
            })?;
            let permit = self.hashing.acquire().await;
            let judged = tokio::task::spawn_blocking(move || password::is_right(&password, &hash));
            let right = judged.await.unwrap_or(false);
            drop(permit);
            if !(right && known) {
                return Err(wrong());
            }
            self.attempts.lock().succeeded(from, name);
            let mut verified = self.verified.lock();
            verified.push_front(proof);
            verified.truncate(MOST_VERIFIED);
        }
        user.map(principal).ok_or_else(wrong)
    }

    /// Names a user, a password and its hash, to nobody but this process.
    fn proof(&self, name: &str, password: &str, hash: &str) -> [u8; 32] {
        let parts = [name, password, hash].map(|part| Sha256::digest(part.as_bytes()));
        self.key.proof(Purpose::Password, &parts.concat())
    }

    /// The users as last read whole.
    fn users(&self) -> Arc<Users> {
        let mut loaded = self.loaded.lock();
        if loaded.looked.elapsed() >= LOOK_EVERY {
            loaded.looked = Instant::now();
            match Users::load(&self.path) {
                Ok(Some(users)) if users != *loaded.users => {
                    tracing::info!("the users file changed");
                    loaded.users = Arc::new(users);
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    if loaded.users.iter().next().is_some() {
                        tracing::warn!("the users file is gone; nobody signs in until it is back");
                        loaded.users = Arc::default();
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %error.with_causes(), "the users file cannot be used; the last good one holds");
                }
            }
        }
        loaded.users.clone()
    }
}

pub(crate) fn principal(user: &User) -> Principal {
    Principal::new(
        user.name.clone(),
        user.roles.iter().cloned(),
        user.attributes.clone(),
    )
}

fn wrong() -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        "the user or the password is wrong",
    )
    .hint("Sign in with a user of this server, or with a token.")
}

fn basic(text: &str) -> Option<(String, String)> {
    let text = String::from_utf8(LENIENT.decode(text).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// What an `authorization` header of this scheme carries.
pub(crate) fn credentials<'a>(headers: &'a MetadataMap, scheme: &str) -> Option<&'a str> {
    let (found, credentials) = headers
        .get("authorization")?
        .to_str()
        .ok()?
        .split_once(' ')?;
    found
        .eq_ignore_ascii_case(scheme)
        .then(|| credentials.trim())
}

#[cfg(test)]
mod tests;
