//! What each request looks like, walked before the protocol crate decodes it: that crate allocates for a count
//! as soon as it reads one, so a few hostile bytes could ask for gigabytes.

use kafka_protocol::messages::ApiKey;

/// Elements of all arrays in a request together.
const MAX_ELEMENTS: usize = 200_000;

enum Field {
    /// So many bytes.
    Fixed(usize),
    /// Text, its length in two bytes.
    Text,
    /// Bytes, their length in four bytes.
    Data,
    List(&'static [Field]),
    /// Present from this version on.
    Since(i16, &'static Field),
    /// Present up to this version.
    Until(i16, &'static Field),
}

use Field::{Data, Fixed, List, Since, Text, Until};

/// `Some` if `body` is a request of this kind whose counts and lengths are true.
pub(super) fn check(api: ApiKey, version: i16, body: &[u8]) -> Option<()> {
    let mut walk = Walk {
        rest: body,
        version,
        elements: 0,
    };
    walk.fields(shape(api)?)
}

/// The non-flexible encoding of a request: [`super::api::VERSIONS`] offers no other, except for `ApiVersions`.
fn shape(api: ApiKey) -> Option<&'static [Field]> {
    Some(match api {
        ApiKey::Produce => &[Text, Fixed(6), List(&[Text, List(&[Fixed(4), Data])])],
        ApiKey::Fetch => &[
            Fixed(12),
            Fixed(4),
            Fixed(1),
            Since(7, &Fixed(8)),
            List(&[
                Text,
                List(&[
                    Fixed(4),
                    Since(9, &Fixed(4)),
                    Fixed(8),
                    Since(5, &Fixed(8)),
                    Fixed(4),
                ]),
            ]),
            Since(7, &List(&[Text, List(&[Fixed(4)])])),
            Since(11, &Text),
        ],
        ApiKey::ListOffsets => &[
            Fixed(4),
            Since(2, &Fixed(1)),
            List(&[Text, List(&[Fixed(4), Since(4, &Fixed(4)), Fixed(8)])]),
        ],
        ApiKey::Metadata => &[List(&[Text]), Since(4, &Fixed(1)), Since(8, &Fixed(2))],
        ApiKey::OffsetCommit => &[
            Text,
            Fixed(4),
            Text,
            Since(7, &Text),
            Until(4, &Fixed(8)),
            List(&[Text, List(&[Fixed(4), Fixed(8), Since(6, &Fixed(4)), Text])]),
        ],
        ApiKey::OffsetFetch => &[Text, List(&[Text, List(&[Fixed(4)])])],
        ApiKey::FindCoordinator => &[Text, Since(1, &Fixed(1))],
        ApiKey::JoinGroup => &[
            Text,
            Fixed(4),
            Since(1, &Fixed(4)),
            Text,
            Since(5, &Text),
            Text,
            List(&[Text, Data]),
        ],
        ApiKey::Heartbeat => &[Text, Fixed(4), Text, Since(3, &Text)],
        ApiKey::LeaveGroup => &[Text, Until(2, &Text), Since(3, &List(&[Text, Text]))],
        ApiKey::SyncGroup => &[Text, Fixed(4), Text, Since(3, &Text), List(&[Text, Data])],
        ApiKey::DescribeGroups => &[List(&[Text]), Since(3, &Fixed(1))],
        ApiKey::ListGroups => &[],
        ApiKey::CreateTopics => &[
            List(&[
                Text,
                Fixed(6),
                List(&[Fixed(4), List(&[Fixed(4)])]),
                List(&[Text, Text]),
            ]),
            Fixed(5),
        ],
        ApiKey::DeleteTopics => &[List(&[Text]), Fixed(4)],
        ApiKey::InitProducerId => &[Text, Fixed(4)],
        ApiKey::OffsetForLeaderEpoch => &[Since(3, &Fixed(4)), List(&[Text, List(&[Fixed(12)])])],
        ApiKey::DescribeConfigs => &[
            List(&[Fixed(1), Text, List(&[Text])]),
            Fixed(1),
            Since(3, &Fixed(1)),
        ],
        ApiKey::CreatePartitions => &[
            List(&[Text, Fixed(4), List(&[List(&[Fixed(4)])])]),
            Fixed(5),
        ],
        ApiKey::DeleteGroups => &[List(&[Text])],
        _ => return None,
    })
}

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    elements: usize,
}

impl Walk<'_> {
    fn fields(&mut self, fields: &[Field]) -> Option<()> {
        for field in fields {
            self.field(field)?;
        }
        Some(())
    }

    fn field(&mut self, field: &Field) -> Option<()> {
        match field {
            Fixed(bytes) => self.skip(*bytes),
            Text => {
                let length = i16::from_be_bytes(self.take()?);
                self.skip(present(i32::from(length))?)
            }
            Data => {
                let length = i32::from_be_bytes(self.take()?);
                self.skip(present(length)?)
            }
            List(element) => {
                let count = present(i32::from_be_bytes(self.take()?))?;
                self.elements = self.elements.checked_add(count)?;
                // The elements are walked too, hence no more of them than bytes.
                if self.elements > MAX_ELEMENTS || count > self.rest.len() {
                    return None;
                }
                for _ in 0..count {
                    self.fields(element)?;
                }
                Some(())
            }
            Since(version, field) if self.version >= *version => self.field(field),
            Until(version, field) if self.version <= *version => self.field(field),
            Since(..) | Until(..) => Some(()),
        }
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.rest = self.rest.get(bytes..)?;
        Some(())
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }
}

/// A length or count; -1 stands for null.
fn present(length: i32) -> Option<usize> {
    usize::try_from(if length == -1 { 0 } else { length }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::api::VERSIONS;

    #[test]
    fn every_offered_request_has_a_shape() {
        for (api, ..) in VERSIONS {
            assert!(
                shape(api).is_some() || api == ApiKey::ApiVersions,
                "{api:?}"
            );
        }
    }

    #[test]
    fn counts_that_the_bytes_do_not_bear_out_are_refused() {
        let names = |count: i32, rest: &[u8]| [&count.to_be_bytes()[..], rest].concat();
        let metadata = |body: &[u8]| check(ApiKey::Metadata, 1, body);
        assert_eq!(metadata(&names(1, &[0, 1, b'a'])), Some(()));
        assert_eq!(metadata(&names(-1, &[])), Some(()));
        assert_eq!(metadata(&names(-2, &[])), None);
        assert_eq!(metadata(&names(2, &[0, 1, b'a'])), None);
        assert_eq!(metadata(&names(i32::MAX, &[0; 100])), None);
        assert_eq!(metadata(&names(1, &[0, 9, b'a'])), None);
        let many = names(MAX_ELEMENTS as i32 + 1, &vec![0; 2 * MAX_ELEMENTS + 2]);
        assert_eq!(metadata(&many), None);
    }
}
