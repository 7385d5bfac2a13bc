//! The durable log: segments of record batches, appended, synced, read by offset.
//!
//! Knows no network and no topics. What it promises: a batch is visible and acknowledged only once it survives
//! power loss, offsets have no gaps, and a batch that a producer repeats is stored once.

mod batch;
mod checkpoint;
mod partition;
mod producers;
mod read;
mod recovery;
pub(super) mod sealed;
mod segment;
#[cfg(test)]
mod tests;

pub(super) use partition::{Appended, Limits, Partition};
pub(super) use read::Slice;
