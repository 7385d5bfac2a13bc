//! Messages to bronze rows: every message becomes one row, whatever it holds.

mod builder;
mod headers;

pub(crate) use builder::RowBuilder;
pub(crate) use headers::MessageHeaders;

use changes::{Envelope, Op};

use crate::lineage::Origin;

/// Milliseconds since 1970 of the years 1 to 9999, beyond which table formats and clients disagree.
const TIMESTAMPS: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

/// One Kafka message, borrowed from the client.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// Milliseconds since 1970, as the sender or the broker set it.
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) key: Option<&'a [u8]>,
    /// None is a tombstone.
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: MessageHeaders,
}

/// What a row says about its message beside the bytes themselves.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reading {
    op: Option<Op>,
    source_lsn: Option<i64>,
    source_ts_ms: Option<i64>,
    origin: Option<Origin>,
    error: Option<String>,
}

impl Message<'_> {
    fn read(&self) -> Reading {
        let mut reading = match self.value.map(Envelope::parse) {
            None => Reading::default(),
            Some(Ok(envelope)) => Reading {
                op: Some(envelope.op),
                source_lsn: envelope.source_lsn,
                source_ts_ms: envelope.source_ts_ms,
                origin: Some(Origin::from(&envelope)),
                error: None,
            },
            Some(Err(fault)) => Reading {
                error: Some(fault.to_string()),
                ..Reading::default()
            },
        };
        if self.headers.unreadable && reading.error.is_none() {
            reading.error = Some("the name of a header is not UTF-8".to_owned());
        }
        reading
    }

    fn timestamp_us(&self) -> Option<i64> {
        let milliseconds = self.timestamp_ms.filter(|at| TIMESTAMPS.contains(at))?;
        Some(milliseconds * 1000)
    }

    /// Bytes the message holds in memory: its own and those of the row around it.
    pub(crate) fn weight(&self) -> usize {
        const COLUMNS: usize = 96;
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        COLUMNS
            + length(self.key)
            + length(self.value)
            + self.headers.json.as_ref().map_or(0, String::len)
    }
}

#[cfg(test)]
mod tests;
