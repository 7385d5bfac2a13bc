use changes::Op;

use super::pgoutput::{Field, Tuple};
use super::table::Table;
use super::text::{self, number, string};
use crate::postgres::Lsn;

/// Where a change stands in its source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub(super) at: Lsn,
    /// The end of the last commit before it.
    pub(super) after_commit: Option<Lsn>,
    pub(super) transaction: i64,
    /// Microseconds since 1970.
    pub(super) committed_us: i64,
    pub(super) snapshot: &'static str,
}

/// One change of one row, or of all of them.
pub(super) struct Change<'a> {
    pub(super) op: Op,
    pub(super) before: Option<Image<'a>>,
    pub(super) after: Option<Image<'a>>,
}

/// A row as a message shows it.
#[derive(Clone, Copy)]
pub(super) enum Image<'a> {
    Whole(&'a Tuple),
    /// Large values that the change left alone are those of the other row, where it has them.
    Over {
        new: &'a Tuple,
        old: Option<&'a Tuple>,
    },
    /// The log has the key alone.
    Key(&'a Tuple),
}

/// Writes messages, and counts the values that it could not write.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
    /// Columns whose text was none of their type; each is written as null.
    pub(super) unreadable: Vec<usize>,
}

impl Writer {
    /// The message's key, from the row's own.
    pub(super) fn write_key(&mut self, table: &Table, tuple: &Tuple) {
        self.key.clear();
        self.key.extend_from_slice(table.key_wrapping.as_bytes());
        self.append_key(table, tuple);
        if !table.key_wrapping.is_empty() {
            self.key.push(b'}');
        }
    }

    /// The key of what is about no row. A compacted topic takes no message without one, so it is JSON's null, which a
    /// consumer reads as none; the last truncate of a table is all that compaction leaves of them.
    pub(super) fn write_no_key(&mut self, table: &Table) {
        self.key.clear();
        self.key
            .extend_from_slice(match table.key_wrapping.is_empty() {
                true => b"null",
                false => br#"{"schema":null,"payload":null}"#,
            });
    }

    /// The key as headers have it, never with a schema.
    pub(super) fn bare_key(mut self, table: &Table, tuple: &Tuple) -> Vec<u8> {
        self.append_key(table, tuple);
        self.key
    }

    fn append_key(&mut self, table: &Table, tuple: &Tuple) {
        self.key.push(b'{');
        for (at, column) in table.key.iter().enumerate() {
            if at > 0 {
                self.key.push(b',');
            }
            self.key.extend_from_slice(&table.columns[*column].label);
            let field = tuple.get(*column).unwrap_or(&Field::Null);
            write_field(
                table,
                *column,
                field,
                None,
                &mut self.key,
                &mut self.unreadable,
            );
        }
        self.key.push(b'}');
    }

    /// The message's value: Debezium's fields, in its order.
    pub(super) fn write_value(
        &mut self,
        table: &Table,
        change: &Change<'_>,
        origin: &Origin,
        now_us: i64,
    ) {
        let out = &mut self.value;
        out.clear();
        out.extend_from_slice(table.value_wrapping.as_bytes());
        out.extend_from_slice(b"{\"before\":");
        image(table, change.before, out, &mut self.unreadable);
        out.extend_from_slice(b",\"after\":");
        image(table, change.after, out, &mut self.unreadable);
        out.push(b',');
        out.extend_from_slice(table.source_start.as_bytes());
        number(origin.committed_us.div_euclid(1000), out);
        out.extend_from_slice(b",\"snapshot\":");
        string(origin.snapshot, out);
        out.extend_from_slice(table.source_middle.as_bytes());
        sequence(origin, out);
        times(origin.committed_us, ["\",\"ts_us\":", ",\"ts_ns\":"], out);
        out.extend_from_slice(table.source_table.as_bytes());
        number(origin.transaction, out);
        out.extend_from_slice(b",\"lsn\":");
        number(origin.at.number(), out);
        out.extend_from_slice(
            b",\"xmin\":null,\"origin\":null,\"origin_lsn\":null},\"transaction\":null,\"op\":",
        );
        string(change.op.as_str(), out);
        out.extend_from_slice(b",\"ts_ms\":");
        number(now_us.div_euclid(1000), out);
        times(now_us, [",\"ts_us\":", ",\"ts_ns\":"], out);
        out.push(b'}');
        if !table.value_wrapping.is_empty() {
            out.push(b'}');
        }
    }
}

/// A list in a text: `[null,\"26375392\"]`, quotes escaped.
fn sequence(origin: &Origin, out: &mut Vec<u8>) {
    match origin.after_commit {
        None => out.extend_from_slice(b"[null,"),
        Some(commit) => {
            out.extend_from_slice(b"[\\\"");
            number(commit.number(), out);
            out.extend_from_slice(b"\\\",");
        }
    }
    out.extend_from_slice(b"\\\"");
    number(origin.at.number(), out);
    out.extend_from_slice(b"\\\"]");
}

fn times(micros: i64, labels: [&str; 2], out: &mut Vec<u8>) {
    out.extend_from_slice(labels[0].as_bytes());
    number(micros, out);
    out.extend_from_slice(labels[1].as_bytes());
    number(micros.saturating_mul(1000), out);
}

fn image(table: &Table, image: Option<Image<'_>>, out: &mut Vec<u8>, unreadable: &mut Vec<usize>) {
    let Some(image) = image else {
        out.extend_from_slice(b"null");
        return;
    };
    for (at, column) in table.columns.iter().enumerate() {
        out.push(if at == 0 { b'{' } else { b',' });
        out.extend_from_slice(&column.label);
        match image {
            Image::Whole(tuple) => write_field(table, at, field(tuple, at), None, out, unreadable),
            Image::Over { new, old } => {
                let old = old.map(|old| field(old, at));
                write_field(table, at, field(new, at), old, out, unreadable);
            }
            Image::Key(tuple) if table.key.contains(&at) => {
                write_field(table, at, field(tuple, at), None, out, unreadable);
            }
            Image::Key(_) => out.extend_from_slice(&column.untold),
        }
    }
    out.push(b'}');
}

fn field(tuple: &Tuple, at: usize) -> &Field {
    tuple.get(at).unwrap_or(&Field::Null)
}

fn write_field(
    table: &Table,
    at: usize,
    field: &Field,
    old: Option<&Field>,
    out: &mut Vec<u8>,
    unreadable: &mut Vec<usize>,
) {
    let column = &table.columns[at];
    match (field, old) {
        (Field::Null, _) => out.extend_from_slice(b"null"),
        (Field::Text(bytes), _) | (Field::Unchanged, Some(Field::Text(bytes))) => {
            let start = out.len();
            let written = std::str::from_utf8(bytes)
                .ok()
                .and_then(|value| text::write(&column.kind, value, out));
            if written.is_none() {
                out.truncate(start);
                out.extend_from_slice(b"null");
                unreadable.push(at);
            }
        }
        (Field::Unchanged, _) => out.extend_from_slice(&column.unavailable),
    }
}
