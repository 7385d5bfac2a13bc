//! The sources against the embedded broker, through real clients.

mod chaos;
mod commute;
mod generate;
mod import;
mod kafka;
mod routes;
