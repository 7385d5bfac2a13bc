use std::error::Error as StdError;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an error; one exit code and one protocol code each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    InvalidRequest,
    Unsupported,
    NotFound,
    Unauthenticated,
    PermissionDenied,
    Conflict,
    Unavailable,
    DeadlineExceeded,
    ResourceExhausted,
    Corrupt,
    Internal,
    Cancelled,
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
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            source: None,
        }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidRequest, message)
    }

    /// Adds a sentence that says what the user can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Keeps the cause in the chain.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
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
