//! Ingest end to end: a real client, the embedded broker on a socket, a lake on disk.
//! A real broker too: `SPORTLAKE_TEST_KAFKA` names the folder of its jars.

mod bad_messages;
mod clusters;
mod generations;
mod interruptions;
#[expect(
    dead_code,
    reason = "shared with the tests of the capture, which use more of it"
)]
#[path = "../../sources/tests/cdc/java.rs"]
mod java;
mod offsets;
#[path = "../../tests/parts.rs"]
mod parts;
#[path = "../../tests/ports.rs"]
mod ports;
mod reading;
mod real_kafka;
mod replay;
#[expect(
    dead_code,
    reason = "shared with the tests of the sources, which use more of it"
)]
#[path = "../../sources/tests/kafka/secured.rs"]
mod secured;
mod support;
mod topics;
