//! Capture of a real PostgreSQL's changes, judged by what a consumer of the topics finds.
//!
//! `SPORTLAKE_TEST_POSTGRES` names the folder of PostgreSQL's programs.

mod commute;
mod compacted;
mod debezium;
mod follow;
mod generate;
mod import;
#[expect(
    dead_code,
    reason = "shared with the tests of the workspace, which use more of it"
)]
mod java;
mod kafka;
mod membership;
mod meters;
mod node;
#[path = "../../../tests/parts.rs"]
mod parts;
#[path = "../../../tests/ports.rs"]
mod ports;
#[expect(
    dead_code,
    reason = "shared with the tests of the workspace, which use more of it"
)]
mod postgres;
mod proof;
mod refusals;
#[expect(
    dead_code,
    reason = "shared with the tests of feeds, which use more of it"
)]
#[path = "../feeds/routes.rs"]
mod routes;
mod tables;
mod takeover;
