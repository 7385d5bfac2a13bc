//! JSON under a checksum, for small files and journal entries that may be torn.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

const PREFIX: usize = 8;

/// Length and checksum, then the value.
pub(crate) fn seal(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut sealed = vec![0; PREFIX];
    serde_json::to_writer(&mut sealed, value)?;
    let length = u32::try_from(sealed.len() - PREFIX).map_err(io::Error::other)?;
    let checksum = crc32c::crc32c(&sealed[PREFIX..]);
    sealed[..4].copy_from_slice(&length.to_be_bytes());
    sealed[4..PREFIX].copy_from_slice(&checksum.to_be_bytes());
    Ok(sealed)
}

/// The value, if `bytes` hold exactly one and it is whole.
pub(crate) fn unseal<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (value, size) = unseal_first(bytes)?;
    (size == bytes.len()).then_some(value)
}

/// The value at the start of `bytes` and its sealed size.
pub(crate) fn unseal_first<T: DeserializeOwned>(bytes: &[u8]) -> Option<(T, usize)> {
    let length: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    let checksum: [u8; 4] = bytes.get(4..PREFIX)?.try_into().ok()?;
    let size = PREFIX.checked_add(u32::from_be_bytes(length) as usize)?;
    let content = bytes.get(PREFIX..size)?;
    if crc32c::crc32c(content) != u32::from_be_bytes(checksum) {
        return None;
    }
    Some((serde_json::from_slice(content).ok()?, size))
}
