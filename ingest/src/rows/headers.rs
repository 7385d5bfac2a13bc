//! The headers of a message as the text of bronze's `headers` column.

use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rdkafka::message::Headers;

/// Ends the name of a header whose value is no text and stands in base64.
const BASE64_SUFFIX: &str = ":base64";

/// What a row keeps of a message's headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MessageHeaders {
    /// A JSON array of `[name, value or null]`; none when the message has no headers.
    pub(crate) json: Option<String>,
    /// The source's generation; 0 unless a header says otherwise.
    pub(crate) generation: i64,
    pub(crate) unreadable: bool,
}

impl MessageHeaders {
    pub(crate) fn read(headers: &impl Headers) -> Self {
        // rdkafka unwraps the UTF-8 of a header's name, and the name is the sender's choice.
        catch_unwind(AssertUnwindSafe(|| {
            let pairs = headers.iter().map(|header| (header.key, header.value));
            Self::from_pairs(pairs)
        }))
        .unwrap_or_else(|_| Self {
            unreadable: true,
            ..Self::default()
        })
    }

    /// The headers of a stored message, with the number of its next attempt.
    pub(crate) fn of_attempt(json: Option<&str>, attempt: i64) -> Self {
        let stored = json.and_then(|json| serde_json::from_str(json).ok());
        let mut pairs: Vec<(String, Option<String>)> = stored.unwrap_or_default();
        pairs.retain(|(name, _)| name != engine::ATTEMPT_HEADER);
        pairs.push((engine::ATTEMPT_HEADER.to_owned(), Some(attempt.to_string())));
        let generations = pairs
            .iter()
            .filter(|(name, _)| name == changes::GENERATION_HEADER);
        let generation = generations
            .filter_map(|(_, value)| decimal(value.as_ref()?.as_bytes()))
            .next_back();
        Self {
            json: Some(serde_json::json!(pairs).to_string()),
            generation: generation.unwrap_or(0),
            unreadable: false,
        }
    }

    pub(super) fn from_pairs<'a>(pairs: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>) -> Self {
        let mut generation = 0;
        let mut entries = Vec::new();
        for (name, value) in pairs {
            if name == changes::GENERATION_HEADER {
                generation = value.and_then(decimal).unwrap_or(generation);
            }
            entries.push(match value.map(std::str::from_utf8) {
                None => (name.to_owned(), None),
                Some(Ok(text)) => (name.to_owned(), Some(text.to_owned())),
                Some(Err(_)) => (
                    format!("{name}{BASE64_SUFFIX}"),
                    value.map(|bytes| STANDARD.encode(bytes)),
                ),
            });
        }
        let json = (!entries.is_empty()).then(|| serde_json::json!(entries).to_string());
        Self {
            json,
            generation,
            unreadable: false,
        }
    }
}

fn decimal(value: &[u8]) -> Option<i64> {
    let number = std::str::from_utf8(value).ok()?.parse().ok()?;
    (number >= 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::message::Header;

    #[track_caller]
    fn check(pairs: &[(&str, Option<&[u8]>)], json: Option<&str>, generation: i64) {
        let read = MessageHeaders::from_pairs(pairs.iter().copied());
        assert_eq!(read.json.as_deref(), json);
        assert_eq!(read.generation, generation);
    }

    #[test]
    fn headers_are_pairs_in_their_order() {
        check(&[], None, 0);
        check(
            &[
                ("a", Some(b"x")),
                ("a", None),
                ("b\"", Some("é".as_bytes())),
            ],
            Some(r#"[["a","x"],["a",null],["b\"","é"]]"#),
            0,
        );
        check(&[("", Some(b""))], Some(r#"[["",""]]"#), 0);
    }

    #[test]
    fn an_attempt_is_counted_once() {
        let generation = changes::GENERATION_HEADER;
        let stored = format!(r#"[["{generation}","7"],["sportlake.attempt","2"],["a",null]]"#);
        let again = MessageHeaders::of_attempt(Some(&stored), 3);
        let expected = format!(r#"[["{generation}","7"],["a",null],["sportlake.attempt","3"]]"#);
        assert_eq!(again.json.as_deref(), Some(expected.as_str()));
        assert_eq!(again.generation, 7);
        let first = MessageHeaders::of_attempt(None, 2);
        assert_eq!(
            first.json.as_deref(),
            Some(r#"[["sportlake.attempt","2"]]"#)
        );
        assert_eq!(first.generation, 0);
    }

    #[test]
    fn a_value_that_is_no_text_stands_in_base64() {
        check(
            &[("k", Some(&[0xff, 0]))],
            Some(r#"[["k:base64","/wA="]]"#),
            0,
        );
    }

    #[test]
    fn the_generation_is_decimal_text() {
        let name = changes::GENERATION_HEADER;
        for (value, generation) in [
            (Some(b"7".as_slice()), 7),
            (Some(b"-1"), 0),
            (Some(b"seven"), 0),
            (Some(b"99999999999999999999"), 0),
            (Some(&[0xff]), 0),
            (None, 0),
        ] {
            let read = MessageHeaders::from_pairs([(name, value)].into_iter());
            assert_eq!(read.generation, generation, "{value:?}");
        }
    }

    /// Stands in for rdkafka's headers when a name is no UTF-8.
    struct BadName;

    impl Headers for BadName {
        fn count(&self) -> usize {
            1
        }

        fn try_get(&self, _: usize) -> Option<Header<'_, &[u8]>> {
            let name =
                std::str::from_utf8(std::hint::black_box(&[0xff])).expect("rdkafka's assumption");
            Some(Header {
                key: name,
                value: None,
            })
        }
    }

    #[test]
    fn a_name_that_is_no_text_makes_the_headers_unreadable() {
        let read = MessageHeaders::read(&BadName);
        assert!(read.unreadable);
        assert_eq!(read.json, None);
    }
}
