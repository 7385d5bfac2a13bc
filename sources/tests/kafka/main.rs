//! A real Kafka, as companies run it.
//!
//! `SPORTLAKE_TEST_KAFKA` names the folder of its jars; without it these tests do nothing, and `tests/run` says so.

mod doors;
#[expect(
    dead_code,
    reason = "shared with the tests of the capture, which use more of it"
)]
#[path = "../cdc/java.rs"]
mod java;
mod layout;
mod secured;
