//! The sources against the embedded broker, through real clients.

mod generate;
mod import;
mod kafka;
