//! What the page beside Flight SQL is given: the same users, the same count of wrong passwords, the same queue.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::{
    Answer, Desk, Error, ErrorKind, Kill, Principal, QueryState, Reader, Result, Session, Visitor,
};
use parking_lot::Mutex;

use crate::session::{Caller, SessionOptions, Sessions};
use crate::sign_in::principal;
use crate::statement::Statements;
use crate::ticket::{Purpose, SessionToken, TicketKey};

/// Tokens that somebody signed out of, remembered until they expire.
const MOST_LEFT: usize = 10_000;

/// The desk of a server.
pub(crate) struct FrontDesk {
    key: TicketKey,
    statements: Arc<Statements>,
    sessions: Arc<Sessions>,
    next_id: AtomicU64,
    /// Tokens end with the server that gave them out: which of them were left is remembered here alone.
    start: String,
    /// By token: when it would have expired.
    left: Mutex<BTreeMap<u64, i64>>,
}

impl FrontDesk {
    /// `first_id` differs from start to start.
    pub(crate) fn new(
        key: TicketKey,
        first_id: u64,
        statements: Arc<Statements>,
        sessions: Arc<Sessions>,
    ) -> Self {
        Self {
            key,
            statements,
            sessions,
            next_id: AtomicU64::new(first_id),
            start: format!("{first_id:016x}"),
            left: Mutex::default(),
        }
    }

    fn opened(&self, token: &str) -> Result<SessionToken> {
        let sealed = URL_SAFE_NO_PAD.decode(token).map_err(|_| nobody())?;
        self.key.open(Purpose::Page, &sealed).map_err(|_| nobody())
    }
}

fn nobody() -> Error {
    Error::new(ErrorKind::Unauthenticated, "nobody is signed in")
        .hint("Sign in with a user name and a password.")
}

#[tonic::async_trait]
impl Desk for FrontDesk {
    fn reader(&self) -> &Reader {
        self.statements.reader()
    }

    fn has_users(&self) -> bool {
        self.sessions.users().is_some()
    }

    async fn sign_in(
        &self,
        user: &str,
        password: String,
        from: IpAddr,
        lifetime: Duration,
    ) -> Result<String> {
        let sign_in = self.sessions.users().ok_or_else(nobody)?;
        let known = match sign_in.by_password(user, password, from).await {
            Ok(known) => known,
            Err(error) => {
                let claimed = sign_in.known_name(user);
                self.sessions.audit().signed_in(&claimed, from, "refused");
                return Err(error);
            }
        };
        let name = known.name().to_owned();
        self.sessions.audit().signed_in(&name, from, "ok");
        let seconds = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        let token = SessionToken {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            generation: sign_in.generation_of(&name),
            user: name,
            expires: sign_in.now().saturating_add(seconds),
            issued: self.start.clone(),
        };
        let sealed = self.key.seal(Purpose::Page, &token);
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    fn principal(&self, token: &str) -> Result<Principal> {
        let sign_in = self.sessions.users().ok_or_else(nobody)?;
        let claim = self.opened(token)?;
        let is_ours = claim.issued == self.start;
        if !is_ours || claim.expires <= sign_in.now() || self.left.lock().contains_key(&claim.id) {
            return Err(nobody());
        }
        let user = sign_in.user(&claim.user).ok_or_else(nobody)?;
        match user.generation == claim.generation {
            true => Ok(principal(&user)),
            false => Err(nobody()),
        }
    }

    fn sign_out(&self, token: &str) {
        let (Some(sign_in), Ok(claim)) = (self.sessions.users(), self.opened(token)) else {
            return;
        };
        let now = sign_in.now();
        let mut left = self.left.lock();
        left.retain(|_, expires| *expires > now);
        // Numbers rise, so the first is the oldest.
        while left.len() >= MOST_LEFT {
            left.pop_first();
        }
        left.insert(claim.id, claim.expires);
    }

    fn proof(&self, text: &str) -> [u8; 32] {
        self.key.proof(Purpose::Form, text.as_bytes())
    }

    async fn session(&self, principal: &Principal) -> Result<Session> {
        let options = SessionOptions::default();
        self.statements.session(principal, &options).await
    }

    async fn answer(
        &self,
        visitor: &Visitor,
        sql: &str,
        parameters: Option<RecordBatch>,
        epoch: u64,
    ) -> Result<Answer> {
        let caller = Caller::of(visitor, Some(epoch));
        let answer = self.statements.rows(sql.to_owned(), parameters, &caller);
        Box::pin(answer).await
    }

    async fn kill(&self, visitor: &Visitor, query_id: u64) -> Result<QueryState> {
        let caller = Caller::of(visitor, None);
        self.statements.kill(Kill { query_id }, &caller).await
    }
}

#[cfg(test)]
mod tests;
