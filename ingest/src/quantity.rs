//! Sizes and durations as people write them in a configuration: `64MiB`, `500ms`.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};

const SIZES: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

/// Milliseconds of each unit; `ms` stands before `s`, which it ends in.
const SPANS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// Reads a number of bytes, or text such as `64MiB`.
pub(crate) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let size = deserializer.deserialize_any(Quantity {
        expected: "a number of bytes, or a size such as \"64MiB\"",
        units: &SIZES,
        bare: true,
    })?;
    usize::try_from(size).map_err(|_| de::Error::custom("size is too large"))
}

/// Reads text such as `500ms`.
pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let milliseconds = deserializer.deserialize_any(Quantity {
        expected: "a duration such as \"500ms\" or \"5s\"",
        units: &SPANS,
        bare: false,
    })?;
    Ok(Duration::from_millis(milliseconds))
}

struct Quantity {
    expected: &'static str,
    units: &'static [(&'static str, u64)],
    /// Whether a number without a unit is meant.
    bare: bool,
}

impl Quantity {
    fn parse(&self, text: &str) -> Option<u64> {
        let text = text.trim();
        if let Ok(number) = text.parse() {
            return self.bare.then_some(number);
        }
        let (number, factor) = self
            .units
            .iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
        number.trim_end().parse::<u64>().ok()?.checked_mul(*factor)
    }
}

impl Visitor<'_> for Quantity {
    type Value = u64;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.expected)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
        if self.bare {
            Ok(number)
        } else {
            Err(E::invalid_type(de::Unexpected::Unsigned(number), &self))
        }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<u64, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        self.parse(text)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}
