//! The notifier end to end: a real Kafka client, the embedded broker on a socket, and Slack as its documentation has it.

mod faults;
mod slack;
mod telling;
mod world;
