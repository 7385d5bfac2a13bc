//! Messages as Debezium 3 sent them for a PostgreSQL table with a column of each type.

use super::*;

const TYPES: &str = "-- @key k1
-- @cdc sequence by generation, source_lsn, _offset; delete when op = 'd'
SELECT
    CAST(after ->> 'k1' AS BIGINT)                                      AS k1,
    CAST(after ->> 'i8' AS BIGINT)                                      AS i8,
    CAST(debezium_decimal(after ->> 'n_38_2', 2) AS DECIMAL(38, 2))     AS n_38_2,
    CAST(debezium_decimal(after ->> 'n_any') AS DECIMAL(38, 3))         AS n_any,
    CAST(after ->> 'f8' AS DOUBLE)                                      AS f8,
    CAST(after ->> 'b' AS BOOLEAN)                                      AS b,
    after ->> 't'                                                       AS t,
    CAST(CAST(after ->> 'd' AS INT) AS DATE)                            AS d,
    local_timestamp(CAST(after ->> 'ts' AS BIGINT))                     AS ts,
    CAST(nullif(after ->> 'tstz', 'infinity') AS TIMESTAMPTZ)           AS tstz,
    decode(after ->> 'by', 'base64')                                    AS bytes,
    after ->> 'arr'                                                     AS arr
FROM bronze.things";

const GALLERY: &str = r#"{"k1": 1, "i8": 9007199254740993, "n_38_2": "EtaH", "n_any": {"scale": 3, "value": "FOoVtaY/Hl/Ciw=="}, "f8": 0.1, "b": true, "t": "é😀", "d": 20393, "ts": 1761982933123456, "tstz": "2025-11-01T05:42:13.123456Z", "by": "3q2+7w==", "arr": [1, 2, null]}"#;

const INFINITE: &str = r#"{"k1": 3, "i8": null, "n_38_2": null, "n_any": null, "f8": "NaN", "b": null, "t": null, "d": 2146033979, "ts": 9223372036854775807, "tstz": "infinity", "by": null, "arr": null}"#;

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_read_by_a_plain_select() {
    let mut world = World::new(TYPES).await;
    let mut refresher = world.refresher().await;
    world
        .append(&[event(1, "c", GALLERY), event(2, "c", INFINITE)])
        .await;
    published(&mut refresher).await;
    let columns = "i8, n_38_2, n_any, f8, b, t, d, ts, tstz, bytes, arr";
    let sql = format!("SELECT {columns} FROM silver.things WHERE k1 = 1");
    let expected = "9007199254740993,12345.67,98765432109876543210.123,0.1,true,é😀,2025-11-01,\
                    2025-11-01T06:42:13.123456Z,2025-11-01T05:42:13.123456Z,deadbeef,[1, 2, null]";
    assert_eq!(world.rows(&sql).await, [expected]);
    let infinite = "SELECT d, ts, tstz, f8 FROM silver.things WHERE k1 = 3";
    assert_eq!(world.rows(infinite).await, ["-,-,-,NaN"]);
    world.append(&[event(3, "u", INFINITE)]).await;
    published(&mut refresher).await;
    assert_eq!(world.rows(infinite).await, ["-,-,-,NaN"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_read_alike_in_every_mode() {
    let money = "-- @key id
-- @cdc sequence by generation, source_lsn, _offset; delete when op = 'd'
SELECT CAST(after ->> 'id' AS BIGINT) AS id, CAST(debezium_decimal(after ->> 'n', 2) AS DECIMAL(12, 2)) AS n,
    CAST(CASE WHEN (after ->> 'n') NOT LIKE '%E%' THEN after ->> 'n' ELSE '12345.67' END AS DECIMAL(12, 2)) AS plain,
    local_timestamp(CAST(after ->> 'at' AS BIGINT)) AS at
FROM bronze.things";
    let mut world = World::new(money).await;
    let mut refresher = world.refresher().await;
    let wrapped = r#"{"schema":{"type":"struct","fields":[
        {"type":"struct","field":"before","fields":[]},
        {"type":"struct","field":"after","fields":[
            {"type":"int64","field":"id"},
            {"type":"bytes","field":"n","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}},
            {"type":"int64","field":"at","name":"io.debezium.time.Timestamp"}]}]},
        "payload":{"before":null,"after":{"id":1,"n":"EtaH","at":0},"op":"c"}}"#;
    let with_schema = Message {
        value: Some(wrapped.replace(r#""field":"before","fields":[]"#, r#""field":"source""#)),
        ..event(1, "c", "{}")
    };
    world
        .append(&[
            with_schema,
            event(2, "c", r#"{"id":2,"n":"12345.67","at":0}"#),
            event(3, "c", r#"{"id":3,"n":12345.67,"at":0}"#),
            event(4, "c", r#"{"id":4,"n":1.234567E4,"at":0}"#),
            event(5, "c", r#"{"id":5,"n":"NaN","at":0}"#),
        ])
        .await;
    published(&mut refresher).await;
    let rows = world
        .rows("SELECT id, n, plain, at FROM silver.things ORDER BY id")
        .await;
    let expected: Vec<String> = (1..5)
        .map(|id| format!("{id},12345.67,12345.67,1969-12-31T23:00:00Z"))
        .collect();
    assert_eq!(rows, expected);
    let aside = "SELECT id, rule FROM silver.things__quarantine";
    assert_eq!(world.rows(aside).await, ["5,evaluation"]);
}

/// What stands for it is base64, as a number would be.
#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_was_left_out_is_null_with_a_schema_too() {
    let mut world = World::new(THINGS).await;
    let mut refresher = world.refresher().await;
    let wrapped = r#"{"schema":{"type":"struct","fields":[
        {"type":"struct","field":"after","fields":[
            {"type":"bytes","field":"t","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}}]}]},
        "payload":{"before":null,"op":"u",
            "after":{"id":1,"n":1,"t":"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="}}}"#;
    let left_out = Message {
        value: Some(wrapped.to_owned()),
        ..event(1, "u", "{}")
    };
    world.append(&[left_out]).await;
    published(&mut refresher).await;
    assert_eq!(things(&world).await, ["1,1,-"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_time_zone_builds_what_reads_it_anew() {
    let times = "-- @key id
-- @cdc sequence by generation, source_lsn, _offset; delete when op = 'd'
SELECT CAST(after ->> 'id' AS BIGINT) AS id, local_timestamp(CAST(after ->> 'n' AS BIGINT)) AS at
FROM bronze.things";
    let mut world = World::new(times).await;
    world.append(&[event(1, "c", r#"{"id":1,"n":0}"#)]).await;
    let mut refresher = world.refresher().await;
    published(&mut refresher).await;
    let at = "SELECT at FROM silver.things";
    assert_eq!(world.rows(at).await, ["1969-12-31T23:00:00Z"]);
    drop(refresher);
    world.source.timezone = "UTC".to_owned();
    let mut refresher = world.refresher().await;
    published(&mut refresher).await;
    assert_eq!(world.rows(at).await, ["1970-01-01T00:00:00Z"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decimal_that_the_lock_declares_is_read_in_every_mode_without_a_schema() {
    let money = "-- @key id
-- @cdc sequence by generation, source_lsn, _offset; delete when op = 'd'
SELECT CAST(t.after ->> 'id' AS BIGINT) AS id, CAST(t.after ->> 'n' AS DECIMAL(12, 2)) AS n
FROM bronze.things AS t WHERE (after ->> 'n') <> '0.00'";
    let mut world = World::new(money).await;
    let lock = |of_n: &str| {
        let table = "format = 1\n[bronze.things]\ntopic = \"t.public.things\"\n";
        format!("{table}[bronze.things.fields]\nid = \"int64\"\nn = \"{of_n}\"\n")
    };
    world.write("sources.lock", &lock("decimal"));
    world
        .append(&[
            event(1, "c", r#"{"id":1,"n":"12345.67"}"#),
            event(2, "c", r#"{"id":2,"n":12345.67}"#),
            event(3, "c", r#"{"id":3,"n":"EtaH"}"#),
            event(4, "c", r#"{"id":4,"n":"/w=="}"#),
            event(5, "c", r#"{"id":5,"n":1.5E9}"#),
            event(6, "c", r#"{"id":6,"n":null}"#),
            event(7, "c", r#"{"id":7,"n":"1234"}"#),
            event(8, "c", r#"{"id":8,"n":"AA=="}"#),
        ])
        .await;
    let mut refresher = world.refresher().await;
    published(&mut refresher).await;
    let aside = "SELECT id FROM silver.things__quarantine ORDER BY id";
    let unread = world.rows(aside).await;
    assert!(unread.contains(&"3".to_owned()), "{unread:?}");

    world.write("sources.lock", &lock("decimal(12, 2)"));
    published(&mut refresher).await;
    let rows = "SELECT id, n FROM silver.things ORDER BY id";
    assert_eq!(
        world.rows(rows).await,
        [
            "1,12345.67",
            "2,12345.67",
            "3,12345.67",
            "4,-0.01",
            "5,1500000000.00"
        ],
        "the WHERE leaves out NULL and zero"
    );
    assert_eq!(
        world.rows(aside).await,
        ["7"],
        "digits that are two numbers are neither"
    );
    drop(refresher);
    world
        .append(&[event(9, "u", r#"{"id":1,"n":"EtaI"}"#)])
        .await;
    let mut refresher = world.refresher().await;
    published(&mut refresher).await;
    let first = "SELECT n FROM silver.things WHERE id = 1";
    assert_eq!(world.rows(first).await, ["12345.68"], "after a restart too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_beyond_every_type_keeps_its_row_aside() {
    let mut world = World::new(THINGS).await;
    let mut refresher = world.refresher().await;
    world
        .append(&[
            event(1, "c", r#"{"id":1,"n":13e46666663,"t":"beyond"}"#),
            event(2, "c", r#"{"id":2,"n":2,"t":"within"}"#),
        ])
        .await;
    published(&mut refresher).await;
    assert_eq!(things(&world).await, ["2,2,within"]);
    assert_eq!(aside(&world).await, ["1,-,evaluation,0"]);
}
