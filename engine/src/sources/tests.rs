use super::*;
use crate::project::{FieldType, Project};

fn event(after: &str) -> Event {
    let value = format!(
        r#"{{"before":null,"after":{after},"op":"u","source":{{"name":"t","schema":"public","table":"people"}}}}"#
    );
    Event {
        key: br#"{"id":1}"#.to_vec(),
        value: value.into_bytes(),
    }
}

/// Events as they came, oldest first.
fn shape(rows: &[&str]) -> Shape {
    let newest_first: Vec<Event> = rows.iter().rev().map(|row| event(row)).collect();
    Shape::of(&newest_first).expect("rows")
}

fn lock() -> SourcesLock {
    let text = "format = 1\n[bronze.people]\ntopic = \"t.public.people\"\nkey = [\"id\"]\n\
                [bronze.people.fields]\nid = \"int64\"\nborn = \"date\"\nname = \"string\"\n";
    SourcesLock::parse(text).expect("a lock")
}

/// The differences that rows make, one text each.
fn told(rows: &[&str]) -> Vec<String> {
    let sql = "SELECT after ->> 'name' AS name,\n p.after ->> 'born' AS born FROM bronze.people p";
    let texts = BTreeMap::from([("silver/people.sql".to_owned(), sql.to_owned())]);
    let seen = BTreeMap::from([("people".to_owned(), shape(rows))]);
    let drifts = drift(&lock(), &seen, &Project::from_texts(texts));
    drifts.iter().map(ToString::to_string).collect()
}

#[test]
fn rows_as_the_lock_says_make_no_difference() {
    let row = r#"{"id":1,"born":10000,"name":"Anne"}"#;
    assert_eq!(told(&[row]), [""; 0]);
    let empty = r#"{"id":1,"born":null,"name":null}"#;
    assert_eq!(told(&[empty]), [""; 0], "NULL is of any type");
}

#[test]
fn a_field_added_dropped_or_retyped_is_told_with_its_lines() {
    let old = r#"{"id":1,"born":10000,"name":"Anne"}"#;
    assert_eq!(
        told(&[
            old,
            old,
            r#"{"id":1,"born":10000,"name":"Anne","city":"Lattes"}"#
        ]),
        ["bronze.people has a new field city (string)"]
    );
    assert_eq!(
        told(&[old, old, r#"{"id":1,"born":10000}"#]),
        ["bronze.people has no field name any more; read at silver/people.sql:1:18"]
    );
    assert_eq!(
        told(&[old, r#"{"id":1,"born":"1997-05-19","name":"Anne"}"#]),
        ["field born of bronze.people was date and is string; read at silver/people.sql:2:14"]
    );
}

#[test]
fn a_source_that_leaves_nulls_out_has_dropped_nothing() {
    let (with, without) = (r#"{"id":1,"born":1,"name":"A"}"#, r#"{"id":1,"born":1}"#);
    assert_eq!(told(&[with, without, with, without]), [""; 0]);
}

#[test]
fn a_new_table_is_inferred() {
    let row = r#"{"id":1,"pay":"10.50","at":"2025-11-01T05:42:13.123456Z","ok":true,"km":1.5,"tags":[1],"x":{}}"#;
    let seen = BTreeMap::from([("people".to_owned(), shape(&[row]))]);
    let lock = updated(&SourcesLock::default(), &seen);
    let people = &lock.bronze["people"];
    assert_eq!(
        (people.topic.as_str(), people.key.join(",")),
        ("t.public.people", "id".to_owned())
    );
    let expected = [
        ("at", FieldType::TimestampTz),
        ("id", FieldType::Int64),
        ("km", FieldType::Double),
        ("ok", FieldType::Boolean),
        ("pay", FieldType::Decimal),
        ("tags", FieldType::Array),
        ("x", FieldType::Json),
    ];
    let found: Vec<(&str, FieldType)> = people
        .fields
        .iter()
        .map(|(name, field)| (name.as_str(), *field))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn a_messages_own_schema_is_believed() {
    let value = r#"{"schema":{"type":"struct","fields":[
        {"type":"struct","field":"before","fields":[]},
        {"type":"struct","field":"after","fields":[
            {"type":"int32","field":"born","name":"io.debezium.time.Date"},
            {"type":"bytes","field":"pay","name":"org.apache.kafka.connect.data.Decimal"},
            {"type":"bytes","field":"rate","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2","connect.decimal.precision":"12"}},
            {"type":"int64","field":"at","name":"io.debezium.time.MicroTimestamp"}]}]},
        "payload":{"op":"c","before":null,"after":{"born":1,"pay":"AA==","rate":"AA==","at":2}}}"#;
    let event = Event {
        key: br#"{"schema":{},"payload":{"a":1,"b":2}}"#.to_vec(),
        value: value.as_bytes().to_vec(),
    };
    let shape = Shape::of(&[event]).expect("a row");
    assert_eq!(shape.key(), ["a", "b"]);
    let fields = shape.fields(None);
    assert_eq!(fields["born"], FieldType::Date);
    assert_eq!(fields["pay"], FieldType::Decimal);
    assert_eq!(fields["at"], FieldType::Timestamp);
    assert_eq!(fields["rate"].to_string(), "decimal(12, 2)");
    let rate = |known: &str| {
        let known = known.parse().expect("a type");
        let known = BTreeMap::from([("rate".to_owned(), known)]);
        shape.fields(Some(&known))["rate"].to_string()
    };
    assert_eq!(
        rate("decimal"),
        "decimal",
        "what says less is no other type"
    );
    assert_eq!(rate("decimal(12, 3)"), "decimal(12, 2)");
}

#[test]
fn as_many_files_are_read_as_hold_the_newest_events() {
    let file = |second: u64, rows: u64| DataFile {
        path: format!("{second}.parquet"),
        bytes: 1,
        rows: Some(rows),
        partition_values: Default::default(),
        stats: Some(format!(
            r#"{{"maxValues":{{"_ingested_at":"2026-01-01T00:{:02}:{:02}Z"}}}}"#,
            second / 60,
            second % 60
        )),
    };
    let paths = |rows| -> Vec<String> {
        let files = newest((0..500).map(|second| file(second, rows)).collect());
        files.into_iter().map(|file| file.path).collect()
    };
    assert_eq!(paths(600), ["499.parquet", "498.parquet"]);
    let small = paths(1);
    assert_eq!((small.len(), small[0].as_str()), (FILES, "499.parquet"));
}
