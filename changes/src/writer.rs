use serde::Serialize;
use serde_json::{Map, Value};

use crate::envelope::Op;

/// The table an embedded source speaks for, as the envelope's `source` block names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTable {
    /// Logical name of the server: the topic prefix.
    pub name: String,
    pub db: String,
    pub schema: String,
    pub table: String,
}

/// One change of one row, ready to be written as Debezium writes it with `schemas.enable=false`.
#[derive(Debug, Clone)]
pub struct ChangeEvent {
    pub op: Op,
    /// The columns of the primary key.
    pub key: Map<String, Value>,
    pub before: Option<Map<String, Value>>,
    pub after: Option<Map<String, Value>>,
    pub lsn: i64,
    /// Commit time at the source, microseconds since 1970.
    pub ts_us: i64,
}

impl ChangeEvent {
    /// The message key: the primary key as a JSON object.
    pub fn key_bytes(&self) -> Vec<u8> {
        Value::Object(self.key.clone()).to_string().into_bytes()
    }

    /// The message value: an envelope with the fields, and in the order, of Debezium's PostgreSQL connector.
    pub fn value_bytes(&self, table: &SourceTable) -> Vec<u8> {
        let mut value = Vec::new();
        let change = Change {
            op: self.op,
            before: self.before.as_ref(),
            after: self.after.as_ref(),
            lsn: self.lsn,
            ts_us: self.ts_us,
        };
        change.write(table, &mut value);
        value
    }
}

/// A change of a row of any type, for those that write many.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a, R> {
    pub op: Op,
    pub before: Option<&'a R>,
    pub after: Option<&'a R>,
    pub lsn: i64,
    /// Commit time at the source, microseconds since 1970.
    pub ts_us: i64,
}

impl<R: Serialize> Change<'_, R> {
    /// Appends the message value. A row serialises as a map from text.
    pub fn write(&self, table: &SourceTable, out: &mut Vec<u8>) {
        let ts_ms = self.ts_us.div_euclid(1000);
        let ts_ns = self.ts_us.saturating_mul(1000);
        let envelope = Written {
            before: self.before,
            after: self.after,
            source: Source {
                version: env!("CARGO_PKG_VERSION"),
                connector: "sportlake",
                name: &table.name,
                ts_ms,
                snapshot: if self.op == Op::Read { "true" } else { "false" },
                db: &table.db,
                sequence: format!("[\"{0}\",\"{0}\"]", self.lsn),
                ts_us: self.ts_us,
                ts_ns,
                schema: &table.schema,
                table: &table.table,
                tx_id: (),
                lsn: self.lsn,
                xmin: (),
                origin: (),
                origin_lsn: (),
            },
            transaction: (),
            op: self.op.as_str(),
            ts_ms,
            ts_us: self.ts_us,
            ts_ns,
        };
        serde_json::to_writer(out, &envelope)
            .expect("rows are maps from text, and memory takes them");
    }
}

/// The fields of an envelope in Debezium's order; `()` is null.
#[derive(Serialize)]
struct Written<'a, R> {
    before: Option<&'a R>,
    after: Option<&'a R>,
    source: Source<'a>,
    transaction: (),
    op: &'static str,
    ts_ms: i64,
    ts_us: i64,
    ts_ns: i64,
}

#[derive(Serialize)]
struct Source<'a> {
    version: &'static str,
    connector: &'static str,
    name: &'a str,
    ts_ms: i64,
    snapshot: &'static str,
    db: &'a str,
    sequence: String,
    ts_us: i64,
    ts_ns: i64,
    schema: &'a str,
    table: &'a str,
    #[serde(rename = "txId")]
    tx_id: (),
    lsn: i64,
    xmin: (),
    origin: (),
    origin_lsn: (),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Envelope;

    #[test]
    fn what_is_written_reads_back() {
        let row = json!({"id": 1, "sport": "Course à pied"});
        let row = row.as_object().expect("an object").clone();
        let event = ChangeEvent {
            op: Op::Create,
            key: Map::from_iter([("id".to_owned(), json!(1))]),
            before: None,
            after: Some(row),
            lsn: 42,
            ts_us: 1_700_000_000_123_456,
        };
        let table = SourceTable {
            name: "sportsdata".to_owned(),
            db: "sportsdb".to_owned(),
            schema: "public".to_owned(),
            table: "declared_sports".to_owned(),
        };
        let value = event.value_bytes(&table);
        let envelope = Envelope::parse(&value).expect("an envelope");
        assert_eq!(envelope.op, Op::Create);
        assert_eq!(envelope.source_lsn, Some(42));
        assert_eq!(envelope.source_ts_ms, Some(1_700_000_000_123));
        assert_eq!(event.key_bytes(), br#"{"id":1}"#);
        let text = String::from_utf8(value).expect("JSON");
        let expected =
            r#"{"before":null,"after":{"id":1,"sport":"Course à pied"},"source":{"version":"#;
        assert!(text.starts_with(expected), "{text}");
        let expected = concat!(
            r#""connector":"sportlake","name":"sportsdata","ts_ms":1700000000123,"snapshot":"false","#,
            r#""db":"sportsdb","sequence":"[\"42\",\"42\"]","ts_us":1700000000123456,"ts_ns":1700000000123456000,"#,
            r#""schema":"public","table":"declared_sports","txId":null,"lsn":42,"xmin":null,"origin":null,"#,
            r#""origin_lsn":null},"transaction":null,"op":"c","ts_ms":1700000000123,"ts_us":1700000000123456,"#,
            r#""ts_ns":1700000000123456000}"#
        );
        assert!(text.ends_with(expected), "{text}");
    }
}
