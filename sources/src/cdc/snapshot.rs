//! The rows that are there before changes are read.

use std::collections::BTreeSet;

use bytes::Bytes;
use changes::{Clock, Op, Result};
use tracing::{info, warn};

use super::capture::Progress;
use super::catalogue::{self, Published, own_rows};
use super::config::CdcConfig;
use super::envelope::{Change, Image, Origin, Writer};
use super::metrics;
use super::pgoutput::{Field, Tuple};
use super::sink::{Outgoing, Sink};
use super::slot::Snapshot;
use super::state::State;
use super::table::Table;
use crate::postgres::{Address, Connection, Lsn, literal, quoted};

/// Loads tables as of one snapshot.
pub(super) struct Load<'a> {
    pub(super) address: &'a Address,
    pub(super) config: &'a CdcConfig,
    pub(super) prefix: &'a str,
    pub(super) clock: &'a Clock,
    pub(super) sink: &'a Sink,
    /// Topics that somebody has written to before.
    pub(super) held: &'a BTreeSet<String>,
    pub(super) tell: &'a (dyn Fn(Progress) + Send + Sync),
}

/// A load takes as long as it takes, whatever limits the role has. It waits for a table that somebody alters, for a while,
/// and would rather fail than be shown a part of the rows.
const OF_A_LOAD: [(&str, &str); 5] = [
    ("statement_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("transaction_timeout", "0"),
    ("lock_timeout", "60s"),
    ("row_security", "off"),
];

impl Load<'_> {
    /// Each table counts as loaded once Kafka has acknowledged all of its rows.
    pub(super) async fn tables(
        &self,
        snapshot: &Snapshot,
        tables: &[Published],
        state: &mut State,
    ) -> Result<u64> {
        let mut connection = Connection::connect(self.address).await?;
        connection.set(&OF_A_LOAD).await?;
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
            literal(&snapshot.name)
        );
        connection.query(&begin).await?;
        let transaction = connection
            .value("SELECT txid_snapshot_xmax(txid_current_snapshot())")
            .await?;
        let transaction = transaction.and_then(|id| id.parse().ok()).unwrap_or(0);
        let mut all = 0;
        for (at, published) in tables.iter().enumerate() {
            let table =
                catalogue::current(&mut connection, published, self.prefix, self.config).await?;
            say_size(&mut connection, published, state).await?;
            let rows = Rows {
                load: self,
                table: &table,
                below: snapshot.below,
                transaction,
                is_first: at == 0,
                is_last: at + 1 == tables.len(),
            };
            if state.is_stale(&published.name()) || self.held.contains(&table.topic) {
                rows.forget_those_before().await?;
            }
            let count = rows.send(&mut connection, published).await?;
            self.sink.drain().await?;
            state.load(published, snapshot.as_of)?;
            info!(table = published.name(), rows = count, "loaded");
            all += count;
        }
        Ok(all)
    }
}

/// Says how large a table is that is about to be loaded, the louder where others wait for it.
async fn say_size(connection: &mut Connection, published: &Published, state: &State) -> Result<()> {
    let size = catalogue::size(connection, published).await?;
    let (table, rows, bytes) = (published.name(), size.rows, size.bytes);
    match state.is_loaded() {
        true => warn!(
            table,
            rows_about = rows,
            bytes,
            "loading a table: the changes of all others wait meanwhile"
        ),
        false => info!(table, rows_about = rows, bytes, "loading a table"),
    }
    Ok(())
}

struct Rows<'a> {
    load: &'a Load<'a>,
    table: &'a Table,
    below: Lsn,
    transaction: i64,
    is_first: bool,
    is_last: bool,
}

/// Rows between two words about progress.
const WORD_EVERY: u64 = 10_000;

impl Rows<'_> {
    async fn send(&self, connection: &mut Connection, published: &Published) -> Result<u64> {
        let columns: Vec<String> = self
            .table
            .columns
            .iter()
            .map(|column| quoted(column.name()))
            .collect();
        let filter = published
            .filter
            .as_ref()
            .map_or_else(String::new, |filter| format!(" AND ({filter})"));
        let sql = format!(
            "COPY (SELECT {} FROM {} WHERE {}{filter}) TO STDOUT",
            columns.join(", "),
            published.quoted(),
            own_rows(published.oid)
        );
        connection.copy_out(&sql).await?;
        let mut writer = Writer::default();
        let mut count = 0;
        let mut held: Option<Bytes> = None;
        // One row behind, to know the last one.
        loop {
            let line = connection.copied().await?;
            if let Some(row) = held.take() {
                let marker = self.marker(count == 0, line.is_none());
                let tuple = columns_of(&row);
                writer.write_key(self.table, &tuple);
                let change = Change {
                    op: Op::Read,
                    before: None,
                    after: Some(Image::Whole(&tuple)),
                };
                self.write(&mut writer, &change, marker, self.below);
                self.deliver(&writer).await?;
                count += 1;
                if count % WORD_EVERY == 0 {
                    self.tell(count);
                }
            }
            match line {
                Some(line) => held = Some(line),
                None => break,
            }
        }
        self.tell(count);
        metrics::wrote(count, &self.table.name());
        if !writer.unreadable.is_empty() {
            metrics::could_not_read(writer.unreadable.len() as u64, &self.table.name());
        }
        Ok(count)
    }

    /// What earlier rows say that are gone by now.
    async fn forget_those_before(&self) -> Result<()> {
        let mut writer = Writer::default();
        let change = Change {
            op: Op::Truncate,
            before: None,
            after: None,
        };
        let before = Lsn(self.below.0.saturating_sub(1));
        writer.write_no_key(self.table);
        self.write(&mut writer, &change, "true", before);
        self.deliver(&writer).await
    }

    fn write(&self, writer: &mut Writer, change: &Change<'_>, marker: &'static str, at: Lsn) {
        let now = (self.load.clock)().timestamp_micros();
        let origin = Origin {
            at,
            after_commit: None,
            transaction: self.transaction,
            committed_us: now,
            snapshot: marker,
        };
        writer.write_value(self.table, change, &origin, now);
    }

    async fn deliver(&self, writer: &Writer) -> Result<()> {
        let message = Outgoing {
            topic: &self.table.topic,
            key: &writer.key,
            value: Some(&writer.value),
            header: None,
        };
        while !self.load.sink.try_send(&message)? {
            self.load.sink.room().await;
        }
        Ok(())
    }

    /// As Debezium marks rows of a snapshot.
    fn marker(&self, first: bool, last: bool) -> &'static str {
        match (first, last) {
            (_, true) if self.is_last => "last",
            (true, _) if self.is_first => "first",
            (_, true) => "last_in_data_collection",
            (true, _) => "first_in_data_collection",
            _ => "true",
        }
    }

    fn tell(&self, rows: u64) {
        (self.load.tell)(Progress::Loading {
            table: self.table.name(),
            rows,
        });
    }
}

/// The fields of a line of COPY's text format.
fn columns_of(line: &Bytes) -> Tuple {
    let end = line.len() - usize::from(line.ends_with(b"\n"));
    let mut tuple = Vec::new();
    let mut start = 0;
    loop {
        let rest = &line[start..end];
        let length = rest
            .iter()
            .position(|byte| *byte == b'\t')
            .unwrap_or(rest.len());
        let field = &rest[..length];
        tuple.push(match field {
            b"\\N" => Field::Null,
            _ if field.contains(&b'\\') => Field::Text(unescaped(field).into()),
            _ => Field::Text(line.slice(start..start + length)),
        });
        start += length + 1;
        if start > end {
            return tuple;
        }
    }
}

fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        bytes.extend(rest.next().map(|escaped| match escaped {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            other => *other,
        }));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_into_its_fields() {
        let text = |text: &'static str| Field::Text(Bytes::from_static(text.as_bytes()));
        let line = Bytes::from_static(b"1\t\\N\ta\\tb\\\\c\\n\t\tx\n");
        let expected = vec![
            text("1"),
            Field::Null,
            text("a\tb\\c\n"),
            text(""),
            text("x"),
        ];
        assert_eq!(columns_of(&line), expected);
        assert_eq!(columns_of(&Bytes::from_static(b"\n")), vec![text("")]);
    }
}
