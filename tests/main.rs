//! The suites that cross crates, in one binary: each link of DataFusion costs seconds.

mod backup;
mod broker;
mod capture;
mod cli;
mod client_sign_in;
mod compose;
mod conformance;
mod crash;
mod doctor;
mod edits;
mod export;
mod first_half_hour;
mod http;
#[expect(
    dead_code,
    reason = "shared with the tests of the capture, which use more of it"
)]
#[path = "../sources/tests/cdc/java.rs"]
mod java;
mod load;
mod logs;
mod metrics;
mod migration;
mod notify;
mod observability;
mod otlp;
mod outsider;
mod page;
mod parts;
mod ports;
#[expect(
    dead_code,
    reason = "shared with the tests of the capture, which use more of it"
)]
#[path = "../sources/tests/cdc/postgres.rs"]
mod postgres;
mod powerbi;
mod processes;
mod project;
mod prometheus;
mod proof;
mod quality;
mod sign_in;
mod stack;
mod tidy;
mod traces;
mod trials;
mod truth;
