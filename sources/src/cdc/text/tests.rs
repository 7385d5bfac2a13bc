use super::*;

fn written(kind: &Kind, text: &str) -> String {
    let mut out = Vec::new();
    write(kind, text, &mut out).expect(text);
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn what_debezium_wrote_for_each_type() {
    let precise = Kind::Decimal {
        precision: 38,
        scale: 2,
    };
    let zoned = Kind::TimestampWithZone { digits: 6 };
    let ints = Kind::Array(Box::new(Kind::Int32));
    for (kind, text, expected) in [
        (Kind::Bool, "t", "true"),
        (Kind::Int64, "9007199254740993", "9007199254740993"),
        (Kind::Float32, "1.5", "1.5"),
        (Kind::Float64, "1", "1.0"),
        (Kind::Float64, "NaN", "\"NaN\""),
        (precise, "12345.67", "\"EtaH\""),
        (Kind::DecimalText { scale: 2 }, "30940.00", "\"30940.00\""),
        (
            Kind::Text(None),
            "é😀\"\\\n\u{1}",
            "\"é😀\\\"\\\\\\n\\u0001\"",
        ),
        (Kind::Date { connect: false }, "2025-11-01", "20393"),
        (Kind::Date { connect: false }, "infinity", "2146033979"),
        (Kind::Date { connect: false }, "-infinity", "-2147472691"),
        (Kind::TimeMicros, "07:42:13.123456", "27733123456"),
        (Kind::TimeMicros, "24:00:00", "86400000000"),
        (
            Kind::TimestampMicros,
            "2025-11-01 07:42:13.123456",
            "1761982933123456",
        ),
        (
            Kind::TimestampMillis { connect: false },
            "2025-11-01 07:42:13.123",
            "1761982933123",
        ),
        (Kind::TimestampMicros, "infinity", "9223372036854775807"),
        (
            zoned.clone(),
            "2025-11-01 05:42:13.123456+00",
            "\"2025-11-01T05:42:13.123456Z\"",
        ),
        (zoned, "infinity", "\"infinity\""),
        (Kind::Interval, "1 day 02:03:04", "93784000000"),
        (Kind::Bytes, "\\xdeadbeef", "\"3q2+7w==\""),
        (ints.clone(), "{1,2,NULL}", "[1,2,null]"),
        (ints.clone(), "{}", "[]"),
        (ints, "[0:1]={1,2}", "[1,2]"),
    ] {
        assert_eq!(written(&kind, text), expected, "{kind:?}");
    }
    let texts = Kind::Array(Box::new(Kind::Text(None)));
    assert_eq!(
        written(&texts, r#"{a,"b,\"c\\",NULL,"NULL"}"#),
        r#"["a","b,\"c\\",null,"NULL"]"#
    );
    assert_eq!(written(&texts, "{{a,b},{c,d}}"), r#"[["a","b"],["c","d"]]"#);
}

#[test]
fn unscaled_numbers_are_the_shortest_there_are() {
    for (digits, negative, expected) in [
        ("0", false, vec![0]),
        ("000", true, vec![0]),
        ("127", false, vec![0x7f]),
        ("128", false, vec![0, 0x80]),
        ("128", true, vec![0x80]),
        ("129", true, vec![0xff, 0x7f]),
        ("255", true, vec![0xff, 0x01]),
        ("256", true, vec![0xff, 0x00]),
        ("1", true, vec![0xff]),
        ("65536", false, vec![1, 0, 0]),
    ] {
        assert_eq!(
            twos_complement(digits, negative),
            expected,
            "{digits} {negative}"
        );
    }
    for number in [
        i128::MAX,
        i128::MIN,
        10_i128.pow(30),
        -(10_i128.pow(30)),
        -32768,
        32768,
    ] {
        let bytes = twos_complement(&number.unsigned_abs().to_string(), number < 0);
        let fill = if number < 0 { 0xff } else { 0 };
        let mut whole = [fill; 16];
        whole[16 - bytes.len()..].copy_from_slice(&bytes);
        assert_eq!(i128::from_be_bytes(whole), number);
    }
}

#[test]
fn times_before_christ_and_in_zones() {
    assert_eq!(date("0001-01-01 BC"), Some(-719_528));
    assert_eq!(date("5874897-12-31"), Some(2_145_042_905));
    assert_eq!(
        time_with_zone("01:30:00.5+02"),
        Some("23:30:00.5Z".to_owned())
    );
    assert_eq!(
        time_with_zone("05:00:00-03:30"),
        Some("08:30:00Z".to_owned())
    );
    assert_eq!(interval("-1 days +00:00:01.5"), Some(-86_398_500_000));
}

#[test]
fn what_is_none_of_the_kind_is_refused() {
    for (kind, text) in [
        (Kind::Int32, "1.5"),
        (Kind::Int32, ""),
        (Kind::Bool, "yes"),
        (Kind::Bytes, "\\x0"),
        (Kind::Date { connect: false }, "tomorrow"),
        (Kind::TimestampMicros, "2025-11-01"),
        (Kind::Array(Box::new(Kind::Int32)), "{1,"),
    ] {
        assert!(write(&kind, text, &mut Vec::new()).is_none(), "{text}");
    }
}

/// As Java's conversion of a double does, which Debezium makes the number with.
#[test]
fn an_interval_beyond_the_range_is_its_end() {
    for (text, expected) in [
        ("178000000 years", i64::MAX),
        ("-178000000 years -2147483648 days", i64::MIN),
        ("2562047788:00:54.775807", i64::MAX),
        ("-2562047788:00:54.775808", i64::MIN),
        ("1 day 2562047788:00:54.775807", i64::MAX),
        ("178000000 years -2562047788:00:54.775808", i64::MAX),
    ] {
        assert_eq!(interval(text), Some(expected), "{text}");
    }
    let absurd = "9223372036854775807 years";
    assert_eq!(interval(absurd), None);
    assert_eq!(time("9223372036854775807:00:00"), None);
    assert_eq!(time_with_zone("23:00:00-2562047788:00:54"), None);
}

#[test]
fn no_text_breaks_any_kind() {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};
    const PIECES: [&str; 24] = [
        "9223372036854775807",
        "-",
        "+",
        ":",
        ".",
        " ",
        "{",
        "}",
        ",",
        "\"",
        "\\",
        "\\x",
        "0",
        "1e9",
        " BC",
        "years",
        " mons ",
        " days ",
        "NULL",
        "[",
        "]={",
        "é",
        "infinity",
        "2025-11-01",
    ];
    let kinds = [
        Kind::Bool,
        Kind::Int64,
        Kind::Float64,
        Kind::DecimalDouble,
        Kind::Text(None),
        Kind::Decimal {
            precision: 9,
            scale: -2,
        },
        Kind::VariableDecimal,
        Kind::Date { connect: false },
        Kind::TimeMillis { connect: false },
        Kind::TimeMicros,
        Kind::TimeWithZone,
        Kind::TimestampMillis { connect: false },
        Kind::TimestampMicros,
        Kind::TimestampWithZone { digits: 6 },
        Kind::Interval,
        Kind::Bytes,
        Kind::Bits(12),
        Kind::Array(Box::new(Kind::TimestampMicros)),
    ];
    let mut rng = SmallRng::seed_from_u64(11);
    for _ in 0..20_000 {
        let pieces = rng.random_range(0..8);
        let text: String = (0..pieces)
            .map(|_| PIECES[rng.random_range(0..PIECES.len())])
            .collect();
        for kind in &kinds {
            let mut out = Vec::new();
            if write(kind, &text, &mut out).is_some() {
                let written = serde_json::from_slice::<serde_json::Value>(&out);
                assert!(written.is_ok(), "{kind:?} {text:?}");
            }
        }
    }
}
