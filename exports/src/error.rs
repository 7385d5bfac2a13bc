use std::error::Error as StdError;
use std::io;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an error; the names are those of the other crates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    InvalidRequest,
    Unavailable,
    ResourceExhausted,
    Internal,
}

/// An error a person can act on: what happened, and a hint that says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            source: None,
        }
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// Of a value that has no place in the file. The value itself is in no error.
pub(crate) fn unwritable(column: &str, format: &str) -> Error {
    let message = format!("a value of column \"{column}\" cannot be written as {format}");
    Error::new(ErrorKind::InvalidRequest, message)
        .hint("Leave the column out, or CAST it to a type that can hold it, such as TEXT.")
}

/// Of the file in which a workbook grows.
pub(crate) fn temporary(error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::ResourceExhausted,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, "the temporary file of the export cannot be used")
        .hint("Make room in the system's folder for temporary files, or set TMPDIR to another.")
        .caused_by(error)
}
