use std::error::Error as StdError;

use arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use deltalake_core::DeltaTableError;
use parquet::errors::ParquetError;
use serde::{Deserialize, Serialize};
use sql_files::NameError;

use crate::memory::is_full;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an error; one exit code and one protocol code each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

    /// The message and those of its causes that it does not name itself: for logs, and for what carries no chain.
    pub fn with_causes(&self) -> String {
        let mut text = self.message.clone();
        let mut next = StdError::source(self);
        while let Some(cause) = next {
            let cause_text = cause.to_string();
            if !text.contains(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            next = cause.source();
        }
        text
    }

    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl From<NameError> for Error {
    fn from(error: NameError) -> Self {
        Self::invalid(error.message).hint(error.hint)
    }
}

impl From<DataFusionError> for Error {
    /// The one place that tells a user's mistake from ours.
    fn from(error: DataFusionError) -> Self {
        let kind = match error.find_root() {
            DataFusionError::SQL(..)
            | DataFusionError::Plan(_)
            | DataFusionError::SchemaError(..)
            | DataFusionError::Configuration(_)
            | DataFusionError::Execution(_)
            | DataFusionError::Diagnostic(..) => ErrorKind::InvalidRequest,
            DataFusionError::ArrowError(arrow, _) => arrow_kind(arrow),
            DataFusionError::NotImplemented(_) => ErrorKind::Unsupported,
            DataFusionError::ResourcesExhausted(_) => ErrorKind::ResourceExhausted,
            DataFusionError::IoError(io) if is_full(io) => ErrorKind::ResourceExhausted,
            DataFusionError::IoError(_) | DataFusionError::ObjectStore(_) => ErrorKind::Unavailable,
            DataFusionError::ParquetError(parquet) => parquet_kind(parquet),
            DataFusionError::External(inner) if is_of_a_pattern(inner.as_ref()) => {
                ErrorKind::InvalidRequest
            }
            _ => ErrorKind::Internal,
        };
        if let DataFusionError::External(inner) = error {
            return match inner.downcast::<Self>() {
                Ok(ours) => *ours,
                Err(other) => {
                    let kind = storage_kind(other.as_ref()).unwrap_or(kind);
                    Self::new(kind, other.to_string())
                }
            };
        }
        // One of ours that came up through a join or a sort, which share theirs.
        if let DataFusionError::External(inner) = error.find_root()
            && let Some(ours) = inner.downcast_ref::<Self>()
        {
            let told = Self::new(ours.kind, ours.message.clone());
            return match &ours.hint {
                Some(hint) => told.hint(hint.clone()),
                None => told,
            };
        }
        let message = match error.find_root() {
            DataFusionError::SQL(parser, _) => plain(&parser.to_string()),
            DataFusionError::SchemaError(schema, _) => {
                missing_field(schema).unwrap_or_else(|| plain(&error.strip_backtrace()))
            }
            _ => plain(&error.strip_backtrace()),
        };
        Self::new(kind, message)
    }
}

/// A regular expression that is none. The optimizer parses them too, by a crate of its own.
fn is_of_a_pattern(error: &(dyn StdError + Send + Sync + 'static)) -> bool {
    error.is::<regex::Error>() || error.to_string().starts_with("regex parse error:")
}

/// Without the columns that there are: the hint names them.
fn missing_field(error: &SchemaError) -> Option<String> {
    match error {
        SchemaError::FieldNotFound { field, .. } => Some(match &field.relation {
            Some(relation) => format!("\"{relation}\" has no column \"{}\"", field.name),
            None => format!("there is no column \"{}\"", field.name),
        }),
        _ => None,
    }
}

/// Errors of values (casts, overflow, division) come from the user's SQL on the user's data.
fn arrow_kind(error: &ArrowError) -> ErrorKind {
    match error {
        ArrowError::CastError(_)
        | ArrowError::ParseError(_)
        | ArrowError::ComputeError(_)
        | ArrowError::DivideByZero
        | ArrowError::ArithmeticOverflow(_)
        | ArrowError::InvalidArgumentError(_) => ErrorKind::InvalidRequest,
        ArrowError::NotYetImplemented(_) => ErrorKind::Unsupported,
        ArrowError::IoError(_, io) if is_full(io) => ErrorKind::ResourceExhausted,
        ArrowError::IoError(..) => ErrorKind::Unavailable,
        ArrowError::ExternalError(inner) => match inner.downcast_ref::<Error>() {
            Some(ours) => ours.kind,
            None => storage_kind(inner.as_ref()).unwrap_or(ErrorKind::Internal),
        },
        _ => ErrorKind::Internal,
    }
}

/// A condition that fails on a value fails inside the reader of the file where it was pushed to; storage does so too.
fn parquet_kind(error: &ParquetError) -> ErrorKind {
    let ParquetError::External(inner) = error else {
        return ErrorKind::Corrupt;
    };
    match inner.downcast_ref::<ArrowError>() {
        Some(arrow) => arrow_kind(arrow),
        None => storage_kind(inner.as_ref()).unwrap_or(ErrorKind::Corrupt),
    }
}

/// How the reader of a Parquet file begins to tell that a condition failed; what follows is all that is left of why.
pub(crate) const FILTER_FAILED: &str = "Error evaluating filter predicate: ";

/// DataFusion's text without its class names.
fn plain(text: &str) -> String {
    let mut text = text;
    loop {
        let stripped = [
            "Error during planning: ",
            "SQL error: ",
            "sql parser error: ",
            "Schema error: ",
            "Execution error: ",
            "Arrow error: ",
            "Compute error: ",
            "Parquet error: ",
            "External: ",
            "External error: ",
            "This feature is not implemented: ",
        ]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .or_else(|| after_the_rule(text));
        match stripped {
            Some(rest) => text = rest,
            None => return of_a_filter(text).unwrap_or_else(|| text.to_owned()),
        }
    }
}

/// What went wrong while constants were computed, and not by which rule of the optimizer.
fn after_the_rule(text: &str) -> Option<&str> {
    let (rule, rest) = text.split_once(" failed\ncaused by\n")?;
    rule.starts_with("Optimizer rule '").then_some(rest)
}

/// What a condition that failed inside the reader of a file says, which tells of it as the engine's developers see it.
fn of_a_filter(text: &str) -> Option<String> {
    let seen = text.strip_prefix(FILTER_FAILED)?;
    if seen.contains("DivideByZero") {
        return Some("Divide by zero error".to_owned());
    }
    let (_, quoted) = seen.split_once('"')?;
    let mut told = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => return (!told.is_empty()).then_some(told),
            '\\' => told.extend(characters.next()),
            other => told.push(other),
        }
    }
}

/// How the kernel below a Delta table begins to tell what storage said.
const KERNEL_STORAGE: &str = "Error interacting with object store";

impl From<DeltaTableError> for Error {
    fn from(error: DeltaTableError) -> Self {
        let kind = match &error {
            DeltaTableError::NotATable(_) | DeltaTableError::InvalidVersion(_) => {
                ErrorKind::NotFound
            }
            DeltaTableError::ObjectStore { .. } | DeltaTableError::Io { .. } => {
                ErrorKind::Unavailable
            }
            // It does not hand on what storage said.
            DeltaTableError::KernelError(kernel)
                if kernel.to_string().starts_with(KERNEL_STORAGE) =>
            {
                ErrorKind::Unavailable
            }
            DeltaTableError::Transaction { .. } | DeltaTableError::VersionAlreadyExists(_) => {
                ErrorKind::Conflict
            }
            DeltaTableError::InvalidJsonLog { .. } | DeltaTableError::InvalidStatsJson { .. } => {
                ErrorKind::Corrupt
            }
            _ => storage_kind(&error).unwrap_or(ErrorKind::Internal),
        };
        Self::new(kind, "could not use a Delta table").caused_by(error)
    }
}

/// What storage, somewhere below an error, has to say.
fn storage_kind(error: &(dyn StdError + 'static)) -> Option<ErrorKind> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return Some(match io.kind() {
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
                    ErrorKind::Corrupt
                }
                _ => ErrorKind::Unavailable,
            });
        }
        if cause.is::<object_store::Error>() {
            return Some(ErrorKind::Unavailable);
        }
        next = cause.source();
    }
    None
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        let kind = match &error {
            object_store::Error::NotFound { .. } => ErrorKind::NotFound,
            object_store::Error::AlreadyExists { .. } => ErrorKind::Conflict,
            _ => ErrorKind::Unavailable,
        };
        Self::new(kind, "could not use the lake's storage").caused_by(error)
    }
}

impl From<ArrowError> for Error {
    fn from(error: ArrowError) -> Self {
        Self::from(DataFusionError::from(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_is_none_is_a_mistake() {
        let wrong = || regex::Regex::new(&["(a", ")", ")"].concat()).expect_err("unopened");
        let told = DataFusionError::External(Box::new(wrong()));
        assert_eq!(Error::from(told).kind(), ErrorKind::InvalidRequest);
        let told = DataFusionError::External(Box::new(wrong())).context("while planning");
        assert_eq!(Error::from(told).kind(), ErrorKind::InvalidRequest);
    }

    #[test]
    fn a_mistake_is_told_without_the_engines_own_words() {
        for (said, told) in [
            (
                "Optimizer rule 'simplify_expressions' failed\ncaused by\nArrow error: Divide by zero error",
                "Divide by zero error",
            ),
            (
                "Parquet error: External: Compute error: Error evaluating filter predicate: ArrowError(DivideByZero, Some(\"\"))",
                "Divide by zero error",
            ),
            (
                "Arrow error: Compute error: Error evaluating filter predicate: ArrowError(CastError(\"Cannot cast string '\\\"a' to value\"), None)",
                "Cannot cast string '\"a' to value",
            ),
            (
                "it failed\ncaused by\nsomething",
                "it failed\ncaused by\nsomething",
            ),
        ] {
            assert_eq!(plain(said), told);
        }
    }
}
