//! The two dates of an X.509 certificate (RFC 5280, 4.1), read from its DER without looking at anything else.

use chrono::{DateTime, NaiveDateTime, Utc};

/// From when to when a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) begins: DateTime<Utc>,
    pub(super) ends: DateTime<Utc>,
}

const VERSION: u8 = 0xA0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Bytes of a length, at most: four gigabytes.
const LENGTH_BYTES: usize = 4;

impl Validity {
    pub(super) fn of(certificate: &[u8]) -> Option<Self> {
        let signed = Element::first(Element::first(certificate)?.content)?;
        let mut rest = signed.content;
        if Element::first(rest)?.tag == VERSION {
            rest = Element::first(rest)?.rest;
        }
        // Serial number, signature, issuer.
        for _ in 0..3 {
            rest = Element::first(rest)?.rest;
        }
        let begins = Element::first(Element::first(rest)?.content)?;
        let ends = Element::first(begins.rest)?;
        Some(Self {
            begins: begins.time()?,
            ends: ends.time()?,
        })
    }
}

struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Element<'a> {
    fn first(bytes: &'a [u8]) -> Option<Self> {
        let (&tag, bytes) = bytes.split_first()?;
        let (&first, mut bytes) = bytes.split_first()?;
        let mut length = usize::from(first);
        if first & 0x80 != 0 {
            let count = usize::from(first & 0x7f);
            if !(1..=LENGTH_BYTES).contains(&count) {
                return None;
            }
            let (digits, after) = bytes.split_at_checked(count)?;
            length = digits
                .iter()
                .fold(0, |length, digit| (length << 8) | usize::from(*digit));
            bytes = after;
        }
        let (content, rest) = bytes.split_at_checked(length)?;
        Some(Self { tag, content, rest })
    }

    fn time(&self) -> Option<DateTime<Utc>> {
        let text = std::str::from_utf8(self.content).ok()?;
        let digits = text.strip_suffix('Z')?;
        // Two digits of a year are of 1950 to 2049.
        let whole = match self.tag {
            GENERALIZED_TIME => digits.to_owned(),
            UTC_TIME => {
                let century = if digits.get(..2)? < "50" { "20" } else { "19" };
                format!("{century}{digits}")
            }
            _ => return None,
        };
        let time = NaiveDateTime::parse_from_str(&whole, "%Y%m%d%H%M%S").ok()?;
        Some(time.and_utc())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u16::try_from(content.len()).expect("short").to_be_bytes();
        [&[tag, 0x82], &length[..], &content].concat()
    }

    fn certificate(version: &[u8], begins: (u8, &str), ends: (u8, &str)) -> Vec<u8> {
        let [begins, ends] = [begins, ends].map(|(tag, text)| element(tag, &[text.as_bytes()]));
        let dates = element(0x30, &[&begins, &ends]);
        let other = element(0x30, &[b"issuer"]);
        let signed = element(0x30, &[version, &[2, 1, 7], &other, &other, &dates, &other]);
        element(0x30, &[&signed, &other])
    }

    #[test]
    fn both_dates_are_read_in_either_form() {
        let version = element(VERSION, &[&[2, 1, 2]]);
        for version in [&version[..], &[]] {
            let der = certificate(
                version,
                (UTC_TIME, "491231235959Z"),
                (GENERALIZED_TIME, "20500101000000Z"),
            );
            let read = Validity::of(&der).expect("dates");
            assert_eq!(read.begins.to_rfc3339(), "2049-12-31T23:59:59+00:00");
            assert_eq!(read.ends.to_rfc3339(), "2050-01-01T00:00:00+00:00");
        }
        let old = certificate(
            &[],
            (UTC_TIME, "500101000000Z"),
            (UTC_TIME, "991231235959Z"),
        );
        let old = Validity::of(&old).expect("dates");
        assert_eq!(old.begins.to_rfc3339(), "1950-01-01T00:00:00+00:00");
    }

    #[test]
    fn what_is_cut_off_or_none_has_no_dates() {
        let der = certificate(
            &[],
            (UTC_TIME, "260101000000Z"),
            (UTC_TIME, "270101000000Z"),
        );
        let dates = der
            .windows(2)
            .rposition(|pair| pair == b"0Z")
            .expect("dates")
            + 2;
        for length in 0..dates {
            assert_eq!(Validity::of(&der[..length]), None, "{length}");
        }
        for text in ["2601010000Z", "26010100000000", "269901000000Z", "é"] {
            let der = certificate(&[], (UTC_TIME, text), (UTC_TIME, text));
            assert_eq!(Validity::of(&der), None, "{text}");
        }
        assert_eq!(Validity::of(&[0x30, 0x80, 0, 0]), None);
        assert_eq!(Validity::of(&[0x30, 0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1]), None);
    }
}
