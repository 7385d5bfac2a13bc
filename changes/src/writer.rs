use serde_json::{Map, Value, json};

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
        let snapshot = if self.op == Op::Read { "true" } else { "false" };
        let ts_ms = self.ts_us.div_euclid(1000);
        let ts_ns = self.ts_us.saturating_mul(1000);
        let lsn_text = self.lsn.to_string();
        json!({
            "before": self.before,
            "after": self.after,
            "source": {
                "version": env!("CARGO_PKG_VERSION"),
                "connector": "sportlake",
                "name": table.name,
                "ts_ms": ts_ms,
                "snapshot": snapshot,
                "db": table.db,
                "sequence": format!("[\"{lsn_text}\",\"{lsn_text}\"]"),
                "ts_us": self.ts_us,
                "ts_ns": ts_ns,
                "schema": table.schema,
                "table": table.table,
                "txId": null,
                "lsn": self.lsn,
                "xmin": null,
                "origin": null,
                "origin_lsn": null,
            },
            "transaction": null,
            "op": self.op.as_str(),
            "ts_ms": ts_ms,
            "ts_us": self.ts_us,
            "ts_ns": ts_ns,
        })
        .to_string()
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
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
    }
}
