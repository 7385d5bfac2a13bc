use std::fmt;
use std::str::FromStr;

use bytes::{Buf, BufMut, Bytes};
use changes::{Error, ErrorKind, Result};

use super::problem::ServerError;
use super::wire::{Message, Wire};

/// A position in the server's log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// As Debezium writes it.
    pub fn number(self) -> i64 {
        self.0.cast_signed()
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

impl FromStr for Lsn {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let halves = text.split_once('/').and_then(|(high, low)| {
            let half = |digits| u32::from_str_radix(digits, 16).ok().map(u64::from);
            Some((half(high)?, half(low)?))
        });
        halves
            .map(|(high, low)| Self(high << 32 | low))
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Internal,
                    format!("\"{text}\" is no log position"),
                )
            })
    }
}

/// What a server sends while it replicates.
#[derive(Debug)]
pub enum Update {
    /// Data of the output plugin, and where in the log it is from.
    Data { at: Lsn, data: Bytes },
    /// How far the log is; whether the server waits for an answer.
    KeepAlive { end: Lsn, answer: bool },
}

/// A stream of changes.
pub struct Replication {
    wire: Wire,
}

impl Replication {
    pub(super) fn new(wire: Wire) -> Self {
        Self { wire }
    }

    /// The next update. May be dropped while it waits: nothing is lost.
    pub async fn next(&mut self) -> Result<Update> {
        loop {
            let message = self.wire.next().await?;
            if let Some(update) = update(message)? {
                return Ok(update);
            }
        }
    }

    /// The next update, if it has come already.
    pub fn buffered(&mut self) -> Result<Option<Update>> {
        while let Some(message) = self.wire.buffered()? {
            if let Some(update) = update(message)? {
                return Ok(Some(update));
            }
        }
        Ok(None)
    }

    /// Tells the server that everything before the position is safe here, so that it may forget it.
    pub async fn acknowledge(&mut self, safe: Lsn) -> Result<()> {
        self.wire.put(Some(b'd'), |body| {
            body.put_u8(b'r');
            for _ in ["written", "flushed", "applied"] {
                body.put_u64(safe.0);
            }
            body.put_i64(0);
            body.put_u8(0);
        });
        self.wire.flush().await
    }
}

fn update(message: Message) -> Result<Option<Update>> {
    let malformed = || Error::new(ErrorKind::Unavailable, "PostgreSQL sent a malformed update");
    let mut body = message.body;
    match message.tag {
        b'd' => {}
        b'E' => return Err(ServerError::read(body).into()),
        b'c' | b'C' => {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "PostgreSQL ended the replication",
            ));
        }
        _ => return Ok(None),
    }
    match (body.first().copied(), body.len()) {
        (Some(b'w'), 25..) => {
            body.advance(1);
            let at = Lsn(body.get_u64());
            body.advance(16);
            Ok(Some(Update::Data { at, data: body }))
        }
        (Some(b'k'), 18..) => {
            body.advance(1);
            let end = Lsn(body.get_u64());
            body.advance(8);
            let answer = body.get_u8() == 1;
            Ok(Some(Update::KeepAlive { end, answer }))
        }
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written() {
        let lsn: Lsn = "1A/2B00".parse().expect("valid");
        assert_eq!(lsn, Lsn(0x1A_0000_2B00));
        assert_eq!(lsn.to_string(), "1A/2B00");
        assert!("x/y".parse::<Lsn>().is_err());
    }
}
