//! PostgreSQL's own protocol: sign-in, statements as text, COPY out and logical replication.
//!
//! One connection for everything that the sources ask of a database; [ADR 15](../../docs/adr/0015-postgres-cdc.md) says why.

mod address;
mod connection;
mod problem;
mod replication;
mod scram;
mod tls;
mod wire;

pub use address::Address;
pub use connection::{Connection, Row};
pub use problem::ServerError;
pub(crate) use problem::{sqlstate, without_tables};
pub use replication::{Lsn, Replication, Update};

/// The text as a literal of SQL.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The text as a quoted name of SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
