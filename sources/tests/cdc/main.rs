//! Capture of a real PostgreSQL's changes, judged by what a consumer of the topics finds.
//!
//! `SPORTLAKE_TEST_POSTGRES` names the folder of PostgreSQL's programs; without it these tests do nothing, and
//! `tests/run` says so.

mod commute;
mod debezium;
mod follow;
mod generate;
mod import;
mod java;
mod kafka;
mod node;
mod postgres;
mod proof;
mod refusals;
#[path = "../feeds/routes.rs"]
mod routes;
mod tables;
