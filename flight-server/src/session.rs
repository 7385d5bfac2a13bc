//! Who calls, and the options that a caller set for its session.

pub(crate) mod messages;
mod seen;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use engine::{CATALOG, Clock, EpochHold, Error, Principal, Result, SessionRow, Visitor};
use parking_lot::Mutex;
use tonic::metadata::MetadataMap;

use self::seen::{Seen, Who};
use crate::audit::Audit;
use crate::config::FlightConfig;
use crate::connection::Peer;
use crate::limits::{Asked, MAX_BYTES, MAX_ROWS, TIMEOUT_SECONDS};
use crate::metrics;
use crate::profile::Profile;
use crate::sign_in::{SignIn, SignedIn, credentials};
use crate::ticket::{Purpose, SessionToken, TicketKey};

/// Everybody, where there are no users.
const ANONYMOUS: &str = "anonymous";

const COOKIE: &str = "arrow_flight_session_id";

/// What a session pins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SessionOptions {
    /// Schema of unqualified names; the default schema when unset.
    pub(crate) schema: Option<String>,
    /// Epoch of every statement; the newest when unset.
    pub(crate) epoch: Option<u64>,
    /// What kind of client it is.
    pub(crate) profile: Profile,
    /// How little a statement may take.
    pub(crate) limits: Asked,
}

impl SessionOptions {
    /// What the call's headers say, which is where a driver puts what it does not know of its connection string.
    ///
    /// `database` and `catalog` name the catalog, or a schema as those who come from Hive are used to.
    ///
    /// # Errors
    /// `InvalidRequest` for a number that is none: a limit or an epoch that was meant must not be passed over.
    fn of(headers: &MetadataMap) -> Result<Self> {
        let named = ["schema", "database", "catalog"]
            .into_iter()
            .filter_map(|name| header(headers, name))
            .find(|name| !name.is_empty() && *name != CATALOG);
        let limit = |name| number(headers, name, 1);
        Ok(Self {
            schema: named.map(str::to_owned),
            epoch: number(headers, "epoch", 0)?,
            profile: Profile::of(headers),
            limits: Asked {
                timeout_seconds: limit(TIMEOUT_SECONDS)?,
                max_rows: limit(MAX_ROWS)?,
                max_bytes: limit(MAX_BYTES)?,
            },
        })
    }

    /// What is set here, and elsewhere what is not. The profile is always set.
    fn or(self, other: Self) -> Self {
        Self {
            schema: self.schema.or(other.schema),
            epoch: self.epoch.or(other.epoch),
            profile: self.profile,
            limits: self.limits.or(other.limits),
        }
    }
}

/// Who sent a call.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    pub(crate) from: IpAddr,
    session: Option<SessionToken>,
    pub(crate) options: SessionOptions,
    /// Whether a page asks for somebody, and asks the same again as long as it is open.
    pub(crate) is_page: bool,
}

impl Caller {
    /// Somebody at the desk, who asks about an epoch, or the newest.
    pub(crate) fn of(visitor: &Visitor, epoch: Option<u64>) -> Self {
        Self {
            principal: visitor.principal.clone(),
            from: visitor.from,
            session: None,
            options: SessionOptions {
                epoch,
                ..SessionOptions::default()
            },
            is_page: true,
        }
    }

    /// How the caller's session is called, where the caller has one.
    pub(crate) fn session_name(&self) -> Option<String> {
        self.session.as_ref().map(|session| seen::name(session.id))
    }

    fn who(&self) -> Who {
        Who {
            session: self.session.as_ref().map(|session| session.id),
            user: self.principal.name().to_owned(),
            from: self.from,
        }
    }
}

/// Issues tokens and keeps the options of the sessions that set any.
pub(crate) struct Sessions {
    key: TicketKey,
    sign_in: Option<SignIn>,
    audit: Audit,
    session_seconds: i64,
    next_id: AtomicU64,
    max: usize,
    idle: Duration,
    kept: Mutex<HashMap<u64, Kept>>,
    seen: Mutex<Seen>,
    clock: Clock,
}

#[derive(Debug)]
struct Kept {
    options: SessionOptions,
    /// The epoch that the options name stays readable as long as the session does.
    _hold: Option<EpochHold>,
    used: Instant,
}

impl Sessions {
    /// `first_id` differs from start to start, so that a token of an earlier one names no session.
    ///
    /// Without `sign_in` there are no users: whoever calls is anonymous and may do everything.
    pub(crate) fn new(
        key: TicketKey,
        first_id: u64,
        config: &FlightConfig,
        sign_in: Option<SignIn>,
        audit: Audit,
        clock: Clock,
    ) -> Self {
        Self {
            key,
            sign_in,
            audit,
            session_seconds: config.session_seconds(),
            next_id: AtomicU64::new(first_id),
            max: config.max_sessions,
            idle: config.session_idle(),
            kept: Mutex::default(),
            seen: Mutex::new(Seen::new(config.max_sessions, config.session_idle())),
            clock,
        }
    }

    /// Who may sign in; nobody has to where this is none.
    pub(crate) fn users(&self) -> Option<&SignIn> {
        self.sign_in.as_ref()
    }

    pub(crate) fn audit(&self) -> &Audit {
        &self.audit
    }

    /// A token for a caller who signs in.
    pub(crate) fn sign_in(&self, caller: &Caller) -> String {
        self.audit
            .signed_in(caller.principal.name(), caller.from, "ok");
        self.issue(caller.principal.name().to_owned()).1
    }

    /// Who sends a call with these headers over this connection: the one place that says so.
    ///
    /// # Errors
    /// `Unauthenticated` for whoever is none of the users, where there are users; `InvalidRequest` for headers that are
    /// no options.
    pub(crate) async fn authenticate(&self, headers: &MetadataMap, peer: &Peer) -> Result<Caller> {
        let Some(sign_in) = &self.sign_in else {
            return self.anonymous(headers, peer);
        };
        let signed_in = sign_in.authenticate(headers, peer).await;
        let SignedIn { principal, session } = signed_in.inspect_err(|_| {
            let claimed = sign_in.claimed(headers);
            self.audit.signed_in(&claimed, peer.address, "refused");
        })?;
        // A cookie tells sessions of one user apart; it signs nobody in.
        let session = session.or_else(|| {
            let session = self.opened(cookie(headers)?)?;
            (session.user == principal.name()).then_some(session)
        });
        self.caller(principal, session, headers, peer)
    }

    /// Without users a token only tells sessions apart, and one that is not ours is no session, not a refusal.
    fn anonymous(&self, headers: &MetadataMap, peer: &Peer) -> Result<Caller> {
        let tokens = credentials(headers, "bearer")
            .into_iter()
            .chain(cookie(headers));
        let session = tokens.filter_map(|token| self.opened(token)).next();
        self.caller(Principal::operator(ANONYMOUS), session, headers, peer)
    }

    fn opened(&self, token: &str) -> Option<SessionToken> {
        let sealed = URL_SAFE_NO_PAD.decode(token).ok()?;
        self.key.open(Purpose::Session, &sealed).ok()
    }

    fn caller(
        &self,
        principal: Principal,
        session: Option<SessionToken>,
        headers: &MetadataMap,
        peer: &Peer,
    ) -> Result<Caller> {
        let mut options = SessionOptions::of(headers)?;
        if let Some(session) = &session
            && let Some(kept) = self.kept.lock().get_mut(&session.id)
            && kept.used.elapsed() < self.idle
        {
            kept.used = Instant::now();
            options = kept.options.clone().or(options);
        }
        let caller = Caller {
            principal,
            from: peer.address,
            session,
            options,
            is_page: false,
        };
        let now = (self.clock)().timestamp_micros();
        let mut seen = self.seen.lock();
        seen.note(caller.who(), &caller.options, now);
        drop(seen);
        Ok(caller)
    }

    /// Who called lately, the last caller first.
    pub(crate) fn rows(&self) -> Vec<SessionRow> {
        self.seen.lock().rows()
    }

    /// Keeps the options of a caller; a token when the caller had no session yet.
    pub(crate) fn keep(
        &self,
        caller: &Caller,
        options: SessionOptions,
        hold: Option<EpochHold>,
    ) -> Option<String> {
        let (id, token) = match &caller.session {
            Some(session) => (session.id, None),
            None => {
                let (id, token) = self.issue(caller.principal.name().to_owned());
                (id, Some(token))
            }
        };
        let mut kept = self.kept.lock();
        let before = kept.len();
        kept.retain(|_, session| session.used.elapsed() < self.idle);
        if kept.len() >= self.max && !kept.contains_key(&id) {
            let oldest = kept.iter().min_by_key(|(_, session)| session.used);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                kept.remove(&oldest);
            }
        }
        let used = Instant::now();
        let session = Kept {
            options,
            _hold: hold,
            used,
        };
        kept.insert(id, session);
        metrics::observe_sessions(kept.len() as i64 - before as i64);
        token
    }

    /// Forgets the options of a caller's session.
    pub(crate) fn close(&self, caller: &Caller) {
        self.seen.lock().forget(&caller.who());
        if let Some(session) = &caller.session
            && self.kept.lock().remove(&session.id).is_some()
        {
            metrics::observe_sessions(-1);
        }
    }

    fn issue(&self, user: String) -> (u64, String) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (generation, expires) = match &self.sign_in {
            Some(sign_in) => (
                sign_in.generation_of(&user),
                sign_in.now().saturating_add(self.session_seconds),
            ),
            None => (0, 0),
        };
        let token = SessionToken {
            id,
            user,
            generation,
            expires,
            issued: String::new(),
        };
        let sealed = self.key.seal(Purpose::Session, &token);
        (id, URL_SAFE_NO_PAD.encode(sealed))
    }
}

/// The `Set-Cookie` of a token, for clients that keep cookies.
pub(crate) fn set_cookie(token: &str) -> String {
    format!("{COOKIE}={token}; HttpOnly; SameSite=Strict")
}

/// The number of a header, where there is one.
fn number(headers: &MetadataMap, name: &str, least: u64) -> Result<Option<u64>> {
    let Some(text) = header(headers, name).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    match text.parse() {
        Ok(number) if number >= least => Ok(Some(number)),
        _ => Err(
            Error::invalid(format!("the header {name} is no whole number")).hint(format!(
                "Give it a number from {least} on, or leave it out."
            )),
        ),
    }
}

fn header<'a>(headers: &'a MetadataMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn cookie(headers: &MetadataMap) -> Option<&str> {
    header(headers, "cookie")?
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(max: usize) -> Sessions {
        let config = FlightConfig {
            max_sessions: max,
            ..FlightConfig::default()
        };
        let clock: Clock = std::sync::Arc::new(|| chrono::DateTime::UNIX_EPOCH);
        let key = TicketKey::new([3; 32]);
        Sessions::new(key, 100, &config, None, Audit::none(), clock)
    }

    fn caller(sessions: &Sessions, headers: &MetadataMap) -> Caller {
        let caller = sessions.anonymous(headers, &Peer::UNKNOWN);
        caller.expect("headers that are options")
    }

    fn headers(name: &'static str, value: &str) -> MetadataMap {
        let mut headers = MetadataMap::new();
        headers.insert(name, value.parse().expect("ascii"));
        headers
    }

    fn pinned(epoch: u64) -> SessionOptions {
        SessionOptions {
            epoch: Some(epoch),
            ..SessionOptions::default()
        }
    }

    #[test]
    fn options_follow_the_token_as_bearer_or_cookie() {
        let sessions = sessions(10);
        let token = sessions.sign_in(&caller(&sessions, &MetadataMap::new()));
        let bearer = headers("authorization", &format!("Bearer {token}"));
        let fresh = sessions.keep(&caller(&sessions, &bearer), pinned(7), None);
        assert_eq!(fresh, None);
        assert_eq!(caller(&sessions, &bearer).options, pinned(7));
        let cookie = headers("cookie", &format!("a=b; {COOKIE}={token}"));
        assert_eq!(caller(&sessions, &cookie).options, pinned(7));
        sessions.close(&caller(&sessions, &bearer));
        assert_eq!(
            caller(&sessions, &bearer).options,
            SessionOptions::default()
        );
    }

    #[test]
    fn who_never_signed_in_gets_a_token_with_the_first_option() {
        let sessions = sessions(10);
        let nobody = caller(&sessions, &MetadataMap::new());
        let token = sessions.keep(&nobody, pinned(7), None).expect("a token");
        let bearer = headers("authorization", &format!("Bearer {token}"));
        assert_eq!(caller(&sessions, &bearer).options, pinned(7));
    }

    #[test]
    fn a_foreign_token_is_no_session() {
        let sessions = sessions(10);
        for value in ["Bearer abc", "Bearer", "Basic !!", "Nonsense x y"] {
            let caller = caller(&sessions, &headers("authorization", value));
            assert!(caller.session.is_none(), "{value}");
        }
    }

    #[test]
    fn headers_are_options_of_who_set_none() {
        let sessions = sessions(10);
        let token = sessions.sign_in(&caller(&sessions, &MetadataMap::new()));
        let mut call = headers("authorization", &format!("Bearer {token}"));
        for (name, value) in [("database", CATALOG), ("schema", "gold"), ("epoch", "7")] {
            call.insert(name, value.parse().expect("ascii"));
        }
        let told = SessionOptions {
            schema: Some("gold".to_owned()),
            ..pinned(7)
        };
        assert_eq!(caller(&sessions, &call).options, told);
        sessions.keep(&caller(&sessions, &call), pinned(8), None);
        let set = SessionOptions {
            schema: Some("gold".to_owned()),
            ..pinned(8)
        };
        assert_eq!(caller(&sessions, &call).options, set);
        let hive = headers("database", "silver");
        assert_eq!(
            caller(&sessions, &hive).options.schema.as_deref(),
            Some("silver")
        );
    }

    #[test]
    fn the_session_unused_for_longest_makes_room() {
        let sessions = sessions(2);
        let tokens: Vec<String> = (1..=3)
            .map(|epoch| {
                let token = sessions.sign_in(&caller(&sessions, &MetadataMap::new()));
                let bearer = headers("authorization", &format!("Bearer {token}"));
                sessions.keep(&caller(&sessions, &bearer), pinned(epoch), None);
                token
            })
            .collect();
        let options = |token: &String| {
            let bearer = headers("authorization", &format!("Bearer {token}"));
            caller(&sessions, &bearer).options
        };
        assert_eq!(options(&tokens[0]), SessionOptions::default());
        assert_eq!(options(&tokens[1]), pinned(2));
        assert_eq!(options(&tokens[2]), pinned(3));
    }

    #[test]
    fn a_header_that_is_no_number_is_refused() {
        let sessions = sessions(10);
        for (name, value) in [
            ("epoch", "-1"),
            ("epoch", "newest"),
            ("timeout_seconds", "0"),
            ("max_rows", "1e6"),
            ("max_bytes", "99999999999999999999"),
        ] {
            let refused = sessions.anonymous(&headers(name, value), &Peer::UNKNOWN);
            let refused = refused.expect_err(value);
            assert_eq!(refused.kind(), engine::ErrorKind::InvalidRequest);
            assert!(refused.to_string().contains(name), "{refused}");
        }
        let empty = caller(&sessions, &headers("epoch", ""));
        assert_eq!(empty.options, SessionOptions::default());
    }
}
