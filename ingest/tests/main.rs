//! Ingest end to end: a real client, the embedded broker on a socket, a lake on disk.
//! With `SPORTLAKE_TEST_KAFKA`, the folder of its jars, with a real broker too.

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
