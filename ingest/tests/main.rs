//! Ingest end to end: a real client, the embedded broker on a socket, a lake on disk.

mod bad_messages;
mod generations;
mod interruptions;
mod offsets;
mod reading;
mod replay;
mod support;
