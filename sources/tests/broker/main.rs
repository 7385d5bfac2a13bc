//! The embedded broker, judged from outside: a process of its own, real librdkafka clients, and bytes by hand.
//!
//! `SPORTLAKE_TEST_BROKER` names another program to judge by the same tests; see `node.rs` for what it is given.

mod clients;
mod crash;
mod groups;
mod hostile;
mod keys;
mod messages;
mod node;
mod topics;
mod wire;

type TestResult = Result<(), Box<dyn std::error::Error>>;
