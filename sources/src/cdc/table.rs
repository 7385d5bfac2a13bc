use serde_json::{Value, json};

use super::kind::Kind;
use super::pgoutput::Relation;
use super::text;

/// A table whose changes are written: what does not change from one message to the next, as bytes.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) relation: Relation,
    pub(super) topic: String,
    pub(super) columns: Vec<Column>,
    /// The columns of the primary key, in its order.
    pub(super) key: Vec<usize>,
    /// The fields of the source block that are the same in each message.
    pub(super) source_start: String,
    pub(super) source_middle: String,
    pub(super) source_table: String,
    /// What stands around a message's key and value where schemas are written; empty otherwise.
    pub(super) key_wrapping: String,
    pub(super) value_wrapping: String,
}

#[derive(Debug)]
pub(super) struct Column {
    name: String,
    pub(super) kind: Kind,
    not_null: bool,
    default: Option<Value>,
    /// `"name":`
    pub(super) label: Vec<u8>,
    /// What stands for a value that a delete does not tell.
    pub(super) untold: Vec<u8>,
    /// What stands for a large value that the log does not have.
    pub(super) unavailable: Vec<u8>,
}

impl Column {
    /// The default is an expression of SQL.
    pub(super) fn new(name: &str, kind: Kind, not_null: bool, default: Option<&str>) -> Self {
        let mut label = Vec::new();
        text::string(name, &mut label);
        label.push(b':');
        let default = default.and_then(|default| match constant(&kind, default) {
            Some(constant) => Some(constant),
            None => not_null.then(|| kind.placeholder()),
        });
        let untold = match (not_null, &default) {
            (false, _) => Value::Null,
            (true, Some(default)) => default.clone(),
            (true, None) => kind.placeholder(),
        };
        Self {
            name: name.to_owned(),
            untold: untold.to_string().into_bytes(),
            unavailable: kind.unavailable().to_string().into_bytes(),
            kind,
            not_null,
            default,
            label,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn schema(&self) -> Value {
        let mut schema = self.kind.schema(!self.not_null);
        if let Some(default) = &self.default {
            schema["default"] = default.clone();
        }
        schema["field"] = json!(self.name);
        schema
    }
}

/// The value of an expression that is one, as Debezium reads it.
fn constant(kind: &Kind, expression: &str) -> Option<Value> {
    let unquoted = match expression.strip_prefix('\'') {
        Some(quoted) => {
            let end = quoted.rfind('\'')?;
            let (value, cast) = quoted.split_at(end);
            cast[1..]
                .chars()
                .all(|c| !matches!(c, '(' | '\''))
                .then_some(())?;
            value.replace("''", "'")
        }
        None if expression.starts_with(|c: char| c.is_ascii_digit() || c == '(' || c == '-') => {
            let bare = expression.split("::").next()?;
            bare.trim_matches(['(', ')']).to_owned()
        }
        None => match expression {
            "true" => "t".to_owned(),
            "false" => "f".to_owned(),
            _ => return None,
        },
    };
    let mut out = Vec::new();
    text::write(kind, &unquoted, &mut out)?;
    serde_json::from_slice(&out).ok()
}

impl Table {
    pub(super) fn new(
        relation: Relation,
        columns: Vec<Column>,
        key: Vec<usize>,
        prefix: &str,
        database: &str,
        schemas: bool,
    ) -> Self {
        let topic = topic(prefix, &relation.schema, &relation.table);
        let (mut key_wrapping, mut value_wrapping) = (String::new(), String::new());
        if schemas {
            let fields: Vec<Value> = key.iter().map(|at| columns[*at].schema()).collect();
            let schema = json!({"type": "struct", "fields": fields, "optional": false, "name": format!("{topic}.Key")});
            key_wrapping = wrapping(&schema);
            value_wrapping = wrapping(&envelope_schema(&topic, &columns));
        }
        Self {
            source_start: format!(
                r#""source":{{"version":{},"connector":"postgresql","name":{},"ts_ms":"#,
                json!(env!("CARGO_PKG_VERSION")),
                json!(prefix)
            ),
            source_middle: format!(r#","db":{},"sequence":""#, json!(database)),
            source_table: format!(
                r#","schema":{},"table":{},"txId":"#,
                json!(relation.schema),
                json!(relation.table)
            ),
            relation,
            topic,
            columns,
            key,
            key_wrapping,
            value_wrapping,
        }
    }

    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.relation.schema, self.relation.table)
    }
}

/// The topic of a table. What Kafka does not allow in a name is written as Debezium writes it, which counts as Java does.
fn topic(prefix: &str, schema: &str, table: &str) -> String {
    let mut topic = String::new();
    for character in format!("{prefix}.{schema}.{table}").chars() {
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => topic.push(character),
            other => topic.push_str(&"_".repeat(other.len_utf16())),
        }
    }
    topic
}

fn wrapping(schema: &Value) -> String {
    format!(r#"{{"schema":{schema},"payload":"#)
}

fn envelope_schema(topic: &str, columns: &[Column]) -> Value {
    let row = |field: &str| {
        let fields: Vec<Value> = columns.iter().map(Column::schema).collect();
        json!({"type": "struct", "fields": fields, "optional": true, "name": format!("{topic}.Value"), "field": field})
    };
    let field = |kind: &str, optional: bool, name: &str| json!({"type": kind, "optional": optional, "field": name});
    let snapshot = json!({
        "type": "string", "optional": true, "name": "io.debezium.data.Enum", "version": 1,
        "parameters": {"allowed": "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"},
        "default": "false", "field": "snapshot",
    });
    let source = json!({
        "type": "struct",
        "fields": [
            field("string", false, "version"),
            field("string", false, "connector"),
            field("string", false, "name"),
            field("int64", false, "ts_ms"),
            snapshot,
            field("string", false, "db"),
            field("string", true, "sequence"),
            field("int64", true, "ts_us"),
            field("int64", true, "ts_ns"),
            field("string", false, "schema"),
            field("string", false, "table"),
            field("int64", true, "txId"),
            field("int64", true, "lsn"),
            field("int64", true, "xmin"),
            field("string", true, "origin"),
            field("int64", true, "origin_lsn"),
        ],
        "optional": false, "name": "io.debezium.connector.postgresql.Source", "version": 1, "field": "source",
    });
    let transaction = json!({
        "type": "struct",
        "fields": [
            field("string", false, "id"),
            field("int64", false, "total_order"),
            field("int64", false, "data_collection_order"),
        ],
        "optional": true, "name": "event.block", "version": 1, "field": "transaction",
    });
    json!({
        "type": "struct",
        "fields": [
            row("before"),
            row("after"),
            source,
            transaction,
            field("string", false, "op"),
            field("int64", true, "ts_ms"),
            field("int64", true, "ts_us"),
            field("int64", true, "ts_ns"),
        ],
        "optional": false, "name": format!("{topic}.Envelope"), "version": 2,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_what_kafka_allows() {
        assert_eq!(topic("p", "public", "a-b.c_1"), "p.public.a-b.c_1");
        assert_eq!(topic("p", "Été", "lignes $😀"), "p._t_.lignes____");
    }
}
