//! What clients carry for the server: statement tickets, prepared handles and session tokens.
//! They hold everything needed to act on them and are sealed, so the server keeps no state
//! for them, and what it signed it can trust after a restart with the same key.

use std::fmt;
use std::path::Path;

use arrow_flight::FlightData;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use engine::{Error, ErrorKind, Result};
use prost::Message;
use sha2::{Digest, Sha256};

use crate::private_file::{private, write_private};
use crate::user_file::{IssuedToken, User};

const FORMAT: u8 = 1;
const MAC_BYTES: usize = 32;
const HMAC_BLOCK: usize = 64;

/// The secret that seals tickets, handles and tokens. Keep it across restarts to keep them good.
#[derive(Clone)]
pub struct TicketKey([u8; 32]);

impl TicketKey {
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A key from the operating system's randomness; the only randomness of this crate.
    pub fn random() -> Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|err| {
            Error::new(ErrorKind::Internal, "the system gives no random bytes").caused_by(err)
        })?;
        Ok(Self(bytes))
    }

    /// The key of a file that only its owner may read; makes the file where there is none.
    ///
    /// # Errors
    /// `PermissionDenied` for a file that others may read, `Corrupt` for one that holds no key.
    pub fn load_or_create(path: &Path) -> Result<Self> {
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = Self::random()?;
                let digits: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
                write_private(path, digits.as_bytes())?;
                return Ok(key);
            }
            Err(error) => return Err(unreadable(path).caused_by(error)),
        };
        private(path, &metadata)?;
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| unreadable(path).caused_by(error))?;
        let digits = text.trim();
        let mut bytes = [0; 32];
        if digits.len() != 64 || !digits.is_ascii() {
            return Err(unreadable(path));
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            let pair = &digits[2 * index..2 * index + 2];
            *byte = u8::from_str_radix(pair, 16).map_err(|_| unreadable(path))?;
        }
        Ok(Self(bytes))
    }

    /// A number that only this key gives for these bytes.
    pub(crate) fn proof(&self, purpose: Purpose, bytes: &[u8]) -> [u8; 32] {
        self.mac(purpose, bytes)
    }

    /// A number that tells one start of the server from another.
    pub(crate) fn first_id(&self) -> u64 {
        let [a, b, c, d, e, f, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, 0, 0])
    }

    /// The sealed form of `message`, good for `purpose` only.
    pub(crate) fn seal(&self, purpose: Purpose, message: &impl Message) -> Bytes {
        let payload = message.encode_to_vec();
        let mut sealed = BytesMut::with_capacity(1 + MAC_BYTES + payload.len());
        sealed.put_u8(FORMAT);
        sealed.put_slice(&self.mac(purpose, &payload));
        sealed.put_slice(&payload);
        sealed.freeze()
    }

    /// The message of a sealed form; refuses what this key did not seal for `purpose`.
    pub(crate) fn open<M: Message + Default>(&self, purpose: Purpose, sealed: &[u8]) -> Result<M> {
        let refused = || {
            Error::invalid(format!("the {} is not one of this server", purpose.noun()))
                .hint("Send the query again: the server may have been restarted since.")
        };
        let Some((&FORMAT, rest)) = sealed.split_first() else {
            return Err(refused());
        };
        let Some((mac, payload)) = rest.split_at_checked(MAC_BYTES) else {
            return Err(refused());
        };
        if !same(mac, &self.mac(purpose, payload)) {
            return Err(refused());
        }
        M::decode(payload).map_err(|err| refused().caused_by(err))
    }

    fn mac(&self, purpose: Purpose, payload: &[u8]) -> [u8; 32] {
        hmac(&self.0, &[&[FORMAT, purpose as u8], payload])
    }
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketKey(..)")
    }
}

/// What a sealed message is good for; one kind is never accepted for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Statement = 1,
    Prepared = 2,
    Session = 3,
    /// Nothing is sealed for it: it keeps proofs of passwords apart.
    Password = 4,
    /// Who signed in to the page.
    Page = 5,
    /// Nothing is sealed for it: what shows that a form is one of the page's.
    Form = 6,
}

impl Purpose {
    fn noun(self) -> &'static str {
        match self {
            Self::Statement => "ticket",
            Self::Prepared => "prepared statement",
            Self::Session | Self::Password | Self::Page | Self::Form => "token",
        }
    }
}

/// A statement and its bound parameters. It names no epoch: each execution pins the newest.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PreparedHandle {
    #[prost(string, tag = "1")]
    pub(crate) sql: String,
    /// One row as a schema and a record batch message; empty when nothing is bound.
    #[prost(message, repeated, tag = "2")]
    pub(crate) parameters: Vec<FlightData>,
    /// The schema that unqualified names are looked up in; empty for the default.
    #[prost(string, tag = "3")]
    pub(crate) schema: String,
    /// Who it is of; nobody else may use it.
    #[prost(string, tag = "4")]
    pub(crate) user: String,
    /// What kind of client it is shaped for.
    #[prost(string, tag = "5")]
    pub(crate) profile: String,
}

/// One execution of a statement, on the epoch that its FlightInfo was planned on.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StatementTicket {
    #[prost(message, required, tag = "1")]
    pub(crate) statement: PreparedHandle,
    #[prost(uint64, tag = "2")]
    pub(crate) epoch: u64,
    /// Tells this execution from others of the same statement.
    #[prost(fixed64, tag = "3")]
    pub(crate) id: u64,
    /// The trace that its planning is of, as W3C's traceparent; empty without one.
    #[prost(string, tag = "4")]
    pub(crate) trace: String,
}

/// Who somebody is, for as long as it says. Options of a session stay on the server.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SessionToken {
    #[prost(fixed64, tag = "1")]
    pub(crate) id: u64,
    #[prost(string, tag = "2")]
    pub(crate) user: String,
    /// The user's when it was signed; a token of another one was taken back.
    #[prost(uint64, tag = "3")]
    pub(crate) generation: u64,
    /// Seconds since 1970; 0 where there are no users and nothing expires.
    #[prost(int64, tag = "4")]
    pub(crate) expires: i64,
    /// Names a token that was given out and stands in the users file, or the start of the server of one of the page;
    /// empty for one of a session.
    #[prost(string, tag = "5")]
    pub(crate) issued: String,
}

/// Gives a token out, and notes it with its user. The second text names it.
pub fn issue_token(
    key: &TicketKey,
    user: &mut User,
    label: &str,
    expires: i64,
    now: i64,
) -> Result<(String, String)> {
    let id = format!(
        "{:016x}",
        u64::from_be_bytes(TicketKey::random()?.0[..8].try_into().unwrap_or_default())
    );
    user.note(
        IssuedToken {
            id: id.clone(),
            label: label.to_owned(),
            expires,
        },
        now,
    )?;
    let token = SessionToken {
        id: 0,
        user: user.name.clone(),
        generation: user.generation,
        expires,
        issued: id.clone(),
    };
    let sealed = key.seal(Purpose::Session, &token);
    Ok((URL_SAFE_NO_PAD.encode(sealed), id))
}

fn unreadable(path: &Path) -> Error {
    let message = format!("\"{}\" holds no key", path.display());
    Error::new(ErrorKind::Corrupt, message)
        .hint("Remove it to have a new one made; all tickets and tokens end with it.")
}

/// HMAC-SHA256 (RFC 2104) with a 32-byte key.
fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let mut inner_pad = [0x36_u8; HMAC_BLOCK];
    let mut outer_pad = [0x5c_u8; HMAC_BLOCK];
    for (index, byte) in key.iter().enumerate() {
        inner_pad[index] ^= byte;
        outer_pad[index] ^= byte;
    }
    let mut inner = Sha256::new_with_prefix(inner_pad);
    for part in parts {
        inner.update(part);
    }
    Sha256::new_with_prefix(outer_pad)
        .chain_update(inner.finalize())
        .finalize()
        .into()
}

/// Compares without telling by its duration where the first difference is.
fn same(left: &[u8], right: &[u8]) -> bool {
    let difference = left
        .iter()
        .zip(right)
        .fold(0, |found, (a, b)| std::hint::black_box(found | (a ^ b)));
    left.len() == right.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> StatementTicket {
        StatementTicket {
            statement: PreparedHandle {
                sql: "SELECT 1".to_owned(),
                parameters: vec![FlightData::new().with_data_body(vec![1, 2, 3])],
                schema: String::new(),
                user: "anne".to_owned(),
                profile: "arrow".to_owned(),
            },
            epoch: 7,
            id: 1,
            trace: String::new(),
        }
    }

    #[test]
    fn a_sealed_ticket_opens_unchanged() {
        let key = TicketKey::new([1; 32]);
        let sealed = key.seal(Purpose::Statement, &ticket());
        let opened: StatementTicket = key.open(Purpose::Statement, &sealed).expect("own seal");
        assert_eq!(opened, ticket());
    }

    #[test]
    fn a_changed_byte_is_refused_wherever_it_is() {
        let key = TicketKey::new([1; 32]);
        let sealed = key.seal(Purpose::Statement, &ticket());
        for index in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[index] ^= 1;
            let opened = key.open::<StatementTicket>(Purpose::Statement, &changed);
            assert!(opened.is_err(), "byte {index}");
        }
        for length in 0..sealed.len() {
            let opened = key.open::<StatementTicket>(Purpose::Statement, &sealed[..length]);
            assert!(opened.is_err(), "first {length} bytes");
        }
    }

    #[test]
    fn another_key_or_purpose_is_refused() {
        let key = TicketKey::new([1; 32]);
        let sealed = key.seal(Purpose::Prepared, &ticket().statement);
        assert!(
            key.open::<PreparedHandle>(Purpose::Session, &sealed)
                .is_err()
        );
        let other = TicketKey::new([2; 32]);
        let error = other
            .open::<PreparedHandle>(Purpose::Prepared, &sealed)
            .expect_err("another key");
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    }

    /// RFC 4231, test case 1 (its 20-byte key, padded with zeros as HMAC does).
    #[test]
    fn the_mac_is_hmac_sha256() {
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let mac = hmac(&key, &[b"Hi ", b"There"]);
        let text: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            text,
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        );
    }

    #[test]
    fn the_key_is_not_printed() {
        assert_eq!(format!("{:?}", TicketKey::new([9; 32])), "TicketKey(..)");
    }
}
