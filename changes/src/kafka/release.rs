//! Which release of Kafka brokers speak like. They do not say their own: what they take of `Fetch` tells releases apart.

/// How a client's log tells what brokers take of `Fetch`, before the lowest and the highest version.
const FETCH: &str = "ApiKey Fetch (1) Versions ";

/// Versions of `Fetch` that brokers take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fetch {
    lowest: i16,
    highest: i16,
}

impl Fetch {
    /// What a line of the client's log says of it.
    pub(super) fn read(line: &str) -> Option<Self> {
        let (_, versions) = line.split_once(FETCH)?;
        let (lowest, highest) = versions.trim().split_once("..")?;
        Some(Self {
            lowest: lowest.parse().ok()?,
            highest: highest.parse().ok()?,
        })
    }

    /// The release of Kafka that takes the same; brokers of other makers take what an older one did.
    pub(super) fn release(self) -> &'static str {
        // Source: the comments of FetchRequest.json in Kafka's repository, and KIP-896 for the lowest.
        match self.highest {
            ..=9 => "2.1 or older",
            10 => "2.2",
            11 => "2.3 to 2.6",
            12 => "2.7 to 3.0",
            13 => "3.1 to 3.4",
            14 | 15 => "3.5 or 3.6",
            16 => "3.7 or 3.8",
            17 if self.lowest < 4 => "3.9",
            17 => "4.0",
            18.. => "4.1 or newer",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_told_apart_by_what_they_take() {
        for (line, expected) in [
            (
                "[thrd:a:9092/1]: a:9092/1:   ApiKey Fetch (1) Versions 4..18",
                Some("4.1 or newer"),
            ),
            ("  ApiKey Fetch (1) Versions 4..17", Some("4.0")),
            ("  ApiKey Fetch (1) Versions 0..17", Some("3.9")),
            ("  ApiKey Fetch (1) Versions 4..11", Some("2.3 to 2.6")),
            ("  ApiKey Fetch (1) Versions 0..3", Some("2.1 or older")),
            ("  ApiKey Fetch (1) Versions 4..x", None),
            ("  ApiKey Produce (0) Versions 0..12", None),
        ] {
            assert_eq!(Fetch::read(line).map(Fetch::release), expected, "{line}");
        }
    }
}
