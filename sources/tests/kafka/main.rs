//! A real Kafka, as companies run it.
//!
//! `SPORTLAKE_TEST_KAFKA` names the folder of its jars.

mod doors;
#[expect(
    dead_code,
    reason = "shared with the tests of the capture, which use more of it"
)]
#[path = "../cdc/java.rs"]
mod java;
mod layout;
#[path = "../../../tests/parts.rs"]
mod parts;
#[path = "../../../tests/ports.rs"]
mod ports;
mod secured;
