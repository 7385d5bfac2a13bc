//! The messages of PostgreSQL's output plugin `pgoutput`, protocol version 1.
//!
//! Source: PostgreSQL documentation, "Logical Replication Message Formats".

use bytes::{Buf, Bytes};
use changes::{Error, ErrorKind, Result};

use crate::postgres::Lsn;

#[derive(Debug, PartialEq)]
pub(super) enum Message {
    Begin {
        /// Of the commit's record: above every change of the transaction.
        commit: Lsn,
        /// Microseconds since 1970.
        committed_us: i64,
        transaction: u32,
    },
    Commit {
        /// After the commit's record.
        end: Lsn,
    },
    Relation(Relation),
    Insert {
        relation: u32,
        new: Tuple,
    },
    Update {
        relation: u32,
        old: Option<Old>,
        new: Tuple,
    },
    Delete {
        relation: u32,
        old: Old,
    },
    Truncate {
        relations: Vec<u32>,
    },
    /// What says nothing about a row: a type, an origin, a message.
    Other,
}

/// A table, as it was at the change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relation {
    pub(super) id: u32,
    pub(super) schema: String,
    pub(super) table: String,
    /// With REPLICA IDENTITY FULL, so that columns do not say which are the key.
    pub(super) whole: bool,
    /// With REPLICA IDENTITY USING INDEX, so that the columns of the identity may be no key.
    pub(super) by_index: bool,
    pub(super) columns: Vec<RelationColumn>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RelationColumn {
    pub(super) name: String,
    pub(super) oid: u32,
    pub(super) modifier: i32,
    /// Part of the replica identity.
    pub(super) key: bool,
}

pub(super) type Tuple = Vec<Field>;

/// A row as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Old {
    pub(super) tuple: Tuple,
    /// With REPLICA IDENTITY FULL; otherwise only the key's columns are told.
    pub(super) whole: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    Null,
    /// A large value that the change left as it was, so that the log does not have it.
    Unchanged,
    Text(Bytes),
}

/// Microseconds from 1970 to 2000, where PostgreSQL's times begin.
const EPOCH_2000_US: i64 = 946_684_800_000_000;

impl Message {
    pub(super) fn decode(data: Bytes) -> Result<Self> {
        Reader(data).message().ok_or_else(|| {
            Error::new(
                ErrorKind::Corrupt,
                "PostgreSQL sent a change that cannot be read",
            )
            .hint("Is the slot's plugin pgoutput? SELECT * FROM pg_replication_slots.")
        })
    }

    /// The tables that it changes.
    pub(super) fn relations(&self) -> &[u32] {
        match self {
            Self::Insert { relation, .. }
            | Self::Update { relation, .. }
            | Self::Delete { relation, .. } => std::slice::from_ref(relation),
            Self::Truncate { relations } => relations,
            _ => &[],
        }
    }
}

/// Takes fields off the front; `None` when the data ends too early.
struct Reader(Bytes);

impl Reader {
    fn message(&mut self) -> Option<Message> {
        Some(match self.byte()? {
            b'B' => Message::Begin {
                commit: Lsn(self.long()?.cast_unsigned()),
                committed_us: self.long()?.saturating_add(EPOCH_2000_US),
                transaction: self.int()?,
            },
            b'C' => {
                self.byte()?;
                self.long()?;
                Message::Commit {
                    end: Lsn(self.long()?.cast_unsigned()),
                }
            }
            b'R' => Message::Relation(self.relation()?),
            b'I' => {
                let relation = self.int()?;
                (self.byte()? == b'N').then_some(())?;
                Message::Insert {
                    relation,
                    new: self.tuple()?,
                }
            }
            b'U' => self.update()?,
            b'D' => {
                let relation = self.int()?;
                let old = match self.byte()? {
                    kind @ (b'K' | b'O') => self.old(kind)?,
                    _ => return None,
                };
                Message::Delete { relation, old }
            }
            b'T' => {
                let count = self.int()?;
                self.byte()?;
                let relations = (0..count).map(|_| self.int()).collect::<Option<_>>()?;
                Message::Truncate { relations }
            }
            b'Y' | b'O' | b'M' => Message::Other,
            _ => return None,
        })
    }

    fn update(&mut self) -> Option<Message> {
        let relation = self.int()?;
        let mut old = None;
        loop {
            match self.byte()? {
                kind @ (b'K' | b'O') if old.is_none() => old = Some(self.old(kind)?),
                b'N' => {
                    let new = self.tuple()?;
                    return Some(Message::Update { relation, old, new });
                }
                _ => return None,
            }
        }
    }

    fn old(&mut self, kind: u8) -> Option<Old> {
        Some(Old {
            tuple: self.tuple()?,
            whole: kind == b'O',
        })
    }

    fn relation(&mut self) -> Option<Relation> {
        let id = self.int()?;
        let schema = self.text()?;
        let table = self.text()?;
        let identity = self.byte()?;
        let count = self.short()?;
        let columns = (0..count).map(|_| {
            let key = self.byte()? & 1 == 1;
            Some(RelationColumn {
                key,
                name: self.text()?,
                oid: self.int()?,
                modifier: self.int()?.cast_signed(),
            })
        });
        let columns = columns.collect::<Option<_>>()?;
        Some(Relation {
            id,
            schema,
            table,
            whole: identity == b'f',
            by_index: identity == b'i',
            columns,
        })
    }

    fn tuple(&mut self) -> Option<Tuple> {
        let count = self.short()?;
        let mut tuple = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            tuple.push(match self.byte()? {
                b'n' => Field::Null,
                b'u' => Field::Unchanged,
                b't' => {
                    let length = usize::try_from(self.int()?).ok()?;
                    (self.0.len() >= length).then_some(())?;
                    Field::Text(self.0.split_to(length))
                }
                _ => return None,
            });
        }
        Some(tuple)
    }

    fn byte(&mut self) -> Option<u8> {
        self.0.try_get_u8().ok()
    }

    fn short(&mut self) -> Option<u16> {
        self.0.try_get_u16().ok()
    }

    fn int(&mut self) -> Option<u32> {
        self.0.try_get_u32().ok()
    }

    fn long(&mut self) -> Option<i64> {
        self.0.try_get_i64().ok()
    }

    fn text(&mut self) -> Option<String> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        Some(String::from_utf8_lossy(&text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSERT: &[u8] = b"I\0\0\x40\x01N\0\x03t\0\0\0\x02hinu";

    #[test]
    fn an_insert_is_read() {
        let expected = Message::Insert {
            relation: 0x4001,
            new: vec![
                Field::Text(Bytes::from_static(b"hi")),
                Field::Null,
                Field::Unchanged,
            ],
        };
        assert_eq!(
            Message::decode(Bytes::from_static(INSERT)).expect("whole"),
            expected
        );
    }

    #[test]
    fn an_update_has_the_old_row_or_not() {
        let with = Bytes::from_static(b"U\0\0\0\x01K\0\x01nN\0\x01n");
        let without = Bytes::from_static(b"U\0\0\0\x01N\0\x01n");
        for (data, has) in [(with, true), (without, false)] {
            let message = Message::decode(data).expect("whole");
            assert!(matches!(message, Message::Update { old, .. } if old.is_some() == has));
        }
    }

    #[test]
    fn what_is_cut_off_or_unknown_is_refused_and_never_panics() {
        for end in 0..INSERT.len() {
            assert!(
                Message::decode(Bytes::from_static(&INSERT[..end])).is_err(),
                "{end}"
            );
        }
        for first in 0..=u8::MAX {
            let _ = Message::decode(Bytes::from(vec![first, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]));
        }
        assert!(Message::decode(Bytes::from_static(b"?")).is_err());
    }
}
