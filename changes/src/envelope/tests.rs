use proptest::prelude::*;

use super::*;

#[test]
fn reads_an_update_without_schema() {
    let value =
        br#"{"before":null,"after":{"id":2},"source":{"lsn":7,"ts_ms":9},"op":"u","ts_ms":10}"#;
    let envelope = Envelope::parse(value).expect("an envelope");
    assert_eq!(envelope.op, Op::Update);
    assert_eq!(envelope.before.map(RawValue::get), None);
    assert_eq!(envelope.after.map(RawValue::get), Some(r#"{"id":2}"#));
    assert_eq!(
        (envelope.source_lsn, envelope.source_ts_ms),
        (Some(7), Some(9))
    );
}

#[test]
fn reads_through_the_schema_wrapper() {
    let value =
        br#"{"schema":{"type":"struct"},"payload":{"before":{"id":1},"after":null,"op":"d"}}"#;
    let envelope = Envelope::parse(value).expect("an envelope");
    assert_eq!(envelope.op, Op::Delete);
    assert_eq!(envelope.before.map(RawValue::get), Some(r#"{"id":1}"#));
    assert_eq!(envelope.source_lsn, None);
}

#[test]
fn a_source_of_another_shape_says_nothing() {
    for source in [
        "null",
        "5",
        "-5",
        "1.5",
        "true",
        "\"text\"",
        "[1,{\"lsn\":2}]",
        "{}",
        r#"{"lsn":"7","ts_ms":null}"#,
    ] {
        let value = format!(r#"{{"source":{source},"op":"c"}}"#);
        let envelope = Envelope::parse(value.as_bytes()).expect(source);
        assert_eq!(
            (envelope.source_lsn, envelope.source_ts_ms),
            (None, None),
            "{source}"
        );
    }
    let value = br#"{"op":"c","source":{"a":{"lsn":1},"lsn":-3,"b":[],"ts_ms":4}}"#;
    let envelope = Envelope::parse(value).expect("an envelope");
    assert_eq!(
        (envelope.source_lsn, envelope.source_ts_ms),
        (Some(-3), Some(4))
    );
}

#[test]
fn reads_the_last_commit_before_a_change() {
    let commit = |sequence: &str| {
        let value = format!(r#"{{"source":{{"sequence":{sequence}}},"op":"c"}}"#);
        let envelope = Envelope::parse(value.as_bytes()).expect("an envelope");
        envelope.source_commit
    };
    assert_eq!(
        commit(r#""[\"26375760\",\"7\"]""#),
        CommitPosition::After(26_375_760)
    );
    assert_eq!(commit(r#""[null,\"26435112\"]""#), CommitPosition::None);
    for other in ["null", "5", "[]", r#""""#, r#""[]""#, r#""[\"x\"]""#] {
        assert_eq!(commit(other), CommitPosition::Untold, "{other}");
    }
}

#[test]
fn names_the_fault_of_what_is_no_envelope() {
    let fault = |value: &str| Envelope::parse(value.as_bytes()).expect_err("no envelope");
    assert_eq!(fault(""), EnvelopeFault::Empty);
    assert_eq!(fault(" \n"), EnvelopeFault::Empty);
    assert_eq!(fault("[1]"), EnvelopeFault::NotAnObject);
    assert_eq!(fault("{}"), EnvelopeFault::NoOp);
    assert_eq!(fault(r#"{"op":"x"}"#), EnvelopeFault::UnknownOp);
    assert_eq!(fault(r#"{"op":5}"#), EnvelopeFault::UnknownOp);
    assert_eq!(
        fault(r#"{"op":"c","after":[1]}"#),
        EnvelopeFault::ImageNotAnObject("after")
    );
    assert!(matches!(fault("{\"op\""), EnvelopeFault::NotJson(_)));
    assert!(matches!(
        Envelope::parse(&[0xff]),
        Err(EnvelopeFault::NotJson(_))
    ));
}

#[test]
fn a_fault_never_quotes_the_payload() {
    let fault = Envelope::parse(br#"{"op":"c","after":{"salaire":"secret-42"}"#).expect_err("cut");
    assert!(!fault.to_string().contains("secret"), "{fault}");
}

proptest! {
    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Envelope::parse(&bytes);
    }
}
